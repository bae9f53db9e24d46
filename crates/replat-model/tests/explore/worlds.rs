//! All worlds that can be reached, breadth first, and the story of how each was reached.

use std::collections::VecDeque;

use crate::fingerprint::{ByFingerprint, fingerprint};
use crate::moves::{Deed, moves};
use crate::rules::{Bounds, Flaw, Rules};
use crate::world::World;

/// What an exploration came to.
pub struct Explored {
    /// Worlds visited.
    pub worlds: usize,
    /// Moves between them.
    pub moves: usize,
    /// Worlds from which a move was left out because they would have grown too large.
    pub cut: usize,
    /// The shortest way to break a promise, if there is one.
    pub violation: Option<Violation>,
}

/// A broken promise.
pub struct Violation {
    /// Which.
    pub promise: String,
    /// What happened, a line each.
    pub story: String,
}

/// Visits every world within `bounds` until a promise is broken.
pub fn explore(bounds: Bounds, flaw: Option<Flaw>) -> Explored {
    let (mut rules, history) = Rules::new(bounds, flaw);
    let start = World::prepared(history);
    let mut worlds = Worlds::default();
    let mut queue = VecDeque::from([start]);
    worlds.add(&start, 0);
    let mut broken = None;
    while let Some(world) = queue.pop_front()
        && broken.is_none()
    {
        broken = worlds.visit(&world, &mut queue, &mut rules);
    }
    let violation = broken.or_else(|| worlds.without_a_way_out(bounds.runners));
    Explored {
        worlds: worlds.parents.len(),
        moves: worlds.moves.len(),
        cut: worlds.cut,
        violation: violation.map(|broken| worlds.tell(&broken, start, &mut rules)),
    }
}

/// Where a promise was broken, and by which move, if by one.
struct Broken {
    promise: String,
    world: u32,
    by: Option<Deed>,
}

/// A world is remembered by its fingerprint alone; the story finds the worlds again by going the way once more.
#[derive(Default)]
struct Worlds {
    numbers: ByFingerprint<u32>,
    parents: Vec<u32>,
    /// For each world, in the order of their numbers, where its moves begin in `moves`.
    begins: Vec<usize>,
    /// Where each move leads, and which runners get further by it.
    moves: Vec<(u32, u8)>,
    /// Worlds that need no way out: clients can write, or the bounds hide what comes next.
    out: Vec<bool>,
    cut: usize,
}

impl Worlds {
    /// The world's number, and whether it was not known.
    fn add(&mut self, world: &World, parent: u32) -> (u32, bool) {
        let next = u32::try_from(self.parents.len()).expect("fewer than 2^32 worlds");
        let number = *self.numbers.entry(fingerprint(world)).or_insert(next);
        if number == next {
            self.parents.push(parent);
        }
        (number, number == next)
    }

    /// Looks at the world that was added first and not yet visited, and queues those that it leads to.
    fn visit(&mut self, world: &World, queue: &mut VecDeque<World>, rules: &mut Rules) -> Option<Broken> {
        let here = u32::try_from(self.begins.len()).expect("fewer than 2^32 worlds");
        if let Some(promise) = world.broken_promise(rules) {
            return Some(Broken { promise, world: here, by: None });
        }
        let next = moves(world, rules);
        self.cut += usize::from(next.is_cut);
        self.out.push(next.is_cut || world.is_settled(rules));
        self.begins.push(self.moves.len());
        for (deed, after) in next.moves {
            let after = match after {
                Ok(after) => after,
                Err(promise) => return Some(Broken { promise, world: here, by: Some(deed) }),
            };
            let (there, is_new) = self.add(&after, here);
            self.moves.push((there, deed.progress()));
            if is_new {
                queue.push_back(after);
            }
        }
        None
    }

    /// A world in which clients cannot write, and from which one of the runners, left alone, does not help them.
    fn without_a_way_out(&self, runners: usize) -> Option<Broken> {
        (0..runners).find_map(|runner| {
            let stuck = self.leads_out(1 << runner).iter().position(|out| !out)?;
            let promise = format!("clients are held for ever if {} is left alone", ["A", "B"][runner]);
            Some(Broken { promise, world: u32::try_from(stuck).ok()?, by: None })
        })
    }

    /// Which worlds lead out by moves of these runners: the moves, walked backwards from where clients can write.
    fn leads_out(&self, runners: u8) -> Vec<bool> {
        let back = Backwards::of(self, runners);
        let mut out = self.out.clone();
        let mut queue: Vec<usize> = (0..out.len()).filter(|world| out[*world]).collect();
        while let Some(world) = queue.pop() {
            for before in back.before(world) {
                let before = *before as usize;
                if !std::mem::replace(&mut out[before], true) {
                    queue.push(before);
                }
            }
        }
        out
    }

    fn tell(&self, broken: &Broken, start: World, rules: &mut Rules) -> Violation {
        let mut way = vec![broken.world];
        while let Some(world) = way.last().copied().filter(|world| *world != 0) {
            way.push(self.parents[world as usize]);
        }
        let mut world = start;
        let mut lines = Vec::new();
        for next in way.iter().rev().skip(1) {
            let (deed, after) = self.step(&world, *next, rules);
            lines.push(deed.told(rules));
            world = after;
        }
        lines.extend(broken.by.map(|deed| deed.told(rules)));
        let lines: Vec<String> =
            lines.iter().enumerate().map(|(at, line)| format!("{:3}  {line}", at + 1)).collect();
        Violation { promise: broken.promise.clone(), story: lines.join("\n") }
    }

    fn step(&self, world: &World, to: u32, rules: &mut Rules) -> (Deed, World) {
        let all = moves(world, rules).moves.into_iter();
        all.filter_map(|(deed, after)| Some((deed, after.ok()?)))
            .find(|(_, after)| self.numbers.get(&fingerprint(after)) == Some(&to))
            .expect("a world that was reached can be reached again")
    }
}

/// The moves of some runners, by where they lead.
struct Backwards {
    begins: Vec<usize>,
    sources: Vec<u32>,
}

impl Backwards {
    fn of(worlds: &Worlds, runners: u8) -> Backwards {
        let mut begins = vec![0; worlds.begins.len() + 1];
        for (to, _) in worlds.moves.iter().filter(|(_, progress)| progress & runners != 0) {
            begins[*to as usize + 1] += 1;
        }
        for world in 1..begins.len() {
            begins[world] += begins[world - 1];
        }
        let mut free = begins.clone();
        let mut sources = vec![0; *begins.last().expect("there is a start")];
        for world in 0..worlds.begins.len() {
            let end = worlds.begins.get(world + 1).copied().unwrap_or(worlds.moves.len());
            for (to, progress) in &worlds.moves[worlds.begins[world]..end] {
                if progress & runners != 0 {
                    let place = &mut free[*to as usize];
                    sources[*place] = u32::try_from(world).expect("fewer than 2^32 worlds");
                    *place += 1;
                }
            }
        }
        Backwards { begins, sources }
    }

    fn before(&self, world: usize) -> &[u32] {
        &self.sources[self.begins[world]..self.begins[world + 1]]
    }
}
