//! What the search for a layout looks at: rows and queries by ranks, boxes around rows, and what a cut would save.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::query::{Needs, Query, cut_points, needs};
use super::rows::{Column, Ranked, RankedValues, Rows, small};
use crate::design::Node;
use crate::value::Value;

/// A column is cut in so many places at most.
const CUTS_MAX: usize = 120;

/// So many lists of texts are tried at most as they stand in queries.
const LISTS_MAX: usize = 12;

/// Rows and queries, made ready.
pub(super) struct Ground {
    ranked: Ranked,
    /// The asked columns: which of [`Ranked::columns`] they are.
    columns: Vec<Asked>,
    numbers: usize,
    words: usize,
    /// By row, the ranks of the asked columns: those of numbers first.
    cells: Vec<u32>,
    queries: Wishes,
    /// A block has at least so many rows.
    pub rows_min: usize,
}

/// A column that queries ask about.
struct Asked {
    place: usize,
    /// By row, the bucket between two cuts, or the rank of the text.
    buckets: Vec<u16>,
    count: usize,
    kind: Kind,
}

enum Kind {
    /// The ranks at which it can be cut, ascending.
    Number { cuts: Vec<u32> },
    /// Where its bits begin, and lists that queries ask for.
    Text { offset: usize, lists: Vec<Vec<u64>> },
}

/// All queries, in few pieces of memory: they are asked about most.
#[derive(Default)]
struct Wishes {
    weights: Vec<f64>,
    /// Where each query's conditions end.
    ends: Vec<u32>,
    conditions: Vec<Met>,
    /// Ranks from and to, both inclusive.
    ranks: Vec<(u32, u32)>,
    bits: Vec<u64>,
}

/// What meets a condition.
#[derive(Clone, Copy)]
enum Met {
    /// A rank of this number within one of these of [`Wishes::ranks`].
    Ranks { number: u32, from: u32, to: u32 },
    /// A bit from this offset on that is among these of [`Wishes::bits`].
    Bits { offset: u32, from: u32, to: u32 },
}

impl Wishes {
    fn take(&mut self, need: Needs, find: impl Fn(usize) -> usize, columns: &[Asked]) {
        match need {
            Needs::Ranks(place, within) => {
                let from = small(self.ranks.len());
                self.ranks.extend(within.iter().map(|(from, to)| match u32::try_from(*to) {
                    Ok(to) => (u32::try_from(*from).unwrap_or(0), to),
                    // What ends before the first rank is never met.
                    Err(_) => (u32::MAX, 0),
                }));
                let to = small(self.ranks.len());
                self.conditions.push(Met::Ranks { number: small(find(place)), from, to });
            }
            Needs::Bits(place, bits) => {
                if let Kind::Text { offset, .. } = columns[find(place)].kind {
                    let from = small(self.bits.len());
                    self.bits.extend(bits);
                    let to = small(self.bits.len());
                    self.conditions.push(Met::Bits { offset: small(offset), from, to });
                }
            }
        }
    }

    fn conditions(&self, query: usize) -> &[Met] {
        let from = if query == 0 { 0 } else { self.ends[query - 1] };
        &self.conditions[from as usize..self.ends[query] as usize]
    }
}

/// Boxes around rows: of each asked column the least and the greatest rank, or all texts.
pub(super) struct Boxes {
    numbers: usize,
    words: usize,
    count: Vec<u32>,
    least: Vec<u32>,
    most: Vec<u32>,
    bits: Vec<u64>,
}

/// A question by which rows are told apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cut {
    /// Is the rank of this asked column less?
    Less(usize, u32),
    /// Is the text of this asked column among these ranks?
    Among(usize, Rc<Vec<u64>>),
}

/// Some rows and the queries that have to read them.
#[derive(Clone)]
pub(super) struct Part {
    pub rows: Vec<u32>,
    pub live: Vec<u32>,
    /// Rows that are read, by all queries with their weights.
    pub cost: f64,
}

impl Boxes {
    fn new(ground: &Ground, n: usize) -> Boxes {
        Boxes {
            numbers: ground.numbers,
            words: ground.words,
            count: vec![0; n],
            least: vec![u32::MAX; n * ground.numbers],
            most: vec![0; n * ground.numbers],
            bits: vec![0; n * ground.words],
        }
    }

