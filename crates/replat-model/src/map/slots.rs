//! Values by place, in chunks that versions share.
//!
//! A tree of fixed width in which a place is the path: no place ever moves. A changed or added value copies the
//! chunks on its path, a few hundred words, and shares all others.

use std::iter::once;
use std::slice;
use std::sync::Arc;

/// The width of every chunk is two to this power.
const BITS: u32 = 6;
const WIDTH: usize = 1 << BITS;

/// A sequence whose values keep their places; it can grow at its end.
#[derive(Clone, Debug)]
pub(super) struct Slots<T> {
    len: usize,
    /// How many levels lie above the chunks of values.
    height: u32,
    root: Chunk<T>,
}

#[derive(Clone, Debug)]
enum Chunk<T> {
    Values(Arc<[T]>),
    Inner(Arc<[Chunk<T>]>),
}

impl<T> Chunk<T> {
    fn is(&self, other: &Chunk<T>) -> bool {
        match (self, other) {
            (Chunk::Values(a), Chunk::Values(b)) => Arc::ptr_eq(a, b),
            (Chunk::Inner(a), Chunk::Inner(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots { len: 0, height: 0, root: Chunk::Values(Arc::new([])) }
    }
}

impl<T> FromIterator<T> for Slots<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Slots<T> {
        let mut values = values.into_iter().peekable();
        let (mut len, mut level) = (0, Vec::new());
        while values.peek().is_some() {
            let chunk: Arc<[T]> = values.by_ref().take(WIDTH).collect();
            len += chunk.len();
            level.push(Chunk::Values(chunk));
        }
        let mut height = 0;
        while level.len() > 1 {
            let mut below = level.into_iter().peekable();
            level = Vec::new();
            while below.peek().is_some() {
                level.push(Chunk::Inner(below.by_ref().take(WIDTH).collect()));
            }
            height += 1;
        }
        level.pop().map_or_else(Slots::default, |root| Slots { len, height, root })
    }
}

impl<T> Slots<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, place: usize) -> Option<&T> {
        if place >= self.len {
            return None;
        }
        let (mut chunk, mut shift) = (&self.root, self.height * BITS);
        loop {
            match chunk {
                Chunk::Values(values) => return values.get(place % WIDTH),
                Chunk::Inner(below) => chunk = below.get((place >> shift) % WIDTH)?,
            }
            shift = shift.saturating_sub(BITS);
        }
    }

    pub(super) fn iter(&self) -> Iter<'_, T> {
        Iter { above: Vec::new(), next: Some(&self.root), values: [].iter() }
    }

    /// Calls `with` for each place that both have, but for those whose chunk is shared.
    pub(super) fn each_unshared<'a>(
        &'a self,
        other: &'a Slots<T>,
        with: &mut impl FnMut(usize, &'a T, &'a T),
    ) {
        let (mut a, mut b) = (&self.root, &other.root);
        // The taller tree has the places of the lower one in its first branch.
        for _ in other.height..self.height {
            a = first_below(a);
        }
        for _ in self.height..other.height {
            b = first_below(b);
        }
        each_unshared(a, b, 0, self.height.min(other.height) * BITS, with);
    }
}

impl<T: Clone> Slots<T> {
    /// With another value at a place that there is, or one more at the end.
    ///
    /// # Panics
    ///
    /// If the place lies beyond the end.
    pub(super) fn put(&mut self, place: usize, value: T) {
        assert!(place <= self.len, "places are taken in their order");
        if place == self.len {
            if place == WIDTH << (self.height * BITS) {
                self.root = Chunk::Inner(Arc::new([self.root.clone()]));
                self.height += 1;
            }
            self.len += 1;
        }
        self.root = put(&self.root, place, self.height * BITS, value);
    }

    pub(super) fn push(&mut self, value: T) {
        self.put(self.len, value);
    }
}

impl<T: PartialEq> PartialEq for Slots<T> {
    fn eq(&self, other: &Slots<T>) -> bool {
        let mut same = self.len == other.len;
        if same {
            self.each_unshared(other, &mut |_, a, b| same = same && a == b);
        }
        same
    }
}

impl<T: Eq> Eq for Slots<T> {}

fn first_below<T>(chunk: &Chunk<T>) -> &Chunk<T> {
    match chunk {
        Chunk::Inner(below) => below.first().unwrap_or(chunk),
        Chunk::Values(_) => chunk,
    }
}

