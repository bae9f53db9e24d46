use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;
use replat_model::ids::PartitionId;
use replat_model::key::KeyValue;
use replat_model::map::{BadKey, Leaf, Map, Node};
use replat_model::region::Region;

use crate::{day, epoch, home, id, int, tenant_and_day, text, trees};

fn regions(map: &Map) -> BTreeMap<PartitionId, Region> {
    let region = |leaf: &Leaf| (leaf.partition.clone(), map.region(&leaf.partition).expect("it is a leaf"));
    map.leaves().map(region).collect()
}

/// All nodes of both trees that are not one and the same, by their places.
fn unshared(before: &Node, after: &Node) -> usize {
    match (before, after) {
        (Node::Split(a), Node::Split(b)) if Arc::ptr_eq(a, b) => 0,
        (Node::Split(a), Node::Split(b)) => {
            1 + a.children().zip(b.children()).map(|(a, b)| unshared(a, b)).sum::<usize>()
        }
        _ => usize::from(before != after),
    }
}

fn depth(node: &Node) -> usize {
    match node {
        Node::Leaf(_) => 1,
        Node::Split(split) => 1 + split.children().map(depth).max().unwrap_or(0),
    }
}

#[test]
fn a_key_of_the_wrong_shape_is_refused() {
    let map = crate::map(tenant_and_day(), "split = \"tenant_id\"\nhash = 4");
    let rows: [(&str, Vec<KeyValue>, &str); 4] = [
        ("too short", vec![int(1)], "the key has 1 values, but saas is partitioned by 2"),
        ("too long", vec![int(1), day("2026-01-01"), int(1)], "the key has 3 values"),
        ("type", vec![text("1"), day("2026-01-01")], "1 is not a value of tenant_id, whose type is integer"),
        ("range", vec![int(1 << 40), day("2026-01-01")], "1099511627776 is not a value of tenant_id"),
    ];
    for (case, key, want) in rows {
        let error: BadKey = map.lookup(&key).expect_err(case);
        assert!(error.to_string().starts_with(want), "{case}: {error}");
        let partial: Vec<_> = key.into_iter().map(Some).collect();
        assert_eq!(map.lookup_partial(&partial).expect_err(case), error, "{case}");
    }
}

#[test]
fn a_home_changes_only_towards_a_higher_epoch() {
    let map = crate::map(tenant_and_day(), "split = \"tenant_id\"\n[list]\nacme = [7]");
    let acme = id("acme");
    assert_eq!(map.with_home(&acme, home("green"), epoch(1)), None, "the epoch it has");
    assert_eq!(map.with_home(&id("acne"), home("green"), epoch(2)), None, "no such partition");

    let after = map.with_home(&acme, home("green"), epoch(2)).expect("the epoch is higher");
    assert_eq!(after.version(), 2);
    assert_eq!(
        after.leaf(&acme).map(|leaf| (&leaf.home, leaf.epoch)),
        Some((&Arc::new(home("green")), epoch(2)))
    );
    assert_eq!(after.with_home(&acme, home("blue"), epoch(2)), None, "the same switch again");
    assert_eq!(map.leaf(&acme).map(|leaf| leaf.epoch), Some(epoch(1)), "the old version is as it was");
}

