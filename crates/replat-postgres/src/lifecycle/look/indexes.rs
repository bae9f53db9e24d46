//! What partitions have of their set's indexes.

use std::collections::{HashMap, HashSet};

use replat_engine::EngineError;
use replat_model::lifecycle::facts::{IndexFacts, SetFacts};

use super::Reading;
use super::assembly::{Nodes, oid};

/// An index of any table of a set.
struct Index {
    id: u32,
    name: String,
    parent: Option<u32>,
    valid: bool,
    constrained: bool,
    scans: Option<u64>,
}

/// The indexes of every table, and the shapes of those whose shape matters.
struct Indexes {
    of: HashMap<u32, Vec<Index>>,
    shapes: HashMap<u32, String>,
}

/// Fills in the indexes of every set: two statements for all of them.
pub(super) async fn fill(
    reading: &Reading<'_>,
    sets: &mut [SetFacts],
    nodes: &Nodes,
) -> Result<(), EngineError> {
    let ids = nodes.ids();
    let mut of: HashMap<u32, Vec<Index>> = HashMap::new();
    for row in reading.query(include_str!("indexes.sql"), &[&ids]).await? {
        let scans: Option<i64> = reading.get(&row, "scans")?;
        of.entry(reading.get(&row, "relation")?).or_default().push(Index {
            id: reading.get(&row, "id")?,
            name: reading.get(&row, "name")?,
            parent: reading.get(&row, "parent")?,
            valid: reading.get(&row, "valid")?,
            constrained: reading.get(&row, "constrained")?,
            scans: scans.and_then(|n| u64::try_from(n).ok()),
        });
    }
    let roots: HashSet<u32> = sets.iter().map(|set| oid(set.id)).collect();
    let shapes = shapes(reading, &of, &roots).await?;
    let all = Indexes { of, shapes };
    for set in sets {
        let none = Vec::new();
        let own = all.of.get(&oid(set.id)).unwrap_or(&none);
        set.indexes = own.iter().map(|index| all.follow(oid(set.id), index, nodes)).collect();
    }
    Ok(())
}

/// Shapes are dear to print, and matter only for indexes of roots, and for those that are attached to nothing.
async fn shapes(
    reading: &Reading<'_>,
    of: &HashMap<u32, Vec<Index>>,
    roots: &HashSet<u32>,
) -> Result<HashMap<u32, String>, EngineError> {
    let loose = of.iter().filter(|(table, _)| !roots.contains(*table));
    let mut asked: Vec<u32> =
        loose.flat_map(|(_, indexes)| indexes).filter(|i| i.parent.is_none()).map(|i| i.id).collect();
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    asked.extend(roots.iter().filter_map(|root| of.get(root)).flatten().map(|index| index.id));
    let mut shapes = HashMap::new();
    for row in reading.query(include_str!("shapes.sql"), &[&asked]).await? {
        shapes.insert(reading.get(&row, "id")?, reading.get(&row, "shape")?);
    }
    Ok(shapes)
}

impl Indexes {
    /// What the tables below `table` have of its index.
    fn follow(&self, table: u32, index: &Index, nodes: &Nodes) -> IndexFacts {
        let mut facts = IndexFacts {
            name: index.name.clone(),
            valid: index.valid,
            constraint: index.constrained,
            missing_on: Vec::new(),
            unattached_on: Vec::new(),
            invalid_on: Vec::new(),
            scans: None,
        };
        self.descend(table, Some(index.id), index, nodes, &mut facts);
        facts.missing_on.sort();
        facts.unattached_on.sort();
        facts.invalid_on.sort();
        facts
    }

    /// Looks at the partitions of `table`, whose own part of `root` is `above`; `None` if it has none.
    fn descend(&self, table: u32, above: Option<u32>, root: &Index, nodes: &Nodes, facts: &mut IndexFacts) {
        for child in nodes.children(table) {
            let Some(node) = nodes.get(*child) else { continue };
            // Foreign tables have no indexes; an index on their parent is no lack of theirs.
            if node.kind == "f" {
                continue;
            }
            let none = Vec::new();
            let own = self.of.get(child).unwrap_or(&none);
            let attached = own.iter().find(|index| above.is_some() && index.parent == above);
            let alike = || own.iter().find(|index| index.parent.is_none() && self.is_alike(index, root));
            let found = attached.or_else(alike);
            match found {
                None => facts.missing_on.push(node.table.clone()),
                // A partitioned index is invalid as long as one below it is absent, which is told there.
                Some(index) if !index.valid && node.kind != "p" => {
                    facts.invalid_on.push((node.table.clone(), index.name.clone()));
                }
                Some(index) if attached.is_none() => {
                    facts.unattached_on.push((node.table.clone(), index.name.clone()));
                }
                Some(_) => {}
            }
            if let Some(scans) = found.and_then(|index| index.scans) {
                facts.scans = Some(facts.scans.unwrap_or(0) + scans);
            }
            self.descend(*child, found.map(|index| index.id), root, nodes, facts);
        }
    }

    /// Whether `index` could be attached in place of `root`'s part: a constraint wants a constraint.
    fn is_alike(&self, index: &Index, root: &Index) -> bool {
        let shape = self.shapes.get(&index.id);
        shape.is_some() && shape == self.shapes.get(&root.id) && (index.constrained || !root.constrained)
    }
}
