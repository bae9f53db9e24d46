//! Cells tile, whatever clocks do.

use proptest::prelude::*;
use replat_model::lifecycle::axis::{Axis, Position};
use replat_model::lifecycle::grid::{BadGrid, Grid, Interval};

fn zoned() -> Axis {
    Axis::TimestampTz
}

fn grid(axis: Axis, interval: &str, origin: Option<&str>, zone: Option<&str>) -> Grid {
    Grid::new(axis, interval.parse().unwrap(), origin, zone).unwrap()
}

fn texts(grid: &Grid, from: &str, count: usize) -> Vec<String> {
    let mut at = grid.axis.parse(from).unwrap();
    let mut bounds = vec![grid.axis.text(at).unwrap()];
    for _ in 0..count {
        at = grid.next(at).unwrap();
        bounds.push(grid.axis.text(at).unwrap());
    }
    bounds
}

#[test]
fn intervals_are_read_and_written() {
    const HOUR: i64 = 3_600_000_000;
    let cases = [
        ("1 day", Interval::Days(1), "1 day"),
        ("daily", Interval::Days(1), "1 day"),
        ("6 hours", Interval::Fixed(6 * HOUR), "6 hours"),
        ("06:00:00", Interval::Fixed(6 * HOUR), "6 hours"),
        ("01:30", Interval::Fixed(3 * HOUR / 2), "90 minutes"),
        ("6h", Interval::Fixed(6 * HOUR), "6 hours"),
        ("15 minutes", Interval::Fixed(HOUR / 4), "15 minutes"),
        ("9 weeks", Interval::Days(63), "9 weeks"),
        ("weekly", Interval::Days(7), "1 week"),
        ("1 month", Interval::Months(1), "1 month"),
        ("1 mon", Interval::Months(1), "1 month"),
        ("quarterly", Interval::Months(3), "3 months"),
        ("1 year 6 mons", Interval::Months(18), "18 months"),
        ("1 YEAR", Interval::Months(12), "1 year"),
        ("100 years", Interval::Months(1_200), "100 years"),
        ("250 ms", Interval::Fixed(250_000), "250 milliseconds"),
        ("1000000", Interval::Number(1_000_000), "1000000"),
        ("1_000_000", Interval::Number(1_000_000), "1000000"),
        ("0.250", Interval::Decimal { units: 25, scale: 2 }, "0.25"),
        ("10.0", Interval::Number(10), "10"),
    ];
    for (text, interval, written) in cases {
        assert_eq!(text.parse(), Ok(interval), "{text}");
        assert_eq!(interval.to_string(), written);
        assert_eq!(written.parse(), Ok(interval), "{written}");
    }
    for text in [
        "",
        "0",
        "0 days",
        "1 day 12 hours",
        "1 fortnight",
        "-1 day",
        "1.5 days",
        "1 2 days",
        "day 1",
        "99999999999 years",
    ] {
        assert!(text.parse::<Interval>().is_err(), "{text}");
    }
}

#[test]
fn cells_begin_at_the_natural_places() {
    let cases: &[(Axis, &str, Option<&str>, &str, &str, &str)] = &[
        (Axis::Date, "1 day", None, "2026-03-15", "2026-03-15", "2026-03-16"),
        (Axis::Date, "24 hours", None, "2026-03-15", "2026-03-15", "2026-03-16"),
        (Axis::Date, "1 week", None, "2026-03-15", "2026-03-09", "2026-03-16"),
        (Axis::Date, "1 month", None, "2026-02-15", "2026-02-01", "2026-03-01"),
        (Axis::Date, "2 months", None, "2026-02-15", "2026-01-01", "2026-03-01"),
        (Axis::Date, "1 quarter", None, "2026-05-15", "2026-04-01", "2026-07-01"),
        (Axis::Date, "1 year", None, "2024-02-29", "2024-01-01", "2025-01-01"),
        (Axis::Date, "10 years", None, "2026-02-15", "2020-01-01", "2030-01-01"),
        (
            Axis::Timestamp,
            "6 hours",
            None,
            "2026-02-15 07:30:00",
            "2026-02-15 06:00:00",
            "2026-02-15 12:00:00",
        ),
        (
            Axis::TimestampTz,
            "1 day",
            Some("Europe/Berlin"),
            "2026-03-29 12:00:00+00",
            "2026-03-28 23:00:00+00",
            "2026-03-29 22:00:00+00",
        ),
        (
            Axis::TimestampTz,
            "1 month",
            Some("Asia/Kolkata"),
            "2026-03-29 12:00:00+00",
            "2026-02-28 18:30:00+00",
            "2026-03-31 18:30:00+00",
        ),
        // Midnight of this day did not exist in São Paulo: it began at one o'clock, which was 03:00 UTC.
        (
            Axis::TimestampTz,
            "1 day",
            Some("America/Sao_Paulo"),
            "2018-11-04 12:00:00+00",
            "2018-11-04 03:00:00+00",
            "2018-11-05 02:00:00+00",
        ),
        (
            Axis::TimestampTz,
            "1 day",
            Some("Africa/Cairo"),
            "2024-04-26 12:00:00+00",
            "2024-04-25 22:00:00+00",
            "2024-04-26 21:00:00+00",
        ),
        // Midnight came twice in Havana; the day begins with the first.
        (
            Axis::TimestampTz,
            "1 day",
            Some("America/Havana"),
            "2024-11-03 12:00:00+00",
            "2024-11-03 04:00:00+00",
            "2024-11-04 05:00:00+00",
        ),
        (Axis::Integer { bits: 64 }, "1000", None, "1999", "1000", "2000"),
        (Axis::Integer { bits: 64 }, "1000", None, "-1", "-1000", "0"),
        (Axis::Numeric { scale: 2, digits: 10 }, "99.5", None, "100.00", "99.50", "199.00"),
    ];
    for (axis, interval, zone, at, from, to) in cases {
        let grid = grid(*axis, interval, None, *zone);
        let (low, high) = grid.cell(axis.parse(at).unwrap()).unwrap();
        let found = (axis.text(low).unwrap(), axis.text(high).unwrap());
        assert_eq!((found.0.as_str(), found.1.as_str()), (*from, *to), "{axis} {interval} {zone:?}");
    }
}

