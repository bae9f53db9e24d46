//! A world in which every unit succeeds: what a database would look like afterwards.

use replat_model::lifecycle::facts::{
    Bound, Edge, Facts, Key, Level, LooseState, Origin, Part, SetFacts, Strays, TableName,
};
use replat_model::lifecycle::plan::{NewLevel, NewPart, RotatePlan, Unit, Work};

use super::world::*;

/// `facts` after `plan`.
pub fn after(facts: &Facts, plan: &RotatePlan) -> Facts {
    let mut world = facts.clone();
    for unit in &plan.units {
        apply(&mut world, unit);
    }
    for set in &mut world.sets {
        sort(&mut set.level);
    }
    world
}

fn apply(world: &mut Facts, unit: &Unit) {
    let now = world.vitals.now;
    match &unit.work {
        Work::Reap { tables, .. } => world.loose.retain(|loose| !tables.contains(&loose.table)),
        Work::Archive { table, folder, .. } => {
            let loose = world.loose.iter_mut().find(|loose| loose.table == *table).expect("it is loose");
            loose.archive = Some((format!("{folder}/{}", table.name), "digest".into()));
        }
        Work::Drop { table, .. } => {
            let before = world.loose.len();
            world.loose.retain(|loose| loose.table != *table);
            assert_eq!(world.loose.len() + 1, before, "{table} was loose");
        }
        work => {
            let set = world.sets.iter_mut().find(|set| set.id == unit.set_id).expect("the set is there");
            let gone = in_set(set, work, now);
            for (part, parent, drop_after, archive) in gone {
                let mut kept = loose(&set.table.name, &part.table.name, part.bound, LooseState::Detached);
                (kept.parent, kept.since, kept.id) = (parent, now, part.id);
                (kept.drop_after, kept.origin) = (drop_after, part.origin);
                kept.archive = archive.map(|folder| (folder, "digest".into()));
                world.loose.push(kept);
            }
        }
    }
}

type Gone = (Part, TableName, Option<i64>, Option<String>);

/// What `work` does to a set, and what it leaves beside it.
fn in_set(set: &mut SetFacts, work: &Work, now: i64) -> Vec<Gone> {
    let of = set.columns.clone();
    match work {
        Work::Create { parent, parts, default, edge } => {
            let level = find(set, parent);
            assert_eq!(level.default().map(|part| &part.table), default.as_ref(), "its default partition");
            if let Some(edge) = edge {
                let part = level.parts.iter_mut().find(|part| part.table == edge.table).expect("the edge");
                let Bound::Range { from, to } = &mut part.bound else { panic!("an edge is a range") };
                assert_eq!((part.empty, &*from), (Some(true), &edge.from));
                assert!(to.contains(&Edge::Max));
                *from = edge.to.clone();
            }
            attach(level, parts, &of, now);
            Vec::new()
        }
        Work::Drain { parent, default, parts } => {
            let level = find(set, parent);
            attach(level, parts, &of, now);
            let bounds: Vec<Bound> = parts.iter().map(|part| part.bound.clone()).collect();
            let default = level.parts.iter_mut().find(|part| part.table == *default).expect("the default");
            let strays = default.strays.as_mut().expect("it was looked at");
            strays.values.retain(|(value, _)| !bounds.iter().any(|bound| holds(bound, value)));
            assert!(!strays.more, "only exact strays are drained here");
            *strays = exactly(
                &strays.values.iter().map(|(value, rows)| (value.as_str(), *rows)).collect::<Vec<_>>(),
            );
            default.empty = Some(strays.rows == 0);
            Vec::new()
        }
        Work::Overflow { parent, old, new } => {
            let level = find(set, parent);
            for (table, id, bound) in old {
                let part = level.parts.iter().find(|part| part.table == *table).expect("it is there");
                assert!(part.id == *id && part.bound == *bound);
                assert!(part.empty == Some(true), "{table} is empty");
            }
            level.parts.retain(|part| !old.iter().any(|(table, ..)| part.table == *table));
            attach(level, new, &of, now);
            Vec::new()
        }
        Work::Recut { parent, old, new } => {
            let level = find(set, parent);
            level.parts.retain(|part| !old.iter().any(|(table, ..)| part.table == *table));
            attach(level, new, &of, now);
            Vec::new()
        }
        Work::Retire { parent, part, part_id, bound, drop_after, archive, .. } => {
            let gone = detach(find(set, parent), part);
            assert!(gone.id == *part_id && gone.bound == *bound);
            assert_ne!(gone.origin, Origin::Foreign, "what others made is never retired");
            assert!(!gone.legal_hold && gone.referenced != Some(true));
            vec![(gone, parent.clone(), *drop_after, archive.clone())]
        }
        Work::Finalize { parent, part, .. } => {
            let gone = detach(find(set, parent), part);
            assert!(gone.detach_pending);
            vec![(gone, parent.clone(), None, None)]
        }
        Work::Adopt { parts } => {
            for (table, id) in parts {
                let part = find_part(&mut set.level, table).expect("it is there");
                assert_eq!(part.id, *id);
                part.origin = Origin::Adopted;
            }
            Vec::new()
        }
        other => panic!("not of this plan: {other:?}"),
    }
}

