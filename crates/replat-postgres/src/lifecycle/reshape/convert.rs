//! A live ordinary table becomes the first partition of a new partitioned table of its name, without a copy.
//!
//! ```text
//!   stage     the new table beside the old one, empty, with indexes, foreign keys, policies, privileges, partitions
//!   index     CREATE UNIQUE INDEX CONCURRENTLY, where the primary key lacks the partition key
//!   prove     CHECK of the first partition's bounds, NOT VALID, then VALIDATE: nobody waits for that
//!   swap      one transaction: names change hands, the old table is attached, and what was tied to it follows
//!   validate  foreign keys of other tables
//! ```
//!
//! Between `prove` and `swap` rows beyond the first partition's bounds are refused, so those bounds reach beyond what is
//! written now.

use replat_engine::EngineError;
use replat_engine::lifecycle::{Hear, Limits, Outcome};
use replat_model::lifecycle::facts::{Bound, TableName};
use replat_model::lifecycle::plan::{NewLevel, NewPart};

use super::ties::{Index, Ties, ties};
use crate::error::on;
use crate::failpoint::crash_at;
use crate::lifecycle::bounds;
use crate::lifecycle::ledger::{Change, Entry, Leftover, Placed, kind_word, oid_of};
use crate::lifecycle::mirror::brief::{Brief, Lock, Patience, briefly};
use crate::lifecycle::mirror::stage::{children, partition_by};
use crate::lifecycle::mirror::survey::{ForeignKey, Session, proofs, refuse, signature_sql};
use crate::lifecycle::mirror::{named, tag, undo};
use crate::lifecycle::script::{Then, catalog, settings};
use crate::sql::{quote_ident, quote_literal};

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Conversion<'a> {
    /// The table.
    pub table: &'a TableName,
    /// How the new table of its name is cut.
    pub level: &'a NewLevel,
    /// The old table's name as a partition.
    pub first_name: &'a str,
    /// Its bounds.
    pub first: &'a Bound,
    /// Partitions beside it.
    pub others: &'a [NewPart],
}

impl Conversion<'_> {
    pub(super) fn staged(&self, session: &Session<'_>) -> TableName {
        self.table.beside(format!("replat_{}_0", tag(&session.unit.id)))
    }

    fn part(&self) -> TableName {
        self.table.beside(self.first_name)
    }

    pub(super) fn proof(&self, session: &Session<'_>) -> String {
        format!("replat_{}_bound", tag(&session.unit.id))
    }

    pub(super) fn key_index(&self, session: &Session<'_>) -> String {
        format!("replat_{}_key", tag(&session.unit.id))
    }
}

