//! The server: connections, addresses, and what is answered there.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use replat_engine::registry::{Registry, RegistryError};
use replat_model::key::KeyValue;
use replat_model::route::Routes;
use replat_registry::tables_context;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::answer::{Answer, Problem, answer, text, value};
use crate::board::{Standing, Topic};
use crate::haproxy::{Exported, Haproxy};
use crate::host::is_local;
use crate::metrics::{self, ContextFacts, Requests};
use crate::patient::Patient;
use crate::query::{BadTarget, parameters, parts};
use crate::stream::Stream;
use crate::token::Tokens;

/// How long a request's head may take, and a connection stay without one.
const HEAD_MAX: Duration = Duration::from_secs(60);
/// The longest head of a request. Unit: bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How many fields a head may have.
const HEAD_FIELDS_MAX: usize = 64;
/// The longest long poll.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long the registry may take to say who attends, when metrics are read.
const ATTENDING_MAX: Duration = Duration::from_secs(2);
/// How long answers under way may take once the server stops.
const STOP_MAX: Duration = Duration::from_secs(5);
/// After a failure to accept a connection, say for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// How often who asks right after the start looks whether the registry was seen.
const FIRST_LOOK_EVERY: Duration = Duration::from_millis(5);
/// The version of the newest routes, in each answer with routes.
const VERSION_FIELD: &str = "replat-version";

/// How a server serves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The project whose routes are served.
    pub project: String,
    /// The contexts.
    pub contexts: Vec<String>,
    /// Who may ask; `None`: anybody. See [`check_address`](crate::check_address).
    pub tokens: Option<Tokens>,
    /// Which HAProxy is kept up to date.
    pub haproxy: Option<Haproxy>,
    /// How many connections there may be.
    pub connections_max: usize,
    /// How many of them may be streams of events.
    pub streams_max: usize,
    /// After so long without news of the registry nothing is handed out.
    pub stale_max: Duration,
    /// After so long a client that takes nothing is given up.
    pub patience: Duration,
}

impl Options {
    /// To serve these contexts of a project with the usual limits, to anybody.
    pub fn new(project: &str, contexts: impl IntoIterator<Item = String>) -> Options {
        Options {
            project: project.to_owned(),
            contexts: contexts.into_iter().collect(),
            tokens: None,
            haproxy: None,
            connections_max: 2048,
            streams_max: 1024,
            stale_max: Duration::from_secs(10),
            patience: Duration::from_secs(30),
        }
    }
}

/// A server at work. Ends at once when it is dropped, in order by [`stop`](Server::stop).
pub struct Server {
    address: SocketAddr,
    exported: Option<watch::Receiver<Exported>>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
    exporting: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        self.exporting.iter().for_each(JoinHandle::abort);
    }
}

