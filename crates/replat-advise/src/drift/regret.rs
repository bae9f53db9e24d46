//! Rent or buy: what the deployed design costs more than another would, added up since the change, against what it costs
//! to move.

use serde::{Deserialize, Serialize};

use super::Means;
use super::moves::{grafted, nearby};
use super::transfer::{Prices, Transfer, TransferStep, transfer};
use crate::candidate::designs;
use crate::design::{BadDesign, Design};
use crate::domain::Domains;
use crate::measure::measure;
use crate::schema::Schema;
use crate::trace::{Trace, Transaction};

/// What another design saves must be more than this of a transaction's work: the rest is noise.
const SAVED_MIN: f64 = 0.02;

/// So many transactions after a change are searched for another design, in windows…
const EVIDENCE_WINDOWS: usize = 10;

/// …and never more than this. Unit: transactions.
const EVIDENCE_MAX: usize = 4000;

/// After so many changes no search is begun anew: something is wrong that moving cannot mend.
const SEARCHES_MAX: usize = 6;

/// So many designs are compared after each change.
const COMPARED_MAX: usize = 8;

/// So many of them differ little from the deployed one, and so many keys are taken from a search anew.
const NEARBY_MAX: usize = 3;
const SEARCHED_MAX: usize = 2;

/// So many moves are told after each change.
const TOLD_MAX: usize = 3;

/// Regret is added up so many times after a change.
const LOOKS: usize = 12;

/// A move from the deployed design to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// When it has paid for itself, or else the end. Unit: share of the trace.
    pub at: f64,
    /// The change after which it would have been better. Unit: share of the trace.
    pub since: f64,
    /// Whether it has paid for itself, and is recommended.
    pub due: bool,
    /// What the deployed design has cost more since. Unit: transactions' work.
    pub regret: f64,
    /// What it saves with each transaction. Unit: a transaction's work.
    pub saves: f64,
    /// After how many more transactions it would pay; `None` if it has. A design that was better from the beginning is not
    /// recommended here even if it has paid: nothing drifted.
    pub pays_after: Option<f64>,
    /// The design to move to.
    pub design: Design,
    /// How.
    pub transfer: Transfer,
    /// Why, in words for people.
    pub because: String,
}

/// Finds moves after each of `changes`, given as transactions; and from the beginning.
pub(super) fn moves(
    schema: &Schema,
    trace: &Trace,
    deployed: &Design,
    domains: &Domains,
    changes: &[usize],
    window: usize,
    (prices, means): (&Prices, Means),
) -> Result<Vec<Move>, BadDesign> {
    let n = trace.transactions.len();
    let begins = std::iter::once(0).chain(changes.iter().copied());
    let ends = changes.iter().copied().chain([n]);
    let mut deployed = deployed.clone();
    let mut found = Vec::new();
    for (begin, end) in begins.zip(ends).take(SEARCHES_MAX) {
        let evidence = (EVIDENCE_WINDOWS * window).min(EVIDENCE_MAX).min((end.saturating_sub(begin)) / 2);
        if evidence < 2 * window {
            continue;
        }
        let seen = part(schema, trace, &trace.transactions[begin..begin + evidence]);
        let rest: Vec<Trace> = trace.transactions[begin + evidence..end]
            .chunks(((end - begin - evidence) / LOOKS).max(2 * window))
            .map(|transactions| part(schema, trace, transactions))
            .collect();
        let others = others(schema, &seen, domains, &deployed, means)?;
        let mut own: Vec<Move> = Vec::new();
        for other in others {
            let (mut regret, mut watched, mut due_at) = (0.0, 0, None);
            let transfer = transfer(schema, trace, &deployed, &other, prices)?;
            if means == Means::Keys && !can_be_deployed(&transfer, &deployed, &other) {
                continue;
            }
            for chunk in &rest {
                let size = chunk.transactions.len();
                let saved = measure(schema, chunk, &deployed)?.cost - measure(schema, chunk, &other)?.cost;
                regret += saved * size as f64 * prices.stands_for;
                watched += size;
                if regret > transfer.price.transactions {
                    due_at = Some(begin + evidence + watched);
                    break;
                }
            }
            let saves = regret / (watched.max(1) as f64 * prices.stands_for);
            if saves < SAVED_MIN {
                continue;
            }
            let pays_after = (transfer.price.transactions - regret) / saves;
            // What was better from the beginning is no news of what changed since.
            let due_at = due_at.filter(|_| begin > 0);
            own.push(Move {
                at: due_at.unwrap_or(end) as f64 / n as f64,
                since: begin as f64 / n as f64,
                due: due_at.is_some(),
                regret,
                saves,
                pays_after: (pays_after > 0.0).then_some(pays_after),
                because: because(regret, saves, &transfer, due_at.is_some(), pays_after),
                design: other,
                transfer,
            });
        }
        // The first that pays is bought; what is bought is what later ones are compared with.
        own.sort_by(|a, b| {
            b.due.cmp(&a.due).then(a.at.total_cmp(&b.at)).then_with(|| {
                let after = |one: &Move| one.pays_after.unwrap_or(-one.saves);
                after(a).total_cmp(&after(b))
            })
        });
        if let Some(first) = own.first().filter(|first| first.due) {
            deployed = first.design.clone();
            own.truncate(1);
        }
        own.truncate(TOLD_MAX);
        found.extend(own);
    }
    Ok(found)
}

