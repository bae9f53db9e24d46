//! Queries as conditions on columns, and queries that were not seen but could have been.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::BadLayout;
use super::rows::{Column, Ranked, RankedValues, Rows, small};
use crate::search::Dice;
use crate::value::Value;

/// So many queries are made up for each that was seen…
const MADE_UP: usize = 4;

/// …but no more than this in all.
const MADE_UP_MAX: usize = 2400;

/// A query: all of its conditions hold of the rows that it wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// A name for its kind, for people.
    #[serde(rename = "q", default)]
    pub kind: String,
    /// Its conditions.
    #[serde(rename = "pred")]
    pub conditions: Vec<Condition>,
}

/// A condition on a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "(String, String, serde_json::Value)", into = "(String, String, serde_json::Value)")]
pub struct Condition {
    /// The column.
    pub column: String,
    /// What is asked of its value.
    pub test: Test,
}

/// What is asked of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// It is one of these.
    In(Vec<Value>),
    /// It is neither less than the first nor more than the second.
    Between(i64, i64),
    /// It is less.
    Less(i64),
    /// It is not less.
    AtLeast(i64),
    /// It is less than that of another column. No block can be passed over by it.
    LessThanColumn(String),
}

impl TryFrom<(String, String, serde_json::Value)> for Condition {
    type Error = String;

    fn try_from((column, op, value): (String, String, serde_json::Value)) -> Result<Condition, String> {
        let number = |value: &serde_json::Value| {
            // A bound between two whole numbers is met by the same numbers as the next one above.
            let ceiling = |f: f64| (f.abs() < 9e15).then_some(f.ceil() as i64);
            value.as_i64().or_else(|| value.as_f64().and_then(ceiling))
        };
        let all = value.as_array();
        let test = match op.as_str() {
            "in" => all.map(|all| Test::In(all.iter().map(Value::of_json).collect())),
            "between" => match all.map(Vec::as_slice) {
                Some([from, to]) => {
                    match (number(from), to.as_i64().or(to.as_f64().map(|f| f.floor() as i64))) {
                        (Some(from), Some(to)) => Some(Test::Between(from, to)),
                        _ => None,
                    }
                }
                _ => None,
            },
            "lt" => number(&value).map(Test::Less),
            "ge" => number(&value).map(Test::AtLeast),
            "colcmp" => value.as_str().map(|other| Test::LessThanColumn(other.to_owned())),
            _ => return Err(format!("there is no condition {op:?}")),
        };
        test.map(|test| Condition { column, test })
            .ok_or_else(|| format!("{op} of a value that does not fit"))
    }
}

impl From<Condition> for (String, String, serde_json::Value) {
    fn from(condition: Condition) -> Self {
        let (op, value) = match condition.test {
            Test::In(all) => ("in", serde_json::json!(all)),
            Test::Between(from, to) => ("between", serde_json::json!([from, to])),
            Test::Less(than) => ("lt", than.into()),
            Test::AtLeast(least) => ("ge", least.into()),
            Test::LessThanColumn(other) => ("colcmp", other.into()),
        };
        (condition.column, op.to_owned(), value)
    }
}

/// Reads queries, a line each.
pub fn read_queries(text: &str) -> Result<Vec<Query>, BadLayout> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|e| BadLayout::Text {
                what: "the queries",
                line: number + 1,
                why: e.to_string(),
            })
        })
        .collect()
}

impl Query {
    /// Whether it wants a row.
    pub fn wants(&self, rows: &Rows, row: usize) -> bool {
        self.conditions.iter().all(|condition| match (rows.column(&condition.column), &condition.test) {
            (Some(Column::Int(all)), test) => {
                let value = all[row];
                match test {
                    Test::In(among) => among.contains(&Value::Int(value)),
                    Test::Between(from, to) => (*from..=*to).contains(&value),
                    Test::Less(than) => value < *than,
                    Test::AtLeast(least) => value >= *least,
                    Test::LessThanColumn(other) => match rows.column(other) {
                        Some(Column::Int(others)) => value < others[row],
                        _ => true,
                    },
                }
            }
            (Some(Column::Text(all)), Test::In(among)) => {
                among.iter().any(|value| matches!(value, Value::Text(text) if *text == all[row]))
            }
            (Some(Column::Text(all)), Test::LessThanColumn(other)) => match rows.column(other) {
                Some(Column::Text(others)) => all[row] < others[row],
                _ => true,
            },
            _ => true,
        })
    }

