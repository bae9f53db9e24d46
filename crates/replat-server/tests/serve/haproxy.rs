//! HAProxy, told of each switch while it works.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use replat_server::haproxy::{Exported, Haproxy, map_text};
use replat_server::{Options, Server};
use replat_testkit::service::ServiceError;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::world::{CONTEXT, World, get};

/// A service that answers each request with its name.
async fn service(name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = listener.local_addr().expect("it has an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                    if line == "\r\n" {
                        let answer =
                            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                    line.clear();
                }
            });
        }
    });
    port
}

/// HAProxy before two services, and replat before HAProxy; `None` if there is no HAProxy.
struct Front {
    haproxy: replat_testkit::Haproxy,
    map: PathBuf,
    server: Server,
    exported: watch::Receiver<Exported>,
}

impl Front {
    async fn start(world: &World) -> Option<Front> {
        let (blue, green) = (service("blue").await, service("green").await);
        let started = replat_testkit::Haproxy::start(|folder, port| {
            let map = folder.join("tenants.map");
            std::fs::write(&map, "# nothing yet\n").expect("the folder is there");
            format!(
                "defaults\n  mode http\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n\
                 frontend front\n  bind 127.0.0.1:{port}\n  \
                 use_backend %[req.hdr(x-partition),map_str({},nobody)]\n\
                 backend blue\n  server one 127.0.0.1:{blue}\n\
                 backend green\n  server one 127.0.0.1:{green}\n\
                 backend nobody\n  http-request return status 404\n",
                map.display()
            )
        })
        .await;
        let haproxy = match started {
            Err(missing @ ServiceError::NoProgram { .. }) => {
                eprintln!("SKIPPED: {missing}");
                return None;
            }
            other => other.expect("HAProxy starts"),
        };
        let map = haproxy.folder().join("tenants.map");
        let told = Haproxy { context: CONTEXT.into(), socket: haproxy.socket(), map: map.clone() };
        let server = world.serve(Options { haproxy: Some(told), ..world.options() }).await;
        let exported = server.exported().expect("there is one to be told");
        Some(Front { haproxy, map, server, exported })
    }

    async fn has(&mut self, version: u64) {
        let has = |told: &Exported| told.version >= version && told.trouble.is_none();
        self.exported.wait_for(has).await.expect("the server lives");
    }

    async fn ask(&self, partition: &str) -> String {
        Client::connect(&self.haproxy.address()).await.ask(partition).await
    }
}

