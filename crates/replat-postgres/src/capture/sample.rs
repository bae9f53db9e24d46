//! Whole transactions, from lines of the log: lines of one virtual transaction belong together.

use std::collections::HashMap;

use replat_advise::evidence::{Executed, Line, StatementSeen, TransactionSeen};
use replat_advise::value::Value;
use sha2::{Digest, Sha256};

use super::columns::{Parameter, WatchList};
use super::log_line::{Record, executed, parameters};
use super::secret::Secret;
use super::text::{Normal, normal};

/// The most statements that are told apart; what is new beyond is passed over.
const STATEMENTS_MAX: usize = 20_000;
/// The most statements of a transaction that are kept.
const EXECUTED_MAX: usize = 1_000;
/// The most transactions that may be open at once.
const OPEN_MAX: usize = 10_000;

/// A statement that was seen before.
#[derive(Debug)]
struct Known {
    text: String,
    kept: Vec<Option<Parameter>>,
}

/// A transaction whose lines come.
#[derive(Debug, Default)]
struct Open {
    vxid: String,
    seen: TransactionSeen,
    /// It began with BEGIN, so that only COMMIT ends it.
    is_explicit: bool,
    has_failed: bool,
}

/// Lines to transactions.
#[derive(Debug)]
pub struct Sampled<'a> {
    list: &'a WatchList,
    secret: &'a Secret,
    database: String,
    /// How far the log's clock is from UTC. Unit: seconds.
    offset: f64,
    known: HashMap<String, Known>,
    open: HashMap<i64, Open>,
    /// Statements whose text was not understood, or which were too many.
    pub passed_over: u64,
    /// Statements whose parameters the log does not tell.
    pub untold: u64,
}

impl<'a> Sampled<'a> {
    /// Nothing yet.
    pub fn new(list: &'a WatchList, secret: &'a Secret, database: &str, offset: f64) -> Sampled<'a> {
        Sampled {
            list,
            secret,
            database: database.to_owned(),
            offset,
            known: HashMap::new(),
            open: HashMap::new(),
            passed_over: 0,
            untold: 0,
        }
    }

    /// Takes a record; what is to be told then: new statements, and transactions that have ended.
    pub fn take(&mut self, record: &Record) -> Vec<Line> {
        let mut lines = Vec::new();
        if record.dbname != self.database || record.application_name.starts_with("replat/") {
            return lines;
        }
        if ["ERROR", "FATAL", "PANIC"].contains(&record.error_severity.as_str()) {
            if let Some(open) = self.open.get_mut(&record.pid) {
                open.has_failed = true;
            }
            return lines;
        }
        let Some(text) = executed(&record.message) else { return lines };
        let Some(at) = record.local_seconds() else { return lines };
        let Some(statements) = normal(text) else {
            self.passed_over += 1;
            return lines;
        };
        let outside = record.vxid.is_empty() || record.vxid.ends_with("/0");
        let is_end = |statement: &Normal| {
            let rolls_back =
                statement.begins("rollback") && !statement.tokens.iter().any(|token| token.is("to"));
            (statement.begins("commit") || statement.begins("end") || rolls_back || statement.begins("abort"))
                .then_some(rolls_back || statement.begins("abort"))
        };
        // The end of a transaction is told when it is over, outside of it.
        if outside
            && statements.len() == 1
            && let Some(taken_back) = is_end(&statements[0])
        {
            if taken_back {
                self.open.remove(&record.pid);
            } else {
                lines.extend(self.end(record.pid, Ended::ByCommit));
            }
            return lines;
        }
        if self.open.get(&record.pid).is_some_and(|open| outside || open.vxid != record.vxid) {
            lines.extend(self.end(record.pid, Ended::ByAnother));
        }
        if self.open.len() >= OPEN_MAX && !self.open.contains_key(&record.pid) {
            self.passed_over += 1;
            return lines;
        }
        let mut open = self.open.remove(&record.pid).unwrap_or_default();
        if open.vxid.is_empty() {
            open.vxid.clone_from(&record.vxid);
            open.seen.at = at - self.offset;
        }
        if record.txid != 0 {
            open.seen.xid = Some(record.txid);
        }
        let values = parameters(&record.detail);
        for statement in &statements {
            open.is_explicit |= statement.begins("begin") || statement.begins("start");
            if !statement.is_about_rows() || statement.is_of_the_catalogue() {
                continue;
            }
            // A text of several statements has one identifier.
            let id = (record.query_id != 0 && statements.len() == 1).then(|| record.query_id.to_string());
            let Some(executed) = self.executed(statement, id, values.as_deref(), &mut lines) else {
                continue;
            };
            if open.seen.statements.len() < EXECUTED_MAX {
                open.seen.statements.push(executed);
            }
        }
        if outside {
            // By itself, and over already.
            lines.extend(told(open));
        } else {
            self.open.insert(record.pid, open);
        }
        lines
    }

    /// Forgets what is open: the server is gone, and took it back.
    pub fn lose(&mut self) {
        self.open.clear();
    }

    /// What is still open: implicit transactions that nobody has followed are whole.
    pub fn finish(&mut self) -> Vec<Line> {
        let mut pids: Vec<i64> = self.open.keys().copied().collect();
        pids.sort_unstable();
        pids.into_iter().filter_map(|pid| self.end(pid, Ended::ByAnother)).collect()
    }

    fn end(&mut self, pid: i64, ended: Ended) -> Option<Line> {
        let open = self.open.remove(&pid)?;
        // An explicit transaction that another one follows without COMMIT was taken back, or was ended where we did not
        // hear of it; what it did is not known.
        if open.is_explicit && matches!(ended, Ended::ByAnother) {
            return None;
        }
        told(open)
    }

    fn executed(
        &mut self,
        statement: &Normal,
        id: Option<String>,
        values: Option<&[Option<String>]>,
        lines: &mut Vec<Line>,
    ) -> Option<Executed> {
        let text = statement.text();
        let id = self.know(statement, id, text, lines)?;
        let known = self.known.get(&id)?;
        let own = statement.first_literal - 1;
        if own > 0 && values.is_none_or(|values| values.len() < own) {
            self.untold += 1;
        }
        let value = |at: usize| -> Option<Option<&str>> {
            match at.checked_sub(own) {
                Some(literal) => statement.literals.get(literal).map(|text| Some(text.as_str())),
                None => values?.get(at).map(Option::as_deref),
            }
        };
        let kept = known.kept.iter().enumerate().map(|(at, kept)| match (kept, value(at)) {
            (Some(kept), Some(Some(text))) => kept.keep(self.secret, text),
            (Some(_), Some(None)) => Some(Value::Null),
            _ => None,
        });
        Some(Executed { statement: id, parameters: kept.collect() })
    }

    /// The identifier of a statement. One of the server's that stands for several texts gets another one for each.
    fn know(
        &mut self,
        statement: &Normal,
        id: Option<String>,
        text: String,
        lines: &mut Vec<Line>,
    ) -> Option<String> {
        let hashed = || {
            let digest = Sha256::digest(text.as_bytes());
            digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let mut id = id.unwrap_or_else(|| format!("t{}", hashed()));
        if self.known.get(&id).is_some_and(|known| known.text != text) {
            id = format!("{id}.{}", hashed());
        }
        if self.known.contains_key(&id) {
            return Some(id);
        }
        if self.known.len() >= STATEMENTS_MAX {
            self.passed_over += 1;
            return None;
        }
        let seen = StatementSeen { id: id.clone(), text: text.clone(), ..StatementSeen::default() };
        lines.push(Line::Statement(seen));
        self.known.insert(id.clone(), Known { text, kept: self.list.parameters(statement) });
        Some(id)
    }
}

