use replat_engine::WorkLog;
use replat_model::deploy::Event;
use replat_model::ids::Side;
use replat_store::Store;
use rusqlite::Connection;

use crate::{Directory, append_all, begin, shop, switch};

fn raw(directory: &Directory) -> Connection {
    Connection::open(directory.file()).expect("the file is a database")
}

#[test]
fn what_was_acknowledged_is_in_the_files_though_nobody_closed_them() {
    let directory = Directory::new();
    let store = directory.store();
    let deployment = begin(&store, &shop(), "acme").expect("acme is free").id;
    append_all(&store, &deployment, &switch(1, Side::Green, 2));

    // What a crash would leave: the files as they are, with the store still open.
    let after = Directory::new();
    for entry in std::fs::read_dir(&directory.0).expect("a directory") {
        let entry = entry.expect("an entry");
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), after.0.join(entry.file_name())).expect("a copy");
        }
    }
    let reopened = after.store();
    assert_eq!(reopened.read(&deployment).expect("a log"), store.read(&deployment).expect("a log"));
    assert_eq!(reopened.map("shop").expect("a map"), store.map("shop").expect("a map"));
}

#[test]
fn a_write_that_broke_off_left_nothing() {
    let directory = Directory::new();
    let store = directory.store();
    let deployment = begin(&store, &shop(), "acme").expect("acme is free").id;
    let [intended, fenced, switched] = switch(1, Side::Green, 2);
    append_all(&store, &deployment, &[intended, fenced]);
    // The map is gone behind the store's back, so the switch fails after its event was written.
    raw(&directory).execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM map").expect("SQLite lets us");
    let error = store.append(&deployment, 3, &switched, crate::T0).expect_err("there is no map");
    assert!(matches!(error, replat_engine::LogError::Store { .. }), "{error}");
    assert_eq!(store.read(&deployment).expect("a log").len(), 3);
    // The event was not kept in the fold either: it can still be given up.
    let given_up = Event::FenceGivenUp { attempt: 1, why: "no map".into(), at: crate::T0 };
    append_all(&store, &deployment, &[given_up]);
}

#[test]
fn the_file_is_set_up_for_durability_and_says_what_it_is() {
    let directory = Directory::new();
    drop(directory.store());
    let file = raw(&directory);
    let pragma = |name: &str| -> String {
        let text = |row: &rusqlite::Row| row.get::<_, rusqlite::types::Value>(0);
        match file.query_row(&format!("PRAGMA {name}"), [], text).expect(name) {
            rusqlite::types::Value::Integer(n) => n.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(pragma("journal_mode"), "wal");
    assert_eq!(pragma("user_version"), "4");
    assert_eq!(pragma("application_id"), 0x7270_6c74.to_string());
}

#[test]
fn a_file_that_is_not_a_store_of_ours_is_left_alone() {
    type Make = fn(&Directory);
    let make: [(&str, Make); 3] = [
        ("not a replat store", |directory| {
            raw(directory).execute_batch("CREATE TABLE theirs (a)").expect("a table");
        }),
        ("its format is 9 and this replat knows 4", |directory| {
            drop(directory.store());
            raw(directory).execute_batch("PRAGMA user_version = 9").expect("a pragma");
        }),
        ("file is not a database", |directory| {
            std::fs::write(directory.file(), [7; 4096]).expect("a file");
        }),
    ];
    for (why, make) in make {
        let directory = Directory::new();
        make(&directory);
        let before = std::fs::read(directory.file()).expect("a file");
        let error = Store::open(&directory.file()).err().expect(why);
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.contains(why), "{cause}");
        assert_eq!(std::fs::read(directory.file()).expect("a file"), before, "{why}");
    }
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let directory = Directory::new();
    let path = directory.0.join("nowhere").join("control.db");
    let error = Store::open(&path).err().expect("there is no such directory");
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn all_that_open_a_new_file_at_once_get_a_store() {
    for _ in 0..20 {
        let directory = Directory::new();
        let file = directory.file();
        let together = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            let openers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        together.wait();
                        Store::open(&file).map(drop).map_err(|error| format!("{error:?}"))
                    })
                })
                .collect();
            for opener in openers {
                assert_eq!(opener.join().expect("an opener that does not panic"), Ok(()));
            }
        });
    }
}
