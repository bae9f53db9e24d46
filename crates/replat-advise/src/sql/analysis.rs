//! What a statement touches, by which values, and what it says is equal.

use std::collections::{BTreeMap, BTreeSet};

use sqlparser::ast::Statement;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::lex::{Kind, pieces};
use super::scope::Reader;
use super::{NESTING_MAX, TEXT_MAX};
use crate::schema::{Schema, TableId};
use crate::trace::{Column, Op, Template, Touch};
use crate::value::Value;

/// What a column is compared with, or set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A parameter, by its number from 1.
    Parameter(u32),
    /// A constant.
    Constant(Value),
}

impl Operand {
    /// The number, if it is a parameter.
    pub fn parameter(&self) -> Option<u32> {
        match self {
            Operand::Parameter(number) => Some(*number),
            Operand::Constant(_) => None,
        }
    }
}

/// What a statement does with one table, each time that it names it.
#[derive(Clone, Debug)]
pub struct Touched {
    /// The table.
    pub table: TableId,
    /// What happens to its rows.
    pub op: Op,
    /// Columns that have one value in all rows.
    pub equal: BTreeMap<String, Operand>,
    /// Columns that have one of several values. A parameter may be an array of them.
    pub one_of: BTreeMap<String, Vec<Operand>>,
    /// Columns that are in a range, by its ends.
    pub range: BTreeMap<String, [Option<Operand>; 2]>,
    /// Of each row that is added, what its columns are set to.
    pub added: Vec<BTreeMap<String, Operand>>,
    /// What columns are set to in rows that were there before.
    pub set: BTreeMap<String, Operand>,
    /// The columns that it uses, and for what.
    pub uses: Uses,
}

/// The columns of a table that a statement uses; one may be used for several things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Those that it gives, puts in order, groups, or makes something of. Of a query inside only those that are used.
    pub read: BTreeSet<String>,
    /// Those that choose its rows, or join them to others.
    pub filter: BTreeSet<String>,
    /// Those that it sets in rows that were there before, also where an insert finds its row there.
    pub set: BTreeSet<String>,
    /// Those that it gives a value in new rows.
    pub added: BTreeSet<String>,
}

impl Uses {
    /// Those that it has to look at in rows that are there.
    pub fn looked_at(&self) -> impl Iterator<Item = &String> {
        self.read.union(&self.filter)
    }
}

/// A column of one of the touched tables, by the place of the touch.
pub type Joined = (usize, String);

/// What a statement does.
#[derive(Clone, Debug, Default)]
pub struct Analysis {
    /// The tables that it touches, in the order of its text.
    pub touches: Vec<Touched>,
    /// Columns that it says are equal.
    pub joins: Vec<(Joined, Joined)>,
    /// What it reads from that is no table of the schema: views, functions, the server's own tables.
    pub strangers: Vec<String>,
    /// Whether it has something in it of which it is not known which columns it uses.
    pub partly: bool,
}

/// Why a statement could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is longer than anything that is read.
    #[error("it is longer than {TEXT_MAX} bytes")]
    TooLong,
    /// Reading it would take too much of the stack.
    #[error("it has too many joins, operators or brackets within brackets")]
    TooDeep,
    /// The parser does not know it.
    #[error("{0}")]
    Unknown(String),
}

/// How deep the tree of a text may become, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Depth {
    /// Brackets within brackets.
    nesting: usize,
    /// Joins and set operations: the parser goes into each of them.
    links: usize,
    /// Signs and words that may bind two operands; a chain of them is a tree as deep as it is long.
    chain: usize,
}

impl Depth {
    fn of(text: &str) -> Depth {
        const LINKS: [&str; 5] = ["join", "union", "intersect", "except", "minus"];
        const CHAIN: [&str; 5] = ["and", "or", "not", "like", "ilike"];
        let (mut all, mut open) = (Depth::default(), 0_usize);
        for piece in pieces(text) {
            let is_one_of = |words: &[&str]| words.iter().any(|word| piece.text.eq_ignore_ascii_case(word));
            match piece.kind {
                Kind::Word if is_one_of(&LINKS) => all.links += 1,
                Kind::Word if is_one_of(&CHAIN) => all.chain += 1,
                Kind::Sign if matches!(piece.text, "(" | "[") => {
                    open += 1;
                    all.nesting = all.nesting.max(open);
                }
                Kind::Sign if matches!(piece.text, ")" | "]") => open = open.saturating_sub(1),
                Kind::Sign if !matches!(piece.text, "," | ";" | ".") => all.chain += 1,
                _ => {}
            }
        }
        all
    }

    fn is_within(self, limit: Depth) -> bool {
        self.nesting <= limit.nesting && self.links <= limit.links && self.chain <= limit.chain
    }
}

/// What is read on the stack of whoever asks: little enough for a build without optimisation, whose parser takes 75 KiB
/// for each level.
const USUAL: Depth = Depth { nesting: 8, links: 8, chain: 150 };
/// What is read on a stack of its own.
const MOST: Depth = Depth { nesting: NESTING_MAX, links: 64, chain: 2_000 };
/// That stack. Only what is used of it is ever taken. Unit: bytes.
const STACK: usize = 64 * 1024 * 1024;

