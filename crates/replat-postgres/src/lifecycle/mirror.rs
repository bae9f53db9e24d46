//! Rows that are copied to new tables while they are written, and a swap that takes milliseconds.
//!
//! One mechanism replaces **sources** (some partitions, or the default) by **targets** that cover the same keys: a drain,
//! a split, a merge, another modulus, and the way back to one plain table.
//!
//! ```text
//!   stage     targets beside the set, each with a CHECK that is word for word the engine's own partition constraint
//!   watch     an AFTER ROW trigger on each source writes the *identity* of each touched row into a journal
//!   copy      page ranges of the sources, in short transactions; where it stands is kept with the rows
//!   follow    what the journal names is deleted from the targets and read anew from the sources
//!   prove     foreign keys validated, statistics gathered, older snapshots gone
//!   swap      one transaction: locks, the rest of the journal, detach, attach; every scan is skipped by a CHECK
//! ```
//!
//! **Why a journal, and not a trigger that writes into the targets.** A trigger of a REPEATABLE READ or SERIALIZABLE
//! writer reads with that writer's snapshot. If the writer deletes a row which the copy moved after that snapshot was
//! taken, its trigger cannot see the copied row, and a deleted row would come back with the swap. An *insert into a
//! journal* needs no snapshot. It takes no lock that another writer wants, so writers wait neither for the copy nor
//! for each other, and nothing that can fail on a target fails in their transactions.
//!
//! **Why it is exact.** One session copies and follows, never at the same time. Following runs in one REPEATABLE READ
//! transaction: an entry is visible to it exactly if the change that it names is. So after each step every row of the
//! targets equals the row of the sources, but for rows that have an entry still to come. The swap takes the writers' locks
//! first and follows once more: then no entry is to come. A row that was copied late, in an old state, has its entry
//! still in front of it; an entry that was taken early is newer than any state that a later copy reads.
//!
//! **What identifies a row**: the columns of a unique constraint of the set that can neither be null nor wait for the
//! end of a transaction, the primary key above all. A table without one is followed by *place*: the source's identity and the
//! row's `ctid`, which the targets carry in two columns until the swap drops them. A place that is used again is no
//! harm, since an entry says "look there again" and not what was there. What moves places without a trigger (TRUNCATE,
//! VACUUM FULL, CLUSTER, a rewriting ALTER) gives the source a new file, which is noticed, and the copy starts anew.
//!
//! **What is left open.** A transaction that reads with an old snapshot, and touches the set for the first time after the
//! swap, would not see rows that were copied after its snapshot. The swap waits until no such snapshot is left; for the
//! rows that were written in the last moments before the swap it cannot, since new snapshots are taken all the time.

pub mod brief;
pub mod flow;
pub mod journal;
pub mod stage;
pub mod survey;
pub mod swap;
pub mod undo;

use replat_model::lifecycle::facts::{Bound, TableName};
use replat_model::lifecycle::plan::{NewLevel, NewPart};

use crate::sql::quote_ident;

/// What is to be replaced by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The unit that wants it; names of what is made for it are derived from it.
    pub unit: String,
    /// The table whose partitions are replaced.
    pub parent: TableName,
    /// They.
    pub sources: Vec<TableName>,
    /// What comes in their place.
    pub targets: Vec<Target>,
    /// How the targets come in their place.
    pub ending: Ending,
}

/// How targets come in the place of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// They become partitions of the parent.
    Attached,
    /// The only one becomes an ordinary table with the parent's name; sources are all partitions there are.
    Plain,
}

/// A table that is filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name until the swap.
    pub staged: TableName,
    /// Its name afterwards; that of a source if it takes its place.
    pub called: TableName,
    /// What belongs to it; not used for [`Ending::Plain`].
    pub bound: Bound,
    /// The partition whose settings it takes; `None`: the parent's.
    pub like: Option<TableName>,
    /// How it is cut further, if it is.
    pub below: Option<NewLevel>,
}

impl Replacement {
    /// Rows out of a default partition, into partitions of their own. What is left goes into a new default that takes
    /// the old one's name.
    pub fn drain(unit: &str, parent: &TableName, default: &TableName, parts: &[NewPart]) -> Replacement {
        let rest = NewPart {
            table: default.clone(),
            bound: Bound::Default,
            like: Some(default.clone()),
            below: None,
        };
        let parts: Vec<NewPart> = parts.iter().cloned().chain([rest]).collect();
        Replacement::recut(unit, parent, std::slice::from_ref(default), &parts)
    }

    /// Partitions by others that cover the same keys.
    pub fn recut(unit: &str, parent: &TableName, old: &[TableName], new: &[NewPart]) -> Replacement {
        let tag = tag(unit);
        let targets = new.iter().enumerate().map(|(at, part)| Target {
            // Two tables cannot have one name, so who takes over a name waits under another.
            staged: match old.contains(&part.table) {
                true => part.table.beside(format!("replat_{tag}_{at}")),
                false => part.table.clone(),
            },
            called: part.table.clone(),
            bound: part.bound.clone(),
            like: part.like.clone(),
            below: part.below.clone(),
        });
        Replacement {
            unit: unit.to_owned(),
            parent: parent.clone(),
            sources: old.to_vec(),
            targets: targets.collect(),
            ending: Ending::Attached,
        }
    }

    /// All partitions of a table, by one ordinary table of its name.
    pub fn plain(unit: &str, table: &TableName, parts: &[TableName]) -> Replacement {
        let target = Target {
            staged: table.beside(format!("replat_{}_0", tag(unit))),
            called: table.clone(),
            bound: Bound::Default,
            like: None,
            below: None,
        };
        Replacement {
            unit: unit.to_owned(),
            parent: table.clone(),
            sources: parts.to_vec(),
            targets: vec![target],
            ending: Ending::Plain,
        }
    }

    /// What names made for it end in.
    pub fn tag(&self) -> String {
        tag(&self.unit)
    }

    /// The name that a replaced table has until it is dropped, if another takes its own.
    pub fn aside(&self, source: &TableName, at: usize) -> TableName {
        source.beside(format!("replat_{}_old_{at}", self.tag()))
    }

    /// The constraint that proves a bound until the swap.
    pub fn proof(&self) -> String {
        format!("replat_{}_bound", self.tag())
    }

    /// The constraint that proves that a default has none of the targets' rows.
    pub fn exclusion(&self) -> String {
        format!("replat_{}_not", self.tag())
    }
}

/// A part of names, from a unit's name: short, and only of letters and digits.
pub fn tag(unit: &str) -> String {
    let kept: String = unit.trim_start_matches("u-").chars().filter(char::is_ascii_alphanumeric).collect();
    kept.to_ascii_lowercase().chars().take(24).collect()
}

/// A table's name as SQL.
pub fn named(table: &TableName) -> String {
    format!("{}.{}", quote_ident(&table.schema), quote_ident(&table.name))
}
