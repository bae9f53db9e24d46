//! New partitions of a table in use.
//!
//! They are staged as tables of their own, in one transaction that locks nothing in use; then attached together, in one
//! short transaction that is tried without a queue. A default partition has to prove that it has no row of theirs: an
//! all but empty one is read under the lock, a bigger one proves it beforehand with a CHECK. Where others may wait for the
//! attaches, many are divided over some transactions: those that are committed stay, whatever becomes of the rest.
//!
//! Foreign keys are not built on staged tables: the attach would drop their triggers again, and lock the table they
//! refer to against everybody. Left to the attach, they cost the check of an empty table.

use std::collections::BTreeMap;

use replat_engine::EngineError;
use replat_model::lifecycle::facts::{Bound, Method, TableName};
use replat_model::lifecycle::plan::{EdgeMove, NewLevel, NewPart, Unit};
use sha2::{Digest, Sha256};

use super::catalog::{self, Foreign, Relation};
use super::settings::{self, Settings};
use super::{Kitchen, Mode, PLAN_AGAIN, Recipe, Step, Then, Txn, proof, refuse};
use crate::error::on;
use crate::lifecycle::bounds;
use crate::lifecycle::ledger::{Change, Entry, Leftover, Placed, kind_word, oid_of, quoted};
use crate::sql::quote_ident;

/// How many bytes of a catch-all may be read under the lock, over all attaches of a unit: a few milliseconds' worth.
const READ_MAX: u64 = 1 << 20;

/// How many partitions are attached in one transaction that others may wait for, at 1 to 2 ms each.
const AT_ONCE: usize = 12;

/// New partitions of `parent`.
pub(super) async fn create(
    kitchen: &Kitchen<'_>,
    unit: &Unit,
    parent: &TableName,
    parts: &[NewPart],
    edge: Option<&EdgeMove>,
) -> Result<Recipe, EngineError> {
    let parent = catalog::parent_of_set(kitchen, parent, unit.set_id).await?;
    let parts = missing(kitchen, &parent, parts).await?;
    if parts.is_empty() {
        return Ok(Recipe::default());
    }
    let edge = match edge {
        Some(edge) => Some(moved(kitchen, &parent, edge).await?),
        None => None,
    };
    let mut swap = Swap::of(kitchen, unit, parent).await?;
    swap.proves = match (&edge, &swap.default) {
        (Some(edge), _) => Some(edge.relation.clone()),
        (None, default) => default.clone(),
    };
    swap.added = parts;
    swap.edge = edge;
    swap.recipe(kitchen).await
}

/// Another policy for rows that belong to no partition.
pub(super) async fn overflow(
    kitchen: &Kitchen<'_>,
    unit: &Unit,
    parent: &TableName,
    old: &[(TableName, u64, Bound)],
    new: &[NewPart],
) -> Result<Recipe, EngineError> {
    let parent = catalog::parent_of_set(kitchen, parent, unit.set_id).await?;
    let parts = missing(kitchen, &parent, new).await?;
    let mut gone = Vec::new();
    for (name, id, _) in old {
        let Some(found) = catalog::by_name(kitchen, name).await? else { continue };
        if u64::from(found.id) != *id || found.parent != Some(parent.id) {
            return Err(refuse(format!("{name} is not the partition that was planned for"), PLAN_AGAIN));
        }
        gone.push(found);
    }
    if parts.is_empty() && gone.is_empty() {
        return Ok(Recipe::default());
    }
    let mut swap = Swap::of(kitchen, unit, parent).await?;
    // A default that goes is empty, and detached before anything is attached.
    let stays = swap.default.take_if(|default| gone.iter().all(|old| old.id != default.id));
    swap.goes_default = stays.is_none() && gone.iter().any(|old| old.bound.as_deref() == Some("DEFAULT"));
    swap.default.clone_from(&stays);
    swap.proves = stays;
    swap.added = parts;
    swap.gone = gone;
    swap.recipe(kitchen).await
}

/// Those of `parts` that are not attached yet.
async fn missing(
    kitchen: &Kitchen<'_>,
    parent: &Relation,
    parts: &[NewPart],
) -> Result<Vec<NewPart>, EngineError> {
    let there = catalog::by_names(kitchen, parts.iter().map(|part| &part.table)).await?;
    let mut missing = Vec::new();
    for part in parts {
        let Some(found) = there.get(&part.table) else {
            missing.push(part.clone());
            continue;
        };
        if found.parent != Some(parent.id) || found.bound()?.as_ref() != Some(&part.bound) {
            return Err(refuse(
                format!("{} is there already, and is not the partition that is to be made", part.table),
                "Rename or drop it, or let new partitions have other names.",
            ));
        }
    }
    Ok(missing)
}

