use replat_engine::{EngineError, Trouble, WorkLog};
use replat_model::deploy::{Event, Timestamp};

use crate::{Directory, T0, append, begin, shop};

#[test]
fn the_last_runner_that_spoke_is_known() {
    let directory = Directory::new();
    let (one, other) = (directory.store(), directory.store());
    let id = begin(&one, &shop(), "acme").expect("acme is free").id;
    assert_eq!(one.runner(&id).expect("a runner or none"), None);
    one.heartbeat(&id, "one", T0).expect("anybody may");
    other.heartbeat(&id, "other", Timestamp(T0.0 + 5)).expect("anybody may");
    assert_eq!(one.runner(&id).expect("a runner"), Some(("other".into(), Timestamp(T0.0 + 5))));
}

#[test]
fn what_a_runner_fails_at_is_known_until_it_does_not() {
    let directory = Directory::new();
    let (one, other) = (directory.store(), directory.store());
    let id = begin(&one, &shop(), "acme").expect("acme is free").id;
    assert_eq!(other.trouble(&id).expect("trouble or none"), None);
    let refused = |why: &str| EngineError::Refused {
        database: "green".into(),
        during: "arming a trigger".into(),
        why: why.into(),
    };
    let first = Trouble::of(&refused("no"), None, T0);
    one.tell_trouble(&id, Some(&first)).expect("anybody may");
    assert_eq!(other.trouble(&id).expect("trouble"), Some(first.clone()));
    assert_eq!(first.what, "green refused arming a trigger: no");
    let later = Timestamp(T0.0 + 5_000);
    let again = Trouble::of(&refused("still no"), Some(&first), later);
    assert_eq!((again.since, again.last, again.needs_a_person), (T0, later, true));
    one.tell_trouble(&id, Some(&again)).expect("anybody may");
    assert_eq!(other.trouble(&id).expect("trouble"), Some(again.clone()));
    let another = EngineError::Superseded { what: "the stream".into() };
    assert_eq!(Trouble::of(&another, Some(&again), later).since, later, "something else began later");
    one.tell_trouble(&id, None).expect("anybody may");
    assert_eq!(other.trouble(&id).expect("trouble or none"), None);
}

#[test]
fn the_data_version_changes_with_every_change_and_with_nothing_else() {
    let directory = Directory::new();
    let (one, other) = (directory.store(), directory.store());
    let mut seen = one.data_version().expect("a number");
    let mut changed = || {
        let now = one.data_version().expect("a number");
        std::mem::replace(&mut seen, now) != now
    };
    assert!(!changed(), "nothing happened");
    let id = begin(&one, &shop(), "acme").expect("acme is free").id;
    assert!(changed(), "its own beginning");
    append(&other, &id, &Event::Prepared).expect("it can stand there");
    assert!(changed(), "another's event");
    one.heartbeat(&id, "one", T0).expect("anybody may");
    assert!(changed(), "its own heartbeat");
    one.read(&id).expect("a log");
    other.map("shop").expect("a map");
    append(&other, &id, &Event::Aborted).expect_err("nobody asked");
    assert!(!changed(), "reading, and a refused write");
}
