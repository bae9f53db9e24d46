use proptest::prelude::*;
use replat_model::key::{KeyType, KeyValue};
use replat_model::map::{CannotCarve, Dimension, Map, Node, Pick, Selection};

use crate::{day, dimension, home, id, int, map, names, tenant_and_day, text, trees};

const LISTED: &str = "split = \"tenant_id\"\n[list]\nacme = [7]\nduo = [8, 9]";

fn select(text: &str, dimensions: &[Dimension]) -> Selection {
    Selection::parse(text, dimensions).expect(text)
}

/// Carves one selection after the other; the last one's name and all names then.
fn carved(start: &Map, selections: &[&str]) -> (Map, String) {
    let mut last = (start.clone(), String::new());
    for text in selections {
        let (map, name) = last.0.carve(&select(text, start.dimensions())).expect(text);
        last = (map, name.to_string());
    }
    last
}

#[test]
fn a_selection_is_read_as_it_is_meant() {
    let dimensions = [
        dimension("tenant_id", KeyType::Integer),
        dimension("region", KeyType::Text),
        dimension("at", KeyType::Timestamp),
    ];
    let is = |value: KeyValue| Pick::Is(value);
    let within = |lower: Option<KeyValue>, upper: Option<KeyValue>| Pick::Within { lower, upper };
    let at = KeyType::Timestamp.parse("2026-01-01 12:00:00").expect("a moment");
    let rows = [
        ("tenant_id=42", vec![(0, is(int(42)))]),
        (" tenant_id = -42 , region = eu ", vec![(0, is(int(-42))), (1, is(text("eu")))]),
        ("region=eu,tenant_id=42", vec![(0, is(int(42))), (1, is(text("eu")))]),
        ("tenant_id=[100,200)", vec![(0, within(Some(int(100)), Some(int(200))))]),
        ("tenant_id=[100,)", vec![(0, within(Some(int(100)), None))]),
        ("tenant_id=[ , 200 ),region=eu", vec![(0, within(None, Some(int(200)))), (1, is(text("eu")))]),
        ("tenant_id=[41,42)", vec![(0, is(int(41)))]),
        ("region=\"a, \"\"b\"\" [c)\"", vec![(1, is(text("a, \"b\" [c)")))]),
        ("region=\"\"", vec![(1, is(text("")))]),
        ("region=[\"a,b\",\"c)\")", vec![(1, within(Some(text("a,b")), Some(text("c)"))))]),
        ("at=2026-01-01 12:00:00", vec![(2, is(at))]),
    ];
    for (text, want) in rows {
        let want = Selection::Keys(want.into_iter().collect());
        assert_eq!(Selection::parse(text, &dimensions), Ok(want), "{text}");
    }
    assert_eq!(Selection::parse(" acme ", &dimensions), Ok(Selection::Named(id("acme"))));
}

#[test]
fn a_selection_that_cannot_be_meant_is_refused_with_what_was_meant() {
    let rows = [
        ("", "must not be empty"),
        ("Acme", "a-z, 0-9 and _"),
        ("tenant_di=1", "did you mean tenant_id?"),
        ("tenant_id=", "tenant_id has no value"),
        ("tenant_id=x", "\"x\" is not a value of type integer"),
        ("tenant_id=1,tenant_id=2", "tenant_id is given twice"),
        ("tenant_id=1,", "'=' was expected, not the end"),
        ("tenant_id=1,acme", "'=' was expected, not the end"),
        ("=1", "\"\" is not a dimension; there are tenant_id, created_at"),
        ("tenant_id=[1", "',' was expected, not the end"),
        ("tenant_id=[1)", "',' was expected, not ')'"),
        ("tenant_id=[1,2]", "')' was expected, not the end"),
        ("tenant_id=[1,2) x", "',' was expected, not 'x'"),
        ("tenant_id=[,)", "a range without ends is everything"),
        ("tenant_id=[5,5)", "the range from 5 to before 5 is empty"),
        ("created_at=\"2026-01-01", "a quote is opened and not closed"),
    ];
    for (text, want) in rows {
        let error = Selection::parse(text, &tenant_and_day()).expect_err(text).to_string();
        assert!(error.contains(want), "{text}: {error}");
    }
}

