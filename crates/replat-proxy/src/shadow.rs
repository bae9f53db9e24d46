//! Reads that are run at another home as well, for comparison.
//!
//! The client has its answer from its own home, as always. Beside it the same request is run at the other home by a session
//! of the proxy's, in the background, with so many at once and no more; what is too much is left out. Since the copy may
//! be behind, answers that differ are looked at again when it must have caught up: only if the home still answers as it
//! did, and the copy still otherwise, is that a *variance*.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use replat_statement::Shape;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use crate::aside::{Aside, Ear};
use crate::backend::Belongings;
use crate::compare::{Answer, Difference, Heard};
use crate::doors::{Home, Share};
use crate::keys::send_cancel;
use crate::prewarm::{Line, Traveller};
use crate::proxy::Shared;
use crate::request::Request;
use crate::variance::VarianceLog;

/// How many are run at once, in the whole proxy.
const AT_ONCE: usize = 16;
/// How many differences wait to be looked at again.
const DOUBTS_MAX: usize = 64;
/// How many of those are looked at at once.
const DOUBTS_AT_ONCE: usize = 2;
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// After a failure a session asks the other home for nothing for so long.
const AGAIN: Duration = Duration::from_secs(5);
/// How often a difference is looked at again while the home's own answer changes.
const LOOKS_MAX: u32 = 3;
/// How many rows are shown, where data is asked for.
const ROWS_MAX: usize = 20;

/// Why a read was not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Skipped {
    /// Too many were being compared.
    Busy,
    /// The session's settings are not known, since it has done something else than read.
    Settings,
    /// The session has what cannot be had elsewhere.
    Pinned,
    /// The request cannot be run twice, or names what differs each time.
    Form,
    /// The other home could not be asked, or did not answer in time.
    Unreachable,
    /// One of them broke off, or an answer is not to be compared.
    BrokenOff,
    /// At the second look the partition had moved, or the copy was further behind than is allowed.
    Stale,
}

impl Skipped {
    const ALL: [Skipped; 7] = [
        Skipped::Busy,
        Skipped::Settings,
        Skipped::Pinned,
        Skipped::Form,
        Skipped::Unreachable,
        Skipped::BrokenOff,
        Skipped::Stale,
    ];
}

/// What has come of reads for comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShadowTally {
    /// Both homes have answered.
    pub compared: u64,
    /// The same.
    pub equal: u64,
    /// Otherwise, also when the copy must have caught up: variances.
    pub differed: u64,
    /// Otherwise at first, and the same later.
    pub transient: u64,
    /// The home's own answer was another one each time.
    pub unsettled: u64,
    /// Left out: too many at once.
    pub skipped_busy: u64,
    /// Left out: the session's settings were not known.
    pub skipped_settings: u64,
    /// Left out: the session has what cannot be had elsewhere.
    pub skipped_pinned: u64,
    /// Left out: the request cannot be run twice, or names what differs each time, such as `now()`.
    pub skipped_form: u64,
    /// Left out: the other home could not be asked, or not in time.
    pub skipped_unreachable: u64,
    /// Left out: one of both was broken off.
    pub skipped_broken_off: u64,
    /// Left out: by the second look the partition had moved, or the copy was too far behind.
    pub skipped_stale: u64,
    /// Variances that could not be written.
    pub unwritten: u64,
}

#[derive(Debug, Default)]
struct Counts {
    compared: AtomicU64,
    equal: AtomicU64,
    differed: AtomicU64,
    transient: AtomicU64,
    unsettled: AtomicU64,
    unwritten: AtomicU64,
    skipped: [AtomicU64; Skipped::ALL.len()],
}

/// What all such reads of a proxy share.
#[derive(Debug)]
pub(crate) struct Shadows {
    log: Option<VarianceLog>,
    turns: Arc<Semaphore>,
    doubts: Arc<Semaphore>,
    doubt_turns: Semaphore,
    counts: Counts,
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl Shadows {
    pub(crate) fn new(log: Option<VarianceLog>) -> Shadows {
        let (turns, doubts) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Semaphore::new(DOUBTS_MAX)));
        let doubt_turns = Semaphore::new(DOUBTS_AT_ONCE);
        Shadows { log, turns, doubts, doubt_turns, counts: Counts::default() }
    }

    pub(crate) fn skip(&self, why: Skipped) {
        add(&self.counts.skipped[why as usize]);
    }

    /// The right to run one; `None` if there are too many.
    pub(crate) fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.turns.clone().try_acquire_owned().ok()
    }

    /// An answer to be heard.
    pub(crate) fn answer(&self) -> Answer {
        Answer::new(self.log.as_ref().is_some_and(|log| log.with_data))
    }

    pub(crate) fn tally(&self) -> ShadowTally {
        let Counts { compared, equal, differed, transient, unsettled, unwritten, skipped } = &self.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let skipped = |why: Skipped| read(&skipped[why as usize]);
        ShadowTally {
            compared: read(compared),
            equal: read(equal),
            differed: read(differed),
            transient: read(transient),
            unsettled: read(unsettled),
            skipped_busy: skipped(Skipped::Busy),
            skipped_settings: skipped(Skipped::Settings),
            skipped_pinned: skipped(Skipped::Pinned),
            skipped_form: skipped(Skipped::Form),
            skipped_unreachable: skipped(Skipped::Unreachable),
            skipped_broken_off: skipped(Skipped::BrokenOff),
            skipped_stale: skipped(Skipped::Stale),
            unwritten: read(unwritten),
        }
    }
}