    fn add(&mut self, at: usize, ground: &Ground, row: u32) {
        let width = ground.columns.len();
        let cells = &ground.cells[row as usize * width..(row as usize + 1) * width];
        self.count[at] += 1;
        let least = &mut self.least[at * self.numbers..(at + 1) * self.numbers];
        let most = &mut self.most[at * self.numbers..(at + 1) * self.numbers];
        for ((least, most), rank) in least.iter_mut().zip(most).zip(cells) {
            *least = (*least).min(*rank);
            *most = (*most).max(*rank);
        }
        let bits = &mut self.bits[at * self.words..(at + 1) * self.words];
        for (column, rank) in ground.columns[self.numbers..].iter().zip(&cells[self.numbers..]) {
            if let Kind::Text { offset, .. } = column.kind {
                bits[offset + *rank as usize / 64] |= 1 << (rank % 64);
            }
        }
    }

    /// Takes box `from` of `other` into box `at`.
    fn join(&mut self, at: usize, other: &Boxes, from: usize) {
        self.count[at] += other.count[from];
        for n in 0..self.numbers {
            let (to, of) = (at * self.numbers + n, from * self.numbers + n);
            self.least[to] = self.least[to].min(other.least[of]);
            self.most[to] = self.most[to].max(other.most[of]);
        }
        for n in 0..self.words {
            self.bits[at * self.words + n] |= other.bits[from * self.words + n];
        }
    }

    fn is_read_by(&self, at: usize, wishes: &Wishes, query: usize) -> bool {
        self.count[at] > 0
            && wishes.conditions(query).iter().all(|condition| match *condition {
                Met::Ranks { number, from, to } => {
                    let place = at * self.numbers + number as usize;
                    let (least, most) = (self.least[place], self.most[place]);
                    wishes.ranks[from as usize..to as usize]
                        .iter()
                        .any(|(from, to)| most >= *from && least <= *to)
                }
                Met::Bits { offset, from, to } => {
                    let own = &self.bits[at * self.words + offset as usize..];
                    wishes.bits[from as usize..to as usize]
                        .iter()
                        .zip(own)
                        .any(|(wanted, own)| wanted & own != 0)
                }
            })
    }
}

impl Ground {
    /// Makes `rows` and weighted `queries` ready; cuts come from both.
    pub fn new(rows: &Rows, queries: &[(Query, f64)], rows_min: usize) -> Ground {
        let asked = asked_texts(rows, queries);
        let ranked = Ranked::new(rows, &asked);
        let all: Vec<(Vec<Needs>, f64)> = queries.iter().map(|(q, w)| (needs(q, &ranked), *w)).collect();
        let plain: Vec<Query> = queries.iter().map(|(query, _)| query.clone()).collect();
        let is_asked = |place: usize| {
            all.iter().any(|(needs, _)| {
                needs.iter().any(|need| match need {
                    Needs::Ranks(column, _) | Needs::Bits(column, _) => *column == place,
                })
            })
        };
        let mut columns = Vec::new();
        let mut words = 0;
        let is_number = |place: usize| matches!(ranked.columns[place].values, RankedValues::Ints(_));
        let places = (0..ranked.columns.len()).filter(|place| is_asked(*place));
        let (numbers, texts): (Vec<usize>, Vec<usize>) = places.partition(|place| is_number(*place));
        for place in numbers.iter().chain(&texts) {
            let column = &ranked.columns[*place];
            if is_number(*place) {
                let cuts = cuts(&plain, &ranked, *place);
                let bucket = |rank: &u32| cuts.partition_point(|cut| cut <= rank) as u16;
                let buckets = column.ranks.iter().map(bucket).collect();
                columns.push(Asked {
                    place: *place,
                    buckets,
                    count: cuts.len() + 1,
                    kind: Kind::Number { cuts },
                });
            } else {
                let count = column.values.len();
                let lists = lists(&all, *place);
                let buckets = column.ranks.iter().map(|rank| *rank as u16).collect();
                columns.push(Asked {
                    place: *place,
                    buckets,
                    count,
                    kind: Kind::Text { offset: words, lists },
                });
                words += (count + 1).div_ceil(64);
            }
        }
        let mut cells = Vec::with_capacity(ranked.rows * columns.len());
        for row in 0..ranked.rows {
            cells.extend(columns.iter().map(|column| ranked.columns[column.place].ranks[row]));
        }
        let find = |place: usize| columns.iter().position(|c| c.place == place).expect("it is asked about");
        let mut queries = Wishes::default();
        for (needs, weight) in all {
            for need in needs {
                queries.take(need, find, &columns);
            }
            queries.weights.push(weight);
            queries.ends.push(small(queries.conditions.len()));
        }
        Ground { numbers: numbers.len(), words, cells, queries, rows_min: rows_min.max(1), columns, ranked }
    }

