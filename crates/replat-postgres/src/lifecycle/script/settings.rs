//! What a new partition takes from its siblings: owner, privileges, storage, replica identity, row security,
//! publications, and indexes that only partitions have.
//!
//! Not taken: comments, security labels, triggers and foreign keys that only a partition has. Triggers and foreign keys
//! of the parent come by themselves when the partition is attached.

use std::collections::BTreeMap;

use replat_engine::EngineError;
use replat_model::lifecycle::facts::TableName;
use tokio_postgres::Row;

use super::catalog::Relation;
use super::{Kitchen, Step, Then, bound, refuse};
use crate::error::on;
use crate::lifecycle::ledger::{oid_of, quoted};
use crate::sql::{quote_ident, quote_literal};

/// What one table has, as parts of statements about another.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `UNLOGGED `, or nothing.
    pub persistence: &'static str,
    /// ` USING … WITH (…) TABLESPACE …`, as far as they are said; the end of CREATE TABLE of an ordinary table.
    pub leaf_storage: String,
    /// The same of a partitioned table.
    pub cut_storage: String,
    owner: String,
    grants: Vec<String>,
    columns: Vec<String>,
    identity: Identity,
    security: Vec<&'static str>,
    policies: Vec<String>,
    publications: Vec<(String, String)>,
    indexes: Vec<String>,
}

#[derive(Clone, Debug, Default)]
enum Identity {
    #[default]
    Key,
    Nothing,
    Full,
    /// An index with this definition after its table's name.
    Index(String),
}

/// Stands for the new table; no name can contain it.
const HERE: &str = "\0";

/// Reads what `like` has, or `parent` if there is no sibling to be like.
///
/// # Errors
///
/// [`EngineError::Precondition`] if it has what this role cannot give to another table.
pub async fn read(
    kitchen: &Kitchen<'_>,
    parent: &Relation,
    like: Option<&Relation>,
) -> Result<Settings, EngineError> {
    let from = like.unwrap_or(parent);
    let failed = on(kitchen.database, "reading a table's settings");
    let row = kitchen
        .client
        .query_one(
            "SELECT c.relpersistence::text, a.amname::text, s.spcname::text, c.reloptions, t.reloptions, \
               o.rolname::text, c.relreplident::text, c.relrowsecurity, c.relforcerowsecurity, c.relkind::text \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles o ON o.oid = c.relowner \
               LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam \
               LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace \
               LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid \
             WHERE c.oid = $1",
            &[&from.id],
        )
        .await
        .map_err(&failed)?;
    let leaf = row.get::<_, &str>(9) == "r";
    Ok(Settings {
        persistence: persistence(&row, from)?,
        leaf_storage: storage(&row, leaf),
        cut_storage: row
            .get::<_, Option<String>>(2)
            .map_or(String::new(), |space| format!(" TABLESPACE {}", quote_ident(&space))),
        owner: row.get(5),
        grants: grants(kitchen, from).await?,
        columns: columns(kitchen, parent, from).await?,
        identity: identity(kitchen, from, row.get(6)).await?,
        security: [(7, "ENABLE"), (8, "FORCE")]
            .into_iter()
            .filter_map(|(at, word)| row.get::<_, bool>(at).then_some(word))
            .collect(),
        // The parent's policies are looked at when rows are reached by way of it, and must not be said twice.
        policies: if like.is_some() { policies(kitchen, from).await? } else { Vec::new() },
        publications: if like.is_some() { publications(kitchen, from).await? } else { Vec::new() },
        indexes: if like.is_some() && leaf { own_indexes(kitchen, from).await? } else { Vec::new() },
    })
}

fn persistence(row: &Row, from: &Relation) -> Result<&'static str, EngineError> {
    match row.get::<_, &str>(0) {
        "u" => Ok("UNLOGGED "),
        "t" => Err(refuse(
            format!("{} is temporary: it belongs to one session", from.name),
            "Leave it to the session that made it.",
        )),
        _ => Ok(""),
    }
}

fn storage(row: &Row, leaf: bool) -> String {
    let mut text = String::new();
    if let Some(method) = row.get::<_, Option<String>>(1).filter(|_| leaf) {
        text += &format!(" USING {}", quote_ident(&method));
    }
    let options = row.get::<_, Option<Vec<String>>>(3).unwrap_or_default();
    let toast = row.get::<_, Option<Vec<String>>>(4).unwrap_or_default();
    let options =
        options.iter().map(|option| ("", option)).chain(toast.iter().map(|option| ("toast.", option)));
    let options: Vec<String> = options
        .filter_map(|(prefix, option)| {
            let (name, value) = option.split_once('=')?;
            Some(format!("{prefix}{name} = {}", quote_literal(value)))
        })
        .collect();
    if leaf && !options.is_empty() {
        text += &format!(" WITH ({})", options.join(", "));
    }
    if let Some(space) = row.get::<_, Option<String>>(2) {
        text += &format!(" TABLESPACE {}", quote_ident(&space));
    }
    text
}

