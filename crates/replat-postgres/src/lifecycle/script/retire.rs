//! Partitions that are no longer wanted: detached beside their readers, archived, dropped.
//!
//! Where there is no default partition a detach waits for those who still see the partition, and nobody waits for it.
//! Beside a default PostgreSQL refuses that; then it takes the strongest locks, without a queue and briefly. If it is
//! broken off, the partition is no longer seen and the rest is done by FINALIZE.

use replat_engine::EngineError;
use replat_model::lifecycle::facts::{Bound, Micros, TableName};
use replat_model::lifecycle::plan::{Unit, Work};

use super::catalog::{self, Foreign, Relation};
use super::create::{finish, lock_catch_all, same, with_foreign, with_referring};
use super::{Filing, Kitchen, Manner, Mode, PLAN_AGAIN, Recipe, Step, Then, Txn, refuse};
use crate::error::on;
use crate::lifecycle::archive;
use crate::lifecycle::ledger::{Change, Entry, Own, Placed, kind_word, oid_of, quoted};
use crate::sql::{quote_ident, quote_literal};

/// What replat must have made or taken over, to do away with it.
async fn own(kitchen: &Kitchen<'_>, table: &TableName, id: u32) -> Result<Own, EngineError> {
    let found = kitchen.ledger.own(kitchen.client, &format!("p.relation = {id}")).await?.pop();
    let Some(own) = found.filter(|own| own.table == *table) else {
        return Err(refuse(
            format!("{table} was neither made nor taken over by replat"),
            "Take it over first: replat rotate --adopt.",
        ));
    };
    if own.legal_hold {
        return Err(refuse(
            format!("{table} is under a legal hold"),
            "Lift the hold first, if that is allowed.",
        ));
    }
    Ok(own)
}

fn identity(table: &TableName, found: &Relation, id: u64) -> Result<(), EngineError> {
    match u64::from(found.id) == id {
        true => Ok(()),
        false => Err(refuse(format!("{table} is another table by now"), PLAN_AGAIN)),
    }
}

/// Detaches a partition, and archives it if that is wanted.
pub(super) async fn retire(kitchen: &Kitchen<'_>, unit: &Unit) -> Result<Recipe, EngineError> {
    let Work::Retire { parent, part, part_id, bound, archive, drop_after, .. } = &unit.work else {
        return Err(refuse("a unit that retires nothing", PLAN_AGAIN));
    };
    let parent = catalog::parent_of_set(kitchen, parent, unit.set_id).await?;
    let found = catalog::there(kitchen, part).await?;
    identity(part, &found, *part_id)?;
    let own = own(kitchen, part, found.id).await?;
    let mut recipe = Recipe::default();
    if own.state != "detached" || own.attached {
        if found.parent != Some(parent.id) || found.bound()?.as_ref() != Some(bound) {
            return Err(refuse(format!("{part} is not the partition that was planned for"), PLAN_AGAIN));
        }
        let leave = Leave { kitchen, unit, parent, part: found.clone(), bound, drop_after: *drop_after };
        recipe.transactions = leave.transactions().await?;
    }
    if let (Some(folder), None) = (archive, &own.archive) {
        recipe.transactions.push(filing(kitchen, unit, &found, Some(bound), folder));
    }
    Ok(recipe)
}

/// A partition that leaves its parent.
struct Leave<'a> {
    kitchen: &'a Kitchen<'a>,
    unit: &'a Unit,
    parent: Relation,
    part: Relation,
    bound: &'a Bound,
    drop_after: Option<Micros>,
}

