//! Which tables refer to which: by what is declared, and by what names and transactions show where nothing is.

use std::collections::{BTreeMap, BTreeSet};

use crate::candidate::searched;
use crate::domain::{Domains, seen_domains};
use crate::schema::{Schema, TableId};
use crate::trace::Trace;

/// Pairs of a table and one that it refers to, whether that is declared or not.
///
/// A table refers to another if it has all of that one's primary key: columns of the same keys, as statements join them or
/// transactions use them, or of the same names and types, where the names are those of one primary key only. Who refers
/// to a table over another one does not refer to it directly. So a foreign key that is plain to see makes no difference.
pub fn related(schema: &Schema, trace: &Trace) -> BTreeSet<(TableId, TableId)> {
    let part = searched(trace);
    let domains = seen_domains(schema, part.as_ref().unwrap_or(trace));
    let mut keys: BTreeMap<&[String], u32> = BTreeMap::new();
    for table in &schema.tables {
        *keys.entry(&table.primary_key).or_default() += 1;
    }
    let mut pairs = BTreeSet::new();
    for parent in schema.ids() {
        let key = &schema.table(parent).primary_key;
        let is_telling = keys.get(key.as_slice()) == Some(&1);
        for child in schema.ids().filter(|child| *child != parent && !key.is_empty()) {
            let carries = |column: &String| {
                is_telling && same_name(schema, child, parent, column)
                    || same_keys(schema, &domains, child, parent, column)
            };
            let declares = schema.table(child).references.iter().any(|reference| reference.parent == parent);
            if declares || key.iter().all(carries) {
                pairs.insert((child, parent));
            }
        }
    }
    let is_over = |child: &TableId, parent: &TableId| {
        let one_way = |a: TableId, b: TableId| pairs.contains(&(a, b)) && !pairs.contains(&(b, a));
        schema.ids().any(|over| one_way(*child, over) && one_way(over, *parent))
    };
    pairs.iter().filter(|(child, parent)| !is_over(child, parent)).copied().collect()
}

/// Whether a table has a column of this name and type, as another one has.
fn same_name(schema: &Schema, child: TableId, parent: TableId, column: &str) -> bool {
    let type_of = |table: TableId| schema.table(table).columns.get(column);
    type_of(child).is_some() && type_of(child) == type_of(parent)
}

/// Whether a table has a key column of the same keys as this one of another.
fn same_keys(schema: &Schema, domains: &Domains, child: TableId, parent: TableId, column: &str) -> bool {
    let key = schema.table(parent).key(column);
    key.is_some_and(|key| domains.column(child, domains.of(parent, key)).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::read_workload;

    /// Tables with their primary keys, columns, and what they declare to refer to.
    const WORKLOAD: &str = r#"{"format": "advisor-workload/1", "tables": {
        "customers": {"pk": ["customer_id"], "columns": {"customer_id": "bigint"}, "key_columns": ["customer_id"]},
        "orders": {"pk": ["id"], "columns": {"id": "bigint", "customer_id": "bigint"},
            "key_columns": ["id", "customer_id"]},
        "lines": {"pk": ["id", "line"], "columns": {"id": "bigint", "line": "int", "customer_id": "bigint"},
            "key_columns": ["id", "line"]},
        "notes": {"pk": ["note"], "columns": {"note": "bigint", "customer_id": "text"}, "key_columns": ["note"]},
        "logs": {"pk": ["log"], "columns": {"log": "bigint", "by": "bigint"}, "key_columns": ["log"]},
        "marks": {"pk": ["mark"], "fks": [[["by"], "logs", ["log"]]], "columns": {"mark": "bigint", "by": "bigint"},
            "key_columns": ["mark"]}}}"#;

    #[test]
    fn who_carries_a_key_that_is_plain_to_see_refers_to_it_directly() {
        let described = read_workload(WORKLOAD).expect("a workload");
        let name = |id: &TableId| described.schema.table(*id).name.clone();
        let found: Vec<(String, String)> =
            related(&described.schema, &described.trace).iter().map(|(a, b)| (name(a), name(b))).collect();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        // Lines carry the customer as well, but over their order; a note's is of another type.
        assert_eq!(found, [pair("lines", "orders"), pair("marks", "logs"), pair("orders", "customers")]);
    }
}
