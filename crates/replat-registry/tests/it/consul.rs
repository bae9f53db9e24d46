//! A stand-in for Consul, by the public documentation of its HTTP API: `/v1/kv`, `/v1/txn`, `/v1/session`, blocking
//! queries and `/v1/status/leader`. It refuses what the documentation says that Consul refuses (long values, large
//! transactions, short sessions), and knows nothing else. What passes here is not thereby shown for a real Consul.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

const VALUE_MAX: usize = 512 << 10;
const TRANSACTION_MAX: usize = 512 << 10;
const PARTS_MAX: usize = 64;

#[derive(Clone)]
struct Pair {
    value: Vec<u8>,
    created: u64,
    modified: u64,
    session: Option<String>,
}

#[derive(Default)]
struct State {
    index: u64,
    pairs: BTreeMap<String, Pair>,
    /// When each key was last removed, so that the index of a prefix does not go backwards.
    removed: BTreeMap<String, u64>,
    sessions: HashMap<String, (Duration, Instant)>,
}

struct World {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

/// It keeps its state when it is killed, as if it had been on disk.
pub struct FakeConsul {
    address: SocketAddr,
    world: Arc<World>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl FakeConsul {
    pub fn start() -> FakeConsul {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it has one");
        let world = Arc::new(World { state: Mutex::default(), changed: watch::channel(0).0 });
        let mut server = FakeConsul { address, world, running: None };
        server.serve(listener);
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn kill(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            stop.send(()).ok();
            thread.join().expect("it has not panicked");
        }
    }

    pub fn start_again(&mut self) {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("it may be used again");
        socket.bind(&self.address.into()).expect("nobody else has it");
        socket.listen(64).expect("it listens");
        self.serve(socket.into());
    }

    /// In a thread and a runtime of its own: the tests' runtimes come and go, and this one ends with all it serves.
    fn serve(&mut self, listener: TcpListener) {
        let world = self.world.clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            listener.set_nonblocking(true).expect("it need not block");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("it is registered");
                tokio::select! {
                    () = accept(listener, world) => {}
                    _ = stopped => {}
                }
            });
        });
        self.running = Some((stop, thread));
    }
}

impl Drop for FakeConsul {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn accept(listener: tokio::net::TcpListener, world: Arc<World>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let world = world.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(world.clone(), request));
            let served =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that goes away is no fault.
            drop(served.await);
        });
    }
}

/// Status, body, and the index if the answer has one.
type Answer = (u16, Vec<u8>, Option<u64>);

async fn answer(world: Arc<World>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let path = decoded(parts.uri.path());
    let query: HashMap<String, String> = parts
        .uri
        .query()
        .into_iter()
        .flat_map(|query| query.split('&'))
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let (status, body, index) = if let Some(key) = path.strip_prefix("/v1/kv/") {
        match parts.method {
            Method::GET => get(&world, key, &query).await,
            Method::PUT => put(&world, key, &query, &body),
            _ => (405, Vec::new(), None),
        }
    } else if path == "/v1/txn" && parts.method == Method::PUT {
        transact(&world, &body)
    } else if path == "/v1/session/create" && parts.method == Method::PUT {
        create_session(&world, &body)
    } else if let Some(id) = path.strip_prefix("/v1/session/renew/") {
        renew_session(&world, id)
    } else if let Some(id) = path.strip_prefix("/v1/session/destroy/") {
        world.change(|state| end_session(state, id));
        (200, b"true".to_vec(), None)
    } else if path == "/v1/status/leader" {
        (200, b"\"127.0.0.1:8300\"".to_vec(), None)
    } else {
        (404, Vec::new(), None)
    };
    let mut response = Response::builder().status(status);
    if let Some(index) = index {
        response = response.header("X-Consul-Index", index);
    }
    Ok(response.body(Full::new(body.into())).expect("its parts are legal"))
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().expect("nobody panicked with it");
        let now = Instant::now();
        let ended: Vec<String> = state
            .sessions
            .iter()
            .filter(|(_, (ttl, renewed))| now.duration_since(*renewed) > *ttl)
            .map(|(id, _)| id.clone())
            .collect();
        for id in ended {
            state.index += 1;
            end_session(&mut state, &id);
        }
        state
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        state.index += 1;
        let done = change(&mut state);
        self.changed.send_replace(state.index);
        done
    }
}

