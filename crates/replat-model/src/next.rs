//! What a deployment does next: a ladder of facts, of which the first that does not hold names the work.

mod views;

use serde::{Deserialize, Serialize};

use crate::contract::Kept;
use crate::deploy::{Attempt, Certificate, Chunk, Deployment, Event, KeptBack, Timestamp};
use crate::ids::{Epoch, Lsn, Side};
use crate::spec::ReadsPolicy;

/// What is true of both ends and of the streams between them, just now. A fact that could not be read is absent;
/// absence is never filled in with a favourable value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The runner's clock.
    pub now: Timestamp,
    /// Blue's end.
    pub blue: SideSeen,
    /// Green's end.
    pub green: SideSeen,
    /// Rows kept from writes past the guard, on either side, if they could be counted.
    pub leaks: Option<u64>,
    /// The home's rows that cannot be stored on the other side, and are not waiting for the stream; `None` if this runner
    /// cannot tell yet.
    pub kept_back: Option<KeptBack>,
    /// What came of asking for a hold for the attempt under way; `None` if this runner has not asked.
    pub held: Option<Held>,
}

impl Observation {
    /// One end.
    pub fn side(&self, side: Side) -> &SideSeen {
        match side {
            Side::Blue => &self.blue,
            Side::Green => &self.green,
        }
    }
}

/// What is true of one end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SideSeen {
    /// The fence row; `Some(None)` if it was looked for and is not there.
    pub fence: Option<Option<FenceSeen>>,
    /// Whether every transaction that ran when this end's slot was made has ended.
    pub settled: Option<bool>,
    /// What this runner's stream that reads from this end is doing; `None` if it does not run.
    pub stream: Option<StreamSeen>,
}

/// A fence row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceSeen {
    /// Whether writers are let through.
    pub open: bool,
    /// The epoch that it speaks of.
    pub epoch: Epoch,
}

/// A stream that is being read from one end.
///
/// What it does with a change follows from the log that it reads: between an opening and a barrier, changes are
/// applied to the other end; between a barrier and an opening this end is closed, and a change that is not
/// replat's own is an incident. So no runner has to be told, and none can be told wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSeen {
    /// Everything up to here, on the server read from, is durable at the other end.
    pub through: Lsn,
    /// How far that lies behind the end of the log. Unit: bytes.
    pub lag: Option<u64>,
    /// The newest attempt whose barrier is durable at the other end.
    pub barrier: Option<u32>,
    /// Keys that could not be applied yet and must be copied once more.
    pub parked: u64,
    /// Keys that either stream carried over since this runner last compared the sides with this end as the
    /// original; `None` if it never did, or if it may have missed some.
    pub unproved: Option<u64>,
}

/// What came of asking those who route requests to let new transactions of the partition wait.
///
/// No promise depends on it: the databases refuse whoever was not reached. It spares clients the refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Those who attend and were heard.
    pub followers: u64,
    /// Those of them where transactions were still running, or who did not answer in time; in words for people.
    pub stragglers: Vec<String>,
    /// Why it is not known who attends, or whether they heard.
    pub trouble: Option<String>,
}

impl Held {
    /// Whether no transaction of the partition runs by way of anybody, and none begins.
    pub fn is_quiet(&self) -> bool {
        self.stragglers.is_empty() && self.trouble.is_none()
    }
}

