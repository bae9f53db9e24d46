//! From a system to advice: everything that is known to help, in one value.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::aside::{Aside, aside};
use crate::candidate::{Candidate, Freedom, Task, searched};
use crate::confidence::{Forecast, Interval, Measured, Optimism, confidence, resample};
use crate::context::{Contexts, contexts};
use crate::derived::{LooseKey, NewColumn, loose_keys, new_columns};
use crate::design::Design;
use crate::domain::{Domains, domains};
use crate::evidence::Tier;
use crate::explain::{
    Baseline, Counterfactual, Floor, Placing, Rejected, Witness, baselines, counterfactuals, floor, rejected,
    witnesses,
};
use crate::locality::{HotRows, Locality, hot_rows, locality};
use crate::lookups::{Unrouted, unrouted};
use crate::measure::{Metrics, measure};
use crate::residency::{Kept, Zones};
use crate::schema::{Schema, TableId};
use crate::search::{Choice, Choices};
use crate::services::{Services, services};
use crate::system::{Missing, Retention, System};
use crate::trace::Trace;
use crate::unknown::unknown_rows;

/// Without a wish, so many partitions.
const PARTITIONS: u32 = 16;

/// A partition is to be busy for no more than this share of what it can do.
const BUSY_MAX: f64 = 0.6;

/// More partitions than these are not looked at.
const PARTITIONS_MAX: u32 = 1024;

/// Where more transactions than this share cross partitions, it is asked whether they keep to anything at all…
const CROSS_MAX: f64 = 0.6;

/// …and that is so if this share of what chance would make cross does not.
const KEPT_MIN: f64 = 0.2;

/// Of fewer transactions than these nothing can be said.
const TRANSACTIONS_MIN: usize = 20;

/// So many draws of the evidence are searched anew, of so many transactions each, to see which decisions are stable.
const DRAWS: u64 = 8;
const DRAWN_MAX: usize = 1_500;

/// Only a decision whose runner-up costs so little more can be a tie, and only so many are looked at.
const CLOSE_MAX: f64 = 0.05;
const CLOSE_DECISIONS: usize = 40;

/// What is wished for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wish {
    /// How many partitions. It goes before what the evidence says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// How many rows one partition can handle in a second. From it follows the least number of partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<f64>,
}

/// What should be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Partition as the design does.
    Partition,
    /// Leave it as it is.
    DoNotPartition {
        /// Why, in words for people.
        because: String,
    },
    /// Nothing can be said yet; what is said all the same is a guess.
    NotEnoughEvidence {
        /// Why, in words for people.
        because: String,
    },
}

/// Why there are so many partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionsBy {
    /// Somebody wished for so many.
    Wish,
    /// They are the fewest whose busiest one has enough left of the given capacity.
    Capacity,
    /// The evidence says so.
    Evidence,
    /// Advice is given for no more, though more were asked for.
    Most,
    /// Nobody said anything.
    Default,
}

/// How one table should be placed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableAdvice {
    /// The table.
    pub table: String,
    /// How.
    pub placing: Placing,
    /// The share of draws of the evidence that place it by the same keys; `None` if nobody was seen touching it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stability: Option<f64>,
    /// How sure it is, from 0 to 1.
    pub confidence: f64,
    /// If another way cannot be told from this one by the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tie: Option<Tie>,
    /// What it could be placed by otherwise, the cheapest first.
    pub otherwise: Vec<Counterfactual>,
}

/// Two ways to place a table of which the evidence does not say which is better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tie {
    /// The other way.
    pub with: Placing,
    /// How much more the other way costs.
    pub dearer: Interval,
    /// What would decide it, in words for people.
    pub broken_by: String,
}

/// Contexts by their tables' names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NamedContexts {
    /// The contexts.
    pub groups: Vec<Vec<String>>,
    /// Tables that many contexts need along with their own; in no group.
    pub cross_cutting: Vec<String>,
    /// The share of transactions that touch more than one context.
    pub crossing: f64,
    /// The share that writes to more than one.
    pub writes_crossing: f64,
    /// Other ways to cut that are about as good.
    pub alternatives: Vec<Vec<Vec<String>>>,
}

