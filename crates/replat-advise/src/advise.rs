//! From evidence to advice.

use crate::assignment::{Assignments, Weights};
use crate::context::{Contexts, contexts};
use crate::design::{Cut, Design, Level, Placement};
use crate::domain::{DomainId, Domains, domains};
use crate::measure::{Metrics, measure};
use crate::schema::Schema;
use crate::search::{Choice, Choices, Ground, search, seeds};
use crate::trace::Trace;

/// So many of the choices that the first search found are balanced and searched from anew.
const FINALISTS: usize = 4;

/// How often the first search takes tables back, and how often one that begins where another has ended.
const ROUNDS: usize = 40;
const POLISH: usize = 6;

/// A design that costs so little more, and places tables alike, is preferred: people have to live with it.
const PLAIN_MAX: f64 = 0.003;

/// Where more transactions than this share cross partitions whatever is done, partitioning does not help.
const CROSS_MAX: f64 = 0.6;

/// A design and what it costs.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// How each table is placed.
    pub choices: Choices,
    /// The design.
    pub design: Design,
    /// What it costs on the evidence.
    pub metrics: Metrics,
}

impl Candidate {
    /// Whether it spreads any table at all.
    pub fn partitions(&self) -> bool {
        self.choices.iter().any(|choice| matches!(choice, Choice::Key(_)))
    }
}

/// What should be done.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Partition as the first design does.
    Partition,
    /// Leave it as it is.
    DoNotPartition {
        /// Why, in words for people.
        because: String,
    },
}

/// Advice on a system.
#[derive(Clone, Debug)]
pub struct Advice {
    /// Tables that are worked on together.
    pub contexts: Contexts,
    /// What should be done.
    pub verdict: Verdict,
    /// The designs that partition, best first, each with another choice of keys.
    pub designs: Vec<Candidate>,
    /// What it costs to leave everything in one place, of as many.
    pub whole: Metrics,
}

/// Advice from whole transactions, for a number of partitions.
pub fn advise(schema: &Schema, trace: &Trace, partitions: u32) -> Advice {
    let whole = Design {
        partitions,
        tables: schema.tables.iter().map(|table| (table.name.clone(), Placement::Single)).collect(),
        ..Design::default()
    };
    let whole = measure(schema, trace, &whole).expect("a design of this very schema");
    let mut designs = designs(schema, trace, partitions);
    designs.retain(Candidate::partitions);
    let verdict = match designs.first() {
        None => Verdict::DoNotPartition { because: "no table has a column to partition by".into() },
        Some(best) if best.metrics.cross_partition_share > CROSS_MAX => Verdict::DoNotPartition {
            because: format!(
                "{:.0} % of the transactions need several partitions under the best design that was found",
                100.0 * best.metrics.cross_partition_share
            ),
        },
        Some(best) if best.metrics.cost >= whole.cost => Verdict::DoNotPartition {
            because: "what crosses partitions costs more than one place that does all the work".into(),
        },
        Some(_) => Verdict::Partition,
    };
    Advice { contexts: contexts(schema, trace), verdict, designs, whole }
}

/// The designs that were found for a number of partitions, best first.
pub fn designs(schema: &Schema, trace: &Trace, partitions: u32) -> Vec<Candidate> {
    let domains = domains(schema, trace);
    let hashed = Assignments::by_hash(&trace.values, &domains, partitions);
    let ground = Ground::new(schema, trace, &domains, &hashed);
    let mut begin = seeds(&ground, &domains);
    let mut first = search(&ground, &domains, begin.clone(), ROUNDS);
    first.truncate(FINALISTS);
    begin.sort_by(|a, b| ground.cost(a).cost.total_cmp(&ground.cost(b).cost));
    begin.truncate(FINALISTS);
    begin.extend(first.into_iter().map(|(choices, _)| choices));
    let mut found: Vec<Candidate> = Vec::new();
    for choices in begin {
        let mut best = balance(schema, trace, &domains, choices, partitions);
        // With the keys where they weigh least, other choices may be better, and weigh otherwise.
        for _ in 0..2 {
            let ground = Ground::new(schema, trace, &domains, &best.1);
            let from = vec![best.0.choices.clone()];
            let Some((choices, _)) = search(&ground, &domains, from, POLISH).into_iter().next() else {
                break;
            };
            let next = balance(schema, trace, &domains, choices, partitions);
            if next.0.metrics.cost > best.0.metrics.cost - 1e-6 {
                break;
            }
            best = next;
        }
        let plain = Ground::new(schema, trace, &domains, &best.1).plain(&domains, &best.0.choices, PLAIN_MAX);
        if plain != best.0.choices {
            let tidied = balance(schema, trace, &domains, plain, partitions);
            if tidied.0.metrics.cost <= best.0.metrics.cost + PLAIN_MAX {
                best = tidied;
            }
        }
        if !found.iter().any(|known| known.choices == best.0.choices) {
            found.push(best.0);
        }
    }
    found.sort_by(|a, b| a.metrics.cost.total_cmp(&b.metrics.cost));
    found
}

/// Places the keys under `choices` as evenly as they let themselves be placed.
fn balance(
    schema: &Schema,
    trace: &Trace,
    domains: &Domains,
    choices: Choices,
    partitions: u32,
) -> (Candidate, Assignments) {
    let mut ways = vec![Assignments::by_hash(&trace.values, domains, partitions)];
    let weights = Weights::of(schema, trace, domains, &choices, partitions);
    ways.push(ways[0].balanced(schema, trace, domains, &weights, None));
    for by in (0..domains.count).map(DomainId).filter(|by| weights.could_split(domains, *by)) {
        ways.push(ways[0].balanced(schema, trace, domains, &weights, Some(by)));
    }
    let mut best: Option<(f64, Assignments)> = None;
    for way in ways {
        let cost = Ground::new(schema, trace, domains, &way).cost(&choices).cost;
        if best.as_ref().is_none_or(|(least, _)| cost < least - 1e-4) {
            best = Some((cost, way));
        }
    }
    let (_, assignments) = best.expect("there is a way");
    let design = written(schema, trace, domains, &choices, &assignments);
    let metrics = measure(schema, trace, &design).expect("a design of this very schema");
    (Candidate { choices, design, metrics }, assignments)
}

/// The design as it is written down.
fn written(
    schema: &Schema,
    trace: &Trace,
    domains: &Domains,
    choices: &Choices,
    assignments: &Assignments,
) -> Design {
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
    Design { partitions: assignments.partitions(), tables: tables.collect(), ..Design::default() }
}