/// Whether deployments of keys carry a transfer out. A partition that goes must be the last: else those behind it get other
/// numbers, which looks like moves and is none.
fn can_be_deployed(transfer: &Transfer, from: &Design, to: &Design) -> bool {
    let only_merges = || transfer.steps.iter().all(|step| matches!(step, TransferStep::Merge(_)));
    transfer.is_of_whole_keys() && (to.partitions >= from.partitions || only_merges())
}

/// Other designs that cost less on what was seen, the best first.
fn others(
    schema: &Schema,
    seen: &Trace,
    domains: &Domains,
    deployed: &Design,
    means: Means,
) -> Result<Vec<Design>, BadDesign> {
    let now = measure(schema, seen, deployed)?.cost;
    let mut all = Vec::new();
    for design in nearby(schema, seen, domains, deployed) {
        let cost = measure(schema, seen, &design)?.cost;
        all.push((cost, design));
    }
    all.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    all.truncate(NEARBY_MAX);
    let anew = match means {
        Means::Any => designs(schema, seen, deployed.partitions),
        Means::Keys => Vec::new(),
    };
    for found in anew.into_iter().take(SEARCHED_MAX) {
        // The same keys with as few rows moved as can be, and freed of hot keys.
        let kept = grafted(schema, domains, deployed, &found.design);
        let freed = nearby(schema, seen, domains, &kept).into_iter().take(1);
        for design in freed.chain([kept.clone()]) {
            let cost = measure(schema, seen, &design)?.cost;
            all.push((cost, design));
        }
        // What search found may be freed of hot keys as well.
        for design in nearby(schema, seen, domains, &found.design).into_iter().take(1) {
            let cost = measure(schema, seen, &design)?.cost;
            if cost < found.metrics.cost {
                all.push((cost, design));
            }
        }
        all.push((found.metrics.cost, found.design));
    }
    all.retain(|(cost, _)| *cost < now - SAVED_MIN);
    all.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    all.dedup_by(|a, b| a.1 == b.1);
    // Those that save nearly as much by fewer moves pay earlier: whether they do is for their price to say.
    all.truncate(COMPARED_MAX);
    Ok(all.into_iter().map(|(_, design)| design).collect())
}

fn because(regret: f64, saves: f64, transfer: &Transfer, due: bool, pays_after: f64) -> String {
    let price = &transfer.price;
    let moved =
        format!("moving {:.0} rows costs the work of {:.0} transactions", price.rows, price.transactions);
    if due {
        format!("the deployed design has cost the work of {regret:.0} transactions more since, and {moved}")
    } else if pays_after <= 0.0 {
        format!(
            "it would have been better from the beginning by {saves:.2} of each transaction's work, and {moved}"
        )
    } else {
        format!(
            "it saves {saves:.2} of each transaction's work, and {moved}: it pays after {pays_after:.0} more"
        )
    }
}

/// Some transactions as a trace of their own.
fn part(schema: &Schema, trace: &Trace, transactions: &[Transaction]) -> Trace {
    let mut part = Trace {
        templates: trace.templates.clone(),
        kinds: trace.kinds.clone(),
        values: trace.values.clone(),
        ..Trace::default()
    };
    let place = |n: usize| u32::try_from(n).expect("fewer than in the whole trace");
    for transaction in transactions {
        let first = place(part.accesses.len());
        for access in trace.accesses_of(transaction) {
            let width = schema.table(access.table).keys.len();
            let rows = trace.rows_of(access, width).map(|rows| {
                let begin = place(part.cells.len());
                rows.for_each(|row| part.cells.extend(row));
                begin..place(part.cells.len())
            });
            let mut own = access.clone();
            own.rows = rows;
            part.accesses.push(own);
        }
        let accesses = first..place(part.accesses.len());
        part.transactions.push(Transaction { at: transaction.at, kind: transaction.kind, accesses });
    }
    part
}
