//! What is said of advice, and in which order.

use replat_advise::advise::{PartitionsBy, TableAdvice, Verdict};
use replat_advise::confidence::{Forecast, Interval};
use replat_advise::derived::Drawn;
use replat_advise::drift::{Shift, Statistic};
use replat_advise::evidence::Tier;
use replat_advise::explain::{Placing, Touched};
use replat_advise::layout::{Estimate, Layout};
use replat_advise::locality::WayKind;
use replat_advise::lookups::Remedy;
use replat_advise::measure::Metrics;
use replat_advise::report::Report;

use super::columns::columns;
use crate::advise::spec::{SOME_DATABASE, snippet};
use crate::cli::Advise;
use crate::render::{bytes, count, counted, span};

/// A part of the story.
pub struct Section {
    /// What it is about.
    pub title: &'static str,
    /// For whom it is, besides those who want everything.
    pub of: &'static [Advise],
    /// What it says.
    pub blocks: Vec<Block>,
}

/// A piece of a part.
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A list.
    List(Vec<String>),
    /// A table.
    Table(Rows),
    /// Text in which every space counts.
    Code(String),
    /// A picture, which a terminal does not show.
    Picture(Picture),
}

/// A table.
pub struct Rows {
    /// What its columns are, and whether they are numbers.
    pub head: Vec<(&'static str, bool)>,
    /// Its rows, the most important first.
    pub rows: Vec<Vec<String>>,
}

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    /// The tables, their bonds, and where contexts cut them.
    Contexts,
    /// Statements against tables.
    Matrix,
    /// The tree as a map.
    Tree,
    /// What each leaf has to do.
    Load,
    /// Statements against the columns of a table, by its place among those that are told.
    Columns(usize),
}

/// All of it.
pub fn story(report: &Report) -> Vec<Section> {
    let mut all = vec![verdict(report), keys(report), contexts(report)];
    all.extend([leaves(report), why(report), before(report), columns(report), lifecycle(report)]);
    all.extend([what_if(report), drift(report), missing(report), plan(report), evidence(report)]);
    all.retain(|section| !section.blocks.is_empty());
    all
}

const KEYS: &[Advise] = &[Advise::Keys];
const EVERY: &[Advise] =
    &[Advise::Keys, Advise::Contexts, Advise::Columns, Advise::Lifecycle, Advise::WhatIf, Advise::Drift];

/// What the system is called.
pub fn name(report: &Report) -> &str {
    if report.advice.system.is_empty() { "a system" } else { &report.advice.system }
}

/// A share for people: `2.1 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// The headline, on one line.
pub fn headline(report: &Report) -> String {
    let advice = &report.advice;
    let (word, because) = match &advice.verdict {
        Verdict::Partition => ("Partition.", praise(report)),
        Verdict::DoNotPartition { because } => ("Do not partition.", because.clone()),
        Verdict::NotEnoughEvidence { because } => ("Not enough is known to decide.", because.clone()),
    };
    format!("{word} {} Confidence {:.2}.", capital(&because), advice.confidence)
}

/// Names in a sentence: all of a few, else some and how many more there are; `--json` has them all.
fn some(names: &[String]) -> String {
    some_of(names, ", ")
}

fn some_of(names: &[String], between: &str) -> String {
    const SOME: usize = 8;
    match names.len() {
        // "and 1 more" is no shorter than a name.
        all if all > SOME + 1 => {
            format!("{} and {} more", names[..SOME].join(between), count((all - SOME) as u64))
        }
        _ => names.join(between),
    }
}

fn praise(report: &Report) -> String {
    let Some(metrics) = &report.advice.metrics else { return String::new() };
    format!(
        "Of the transactions {} need several of {} partitions; the busiest partition does {:.2} times the mean",
        percent(metrics.cross_partition_share),
        report.evidence.partitions.unwrap_or_default(),
        metrics.load_max_over_mean
    )
}

