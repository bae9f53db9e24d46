//! What is promised of a registry.

use std::time::{Duration, Instant};

use replat_engine::registry::{
    Attendance, Envelope, HoldAnswer, HoldCall, Published, Registry, RegistryError,
};
use replat_model::deploy::Timestamp;
use replat_model::ids::{Epoch, Home};
use replat_model::route::{Routes, RoutesDelta, Traffic};
use replat_registry::kv::{Change, Kv};
use replat_registry::{KvRegistry, ProjectKey, Seal, seal as sealing};

use crate::routes::{CONTEXT, Versions, first, next, partition};
use crate::servers::{PROJECT, Place, seal};

const ACCEPTED: Published = Published::Accepted { whole_due: false };

/// Whole routes in an envelope.
pub fn whole(routes: &Routes) -> Envelope {
    let body = serde_json::to_string(routes).expect("routes are plain data");
    seal().envelope(CONTEXT, routes.version(), None, Timestamp(1), body)
}

/// What leads from one version to another, in an envelope.
pub fn delta(from: &Routes, to: &Routes) -> Envelope {
    let body = serde_json::to_string(&from.delta(to).expect("it is later")).expect("a delta is plain data");
    seal().envelope(CONTEXT, to.version(), Some(from.version()), Timestamp(2), body)
}

/// The routes that envelopes make of some.
pub fn fold(have: Option<Routes>, envelopes: &[Envelope]) -> Option<Routes> {
    envelopes.iter().fold(have, |routes, envelope| {
        Some(match envelope.from {
            None => serde_json::from_str::<Routes>(&envelope.body).expect("it was published"),
            Some(_) => {
                let delta: RoutesDelta = serde_json::from_str(&envelope.body).expect("it was published");
                routes.expect("whole ones come first").after(&delta).expect("it goes on")
            }
        })
    })
}

async fn publish(registry: &KvRegistry, envelope: &Envelope) -> Published {
    registry.publish(envelope).await.expect("it is taken")
}

/// Publishes version 1 whole and the next ones as deltas; returns all of them.
async fn publish_up_to(registry: &KvRegistry, version: u64) -> Versions {
    let versions = Versions::new(first(PROJECT, 4));
    publish(registry, &whole(&versions.newest())).await;
    for _ in 1..version {
        let (from, to) = (versions.newest(), versions.advance(1));
        publish(registry, &delta(&from, &to)).await;
    }
    versions
}

pub async fn versions_only_rise(place: &Place) {
    let registry = place.registry();
    assert_eq!(registry.head(CONTEXT).await.expect("it answers"), 0);
    assert!(registry.read(CONTEXT, 0).await.expect("it answers").is_empty());
    let v1 = first(PROJECT, 4);
    let (v2, v3) = (next(&v1), next(&next(&v1)));
    let (v4, v5) = (next(&v3), next(&next(&v3)));
    let rows = [
        ("a delta on nothing", delta(&v1, &v2), Published::Behind { head: 0 }),
        ("the first whole ones", whole(&v3), ACCEPTED),
        ("older whole ones", whole(&v2), Published::Behind { head: 3 }),
        ("an older delta", delta(&v1, &v2), Published::Behind { head: 3 }),
        ("a delta from before", delta(&v2, &v4), Published::Behind { head: 3 }),
        ("a delta that comes too early", delta(&v4, &v5), Published::Behind { head: 3 }),
        ("the next one", delta(&v3, &v4), ACCEPTED),
        ("the next one once more", delta(&v3, &v4), Published::Already),
        ("the one before once more", whole(&v3), Published::Behind { head: 4 }),
        ("later whole ones", whole(&v5), ACCEPTED),
        ("a delta to the same version", delta(&v4, &v5), Published::Behind { head: 5 }),
    ];
    for (case, envelope, want) in rows {
        assert_eq!(publish(&registry, &envelope).await, want, "{case}");
    }
    assert_eq!(registry.head(CONTEXT).await.expect("it answers"), 5);
    assert_eq!(fold(None, &registry.read(CONTEXT, 0).await.expect("it answers")), Some(v5));
    assert!(registry.read(CONTEXT, 5).await.expect("it answers").is_empty());
    assert!(registry.read(CONTEXT, 9).await.expect("it answers").is_empty());
    assert_eq!(registry.contexts().await.expect("it answers"), [CONTEXT]);
}

