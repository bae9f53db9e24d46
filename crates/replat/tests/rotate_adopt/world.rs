//! Databases of their own on a server that the tests share.

use std::collections::BTreeMap;
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
async fn server() -> Arc<Server> {
    let mut shared = SHARED.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let started = Server::builder().setting("max_connections", "100").start().await.expect("a server");
    let server = Arc::new(started);
    *shared = Arc::downgrade(&server);
    server
}

/// A database, a folder, and the program with `DB_URL` in its environment.
pub struct World {
    /// The server that holds it.
    pub server: Arc<Server>,
    /// Its name.
    pub database: String,
    folder: PathBuf,
    /// The program.
    pub program: Program,
}

impl Drop for World {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl World {
    /// An empty database.
    pub async fn new() -> World {
        World::with("").await
    }

    /// A database with these statements run.
    pub async fn with(statements: &str) -> World {
        let server = server().await;
        let world = World::named(server, format!("adopt_{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        world.server.create_database(&world.database).await.expect("a database");
        world.sql(statements).await;
        world
    }

    fn named(server: Arc<Server>, database: String) -> World {
        let folder = std::env::temp_dir().join(format!("replat-{database}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let program = Program::in_folder(&folder).with("DB_URL", server.url(&database));
        World { server, database, folder, program }
    }

    /// Another database, equal in everything. Nobody may have a session on this one.
    pub async fn copy(&self) -> World {
        let name = format!("adopt_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let copy = World::named(Arc::clone(&self.server), name);
        let make = format!("create database {} template {}", copy.database, self.database);
        // Sessions that were closed just now are not gone at once.
        let made = async {
            while let Err(error) = self.server.execute("postgres", &make).await {
                let text = format!("{error:?}");
                assert!(text.contains("being accessed by other users"), "{text}");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), made).await.expect("it is left alone");
        copy
    }

    /// A session as superuser.
    pub async fn client(&self) -> Client {
        self.server.client(&self.database).await.expect("a session")
    }

    /// Runs statements as superuser.
    pub async fn sql(&self, statements: &str) {
        self.server
            .execute(&self.database, statements)
            .await
            .unwrap_or_else(|e| panic!("{e:?}\n{statements}"));
    }

    /// The only value of a statement.
    pub async fn text(&self, statement: &str) -> String {
        let row = self.client().await.query_one(statement, &[]).await;
        row.unwrap_or_else(|e| panic!("{e:?}\n{statement}")).get(0)
    }

    /// Where a file of the folder lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file of the folder.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file")
    }

    /// Runs the program on this database with a line of words; no word has a space in it.
    pub async fn replat(&self, line: &str) -> Ran {
        self.program.line(&format!("{line} --db-url env:DB_URL")).await
    }

    /// Every partition of every depth of `set`: its name and its parent's, with its bounds as the server prints them.
    pub async fn parts(&self, set: &str) -> Parts {
        let sql = "set timezone = 'UTC'; set datestyle = 'ISO, YMD'";
        let client = self.client().await;
        client.batch_execute(sql).await.expect("settings");
        let sql = "select t.relid::regclass::text, t.parentrelid::regclass::text, \
                          pg_get_expr(c.relpartbound, c.oid) \
                     from pg_partition_tree($1::text::regclass) t join pg_class c on c.oid = t.relid \
                    where t.level > 0";
        let rows = client.query(sql, &[&set]).await.expect("a tree");
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
    }

    /// A digest of everything in the schemas of users but for replat's own records.
    pub async fn shape(&self) -> String {
        self.text(
            "select md5(string_agg(line, E'\n' order by line)) from ( \
               select format('%s %s %s %s %s %s', c.oid, c.relname, c.relkind, c.relowner, \
                      pg_get_expr(c.relpartbound, c.oid), obj_description(c.oid)) as line from pg_class c \
                where c.relnamespace not in (select oid from pg_namespace \
                      where nspname in ('pg_catalog', 'pg_toast', 'information_schema', 'replat')) \
                  and c.relname !~ '^lifecycle_' \
               union all select format('%s %s %s', conrelid, conname, contype) from pg_constraint \
                where connamespace = 'public'::regnamespace and conname !~ '^lifecycle_' \
               union all select format('%s %s %s', attrelid, attname, attnotnull) from pg_attribute a \
                 join pg_class c on c.oid = a.attrelid where c.relnamespace = 'public'::regnamespace \
                  and c.relname !~ '^lifecycle_' \
               union all select format('%s %s', tgrelid, tgname) from pg_trigger) lines",
        )
        .await
    }
}

/// Partitions by name: their parents, and their bounds.
pub type Parts = BTreeMap<String, (String, String)>;

/// Runs a file with psql, as a person would.
pub async fn psql(world: &World, file: &Path) -> (bool, String) {
    let program = replat_testkit::server::Binaries::find().expect("server programs").program("psql");
    let output = tokio::process::Command::new(program)
        .args(["--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--file"])
        .arg(file)
        .arg(world.server.url(&world.database))
        .output()
        .await
        .expect("psql runs");
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), told)
}
