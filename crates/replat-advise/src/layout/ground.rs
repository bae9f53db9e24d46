//! What the search for a layout looks at: rows and queries by ranks, boxes around rows, and what a cut would save.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::query::{Needs, Query, cut_points, needs};
use super::rows::{Column, Ranked, RankedValues, Rows, small};
use crate::design::Node;
use crate::value::Value;

/// A column is cut in so many places at most.
const CUTS_MAX: usize = 160;

/// So many lists of texts are tried at most as they stand in queries.
const LISTS_MAX: usize = 48;

/// Rows and queries, made ready.
pub(super) struct Ground {
    ranked: Ranked,
    /// The asked columns: which of [`Ranked::columns`] they are.
    columns: Vec<Asked>,
    numbers: usize,
    words: usize,
    /// By row, the ranks of the asked columns: those of numbers first.
    cells: Vec<u32>,
    queries: Vec<Wish>,
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

/// A query.
struct Wish {
    weight: f64,
    ranks: Vec<(usize, Vec<(i64, i64)>)>,
    bits: Vec<(usize, Vec<u64>)>,
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

    fn is_read_by(&self, at: usize, wish: &Wish) -> bool {
        if self.count[at] == 0 {
            return false;
        }
        wish.ranks.iter().all(|(column, within)| {
            let place = at * self.numbers + column;
            let (least, most) = (i64::from(self.least[place]), i64::from(self.most[place]));
            within.iter().any(|(from, to)| most >= *from && least <= *to)
        }) && wish.bits.iter().all(|(offset, wanted)| {
            let own = &self.bits[at * self.words + offset..];
            wanted.iter().zip(own).any(|(wanted, own)| wanted & own != 0)
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
                columns.push(Asked { place: *place, buckets, count: cuts.len() + 1, kind: Kind::Number { cuts } });
            } else {
                let count = column.values.len();
                let lists = lists(&all, *place);
                let buckets = column.ranks.iter().map(|rank| *rank as u16).collect();
                columns.push(Asked { place: *place, buckets, count, kind: Kind::Text { offset: words, lists } });
                words += (count + 1).div_ceil(64);
            }
        }
        let mut cells = Vec::with_capacity(ranked.rows * columns.len());
        for row in 0..ranked.rows {
            cells.extend(columns.iter().map(|column| ranked.columns[column.place].ranks[row]));
        }
        let find = |place: usize| columns.iter().position(|c| c.place == place).expect("it is asked about");
        let wish = |(needs, weight): (Vec<Needs>, f64)| {
            let mut wish = Wish { weight, ranks: Vec::new(), bits: Vec::new() };
            for need in needs {
                match need {
                    Needs::Ranks(place, within) => wish.ranks.push((find(place), within)),
                    Needs::Bits(place, bits) => {
                        if let Kind::Text { offset, .. } = columns[find(place)].kind {
                            wish.bits.push((offset, bits));
                        }
                    }
                }
            }
            wish
        };
        let queries = all.into_iter().map(wish).collect();
        Ground { numbers: numbers.len(), words, cells, queries, rows_min: rows_min.max(1), columns, ranked }
    }

    /// All rows and all queries.
    pub fn whole(&self) -> Part {
        self.part((0..small(self.ranked.rows)).collect(), &(0..small(self.queries.len())).collect::<Vec<_>>())
    }

    /// These rows, and of these queries those that read them.
    pub fn part(&self, rows: Vec<u32>, live: &[u32]) -> Part {
        let mut around = Boxes::new(self, 1);
        rows.iter().for_each(|row| around.add(0, self, *row));
        let reads = |query: &u32| around.is_read_by(0, &self.queries[*query as usize]);
        let live: Vec<u32> = live.iter().copied().filter(reads).collect();
        let weight: f64 = live.iter().map(|query| self.queries[*query as usize].weight).sum();
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
        let n = buckets.count.len();
        let (mut upto, mut from) = (Boxes::new(self, n), Boxes::new(self, n));
        for at in 0..n {
            upto.join(at, buckets, at);
            if at > 0 {
                let (before, rest) = (at - 1, at);
                upto.join_own(rest, before);
            }
        }
        for at in (0..n).rev() {
            from.join(at, buckets, at);
            if at + 1 < n {
                from.join_own(at, at + 1);
            }
        }
        let mut found = Vec::new();
        for (at, cut) in cuts.iter().enumerate() {
            // The same rows as the cut before.
            if at > 0 && buckets.count[at] == 0 {
                continue;
            }
            if let Some(saved) = self.saved(part, (&upto, at), (&from, at + 1)) {
                found.push((saved, Cut::Less(number, *cut)));
            }
        }
        found
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
        let mut tried: BTreeSet<Vec<usize>> = BTreeSet::new();
        for list in lists {
            tried.insert(present.iter().copied().filter(|r| list[r / 64] & (1 << (r % 64)) != 0).collect());
        }
        for order in self.orders(part, offset, &present) {
            for length in 1..order.len() {
                let mut list = order[..length].to_vec();
                list.sort_unstable();
                tried.insert(list);
            }
        }
        let mut found = Vec::new();
        for list in tried {
            if list.is_empty() || list.len() == present.len() {
                continue;
            }
            let mut sides = Boxes::new(self, 2);
            let mut bits = vec![0_u64; (n + 1).div_ceil(64)];
            for rank in &present {
                let yes = list.binary_search(rank).is_ok();
                sides.join(usize::from(!yes), buckets, *rank);
                if yes {
                    bits[rank / 64] |= 1 << (rank % 64);
                }
            }
            if let Some(saved) = self.saved(part, (&sides, 0), (&sides, 1)) {
                found.push((saved, Cut::Among(number, Rc::new(bits))));
            }
        }
        found
    }

    /// Orders of texts such that those come together that are asked for together: by who asks for them, and by how much.
    fn orders(&self, part: &Part, offset: usize, present: &[usize]) -> [Vec<usize>; 2] {
        let mut weight: HashMap<usize, f64> = HashMap::new();
        let mut together: HashMap<(usize, usize), f64> = HashMap::new();
        for query in &part.live {
            let wish = &self.queries[*query as usize];
            for (_, bits) in wish.bits.iter().filter(|(at, _)| *at == offset) {
                let all: Vec<usize> =
                    present.iter().copied().filter(|r| bits[r / 64] & (1 << (r % 64)) != 0).collect();
                for a in &all {
                    *weight.entry(*a).or_default() += wish.weight;
                    if all.len() <= 16 {
                        all.iter().for_each(|b| *together.entry((*a, *b)).or_default() += wish.weight);
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

    /// What it saves to have two boxes for one; `None` if one of them is too small.
    fn saved(&self, part: &Part, yes: (&Boxes, usize), no: (&Boxes, usize)) -> Option<f64> {
        let rows = [yes.0.count[yes.1] as usize, no.0.count[no.1] as usize];
        if rows[0] < self.rows_min || rows[1] < self.rows_min {
            return None;
        }
        let (mut saved_yes, mut saved_no) = (0.0, 0.0);
        for query in &part.live {
            let wish = &self.queries[*query as usize];
            if !yes.0.is_read_by(yes.1, wish) {
                saved_yes += wish.weight;
            }
            if !no.0.is_read_by(no.1, wish) {
                saved_no += wish.weight;
            }
        }
        Some(saved_yes * rows[0] as f64 + saved_no * rows[1] as f64)
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
