//! The search for keys: which column each table is partitioned by, and which tables every partition has.
//!
//! Moves re-key one table, or a whole key domain at once; a part of the tables is taken back and placed anew until
//! nothing gets better. Everything is decided by [`cost`] on the transactions that were seen, and all chance comes from a
//! fixed seed, so the same evidence gives the same answer.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::assignment::Assignments;
use crate::domain::{DomainId, Domains};
use crate::measure::{cost, skew_of};
use crate::schema::{Schema, TableId};
use crate::trace::Trace;
use crate::value::ByNumber;

/// How a table is placed, for the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Choice {
    /// By this key column, by its place.
    Key(usize),
    /// Every partition has it.
    Everywhere,
    /// In one place.
    Alone,
}

/// How all tables are placed, by table.
pub type Choices = Vec<Choice>;

/// What a set of choices costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// The number by which designs are ranked.
    pub cost: f64,
    /// See [`crate::measure::Metrics::cross_partition_share`].
    pub cross: f64,
    /// See [`crate::measure::Metrics::partitions_per_txn`].
    pub participants: f64,
    /// See [`crate::measure::Metrics::load_max_over_mean`].
    pub skew: f64,
}

/// What the search looks at: for each transaction and table, the partitions that each choice would need.
pub struct Ground<'a> {
    schema: &'a Schema,
    partitions: u32,
    /// Words of a set of places.
    words: usize,
    /// Of each kind of transaction, its visits. Transactions that need the same under all choices are one kind.
    transactions: Vec<Range<u32>>,
    /// How many transactions there are of each.
    count: Vec<u32>,
    visits: Vec<Visit>,
    /// Sets of places, one for each key column of each visit.
    places: Vec<u64>,
    /// Of each table, the transactions that visit it.
    visitors: Vec<Vec<u32>>,
    /// Rows handled, by table, choice and place.
    load: Vec<BTreeMap<Choice, Vec<u64>>>,
    /// Whether a table is written to at all.
    written: Vec<bool>,
    bytes: Vec<f64>,
    /// How many transactions there are in all.
    all: u64,
    /// Of each table, how it may be placed.
    options: Vec<Vec<Choice>>,
}

/// What one transaction does with one table.
struct Visit {
    table: u32,
    /// Whether it asks for rows of which nothing is known.
    unknown: bool,
    /// Whether it knows some of the rows.
    known: bool,
    writes: bool,
    /// Where its sets begin.
    places: u32,
}

/// A table with less than this share of all bytes can be everywhere, if nobody writes to it.
const SMALL_MAX: f64 = 0.02;

/// With more tables than these, a try that is no better in its own group is not pursued over all tables.
pub const MANY_TABLES: usize = 25;

/// So many domains are tried as the key of everything.
const SEEDS_MAX: usize = 64;

/// What is better by less is not better: it is the noise of sums.
const BETTER_MIN: f64 = 1e-9;

