//! What surrounds a set: owner and privileges, foreign keys, publications, other tools.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use replat_engine::EngineError;
use replat_model::lifecycle::facts::{Bound, Level, Publication, Reference, Refused, SetFacts, TableName};

use super::Reading;
use super::assembly::{Nodes, oid};
use crate::lifecycle::adopted;
use crate::sql::quote_ident;

/// A partitioned table that is not a partition.
#[derive(Clone, Debug)]
pub(super) struct Root {
    pub(super) id: u32,
    pub(super) table: TableName,
    owner: String,
    lacking: Vec<String>,
}

impl Root {
    /// The set, with nothing but its partitions.
    pub(super) fn facts(&self, level: Level) -> SetFacts {
        SetFacts {
            table: self.table.clone(),
            id: u64::from(self.id),
            owner: self.owner.clone(),
            lacking: self.lacking.clone(),
            level,
            columns: BTreeMap::new(),
            references: Vec::new(),
            referenced_by: Vec::new(),
            indexes: Vec::new(),
            publications: Vec::new(),
            samples: Vec::new(),
            relations_each: 0,
            managed_by: None,
            managed_as: None,
            managed_notes: Vec::new(),
            managed_off: None,
        }
    }
}

/// All sets there are, in order of name, and what this role lacks to work on them.
pub(super) async fn sets(reading: &Reading<'_>) -> Result<Vec<Root>, EngineError> {
    let mut roots = Vec::new();
    for row in reading.query(include_str!("sets.sql"), &[]).await? {
        let table = TableName::new(
            reading.get::<String>(&row, "schema_name")?,
            reading.get::<String>(&row, "table_name")?,
        );
        let owner: String = reading.get(&row, "owner")?;
        let me = quote_ident(&reading.get::<String>(&row, "me")?);
        let mut lacking = Vec::new();
        if !reading.get::<bool>(&row, "owns")? {
            lacking.push(format!("GRANT {} TO {me}", quote_ident(&owner)));
        }
        for (may, privilege) in [("may_use", "USAGE"), ("may_create", "CREATE")] {
            if !reading.get::<bool>(&row, may)? {
                lacking.push(format!("GRANT {privilege} ON SCHEMA {} TO {me}", quote_ident(&table.schema)));
            }
        }
        roots.push(Root { id: reading.get(&row, "oid")?, table, owner, lacking });
    }
    Ok(roots)
}

/// Why nothing that can be planned for is called `pattern`.
pub(super) async fn why_not(reading: &Reading<'_>, pattern: &str) -> Result<Refused, EngineError> {
    let sql = "
        select c.relkind::text as kind, c.relispartition as part,
               (select format('%s.%s', pn.nspname, p.relname)
                  from pg_inherits i
                  join pg_class p on p.oid = i.inhparent
                  join pg_namespace pn on pn.oid = p.relnamespace
                 where i.inhrelid = c.oid limit 1) as parent,
               exists (select from pg_inherits i where i.inhparent = c.oid) as inherited
          from pg_class c
          join pg_namespace n on n.oid = c.relnamespace
         where (format('%s.%s', n.nspname, c.relname) = $1 or c.relname::text = $1)
           and c.relkind in ('r', 'p', 'f', 'v', 'm')
         order by c.relkind <> 'r'
         limit 1";
    let rows = reading.query(sql, &[&pattern]).await?;
    let refused = |why: String, remedy: String| Refused { table: pattern.to_owned(), why, remedy };
    let Some(row) = rows.first() else {
        return Ok(match pattern.contains('*') {
            true => refused(
                "no partitioned table has such a name".into(),
                "Correct the pattern; `replat rotate --check` lists what is there.".into(),
            ),
            false => refused(
                "there is no such table in this database".into(),
                "Correct the name: it is schema.table, exact and unquoted.".into(),
            ),
        });
    };
    let kind: String = reading.get(row, "kind")?;
    Ok(match (kind.as_str(), reading.get::<bool>(row, "part")?) {
        (_, true) => {
            let parent: Option<String> = reading.get(row, "parent")?;
            let parent = parent.unwrap_or_else(|| "another table".into());
            refused(format!("it is a partition of {parent}"), format!("Name {parent} instead."))
        }
        ("r", false) if reading.get::<bool>(row, "inherited")? => refused(
            "its children inherit from it in the old way, which is not partitioning".into(),
            "Make a partitioned table and attach the children to it.".into(),
        ),
        ("r", false) => refused(
            "it is not partitioned".into(),
            "Convert it first: replat rotate convert; or leave it out.".into(),
        ),
        ("p", false) => refused(
            "it is a temporary table of a session".into(),
            "Leave it out: it vanishes with its session.".into(),
        ),
        _ => refused("it is a view or a foreign table".into(), "Leave it out.".into()),
    })
}

