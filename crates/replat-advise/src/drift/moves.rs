//! Small changes of a design: keys that leave a hot partition, a key that is spread, a partition that is split or merged.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::design::{Cut, Design, Level, Node, Placed, Placement, Places};
use crate::domain::{DomainId, Domains};
use crate::schema::{Schema, TableId};
use crate::trace::Trace;
use crate::value::{Value, ValueId};

/// A partition that has so much more than the mean is not hot.
const EVEN_ENOUGH: f64 = 1.2;

/// A key with less than this share of a fair load is not worth a move.
const HEAVY_MIN: f64 = 0.005;

/// So many keys are moved at most.
const MOVED_MAX: usize = 200;

/// A key whose load exceeds this share of a fair load is spread.
const HOT_MIN: f64 = 0.7;

/// Two keys that meet in a smaller share of the transactions are not brought together.
const MEET_MIN: f64 = 0.005;

/// A transaction that needs more keys than this stays distributed whatever is done for two of them.
const MEET_MAX: usize = 8;

/// Beyond this a partition takes no more keys in. What is dearer, a busy partition or transactions that cross, is seen from
/// what both cost. Unit: fair loads.
const FULL: [f64; 2] = [1.5, f64::INFINITY];

/// Rows handled, by key and by partition.
struct Loads {
    /// The domain by which each table is placed, with the place of the column, if it is placed by one cut.
    by: Vec<Option<(DomainId, usize)>>,
    partitions: Vec<u64>,
    keys: HashMap<(DomainId, ValueId), BTreeMap<u32, u64>>,
}

/// Designs that differ from `design` by little and may suit `trace` better.
pub(super) fn nearby(schema: &Schema, trace: &Trace, domains: &Domains, design: &Design) -> Vec<Design> {
    let Some(loads) = Loads::of(schema, trace, domains, design) else { return Vec::new() };
    let mut found = Vec::new();
    let mut stay = HashSet::new();
    found.extend(eased(schema, trace, domains, design, design.partitions, &stay));
    // One partition more, for the keys that are too much where they are.
    found.extend(eased(schema, trace, domains, design, design.partitions + 1, &stay));
    for (domain, value) in loads.hot() {
        for by in (0..domains.count).map(DomainId).filter(|by| *by != domain) {
            for n in [2, 4, design.partitions].into_iter().filter(|n| *n > 1 && *n <= design.partitions) {
                let spread = spread(schema, trace, domains, design, &loads, (domain, value), (by, n));
                if let Some(spread) = spread {
                    found.extend(eased(schema, trace, domains, &spread, design.partitions, &stay));
                    found.push(spread);
                }
            }
        }
    }
    for full in FULL {
        stay.clear();
        if let Some(joined) = joined(schema, trace, design, &loads, full, &mut stay) {
            // What was brought together stays so, and others make room.
            found.extend(eased(schema, trace, domains, &joined, design.partitions, &stay));
            found.push(joined);
        }
    }
    found.extend(merged(schema, design, &loads));
    found
}

/// The keys of `found` with the places of `deployed`: a table that keeps its key stays where it is, and one that gets the
/// key of others goes where they are.
pub(super) fn grafted(schema: &Schema, domains: &Domains, deployed: &Design, found: &Design) -> Design {
    let key = |design: &Design, table: TableId| match design.tables.get(&schema.table(table).name)? {
        Placement::Partition { levels } => schema.table(table).key(levels.first()?.cut.columns().first()?),
        Placement::Replicate | Placement::Single => None,
    };
    let mut grafted = deployed.clone();
    for table in schema.ids() {
        let name = &schema.table(table).name;
        let wanted = found.tables[name].clone();
        let Some(new) = key(found, table) else {
            grafted.tables.insert(name.clone(), wanted);
            continue;
        };
        if key(deployed, table) == Some(new) {
            continue;
        }
        let domain = domains.of(table, new);
        let like = schema.ids().find_map(|other| {
            let own = key(deployed, other).filter(|own| domains.of(other, *own) == domain)?;
            let Placement::Partition { levels } = &deployed.tables[&schema.table(other).name] else {
                return None;
            };
            let [Level { cut, shard }] = levels.as_slice() else { return None };
            let (from, to) = (&schema.table(other).keys[own].name, &schema.table(table).keys[new].name);
            Some(Level { cut: renamed(cut, from, to)?, shard: *shard })
        });
        let placement = like.map_or(wanted, |level| Placement::Partition { levels: vec![level] });
        grafted.tables.insert(name.clone(), placement);
    }
    grafted
}

