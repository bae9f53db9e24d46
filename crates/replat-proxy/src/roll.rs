//! Who is there: one card for each session, and counts over all of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::doors::Home;
use crate::shadow::ShadowTally;

/// What a session is to do by itself, as soon as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orders {
    None,
    /// To ask its server what it has.
    Survey,
    LeaveAtBoundary,
    LeaveNow,
}

/// What is known of one session from outside.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) user: String,
    /// Rings when there are orders.
    pub(crate) bell: Arc<Notify>,
    orders: AtomicU8,
    held: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    home: Option<Arc<Home>>,
    pins: Option<Vec<String>>,
}

/// One session, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionReport {
    /// The role.
    pub user: String,
    /// Where the session is, or goes.
    pub home: Option<Arc<Home>>,
    /// Whether it waits at a boundary for its partition.
    pub held: bool,
    /// What keeps it from moving, in words; `None` if that has not been asked yet.
    pub pins: Option<Vec<String>>,
}

impl Card {
    pub(crate) fn new(user: &str) -> Card {
        Card {
            user: user.to_owned(),
            bell: Arc::default(),
            orders: AtomicU8::new(0),
            held: AtomicBool::new(false),
            seen: Mutex::default(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn orders(&self) -> Orders {
        match self.orders.load(Ordering::SeqCst) {
            0 => Orders::None,
            1 => Orders::Survey,
            2 => Orders::LeaveAtBoundary,
            _ => Orders::LeaveNow,
        }
    }

    /// Orders only become more urgent.
    pub(crate) fn order(&self, orders: Orders) {
        self.orders.fetch_max(orders as u8, Ordering::SeqCst);
        self.bell.notify_waiters();
    }

    pub(crate) fn surveyed(&self, pins: Vec<String>) {
        self.seen().pins = Some(pins);
        // If they have become more urgent meanwhile, they stay.
        self.orders.compare_exchange(1, 0, Ordering::SeqCst, Ordering::SeqCst).ok();
    }

    pub(crate) fn is_at(&self, home: &Arc<Home>) {
        let mut seen = self.seen();
        if !seen.home.as_ref().is_some_and(|known| Arc::ptr_eq(known, home)) {
            seen.home = Some(home.clone());
            seen.pins = None;
        }
    }

    pub(crate) fn report(&self) -> SessionReport {
        let Seen { home, pins } = self.seen().clone();
        let held = self.held.load(Ordering::Relaxed);
        SessionReport { user: self.user.clone(), home, held, pins }
    }
}

/// A session waits at a boundary, as long as this lives.
pub(crate) struct Held {
    card: Arc<Card>,
    counts: Arc<Counts>,
}

impl Held {
    pub(crate) fn new(card: &Arc<Card>, counts: &Arc<Counts>) -> Held {
        card.held.store(true, Ordering::Relaxed);
        counts.held.fetch_add(1, Ordering::Relaxed);
        Held { card: card.clone(), counts: counts.clone() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.card.held.store(false, Ordering::Relaxed);
        self.counts.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The cards of all sessions.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    cards: Mutex<HashMap<u64, Arc<Card>>>,
    next: AtomicU64,
}

/// A place on the roll, until it is dropped.
pub(crate) struct Entry {
    roll: Arc<Roll>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.roll.lock().remove(&self.number);
    }
}

impl Roll {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Card>>> {
        self.cards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(self: &Arc<Roll>, card: Arc<Card>) -> Entry {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(number, card);
        Entry { roll: self.clone(), number }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Card>> {
        self.lock().values().cloned().collect()
    }
}

/// What has happened, in numbers.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections, logged in or not.
    pub(crate) clients: AtomicUsize,
    held: AtomicUsize,
    transactions: AtomicU64,
    refused: AtomicU64,
    moves: AtomicU64,
    warm: AtomicU64,
    elsewhere: AtomicU64,
    asked: AtomicU64,
    move_micros_max: AtomicU64,
    waits: AtomicU64,
    wait_micros_max: AtomicU64,
}

/// What a proxy has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections of clients now, those that have not logged in included.
    pub clients: usize,
    /// Sessions that wait for their partition now.
    pub held: usize,
    /// Transactions that were let through. What a client sends ahead without waiting counts as one.
    pub transactions: u64,
    /// Requests that were answered by a complaint of the proxy's own.
    pub refused: u64,
    /// Sessions taken to another home.
    pub moves: u64,
    /// Those of them for whom a session had been opened there before the release.
    pub warm: u64,
    /// Reads that another home than the partition's own one has answered.
    pub elsewhere: u64,
    /// Reads that were run at another home as well, for comparison.
    pub shadow: ShadowTally,
    /// How often a missing partition was asked for.
    pub asked: u64,
    /// The longest of these moves.
    pub move_max: Duration,
    /// Transactions that were held and then let through.
    pub waits: u64,
    /// The longest time that one of them was held.
    pub wait_max: Duration,
}

impl Counts {
    pub(crate) fn began(&self) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn moved(&self, took: Duration) {
        self.moves.fetch_add(1, Ordering::Relaxed);
        self.move_micros_max.fetch_max(micros(took), Ordering::Relaxed);
    }

    pub(crate) fn read_elsewhere(&self) {
        self.elsewhere.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn asked_for_partition(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn was_warm(&self) {
        self.warm.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn waited(&self, time: Duration) {
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.wait_micros_max.fetch_max(micros(time), Ordering::Relaxed);
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally {
            clients: self.clients.load(Ordering::Relaxed),
            held: self.held.load(Ordering::Relaxed),
            transactions: self.transactions.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            moves: self.moves.load(Ordering::Relaxed),
            elsewhere: self.elsewhere.load(Ordering::Relaxed),
            shadow: ShadowTally::default(),
            asked: self.asked.load(Ordering::Relaxed),
            warm: self.warm.load(Ordering::Relaxed),
            move_max: Duration::from_micros(self.move_micros_max.load(Ordering::Relaxed)),
            waits: self.waits.load(Ordering::Relaxed),
            wait_max: Duration::from_micros(self.wait_micros_max.load(Ordering::Relaxed)),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
