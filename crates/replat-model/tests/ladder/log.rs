//! What is written down after an action, and what may not stand in a log.

use proptest::prelude::*;

use replat_model::deploy::{Deployment, Event, Timestamp};
use replat_model::ids::{Epoch, Lsn, Side};
use replat_model::next::{Action, Evidence, FenceSeen, Observation, Scope, SideSeen, Step, StreamSeen, next};

use crate::given::*;

#[test]
fn what_came_of_an_action_is_written_down() {
    let fence = Action::Fence { side: Blue, attempt: 1, epoch: E1 };
    let prove = Action::Prove { from: Blue, attempt: 1, epoch: e2() };
    let full = Action::Verify { from: Green, scope: Scope::Full };
    let touched = Action::Verify { from: Green, scope: Scope::Touched };
    let seal = Action::Seal { side: Blue, epoch: e2() };
    let decided = and(&ready(), [intended(1), fenced(1), switched(1, Green, e2())]);
    let not_now = || Evidence::NotNow { why: "why not".into() };
    let differ = Event::FenceGivenUp { attempt: 1, why: "2 rows differ: orders 7; orders 9".into(), at: T0 };
    let rows = [
        ("fence", ready(), &fence, Evidence::Fenced { at: Lsn(70), since: T0 }, Some(fenced(1))),
        ("fence, held by a writer", ready(), &fence, not_now(), Some(given_up(1))),
        ("proof", ready(), &prove, Evidence::Compared(equal()), Some(switched(1, Green, e2()))),
        ("proof fails", ready(), &prove, Evidence::Compared(unequal()), Some(differ)),
        ("proof not in time", ready(), &prove, not_now(), Some(given_up(1))),
        ("alike", ready(), &full, Evidence::Compared(equal()), Some(verified(Green))),
        ("not alike", ready(), &full, Evidence::Compared(unequal()), Some(verify_failed(Green))),
        ("touched alike", ready(), &touched, Evidence::Compared(equal()), None),
        ("touched not alike", ready(), &touched, Evidence::Compared(unequal()), Some(verify_failed(Green))),
        ("sealed first", decided, &seal, Evidence::Done, Some(settled(e2()))),
        ("sealed again", on_green(), &seal, Evidence::Done, None),
        ("opened", ready(), &Action::Open { side: Blue, epoch: E1 }, Evidence::Done, None),
        ("followed", ready(), &Action::Follow { from: Blue }, Evidence::Done, None),
        ("retired", on_green(), &Action::Retire, Evidence::Done, Some(Event::Finished { at: T0 })),
        ("dropped", finished(), &Action::DropCopy, Evidence::Done, Some(Event::Dropped)),
        ("cleaned", ready(), &Action::Clean, Evidence::Done, Some(Event::Aborted)),
        ("not copied in time", asked(), &Action::Copy { chunks: chunks() }, not_now(), None),
    ];
    for (case, history, action, evidence, want) in rows {
        let d = Deployment::fold(&history).expect(case);
        assert_eq!(action.became(&d, evidence, T0), want, "{case}");
    }
}

#[test]
fn an_event_that_is_out_of_place_is_refused() {
    let begun = and(&ready(), [intended(1)]);
    let stands = and(&begun, [fenced(1)]);
    let over = and(&stands, [given_up(1)]);
    let decided = and(&stands, [switched(1, Green, e2())]);
    let no_attempt = "it belongs to no attempt under way";
    let other_side = "a switch goes to the other side, at the next epoch";
    let ending = "abort or finish was asked";
    let cannot_finish = "only a deployment whose home is green, with no switch under way, can finish";
    let cannot_abort = "after the switch there is no abort; roll back first";
    let rows = [
        ("asked twice", ready(), asked().remove(0), "asked twice"),
        (
            "after the end",
            and(&asked(), [abort_asked(), Event::Aborted]),
            paused(),
            "nothing follows Aborted",
        ),
        ("two attempts at once", begun.clone(), intended(2), "an attempt is under way"),
        ("an attempt after abort", and(&ready(), [abort_asked()]), intended(1), ending),
        ("an attempt after finish", and(&on_green(), [finish_asked()]), intended(2), ending),
        ("fenced without an attempt", ready(), fenced(1), no_attempt),
        ("fenced for another attempt", begun.clone(), fenced(2), no_attempt),
        ("fenced after giving up", over.clone(), fenced(1), "fenced after it was given up"),
        ("given up without an attempt", ready(), given_up(1), no_attempt),
        ("given up after the switch", decided.clone(), given_up(1), no_attempt),
        ("unfenced before giving up", stands.clone(), unfenced(1), "unfenced before it was given up"),
        ("unfenced after the switch", decided.clone(), unfenced(1), no_attempt),
        ("switched after giving up", over, switched(1, Green, e2()), "a switch needs a fence that stands"),
        ("switched without a fence", begun, switched(1, Green, e2()), "a switch needs a fence that stands"),
        ("switched for another attempt", stands.clone(), switched(2, Green, e2()), no_attempt),
        ("switched to where it is", stands.clone(), switched(1, Blue, e2()), other_side),
        ("switched at the same epoch", stands.clone(), switched(1, Green, E1), other_side),
        ("switched past an epoch", stands.clone(), switched(1, Green, e3()), other_side),
        ("switched twice", decided.clone(), switched(1, Blue, e3()), no_attempt),
        ("settled at another epoch", decided.clone(), settled(E1), "settled at another epoch"),
        ("no way back", ready_one_way(), switch_asked(Blue), "there is no way back"),
        ("a switch after abort", and(&ready(), [abort_asked()]), switch_asked(Green), ending),
        ("finish on blue", ready(), finish_asked(), cannot_finish),
        ("finish in a switch", and(&on_green(), [intended(2)]), finish_asked(), cannot_finish),
        ("abort after the switch", decided, abort_asked(), cannot_abort),
        ("aborted without a word", ready(), Event::Aborted, "aborted without being asked"),
    ];
    for (case, history, event, why) in rows {
        let refused = Deployment::fold(&and(&history, [event])).expect_err(case);
        assert_eq!((refused.at, refused.why), (history.len(), why), "{case}");
    }
}

