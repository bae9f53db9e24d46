//! What routers are told, and its versions.

use std::collections::BTreeMap;

use proptest::prelude::*;
use replat_engine::{LogError, WorkLog};
use replat_model::deploy::Event;
use replat_model::ids::{DeploymentId, PartitionId, Side};
use replat_model::plan::Plan;
use replat_model::route::{Address, BadRoutes, Reads, Routes, Traffic};
use replat_store::Store;
use rusqlite::Connection;

use crate::{Directory, T0, append_all, asked, begin, carved, epoch, home, id, open, plan, shop, switch};

const PROJECT: &str = "shop";

fn address(name: &str, port: u16) -> (String, Address) {
    let address = Address { host: format!("{name}.example"), port, dbname: "shop".into(), endpoint: None };
    (name.to_owned(), address)
}

/// Both databases, the new one at a port.
fn addresses(port: u16) -> BTreeMap<String, Address> {
    BTreeMap::from([address("old", 5432), address("new", port)])
}

fn unchanged() -> BTreeMap<PartitionId, Option<Traffic>> {
    BTreeMap::new()
}

fn version_of(name: &str) -> Traffic {
    Traffic { schema_version: Some(name.into()), ..Traffic::default() }
}

fn tell(store: &Store, port: u16) -> Routes {
    store.tell("shop", PROJECT, &addresses(port), &unchanged()).expect("addresses can be told")
}

fn routes(store: &Store) -> Routes {
    store.routes("shop").expect("the store can be read").expect("shop has routes")
}

/// A store whose map is at version 1 and whose routes were told at version 2.
fn told(directory: &Directory) -> Store {
    let store = directory.store();
    store.chart(&shop()).expect("a first map");
    tell(&store, 5433);
    store
}

#[test]
fn whatever_routers_should_know_of_is_the_next_version() {
    let directory = Directory::new();
    let store = directory.store();
    let map = store.chart(&shop()).expect("a first map");
    assert_eq!(store.chart(&carved(&map, "tenant_id=42").0).expect("the one that is kept"), map);
    assert_eq!(store.routes("shop").expect("none yet"), None);

    let versions: Vec<u64> = vec![
        tell(&store, 5433).version(),
        tell(&store, 5433).version(),
        tell(&store, 5434).version(),
        {
            let flagged = BTreeMap::from([(id("acme"), Some(version_of("1"))), (id("bolt"), None)]);
            store.tell("shop", PROJECT, &addresses(5434), &flagged).expect("traffic").version()
        },
        store.tell("shop", "renamed", &addresses(5434), &unchanged()).expect("a project").version(),
        {
            let nothing_special = BTreeMap::from([(id("acme"), Some(Traffic::default()))]);
            store.tell("shop", "renamed", &addresses(5434), &nothing_special).expect("traffic").version()
        },
    ];
    assert_eq!(versions, [2, 2, 3, 4, 5, 6]);
    let now = routes(&store);
    assert_eq!((now.version(), now.map().version(), now.project()), (6, 6, "renamed"));
    assert_eq!(store.map("shop").expect("a map"), Some(now.map().clone()));
    assert!(now.traffic().is_empty());

    // A switch counts on from there, and so does the carving of a deployment that begins.
    let deployment = begin(&store, now.map(), "acme").expect("acme is free").id;
    assert_eq!(routes(&store).version(), 6, "to begin changes nothing by itself");
    append_all(&store, &deployment, &switch(1, Side::Green, 2));
    let now = routes(&store);
    assert_eq!((now.version(), now.epoch(&id("acme"))), (7, Some(epoch(2))));
    let (with_42, name) = carved(now.map(), "tenant_id=42");
    begin(&store, &with_42, name.as_str()).expect("42 is free");
    assert_eq!(routes(&store).version(), 8);
    drop(store);
    assert_eq!(tell(&open(&directory.file()), 5433).version(), 9, "for another process too");
}

