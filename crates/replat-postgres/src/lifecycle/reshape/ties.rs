//! What is tied to a table by its identity and has to follow its name: triggers, views, foreign keys of others,
//! sequences, publications.
//!
//! When another table takes over a name, whatever found the table by name finds the new one by itself. What is listed
//! here does not: it is read beforehand as text that says the name, taken off the old table, and said again once the new
//! table has the name, all in the transaction that renames.

use replat_engine::EngineError;
use replat_model::lifecycle::facts::TableName;

use crate::error::on;
use crate::lifecycle::mirror::brief::Lock;
use crate::lifecycle::mirror::named;
use crate::lifecycle::mirror::survey::{Session, refuse};
use crate::lifecycle::script::{catalog, settings};
use crate::sql::{quote_ident, quote_literal};

/// What is tied to one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ties {
    triggers: Vec<Trigger>,
    views: Vec<View>,
    /// Foreign keys of other tables.
    pub keys_in: Vec<KeyIn>,
    serials: Vec<(TableName, String)>,
    identities: Vec<Identity>,
    /// Publications that have it by name, and what follows the name there.
    publications: Vec<(String, String)>,
    comment: Option<String>,
    /// Its indexes, and whether each is a constraint's.
    pub indexes: Vec<Index>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Trigger {
    name: String,
    definition: String,
    enabled: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct View {
    name: TableName,
    definition: String,
    options: Option<String>,
}

/// A foreign key of another table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyIn {
    /// The table that has it.
    pub table: TableName,
    /// Its name.
    pub name: String,
    definition: String,
    /// Whether it is known to be true of all rows.
    pub valid: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    column: String,
    always: bool,
    sequence: TableName,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name; it lies in the schema of its table.
    pub name: String,
    /// Its columns with its method, as after the table's name in its definition.
    pub rest: String,
    /// Whether it is unique.
    pub unique: bool,
    /// The constraint it carries, as the engine defines it.
    pub constraint: Option<String>,
    /// Whether that is the primary key.
    pub primary: bool,
    /// Its key columns; expressions have none.
    pub columns: Vec<String>,
}

/// Reads what is tied to the table with this identity.
///
/// # Errors
///
/// [`EngineError::Precondition`] if there is something that cannot follow a name.
pub async fn ties(session: &Session<'_>, table: &TableName, id: u32) -> Result<Ties, EngineError> {
    refuse_the_rest(session, table, id).await?;
    Ok(Ties {
        triggers: triggers(session, id).await?,
        views: views(session, id).await?,
        keys_in: keys_in(session, id).await?,
        serials: serials(session, id).await?,
        identities: identities(session, id).await?,
        publications: publications(session, id).await?,
        comment: comment(session, id).await?,
        indexes: indexes(session, id).await?,
    })
}

impl Ties {
    /// Locks on other tables that following a name needs.
    pub fn locks(&self) -> Vec<Lock> {
        self.keys_in.iter().map(|key| Lock::tree(&key.table, "ACCESS EXCLUSIVE")).collect()
    }

    /// What is done while `old` still has the name.
    pub fn untie(&self, old: &TableName) -> Vec<String> {
        let table = named(old);
        let mut statements: Vec<String> = Vec::new();
        statements.extend(
            self.triggers.iter().map(|t| format!("DROP TRIGGER {} ON {table}", quote_ident(&t.name))),
        );
        statements.extend(self.keys_in.iter().map(|key| {
            format!("ALTER TABLE {} DROP CONSTRAINT {}", named(&key.table), quote_ident(&key.name))
        }));
        statements.extend(self.publications.iter().map(|(publication, _)| {
            format!("ALTER PUBLICATION {} DROP TABLE {table}", quote_ident(publication))
        }));
        statements
    }

