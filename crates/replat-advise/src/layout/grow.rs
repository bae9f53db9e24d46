//! The search for a tree: cuts that save most, tried out to the end, and blocks taken from where they do least good.

use std::cell::OnceCell;
use std::rc::Rc;

use super::ground::{Cut, Ground, Part};
use crate::design::Node;
use crate::search::Dice;

/// What is better by less than this share is not better: it is the noise of sums.
const BETTER_MIN: f64 = 1e-9;

/// How much is searched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// So many first cuts are tried out to the end.
    pub tried: usize,
    /// So often a part of the tree is grown anew from another cut.
    pub rounds: usize,
    /// On so many rows.
    pub rows: usize,
}

/// A block has so many rows of the sample at least, on average.
const ROWS_SAMPLED_MIN: usize = 100;

/// A tree, or a part of one.
#[derive(Clone)]
pub(super) enum Tree {
    Leaf { part: Rc<Part>, best: OnceCell<Option<(f64, Cut)>> },
    Fork { part: Rc<Part>, cut: Cut, cost: f64, leaves: usize, sides: Box<[Tree; 2]> },
}

impl Tree {
    fn leaf(part: Part) -> Tree {
        Tree::Leaf { part: Rc::new(part), best: OnceCell::new() }
    }

    fn fork(part: Rc<Part>, cut: Cut, sides: [Tree; 2]) -> Tree {
        let cost = sides.iter().map(Tree::cost).sum();
        let leaves = sides.iter().map(Tree::leaves).sum();
        Tree::Fork { part, cut, cost, leaves, sides: Box::new(sides) }
    }

    fn part(&self) -> &Rc<Part> {
        match self {
            Tree::Leaf { part, .. } | Tree::Fork { part, .. } => part,
        }
    }

    /// Rows that are read, by all queries with their weights.
    pub fn cost(&self) -> f64 {
        match self {
            Tree::Leaf { part, .. } => part.cost,
            Tree::Fork { cost, .. } => *cost,
        }
    }

    /// How many blocks it makes.
    pub fn leaves(&self) -> usize {
        match self {
            Tree::Leaf { .. } => 1,
            Tree::Fork { leaves, .. } => *leaves,
        }
    }

    /// The tree as it is written down, its leaves numbered from `next`.
    pub fn written(&self, ground: &Ground, next: &mut u32) -> Node {
        match self {
            Tree::Leaf { .. } => {
                *next += 1;
                Node::Leaf { leaf: *next - 1 }
            }
            Tree::Fork { cut, sides, .. } => {
                let yes = sides[0].written(ground, next);
                let no = sides[1].written(ground, next);
                ground.question(cut, yes, no)
            }
        }
    }

    /// What the best cut of a leaf saves; nothing for a fork.
    fn gain(&self, ground: &Ground) -> f64 {
        match self {
            Tree::Leaf { part, best } => best
                .get_or_init(|| ground.cuts(part, 1).into_iter().next())
                .as_ref()
                .map_or(0.0, |(gain, _)| *gain),
            Tree::Fork { .. } => 0.0,
        }
    }

    /// The best leaf below to be cut, by the way to it.
    fn ripest(&self, ground: &Ground) -> (f64, Vec<usize>) {
        match self {
            Tree::Leaf { .. } => (self.gain(ground), Vec::new()),
            Tree::Fork { sides, .. } => {
                let [a, b] = [0, 1].map(|side| {
                    let (gain, mut way) = sides[side].ripest(ground);
                    way.push(side);
                    (gain, way)
                });
                if b.0 > a.0 { b } else { a }
            }
        }
    }

