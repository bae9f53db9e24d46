//! Two databases, a project that moves tenants from one to the other, and a proxy before them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use replat_testkit::Server;
use tokio_postgres::{Client, NoTls};

use crate::program::{Program, Started};

static NUMBER: AtomicU32 = AtomicU32::new(0);

const TABLES: &str = "create table entries (tenant_id bigint, id bigint, primary key (tenant_id, id)); \
     create table accounts (tenant_id bigint, id bigint, sum bigint not null default 0, primary key (tenant_id, id));";

const SPEC: &str = r#"
version = 1
project = "shop"
[registry]
url = "file:registry.db"
key = { file = "project.key" }
[databases.blue]
url = "env:BLUE_URL"
[databases.green]
url = "env:GREEN_URL"
[contexts.shop]
dimensions = [{ column = "tenant_id", type = "bigint" }]
home = { database = "blue", schema = "public" }
[contexts.shop.tree]
split = "tenant_id"
list = { acme = [1], zeta = [2] }
[contexts.shop.tables.entries]
[contexts.shop.tables.accounts]
[contexts.shop.rollout]
version = "v2"
to = { database = "green", schema = "shop" }
ddl = ["v2.sql"]
[policy]
soak = "1h"
"#;

/// A folder that vanishes with its owner.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A project, its databases, and a proxy that runs.
pub struct World {
    /// The server that holds both databases.
    pub server: Server,
    /// The binary in the project's folder.
    pub program: Program,
    proxy: Option<Started>,
    /// Where it listens.
    pub port: u16,
    folder: Folder,
}

/// The same before there is a proxy.
pub struct Scene {
    /// The server that holds both databases.
    pub server: Server,
    program: Program,
    folder: Folder,
}

impl World {
    /// With these further arguments for the proxy.
    pub async fn start(arguments: &[&str]) -> World {
        World::start_with("", arguments).await
    }

    /// The same, with more in the spec.
    pub async fn start_with(more: &str, arguments: &[&str]) -> World {
        World::prepare(more).await.with_proxy(arguments).await
    }

    /// The databases and the project, for those who put something between the proxy and its databases. `more` goes into
    /// the spec.
    pub async fn prepare(more: &str) -> Scene {
        let server = Server::builder().setting("max_connections", "700").start().await.expect("a server");
        for database in ["blue", "green"] {
            server.create_database(database).await.expect("a database");
        }
        server.execute("blue", TABLES).await.expect("tables");
        let accounts =
            "insert into accounts select t, i from generate_series(1, 3) t, generate_series(1, 200) i";
        server.execute("blue", accounts).await.expect("rows");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            Folder(std::env::temp_dir().join(format!("replat-traffic-{}-{number}", std::process::id())));
        std::fs::create_dir_all(&folder.0).expect("a folder");
        write(&folder.0, "replat.toml", &format!("{SPEC}{more}"));
        write(&folder.0, "v2.sql", TABLES);
        let program = Program::in_folder(&folder.0)
            .with("BLUE_URL", server.url("blue"))
            .with("GREEN_URL", server.url("green"))
            .with("HOOK_SECRET", "hush");
        program.line("registry init").await.succeeds();
        Scene { server, program, folder }
    }

    /// Moves acme to green, and leaves the way back open for as long as the answer is kept.
    pub async fn deploy(&self) -> Started {
        let runner = self.program.start(&["deploy", "-p", "acme", "--yes"]);
        // It is there to wait for once the plan is agreed on.
        let begun = async {
            while !self.program.line("deploy get").await.out.contains("acme") {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), begun).await.expect("it begins");
        self.program.line("deploy wait --for soak").await.succeeds();
        runner
    }

    /// Ends the proxy; what it says it has done.
    pub async fn stop(&mut self) -> serde_json::Value {
        let proxy = self.proxy.take().expect("it runs");
        proxy.signal("TERM").await;
        proxy.end().await.succeeds().json()
    }

    /// A file in the project's folder; nothing if it is not there.
    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.0.join(name)).unwrap_or_default()
    }

    /// A client of the proxy that has chosen a partition at its start, or none.
    pub async fn client(&self, partition: Option<&str>) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).dbname("shop");
        config.user(user(&self.server.url("blue")));
        if let Some(partition) = partition {
            config.options(format!("-c replat.partition={partition}"));
        }
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }

    /// The rows that a table of one database has of a tenant.
    pub async fn entries(&self, database: &str, schema: &str, tenant: i64) -> Vec<i64> {
        let client = self.server.client(database).await.expect("a client");
        let sql = format!("select id from {schema}.entries where tenant_id = $1 order by id");
        let rows = client.query(&sql, &[&tenant]).await.expect("rows");
        rows.iter().map(|row| row.get(0)).collect()
    }
}

impl Scene {
    /// Starts the proxy, with these further arguments.
    pub async fn with_proxy(self, arguments: &[&str]) -> World {
        let Scene { server, program, folder } = self;
        let words = ["proxy", "--listen", "127.0.0.1:0", "--trust", "--json"];
        let mut proxy = program.start(&words.iter().chain(arguments).copied().collect::<Vec<_>>());
        let said = proxy.prints_json().await;
        let address = said["listening"].as_str().expect("an address").to_owned();
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        World { server, program, proxy: Some(proxy), port, folder }
    }
}

/// The role that the tests' server knows.
fn user(url: &str) -> String {
    let after = url.split("://").nth(1).expect("a URL");
    after.split(['@', ':']).next().expect("a user").to_owned()
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a file");
}
