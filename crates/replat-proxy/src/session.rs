//! One client and its server: frames go both ways, and at every transaction boundary the doors are asked.

mod admit;
mod digest;
pub(crate) mod missing;
mod reads;
mod shadow;

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use replat_wire::backend::{self, Complaint, TxStatus};
use replat_wire::conversation::Conversation;
use replat_wire::frontend;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep};

use crate::aside::Aside;
use crate::backend::{Backend, Identity};
use crate::custom::{Choice, CustomNames};
use crate::doors::{Pass, Reading};
use crate::keys::{Registered, Target, send_cancel};
use crate::proxy::Shared;
use crate::roll::{Card, Entry, Orders};
use crate::side::Side;
use digest::Step;
use shadow::Lent;

/// How long a server may take to end what a client has left behind.
const AFTERMATH_MAX: Duration = Duration::from_secs(60);

/// Why a session ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The client said good-bye, or just went.
    ClientGone,
    /// The server hung up; what it said before that has been passed on.
    ServerGone,
    /// The client is told why.
    Complaint(Complaint),
}

/// What may come of a wait in the proxy instead of what was waited for.
pub(crate) enum Attended {
    End(End),
    /// The request is answered by this; the session goes on.
    Refused(Complaint),
}

/// A session whose client has logged in.
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) client: Side,
    /// `None` while the session has no server: its last one was given up, and the next is not needed yet.
    pub(crate) backend: Option<Backend>,
    /// A session for reads at another home.
    pub(crate) aside: Option<Aside>,
    /// For reads that are compared.
    lent: Lent,
    pub(crate) identity: Arc<Identity>,
    /// The database that the client asked for.
    pub(crate) database: String,
    /// The partition that was named at start-up.
    pub(crate) partition_at_start: Option<String>,
    pub(crate) partition: Option<String>,
    pub(crate) registered: Registered,
    pub(crate) card: Arc<Card>,
    entry: Entry,
    pub(crate) conversation: Conversation,
    /// The right of the transaction that runs; `None` exactly at a boundary.
    pub(crate) pass: Option<Pass>,
    pub(crate) custom: CustomNames,
    /// Settings as the client was told them.
    pub(crate) told: BTreeMap<String, String>,
    pub(crate) memory: Memory,
    bell: Pin<Box<OwnedNotified>>,
    idle: Option<Pin<Box<Sleep>>>,
    last_word: Instant,
}

/// A client that has logged in, and all that was opened for it.
pub(crate) struct Opened {
    pub(crate) client: Side,
    pub(crate) backend: Backend,
    pub(crate) identity: Arc<Identity>,
    pub(crate) database: String,
    pub(crate) partition: Option<String>,
    pub(crate) registered: Registered,
    pub(crate) card: Arc<Card>,
    pub(crate) entry: Entry,
}