#[test]
fn a_carved_partition_has_a_name_that_tells_what_it_is() {
    let whole =
        |key_type| Map::build("saas", vec![dimension("k", key_type)], None, home("blue")).expect("one leaf");
    let rows = [
        (KeyType::Integer, "k=42", "k_42"),
        (KeyType::Integer, "k=-42", "k_minus_42"),
        (KeyType::Integer, "k=[100,200)", "k_100_to_200"),
        (KeyType::Integer, "k=[100,)", "k_from_100"),
        (KeyType::Integer, "k=[,200)", "k_before_200"),
        (KeyType::Date, "k=2026-01-31", "k_2026_01_31"),
        (KeyType::TimestampTz, "k=[2026-01-01 00:00:00+00,)", "k_from_2026_01_01"),
        (KeyType::Uuid, "k=A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "k_a0eebc999c0b4ef8bb6d6bb9bd380a11"),
        (KeyType::Text, "k=acme", "k_acme"),
    ];
    for (key_type, text, want) in rows {
        assert_eq!(carved(&whole(key_type), &[text]).1, want, "{text}");
    }
    // What an id cannot show is told apart by a digest.
    let long = format!("k={}", "x".repeat(60));
    let (map, _) =
        carved(&whole(KeyType::Text), &["k=acme co", "k=acme_co", "k=Acme Co", "k=acme.co", "k=é", &long]);
    let all = names(&map);
    assert_eq!(all.len(), 7);
    assert!(all.contains(&"k_acme_co".to_owned()), "{all:?}");
    assert_eq!(all.iter().filter(|name| name.starts_with("k_acme_co_")).count(), 3, "{all:?}");
}

#[test]
fn carving_cuts_the_leaf_that_holds_the_keys_and_no_other() {
    let ranged = "split = \"tenant_id\"\ncuts = [100, 200]";
    // What is special, the tree, what is carved in turn, the last one's name, all names then.
    type Row = (&'static str, &'static str, &'static [&'static str], &'static str, &'static [&'static str]);
    let rows: [Row; 12] = [
        (
            "out of the rest",
            LISTED,
            &["tenant_id=42"],
            "tenant_id_42",
            &["rest", "acme", "duo", "tenant_id_42"],
        ),
        ("there by name", LISTED, &["acme"], "acme", &["rest", "acme", "duo"]),
        ("there by its value", LISTED, &["tenant_id=7"], "acme", &["rest", "acme", "duo"]),
        (
            "twice",
            LISTED,
            &["tenant_id=1", "tenant_id=1"],
            "tenant_id_1",
            &["rest", "acme", "duo", "tenant_id_1"],
        ),
        (
            "one of two values",
            LISTED,
            &["tenant_id=8"],
            "tenant_id_8",
            &["rest", "acme", "duo", "tenant_id_8"],
        ),
        (
            "then the other is alone",
            LISTED,
            &["tenant_id=8", "tenant_id=9"],
            "duo",
            &["rest", "acme", "duo", "tenant_id_8"],
        ),
        (
            "out of the middle of a range",
            ranged,
            &["tenant_id=[120,150)"],
            "tenant_id_120_to_150",
            &["r0", "r1", "tenant_id_120_to_150", "r1_from_150", "r2"],
        ),
        (
            "out of the lower end",
            ranged,
            &["tenant_id=[100,150)"],
            "tenant_id_100_to_150",
            &["r0", "tenant_id_100_to_150", "r1", "r2"],
        ),
        (
            "out of the open end",
            ranged,
            &["tenant_id=[900,)"],
            "tenant_id_from_900",
            &["r0", "r1", "r2", "tenant_id_from_900"],
        ),
        ("a whole range", ranged, &["tenant_id=[100,200)"], "r1", &["r0", "r1", "r2"]),
        (
            "two dimensions",
            LISTED,
            &["tenant_id=42,created_at=[2026-01-01,)"],
            "tenant_id_42_created_at_from_2026_01_01",
            &["rest", "acme", "duo", "tenant_id_42_rest", "tenant_id_42_created_at_from_2026_01_01"],
        ),
        (
            "the other dimension of a leaf",
            LISTED,
            &["tenant_id=7,created_at=2026-01-01"],
            "tenant_id_7_created_at_2026_01_01",
            &["rest", "acme", "tenant_id_7_created_at_2026_01_01", "duo"],
        ),
    ];
    for (case, toml, selections, name, all) in rows {
        let (after, carved) = carved(&map(tenant_and_day(), toml), selections);
        assert_eq!(carved, name, "{case}");
        assert_eq!(names(&after), all, "{case}");
    }
}

#[test]
fn a_selection_across_partitions_names_them() {
    let hashed = "split = \"tenant_id\"\nhash = 2";
    let rows = [
        (LISTED, "tenant_id=[5,8)", "tenant_id in [5, 8) takes in keys of 2 partitions: rest, acme"),
        (
            LISTED,
            "created_at=2026-01-01",
            "created_at = 2026-01-01 takes in keys of 3 partitions: rest, acme, duo",
        ),
        (hashed, "tenant_id=[5,8)", "takes in keys of 2 partitions: b0, b1"),
        (LISTED, "acne", "saas has no partition acne; did you mean acme?"),
    ];
    for (toml, text, want) in rows {
        let map = map(tenant_and_day(), toml);
        let error = map.carve(&select(text, map.dimensions())).expect_err(text).to_string();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn a_selection_for_another_map_is_refused() {
    let one = Map::build("saas", vec![dimension("k", KeyType::Text)], None, home("blue")).expect("one leaf");
    for text in ["tenant_id=1", "created_at=2026-01-01"] {
        assert!(one.carve(&select(text, &tenant_and_day())).is_err(), "{text}");
    }
}

#[test]
fn a_name_that_another_partition_has_gets_a_digest() {
    let toml = "split = \"tenant_id\"\n[list]\ntenant_id_42 = [7]";
    let (after, name) = carved(&map(tenant_and_day(), toml), &["tenant_id=42"]);
    assert!(name.starts_with("tenant_id_42_"), "{name}");
    assert_eq!(after.lookup(&[int(42), day("2026-01-01")]).map(|leaf| leaf.partition.to_string()), Ok(name));
}

#[test]
fn the_hundredth_tenant_is_a_sibling_of_the_first() {
    let start = Map::build("saas", tenant_and_day(), None, home("blue")).expect("one leaf");
    let all: Vec<String> = (0..100).map(|n| format!("tenant_id={n}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let (after, _) = carved(&start, &all);
    let Node::Split(split) = after.root() else { panic!("the root is a list") };
    assert_eq!(split.children().count(), 101);
    assert_eq!(after.version(), 101);
}

#[test]
fn splits_are_nested_only_so_deep() {
    let mut map = Map::build("saas", tenant_and_day(), None, home("blue")).expect("one leaf");
    // In turn narrower by one dimension and by the other, so that no split above can take one more child.
    let selections = (1..200).map(|n| (1000 - n / 2, KeyValue::Date(1000 - (n + 1) / 2)));
    let mut texts = selections.map(|(tenant, day)| format!("tenant_id=[,{tenant}),created_at=[,{day})"));
    let error = loop {
        let selection = select(&texts.next().expect("the limit is met before"), map.dimensions());
        match map.carve(&selection) {
            Ok((after, _)) => map = after,
            Err(error) => break error,
        }
        let json = serde_json::to_string(&map).expect("a map is plain data");
        assert_eq!(serde_json::from_str::<Map>(&json).expect("what can be carved can be read"), map);
    };
    assert!(matches!(error, CannotCarve::TooDeep(_)), "{error}");
    assert!(map.leaves().count() > 30);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_carved_leaf_holds_the_selected_keys_and_no_others(
        map in trees::map(),
        selection in trees::selection(),
        keys in proptest::collection::vec(trees::key(), 30),
    ) {
        let Ok((after, name)) = map.carve(&selection) else { return Ok(()) };
        let wanted = selection.region().expect("keys were picked");
        for key in keys {
            let before = map.lookup(&key).expect("the key fits");
            let leaf = after.lookup(&key).expect("the key fits");
            prop_assert_eq!(leaf.partition == name, wanted.contains(&key), "{:?}", key);
            prop_assert_eq!((&leaf.home, leaf.epoch), (&before.home, before.epoch));
            let region = after.region(&leaf.partition).expect("it is a leaf");
            prop_assert!(region.contains(&key));
        }
        let json = serde_json::to_string(&after).expect("a map is plain data");
        prop_assert_eq!(&serde_json::from_str::<Map>(&json).expect("a carved map is a map"), &after);
        let again = after.carve(&selection).expect("it is there");
        prop_assert_eq!(again, (after, name));
    }

    #[test]
    fn no_text_makes_the_parser_of_selections_panic(any in ".*", near in "(tenant_id|region)=[\\[\"a-c0-9,) ]{0,12}") {
        for text in [any, near] {
            let _either = Selection::parse(&text, &trees::dimensions());
        }
    }
}
