//! The servers: one of each kind for all tests that only use it, and one of its own for each test that stops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use replat_registry::kv::Kv;
use replat_registry::{Address, KvRegistry, ProjectKey, Seal, connect};
use replat_testkit::{Server, Service, etcd, redis};
use tokio::sync::OnceCell;

use crate::consul::FakeConsul;

pub const PROJECT: &str = "shop";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Postgres,
    Etcd,
    Consul,
    Redis,
}

/// Somewhere to publish to, that nobody else uses.
pub struct Place {
    pub kind: Kind,
    pub url: String,
}

impl Place {
    pub fn kv(&self) -> Arc<dyn Kv> {
        let address = Address::parse(&self.url, &|_| None).expect("it is a URL of ours");
        connect(&address).expect("it can be used")
    }

    pub fn registry(&self) -> KvRegistry {
        KvRegistry::new(self.kv(), seal())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(path) = self.url.strip_prefix("file:") {
            for end in ["", "-wal", "-shm"] {
                drop(std::fs::remove_file(format!("{path}{end}")));
            }
        }
    }
}

/// How the tests' project seals.
pub fn seal() -> Seal {
    Seal { project: PROJECT.to_owned(), key: Some(ProjectKey::new([7; 32])) }
}

fn serial() -> u64 {
    static SERIAL: AtomicU64 = AtomicU64::new(1);
    SERIAL.fetch_add(1, Ordering::Relaxed)
}

/// A place of its own on a server that all tests use.
pub async fn shared(kind: Kind) -> Place {
    static POSTGRES: OnceCell<Server> = OnceCell::const_new();
    static ETCD: OnceCell<Service> = OnceCell::const_new();
    static CONSUL: OnceCell<FakeConsul> = OnceCell::const_new();
    static REDIS: OnceCell<Service> = OnceCell::const_new();
    let number = serial();
    let url = match kind {
        Kind::File => {
            let name = format!("replat-registry-{}-{number}.db", std::process::id());
            format!("file:{}", std::env::temp_dir().join(name).display())
        }
        Kind::Postgres => {
            let server =
                POSTGRES.get_or_init(async || Server::start().await.expect("PostgreSQL starts")).await;
            let database = format!("registry_{number}");
            server.create_database(&database).await.expect("the database is made");
            server.url(&database)
        }
        Kind::Etcd => {
            let server = ETCD.get_or_init(async || etcd::start(None).await.expect("etcd starts")).await;
            format!("etcd://{}/test/{number}", server.address())
        }
        Kind::Consul => {
            let server = CONSUL.get_or_init(async || FakeConsul::start()).await;
            format!("consul://{}/test/{number}", server.address())
        }
        Kind::Redis => {
            let server =
                REDIS.get_or_init(async || redis::start(None, None).await.expect("Redis starts")).await;
            format!("redis://{}/0/test/{number}", server.address())
        }
    };
    Place { kind, url }
}

/// A server that can be stopped.
pub enum Machine {
    Postgres(Server),
    Consul(FakeConsul),
    /// etcd or Redis.
    Service(Service),
}

impl Machine {
    pub async fn kill(&mut self) {
        match self {
            Machine::Postgres(server) => server.kill().await.expect("it is killed"),
            Machine::Consul(server) => server.kill(),
            Machine::Service(server) => server.kill().expect("it is killed"),
        }
    }

    pub async fn start_again(&mut self) {
        match self {
            Machine::Postgres(server) => server.restart().await.expect("it starts again"),
            Machine::Consul(server) => server.start_again(),
            Machine::Service(server) => server.start_again().await.expect("it starts again"),
        }
    }
}

/// A server of the test's own.
pub async fn own(kind: Kind) -> (Place, Machine) {
    let (url, machine) = match kind {
        Kind::File => panic!("a file is not stopped"),
        Kind::Postgres => {
            let server = Server::start().await.expect("PostgreSQL starts");
            (server.url("postgres"), Machine::Postgres(server))
        }
        Kind::Etcd => {
            let server = etcd::start(None).await.expect("etcd starts");
            (format!("etcd://{}", server.address()), Machine::Service(server))
        }
        Kind::Consul => {
            let server = FakeConsul::start();
            (format!("consul://{}", server.address()), Machine::Consul(server))
        }
        Kind::Redis => {
            let server = redis::start(None, None).await.expect("Redis starts");
            (format!("redis://{}", server.address()), Machine::Service(server))
        }
    };
    (Place { kind, url }, machine)
}
