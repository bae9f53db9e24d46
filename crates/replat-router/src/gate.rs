//! The gate of one partition: how many are inside, and whether others may come in.
//!
//! Counts and the two "closed" marks are one word, so to announce oneself and to look whether the gate is open is one
//! step: whoever comes before the mark is counted by the holder, whoever comes after it does not come in. No order
//! between two steps has to be remembered.
//!
//! Gates exist for partitions in use. One that nobody has any more is dropped when its shard has grown.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use replat_model::ids::{Epoch, Home, PartitionId};
use tokio::sync::Notify;

use crate::Intent;
use crate::clock::Moment;

/// New writers wait.
const WRITERS_WAIT: u64 = 1 << 63;
/// New readers wait.
const READERS_WAIT: u64 = 1 << 62;
/// One reader inside; writers are counted below it.
const READER: u64 = 1 << 31;
/// Where one kind's count is.
const COUNT: u64 = READER - 1;

/// The word of a gate, read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word(u64);

impl Word {
    fn one(intent: Intent) -> u64 {
        match intent {
            Intent::Write => 1,
            Intent::Read => READER,
        }
    }

    fn is_closed_for(self, intent: Intent) -> bool {
        let mark = match intent {
            Intent::Write => WRITERS_WAIT,
            Intent::Read => READERS_WAIT,
        };
        self.0 & mark != 0
    }

    fn is_closed(self) -> bool {
        self.is_closed_for(Intent::Write)
    }

    /// Those inside whom a hold waits for.
    fn busy(self) -> u64 {
        let readers = if self.is_closed_for(Intent::Read) { (self.0 / READER) & COUNT } else { 0 };
        (self.0 & COUNT) + readers
    }
}

/// What a hold is, as one gate knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) deployment: Arc<str>,
    pub(crate) attempt: u32,
    /// The partition's epoch until the switch.
    pub(crate) epoch: Epoch,
    pub(crate) reads: bool,
    /// Where the partition is about to go, if that was said.
    pub(crate) to: Option<Arc<Home>>,
    pub(crate) since: Moment,
    pub(crate) lasts: Duration,
}

impl Held {
    /// How long it lasts from `now` on; zero: it is over.
    pub(crate) fn left(&self, now: Moment) -> Duration {
        self.lasts.saturating_sub(now.since(self.since))
    }
}

/// One partition's gate.
#[derive(Debug)]
pub(crate) struct Gate {
    word: AtomicU64,
    held: Mutex<Option<Held>>,
    /// Those who wait to come in.
    pub(crate) waiting: AtomicU64,
    /// The next place in the line of those who were let go.
    pub(crate) place: AtomicU64,
    /// The gate was opened, or a hold was changed.
    pub(crate) turned: Notify,
    /// The last one that a hold waited for has left.
    pub(crate) emptied: Notify,
    /// There is something to tell whoever asked for a hold. One for all gates of a router.
    news: Arc<Notify>,
}

impl Gate {
    pub(crate) fn new(news: Arc<Notify>) -> Gate {
        Gate {
            word: AtomicU64::new(0),
            held: Mutex::new(None),
            waiting: AtomicU64::new(0),
            place: AtomicU64::new(0),
            turned: Notify::new(),
            emptied: Notify::new(),
            news,
        }
    }

    fn word(&self) -> Word {
        Word(self.word.load(Ordering::SeqCst))
    }

    fn held_mut(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more inside if the gate is open for it, in one step; whether it was.
    pub(crate) fn announce(&self, intent: Intent) -> bool {
        let enter = |word| (!Word(word).is_closed_for(intent)).then(|| word + Word::one(intent));
        self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, enter).is_ok()
    }

    /// One less inside.
    pub(crate) fn leave(&self, intent: Intent) {
        let one = Word::one(intent);
        let left = Word(self.word.fetch_sub(one, Ordering::SeqCst) - one);
        if left.is_closed() && left.busy() == 0 {
            self.emptied.notify_waiters();
            self.news.notify_one();
        }
    }

