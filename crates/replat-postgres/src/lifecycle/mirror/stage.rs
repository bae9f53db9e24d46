//! The tables that are filled, made beside the set.

use replat_engine::EngineError;
use replat_model::lifecycle::facts::{Bound, Method, TableName};
use replat_model::lifecycle::plan::NewLevel;

use super::survey::{Found, Identity, Session};
use super::{Replacement, Target, journal, named};
use crate::error::on;
use crate::lifecycle::bounds;
use crate::lifecycle::ledger::{Entry, Leftover};
use crate::lifecycle::script::{Then, catalog, settings};
use crate::sql::{quote_ident, quote_literal};

/// All that a replacement needs before rows are copied, as the statements of one transaction. Only the parent is
/// touched, by what a reader takes.
///
/// # Errors
///
/// [`EngineError`] if the catalogue cannot be read.
pub async fn stage(
    session: &Session<'_>,
    wanted: &Replacement,
    found: &Found,
) -> Result<Vec<String>, EngineError> {
    let ledger = session.ledger;
    let mut statements = Vec::new();
    for (target, proof) in wanted.targets.iter().zip(&found.proofs) {
        statements.extend(make(session, wanted, target).await?);
        if proof != "true" {
            statements.push(format!(
                "ALTER TABLE {} ADD CONSTRAINT {} CHECK ({proof})",
                named(&target.staged),
                quote_ident(&wanted.proof())
            ));
        }
        if found.identity == Identity::Place {
            let table = named(&target.staged);
            let [leaf, place] = journal::place_columns(wanted).map(|name| quote_ident(&name));
            statements.push(format!(
                "ALTER TABLE {table} ADD COLUMN {leaf} pg_catalog.oid, ADD COLUMN {place} pg_catalog.tid"
            ));
            statements.push(format!("CREATE INDEX ON {table} ({leaf}, {place})"));
        }
        statements.push(entered(session, wanted, &target.staged, &target.bound));
    }
    statements.extend(journal::create(wanted, found, &ledger.schema));
    let journal_table = journal::journal(wanted, &ledger.schema);
    for table in [&journal_table, &journal::position(wanted, &ledger.schema)] {
        statements.push(entered(session, wanted, table, &Bound::Default));
    }
    let function = Leftover::Function { schema: journal_table.schema, name: journal_table.name };
    statements.push(ledger.leaves(session.unit, session.run, &function));
    let position = named(&journal::position(wanted, &ledger.schema));
    for leaf in &found.leaves {
        statements.push(format!(
            "INSERT INTO {position} (leaf, signature) VALUES ({}, {})",
            leaf.id,
            quote_literal(&found.signature)
        ));
    }
    Ok(statements)
}

fn entered(session: &Session<'_>, wanted: &Replacement, table: &TableName, bound: &Bound) -> String {
    let entry = Entry { table, parent: &wanted.parent, bound, origin: "made", state: "staged" };
    session.ledger.enters(session.unit, &entry)
}

/// One target with what it takes from its models: columns, checks, indexes and statistics of the parent; owner,
/// privileges, storage, policies, publications and replica identity of a sibling.
async fn make(
    session: &Session<'_>,
    wanted: &Replacement,
    target: &Target,
) -> Result<Vec<String>, EngineError> {
    let kitchen = session.kitchen();
    let parent = catalog::there(&kitchen, &wanted.parent).await?;
    let like = match &target.like {
        // A sibling that has another form has other settings.
        Some(like) => {
            Some(catalog::there(&kitchen, like).await?).filter(|like| like.cut == target.below.is_some())
        }
        None => None,
    };
    let settings = settings::read(&kitchen, &parent, like.as_ref()).await?;
    let table = named(&target.staged);
    let (persistence, cut, storage) = match &target.below {
        None => (settings.persistence, String::new(), &settings.leaf_storage),
        Some(below) => ("", partition_by(below), &settings.cut_storage),
    };
    let mut statements = vec![format!(
        "CREATE {persistence}TABLE {table} (LIKE {} INCLUDING ALL EXCLUDING IDENTITY){cut}{storage}",
        named(&wanted.parent),
    )];
    if let Some(below) = &target.below {
        statements.extend(children(&target.staged, below));
    }
    let me = session.client.query_one("SELECT current_user::pg_catalog.text", &[]).await;
    let me: String = me.map_err(on(session.database, "reading the role"))?.get(0);
    let steps = settings.give(&target.staged, target.below.is_some(), &me);
    // An index is found by its columns when the table is there; see `identity_index`.
    let by_index = steps.iter().any(|step| matches!(step.then, Then::Bind(_)));
    let plain = steps.into_iter().filter(|step| step.then == Then::Go && !step.sql.contains("USING INDEX :"));
    statements.extend(plain.map(|step| step.sql));
    if by_index {
        let model = target.like.as_ref().unwrap_or(&wanted.parent);
        statements.push(identity_index(&target.staged, model));
    }
    Ok(statements)
}

/// `REPLICA IDENTITY USING INDEX` with the index of the new table that has the columns of the model's.
fn identity_index(table: &TableName, model: &TableName) -> String {
    let (table, model) = (quote_literal(&named(table)), quote_literal(&named(model)));
    let columns = "(SELECT pg_catalog.array_agg(a.attname ORDER BY a.attname) FROM pg_catalog.pg_attribute a \
         WHERE a.attrelid = i.indexrelid)";
    let body = format!(
        "DECLARE chosen pg_catalog.regclass; BEGIN \
         SELECT i.indexrelid INTO chosen FROM pg_catalog.pg_index i WHERE i.indrelid = {table}::pg_catalog.regclass \
         AND i.indisunique AND i.indimmediate AND {columns} = (SELECT {columns} FROM pg_catalog.pg_index i \
         WHERE i.indrelid = {model}::pg_catalog.regclass AND i.indisreplident) LIMIT 1; \
         IF chosen IS NOT NULL THEN EXECUTE pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', \
         {table}, (SELECT relname FROM pg_catalog.pg_class WHERE oid = chosen)); END IF; END"
    );
    format!("DO {}", quote_literal(&body))
}

/// How a table is cut, as the end of CREATE TABLE.
pub fn partition_by(level: &NewLevel) -> String {
    let method = match level.method {
        Method::Range => "RANGE",
        Method::List => "LIST",
        Method::Hash => "HASH",
    };
    format!(" PARTITION BY {method} ({})", level.keys.join(", "))
}

/// Partitions of a table that nobody uses yet.
pub fn children(parent: &TableName, level: &NewLevel) -> Vec<String> {
    let mut statements = Vec::new();
    for part in &level.parts {
        let cut = part.below.as_ref().map(partition_by).unwrap_or_default();
        statements.push(format!(
            "CREATE TABLE {} PARTITION OF {} {}{cut}",
            named(&part.table),
            named(parent),
            bounds::sql(&part.bound)
        ));
        if let Some(below) = &part.below {
            statements.extend(children(&part.table, below));
        }
    }
    statements
}