/// Advice on a system. What could not be found out is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// The system's name.
    pub system: String,
    /// How much is known of it.
    pub tier: Tier,
    /// How many transactions were seen.
    pub transactions: u64,
    /// From the first to the last of them. Unit: seconds.
    pub seconds: f64,
    /// What should be done.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How sure the whole is, from 0 to 1.
    pub confidence: f64,
    /// Tables that are worked on together.
    pub contexts: NamedContexts,
    /// What it comes to if tables that everybody writes along are left aside, where that pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<Aside>,
    /// Declared services held against transactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Services>,
    /// Why there are so many partitions.
    pub partitions_by: PartitionsBy,
    /// The best design, with its lookups. Under [`Verdict::DoNotPartition`] it is only the least bad one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub design: Option<Design>,
    /// What it costs on the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// What it is to be expected to cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// How each table is placed, and what speaks for it.
    pub tables: Vec<TableAdvice>,
    /// Whether transactions keep to a few keys at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
    /// Rows that everybody writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot_rows: Option<HotRows>,
    /// What stays distributed whatever is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
    /// Transactions that cross.
    pub witnesses: Vec<Witness>,
    /// Designs that were turned down.
    pub rejected: Vec<Rejected>,
    /// What anybody would have tried first.
    pub baselines: Vec<Baseline>,
    /// How residency is kept, if it has to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency: Option<Kept>,
    /// Why residency cannot be kept, if it has to be and cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency_unkept: Option<String>,
    /// How long rows are to be kept, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Statements that cannot be routed by their own parameters.
    pub unrouted: Vec<Unrouted>,
    /// Columns that have to be added first.
    pub new_columns: Vec<NewColumn>,
    /// Primary keys that a partition cannot see to alone.
    pub loose_keys: Vec<LooseKey>,
    /// What is not known, and would change the advice.
    pub missing: Vec<Missing>,
}

/// Advice on a system.
pub fn advise_on(system: &System, wish: &Wish) -> Advice {
    let (schema, trace) = (&system.schema, &system.trace);
    let found_contexts = contexts(schema, trace);
    let (partitions, partitions_by) = partitions(system, wish);
    let mut advice = Advice {
        system: system.name.clone(),
        tier: system.tier,
        transactions: trace.transactions.len() as u64,
        seconds: seconds(trace),
        verdict: Verdict::NotEnoughEvidence { because: "no transaction was seen".into() },
        confidence: 0.0,
        contexts: named(schema, &found_contexts),
        aside: None,
        services: services(schema, trace, &system.services),
        partitions_by,
        design: None,
        metrics: None,
        forecast: None,
        tables: Vec::new(),
        locality: None,
        hot_rows: None,
        floor: None,
        witnesses: Vec::new(),
        rejected: Vec::new(),
        baselines: Vec::new(),
        residency: None,
        residency_unkept: None,
        retention: system.constraints.retention.clone(),
        unrouted: Vec::new(),
        new_columns: Vec::new(),
        loose_keys: Vec::new(),
        missing: system.missing.clone(),
    };
    if trace.transactions.is_empty() {
        return advice;
    }
    let sought = Sought::new(system, &found_contexts.groups);
    let (partitions, best, rest) = sought.designs(partitions, wish, &mut advice);
    let Some(best) = best else {
        let because = match schema.tables.iter().all(|table| table.keys.is_empty()) {
            true => "no table has a column to partition by",
            false => "no key that was tried is better than all tables in every partition, or in one",
        };
        advice.verdict = too_little(system.tier, trace)
            .unwrap_or_else(|| Verdict::DoNotPartition { because: because.into() });
        advice.baselines = baselines(schema, trace, partitions);
        return advice;
    };
    advice.aside = sought.aside(partitions, &found_contexts.added_along, &best);
    sought.fill(&mut advice, partitions, best, rest);
    advice
}