impl<'a> Ground<'a> {
    /// Prepares the search. `assignments` say in which partition a key is.
    pub fn new(
        schema: &'a Schema,
        trace: &'a Trace,
        domains: &Domains,
        assignments: &Assignments,
    ) -> Ground<'a> {
        let partitions = assignments.partitions();
        // One more place, for tables that are alone.
        let count = partitions as usize + 1;
        let words = count.div_ceil(64);
        let mut ground = Ground {
            schema,
            partitions,
            words,
            transactions: Vec::new(),
            count: Vec::new(),
            visits: Vec::new(),
            places: Vec::new(),
            visitors: vec![Vec::new(); schema.tables.len()],
            load: vec![BTreeMap::new(); schema.tables.len()],
            written: vec![false; schema.tables.len()],
            bytes: Vec::new(),
            all: trace.transactions.len() as u64,
            options: schema.ids().map(|table| options(schema, assignments, table)).collect(),
        };
        let all = schema.bytes().max(1) as f64;
        ground.bytes = schema.tables.iter().map(|table| table.bytes() as f64 / all).collect();
        for table in schema.ids() {
            for choice in all_options(schema, table) {
                ground.load[table.0].insert(choice, vec![0; count]);
            }
        }
        let mut known_kinds: HashMap<Vec<u64>, usize, ByNumber> = HashMap::default();
        for transaction in &trace.transactions {
            let (first, first_place) = (ground.visits.len(), ground.places.len());
            for access in trace.accesses_of(transaction) {
                let table = access.table;
                let width = schema.table(table).keys.len();
                let known = ground.visits[first..].iter().position(|visit| visit.table as usize == table.0);
                let at = first
                    + known.unwrap_or_else(|| {
                        ground.visits.push(Visit {
                            table: small(table.0),
                            unknown: false,
                            known: false,
                            writes: false,
                            places: small(ground.places.len()),
                        });
                        ground.places.resize(ground.places.len() + width * words, 0);
                        ground.visits.len() - 1 - first
                    });
                ground.written[table.0] |= access.op.writes();
                ground.visits[at].writes |= access.op.writes();
                let Some(rows) = trace.rows_of(access, width) else {
                    ground.visits[at].unknown = true;
                    continue;
                };
                let load = &mut ground.load[table.0];
                for row in rows {
                    ground.visits[at].known = true;
                    for key in 0..width {
                        let place = assignments.part(domains, table, key, row) as usize;
                        let word = ground.visits[at].places as usize + key * words + place / 64;
                        ground.places[word] |= 1 << (place % 64);
                        load.get_mut(&Choice::Key(key)).expect("each key is a choice")[place] += 1;
                    }
                    load.get_mut(&Choice::Alone).expect("alone is a choice")[count - 1] += 1;
                }
            }
            let next = ground.transactions.len();
            let kind = *known_kinds.entry(ground.outline(first, first_place)).or_insert(next);
            if kind < next {
                ground.count[kind] += 1;
                ground.visits.truncate(first);
                ground.places.truncate(first_place);
                continue;
            }
            for visit in &ground.visits[first..] {
                ground.visitors[visit.table as usize].push(small(next));
            }
            ground.transactions.push(small(first)..small(ground.visits.len()));
            ground.count.push(1);
        }
        ground
    }

    /// The same, but no table that has a key may be in one place.
    pub fn spread(mut self) -> Ground<'a> {
        for options in &mut self.options {
            if options.iter().any(|option| matches!(option, Choice::Key(_))) {
                options.retain(|option| *option != Choice::Alone);
            }
        }
        self
    }

    /// The same, but no table that has a key may be everywhere if somebody writes to it.
    pub fn keyed(mut self) -> Ground<'a> {
        for (options, _) in self.options.iter_mut().zip(&self.written).filter(|(_, written)| **written) {
            if options.iter().any(|option| matches!(option, Choice::Key(_))) {
                options.retain(|option| *option != Choice::Everywhere);
            }
        }
        self
    }

    /// Everything that the cost of the visits from `first` on depends on.
    fn outline(&self, first: usize, first_place: usize) -> Vec<u64> {
        let flags = |visit: &Visit| {
            let flags = [visit.unknown, visit.known, visit.writes].map(u64::from);
            u64::from(visit.table) << 3 | flags[0] << 2 | flags[1] << 1 | flags[2]
        };
        self.visits[first..].iter().map(flags).chain(self.places[first_place..].iter().copied()).collect()
    }

    /// What `choices` cost.
    pub fn cost(&self, choices: &[Choice]) -> Cost {
        Stand::at(self, choices.to_vec()).cost
    }

    /// How many partitions a transaction needs.
    fn fan(&self, number: usize, choices: &[Choice]) -> u32 {
        let visits = &self.transactions[number];
        if self.words == 1 {
            return self.fan_of_few(visits, choices);
        }
        let mut alone = false;
        let mut places = [0_u64; 4];
        let mut more = if self.words > 4 { vec![0_u64; self.words] } else { Vec::new() };
        let set = if self.words > 4 { more.as_mut_slice() } else { &mut places[..self.words] };
        for visit in &self.visits[visits.start as usize..visits.end as usize] {
            match choices[visit.table as usize] {
                Choice::Everywhere if visit.writes => return self.partitions,
                Choice::Everywhere => {}
                Choice::Alone => alone |= visit.known,
                Choice::Key(_) if visit.unknown && self.partitions > 1 => return self.partitions,
                Choice::Key(key) => {
                    let first = visit.places as usize + key * self.words;
                    let own = &self.places[first..first + self.words];
                    set.iter_mut().zip(own).for_each(|(all, own)| *all |= own);
                }
            }
        }
        let needed: u32 = set.iter().map(|word| word.count_ones()).sum();
        (needed + u32::from(alone)).max(1)
    }

    /// The same, where a set of places is one word.
    fn fan_of_few(&self, visits: &Range<u32>, choices: &[Choice]) -> u32 {
        let (mut alone, mut set) = (false, 0_u64);
        for visit in &self.visits[visits.start as usize..visits.end as usize] {
            match choices[visit.table as usize] {
                Choice::Key(_) if visit.unknown && self.partitions > 1 => return self.partitions,
                Choice::Key(key) => set |= self.places[visit.places as usize + key],
                Choice::Everywhere if visit.writes => return self.partitions,
                Choice::Everywhere => {}
                Choice::Alone => alone |= visit.known,
            }
        }
        (set.count_ones() + u32::from(alone)).max(1)
    }

    /// The same choices where each table is placed as most others are, as far as all of it costs no more than
    /// `at_most` more: what nobody writes is everywhere, and everything else by the domain that places most rows.
    pub fn plain(&self, domains: &Domains, choices: &[Choice], at_most: f64) -> Choices {
        let mut stand = Stand::at(self, choices.to_vec());
        let limit = stand.cost.cost + at_most;
        let mut rows: BTreeMap<DomainId, u64> = BTreeMap::new();
        for (table, choice) in choices.iter().enumerate() {
            if let Choice::Key(key) = choice {
                *rows.entry(domains.of(TableId(table), *key)).or_default() +=
                    self.load[table][choice].iter().sum::<u64>().max(1);
            }
        }
        let mut order: Vec<_> = rows.into_iter().collect();
        order.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
        for table in self.schema.ids() {
            let by_rank = |choice: &Choice| match choice {
                Choice::Key(key) => order.iter().position(|(domain, _)| *domain == domains.of(table, *key)),
                _ => None,
            };
            let mut wishes: Vec<Choice> = order
                .iter()
                .filter_map(|(domain, _)| domains.column(table, *domain).map(Choice::Key))
                .collect();
            let is_small = !self.written[table.0] && self.bytes[table.0] < SMALL_MAX;
            match stand.choices[table.0] {
                Choice::Everywhere if !self.written[table.0] => continue,
                _ if is_small => wishes.insert(0, Choice::Everywhere),
                _ => {}
            }
            let now = by_rank(&stand.choices[table.0]);
            for wish in wishes {
                if wish == stand.choices[table.0]
                    || wish != Choice::Everywhere && now.is_some() && by_rank(&wish) >= now
                {
                    break;
                }
                if !self.options[table.0].contains(&wish) {
                    continue;
                }
                if stand.moved(self, table, wish).cost <= limit {
                    stand.move_to(self, table, wish);
                    break;
                }
            }
        }
        stand.choices
    }

    /// What each table could be placed by otherwise, and what all of it would cost then.
    pub fn otherwise(&self, choices: &[Choice]) -> Vec<Vec<(Choice, Cost)>> {
        let mut stand = Stand::at(self, choices.to_vec());
        let tables: Vec<TableId> = self.schema.ids().collect();
        tables
            .into_iter()
            .map(|table| {
                let others = self.options[table.0].iter().filter(|option| **option != choices[table.0]);
                others.map(|option| (*option, stand.moved(self, table, *option))).collect()
            })
            .collect()
    }

    /// How a table may be placed.
    pub fn options(&self, table: TableId) -> &[Choice] {
        &self.options[table.0]
    }

    fn load_of(&self, choices: &[Choice]) -> Vec<u64> {
        let mut load = vec![0_u64; self.partitions as usize + 1];
        for (table, choice) in choices.iter().enumerate() {
            let own = &self.load[table][choice];
            load.iter_mut().zip(own).for_each(|(all, own)| *all += own);
        }
        load
    }

    fn copied_of(&self, choices: &[Choice]) -> f64 {
        let copied = choices.iter().zip(&self.bytes).filter(|(choice, _)| **choice == Choice::Everywhere);
        copied.map(|(_, share)| share).sum()
    }

    /// `copied` is the share of all bytes that is everywhere.
    fn sum(&self, load: &[u64], copied: f64, fans: u64, crossing: u64) -> Cost {
        let n = self.all.max(1) as f64;
        let skew = skew_of(load, self.partitions);
        let cross = crossing as f64 / n;
        let participants = if self.all == 0 { 1.0 } else { fans as f64 / n };
        let storage = 1.0 + copied * f64::from(self.partitions - 1);
        Cost { cost: cost(cross, participants, skew, storage), cross, participants, skew }
    }
}