/// The edge partition with its new bounds.
#[derive(Clone, Debug)]
struct Moved {
    relation: Relation,
    old: Bound,
    new: Bound,
}

async fn moved(kitchen: &Kitchen<'_>, parent: &Relation, edge: &EdgeMove) -> Result<Moved, EngineError> {
    let relation = catalog::there(kitchen, &edge.table).await?;
    let old = relation.bound()?;
    match old {
        Some(Bound::Range { from, to }) if relation.parent == Some(parent.id) && from == edge.from => {
            let new = Bound::Range { from: edge.to.clone(), to: to.clone() };
            Ok(Moved { relation, old: Bound::Range { from, to }, new })
        }
        _ => Err(refuse(format!("{} no longer holds the edge that was planned for", edge.table), PLAN_AGAIN)),
    }
}

/// One change of a table's partitions.
struct Swap<'a> {
    unit: &'a Unit,
    parent: Relation,
    foreign: Foreign,
    /// Those of the foreign keys' tables that this role may lock beforehand.
    lockable: Vec<u32>,
    default: Option<Relation>,
    /// Whether a default partition is among those that go.
    goes_default: bool,
    /// The catch-all that must prove that it has no row of the new partitions.
    proves: Option<Relation>,
    added: Vec<NewPart>,
    edge: Option<Moved>,
    gone: Vec<Relation>,
}

