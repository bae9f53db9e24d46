//! A registry in a file, routes in it, and a client of a few lines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use replat_engine::registry::{Envelope, Published, Registry};
use replat_model::deploy::Timestamp;
use replat_model::ids::{Home, PartitionId};
use replat_model::key::{KeyLiteral, KeyType};
use replat_model::map::{Dimension, Map, Tree};
use replat_model::route::{Address, Routes, RoutesDelta, Traffic};
use replat_registry::{KvRegistry, ProjectKey, Seal};
use replat_server::{Options, Server};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

pub const PROJECT: &str = "shop";
pub const CONTEXT: &str = "tenants of /shop";
/// As it stands in an address.
pub const CONTEXT_ENCODED: &str = "tenants%20of%20%2Fshop";

pub fn seal() -> Seal {
    Seal { project: PROJECT.into(), key: Some(ProjectKey::new([7; 32])) }
}

pub fn id(name: &str) -> PartitionId {
    name.parse().expect("it is a name")
}

/// Version 1: `acme` is tenant 7, `zeta` tenant 8, all others are in `rest`; all on blue.
pub fn first() -> Routes {
    let list = BTreeMap::from([("acme", 7), ("zeta", 8)]);
    let list = list.into_iter().map(|(name, value)| (name.to_owned(), vec![KeyLiteral::Int(value)]));
    let tree = Tree {
        split: "tenant_id".into(),
        list: Some(list.collect()),
        hash: None,
        cuts: None,
        names: None,
        rest: None,
        under: BTreeMap::new(),
    };
    let dimension = Dimension { column: "tenant_id".into(), key_type: KeyType::Integer };
    let map = Map::build(CONTEXT, vec![dimension], Some(&tree), home("blue")).expect("it is a tree");
    let address = |name: &str| {
        let (host, endpoint) = (format!("{name}.internal"), Some(format!("http://{name}.internal:8080")));
        (name.to_owned(), Address { host, port: 5432, dbname: "shop".into(), endpoint })
    };
    let addresses = ["blue", "green"].map(address).into();
    Routes::new(PROJECT.into(), map, addresses, BTreeMap::new()).expect("they lead somewhere")
}

fn home(database: &str) -> Home {
    Home { database: database.into(), schema: "public".into() }
}

/// Whoever publishes.
pub struct World {
    pub registry: Arc<dyn Registry>,
    pub routes: Mutex<Routes>,
    folder: Option<Folder>,
}

/// Removed in the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed harms nobody.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl World {
    /// With a registry in a file.
    pub async fn new() -> World {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("replat-server-test-{}-{serial}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("it can be made");
        let url = format!("file:{}", folder.join("registry.db").display());
        let registry = replat_registry::open(&url, seal()).expect("it can be opened");
        World { folder: Some(Folder(folder)), ..World::at(registry).await }
    }

    /// With this registry, in which version 1 is published.
    pub async fn at(registry: KvRegistry) -> World {
        let routes = first();
        let body = serde_json::to_string(&routes).expect("plain data");
        let envelope = seal().envelope(CONTEXT, 1, None, Timestamp(1), body);
        let published = registry.publish(&envelope).await.expect("it answers");
        assert!(matches!(published, Published::Accepted { .. }), "{published:?}");
        World { registry: Arc::new(registry), routes: Mutex::new(routes), folder: None }
    }

    /// A file in the world's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.as_ref().expect("it has a folder").0.join(name)
    }

    pub fn options(&self) -> Options {
        Options::new(PROJECT, [CONTEXT.to_owned()])
    }

    /// A server that has seen the registry.
    pub async fn serve(&self, options: Options) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let server = Server::start(listener, Arc::clone(&self.registry), options).expect("it starts");
        while get(server.address(), "/readyz").await.status != 200 {
            tokio::task::yield_now().await;
        }
        server
    }

    pub fn now(&self) -> Routes {
        self.routes.lock().expect("nobody panicked with it").clone()
    }

    async fn publish(&self, next: Routes) -> u64 {
        let now = self.now();
        let delta = now.delta(&next).expect("it is a later version");
        let body = serde_json::to_string(&delta).expect("plain data");
        let version = next.version();
        let envelope = seal().envelope(CONTEXT, version, Some(now.version()), Timestamp(version), body);
        match self.registry.publish(&envelope).await.expect("it answers") {
            Published::Accepted { whole_due: false } => {}
            Published::Accepted { whole_due: true } => {
                let body = serde_json::to_string(&next).expect("plain data");
                let whole = seal().envelope(CONTEXT, version, None, Timestamp(version), body);
                self.registry.publish(&whole).await.expect("it answers");
            }
            refused => panic!("{refused:?}"),
        }
        *self.routes.lock().expect("nobody panicked with it") = next;
        version
    }

    /// Gives a partition another home; returns the version.
    pub async fn move_to(&self, partition: &str, database: &str) -> u64 {
        let now = self.now();
        let epoch = now.epoch(&id(partition)).expect("it is there").next();
        let map = now.map().with_home(&id(partition), home(database), epoch).expect("the epoch rises");
        let next = Routes::new(PROJECT.into(), map, now.addresses().clone(), now.traffic().clone());
        self.publish(next.expect("they lead somewhere")).await
    }

    /// A version whose delta has about so many bytes.
    pub async fn change_much(&self, bytes: usize) -> u64 {
        let now = self.now();
        let map = now.map().with_version(now.version() + 1).expect("it is higher");
        let feature = format!("{}_{}", map.version(), "x".repeat(bytes));
        let traffic = Traffic { features: [feature].into(), ..Traffic::default() };
        let traffic = BTreeMap::from([(id("acme"), traffic)]);
        let next = Routes::new(PROJECT.into(), map, now.addresses().clone(), traffic);
        self.publish(next.expect("they lead somewhere")).await
    }
}

