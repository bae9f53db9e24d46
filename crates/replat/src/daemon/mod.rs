//! `rotate --watch`: runs that begin by themselves.
//!
//! Four things start a run: a schedule, rows that come faster than forecast, a message (a notification of the database,
//! or JetStream), and the return of a lost connection, since something may have been said meanwhile. What comes while
//! a run is at work, or within [`GATHER`] of each other, becomes one run. Runs are harmless however often they come:
//! one that finds nothing to do does nothing, and two at once exclude each other by the database's lock.
//!
//! A message is acknowledged when the run that it asked for has succeeded, and asked for again when it has not. So a
//! burst that is announced gets its partitions, or somebody hears of it. What did not succeed and has nobody else to
//! keep it is tried again here, more and more seldom, until it does.

mod ask;
mod nats;
mod schedule;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use replat_model::lifecycle::velocity::Surge;
use replat_postgres::conninfo::ConnInfo;
use replat_postgres::lifecycle::listen::Listener;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use ask::Ask;
pub use nats::{Jet, JetError, JetStart};
pub use schedule::Schedule;

/// The channel on which the database's own users ask for a run: `NOTIFY replat_rotate, '{"table":"public.events"}'`.
pub const CHANNEL: &str = "replat_rotate";

/// How long to wait for more occasions after the first: a burst of messages is one run.
const GATHER: Duration = Duration::from_millis(100);

/// The longest wait before a lost listener is opened again.
const AGAIN_AT_MOST: Duration = Duration::from_secs(30);

/// How soon what did not succeed is tried again: at first, and at most. Each time it waits twice as long.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// How often a message's run is tried before the message goes back where it came from.
const TRIES: u32 = 3;

/// So many occasions wait for a run that succeeds at most, besides messages that want an answer.
const REMEMBERED: usize = 256;

/// The wall clock is looked at so often at least, since it may be set, and machines sleep.
const CLOCK: Duration = Duration::from_secs(30);

/// A measurement that takes longer is given up.
const MEASURED_WITHIN: Duration = Duration::from_secs(30);

/// A database among those that the daemon serves: which one it is, in their order.
pub type PlaceNumber = usize;

/// Why a run begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Occasion {
    /// The daemon has started.
    Start,
    /// The schedule says so.
    Schedule,
    /// Rows come faster than forecast.
    Surge {
        /// Where.
        place: PlaceNumber,
        /// Which.
        surge: Surge,
    },
    /// Somebody asked.
    Asked {
        /// By which way: `notify`, `nats`.
        by: &'static str,
        /// The database that the message came from, if it came from one.
        place: Option<PlaceNumber>,
        /// What for.
        ask: Ask,
    },
    /// A connection was lost for a while, and what was said meanwhile is not known.
    Reconnected {
        /// To which database.
        place: PlaceNumber,
    },
}

impl Occasion {
    /// Whether it is about the database at `place` that people call `name`.
    pub fn concerns(&self, place: PlaceNumber, name: &str) -> bool {
        match self {
            Occasion::Start | Occasion::Schedule => true,
            Occasion::Surge { place: only, .. } | Occasion::Reconnected { place: only } => *only == place,
            Occasion::Asked { place: only, ask, .. } => {
                only.is_none_or(|only| only == place)
                    && ask.database.as_deref().is_none_or(|only| only == name)
            }
        }
    }
}

impl Occasion {
    /// Whether `newer` says all that this one says.
    fn is_renewed_by(&self, newer: &Occasion) -> bool {
        match (self, newer) {
            (Occasion::Surge { place, surge }, Occasion::Surge { place: there, surge: newer }) => {
                place == there && surge.set == newer.set
            }
            _ => self == newer,
        }
    }
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Occasion::Start => f.write_str("start"),
            Occasion::Schedule => f.write_str("schedule"),
            Occasion::Surge { surge, .. } => surge.fmt(f),
            Occasion::Asked { by, ask, .. } => write!(f, "asked by {by}: {ask}"),
            Occasion::Reconnected { .. } => f.write_str("connected again"),
        }
    }
}

