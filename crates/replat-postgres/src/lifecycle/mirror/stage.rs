//! The tables that are filled, made beside the set.

use replat_engine::EngineError;
use replat_model::lifecycle::facts::{Bound, Method, TableName};
use replat_model::lifecycle::plan::NewLevel;

use super::survey::{Found, Identity, Session};
use super::{Replacement, Target, journal, named};
use crate::error::on;
use crate::lifecycle::bounds;
use crate::lifecycle::ledger::{Entry, Leftover};
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

/// One target with what it takes from its model: columns, checks, indexes and statistics of the parent; owner,
/// privileges, storage and replica identity of a sibling.
async fn make(
    session: &Session<'_>,
    wanted: &Replacement,
    target: &Target,
) -> Result<Vec<String>, EngineError> {
    let model = target.like.as_ref().unwrap_or(&wanted.parent);
    let row = session
        .client
        .query_one(
            "SELECT pg_catalog.array_to_string(c.reloptions, ', '), s.spcname, o.rolname, o.rolname = current_user, \
               c.relreplident::pg_catalog.text, c.relkind = 'p', c.relpersistence = 'u', \
               (SELECT pg_catalog.array_agg(DISTINCT pg_catalog.format('GRANT %s ON TABLE %s TO %s%s', a.privilege_type, '%1$s', \
                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.format('%I', pg_catalog.pg_get_userbyid(a.grantee)) END, \
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)) \
                FROM pg_catalog.aclexplode(c.relacl) a WHERE a.grantee <> c.relowner) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles o ON o.oid = c.relowner \
             LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace \
             WHERE c.oid = pg_catalog.to_regclass($1)",
            &[&named(model)],
        )
        .await
        .map_err(on(session.database, "reading the settings of a partition"))?;
    let table = named(&target.staged);
    let cut = target.below.as_ref().map(partition_by).unwrap_or_default();
    // A partitioned table has no storage of its own to configure.
    let options: Option<String> =
        row.get::<_, Option<String>>(0).filter(|_| cut.is_empty() && !row.get::<_, bool>(5));
    let unlogged = if row.get::<_, bool>(6) && cut.is_empty() { "UNLOGGED " } else { "" };
    let mut statements = vec![format!(
        "CREATE {unlogged}TABLE {table} (LIKE {} INCLUDING ALL EXCLUDING IDENTITY){cut}{}{}",
        named(&wanted.parent),
        options.map(|options| format!(" WITH ({options})")).unwrap_or_default(),
        row.get::<_, Option<String>>(1)
            .map(|s| format!(" TABLESPACE {}", quote_ident(&s)))
            .unwrap_or_default(),
    )];
    if let Some(below) = &target.below {
        statements.extend(children(&target.staged, below));
    }
    statements.push(format!("REVOKE ALL ON TABLE {table} FROM PUBLIC"));
    for grant in row.get::<_, Option<Vec<String>>>(7).unwrap_or_default() {
        statements.push(grant.replace("%1$s", &table));
    }
    match row.get::<_, String>(4).as_str() {
        "f" => statements.push(format!("ALTER TABLE {table} REPLICA IDENTITY FULL")),
        "n" => statements.push(format!("ALTER TABLE {table} REPLICA IDENTITY NOTHING")),
        "i" => statements.push(identity_index(&target.staged, model)),
        _ => {}
    }
    if !row.get::<_, bool>(3) {
        statements.push(format!("ALTER TABLE {table} OWNER TO {}", quote_ident(row.get(2))));
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

fn partition_by(level: &NewLevel) -> String {
    let method = match level.method {
        Method::Range => "RANGE",
        Method::List => "LIST",
        Method::Hash => "HASH",
    };
    format!(" PARTITION BY {method} ({})", level.keys.join(", "))
}

fn children(parent: &TableName, level: &NewLevel) -> Vec<String> {
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