/// A sentence from words: its first letter large, a full stop behind it.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => {
            let stop = if text.ends_with('.') { "" } else { "." };
            format!("{}{}{stop}", first.to_uppercase(), letters.as_str())
        }
        None => String::new(),
    }
}

fn verdict(report: &Report) -> Section {
    let advice = &report.advice;
    let mut blocks = vec![Block::Text(headline(report))];
    if !report.partitions()
        && let Some(locality) = &advice.locality
    {
        blocks.push(Block::Text(format!(
            "Under the least bad design {} of the transactions cross; if keys were drawn by chance, {} would.",
            percent(locality.cross_partition_share),
            percent(locality.by_chance)
        )));
    }
    if let Some(aside) = &advice.aside {
        let otherwise: Vec<String> =
            aside.otherwise.iter().map(|(table, how)| format!("{table} {}", placing(how))).collect();
        let then = match otherwise.is_empty() {
            true => String::new(),
            false => format!("; then {}", otherwise.join(", ")),
        };
        blocks.push(Block::Text(format!(
            "Everybody writes to {}: with one of its own in each partition, {} would cross{then}.",
            aside.tables.join(", "),
            percent(aside.cross)
        )));
    }
    if let (Some(by), None) = (&report.constraints.residency, &advice.residency) {
        blocks.push(Block::Text(format!(
            "Residency: {} of {} is the outermost dimension, whatever traffic says; rows of different ones never share a \
             partition.",
            by.column, by.table
        )));
    }
    if !report.hypotheses.is_empty() {
        blocks.push(Block::Text(format!(
            "Begin without partitions{}, and keep the likeliest key on every table that belongs to it, so that a later split \
             is cheap. Keys that foreign keys suggest, with a confidence of {:.2} at most; traffic may refute each of them:",
            if report.constraints.residency.is_some() { ", or with one for each of them" } else { "" },
            report.evidence.sure_at_most
        )));
        let said = report.hypotheses.iter().map(|key| {
            let misses = match key.misses.is_empty() {
                true => "all tables belong to it".to_owned(),
                false => format!("all but {}", some(&key.misses)),
            };
            format!("{}.{}: reaches {}; {misses}", key.table, key.column, some(&key.reaches))
        });
        blocks.push(Block::List(said.collect()));
    }
    if let Some(kept) = &advice.residency {
        let zones: Vec<String> = kept
            .zones
            .iter()
            .map(|zone| {
                format!("{} has {}", zone.value, counted(zone.partitions as usize, "partition", "partitions"))
            })
            .collect();
        let mut said = vec![format!(
            "residency by {} is the outermost dimension, whatever traffic says: {}; in {}",
            kept.by,
            zones.join(", "),
            some(&kept.tables)
        )];
        if !kept.unconnected.is_empty() {
            said.push(format!(
                "the evidence does not connect {} to it: they need the column",
                some(&kept.unconnected)
            ));
        }
        if kept.unknown_keys > 0 {
            said.push(format!(
                "of {} keys ({} of the rows handled) the evidence does not say where they must be; they are with {}: complete \
                 the list from the table first",
                count(kept.unknown_keys),
                percent(kept.unknown_share),
                kept.default_zone
            ));
        }
        blocks.push(Block::List(said));
    }
    if let Some(unkept) = &advice.residency_unkept {
        blocks.push(Block::Text(format!("Residency cannot be kept: {}", capital(unkept))));
    }
    if let Some(hot) = &advice.hot_rows {
        let tables: Vec<String> = hot
            .tables
            .iter()
            .map(|table| {
                format!("{} ({} rows, written by {})", table.table, count(table.rows), percent(table.writers))
            })
            .collect();
        blocks.push(Block::Text(format!(
            "Rows that everybody writes tie it together: {}. What can be done:",
            some(&tables)
        )));
        let head = vec![("way", false), ("cross", true), ("cost", true), ("it means", false)];
        let rows = hot.ways.iter().map(|way| {
            let name = match way.way {
                WayKind::Replicate => "replicate",
                WayKind::Counter => "counters that add up",
                WayKind::Later => "write later",
            };
            let metrics = &way.metrics;
            vec![
                name.to_owned(),
                percent(metrics.cross_partition_share),
                format!("{:.3}", metrics.cost),
                way.means.clone(),
            ]
        });
        blocks.push(Block::Table(Rows { head, rows: rows.collect() }));
    }
    Section { title: "Verdict", of: EVERY, blocks }
}