/// Fills in everything that this file is about.
pub(super) async fn fill(
    reading: &Reading<'_>,
    sets: &mut [SetFacts],
    nodes: &Nodes,
) -> Result<(), EngineError> {
    privileges(reading, sets, nodes).await?;
    columns(reading, sets).await?;
    references(reading, sets, nodes).await?;
    publications(reading, sets, nodes).await?;
    relations_each(reading, sets, nodes).await?;
    adopted::fill(reading, sets, nodes).await
}

/// What lies below the set's own table: schemas and tablespaces of its newest partitions, owners of its defaults.
async fn privileges(reading: &Reading<'_>, sets: &mut [SetFacts], nodes: &Nodes) -> Result<(), EngineError> {
    let sql = "
        select 'schema' as kind, n.nspname::text as name from pg_namespace n
         where not has_schema_privilege(n.oid, 'CREATE')
        union all
        select 'tablespace', s.spcname::text from pg_tablespace s
         where not has_tablespace_privilege(s.oid, 'CREATE') and s.spcname <> 'pg_global'
        union all
        select 'role', r.rolname::text from pg_roles r where not pg_has_role(r.oid, 'USAGE')";
    let mut closed: BTreeSet<(String, String)> = BTreeSet::new();
    for row in reading.query(sql, &[]).await? {
        closed.insert((reading.get(&row, "kind")?, reading.get(&row, "name")?));
    }
    if closed.is_empty() {
        return Ok(());
    }
    let me = reading.query_one("select current_user::text as me").await?;
    let me = quote_ident(&reading.get::<String>(&me, "me")?);
    let is_closed = |kind: &str, name: &str| closed.contains(&(kind.to_owned(), name.to_owned()));
    for set in sets {
        let mut lacking = Vec::new();
        let newest = set.level.parts.iter().rev().find(|part| part.bound != Bound::Default);
        let leaves = newest.map(|part| nodes.leaves(oid(part.id))).unwrap_or_default();
        for (_, leaf) in leaves {
            if is_closed("schema", &leaf.table.schema) {
                let schema = quote_ident(&leaf.table.schema);
                lacking.push(format!("GRANT CREATE ON SCHEMA {schema} TO {me}"));
            }
            if is_closed("tablespace", &leaf.tablespace) {
                let space = quote_ident(&leaf.tablespace);
                lacking.push(format!("GRANT CREATE ON TABLESPACE {space} TO {me}"));
            }
        }
        // A default is locked by name before partitions are attached beside it.
        set.level.each(&mut |part| {
            let owner = nodes.get(oid(part.id)).filter(|_| part.bound == Bound::Default).map(|n| &n.owner);
            if let Some(owner) = owner.filter(|owner| is_closed("role", owner)) {
                lacking.push(format!("GRANT {} TO {me}", quote_ident(owner)));
            }
        });
        for statement in lacking {
            if !set.lacking.contains(&statement) {
                set.lacking.push(statement);
            }
        }
    }
    Ok(())
}

async fn columns(reading: &Reading<'_>, sets: &mut [SetFacts]) -> Result<(), EngineError> {
    let sql = "
        select a.attrelid, a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type
          from pg_attribute a
         where a.attrelid = any ($1::oid[]) and a.attnum > 0 and not a.attisdropped";
    let ids: Vec<u32> = sets.iter().map(|set| oid(set.id)).collect();
    let mut columns: HashMap<u32, BTreeMap<String, String>> = HashMap::new();
    for row in reading.query(sql, &[&ids]).await? {
        let table = columns.entry(reading.get(&row, "attrelid")?).or_default();
        table.insert(reading.get(&row, "name")?, reading.get(&row, "type")?);
    }
    for set in sets {
        set.columns = columns.remove(&oid(set.id)).unwrap_or_default();
    }
    Ok(())
}

/// Foreign keys, those of single partitions too; what partitions have only from their parents is left out.
async fn references(reading: &Reading<'_>, sets: &mut [SetFacts], nodes: &Nodes) -> Result<(), EngineError> {
    let roots = root_of(sets, nodes);
    let ids = nodes.ids();
    for row in reading.query(include_str!("references.sql"), &[&ids]).await? {
        let table = |schema: &str, name: &str| -> Result<TableName, EngineError> {
            Ok(TableName::new(reading.get::<String>(&row, schema)?, reading.get::<String>(&row, name)?))
        };
        let reference = |table: TableName| -> Result<Reference, EngineError> {
            let definition = reading.get(&row, "definition")?;
            Ok(Reference { name: reading.get(&row, "name")?, table, definition })
        };
        let from: u32 = reading.get(&row, "from_id")?;
        let to: u32 = reading.get(&row, "to_id")?;
        if let Some(place) = roots.get(&from) {
            sets[*place].references.push(reference(table("to_schema", "to_table")?)?);
        }
        if let Some(place) = roots.get(&to) {
            sets[*place].referenced_by.push(reference(table("from_schema", "from_table")?)?);
        }
    }
    Ok(())
}