impl Leave<'_> {
    async fn transactions(&self) -> Result<Vec<Txn>, EngineError> {
        let (kitchen, parent, part) = (self.kitchen, &self.parent, &self.part);
        let foreign = catalog::foreign(kitchen, part.id).await?;
        let references = references(kitchen, part).await?;
        let mut begin = Txn::plain("begin");
        begin.push(Step::record(kitchen.ledger.begin(self.unit, kitchen.run)));
        begin.steps.extend(references);
        let default = catalog::default_of(kitchen, parent.id).await?;
        let statement =
            format!("ALTER TABLE {} DETACH PARTITION {}", quoted(&parent.name), quoted(&part.name));
        let Some(default) = default else {
            return Ok([vec![begin], self.beside_readers(&statement, &foreign)].concat());
        };
        let mut detach = Txn::brief("detach");
        detach.push(Step::lock_only(&parent.name, Mode::AccessExclusive));
        detach.push(lock_catch_all(part, Mode::AccessExclusive));
        if default.id != part.id {
            detach.push(Step::lock_only(&default.name, Mode::AccessExclusive));
        }
        for (tables, mode) in
            [(&foreign.out, Mode::ShareRowExclusive), (&foreign.into, Mode::AccessExclusive)]
        {
            for table in tables {
                if catalog::may_lock(kitchen.client, kitchen.database, table.id).await? {
                    detach.push(match mode {
                        Mode::AccessExclusive => Step::lock_only(&table.name, mode),
                        _ => lock_catch_all(table, mode),
                    });
                }
            }
        }
        detach.push(same(&parent.name, parent.id));
        detach.push(same(&part.name, part.id));
        let step = Step::new(statement)
            .locks(&parent.name, Mode::AccessExclusive)
            .locks_tree(part, Mode::AccessExclusive)
            .locks(&default.name, Mode::AccessExclusive);
        detach.push(with_foreign(
            with_referring(step, &foreign),
            &foreign,
            Mode::ShareRowExclusive,
            Mode::AccessExclusive,
        ));
        self.record(&mut detach);
        Ok(vec![begin, detach])
    }

    fn beside_readers(&self, statement: &str, foreign: &Foreign) -> Vec<Txn> {
        let (parent, part) = (&self.parent, &self.part);
        let is = |pending: &str| {
            format!(
                "SELECT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = {} AND inhparent = {} \
                 AND {pending} inhdetachpending)",
                part.id, parent.id
            )
        };
        let locks = |step: Step| {
            let step =
                step.locks(&parent.name, Mode::ShareUpdateExclusive).locks_tree(part, Mode::AccessExclusive);
            with_foreign(step, foreign, Mode::ShareRowExclusive, Mode::AccessExclusive)
        };
        let detach = Txn {
            name: "detach",
            // A table of a foreign key is locked at the end: others would stand behind a detach that stands in a queue.
            manner: Manner::Alone { short: foreign.any() },
            only_if: Some(is("NOT")),
            steps: vec![with_referring(locks(Step::new(format!("{statement} CONCURRENTLY"))), foreign)],
        };
        let finalize = Txn {
            only_if: Some(is("")),
            steps: vec![locks(Step::new(format!("{statement} FINALIZE")))],
            ..Txn::brief("finalize")
        };
        let mut record = Txn::plain("record");
        record.push(Step::must(
            format!("SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = {})", part.id),
            format!("{} is still attached", part.name),
            PLAN_AGAIN,
        ));
        self.record(&mut record);
        vec![detach, finalize, record]
    }

    fn record(&self, txn: &mut Txn) {
        let ledger = self.kitchen.ledger;
        txn.push(Step::record(ledger.becomes(self.unit, &[&self.part.name], "detached")));
        txn.push(Step::record(ledger.drop_after(&self.part.name, self.drop_after)));
        let removed = vec![Placed { table: self.part.name.clone(), bound: self.bound.clone(), below: None }];
        let change = Change {
            kind: kind_word(self.unit),
            parent: self.parent.name.clone(),
            removed,
            added: Vec::new(),
        };
        finish(self.kitchen, self.unit, &change, txn);
    }
}