impl<'a> Swap<'a> {
    async fn of(kitchen: &Kitchen<'_>, unit: &'a Unit, parent: Relation) -> Result<Swap<'a>, EngineError> {
        let foreign = catalog::foreign(kitchen, parent.id).await?;
        let mut lockable = Vec::new();
        for table in foreign.out.iter().chain(&foreign.into) {
            if catalog::may_lock(kitchen.client, kitchen.database, table.id).await? {
                lockable.push(table.id);
            }
        }
        let default = catalog::default_of(kitchen, parent.id).await?;
        let (proves, edge, added, gone) = (None, None, Vec::new(), Vec::new());
        Ok(Swap { unit, parent, foreign, lockable, default, goes_default: false, proves, added, edge, gone })
    }

    async fn recipe(self, kitchen: &Kitchen<'_>) -> Result<Recipe, EngineError> {
        let mut recipe = Recipe::default();
        let mut stage = Txn::plain("stage");
        stage.push(Step::record(kitchen.ledger.begin(self.unit, kitchen.run)));
        Stage::of(kitchen, self.unit).await?.level(&self.parent, &self.added, &mut stage).await?;
        recipe.transactions.push(stage);

        let proof = self.proof(kitchen).await?;
        if let Proof::Check { table, name, condition } = &proof {
            recipe.transactions.extend(self.check(kitchen, table, name, condition));
        }
        recipe.proofs = self.added.iter().map(|_| proof.word().to_owned()).collect();
        let each = if self.is_divisible() { AT_ONCE } else { usize::MAX };
        let pieces = self.added.len().div_ceil(each).max(1);
        // Of equal size, so that the longest is as short as can be.
        let mut rest = self.added.as_slice();
        for piece in (1..=pieces).rev() {
            let (parts, after) = rest.split_at(rest.len().div_ceil(piece));
            rest = after;
            recipe.transactions.push(self.attach(kitchen, &proof, parts, rest.is_empty()));
        }
        Ok(recipe)
    }

    /// Whether others may wait for the attaches, and some of them may be committed before the others. Otherwise all are
    /// committed together: every commit has all sessions plan anew.
    fn is_divisible(&self) -> bool {
        (self.default.is_some() || self.foreign.any()) && self.edge.is_none() && self.gone.is_empty()
    }

    /// What the attach relies on.
    async fn proof(&self, kitchen: &Kitchen<'_>) -> Result<Proof, EngineError> {
        let Some(table) = &self.proves else { return Ok(Proof::Nothing) };
        let scans = self.added.len() as u64 + u64::from(self.edge.is_some());
        if table.bytes == 0 {
            return Ok(Proof::Empty { table: table.clone() });
        }
        let few = READ_MAX / scans.max(1);
        if table.bytes <= few {
            return Ok(Proof::Scan { table: table.clone(), at_most: few });
        }
        let keys = proof::keys(kitchen, self.parent.id).await?;
        let condition = match &self.edge {
            // The edge is attached again with narrower bounds, so its rows must be within these.
            Some(edge) => proof::inside(&keys, &edge.new),
            None => proof::outside(&keys, &self.added.iter().map(|part| &part.bound).collect::<Vec<_>>()),
        };
        let condition = condition.ok_or_else(|| {
            refuse(
                format!("{} has rows, and beside partitions of this kind it should have none", table.name),
                "Drain it first.",
            )
        })?;
        let digest = Sha256::digest(format!("{}/{}", kitchen.run, self.unit.id));
        let name = format!("replat_{}", digest[..8].iter().map(|b| format!("{b:02x}")).collect::<String>());
        Ok(Proof::Check { table: table.clone(), name, condition })
    }

    /// Rows that the CHECK forbids are refused from here until the attach: so it is for ranges in the future, and the
    /// check goes if the attach cannot be had.
    fn check(&self, kitchen: &Kitchen<'_>, table: &Relation, name: &str, condition: &str) -> [Txn; 2] {
        let leftover =
            Leftover::Check { table: table.name.clone(), table_id: table.id, name: name.to_owned() };
        let (target, quoted_name) = (quoted(&table.name), quote_ident(name));
        let mut check = Txn::brief("check");
        check.push(lock_catch_all(table, Mode::AccessExclusive));
        check.push(same(&table.name, table.id));
        check.push(
            Step::new(format!(
                "ALTER TABLE {target} ADD CONSTRAINT {quoted_name} CHECK ({condition}) NOT VALID"
            ))
            .locks_tree(table, Mode::AccessExclusive),
        );
        check.push(Step::record(kitchen.ledger.leaves(self.unit, kitchen.run, &leftover)));
        let mut validate = Txn::plain("validate");
        validate.push(
            Step::new(format!("ALTER TABLE {target} VALIDATE CONSTRAINT {quoted_name}"))
                .locks_tree(table, Mode::ShareUpdateExclusive),
        );
        [check, validate]
    }

    fn attach(&self, kitchen: &Kitchen<'_>, proof: &Proof, parts: &[NewPart], last: bool) -> Txn {
        let mut txn = Txn::brief("attach");
        self.lock(&mut txn);
        self.look_again(proof, &mut txn);
        self.detach(&mut txn);
        let parent = quoted(&self.parent.name);
        for part in parts {
            txn.push(self.attaches(&parent, &part.table, &part.bound));
        }
        if let Some(edge) = &self.edge {
            txn.push(self.attaches(&parent, &edge.relation.name, &edge.new));
        }
        if let (Proof::Check { table, name, .. }, true) = (proof, last) {
            txn.push(
                Step::new(format!(
                    "ALTER TABLE {} DROP CONSTRAINT {}",
                    quoted(&table.name),
                    quote_ident(name)
                ))
                .locks_tree(table, Mode::AccessExclusive),
            );
        }
        self.check_again(parts, &mut txn);
        self.record(kitchen, parts, last, &mut txn);
        txn
    }

    /// In the order in which everybody else takes them: parent, partitions, tables of foreign keys.
    fn lock(&self, txn: &mut Txn) {
        let detaches = self.edge.is_some() || !self.gone.is_empty();
        let mode = if detaches { Mode::AccessExclusive } else { Mode::ShareUpdateExclusive };
        txn.push(Step::lock_only(&self.parent.name, mode));
        let edge = self.edge.iter().map(|edge| &edge.relation);
        for table in self.default.iter().chain(edge).chain(&self.gone) {
            txn.push(lock_catch_all(table, Mode::AccessExclusive));
        }
        // An edge that comes back brings its foreign keys along, and a table that goes takes them along: either takes
        // more of the table they refer to, and of its partitions.
        let mode = if detaches { Mode::AccessExclusive } else { Mode::ShareRowExclusive };
        for table in self.foreign.out.iter().filter(|table| self.lockable.contains(&table.id)) {
            txn.push(lock_catch_all(table, mode));
        }
        // Of a partitioned table that refers to ours only the table itself is changed.
        for table in self.foreign.into.iter().filter(|table| self.lockable.contains(&table.id)) {
            txn.push(Step::lock_only(&table.name, mode));
        }
    }

    /// What was read without a lock.
    fn look_again(&self, proof: &Proof, txn: &mut Txn) {
        txn.push(same(&self.parent.name, self.parent.id));
        let default = self.default.as_ref().or_else(|| {
            self.gone.iter().find(|_| self.goes_default).filter(|old| old.bound.as_deref() == Some("DEFAULT"))
        });
        let id = default.map_or(0, |default| default.id);
        txn.push(Step::must(
            format!(
                "SELECT partdefid OPERATOR(pg_catalog.=) {id}::pg_catalog.oid \
                 FROM pg_catalog.pg_partitioned_table WHERE partrelid OPERATOR(pg_catalog.=) {}",
                self.parent.id
            ),
            format!("{} got or lost its default partition meanwhile", self.parent.name),
            PLAN_AGAIN,
        ));
        let (table, at_most) = match proof {
            Proof::Empty { table } => (table, READ_MAX / (self.added.len() as u64 + 1)),
            Proof::Scan { table, at_most } => (table, *at_most),
            Proof::Nothing | Proof::Check { .. } => return,
        };
        txn.push(Step::must(
            format!(
                "SELECT coalesce(sum(pg_catalog.pg_relation_size(t.relid)), 0) OPERATOR(pg_catalog.<=) {at_most} \
                 FROM pg_catalog.pg_partition_tree({}::pg_catalog.oid::pg_catalog.regclass) t",
                table.id
            ),
            format!("{} has grown so that it should not be read under a lock", table.name),
            PLAN_AGAIN,
        ));
    }

    fn detach(&self, txn: &mut Txn) {
        let parent = quoted(&self.parent.name);
        if let Some(edge) = &self.edge {
            txn.push(self.detaches(&parent, &edge.relation.name));
        }
        for old in &self.gone {
            let name = quoted(&old.name);
            txn.push(Step::must(
                format!("SELECT NOT EXISTS (SELECT FROM {name})"),
                format!("{} has a row by now", old.name),
                "Run rotate again: it moves its rows first.",
            ));
            txn.push(self.detaches(&parent, &old.name));
            let gone =
                self.foreign.out.iter().fold(Step::new(format!("DROP TABLE {name}")), |step, table| {
                    step.locks_tree(table, Mode::AccessExclusive)
                });
            txn.push(gone);
        }
    }

    fn detaches(&self, parent: &str, part: &TableName) -> Step {
        let step = Step::new(format!("ALTER TABLE {parent} DETACH PARTITION {}", quoted(part)))
            .locks(&self.parent.name, Mode::AccessExclusive)
            .locks(part, Mode::AccessExclusive);
        let step =
            self.default.iter().fold(step, |step, default| step.locks(&default.name, Mode::AccessExclusive));
        let step = with_referring(step, &self.foreign);
        with_foreign(step, &self.foreign, Mode::ShareRowExclusive, Mode::AccessExclusive)
    }

    fn attaches(&self, parent: &str, part: &TableName, bound: &Bound) -> Step {
        let sql = format!("ALTER TABLE {parent} ATTACH PARTITION {} {}", quoted(part), bounds::sql(bound));
        let step = Step::new(sql).locks(&self.parent.name, Mode::ShareUpdateExclusive);
        // The constraint of a partition is also that of the tables above its parent.
        let step = self.parent.above.iter().fold(step, |step, table| step.locks(table, Mode::AccessShare));
        let step =
            self.default.iter().fold(step, |step, default| step.locks(&default.name, Mode::AccessExclusive));
        let returns = self.edge.as_ref().is_some_and(|edge| edge.relation.name == *part);
        let out = if returns { Mode::AccessExclusive } else { Mode::ShareRowExclusive };
        with_foreign(step, &self.foreign, out, Mode::ShareRowExclusive)
    }

    /// Bounds as they were asked for, and every index of the parent there, attached and valid.
    fn check_again(&self, parts: &[NewPart], txn: &mut Txn) {
        let mut asked: Vec<(TableName, Bound)> =
            parts.iter().map(|part| (part.table.clone(), part.bound.clone())).collect();
        asked.extend(self.edge.iter().map(|edge| (edge.relation.name.clone(), edge.new.clone())));
        if asked.is_empty() {
            return;
        }
        let ids = asked.iter().map(|(table, _)| oid_of(table)).collect::<Vec<_>>().join(", ");
        txn.push(Step { then: Then::Bounds(asked), ..Step::new(format!(
            "SELECT n.nspname, c.relname, pg_catalog.pg_get_expr(c.relpartbound, c.oid) FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace WHERE c.oid IN ({ids})"
        )) });
        txn.push(Step::must(
            format!(
                "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_index p, pg_catalog.pg_class c \
                 WHERE p.indrelid = {} AND c.oid IN ({ids}) AND NOT EXISTS ( \
                   SELECT FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_index x ON x.indexrelid = h.inhrelid \
                   WHERE h.inhparent = p.indexrelid AND x.indrelid = c.oid AND (x.indisvalid OR NOT p.indisvalid)))",
                self.parent.id
            ),
            "a new partition lacks an index of its parent",
            "Report it with the definitions of the parent's indexes.",
        ));
    }

    fn record(&self, kitchen: &Kitchen<'_>, parts: &[NewPart], last: bool, txn: &mut Txn) {
        let ledger = kitchen.ledger;
        let mut all = Vec::new();
        for part in parts {
            names(part, &mut all);
        }
        if !all.is_empty() {
            txn.push(Step::record(ledger.becomes(self.unit, &all, "attached")));
        }
        let gone: Vec<u32> = self.gone.iter().map(|old| old.id).collect();
        if !gone.is_empty() {
            txn.push(Step::record(ledger.forgets(&gone)));
        }
        let edge = |bound: fn(&Moved) -> &Bound| {
            self.edge.iter().map(move |edge| Placed {
                table: edge.relation.name.clone(),
                bound: bound(edge).clone(),
                below: None,
            })
        };
        let gone = self.gone.iter().filter_map(|old| {
            let bound = old.bound().ok().flatten()?;
            Some(Placed { table: old.name.clone(), bound, below: None })
        });
        let change = Change {
            kind: kind_word(self.unit),
            parent: self.parent.name.clone(),
            removed: gone.chain(edge(|edge| &edge.old)).collect(),
            added: parts.iter().map(Placed::from).chain(edge(|edge| &edge.new)).collect(),
        };
        if last {
            txn.push(Step::record(ledger.done(self.unit, kitchen.run)));
        }
        tell(kitchen, self.unit, &change, txn);
    }
}

