//! Answers of two servers to one request, small enough to be kept, and how they differ.

use bytes::Bytes;
use replat_wire::backend::{self, ErrorFields, TxStatus, tag};
use std::hash::{DefaultHasher, Hasher};

/// Types with a larger number were made in the database, and are numbered otherwise in another one.
const OWN_TYPES: u32 = 16_384;
/// RowDescription, EmptyQueryResponse, PortalSuspended.
const DESCRIPTION: u8 = b'T';
const EMPTY: u8 = b'I';
const SUSPENDED: u8 = b's';
/// How many bytes of rows are kept of one answer, if any are.
const KEPT_MAX: usize = 64 * 1024;

/// What a server has answered to one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    parts: Vec<Part>,
    /// A statement has begun to answer and has not ended.
    is_open: bool,
    keeps: bool,
    kept_bytes: usize,
}

/// The answer to one statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Part {
    /// `None` if nobody has asked for them.
    columns: Option<Vec<(Vec<u8>, u32)>>,
    rows: u64,
    /// The same for rows in whatever order.
    bag: [u64; 2],
    /// Another one in another order.
    line: u64,
    /// The end of it: the server's word, or an error's SQLSTATE.
    end: Vec<u8>,
    failed: bool,
    kept: Vec<Bytes>,
}

/// How two answers differ; the first of these that they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// One has an error, or another one.
    Error,
    /// They answer another number of statements, or end them otherwise.
    Statements,
    /// Names, types or number of columns.
    Columns,
    /// The number of rows.
    Rows,
    /// What is in them.
    Values,
    /// The same rows in another order, where the statement asks for one.
    Order,
}

impl Difference {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Difference::Error => "error",
            Difference::Statements => "statements",
            Difference::Columns => "columns",
            Difference::Rows => "rows",
            Difference::Values => "values",
            Difference::Order => "order",
        }
    }
}

/// What a message means for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    More,
    /// The answer is there as a whole.
    All,
    /// It cannot be compared.
    Unfit,
}

impl Answer {
    /// An answer that nothing has come of yet; with the rows themselves, as far as there is room for them.
    pub(crate) fn new(keeps: bool) -> Answer {
        Answer { keeps, ..Answer::default() }
    }

    /// Takes note of a whole message.
    pub(crate) fn hear(&mut self, kind: u8, body: &[u8]) -> Heard {
        match kind {
            DESCRIPTION => match columns(body) {
                Some(columns) => self.open().columns = Some(columns),
                None => return Heard::Unfit,
            },
            tag::DATA_ROW => {
                let hash = hashed(body);
                let keeps = self.keeps && self.kept_bytes + body.len() <= KEPT_MAX;
                self.kept_bytes += if keeps { body.len() } else { 0 };
                let part = self.open();
                part.rows += 1;
                part.bag[0] = part.bag[0].wrapping_add(hash);
                part.bag[1] = part.bag[1].wrapping_add(mixed(hash));
                part.line = mixed(part.line.rotate_left(7) ^ hash);
                if keeps {
                    part.kept.push(Bytes::copy_from_slice(body));
                }
            }
            tag::COMMAND_COMPLETE | EMPTY | SUSPENDED => {
                let end = if kind == tag::COMMAND_COMPLETE { backend::command(body) } else { &[kind] };
                self.open().end = end.to_vec();
                self.is_open = false;
            }
            tag::ERROR => {
                let part = self.open();
                part.end = ErrorFields::read(body).get(b'C').unwrap_or_default().into();
                part.failed = true;
                self.is_open = false;
            }
            tag::READY => {
                return match TxStatus::read(body) {
                    Some(TxStatus::Idle) => Heard::All,
                    _ => Heard::Unfit,
                };
            }
            tag::COPY_IN | tag::COPY_OUT | tag::COPY_BOTH => return Heard::Unfit,
            _ => {}
        }
        Heard::More
    }

