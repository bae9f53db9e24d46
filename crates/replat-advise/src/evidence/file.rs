//! Files of evidence: their first line, and the others.

use std::collections::BTreeMap;

use super::lines::whole_lines;
use super::{Evidence, FORMAT, Head, Line, Note};
use crate::fixture::BadEvidence;

/// Reads a file of evidence. `name` is what the notes call it.
///
/// # Errors
///
/// Of a file of another form, and of a line that cannot be understood, with its number; a last line that was cut off is
/// passed over with a note.
pub fn read_evidence(name: &str, text: &str) -> Result<(Evidence, Vec<Note>), BadEvidence> {
    let mut notes = Vec::new();
    let mut lines = whole_lines(name, text, &mut notes).into_iter();
    let bad = |line: usize, why: String| BadEvidence::Text { what: "the evidence", line, why };
    let (number, first) = lines.next().ok_or_else(|| bad(1, "there is nothing in it".to_owned()))?;
    let head: Head = serde_json::from_str(first).map_err(|e| bad(number, e.to_string()))?;
    if head.format != FORMAT {
        return Err(bad(number, format!("its format is {:?}, and {FORMAT:?} is understood", head.format)));
    }
    let mut evidence = Evidence { head, ..Evidence::default() };
    // A capture that was never finished tells of a statement each time that it looks.
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (number, line) in lines {
        match serde_json::from_str(line).map_err(|e| bad(number, e.to_string()))? {
            Line::Table(table) => evidence.tables.push(table),
            Line::Statement(statement) => match places.get(&statement.id) {
                Some(place) => evidence.statements[*place].hear(statement),
                None => {
                    places.insert(statement.id.clone(), evidence.statements.len());
                    evidence.statements.push(statement);
                }
            },
            Line::Writes(writes) => evidence.writes.push(writes),
            Line::Transaction(transaction) => evidence.transactions.push(transaction),
            Line::Place(place) => evidence.places.push(place),
        }
    }
    // A file has one secret, which each line need not repeat.
    for place in evidence.places.iter_mut().filter(|place| place.secret.is_empty()) {
        place.secret = evidence.head.hashed.clone().unwrap_or_default();
    }
    Ok((evidence, notes))
}

/// The text of a file of this evidence.
pub fn write_evidence(evidence: &Evidence) -> String {
    let head = Head { format: FORMAT.to_owned(), ..evidence.head.clone() };
    let mut text = json(&head);
    let lines = evidence
        .tables
        .iter()
        .cloned()
        .map(Line::Table)
        .chain(evidence.statements.iter().cloned().map(Line::Statement))
        .chain(evidence.writes.iter().cloned().map(Line::Writes))
        .chain(evidence.transactions.iter().cloned().map(Line::Transaction))
        .chain(evidence.places.iter().cloned().map(Line::Place));
    for line in lines {
        text.push('\n');
        text.push_str(&json(&line));
    }
    text.push('\n');
    text
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("evidence has text for all its keys")
}
