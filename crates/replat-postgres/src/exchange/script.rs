//! An exchange as statements. Pure: what is shown is what is run.
//!
//! The views give way first, so that whoever waits for one of them holds no lock of a table; then all tables are locked by
//! one statement. All that follows has the locks that it needs.

use replat_model::exchange::{ExchangePlan, Grant, INVOKER_MIN, RIGHTS, SharedColumn, SharedTable, Tree};
use replat_model::facts::TableName;
use replat_model::ids::Side;
use serde::Serialize;

use crate::sql::{quote_ident, quote_literal};

/// The statements of an exchange, in order. All but the proofs are one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Script {
    /// What proves beforehand, with nobody waiting, that partitions hold what they are for. Each is a transaction of its own.
    pub proving: Vec<String>,
    /// What asks for locks, each no longer than a lock may be waited for.
    pub locking: Vec<String>,
    /// What follows under those locks.
    pub moving: Vec<String>,
}

impl Script {
    /// All statements.
    pub fn statements(&self) -> impl Iterator<Item = &str> {
        self.proving.iter().chain(&self.locking).chain(&self.moving).map(String::as_str)
    }
}

/// The exchange's statements on a server of this major version.
pub fn script(plan: &ExchangePlan, major: u32) -> Script {
    let to = plan.to;
    let moving = || plan.tables.iter().filter(|table| table.moves());
    let views: Vec<String> =
        moving().filter(|table| table.has_view_on(to)).map(|table| whole(table.on(to))).collect();
    // A lock of a partitioned table is one of all its partitions.
    let roots = plan.tables.iter().filter(|table| !table.is_leaf);
    let tables: Vec<String> = roots.map(|table| whole(table.on(to.other()))).collect();
    let handed_over = || moving().filter_map(|table| Some((table, table.handed_over.as_ref()?)));
    let mut script = Script {
        proving: handed_over().flat_map(|(_, tree)| proofs(tree)).collect(),
        locking: vec![
            format!("DROP VIEW IF EXISTS {}", views.join(", ")),
            format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", ")),
        ],
        moving: Vec::new(),
    };
    for (n, (table, tree)) in handed_over().enumerate() {
        script.moving.extend(handing_over(n, table, tree, to));
    }
    for (n, table) in moving().enumerate() {
        script.moving.extend(moved(n, table, to));
    }
    for table in plan.tables.iter().filter(|table| !table.is_leaf) {
        script.moving.extend(renamed(table, to));
        script.moving.extend(defaults(table, to));
    }
    for table in moving().filter(|table| table.has_view_on(to.other())) {
        script.moving.extend(view(table, to, major));
    }
    script
}

fn whole(name: &TableName) -> String {
    format!("{}.{}", quote_ident(&name.schema), quote_ident(&name.name))
}

/// The constraint that proves what a partition holds, so that it is attached without a look at its rows.
pub(super) const PROOF: &str = "replat_bound";

/// A constraint that is left from an earlier try may say something else by now.
fn proofs(tree: &Tree) -> Vec<String> {
    let parts = tree.partitions.iter();
    let proof = |name: String, condition: &str| {
        [
            format!(
                "ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {PROOF}, ADD CONSTRAINT {PROOF} CHECK ({condition}) NOT VALID"
            ),
            format!("ALTER TABLE {name} VALIDATE CONSTRAINT {PROOF}"),
        ]
    };
    parts.flat_map(|part| proof(whole(&part.name), &part.condition)).collect()
}

/// Takes the proofs away, where nothing came of them.
pub(super) fn without_proofs(plan: &ExchangePlan) -> Vec<String> {
    let trees = plan.tables.iter().filter_map(|table| table.handed_over.as_ref());
    let parts = trees.flat_map(|tree| &tree.partitions);
    parts
        .map(|part| format!("ALTER TABLE IF EXISTS {} DROP CONSTRAINT IF EXISTS {PROOF}", whole(&part.name)))
        .collect()
}

