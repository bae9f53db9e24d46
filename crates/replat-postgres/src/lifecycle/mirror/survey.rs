//! What the catalogue says about a set whose partitions are to be replaced.

use replat_engine::EngineError;
use replat_model::lifecycle::facts::{Bound, TableName};
use replat_model::lifecycle::plan::Unit;
use sha2::{Digest, Sha256};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{Ending, Replacement, named};
use crate::error::{failed, on};
use crate::lifecycle::bounds;
use crate::lifecycle::ledger::Ledger;
use crate::lifecycle::script::Kitchen;
use crate::sql::{quote_ident, quote_literal};

/// How long the last statement of a killed process is waited for.
const ALONE_MS: u32 = 60_000;

/// A session to work in, and where replat's records are.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// The session. Nobody else may use it meanwhile, since transactions are opened in it.
    pub client: &'a Client,
    /// The database's name, for errors.
    pub database: &'a str,
    /// replat's records.
    pub ledger: &'a Ledger,
    /// The unit that is brought about.
    pub unit: &'a Unit,
    /// The run it belongs to.
    pub run: &'a str,
}

impl Session<'_> {
    /// What recipes of statements are made with.
    pub fn kitchen(&self) -> Kitchen<'_> {
        Kitchen {
            client: self.client,
            database: self.database,
            ledger: self.ledger,
            run: self.run,
            shown: false,
        }
    }

    /// Settings on which statements of the recipes rely: names without a path, bounds printed one way, no row hidden
    /// by a policy without an error, and no time lost to compilation of short statements.
    pub async fn settle(&self) -> Result<(), EngineError> {
        let settings = "SET search_path = ''; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; \
             SET TimeZone = 'UTC'; SET extra_float_digits = 1; SET bytea_output = 'hex'; SET row_security = off; \
             SET jit = off; SET standard_conforming_strings = on; SET statement_timeout = 0; SET lock_timeout = 0; \
             SET default_transaction_isolation = 'read committed'";
        self.run("settings", settings).await
    }

    /// Waits until no other session works on a unit: the server may still be busy with the last statement of a
    /// process that was killed. Can be taken several times.
    pub async fn alone(&self, unit: &str) -> Result<(), EngineError> {
        let number = unit_lock(unit);
        let lock = format!(
            "SET lock_timeout = {ALONE_MS}; SELECT pg_catalog.pg_advisory_lock({number}); SET lock_timeout = 0"
        );
        self.run("the unit's lock", &lock).await
    }

    /// The end of [`Session::alone`].
    pub async fn not_alone(&self, unit: &str) {
        let number = unit_lock(unit);
        // A session that is gone has no lock either.
        drop(self.client.batch_execute(&format!("SELECT pg_catalog.pg_advisory_unlock({number})")).await);
    }

    /// The version that the unit's change got.
    pub async fn version(&self) -> Result<Option<u64>, EngineError> {
        let sql = format!(
            "SELECT pg_catalog.max(version) FROM {} WHERE unit = $1",
            self.ledger.table("lifecycle_outbox")
        );
        let row = self.client.query_one(&sql, &[&self.unit.id]).await;
        let version: Option<i64> = row.map_err(on(self.database, "reading the version"))?.get(0);
        Ok(version.map(i64::unsigned_abs))
    }

    /// Runs statements.
    pub async fn run(&self, during: &str, statements: &str) -> Result<(), EngineError> {
        self.client.batch_execute(statements).await.map_err(on(self.database, during))
    }

    /// Runs statements as one transaction; nothing of it stays if one fails.
    pub async fn commit(&self, during: &str, statements: &[String]) -> Result<(), EngineError> {
        let text = format!("BEGIN; {}; COMMIT", statements.join("; "));
        match self.client.batch_execute(&text).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // Without an answer the transaction is over as well, with the session.
                drop(self.client.batch_execute("ROLLBACK").await);
                Err(failed(self.database, during, error))
            }
        }
    }
}

