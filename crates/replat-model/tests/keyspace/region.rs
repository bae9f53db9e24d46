use replat_model::key::KeyValue;
use replat_model::region::{Constraint, Region};

use crate::{day, dimension, int, tenant_and_day, text};

fn one_of(values: &[i64]) -> Constraint {
    Constraint::OneOf(values.iter().copied().map(int).collect())
}

fn none_of(values: &[i64]) -> Constraint {
    Constraint::NoneOf(values.iter().copied().map(int).collect())
}

fn within(lower: Option<i64>, upper: Option<i64>) -> Constraint {
    Constraint::Within { lower: lower.map(int), upper: upper.map(int) }
}

fn bucket(modulus: u32, remainder: u32) -> Constraint {
    Constraint::Bucket { modulus, remainder }
}

fn region(clauses: &[(usize, Constraint)]) -> Region {
    clauses.iter().fold(Region::everything(), |region, (index, clause)| region.and(*index, clause.clone()))
}

#[test]
fn a_region_reads_as_a_person_would_say_it() {
    let month = Constraint::Within { lower: Some(day("2026-01-01")), upper: Some(day("2026-02-01")) };
    let open = Constraint::Within { lower: None, upper: Some(day("2026-02-01")) };
    let many: Vec<i64> = (1..=11).collect();
    let rows = [
        (region(&[]), "everything"),
        (region(&[(0, one_of(&[42]))]), "tenant_id = 42"),
        (region(&[(0, none_of(&[42]))]), "tenant_id <> 42"),
        (region(&[(0, none_of(&[7, 5]))]), "tenant_id not in (5, 7)"),
        (region(&[(0, one_of(&many))]), "tenant_id in (1, 2, 3, 4, 5, 6, 7, 8 and 3 more)"),
        (region(&[(0, bucket(4, 1))]), "hash(tenant_id) % 4 = 1"),
        (region(&[(1, open)]), "created_at < 2026-02-01"),
        (
            region(&[(1, month), (0, one_of(&[42]))]),
            "tenant_id = 42 and created_at in [2026-01-01, 2026-02-01)",
        ),
    ];
    for (region, want) in rows {
        assert_eq!(region.describe(&tenant_and_day()), want);
    }
    let region = Region::everything().and(0, Constraint::OneOf([text("o'neil\u{1b}")].into()));
    let dimensions = [dimension("name", replat_model::key::KeyType::Text)];
    assert!(!region.describe(&dimensions).contains('\u{1b}'), "a value cannot speak to the terminal");
}

#[test]
fn two_constraints_on_one_dimension_become_one_where_one_can_say_it() {
    let rows = [
        (vec![none_of(&[1]), none_of(&[2])], vec![none_of(&[1, 2])]),
        (vec![within(Some(1), None), within(None, Some(9))], vec![within(Some(1), Some(9))]),
        (vec![within(Some(1), Some(5)), within(Some(3), None)], vec![within(Some(3), Some(5))]),
        (vec![none_of(&[2]), within(None, Some(9)), one_of(&[1, 2, 10])], vec![one_of(&[1])]),
        (vec![bucket(4, 1), bucket(4, 1)], vec![bucket(4, 1)]),
        (vec![none_of(&[2]), bucket(4, 1)], vec![bucket(4, 1), none_of(&[2])]),
    ];
    for (given, want) in rows {
        let given: Vec<_> = given.into_iter().map(|constraint| (0, constraint)).collect();
        let got: Vec<_> = region(&given).constraints().map(|(_, constraint)| constraint.clone()).collect();
        assert_eq!(got, want, "{given:?}");
    }
}

#[test]
fn overlap_is_told_where_it_can_be_told() {
    let rows = [
        ("free", vec![], vec![(0, one_of(&[1]))], Some(true)),
        ("other dimensions", vec![(0, one_of(&[1]))], vec![(1, within(None, Some(5)))], Some(true)),
        ("different values", vec![(0, one_of(&[1, 2]))], vec![(0, one_of(&[3]))], Some(false)),
        ("value and its rest", vec![(0, one_of(&[1]))], vec![(0, none_of(&[1]))], Some(false)),
        ("touching ranges", vec![(0, within(None, Some(5)))], vec![(0, within(Some(5), None))], Some(false)),
        ("meeting ranges", vec![(0, within(None, Some(6)))], vec![(0, within(Some(5), None))], Some(true)),
        ("one bucket", vec![(0, bucket(4, 1))], vec![(0, bucket(4, 1))], Some(true)),
        ("two buckets", vec![(0, bucket(4, 1))], vec![(0, bucket(4, 2))], Some(false)),
        ("odd and even", vec![(0, bucket(4, 1))], vec![(0, bucket(6, 2))], Some(false)),
        ("bucket and range", vec![(0, bucket(4, 1))], vec![(0, within(Some(5), Some(6)))], None),
        // 1 falls into bucket 2 of 4 or it does not: a value can be tried.
        (
            "bucket and value",
            vec![(0, bucket(4, 0)), (1, one_of(&[7]))],
            vec![(0, one_of(&[1])), (1, one_of(&[8]))],
            Some(false),
        ),
    ];
    for (case, a, b, want) in rows {
        assert_eq!(region(&a).overlaps(&region(&b)), want, "{case}");
        assert_eq!(region(&b).overlaps(&region(&a)), want, "{case}, the other way");
    }
}

#[test]
fn a_region_contains_only_keys_that_satisfy_every_constraint() {
    let region = region(&[(0, within(Some(10), Some(20))), (0, none_of(&[15]))]);
    let rows = [(9, false), (10, true), (15, false), (19, true), (20, false)];
    for (n, want) in rows {
        assert_eq!(region.contains(&[int(n)]), want, "{n}");
    }
    assert!(!region.contains(&[]), "a key without the dimension");
}

#[test]
fn json_round_trips_and_damage_does_no_harm() {
    let before = region(&[(0, bucket(4, 1)), (0, none_of(&[5])), (1, within(None, Some(3)))]);
    let json = serde_json::to_string(&before).expect("a region is plain data");
    assert_eq!(serde_json::from_str::<Region>(&json).expect(&json), before);

    let damaged = r#"[{"dimension":0,"constraint":{"bucket":{"modulus":0,"remainder":0}}}]"#;
    let region: Region = serde_json::from_str(damaged).expect(damaged);
    assert!(!region.contains(&[KeyValue::Int(1)]));
    assert_eq!(region.overlaps(&region), Some(true), "it overlaps what it is, as far as anyone can tell");
}