    fn open(&mut self) -> &mut Part {
        if !self.is_open || self.parts.is_empty() {
            self.parts.push(Part::default());
            self.is_open = true;
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last]
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> u64 {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// The SQLSTATE of an error in it.
    pub(crate) fn sqlstate(&self) -> Option<String> {
        let failed = self.parts.iter().find(|part| part.failed)?;
        Some(String::from_utf8_lossy(&failed.end).into_owned())
    }

    /// It was broken off: by its client, by an operator, or for want of something.
    pub(crate) fn is_broken_off(&self) -> bool {
        self.sqlstate()
            .is_some_and(|state| ["57", "53", "40", "08"].iter().any(|class| state.starts_with(class)))
    }

    /// How `other` differs; with the order of rows, if that means something.
    pub(crate) fn difference(&self, other: &Answer, is_ordered: bool) -> Option<Difference> {
        let pairs = || self.parts.iter().zip(&other.parts);
        if self.sqlstate() != other.sqlstate() {
            return Some(Difference::Error);
        }
        if self.parts.len() != other.parts.len() {
            return Some(Difference::Statements);
        }
        if pairs().any(|(own, other)| !same_columns(own.columns.as_ref(), other.columns.as_ref())) {
            return Some(Difference::Columns);
        }
        if pairs().any(|(own, other)| own.rows != other.rows) {
            return Some(Difference::Rows);
        }
        if pairs().any(|(own, other)| own.end != other.end) {
            return Some(Difference::Statements);
        }
        if pairs().any(|(own, other)| own.bag != other.bag) {
            return Some(Difference::Values);
        }
        (is_ordered && pairs().any(|(own, other)| own.line != other.line)).then_some(Difference::Order)
    }

    /// The rows that are here and not in `other`, as far as both were kept; at most so many.
    pub(crate) fn rows_beyond(&self, other: &Answer, most: usize) -> Vec<Vec<Option<String>>> {
        let mut there: Vec<&Bytes> = other.parts.iter().flat_map(|part| &part.kept).collect();
        let mut beyond = Vec::new();
        for row in self.parts.iter().flat_map(|part| &part.kept) {
            match there.iter().position(|known| *known == row) {
                Some(at) => drop(there.swap_remove(at)),
                None if beyond.len() < most => {
                    let values = backend::row(row).unwrap_or_default();
                    beyond.push(values.into_iter().map(|value| value.map(shown)).collect());
                }
                None => {}
            }
        }
        beyond
    }
}

fn same_columns(own: Option<&Vec<(Vec<u8>, u32)>>, other: Option<&Vec<(Vec<u8>, u32)>>) -> bool {
    let same_type = |own: u32, other: u32| own == other || (own >= OWN_TYPES && other >= OWN_TYPES);
    match (own, other) {
        (Some(own), Some(other)) => {
            own.len() == other.len()
                && own.iter().zip(other).all(|(own, other)| own.0 == other.0 && same_type(own.1, other.1))
        }
        (own, other) => own.is_none() && other.is_none(),
    }
}

/// Names and types of a RowDescription.
fn columns(body: &[u8]) -> Option<Vec<(Vec<u8>, u32)>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let end = rest.iter().position(|byte| *byte == 0)?;
        let (name, after) = (&rest[..end], rest.get(end + 1..)?);
        // The table's and the column's number, the type; its size, its modifier, the format.
        let kind = u32::from_be_bytes(after.get(6..10)?.try_into().ok()?);
        rest = after.get(18..)?;
        columns.push((name.to_vec(), kind));
    }
    rest.is_empty().then_some(columns)
}

