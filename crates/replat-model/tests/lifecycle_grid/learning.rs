//! What follows from bounds.

use proptest::prelude::*;
use replat_model::lifecycle::axis::{Axis, Position};
use replat_model::lifecycle::facts::{Bound, Edge};
use replat_model::lifecycle::grid::Grid;
use replat_model::lifecycle::infer::{Learned, NotLearned, component, learn};
use replat_model::lifecycle::policy::{Cut, LevelPolicy, Snowflake};

/// 2026-01-15 12:00 UTC.
const NOW: i64 = 1_768_478_400_000_000;

fn edge(text: &str) -> Edge {
    match text {
        "MINVALUE" => Edge::Min,
        "MAXVALUE" => Edge::Max,
        text => Edge::At(text.into()),
    }
}

/// Partitions between each of these and the next; `|` leaves a gap.
fn row(bounds: &[&str]) -> Vec<(Edge, Edge)> {
    bounds.windows(2).filter(|pair| !pair.contains(&"|")).map(|pair| (edge(pair[0]), edge(pair[1]))).collect()
}

fn policy() -> LevelPolicy {
    LevelPolicy {
        column: "ts".into(),
        by: Cut::Range,
        interval: None,
        origin: None,
        zone: None,
        encoding: None,
        snowflake: None,
        modulus: None,
        values: vec![],
        grow: None,
    }
}

/// A policy with these words, in the order encoding, interval, origin, zone; `-` leaves one out.
fn hint(words: &str) -> Option<LevelPolicy> {
    let word = |at| words.split('/').nth(at).map(str::trim).filter(|word| !word.is_empty() && *word != "-");
    let own = |at| word(at).map(str::to_owned);
    (!words.is_empty()).then(|| LevelPolicy {
        encoding: own(0),
        interval: own(1),
        origin: own(2),
        zone: own(3),
        ..policy()
    })
}

/// What was learned, and the bound after the newest.
fn learned(type_name: &str, words: &str, bounds: &[(Edge, Edge)]) -> Result<(Learned, String), NotLearned> {
    let learned = learn(type_name, hint(words).as_ref(), bounds, NOW)?;
    let axis = learned.grid.axis;
    let positions = bounds.iter().flat_map(|(from, to)| [from, to]).filter_map(|edge| match edge {
        Edge::At(text) => axis.parse(text).ok(),
        _ => None,
    });
    let next = positions.max().map_or_else(String::new, |upper| {
        axis.text(learned.grid.next(upper).expect("there is a next one")).expect("it has a text")
    });
    Ok((learned, next))
}

/// The bounds of a grid, as the catalogue would have them.
fn bounds_of(grid: &Grid, from: &str, count: usize) -> Vec<(Edge, Edge)> {
    let mut at = Axis::TimestampTz.parse(from).unwrap();
    at = grid.cell(at).unwrap().0;
    let text = |at| Edge::At(grid.axis.text(at).unwrap());
    (0..count)
        .map(|_| {
            let from = at;
            at = grid.next(at).unwrap();
            (text(from), text(at))
        })
        .collect()
}

