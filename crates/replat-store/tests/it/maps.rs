use replat_engine::{LogError, WorkLog};
use replat_model::deploy::Event;
use replat_model::ids::Side;

use crate::{Directory, T0, append_all, asked, begin, carved, epoch, home, id, open, plan, shop, switch};

#[test]
fn a_switch_and_the_map_change_together() {
    let directory = Directory::new();
    let (store, map) = (directory.store(), shop());
    let deployment = begin(&store, &map, "acme").expect("nobody else has acme").id;
    let leaf = |store: &dyn WorkLog| {
        let map = store.map("shop").expect("a map").expect("shop has one");
        (map.version(), map.leaf(&id("acme")).cloned().expect("acme"))
    };

    append_all(&store, &deployment, &switch(1, Side::Green, 2));
    let (version, acme) = leaf(&store);
    assert_eq!((version, &*acme.home, acme.epoch), (2, &home("new"), epoch(2)));

    append_all(&store, &deployment, &[Event::Settled { epoch: epoch(2) }]);
    append_all(&store, &deployment, &[Event::SwitchAsked { to: Side::Blue, why: "slow".into() }]);
    append_all(&store, &deployment, &switch(2, Side::Blue, 3));
    drop(store);
    let (version, acme) = leaf(&open(&directory.file()));
    assert_eq!((version, &*acme.home, acme.epoch), (3, &home("old"), epoch(3)));
}

#[test]
fn switches_of_several_partitions_are_all_in_the_map() {
    let directory = Directory::new();
    let (store, map) = (directory.store(), shop());
    let acme = begin(&store, &map, "acme").expect("acme is free").id;
    let bolt = begin(&store, &map, "bolt").expect("bolt is free").id;
    append_all(&store, &bolt, &switch(1, Side::Green, 2));
    append_all(&store, &acme, &switch(1, Side::Green, 2));

    let now = store.map("shop").expect("a map").expect("shop has one");
    assert_eq!(now.version(), 3);
    let homes: Vec<_> = now.leaves().map(|leaf| leaf.home.database.as_str()).collect();
    assert_eq!(homes, ["old", "new", "new"]);

    // The next beginning writes the map whole; later switches count on from there.
    let rest = begin(&store, &now, "rest").expect("the rest is free").id;
    append_all(&store, &rest, &switch(1, Side::Green, 2));
    let last = store.map("shop").expect("a map").expect("shop has one");
    assert_eq!((last.version(), last.leaf(&id("rest")).map(|leaf| leaf.epoch)), (4, Some(epoch(2))));
}

#[test]
fn a_carved_partition_is_published_when_its_deployment_begins() {
    let directory = Directory::new();
    let (store, map) = (directory.store(), shop());
    begin(&store, &map, "acme").expect("acme is free");
    let (with_42, name) = carved(&map, "tenant_id=42");
    begin(&store, &with_42, name.as_str()).expect("42 is free");
    assert_eq!(store.map("shop").expect("a map"), Some(with_42.clone()));
    // The same map again is fine; its predecessor is stale.
    begin(&store, &with_42, "bolt").expect("bolt is free");
    let error = begin(&store, &map, "rest").expect_err("the map has moved on");
    assert!(matches!(error, LogError::Stale { .. }), "{error}");
}

#[test]
fn nothing_is_cut_out_of_a_partition_that_is_moving() {
    let directory = Directory::new();
    let (store, map) = (directory.store(), shop());
    let rest = begin(&store, &map, "rest").expect("the rest is free");
    let (with_42, name) = carved(&map, "tenant_id=42");
    let error = begin(&store, &with_42, name.as_str()).expect_err("42 is in the rest");
    assert!(matches!(&error, LogError::Busy { by, .. } if *by == rest.id), "{error}");
    assert_eq!(store.map("shop").expect("a map"), Some(map));
}

#[test]
fn a_plan_for_another_map_is_stale() {
    let directory = Directory::new();
    let (store, map) = (directory.store(), shop());
    let before = plan(&map, "acme", "new");
    let deployment = begin(&store, &map, "acme").expect("acme is free").id;
    append_all(&store, &deployment, &switch(1, Side::Green, 2));
    append_all(&store, &deployment, &[Event::FinishAsked { why: "done".into() }, Event::Finished { at: T0 }]);
    let now = store.map("shop").expect("a map").expect("shop has one");

    let mut other_home = plan(&now, "acme", "newer");
    other_home.blue.home = home("old");
    let mut other_keys = plan(&now, "acme", "newer");
    other_keys.region = now.region(&id("bolt")).expect("bolt");
    let mut unknown = plan(&now, "acme", "newer");
    unknown.partition = id("zeta");
    let mut other_context = plan(&now, "acme", "newer");
    other_context.context = "shed".into();
    let (twice_carved, _) = carved(&carved(&now, "tenant_id=42").0, "tenant_id=43");
    let forged = now.with_home(&id("bolt"), home("new"), epoch(2)).expect("the epoch is higher");
    let rows = [
        ("another epoch", before.clone(), &now, "acme is at e2, and the plan is for e1"),
        ("another home", other_home, &now, "acme is on new.public, and the plan is for old.public"),
        ("other keys", other_keys, &now, "other keys"),
        ("no such partition", unknown, &now, "no partition zeta"),
        ("another context", other_context, &now, "for context shed"),
        ("an old map", before, &map, "the map is at version 2 now"),
        (
            "two steps ahead",
            plan(&twice_carved, "acme", "newer"),
            &twice_carved,
            "the map is at version 2 now",
        ),
        (
            "a home that nobody decided",
            plan(&forged, "bolt", "newer"),
            &forged,
            "the map is at version 2 now",
        ),
    ];
    for (case, plan, map, why) in rows {
        let error = store.begin(&asked(plan), map, T0).expect_err(case);
        assert!(
            matches!(error, LogError::Stale { .. }) && error.to_string().contains(why),
            "{case}: {error}"
        );
    }
    assert_eq!(store.list().expect("a list").len(), 1);
    assert_eq!(store.map("shop").expect("a map"), Some(now));
}

#[test]
fn a_context_without_a_deployment_has_no_map() {
    let directory = Directory::new();
    let store = directory.store();
    assert_eq!(store.map("shop").expect("a map or none"), None);
}
