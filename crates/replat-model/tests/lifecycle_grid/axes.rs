//! Every reading of a key: texts to positions and back.

use proptest::prelude::*;
use replat_model::lifecycle::axis::{Axis, EpochUnit, Position, UuidStyle};
use replat_model::lifecycle::policy::Snowflake;

/// 2026-01-01 00:00 UTC.
const NEW_YEAR: i128 = 1_767_225_600_000_000;

fn axis(type_name: &str, encoding: Option<&str>) -> Axis {
    Axis::of(type_name, encoding, None).expect("the type has this reading")
}

fn every_axis() -> Vec<Axis> {
    let mut all: Vec<Axis> =
        ["date", "timestamp", "timestamptz", "smallint", "integer", "bigint", "numeric", "uuid", "text"]
            .iter()
            .flat_map(|name| Axis::candidates(name))
            .collect();
    all.push(Axis::UuidV7(UuidStyle::Marked));
    all.push(Axis::Snowflake(Snowflake::INSTAGRAM));
    all.push(Axis::Snowflake(Snowflake::MASTODON));
    all.push(axis("numeric(20,4)", None));
    all
}

#[test]
fn bounds_are_read_and_written_as_the_server_prints_them() {
    let cases: &[(&str, Option<&str>, &str, i128)] = &[
        ("date", None, "2026-01-01", NEW_YEAR),
        ("date", None, "0044-03-15 BC", -63_517_824_000_000_000),
        ("timestamp without time zone", None, "2026-01-01 00:00:00", NEW_YEAR),
        ("timestamp(3) without time zone", None, "2026-01-01 00:00:00.5", NEW_YEAR + 500_000),
        ("timestamp with time zone", None, "2026-01-01 00:00:00+00", NEW_YEAR),
        ("timestamptz", None, "0044-03-15 00:00:00+00 BC", -63_517_824_000_000_000),
        ("smallint", None, "-32768", -32_768),
        ("integer", None, "2147483647", 2_147_483_647),
        ("bigint", None, "-9223372036854775808", i64::MIN as i128),
        ("numeric", None, "1000", 1_000),
        ("numeric(10,2)", None, "1000.50", 100_050),
        ("numeric(10,2)", None, "-0.05", -5),
        ("numeric(20,0)", None, "99999999999999999999", 99_999_999_999_999_999_999),
        ("numeric(3,-2)", None, "12300", 12_300),
        ("integer", Some("epoch-s"), "1767225600", NEW_YEAR),
        ("bigint", Some("epoch-s"), "1767225600", NEW_YEAR),
        ("bigint", Some("epoch_ms"), "1767225600000", NEW_YEAR),
        ("bigint", Some("epoch-us"), "1767225600000000", NEW_YEAR),
        ("bigint", Some("epoch-ns"), "1767225600000000000", NEW_YEAR),
        ("numeric(20,0)", Some("epoch-ms"), "1767225600000", NEW_YEAR),
        ("numeric", Some("epoch-ns"), "1767225600000000000", NEW_YEAR),
        ("uuid", None, "019b76da-a800-0000-0000-000000000000", NEW_YEAR),
        ("uuid", Some("ulid"), "019b76da-a800-0000-0000-000000000000", NEW_YEAR),
        ("text", Some("ulid"), "01KDVDNA000000000000000000", NEW_YEAR),
        ("character varying(26)", Some("ulid"), "01KDVDNA000000000000000000", NEW_YEAR),
    ];
    for (type_name, encoding, text, at) in cases {
        let axis = axis(type_name, *encoding);
        assert_eq!(axis.bound(text), Ok(Position(*at)), "{type_name} {encoding:?} {text}");
        assert_eq!(axis.text(Position(*at)).as_deref(), Ok(*text), "{type_name} {encoding:?} {at}");
    }
}

#[test]
fn other_spellings_of_a_moment_are_the_same_position() {
    let zoned = axis("timestamptz", None);
    for text in
        ["2026-01-01 02:00:00+02", "2026-01-01 05:30:00+05:30", "2025-12-31T16:00:00-08", "2026-01-01"]
    {
        assert_eq!(zoned.bound(text), Ok(Position(NEW_YEAR)), "{text}");
    }
}

#[test]
fn snowflakes_of_every_layout_keep_their_time_above_their_bits() {
    let cases = [
        (Snowflake::TWITTER, (1_767_225_600_000i64 - 1_288_834_974_657) << 22),
        (Snowflake::DISCORD, (1_767_225_600_000 - 1_420_070_400_000) << 22),
        (Snowflake::INSTAGRAM, (1_767_225_600_000 - 1_314_220_021_721) << 23),
        (Snowflake::MASTODON, 1_767_225_600_000 << 16),
    ];
    for (layout, id) in cases {
        let axis = Axis::of("bigint", None, Some(layout)).expect("a layout implies the encoding");
        assert_eq!(axis.text(Position(NEW_YEAR)), Ok(id.to_string()), "{layout:?}");
        assert_eq!(axis.bound(&id.to_string()), Ok(Position(NEW_YEAR)), "{layout:?}");
        // Any id made in that millisecond is read as it; as a bound it would not come back as it was.
        assert_eq!(axis.parse(&(id + 4_095).to_string()), Ok(Position(NEW_YEAR)), "{layout:?}");
        assert!(axis.bound(&(id + 4_095).to_string()).is_err(), "{layout:?}");
    }
}

