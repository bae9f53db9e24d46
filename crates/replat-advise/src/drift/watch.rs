//! What is watched: statistics of a stream of transactions under a design, window by window.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::level::Series;
use super::{SHARE_MIN, SKEW_MIN, Statistic};
use crate::design::{BadDesign, Design, Placed, Placement, Places};
use crate::domain::Domains;
use crate::measure::{reaches, skew_of};
use crate::schema::{Schema, TableId};
use crate::trace::Trace;
use crate::value::ValueId;

/// A trace is cut into about so many windows…
const WINDOWS: usize = 100;

/// …of at least and at most so many transactions.
const WINDOW_MIN: usize = 25;
const WINDOW_MAX: usize = 500;

/// With fewer windows than this nothing can be said about changes.
const WINDOWS_MIN: usize = 20;

/// So many kinds of transaction, and so many keys, are watched at most.
const WATCHED_MAX: usize = 30;

/// A statistic over time.
pub(super) struct Watched {
    pub statistic: Statistic,
    pub series: Series,
    /// Whether each transaction adds to it, if it is a share of transactions.
    pub adds: Option<Vec<bool>>,
}

/// How many transactions a window has; `None` if there are too few for windows.
pub(super) fn window(transactions: usize) -> Option<usize> {
    let window = (transactions / WINDOWS).clamp(WINDOW_MIN, WINDOW_MAX);
    (transactions / window >= WINDOWS_MIN).then_some(window)
}

/// All statistics, in windows of so many transactions.
pub(super) fn watched(
    schema: &Schema,
    trace: &Trace,
    design: &Design,
    domains: &Domains,
    window: usize,
) -> Result<Vec<Watched>, BadDesign> {
    let mut all = Vec::new();
    let crossing = reaches(schema, trace, design)?.iter().map(|reach| reach.partitions > 1).collect();
    all.push(share(Statistic::CrossShare, crossing, window));
    for (name, adds) in kinds(trace) {
        all.push(share(Statistic::MixShare { kind: name }, adds, window));
    }
    for (statistic, adds) in keys(schema, trace, design, domains, window) {
        all.push(share(statistic, adds, window));
    }
    all.push(skew(schema, trace, design, window)?);
    all.extend(growth(trace, window));
    Ok(all)
}

fn share(statistic: Statistic, adds: Vec<bool>, window: usize) -> Watched {
    let values: Vec<f64> = adds
        .chunks_exact(window)
        .map(|chunk| chunk.iter().filter(|adds| **adds).count() as f64 / window as f64)
        .collect();
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let chance = mean * (1.0 - mean) / window as f64;
    Watched { statistic, series: Series { values, chance, effect_min: SHARE_MIN }, adds: Some(adds) }
}

/// Transactions by kind. Where kinds are not named, they are told by their statements.
fn kinds(trace: &Trace) -> Vec<(String, Vec<bool>)> {
    let mut found: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (number, transaction) in trace.transactions.iter().enumerate() {
        let name = if trace.kinds.len() > 1 {
            trace.kinds[transaction.kind as usize].clone()
        } else {
            let templates: BTreeSet<u32> =
                trace.accesses_of(transaction).iter().map(|a| a.template).collect();
            let names: Vec<&str> =
                templates.iter().map(|template| trace.templates[*template as usize].name.as_str()).collect();
            names.join("+")
        };
        found.entry(name).or_default().push(number);
    }
    let mut found: Vec<(String, Vec<usize>)> = found.into_iter().collect();
    found.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(&b.0)));
    found.truncate(WATCHED_MAX);
    found.into_iter().map(|(name, numbers)| (name, marked(trace, &numbers))).collect()
}

fn marked(trace: &Trace, numbers: &[usize]) -> Vec<bool> {
    let mut adds = vec![false; trace.transactions.len()];
    numbers.iter().for_each(|number| adds[*number] = true);
    adds
}

