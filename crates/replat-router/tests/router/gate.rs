//! Gates: one partition waits, in order and within limits, and nobody comes in at an epoch that is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use replat_model::ids::PartitionId;
use replat_model::key::KeyValue;
use replat_router::{HoldOutcome, Intent, Pace, Refused, Router, Settings, Target};

use crate::scene::{acme, epoch, globex, hold_acme, moved, name, open, routes, tenants};

const LONG: Duration = Duration::from_secs(60);

/// Lets other tasks run until so many requests wait at the gate of `acme`.
async fn until_waiting(router: &Router, count: u64) {
    while router.answers().first().is_none_or(|answer| answer.held < count) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn only_writers_of_the_held_partition_wait_and_they_go_on_at_the_new_home() {
    let router = open(Settings::default());
    let running = router.try_enter(&acme(), Intent::Write).expect("an open gate");
    assert_eq!((running.epoch(), running.destination().home.database.as_str()), (epoch(1), "blue"));
    assert_eq!(router.hold(&hold_acme(1, 1)), HoldOutcome::Closed);

    let refused = router.try_enter(&acme(), Intent::Write).expect_err("a closed gate");
    assert_eq!(refused, Refused::Held { partition: name("acme") });
    router.try_enter(&acme(), Intent::Read).expect("readers do not wait");
    router.try_enter(&globex(), Intent::Write).expect("another partition");

    let waiting = tokio::spawn({
        let router = router.clone();
        async move { router.enter(&name("acme"), Intent::Write, LONG).await }
    });
    until_waiting(&router, 1).await;
    let answers = router.answers();
    assert_eq!((answers[0].busy, answers[0].held, answers[0].attempt), (1, 1, 1));

    let quiet = tokio::spawn({
        let router = router.clone();
        async move { router.quiet(&name("acme"), 1).await }
    });
    tokio::task::yield_now().await;
    assert!(!quiet.is_finished(), "one is still inside");
    drop(running);
    quiet.await.expect("no panic").expect("it is quiet");
    assert_eq!(router.answers()[0].busy, 0);

    router.take(moved(&router.routes().expect("routes"), "green")).expect("newer routes");
    let pass = waiting.await.expect("no panic").expect("released");
    assert_eq!((pass.epoch(), pass.destination().home.database.as_str()), (epoch(2), "green"));
    assert_eq!(router.answers(), []);
    assert_eq!(router.hold(&hold_acme(1, 1)), HoldOutcome::Past, "a late call closes nothing");
    router.try_enter(&acme(), Intent::Write).expect("an open gate");
}

#[tokio::test]
async fn a_hold_of_readers_lets_nobody_in_and_waits_for_readers() {
    let router = open(Settings::default());
    let reading = router.try_enter(&acme(), Intent::Read).expect("an open gate");
    let writers_only = hold_acme(1, 1);
    router.hold(&writers_only);
    router.quiet(&name("acme"), 1).await.expect("readers do not count");
    let both = replat_router::Hold { reads: true, ..writers_only };
    assert_eq!(router.hold(&both), HoldOutcome::Closed);
    assert_eq!(router.answers()[0].busy, 1);
    router.try_enter(&acme(), Intent::Read).expect_err("readers wait");
    drop(reading);
    router.quiet(&name("acme"), 1).await.expect("quiet");
    assert!(router.release(&name("acme"), 1));
    router.try_enter(&acme(), Intent::Read).expect("an open gate");
}

#[tokio::test]
async fn holds_obey_the_order_of_attempts() {
    let router = open(Settings::default());
    assert_eq!(router.hold(&hold_acme(2, 1)), HoldOutcome::Closed);
    assert_eq!(router.hold(&hold_acme(1, 1)), HoldOutcome::Superseded);
    assert!(!router.release(&name("acme"), 1), "a late release of an earlier attempt");
    router.quiet(&name("acme"), 1).await.expect_err("not this attempt's hold");
    assert_eq!(router.hold(&hold_acme(3, 1)), HoldOutcome::Closed);
    assert!(router.release(&name("acme"), 3));
    assert!(!router.release(&name("acme"), 3), "once");
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_no_longer_than_its_limit_and_a_hold_no_longer_than_it_lasts() {
    let router = open(Settings::default());
    router.hold(&hold_acme(1, 1));
    let began = tokio::time::Instant::now();
    let refused = router.enter(&acme(), Intent::Write, Duration::from_millis(250)).await;
    assert_eq!(refused.expect_err("held"), Refused::Held { partition: name("acme") });
    assert!(began.elapsed() >= Duration::from_millis(250));
    assert_eq!(router.answers()[0].held, 0, "whoever has given up is not counted");

    let over = replat_router::Hold { lasts: Duration::ZERO, ..hold_acme(2, 1) };
    router.hold(&over);
    router.quiet(&name("acme"), 2).await.expect_err("a hold that is over");
    let pass = router.enter(&acme(), Intent::Write, LONG).await.expect("whoever asked is gone");
    assert_eq!(pass.epoch(), epoch(1));
    assert_eq!(router.answers(), []);
}

#[tokio::test(start_paused = true)]
async fn those_who_waited_go_on_at_their_pace() {
    let every = Duration::from_millis(10);
    let router = open(Settings { pace: Pace::Batches { size: 2, every }, ..Settings::default() });
    router.hold(&hold_acme(1, 1));
    let began = tokio::time::Instant::now();
    let all: Vec<_> = (0..6)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move {
                router.enter(&acme(), Intent::Write, LONG).await.expect("released");
                began.elapsed().as_millis() / 10
            })
        })
        .collect();
    until_waiting(&router, 6).await;
    router.release(&name("acme"), 1);
    let mut turns = Vec::new();
    for one in all {
        turns.push(one.await.expect("no panic"));
    }
    turns.sort_unstable();
    assert_eq!(turns, [0, 0, 1, 1, 2, 2]);
}

