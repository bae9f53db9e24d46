//! What was measured.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::shape::Shape;

/// One run of this program.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How often each lookup was measured.
    pub rounds: u32,
    /// In the order in which they were measured.
    pub cases: Vec<Case>,
}

/// One map.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    pub shape: Shape,
    pub leaves: usize,
    /// By the name of what is measured, with its unit.
    pub figures: BTreeMap<&'static str, f64>,
}

/// What is measured, in the order in which it is shown. Units: nanoseconds, microseconds, milliseconds, bytes.
pub const FIGURES: [&str; 22] = [
    "lookup ns",
    "sorted vector ns",
    "hash map ns",
    "lookup / sorted vector",
    "lookup / hash map",
    "partial ns/leaf",
    "by name ns",
    "memory B/leaf",
    "allocations /leaf",
    "sorted vector B/key",
    "hash map B/key",
    "switch us",
    "switch B",
    "carve us",
    "carve B",
    "delta B",
    "delta us",
    "apply us",
    "document B/leaf",
    "build ms",
    "write ms",
    "read ms",
];

/// The middle one.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The factor by which a figure grows each time there are ten times as many leaves; `None` for a single case.
pub fn growth(cases: &[Case], figure: &str) -> Option<f64> {
    let (first, last) = (cases.first()?, cases.last()?);
    let decades = (last.leaves as f64 / first.leaves as f64).log10();
    let factor = last.figures.get(figure)? / first.figures.get(figure)?;
    (decades > 0.5).then(|| factor.powf(1.0 / decades))
}
