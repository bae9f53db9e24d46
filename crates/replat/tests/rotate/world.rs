//! A database for each test, on a server that the tests share, and the role that cron would use.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use replat_testkit::Server;
use tokio::sync::Mutex;
use tokio_postgres::Client;

use crate::program::{Program, Ran};

static SHARED: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The server that the tests share, started for whoever comes first and stopped behind whoever leaves last.
///
/// `app` is an ordinary role: it may log in, and owns its databases, and that is all.
pub async fn server() -> Arc<Server> {
    let mut shared = SHARED.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Server::builder().setting("timezone", "UTC").start().await.expect("a server");
    server.execute("postgres", "create role app login; create role stranger login").await.expect("roles");
    admit(&server).await;
    let server = Arc::new(server);
    *shared = Arc::downgrade(&server);
    server
}

/// The password of the role `locked`, which is asked for one. It looks like nothing else that is ever written.
pub const PASSWORD: &str = "c4naryGr3yp4ss";

/// Everybody may come in as before, but for one role.
async fn admit(server: &Server) {
    let rules = "local all all trust\nhost all locked 127.0.0.1/32 scram-sha-256\n\
                 host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n";
    std::fs::write(server.folder().join("data/pg_hba.conf"), rules).expect("pg_hba.conf can be written");
    let role = format!("create role locked login password '{PASSWORD}'");
    server.execute("postgres", &role).await.expect("a role");
    server.execute("postgres", "select pg_reload_conf()").await.expect("the rules hold");
    let url = format!("postgres://locked@127.0.0.1:{}/postgres", server.port());
    let refused = async {
        // The postmaster reads them in its own time.
        while replat_testkit::server::connect(&url).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), refused).await.expect("the rules come to hold");
}

/// A name that nobody else of this process has.
pub fn unique(word: &str) -> String {
    format!("{word}_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A folder that vanishes with its owner.
pub struct Folder(PathBuf);

impl Folder {
    /// A new, empty one.
    pub fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("replat-rotate-{}-{}", std::process::id(), unique("f")));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A database of the role `app`, and the program in a folder of its own.
pub struct World {
    /// The server.
    pub server: Arc<Server>,
    /// The program's folder.
    pub folder: Folder,
    /// The database's name.
    pub database: String,
    /// The program.
    pub program: Program,
}

impl World {
    /// A database where `app` ran `sql`, in UTC.
    pub async fn with(sql: &str) -> World {
        World::on(server().await, sql).await
    }

    /// The same on a server of one's own, which has the role `app`.
    pub async fn on(server: Arc<Server>, sql: &str) -> World {
        let (database, folder) = (unique("shop"), Folder::new());
        server
            .execute("postgres", &format!("create database {database} owner app"))
            .await
            .expect("a database");
        let program = Program::in_folder(folder.path());
        let world = World { server, folder, database, program };
        world.app(sql).await;
        world
    }

    /// How a role reaches the database.
    pub fn url(&self, role: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{}", self.server.port(), self.database)
    }

    /// Statements of the application.
    pub async fn app(&self, sql: &str) {
        let client = self.client().await;
        client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    /// Statements of the superuser.
    pub async fn admin(&self, sql: &str) {
        self.server.execute(&self.database, sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    /// A session of the application.
    pub async fn client(&self) -> Client {
        replat_testkit::server::connect(&self.url("app")).await.expect("a session")
    }

    /// `replat rotate --db-url=… ` and a line of words, as `app`.
    pub async fn rotate(&self, line: &str) -> Ran {
        self.verb("rotate", line).await
    }

    /// A verb with `--db-url=…` and a line of words, as `app`.
    pub async fn verb(&self, verb: &str, line: &str) -> Ran {
        let url = format!("--db-url={}", self.url("app"));
        let words: Vec<&str> =
            verb.split_whitespace().chain([url.as_str()]).chain(line.split_whitespace()).collect();
        self.program.run(&words).await
    }

    /// A run with a spec: `replat rotate -c FILE --db-url=…` and a line of words.
    pub async fn rotate_with(&self, spec: &str, line: &str) -> Ran {
        std::fs::write(self.path("wanted.toml"), spec).expect("a spec");
        self.rotate(&format!("-c wanted.toml {line}")).await
    }

    /// A file of the program's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The first column of all rows, as text.
    pub async fn column(&self, sql: &str) -> Vec<String> {
        column(&self.client().await, sql).await
    }

    /// A number.
    pub async fn number(&self, sql: &str) -> i64 {
        number(&self.client().await, sql).await
    }

    /// The partitions of a table, each `name bound`, in the order of their bounds' texts.
    pub async fn parts(&self, table: &str) -> Vec<String> {
        let sql = format!(
            "select format('%s %s', c.relname, pg_get_expr(c.relpartbound, c.oid)) from pg_inherits i \
             join pg_class c on c.oid = i.inhrelid where i.inhparent = {}::regclass",
            literal(table)
        );
        let mut found = self.column(&sql).await;
        found.sort();
        found
    }

    /// What nothing but a write changes: every row of the catalogue's great tables with the transaction that wrote it,
    /// and how often anything was written to any table.
    ///
    /// A session tells how much it wrote when it ends, which the server does after the program is gone: it is waited for.
    pub async fn mark(&self) -> Vec<String> {
        let ours = "select count(*) from pg_stat_activity where datname = current_database() \
             and application_name like 'replat%'";
        let begun = std::time::Instant::now();
        while self.number(ours).await > 0 {
            assert!(begun.elapsed().as_secs() < 60, "sessions of the program are still there");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        self.column(
            "select format('class %s %s %s', oid, relname, xmin) from pg_class where oid >= 16384 \
             union all select format('schema %s %s', nspname, xmin) from pg_namespace \
             union all select format('constraint %s %s', oid, xmin) from pg_constraint where oid >= 16384 \
             union all select format('trigger %s %s', oid, xmin) from pg_trigger \
             union all select format('written %s %s', relname, n_tup_ins + n_tup_upd + n_tup_del) \
               from pg_stat_user_tables where schemaname = 'replat' \
             union all select format('comment %s %s', objoid, xmin) from pg_description where objoid >= 16384 \
             order by 1",
        )
        .await
    }
}

/// The first column of all rows, as text.
pub async fn column(client: &Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    rows.iter().map(|row| row.get::<_, String>(0)).collect()
}

/// A number.
pub async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}")).get(0)
}

/// A text as SQL.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A spec with these lines.
pub fn spec(lines: &str) -> String {
    format!("version = 1\nproject = \"shop\"\n{lines}\n")
}

/// A table of one-day ranges over `ts timestamptz`, from `from` days before today until `to` days after it.
pub fn daily(table: &str, from: i32, to: i32) -> String {
    format!(
        "create table {table} (id bigint generated always as identity, ts timestamptz not null, v text, \
           primary key (id, ts)) partition by range (ts); \
         do $$ declare d date; begin for i in {from}..{to} loop d := current_date + i; \
           execute format('create table %s partition of {table} for values from (%L) to (%L)', \
             '{table}_' || to_char(d, 'YYYYMMDD'), d, d + 1); end loop; end $$;"
    )
}