fn unit_lock(unit: &str) -> i64 {
    let digest = Sha256::digest(format!("replat unit {unit}"));
    i64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The parent's identity.
    pub parent_id: u32,
    /// Its owner.
    pub owner: String,
    /// Columns that are stored, in order; generated ones are computed anew.
    pub columns: Vec<String>,
    /// What identifies a row.
    pub identity: Identity,
    /// Leaves of the sources: their rows are copied.
    pub leaves: Vec<Leaf>,
    /// Bounds of the sources, in their order.
    pub bounds: Vec<Bound>,
    /// Foreign keys of each source. A replaced table must not go on keeping alive what its rows refer to.
    pub keys: Vec<Vec<String>>,
    /// Foreign keys of the parent.
    pub references: Vec<ForeignKey>,
    /// For each target the condition that its rows satisfy, as the engine writes the partition constraint.
    pub proofs: Vec<String>,
    /// A default partition of the parent that stays: nothing in it may belong to a target.
    pub default: Option<TableName>,
    /// What must not change until the swap: columns, constraints, indexes, triggers and partitions of the parent.
    pub signature: String,
}

/// What identifies a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The columns of a unique constraint.
    Key(Vec<KeyColumn>),
    /// Leaf and `ctid`.
    Place,
}

/// A column of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// Its name.
    pub name: String,
    /// Its type with its collation, as a column definition wants it.
    pub type_sql: String,
    /// The operator by which the index compares, qualified.
    pub equals: String,
}

/// A table whose rows are copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// It.
    pub table: TableName,
    /// Its identity.
    pub id: u32,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: String,
    /// It, as the engine defines it.
    pub definition: String,
    /// The table it refers to.
    pub table: TableName,
}

/// Looks at the set, and asks the engine for the conditions of the targets.
///
/// # Errors
///
/// [`EngineError::Precondition`] for a set that cannot be worked on, with the remedy.
pub async fn survey(session: &Session<'_>, wanted: &Replacement) -> Result<Found, EngineError> {
    look(session, wanted, false).await
}

/// The same for people: a session that only reads cannot try the bounds, so `:bound_of_TABLE` stands for each condition.
///
/// # Errors
///
/// As [`survey`].
pub async fn survey_shown(session: &Session<'_>, wanted: &Replacement) -> Result<Found, EngineError> {
    look(session, wanted, true).await
}

async fn look(session: &Session<'_>, wanted: &Replacement, shown: bool) -> Result<Found, EngineError> {
    session.settle().await?;
    let parent = session
        .client
        .query_opt(
            "SELECT c.oid, r.rolname, pg_catalog.pg_get_partkeydef(c.oid), \
             pg_catalog.pg_get_partition_constraintdef(c.oid) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner \
             WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind = 'p'",
            &[&named(&wanted.parent)],
        )
        .await
        .map_err(on(session.database, "looking at the set"))?
        .ok_or_else(|| refuse(format!("{} is not a partitioned table", wanted.parent), "Look again."))?;
    let parent_id: u32 = parent.get(0);
    let children = children(session, parent_id).await?;
    let mut bounds = Vec::new();
    for source in &wanted.sources {
        let child = children.iter().find(|child| child.0 == *source).ok_or_else(|| {
            refuse(format!("{source} is not a partition of {}", wanted.parent), "Look again.")
        })?;
        bounds.push(child.2.clone());
    }
    let leaves = leaves(session, &wanted.sources).await?;
    refuse_own_ways(session, wanted, parent_id, &leaves).await?;
    let proofs = match wanted.ending {
        Ending::Plain => vec!["true".to_owned(); wanted.targets.len()],
        Ending::Attached if shown => {
            wanted.targets.iter().map(|target| format!(":bound_of_{}", target.called.name)).collect()
        }
        Ending::Attached => {
            let stays = children.iter().filter(|(table, _, _)| !wanted.sources.contains(table));
            let stays: Vec<Bound> = stays.map(|(_, _, bound)| bound.clone()).collect();
            let comes: Vec<Bound> = wanted.targets.iter().map(|target| target.bound.clone()).collect();
            let of = (parent_id, parent.get(3));
            proofs(session, &wanted.parent, parent.get(2), &stays, &comes, of).await?
        }
    };
    let default = children.iter().find(|(table, _, bound)| {
        *bound == Bound::Default && !wanted.sources.contains(table) && wanted.ending == Ending::Attached
    });
    Ok(Found {
        parent_id,
        owner: parent.get(1),
        columns: columns(session, parent_id).await?,
        identity: identity(session, parent_id).await?,
        leaves,
        bounds,
        keys: keys(session, &wanted.sources).await?,
        references: references(session, parent_id).await?,
        proofs,
        default: default.map(|(table, _, _)| table.clone()),
        signature: signature(session, parent_id).await?,
    })
}

