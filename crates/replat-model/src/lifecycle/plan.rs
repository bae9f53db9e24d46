//! What is to be done: units that succeed or fail alone.
//!
//! A unit concerns one set, is one entry in the record of the database, and is taken back if it does not reach its end;
//! of many partitions that are attached piece by piece, those that were committed stay. Creating and retiring are never
//! in one unit, so that they can be switched off one by one and never wait for each other's locks.

use serde::{Deserialize, Serialize};

use super::facts::{Bound, Edge, Method, Micros, TableName};
use super::health::Finding;

/// What a run would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RotatePlan {
    /// The version of this format; 1.
    pub format: u32,
    /// The database it was made for; [`super::facts::Vitals::identity`].
    pub identity: String,
    /// The catalogue it was made from; [`super::facts::Facts::fingerprint`]. A plan is stale when it has changed.
    pub fingerprint: String,
    /// When, by the database's clock.
    pub at: Micros,
    /// What is to be done, in this order.
    pub units: Vec<Unit>,
    /// Sets about which nothing, or not everything, can be done, and why. The others go on.
    pub findings: Vec<Finding>,
    /// How each set was understood: given, or learned from its bounds.
    pub understood: Vec<Understood>,
}

/// How a set was understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Understood {
    /// The set.
    pub table: TableName,
    /// A sentence for people: `range of ts, 1 day from midnight UTC (learned from 31 bounds)`.
    pub grid: String,
    /// Until when, or until which key, partitions are wanted; `None` if the set does not grow.
    pub wanted_until: Option<String>,
    /// Why that far: `30 days asked`, `forecast: 41 days`, …
    pub because: String,
}

/// A piece of work that succeeds or fails alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name: `u-` and a digest of the set and the work, so that the same work has the same name.
    pub id: String,
    /// The set.
    pub set: TableName,
    /// The set's identity in the catalogue; the unit is refused if the name means another table by then.
    pub set_id: u64,
    /// What.
    pub work: Work,
    /// What it will write to the log, in bytes, by estimate.
    pub wal_bytes: u64,
    /// How many relations it adds.
    pub relations: u64,
}

/// What a unit does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Work {
    /// Finish a detach that was broken off.
    Finalize {
        /// The table it is a partition of.
        parent: TableName,
        /// The partition.
        part: TableName,
        /// Its bounds.
        bound: Bound,
    },
    /// Remove what a unit left behind that was broken off: staged tables, triggers, checks.
    Reap {
        /// The unit.
        unit: String,
        /// Staged tables of it that are attached to nothing.
        tables: Vec<TableName>,
    },
    /// New partitions of one parent.
    Create {
        /// The table that gets them.
        parent: TableName,
        /// Them, in order of their bounds.
        parts: Vec<NewPart>,
        /// The parent's default partition, whose rows are known not to belong to the new ones.
        default: Option<TableName>,
        /// A range of the edge policy that has to give way: detached, made anew with new bounds.
        edge: Option<EdgeMove>,
    },
    /// Change where rows go that belong to no partition: empty catch-all partitions of one policy are detached and
    /// dropped, and those of another are attached, in one transaction.
    Overflow {
        /// The table they are partitions of.
        parent: TableName,
        /// What is replaced, with identities and bounds: a default, or ranges that end in MINVALUE or MAXVALUE. They
        /// are known to be empty, which is looked at again under the lock.
        old: Vec<(TableName, u64, Bound)>,
        /// By what; empty for a policy that refuses such rows.
        new: Vec<NewPart>,
    },
    /// New partitions for rows that lie in the default partition; the rows are moved and stay visible.
    Drain {
        /// The table that gets the partitions.
        parent: TableName,
        /// Its default partition.
        default: TableName,
        /// The new partitions, which have no partitions of their own below two levels.
        parts: Vec<NewPart>,
    },
    /// Detach a partition that is no longer wanted; keep it.
    Retire {
        /// The table it is a partition of.
        parent: TableName,
        /// It.
        part: TableName,
        /// Its identity in the catalogue.
        part_id: u64,
        /// Its bounds.
        bound: Bound,
        /// Whether the parent has a default partition, so that it cannot be detached beside its readers.
        default: Option<TableName>,
        /// Into which folder it is written first, if it is.
        archive: Option<String>,
        /// When it may be dropped; `None` if never.
        drop_after: Option<Micros>,
        /// Why: `its upper bound is 91 days old, 90 are kept`.
        because: String,
    },
    /// Write a detached partition to a file, and read the file back.
    Archive {
        /// It.
        table: TableName,
        /// Its identity in the catalogue.
        table_id: u64,
        /// The folder.
        folder: String,
    },
    /// Drop a table that was retired, or replaced, and whose time is over.
    Drop {
        /// It.
        table: TableName,
        /// Its identity in the catalogue.
        table_id: u64,
        /// Why now.
        because: String,
    },
    /// Take partitions over that others made: from now on they can be retired.
    Adopt {
        /// They, with their identities.
        parts: Vec<(TableName, u64)>,
    },
    /// Give partitions back that were taken over: from now on they are not retired.
    Disown {
        /// They, with their identities.
        parts: Vec<(TableName, u64)>,
    },
    /// Replace some neighbouring partitions by others that cover the same keys: split, merge, other moduli.
    Recut {
        /// The table they are partitions of.
        parent: TableName,
        /// What is replaced, with identities and bounds.
        old: Vec<(TableName, u64, Bound)>,
        /// By what.
        new: Vec<NewPart>,
    },
    /// Make an ordinary table the first partition of a new partitioned table of its name.
    Convert {
        /// The table.
        table: TableName,
        /// How the new parent is cut, from the outermost level.
        levels: Vec<NewLevel>,
        /// What the old table is called as a partition.
        first_name: String,
        /// Its bounds.
        first: Bound,
        /// Further partitions, before and after it.
        others: Vec<NewPart>,
    },
    /// Make a partitioned table ordinary again.
    Unconvert {
        /// The table.
        table: TableName,
        /// How it was cut, for the way back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<NewLevel>,
    },
    /// Build what an index of the set lacks on its partitions.
    Align {
        /// The index.
        index: String,
        /// On what it is missing.
        missing_on: Vec<TableName>,
        /// Equal indexes that need only be attached.
        attach: Vec<(TableName, String)>,
        /// Invalid ones, to be built again.
        rebuild: Vec<(TableName, String)>,
    },
}

