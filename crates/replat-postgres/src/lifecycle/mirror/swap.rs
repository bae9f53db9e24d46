//! The transaction that puts targets in the place of sources, and what goes before it.

use std::collections::BTreeSet;

use replat_model::lifecycle::facts::{Bound, TableName};

use super::brief::{Brief, Lock};
use super::survey::{Found, Identity, Session};
use super::{Ending, Replacement, Target, journal, named};
use crate::lifecycle::bounds;
use crate::lifecycle::ledger::{Change, Entry, Leftover, Placed, kind_word, oid_of};
use crate::sql::quote_ident;

const ACCESS_EXCLUSIVE: &str = "ACCESS EXCLUSIVE";
const SHARE_ROW_EXCLUSIVE: &str = "SHARE ROW EXCLUSIVE";

/// How long a replaced table is kept: long enough to notice that something is amiss, and short enough that the rows do
/// not lie around twice for long.
pub const REPLACED_KEPT: &str = "1 hour";

/// The trigger on one leaf.
pub fn watch(session: &Session<'_>, wanted: &Replacement, leaf: &super::survey::Leaf) -> Brief {
    let records = &session.ledger.schema;
    let mut statements = journal::watch(wanted, records, leaf);
    let name = journal::journal(wanted, records).name;
    let left = Leftover::Trigger { table: leaf.table.clone(), table_id: leaf.id, name };
    statements.push(session.ledger.leaves(session.unit, session.run, &left));
    Brief { name: "watch", locks: vec![Lock::only(&leaf.table, SHARE_ROW_EXCLUSIVE)], statements }
}

/// A CHECK on a default that stays: it has no row of the targets. True from the beginning, since those rows have
/// partitions of their own as long as the sources are attached; without it the attach would have to read the default.
pub fn exclude(
    session: &Session<'_>,
    wanted: &Replacement,
    found: &Found,
    default: &TableName,
    id: u32,
) -> Brief {
    let none = found.proofs.iter().map(|proof| format!("NOT ({proof})")).collect::<Vec<_>>().join(" AND ");
    let name = wanted.exclusion();
    let left = Leftover::Check { table: default.clone(), table_id: id, name: name.clone() };
    Brief {
        name: "exclude",
        locks: vec![Lock::only(default, ACCESS_EXCLUSIVE)],
        statements: vec![
            format!(
                "ALTER TABLE {} ADD CONSTRAINT {} CHECK ({none}) NOT VALID",
                named(default),
                quote_ident(&name)
            ),
            session.ledger.leaves(session.unit, session.run, &left),
        ],
    }
}

/// The foreign keys of one target, not yet proven.
pub fn refer(found: &Found, table: &TableName) -> Brief {
    let tables: BTreeSet<&TableName> = found.references.iter().map(|key| &key.table).collect();
    Brief {
        name: "refer",
        locks: tables.into_iter().map(|table| Lock::only(table, SHARE_ROW_EXCLUSIVE)).collect(),
        statements: found
            .references
            .iter()
            .map(|key| {
                format!(
                    "ALTER TABLE {} ADD CONSTRAINT {} {} NOT VALID",
                    named(table),
                    quote_ident(&key.name),
                    key.definition.trim_end_matches(" NOT VALID")
                )
            })
            .collect(),
    }
}

/// The swap, if the journal is empty.
pub fn swap(session: &Session<'_>, wanted: &Replacement, found: &Found) -> Brief {
    let records = &session.ledger.schema;
    let mut statements = vec![
        journal::unchanged(wanted, found, records),
        journal::settled(wanted, records),
        journal::BY_INDEX.to_owned(),
    ];
    // Checks that wait for the end of the transaction would forbid to alter the tables.
    statements.push("SET CONSTRAINTS ALL IMMEDIATE".to_owned());
    for leaf in &found.leaves {
        let trigger = quote_ident(&journal::journal(wanted, records).name);
        statements.push(format!("DROP TRIGGER {trigger} ON {}", named(&leaf.table)));
    }
    statements.push(format!("DROP FUNCTION {}()", named(&journal::journal(wanted, records))));
    for table in [journal::journal(wanted, records), journal::position(wanted, records)] {
        statements.push(format!(
            "DELETE FROM {} WHERE relation = {}",
            session.ledger.table("lifecycle_part"),
            oid_of(&table)
        ));
        statements.push(format!("DROP TABLE {}", named(&table)));
    }
    for target in &wanted.targets {
        if found.identity == Identity::Place {
            let [leaf, place] = journal::place_columns(wanted).map(|name| quote_ident(&name));
            let table = named(&target.staged);
            statements.push(format!("ALTER TABLE {table} DROP COLUMN {leaf}, DROP COLUMN {place}"));
        }
    }
    match wanted.ending {
        Ending::Attached => {
            attach(session, wanted, found, &mut statements);
            statements.push(session.ledger.ended(&session.unit.id, None, "done", None));
            statements.extend(session.ledger.tells(session.unit, &change(session, wanted, found)));
        }
        // What takes over a name says itself how, and tells of it.
        Ending::Plain => {
            for key in &found.references {
                let (table, key) = (named(&wanted.parent), quote_ident(&key.name));
                statements.push(format!("ALTER TABLE {table} DROP CONSTRAINT {key}"));
            }
        }
    }
    Brief { name: "swap", locks: locks(wanted, found), statements }
}

