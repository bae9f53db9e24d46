//! psql: what people type.

use std::process::Stdio;

use replat_testkit::server::Binaries;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::world::World;
use crate::writers::{IDS, Writer, follow};

fn psql(world: &World, partition: &str) -> Command {
    let mut psql = Command::new(Binaries::find().expect("a server has them").program("psql"));
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"]);
    psql.arg(format!(
        "host=127.0.0.1 port={} user=postgres dbname=shop options='-c replat.partition={partition}'",
        world.port
    ));
    psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    psql
}

/// Runs a script, and hands out what was printed.
async fn says(world: &World, script: &str) -> String {
    let mut child = psql(world, "acme").spawn().expect("psql runs");
    let mut stdin = child.stdin.take().expect("standard input is written");
    stdin.write_all(script.as_bytes()).await.expect("psql reads");
    drop(stdin);
    let output = child.wait_with_output().await.expect("psql ends");
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {said}");
    out.into_owned()
}

async fn interrupt(child: &Child) {
    let id = child.id().expect("it runs").to_string();
    let sent = Command::new("kill").args(["-s", "INT", &id]).status().await.expect("kill runs");
    assert!(sent.success(), "psql is not there");
}

#[tokio::test]
async fn what_people_type_works_at_either_home() {
    let world = World::start(&[]).await;
    let file = std::env::temp_dir().join(format!("replat-clients-{}.csv", std::process::id()));
    std::fs::write(&file, "1,1\n1,2\n").expect("a file");
    let load = format!("\\copy entries from '{}' with (format csv)\n", file.display());
    says(&world, &load).await;
    let looks = "\\d entries\ncopy (select * from entries where tenant_id = 1 order by id) to stdout;\n\
                 copy entries from stdin;\n1\t3\n\\.\nselect count(*) from entries where tenant_id = 1;\n";
    let on_blue = says(&world, looks).await;
    let _runner = world.deploy().await;
    std::fs::write(&file, "1,4\n").expect("a file");
    says(&world, &load).await;
    let on_green = says(&world, &looks.replace("1\t3", "1\t5")).await;
    drop(std::fs::remove_file(&file));
    for (said, schema, count) in [(&on_blue, "public", "\n3\n"), (&on_green, "shop", "\n5\n")] {
        for wanted in ["tenant_id|bigint||not null|", "1\t1\n1\t2\n", count] {
            assert!(said.contains(wanted), "{schema}: {wanted:?} is not in {said}");
        }
    }
    assert_eq!(world.entries("green", "shop", 1).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn an_interrupted_statement_is_cancelled_where_it_runs() {
    let world = World::start(&[]).await;
    let _runner = world.deploy().await;
    let mut child = psql(&world, "acme").spawn().expect("psql runs");
    let mut stdin = child.stdin.take().expect("standard input is written");
    stdin.write_all(b"select pg_sleep(1000);\n").await.expect("psql reads");
    let green = world.server.client("green").await.expect("a client");
    let asleep =
        "select count(*) from pg_stat_activity where state = 'active' and query like 'select pg_sleep%'";
    let comes_to = async |wanted: i64| {
        let seen = async {
            while green.query_one(asleep, &[]).await.expect("a row").get::<_, i64>(0) != wanted {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), seen).await.is_ok()
    };
    assert!(comes_to(1).await, "it does not sleep on green");
    interrupt(&child).await;
    assert!(comes_to(0).await, "it sleeps on");
    // What is not typed at a terminal ends with its first interrupt.
    drop(stdin);
    let output = child.wait_with_output().await.expect("psql ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("canceling statement due to user request"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_follows_its_partition() {
    let world = World::start(&[]).await;
    let next = |id: i64| format!("insert into entries values (1, {id}) returning id;\n");
    let writer = Writer::start("psql", psql(&world, "acme"), Some(next), IDS);
    follow(&world, vec![writer]).await;
}