    /// The fork of two leaves that saves least, by the way to it; `None` if this is a leaf.
    fn idlest(&self) -> Option<(f64, Vec<usize>)> {
        let Tree::Fork { part, cost, sides, leaves, .. } = self else { return None };
        if *leaves == 2 {
            return Some((part.cost - cost, Vec::new()));
        }
        (0..2)
            .filter_map(|side| {
                let (saved, mut way) = sides[side].idlest()?;
                way.push(side);
                Some((saved, way))
            })
            .min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Replaces what lies at the end of `way`, whose last step is the first.
    fn with(self, way: &[usize], change: impl FnOnce(Tree) -> Tree) -> Tree {
        let Some((side, rest)) = way.split_last() else { return change(self) };
        let Tree::Fork { part, cut, sides, .. } = self else { unreachable!("a way leads through forks") };
        let [yes, no] = *sides;
        let sides = if *side == 0 { [yes.with(rest, change), no] } else { [yes, no.with(rest, change)] };
        Tree::fork(part, cut, sides)
    }

    fn forks<'t>(&'t self, way: &mut Vec<usize>, all: &mut Vec<(Vec<usize>, &'t Tree)>) {
        if let Tree::Fork { sides, .. } = self {
            all.push((way.iter().rev().copied().collect(), self));
            for (number, side) in sides.iter().enumerate() {
                way.push(number);
                side.forks(way, all);
                way.pop();
            }
        }
    }

    fn cut_ripest(self, ground: &Ground, way: &[usize]) -> Tree {
        self.with(way, |leaf| match leaf {
            Tree::Leaf { part, best } => match best.into_inner().flatten() {
                Some((_, cut)) => {
                    let sides = ground.split(&part, &cut).map(Tree::leaf);
                    Tree::fork(part, cut, sides)
                }
                None => Tree::leaf(Part::clone(&part)),
            },
            fork @ Tree::Fork { .. } => fork,
        })
    }

    /// Cuts the leaf where a cut saves most, until there are so many.
    fn grown(mut self, ground: &Ground, leaves: usize) -> Tree {
        while self.leaves() < leaves {
            let (gain, way) = self.ripest(ground);
            if gain <= 0.0 {
                break;
            }
            self = self.cut_ripest(ground, &way);
        }
        self
    }
}

/// A tree of at most so many leaves. It is searched for on a sample of the rows, and finished on all of them.
pub(super) fn tree(ground: &mut Ground, leaves: usize, effort: Effort) -> Tree {
    let rows_min = ground.rows_min;
    let (each, sample) = ground.sample(effort.rows.max(leaves * ROWS_SAMPLED_MIN));
    ground.rows_min = rows_min.div_ceil(each);
    let root = Tree::leaf(sample).grown(ground, leaves);
    let mut best = tried_out(ground, root, effort.tried);
    let mut dice = Dice(0x7ee5);
    for _ in 0..effort.rounds {
        let Some((way, grown)) = regrown(ground, &best, &mut dice) else { break };
        best = best.with(&way, |_| grown);
        best = evened(ground, best);
    }
    ground.rows_min = rows_min;
    let whole = ground.whole();
    let best = again(ground, whole, &best).grown(ground, leaves);
    evened(ground, best)
}

/// The same cuts of other rows, but for those that would leave too few on a side.
fn again(ground: &Ground, part: Part, tree: &Tree) -> Tree {
    let Tree::Fork { cut, sides, .. } = tree else { return Tree::leaf(part) };
    let parts = ground.split(&part, cut);
    if parts.iter().any(|side| side.rows.len() < ground.rows_min) {
        return Tree::leaf(part);
    }
    let [yes, no] = parts;
    Tree::fork(Rc::new(part), cut.clone(), [again(ground, yes, &sides[0]), again(ground, no, &sides[1])])
}

/// Tries several first cuts out to the end, takes the best, and does the same below it.
fn tried_out(ground: &Ground, tree: Tree, tried: usize) -> Tree {
    let leaves = tree.leaves();
    if leaves < 3 || tried < 2 {
        return tree;
    }
    let part = tree.part().clone();
    let mut best = tree;
    for (_, cut) in ground.cuts(&part, 2).into_iter().take(tried) {
        if matches!(&best, Tree::Fork { cut: own, .. } if *own == cut) {
            continue;
        }
        let sides = ground.split(&part, &cut).map(Tree::leaf);
        let grown = Tree::fork(part.clone(), cut, sides).grown(ground, leaves);
        if grown.cost() < best.cost() * (1.0 - BETTER_MIN) {
            best = grown;
        }
    }
    match best {
        Tree::Fork { part, cut, sides, .. } => {
            let sides = sides.map(|side| tried_out(ground, side, tried));
            Tree::fork(part, cut, sides)
        }
        leaf @ Tree::Leaf { .. } => leaf,
    }
}

/// A part of a tree, grown from another cut; where it is, and what comes there: what was there, if that is better.
fn regrown(ground: &Ground, tree: &Tree, dice: &mut Dice) -> Option<(Vec<usize>, Tree)> {
    let mut forks = Vec::new();
    tree.forks(&mut Vec::new(), &mut forks);
    forks.retain(|(_, fork)| fork.leaves() > 2);
    if forks.is_empty() {
        return None;
    }
    let (way, fork) = forks.swap_remove(dice.below(forks.len() as u64) as usize);
    let part = fork.part();
    let cuts = ground.cuts(part, 3);
    let cut = cuts.get(dice.below(cuts.len().min(16) as u64) as usize).map(|(_, cut)| cut.clone());
    let Some(cut) = cut else { return Some((way, fork.clone())) };
    let sides = ground.split(part, &cut).map(Tree::leaf);
    let grown = Tree::fork(part.clone(), cut, sides).grown(ground, fork.leaves());
    let better = grown.cost() < fork.cost() * (1.0 - BETTER_MIN);
    Some((way, if better { grown } else { fork.clone() }))
}

/// Takes blocks from where they save least to where they save most.
fn evened(ground: &Ground, mut tree: Tree) -> Tree {
    let leaves = tree.leaves();
    for _ in 0..leaves {
        let (gain, _) = tree.ripest(ground);
        let Some((loss, way)) = tree.idlest() else { break };
        if gain <= loss * (1.0 + BETTER_MIN) + BETTER_MIN {
            break;
        }
        tree = tree.with(&way, |fork| Tree::leaf(Part::clone(fork.part())));
        let (_, way) = tree.ripest(ground);
        tree = tree.cut_ripest(ground, &way);
    }
    tree
}
