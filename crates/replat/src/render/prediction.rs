//! What a deployment will take, for people.

use replat_model::prediction::{Prediction, RoundTrip, Sample, Span};

use super::{bytes, count, span};

/// From when to when, or that nobody knows.
pub fn expected(predicted: Option<Span>) -> String {
    match predicted {
        None => "unknown".into(),
        Some(Span { low, high }) if span(low) == span(high) => format!("about {}", span(low)),
        Some(Span { low, high }) => format!("{} to {}", span(low), span(high)),
    }
}

/// What is predicted, and what from: a line each.
pub fn prediction(p: &Prediction) -> Vec<String> {
    let mut lines = vec![format!(
        "copy {}, comparison {}, pause {}",
        expected(p.copy_ms),
        expected(p.verify_ms),
        expected(p.pause_ms)
    )];
    let m = &p.measured;
    lines.push(match &m.read {
        None => "no rows could be read in time to tell how fast they come".into(),
        Some(Sample { table, rows, took_us, .. }) if p.copy_ms.is_some() => {
            format!("from {} rows of {table}, read in {}", count(*rows), micros(*took_us))
        }
        Some(Sample { table, rows, .. }) => {
            format!("{} rows of {table} were read, which is too few to tell how fast they come", count(*rows))
        }
    });
    let trip = |name: &str, trip: Option<RoundTrip>| match trip {
        Some(trip) => format!("{name} answers in {} to {}", micros(trip.least_us), micros(trip.most_us)),
        None => format!("{name} was not asked"),
    };
    lines.push(format!("{}, {}", trip("blue", m.blue), trip("green", m.green)));
    if let Some(rate) = m.log_rate {
        let kept = p.log_kept.map(|kept| format!(", and may keep {} of it during the copy", bytes(kept)));
        lines.push(format!("blue writes {} of log a second{}", bytes(rate), kept.unwrap_or_default()));
    }
    lines
}

fn micros(us: u64) -> String {
    match us {
        0..10_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => span(us / 1_000),
    }
}