#[test]
fn a_log_begins_with_what_was_asked() {
    for (case, history) in [("no event", vec![]), ("another event", vec![Event::Prepared])] {
        assert_eq!(Deployment::fold(&history).expect_err(case).at, 0, "{case}");
    }
}

fn any_side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Blue), Just(Green)]
}

fn any_epoch() -> impl Strategy<Value = Epoch> {
    prop_oneof![Just(E1), Just(e2()), Just(e3())]
}

fn any_moment() -> impl Strategy<Value = Timestamp> {
    prop_oneof![Just(0), 0..5_000_u64, any::<u64>()].prop_map(Timestamp)
}

fn any_event() -> impl Strategy<Value = Event> {
    let attempt = || 1..4_u32;
    prop_oneof![
        Just(Event::Prepared),
        any_side().prop_map(slot),
        Just(planned()),
        Just(copied()),
        Just(Event::Indexed),
        any_side().prop_map(verified),
        any_side().prop_map(verify_failed),
        (attempt(), any_moment()).prop_map(|(attempt, since)| Event::SwitchIntended { attempt, since }),
        attempt().prop_map(fenced),
        attempt().prop_map(given_up),
        attempt().prop_map(unfenced),
        (attempt(), any_side(), any_epoch()).prop_map(|(attempt, to, epoch)| switched(attempt, to, epoch)),
        any_epoch().prop_map(settled),
        any_side().prop_map(|side| Event::LeakSeen { side, rows: 1 }),
        (any_side(), 0..2_u64).prop_map(|(from, keys)| kept_back(from, keys)),
        Just(paused()),
        Just(Event::Resumed),
        any_side().prop_map(switch_asked),
        Just(policy_set(|policy| policy.attempts = 1)),
        Just(finish_asked()),
        any_moment().prop_map(|at| Event::Finished { at }),
        Just(abort_asked()),
        Just(asked().remove(0)),
    ]
}

fn any_observation() -> impl Strategy<Value = Observation> {
    let fence = || proptest::option::of(proptest::option::of((any::<bool>(), any_epoch())));
    let stream = || {
        let barrier = proptest::option::of(1..4_u32);
        let count = || proptest::option::of(prop_oneof![Just(0), any::<u64>()]);
        proptest::option::of((any::<u64>(), count(), barrier, 0..2_u64, count()))
    };
    let side = move || (fence(), any::<Option<bool>>(), stream());
    (any_moment(), side(), side(), any::<Option<u64>>()).prop_map(|(now, blue, green, leaks)| {
        let [blue, green] = [blue, green].map(|(fence, settled, stream)| SideSeen {
            fence: fence.map(|row| row.map(|(open, epoch)| FenceSeen { open, epoch })),
            settled,
            stream: stream.map(|(through, lag, barrier, parked, unproved)| StreamSeen {
                through: Lsn(through),
                lag,
                barrier,
                parked,
                unproved,
            }),
        });
        Observation { now, blue, green, leaks, kept_back: None, held: None }
    })
}

fn any_beginning() -> impl Strategy<Value = Vec<Event>> {
    prop_oneof![Just(asked()), Just(ready()), Just(ready_one_way()), Just(on_green()), Just(rolled_back())]
}

proptest! {
    /// Also what a damaged log says is taken in or refused, and a refused event leaves no trace.
    #[test]
    fn no_event_upsets_the_fold_and_no_sight_the_ladder(
        beginning in any_beginning(),
        events in proptest::collection::vec(any_event(), 0..40),
        seen in any_observation(),
    ) {
        let mut d = Deployment::fold(&beginning).expect("a beginning can stand");
        for event in &events {
            let before = d.clone();
            if d.after(event).is_err() {
                prop_assert_eq!(&d, &before);
            }
            if let Step::Record(next) = next(&d, &seen) {
                prop_assert_eq!(d.clone().after(&next), Ok(()), "the ladder records what can stand");
            }
        }
    }
}
