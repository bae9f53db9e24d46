//! What to do about an error of a database: what may be tried again, by whom, and what must not.
//!
//! Three rules. A router tries again by itself only what is certain not to have happened, and only from the beginning
//! of a transaction: the first statement, or the whole of it where the router has the whole. Newer routes are asked for
//! only because of replat's own word in the error's detail, since databases refuse writes for other reasons, too. And a
//! COMMIT whose outcome is unknown is never sent again.

use replat_model::ids::{Epoch, PartitionId};
use serde_json::Value;

/// How far a transaction had come when the error was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its first statement failed, or its only one without BEGIN: nothing was answered before that anybody relies on.
    First,
    /// A later statement failed.
    Later,
    /// Some statement failed, and whoever asks can run the whole transaction once more.
    Whole,
    /// COMMIT was sent, and this is what came of it.
    Commit,
    /// COMMIT was sent, and whoever asks can run the whole transaction once more.
    CommitOfWhole,
}

impl Stage {
    fn is_commit(self) -> bool {
        matches!(self, Stage::Commit | Stage::CommitOfWhole)
    }

    /// Whether nothing is lost by beginning again.
    fn may_begin_again(self) -> bool {
        matches!(self, Stage::First | Stage::Whole | Stage::CommitOfWhole)
    }
}

/// An error of a database, as its protocol says it. What is absent was not said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failure<'a> {
    /// SQLSTATE; absent if the connection broke without a word.
    pub sqlstate: Option<&'a str>,
    /// The field DETAIL.
    pub detail: Option<&'a str>,
    /// The fields for the schema and the table that it is about.
    pub table: Option<(&'a str, &'a str)>,
    /// The field for the constraint's name.
    pub constraint: Option<&'a str>,
    /// The field for the server's routine that raised it.
    pub routine: Option<&'a str>,
}

/// What a guard says of a partition that it does not let write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The partition.
    pub partition: PartitionId,
    /// Its epoch, as that database knows it; absent if it does not.
    pub epoch: Option<Epoch>,
    /// Where it lives, as that database knows it; absent while it is being switched.
    pub home: Option<String>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Ask for the newest routes, then begin again.
    RefreshAndRetry(Moved),
    /// No partition of a table takes the row. Ask for it to be made, then begin again; once, or within a limit.
    AskForPartition {
        /// The schema and the table, if they were said.
        table: Option<(String, String)>,
    },
    /// Give the error to the client.
    HandOut {
        /// Whether the client does well to run the whole transaction again: nothing of it has happened.
        retryable: bool,
        /// What was learned about a partition meanwhile: ask for the newest routes all the same.
        moved: Option<Moved>,
    },
    /// It may have happened, or not. Give the error to the client, and never send it again.
    OutcomeUnknown,
}

/// What to do about a failure.
pub fn decide(failure: &Failure<'_>, stage: Stage) -> Decision {
    let hand_out = |retryable| Decision::HandOut { retryable, moved: None };
    let Some(sqlstate) = failure.sqlstate else {
        return match stage.is_commit() {
            true => Decision::OutcomeUnknown,
            false => hand_out(true),
        };
    };
    if is_uncertain(sqlstate, stage) {
        return Decision::OutcomeUnknown;
    }
    match sqlstate {
        "25006" => match moved(failure.detail) {
            Some(moved) if stage.may_begin_again() => Decision::RefreshAndRetry(moved),
            Some(moved) => Decision::HandOut { retryable: true, moved: Some(moved) },
            None => hand_out(false),
        },
        "23514" if is_missing_partition(failure) => match stage.may_begin_again() {
            true => {
                let owned = |(schema, table): (&str, &str)| (schema.to_owned(), table.to_owned());
                Decision::AskForPartition { table: failure.table.map(owned) }
            }
            false => hand_out(true),
        },
        _ => hand_out(is_passing(sqlstate)),
    }
}

/// Whether it is not known if the transaction was committed. Only an ordinary error in answer to COMMIT says that it was
/// not: a server that is being shut down may have committed already.
fn is_uncertain(sqlstate: &str, stage: Stage) -> bool {
    const SAID_NO: [&str; 7] = ["22", "23", "25", "40", "42", "44", "P0"];
    match sqlstate {
        // `transaction_resolution_unknown`, `statement_completion_unknown`
        "08007" | "40003" => true,
        _ => stage.is_commit() && !SAID_NO.iter().any(|class| sqlstate.starts_with(class)),
    }
}

/// Whether the same transaction may do well a moment later: serialization, deadlocks, lost or refused connections,
/// servers that start or stop.
fn is_passing(sqlstate: &str) -> bool {
    matches!(sqlstate, "40001" | "40P01" | "57P01" | "57P02" | "57P03" | "55P03" | "53300")
        || sqlstate.starts_with("08") && sqlstate != "08P01" && sqlstate != "08004"
}

/// A row for which no partition is there, and not one that violates a check: by the server's routine, which is the same
/// in every language of messages.
fn is_missing_partition(failure: &Failure<'_>) -> bool {
    failure.constraint.is_none() && failure.routine == Some("ExecFindPartition")
}

/// The guard's word about a partition that has moved, or is about to. Everything else that refuses writes, also what the
/// guard says of whole tables, is not a matter of routes.
fn moved(detail: Option<&str>) -> Option<Moved> {
    let detail: Value = serde_json::from_str(detail?).ok()?;
    if !matches!(detail.get("state")?.as_str()?, "moved" | "switching") {
        return None;
    }
    Some(Moved {
        partition: detail.get("partition")?.as_str()?.parse().ok()?,
        epoch: detail.get("epoch").and_then(Value::as_u64).and_then(Epoch::from_number),
        home: detail.get("home").and_then(Value::as_str).map(str::to_owned),
    })
}