/// Reads a statement.
///
/// # Errors
///
/// Of a text that is too long or too deep, or no statement that the parser knows.
pub fn analyse(text: &str, schema: &Schema) -> Result<Analysis, Unread> {
    if text.len() > TEXT_MAX {
        return Err(Unread::TooLong);
    }
    let depth = Depth::of(text);
    if depth.is_within(USUAL) {
        return read(text, schema);
    }
    if !depth.is_within(MOST) {
        return Err(Unread::TooDeep);
    }
    std::thread::scope(|scope| {
        let deep = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || read(text, schema));
        // Where no thread is to be had the statement is not read, and that is told like any other that is not.
        deep.map_or(Err(Unread::TooDeep), |deep| deep.join().expect("reading a statement does not panic"))
    })
}

fn read(text: &str, schema: &Schema) -> Result<Analysis, Unread> {
    let text = without_types_of_parameters(text);
    let statements = Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(NESTING_MAX)
        .try_with_sql(&text)
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| Unread::Unknown(error.to_string()))?;
    let mut reader = Reader::new(schema);
    for statement in &statements {
        if !matches!(statement, Statement::Explain { .. }) {
            reader.statement(statement);
        }
    }
    Ok(reader.done)
}

/// Types before a constant, which the server leaves when it takes the constant away: `interval $1` is no SQL any more.
fn without_types_of_parameters(text: &str) -> String {
    let all: Vec<_> = pieces(text).collect();
    let mut out = String::with_capacity(text.len());
    for (place, piece) in all.iter().enumerate() {
        let is_type = piece.kind == Kind::Word
            && ["interval", "date", "time", "timestamp", "timestamptz"]
                .iter()
                .any(|name| piece.text.eq_ignore_ascii_case(name));
        let next = all[place + 1..].iter().find(|piece| piece.kind != Kind::Blank);
        if !(is_type && next.is_some_and(|next| next.kind == Kind::Parameter)) {
            out.push_str(piece.text);
        }
    }
    out
}

impl Analysis {
    /// The statement, as transactions refer to it.
    pub fn template(&self, name: String, text: String) -> Template {
        let column =
            |(touch, name): &Joined| Column { table: self.touches[*touch].table, name: name.clone() };
        Template {
            name,
            text,
            touches: self.touches.iter().map(Touched::touch).collect(),
            joins: self.joins.iter().map(|(a, b)| (column(a), column(b))).collect(),
            calls: None,
        }
    }
}

impl Touched {
    pub(super) fn new(table: TableId, op: Op) -> Touched {
        Touched {
            table,
            op,
            equal: BTreeMap::new(),
            one_of: BTreeMap::new(),
            range: BTreeMap::new(),
            added: Vec::new(),
            set: BTreeMap::new(),
            uses: Uses::default(),
        }
    }

    /// What of it does not depend on values.
    fn touch(&self) -> Touch {
        let mut equal: BTreeMap<String, Option<u32>> =
            self.equal.iter().map(|(name, operand)| (name.clone(), operand.parameter())).collect();
        let mut one_of: BTreeMap<String, Vec<u32>> = self
            .one_of
            .iter()
            .map(|(name, operands)| (name.clone(), operands.iter().filter_map(Operand::parameter).collect()))
            .collect();
        if let [row] = self.added.as_slice() {
            equal.extend(row.iter().map(|(name, operand)| (name.clone(), operand.parameter())));
        } else {
            for row in &self.added {
                for (name, operand) in row {
                    one_of.entry(name.clone()).or_default().extend(operand.parameter());
                }
            }
        }
        let range = self
            .range
            .iter()
            .map(|(name, ends)| {
                (name.clone(), [0, 1].map(|end: usize| ends[end].as_ref().and_then(Operand::parameter)))
            })
            .collect();
        Touch { table: self.table, op: self.op, equal, one_of, range }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_statements_are_read_or_refused_and_never_overflow() {
        let schema = Schema::default();
        let brackets = |n: usize| format!("select {}1{}", "(".repeat(n), ")".repeat(n));
        let cases = [
            (format!("select * from t o{}", " join t o".repeat(60)), true),
            (format!("select * from t o{}", " join t o".repeat(80)), false),
            (format!("select 1{}", " union select 1".repeat(64)), true),
            (format!("select 1 where a = 1{}", " and a = 1".repeat(900)), true),
            (format!("select 1 where a = 1{}", " or a = 1".repeat(5_000)), false),
            (format!("select 1{}", " + 1".repeat(1_900)), true),
            (brackets(20), true),
            (brackets(5_000), false),
        ];
        for (sql, is_read) in cases {
            let said = analyse(&sql, &schema);
            let is_deep = matches!(said, Err(Unread::TooDeep));
            assert_eq!(!is_deep, is_read, "{}: {said:?}", &sql[..60.min(sql.len())]);
        }
    }
}