    /// All rows and all queries.
    pub fn whole(&self) -> Part {
        self.part((0..small(self.ranked.rows)).collect(), &self.all_queries())
    }

    /// Every so-manieth row, so that at most about `most` are left, and all queries.
    pub fn sample(&self, most: usize) -> (usize, Part) {
        let each = self.ranked.rows.div_ceil(most.max(1)).max(1);
        (each, self.part((0..small(self.ranked.rows)).step_by(each).collect(), &self.all_queries()))
    }

    fn all_queries(&self) -> Vec<u32> {
        (0..small(self.queries.weights.len())).collect()
    }

    /// These rows, and of these queries those that read them.
    pub fn part(&self, rows: Vec<u32>, live: &[u32]) -> Part {
        let mut around = Boxes::new(self, 1);
        rows.iter().for_each(|row| around.add(0, self, *row));
        let reads = |query: &u32| around.is_read_by(0, &self.queries, *query as usize);
        let live: Vec<u32> = live.iter().copied().filter(reads).collect();
        let weight: f64 = live.iter().map(|query| self.queries.weights[*query as usize]).sum();
        Part { cost: weight * rows.len() as f64, rows, live }
    }

    /// The parts of a part.
    pub fn split(&self, part: &Part, cut: &Cut) -> [Part; 2] {
        let width = self.columns.len();
        let is_yes = |row: &u32| match cut {
            Cut::Less(column, rank) => self.cells[*row as usize * width + column] < *rank,
            Cut::Among(column, bits) => {
                let rank = self.cells[*row as usize * width + column];
                bits[rank as usize / 64] & (1 << (rank % 64)) != 0
            }
        };
        let (yes, no) = part.rows.iter().partition(|row| is_yes(row));
        [self.part(yes, &part.live), self.part(no, &part.live)]
    }

    /// The cuts of a part that save most, with what they save, the best first; of each column at most `each`.
    pub fn cuts(&self, part: &Part, each: usize) -> Vec<(f64, Cut)> {
        let mut found = Vec::new();
        if part.rows.len() < 2 * self.rows_min || part.live.is_empty() {
            return found;
        }
        for (number, column) in self.columns.iter().enumerate() {
            let mut buckets = Boxes::new(self, column.count);
            for row in &part.rows {
                buckets.add(usize::from(column.buckets[*row as usize]), self, *row);
            }
            let mut own = match &column.kind {
                Kind::Number { cuts } => self.number_cuts(part, number, cuts, &buckets),
                Kind::Text { offset, lists } => self.text_cuts(part, number, *offset, lists, &buckets),
            };
            own.sort_by(|(a, _), (b, _)| b.total_cmp(a));
            own.truncate(each);
            found.extend(own);
        }
        found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        found
    }

    fn number_cuts(&self, part: &Part, number: usize, cuts: &[u32], buckets: &Boxes) -> Vec<(f64, Cut)> {
        let order: Vec<usize> = (0..buckets.count.len()).collect();
        let saved = self.swept(part, &order, buckets);
        let taken = saved.into_iter().zip(cuts).enumerate();
        // A cut after an empty bucket parts the rows as the cut before does.
        let taken = taken.filter(|(at, _)| *at == 0 || buckets.count[*at] > 0);
        taken.filter_map(|(_, (saved, cut))| Some((saved?, Cut::Less(number, *cut)))).collect()
    }

    fn text_cuts(
        &self,
        part: &Part,
        number: usize,
        offset: usize,
        lists: &[Vec<u64>],
        buckets: &Boxes,
    ) -> Vec<(f64, Cut)> {
        let n = buckets.count.len();
        let present: Vec<usize> = (0..n).filter(|rank| buckets.count[*rank] > 0).collect();
        let listed = |list: &[usize]| {
            let mut bits = vec![0_u64; (n + 1).div_ceil(64)];
            list.iter().for_each(|rank| bits[rank / 64] |= 1 << (rank % 64));
            Cut::Among(number, Rc::new(bits))
        };
        let mut found = Vec::new();
        for order in self.orders(part, offset, &present) {
            for (at, saved) in self.swept(part, &order, buckets).into_iter().enumerate() {
                found.extend(saved.map(|saved| (saved, listed(&order[..=at]))));
            }
        }
        for list in lists {
            let is_in = |rank: &usize| list[rank / 64] & (1 << (rank % 64)) != 0;
            let (yes, no): (Vec<usize>, Vec<usize>) = present.iter().partition(|rank| is_in(rank));
            if yes.is_empty() || no.is_empty() {
                continue;
            }
            let mut sides = Boxes::new(self, 2);
            yes.iter().for_each(|rank| sides.join(0, buckets, *rank));
            no.iter().for_each(|rank| sides.join(1, buckets, *rank));
            found.extend(self.swept(part, &[0, 1], &sides)[0].map(|saved| (saved, listed(&yes))));
        }
        found
    }

