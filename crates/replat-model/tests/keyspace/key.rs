use proptest::prelude::*;
use replat_model::key::{KeyLiteral, KeyType, KeyValue};

const TYPES: [KeyType; 8] = [
    KeyType::SmallInt,
    KeyType::Integer,
    KeyType::BigInt,
    KeyType::Text,
    KeyType::Uuid,
    KeyType::Date,
    KeyType::Timestamp,
    KeyType::TimestampTz,
];

const HOUR: i64 = 3_600_000_000;

#[test]
fn a_value_is_read_as_postgresql_writes_it() {
    use KeyType::{BigInt, Date, Integer, SmallInt, Text, Timestamp, TimestampTz, Uuid};
    let uuid = KeyValue::Uuid(0xa0ee_bc99_9c0b_4ef8_bb6d_6bb9_bd38_0a11_u128.to_be_bytes());
    let rows = [
        (SmallInt, "-32768", KeyValue::Int(-32768)),
        (Integer, "2147483647", KeyValue::Int(2_147_483_647)),
        (BigInt, "-9223372036854775808", KeyValue::Int(i64::MIN)),
        (Text, "", KeyValue::Text("".into())),
        (Text, " a,b ", KeyValue::Text(" a,b ".into())),
        (Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", uuid.clone()),
        (Uuid, "A0EEBC999C0B4EF8BB6D6BB9BD380A11", uuid),
        (Date, "2000-01-01", KeyValue::Date(0)),
        (Date, "1999-12-31", KeyValue::Date(-1)),
        (Date, "2024-02-29", KeyValue::Date(8825)),
        (Date, "0001-12-31 BC", KeyValue::Date(-730_120)),
        (Timestamp, "2000-01-01 00:00:00", KeyValue::Timestamp(0)),
        (Timestamp, "2000-01-01T01:00", KeyValue::Timestamp(HOUR)),
        (Timestamp, "1999-12-31 23:59:59.999999", KeyValue::Timestamp(-1)),
        (Timestamp, "2000-01-01 00:00:00.5", KeyValue::Timestamp(500_000)),
        (Timestamp, "1999-12-31 24:00:00", KeyValue::Timestamp(0)),
        (TimestampTz, "2000-01-01 00:00:00+00", KeyValue::Timestamp(0)),
        (TimestampTz, "2000-01-01 05:30:00+05:30", KeyValue::Timestamp(0)),
        (TimestampTz, "1999-12-31 21:00:00-03", KeyValue::Timestamp(0)),
        (TimestampTz, "2000-01-01 00:00:01-00:00:01", KeyValue::Timestamp(2_000_000)),
        (TimestampTz, "2000-01-01T00:00:00Z", KeyValue::Timestamp(0)),
        (TimestampTz, "2000-01-01", KeyValue::Timestamp(0)),
    ];
    for (key_type, text, want) in rows {
        assert_eq!(key_type.parse(text).as_ref(), Ok(&want), "{key_type} {text:?}");
        assert!(key_type.holds(&want), "{key_type} {text:?}");
    }
}

#[test]
fn what_is_not_a_value_is_refused_with_the_reason() {
    use KeyType::{BigInt, Date, Integer, SmallInt, Text, Timestamp, TimestampTz, Uuid};
    let rows = [
        (SmallInt, "32768", "out of range"),
        (Integer, "-2147483649", "out of range"),
        (BigInt, "9223372036854775808", "whole number"),
        (BigInt, "", "whole number"),
        (Integer, "4.0", "whole number"),
        (Text, "a\0b", "NUL"),
        (Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1", "32 hexadecimal digits"),
        (Uuid, "+0eebc999c0b4ef8bb6d6bb9bd380a11", "32 hexadecimal digits"),
        (Date, "infinity", "infinite"),
        (Date, "2026-02-30", "the month does not have that day"),
        (Date, "2023-02-29", "the month does not have that day"),
        (Date, "26-01-01", "not a day"),
        (Date, "2026-1-1", "not a day"),
        (Date, "0000-01-01", "not a day"),
        (Date, "9000000-01-01", "not a day"),
        (Date, "5874898-01-01", "not a day"),
        (Date, "9999-01-01 BC", "out of range"),
        (Timestamp, "-infinity", "infinite"),
        (Timestamp, "2026-01-01 00:00:00+00", "no offset"),
        (Timestamp, "2026-01-01 25:00:00", "time of day"),
        (Timestamp, "2026-01-01 24:00:01", "time of day"),
        (Timestamp, "2026-01-01 00:00:00.1234567", "time of day"),
        (Timestamp, "294277-01-01 00:00:00", "out of range"),
        (TimestampTz, "2026-01-01 00:00:00+5", "offset"),
        (TimestampTz, "2026-01-01 00:00:00 Europe/Berlin", "time of day"),
    ];
    for (key_type, text, why) in rows {
        let error = key_type.parse(text).expect_err(text).to_string();
        assert!(error.contains(why), "{text:?}: {error}");
    }
}

#[test]
fn a_literal_means_what_its_dimension_says() {
    let quoted = |text: &str| KeyLiteral::Text(text.into());
    assert_eq!(KeyType::Integer.literal(&KeyLiteral::Int(7)), Ok(KeyValue::Int(7)));
    assert_eq!(KeyType::Integer.literal(&quoted("7")), Ok(KeyValue::Int(7)));
    assert_eq!(KeyType::Text.literal(&quoted("7")), Ok(KeyValue::Text("7".into())));
    assert!(KeyType::SmallInt.literal(&KeyLiteral::Int(40_000)).is_err());
    let error = KeyType::Text.literal(&KeyLiteral::Int(42)).expect_err("a bare number").to_string();
    assert!(error.contains("in quotes"), "{error}");
}

#[test]
fn types_are_known_by_all_their_names() {
    let rows = [
        ("int2", Some(KeyType::SmallInt)),
        ("int4", Some(KeyType::Integer)),
        ("int8", Some(KeyType::BigInt)),
        ("varchar", Some(KeyType::Text)),
        ("character varying(40)", Some(KeyType::Text)),
        ("timestamp(3) without time zone", Some(KeyType::Timestamp)),
        ("timestamp(3) with time zone", Some(KeyType::TimestampTz)),
        ("timestamptz(6)", Some(KeyType::TimestampTz)),
        // Its equality ignores trailing blanks, and so does its hash.
        ("character(4)", None),
        ("numeric(10,2)", None),
        ("integer[]", None),
        ("", None),
    ];
    for (name, want) in rows {
        assert_eq!(KeyType::from_postgres(name), want, "{name:?}");
    }
    for key_type in TYPES {
        assert_eq!(KeyType::from_postgres(key_type.postgres_name()), Some(key_type));
    }
}

#[test]
fn json_has_numbers_as_numbers_text_as_text_and_the_rest_with_their_type() {
    let rows = [
        (KeyValue::Int(-5), "-5"),
        (KeyValue::Text("2026-01-31".into()), r#""2026-01-31""#),
        (KeyValue::Date(9527), r#"{"date":"2026-01-31"}"#),
        (KeyValue::Timestamp(1), r#"{"timestamp":"2000-01-01 00:00:00.000001"}"#),
        (KeyValue::Uuid([0; 16]), r#"{"uuid":"00000000-0000-0000-0000-000000000000"}"#),
    ];
    for (value, json) in rows {
        assert_eq!(serde_json::to_string(&value).expect(json), json);
        assert_eq!(serde_json::from_str::<KeyValue>(json).expect(json), value);
    }
    assert!(serde_json::from_str::<KeyValue>(r#"{"date":"tomorrow"}"#).is_err());
}

/// Any value of any type, within what PostgreSQL can hold.
fn typed_value() -> impl Strategy<Value = (KeyType, KeyValue)> {
    let moments = -211_813_488_000_000_000..9_223_371_331_200_000_000_i64;
    prop_oneof![
        any::<i16>().prop_map(|n| (KeyType::SmallInt, KeyValue::Int(n.into()))),
        any::<i32>().prop_map(|n| (KeyType::Integer, KeyValue::Int(n.into()))),
        any::<i64>().prop_map(|n| (KeyType::BigInt, KeyValue::Int(n))),
        "[^\0]*".prop_map(|text| (KeyType::Text, KeyValue::Text(text.into()))),
        any::<[u8; 16]>().prop_map(|bytes| (KeyType::Uuid, KeyValue::Uuid(bytes))),
        (-2_451_507..2_145_031_948_i32).prop_map(|days| (KeyType::Date, KeyValue::Date(days))),
        moments.clone().prop_map(|at| (KeyType::Timestamp, KeyValue::Timestamp(at))),
        moments.prop_map(|at| (KeyType::TimestampTz, KeyValue::Timestamp(at))),
    ]
}

proptest! {
    #[test]
    fn text_and_json_come_back_as_the_same_value((key_type, value) in typed_value()) {
        prop_assert_eq!(key_type.parse(&key_type.text_of(&value)), Ok(value.clone()));
        let json = serde_json::to_string(&value).expect("a value is plain data");
        prop_assert_eq!(serde_json::from_str::<KeyValue>(&json).expect("JSON was just written"), value);
    }

    #[test]
    fn dates_sort_as_their_text_does(a in 0..2_900_000_i32, b in 0..2_900_000_i32) {
        // From 2000 to about 9939: four-digit years, whose text sorts like time.
        let text = |days| KeyType::Date.text_of(&KeyValue::Date(days));
        prop_assert_eq!(a.cmp(&b), text(a).cmp(&text(b)));
    }

    #[test]
    fn no_text_makes_a_parser_panic(
        any in ".*",
        // Almost right, so that more of the parser is reached.
        near in "[0-9]{1,7}-[0-9]{1,3}-[0-9]{1,3}[ T]?[0-9:.]{0,15}[-+Z]?[0-9:]{0,9}( BC)?",
    ) {
        for key_type in TYPES {
            for text in [&any, &near] {
                if let Ok(value) = key_type.parse(text) {
                    prop_assert!(key_type.holds(&value));
                }
            }
        }
        let _known = KeyType::from_postgres(&any);
    }
}
