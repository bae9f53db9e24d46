//! Death while a table's shape changes: partitions are cut anew, a table becomes partitioned, indexes are completed.
//!
//! Such work is asked for by name and not by a run, so the process that dies is this test itself, called again for one
//! unit.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use replat_engine::lifecycle::{LifecycleEngine, Limits, Outcome, Quiet};
use replat_model::lifecycle::facts::{Bound, Edge, Method, TableName};
use replat_model::lifecycle::plan::{NewLevel, NewPart, Unit, Work};
use replat_postgres::conninfo::{ConnInfo, Environment};
use replat_postgres::lifecycle::engine::PostgresLifecycle;
use replat_testkit::Server;

use crate::{Failure, judge};

/// How the process that dies is told what to do.
const UNIT: &str = "REPLAT_TEST_UNIT";
/// What `abort` sends to its own process.
const SIGABRT: i32 = 6;

/// A unit, and the places of its work.
struct Case {
    name: &'static str,
    schema: &'static str,
    /// A unit that dies first.
    died: Option<(Work, &'static str)>,
    work: Work,
    places: &'static [&'static str],
}

fn table(name: &str) -> TableName {
    TableName::new("public", name)
}

fn range(from: &str, to: &str) -> Bound {
    let edge = |text: &str| match text {
        "min" => Edge::Min,
        text => Edge::At(text.to_owned()),
    };
    Bound::Range { from: vec![edge(from)], to: vec![edge(to)] }
}

fn part(name: &str, bound: Bound) -> NewPart {
    NewPart { table: table(name), bound, like: None, below: None }
}

fn split() -> Work {
    Work::Recut {
        parent: table("p"),
        old: vec![(table("p_1"), 0, range("100", "400"))],
        new: vec![part("p_1", range("100", "200")), part("p_2", range("200", "400"))],
    }
}

const RANGES: &str = "
    CREATE TABLE ref (id int PRIMARY KEY); INSERT INTO ref VALUES (1);
    CREATE TABLE p (id bigint, k int, r int DEFAULT 1 REFERENCES ref, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
    CREATE TABLE p_0 PARTITION OF p FOR VALUES FROM (0) TO (100);
    CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (100) TO (400);
    CREATE TABLE p_d PARTITION OF p DEFAULT;
    INSERT INTO p SELECT i, i % 500 FROM generate_series(0, 4999) i;";

fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "align",
            schema: "
                CREATE TABLE p (id int NOT NULL, k int NOT NULL) PARTITION BY RANGE (k);
                CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (100);
                CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id);
                CREATE TABLE p_21 PARTITION OF p_2 FOR VALUES FROM (0) TO (1000000);
                INSERT INTO p SELECT i, i % 200 FROM generate_series(0, 999) i;
                CREATE INDEX i ON ONLY p (k, id);",
            died: None,
            work: Work::Align {
                index: "i".into(),
                missing_on: Vec::new(),
                attach: Vec::new(),
                rebuild: Vec::new(),
            },
            places: &["align.built", "align.built:2", "align.attached", "align.attached:2"],
        },
        Case {
            name: "convert",
            schema: "
                CREATE TABLE ref (id int PRIMARY KEY); INSERT INTO ref VALUES (1);
                CREATE TABLE p (id bigint, k int NOT NULL, r int DEFAULT 1 REFERENCES ref, PRIMARY KEY (id, k));
                CREATE TABLE uses (id bigint, k int, FOREIGN KEY (id, k) REFERENCES p ON DELETE CASCADE);
                INSERT INTO p SELECT i, i % 400 FROM generate_series(0, 4999) i;
                INSERT INTO uses SELECT id, k FROM p WHERE id < 10;",
            died: None,
            work: Work::Convert {
                table: table("p"),
                levels: vec![NewLevel {
                    method: Method::Range,
                    keys: vec!["k".into()],
                    parts: Vec::new(),
                }],
                first_name: "p_first".into(),
                first: range("min", "1000"),
                others: vec![part("p_next", range("1000", "2000"))],
            },
            places: &[
                "convert.staged",
                "convert.indexed",
                "convert.checked",
                "convert.proved",
                "convert.swapped",
                "convert.validated",
            ],
        },
        Case {
            name: "split",
            schema: RANGES,
            died: None,
            work: split(),
            places: &[
                "mirror.staged",
                "mirror.watch.before",
                "mirror.watch.after",
                "mirror.watched",
                "mirror.batch",
                "mirror.copied",
                "mirror.exclude.before",
                "mirror.exclude.after",
                "mirror.excluded",
                "mirror.refer.before",
                "mirror.refer.after",
                "mirror.referred",
                "mirror.proved",
                "mirror.waited",
                "mirror.swap.before",
                "mirror.swap.after",
                "mirror.swapped",
            ],
        },
        Case {
            name: "undo",
            schema: RANGES,
            died: Some((split(), "mirror.proved")),
            work: Work::Reap { unit: "u-died".into(), tables: Vec::new() },
            places: &[
                "mirror.unwatch.before",
                "mirror.unwatch.after",
                "mirror.unstage.before",
                "mirror.unstage.after",
                "mirror.unstage.after:2",
                "mirror.unexclude.before",
                "mirror.unexclude.after",
            ],
        },
    ]
}

