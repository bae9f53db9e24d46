//! Making the report.

use std::collections::{BTreeMap, BTreeSet};

use crate::advise::{self, advise};
use crate::context::Groups;
use crate::design::{BadDesign, Design};
use crate::domain::{Domains, domains};
use crate::evidence::Tier;
use crate::measure::{Metrics, measure, reaches, share};
use crate::report::picture::{graph, load, matrix, tree_map};
use crate::report::{
    Acceptance, Candidate, Carrier, ColumnToAdd, ContextsSaid, EvidenceUsed, FORMAT, Family, Forecast,
    Pictures, PlaceSaid, Plan, Report, Source, Standing, TableSaid, Verdict, WhatIf, Witness, Word, deployed,
    families, sure_at_most,
};
use crate::schema::{Schema, TableId};
use crate::search::{Choice, Choices};
use crate::system::{Missing, System};
use crate::trace::{Trace, Transaction};

/// Nothing is decided on fewer transactions.
const SEEN_MIN: u64 = 30;

/// How many partitions there are to be if nobody says anything.
const PARTITIONS: u32 = 16;

/// A candidate that costs so much more is no choice any more.
const POSSIBLE_MAX: f64 = 0.25;

/// A forecast without bounds of its own is taken to be right within this: two points of share, 0.3 of a skew.
const SHARE_WITHIN: f64 = 0.02;
const SKEW_WITHIN: f64 = 0.3;

/// So many kinds of transaction are shown as witnesses, and so many of each.
const WITNESSES: usize = 6;
const EXAMPLES: usize = 2;

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
    /// How many partitions; without it, as many as the evidence says, or 16.
    pub partitions: Option<u32>,
    /// Whether a plan is wanted even though little is known.
    pub accept_low_confidence: bool,
}

/// The report on a system.
pub fn report(subject: Subject<'_>, wanted: &Wanted) -> Report {
    let system = subject.system;
    let (schema, trace) = (&system.schema, &system.trace);
    let partitions = wanted.partitions.or(system.partitions).unwrap_or(PARTITIONS).max(1);
    let evidence = evidence_used(&subject);
    let mut report = Report {
        format: FORMAT.to_owned(),
        system: system.name.clone(),
        evidence,
        verdict: Verdict { verdict: Word::NotEnoughEvidence, because: String::new(), confidence: None },
        partitions,
        contexts: None,
        tables: Vec::new(),
        design: None,
        forecast: None,
        whole: None,
        candidates: Vec::new(),
        hypotheses: Vec::new(),
        floor: None,
        counterfactuals: Vec::new(),
        witnesses: Vec::new(),
        ways: Vec::new(),
        unrouted: Vec::new(),
        columns_to_add: Vec::new(),
        constraints: constraints(system),
        lifecycles: Vec::new(),
        missing: system.missing.clone(),
        what_if: None,
        drift: None,
        plan: Plan::default(),
        pictures: Pictures::default(),
    };
    let seen = trace.transactions.len() as u64;
    if seen < SEEN_MIN {
        undecided(&mut report, system, seen);
        return report;
    }
    let advice = advise(schema, trace, partitions);
    let context = said_contexts(&mut report, schema, &advice.contexts);
    report.pictures.graph = graph(schema, trace, &context);
    report.pictures.matrix = matrix(schema, trace, &context);
    report.verdict = match &advice.verdict {
        advise::Verdict::Partition => Verdict {
            verdict: Word::Partition,
            because: advice
                .designs
                .first()
                .map_or_else(String::new, |best| praise(&best.metrics, &advice.whole)),
            confidence: None,
        },
        advise::Verdict::DoNotPartition { because } => {
            Verdict { verdict: Word::DoNotPartition, because: because.clone(), confidence: None }
        }
    };
    let domains = domains(schema, trace);
    report.candidates = candidates(schema, &domains, &advice, report.verdict.verdict);
    report.whole = Some(advice.whole.clone());
    if let Some(best) = advice.designs.first() {
        report.tables = tables(schema, trace, &context, &best.choices);
        report.witnesses = witnesses(schema, trace, &best.design, &best.metrics);
        report.pictures.load = load(schema, trace, &best.design).unwrap_or_default();
        report.forecast = Some(Forecast { metrics: best.metrics.clone(), intervals: BTreeMap::new() });
        if report.verdict.verdict == Word::Partition {
            plan(&mut report, &subject, &domains, &best.design, wanted);
        }
        report.design = Some(Design { contexts: group_names(&report), ..best.design.clone() });
    }
    report
}

