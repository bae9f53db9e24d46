//! `rotate --watch`: runs that begin by themselves.
//!
//! Four things start a run: a schedule, rows that come faster than forecast, a message (a notification of the database,
//! or JetStream), and the return of a lost connection, since something may have been said meanwhile. What comes while
//! a run is at work, or within [`GATHER`] of each other, becomes one run. Runs are harmless however often they come:
//! one that finds nothing to do does nothing, and two at once exclude each other by the database's lock.
//!
//! A message is acknowledged when the run that it asked for has succeeded, and asked for again when it has not. So a
//! burst that is announced gets its partitions, or somebody hears of it.

mod ask;
mod nats;
mod schedule;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use replat_model::lifecycle::facts::TableName;
use replat_postgres::conninfo::ConnInfo;
use replat_postgres::lifecycle::listen::Listener;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use ask::Ask;
pub use nats::{Jet, JetStart};
pub use schedule::Schedule;

/// The channel on which the database's own users ask for a run: `NOTIFY replat_rotate, '{"table":"public.events"}'`.
pub const CHANNEL: &str = "replat_rotate";

/// How long to wait for more occasions after the first: a burst of messages is one run.
const GATHER: Duration = Duration::from_millis(100);

/// The longest wait before a lost listener is opened again.
const AGAIN_AT_MOST: Duration = Duration::from_secs(30);

/// How soon a run that did not succeed is tried again for the messages that wait for it.
const RETRY: Duration = Duration::from_secs(5);

/// How often a message's run is tried before the message goes back where it came from.
const TRIES: u32 = 3;

/// Why a run begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Occasion {
    /// The daemon has started.
    Start,
    /// The schedule says so.
    Schedule,
    /// Rows come faster than forecast.
    Surge(Surge),
    /// Somebody asked.
    Asked {
        /// By which way: `notify`, `nats`.
        by: &'static str,
        /// What for.
        ask: Ask,
    },
    /// A connection was lost for a while, and what was said meanwhile is not known.
    Reconnected,
    /// The last run did not succeed.
    Again,
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Occasion::Start => f.write_str("start"),
            Occasion::Schedule => f.write_str("schedule"),
            Occasion::Surge(surge) => {
                write!(f, "{} gets {:.1} times the rows of its forecast", surge.set, surge.ratio)
            }
            Occasion::Asked { by, ask } => write!(f, "asked by {by}: {ask}"),
            Occasion::Reconnected => f.write_str("connected again"),
            Occasion::Again => f.write_str("another try"),
        }
    }
}

/// A set that grows faster than forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct Surge {
    /// The set.
    pub set: TableName,
    /// Its rate since the last measurement, by the upper end of its forecast.
    pub ratio: f64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// What was wanted is there.
    Done,
    /// Not all of it; another try may do.
    NotYet,
    /// Not all of it, and another try will not help until a person has done something.
    Refused,
}

/// What the daemon starts. Implemented by the command, which knows the database and the policy.
pub trait Work {
    /// One run. The occasions may narrow it to tables, or ask for more than the policy does.
    async fn run(&mut self, occasions: &[Occasion]) -> RunEnd;

    /// Sets whose rows came faster than forecast since the last call. Reads only.
    async fn surges(&mut self) -> Vec<Surge>;
}

/// When the daemon starts runs.
pub struct Watch {
    /// Schedules; the earliest counts.
    pub schedules: Vec<Schedule>,
    /// How often the rate of ingestion is measured; `None`: never.
    pub velocity_every: Option<Duration>,
    /// The database whose notifications are heard; `None`: none.
    pub listen: Option<ConnInfo>,
    /// Where messages come from, if they do.
    pub nats: Option<JetStart>,
}

