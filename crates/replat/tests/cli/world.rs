//! A project in a folder of its own, with databases of its own on a server that the tests share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use replat_testkit::Server;
use replat_testkit::saas::{self, Fill};
use tokio::sync::Mutex;
use tokio_postgres::Client;

use crate::program::{Program, Ran};

/// Starting a server costs a second, a database a tenth: what does not need a server of its own shares one.
static SHARED: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The server that the tests share, started for whoever comes first and stopped behind whoever leaves last.
pub async fn server() -> Arc<Server> {
    let mut shared = SHARED.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Server::builder()
        .blue()
        .setting("max_replication_slots", "60")
        .setting("max_wal_senders", "60")
        .setting("max_connections", "300")
        .start()
        .await
        .expect("a server");
    admit(&server).await;
    let server = Arc::new(server);
    *shared = Arc::downgrade(&server);
    server
}

/// The password of the role `locked`, which is asked for one. It is looked for in everything that is written, so it
/// looks like nothing else, and it has what a URL must write as something else.
pub const PASSWORD: &str = "c4n@ry/Gr3y:p4ss";

/// Everybody may come in as before, but for one role.
async fn admit(server: &Server) {
    let rules =
        "local all all trust\nhost all locked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";
    std::fs::write(server.folder().join("data/pg_hba.conf"), rules).expect("pg_hba.conf can be written");
    let role = format!("create role locked superuser login password '{PASSWORD}'");
    server.execute("postgres", &role).await.expect("a role");
    server.execute("postgres", "select pg_reload_conf()").await.expect("the rules hold");
    // The postmaster reads them in its own time.
    let url = format!("postgres://locked@127.0.0.1:{}/postgres", server.port());
    let refused = async {
        while replat_testkit::server::connect(&url).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), refused).await.expect("the rules come to hold");
}

/// A folder that vanishes with its owner.
pub struct Folder(PathBuf);

impl Folder {
    /// A new, empty one.
    pub fn new() -> Folder {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("replat-cli-{}-{number}", std::process::id()));
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

/// A project with its databases.
pub struct World {
    /// The server that holds both.
    pub server: Arc<Server>,
    /// The project's folder.
    pub folder: Folder,
    /// The name of the database called blue in the spec.
    pub blue: String,
    /// The name of the one called green.
    pub green: String,
    /// The binary in the project's folder, with both databases in its environment.
    pub program: Program,
}

impl World {
    /// An empty project: two empty databases, and this spec.
    pub async fn empty(spec: &str) -> World {
        let server = server().await;
        let folder = Folder::new();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (blue, green) = (format!("blue_{number}"), format!("green_{number}"));
        for database in [&blue, &green] {
            server.create_database(database).await.expect("a database");
        }
        let program = Program::in_folder(folder.path())
            .with("BLUE_URL", server.url(&blue))
            .with("GREEN_URL", server.url(&green));
        let world = World { server, folder, blue, green, program };
        world.write("replat.toml", spec);
        world
    }

    /// The example with some hundred rows, as it stands in `examples/saas` but for a soak of no time, so that a
    /// deployment runs to its end.
    pub async fn example() -> World {
        World::example_with(|spec| spec.replace("soak = \"1h\"", "soak = \"0s\"")).await
    }

    /// The example with a spec that was changed.
    pub async fn example_with(change: impl FnOnce(String) -> String) -> World {
        let directory = saas::example_directory();
        let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect("the example");
        let world = World::empty(&change(read("replat.toml"))).await;
        world.write("schema_v2.sql", &read("schema_v2.sql"));
        let blue = world.on_blue().await;
        saas::create_v1(&blue).await.expect("the v1 schema");
        saas::fill_v1(&blue, Fill { tenants: 8, rows: 1_200, seed: 7 }).await.expect("rows");
        world
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    /// A file of the project.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A session as superuser on blue.
    pub async fn on_blue(&self) -> Client {
        self.server.client(&self.blue).await.expect("a session on blue")
    }

    /// A session as superuser on green.
    pub async fn on_green(&self) -> Client {
        self.server.client(&self.green).await.expect("a session on green")
    }

    /// Runs the program with a line of words.
    pub async fn replat(&self, line: &str) -> Ran {
        self.program.line(line).await
    }
}

/// `count(*)` or any other number.
pub async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.expect(query).get(0)
}