fn evidence_used(subject: &Subject<'_>) -> EvidenceUsed {
    let system = subject.system;
    let trace = &system.trace;
    let span = match (trace.transactions.first(), trace.transactions.last()) {
        (Some(first), Some(last)) if last.at > first.at => Some(last.at - first.at),
        _ => None,
    };
    EvidenceUsed {
        sources: subject.sources.clone(),
        tier: system.tier,
        sure_at_most: sure_at_most(system.tier),
        tables: system.schema.tables.len(),
        statements: trace.templates.len(),
        transactions: trace.transactions.len() as u64,
        seconds: span,
        hashed: subject.hashed,
        notes: subject.notes.clone(),
    }
}

fn constraints(system: &System) -> Vec<String> {
    let residency = system.constraints.residency.iter().map(|r| {
        format!(
            "residency: rows of different {}.{} must not share a partition, whatever traffic says; it is the outermost \
             dimension",
            r.table, r.column
        )
    });
    let retention = system
        .constraints
        .retention
        .iter()
        .map(|r| format!("retention: rows of {} are kept for {} days by {}", r.table, r.days, r.column));
    residency.chain(retention).collect()
}

/// Where too little was seen: what is missing comes first, and no number is made up.
fn undecided(report: &mut Report, system: &System, seen: u64) {
    report.verdict.because = match (system.tier, seen) {
        (_, 0) => "no transaction was seen, so what belongs together is not known; begin unpartitioned, and keep the key \
                   that is likeliest on every table, so that a later split is cheap"
            .to_owned(),
        (_, seen) => format!("only {seen} transactions were seen, and {SEEN_MIN} are the least that say anything"),
    };
    let unsaid = "which transactions there are, and how often";
    if !report.missing.iter().any(|missing| missing.what.contains("transaction")) {
        report.missing.push(Missing {
            what: unsaid.to_owned(),
            decides: "every key, and whether to partition at all".to_owned(),
            how: "replat capture start --for 30m at a busy time, better for two full weeks; at least 200 transactions, and \
                  10,000 that write"
                .to_owned(),
        });
    }
    report.tables = system
        .schema
        .tables
        .iter()
        .map(|table| TableSaid {
            table: table.name.clone(),
            context: None,
            place: PlaceSaid::Open,
            rows: table.rows,
            load: 0.0,
            confidence: None,
            tie: None,
        })
        .collect();
    report.plan.not_ready.push("too little is known to decide anything".to_owned());
}

fn praise(best: &Metrics, whole: &Metrics) -> String {
    format!(
        "{:.1} % of the transactions need several partitions, the busiest partition does {:.2} times the mean; it costs {:.3}, \
         and one place for everything {:.3}",
        100.0 * best.cross_partition_share,
        best.load_max_over_mean,
        best.cost,
        whole.cost
    )
}

/// Tells of the contexts, and gives each table the name of its own.
fn said_contexts(
    report: &mut Report,
    schema: &Schema,
    contexts: &crate::context::Contexts,
) -> BTreeMap<TableId, String> {
    let named = named(schema, &contexts.groups);
    let name = |id: &TableId| schema.table(*id).name.clone();
    let mut context = BTreeMap::new();
    let mut said = BTreeMap::new();
    for (label, group) in named {
        context.extend(group.iter().map(|id| (*id, label.clone())));
        said.insert(label, group.iter().map(name).collect());
    }
    report.contexts = Some(ContextsSaid {
        contexts: said,
        cross_cutting: contexts.cross_cutting.iter().map(name).collect(),
        crossing: contexts.crossing,
        writes_crossing: contexts.writes_crossing,
        alternatives: contexts
            .alternatives
            .iter()
            .map(|groups| groups.iter().map(|group| group.iter().map(name).collect()).collect())
            .collect(),
        merge: Vec::new(),
    });
    context
}

