//! What other tools wrote down about the sets they manage, in our words.
//!
//! | tool | where it is written | what is read |
//! |---|---|---|
//! | pg_partman 4 and 5 | `part_config`, `part_config_sub` in any schema | all of it that has an equal here |
//! | pg-partsmith | a file of the operator; the database has only remarks on tables that it detached | that it is there, and the file: [`partsmith`] |
//!
//! Neither zone nor origin is taken from there: pg_partman has none of its own and cuts by the zone of whoever calls
//! it. Both are learned from the bounds that are there, so that new ones are byte for byte what it would have made;
//! and so are names.

mod partman;
mod partsmith;

use std::collections::HashMap;

use replat_engine::EngineError;
use replat_model::lifecycle::facts::{SetFacts, TableName};
use replat_model::lifecycle::policy::Lifecycle;

use super::ledger::quoted;
use super::look::{Nodes, Reading, oid};
use crate::sql::{quote_ident, quote_literal};
use partman::{Config, Told};

pub use partsmith::{BadDocument, partsmith};

/// How a set was managed before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The set.
    pub table: TableName,
    /// What the tool was told to do, in our words.
    pub lifecycle: Lifecycle,
    /// What has no equal here, or needs a look, in sentences.
    pub notes: Vec<String>,
}

/// An installation of pg_partman.
struct Installation {
    schema: String,
    /// The tool with its version, for people.
    tool: String,
    readable: bool,
    /// The role of this session.
    me: String,
}

impl Installation {
    /// The statement that makes it leave a set alone; with `below`, also the tables below that are cut further.
    fn off(&self, set: &SetFacts, below: bool) -> String {
        let tables = match below {
            false => format!("= {}", quote_literal(&set.table.to_string())),
            true => format!(
                "IN (SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_partition_tree({}) t \
                 JOIN pg_catalog.pg_class c ON c.oid = t.relid \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace)",
                quote_literal(&quoted(&set.table))
            ),
        };
        format!(
            "UPDATE {}.part_config SET automatic_maintenance = 'off' WHERE parent_table {tables}",
            quote_ident(&self.schema)
        )
    }
}

/// Fills in who else manages each set, and what it was told.
pub(super) async fn fill(
    reading: &Reading<'_>,
    sets: &mut [SetFacts],
    nodes: &Nodes,
) -> Result<(), EngineError> {
    for installation in installations(reading).await? {
        match installation.readable {
            true => by_partman(reading, &installation, sets, nodes).await?,
            false => by_templates(reading, &installation, sets).await?,
        }
    }
    by_partsmith(reading, sets).await
}

