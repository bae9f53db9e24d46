//! What is said of advice, and in which order.

use replat_advise::evidence::Tier;
use replat_advise::report::{Candidate, Carrier, Forecast, PlaceSaid, Report, Standing, TableSaid, Word};

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
}

/// All of it.
pub fn story(report: &Report) -> Vec<Section> {
    let mut all = vec![verdict(report), keys(report), contexts(report)];
    all.extend([leaves(report), why(report), before(report), lifecycle(report)]);
    all.extend([what_if(report), drift(report), missing(report), plan(report), evidence(report)]);
    all.retain(|section| !section.blocks.is_empty());
    all
}

const KEYS: &[Advise] = &[Advise::Keys];
const EVERY: &[Advise] = &[Advise::Keys, Advise::Contexts, Advise::Lifecycle, Advise::WhatIf, Advise::Drift];

/// A share for people: `2.1 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn word(word: Word) -> &'static str {
    match word {
        Word::Partition => "Partition.",
        Word::DoNotPartition => "Do not partition.",
        Word::NotEnoughEvidence => "Not enough is known to decide.",
    }
}

/// The headline, on one line.
pub fn headline(report: &Report) -> String {
    let sure = report.verdict.confidence.map(|sure| format!(" Confidence {sure:.2}."));
    format!(
        "{} {}{}",
        word(report.verdict.verdict),
        capital(&report.verdict.because),
        sure.unwrap_or_default()
    )
}

/// A sentence from words: its first letter large, a full stop behind it.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => format!(
            "{}{}{}",
            first.to_uppercase(),
            letters.as_str(),
            if text.ends_with('.') { "" } else { "." }
        ),
        None => String::new(),
    }
}

fn verdict(report: &Report) -> Section {
    let mut blocks = vec![Block::Text(headline(report))];
    if !report.ways.is_empty() {
        blocks.push(Block::Text("What could be done instead:".to_owned()));
        blocks.push(Block::List(report.ways.clone()));
    }
    if !report.constraints.is_empty() {
        blocks.push(Block::List(report.constraints.clone()));
    }
    Section { title: "Verdict", of: EVERY, blocks }
}

