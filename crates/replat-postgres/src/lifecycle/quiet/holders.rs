//! Who is in the way.

use std::collections::BTreeSet;
use std::time::Duration;

use replat_model::lifecycle::facts::TableName;

use super::{Pair, Stop};
use crate::error::on;
use crate::lifecycle::ledger::quoted;
use crate::lifecycle::script::{Mode, Txn};

impl Pair<'_> {
    /// Who has locks that a transaction of ours cannot have meanwhile, the oldest first; or the oldest transaction of
    /// the database if nobody has one.
    pub(super) async fn holders(&self, txn: &Txn) -> Result<Vec<Holder>, Stop> {
        let wanted: Vec<(&TableName, Mode)> =
            txn.steps.iter().flat_map(|step| &step.locks).map(|(table, mode)| (table, *mode)).collect();
        let names: BTreeSet<String> = wanted.iter().map(|(table, _)| quoted(table)).collect();
        let names: Vec<String> = names.into_iter().collect();
        let found = self
            .watch
            .query(
                "SELECT a.pid, (1000 * extract(epoch FROM pg_catalog.clock_timestamp() - \
                     coalesce(a.xact_start, a.query_start, a.backend_start)))::bigint, \
                   coalesce(a.application_name, ''), coalesce(a.query, ''), l.mode, w.name \
                 FROM pg_catalog.unnest($1::text[]) AS w(name) \
                   JOIN pg_catalog.pg_locks l ON l.relation = pg_catalog.to_regclass(w.name) \
                     AND l.locktype = 'relation' AND l.granted AND l.database = (SELECT oid \
                       FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
                   JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
                 WHERE l.pid <> $2 AND l.pid <> pg_catalog.pg_backend_pid() \
                 ORDER BY a.xact_start NULLS LAST, a.pid",
                &[&names, &self.work.backend_pid],
            )
            .await
            .map_err(|error| Stop::Lost(on(self.database, "looking who is in the way")(error)))?;
        let mut holders: Vec<Holder> = Vec::new();
        for row in &found {
            let (mode, name): (&str, &str) = (row.get(4), row.get(5));
            let in_the_way = wanted.iter().any(|(table, want)| {
                quoted(table) == name && Mode::named(mode).is_none_or(|mode| mode.conflicts(*want))
            });
            if in_the_way && holders.iter().all(|known| known.pid != row.get::<_, i32>(0)) {
                holders.push(Holder::of(row));
            }
        }
        if holders.is_empty() && matches!(txn.name, "detach" | "finalize") {
            // A detach waits for whoever may still see the partition, lock or no lock.
            let oldest = self
                .watch
                .query_opt(
                    "SELECT pid, (1000 * extract(epoch FROM pg_catalog.clock_timestamp() - xact_start))::bigint, \
                       coalesce(application_name, ''), coalesce(query, '') FROM pg_catalog.pg_stat_activity \
                     WHERE datname = pg_catalog.current_database() AND xact_start IS NOT NULL AND pid <> $1 \
                       AND pid <> pg_catalog.pg_backend_pid() AND backend_type = 'client backend' \
                     ORDER BY xact_start LIMIT 1",
                    &[&self.work.backend_pid],
                )
                .await
                .map_err(|error| Stop::Lost(on(self.database, "looking who is in the way")(error)))?;
            holders.extend(oldest.as_ref().map(Holder::of));
        }
        Ok(holders)
    }
}

/// Somebody who is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process that serves the session.
    pub pid: i32,
    /// How long its transaction has been open, in milliseconds.
    pub age_ms: i64,
    /// What it calls itself.
    pub application: String,
    /// The first words of its statement, without values.
    pub words: String,
}

impl Holder {
    fn of(row: &tokio_postgres::Row) -> Holder {
        Holder {
            pid: row.get(0),
            age_ms: row.get(1),
            application: row.get(2),
            words: first_words(row.get(3)),
        }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}", self.pid)?;
        if !self.application.is_empty() {
            write!(f, " ({})", self.application)?;
        }
        write!(f, ", whose transaction has been open for {:.1} s", self.age_ms as f64 / 1000.0)?;
        if !self.words.is_empty() {
            write!(f, ": {}", self.words)?;
        }
        Ok(())
    }
}

/// Whose locks were in the way of a transaction, for people.
pub(super) fn in_the_way(txn: &Txn, holders: &[Holder], patience: Duration) -> String {
    let who = match holders {
        [] => "others, one after the other".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
    };
    format!("the locks for `{}` could not be had within {patience:?}: in the way is {who}", txn.name)
}

/// The first words of a statement, up to its first value or quoted name: what follows may be nobody's business.
pub fn first_words(query: &str) -> String {
    if query.starts_with('<') {
        return String::new();
    }
    let plain = query.split(|c: char| matches!(c, '\'' | '"' | '$') || c.is_numeric()).next().unwrap_or("");
    let mut words: Vec<String> =
        plain.split_whitespace().take(8).map(|word| word.chars().take(40).collect()).collect();
    if plain.len() < query.len() || plain.split_whitespace().count() > words.len() {
        words.push("…".to_owned());
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_among_the_words() {
        let rows = [
            ("select * from t where name = 'Ann Mary Smith' and x", "select * from t where name = …"),
            ("insert into t values ('secret')", "insert into t values ( …"),
            ("select 42", "select …"),
            ("select a, b from c", "select a, b from c"),
            ("a b c d e f g h i", "a b c d e f g h …"),
            ("<insufficient privilege>", ""),
        ];
        for (query, want) in rows {
            assert_eq!(first_words(query), want);
        }
    }

    proptest::proptest! {
        #[test]
        fn digits_and_quotes_never_get_out(query in ".*") {
            let words = first_words(&query);
            proptest::prop_assert!(!words.contains(['\'', '"']) && !words.chars().any(char::is_numeric));
        }
    }
}
