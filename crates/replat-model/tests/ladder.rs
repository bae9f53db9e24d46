//! The ladder, rung by rung: what a deployment does next, what it writes down afterwards, and what may not stand in
//! its log.

#[path = "ladder/given.rs"]
mod given;
#[path = "ladder/log.rs"]
mod log;
#[path = "explore/plan.rs"]
mod plan;
#[path = "ladder/views.rs"]
mod views;

use replat_model::contract::{Broken, ContractPlan, Kept};
use replat_model::deploy::{Deployment, Event, Timestamp};
use replat_model::ids::{Epoch, Lsn, Side};
use replat_model::next::{Action, Held, Observation, PROVE_KEYS_MAX, Reason, Scope, Step, next};
use replat_model::plan::Plan;
use replat_model::spec::{ColumnsPromise, DurationText, OrderPromise, ReadsPolicy, RowsPromise, SwitchMode};

use given::*;

fn open(side: Side, epoch: Epoch) -> Step {
    Step::Do(Action::Open { side, epoch })
}

fn seal(side: Side, epoch: Epoch) -> Step {
    Step::Do(Action::Seal { side, epoch })
}

fn follow(from: Side) -> Step {
    Step::Do(Action::Follow { from })
}

fn verify(from: Side, scope: Scope) -> Step {
    Step::Do(Action::Verify { from, scope })
}

fn unknown(what: &str) -> Step {
    Step::Wait(Reason::Unknown { what: what.into() })
}

fn give_up(attempt: u32, why: &str, at: Timestamp) -> Step {
    Step::Record(Event::FenceGivenUp { attempt, why: why.into(), at })
}

fn intend(attempt: u32, since: Timestamp) -> Step {
    Step::Record(Event::SwitchIntended { attempt, since })
}

fn draining(attempt: u32) -> Step {
    Step::Wait(Reason::Draining { attempt })
}

fn prove(from: Side, attempt: u32, epoch: Epoch) -> Step {
    Step::Do(Action::Prove { from, attempt, epoch })
}

