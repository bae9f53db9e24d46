//! What consumers rely on: queries of which both sides must give the same answer.
//!
//! A contract is a query with its parameters and with what its consumer counts on: columns, rows, their order, and how
//! long it may take. Both sides answer it, and [`broken`] says what no longer holds. Absent on purpose: a judgement of
//! rows that nobody could see at one moment. While blue is written to, an answer that did not stand still between two
//! looks is no evidence against green.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::{ColumnsPromise, OrderPromise, RowsPromise};

/// A contract as a deployment keeps it, with its query and the values that it is asked with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContractPlan {
    /// Its name in the spec.
    pub name: String,
    /// Who relies on it.
    pub consumer: String,
    /// The query, with `$1`, `$2` and so on.
    pub sql: String,
    /// The values, as text; `None` is null, of a partition that has no rows to take a value from.
    pub parameters: Vec<Option<String>>,
    /// What is promised of the columns.
    pub columns: ColumnsPromise,
    /// What is promised of the rows.
    pub rows: RowsPromise,
    /// What is promised of their order.
    pub order: OrderPromise,
    /// How long an answer may take, if that is promised. Unit: milliseconds.
    pub budget_ms: Option<u64>,
}

/// How long a query without a budget may take before it counts as one that never returns. Unit: milliseconds.
pub const ANSWER_MAX_MS: u64 = 30_000;

/// By how much the limit of an answer exceeds its budget, so that a slow answer can be told from none.
const PATIENCE: u64 = 10;

/// The same for a budget so long that `PATIENCE` would exceed [`ANSWER_MAX_MS`].
const PATIENCE_WITH_LONG_BUDGETS: u64 = 2;

/// How many rows of an answer are compared. An answer is held in memory, three times where it has to be asked again.
pub const ROWS_MAX: usize = 100_000;

impl ContractPlan {
    /// When the server is told to give the query up: after ten times its budget, but at least a second and at most
    /// the longer of [`ANSWER_MAX_MS`] and twice the budget. Unit: milliseconds.
    pub fn answer_max_ms(&self) -> u64 {
        let Some(budget) = self.budget_ms else { return ANSWER_MAX_MS };
        let most = budget.saturating_mul(PATIENCE_WITH_LONG_BUDGETS).max(ANSWER_MAX_MS);
        budget.saturating_mul(PATIENCE).clamp(1_000, most)
    }

    /// That an answer has more rows than are compared, where rows are promised.
    pub fn too_many(&self, answer: &Answer) -> Option<String> {
        let over = self.rows != RowsPromise::Ignore && answer.rows.len() > ROWS_MAX;
        over.then(|| {
            format!(
                "it has more than {ROWS_MAX} rows, which is more than are compared; ask for fewer, or for what they come \
                 to, or promise nothing of them (rows = \"ignore\")"
            )
        })
    }
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredColumn {
    /// Its name.
    pub name: String,
    /// Its type, as the server writes it, without a schema where it comes with the server.
    pub type_name: String,
}

/// What a side answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The columns.
    pub columns: Vec<AnsweredColumn>,
    /// The rows as text, in the order in which they came; one more than [`ROWS_MAX`] if there are more.
    pub rows: Vec<Vec<Option<String>>>,
    /// How long it took, to the last row. Unit: milliseconds.
    pub took_ms: u64,
}

/// What green's answer lacks of what blue's promises; `None` if the contract is kept.
///
/// Rows are compared in the columns that blue has: a superset may have more.
pub fn broken(contract: &ContractPlan, blue: &Answer, green: &Answer) -> Option<String> {
    columns_broken(contract.columns, blue, green)
        .or_else(|| rows_broken(contract, blue, green))
        .or_else(|| too_slow(contract, green))
}

fn columns_broken(promise: ColumnsPromise, blue: &Answer, green: &Answer) -> Option<String> {
    let named = |answer: &Answer| {
        let columns: Vec<String> =
            answer.columns.iter().map(|column| format!("{} {}", column.name, column.type_name)).collect();
        columns.join(", ")
    };
    let holds = match promise {
        ColumnsPromise::Exact => blue.columns == green.columns,
        ColumnsPromise::Superset => blue.columns.iter().all(|column| green.columns.contains(column)),
    };
    (!holds).then(|| format!("its columns were ({}) and are ({})", named(blue), named(green)))
}

fn rows_broken(contract: &ContractPlan, blue: &Answer, green: &Answer) -> Option<String> {
    if contract.rows == RowsPromise::Ignore {
        return None;
    }
    if let Some(what) = contract.too_many(blue).or_else(|| contract.too_many(green)) {
        return Some(what);
    }
    if blue.rows.len() != green.rows.len() {
        return Some(format!("it had {} rows and has {}", blue.rows.len(), green.rows.len()));
    }
    // Where each of blue's columns is on green; they are there, or the columns would have been found fault with.
    let places: Vec<usize> = blue
        .columns
        .iter()
        .filter_map(|column| green.columns.iter().position(|other| other == column))
        .collect();
    let seen = |row: &Vec<Option<String>>| -> Vec<Option<String>> {
        places.iter().map(|place| row.get(*place).cloned().flatten()).collect()
    };
    let mut was = blue.rows.clone();
    let mut is: Vec<_> = green.rows.iter().map(seen).collect();
    if contract.order == OrderPromise::Ignore {
        was.sort();
        is.sort();
    }
    let at = was.iter().zip(&is).position(|(was, is)| was != is)?;
    let mut sorted = (was.clone(), is.clone());
    sorted.0.sort();
    sorted.1.sort();
    // Values are not told: who may read a log need not be one who may read the rows.
    Some(match sorted.0 == sorted.1 {
        true => format!("its rows come in another order from row {} on", at + 1),
        false => {
            let other = was.iter().filter(|row| !is.contains(row)).count();
            format!("{} of its {} rows are not what they were", other.max(1), was.len())
        }
    })
}