/// An effect, as a value. Each is idempotent and carries a [`crate::deploy::Token`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// replat's schema, fence rows, guards, green's tables, publications.
    Prepare,
    /// A logical replication slot.
    OpenSlot {
        /// Where.
        side: Side,
    },
    /// Cut the tables into chunks.
    PlanCopy,
    /// Copy the chunks that are not on green yet.
    Copy {
        /// All chunks.
        chunks: Vec<Chunk>,
    },
    /// Secondary indexes, constraints, statistics.
    BuildIndexes,
    /// Keep reading from `from`. The one effect that lives in the runner's process.
    Follow {
        /// The end to read from.
        from: Side,
    },
    /// Copy the parked keys once more.
    CopyParked {
        /// The side that has the rows.
        from: Side,
    },
    /// Compare both sides.
    Verify {
        /// The side that is the original.
        from: Side,
        /// Everything, or what was touched since.
        scope: Scope,
    },
    /// Ask both sides what consumers rely on.
    AskContracts,
    /// Close the home for this partition and send the barrier.
    Fence {
        /// The home.
        side: Side,
        /// Which attempt.
        attempt: u32,
        /// The epoch that it is closed at.
        epoch: Epoch,
    },
    /// Compare, inside the pause, what was touched since the last comparison; check the sequences.
    Prove {
        /// The fenced side.
        from: Side,
        /// Which attempt.
        attempt: u32,
        /// The epoch that the switch would bring.
        epoch: Epoch,
    },
    /// Let writers through.
    Open {
        /// Where.
        side: Side,
        /// At which epoch.
        epoch: Epoch,
    },
    /// Make sure that writers are refused and told the new home.
    Seal {
        /// Where.
        side: Side,
        /// At which epoch.
        epoch: Epoch,
    },
    /// Let writers through on one side, and refuse them on the other with its name, in one transaction of the one database
    /// that both are in.
    HandOver {
        /// The home.
        to: Side,
        /// Its epoch.
        epoch: Epoch,
    },
    /// End the way back: slots, publications, the reverse stream; green's guard.
    Retire,
    /// Delete blue's retired copy.
    DropCopy,
    /// Leave nothing behind: green's rows and what was created there, slots, publications, guards.
    Clean,
}

/// How much is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Every row.
    Full,
    /// The keys that were touched since the last comparison.
    Touched,
}

/// What an action came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// It is so now.
    Done,
    /// A slot exists.
    Slot {
        /// Where it begins.
        at: Lsn,
        /// See [`Event::SlotOpened`].
        xid_horizon: u64,
    },
    /// The chunks.
    Chunks(Vec<Chunk>),
    /// All chunks are there.
    Copied {
        /// Blue's position afterwards.
        at: Lsn,
        /// Rows.
        rows: u64,
        /// Bytes.
        bytes: u64,
    },
    /// The sides were compared.
    Compared(Certificate),
    /// The consumers' queries were asked.
    Contracts(Kept),
    /// The fence stands since then.
    Fenced {
        /// Position after the commit.
        at: Lsn,
        /// When.
        since: Timestamp,
    },
    /// The effect could not be had in time, and nothing was changed.
    NotNow {
        /// Why, for people.
        why: String,
    },
}

/// What to do now. `deploy get`, a dry run and the runner all use it.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Bring something about outside, then append what came of it.
    Do(Action),
    /// Ask those who route requests to let new transactions of the partition wait, and see what comes of it.
    Hold {
        /// Which attempt.
        attempt: u32,
        /// The epoch that the partition has until the switch.
        epoch: Epoch,
        /// Whether reads wait as well.
        reads: bool,
    },
    /// Nothing to bring about: the entry itself is the deed.
    Record(Event),
    /// Nothing can be done until something changes.
    Wait(Reason),
    /// Nothing is left to do, ever.
    Done,
}

/// Why a deployment waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "waiting_for", rename_all = "snake_case")]
pub enum Reason {
    /// Transactions that ran when the slot was made have not all ended.
    RunningTransactions,
    /// A fence row, a slot or a stream could not be read.
    Unknown {
        /// What.
        what: String,
    },
    /// The receiving side is behind.
    Lag {
        /// How far. Unit: bytes.
        now: u64,
        /// How far it may be.
        max: u64,
    },
    /// The copied rows are not consistent yet.
    CatchingUp {
        /// The position that the stream must pass.
        to: Lsn,
    },
    /// Everything before the barrier must be durable on the other side.
    Draining {
        /// Which attempt.
        attempt: u32,
    },
    /// The last attempt was given up; the next comes after a pause.
    BackOff {
        /// Unit: milliseconds.
        left: u64,
    },
    /// A person must say `deploy switch`.
    SwitchByHand,
    /// Too many attempts were given up; a person must look.
    AttemptsUsedUp {
        /// How many.
        attempts: u32,
    },
    /// The sides differ; a person must look.
    Different,
    /// A query that somebody relies on has another answer on green; a person must look.
    ContractBroken,
    /// Paused by a person.
    Paused,
    /// The way back stays open.
    Soak {
        /// Unit: milliseconds.
        left: u64,
    },
    /// Blue is home again; a person says what comes next.
    RolledBack,
    /// The retired copy is kept.
    Retained {
        /// Unit: milliseconds.
        left: u64,
    },
}

