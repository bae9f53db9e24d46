//! What statements do with the columns of one table, and how often.

use std::collections::{BTreeMap, BTreeSet};

use crate::schema::{Schema, TableId};
use crate::sql::{Analysis, analyse};
use crate::trace::{Op, Trace};

/// A statement that finds all rows, or more rows than these, counts as if it found so many: what passes over a whole table
/// is rare, and nobody should decide by it how a row lies.
const ROWS_MAX: f64 = 1_000.0;

/// What one statement does with one table.
#[derive(Clone, Debug)]
pub struct Usage {
    /// The statement, by its place among the templates.
    pub template: usize,
    /// Whose runs say how often, by its place: its own, or those of what the write-ahead log shows of it.
    pub counted_by: usize,
    /// The share of those runs that are its own.
    pub share: f64,
    /// What happens to the rows.
    pub op: Op,
    /// The columns that it looks at in rows that are there: those that it gives or makes something of.
    pub read: BTreeSet<String>,
    /// The columns by which it chooses rows.
    pub filter: BTreeSet<String>,
    /// The columns that it sets in rows that are there.
    pub set: BTreeSet<String>,
    /// The columns that it gives a value in new rows.
    pub added: BTreeSet<String>,
    /// How many rows a run has to do with, on average.
    pub rows: f64,
    /// Whether it is known which columns it uses. If not, it is taken to use all of them.
    pub known: bool,
}

impl Usage {
    /// How often it ran, if all templates ran so often.
    pub fn runs(&self, runs: &[f64]) -> f64 {
        runs[self.counted_by] * self.share
    }

    /// Whether it looks at a column in rows that are there.
    pub fn looks_at(&self, column: &str) -> bool {
        self.read.contains(column) || self.filter.contains(column)
    }
}

/// What all statements do with all tables.
pub struct Uses {
    /// Of each table, by its place.
    pub of: Vec<Vec<Usage>>,
    /// How often each statement ran, by its place among the templates.
    pub runs: Vec<f64>,
}

impl Uses {
    /// Reads the texts of all statements. What cannot be read, or is no text, is taken to use whole rows.
    pub fn of(schema: &Schema, trace: &Trace) -> Uses {
        let mut rows: BTreeMap<(usize, TableId), (f64, f64)> = BTreeMap::new();
        let mut runs = vec![0.0; trace.templates.len()];
        let accesses = trace.transactions.iter().flat_map(|transaction| trace.accesses_of(transaction));
        for access in accesses {
            let template = access.template as usize;
            runs[template] += if access.touch == 0 { 1.0 } else { 0.0 };
            let width = schema.table(access.table).keys.len();
            let found = match trace.rows_of(access, width) {
                Some(_) if width == 0 => 1.0,
                Some(rows) => rows.len() as f64,
                None => unbound(schema, trace, access),
            };
            let sum = rows.entry((template, access.table)).or_default();
            *sum = (sum.0 + found, sum.1 + 1.0);
        }
        let mut of = vec![Vec::new(); schema.tables.len()];
        for (template, said) in trace.templates.iter().enumerate().filter(|(place, _)| runs[*place] > 0.0) {
            let analysis = analyse(&said.text, schema).ok().filter(|analysis| !analysis.partly);
            let tables: BTreeSet<TableId> = said.touches.iter().map(|touch| touch.table).collect();
            for table in tables {
                let (sum, count) = rows.get(&(template, table)).copied().unwrap_or((1.0, 1.0));
                let rows = (sum / count).clamp(1.0, ROWS_MAX);
                let ops = said.touches.iter().filter(|touch| touch.table == table).map(|touch| touch.op);
                for op in ops.collect::<BTreeSet<Op>>() {
                    of[table.0].push(usage(schema, analysis.as_ref(), template, table, op, rows));
                }
            }
        }
        let mut uses = Uses { of, runs };
        uses.name_logged(schema, trace);
        uses
    }

    /// The write-ahead log shows that rows were changed, and not by which statement. Statements that were counted, and are
    /// in no transaction, are those that did it, each as often as its share of the calls says.
    fn name_logged(&mut self, schema: &Schema, trace: &Trace) {
        for table in schema.ids() {
            let own = &mut self.of[table.0];
            let logged = own.iter().position(|usage| usage.op == Op::Update && !usage.known);
            let Some(logged) = logged.map(|place| own[place].clone()) else { continue };
            let counted: Vec<(Usage, f64)> = (0..trace.templates.len())
                .filter(|place| self.runs[*place] == 0.0)
                .filter_map(|place| Some((place, trace.templates[place].calls.filter(|calls| *calls > 0)?)))
                .filter_map(|(place, calls)| {
                    let updates =
                        |touch: &crate::trace::Touch| touch.table == table && touch.op == Op::Update;
                    trace.templates[place].touches.iter().find(|touch| updates(touch))?;
                    let analysis = analyse(&trace.templates[place].text, schema).ok().filter(|a| !a.partly);
                    Some((usage(schema, analysis.as_ref(), place, table, Op::Update, 1.0), calls as f64))
                })
                .collect();
            let calls: f64 = counted.iter().map(|(_, calls)| calls).sum();
            if calls <= 0.0 {
                continue;
            }
            own.retain(|usage| usage.template != logged.template || usage.op != Op::Update);
            let named = counted.into_iter().map(|(usage, own_calls)| Usage {
                counted_by: logged.template,
                share: own_calls / calls,
                rows: logged.rows,
                ..usage
            });
            own.extend(named);
        }
    }
}

/// How many rows a statement finds of which nobody knows which: all, if it has no condition.
fn unbound(schema: &Schema, trace: &Trace, access: &crate::trace::Access) -> f64 {
    let touch = &trace.templates[access.template as usize].touches[access.touch as usize];
    match touch.equal.is_empty() && touch.one_of.is_empty() && touch.range.is_empty() {
        true => schema.table(access.table).rows.map_or(1.0, |rows| rows as f64),
        false => 1.0,
    }
}

fn usage(
    schema: &Schema,
    analysis: Option<&Analysis>,
    template: usize,
    table: TableId,
    op: Op,
    rows: f64,
) -> Usage {
    let mut usage = Usage {
        template,
        counted_by: template,
        share: 1.0,
        op,
        read: BTreeSet::new(),
        filter: BTreeSet::new(),
        set: BTreeSet::new(),
        added: BTreeSet::new(),
        rows,
        known: false,
    };
    let touches = analysis.into_iter().flat_map(|analysis| &analysis.touches);
    for touched in touches.filter(|touched| touched.table == table && touched.op == op) {
        usage.known = true;
        usage.read.extend(touched.uses.read.iter().cloned());
        usage.filter.extend(touched.uses.filter.iter().cloned());
        usage.set.extend(touched.uses.set.iter().cloned());
        usage.added.extend(touched.uses.added.iter().cloned());
    }
    // Whatever a row is made of, or taken away by, it is made or taken away as a whole.
    if matches!(op, Op::Insert | Op::Delete) {
        usage.known = true;
    }
    if !usage.known {
        let all = || schema.table(table).columns.keys().cloned().collect();
        match op {
            Op::Read => usage.read = all(),
            Op::Update => (usage.read, usage.set) = (all(), all()),
            Op::Insert | Op::Delete => {}
        }
    }
    usage
}
