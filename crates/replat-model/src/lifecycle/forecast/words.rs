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

fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut units = units.iter().copied().peekable();
    let mut unit = units.next().unwrap_or("");
    // 999.96 would be printed as 1000.0 of the smaller unit.
    while value.abs() >= step - 0.05 && units.peek().is_some() {
        value /= step;
        unit = units.next().unwrap_or("");
    }
    if unit.trim().len() <= 1 && value.fract() == 0.0 {
        format!("{value:.0}{unit}")
    } else {
        format!("{value:.1}{unit}")
    }
}