    /// Of each cut of an order of buckets, after the first, the second and so on, what it saves; `None` where a side is too
    /// small.
    fn swept(&self, part: &Part, order: &[usize], buckets: &Boxes) -> Vec<Option<f64>> {
        let n = order.len();
        let (mut upto, mut from) = (Boxes::new(self, n), Boxes::new(self, n));
        for (at, bucket) in order.iter().enumerate() {
            upto.join(at, buckets, *bucket);
            if at > 0 {
                upto.join_own(at, at - 1);
            }
        }
        for (at, bucket) in order.iter().enumerate().rev() {
            from.join(at, buckets, *bucket);
            if at + 1 < n {
                from.join_own(at, at + 1);
            }
        }
        // The first boxes grow and the others shrink from cut to cut, so each query begins to read the ones and ceases to
        // read the others at one cut.
        let (mut begins, mut ceases) = (vec![0.0; n + 1], vec![0.0; n + 1]);
        for query in &part.live {
            let (query, weight) = (*query as usize, self.queries.weights[*query as usize]);
            begins[first(n, |at| upto.is_read_by(at, &self.queries, query))] += weight;
            ceases[first(n, |at| !from.is_read_by(at, &self.queries, query))] += weight;
        }
        let mut missed: (f64, f64) = (begins.iter().sum(), ceases[0]);
        (0..n.saturating_sub(1))
            .map(|at| {
                missed.0 -= begins[at];
                missed.1 += ceases[at + 1];
                let rows = [upto.count[at] as usize, from.count[at + 1] as usize];
                let fits = rows.iter().all(|rows| *rows >= self.rows_min);
                fits.then_some(missed.0 * rows[0] as f64 + missed.1 * rows[1] as f64)
            })
            .collect()
    }

    /// Orders of texts such that those come together that are asked for together: by who asks for them, and by how much.
    fn orders(&self, part: &Part, offset: usize, present: &[usize]) -> [Vec<usize>; 2] {
        let mut weight: HashMap<usize, f64> = HashMap::new();
        let mut together: HashMap<(usize, usize), f64> = HashMap::new();
        for query in &part.live {
            let query_weight = self.queries.weights[*query as usize];
            for condition in self.queries.conditions(*query as usize) {
                let bits = match *condition {
                    Met::Bits { offset: at, from, to } if at as usize == offset => {
                        &self.queries.bits[from as usize..to as usize]
                    }
                    _ => continue,
                };
                let all: Vec<usize> =
                    present.iter().copied().filter(|r| bits[r / 64] & (1 << (r % 64)) != 0).collect();
                for a in &all {
                    *weight.entry(*a).or_default() += query_weight;
                    if all.len() <= 16 {
                        all.iter().for_each(|b| *together.entry((*a, *b)).or_default() += query_weight);
                    }
                }
            }
        }
        let of = |rank: usize| weight.get(&rank).copied().unwrap_or(0.0);
        let mut heavy = present.to_vec();
        heavy.sort_by(|a, b| of(*b).total_cmp(&of(*a)).then(a.cmp(b)));
        let mut rest = heavy.clone();
        let mut chain: Vec<usize> = Vec::new();
        let mut pull: HashMap<usize, f64> = HashMap::new();
        while !rest.is_empty() {
            let pulled = |rank: usize| pull.get(&rank).copied().unwrap_or(0.0);
            let best = (0..rest.len()).max_by(|a, b| {
                let (a_rank, b_rank) = (rest[*a], rest[*b]);
                pulled(a_rank).total_cmp(&pulled(b_rank)).then(b.cmp(a))
            });
            let next = rest.remove(best.expect("some are left"));
            for other in &rest {
                if let Some(more) = together.get(&(next, *other)) {
                    *pull.entry(*other).or_default() += more;
                }
            }
            chain.push(next);
        }
        [chain, heavy]
    }