/// Statements with [`HERE`] for the new table. What default privileges would add is taken away first.
async fn grants(kitchen: &Kitchen<'_>, from: &Relation) -> Result<Vec<String>, EngineError> {
    let failed = on(kitchen.database, "reading privileges");
    let role = |name: Option<String>| name.map_or("PUBLIC".to_owned(), |name| quote_ident(&name));
    let mut statements = Vec::new();
    let added = kitchen
        .client
        .query(
            "SELECT DISTINCT r.rolname::text FROM pg_catalog.pg_default_acl d \
               CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) e \
               JOIN pg_catalog.pg_roles me ON me.oid = d.defaclrole AND me.rolname = current_user \
               LEFT JOIN pg_catalog.pg_roles r ON r.oid = e.grantee \
             WHERE d.defaclobjtype = 'r' AND e.grantee <> d.defaclrole ORDER BY 1",
            &[],
        )
        .await
        .map_err(&failed)?;
    statements
        .extend(added.iter().map(|row| format!("REVOKE ALL ON TABLE {HERE} FROM {}", role(row.get(0)))));
    // The owner has everything unless somebody took some of it away.
    let reduced = kitchen
        .client
        .query_opt(
            "SELECT r.rolname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner \
             WHERE c.oid = $1 AND c.relacl IS NOT NULL AND EXISTS ( \
               SELECT privilege_type FROM pg_catalog.aclexplode(pg_catalog.acldefault('r', c.relowner)) \
               EXCEPT SELECT privilege_type FROM pg_catalog.aclexplode(c.relacl) WHERE grantee = c.relowner)",
            &[&from.id],
        )
        .await
        .map_err(&failed)?;
    let reduced: Option<String> = reduced.map(|row| row.get(0));
    if let Some(owner) = &reduced {
        statements.push(format!("REVOKE ALL ON TABLE {HERE} FROM {}", quote_ident(owner)));
    }
    let rows = kitchen
        .client
        .query(
            "SELECT r.rolname::text, e.privilege_type::text, e.is_grantable, NULL::text, e.grantee = c.relowner \
             FROM pg_catalog.pg_class c CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) e \
               LEFT JOIN pg_catalog.pg_roles r ON r.oid = e.grantee WHERE c.oid = $1 \
             UNION ALL SELECT r.rolname::text, e.privilege_type::text, e.is_grantable, a.attname::text, false \
             FROM pg_catalog.pg_attribute a CROSS JOIN LATERAL pg_catalog.aclexplode(a.attacl) e \
               LEFT JOIN pg_catalog.pg_roles r ON r.oid = e.grantee \
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 4 NULLS FIRST, 3, 2",
            &[&from.id],
        )
        .await
        .map_err(&failed)?;
    let mut told: BTreeMap<(String, bool), Vec<String>> = BTreeMap::new();
    for row in rows.iter().filter(|row| reduced.is_some() || !row.get::<_, bool>(4)) {
        let column =
            row.get::<_, Option<String>>(3).map_or(String::new(), |c| format!(" ({})", quote_ident(&c)));
        told.entry((role(row.get(0)), row.get(2)))
            .or_default()
            .push(format!("{}{column}", row.get::<_, &str>(1)));
    }
    statements.extend(told.into_iter().map(|((role, further), what)| {
        let further = if further { " WITH GRANT OPTION" } else { "" };
        format!("GRANT {} ON TABLE {HERE} TO {role}{further}", what.join(", "))
    }));
    Ok(statements)
}