    /// What it is but for its constants.
    fn shape(&self) -> Vec<(String, u8, String)> {
        let shape = |condition: &Condition| {
            let (op, other) = match &condition.test {
                Test::In(_) => (0, String::new()),
                Test::Between(..) => (1, String::new()),
                Test::Less(_) => (2, String::new()),
                Test::AtLeast(_) => (3, String::new()),
                Test::LessThanColumn(other) => (4, other.clone()),
            };
            (condition.column.clone(), op, other)
        };
        self.conditions.iter().map(shape).collect()
    }
}

/// A condition by ranks: what decides whether a block is read.
#[derive(Clone, Debug)]
pub(super) enum Needs {
    /// A rank within one of these, of this column.
    Ranks(usize, Vec<(i64, i64)>),
    /// One of these ranks of this text column, as bits.
    Bits(usize, Vec<u64>),
}

/// What a query needs of a block; `None` where it needs nothing that can be known.
pub(super) fn needs(query: &Query, ranked: &Ranked) -> Vec<Needs> {
    let mut all = Vec::new();
    for condition in &query.conditions {
        let Some(place) = ranked.find(&condition.column) else { continue };
        match (&ranked.columns[place].values, &condition.test) {
            (RankedValues::Ints(values), test) => {
                let below = |v: i64| values.partition_point(|x| *x < v) as i64;
                let upto = |v: i64| values.partition_point(|x| *x <= v) as i64 - 1;
                let within = match test {
                    Test::Between(from, to) => vec![(below(*from), upto(*to))],
                    Test::Less(than) => vec![(0, below(*than) - 1)],
                    Test::AtLeast(least) => vec![(below(*least), values.len() as i64)],
                    Test::In(among) => among
                        .iter()
                        .filter_map(
                            |v| if let Value::Int(v) = v { Some((below(*v), upto(*v))) } else { None },
                        )
                        .collect(),
                    Test::LessThanColumn(_) => continue,
                };
                all.push(Needs::Ranks(place, within));
            }
            (RankedValues::Texts { known, others }, Test::In(among)) => {
                let mut bits = vec![0_u64; (known.len() + 1).div_ceil(64)];
                for value in among {
                    let rank = known.binary_search(&value.text());
                    // What is not told apart may be among the others.
                    let Some(rank) = rank.ok().or((*others).then_some(known.len())) else { continue };
                    bits[rank / 64] |= 1 << (rank % 64);
                }
                all.push(Needs::Bits(place, bits));
            }
            _ => {}
        }
    }
    all
}

/// Queries of the same shapes that could have been asked as well, so that a layout serves more than what was seen.
///
/// A constant that recurs is drawn from those that were seen. The share of them that were seen once tells, by Good and
/// Turing, how likely one is that was not seen at all: so often it is shifted by about what lies between seen ones.
/// Constants that always differ by the same stay together; all others are drawn each for itself.
pub(super) fn made_up(queries: &[Query], rows: &Rows) -> Vec<Query> {
    let mut shapes: BTreeMap<Vec<(String, u8, String)>, Vec<&Query>> = BTreeMap::new();
    for query in queries {
        shapes.entry(query.shape()).or_default().push(query);
    }
    let each = MADE_UP.min(MADE_UP_MAX / queries.len().max(1));
    let mut dice = Dice(0x1a70);
    let mut all = Vec::new();
    for seen in shapes.values() {
        let groups = groups(seen);
        let news: Vec<Novelty> = groups.iter().map(|group| Novelty::of(seen, group[0], rows)).collect();
        for number in 0..seen.len() * each {
            let mut query = seen[number % seen.len()].clone();
            for (group, new) in groups.iter().zip(&news) {
                let from = seen[dice.below(seen.len() as u64) as usize];
                for place in group {
                    query.conditions[*place] = from.conditions[*place].clone();
                }
                new.apply(&mut query, group, &mut dice);
            }
            all.push(query);
        }
    }
    all
}