/// Brings a conversion about, or takes it back.
///
/// # Errors
///
/// What stood in the way, after all was taken back; [`EngineError::Unreachable`] if the server is gone, and then the next
/// call goes on.
pub async fn convert(
    session: &Session<'_>,
    wanted: &Conversion<'_>,
    limits: &Limits,
    heard: &(dyn Hear + '_),
) -> Result<Outcome, EngineError> {
    session.settle().await?;
    session.alone(&session.unit.id).await?;
    let mut patience = Patience::new(limits);
    let outcome = run(session, wanted, &mut patience, heard).await;
    let outcome = match outcome {
        Err(error)
            if !matches!(error, EngineError::Unreachable { .. }) && !is_done(session, wanted).await? =>
        {
            undo::undo(session, &session.unit.id, &mut Patience::new(limits)).await?;
            Err(error)
        }
        other => other,
    };
    session.not_alone(&session.unit.id).await;
    outcome?;
    Ok(patience.outcome(vec!["check".into()], 0, session.version().await?))
}

async fn run(
    session: &Session<'_>,
    wanted: &Conversion<'_>,
    patience: &mut Patience,
    heard: &(dyn Hear + '_),
) -> Result<(), EngineError> {
    if !is_done(session, wanted).await? {
        session.run("recording the unit", &session.ledger.begin(session.unit, session.run)).await?;
        let old = look(session, wanted).await?;
        heard.progress("stage", 0, Some(4));
        let staged = wanted.staged(session);
        if catalog::by_name(&session.kitchen(), &staged).await?.is_none() {
            session.commit("staging", &stage(session, wanted, &old).await?).await?;
        }
        crash_at("convert.staged");
        heard.progress("index", 1, Some(4));
        index(session, wanted, &old).await?;
        crash_at("convert.indexed");
        heard.progress("prove", 2, Some(4));
        prove(session, wanted, &old, patience).await?;
        crash_at("convert.proved");
        heard.progress("swap", 3, Some(4));
        // Read once more: what was tied to the table meanwhile is to follow as well.
        let old = look(session, wanted).await?;
        briefly(session, &swap(session, wanted, &old), patience).await?;
        crash_at("convert.swapped");
    }
    validate(session).await
}

/// The table as it is.
pub(super) struct Old {
    id: u32,
    ties: Ties,
    references: Vec<ForeignKey>,
    signature: String,
}

pub(super) async fn look(session: &Session<'_>, wanted: &Conversion<'_>) -> Result<Old, EngineError> {
    let relation = catalog::there(&session.kitchen(), wanted.table).await?;
    let row = session
        .client
        .query_one(
            "SELECT c.relkind = 'r' AND NOT c.relispartition AND c.relpersistence <> 't', \
             EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = c.oid) \
             FROM pg_catalog.pg_class c WHERE c.oid = $1",
            &[&relation.id],
        )
        .await
        .map_err(on(session.database, "looking at the table"))?;
    if !row.get::<_, bool>(0) || row.get::<_, bool>(1) {
        let what = format!("{} is not an ordinary table that stands alone", wanted.table);
        return Err(refuse(what, "Name a table that is no partition and inherits from nothing."));
    }
    let ties = ties(session, wanted.table, relation.id).await?;
    for index in &ties.indexes {
        index_serves(wanted, index, &ties)?;
    }
    let references = references(session, relation.id).await?;
    let signature = session.client.query_one(&format!("SELECT {}", signature_sql(relation.id)), &[]).await;
    let signature = signature.map_err(on(session.database, "looking at the table"))?.get(0);
    Ok(Old { id: relation.id, ties, references, signature })
}

/// The columns of the key, if none of them is an expression.
fn key_columns(wanted: &Conversion<'_>) -> Option<Vec<String>> {
    let plain = |key: &String| match key.strip_prefix('"').and_then(|key| key.strip_suffix('"')) {
        Some(quoted) => Some(quoted.replace("\"\"", "\"")),
        None => key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then(|| key.to_lowercase()),
    };
    wanted.level.keys.iter().map(plain).collect()
}

fn lacks_key(wanted: &Conversion<'_>, index: &Index) -> bool {
    key_columns(wanted).is_none_or(|key| key.iter().any(|column| !index.columns.contains(column)))
}

/// A partitioned table enforces uniqueness only within what its key tells apart. For the primary key that is what a
/// conversion means, as long as nobody refers to it; for others it would be a loss nobody asked for.
fn index_serves(wanted: &Conversion<'_>, index: &Index, ties: &Ties) -> Result<(), EngineError> {
    if !index.unique || !lacks_key(wanted, index) {
        return Ok(());
    }
    let (table, name) = (wanted.table, &index.name);
    if key_columns(wanted).is_none() {
        let what = format!("{table} has the unique index {name}, and the key to cut by is an expression");
        return Err(refuse(what, "Cut by a column, or drop that index."));
    }
    if !index.primary {
        let what = format!("the unique index {name} of {table} does not contain the key to cut by");
        return Err(refuse(what, "Drop it, or make one that contains the key, then run again."));
    }
    match ties.keys_in.first() {
        None => Ok(()),
        Some(key) => {
            let what = format!(
                "foreign key {} of {} refers to the primary key of {table}, which has to be extended by the key to cut by",
                key.name, key.table
            );
            Err(refuse(what, "Drop that foreign key, or extend it by the key first, then run again."))
        }
    }
}

async fn references(session: &Session<'_>, id: u32) -> Result<Vec<ForeignKey>, EngineError> {
    let rows = session
        .client
        .query(
            "SELECT k.conname, pg_catalog.pg_get_constraintdef(k.oid), n.nspname, c.relname, k.convalidated \
             FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.confrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE k.conrelid = $1 AND k.contype = 'f' \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint o WHERE o.oid = k.conparentid \
               AND o.conrelid = k.conrelid) ORDER BY 1",
            &[&id],
        )
        .await
        .map_err(on(session.database, "looking at the foreign keys"))?;
    let mut keys = Vec::new();
    for row in rows {
        if !row.get::<_, bool>(4) {
            let what = format!("foreign key {} is not validated", row.get::<_, String>(0));
            return Err(refuse(what, "VALIDATE it, then run again."));
        }
        keys.push(ForeignKey {
            name: row.get(0),
            definition: row.get(1),
            table: TableName::new(row.get::<_, String>(2), row.get::<_, String>(3)),
        });
    }
    Ok(keys)
}

/// Everything that needs no lock on the old table but that of a reader.
pub(super) async fn stage(
    session: &Session<'_>,
    wanted: &Conversion<'_>,
    old: &Old,
) -> Result<Vec<String>, EngineError> {
    let kitchen = session.kitchen();
    let relation = catalog::there(&kitchen, wanted.table).await?;
    let settings = settings::read(&kitchen, &relation, Some(&relation)).await?;
    let staged = wanted.staged(session);
    let table = named(&staged);
    let mut statements = vec![format!(
        "CREATE TABLE {table} (LIKE {} INCLUDING ALL EXCLUDING INDEXES EXCLUDING IDENTITY){}{}",
        named(wanted.table),
        partition_by(wanted.level),
        settings.cut_storage
    )];
    for (at, index) in old.ties.indexes.iter().enumerate() {
        let name = quote_ident(&staged_index(session, at));
        let extended = || {
            let mut columns = index.columns.clone();
            columns.extend(
                key_columns(wanted).unwrap_or_default().into_iter().filter(|c| !index.columns.contains(c)),
            );
            columns.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ")
        };
        statements.push(match &index.constraint {
            Some(_) if index.primary && lacks_key(wanted, index) => {
                format!("ALTER TABLE {table} ADD CONSTRAINT {name} PRIMARY KEY ({})", extended())
            }
            Some(constraint) => format!("ALTER TABLE {table} ADD CONSTRAINT {name} {constraint}"),
            None => {
                let unique = if index.unique { "UNIQUE " } else { "" };
                format!("CREATE {unique}INDEX {name} ON {table} {}", index.rest)
            }
        });
    }
    for key in &old.references {
        statements.push(format!(
            "ALTER TABLE {table} ADD CONSTRAINT {} {}",
            quote_ident(&key.name),
            key.definition
        ));
    }
    let beside = NewLevel { parts: wanted.others.to_vec(), ..wanted.level.clone() };
    statements.extend(children(&staged, &beside));
    let me = session.client.query_one("SELECT current_user::pg_catalog.text", &[]).await;
    let me: String = me.map_err(on(session.database, "reading the role"))?.get(0);
    let settings = settings.without_indexes().without_publications();
    let steps = settings.give(&staged, true, &me);
    statements.extend(steps.into_iter().filter(|step| step.then == Then::Go).map(|step| step.sql));
    for part in wanted.others {
        let steps = settings.give(&part.table, part.below.is_some(), &me);
        statements.extend(steps.into_iter().filter(|step| step.then == Then::Go).map(|step| step.sql));
    }
    let entry =
        Entry { table: &staged, parent: wanted.table, bound: wanted.first, origin: "made", state: "staged" };
    statements.push(session.ledger.enters(session.unit, &entry));
    Ok(statements)
}

fn staged_index(session: &Session<'_>, at: usize) -> String {
    format!("replat_{}_i{at}", tag(&session.unit.id))
}

/// The index that the extended primary key is made of.
async fn index(session: &Session<'_>, wanted: &Conversion<'_>, old: &Old) -> Result<(), EngineError> {
    let Some(primary) = old.ties.indexes.iter().find(|index| index.primary && lacks_key(wanted, index))
    else {
        return Ok(());
    };
    let name = wanted.table.beside(wanted.key_index(session));
    let row = session
        .client
        .query_opt(
            "SELECT indisvalid FROM pg_catalog.pg_index WHERE indexrelid = pg_catalog.to_regclass($1)",
            &[&named(&name)],
        )
        .await
        .map_err(on(session.database, "looking for an index"))?;
    match row.map(|row| row.get(0)) {
        Some(true) => return Ok(()),
        Some(false) => {
            session.run("dropping an index", &format!("DROP INDEX CONCURRENTLY {}", named(&name))).await?;
        }
        None => {}
    }
    session.run("building an index", &build(session, wanted, primary)).await
}

/// The statement that builds the index of the extended primary key.
fn build(session: &Session<'_>, wanted: &Conversion<'_>, primary: &Index) -> String {
    let mut columns = primary.columns.clone();
    columns
        .extend(key_columns(wanted).unwrap_or_default().into_iter().filter(|c| !primary.columns.contains(c)));
    let columns = columns.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ");
    format!(
        "CREATE UNIQUE INDEX CONCURRENTLY {} ON {} ({columns})",
        quote_ident(&wanted.key_index(session)),
        named(wanted.table)
    )
}

/// The same, if the primary key has to be extended.
pub(super) fn index_shown(session: &Session<'_>, wanted: &Conversion<'_>, old: &Old) -> Option<String> {
    let primary = old.ties.indexes.iter().find(|index| index.primary && lacks_key(wanted, index))?;
    Some(build(session, wanted, primary))
}

async fn prove(
    session: &Session<'_>,
    wanted: &Conversion<'_>,
    old: &Old,
    patience: &mut Patience,
) -> Result<(), EngineError> {
    let staged = catalog::there(&session.kitchen(), &wanted.staged(session)).await?;
    let stays: Vec<Bound> = wanted.others.iter().map(|part| part.bound.clone()).collect();
    let key = partition_by(wanted.level);
    let key = key.trim_start_matches(" PARTITION BY ");
    let comes = std::slice::from_ref(wanted.first);
    let condition = proofs(session, wanted.table, key, &stays, comes, (staged.id, None)).await?.remove(0);
    let name = wanted.proof(session);
    let there = session
        .client
        .query_opt(
            "SELECT FROM pg_catalog.pg_constraint WHERE conrelid = $1 AND conname = $2",
            &[&old.id, &name],
        )
        .await
        .map_err(on(session.database, "looking for a check"))?;
    if there.is_none() {
        let left = Leftover::Check { table: wanted.table.clone(), table_id: old.id, name: name.clone() };
        let brief = Brief {
            name: "check",
            locks: vec![Lock::only(wanted.table, "ACCESS EXCLUSIVE")],
            statements: vec![
                format!(
                    "ALTER TABLE {} ADD CONSTRAINT {} CHECK ({}) NOT VALID",
                    named(wanted.table),
                    quote_ident(&name),
                    with_not_null(wanted, old, &condition),
                ),
                session.ledger.leaves(session.unit, session.run, &left),
            ],
        };
        briefly(session, &brief, patience).await?;
        crash_at("convert.checked");
    }
    let validate = format!("ALTER TABLE {} VALIDATE CONSTRAINT {}", named(wanted.table), quote_ident(&name));
    session.run("proving the bounds", &validate).await
}

/// A primary key of more columns makes them NOT NULL; proven here, so that nothing is read for that in the swap.
fn with_not_null(wanted: &Conversion<'_>, old: &Old, condition: &str) -> String {
    let extended = old.ties.indexes.iter().any(|index| index.primary && lacks_key(wanted, index));
    let columns = key_columns(wanted).filter(|_| extended).unwrap_or_default();
    let not_null = columns.iter().map(|column| format!(" AND ({} IS NOT NULL)", quote_ident(column)));
    format!("({condition}){}", not_null.collect::<String>())
}

pub(super) fn swap(session: &Session<'_>, wanted: &Conversion<'_>, old: &Old) -> Brief {
    let (table, staged, part) = (wanted.table, wanted.staged(session), wanted.part());
    let mut statements = vec![unchanged(old)];
    statements.extend(old.ties.untie(table));
    statements.extend(old.ties.move_identities(table, &staged));
    if let Some(primary) = old.ties.indexes.iter().find(|index| index.primary && lacks_key(wanted, index)) {
        statements.push(format!(
            "ALTER TABLE {t} DROP CONSTRAINT {p}, ADD CONSTRAINT {p} PRIMARY KEY USING INDEX {}",
            quote_ident(&wanted.key_index(session)),
            t = named(table),
            p = quote_ident(&primary.name)
        ));
    }
    // The names that people know go to the new table; those of the first partition are made from its own name.
    for (at, index) in old.ties.indexes.iter().enumerate() {
        let rename = |from: &str, to: &str| {
            format!("ALTER INDEX {} RENAME TO {}", named(&table.beside(from)), quote_ident(to))
        };
        statements.push(rename(&index.name, &aside(wanted.first_name, &index.name, at)));
        statements.push(rename(&staged_index(session, at), &index.name));
    }
    statements.push(format!("ALTER TABLE {} RENAME TO {}", named(table), quote_ident(&part.name)));
    statements.push(format!("ALTER TABLE {} RENAME TO {}", named(&staged), quote_ident(&table.name)));
    statements.push(format!(
        "ALTER TABLE {} ATTACH PARTITION {} {}",
        named(table),
        named(&part),
        bounds::sql(wanted.first)
    ));
    let proof = quote_ident(&wanted.proof(session));
    statements.push(format!("ALTER TABLE {} DROP CONSTRAINT {proof}", named(&part)));
    // The check was copied if the new table was staged after it.
    statements.push(format!("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {proof}", named(table)));
    statements.extend(old.ties.tie(table));
    let parts_table = session.ledger.table("lifecycle_part");
    statements.push(format!("DELETE FROM {parts_table} WHERE relation = {}", oid_of(table)));
    let mut added = vec![Placed { table: part.clone(), bound: wanted.first.clone(), below: None }];
    let entry = Entry { table: &part, parent: table, bound: wanted.first, origin: "made", state: "attached" };
    statements.push(session.ledger.enters(session.unit, &entry));
    for other in wanted.others {
        let entry = Entry {
            table: &other.table,
            parent: table,
            bound: &other.bound,
            origin: "made",
            state: "attached",
        };
        statements.push(session.ledger.enters(session.unit, &entry));
        added.push(Placed::from(other));
    }
    statements.push(format!(
        "UPDATE {parts_table} SET set_id = {id}, parent_id = {id} WHERE unit = {}",
        quote_literal(&session.unit.id),
        id = oid_of(table)
    ));
    let change = Change { kind: kind_word(session.unit), parent: table.clone(), removed: Vec::new(), added };
    statements.push(super::to_validate(session, &old.ties));
    statements.push(session.ledger.ended(&session.unit.id, None, "done", None));
    statements.extend(session.ledger.tells(session.unit, &change));
    let mut locks = vec![Lock::only(table, "ACCESS EXCLUSIVE")];
    locks.extend(old.references.iter().map(|key| Lock::only(&key.table, "ACCESS EXCLUSIVE")));
    locks.extend(old.ties.locks());
    Brief { name: "convert", locks, statements }
}

/// Another name for an index, at most 63 bytes long.
pub fn aside(part: &str, index: &str, at: usize) -> String {
    let whole = format!("{part}_{index}");
    if whole.len() <= 63 {
        return whole;
    }
    let mut end = part.len().min(54);
    while !part.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_index{at}", &part[..end])
}

fn unchanged(old: &Old) -> String {
    let body = format!(
        "BEGIN IF {} <> {} THEN RAISE EXCEPTION 'the table was altered meanwhile'; END IF; END",
        signature_sql(old.id),
        quote_literal(&old.signature)
    );
    format!("DO {}", quote_literal(&body))
}

/// Foreign keys of other tables, which were taken over unproven.
pub async fn validate(session: &Session<'_>) -> Result<(), EngineError> {
    for (table, name) in super::left_to_validate(session).await? {
        let validate = format!("ALTER TABLE {} VALIDATE CONSTRAINT {}", named(&table), quote_ident(&name));
        session.run("proving a foreign key", &validate).await?;
        crash_at("convert.validated");
    }
    Ok(())
}

async fn is_done(session: &Session<'_>, wanted: &Conversion<'_>) -> Result<bool, EngineError> {
    let row = session
        .client
        .query_opt(
            "SELECT FROM pg_catalog.pg_inherits WHERE inhparent = pg_catalog.to_regclass($1) \
             AND inhrelid = pg_catalog.to_regclass($2)",
            &[&named(wanted.table), &named(&wanted.part())],
        )
        .await;
    row.map(|row| row.is_some()).map_err(on(session.database, "looking at the table"))
}