impl Reason {
    /// Whether nothing will change without a person.
    pub fn needs_a_person(&self) -> bool {
        matches!(
            self,
            Reason::SwitchByHand
                | Reason::AttemptsUsedUp { .. }
                | Reason::Different
                | Reason::ContractBroken
                | Reason::Paused
                | Reason::RolledBack
        )
    }
}

/// More keys than this are compared once more before the fence rather than inside the pause. At some
/// microseconds a key this is a few milliseconds.
pub const PROVE_KEYS_MAX: u64 = 2_000;

impl Action {
    /// What is to be written down when `evidence` came back; `None` if the world itself is the record.
    pub fn became(&self, d: &Deployment, evidence: Evidence, now: Timestamp) -> Option<Event> {
        Some(match (self, evidence) {
            (Action::Prepare, Evidence::Done) => Event::Prepared,
            (Action::OpenSlot { side }, Evidence::Slot { at, xid_horizon }) => {
                Event::SlotOpened { side: *side, at, xid_horizon }
            }
            (Action::PlanCopy, Evidence::Chunks(chunks)) => Event::CopyPlanned { chunks },
            (Action::Copy { .. }, Evidence::Copied { at, rows, bytes }) => Event::Copied { at, rows, bytes },
            (Action::BuildIndexes, Evidence::Done) => Event::Indexed,
            (Action::Verify { from, scope }, Evidence::Compared(certificate)) => {
                match (certificate.different, scope) {
                    (0, Scope::Full) => Event::Verified { from: *from, certificate },
                    (0, Scope::Touched) => return None,
                    _ => Event::VerifyFailed { from: *from, certificate },
                }
            }
            (Action::AskContracts, Evidence::Contracts(kept)) => match kept.broken.is_empty() {
                true => Event::ContractsKept { at: now, kept },
                false => Event::ContractsBroken { kept },
            },
            (Action::Fence { attempt, .. }, Evidence::Fenced { at, since }) => {
                Event::Fenced { attempt: *attempt, at, since }
            }
            (Action::Prove { from, attempt, epoch }, Evidence::Compared(proof)) if proof.different == 0 => {
                Event::Switched { attempt: *attempt, to: from.other(), epoch: *epoch, at: now, proof }
            }
            (Action::Prove { attempt, .. }, Evidence::Compared(proof)) => Event::FenceGivenUp {
                attempt: *attempt,
                why: format!("{} rows differ: {}", proof.different, proof.samples.join("; ")),
                at: now,
            },
            (Action::Fence { attempt, .. } | Action::Prove { attempt, .. }, Evidence::NotNow { why }) => {
                Event::FenceGivenUp { attempt: *attempt, why, at: now }
            }
            (Action::Retire, Evidence::Done) => Event::Finished { at: now },
            (Action::DropCopy, Evidence::Done) => Event::Dropped,
            (Action::Clean, Evidence::Done) => Event::Aborted,
            (Action::Seal { epoch, .. }, Evidence::Done) if !d.settled => Event::Settled { epoch: *epoch },
            _ => return None,
        })
    }
}

/// The first thing that is not yet true.
pub fn next(d: &Deployment, seen: &Observation) -> Step {
    if d.ended() {
        return Step::Done;
    }
    if d.plan.path.shares_rows() {
        return views::next(d, seen);
    }
    if let Some(attempt) = &d.attempt {
        return switch(d, attempt, seen);
    }
    if d.abort_asked.is_some() {
        return Step::Do(Action::Clean);
    }
    if let Some(at) = d.finished {
        return retain(d, at, seen);
    }
    // Retiring takes green's fence row away at its end, so it must not be waited for once that has begun.
    if d.finish_asked && d.settled {
        return Step::Do(Action::Retire);
    }
    if d.prepared
        && let Some(step) = hold_fences(d, seen)
    {
        return step;
    }
    if let Some(step) = report_leaks(d, seen) {
        return step;
    }
    if d.copied.is_none() {
        return copy(d, seen);
    }
    follow(d, seen)
}

