//! The order of rows in blocks: a tree of questions, such that queries by range and by list can pass over most blocks.
//!
//! A block is passed over when its least and greatest number, or its texts, exclude one condition of a query. The tree is
//! searched for on the queries that were seen and on others like them; what it will save is forecast from queries that
//! took no part in the search.

mod ground;
mod grow;
mod query;
mod rows;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use query::{Condition, Query, Test, read_queries};
pub use rows::{Column, ColumnType, Rows, Wanted};

use crate::design::Node;
use crate::search::Dice;
use crate::value::Value;
use ground::Ground;
use grow::{Effort, tree};

/// So often queries are drawn anew for an interval.
const RESAMPLES: usize = 400;

/// Queries take no part in the search in turns, so many.
const FOLDS: usize = 3;

/// What a made-up query weighs, by one that was seen.
const MADE_UP_WEIGHT: f64 = 0.25;

/// How much is searched for the answer, and how much for its forecast.
const THOROUGH: Effort = Effort { tried: 5, rounds: 40, rows: 6_000 };
const QUICK: Effort = Effort { tried: 1, rounds: 0, rows: 6_000 };

/// Why there is no layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLayout {
    /// Something is not what it should be.
    #[error("{what}, line {line}: {why}")]
    Text {
        /// What was read.
        what: &'static str,
        /// The line, from 1.
        line: usize,
        /// Why it is not understood.
        why: String,
    },
    /// The rows contradict themselves.
    #[error("the rows do not fit together: {0}")]
    Rows(String),
    /// There is nothing to lay out.
    #[error("there are no rows, so there is nothing to lay out")]
    NoRows,
    /// Nobody asks.
    #[error("there are no queries, so every order of the rows is as good as any other")]
    NoQueries,
    /// A query asks what the rows cannot answer.
    #[error("query {number} asks about {column}: {why}")]
    Query {
        /// The query's number, from 1.
        number: usize,
        /// The column.
        column: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// A layout and what it is good for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// The tree; its leaves are the blocks.
    pub tree: Node,
    /// How many blocks it makes.
    pub blocks: usize,
    /// The share of rows that a query reads, on average, of the queries that were seen.
    pub scanned: Estimate,
    /// The same of queries that are yet to come: measured on some that took no part in a quick search.
    pub forecast: Option<Estimate>,
    /// The share of rows that queries want: no layout can do better.
    pub wanted_share: f64,
    /// What simpler orders would read.
    pub baselines: Baselines,
    /// Of each kind of query, what it reads and wants; those that read most for nothing first.
    pub kinds: Vec<Kind>,
    /// How many queries want no row at all, as a range that ends before it begins does.
    pub empty_queries: usize,
}

/// A number and where it lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// From here.
    pub low: f64,
    /// To here.
    pub high: f64,
}

/// Shares of rows that simpler orders would read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// Rows in any order.
    pub any_order: f64,
    /// Rows in the order of one column, the best there is, cut evenly; `None` if no column is a number.
    pub by_column: Option<(String, f64)>,
}

/// A kind of query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// How many queries are of this kind.
    pub queries: usize,
    /// The share of rows that one reads, on average.
    pub scanned: f64,
    /// The share of rows that one wants, on average.
    pub wanted: f64,
    /// The query that reads most for nothing, by its number, from 1.
    pub worst: usize,
}

/// Finds a layout of `rows` in at most so many blocks, each of `rows_min` rows at least.
pub fn layout(rows: &Rows, queries: &[Query], blocks: usize, rows_min: usize) -> Result<Layout, BadLayout> {
    check(rows, queries)?;
    let tree = searched(rows, queries, blocks, rows_min, THOROUGH);
    let read = Blocks::of(rows, &tree);
    let shares: Vec<f64> = queries.iter().map(|query| read.share(query)).collect();
    let wanted: Vec<f64> = queries.iter().map(|query| wanted_share(rows, query)).collect();
    Ok(Layout {
        blocks: read.sizes.len(),
        tree,
        scanned: estimate(&shares),
        forecast: forecast(rows, queries, blocks, rows_min),
        wanted_share: mean(&wanted),
        baselines: baselines(rows, queries, blocks),
        kinds: kinds(queries, &shares, &wanted),
        empty_queries: wanted.iter().filter(|share| **share == 0.0).count(),
    })
}

/// The share of rows that each query reads under a tree.
pub fn scanned(rows: &Rows, tree: &Node, queries: &[Query]) -> Vec<f64> {
    let blocks = Blocks::of(rows, tree);
    queries.iter().map(|query| blocks.share(query)).collect()
}

