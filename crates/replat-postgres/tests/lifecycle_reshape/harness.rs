//! A set under load: writers that keep a journal, readers that always count the same rows, and a judge.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use replat_engine::EngineError;
use replat_engine::lifecycle::{Hear, Limits, Outcome, Quiet};
use replat_model::lifecycle::facts::{Bound, Edge, TableName};
use replat_model::lifecycle::plan::{NewPart, Unit, Work};
use replat_postgres::lifecycle::ledger::{Ledger, ensure};
use replat_postgres::lifecycle::mirror::survey::Session;
use replat_testkit::Server;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

/// The database all stories are told in.
pub const DATABASE: &str = "shop";

/// A server with a database and replat's records.
pub struct Shop {
    pub server: Server,
    pub client: Client,
    pub ledger: Ledger,
}

impl Shop {
    /// With the tables that `schema` makes.
    pub async fn open(schema: &str) -> Shop {
        let server = Server::builder()
            .setting("log_min_messages", "debug1")
            .setting("max_prepared_transactions", "4")
            .start()
            .await
            .expect("a server");
        server.create_database(DATABASE).await.expect("a database");
        let client = server.client(DATABASE).await.expect("a session");
        client.batch_execute(schema).await.unwrap_or_else(|e| panic!("{schema}: {e:?}"));
        let ledger = ensure(&client, "public").await.expect("records");
        Shop { server, client, ledger }
    }

    /// Brings a unit about.
    pub async fn act(&self, unit: &Unit) -> Result<Outcome, EngineError> {
        self.act_heard(unit, &Quiet).await
    }

    /// The same, with somebody who hears of it.
    pub async fn act_heard(&self, unit: &Unit, heard: &dyn Hear) -> Result<Outcome, EngineError> {
        let client = self.server.client(DATABASE).await.expect("a session");
        let session =
            Session { client: &client, database: DATABASE, ledger: &self.ledger, unit, run: "test" };
        replat_postgres::lifecycle::reshape::act(&session, &limits(), heard).await
    }

    /// The only value of the only row.
    pub async fn one(&self, sql: &str) -> String {
        one(&self.client, sql).await
    }

    /// Rows as text.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        rows(&self.client, sql).await
    }

    /// Nothing of any unit is left but what is in use or waits to be dropped.
    pub async fn assert_clean(&self) {
        let left = self
            .rows(
                "select 'function ' || proname from pg_proc where proname like 'replat%mirror%' \
                 union all select 'trigger ' || tgname from pg_trigger where tgname like 'replat%' \
                 union all select 'check ' || conname from pg_constraint where conname like 'replat%bound' \
                   or conname like 'replat%not' \
                 union all select 'table ' || relname from pg_class where relkind in ('r', 'p') \
                   and relname like 'replat\\_%' and relname not like 'replat%old%' \
                 union all select 'column ' || attname from pg_attribute where attname like 'replat\\_%' \
                   and not attisdropped \
                 union all select 'record ' || table_name from replat.lifecycle_part where state = 'staged'",
            )
            .await;
        assert!(left.is_empty(), "left over: {left:?}");
    }

    /// No attach read a row under a lock, since the log says of each that its CHECK was proof enough.
    pub fn assert_proven(&self, tables: &[&str]) {
        let log = self.server.log_tail(100_000);
        for table in tables {
            let words =
                format!("partition constraint for table \"{table}\" is implied by existing constraints");
            assert!(log.contains(&words), "the attach of {table} had to read it");
        }
    }
}

/// Generous, as tests have no say in how busy the machine is.
pub fn limits() -> Limits {
    Limits {
        wait_each: Duration::from_millis(50),
        wait_total: Duration::from_secs(5),
        patience: Duration::from_secs(60),
        seed: 7,
    }
}

/// A unit of this work.
pub fn unit(id: &str, work: Work) -> Unit {
    Unit { id: format!("u-{id}"), set: public("p"), set_id: 0, work, wal_bytes: 0, relations: 0 }
}

