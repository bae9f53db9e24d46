//! The rows that are laid out, as they come and as the search sees them.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::BadLayout;

/// The form of a description that is understood.
const FORMAT: &str = "advisor-layout/1";

/// A text column has at most so many values that are told apart; the rarest others count as one.
const CLASSES_MAX: usize = 512;

/// The values of a column, by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// Whole numbers; dates and times are numbers of days or seconds.
    Int(Vec<i64>),
    /// Everything else.
    Text(Vec<String>),
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Column::Int(all) => all.len(),
            Column::Text(all) => all.len(),
        }
    }
}

/// Rows, column by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    names: Vec<String>,
    columns: Vec<Column>,
}

/// What is wanted of a layout.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Wanted {
    /// The form of the description.
    format: String,
    /// The columns and their types, `int` or `text`.
    pub columns: BTreeMap<String, ColumnType>,
    /// Into how many blocks, each count on its own.
    pub blocks: Vec<usize>,
    /// How many rows a block has at least.
    #[serde(default = "one")]
    pub min_rows_per_block: usize,
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Whole numbers.
    Int,
    /// Text.
    Text,
}

fn one() -> usize {
    1
}

impl Wanted {
    /// Reads a description (`layout.json`).
    pub fn read(text: &str) -> Result<Wanted, BadLayout> {
        let wanted: Wanted = serde_json::from_str(text).map_err(|e| BadLayout::Text {
            what: "the description",
            line: e.line(),
            why: e.to_string(),
        })?;
        if wanted.format != FORMAT {
            return Err(BadLayout::Text {
                what: "the description",
                line: 1,
                why: format!("its format is {:?}, and {FORMAT:?} is understood", wanted.format),
            });
        }
        Ok(wanted)
    }
}

impl Rows {
    /// Puts columns together; all have the same length.
    pub fn new(columns: Vec<(String, Column)>) -> Result<Rows, BadLayout> {
        let rows = columns.first().map_or(0, |(_, column)| column.len());
        let mut all = Rows::default();
        for (name, column) in columns {
            if column.len() != rows {
                return Err(BadLayout::Rows(format!("column {name} has {} values of {rows}", column.len())));
            }
            if all.names.contains(&name) {
                return Err(BadLayout::Rows(format!("there are two columns {name}")));
            }
            all.names.push(name);
            all.columns.push(column);
        }
        Ok(all)
    }