/// Actions on columns whose settings differ from what a copy of the parent has.
async fn columns(
    kitchen: &Kitchen<'_>,
    parent: &Relation,
    from: &Relation,
) -> Result<Vec<String>, EngineError> {
    let rows = kitchen
        .client
        .query(
            "SELECT a.attname::text, NULLIF(a.attstorage, p.attstorage)::text, \
               NULLIF(a.attcompression, p.attcompression)::text, \
               CASE WHEN a.attstattarget >= 0 THEN a.attstattarget::integer END, a.attoptions \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_attribute p ON p.attrelid = $1 AND p.attname = a.attname \
             WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[&parent.id, &from.id],
        )
        .await
        .map_err(on(kitchen.database, "reading columns"))?;
    let mut actions = Vec::new();
    for row in &rows {
        let column = format!("ALTER COLUMN {}", quote_ident(row.get(0)));
        let storage = row.get::<_, Option<&str>>(1).and_then(|word| match word {
            "p" => Some("PLAIN"),
            "e" => Some("EXTERNAL"),
            "x" => Some("EXTENDED"),
            "m" => Some("MAIN"),
            _ => None,
        });
        actions.extend(storage.map(|word| format!("{column} SET STORAGE {word}")));
        let compression = row.get::<_, Option<&str>>(2).map(|word| match word {
            "p" => "pglz",
            "l" => "lz4",
            _ => "default",
        });
        actions.extend(compression.map(|word| format!("{column} SET COMPRESSION {word}")));
        actions.extend(row.get::<_, Option<i32>>(3).map(|n| format!("{column} SET STATISTICS {n}")));
        let options = row.get::<_, Option<Vec<String>>>(4).unwrap_or_default();
        if !options.is_empty() {
            actions.push(format!("{column} SET ({})", options.join(", ")));
        }
    }
    Ok(actions)
}

/// What follows the table's name in an index's definition. Cut by the length of what precedes it, since a name may
/// contain anything.
pub const DEFINITION: &str = "pg_catalog.substr(pg_catalog.pg_get_indexdef(x.indexrelid), \
     pg_catalog.length(pg_catalog.format('CREATE %sINDEX %I ON %s%I.%I ', \
       CASE WHEN x.indisunique THEN 'UNIQUE ' END, i.relname, \
       CASE WHEN i.relkind = 'I' THEN 'ONLY ' END, n.nspname, t.relname)) + 1) \
   FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid \
     JOIN pg_catalog.pg_class t ON t.oid = x.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace";

async fn identity(kitchen: &Kitchen<'_>, from: &Relation, word: &str) -> Result<Identity, EngineError> {
    match word {
        "n" => Ok(Identity::Nothing),
        "f" => Ok(Identity::Full),
        "i" => {
            let sql = format!("SELECT {DEFINITION} WHERE x.indrelid = $1 AND x.indisreplident");
            let row = kitchen.client.query_opt(&sql, &[&from.id]).await;
            let row = row.map_err(on(kitchen.database, "reading a replica identity"))?;
            // An index that was dropped leaves the word behind: then there is no identity.
            Ok(row.map_or(Identity::Nothing, |row| Identity::Index(row.get(0))))
        }
        _ => Ok(Identity::Key),
    }
}

async fn policies(kitchen: &Kitchen<'_>, from: &Relation) -> Result<Vec<String>, EngineError> {
    let rows = kitchen
        .client
        .query(
            "SELECT p.policyname::text, p.permissive, p.cmd, p.roles::text[], p.qual, p.with_check \
             FROM pg_catalog.pg_policies p WHERE p.schemaname = $1 AND p.tablename = $2 ORDER BY 1",
            &[&from.name.schema, &from.name.name],
        )
        .await
        .map_err(on(kitchen.database, "reading policies"))?;
    let text = |row: &Row| {
        let roles = row.get::<_, Vec<String>>(3);
        // `public` cannot be the name of a role.
        let roles =
            roles.iter().map(|role| if role == "public" { "PUBLIC".into() } else { quote_ident(role) });
        let part = |at: usize, word: &str| {
            row.get::<_, Option<String>>(at).map_or(String::new(), |text| format!(" {word} ({text})"))
        };
        format!(
            "CREATE POLICY {} ON {HERE} AS {} FOR {} TO {}{}{}",
            quote_ident(row.get(0)),
            row.get::<_, &str>(1),
            row.get::<_, &str>(2),
            roles.collect::<Vec<_>>().join(", "),
            part(4, "USING"),
            part(5, "WITH CHECK"),
        )
    };
    Ok(rows.iter().map(text).collect())
}

/// Publications that have the table by name, and what follows its name there.
///
/// # Errors
///
/// [`EngineError::Precondition`] if one belongs to a role that this one is not.
pub async fn publications(
    kitchen: &Kitchen<'_>,
    from: &Relation,
) -> Result<Vec<(String, String)>, EngineError> {
    let sql = "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4";
    let version = kitchen.client.query_one(sql, &[]).await;
    let version: i32 = version.map_err(on(kitchen.database, "reading publications"))?.get(0);
    let parts = match version {
        150_000.. => {
            "(SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) \
               FROM pg_catalog.pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)), \
             pg_catalog.pg_get_expr(r.prqual, r.prrelid)"
        }
        _ => "NULL::text, NULL::text",
    };
    let sql = format!(
        "SELECT p.pubname::text, pg_catalog.pg_has_role(p.pubowner, 'USAGE'), {parts} \
         FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid \
         WHERE r.prrelid = $1 ORDER BY 1"
    );
    let rows = kitchen.client.query(&sql, &[&from.id]).await;
    let rows = rows.map_err(on(kitchen.database, "reading publications"))?;
    rows.iter()
        .map(|row| {
            let name: String = row.get(0);
            if !row.get::<_, bool>(1) {
                return Err(refuse(
                    format!("{} is published by name in {name}, which belongs to another role", from.name),
                    format!(
                        "Make the role of replat an owner of publication {name}, or publish the whole table."
                    ),
                ));
            }
            let columns = row.get::<_, Option<String>>(2).map_or(String::new(), |list| format!(" ({list})"));
            let rows =
                row.get::<_, Option<String>>(3).map_or(String::new(), |text| format!(" WHERE ({text})"));
            Ok((name, columns + &rows))
        })
        .collect()
}