#[test]
fn earlier_routes_are_told_as_they_were_and_newer_ones_follow_from_them() {
    let directory = Directory::new();
    let store = told(&directory);
    let mut was = vec![routes(&store)];
    was.push(tell(&store, 5434));
    let deployment = begin(&store, was[1].map(), "acme").expect("acme is free").id;
    append_all(&store, &deployment, &switch(1, Side::Green, 2));
    was.push(routes(&store));
    let (with_42, name) = carved(was[2].map(), "tenant_id=42");
    begin(&store, &with_42, name.as_str()).expect("42 is free");
    was.push(routes(&store));
    let flagged = BTreeMap::from([(name, Some(version_of("1")))]);
    was.push(store.tell("shop", PROJECT, &addresses(5434), &flagged).expect("traffic"));

    let versions: Vec<u64> = was.iter().map(Routes::version).collect();
    assert_eq!(versions, [2, 3, 4, 5, 6]);
    for then in &was {
        let version = then.version();
        assert_eq!(
            store.routes_at("shop", version).expect("it can be read").as_ref(),
            Some(then),
            "{version}"
        );
        assert_eq!(&store.routes_after(then).expect("it can be read"), &was[4], "from {version}");
    }
    for (version, why) in [(0, "there is none"), (1, "nobody had said where"), (7, "it is to come")] {
        assert_eq!(store.routes_at("shop", version).expect("it can be read"), None, "{why}");
    }

    // Of maps that were written whole, only the last two are remembered.
    let (with_43, name) = carved(was[4].map(), "tenant_id=43");
    begin(&store, &with_43, name.as_str()).expect("43 is free");
    let newest = routes(&store);
    for then in &was {
        let known = store.routes_at("shop", then.version()).expect("it can be read");
        let want = Some(then).filter(|then| then.version() >= 5);
        assert_eq!(known.as_ref(), want, "{}", then.version());
        assert_eq!(store.routes_after(then).expect("it can be read"), newest, "from {}", then.version());
    }
    let elsewhere = Directory::new();
    let error = told(&elsewhere).routes_after(&newest).expect_err("that store is not as far");
    assert!(matches!(error, LogError::Stale { .. }), "{error}");
}

#[test]
fn a_switch_tells_the_schema_and_ends_shares_of_reads_and_a_rollback_tells_the_old_one() {
    let directory = Directory::new();
    let store = told(&directory);
    let reads = Reads { home: home("new"), percent: 5, shadow: false, stale_max_ms: 100 };
    let special = Traffic { features: ["beta".to_owned()].into(), reads: Some(reads), ..version_of("1") };
    let some = BTreeMap::from([(id("acme"), Some(special.clone()))]);
    let before = store.tell("shop", PROJECT, &addresses(5433), &some).expect("traffic");
    let traffic = |store: &Store| routes(store).traffic().get(&id("acme")).cloned();

    let deployment = begin(&store, before.map(), "acme").expect("acme is free").id;
    assert_eq!(traffic(&store), Some(special.clone()));
    append_all(&store, &deployment, &switch(1, Side::Green, 2));
    let without_reads =
        |version: &str| Traffic { reads: None, schema_version: Some(version.into()), ..special.clone() };
    assert_eq!(traffic(&store), Some(without_reads("2")));
    append_all(&store, &deployment, &[Event::Settled { epoch: epoch(2) }]);
    append_all(&store, &deployment, &[Event::SwitchAsked { to: Side::Blue, why: "slow".into() }]);
    append_all(&store, &deployment, &switch(2, Side::Blue, 3));
    assert_eq!(traffic(&store), Some(without_reads("1")));
    assert_eq!(routes(&store).version(), 5, "each switch is one version");
}

#[test]
fn the_version_of_a_partition_is_recorded_with_each_switch() {
    let directory = Directory::new();
    let store = told(&directory);
    let version = |store: &Store| store.schema_version("shop", &id("acme")).expect("the store");
    assert_eq!(version(&store), None);
    let map = store.map("shop").expect("the store").expect("a map");
    let from_one = Plan { version_before: Some("1".into()), ..plan(&map, "acme", "new") };
    let deployment = store.begin(&asked(from_one), &map, T0).expect("acme is free").id;
    assert_eq!(version(&store), None, "nothing was switched");
    append_all(&store, &deployment, &switch(1, Side::Green, 2));
    assert_eq!(version(&store).as_deref(), Some("2"));
    append_all(&store, &deployment, &[Event::Settled { epoch: epoch(2) }]);
    append_all(&store, &deployment, &[Event::SwitchAsked { to: Side::Blue, why: "slow".into() }]);
    append_all(&store, &deployment, &switch(2, Side::Blue, 3));
    assert_eq!(version(&store).as_deref(), Some("1"), "what blue has, though nobody told routers before");
    assert_eq!(store.schema_version("shop", &id("zeta")).expect("the store"), None);
}

#[test]
fn what_is_carved_out_inherits_what_is_special() {
    let directory = Directory::new();
    let store = told(&directory);
    let some = BTreeMap::from([(id("rest"), Some(version_of("7"))), (id("acme"), Some(version_of("1")))]);
    let before = store.tell("shop", PROJECT, &addresses(5433), &some).expect("traffic");
    let (with_42, name) = carved(before.map(), "tenant_id=42");
    begin(&store, &with_42, name.as_str()).expect("42 is free");
    assert_eq!(routes(&store).traffic().get(&name), Some(&version_of("7")));
}

