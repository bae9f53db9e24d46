//! A database of one's own, with partitioned tables.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use replat_testkit::Server;
use tokio::sync::Mutex;
use tokio_postgres::Client;

use crate::daemon::until;

static SHARED: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A database.
pub struct Place {
    /// The server it lies on.
    pub server: Arc<Server>,
    /// Its address.
    pub url: String,
    /// A session.
    pub client: Client,
    name: String,
}

/// Two tables of days, with a partition for today.
const TABLES: &str = "
    create table events (id bigint, at timestamptz not null) partition by range (at);
    create table logins (id bigint, at timestamptz not null) partition by range (at);
    do $$
    declare today text := date_trunc('day', now() at time zone 'UTC')::text || '+00';
            tomorrow text := (date_trunc('day', now() at time zone 'UTC') + interval '1 day')::text || '+00';
    begin
      execute format('create table events_0 partition of events for values from (%L) to (%L)', today, tomorrow);
      execute format('create table logins_0 partition of logins for values from (%L) to (%L)', today, tomorrow);
    end $$;";

impl Place {
    /// A database on the server that the tests share, with the tables `events` and `logins`.
    pub async fn with_days() -> Place {
        let place = Place::on(Place::shared().await).await;
        place.client.batch_execute(TABLES).await.expect("tables");
        place
    }

    /// An empty database on the server that the tests share.
    pub async fn empty() -> Place {
        Place::on(Place::shared().await).await
    }

    /// The same on a server of its own, which may be stopped.
    pub async fn alone() -> (Server, String) {
        let server = Server::start().await.expect("a server");
        server.create_database("app").await.expect("a database");
        server.execute("app", TABLES).await.expect("tables");
        let url = server.url("app");
        (server, url)
    }

    async fn shared() -> Arc<Server> {
        let mut shared = SHARED.lock().await;
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Server::start().await.expect("a server"));
        *shared = Arc::downgrade(&server);
        server
    }

    async fn on(server: Arc<Server>) -> Place {
        let name = format!("watch_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        server.create_database(&name).await.expect("a database");
        let client = server.client(&name).await.expect("a session");
        Place { url: server.url(&name), client, name, server }
    }

    /// Another session.
    pub async fn session(&self) -> Client {
        self.server.client(&self.name).await.expect("a session")
    }

    /// Whether `table` takes a row of so many days from now.
    pub async fn takes(&self, table: &str, days: i32) -> bool {
        takes(&self.client, table, days).await
    }

    /// How many partitions `table` has.
    pub async fn partitions(&self, table: &str) -> i64 {
        let sql = format!("select count(*) from pg_inherits where inhparent = '{table}'::regclass");
        self.client.query_one(&sql, &[]).await.expect("a count").get(0)
    }

    /// Waits until a run holds the lock of this database.
    pub async fn at_work(&self) {
        let sql = "select count(*) from pg_locks where locktype = 'advisory' and database = \
                   (select oid from pg_database where datname = current_database())";
        until("a run at work", async || {
            let held: i64 = self.client.query_one(sql, &[]).await.expect("locks").get(0);
            (held > 0).then_some(())
        })
        .await;
    }

    /// A session that lets nobody attach a partition to `table`, until it is dropped.
    pub async fn in_the_way(&self, table: &str) -> Client {
        let session = self.session().await;
        let sql = format!("begin; lock table {table} in share update exclusive mode");
        session.batch_execute(&sql).await.expect("a lock");
        session
    }
}

/// Whether `table` takes a row of so many days from now.
pub async fn takes(client: &Client, table: &str, days: i32) -> bool {
    let sql = format!("insert into {table} values (1, now() + interval '{days} days')");
    client.execute(&sql, &[]).await.is_ok()
}

/// The day so many days from now, as messages write it.
pub async fn day(client: &Client, days: i32) -> String {
    let sql = format!("select ((now() at time zone 'UTC')::date + {days})::text");
    client.query_one(&sql, &[]).await.expect("a day").get(0)
}
