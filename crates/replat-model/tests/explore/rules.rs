//! The rules under test: the real fold and the real `next`, remembered so that no question is asked twice; and
//! the flaws that an exploration must find.

use std::collections::HashMap;
use std::fmt::Debug;

use replat_model::deploy::{Certificate, Deployment, Event, Timestamp, Token};
use replat_model::ids::{Epoch, Lsn, Side};
use replat_model::next::{
    Action, Evidence, FenceSeen, Held, Observation, Reason, SideSeen, Step, StreamSeen, next,
};

use replat_model::plan::Plan;

use crate::fingerprint::{ByFingerprint, fingerprint};
use crate::plan;

/// Longer than the pause and than the first back-offs, so that one tick makes any patience run out.
const TICK_MILLIS: u64 = 3_000;

/// How large a world may grow.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// One runner or two.
    pub runners: usize,
    /// Writes that clients make.
    pub writes: u8,
    /// Attempts to switch.
    pub attempts: u32,
    /// Events after preparation.
    pub events: u8,
    /// How often a runner may crash.
    pub crashes: u8,
    /// How often time may pass.
    pub ticks: u8,
    /// Whether an order may be carried out twice, or long after who sent it has gone.
    pub late_orders: bool,
    /// Whether a fact may fail to be read.
    pub blind: bool,
    /// Whether both sides are in one database.
    pub one_database: bool,
    /// What people may ask for, each once.
    pub asks: &'static [Ask],
}

/// What a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A switch, forward or back.
    Switch(Side),
    /// To finish.
    Finish,
    /// To abort.
    Abort,
}

impl Ask {
    fn event(self) -> Event {
        let why = String::new();
        match self {
            Ask::Switch(to) => Event::SwitchAsked { to, why },
            Ask::Finish => Event::FinishAsked { why },
            Ask::Abort => Event::AbortAsked { why },
        }
    }
}

/// Something that is wrong with the rules or with who keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The databases obey every token.
    TokensIgnored,
    /// The databases compare the token's term alone.
    TermOnly,
    /// The log takes an event whatever its length has become.
    AppendUnconditional,
    /// The fence is opened before giving up is recorded.
    OpenBeforeGivingUp,
    /// The sides are compared before the barrier has come.
    DrainNotAwaited,
    /// A closed fence lets writers through.
    FenceStopsNobody,
    /// A fence closes without waiting for the writers that it has let in.
    WritersInFlightForgotten,
    /// A runner takes another runner's word for the barrier, and so proves what it has not compared.
    BarrierHeardFromOthers,
    /// Writers are refused until the drain ends, however long that takes.
    PauseWithoutEnd,
    /// Where both sides are in one database, the one is opened and the other is left as it was.
    HandedOverByHalves,
    /// Nobody looks whether the home is still open while no switch is under way.
    NobodyReasserts,
}

/// A log, told apart from others by what it folds to, its length, and which attempts ended how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HistoryId(u32);

/// An event that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId(u32);

/// An action that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ActionId(u32);

/// What is known of a log.
#[derive(Clone, Debug)]
pub struct History {
    /// What it folds to.
    pub state: Deployment,
    /// How many events it has.
    pub length: u8,
    /// The attempts that were given up and those that switched, a bit each.
    given_up: u32,
    switched: u32,
}

impl History {
    /// Whether an attempt both switched and was given up.
    pub fn is_undecided(&self) -> bool {
        self.given_up & self.switched != 0
    }
}

/// An [`Observation`] in few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sight {
    /// Ticks.
    pub now: u8,
    /// Each side's fence row, if it could be read: whether it is open, and its epoch.
    pub fences: [Option<(bool, Epoch)>; 2],
    /// The streams of the runner that looks, by the side that they read from.
    pub streams: [Option<StreamSight>; 2],
}

/// A [`StreamSeen`] in few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamSight {
    /// The newest barrier that came through, if one did.
    pub barrier: Option<u8>,
    /// Changes not yet carried over, if it can be told.
    pub lag: Option<u8>,
    /// Whether this runner has compared the sides.
    pub compared: bool,
}

impl Sight {
    fn observation(&self) -> Observation {
        let [blue, green] = [0, 1].map(|at| SideSeen {
            fence: self.fences[at].map(|(open, epoch)| Some(FenceSeen { open, epoch })),
            settled: Some(true),
            stream: self.streams[at].map(|stream| stream.seen()),
        });
        Observation {
            now: moment(self.now),
            blue,
            green,
            leaks: Some(0),
            kept_back: None,
            held: Some(Held::default()),
        }
    }
}