fn end_session(state: &mut State, id: &str) {
    state.sessions.remove(id);
    let held: Vec<String> = state
        .pairs
        .iter()
        .filter(|(_, pair)| pair.session.as_deref() == Some(id))
        .map(|(key, _)| key.clone())
        .collect();
    for key in held {
        remove(state, &key);
    }
}

fn remove(state: &mut State, key: &str) {
    if state.pairs.remove(key).is_some() {
        state.removed.insert(key.to_owned(), state.index);
    }
}

fn set(state: &mut State, key: &str, value: Vec<u8>, session: Option<String>) {
    let index = state.index;
    let before = state.pairs.get(key);
    let created = before.map_or(index, |pair| pair.created);
    let session = session.or_else(|| before.and_then(|pair| pair.session.clone()));
    state.pairs.insert(key.to_owned(), Pair { value, created, modified: index, session });
}

async fn get(world: &World, key: &str, query: &HashMap<String, String>) -> Answer {
    let many = query.contains_key("recurse") || query.contains_key("keys");
    let matches = |other: &str| if many { other.starts_with(key) } else { other == key };
    let mut changed = world.changed.subscribe();
    let look = |state: &State| {
        let live = state.pairs.iter().filter(|(key, _)| matches(key)).map(|(_, pair)| pair.modified);
        let gone = state.removed.iter().filter(|(key, _)| matches(key)).map(|(_, index)| *index);
        live.chain(gone).max().unwrap_or(state.index.min(1)).max(1)
    };
    if let Some(waited) =
        query.get("index").and_then(|index| index.parse::<u64>().ok()).filter(|index| *index > 0)
    {
        let wait = query.get("wait").and_then(|wait| wait.strip_suffix('s')?.parse().ok()).unwrap_or(300);
        let news = async {
            while look(&world.state()) <= waited {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        drop(tokio::time::timeout(Duration::from_secs(wait), news).await);
    }
    let state = world.state();
    let index = Some(look(&state));
    let found: Vec<(&String, &Pair)> = state.pairs.iter().filter(|(key, _)| matches(key)).collect();
    if found.is_empty() {
        return (404, Vec::new(), index);
    }
    let document = match query.contains_key("keys") {
        true => Value::from(found.iter().map(|(key, _)| json!(key)).collect::<Vec<_>>()),
        false => Value::from(found.iter().map(|(key, pair)| document(key, pair)).collect::<Vec<_>>()),
    };
    (200, document.to_string().into_bytes(), index)
}

fn document(key: &str, pair: &Pair) -> Value {
    let value = if pair.value.is_empty() { Value::Null } else { json!(BASE64.encode(&pair.value)) };
    let mut document = json!({
        "LockIndex": 0, "Key": key, "Flags": 0, "Value": value,
        "CreateIndex": pair.created, "ModifyIndex": pair.modified,
    });
    if let Some(session) = &pair.session {
        document["Session"] = json!(session);
    }
    document
}

fn put(world: &World, key: &str, query: &HashMap<String, String>, body: &[u8]) -> Answer {
    if body.len() > VALUE_MAX {
        return (413, b"Request body too large".to_vec(), None);
    }
    let wanted = query.get("cas").map(|index| index.parse::<u64>().unwrap_or(u64::MAX));
    let done = world.change(|state| {
        let now = state.pairs.get(key).map_or(0, |pair| pair.modified);
        if wanted.is_some_and(|wanted| wanted != now) {
            return false;
        }
        set(state, key, body.to_vec(), None);
        true
    });
    (200, done.to_string().into_bytes(), None)
}

fn transact(world: &World, body: &[u8]) -> Answer {
    if body.len() > TRANSACTION_MAX {
        return (413, b"Request body(s) too large".to_vec(), None);
    }
    let parts: Vec<Value> = serde_json::from_slice(body).unwrap_or_default();
    if parts.is_empty() || parts.len() > PARTS_MAX {
        return (
            413,
            format!("Transaction contains too many operations ({} > {PARTS_MAX})", parts.len()).into(),
            None,
        );
    }
    let errors = world.change(|state| {
        let before = state.pairs.clone();
        let removed = state.removed.clone();
        let failed = |(at, part): (usize, &Value)| {
            let done = one_part(state, &part["KV"]);
            done.err().map(|what| json!({ "OpIndex": at, "What": what }))
        };
        let errors: Vec<Value> = parts.iter().enumerate().filter_map(failed).collect();
        if !errors.is_empty() {
            (state.pairs, state.removed) = (before, removed);
        }
        errors
    });
    match errors.is_empty() {
        true => (200, json!({ "Results": [], "Errors": null }).to_string().into(), None),
        false => (409, json!({ "Results": null, "Errors": errors }).to_string().into(), None),
    }
}

fn one_part(state: &mut State, part: &Value) -> Result<(), String> {
    let key = part["Key"].as_str().ok_or("no key")?;
    let value =
        || BASE64.decode(part["Value"].as_str().unwrap_or_default()).map_err(|error| error.to_string());
    match part["Verb"].as_str() {
        Some("set") => set(state, key, value()?, None),
        Some("delete") => remove(state, key),
        Some("check-index") => {
            let now = state.pairs.get(key).ok_or_else(|| format!("key {key:?} doesn't exist"))?.modified;
            if Some(now) != part["Index"].as_u64() {
                return Err(format!("failed index check for key {key:?}, current modify index {now}"));
            }
        }
        Some("check-not-exists") => {
            if state.pairs.contains_key(key) {
                return Err(format!("key {key:?} exists"));
            }
        }
        Some("lock") => {
            let session = part["Session"].as_str().ok_or("missing session")?;
            if !state.sessions.contains_key(session) {
                return Err(format!("invalid session {session:?}"));
            }
            let holder = state.pairs.get(key).and_then(|pair| pair.session.clone());
            if holder.is_some_and(|holder| holder != session) {
                return Err(format!("failed to lock key {key:?}, lock is already held"));
            }
            set(state, key, value()?, Some(session.to_owned()));
        }
        other => return Err(format!("unknown KV verb {other:?}")),
    }
    Ok(())
}

fn create_session(world: &World, body: &[u8]) -> Answer {
    let wish: Value = serde_json::from_slice(body).unwrap_or_default();
    let seconds = wish["TTL"].as_str().and_then(|ttl| ttl.strip_suffix('s')?.parse::<u64>().ok());
    let Some(seconds @ 10..=86_400) = seconds else {
        return (400, b"Request TTL too low: must be between 10s and 24h".to_vec(), None);
    };
    if wish["Behavior"] != "delete" {
        return (400, b"the stand-in deletes and does not release".to_vec(), None);
    }
    let id = world.change(|state| {
        let id = format!("00000000-0000-0000-0000-{:012}", state.index);
        state.sessions.insert(id.clone(), (Duration::from_secs(seconds), Instant::now()));
        id
    });
    (200, json!({ "ID": id }).to_string().into(), None)
}

fn renew_session(world: &World, id: &str) -> Answer {
    match world.state().sessions.get_mut(id) {
        Some((_, renewed)) => {
            *renewed = Instant::now();
            (200, json!([{ "ID": id }]).to_string().into(), None)
        }
        None => (404, format!("Session id '{id}' not found").into(), None),
    }
}

fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        bytes.extend(u8::from_str_radix(digits, 16));
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