impl Work {
    /// The switch that turns this kind of work off, and its word in records and on the command line.
    pub fn kind(&self) -> Kind {
        match self {
            Work::Finalize { .. } | Work::Reap { .. } => Kind::Repair,
            Work::Create { .. } | Work::Overflow { .. } => Kind::Create,
            Work::Drain { .. } => Kind::Drain,
            Work::Retire { .. } | Work::Archive { .. } => Kind::Retire,
            Work::Drop { .. } => Kind::Drop,
            Work::Adopt { .. } | Work::Disown { .. } => Kind::Adopt,
            Work::Recut { .. } => Kind::Recut,
            Work::Convert { .. } | Work::Unconvert { .. } => Kind::Convert,
            Work::Align { .. } => Kind::Align,
        }
    }
}

/// Kinds of work, each with a switch of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Finish or undo what was broken off. Cannot be switched off.
    Repair,
    /// New partitions.
    Create,
    /// Rows out of the default partition.
    Drain,
    /// Old partitions detached.
    Retire,
    /// Retired partitions dropped.
    Drop,
    /// Partitions of others taken over.
    Adopt,
    /// Partitions split, merged, or cut by another modulus.
    Recut,
    /// Ordinary to partitioned, and back.
    Convert,
    /// Indexes completed.
    Align,
}

impl Kind {
    /// Its word on the command line and in records.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Repair => "repair",
            Kind::Create => "create",
            Kind::Drain => "drain",
            Kind::Retire => "retire",
            Kind::Drop => "drop",
            Kind::Adopt => "adopt",
            Kind::Recut => "recut",
            Kind::Convert => "convert",
            Kind::Align => "align",
        }
    }
}

/// A partition that is to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPart {
    /// Its table.
    pub table: TableName,
    /// What belongs to it.
    pub bound: Bound,
    /// The partition whose settings it takes: owner, privileges, storage, replica identity. `None`: the parent's.
    pub like: Option<TableName>,
    /// How it is cut further, if it is.
    pub below: Option<NewLevel>,
}

/// How a new partition is cut further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewLevel {
    /// By what.
    pub method: Method,
    /// Its keys, as the engine writes them.
    pub keys: Vec<String>,
    /// Its partitions.
    pub parts: Vec<NewPart>,
}

/// A range of the edge policy that gives way to new partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeMove {
    /// The partition that holds the edge now.
    pub table: TableName,
    /// Its bounds now.
    pub from: Vec<Edge>,
    /// Where it is to begin.
    pub to: Vec<Edge>,
}