/// Puts another table in the place of a tree's topmost one, with its columns in the order of `to`, and hands the partitions
/// over to it. It has the old one's name, so that all that follows is as if it had always been there.
fn handing_over(n: usize, table: &SharedTable, tree: &Tree, to: Side) -> Vec<String> {
    let side = to.other();
    let from = table.on(side);
    let old = whole(from);
    let new = whole(&TableName { schema: from.schema.clone(), name: format!("replat_exchanged_tree_{n}") });
    let columns = table.in_order_of(to).into_iter().filter_map(|column| {
        let of = tree.columns.iter().find(|of| of.name == column.on(side))?;
        Some(format!("{} {}", quote_ident(&of.name), of.definition))
    });
    let columns: Vec<String> = columns.collect();
    let mut statements =
        vec![format!("CREATE TABLE {new} ({}) PARTITION BY {}", columns.join(", "), tree.key)];
    statements.push(owned_by("TABLE", &new, &table.owner));
    for part in &tree.partitions {
        statements.push(format!("ALTER TABLE {old} DETACH PARTITION {}", whole(&part.name)));
    }
    for sequence in &tree.sequences {
        let column = quote_ident(&sequence.column);
        statements.push(format!("ALTER SEQUENCE {} OWNED BY {new}.{column}", whole(&sequence.name)));
    }
    statements.push(format!("DROP TABLE {old}"));
    statements.push(format!("ALTER TABLE {new} RENAME TO {}", quote_ident(&from.name)));
    for rule in &tree.constraints {
        let name = quote_ident(&rule.name);
        statements.push(format!("ALTER TABLE {old} ADD CONSTRAINT {name} {}", rule.definition));
    }
    statements.extend(tree.indexes.iter().cloned());
    for part in &tree.partitions {
        let name = whole(&part.name);
        statements.push(format!("ALTER TABLE {old} ATTACH PARTITION {name} {}", part.bound));
        statements.push(format!("ALTER TABLE {name} DROP CONSTRAINT {PROOF}"));
    }
    statements.extend(table.grants.iter().map(|grant| granted(grant, "", &old)));
    for column in &table.columns {
        let of = format!(" ({})", quote_ident(column.on(side)));
        statements.extend(column.grants.iter().map(|grant| granted(grant, &of, &old)));
    }
    for comment in &tree.comments {
        let text = quote_literal(&comment.text);
        statements.push(match &comment.column {
            None => format!("COMMENT ON TABLE {old} IS {text}"),
            Some(column) => format!("COMMENT ON COLUMN {old}.{} IS {text}", quote_ident(column)),
        });
    }
    statements
}

/// Whoever owned what was there owns what takes its place.
fn owned_by(kind: &str, name: &str, owner: &str) -> String {
    format!(
        "DO $$ BEGIN IF current_user <> {owner} THEN ALTER {kind} {name} OWNER TO {ident}; END IF; END $$",
        owner = quote_literal(owner),
        ident = quote_ident(owner),
    )
}

/// A table goes where `to` has it, by a name that is nobody's if the names differ: one may be another's old one.
fn moved(n: usize, table: &SharedTable, to: Side) -> Vec<String> {
    let (from, to) = (table.on(to.other()), table.on(to));
    let schema = quote_ident(&to.schema);
    let mut statements = if from.name == to.name {
        vec![format!("ALTER TABLE {} SET SCHEMA {schema}", whole(from))]
    } else {
        let between = quote_ident(&format!("replat_exchanged_{n}"));
        vec![
            format!("ALTER TABLE {} RENAME TO {between}", whole(from)),
            format!("ALTER TABLE {}.{between} SET SCHEMA {schema}", quote_ident(&from.schema)),
            format!("ALTER TABLE {schema}.{between} RENAME TO {}", quote_ident(&to.name)),
        ]
    };
    let statistics = table.statistics.iter().map(|name| {
        format!("ALTER STATISTICS {}.{} SET SCHEMA {schema}", quote_ident(&from.schema), quote_ident(name))
    });
    statements.extend(statistics);
    statements
}

/// Its columns get the names that `to` has for them; those of its partitions change with them.
fn renamed(table: &SharedTable, to: Side) -> Vec<String> {
    let name = whole(table.on(to));
    let rename = |from: &str, to: &str| {
        format!("ALTER TABLE {name} RENAME COLUMN {} TO {}", quote_ident(from), quote_ident(to))
    };
    let changing: Vec<&SharedColumn> =
        table.columns.iter().filter(|column| column.on(to) != column.on(to.other())).collect();
    let is_taken = |wanted: &str| table.columns.iter().any(|column| column.on(to.other()) == wanted);
    let mut first = Vec::new();
    let mut last = Vec::new();
    for (n, column) in changing.iter().enumerate() {
        let (from, wanted) = (column.on(to.other()), column.on(to));
        if is_taken(wanted) {
            let between = format!("replat_exchanged_{n}");
            first.push(rename(from, &between));
            last.push(rename(&between, wanted));
        } else {
            first.push(rename(from, wanted));
        }
    }
    first.extend(last);
    first
}