#[test]
fn origins_move_the_grid() {
    let cases: &[(Axis, &str, &str, Option<&str>, &str, &str)] = &[
        (Axis::Date, "9 weeks", "2026-01-07", None, "2026-03-11", "2026-03-11"),
        (Axis::Date, "1 month", "2026-01-15", None, "2026-03-14", "2026-02-15"),
        (
            Axis::TimestampTz,
            "1 day",
            "2026-01-01 06:00:00",
            Some("Europe/Berlin"),
            "2026-07-01 12:00:00+00",
            "2026-07-01 04:00:00+00",
        ),
        (
            Axis::TimestampTz,
            "1 day",
            "2026-01-01 06:00:00+00",
            Some("Europe/Berlin"),
            "2026-07-01 12:00:00+00",
            "2026-07-01 05:00:00+00",
        ),
        (
            Axis::TimestampTz,
            "6 hours",
            "2026-01-01",
            Some("Europe/Berlin"),
            "2026-07-01 12:00:00+00",
            "2026-07-01 11:00:00+00",
        ),
        (
            Axis::UuidV7(Default::default()),
            "1 day",
            "2026-01-01",
            None,
            "019b76da-a800-7abc-9def-0123456789ab",
            "019b76da-a800-0000-0000-000000000000",
        ),
        (Axis::Integer { bits: 32 }, "1000", "1", None, "1000", "1"),
    ];
    for (axis, interval, origin, zone, at, from) in cases {
        let grid = grid(*axis, interval, Some(origin), *zone);
        let (low, _) = grid.cell(axis.parse(at).unwrap()).unwrap();
        assert_eq!(axis.text(low).unwrap(), *from, "{axis} {interval} {origin}");
    }
}

#[test]
fn grids_that_cannot_be_are_refused() {
    let cases: &[(Axis, &str, Option<&str>, Option<&str>)] = &[
        (Axis::Date, "6 hours", None, None),
        (Axis::Date, "36 hours", None, None),
        (Axis::Date, "1000", None, None),
        (Axis::Date, "1 month", Some("2026-01-31"), None),
        (Axis::Date, "1 month", Some("yesterday"), None),
        (zoned(), "1 day", None, Some("Europe/Atlantis")),
        (zoned(), "1 month", Some("2026-01-29"), Some("Europe/Berlin")),
        (Axis::Integer { bits: 64 }, "1 day", None, None),
        (Axis::Integer { bits: 64 }, "0.5", None, None),
        (Axis::Ulid, "1000", None, None),
        (Axis::Ulid, "10 us", None, None),
    ];
    for (axis, interval, origin, zone) in cases {
        let made = Grid::new(*axis, interval.parse().unwrap(), *origin, *zone);
        assert!(made.is_err(), "{axis} {interval} {origin:?} {zone:?}");
    }
}

#[test]
fn hours_are_as_long_on_the_days_when_clocks_change() {
    let hourly = grid(zoned(), "1 hour", None, Some("Europe/Berlin"));
    let bounds = texts(&hourly, "2026-03-28 23:00:00+00", 30);
    let expected: Vec<String> = (0..=30)
        .map(|hour| format!("2026-03-{:02} {:02}:00:00+00", 28 + (23 + hour) / 24, (23 + hour) % 24))
        .collect();
    assert_eq!(bounds, expected);
}

