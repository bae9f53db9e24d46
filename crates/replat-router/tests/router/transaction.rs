//! Whole transactions against real servers: what is tried again, what is not, and where the rows end up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use replat_engine::BoxError;
use replat_model::map::Map;
use replat_model::route::{Address, Routes};
use replat_postgres::guard;
use replat_router::transaction::{Coming, Connect, Failed, Stop, Tries};
use replat_router::{Destination, Router, Settings, Who, follow};
use replat_testkit::Server;
use tokio_postgres::Client;

use crate::memory::Memory;
use crate::scene::{acme, epoch, hold_acme, home, name, tenants};

/// Two databases of one server, each with its schema, a guarded table, and one that is partitioned.
struct Homes {
    server: Server,
    memory: Arc<Memory>,
    router: Router,
    /// How often partitions were asked for.
    provided: AtomicU32,
}

/// A connection of its own for each transaction, as a pool would give one.
struct Own(Box<Client>);

impl std::ops::Deref for Own {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

impl std::ops::DerefMut for Own {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.0
    }
}

impl Connect for Homes {
    type Client = Own;

    fn connect<'a>(&'a self, to: &'a Destination) -> Coming<'a, Result<Own, BoxError>> {
        Box::pin(async move { Ok(Own(Box::new(self.server.client(&to.address.dbname).await?))) })
    }

    fn provide<'a>(&'a self, to: &'a Destination, table: Option<(String, String)>) -> Coming<'a, bool> {
        Box::pin(async move {
            self.provided.fetch_add(1, Ordering::SeqCst);
            let (schema, table) = table.expect("the server says which table");
            let sql =
                format!("CREATE TABLE {schema}.{table}_more PARTITION OF {schema}.{table} FOR VALUES IN (7)");
            self.server.execute(&to.address.dbname, &sql).await.is_ok()
        })
    }
}

impl Homes {
    async fn start() -> Homes {
        let server = Server::start().await.expect("a server");
        for (database, open, lives) in [("blue", true, "NULL"), ("green", false, "'blue.app_blue'")] {
            server.create_database(database).await.expect("a database");
            let schema = format!("app_{database}");
            let key = guard::lock_key(&name("acme"), &schema);
            let tables = format!(
                "CREATE SCHEMA {schema}; CREATE TABLE {schema}.notes (tenant_id bigint, note text);
                 CREATE TABLE {schema}.events (kind int) PARTITION BY LIST (kind);
                 INSERT INTO replat.fence (partition, schema_name, deployment, epoch, open, home, term, seq)
                   VALUES ('acme', '{schema}', 'd1', 1, {open}, {lives}, 1, 1);
                 CREATE FUNCTION {schema}.guard() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
                   SET search_path = pg_catalog, pg_temp AS
                   $$ BEGIN PERFORM replat.pass('acme', '{schema}', {key}, TG_OP); RETURN NEW; END $$;
                 CREATE TRIGGER zz_replat_insert BEFORE INSERT ON {schema}.notes FOR EACH ROW
                   EXECUTE FUNCTION {schema}.guard()"
            );
            server.execute(database, guard::SCHEMA).await.expect("replat's own schema");
            server.execute(database, &tables).await.expect("tables");
        }
        let memory = Memory::new();
        let router = Router::new("shop", "tenants", Settings::default());
        let homes = Homes { server, memory, router, provided: AtomicU32::new(0) };
        homes.memory.put(&homes.routes(tenants()));
        let who = Who { id: "r1".into(), kind: "router".into(), place: "here".into() };
        tokio::spawn(follow(homes.router.clone(), homes.memory.clone(), who));
        while !homes.router.is_current() {
            tokio::task::yield_now().await;
        }
        homes
    }

    fn routes(&self, map: Map) -> Routes {
        let address = |database: &str| Address {
            host: "127.0.0.1".into(),
            port: self.server.port(),
            dbname: database.into(),
            endpoint: None,
        };
        let addresses = ["blue", "green", "nowhere"].map(|d| (d.to_owned(), address(d))).into();
        Routes::new("shop".into(), map, addresses, BTreeMap::new()).expect("whole routes")
    }

