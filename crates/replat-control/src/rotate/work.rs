//! The units of a plan, one after the other and side by side.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::Instant;

use replat_engine::lifecycle::{Hear, LifecycleEngine, Outcome};
use replat_engine::{EngineError, Verdict};
use replat_model::lifecycle::facts::{Facts, TableName};
use replat_model::lifecycle::health::codes;
use replat_model::lifecycle::plan::{RotatePlan, Unit};

use super::gate::{Gate, Stand, Vetoes, provisions};
use super::queue::Queue;
use super::report::{Entry, State};
use super::{News, Rotation, Watch, micros, millis};

impl Rotation<'_> {
    /// All units, by as many workers as there are engines.
    pub(super) async fn act(
        &self,
        facts: &Facts,
        plan: &RotatePlan,
        gate: &Gate<'_>,
        vetoes: &Vetoes,
        run: &str,
        begun: Instant,
    ) -> Result<Vec<Entry>, EngineError> {
        let referenced: BTreeMap<&TableName, Vec<TableName>> = facts
            .sets
            .iter()
            .map(|set| (&set.table, set.references.iter().map(|r| r.table.clone()).collect()))
            .collect();
        let of = |unit: &Unit| referenced.get(&unit.set).cloned().unwrap_or_default();
        let queue = Queue::new(plan.units.iter().enumerate().map(|(at, unit)| {
            let tables = of(unit).into_iter().chain([unit.set.clone()]).collect();
            (at, tables)
        }));
        let entries: Mutex<Vec<(usize, Entry)>> = Mutex::new(Vec::new());
        let workers = self.engines.iter().map(|engine| async {
            while let Some(turn) = queue.next().await {
                let unit = &plan.units[turn.unit];
                let started = Instant::now();
                let tried = self.try_unit(engine.as_ref(), unit, &of(unit), gate, vetoes, run).await?;
                let entry = Entry {
                    unit: unit.clone(),
                    state: tried.state,
                    outcome: tried.outcome,
                    why: tried.why,
                    code: tried.code,
                    again: tried.again,
                    at: facts.vitals.now.saturating_add(micros(begun.elapsed())),
                    took_ms: millis(started.elapsed()),
                    script: None,
                };
                self.heard.told(&News::Ended(&entry));
                entries.lock().unwrap_or_else(|e| e.into_inner()).push((turn.unit, entry));
            }
            Ok::<(), EngineError>(())
        });
        futures_util::future::try_join_all(workers).await?;
        let mut entries = entries.into_inner().unwrap_or_else(|e| e.into_inner());
        entries.sort_by_key(|(at, _)| *at);
        Ok(entries.into_iter().map(|(_, entry)| entry).collect())
    }

    /// One unit, if nothing stands in its way.
    async fn try_unit(
        &self,
        engine: &dyn LifecycleEngine,
        unit: &Unit,
        referenced: &[TableName],
        gate: &Gate<'_>,
        vetoes: &Vetoes,
        run: &str,
    ) -> Result<Tried, EngineError> {
        if provisions(unit.work.kind())
            && let Some(stand) = vetoes.get(&unit.set)
        {
            return Ok(Tried::stood(State::Refused, stand));
        }
        match gate.breaker(engine, unit).await {
            Ok(Ok(())) => {}
            Ok(Err(stand)) => return Ok(Tried::stood(State::Held, &stand)),
            Err(error) => return Tried::failed(error),
        }
        let limits = gate.limits(unit, referenced, seed(run, unit));
        self.heard.told(&News::Begins(unit));
        let heard: &dyn Hear = &Progress { heard: self.heard };
        match engine.act(unit, &limits, heard).await {
            Ok(outcome) => {
                gate.spend(unit, referenced, outcome.stalled_us);
                let wanting = if outcome.done { None } else { gate.wanting(unit, &limits) };
                if let Some(stand) = wanting {
                    return Ok(Tried { outcome: Some(outcome), ..Tried::stood(State::Held, &stand) });
                }
                Ok(Tried {
                    state: if outcome.done { State::Done } else { State::Failed },
                    why: outcome.why.clone(),
                    code: (!outcome.done).then(|| codes::TAKEN_BACK.to_owned()),
                    // The engine gave up within its limits, and took back what it began.
                    again: !outcome.done && !outcome.refused,
                    outcome: Some(outcome),
                })
            }
            Err(error) => Tried::failed(error),
        }
    }
}

/// What became of a unit that was tried.
struct Tried {
    state: State,
    outcome: Option<Outcome>,
    why: Option<String>,
    code: Option<String>,
    again: bool,
}

impl Tried {
    fn stood(state: State, stand: &Stand) -> Tried {
        let again = state == State::Held;
        Tried { state, outcome: None, why: Some(stand.why.clone()), code: Some(stand.code.into()), again }
    }

    /// A unit fails alone, but for the one error that says that somebody else is at work now.
    fn failed(error: EngineError) -> Result<Tried, EngineError> {
        let again = match error.verdict() {
            Verdict::StandDown => return Err(error),
            Verdict::TryAgain => true,
            Verdict::AskAPerson => false,
        };
        let mut why = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            let text = next.to_string();
            if !why.contains(&text) {
                why = format!("{why}: {text}");
            }
            cause = next.source();
        }
        Ok(Tried {
            state: State::Failed,
            outcome: None,
            why: Some(why),
            code: Some(error.code().into()),
            again,
        })
    }
}

/// Passes progress on.
struct Progress<'a> {
    heard: &'a dyn Watch,
}

impl Hear for Progress<'_> {
    fn progress(&self, what: &str, done: u64, of: Option<u64>) {
        self.heard.progress(what, done, of);
    }
}

fn seed(run: &str, unit: &Unit) -> u64 {
    let mut hasher = DefaultHasher::new();
    (run, &unit.id).hash(&mut hasher);
    hasher.finish()
}