/// A message that waits for the run it asked for.
struct Waiting {
    occasion: Occasion,
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
    ///
    /// # Errors
    ///
    /// JetStream's stream could not be reached at the start. Later losses are mended by themselves.
    pub async fn run(
        self,
        work: &mut impl Work,
        stop: impl Future<Output = ()>,
    ) -> Result<(), nats::JetError> {
        let (heard, mut news) = mpsc::channel::<Waiting>(256);
        let mut tasks = tokio::task::JoinSet::new();
        if let Some(info) = self.listen {
            tasks.spawn(listen(info, heard.clone()));
        }
        if let Some(start) = self.nats {
            let jet = Jet::open(start).await?;
            tasks.spawn(jet.forward(heard.clone()));
        }
        let mut stop = std::pin::pin!(stop);
        let mut waiting = VecDeque::from([Waiting::of(Occasion::Start)]);
        let mut again: Option<Instant> = None;
        let mut measure = self.velocity_every.map(|every| {
            let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            ticks
        });
        loop {
            if waiting.is_empty() {
                let due = self.schedules.iter().filter_map(Schedule::wait).min();
                tokio::select! {
                    biased;
                    () = &mut stop => return Ok(()),
                    Some(message) = news.recv() => waiting.push_back(message),
                    () = sleep_for(due) => waiting.push_back(Waiting::of(Occasion::Schedule)),
                    () = sleep_until(again) => waiting.push_back(Waiting::of(Occasion::Again)),
                    () = tick(&mut measure) => {
                        let surges = work.surges().await;
                        waiting.extend(surges.into_iter().map(|surge| Waiting::of(Occasion::Surge(surge))));
                        continue;
                    }
                }
            }
            tokio::time::sleep(GATHER).await;
            while let Ok(message) = news.try_recv() {
                waiting.push_back(message);
            }
            let occasions: Vec<Occasion> = waiting.iter().map(|w| w.occasion.clone()).collect();
            let end = run_telling(work, &occasions, &waiting).await;
            again = settle(&mut waiting, end).await;
            if again.is_some() {
                // Messages whose run did not succeed wait here, and the next try takes them along.
                tokio::select! {
                    () = &mut stop => return Ok(()),
                    () = sleep_until(again) => {}
                    Some(message) = news.recv() => waiting.push_back(message),
                }
            }
        }
    }
}

/// One run, during which the senders of its messages hear now and then that it is at work.
async fn run_telling(work: &mut impl Work, occasions: &[Occasion], waiting: &VecDeque<Waiting>) -> RunEnd {
    let mut run = std::pin::pin!(work.run(occasions));
    loop {
        tokio::select! {
            end = &mut run => return end,
            () = tokio::time::sleep(nats::ACK_WAIT / 3) => {
                for receipt in waiting.iter().filter_map(|message| message.receipt.as_ref()) {
                    receipt.working().await;
                }
            }
        }
    }
}

/// Answers for the messages of a run, and says when those that are left are tried again.
async fn settle(waiting: &mut VecDeque<Waiting>, end: RunEnd) -> Option<Instant> {
    for mut message in std::mem::take(waiting) {
        message.tries += 1;
        match (end, message.receipt.take()) {
            (RunEnd::Done, Some(receipt)) => receipt.done().await,
            (RunEnd::Refused, Some(receipt)) => receipt.again().await,
            (RunEnd::NotYet, Some(receipt)) if message.tries >= TRIES => receipt.again().await,
            (RunEnd::NotYet, receipt) if message.tries < TRIES => {
                if let Some(receipt) = &receipt {
                    receipt.working().await;
                }
                waiting.push_back(Waiting { receipt, ..message });
            }
            _ => {}
        }
    }
    (!waiting.is_empty()).then(|| Instant::now() + RETRY)
}

async fn sleep_for(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
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

/// Passes notifications on for ever; opens the session again when it is lost.
async fn listen(info: ConnInfo, heard: mpsc::Sender<Waiting>) {
    let mut failures = 0u32;
    let mut first = true;
    loop {
        match Listener::open(&info, CHANNEL).await {
            Ok(mut listener) => {
                failures = 0;
                if !std::mem::take(&mut first)
                    && heard.send(Waiting::of(Occasion::Reconnected)).await.is_err()
                {
                    return;
                }
                while let Some(payload) = listener.next().await {
                    match payload.parse::<Ask>() {
                        Ok(ask) => {
                            let asked = Waiting::of(Occasion::Asked { by: "notify", ask });
                            if heard.send(asked).await.is_err() {
                                return;
                            }
                        }
                        Err(error) => {
                            tracing::warn!("a notification on {CHANNEL} was not understood: {error}")
                        }
                    }
                }
                tracing::warn!("the session that hears notifications was lost");
            }
            Err(error) => tracing::warn!("notifications cannot be heard: {error}"),
        }
        failures += 1;
        tokio::time::sleep(Duration::from_secs(1 << failures.min(5)).min(AGAIN_AT_MOST)).await;
    }
}

#[cfg(test)]
mod tests;