/// A cut by one column, of another; `None` if it asks about more.
fn renamed(cut: &Cut, from: &str, to: &str) -> Option<Cut> {
    let [_] = cut.columns() else { return None };
    let cols = vec![to.to_owned()];
    Some(match cut.clone() {
        Cut::Mod { n, .. } => Cut::Mod { cols, n },
        Cut::Hash { n, pins, .. } => Cut::Hash { cols, n, pins },
        Cut::Range { bounds, .. } => Cut::Range { col: to.to_owned(), bounds },
        Cut::List { map, default, n, .. } => Cut::List { col: to.to_owned(), map, default, n },
        Cut::Tree { n, root, .. } => Cut::Tree { cols, n, root: renamed_below(root, from, to)? },
    })
}

fn renamed_below(node: Node, from: &str, to: &str) -> Option<Node> {
    let name = |col: String| if col == from { to.to_owned() } else { col };
    let below = |node: Box<Node>| renamed_below(*node, from, to).map(Box::new);
    Some(match node {
        Node::Leaf { leaf } => Node::Leaf { leaf },
        Node::Less { col, lt, yes, no } => {
            Node::Less { col: name(col), lt, yes: below(yes)?, no: below(no)? }
        }
        Node::Among { col, among, yes, no } => {
            Node::Among { col: name(col), among, yes: below(yes)?, no: below(no)? }
        }
        Node::Spread { hash, n, base } => {
            Node::Spread { hash: hash.into_iter().map(name).collect(), n, base }
        }
    })
}

impl Loads {
    fn of(schema: &Schema, trace: &Trace, domains: &Domains, design: &Design) -> Option<Loads> {
        let placed = Placed::new(design, schema).ok()?;
        let by: Vec<Option<(DomainId, usize)>> = schema
            .ids()
            .map(|table| {
                let Some(Placement::Partition { levels }) = design.tables.get(&schema.table(table).name)
                else {
                    return None;
                };
                let [Level { cut, .. }] = levels.as_slice() else { return None };
                let key = schema.table(table).key(cut.columns().first()?)?;
                Some((domains.of(table, key), key))
            })
            .collect();
        let mut loads = Loads { by, partitions: vec![0; design.partitions as usize], keys: HashMap::new() };
        let mut numbers = Places::default();
        // The parts of places: with one cut each, a place has one.
        let mut parts: HashMap<u32, u32> = HashMap::new();
        for access in &trace.accesses {
            let Some((domain, key)) = loads.by[access.table.0] else { continue };
            let width = schema.table(access.table).keys.len();
            for row in trace.rows_of(access, width).into_iter().flatten() {
                let before = numbers.len();
                let Some(place) = placed.place(access.table, row, &trace.values, &mut numbers) else {
                    continue;
                };
                if numbers.len() > before {
                    parts.extend(numbers.parts().map(|(all, place)| (place, all[0])));
                }
                let part = parts[&place];
                if part as usize >= loads.partitions.len() {
                    continue;
                }
                loads.partitions[part as usize] += 1;
                *loads.keys.entry((domain, row[key])).or_default().entry(part).or_default() += 1;
            }
        }
        Some(loads)
    }

    fn fair(&self) -> f64 {
        self.partitions.iter().sum::<u64>() as f64 / self.partitions.len().max(1) as f64
    }

    /// Keys that are too much for one partition, the heaviest first.
    fn hot(&self) -> Vec<(DomainId, ValueId)> {
        let mut hot: Vec<(u64, DomainId, ValueId)> = self
            .keys
            .iter()
            .map(|((domain, value), parts)| (parts.values().max().copied().unwrap_or(0), *domain, *value))
            .filter(|(rows, ..)| *rows as f64 > HOT_MIN * self.fair())
            .collect();
        hot.sort_by_key(|(rows, domain, value)| (std::cmp::Reverse(*rows), *domain, *value));
        hot.into_iter().take(2).map(|(_, domain, value)| (domain, value)).collect()
    }
}