/// What ended a transaction.
enum Ended {
    ByCommit,
    ByAnother,
}

fn told(open: Open) -> Option<Line> {
    (!open.has_failed && !open.seen.statements.is_empty()).then_some(Line::Transaction(open.seen))
}

#[cfg(test)]
mod tests {
    use super::super::columns::Watched;
    use super::super::secret::Kept;
    use super::*;

    fn list() -> WatchList {
        WatchList::of(vec![Watched {
            name: "t".into(),
            schema: "public".into(),
            table: "t".into(),
            parts: Default::default(),
            columns: vec![("id".into(), Some(Kept::Hashed)), ("note".into(), None)],
            undeclared: Vec::new(),
        }])
    }

    fn record(pid: i64, vxid: &str, txid: u64, message: &str, detail: &str) -> Record {
        Record {
            timestamp: "2026-01-02 03:04:05.678 CET".into(),
            dbname: "shop".into(),
            pid,
            vxid: vxid.into(),
            txid,
            error_severity: "LOG".into(),
            message: format!("duration: 0.1 ms  {message}"),
            detail: detail.into(),
            ..Record::default()
        }
    }

    /// The transactions, each as its statements' texts and its number.
    fn told_of(records: &[Record]) -> Vec<(Vec<String>, Option<u64>)> {
        let (list, secret) = (list(), Secret::new([7; 32]));
        let mut sampled = Sampled::new(&list, &secret, "shop", 3_600.0);
        let mut lines: Vec<Line> = records.iter().flat_map(|record| sampled.take(record)).collect();
        lines.extend(sampled.finish());
        let texts: HashMap<String, String> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Statement(seen) => Some((seen.id.clone(), seen.text.clone())),
                _ => None,
            })
            .collect();
        lines
            .into_iter()
            .filter_map(|line| match line {
                Line::Transaction(seen) => {
                    assert_eq!(seen.at, 1_767_323_045.678 - 3_600.0);
                    Some((seen.statements.iter().map(|e| texts[&e.statement].clone()).collect(), seen.xid))
                }
                _ => None,
            })
            .collect()
    }

    #[test]
    fn lines_of_one_transaction_belong_together() {
        let begin = |pid, vxid: &str| record(pid, vxid, 0, "statement: begin", "");
        let (read, write) =
            ("execute <unnamed>: select note from t where id = $1", "statement: update t set id = 5");
        let select = "select note from t where id = $1".to_owned();
        let update = "update t set id = $1".to_owned();
        let whole = [(vec![select.clone(), update.clone()], Some(9))];
        // Statements of a transaction, with its number.
        type Told = (Vec<String>, Option<u64>);
        let rows: Vec<(&str, Vec<Record>, Vec<Told>)> = vec![
            (
                "two at once",
                vec![
                    begin(1, "3/1"),
                    record(1, "3/1", 0, read, "parameters: $1 = '4'"),
                    record(2, "4/1", 0, read, "parameters: $1 = '4'"),
                    record(1, "3/1", 9, write, ""),
                    record(1, "3/0", 0, "statement: COMMIT", ""),
                ],
                vec![whole[0].clone(), (vec![select.clone()], None)],
            ),
            (
                "taken back",
                vec![
                    begin(1, "3/1"),
                    record(1, "3/1", 9, write, ""),
                    record(1, "3/0", 0, "statement: rollback", ""),
                ],
                vec![],
            ),
            ("by itself", vec![record(1, "3/0", 0, write, "")], vec![(vec![update.clone()], None)]),
            ("without an end", vec![begin(1, "3/1"), record(1, "3/1", 9, write, "")], vec![]),
            (
                "implicit ones in a row",
                vec![record(1, "3/1", 0, read, ""), record(1, "3/2", 0, read, "")],
                vec![(vec![select.clone()], None), (vec![select.clone()], None)],
            ),
            (
                "two in one text",
                vec![record(
                    1,
                    "3/0",
                    0,
                    "statement: select note from t where id = 1; update t set id = 5",
                    "",
                )],
                vec![(vec![select.clone(), update.clone()], None)],
            ),
            (
                "a failure",
                vec![
                    begin(1, "3/1"),
                    record(1, "3/1", 9, write, ""),
                    Record { error_severity: "ERROR".into(), ..record(1, "3/1", 9, "x", "") },
                    record(1, "3/0", 0, "statement: commit", ""),
                ],
                vec![],
            ),
            (
                "other databases and replat itself",
                vec![
                    Record { dbname: "other".into(), ..record(1, "3/0", 0, write, "") },
                    Record { application_name: "replat/plan".into(), ..record(1, "3/0", 0, write, "") },
                    record(1, "3/0", 0, "statement: select * from pg_catalog.pg_class", ""),
                ],
                vec![],
            ),
        ];
        for (case, records, want) in rows {
            assert_eq!(told_of(&records), want, "{case}");
        }
    }

    #[test]
    fn values_of_keys_are_hashed_and_of_others_gone() {
        let (list, secret) = (list(), Secret::new([7; 32]));
        let mut sampled = Sampled::new(&list, &secret, "shop", 0.0);
        let text = "execute s: insert into t (id, note) values ($1, $2), (17, 'c4nary')";
        let lines = sampled.take(&record(1, "3/0", 0, text, "parameters: $1 = '16', $2 = 'c4nary'"));
        let Some(Line::Transaction(seen)) = lines.last() else { panic!("{lines:?}") };
        let want = vec![Some(secret.hashed("16")), None, Some(secret.hashed("17")), None];
        assert_eq!(seen.statements[0].parameters, want);
        assert!(!format!("{lines:?}").contains("c4nary"));
    }

    #[test]
    fn one_identifier_of_two_texts_is_two_statements() {
        let (list, secret) = (list(), Secret::new([7; 32]));
        let mut sampled = Sampled::new(&list, &secret, "shop", 0.0);
        let with_id = |text: &str| Record { query_id: 77, ..record(1, "3/0", 0, text, "") };
        let mut ids = Vec::new();
        for text in [
            "statement: select id from t where id in (1)",
            "statement: select id from t where id in (1, 2)",
            "statement: select id from t where id in (8)",
        ] {
            let lines = sampled.take(&with_id(text));
            let Some(Line::Transaction(seen)) = lines.last() else { panic!("{lines:?}") };
            ids.push(seen.statements[0].statement.clone());
        }
        assert_eq!(ids[0], "77");
        assert!(ids[1].starts_with("77."), "{ids:?}");
        assert_eq!(ids[2], "77");
    }
}