pub async fn what_is_there_already_is_told_from_a_conflict(place: &Place) {
    let registry = place.registry();
    let v1 = first(PROJECT, 4);
    let (v2, other) = (next(&v1), {
        let map = v1.map().with_home(
            &partition(3),
            v1.map().leaf(&partition(3)).expect("it is there").home.clone(),
            Epoch::FIRST.next(),
        );
        Routes::new(
            PROJECT.into(),
            map.expect("the epoch rises"),
            v1.addresses().clone(),
            v1.traffic().clone(),
        )
        .expect("they lead")
    });
    publish(&registry, &whole(&v1)).await;
    publish(&registry, &delta(&v1, &v2)).await;
    // At another time, and in other words.
    let mut body = serde_json::to_value(v1.delta(&v2).expect("it is later")).expect("it is JSON");
    body.sort_all_objects();
    let again = seal().envelope(CONTEXT, 2, Some(1), Timestamp(77), format!(" {body}"));
    assert_eq!(publish(&registry, &again).await, Published::Already);
    for (case, envelope) in [("a delta", delta(&v1, &other)), ("whole ones", whole(&other))] {
        let error = registry.publish(&envelope).await.expect_err(case).to_string();
        assert!(error.contains("version 2 is there with other contents"), "{case}: {error}");
    }
    assert_eq!(publish(&registry, &whole(&v2)).await, ACCEPTED, "the same version whole is welcome");
    assert_eq!(publish(&registry, &whole(&v2)).await, Published::Already);
    assert_eq!(publish(&registry, &delta(&v1, &v2)).await, Published::Already);
    let error = registry.publish(&whole(&other)).await.expect_err("another version 2").to_string();
    assert!(error.contains("version 2 is there with other contents"), "{error}");
    assert_eq!(fold(None, &registry.read(CONTEXT, 0).await.expect("it answers")), Some(v2));
}

pub async fn a_reader_that_missed_versions_catches_up(place: &Place) {
    let registry = place.registry();
    let versions = publish_up_to(&registry, 45).await;
    let newest = versions.newest();
    for have in [0, 1, 2, 20, 30, 40, 43, 44, 45] {
        let envelopes = registry.read(CONTEXT, have).await.expect("it answers");
        let wholes = envelopes.iter().filter(|envelope| envelope.from.is_none()).count();
        assert_eq!(wholes, usize::from(have == 0), "from version {have}");
        let missed = newest.version() - have.max(1);
        assert_eq!(envelopes.len() as u64 - wholes as u64, missed, "from version {have}");
        let before = (have > 0).then(|| versions.at(have));
        assert_eq!(fold(before, &envelopes), Some(newest.clone()), "from version {have}");
    }
}

