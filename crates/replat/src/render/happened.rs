//! What a deployment took, from the times in its log, beside what its plan had estimated.

use replat_engine::Recorded;
use replat_model::deploy::{Event, Timestamp};
use replat_model::ids::Side;
use replat_model::plan::Plan;
use replat_model::prediction::Span;
use serde::Serialize;

use super::prediction::expected;
use super::{bytes, count, span};

/// What happened so far. Times are in milliseconds and of the clocks of whoever ran it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Happened {
    /// Rows copied.
    pub rows: Option<u64>,
    /// Bytes copied, as sent.
    pub bytes: Option<u64>,
    /// From the plan of the copy to its end.
    pub copy_ms: Option<u64>,
    /// From the indexes to the first comparison that found both sides equal; what was caught up with is in it.
    pub verify_ms: Option<u64>,
    /// Of each switch, from the fence until the new home was open.
    pub pauses_ms: Vec<u64>,
}

impl Happened {
    /// What the log says.
    pub fn of(history: &[Recorded]) -> Happened {
        let mut happened = Happened::default();
        let (mut planned, mut indexed): (Option<Timestamp>, Option<Timestamp>) = (None, None);
        let (mut fenced, mut switched): (Option<Timestamp>, Option<Timestamp>) = (None, None);
        for entry in history {
            match &entry.event {
                Event::CopyPlanned { .. } => planned = Some(entry.at),
                Event::Copied { rows, bytes, .. } => {
                    (happened.rows, happened.bytes) = (Some(*rows), Some(*bytes));
                    happened.copy_ms = planned.map(|since| entry.at.since(since));
                }
                Event::Indexed => indexed = Some(entry.at),
                Event::Verified { from: Side::Blue, .. } if happened.verify_ms.is_none() => {
                    happened.verify_ms = indexed.map(|since| entry.at.since(since));
                }
                Event::Fenced { since, .. } => fenced = Some(*since),
                Event::FenceGivenUp { .. } => fenced = None,
                Event::Switched { .. } => switched = fenced.take(),
                Event::Settled { .. } => {
                    happened.pauses_ms.extend(switched.take().map(|since| entry.at.since(since)));
                }
                _ => {}
            }
        }
        happened
    }

    /// The rows of a table for people: what was predicted and what happened.
    pub fn rows_beside(&self, plan: &Plan) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        if let (Some(copied), Some(sent)) = (self.rows, self.bytes) {
            let text = format!(
                "{} rows, {} predicted{}; {} sent, {} on disk predicted",
                count(copied),
                count(plan.rows()),
                ratio(copied, plan.rows()),
                bytes(sent),
                bytes(plan.bytes())
            );
            rows.push(("copied", text));
        }
        let p = &plan.prediction;
        for (name, took, predicted) in
            [("copy took", self.copy_ms, p.copy_ms), ("equal took", self.verify_ms, p.verify_ms)]
        {
            rows.extend(took.map(|ms| (name, format!("{}, predicted {}", span(ms), beside(ms, predicted)))));
        }
        for pause in &self.pauses_ms {
            let text = format!(
                "{}, predicted {}, {} at most by the plan",
                span(*pause),
                beside(*pause, p.pause_ms),
                plan.policy.pause_max
            );
            rows.push(("pause", text));
        }
        rows
    }
}

/// What was predicted, and whether it was so.
fn beside(happened: u64, predicted: Option<Span>) -> String {
    let said = expected(predicted);
    match predicted {
        Some(Span { low, .. }) if happened < low => format!("{said} (less)"),
        Some(Span { high, .. }) if happened > high => format!("{said} (more)"),
        _ => said,
    }
}

/// What happened over what was predicted.
fn ratio(happened: u64, predicted: u64) -> String {
    if predicted == 0 { String::new() } else { format!(" (x{:.2})", happened as f64 / predicted as f64) }
}