    /// Gives the identity columns of `old` to `new`, each with a sequence of the same name that goes on where the old
    /// one stands.
    pub fn move_identities(&self, old: &TableName, new: &TableName) -> Vec<String> {
        self.identities
            .iter()
            .map(|identity| {
                let sequence = named(&identity.sequence);
                let column = quote_ident(&identity.column);
                let body = format!(
                    "DECLARE s record; at pg_catalog.int8; used boolean; acl pg_catalog.aclitem[]; BEGIN \
                     SELECT * INTO s FROM pg_catalog.pg_sequence WHERE seqrelid = {literal}::pg_catalog.regclass; \
                     SELECT last_value, is_called INTO at, used FROM {sequence}; \
                     SELECT relacl INTO acl FROM pg_catalog.pg_class WHERE oid = {literal}::pg_catalog.regclass; \
                     ALTER TABLE {old} ALTER COLUMN {column} DROP IDENTITY; \
                     EXECUTE pg_catalog.format('ALTER TABLE {new_in_text} ALTER COLUMN {column_in_text} ADD GENERATED {always} \
                     AS IDENTITY (SEQUENCE NAME {sequence_in_text} INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s \
                     CACHE %s %s)', s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache, \
                     CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END); \
                     PERFORM pg_catalog.setval({literal}::pg_catalog.regclass, at, used); \
                     IF acl IS NOT NULL THEN FOR s IN SELECT a.privilege_type, a.grantee FROM \
                     pg_catalog.aclexplode(acl) a WHERE a.grantee <> a.grantor LOOP \
                     EXECUTE pg_catalog.format('GRANT %s ON SEQUENCE {sequence_in_text} TO %s', s.privilege_type, \
                     CASE s.grantee WHEN 0 THEN 'PUBLIC' \
                     ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(s.grantee)) END); END LOOP; END IF; END",
                    literal = quote_literal(&sequence),
                    old = named(old),
                    new_in_text = in_format(&named(new)),
                    column_in_text = in_format(&column),
                    sequence_in_text = in_format(&sequence),
                    always = if identity.always { "ALWAYS" } else { "BY DEFAULT" },
                );
                format!("DO {}", quote_literal(&body))
            })
            .collect()
    }

    /// What is done when `new` has the name.
    pub fn tie(&self, new: &TableName) -> Vec<String> {
        let table = named(new);
        let mut statements: Vec<String> = Vec::new();
        statements.extend(
            self.comment.iter().map(|text| format!("COMMENT ON TABLE {table} IS {}", quote_literal(text))),
        );
        statements.extend(self.publications.iter().map(|(publication, rest)| {
            format!("ALTER PUBLICATION {} ADD TABLE {table}{rest}", quote_ident(publication))
        }));
        for (sequence, column) in &self.serials {
            statements.push(format!(
                "ALTER SEQUENCE {} OWNED BY {table}.{}",
                named(sequence),
                quote_ident(column)
            ));
        }
        for trigger in &self.triggers {
            statements.push(trigger.definition.clone());
            let word = match trigger.enabled.as_str() {
                "D" => "DISABLE",
                "R" => "ENABLE REPLICA",
                "A" => "ENABLE ALWAYS",
                _ => continue,
            };
            statements.push(format!("ALTER TABLE {table} {word} TRIGGER {}", quote_ident(&trigger.name)));
        }
        for view in &self.views {
            let options = view.options.as_ref().map(|text| format!(" WITH ({text})")).unwrap_or_default();
            statements.push(format!(
                "CREATE OR REPLACE VIEW {}{options} AS {}",
                named(&view.name),
                view.definition.trim_end_matches(';')
            ));
        }
        for key in &self.keys_in {
            statements.push(format!(
                "ALTER TABLE {} ADD CONSTRAINT {} {} NOT VALID",
                named(&key.table),
                quote_ident(&key.name),
                key.definition.trim_end_matches(" NOT VALID")
            ));
        }
        statements
    }
}

/// Text within the quoted format of `format()` within a body of plpgsql.
fn in_format(text: &str) -> String {
    text.replace('%', "%%").replace('\'', "''")
}

