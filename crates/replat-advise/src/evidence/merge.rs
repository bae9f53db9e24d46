//! Evidence of one system from several files, put together.

use std::collections::{BTreeMap, BTreeSet};

use super::{Evidence, Note, StatementSeen, TableSeen};
use crate::value::{Value, place_hash};

/// What names values that nobody hashed, beside such that somebody did.
const PLAIN: &str = "plain";

/// What stands between the names of secrets, where several were used.
const AND: &str = "+";

impl Evidence {
    /// This evidence and another of the same system.
    ///
    /// Tables and statements of the same name are one; how often statements ran is added; transactions stand side by
    /// side. Values that were hashed with different secrets cannot be compared: then each keeps its own, so that no
    /// value of one file is taken for a value of the other, and a note says so.
    #[must_use]
    pub fn merge(mut self, mut other: Evidence) -> (Evidence, Vec<Note>) {
        let mut notes = Vec::new();
        if self.is_empty() {
            return (Evidence { head: self.head.and(other.head), ..other }, notes);
        }
        if other.has_values() && !self.has_values() {
            self.head.hashed = other.head.hashed.clone();
        } else if other.has_values() && self.head.hashed != other.head.hashed {
            notes.push(Note::new(
                &other.head.name,
                "its values were hashed with another secret, so rows in it cannot be told to be rows seen elsewhere",
            ));
            self.tell_apart();
            other.tell_apart();
            let all: BTreeSet<&str> = [&self, &other]
                .into_iter()
                .filter_map(|evidence| evidence.head.hashed.as_deref())
                .flat_map(|secrets| secrets.split(AND))
                .collect();
            self.head.hashed = Some(all.into_iter().collect::<Vec<_>>().join(AND));
        }
        let hashed = self.head.hashed.clone();
        self.merge_tables(other.tables);
        let renamed = self.merge_statements(other.statements);
        for mut transaction in other.transactions {
            for executed in &mut transaction.statements {
                if let Some(name) = renamed.get(&executed.statement) {
                    executed.statement.clone_from(name);
                }
            }
            self.transactions.push(transaction);
        }
        self.writes.extend(other.writes);
        self.places.extend(other.places);
        self.transactions.sort_by(|a, b| a.at.total_cmp(&b.at));
        self.writes.sort_by(|a, b| a.at.total_cmp(&b.at));
        self.head = self.head.and(other.head);
        self.head.hashed = hashed;
        (self, notes)
    }

    fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.statements.is_empty() && !self.has_values()
    }

    fn has_values(&self) -> bool {
        !self.writes.is_empty() || !self.transactions.is_empty()
    }

    /// Puts the name of the secret before each value, so that equal texts of different secrets differ.
    fn tell_apart(&mut self) {
        let secret = self.head.hashed.get_or_insert_with(|| PLAIN.to_owned()).clone();
        if secret.contains(AND) {
            return;
        }
        let tell = |value: &mut Value| {
            if *value != Value::Null {
                *value = Value::Text(format!("{secret}|{}", value.text()));
            }
        };
        // Numbers of transactions of two servers may be equal, too.
        let server = place_hash(&secret) << 32;
        for writes in &mut self.writes {
            writes.xid = writes.xid.map(|xid| xid ^ server);
            writes.rows.iter_mut().flat_map(|row| row.columns.values_mut()).for_each(tell);
        }
        for transaction in &mut self.transactions {
            transaction.xid = transaction.xid.map(|xid| xid ^ server);
            let values = transaction.statements.iter_mut().flat_map(|executed| &mut executed.parameters);
            values.flatten().for_each(tell);
        }
        for place in &mut self.places {
            place.key = format!("{secret}|{}", place.key);
        }
    }

    fn merge_tables(&mut self, others: Vec<TableSeen>) {
        let mut places: BTreeMap<String, usize> =
            self.tables.iter().enumerate().map(|(place, table)| (table.name.clone(), place)).collect();
        for other in others {
            if let Some(place) = places.get(&other.name) {
                self.tables[*place].unite(other);
            } else {
                places.insert(other.name.clone(), self.tables.len());
                self.tables.push(other);
            }
        }
    }

    /// Gives the names that statements have now, where those are not what they were.
    fn merge_statements(&mut self, others: Vec<StatementSeen>) -> BTreeMap<String, String> {
        let mut renamed = BTreeMap::new();
        let mut places: BTreeMap<String, usize> =
            self.statements.iter().enumerate().map(|(place, one)| (one.id.clone(), place)).collect();
        for mut other in others {
            let was = other.id.clone();
            let mut number = 1;
            while let Some(place) = places.get(&other.id) {
                if self.statements[*place].text == other.text {
                    break;
                }
                number += 1;
                other.id = format!("{was}~{number}");
            }
            if other.id != was {
                renamed.insert(was, other.id.clone());
            }
            if let Some(place) = places.get(&other.id) {
                let known = &mut self.statements[*place];
                known.calls = add(known.calls, other.calls, u64::saturating_add);
                known.rows = add(known.rows, other.rows, u64::saturating_add);
                known.time_ms = add(known.time_ms, other.time_ms, |a, b| a + b);
            } else {
                places.insert(other.id.clone(), self.statements.len());
                self.statements.push(other);
            }
        }
        renamed
    }
}

