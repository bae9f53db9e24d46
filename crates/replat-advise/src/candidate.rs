//! Designs that are worth a look: found by search, balanced, plain, and measured.

use std::collections::HashSet;
use std::sync::Arc;

use crate::assignment::{Assignments, Weights};
use crate::community;
use crate::design::{Cut, Design, Level, Placement};
use crate::domain::{DomainId, Domains, domains, representatives};
use crate::measure::{Metrics, measure};
use crate::order::ranges;
use crate::residency::Zones;
use crate::schema::{Schema, TableId};
use crate::search::{Choice, Choices, Cost, Ground, MANY_TABLES, cost_of, search, seeds};
use crate::trace::Trace;

/// So many of the choices that the first search found are balanced and searched from anew.
const FINALISTS: usize = 4;

/// How often the first search takes tables back, and how often one that begins where another has ended.
const ROUNDS: usize = 40;
const POLISH: usize = 6;

/// A design that costs so little more, and places tables alike, is preferred: people have to live with it.
const PLAIN_MAX: f64 = 0.003;

/// Hashing other names of the same keys costs so much more or less.
const LUCK_MAX: f64 = 0.01;

/// A design that costs less than this is good enough as it is…
const POOR_MIN: f64 = 0.15;

/// …and keys in ranges have to be better than hashed ones by this: a hash needs no looking after.
const RANGES_GAIN_MIN: f64 = 0.02;

/// What puts more than this share of all rows handled into one place does not partition; with few partitions, more than
/// this many fair loads.
const LUMP_MIN: f64 = 0.5;
const LUMP_FAIR_MIN: f64 = 1.5;

/// The search looks at so many transactions at most; what it finds is measured on all.
const SEARCHED_MAX: usize = 12_000;

/// Longer evidence is not looked through for transactions that are repeated.
const REPEATED_MAX: usize = 4 * SEARCHED_MAX;

/// A design and what it costs.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// How each table is placed.
    pub choices: Choices,
    /// The design.
    pub design: Design,
    /// What it costs on the evidence.
    pub metrics: Metrics,
    /// Where the keys are.
    pub assignments: Assignments,
    /// Whether most of what there is to do is in one place, and stays there.
    is_lumped: bool,
    /// Keys are placed one by one, by the company they keep.
    pub by_company: bool,
}

impl Candidate {
    /// Whether it spreads what there is to do at all.
    pub fn partitions(&self) -> bool {
        !self.is_lumped && self.choices.iter().any(|choice| matches!(choice, Choice::Key(_)))
    }

    /// Whether there may be a better one that is more to live with: keys in ranges, or placed one by one.
    fn is_poor(&self) -> bool {
        self.metrics.cost >= POOR_MIN && self.metrics.cross_partition_share >= POOR_MIN / 2.0
    }
}

/// Choices with the keys in their places, and what that costs.
struct Balanced {
    choices: Choices,
    assignments: Assignments,
    cost: f64,
}

impl Balanced {
    fn measured(self, task: &Task<'_>) -> Candidate {
        task.measured(self.choices, &self.assignments)
    }
}

/// What designs are sought for.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The tables.
    pub schema: &'a Schema,
    /// The transactions.
    pub trace: &'a Trace,
    /// Which columns hold the same keys.
    pub domains: &'a Domains,
    /// How many partitions there are to be.
    pub partitions: u32,
    /// Which keys must be in which partitions; for the values of this very trace.
    pub zones: Option<&'a Arc<Zones>>,
    /// Tables that are worked on together.
    pub groups: &'a [Vec<TableId>],
    /// How tables may be placed.
    pub freedom: Freedom,
}

/// How tables may be placed that have a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freedom {
    /// In any way.
    Any,
    /// Not in one place.
    Spread,
    /// Not in one place, and everywhere only if nobody writes to them.
    Keyed,
}

/// The designs that were found for a number of partitions, best first.
pub fn designs(schema: &Schema, trace: &Trace, partitions: u32) -> Vec<Candidate> {
    let domains = domains(schema, trace);
    Task { schema, trace, domains: &domains, partitions, zones: None, groups: &[], freedom: Freedom::Any }
        .designs()
}