/// Every way to place a table.
fn all_options(schema: &Schema, table: TableId) -> Vec<Choice> {
    let keys = (0..schema.table(table).keys.len()).map(Choice::Key);
    keys.chain([Choice::Everywhere, Choice::Alone]).collect()
}

/// The ways to place a table that are neither forbidden nor without sense.
fn options(schema: &Schema, assignments: &Assignments, table: TableId) -> Vec<Choice> {
    let bound = assignments.zones().and_then(|zones| zones.bound(table));
    let of = schema.table(table);
    let fits =
        |choice: &Choice| !matches!(choice, Choice::Key(key) if of.unfit.contains(&of.keys[*key].name));
    bound.map_or_else(|| all_options(schema, table).into_iter().filter(fits).collect(), <[Choice]>::to_vec)
}

/// What `choices` cost, if they are the only ones that matter.
pub fn cost_of(
    schema: &Schema,
    trace: &Trace,
    domains: &Domains,
    assignments: &Assignments,
    choices: &[Choice],
) -> Cost {
    let partitions = assignments.partitions();
    let mut load = vec![0_u64; partitions as usize + 1];
    let (mut fans, mut crossing) = (0_u64, 0_u64);
    let mut set = vec![0_u64; load.len().div_ceil(64)];
    for transaction in &trace.transactions {
        set.fill(0);
        let mut everywhere = false;
        for access in trace.accesses_of(transaction) {
            let choice = choices[access.table.0];
            let rows = match choice {
                Choice::Everywhere => {
                    everywhere |= access.op.writes();
                    continue;
                }
                Choice::Key(_) | Choice::Alone => {
                    trace.rows_of(access, schema.table(access.table).keys.len())
                }
            };
            let Some(rows) = rows else {
                everywhere |= choice != Choice::Alone && partitions > 1;
                continue;
            };
            for row in rows {
                let place = match choice {
                    Choice::Key(key) => assignments.part(domains, access.table, key, row) as usize,
                    _ => partitions as usize,
                };
                set[place / 64] |= 1 << (place % 64);
                load[place] += 1;
            }
        }
        let needed: u32 = set.iter().map(|word| word.count_ones()).sum();
        let fan = if everywhere { partitions } else { needed.max(1) };
        fans += u64::from(fan);
        crossing += u64::from(fan > 1);
    }
    let n = trace.transactions.len().max(1) as f64;
    let all = schema.bytes().max(1) as f64;
    let copied: u64 = schema
        .ids()
        .filter(|table| choices[table.0] == Choice::Everywhere)
        .map(|table| schema.table(table).bytes())
        .sum();
    let storage = 1.0 + copied as f64 / all * f64::from(partitions - 1);
    let (cross, participants) = (crossing as f64 / n, (fans as f64 / n).max(1.0));
    let skew = skew_of(&load, partitions);
    Cost { cost: cost(cross, participants, skew, storage), cross, participants, skew }
}