    /// Reads rows as comma-separated values (RFC 4180) with the names of the columns in the first line.
    pub fn read(text: &str, types: &BTreeMap<String, ColumnType>) -> Result<Rows, BadLayout> {
        let mut records = records(text);
        let bad = |line: usize, why: String| BadLayout::Text { what: "the rows", line, why };
        let Some((_, names)) = records.next() else { return Err(bad(1, "there is no head".to_owned())) };
        let mut columns = Vec::new();
        for name in &names {
            columns.push(match types.get(name) {
                Some(ColumnType::Int) => Column::Int(Vec::new()),
                Some(ColumnType::Text) => Column::Text(Vec::new()),
                None => return Err(bad(1, format!("the type of column {name} is not told"))),
            });
        }
        for (line, record) in records {
            if record.len() != names.len() {
                return Err(bad(line, format!("{} values for {} columns", record.len(), names.len())));
            }
            for (column, value) in columns.iter_mut().zip(record) {
                match column {
                    Column::Text(all) => all.push(value),
                    Column::Int(all) => {
                        all.push(
                            value.trim().parse().map_err(|_| bad(line, "a value is no number".to_owned()))?,
                        );
                    }
                }
            }
        }
        Rows::new(names.into_iter().zip(columns).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.columns.first().map_or(0, Column::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.names.iter().position(|n| n == name).map(|place| &self.columns[place])
    }
}

/// The records of comma-separated text, each with the line that it begins on.
fn records(text: &str) -> impl Iterator<Item = (usize, Vec<String>)> + '_ {
    let mut rest = text.chars().peekable();
    let mut line = 1;
    std::iter::from_fn(move || {
        rest.peek()?;
        let first = line;
        let mut record = vec![String::new()];
        let mut quoted = false;
        while let Some(next) = rest.next() {
            let value = record.last_mut().expect("there is one");
            match next {
                '"' if quoted && rest.peek() == Some(&'"') => value.push(rest.next().expect("it was seen")),
                '"' if quoted => quoted = false,
                '"' if value.is_empty() => quoted = true,
                ',' if !quoted => record.push(String::new()),
                '\r' if !quoted && rest.peek() == Some(&'\n') => {}
                '\n' if !quoted => {
                    line += 1;
                    break;
                }
                other => {
                    line += usize::from(other == '\n');
                    value.push(other);
                }
            }
        }
        Some((first, record))
    })
    .filter(|(_, record)| record.len() > 1 || !record[0].is_empty())
}

/// Rows with each value as its rank among the values of its column.
pub(super) struct Ranked {
    pub rows: usize,
    pub columns: Vec<RankedColumn>,
}

/// A column, ranked.
pub(super) struct RankedColumn {
    pub name: String,
    pub ranks: Vec<u32>,
    pub values: RankedValues,
}

/// The values of a column in their order; a value's place is its rank.
pub(super) enum RankedValues {
    Ints(Vec<i64>),
    /// Where there are too many, the last rank stands for all others.
    Texts {
        known: Vec<String>,
        others: bool,
    },
}

impl Ranked {
    /// Ranks the values of `rows`. `asked` says how often queries ask for a text of a column.
    pub fn new(rows: &Rows, asked: &HashMap<(usize, &str), usize>) -> Ranked {
        let columns = rows.names.iter().zip(&rows.columns).enumerate();
        let columns = columns.map(|(place, (name, column))| match column {
            Column::Int(all) => {
                let mut values = all.clone();
                values.sort_unstable();
                values.dedup();
                let rank = |v: &i64| small(values.binary_search(v).expect("it is among them"));
                let ranks = all.iter().map(rank).collect();
                RankedColumn { name: name.clone(), ranks, values: RankedValues::Ints(values) }
            }
            Column::Text(all) => {
                let mut count: BTreeMap<&str, usize> = BTreeMap::new();
                for value in all {
                    *count.entry(value).or_default() += 1;
                }
                let others = count.len() > CLASSES_MAX;
                if others {
                    let mut kept: Vec<(&str, usize)> = count.into_iter().collect();
                    kept.sort_by_key(|(value, rows)| {
                        (
                            std::cmp::Reverse((asked.get(&(place, *value)).copied().unwrap_or(0), *rows)),
                            *value,
                        )
                    });
                    kept.truncate(CLASSES_MAX - 1);
                    count = kept.into_iter().collect();
                }
                let known: Vec<String> = count.keys().map(|value| (*value).to_owned()).collect();
                let rank = |v: &String| small(known.binary_search(v).unwrap_or(known.len()));
                let ranks = all.iter().map(rank).collect();
                RankedColumn { name: name.clone(), ranks, values: RankedValues::Texts { known, others } }
            }
        });
        Ranked { rows: rows.len(), columns: columns.collect() }
    }

    /// The column of this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

impl RankedValues {
    /// How many ranks there are.
    pub fn len(&self) -> usize {
        match self {
            RankedValues::Ints(all) => all.len(),
            RankedValues::Texts { known, others } => known.len() + usize::from(*others),
        }
    }
}

pub(super) fn small(n: usize) -> u32 {
    u32::try_from(n).expect("fewer than 2^32 rows")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_commas_and_lines_are_read_as_they_were_written() {
        let all: Vec<_> = records("a,b\r\n\"1,2\",\"say \"\"so\"\"\"\n\n\"two\nlines\",\nlast,x").collect();
        let want: [(usize, [&str; 2]); 4] =
            [(1, ["a", "b"]), (2, ["1,2", "say \"so\""]), (4, ["two\nlines", ""]), (6, ["last", "x"])];
        assert_eq!(all, want.map(|(line, record)| (line, record.map(str::to_owned).to_vec())));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(rows in prop::collection::vec(prop::collection::vec(".*", 2..3), 1..6)) {
            let quote = |value: &String| format!("\"{}\"", value.replace('"', "\"\""));
            let text: String =
                rows.iter().map(|row| row.iter().map(quote).collect::<Vec<_>>().join(",") + "\n").collect();
            let read: Vec<_> = records(&text).map(|(_, record)| record).collect();
            prop_assert_eq!(read, rows);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*", names in prop::collection::vec("[a-c]", 0..3)) {
            let types = names.into_iter().map(|name| (name, ColumnType::Int)).collect();
            drop(Rows::read(&text, &types));
            drop(Wanted::read(&text));
        }
    }
}
