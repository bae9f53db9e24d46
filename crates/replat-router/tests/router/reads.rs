//! Shares of reads, and cohorts of partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use replat_model::cohort;
use replat_model::ids::PartitionId;
use replat_model::route::{Reads, Traffic};
use replat_router::Router;

use crate::scene::{acme, at, globex, home, moved, name, tenants, with_traffic};

fn shared(percent: u8, shadow: bool) -> BTreeMap<PartitionId, Traffic> {
    let reads = Reads { home: home("green"), percent, shadow, stale_max_ms: 250 };
    let traffic = Traffic {
        schema_version: Some("0012".into()),
        features: BTreeSet::from(["new_invoice".to_owned()]),
        reads: Some(reads),
    };
    BTreeMap::from([(name("acme"), traffic)])
}

#[test]
fn of_each_hundred_reads_as_many_go_elsewhere_as_the_routes_say() {
    for percent in [0, 1, 25, 99, 100] {
        let router = Router::fixed(with_traffic(tenants(), shared(percent, false)));
        let elsewhere = |from: u64| {
            let read = |sample| router.read_route(&acme(), sample).expect("a route");
            (from..from + 100).filter(|sample| read(*sample).answers.home == at("green")).count()
        };
        assert_eq!(elsewhere(0), usize::from(percent));
        assert_eq!(elsewhere(12_345), usize::from(percent));
        assert_eq!(elsewhere(u64::MAX - 115), usize::from(percent));
    }
    let router = Router::fixed(with_traffic(tenants(), shared(50, false)));
    let (there, here) = (router.read_route(&acme(), 49), router.read_route(&acme(), 50));
    let (there, here) = (there.expect("a route"), here.expect("a route"));
    assert_eq!(there.answers.address.host, "green.internal");
    assert_eq!(there.stale_max, Some(Duration::from_millis(250)));
    assert_eq!((here.answers.home, here.stale_max, here.shadow), (at("blue"), None, None));
    assert_eq!(router.read_route(&globex(), 0).expect("a route").answers.home, at("blue"));
    let found = router.find(&acme()).expect("a route");
    assert_eq!((&found.home, found.schema_version()), (&at("blue"), Some("0012")));
    assert!(found.has_feature("new_invoice") && !found.has_feature("old_invoice"));
}

#[test]
fn shadow_reads_are_answered_at_home() {
    let router = Router::fixed(with_traffic(tenants(), shared(10, true)));
    let asked = router.read_route(&acme(), 9).expect("a route");
    assert_eq!((asked.answers.home, asked.stale_max), (at("blue"), None));
    let (shadow, stale_max) = asked.shadow.expect("green is asked as well");
    assert_eq!((shadow.home, stale_max), (at("green"), Duration::from_millis(250)));
    assert_eq!(router.read_route(&acme(), 10).expect("a route").shadow, None);
}

#[test]
fn after_the_switch_there_is_no_share_left() {
    let router = Router::fixed(moved(&with_traffic(tenants(), shared(100, false)), "green"));
    let read = router.read_route(&acme(), 0).expect("a route");
    assert_eq!((read.answers.home, read.stale_max), (at("green"), None));
}

#[test]
fn a_share_of_partitions_is_the_same_everywhere() {
    // Fixed for ever: other languages draw the same.
    let rows = [("acme", 8_590), ("globex", 2_698), ("rest", 552)];
    for (partition, want) in rows {
        assert_eq!(cohort::cohort(&name(partition)), want, "{partition}");
    }
}