#[cfg(feature = "tokio-postgres")]
impl<'a> Failure<'a> {
    /// What a driver's error says.
    pub fn of(error: &'a tokio_postgres::Error) -> Failure<'a> {
        let Some(error) = error.as_db_error() else { return Failure::default() };
        Failure {
            sqlstate: Some(error.code().code()),
            detail: error.detail(),
            table: error.schema().zip(error.table()),
            constraint: error.constraint(),
            routine: error.routine(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVED: &str = r#"{"partition" : "acme", "epoch" : 7, "home" : "green.billing", "state" : "moved"}"#;
    const SWITCHING: &str = r#"{"partition" : "acme", "epoch" : 6, "home" : null, "state" : "switching"}"#;

    fn at(stage: Stage, sqlstate: &str, detail: Option<&str>) -> Decision {
        decide(&Failure { sqlstate: Some(sqlstate), detail, ..Failure::default() }, stage)
    }

    fn acme(epoch: u64, home: Option<&str>) -> Moved {
        let partition = "acme".parse().expect("a name");
        Moved { partition, epoch: Epoch::from_number(epoch), home: home.map(str::to_owned) }
    }

    #[test]
    fn only_what_cannot_have_happened_is_tried_again() {
        use Decision::{OutcomeUnknown, RefreshAndRetry};
        use Stage::{Commit, CommitOfWhole, First, Later, Whole};
        let hand_out = |retryable| Decision::HandOut { retryable, moved: None };
        let moved = || acme(7, Some("green.billing"));
        let told = |moved| Decision::HandOut { retryable: true, moved: Some(moved) };
        let rows = [
            ("moved, first", First, "25006", Some(MOVED), RefreshAndRetry(moved())),
            ("moved, whole", Whole, "25006", Some(MOVED), RefreshAndRetry(moved())),
            ("moved, later", Later, "25006", Some(MOVED), told(moved())),
            ("moved, at commit", Commit, "25006", Some(MOVED), told(moved())),
            ("moved, at commit of the whole", CommitOfWhole, "25006", Some(MOVED), RefreshAndRetry(moved())),
            ("switching", First, "25006", Some(SWITCHING), RefreshAndRetry(acme(6, None))),
            ("a standby", First, "25006", None, hand_out(false)),
            ("somebody else's detail", First, "25006", Some("see the manual"), hand_out(false)),
            ("somebody else's JSON", First, "25006", Some("{\"partition\":\"acme\"}"), hand_out(false)),
            ("an illegal partition", First, "25006", Some(&MOVED.replace("acme", "A B")), hand_out(false)),
            (
                "a whole table",
                First,
                "25006",
                Some("{\"partition\":\"acme\",\"state\":\"armed\"}"),
                hand_out(false),
            ),
            ("our detail, another error", First, "42501", Some(MOVED), hand_out(false)),
            ("serialization", Later, "40001", None, hand_out(true)),
            ("serialization at commit", Commit, "40001", None, hand_out(true)),
            ("a deferred constraint", Commit, "23503", None, hand_out(false)),
            ("lost before commit", Later, "08006", None, hand_out(true)),
            ("lost at commit", Commit, "08006", None, OutcomeUnknown),
            ("shut down before commit", Whole, "57P01", None, hand_out(true)),
            ("shut down at commit", CommitOfWhole, "57P01", None, OutcomeUnknown),
            ("a full disk at commit", Commit, "53100", None, OutcomeUnknown),
            ("unknown, as the server says", Later, "40003", None, OutcomeUnknown),
            ("a protocol violation", First, "08P01", None, hand_out(false)),
            ("no such table", First, "42P01", None, hand_out(false)),
            ("a short state", Commit, "4", None, OutcomeUnknown),
        ];
        for (case, stage, sqlstate, detail, want) in rows {
            assert_eq!(at(stage, sqlstate, detail), want, "{case}");
        }
        assert_eq!(decide(&Failure::default(), Stage::First), hand_out(true), "a broken connection");
        for stage in [Stage::Commit, Stage::CommitOfWhole] {
            assert_eq!(decide(&Failure::default(), stage), OutcomeUnknown, "a broken connection at commit");
        }
    }

    #[test]
    fn a_missing_partition_is_not_a_violated_check() {
        let missing = Failure {
            sqlstate: Some("23514"),
            detail: Some("Partition key of the failing row contains (at) = (2031-01-01)."),
            table: Some(("public", "events")),
            routine: Some("ExecFindPartition"),
            ..Failure::default()
        };
        let table = Some(("public".to_owned(), "events".to_owned()));
        assert_eq!(decide(&missing, Stage::First), Decision::AskForPartition { table });
        let later = Decision::HandOut { retryable: true, moved: None };
        assert_eq!(decide(&missing, Stage::Later), later);
        let check = Failure { constraint: Some("positive"), routine: Some("ExecConstraints"), ..missing };
        let leaf = Failure { routine: Some("ExecPartitionCheckEmitError"), ..missing };
        for failure in [check, leaf] {
            assert_eq!(decide(&failure, Stage::First), Decision::HandOut { retryable: false, moved: None });
        }
    }
}