/// How many partitions are wished for, and by whom.
fn partitions(system: &System, wish: &Wish) -> (u32, PartitionsBy) {
    match (wish.partitions, wish.capacity, system.partitions) {
        (Some(wish), ..) if wish > 0 => at_most(wish, PartitionsBy::Wish),
        (_, Some(capacity), _) if capacity > 0.0 => {
            // The search finds out how uneven the load is; this is what it comes to at least.
            (at_least(handled(system) / seconds(&system.trace).max(1e-9), capacity), PartitionsBy::Capacity)
        }
        (_, _, Some(evidence)) if evidence > 0 => at_most(evidence, PartitionsBy::Evidence),
        _ => (PARTITIONS, PartitionsBy::Default),
    }
}

/// So many partitions, if advice is given for so many.
fn at_most(asked: u32, by: PartitionsBy) -> (u32, PartitionsBy) {
    if asked > PARTITIONS_MAX { (PARTITIONS_MAX, PartitionsBy::Most) } else { (asked, by) }
}

/// So many partitions at least, for so many rows in a second.
fn at_least(rate: f64, capacity: f64) -> u32 {
    let count = (rate / (BUSY_MAX * capacity)).ceil().clamp(1.0, f64::from(PARTITIONS_MAX));
    // It is clamped to a small number.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = count as u32;
    count
}

/// How many rows were handled.
fn handled(system: &System) -> f64 {
    let rows = system.trace.accesses.iter().filter_map(|access| {
        let rows = access.rows.as_ref()?;
        Some(rows.len() / system.schema.table(access.table).keys.len().max(1))
    });
    rows.sum::<usize>() as f64
}

fn seconds(trace: &Trace) -> f64 {
    match (trace.transactions.first(), trace.transactions.last()) {
        (Some(first), Some(last)) => last.at - first.at,
        _ => 0.0,
    }
}

fn named(schema: &Schema, contexts: &Contexts) -> NamedContexts {
    let names = |ids: &[TableId]| ids.iter().map(|id| schema.table(*id).name.clone()).collect::<Vec<_>>();
    let groups = |groups: &[Vec<TableId>]| groups.iter().map(|group| names(group)).collect::<Vec<_>>();
    NamedContexts {
        groups: groups(&contexts.groups),
        cross_cutting: names(&contexts.cross_cutting),
        crossing: contexts.crossing,
        writes_crossing: contexts.writes_crossing,
        alternatives: contexts.alternatives.iter().map(|other| groups(other)).collect(),
    }
}

/// What designs are sought for: a system, and the part of its transactions that the search looks at.
struct Sought<'a> {
    system: &'a System,
    domains: Domains,
    part: Option<Trace>,
    groups: &'a [Vec<TableId>],
}

