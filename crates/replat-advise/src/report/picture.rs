//! What pictures show: the bonds between tables, statements against tables, and what each partition has to do.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::design::{BadDesign, Design, Placed, Places};
use crate::measure::share;
use crate::report::tree::{Family, Tree};
use crate::schema::{Schema, TableId};
use crate::trace::{Spot, Trace};

/// So many tables and statements are drawn at most, the busiest; a picture of more shows nothing.
const DRAWN_MAX: usize = 60;

/// Time is cut into so many windows.
const WINDOWS: usize = 10;

/// Tables, and how strongly they are bound by transactions.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Graph {
    /// The tables, the busiest first.
    pub tables: Vec<Dot>,
    /// The bonds between them.
    pub bonds: Vec<Bond>,
    /// How many tables are not drawn.
    pub left_out: usize,
}

/// A table of the graph.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dot {
    /// Its name.
    pub table: String,
    /// Its context; `None` if it is in none.
    pub context: Option<String>,
    /// The share of transactions that touch it.
    pub share: f64,
}

/// How often two tables are touched together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bond {
    /// A table, by its place in [`Graph::tables`].
    pub a: usize,
    /// Another.
    pub b: usize,
    /// The share of transactions that touch both.
    pub share: f64,
    /// The share that write to both.
    pub writes: f64,
    /// Whether the two are of different contexts; a table that is cross-cutting is of none.
    pub cut: bool,
}

/// Statements against tables.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Matrix {
    /// The tables, context by context.
    pub tables: Vec<String>,
    /// Where each context begins among them, and its name; tables before the first are in none.
    pub contexts: Vec<(usize, String)>,
    /// The statements, the most frequent first within the context that they touch most.
    pub rows: Vec<MatrixRow>,
    /// How many statements are not drawn.
    pub left_out: usize,
}

/// A statement of the matrix.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MatrixRow {
    /// Its name, or the beginning of its text.
    pub statement: String,
    /// Its share of all executions.
    pub share: f64,
    /// What it does with which tables, by their places: `r` reads, `w` writes.
    pub touches: BTreeMap<usize, char>,
}

/// What a partition has to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafLoad {
    /// Its number; `None` for the place where tables are that are not partitioned.
    pub leaf: Option<u32>,
    /// Rows handled.
    pub rows: u64,
    /// The same in each of ten windows of time.
    pub windows: Vec<u64>,
}

/// A tree over two dimensions, as a map of the unit square.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TreeMap {
    /// The family whose key space it is.
    pub family: String,
    /// What lies along the width, and along the height; `None` if the height means nothing but time.
    pub axes: (String, Option<String>),
    /// The leaves.
    pub cells: Vec<Cell>,
}

/// A leaf of a map.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// The partition's name within its family.
    pub leaf: String,
    /// Left, top, width and height, in a square of one by one.
    pub place: [f64; 4],
    /// Rows handled.
    pub rows: u64,
    /// The same in each of ten windows of time.
    pub windows: Vec<u64>,
}

/// The map of a family's tree: areas grow with load, and cuts of the second dimension go across those of the first.
pub fn tree_map(schema: &Schema, loads: &Loads<'_>, family: &Family) -> Option<TreeMap> {
    let tree = family.tree.as_ref()?;
    let members = family.tables.keys().filter_map(|name| schema.find(name));
    let mut of: BTreeMap<u32, LeafLoad> =
        loads.of(members).into_iter().filter_map(|load| Some((load.leaf?, load))).collect();
    let leaves: Vec<LeafLoad> = (0..)
        .zip(tree.leaves())
        .map(|(n, _)| of.remove(&n).unwrap_or(LeafLoad { leaf: Some(n), rows: 0, windows: vec![0; WINDOWS] }))
        .collect();
    let mut cells = Vec::new();
    let first = family.dimensions.first()?.column.clone();
    draw(tree, "", &first, [0.0, 0.0, 1.0, 1.0], &leaves, &mut cells);
    let second = family.dimensions.get(1).map(|dimension| dimension.column.clone());
    Some(TreeMap { family: family.name.clone(), axes: (first, second), cells })
}