fn too_slow(contract: &ContractPlan, green: &Answer) -> Option<String> {
    let budget = contract.budget_ms.filter(|budget| green.took_ms > *budget)?;
    Some(format!("it may take {budget} ms and took {} ms", green.took_ms))
}

/// What came of asking all contracts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The contracts that were kept, by name.
    pub kept: Vec<String>,
    /// Those whose rows were not compared, since blue's changed during every try.
    pub unsettled: Vec<String>,
    /// Those that were not kept.
    pub broken: Vec<Broken>,
}

/// A contract that is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// Its name.
    pub contract: String,
    /// Who relies on it.
    pub consumer: String,
    /// What does not hold, as a phrase.
    pub what: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract() -> ContractPlan {
        ContractPlan {
            name: "billing/open".into(),
            consumer: "billing".into(),
            sql: "select 1".into(),
            parameters: Vec::new(),
            columns: ColumnsPromise::Exact,
            rows: RowsPromise::Equal,
            order: OrderPromise::Ignore,
            budget_ms: Some(80),
        }
    }

    fn answer(columns: &[(&str, &str)], rows: &[&[&str]]) -> Answer {
        Answer {
            columns: columns
                .iter()
                .map(|(name, type_name)| AnsweredColumn {
                    name: (*name).into(),
                    type_name: (*type_name).into(),
                })
                .collect(),
            rows: rows.iter().map(|row| row.iter().map(|value| Some((*value).into())).collect()).collect(),
            took_ms: 5,
        }
    }

    const COLUMNS: &[(&str, &str)] = &[("id", "bigint"), ("total", "numeric")];

    #[test]
    fn a_contract_is_kept_or_it_is_said_what_is_not() {
        type Change = fn(&mut ContractPlan, &mut Answer);
        let cases: &[(&str, Change, Option<&str>)] = &[
            ("the same", |_, _| {}, None),
            ("another order, ignored", |_, green| green.rows.reverse(), None),
            (
                "another order",
                |contract, green| {
                    contract.order = OrderPromise::Exact;
                    green.rows.reverse();
                },
                Some("its rows come in another order from row 1 on"),
            ),
            ("a value", |_, green| green.rows[1][1] = None, Some("1 of its 3 rows are not what they were")),
            (
                "a value, ignored",
                |contract, green| {
                    contract.rows = RowsPromise::Ignore;
                    green.rows[1][1] = None;
                },
                None,
            ),
            ("a row less", |_, green| drop(green.rows.pop()), Some("it had 3 rows and has 2")),
            (
                "a type",
                |_, green| green.columns[1].type_name = "bigint".into(),
                Some("its columns were (id bigint, total numeric) and are (id bigint, total bigint)"),
            ),
            (
                "one column more",
                |_, green| {
                    green.columns.push(AnsweredColumn { name: "new".into(), type_name: "text".into() })
                },
                Some(
                    "its columns were (id bigint, total numeric) and are (id bigint, total numeric, new text)",
                ),
            ),
            (
                "one column more, in front, of a superset",
                |contract, green| {
                    contract.columns = ColumnsPromise::Superset;
                    green.columns.insert(0, AnsweredColumn { name: "new".into(), type_name: "text".into() });
                    green.rows.iter_mut().for_each(|row| row.insert(0, None));
                },
                None,
            ),
            (
                "a column less of a superset",
                |contract, green| {
                    contract.columns = ColumnsPromise::Superset;
                    green.columns.pop();
                },
                Some("its columns were (id bigint, total numeric) and are (id bigint)"),
            ),
            ("too slow", |_, green| green.took_ms = 81, Some("it may take 80 ms and took 81 ms")),
        ];
        for (case, change, want) in cases {
            let (mut contract, blue) =
                (contract(), answer(COLUMNS, &[&["1", "2.50"], &["2", "3"], &["2", "3"]]));
            let mut green = blue.clone();
            change(&mut contract, &mut green);
            assert_eq!(broken(&contract, &blue, &green).as_deref(), *want, "{case}");
        }
    }

    #[test]
    fn an_answer_is_waited_for_longer_than_its_budget() {
        let cases = [
            (None, 30_000),
            (Some(1), 1_000),
            (Some(200), 2_000),
            (Some(3_000), 30_000),
            (Some(15_000), 30_000),
            (Some(60_000), 120_000),
            (Some(u64::MAX), u64::MAX),
        ];
        for (budget_ms, want) in cases {
            assert_eq!(ContractPlan { budget_ms, ..contract() }.answer_max_ms(), want, "{budget_ms:?}");
        }
    }

    #[test]
    fn more_rows_than_can_be_compared_are_no_agreement() {
        let (mut contract, mut blue) = (contract(), answer(COLUMNS, &[]));
        blue.rows = vec![vec![Some("1".into()), None]; ROWS_MAX];
        assert_eq!(broken(&contract, &blue, &blue), None);
        blue.rows.push(vec![None, None]);
        let what = broken(&contract, &blue, &blue).expect("nobody saw the other rows");
        assert!(what.starts_with("it has more than 100000 rows"), "{what}");
        contract.rows = RowsPromise::Ignore;
        assert_eq!(broken(&contract, &blue, &blue), None);
    }
}