/// Places of conditions whose constants belong together.
fn groups(seen: &[&Query]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for place in 0..seen[0].conditions.len() {
        let joins = |first: usize| {
            let (a, b) = (|q: &Query| anchor(&q.conditions[first]), |q: &Query| anchor(&q.conditions[place]));
            let mut gaps: BTreeSet<i64> = BTreeSet::new();
            let mut values: BTreeSet<i64> = BTreeSet::new();
            for query in seen {
                match (&query.conditions[first].test, &query.conditions[place].test) {
                    (Test::In(a), Test::In(b)) if a == b => {}
                    _ => match (a(query), b(query)) {
                        (Some(a), Some(b)) => {
                            gaps.insert(b.saturating_sub(a));
                            values.insert(a);
                        }
                        _ => return false,
                    },
                }
            }
            seen.len() > 2 && gaps.len() <= 1 && (gaps.is_empty() || values.len() > 1)
        };
        match groups.iter().position(|group| joins(group[0])) {
            Some(group) => groups[group].push(place),
            None => groups.push(vec![place]),
        }
    }
    groups
}

/// The number by which a range is shifted.
fn anchor(condition: &Condition) -> Option<i64> {
    match &condition.test {
        Test::Between(from, _) => Some(*from),
        Test::Less(at) | Test::AtLeast(at) => Some(*at),
        _ => None,
    }
}

/// How constants come to be that were not seen.
struct Novelty {
    /// How likely one is. Unit: millionths.
    likely: u64,
    /// How far a range is shifted.
    reach: i64,
    /// The values of the column.
    values: Vec<Value>,
}

impl Novelty {
    fn of(seen: &[&Query], place: usize, rows: &Rows) -> Novelty {
        let mut count: HashMap<String, usize> = HashMap::new();
        let mut constants = 0;
        let mut anchors = BTreeSet::new();
        for query in seen {
            let condition = &query.conditions[place];
            match (&condition.test, anchor(condition)) {
                (Test::In(all), _) => {
                    constants += all.len();
                    all.iter().for_each(|value| *count.entry(value.text()).or_default() += 1);
                }
                (_, Some(anchor)) => {
                    constants += 1;
                    *count.entry(anchor.to_string()).or_default() += 1;
                    anchors.insert(anchor);
                }
                _ => {}
            }
        }
        let once = count.values().filter(|n| **n == 1).count();
        let gap = match (anchors.first(), anchors.last()) {
            (Some(first), Some(last)) => last.saturating_sub(*first) / anchors.len().max(2) as i64 * 2,
            _ => 0,
        };
        let mut values: Vec<Value> = match rows.column(&seen[0].conditions[place].column) {
            _ if !matches!(seen[0].conditions[place].test, Test::In(_)) => Vec::new(),
            Some(Column::Text(all)) => {
                all.iter().collect::<BTreeSet<_>>().into_iter().cloned().map(Value::Text).collect()
            }
            Some(Column::Int(all)) => {
                all.iter().collect::<BTreeSet<_>>().into_iter().copied().map(Value::Int).collect()
            }
            None => Vec::new(),
        };
        values.truncate(100_000);
        let likely = (1_000_000 * once / constants.max(1)) as u64;
        Novelty { likely, reach: gap.max(0), values }
    }

