//! The listener: lets clients in, up to a limit, and out again when it stops.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use replat_wire::backend::{self, Complaint, TxStatus};
use replat_wire::startup::Startup;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::backend::{Backend, Identity};
use crate::custom::{PARTITION, in_options};
use crate::doors::{Ask, Doors, Knock, Reading};
use crate::greet::{Caller, Unwelcome, authenticate, greet};
use crate::keys::Keys;
use crate::prewarm::Turns;
use crate::roll::{Card, Counts, Orders, Roll, SessionReport, Tally};
use crate::session::missing::Asked;
use crate::session::{Opened, Session};
use crate::settings::{ClientAuth, ClientTls, Settings};
use crate::shadow::Shadows;
use crate::side::Side;
use crate::tls::BadCertificate;

/// How long somebody may take to read why there is nothing for him.
const FAREWELL_MAX: Duration = Duration::from_secs(5);
/// The pause after the system refused to take a connection, for want of file descriptors usually.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// What all sessions of a proxy share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) doors: Arc<dyn Doors>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) turns: Turns,
    pub(crate) asked: Asked,
    pub(crate) shadows: Arc<Shadows>,
    tls: Option<TlsAcceptor>,
    keys: Arc<Keys>,
    roll: Arc<Roll>,
    stop: watch::Receiver<bool>,
    /// For challenges to those who are not known.
    mock: [u8; 32],
}

/// A proxy cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum BadStart {
    /// Its certificate will not do.
    #[error("the certificate for clients will not do")]
    Certificate(#[from] BadCertificate),
    /// The system has no randomness, without which no login is safe.
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
}

/// A door for clients that speak PostgreSQL's protocol. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

impl Proxy {
    /// A proxy that lets nobody in yet.
    ///
    /// # Errors
    ///
    /// [`BadStart`] if it could not do so safely.
    pub fn new(settings: Settings, doors: Arc<dyn Doors>) -> Result<Proxy, BadStart> {
        let tls = match &settings.tls {
            ClientTls::Off => None,
            ClientTls::Offered(certificate) | ClientTls::Required(certificate) => {
                Some(certificate.acceptor()?)
            }
        };
        let mut mock = [0; 32];
        getrandom::fill(&mut mock).map_err(BadStart::Random)?;
        let (counts, keys, roll) = (Arc::default(), Arc::default(), Arc::default());
        let (stop, stopped) = watch::channel(false);
        let turns = Turns::new(settings.limits.moves_at_once);
        let asked = Asked::default();
        let shadows = Arc::new(Shadows::new(settings.variances.clone()));
        let shared =
            Shared { settings, doors, counts, turns, asked, shadows, tls, keys, roll, stop: stopped, mock };
        Ok(Proxy { shared: Arc::new(shared), stop })
    }

    /// Lets clients of `listener` in until [`Proxy::stop`]; several listeners may be served at once. Returns when
    /// the last of their sessions has ended.
    pub async fn serve(&self, listener: TcpListener) {
        let mut stop = self.stop.subscribe();
        let mut clients = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                Some(_) = clients.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => drop(clients.spawn(attend(self.shared.clone(), stream))),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a client cannot be let in");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
        drop(listener);
        while clients.join_next().await.is_some() {}
    }

    /// Lets nobody in any more, ends each session at its next boundary, and after `patience` wherever it is. Their
    /// clients are told 57P01. Returns at once; [`Proxy::serve`] returns when all have ended.
    pub fn stop(&self, patience: Duration) {
        self.stop.send_replace(true);
        self.order(Orders::LeaveAtBoundary);
        let proxy = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            proxy.order(Orders::LeaveNow);
        });
    }

    fn order(&self, orders: Orders) {
        self.shared.roll.all().iter().for_each(|card| card.order(orders));
    }

    /// Has every session ask its server what it has, at its next boundary; [`Proxy::sessions`] shows the answers.
    pub fn survey(&self) {
        self.order(Orders::Survey);
    }

    /// Everybody who has logged in.
    pub fn sessions(&self) -> Vec<SessionReport> {
        self.shared.roll.all().iter().map(|card| card.report()).collect()
    }

    /// What was done so far.
    pub fn tally(&self) -> Tally {
        Tally { shadow: self.shared.shadows.tally(), ..self.shared.counts.tally() }
    }
}

/// One client, from its first byte to its last.
async fn attend(shared: Arc<Shared>, stream: TcpStream) {
    let _counted = Present::new(&shared);
    let limit = shared.settings.limits.startup_max;
    let full = shared.counts.clients.load(Ordering::Relaxed) > shared.settings.limits.clients_max;
    let required = matches!(shared.settings.tls, ClientTls::Required(_));
    let known = tokio::time::timeout(limit, async {
        match greet(stream, shared.tls.as_ref(), required).await? {
            Caller::Cancel(key) => Ok(Err(key)),
            // Only now, so that a full house can still be asked to cancel something.
            Caller::Session { side, .. } if full => {
                Err(Unwelcome::Complaint(side, Complaint::fatal("53300", "sorry, too many clients already")))
            }
            Caller::Session { side, startup } => identify(&shared, side, startup).await.map(Ok),
        }
    });
    let outcome = match known.await {
        Err(_) => return tracing::debug!("a client did not say in time who it is"),
        Ok(Ok(Err(key))) => return shared.keys.cancel(key).await,
        Ok(Ok(Ok(known))) => admit(shared.clone(), known).await,
        Ok(Err(unwelcome)) => Err(unwelcome),
    };
    match outcome {
        Ok(session) => session.run().await,
        Err(Unwelcome::Gone(error)) => {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a client went before it had a session"
            );
        }
        Err(Unwelcome::Complaint(mut side, complaint)) => {
            tracing::debug!(%complaint, "a client was not let in");
            complaint.put(&mut side.output);
            drop(tokio::time::timeout(FAREWELL_MAX, side.close()).await);
        }
    }
}