/// The tables that look like pg_partman's configuration, whether or not it came as an extension.
///
/// Without the extension they are believed only if somebody made them whom this session trusts anyway: what is said
/// there decides what is retired.
async fn installations(reading: &Reading<'_>) -> Result<Vec<Installation>, EngineError> {
    let sql = "
        select n.nspname::text as schema_name,
               'pg_partman ' || coalesce(e.extversion, case when exists (
                  select from pg_attribute a where a.attrelid = c.oid and a.attname = 'optimize_trigger'
               ) then '4' else '5' end) as tool,
               has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT')
                 and coalesce(has_table_privilege(s.oid, 'SELECT'), true) as readable,
               me.rolname::text as me
          from pg_class c
          join pg_namespace n on n.oid = c.relnamespace
          left join pg_extension e on e.extname = 'pg_partman' and e.extnamespace = n.oid
          left join pg_class s on s.relname = 'part_config_sub' and s.relnamespace = n.oid
          join pg_roles o on o.oid = c.relowner
          join pg_roles me on me.rolname = current_user
         where c.relname = 'part_config' and c.relkind = 'r'
           and (o.oid = me.oid or o.rolsuper
             or o.oid = (select d.datdba from pg_database d where d.datname = current_database())
             or (not me.rolsuper and pg_has_role(o.oid, 'MEMBER'))
             or exists (select from pg_depend d
                         where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'))
           and (select count(*) from pg_attribute a
                 where a.attrelid = c.oid and not a.attisdropped
                   and a.attname in ('parent_table', 'control', 'partition_interval', 'premake')) = 4
         order by n.nspname";
    let mut found = Vec::new();
    for row in reading.query(sql, &[]).await? {
        found.push(Installation {
            schema: reading.get(&row, "schema_name")?,
            tool: reading.get(&row, "tool")?,
            readable: reading.get(&row, "readable")?,
            me: reading.get(&row, "me")?,
        });
    }
    Ok(found)
}

async fn by_partman(
    reading: &Reading<'_>,
    installation: &Installation,
    sets: &mut [SetFacts],
    nodes: &Nodes,
) -> Result<(), EngineError> {
    let Told { tops, subs, unclear } = match partman::read(reading, &installation.schema).await? {
        Ok(told) => told,
        Err(why) => {
            for set in sets.iter_mut() {
                set.managed_notes
                    .push(format!("what {} was told could not be read: {why}", installation.tool));
            }
            return by_templates(reading, installation, sets).await;
        }
    };
    let tops: HashMap<&str, &Config> = tops.iter().map(|config| (config.table.as_str(), config)).collect();
    let subs: HashMap<&str, &Config> = subs.iter().map(|config| (config.table.as_str(), config)).collect();
    for set in sets {
        let name = set.table.to_string();
        // A row that no known version writes still says that the set is managed.
        for (_, why) in unclear.iter().filter(|(table, _)| *table == name) {
            set.managed_by = Some(installation.tool.clone());
            set.managed_off = Some(installation.off(set, false));
            set.managed_notes.push(format!("what it was told is not understood: {why}"));
        }
        let Some(top) = tops.get(name.as_str()) else { continue };
        let below = chain(set, &subs, nodes);
        let adopted = partman::lifecycle_of(&set.table, &set.columns, top, &below);
        set.managed_by = Some(installation.tool.clone());
        set.managed_as = Some(adopted.lifecycle);
        set.managed_notes.extend(adopted.notes);
        // Each table that is cut further has a row of its own, and so a switch.
        let mut below_is_on = false;
        set.level.each(&mut |part| {
            below_is_on |= tops.get(part.table.to_string().as_str()).is_some_and(|c| c.is_automatic());
        });
        if top.is_automatic() || below_is_on {
            set.managed_off = Some(installation.off(set, below_is_on));
        }
    }
    Ok(())
}

/// What is said of the levels below the top: each under the name of any table of the level above it.
fn chain<'a>(set: &SetFacts, subs: &HashMap<&str, &'a Config>, nodes: &Nodes) -> Vec<&'a Config> {
    let mut chain = Vec::new();
    let mut tables = vec![oid(set.id)];
    while !tables.is_empty() {
        let named = |id: &u32| nodes.get(*id).map(|node| node.table.to_string());
        let Some(config) = tables.iter().filter_map(named).find_map(|name| subs.get(name.as_str())) else {
            break;
        };
        chain.push(*config);
        tables = tables.iter().flat_map(|id| nodes.children(*id)).copied().collect();
    }
    chain
}

/// Where its configuration may not be read, a template table still tells for which sets it was called.
async fn by_templates(
    reading: &Reading<'_>,
    installation: &Installation,
    sets: &mut [SetFacts],
) -> Result<(), EngineError> {
    let sql = "select c.relname::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname = $1 and c.relname like 'template\\_%'";
    let mut templates = Vec::new();
    for row in reading.query(sql, &[&installation.schema]).await? {
        templates.push(reading.get::<String>(&row, "name")?);
    }
    for set in sets {
        if templates.contains(&format!("template_{}_{}", set.table.schema, set.table.name)) {
            set.managed_by = Some(installation.tool.clone());
            // Whether it is on cannot be seen, and then it counts as on.
            set.managed_off = Some(installation.off(set, false));
            let (schema, me) = (quote_ident(&installation.schema), quote_ident(&installation.me));
            set.managed_notes.push(format!(
                "what it was told may not be read: GRANT USAGE ON SCHEMA {schema} TO {me}; \
                 GRANT SELECT ON {schema}.part_config, {schema}.part_config_sub TO {me}"
            ));
        }
    }
    Ok(())
}

/// pg-partsmith leaves nothing behind on sets, but a remark on each table that it detached.
async fn by_partsmith(reading: &Reading<'_>, sets: &mut [SetFacts]) -> Result<(), EngineError> {
    let sql = "
        select split_part(d.description, E'\\n', 1) as mark
          from pg_description d
         where d.classoid = 'pg_class'::regclass and d.objsubid = 0
           and d.description like '%' || chr(10) || 'pg-partsmith:detached-at=%'
         group by 1";
    for row in reading.query(sql, &[]).await? {
        // A prefix of the operator's choice, and the set's name.
        let mark: String = reading.get(&row, "mark")?;
        let named = |set: &&mut SetFacts| {
            let rest = mark.strip_suffix(&set.table.to_string());
            rest.is_some_and(|rest| !rest.ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        for set in sets.iter_mut().filter(named) {
            if set.managed_by.is_none() {
                set.managed_by = Some("pg-partsmith".into());
                set.managed_notes.push(
                    "what it was told is in its own document: give that as JSON with --partsmith, and take the table \
                     out of it"
                        .into(),
                );
            }
        }
    }
    Ok(())
}
