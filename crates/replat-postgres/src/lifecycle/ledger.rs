//! What replat keeps in the managed database about partitions: which are its own, what it began, what it changed.
//!
//! A partition counts as replat's own only if [`lifecycle_part`](PARTS) has its oid *and* the name there is the table's
//! present name, since oids are used again. Everything that is kept about a change is written in the transaction that
//! makes it; so the statements here are text with literals, parts of a unit's script like its DDL, and shown with it.
//!
//! The outbox is what those who follow the map read. Its versions rise by one in the order of commits: the row is
//! written under a lock on the outbox that is held until the transaction ends.

mod place;

use replat_engine::EngineError;
pub use replat_model::lifecycle::change::{Change, Placed};
use replat_model::lifecycle::facts::{Bound, Micros, TableName};
use replat_model::lifecycle::plan::Unit;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use crate::error::on;
use crate::sql::{quote_ident, quote_literal};

pub use place::{ensure, find, readable, removal};

/// The channel on which a new version is told.
pub const CHANNEL: &str = "replat_lifecycle";
/// By what the tables are recognised, in whatever schema they lie.
pub const MARK: &str = "replat lifecycle";
/// The table of partitions.
pub const PARTS: &str = "lifecycle_part";

/// The tables of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// The schema they lie in.
    pub schema: String,
}

/// Something other than a table that a unit puts on a table in use for as long as it is at work. It is written down in
/// the transaction that makes it, and removed when the unit is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Leftover {
    /// A check that proves what an attach would else have to read.
    Check {
        /// The table.
        table: TableName,
        /// Its identity.
        table_id: u32,
        /// The constraint's name.
        name: String,
    },
    /// A trigger that mirrors changes.
    Trigger {
        /// The table.
        table: TableName,
        /// Its identity.
        table_id: u32,
        /// The trigger's name.
        name: String,
    },
    /// The function of such a trigger; it has no arguments.
    Function {
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
}

/// A table of the ledger that is there under the name the ledger has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its identity.
    pub id: u32,
    /// Its name.
    pub table: TableName,
    /// `staged`, `attached`, `detached`, `replaced`.
    pub state: String,
    /// Whether the catalogue has it as a partition of something.
    pub attached: bool,
    /// Whether somebody asked to keep it for ever.
    pub legal_hold: bool,
    /// Where it was archived to, and the digest of that file.
    pub archive: Option<(String, String)>,
    /// The unit that put it into its state.
    pub unit: String,
}

/// Puts a hold on partitions, so that they are neither retired nor dropped, or lifts it: on one table, or on all that
/// belong to a set. Which of them; none if replat has no record of any.
///
/// # Errors
///
/// [`EngineError`] if the records cannot be kept.
pub async fn hold(client: &Client, table: &TableName, hold: bool) -> Result<Vec<TableName>, EngineError> {
    let Some(ledger) = readable(client).await? else { return Ok(Vec::new()) };
    let sql = format!(
        "UPDATE {} p SET legal_hold = $3 WHERE p.state IN ('attached', 'detached') \
           AND ((p.schema_name = $1 AND p.table_name = $2) OR (p.set_schema = $1 AND p.set_name = $2) \
             OR (p.parent_schema = $1 AND p.parent_name = $2)) \
           AND EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.oid = p.relation AND c.relname = p.table_name AND n.nspname = p.schema_name) \
         RETURNING p.schema_name, p.table_name",
        ledger.table(PARTS)
    );
    let rows = client.query(&sql, &[&table.schema, &table.name, &hold]).await;
    let rows = rows.map_err(on("the database", "writing down a hold"))?;
    let mut held: Vec<TableName> =
        rows.iter().map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1))).collect();
    held.sort();
    Ok(held)
}

/// The newest version that was told to those who follow the map; 0 if none was, or if replat has no records here.
///
/// # Errors
///
/// [`EngineError`] if the records cannot be read.
pub async fn outbox_version(client: &Client) -> Result<u64, EngineError> {
    let Some(ledger) = readable(client).await? else { return Ok(0) };
    let sql = format!("SELECT coalesce(max(version), 0) FROM {}", ledger.table("lifecycle_outbox"));
    let row =
        client.query_one(&sql, &[]).await.map_err(on("the database", "reading replat's own records"))?;
    Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
}

