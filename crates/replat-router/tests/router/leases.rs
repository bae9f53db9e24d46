//! A router that may be old says so, and serves what its settings permit.

use std::time::Duration;

use replat_router::clock::Clock;
use replat_router::{Intent, NotTaken, Refused, Router, Settings, Staleness};

use crate::scene::{HandClock, acme, at, moved, name, routes, tenants};

const LEASE: Duration = Duration::from_secs(10);

fn settings(staleness: Staleness) -> Settings {
    Settings { staleness, lease: LEASE, ..Settings::default() }
}

/// Whether it serves a read and a write.
fn serves(router: &Router) -> (bool, bool) {
    let one = |intent| match router.try_enter(&acme(), intent) {
        Ok(_) => true,
        Err(Refused::Stale { .. } | Refused::NoRoutes { .. }) => false,
        Err(other) => panic!("{other}"),
    };
    (one(Intent::Read), one(Intent::Write))
}

#[test]
fn a_router_serves_for_as_long_as_its_lease_lasts() {
    for (staleness, without) in [
        (Staleness::Closed, (false, false)),
        (Staleness::Reads, (true, false)),
        (Staleness::All, (true, true)),
    ] {
        let clock = HandClock::new();
        let router = clock.router(settings(staleness));
        assert_eq!(serves(&router), (false, false), "{staleness:?}: without routes");
        router.take(routes(tenants())).expect("the first routes");
        assert_eq!(serves(&router), without, "{staleness:?}: without a lease");
        router.confirmed(clock.now());
        assert_eq!(serves(&router), without, "{staleness:?}: read, but not attended");
        router.attended(clock.now());
        assert_eq!(serves(&router), (true, true), "{staleness:?}: with a lease");
        assert!(router.is_current());

        let sent = clock.now();
        clock.pass(LEASE - Duration::from_millis(1));
        assert_eq!(serves(&router), (true, true), "{staleness:?}: at its end");
        router.confirmed(clock.now());
        clock.pass(Duration::from_millis(1));
        assert_eq!(serves(&router), without, "{staleness:?}: after it");
        router.attended(sent);
        assert_eq!(serves(&router), without, "{staleness:?}: counted from before the request");
        router.attended(clock.now());
        assert_eq!(serves(&router), (true, true), "{staleness:?}: renewed");

        clock.freeze(Duration::from_secs(600));
        assert_eq!(serves(&router), without, "{staleness:?}: after a sleep that only the wall clock saw");
        router.attended(clock.now());
        assert_eq!(serves(&router), without, "{staleness:?}: attended, but what it has may be old");
        router.confirmed(clock.now());
        assert_eq!(serves(&router), (true, true), "{staleness:?}: up to date");
        router.end_lease();
        assert_eq!(serves(&router), without, "{staleness:?}: ended");
    }
}

#[test]
fn lookups_are_refused_as_writes_are() {
    let clock = HandClock::new();
    let router = clock.router(settings(Staleness::Reads));
    assert!(matches!(router.find(&acme()), Err(Refused::NoRoutes { .. })));
    router.take(routes(tenants())).expect("the first routes");
    for refused in [router.find(&acme()), router.find_partition(&name("acme"))] {
        let refused = refused.expect_err("no lease");
        assert_eq!(refused, Refused::Stale { context: "tenants".into(), version: 1 });
        assert!(refused.may_pass() && refused.remedy().contains("registry"));
    }
    assert_eq!(router.read_route(&acme(), 0).expect("a read").answers.home, at("blue"));
}

#[test]
fn only_newer_routes_of_the_same_context_are_taken() {
    let router = HandClock::new().router(settings(Staleness::All));
    let first = routes(tenants());
    let second = moved(&first, "green");
    router.take(second.clone()).expect("newer routes");
    let refused = [
        ("the same", second.clone(), NotTaken::Version { have: 2, got: 2 }),
        ("older", first.clone(), NotTaken::Version { have: 2, got: 1 }),
        (
            "another project's",
            replat_model::route::Routes::new(
                "other".into(),
                moved(&second, "blue").map().clone(),
                crate::scene::addresses(),
                std::collections::BTreeMap::new(),
            )
            .expect("whole routes"),
            NotTaken::Project { want: "shop".into(), got: "other".into() },
        ),
    ];
    for (case, routes, want) in refused {
        assert_eq!(router.take(routes), Err(want), "{case}");
        assert_eq!(router.find(&acme()).expect("routes").home, at("green"), "{case}");
    }
    let elsewhere = Router::new("shop", "orders", Settings::default());
    let want = NotTaken::Context { want: "orders".into(), got: "tenants".into() };
    assert_eq!(elsewhere.take(first), Err(want));
}

#[test]
fn partitions_are_found_by_name_from_version_to_version() {
    let router = HandClock::new().router(settings(Staleness::All));
    let mut routes = routes(tenants());
    router.take(routes.clone()).expect("the first routes");
    for version in 2..300 {
        assert_eq!(router.find_partition(&name("acme")).expect("it is there").epoch.get(), version - 1);
        routes = moved(&routes, if version % 2 == 0 { "green" } else { "blue" });
        router.take(routes.clone()).expect("newer routes");
        let found = router.find_partition(&name("acme")).expect("it is there");
        assert_eq!(found, router.find(&acme()).expect("it is there"));
        assert_eq!(found.version, version);
    }
    let unknown = router.find_partition(&name("initech")).expect_err("nobody");
    assert_eq!(unknown, Refused::UnknownPartition { context: "tenants".into(), partition: name("initech") });
    assert!(!unknown.may_pass());
    let arity = router.find(&[]).expect_err("no key");
    assert!(matches!(arity, Refused::Key(_)));
}