/// Re-asserts, for ever, that the home is open and the other side closed: a failover can forget either.
fn hold_fences(d: &Deployment, seen: &Observation) -> Option<Step> {
    let (home, other) = (d.home, d.home.other());
    if d.plan.one_database {
        return hold_both_fences(d, seen);
    }
    // The side that gives up is sealed before anything else is looked at, but the side that receives is opened
    // first of all: clients wait for that alone, and the fence has already closed the other.
    match &seen.side(home).fence {
        None => return Some(unknown("the home's fence")),
        Some(Some(f)) if f.open && f.epoch == d.epoch => {}
        Some(_) => return Some(Step::Do(Action::Open { side: home, epoch: d.epoch })),
    }
    match &seen.side(other).fence {
        None => Some(unknown("the other side's fence")),
        Some(Some(f)) if !f.open && f.epoch == d.epoch && d.settled => None,
        Some(_) => Some(Step::Do(Action::Seal { side: other, epoch: d.epoch })),
    }
}

/// The same where both are in one database: there is no moment at which the one side is open and the other does not say
/// so.
fn hold_both_fences(d: &Deployment, seen: &Observation) -> Option<Step> {
    let (home, other) = (d.home, d.home.other());
    let (Some(mine), Some(others)) = (&seen.side(home).fence, &seen.side(other).fence) else {
        return Some(unknown("the fences"));
    };
    let is =
        |fence: &Option<FenceSeen>, open: bool| fence.is_some_and(|f| f.open == open && f.epoch == d.epoch);
    if !is(mine, true) || !is(others, false) {
        return Some(Step::Do(Action::HandOver { to: home, epoch: d.epoch }));
    }
    (!d.settled).then_some(Step::Record(Event::Settled { epoch: d.epoch }))
}

fn report_leaks(d: &Deployment, seen: &Observation) -> Option<Step> {
    let rows = seen.leaks.filter(|rows| *rows > d.leaks)?;
    Some(Step::Record(Event::LeakSeen { side: d.home.other(), rows }))
}

/// What cannot go over is said before it is tried once more, so that it is in the log whoever is told of the failure.
fn report_kept_back(d: &Deployment, seen: &Observation) -> Option<Step> {
    let kept = seen.kept_back.as_ref().filter(|kept| kept.from == d.home)?;
    let told = match &d.kept_back {
        Some(told) => told == kept,
        None => kept.keys == 0,
    };
    (!told).then(|| Step::Record(Event::RowsKeptBack(kept.clone())))
}

fn unknown(what: &str) -> Step {
    Step::Wait(Reason::Unknown { what: what.into() })
}

fn copy(d: &Deployment, seen: &Observation) -> Step {
    if let Some(wait) = paused(d) {
        return wait;
    }
    if !d.prepared {
        return Step::Do(Action::Prepare);
    }
    if d.forward_slot.is_none() {
        return Step::Do(Action::OpenSlot { side: Side::Blue });
    }
    match seen.blue.settled {
        None => return unknown("blue's running transactions"),
        Some(false) => return Step::Wait(Reason::RunningTransactions),
        Some(true) => {}
    }
    match &d.chunks {
        None => Step::Do(Action::PlanCopy),
        Some(chunks) => Step::Do(Action::Copy { chunks: chunks.clone() }),
    }
}

fn paused(d: &Deployment) -> Option<Step> {
    d.paused.is_some().then_some(Step::Wait(Reason::Paused))
}

/// Rows are on both sides: keep them equal, and switch when that is wanted.
fn follow(d: &Deployment, seen: &Observation) -> Step {
    let home = d.home;
    if home == Side::Green && !d.plan.has_way_back() {
        return watch(d, seen).unwrap_or_else(|| soak(d, seen));
    }
    let Some(stream) = seen.side(home).stream else {
        return Step::Do(Action::Follow { from: home });
    };
    if let Some(step) = report_kept_back(d, seen) {
        return step;
    }
    if let Some(step) = consistent(d, seen) {
        return step;
    }
    if let Some(step) = watch(d, seen) {
        return step;
    }
    if stream.parked > 0 {
        return Step::Do(Action::CopyParked { from: home });
    }
    if d.paused.is_some() {
        return Step::Wait(Reason::Paused);
    }
    if d.verify_failed.is_some() {
        return Step::Wait(Reason::Different);
    }
    if d.contracts_broken.is_some() && home == Side::Blue {
        return Step::Wait(Reason::ContractBroken);
    }
    let Some(lag) = stream.lag else {
        return unknown("the lag");
    };
    let max = d.policy.lag_max.bytes();
    if lag > max {
        return Step::Wait(Reason::Lag { now: lag, max });
    }
    compare_then_switch(d, seen, stream.unproved)
}

