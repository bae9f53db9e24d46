//! Indexes that some partitions lack.
//!
//! Each is built beside its readers and writers, partition by partition, and then attached to the parent's index, which
//! locks nothing but the partition's own index. The parent's index becomes valid with the last.

use replat_engine::EngineError;
use replat_engine::lifecycle::{Hear, Limits, Outcome};
use replat_model::lifecycle::facts::TableName;

use crate::error::on;
use crate::failpoint::crash_at;
use crate::lifecycle::mirror::brief::{Brief, Lock, Patience, briefly};
use crate::lifecycle::mirror::survey::{Session, refuse};
use crate::lifecycle::mirror::{named, tag};
use crate::sql::quote_ident;

/// Builds what `index` of the set lacks on its leaves, and attaches it.
///
/// What is there is looked up again, since an index may have been built since the plan was made: a leaf is aligned if
/// an index of it descends from the parent's; an equal one is only attached; an invalid one is dropped and built anew.
///
/// # Errors
///
/// What the server says, as for two rows that a unique index cannot both hold; what was attached until then stays.
pub async fn align(
    session: &Session<'_>,
    set: &TableName,
    index: &str,
    limits: &Limits,
    heard: &(dyn Hear + '_),
) -> Result<Outcome, EngineError> {
    session.settle().await?;
    session.alone(&session.unit.id).await?;
    let mut patience = Patience::new(limits);
    let done = run(session, set, index, &mut patience, heard).await;
    session.not_alone(&session.unit.id).await;
    done?;
    Ok(patience.outcome(Vec::new(), 0, None))
}

async fn run(
    session: &Session<'_>,
    set: &TableName,
    index: &str,
    patience: &mut Patience,
    heard: &(dyn Hear + '_),
) -> Result<(), EngineError> {
    session.run("recording the unit", &session.ledger.begin(session.unit, session.run)).await?;
    let top = set.beside(index);
    let mut lacking = lacking(session, &top).await?;
    let of = lacking.len() as u64;
    for (done, gap) in (0..).zip(lacking.drain(..)) {
        heard.progress(&format!("index {index} of {}", gap.table), done, Some(of));
        fill(session, &gap, patience).await?;
    }
    let row = session
        .client
        .query_one(
            "SELECT indisvalid FROM pg_catalog.pg_index WHERE indexrelid = pg_catalog.to_regclass($1)",
            &[&named(&top)],
        )
        .await
        .map_err(on(session.database, "looking at the index"))?;
    if !row.get::<_, bool>(0) {
        let what = format!("{top} is not valid though every partition has its part");
        return Err(refuse(what, "Look at the partitions' indexes with \\d+, and run again."));
    }
    session.run("recording the unit", &session.ledger.ended(&session.unit.id, None, "done", None)).await
}

/// A partition that lacks its part of an index.
pub(super) struct Gap {
    /// The partition.
    table: TableName,
    /// The index of its parent that its own is to be attached to.
    above: TableName,
    /// What follows the table's name in the definition of the index.
    rest: String,
    unique: bool,
    /// The constraint that the index carries, as `PRIMARY KEY` or `UNIQUE`.
    constraint: Option<String>,
    /// Whether the partition is itself partitioned: its index is a shell.
    cut: bool,
    /// An equal index that is there, and whether it is valid.
    equal: Option<(String, bool)>,
    /// Whether that one carries the constraint already.
    equal_carries: bool,
    /// The constraint as the engine defines it, with its columns.
    definition: Option<String>,
}

impl Gap {
    /// The partition.
    pub(super) fn table(&self) -> &TableName {
        &self.table
    }

    /// What fills it, for people: the name of a new index may turn out to be another one.
    pub(super) fn statements(&self) -> Vec<String> {
        let new = super::convert::aside(&self.table.name, &self.above.name, 0);
        let (name, build) = match &self.equal {
            Some((name, true)) => (name.clone(), None),
            _ => (new.clone(), Some(self.create(&new))),
        };
        let attach = format!(
            "ALTER INDEX {} ATTACH PARTITION {}",
            named(&self.above),
            named(&self.table.beside(name))
        );
        build.into_iter().chain([attach]).collect()
    }

    fn create(&self, name: &str) -> String {
        if let Some(definition) = self.definition.as_ref().filter(|_| self.cut) {
            let table = named(&self.table);
            return format!("ALTER TABLE ONLY {table} ADD CONSTRAINT {} {definition}", quote_ident(name));
        }
        let unique = if self.unique { "UNIQUE " } else { "" };
        let (how, only) = if self.cut { ("", "ONLY ") } else { ("CONCURRENTLY ", "") };
        let table = named(&self.table);
        format!("CREATE {unique}INDEX {how}{} ON {only}{table} {}", quote_ident(name), self.rest)
    }
}

/// Gaps below an index, outer ones first: an inner partition is looked at when its parent has its part.
pub(super) async fn lacking(session: &Session<'_>, top: &TableName) -> Result<Vec<Gap>, EngineError> {
    let rows = session.client.query(include_str!("lacking.sql"), &[&named(top)]).await;
    let rows = rows.map_err(on(session.database, "looking at the partitions' indexes"))?;
    Ok(rows
        .iter()
        .map(|row| Gap {
            table: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
            above: TableName::new(row.get::<_, String>(2), row.get::<_, String>(3)),
            rest: row.get(4),
            unique: row.get(5),
            constraint: row.get(6),
            cut: row.get(7),
            equal: row.get::<_, Option<String>>(8).zip(row.get(9)),
            equal_carries: row.get::<_, Option<bool>>(10).unwrap_or(false),
            definition: row.get(11),
        })
        .collect())
}

async fn fill(session: &Session<'_>, gap: &Gap, patience: &mut Patience) -> Result<(), EngineError> {
    let name = match &gap.equal {
        Some((name, true)) => name.clone(),
        Some((name, false)) if !gap.cut => {
            let drop = format!("DROP INDEX CONCURRENTLY {}", named(&gap.table.beside(name)));
            session.run("dropping an invalid index", &drop).await?;
            build(session, gap, patience).await?
        }
        Some((name, false)) => name.clone(),
        None => build(session, gap, patience).await?,
    };
    crash_at("align.built");
    let mut statements = Vec::new();
    if let Some(constraint) = gap.constraint.as_ref().filter(|_| !gap.equal_carries && !gap.cut) {
        statements.push(format!(
            "ALTER TABLE {} ADD CONSTRAINT {name} {constraint} USING INDEX {name}",
            named(&gap.table),
            name = quote_ident(&name)
        ));
    }
    statements.push(format!(
        "ALTER INDEX {} ATTACH PARTITION {}",
        named(&gap.above),
        named(&gap.table.beside(&name))
    ));
    // Only a constraint is made on the table itself.
    let locks = match statements.len() {
        1 => Vec::new(),
        _ => vec![Lock::only(&gap.table, "ACCESS EXCLUSIVE")],
    };
    briefly(session, &Brief { name: "align", locks, statements }, patience).await?;
    crash_at("align.attached");
    if gap.cut {
        for inner in lacking(session, &gap.table.beside(&name)).await? {
            Box::pin(fill(session, &inner, patience)).await?;
        }
    }
    Ok(())
}

/// Builds the index of one partition; its name is made from those of both, so that a build that was broken off is found
/// again by the index it is equal to.
async fn build(session: &Session<'_>, gap: &Gap, patience: &mut Patience) -> Result<String, EngineError> {
    let name = super::convert::aside(&gap.table.name, &gap.above.name, 0);
    let taken = session
        .client
        .query_one("SELECT pg_catalog.to_regclass($1) IS NOT NULL", &[&named(&gap.table.beside(&name))])
        .await
        .map_err(on(session.database, "looking for a name"))?;
    let name = match taken.get::<_, bool>(0) {
        false => name,
        true => format!("replat_{}_{}", tag(&session.unit.id), patience_free(&gap.table)),
    };
    let create = gap.create(&name);
    // The shell of a partition that is cut further has no index that could become the constraint's.
    if gap.cut && gap.definition.is_some() {
        let locks = vec![Lock::only(&gap.table, "ACCESS EXCLUSIVE")];
        briefly(session, &Brief { name: "align", locks, statements: vec![create] }, patience).await?;
        return Ok(name);
    }
    session.run("building an index", &create).await?;
    Ok(name)
}

/// A few digits that tell tables apart.
fn patience_free(table: &TableName) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(table.to_string()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