fn evidence(report: &Report) -> Section {
    let (used, advice) = (&report.evidence, &report.advice);
    let tier = match advice.tier {
        Tier::Catalogue => "T0, the catalogue alone",
        Tier::Statements => "T1, statements and how often they ran, not which ran together",
        Tier::Writes => "T2, what transactions wrote, from the write-ahead log",
        Tier::Sample => "T3, a sample of whole transactions",
        Tier::Trace => "T4, whole transactions with their rows",
    };
    let within =
        if advice.seconds > 0.0 { format!(" within {}", long(advice.seconds)) } else { String::new() };
    let mut facts = vec![
        format!("tier: {tier}; advice on it is sure to {:.2} at most", used.sure_at_most),
        format!(
            "{}, {}, {} {}{within}",
            counted(used.tables, "table", "tables"),
            counted(used.statements, "statement", "statements"),
            count(advice.transactions),
            if advice.tier == Tier::Statements { "executions" } else { "transactions" },
        ),
    ];
    if let Some(forecast) = &advice.forecast {
        let most = forecast.unseen_share_max;
        facts.push(format!("a statement that was never seen has a share below {:.2} %", 100.0 * most));
    }
    if used.hashed {
        facts.push("values are known by their hashes only".to_owned());
    }
    facts.extend(used.notes.iter().cloned());
    for source in &used.sources {
        let digest = source.sha256.get(..12).unwrap_or(&source.sha256);
        facts.push(format!("{} ({}, sha256 {digest}…)", source.name, bytes(source.bytes)));
    }
    Section { title: "Evidence", of: EVERY, blocks: vec![Block::List(facts)] }
}

fn long(seconds: f64) -> String {
    // No evidence is of more than some years.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    span((seconds.max(0.0) * 1000.0) as u64)
}