#[tokio::test]
async fn a_key_that_is_cut_out_while_it_waits_goes_with_its_new_partition() {
    let router = open(Settings::default());
    router.hold(&hold_acme(1, 1));
    let by_key = tokio::spawn({
        let router = router.clone();
        async move { router.enter(&[KeyValue::Int(2)], Intent::Write, LONG).await }
    });
    until_waiting(&router, 1).await;
    let whole = router.routes().expect("routes");
    let selection = replat_model::map::Selection::parse("tenant_id=2", whole.map().dimensions());
    let (map, carved) = whole.map().carve(&selection.expect("a selection")).expect("a cut");
    router.take(routes(map)).expect("newer routes");
    router.release(&name("acme"), 1);
    assert_eq!(*by_key.await.expect("no panic").expect("released").partition(), carved);
}

#[tokio::test]
async fn nobody_comes_in_while_the_routes_are_behind_what_was_heard() {
    let router = open(Settings::default());
    router.heard(&name("acme"), epoch(2));
    let behind = Refused::Behind { partition: name("acme"), have: epoch(1), known: epoch(2) };
    assert_eq!(router.try_enter(&acme(), Intent::Read).expect_err("old routes"), behind);
    assert_eq!(router.enter(&acme(), Intent::Read, LONG).await.expect_err("nobody follows"), behind);
    router.try_enter(&globex(), Intent::Write).expect("another partition");
    router.take(moved(&routes(tenants()), "green")).expect("newer routes");
    assert_eq!(router.try_enter(&acme(), Intent::Write).expect("open").epoch(), epoch(2));
    router.heard(&name("acme"), epoch(2));
    router.try_enter(&acme(), Intent::Write).expect("that is known");
}

/// Who is inside, as the threads of the stress test count it themselves.
struct Judge {
    inside: AtomicI64,
    /// The least epoch at which anybody may be let in now.
    least: AtomicU64,
    entered: AtomicU64,
    stop: AtomicBool,
}