/// What an attach relies on, so that it reads no row under a lock, or few.
enum Proof {
    /// No other partition could have such rows.
    Nothing,
    /// The catch-all has no page.
    Empty { table: Relation },
    /// It has so few that reading them is nothing.
    Scan { table: Relation, at_most: u64 },
    /// A CHECK says so.
    Check { table: Relation, name: String, condition: String },
}

impl Proof {
    fn word(&self) -> &'static str {
        match self {
            Proof::Nothing | Proof::Empty { .. } => "empty",
            Proof::Scan { .. } => "scanned",
            Proof::Check { .. } => "check",
        }
    }
}

/// The last statements of a unit: it is done, and the change is told. The lock on the outbox is held from here to the
/// commit, and no longer.
pub(crate) fn finish(kitchen: &Kitchen<'_>, unit: &Unit, change: &Change, txn: &mut Txn) {
    txn.push(Step::record(kitchen.ledger.done(unit, kitchen.run)));
    tell(kitchen, unit, change, txn);
}

fn tell(kitchen: &Kitchen<'_>, unit: &Unit, change: &Change, txn: &mut Txn) {
    let [lock, tell] = kitchen.ledger.tells(unit, change);
    txn.push(Step::record(lock));
    txn.push(Step { then: Then::Version, ..Step::record(tell) });
}

