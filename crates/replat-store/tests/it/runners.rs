use replat_engine::WorkLog;
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