/// The side that is not home is watched: a write that reaches it past the guard is kept, never silence.
fn watch(d: &Deployment, seen: &Observation) -> Option<Step> {
    let other = d.home.other();
    let has_slot = match other {
        Side::Blue => d.forward_slot.is_some(),
        Side::Green => d.reverse_slot.is_some(),
    };
    let watching = seen.side(other).stream.is_some();
    (has_slot && !watching).then_some(Step::Do(Action::Follow { from: other }))
}

fn compare_then_switch(d: &Deployment, seen: &Observation, unproved: Option<u64>) -> Step {
    let home = d.home;
    // After a switch to green the way back is compared at once, so that a rollback finds its proof ready. With
    // blue as home the way back is compared before the first switch: what cannot go back is not switched.
    let Some(unproved) = unproved else {
        return Step::Do(Action::Verify { from: home, scope: Scope::Full });
    };
    if home == Side::Blue && d.plan.has_way_back() && d.verified_backward.is_none() {
        return Step::Do(Action::Verify { from: Side::Green, scope: Scope::Full });
    }
    // Touched rows are compared as they come, whether or not a switch is wanted: a rollback must find little left.
    if unproved > PROVE_KEYS_MAX {
        return Step::Do(Action::Verify { from: home, scope: Scope::Touched });
    }
    if home == Side::Blue && must_ask_contracts(d, seen.now, d.wanted_home() == Side::Green) {
        return Step::Do(Action::AskContracts);
    }
    begin_switch(d, seen)
}

/// Nothing stands in the way of a switch: whether one is wanted, and whether it is its time.
fn begin_switch(d: &Deployment, seen: &Observation) -> Step {
    let home = d.home;
    if d.wanted_home() == home {
        return match home {
            Side::Green => soak(d, seen),
            Side::Blue if d.epoch > d.plan.epoch => Step::Wait(Reason::RolledBack),
            Side::Blue => Step::Wait(Reason::SwitchByHand),
        };
    }
    if d.failed_attempts >= d.policy.attempts {
        return Step::Wait(Reason::AttemptsUsedUp { attempts: d.failed_attempts });
    }
    if let Some(left) = back_off(d, seen.now) {
        return Step::Wait(Reason::BackOff { left });
    }
    Step::Record(Event::SwitchIntended { attempt: d.attempts + 1, since: seen.now })
}

/// Answers that are older than this are asked for again before a switch. Unit: milliseconds.
const CONTRACTS_HOLD_MS: u64 = 600_000;

/// Consumers are asked about as soon as green has all rows, so that a person hears of it early, and again before a
/// switch that comes much later. On the way back they are not: blue is what they were promised.
fn must_ask_contracts(d: &Deployment, now: Timestamp, switches: bool) -> bool {
    if d.plan.contracts.is_empty() || (d.epoch > d.plan.epoch && !switches) {
        return false;
    }
    d.contracts_kept.is_none_or(|at| switches && now.since(at) > CONTRACTS_HOLD_MS)
}

/// The steps between the copy and the day when both sides are alike: replay to where the copy ended, build the
/// indexes on rows that are consistent, open the way back.
fn consistent(d: &Deployment, seen: &Observation) -> Option<Step> {
    let stream = seen.blue.stream?;
    if d.indexed && (d.reverse_slot.is_some() || !d.plan.has_way_back()) {
        return None;
    }
    let copied = d.copied.expect("rows are followed only after they were copied");
    if stream.through < copied {
        return Some(Step::Wait(Reason::CatchingUp { to: copied }));
    }
    if stream.parked > 0 {
        return Some(Step::Do(Action::CopyParked { from: Side::Blue }));
    }
    if let Some(wait) = paused(d) {
        return Some(wait);
    }
    if !d.indexed {
        return Some(Step::Do(Action::BuildIndexes));
    }
    Some(Step::Do(Action::OpenSlot { side: Side::Green }))
}

/// Exponential, from 100 ms to 30 s: a writer that holds its locks for long is not asked twice a second.
fn back_off(d: &Deployment, now: Timestamp) -> Option<u64> {
    let since = d.given_up_at?;
    let wait = (100_u64 << d.failed_attempts.min(9)).min(30_000);
    let passed = now.since(since);
    (passed < wait).then(|| wait - passed)
}