impl Task<'_> {
    /// The designs that were found, best first.
    pub fn designs(&self) -> Vec<Candidate> {
        let found = self.found();
        // Where partitions are few, or nothing keeps to any, everything in one place costs least; but that is no answer to
        // how it could be partitioned, nor says it why it should not be. Everything everywhere is none either.
        match self.less_free() {
            Some(less) if !found.iter().any(Candidate::partitions) => less.designs(),
            _ => found,
        }
    }

    /// The same with one freedom less.
    fn less_free(&self) -> Option<Task<'_>> {
        let freedom = match self.freedom {
            Freedom::Any => Freedom::Spread,
            Freedom::Spread => Freedom::Keyed,
            Freedom::Keyed => return None,
        };
        Some(Task { freedom, ..*self })
    }

    fn ground(&self, assignments: &Assignments) -> Ground<'_> {
        let ground = Ground::new(self.schema, self.trace, self.domains, assignments);
        match self.freedom {
            Freedom::Any => ground,
            Freedom::Spread => ground.spread(),
            Freedom::Keyed => ground.spread().keyed(),
        }
    }

    fn found(&self) -> Vec<Candidate> {
        let hashed = self.hashed();
        let mut found = self.found_on(&hashed);
        let best = |found: &[Candidate]| found.iter().position(Candidate::partitions);
        let is_poor = best(&found).is_none_or(|best| found[best].is_poor());
        if let Some(ranged) = is_poor.then(|| self.ranged(&hashed)).flatten() {
            let limit = best(&found).map_or(f64::INFINITY, |best| found[best].metrics.cost - RANGES_GAIN_MIN);
            let better = self.found_on(&ranged).into_iter();
            found.extend(better.filter(|other| other.partitions() && other.metrics.cost <= limit));
            found.sort_by(|a, b| a.metrics.cost.total_cmp(&b.metrics.cost));
        }
        if let Some(better) = best(&found).and_then(|best| self.by_community(&found[best])) {
            found.insert(0, better);
        }
        found
    }

    /// The designs that are found if keys begin where these assignments have them.
    fn found_on(&self, hashed: &Assignments) -> Vec<Candidate> {
        let ground = self.ground(hashed);
        let mut begin = seeds(&ground, self.domains);
        let rounds = ROUNDS.min(20_000 / self.schema.tables.len().max(1)).max(4);
        let mut first = search(&ground, self.domains, self.separate(), begin.clone(), rounds);
        first.truncate(FINALISTS);
        begin.sort_by(|a, b| ground.cost(a).cost.total_cmp(&ground.cost(b).cost));
        begin.truncate(FINALISTS);
        begin.extend(first.into_iter().map(|(choices, _)| choices));
        let stands = representatives(self.schema, self.trace, self.domains);
        let mut found: Vec<Candidate> = Vec::new();
        for choices in begin {
            let best = self.polished(choices, hashed, &stands);
            if !found.iter().any(|known| known.choices == best.choices) {
                found.push(best);
            }
        }
        found.sort_by(|a, b| a.metrics.cost.total_cmp(&b.metrics.cost));
        found
    }

    /// The best design that is found from a good one, on other evidence of the same system.
    pub fn again(&self, from: &Choices) -> Candidate {
        let hashed = self.hashed();
        let mut best = self.again_on(&hashed, from);
        if best.is_poor()
            && let Some(ranged) = self.ranged(&hashed)
        {
            let other = self.again_on(&ranged, from);
            if other.metrics.cost <= best.metrics.cost - RANGES_GAIN_MIN {
                best = other;
            }
        }
        match self.less_free() {
            Some(less) if !best.partitions() => less.again(from),
            _ => best,
        }
    }

    fn again_on(&self, hashed: &Assignments, from: &Choices) -> Candidate {
        let ground = self.ground(hashed);
        let allowed = |table: TableId| {
            let (options, choice) = (ground.options(table), from[table.0]);
            if options.contains(&choice) { choice } else { options[0] }
        };
        let from: &Choices = &self.schema.ids().map(allowed).collect();
        let mut begin = seeds(&ground, self.domains);
        begin.push(from.clone());
        let first = search(&ground, self.domains, self.separate(), begin, POLISH).into_iter().next();
        let stands = representatives(self.schema, self.trace, self.domains);
        let known = self.polished(from.clone(), hashed, &stands);
        // What the search takes for better before keys have their places may not be so afterwards.
        match first.filter(|(choices, _)| choices != from && *choices != known.choices) {
            Some((choices, _)) => {
                let other = self.polished(choices, hashed, &stands);
                if other.metrics.cost < known.metrics.cost { other } else { known }
            }
            None => known,
        }
    }

    /// The design that places each table as this one does, with the keys where this evidence wants them. Keys are placed one
    /// by one if they are in this one: whether that is worth it was decided already.
    pub fn placed_as(&self, other: &Candidate) -> Candidate {
        let hashed = self.hashed();
        let ranged = other.assignments.is_ranged_anywhere().then(|| self.ranged(&hashed)).flatten();
        let plain = self.balance(other.choices.clone(), ranged.as_ref().unwrap_or(&hashed)).measured(self);
        match other.by_company {
            true => self.with_company(&plain, community::learned(self, &plain)),
            false => plain,
        }
    }

    /// What each table could be placed by otherwise, and what the whole would cost then, keys being where they are.
    pub fn otherwise(&self, candidate: &Candidate) -> Vec<Vec<(Choice, Cost)>> {
        let ground = Ground::new(self.schema, self.trace, self.domains, &candidate.assignments);
        ground.otherwise(&candidate.choices)
    }

    fn hashed(&self) -> Assignments {
        Assignments::by_hash(&self.trace.values, self.domains, self.partitions, self.zones.cloned())
    }

    /// The same, but with keys in ranges where their neighbours are needed together; `None` if none are.
    fn ranged(&self, hashed: &Assignments) -> Option<Assignments> {
        // Where keys must be in certain partitions, their order cannot decide.
        if self.zones.is_some() {
            return None;
        }
        let ranges = ranges(self.schema, self.trace, self.domains, self.partitions);
        (!ranges.is_empty()).then(|| hashed.with_ranges(ranges))
    }

    /// With few tables the search looks at all of them at once.
    fn separate(&self) -> &[Vec<TableId>] {
        if self.schema.tables.len() > MANY_TABLES { self.groups } else { &[] }
    }

    fn polished(&self, choices: Choices, hashed: &Assignments, stands: &[DomainId]) -> Candidate {
        let domains = self.domains;
        let mut best = self.balance(choices, hashed);
        // With the keys where they weigh least, other choices may be better, and weigh otherwise.
        for _ in 0..2 {
            let ground = self.ground(&best.assignments);
            let from = vec![best.choices.clone()];
            let found = search(&ground, domains, self.separate(), from, POLISH);
            let Some((choices, _)) = found.into_iter().next() else { break };
            if choices == best.choices {
                break;
            }
            let next = self.balance(choices, hashed);
            if next.cost > best.cost - 1e-6 {
                break;
            }
            best = next;
        }
        let plain = self.ground(&best.assignments).plain(domains, &best.choices, PLAIN_MAX);
        if plain != best.choices {
            let tidied = self.balance(plain, hashed);
            if tidied.cost <= best.cost + PLAIN_MAX {
                best = tidied;
            }
        }
        self.known_better(best, hashed, stands).measured(self)
    }

    /// The same design by keys that name the same things, but that statements know more often.
    fn known_better(&self, best: Balanced, hashed: &Assignments, stands: &[DomainId]) -> Balanced {
        let by = |table: TableId, choice: Choice| match choice {
            Choice::Key(key) => {
                let domain = self.domains.of(table, key);
                let better = stands[domain.0];
                let key = if better == domain { Some(key) } else { self.domains.column(table, better) };
                key.map(Choice::Key)
            }
            other => Some(other),
        };
        let renamed: Option<Choices> =
            self.schema.ids().map(|table| by(table, best.choices[table.0])).collect();
        match renamed {
            Some(renamed) if renamed != best.choices => {
                let renamed = self.balance(renamed, hashed);
                // The keys meet as before, so what differs is the luck of their hashes.
                if renamed.cost <= best.cost + LUCK_MAX { renamed } else { best }
            }
            _ => best,
        }
    }

    /// Places the keys under `choices` as evenly as they let themselves be placed.
    fn balance(&self, choices: Choices, hashed: &Assignments) -> Balanced {
        let Task { schema, trace, domains, partitions, .. } = *self;
        let mut ways = vec![hashed.clone()];
        let weights = Weights::of(schema, trace, domains, &choices, partitions);
        ways.push(hashed.balanced(schema, trace, domains, &weights, None));
        let all = || (0..domains.count).map(DomainId);
        let mut best: Option<(f64, Assignments)> = None;
        let mut keep = |way: Assignments| {
            let cost = cost_of(schema, trace, domains, &way, &choices).cost;
            let is_better = best.as_ref().is_none_or(|(least, _)| cost < least - 1e-4);
            if is_better {
                best = Some((cost, way));
            }
            is_better
        };
        ways.into_iter().for_each(|way| {
            keep(way);
        });
        let split = |by| hashed.balanced(schema, trace, domains, &weights, Some(by));
        let mut split_by = None;
        for by in all().filter(|by| weights.could_split(domains, *by, None)) {
            if keep(split((by, None))) {
                split_by = Some(by);
            }
        }
        // Tables that have not got that key may have another one.
        if let Some(by) = split_by {
            for or_by in all().filter(|or_by| *or_by != by && weights.could_split(domains, *or_by, Some(by)))
            {
                keep(split((by, Some(or_by))));
            }
        }
        let (cost, assignments) = best.expect("there is a way");
        Balanced { choices, assignments, cost }
    }

    fn by_community(&self, best: &Candidate) -> Option<Candidate> {
        if !best.is_poor() || best.assignments.is_ranged_anywhere() {
            return None;
        }
        let candidate = self.with_company(best, community::pins(self, best)?);
        (candidate.metrics.cost < best.metrics.cost).then_some(candidate)
    }

    fn with_company(&self, plain: &Candidate, pins: community::Pins) -> Candidate {
        let placed = self.measured(plain.choices.clone(), &plain.assignments.with_pins(pins));
        Candidate { by_company: true, ..placed }
    }

    /// The design as it is written down, and what it costs.
    pub(crate) fn measured(&self, choices: Choices, assignments: &Assignments) -> Candidate {
        let Task { schema, trace, domains, .. } = *self;
        let tables = schema.ids().map(|id| {
            let placement = match choices[id.0] {
                Choice::Everywhere => Placement::Replicate,
                Choice::Alone => Placement::Single,
                Choice::Key(key) => {
                    let cut: Cut = assignments.cut(schema, &trace.values, domains, id, key);
                    Placement::Partition { levels: vec![Level { cut, shard: None }] }
                }
            };
            (schema.table(id).name.clone(), placement)
        });
        let tables = tables.collect();
        let design = Design { partitions: assignments.partitions(), tables, ..Design::default() };
        let metrics = measure(schema, trace, &design).expect("a design of this very schema");
        let is_lumped = self.is_lumped(&choices);
        Candidate { choices, design, metrics, assignments: assignments.clone(), is_lumped, by_company: false }
    }
}