#[test]
fn a_uuid_bound_parts_what_was_made_before_from_what_was_made_then() {
    for style in [UuidStyle::Bare, UuidStyle::Marked] {
        let bound = Axis::UuidV7(style).text(Position(NEW_YEAR)).expect("it is within 48 bits");
        for (made, before) in [
            ("019b76da-a7ff-7fff-bfff-ffffffffffff", true),
            ("019b76da-a800-7000-8000-000000000000", false),
            ("019b76da-a800-7abc-9def-0123456789ab", false),
            ("019b76da-a801-7000-8000-000000000000", false),
        ] {
            assert_eq!(made < bound.as_str(), before, "{bound} {made}");
        }
    }
    let marked = Axis::UuidV7(UuidStyle::Marked).text(Position(NEW_YEAR));
    assert_eq!(marked.as_deref(), Ok("019b76da-a800-7000-8000-000000000000"));
    // Either is read by either, and a random one is no bound.
    assert!(axis("uuid", None).bound("019b76da-a800-7000-8000-000000000000").is_ok());
    assert!(axis("uuid", None).bound("019b76da-a800-7abc-9def-0123456789ab").is_err());
}

#[test]
fn what_is_no_bound_is_refused_with_a_reason() {
    let cases: &[(&str, Option<&str>, &str, &str)] = &[
        ("date", None, "infinity", "infinite"),
        ("timestamptz", None, "-infinity", "infinite"),
        ("timestamp", None, "2026-01-01 00:00:00+00", "offset"),
        ("date", None, "2026-02-30", "does not have that day"),
        ("smallint", None, "32768", "beyond"),
        ("integer", None, "1.5", "whole"),
        ("bigint", None, "", "whole"),
        ("numeric", None, "NaN", "infinite"),
        ("numeric", None, "1e5", "decimal"),
        ("numeric", None, "", "decimal"),
        ("numeric", None, "1000000000000000000000000000000000000000", "digits"),
        ("uuid", None, "019b76da", "32"),
        ("text", Some("ulid"), "01kdvdna000000000000000000", "capitals"),
        ("text", Some("ulid"), "01KDVDNA00", "26"),
        ("text", Some("ulid"), "81KDVDNA000000000000000000", "beyond"),
        ("bigint", Some("epoch-ns"), "1767225600000000001", "between"),
        ("numeric(10,2)", None, "0.005", "between"),
    ];
    for (type_name, encoding, text, why) in cases {
        let bad = axis(type_name, *encoding).bound(text).expect_err(text);
        assert!(bad.why.contains(why), "{type_name} {text}: {bad}");
    }
}

#[test]
fn a_type_keeps_its_range() {
    let day = 86_400_000_000;
    let cases: &[(&str, Option<&str>, i128)] = &[
        ("smallint", None, 32_768),
        ("integer", None, -2_147_483_649),
        ("bigint", None, 1 << 63),
        ("numeric(4,1)", None, 10_000),
        // 2038-01-19 03:14:08.
        ("integer", Some("epoch-s"), 2_147_483_648_000_000),
        ("uuid", None, (1 << 48) * 1_000),
        ("uuid", None, -1_000),
        ("bigint", Some("snowflake"), (1 << 48) * 1_000),
        ("date", None, 200_000_000_000 * day),
        ("timestamptz", None, 9_300_000_000_000_000_000),
        // Between two values of the type.
        ("date", None, NEW_YEAR + day / 4),
        ("bigint", Some("epoch-s"), NEW_YEAR + 1),
        ("text", Some("ulid"), NEW_YEAR + 1),
    ];
    for (type_name, encoding, at) in cases {
        let axis = axis(type_name, *encoding);
        assert!(axis.text(Position(*at)).is_err(), "{axis} {at}");
    }
    for axis in every_axis() {
        let (first, last) = axis.range();
        for at in [first, last] {
            let on_step = Position(at.0 - at.0.rem_euclid(axis.step()));
            if on_step >= first {
                let text = axis.text(on_step).unwrap_or_else(|bad| panic!("{axis} {at}: {bad}"));
                assert_eq!(axis.bound(&text), Ok(on_step), "{axis} {text}");
            }
        }
        assert!(axis.text(Position(last.0 + axis.step())).is_err(), "{axis}");
    }
}