/// What its columns are by default, as `to` has it. Partitions keep what they have.
fn defaults(table: &SharedTable, to: Side) -> Vec<String> {
    let name = whole(table.on(to));
    let differing = differing(table, to).into_iter();
    differing
        .map(|column| {
            let change = match column.default_on(to) {
                Some(default) => format!("SET DEFAULT {default}"),
                None => "DROP DEFAULT".into(),
            };
            format!("ALTER TABLE ONLY {name} ALTER COLUMN {} {change}", quote_ident(column.on(to)))
        })
        .collect()
}

/// The columns that the other side knows, and that are something else by default there.
fn differing(table: &SharedTable, to: Side) -> Vec<&SharedColumn> {
    let shown = table.shown_on(to.other()).into_iter();
    shown.filter(|column| column.default_on(Side::Blue) != column.default_on(Side::Green)).collect()
}

/// The view that the other side gets: its columns in its order, with its defaults, for whoever might use the table.
fn view(table: &SharedTable, to: Side, major: u32) -> Vec<String> {
    let side = to.other();
    let (name, shown) = (whole(table.on(side)), table.shown_on(side));
    // Whoever may use some columns only could use none through a view that asks for their rights to all of them.
    let is_by_column = table.columns.iter().any(|column| !column.grants.is_empty());
    let acts_as_user = major >= INVOKER_MIN && !is_by_column;
    let invoker = if acts_as_user { " WITH (security_invoker = true)" } else { "" };
    let columns: Vec<String> = shown
        .iter()
        .map(|column| format!("t.{} AS {}", quote_ident(column.on(to)), quote_ident(column.on(side))))
        .collect();
    let mut statements = vec![format!(
        "CREATE VIEW {name}{invoker} AS SELECT {} FROM {} t",
        columns.join(", "),
        whole(table.on(to))
    )];
    if !acts_as_user {
        statements.push(no_rights(&name));
    }
    for column in differing(table, to) {
        let default = match column.default_on(side) {
            Some(default) => default.to_owned(),
            // A plain NULL would be no default of the view's, and so the table's would be taken.
            None => format!("CASE WHEN true THEN NULL::{} END", column.type_name),
        };
        let column = quote_ident(column.on(side));
        statements.push(format!("ALTER VIEW {name} ALTER COLUMN {column} SET DEFAULT {default}"));
    }
    statements.extend(granted_of_rows(table, &name, side));
    // Last, since an owner who is another may not let us do the rest.
    statements.push(owned_by("VIEW", &name, &table.owner));
    statements
}

/// What roles may do to the table's rows, they may do to those of the view.
fn granted_of_rows(table: &SharedTable, view: &str, side: Side) -> Vec<String> {
    let is_of_rows = |grant: &&Grant| RIGHTS.contains(&grant.right.as_str());
    let mut statements: Vec<String> =
        table.grants.iter().filter(is_of_rows).map(|grant| granted(grant, "", view)).collect();
    for column in table.shown_on(side) {
        let of = format!(" ({})", quote_ident(column.on(side)));
        statements.extend(column.grants.iter().filter(is_of_rows).map(|grant| granted(grant, &of, view)));
    }
    statements
}

/// Takes away what default privileges gave: where a view acts with its owner's rights, its own are all that hold others
/// back.
fn no_rights(view: &str) -> String {
    let literal = quote_literal(view);
    format!(
        "DO $$ DECLARE whom text; BEGIN FOR whom IN SELECT DISTINCT CASE g.grantee WHEN 0 THEN 'PUBLIC' \
         ELSE g.grantee::regrole::text END FROM pg_class c, aclexplode(c.relacl) g \
         WHERE c.oid = {literal}::regclass AND g.grantee <> c.relowner \
         LOOP EXECUTE format('REVOKE ALL ON %s FROM %s', {literal}, whom); END LOOP; END $$"
    )
}

fn granted(grant: &Grant, columns: &str, name: &str) -> String {
    let role = grant.role.as_deref().map_or_else(|| "PUBLIC".into(), quote_ident);
    let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
    format!("GRANT {}{columns} ON {name} TO {role}{option}", grant.right)
}
