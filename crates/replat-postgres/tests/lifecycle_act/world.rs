//! A database of its own on a server that all tests share, and units that are brought about in it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use replat_engine::EngineError;
use replat_engine::lifecycle::{Hear, LifecycleEngine, Limits, Outcome, Quiet};
use replat_model::lifecycle::facts::{Bound, Edge, TableName};
use replat_model::lifecycle::plan::{NewPart, Unit, Work};
use replat_postgres::conninfo::{ConnInfo, Environment};
use replat_postgres::lifecycle::engine::PostgresLifecycle;
use replat_testkit::Server;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, SimpleQueryMessage};

static SERVER: OnceCell<Server> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The server of this process; it vanishes with it.
pub async fn server() -> &'static Server {
    SERVER.get_or_init(|| async { Server::start().await.expect("a server starts") }).await
}

pub struct World {
    pub database: String,
    pub url: String,
    pub client: Client,
}

impl World {
    /// A database with what `schema` makes.
    pub async fn with(schema: &str) -> World {
        let server = server().await;
        let database = format!("w{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        server.create_database(&database).await.expect("a database");
        let client = server.client(&database).await.expect("a session");
        client.batch_execute(schema).await.unwrap_or_else(|error| panic!("{schema}\n{error:?}"));
        World { url: server.url(&database), client, database }
    }

    pub async fn session(&self) -> Client {
        server().await.client(&self.database).await.expect("a session")
    }

    pub fn engine(&self) -> PostgresLifecycle {
        engine(&self.url, &self.database, "r1")
    }

    /// As another role.
    pub fn engine_as(&self, role: &str) -> PostgresLifecycle {
        engine(&self.url.replace("postgres@", &format!("{role}@")), &self.database, "r1")
    }

    pub async fn act(&self, unit: &Unit) -> Outcome {
        act(&self.engine(), unit, &limits()).await
    }

    /// Acts, and it must come to its end.
    pub async fn done(&self, unit: &Unit) -> Outcome {
        let outcome = self.act(unit).await;
        assert!(outcome.done, "{:?}", outcome.why);
        outcome
    }

    pub async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
    }

    /// All rows as text, values separated by `|`, lines by a line end.
    pub async fn ask(&self, sql: &str) -> String {
        ask(&self.client, sql).await
    }

    pub async fn unit(&self, set: &TableName, work: Work) -> Unit {
        let id = self.id(set).await;
        Unit {
            id: format!("u-{}-{id}", work_word(&work)),
            set: set.clone(),
            set_id: id,
            work,
            wal_bytes: 0,
            relations: 0,
        }
    }

    pub async fn id(&self, table: &TableName) -> u64 {
        let row = self
            .client
            .query_one(
                "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = $1 AND c.relname = $2",
                &[&table.schema, &table.name],
            )
            .await
            .unwrap_or_else(|error| panic!("{table}: {error}"));
        u64::from(row.get::<_, u32>(0))
    }

    /// Partitions of a table with their bounds.
    pub async fn parts(&self, table: &str) -> String {
        self.ask(&format!(
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
             WHERE i.inhparent = '{table}'::regclass ORDER BY 1"
        ))
        .await
    }

    /// Nothing that a unit left behind: no staged table, no check or trigger of replat's, no open unit.
    pub async fn has_no_orphan(&self) {
        let orphans = self
            .ask(
                "SELECT 'table', relation::regclass::text FROM replat.lifecycle_part WHERE state = 'staged' \
                 UNION ALL SELECT 'check', conname FROM pg_constraint WHERE conname LIKE 'replat%' \
                 UNION ALL SELECT 'trigger', tgname FROM pg_trigger WHERE tgname LIKE '%replat%' \
                 UNION ALL SELECT 'pending', inhrelid::regclass::text FROM pg_inherits WHERE inhdetachpending \
                 UNION ALL SELECT 'unit', id FROM replat.lifecycle_unit WHERE state IN ('begun', 'failed') \
                 UNION ALL SELECT 'unknown', c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname LIKE 'events\\_%' \
                   AND n.nspname = 'public' \
                   AND c.oid NOT IN (SELECT relation FROM replat.lifecycle_part)",
            )
            .await;
        assert_eq!(orphans, "", "nothing is left behind");
    }
}

