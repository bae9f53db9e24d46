//! PgBouncer, before the proxy and behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use replat_testkit::Pgbouncer;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls};

use crate::world::World;
use crate::writers::IDS;

/// How many clients write at once.
const WRITERS: usize = 8;

/// A session that a pooler on this port lets in.
async fn client(port: u16, database: &str, options: Option<&str>) -> Client {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).dbname(database).user("postgres");
    if let Some(options) = options {
        config.options(options);
    }
    let (client, connection) = config.connect(NoTls).await.expect("a client is let in");
    tokio::spawn(async move { drop(connection.await) });
    client
}

/// Writes by simple queries, which every way of pooling knows, until it is told to stop; what was acknowledged.
fn writer(client: Client, first: i64, stop: &Arc<AtomicBool>) -> JoinHandle<Vec<i64>> {
    let stop = stop.clone();
    tokio::spawn(async move {
        let mut written = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let id = first + written.len() as i64;
            let insert = format!("insert into entries values (1, {id})");
            match id % 2 {
                0 => client.batch_execute(&insert).await.expect("a row"),
                _ => {
                    client.batch_execute("begin").await.expect("a transaction begins");
                    client.batch_execute(&insert).await.expect("a row");
                    client.batch_execute("commit").await.expect("it commits");
                }
            }
            written.push(id);
        }
        written
    })
}

/// Moves the partition to green, back and to green again, while clients write; each row is there once, and no other.
async fn follow(world: &World, clients: Vec<Client>) {
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(at, client)| writer(client, (at as i64 + 1) * IDS, &stop))
        .collect();
    let _runner = world.deploy().await;
    for verb in ["rollback", "switch"] {
        world.program.line(&format!("deploy {verb}")).await.succeeds();
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("no error"));
    }
    acknowledged.sort_unstable();
    assert!(!acknowledged.is_empty());
    assert_eq!(world.entries("green", "shop", 1).await, acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_before_the_proxy_has_a_pool_for_each_partition() {
    for mode in ["transaction", "session"] {
        let world = World::start(&["--user-suffix=+"]).await;
        // The pool's user names the partition.
        let pool = |partition: &str| {
            format!("host=127.0.0.1 port={} dbname=shop user=postgres+{partition}", world.port)
        };
        let size = if mode == "transaction" { "3" } else { "20" };
        let databases = [("acme", pool("acme")), ("zeta", pool("zeta"))];
        let pooler = Pgbouncer::start(&databases, &[("pool_mode", mode), ("default_pool_size", size)]).await;
        let pooler = pooler.expect("a pooler");
        let mut clients = Vec::new();
        for _ in 0..WRITERS {
            clients.push(client(pooler.port(), "acme", None).await);
        }
        let other = client(pooler.port(), "zeta", None).await;
        follow(&world, clients).await;
        let row = other.simple_query("select current_database()").await.expect("zeta is where it was");
        assert!(format!("{row:?}").contains("blue"), "{mode}: {row:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_behind_the_proxy_hands_out_servers_to_who_asks_something() {
    let probe = World::prepare("").await;
    let of = |name: &str| format!("host=127.0.0.1 port={} dbname={name}", probe.server.port());
    let settings = [
        ("pool_mode", "session"),
        ("default_pool_size", "30"),
        ("max_client_conn", "500"),
        ("ignore_startup_parameters", "options"),
    ];
    let pooler = Pgbouncer::start(&[("blue", of("blue")), ("green", of("green"))], &settings).await;
    let pooler = pooler.expect("a pooler");
    let at = |name: &str| format!("{name}=127.0.0.1:{}", pooler.port());
    let (blue, green) = (at("blue"), at("green"));
    let world = probe.with_proxy(&["--through", &blue, "--through", &green]).await;
    // Far more sessions than there are servers for them.
    let mut idle = Vec::new();
    for _ in 0..60 {
        idle.push(client(world.port, "shop", Some("-c replat.partition=acme")).await);
    }
    let mut clients = Vec::new();
    for _ in 0..WRITERS {
        clients.push(client(world.port, "shop", Some("-c replat.partition=acme")).await);
    }
    follow(&world, clients).await;
    // Green's rows are in a schema that the pooler could not be told of at start-up.
    let late = idle.swap_remove(0);
    let count = async || {
        let rows = late.simple_query("select count(*), current_schema() from entries").await.expect("rows");
        format!("{rows:?}")
    };
    assert!(count().await.contains("shop"), "{}", count().await);
    for forgets in ["reset all", "discard all"] {
        late.batch_execute(forgets).await.expect(forgets);
        assert!(count().await.contains("shop"), "after {forgets}: {}", count().await);
    }
    late.batch_execute("set search_path = pg_catalog; reset work_mem").await.expect("a setting of its own");
    let own = late.simple_query("show search_path").await.expect("a row");
    assert!(format!("{own:?}").contains("pg_catalog"), "{own:?}");
}
