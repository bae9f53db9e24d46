//! A server's log in JSON, where it logged the statements of some transactions.
//!
//! `vxid` groups what belongs to one transaction, `txid` joins it to the write-ahead log, and `query_id` to the counted
//! statements. Of the extended protocol, the line of the execution counts; parsing and binding say the same before.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::lines::whole_lines;
use super::{Executed, Note, StatementSeen, TransactionSeen};
use crate::fixture::BadEvidence;
use crate::sql;
use crate::value::Value;

#[derive(Deserialize)]
struct LogLine {
    #[serde(default)]
    timestamp: Option<serde_json::Value>,
    #[serde(default)]
    pid: Option<i64>,
    #[serde(default)]
    vxid: Option<String>,
    #[serde(default)]
    txid: Option<u64>,
    #[serde(default)]
    query_id: Option<i64>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    error_severity: Option<String>,
}

/// A transaction that has not ended yet, and what makes it one.
#[derive(Default)]
struct Open {
    transaction: TransactionSeen,
    /// It began by its own words, so that it ends by its own words.
    explicit: bool,
}

/// What a log says.
#[derive(Clone, Debug, Default)]
pub struct Logged {
    /// The statements in it, without their values.
    pub statements: Vec<StatementSeen>,
    /// The transactions, in the order of their time.
    pub transactions: Vec<TransactionSeen>,
    /// What should be known of the log.
    pub notes: Vec<Note>,
}

/// Reads `log.jsonl`: the statements in it, and the transactions of them. Values are as they were logged; `keep` says what
/// becomes of each, so that a caller who must not have them can hash them here.
///
/// # Errors
///
/// If no line is one of a log.
pub fn read_log(name: &str, text: &str, keep: &dyn Fn(Value) -> Value) -> Result<Logged, BadEvidence> {
    let mut notes = Vec::new();
    let mut statements: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    // By session; a session has one transaction at a time.
    let mut open: BTreeMap<(i64, String), Open> = BTreeMap::new();
    let mut done: Vec<TransactionSeen> = Vec::new();
    let (mut understood, mut first_bad) = (0_usize, None);
    let mut unread = 0_usize;
    for (number, text) in whole_lines(name, text, &mut notes) {
        let line: LogLine = match serde_json::from_str(text) {
            Ok(line) => line,
            Err(error) => {
                unread += 1;
                first_bad.get_or_insert((number, error.to_string()));
                continue;
            }
        };
        understood += 1;
        let Some(message) = &line.message else { continue };
        let key = (line.pid.unwrap_or(0), line.vxid.clone().unwrap_or_default());
        if line
            .error_severity
            .as_deref()
            .is_some_and(|severity| matches!(severity, "ERROR" | "FATAL" | "PANIC"))
        {
            // What it did so far was undone.
            open.remove(&key);
            continue;
        }
        let Some((extended, text)) = statement_of(message) else { continue };
        let control = control_of(text);
        let at = line.timestamp.as_ref().and_then(seconds).unwrap_or(number as f64);
        match control {
            Some(Control::Begin) => {
                done.extend(end_of(&mut open, key.0));
                open.insert(key, Open { explicit: true, ..Open::default() });
                continue;
            }
            Some(Control::End) => {
                done.extend(end_of(&mut open, key.0));
                continue;
            }
            Some(Control::Undo) => {
                end_of(&mut open, key.0);
                continue;
            }
            Some(Control::Nothing) => continue,
            None => {}
        }
        let (text, constants) = sql::normalise(text);
        let mut parameters =
            if extended { parameters_of(line.detail.as_deref().unwrap_or("")) } else { Vec::new() };
        let named = text_parameters(&text, constants.len());
        parameters.resize(named, None);
        parameters.extend(constants.into_iter().map(Some));
        for value in parameters.iter_mut().flatten() {
            *value = keep(std::mem::replace(value, Value::Null));
        }
        let id = line.query_id.filter(|id| *id != 0).map(|id| id.to_string());
        let id = id.unwrap_or_else(|| format!("text {:016x}", crate::value::place_hash(&text)));
        let id = statements
            .entry((id.clone(), text))
            .or_insert_with(|| {
                // The server counts texts as one that differ in their spaces, or in how many values a list has.
                let mut own = id.clone();
                let mut number = 1;
                while !taken.insert(own.clone()) {
                    number += 1;
                    own = format!("{id}~{number}");
                }
                own
            })
            .clone();
        // Without a transaction's number, each statement stands alone. A simple one that committed by itself was logged
        // after that, with the number of no transaction.
        let numbered = !key.1.is_empty() && (extended || !key.1.ends_with("/0"));
        if !numbered && !open.get(&key).is_some_and(|open| open.explicit) {
            done.push(TransactionSeen {
                at,
                kind: None,
                xid: line.txid.filter(|xid| *xid != 0),
                statements: vec![Executed { statement: id, parameters }],
            });
            continue;
        }
        let transaction = &mut open.entry(key).or_default().transaction;
        if transaction.statements.is_empty() {
            transaction.at = at;
        }
        transaction.xid = transaction.xid.or(line.txid.filter(|xid| *xid != 0));
        transaction.statements.push(Executed { statement: id, parameters });
    }
    if let Some((line, why)) = first_bad {
        if understood == 0 {
            return Err(BadEvidence::Text { what: "the log", line, why });
        }
        notes.push(Note::new(
            name,
            format!("{unread} lines are no JSON and were left out, the first is line {line}"),
        ));
    }
    done.extend(open.into_values().map(|open| open.transaction));
    done.retain(|transaction| !transaction.statements.is_empty());
    done.sort_by(|a, b| a.at.total_cmp(&b.at));
    let statements = statements
        .into_iter()
        .map(|((_, text), id)| StatementSeen { id, text, ..StatementSeen::default() })
        .collect();
    Ok(Logged { statements, transactions: done, notes })
}