/// What a session remembers between two reads.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// How much is left of a client's message whose beginning has been dealt with, and whether it is dropped.
    client_rest: usize,
    client_drop: bool,
    /// How much is left of a server's message whose beginning has been dealt with.
    server_rest: usize,
    /// A refusal was the answer; everything up to the client's Sync is skipped.
    skipping: bool,
    /// Nothing was ever asked of the present server, so there is nothing there.
    pub(crate) fresh: bool,
    /// A choice of partition that counts once the present transaction has committed.
    pending: Option<Choice>,
    /// Prepared statements that make such a choice.
    choices: BTreeMap<Box<[u8]>, Choice>,
    /// The request that runs, if it may be run again.
    attempt: Option<missing::Attempt>,
    /// A request that has failed for want of a partition.
    missing: Option<missing::Attempt>,
    /// The request at the front of the input has been tried before.
    again: Option<missing::Again>,
    /// When a transaction ended last that was not proved to read only.
    pub(crate) changed: Option<Instant>,
    /// When it failed last to read elsewhere.
    pub(crate) reads_failed: Option<Instant>,
    /// The server said something fatal, and the client has it.
    fatal_told: bool,
    /// The session's own `search_path` was found to be set.
    own_path: bool,
    /// Something was run that may have changed that.
    path_in_doubt: bool,
    /// Prepared statements that may change it whenever they are run; the unnamed one has an empty name.
    unsettling: BTreeSet<Box<[u8]>>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, opened: Opened) -> Session {
        let Opened { client, backend, identity, database, partition, registered, card, entry } = opened;
        let limits = shared.settings.limits;
        let bell = Box::pin(card.bell.clone().notified_owned());
        let idle = limits.idle_max.map(|limit| Box::pin(tokio::time::sleep(limit)));
        let told = backend.parameters.clone();
        let mut session = Session {
            shared,
            client,
            backend: None,
            aside: None,
            lent: Lent::default(),
            identity,
            database,
            partition_at_start: partition.clone(),
            partition,
            registered,
            card,
            entry,
            conversation: Conversation::new(limits.statement_bytes_max),
            pass: None,
            custom: CustomNames::default(),
            told,
            memory: Memory::default(),
            bell,
            idle,
            last_word: Instant::now(),
        };
        session.is_at(backend);
        session
    }

    /// The session has this server now.
    pub(crate) fn is_at(&mut self, backend: Backend) {
        self.registered.target.lead_to(backend.key.map(|key| (backend.way.clone(), key)));
        self.card.is_at(&backend.home);
        self.memory.fresh = true;
        self.backend = Some(backend);
        self.pass_overheard();
    }

    /// Gives the client what its server has said by itself meanwhile.
    pub(crate) fn pass_overheard(&mut self) {
        if let Some(backend) = &mut self.backend
            && !backend.overheard.is_empty()
        {
            self.client.output.extend_from_slice(&backend.overheard.split());
        }
    }

    /// Relays until the end, and sees to an orderly one.
    pub(crate) async fn run(mut self) {
        let end = match self.relay().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        tracing::debug!(?end, "a session ends");
        self.registered.target.lead_to(None);
        // Nobody will hear the end of it.
        let cancel = matches!(end, End::Complaint(_)) && self.pass.is_some();
        match end {
            End::ClientGone => {}
            End::ServerGone if self.memory.fatal_told => {}
            End::ServerGone => server_gone().put(&mut self.client.output),
            End::Complaint(complaint) => complaint.put(&mut self.client.output),
        }
        self.lent.close();
        let Session { client, backend, aside, pass, entry, .. } = self;
        if let Some(aside) = aside {
            aside.backend.leave();
        }
        let farewell = tokio::time::timeout(AFTERMATH_MAX, client.close());
        let aftermath = async {
            if let Some(backend) = backend {
                let at_rest = pass.is_none();
                if let Some(key) = backend.key.filter(|_| cancel) {
                    send_cancel(&backend.way, key).await;
                }
                drop(tokio::time::timeout(AFTERMATH_MAX, wind_up(backend, at_rest)).await);
            }
            // Only now is nothing of it running any more.
            drop(pass);
        };
        drop(tokio::join!(farewell, aftermath));
        drop(entry);
    }

    async fn relay(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            // The server first: its answer may be the boundary that the client's next message needs.
            self.digest_server()?;
            if self.backend.as_ref().is_some_and(|backend| backend.side.ended) {
                return Err(End::ServerGone);
            }
            self.provide().await?;
            self.obey_orders().await?;
            self.lend().await?;
            match self.digest_client()? {
                Step::Read => {
                    if self.client.ended && !self.is_owed_an_answer() {
                        return Err(End::ClientGone);
                    }
                    self.wait().await?;
                }
                Step::Knock => self.admit().await?,
                Step::Bye => return Err(End::ClientGone),
            }
        }
    }

    /// Whether the session is at a boundary and its client has begun nothing.
    fn is_at_rest(&self) -> bool {
        self.pass.is_none() && !self.memory.skipping && self.memory.client_rest == 0
    }

    /// Whether the client, which says no more, still has something to come without saying more.
    fn is_owed_an_answer(&self) -> bool {
        self.conversation.is_waiting()
            && !self.conversation.is_unsynced()
            && !self.conversation.is_copying_in()
    }

    /// Does what the proxy wants of the session by itself.
    async fn obey_orders(&mut self) -> Result<(), End> {
        match self.card.orders() {
            Orders::None => Ok(()),
            Orders::LeaveNow => Err(End::Complaint(stopping())),
            Orders::LeaveAtBoundary if self.is_at_rest() => Err(End::Complaint(stopping())),
            Orders::Survey if self.is_at_rest() => self.survey().await,
            _ => Ok(()),
        }
    }

    /// Asks the server what the session has, for the roll.
    async fn survey(&mut self) -> Result<(), End> {
        let (user, custom) = (self.identity.user.clone(), self.custom.list());
        let pins = match &mut self.backend {
            // Something of the server's own is just coming in; there is another turn when it is here.
            Some(backend) if !backend.side.input.is_empty() => return Ok(()),
            Some(backend) if !self.memory.fresh => {
                let census = backend.census(&user, &custom);
                match tokio::time::timeout(self.shared.settings.limits.dial_max, census).await {
                    Ok(Ok(belongings)) => belongings.pins,
                    Ok(Err(_)) | Err(_) => return Err(End::ServerGone),
                }
            }
            _ => Vec::new(),
        };
        self.pass_overheard();
        self.card.surveyed(self.all_pins(pins));
        Ok(())
    }

    /// How the server reads the session's statements. It is asked only if something was run that may have changed the
    /// `search_path`: that is not reported before PostgreSQL 18, and may be hidden in a function.
    pub(crate) async fn reading(&mut self) -> Result<Reading, End> {
        let is = |name: &str, one_of: &[&str]| {
            self.told.get(name).is_none_or(|value| one_of.iter().any(|is| value.eq_ignore_ascii_case(is)))
        };
        let unconverted =
            is("client_encoding", &["SQL_ASCII"]) && is("server_encoding", &["SQL_ASCII", "UTF8"]);
        let strings = is("standard_conforming_strings", &["on"]);
        let utf8 = is("client_encoding", &["UTF8", "UNICODE"]) || unconverted;
        if let Some(backend) = self.backend.as_mut().filter(|_| self.memory.path_in_doubt) {
            let asked = tokio::time::timeout(self.shared.settings.limits.dial_max, backend.has_own_path());
            let Ok(Ok(own)) = asked.await else { return Err(End::ServerGone) };
            self.memory.own_path = own;
            self.memory.path_in_doubt = false;
            self.pass_overheard();
        }
        Ok(Reading { names: !self.memory.own_path, strings, utf8 })
    }

    /// What the server knows of, and what only the relay knows of.
    pub(crate) fn all_pins(&self, mut pins: Vec<String>) -> Vec<String> {
        if self.conversation.is_forgetful() {
            pins.push("prepared statements that are too large to be remembered".to_owned());
        }
        if self.custom.overflown {
            pins.push("too many settings with names of its own".to_owned());
        }
        pins
    }

    /// Reads and writes until something can be done.
    async fn wait(&mut self) -> Result<(), End> {
        if self.is_at_rest() {
            self.client.rest();
            if let Some(backend) = &mut self.backend {
                backend.side.rest();
            }
        }
        poll_fn(|cx| self.poll_wait(cx)).await
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let limits = self.shared.settings.limits;
        let mut news = false;
        let gone = |_: io::Error| End::ClientGone;
        if self.client.is_behind() {
            let was_full = self.client.output.len() >= limits.buffer_bytes;
            if self.client.poll_drain(cx).map_err(gone)?.is_ready() {
                news |= was_full;
            }
        }
        let mut may_read = self.client.input.len() < limits.look_bytes;
        if let Some(Backend { side, .. }) = &mut self.backend {
            if side.is_behind() {
                // A server that does not read any more may still have said why.
                match side.poll_drain(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => side.output.clear(),
                    Poll::Pending => {}
                }
            }
            may_read &= side.output.len() < limits.buffer_bytes;
            if !side.ended && self.client.output.len() < limits.buffer_bytes {
                match side.poll_fill(cx) {
                    Poll::Ready(Ok(_)) => news = true,
                    Poll::Ready(Err(_)) => {
                        side.ended = true;
                        news = true;
                    }
                    Poll::Pending => {}
                }
            }
        }
        if may_read && !self.client.ended {
            match self.client.poll_fill(cx) {
                Poll::Ready(Ok(_)) => {
                    self.last_word = Instant::now();
                    news = true;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(End::ClientGone)),
                Poll::Pending => {}
            }
        }
        if news {
            return Poll::Ready(Ok(()));
        }
        self.poll_signals(cx)
    }

    fn poll_signals(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if self.bell.as_mut().poll(cx).is_ready() {
            self.bell = Box::pin(self.card.bell.clone().notified_owned());
            return Poll::Ready(Ok(()));
        }
        if let Some(limit) = self.shared.settings.limits.idle_max
            && let Some(idle) = &mut self.idle
        {
            // The alarm is set anew when it rings, not at every word.
            while idle.as_mut().poll(cx).is_ready() {
                let due = self.last_word + limit;
                let at_rest = self.pass.is_none();
                if due <= Instant::now() && at_rest {
                    let complaint = Complaint::fatal("57P05", "the session has said nothing for too long")
                        .detail(format!("The proxy's limit is {limit:?}."));
                    return Poll::Ready(Err(End::Complaint(complaint)));
                }
                let next = if due <= Instant::now() { Instant::now() + limit } else { due };
                idle.as_mut().reset(next);
            }
        }
        Poll::Pending
    }

    /// Ends the session if the proxy wants it at once.
    fn leave_if_ordered(&self) -> Result<(), End> {
        match self.card.orders() {
            Orders::LeaveNow => Err(End::Complaint(stopping())),
            _ => Ok(()),
        }
    }

    /// Looks after the client while `work` goes on: writes what it is owed, and notices if it goes. Work that is
    /// interrupted by that is dropped.
    async fn attend<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_client_meanwhile(cx).map(Err),
        })
        .await
    }

    /// The same for work that the client may cancel. Nothing has reached a server, so there is nothing else to cancel.
    async fn attend_or_cancel<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Attended> {
        let work = unless_cancelled(self.registered.target.clone(), work);
        self.attend(work).await?
    }

    fn poll_client_meanwhile(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.client.is_behind()
            && let Poll::Ready(Err(_)) = self.client.poll_drain(cx)
        {
            return Poll::Ready(End::ClientGone);
        }
        while !self.client.ended && self.client.input.len() < self.shared.settings.limits.look_bytes {
            match self.client.poll_fill(cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(End::ClientGone),
                Poll::Pending => break,
            }
        }
        if self.client.ended {
            return Poll::Ready(End::ClientGone);
        }
        while self.bell.as_mut().poll(cx).is_ready() {
            self.bell = Box::pin(self.card.bell.clone().notified_owned());
        }
        match self.card.orders() {
            Orders::LeaveNow | Orders::LeaveAtBoundary => Poll::Ready(End::Complaint(stopping())),
            _ => Poll::Pending,
        }
    }
}