/// How a run ended for one of its occasions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunEnd {
    /// What was wanted is there.
    Done,
    /// Not all of it; another try may do.
    NotYet,
    /// Not all of it, and another try will not help until a person has done something.
    Refused,
}

/// What the daemon starts. Implemented by the command, which knows the databases and the policy.
pub trait Work {
    /// One run, and how it ended for each of the occasions. They may narrow it to tables, or ask for more than the
    /// policy does.
    async fn run(&mut self, occasions: &[Occasion]) -> Vec<RunEnd>;

    /// Sets whose rows came faster than forecast since the last call, with their database. Reads only.
    async fn surges(&mut self) -> Vec<(PlaceNumber, Surge)>;
}

/// When the daemon starts runs.
pub struct Watch {
    /// Schedules; the earliest counts.
    pub schedules: Vec<Schedule>,
    /// How often the rate of ingestion is measured; `None`: never.
    pub velocity_every: Option<Duration>,
    /// The databases whose notifications are heard.
    pub listen: Vec<(PlaceNumber, ConnInfo)>,
    /// Where messages come from, if they do.
    pub jet: Option<Jet>,
}

/// An occasion that waits for its run.
struct Waiting {
    occasion: Occasion,
    /// The message that asked, if it wants an answer.
    receipt: Option<nats::Receipt>,
    tries: u32,
}

impl Waiting {
    fn of(occasion: Occasion) -> Waiting {
        Waiting { occasion, receipt: None, tries: 0 }
    }
}

impl Watch {
    /// Starts runs until `stop` comes true. A run that is at work then is finished first.
    pub async fn run(self, work: &mut impl Work, stop: impl Future<Output = ()>) {
        let (heard, mut news) = mpsc::channel::<Waiting>(256);
        // They end with us.
        let mut tasks = tokio::task::JoinSet::new();
        for (place, info) in self.listen {
            tasks.spawn(listen(place, info, heard.clone()));
        }
        if let Some(jet) = self.jet {
            tasks.spawn(jet.forward(heard.clone()));
        }
        let mut stop = std::pin::pin!(stop);
        let mut waiting = VecDeque::from([Waiting::of(Occasion::Start)]);
        let mut again = Some(Instant::now());
        let mut failures = 0u32;
        let mut due = earliest(&self.schedules);
        let mut measure = self.velocity_every.map(|every| {
            let mut ticks = tokio::time::interval(every);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            ticks
        });
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = sleep_until(again) => {}
                () = sleep_towards(due) => {
                    if due.is_none_or(|due| Timestamp::now() < due) {
                        continue;
                    }
                    due = earliest(&self.schedules);
                    waiting.push_back(Waiting::of(Occasion::Schedule));
                }
                () = tick(&mut measure) => {
                    let surges = tokio::time::timeout(MEASURED_WITHIN, work.surges()).await.unwrap_or_default();
                    if surges.is_empty() {
                        continue;
                    }
                    let occasion = |(place, surge)| Waiting::of(Occasion::Surge { place, surge });
                    waiting.extend(surges.into_iter().map(occasion));
                }
                Some(message) = news.recv() => waiting.push_back(message),
            }
            tokio::time::sleep(GATHER).await;
            while let Ok(message) = news.try_recv() {
                waiting.push_back(message);
            }
            let occasions: Vec<Occasion> = waiting.iter().map(|w| w.occasion.clone()).collect();
            let ends = run_telling(work, &occasions, &waiting).await;
            settle(&mut waiting, &ends).await;
            failures = if waiting.is_empty() { 0 } else { failures.saturating_add(1) };
            again = (!waiting.is_empty()).then(|| Instant::now() + rest(failures));
        }
        news.close();
        while let Ok(message) = news.try_recv() {
            waiting.push_back(message);
        }
        for receipt in waiting.into_iter().filter_map(|waiting| waiting.receipt) {
            receipt.hand_back().await;
        }
    }
}

/// How long to wait after so many runs that left something to do.
fn rest(failures: u32) -> Duration {
    RETRY.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(RETRY_MAX)
}