impl StreamSight {
    fn seen(&self) -> StreamSeen {
        StreamSeen {
            through: Lsn(0),
            lag: self.lag.map(u64::from),
            barrier: self.barrier.map(u32::from),
            parked: 0,
            unproved: self.compared.then_some(0),
        }
    }
}

/// The moment after `ticks` ticks.
pub fn moment(ticks: u8) -> Timestamp {
    Timestamp(u64::from(ticks) * TICK_MILLIS)
}

/// What a runner makes up its mind to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// An action, then an event.
    Act(ActionId),
    /// An event.
    Append(EventId),
    /// Nothing for now.
    Wait,
    /// Nothing ever.
    Done,
    /// To wait although writers are refused and the pause is over.
    HoldClients,
}

/// Whether the log took an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// It is this log now.
    Taken(HistoryId),
    /// The event cannot stand there.
    OutOfPlace(&'static str),
    /// The world would grow too large.
    OutOfBounds,
}

/// The rules, their bounds, and everything that was met on the way.
pub struct Rules {
    /// How large a world may grow.
    pub bounds: Bounds,
    /// What is wrong, if anything is.
    pub flaw: Option<Flaw>,
    histories: Table<History>,
    events: Table<Event>,
    actions: Table<Action>,
    appends: HashMap<(HistoryId, EventId), Append>,
    decisions: ByFingerprint<Decision>,
    prepared: u8,
}

impl Rules {
    /// The rules for worlds within `bounds`, and the log to begin with.
    pub fn new(bounds: Bounds, flaw: Option<Flaw>) -> (Rules, HistoryId) {
        let events = prepared(bounds.one_database);
        let state = Deployment::fold(&events).expect("what is prepared can stand");
        let length = u8::try_from(events.len()).expect("few events");
        let mut histories = Table::new();
        let start = histories.number(History { state, length, given_up: 0, switched: 0 });
        let rules = Rules {
            bounds,
            flaw,
            histories,
            events: Table::new(),
            actions: Table::new(),
            appends: HashMap::new(),
            decisions: ByFingerprint::default(),
            prepared: length,
        };
        (rules, HistoryId(start))
    }