/// Keys that the design places rows by and that many transactions need at some time.
fn keys(
    schema: &Schema,
    trace: &Trace,
    design: &Design,
    domains: &Domains,
    window: usize,
) -> Vec<(Statistic, Vec<bool>)> {
    let placed_by: Vec<Option<usize>> = schema
        .tables
        .iter()
        .map(|table| match design.tables.get(&table.name) {
            Some(Placement::Partition { levels }) => {
                table.key(levels.first().and_then(|level| level.cut.columns().first())?)
            }
            _ => None,
        })
        .collect();
    let n = trace.transactions.len();
    let block = (n / 10).max(window);
    let blocks = n.div_ceil(block);
    let mut users: HashMap<(usize, ValueId), Vec<usize>> = HashMap::new();
    let mut columns: HashMap<usize, String> = HashMap::new();
    for (number, transaction) in trace.transactions.iter().enumerate() {
        for access in trace.accesses_of(transaction) {
            let table = schema.table(access.table);
            let Some(key) = placed_by[access.table.0] else { continue };
            let domain = domains.of(TableId(access.table.0), key).0;
            columns.entry(domain).or_insert_with(|| format!("{}.{}", table.name, table.keys[key].name));
            for row in trace.rows_of(access, table.keys.len()).into_iter().flatten() {
                let all = users.entry((domain, row[key])).or_default();
                if all.last() != Some(&number) {
                    all.push(number);
                }
            }
        }
    }
    let mut found: Vec<(usize, usize, ValueId, Vec<usize>)> = Vec::new();
    for ((domain, value), numbers) in users {
        let mut count = vec![0_usize; blocks];
        numbers.iter().for_each(|number| count[number / block] += 1);
        let (least, most) = (count[..(n / block)].iter().min(), count.iter().max());
        let rise = most.unwrap_or(&0) - least.unwrap_or(&0);
        if rise as f64 >= SHARE_MIN * block as f64 {
            found.push((rise, domain, value, numbers));
        }
    }
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| trace.values.compare(a.2, b.2)).then(a.1.cmp(&b.1)));
    found.truncate(WATCHED_MAX);
    found
        .into_iter()
        .map(|(_, domain, value, numbers)| {
            let value = trace.values.get(value).clone();
            (Statistic::KeyShare { column: columns[&domain].clone(), value }, marked(trace, &numbers))
        })
        .collect()
}

/// The load of the busiest partition by the mean, as a logarithm.
fn skew(schema: &Schema, trace: &Trace, design: &Design, window: usize) -> Result<Watched, BadDesign> {
    let placed = Placed::new(design, schema)?;
    let mut numbers = Places::default();
    let mut values = Vec::new();
    for transactions in trace.transactions.chunks_exact(window) {
        let mut load: Vec<u64> = Vec::new();
        for access in transactions.iter().flat_map(|transaction| trace.accesses_of(transaction)) {
            let width = schema.table(access.table).keys.len();
            for row in trace.rows_of(access, width).into_iter().flatten() {
                let Some(place) = placed.place(access.table, row, &trace.values, &mut numbers) else {
                    continue;
                };
                let place = place as usize;
                if load.len() <= place {
                    load.resize(place + 1, 0);
                }
                load[place] += 1;
            }
        }
        values.push(skew_of(&load, placed.partitions).ln());
    }
    let series = Series { values, chance: 0.0, effect_min: SKEW_MIN.ln() };
    Ok(Watched { statistic: Statistic::LoadSkew, series, adds: None })
}

/// Transactions per second, as a logarithm; `None` if the trace has no times.
fn growth(trace: &Trace, window: usize) -> Option<Watched> {
    let times: Vec<f64> = trace.transactions.iter().map(|transaction| transaction.at).collect();
    let span = times.last()? - times.first()?;
    if !span.is_finite() || span <= 0.0 {
        return None;
    }
    // Windows of no length would be infinitely busy.
    let least = span / times.len() as f64 * window as f64 / 1e3;
    let values = (0..times.len() / window)
        .map(|n| {
            let (from, to) = (n * window, ((n + 1) * window).min(times.len() - 1));
            (window as f64 / (times[to] - times[from]).max(least)).ln()
        })
        .collect();
    let series = Series { values, chance: 1.0 / window as f64, effect_min: SKEW_MIN.ln() };
    Some(Watched { statistic: Statistic::Growth, series, adds: None })
}
