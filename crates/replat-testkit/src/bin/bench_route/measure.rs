//! Measures one map.

use std::alloc::System;
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use replat_model::ids::{Home, PartitionId};
use replat_model::key::KeyValue;
use replat_model::map::{Leaf, Map};
use replat_testkit::random::Random;
use stats_alloc::{Region, StatsAlloc};

use crate::figures::{Case, median};
use crate::shape::Shape;

/// Lookups of one round. So many that a clock's tick does not count, and that a big map does not stay in a cache.
const LOOKUPS: usize = 1 << 16;
/// Changes of each kind, each on top of the last.
const CHANGES: usize = 1_000;

type Failure = Box<dyn Error + Send + Sync>;

/// Measures a map of this shape with so many leaves.
pub fn case(
    shape: Shape,
    leaves: usize,
    rounds: u32,
    allocator: &'static StatsAlloc<System>,
) -> Result<Case, Failure> {
    let mut figures = BTreeMap::new();
    let tree = shape.tree(leaves);
    let (built, build) = timed(|| Map::build("bench", shape.dimensions(), Some(&tree), home("blue")));
    let built = built?;
    drop(tree);
    figures.insert("build ms", build / 1e6);

    let (text, write) = timed(|| serde_json::to_string(&built));
    let text = text?;
    figures.insert("write ms", write / 1e6);
    figures.insert("document B/leaf", text.len() as f64 / leaves as f64);
    // What was read is what a router has, and nothing of how it came about is left beside it.
    let region = Region::new(allocator);
    let (map, read) = timed(|| serde_json::from_str::<Map>(&text));
    let map = map?;
    let change = region.change();
    figures.insert("read ms", read / 1e6);
    figures.insert("memory B/leaf", held(&change) / leaves as f64);
    figures.insert(
        "allocations /leaf",
        (change.allocations as f64 - change.deallocations as f64) / leaves as f64,
    );
    if map != built || map.leaves().count() != leaves {
        return Err("the map that was read is not the one that was written".into());
    }
    drop(built);
    drop(text);

    lookups(shape, &map, leaves, rounds, allocator, &mut figures)?;
    switches(&map, allocator, &mut figures)?;
    carve(shape, &map, leaves, allocator, &mut figures)?;
    Ok(Case { shape, leaves, figures })
}

fn home(database: &str) -> Home {
    Home { database: database.into(), schema: "public".into() }
}

/// Bytes that were asked for and not given back. What the allocator adds to each is not in them.
fn held(change: &stats_alloc::Stats) -> f64 {
    change.bytes_allocated as f64 - change.bytes_deallocated as f64
}

/// Unit: nanoseconds.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed().as_nanos() as f64)
}

/// Unit: nanoseconds for each of so many, on average: each is too short for a clock.
fn each<T, R>(of: &[T], mut work: impl FnMut(&T) -> R) -> f64 {
    let all = || {
        for one in of {
            black_box(work(one));
        }
    };
    timed(all).1 / of.len() as f64
}

/// Unit: nanoseconds. The middle one, so that it does not count when the allocator tidies up in one of them.
fn middle<T, R>(of: &[T], mut work: impl FnMut(&T) -> R) -> f64 {
    median(of.iter().map(|one| timed(|| black_box(work(one))).1).collect())
}

