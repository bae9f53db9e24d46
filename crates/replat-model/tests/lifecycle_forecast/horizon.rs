//! How far ahead partitions are wanted, over times and over numbers.

use proptest::prelude::*;
use replat_model::lifecycle::forecast::{Forecast, History, horizon, key_horizon, lead, learn};

use super::given::*;

#[test]
fn time_horizons_reach_as_far_as_rows_do() {
    for (case, asked, lead, limit, days, because) in [
        ("as asked", 30.0, None, 4, 30.0, "30 days asked"),
        ("no lead", 30.0, Some(0.0), 4, 30.0, "30 days asked"),
        ("minutes", 30.0, Some(0.01), 4, 30.0, "30 days asked"),
        ("ahead", 30.0, Some(12.0), 4, 42.0, "30 days asked, and rows come 12 days ahead of now"),
        (
            "one row of the year 4764",
            30.0,
            Some(1e6),
            4,
            120.0,
            "30 days asked; rows come 1000000 days ahead of now, bounded to 4 times what was asked",
        ),
        (
            "no extension",
            30.0,
            Some(12.0),
            1,
            30.0,
            "30 days asked; rows come 12 days ahead of now, bounded to 1 times what was asked",
        ),
        ("no limit is one", 30.0, Some(f64::NAN), 0, 30.0, "30 days asked"),
    ] {
        assert_eq!(horizon(asked, lead, limit), (days, because.to_owned()), "{case}");
    }
}

#[test]
fn the_lead_is_that_of_rows_that_come_and_not_of_one_that_stays() {
    let day = |n: i64| NOW + n * DAY;
    let steady: Vec<_> = (0..10).map(|n| (day(n), day(n + 7))).collect();
    let behind: Vec<_> = (0..10).map(|n| (day(n), day(n - 1))).collect();
    let stuck: Vec<_> = (0..10).map(|n| (day(n), if n < 5 { day(n) } else { day(90_000) })).collect();
    let always: Vec<_> = (0..10).map(|n| (day(n), day(90_000))).collect();
    for (case, moments, want) in [
        ("nobody looked", vec![], None),
        ("a week ahead", steady, Some(7.0)),
        ("behind is not ahead", behind, Some(0.0)),
        ("one bad row, since the fifth day", stuck, Some(0.0)),
        ("one bad row, all the time", always, None),
        ("one look", vec![(day(0), day(3))], Some(3.0)),
    ] {
        assert_eq!(lead(&moments), want, "{case}");
    }
}

/// Keys that rise by `step` each day for `n` days until now.
fn line(n: i64, step: i128) -> Vec<(i64, i128)> {
    (0..=n).map(|day| (NOW - (n - day) * DAY, 1_000_000 + i128::from(day) * step)).collect()
}

fn by_keys(keys: &[(i64, i128)]) -> Forecast {
    learn(&History { keys, now: NOW, ..History::default() })
}

#[test]
fn keys_rise_on_a_line() {
    let forecast = by_keys(&line(20, 50_000));
    assert_eq!(forecast.keys_per_day, Some(50_000.0));
    assert_eq!(forecast.key_now, Some(2_000_000));
    let burst = forecast.keys_per_day_burst.unwrap();
    assert!((60_000.0..=65_000.0).contains(&burst), "{burst}");
    let found = key_horizon(30.0, &forecast, 4, Some(2_000_000)).unwrap();
    assert_eq!(found.until, 2_000_000 + (30.0 * burst).ceil() as i128);
    assert!(found.because.starts_with("30 days asked, at up to 61."), "{}", found.because);
    // Keys that went on since the last look.
    let later = learn(&History { keys: &line(20, 50_000), now: NOW + 2 * DAY, ..History::default() });
    assert_eq!(later.key_now, Some(2_100_000));
}

#[test]
fn keys_without_a_pace_have_no_horizon() {
    let cases = [
        ("nothing", vec![]),
        ("one look", line(0, 1)),
        ("one step", line(1, 50_000)),
        ("stuck", line(20, 0)),
        ("falling", line(20, -500)),
        ("one huge step, then none", vec![(NOW - 3 * DAY, 10), (NOW - 2 * DAY, 1 << 60), (NOW, 1 << 60)]),
    ];
    for (case, keys) in cases {
        let forecast = by_keys(&keys);
        assert_eq!((forecast.keys_per_day, forecast.key_now), (None, None), "{case}");
        assert_eq!(key_horizon(30.0, &forecast, 4, Some(5)), None, "{case}");
    }
}

#[test]
fn hours_do_where_there_are_no_days() {
    let keys: Vec<_> = (0..=6).map(|h| (NOW - (6 - h) * DAY / 24, i128::from(h) * 1_000)).collect();
    let pace = by_keys(&keys).keys_per_day.unwrap();
    assert!((pace - 24_000.0).abs() < 1.0, "{pace}");
}

#[test]
fn a_sequence_that_was_set_forward_is_believed_after_some_days() {
    let jump = 10_i128.pow(12);
    let keys: Vec<_> = line(20, 50_000)
        .into_iter()
        .enumerate()
        .map(|(n, (at, key))| (at, if n > 15 { key + jump } else { key }))
        .collect();
    assert_eq!(by_keys(&keys).key_now, Some(2_000_000 + jump));
    assert!(by_keys(&keys[..18]).key_now.is_some_and(|key| key < 3_000_000));
}

proptest! {
    /// From any day on the highest key is one bad one, however far.
    #[test]
    fn one_bad_key_pushes_no_further_than_the_limit(
        days in 5_i64..40,
        step in 1_i128..1_000_000_000,
        since in 3_i64..40,
        bad in 0_i128..1_i128 << 100,
        asked in 1.0_f64..400.0,
        limit in 1_u32..10,
    ) {
        let clean = line(days, step);
        let since = since.min(days);
        let keys: Vec<_> = clean
            .iter()
            .enumerate()
            .map(|(n, (at, key))| (*at, if n as i64 >= since { (*key).max(bad) } else { *key }))
            .collect();
        let highest = keys.last().unwrap().1;
        let forecast = by_keys(&keys);
        let pace = forecast.keys_per_day.unwrap();
        prop_assert!(pace <= step as f64 * 1.001, "{pace} {step}");
        let burst = forecast.keys_per_day_burst.unwrap();
        prop_assert!(burst <= 20.0 * step as f64 * 1.001, "{burst} {step}");
        let found = key_horizon(asked, &forecast, limit, Some(highest)).unwrap();
        let line = forecast.key_now.unwrap();
        let most = line + (f64::from(limit) * asked * burst).ceil() as i128;
        prop_assert!(found.until <= most, "{} {}", found.until, most);
        // Believed is at most what eight times the busiest pace would have made of the last good key.
        let last_good = clean[since as usize - 1].1;
        let reach = (burst * (days - since + 3) as f64 * 9.0).ceil() as i128;
        prop_assert!(line <= last_good + reach, "{line} {last_good} {reach}");
    }

    #[test]
    fn a_time_horizon_is_between_what_was_asked_and_its_limit(asked in 0.0_f64..1e5, lead in any::<f64>(), limit in any::<u32>()) {
        let (days, because) = horizon(asked, Some(lead), limit);
        prop_assert!(days >= asked && days <= asked * f64::from(limit.max(1)) + 1e-9, "{days}");
        prop_assert!(!because.is_empty());
    }
}