#[test]
fn what_leads_nowhere_is_not_told() {
    let directory = Directory::new();
    let store = directory.store();
    let error = store.tell("shop", PROJECT, &addresses(1), &unchanged()).expect_err("there is no map");
    assert!(matches!(&error, LogError::NoMap(context) if context == "shop"), "{error}");

    let store = told(&directory);
    let before = routes(&store);
    let only_new = BTreeMap::from([address("new", 1)]);
    let to_nobody = BTreeMap::from([(id("zeta"), Some(version_of("1")))]);
    let reads = Reads { home: home("newer"), percent: 5, shadow: false, stale_max_ms: 100 };
    let from_nowhere =
        BTreeMap::from([(id("acme"), Some(Traffic { reads: Some(reads), ..Traffic::default() }))]);
    let rows = [
        ("a home without an address", only_new, unchanged()),
        ("a partition that is not there", addresses(1), to_nobody),
        ("reads from nowhere", addresses(1), from_nowhere),
    ];
    for (case, addresses, traffic) in rows {
        let error = store.tell("shop", PROJECT, &addresses, &traffic).expect_err(case);
        assert!(matches!(error, LogError::Routes { .. }), "{case}: {error}");
        assert_eq!(routes(&store), before, "{case}");
    }
}

/// Nobody had told where the new home is: that stops no switch, and is told afterwards.
#[test]
fn a_switch_to_a_home_without_an_address_is_a_switch_all_the_same() {
    let directory = Directory::new();
    let store = directory.store();
    let map = store.chart(&shop()).expect("a first map");
    let only_old = BTreeMap::from([address("old", 5432)]);
    let told = store.tell("shop", PROJECT, &only_old, &unchanged()).expect("all live there");
    let deployment = begin(&store, told.map(), "acme").expect("acme is free").id;
    append_all(&store, &deployment, &switch(1, Side::Green, 2));
    let now = store.map("shop").expect("a map").expect("shop has one");
    assert_eq!((map.version(), now.version()), (1, 3));
    let error = store.routes("shop").expect_err("the way to it is not known");
    let nowhere =
        |source: &BadRoutes| matches!(source, BadRoutes::NoAddress { database, .. } if database == "new");
    assert!(matches!(&error, LogError::Routes { source, .. } if nowhere(source)), "{error}");
    assert_eq!(tell(&store, 5433).version(), 4);
    assert_eq!(routes(&store).epoch(&id("acme")), Some(epoch(2)));
}

/// A file of the first format, with a deployment that has switched once.
fn of_format_1(directory: &Directory) {
    let store = directory.store();
    let deployment = begin(&store, &shop(), "acme").expect("acme is free").id;
    append_all(&store, &deployment, &switch(1, Side::Green, 2));
    drop(store);
    let file = Connection::open(directory.file()).expect("the file is a database");
    file.execute_batch(
        "DROP TABLE address; DROP TABLE traffic; DROP TABLE map_before; DROP TABLE trouble; \
         DROP INDEX deployment_of_cohort; ALTER TABLE deployment DROP COLUMN cohort; DROP TABLE cohort; \
         PRAGMA user_version = 1",
    )
    .expect("what the first format did not have");
}

#[test]
fn a_file_of_the_first_format_is_brought_up_to_date() {
    let directory = Directory::new();
    of_format_1(&directory);
    let store = directory.store();
    let map = store.map("shop").expect("a map").expect("shop has one");
    assert_eq!((map.version(), map.leaf(&id("acme")).map(|leaf| leaf.epoch)), (2, Some(epoch(2))));
    assert_eq!(store.routes("shop").expect("nobody has said where"), None);
    assert_eq!(tell(&store, 5433).version(), 3);
    let deployment: DeploymentId = "d1".parse().expect("a legal id");
    append_all(&store, &deployment, &[Event::Settled { epoch: epoch(2) }]);
    append_all(&store, &deployment, &[Event::SwitchAsked { to: Side::Blue, why: "slow".into() }]);
    append_all(&store, &deployment, &switch(2, Side::Blue, 3));
    assert_eq!(routes(&store).version(), 4);
}

