//! What is sent of a change.

use proptest::prelude::*;
use replat_model::map::{BadDelta, Map, MapDelta, Selection};

use crate::document::{damaged, edits};
use crate::trees::{self, after};
use crate::{epoch, home, id, tenant_and_day};

fn listed() -> Map {
    crate::map(tenant_and_day(), "split = \"tenant_id\"\n[list]\nacme = [7]\nduo = [8, 9]")
}

fn ranged() -> Map {
    crate::map(tenant_and_day(), "split = \"tenant_id\"\ncuts = [100, 200]")
}

fn carved(map: &Map, selection: &str) -> Map {
    let selection = Selection::parse(selection, map.dimensions()).expect(selection);
    map.carve(&selection).expect("one partition has it").0
}

fn written(delta: &MapDelta) -> String {
    serde_json::to_string(delta).expect("a delta is plain data")
}

fn read(json: &str) -> MapDelta {
    serde_json::from_str(json).expect(json)
}

#[test]
fn a_delta_is_written_as_the_format_says() {
    let switched = listed().with_home(&id("acme"), home("green"), epoch(2)).expect("the epoch is higher");
    let rows = [
        ("a switch", listed(), switched, r#"[["green","public"]],"changes":[["acme",0,2]]"#),
        (
            "a value of a list",
            listed(),
            carved(&listed(), "tenant_id=42"),
            r#"[["blue","public"]],"changes":[{"at":[],"points":[[42,3]],"children":[["tenant_id_42",0,1]]}]"#,
        ),
        (
            "the middle of a range",
            ranged(),
            carved(&ranged(), "tenant_id=[120,150)"),
            concat!(
                r#"[["blue","public"]],"changes":[{"at":[],"points":[[120,3],[150,4]],"#,
                r#""children":[["tenant_id_120_to_150",0,1],["r1_from_150",0,1]]}]"#
            ),
        ),
        (
            "the lower end of a range",
            ranged(),
            carved(&ranged(), "tenant_id=[,50)"),
            concat!(
                r#"[["blue","public"]],"changes":[{"at":[],"points":[[null,3],[50,0]],"#,
                r#""children":[["tenant_id_before_50",0,1]]}]"#
            ),
        ),
        (
            "one of two values",
            listed(),
            carved(&listed(), "tenant_id=8"),
            concat!(
                r#"[["blue","public"]],"changes":[{"at":[2],"node":{"split":"list","dimension":0,"#,
                r#""values":[[8]],"children":[["duo",0,1],["tenant_id_8",0,1]]}}]"#
            ),
        ),
    ];
    for (case, before, after, want) in rows {
        let delta = before.delta(&after).expect("a later version");
        assert_eq!(
            written(&delta),
            format!(r#"{{"context":"saas","from":1,"to":2,"homes":{want}}}"#),
            "{case}"
        );
        assert_eq!(before.apply(&delta), Ok(after), "{case}");
    }
}

#[test]
fn what_is_no_later_version_of_a_map_has_no_delta() {
    let (map, other) = (listed(), carved(&listed(), "tenant_id=42"));
    let fewer = vec![crate::dimension("tenant_id", replat_model::key::KeyType::Integer)];
    let narrow = crate::map(fewer, "split = \"tenant_id\"\nhash = 2");
    let narrow = narrow.with_home(&id("b0"), home("green"), epoch(2)).expect("the epoch is higher");
    assert_eq!(map.delta(&map), None, "the same");
    assert_eq!(other.delta(&map), None, "an earlier one");
    assert_eq!(map.delta(&narrow), None, "by other dimensions");
}

#[test]
fn a_delta_that_does_not_fit_is_refused() {
    let map = listed();
    let rows = [
        ("context", r#"{"context":"shed","from":1,"to":2,"homes":[],"changes":[]}"#, "is for context shed"),
        ("from", r#"{"context":"saas","from":2,"to":3,"homes":[],"changes":[]}"#, "map is at version 1"),
        ("to", r#"{"context":"saas","from":1,"to":1,"homes":[],"changes":[]}"#, "from version 1 to 1"),
    ];
    for (case, json, want) in rows {
        let error = map.apply(&read(json)).expect_err(case).to_string();
        assert!(error.contains(want), "{case}: {error}");
    }
    let switched = |name: &str, epoch_number| {
        let json = r#"{"context":"saas","from":2,"to":3,"homes":[["a","b"]],"changes":[["NAME",0,EPOCH]]}"#;
        read(&json.replace("NAME", name).replace("EPOCH", epoch_number))
    };
    let map = map.with_home(&id("acme"), home("green"), epoch(2)).expect("the epoch is higher");
    assert_eq!(map.apply(&switched("acne", "3")), Err(BadDelta::NoSuch(id("acne"))));
    for given in ["1", "2"] {
        let error = map.apply(&switched("acme", given)).expect_err("no higher epoch");
        assert!(matches!(&error, BadDelta::Epoch { has, .. } if *has == epoch(2)), "{error}");
    }
    let after = map.apply(&switched("acme", "4")).expect("epochs may be left out");
    assert_eq!(after.leaf(&id("acme")).map(|leaf| leaf.epoch), Some(epoch(4)));
}

#[test]
fn a_delta_that_would_damage_the_map_is_refused() {
    let both =
        "split = \"tenant_id\"\n[list]\nduo = [8, 9]\n[under.duo]\nsplit = \"tenant_id\"\nlist = { a = [8] }";
    let both = crate::map(tenant_and_day(), both);
    let rows = [
        (listed(), r#"{"at":[],"points":[[42,3]],"children":[["acme",0,1]]}"#, "two leaves are named acme"),
        (listed(), r#"{"at":[],"points":[],"children":[["a",0,1]]}"#, "no value"),
        (listed(), r#"{"at":[],"points":[[7,3]],"children":[["a",0,1]]}"#, "listed twice"),
        (listed(), r#"{"at":[],"points":[["7",3]],"children":[["a",0,1]]}"#, "another type"),
        (listed(), r#"{"at":[],"points":[[42,4]],"children":[["a",0,1]]}"#, "leads to no child"),
        (listed(), r#"{"at":[],"points":[[42,3],[43,0]],"children":[["a",0,1]]}"#, "leads to no child"),
        (listed(), r#"{"at":[],"points":[[null,3]],"children":[["a",0,1]]}"#, "no cuts"),
        (listed(), r#"{"at":[],"points":[[42,3]],"children":[["a",1,1]]}"#, "home is not there"),
        (listed(), r#"{"at":[1],"points":[[42,3]],"children":[["a",0,1]]}"#, "nothing that could grow"),
        (listed(), r#"{"at":[9],"node":["a",0,1]}"#, "nothing that could grow"),
        (listed(), r#"{"at":[0,0],"node":["a",0,1]}"#, "nothing that could grow"),
        (listed(), r#"{"at":[0]}"#, "neither a new node"),
        (listed(), r#"{"at":[0],"node":["a",0,1],"points":[]}"#, "neither a new node"),
        (listed(), r#"{"at":[0],"node":["acme",0,1]}"#, "two leaves are named acme"),
        (
            listed(),
            r#"{"at":[1],"node":{"split":"range","dimension":0,"cuts":[9],"children":[["a",0,1],["b",0,1]]}}"#,
            "no key belongs to b",
        ),
        (ranged(), r#"{"at":[],"points":[[50,3]],"children":[]}"#, "leads to no child"),
        (ranged(), r#"{"at":[],"points":[[50,2]],"children":[]}"#, "do not match"),
        (ranged(), r#"{"at":[],"points":[[50,1]],"children":[["a",0,1]]}"#, "do not match"),
        (ranged(), r#"{"at":[],"points":[[100,3]],"children":[["a",0,1]]}"#, "do not match"),
        (ranged(), r#"{"at":[],"points":[],"children":[["a",0,1]]}"#, "do not match"),
        (both, r#"{"at":[1],"points":[[9,2]],"children":[["x",0,1]]}"#, "no key belongs to duo_rest"),
    ];
    for (map, change, want) in rows {
        let json = format!(
            r#"{{"context":"saas","from":1,"to":2,"homes":[["blue","public"]],"changes":[{change}]}}"#
        );
        let error = map.apply(&read(&json)).expect_err(change);
        let mut text = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            text += &format!(": {cause}");
        }
        assert!(text.contains(want), "{change}: {text}");
    }
}

#[test]
fn no_partition_is_taken_back_by_way_of_the_tree() {
    let switched = listed().with_home(&id("acme"), home("green"), epoch(3)).expect("the epoch is higher");
    for (leaf, fine) in [("[\"acme\",0,2]", false), ("[\"acme\",0,3]", false), ("[\"acme\",0,4]", true)] {
        let json = format!(
            r#"{{"context":"saas","from":2,"to":3,"homes":[["blue","public"]],"changes":[{{"at":[1],"node":{leaf}}}]}}"#
        );
        assert_eq!(switched.apply(&read(&json)).is_ok(), fine, "{leaf}");
    }
}

#[test]
fn a_change_of_a_great_map_is_a_small_delta() {
    let list: String = (0..100_000).map(|n| format!("t{n} = [{n}]\n")).collect();
    let before = crate::map(tenant_and_day(), &format!("split = \"tenant_id\"\n[list]\n{list}"));
    let mut after = before.clone();
    // Were any of these linear in the number of leaves, this would be noticed as a hang.
    for n in 0..2_000 {
        after = after.with_home(&id(&format!("t{n}")), home("green"), epoch(2)).expect("the epoch is higher");
        after = carved(&after, &format!("tenant_id={}", 200_000 + n));
    }
    let delta = before.delta(&after).expect("a later version");
    assert_eq!(delta.changes(), 2_001, "a line for each switch, and one for all that were carved");
    assert!(written(&delta).len() < 120_000, "{}", written(&delta).len());
    assert_eq!(before.apply(&delta), Ok(after));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_delta_leads_from_one_map_to_the_other(
        start in trees::changed_map(),
        first in trees::deeds(6),
        second in trees::deeds(6),
        key in trees::key(),
    ) {
        let end = after(&start, &first);
        if let Some(delta) = start.delta(&end) {
            let arrived = start.apply(&read(&written(&delta)));
            let arrived = arrived.expect("it was made for this map");
            prop_assert_eq!(&arrived, &end);
            prop_assert_eq!(arrived.lookup(&key), end.lookup(&key));
            prop_assert!(arrived.leaves().all(|leaf| arrived.leaf(&leaf.partition) == Some(leaf)));
            // It is a map like any other: what happens to it next is what happens to the other.
            prop_assert_eq!(after(&arrived, &second), after(&end, &second));
        }
    }

    #[test]
    fn between_any_two_maps_there_is_a_delta(a in trees::changed_map(), b in trees::changed_map()) {
        // No epoch is lower than one that was there: a first version has the first epoch everywhere.
        let a = trees::built_anew(&a);
        if let Some(delta) = a.delta(&b) {
            let arrived = a.apply(&delta).expect("it was made for this map");
            prop_assert_eq!(&arrived, &b);
            prop_assert!(arrived.leaves().all(|leaf| arrived.leaf(&leaf.partition) == Some(leaf)));
        }
    }

    #[test]
    fn whatever_delta_is_applied_leaves_a_map(
        start in trees::changed_map(),
        deeds in trees::deeds(4),
        edits in edits(),
    ) {
        let Some(delta) = start.delta(&after(&start, &deeds)) else { return Ok(()) };
        let Ok(delta) = serde_json::from_slice::<MapDelta>(&damaged(written(&delta), &edits)) else { return Ok(()) };
        if let Ok(arrived) = start.apply(&delta) {
            let json = serde_json::to_string(&arrived).expect("a map is plain data");
            prop_assert_eq!(&serde_json::from_str::<Map>(&json).expect("it is checked as a whole"), &arrived);
            prop_assert!(arrived.leaves().all(|leaf| arrived.leaf(&leaf.partition) == Some(leaf)));
        }
    }
}