/// Each group by the table that most of its others refer to.
fn named(schema: &Schema, groups: &Groups) -> Vec<(String, Vec<TableId>)> {
    let mut all = Vec::new();
    for group in groups {
        let referred = |id: TableId| {
            let from = group.iter().filter(|other| **other != id);
            from.flat_map(|other| &schema.table(*other).references).filter(|r| r.parent == id).count()
        };
        let best = group.iter().max_by_key(|id| (referred(**id), std::cmp::Reverse(**id)));
        let label = best.map_or_else(String::new, |id| schema.table(*id).name.clone());
        all.push((label, group.clone()));
    }
    all
}

fn group_names(report: &Report) -> BTreeMap<String, Vec<String>> {
    report.contexts.as_ref().map(|said| said.contexts.clone()).unwrap_or_default()
}

fn candidates(schema: &Schema, domains: &Domains, advice: &advise::Advice, verdict: Word) -> Vec<Candidate> {
    let least = advice.designs.first().map_or(0.0, |best| best.metrics.cost);
    let mut all: Vec<Candidate> = Vec::new();
    for (n, found) in advice.designs.iter().enumerate() {
        let count =
            |wanted: fn(&Choice) -> bool| found.choices.iter().filter(|choice| wanted(choice)).count();
        let regret = found.metrics.cost - least;
        let standing = match (n, verdict) {
            (0, Word::Partition) => Standing::Recommended,
            (_, Word::Partition) if regret <= POSSIBLE_MAX && found.metrics.cost < advice.whole.cost => {
                Standing::Possible
            }
            _ => Standing::No,
        };
        let because = match standing {
            Standing::Recommended => None,
            _ if found.metrics.cost >= advice.whole.cost => {
                Some("costs more than one place for everything".to_owned())
            }
            _ => worse(&found.metrics, &advice.designs[0].metrics),
        };
        all.push(Candidate {
            keys: keys_of(schema, domains, &found.choices),
            keyed: count(|choice| matches!(choice, Choice::Key(_))),
            everywhere: count(|choice| matches!(choice, Choice::Everywhere)),
            metrics: found.metrics.clone(),
            regret,
            standing,
            because,
        });
    }
    all
}

/// By what `other` is worse than `best`: the greatest of the differences.
fn worse(other: &Metrics, best: &Metrics) -> Option<String> {
    let points = 100.0 * (other.cross_partition_share - best.cross_partition_share);
    let skew = other.load_max_over_mean - best.load_max_over_mean;
    let stored = other.storage_factor.unwrap_or(1.0) - best.storage_factor.unwrap_or(1.0);
    if points >= 0.1 {
        Some(format!("{points:.1} points more transactions cross"))
    } else if skew >= 0.05 {
        Some(format!("the busiest partition does {skew:.2} more of the mean"))
    } else if stored >= 0.005 {
        Some(format!("stores {:.1} % more", 100.0 * stored))
    } else {
        Some("the same within noise".to_owned())
    }
}

/// The keys of some choices, each by the table that it is the key of: `customers.id + sellers.id`.
fn keys_of(schema: &Schema, domains: &Domains, choices: &Choices) -> String {
    let mut used: BTreeMap<usize, (bool, usize, String)> = BTreeMap::new();
    for id in schema.ids() {
        let Choice::Key(key) = choices[id.0] else { continue };
        let table = schema.table(id);
        let column = &table.keys[key].name;
        let own = matches!(&table.primary_key[..], [only] if only == column);
        let entry = used.entry(domains.of(id, key).0).or_insert_with(|| (false, 0, String::new()));
        entry.1 += 1;
        if entry.2.is_empty() || (own && !entry.0) {
            entry.0 = own;
            entry.2 = format!("{}.{column}", table.name);
        }
    }
    let mut named: Vec<_> = used.into_values().map(|(_, count, name)| (count, name)).collect();
    named.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    named.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(" + ")
}

