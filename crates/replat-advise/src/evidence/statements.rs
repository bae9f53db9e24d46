//! Statements with their counters, as `COPY (SELECT … FROM pg_stat_statements) TO … (FORMAT csv, HEADER)` writes them.

use super::{Note, StatementSeen};
use crate::fixture::BadEvidence;

/// Reads `pg_stat_statements.csv`. Columns are found by their names; `query` and `calls` are needed.
///
/// # Errors
///
/// If one of those two is not there.
pub fn read_statements(name: &str, text: &str) -> Result<(Vec<StatementSeen>, Vec<Note>), BadEvidence> {
    let mut notes = Vec::new();
    let bad = |why: String| BadEvidence::Text { what: "the statements", line: 1, why };
    let mut records = Records { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
    let Some((_, head, _)) = records.next() else { return Ok((Vec::new(), notes)) };
    let column = |names: &[&str]| {
        head.iter().position(|field| names.iter().any(|name| field.trim().eq_ignore_ascii_case(name)))
    };
    let query = column(&["query"]).ok_or_else(|| bad("no column is called query".to_owned()))?;
    let calls = column(&["calls"]).ok_or_else(|| bad("no column is called calls".to_owned()))?;
    let id = column(&["queryid", "query_id"]);
    let rows = column(&["rows"]);
    let time = column(&["total_exec_time", "total_time", "total_exec_time_ms"]);
    let mut all: Vec<StatementSeen> = Vec::new();
    let mut unread = Vec::new();
    for (line, record, whole) in records {
        if record.len() == 1 && record[0].trim().is_empty() {
            continue;
        }
        let field = |place: Option<usize>| place.and_then(|place| record.get(place)).map(|text| text.trim());
        let counted = field(Some(calls)).and_then(|text| text.parse().ok());
        let (Some(calls), Some(text), true) = (counted, field(Some(query)), whole) else {
            unread.push(line);
            continue;
        };
        all.push(StatementSeen {
            id: field(id).map_or_else(|| format!("line {line}"), str::to_owned),
            text: text.to_owned(),
            calls: Some(calls),
            rows: field(rows).and_then(|text| text.parse().ok()),
            time_ms: field(time).and_then(|text| text.parse().ok()).filter(|time: &f64| time.is_finite()),
        });
    }
    if let Some(first) = unread.first() {
        notes.push(Note::new(
            name,
            format!(
                "{} lines are no whole statements and were left out, the first is line {first}",
                unread.len()
            ),
        ));
    }
    Ok((all, notes))
}

/// Records of comma-separated values: the line where each begins, its fields, and whether it ended as it should.
struct Records<'t> {
    rest: &'t str,
    line: usize,
}

impl Iterator for Records<'_> {
    type Item = (usize, Vec<String>, bool);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let begin = self.line;
        let mut fields = vec![String::new()];
        let mut quoted = false;
        let mut chars = self.rest.char_indices().peekable();
        while let Some((at, char)) = chars.next() {
            if char == '\n' {
                self.line += 1;
            }
            let field = fields.last_mut().expect("there is a field");
            match char {
                '"' if quoted && chars.peek().is_some_and(|(_, next)| *next == '"') => {
                    chars.next();
                    field.push('"');
                }
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                '\n' if !quoted => {
                    self.rest = &self.rest[at + 1..];
                    return Some((begin, fields, true));
                }
                '\r' if !quoted => {}
                other => field.push(other),
            }
        }
        self.rest = "";
        Some((begin, fields, !quoted))
    }
}