/// The name must still mean the table that was planned for.
pub(crate) fn same(name: &TableName, id: u32) -> Step {
    Step::must(
        format!("SELECT {} OPERATOR(pg_catalog.=) {id}::pg_catalog.oid", oid_of(name)),
        format!("{name} is another table by now"),
        PLAN_AGAIN,
    )
}

/// A table is locked with all below it, as an attach would lock a catch-all, and what touches a foreign key the table
/// that it refers to.
pub(crate) fn lock_catch_all(table: &Relation, mode: Mode) -> Step {
    if table.cut {
        Step::lock_tree(&table.name, &table.below, mode)
    } else {
        Step::lock_only(&table.name, mode)
    }
}

/// What the foreign keys of a table add to the locks of a statement on its partitions.
pub(crate) fn with_foreign(step: Step, foreign: &Foreign, out: Mode, into: Mode) -> Step {
    let step = foreign.out.iter().fold(step, |step, table| step.locks_tree(table, out));
    foreign.into.iter().fold(step, |step, table| step.locks(&table.name, into))
}

/// What the foreign keys of a table add to the locks of a detach, which looks for rows that refer to its own.
pub(crate) fn with_referring(step: Step, foreign: &Foreign) -> Step {
    let below = foreign.into.iter().flat_map(|table| &table.below);
    below.fold(step, |step, table| step.locks(table, Mode::AccessShare))
}

