//! Following a registry: fresh, through faults, and with answers to holds.

use std::sync::Arc;
use std::time::Duration;

use replat_engine::registry::HoldCall;
use replat_model::deploy::Timestamp;
use replat_router::{Intent, Refreshed, Refused, Router, Settings, Staleness, Who, follow, follow_until};
use tokio::task::JoinHandle;

use crate::memory::Memory;
use crate::scene::{HandClock, acme, at, epoch, globex, moved, name, routes, tenants};

const LONG: Duration = Duration::from_secs(60);

fn who() -> Who {
    Who { id: "r1".into(), kind: "router".into(), place: "here".into() }
}

fn settings() -> Settings {
    Settings { staleness: Staleness::Closed, ..Settings::default() }
}

/// A router that follows, and the task.
fn following(memory: &Arc<Memory>) -> (Router, JoinHandle<()>) {
    let router = Router::new("shop", "tenants", settings());
    let task = tokio::spawn(follow(router.clone(), memory.clone(), who()));
    (router, task)
}

fn call(memory: &Memory, attempt: u32) -> HoldCall {
    HoldCall {
        context: "tenants".into(),
        partition: name("acme"),
        deployment: "d7".into(),
        attempt,
        epoch: epoch(1),
        reads: false,
        to: None,
        until: Timestamp(memory.kept().clock + 30_000),
    }
}

async fn until_version(router: &Router, version: u64) {
    router.versions().wait_for(|have| *have >= version).await.expect("the router is there");
}

async fn until_current(router: &Router) {
    while !router.is_current() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_published_is_served_and_attended() {
    let memory = Memory::with(&routes(tenants()));
    let (router, task) = following(&memory);
    let pass = router.enter(&acme(), Intent::Write, LONG).await;
    // The task may not have begun to follow before the request came.
    let pass = match pass {
        Err(Refused::NoRoutes { .. }) => {
            until_current(&router).await;
            router.enter(&acme(), Intent::Write, LONG).await
        }
        other => other,
    };
    assert_eq!(pass.expect("a pass").destination().home, at("blue"));
    memory.put(&moved(&routes(tenants()), "green"));
    until_version(&router, 2).await;
    assert_eq!(router.find(&acme()).expect("current").home, at("green"));
    memory.until(|kept| kept.attending.get("r1").is_some_and(|who| who.version == 2)).await;
    assert_eq!(router.trouble(), None);
    task.abort();
}

#[tokio::test]
async fn a_hold_is_answered_when_it_is_quiet_and_ends_with_newer_routes() {
    let memory = Memory::with(&routes(tenants()));
    let (router, task) = following(&memory);
    until_current(&router).await;
    let busy = router.enter(&acme(), Intent::Write, LONG).await.expect("a pass");
    memory.call(call(&memory, 1));
    memory.until(|kept| kept.attending["r1"].answers.first().is_some_and(|answer| answer.busy == 1)).await;
    let waiting = tokio::spawn({
        let router = router.clone();
        async move { router.enter(&acme(), Intent::Write, LONG).await }
    });
    router.enter(&globex(), Intent::Write, LONG).await.expect("another partition");
    drop(busy);
    memory.until(|kept| kept.attending["r1"].answers.first().is_some_and(|answer| answer.busy == 0)).await;
    assert!(!waiting.is_finished());
    memory.put(&moved(&routes(tenants()), "green"));
    let pass = waiting.await.expect("no panic").expect("released");
    assert_eq!((pass.epoch(), &pass.destination().home), (epoch(2), &at("green")));
    memory.until(|kept| kept.attending["r1"].answers.is_empty() && kept.attending["r1"].version == 2).await;
    task.abort();
}

#[tokio::test]
async fn a_hold_that_is_taken_back_ends_and_another_deployments_counts() {
    let memory = Memory::with(&routes(tenants()));
    let (router, task) = following(&memory);
    until_current(&router).await;
    memory.call(call(&memory, 5));
    memory.until(|kept| !kept.attending["r1"].answers.is_empty()).await;
    memory.call(HoldCall { deployment: "d8".into(), ..call(&memory, 1) });
    memory.until(|kept| kept.attending["r1"].answers.first().is_some_and(|answer| answer.attempt == 1)).await;
    memory.kept().holds.clear();
    memory.stir();
    memory.until(|kept| kept.attending["r1"].answers.is_empty()).await;
    assert_eq!(router.try_enter(&acme(), Intent::Write).expect("an open gate").epoch(), epoch(1));
    task.abort();
}

/// Routers that were told of a hold and then cut off wait no longer than it lasts; and then the lease is over.
#[tokio::test(start_paused = true)]
async fn a_registry_that_is_gone_costs_freshness_and_the_hold_ends_by_itself() {
    let clock = HandClock::new();
    let memory = Memory::with(&routes(tenants()));
    let router = clock.router(settings());
    let task = tokio::spawn(follow(router.clone(), memory.clone(), who()));
    until_current(&router).await;
    memory.call(call(&memory, 1));
    memory.until(|kept| !kept.attending["r1"].answers.is_empty()).await;
    memory.kept().down = true;
    // By the registry's clock it lasts 30 s.
    let waiting = tokio::spawn({
        let router = router.clone();
        async move { router.enter(&acme(), Intent::Write, Duration::from_secs(120)).await }
    });
    for _ in 0..28 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        clock.pass(Duration::from_secs(1));
    }
    assert!(!waiting.is_finished(), "the hold lasts");
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        clock.pass(Duration::from_secs(1));
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!waiting.is_finished(), "the hold is over, but so is the lease");
    assert!(matches!(router.try_enter(&globex(), Intent::Read), Err(Refused::Stale { .. })));
    let trouble = router.trouble().expect("it is known what is wrong");
    assert!(trouble.contains("memory") && trouble.contains("refused"), "{trouble}");

    // It was switched meanwhile.
    memory.kept().holds.clear();
    memory.kept().down = false;
    memory.put(&moved(&routes(tenants()), "green"));
    assert_eq!(waiting.await.expect("no panic").expect("served").epoch(), epoch(2));
    assert_eq!(router.trouble(), None);
    task.abort();
}