impl TableSeen {
    /// Takes in what somebody else saw of this table; what both say, the other says better, since later.
    fn unite(&mut self, other: TableSeen) {
        for (name, column) in other.columns {
            let known = self.columns.entry(name).or_default();
            if !column.data_type.is_empty() {
                known.data_type = column.data_type;
                known.nullable = column.nullable;
            }
            known.bytes = column.bytes.or(known.bytes);
            known.distinct = column.distinct.or(known.distinct);
            if !column.common.is_empty() {
                known.common = column.common;
            }
            known.days = add(known.days, column.days, |a, b| (a.0.min(b.0), a.1.max(b.1)));
            known.ordered = column.ordered.or(known.ordered);
        }
        if self.primary_key.is_empty() {
            self.primary_key = other.primary_key;
        }
        for key in other.unique {
            if !self.unique.contains(&key) {
                self.unique.push(key);
            }
        }
        for reference in other.references {
            if !self.references.contains(&reference) {
                self.references.push(reference);
            }
        }
        self.rows = other.rows.or(self.rows);
        self.row_bytes = other.row_bytes.or(self.row_bytes);
        self.reads = add(self.reads, other.reads, u64::saturating_add);
        self.writes = add(self.writes, other.writes, |[a, b, c], [d, e, f]| {
            [a.saturating_add(d), b.saturating_add(e), c.saturating_add(f)]
        });
    }
}

impl super::Head {
    /// What both say; the secret is left as it was here.
    fn and(mut self, other: super::Head) -> super::Head {
        if self.name.is_empty() {
            self.name = other.name;
        } else if !other.name.is_empty() && !self.name.split(AND).any(|part| part == other.name) {
            self.name = format!("{}{AND}{}", self.name, other.name);
        }
        self.span = add(self.span, other.span, |a, b| (a.0.min(b.0), a.1.max(b.1)));
        self.hashed = self.hashed.or(other.hashed);
        self.sampled = add(self.sampled, other.sampled, f64::min);
        self.partitions = self.partitions.or(other.partitions);
        self.constraints.residency = self.constraints.residency.or(other.constraints.residency);
        self.constraints.retention = self.constraints.retention.or(other.constraints.retention);
        for service in other.services {
            if !self.services.contains(&service) {
                self.services.push(service);
            }
        }
        for (own, theirs) in [(&mut self.lacking, other.lacking), (&mut self.intent, other.intent)] {
            for line in theirs {
                if !own.contains(&line) {
                    own.push(line);
                }
            }
        }
        self
    }
}

/// What both have, put together; what one has, as it is.
fn add<T>(a: Option<T>, b: Option<T>, both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(both(a, b)),
        (a, b) => a.or(b),
    }
}
