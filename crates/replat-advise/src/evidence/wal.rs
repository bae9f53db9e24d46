//! The write-ahead log, as logical decoding shows it: a line for each beginning, changed row, and commit.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::lines::whole_lines;
use super::{Change, Note, RowSeen, WritesSeen};
use crate::fixture::BadEvidence;
use crate::value::Value;

#[derive(Deserialize)]
struct WalLine {
    xid: u64,
    a: String,
    #[serde(default)]
    t: Option<f64>,
    #[serde(default)]
    table: Option<String>,
    #[serde(default)]
    cols: BTreeMap<String, serde_json::Value>,
}

/// Reads `wal.jsonl`. Transactions without a commit were cut off, and are left out with a note.
///
/// # Errors
///
/// Of a line that cannot be understood, with its number.
pub fn read_wal(name: &str, text: &str) -> Result<(Vec<WritesSeen>, Vec<Note>), BadEvidence> {
    let mut notes = Vec::new();
    let mut open: BTreeMap<u64, WritesSeen> = BTreeMap::new();
    let mut all = Vec::new();
    for (number, text) in whole_lines(name, text, &mut notes) {
        let bad = |why: String| BadEvidence::Text { what: "the write-ahead log", line: number, why };
        let line: WalLine = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        let new = || WritesSeen { at: line.t.unwrap_or(0.0), xid: Some(line.xid), rows: Vec::new() };
        let op = match line.a.as_str() {
            "B" => {
                open.insert(line.xid, new());
                continue;
            }
            "C" => {
                let mut writes = open.remove(&line.xid).unwrap_or_else(new);
                writes.at = line.t.unwrap_or(writes.at);
                all.push(writes);
                continue;
            }
            "I" => Change::Insert,
            "U" => Change::Update,
            "D" => Change::Delete,
            // Logical messages, truncations and the like say nothing of rows.
            _ => continue,
        };
        let table = line.table.ok_or_else(|| bad("it does not say which table".to_owned()))?;
        let columns = line.cols.into_iter().map(|(column, value)| (column, Value::of_json(&value))).collect();
        let at = line.t.unwrap_or(0.0);
        let writes = open.entry(line.xid).or_insert(WritesSeen { at, xid: Some(line.xid), rows: Vec::new() });
        writes.rows.push(RowSeen { table, op, columns });
    }
    if !open.is_empty() {
        notes.push(Note::new(
            name,
            format!("{} transactions without a commit at its end were left out", open.len()),
        ));
    }
    all.retain(|writes| !writes.rows.is_empty() && writes.at.is_finite());
    Ok((all, notes))
}