#[test]
fn a_day_that_was_left_out_has_no_cell() {
    // Samoa went from the 29th of December to the 31st.
    let daily = grid(zoned(), "1 day", None, Some("Pacific/Apia"));
    assert_eq!(
        texts(&daily, "2011-12-28 10:00:00+00", 4),
        [
            "2011-12-28 10:00:00+00",
            "2011-12-29 10:00:00+00",
            "2011-12-30 10:00:00+00",
            "2011-12-31 10:00:00+00",
            "2012-01-01 10:00:00+00"
        ]
    );
    let left_out = daily.axis.parse("2011-12-30 10:00:00+00").unwrap();
    assert_eq!(daily.steps(Position(left_out.0 - 1), left_out).unwrap(), 2);
}

#[test]
fn a_bridge_leads_to_the_grid() {
    let monthly = grid(Axis::Date, "1 month", None, None);
    let at = |text: &str| Axis::Date.parse(text).unwrap();
    assert_eq!(monthly.bridge(at("2026-01-15")), Some((at("2026-01-15"), at("2026-02-01"))));
    assert_eq!(monthly.bridge(at("2026-02-01")), None);
    assert_eq!(monthly.previous(at("2026-02-01")).unwrap(), at("2026-01-01"));
    assert_eq!(monthly.cells(at("2026-01-15"), at("2026-03-01"), 2).unwrap().len(), 2);
    assert!(matches!(
        monthly.cells(at("2026-01-15"), at("2026-03-02"), 2),
        Err(BadGrid::TooMany { limit: 2, .. })
    ));
    assert_eq!(monthly.cells(at("2026-01-15"), at("2026-01-15"), 2), Ok(vec![]));
}

#[test]
fn today_is_where_the_zone_is() {
    // 2026-01-01 20:00 UTC.
    let evening = 1_767_297_600_000_000;
    let at = |zone| {
        let grid = grid(Axis::Date, "1 day", None, zone);
        Axis::Date.text(grid.at_moment(evening).unwrap()).unwrap()
    };
    assert_eq!(at(None), "2026-01-01");
    assert_eq!(at(Some("Asia/Tokyo")), "2026-01-02");
    let tokyo = grid(Axis::Date, "1 day", None, Some("Asia/Tokyo"));
    let day = Axis::Date.parse("2026-01-02").unwrap();
    assert_eq!(tokyo.moment(day), Some(1_767_279_600_000_000));
    let tokyo = grid(zoned(), "1 day", None, Some("Asia/Tokyo"));
    assert_eq!(tokyo.at_moment(evening), Some(Position(evening.into())));
}

#[test]
fn grids_say_what_they_are() {
    let cases: &[(Axis, &str, Option<&str>, Option<&str>, &str)] = &[
        (zoned(), "1 day", None, Some("Europe/Berlin"), "1 day from midnight Europe/Berlin"),
        (zoned(), "1 day", Some("2026-01-01 06:00:00"), None, "1 day from 06:00 UTC"),
        (zoned(), "1 week", None, None, "1 week from Monday, midnight UTC"),
        (Axis::Date, "1 month", None, None, "1 month from the 1st, midnight"),
        (Axis::Date, "9 weeks", None, None, "9 weeks from 2001-01-01 00:00"),
        (Axis::Timestamp, "6 hours", None, None, "6 hours from midnight"),
        (Axis::Integer { bits: 64 }, "1000", None, None, "1000 from 0"),
    ];
    for (axis, interval, origin, zone, text) in cases {
        assert_eq!(grid(*axis, interval, *origin, *zone).describe(), *text);
    }
}

#[test]
fn far_beyond_any_calendar_is_an_error() {
    let daily = grid(zoned(), "1 day", None, Some("Europe/Berlin"));
    let far = zoned().parse("20000-01-01 00:00:00+00").unwrap();
    assert!(matches!(daily.cell(far), Err(BadGrid::Calendar(_))));
    // In UTC there is no end before the type's.
    assert!(grid(zoned(), "1 day", None, None).on_grid(far));
    assert!(
        grid(zoned(), "1 month", None, None).on_grid(zoned().parse("0044-03-01 00:00:00+00 BC").unwrap())
    );
}

/// Zones with every oddity: gaps and folds at midnight, half hours, days left out, and none of these.
const ZONES: [&str; 14] = [
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "America/Havana",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Asia/Gaza",
    "America/New_York",
    "Africa/Casablanca",
    "America/Asuncion",
    "Asia/Beirut",
];