/// Divides `place` among the children of `tree`, whose leaves are the next ones of `leaves`.
fn draw(tree: &Tree, path: &str, first: &str, place: [f64; 4], leaves: &[LeafLoad], cells: &mut Vec<Cell>) {
    /// Each leaf is seen, however little it does. Unit: share of a fair share.
    const SEEN_MIN: f64 = 0.15;
    let weigh = |leaves: &[LeafLoad]| leaves.iter().map(|leaf| leaf.rows).sum::<u64>() as f64;
    let least = SEEN_MIN * weigh(leaves).max(1.0) / leaves.len().max(1) as f64;
    let counts: Vec<usize> = tree
        .children()
        .iter()
        .map(|child| tree.under.get(child).map_or(1, |below| below.leaves().len()))
        .collect();
    let mut parts = Vec::new();
    let mut at = 0;
    for count in &counts {
        let own = &leaves[at..at + count];
        parts.push((own, weigh(own).max(least * *count as f64)));
        at += count;
    }
    let all: f64 = parts.iter().map(|(_, weight)| weight).sum();
    let [mut x, mut y, width, height] = place;
    for (child, (own, weight)) in tree.children().iter().zip(parts) {
        let share = weight / all;
        let inner = match tree.split == first {
            true => [x, y, width * share, height],
            false => [x, y, width, height * share],
        };
        match tree.split == first {
            true => x += width * share,
            false => y += height * share,
        }
        let name = if path.is_empty() { child.clone() } else { format!("{path}_{child}") };
        match tree.under.get(child) {
            Some(below) => draw(below, &name, first, inner, own, cells),
            None => cells.push(Cell {
                leaf: name,
                place: inner,
                rows: own[0].rows,
                windows: own[0].windows.clone(),
            }),
        }
    }
}

/// The graph of the tables, with the context of each.
pub fn graph(schema: &Schema, trace: &Trace, context: &BTreeMap<TableId, String>) -> Graph {
    let mut touched = vec![0_u64; schema.tables.len()];
    let mut kinds: BTreeMap<BTreeMap<TableId, bool>, u64> = BTreeMap::new();
    for transaction in &trace.transactions {
        let mut tables: BTreeMap<TableId, bool> = BTreeMap::new();
        for access in trace.accesses_of(transaction) {
            *tables.entry(access.table).or_default() |= access.op.writes();
        }
        tables.keys().for_each(|id| touched[id.0] += 1);
        *kinds.entry(tables).or_default() += 1;
    }
    let all = trace.transactions.len() as u64;
    let mut order: Vec<TableId> = schema.ids().collect();
    order.sort_by(|a, b| touched[b.0].cmp(&touched[a.0]).then_with(|| a.cmp(b)));
    let left_out = order.len().saturating_sub(DRAWN_MAX);
    order.truncate(DRAWN_MAX);
    let place: BTreeMap<TableId, usize> = order.iter().enumerate().map(|(n, id)| (*id, n)).collect();
    let mut pairs: BTreeMap<(usize, usize), (u64, u64)> = BTreeMap::new();
    for (tables, count) in kinds {
        let present: Vec<(usize, bool)> =
            tables.iter().filter_map(|(id, writes)| Some((*place.get(id)?, *writes))).collect();
        for (n, (a, a_writes)) in present.iter().enumerate() {
            for (b, b_writes) in &present[n + 1..] {
                let pair = pairs.entry((*a.min(b), *a.max(b))).or_default();
                pair.0 += count;
                pair.1 += if *a_writes && *b_writes { count } else { 0 };
            }
        }
    }
    let dots = order.iter().map(|id| Dot {
        table: schema.table(*id).name.clone(),
        context: context.get(id).cloned(),
        share: share(touched[id.0], all),
    });
    let bonds = pairs.into_iter().map(|((a, b), (both, writes))| Bond {
        a,
        b,
        share: share(both, all),
        writes: share(writes, all),
        cut: match (context.get(&order[a]), context.get(&order[b])) {
            (Some(of_a), Some(of_b)) => of_a != of_b,
            _ => false,
        },
    });
    Graph { tables: dots.collect(), bonds: bonds.collect(), left_out }
}