/// An expression that gives [`Found::signature`].
pub fn signature_sql(parent_id: u32) -> String {
    format!(
        "(SELECT pg_catalog.md5(pg_catalog.string_agg(t, ',' ORDER BY t)) FROM (\
         SELECT pg_catalog.format('c %s %s %s %s %s %s', attname, atttypid, atttypmod, attcollation, attnotnull, \
         attgenerated) AS t FROM pg_catalog.pg_attribute WHERE attrelid = {parent_id} AND attnum > 0 AND NOT attisdropped \
         UNION ALL SELECT pg_catalog.format('k %s %s', oid, convalidated) FROM pg_catalog.pg_constraint \
         WHERE conrelid = {parent_id} OR (confrelid = {parent_id} AND conparentid = 0) \
         UNION ALL SELECT pg_catalog.format('i %s', indexrelid) FROM pg_catalog.pg_index WHERE indrelid = {parent_id} \
         UNION ALL SELECT pg_catalog.format('t %s', oid) FROM pg_catalog.pg_trigger \
         WHERE tgrelid = {parent_id} AND NOT tgisinternal \
         UNION ALL SELECT pg_catalog.format('p %s %s', inhrelid, inhdetachpending) FROM pg_catalog.pg_inherits \
         WHERE inhparent = {parent_id}) s)"
    )
}

async fn signature(session: &Session<'_>, parent_id: u32) -> Result<String, EngineError> {
    let row = session.client.query_one(&format!("SELECT {}", signature_sql(parent_id)), &[]).await;
    Ok(row.map_err(on(session.database, "looking at the set"))?.get(0))
}

type Child = (TableName, u32, Bound);

async fn children(session: &Session<'_>, parent_id: u32) -> Result<Vec<Child>, EngineError> {
    let rows = session
        .client
        .query(
            "SELECT n.nspname, c.relname, c.oid, pg_catalog.pg_get_expr(c.relpartbound, c.oid), i.inhdetachpending \
             FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE i.inhparent = $1 ORDER BY c.oid",
            &[&parent_id],
        )
        .await
        .map_err(on(session.database, "looking at the partitions"))?;
    let mut children = Vec::new();
    for row in rows {
        let table = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        if row.get(4) {
            let what = format!("a detach of {table} was broken off");
            return Err(refuse(what, "Let replat finish that detach first, then run again."));
        }
        let bound = bounds::parse(row.get(3)).map_err(|e| refuse(e.to_string(), "Report this bound."))?;
        children.push((table, row.get(2), bound));
    }
    Ok(children)
}

async fn leaves(session: &Session<'_>, sources: &[TableName]) -> Result<Vec<Leaf>, EngineError> {
    let mut leaves = Vec::new();
    for source in sources {
        let rows = session
            .client
            .query(
                "SELECT n.nspname, c.relname, c.oid, c.relkind = 'r' \
                 FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass($1)) t \
                 JOIN pg_catalog.pg_class c ON c.oid = t.relid \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE t.isleaf ORDER BY c.oid",
                &[&named(source)],
            )
            .await
            .map_err(on(session.database, "looking at the partitions"))?;
        for row in rows {
            let table = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
            if !row.get::<_, bool>(3) {
                let what = format!("{table} is not an ordinary table on this server");
                return Err(refuse(what, "Copy its rows yourself; replat cannot follow writes to it."));
            }
            leaves.push(Leaf { table, id: row.get(2) });
        }
    }
    Ok(leaves)
}