impl Server {
    /// Begins to follow the registry, and to answer on `listener`.
    ///
    /// # Errors
    ///
    /// What the system says if the listener has no address.
    pub fn start(
        listener: TcpListener,
        registry: Arc<dyn Registry>,
        options: Options,
    ) -> std::io::Result<Server> {
        let address = listener.local_addr()?;
        let follow =
            |context: &String| (context.clone(), Arc::new(Topic::follow(Arc::clone(&registry), context)));
        let topics: BTreeMap<String, Arc<Topic>> = options.contexts.iter().map(follow).collect();
        let (stop, stopped) = watch::channel(false);
        let export = options.haproxy.clone().and_then(|haproxy| {
            let routes = topics.get(&haproxy.context)?.routes();
            let (tell, exported) = watch::channel(Exported::default());
            Some((tokio::spawn(async move { haproxy.keep(routes, tell).await }), exported))
        });
        let (exporting, exported) = export.unzip();
        let site = Arc::new(Site {
            registry,
            topics,
            stop: stopped.clone(),
            exported: exported.clone(),
            connections: Arc::new(Semaphore::new(options.connections_max)),
            streams: Arc::new(Semaphore::new(options.streams_max)),
            polls: Arc::new(()),
            requests: Requests::default(),
            options,
        });
        let accepting = tokio::spawn(accept(listener, site, stopped));
        Ok(Server { address, exported, stop, accepting, exporting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How HAProxy stands; `None` if there is none to be told.
    pub fn exported(&self) -> Option<watch::Receiver<Exported>> {
        self.exported.clone()
    }

    /// Ends: nobody is accepted any more, streams and long polls end now, other answers within a few seconds.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // That it panicked is in the log; there is nothing left to end then.
        drop((&mut self.accepting).await);
    }
}

async fn accept(listener: TcpListener, site: Arc<Site>, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&site.connections).try_acquire_owned() {
                Ok(permit) => drop(connections.spawn(connection(stream, Arc::clone(&site), permit))),
                Err(_) => refuse(stream),
            },
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Says that there are too many, without waiting for anything.
fn refuse(stream: TcpStream) {
    let said = concat!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n",
        "Connection: close\r\n\r\n",
        r#"{"type":"urn:replat:error:RP7008","title":"The server has enough to do","status":503,"code":"RP7008","#,
        r#""detail":"there are as many connections as are allowed","#,
        r#""state":"SAFE: nothing was changed; the databases alone decide who may write.","#,
        r#""remedy":["Try again in a moment, or start another server: any number may follow one registry."]}"#,
    );
    // If even that does not fit into an empty socket, its end says the same.
    drop(stream.into_std().map(|mut stream| stream.write_all(said.as_bytes())));
}

async fn connection(stream: TcpStream, site: Arc<Site>, permit: OwnedSemaphorePermit) {
    drop(stream.set_nodelay(true));
    let mut stop = site.stop.clone();
    let io = TokioIo::new(Patient::new(stream, site.options.patience));
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(site.serve(&request).await) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEAD_FIELDS_MAX)
            .serve_connection(io, service)
    );
    let mut ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = stop.wait_for(|stopped| *stopped) => None,
    };
    if ended.is_none() {
        connection.as_mut().graceful_shutdown();
        ended = tokio::time::timeout(STOP_MAX, connection).await.ok();
    }
    if let Some(Err(error)) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection broke off");
    }
    drop(permit);
}

/// What all connections share.
struct Site {
    options: Options,
    registry: Arc<dyn Registry>,
    topics: BTreeMap<String, Arc<Topic>>,
    stop: watch::Receiver<bool>,
    exported: Option<watch::Receiver<Exported>>,
    connections: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// Each poll that waits has a share of it.
    polls: Arc<()>,
    requests: Requests,
}

/// What is asked for.
enum Place {
    Live,
    Ready,
    Metrics,
    Routes { project: String, context: String },
    Lookup { project: String, context: String },
    Tables { project: String, database: String },
    Events,
}

impl Place {
    fn of(path: &str) -> Result<Option<Place>, BadTarget> {
        let parts = parts(path)?;
        Ok(match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["livez"] => Some(Place::Live),
            ["readyz"] => Some(Place::Ready),
            ["metrics"] => Some(Place::Metrics),
            ["api", "v1", "events"] => Some(Place::Events),
            ["api", "v1", "projects", project, "routes", context] => {
                Some(Place::Routes { project: project.into(), context: context.into() })
            }
            ["api", "v1", "projects", project, "routes", context, "lookup"] => {
                Some(Place::Lookup { project: project.into(), context: context.into() })
            }
            ["api", "v1", "projects", project, "tables", database] => {
                Some(Place::Tables { project: project.into(), database: database.into() })
            }
            _ => None,
        })
    }

    /// As it is called in metrics.
    fn name(&self) -> &'static str {
        match self {
            Place::Live => "/livez",
            Place::Ready => "/readyz",
            Place::Metrics => "/metrics",
            Place::Routes { .. } => "/api/v1/projects/{project}/routes/{context}",
            Place::Lookup { .. } => "/api/v1/projects/{project}/routes/{context}/lookup",
            Place::Tables { .. } => "/api/v1/projects/{project}/tables/{database}",
            Place::Events => "/api/v1/events",
        }
    }
}

type Asked = Request<hyper::body::Incoming>;

impl Site {
    async fn serve(&self, request: &Asked) -> Response<Answer> {
        let place = Place::of(request.uri().path());
        let name = place.as_ref().ok().and_then(Option::as_ref).map_or("other", Place::name);
        let answered = match place {
            Ok(Some(place)) => self.answer(request, &place).await,
            Ok(None) => Err(Problem::nothing(
                "there is nothing at this address",
                "See docs/serve.md for the addresses that there are.",
            )),
            Err(bad) => Err(bad.into()),
        };
        let response = answered.unwrap_or_else(Response::from);
        self.requests.count(name, response.status().as_u16());
        response
    }

