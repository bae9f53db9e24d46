//! A shop with many small tenants, and clients that write to all of them wherever they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use replat_testkit::Server;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::program::{Program, Ran};

/// What each tenant has, on blue.
const BLUE: &str = "
    create table accounts (
      tenant_id bigint not null, id bigint not null, email text, n bigint not null default 0, body text,
      primary key (tenant_id, id), unique (tenant_id, email)
    );
    create index accounts_n on accounts (n);
    create table moves (
      tenant_id bigint not null, id bigint not null, account_id bigint not null, amount numeric(12,2) not null,
      primary key (tenant_id, id), foreign key (tenant_id, account_id) references accounts (tenant_id, id)
    );
    create table currencies (code text primary key, name text not null);
    insert into currencies values ('CHF', 'Franken'), ('JPY', 'Yen');
";

/// The same on green, where no amount is below zero.
const GREEN: &str = "
    create table accounts (
      tenant_id bigint not null, id bigint not null, email text, n bigint not null default 0, body text,
      primary key (tenant_id, id), unique (tenant_id, email)
    );
    create index accounts_n on accounts (n);
    create table moves (
      tenant_id bigint not null, id bigint not null, account_id bigint not null,
      amount numeric(12,2) not null check (amount >= 0),
      primary key (tenant_id, id), foreign key (tenant_id, account_id) references accounts (tenant_id, id)
    );
    create table currencies (code text primary key, name text not null);
";

/// A project of its own, on a server of its own.
pub struct Shop {
    server: Server,
    folder: PathBuf,
    /// The binary in the project's folder.
    pub program: Program,
    tenants: i64,
}

impl Drop for Shop {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl Shop {
    /// A shop with so many tenants of so many rows each, and more lines of the policy.
    pub async fn new(tenants: i64, rows: i64, connections: u32, policy: &str) -> Shop {
        static SHOPS: AtomicU32 = AtomicU32::new(0);
        let server = Server::builder()
            .blue()
            .setting("max_replication_slots", "60")
            .setting("max_wal_senders", "60")
            .setting("max_connections", "300")
            .start()
            .await
            .expect("a server");
        for database in ["blue", "green"] {
            server.create_database(database).await.expect("a database");
        }
        let number = SHOPS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("replat-cohort-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let program = Program::in_folder(&folder)
            .with("BLUE_URL", server.url("blue"))
            .with("GREEN_URL", server.url("green"));
        let spec = format!(
            "version = 1\nproject = 'shop'\n\
             [databases.blue]\nurl = 'env:BLUE_URL'\nmax_connections = {connections}\n\
             [databases.green]\nurl = 'env:GREEN_URL'\nmax_connections = {connections}\n\
             [contexts.shop]\ndimensions = [{{ column = 'tenant_id', type = 'bigint' }}]\n\
             home = {{ database = 'blue', schema = 'public' }}\n\
             [contexts.shop.rollout]\nversion = 'v2'\nto = {{ database = 'green', schema = 'shop' }}\nddl = ['v2.sql']\n\
             [contexts.shop.tables.accounts]\n[contexts.shop.tables.moves]\n\
             [contexts.shop.tables.currencies]\nmode = 'reference'\n[policy]\n{policy}\n"
        );
        std::fs::write(folder.join("replat.toml"), spec).expect("the spec");
        std::fs::write(folder.join("v2.sql"), GREEN).expect("the DDL");
        let shop = Shop { server, folder, program, tenants };
        let blue = shop.blue().await;
        blue.batch_execute(BLUE).await.expect("blue's tables");
        blue.batch_execute(&format!(
            "insert into accounts select t, n, format('u%s@t%s', n, t), 0, repeat(md5(t::text || n::text), 4) \
               from generate_series(1, {tenants}) t, generate_series(1, {rows}) n; \
             insert into moves select t, n, 1 + n % {rows}, n / 7.0 \
               from generate_series(1, {tenants}) t, generate_series(1, {rows}) n; analyze"
        ))
        .await
        .expect("rows");
        shop
    }

    /// The project's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A session on blue.
    pub async fn blue(&self) -> Client {
        self.server.client("blue").await.expect("a session on blue")
    }

    /// A session on green.
    pub async fn green(&self) -> Client {
        let green = self.server.client("green").await.expect("a session on green");
        green.batch_execute("set search_path = shop, public").await.expect("a search path");
        green
    }

    /// Runs the program.
    pub async fn replat(&self, line: &str) -> Ran {
        self.program.line(line).await
    }

    /// How many sessions of replat's each database has, readers of its log included.
    pub async fn connections(&self, watch: &Client) -> BTreeMap<String, i64> {
        let sql = "select datname::text, count(*) from pg_stat_activity \
                   where starts_with(application_name, 'replat/') and datname is not null group by 1";
        let rows = watch.query(sql, &[]).await.expect("the sessions");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// The names of all slots.
    pub async fn slots(&self, watch: &Client) -> Vec<String> {
        let rows = watch.query("select slot_name::text from pg_replication_slots order by 1", &[]).await;
        rows.expect("the slots").iter().map(|row| row.get(0)).collect()
    }
}

/// Clients that write to all tenants, and follow each of them to where it is.
pub struct Writers {
    stop: Arc<AtomicBool>,
    /// By tenant: how many increments were acknowledged.
    acknowledged: Arc<Mutex<BTreeMap<i64, i64>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    /// So many clients.
    pub async fn start(shop: &Shop, clients: i64) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
        let mut tasks = Vec::new();
        for client in 0..clients {
            let sides = [shop.blue().await, shop.green().await];
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            let tenants = shop.tenants;
            tasks.push(tokio::spawn(async move {
                let mut homes: BTreeMap<i64, usize> = BTreeMap::new();
                let mut n = client;
                while !stop.load(Ordering::Relaxed) {
                    n += clients;
                    let tenant = 1 + (n * 7) % tenants;
                    let home = homes.entry(tenant).or_insert(0);
                    let sql =
                        "update accounts set n = n + 1 where tenant_id = $1 and id = 1 + $2::bigint % 10";
                    match sides[*home].execute(sql, &[&tenant, &n]).await {
                        Ok(1) => {
                            *acknowledged.lock().expect("no holder panics").entry(tenant).or_default() += 1;
                        }
                        // Refused, or not there: on the other side, perhaps.
                        _ => {
                            *home = 1 - *home;
                        }
                    }
                    // A writer that never rests takes the processor from the runner.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }));
        }
        Writers { stop, acknowledged, tasks }
    }

    /// Ends them. What was acknowledged, by tenant.
    pub async fn end(self) -> BTreeMap<i64, i64> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a client that does not panic");
        }
        self.acknowledged.lock().expect("no holder panics").clone()
    }
}

/// By tenant: the sum of the increments that a side has.
pub async fn sums(side: &Client) -> BTreeMap<i64, i64> {
    let rows = side.query("select tenant_id, sum(n)::bigint from accounts group by 1", &[]).await;
    rows.expect("the sums").iter().map(|row| (row.get(0), row.get(1))).collect()
}