/// A session's own session at the other home, between two requests.
#[derive(Default)]
pub(crate) struct Place {
    aside: Option<(Aside, Vec<(String, String)>)>,
    failed: Option<Instant>,
    is_taken: bool,
    /// The client's session has ended.
    is_over: bool,
}

/// That place, for the session and for the one request that may be using it.
#[derive(Clone, Default)]
pub(crate) struct Places(Arc<Mutex<Place>>);

impl Places {
    fn with<T>(&self, what: impl FnOnce(&mut Place) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it could be taken; then it has to be given back.
    pub(crate) fn take(&self) -> Result<Taken, Skipped> {
        self.with(|place| {
            if place.failed.is_some_and(|failed| failed.elapsed() < AGAIN) {
                return Err(Skipped::Unreachable);
            }
            if std::mem::replace(&mut place.is_taken, true) {
                return Err(Skipped::Busy);
            }
            Ok(Taken { places: self.clone(), aside: place.aside.take() })
        })
    }

    /// Nobody needs it any more.
    pub(crate) fn close(&self) {
        let aside = self.with(|place| {
            place.is_over = true;
            place.aside.take()
        });
        if let Some((aside, _)) = aside {
            aside.backend.leave();
        }
    }
}

/// A place that is in use; given back when it is dropped.
pub(crate) struct Taken {
    places: Places,
    aside: Option<(Aside, Vec<(String, String)>)>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let aside = self.aside.take();
        let left = self.places.with(|place| {
            place.is_taken = false;
            match place.is_over {
                true => aside,
                false => {
                    place.aside = aside;
                    None
                }
            }
        });
        if let Some((aside, _)) = left {
            aside.backend.leave();
        }
    }
}

/// One request that is compared.
pub(crate) struct Shadow {
    pub(crate) shared: Arc<Shared>,
    pub(crate) own: Arc<Home>,
    pub(crate) share: Share,
    pub(crate) traveller: Traveller,
    pub(crate) belongings: Belongings,
    pub(crate) request: Request,
    /// The texts of its statements.
    pub(crate) sql: Vec<String>,
    pub(crate) shapes: Vec<Shape>,
}

/// An answer, and how long it took.
pub(crate) type Timed = (Answer, Duration);

impl Shadow {
    /// Runs it at the other home, and compares that with what the client's session will have heard.
    pub(crate) async fn run(self, turn: OwnedSemaphorePermit, taken: Taken, own: oneshot::Receiver<Timed>) {
        let shadows = self.shared.shadows.clone();
        let other = self.ask_beside(taken).await;
        // The session's end, or an answer that is not to be compared, drops the sender.
        let own = tokio::time::timeout(ANSWER_MAX, own).await;
        drop(turn);
        let (other, own) = match (other, own) {
            (Some(other), Ok(Ok(own))) => (other, own),
            (None, _) => return shadows.skip(Skipped::Unreachable),
            (Some(_), _) => return shadows.skip(Skipped::BrokenOff),
        };
        if own.0.is_broken_off() || other.0.is_broken_off() {
            return shadows.skip(Skipped::BrokenOff);
        }
        add(&shadows.counts.compared);
        if self.difference(&own.0, &other.0).is_none() {
            return add(&shadows.counts.equal);
        }
        let Ok(_waits) = shadows.doubts.clone().try_acquire_owned() else {
            return shadows.skip(Skipped::Busy);
        };
        self.look_again(own, &shadows).await;
    }

    fn difference(&self, own: &Answer, other: &Answer) -> Option<Difference> {
        let is_ordered = matches!(&self.shapes[..], [shape] if shape.is_ordered());
        own.difference(other, is_ordered)
    }

    async fn look_again(&self, before: Timed, shadows: &Shadows) {
        let mut before = before;
        for _ in 0..LOOKS_MAX {
            tokio::time::sleep(self.share.stale_max).await;
            let Ok(_turn) = shadows.doubt_turns.acquire().await else { return };
            let (own, other) = tokio::join!(self.ask_anew(&self.own), self.ask_anew(&self.share.home));
            let (Some(own), Some(other)) = (own, other) else { return shadows.skip(Skipped::Unreachable) };
            if own.0.is_broken_off() || other.0.is_broken_off() {
                return shadows.skip(Skipped::BrokenOff);
            }
            if !self.shared.doors.share_stands(&self.own, &self.share) {
                return shadows.skip(Skipped::Stale);
            }
            let Some(difference) = self.difference(&own.0, &other.0) else {
                return add(&shadows.counts.transient);
            };
            // What has changed since the last look may be on its way.
            if self.difference(&before.0, &own.0).is_none() {
                add(&shadows.counts.differed);
                return self.tell(difference, own, other, shadows).await;
            }
            before = own;
        }
        add(&shadows.counts.unsettled);
    }