    async fn answer(&self, request: &Asked, place: &Place) -> Result<Response<Answer>, Problem> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Problem::method());
        }
        if !matches!(place, Place::Live | Place::Ready) {
            self.admit(request)?;
        }
        let asked = parameters(request.uri().query().unwrap_or_default())?;
        match place {
            Place::Live => Ok(text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")),
            Place::Ready => self.ready(),
            Place::Metrics => Ok(self.metrics().await),
            Place::Routes { project, context } => self.routes(self.topic(project, context)?, &asked).await,
            Place::Lookup { project, context } => {
                let topic = self.topic(project, context)?;
                self.first_look(topic).await;
                lookup(self, topic, &asked)
            }
            Place::Tables { project, database } => self.tables(project, database, &asked).await,
            Place::Events if request.method() == Method::HEAD => Err(Problem::method()),
            Place::Events => self.events(request, &asked).await,
        }
    }

    /// Whether the client may ask.
    fn admit(&self, request: &Asked) -> Result<(), Problem> {
        let field = |name| request.headers().get(name).map(HeaderValue::as_bytes);
        match &self.options.tokens {
            Some(tokens) if tokens.accept(field(header::AUTHORIZATION)) => Ok(()),
            Some(_) => Err(Problem::token()),
            None => {
                let host = field(header::HOST).map(|host| std::str::from_utf8(host).unwrap_or("?"));
                if is_local(host) { Ok(()) } else { Err(Problem::host()) }
            }
        }
    }

    fn check_project(&self, project: &str) -> Result<(), Problem> {
        if project != self.options.project {
            let remedy = format!("It serves: {}", self.options.project);
            return Err(Problem::nothing(format!("this server does not serve project {project:?}"), remedy));
        }
        Ok(())
    }

    /// What `rotate` has published of a database, as the registry has it now: the publisher's envelope, or nothing if the
    /// client has it.
    async fn tables(
        &self,
        project: &str,
        database: &str,
        asked: &[(String, String)],
    ) -> Result<Response<Answer>, Problem> {
        self.check_project(project)?;
        let mut since = 0;
        for (name, text) in asked {
            match name.as_str() {
                "since" => since = version(name, text)?,
                _ => return Err(unknown(name, "since")),
            }
        }
        let context = tables_context(database);
        let asking = async {
            let head = self.registry.head(&context).await?;
            Ok((head, if head > since { self.registry.read(&context, since).await? } else { Vec::new() }))
        };
        let looked = tokio::time::timeout(self.options.stale_max, asking).await;
        let (head, envelopes) = looked
            .map_err(|_| Problem::stale("the registry did not answer in time"))?
            .map_err(|error: RegistryError| Problem::stale(error.to_string()))?;
        if head == 0 {
            let what = format!("no tables of a database {database:?} are published");
            return Err(Problem::nothing(what, "Publish them: replat rotate, with a registry.".to_owned()));
        }
        let body = serde_json::to_vec(&envelopes).expect("envelopes are plain data");
        let pieces = VecDeque::from([Bytes::from(body)]);
        let mut response = answer(StatusCode::OK, "application/json", Answer::Pieces(pieces));
        response.headers_mut().insert(VERSION_FIELD, HeaderValue::from(head));
        Ok(response)
    }

    fn topic(&self, project: &str, context: &str) -> Result<&Arc<Topic>, Problem> {
        self.check_project(project)?;
        self.topics.get(context).ok_or_else(|| self.no_context(context))
    }

    fn no_context(&self, context: &str) -> Problem {
        let known = self.topics.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        Problem::nothing(format!("there is no context {context:?} here"), format!("There are: {known}"))
    }

    fn is_fresh(&self, standing: &Standing) -> bool {
        standing.age.is_some_and(|age| age <= self.options.stale_max)
    }

    /// What is handed out must not be taken for the newest if nobody knows.
    fn check_fresh(&self, topic: &Topic) -> Result<(), Problem> {
        let standing = topic.standing();
        if self.is_fresh(&standing) {
            return Ok(());
        }
        let why = standing.trouble.unwrap_or_else(|| "nothing was heard of it".into());
        Err(Problem::stale(match standing.age {
            Some(age) => format!("for {} s the registry was not seen whole: {why}", age.as_secs()),
            None => format!("the registry was not seen whole yet: {why}"),
        }))
    }

    /// Who asks right after the start waits until the registry was seen, or did not answer.
    async fn first_look(&self, topic: &Topic) {
        let looked = async {
            while topic.standing().age.is_none() && topic.standing().trouble.is_none() {
                tokio::time::sleep(FIRST_LOOK_EVERY).await;
            }
        };
        drop(tokio::time::timeout(self.options.stale_max, looked).await);
    }

    fn ready(&self) -> Result<Response<Answer>, Problem> {
        let mut contexts = serde_json::Map::new();
        for (context, topic) in &self.topics {
            self.check_fresh(topic).map_err(|problem| {
                let detail = format!("{context}: {}", problem.detail);
                Problem { detail, ..problem }
            })?;
            let version = topic.board().borrow().chain.head();
            contexts.insert(context.clone(), json!({ "version": version }));
        }
        Ok(value(&json!({ "project": self.options.project, "contexts": contexts })))
    }

    async fn routes(&self, topic: &Topic, asked: &[(String, String)]) -> Result<Response<Answer>, Problem> {
        let (mut since, mut wait) = (0, Duration::ZERO);
        for (name, text) in asked {
            match name.as_str() {
                "since" => since = version(name, text)?,
                "wait" => wait = seconds(text)?.min(WAIT_MAX),
                _ => return Err(unknown(name, "since and wait")),
            }
        }
        let (mut board, mut stop) = (topic.board(), self.stop.clone());
        self.first_look(topic).await;
        let news = async {
            // The sender lives as long as the topic; the answer to an end is what there is.
            drop(board.wait_for(|board| board.chain.head() > since).await);
        };
        let waiting = Arc::clone(&self.polls);
        tokio::select! {
            () = news => {}
            () = tokio::time::sleep(wait) => {}
            _ = stop.wait_for(|stopped| *stopped) => {}
        }
        drop(waiting);
        self.check_fresh(topic)?;
        let board = topic.board();
        let chain = Arc::clone(&board.borrow().chain);
        let mut pieces = VecDeque::from([Bytes::from_static(b"[")]);
        for (at, parcel) in chain.since(since).iter().enumerate() {
            if at > 0 {
                pieces.push_back(Bytes::from_static(b",\n"));
            }
            pieces.push_back(parcel.json());
        }
        pieces.push_back(Bytes::from_static(b"]\n"));
        let mut response = answer(StatusCode::OK, "application/json", Answer::Pieces(pieces));
        response.headers_mut().insert(VERSION_FIELD, HeaderValue::from(chain.head()));
        Ok(response)
    }

    async fn events(&self, request: &Asked, asked: &[(String, String)]) -> Result<Response<Answer>, Problem> {
        let (mut topics, mut since) = (None, None);
        for (name, text) in asked {
            match name.as_str() {
                "topics" => topics = Some(text),
                "since" => since = Some(version(name, text)?),
                _ => return Err(unknown(name, "topics and since")),
            }
        }
        let one = "Ask for one: topics=routes/CONTEXT; ids are versions of one context.";
        let topic = topics.and_then(|topics| topics.strip_prefix("routes/"));
        let context = topic.ok_or_else(|| Problem::request("there is no such topic", one))?;
        let topic = self.topics.get(context).ok_or_else(|| match context.contains(',') {
            true => Problem::request("several topics do not go into one stream", one),
            false => self.no_context(context),
        })?;
        let last = request.headers().get("last-event-id").map(HeaderValue::as_bytes);
        if let Some(last) = last.filter(|last| !last.is_empty()) {
            // Where a client was when its stream broke is later than where it began.
            since = Some(version("Last-Event-ID", std::str::from_utf8(last).unwrap_or("?"))?);
        }
        self.first_look(topic).await;
        self.check_fresh(topic)?;
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        let permit = permit.map_err(|_| Problem::enough("streams"))?;
        let (events, body) = mpsc::channel(1);
        let have = since.unwrap_or_else(|| topic.board().borrow().chain.head());
        let (topic, stop) = (Arc::clone(topic), self.stop.clone());
        let stream = Stream { topic, have, stale_max: self.options.stale_max, events, stop };
        tokio::spawn(async move {
            stream.run().await;
            drop(permit);
        });
        let mut response = answer(StatusCode::OK, "text/event-stream", Answer::Stream(body));
        response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(response)
    }

    async fn metrics(&self) -> Response<Answer> {
        let mut contexts = Vec::new();
        for (context, topic) in &self.topics {
            let asked = tokio::time::timeout(ATTENDING_MAX, self.registry.attending(context)).await;
            let standing = topic.standing();
            contexts.push(ContextFacts {
                context: context.clone(),
                version: topic.board().borrow().chain.head(),
                is_ready: self.is_fresh(&standing),
                standing,
                attending: asked.ok().and_then(Result::ok),
            });
        }
        let taken = |all: usize, free: &Semaphore| all.saturating_sub(free.available_permits());
        let page = metrics::page(&metrics::Facts {
            project: &self.options.project,
            contexts,
            connections: taken(self.options.connections_max, &self.connections),
            streams: taken(self.options.streams_max, &self.streams),
            polls: Arc::strong_count(&self.polls) - 1,
            requests: &self.requests,
            haproxy: self.exported.as_ref().map(|exported| exported.borrow().clone()),
        });
        text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page)
    }
}

