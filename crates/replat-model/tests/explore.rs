//! Every world that the rules of a switch can reach, with a crash allowed between any two moves.
//!
//! Not a sample: a world of one partition, a few writes and two runners is small enough to visit whole. Databases,
//! streams, clients and people are a model here ([`world`], [`orders`]); the fold and the `next` that are asked are
//! the ones that the real runner asks ([`rules`]). What is kept apart, because the real thing keeps it apart: to
//! read the log, to look, to act and to append are four moves, and everything else can happen between them.
//!
//! In every world: at most one side accepts writes, and that is the home; the home has every acknowledged write; no
//! attempt both switched and was given up; whatever a runner records can stand in the log; nothing is switched that
//! was not compared; no runner just waits when the pause is over; and from everywhere each runner, left alone, finds
//! the way back to clients that can write.

#[path = "explore/fingerprint.rs"]
mod fingerprint;
#[path = "explore/moves.rs"]
mod moves;
#[path = "explore/orders.rs"]
mod orders;
#[path = "explore/plan.rs"]
mod plan;
#[path = "explore/rules.rs"]
mod rules;
#[path = "explore/world.rs"]
mod world;
#[path = "explore/worlds.rs"]
mod worlds;

use replat_model::ids::Side;

use rules::{Ask, Bounds, Flaw};
use worlds::explore;

/// One runner that may crash, and late orders: to green and back.
const THERE_AND_BACK: Bounds = Bounds {
    runners: 1,
    writes: 2,
    attempts: 2,
    events: 14,
    crashes: 1,
    ticks: 1,
    late_orders: true,
    blind: true,
    one_database: false,
    asks: &[Ask::Switch(Side::Blue)],
};

/// One runner that may crash, and people who change their minds.
const PEOPLE: Bounds =
    Bounds { writes: 1, asks: &[Ask::Switch(Side::Blue), Ask::Abort, Ask::Finish], ..THERE_AND_BACK };

/// Two runners that do not know of each other, one of which may crash: one attempt.
const TWO_RUNNERS: Bounds =
    Bounds { runners: 2, writes: 1, attempts: 1, ticks: 0, late_orders: false, asks: &[], ..THERE_AND_BACK };

/// Two runners, and a person who aborts.
const TWO_RUNNERS_AND_AN_ABORT: Bounds = Bounds { crashes: 0, asks: &[Ask::Abort], events: 8, ..TWO_RUNNERS };

/// Two runners, and a second attempt after the first.
const TWO_RUNNERS_TRY_TWICE: Bounds = Bounds { attempts: 2, events: 6, crashes: 0, ticks: 1, ..TWO_RUNNERS };

/// Both sides in one database, where opening and sealing are one transaction.
const ONE_DATABASE: Bounds = Bounds { one_database: true, ..THERE_AND_BACK };

fn assert_promises_hold(name: &str, bounds: Bounds) {
    let explored = explore(bounds, None);
    println!("{name}: {} worlds, {} moves, {} at the bounds", explored.worlds, explored.moves, explored.cut);
    if let Some(broken) = explored.violation {
        panic!("{}\n{}", broken.promise, broken.story);
    }
}

#[test]
fn one_runner_there_and_back_keeps_the_promises() {
    assert_promises_hold("there and back", THERE_AND_BACK);
}

#[test]
fn people_who_change_their_minds_break_no_promise() {
    assert_promises_hold("people", PEOPLE);
}

#[test]
fn in_one_database_the_promises_are_the_same() {
    assert_promises_hold("one database, there and back", ONE_DATABASE);
    assert_promises_hold("one database, two runners", Bounds { one_database: true, ..TWO_RUNNERS });
    let abort = Bounds { one_database: true, ..TWO_RUNNERS_AND_AN_ABORT };
    assert_promises_hold("one database, two runners and an abort", abort);
}

#[test]
fn two_runners_keep_the_promises() {
    assert_promises_hold("two runners", TWO_RUNNERS);
}

#[test]
fn two_runners_keep_the_promises_while_a_person_aborts() {
    assert_promises_hold("two runners and an abort", TWO_RUNNERS_AND_AN_ABORT);
}

#[test]
fn two_runners_keep_the_promises_in_a_second_attempt() {
    assert_promises_hold("two runners, two attempts", TWO_RUNNERS_TRY_TWICE);
}

#[test]
#[ignore = "takes minutes; the bounds are wider, the promises the same"]
fn wider_worlds_keep_the_promises() {
    let again = &[Ask::Switch(Side::Blue), Ask::Abort, Ask::Finish, Ask::Switch(Side::Green)];
    let forth_and_back_and_forth =
        Bounds { attempts: 3, events: 20, late_orders: false, asks: again, ..THERE_AND_BACK };
    assert_promises_hold("forth, back and forth", forth_and_back_and_forth);
    assert_promises_hold("two crashes", Bounds { crashes: 2, late_orders: false, ..PEOPLE });
    assert_promises_hold("two runners, late orders", Bounds { crashes: 0, late_orders: true, ..TWO_RUNNERS });
    assert_promises_hold("two runners, time", Bounds { crashes: 0, ticks: 1, ..TWO_RUNNERS });
    let back = Bounds { attempts: 2, crashes: 0, writes: 0, asks: &[Ask::Switch(Side::Blue)], ..TWO_RUNNERS };
    assert_promises_hold("two runners, there and back", back);
}

/// The promises are worth what they find: each flaw alone must break one.
#[test]
fn every_flaw_breaks_a_promise() {
    let two = Bounds { ticks: 1, asks: &[Ask::Abort], ..TWO_RUNNERS };
    let one = Bounds { attempts: 1, writes: 1, ..THERE_AND_BACK };
    let rows = [
        (Flaw::TokensIgnored, two, "green is home, and blue accepts writes"),
        (Flaw::TermOnly, two, "green is home, and blue accepts writes"),
        (Flaw::AppendUnconditional, two, "green is home, and blue accepts writes"),
        (Flaw::OpenBeforeGivingUp, two, "green is home, and blue accepts writes"),
        (Flaw::DrainNotAwaited, one, "write 0 was acknowledged and is not on green, the home"),
        (Flaw::FenceStopsNobody, one, "write 0 was acknowledged and is not on green, the home"),
        (Flaw::WritersInFlightForgotten, one, "write 0 was acknowledged and is not on green, the home"),
        (Flaw::BarrierHeardFromOthers, two, "switched, and a row was never compared in this direction"),
        (Flaw::TokensIgnored, Bounds { one_database: true, ..two }, "green is home, and blue accepts writes"),
        (Flaw::PauseWithoutEnd, one, "clients are held, and the runner waits"),
        (Flaw::NobodyReasserts, one, "clients are held for ever if A is left alone"),
    ];
    let beside = Bounds { one_database: true, ..one };
    let rows = rows.into_iter().chain([(
        Flaw::HandedOverByHalves,
        beside,
        "clients are held for ever if A is left alone",
    )]);
    for (flaw, bounds, promise) in rows {
        let broken =
            explore(bounds, Some(flaw)).violation.unwrap_or_else(|| panic!("{flaw:?} was not found"));
        println!("{flaw:?}: {}\n{}\n", broken.promise, broken.story);
        assert_eq!(broken.promise, promise, "{flaw:?}:\n{}", broken.story);
    }
}