/// What keeps the name of the table with the identity $1 from going over to another: what, and what to do about it.
pub const HINDRANCES: &str = "SELECT pg_catalog.format('materialized view %s reads it', c.oid::pg_catalog.regclass), \
       'Drop that materialized view, run again, and make it again.' \
     FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid \
     JOIN pg_catalog.pg_class c ON c.oid = r.ev_class AND c.relkind = 'm' \
     WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refobjid = $1 \
     UNION ALL \
     SELECT pg_catalog.format('function %s has it in its body', d.objid::pg_catalog.regprocedure), \
       'Write that function with a quoted body, or drop it, then run again.' \
     FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1 \
     UNION ALL \
     SELECT pg_catalog.format('policy %s of %s reads it', p.polname, p.polrelid::pg_catalog.regclass), \
       'Drop that policy, run again, and make it again.' \
     FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_policy p ON p.oid = d.objid \
     WHERE d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND d.refobjid = $1 AND p.polrelid <> $1 \
     UNION ALL \
     SELECT pg_catalog.format('rule %s is on it', r.rulename), 'Drop that rule, then run again.' \
     FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class \
     WHERE r.ev_class = $1 AND c.relkind IN ('r', 'p') \
     UNION ALL \
     SELECT pg_catalog.format('exclusion constraint %s is on it', conname), \
       'Drop that constraint, then run again: a partitioned table cannot have it.' \
     FROM pg_catalog.pg_constraint WHERE conrelid = $1 AND contype = 'x' \
     UNION ALL \
     SELECT pg_catalog.format('foreign key %s refers to itself', conname), \
       'Drop that constraint, run again, and add it again.' \
     FROM pg_catalog.pg_constraint WHERE conrelid = $1 AND confrelid = $1 \
     UNION ALL \
     SELECT pg_catalog.format('foreign key %s of the partitioned table %s refers to it', k.conname, \
       k.conrelid::pg_catalog.regclass), 'Drop that constraint, run again, and add it again.' \
     FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid AND c.relkind = 'p' \
     WHERE k.confrelid = $1 AND k.contype = 'f' AND k.conparentid = 0 \
     UNION ALL \
     SELECT pg_catalog.format('table %s inherits from it', inhrelid::pg_catalog.regclass), \
       'End the inheritance, then run again.' \
     FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid \
     WHERE i.inhparent = $1 AND NOT c.relispartition \
     UNION ALL \
     SELECT pg_catalog.format('its rows have the type of table %s', c.oid::pg_catalog.regclass), \
       'Write that column with a type of its own, then run again.' \
     FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
     JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') \
     WHERE t.typrelid = $1 AND NOT a.attisdropped";

async fn refuse_the_rest(session: &Session<'_>, table: &TableName, id: u32) -> Result<(), EngineError> {
    let rows = session
        .client
        .query(&format!("{HINDRANCES} LIMIT 1"), &[&id])
        .await
        .map_err(on(session.database, "looking what depends on the table"))?;
    match rows.first() {
        None => Ok(()),
        Some(row) => {
            let (what, remedy): (String, String) = (row.get(0), row.get(1));
            Err(refuse(format!("{table} cannot be replaced: {what}"), &remedy))
        }
    }
}

async fn triggers(session: &Session<'_>, id: u32) -> Result<Vec<Trigger>, EngineError> {
    let rows = session
        .client
        .query(
            "SELECT t.tgname, pg_catalog.pg_get_triggerdef(t.oid), t.tgenabled::pg_catalog.text \
             FROM pg_catalog.pg_trigger t WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND t.tgparentid = 0 \
             AND t.tgname !~ '^replat_mirror_' ORDER BY t.tgname",
            &[&id],
        )
        .await
        .map_err(on(session.database, "reading triggers"))?;
    let trigger =
        |row: &tokio_postgres::Row| Trigger { name: row.get(0), definition: row.get(1), enabled: row.get(2) };
    Ok(rows.iter().map(trigger).collect())
}

async fn views(session: &Session<'_>, id: u32) -> Result<Vec<View>, EngineError> {
    let rows = session
        .client
        .query(
            "SELECT DISTINCT n.nspname, c.relname, pg_catalog.pg_get_viewdef(c.oid), \
               pg_catalog.array_to_string(c.reloptions, ', ') \
             FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid \
             JOIN pg_catalog.pg_class c ON c.oid = r.ev_class AND c.relkind = 'v' \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
               AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1 ORDER BY 1, 2",
            &[&id],
        )
        .await
        .map_err(on(session.database, "reading views"))?;
    let view = |row: &tokio_postgres::Row| View {
        name: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
        definition: row.get(2),
        options: row.get(3),
    };
    Ok(rows.iter().map(view).collect())
}