    pub(crate) fn is_closed_for(&self, intent: Intent) -> bool {
        self.word().is_closed_for(intent)
    }

    /// Closed, and nobody whom the hold waits for is inside: so it stays while the hold lasts.
    pub(crate) fn is_quiet(&self) -> bool {
        let word = self.word();
        word.is_closed() && word.busy() == 0
    }

    /// Those inside whom a hold would wait for.
    pub(crate) fn busy(&self) -> u64 {
        self.word().busy()
    }

    pub(crate) fn held(&self) -> Option<Held> {
        self.held_mut().clone()
    }

    /// Closes the gate, or goes on with it closed under another hold.
    pub(crate) fn close(&self, hold: Held) {
        let mut held = self.held_mut();
        let reads = hold.reads;
        *held = Some(hold);
        if reads {
            self.word.fetch_or(WRITERS_WAIT | READERS_WAIT, Ordering::SeqCst);
        } else {
            self.word.fetch_or(WRITERS_WAIT, Ordering::SeqCst);
            self.word.fetch_and(!READERS_WAIT, Ordering::SeqCst);
        }
        drop(held);
        self.turned.notify_waiters();
        self.emptied.notify_waiters();
        self.news.notify_one();
    }

    /// Opens the gate if the hold is one that `ends`; whether it was.
    pub(crate) fn open(&self, ends: impl FnOnce(&Held) -> bool) -> bool {
        let mut held = self.held_mut();
        if !held.as_ref().is_some_and(ends) {
            return false;
        }
        *held = None;
        self.place.store(0, Ordering::SeqCst);
        self.word.fetch_and(!(WRITERS_WAIT | READERS_WAIT), Ordering::SeqCst);
        drop(held);
        self.turned.notify_waiters();
        self.emptied.notify_waiters();
        self.news.notify_one();
        true
    }
}

/// The shards' number; a power of two, more than processors that meet in one.
const SHARDS: usize = 16;
/// So many gates are kept in a shard before anybody looks for unused ones.
const SWEPT_LEAST: usize = 64;

#[derive(Debug)]
struct Shard {
    gates: HashMap<PartitionId, Arc<Gate>>,
    /// At this size unused gates are looked for.
    sweep_at: usize,
}

/// The gates of a router.
#[derive(Debug)]
pub(crate) struct Gates {
    shards: [RwLock<Shard>; SHARDS],
    hasher: RandomState,
    pub(crate) news: Arc<Notify>,
}

impl Gates {
    pub(crate) fn new() -> Gates {
        let shard = |_| RwLock::new(Shard { gates: HashMap::new(), sweep_at: SWEPT_LEAST });
        Gates {
            shards: std::array::from_fn(shard),
            hasher: RandomState::new(),
            news: Arc::new(Notify::new()),
        }
    }

    /// The gate of a partition. While somebody has it, it is the only one.
    pub(crate) fn of(&self, partition: &PartitionId) -> Arc<Gate> {
        #[expect(clippy::cast_possible_truncation, reason = "only the lowest bits are wanted")]
        let shard = &self.shards[self.hasher.hash_one(partition) as usize % SHARDS];
        let found = shard.read().unwrap_or_else(PoisonError::into_inner).gates.get(partition).cloned();
        found.unwrap_or_else(|| {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            if shard.gates.len() >= shard.sweep_at {
                // Nobody gets at a gate but by way of this lock, so one that only the shard has is nobody's.
                shard.gates.retain(|_, gate| Arc::strong_count(gate) > 1);
                shard.sweep_at = (shard.gates.len() * 2).max(SWEPT_LEAST);
            }
            let new = || Arc::new(Gate::new(self.news.clone()));
            shard.gates.entry(partition.clone()).or_insert_with(new).clone()
        })
    }

    /// How many gates there are.
    pub(crate) fn count(&self) -> usize {
        let count = |shard: &RwLock<Shard>| shard.read().unwrap_or_else(PoisonError::into_inner).gates.len();
        self.shards.iter().map(count).sum()
    }
}
