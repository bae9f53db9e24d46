//! From rows of the catalogue to trees of partitions.

use std::collections::{BTreeMap, HashMap};

use replat_engine::EngineError;
use replat_engine::lifecycle::Look;
use replat_model::lifecycle::facts::{Bound, Level, Part, Refused, SetFacts, TableName};
use tokio_postgres::Row;

use super::Reading;
use super::around::Root;
use super::keys::{self, Cut};
use super::order::Ranks;
use super::records::Records;
use crate::lifecycle::bounds;

/// The time that reading all sizes may take.
const SIZES_MILLIS: u32 = 20_000;

/// A table of a set, as the catalogue has it.
pub(in super::super) struct Node {
    pub(in super::super) table: TableName,
    pub(super) parent: u32,
    /// The letter of the catalogue: `r` ordinary, `p` partitioned, `f` foreign.
    pub(super) kind: String,
    pub(super) bound: Option<String>,
    pub(super) pending: bool,
    pub(super) rows: Option<u64>,
    /// Rows inserted since statistics began.
    pub(super) inserted: u64,
    /// Pages of the table alone, by the statistics.
    pub(super) heap_pages: u64,
    /// Bytes with indexes and TOAST: exact if sizes were asked for and could be read, else by the statistics.
    pub(super) bytes: u64,
    pub(super) has_toast: bool,
    pub(super) owner: String,
    pub(super) tablespace: String,
    settings: BTreeMap<String, String>,
}

/// All tables of all sets that are looked at.
#[derive(Default)]
pub(in super::super) struct Nodes {
    by_id: HashMap<u32, Node>,
    children: HashMap<u32, Vec<u32>>,
}

impl Nodes {
    pub(in super::super) fn get(&self, id: u32) -> Option<&Node> {
        self.by_id.get(&id)
    }

    /// The identities of all of them.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.by_id.keys().copied().collect()
    }

    pub(in super::super) fn children(&self, id: u32) -> &[u32] {
        self.children.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The tables below `id` that hold rows; itself, if it does.
    pub(super) fn leaves(&self, id: u32) -> Vec<(u32, &Node)> {
        let mut leaves = Vec::new();
        let mut left = vec![id];
        while let Some(id) = left.pop() {
            match self.by_id.get(&id) {
                Some(node) if node.kind == "p" => left.extend(self.children(id)),
                Some(node) => leaves.push((id, node)),
                None => {}
            }
        }
        leaves
    }
}

/// A number of the catalogue, as the model has identities.
pub(in super::super) fn oid(id: u64) -> u32 {
    u32::try_from(id).unwrap_or(0)
}

/// What came of reading the trees.
pub(super) struct Trees {
    pub(super) sets: Vec<SetFacts>,
    pub(super) refused: Vec<Refused>,
    pub(super) nodes: Nodes,
}

/// The sets with their partitions; what surrounds a set is left empty.
pub(super) async fn trees(
    reading: &Reading<'_>,
    roots: &[Root],
    records: &Records,
    wanted: &Look,
) -> Result<Trees, EngineError> {
    let ids: Vec<u32> = roots.iter().map(|root| root.id).collect();
    let mut nodes = nodes(reading, &ids).await?;
    let parents: Vec<u32> =
        nodes.by_id.iter().filter(|(_, node)| node.kind == "p").map(|(id, _)| *id).collect();
    let cuts = keys::read(reading, &parents).await?;
    let bounds = parsed(&nodes);
    let bound_and_cut = |(id, bound): (&u32, &'_ Result<Bound, bounds::BadBound>)| {
        let parent = nodes.by_id.get(id)?.parent;
        let cut = cuts.get(&parent)?.as_ref().ok()?;
        // Borrowed from the map itself, whose items outlive the closure.
        Some((cut, bounds.get(id).filter(|_| bound.is_ok())?.as_ref().ok()?))
    };
    let ranks = Ranks::read(reading, bounds.iter().filter_map(bound_and_cut)).await?;
    if wanted.sizes {
        measure(reading, &mut nodes).await?;
    }
    let plan = Assembly { nodes: &nodes, cuts: &cuts, bounds: &bounds, ranks: &ranks, records, wanted };
    let mut sets = Vec::new();
    let mut refused = Vec::new();
    for root in roots {
        match plan.level(root.id) {
            Ok(level) => sets.push(root.facts(level)),
            Err(why) => refused.push(Refused {
                table: root.table.to_string(),
                why,
                remedy: "Report this with the server's version; the other sets go on.".into(),
            }),
        }
    }
    Ok(Trees { sets, refused, nodes })
}

async fn nodes(reading: &Reading<'_>, roots: &[u32]) -> Result<Nodes, EngineError> {
    let page = reading.query_one("select current_setting('block_size')::bigint as page").await?;
    let page = u64::try_from(reading.get::<i64>(&page, "page")?).unwrap_or(8192);
    let mut nodes = Nodes::default();
    for row in reading.query(include_str!("tree.sql"), &[&roots]).await? {
        let id = reading.get(&row, "oid")?;
        let node = node(reading, &row, page)?;
        nodes.children.entry(node.parent).or_default().push(id);
        nodes.by_id.insert(id, node);
    }
    Ok(nodes)
}