#[test]
fn grids_are_learned_from_bounds() {
    let cases: &[(&str, &str, &[&str], &str, &str)] = &[
        ("date", "", &["2026-01-01", "2026-01-02", "2026-01-03"], "1 day from midnight", "2026-01-04"),
        ("date", "", &["2026-01-01", "2026-02-01"], "1 month from the 1st, midnight", "2026-03-01"),
        ("date", "", &["2026-02-01", "2026-03-01"], "1 month from the 1st, midnight", "2026-04-01"),
        ("date", "", &["2026-01-05", "2026-01-12"], "1 week from Monday, midnight", "2026-01-19"),
        (
            "date",
            "",
            &["2026-01-04", "2026-01-11", "2026-01-18"],
            "1 week from 2026-01-11 00:00",
            "2026-01-25",
        ),
        ("date", "", &["2025-01-01", "2026-01-01"], "1 year from the 1st, midnight", "2027-01-01"),
        // The fiscal year, and a quarter that begins in February.
        ("date", "", &["2025-04-01", "2026-04-01"], "1 year from 2025-04-01 00:00", "2027-04-01"),
        ("date", "", &["2025-11-01", "2026-02-01"], "3 months from 2025-11-01 00:00", "2026-05-01"),
        (
            "date",
            "",
            &["2025-11-01", "2026-01-03", "2026-03-07"],
            "9 weeks from 2026-01-03 00:00",
            "2026-05-09",
        ),
        (
            "timestamp",
            "",
            &["2026-01-01 00:00:00", "2026-01-01 06:00:00"],
            "6 hours from midnight",
            "2026-01-01 12:00:00",
        ),
        (
            "timestamptz",
            "",
            &["2026-01-01 00:00:00+00", "2026-02-01 00:00:00+00"],
            "1 month from the 1st, midnight UTC",
            "2026-03-01 00:00:00+00",
        ),
        // Gaps, open ends and infinite ones say nothing.
        (
            "date",
            "",
            &["2026-01-01", "2026-01-02", "|", "2026-01-10", "2026-01-11"],
            "1 day from midnight",
            "2026-01-12",
        ),
        (
            "date",
            "",
            &["MINVALUE", "2026-01-01", "2026-01-02", "2026-01-03", "MAXVALUE"],
            "1 day from midnight",
            "2026-01-04",
        ),
        (
            "date",
            "",
            &["-infinity", "2026-01-01", "2026-01-02", "2026-01-03", "infinity"],
            "1 day from midnight",
            "2026-01-04",
        ),
        // All of history first, then months; months, then days; days, two of them merged, then days.
        (
            "date",
            "",
            &["2001-02-03", "2025-12-01", "2026-01-01"],
            "1 month from the 1st, midnight",
            "2026-02-01",
        ),
        (
            "date",
            "",
            &["2025-11-01", "2025-12-01", "2026-01-01", "2026-01-02", "2026-01-03"],
            "1 day from midnight",
            "2026-01-04",
        ),
        (
            "date",
            "",
            &["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-05", "2026-01-06"],
            "1 day from midnight",
            "2026-01-07",
        ),
        (
            "date",
            "",
            &["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-05"],
            "1 day from midnight",
            "2026-01-06",
        ),
        // A day that begins at six.
        (
            "timestamptz",
            "",
            &["2026-01-01 00:00:00+00", "2026-01-02 00:00:00+00", "2026-01-03 00:00:00+00"],
            "1 day from midnight UTC",
            "2026-01-04 00:00:00+00",
        ),
        (
            "timestamp",
            "",
            &["2026-01-01 06:00:00", "2026-01-02 06:00:00", "2026-01-03 06:00:00"],
            "1 day from 06:00",
            "2026-01-04 06:00:00",
        ),
        // Numbers.
        ("bigint", "", &["0", "1000000", "2000000"], "1000000 from 0", "3000000"),
        ("bigint", "", &["0", "1000000"], "1000000 from 0", "2000000"),
        ("bigint", "", &["1", "1000001", "2000001"], "1000000 from 1", "3000001"),
        ("integer", "", &["17", "42", "67"], "25 from 17", "92"),
        ("smallint", "", &["-100", "0", "100"], "100 from 0", "200"),
        ("numeric(10,2)", "", &["0.00", "99.50", "199.00"], "99.5 from 0.00", "298.50"),
        ("numeric", "", &["0", "0.25", "0.50"], "0.25 from 0.00", "0.75"),
        // Numbers that are times, because nobody cuts numbers so; and some that are not.
        ("bigint", "", &["1767225600", "1767312000", "1767398400"], "1 day from midnight UTC", "1767484800"),
        ("integer", "", &["1767225600", "1767312000"], "1 day from midnight UTC", "1767398400"),
        (
            "bigint",
            "",
            &["1767225600000", "1769904000000"],
            "1 month from the 1st, midnight UTC",
            "1772323200000",
        ),
        (
            "bigint",
            "",
            &["1767225600000000", "1767229200000000"],
            "1 hour from midnight UTC",
            "1767232800000000",
        ),
        (
            "bigint",
            "",
            &["1767225600000000000", "1767312000000000000"],
            "1 day from midnight UTC",
            "1767398400000000000",
        ),
        ("numeric(20,0)", "", &["1767225600", "1767312000"], "1 day from midnight UTC", "1767398400"),
        ("bigint", "", &["1700000000", "1710000000", "1720000000"], "10000000 from 0", "1730000000"),
        (
            "bigint",
            "",
            &["1767000000000", "1768000000000", "1769000000000"],
            "1000000000 from 0",
            "1770000000000",
        ),
        ("bigint", "number", &["1767225600", "1767312000", "1767398400"], "86400 from 0", "1767484800"),
        // Identifiers with a time in front.
        (
            "uuid",
            "",
            &["019b76da-a800-0000-0000-000000000000", "019b7c01-0400-0000-0000-000000000000"],
            "1 day from midnight UTC",
            "019b8127-6000-0000-0000-000000000000",
        ),
        (
            "uuid",
            "",
            &["019b76da-a800-7000-8000-000000000000", "019b7c01-0400-7000-8000-000000000000"],
            "1 day from midnight UTC",
            "019b8127-6000-7000-8000-000000000000",
        ),
        (
            "uuid",
            "",
            &["019b76da-a800-7000-8000-000000000000", "019b7c01-0400-0000-0000-000000000000"],
            "1 day from midnight UTC",
            "019b8127-6000-0000-0000-000000000000",
        ),
        (
            "text",
            "",
            &["01KDVDNA000000000000000000", "01KDY021000000000000000000"],
            "1 day from midnight UTC",
            "01KE0JER000000000000000000",
        ),
        // The policy's words.
        ("date", "-/1 day", &["2026-01-01", "2026-02-01"], "1 day from midnight", "2026-02-02"),
        ("date", "-/1 month", &["2026-01-14", "2026-01-15"], "1 month from the 1st, midnight", "2026-02-01"),
        ("date", "-/1 week", &["2026-01-13", "2026-01-14"], "1 week from Monday, midnight", "2026-01-19"),
        ("date", "-/9 weeks", &["2026-01-13", "2026-01-14"], "9 weeks from 2001-01-01 00:00", "2026-03-09"),
        ("date", "-/10 days", &["2026-01-14", "2026-01-15"], "10 days from 2026-01-15 00:00", "2026-01-25"),
        ("date", "-/1 day/2026-01-01", &["2026-01-13", "2026-01-14"], "1 day from midnight", "2026-01-15"),
        (
            "date",
            "-/-/2026-01-07",
            &["2026-01-07", "2026-01-14"],
            "1 week from 2026-01-07 00:00",
            "2026-01-21",
        ),
        ("bigint", "-/300000", &["0", "1000000"], "300000 from 1000000", "1300000"),
        (
            "bigint",
            "-/1 hour",
            &["1767225600000", "1769904000000"],
            "1 hour from midnight UTC",
            "1769907600000",
        ),
        (
            "timestamptz",
            "-/1 day/-/Europe/Berlin",
            &["2026-01-01 00:00:00+00", "2026-01-02 00:00:00+00"],
            "1 day from midnight Europe/Berlin",
            "2026-01-02 23:00:00+00",
        ),
        (
            "timestamptz",
            "-/-/-/Europe/Berlin",
            &["2026-01-01 23:00:00+00", "2026-01-02 23:00:00+00"],
            "1 day from midnight Europe/Berlin",
            "2026-01-03 23:00:00+00",
        ),
        (
            "timestamptz",
            "-/1 day",
            &["MINVALUE", "2026-01-02 00:00:00+00"],
            "1 day from midnight UTC",
            "2026-01-03 00:00:00+00",
        ),
        (
            "timestamptz",
            "-/1 day",
            &["MINVALUE", "2026-01-02 05:00:00+00"],
            "1 day from midnight UTC",
            "2026-01-03 00:00:00+00",
        ),
    ];
    for (type_name, words, bounds, described, next) in cases {
        // `zone` has a slash of its own, so it comes last.
        let words = words.replace("Europe/Berlin", "CET-zone");
        let mut policy = hint(&words);
        if let Some(policy) = &mut policy
            && policy.zone.as_deref() == Some("CET-zone")
        {
            policy.zone = Some("Europe/Berlin".into());
        }
        let rows = row(bounds);
        let learned = learn(type_name, policy.as_ref(), &rows, NOW);
        let learned = learned.unwrap_or_else(|why| panic!("{type_name} {words} {bounds:?}: {why}"));
        let axis = learned.grid.axis;
        let values = bounds.iter().filter_map(|text| axis.bound(text).ok());
        let after = learned.grid.next(values.max().unwrap()).unwrap();
        let found = (learned.grid.describe(), axis.text(after).unwrap());
        assert_eq!(
            (found.0.as_str(), found.1.as_str()),
            (*described, *next),
            "{type_name} {words} {bounds:?}"
        );
    }
}

