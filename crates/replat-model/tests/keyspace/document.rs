//! How a map is written and read.

use proptest::prelude::*;
use proptest::sample::Index;
use replat_model::key::KeyType;
use replat_model::map::Map;

use crate::{dimension, epoch, home, id, tenant_and_day, trees};

fn written(map: &Map) -> String {
    serde_json::to_string(map).expect("a map is plain data")
}

#[test]
fn a_map_is_written_as_the_format_says() {
    let dimensions = vec![
        dimension("tenant_id", KeyType::Integer),
        dimension("made", KeyType::TimestampTz),
        dimension("id", KeyType::Uuid),
    ];
    let toml = "split = \"tenant_id\"\n[list]\nacme = [7]\nduo = [9, 8]\n[under.duo]\nsplit = \"made\"\n\
                cuts = [\"2026-01-01\"]\n[under.acme]\nsplit = \"id\"\nhash = 2";
    let map = crate::map(dimensions, toml);
    let map = map.with_home(&id("duo_r1"), home("green"), epoch(2)).expect("the epoch is higher");
    let want = concat!(
        r#"{"format":2,"context":"saas","version":2,"dimensions":[{"column":"tenant_id","type":"integer"},"#,
        r#"{"column":"made","type":"timestamptz"},{"column":"id","type":"uuid"}],"#,
        r#""homes":[["blue","public"],["green","public"]],"#,
        r#""root":{"split":"list","dimension":0,"values":[[7],[8,9]],"children":[["rest",0,1],"#,
        r#"{"split":"hash","dimension":2,"children":[["acme_b0",0,1],["acme_b1",0,1]]},"#,
        r#"{"split":"range","dimension":1,"cuts":["2026-01-01 00:00:00+00"],"#,
        r#""children":[["duo_r0",0,1],["duo_r1",1,2]]}]}}"#,
    );
    assert_eq!(written(&map), want);
}

#[test]
fn a_range_that_was_cut_says_in_which_order_its_children_are() {
    let map = crate::map(tenant_and_day(), "split = \"tenant_id\"\ncuts = [100, 200]");
    let selection = replat_model::map::Selection::parse("tenant_id=[120,150)", map.dimensions());
    let (map, _) = map.carve(&selection.expect("a selection")).expect("r1 has it");
    let text = written(&map);
    let want = concat!(
        r#""cuts":[100,120,150,200],"order":[0,1,3,4,2],"children":[["r0",0,1],["r1",0,1],["r2",0,1],"#,
        r#"["tenant_id_120_to_150",0,1],["r1_from_150",0,1]]"#,
    );
    assert!(text.contains(want), "{text}");
}

