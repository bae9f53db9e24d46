//! The world: a control log, two databases, the streams between them, two runners and their clients.

use replat_model::deploy::Token;
use replat_model::ids::{Epoch, Side};

use crate::rules::{ActionId, EventId, Flaw, HistoryId, Rules, Sight, StreamSight};

/// Everything that can differ. Small and flat, so that millions fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The control log.
    pub history: HistoryId,
    /// Blue and green.
    pub databases: [Database; 2],
    /// The processes that carry the deployment out.
    pub runners: [Runner; 2],
    /// An order that outlives who sent it.
    pub late: LateOrder,
    /// Who writes.
    pub clients: Clients,
    /// Ticks since the beginning.
    pub now: u8,
    /// What people have asked for, a bit each.
    pub asked: u8,
    /// Crashes so far.
    pub crashes: u8,
}

/// One side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Database {
    /// What its guard does.
    pub guard: Guard,
    /// Its fence row.
    pub fence: Fence,
    /// The writes whose rows are here, a bit each.
    pub rows: u8,
    /// Its own log, without what streams brought.
    pub log: Log,
    /// How many entries of the *other* side's log were carried over, durably.
    pub received: u8,
    /// The writes that were compared with this side as the original, a bit each. No database knows this.
    pub compared: u8,
}

/// What stands between clients and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// The fence row decides.
    Armed,
    /// Nothing; every write is let in.
    Disarmed,
    /// The tables are gone.
    NoTables,
}

/// A fence row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Whether writers are let in.
    pub open: bool,
    /// The epoch it speaks of.
    pub epoch: Epoch,
    /// The highest token obeyed.
    pub token: Token,
    /// The attempt that closed it.
    pub closed_by: Option<u8>,
    /// The tick at which it closed.
    pub since: u8,
}

/// An entry of a database's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A client's write.
    Change(u8),
    /// The fence closed, for this attempt; 0 for none.
    Barrier(u8),
    /// The fence opened.
    Opening,
}

/// A database's log: up to sixteen entries of four bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Log {
    entries: u64,
    /// How many entries there are.
    pub length: u8,
}

impl Log {
    const OPENING: u64 = 15;
    const BARRIERS: u64 = 8;

    /// Adds an entry.
    pub fn push(&mut self, entry: Entry) {
        assert!(self.length < 16, "the bounds keep a database's log short");
        let code = match entry {
            Entry::Change(write) => u64::from(write),
            Entry::Barrier(attempt) => Log::BARRIERS + u64::from(attempt),
            Entry::Opening => Log::OPENING,
        };
        self.entries |= code << (4 * self.length);
        self.length += 1;
    }

    /// The entry at a place.
    pub fn at(&self, place: u8) -> Entry {
        match self.entries >> (4 * place) & 15 {
            Log::OPENING => Entry::Opening,
            code @ Log::BARRIERS.. => Entry::Barrier((code - Log::BARRIERS) as u8),
            code => Entry::Change(code as u8),
        }
    }

    fn newest_barrier(&self, before: u8) -> Option<u8> {
        (0..before).rev().find_map(|place| match self.at(place) {
            Entry::Barrier(attempt) => Some(attempt),
            _ => None,
        })
    }

    /// Whether changes that stand at `place` were let in by the fence; `begins` says how it was at first.
    fn lets_in(&self, place: u8, begins: bool) -> bool {
        let newest = (0..place).rev().find_map(|place| match self.at(place) {
            Entry::Barrier(_) => Some(false),
            Entry::Opening => Some(true),
            Entry::Change(_) => None,
        });
        newest.unwrap_or(begins)
    }

    /// The changes from `place` on, a bit for each write.
    pub fn changes_from(&self, place: u8) -> u8 {
        (place..self.length).fold(0, |writes, place| match self.at(place) {
            Entry::Change(write) => writes | 1 << write,
            _ => writes,
        })
    }
}

/// A process that carries the deployment out. What is here is lost when it crashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Runner {
    /// Its streams, by the side that they read from.
    pub streams: [Option<Stream>; 2],
    /// What it is in the middle of.
    pub task: Task,
}

/// A stream as its runner knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    /// How many entries it has carried over, or found carried over when it began.
    pub cursor: u8,
    /// The writes carried over since this runner compared the sides, a bit each; `None` if it never did.
    pub touched: Option<u8>,
}

/// What a runner is in the middle of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Task {
    /// Nothing.
    #[default]
    Idle,
    /// It has read the log and is about to look.
    Read(HistoryId),
    /// It is about to act.
    Act(HistoryId, ActionId),
    /// It is about to append to a log that it knows.
    Append {
        /// The log it knows.
        to: HistoryId,
        /// What happened.
        event: EventId,
        /// Whether the event claims a proof that left a row out.
        unproved: bool,
    },
}

/// What came of an attempt to carry an entry over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The entry is durable on the other side.
    Carried(Entry),
    /// Another stream was faster: the position is not the one that this stream knows, and the stream ends.
    Outrun,
}

/// At most one order is carried out twice, or after its sender has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LateOrder {
    /// None so far.
    None,
    /// On its way.
    Sent(ActionId, Token),
    /// It arrived.
    Arrived,
}

/// Who writes. Writes are numbered in the order in which they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Clients {
    /// Writes ended so far.
    pub ended: u8,
    /// Where a write was let in and has not committed.
    pub in_flight: Option<Side>,
    /// The writes that were acknowledged, a bit each.
    pub acknowledged: u8,
}

/// A side's place in an array.
pub fn index(side: Side) -> usize {
    match side {
        Side::Blue => 0,
        Side::Green => 1,
    }
}

