//! pgbench in each of its modes.

use std::process::Output;

use replat_testkit::server::Binaries;
use tokio::process::Command;

use crate::world::World;
use crate::writers::IDS;

const MODES: [&str; 3] = ["simple", "extended", "prepared"];
/// Each row has an id of its own: by the run, by the client, and by how many that has written.
const SCRIPT: &str = "\\set n :n + 1\n\\set id :first + :client_id * 1000000 + :n\n\\set account :id % 200 + 1\n\
     BEGIN;\nINSERT INTO entries VALUES (1, :id);\n\
     UPDATE accounts SET sum = sum + 1 WHERE tenant_id = 1 AND id = :account;\nEND;\n";
/// How long each run is. Unit: seconds. Switches follow each other until it is over.
const SECONDS: &str = "8";

fn pgbench(world: &World, mode: &str, first: i64, script: &std::path::Path) -> Command {
    let mut pgbench = Command::new(Binaries::find().expect("a server has them").program("pgbench"));
    pgbench.args(["-n", "-c", "4", "-T", SECONDS, "-M", mode, "-D", "n=0", "-D", &format!("first={first}")]);
    pgbench.args(["-h", "127.0.0.1", "-p", &world.port.to_string(), "-U", "postgres", "-f"]).arg(script);
    pgbench.arg("shop").env("PGOPTIONS", "-c replat.partition=acme").kill_on_drop(true);
    pgbench
}

/// How many transactions it says it has done.
fn done(mode: &str, output: &Output) -> i64 {
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{mode}: {out}{said}");
    let number = |after: &str| {
        let rest = out.split_once(after)?.1.trim_start();
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<i64>().ok()
    };
    assert_eq!(number("number of failed transactions:").unwrap_or(0), 0, "{mode}: {out}{said}");
    number("number of transactions actually processed:").unwrap_or_else(|| panic!("{mode}: {out}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pgbench_follows_its_partition_in_each_of_its_modes() {
    let world = World::start(&[]).await;
    let _runner = world.deploy().await;
    let script = std::env::temp_dir().join(format!("replat-clients-{}.sql", std::process::id()));
    std::fs::write(&script, SCRIPT).expect("a file");
    let runs: Vec<_> = MODES
        .into_iter()
        .enumerate()
        .map(|(at, mode)| {
            let first = (at as i64 + 1) * IDS;
            (mode, first, tokio::spawn(pgbench(&world, mode, first, &script).output()))
        })
        .collect();
    let mut switches = 0;
    while runs.iter().any(|(_, _, run)| !run.is_finished()) {
        for verb in ["rollback", "switch"] {
            world.program.line(&format!("deploy {verb}")).await.succeeds();
            switches += 1;
        }
    }
    drop(std::fs::remove_file(&script));
    let rows = world.entries("green", "shop", 1).await;
    let mut all = 0;
    for (mode, first, run) in runs {
        let done = done(mode, &run.await.expect("no panic").expect("pgbench runs"));
        let found = rows.iter().filter(|id| (first..first + IDS).contains(id)).count();
        assert_eq!(i64::try_from(found), Ok(done), "{mode}, after {switches} switches");
        assert!(done > 0, "{mode} did nothing");
        all += done;
    }
    let green = world.server.client("green").await.expect("a client");
    let sum = "select sum(sum)::bigint from shop.accounts where tenant_id = 1";
    assert_eq!(green.query_one(sum, &[]).await.expect("a row").get::<_, i64>(0), all);
    println!("{all} transactions, {switches} switches");
}