/// Where the keys that are asked for are served.
fn lookup(site: &Site, topic: &Topic, asked: &[(String, String)]) -> Result<Response<Answer>, Problem> {
    site.check_fresh(topic)?;
    let routes = topic.board().borrow().routes.clone();
    let routes = routes.ok_or_else(|| {
        Problem::nothing("no routes of this context are published", "Publish them: replat registry init")
    })?;
    let found: Vec<Value> = match &key(&routes, asked)?[..] {
        key if key.iter().all(Option::is_some) => {
            let key: Vec<KeyValue> = key.iter().flatten().cloned().collect();
            let route = routes.find(&key).map_err(|why| Problem::request(why.to_string(), KEY_REMEDY))?;
            vec![crate::route_value(&route)]
        }
        part => {
            let leaves = routes.map().lookup_partial(part);
            let leaves = leaves.map_err(|why| Problem::request(why.to_string(), KEY_REMEDY))?;
            let found = leaves.iter().filter_map(|leaf| routes.partition(&leaf.partition));
            found.map(|route| crate::route_value(&route)).collect()
        }
    };
    let mut response = value(&json!({
        "project": routes.project(),
        "context": routes.context(),
        "version": routes.version(),
        "routes": found,
    }));
    response.headers_mut().insert(VERSION_FIELD, HeaderValue::from(routes.version()));
    Ok(response)
}

