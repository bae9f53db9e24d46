//! What is learned from histories, and what one outlier may do to it.

use proptest::prelude::*;
use replat_model::lifecycle::forecast::{Forecast, History, Length, PartSpan, learn};

use super::given::*;

fn by_parts(parts: &[PartSpan]) -> Forecast {
    learn(&History { parts, now: NOW, ..History::default() })
}

fn by_samples(rows: &[u64]) -> Forecast {
    learn(&History { samples: &samples(rows), now: NOW, ..History::default() })
}

fn near(got: Option<f64>, want: f64, part: f64) -> bool {
    got.is_some_and(|got| (got / want - 1.0).abs() <= part)
}

#[test]
fn no_evidence_is_none_and_never_zero() {
    let cases: [(&str, Vec<PartSpan>); 6] = [
        ("nothing", vec![]),
        ("never analysed", days(&[0; 30])),
        ("only the one in use", vec![(NOW - DAY / 2, NOW + DAY / 2, 500, 50_000)]),
        ("only the future", vec![(NOW + DAY, NOW + 2 * DAY, 500, 50_000)]),
        ("upside down", vec![(NOW - DAY, NOW - 2 * DAY, 500, 50_000)]),
        ("an hour of today", vec![(NOW - 3_600_000_000, NOW, 500, 50_000)]),
    ];
    for (case, parts) in cases {
        let forecast = by_parts(&parts);
        assert_eq!(forecast.rows_per_day, None, "{case}");
        assert_eq!(forecast.rows(NOW, 30.0), None, "{case}");
        assert_eq!(forecast.keys(30.0), None, "{case}");
        assert_eq!(forecast.days_of_evidence, 0.0, "{case}");
        assert!(forecast.because.starts_with("no evidence"), "{case}: {}", forecast.because);
    }
    assert_eq!(by_samples(&[]).rows_per_day, None);
    assert_eq!(by_samples(&[0, 0, 0]).rows_per_day, None);
}

#[test]
fn a_steady_table_is_steady() {
    for (case, forecast) in [("parts", by_parts(&days(&[1_000; 41]))), ("samples", by_samples(&[1_000; 41]))]
    {
        assert!(near(forecast.rows_per_day, 1_000.0, 1e-6), "{case}: {forecast:?}");
        assert!(near(forecast.bytes_per_row, 100.0, 1e-6), "{case}: {forecast:?}");
        assert!(near(forecast.rows_per_day_burst, 1_200.0, 1e-6), "the floor, {case}: {forecast:?}");
        assert!(forecast.trend_per_day.is_some_and(|b| b.abs() < 1e-9), "{case}: {forecast:?}");
        assert!((forecast.days_of_evidence - 41.0).abs() < 1e-6, "{case}");
        assert_eq!(
            forecast.because.replace("-0.0", "+0.0"),
            "1 k rows a day over 41 days, +0.0 % a day, busiest day 1.2 times the mean",
            "{case}"
        );
    }
}

#[test]
fn growth_is_seen_and_followed_only_as_far_as_it_was_seen() {
    let rows: Vec<u64> = (0..42).map(|day| (10_000.0 * 1.01_f64.powi(day)) as u64).collect();
    let forecast = by_parts(&days(&rows));
    assert!(near(forecast.trend_per_day, 0.01_f64.ln_1p(), 0.02), "{forecast:?}");
    assert!(near(forecast.rows_per_day, 10_000.0 * 1.01_f64.powf(41.5), 0.02), "{forecast:?}");
    let day = |ahead: i64| forecast.rows(NOW + ahead * DAY, 1.0).unwrap().0;
    // `rows` begins at the level of now, wherever it begins.
    assert!((day(0) / day(301) - 1.0).abs() < 1e-6);
    let (thirty, _) = forecast.rows(NOW, 30.0).unwrap();
    assert!(thirty > 30.0 * day(0) * 1.1, "{thirty}");
    let (years, _) = forecast.rows(NOW, 3_650.0).unwrap();
    assert!(years < 3_650.0 * day(0) * 1.6, "{years}");
}

