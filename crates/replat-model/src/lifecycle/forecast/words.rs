//! Numbers for people.

/// A count with three digits or so: `950`, `1.2 k`, `1.2 M`.
pub(crate) fn count(value: f64) -> String {
    scaled(value, 1000.0, &["", " k", " M", " G", " T", " P", " E"])
}

/// A size: `512 B`, `1.5 MB`.
pub(crate) fn bytes(value: u64) -> String {
    scaled(value as f64, 1000.0, &[" B", " kB", " MB", " GB", " TB", " PB", " EB"])
}

/// A time in days: `41 days`, `1 day`, `5.0 hours`.
pub(crate) fn days(value: f64) -> String {
    match value {
        d if d >= 1.95 => format!("{d:.0} days"),
        d if d >= 0.95 => "1 day".to_owned(),
        d if d >= 1.0 / 24.0 => format!("{:.1} hours", d * 24.0),
        d => format!("{:.0} minutes", d * 1440.0),
    }
}

/// A ratio, with one decimal.
pub(crate) fn plain(value: f64) -> String {
    format!("{value:.1}")
}

/// Three digits, without zeros at the end of a fraction.
fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut units = units.iter().copied().peekable();
    let mut unit = units.next().unwrap_or("");
    // 999.6 would be printed as 1000 of the smaller unit.
    while value.abs() >= step - 0.5 && units.peek().is_some() {
        value /= step;
        unit = units.next().unwrap_or("");
    }
    let digits = match value.abs() {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let short = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{short}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, want) in [
            (0.0, "0"),
            (7.0, "7"),
            (0.25, "0.25"),
            (950.0, "950"),
            (999.4, "999"),
            (999.6, "1 k"),
            (1_000.0, "1 k"),
            (1_234_567.0, "1.23 M"),
            (41_000_000.0, "41 M"),
            (99_960_000.0, "100 M"),
            (3e20, "300 E"),
            (3e22, "30000 E"),
            (-1_500.0, "-1.5 k"),
        ] {
            assert_eq!(count(value), want);
        }
        assert_eq!(
            (bytes(512), bytes(1_500_000), bytes(100_000_000_000)),
            ("512 B".into(), "1.5 MB".into(), "100 GB".into())
        );
        for (value, want) in [(41.2, "41 days"), (1.0, "1 day"), (0.5, "12.0 hours"), (0.01, "14 minutes")] {
            assert_eq!(days(value), want);
        }
    }
}