/// The design with heavy keys taken from where most is to where least is, but for those that `stay`; `None` if nothing gets
/// better by it.
fn eased(
    schema: &Schema,
    trace: &Trace,
    domains: &Domains,
    design: &Design,
    partitions: u32,
    stay: &HashSet<Key>,
) -> Option<Design> {
    let loads = Loads::of(schema, trace, domains, design)?;
    let mut load = loads.partitions.clone();
    load.resize(partitions as usize, 0);
    let fair = load.iter().sum::<u64>() as f64 / load.len().max(1) as f64;
    // Keys that lie in one partition as a whole, by partition, the lightest first.
    let mut movable: BTreeMap<u32, Vec<(u64, DomainId, ValueId)>> = BTreeMap::new();
    for ((domain, value), parts) in &loads.keys {
        if let (Some((part, rows)), 1) = (parts.first_key_value(), parts.len())
            && *rows as f64 >= HEAVY_MIN * fair
            && !stay.contains(&(*domain, *value))
        {
            movable.entry(*part).or_default().push((*rows, *domain, *value));
        }
    }
    for keys in movable.values_mut() {
        keys.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| trace.values.compare(b.2, a.2)).then(a.1.cmp(&b.1)));
    }
    let mut moved: Vec<(DomainId, ValueId, u32)> = Vec::new();
    while moved.len() < MOVED_MAX {
        let (hot, most) = load.iter().enumerate().max_by_key(|(_, rows)| **rows)?;
        let (cold, least) = load.iter().enumerate().min_by_key(|(_, rows)| **rows)?;
        if *most as f64 <= EVEN_ENOUGH * fair {
            break;
        }
        let room = (most - least) * 3 / 4;
        let Ok(from) = u32::try_from(hot) else { break };
        let Some(keys) = movable.get_mut(&from) else { break };
        let Some(place) = keys.iter().rposition(|(rows, ..)| *rows < room) else { break };
        let (rows, domain, value) = keys.remove(place);
        let to = u32::try_from(cold).ok()?;
        load[hot] -= rows;
        load[cold] += rows;
        moved.push((domain, value, to));
    }
    elsewhere(schema, trace, design, &loads, &moved, partitions)
}

/// The design with some keys in other parts, of which there are so many; `None` if there are none, or a table's cut cannot
/// have that.
fn elsewhere(
    schema: &Schema,
    trace: &Trace,
    design: &Design,
    loads: &Loads,
    moved: &[(DomainId, ValueId, u32)],
    partitions: u32,
) -> Option<Design> {
    if moved.is_empty() {
        return None;
    }
    let mut changed = design.clone();
    changed.partitions = partitions;
    for table in schema.ids() {
        let Some((domain, _)) = loads.by[table.0] else { continue };
        let own: Vec<(Value, u32)> = moved
            .iter()
            .filter(|(of, ..)| *of == domain)
            .map(|(_, value, part)| (trace.values.get(*value).clone(), *part))
            .collect();
        let cut = cut_of(&mut changed, schema, table)?;
        if partitions == design.partitions && own.is_empty() {
            continue;
        }
        *cut = with_keys(cut.clone(), own, partitions)?;
    }
    Some(changed)
}

/// A key, with its domain.
type Key = (DomainId, ValueId);

/// The design with keys that are often used together in one place: the lighter of two goes to the heavier, unless that one's
/// part would have more than `full`. Those that were brought together are put into `together`.
fn joined(
    schema: &Schema,
    trace: &Trace,
    design: &Design,
    loads: &Loads,
    full: f64,
    together: &mut HashSet<Key>,
) -> Option<Design> {
    let mut load = loads.partitions.clone();
    let mut places: HashMap<Key, u32> = HashMap::new();
    let mut moved: Vec<(DomainId, ValueId, u32)> = Vec::new();
    for (a, b) in meetings(schema, trace, loads) {
        let place =
            |key: &Key| places.get(key).copied().or_else(|| loads.keys.get(key)?.keys().next().copied());
        let (Some(from), Some(to)) = (place(&a), place(&b)) else { continue };
        let rows = |key: &Key| loads.keys.get(key).map_or(0, |parts| parts.values().sum::<u64>());
        let (lighter, from, to) = if rows(&a) <= rows(&b) { (a, from, to) } else { (b, to, from) };
        let too_much = (load[to as usize] + rows(&lighter)) as f64 > full * loads.fair();
        if from == to || too_much || places.contains_key(&lighter) {
            continue;
        }
        load[from as usize] -= rows(&lighter);
        load[to as usize] += rows(&lighter);
        // Who others came to stays.
        places.extend([(lighter, to), if lighter == a { (b, to) } else { (a, to) }]);
        moved.push((lighter.0, lighter.1, to));
        if moved.len() == MOVED_MAX {
            break;
        }
    }
    together.extend(places.into_keys());
    elsewhere(schema, trace, design, loads, &moved, design.partitions)
}

