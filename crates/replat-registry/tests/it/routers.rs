//! Routers that follow: the crate `replat-router` by each registry, through a restart of its server.

use std::sync::Arc;
use std::time::Duration;

use replat_engine::registry::{Attendance, HoldCall, Registry};
use replat_model::deploy::Timestamp;
use replat_registry::Publisher;
use replat_router::{Intent, Refused, Router, Settings, Who, follow};

use crate::routes::{CONTEXT, Versions, first, partition};
use crate::servers::{Machine, PROJECT, Place, seal};

const ID: &str = "router-of-this-test";
/// Long enough for a busy machine to renew it, and short enough to see it end.
const LEASE: Duration = Duration::from_secs(4);

async fn attending(registry: &dyn Registry, wanted: impl Fn(&Attendance) -> bool) {
    loop {
        let all = registry.attending(CONTEXT).await.unwrap_or_default();
        if all.iter().any(|who| who.id == ID && wanted(who)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until(router: &Router, so: impl Fn(&Router) -> bool) {
    while !so(router) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn a_router_goes_on_after_a_restart(place: &Place, mut machine: Machine) {
    let versions = Arc::new(Versions::new(first(PROJECT, 4)));
    let registry = Arc::new(place.registry());
    let publisher = Publisher::new(registry.clone(), versions.clone(), seal(), || Timestamp(1));
    publisher.bring(CONTEXT).await.expect("it is brought");
    let settings = Settings { lease: LEASE, ..Settings::default() };
    let router = Router::new(PROJECT, CONTEXT, settings);
    let who = Who { id: ID.into(), kind: "router".into(), place: "here".into() };
    let task = tokio::spawn(follow(router.clone(), Arc::new(place.registry()), who));
    until(&router, Router::is_current).await;
    let zero = partition(0);
    assert_eq!(router.find_partition(&zero).expect("it is current").home.database, "blue");

    // A switch is heard of, and attendance says so.
    let moved = versions.advance(1);
    publisher.bring(CONTEXT).await.expect("it is brought");
    attending(&*registry, |who| who.version == moved.version()).await;
    until(&router, |router| router.version() == moved.version()).await;

    // While its server is gone, it serves as long as its lease lasts, and nothing afterwards.
    machine.kill().await;
    router.find_partition(&zero).expect("the lease lasts a while");
    until(&router, |router| !router.is_current()).await;
    let refused = router.try_enter(&zero, Intent::Read).map(drop).expect_err("its routes may be old");
    assert!(matches!(refused, Refused::Stale { .. }), "{refused:?}");
    let trouble = router.trouble().expect("it says what is the matter");
    assert!(!trouble.is_empty());
    machine.start_again().await;

    // It goes on by itself, and gets what it missed.
    let missed = versions.advance(3);
    while publisher.bring(CONTEXT).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    until(&router, |router| router.is_current() && router.version() == missed.version()).await;
    until(&router, |router| router.trouble().is_none()).await;
    let route = missed.partition(&zero).expect("it is there");
    assert_eq!(router.find_partition(&zero).expect("it is current").home, route.leaf.home);

    // A hold is obeyed, answered as soon as nothing runs, and over when it is taken back.
    let busy = router.try_enter(&zero, Intent::Write).expect("it is current");
    let until_ms = registry.clock().await.expect("it answers").0 + 60_000;
    let hold = HoldCall {
        context: CONTEXT.into(),
        partition: zero.clone(),
        deployment: "d1".into(),
        attempt: 1,
        epoch: route.leaf.epoch,
        reads: true,
        to: None,
        until: Timestamp(until_ms),
    };
    registry.hold(&hold, 60_000).await.expect("it is called");
    attending(&*registry, |who| who.answers.iter().any(|answer| answer.busy == 1)).await;
    drop(busy);
    attending(&*registry, |who| who.answers.iter().any(|answer| answer.busy == 0)).await;
    assert!(router.try_enter(&zero, Intent::Write).is_err(), "it is held");
    registry.release(CONTEXT, &zero, 1).await.expect("it is taken back");
    until(&router, |router| router.try_enter(&zero, Intent::Write).is_ok()).await;
    task.abort();
}
