//! Where rows go that belong to no partition.

use super::super::axis::Position;
use super::super::facts::{Bound, Edge, Part, TableName};
use super::super::health::{Finding, Severity, codes};
use super::super::policy::Overflow;
use super::build::New;
use super::keys::Line;
use super::range::Drawn;
use super::set::{Place, SetDraft};

/// What is to become of the catch-all partitions of a level.
pub(super) enum CatchAll {
    /// They stay as they are.
    Stay,
    /// These are new, beside those that are there.
    Add(Vec<New>),
    /// Some go, and others come.
    Swap {
        /// Empty ones that go.
        old: Vec<(TableName, u64, Bound)>,
        /// Those that come.
        new: Vec<New>,
    },
}

/// Whether a partition is known to hold no row. Strays are rows with a key: without any, there may be others.
pub(super) fn known_empty(part: &Part) -> bool {
    let no_stray = || part.strays.as_ref().is_some_and(|strays| strays.rows == 0 && !strays.more);
    part.empty.unwrap_or_else(no_stray)
}

impl SetDraft<'_> {
    /// What the policy makes of the catch-alls of a line that will also have the partitions `news`.
    pub(super) fn catch_all(
        &mut self,
        at: &Place<'_>,
        line: &Line<'_>,
        drawn: &Drawn<'_>,
        news: &[New],
    ) -> Result<CatchAll, Finding> {
        let Some(wanted) = self.policy.overflow else { return Ok(CatchAll::Stay) };
        let default = at.level.default();
        let edges = || line.lower.iter().chain(&line.upper).map(|raw| raw.part);
        let old: Vec<&Part> = match wanted {
            Overflow::Reject => default.into_iter().chain(edges()).collect(),
            Overflow::Default => edges().collect(),
            Overflow::Edge => default.into_iter().collect(),
        };
        let new = match wanted {
            Overflow::Reject => Vec::new(),
            Overflow::Default if default.is_some() => Vec::new(),
            Overflow::Default => vec![New::catch_all(Bound::Default)],
            Overflow::Edge => self.edges(line, drawn, news)?,
        };
        if old.is_empty() {
            return Ok(if new.is_empty() { CatchAll::Stay } else { CatchAll::Add(new) });
        }
        let full: Vec<&Part> = old.iter().copied().filter(|part| !known_empty(part)).collect();
        let stray = news.iter().any(|new| new.stray);
        // An edge that stays would have to give way to new partitions in the same breath: first the one, then the other.
        let moving = wanted == Overflow::Edge && line.upper.is_some() && !news.is_empty();
        if !full.is_empty() || stray {
            self.find(
                Severity::Warning,
                codes::STRAYS,
                self.about(
                    at.parent,
                    &format!(
                        "the catch-all partition {} holds rows, or it is not known that it holds none; it stays until it is empty",
                        super::some(full.iter().map(|part| part.table.to_string()))
                    ),
                ),
                "Let its rows be moved first; then the next run goes on.".into(),
            );
            return Ok(CatchAll::Stay);
        }
        if moving {
            return Ok(CatchAll::Stay);
        }
        let old = old.iter().map(|part| (part.table.clone(), part.id, part.bound.clone())).collect();
        Ok(CatchAll::Swap { old, new })
    }

    /// The two edges that a line lacks, around all partitions that it has and will have.
    fn edges(&self, line: &Line<'_>, drawn: &Drawn<'_>, news: &[New]) -> Result<Vec<New>, Finding> {
        let made = news.iter().filter_map(|new| new.stretch);
        let there = drawn.spans.iter().map(|span| (span.from, span.to));
        let all: Vec<(Position, Position)> = made.chain(there).collect();
        let (Some(low), Some(high)) =
            (all.iter().map(|(low, _)| *low).min(), all.iter().map(|(_, high)| *high).max())
        else {
            return Ok(Vec::new());
        };
        let edge = |at: Position| {
            drawn.grid.axis.text(at).map(Edge::At).map_err(|bad| self.no_grid(bad.to_string()))
        };
        let mut edges = Vec::new();
        if line.lower.is_none() {
            let first = drawn.begin_at(line, low).map_or_else(|| edge(low), Ok)?;
            edges.push(New::catch_all(line.bound(Edge::Min, first)));
        }
        if line.upper.is_none() {
            let last = drawn.end_at(line, high).map_or_else(|| edge(high), Ok)?;
            edges.push(New::catch_all(line.bound(last, Edge::Max)));
        }
        Ok(edges)
    }
}