/// The transaction that a session had, now ended. What ends it is logged when it has no number any more.
fn end_of(open: &mut BTreeMap<(i64, String), Open>, pid: i64) -> Vec<TransactionSeen> {
    let keys: Vec<_> = open
        .range((pid, String::new())..)
        .take_while(|(key, _)| key.0 == pid)
        .map(|(key, _)| key.clone())
        .collect();
    keys.iter().filter_map(|key| open.remove(key)).map(|open| open.transaction).collect()
}

enum Control {
    Begin,
    End,
    Undo,
    Nothing,
}

/// What a statement does to its transaction, if that is all that it does.
fn control_of(text: &str) -> Option<Control> {
    let words: Vec<String> =
        text.split_whitespace().take(2).map(|word| word.trim_end_matches(';').to_ascii_lowercase()).collect();
    let second = words.get(1).map_or("", String::as_str);
    Some(match words.first().map_or("", String::as_str) {
        "begin" => Control::Begin,
        "start" if second == "transaction" => Control::Begin,
        "commit" | "end" => Control::End,
        "rollback" | "abort" if second != "to" => Control::Undo,
        "rollback" | "savepoint" | "release" | "set" | "reset" | "show" | "discard" | "deallocate"
        | "listen" | "unlisten" | "notify" | "fetch" | "close" | "prepare" | "explain" | "vacuum"
        | "analyze" | "" => Control::Nothing,
        _ => return None,
    })
}

/// The statement of a message, and whether the extended protocol ran it: `execute name: …`, `statement: …`, or either
/// after `duration: 0.1 ms  `.
fn statement_of(message: &str) -> Option<(bool, &str)> {
    let rest = match message.strip_prefix("duration: ") {
        Some(after) => after.split_once(" ms")?.1.trim_start(),
        None => message,
    };
    if let Some(text) = rest.strip_prefix("statement: ") {
        return Some((false, text));
    }
    let after = rest.strip_prefix("execute")?;
    // The names that drivers give statements have no colon and a space.
    let (_, text) = after.split_once(": ")?;
    Some((true, text))
}