#[test]
fn the_week_is_seen_and_the_level_is_the_mean_of_it() {
    // 42 days before a Monday begin on a Monday.
    let rows: Vec<u64> = (0..42).map(|day| if day % 7 >= 5 { 2_000 } else { 10_000 }).collect();
    let forecast = by_parts(&days(&rows));
    let [monday, .., saturday, _] = forecast.week;
    assert!(monday > 1.1 && saturday < 0.6, "{:?}", forecast.week);
    assert!((forecast.week.iter().sum::<f64>() - 7.0).abs() < 1e-9);
    let mean = (5.0 * 10_000.0 + 2.0 * 2_000.0) / 7.0;
    assert!(near(forecast.rows_per_day, mean, 0.15), "{forecast:?}");
    let at = |day: i64| forecast.rows(NOW + day * DAY, 1.0).unwrap().0;
    assert!(at(0) > 2.0 * at(5), "{} {}", at(0), at(5));
    // Two weeks are too few to believe in weekdays.
    assert_eq!(by_parts(&days(&rows[..14])).week, [1.0; 7]);
}

#[test]
fn partitions_of_hours_months_and_tenants_count_by_days() {
    let hour = DAY / 24;
    let hours: Vec<PartSpan> =
        (0..240).map(|h| (NOW - (240 - h) * hour, NOW - (239 - h) * hour, 100, 10_000)).collect();
    assert!(near(by_parts(&hours).rows_per_day, 2_400.0, 1e-6));
    let months: Vec<PartSpan> =
        (0..12).map(|m| (NOW - (12 - m) * 30 * DAY, NOW - (11 - m) * 30 * DAY, 30_000, 1)).collect();
    assert!(near(by_parts(&months).rows_per_day, 1_000.0, 1e-6));
    let tenants: Vec<PartSpan> = [days(&[1_000; 20]), days(&[500; 20])].concat();
    let forecast = by_parts(&tenants);
    assert!(near(forecast.rows_per_day, 1_500.0, 1e-6));
    assert!((forecast.days_of_evidence - 20.0).abs() < 1e-6);
}

/// What may happen to one of thirty days, and what the forecast is without it.
#[test]
fn one_mishap_moves_little() {
    let steady = [1_000_u64; 30];
    let with = |day: usize, rows: u64| {
        let mut parts = days(&steady);
        parts[day].2 = rows;
        by_parts(&parts)
    };
    let mut reset = samples(&steady);
    for (n, sample) in reset.iter_mut().enumerate().skip(15) {
        sample.inserted = (n as u64 - 15) * 1_000;
    }
    let mut far = days(&steady);
    far.push((NOW + 900 * DAY, NOW + 901 * DAY, 1, 8_192));
    let mut filling = days(&steady);
    filling.push((NOW - DAY / 24, NOW + 23 * DAY / 24, 3, 8_192));
    let cases = [
        ("a thousand times the rows, in the middle", with(15, 1_000_000)),
        ("a thousand times the rows, yesterday", with(29, 1_000_000)),
        ("as many rows as can be counted", with(29, u64::MAX)),
        ("one row", with(29, 1)),
        ("never analysed", with(3, 0)),
        ("statistics were reset", learn(&History { samples: &reset, now: NOW, ..History::default() })),
        ("a row far in the future", by_parts(&far)),
        ("the one that is being filled", by_parts(&filling)),
    ];
    for (case, forecast) in cases {
        assert!(near(forecast.rows_per_day, 1_000.0, 0.05), "{case}: {forecast:?}");
        assert!(forecast.rows_per_day_burst.unwrap() <= 2_100.0, "{case}: {forecast:?}");
        assert!(forecast.trend_per_day.unwrap_or(0.0).abs() < 0.001, "{case}: {forecast:?}");
    }
}

#[test]
fn two_busy_days_are_no_outlier() {
    let mut rows = [1_000_u64; 40];
    (rows[10], rows[31]) = (5_000, 6_000);
    let burst = by_parts(&days(&rows)).rows_per_day_burst.unwrap();
    assert!((3_900.0..=6_000.0).contains(&burst), "{burst}");
}