fn detach(level: &mut Level, part: &TableName) -> Part {
    let at = level.parts.iter().position(|there| there.table == *part).expect("it is attached");
    level.parts.remove(at)
}

fn attach(level: &mut Level, new: &[NewPart], of: &std::collections::BTreeMap<String, String>, now: i64) {
    for new in new {
        for there in &level.parts {
            assert_ne!(there.table, new.table, "a name twice");
            assert!(
                !overlap(&there.bound, &new.bound),
                "{} overlaps {}",
                short(&there.bound),
                short(&new.bound)
            );
        }
        level.parts.push(made(new, of, now));
    }
}

fn made(new: &NewPart, of: &std::collections::BTreeMap<String, String>, now: i64) -> Part {
    let strays = (new.bound == Bound::Default).then(Strays::default);
    assert!(new.table.name.len() <= 63, "{}", new.table.name);
    Part {
        table: new.table.clone(),
        rows: Some(0),
        bytes: Some(0),
        empty: Some(true),
        since: Some(now),
        strays,
        below: new.below.as_ref().map(|level| below(level, of, now)),
        ..part(&new.table.name, new.bound.clone())
    }
}

fn below(new: &NewLevel, of: &std::collections::BTreeMap<String, String>, now: i64) -> Level {
    let keys: Vec<Key> = new
        .keys
        .iter()
        .map(|text| {
            let column = text.trim_matches('"');
            key(column, of.get(column).map_or("text", String::as_str))
        })
        .collect();
    let mut made_level = level(new.method, &keys, Vec::new());
    attach(&mut made_level, &new.parts, of, now);
    sort(&mut made_level);
    made_level
}

fn find<'a>(set: &'a mut SetFacts, parent: &TableName) -> &'a mut Level {
    if set.table == *parent {
        return &mut set.level;
    }
    find_part(&mut set.level, parent).expect("the parent is there").below.as_mut().expect("it has partitions")
}

fn find_part<'a>(level: &'a mut Level, table: &TableName) -> Option<&'a mut Part> {
    for part in &mut level.parts {
        if part.table == *table {
            return Some(part);
        }
        if let Some(below) = &mut part.below
            && let Some(found) = find_part(below, table)
        {
            return Some(found);
        }
    }
    None
}

/// As a look gives them: ranges ascending, the default last.
pub fn sort(level: &mut Level) {
    let rank = |part: &Part| match &part.bound {
        Bound::Range { from, .. } => (0, from.iter().map(place).collect::<Vec<_>>(), String::new()),
        Bound::List(_) => (0, Vec::new(), short(&part.bound)),
        Bound::Hash { modulus, remainder } => (
            0,
            vec![(0, i128::from(*modulus), String::new()), (0, i128::from(*remainder), String::new())],
            String::new(),
        ),
        Bound::Default => (1, Vec::new(), String::new()),
    };
    level.parts.sort_by_key(rank);
    for part in &mut level.parts {
        if let Some(below) = &mut part.below {
            sort(below);
        }
    }
}

/// Numbers by value, everything else by its text, which is in the order of times.
fn place(edge: &Edge) -> (i8, i128, String) {
    match edge {
        Edge::Min => (-1, 0, String::new()),
        Edge::Max => (1, 0, String::new()),
        Edge::At(text) => match text.parse() {
            Ok(number) => (0, number, String::new()),
            Err(_) => (0, 0, text.clone()),
        },
    }
}

fn overlap(one: &Bound, other: &Bound) -> bool {
    let places = |edges: &[Edge]| edges.iter().map(place).collect::<Vec<_>>();
    match (one, other) {
        (Bound::Range { from: a, to: b }, Bound::Range { from: c, to: d }) => {
            places(a) < places(d) && places(c) < places(b)
        }
        (Bound::List(one), Bound::List(other)) => one.iter().any(|value| other.contains(value)),
        (Bound::Hash { modulus: a, remainder: r }, Bound::Hash { modulus: b, remainder: s }) => {
            let least = a.min(b);
            r % least == s % least
        }
        (Bound::Default, Bound::Default) => true,
        _ => false,
    }
}

pub fn holds(bound: &Bound, value: &str) -> bool {
    match bound {
        Bound::Range { from, to } => {
            let at = place(&Edge::At(value.into()));
            place(&from[0]) <= at && at < place(&to[0])
        }
        Bound::List(values) => values.iter().any(|held| held.as_deref() == Some(value)),
        Bound::Hash { .. } | Bound::Default => false,
    }
}