/// Questions whether rows of other tables refer to rows of a partition: PostgreSQL would ask them under its locks, and
/// break the detach off.
async fn references(kitchen: &Kitchen<'_>, part: &Relation) -> Result<Vec<Step>, EngineError> {
    let rows = kitchen
        .client
        .query(
            "SELECT k.conrelid, \
               (SELECT pg_catalog.string_agg(pg_catalog.format('p.%I OPERATOR(%I.%s) f.%I', \
                    pa.attname, o.nspname, op.oprname, fa.attname), ' AND ' ORDER BY c.n) \
                FROM ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey), \
                    pg_catalog.unnest(k.conpfeqop)) WITH ORDINALITY AS c(f, p, op, n) \
                  JOIN pg_catalog.pg_attribute fa ON fa.attrelid = k.conrelid AND fa.attnum = c.f \
                  JOIN pg_catalog.pg_attribute pa ON pa.attrelid = k.confrelid AND pa.attnum = c.p \
                  JOIN pg_catalog.pg_operator op ON op.oid = c.op \
                  JOIN pg_catalog.pg_namespace o ON o.oid = op.oprnamespace) \
             FROM pg_catalog.pg_constraint k \
             WHERE k.confrelid = $1 AND k.contype = 'f' AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint a \
               WHERE a.oid = k.conparentid AND a.confrelid = k.confrelid) ORDER BY 1, k.conname",
            &[&part.id],
        )
        .await
        .map_err(on(kitchen.database, "reading foreign keys"))?;
    let mut steps = Vec::new();
    for row in &rows {
        let Some(other) = catalog::by_id(kitchen, row.get(0)).await? else { continue };
        let (condition, table) = (row.get::<_, String>(1), &other.name);
        let sql = format!(
            "SELECT NOT EXISTS (SELECT FROM {} p JOIN {} f ON {condition})",
            quoted(&part.name),
            quoted(table)
        );
        let question = Step::must(
            sql,
            format!("rows of {table} refer to rows of {}", part.name),
            format!("Delete those rows of {table}, or retire its partitions, first."),
        );
        steps.push(question.locks_tree(part, Mode::AccessShare).locks_tree(&other, Mode::AccessShare));
    }
    Ok(steps)
}

/// Finishes a detach that was broken off.
pub(super) async fn finalize(
    kitchen: &Kitchen<'_>,
    unit: &Unit,
    parent: &TableName,
    part: &TableName,
    bound: &Bound,
) -> Result<Recipe, EngineError> {
    let parent = catalog::parent_of_set(kitchen, parent, unit.set_id).await?;
    let found = catalog::there(kitchen, part).await?;
    if !found.pending || found.parent != Some(parent.id) {
        return Ok(Recipe::default());
    }
    // When it was to be dropped was said by the unit that was broken off.
    let drop_after = kitchen.ledger.said_to_drop(kitchen.client, found.id).await?;
    let foreign = catalog::foreign(kitchen, found.id).await?;
    let mut txn = Txn::brief("finalize");
    txn.push(Step::record(kitchen.ledger.begin(unit, kitchen.run)));
    txn.push(with_foreign(
        Step::new(format!(
            "ALTER TABLE {} DETACH PARTITION {} FINALIZE",
            quoted(&parent.name),
            quoted(&found.name)
        ))
        .locks(&parent.name, Mode::ShareUpdateExclusive)
        .locks_tree(&found, Mode::AccessExclusive),
        &foreign,
        Mode::ShareRowExclusive,
        Mode::AccessExclusive,
    ));
    Leave { kitchen, unit, parent, part: found, bound, drop_after }.record(&mut txn);
    Ok(Recipe { transactions: vec![txn], proofs: Vec::new() })
}