/// Keys that are needed by one transaction and lie apart, those that meet most often first.
fn meetings(schema: &Schema, trace: &Trace, loads: &Loads) -> Vec<(Key, Key)> {
    let mut counts: HashMap<(Key, Key), u64> = HashMap::new();
    for transaction in &trace.transactions {
        let mut met: Vec<(Key, u32)> = Vec::new();
        for access in trace.accesses_of(transaction) {
            let Some((domain, key)) = loads.by[access.table.0] else { continue };
            let width = schema.table(access.table).keys.len();
            for row in trace.rows_of(access, width).into_iter().flatten() {
                let own = (domain, row[key]);
                let Some(parts) = loads.keys.get(&own).filter(|parts| parts.len() == 1) else { continue };
                if met.len() <= MEET_MAX && met.iter().all(|(known, _)| *known != own) {
                    met.extend(parts.keys().next().map(|part| (own, *part)));
                }
            }
        }
        if met.len() > MEET_MAX {
            continue;
        }
        for (at, (a, from)) in met.iter().enumerate() {
            for (b, _) in met[at + 1..].iter().filter(|(_, to)| to != from) {
                let pair = if trace.values.compare(a.1, b.1).then(a.0.cmp(&b.0)).is_le() {
                    (*a, *b)
                } else {
                    (*b, *a)
                };
                *counts.entry(pair).or_default() += 1;
            }
        }
    }
    let least = (MEET_MIN * trace.transactions.len() as f64).max(2.0);
    let mut often: Vec<((Key, Key), u64)> =
        counts.into_iter().filter(|(_, count)| *count as f64 >= least).collect();
    often.sort_by(|(x, n), (y, m)| {
        let order = |p: &Key, q: &Key| trace.values.compare(p.1, q.1).then(p.0.cmp(&q.0));
        m.cmp(n).then_with(|| order(&x.0, &y.0)).then_with(|| order(&x.1, &y.1))
    });
    often.into_iter().map(|(pair, _)| pair).collect()
}

/// A cut with some keys elsewhere; `None` if such a cut cannot have that.
fn with_keys(cut: Cut, moved: Vec<(Value, u32)>, partitions: u32) -> Option<Cut> {
    Some(match cut {
        Cut::Hash { cols, n, mut pins } if n == partitions && cols.len() == 1 => {
            pins.extend(moved.into_iter().map(|(value, part)| (value.text(), part)));
            Cut::Hash { cols, n, pins }
        }
        Cut::List { col, mut map, default, n } => {
            map.extend(moved.into_iter().map(|(value, part)| (value.text(), part)));
            Cut::List { col, map, default, n: n.max(partitions) }
        }
        other => {
            let column = other.columns().first()?.clone();
            let (cols, _, mut root) = as_tree(other)?;
            let mut by_part: BTreeMap<u32, Vec<Value>> = BTreeMap::new();
            for (value, part) in moved {
                by_part.entry(part).or_default().push(value);
            }
            for (leaf, mut among) in by_part {
                among.sort();
                let (yes, no) = (Box::new(Node::Leaf { leaf }), Box::new(root));
                root = Node::Among { col: column.clone(), among, yes, no };
            }
            Cut::Tree { cols, n: partitions, root }
        }
    })
}

/// A cut as a tree; `None` if it cannot be one.
fn as_tree(cut: Cut) -> Option<(Vec<String>, u32, Node)> {
    match cut {
        Cut::Tree { cols, n, root } => Some((cols, n, root)),
        // The texts of pins may be those of numbers, which a tree would not find.
        Cut::Hash { cols, n, pins } if pins.is_empty() => {
            Some((cols.clone(), n, Node::Spread { hash: cols, n, base: 0 }))
        }
        Cut::Hash { cols, n, pins } if cols.len() == 1 => {
            let mut root = Node::Spread { hash: cols.clone(), n, base: 0 };
            for (text, leaf) in pins {
                let mut among = vec![Value::Text(text.clone())];
                among.extend(text.parse().ok().map(Value::Int));
                let (yes, no) = (Box::new(Node::Leaf { leaf }), Box::new(root));
                root = Node::Among { col: cols[0].clone(), among, yes, no };
            }
            Some((cols, n, root))
        }
        Cut::Range { col, bounds } => {
            let n = u32::try_from(bounds.len()).ok()? + 1;
            let mut root = Node::Leaf { leaf: n - 1 };
            for (leaf, bound) in (0..n - 1).zip(bounds).rev() {
                let (yes, no) = (Box::new(Node::Leaf { leaf }), Box::new(root));
                root = Node::Less { col: col.clone(), lt: bound, yes, no };
            }
            Some((vec![col], n, root))
        }
        Cut::Hash { .. } | Cut::Mod { .. } | Cut::List { .. } => None,
    }
}