fn each_unshared<'a, T>(
    a: &'a Chunk<T>,
    b: &'a Chunk<T>,
    from: usize,
    shift: u32,
    with: &mut impl FnMut(usize, &'a T, &'a T),
) {
    match (a, b) {
        _ if a.is(b) => {}
        (Chunk::Values(a), Chunk::Values(b)) => {
            a.iter().zip(&**b).enumerate().for_each(|(at, (a, b))| with(from + at, a, b));
        }
        (Chunk::Inner(a), Chunk::Inner(b)) => {
            for (at, (a, b)) in a.iter().zip(&**b).enumerate() {
                each_unshared(a, b, from + (at << shift), shift.saturating_sub(BITS), with);
            }
        }
        _ => unreachable!("trees of one height have values at one depth"),
    }
}

fn put<T: Clone>(chunk: &Chunk<T>, place: usize, shift: u32, value: T) -> Chunk<T> {
    let at = (place >> shift) % WIDTH;
    match chunk {
        Chunk::Values(values) => Chunk::Values(with(values, at, value)),
        Chunk::Inner(below) => {
            let fresh = if shift > BITS { Chunk::Inner(Arc::new([])) } else { Chunk::Values(Arc::new([])) };
            let changed = put(below.get(at).unwrap_or(&fresh), place, shift - BITS, value);
            Chunk::Inner(with(below, at, changed))
        }
    }
}

/// A copy with another value at a place, or one more at the end.
pub(super) fn with<T: Clone>(values: &[T], at: usize, value: T) -> Arc<[T]> {
    let after = values.get(at + 1..).unwrap_or_default();
    values[..at].iter().cloned().chain(once(value)).chain(after.iter().cloned()).collect()
}

/// All values, by their places.
#[derive(Clone, Debug)]
pub(super) struct Iter<'a, T> {
    above: Vec<slice::Iter<'a, Chunk<T>>>,
    next: Option<&'a Chunk<T>>,
    values: slice::Iter<'a, T>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(value) = self.values.next() {
                return Some(value);
            }
            match self.next.take() {
                Some(Chunk::Values(values)) => self.values = values.iter(),
                Some(Chunk::Inner(below)) => self.above.push(below.iter()),
                None => {}
            }
            if self.values.len() == 0 {
                self.next = self.above.last_mut()?.next();
                if self.next.is_none() {
                    self.above.pop();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of one's chunks the other does not have at the same place.
    fn copied<T>(a: &Slots<T>, b: &Slots<T>) -> usize {
        fn count<T>(a: &Chunk<T>, b: &Chunk<T>) -> usize {
            match (a, b) {
                _ if a.is(b) => 0,
                (Chunk::Inner(a), Chunk::Inner(b)) => {
                    1 + a.iter().zip(&**b).map(|(a, b)| count(a, b)).sum::<usize>()
                }
                _ => 1,
            }
        }
        count(&a.root, &b.root)
    }

    #[test]
    fn it_is_what_a_vector_is() {
        // Around each size at which the tree becomes taller.
        for len in [0, 1, 2, 63, 64, 65, 4095, 4096, 4097, 4160, 5000] {
            let built: Slots<usize> = (0..len).collect();
            let mut grown = Slots::default();
            (0..len).for_each(|n| grown.push(n));
            assert_eq!(built, grown, "{len}");
            assert_eq!(built.len(), len);
            assert!(grown.iter().copied().eq(0..len), "{len}");
            assert!((0..len).all(|n| built.get(n) == Some(&n)) && built.get(len).is_none(), "{len}");
        }
    }

    #[test]
    fn a_change_copies_a_path_and_is_found() {
        let before: Slots<usize> = (0..300_000).collect();
        for place in [0, 64, 4095, 4096, 123_456, 299_999] {
            let mut after = before.clone();
            after.put(place, 7_000_000);
            assert_eq!(copied(&before, &after), 4, "{place}: one chunk of each level");
            let mut changed = Vec::new();
            before.each_unshared(&after, &mut |at, a, b| changed.extend((a != b).then_some(at)));
            assert_eq!(changed, [place]);
            assert_ne!(before, after);
            assert_eq!(before.get(place), Some(&place), "the old version is as it was");
        }
    }

    #[test]
    fn what_grew_shares_what_was_there() {
        let before: Slots<usize> = (0..4096).collect();
        let mut after = before.clone();
        after.push(4096);
        let mut unshared = 0;
        before.each_unshared(&after, &mut |_, _, _| unshared += 1);
        assert_eq!((unshared, after.len(), after.get(4096)), (0, 4097, Some(&4096)));
        assert_ne!(before, after);
    }
}