    /// Writes a variance down.
    async fn tell(&self, difference: Difference, own: Timed, other: Timed, shadows: &Shadows) {
        tracing::debug!(home = %self.own, other = %self.share.home, kind = difference.name(), "answers differ");
        let Some(log) = shadows.log.clone() else { return };
        let mut line = self.line(difference, &own, &other);
        if log.with_data {
            line["data"] = json!({
                "statements": self.sql,
                "only_home": own.0.rows_beyond(&other.0, ROWS_MAX),
                "only_other": other.0.rows_beyond(&own.0, ROWS_MAX),
            });
        }
        let written = tokio::task::spawn_blocking(move || log.write(&line)).await;
        let error = match written {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(error) => std::io::Error::other(error),
        };
        add(&shadows.counts.unwritten);
        tracing::warn!(error = &error as &dyn std::error::Error, "a variance cannot be written down");
    }

    fn line(&self, difference: Difference, own: &Timed, other: &Timed) -> serde_json::Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let place = |home: &Home| {
            let hosts: Vec<String> = home.server.hosts.iter().map(ToString::to_string).collect();
            let settings: BTreeMap<&str, &str> =
                home.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            json!({ "database": home.database, "hosts": hosts, "settings": settings })
        };
        let side = |home: &Home, (answer, took): &Timed| {
            json!({
                "at": place(home),
                "rows": answer.rows(),
                "sqlstate": answer.sqlstate(),
                "took_us": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            })
        };
        json!({
            "at_ms": u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            "partition": self.own.partition,
            "epoch": self.own.epoch,
            "kind": difference.name(),
            "shapes": self.shapes.iter().map(Shape::text).collect::<Vec<_>>(),
            "home": side(&self.own, own),
            "other": side(&self.share.home, other),
        })
    }

    /// By the session's own session at the other home, or a new one.
    async fn ask_beside(&self, mut taken: Taken) -> Option<Timed> {
        let mut aside = None;
        if let Some((mut known, settings)) = taken.aside.take() {
            let is_fit = settings == self.belongings.settings
                && known.backend.home.is_place_of(&self.share.home)
                && known.is_alive().await;
            match is_fit {
                true => aside = Some(known),
                false => known.backend.leave(),
            }
        }
        if aside.is_none() {
            aside = self.open(&self.share.home).await;
        }
        let answered = match &mut aside {
            Some(aside) => self.ask(aside).await,
            None => None,
        };
        match (aside, &answered) {
            (Some(aside), Some(_)) => taken.aside = Some((aside, self.belongings.settings.clone())),
            (aside, _) => {
                taken.places.with(|place| place.failed = Some(Instant::now()));
                if let Some(aside) = aside {
                    aside.backend.leave();
                }
            }
        }
        answered
    }

    /// By a session for this alone.
    async fn ask_anew(&self, home: &Arc<Home>) -> Option<Timed> {
        let mut aside = self.open(home).await?;
        let answered = self.ask(&mut aside).await;
        aside.backend.leave();
        answered
    }

    async fn open(&self, home: &Arc<Home>) -> Option<Aside> {
        let line: Line = self.shared.turns.at(home);
        let opened = Aside::open(home.clone(), &line, &self.traveller, &self.belongings).await;
        opened
            .inspect_err(|error| {
                let error = error as &dyn std::error::Error;
                tracing::debug!(%home, error, "a session for comparison cannot be opened");
            })
            .ok()
    }

    async fn ask(&self, aside: &mut Aside) -> Option<Timed> {
        let begun = Instant::now();
        aside.ask(&self.request);
        let mut answer = self.shared.shadows.answer();
        let look_bytes = self.shared.settings.limits.look_bytes;
        let hearing = async {
            let mut ear = Ear::default();
            loop {
                let piece = ear.hear(&mut aside.backend.side, look_bytes).await.ok()?;
                // Of a row that is too long for the proxy to look at nothing can be said.
                if !piece.begins || !ear.is_between() {
                    return None;
                }
                match answer.hear(piece.tag, piece.body()) {
                    Heard::More => {}
                    Heard::All => return Some(()),
                    Heard::Unfit => return None,
                }
            }
        };
        match tokio::time::timeout(ANSWER_MAX, hearing).await {
            Ok(heard) => heard.map(|()| (answer, begun.elapsed())),
            Err(_) => {
                if let Some(key) = aside.backend.key {
                    send_cancel(&aside.backend.way, key).await;
                }
                None
            }
        }
    }
}