fn small(n: usize) -> u32 {
    u32::try_from(n).expect("evidence is bounded to fewer than 2^32 rows")
}

/// Choices with what each transaction needs under them, so that a move costs no more than the transactions it concerns.
#[derive(Clone)]
struct Stand {
    choices: Choices,
    fan: Vec<u32>,
    fans: u64,
    crossing: u64,
    load: Vec<u64>,
    copied: f64,
    cost: Cost,
}

impl Stand {
    fn at(ground: &Ground<'_>, choices: Choices) -> Stand {
        let fan: Vec<u32> = (0..ground.transactions.len()).map(|n| ground.fan(n, &choices)).collect();
        let all = || fan.iter().zip(&ground.count);
        let fans = all().map(|(fan, count)| u64::from(*fan) * u64::from(*count)).sum();
        let crossing = all().filter(|(fan, _)| **fan > 1).map(|(_, count)| u64::from(*count)).sum();
        let (load, copied) = (ground.load_of(&choices), ground.copied_of(&choices));
        let cost = ground.sum(&load, copied, fans, crossing);
        Stand { choices, fan, fans, crossing, load, copied, cost }
    }

    /// Load and copies with one table elsewhere.
    fn burden(&self, ground: &Ground<'_>, table: TableId, choice: Choice) -> (Vec<u64>, f64) {
        let was = self.choices[table.0];
        let own = &ground.load[table.0];
        let moved = own[&was].iter().zip(&own[&choice]);
        let load = self.load.iter().zip(moved).map(|(all, (was, is))| all - was + is).collect();
        let copy = |choice: Choice| if choice == Choice::Everywhere { ground.bytes[table.0] } else { 0.0 };
        (load, self.copied - copy(was) + copy(choice))
    }

