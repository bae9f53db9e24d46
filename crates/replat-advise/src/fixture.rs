//! Recorded evidence in its portable form: a workload's description, the sizes of its tables, and its transactions.
//!
//! Every reader takes text and gives values; files and their compression are the caller's.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::schema::{Derived, KeyColumn, Reference, Schema, Table, TableId};
use crate::system::Constraints;
use crate::trace::{Access, Column, Op, Template, Touch, Trace, Transaction};
use crate::value::{Value, ValueId};

/// Why evidence cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadEvidence {
    /// It is not what it should be.
    #[error("{what}, line {line}: {why}")]
    Text {
        /// What was read.
        what: &'static str,
        /// The line, from 1.
        line: usize,
        /// Why it is not understood.
        why: String,
    },
    /// A transaction does what the workload does not know.
    #[error("transaction {line} does not fit the workload: {why}")]
    Misfit {
        /// The transaction's line, from 1.
        line: usize,
        /// What does not fit.
        why: String,
    },
    /// The workload contradicts itself.
    #[error("the workload contradicts itself: {0}")]
    Contradiction(String),
    /// Of all that was given, nothing can be read.
    #[error("there is no evidence: {0}")]
    Nothing(String),
}

/// A description of a workload.
#[derive(Debug, Deserialize)]
struct Workload {
    format: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    partitions: Option<u32>,
    #[serde(default)]
    constraints: Constraints,
    #[serde(default)]
    services: BTreeMap<String, Vec<String>>,
    tables: BTreeMap<String, WorkloadTable>,
    #[serde(default)]
    statements: Vec<WorkloadStatement>,
}

#[derive(Debug, Deserialize)]
struct WorkloadTable {
    #[serde(default)]
    pk: Vec<String>,
    #[serde(default)]
    fks: Vec<(Vec<String>, String, Vec<String>)>,
    #[serde(default)]
    columns: BTreeMap<String, String>,
    #[serde(default)]
    key_columns: Vec<String>,
    #[serde(default)]
    derived_columns: BTreeMap<String, (String, String, String)>,
}

#[derive(Debug, Deserialize)]
struct WorkloadStatement {
    id: u32,
    #[serde(default)]
    name: String,
    #[serde(default)]
    sql: String,
    touch: Vec<WorkloadTouch>,
    #[serde(default)]
    joins: Vec<((String, String), (String, String))>,
}