/// The average of shares, and where it lies if other queries of the same kinds had come.
pub fn estimate(shares: &[f64]) -> Estimate {
    let mut dice = Dice(0xb007);
    let value = mean(shares);
    if shares.is_empty() {
        return Estimate { value, low: value, high: value };
    }
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn = (0..shares.len()).map(|_| shares[dice.below(shares.len() as u64) as usize]);
            drawn.sum::<f64>() / shares.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    Estimate { value, low: means[RESAMPLES / 40], high: means[RESAMPLES - 1 - RESAMPLES / 40] }
}

fn mean(all: &[f64]) -> f64 {
    if all.is_empty() { 0.0 } else { all.iter().sum::<f64>() / all.len() as f64 }
}

fn check(rows: &Rows, queries: &[Query]) -> Result<(), BadLayout> {
    if rows.is_empty() {
        return Err(BadLayout::NoRows);
    }
    if queries.is_empty() {
        return Err(BadLayout::NoQueries);
    }
    for (number, query) in queries.iter().enumerate() {
        for condition in &query.conditions {
            let why = match (rows.column(&condition.column), &condition.test) {
                (None, _) => "there is no such column",
                (Some(Column::Text(_)), Test::Between(..) | Test::Less(_) | Test::AtLeast(_)) => {
                    "it is text, which is not compared with numbers"
                }
                (Some(_), Test::LessThanColumn(other)) if rows.column(other).is_none() => {
                    "the column that it is compared with is not there"
                }
                _ => continue,
            };
            return Err(BadLayout::Query { number: number + 1, column: condition.column.clone(), why });
        }
    }
    Ok(())
}

fn searched(rows: &Rows, queries: &[Query], blocks: usize, rows_min: usize, effort: Effort) -> Node {
    let seen = queries.iter().map(|query| (query.clone(), 1.0));
    let made_up = query::made_up(queries, rows).into_iter().map(|query| (query, MADE_UP_WEIGHT));
    let weighed: Vec<(Query, f64)> = seen.chain(made_up).collect();
    let mut ground = Ground::new(rows, &weighed, rows_min);
    tree(&mut ground, blocks.max(1), effort).written(&ground, &mut 0)
}

/// What queries read that took no part in the search; `None` if there are too few to do without some.
fn forecast(rows: &Rows, queries: &[Query], blocks: usize, rows_min: usize) -> Option<Estimate> {
    if queries.len() < 4 * FOLDS {
        return None;
    }
    let mut shares = Vec::new();
    for fold in 0..FOLDS {
        let (mut seen, mut kept) = (Vec::new(), Vec::new());
        for (number, query) in queries.iter().enumerate() {
            if number % FOLDS == fold { &mut kept } else { &mut seen }.push(query.clone());
        }
        shares.extend(scanned(rows, &searched(rows, &seen, blocks, rows_min, QUICK), &kept));
    }
    Some(estimate(&shares))
}

fn wanted_share(rows: &Rows, query: &Query) -> f64 {
    (0..rows.len()).filter(|row| query.wants(rows, *row)).count() as f64 / rows.len() as f64
}

fn baselines(rows: &Rows, queries: &[Query], blocks: usize) -> Baselines {
    let read = |of: &[usize]| {
        let blocks = Blocks::new(rows, of);
        mean(&queries.iter().map(|query| blocks.share(query)).collect::<Vec<_>>())
    };
    let mut dice = Dice(0xa11);
    let any: Vec<usize> = (0..rows.len()).map(|_| dice.below(blocks.max(1) as u64) as usize).collect();
    let mut by_column: Option<(String, f64)> = None;
    for name in rows.names() {
        let Some(Column::Int(all)) = rows.column(name) else { continue };
        let mut sorted = all.clone();
        sorted.sort_unstable();
        let bounds: Vec<i64> = (1..blocks).map(|n| sorted[n * sorted.len() / blocks]).collect();
        let of: Vec<usize> = all.iter().map(|value| bounds.partition_point(|bound| bound <= value)).collect();
        let share = read(&of);
        if by_column.as_ref().is_none_or(|(_, least)| share < *least) {
            by_column = Some((name.clone(), share));
        }
    }
    Baselines { any_order: read(&any), by_column }
}

