//! What is wanted of a set's partitions.
//!
//! A [`Lifecycle`] is a table `[lifecycles.NAME]` of the spec, or what the command line said, or both: what is absent
//! is learned from the bounds that are there ([`super::infer`]). It names no statement and no engine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::TableName;
use crate::spec::{ByteSize, DurationText};

/// What is wanted of the partitions of some tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lifecycle {
    /// The database that holds the tables, by its name in the spec. Default: the only one, or `--db-url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The partitioned tables, as `schema.table`; `*` stands for any characters.
    #[schemars(inner(length(min = 1)))]
    pub tables: Vec<String>,
    /// The composite definition, from the outermost cut to the innermost. Default: as the newest partition is cut.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<LevelPolicy>,
    /// How many partitions are kept ready after the one in use. Where several keys say how far, the farthest counts.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead_count: Option<u32>,
    /// For how long partitions are kept ready. Default: 30d unless `ahead_count` or `until` says how far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead: Option<DurationText>,
    /// Until which day partitions are kept ready, as `2027-01-01`; of keys that are numbers also a key. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Whether the forecast of ingestion may extend the horizon, and set it for keys that are numbers. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<bool>,
    /// How far the forecast may extend the horizon at most, as a multiple of what was asked for. At least 1.
    /// Default: 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub forecast_limit: Option<u32>,
    /// The size a partition should have; the interval of new ones is chosen by it, among divisors and multiples that
    /// fit the bounds that are there. Default: the interval stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_size: Option<ByteSize>,
    /// Where rows go that belong to no partition of the outermost ranges, and of those below lists. Default: as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflow: Option<Overflow>,
    /// Whether rows are moved out of a default partition into partitions of their own. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<bool>,
    /// What becomes of old partitions. Default: they stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retire: Option<Retire>,
    /// Bounds to what is spent. Default: none beyond the room there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// Queries of which EXPLAIN must show that partitions are pruned. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prune: Vec<PruneQuery>,
    /// Whether partitions that others made are taken over. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopt: Option<bool>,
}

impl Lifecycle {
    /// Whether it is about `table`.
    pub fn covers(&self, table: &TableName) -> bool {
        self.tables.iter().any(|pattern| matches(pattern, table))
    }

    /// What it says, and where it says nothing, what `base` says. Of `tables` it takes those of `base`, since they
    /// are how the two came together.
    #[must_use]
    pub fn over(&self, base: &Lifecycle) -> Lifecycle {
        let list = |own: &Vec<_>, other: &Vec<_>| if own.is_empty() { other.clone() } else { own.clone() };
        Lifecycle {
            database: self.database.clone().or_else(|| base.database.clone()),
            tables: base.tables.clone(),
            levels: list(&self.levels, &base.levels),
            ahead_count: self.ahead_count.or(base.ahead_count),
            ahead: self.ahead.or(base.ahead),
            until: self.until.clone().or_else(|| base.until.clone()),
            forecast: self.forecast.or(base.forecast),
            forecast_limit: self.forecast_limit.or(base.forecast_limit),
            partition_size: self.partition_size.or(base.partition_size),
            overflow: self.overflow.or(base.overflow),
            drain: self.drain.or(base.drain),
            retire: match (&self.retire, &base.retire) {
                (Some(own), Some(base)) => Some(own.over(base)),
                (own, base) => own.clone().or_else(|| base.clone()),
            },
            quota: match (&self.quota, &base.quota) {
                (Some(own), Some(base)) => Some(own.over(base)),
                (own, base) => own.clone().or_else(|| base.clone()),
            },
            prune: if self.prune.is_empty() { base.prune.clone() } else { self.prune.clone() },
            adopt: self.adopt.or(base.adopt),
        }
    }
}

/// For how long partitions are kept ready where nobody said how far. Unit: days.
pub const AHEAD_DAYS: u32 = 30;

/// What is wanted of some tables beyond their policy: a burst was announced, or seen. Never less than the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct More {
    /// The tables, as in [`Lifecycle::tables`]; empty for all.
    pub tables: Vec<String>,
    /// For how long partitions are to be ready at least.
    pub ahead: Option<DurationText>,
    /// How many partitions are to be ready after the one in use at least.
    pub ahead_count: Option<u32>,
}

impl More {
    /// Whether it is about `table`.
    pub fn covers(&self, table: &TableName) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|pattern| matches(pattern, table))
    }
}

impl Lifecycle {
    /// The same, with partitions kept ready at least as far as `more` says.
    #[must_use]
    pub fn at_least(mut self, more: &More) -> Lifecycle {
        if more.ahead.is_none() && more.ahead_count.is_none() {
            return self;
        }
        // Where nothing was said, a default holds that a count alone would take away.
        if self.ahead.is_none() && self.ahead_count.is_none() && self.until.is_none() {
            self.ahead = Some(DurationText::days(AHEAD_DAYS));
        }
        self.ahead = self.ahead.max(more.ahead);
        self.ahead_count = self.ahead_count.max(more.ahead_count);
        self
    }
}

impl Retire {
    fn over(&self, base: &Retire) -> Retire {
        Retire {
            keep: self.keep.or(base.keep),
            keep_keys: self.keep_keys.or(base.keep_keys),
            keep_bytes: self.keep_bytes.or(base.keep_bytes),
            keep_rows: self.keep_rows.or(base.keep_rows),
            when: self.when.clone().or_else(|| base.when.clone()),
            how: if self.how == RetireHow::Detach { base.how } else { self.how },
            archive: self.archive.clone().or_else(|| base.archive.clone()),
            drop_after: self.drop_after.or(base.drop_after),
            max_per_run: self.max_per_run.or(base.max_per_run),
            // Both hold: a hold is given up where it was written down, and nowhere else.
            legal_hold: self.legal_hold.iter().chain(&base.legal_hold).cloned().collect(),
        }
    }
}