const KEY_REMEDY: &str = "Give the key's columns and their values, such as ?tenant_id=42";

/// The key that is asked for; `None` where a column is left out.
fn key(routes: &Routes, asked: &[(String, String)]) -> Result<Vec<Option<KeyValue>>, Problem> {
    let dimensions = routes.map().dimensions();
    let columns =
        || dimensions.iter().map(|dimension| dimension.column.as_str()).collect::<Vec<_>>().join(", ");
    let mut key = vec![None; dimensions.len()];
    for (column, text) in asked {
        let at = dimensions.iter().position(|dimension| dimension.column == *column);
        let at = at.ok_or_else(|| unknown(column, &columns()))?;
        let parsed = dimensions[at].key_type.parse(text);
        let parsed = parsed.map_err(|why| Problem::request(format!("{column}: {why}"), KEY_REMEDY))?;
        if key[at].replace(parsed).is_some() {
            return Err(Problem::request(format!("{column} is given twice"), KEY_REMEDY));
        }
    }
    match key.iter().any(Option::is_some) {
        true => Ok(key),
        false => Err(Problem::request(format!("no column of the key is given: {}", columns()), KEY_REMEDY)),
    }
}

fn unknown(name: &str, known: &str) -> Problem {
    Problem::request(format!("there is no parameter {name:?} here"), format!("There are: {known}"))
}

fn version(name: &str, text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| Problem::request(format!("{name} is no version"), "Versions are whole numbers."))
}

/// A number of seconds, with or without the unit.
fn seconds(text: &str) -> Result<Duration, Problem> {
    let bad = || Problem::request("wait is no number of seconds", "Write it as wait=30");
    let number: f64 = text.strip_suffix('s').unwrap_or(text).parse().map_err(|_| bad())?;
    Duration::try_from_secs_f64(number).map_err(|_| bad())
}

impl From<BadTarget> for Problem {
    fn from(bad: BadTarget) -> Problem {
        Problem::request(bad.to_string(), "Encode the parts of the path and the parameters as RFC 3986 says.")
    }
}