async fn keys_in(session: &Session<'_>, id: u32) -> Result<Vec<KeyIn>, EngineError> {
    let rows = session
        .client
        .query(
            "SELECT n.nspname, c.relname, k.conname, pg_catalog.pg_get_constraintdef(k.oid), k.convalidated \
             FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE k.confrelid = $1 AND k.contype = 'f' AND k.conparentid = 0 ORDER BY 1, 2, 3",
            &[&id],
        )
        .await
        .map_err(on(session.database, "reading foreign keys"))?;
    let key = |row: &tokio_postgres::Row| KeyIn {
        table: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
        name: row.get(2),
        definition: row.get(3),
        valid: row.get(4),
    };
    Ok(rows.iter().map(key).collect())
}

const SEQUENCES: &str = "SELECT n.nspname, s.relname, a.attname, a.attidentity = 'a' \
     FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
     JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace \
     JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
     WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1 AND d.deptype = $2::pg_catalog.text::\"char\" \
     ORDER BY a.attnum";

async fn serials(session: &Session<'_>, id: u32) -> Result<Vec<(TableName, String)>, EngineError> {
    let rows = session.client.query(SEQUENCES, &[&id, &"a"]).await;
    let rows = rows.map_err(on(session.database, "reading sequences"))?;
    Ok(rows
        .iter()
        .map(|row| (TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)), row.get(2)))
        .collect())
}

async fn identities(session: &Session<'_>, id: u32) -> Result<Vec<Identity>, EngineError> {
    let rows = session.client.query(SEQUENCES, &[&id, &"i"]).await;
    let rows = rows.map_err(on(session.database, "reading sequences"))?;
    Ok(rows
        .iter()
        .map(|row| Identity {
            sequence: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
            column: row.get(2),
            always: row.get(3),
        })
        .collect())
}

async fn comment(session: &Session<'_>, id: u32) -> Result<Option<String>, EngineError> {
    let row = session.client.query_one("SELECT pg_catalog.obj_description($1, 'pg_class')", &[&id]).await;
    Ok(row.map_err(on(session.database, "reading a comment"))?.get(0))
}

async fn publications(session: &Session<'_>, id: u32) -> Result<Vec<(String, String)>, EngineError> {
    let kitchen = session.kitchen();
    match catalog::by_id(&kitchen, id).await? {
        Some(relation) => settings::publications(&kitchen, &relation).await,
        None => Ok(Vec::new()),
    }
}

async fn indexes(session: &Session<'_>, id: u32) -> Result<Vec<Index>, EngineError> {
    let rows = session
        .client
        .query(
            "SELECT i.relname, pg_catalog.substr(pg_catalog.pg_get_indexdef(x.indexrelid), pg_catalog.length( \
               pg_catalog.format('CREATE %sINDEX %I ON %s%I.%I ', CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END, \
               i.relname, CASE WHEN i.relkind = 'I' THEN 'ONLY ' ELSE '' END, n.nspname, t.relname)) + 1), \
               x.indisunique, pg_catalog.pg_get_constraintdef(k.oid), x.indisprimary, \
               ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.generate_series(0, x.indnkeyatts - 1) at \
                 JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[at] ORDER BY at) \
             FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid \
             JOIN pg_catalog.pg_class t ON t.oid = x.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace \
             LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid \
               AND k.contype IN ('p', 'u', 'x') \
             WHERE x.indrelid = $1 AND i.relname !~ '^replat_.*_key$' ORDER BY i.relname",
            &[&id],
        )
        .await
        .map_err(on(session.database, "reading indexes"))?;
    let index = |row: &tokio_postgres::Row| Index {
        name: row.get(0),
        rest: row.get(1),
        unique: row.get(2),
        constraint: row.get(3),
        primary: row.get(4),
        columns: row.get(5),
    };
    Ok(rows.iter().map(index).collect())
}