fn evidence(report: &Report) -> Section {
    let used = &report.evidence;
    let tier = match used.tier {
        Tier::Catalogue => "T0, the catalogue alone",
        Tier::Statements => "T1, statements and how often they ran, not which ran together",
        Tier::Writes => "T2, what transactions wrote, from the write-ahead log",
        Tier::Sample => "T3, a sample of whole transactions",
        Tier::Trace => "T4, whole transactions with their rows",
    };
    let mut facts = vec![
        format!("tier: {tier}; advice on it is sure to {:.2} at most", used.sure_at_most),
        format!(
            "{}, {}, {}{}",
            counted(used.tables, "table", "tables"),
            counted(used.statements, "statement", "statements"),
            format_args!("{} transactions", count(used.transactions)),
            used.seconds.map_or_else(String::new, |seconds| format!(" within {}", long(seconds)))
        ),
    ];
    if used.transactions > 0 {
        // The rule of three: what was not seen in n tries has a share below 3/n, at 95 %.
        let most = 3.0 / used.transactions as f64;
        facts.push(format!("a kind of transaction that was never seen has a share below {}", fine(most)));
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

/// A small share, with as many digits as it needs.
fn fine(share: f64) -> String {
    if share >= 0.01 { percent(share) } else { format!("{:.2} %", 100.0 * share) }
}

fn long(seconds: f64) -> String {
    // No evidence is of more than some years.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    span((seconds.max(0.0) * 1000.0) as u64)
}

fn keys(report: &Report) -> Section {
    let mut blocks = Vec::new();
    if !report.hypotheses.is_empty() {
        blocks.push(Block::Text("Keys that the catalogue suggests; traffic may refute them:".to_owned()));
        let said = report.hypotheses.iter();
        let said = said.map(|h| format!("{} (confidence {:.2}): {}", h.key, h.confidence, h.because));
        blocks.push(Block::List(said.collect()));
    }
    if !report.candidates.is_empty() {
        let head = vec![
            ("key", false),
            ("cross", true),
            ("writes cross", true),
            ("skew", true),
            ("tables keyed", true),
            ("everywhere", true),
            ("cost", true),
            ("verdict", false),
            ("because", false),
        ];
        let rows = report.candidates.iter().map(|candidate| self::candidate(report, candidate)).collect();
        blocks.push(Block::Text(format!(
            "Keys, for {} partitions. Cross is the share of transactions that need several partitions, skew the load of the \
             busiest by the mean, cost all of it in one number.",
            report.partitions
        )));
        blocks.push(Block::Table(Rows { head, rows }));
    }
    if let Some(forecast) = report.forecast.as_ref().filter(|_| report.verdict.verdict == Word::Partition) {
        blocks.push(Block::Text(
            "Forecast of the best design, with 95 % intervals where they are known:".to_owned(),
        ));
        blocks.push(Block::Table(forecast_table(forecast)));
    }
    if report.verdict.verdict == Word::Partition {
        let head = vec![
            ("table", false),
            ("context", false),
            ("rows are", false),
            ("load", true),
            ("confidence", true),
            ("tie", false),
        ];
        let rows = report.tables.iter().map(table).collect();
        blocks.push(Block::Table(Rows { head, rows }));
    }
    Section { title: "Keys", of: KEYS, blocks }
}

fn candidate(report: &Report, candidate: &Candidate) -> Vec<String> {
    let standing = match candidate.standing {
        Standing::Recommended => "recommended",
        Standing::Tie => "a tie",
        Standing::Possible => "possible",
        Standing::No => "no",
    };
    vec![
        candidate.keys.clone(),
        percent(candidate.metrics.cross_partition_share),
        percent(candidate.metrics.cross_partition_write_share),
        format!("{:.2}", candidate.metrics.load_max_over_mean),
        format!("{}/{}", candidate.keyed, report.evidence.tables),
        candidate.everywhere.to_string(),
        format!("{:.3}", candidate.metrics.cost),
        standing.to_owned(),
        candidate.because.clone().unwrap_or_default(),
    ]
}

fn table(said: &TableSaid) -> Vec<String> {
    vec![
        said.table.clone(),
        said.context.clone().unwrap_or_else(|| "cross-cutting".to_owned()),
        place(&said.place),
        percent(said.load),
        said.confidence.map_or_else(|| "?".to_owned(), |sure| format!("{sure:.2}")),
        said.tie.clone().unwrap_or_default(),
    ]
}

/// Where rows are, in words.
pub fn place(place: &PlaceSaid) -> String {
    match place {
        PlaceSaid::By { columns, derived: None } => format!("by {}", columns.join(", ")),
        PlaceSaid::By { columns, derived: Some(from) } => {
            format!(
                "by {} (to be added, over {} from {}.{})",
                columns.join(", "),
                from.by,
                from.parent,
                from.column
            )
        }
        PlaceSaid::Everywhere => "in every partition".to_owned(),
        PlaceSaid::Alone => "in one place".to_owned(),
        PlaceSaid::Open => "where they are".to_owned(),
    }
}

fn forecast_table(forecast: &Forecast) -> Rows {
    let metrics = &forecast.metrics;
    let numbers: Vec<(&str, &str, Option<f64>, bool)> = vec![
        ("transactions that cross", "cross_partition_share", Some(metrics.cross_partition_share), true),
        (
            "transactions that write across",
            "cross_partition_write_share",
            Some(metrics.cross_partition_write_share),
            true,
        ),
        ("partitions per transaction", "partitions_per_txn", Some(metrics.partitions_per_txn), false),
        ("load of the busiest by the mean", "load_max_over_mean", Some(metrics.load_max_over_mean), false),
        (
            "the same in the worst tenth",
            "load_max_over_mean_worst_window",
            Some(metrics.load_max_over_mean_worst_window),
            false,
        ),
        (
            "statements that cannot be routed",
            "unroutable_statement_share",
            Some(metrics.unroutable_statement_share),
            true,
        ),
        (
            "rows written, by rows written once",
            "write_amplification",
            Some(metrics.write_amplification),
            false,
        ),
        ("bytes stored, by bytes stored once", "storage_factor", metrics.storage_factor, false),
        ("transactions over several contexts", "cross_context_share", metrics.cross_context_share, true),
        ("cost", "J", Some(metrics.cost), false),
    ];
    let rows = numbers.into_iter().filter_map(|(label, name, value, share)| {
        let write = |value: f64| if share { percent(value) } else { format!("{value:.3}") };
        let within = forecast.intervals.get(name);
        let within =
            within.map_or_else(String::new, |[low, high]| format!("{} to {}", write(*low), write(*high)));
        Some(vec![label.to_owned(), write(value?), within])
    });
    Rows { head: vec![("number", false), ("value", true), ("within", true)], rows: rows.collect() }
}

fn contexts(report: &Report) -> Section {
    let mut blocks = Vec::new();
    if let Some(said) = &report.contexts {
        let rows = said.contexts.iter().map(|(name, tables)| vec![name.clone(), tables.join(", ")]).collect();
        blocks.push(Block::Text(format!(
            "{}; {} of the transactions touch more than one, {} write to more than one.",
            counted(said.contexts.len(), "context", "contexts"),
            percent(said.crossing),
            percent(said.writes_crossing)
        )));
        blocks.push(Block::Table(Rows { head: vec![("context", false), ("tables", false)], rows }));
        if !said.cross_cutting.is_empty() {
            blocks.push(Block::Text(format!(
                "Cross-cutting, written to along with the tables of many contexts: {}.",
                said.cross_cutting.join(", ")
            )));
        }
        for merge in &said.merge {
            blocks.push(Block::Text(format!(
                "A distributed monolith: {} are said to be apart, and {} of their writing transactions write to several of \
                 them. Make them one.",
                merge.services.join(", "),
                percent(merge.share)
            )));
        }
        let others = said.alternatives.iter().map(|groups| {
            let groups: Vec<String> =
                groups.iter().map(|group| format!("{{{}}}", group.join(", "))).collect();
            groups.join(" ")
        });
        let others: Vec<String> = others.collect();
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
    if report.verdict.verdict == Word::Partition {
        if report.plan.families.iter().any(|family| family.tree.is_some()) {
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
    if let Some(floor) = &report.floor {
        let kinds: Vec<String> =
            floor.kinds.iter().map(|(kind, share)| format!("{kind} ({})", percent(*share))).collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) };
        blocks.push(Block::Text(format!(
            "No key removes it: {} of the transactions cross under every design that was found{kinds}.",
            percent(floor.share)
        )));
    }
    if !report.witnesses.is_empty() {
        let head =
            vec![("transaction", false), ("share", true), ("of it crosses", true), ("for example", false)];
        let rows = report.witnesses.iter().map(|witness| {
            let examples = witness.examples.join(" | ");
            vec![witness.kind.clone(), percent(witness.share), percent(witness.crossing), examples]
        });
        blocks.push(Block::Text("What still crosses under the best design:".to_owned()));
        blocks.push(Block::Table(Rows { head, rows: rows.collect() }));
    }
    if !report.counterfactuals.is_empty() {
        let head = vec![("if the rows of", false), ("were", false), ("cost", true), ("cross", true)];
        let rows = report.counterfactuals.iter().map(|other| {
            let cross = other.cross.map_or_else(String::new, percent);
            vec![other.table.clone(), other.instead.clone(), format!("{:.3}", other.cost), cross]
        });
        blocks.push(Block::Table(Rows { head, rows: rows.collect() }));
    }
    Section { title: "Why", of: KEYS, blocks }
}

fn before(report: &Report) -> Section {
    let mut blocks = Vec::new();
    if !report.columns_to_add.is_empty() {
        blocks.push(Block::Text("Tables that have to get the key first:".to_owned()));
        let said = report.columns_to_add.iter().map(|column| {
            let from = match &column.from {
                Carrier::Itself => "itself".to_owned(),
                Carrier::Under(own) => format!("its own {own}, under the name that all tables have"),
                Carrier::Through(from) => format!("{}.{}, over {}", from.parent, from.column, from.by),
            };
            format!("{}.{} from {from}", column.table, column.column)
        });
        blocks.push(Block::List(said.collect()));
        let steps: Vec<String> = report
            .columns_to_add
            .iter()
            .flat_map(|column| &column.steps)
            .map(|step| match &step.sql {
                Some(sql) => format!("-- {}\n{sql}", step.what),
                None => format!("-- {}", step.what),
            })
            .collect();
        if !steps.is_empty() {
            blocks.push(Block::Code(steps.join("\n")));
        }
    }
    if !report.unrouted.is_empty() {
        blocks.push(Block::Text("Statements that do not say where their rows are:".to_owned()));
        let head = vec![("statement", false), ("share", true), ("what helps", false)];
        let rows = report
            .unrouted
            .iter()
            .map(|one| vec![one.statement.clone(), percent(one.share), one.advice.clone()]);
        blocks.push(Block::Table(Rows { head, rows: rows.collect() }));
    }
    Section { title: "What has to be done before", of: KEYS, blocks }
}

fn lifecycle(report: &Report) -> Section {
    let mut blocks = Vec::new();
    if !report.lifecycles.is_empty() {
        let head = vec![
            ("table", false),
            ("by", false),
            ("a partition each", false),
            ("kept", true),
            ("because", false),
        ];
        let rows = report.lifecycles.iter().map(|one| {
            let keep = one.keep_days.map_or_else(|| "for good".to_owned(), |days| format!("{days} d"));
            vec![one.table.clone(), one.column.clone(), one.every.clone(), keep, one.because.clone()]
        });
        blocks.push(Block::Table(Rows { head, rows: rows.collect() }));
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
        blocks.push(Block::Text(format!("{}. {beside}", other.source).trim().to_owned()));
        blocks.push(Block::Table(forecast_table(&other.forecast)));
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
        blocks.push(Block::Text(drift.summary.clone()));
        let changes =
            drift.changes.iter().map(|c| format!("at {} of the time, {}: {}", percent(c.at), c.kind, c.what));
        let changes: Vec<String> = changes.collect();
        if !changes.is_empty() {
            blocks.push(Block::List(changes));
        }
        let moves: Vec<String> = drift
            .repartitions
            .iter()
            .map(|m| format!("from {} of the time on: {}", percent(m.at), m.what))
            .collect();
        if !moves.is_empty() {
            blocks.push(Block::Text("Moves that pay:".to_owned()));
            blocks.push(Block::List(moves));
        }
    }
    Section { title: "Drift", of: &[Advise::Drift], blocks }
}

fn missing(report: &Report) -> Section {
    let mut blocks = Vec::new();
    if !report.missing.is_empty() {
        let head = vec![("not known", false), ("it decides", false), ("how to have it", false)];
        let rows = report.missing.iter().map(|m| vec![m.what.clone(), m.decides.clone(), m.how.clone()]);
        blocks.push(Block::Table(Rows { head, rows: rows.collect() }));
    }
    Section { title: "What is not known", of: EVERY, blocks }
}

fn plan(report: &Report) -> Section {
    let mut blocks = Vec::new();
    if report.verdict.verdict == Word::Partition {
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
        if let Some(toml) = crate::advise::spec::snippet(report) {
            blocks.push(Block::Code(toml));
        }
        let accept =
            report.plan.accept.iter().map(|a| format!("{} from {:.3} to {:.3}", a.metric, a.least, a.most));
        let accept: Vec<String> = accept.collect();
        if !accept.is_empty() {
            blocks.push(Block::Text("To be measured after a switch:".to_owned()));
            blocks.push(Block::List(accept));
        }
    }
    Section { title: "Plan", of: KEYS, blocks }
}