#[test]
fn what_cannot_be_learned_says_why_and_what_would_help() {
    let cases: &[(&str, &str, &[&str], &str, &str)] = &[
        ("date", "", &[], "no partition", "interval"),
        ("date", "", &["MINVALUE", "2026-01-01"], "no partition", "interval"),
        ("date", "", &["2026-01-03", "2026-01-20"], "[2026-01-03, 2026-01-20)", "interval"),
        (
            "date",
            "",
            &["2026-01-01", "2026-01-03", "2026-01-04", "2026-01-09"],
            "[2026-01-04, 2026-01-09)",
            "interval",
        ),
        (
            "date",
            "",
            &["2026-01-01", "2026-02-01", "2026-03-01", "2026-03-02"],
            "[2026-03-01, 2026-03-02)",
            "interval",
        ),
        (
            "date",
            "",
            &["2026-01-03", "2026-01-04", "2026-01-05", "2026-01-12"],
            "[2026-01-05, 2026-01-12)",
            "interval",
        ),
        ("date", "", &["2026-01-01", "2026-02-01", "2026-02-02"], "natural", "interval"),
        ("date", "-/6 hours", &["2026-01-01", "2026-01-02"], "whole days", "interval"),
        ("date", "-/1000", &["2026-01-01", "2026-01-02"], "they are times", "interval"),
        ("date", "-/1 fortnight", &[], "no such unit", "interval"),
        (
            "date",
            "-/1 week/2026-01-07",
            &["2026-01-01", "2026-01-02"],
            "does not fit the existing bounds",
            "2026-01-02",
        ),
        (
            "date",
            "-/-/2026-01-07",
            &["2026-01-01", "2026-01-08", "2026-01-15"],
            "does not fit the existing bounds",
            "2026-01-15",
        ),
        ("date", "-/1 month/2026-01-31", &["2026-01-01", "2026-02-01"], "28th", "origin"),
        ("bigint", "", &["3", "20"], "no natural length", "interval"),
        ("bigint", "", &["0", "17", "20", "99"], "[20, 99)", "interval"),
        ("bigint", "-/1 day", &[], "may be", "encoding"),
        ("bigint", "-/1 day", &["0", "1000000"], "far from the present", "encoding"),
        ("smallint", "-/1 day", &["0", "100"], "numbers", "interval"),
        (
            "uuid",
            "",
            &["00000000-0000-0000-0000-000000000000", "80000000-0000-0000-0000-000000000000"],
            "far from the present",
            "encoding",
        ),
        ("uuid", "-/1000", &[], "times", "interval"),
        ("text", "", &["a", "m"], "26", "encoding"),
        ("text", "-/1 day", &[], "ULID", "encoding"),
        ("jsonb", "-/1 day", &[], "only dates", "encoding"),
        ("date", "uuidv7", &[], "only uuid", "encoding"),
        // Winter alone does not tell Berlin from Lagos.
        (
            "timestamptz",
            "",
            &["2026-01-01 23:00:00+00", "2026-01-02 23:00:00+00", "2026-01-03 23:00:00+00"],
            "Europe/Berlin and of Africa/Lagos",
            "zone",
        ),
        (
            "timestamptz",
            "-/1 day",
            &["2026-01-01 23:00:00+00", "2026-01-02 23:00:00+00", "2026-01-03 23:00:00+00"],
            "Europe/Berlin and of Africa/Lagos",
            "zone",
        ),
        ("timestamptz", "-/1 day/-/Mars", &[], "no time zone", "zone"),
    ];
    for (type_name, words, bounds, what, remedy) in cases {
        let why = match learned(type_name, words, &row(bounds)) {
            Ok((learned, _)) => {
                panic!("{type_name} {words} {bounds:?}: {} {}", learned.grid.axis, learned.grid)
            }
            Err(why) => why,
        };
        assert!(why.to_string().contains(what), "{type_name} {words} {bounds:?}: {why}");
        assert!(why.remedy().contains(remedy), "{type_name} {words} {bounds:?}: {why}: {}", why.remedy());
    }
    let overlapping = [(edge("2026-01-01"), edge("2026-01-03")), (edge("2026-01-02"), edge("2026-01-04"))];
    let why = learned("date", "", &overlapping).expect_err("they overlap");
    assert!(why.to_string().contains("overlap"), "{why}");
    let zoned = LevelPolicy { zone: Some("Europe/Berlin".into()), ..policy() };
    let utc = row(&["2026-01-01 00:00:00+00", "2026-01-02 00:00:00+00", "2026-01-03 00:00:00+00"]);
    let why = learn("timestamptz", Some(&zoned), &utc, NOW).expect_err("midnights of Berlin are others");
    assert!(matches!(why, NotLearned::Misfit { .. }), "{why}");
}

