use replat_model::hash::bucket;
use replat_model::key::{KeyType, KeyValue};

fn rows(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    table.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect())
}

fn number(text: &str) -> u32 {
    text.parse().expect(text)
}

#[test]
fn a_value_falls_into_the_partition_that_postgresql_chose_for_it() {
    let mut checked = 0;
    for row in rows(include_str!("../data/partition-hash.tsv")) {
        let [type_name, text, modulus, remainder] = row[..] else { panic!("{row:?}") };
        let key_type = KeyType::from_postgres(type_name).expect(type_name);
        let value = key_type.parse(text).expect(text);
        assert_eq!(bucket(&[Some(&value)], number(modulus)), number(remainder), "{row:?}");
        checked += 1;
    }
    assert!(checked > 300, "only {checked} rows");
}

#[test]
fn a_value_is_written_as_postgresql_wrote_it() {
    for row in rows(include_str!("../data/partition-hash.tsv")) {
        let key_type = KeyType::from_postgres(row[0]).expect(row[0]);
        let value = key_type.parse(row[1]).expect(row[1]);
        let written = key_type.text_of(&value);
        if key_type == KeyType::TimestampTz {
            // The table has many offsets; replat writes one.
            assert!(written.contains("+00"), "{written}");
            assert_eq!(key_type.parse(&written).as_ref(), Ok(&value), "{written}");
        } else {
            assert_eq!(written, row[1]);
        }
    }
}

#[test]
fn a_composite_key_falls_into_its_partition_and_a_null_does_not_count() {
    let mut nulls = 0;
    for row in rows(include_str!("../data/partition-hash-composite.tsv")) {
        let [types, modulus, remainder, joined] = row[..] else { panic!("{row:?}") };
        let values: Vec<Option<KeyValue>> = types
            .split(',')
            .zip(joined.split('|'))
            .map(|(name, text)| {
                let key_type = KeyType::from_postgres(name).expect(name);
                (!text.is_empty()).then(|| key_type.parse(text).expect(text))
            })
            .collect();
        nulls += values.iter().filter(|value| value.is_none()).count();
        let values: Vec<Option<&KeyValue>> = values.iter().map(Option::as_ref).collect();
        assert_eq!(bucket(&values, number(modulus)), number(remainder), "{row:?}");
    }
    assert!(nulls > 0, "the cases have keys with NULL");
}