fn keys(report: &Report) -> Section {
    let advice = &report.advice;
    let mut blocks = Vec::new();
    let partitions = report.evidence.partitions.unwrap_or_default();
    if report.partitions() {
        let by = match advice.partitions_by {
            PartitionsBy::Wish => "as many as were wished for",
            PartitionsBy::Capacity => "the fewest that the capacity allows",
            PartitionsBy::Evidence => "as many as the evidence asks for",
            PartitionsBy::Most => "the most that advice is given for, though more were asked for",
            PartitionsBy::Default => "since nobody named a number",
        };
        let head = vec![
            ("table", false),
            ("context", false),
            ("rows are", false),
            ("confidence", true),
            ("stable", true),
            ("otherwise", false),
            ("tie", false),
        ];
        let rows = advice.tables.iter().map(|said| table(report, said)).collect();
        blocks.push(Block::Text(format!("For {partitions} partitions, {by}:")));
        blocks.push(Block::Table(Rows { head, rows }));
        if let (Some(metrics), forecast) = (&advice.metrics, advice.forecast.as_ref()) {
            blocks.push(Block::Text("Forecast, with 95 % intervals:".to_owned()));
            blocks.push(Block::Table(numbers(metrics, forecast)));
        }
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    if let Some(metrics) = &advice.metrics {
        let because = if report.partitions() { "recommended" } else { "the least bad" };
        rows.push(weighed("the best that was found", metrics, because));
    }
    for other in &advice.rejected {
        let differs: Vec<String> = other
            .differs
            .iter()
            .map(|(table, placing)| format!("{table} {}", self::placing(placing)))
            .collect();
        rows.push(weighed(&differs.join(", "), &other.metrics, &other.because));
    }
    for other in &advice.baselines {
        rows.push(weighed(&other.name, &other.metrics, "what anybody would have tried first"));
    }
    if !rows.is_empty() {
        let head = vec![
            ("cross", true),
            ("writes cross", true),
            ("skew", true),
            ("cost", true),
            ("design", false),
            ("standing", false),
        ];
        blocks.push(Block::Text(
            "Designs. Cross is the share of transactions that need several partitions, skew the load of the busiest by the \
             mean, cost all of it in one number."
                .to_owned(),
        ));
        blocks.push(Block::Table(Rows { head, rows }));
    }
    Section { title: "Keys", of: KEYS, blocks }
}

fn weighed(name: &str, metrics: &Metrics, because: &str) -> Vec<String> {
    vec![
        percent(metrics.cross_partition_share),
        percent(metrics.cross_partition_write_share),
        format!("{:.2}", metrics.load_max_over_mean),
        format!("{:.3}", metrics.cost),
        name.to_owned(),
        because.to_owned(),
    ]
}

fn table(report: &Report, said: &TableAdvice) -> Vec<String> {
    let context = report.context_names.iter().find(|(_, tables)| tables.contains(&said.table));
    let column = match &said.placing {
        Placing::By(column) => {
            let new =
                report.advice.new_columns.iter().any(|new| new.table == said.table && new.column == *column);
            if new { " (to be added)" } else { "" }
        }
        _ => "",
    };
    let otherwise = said.otherwise.first().map(|other| {
        format!(
            "{}: cost {:.3}, cross {}",
            placing(&other.placing),
            other.cost,
            percent(other.cross_partition_share)
        )
    });
    vec![
        said.table.clone(),
        context.map_or_else(|| "cross-cutting".to_owned(), |(name, _)| name.clone()),
        format!("{}{column}", placing(&said.placing)),
        format!("{:.2}", said.confidence),
        said.stability.map_or_else(|| "not seen".to_owned(), percent),
        otherwise.unwrap_or_default(),
        said.tie
            .as_ref()
            .map_or_else(String::new, |tie| format!("with {}: {}", placing(&tie.with), tie.broken_by)),
    ]
}

/// Where rows are, in words.
fn placing(placing: &Placing) -> String {
    match placing {
        Placing::By(column) => format!("by {column}"),
        Placing::Everywhere => "in every partition".to_owned(),
        Placing::Alone => "in one place".to_owned(),
    }
}

fn numbers(metrics: &Metrics, forecast: Option<&Forecast>) -> Rows {
    let of = |pick: fn(&Forecast) -> Interval| forecast.map(pick);
    let all: Vec<(&str, Option<f64>, Option<Interval>, bool)> = vec![
        (
            "transactions that cross",
            Some(metrics.cross_partition_share),
            of(|f| f.cross_partition_share),
            true,
        ),
        (
            "transactions that write across",
            Some(metrics.cross_partition_write_share),
            of(|f| f.cross_partition_write_share),
            true,
        ),
        ("partitions per transaction", Some(metrics.partitions_per_txn), of(|f| f.partitions_per_txn), false),
        ("statements that need one partition", None, of(|f| f.single_partition_statement_share), true),
        (
            "load of the busiest by the mean",
            Some(metrics.load_max_over_mean),
            of(|f| f.load_max_over_mean),
            false,
        ),
        (
            "the same in the worst tenth of the time",
            Some(metrics.load_max_over_mean_worst_window),
            None,
            false,
        ),
        ("statements that cannot be routed", Some(metrics.unroutable_statement_share), None, true),
        (
            "rows written, by rows written once",
            Some(metrics.write_amplification),
            of(|f| f.write_amplification),
            false,
        ),
        ("bytes stored, by bytes stored once", metrics.storage_factor, None, false),
        ("transactions over several contexts", metrics.cross_context_share, None, true),
        ("cost", Some(metrics.cost), of(|f| f.cost), false),
    ];
    let rows = all.into_iter().filter_map(|(label, seen, interval, share)| {
        let write = |value: f64| if share { percent(value) } else { format!("{value:.3}") };
        let expected = interval.map_or_else(String::new, |i| write(i.value));
        let within = interval.map_or_else(String::new, |i| format!("{} to {}", write(i.low), write(i.high)));
        let seen = seen.or(interval.map(|i| i.value))?;
        Some(vec![label.to_owned(), write(seen), expected, within])
    });
    let head = vec![("number", false), ("seen", true), ("expected", true), ("within", true)];
    Rows { head, rows: rows.collect() }
}

fn contexts(report: &Report) -> Section {
    let said = &report.advice.contexts;
    let mut blocks = Vec::new();
    if report.advice.transactions > 0 {
        let rows =
            report.context_names.iter().map(|(name, tables)| vec![name.clone(), tables.join(", ")]).collect();
        let contexts = counted(said.groups.len(), "context", "contexts");
        blocks.push(Block::Text(if report.advice.tier == Tier::Statements {
            format!(
                "{contexts}, by foreign keys and by what one statement touches; which statements run together is not known. \
                 {} of the statements touch more than one.",
                percent(said.crossing)
            )
        } else {
            format!(
                "{contexts}; {} of the transactions touch more than one, {} write to more than one.",
                percent(said.crossing),
                percent(said.writes_crossing)
            )
        }));
        blocks.push(Block::Table(Rows { head: vec![("context", false), ("tables", false)], rows }));
        if !said.cross_cutting.is_empty() {
            blocks.push(Block::Text(format!(
                "Cross-cutting, needed along with the tables of many contexts: {}.",
                some(&said.cross_cutting)
            )));
        }
        if let Some(services) = &report.advice.services {
            blocks.push(Block::Text(format!(
                "Of the services that are declared, {} of the transactions touch more than one and {} write to more than one.",
                percent(services.crossing),
                percent(services.writes_crossing)
            )));
            for merge in &services.merge {
                blocks.push(Block::Text(format!(
                    "A distributed monolith: {} are declared to be apart and are one transactional unit. Make them one; then {} \
                     write to more than one.",
                    merge.services.join(", "),
                    percent(services.writes_crossing_if_merged)
                )));
            }
            let ties = services.ties.iter().map(|tie| {
                format!(
                    "{} and {} share {} of all writing transactions, {} of the lesser's",
                    tie.services[0],
                    tie.services[1],
                    percent(tie.share),
                    percent(tie.of_lesser)
                )
            });
            blocks.push(Block::List(ties.collect()));
        }
        let others: Vec<String> = said
            .alternatives
            .iter()
            .map(|groups| {
                let groups: Vec<String> = groups.iter().map(|group| format!("{{{}}}", some(group))).collect();
                some_of(&groups, " ")
            })
            .collect();
        if !others.is_empty() {
            blocks.push(Block::Text("Other cuts that are about as good:".to_owned()));
            blocks.push(Block::List(others));
        }
        blocks.push(Block::Picture(Picture::Contexts));
        blocks.push(Block::Picture(Picture::Matrix));
    }
    Section { title: "Contexts", of: &[Advise::Contexts], blocks }
}

fn leaves(report: &Report) -> Section {
    let mut blocks = Vec::new();
    if report.partitions() {
        if !report.pictures.trees.is_empty() {
            blocks.push(Block::Picture(Picture::Tree));
        }
        if !report.pictures.load.is_empty() {
            blocks.push(Block::Picture(Picture::Load));
        }
    }
    Section { title: "Tree and load", of: KEYS, blocks }
}

fn why(report: &Report) -> Section {
    let mut blocks = Vec::new();
    let advice = &report.advice;
    if let Some(floor) = &advice.floor {
        let kinds: Vec<String> = floor
            .kinds
            .iter()
            .map(|kind| {
                format!(
                    "{} ({} of all, {} of its own cross at least)",
                    kind.kind,
                    percent(kind.share),
                    percent(kind.crossing)
                )
            })
            .collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!(": {}", some(&kinds)) };
        // What is not known is not taken to cross, and not hidden either.
        let unknown = if floor.most - floor.least < 0.0005 {
            String::new()
        } else {
            format!(
                " Of some rows the keys are not known: without them it is {}, and {} if all of those cross.",
                percent(floor.least),
                percent(floor.most)
            )
        };
        blocks.push(Block::Text(format!(
            "No key removes it: {} of the transactions stay distributed under each of {} designs{kinds}.{unknown}",
            percent(floor.share),
            count(floor.designs)
        )));
    }
    if !advice.witnesses.is_empty() {
        let head = vec![
            ("transaction", false),
            ("crosses, of all", true),
            ("of its own", true),
            ("for example", false),
        ];
        let rows = advice.witnesses.iter().map(|witness| {
            let examples: Vec<String> = witness.examples.iter().map(|rows| touched(rows)).collect();
            vec![witness.kind.clone(), percent(witness.share), percent(witness.of_kind), examples.join(" | ")]
        });
        blocks.push(Block::Text("What still crosses under the best design:".to_owned()));
        blocks.push(Block::Table(Rows { head, rows: rows.collect() }));
    }
    Section { title: "Why", of: KEYS, blocks }
}

