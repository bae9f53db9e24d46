//! Evidence of one system from several files, put together.

use std::collections::{BTreeMap, BTreeSet};

use super::{Evidence, Head, Note, StatementSeen, TableSeen};
use crate::value::{Value, place_hash};

/// What names values that nobody hashed, beside such that somebody did.
const PLAIN: &str = "plain";

/// What stands between the names of secrets, where several were used.
const AND: &str = "+";

/// How two counts of the same have to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counting {
    /// Two servers counted, or it is not known: together they are the sum.
    Apart,
    /// One server counted, at one time and at another.
    InTurn,
    /// One server counted, and the times overlap: the smaller count is a part of the greater one.
    AtOneTime,
}

impl Counting {
    fn of(one: &Head, other: &Head) -> Counting {
        if one.counted_by.is_none() || one.counted_by != other.counted_by {
            return Counting::Apart;
        }
        match (one.span, other.span) {
            (Some((a, b)), Some((c, d))) if a < d && c < b => Counting::AtOneTime,
            _ => Counting::InTurn,
        }
    }
}

impl Evidence {
    /// This evidence and another of the same system.
    ///
    /// Tables and statements of the same name are one; how often statements ran is added, unless one server counted both at
    /// one time, so that one count is a part of the other; transactions stand side by side. Values that were hashed with different secrets cannot be compared: then each keeps its own, so that no
    /// value of one file is taken for a value of the other, and a note says so.
    #[must_use]
    pub fn merge(mut self, mut other: Evidence) -> (Evidence, Vec<Note>) {
        let mut notes = Vec::new();
        if self.is_empty() {
            let counted_by = other.head.counted_by.clone();
            let head = Head { counted_by, ..self.head.and(other.head) };
            return (Evidence { head, ..other }, notes);
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
        let counting = Counting::of(&self.head, &other.head);
        self.merge_tables(other.tables, counting);
        let renamed = self.merge_statements(other.statements, counting);
        for mut transaction in other.transactions {
            for executed in &mut transaction.statements {
                if let Some(name) = renamed.get(&executed.statement) {
                    executed.statement.clone_from(name);
                }
            }
            self.transactions.push(transaction);
        }
        self.writes.extend(other.writes);
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
        let told = |value: &Value| match value {
            Value::Null => Value::Null,
            known => Value::Text(format!("{secret}|{}", known.text())),
        };
        // Elements of a list are compared with values that are in none.
        let tell = |value: &mut Value| {
            *value = match value.elements() {
                Some(elements) => Value::list(&elements.iter().map(told).collect::<Vec<_>>()),
                None => told(value),
            };
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
    }

    fn merge_tables(&mut self, others: Vec<TableSeen>, counting: Counting) {
        let mut places: BTreeMap<String, usize> =
            self.tables.iter().enumerate().map(|(place, table)| (table.name.clone(), place)).collect();
        for other in others {
            if let Some(place) = places.get(&other.name) {
                self.tables[*place].unite(other, counting);
            } else {
                places.insert(other.name.clone(), self.tables.len());
                self.tables.push(other);
            }
        }
    }

    /// Gives the names that statements have now, where those are not what they were.
    fn merge_statements(
        &mut self,
        others: Vec<StatementSeen>,
        counting: Counting,
    ) -> BTreeMap<String, String> {
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
                let is_part = counting == Counting::AtOneTime;
                let count = if is_part { u64::max } else { u64::saturating_add };
                known.calls = add(known.calls, other.calls, count);
                known.rows = add(known.rows, other.rows, count);
                known.time_ms =
                    add(known.time_ms, other.time_ms, |a, b| if is_part { a.max(b) } else { a + b });
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
    fn unite(&mut self, other: TableSeen, counting: Counting) {
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
        if !other.order.is_empty() {
            self.order = other.order;
        }
        self.parts.extend(other.parts);
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
        // A server counts these from its beginning on, whenever it is asked.
        let count = if counting == Counting::Apart { u64::saturating_add } else { u64::max };
        self.reads = add(self.reads, other.reads, count);
        self.writes =
            add(self.writes, other.writes, |[a, b, c], [d, e, f]| [count(a, d), count(b, e), count(c, f)]);
    }
}

impl Head {
    /// What both say; the secret is left as it was here.
    fn and(mut self, other: Head) -> Head {
        if self.name.is_empty() {
            self.name = other.name;
        } else if !other.name.is_empty() && !self.name.split(AND).any(|part| part == other.name) {
            self.name = format!("{}{AND}{}", self.name, other.name);
        }
        self.span = add(self.span, other.span, |a, b| (a.0.min(b.0), a.1.max(b.1)));
        self.hashed = self.hashed.or(other.hashed);
        self.counted_by = self.counted_by.filter(|own| other.counted_by.as_ref() == Some(own));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(server: Option<&str>, span: (f64, f64), calls: u64) -> Evidence {
        let statement = StatementSeen {
            id: "1".to_owned(),
            text: "select a from t".to_owned(),
            calls: Some(calls),
            rows: Some(calls * 2),
            time_ms: Some(calls as f64),
        };
        let table = TableSeen {
            name: "t".to_owned(),
            reads: Some(calls),
            writes: Some([calls, 0, 1]),
            ..TableSeen::default()
        };
        let head = Head { counted_by: server.map(str::to_owned), span: Some(span), ..Head::default() };
        Evidence { head, statements: vec![statement], tables: vec![table], ..Evidence::default() }
    }

    #[test]
    fn what_one_server_counted_is_not_added_up_twice() {
        let (a, b) = (Some("a"), Some("b"));
        // A capture, or what is put together, and what comes to it; then the calls of the statement and the scans of the table.
        let rows = [
            (
                "a look that began before the capture",
                vec![(a, (100.0, 200.0), 30), (a, (0.0, 300.0), 90)],
                90,
                90,
            ),
            ("two captures in turn", vec![(a, (100.0, 200.0), 30), (a, (200.0, 300.0), 50)], 80, 50),
            (
                "two captures and a look",
                vec![(a, (100.0, 200.0), 30), (a, (200.0, 300.0), 50), (a, (0.0, 300.0), 95)],
                95,
                95,
            ),
            ("two servers", vec![(a, (100.0, 200.0), 30), (b, (0.0, 300.0), 90)], 120, 120),
            ("nobody says which", vec![(None, (100.0, 200.0), 30), (None, (0.0, 300.0), 90)], 120, 120),
        ];
        for (case, parts, calls, reads) in rows {
            let all = parts.into_iter().fold(Evidence::default(), |all, (server, span, calls)| {
                all.merge(counted(server, span, calls)).0
            });
            assert_eq!(all.statements[0].calls, Some(calls), "{case}");
            assert_eq!(all.statements[0].rows, Some(calls * 2), "{case}");
            assert_eq!(
                (all.tables[0].reads, all.tables[0].writes),
                (Some(reads), Some([reads, 0, all.tables[0].writes.map_or(0, |w| w[2])])),
                "{case}"
            );
        }
    }
}