pub async fn whole_routes_are_gathered_when_they_are_due(place: &Place) {
    let registry = place.registry().with_window(8);
    let versions = Versions::new(first(PROJECT, 4));
    publish(&registry, &whole(&versions.newest())).await;
    let mut gathered = Vec::new();
    while versions.newest().version() < 40 {
        let (from, to) = (versions.newest(), versions.advance(1));
        match publish(&registry, &delta(&from, &to)).await {
            Published::Accepted { whole_due: true } => {
                gathered.push(to.version());
                assert_eq!(publish(&registry, &whole(&to)).await, ACCEPTED);
            }
            other => assert_eq!(other, ACCEPTED),
        }
    }
    assert_eq!(gathered, [9, 17, 25, 33]);
    let status = registry.status(CONTEXT).await.expect("it answers").expect("it is there");
    assert_eq!((status.version, status.whole, status.oldest, status.deltas), (40, 33, 25, 7));
    // Deltas from the last whole ones but one are kept: 25 to 40.
    let kept = place.kv().keys("").await.expect("they are listed");
    let kept = |kind: &str| kept.iter().filter(|key| key.contains(kind)).count();
    assert_eq!((kept("/delta/"), kept("/whole/")), (15, 1));
    for (have, wholes) in [(0, 1), (5, 1), (24, 1), (25, 0), (33, 0), (39, 0)] {
        let envelopes = registry.read(CONTEXT, have).await.expect("it answers");
        assert_eq!(
            envelopes.iter().filter(|envelope| envelope.from.is_none()).count(),
            wholes,
            "from {have}"
        );
        let before = (have > 0).then(|| versions.at(have));
        assert_eq!(fold(before, &envelopes), Some(versions.newest()), "from {have}");
    }
    assert_eq!(registry.check(CONTEXT).await.expect("it answers"), []);
    // A publisher that never publishes whole ones comes to an end.
    let stubborn = async {
        loop {
            let (from, to) = (versions.newest(), versions.advance(1));
            if let Err(error) = registry.publish(&delta(&from, &to)).await {
                return (error, from.version());
            }
        }
    };
    let (error, last) = stubborn.await;
    assert!(error.to_string().contains("publish whole ones first"), "{error}");
    assert_eq!(registry.head(CONTEXT).await.expect("it answers"), last);
    assert_eq!(publish(&registry, &whole(&versions.newest())).await, ACCEPTED);
}

/// Routes of more bytes than any server takes in one commit.
fn long(version: u64) -> Routes {
    let plain = first(PROJECT, 3000);
    let feature = |number: u32| {
        (
            partition(number),
            Traffic { features: [format!("{version}-{}", "x".repeat(3000))].into(), ..Traffic::default() },
        )
    };
    let traffic = (0..3000).map(feature).collect();
    let mut map = plain.map().clone();
    for number in 1..version {
        let number = u32::try_from(number).expect("it is small");
        let home = map.leaf(&partition(number)).expect("it is there").home.clone();
        map = map.with_home(&partition(number), home, Epoch::FIRST.next()).expect("the epoch rises");
    }
    Routes::new(PROJECT.into(), map, plain.addresses().clone(), traffic).expect("they lead somewhere")
}

pub async fn long_routes_travel_in_pieces(place: &Place) {
    let (registry, kv) = (place.registry(), place.kv());
    let (v1, v2, v3) = (long(1), long(2), long(3));
    let pieces = async || {
        let keys = kv.keys("").await.expect("they are listed");
        keys.into_iter().filter(|key| key.contains("/piece/")).collect::<Vec<_>>()
    };
    publish(&registry, &whole(&v1)).await;
    let first = pieces().await;
    let limits = kv.limits();
    let length = sealing::to_bytes(&whole(&v1)).len();
    let want = if length > limits.commit_bytes { length.div_ceil(limits.value_bytes) } else { 0 };
    eprintln!("{:?}: {length} bytes in {want} pieces", place.kind);
    assert_eq!(first.len(), want);
    assert!(want > 1, "they were to be longer than a commit");
    assert_eq!(publish(&registry, &whole(&v1)).await, Published::Already);
    assert_eq!(fold(None, &registry.read(CONTEXT, 0).await.expect("it answers")), Some(v1.clone()));

    // A delta may be as long, and old pieces go with what they are of.
    publish(&registry, &delta(&v1, &v2)).await;
    assert!(pieces().await.len() > first.len());
    assert_eq!(fold(Some(v1), &registry.read(CONTEXT, 1).await.expect("it answers")), Some(v2));
    publish(&registry, &whole(&v3)).await;
    let now = pieces().await;
    assert!(!now.is_empty() && now.iter().all(|key| !first.contains(key)), "old pieces are left");
    assert_eq!(fold(None, &registry.read(CONTEXT, 0).await.expect("it answers")), Some(v3));
    assert_eq!(registry.check(CONTEXT).await.expect("it answers"), []);

    // One that is lost, is cut off, or lies where another should.
    let keys = [now[0].clone(), now[1].clone()];
    let kept = kv.get(&keys).await.expect("they are read");
    let value = |at: usize| kept[at].as_ref().expect("it is there").value.clone();
    let rows = [
        ("lost", vec![Change::Delete { key: keys[0].clone() }], "are not there"),
        ("cut off", vec![Change::put(&*keys[0], &value(0)[..value(0).len() - 1])], "not what was cut"),
        (
            "exchanged",
            vec![Change::put(&*keys[0], value(1)), Change::put(&*keys[1], value(0))],
            "not what was cut",
        ),
    ];
    for (case, changes, want) in rows {
        for change in changes {
            kv.commit(&[], &[change]).await.expect("it is done");
        }
        let error = registry.read(CONTEXT, 0).await.expect_err(case).to_string();
        assert!(error.contains(want), "{case}: {error}");
        assert_ne!(registry.check(CONTEXT).await.expect("it answers"), [], "{case}");
        for (at, key) in keys.iter().enumerate() {
            kv.commit(&[], &[Change::put(&**key, value(at))]).await.expect("it is done");
        }
    }
    assert!(registry.read(CONTEXT, 0).await.is_ok());
}