/// The rows of an example: `accounts.aid 17 @3, branches.bid 1 @0`; rows with the same number are together.
fn touched(rows: &[Touched]) -> String {
    let said = rows.iter().map(|row| {
        let key: Vec<String> =
            row.key.iter().map(|(column, value)| format!("{column} {}", value.text())).collect();
        let key = match row.place {
            _ if !key.is_empty() => key.join(" "),
            Some(_) => "of a key that is not known".to_owned(),
            None => "any".to_owned(),
        };
        let place = row.place.map_or_else(String::new, |place| format!(" @{place}"));
        format!("{} {key}{place}", row.table)
    });
    said.collect::<Vec<_>>().join(", ")
}

fn before(report: &Report) -> Section {
    let advice = &report.advice;
    let mut blocks = Vec::new();
    if !advice.new_columns.is_empty() {
        let names: Vec<String> =
            advice.new_columns.iter().map(|new| format!("{}.{}", new.table, new.column)).collect();
        blocks.push(Block::Text(format!("Columns that have to be added first: {}.", some(&names))));
        let sql: Vec<String> = advice.new_columns.iter().map(replat_postgres::advised::new_column).collect();
        blocks.push(Block::Code(sql.join("\n")));
    }
    if !advice.loose_keys.is_empty() {
        let keys = advice.loose_keys.iter().map(|key| {
            let drawn = match key.drawn {
                Some(Drawn::Sequence) => {
                    "; its values come from a sequence, so each partition needs a range of its own"
                }
                Some(Drawn::Uuid) => "; its values are UUIDs, which do not meet by chance",
                None => "",
            };
            format!(
                "the key ({}) of {} lacks {}, so no partition alone can see that it is unique{drawn}",
                key.key.join(", "),
                key.table,
                key.lacks.join(", ")
            )
        });
        blocks.push(Block::Text("Keys that hold within a partition only:".to_owned()));
        blocks.push(Block::List(keys.collect()));
    }
    if !advice.unrouted.is_empty() {
        blocks.push(Block::Text("Statements that do not say where their rows are:".to_owned()));
        let head = vec![("statement", false), ("table", false), ("share", true), ("what helps", false)];
        let rows = advice.unrouted.iter().map(|one| {
            let helps = match &one.remedy {
                Remedy::Lookup { index, entries } => format!(
                    "a routing index {}.({}) -> ({}){}",
                    index.table,
                    index.from.join(", "),
                    index.to.join(", "),
                    entries.map_or_else(String::new, |n| format!(", {} entries", count(n)))
                ),
                Remedy::Hint { known_percent } => format!(
                    "a hint by the application: in {known_percent} % of the transactions another statement has {}",
                    one.needs.join(", ")
                ),
                Remedy::AskSome => "some partitions are asked".to_owned(),
                Remedy::AskAll => "all partitions are asked".to_owned(),
            };
            vec![one.statement.clone(), one.table.clone(), percent(one.share), helps]
        });
        blocks.push(Block::Table(Rows { head, rows: rows.collect() }));
    }
    Section { title: "What has to be done before", of: KEYS, blocks }
}