/// Does `work` unless the client cancels meanwhile.
async fn unless_cancelled<T>(target: Arc<Target>, work: impl Future<Output = T>) -> Result<T, Attended> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = target.asked() => Err(Attended::Refused(cancelled())),
    }
}

/// Has a server end what it is doing for a client that has gone. Until it has, the transaction may still commit.
async fn wind_up(mut backend: Backend, at_rest: bool) {
    frontend::put_terminate(&mut backend.side.output);
    if at_rest {
        return backend.side.close().await;
    }
    drop(backend.side.drain().await);
    loop {
        backend.side.input.clear();
        match poll_fn(|cx| backend.side.poll_fill(cx)).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn server_gone() -> Complaint {
    Complaint::fatal("08006", "the server closed the connection unexpectedly")
        .detail("If a COMMIT was under way, it may or may not have happened.")
}

fn stopping() -> Complaint {
    Complaint::fatal("57P01", "terminating connection because the proxy stops")
}

/// What a client is told whose wish to cancel comes while its statement waits in the proxy.
fn cancelled() -> Complaint {
    Complaint::error("57014", "canceling statement due to user request")
}

/// Appends what ends a request that was answered by a complaint.
fn put_idle(out: &mut bytes::BytesMut) {
    backend::put_ready(out, TxStatus::Idle);
}