    /// The next version: `acme` lives on `database`.
    fn moved(&self, database: &str) -> Routes {
        let now = self.router.routes().expect("routes");
        let next = now.epoch(&name("acme")).expect("it is there").next();
        self.routes(now.map().with_home(&name("acme"), home(database), next).expect("a later epoch"))
    }

    async fn fence(&self, database: &str, set: &str) {
        let sql = format!("UPDATE replat.fence SET {set} WHERE partition = 'acme'");
        self.server.execute(database, &sql).await.expect("a fence");
    }

    async fn count(&self, database: &str) -> i64 {
        let client = self.server.client(database).await.expect("a session");
        let sql = format!("SELECT count(*) FROM app_{database}.notes");
        client.query_one(&sql, &[]).await.expect("a count").get(0)
    }

    /// Runs statements in a transaction of `acme`; how often they were begun, and what came of it.
    async fn run(&self, statements: &str, tries: &Tries) -> (u32, Result<(), Failed<&'static str>>) {
        let begun = Arc::new(AtomicU32::new(0));
        let result = self
            .router
            .transaction(self, &acme(), tries, |transaction| {
                let (begun, statements) = (begun.clone(), statements.to_owned());
                Box::pin(async move {
                    begun.fetch_add(1, Ordering::SeqCst);
                    transaction.batch_execute(&statements).await?;
                    Ok::<(), Stop<&'static str>>(())
                })
            })
            .await;
        (begun.load(Ordering::SeqCst), result)
    }
}

const NOTE: &str = "INSERT INTO notes VALUES (1, 'a')";

#[tokio::test]
async fn a_transaction_follows_its_partition() {
    let homes = Homes::start().await;
    let tries = Tries::default();
    let (begun, done) = homes.run(NOTE, &tries).await;
    done.expect("written on blue");
    assert_eq!((begun, homes.count("blue").await), (1, 1), "by the home's search_path");

    // The switch, as the databases see it; the router has not heard of it.
    let second = homes.moved("green");
    homes.fence("blue", "open = false, epoch = 2, home = 'green.app_green'").await;
    homes.fence("green", "open = true, epoch = 2, home = NULL").await;
    let memory = homes.memory.clone();
    let later = tokio::spawn(async move {
        let reads = memory.kept().reads;
        memory.until(|kept| kept.reads > reads).await;
        memory.put(&second);
    });
    let (begun, done) = homes.run(NOTE, &tries).await;
    done.expect("written on green");
    later.await.expect("no panic");
    assert_eq!((begun, homes.count("blue").await, homes.count("green").await), (2, 1, 1));

    // A hold lets the next one wait, and the rollback lets it go on at blue.
    homes.router.hold(&hold_acme(1, 2));
    let back = homes.moved("blue");
    homes.fence("green", "open = false, epoch = 3, home = 'blue.app_blue'").await;
    homes.fence("blue", "open = true, epoch = 3, home = NULL").await;
    let (held, publish) = (homes.router.clone(), homes.memory.clone());
    let release = tokio::spawn(async move {
        while held.answers().first().is_none_or(|answer| answer.held == 0) {
            tokio::task::yield_now().await;
        }
        publish.put(&back);
    });
    let (begun, done) = homes.run(NOTE, &tries).await;
    done.expect("written on blue");
    release.await.expect("no panic");
    assert_eq!((begun, homes.count("blue").await, homes.count("green").await), (1, 2, 1));
    assert_eq!(homes.router.find(&acme()).expect("a route").epoch, epoch(3));
}

#[tokio::test]
async fn a_partition_that_is_being_switched_is_tried_again_until_it_opens() {
    let homes = Homes::start().await;
    homes.fence("blue", "open = false").await;
    let tries = Tries { retries: 0, ..Tries::default() };
    let (begun, done) = homes.run(NOTE, &tries).await;
    assert!(matches!(done, Err(Failed::Database(_))), "{done:?}");
    assert_eq!(begun, 1);
    // The attempt is given up while the transaction is tried.
    let reads = homes.memory.kept().reads;
    let open = async {
        homes.memory.until(|kept| kept.reads > reads).await;
        homes.fence("blue", "open = true").await;
    };
    let tries = Tries { retries: 20, ..Tries::default() };
    let ((begun, done), ()) = tokio::join!(homes.run(NOTE, &tries), open);
    done.expect("written on blue");
    assert!(begun > 1);
    assert_eq!(homes.count("blue").await, 1);
}

