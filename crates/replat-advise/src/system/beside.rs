//! Transactions as the write-ahead log shows them, with what was probably read beside.
//!
//! The log shows no reads. But how often statements that read ran is counted; a statement that finds a row by its key, and a
//! written row that refers to such a row, are taken to belong together, as far as their numbers allow. Reads that ran equally
//! often for keys of one domain are taken to run together. All others stand alone, as often as they ran.

use std::collections::BTreeMap;

use super::build::{Builder, Executable, Written};
use super::make::Statements;
use super::pairs::together;
use crate::domain::domains;
use crate::evidence::{Change, Evidence, RowSeen};
use crate::schema::{Reference, Schema};
use crate::trace::Op;
use crate::value::Value;

/// Reads that stand alone are shown so many times at most, for each transaction that wrote.
const ALONE_MAX: f64 = 4.0;

/// A statement that reads one row, and a kind of written row that says which.
struct Beside<'s> {
    statement: &'s Executable,
    /// Of each parameter, the column that has its value.
    columns: Vec<Option<String>>,
    /// How often it runs beside one such row.
    share: f64,
    /// How much of the next time is due.
    due: f64,
}

/// Adds the transactions that wrote, and the reads.
pub(super) fn written(
    builder: &mut Builder<'_>,
    schema: &Schema,
    references: &[Vec<Reference>],
    evidence: &Evidence,
    statements: &Statements,
) {
    for row in evidence.writes.iter().flat_map(|writes| &writes.rows) {
        builder.learn_row(row);
    }
    let mut rows: BTreeMap<&str, u64> = BTreeMap::new();
    for row in evidence.writes.iter().flat_map(|writes| &writes.rows).filter(|row| row.op != Change::Delete) {
        *rows.entry(&row.table).or_default() += 1;
    }
    let scale = scale(evidence, statements);
    let mut beside: BTreeMap<&str, Vec<Beside<'_>>> = BTreeMap::new();
    let mut alone: Vec<(&Executable, f64)> = Vec::new();
    let by_key = ReadsByKey { schema, references, domains: domains(schema, &builder.trace) };
    let (mut reads, mut written) = (Vec::new(), Vec::new());
    for statement in &evidence.statements {
        let Some(executable) = statements.get(&statement.id) else { continue };
        let calls = statement.calls.unwrap_or(0);
        if executable.analysis.touches.iter().any(|touch| touch.op.writes()) {
            written.push(calls);
        } else {
            reads.push((executable, calls));
        }
    }
    let (groups, single) = together(schema, &by_key.domains, &reads, &written);
    for (executable, calls) in single.into_iter().map(|place| reads[place]) {
        let times = calls as f64 * scale;
        // Of several kinds of rows, the one of which there are about as many as the statement ran.
        let best = by_key
            .candidates(executable)
            .into_iter()
            .filter_map(|(table, columns)| Some((*rows.get(table)? as f64, table, columns)))
            .min_by(|a, b| (a.0 / times).ln().abs().total_cmp(&(b.0 / times).ln().abs()));
        match best {
            Some((count, table, columns)) if times > 0.0 && count > 0.0 => {
                let share = (times / count).min(1.0);
                alone.push((executable, times - share * count));
                let one = Beside { statement: executable, columns, share, due: 0.5 };
                beside.entry(table).or_default().push(one);
            }
            _ => alone.push((executable, times)),
        }
    }
    let finite = || evidence.writes.iter().filter(|writes| writes.at.is_finite());
    for writes in finite() {
        let runs = due(&mut beside, &writes.rows);
        let runs: Vec<(&Executable, &[Option<Value>])> =
            runs.iter().map(|(statement, parameters)| (*statement, parameters.as_slice())).collect();
        let written = builder.written(&writes.rows);
        builder.transaction(writes.at, None, &runs, written);
    }
    let begin = finite().map(|writes| writes.at).fold(f64::INFINITY, f64::min);
    let end = finite().map(|writes| writes.at).fold(begin, f64::max);
    let all = alone.iter().map(|(_, times)| times).sum::<f64>()
        + groups.iter().map(|group| group.calls * scale).sum::<f64>();
    let most = ALONE_MAX * evidence.writes.len() as f64;
    let fewer = if all > most { most / all } else { 1.0 };
    let moments = |times: f64| {
        // A number of times is small and positive.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let times = (times * fewer).round().max(0.0) as u32;
        (0..times).map(move |number| begin + (end - begin) * f64::from(number) / f64::from(times))
    };
    for (statement, times) in alone {
        for at in moments(times) {
            builder.transaction(at, None, &[(statement, &[])], Written::default());
        }
    }
    for group in groups {
        for at in moments(group.calls * scale) {
            let runs = group.run(builder);
            let runs: Vec<(&Executable, &[Option<Value>])> =
                runs.iter().map(|(statement, parameters)| (*statement, parameters.as_slice())).collect();
            builder.transaction(at, None, &runs, Written::default());
        }
    }
}

