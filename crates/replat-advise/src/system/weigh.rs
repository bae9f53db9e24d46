//! How much each transaction of a sample stands for.
//!
//! A sample may be drawn evenly, or so that rare statements are in it often enough to be seen. How often statements really
//! ran is counted elsewhere. Weights are found by which the sample's statements have the counted shares (iterative
//! proportional fitting), and transactions are repeated as often as their weights say: what measures a trace need not know
//! of weights then. An even sample is left as it is, since repeating would only add noise.

use std::collections::BTreeMap;

use crate::evidence::{Evidence, TransactionSeen};

/// A sample is even if no statement that was sampled often has a share more than this many times off.
const OFF_MAX: f64 = 1.5;

/// Statements sampled less often than this say nothing of how even a sample is. Unit: times.
const SAMPLED_MIN: f64 = 20.0;

/// Rounds of fitting; each brings the shares closer.
const ROUNDS: usize = 30;

/// No transaction is repeated more often than this: what was seen once is not a hundred cases.
const REPEATED_MAX: usize = 20;

/// Of each transaction, how many times it counts; `None` if each counts once.
pub(super) fn repeated(evidence: &Evidence) -> Option<Vec<usize>> {
    let calls: BTreeMap<&str, f64> = evidence
        .statements
        .iter()
        .filter_map(|statement| Some((statement.id.as_str(), statement.calls? as f64)))
        .collect();
    let mut weights = vec![1.0; evidence.transactions.len()];
    let first = off(&evidence.transactions, &weights, &calls);
    let is_even = first
        .values()
        .all(|(sampled, off)| *sampled < SAMPLED_MIN || (1.0 / OFF_MAX..=OFF_MAX).contains(off));
    if first.is_empty() || is_even {
        return None;
    }
    for _ in 0..ROUNDS {
        let off = off(&evidence.transactions, &weights, &calls);
        for (transaction, weight) in evidence.transactions.iter().zip(&mut weights) {
            let (mut logs, mut count) = (0.0, 0.0);
            for run in &transaction.statements {
                if let Some((_, off)) = off.get(run.statement.as_str()) {
                    logs += off.ln();
                    count += 1.0;
                }
            }
            if count > 0.0 {
                *weight *= f64::exp(logs / count);
            }
        }
    }
    // The least are kept once, and the others by that measure; then no transaction is lost.
    let least = weights.iter().copied().fold(f64::INFINITY, f64::min).max(f64::MIN_POSITIVE);
    let mut due = 0.0;
    let times = weights.iter().map(|weight| {
        let wanted = (weight / least).min(REPEATED_MAX as f64) + due;
        // The number is between one and the most.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let times = wanted.floor().max(1.0) as usize;
        due = wanted - times as f64;
        times
    });
    Some(times.collect())
}

/// Of each statement that was both sampled and counted: how often it was sampled, and by how much its share is too small.
fn off<'t>(
    transactions: &'t [TransactionSeen],
    weights: &[f64],
    calls: &BTreeMap<&str, f64>,
) -> BTreeMap<&'t str, (f64, f64)> {
    let mut sampled: BTreeMap<&str, f64> = BTreeMap::new();
    for (transaction, weight) in transactions.iter().zip(weights) {
        for run in &transaction.statements {
            if calls.get(run.statement.as_str()).is_some_and(|calls| *calls > 0.0) {
                *sampled.entry(run.statement.as_str()).or_default() += weight;
            }
        }
    }
    let all: f64 = sampled.values().sum();
    let counted: f64 = sampled.keys().map(|id| calls[id]).sum();
    sampled.into_iter().map(|(id, times)| (id, (times, (calls[id] / counted) / (times / all)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Executed, StatementSeen};

    fn sample(of_a: usize, of_b: usize, calls: [u64; 2]) -> Evidence {
        let run = |id: &str| TransactionSeen {
            statements: vec![Executed { statement: id.to_owned(), parameters: Vec::new() }],
            ..TransactionSeen::default()
        };
        let counted = |id: &str, calls| StatementSeen {
            id: id.to_owned(),
            calls: Some(calls),
            ..StatementSeen::default()
        };
        Evidence {
            statements: vec![counted("a", calls[0]), counted("b", calls[1])],
            transactions: std::iter::repeat_n(run("a"), of_a)
                .chain(std::iter::repeat_n(run("b"), of_b))
                .collect(),
            ..Evidence::default()
        }
    }

    #[test]
    fn a_stratified_sample_gets_its_counted_mix() {
        assert_eq!(repeated(&sample(50, 50, [500, 480])), None);
        assert_eq!(repeated(&Evidence::default()), None);
        let times = repeated(&sample(50, 50, [800, 200])).expect("it is uneven");
        let (a, b) = (times[..50].iter().sum::<usize>(), times[50..].iter().sum::<usize>());
        assert!(a.abs_diff(4 * b) <= 4, "{a} {b}");
        let rare = repeated(&sample(50, 1, [1, 1_000_000])).expect("it is uneven");
        assert!(rare.iter().all(|times| (1..=REPEATED_MAX).contains(times)));
    }
}