    /// What it would cost with one table elsewhere.
    fn moved(&mut self, ground: &Ground<'_>, table: TableId, choice: Choice) -> Cost {
        let (load, copied) = self.burden(ground, table, choice);
        let was = std::mem::replace(&mut self.choices[table.0], choice);
        let (mut fans, mut crossing) = (self.fans, self.crossing);
        for number in &ground.visitors[table.0] {
            let before = self.fan[*number as usize];
            let after = ground.fan(*number as usize, &self.choices);
            let count = u64::from(ground.count[*number as usize]);
            fans = fans + count * u64::from(after) - count * u64::from(before);
            crossing = crossing + count * u64::from(after > 1) - count * u64::from(before > 1);
        }
        self.choices[table.0] = was;
        ground.sum(&load, copied, fans, crossing)
    }

    fn move_to(&mut self, ground: &Ground<'_>, table: TableId, choice: Choice) {
        (self.load, self.copied) = self.burden(ground, table, choice);
        self.choices[table.0] = choice;
        for number in &ground.visitors[table.0] {
            let place = &mut self.fan[*number as usize];
            let before = std::mem::replace(place, ground.fan(*number as usize, &self.choices));
            let count = u64::from(ground.count[*number as usize]);
            self.fans = self.fans + count * u64::from(*place) - count * u64::from(before);
            self.crossing = self.crossing + count * u64::from(*place > 1) - count * u64::from(before > 1);
        }
        self.cost = ground.sum(&self.load, self.copied, self.fans, self.crossing);
    }

    /// Moves several tables, and back if that is not better.
    fn try_all(&mut self, ground: &Ground<'_>, moves: &BTreeMap<TableId, Choice>) {
        let (before, was) = (self.cost.cost, self.choices.clone());
        let moved: Vec<TableId> = moves
            .iter()
            .filter(|(table, choice)| was[table.0] != **choice && ground.options[table.0].contains(choice))
            .map(|(table, choice)| {
                self.move_to(ground, *table, *choice);
                *table
            })
            .collect();
        if self.cost.cost >= before - BETTER_MIN {
            for table in moved.into_iter().rev() {
                self.move_to(ground, table, was[table.0]);
            }
        }
    }
}