#[tokio::test]
async fn what_is_handed_out_was_begun_once() {
    let homes = Homes::start().await;
    let end_at_commit = "
        CREATE FUNCTION pg_temp.leave() RETURNS trigger LANGUAGE plpgsql AS
          'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
        CREATE TEMP TABLE last (n int);
        CREATE CONSTRAINT TRIGGER leave AFTER INSERT ON last DEFERRABLE INITIALLY DEFERRED
          FOR EACH ROW EXECUTE FUNCTION pg_temp.leave();
        INSERT INTO last VALUES (1)";
    let rows = [
        ("a read-only session", "SET TRANSACTION READ ONLY; INSERT INTO notes VALUES (1, 'a')", "database"),
        ("no such table", "INSERT INTO nothing VALUES (1)", "database"),
        ("a connection that breaks at COMMIT", end_at_commit, "unknown"),
    ];
    for (case, statements, want) in rows {
        let (begun, done) = homes.run(statements, &Tries::default()).await;
        let got = match done {
            Err(Failed::Database(_)) => "database",
            Err(Failed::OutcomeUnknown(_)) => "unknown",
            other => panic!("{case}: {other:?}"),
        };
        assert_eq!((got, begun), (want, 1), "{case}");
    }
    let own = homes
        .router
        .transaction(&homes, &acme(), &Tries::default(), |transaction| {
            Box::pin(async move {
                transaction.batch_execute(NOTE).await?;
                Err::<(), _>(Stop::Own("changed my mind"))
            })
        })
        .await;
    assert!(matches!(own, Err(Failed::Own("changed my mind"))), "{own:?}");
    assert_eq!(homes.count("blue").await, 0);
    assert_eq!(homes.router.answers(), []);
}

#[tokio::test]
async fn what_passes_is_tried_again_within_limits() {
    let homes = Homes::start().await;
    homes.server.execute("blue", "CREATE SEQUENCE app_blue.tries").await.expect("a sequence");
    let fails = |times: u32| {
        format!(
            "DO $$ BEGIN IF nextval('tries') <= {times} THEN
               RAISE EXCEPTION 'not now' USING ERRCODE = '40001'; END IF; END $$; {NOTE}"
        )
    };
    let (begun, done) = homes.run(&fails(2), &Tries::default()).await;
    done.expect("the third time");
    assert_eq!((begun, homes.count("blue").await), (3, 1));
    let (begun, done) = homes.run(&fails(1_000), &Tries::default()).await;
    assert!(matches!(done, Err(Failed::Database(_))), "{done:?}");
    assert_eq!(begun, 4, "three more tries");
    let limit = Duration::from_millis(60);
    let tries = Tries { retries: u32::MAX, limit, ..Tries::default() };
    let (_, done) = homes.run(&fails(1_000), &tries).await;
    assert!(done.is_err());
}

#[tokio::test]
async fn a_missing_partition_is_asked_for() {
    let homes = Homes::start().await;
    let (begun, done) = homes.run("INSERT INTO events VALUES (7)", &Tries::default()).await;
    done.expect("it was made");
    assert_eq!((begun, homes.provided.load(Ordering::SeqCst)), (2, 1));
    let (begun, done) = homes.run("INSERT INTO events VALUES (8)", &Tries::default()).await;
    assert!(matches!(done, Err(Failed::Database(_))), "what is made takes 7 alone: {done:?}");
    assert_eq!((begun, homes.provided.load(Ordering::SeqCst)), (1, 2), "it could not be made twice");
}

#[tokio::test]
async fn a_home_without_its_database_is_said_to_be_one() {
    let homes = Homes::start().await;
    let now = homes.router.routes().expect("routes");
    let map = now.map().with_home(&name("acme"), home("nowhere"), epoch(2)).expect("a later epoch");
    homes.memory.put(&homes.routes(map));
    homes.router.versions().wait_for(|version| *version == 2).await.expect("it follows");
    let (begun, done) = homes.run(NOTE, &Tries::default()).await;
    let Err(Failed::Connect { to, .. }) = done else { panic!("{done:?}") };
    assert_eq!((to.home.database.as_str(), begun), ("nowhere", 0));
}
