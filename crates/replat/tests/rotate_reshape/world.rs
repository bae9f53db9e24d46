//! A database with writers who keep a journal, and the program.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use replat_testkit::Server;
use serde_json::Value;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

const DATABASE: &str = "shop";
/// Ids below this are never written: readers count them.
pub const STEADY: u64 = 1_000_000;
/// How long one call may take. Nothing is measured by it: it ends a test that would hang.
const CALL_MAX: Duration = Duration::from_secs(100);
/// The exit code of a run that finds another one at work: the session of one that was killed may outlive it for a moment.
const BUSY: i32 = 21;
/// What `abort` sends to its own process.
const SIGABRT: i32 = 6;

/// A server with a database.
pub struct World {
    server: Server,
    pub client: Client,
    folder: tempdir::Folder,
}

/// A folder that goes with its owner.
mod tempdir {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU64, Ordering};

    pub struct Folder(PathBuf);

    impl Folder {
        pub fn new() -> Folder {
            static COUNT: AtomicU64 = AtomicU64::new(0);
            let name = format!("replat-reshape-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).expect("a folder");
            Folder(path)
        }

        pub fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }
}

/// What came of a call.
pub struct Ran {
    pub code: Option<i32>,
    signal: Option<i32>,
    pub out: String,
    pub err: String,
    said: String,
}

impl Ran {
    fn told(&self) -> String {
        format!("replat {}: {:?} {:?}\n{}\n{}", self.said, self.code, self.signal, self.out, self.err)
    }

    pub fn ends_with(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{}", self.told());
        self
    }

    /// It says so, on whichever channel.
    pub fn says(self, word: &str) -> Ran {
        assert!(self.out.contains(word) || self.err.contains(word), "no {word:?} in {}", self.told());
        self
    }

    pub fn was_killed(self) -> Ran {
        assert_eq!(self.signal, Some(SIGABRT), "{}", self.told());
        self
    }

    /// The name of the last unit that it tells of.
    pub fn unit(&self) -> String {
        let value: Value = serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.told()));
        let entries = value["databases"][0]["entries"].as_array().expect("entries");
        entries.last().expect("an entry")["unit"]["id"].as_str().expect("a name").to_owned()
    }
}

impl World {
    pub async fn open(schema: &str) -> World {
        let server = Server::builder().start().await.expect("a server");
        server.create_database(DATABASE).await.expect("a database");
        let client = server.client(DATABASE).await.expect("a session");
        client.batch_execute(schema).await.unwrap_or_else(|e| panic!("{schema}: {e:?}"));
        World { server, client, folder: tempdir::Folder::new() }
    }

    /// `replat rotate WORDS`, words separated by blanks; `'` holds words together.
    pub async fn rotate(&self, words: &str) -> Ran {
        self.run(words, None).await
    }

    /// The same, which dies at this point.
    pub async fn dies(&self, words: &str, point: &str) {
        self.run(words, Some(point)).await.was_killed();
    }

    async fn run(&self, words: &str, crash: Option<&str>) -> Ran {
        loop {
            let ran = self.once(words, crash).await;
            if ran.code != Some(BUSY) {
                return ran;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn once(&self, words: &str, crash: Option<&str>) -> Ran {
        let mut arguments: Vec<String> = vec!["rotate".into()];
        for (n, piece) in words.split('\'').enumerate() {
            match n % 2 {
                1 => arguments.push(piece.to_owned()),
                _ => arguments.extend(piece.split_whitespace().map(str::to_owned)),
            }
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_replat"));
        command.args(&arguments).env("REPLAT_DB_URL", self.server.url(DATABASE));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        if let Some(point) = crash {
            command.env("REPLAT_CRASH_AT", point);
        }
        let output = tokio::time::timeout(CALL_MAX, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("replat {words} takes too long")).expect("it starts");
        Ran {
            code: output.status.code(),
            signal: output.status.signal(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            said: words.to_owned(),
        }
    }

    /// Rows as text, columns separated by `|`.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        rows(&self.client, sql).await
    }

    pub async fn one(&self, sql: &str) -> String {
        self.rows(sql).await.pop().unwrap_or_else(|| panic!("no row of {sql}"))
    }

    /// The bounds of a table's partitions.
    pub async fn bounds(&self, table: &str) -> Vec<String> {
        self.rows(&format!(
            "select pg_get_expr(c.relpartbound, c.oid) from pg_inherits i join pg_class c on c.oid = i.inhrelid \
             where i.inhparent = '{table}'::regclass order by 1"
        ))
        .await
    }

    /// What there is in the schema, and what replat left on it.
    pub async fn schema(&self) -> Vec<String> {
        self.rows(
            "select relkind::text || ' ' || relname from pg_class where relnamespace = 'public'::regnamespace \
             union all select 'constraint ' || conname || ' ' || pg_get_constraintdef(oid) from pg_constraint \
               where connamespace = 'public'::regnamespace \
             union all select 'trigger ' || tgname from pg_trigger where not tgisinternal \
             union all select 'function ' || proname from pg_proc where pronamespace = 'public'::regnamespace \
             order by 1",
        )
        .await
    }

    /// Nothing is left of any unit but what waits to be dropped.
    pub async fn assert_clean(&self) {
        let left = self
            .rows(
                "select 'trigger ' || tgname from pg_trigger where tgname like 'replat%' \
                 union all select 'function ' || proname from pg_proc where proname like 'replat%' \
                 union all select 'check ' || conname from pg_constraint where contype = 'c' and conname like 'replat%' \
                   and conrelid not in (select relation from replat.lifecycle_part where state = 'replaced') \
                 union all select 'table ' || relname from pg_class where relkind in ('r', 'p') \
                   and relname like 'replat\\_%' and relname not like 'replat%old%' \
                 union all select 'record ' || table_name from replat.lifecycle_part where state = 'staged' \
                 union all select 'unit ' || id from replat.lifecycle_unit where state in ('begun', 'failed')",
            )
            .await;
        assert!(left.is_empty(), "left over: {left:?}");
    }
}

async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).unwrap_or("null")).collect::<Vec<_>>().join("|"))
        }
        _ => None,
    });
    rows.collect()
}