/// What is special, what happened, what is seen, and what is to be done.
type Rung = (&'static str, Vec<Event>, Observation, Step);

fn assert_rungs(rungs: Vec<Rung>) {
    for (case, history, seen, want) in rungs {
        let d = Deployment::fold(&history).unwrap_or_else(|refused| panic!("{case}: {refused}"));
        assert_eq!(next(&d, &seen), want, "{case}");
    }
}

#[test]
fn an_ended_deployment_does_nothing_more() {
    assert_rungs(vec![
        ("aborted", and(&asked(), [abort_asked(), Event::Aborted]), Observation::default(), Step::Done),
        ("dropped", and(&finished(), [Event::Dropped]), Observation::default(), Step::Done),
    ]);
}

#[test]
fn an_attempt_that_is_not_fenced_fences_or_is_given_up() {
    let begun = and(&ready(), [intended(1)]);
    let fence_blue = Step::Do(Action::Fence { side: Blue, attempt: 1, epoch: E1 });
    let not_compared = "this runner has not compared the sides";
    assert_rungs(vec![
        ("level", begun.clone(), blue(|_| {}), fence_blue.clone()),
        (
            "paused meanwhile: what was begun goes on",
            and(&begun, [paused()]),
            blue(|_| {}),
            fence_blue.clone(),
        ),
        (
            "no lag read: the drain will tell",
            begun.clone(),
            blue(|s| stream(s).lag = None),
            fence_blue.clone(),
        ),
        ("patience just not over", begun.clone(), blue(|s| s.now = after(2_050)), fence_blue),
        (
            "patience over",
            begun.clone(),
            blue(|s| s.now = after(2_051)),
            give_up(1, "the fence did not close in time", after(2_051)),
        ),
        ("no stream", begun.clone(), blue(|s| s.blue.stream = None), give_up(1, not_compared, T0)),
        (
            "nothing compared",
            begun.clone(),
            blue(|s| stream(s).unproved = None),
            give_up(1, not_compared, T0),
        ),
        (
            "abort was asked",
            and(&begun, [abort_asked()]),
            blue(|_| {}),
            give_up(1, "the deployment was aborted", T0),
        ),
        (
            "back again",
            and(&on_green(), [switch_asked(Blue), intended(2)]),
            green(|_| {}),
            Step::Do(Action::Fence { side: Green, attempt: 2, epoch: e2() }),
        ),
    ]);
}

#[test]
fn clients_are_held_before_the_fence() {
    let begun = and(&ready(), [intended(1)]);
    let strict = and(&begun, [policy_set(|p| p.reads = ReadsPolicy::Strict)]);
    let no_time: DurationText = "0ms".parse().expect("a duration");
    let unheld = and(&begun, [policy_set(|p| p.hold_max = no_time)]);
    let strict_and_unheld =
        and(&begun, [policy_set(|p| (p.reads, p.hold_max) = (ReadsPolicy::Strict, no_time))]);
    let hold = |reads| Step::Hold { attempt: 1, epoch: E1, reads };
    let fence_blue = Step::Do(Action::Fence { side: Blue, attempt: 1, epoch: E1 });
    let held = |held: Option<Held>| blue(|s| s.held = held);
    let quiet = Held { followers: 3, ..Held::default() };
    let busy = Held { stragglers: vec!["proxy at a: 2 run".into(), "router at b".into()], ..quiet.clone() };
    let down = Held { trouble: Some("etcd cannot be reached".into()), ..Held::default() };
    let not_quiet = "reads are strict, and not quiet within 50ms: proxy at a: 2 run; router at b";
    let not_known = "reads are strict, and it is not known who reads: etcd cannot be reached";
    assert_rungs(vec![
        ("nobody was asked", begun.clone(), held(None), hold(false)),
        ("reads are asked too", strict.clone(), held(None), hold(true)),
        ("the policy asks nobody", unheld, held(None), fence_blue.clone()),
        ("strict asks whatever else is said", strict_and_unheld, held(None), hold(true)),
        ("quiet", begun.clone(), held(Some(quiet.clone())), fence_blue.clone()),
        ("quiet and strict", strict.clone(), held(Some(quiet)), fence_blue.clone()),
        (
            "not quiet: the fence waits for writers",
            begun.clone(),
            held(Some(busy.clone())),
            fence_blue.clone(),
        ),
        ("not quiet and strict", strict.clone(), held(Some(busy)), give_up(1, not_quiet, T0)),
        ("no registry: the databases guard", begun.clone(), held(Some(down.clone())), fence_blue),
        ("no registry and strict", strict, held(Some(down)), give_up(1, not_known, T0)),
        (
            "nothing to switch with: nobody is asked to wait",
            begun.clone(),
            blue(|s| (s.held, s.blue.stream) = (None, None)),
            give_up(1, "this runner has not compared the sides", T0),
        ),
        (
            "too late: nobody is asked to wait",
            begun.clone(),
            blue(|s| (s.held, s.now) = (None, after(2_051))),
            give_up(1, "the fence did not close in time", after(2_051)),
        ),
        (
            "back again",
            and(&on_green(), [switch_asked(Blue), intended(2)]),
            green(|s| s.held = None),
            Step::Hold { attempt: 2, epoch: e2(), reads: false },
        ),
        (
            "fenced: who held no longer matters",
            and(&begun, [fenced(1)]),
            drained(1, |s| s.held = None),
            prove(Blue, 1, e2()),
        ),
    ]);
}

#[test]
fn a_fenced_attempt_is_drained_and_proved_or_given_up() {
    let stands = and(&ready(), [intended(1), fenced(1)]);
    let second = and(&ready(), [intended(1), fenced(1), given_up(1), unfenced(1), intended(2), fenced(2)]);
    let back = and(&on_green(), [switch_asked(Blue), intended(2), fenced(2)]);
    let too_long = "writers were refused for as long as the policy allows";
    let blind = Observation { now: after(2_001), ..Observation::default() };
    assert_rungs(vec![
        ("no barrier", stands.clone(), drained(1, |s| stream(s).barrier = None), draining(1)),
        ("the barrier", stands.clone(), drained(1, |_| {}), prove(Blue, 1, e2())),
        ("an older barrier", second.clone(), drained(1, |_| {}), draining(2)),
        ("its own barrier", second, drained(2, |_| {}), prove(Blue, 2, e2())),
        ("green's barrier", back, green(|s| reverse_stream(s).barrier = Some(2)), prove(Green, 2, e3())),
        ("pause just not over", stands.clone(), drained(1, |s| s.now = after(2_000)), prove(Blue, 1, e2())),
        (
            "pause over, drained",
            stands.clone(),
            drained(1, |s| s.now = after(2_001)),
            give_up(1, too_long, after(2_001)),
        ),
        ("pause over, blind", stands.clone(), blind, give_up(1, too_long, after(2_001))),
        (
            "a longer pause was allowed meanwhile",
            and(&stands, [policy_set(|p| p.pause_max = "5s".parse().expect("a duration"))]),
            drained(1, |s| s.now = after(2_001)),
            prove(Blue, 1, e2()),
        ),
        (
            "no stream",
            stands.clone(),
            drained(1, |s| s.blue.stream = None),
            give_up(1, "the stream broke", T0),
        ),
        (
            "nothing compared",
            stands.clone(),
            drained(1, |s| stream(s).unproved = None),
            give_up(1, "this runner has not compared the sides", T0),
        ),
        (
            "abort was asked",
            and(&stands, [abort_asked()]),
            drained(1, |_| {}),
            give_up(1, "the deployment was aborted", T0),
        ),
    ]);
}

#[test]
fn a_given_up_attempt_opens_the_home_before_it_is_over() {
    let over = and(&ready(), [intended(1), fenced(1), given_up(1)]);
    assert_rungs(vec![
        ("fence not read", over.clone(), Observation::default(), unknown("the home's fence")),
        ("closed", over.clone(), blue(|s| s.blue.fence = fence(false, E1)), open(Blue, E1)),
        ("no row", over.clone(), blue(|s| s.blue.fence = Some(None)), open(Blue, E1)),
        ("open at another epoch", over.clone(), blue(|s| s.blue.fence = fence(true, e2())), open(Blue, E1)),
        ("open", over.clone(), blue(|_| {}), Step::Record(unfenced(1))),
        (
            "abort was asked",
            and(&over, [abort_asked()]),
            blue(|s| s.blue.fence = fence(false, E1)),
            open(Blue, E1),
        ),
    ]);
}

#[test]
fn an_abort_cleans_whatever_can_be_seen() {
    let clean = Step::Do(Action::Clean);
    let gave_up = [intended(1), given_up(1), unfenced(1), abort_asked()];
    assert_rungs(vec![
        ("before anything", and(&asked(), [abort_asked()]), Observation::default(), clean.clone()),
        ("paused", and(&ready(), [paused(), abort_asked()]), blue(|_| {}), clean.clone()),
        ("after an attempt", and(&ready(), gave_up), blue(|_| {}), clean.clone()),
        ("after a rollback", and(&rolled_back(), [abort_asked()]), level(Blue, e3()), clean),
    ]);
}

#[test]
fn the_retired_copy_is_kept_and_then_dropped() {
    const DAYS_14: u64 = 14 * 24 * 60 * 60 * 1000;
    let left = |left| Step::Wait(Reason::Retained { left });
    assert_rungs(vec![
        (
            "just finished, blind",
            finished(),
            Observation { now: T0, ..Observation::default() },
            left(DAYS_14),
        ),
        ("the last moment", finished(), green(|s| s.now = after(DAYS_14 - 1)), left(1)),
        ("kept long enough", finished(), green(|s| s.now = after(DAYS_14)), Step::Do(Action::DropCopy)),
        ("the clock went back", finished(), green(|s| s.now = Timestamp(0)), left(DAYS_14)),
    ]);
}

#[test]
fn the_home_is_held_open_and_the_other_side_closed() {
    let decided = and(&ready(), [intended(1), fenced(1), switched(1, Green, e2())]);
    let held = "the other side's fence";
    assert_rungs(vec![
        ("home not read", ready(), blue(|s| s.blue.fence = None), unknown("the home's fence")),
        ("home closed", ready(), blue(|s| s.blue.fence = fence(false, E1)), open(Blue, E1)),
        ("home without a row", ready(), blue(|s| s.blue.fence = Some(None)), open(Blue, E1)),
        ("home at another epoch", ready(), blue(|s| s.blue.fence = fence(true, e2())), open(Blue, E1)),
        ("other not read", ready(), blue(|s| s.green.fence = None), unknown(held)),
        ("other open", ready(), blue(|s| s.green.fence = fence(true, E1)), seal(Green, E1)),
        ("other without a row", ready(), blue(|s| s.green.fence = Some(None)), seal(Green, E1)),
        ("other at another epoch", ready(), blue(|s| s.green.fence = fence(false, e2())), seal(Green, E1)),
        (
            "held although paused",
            and(&ready(), [paused()]),
            blue(|s| s.blue.fence = Some(None)),
            open(Blue, E1),
        ),
        ("just switched", decided.clone(), blue(|s| s.blue.fence = fence(false, E1)), open(Green, e2())),
        (
            "blue not read: green opens",
            decided.clone(),
            Observation { blue: Default::default(), ..blue(|_| {}) },
            open(Green, e2()),
        ),
        (
            "green open, blue fenced",
            decided.clone(),
            green(|s| s.blue.fence = fence(false, E1)),
            seal(Blue, e2()),
        ),
        ("sealed, not yet recorded", decided, green(|_| {}), seal(Blue, e2())),
        (
            "blue forgot after a failover",
            on_green(),
            green(|s| s.blue.fence = fence(true, E1)),
            seal(Blue, e2()),
        ),
    ]);
}

#[test]
fn the_way_back_ends_when_it_is_asked_for() {
    let asked = and(&on_green(), [finish_asked()]);
    assert_rungs(vec![
        ("all in place", asked.clone(), green(|_| {}), Step::Do(Action::Retire)),
        // Retiring takes green's fence row away; a crash before the entry must not wait for it to come back.
        (
            "green's row is gone",
            asked.clone(),
            green(|s| s.green.fence = Some(None)),
            Step::Do(Action::Retire),
        ),
        (
            "no streams",
            asked,
            green(|s| (s.blue.stream, s.green.stream) = (None, None)),
            Step::Do(Action::Retire),
        ),
    ]);
}

#[test]
fn a_write_past_the_guard_is_recorded_once() {
    let seen = |side, rows| Event::LeakSeen { side, rows };
    assert_rungs(vec![
        ("two rows on green", ready(), blue(|s| s.leaks = Some(2)), Step::Record(seen(Green, 2))),
        ("on blue after the switch", on_green(), green(|s| s.leaks = Some(1)), Step::Record(seen(Blue, 1))),
        ("known", and(&ready(), [seen(Green, 2)]), blue(|s| s.leaks = Some(2)), intend(1, T0)),
        (
            "one more",
            and(&ready(), [seen(Green, 2)]),
            blue(|s| s.leaks = Some(3)),
            Step::Record(seen(Green, 3)),
        ),
        (
            "while copying",
            and(&asked(), [Event::Prepared]),
            blue(|s| s.leaks = Some(1)),
            Step::Record(seen(Green, 1)),
        ),
    ]);
}

#[test]
fn rows_that_are_kept_back_are_recorded_when_they_change() {
    let seen = |from, keys| {
        let Event::RowsKeptBack(kept) = kept_back(from, keys) else { unreachable!() };
        Some(kept)
    };
    let parked = |s: &mut Observation| stream(s).parked = 1;
    let again = Step::Do(Action::CopyParked { from: Blue });
    let told = and(&ready(), [kept_back(Blue, 1)]);
    let over = and(&told, [kept_back(Blue, 0)]);
    assert_rungs(vec![
        (
            "one row of blue",
            ready(),
            blue(|s| (parked(s), s.kept_back = seen(Blue, 1)).1),
            Step::Record(kept_back(Blue, 1)),
        ),
        ("told", told.clone(), blue(|s| (parked(s), s.kept_back = seen(Blue, 1)).1), again.clone()),
        ("not known", told.clone(), blue(parked), again.clone()),
        (
            "one more",
            told.clone(),
            blue(|s| (parked(s), s.kept_back = seen(Blue, 2)).1),
            Step::Record(kept_back(Blue, 2)),
        ),
        ("all there", told, blue(|s| s.kept_back = seen(Blue, 0)), Step::Record(kept_back(Blue, 0))),
        ("that was told", over, blue(|s| s.kept_back = seen(Blue, 0)), intend(1, T0)),
        ("none ever", ready(), blue(|s| s.kept_back = seen(Blue, 0)), intend(1, T0)),
        ("of the side that is not home", ready(), blue(|s| s.kept_back = seen(Green, 1)), intend(1, T0)),
        (
            "in a soak, which does not end meanwhile",
            and(&on_green(), [kept_back(Green, 1)]),
            green(|s| (reverse_stream(s).parked = 1, s.now = after(u64::MAX / 2)).1),
            Step::Do(Action::CopyParked { from: Green }),
        ),
    ]);
}

#[test]
fn rows_are_copied_step_by_step() {
    let prepared = and(&asked(), [Event::Prepared]);
    let opened = and(&prepared, [slot(Blue)]);
    let cut = and(&opened, [planned()]);
    let wait = |reason| Step::Wait(reason);
    assert_rungs(vec![
        ("nothing yet, nothing seen", asked(), Observation::default(), Step::Do(Action::Prepare)),
        ("paused before anything", and(&asked(), [paused()]), Observation::default(), wait(Reason::Paused)),
        (
            "resumed",
            and(&asked(), [paused(), Event::Resumed]),
            Observation::default(),
            Step::Do(Action::Prepare),
        ),
        ("prepared", prepared, blue(|_| {}), Step::Do(Action::OpenSlot { side: Blue })),
        (
            "transactions not read",
            opened.clone(),
            blue(|s| s.blue.settled = None),
            unknown("blue's running transactions"),
        ),
        (
            "transactions run",
            opened.clone(),
            blue(|s| s.blue.settled = Some(false)),
            wait(Reason::RunningTransactions),
        ),
        ("transactions ended", opened.clone(), blue(|_| {}), Step::Do(Action::PlanCopy)),
        ("paused", and(&opened, [paused()]), blue(|_| {}), wait(Reason::Paused)),
        ("chunks", cut.clone(), blue(|_| {}), Step::Do(Action::Copy { chunks: chunks() })),
        (
            "chunks, no stream",
            cut,
            blue(|s| s.blue.stream = None),
            Step::Do(Action::Copy { chunks: chunks() }),
        ),
    ]);
}

#[test]
fn copied_rows_are_made_consistent_before_anything_is_built_on_them() {
    let rows = and(&asked(), [Event::Prepared, slot(Blue), planned(), copied()]);
    let park = Step::Do(Action::CopyParked { from: Blue });
    let green_slot = Step::Do(Action::OpenSlot { side: Green });
    let indexed_one_way =
        and(&asked_with(one_way), [Event::Prepared, slot(Blue), planned(), copied(), Event::Indexed]);
    assert_rungs(vec![
        ("no stream", rows.clone(), blue(|s| s.blue.stream = None), follow(Blue)),
        ("no stream, paused", and(&rows, [paused()]), blue(|s| s.blue.stream = None), follow(Blue)),
        (
            "behind the copy",
            rows.clone(),
            blue(|s| stream(s).through = Lsn(49)),
            Step::Wait(Reason::CatchingUp { to: Lsn(50) }),
        ),
        ("keys parked", rows.clone(), blue(|s| stream(s).parked = 1), park.clone()),
        ("paused", and(&rows, [paused()]), blue(|_| {}), Step::Wait(Reason::Paused)),
        ("as far as the copy", rows, blue(|s| stream(s).through = Lsn(50)), Step::Do(Action::BuildIndexes)),
        ("indexed", indexed(), blue(|_| {}), green_slot),
        ("indexed, paused", and(&indexed(), [paused()]), blue(|_| {}), Step::Wait(Reason::Paused)),
        ("indexed, keys parked", indexed(), blue(|s| stream(s).parked = 1), park),
        (
            "indexed, no way back: no slot on green",
            indexed_one_way,
            blue(|s| stream(s).unproved = None),
            verify(Blue, Scope::Full),
        ),
    ]);
}

#[test]
fn a_copy_that_follows_is_watched_and_compared() {
    let both = and(&indexed(), [slot(Green)]);
    let far = Reason::Lag { now: (1 << 20) + 1, max: 1 << 20 };
    let differs = and(&both, [verify_failed(Blue)]);
    assert_rungs(vec![
        ("green not watched", both.clone(), blue(|s| s.green.stream = None), follow(Green)),
        ("keys parked", ready(), blue(|s| stream(s).parked = 1), Step::Do(Action::CopyParked { from: Blue })),
        ("paused", and(&ready(), [paused()]), blue(|_| {}), Step::Wait(Reason::Paused)),
        ("the sides differ", differs.clone(), blue(|_| {}), Step::Wait(Reason::Different)),
        (
            "looked at by a person",
            and(&differs, [Event::Resumed]),
            blue(|s| stream(s).unproved = None),
            verify(Blue, Scope::Full),
        ),
        (
            "a consumer's query is broken",
            and(&both, [contracts_broken()]),
            blue(|_| {}),
            Step::Wait(Reason::ContractBroken),
        ),
        ("lag not read", both.clone(), blue(|s| stream(s).lag = None), unknown("the lag")),
        ("too far behind", both.clone(), blue(|s| stream(s).lag = Some((1 << 20) + 1)), Step::Wait(far)),
        (
            "close enough",
            both.clone(),
            blue(|s| (stream(s).lag, stream(s).unproved) = (Some(1 << 20), None)),
            verify(Blue, Scope::Full),
        ),
        ("way back not compared", and(&both, [verified(Blue)]), blue(|_| {}), verify(Green, Scope::Full)),
        (
            "compared by a runner that is gone",
            ready(),
            blue(|s| stream(s).unproved = None),
            verify(Blue, Scope::Full),
        ),
    ]);
}

#[test]
fn a_switch_begins_when_it_is_wanted_and_nothing_speaks_against_it() {
    let by_hand = || {
        and(
            &asked_with(|p| p.policy.switch = SwitchMode::Manual),
            [
                Event::Prepared,
                slot(Blue),
                planned(),
                copied(),
                Event::Indexed,
                slot(Green),
                verified(Blue),
                verified(Green),
            ],
        )
    };
    let tried_once = and(&ready(), [intended(1), given_up(1), unfenced(1)]);
    let one_try = policy_set(|p| p.attempts = 1);
    let used_up = and(&tried_once, [one_try]);
    assert_rungs(vec![
        ("ready", ready(), blue(|_| {}), intend(1, T0)),
        ("ready, by hand", by_hand(), blue(|_| {}), Step::Wait(Reason::SwitchByHand)),
        ("asked by hand", and(&by_hand(), [switch_asked(Green)]), blue(|_| {}), intend(1, T0)),
        (
            "asked to stay",
            and(&ready(), [switch_asked(Blue)]),
            blue(|_| {}),
            Step::Wait(Reason::SwitchByHand),
        ),
        ("no way back", ready_one_way(), blue(|_| {}), intend(1, T0)),
        ("tried just now", tried_once.clone(), blue(|_| {}), Step::Wait(Reason::BackOff { left: 200 })),
        (
            "the last moment",
            tried_once.clone(),
            blue(|s| s.now = after(199)),
            Step::Wait(Reason::BackOff { left: 1 }),
        ),
        ("waited", tried_once, blue(|s| s.now = after(200)), intend(2, after(200))),
        (
            "attempts used up",
            used_up.clone(),
            blue(|s| s.now = after(200)),
            Step::Wait(Reason::AttemptsUsedUp { attempts: 1 }),
        ),
        (
            "asked once more",
            and(&used_up, [switch_asked(Green)]),
            blue(|s| s.now = after(200)),
            intend(2, after(200)),
        ),
        ("as many keys as fit", ready(), blue(|s| stream(s).unproved = Some(PROVE_KEYS_MAX)), intend(1, T0)),
        (
            "too many keys",
            ready(),
            blue(|s| stream(s).unproved = Some(PROVE_KEYS_MAX + 1)),
            verify(Blue, Scope::Touched),
        ),
    ]);
}

#[test]
fn green_soaks_and_blue_waits_for_a_word() {
    const DAYS_7: u64 = 7 * 24 * 60 * 60 * 1000;
    let left = |left| Step::Wait(Reason::Soak { left });
    let over = Step::Record(finish_asked());
    let on_green_one_way =
        and(&ready_one_way(), [intended(1), fenced(1), switched(1, Green, e2()), settled(e2())]);
    assert_rungs(vec![
        ("no stream back", on_green(), green(|s| s.green.stream = None), follow(Green)),
        ("blue not watched", on_green(), green(|s| s.blue.stream = None), follow(Blue)),
        (
            "way back not compared by this runner",
            on_green(),
            green(|s| reverse_stream(s).unproved = None),
            verify(Green, Scope::Full),
        ),
        (
            "many keys touched while soaking",
            on_green(),
            green(|s| reverse_stream(s).unproved = Some(PROVE_KEYS_MAX + 1)),
            verify(Green, Scope::Touched),
        ),
        ("soaking", on_green(), green(|_| {}), left(DAYS_7)),
        ("soak over", on_green(), green(|s| s.now = after(DAYS_7)), over.clone()),
        (
            "soak over, paused",
            and(&on_green(), [paused()]),
            green(|s| s.now = after(DAYS_7)),
            Step::Wait(Reason::Paused),
        ),
        ("asked back", and(&on_green(), [switch_asked(Blue)]), green(|_| {}), intend(2, T0)),
        (
            "no way back: blue is watched",
            on_green_one_way.clone(),
            green(|s| (s.blue.stream, s.green.stream) = (None, None)),
            follow(Blue),
        ),
        ("no way back: soaking", on_green_one_way.clone(), green(|s| s.green.stream = None), left(DAYS_7)),
        ("no way back: soak over", on_green_one_way, green(|s| s.now = after(DAYS_7)), over),
        ("rolled back", rolled_back(), level(Blue, e3()), Step::Wait(Reason::RolledBack)),
        ("forth once more", and(&rolled_back(), [switch_asked(Green)]), level(Blue, e3()), intend(3, T0)),
    ]);
}

#[test]
fn a_plan_that_ran_its_course_is_labelled_by_facts() {
    let rows = [
        (asked(), "prepare"),
        (and(&asked(), [Event::Prepared, slot(Blue)]), "copy"),
        (indexed(), "catch-up"),
        (and(&indexed(), [slot(Green)]), "verify"),
        (ready(), "ready"),
        (and(&ready(), [intended(1)]), "switch"),
        (and(&ready(), [intended(1), fenced(1), switched(1, Green, e2())]), "switch"),
        (on_green(), "soak"),
        (rolled_back(), "rolled-back"),
        (finished(), "finished"),
        (and(&ready(), [abort_asked(), Event::Aborted]), "aborted"),
    ];
    for (history, want) in rows {
        assert_eq!(Deployment::fold(&history).expect(want).phase().as_str(), want);
    }
}

#[test]
fn consumers_are_asked_about_before_anything_switches_and_again_when_that_was_long_ago() {
    let promised = |plan: &mut Plan| {
        plan.contracts.push(ContractPlan {
            name: "billing/open".into(),
            consumer: "billing".into(),
            sql: "select 1".into(),
            parameters: Vec::new(),
            columns: ColumnsPromise::Exact,
            rows: RowsPromise::Equal,
            order: OrderPromise::Ignore,
            budget_ms: None,
        });
    };
    let ready = and(
        &asked_with(promised),
        [
            Event::Prepared,
            slot(Blue),
            planned(),
            copied(),
            Event::Indexed,
            slot(Green),
            verified(Blue),
            verified(Green),
        ],
    );
    let kept = |at| Event::ContractsKept { at, kept: Kept::default() };
    let ask = Step::Do(Action::AskContracts);
    let by_hand = |plan: &mut Plan| {
        promised(plan);
        plan.policy.switch = SwitchMode::Manual;
    };
    let waiting = and(
        &asked_with(by_hand),
        [
            Event::Prepared,
            slot(Blue),
            planned(),
            copied(),
            Event::Indexed,
            slot(Green),
            verified(Blue),
            verified(Green),
        ],
    );
    let wished = switch_asked(Green);
    let late = after(600_001);
    let at = |now: Timestamp| blue(move |s| s.now = now);
    assert_rungs(vec![
        ("never asked", ready.clone(), at(T0), ask.clone()),
        ("asked just now", and(&ready, [kept(T0)]), at(after(600_000)), intend(1, after(600_000))),
        ("asked long ago", and(&ready, [kept(T0)]), at(late), ask.clone()),
        ("broken", and(&ready, [contracts_broken()]), at(T0), Step::Wait(Reason::ContractBroken)),
        ("looked at by a person", and(&ready, [contracts_broken(), Event::Resumed]), at(T0), ask.clone()),
        ("by hand, never asked", waiting.clone(), at(T0), ask.clone()),
        ("by hand, asked long ago", and(&waiting, [kept(T0)]), at(late), Step::Wait(Reason::SwitchByHand)),
        ("by hand, and wanted now", and(&waiting, [kept(T0), wished]), at(late), ask),
    ]);
}

fn contracts_broken() -> Event {
    let broken =
        Broken { contract: "billing/open".into(), consumer: "billing".into(), what: "it differs".into() };
    Event::ContractsBroken { kept: Kept { broken: vec![broken], ..Kept::default() } }
}