#[test]
fn a_surge_is_a_ratio_to_the_forecast() {
    let forecast = by_samples(&[86_400_000; 20]);
    let last = sample(NOW, 5_000_000_000);
    let minute = 60_000_000;
    let surge = |rows: u64, after: i64| forecast.surge(&last, last.inserted + rows, NOW + after);
    for (case, rows, after, low, high) in [
        ("as forecast", 60_000, minute, 0.99, 1.01),
        ("three times", 180_000, minute, 2.9, 3.0),
        ("nothing", 0, minute, 0.0, 0.01),
        ("few rows in no time", 50, 1_000, 1.0, 1.5),
    ] {
        let ratio = surge(rows, after).unwrap();
        assert!((low..=high).contains(&ratio), "{case}: {ratio}");
    }
    assert_eq!(surge(60_000, 0), None, "no time passed");
    assert_eq!(surge(60_000, -minute), None, "the clock was set back");
    assert_eq!(forecast.surge(&last, 0, NOW + minute), None, "statistics were reset");
    assert_eq!(Forecast::default().surge(&last, last.inserted, NOW + minute), None, "no forecast");
}

#[test]
fn intervals_follow_the_size() {
    // 1000 rows and 100 kB a day, 120 kB on a busy one.
    let steady = by_parts(&days(&[1_000; 41]));
    let keyed = Forecast { keys_per_day: Some(2_000.0), ..steady.clone() };
    let (mb, month) = (1_000_000, Length::Months(1));
    for (case, forecast, now, size, want) in [
        ("stays", &steady, Length::Days(1), 150_000, Some(Length::Days(1))),
        ("stays, a bit small", &steady, Length::Days(1), 350_000, Some(Length::Days(1))),
        ("a week", &steady, Length::Days(1), mb, Some(Length::Days(7))),
        ("no longer than fits", &steady, Length::Days(1), 1_000 * mb, Some(Length::Days(28))),
        ("hours", &steady, Length::Days(1), 32_000, Some(Length::Fixed(6 * DAY / 24))),
        ("the least there is", &steady, Length::Days(1), 1, Some(Length::Fixed(DAY / 24))),
        ("a month into days", &steady, month, 150_000, Some(Length::Days(1))),
        ("a month into years", &steady, month, 50 * mb, Some(Length::Months(12))),
        ("nine weeks into one", &steady, Length::Days(63), mb, Some(Length::Days(7))),
        ("hours to a day", &steady, Length::Fixed(DAY / 24), 120_001, Some(Length::Fixed(DAY))),
        ("half of a row each key", &keyed, Length::Number(1_000_000), 5 * mb, Some(Length::Number(100_000))),
        ("no keys known", &steady, Length::Number(1_000_000), 5 * mb, None),
        ("no evidence", &Forecast::default(), Length::Days(1), mb, None),
    ] {
        assert_eq!(forecast.interval_for(size, now), want, "{case}");
    }
    assert_eq!(by_parts(&days(&[1_000; 2])).interval_for(mb, Length::Days(1)), None, "two days");
}

/// Rates without order, and rates that grow or shrink by up to a factor of three a day.
fn rates() -> impl Strategy<Value = Vec<u64>> {
    let grows = |(first, factor, n): (u64, f64, i32)| {
        let rate = |day| (first as f64 * f64::powi(factor, day)).clamp(1.0, 1e15) as u64;
        (0..n).map(rate).collect::<Vec<_>>()
    };
    prop_oneof![
        prop::collection::vec(1_u64..10_000_000, 3..60),
        (1_u64..1_000_000, 0.33_f64..3.0, 3_i32..60).prop_map(grows),
    ]
}

