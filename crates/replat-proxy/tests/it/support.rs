//! Two servers that ask for SCRAM, a proxy before them, and PostgreSQL's own programs.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use replat_postgres::conninfo::{ConnInfo, Environment};
use replat_proxy::{AuthQuery, ClientAuth, ClientTls, FixedDoors, Home, Limits, Pinned, Proxy, Settings};
use replat_testkit::Server;
use replat_testkit::server::Binaries;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_postgres::{Client, NoTls};

pub const PASSWORD: &str = "an open secret";
pub const PARTITION: &str = "acme";

/// `postgres` may do anything, so that tests can look; `app` must prove itself.
const HBA: &str =
    "local all all trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";

/// Blue, green, and a proxy whose one partition `acme` is on blue.
pub struct World {
    pub blue: Server,
    pub green: Server,
    pub doors: Arc<FixedDoors>,
    pub proxy: Proxy,
    pub address: SocketAddr,
}

impl World {
    pub async fn start() -> World {
        World::with(|_| {}).await
    }

    /// A world whose proxy has other settings than usual.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> World {
        let (blue, green) = tokio::join!(strict(), strict());
        blue.execute("postgres", &format!("create role app login password '{PASSWORD}'"))
            .await
            .expect("a role");
        copy_role(&blue, &green).await;
        for server in [&blue, &green] {
            server.execute("postgres", "create database app owner app").await.expect("a database");
        }
        let doors = Arc::new(FixedDoors::new(None));
        doors.put(PARTITION, home(&blue));
        let admin = conninfo(&blue, "postgres");
        let mut settings = Settings {
            auth: ClientAuth::Scram(Arc::new(AuthQuery::new(admin, None))),
            tls: ClientTls::Off,
            user_suffix: Some('+'),
            variances: None,
            pinned: Pinned::Disconnect,
            limits: Limits::USUAL,
        };
        change(&mut settings);
        let proxy = Proxy::new(settings, doors.clone()).expect("a proxy");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has one");
        tokio::spawn({
            let proxy = proxy.clone();
            async move { proxy.serve(listener).await }
        });
        World { blue, green, doors, proxy, address }
    }

    /// Holds the partition, sends it to `to`, and releases it.
    pub async fn switch(&self, to: &Server) {
        self.doors.hold(PARTITION, None).await.expect("it is listed");
        self.doors.retarget(PARTITION, home(to)).expect("it is listed");
        self.doors.release(PARTITION).expect("it is listed");
    }

    /// A connection string for the proxy, as pairs.
    pub fn pairs(&self, user: &str, password: &str) -> String {
        let (host, port) = (self.address.ip(), self.address.port());
        format!("host={host} port={port} user={user} password='{password}' dbname=app")
    }

    /// A session through the proxy.
    pub async fn client(&self) -> Client {
        session(&self.pairs("app+acme", PASSWORD)).await.expect("a session through the proxy")
    }

    /// One of PostgreSQL's own programs, told to go through the proxy.
    pub fn program(&self, name: &str) -> Command {
        let binaries = Binaries::find().expect("PostgreSQL is installed");
        let mut command = Command::new(binaries.program(name));
        command
            .env("PGHOST", self.address.ip().to_string())
            .env("PGPORT", self.address.port().to_string())
            .env("PGUSER", "app")
            .env("PGPASSWORD", PASSWORD)
            .env("PGDATABASE", "app")
            .env("PGOPTIONS", "-c replat.partition=acme")
            .env("PGSSLMODE", "disable")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

pub async fn session(pairs: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(pairs, NoTls).await?;
    // The client's own calls report a lost connection.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

pub fn conninfo(server: &Server, database: &str) -> ConnInfo {
    ConnInfo::resolve(Some(&server.url(database)), &Environment::empty()).expect("a legal address")
}

pub fn home(server: &Server) -> Home {
    let partition = Some(PARTITION.to_owned());
    Home {
        server: Arc::new(conninfo(server, "app")),
        database: "app".to_owned(),
        settings: Vec::new(),
        pooled: false,
        partition,
        epoch: 1,
    }
}

/// A server that asks everybody but `postgres` for SCRAM.
pub async fn strict() -> Server {
    let mut server = Server::start().await.expect("a server");
    fs::write(server.folder().join("data/pg_hba.conf"), HBA).expect("pg_hba.conf can be written");
    server.restart().await.expect("the server starts again");
    server
}

/// Gives green the very verifier that blue has for `app`.
async fn copy_role(blue: &Server, green: &Server) {
    let client = blue.client("postgres").await.expect("a session");
    let query = "select rolpassword from pg_authid where rolname = 'app'";
    let verifier: String = client.query_one(query, &[]).await.expect("an answer").get(0);
    green.execute("postgres", &format!("create role app login password '{verifier}'")).await.expect("a role");
}

/// The number that `query` answers with.
pub async fn number(server: &Server, query: &str) -> i64 {
    let client = server.client("app").await.expect("a session");
    client.query_one(query, &[]).await.expect("an answer").get(0)
}