pub async fn a_million_partitions(place: &Place) {
    let (registry, routes) = (place.registry(), crate::routes::million(PROJECT));
    let envelope = whole(&routes);
    let began = Instant::now();
    publish(&registry, &envelope).await;
    let published = began.elapsed();
    let read = registry.read(CONTEXT, 0).await.expect("it answers");
    let took = began.elapsed() - published;
    eprintln!(
        "{:?}: {} partitions, {} bytes: published in {} ms, read and checked in {} ms",
        place.kind,
        routes.map().leaves().count(),
        envelope.body.len(),
        published.as_millis(),
        took.as_millis()
    );
    assert_eq!(read, [envelope]);
    assert_eq!(fold(None, &read), Some(routes));
}

/// The key under which what contains `part` lies.
async fn key_of(kv: &dyn Kv, part: &str) -> String {
    let keys = kv.keys("").await.expect("they are listed");
    keys.into_iter().find(|key| key.contains(part)).unwrap_or_else(|| panic!("there is no {part}"))
}

pub async fn what_was_tampered_with_is_refused(place: &Place) {
    let (registry, kv) = (place.registry(), place.kv());
    let versions = publish_up_to(&registry, 3).await;
    let (v1, v2, v3) = (versions.at(1), versions.at(2), versions.at(3));
    let stored = sealing::to_bytes(&delta(&v1, &v2));
    let text = String::from_utf8(stored.clone()).expect("it is text");
    let keyless = Seal { key: None, ..seal() };
    let stranger = Seal { key: Some(ProjectKey::new([8; 32])), ..seal() };
    let resealed = |seal: &Seal| {
        let of = delta(&v1, &v2);
        sealing::to_bytes(&seal.envelope(CONTEXT, 2, Some(1), of.at, of.body))
    };
    let other_context = {
        let of = delta(&v1, &v2);
        sealing::to_bytes(&seal().envelope("others", 2, Some(1), of.at, of.body))
    };
    let elsewhere = {
        let of = delta(&v1, &v2);
        sealing::to_bytes(&seal().envelope(CONTEXT, 2, Some(2), of.at, of.body))
    };
    let later = text.replacen("\"format\":1", "\"format\":2", 1).into_bytes();
    let rows: [(&str, Vec<u8>, &str); 12] = [
        ("a byte changed", text.replace("green", "groen").into_bytes(), "do not have its digest"),
        ("a byte fewer", stored[..stored.len() - 1].to_vec(), "do not have its digest"),
        ("half of it", stored[..stored.len() / 4].to_vec(), "it is no envelope"),
        ("nothing", Vec::new(), "it is no envelope"),
        ("another time", text.replacen("\"at\":2", "\"at\":3", 1).into_bytes(), "do not have its digest"),
        ("a later format", later, "its format is 2"),
        ("the one after it", sealing::to_bytes(&delta(&v2, &v3)), "version 3 lies in its place"),
        ("signed by nobody", resealed(&keyless), "it is not signed"),
        ("signed by somebody else", resealed(&stranger), "signed by another key"),
        ("another context's", other_context, "belongs to context \"others\""),
        ("from elsewhere", elsewhere, "it leads from version 2 to version 2"),
        ("a huge stub", br#"{"pieces":9,"bytes":99999999999,"sha256":"ab"}"#.to_vec(), "says what cannot be"),
    ];
    let key = key_of(&*kv, "/delta/00000000000000000002").await;
    for (case, bytes, want) in rows {
        kv.commit(&[], &[Change::put(&*key, bytes)]).await.expect("it is done");
        for have in [0, 1] {
            let error = registry.read(CONTEXT, have).await.expect_err(case);
            assert!(matches!(error, RegistryError::Damaged { .. }), "{case}: {error:?}");
            assert!(error.to_string().contains(want), "{case}: {error}");
        }
        assert_eq!(registry.read(CONTEXT, 2).await.expect("it does not need that one").len(), 1, "{case}");
    }
    kv.commit(&[], &[Change::put(&*key, stored)]).await.expect("it is done");
    assert_eq!(fold(None, &registry.read(CONTEXT, 0).await.expect("it is as it was")), Some(v3));

    let head = key_of(&*kv, "/follow/head").await;
    for bytes in [&b"{}"[..], b"", b"\xff", br#"{"format":1,"project":"shop","version":1}"#] {
        kv.commit(&[], &[Change::put(&*head, bytes)]).await.expect("it is done");
        let error = registry.head(CONTEXT).await.expect_err("it is damaged").to_string();
        assert!(error.contains("its head cannot be read"), "{error}");
        assert!(registry.publish(&whole(&v1)).await.is_err(), "a damaged head is not written over");
        assert_eq!(registry.check(CONTEXT).await.expect("it answers").len(), 1);
    }
}

pub async fn another_projects_routes_are_refused(place: &Place) {
    let registry = place.registry();
    publish(&registry, &whole(&first(PROJECT, 4))).await;
    let theirs = Seal { project: "library".into(), key: None };
    let other = KvRegistry::new(place.kv(), theirs.clone());
    for (what, said) in [
        ("reading", other.read(CONTEXT, 0).await.map(drop)),
        ("the head", other.head(CONTEXT).await.map(drop)),
        ("publishing", {
            let body = serde_json::to_string(&first("library", 4)).expect("routes are plain data");
            let envelope = theirs.envelope(CONTEXT, 1, None, Timestamp(1), body);
            // Its publisher learns why; ours would refuse the envelope at once.
            let refused = registry.publish(&envelope).await.expect_err("it is not ours").to_string();
            assert!(refused.contains("belongs to project \"library\", not to \"shop\""), "{refused}");
            other.publish(&envelope).await.map(drop)
        }),
    ] {
        let said = said.expect_err(what).to_string();
        assert!(said.contains("belongs to project \"shop\", not to \"library\""), "{what}: {said}");
        assert!(said.contains("prefix of its own"), "{what}: {said}");
    }
    let mut forged = whole(&next(&first(PROJECT, 4)));
    forged.mac = None;
    let said = registry.publish(&forged).await.expect_err("it is not signed").to_string();
    assert!(said.contains("it is not signed"), "{said}");
}

pub async fn attendances_end_by_the_registrys_clock(place: &Place) {
    let (registry, reader) = (place.registry(), place.registry());
    let who = |id: &str, version| Attendance {
        id: id.to_owned(),
        kind: "proxy".into(),
        place: "here".into(),
        context: CONTEXT.into(),
        version,
        until: Timestamp(0),
        answers: vec![HoldAnswer {
            partition: partition(1),
            deployment: "d1".into(),
            attempt: 2,
            busy: 3,
            held: 4,
        }],
        pinned: 5,
    };
    let listed = async || {
        let mut found = reader.attending(CONTEXT).await.expect("it answers");
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found.into_iter().map(|who| (who.id, who.version)).collect::<Vec<_>>()
    };
    registry.attend(&who("long", 1), 600_000).await.expect("it is taken");
    let lease = Duration::from_millis(700);
    let began = Instant::now();
    registry.attend(&who("short", 1), 700).await.expect("it is taken");
    assert_eq!(listed().await, [("long".into(), 1), ("short".into(), 1)]);
    let found = reader.attending(CONTEXT).await.expect("it answers");
    let short = found.iter().find(|who| who.id == "short").expect("it is there");
    assert_eq!(Attendance { until: Timestamp(0), ..short.clone() }, who("short", 1), "all of it comes back");
    while listed().await.len() == 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let lasted = began.elapsed();
    assert!(lasted >= lease, "a lease of {lease:?} ended after {lasted:?}");
    eprintln!("{:?}: a lease of 700 ms was over after {} ms", place.kind, lasted.as_millis());
    // By the clock that anybody can ask.
    assert!(registry.clock().await.expect("it answers").0 + 1_000 >= short.until.0);

    // What the server still has and has ended is not there any more, whatever the server thinks.
    let now = registry.clock().await.expect("it answers").0;
    let kv = place.kv();
    let key = key_of(&*kv, "/attend/long").await;
    for (id, until, listed) in [("ended", now - 5_000, false), ("lasts", now + 600_000, true)] {
        let value = Attendance { until: Timestamp(until), ..who(id, 1) };
        let value = serde_json::to_vec(&value).expect("it is plain data");
        kv.commit(&[], &[Change::put(key.replace("long", id), value)]).await.expect("it is done");
        let found = reader.attending(CONTEXT).await.expect("it answers");
        assert_eq!(found.iter().any(|who| who.id == id), listed, "{id}");
        registry.leave(CONTEXT, id).await.expect("it is taken");
    }

    // A renewal replaces, and whoever has gone can come back.
    registry.attend(&who("long", 2), 600_000).await.expect("it is taken");
    registry.attend(&who("short", 3), 600_000).await.expect("it is taken");
    assert_eq!(listed().await, [("long".into(), 2), ("short".into(), 3)]);
    registry.leave(CONTEXT, "short").await.expect("it is taken");
    registry.leave(CONTEXT, "nobody").await.expect("it is taken");
    assert_eq!(listed().await, [("long".into(), 2)]);
    assert!(reader.attending("others").await.expect("it answers").is_empty());
}

pub async fn holds_are_called_and_released(place: &Place) {
    let (registry, reader) = (place.registry(), place.registry());
    let call = |deployment: &str, attempt| HoldCall {
        context: CONTEXT.into(),
        partition: partition(1),
        deployment: deployment.into(),
        attempt,
        epoch: Epoch::FIRST,
        reads: false,
        to: Some(Home { database: "green".into(), schema: "app".into() }),
        until: Timestamp(0),
    };
    let listed = async || {
        let found = reader.holds(CONTEXT).await.expect("it answers");
        found.into_iter().map(|call| (call.deployment, call.attempt)).collect::<Vec<_>>()
    };
    registry.hold(&call("one", 2), 600_000).await.expect("it is taken");
    assert_eq!(listed().await, [("one".into(), 2)]);
    let error = registry.hold(&call("one", 1), 600_000).await.expect_err("it is late").to_string();
    assert!(error.contains("attempt 2 holds it already"), "{error}");
    registry.hold(&call("one", 3), 600_000).await.expect("it is taken");
    registry.release(CONTEXT, &partition(1), 2).await.expect("it is late, and no error");
    assert_eq!(listed().await, [("one".into(), 3)]);
    registry.release(CONTEXT, &partition(1), 3).await.expect("it is taken");
    registry.release(CONTEXT, &partition(1), 3).await.expect("once more is no error");
    assert_eq!(listed().await, []);

    let began = Instant::now();
    registry.hold(&call("two", 1), 500).await.expect("it is taken");
    let until = reader.holds(CONTEXT).await.expect("it answers")[0].until;
    assert!(until > Timestamp(0), "it says until when");
    while !listed().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(500), "it ended after {:?}", began.elapsed());
}