#[test]
fn a_hundred_thousand_tenants_are_one_list() {
    // What is linear is done a few times here and no more, so that a quadratic slip is noticed as a hang.
    let list: String = (0..100_000).map(|n| format!("t{n} = [{n}]\n")).collect();
    let map = crate::map(tenant_and_day(), &format!("split = \"tenant_id\"\n[list]\n{list}"));
    let key = |n| [int(n), day("2026-01-01")];
    assert_eq!(map.lookup(&key(77_777)).map(|leaf| leaf.partition.as_str()), Ok("t77777"));
    assert_eq!(map.lookup(&key(100_000)).map(|leaf| leaf.partition.as_str()), Ok("rest"));
    let moved = map.with_home(&id("t5"), home("green"), epoch(2)).expect("the epoch is higher");
    assert_eq!(map.diff(&moved).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_key_has_exactly_one_leaf_and_lookup_finds_it(map in trees::map(), keys in proptest::collection::vec(trees::key(), 20)) {
        let regions = regions(&map);
        for key in keys {
            let holders: Vec<_> = regions.iter().filter(|(_, region)| region.contains(&key)).collect();
            prop_assert_eq!(holders.len(), 1, "{:?}", holders);
            prop_assert_eq!(&map.lookup(&key).expect("the key fits").partition, holders[0].0);
        }
    }

    #[test]
    fn of_the_parts_of_a_split_one_takes_a_value_and_leads_to_its_leaf(map in trees::changed_map(), key in trees::key()) {
        let mut node = map.root();
        while let Node::Split(split) = node {
            let taking: Vec<_> =
                split.parts().filter(|(constraint, _)| constraint.admits(&key[split.dimension()])).collect();
            prop_assert_eq!(taking.len(), 1);
            node = taking[0].1;
        }
        let Node::Leaf(leaf) = node else { unreachable!("the walk ends at a leaf") };
        prop_assert_eq!(leaf, map.lookup(&key).expect("the key fits"));
    }

    #[test]
    fn a_partial_key_finds_every_leaf_that_its_whole_keys_have(
        map in trees::map(),
        key in trees::key(),
        known in any::<[bool; 3]>(),
    ) {
        let partial: Vec<_> = key.iter().zip(known).map(|(v, known)| known.then(|| v.clone())).collect();
        let found: BTreeSet<_> =
            map.lookup_partial(&partial).expect("the key fits").into_iter().map(|leaf| &leaf.partition).collect();
        let regions = regions(&map);
        // A leaf is compatible if what its region asks of the known dimensions is so; of the others, some value
        // does, since a map holds no leaf out of reach.
        let compatible: BTreeSet<_> = regions
            .iter()
            .filter(|(_, region)| region.constraints().all(|(i, c)| partial[i].as_ref().is_none_or(|v| c.admits(v))))
            .map(|(name, _)| name)
            .collect();
        prop_assert_eq!(found, compatible);
    }

    #[test]
    fn a_new_home_changes_one_leaf_and_shares_all_that_is_off_its_path(map in trees::map(), chosen in any::<Index>()) {
        let leaves: Vec<_> = map.leaves().collect();
        let chosen = chosen.get(&leaves).partition.clone();
        let after = map.with_home(&chosen, home("green"), epoch(5)).expect("the epoch is higher");

        let changes = map.diff(&after);
        prop_assert_eq!(changes.len(), 1);
        prop_assert_eq!(&changes[0].partition, &chosen);
        prop_assert_eq!(changes[0].before.as_ref(), map.leaf(&chosen));
        prop_assert_eq!(changes[0].after.as_ref(), after.leaf(&chosen));
        prop_assert_eq!(map.region(&chosen), after.region(&chosen));
        prop_assert!(unshared(map.root(), after.root()) <= depth(map.root()), "more than a path was copied");
    }

    #[test]
    fn a_leaf_is_found_by_its_name_and_by_no_other(map in trees::changed_map(), other in "[a-c_0-2]{1,4}") {
        let leaves: BTreeMap<_, _> = map.leaves().map(|leaf| (leaf.partition.clone(), leaf)).collect();
        for (name, leaf) in &leaves {
            prop_assert_eq!(map.leaf(name), Some(*leaf));
        }
        prop_assert_eq!(map.leaf(&id(&other)).is_some(), leaves.contains_key(&id(&other)));
    }

    #[test]
    fn leaves_overlap_nobody_but_themselves(map in trees::map()) {
        let regions: Vec<_> = regions(&map).into_values().collect();
        for (i, a) in regions.iter().enumerate() {
            for (j, b) in regions.iter().enumerate() {
                prop_assert_ne!(a.overlaps(b), Some(i != j), "{:?} and {:?}", a, b);
            }
        }
    }
}