/// For each row that was written, the value it was last acknowledged with.
type Journal = BTreeMap<u64, u64>;

/// Writers and a reader at work on the columns `id` and `v` of a table.
pub struct Load {
    table: &'static str,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Journal>>,
    reader: JoinHandle<Vec<String>>,
    writes: Arc<AtomicU64>,
}

impl Load {
    /// Begins. `insert` makes a row of `{id}` and `{v}`; the reader expects `steady` rows at any time.
    pub async fn begin(world: &World, table: &'static str, insert: &'static str, steady: u64) -> Load {
        let (stop, writes): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let mut writers = Vec::new();
        for number in 0..3 {
            let client = world.server.client(DATABASE).await.expect("a session");
            writers.push(tokio::spawn(write(client, table, insert, number, stop.clone(), writes.clone())));
        }
        let client = world.server.client(DATABASE).await.expect("a session");
        let reader = tokio::spawn(count(client, table, steady, stop.clone()));
        Load { table, stop, writers, reader, writes }
    }

    /// Lets so many more writes happen.
    pub async fn go_on(&self, writes: u64) {
        let until = self.writes.load(Ordering::SeqCst) + writes;
        while self.writes.load(Ordering::SeqCst) < until {
            assert!(!self.writers.iter().any(JoinHandle::is_finished), "a writer gave up");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends the load: each acknowledged write is there once, with its last value, and nothing else.
    pub async fn judge(self, world: &World) {
        self.stop.store(true, Ordering::SeqCst);
        let mut journal = Journal::new();
        for writer in self.writers {
            journal.extend(writer.await.expect("a writer"));
        }
        let wrong = self.reader.await.expect("a reader");
        assert!(wrong.is_empty(), "rows were not visible: {wrong:?}");
        let table = self.table;
        let found = world.rows(&format!("select id, v from {table} where id >= {STEADY} order by id, v")).await;
        let expected: Vec<String> = journal.iter().map(|(id, v)| format!("{id}|{v}")).collect();
        assert!(!expected.is_empty(), "nothing was written");
        for (expected, found) in expected.iter().zip(&found) {
            assert_eq!(expected, found, "a row is not as it was last written");
        }
        assert_eq!(expected.len(), found.len(), "rows are missing or there twice");
    }
}

/// Inserts, updates and deletes rows of its own until told to stop.
async fn write(
    client: Client,
    table: &'static str,
    insert: &'static str,
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
    while !stop.load(Ordering::SeqCst) {
        let (id, v) = (STEADY + number + 3 * next(500), next(1_000_000));
        let mut after = journal.clone();
        let sql = match (journal.contains_key(&id), next(3)) {
            (false, _) => {
                after.insert(id, v);
                insert.replace("{id}", &id.to_string()).replace("{v}", &v.to_string())
            }
            (true, 0) => {
                after.remove(&id);
                format!("delete from {table} where id = {id}")
            }
            (true, _) => {
                after.insert(id, v);
                format!("update {table} set v = {v} where id = {id}")
            }
        };
        client.batch_execute(&sql).await.unwrap_or_else(|e| panic!("a writer was refused: {sql}: {e:?}"));
        journal = after;
        writes.fetch_add(1, Ordering::SeqCst);
        // Others want to work on this machine as well.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    journal
}

/// Counts the steady rows until told to stop; what it found amiss.
async fn count(client: Client, table: &'static str, steady: u64, stop: Arc<AtomicBool>) -> Vec<String> {
    let sql = format!("select count(*) from {table} where id < {STEADY}");
    let mut wrong = Vec::new();
    while !stop.load(Ordering::SeqCst) && wrong.len() < 5 {
        let found = rows(&client, &sql).await;
        if found != [steady.to_string()] {
            wrong.push(format!("{found:?} of {steady}"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    wrong
}
