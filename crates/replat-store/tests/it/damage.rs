use replat_engine::{LogError, WorkLog};
use replat_model::deploy::Event;
use replat_model::ids::Side;
use replat_store::Store;
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use crate::{Directory, T0, append_all, begin, epoch, shop, switch};

/// A store with a deployment that has switched, closed.
fn closed() -> Directory {
    let directory = Directory::new();
    let store = directory.store();
    let deployment = begin(&store, &shop(), "acme").expect("acme is free").id;
    append_all(&store, &deployment, &[Event::Prepared]);
    append_all(&store, &deployment, &switch(1, Side::Green, 2));
    drop(store);
    directory
}

fn cause(error: &LogError) -> String {
    assert!(matches!(error, LogError::Store { .. }), "{error}");
    std::error::Error::source(error).expect("a cause").to_string()
}

#[test]
fn events_are_neither_edited_nor_removed() {
    let directory = closed();
    let file = Connection::open(directory.file()).expect("the file is a database");
    for (statement, why) in [
        ("UPDATE event SET at = at + 1", "an event is never edited"),
        ("DELETE FROM event", "an event is never removed"),
        ("INSERT INTO event VALUES (1, 5, 0, 'no JSON', hex(zeroblob(32)))", "json_valid"),
        ("INSERT INTO event VALUES (9, 0, 0, '{}', hex(zeroblob(32)))", "FOREIGN KEY"),
    ] {
        file.execute_batch("PRAGMA foreign_keys = ON").expect("a pragma");
        let error = file.execute_batch(statement).expect_err(statement).to_string();
        assert!(error.contains(why), "{statement}: {error}");
    }
}

#[test]
fn a_log_that_was_edited_by_force_is_not_believed() {
    let rows = [
        ("UPDATE event SET at = at + 1 WHERE seq = 1", "event 1 of deployment d1 is not as it was written"),
        (
            "UPDATE event SET body = replace(body, 'acme', 'bolt') WHERE seq = 0",
            "event 0 of deployment d1 is not as it was written",
        ),
        ("DELETE FROM event WHERE seq = 1", "event 2 of deployment d1 follows a gap"),
        (
            "UPDATE event SET seq = 9 WHERE seq = 1; UPDATE event SET seq = 1 WHERE seq = 2;
             UPDATE event SET seq = 2 WHERE seq = 9",
            "event 1 of deployment d1 is not as it was written",
        ),
    ];
    for (edit, why) in rows {
        let directory = closed();
        let file = Connection::open(directory.file()).expect("the file is a database");
        let force = "DROP TRIGGER event_is_never_edited; DROP TRIGGER event_is_never_removed";
        file.execute_batch(&format!("{force}; {edit}")).expect(edit);
        assert!(file.changes() > 0, "{edit}");
        let store = directory.store();
        let deployment = "d1".parse().expect("a legal id");
        let error = store.read(&deployment).expect_err(edit);
        assert!(cause(&error).contains(why), "{edit}: {}", cause(&error));
        let error = store.append(&deployment, 5, &Event::Settled { epoch: epoch(2) }, T0);
        assert!(cause(&error.expect_err(edit)).contains(why), "{edit}");
    }
}

#[test]
fn a_map_that_does_not_add_up_is_not_believed() {
    let rows = [
        ("UPDATE map SET body = replace(body, 'old', 'new')", "the map of shop is not as it was written"),
        ("UPDATE map SET context = 'shed'", "context shop has deployments and no map"),
        ("UPDATE map SET version = 2", "the map of shop is not as it was written"),
        ("UPDATE switch SET version = 7", "the switch to version 7 of map shop cannot follow"),
        ("UPDATE switch SET partition = 'bolt'", "the switch to version 2 of map shop cannot follow"),
        (
            "UPDATE switch SET home = replace(home, 'new', 'old')",
            "the switch to version 2 of map shop cannot follow",
        ),
    ];
    for (edit, why) in rows {
        let directory = closed();
        let file = Connection::open(directory.file()).expect("the file is a database");
        file.execute_batch("PRAGMA foreign_keys = OFF").expect("a pragma");
        assert_eq!(file.execute(edit, []).expect(edit), 1);
        let error = directory.store().map("shop").expect_err(edit);
        assert!(cause(&error).contains(why), "{edit}: {}", cause(&error));
    }
}

/// The sum by which a row shows that it is as it was written.
fn sum(parts: &[&str]) -> String {
    let text: String = parts.iter().map(|part| format!("{} {part}", part.len())).collect();
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A map as the first format had it: every home in every leaf, and no number.
const FORMAT_1: &str = r#"{"context":"shop","version":1,"dimensions":[{"column":"tenant_id","type":"bigint"}],"root":{"leaf":{"partition":"acme","home":{"database":"old","schema":"public"},"epoch":1}}}"#;

#[test]
fn a_map_of_another_release_is_called_that_and_not_damaged() {
    let newer = FORMAT_1.replacen('{', r#"{"format":3,"#, 1);
    let rows = [
        (
            FORMAT_1,
            "written in format 1, and this replat reads format 2; the file is sound: with the older replat",
        ),
        (
            &newer,
            "written in format 3, and this replat reads format 2; the file is sound: use the newer replat",
        ),
        (r#"{"format":2,"root":1}"#, "is damaged or was edited by hand: the map of shop cannot be read"),
        (r#"{"wrong":true}"#, "is damaged or was edited by hand: the map of shop cannot be read"),
    ];
    for (body, why) in rows {
        let directory = closed();
        let file = Connection::open(directory.file()).expect("the file is a database");
        let version: i64 =
            file.query_row("SELECT version FROM map", [], |row| row.get(0)).expect("there is a map");
        let sum = sum(&["shop", &version.to_string(), body]);
        file.execute("UPDATE map SET body = ?1, sum = ?2", [body, &sum]).expect("it is written");
        let error = directory.store().map("shop").expect_err(body);
        assert!(cause(&error).contains(why), "{body}: {}", cause(&error));
    }
}

#[test]
fn no_flipped_byte_makes_the_store_say_something_else() {
    let directory = closed();
    let told = |store: &Store| -> Result<_, LogError> {
        Ok((store.read(&"d1".parse().expect("a legal id"))?, store.map("shop")?))
    };
    let good = told(&directory.store()).expect("an undamaged file");
    let bytes = std::fs::read(directory.file()).expect("a file");
    let mut refused = 0;
    // A prime stride meets every kind of page in every kind of place.
    for at in (0..bytes.len()).step_by(149) {
        let copy = Directory::new();
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        std::fs::write(copy.file(), bytes).expect("a file");
        match Store::open(&copy.file()).and_then(|store| told(&store)) {
            Ok(same) => assert!(same == good, "byte {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0, "no damage was ever noticed");
}