/// What runs beside these rows, with its parameters.
fn due<'s>(
    beside: &mut BTreeMap<&str, Vec<Beside<'s>>>,
    rows: &[RowSeen],
) -> Vec<(&'s Executable, Vec<Option<Value>>)> {
    let mut runs = Vec::new();
    for row in rows.iter().filter(|row| row.op != Change::Delete) {
        for beside in beside.get_mut(row.table.as_str()).into_iter().flatten() {
            beside.due += beside.share;
            if beside.due >= 1.0 {
                beside.due -= 1.0;
                let value = |column: &Option<String>| row.columns.get(column.as_ref()?).cloned();
                runs.push((beside.statement, beside.columns.iter().map(value).collect()));
            }
        }
    }
    runs
}

/// What share of the counted calls falls into the time of which there is a log.
fn scale(evidence: &Evidence, statements: &Statements) -> f64 {
    let logged: usize = evidence.writes.iter().map(|writes| writes.rows.len()).sum();
    let counted: u64 = evidence
        .statements
        .iter()
        .filter(|statement| {
            let touches =
                statements.get(&statement.id).map(|executable| executable.analysis.touches.as_slice());
            touches.is_some_and(|touches| touches.len() == 1 && touches[0].op.writes())
        })
        .map(|statement| statement.rows.or(statement.calls).unwrap_or(0))
        .sum();
    if counted == 0 { 1.0 } else { (logged as f64 / counted as f64).min(1.0) }
}

/// Finds what says which row a statement reads.
struct ReadsByKey<'a> {
    schema: &'a Schema,
    references: &'a [Vec<Reference>],
    domains: crate::domain::Domains,
}

impl ReadsByKey<'_> {
    /// The tables whose rows say which row the statement reads, and of each parameter the column that has its value.
    fn candidates(&self, statement: &Executable) -> Vec<(&str, Vec<Option<String>>)> {
        let [touch] = statement.analysis.touches.as_slice() else { return Vec::new() };
        if touch.op != Op::Read
            || touch.equal.is_empty()
            || !touch.one_of.is_empty()
            || !touch.range.is_empty()
        {
            return Vec::new();
        }
        let bound: Option<Vec<(&String, u32)>> =
            touch.equal.iter().map(|(column, operand)| Some((column, operand.parameter()?))).collect();
        let Some(bound) = bound else { return Vec::new() };
        let mut all = Vec::new();
        for table in self.schema.ids() {
            let columns: Option<Vec<(u32, String)>> = bound
                .iter()
                .map(|(column, number)| {
                    let own = if table == touch.table {
                        Some((*column).clone())
                    } else {
                        self.referring(table, touch.table, column)
                    };
                    Some((*number, own?))
                })
                .collect();
            let Some(columns) = columns else { continue };
            let highest = columns.iter().map(|(number, _)| *number).max().unwrap_or(0);
            let mut parameters = vec![None; highest as usize];
            for (number, column) in columns {
                parameters[number as usize - 1] = Some(column);
            }
            all.push((self.schema.table(table).name.as_str(), parameters));
        }
        all
    }

    /// The column of one table that has the values of another's: one that refers to it, or one of the same domain.
    fn referring(
        &self,
        table: crate::schema::TableId,
        parent: crate::schema::TableId,
        column: &str,
    ) -> Option<String> {
        let declared =
            self.references[table.0].iter().filter(|reference| reference.parent == parent).find_map(|r| {
                let place = r.parent_columns.iter().position(|theirs| theirs == column)?;
                Some(r.columns[place].clone())
            });
        let key = self.schema.table(parent).key(column)?;
        let domain = self.domains.of(parent, key);
        declared.or_else(|| {
            let keys = &self.schema.table(table).keys;
            let own =
                |place: &usize| keys[*place].derived.is_none() && self.domains.of(table, *place) == domain;
            (0..keys.len()).find(own).map(|place| keys[place].name.clone())
        })
    }
}