/// For every table of every set, the set's place in the list.
pub(super) fn root_of(sets: &[SetFacts], nodes: &Nodes) -> HashMap<u32, usize> {
    let mut roots = HashMap::new();
    for (place, set) in sets.iter().enumerate() {
        let mut left = vec![oid(set.id)];
        while let Some(id) = left.pop() {
            left.extend(nodes.children(id));
            roots.insert(id, place);
        }
    }
    roots
}

async fn publications(
    reading: &Reading<'_>,
    sets: &mut [SetFacts],
    nodes: &Nodes,
) -> Result<(), EngineError> {
    let version = reading.query_one("select current_setting('server_version_num')::int as number").await?;
    // Whole schemas are published since 15.
    let sql = match reading.get::<i32>(&version, "number")? >= 150_000 {
        true => include_str!("publications.sql").to_owned(),
        false => include_str!("publications.sql").replace(
            "(select pnnspid as schema, pnpubid as publication from pg_publication_namespace)",
            "(select null::oid as schema, null::oid as publication where false)",
        ),
    };
    let roots = root_of(sets, nodes);
    let ids = nodes.ids();
    // By set and publication; the rows come in order of the publication's name.
    let mut found: BTreeMap<(usize, String), Publication> = BTreeMap::new();
    for row in reading.query(&sql, &[&ids]).await? {
        let id: u32 = reading.get(&row, "relation")?;
        let Some(place) = roots.get(&id) else { continue };
        let name: String = reading.get(&row, "name")?;
        let via_root = reading.get(&row, "via_root")?;
        let entry = found.entry((*place, name.clone())).or_insert_with(|| Publication {
            name,
            via_root,
            whole: false,
            parts: Vec::new(),
        });
        match u64::from(id) == sets[*place].id {
            true => entry.whole = true,
            false => entry.parts.extend(nodes.get(id).map(|node| node.table.clone())),
        }
    }
    for ((place, _), mut publication) in found {
        publication.parts.sort();
        // A member that is there because all tables are says nothing of its own.
        if publication.whole && is_of_all(&publication, &sets[place], nodes) {
            publication.parts.clear();
        }
        sets[place].publications.push(publication);
    }
    Ok(())
}

/// Whether a publication has every table of the set as a member of its own: then it is one of all tables, or of a
/// schema, and lists none.
fn is_of_all(publication: &Publication, set: &SetFacts, nodes: &Nodes) -> bool {
    let mut count = 0;
    set.level.each(&mut |_| count += 1);
    debug_assert!(nodes.get(oid(set.id)).is_some(), "a set is among its tables");
    publication.parts.len() == count
}

/// What one more leaf adds, by the newest one: itself, its indexes, its TOAST table and that one's index.
async fn relations_each(
    reading: &Reading<'_>,
    sets: &mut [SetFacts],
    nodes: &Nodes,
) -> Result<(), EngineError> {
    let newest: Vec<u32> = sets.iter().map(|set| newest_leaf(set, nodes)).collect();
    let sql =
        "select i.indrelid, count(*) from pg_index i where i.indrelid = any ($1::oid[]) group by i.indrelid";
    let mut indexes: HashMap<u32, i64> = HashMap::new();
    for row in reading.query(sql, &[&newest]).await? {
        let count = row.try_get(1).map_err(reading.failed())?;
        indexes.insert(row.try_get(0).map_err(reading.failed())?, count);
    }
    for (set, leaf) in sets.iter_mut().zip(newest) {
        let own = indexes.get(&leaf).map_or(0, |n| u32::try_from(*n).unwrap_or(u32::MAX));
        // A set without a partition is asked itself, and has no TOAST table though its partitions may.
        let has_toast = nodes.get(leaf).is_none_or(|node| node.kind == "p" || node.has_toast);
        set.relations_each = 1 + own + if has_toast { 2 } else { 0 };
    }
    Ok(())
}

/// The leaf that came last among the set's newest partition, or the set itself if there is none.
fn newest_leaf(set: &SetFacts, nodes: &Nodes) -> u32 {
    let newest = set.level.parts.iter().rev().find(|part| part.bound != Bound::Default);
    let leaves = newest.map(|part| nodes.leaves(oid(part.id))).unwrap_or_default();
    leaves.iter().map(|(id, _)| *id).max().unwrap_or(oid(set.id))
}