impl Ledger {
    /// The ledger's table `name`, quoted.
    pub fn table(&self, name: &str) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(name))
    }

    /// The unit begins. What an earlier try of it left on other tables stays written down.
    pub fn begin(&self, unit: &Unit, run: &str) -> String {
        let work = serde_json::to_string(&unit.work).expect("work is made of texts and numbers");
        format!(
            "INSERT INTO {} AS u (id, run, set_schema, set_name, kind, work, state, begun_at) \
             VALUES ({}, {}, {}, {}, {}, {}, 'begun', pg_catalog.clock_timestamp()) \
             ON CONFLICT (id, run) DO UPDATE SET state = 'begun', begun_at = excluded.begun_at, ended_at = NULL, \
             why = NULL, progress = CASE WHEN u.state IN ('begun', 'failed') THEN u.progress END",
            self.table("lifecycle_unit"),
            quote_literal(&unit.id),
            quote_literal(run),
            quote_literal(&unit.set.schema),
            quote_literal(&unit.set.name),
            quote_literal(&kind_word(unit)),
            quote_literal(&work),
        )
    }

    /// The unit has reached its end.
    pub fn done(&self, unit: &Unit, run: &str) -> String {
        self.ended(&unit.id, Some(run), "done", None)
    }

    /// The unit is over: `done`, `failed` (something of it is still there) or `taken-back`. Without a run, all its
    /// tries that are not over.
    pub fn ended(&self, unit: &str, run: Option<&str>, state: &str, why: Option<&str>) -> String {
        let which = match run {
            Some(run) => format!("run = {}", quote_literal(run)),
            None => "state IN ('begun', 'failed')".to_owned(),
        };
        format!(
            "UPDATE {} SET state = {}, ended_at = pg_catalog.clock_timestamp(), why = coalesce({}, why) \
             WHERE id = {} AND {which}",
            self.table("lifecycle_unit"),
            quote_literal(state),
            why.map_or("NULL".to_owned(), quote_literal),
            quote_literal(unit),
        )
    }

    /// What came of the unit, in numbers.
    pub fn outcome(&self, unit: &str, run: &str, outcome: &str) -> String {
        format!(
            "UPDATE {} SET outcome = {}::jsonb WHERE id = {} AND run = {}",
            self.table("lifecycle_unit"),
            quote_literal(outcome),
            quote_literal(unit),
            quote_literal(run),
        )
    }

    /// The unit puts something on a table in use.
    pub fn leaves(&self, unit: &Unit, run: &str, leftover: &Leftover) -> String {
        let leftover = serde_json::to_string(&[leftover]).expect("a leftover is made of texts and numbers");
        format!(
            "UPDATE {} SET progress = pg_catalog.jsonb_set(coalesce(progress, '{{}}'::jsonb), '{{leftovers}}', \
             coalesce(progress->'leftovers', '[]'::jsonb) OPERATOR(pg_catalog.||) {}::jsonb) WHERE id = {} AND run = {}",
            self.table("lifecycle_unit"),
            quote_literal(&leftover),
            quote_literal(&unit.id),
            quote_literal(run),
        )
    }

    /// A table is replat's from now on. `state` and `origin` as in the table's columns.
    pub fn enters(&self, unit: &Unit, entry: &Entry<'_>) -> String {
        let bound = serde_json::to_string(entry.bound).expect("a bound is made of texts and numbers");
        format!(
            "INSERT INTO {} (relation, schema_name, table_name, set_id, set_schema, set_name, parent_id, \
             parent_schema, parent_name, bound, origin, state, since, unit) \
             VALUES ({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, pg_catalog.clock_timestamp(), {}) \
             ON CONFLICT (relation) DO UPDATE SET schema_name = excluded.schema_name, \
             table_name = excluded.table_name, set_id = excluded.set_id, set_schema = excluded.set_schema, \
             set_name = excluded.set_name, parent_id = excluded.parent_id, parent_schema = excluded.parent_schema, \
             parent_name = excluded.parent_name, bound = excluded.bound, origin = excluded.origin, \
             state = excluded.state, since = excluded.since, drop_after = NULL, archive_path = NULL, \
             archive_sha256 = NULL, legal_hold = false, unit = excluded.unit",
            self.table(PARTS),
            oid_of(entry.table),
            quote_literal(&entry.table.schema),
            quote_literal(&entry.table.name),
            match unit.set_id {
                // A set that was made by the unit before it.
                0 => oid_of(&unit.set),
                id => id.to_string(),
            },
            quote_literal(&unit.set.schema),
            quote_literal(&unit.set.name),
            oid_of(entry.parent),
            quote_literal(&entry.parent.schema),
            quote_literal(&entry.parent.name),
            quote_literal(&bound),
            quote_literal(entry.origin),
            quote_literal(entry.state),
            quote_literal(&unit.id),
        )
    }

    /// Tables of the ledger come into another state: `attached`, `detached`, `replaced`.
    pub fn becomes(&self, unit: &Unit, tables: &[&TableName], state: &str) -> String {
        format!(
            "UPDATE {} SET state = {}, since = pg_catalog.clock_timestamp(), unit = {} WHERE relation IN ({})",
            self.table(PARTS),
            quote_literal(state),
            quote_literal(&unit.id),
            tables.iter().map(|t| oid_of(t)).collect::<Vec<_>>().join(", "),
        )
    }

    /// A table may be dropped after this moment; `None`: not by itself.
    pub fn drop_after(&self, table: &TableName, at: Option<Micros>) -> String {
        format!(
            "UPDATE {} SET drop_after = {} WHERE relation = {}",
            self.table(PARTS),
            moment(at),
            oid_of(table)
        )
    }

    /// A table was written to a file, whose digest an earlier step has bound.
    pub fn archived(&self, table: &TableName, path: &str) -> String {
        format!(
            "UPDATE {} SET archive_path = {}, archive_sha256 = {} WHERE relation = {}",
            self.table(PARTS),
            quote_literal(path),
            super::script::bound("sha256"),
            oid_of(table)
        )
    }

    /// Tables are replat's no more, since they are gone.
    pub fn forgets(&self, ids: &[u32]) -> String {
        let ids = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("DELETE FROM {} WHERE relation IN ({ids})", self.table(PARTS))
    }

    /// The statements that tell a change: a lock that keeps the order, and the row, whose version comes back and is
    /// told to those who listen.
    pub fn tells(&self, unit: &Unit, change: &Change) -> [String; 2] {
        let outbox = self.table("lifecycle_outbox");
        let change = serde_json::to_string(change).expect("a change is made of texts and numbers");
        [
            format!("LOCK TABLE {outbox} IN SHARE ROW EXCLUSIVE MODE"),
            format!(
                "WITH told AS (INSERT INTO {outbox} (version, at, unit, set_schema, set_name, change) \
                 SELECT coalesce(max(o.version), 0) + 1, pg_catalog.clock_timestamp(), {}, {}, {}, {} \
                 FROM {outbox} o RETURNING version) \
                 SELECT told.version, pg_catalog.pg_notify('{CHANNEL}', told.version::text) FROM told",
                quote_literal(&unit.id),
                quote_literal(&unit.set.schema),
                quote_literal(&unit.set.name),
                quote_literal(&change),
            ),
        ]
    }

    /// Whether the tables are there: what is only shown may come before they are.
    async fn exists(&self, client: &Client) -> Result<bool, EngineError> {
        let row =
            client.query_one("SELECT pg_catalog.to_regclass($1) IS NOT NULL", &[&self.table(PARTS)]).await;
        Ok(row.map_err(on("the database", "looking for replat's own tables"))?.get(0))
    }

    /// Tables of the ledger that are there under their names; `which` is a condition on `p`, the ledger's row.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the ledger cannot be read.
    pub async fn own(&self, client: &Client, which: &str) -> Result<Vec<Own>, EngineError> {
        if !self.exists(client).await? {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT p.relation, p.schema_name, p.table_name, p.state, p.legal_hold, p.archive_path, \
               p.archive_sha256, p.unit, EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = p.relation) \
             FROM {} p JOIN pg_catalog.pg_class c ON c.oid = p.relation AND c.relname = p.table_name \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = p.schema_name \
             WHERE {which} ORDER BY p.relation",
            self.table(PARTS)
        );
        let rows =
            client.query(&sql, &[]).await.map_err(on("the database", "reading replat's own records"))?;
        let own = rows.iter().map(|row| Own {
            id: row.get(0),
            table: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
            state: row.get(3),
            legal_hold: row.get(4),
            archive: row.get::<_, Option<String>>(5).zip(row.get(6)),
            unit: row.get(7),
            attached: row.get(8),
        });
        Ok(own.collect())
    }

    /// The bounds that a table has or had.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the ledger cannot be read.
    pub async fn bound(&self, client: &Client, id: u32) -> Result<Option<Bound>, EngineError> {
        if !self.exists(client).await? {
            return Ok(None);
        }
        let sql = format!("SELECT bound::text FROM {} WHERE relation = $1", self.table(PARTS));
        let row = client.query_opt(&sql, &[&id]).await;
        let row = row.map_err(on("the database", "reading replat's own records"))?;
        Ok(row.and_then(|row| serde_json::from_str(row.get(0)).ok()))
    }

    /// When a partition that a unit retires may be dropped, by the newest such unit.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the ledger cannot be read.
    pub async fn said_to_drop(&self, client: &Client, id: u32) -> Result<Option<Micros>, EngineError> {
        if !self.exists(client).await? {
            return Ok(None);
        }
        let sql = format!(
            "SELECT (work->>'drop_after')::bigint FROM {} WHERE kind = 'retire' \
             AND (work->>'part_id')::bigint = $1 ORDER BY begun_at DESC LIMIT 1",
            self.table("lifecycle_unit")
        );
        let row = client.query_opt(&sql, &[&i64::from(id)]).await;
        let row = row.map_err(on("the database", "reading replat's own records"))?;
        Ok(row.and_then(|row| row.get(0)))
    }

    /// The kinds of work of the units of this name; one, unless the records were changed by others.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the ledger cannot be read.
    pub async fn kinds(&self, client: &Client, unit: &str) -> Result<Vec<String>, EngineError> {
        let sql = format!("SELECT DISTINCT kind FROM {} WHERE id = $1", self.table("lifecycle_unit"));
        let rows = client.query(&sql, &[&unit]).await;
        let rows = rows.map_err(on("the database", "reading replat's own records"))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// What a unit has put on tables in use and not removed.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the ledger cannot be read, or has what this version does not know.
    pub async fn leftovers(&self, client: &Client, unit: &str) -> Result<Vec<Leftover>, EngineError> {
        if !self.exists(client).await? {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT l.value::text FROM {} u, pg_catalog.jsonb_array_elements(u.progress->'leftovers') l \
             WHERE u.id = $1 AND u.state IN ('begun', 'failed')",
            self.table("lifecycle_unit")
        );
        let rows =
            client.query(&sql, &[&unit]).await.map_err(on("the database", "reading replat's own records"))?;
        rows.iter()
            .map(|row| {
                serde_json::from_str(row.get(0)).map_err(|error| EngineError::Precondition {
                    what: format!("unit {unit} has a leftover in its record that is not understood: {error}"),
                    remedy: "Use the version of replat that began it, or remove what it names by hand."
                        .into(),
                })
            })
            .collect()
    }
}

/// A table that enters the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// It.
    pub table: &'a TableName,
    /// The table it is, or is to be, a partition of.
    pub parent: &'a TableName,
    /// Its bounds there.
    pub bound: &'a Bound,
    /// `made` or `adopted`.
    pub origin: &'a str,
    /// `staged`, `attached`, `detached`, `replaced`.
    pub state: &'a str,
}

/// The word for a unit's kind in records.
pub fn kind_word(unit: &Unit) -> String {
    format!("{:?}", unit.work.kind()).to_lowercase()
}

/// A table, quoted.
pub fn quoted(table: &TableName) -> String {
    format!("{}.{}", quote_ident(&table.schema), quote_ident(&table.name))
}

/// A table's identity, as an expression: the statement fails if there is no such table.
pub fn oid_of(table: &TableName) -> String {
    format!("{}::pg_catalog.regclass::pg_catalog.oid", quote_literal(&quoted(table)))
}

fn moment(at: Option<Micros>) -> String {
    at.map_or("NULL".to_owned(), |at| {
        format!("pg_catalog.to_timestamp(0) + '{at} microseconds'::pg_catalog.interval")
    })
}