/// A table in the schema `public`.
pub fn public(name: &str) -> TableName {
    TableName::new("public", name)
}

/// A range of one component.
pub fn range(from: &str, to: &str) -> Bound {
    let edge = |text: &str| match text {
        "min" => Edge::Min,
        "max" => Edge::Max,
        text => Edge::At(text.to_owned()),
    };
    Bound::Range { from: vec![edge(from)], to: vec![edge(to)] }
}

/// A new partition.
pub fn part(name: &str, bound: Bound) -> NewPart {
    NewPart { table: public(name), bound, like: None, below: None }
}

/// The only value of the only row, as text.
pub async fn one(client: &Client, sql: &str) -> String {
    rows(client, sql).await.pop().unwrap_or_else(|| panic!("no row of {sql}"))
}

/// Rows as text, columns separated by `|`.
pub async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).unwrap_or("null")).collect::<Vec<_>>().join("|"))
            }
            _ => None,
        })
        .collect()
}

/// How writers write to a set: statements with `{id}`, `{key}` and `{v}`.
#[derive(Clone, Copy)]
pub struct Shape {
    /// The keys that rows may have, as literals.
    pub keys: &'static [&'static str],
    /// The name of the key's column.
    pub key: &'static str,
}

/// What writers were told to be so: for each row its key, as an index of [`Shape::keys`], and its value.
pub type Journal = BTreeMap<u64, (usize, u64)>;

/// Writers and readers at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Journal>>,
    readers: Vec<JoinHandle<Vec<String>>>,
    /// Acknowledged writes.
    pub writes: Arc<AtomicU64>,
    /// Counts by readers.
    pub reads: Arc<AtomicU64>,
}

/// Ids below this are never written: readers count them.
pub const STEADY: u64 = 1_000_000;

impl Load {
    /// Begins. Readers expect `steady` rows below [`STEADY`], at any time.
    pub async fn begin(shop: &Shop, shape: Shape, steady: u64) -> Load {
        let mut load = Load {
            stop: Arc::default(),
            writers: Vec::new(),
            readers: Vec::new(),
            writes: Arc::default(),
            reads: Arc::default(),
        };
        for number in 0..4 {
            let client = shop.server.client(DATABASE).await.expect("a session");
            let writer = write(client, shape, number, load.stop.clone(), load.writes.clone());
            load.writers.push(tokio::spawn(writer));
        }
        for kind in 0..3 {
            let client = shop.server.client(DATABASE).await.expect("a session");
            load.readers.push(tokio::spawn(count(
                client,
                kind,
                steady,
                load.stop.clone(),
                load.reads.clone(),
            )));
        }
        load
    }