#[test]
fn how_it_was_learned_is_said() {
    let cases: &[(&str, &[&str], &str)] = &[
        ("", &["2026-01-01", "2026-01-02"], "learned from 1 partition"),
        ("", &["2026-01-01", "2026-01-02", "2026-01-03"], "learned from 2 partitions"),
        (
            "",
            &["2025-12-01", "2026-01-01", "2026-01-02", "2026-01-03"],
            "learned from 2 partitions; 1 other is cut differently",
        ),
        ("-/1 month", &["2026-01-01", "2026-02-01"], "given, and learned from 1 partition"),
        ("-/1 day", &["2026-01-01", "2026-02-01"], "given"),
        ("-/1 month", &["2026-01-14", "2026-01-15"], "given; one from 2026-01-15 to 2026-02-01 leads to it"),
    ];
    for (words, bounds, because) in cases {
        assert_eq!(learned("date", words, &row(bounds)).unwrap().0.because, *because);
    }
}

#[test]
fn zones_show_in_the_hours_of_bounds() {
    let cases = [
        // Clocks change in these rows.
        ("Europe/Berlin", "1 day", "2025-10-10", 60, "Europe/Berlin"),
        ("Europe/Paris", "1 day", "2025-10-10", 60, "Europe/Berlin"),
        ("Europe/Berlin", "1 month", "2025-06-10", 12, "Europe/Berlin"),
        ("America/New_York", "1 day", "2025-10-10", 60, "America/New_York"),
        ("America/New_York", "1 week", "2025-06-10", 40, "America/New_York"),
        ("Europe/London", "1 day", "2025-10-10", 60, "Europe/London"),
        ("Africa/Cairo", "1 day", "2025-04-01", 60, "Africa/Cairo"),
        ("Australia/Lord_Howe", "1 day", "2025-10-01", 30, "Australia/Lord_Howe"),
        // And in these they never do.
        ("Asia/Kolkata", "1 day", "2025-10-10", 10, "Asia/Kolkata"),
        ("Asia/Kathmandu", "1 month", "2025-06-10", 2, "Asia/Kathmandu"),
        ("UTC", "1 day", "2026-01-01", 10, "UTC"),
        ("UTC", "1 month", "2025-06-01", 10, "UTC"),
        ("Europe/London", "1 day", "2026-01-01", 10, "UTC"),
    ];
    for (zone, interval, from, count, found) in cases {
        for (axis, type_name) in [
            (Axis::TimestampTz, "timestamp with time zone"),
            (Axis::UuidV7(Default::default()), "uuid"),
            (Axis::of("bigint", Some("epoch-ms"), None).unwrap(), "bigint"),
            (Axis::Snowflake(Snowflake::DISCORD), "bigint"),
        ] {
            let grid = Grid::new(axis, interval.parse().unwrap(), None, Some(zone)).unwrap();
            let bounds = bounds_of(&grid, from, count);
            let learned =
                learn(type_name, None, &bounds, NOW).unwrap_or_else(|why| panic!("{zone} {axis}: {why}"));
            assert_eq!(learned.grid.axis, axis, "{zone}");
            assert_eq!(learned.grid.zone.iana_name(), Some(found), "{axis} {interval}");
            assert_eq!(learned.grid.interval, grid.interval);
        }
    }
}