/// The best choices that were found, and others that were nearly as good, best first. `rounds` times a part of the tables
/// is taken back; those of one of the `groups` at once, by turns.
pub fn search(
    ground: &Ground<'_>,
    domains: &Domains,
    groups: &[Vec<TableId>],
    seeds: Vec<Choices>,
    rounds: usize,
) -> Vec<(Choices, Cost)> {
    let schema = ground.schema;
    let mut found: Vec<(Choices, Cost)> = Vec::new();
    let mut keep = |stand: &Stand| {
        if !found.iter().any(|(known, _)| *known == stand.choices) {
            found.push((stand.choices.clone(), stand.cost));
        }
    };
    let mut stands: Vec<Stand> = seeds.into_iter().map(|seed| Stand::at(ground, seed)).collect();
    stands.sort_by(|a, b| a.cost.cost.total_cmp(&b.cost.cost));
    stands.truncate(6);
    for stand in &mut stands {
        climb(ground, domains, stand, None);
        keep(stand);
    }
    stands.sort_by(|a, b| a.cost.cost.total_cmp(&b.cost.cost));
    let Some(mut best) = stands.into_iter().next() else { return found };
    let mut dice = Dice(0x5eed);
    for round in 0..rounds {
        let mut choices = best.choices.clone();
        let freed: Vec<TableId> = match groups.get(round % (groups.len() + 2)) {
            // Tables that are worked on together, and nothing else: so the search stays small where tables are many.
            Some(group) => group.clone(),
            None => {
                let share = if round % 2 == 0 { 4 } else { 2 };
                schema.ids().filter(|_| dice.below(share) == 0).collect()
            }
        };
        for table in &freed {
            let options = ground.options(*table);
            choices[table.0] = options[dice.below(options.len() as u64) as usize];
        }
        let mut trial = Stand::at(ground, choices);
        climb(ground, domains, &mut trial, Some(&freed));
        if schema.tables.len() <= MANY_TABLES || trial.cost.cost < best.cost.cost {
            climb(ground, domains, &mut trial, None);
        }
        keep(&trial);
        if trial.cost.cost < best.cost.cost {
            best = trial;
        }
    }
    found.sort_by(|a, b| a.1.cost.total_cmp(&b.1.cost));
    found
}

/// Where a search can begin: each domain everywhere that it reaches, and nowhere in particular.
pub fn seeds(ground: &Ground<'_>, domains: &Domains) -> Vec<Choices> {
    let ids = || ground.schema.ids();
    let allowed = |table: TableId, choice: Choice| {
        let options = ground.options(table);
        if options.contains(&choice) { choice } else { options[0] }
    };
    let by_domain = |domain: usize| {
        let place = |table| domains.column(table, DomainId(domain)).map(Choice::Key);
        ids().map(|table| allowed(table, place(table).unwrap_or_else(|| fallback(ground, table)))).collect()
    };
    // The domains that most rows have a key of.
    let mut order: Vec<(u64, usize)> = (0..domains.count)
        .map(|domain| {
            let members = domains.members(DomainId(domain));
            (
                members.map(|(table, key)| ground.load[table.0][&Choice::Key(key)].iter().sum::<u64>()).sum(),
                domain,
            )
        })
        .collect();
    order.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut seeds: Vec<Choices> =
        order.into_iter().take(SEEDS_MAX).map(|(_, domain)| by_domain(domain)).collect();
    seeds.push(ids().map(|table| allowed(table, fallback(ground, table))).collect());
    seeds
}

/// Where a table goes that nothing is known of yet.
fn fallback(ground: &Ground<'_>, table: TableId) -> Choice {
    if !ground.written[table.0] && ground.bytes[table.0] < SMALL_MAX {
        return Choice::Everywhere;
    }
    if ground.schema.table(table).keys.is_empty() { Choice::Alone } else { Choice::Key(0) }
}

/// Takes moves that are better, until none is: one table elsewhere, or a whole domain.
fn climb(ground: &Ground<'_>, domains: &Domains, stand: &mut Stand, only: Option<&[TableId]>) {
    loop {
        let before = stand.cost.cost;
        let tables: Vec<TableId> = only.map_or_else(|| ground.schema.ids().collect(), <[TableId]>::to_vec);
        for table in tables {
            let mut best = (stand.choices[table.0], stand.cost.cost);
            for option in ground.options(table) {
                if *option == stand.choices[table.0] {
                    continue;
                }
                let tried = stand.moved(ground, table, *option).cost;
                if tried < best.1 - BETTER_MIN {
                    best = (*option, tried);
                }
            }
            if best.0 != stand.choices[table.0] {
                stand.move_to(ground, table, best.0);
            }
        }
        if only.is_none() {
            for domain in 0..domains.count {
                let members = domains.members(DomainId(domain));
                let moves = members.map(|(table, key)| (table, Choice::Key(key))).collect();
                stand.try_all(ground, &moves);
            }
        }
        if stand.cost.cost > before - BETTER_MIN {
            return;
        }
    }
}

/// A small generator of numbers (splitmix64, by Steele, Lea and Flood), whose seed is fixed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}