impl Quota {
    fn over(&self, base: &Quota) -> Quota {
        Quota {
            database: self.database.or(base.database),
            disk_free: self.disk_free.or(base.disk_free),
            relations: self.relations.or(base.relations),
            partitions: self.partitions.or(base.partitions),
            table: self.table.or(base.table),
            tenant: self.tenant.or(base.tenant),
        }
    }
}

/// Whether `pattern`, `schema.table` or only `table`, with `*` for any characters, means `table`.
pub fn matches(pattern: &str, table: &TableName) -> bool {
    like(pattern, &format!("{}.{}", table.schema, table.name)) || like(pattern, &table.name)
}

/// Greedy, with one way back to the last star: linear in all but contrived patterns, and never exponential.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(c) if *c == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((begin, taken)) = star else { return false };
                star = Some((begin, taken + 1));
                at = begin + 1;
                seen = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// One level of a composite definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LevelPolicy {
    /// The column, or the columns, separated by commas; `*` for whatever the table is cut by.
    #[schemars(length(min = 1))]
    pub column: String,
    /// By what it is cut.
    pub by: Cut,
    /// Of a range: the length of a partition: `1 day`, `6 hours`, `9 weeks`, `1 month`, or a number such as `1000000`.
    /// Default: by the bounds that are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Of a range: where the grid begins, as a value of the column. Default: the bounds that are there, or the
    /// natural beginning: midnight, Monday, the first of the month, zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Of a range over times: the zone whose midnights count, as `Europe/Berlin`. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Of a range: what the values mean, where the type does not say: `epoch-s`, `epoch-ms`, `epoch-us`, `epoch-ns`,
    /// `uuidv7`, `ulid`, `snowflake`, `number`. Default: by the type and the bounds that are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Of the encoding `snowflake`: its first millisecond since 1970, and how many bits lie below the time. Default:
    /// 1288834974657 and 22.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snowflake: Option<Snowflake>,
    /// Of a hash: how many partitions there are. From 1 to 4096. Default: as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub modulus: Option<u32>,
    /// Of a list: the partitions that must be there, by their values. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Vec<String>>,
    /// Of a list: how it grows. Default: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grow: Option<Grow>,
}

/// By what a level is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// Ranges.
    Range,
    /// Lists of values.
    List,
    /// A hash.
    Hash,
}

/// The layout of a snowflake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Snowflake {
    /// Milliseconds since 1970 at which its time is zero.
    pub epoch_ms: i64,
    /// Bits below the time.
    pub shift: u32,
}

/// How a list grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grow {
    /// On what occasion.
    pub on: GrowOn,
    /// Of a sliding list: the next value comes when the newest partition has so many rows. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Of a sliding list: the next value comes when the newest partition is so old. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<DurationText>,
}

/// On what occasion a list gets another partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GrowOn {
    /// A value that has none was seen in the default partition.
    Appearance,
    /// The newest one is full or old: the next whole number.
    Sliding,
}

/// Where rows go that belong to no partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// Nowhere: the database refuses them.
    Reject,
    /// Into two ordinary ranges, before the first partition and after the last.
    Edge,
    /// Into a default partition.
    Default,
}

/// What becomes of old partitions. `keep`, `keep_keys`, `keep_bytes`, `keep_rows` and `when` say which are old; where
/// several do, a partition is old when one of them says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retire {
    /// Older than this: its upper bound lies so long ago. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<DurationText>,
    /// Of keys that are numbers: its upper bound lies so far below the highest key in use. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_keys: Option<u64>,
    /// The newest partitions that fit into this size stay. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_bytes: Option<ByteSize>,
    /// The newest partitions that have together at most so many rows stay. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_rows: Option<u64>,
    /// A condition on the partition's rows, in SQL, that must be true of every row. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// What is done with them. Default: detach.
    pub how: RetireHow,
    /// The folder that archives are written to; of `archive`, and of `drop`, which does without. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// How long a detached partition is kept before it is dropped; of `drop`, and of `archive`. Default: it is not
    /// dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_after: Option<DurationText>,
    /// How many are retired in one run at most. At least 1. Default: 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_per_run: Option<u32>,
    /// Conditions in SQL: a partition with a row of which one is true is not retired. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub legal_hold: Vec<String>,
}

/// What is done with an old partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RetireHow {
    /// It is detached, and stays as a table.
    #[default]
    Detach,
    /// It is detached, and written to a file that is read back.
    Archive,
    /// It is detached, kept for `drop_after`, and dropped.
    Drop,
}

/// Bounds to what is spent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// The whole database. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<ByteSize>,
    /// What must stay free on disk. Default: none; where the server cannot say how much is free, that is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_free: Option<ByteSize>,
    /// Relations in the database. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relations: Option<u64>,
    /// Partitions of one table. At least 1. Default: 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub partitions: Option<u32>,
    /// One table with all its partitions. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<ByteSize>,
    /// One partition of the outermost level: with tenants there, one tenant. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<ByteSize>,
}

/// A query of which EXPLAIN must show that partitions are pruned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneQuery {
    /// The statement, with literals in place of parameters.
    #[schemars(length(min = 1))]
    pub sql: String,
    /// How many partitions it may touch. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u32>,
    /// Whether a query that touches more forbids new partitions. Default: false.
    #[serde(default)]
    pub veto: bool,
}