impl Database {
    fn new(open: bool) -> Database {
        let token = Token { term: 1, seq: 0 };
        Database {
            guard: Guard::Armed,
            fence: Fence { open, epoch: Epoch::FIRST, token, closed_by: None, since: 0 },
            rows: 0,
            log: Log::default(),
            received: 0,
            compared: 0,
        }
    }

    /// Whether a write is let in.
    pub fn is_writable(&self) -> bool {
        match self.guard {
            Guard::Armed => self.fence.open,
            Guard::Disarmed => true,
            Guard::NoTables => false,
        }
    }
}

impl World {
    /// Preparation is over; the first runner follows both sides and has compared them.
    pub fn prepared(history: HistoryId) -> World {
        let stream = Some(Stream { cursor: 0, touched: Some(0) });
        let runners = [Runner { streams: [stream; 2], task: Task::Idle }, Runner::default()];
        World {
            history,
            databases: [Database::new(true), Database::new(false)],
            runners,
            late: LateOrder::None,
            clients: Clients { ended: 0, in_flight: None, acknowledged: 0 },
            now: 0,
            asked: 0,
            crashes: 0,
        }
    }

    /// One side.
    pub fn database(&self, side: Side) -> &Database {
        &self.databases[index(side)]
    }

    /// One side.
    pub fn database_mut(&mut self, side: Side) -> &mut Database {
        &mut self.databases[index(side)]
    }

    /// Whether clients can write where the log says that the rows are, and nothing is half-way.
    pub fn is_settled(&self, rules: &Rules) -> bool {
        let d = &rules.history(self.history).state;
        let over = d.aborted || d.finished.is_some();
        self.database(d.home).is_writable() && (over || d.attempt.is_none() && d.settled)
    }

    /// The promise that is broken here, if one is.
    pub fn broken_promise(&self, rules: &Rules) -> Option<String> {
        let history = rules.history(self.history);
        let home = history.state.home;
        let lost = self.clients.acknowledged & !self.database(home).rows;
        if self.databases.iter().all(Database::is_writable) {
            Some("both sides accept writes".into())
        } else if self.database(home.other()).is_writable() {
            Some(format!("{home} is home, and {} accepts writes", home.other()))
        } else if lost != 0 {
            Some(format!("write {} was acknowledged and is not on {home}, the home", lost.trailing_zeros()))
        } else if history.is_undecided() {
            Some("an attempt was given up and switched".into())
        } else {
            None
        }
    }

    /// What a runner sees.
    pub fn sight(&self, runner: usize, rules: &Rules) -> Sight {
        Sight {
            now: self.now,
            fences: [Side::Blue, Side::Green].map(|side| {
                let fence = &self.database(side).fence;
                Some((fence.open, fence.epoch))
            }),
            streams: [Side::Blue, Side::Green].map(|side| self.stream_sight(runner, side, rules)),
        }
    }

    fn stream_sight(&self, runner: usize, from: Side, rules: &Rules) -> Option<StreamSight> {
        let stream = self.runners[runner].streams[index(from)]?;
        let log = &self.database(from).log;
        let heard = match rules.flaw {
            Some(Flaw::BarrierHeardFromOthers) => self.database(from.other()).received,
            _ => stream.cursor,
        };
        Some(StreamSight {
            barrier: log.newest_barrier(heard),
            lag: Some(log.length - stream.cursor),
            // While one of its streams is down, a runner does not know what others carry meanwhile.
            compared: stream.touched.is_some() && self.runners[runner].streams.iter().all(Option::is_some),
        })
    }

    /// Lets a client begin a write on `side`, if it is let in there.
    pub fn begin_write(&mut self, side: Side, rules: &Rules) -> bool {
        let door = self.database(side);
        let slips_through = rules.is_flawed_by(Flaw::FenceStopsNobody) && door.fence.closed_by.is_some();
        let room = self.clients.ended < rules.bounds.writes && self.clients.in_flight.is_none();
        if !room || !(door.is_writable() || slips_through) {
            return false;
        }
        self.clients.in_flight = Some(side);
        true
    }

    /// Commits the write in flight, if there is one, and acknowledges it.
    pub fn commit_write(&mut self) -> Option<Side> {
        let side = self.clients.in_flight.take()?;
        let write = self.clients.ended;
        let database = self.database_mut(side);
        database.rows |= 1 << write;
        database.log.push(Entry::Change(write));
        self.clients.acknowledged |= 1 << write;
        self.clients.ended += 1;
        Some(side)
    }

    /// Carries one entry of `from`'s log to the other side, in one transaction there with the position. `None` if
    /// there is nothing to carry, or the target is open.
    pub fn deliver(&mut self, runner: usize, from: Side) -> Option<Delivery> {
        let stream = self.runners[runner].streams[index(from)]?;
        let log = self.database(from).log;
        if stream.cursor == log.length {
            return None;
        }
        let target = self.database_mut(from.other());
        if stream.cursor != target.received {
            self.runners[runner].streams[index(from)] = None;
            return Some(Delivery::Outrun);
        }
        if target.is_writable() {
            return None;
        }
        let entry = log.at(stream.cursor);
        if let Entry::Change(write) = entry
            && log.lets_in(stream.cursor, from == Side::Blue)
        {
            target.rows |= 1 << write;
            // A row that either stream carries has to be compared again in both directions.
            for known in self.runners[runner].streams.iter_mut().flatten() {
                known.touched = known.touched.map(|touched| touched | 1 << write);
            }
        }
        self.database_mut(from.other()).received += 1;
        if let Some(stream) = &mut self.runners[runner].streams[index(from)] {
            stream.cursor += 1;
        }
        Some(Delivery::Carried(entry))
    }
}