#[test]
fn hours_by_a_wall_clock_go_on_in_elapsed_time() {
    // Six hours each by the clock of Berlin: five and seven of them on two days of the year.
    let berlin = row(&[
        "2025-10-25 16:00:00+00",
        "2025-10-25 22:00:00+00",
        "2025-10-26 05:00:00+00",
        "2025-10-26 11:00:00+00",
        "2025-10-26 17:00:00+00",
        "2025-10-26 23:00:00+00",
    ]);
    let (learned, next) = learned("timestamptz", "", &berlin).unwrap();
    assert_eq!(next, "2025-10-27 05:00:00+00");
    assert!(learned.because.contains("2 others are cut differently"), "{}", learned.because);
}

#[test]
fn the_component_that_grows_is_found() {
    let key = |text: &str| text.split(',').map(|part| edge(part.trim())).collect::<Vec<Edge>>();
    let rows = |rows: &[(&str, &str)]| rows.iter().map(|(from, to)| (key(from), key(to))).collect::<Vec<_>>();
    let by_day = component(&rows(&[
        ("2026-01-01, MINVALUE", "2026-02-01, MINVALUE"),
        ("2026-02-01, MINVALUE", "2026-03-01, MINVALUE"),
    ]))
    .unwrap();
    assert_eq!((by_day.len(), by_day[0].component), (1, 0));
    assert_eq!(by_day[0].bounds, row(&["2026-01-01", "2026-02-01", "2026-03-01"]));
    let bound = by_day[0].bound(edge("2026-03-01"), edge("2026-04-01"));
    assert_eq!(bound, Bound::Range { from: key("2026-03-01, MINVALUE"), to: key("2026-04-01, MINVALUE") });
    let open = by_day[0].bound(edge("2026-03-01"), Edge::Max);
    assert_eq!(open, Bound::Range { from: key("2026-03-01, MINVALUE"), to: key("MAXVALUE, MAXVALUE") });

    let by_tenant = component(&rows(&[
        ("MINVALUE, MINVALUE", "1, MINVALUE"),
        ("1, MINVALUE", "1, 2026-01-01"),
        ("1, 2026-01-01", "1, 2026-02-01"),
        ("1, 2026-02-01", "2, MINVALUE"),
        ("2, 2026-01-01", "2, 2026-02-01"),
        ("2, 2026-02-01", "2, MAXVALUE"),
    ]))
    .unwrap();
    assert_eq!(by_tenant.len(), 2);
    assert_eq!((by_tenant[0].component, &by_tenant[0].prefix), (1, &key("1")));
    assert_eq!(by_tenant[0].bounds, row(&["MINVALUE", "2026-01-01", "2026-02-01", "MAXVALUE"]));
    assert_eq!(by_tenant[0].rows, [1, 2, 3]);
    assert_eq!(by_tenant[1].bounds, row(&["2026-01-01", "2026-02-01", "MAXVALUE"]));

    let constant = component(&rows(&[("2026-01-01, 0", "2026-02-01, 0")])).unwrap();
    assert_eq!(constant[0].behind, key("0"));
    for mixed in [
        &[("2026-01-01, 0", "2026-02-01, 5")][..],
        &[("1, 2026-01-01", "1, 2026-02-01"), ("2, 2026-01-01", "3, 2026-01-01")][..],
        &[("2026-01-01, 0", "2026-02-01, 0"), ("2026-02-01, 0", "2026-03-01, 1")][..],
    ] {
        assert!(matches!(component(&rows(mixed)), Err(NotLearned::Components { .. })), "{mixed:?}");
    }
    assert_eq!(component(&[]), Err(NotLearned::NoInterval));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_a_grid_made_is_learned_as_that_grid(
        months in 1u32..4, count in 3usize..40, from in 1_500_000_000i64..1_800_000_000, kind in 0u32..4, gap in 0usize..40
    ) {
        let interval = match kind {
            0 => format!("{months} months"),
            1 => format!("{months} days"),
            2 => format!("{} hours", months * 2),
            _ => "1 week".to_owned(),
        };
        let grid = Grid::new(Axis::TimestampTz, interval.parse().unwrap(), None, None).unwrap();
        let start = grid.axis.text(Position(i128::from(from) * 1_000_000)).unwrap();
        let mut bounds = bounds_of(&grid, &start, count);
        bounds.remove(gap % count);
        // Partitions come in any order.
        bounds.rotate_left(gap % (count - 1));
        let learned = learn("timestamptz", None, &bounds, NOW).map_err(|why| TestCaseError::fail(why.to_string()))?;
        prop_assert_eq!(learned.grid.interval, grid.interval);
        for (bound, _) in &bounds {
            let Edge::At(text) = bound else { continue };
            prop_assert!(learned.grid.on_grid(grid.axis.parse(text).unwrap()), "{} {}", learned.grid, text);
        }
    }

    #[test]
    fn no_bounds_break_the_learning(cuts in prop::collection::vec(any::<i64>(), 0..12), type_at in 0usize..5) {
        let type_name = ["bigint", "numeric", "integer", "timestamptz", "uuid"][type_at];
        let axis = Axis::candidates(type_name)[0];
        let (first, last) = axis.range();
        let mut cuts: Vec<i128> = cuts.iter().map(|&n| {
            let n = i128::from(n).clamp(first.0, last.0);
            n - n.rem_euclid(axis.step())
        }).filter(|n| *n >= first.0).collect();
        cuts.sort();
        let text = |n: i128| Edge::At(axis.text(Position(n)).unwrap());
        let bounds: Vec<_> = cuts.windows(2).filter(|w| w[0] < w[1]).map(|w| (text(w[0]), text(w[1]))).collect();
        if let Ok(learned) = learn(type_name, None, &bounds, NOW) {
            // Whatever was learned continues what is there.
            let newest = bounds.iter().filter_map(|(_, to)| match to {
                Edge::At(text) => learned.grid.axis.bound(text).ok(),
                _ => None,
            }).max().unwrap();
            prop_assert!(learned.grid.on_grid(newest));
        }
    }
}