#[test]
fn routes_that_were_edited_by_force_are_not_believed() {
    let rows = [
        (
            "UPDATE address SET body = replace(body, 'old.example', 'evil.example') WHERE version = 2",
            "addresses",
        ),
        ("UPDATE address SET project = 'theirs' WHERE version = 2", "addresses"),
        ("UPDATE address SET version = 3 WHERE version = 2", "missing"),
        ("UPDATE traffic SET body = replace(body, '\"1\"', '\"9\"')", "traffic of shop/acme"),
        ("UPDATE traffic SET partition = 'bolt'", "traffic of shop/bolt"),
        ("DELETE FROM address WHERE version = 2", "missing"),
        ("DELETE FROM map", "context shop has addresses and no map"),
    ];
    for (edit, why) in rows {
        let directory = Directory::new();
        let store = told(&directory);
        let some = BTreeMap::from([(id("acme"), Some(version_of("1")))]);
        store.tell("shop", PROJECT, &addresses(5433), &some).expect("traffic");
        drop(store);
        let file = Connection::open(directory.file()).expect("the file is a database");
        file.execute_batch("PRAGMA foreign_keys = OFF").expect("a pragma");
        assert_eq!(file.execute(edit, []).expect(edit), 1, "{edit}");
        drop(file);
        let error = directory.store().routes("shop").expect_err(edit);
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(matches!(error, LogError::Store { .. }) && cause.contains(why), "{edit}: {error}: {cause}");
    }
}

/// Something that somebody does to a store.
#[derive(Clone, Debug)]
enum Deed {
    /// Tells addresses with this port.
    Tell(u16),
    /// Flags a partition, or ends that.
    Flag(usize, bool),
    /// Carves a tenant out and begins its deployment.
    Carve(i64),
    /// Switches the n-th deployment to its other side.
    Switch(usize),
    /// Opens the file anew.
    Reopen,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (1_u16..4).prop_map(Deed::Tell),
        (0_usize..3, any::<bool>()).prop_map(|(n, on)| Deed::Flag(n, on)),
        (10_i64..14).prop_map(Deed::Carve),
        (0_usize..4).prop_map(Deed::Switch),
        Just(Deed::Reopen),
    ]
}

/// A deployment under way, and how often it has switched.
struct UnderWay {
    id: DeploymentId,
    switches: u32,
}

fn switch_once(store: &Store, one: &mut UnderWay) {
    one.switches += 1;
    let to = if one.switches % 2 == 1 { Side::Green } else { Side::Blue };
    append_all(store, &one.id, &[Event::SwitchAsked { to, why: "again".into() }]);
    append_all(store, &one.id, &switch(one.switches, to, u64::from(one.switches) + 1));
    append_all(store, &one.id, &[Event::Settled { epoch: epoch(u64::from(one.switches) + 1) }]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Each change is one version more, nothing else is, and what was told once is told again.
    #[test]
    fn versions_strictly_rise(deeds in prop::collection::vec(deed(), 1..12)) {
        let directory = Directory::new();
        let mut store = told(&directory);
        let mut under_way: Vec<UnderWay> = Vec::new();
        let mut was = vec![routes(&store)];
        for deed in deeds {
            match deed {
                Deed::Tell(port) => drop(tell(&store, port)),
                Deed::Flag(n, on) => {
                    let name = id(["acme", "bolt", "rest"][n]);
                    let flag = BTreeMap::from([(name, on.then(|| version_of("1")))]);
                    let addresses = was[was.len() - 1].addresses().clone();
                    store.tell("shop", PROJECT, &addresses, &flag).expect("a flag");
                }
                Deed::Carve(tenant) => {
                    let now = store.map("shop").expect("a map").expect("shop has one");
                    let (map, name) = carved(&now, &format!("tenant_id={tenant}"));
                    if let Ok(listed) = begin(&store, &map, name.as_str()) {
                        under_way.push(UnderWay { id: listed.id, switches: 0 });
                    }
                }
                Deed::Switch(n) => {
                    if let Some(one) = under_way.get_mut(n) {
                        switch_once(&store, one);
                    }
                }
                Deed::Reopen => {
                    drop(store);
                    store = directory.store();
                }
            }
            let (before, now) = (&was[was.len() - 1], routes(&store));
            let step = now.version() - before.version();
            prop_assert!(step <= 1);
            prop_assert_eq!(step == 0, &now == before, "{:?}", deed);
            prop_assert_eq!(&store.routes_after(before).expect("it can be read"), &now);
            if step == 1 {
                was.push(now);
            }
        }
        let newest = &was[was.len() - 1];
        for then in &was {
            if let Some(told) = store.routes_at("shop", then.version()).expect("it can be read") {
                prop_assert_eq!(&told, then);
            }
            prop_assert_eq!(&store.routes_after(then).expect("it can be read"), newest);
        }
    }
}
