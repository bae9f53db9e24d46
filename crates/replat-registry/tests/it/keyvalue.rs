//! What the registry relies on in a server.

use std::time::{Duration, Instant};

use replat_registry::kv::{Change, Entry, Expect, Kv};

use crate::servers::Place;

fn expect(key: &str, entry: Option<&Entry>) -> Expect {
    Expect { key: key.to_owned(), revision: entry.map(|entry| entry.revision) }
}

async fn get(kv: &dyn Kv, key: &str) -> Option<Entry> {
    let keys = [key.to_owned()];
    kv.get(&keys).await.expect("it is read").pop().expect("one was asked for")
}

async fn commit(kv: &dyn Kv, expect: &[Expect], changes: &[Change]) -> bool {
    kv.commit(expect, changes).await.expect("the server answers")
}

pub async fn commits_happen_as_expected_or_not_at_all(place: &Place) {
    let kv = &*place.kv();
    assert_eq!(get(kv, "a/head").await, None);
    let bytes: Vec<u8> = (0..=255).collect();
    assert!(commit(kv, &[expect("a/head", None)], &[Change::put("a/head", bytes.clone())]).await);
    let first = get(kv, "a/head").await.expect("it is there");
    assert_eq!((first.key.as_str(), &first.value), ("a/head", &bytes));

    let other = Change::put("a/other", "x");
    let cases = [
        ("it is there, and was not to be", vec![expect("a/head", None)]),
        ("one of two is so", vec![expect("a/head", Some(&first)), expect("a/none", Some(&first))]),
    ];
    for (case, conditions) in cases {
        assert!(!commit(kv, &conditions, &[Change::put("a/head", "no"), other.clone()]).await, "{case}");
        assert_eq!(get(kv, "a/head").await, Some(first.clone()), "{case}");
        assert_eq!(get(kv, "a/other").await, None, "{case}");
    }

    assert!(commit(kv, &[expect("a/head", Some(&first))], &[Change::put("a/head", ""), other]).await);
    let second = get(kv, "a/head").await.expect("it is there");
    assert_eq!(second.value, b"");
    assert_ne!(second.revision, first.revision);
    assert!(get(kv, "a/other").await.is_some());
    assert!(!commit(kv, &[expect("a/head", Some(&first))], &[Change::put("a/head", "late")]).await);

    // The same bytes once more are another value.
    assert!(commit(kv, &[], &[Change::put("a/head", "")]).await);
    assert!(!commit(kv, &[expect("a/head", Some(&second))], &[Change::put("a/head", "late")]).await);

    let gone = Change::Delete { key: "a/head".into() };
    assert!(commit(kv, &[], std::slice::from_ref(&gone)).await);
    assert!(commit(kv, &[], &[gone]).await, "what is not there may be removed");
    assert_eq!(get(kv, "a/head").await, None);
    assert!(commit(kv, &[expect("a/head", None)], &[Change::put("a/head", "anew")]).await);
    let anew = get(kv, "a/head").await.expect("it is there");
    assert!(anew.revision != first.revision && anew.revision != second.revision, "a revision came back");
}

pub async fn keys_with_a_common_beginning_are_listed_in_order(place: &Place) {
    let kv = &*place.kv();
    let values = ["b/=2F/x", "b/10", "b/9", "b", "bb/1", "a/1", "b/A_-"];
    let changes: Vec<Change> = values.iter().map(|key| Change::put(*key, *key)).collect();
    assert!(commit(kv, &[], &changes).await);
    let want = ["b/10", "b/9", "b/=2F/x", "b/A_-"];
    let listed = kv.list("b/").await.expect("it is listed");
    assert_eq!(listed.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), want);
    assert!(listed.iter().all(|entry| entry.value == entry.key.as_bytes()));
    assert_eq!(kv.keys("b/").await.expect("they are listed"), want);
    assert_eq!(kv.keys("").await.expect("they are listed").len(), values.len());
    assert!(kv.list("c/").await.expect("it is listed").is_empty());
    assert!(kv.keys("c/").await.expect("they are listed").is_empty());

    // More than a page, and as many as one commit may have.
    let parts = kv.limits().commit_parts.min(300);
    let keys: Vec<String> = (0..2 * parts).map(|number| format!("many/{number:05}")).collect();
    for keys in keys.chunks(parts) {
        let changes: Vec<Change> = keys.iter().map(|key| Change::put(key.clone(), "v")).collect();
        assert!(commit(kv, &[], &changes).await);
    }
    assert_eq!(kv.keys("many/").await.expect("they are listed"), keys);
    let listed = kv.list("many/").await.expect("it is listed");
    assert_eq!(listed.into_iter().map(|entry| entry.key).collect::<Vec<_>>(), keys);
    let asked = ["many/00001".to_owned(), "many/none".to_owned(), "many/00000".to_owned()];
    let found = kv.get(&asked).await.expect("they are read");
    let found: Vec<Option<&str>> =
        found.iter().map(|entry| entry.as_ref().map(|entry| entry.key.as_str())).collect();
    assert_eq!(found, [Some("many/00001"), None, Some("many/00000")]);
}

pub async fn what_has_a_time_ends_and_not_before(place: &Place) {
    let kv = &*place.kv();
    let ttl = Duration::from_millis(300);
    let brief = |value: &str| {
        let ttl_ms = Some(300);
        Change::Put { key: "t/brief".into(), value: value.into(), ttl_ms }
    };
    let began = Instant::now();
    assert!(commit(kv, &[expect("t/brief", None)], &[brief("1"), Change::put("t/stays", "s")]).await);
    let mut seen = began;
    loop {
        let asked = Instant::now();
        if get(kv, "t/brief").await.is_none() {
            break;
        }
        seen = asked;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() >= ttl, "it ended after {:?}", began.elapsed());
    eprintln!("{:?}: 300 ms lasted {} ms", place.kind, seen.duration_since(began).as_millis());
    assert!(get(kv, "t/stays").await.is_some());
    assert_eq!(kv.list("t/").await.expect("it is listed").len(), 1);
    // It counts as absent, can be had again, taken over by somebody else, and kept.
    assert!(commit(kv, &[expect("t/brief", None)], &[brief("2")]).await);
    let again = get(kv, "t/brief").await.expect("it is there");
    let other = &*place.kv();
    assert!(commit(other, &[expect("t/brief", Some(&again))], &[brief("3")]).await);
    assert_eq!(get(kv, "t/brief").await.expect("it is there").value, b"3");
    assert!(commit(kv, &[], &[brief("4")]).await, "a renewal needs no condition");
    assert!(commit(kv, &[], &[Change::Delete { key: "t/brief".into() }]).await);
    assert_eq!(get(kv, "t/brief").await, None);
}

pub async fn of_many_that_change_the_same_key_none_is_lost(place: &Place) {
    const WRITERS: usize = 4;
    const EACH: usize = 10;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let kv = place.kv();
            tokio::spawn(async move {
                let mut done = 0;
                while done < EACH {
                    let now = get(&*kv, "count").await;
                    let count = now.as_ref().map_or(0, |entry| entry.value.len());
                    let next = [Change::put("count", vec![b'x'; count + 1])];
                    if commit(&*kv, &[expect("count", now.as_ref())], &next).await {
                        done += 1;
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("it has not panicked");
    }
    assert_eq!(get(&*place.kv(), "count").await.expect("it is there").value.len(), WRITERS * EACH);
}