fn names<'p>(part: &'p NewPart, all: &mut Vec<&'p TableName>) {
    all.push(&part.table);
    for part in part.below.iter().flat_map(|level| &level.parts) {
        names(part, all);
    }
}

/// Staging of tables that nobody sees.
pub(crate) struct Stage<'a> {
    kitchen: &'a Kitchen<'a>,
    unit: &'a Unit,
    me: String,
    known: BTreeMap<Option<TableName>, Settings>,
}

impl<'a> Stage<'a> {
    /// Staging for a unit.
    pub(crate) async fn of(kitchen: &'a Kitchen<'a>, unit: &'a Unit) -> Result<Stage<'a>, EngineError> {
        let me = kitchen.client.query_one("SELECT current_user::text", &[]).await;
        let me = me.map_err(on(kitchen.database, "reading the role"))?.get(0);
        Ok(Stage { kitchen, unit, me, known: BTreeMap::new() })
    }

    /// Tables for the partitions of one parent in use, each with all below it.
    pub(crate) async fn level(
        &mut self,
        parent: &Relation,
        parts: &[NewPart],
        txn: &mut Txn,
    ) -> Result<(), EngineError> {
        for part in parts {
            let settings = self.settings(parent, part).await?;
            let table = quoted(&part.table);
            // The identity of a partition is its parent's, and comments are about the parent.
            let create = format!(
                "CREATE {}TABLE {table} (LIKE {} INCLUDING ALL EXCLUDING IDENTITY EXCLUDING COMMENTS){}",
                if part.below.is_some() { "" } else { settings.persistence },
                quoted(&parent.name),
                tail(part.below.as_ref(), &settings)
            );
            txn.push(Step::new(create).locks(&parent.name, Mode::AccessShare));
            self.after(&parent.name, part, &settings, txn);
            self.below(parent, part, txn).await?;
        }
        Ok(())
    }

    /// Below a staged table nobody is in the way: its partitions are made in place.
    fn below<'s>(
        &'s mut self,
        root: &'s Relation,
        above: &'s NewPart,
        txn: &'s mut Txn,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), EngineError>> + Send + 's>> {
        Box::pin(async move {
            for part in above.below.iter().flat_map(|level| &level.parts) {
                let settings = self.settings(root, part).await?;
                let create = format!(
                    "CREATE {}TABLE {} PARTITION OF {} {}{}",
                    if part.below.is_some() { "" } else { settings.persistence },
                    quoted(&part.table),
                    quoted(&above.table),
                    bounds::sql(&part.bound),
                    tail(part.below.as_ref(), &settings)
                );
                txn.push(Step::new(create));
                self.after(&above.table, part, &settings, txn);
                self.below(root, part, txn).await?;
            }
            Ok(())
        })
    }

    fn after(&self, parent: &TableName, part: &NewPart, settings: &Settings, txn: &mut Txn) {
        txn.steps.extend(settings.give(&part.table, part.below.is_some(), &self.me));
        let entry = Entry { table: &part.table, parent, bound: &part.bound, origin: "made", state: "staged" };
        txn.push(Step::record(self.kitchen.ledger.enters(self.unit, &entry)));
    }

    async fn settings(&mut self, parent: &Relation, part: &NewPart) -> Result<Settings, EngineError> {
        if let Some(known) = self.known.get(&part.like) {
            return Ok(known.clone());
        }
        let like = match &part.like {
            Some(name) => Some(catalog::there(self.kitchen, name).await?),
            None => None,
        };
        let settings = settings::read(self.kitchen, parent, like.as_ref()).await?;
        self.known.insert(part.like.clone(), settings.clone());
        Ok(settings)
    }
}

/// The end of CREATE TABLE: how it is cut, and how it is stored.
fn tail(below: Option<&NewLevel>, settings: &Settings) -> String {
    let Some(level) = below else { return settings.leaf_storage.clone() };
    let method = match level.method {
        Method::Range => "RANGE",
        Method::List => "LIST",
        Method::Hash => "HASH",
    };
    format!(" PARTITION BY {method} ({}){}", level.keys.join(", "), settings.cut_storage)
}
