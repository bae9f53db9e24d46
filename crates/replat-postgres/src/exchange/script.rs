//! An exchange as statements. Pure: what is shown is what is run.
//!
//! The views give way first, so that whoever waits for one of them holds no lock of a table; then all tables are locked by
//! one statement. All that follows has the locks that it needs.

use replat_model::exchange::{ExchangePlan, Grant, INVOKER_MIN, RIGHTS, SharedColumn, SharedTable};
use replat_model::facts::TableName;
use replat_model::ids::Side;
use serde::Serialize;

use crate::sql::{quote_ident, quote_literal};

/// The statements of an exchange, in order, all of one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Script {
    /// What asks for locks, each no longer than a lock may be waited for.
    pub locking: Vec<String>,
    /// What follows under those locks.
    pub moving: Vec<String>,
}

impl Script {
    /// All statements.
    pub fn statements(&self) -> impl Iterator<Item = &str> {
        self.locking.iter().chain(&self.moving).map(String::as_str)
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
    let mut script = Script {
        locking: vec![
            format!("DROP VIEW IF EXISTS {}", views.join(", ")),
            format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", ")),
        ],
        moving: Vec::new(),
    };
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
    statements.extend(table.grants.iter().filter_map(|grant| granted(grant, "", &name)));
    for column in &shown {
        let of = format!(" ({})", quote_ident(column.on(side)));
        statements.extend(column.grants.iter().filter_map(|grant| granted(grant, &of, &name)));
    }
    // Last, since an owner who is another may not let us do the rest.
    statements.push(format!(
        "DO $$ BEGIN IF current_user <> {owner} THEN ALTER VIEW {name} OWNER TO {ident}; END IF; END $$",
        owner = quote_literal(&table.owner),
        ident = quote_ident(&table.owner),
    ));
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

fn granted(grant: &Grant, columns: &str, name: &str) -> Option<String> {
    let role = grant.role.as_deref().map_or_else(|| "PUBLIC".into(), quote_ident);
    let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
    let is_of_rows = RIGHTS.contains(&grant.right.as_str());
    is_of_rows.then(|| format!("GRANT {}{columns} ON {name} TO {role}{option}", grant.right))
}