/// Somebody with a connection to HAProxy.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(address: &str) -> Client {
        Client(BufReader::new(TcpStream::connect(address).await.expect("HAProxy listens")))
    }

    /// What is answered to a request for a partition: status and body.
    async fn ask(&mut self, partition: &str) -> String {
        let request = format!("GET / HTTP/1.1\r\nHost: shop\r\nX-Partition: {partition}\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.expect("the connection holds");
        let (mut status, mut line, mut length) = (String::new(), String::new(), 0);
        self.0.read_line(&mut status).await.expect("the connection holds");
        while line != "\r\n" {
            line.clear();
            assert!(self.0.read_line(&mut line).await.expect("the connection holds") > 0, "{status}");
            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = text.trim().parse().expect("a number");
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.expect("the connection holds");
        let status = status.split(' ').nth(1).unwrap_or_default();
        format!("{status} {}", String::from_utf8_lossy(&body)).trim().to_owned()
    }
}

/// A request that was made.
struct Asked {
    partition: &'static str,
    began: Instant,
    ended: Instant,
    answer: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_each_request_reaches_the_home_of_its_partition() {
    const CLIENTS: u64 = 6;
    const SWITCHES: u64 = 10;
    let world = World::new().await;
    let Some(mut front) = Front::start(&world).await else { return };
    front.has(1).await;

    // Each home of acme's: from when on requests may, and must, reach it.
    let mut homes = vec![("blue", Instant::now(), Instant::now())];
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (over, answered, address) = (over.clone(), answered.clone(), front.haproxy.address());
            tokio::spawn(async move {
                let mut client = Client::connect(&address).await;
                let mut asked = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let partition =
                        if (asked.len() as u64 + number).is_multiple_of(3) { "zeta" } else { "acme" };
                    let began = Instant::now();
                    let answer = client.ask(partition).await;
                    asked.push(Asked { partition, began, ended: Instant::now(), answer });
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                asked
            })
        })
        .collect();

    for switch in 0..SWITCHES {
        let enough = answered.load(Ordering::Relaxed) + 20 * CLIENTS;
        while answered.load(Ordering::Relaxed) < enough {
            tokio::task::yield_now().await;
        }
        let home = if switch % 2 == 0 { "green" } else { "blue" };
        let may = Instant::now();
        let version = world.move_to("acme", home).await;
        front.has(version).await;
        homes.push((home, may, Instant::now()));
    }
    let enough = answered.load(Ordering::Relaxed) + 20 * CLIENTS;
    while answered.load(Ordering::Relaxed) < enough {
        tokio::task::yield_now().await;
    }
    over.store(true, Ordering::Relaxed);

    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    let mut meanwhile = 0;
    for client in clients {
        let mut at = 0;
        for asked in client.await.expect("no connection broke") {
            *counted.entry(format!("{} {}", asked.partition, asked.answer)).or_default() += 1;
            if asked.partition == "zeta" {
                assert_eq!(asked.answer, "200 blue", "it has not moved");
                continue;
            }
            // The homes that the partition had, for HAProxy, at some moment of the request.
            let last_before = homes.iter().rposition(|(_, _, must)| *must <= asked.began).unwrap_or(0);
            let first_after = homes.iter().position(|(_, may, _)| *may >= asked.ended).unwrap_or(homes.len());
            let possible = last_before.max(at)..first_after;
            let found = possible.clone().find(|home| asked.answer == format!("200 {}", homes[*home].0));
            let names = || possible.clone().map(|home| homes[home].0).collect::<Vec<_>>();
            let found = found.unwrap_or_else(|| panic!("{} where the home was {:?}", asked.answer, names()));
            meanwhile += u64::from(possible.len() > 1);
            // One client's requests go on in time: once it has seen a home, it never sees the one before.
            at = found;
        }
    }
    println!("{counted:?}; {meanwhile} while a switch was told");
    assert!(counted.keys().all(|what| what.contains(" 200 ")), "{counted:?}");
    assert!(counted["acme 200 green"] > 0 && counted["acme 200 blue"] > 0, "{counted:?}");
    let exported = front.exported.borrow().clone();
    // Three entries were there from the file or added, and then one was set for each switch.
    assert_eq!(exported.changes, SWITCHES + 3, "{exported:?}");
    assert_eq!(std::fs::read_to_string(&front.map).expect("it is there"), map_text(&world.now()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_haproxy_that_was_started_anew_is_set_right() {
    let world = World::new().await;
    let Some(mut front) = Front::start(&world).await else { return };
    front.has(1).await;
    assert_eq!(front.ask("acme").await, "200 blue");
    assert_eq!(front.ask("unknown").await, "404");

    front.haproxy.kill().expect("it is ours");
    front.exported.wait_for(|told| told.trouble.is_some()).await.expect("the server lives");
    let page = get(front.server.address(), "/metrics").await.body;
    assert!(page.contains("replat_haproxy_up 0\n"), "{page}");
    let version = world.move_to("acme", "green").await;
    front.exported.wait_for(|told| told.file_version == version).await.expect("the server lives");
    assert_eq!(std::fs::read_to_string(&front.map).expect("it is there"), map_text(&world.now()));

    // It comes back with an old file: entries that are wrong, that should not be there, that are missing, that are
    // there twice.
    std::fs::write(&front.map, "acme blue\nacme blue\ngone green\nrest blue\n").expect("ours");
    front.haproxy.start_again().await.expect("it starts");
    front.has(version).await;
    for (partition, answer) in
        [("acme", "200 green"), ("zeta", "200 blue"), ("rest", "200 blue"), ("gone", "404")]
    {
        assert_eq!(front.ask(partition).await, answer, "{partition}");
    }
    let page = get(front.server.address(), "/metrics").await.body;
    assert!(page.contains("replat_haproxy_up 1\n"), "{page}");
    assert!(page.contains(&format!("replat_haproxy_revision {version}\n")), "{page}");
}
