use replat_model::key::KeyType;
use replat_model::map::{Map, Tree};

use crate::{dimension, home, id, names, tenant_and_day, tree};

#[test]
fn leaves_are_named_after_the_way_to_them() {
    let rows = [
        ("split = \"tenant_id\"\nhash = 3", vec!["b0", "b1", "b2"]),
        (
            "split = \"tenant_id\"\nrest = \"others\"\n[list]\nacme = [1, 2]\nbolt = [\"3\"]",
            vec!["others", "acme", "bolt"],
        ),
        ("split = \"created_at\"\ncuts = [\"2026-01-01\", \"2026-02-01\"]", vec!["r0", "r1", "r2"]),
        ("split = \"created_at\"\ncuts = [\"2026-01-01\"]\nnames = [\"old\", \"new\"]", vec!["old", "new"]),
        (
            "split = \"tenant_id\"\n[list]\nacme = [1]\n[under.acme]\nsplit = \"created_at\"\ncuts = [\"2026-01-01\"]\n[under.rest]\nsplit = \"tenant_id\"\nhash = 2",
            vec!["rest_b0", "rest_b1", "acme_r0", "acme_r1"],
        ),
    ];
    for (toml, want) in rows {
        assert_eq!(names(&crate::map(tenant_and_day(), toml)), want, "{toml}");
    }
}

#[test]
fn without_a_tree_the_context_is_one_partition() {
    let map = Map::build("billing", tenant_and_day(), None, home("blue")).expect("nothing can be wrong");
    assert_eq!(names(&map), ["billing"]);
    assert_eq!(
        map.region(&id("billing")).map(|region| region.describe(map.dimensions())).as_deref(),
        Some("everything")
    );
}

#[test]
fn a_bad_tree_says_what_is_wrong_and_where_and_what_was_meant() {
    let rows = [
        ("split = \"tenant\"\nhash = 2", "split: \"tenant\" is not a dimension of this context"),
        ("split = \"tenant_ids\"\nhash = 2", "did you mean tenant_id?"),
        ("split = \"tenant_id\"", "a split needs one of list, hash and cuts"),
        ("split = \"tenant_id\"\nhash = 2\ncuts = [1]", "only one of"),
        ("split = \"tenant_id\"\nhash = 0", "hash: the modulus must be from 1 to 1048576; it is 0"),
        ("split = \"tenant_id\"\nhash = 2\nnames = [\"a\", \"b\"]", "names: names belong to cuts"),
        ("split = \"tenant_id\"\nhash = 2\nrest = \"a\"", "rest: a rest belongs to a list"),
        ("split = \"tenant_id\"\ncuts = []", "cuts: there is no cut"),
        ("split = \"tenant_id\"\ncuts = [2, 1]", "cuts must ascend; 2 is not before 1"),
        ("split = \"tenant_id\"\ncuts = [1]\nnames = [\"a\"]", "names: 1 cuts need 2 names; there are 1"),
        ("split = \"created_at\"\ncuts = [\"2026-02-30\"]", "the month does not have that day"),
        ("split = \"tenant_id\"\n[list]\nacme = []", "list.acme: acme has no values"),
        ("split = \"tenant_id\"\n[list]\nacme = [\"x\"]", "list.acme: \"x\" is not a value of type integer"),
        ("split = \"tenant_id\"\n[list]\na = [1]\nb = [1]", "list.b: 1 is listed twice, for a and b"),
        ("split = \"tenant_id\"\n[list]\na = [1, 1]", "list.a: 1 is listed twice, for a and a"),
        ("split = \"tenant_id\"\n[list]\nAcme = [1]", "a child cannot have this name"),
        ("split = \"tenant_id\"\nrest = \"a\"\n[list]\na = [1]", "two children are named a"),
        (
            "split = \"tenant_id\"\n[list]\nacme = [1]\n[under.acne]\nsplit = \"tenant_id\"\nhash = 2",
            "under: there is no child \"acne\" to be split further; did you mean acme?",
        ),
        (
            "split = \"tenant_id\"\n[list]\nacme = [1]\n[under.acme]\nsplit = \"tenant_id\"\ncuts = [5]",
            "under.acme.under.r1: no key can reach r1",
        ),
        (
            "split = \"tenant_id\"\n[list]\na_r0 = [1]\na = [2]\n[under.a]\nsplit = \"created_at\"\ncuts = [\"2026-01-01\"]",
            "two partitions would be named a_r0",
        ),
    ];
    for (toml, want) in rows {
        let error = Map::build("saas", tenant_and_day(), Some(&tree(toml)), home("blue"))
            .expect_err(toml)
            .to_string();
        assert!(error.contains(want), "{toml}\n{error}");
    }
}

#[test]
fn a_context_needs_different_dimensions_and_a_usable_name() {
    let twice = vec![dimension("a", KeyType::Integer), dimension("a", KeyType::Text)];
    let rows = [
        ("saas", vec![], "has no dimension"),
        ("saas", twice, "has two dimensions \"a\""),
        ("Big Context", tenant_and_day(), "name cannot be used"),
    ];
    for (context, dimensions, want) in rows {
        let error = Map::build(context, dimensions, None::<&Tree>, home("blue")).expect_err(want).to_string();
        assert!(error.contains(want), "{error}");
    }
}