#[derive(Debug, Deserialize)]
struct WorkloadTouch {
    table: String,
    op: String,
    #[serde(default)]
    eq: BTreeMap<String, Option<u32>>,
    #[serde(default, rename = "in")]
    among: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    range: BTreeMap<String, [Option<u32>; 2]>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TableStats {
    pub(crate) rows: Option<u64>,
    pub(crate) row_bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct TraceLine {
    t: f64,
    #[serde(default)]
    x: String,
    s: Vec<(u32, serde_json::Value, Vec<TouchedRows>)>,
}

/// The rows of one table that a statement touched; `None` if nobody knows which.
type TouchedRows = Option<Vec<Vec<serde_json::Value>>>;

/// What a workload's description says: its tables and statements, and how many partitions are wished for.
pub struct Described {
    /// The tables.
    pub schema: Schema,
    /// The statements; no transaction yet.
    pub trace: Trace,
    /// How many partitions, if it says so.
    pub partitions: Option<u32>,
    /// What it is called.
    pub name: String,
    /// What any design must keep to.
    pub constraints: Constraints,
    /// Groups of tables that are said to be services of their own.
    pub services: Vec<(String, Vec<String>)>,
    ids: HashMap<u32, u32>,
}

/// The format of a workload that is understood.
const FORMAT: &str = "advisor-workload/1";

/// Reads a workload's description (`workload.json`).
pub fn read_workload(text: &str) -> Result<Described, BadEvidence> {
    let workload: Workload = json("the workload", text)?;
    if workload.format != FORMAT {
        return Err(BadEvidence::Contradiction(format!(
            "its format is {:?}, and {FORMAT:?} is understood",
            workload.format
        )));
    }
    let names: Vec<&String> = workload.tables.keys().collect();
    let find = |name: &str| names.iter().position(|n| *n == name).map(TableId);
    let no_table = |by: &str, name: &str| {
        BadEvidence::Contradiction(format!("{by} speaks of table {name}, which is not there"))
    };
    let mut schema = Schema::default();
    for (name, table) in &workload.tables {
        let mut references = Vec::new();
        for (columns, parent, parent_columns) in &table.fks {
            let parent = find(parent).ok_or_else(|| no_table(&format!("table {name}"), parent))?;
            references.push(Reference {
                columns: columns.clone(),
                parent,
                parent_columns: parent_columns.clone(),
            });
        }
        let keys = table
            .key_columns
            .iter()
            .map(|column| KeyColumn {
                name: column.clone(),
                derived: table.derived_columns.get(column).map(|(by, parent, column)| Derived {
                    by: by.clone(),
                    parent: parent.clone(),
                    column: column.clone(),
                }),
            })
            .collect();
        schema.tables.push(Table {
            name: name.clone(),
            primary_key: table.pk.clone(),
            references,
            columns: table.columns.clone(),
            keys,
            ..Table::default()
        });
    }
    let mut trace = Trace::default();
    let mut ids = HashMap::new();
    for statement in workload.statements {
        let by = format!("statement {}", statement.id);
        let mut touches = Vec::new();
        for touch in statement.touch {
            let table = find(&touch.table).ok_or_else(|| no_table(&by, &touch.table))?;
            let op = op(&touch.op)
                .ok_or_else(|| BadEvidence::Contradiction(format!("{by} does {:?}", touch.op)))?;
            let one_of =
                touch.among.into_iter().map(|(column, bound)| (column, parameters(&bound))).collect();
            touches.push(Touch { table, op, equal: touch.eq, one_of, range: touch.range });
        }
        let column = |(table, name): (String, String)| {
            find(&table).map(|table| Column { table, name }).ok_or_else(|| no_table(&by, &table))
        };
        let mut joins = Vec::new();
        for (a, b) in statement.joins {
            joins.push((column(a)?, column(b)?));
        }
        let place = u32::try_from(trace.templates.len()).expect("fewer than 2^32 statements");
        if ids.insert(statement.id, place).is_some() {
            return Err(BadEvidence::Contradiction(format!("two statements are number {}", statement.id)));
        }
        let (name, text) = (statement.name, statement.sql);
        trace.templates.push(Template { name, text, touches, joins, calls: None });
    }
    Ok(Described {
        schema,
        trace,
        partitions: workload.partitions,
        name: workload.name,
        constraints: workload.constraints,
        services: workload.services.into_iter().collect(),
        ids,
    })
}

impl Described {
    /// Takes in the sizes of tables (`stats.json`). Tables that the workload has not got are passed over.
    pub fn read_stats(&mut self, text: &str) -> Result<(), BadEvidence> {
        let stats: BTreeMap<String, TableStats> = json("the statistics", text)?;
        for (name, stats) in stats {
            if let Some(table) = self.schema.find(&name) {
                let table = &mut self.schema.tables[table.0];
                table.rows = stats.rows;
                table.row_bytes = stats.row_bytes;
            }
        }
        Ok(())
    }

    /// Takes in transactions, a line each (`trace.jsonl`).
    pub fn read_trace<'l>(&mut self, lines: impl IntoIterator<Item = &'l str>) -> Result<(), BadEvidence> {
        let numbered = lines.into_iter().enumerate().map(|(number, line)| (number + 1, line));
        self.read_trace_lines(numbered.filter(|(_, line)| !line.trim().is_empty()))
    }

    /// Takes in transactions, each with the number of its line.
    pub(crate) fn read_trace_lines<'l>(
        &mut self,
        lines: impl IntoIterator<Item = (usize, &'l str)>,
    ) -> Result<(), BadEvidence> {
        let mut kinds: HashMap<String, u32> = HashMap::new();
        for (number, line) in lines {
            let line: TraceLine = serde_json::from_str(line).map_err(|e| BadEvidence::Text {
                what: "the trace",
                line: number,
                why: e.to_string(),
            })?;
            self.take(line, &mut kinds).map_err(|why| BadEvidence::Misfit { line: number, why })?;
        }
        self.trace.transactions.sort_by(|a, b| a.at.total_cmp(&b.at));
        Ok(())
    }

    fn take(&mut self, line: TraceLine, kinds: &mut HashMap<String, u32>) -> Result<(), String> {
        if !line.t.is_finite() {
            return Err("its time is no number".to_owned());
        }
        let trace = &mut self.trace;
        let first = place(trace.accesses.len());
        for (statement, _, touched) in line.s {
            let template =
                *self.ids.get(&statement).ok_or_else(|| format!("there is no statement {statement}"))?;
            let touches = &trace.templates[template as usize].touches;
            if touches.len() != touched.len() {
                return Err(format!(
                    "statement {statement} touches {} tables, and here {}",
                    touches.len(),
                    touched.len()
                ));
            }
            for (number, (touch, rows)) in touches.iter().zip(touched).enumerate() {
                let width = self.schema.table(touch.table).keys.len();
                let rows = match rows {
                    None => None,
                    Some(rows) => {
                        let begin = place(trace.cells.len());
                        for row in rows {
                            if row.len() != width {
                                return Err(format!(
                                    "a row of {} has {} values, and the table {width} key columns",
                                    self.schema.table(touch.table).name,
                                    row.len()
                                ));
                            }
                            for value in &row {
                                let id: ValueId = trace.values.id(Value::of_json(value));
                                trace.cells.push(id);
                            }
                        }
                        Some(begin..place(trace.cells.len()))
                    }
                };
                trace.accesses.push(Access {
                    template,
                    touch: place(number),
                    table: touch.table,
                    op: touch.op,
                    rows,
                });
            }
        }
        let kind = *kinds.entry(line.x.clone()).or_insert_with(|| {
            trace.kinds.push(line.x);
            place(trace.kinds.len() - 1)
        });
        trace.transactions.push(Transaction {
            at: line.t,
            kind,
            accesses: first..place(trace.accesses.len()),
        });
        Ok(())
    }
}

fn place(n: usize) -> u32 {
    u32::try_from(n).expect("evidence is bounded to fewer than 2^32 rows")
}

fn op(text: &str) -> Option<Op> {
    Some(match text {
        "r" => Op::Read,
        "i" => Op::Insert,
        "u" => Op::Update,
        "d" => Op::Delete,
        _ => return None,
    })
}

/// The parameters of a list: one that is an array, or several.
fn parameters(bound: &serde_json::Value) -> Vec<u32> {
    let number = |value: &serde_json::Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
    match bound {
        serde_json::Value::Array(all) => all.iter().filter_map(number).collect(),
        one => number(one).into_iter().collect(),
    }
}

fn json<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, BadEvidence> {
    serde_json::from_str(text).map_err(|e| BadEvidence::Text { what, line: e.line(), why: e.to_string() })
}