#[test]
fn readings_that_a_type_lacks_are_refused() {
    for (type_name, encoding) in [
        ("text", None),
        ("jsonb", None),
        ("boolean", None),
        ("double precision", Some("epoch-s")),
        ("smallint", Some("epoch-s")),
        ("integer", Some("epoch-ms")),
        ("integer", Some("snowflake")),
        ("date", Some("number")),
        ("uuid", Some("epoch-s")),
        ("bigint", Some("ulid")),
        ("bigint", Some("roman")),
    ] {
        assert!(Axis::of(type_name, encoding, None).is_err(), "{type_name} {encoding:?}");
    }
    assert!(Axis::of("bigint", None, Some(Snowflake { epoch_ms: 0, shift: 63 })).is_err());
    assert_eq!(Axis::candidates("bigint")[0], Axis::Integer { bits: 64 });
    assert_eq!(Axis::candidates("jsonb"), []);
}

#[test]
fn moments_fall_into_steps() {
    let noon = (NEW_YEAR + 43_200_000_123) as i64;
    assert_eq!(axis("date", None).at_moment(noon), Some(Position(NEW_YEAR)));
    assert_eq!(axis("uuid", None).at_moment(noon), Some(Position(NEW_YEAR + 43_200_000_000)));
    assert_eq!(axis("timestamptz", None).at_moment(noon), Some(Position(noon.into())));
    assert_eq!(axis("bigint", None).at_moment(noon), None);
    assert_eq!(axis("date", None).moment(Position(NEW_YEAR)), Some(NEW_YEAR as i64));
}

/// A position with a text, on any axis.
fn anywhere() -> impl Strategy<Value = (Axis, Position, Position)> {
    let all = every_axis();
    (0..all.len(), any::<i128>(), any::<i128>(), any::<bool>()).prop_map(move |(which, one, other, near)| {
        let axis = all[which];
        let (first, last) = axis.range();
        let (first, last) = match near {
            // Half of them where bounds mostly are.
            true => (first.0.max(-4_000_000_000_000_000), last.0.min(4_000_000_000_000_000)),
            false => (first.0, last.0),
        };
        let within = |n: i128| {
            let steps = (last - first) / axis.step();
            let first = first + (-first).rem_euclid(axis.step());
            Position(first + n.rem_euclid(steps.max(1)) * axis.step())
        };
        (axis, within(one), within(other))
    })
}

proptest! {
    #[test]
    fn a_text_is_read_as_the_position_it_was_written_for((axis, at, _) in anywhere()) {
        let text = axis.text(at).map_err(|bad| TestCaseError::fail(bad.to_string()))?;
        prop_assert_eq!(axis.bound(&text), Ok(at), "{} {}", axis, text);
    }

    #[test]
    fn the_order_of_texts_is_the_order_of_positions((axis, one, other) in anywhere()) {
        let (a, b) = (axis.text(one).unwrap(), axis.text(other).unwrap());
        let order = match axis {
            Axis::UuidV7(_) | Axis::Ulid => a.cmp(&b),
            Axis::Integer { .. } | Axis::Epoch { .. } | Axis::Snowflake(_) => {
                a.parse::<i128>().unwrap().cmp(&b.parse().unwrap())
            }
            _ => return Ok(()),
        };
        prop_assert_eq!(order, one.cmp(&other), "{} {} {}", axis, a, b);
    }

    #[test]
    fn a_value_within_a_step_is_read_as_that_step(bits in any::<u128>(), id in any::<i64>()) {
        let uuid = format!("{bits:032x}");
        let uuid = [&uuid[..8], &uuid[8..12], &uuid[12..16], &uuid[16..20], &uuid[20..]].join("-");
        let (axis, at) = (axis("uuid", None), axis("uuid", None).parse(&uuid).unwrap());
        prop_assert!(axis.text(at).unwrap() <= uuid);
        if at < axis.range().1 {
            prop_assert!(uuid < axis.text(Position(at.0 + axis.step())).unwrap());
        }
        let axis = Axis::Snowflake(Snowflake::TWITTER);
        let at = axis.parse(&id.to_string()).unwrap();
        prop_assert!(axis.text(at).unwrap().parse::<i64>().unwrap() <= id);
    }

    #[test]
    fn no_text_breaks_a_reading(text in "[-0-9A-Za-z:. +]{0,40}|\\PC{0,40}") {
        for axis in every_axis() {
            if let Ok(at) = axis.bound(&text) {
                let written = axis.text(at).map_err(|bad| TestCaseError::fail(bad.to_string()))?;
                prop_assert_eq!(axis.bound(&written), Ok(at));
            }
        }
    }

    #[test]
    fn fractions_of_an_epoch_are_rounded_down(micros in 0i64..4_000_000_000_000_000) {
        let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        let axis = Axis::Epoch { unit: EpochUnit::Seconds, bits: 0 };
        prop_assert_eq!(axis.parse(&text), Ok(Position(micros.into())));
    }
}
