//! What opens a breaker, what it says, and how it closes.

use std::time::Duration;

use proptest::prelude::*;
use replat_model::lifecycle::breaker::{BreakerLimits, BreakerState, step, trips};
use replat_model::lifecycle::facts::{OpenTransaction, Replica, Vitals};

use super::given::NOW;

const SECOND: i64 = 1_000_000;

fn well() -> Vitals {
    Vitals {
        replicas: Some(vec![replica(Some(200), Some(4_096))]),
        connections: Some((40, 100)),
        disk_free_bytes: Some(100_000_000_000),
        ..Vitals::default()
    }
}

fn replica(lag_ms: Option<u64>, lag_bytes: Option<u64>) -> Replica {
    Replica { name: "r1".into(), lag_ms, lag_bytes }
}

fn lagging(lag_ms: Option<u64>) -> Vitals {
    Vitals { replicas: Some(vec![replica(Some(0), Some(0)), replica(lag_ms, Some(0))]), ..well() }
}

#[test]
fn every_limit_says_what_was_read_and_what_would_close_it() {
    let all = BreakerLimits {
        disk_free: Some(10_000_000_000),
        replica_log: Some(64_000_000),
        replay_per_second: 10_000_000,
        ..BreakerLimits::default()
    };
    let trusting = BreakerLimits { replica_unknown_ok: true, ..all.clone() };
    let mb = 1_000_000;
    let old = OpenTransaction { pid: 77, age_ms: 90_000_000, who: "report".into() };
    let cases = [
        ("well", well(), 0, &all, None),
        ("no replicas", Vitals { replicas: Some(vec![]), ..well() }, 900 * mb, &all, None),
        ("at the limit", lagging(Some(5_000)), 0, &all, None),
        (
            "lag",
            lagging(Some(7_200)),
            0,
            &all,
            Some(("replica r1 is 7.2 s behind, 5.0 s are allowed", "replica r1 is at most 5.0 s behind")),
        ),
        (
            "lag with the plan's log",
            lagging(Some(3_000)),
            25 * mb,
            &all,
            Some((
                "replica r1 is 3.0 s behind, and 25 MB of log that are about to be written take it 2.5 s more at \
                 10 MB a second, 5.0 s are allowed",
                "replica r1 is at most 2.5 s behind",
            )),
        ),
        (
            "the plan's log alone",
            Vitals { replicas: Some(vec![replica(Some(1), Some(0))]), ..well() },
            60 * mb,
            &all,
            Some((
                "60 MB of log",
                "less is done at once, or more than 5.0 s of lag or 10 MB a second are allowed",
            )),
        ),
        (
            "log behind",
            Vitals { replicas: Some(vec![replica(Some(1), Some(50_000_000))]), ..well() },
            20 * mb,
            &all,
            Some((
                "replica r1 is 50 MB of log behind, and 20 MB are about to be written, 64 MB are allowed",
                "replica r1 is at most 44 MB of log behind",
            )),
        ),
        (
            "lag unknown",
            lagging(None),
            0,
            &all,
            Some(("cannot be read", "can be read, or an unknown lag is allowed")),
        ),
        (
            "replicas unknown",
            Vitals { replicas: None, ..well() },
            0,
            &all,
            Some(("cannot be seen", "grant pg_monitor")),
        ),
        ("lag unknown, allowed", lagging(None), 0, &trusting, None),
        ("replicas unknown, allowed", Vitals { replicas: None, ..well() }, 0, &trusting, None),
        (
            "lag known and too high, unknown allowed",
            lagging(Some(6_000)),
            0,
            &trusting,
            Some(("6.0 s", "5.0 s")),
        ),
        (
            "an old transaction",
            Vitals { oldest_transaction: Some(old), ..well() },
            0,
            &all,
            Some((
                "process 77 of report has a transaction open for 1500 min, 1440 min are allowed",
                "process 77 ends its transaction",
            )),
        ),
        (
            "sessions",
            Vitals { connections: Some((96, 100)), ..well() },
            0,
            &all,
            Some(("96 of 100 sessions are in use, 95 % are allowed", "at most 95 sessions are in use")),
        ),
        (
            "sessions unknown",
            Vitals { connections: None, ..well() },
            0,
            &all,
            Some(("cannot be read", "can be read")),
        ),
        (
            "disk",
            Vitals { disk_free_bytes: Some(10_020_000_000), ..well() },
            30 * mb,
            &all,
            Some(("10 GB of disk are free, 30 MB of log", "at least 10 GB of disk are free")),
        ),
        (
            "disk unknown",
            Vitals { disk_free_bytes: None, ..well() },
            0,
            &all,
            Some(("cannot be read", "no limit is set")),
        ),
    ];
    for (case, vitals, wal, limits, want) in cases {
        let found = trips(&vitals, wal, limits);
        match want {
            None => assert!(found.is_empty(), "{case}: {found:?}"),
            Some((reason, closes)) => {
                assert_eq!(found.len(), 1, "{case}: {found:?}");
                assert!(found[0].reason.contains(reason), "{case}: {}", found[0].reason);
                assert!(found[0].closes_when.contains(closes), "{case}: {}", found[0].closes_when);
            }
        }
    }
    // Without limits for them, what is unknown is not asked for.
    let plain = BreakerLimits { connections_share: None, ..BreakerLimits::default() };
    assert!(trips(&Vitals { replicas: Some(vec![]), ..Vitals::default() }, 0, &plain).is_empty());
}