/// The routes that a client has after these envelopes, which it believes as any other does.
pub fn taken(have: Option<Routes>, envelopes: &[Envelope]) -> Option<Routes> {
    envelopes.iter().fold(have, |have, envelope| {
        seal().check(CONTEXT, envelope).expect("it is signed by the project's key");
        Some(match envelope.from {
            None => serde_json::from_str(&envelope.body).expect("they are routes"),
            Some(_) => {
                let delta: RoutesDelta = serde_json::from_str(&envelope.body).expect("it is a delta");
                have.expect("there is something to go on from").after(&delta).expect("it goes on")
            }
        })
    })
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn envelopes(&self) -> Vec<Envelope> {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_str(&self.body).expect("they are envelopes")
    }

    /// The value of a field of the head.
    pub fn field(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        pairs.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

pub async fn get(server: SocketAddr, path: &str) -> Reply {
    get_with(server, path, &[]).await
}

pub async fn get_with(server: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Reply {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let host = if fields.contains("Host: ") { String::new() } else { format!("Host: {server}\r\n") };
    say(server, &format!("GET {path} HTTP/1.1\r\n{host}{fields}Connection: close\r\n\r\n")).await
}

/// Says this, and hears the answer to the end of the connection.
pub async fn say(server: SocketAddr, request: &str) -> Reply {
    let mut stream = TcpStream::connect(server).await.expect("it listens");
    // Somebody who refuses need not have read all of it.
    drop(stream.write_all(request.as_bytes()).await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    let answer = String::from_utf8(answer).expect("it is UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}

/// An event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub id: Option<u64>,
    pub data: String,
}

impl Event {
    pub fn envelope(&self) -> Envelope {
        assert_eq!(self.name, "routes", "{self:?}");
        let envelope: Envelope = serde_json::from_str(&self.data).expect("it is an envelope");
        assert_eq!(self.id, Some(envelope.version));
        envelope
    }
}

/// A stream of events.
pub struct Events {
    stream: BufReader<TcpStream>,
    text: String,
    pub head: String,
}

impl Events {
    pub async fn open(server: SocketAddr, query: &str, fields: &[(&str, &str)]) -> Events {
        let stream = TcpStream::connect(server).await.expect("it listens");
        Events::on(stream, query, fields).await
    }

    /// On a connection that is there; `query` goes on after the topic.
    pub async fn on(mut stream: TcpStream, query: &str, fields: &[(&str, &str)]) -> Events {
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!(
            "GET /api/v1/events?topics=routes/{CONTEXT_ENCODED}{query} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("it takes requests");
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).await.expect("it answers") > 0, "{head}");
        }
        Events { stream, text: String::new(), head }
    }

    /// The next event; `None`: the stream has ended in order.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let mut event = Event::default();
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("event", name)) => event.name = name.into(),
                        Some(("id", id)) => event.id = id.parse().ok(),
                        Some(("data", data)) => event.data = data.into(),
                        _ => {}
                    }
                }
                self.text = rest.to_owned();
                if !event.data.is_empty() {
                    return Some(event);
                }
            }
            let chunk = self.chunk().await?;
            self.text += &chunk;
        }
    }

    /// A chunk; `None`: it was the last one.
    async fn chunk(&mut self) -> Option<String> {
        let mut length = String::new();
        self.stream.read_line(&mut length).await.expect("the connection holds");
        let length = usize::from_str_radix(length.trim(), 16).expect("a length");
        let mut chunk = vec![0; length + 2];
        self.stream.read_exact(&mut chunk).await.expect("the connection holds");
        chunk.truncate(length);
        (length > 0).then(|| String::from_utf8(chunk).expect("it is UTF-8"))
    }
}