/// Switches `acme` to and fro under requests of many threads. After quiet was said, the holder's own count must be
/// zero, and every pass from then on must be of the later epoch.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_no_pass_of_an_old_epoch_is_given_after_quiet() {
    const SWITCHES: u64 = 100;
    let router = open(Settings::default());
    let judge = Arc::new(Judge {
        inside: AtomicI64::new(0),
        least: AtomicU64::new(1),
        entered: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let (router, judge) = (router.clone(), judge.clone());
            tokio::spawn(async move {
                let (key, by_name): ([KeyValue; 1], PartitionId) = (acme(), name("acme"));
                let target = if n % 2 == 0 { Target::Key(&key) } else { Target::Partition(&by_name) };
                while !judge.stop.load(Ordering::SeqCst) {
                    let least = judge.least.load(Ordering::SeqCst);
                    let pass = router.enter(target, Intent::Write, LONG).await.expect("a pass");
                    judge.inside.fetch_add(1, Ordering::SeqCst);
                    assert!(
                        pass.epoch().get() >= least,
                        "a pass at an epoch that was over before it was asked for"
                    );
                    judge.entered.fetch_add(1, Ordering::SeqCst);
                    if n % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    // No holder may have said meanwhile that this epoch is quiet.
                    let now = judge.least.load(Ordering::SeqCst);
                    assert!(pass.epoch().get() >= now, "inside at {} when {now} had begun", pass.epoch());
                    judge.inside.fetch_sub(1, Ordering::SeqCst);
                    drop(pass);
                }
            })
        })
        .collect();
    for switch in 1..=SWITCHES {
        let entered = judge.entered.load(Ordering::SeqCst);
        while judge.entered.load(Ordering::SeqCst) < entered + 20 {
            tokio::task::yield_now().await;
        }
        assert_eq!(router.hold(&hold_acme(1, switch)), HoldOutcome::Closed);
        router.quiet(&name("acme"), 1).await.expect("quiet");
        assert_eq!(judge.inside.load(Ordering::SeqCst), 0, "somebody was inside when quiet was said");
        if switch % 3 == 0 {
            // Given up: the same epoch goes on, and is switched after all at the next attempt.
            router.release(&name("acme"), 1);
            router.hold(&hold_acme(2, switch));
            router.quiet(&name("acme"), 2).await.expect("quiet");
        }
        judge.least.store(switch + 1, Ordering::SeqCst);
        let next = moved(&router.routes().expect("routes"), if switch % 2 == 0 { "blue" } else { "green" });
        router.take(next).expect("newer routes");
    }
    judge.stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("no client has seen the promise broken");
    }
    assert_eq!(router.answers(), []);
    assert!(judge.entered.load(Ordering::SeqCst) > SWITCHES * 20);
}

/// Not more gates than partitions in use, by and large.
#[tokio::test]
async fn gates_of_partitions_that_nobody_uses_go() {
    let dimension = replat_model::map::Dimension {
        column: "tenant_id".into(),
        key_type: replat_model::key::KeyType::BigInt,
    };
    let tree = serde_json::from_value(serde_json::json!({"split": "tenant_id", "hash": 20_000}));
    let map = replat_model::map::Map::build(
        "tenants",
        vec![dimension],
        Some(&tree.expect("a tree")),
        crate::scene::home("blue"),
    );
    let router = Router::fixed(routes(map.expect("a map")));
    let kept = router.try_enter(&[KeyValue::Int(0)], Intent::Write).expect("a pass");
    let began = Instant::now();
    for n in 0..50_000 {
        router.try_enter(&[KeyValue::Int(n)], Intent::Write).expect("a pass");
    }
    assert!(router.gates() < 4_000, "{} gates after {:?}", router.gates(), began.elapsed());
    let partition = kept.partition().clone();
    let hold = replat_router::Hold { partition: partition.clone(), ..hold_acme(1, 1) };
    router.hold(&hold);
    assert_eq!(router.answers()[0].busy, 1, "the gate of one who is inside is the one that is held");
    drop(kept);
    router.quiet(&partition, 1).await.expect("quiet");
}

/// From the moment at which a later epoch was heard of, nobody comes in at the one before, whenever the routes come.
#[test]
fn what_was_heard_counts_until_the_routes_say_it() {
    const EPOCHS: u64 = 3_000;
    let router = open(Settings::default());
    let (least, done) = (AtomicU64::new(1), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut entered = 0_u64;
                    while !done.load(Ordering::SeqCst) {
                        let least = least.load(Ordering::SeqCst);
                        match router.try_enter(&acme(), Intent::Write) {
                            Ok(pass) => assert!(pass.epoch().get() >= least, "{} < {least}", pass.epoch()),
                            Err(Refused::Behind { .. }) => continue,
                            Err(other) => panic!("{other}"),
                        }
                        entered += 1;
                    }
                    entered
                })
            })
            .collect();
        for at in 1..EPOCHS {
            router.heard(&name("acme"), epoch(at + 1));
            least.store(at + 1, Ordering::SeqCst);
            let next = moved(&router.routes().expect("routes"), if at % 2 == 0 { "blue" } else { "green" });
            router.take(next).expect("newer routes");
        }
        done.store(true, Ordering::SeqCst);
        let entered: Vec<u64> = clients.into_iter().map(|client| client.join().expect("no panic")).collect();
        assert!(entered.iter().sum::<u64>() > 100, "{entered:?}");
    });
}
