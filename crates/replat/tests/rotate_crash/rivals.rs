//! Others at work while `replat rotate` runs: what it says, and how it exits.

use replat_testkit::Server;

use crate::judge::ask;
use crate::program::Program;
use crate::stories::DAYS;

const SCHEMA: &str = "
    CREATE TABLE events (id bigint, ts timestamptz NOT NULL, PRIMARY KEY (id, ts)) PARTITION BY RANGE (ts);
    SELECT days('events', -1, 0);
    CREATE TABLE events_rest PARTITION OF events DEFAULT;
    CREATE TABLE other (id bigint, ts timestamptz NOT NULL) PARTITION BY RANGE (ts);
    SELECT days('other', -1, 0);";
const RUN: [&str; 4] = ["--ahead=2", "--no-forecast", "--only=create", "--patience=1s"];

#[tokio::test]
async fn who_is_in_the_way_is_named_and_the_next_run_goes_on() {
    let server = Server::start().await.expect("a server starts");
    // The option, how the run exits, and what is said.
    for (n, (option, exit, code)) in
        [(None, 20, "RP3"), (Some("--stall-run=0s"), 22, "RP3")].into_iter().enumerate()
    {
        let name = format!("w{n}");
        server.create_database(&name).await.expect("a database");
        server.execute(&name, &format!("{DAYS}{SCHEMA}")).await.expect("a schema");
        let program = Program { url: server.url(&name), folder: "/nowhere".into() };
        let reader = server.client(&name).await.expect("a reader");
        reader.batch_execute("BEGIN; SELECT count(*) FROM events").await.expect("it reads");
        let run: Vec<&str> = RUN.into_iter().chain(option).collect();
        let (ended, said) = program.ends(&run).await.expect("it ends");
        assert_eq!(ended, exit, "{option:?}: {said}");
        assert!(said.contains(code), "{option:?}: {said}");
        let client = server.client(&name).await.expect("a session");
        let count = "SELECT inhparent::regclass, count(*) FROM pg_inherits WHERE inhparent::regclass::text IN \
             ('events', 'other') GROUP BY 1 ORDER BY 1";
        // The other set is worked on, and of this one nothing is left.
        assert_eq!(ask(&client, count).await.expect("counts"), ["events|3", "other|4"], "{option:?}");
        let left = "SELECT table_name FROM replat.lifecycle_part WHERE state <> 'attached'";
        assert!(ask(&client, left).await.expect("records").is_empty(), "{option:?}");
        reader.batch_execute("COMMIT").await.expect("it ends");
        program.run(&run).await.expect("nobody is in the way");
        assert_eq!(ask(&client, count).await.expect("counts"), ["events|5", "other|4"], "{option:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_runs_at_once_one_does_it() {
    let server = Server::start().await.expect("a server starts");
    server.create_database("w").await.expect("a database");
    server.execute("w", &format!("{DAYS}{SCHEMA}")).await.expect("a schema");
    let program = Program { url: server.url("w"), folder: "/nowhere".into() };
    let reader = server.client("w").await.expect("a reader");
    reader.batch_execute("BEGIN; SELECT count(*) FROM events").await.expect("it reads");
    let patient = ["--ahead=2", "--no-forecast", "--only=create", "--patience=120s"];
    let first = tokio::spawn({
        let program = program.clone();
        async move { program.run(&patient).await.map_err(|failure| failure.to_string()) }
    });
    let client = server.client("w").await.expect("a session");
    let waits = "SELECT to_regclass('replat.lifecycle_unit') IS NOT NULL \
         AND EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')";
    let mut staged = false;
    while !staged {
        assert!(!first.is_finished(), "it should wait for the reader");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        staged = ask(&client, waits).await.expect("an answer") == ["t"];
    }
    let (ended, said) = program.ends(&RUN).await.expect("it ends");
    assert_eq!(ended, 21, "{said}");
    reader.batch_execute("COMMIT").await.expect("it ends");
    first.await.expect("no panic").expect("the first does it");
    let told = "SELECT count(*), max(version) FROM replat.lifecycle_outbox";
    assert_eq!(ask(&client, told).await.expect("versions"), ["2|2"]);
}