fn tables(
    schema: &Schema,
    trace: &Trace,
    context: &BTreeMap<TableId, String>,
    choices: &Choices,
) -> Vec<TableSaid> {
    let mut handled = vec![0_u64; schema.tables.len()];
    for access in &trace.accesses {
        handled[access.table.0] += 1;
    }
    let all: u64 = handled.iter().sum();
    let said = schema.ids().map(|id| {
        let table = schema.table(id);
        let place = match choices[id.0] {
            Choice::Everywhere => PlaceSaid::Everywhere,
            Choice::Alone => PlaceSaid::Alone,
            Choice::Key(key) => PlaceSaid::By {
                columns: vec![table.keys[key].name.clone()],
                derived: table.keys[key].derived.clone(),
            },
        };
        TableSaid {
            table: table.name.clone(),
            context: context.get(&id).cloned(),
            place,
            rows: table.rows,
            load: share(handled[id.0], all),
            confidence: None,
            tie: None,
        }
    });
    said.collect()
}

/// The kinds of transaction that cross most, with some of them.
fn witnesses(schema: &Schema, trace: &Trace, design: &Design, metrics: &Metrics) -> Vec<Witness> {
    let Ok(reached) = reaches(schema, trace, design) else { return Vec::new() };
    let mut count = vec![0_u64; trace.kinds.len()];
    let mut examples: Vec<Vec<String>> = vec![Vec::new(); trace.kinds.len()];
    for (transaction, reach) in trace.transactions.iter().zip(&reached) {
        let kind = transaction.kind as usize;
        count[kind] += 1;
        if reach.partitions > 1 && examples[kind].len() < EXAMPLES {
            examples[kind].push(keys_worked_on(schema, trace, design, transaction));
        }
    }
    let all = trace.transactions.len() as u64;
    let mut found: Vec<Witness> = trace
        .kinds
        .iter()
        .enumerate()
        .filter_map(|(n, kind)| {
            let crossing = *metrics.per_transaction.get(kind)?;
            let examples = std::mem::take(&mut examples[n]);
            (crossing > 0.0).then(|| Witness {
                kind: kind.clone(),
                share: share(count[n], all),
                crossing,
                examples,
            })
        })
        .collect();
    found.sort_by(|a, b| {
        (b.share * b.crossing).total_cmp(&(a.share * a.crossing)).then_with(|| a.kind.cmp(&b.kind))
    });
    found.truncate(WITNESSES);
    found
}

/// The keys that decide where a transaction's rows are: `accounts.aid 17, 23; branches.bid 1`.
fn keys_worked_on(schema: &Schema, trace: &Trace, design: &Design, transaction: &Transaction) -> String {
    const SHOWN: usize = 4;
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for access in trace.accesses_of(transaction) {
        let table = schema.table(access.table);
        let Some(crate::design::Placement::Partition { levels }) = design.tables.get(&table.name) else {
            continue;
        };
        let Some(column) = levels.first().and_then(|level| level.cut.columns().first()) else { continue };
        let Some(place) = table.key(column) else { continue };
        let values = keys.entry(format!("{}.{column}", table.name)).or_default();
        match trace.rows_of(access, table.keys.len()) {
            Some(rows) => values.extend(rows.map(|row| trace.values.get(row[place]).text())),
            None => drop(values.insert("any".to_owned())),
        }
    }
    let said = keys.into_iter().map(|(column, values)| {
        let more = values.len().saturating_sub(SHOWN);
        let mut shown: Vec<String> = values.into_iter().take(SHOWN).collect();
        if more > 0 {
            shown.push(format!("and {more} more"));
        }
        format!("{column} {}", shown.join(", "))
    });
    said.collect::<Vec<_>>().join("; ")
}

