//! A shop's database on a server that logs, and somebody who buys.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use replat_testkit::Server;
use replat_testkit::server::ServerBuilder;
use serde_json::Value;
use tokio_postgres::Client;

use crate::program::{Program, Started};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Accounts of tenants; orders that refer to them; a log without a key; a partitioned table; a table of the server's
/// extension is there besides.
pub const SHOP: &str = "create extension pg_stat_statements; \
     create table accounts (tenant int, id bigint, email text, born date, primary key (tenant, id)); \
     create unique index on accounts (email); \
     create table orders (tenant int, id bigint, account bigint, note text, at timestamptz default now(), \
       primary key (tenant, id), foreign key (tenant, account) references accounts); \
     create table audit (tenant int, what text); \
     alter table accounts add balance bigint default 8800991122; update accounts set balance = 8800991122 where id = 0; \
     create table visits (tenant int, id bigint, primary key (tenant, id)) partition by hash (tenant); \
     create table visits_0 partition of visits for values with (modulus 2, remainder 0); \
     create table visits_1 partition of visits for values with (modulus 2, remainder 1); \
     create schema \"Odd one\"; create table \"Odd one\".\"it\"\"s\" (\"K\" uuid primary key); \
     insert into accounts select t, a, 'a' || t || '-' || a || '@c4nary-mail.example', '1980-02-14' \
       from generate_series(1, 4) t, generate_series(1, 50) a; \
     analyze";

/// A server whose log is JSON, or CSV before release 15, and counts statements.
pub fn logging() -> ServerBuilder {
    let form = match std::env::var(replat_testkit::server::BLUE_VARIABLE).as_deref() {
        Ok("14") => "csvlog",
        _ => "jsonlog",
    };
    logging_as(Server::builder().blue(), form)
}

/// A server whose log has this form, and that counts statements.
pub fn logging_as(builder: ServerBuilder, form: &str) -> ServerBuilder {
    builder
        .setting("shared_preload_libraries", "pg_stat_statements")
        .setting("logging_collector", "on")
        .setting("pg_stat_statements.track_utility", "on")
        .setting("log_destination", &format!("stderr,{form}"))
}

/// A folder, a server with the shop, and the binary.
pub struct World {
    /// The server.
    pub server: Server,
    folder: PathBuf,
    /// The binary; `SHOP_URL` reaches the shop as superuser.
    pub program: Program,
}

impl World {
    /// On a server of one's own.
    pub async fn on(builder: ServerBuilder) -> World {
        let server = builder.start().await.expect("a server");
        server.create_database("shop").await.expect("a database");
        server.execute("shop", SHOP).await.expect("tables");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("replat-capture-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let program = Program::in_folder(&folder).with("SHOP_URL", server.url("shop"));
        World { server, folder, program }
    }

    /// On a server that logs and counts.
    pub async fn new() -> World {
        World::on(logging()).await
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A superuser's session.
    pub async fn client(&self) -> Client {
        self.server.client("shop").await.expect("a session")
    }

    /// Begins a capture, and comes back when it reads.
    pub async fn start(&self, words: &str) -> Started {
        self.start_by(&self.program, words).await
    }

    /// The same by another program.
    pub async fn start_by(&self, program: &Program, words: &str) -> Started {
        let line = format!("capture start --from env:SHOP_URL {words}");
        let mut started = program.start(&line.split_whitespace().collect::<Vec<_>>());
        started.remarks("Ctrl-C or").await;
        started
    }

    /// One number of the server.
    pub async fn number(&self, query: &str) -> i64 {
        self.client().await.query_one(query, &[]).await.expect(query).get(0)
    }

    /// Slots, publications and settings that a capture may have left.
    pub async fn left_overs(&self) -> (i64, i64, String) {
        let slots = self.number("select count(*) from pg_replication_slots").await;
        let publications = self.number("select count(*) from pg_publication").await;
        (slots, publications, self.rate().await)
    }

    /// The share of transactions that new sessions are logged with.
    pub async fn rate(&self) -> String {
        let show = "show log_transaction_sample_rate";
        self.client().await.query_one(show, &[]).await.expect(show).get(0)
    }

    /// Waits until something is so.
    pub async fn until(&self, query: &str) {
        let client = self.client().await;
        let is_so = async {
            while !client.query_one(query, &[]).await.expect(query).get::<_, bool>(0) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), is_so).await.expect(query);
    }

    /// The lines of a file of evidence.
    pub fn lines(&self, name: &str) -> Vec<Value> {
        let path = self.path(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// Those of a kind.
    pub fn of_kind(&self, name: &str, kind: &str) -> Vec<Value> {
        self.lines(name).into_iter().filter(|line| line["k"] == kind).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Every file below a folder, as bytes.
pub fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
        match entry.is_dir() {
            true => all.extend(files(&entry)),
            false => all.push((entry.clone(), std::fs::read(&entry).expect("a file"))),
        }
    }
    all
}

/// A sale: reads an account, writes an order, a line of the audit and a visit; with parameters, as drivers do it.
pub async fn sell(client: &mut Client, tenant: i32, id: i64) {
    let selling = client.transaction().await.expect("a transaction");
    selling
        .query("select email from accounts where tenant = $1 and id = $2", &[&tenant, &1_i64])
        .await
        .expect("an account");
    selling
        .execute(
            "insert into orders (tenant, id, account, note) values ($1, $2, $3, $4)",
            &[&tenant, &id, &1_i64, &"c4nary-note"],
        )
        .await
        .expect("an order");
    selling.execute("insert into audit values ($1, $2)", &[&tenant, &"c4nary-audit"]).await.expect("audit");
    selling.execute("insert into visits values ($1, $2)", &[&tenant, &id]).await.expect("a visit");
    selling.commit().await.expect("it is sold");
}