fn work_word(work: &Work) -> String {
    format!("{:?}", work.kind()).to_lowercase()
}

pub fn engine(url: &str, database: &str, run: &str) -> PostgresLifecycle {
    let info = ConnInfo::resolve(Some(url), &Environment::of_process()).expect("a connection string");
    PostgresLifecycle::new(info, database, run)
}

pub async fn ask(client: &Client, sql: &str) -> String {
    let answer = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
    let rows = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|n| row.get(n).unwrap_or("-").to_owned()).collect::<Vec<_>>().join("|"))
        }
        _ => None,
    });
    rows.collect::<Vec<_>>().join("\n")
}

pub async fn act(engine: &PostgresLifecycle, unit: &Unit, limits: &Limits) -> Outcome {
    act_heard(engine, unit, limits, &Quiet).await
}

pub async fn act_heard(
    engine: &PostgresLifecycle,
    unit: &Unit,
    limits: &Limits,
    heard: &dyn Hear,
) -> Outcome {
    engine.act(unit, limits, heard).await.unwrap_or_else(|error: EngineError| panic!("{error}: {error:?}"))
}

/// Enough for any test, and queues that the tests themselves would feel.
pub fn limits() -> Limits {
    Limits {
        wait_each: Duration::from_millis(50),
        wait_total: Duration::from_millis(200),
        patience: Duration::from_secs(30),
        seed: 7,
    }
}

pub fn table(name: &str) -> TableName {
    TableName::new("public", name)
}

pub fn at(text: &str) -> Edge {
    Edge::At(text.to_owned())
}

pub fn range(from: &str, to: &str) -> Bound {
    Bound::Range { from: vec![at(from)], to: vec![at(to)] }
}

/// A day of 2030 of the table `events`, as PostgreSQL prints it.
pub fn day(n: u32) -> NewPart {
    let moment = |n: u32| format!("2030-01-{n:02} 00:00:00+00");
    NewPart {
        table: table(&format!("events_2030_01_{n:02}")),
        bound: range(&moment(n), &moment(n + 1)),
        like: None,
        below: None,
    }
}

pub fn create(parts: Vec<NewPart>) -> Work {
    Work::Create { parent: table("events"), parts, default: None, edge: None }
}

/// A table by day with two indexes; its first partition is the first of January 2030.
pub const EVENTS: &str = "
    CREATE TABLE events (id bigint NOT NULL, ts timestamptz NOT NULL, kind text, PRIMARY KEY (id, ts)) PARTITION BY RANGE (ts);
    CREATE INDEX events_kind ON events (kind);
    CREATE TABLE events_2030_01_01 PARTITION OF events FOR VALUES FROM ('2030-01-01+00') TO ('2030-01-02+00');
    INSERT INTO events SELECT n, '2030-01-01 12:00+00', 'a' FROM generate_series(1, 100) n;";

/// Remembers what it hears.
#[derive(Default)]
pub struct Ears(pub Mutex<Vec<String>>);

impl Hear for Ears {
    fn progress(&self, what: &str, _done: u64, _of: Option<u64>) {
        self.0.lock().expect("nobody panics here").push(what.to_owned());
    }
}

/// A detach that is broken off after its first transaction, as a process that dies leaves it.
pub async fn pend(world: &World, parent: &str, part: &str) {
    let (reader, breaks) = (world.session().await, world.session().await);
    reader.batch_execute(&format!("BEGIN; SELECT FROM {parent} LIMIT 1")).await.expect("a reader");
    breaks.batch_execute("SET lock_timeout = '100ms'").await.expect("a setting");
    let detach = format!("ALTER TABLE {parent} DETACH PARTITION {part} CONCURRENTLY");
    let broken = breaks.batch_execute(&detach).await;
    assert!(broken.is_err(), "the reader is in its way");
    reader.batch_execute("ROLLBACK").await.expect("the reader ends");
    let pending = format!("SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = '{part}'::regclass");
    assert_eq!(world.ask(&pending).await, "t");
}
