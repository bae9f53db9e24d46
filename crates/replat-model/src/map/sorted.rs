//! Pairs in the order of their keys, in chunks that versions share: a B+ tree.
//!
//! A change copies the chunks on its path and shares all others. The least key below a branch is kept beside it,
//! so that a search touches one chunk of each level.

use std::cmp::Ordering;
use std::slice;
use std::sync::Arc;

use super::slots::with;

/// The most entries of a chunk.
const WIDTH: usize = 64;

/// A map in the order of its keys.
#[derive(Clone, Debug)]
pub(super) struct Sorted<K, V> {
    len: usize,
    root: Chunk<K, V>,
}

#[derive(Clone, Debug)]
enum Chunk<K, V> {
    Pairs(Arc<[(K, V)]>),
    /// Chunks of one height, each after its least key. Never empty.
    Inner(Arc<[(K, Chunk<K, V>)]>),
}

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Sorted<K, V> {
        Sorted { len: 0, root: Chunk::Pairs(Arc::new([])) }
    }
}

impl<K: Ord, V> Sorted<K, V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let (found, value) = self.at_or_below(key)?;
        (found == key).then_some(value)
    }

    /// The pair with the greatest key that is not above this one.
    pub(super) fn at_or_below(&self, key: &K) -> Option<&(K, V)> {
        let mut chunk = &self.root;
        loop {
            match chunk {
                Chunk::Pairs(pairs) => return pairs[..count_up_to(pairs, key)].last(),
                Chunk::Inner(below) => chunk = &below[..count_up_to(below, key)].last()?.1,
            }
        }
    }

    pub(super) fn iter(&self) -> Iter<'_, K, V> {
        Iter { above: Vec::new(), next: Some(&self.root), pairs: [].iter() }
    }

    /// The pairs from this key on, itself included.
    pub(super) fn from(&self, key: &K) -> Iter<'_, K, V> {
        let (mut chunk, mut above) = (&self.root, Vec::new());
        loop {
            match chunk {
                Chunk::Pairs(pairs) => {
                    let at = pairs.partition_point(|(k, _)| k < key);
                    return Iter { above, next: None, pairs: pairs[at..].iter() };
                }
                Chunk::Inner(below) => {
                    let at = count_up_to(below, key).saturating_sub(1);
                    above.push(below[at + 1..].iter());
                    chunk = &below[at].1;
                }
            }
        }
    }

    /// The pairs that only this one has, and those that only the other has. Chunks that are shared are passed over.
    pub(super) fn difference<'a>(&'a self, other: &'a Sorted<K, V>) -> Difference<'a, K, V>
    where
        V: PartialEq,
    {
        let (mut left, mut right) = (vec![&self.root], vec![&other.root]);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        while let Some(ahead) = further_back(&mut left, &mut right) {
            match ahead {
                Ahead::Both => {}
                Ahead::Left(Chunk::Pairs(pairs)) => ours.extend(pairs.iter()),
                Ahead::Right(Chunk::Pairs(pairs)) => theirs.extend(pairs.iter()),
                Ahead::Left(Chunk::Inner(below)) => left.extend(below.iter().rev().map(|(_, chunk)| chunk)),
                Ahead::Right(Chunk::Inner(below)) => right.extend(below.iter().rev().map(|(_, chunk)| chunk)),
            }
        }
        without_common(ours, theirs)
    }
}

/// What each of two has alone, in order.
pub(super) type Difference<'a, K, V> = (Vec<&'a (K, V)>, Vec<&'a (K, V)>);