    fn apply(&self, query: &mut Query, group: &[usize], dice: &mut Dice) {
        if dice.below(1_000_000) >= self.likely {
            return;
        }
        let width = 2 * self.reach as u64 + 1;
        // Two throws: small shifts are likelier than big ones.
        let shift = (dice.below(width) as i64 + dice.below(width) as i64) / 2 - self.reach;
        let drawn: Vec<&Value> = match &query.conditions[group[0]].test {
            Test::In(all) if !self.values.is_empty() => {
                all.iter().map(|_| &self.values[dice.below(self.values.len() as u64) as usize]).collect()
            }
            _ => Vec::new(),
        };
        for place in group {
            match &mut query.conditions[*place].test {
                Test::Between(from, to) => {
                    *from = from.saturating_add(shift);
                    *to = to.saturating_add(shift);
                }
                Test::Less(at) | Test::AtLeast(at) => *at = at.saturating_add(shift),
                Test::In(all) if !drawn.is_empty() => *all = drawn.iter().map(|v| (*v).clone()).collect(),
                Test::In(_) | Test::LessThanColumn(_) => {}
            }
        }
    }
}

/// The ends of ranges that queries ask for, as ranks below which a cut could be.
pub(super) fn cut_points(queries: &[Query], ranked: &Ranked, place: usize) -> Vec<u32> {
    let mut all = BTreeSet::new();
    for query in queries {
        for need in needs(query, ranked) {
            if let Needs::Ranks(column, within) = need
                && column == place
            {
                for (from, to) in within {
                    all.extend([from, to + 1]);
                }
            }
        }
    }
    let most = ranked.columns[place].values.len();
    all.into_iter()
        .filter_map(|cut| usize::try_from(cut).ok())
        .filter(|c| *c > 0 && *c < most)
        .map(small)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(text in ".*") {
            drop(read_queries(&text));
        }
    }

    #[test]
    fn conditions_are_written_as_they_are_read() {
        let line = r#"{"q":"a","pred":[["x","between",[1,5]],["y","in",["A","B"]],["z","lt",4],["z","ge",2],["x","colcmp","z"]]}"#;
        let read = read_queries(line).expect("a query");
        assert_eq!(serde_json::to_string(&read[0]).expect("as text"), line);
        for bad in [
            r#"{"pred":[["x","like","a"]]}"#,
            r#"{"pred":[["x","between",[1]]]}"#,
            r#"{"pred":[["x","lt",{}]]}"#,
        ] {
            assert!(matches!(read_queries(bad), Err(BadLayout::Text { line: 1, .. })), "{bad}");
        }
    }

    #[test]
    fn constants_that_belong_together_stay_together() {
        let text: Vec<String> = (0..30)
            .map(|n| {
                let (at, region) = (n * 37 % 900, ["N", "S"][n % 2]);
                format!(
                    r#"{{"pred":[["a","lt",{at}],["b","ge",{}],["r","in",["{region}"]],["s","in",["{region}"]]]}}"#,
                    at + 1
                )
            })
            .collect();
        let queries = read_queries(&text.join("\n")).expect("queries");
        let numbers = Column::Int((0..1000).collect());
        let texts = Column::Text((0..1000).map(|n| ["N", "S", "W"][n % 3].to_owned()).collect());
        let columns = [("a", &numbers), ("b", &numbers), ("r", &texts), ("s", &texts)];
        let rows = Rows::new(columns.map(|(name, c)| (name.to_owned(), c.clone())).to_vec()).expect("rows");
        let made = made_up(&queries, &rows);
        assert!(!made.is_empty());
        let mut ats = BTreeSet::new();
        for query in &made {
            let (Test::Less(a), Test::AtLeast(b)) = (&query.conditions[0].test, &query.conditions[1].test)
            else {
                panic!("another shape: {query:?}")
            };
            assert_eq!(a + 1, *b);
            assert_eq!(query.conditions[2].test, query.conditions[3].test);
            ats.insert(*a);
        }
        // Every bound was seen once, so most of those that could come were not.
        assert!(ats.len() > 60, "{}", ats.len());
    }
}
