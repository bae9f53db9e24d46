//! Estimates that one value cannot move far.

/// The middle value; of two middle ones, their mean. `None` of nothing.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[half]),
        _ => Some(f64::midpoint(values[half - 1], values[half])),
    }
}

/// The middle value; of two middle ones, the lower.
pub(super) fn lower_median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

/// The slope of a line by Theil and Sen: the median of the slopes between all pairs of points.
pub(super) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let pairs = points.iter().enumerate().flat_map(|(i, a)| points[i + 1..].iter().map(move |b| (a, b)));
    median(pairs.filter(|(a, b)| (b.0 - a.0).abs() > 0.25).map(|(a, b)| (b.1 - a.1) / (b.0 - a.0)))
}

/// How much busier than expected one day in a hundred is, from the ratios of what came to what was expected.
///
/// The highest counts for at most twice the second highest. Never below 1 + 1/√n and 1.2, never above 20: little
/// evidence is a reason for more room, and a factor beyond 20 is another table's.
pub(super) fn burst(ratios: impl Iterator<Item = f64>) -> f64 {
    let mut ratios: Vec<f64> = ratios.filter(|ratio| ratio.is_finite()).collect();
    ratios.sort_by(f64::total_cmp);
    let n = ratios.len();
    let floor = (1.0 + 1.0 / (n.max(1) as f64).sqrt()).max(1.2);
    if n >= 2 {
        ratios[n - 1] = ratios[n - 1].min(2.0 * ratios[n - 2]);
    }
    quantile(&ratios, 0.99).unwrap_or(floor).clamp(floor, 20.0)
}

/// The value below which the part `q` of sorted values lies, between two by a straight line.
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let at = sorted.len().checked_sub(1)? as f64 * q;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(low + (high - low) * at.fract())
}
