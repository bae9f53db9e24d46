//! Evidence of any recorded form, from any number of files.

use std::collections::BTreeMap;

use super::lines::whole_lines;
use super::{
    ColumnSeen, Evidence, FORMAT, Logged, ReferenceSeen, StatementSeen, TableSeen, intent, read_evidence,
    read_log, read_schema, read_statements, read_wal,
};
use crate::fixture::{BadEvidence, Described, TableStats, read_workload};
use crate::value::Value;

/// A file: what it is called, and its text, without any compression.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Its name, with or without folders; a `.gz` at its end means nothing.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// Something that somebody who gave evidence should know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about: a file, or a table.
    pub about: String,
    /// What there is to know.
    pub says: String,
}

impl Note {
    pub(crate) fn new(about: &str, says: impl Into<String>) -> Note {
        Note { about: about.to_owned(), says: says.into() }
    }
}

/// What was read.
pub enum Known {
    /// A workload with all its transactions, and all the rows that they touch.
    Described(Box<Described>),
    /// Anything less.
    Seen(Box<Evidence>),
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Evidence,
    Workload,
    Schema,
    Stats,
    Statements,
    Log,
    Wal,
    Trace,
    Intent,
    /// Of use to others, or to nobody.
    Other,
}

/// Reads files of one system: evidence files, or the recorded forms `workload.json`, `trace.jsonl`, `stats.json`,
/// `schema.sql`, `pg_stat_statements.csv`, `wal.jsonl`, `log.jsonl` and a text of what the system is to be. What a file is
/// follows from what is in it, so names do not matter.
///
/// # Errors
///
/// If a file of one of these forms cannot be understood, or if there is none.
pub fn read(sources: &[Source]) -> Result<(Known, Vec<Note>), BadEvidence> {
    let mut notes = Vec::new();
    let mut of_form: BTreeMap<Form, Vec<(&str, &str)>> = BTreeMap::new();
    for source in sources {
        // Some editors and exports begin a text with the mark of its byte order, which says nothing.
        let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
        let form = form_of(&source.name, text)?;
        of_form.entry(form).or_default().push((&source.name, text));
    }
    for (name, _) in of_form.remove(&Form::Other).unwrap_or_default() {
        notes.push(Note::new(name, "it is no evidence of a form that is understood, and was not read"));
    }
    let mut take = |form: Form| of_form.remove(&form).unwrap_or_default();
    let (workloads, traces) = (take(Form::Workload), take(Form::Trace));
    let stats = take(Form::Stats);
    if let ([(_, workload)], false) = (workloads.as_slice(), traces.is_empty()) {
        let mut described = read_workload(workload)?;
        for (_, text) in &stats {
            described.read_stats(text)?;
        }
        for (name, text) in traces {
            let lines = whole_lines(name, text, &mut notes);
            described.read_trace_lines(lines)?;
        }
        let less = of_form
            .into_values()
            .flatten()
            .map(|(name, _)| Note::new(name, "the trace says more; it was not read"));
        notes.extend(less);
        return Ok((Known::Described(Box::new(described)), notes));
    }
    if let Some((name, _)) = traces.first() {
        return Err(BadEvidence::Contradiction(format!(
            "{name} is a trace, which is read together with the one workload that describes its statements, and {} of \
             those were given",
            workloads.len()
        )));
    }
    let mut evidence = Evidence::default();
    let mut parts: Vec<Evidence> = Vec::new();
    for (_, text) in workloads {
        parts.push(undescribed(&read_workload(text)?));
    }
    for (name, text) in take(Form::Evidence) {
        let (part, more) = read_evidence(name, text)?;
        notes.extend(more);
        parts.push(part);
    }
    for (name, text) in take(Form::Schema) {
        let (tables, more) = read_schema(name, text);
        notes.extend(more);
        parts.push(Evidence { tables, ..Evidence::default() });
    }
    for (name, text) in take(Form::Statements) {
        let (statements, more) = read_statements(name, text)?;
        notes.extend(more);
        parts.push(Evidence { statements, ..Evidence::default() });
    }
    for (name, text) in take(Form::Log) {
        let Logged { statements, transactions, notes: more } = read_log(name, text, &|value: Value| value)?;
        notes.extend(more);
        parts.push(Evidence { statements, transactions, ..Evidence::default() });
    }
    for (name, text) in take(Form::Wal) {
        let (writes, more) = read_wal(name, text)?;
        notes.extend(more);
        parts.push(Evidence { writes, ..Evidence::default() });
    }
    for part in parts {
        let (merged, more) = evidence.merge(part);
        evidence = merged;
        notes.extend(more);
    }
    for (_, text) in stats {
        take_stats(&mut evidence, text, &mut notes)?;
    }
    for (_, text) in take(Form::Intent) {
        evidence.head.intent.extend(intent::sentences(text));
    }
    if evidence.tables.is_empty() && !evidence.writes.is_empty() {
        notes.push(Note::new("", "no file says which tables there are; they are taken from the write-ahead log, without their keys"));
        evidence.tables = tables_written(&evidence);
    }
    if evidence.tables.is_empty() {
        return Err(BadEvidence::Nothing(match sources.len() {
            0 => "no file was given".to_owned(),
            _ => "no file says which tables there are".to_owned(),
        }));
    }
    FORMAT.clone_into(&mut evidence.head.format);
    Ok((Known::Seen(Box::new(evidence)), notes))
}