fn kinds(queries: &[Query], shares: &[f64], wanted: &[f64]) -> Vec<Kind> {
    let mut numbers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, query) in queries.iter().enumerate() {
        numbers.entry(&query.kind).or_default().push(number);
    }
    let idle = |number: &usize| shares[*number] - wanted[*number];
    let mut kinds: Vec<Kind> = numbers
        .into_iter()
        .map(|(name, numbers)| Kind {
            name: name.to_owned(),
            queries: numbers.len(),
            scanned: mean(&numbers.iter().map(|n| shares[*n]).collect::<Vec<_>>()),
            wanted: mean(&numbers.iter().map(|n| wanted[*n]).collect::<Vec<_>>()),
            worst: numbers.iter().max_by(|a, b| idle(a).total_cmp(&idle(b))).map_or(0, |n| n + 1),
        })
        .collect();
    let weight = |kind: &Kind| kind.queries as f64 * (kind.scanned - kind.wanted);
    kinds.sort_by(|a, b| weight(b).total_cmp(&weight(a)).then_with(|| a.name.cmp(&b.name)));
    kinds
}

/// Blocks of rows, with what is known of each.
struct Blocks {
    sizes: Vec<usize>,
    rows: usize,
    columns: BTreeMap<String, Summary>,
}

/// What is known of a column, by block.
enum Summary {
    Numbers(Vec<(i64, i64)>),
    Texts(Vec<std::collections::BTreeSet<String>>),
}

impl Blocks {
    fn of(rows: &Rows, tree: &Node) -> Blocks {
        let mut numbers = BTreeMap::new();
        let of: Vec<usize> = (0..rows.len())
            .map(|row| {
                let next = numbers.len();
                *numbers.entry(leaf(rows, row, tree)).or_insert(next)
            })
            .collect();
        Blocks::new(rows, &of)
    }

    fn new(rows: &Rows, of: &[usize]) -> Blocks {
        let n = of.iter().max().map_or(0, |last| last + 1);
        let mut sizes = vec![0; n];
        of.iter().for_each(|block| sizes[*block] += 1);
        let columns = rows.names().iter().filter_map(|name| {
            let summary = match rows.column(name)? {
                Column::Int(all) => {
                    let mut ends = vec![(i64::MAX, i64::MIN); n];
                    for (value, block) in all.iter().zip(of) {
                        ends[*block] = (ends[*block].0.min(*value), ends[*block].1.max(*value));
                    }
                    Summary::Numbers(ends)
                }
                Column::Text(all) => {
                    let mut texts = vec![std::collections::BTreeSet::new(); n];
                    for (value, block) in all.iter().zip(of) {
                        if !texts[*block].contains(value) {
                            texts[*block].insert(value.clone());
                        }
                    }
                    Summary::Texts(texts)
                }
            };
            Some((name.clone(), summary))
        });
        Blocks { sizes, rows: of.len(), columns: columns.collect() }
    }

    /// The share of rows in blocks that a query cannot pass over.
    fn share(&self, query: &Query) -> f64 {
        let read =
            (0..self.sizes.len()).filter(|block| query.conditions.iter().all(|c| self.may_have(*block, c)));
        read.map(|block| self.sizes[block]).sum::<usize>() as f64 / self.rows.max(1) as f64
    }

    fn may_have(&self, block: usize, condition: &Condition) -> bool {
        match (self.columns.get(&condition.column), &condition.test) {
            (Some(Summary::Numbers(ends)), test) => {
                let (least, most) = ends[block];
                match test {
                    Test::Between(from, to) => most >= *from && least <= *to,
                    Test::Less(than) => least < *than,
                    Test::AtLeast(at) => most >= *at,
                    Test::In(all) => {
                        all.iter().any(|v| matches!(v, Value::Int(v) if (least..=most).contains(v)))
                    }
                    Test::LessThanColumn(_) => true,
                }
            }
            (Some(Summary::Texts(texts)), Test::In(all)) => {
                all.iter().any(|v| matches!(v, Value::Text(text) if texts[block].contains(text)))
            }
            _ => true,
        }
    }
}

/// The leaf that a row is in.
fn leaf(rows: &Rows, row: usize, node: &Node) -> u32 {
    let value = |col: &str| match rows.column(col) {
        Some(Column::Int(all)) => Value::Int(all[row]),
        Some(Column::Text(all)) => Value::Text(all[row].clone()),
        None => Value::Null,
    };
    match node {
        Node::Leaf { leaf } => *leaf,
        Node::Less { col, lt, yes, no } => leaf(rows, row, if value(col) < *lt { yes } else { no }),
        Node::Among { col, among, yes, no } => {
            leaf(rows, row, if among.contains(&value(col)) { yes } else { no })
        }
        Node::Spread { base, .. } => *base,
    }
}