impl<'a> Sought<'a> {
    fn new(system: &'a System, groups: &'a [Vec<TableId>]) -> Sought<'a> {
        let part = searched(&system.trace);
        let domains = domains(&system.schema, part.as_ref().unwrap_or(&system.trace));
        Sought { system, domains, part, groups }
    }

    /// The transactions that the search looks at.
    fn trace(&self) -> &Trace {
        self.part.as_ref().unwrap_or(&self.system.trace)
    }

    fn task<'t>(&'t self, trace: &'t Trace, partitions: u32, zones: Option<&'t Arc<Zones>>) -> Task<'t> {
        let (schema, domains, groups) = (&self.system.schema, &self.domains, self.groups);
        Task { schema, trace, domains, partitions, zones, groups, freedom: Freedom::Any }
    }

    /// Which keys must be in which partitions. Values have other numbers in other traces, so each has its own.
    fn zones(&self, trace: &Trace, partitions: u32) -> Result<Option<Arc<Zones>>, String> {
        let Some(residency) = &self.system.constraints.residency else { return Ok(None) };
        Zones::new(&self.system.schema, trace, &self.domains, residency, partitions)
            .map(|zones| Some(Arc::new(zones)))
            .map_err(|unkept| unkept.to_string())
    }

    /// The designs for `partitions`, or for as many as the capacity asks for: the best one and others.
    fn designs(
        &self,
        mut partitions: u32,
        wish: &Wish,
        advice: &mut Advice,
    ) -> (u32, Option<Candidate>, Vec<Candidate>) {
        let (schema, trace) = (&self.system.schema, self.trace());
        let mut tries = if advice.partitions_by == PartitionsBy::Capacity { 6 } else { 1 };
        loop {
            let zones = self.zones(trace, partitions).unwrap_or_else(|unkept| {
                advice.residency_unkept = Some(unkept);
                None
            });
            if let (Some(zones), Some(residency)) = (&zones, &self.system.constraints.residency) {
                advice.residency = Some(zones.kept(schema, trace, residency));
            }
            let mut designs = self.task(trace, partitions, zones.as_ref()).designs();
            designs.retain(Candidate::partitions);
            if self.part.is_some() {
                for candidate in &mut designs {
                    candidate.metrics = measure(schema, &self.system.trace, &candidate.design)
                        .expect("a design of this very schema");
                }
                designs.sort_by(|a, b| a.metrics.cost.total_cmp(&b.metrics.cost));
            }
            let mut designs = designs.into_iter();
            let best = designs.next();
            tries -= 1;
            let (Some(found), Some(capacity), true) = (&best, wish.capacity, tries > 0) else {
                return (partitions, best, designs.collect());
            };
            let needed = self.enough(found, capacity);
            if needed > PARTITIONS_MAX {
                advice.partitions_by = PartitionsBy::Most;
            }
            if needed == partitions || needed > PARTITIONS_MAX {
                return (partitions, best, designs.collect());
            }
            // It may go down once, when the first guess was too high; then only up, so that it comes to an end.
            partitions = if tries == 5 { needed } else { needed.max(partitions + 1).min(PARTITIONS_MAX) };
        }
    }

    /// How many partitions are enough, if the load is as uneven as it is in this design.
    fn enough(&self, found: &Candidate, capacity: f64) -> u32 {
        let cells = Measured::new(&self.system.schema, &self.system.trace, &found.design);
        let rows = cells.map_or(0, |measured| measured.rows());
        let rate = rows as f64 / seconds(&self.system.trace).max(1e-9);
        let partitions = found.design.partitions;
        let busiest = rate * found.metrics.load_max_over_mean / f64::from(partitions);
        if busiest <= BUSY_MAX * capacity {
            let fewer = at_least(rate * found.metrics.load_max_over_mean, capacity);
            return fewer.min(partitions);
        }
        at_least(rate * found.metrics.load_max_over_mean, capacity).max(partitions + 1)
    }

    /// What leaving cross-cutting tables aside comes to. Of evidence that says where rows must be, nothing is said.
    fn aside(&self, partitions: u32, tables: &[TableId], best: &Candidate) -> Option<Aside> {
        let may = self.system.constraints.residency.is_none();
        may.then(|| aside(&self.task(self.trace(), partitions, None), tables, best)).flatten()
    }

    /// Says everything that can be said of the best design.
    fn fill(&self, advice: &mut Advice, partitions: u32, best: Candidate, rest: Vec<Candidate>) {
        let System { schema, trace: all, tier, .. } = self.system;
        let trace = self.trace();
        let zones = self.zones(trace, partitions).unwrap_or(None);
        let task = self.task(trace, partitions, zones.as_ref());
        let measured = Measured::new(schema, all, &best.design).expect("a design of this very schema");
        let unknown = unknown_rows(schema, all, &best.design);
        let forecast = measured.forecast(self.optimism(&task, &best) + unknown);
        let locality = locality(schema, trace, &best.design).corrected(unknown.cross);
        advice.verdict = too_little(*tier, all).unwrap_or_else(|| verdict(&locality));
        let (stable, seen) = self.stability(&best.choices, partitions);
        advice.tables = self.tables(&task, &best, &forecast, &stable, &seen);
        let overall = stable.iter().flatten().fold((0.0, 0.0), |(sum, n), share| (sum + share, n + 1.0));
        let overall = if overall.1 == 0.0 { 0.0 } else { overall.0 / overall.1 };
        advice.confidence =
            confidence(*tier, overall, &forecast.cross_partition_share, forecast.transactions);
        if forecast.cross_partition_share.value > 0.05 {
            advice.hot_rows = hot_rows(&task, &best.design);
        }
        advice.witnesses = witnesses(schema, trace, &best.design);
        advice.baselines = baselines(schema, all, partitions);
        let mut found = vec![best];
        found.extend(rest);
        advice.floor = Some(floor(&task, &found));
        advice.rejected = rejected(schema, &found);
        for (turned_down, candidate) in advice
            .rejected
            .iter_mut()
            .zip(found[1..].iter().filter(|other| other.choices != found[0].choices))
        {
            let other = Measured::new(schema, all, &candidate.design);
            turned_down.dearer = other.ok().map(|other| measured.dearer(&other));
        }
        let mut design = found.swap_remove(0).design;
        advice.unrouted = unrouted(schema, trace, &mut design);
        advice.new_columns = new_columns(schema, &design);
        advice.loose_keys = loose_keys(schema, &design);
        advice.metrics = measure(schema, all, &design).ok();
        advice.design = Some(design);
        advice.forecast = Some(forecast);
    }

    /// What the design costs on evidence that the places of its keys were not made from: those of one half of the
    /// evidence, measured on the other. All of it knows twice as much, and what is missing falls with the root of that.
    fn optimism(&self, task: &Task<'_>, best: &Candidate) -> Optimism {
        let n = task.trace.transactions.len();
        let block = (n / 40).max(1);
        let half = |odd: usize| task.trace.chosen((0..n).filter(|place| place / block % 2 == odd));
        let halves = [half(0), half(1)];
        let mut optimism = Optimism::default();
        for (own, other) in [(0, 1), (1, 0)] {
            let zones = self.zones(&halves[own], task.partitions).unwrap_or(None);
            let placed = Task { trace: &halves[own], zones: zones.as_ref(), ..*task }.placed_as(best);
            let Ok(unseen) = measure(task.schema, &halves[other], &placed.design) else { continue };
            let seen = &placed.metrics;
            // The mean of two halves.
            let share = |unseen: f64, seen: f64| (unseen - seen) / 2.0 * std::f64::consts::FRAC_1_SQRT_2;
            optimism.cross += share(unseen.cross_partition_share, seen.cross_partition_share);
            optimism.cross_writing +=
                share(unseen.cross_partition_write_share, seen.cross_partition_write_share);
            optimism.participants += share(unseen.partitions_per_txn, seen.partitions_per_txn);
            optimism.skew += share(unseen.load_max_over_mean, seen.load_max_over_mean);
        }
        optimism
    }

    /// Of each table, the share of draws of the evidence that place it by the same keys; and in how many transactions it
    /// was seen.
    fn stability(&self, choices: &Choices, partitions: u32) -> (Vec<Option<f64>>, Vec<u64>) {
        let (schema, trace) = (&self.system.schema, self.trace());
        let visits = |trace: &Trace| {
            let mut visits = vec![0_u64; schema.tables.len()];
            trace.accesses.iter().for_each(|access| visits[access.table.0] += 1);
            visits
        };
        let n = trace.transactions.len();
        let mut same = vec![(0_u64, 0_u64); schema.tables.len()];
        let draws = if schema.tables.len() > 200 { 2 } else { DRAWS };
        for seed in 0..draws {
            let drawn = trace.chosen(resample(n, n.min(DRAWN_MAX), 0x0005_ab1e + seed));
            let zones = self.zones(&drawn, partitions).unwrap_or(None);
            let again = self.task(&drawn, partitions, zones.as_ref()).again(choices);
            let visits = visits(&drawn);
            for table in schema.ids().filter(|table| visits[table.0] > 0) {
                let domain = |choice: Choice| match choice {
                    Choice::Key(key) => (Some(self.domains.of(table, key)), None),
                    other => (None, Some(other)),
                };
                same[table.0].1 += 1;
                same[table.0].0 += u64::from(domain(again.choices[table.0]) == domain(choices[table.0]));
            }
        }
        let share = |(same, of): (u64, u64)| (of > 0).then(|| crate::measure::share(same, of));
        (same.into_iter().map(share).collect(), visits(trace))
    }

    fn tables(
        &self,
        task: &Task<'_>,
        best: &Candidate,
        forecast: &Forecast,
        stable: &[Option<f64>],
        seen: &[u64],
    ) -> Vec<TableAdvice> {
        let schema = task.schema;
        let others = counterfactuals(task, best);
        let own = Measured::new(schema, task.trace, &best.design).expect("a design of this very schema");
        let mut looked_at = 0;
        let mut tables = Vec::new();
        for (table, otherwise) in schema.ids().zip(others) {
            let stability = stable[table.0];
            let runner_up = otherwise.first().filter(|other| other.cost - best.metrics.cost < CLOSE_MAX);
            let tie = runner_up.filter(|_| looked_at < CLOSE_DECISIONS).and_then(|other| {
                looked_at += 1;
                let mut choices = best.choices.clone();
                choices[table.0] = choice(schema, table, &other.placing)?;
                let design = task.measured(choices, &best.assignments).design;
                let dearer = own.dearer(&Measured::new(schema, task.trace, &design).ok()?);
                (dearer.low <= 0.0).then(|| Tie {
                    with: other.placing.clone(),
                    dearer,
                    broken_by: broken_by(&schema.table(table).name, seen[table.0], &dearer, task.trace),
                })
            });
            let sure = confidence(
                self.system.tier,
                stability.unwrap_or(0.0),
                &forecast.cross_partition_share,
                seen[table.0],
            );
            tables.push(TableAdvice {
                table: schema.table(table).name.clone(),
                placing: Placing::of(schema, table, best.choices[table.0]),
                stability,
                // With two ways that look alike, either may be right.
                confidence: if tie.is_some() { sure.min(0.5) } else { sure },
                tie,
                otherwise,
            });
        }
        tables
    }
}