/// The matrix of statements against tables.
pub fn matrix(schema: &Schema, trace: &Trace, context: &BTreeMap<TableId, String>) -> Matrix {
    let mut runs = vec![0_u64; trace.templates.len()];
    for access in trace.accesses.iter().filter(|access| access.touch == 0) {
        runs[access.template as usize] += 1;
    }
    let all: u64 = runs.iter().sum();
    let mut busiest: Vec<usize> =
        (0..runs.len()).filter(|n| !trace.templates[*n].touches.is_empty()).collect();
    busiest.sort_by(|a, b| runs[*b].cmp(&runs[*a]).then_with(|| a.cmp(b)));
    let left_out = busiest.len().saturating_sub(DRAWN_MAX);
    busiest.truncate(DRAWN_MAX);
    let used: BTreeSet<TableId> =
        busiest.iter().flat_map(|n| trace.templates[*n].touches.iter().map(|touch| touch.table)).collect();
    let mut tables: Vec<TableId> = used.into_iter().collect();
    let of = |id: &TableId| context.get(id);
    tables.sort_by(|a, b| of(a).cmp(&of(b)).then_with(|| a.cmp(b)));
    let place: BTreeMap<TableId, usize> = tables.iter().enumerate().map(|(n, id)| (*id, n)).collect();
    let mut contexts: Vec<(usize, String)> = Vec::new();
    for (n, id) in tables.iter().enumerate() {
        if let Some(name) = of(id)
            && contexts.last().is_none_or(|(_, last)| last != name)
        {
            contexts.push((n, name.clone()));
        }
    }
    let mut rows: Vec<(Option<&String>, MatrixRow)> = busiest
        .into_iter()
        .map(|n| {
            let template = &trace.templates[n];
            let mut touches = BTreeMap::new();
            for touch in &template.touches {
                let mark = touches.entry(place[&touch.table]).or_insert('r');
                if touch.op.writes() {
                    *mark = 'w';
                }
            }
            let home = template.touches.first().and_then(|touch| of(&touch.table));
            (home, MatrixRow { statement: template.short(), share: share(runs[n], all), touches })
        })
        .collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    Matrix {
        tables: tables.iter().map(|id| schema.table(*id).name.clone()).collect(),
        contexts,
        rows: rows.into_iter().map(|(_, row)| row).collect(),
        left_out,
    }
}

/// What each partition of a design has to do.
pub struct Loads<'a> {
    schema: &'a Schema,
    trace: &'a Trace,
    placed: Placed<'a>,
    partitions: u32,
    /// The accesses of each table, and which window of time each is in.
    spots: Vec<Vec<(u32, u8)>>,
}

impl<'a> Loads<'a> {
    /// Checks `design` against `schema`, and sorts the accesses by tables.
    pub fn new(schema: &'a Schema, trace: &'a Trace, design: &'a Design) -> Result<Loads<'a>, BadDesign> {
        let placed = Placed::new(design, schema)?;
        let begin = trace.transactions.first().map_or(0.0, |t| t.at);
        let length = trace.transactions.last().map_or(0.0, |t| t.at - begin).max(1e-9);
        // The quotient is within 0 and the number of windows.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let window = |at: f64| (((at - begin) / length * WINDOWS as f64) as u8).min(WINDOWS as u8 - 1);
        let spots = trace.by_table(schema.tables.len()).into_iter().map(|spots| {
            let timed = |spot: Spot| (spot.access, window(trace.transactions[spot.transaction as usize].at));
            spots.into_iter().map(timed).collect()
        });
        Ok(Loads { schema, trace, placed, partitions: design.partitions, spots: spots.collect() })
    }

    /// What these tables have each partition do, in the order of the partitions' numbers.
    pub fn of(&self, tables: impl IntoIterator<Item = TableId>) -> Vec<LeafLoad> {
        let mut places = Places::default();
        let mut load: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for table in tables {
            let width = self.schema.table(table).keys.len();
            for (access, window) in &self.spots[table.0] {
                let rows = self.trace.rows_of(&self.trace.accesses[*access as usize], width);
                for row in rows.into_iter().flatten() {
                    if let Some(place) = self.placed.place(table, row, &self.trace.values, &mut places) {
                        load.entry(place).or_insert_with(|| vec![0; WINDOWS])[usize::from(*window)] += 1;
                    }
                }
            }
        }
        let mut leaves: Vec<LeafLoad> = places
            .parts()
            .map(|(parts, place)| {
                let windows = load.remove(&place).unwrap_or_else(|| vec![0; WINDOWS]);
                // Tables in one place are marked by a part that no cut has.
                let alone = parts.contains(&u32::MAX);
                // With several levels the number counts their combinations.
                let leaf = parts
                    .iter()
                    .fold(0_u32, |all, part| all.saturating_mul(self.partitions).saturating_add(*part));
                LeafLoad { leaf: (!alone).then_some(leaf), rows: windows.iter().sum(), windows }
            })
            .collect();
        leaves.sort_by_key(|leaf| (leaf.leaf.is_none(), leaf.leaf));
        leaves
    }
}
