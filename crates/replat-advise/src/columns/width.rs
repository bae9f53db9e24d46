//! How many bytes a row takes, column by column.

use std::collections::BTreeMap;

use crate::schema::Table;

/// What PostgreSQL keeps for a row besides its values: its header, padded, and its entry in the page. Unit: bytes.
pub const HEADER: f64 = 28.0;

/// A row that is longer has its longest values put out of line. Unit: bytes.
const IN_LINE_MAX: f64 = 2_000.0;

/// What stays in the row of a value that is out of line. Unit: bytes.
const POINTER: f64 = 18.0;

/// How wide columns are.
#[derive(Clone, Debug)]
pub struct Widths {
    /// What each column takes in the row. Unit: bytes.
    pub of: BTreeMap<String, f64>,
    /// Whether some of them are known by their type only.
    pub guessed: bool,
    /// Columns whose values lie out of line already, as far as that can be told.
    pub out_of_line: Vec<String>,
}

/// How wide a value of a type is.
enum Width {
    /// Always so wide.
    Fixed(f64),
    /// It depends on the value; by itself about so wide.
    Varying(f64),
}

impl Widths {
    /// By the statistics of the table, else by its types and what a whole row takes.
    pub fn of(table: &Table) -> Widths {
        let mut of: BTreeMap<String, f64> = BTreeMap::new();
        let mut varying: BTreeMap<&String, f64> = BTreeMap::new();
        for (name, data_type) in &table.columns {
            let width = match (table.column_bytes.get(name), by_type(data_type)) {
                (Some(bytes), _) => *bytes as f64,
                (None, Width::Fixed(bytes)) => bytes,
                (None, Width::Varying(bytes)) => {
                    varying.insert(name, bytes);
                    bytes
                }
            };
            of.insert(name.clone(), width);
        }
        if let Some(row) = table.row_bytes {
            let fixed: f64 = of.iter().filter(|(name, _)| !varying.contains_key(name)).map(|(_, b)| b).sum();
            let by_themselves: f64 = varying.values().sum();
            // However little is left, a value takes a byte.
            let left = (row as f64 - HEADER - fixed).max(varying.len() as f64);
            if by_themselves > 0.0 {
                for (name, bytes) in &varying {
                    of.insert((*name).clone(), bytes * left / by_themselves);
                }
            }
        }
        let mut out_of_line = Vec::new();
        // Statistics tell what lies in the row, so only guesses are put out of line here.
        let mut longest: Vec<&String> = varying.keys().copied().collect();
        longest.sort_by(|a, b| of[*b].total_cmp(&of[*a]).then_with(|| a.cmp(b)));
        for name in longest {
            if of.values().sum::<f64>() > IN_LINE_MAX && of[name] > POINTER {
                of.insert(name.clone(), POINTER);
                out_of_line.push(name.clone());
            }
        }
        for (name, bytes) in &table.column_bytes {
            let is_pointer = *bytes as f64 <= POINTER && *bytes >= 12;
            let is_long = table.columns.get(name).is_some_and(|data_type| is_document(data_type));
            if is_pointer && is_long {
                out_of_line.push(name.clone());
            }
        }
        out_of_line.sort();
        Widths { guessed: !varying.is_empty(), of, out_of_line }
    }
}

/// Types whose values are hardly ever short: where they take no more than a pointer does, they are pointers.
fn is_document(data_type: &str) -> bool {
    let name = data_type.to_ascii_lowercase();
    ["json", "xml", "bytea", "tsvector"].iter().any(|long| name.starts_with(long))
}

/// How wide a value is by its type, as the catalogue or a schema's text writes it.
fn by_type(data_type: &str) -> Width {
    use Width::{Fixed, Varying};
    let whole = data_type.trim().to_ascii_lowercase();
    if whole.ends_with("[]") {
        return Varying(60.0);
    }
    let (name, length) = match whole.split_once('(') {
        Some((name, rest)) => {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            (name.trim(), digits.parse::<u32>().ok().map(f64::from))
        }
        None => (whole.as_str(), None),
    };
    match name {
        "boolean" | "bool" | "\"char\"" => Fixed(1.0),
        "smallint" | "int2" | "smallserial" => Fixed(2.0),
        "integer" | "int" | "int4" | "serial" | "real" | "float4" | "date" | "oid" => Fixed(4.0),
        "uuid" | "interval" => Fixed(16.0),
        "numeric" | "decimal" | "money" | "inet" | "cidr" | "macaddr" => Fixed(8.0),
        "char" | "character" | "bpchar" => Fixed(length.unwrap_or(1.0) + 1.0),
        "varchar" | "character varying" => Varying((length.unwrap_or(64.0) / 2.0).clamp(4.0, 64.0)),
        "text" | "citext" => Varying(40.0),
        "json" | "jsonb" | "xml" | "bytea" | "tsvector" => Varying(400.0),
        "bigint" | "int8" | "bigserial" | "double precision" | "float8" | "float" => Fixed(8.0),
        _ if name.starts_with("timestamp") || name.starts_with("time") => Fixed(8.0),
        // An enumeration's label is a number; of other types nothing is known.
        _ => Varying(8.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[(&str, &str)], row_bytes: Option<u64>) -> Table {
        let columns = columns.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned()));
        Table { columns: columns.collect(), row_bytes, ..Table::default() }
    }

    #[test]
    fn what_statistics_say_goes_before_what_types_suggest() {
        let mut known = table(&[("a", "bigint"), ("b", "text"), ("c", "jsonb"), ("d", "char(3)")], Some(500));
        let guessed = Widths::of(&known);
        assert!(guessed.guessed);
        // What is left of the row goes to what varies, by its weight.
        assert!((guessed.of.values().sum::<f64>() + HEADER - 500.0).abs() < 1e-9, "{guessed:?}");
        assert!(guessed.of["c"] > 5.0 * guessed.of["b"] && guessed.of["a"] == 8.0 && guessed.of["d"] == 4.0);
        known.column_bytes = [("b", 11), ("c", 18)].map(|(name, n)| (name.to_owned(), n)).into();
        let measured = Widths::of(&known);
        assert!(!measured.guessed);
        assert_eq!((measured.of["b"], measured.of["c"]), (11.0, 18.0));
        assert_eq!(measured.out_of_line, ["c"]);
    }

    #[test]
    fn what_is_too_long_for_a_row_lies_out_of_line() {
        let long = table(&[("id", "bigint"), ("doc", "jsonb"), ("note", "text")], Some(9_000));
        let widths = Widths::of(&long);
        assert_eq!((widths.out_of_line.len(), widths.of["doc"]), (1, POINTER));
        assert!(widths.of.values().sum::<f64>() <= IN_LINE_MAX);
    }
}