enum Ahead<'a, K, V> {
    /// One chunk of both: nothing to be seen.
    Both,
    Left(&'a Chunk<K, V>),
    Right(&'a Chunk<K, V>),
}

/// Takes what is next to be looked at: the side that begins earlier, and of two that begin together the taller,
/// so that what is shared comes up on both sides at once.
fn further_back<'a, K: Ord, V>(
    left: &mut Vec<&'a Chunk<K, V>>,
    right: &mut Vec<&'a Chunk<K, V>>,
) -> Option<Ahead<'a, K, V>> {
    let (a, b) = match (left.last(), right.last()) {
        (Some(a), Some(b)) => (*a, *b),
        (Some(_), None) => return left.pop().map(Ahead::Left),
        (None, _) => return right.pop().map(Ahead::Right),
    };
    if a.is(b) {
        left.pop();
        right.pop();
        return Some(Ahead::Both);
    }
    match a.least().cmp(&b.least()).then(b.height().cmp(&a.height())) {
        Ordering::Greater => right.pop().map(Ahead::Right),
        _ => left.pop().map(Ahead::Left),
    }
}

/// Both in order; what is in both goes.
fn without_common<'a, K: Ord, V: PartialEq>(
    ours: Vec<&'a (K, V)>,
    theirs: Vec<&'a (K, V)>,
) -> Difference<'a, K, V> {
    let (mut ours, mut theirs) = (ours.into_iter().peekable(), theirs.into_iter().peekable());
    let mut difference = (Vec::new(), Vec::new());
    loop {
        match (ours.peek(), theirs.peek()) {
            (Some(a), Some(b)) if a == b => {
                ours.next();
                theirs.next();
            }
            (Some(a), Some(b)) if a.0 <= b.0 => difference.0.extend(ours.next()),
            (Some(_), None) => difference.0.extend(ours.next()),
            (_, Some(_)) => difference.1.extend(theirs.next()),
            (None, None) => return difference,
        }
    }
}

impl<K: Ord + Clone, V: Clone> Sorted<K, V> {
    /// Of pairs in ascending order, no key twice.
    pub(super) fn of_ascending(pairs: Vec<(K, V)>) -> Sorted<K, V> {
        debug_assert!(pairs.is_sorted_by(|a, b| a.0 < b.0), "keys ascend");
        let len = pairs.len();
        let mut pairs = pairs.into_iter();
        let mut level = Vec::with_capacity(len / WIDTH + 1);
        while pairs.len() > 0 {
            level.push(Chunk::Pairs(pairs.by_ref().take(WIDTH).collect()).after_least());
        }
        while level.len() > 1 {
            let mut below = level.into_iter();
            level = Vec::with_capacity(below.len() / WIDTH + 1);
            while below.len() > 0 {
                level.push(Chunk::Inner(below.by_ref().take(WIDTH).collect()).after_least());
            }
        }
        level.pop().map_or_else(Sorted::default, |(_, root)| Sorted { len, root })
    }

    /// Adds a pair, and gives the value that the key had before.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.get(&key).cloned();
        let (root, beside) = self.root.with(key, value);
        self.root = match beside {
            Some(beside) => Chunk::Inner(Arc::new([root.after_least(), beside.after_least()])),
            None => root,
        };
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes a pair away, if it is there.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let before = self.get(key).cloned()?;
        self.root = self.root.without(key).unwrap_or_else(|| Chunk::Pairs(Arc::new([])));
        while let Chunk::Inner(below) = &self.root
            && let [(_, only)] = &**below
        {
            self.root = only.clone();
        }
        self.len -= 1;
        Some(before)
    }
}

impl<K: Ord, V: PartialEq> PartialEq for Sorted<K, V> {
    fn eq(&self, other: &Sorted<K, V>) -> bool {
        self.len == other.len && {
            let (ours, theirs) = self.difference(other);
            ours.is_empty() && theirs.is_empty()
        }
    }
}

impl<K: Ord, V: Eq> Eq for Sorted<K, V> {}