/// The story of a process that slept through a switch: the first request afterwards waits for what is new.
#[tokio::test(start_paused = true)]
async fn a_router_that_slept_through_a_switch_serves_nothing_of_before() {
    let clock = HandClock::new();
    let memory = Memory::with(&routes(tenants()));
    let router = clock.router(settings());
    let task = tokio::spawn(follow(router.clone(), memory.clone(), who()));
    until_current(&router).await;
    memory.kept().envelopes.clear();
    memory.kept().envelopes.extend({
        let other = Memory::with(&moved(&routes(tenants()), "green"));
        let kept = other.kept();
        kept.envelopes.clone()
    });
    clock.freeze(Duration::from_secs(600));
    assert!(matches!(router.try_enter(&acme(), Intent::Write), Err(Refused::Stale { .. })));
    let pass = router.enter(&acme(), Intent::Write, LONG).await.expect("renewed");
    assert_eq!(pass.epoch(), epoch(2), "not what it had before it slept");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_cannot_be_written_renews_no_lease() {
    let clock = HandClock::new();
    let memory = Memory::with(&routes(tenants()));
    let router = clock.router(settings());
    let task = tokio::spawn(follow(router.clone(), memory.clone(), who()));
    until_current(&router).await;
    memory.kept().read_only = true;
    clock.pass(Duration::from_secs(11));
    let reads = memory.kept().reads;
    let refused = router.enter(&acme(), Intent::Write, Duration::from_secs(3)).await;
    assert!(matches!(refused, Err(Refused::Stale { .. })), "{refused:?}");
    let asked = memory.kept().reads - reads;
    assert!(asked < 20, "one request asked {asked} times in 3 s");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_taken_is_told_and_what_is_there_goes_on() {
    let memory = Memory::with(&routes(tenants()));
    let (router, task) = following(&memory);
    until_current(&router).await;
    let other = serde_json::to_string(&moved(&routes(tenants()), "green")).expect("text");
    let rows = [
        ("no JSON", "{".to_owned(), "cannot be read"),
        ("another version than it says", other.clone(), "says version 2"),
        (
            "another project's",
            other.replace("\"shop\"", "\"other\"").replace("\"version\":2", "\"version\":9"),
            "other",
        ),
    ];
    for (case, body, want) in rows {
        memory.put_body(9, None, body);
        assert_eq!(router.refresh(LONG).await, Refreshed::NotInTime, "{case}");
        let trouble = router.trouble().expect(case);
        assert!(trouble.contains(want), "{case}: {trouble}");
        assert_eq!(router.version(), 1, "{case}");
        memory.kept().envelopes.pop();
    }
    memory.put(&moved(&routes(tenants()), "green"));
    until_version(&router, 2).await;
    assert_eq!(router.refresh(LONG).await, Refreshed::Newest);
    task.abort();
}

#[tokio::test]
async fn whoever_stops_serves_no_more_and_says_so() {
    let memory = Memory::with(&routes(tenants()));
    let router = Router::new("shop", "tenants", settings());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let until = async move { drop(stopped.await) };
    let task = tokio::spawn(follow_until(router.clone(), memory.clone(), who(), until));
    until_current(&router).await;
    memory.until(|kept| kept.attending.contains_key("r1")).await;
    stop.send(()).expect("it follows");
    task.await.expect("no panic");
    assert!(memory.kept().attending.is_empty());
    assert!(matches!(router.try_enter(&acme(), Intent::Write), Err(Refused::Stale { .. })));
    assert_eq!(router.refresh(LONG).await, Refreshed::Nobody);
}

#[tokio::test]
async fn deltas_are_followed_and_what_does_not_fit_is_read_as_a_whole() {
    let first = routes(tenants());
    let memory = Memory::with(&first);
    let (router, task) = following(&memory);
    until_current(&router).await;
    let second = moved(&first, "green");
    let third = moved(&second, "blue");
    memory.put_delta(&first, &second);
    until_version(&router, 2).await;
    assert_eq!(router.find(&acme()).expect("current").home, at("green"));
    memory.put_delta(&second, &third);
    until_version(&router, 3).await;
    assert_eq!(*router.routes().expect("routes"), third);

    // A newcomer reads the whole and what came after it.
    let (newcomer, task2) = following(&memory);
    until_version(&newcomer, 3).await;
    task2.abort();

    // The registry has dropped what came between; then it has whole routes that are newer.
    let fourth = moved(&third, "green");
    let fifth = moved(&fourth, "blue");
    // It says so by a delta that does not follow.
    memory.kept().envelopes.clear();
    memory.kept().deltas_only = true;
    memory.put(&fourth);
    memory.put_delta(&fourth, &fifth);
    until_version(&router, 5).await;
    assert_eq!(*router.routes().expect("routes"), fifth);

    // A delta of another project is not taken, and the next whole routes are.
    let sixth = moved(&fifth, "green");
    let damaged = serde_json::to_string(&fifth.delta(&sixth).expect("a delta")).expect("text");
    memory.put_body(6, Some(5), damaged.replace("\"shop\"", "\"other\""));
    while router.trouble().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(router.version(), 5);
    memory.kept().envelopes.clear();
    memory.kept().deltas_only = false;
    memory.put(&sixth);
    until_version(&router, 6).await;
    task.abort();
}

/// Whoever asked for the hold has switched, and has died before the word of it came here.
#[tokio::test(start_paused = true)]
async fn after_a_hold_that_is_over_the_newest_routes_are_asked_for_first() {
    let clock = HandClock::new();
    let memory = Memory::with(&routes(tenants()));
    let router = clock.router(settings());
    let task = tokio::spawn(follow(router.clone(), memory.clone(), who()));
    until_current(&router).await;
    // The first wait for changes ends at once; what is read after it is not what this is about.
    memory.until(|kept| kept.reads >= 2).await;
    router.hold(&replat_router::Hold { lasts: Duration::from_millis(500), ..crate::scene::hold_acme(1, 1) });
    // Published, and nobody was woken by it.
    let published = Memory::with(&moved(&routes(tenants()), "green"));
    memory.kept().envelopes.clone_from(&published.kept().envelopes);
    let waiting = tokio::spawn({
        let router = router.clone();
        async move { router.enter(&acme(), Intent::Write, LONG).await }
    });
    while router.answers().first().is_none_or(|answer| answer.held == 0) {
        tokio::task::yield_now().await;
    }
    clock.pass(Duration::from_millis(500));
    assert_eq!(waiting.await.expect("no panic").expect("a pass").epoch(), epoch(2));
    task.abort();
}