/// What a file is, by its beginning.
fn form_of(name: &str, text: &str) -> Result<Form, BadEvidence> {
    let name = name.trim_end_matches(".gz").to_ascii_lowercase();
    let file = name.rsplit(['/', '\\']).next().unwrap_or("");
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with('{') {
        let first = text.lines().next().unwrap_or("");
        if let Ok(line) = serde_json::from_str::<serde_json::Value>(first) {
            return form_of_line(file, &line);
        }
        // No value on its first line: one value over many lines, or one that was cut off.
        return Ok(match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) => form_of_value(file, &value),
            Err(_) if text.contains("\"advisor-workload/") || file == "workload.json" => Form::Workload,
            Err(_) if file == "stats.json" => Form::Stats,
            Err(error) if file.ends_with(".jsonl") || file.ends_with(".json") => {
                return Err(BadEvidence::Text {
                    what: "a file of JSON",
                    line: error.line(),
                    why: format!("{file}: {error}"),
                });
            }
            Err(_) => Form::Other,
        });
    }
    let first = text.lines().next().unwrap_or("").to_ascii_lowercase();
    let fields: Vec<&str> = first.split(',').map(|field| field.trim_matches([' ', '"', '\r'])).collect();
    Ok(if fields.contains(&"query") && fields.contains(&"calls") {
        Form::Statements
    } else if file.ends_with(".sql") {
        Form::Schema
    } else if (file.ends_with(".md") || file.ends_with(".txt")) && !file.starts_with("readme") {
        Form::Intent
    } else {
        Form::Other
    })
}

/// What a file of lines is, by its first one.
fn form_of_line(file: &str, line: &serde_json::Value) -> Result<Form, BadEvidence> {
    if let Some(format) = line.get("format").and_then(|format| format.as_str()) {
        if format == FORMAT {
            return Ok(Form::Evidence);
        }
        if format.starts_with("replat-evidence/") {
            return Err(BadEvidence::Text {
                what: "the evidence",
                line: 1,
                why: format!("its format is {format:?}, and {FORMAT:?} is understood"),
            });
        }
    }
    let has = |key: &str| line.get(key).is_some();
    Ok(if has("xid") && has("a") {
        Form::Wal
    } else if has("t") && has("s") {
        Form::Trace
    } else if has("message") || has("timestamp") {
        Form::Log
    } else {
        form_of_value(file, line)
    })
}

/// What a file of one value is.
fn form_of_value(file: &str, value: &serde_json::Value) -> Form {
    let format = value.get("format").and_then(|format| format.as_str()).unwrap_or("");
    let sizes = || {
        value.as_object().is_some_and(|tables| {
            !tables.is_empty()
                && tables
                    .values()
                    .all(|table| table.get("rows").is_some() || table.get("row_bytes").is_some())
        })
    };
    if format.starts_with("advisor-workload/") || file == "workload.json" {
        Form::Workload
    } else if format.is_empty() && sizes() {
        Form::Stats
    } else {
        Form::Other
    }
}

/// What a workload's description says, of which there are no transactions.
fn undescribed(described: &Described) -> Evidence {
    let mut evidence = Evidence::default();
    evidence.head.name.clone_from(&described.name);
    evidence.head.partitions = described.partitions;
    evidence.head.constraints = described.constraints.clone();
    evidence.head.services.clone_from(&described.services);
    for table in &described.schema.tables {
        let references = table.references.iter().map(|reference| ReferenceSeen {
            columns: reference.columns.clone(),
            parent: described.schema.table(reference.parent).name.clone(),
            parent_columns: reference.parent_columns.clone(),
        });
        let columns = table.columns.iter().map(|(name, data_type)| {
            let nullable = !table.primary_key.contains(name);
            (name.clone(), ColumnSeen { data_type: data_type.clone(), nullable, ..ColumnSeen::default() })
        });
        evidence.tables.push(TableSeen {
            name: table.name.clone(),
            columns: columns.collect(),
            primary_key: table.primary_key.clone(),
            references: references.collect(),
            ..TableSeen::default()
        });
    }
    evidence.statements = described
        .trace
        .templates
        .iter()
        .enumerate()
        .map(|(place, template)| StatementSeen {
            id: format!("workload {place}"),
            text: template.text.clone(),
            ..StatementSeen::default()
        })
        .collect();
    evidence
}

/// Takes in the sizes of tables.
fn take_stats(evidence: &mut Evidence, text: &str, notes: &mut Vec<Note>) -> Result<(), BadEvidence> {
    let stats: BTreeMap<String, TableStats> = serde_json::from_str(text).map_err(|e| BadEvidence::Text {
        what: "the statistics",
        line: e.line(),
        why: e.to_string(),
    })?;
    let places: BTreeMap<String, usize> =
        evidence.tables.iter().enumerate().map(|(place, table)| (table.name.clone(), place)).collect();
    for (name, stats) in stats {
        if let Some(place) = places.get(&name) {
            let table = &mut evidence.tables[*place];
            table.rows = stats.rows.or(table.rows);
            table.row_bytes = stats.row_bytes.or(table.row_bytes);
        } else {
            notes.push(Note::new(&name, "its size is told, but no file says that there is such a table"));
        }
    }
    Ok(())
}

/// The tables that somebody wrote to.
fn tables_written(evidence: &Evidence) -> Vec<TableSeen> {
    let mut all: BTreeMap<&str, TableSeen> = BTreeMap::new();
    for row in evidence.writes.iter().flat_map(|writes| &writes.rows) {
        let table = all
            .entry(&row.table)
            .or_insert_with(|| TableSeen { name: row.table.clone(), ..TableSeen::default() });
        for (column, value) in &row.columns {
            let data_type = if matches!(value, Value::Int(_)) { "bigint" } else { "text" };
            table.columns.entry(column.clone()).or_insert_with(|| ColumnSeen {
                data_type: data_type.to_owned(),
                nullable: true,
                ..ColumnSeen::default()
            });
        }
    }
    all.into_values().collect()
}