/// Clients are held while this decides, so the only patience left is the policy's.
///
/// Switching and giving up exclude each other, so either is recorded before anything is done about it: of two
/// runners that disagree, one is refused by the log.
fn switch(d: &Deployment, a: &Attempt, seen: &Observation) -> Step {
    let home = d.home;
    if a.given_up.is_some() {
        return match &seen.side(home).fence {
            None => unknown("the home's fence"),
            Some(Some(f)) if f.open && f.epoch == d.epoch => {
                Step::Record(Event::Unfenced { attempt: a.number })
            }
            Some(_) => Step::Do(Action::Open { side: home, epoch: d.epoch }),
        };
    }
    let give_up =
        |why: &str| Step::Record(Event::FenceGivenUp { attempt: a.number, why: why.into(), at: seen.now });
    if d.abort_asked.is_some() {
        return give_up("the deployment was aborted");
    }
    let pause_max = d.policy.pause_max.millis();
    let stream = seen.side(home).stream;
    let Some(fence) = a.fence else {
        let patience = pause_max.saturating_add(d.policy.hold_max.millis());
        // The attempt may have been begun by a runner that is gone; its stream is gone with it, and with the
        // stream the count of what was touched. Then this attempt cannot prove anything.
        return match stream {
            _ if seen.now.since(a.since) > patience => give_up("the fence did not close in time"),
            Some(s) if s.unproved.is_some() => hold(d, a, seen).unwrap_or(Step::Do(Action::Fence {
                side: home,
                attempt: a.number,
                epoch: d.epoch,
            })),
            _ => give_up("this runner has not compared the sides"),
        };
    };
    if seen.now.since(fence.since) > pause_max {
        return give_up("writers were refused for as long as the policy allows");
    }
    match stream {
        None => give_up("the stream broke"),
        Some(s) if s.unproved.is_none() => give_up("this runner has not compared the sides"),
        Some(s) if s.barrier.is_some_and(|b| b >= a.number) => {
            Step::Do(Action::Prove { from: home, attempt: a.number, epoch: d.epoch.next() })
        }
        Some(_) => Step::Wait(Reason::Draining { attempt: a.number }),
    }
}

/// Before the home is closed, new transactions are held where they come from, so that hardly any client is refused.
/// `None`: the fence may close.
///
/// What is still running then is waited for by the fence itself, so only who wants no stale read, not even for as
/// long as a lease lasts, stands down because somebody is not quiet, or because nobody knows who is.
fn hold(d: &Deployment, a: &Attempt, seen: &Observation) -> Option<Step> {
    let reads = d.policy.reads == ReadsPolicy::Strict;
    if d.policy.hold_max.millis() == 0 && !reads {
        return None;
    }
    match &seen.held {
        None => Some(Step::Hold { attempt: a.number, epoch: d.epoch, reads }),
        Some(held) if held.is_quiet() || !reads => None,
        Some(held) => Some(Step::Record(Event::FenceGivenUp {
            attempt: a.number,
            why: match &held.trouble {
                Some(trouble) => format!("reads are strict, and it is not known who reads: {trouble}"),
                None => {
                    let max = d.policy.hold_max;
                    format!("reads are strict, and not quiet within {max}: {}", held.stragglers.join("; "))
                }
            },
            at: seen.now,
        })),
    }
}

fn soak(d: &Deployment, seen: &Observation) -> Step {
    let Some(since) = d.switched_at else {
        return unknown("when the switch was");
    };
    let soak = d.policy.soak.millis();
    let passed = seen.now.since(since);
    if passed >= soak {
        return Step::Record(Event::FinishAsked { why: "the soak is over".into() });
    }
    Step::Wait(Reason::Soak { left: soak - passed })
}

/// Finished: the guard on blue stays closed for ever, the copy goes when it has been kept long enough.
fn retain(d: &Deployment, at: Timestamp, seen: &Observation) -> Step {
    let retain = d.policy.retain.millis();
    let passed = seen.now.since(at);
    if passed < retain {
        return Step::Wait(Reason::Retained { left: retain - passed });
    }
    Step::Do(Action::DropCopy)
}