/// Drops a table that was retired or replaced.
pub(super) async fn drop(
    kitchen: &Kitchen<'_>,
    unit: &Unit,
    table: &TableName,
    table_id: u64,
) -> Result<Recipe, EngineError> {
    let Some(found) = catalog::by_name(kitchen, table).await? else { return Ok(Recipe::default()) };
    identity(table, &found, table_id)?;
    let own = own(kitchen, table, found.id).await?;
    if own.attached || !matches!(own.state.as_str(), "detached" | "replaced") {
        return Err(refuse(format!("{table} is still in use as a partition"), PLAN_AGAIN));
    }
    let below = catalog::below(kitchen, found.id).await?;
    for part in &below {
        self::own(kitchen, &part.name, part.id).await?;
    }
    must_be_archived(kitchen, &own).await?;

    let mut begin = Txn::plain("begin");
    begin.push(Step::record(kitchen.ledger.begin(unit, kitchen.run)));
    let mut transactions = vec![begin];
    // A foreign key that goes with its table takes the table it refers to from everybody; so it goes first, briefly.
    for (name, to) in foreign_keys(kitchen, &found).await? {
        let mut release = Txn::brief("release");
        if catalog::may_lock(kitchen.client, kitchen.database, to.id).await? {
            release.push(lock_catch_all(&to, Mode::AccessExclusive));
        }
        let step = Step::new(format!("ALTER TABLE {} DROP CONSTRAINT {}", quoted(table), quote_ident(&name)));
        release.push(step.locks_tree(&found, Mode::AccessExclusive).locks_tree(&to, Mode::AccessExclusive));
        transactions.push(release);
    }
    let mut txn = Txn::brief("drop");
    if let Some((path, sha256)) = &own.archive {
        txn.push(lock_catch_all(&found, Mode::Share));
        let then = Then::Archived { table: table.clone(), path: path.clone(), sha256: sha256.clone() };
        txn.push(Step { then, ..Step::new(archive::copy(table)).locks_tree(&found, Mode::AccessShare) });
    }
    txn.push(lock_catch_all(&found, Mode::AccessExclusive));
    txn.push(same(table, found.id));
    txn.push(Step::must(
        format!("SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = {})", found.id),
        format!("{table} was attached meanwhile"),
        PLAN_AGAIN,
    ));
    let drop = Step::new(format!("DROP TABLE {}", quoted(table)));
    txn.push(drop.locks_tree(&found, Mode::AccessExclusive));
    let ids: Vec<u32> = below.iter().map(|part| part.id).chain([found.id]).collect();
    txn.push(Step::record(kitchen.ledger.forgets(&ids)));
    txn.push(Step::record(kitchen.ledger.done(unit, kitchen.run)));
    transactions.push(txn);
    Ok(Recipe { transactions, proofs: Vec::new() })
}

/// What was to be archived is not dropped before it was.
async fn must_be_archived(kitchen: &Kitchen<'_>, own: &Own) -> Result<(), EngineError> {
    let sql = format!(
        "SELECT work->>'archive' FROM {} WHERE id = {} AND work->>'archive' IS NOT NULL LIMIT 1",
        kitchen.ledger.table("lifecycle_unit"),
        quote_literal(&own.unit)
    );
    let asked = kitchen.client.query_opt(&sql, &[]).await;
    let asked = asked.map_err(on(kitchen.database, "reading replat's own records"))?;
    match (asked, &own.archive) {
        (Some(row), None) => Err(refuse(
            format!("{} was to be archived to {} and is not", own.table, row.get::<_, &str>(0)),
            "Run rotate again: it archives first.",
        )),
        _ => Ok(()),
    }
}

/// Foreign keys of a table of its own, with the tables they refer to.
async fn foreign_keys(
    kitchen: &Kitchen<'_>,
    table: &Relation,
) -> Result<Vec<(String, Relation)>, EngineError> {
    let rows = kitchen
        .client
        .query(
            "SELECT k.conname::text, k.confrelid FROM pg_catalog.pg_constraint k WHERE k.conrelid = $1 \
             AND k.contype = 'f' AND k.conparentid = 0 ORDER BY 1",
            &[&table.id],
        )
        .await
        .map_err(on(kitchen.database, "reading foreign keys"))?;
    let mut keys = Vec::new();
    for row in &rows {
        if let Some(to) = catalog::by_id(kitchen, row.get(1)).await? {
            keys.push((row.get(0), to));
        }
    }
    Ok(keys)
}