/// What a source has that its parent has not would be lost with it.
async fn refuse_own_ways(
    session: &Session<'_>,
    wanted: &Replacement,
    parent_id: u32,
    leaves: &[Leaf],
) -> Result<(), EngineError> {
    let ids: Vec<u32> = leaves.iter().map(|leaf| leaf.id).collect();
    let function = format!("replat_mirror_{}", wanted.tag());
    let rows = session
        .client
        .query(
            "SELECT pg_catalog.format('foreign key %s of %s, which refers to the set', conname, \
               conrelid::pg_catalog.regclass), 'Drop that constraint, run again, and add it again NOT VALID, then VALIDATE.' \
             FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conparentid = 0 AND confrelid IN ( \
               SELECT $1::pg_catalog.oid UNION SELECT relid FROM pg_catalog.pg_partition_ancestors($1) \
               UNION SELECT pg_catalog.unnest($2::pg_catalog.oid[])) AND $4 \
             UNION ALL \
             SELECT pg_catalog.format('trigger %s of its own on %s', t.tgname, t.tgrelid::pg_catalog.regclass), \
               'Make it a trigger of the parent, or drop it, then run again.' \
             FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
             WHERE t.tgrelid = ANY ($2) AND NOT t.tgisinternal AND t.tgparentid = 0 AND p.proname <> $3 \
             UNION ALL \
             SELECT pg_catalog.format('rule %s on %s', rulename, ev_class::pg_catalog.regclass), \
               'Drop that rule, then run again.' \
             FROM pg_catalog.pg_rewrite WHERE ev_class = ANY ($2) \
             UNION ALL \
             SELECT pg_catalog.format('foreign key %s of its own on %s', conname, conrelid::pg_catalog.regclass), \
               'Make it a foreign key of the parent, or drop it, then run again.' \
             FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conparentid = 0 AND conrelid = ANY ($2) \
             UNION ALL \
             SELECT pg_catalog.format('view on the partition %s', d.refobjid::pg_catalog.regclass), \
               'Let the view read the parent, or drop it, then run again.' \
             FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid \
             WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refobjid = ANY ($2) \
               AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND r.ev_class <> d.refobjid \
             LIMIT 1",
            &[&parent_id, &ids, &function, &(wanted.ending == Ending::Attached)],
        )
        .await
        .map_err(on(session.database, "looking at the partitions"))?;
    match rows.first() {
        None => Ok(()),
        Some(row) => {
            let (what, remedy): (String, String) = (row.get(0), row.get(1));
            Err(refuse(format!("{} has a {what}", wanted.parent), &remedy))
        }
    }
}

