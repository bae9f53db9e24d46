//! Publishers and followers, and what they survive.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use replat_engine::registry::{Envelope, Matter, Published, Registry, RegistryError};
use replat_model::deploy::Timestamp;
use replat_model::route::Routes;
use replat_registry::kv::Change;
use replat_registry::{Follower, KvRegistry, PublishError, Publisher};
use tokio::sync::watch;

use crate::contract::{delta, whole};
use crate::meddled::Meddled;
use crate::routes::{CONTEXT, Versions, first};
use crate::servers::{Kind, Machine, PROJECT, Place, seal};

fn publisher(registry: KvRegistry, versions: &Arc<Versions>) -> Publisher {
    Publisher::new(Arc::new(registry), versions.clone(), seal(), || Timestamp(1))
}

/// Waits until a follower has this version.
async fn has(routes: &mut watch::Receiver<Option<Routes>>, version: u64) -> Routes {
    let there = |routes: &Option<Routes>| routes.as_ref().is_some_and(|routes| routes.version() >= version);
    let found = routes.wait_for(there).await.expect("the follower lives");
    found.clone().expect("it was waited for")
}

pub async fn two_publishers_do_no_harm(place: &Place) {
    const VERSIONS: u64 = 30;
    let versions = Arc::new(Versions::new(first(PROJECT, 4)));
    let follower = Follower::start(Arc::new(place.registry()), CONTEXT, None);
    let (mut seen, mut routes) = (Vec::new(), follower.routes());
    let publishers: Vec<_> = (0..2)
        .map(|_| {
            let (publisher, versions) =
                (publisher(place.registry().with_window(8), &versions), versions.clone());
            tokio::spawn(async move {
                while versions.newest().version() < VERSIONS {
                    versions.advance(1);
                    match publisher.bring(CONTEXT).await {
                        // The other one has published what was made after we looked; the next look finds it.
                        Ok(_) | Err(PublishError::Ahead { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                publisher.bring(CONTEXT).await.expect("it is brought");
            })
        })
        .collect();
    loop {
        let now = has(&mut routes, 1).await;
        assert_eq!(now, versions.at(now.version()), "what is followed was once the newest");
        seen.push(now.version());
        if publishers.iter().all(tokio::task::JoinHandle::is_finished) {
            break;
        }
        drop(tokio::time::timeout(Duration::from_millis(100), routes.changed()).await);
    }
    for publisher in publishers {
        publisher.await.expect("it has not panicked");
    }
    let newest = versions.newest();
    assert_eq!(has(&mut routes, newest.version()).await, newest);
    assert!(seen.is_sorted(), "{seen:?}");
    let registry = place.registry();
    assert_eq!(registry.head(CONTEXT).await.expect("it answers"), newest.version());
    assert_eq!(registry.check(CONTEXT).await.expect("it answers"), []);
    // Once more changes nothing.
    let done = publisher(place.registry(), &versions).compare(CONTEXT).await.expect("it is the same");
    assert_eq!((done.version, done.deltas), (newest.version(), 0));
}

pub async fn a_publication_that_was_lost_is_repeated(place: &Place) {
    let versions = Arc::new(Versions::new(first(PROJECT, 4)));
    let loses = Arc::new(AtomicBool::new(true));
    let lossy = Meddled { loses: loses.clone(), ..Meddled::around(place.kv()) };
    let lossy = KvRegistry::new(Arc::new(lossy), seal());
    let publisher = publisher(lossy, &versions);
    // Each is done and its answer lost; whoever asks again finds it done.
    for version in 1..=4 {
        if version > 1 {
            versions.advance(1);
        }
        let lost = publisher.bring(CONTEXT).await.expect_err("the answer is lost");
        assert!(matches!(lost, PublishError::Registry(RegistryError::Unreachable { .. })), "{lost:?}");
        assert_eq!(place.registry().head(CONTEXT).await.expect("it answers"), version);
        let again = publisher.bring(CONTEXT).await.expect("there is nothing left to do");
        assert_eq!((again.version, again.deltas, again.wholes), (version, 0, 0));
    }
    // Publications that never left: the process died between the store's commit and the registry's.
    versions.advance(5);
    loses.store(false, Ordering::Relaxed);
    let done = publisher.bring(CONTEXT).await.expect("it is brought");
    assert_eq!((done.version, done.deltas, done.wholes), (9, 5, 0));
    // So many that they are not worth telling one by one.
    versions.advance(300);
    let done = publisher.bring(CONTEXT).await.expect("it is brought");
    assert_eq!((done.version, done.deltas, done.wholes), (309, 0, 1));
    // A store that was restored from a backup publishes nothing.
    let old = Arc::new(Versions::new(versions.at(7)));
    let error = self::publisher(place.registry(), &old).bring(CONTEXT).await.expect_err("the store is older");
    assert!(matches!(error, PublishError::Ahead { head: 309, newest: 7, .. }), "{error:?}");
}

pub async fn whoever_is_overtaken_looks_again(place: &Place) {
    let versions = Versions::new(first(PROJECT, 4));
    let registry = place.registry();
    registry.publish(&whole(&versions.newest())).await.expect("it is taken");
    for _ in 0..4 {
        let (from, to) = (versions.newest(), versions.advance(1));
        registry.publish(&delta(&from, &to)).await.expect("it is taken");
    }
    let overtaken = |envelope: Envelope| {
        let overtaken_by = Mutex::new(Some((place.registry(), envelope)));
        KvRegistry::new(Arc::new(Meddled { overtaken_by, ..Meddled::around(place.kv()) }), seal())
    };
    let (v5, v6, v7) = (versions.newest(), versions.advance(1), versions.advance(1));
    // The same whole routes: those that ours are compared with are gone before they are read.
    let slow = overtaken(whole(&v5));
    assert_eq!(slow.publish(&whole(&v5)).await.expect("it is looked at again"), Published::Already);
    // Later ones: whoever reads gets these.
    let slow = overtaken(whole(&v6));
    let read = slow.read(CONTEXT, 0).await.expect("it is looked at again");
    assert_eq!(read, [whole(&v6)]);
    registry.publish(&delta(&v6, &v7)).await.expect("it is taken");
    let slow = overtaken(whole(&versions.advance(1)));
    assert_eq!(
        slow.publish(&whole(&v7)).await.expect("it is looked at again"),
        Published::Behind { head: 8 }
    );
    // What is lost for good is damage, not a race.
    let key =
        place.kv().keys("").await.expect("they are listed").into_iter().find(|key| key.contains("/whole/"));
    let (from, to) = (versions.newest(), versions.advance(1));
    registry.publish(&delta(&from, &to)).await.expect("it is taken");
    place.kv().commit(&[], &[Change::Delete { key: key.expect("it is there") }]).await.expect("it is done");
    for error in [registry.publish(&whole(&to)).await.map(drop), registry.read(CONTEXT, 0).await.map(drop)] {
        let error = error.expect_err("they are lost").to_string();
        assert!(error.contains("whole routes of version 8 are not there"), "{error}");
    }
}

pub async fn watchers_hear_of_each_change(place: &Place) {
    const CHANGES: usize = 20;
    let (registry, watcher) = (place.registry(), place.registry());
    let versions = Versions::new(first(PROJECT, 4));
    registry.publish(&whole(&versions.newest())).await.expect("it is taken");
    // A watch takes a while to stand; until then it wakes for that, or by the second.
    let mut count = settled(&watcher).await;
    let (mut took, mut wakes) = (Vec::new(), 0);
    for _ in 0..CHANGES {
        let (from, to) = (versions.newest(), versions.advance(1));
        let waiting = async {
            loop {
                let before = count;
                count = watcher.changed(CONTEXT, Matter::Routes, count).await.expect("it answers");
                wakes += usize::from(count != before);
                if watcher.head(CONTEXT).await.expect("it answers") == to.version() {
                    return (Instant::now(), count != before);
                }
            }
        };
        let publishing = async {
            let began = Instant::now();
            registry.publish(&delta(&from, &to)).await.expect("it is taken");
            began
        };
        let ((heard, woken), began) = tokio::join!(waiting, publishing);
        assert!(woken, "version {} was found by looking, not heard of", to.version());
        took.push(heard.duration_since(began));
    }
    assert!(wakes >= CHANGES, "{wakes} wakes for {CHANGES} changes");
    took.sort();
    let ms = |at: usize| took[at].as_secs_f64() * 1000.0;
    eprintln!(
        "{:?}: from before publishing to known elsewhere: median {:.1} ms, worst {:.1} ms",
        place.kind,
        ms(CHANGES / 2),
        ms(CHANGES - 1)
    );
}

/// The count of a watch that has stood still for a whole turn, so that what comes next is news.
async fn settled(registry: &KvRegistry) -> u64 {
    let mut count = 0;
    loop {
        let next = registry.changed(CONTEXT, Matter::Routes, count).await.expect("it answers");
        // The first is the watch's beginning, the second that it stands.
        if next == count && count >= 2 {
            return count;
        }
        count = next;
    }
}

pub async fn an_older_registry_is_refused(place: &Place) {
    let versions = Versions::new(first(PROJECT, 4));
    let newest = versions.advance(6);
    place.registry().publish(&whole(&versions.at(3))).await.expect("it is taken");
    let follower = Follower::start(Arc::new(place.registry()), CONTEXT, Some(newest.clone()));
    let mut freshness = follower.freshness();
    let told = freshness.wait_for(|fresh| fresh.trouble.is_some()).await.expect("it lives").clone();
    let trouble = told.trouble.expect("it was waited for");
    assert!(trouble.contains("version 3, which is older than version 7"), "{trouble}");
    assert_eq!((told.seen, told.version), (None, 7));
    assert_eq!(*follower.routes().borrow(), Some(newest));
    let later = versions.advance(1);
    place.registry().publish(&whole(&later)).await.expect("it is taken");
    assert_eq!(has(&mut follower.routes(), 8).await, later);
    let fresh = freshness.wait_for(|fresh| fresh.trouble.is_none()).await.expect("it lives").clone();
    assert!(fresh.seen.is_some());
}

pub async fn a_follower_survives_a_restart(place: &Place, mut machine: Machine) {
    let versions = Arc::new(Versions::new(first(PROJECT, 4)));
    let publisher = publisher(place.registry(), &versions);
    publisher.bring(CONTEXT).await.expect("it is brought");
    let watching = Arc::new(place.registry());
    let follower = Follower::start(watching.clone(), CONTEXT, None);
    let (mut routes, mut freshness) = (follower.routes(), follower.freshness());
    has(&mut routes, 1).await;

    machine.kill().await;
    let stale = freshness.wait_for(|fresh| fresh.trouble.is_some()).await.expect("it lives").clone();
    assert_eq!(stale.version, 1, "the routes stay");
    versions.advance(2);
    let error = publisher.bring(CONTEXT).await.expect_err("the server is gone");
    assert!(matches!(error, PublishError::Registry(RegistryError::Unreachable { .. })), "{error:?}");
    machine.start_again().await;

    // A server that has just come may turn one or the other away.
    while publisher.bring(CONTEXT).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(has(&mut routes, 3).await, versions.newest());
    freshness.wait_for(|fresh| fresh.trouble.is_none() && fresh.seen > stale.seen).await.expect("it lives");
    // The watch stands again: what comes now is heard of, not found by looking.
    let count = settled(&watching).await;
    versions.advance(1);
    let heard = watching.changed(CONTEXT, Matter::Routes, count);
    let (heard, brought) = tokio::join!(heard, publisher.bring(CONTEXT));
    brought.expect("it is brought");
    assert_ne!(heard.expect("it answers"), count, "nobody was woken after the restart");
    assert_eq!(has(&mut routes, 4).await, versions.newest());
    assert_ne!(place.kind, Kind::File);
}