proptest! {
    /// The bound that the module promises, for any history and any outlier.
    #[test]
    fn one_outlier_is_bounded(rows in rates(), which in any::<prop::sample::Index>(), outlier in any::<u64>(), scale in 0_u32..64) {
        let which = which.index(rows.len());
        let mut hit = rows.clone();
        hit[which] = (outlier >> scale).max(1);
        let forecast = by_parts(&days(&hit));
        // Only the newest 56 are looked at; the others there are what is left of those without the outlier.
        let seen = rows.len().saturating_sub(56);
        let others = || rows.iter().enumerate().skip(seen).filter(|(n, _)| *n != which).map(|(_, rows)| *rows as f64);
        let (low, high) = (others().fold(f64::MAX, f64::min), others().fold(0.0, f64::max));
        let level = forecast.rows_per_day.unwrap();
        let burst = forecast.rows_per_day_burst.unwrap();
        prop_assert!(level >= low / 2.0 * 0.999 && level <= high * 2.0 * 1.001, "{low} {level} {high}");
        prop_assert!(burst >= level && burst <= high * 4.0 * 1.001, "{burst} {high}");
        prop_assert!(forecast.week.iter().all(|day| (1.0 / 16.0..=16.0).contains(day)), "{:?}", forecast.week);
        let (expected, upper) = forecast.rows(NOW, 30.0).unwrap();
        prop_assert!(expected.is_finite() && upper.is_finite() && upper >= expected);
    }

    /// Where days are alike, an outlier changes next to nothing.
    #[test]
    fn among_like_days_an_outlier_moves_a_fifth_at_most(
        rows in prop::collection::vec(900_u64..1_100, 14..56),
        which in any::<prop::sample::Index>(),
        outlier in any::<u64>(),
    ) {
        let mut hit = rows.clone();
        hit[which.index(rows.len())] = outlier.max(1);
        let (clean, hit) = (by_parts(&days(&rows)), by_parts(&days(&hit)));
        let moved = hit.rows_per_day.unwrap() / clean.rows_per_day.unwrap();
        prop_assert!((0.8..=1.25).contains(&moved), "{moved}");
    }

    /// Nothing that a catalogue could say makes it panic, or makes it say what is not a number.
    #[test]
    fn any_history_is_survived(
        parts in prop::collection::vec((any::<i64>(), any::<i64>(), any::<u64>(), any::<u64>()), 0..20),
        looks in prop::collection::vec((any::<i64>(), any::<u64>()), 0..20),
        keys in prop::collection::vec((any::<i64>(), any::<i128>()), 0..20),
        now in any::<i64>(),
        days in -10.0_f64..1e6,
    ) {
        let samples: Vec<_> = looks.into_iter().map(|(at, inserted)| sample(at, inserted)).collect();
        let forecast = learn(&History { samples: &samples, parts: &parts, keys: &keys, now });
        let finite = |value: Option<f64>| value.is_none_or(|value| value.is_finite() && value > 0.0);
        prop_assert!(finite(forecast.rows_per_day), "{forecast:?}");
        prop_assert!(finite(forecast.rows_per_day_burst), "{forecast:?}");
        prop_assert!(finite(forecast.keys_per_day), "{forecast:?}");
        prop_assert!(finite(forecast.keys_per_day_burst), "{forecast:?}");
        prop_assert!(!forecast.because.is_empty());
        let rows = forecast.rows(now, days);
        prop_assert!(rows.is_none_or(|(low, high)| low >= 0.0 && high >= low), "{rows:?}");
        prop_assert!(forecast.interval_for(1 << 30, Length::Days(1)).is_none_or(|length| length != Length::Days(0)));
    }

    /// Every length that is offered divides the present one, or is a multiple of it.
    #[test]
    fn fitting_lengths_fit(number in 1_i128..1_000_000_000, micros in 1_i64..10 * DAY, days in 1_u32..400, months in 1_u32..40) {
        let divides = |a: i128, b: i128| a > 0 && b > 0 && (a % b == 0 || b % a == 0);
        for length in Length::Number(number).fitting() {
            prop_assert!(matches!(length, Length::Number(n) if divides(n, number)), "{length:?}");
        }
        for length in Length::Fixed(micros).fitting() {
            prop_assert!(matches!(length, Length::Fixed(n) if divides(n.into(), micros.into())), "{length:?}");
        }
        for length in Length::Days(days).fitting() {
            prop_assert!(matches!(length, Length::Fixed(_)) || matches!(length, Length::Days(n) if divides(n.into(), days.into())));
        }
        prop_assert!(Length::Months(months).fitting().contains(&Length::Months(months)));
        prop_assert!(Length::Days(days).fitting().contains(&Length::Days(days)));
    }
}