fn choice(schema: &Schema, table: TableId, placing: &Placing) -> Option<Choice> {
    match placing {
        Placing::By(column) => schema.table(table).key(column).map(Choice::Key),
        Placing::Everywhere => Some(Choice::Everywhere),
        Placing::Alone => Some(Choice::Alone),
    }
}

/// What would decide between two ways to place a table.
fn broken_by(table: &str, seen: u64, dearer: &Interval, trace: &Trace) -> String {
    if seen == 0 {
        return format!("transactions that touch {table}: none was seen");
    }
    let n = trace.transactions.len() as f64;
    let needed = n * (dearer.half_width() / dearer.value.abs().max(1e-9)).powi(2);
    if dearer.half_width() < 0.001 || needed > 100.0 * n {
        return format!(
            "nothing that can be measured: for {table} the two cost the same; take what people expect"
        );
    }
    // It is between the number of transactions and a hundred times as many.
    format!("about {:.0} transactions like these, instead of {n:.0}", (needed / 100.0).ceil() * 100.0)
}

/// Why nothing can be said, if so little is known.
fn too_little(tier: Tier, trace: &Trace) -> Option<Verdict> {
    let because = match trace.transactions.len() {
        _ if tier < Tier::Writes => "it is not known which statements run in one transaction".to_owned(),
        1 => "one transaction was seen".to_owned(),
        few if few < TRANSACTIONS_MIN => format!("only {few} transactions were seen"),
        _ => return None,
    };
    Some(Verdict::NotEnoughEvidence { because })
}

/// Whether to partition at all.
fn verdict(locality: &Locality) -> Verdict {
    if locality.cross_partition_share > CROSS_MAX && locality.kept_together < KEPT_MIN {
        return Verdict::DoNotPartition {
            because: format!(
                "{:.0} % of the transactions need several partitions under the best design that was found, and {:.0} % \
                 would if chance dealt out their rows: they keep to nothing",
                100.0 * locality.cross_partition_share,
                100.0 * locality.by_chance
            ),
        };
    }
    Verdict::Partition
}

impl Advice {
    /// Whether it says not to partition.
    pub fn refuses(&self) -> bool {
        matches!(self.verdict, Verdict::DoNotPartition { .. })
    }
}