/// Statements with [`HERE`] for the new table: indexes, and constraints that are indexes, which the parent has not.
async fn own_indexes(kitchen: &Kitchen<'_>, from: &Relation) -> Result<Vec<String>, EngineError> {
    let sql = format!(
        "SELECT x.indisunique, (SELECT pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k \
           WHERE k.conindid = x.indexrelid AND k.conrelid = x.indrelid AND k.contype IN ('p', 'u', 'x')), {DEFINITION} \
         WHERE x.indrelid = $1 AND x.indisvalid \
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = x.indexrelid) ORDER BY i.relname"
    );
    let rows = kitchen.client.query(&sql, &[&from.id]).await;
    let rows = rows.map_err(on(kitchen.database, "reading indexes"))?;
    let text = |row: &Row| match row.get::<_, Option<String>>(1) {
        Some(constraint) => format!("ALTER TABLE {HERE} ADD {constraint}"),
        None => {
            let unique = if row.get(0) { "UNIQUE " } else { "" };
            format!("CREATE {unique}INDEX ON {HERE} {}", row.get::<_, &str>(2))
        }
    };
    Ok(rows.iter().map(text).collect())
}

impl Settings {
    /// Without the indexes, which are said elsewhere.
    #[must_use]
    pub fn without_indexes(&self) -> Settings {
        Settings { indexes: Vec::new(), ..self.clone() }
    }

    /// Without what is tied to the name, and follows it: publications.
    #[must_use]
    pub fn without_publications(&self) -> Settings {
        Settings { publications: Vec::new(), ..self.clone() }
    }

    /// The statements that give them to `table`, which is nobody's yet. `me` is the role of this session.
    pub fn give(&self, table: &TableName, cut: bool, me: &str) -> Vec<Step> {
        let name = quoted(table);
        let with = |text: &String| Step::new(text.replacen(HERE, &name, 1));
        let mut steps = Vec::new();
        if self.owner != me {
            steps.push(Step::new(format!("ALTER TABLE {name} OWNER TO {}", quote_ident(&self.owner))));
        }
        steps.extend(self.grants.iter().map(with));
        if !self.columns.is_empty() && !cut {
            steps.push(Step::new(format!("ALTER TABLE {name} {}", self.columns.join(", "))));
        }
        steps.extend(self.indexes.iter().map(with));
        if !cut {
            steps.extend(self.identity(table));
        }
        steps.extend(self.policies.iter().map(with));
        steps.extend(
            self.security
                .iter()
                .map(|word| Step::new(format!("ALTER TABLE {name} {word} ROW LEVEL SECURITY"))),
        );
        steps.extend(self.publications.iter().map(|(publication, rest)| {
            Step::new(format!("ALTER PUBLICATION {} ADD TABLE ONLY {name}{rest}", quote_ident(publication)))
        }));
        steps
    }

    fn identity(&self, table: &TableName) -> Vec<Step> {
        let set = |what: &str| Step::new(format!("ALTER TABLE {} REPLICA IDENTITY {what}", quoted(table)));
        match &self.identity {
            Identity::Key => Vec::new(),
            Identity::Nothing => vec![set("NOTHING")],
            Identity::Full => vec![set("FULL")],
            Identity::Index(definition) => {
                let find = format!(
                    "SELECT pg_catalog.quote_ident(f.relname) AS replica_index FROM (SELECT i.relname, {DEFINITION} \
                     WHERE x.indrelid = {} AND x.indisunique) AS f(relname, definition) \
                     WHERE f.definition = {} ORDER BY 1 LIMIT 1",
                    oid_of(table),
                    quote_literal(definition),
                );
                let find = Step { then: Then::Bind("replica_index"), ..Step::new(find) };
                vec![find, set(&format!("USING INDEX {}", bound("replica_index")))]
            }
        }
    }
}