fn node(reading: &Reading<'_>, row: &Row, page: u64) -> Result<Node, EngineError> {
    let text = |name: &str| reading.get::<String>(row, name);
    let count =
        |name: &str| reading.get::<Option<i64>>(row, name).map(|n| n.and_then(|n| u64::try_from(n).ok()));
    let analysed: f32 = reading.get(row, "reltuples")?;
    // A partition that was never analysed may still have been counted as it was written.
    let rows = match analysed >= 0.0 {
        true => Some(analysed as u64),
        false => count("live")?.filter(|live| *live > 0),
    };
    let heap_pages = u64::try_from(reading.get::<i32>(row, "relpages")?).unwrap_or(0);
    Ok(Node {
        table: TableName::new(text("schema_name")?, text("table_name")?),
        parent: reading.get(row, "parent")?,
        kind: text("kind")?,
        bound: reading.get(row, "bound")?,
        pending: reading.get(row, "pending")?,
        rows,
        inserted: count("inserted")?.unwrap_or(0),
        heap_pages,
        bytes: count("pages")?.unwrap_or(0) * page,
        has_toast: reading.get(row, "has_toast")?,
        owner: text("owner")?,
        tablespace: text("tablespace")?,
        settings: settings(reading, row)?,
    })
}

/// What ought to be alike among siblings. What is not set is absent.
fn settings(reading: &Reading<'_>, row: &Row) -> Result<BTreeMap<String, String>, EngineError> {
    let words = [
        ("owner", "owner"),
        ("privileges", "privileges"),
        ("replica identity", "identity"),
        ("storage options", "options"),
        ("storage options of its TOAST table", "toast_options"),
        ("tablespace", "tablespace"),
        ("persistence", "persistence"),
        ("row security", "row_security"),
    ];
    let mut settings = BTreeMap::new();
    for (word, column) in words {
        if let Some(value) = reading.get::<Option<String>>(row, column)? {
            settings.insert(word.to_owned(), value);
        }
    }
    Ok(settings)
}

/// Replaces the sizes by the statistics with those of the files. If they cannot be had in time, because somebody
/// holds a partition locked perhaps, the statistics stay.
async fn measure(reading: &Reading<'_>, nodes: &mut Nodes) -> Result<(), EngineError> {
    let sql = "select t, pg_total_relation_size(t) from unnest($1::oid[]) t";
    let tables: Vec<u32> = nodes.by_id.iter().filter(|(_, n)| n.kind == "r").map(|(id, _)| *id).collect();
    let Ok(rows) = reading.try_query(SIZES_MILLIS, sql, &[&tables]).await? else { return Ok(()) };
    for row in rows {
        let id: u32 = row.try_get(0).map_err(reading.failed())?;
        // Null if the table is gone by now, which the snapshot does not know.
        let bytes: Option<i64> = row.try_get(1).map_err(reading.failed())?;
        if let (Some(node), Some(bytes)) = (nodes.by_id.get_mut(&id), bytes) {
            node.bytes = u64::try_from(bytes).unwrap_or(0);
        }
    }
    Ok(())
}

/// The bounds of all partitions.
fn parsed(nodes: &Nodes) -> HashMap<u32, Result<Bound, bounds::BadBound>> {
    let parse = |(id, node): (&u32, &Node)| node.bound.as_deref().map(|text| (*id, bounds::parse(text)));
    nodes.by_id.iter().filter_map(parse).collect()
}

/// All that is known when levels are put together.
struct Assembly<'a> {
    nodes: &'a Nodes,
    cuts: &'a HashMap<u32, Result<Cut, String>>,
    bounds: &'a HashMap<u32, Result<Bound, bounds::BadBound>>,
    ranks: &'a Ranks,
    records: &'a Records,
    wanted: &'a Look,
}

impl Assembly<'_> {
    /// The partitions of the table `id`. An error is a reason for people.
    fn level(&self, id: u32) -> Result<Level, String> {
        let cut = match self.cuts.get(&id) {
            Some(Ok(cut)) => cut,
            Some(Err(why)) => return Err(why.clone()),
            None => return Err("its key could not be read".into()),
        };
        let mut parts = Vec::new();
        for child in self.nodes.children(id) {
            parts.push(self.part(*child, cut)?);
        }
        parts.sort_by(|one, other| {
            let by_bound = self.ranks.compare(cut, &one.bound, &other.bound);
            by_bound.then_with(|| one.table.cmp(&other.table))
        });
        Ok(Level { method: cut.method, keys: cut.keys.clone(), parts, high: None, samples: Vec::new() })
    }

    fn part(&self, id: u32, cut: &Cut) -> Result<Part, String> {
        let node = self.nodes.get(id).ok_or("a partition vanished from the answer")?;
        let bound = match self.bounds.get(&id) {
            Some(Ok(bound)) => bound.clone(),
            Some(Err(bad)) => return Err(format!("{}: {bad}", node.table)),
            None => return Err(format!("{} has no bounds, so it inherits in the old way", node.table)),
        };
        if !self.ranks.know(cut, &bound) {
            return Err(format!("the bounds of {} cannot be compared", node.table));
        }
        let below = match node.kind.as_str() {
            "p" => Some(self.level(id)?),
            _ => None,
        };
        let leaves = self.nodes.leaves(id);
        // Partitions that were never analysed add nothing to a sum; if all are such, it is not known.
        let rows = leaves.iter().filter_map(|(_, leaf)| leaf.rows).reduce(|sum, rows| sum + rows);
        let record = self.records.part(id, &node.table);
        Ok(Part {
            table: node.table.clone(),
            id: u64::from(id),
            bound,
            below,
            rows,
            bytes: self.wanted.sizes.then(|| leaves.iter().map(|(_, leaf)| leaf.bytes).sum()),
            empty: None,
            origin: record.origin,
            detach_pending: node.pending,
            foreign: node.kind == "f",
            legal_hold: record.legal_hold,
            since: record.since,
            strays: None,
            when_true: None,
            held_by_rows: None,
            referenced: None,
            settings: node.settings.clone(),
        })
    }
}