fn lifecycle(report: &Report) -> Section {
    let mut blocks = Vec::new();
    for one in &report.lifecycles {
        let within = match &one.within {
            Some(key) => format!("within each partition by {key}, "),
            None => String::new(),
        };
        let many = match (one.keep, one.partitions) {
            (Some(days), Some(partitions)) => {
                format!("; rows are kept for {days} days, so there are {partitions} at a time")
            }
            _ => "; nobody says how long rows are kept, so none is ever retired".to_owned(),
        };
        blocks.push(Block::Text(format!(
            "{}: {within}cut it by ranges of {} of {}{many}; {} are kept ready.",
            one.table,
            one.column,
            one.interval.text(),
            one.ahead
        )));
        let assumed = one.assumed.iter().map(|what| format!("assumed: {what}"));
        blocks.push(Block::List(one.because.iter().cloned().chain(assumed).collect()));
        let name = one.table.replace('.', "_");
        blocks.push(Block::Code(one.spec(&name, SOME_DATABASE).trim_end().to_owned()));
    }
    if report.lifecycles.is_empty() {
        let none = "None was found: a table of 1,000,000 rows or more that grows at one end of a column of time, and whose rows \
                    are asked for or deleted by that, is cut by it.";
        blocks.push(Block::Text(none.to_owned()));
    } else {
        blocks.push(Block::Text(format!("{SOME_DATABASE} stands for what your spec calls the database.")));
    }
    Section { title: "Rows that grow old", of: &[Advise::Lifecycle], blocks }
}

