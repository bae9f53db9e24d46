//! Making the report.

use std::collections::BTreeMap;

use crate::advise::{NamedContexts, Verdict, Wish, advise_on};
use crate::columns::columns;
use crate::confidence::{Forecast, Interval, Measured, Optimism, cap};
use crate::design::{BadDesign, Design};
use crate::domain::domains;
use crate::lifecycle::lifecycles;
use crate::measure::measure;
use crate::missing::hypotheses;
use crate::report::picture::{Loads, graph, matrix, tree_map};
use crate::report::{
    Acceptance, Carrier, EvidenceUsed, FORMAT, Family, Pictures, Plan, Report, Source, WhatIf, deployed,
    families,
};
use crate::schema::{Schema, TableId};
use crate::system::System;

/// A forecast may be wrong by this much more than by chance: what is served tomorrow is not what was seen today.
const SHARE_WITHIN: f64 = 0.01;
const SKEW_WITHIN: f64 = 0.1;

/// A system, and where what is known of it comes from.
pub struct Subject<'a> {
    /// The system.
    pub system: &'a System,
    /// The files, or the server.
    pub sources: Vec<Source>,
    /// Whether values are known by their hashes only.
    pub hashed: bool,
    /// What is worth knowing about the evidence.
    pub notes: Vec<String>,
}

/// What is wished for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// What any design should be like.
    pub wish: Wish,
    /// Whether a plan is wanted even though little is known.
    pub accept_low_confidence: bool,
}

/// The report on a system.
pub fn report(subject: Subject<'_>, wanted: &Wanted) -> Report {
    let system = subject.system;
    let (schema, trace) = (&system.schema, &system.trace);
    let advice = advise_on(system, &wanted.wish);
    let context_names = named(schema, &advice.contexts);
    let mut context: BTreeMap<TableId, String> = BTreeMap::new();
    for (name, tables) in &context_names {
        context.extend(tables.iter().filter_map(|table| Some((schema.find(table)?, name.clone()))));
    }
    let mut pictures = Pictures {
        graph: graph(schema, trace, &context),
        matrix: matrix(schema, trace, &context),
        ..Pictures::default()
    };
    if let Some(design) = &advice.design {
        pictures.load =
            Loads::new(schema, trace, design).map(|loads| loads.of(schema.ids())).unwrap_or_default();
    }
    let lifecycles = lifecycles(system, advice.design.as_ref());
    let partitioned = advice.design.as_ref().filter(|_| advice.verdict == Verdict::Partition);
    let columns = columns(system, partitioned);
    let mut report = Report {
        format: FORMAT.to_owned(),
        evidence: EvidenceUsed {
            sources: subject.sources,
            sure_at_most: cap(system.tier),
            tables: schema.tables.len(),
            statements: trace.templates.len(),
            partitions: advice.design.as_ref().map(|design| design.partitions),
            hashed: subject.hashed,
            notes: subject.notes,
        },
        advice,
        context_names,
        constraints: system.constraints.clone(),
        hypotheses: Vec::new(),
        what_if: None,
        drift: None,
        lifecycles,
        columns,
        plan: Plan::default(),
        pictures,
    };
    if matches!(report.advice.verdict, Verdict::NotEnoughEvidence { .. }) {
        report.hypotheses = hypotheses(schema);
    }
    let is_guess =
        matches!(report.advice.verdict, Verdict::NotEnoughEvidence { .. }) && report.advice.design.is_some();
    if report.partitions() || is_guess && wanted.accept_low_confidence {
        plan(&mut report, system, subject.hashed);
    } else {
        let why = match is_guess {
            true => {
                "the evidence does not say what is done together; --accept-low-confidence takes it all the same"
            }
            false => "the advice is not to partition, or not yet",
        };
        report.plan.not_ready.push(why.to_owned());
    }
    report
}

/// Each context by the table that most of its others refer to.
fn named(schema: &Schema, contexts: &NamedContexts) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for group in &contexts.groups {
        let ids: Vec<TableId> = group.iter().filter_map(|name| schema.find(name)).collect();
        let referred = |id: TableId| {
            let others = ids.iter().filter(|other| **other != id);
            others.flat_map(|other| &schema.table(*other).references).filter(|r| r.parent == id).count()
        };
        let best = ids.iter().max_by_key(|id| (referred(**id), std::cmp::Reverse(**id)));
        if let Some(best) = best {
            all.insert(schema.table(*best).name.clone(), group.clone());
        }
    }
    all
}