#[test]
fn it_opens_half_opens_by_itself_and_closes_after_one_unit() {
    let limits = BreakerLimits::default();
    let go = |state: &BreakerState, well_now: bool, after: i64| {
        let vitals = if well_now { well() } else { lagging(Some(9_000)) };
        step(state, &vitals, 0, &limits, NOW + after * SECOND)
    };
    let closed = BreakerState::Closed;
    assert_eq!(go(&closed, true, 0), BreakerState::Closed);
    let open = go(&closed, false, 0);
    assert!(!open.lets_through());
    assert_eq!(go(&open, true, 1), open, "it is not looked at before its pause is over");
    let still = go(&open, false, 5);
    let BreakerState::Open { since, times, probe_after, reason, closes_when } = &still else {
        panic!("{still:?}")
    };
    assert_eq!((*since, *times, *probe_after), (NOW, 2, NOW + 15 * SECOND), "the pause has doubled");
    assert_eq!(reason, "replica r1 is 9.0 s behind, 5.0 s are allowed");
    assert_eq!(closes_when, "replica r1 is at most 5.0 s behind");
    let half = go(&still, true, 15);
    assert_eq!(half, BreakerState::HalfOpen { times: 2 });
    assert!(half.lets_through());
    assert_eq!(go(&half, true, 16), BreakerState::Closed);
    let again = go(&half, false, 16);
    assert!(
        matches!(again, BreakerState::Open { times: 3, probe_after, .. } if probe_after == NOW + 36 * SECOND),
        "{again:?}"
    );
    let back = go(&again, true, -100_000);
    assert_eq!(back, BreakerState::HalfOpen { times: 3 }, "a clock that was set back does not keep it open");
}

#[test]
fn all_that_is_over_its_limit_is_named() {
    let vitals = Vitals { connections: Some((99, 100)), ..lagging(Some(8_000)) };
    let state = step(&BreakerState::Closed, &vitals, 0, &BreakerLimits::default(), NOW);
    let BreakerState::Open { reason, closes_when, .. } = state else { panic!("{state:?}") };
    assert!(reason.contains("8.0 s behind") && reason.contains("99 of 100"), "{reason}");
    assert!(closes_when.contains("5.0 s behind, and at most 95"), "{closes_when}");
}

proptest! {
    /// Over any course: never through while something is over its limit and just read, pauses grow and are bounded,
    /// and within two looks of a well database, past its pause, work goes on.
    #[test]
    fn it_never_lets_through_what_is_over_its_limit(course in prop::collection::vec((any::<bool>(), 0_i64..400), 1..60)) {
        let limits = BreakerLimits::default();
        let mut state = BreakerState::Closed;
        let mut now = NOW;
        for (is_well, after) in course {
            now += after * SECOND;
            let vitals = if is_well { well() } else { lagging(Some(60_000)) };
            let next = step(&state, &vitals, 0, &limits, now);
            prop_assert!(is_well || !next.lets_through(), "{next:?}");
            if let BreakerState::Open { probe_after, since, .. } = &next {
                prop_assert!(*probe_after <= now + 300 * SECOND && *since <= now);
            }
            prop_assert!(!(matches!(state, BreakerState::Open { .. }) && next == BreakerState::Closed), "not by halves");
            state = next;
        }
        now += 301 * SECOND;
        state = step(&state, &well(), 0, &limits, now);
        prop_assert!(state.lets_through());
        prop_assert_eq!(step(&state, &well(), 0, &limits, now), BreakerState::Closed);
    }

    #[test]
    fn more_lag_or_log_never_closes_it(lag in 0_u64..20_000, more in 0_u64..20_000, wal in 0_u64..1 << 40, extra in 0_u64..1 << 40) {
        let limits = BreakerLimits { replica_lag: Duration::from_secs(5), ..BreakerLimits::default() };
        let less = trips(&lagging(Some(lag)), wal, &limits).len();
        prop_assert!(trips(&lagging(Some(lag + more)), wal + extra, &limits).len() >= less);
    }
}