async fn columns(session: &Session<'_>, parent_id: u32) -> Result<Vec<String>, EngineError> {
    let rows = session
        .client
        .query(
            "SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped \
             AND attgenerated = '' ORDER BY attnum",
            &[&parent_id],
        )
        .await
        .map_err(on(session.database, "looking at the columns"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The primary key, or the shortest unique constraint that serves as well.
async fn identity(session: &Session<'_>, parent_id: u32) -> Result<Identity, EngineError> {
    let rows = session
        .client
        .query(
            "WITH chosen AS (SELECT i.indexrelid, i.indkey, i.indclass, i.indnkeyatts FROM pg_catalog.pg_index i \
               WHERE i.indrelid = $1 AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL \
               AND i.indexprs IS NULL AND NOT EXISTS (SELECT FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) n \
                 JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[n] \
                 WHERE NOT a.attnotnull OR a.attgenerated <> '') \
               ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1) \
             SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), \
               (SELECT pg_catalog.format(' COLLATE %I.%I', n.nspname, c.collname) FROM pg_catalog.pg_collation c \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace WHERE c.oid = a.attcollation), \
               (SELECT pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname) FROM pg_catalog.pg_opclass k \
                 JOIN pg_catalog.pg_amop m ON m.amopfamily = k.opcfamily AND m.amoplefttype = k.opcintype \
                   AND m.amoprighttype = k.opcintype AND m.amopstrategy = 3 \
                 JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr \
                 JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace WHERE k.oid = x.indclass[at]) \
             FROM chosen x CROSS JOIN pg_catalog.generate_series(0, x.indnkeyatts - 1) at \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = $1 AND a.attnum = x.indkey[at] ORDER BY at",
            &[&parent_id],
        )
        .await
        .map_err(on(session.database, "looking at the keys"))?;
    let key: Option<Vec<KeyColumn>> = rows
        .iter()
        .map(|row| {
            let collation: Option<String> = row.get(2);
            let type_sql = format!("{}{}", row.get::<_, String>(1), collation.unwrap_or_default());
            let equals = row.get::<_, Option<String>>(3)?;
            Some(KeyColumn { name: row.get(0), type_sql, equals })
        })
        .collect();
    Ok(key.filter(|key| !key.is_empty()).map_or(Identity::Place, Identity::Key))
}

async fn keys(session: &Session<'_>, sources: &[TableName]) -> Result<Vec<Vec<String>>, EngineError> {
    let mut keys = Vec::new();
    for source in sources {
        let rows = session
            .client
            .query(
                "SELECT k.conname FROM pg_catalog.pg_constraint k WHERE k.conrelid = pg_catalog.to_regclass($1) \
                 AND k.contype = 'f' AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint o \
                 WHERE o.oid = k.conparentid AND o.conrelid = k.conrelid) ORDER BY 1",
                &[&named(source)],
            )
            .await
            .map_err(on(session.database, "looking at the foreign keys"))?;
        keys.push(rows.iter().map(|row| row.get(0)).collect());
    }
    Ok(keys)
}

async fn references(session: &Session<'_>, parent_id: u32) -> Result<Vec<ForeignKey>, EngineError> {
    let rows = session
        .client
        .query(
            "SELECT k.conname, pg_catalog.pg_get_constraintdef(k.oid), n.nspname, c.relname \
             FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.confrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE k.conrelid = $1 AND k.contype = 'f' \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint o WHERE o.oid = k.conparentid AND o.conrelid = k.conrelid) \
             ORDER BY k.conname",
            &[&parent_id],
        )
        .await
        .map_err(on(session.database, "looking at the foreign keys"))?;
    let key = |row: &tokio_postgres::Row| ForeignKey {
        name: row.get(0),
        definition: row.get(1),
        table: TableName::new(row.get::<_, String>(2), row.get::<_, String>(3)),
    };
    Ok(rows.iter().map(key).collect())
}

/// The targets' conditions in the engine's own words, from a skeleton of the set that is as it will be.
///
/// The engine skips the scan of a table that is attached if a CHECK implies the partition constraint; its proof is
/// by form. So the CHECK is the very expression that the engine will ask for: temporary tables with the bounds to come
/// are made, asked, and rolled back. Bounds that overlap or do not parse are found here, before anything is made.
pub async fn proofs(
    session: &Session<'_>,
    like: &TableName,
    key: &str,
    stays: &[Bound],
    comes: &[Bound],
    parent: (u32, Option<String>),
) -> Result<Vec<String>, EngineError> {
    let skeleton = "pg_temp.replat_skeleton";
    let mut script = vec![
        "BEGIN".to_owned(),
        format!("CREATE TEMPORARY TABLE replat_skeleton (LIKE {}) PARTITION BY {key}", named(like)),
    ];
    // The default comes last: its presence would have each of the others look into it.
    let bounds = stays.iter().chain(comes).enumerate();
    let (rest, others): (Vec<_>, Vec<_>) = bounds.partition(|(_, bound)| **bound == Bound::Default);
    for (at, bound) in others.iter().chain(&rest) {
        let bound = bounds::sql(bound);
        script.push(format!("CREATE TEMPORARY TABLE replat_bone_{at} PARTITION OF {skeleton} {bound}"));
    }
    let asked: Vec<String> = (stays.len()..stays.len() + comes.len())
        .map(|at| {
            format!(
                "pg_catalog.pg_get_partition_constraintdef('pg_temp.replat_bone_{at}'::pg_catalog.regclass)"
            )
        })
        .collect();
    let ask = format!(
        "SELECT {}::pg_catalog.regclass::pg_catalog.oid, ARRAY[{}]",
        quote_literal(skeleton),
        asked.join(", ")
    );
    let made = session.client.batch_execute(&script.join("; ")).await;
    let answer = match made {
        Ok(()) => session.client.query_one(&ask, &[]).await,
        Err(error) => Err(error),
    };
    drop(session.client.batch_execute("ROLLBACK").await);
    let row = answer.map_err(|error| match error.code() {
        Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => unproved(),
        Some(code) if code.code().starts_with("42") || code.code().starts_with("22") => {
            refuse(failed(session.database, "trying the bounds", error).to_string(), "Correct the bounds.")
        }
        _ => failed(session.database, "trying the bounds", error),
    })?;
    let (skeleton_id, conditions): (u32, Vec<Option<String>>) = (row.get(0), row.get(1));
    let (parent_id, above) = parent;
    let above = above.map(|above| format!(" AND {above}")).unwrap_or_default();
    // Hash conditions name the table whose partitions they tell apart.
    let (from, to) = (format!("'{skeleton_id}'::oid"), format!("'{parent_id}'::oid"));
    let condition = |text: Option<String>| {
        format!("{}{above}", text.unwrap_or_else(|| "true".into()).replace(&from, &to))
    };
    Ok(conditions.into_iter().map(condition).collect())
}

/// A read-only session cannot try the bounds.
fn unproved() -> EngineError {
    refuse(
        "the bounds cannot be tried in a read-only session".into(),
        "Nothing: they are tried before they are used.",
    )
}

/// Work that cannot be begun as things are.
pub fn refuse(what: String, remedy: &str) -> EngineError {
    EngineError::Precondition { what, remedy: remedy.to_owned() }
}

/// Columns as a list.
pub fn list(columns: &[String]) -> String {
    columns.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ")
}