fn what_if(report: &Report) -> Section {
    let mut blocks = Vec::new();
    if let Some(other) = &report.what_if {
        let beside = match other.regret {
            Some(regret) if regret > 0.0005 => {
                format!("It costs {regret:.3} more than the best design that was found.")
            }
            Some(regret) if regret < -0.0005 => {
                format!("It costs {:.3} less than the best design that was found.", -regret)
            }
            Some(_) => "It costs what the best design costs that was found.".to_owned(),
            None => String::new(),
        };
        blocks.push(Block::Text(format!("{}: {beside}", other.source)));
        blocks.push(Block::Table(numbers(&other.metrics, Some(&other.forecast))));
        if !other.differs.is_empty() {
            let head = vec![("transaction", false), ("crosses here", true), ("under the best", true)];
            let rows = other
                .differs
                .iter()
                .map(|(kind, own, best)| vec![kind.clone(), percent(*own), percent(*best)]);
            blocks.push(Block::Table(Rows { head, rows: rows.collect() }));
        }
    }
    Section { title: "What if", of: &[Advise::WhatIf], blocks }
}

fn drift(report: &Report) -> Section {
    let mut blocks = Vec::new();
    if let Some(drift) = &report.drift {
        let window = match drift.window {
            Some(window) => format!("watched in windows of {}", count(window as u64)),
            None => "too few to tell a change from chance".to_owned(),
        };
        let none = if drift.changes.is_empty() { " Nothing changed for good." } else { "" };
        blocks
            .push(Block::Text(format!("{} transactions, {window}.{none}", count(drift.transactions as u64))));
        if let Some(kept) = &drift.forecast {
            let became = match kept.left {
                Some(at) => format!("left at {} of the time; now it is {}", percent(at), percent(kept.now)),
                None => "kept".to_owned(),
            };
            blocks.push(Block::Text(format!(
                "The forecast that {} to {} of the transactions cross was {became}.",
                percent(kept.forecast.low),
                percent(kept.forecast.high)
            )));
        }
        let changes = drift.changes.iter().map(|change| {
            let shifts: Vec<String> = change.shifts.iter().map(shift).collect();
            format!("at {} of the time: {}", percent(change.at), shifts.join("; "))
        });
        blocks.push(Block::List(changes.collect()));
        for (title, moves) in [
            ("Moves that have paid for themselves:", &drift.repartitions),
            ("Moves that would pay, but have not yet:", &drift.considered),
        ] {
            if !moves.is_empty() {
                blocks.push(Block::Text(title.to_owned()));
                blocks.push(Block::List(moves.iter().map(|one| one.because.clone()).collect()));
            }
        }
    }
    Section { title: "Drift", of: &[Advise::Drift], blocks }
}