/// What deployments can take over, and what has to be done before.
fn plan(report: &mut Report, subject: &Subject<'_>, domains: &Domains, design: &Design, wanted: &Wanted) {
    let system = subject.system;
    let (schema, trace) = (&system.schema, &system.trace);
    let families = families(schema, trace, domains, design, subject.hashed);
    report.columns_to_add = families.iter().flat_map(|family| columns_to_add(schema, family)).collect();
    let deployed = deployed(schema, design, &families);
    report.pictures.trees =
        families.iter().filter_map(|family| tree_map(schema, trace, &deployed, family)).collect();
    let metrics = measure(schema, trace, &deployed).ok();
    let mut not_ready = Vec::new();
    if !wanted.accept_low_confidence && system.tier < Tier::Writes {
        not_ready.push(
            "the evidence does not say what is done together; --accept-low-confidence takes it all the same"
                .to_owned(),
        );
    }
    for column in &report.columns_to_add {
        not_ready.push(format!("{} has no column {} yet; the steps are listed", column.table, column.column));
    }
    for family in &families {
        for dimension in family.dimensions.iter().filter(|d| d.data_type.is_none()) {
            not_ready.push(format!("the type of {} is not known", dimension.column));
        }
    }
    report.plan = Plan {
        ready: not_ready.is_empty(),
        not_ready,
        families,
        accept: metrics.as_ref().map(acceptance).unwrap_or_default(),
        forecast: metrics.map(|metrics| Forecast { metrics, intervals: BTreeMap::new() }),
    };
}

fn columns_to_add(schema: &Schema, family: &Family) -> Vec<ColumnToAdd> {
    let dimension = &family.dimensions[0];
    let missing = family.tables.iter().filter(|(_, carrier)| **carrier != Carrier::Itself);
    missing
        .map(|(table, carrier)| {
            let column = match carrier {
                // Its own name for what another table calls otherwise: all tables of a context need one name.
                Carrier::Under(_) | Carrier::Itself => &dimension.column,
                Carrier::Through(_) => &dimension.column,
            };
            let data_type = match carrier {
                Carrier::Under(own) => {
                    schema.find(table).and_then(|id| schema.table(id).columns.get(own).cloned())
                }
                _ => None,
            };
            ColumnToAdd {
                table: table.clone(),
                column: column.clone(),
                data_type: data_type.or_else(|| dimension.data_type.clone()),
                from: carrier.clone(),
                steps: Vec::new(),
            }
        })
        .collect()
}

/// What a deployment is to keep to, if the forecast has no bounds of its own.
fn acceptance(metrics: &Metrics) -> Vec<Acceptance> {
    let about = |metric: &str, value: f64, within: f64| Acceptance {
        metric: metric.to_owned(),
        least: (value - within).max(0.0),
        most: value + within,
    };
    vec![
        about("cross_partition_share", metrics.cross_partition_share, SHARE_WITHIN),
        about("cross_partition_write_share", metrics.cross_partition_write_share, SHARE_WITHIN),
        about("load_max_over_mean", metrics.load_max_over_mean, SKEW_WITHIN),
    ]
}

/// Adds to a report what a design of somebody's own would cost.
pub fn what_if(
    report: &mut Report,
    system: &System,
    design: &Design,
    source: impl Into<String>,
) -> Result<(), BadDesign> {
    let metrics = measure(&system.schema, &system.trace, design)?;
    let best = report.forecast.as_ref().map(|forecast| &forecast.metrics);
    let mut differs: Vec<(String, f64, f64)> = Vec::new();
    for (kind, own) in &metrics.per_transaction {
        let other = best.and_then(|best| best.per_transaction.get(kind)).copied().unwrap_or(*own);
        if (own - other).abs() >= 0.005 {
            differs.push((kind.clone(), *own, other));
        }
    }
    differs.sort_by(|a, b| (b.1 - b.2).abs().total_cmp(&(a.1 - a.2).abs()));
    report.what_if = Some(WhatIf {
        source: source.into(),
        regret: best.map(|best| metrics.cost - best.cost),
        forecast: Forecast { metrics, intervals: BTreeMap::new() },
        differs,
    });
    Ok(())
}
