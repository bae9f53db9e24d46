use replat_engine::{LogError, Recorded, WorkLog};
use replat_model::deploy::{Event, Timestamp};
use replat_model::ids::Side;

use crate::{Directory, T0, append, append_all, asked, begin, open, plan, shop, switch};

#[test]
fn a_log_comes_back_as_it_was_written_in_whatever_process() {
    let directory = Directory::new();
    let (store, map) = (directory.store(), shop());
    let listed = begin(&store, &map, "acme").expect("nobody else has acme");
    assert_eq!((listed.serial, listed.id.as_str(), listed.created), (1, "d1", T0));
    append(&store, &listed.id, &Event::Prepared).expect("it can stand there");

    let first = asked(plan(&map, "acme", "new"));
    let want =
        [Recorded { seq: 0, at: T0, event: first }, Recorded { seq: 1, at: T0, event: Event::Prepared }];
    assert_eq!(store.read(&listed.id).expect("a log"), want);
    drop(store);
    let store = open(&directory.file());
    assert_eq!(store.read(&listed.id).expect("a log"), want);
    assert_eq!(store.list().expect("a list"), [listed]);
}

#[test]
fn of_two_that_append_at_one_length_one_is_refused() {
    let directory = Directory::new();
    let (one, other) = (directory.store(), directory.store());
    let id = begin(&one, &shop(), "acme").expect("nobody else has acme").id;
    one.append(&id, 1, &Event::Prepared, T0).expect("it is the first");
    let error = other.append(&id, 1, &Event::Prepared, T0).expect_err("it is the second");
    assert!(matches!(error, LogError::Conflict { length: 2, expected: 1, .. }), "{error}");
    // Nor is it put beyond the end.
    let error = other.append(&id, 3, &Event::Prepared, T0).expect_err("there are two");
    assert!(matches!(error, LogError::Conflict { length: 2, expected: 3, .. }), "{error}");
    other.append(&id, 2, &Event::Indexed, T0).expect("it folded again");
    one.append(&id, 3, &Event::Indexed, T0).expect("it folded what the other wrote");
}

#[test]
fn many_runners_at_once_write_one_log_without_a_gap() {
    let directory = Directory::new();
    let id = begin(&directory.store(), &shop(), "acme").expect("nobody else has acme").id;
    let (runners, each) = (4_u64, 10_u64);
    std::thread::scope(|scope| {
        for runner in 0..runners {
            let (store, id) = (directory.store(), &id);
            scope.spawn(move || {
                let mut written = 0;
                while written < each {
                    let length = store.read(id).expect("a log").len() as u64;
                    match store.append(id, length, &Event::Paused { why: runner.to_string() }, T0) {
                        Ok(()) => written += 1,
                        Err(LogError::Conflict { .. }) => {}
                        Err(why) => panic!("{why}"),
                    }
                }
            });
        }
    });
    let log = directory.store().read(&id).expect("a log");
    for runner in 0..runners {
        let mine = Event::Paused { why: runner.to_string() };
        assert_eq!(log.iter().filter(|recorded| recorded.event == mine).count() as u64, each);
    }
    assert_eq!(log.last().map(|recorded| recorded.seq), Some(runners * each));
}

#[test]
fn an_event_that_cannot_stand_there_is_refused_and_leaves_nothing_behind() {
    let directory = Directory::new();
    let (store, map) = (directory.store(), shop());
    let error = store.begin(&Event::Prepared, &map, T0).expect_err("not asked");
    assert!(matches!(error, LogError::OutOfPlace { .. }), "{error}");
    assert_eq!(store.map("shop").expect("a map or none"), None);

    let id = begin(&store, &map, "acme").expect("nobody else has acme").id;
    let [.., switched] = switch(1, Side::Green, 2);
    for event in [Event::Aborted, switched, asked(plan(&map, "acme", "new"))] {
        let error = append(&store, &id, &event).expect_err("it cannot stand there");
        assert!(matches!(error, LogError::OutOfPlace { .. }), "{error}");
    }
    assert_eq!(store.read(&id).expect("a log").len(), 1);
    append(&store, &id, &Event::Prepared).expect("the fold is as before");
}

#[test]
fn a_partition_has_one_deployment_at_a_time() {
    let directory = Directory::new();
    let (store, map) = (directory.store(), shop());
    let first = begin(&store, &map, "acme").expect("nobody else has acme");
    let error = begin(&store, &map, "acme").expect_err("acme is busy");
    assert!(matches!(&error, LogError::Busy { by, .. } if *by == first.id), "{error}");
    let second = begin(&store, &map, "bolt").expect("bolt is free");

    append_all(&store, &first.id, &[Event::AbortAsked { why: "no".into() }, Event::Aborted]);
    let third = begin(&store, &map, "acme").expect("acme is free again");
    assert_eq!((second.serial, third.serial), (2, 3));

    let green = switch(1, Side::Green, 2);
    append_all(&store, &third.id, &green);
    append_all(&store, &third.id, &[Event::FinishAsked { why: "done".into() }, Event::Finished { at: T0 }]);
    let map = store.map("shop").expect("a map").expect("shop has one");
    begin(&store, &map, "acme").expect("what has finished no longer holds acme");
    append(&store, &third.id, &Event::Dropped).expect("a finished deployment still retires its copy");
}

#[test]
fn what_is_not_there_is_named() {
    let store = Directory::new();
    let store = store.store();
    let nobody = "d7".parse().expect("a legal id");
    for error in [
        store.read(&nobody).map(drop),
        store.append(&nobody, 0, &Event::Prepared, T0),
        store.heartbeat(&nobody, "runner", T0),
        store.runner(&nobody).map(drop),
    ] {
        assert_eq!(error.expect_err("there is no d7").to_string(), "there is no deployment d7");
    }
}

#[test]
fn a_moment_beyond_what_the_file_holds_is_refused() {
    let directory = Directory::new();
    let store = directory.store();
    let id = begin(&store, &shop(), "acme").expect("nobody else has acme").id;
    assert!(store.append(&id, 1, &Event::Prepared, Timestamp(u64::MAX)).is_err());
    assert_eq!(store.read(&id).expect("a log").len(), 1);
}