/// The design with one key spread over the first partitions by another domain, where tables have such keys.
fn spread(
    schema: &Schema,
    trace: &Trace,
    domains: &Domains,
    design: &Design,
    loads: &Loads,
    (domain, value): (DomainId, ValueId),
    (by, n): (DomainId, u32),
) -> Option<Design> {
    let mut changed = design.clone();
    let mut any = false;
    for table in schema.ids() {
        let (Some((own, key)), Some(further)) = (loads.by[table.0], domains.column(table, by)) else {
            continue;
        };
        if own != domain || further == key {
            continue;
        }
        let name = |key: usize| schema.table(table).keys[key].name.clone();
        let cut = cut_of(&mut changed, schema, table)?;
        let (mut cols, parts, root) = as_tree(cut.clone())?;
        let column = cols.first()?.clone();
        if !cols.contains(&name(further)) {
            cols.push(name(further));
        }
        let among = vec![trace.values.get(value).clone()];
        let yes = Box::new(Node::Spread { hash: vec![name(further)], n: n.min(parts), base: 0 });
        *cut =
            Cut::Tree { cols, n: parts, root: Node::Among { col: column, among, yes, no: Box::new(root) } };
        any = true;
    }
    any.then_some(changed)
}

/// The design with its two coldest partitions in one; `None` if some table's cut cannot have that.
fn merged(schema: &Schema, design: &Design, loads: &Loads) -> Option<Design> {
    if design.partitions < 3 {
        return None;
    }
    let mut order: Vec<usize> = (0..loads.partitions.len()).collect();
    order.sort_by_key(|part| loads.partitions[*part]);
    let (kept, gone) = (order[0].min(order[1]), order[0].max(order[1]));
    if (loads.partitions[kept] + loads.partitions[gone]) as f64 > loads.fair() {
        return None;
    }
    let (kept, gone) = (u32::try_from(kept).ok()?, u32::try_from(gone).ok()?);
    let renamed = |part: u32| match part {
        part if part == gone => kept,
        part if part > gone => part - 1,
        part => part,
    };
    let mut changed = design.clone();
    changed.partitions -= 1;
    for table in schema.ids() {
        if loads.by[table.0].is_none() {
            continue;
        }
        let cut = cut_of(&mut changed, schema, table)?;
        *cut = match cut.clone() {
            Cut::List { col, map, default, n } => {
                let map = map.into_iter().map(|(text, part)| (text, renamed(part))).collect();
                Cut::List { col, map, default: renamed(default), n: n - 1 }
            }
            other @ (Cut::Range { .. } | Cut::Tree { .. }) => {
                let (cols, n, root) = as_tree(other)?;
                Cut::Tree { cols, n: n - 1, root: relabelled(root, &renamed)? }
            }
            Cut::Hash { .. } | Cut::Mod { .. } => return None,
        };
    }
    Some(changed)
}

fn relabelled(node: Node, renamed: &impl Fn(u32) -> u32) -> Option<Node> {
    let below = |node: Box<Node>| relabelled(*node, renamed).map(Box::new);
    Some(match node {
        Node::Leaf { leaf } => Node::Leaf { leaf: renamed(leaf) },
        Node::Less { col, lt, yes, no } => Node::Less { col, lt, yes: below(yes)?, no: below(no)? },
        Node::Among { col, among, yes, no } => Node::Among { col, among, yes: below(yes)?, no: below(no)? },
        Node::Spread { .. } => return None,
    })
}

fn cut_of<'d>(design: &'d mut Design, schema: &Schema, table: TableId) -> Option<&'d mut Cut> {
    match design.tables.get_mut(&schema.table(table).name)? {
        Placement::Partition { levels } => levels.first_mut().map(|level| &mut level.cut),
        Placement::Replicate | Placement::Single => None,
    }
}