/// What deployments can take over, and what has to be done before.
fn plan(report: &mut Report, system: &System, hashed: bool) {
    let Some(design) = &report.advice.design else { return };
    let (schema, trace) = (&system.schema, &system.trace);
    let mut families = families(schema, trace, &domains(schema, trace), design, hashed);
    let all_cut = deployed(schema, design, &families);
    if let Ok(loads) = Loads::new(schema, trace, &all_cut) {
        families.iter_mut().for_each(|family| leave_idle_rest_whole(schema, &loads, family));
    }
    let deployed = deployed(schema, design, &families);
    if let Ok(loads) = Loads::new(schema, trace, &deployed) {
        report.pictures.trees =
            families.iter().filter_map(|family| tree_map(schema, &loads, family)).collect();
    }
    let forecast = Measured::new(schema, trace, &deployed).ok().map(|m| m.forecast(Optimism::default()));
    let mut not_ready = Vec::new();
    for family in &families {
        let key = &family.dimensions[0].column;
        for (table, carrier) in &family.tables {
            match carrier {
                // A spec says by which name a table calls the key.
                Carrier::Itself | Carrier::Under(_) => {}
                Carrier::Through(_) => {
                    not_ready.push(format!("{table} has no column {key} yet; the steps are listed"))
                }
            }
        }
        for dimension in family.dimensions.iter().filter(|d| d.data_type.is_none()) {
            not_ready.push(format!("the type of {} is not known", dimension.column));
        }
    }
    report.plan = Plan {
        ready: not_ready.is_empty(),
        not_ready,
        families,
        accept: forecast.as_ref().map(acceptance).unwrap_or_default(),
        forecast,
    };
}

/// Where nearly all keys are listed, the rest has too little to do to be cut.
fn leave_idle_rest_whole(schema: &Schema, loads: &Loads<'_>, family: &mut Family) {
    let Some(map) = tree_map(schema, loads, family) else { return };
    let Some(tree) = &mut family.tree else { return };
    let Some(rest) = tree.rest.clone() else { return };
    let of_rest = map.cells.iter().filter(|cell| cell.leaf.starts_with(&format!("{rest}_")));
    let rest_rows: u64 = of_rest.map(|cell| cell.rows).sum();
    let all: u64 = map.cells.iter().map(|cell| cell.rows).sum();
    // Half of what each of the listed ones has.
    if 2 * rest_rows * tree.list.len() as u64 <= all {
        tree.under.remove(&rest);
    }
}

/// What a deployment is to keep to.
fn acceptance(forecast: &Forecast) -> Vec<Acceptance> {
    let about = |metric: &str, interval: &Interval, within: f64| Acceptance {
        metric: metric.to_owned(),
        least: (interval.low - within).max(0.0),
        most: interval.high + within,
    };
    vec![
        about("cross_partition_share", &forecast.cross_partition_share, SHARE_WITHIN),
        about("cross_partition_write_share", &forecast.cross_partition_write_share, SHARE_WITHIN),
        about("load_max_over_mean", &forecast.load_max_over_mean, SKEW_WITHIN),
    ]
}

/// Adds to a report what a design of somebody's own would cost.
pub fn what_if(
    report: &mut Report,
    system: &System,
    design: &Design,
    source: impl Into<String>,
) -> Result<(), BadDesign> {
    let (schema, trace) = (&system.schema, &system.trace);
    let metrics = measure(schema, trace, design)?;
    let forecast = Measured::new(schema, trace, design)?.forecast(Optimism::default());
    let best = report.advice.metrics.as_ref();
    let mut differs: Vec<(String, f64, f64)> = Vec::new();
    for (kind, own) in &metrics.per_transaction {
        let other = best.and_then(|best| best.per_transaction.get(kind)).copied().unwrap_or(*own);
        if (own - other).abs() >= 0.005 {
            differs.push((kind.clone(), *own, other));
        }
    }
    differs.sort_by(|a, b| (b.1 - b.2).abs().total_cmp(&(a.1 - a.2).abs()));
    let regret = best.map(|best| metrics.cost - best.cost);
    report.what_if = Some(WhatIf { source: source.into(), metrics, forecast, differs, regret });
    Ok(())
}