/// The parent first: whoever waits for it plans anew. Then the leaves' writers are out, too.
fn locks(wanted: &Replacement, found: &Found) -> Vec<Lock> {
    let mut locks = vec![Lock::only(&wanted.parent, ACCESS_EXCLUSIVE)];
    locks.extend(wanted.sources.iter().map(|source| Lock::tree(source, ACCESS_EXCLUSIVE)));
    locks.extend(found.default.iter().map(|default| Lock::only(default, ACCESS_EXCLUSIVE)));
    let referenced: BTreeSet<&TableName> = found.references.iter().map(|key| &key.table).collect();
    locks.extend(referenced.into_iter().map(|table| Lock::only(table, ACCESS_EXCLUSIVE)));
    locks.extend(wanted.targets.iter().map(|target| Lock::tree(&target.staged, ACCESS_EXCLUSIVE)));
    locks
}

fn attach(session: &Session<'_>, wanted: &Replacement, found: &Found, statements: &mut Vec<String>) {
    let parent = named(&wanted.parent);
    for (at, (source, bound)) in wanted.sources.iter().zip(&found.bounds).enumerate() {
        statements.push(format!("ALTER TABLE {parent} DETACH PARTITION {}", named(source)));
        for key in &found.keys[at] {
            statements.push(format!("ALTER TABLE {} DROP CONSTRAINT {}", named(source), quote_ident(key)));
        }
        // Its name is free from now on: for a target, or for the way back.
        let now = wanted.aside(source, at);
        statements.extend(rename(source, &now));
        let entry = Entry { table: &now, parent: &wanted.parent, bound, origin: "made", state: "replaced" };
        statements.push(session.ledger.enters(session.unit, &entry));
        statements.push(format!(
            "UPDATE {} SET drop_after = pg_catalog.clock_timestamp() + '{REPLACED_KEPT}'::pg_catalog.interval \
             WHERE relation = {}",
            session.ledger.table("lifecycle_part"),
            oid_of(&now)
        ));
    }
    let (rest, others): (Vec<&Target>, Vec<&Target>) =
        wanted.targets.iter().partition(|target| target.bound == Bound::Default);
    for target in others.into_iter().chain(rest) {
        statements.extend(rename(&target.staged, &target.called));
        let table = named(&target.called);
        statements
            .push(format!("ALTER TABLE {parent} ATTACH PARTITION {table} {}", bounds::sql(&target.bound)));
        statements.push(format!("ALTER TABLE {table} DROP CONSTRAINT {}", quote_ident(&wanted.proof())));
        let entry = Entry {
            table: &target.called,
            parent: &wanted.parent,
            bound: &target.bound,
            origin: "made",
            state: "attached",
        };
        statements.push(session.ledger.enters(session.unit, &entry));
    }
    if let Some(default) = &found.default {
        statements.push(format!(
            "ALTER TABLE {} DROP CONSTRAINT {}",
            named(default),
            quote_ident(&wanted.exclusion())
        ));
    }
}

fn rename(from: &TableName, to: &TableName) -> Option<String> {
    (from != to).then(|| format!("ALTER TABLE {} RENAME TO {}", named(from), quote_ident(&to.name)))
}

fn change(session: &Session<'_>, wanted: &Replacement, found: &Found) -> Change {
    let gone = wanted.sources.iter().zip(&found.bounds);
    Change {
        kind: kind_word(session.unit),
        parent: wanted.parent.clone(),
        removed: gone
            .map(|(table, bound)| Placed { table: table.clone(), bound: bound.clone(), below: None })
            .collect(),
        added: wanted
            .targets
            .iter()
            .map(|target| Placed {
                table: target.called.clone(),
                bound: target.bound.clone(),
                below: target.below.clone(),
            })
            .collect(),
    }
}
