//! Histories and sights, in few words.

use replat_model::deploy::{Certificate, Chunk, Event, KeptBack, Timestamp};
use replat_model::ids::{Epoch, Lsn, Side};
use replat_model::next::{FenceSeen, Held, Observation, StreamSeen};
use replat_model::plan::{Plan, Reversibility};
use replat_model::spec::Policy;

use crate::plan;

pub use Side::{Blue, Green};

pub const T0: Timestamp = Timestamp(1_000_000);
pub const E1: Epoch = Epoch::FIRST;

pub fn e2() -> Epoch {
    E1.next()
}

pub fn e3() -> Epoch {
    e2().next()
}

pub fn after(millis: u64) -> Timestamp {
    Timestamp(T0.0 + millis)
}

/// How a history goes on.
pub fn and<const N: usize>(history: &[Event], more: [Event; N]) -> Vec<Event> {
    history.iter().cloned().chain(more).collect()
}

pub fn asked() -> Vec<Event> {
    asked_with(|_| {})
}

pub fn asked_with(change: impl FnOnce(&mut Plan)) -> Vec<Event> {
    let mut plan = plan::plan();
    change(&mut plan);
    vec![Event::Asked { plan: Box::new(plan) }]
}

pub fn one_way(plan: &mut Plan) {
    plan.reversible = Reversibility::No(vec!["a column is dropped".into()]);
}

pub fn slot(side: Side) -> Event {
    Event::SlotOpened { side, at: Lsn(10), xid_horizon: 7 }
}

pub fn chunks() -> Vec<Chunk> {
    vec![Chunk { table: 0, after: None, upto: None }]
}

pub fn planned() -> Event {
    Event::CopyPlanned { chunks: chunks() }
}

pub fn copied() -> Event {
    Event::Copied { at: Lsn(50), rows: 3, bytes: 90 }
}

pub fn equal() -> Certificate {
    Certificate { rows: 3, ..Certificate::default() }
}

pub fn unequal() -> Certificate {
    Certificate { rows: 3, different: 2, samples: vec!["orders 7".into(), "orders 9".into()], ..equal() }
}

pub fn verified(from: Side) -> Event {
    Event::Verified { from, certificate: equal() }
}

pub fn verify_failed(from: Side) -> Event {
    Event::VerifyFailed { from, certificate: unequal() }
}

/// On a plan without a way back, ready but for the slot on green.
pub fn ready_one_way() -> Vec<Event> {
    and(
        &asked_with(one_way),
        [Event::Prepared, slot(Blue), planned(), copied(), Event::Indexed, verified(Blue)],
    )
}

pub fn indexed() -> Vec<Event> {
    and(&asked(), [Event::Prepared, slot(Blue), planned(), copied(), Event::Indexed])
}

pub fn ready() -> Vec<Event> {
    and(&indexed(), [slot(Green), verified(Blue), verified(Green)])
}

pub fn intended(attempt: u32) -> Event {
    Event::SwitchIntended { attempt, since: T0 }
}

pub fn fenced(attempt: u32) -> Event {
    Event::Fenced { attempt, at: Lsn(70), since: T0 }
}

pub fn given_up(attempt: u32) -> Event {
    Event::FenceGivenUp { attempt, why: "why not".into(), at: T0 }
}

pub fn unfenced(attempt: u32) -> Event {
    Event::Unfenced { attempt }
}

pub fn switched(attempt: u32, to: Side, epoch: Epoch) -> Event {
    Event::Switched { attempt, to, epoch, at: T0, proof: equal() }
}

pub fn settled(epoch: Epoch) -> Event {
    Event::Settled { epoch }
}

pub fn switch_asked(to: Side) -> Event {
    Event::SwitchAsked { to, why: "a word".into() }
}

pub fn kept_back(from: Side, keys: u64) -> Event {
    Event::RowsKeptBack(KeptBack { from, keys, samples: vec!["notes (4)".into()] })
}

pub fn paused() -> Event {
    Event::Paused { why: "lunch".into() }
}

pub fn abort_asked() -> Event {
    Event::AbortAsked { why: "enough".into() }
}

pub fn finish_asked() -> Event {
    Event::FinishAsked { why: "the soak is over".into() }
}

pub fn policy_set(change: impl FnOnce(&mut Policy)) -> Event {
    let mut policy = Policy::shipped();
    change(&mut policy);
    Event::PolicySet { policy: Box::new(policy), what: "a limit".into() }
}

/// Green is home, all is in place, and the way back is compared.
pub fn on_green() -> Vec<Event> {
    and(&ready(), [intended(1), fenced(1), switched(1, Green, e2()), settled(e2()), verified(Green)])
}

/// Blue is home again.
pub fn rolled_back() -> Vec<Event> {
    and(
        &on_green(),
        [switch_asked(Blue), intended(2), fenced(2), switched(2, Blue, e3()), settled(e3()), verified(Blue)],
    )
}

pub fn finished() -> Vec<Event> {
    and(&on_green(), [finish_asked(), Event::Finished { at: T0 }])
}

/// Everything can be read and is as it should be with this home at this epoch; both streams are level, and nobody has
/// anything to hold.
pub fn level(home: Side, epoch: Epoch) -> Observation {
    let stream = StreamSeen { through: Lsn(100), lag: Some(0), barrier: None, parked: 0, unproved: Some(0) };
    let held = Some(Held::default());
    let mut seen = Observation { now: T0, leaks: Some(0), held, ..Observation::default() };
    for (end, open) in [(&mut seen.blue, home == Blue), (&mut seen.green, home == Green)] {
        end.fence = Some(Some(FenceSeen { open, epoch }));
        end.settled = Some(true);
        end.stream = Some(stream);
    }
    seen
}

/// [`level`] with blue as the first home, but for something.
pub fn blue(change: impl FnOnce(&mut Observation)) -> Observation {
    let mut seen = level(Blue, E1);
    change(&mut seen);
    seen
}

/// [`level`] with green as home after one switch, but for something.
pub fn green(change: impl FnOnce(&mut Observation)) -> Observation {
    let mut seen = level(Green, e2());
    change(&mut seen);
    seen
}

/// Blue is fenced and the barrier of this attempt has come through, but for something.
pub fn drained(attempt: u32, change: impl FnOnce(&mut Observation)) -> Observation {
    let mut seen = blue(|seen| {
        seen.blue.fence = fence(false, E1);
        stream(seen).barrier = Some(attempt);
    });
    change(&mut seen);
    seen
}

pub fn stream(seen: &mut Observation) -> &mut StreamSeen {
    seen.blue.stream.as_mut().expect("a level world has streams")
}

pub fn reverse_stream(seen: &mut Observation) -> &mut StreamSeen {
    seen.green.stream.as_mut().expect("a level world has streams")
}

pub fn fence(open: bool, epoch: Epoch) -> Option<Option<FenceSeen>> {
    Some(Some(FenceSeen { open, epoch }))
}