    /// Whether this is what is wrong.
    pub fn is_flawed_by(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// What is known of a log.
    pub fn history(&self, id: HistoryId) -> &History {
        self.histories.get(id.0)
    }

    /// An action that was met.
    pub fn action(&self, id: ActionId) -> &Action {
        self.actions.get(id.0)
    }

    /// An event that was met.
    pub fn event(&self, id: EventId) -> &Event {
        self.events.get(id.0)
    }

    /// What an effect carries that was decided from this log.
    pub fn token(&self, history: HistoryId) -> Token {
        Token { term: 1, seq: u64::from(self.history(history).length) }
    }

    /// The log after one more event.
    pub fn append(&mut self, history: HistoryId, event: EventId) -> Append {
        if let Some(known) = self.appends.get(&(history, event)) {
            return *known;
        }
        let answer = self.append_anew(history, event);
        self.appends.insert((history, event), answer);
        answer
    }

    fn append_anew(&mut self, history: HistoryId, event: EventId) -> Append {
        let mut grown = self.history(history).clone();
        let event = self.event(event).clone();
        if let Err(why) = grown.state.after(&event) {
            return Append::OutOfPlace(why);
        }
        grown.length += 1;
        match &event {
            Event::FenceGivenUp { attempt, .. } => grown.given_up |= 1 << attempt,
            Event::Switched { attempt, .. } => grown.switched |= 1 << attempt,
            _ => {}
        }
        let attempts = grown.state.attempts;
        if grown.length - self.prepared > self.bounds.events || attempts > self.bounds.attempts {
            return Append::OutOfBounds;
        }
        Append::Taken(HistoryId(self.histories.number(grown)))
    }

    /// What a person's word is as an event.
    pub fn asked(&mut self, ask: Ask) -> EventId {
        self.note(ask.event())
    }

    /// What is to be written down when `evidence` came back.
    pub fn became(
        &mut self,
        history: HistoryId,
        action: ActionId,
        evidence: Evidence,
        now: u8,
    ) -> Option<EventId> {
        let event = self.action(action).became(&self.history(history).state, evidence, moment(now))?;
        Some(self.note(event))
    }

    /// Reasons are for people; without them fewer worlds differ.
    fn note(&mut self, event: Event) -> EventId {
        let plain = match event {
            Event::FenceGivenUp { attempt, at, .. } => {
                Event::FenceGivenUp { attempt, why: String::new(), at }
            }
            event => event,
        };
        EventId(self.events.number(plain))
    }

    /// What a runner decides that has read this log and then seen this.
    pub fn decide(&mut self, history: HistoryId, sight: &Sight) -> Decision {
        let question = fingerprint(&(history, sight));
        if let Some(known) = self.decisions.get(&question) {
            return *known;
        }
        let decision = self.decide_anew(history, sight);
        self.decisions.insert(question, decision);
        decision
    }

    fn decide_anew(&mut self, history: HistoryId, sight: &Sight) -> Decision {
        let d = &self.history(history).state;
        match flawed_next(self.flaw, d, sight.observation()) {
            Step::Wait(reason) if holds_clients(d, &reason, sight) => Decision::HoldClients,
            Step::Wait(_) => Decision::Wait,
            Step::Done => Decision::Done,
            // Nobody routes here, and so there is nothing to hold: the ladder's own tests have those rungs.
            Step::Hold { .. } => unreachable!("a hold was asked for, and all is quiet"),
            Step::Do(action) => Decision::Act(ActionId(self.actions.number(action))),
            Step::Record(event) => Decision::Append(self.note(event)),
        }
    }
}

/// Whether this is a wait that no client can be asked to share. What undoes a fence may wait for one thing alone:
/// that the fence can be seen.
fn holds_clients(d: &Deployment, reason: &Reason, sight: &Sight) -> bool {
    let Some(attempt) = &d.attempt else { return false };
    if attempt.given_up.is_some() {
        return !matches!(reason, Reason::Unknown { .. });
    }
    let since = attempt.fence.map_or(attempt.since, |fence| fence.since);
    moment(sight.now).since(since) > d.policy.pause_max.millis()
}

/// The real rules, but for the flaw.
fn flawed_next(flaw: Option<Flaw>, d: &Deployment, mut seen: Observation) -> Step {
    if flaw == Some(Flaw::NobodyReasserts) && d.attempt.is_none() && d.settled {
        let home = match d.home {
            Side::Blue => &mut seen.blue,
            Side::Green => &mut seen.green,
        };
        home.fence = Some(Some(FenceSeen { open: true, epoch: d.epoch }));
    }
    match (flaw, next(d, &seen)) {
        (Some(Flaw::OpenBeforeGivingUp), Step::Record(Event::FenceGivenUp { .. })) => {
            Step::Do(Action::Open { side: d.home, epoch: d.epoch })
        }
        (Some(Flaw::PauseWithoutEnd), Step::Record(Event::FenceGivenUp { attempt, .. })) => {
            Step::Wait(Reason::Draining { attempt })
        }
        (Some(Flaw::DrainNotAwaited), Step::Wait(Reason::Draining { attempt })) => {
            Step::Do(Action::Prove { from: d.home, attempt, epoch: d.epoch.next() })
        }
        (_, step) => step,
    }
}

/// All that happens from the first word until both sides are alike, compared in both directions.
fn prepared(one_database: bool) -> Vec<Event> {
    let plan = Plan { one_database, ..plan::plan() };
    let slot = |side| Event::SlotOpened { side, at: Lsn(0), xid_horizon: 0 };
    let verified = |from| Event::Verified { from, certificate: Certificate::default() };
    vec![
        Event::Asked { plan: Box::new(plan) },
        Event::Prepared,
        slot(Side::Blue),
        Event::CopyPlanned { chunks: Vec::new() },
        Event::Copied { at: Lsn(0), rows: 0, bytes: 0 },
        Event::Indexed,
        slot(Side::Green),
        verified(Side::Blue),
        verified(Side::Green),
    ]
}

/// Numbers for values, equal ones for equal texts.
struct Table<T> {
    values: Vec<T>,
    numbers: HashMap<String, u32>,
}

impl<T: Debug> Table<T> {
    fn new() -> Table<T> {
        Table { values: Vec::new(), numbers: HashMap::new() }
    }

    fn number(&mut self, value: T) -> u32 {
        let next = u32::try_from(self.values.len()).expect("few values");
        let number = *self.numbers.entry(format!("{value:?}")).or_insert(next);
        if number == next {
            self.values.push(value);
        }
        number
    }

    fn get(&self, number: u32) -> &T {
        &self.values[number as usize]
    }
}