fn hashed(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Another number for each number, far from those of its neighbours.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn shown(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains('\0') => text.to_owned(),
        _ => value.iter().fold("\\x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[&str]) -> Vec<u8> {
        let mut body = u16::try_from(values.len()).expect("few").to_be_bytes().to_vec();
        for value in values {
            body.extend(u32::try_from(value.len()).expect("short").to_be_bytes());
            body.extend(value.as_bytes());
        }
        body
    }

    fn description(columns: &[(&str, u32)]) -> Vec<u8> {
        let mut body = u16::try_from(columns.len()).expect("few").to_be_bytes().to_vec();
        for (name, kind) in columns {
            body.extend(name.as_bytes());
            body.extend([0; 7]);
            body.extend(kind.to_be_bytes());
            body.extend([0; 8]);
        }
        body
    }

    fn answer(columns: &[(&str, u32)], rows: &[&[&str]]) -> Answer {
        let mut answer = Answer::new(true);
        assert_eq!(answer.hear(DESCRIPTION, &description(columns)), Heard::More);
        for values in rows {
            assert_eq!(answer.hear(tag::DATA_ROW, &row(values)), Heard::More);
        }
        assert_eq!(answer.hear(tag::COMMAND_COMPLETE, b"SELECT\0"), Heard::More);
        answer
    }

    fn failed(state: &str) -> Answer {
        let mut answer = Answer::new(false);
        let said = answer.hear(tag::ERROR, format!("SERROR\0C{state}\0\0").as_bytes());
        assert_eq!(said, Heard::More);
        answer
    }

    #[test]
    fn answers_differ_in_what_counts() {
        const AB: &[(&str, u32)] = &[("a", 20), ("b", 25)];
        let own = answer(AB, &[&["1", "x"], &["2", "y"], &["2", "y"]]);
        let rows = [
            ("the same", answer(AB, &[&["1", "x"], &["2", "y"], &["2", "y"]]), None, None),
            (
                "another order",
                answer(AB, &[&["2", "y"], &["1", "x"], &["2", "y"]]),
                None,
                Some(Difference::Order),
            ),
            (
                "how often a row is there",
                answer(AB, &[&["1", "x"], &["1", "x"], &["2", "y"]]),
                Some(Difference::Values),
                Some(Difference::Values),
            ),
            (
                "values in other columns",
                answer(AB, &[&["1x", ""], &["2", "y"], &["2", "y"]]),
                Some(Difference::Values),
                Some(Difference::Values),
            ),
            (
                "fewer",
                answer(AB, &[&["1", "x"], &["2", "y"]]),
                Some(Difference::Rows),
                Some(Difference::Rows),
            ),
            (
                "a name",
                answer(&[("a", 20), ("c", 25)], &[&["1", "x"], &["2", "y"], &["2", "y"]]),
                Some(Difference::Columns),
                Some(Difference::Columns),
            ),
            (
                "a type",
                answer(&[("a", 23), ("b", 25)], &[&["1", "x"], &["2", "y"], &["2", "y"]]),
                Some(Difference::Columns),
                Some(Difference::Columns),
            ),
            ("an error", failed("42P01"), Some(Difference::Error), Some(Difference::Error)),
        ];
        for (case, other, plain, ordered) in rows {
            assert_eq!(own.difference(&other, false), plain, "{case}");
            assert_eq!(own.difference(&other, true), ordered, "{case}, in order");
            assert_eq!(other.difference(&own, true), ordered, "{case}, the other way round");
        }
        assert_eq!(failed("42P01").difference(&failed("42P01"), true), None);
        assert_eq!(failed("42P01").difference(&failed("42703"), true), Some(Difference::Error));
        assert!(failed("57014").is_broken_off() && !failed("42P01").is_broken_off());
        // What was made in a database has another number in another one.
        let types = [answer(&[("a", 16_400)], &[]), answer(&[("a", 17_000)], &[])];
        assert_eq!(types[0].difference(&types[1], true), None);
    }

    #[test]
    fn statements_are_told_apart_and_the_end_is_known() {
        let mut two = answer(&[("a", 20)], &[&["1"]]);
        assert_eq!(two.hear(tag::DATA_ROW, &row(&["2"])), Heard::More);
        assert_eq!(two.hear(tag::COMMAND_COMPLETE, b"SELECT\0"), Heard::More);
        let one = answer(&[("a", 20)], &[&["1"], &["2"]]);
        assert_eq!(one.difference(&two, false), Some(Difference::Statements));
        assert_eq!((one.rows(), two.rows()), (2, 2));
        assert_eq!(two.hear(tag::READY, b"I"), Heard::All);
        assert_eq!(two.hear(tag::READY, b"T"), Heard::Unfit);
        assert_eq!(two.hear(tag::COPY_OUT, b""), Heard::Unfit);
        assert_eq!(two.hear(DESCRIPTION, b"\0\x01a"), Heard::Unfit);
    }

    #[test]
    fn rows_that_only_one_has_can_be_shown() {
        let own = answer(&[("a", 20)], &[&["1"], &["2"], &["2"]]);
        let other = answer(&[("a", 20)], &[&["2"], &["3"]]);
        assert_eq!(own.rows_beyond(&other, 9), [[Some("1".to_owned())], [Some("2".to_owned())]]);
        assert_eq!(own.rows_beyond(&other, 1).len(), 1);
        assert_eq!(other.rows_beyond(&own, 9), [[Some("3".to_owned())]]);
    }
}