/// The values of `parameters: $1 = '…', $2 = NULL` (from version 16: `Parameters: …`).
fn parameters_of(detail: &str) -> Vec<Option<Value>> {
    let Some(begin) = detail.find("arameters: ").map(|at| at + "arameters: ".len()) else {
        return Vec::new();
    };
    let mut rest = &detail[begin..];
    let mut all = Vec::new();
    while let Some(after) = rest.strip_prefix('$') {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(number) = after[..digits].parse::<usize>() else { break };
        let Some(value) = after[digits..].strip_prefix(" = ") else { break };
        let (value, length) = if let Some(inner) = value.strip_prefix('\'') {
            let mut text = String::new();
            let mut chars = inner.char_indices().peekable();
            let mut end = None;
            while let Some((at, char)) = chars.next() {
                if char != '\'' {
                    text.push(char);
                } else if chars.peek().is_some_and(|(_, next)| *next == '\'') {
                    chars.next();
                    text.push('\'');
                } else {
                    end = Some(at + 2);
                    break;
                }
            }
            // A value that the server cut short ends in dots outside of its quotes, or not at all.
            match end {
                Some(end) if !value[end..].starts_with("...") => (Some(of_text(text)), end),
                Some(end) => (None, end + 3),
                None => (None, value.len()),
            }
        } else {
            let length = value.find(", $").unwrap_or(value.len());
            (Some(Value::Null).filter(|_| &value[..length] == "NULL"), length)
        };
        // The protocol counts parameters in 16 bits.
        if number == 0 || number > usize::from(u16::MAX) {
            break;
        }
        if all.len() < number {
            all.resize(number, None);
        }
        all[number - 1] = value;
        rest = after[digits + 3 + length..].strip_prefix(", ").unwrap_or("");
    }
    all
}

/// A value as it was logged: a number if it can be one and is written as one.
fn of_text(text: String) -> Value {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => Value::Int(number),
        _ => Value::Text(text),
    }
}

/// How many parameters a normalised statement has, without those that stand for its constants.
fn text_parameters(text: &str, constants: usize) -> usize {
    let highest = text
        .split('$')
        .skip(1)
        .filter_map(|after| {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            after[..digits].parse::<usize>().ok()
        })
        .max()
        .unwrap_or(0);
    highest.min(usize::from(u16::MAX)).saturating_sub(constants)
}

/// A time of a log: a number of seconds, or `2026-03-01 12:34:56.789 UTC`.
fn seconds(time: &serde_json::Value) -> Option<f64> {
    if let Some(number) = time.as_f64() {
        return Some(number).filter(|number| number.is_finite());
    }
    let text = time.as_str()?;
    let mut parts = text.split([' ', 'T']);
    let mut date = parts.next()?.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut clock = parts.next()?.trim_end_matches('Z').split(':');
    let (hour, minute): (f64, f64) = (clock.next()?.parse().ok()?, clock.next()?.parse().ok()?);
    let second: f64 = clock.next()?.parse().ok()?;
    if !(0..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970 of a date of the Gregorian calendar; years begin in March, so that leap days are last.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let time = days as f64 * 86_400.0 + hour * 3_600.0 + minute * 60.0 + second;
    Some(time).filter(|time| time.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_they_were_bound() {
        let (int, text) = (|n| Some(Value::Int(n)), |t: &str| Some(Value::Text(t.to_owned())));
        let cases = [
            (
                "parameters: $1 = '5', $2 = 'it''s, $3 = x', $3 = NULL",
                vec![int(5), text("it's, $3 = x"), Some(Value::Null)],
            ),
            ("Parameters: $1 = '007'", vec![text("007")]),
            ("parameters: $1 = 'abc'..., $2 = '1'", vec![None, int(1)]),
            ("parameters: $1 = 'cut", vec![None]),
            ("parameters: $99999999 = '1'", vec![]),
            ("parameters: $2 = '1'", vec![None, int(1)]),
            ("prepare: SELECT 1", vec![]),
            ("", vec![]),
        ];
        for (detail, want) in cases {
            assert_eq!(parameters_of(detail), want, "{detail}");
        }
    }

    #[test]
    fn times_are_seconds_since_1970() {
        let cases = [
            ("1970-01-01 00:00:00 UTC", 0.0),
            ("2000-03-01 00:00:00.500 UTC", 951_868_800.5),
            ("2024-02-29T12:00:00Z", 1_709_208_000.0),
        ];
        for (text, want) in cases {
            assert_eq!(seconds(&serde_json::Value::String(text.to_owned())), Some(want), "{text}");
        }
        assert_eq!(seconds(&serde_json::json!(1.5)), Some(1.5));
        for none in
            ["yesterday", "9223372036854775807-01-01 00:00:00", "2024-00-9223372036854775807 00:00:00"]
        {
            assert_eq!(seconds(&serde_json::json!(none)), None, "{none}");
        }
    }
}