fn lookups(
    shape: Shape,
    map: &Map,
    leaves: usize,
    rounds: u32,
    allocator: &'static StatsAlloc<System>,
    figures: &mut BTreeMap<&'static str, f64>,
) -> Result<(), Failure> {
    let mut random = Random::new(leaves as u64);
    let chosen: Vec<usize> = (0..LOOKUPS).map(|_| below(&mut random, leaves)).collect();
    let keys: Vec<Vec<KeyValue>> = chosen.iter().map(|n| shape.key(*n)).collect();
    let flat: Vec<KeyValue> = chosen.iter().map(|n| shape.flat_key(*n)).collect();
    let names: Vec<PartitionId> = {
        let all: Vec<&Leaf> = map.leaves().collect();
        chosen.iter().map(|n| all[*n].partition.as_str().parse()).collect::<Result<_, _>>()?
    };
    // As many leaves as there are at most, for each shape and size.
    let parts: Vec<Vec<Option<KeyValue>>> =
        chosen.iter().take((LOOKUPS / leaves).clamp(1, 1_000)).map(|n| shape.part(*n)).collect();

    let pairs = || (0..leaves).map(|n| (shape.flat_key(n), u32::try_from(n).expect("few leaves")));
    let region = Region::new(allocator);
    let mut vector: Vec<(KeyValue, u32)> = Vec::with_capacity(leaves);
    vector.extend(pairs());
    vector.sort_unstable();
    figures.insert("sorted vector B/key", held(&region.change()) / leaves as f64);
    let region = Region::new(allocator);
    let hashed: HashMap<KeyValue, u32> = pairs().collect();
    figures.insert("hash map B/key", held(&region.change()) / leaves as f64);

    let mut measured: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        let mut note = |what, ns| measured.entry(what).or_default().push(ns);
        note("lookup ns", each(&keys, |key| map.lookup(key).map(|leaf| leaf.epoch)));
        let search = |key: &KeyValue| vector.binary_search_by(|(k, _)| k.cmp(key)).map(|at| vector[at].1);
        note("sorted vector ns", each(&flat, search));
        note("hash map ns", each(&flat, |key| hashed.get(key).copied()));
        note("by name ns", each(&names, |name| map.leaf(name).map(|leaf| leaf.epoch)));
        let mut found = 0;
        let (_, partial) = timed(|| {
            for part in &parts {
                found += map.lookup_partial(part).map_or(0, |leaves| black_box(leaves).len());
            }
        });
        note("partial ns/leaf", partial / found as f64);
    }
    figures.extend(measured.into_iter().map(|(what, ns)| (what, median(ns))));
    let lookup = figures["lookup ns"];
    figures.insert("lookup / sorted vector", lookup / figures["sorted vector ns"]);
    figures.insert("lookup / hash map", lookup / figures["hash map ns"]);
    Ok(())
}

fn below(random: &mut Random, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).expect("it is below a usize")
}

/// One partition after the other gets a new home, each in the next version; the one before is let go.
fn switches(
    map: &Map,
    allocator: &'static StatsAlloc<System>,
    figures: &mut BTreeMap<&'static str, f64>,
) -> Result<(), Failure> {
    let mut random = Random::new(7);
    let all: Vec<&Leaf> = map.leaves().collect();
    let chosen: Vec<PartitionId> =
        (0..CHANGES).map(|_| all[below(&mut random, all.len())].partition.clone()).collect();
    drop(all);
    let green = Arc::new(home("green"));
    let after = |now: &Map, name: &PartitionId| {
        let epoch = now.leaf(name)?.epoch.next();
        now.with_home(name, green.clone(), epoch)
    };
    let mut now = map.clone();
    let region = Region::new(allocator);
    let switch = middle(&chosen, |name| now = after(&now, name).expect("the epoch is higher"));
    figures.insert("switch us", switch / 1e3);
    figures.insert("switch B", region.change().bytes_allocated as f64 / CHANGES as f64);

    let ends = chosen.iter().map(|name| after(map, name)).collect::<Option<Vec<Map>>>();
    let ends = ends.ok_or("a switch was refused")?;
    let mut deltas = Vec::with_capacity(CHANGES);
    let delta = middle(&ends, |end| deltas.push(map.delta(end).expect("a later version")));
    figures.insert("delta us", delta / 1e3);
    let sizes = deltas.iter().map(|delta| serde_json::to_string(delta).map(|text| text.len() as f64));
    figures.insert("delta B", median(sizes.collect::<Result<_, _>>()?));
    let mut arrived = Vec::with_capacity(CHANGES);
    let apply = middle(&deltas, |delta| arrived.push(map.apply(delta)));
    figures.insert("apply us", apply / 1e3);
    match arrived.iter().zip(&ends).all(|(arrived, end)| arrived.as_ref() == Ok(end)) {
        true => Ok(()),
        false => Err("a delta did not lead where it should".into()),
    }
}

/// One selection after the other is cut out.
fn carve(
    shape: Shape,
    map: &Map,
    leaves: usize,
    allocator: &'static StatsAlloc<System>,
    figures: &mut BTreeMap<&'static str, f64>,
) -> Result<(), Failure> {
    // Of a map with few ranges, each is cut once.
    let count = if shape == Shape::Range { CHANGES.min(leaves) } else { CHANGES };
    let selections: Vec<_> = (0..count).map(|n| shape.selection(n, leaves)).collect();
    let (mut now, mut refused) = (map.clone(), None);
    let region = Region::new(allocator);
    let carve = middle(&selections, |selection| match now.carve(selection) {
        Ok((after, _)) => now = after,
        Err(why) => refused = Some(why),
    });
    figures.insert("carve us", carve / 1e3);
    figures.insert("carve B", region.change().bytes_allocated as f64 / count as f64);
    refused.map_or(Ok(()), |why| Err(why.into()))
}
