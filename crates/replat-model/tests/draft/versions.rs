//! The order of versions: what is the next step, and what passes one over.

use replat_model::preflight::Check;

use crate::world::World;

#[test]
fn a_partition_goes_from_each_version_to_the_next() {
    // The order, what the rollout follows if it says so, the version that the partition is at, what is said.
    type Case = (&'static [&'static str], Option<&'static str>, Option<&'static str>, Option<&'static str>);
    let cases: &[Case] = &[
        (&[], None, None, None),
        (&[], None, Some("v7"), None),
        (&["v1", "v2", "v3"], None, Some("v1"), None),
        (&["v1", "v2", "v3"], None, Some("v2"), None),
        (&["v0", "v1", "v2"], None, Some("v0"), Some("shop_42 is at v0, and v2 comes after v1")),
        (&["v0", "v1", "v2"], Some("v0"), Some("v0"), None),
        (&["v0", "v1", "v2"], Some("v0"), Some("v1"), Some("shop_42 is at v1, and v2 comes after v0")),
        (&["v1", "v2", "v3"], None, Some("v3"), Some("shop_42 is at v3, which comes after v2")),
        (&["v1", "v2"], None, Some("trial"), Some("shop_42 is at trial, and v2 comes after v1")),
        (&["v1", "v2"], None, None, Some("which version shop_42 is at was never recorded")),
        (&["v2", "v3"], None, Some("v1"), Some("shop_42 is at v1, and v2 comes after no other version")),
        (&[], Some("v1"), Some("v1"), None),
        (&[], Some("v1"), Some("v0"), Some("shop_42 is at v0, and v2 comes after v1")),
        (&[], Some("v1"), None, Some("which version shop_42 is at was never recorded")),
    ];
    for case @ (versions, after, at, want) in cases {
        let mut w = World::new();
        w.context().versions = versions.iter().map(|version| (*version).to_owned()).collect();
        w.rollout().after = after.map(str::to_owned);
        w.ask.version = at.map(str::to_owned);
        match (w.draft(), want) {
            (Ok(plan), None) => assert_eq!(plan.version_before.as_deref(), *at, "{case:?}"),
            (Err(findings), Some(want)) => {
                let said: Vec<_> = findings.iter().map(|found| (found.code, found.what.as_str())).collect();
                assert_eq!(said, [(Check::VersionGap, *want)], "{case:?}");
            }
            (drafted, _) => panic!("{case:?}: {drafted:?}"),
        }
    }
}