    /// A cut as a question about values.
    pub fn question(&self, cut: &Cut, yes: Node, no: Node) -> Node {
        let (yes, no) = (Box::new(yes), Box::new(no));
        let (Cut::Less(number, _) | Cut::Among(number, _)) = cut;
        let column = &self.ranked.columns[self.columns[*number].place];
        let col = column.name.clone();
        match (cut, &column.values) {
            (Cut::Less(_, rank), RankedValues::Ints(all)) => {
                Node::Less { col, lt: Value::Int(all[*rank as usize]), yes, no }
            }
            (Cut::Among(_, bits), RankedValues::Texts { known, others }) => {
                let is_in = |rank: usize| bits[rank / 64] & (1 << (rank % 64)) != 0;
                // The others cannot be listed, so they are where the list is not.
                let turned = *others && is_in(known.len());
                let among = known.iter().enumerate().filter(|(rank, _)| is_in(*rank) != turned);
                let among = among.map(|(_, text)| Value::Text(text.clone())).collect();
                let (yes, no) = if turned { (no, yes) } else { (yes, no) };
                Node::Among { col, among, yes, no }
            }
            _ => unreachable!("numbers are cut by rank and texts by lists"),
        }
    }
}

impl Boxes {
    fn join_own(&mut self, at: usize, from: usize) {
        self.count[at] += self.count[from];
        for n in 0..self.numbers {
            let (to, of) = (at * self.numbers + n, from * self.numbers + n);
            self.least[to] = self.least[to].min(self.least[of]);
            self.most[to] = self.most[to].max(self.most[of]);
        }
        for n in 0..self.words {
            self.bits[at * self.words + n] |= self.bits[from * self.words + n];
        }
    }
}

/// The first of `n` places from which on something is so; `n` if it is nowhere.
fn first(n: usize, is_so: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = usize::midpoint(low, high);
        if is_so(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// How often queries ask for each text, by the place of its column.
fn asked_texts<'q>(rows: &Rows, queries: &'q [(Query, f64)]) -> HashMap<(usize, &'q str), usize> {
    let mut asked = HashMap::new();
    for condition in queries.iter().flat_map(|(query, _)| &query.conditions) {
        let Some(place) = rows.names().iter().position(|name| *name == condition.column) else { continue };
        if let (Some(Column::Text(_)), super::query::Test::In(all)) =
            (rows.column(&condition.column), &condition.test)
        {
            for value in all {
                if let Value::Text(text) = value {
                    *asked.entry((place, text.as_str())).or_default() += 1;
                }
            }
        }
    }
    asked
}

/// Where a column can be cut: at the ends of ranges, and where rows are parted evenly.
fn cuts(queries: &[Query], ranked: &Ranked, place: usize) -> Vec<u32> {
    let column = &ranked.columns[place];
    let ends = thinned(cut_points(queries, ranked, place), CUTS_MAX / 2);
    let mut sorted = column.ranks.clone();
    sorted.sort_unstable();
    let pieces = CUTS_MAX / 2 + 1;
    let even = (1..pieces).map(|n| sorted[n * sorted.len() / pieces]).filter(|rank| *rank > 0);
    let all: BTreeSet<u32> = ends.into_iter().chain(even).collect();
    all.into_iter().collect()
}

fn thinned(all: Vec<u32>, most: usize) -> Vec<u32> {
    if all.len() <= most {
        return all;
    }
    (0..most).map(|n| all[n * all.len() / most]).collect()
}

/// The lists of texts that queries ask for, those that most ask for first.
fn lists(all: &[(Vec<Needs>, f64)], place: usize) -> Vec<Vec<u64>> {
    let mut weight: HashMap<&Vec<u64>, f64> = HashMap::new();
    for (needs, more) in all {
        for need in needs {
            match need {
                Needs::Bits(column, bits) if *column == place => *weight.entry(bits).or_default() += more,
                _ => {}
            }
        }
    }
    let mut lists: Vec<(&Vec<u64>, f64)> = weight.into_iter().collect();
    lists.sort_by(|(a, m), (b, n)| n.total_cmp(m).then_with(|| a.cmp(b)));
    lists.into_iter().take(LISTS_MAX).map(|(bits, _)| bits.clone()).collect()
}