impl<K: Ord, V> Chunk<K, V> {
    fn is(&self, other: &Chunk<K, V>) -> bool {
        match (self, other) {
            (Chunk::Pairs(a), Chunk::Pairs(b)) => Arc::ptr_eq(a, b),
            (Chunk::Inner(a), Chunk::Inner(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// `None` only for the chunk of an empty tree.
    fn least(&self) -> Option<&K> {
        match self {
            Chunk::Pairs(pairs) => pairs.first().map(|(key, _)| key),
            Chunk::Inner(below) => below.first().map(|(key, _)| key),
        }
    }

    fn height(&self) -> usize {
        match self {
            Chunk::Pairs(_) => 0,
            Chunk::Inner(below) => 1 + below.first().map_or(0, |(_, chunk)| chunk.height()),
        }
    }
}

impl<K: Ord + Clone, V: Clone> Chunk<K, V> {
    fn after_least(self) -> (K, Chunk<K, V>) {
        (self.least().cloned().expect("only the root is ever empty, and it is below nothing"), self)
    }

    /// With this pair; and what did not fit any more, to be put beside it.
    fn with(&self, key: K, value: V) -> (Chunk<K, V>, Option<Chunk<K, V>>) {
        match self {
            Chunk::Pairs(pairs) => match pairs.binary_search_by(|(k, _)| k.cmp(&key)) {
                Ok(at) => (Chunk::Pairs(with(pairs, at, (key, value))), None),
                Err(at) => {
                    let (pairs, beside) = fitting(spliced(pairs, at, [(key, value)], at), at);
                    (Chunk::Pairs(pairs), beside.map(Chunk::Pairs))
                }
            },
            Chunk::Inner(below) => {
                let at = count_up_to(below, &key).saturating_sub(1);
                let (changed, beside) = below[at].1.with(key, value);
                let changed = [Some(changed), beside].into_iter().flatten().map(Chunk::after_least);
                let (below, beside) = fitting(spliced(below, at, changed, at + 1), at + 1);
                (Chunk::Inner(below), beside.map(Chunk::Inner))
            }
        }
    }

    /// Without this key's pair; `None` if nothing is left.
    fn without(&self, key: &K) -> Option<Chunk<K, V>> {
        match self {
            Chunk::Pairs(pairs) => {
                let left: Arc<[_]> = pairs.iter().filter(|(k, _)| k != key).cloned().collect();
                (!left.is_empty()).then_some(Chunk::Pairs(left))
            }
            Chunk::Inner(below) => {
                let at = count_up_to(below, key).checked_sub(1);
                let Some(at) = at else { return Some(self.clone()) };
                let left = spliced(below, at, below[at].1.without(key).map(Chunk::after_least), at + 1);
                (!left.is_empty()).then_some(Chunk::Inner(left.into()))
            }
        }
    }
}

/// How many keys are not above this one.
fn count_up_to<K: Ord, T>(entries: &[(K, T)], key: &K) -> usize {
    entries.partition_point(|(k, _)| k <= key)
}

/// What is from `from` to before `to`, replaced.
fn spliced<T: Clone>(entries: &[T], from: usize, new: impl IntoIterator<Item = T>, to: usize) -> Vec<T> {
    entries[..from].iter().cloned().chain(new).chain(entries[to..].iter().cloned()).collect()
}

/// In two if it is too much for one chunk. What grows at its end leaves a full chunk behind, not half of one.
fn fitting<T: Clone>(entries: Vec<T>, at: usize) -> (Arc<[T]>, Option<Arc<[T]>>) {
    if entries.len() <= WIDTH {
        return (entries.into(), None);
    }
    let middle = if at + 1 == entries.len() { entries.len() - 1 } else { entries.len() / 2 };
    (entries[..middle].into(), Some(entries[middle..].into()))
}

/// Pairs in the order of their keys.
#[derive(Clone, Debug)]
pub(super) struct Iter<'a, K, V> {
    above: Vec<slice::Iter<'a, (K, Chunk<K, V>)>>,
    next: Option<&'a Chunk<K, V>>,
    pairs: slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = &'a (K, V);

    fn next(&mut self) -> Option<&'a (K, V)> {
        loop {
            if let Some(pair) = self.pairs.next() {
                return Some(pair);
            }
            match self.next.take() {
                Some(Chunk::Pairs(pairs)) => self.pairs = pairs.iter(),
                Some(Chunk::Inner(below)) => self.above.push(below.iter()),
                None => {}
            }
            if self.pairs.len() == 0 {
                match self.above.last_mut()?.next() {
                    Some((_, chunk)) => self.next = Some(chunk),
                    None => drop(self.above.pop()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn of(pairs: &BTreeMap<u32, u32>) -> Sorted<u32, u32> {
        Sorted::of_ascending(pairs.iter().map(|(k, v)| (*k, *v)).collect())
    }

    fn same(ours: &Sorted<u32, u32>, want: &BTreeMap<u32, u32>) {
        assert_eq!(ours.len(), want.len());
        assert!(ours.iter().map(|(k, v)| (k, v)).eq(want));
        for key in (0..1000).step_by(7) {
            assert_eq!(ours.get(&key), want.get(&key));
            let below = ours.at_or_below(&key).map(|(k, v)| (k, v));
            assert_eq!(below, want.range(..=key).next_back());
            assert!(ours.from(&key).map(|(k, v)| (k, v)).eq(want.range(key..)));
        }
    }

    #[test]
    fn a_change_copies_a_path_and_a_comparison_reads_no_more() {
        let before = Sorted::of_ascending((0..300_000_u32).map(|n| (n * 2, n)).collect());
        let mut after = before.clone();
        after.insert(100_001, 1);
        after.remove(&400_000);
        let (gone, new) = before.difference(&after);
        assert_eq!((gone, new), (vec![&(400_000, 200_000)], vec![&(100_001, 1)]));
        assert_ne!(before, after);
        // Two paths of four levels, one chunk split in two: not the five thousand chunks that there are.
        assert!(copied(&before, &after) <= 10, "{}", copied(&before, &after));
    }

    /// How many chunks the second has that the first has not.
    fn copied(a: &Sorted<u32, u32>, b: &Sorted<u32, u32>) -> usize {
        fn all(chunk: &Chunk<u32, u32>, found: &mut Vec<*const u8>) {
            match chunk {
                Chunk::Pairs(pairs) => found.push(Arc::as_ptr(pairs).cast()),
                Chunk::Inner(below) => {
                    found.push(Arc::as_ptr(below).cast());
                    below.iter().for_each(|(_, chunk)| all(chunk, found));
                }
            }
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        all(&a.root, &mut ours);
        all(&b.root, &mut theirs);
        ours.sort_unstable();
        theirs.iter().filter(|chunk| ours.binary_search(chunk).is_err()).count()
    }

    proptest! {
        #[test]
        fn it_is_what_an_ordered_map_is(
            start in proptest::collection::btree_map(0..1000_u32, any::<u32>(), 0..400),
            changes in proptest::collection::vec((0..1000_u32, proptest::option::of(any::<u32>())), 0..300),
        ) {
            let (mut ours, mut want) = (of(&start), start.clone());
            same(&ours, &want);
            for (key, value) in changes {
                match value {
                    Some(value) => prop_assert_eq!(ours.insert(key, value), want.insert(key, value)),
                    None => prop_assert_eq!(ours.remove(&key), want.remove(&key)),
                }
            }
            same(&ours, &want);
            prop_assert_eq!(&ours, &of(&want), "however it came about");
            let before = of(&start);
            let (gone, new) = before.difference(&ours);
            let only = |a: &BTreeMap<u32, u32>, b: &BTreeMap<u32, u32>| -> Vec<(u32, u32)> {
                a.iter().filter(|(k, v)| b.get(k) != Some(v)).map(|(k, v)| (*k, *v)).collect()
            };
            prop_assert_eq!(gone.into_iter().copied().collect::<Vec<_>>(), only(&start, &want));
            prop_assert_eq!(new.into_iter().copied().collect::<Vec<_>>(), only(&want, &start));
        }

        #[test]
        fn ascending_and_descending_keys_are_all_kept(count in 0..1000_u32) {
            let want: BTreeMap<u32, u32> = (0..count).map(|n| (n, n)).collect();
            let (mut up, mut down) = (Sorted::default(), Sorted::default());
            (0..count).for_each(|n| assert_eq!(up.insert(n, n), None));
            (0..count).rev().for_each(|n| assert_eq!(down.insert(n, n), None));
            same(&up, &want);
            same(&down, &want);
            prop_assert_eq!(up, down);
        }
    }
}