/// One run, during which the senders of its messages hear now and then that it is at work.
async fn run_telling(
    work: &mut impl Work,
    occasions: &[Occasion],
    waiting: &VecDeque<Waiting>,
) -> Vec<RunEnd> {
    let mut run = std::pin::pin!(work.run(occasions));
    loop {
        tokio::select! {
            ends = &mut run => return ends,
            () = tokio::time::sleep(nats::ACK_WAIT / 3) => {
                for receipt in waiting.iter().filter_map(|message| message.receipt.as_ref()) {
                    receipt.working().await;
                }
            }
        }
    }
}

/// Answers for the messages of a run. What is left in `waiting` is to be tried again.
async fn settle(waiting: &mut VecDeque<Waiting>, ends: &[RunEnd]) {
    for (n, mut message) in std::mem::take(waiting).into_iter().enumerate() {
        message.tries += 1;
        let end = ends.get(n).copied().unwrap_or(RunEnd::NotYet);
        match (end, message.receipt.take()) {
            (RunEnd::Done, Some(receipt)) => receipt.done().await,
            (RunEnd::Refused, Some(receipt)) => receipt.again().await,
            (RunEnd::NotYet, Some(receipt)) if message.tries >= TRIES => receipt.again().await,
            (RunEnd::NotYet, receipt) => {
                if let Some(receipt) = &receipt {
                    receipt.working().await;
                }
                // The newest of its kind says it all.
                waiting.retain(|w| w.receipt.is_some() || !w.occasion.is_renewed_by(&message.occasion));
                waiting.push_back(Waiting { receipt, ..message });
            }
            (RunEnd::Done | RunEnd::Refused, None) => {}
        }
    }
    // Whoever may connect may say things without end; messages that want an answer are counted by their server.
    while waiting.iter().filter(|w| w.receipt.is_none()).count() > REMEMBERED {
        let oldest = waiting.iter().position(|w| w.receipt.is_none()).and_then(|at| waiting.remove(at));
        if let Some(Waiting { occasion, .. }) = oldest {
            tracing::warn!("too much waits for a run that succeeds; given up: {occasion}");
        }
    }
}

fn earliest(schedules: &[Schedule]) -> Option<Timestamp> {
    let now = Timestamp::now();
    schedules.iter().filter_map(|schedule| schedule.after(now)).min()
}

/// Until `due`, or until the clock should be looked at again.
async fn sleep_towards(due: Option<Timestamp>) {
    match due {
        Some(due) => {
            let left = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO);
            tokio::time::sleep(left.min(CLOCK)).await;
        }
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn tick(ticks: &mut Option<tokio::time::Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => std::future::pending().await,
    }
}

/// Passes notifications on for ever; opens the session again when it is lost, and says once that it was.
async fn listen(place: PlaceNumber, info: ConnInfo, heard: mpsc::Sender<Waiting>) {
    let mut failures = 0u32;
    let (mut first, mut said) = (true, false);
    loop {
        match Listener::open(&info, CHANNEL).await {
            Ok(mut listener) => {
                (failures, said) = (0, false);
                let back = Waiting::of(Occasion::Reconnected { place });
                if !std::mem::take(&mut first) && heard.send(back).await.is_err() {
                    return;
                }
                while let Some(payload) = listener.next().await {
                    match payload.parse::<Ask>() {
                        Ok(ask) => {
                            let asked = Occasion::Asked { by: "notify", place: Some(place), ask };
                            if heard.send(Waiting::of(asked)).await.is_err() {
                                return;
                            }
                        }
                        Err(error) => {
                            tracing::warn!("a notification on {CHANNEL} was not understood: {error}")
                        }
                    }
                }
                tracing::info!("the session that hears notifications of {} was lost", info.dbname);
            }
            Err(error) if !said => {
                (first, said) = (false, true);
                let causes = crate::failure::causes(&error).join(": ");
                tracing::warn!("notifications of {} cannot be heard now: {error}: {causes}", info.dbname);
            }
            Err(_) => {}
        }
        failures += 1;
        tokio::time::sleep(Duration::from_millis(250 << failures.min(8)).min(AGAIN_AT_MOST)).await;
    }
}

#[cfg(test)]
mod tests;