#[test]
fn a_damaged_map_is_not_read() {
    let listed = "split = \"tenant_id\"\n[list]\nacme = [7]\nbolt = [8]";
    let hashed = "split = \"tenant_id\"\nhash = 2";
    let ranged = "split = \"tenant_id\"\ncuts = [100, 200]";
    let nested = "split = \"tenant_id\"\ncuts = [100]\n[under.r0]\nsplit = \"tenant_id\"\ncuts = [50]";
    let rows = [
        (listed, r#"[[7],[8]]"#, r#"[[7]]"#, "do not match"),
        (listed, r#"[[7],[8]]"#, r#"[[7],[8],[9]]"#, "do not match"),
        (listed, r#"[[7],[8]]"#, r#"[[7],[]]"#, "no value"),
        (listed, r#"[[7],[8]]"#, r#"[[7],[7]]"#, "listed twice"),
        (listed, r#"[[7],[8]]"#, r#"[["7"],[8]]"#, "another type"),
        (listed, r#"[[7],[8]]"#, r#"[[7],[3000000000]]"#, "another type"),
        (listed, r#"[[7],[8]]"#, r#"[[7],[8.5]]"#, "did not match"),
        (listed, r#""bolt""#, r#""acme""#, "two leaves are named acme"),
        (listed, r#""bolt""#, r#""Bolt""#, "a-z"),
        (listed, r#""dimension":0"#, r#""dimension":2"#, "not there"),
        (listed, r#""dimension":0"#, r#""dimension":0,"cuts":[1,2]"#, "not those of its kind"),
        (listed, r#""list""#, r#""hash""#, "not those of its kind"),
        (listed, r#""list""#, r#""tree""#, "unknown variant"),
        (listed, r#""values""#, r#""valves""#, "unknown field"),
        (listed, r#""version":1"#, r#""version":0"#, "count from 1"),
        (listed, r#""format":2"#, r#""format":1"#, "another format"),
        (listed, r#""dimensions":[{"#, r#""dimensions":[{"column":"a","type":"text"},{"#, "another type"),
        (listed, r#"["acme",0,1]"#, r#"["acme",0,0]"#, "zero"),
        (listed, r#"["acme",0,1]"#, r#"["acme",1,1]"#, "home is not there"),
        (listed, r#"["acme",0,1]"#, r#"["acme",0]"#, "invalid length 2"),
        (listed, r#"["acme",0,1]"#, r#"["acme",0,1,1]"#, "trailing"),
        (listed, r#"["acme",0,1]"#, r#""acme""#, "a leaf, which is an array"),
        (hashed, r#"["b0",0,1],["b1",0,1]"#, "", "no bucket"),
        (ranged, "[100,200]", "[200,100]", "do not ascend"),
        (ranged, "[100,200]", "[100,100]", "do not ascend"),
        (ranged, "[100,200]", "[100]", "do not match"),
        (ranged, "[100,200]", r#"[100,200],"order":[0,1]"#, "name each child once"),
        (ranged, "[100,200]", r#"[100,200],"order":[0,1,1]"#, "name each child once"),
        (ranged, "[100,200]", r#"[100,200],"order":[1,2,3]"#, "name each child once"),
        (nested, "[50]", "[150]", "no key belongs to r0_r1"),
    ];
    for (toml, good, bad, why) in rows {
        let json = written(&crate::map(tenant_and_day(), toml));
        assert!(json.contains(good), "{good} in {json}");
        let error = serde_json::from_str::<Map>(&json.replacen(good, bad, 1)).expect_err(bad).to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
}

#[test]
fn splits_that_are_nested_too_deep_are_not_read() {
    let map = crate::map(tenant_and_day(), "split = \"tenant_id\"\nhash = 1");
    let nested = |depth: usize| {
        let split = r#"{"split":"hash","dimension":0,"children":["#;
        let root = format!("{}[\"b0\",0,1]{}", split.repeat(depth), "]}".repeat(depth));
        serde_json::from_str::<Map>(&written(&map).replace(&format!("{split}[\"b0\",0,1]]}}"), &root))
    };
    assert!(nested(32).is_ok());
    assert!(nested(33).expect_err("too deep").to_string().contains("too deep"));
    assert!(nested(100_000).is_err());
}

#[test]
fn a_map_below_a_long_list_is_read_in_no_time() {
    // If each child of the hash took the whole list along, this would be five billion steps.
    let list: String = (0..50_000).map(|n| format!("t{n} = [{n}]\n")).collect();
    let toml = format!(
        "split = \"tenant_id\"\n[list]\n{list}[under.rest]\nsplit = \"tenant_id\"\nhash = 50000\n[under.t7]\n\
         split = \"created_at\"\nhash = 50000"
    );
    let map = crate::map(tenant_and_day(), &toml);
    assert_eq!(serde_json::from_str::<Map>(&written(&map)).expect("it was written"), map);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_map_comes_back_from_json_as_it_was(map in trees::changed_map(), key in trees::key()) {
        let json = written(&map);
        let back = serde_json::from_str::<Map>(&json).expect(&json);
        prop_assert_eq!(back.lookup(&key), map.lookup(&key));
        prop_assert!(back.leaves().eq(map.leaves()), "the order of the tree");
        for leaf in map.leaves() {
            prop_assert_eq!(back.leaf(&leaf.partition), Some(leaf));
            prop_assert_eq!(back.region(&leaf.partition), map.region(&leaf.partition));
        }
        prop_assert_eq!(written(&back), json);
        prop_assert_eq!(back, map);
    }

    #[test]
    fn whatever_is_read_is_whole(map in trees::changed_map(), edits in edits(), key in trees::key()) {
        if let Ok(map) = serde_json::from_slice::<Map>(&damaged(written(&map), &edits)) {
            // Whoever reads a map may rely on it, whoever wrote it.
            let found = map.lookup(&key);
            for leaf in map.leaves() {
                prop_assert_eq!(map.leaf(&leaf.partition), Some(leaf));
                let region = map.region(&leaf.partition).expect("it is a leaf");
                prop_assert!(!region.is_empty());
                let holds = found == Ok(leaf);
                prop_assert!(found.is_err() || region.contains(&key) == holds);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in any::<Vec<u8>>(), cut in any::<Index>(), map in trees::map()) {
        let _either = serde_json::from_slice::<Map>(&bytes);
        let json = written(&map);
        let cut = cut.index(json.len());
        prop_assert!(serde_json::from_str::<Map>(&json[..cut]).is_err(), "a part is no map");
    }
}

/// Some of the bytes that mean something in these documents, each to be put somewhere.
pub fn edits() -> impl Strategy<Value = Vec<(Index, u8)>> {
    let byte = proptest::sample::select(b"0123456789[]{},:\"-.enlrab ".to_vec());
    proptest::collection::vec((any::<Index>(), byte), 1..4)
}

pub fn damaged(text: String, edits: &[(Index, u8)]) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    for (at, byte) in edits {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes
}