/// A client that has proved who it is.
struct Known {
    side: Side,
    identity: Identity,
    database: String,
    partition: Option<String>,
}

async fn identify(shared: &Shared, mut side: Side, startup: Startup) -> Result<Known, Unwelcome> {
    if startup.get("replication").is_some_and(|value| !matches!(value, "false" | "off" | "no" | "0")) {
        let complaint = Complaint::fatal("0A000", "replication connections do not go through this proxy")
            .hint("Connect to the server itself.");
        return Err(Unwelcome::Complaint(side, complaint));
    }
    if startup.minor > 0 || startup.extensions().next().is_some() {
        backend::put_negotiate(&mut side.output, startup.extensions());
    }
    let named = startup.get("user").unwrap_or_default();
    let (user, suffix) = match shared.settings.user_suffix.and_then(|mark| named.rsplit_once(mark)) {
        Some((user, partition)) if !user.is_empty() => (user, Some(partition.to_owned())),
        _ => (named, None),
    };
    let login = match &shared.settings.auth {
        ClientAuth::Trust => None,
        ClientAuth::Scram(verifiers) => {
            match authenticate(&mut side, user, &**verifiers, &shared.mock).await? {
                Ok(login) => Some(login),
                Err(complaint) => return Err(Unwelcome::Complaint(side, complaint)),
            }
        }
    };
    let options = startup.get("options").and_then(in_options);
    let direct = startup.get(PARTITION).map(str::to_owned);
    let partition = direct.or(options).or(suffix).filter(|partition| !partition.is_empty());
    let database = startup.get("database").unwrap_or(user).to_owned();
    let user = user.to_owned();
    let own = |name: &str| matches!(name, "user" | "database" | "replication") || name.starts_with("_pq_.");
    let parameters = startup.parameters.into_iter().filter(|(name, _)| !own(name)).collect();
    Ok(Known { side, identity: Identity { user, parameters, login }, database, partition })
}

/// Opens the client's first session at a home, and tells the client all that a server would.
async fn admit(shared: Arc<Shared>, known: Known) -> Result<Session, Unwelcome> {
    let Known { mut side, identity, database, partition } = known;
    let knock = shared.doors.knock(&Ask {
        user: &identity.user,
        database: &database,
        parameters: &identity.parameters,
        partition: partition.as_deref(),
        current: None,
        statements: None,
        reading: Reading::USUAL,
    });
    let pass = match knock {
        Knock::Open(pass) => Ok(pass),
        Knock::Held { answer, .. } => {
            let mut stop = shared.stop.clone();
            tokio::select! {
                answer = answer => answer,
                _ = stop.wait_for(|stop| *stop) => Err(Complaint::fatal("57P01", "the proxy stops")),
            }
        }
        Knock::Refused(complaint) => Err(complaint),
    };
    let pass = match pass {
        Ok(pass) => pass,
        Err(complaint) => {
            return Err(Unwelcome::Complaint(side, Complaint { fatal: true, ..complaint }));
        }
    };
    let home = pass.home.clone();
    // A login is no transaction: nobody need wait for it.
    drop(pass);
    let limit = shared.settings.limits.dial_max;
    let backend = match Backend::dial(home.clone(), &identity, limit).await {
        Ok(backend) => backend,
        Err(error) => {
            tracing::warn!(%home, error = &error as &dyn std::error::Error, "a client's session cannot be opened");
            let complaint = Complaint { fatal: true, ..error.complaint(&home, &identity.user) };
            return Err(Unwelcome::Complaint(side, complaint));
        }
    };
    let registered = shared.keys.register().map_err(|error| Unwelcome::Gone(io::Error::other(error)))?;
    backend::put_authenticated(&mut side.output);
    for (name, value) in &backend.parameters {
        backend::put_parameter(&mut side.output, name, value);
    }
    backend::put_key_data(&mut side.output, registered.key);
    backend::put_ready(&mut side.output, TxStatus::Idle);
    let card = Arc::new(Card::new(&identity.user));
    let entry = shared.roll.enter(card.clone());
    let (client, identity) = (side, Arc::new(identity));
    let opened = Opened { client, backend, identity, database, partition, registered, card, entry };
    Ok(Session::new(shared, opened))
}

/// Counts a client as long as it is there.
struct Present(Arc<Shared>);

impl Present {
    fn new(shared: &Arc<Shared>) -> Present {
        shared.counts.clients.fetch_add(1, Ordering::Relaxed);
        Present(shared.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.counts.clients.fetch_sub(1, Ordering::Relaxed);
    }
}