fn any_interval() -> impl Strategy<Value = Interval> {
    prop_oneof![
        (1u32..30).prop_map(Interval::Months),
        (1u32..100).prop_map(Interval::Days),
        (1i64..2_000).prop_map(|n| Interval::Fixed(n * 60_000_000)),
    ]
}

fn any_grid() -> impl Strategy<Value = Grid> {
    let axes = [Axis::TimestampTz, Axis::Timestamp, Axis::UuidV7(Default::default()), Axis::Ulid];
    // Origins in the years 1970 to 2050, at any second.
    (0..axes.len(), any_interval(), 0i128..2_500_000_000, 0..ZONES.len()).prop_filter_map(
        "months begin on the 28th at the latest",
        move |(axis, interval, origin, zone)| {
            let zone = Grid::new(Axis::TimestampTz, Interval::Days(1), None, Some(ZONES[zone])).ok()?.zone;
            Grid::through(axes[axis], interval, Position(origin * 1_000_000), zone).ok()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn cells_tile_and_hold_what_they_are_asked_for(grid in any_grid(), at in 0i128..2_500_000_000_000_000) {
        let at = Position(at - at % 1_000);
        let (from, to) = grid.cell(at).unwrap();
        prop_assert!(from <= at && at < to, "{grid}");
        prop_assert_eq!(grid.cell(from), Ok((from, to)), "{}", grid);
        prop_assert_eq!(grid.cell(Position(to.0 - 1)), Ok((from, to)), "{}", grid);
        prop_assert_eq!(grid.next(from), Ok(to));
        prop_assert_eq!(grid.previous(to), Ok(from));
        prop_assert!(grid.on_grid(from) && grid.on_grid(to));
        prop_assert_eq!(grid.bridge(from), None);
        if at != from {
            prop_assert_eq!(grid.bridge(at), Some((at, to)));
        }
        // What was written is what is read, on every axis.
        let text = grid.axis.text(to).unwrap();
        prop_assert_eq!(grid.axis.bound(&text), Ok(to));
    }

    #[test]
    fn years_of_cells_leave_no_hole(grid in any_grid(), from in 0i128..2_400_000_000_000_000) {
        let from = Position(from);
        // Three years, or as many cells as there are in some months.
        let cells = i128::from(grid.interval.micros().unwrap()) * 3_000;
        let to = Position(from.0 + cells.min(3 * 366 * 86_400_000_000));
        let mut before = grid.cell(from).unwrap().0;
        for (index, (low, high)) in grid.cells(from, to, 4_000).unwrap().into_iter().enumerate() {
            prop_assert_eq!(low, before, "{} {}", grid, index);
            prop_assert!(high > low);
            before = high;
        }
    }

    #[test]
    fn days_begin_when_the_wall_clock_says_so(zone in 0..ZONES.len(), at in 0i64..2_500_000_000) {
        let daily = grid(zoned(), "1 day", None, Some(ZONES[zone]));
        let (from, _) = daily.cell(Position(i128::from(at) * 1_000_000)).unwrap();
        let shown = |at: i128| {
            let instant = jiff::Timestamp::from_microsecond(at as i64).unwrap();
            daily.zone.to_datetime(instant)
        };
        // The date changes exactly there, and the clock had not shown it before.
        prop_assert!(shown(from.0).date() > shown(from.0 - 1).date(), "{}", daily);
    }

    #[test]
    fn numbers_tile(length in 1i128..1_000_000_000, origin in any::<i64>(), at in any::<i64>(), scale in 0u32..4) {
        let axis = Axis::Numeric { scale, digits: 0 };
        let interval = Interval::decimal(length, scale);
        let grid = Grid::through(axis, interval, Position(origin.into()), jiff::tz::TimeZone::UTC).unwrap();
        let (from, to) = grid.cell(Position(at.into())).unwrap();
        prop_assert!(from.0 <= i128::from(at) && i128::from(at) < to.0);
        prop_assert_eq!(to.0 - from.0, length);
        prop_assert_eq!((from.0 - i128::from(origin)).rem_euclid(length), 0);
    }

    #[test]
    fn any_interval_is_read_as_it_was_written(interval in any_interval(), units in 1i128..1_000_000, scale in 0u32..6) {
        prop_assert_eq!(interval.to_string().parse(), Ok(interval));
        let number = Interval::decimal(units, scale);
        prop_assert_eq!(number.to_string().parse(), Ok(number));
    }

    #[test]
    fn no_text_breaks_an_interval(text in "\\PC{0,30}") {
        if let Ok(interval) = text.parse::<Interval>() {
            prop_assert_eq!(interval.to_string().parse(), Ok(interval));
        }
    }
}