/// Writes a detached partition to a file.
pub(super) async fn archive(
    kitchen: &Kitchen<'_>,
    unit: &Unit,
    table: &TableName,
    table_id: u64,
    folder: &str,
) -> Result<Recipe, EngineError> {
    let found = catalog::there(kitchen, table).await?;
    identity(table, &found, table_id)?;
    let own = own(kitchen, table, found.id).await?;
    if own.attached {
        return Err(refuse(format!("{table} is still in use as a partition"), PLAN_AGAIN));
    }
    if own.archive.is_some() {
        return Ok(Recipe::default());
    }
    let bound = kitchen.ledger.bound(kitchen.client, found.id).await?;
    let transactions = vec![filing(kitchen, unit, &found, bound.as_ref(), folder)];
    Ok(Recipe { transactions, proofs: Vec::new() })
}

fn filing(kitchen: &Kitchen<'_>, unit: &Unit, table: &Relation, bound: Option<&Bound>, folder: &str) -> Txn {
    let path = archive::path(folder, &table.name, table.id);
    let mut txn = Txn { manner: Manner::Snapshot, ..Txn::plain("archive") };
    txn.push(Step::record(kitchen.ledger.begin(unit, kitchen.run)));
    let filing =
        Filing { table: table.name.clone(), table_id: table.id, bound: bound.cloned(), path: path.clone() };
    let copy = Step::new(archive::copy(&table.name)).locks_tree(table, Mode::AccessShare);
    txn.push(Step { then: Then::Archive(filing), ..copy });
    txn.push(Step::record(kitchen.ledger.archived(&table.name, &path)));
    txn.push(Step::record(kitchen.ledger.done(unit, kitchen.run)));
    txn
}

/// Takes partitions over that others made, with all below them.
pub(super) async fn adopt(
    kitchen: &Kitchen<'_>,
    unit: &Unit,
    parts: &[(TableName, u64)],
) -> Result<Recipe, EngineError> {
    let known = kitchen.ledger.own(kitchen.client, "p.state = 'attached'").await?;
    let mut txn = Txn::plain("adopt");
    txn.push(Step::record(kitchen.ledger.begin(unit, kitchen.run)));
    let before = txn.steps.len();
    for (name, id) in parts {
        let found = catalog::there(kitchen, name).await?;
        identity(name, &found, *id)?;
        for part in [vec![found.clone()], catalog::below(kitchen, found.id).await?].concat() {
            if known.iter().any(|own| own.id == part.id) {
                continue;
            }
            let (Some(parent), Some(bound)) = (part.parent, part.bound()?) else {
                return Err(refuse(format!("{} is not a partition", part.name), PLAN_AGAIN));
            };
            let parent = catalog::by_id(kitchen, parent).await?;
            let parent =
                parent.ok_or_else(|| refuse(format!("{} lost its parent", part.name), PLAN_AGAIN))?;
            if part.id == found.id {
                catalog::parent_of_set(kitchen, &parent.name, unit.set_id).await?;
            }
            txn.push(Step::must(
                format!(
                    "SELECT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = {} AND inhparent = {}) \
                     AND {} OPERATOR(pg_catalog.=) {}::pg_catalog.oid",
                    part.id,
                    parent.id,
                    oid_of(&part.name),
                    part.id
                ),
                format!("{} is no longer a partition of {}", part.name, parent.name),
                PLAN_AGAIN,
            ));
            let entry = Entry {
                table: &part.name,
                parent: &parent.name,
                bound: &bound,
                origin: "adopted",
                state: "attached",
            };
            txn.push(Step::record(kitchen.ledger.enters(unit, &entry)));
        }
    }
    if txn.steps.len() == before {
        return Ok(Recipe::default());
    }
    txn.push(Step::record(kitchen.ledger.done(unit, kitchen.run)));
    Ok(Recipe { transactions: vec![txn], proofs: Vec::new() })
}