    /// Lets so many more writes happen.
    pub async fn go_on(&self, writes: u64) {
        let until = self.writes.load(Ordering::SeqCst) + writes;
        while self.writes.load(Ordering::SeqCst) < until {
            assert!(!self.writers.iter().any(JoinHandle::is_finished), "a writer gave up");
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends the load, and compares: each acknowledged write is there once, with its last value, and nothing else.
    pub async fn judge(self, shop: &Shop, shape: Shape) {
        self.stop.store(true, Ordering::SeqCst);
        let mut wrong = Vec::new();
        for reader in self.readers {
            wrong.extend(reader.await.expect("a reader"));
        }
        assert!(wrong.is_empty(), "rows were not visible: {wrong:?}");
        let mut journal = Journal::new();
        for writer in self.writers {
            journal.extend(writer.await.expect("a writer"));
        }
        let expected: Vec<String> =
            journal.iter().map(|(id, (key, v))| format!("{id}|{}|{v}", shape.keys[*key])).collect();
        let keys = shape.key;
        let found = shop
            .rows(&format!(
                "set timezone = 'UTC'; select id, {keys}::text, v from p where id >= {STEADY} order by id, v"
            ))
            .await;
        for (expected, found) in expected.iter().zip(&found) {
            assert_eq!(expected, found, "a row is not as it was last written");
        }
        assert_eq!(expected.len(), found.len(), "rows are missing or there twice");
        assert!(self.writes.load(Ordering::SeqCst) > 0 && self.reads.load(Ordering::SeqCst) > 0);
    }
}

/// Writes rows of its own until told to stop: inserts, updates, moves between partitions, deletes, and inserts again; in
/// transactions of all kinds, some of which are rolled back.
async fn write(
    client: Client,
    shape: Shape,
    number: u64,
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
) -> Journal {
    let mut journal = Journal::new();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(number + 1);
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    const LEVELS: [&str; 4] = ["read committed", "repeatable read", "serializable", "read committed"];
    while !stop.load(Ordering::SeqCst) {
        let mut after = journal.clone();
        let mut text = format!("begin isolation level {};", LEVELS[number as usize % 4]);
        // An early snapshot is what makes the difference for the stricter levels.
        text.push_str("select count(*) from pg_class where relname = 'x';");
        for _ in 0..=next(3) {
            let id = STEADY + number + 4 * next(60);
            let (key, v) = (usize::try_from(next(shape.keys.len() as u64)).expect("few"), next(1_000_000));
            let (column, to) = (shape.key, shape.keys[key]);
            match (after.get(&id).copied(), next(4)) {
                (None, _) => {
                    text.push_str(&format!("insert into p (id, {column}, v) values ({id}, '{to}', {v});"));
                    after.insert(id, (key, v));
                }
                (Some(_), 0) => {
                    text.push_str(&format!("delete from p where id = {id};"));
                    after.remove(&id);
                }
                (Some((key, _)), 1) => {
                    text.push_str(&format!("update p set v = {v} where id = {id};"));
                    after.insert(id, (key, v));
                }
                (Some(_), _) => {
                    text.push_str(&format!("update p set v = {v}, {column} = '{to}' where id = {id};"));
                    after.insert(id, (key, v));
                }
            }
            if next(3) == 0 {
                text.push_str("select pg_sleep(0.002);");
            }
        }
        let kept = next(8) != 0;
        text.push_str(if kept { "commit" } else { "rollback" });
        match client.batch_execute(&text).await {
            Ok(()) if kept => {
                journal = after;
                writes.fetch_add(1, Ordering::SeqCst);
            }
            Ok(()) => {}
            Err(error) => {
                let code = error.code().unwrap_or_else(|| panic!("a writer lost its session: {error:?}"));
                // What any application that asks for strict isolation has to expect, and nothing else.
                assert_eq!(code.code(), "40001", "a writer was refused: {error:?}\n{text}");
                client.batch_execute("rollback").await.expect("a rollback");
            }
        }
    }
    journal
}

/// Counts the steady rows until told to stop; what it found amiss.
async fn count(
    client: Client,
    kind: u32,
    steady: u64,
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
) -> Vec<String> {
    let sql = format!("select count(*) from p where id < {STEADY}");
    let prepared = client.prepare(&sql).await.expect("a statement");
    let mut wrong = Vec::new();
    while !stop.load(Ordering::SeqCst) && wrong.len() < 5 {
        let found: i64 = match kind {
            0 => one(&client, &sql).await.parse().expect("a number"),
            1 => client.query_one(&prepared, &[]).await.expect("a count").get(0),
            // A snapshot that is older than the first look at the set.
            _ => {
                let text = format!(
                    "begin isolation level repeatable read; select 'x' from pg_class limit 0; \
                     select pg_sleep(0.05); {sql}; commit"
                );
                let all = rows(&client, &text).await;
                all.last().expect("a row").parse().expect("a number")
            }
        };
        if found != i64::try_from(steady).expect("few") {
            wrong.push(format!("reader {kind} saw {found} of {steady}"));
        }
        reads.fetch_add(1, Ordering::SeqCst);
    }
    wrong
}