impl Task<'_> {
    /// Whether most of the rows handled are of tables that are in one place.
    fn is_lumped(&self, choices: &Choices) -> bool {
        let (mut alone, mut all) = (0_usize, 0_usize);
        for access in &self.trace.accesses {
            let rows = access.rows.as_ref().map_or(0, ExactSizeIterator::len);
            let rows = rows / self.schema.table(access.table).keys.len().max(1);
            match choices[access.table.0] {
                Choice::Everywhere => {}
                Choice::Alone => (alone, all) = (alone + rows, all + rows),
                Choice::Key(_) => all += rows,
            }
        }
        let most = LUMP_MIN.max(LUMP_FAIR_MIN / f64::from(self.partitions.max(1)));
        alone as f64 > most * all as f64
    }
}

/// A part of a long trace that the search looks at; `None` if it looks at all.
///
/// Transactions that do the very same are as good as one for the search, so that seeing everything twice changes nothing.
pub fn searched(trace: &Trace) -> Option<Trace> {
    let all = trace.transactions.len();
    if all <= SEARCHED_MAX || all <= REPEATED_MAX && different(trace) <= SEARCHED_MAX {
        return None;
    }
    // Every so-manieth transaction, over all of the time.
    Some(trace.chosen((0..SEARCHED_MAX).map(|n| n * all / SEARCHED_MAX)))
}

/// How many transactions do something that no other does.
fn different(trace: &Trace) -> usize {
    let mut known = HashSet::new();
    for transaction in &trace.transactions {
        let done: Vec<_> = trace
            .accesses_of(transaction)
            .iter()
            .map(|access| {
                let rows =
                    access.rows.as_ref().map(|rows| &trace.cells[rows.start as usize..rows.end as usize]);
                (access.template, access.touch, rows)
            })
            .collect();
        known.insert(done);
    }
    known.len()
}