fn shift(shift: &Shift) -> String {
    let (name, share) = match &shift.statistic {
        Statistic::CrossShare => ("transactions that cross".to_owned(), true),
        Statistic::MixShare { kind } => (format!("the share of {kind}"), true),
        Statistic::KeyShare { column, value } => (format!("the share of {column} {}", value.text()), true),
        Statistic::LoadSkew => ("the load of the busiest by the mean".to_owned(), false),
        Statistic::Growth => ("transactions per second".to_owned(), false),
    };
    let write = |value: f64| if share { percent(value) } else { format!("{value:.2}") };
    format!("{name}: {} to {}", write(shift.from), write(shift.to))
}

/// What a layout of rows in blocks is good for.
pub fn blocks(found: &Layout) -> Section {
    let within = |e: &Estimate| format!("{} ({} to {})", percent(e.value), percent(e.low), percent(e.high));
    let mut said = vec![
        format!("{} blocks", found.blocks),
        format!("a query reads {} of the rows", within(&found.scanned)),
    ];
    said.extend(found.forecast.iter().map(|e| format!("queries yet to come read {}", within(e))));
    said.push(format!("queries want {}: no layout can do better", percent(found.wanted_share)));
    said.push(format!("rows in any order: {}", percent(found.baselines.any_order)));
    said.extend(
        found
            .baselines
            .by_column
            .iter()
            .map(|(column, share)| format!("in the order of {column}: {}", percent(*share))),
    );
    let head = vec![("queries", false), ("number", true), ("read", true), ("want", true)];
    let rows = found.kinds.iter().map(|kind| {
        vec![kind.name.clone(), kind.queries.to_string(), percent(kind.scanned), percent(kind.wanted)]
    });
    let blocks = vec![Block::List(said), Block::Table(Rows { head, rows: rows.collect() })];
    Section { title: "Layout", of: &[Advise::Layout], blocks }
}

fn missing(report: &Report) -> Section {
    let mut blocks = Vec::new();
    let missing = &report.advice.missing;
    if !missing.is_empty() {
        let head = vec![("not known", false), ("it decides", false), ("how to have it", false)];
        let rows = missing.iter().map(|m| vec![m.what.clone(), m.decides.clone(), m.how.clone()]);
        blocks.push(Block::Table(Rows { head, rows: rows.collect() }));
    }
    Section { title: "What is not known", of: EVERY, blocks }
}

fn plan(report: &Report) -> Section {
    let mut blocks = Vec::new();
    if report.partitions() {
        if report.plan.ready {
            blocks.push(Block::Text("Ready for a spec:".to_owned()));
        } else {
            blocks.push(Block::Text("Not ready yet:".to_owned()));
            blocks.push(Block::List(report.plan.not_ready.clone()));
        }
        let left_out: Vec<String> =
            report.plan.families.iter().flat_map(|f| f.left_out.iter().cloned()).collect();
        if !left_out.is_empty() {
            blocks.push(Block::Text("What a spec's tree leaves out of the design:".to_owned()));
            blocks.push(Block::List(left_out));
        }
        if let Some(toml) = snippet(report) {
            blocks.push(Block::Code(toml));
            blocks
                .push(Block::Text(format!("{SOME_DATABASE} stands for what your spec calls the database.")));
        }
        let accept: Vec<String> = report
            .plan
            .accept
            .iter()
            .map(|a| format!("{} from {:.3} to {:.3}", a.metric, a.least, a.most))
            .collect();
        if !accept.is_empty() {
            blocks.push(Block::Text("To be measured after a switch:".to_owned()));
            blocks.push(Block::List(accept));
        }
    }
    Section { title: "Plan", of: KEYS, blocks }
}