fn unit(id: &str, work: Work) -> Unit {
    Unit { id: id.into(), set: table("p"), set_id: 0, work, wal_bytes: 0, relations: 0 }
}

async fn act(url: &str, unit: &Unit, run: &str) -> Result<Outcome, Failure> {
    let info = ConnInfo::resolve(Some(url), &Environment::of_process())?;
    let limits = Limits {
        wait_each: Duration::from_millis(50),
        wait_total: Duration::from_secs(1),
        patience: Duration::from_secs(60),
        seed: 7,
    };
    Ok(PostgresLifecycle::new(info, "test", run).act(unit, &limits, &Quiet).await?)
}

/// Not a test: the process that dies.
#[tokio::test]
#[ignore = "it is called by another test"]
async fn a_process_that_dies() {
    let Ok(text) = std::env::var(UNIT) else { return };
    let (url, unit): (String, Unit) = serde_json::from_str(&text).expect("a unit");
    let outcome = act(&url, &unit, "r-died").await.expect("an outcome");
    assert!(outcome.done, "{:?}", outcome.why);
}

async fn dies(url: &str, unit: &Unit, place: &str) -> Result<(), Failure> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(["--exact", "shapes::a_process_that_dies", "--ignored"]);
    command.env(UNIT, serde_json::to_string(&(url, unit))?).env("REPLAT_CRASH_AT", place);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    match output.status.signal() {
        Some(SIGABRT) => Ok(()),
        _ => Err(format!(
            "{place} was never reached: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout)
        )
        .into()),
    }
}

/// Makes a database, dies there at `place` if at any, and acts. What it is like then.
async fn tell(server: &Server, case: &Case, name: &str, place: Option<&str>) -> Result<Vec<String>, Failure> {
    server.create_database(name).await?;
    server.execute(name, case.schema).await?;
    let url = server.url(name);
    if let Some((work, place)) = &case.died {
        dies(&url, &unit("u-died", work.clone()), place).await?;
    }
    let client = server.client(name).await?;
    let (before, version) = (judge::bounds(&client).await?, judge::version(&client).await?);
    let unit = unit("u-shape", case.work.clone());
    if let Some(place) = place {
        dies(&url, &unit, place).await?;
    }
    let outcome = act(&url, &unit, "r-lives").await?;
    if !outcome.done {
        return Err(format!("it was not done: {:?}", outcome.why).into());
    }
    judge::records(&client, &before, version).await?;
    judge::content(&client).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_dies_while_a_shape_changes_is_gone_on_with() {
    let server = Server::start().await.expect("a server starts");
    let only = std::env::var("REPLAT_POINTS").unwrap_or_default();
    let mut failed = Vec::new();
    for case in cases().iter().filter(|case| case.name.starts_with(&only)) {
        let wanted = match tell(&server, case, case.name, None).await {
            Ok(wanted) => wanted,
            Err(failure) => {
                println!("{}: {failure}", case.name);
                failed.push(case.name.to_owned());
                continue;
            }
        };
        for (n, place) in case.places.iter().enumerate() {
            let name = format!("{}_{n}", case.name);
            let told = tell(&server, case, &name, Some(place)).await;
            let wrong = match told {
                Ok(found) if found == wanted => continue,
                Ok(found) => format!("it is not as it should be: {}", judge::different(&wanted, &found)),
                Err(failure) => failure.to_string(),
            };
            println!("{} {place}: {wrong}", case.name);
            failed.push(format!("{} {place}", case.name));
        }
    }
    assert!(failed.is_empty(), "a death did harm: {}", failed.join(", "));
}
