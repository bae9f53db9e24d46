//! Forecasts hold for what comes next: of systems of random shape, of such whose traffic comes in bursts, and of the public
//! workloads, from few transactions and from many.

mod common;

use common::planted::{Dice, KINDS, Planted, tree, two_keys};
use common::{expected, folders, of};
use replat_advise::advise::{Wish, advise_on};
use replat_advise::evidence::{Known, read};
use replat_advise::measure::measure;
use replat_advise::system::System;
use replat_advise::trace::Trace;

/// What was forecast of the share of crossing transactions, and what came.
struct Case {
    transactions: usize,
    got: f64,
    value: f64,
    low: f64,
    high: f64,
}

impl Case {
    fn is_covered(&self) -> bool {
        self.low - 1e-9 <= self.got && self.got <= self.high + 1e-9
    }
}

/// Advises on some transactions of a system, and measures the design on as many others.
fn case(name: &str, system: &System, seen: Vec<usize>, later: Vec<usize>) -> Option<Case> {
    let transactions = seen.len();
    let seen = System { trace: system.trace.chosen(seen), ..system.clone() };
    let advice = advise_on(&seen, &Wish::default());
    // Nobody acts on a design that is only the least bad one.
    if advice.refuses() {
        return None;
    }
    let (design, forecast) = (advice.design?, advice.forecast?.cross_partition_share);
    let later = system.trace.chosen(later);
    let got = measure(&system.schema, &later, &design).expect("it fits").cross_partition_share;
    let case = Case { transactions, got, value: forecast.value, low: forecast.low, high: forecast.high };
    println!(
        "{name}|{transactions}|{got:.5}|{:.5}|{:.5}|{:.5}|{}",
        case.value,
        case.low,
        case.high,
        if case.is_covered() { "covered" } else { "MISSED" }
    );
    Some(case)
}

fn whole(planted: &Planted) -> System {
    match read(&planted.whole).expect("it is whole").0 {
        Known::Described(described) => of(*described),
        Known::Seen(_) => panic!("a trace was given"),
    }
}

/// So many of the transactions, in an order in which kinds come in bursts: half of the time whatever comes next, and else one
/// of the kind that is favoured for a while.
fn in_bursts(trace: &Trace, wanted: usize, seed: u64) -> Vec<usize> {
    let mut dice = Dice(seed);
    let n = trace.transactions.len();
    let mut taken = vec![false; n];
    let (mut order, mut favoured) = (Vec::new(), 0);
    for _ in 0..wanted {
        if dice.chance(0.03) {
            favoured = trace.transactions[dice.below(n)].kind;
        }
        let is_any = dice.chance(0.5);
        let next = (0..n).find(|at| !taken[*at] && (is_any || trace.transactions[*at].kind == favoured));
        if let Some(next) = next.or_else(|| (0..n).find(|at| !taken[*at])) {
            taken[next] = true;
            order.push(next);
        }
    }
    order
}

/// Systems of every kind that can be partitioned, each with seeds of its own.
fn random_cases(seeds: std::ops::Range<u64>, sizes: &[usize], bursts: bool) -> Vec<Case> {
    let kinds = KINDS.iter().filter(|kind| !kind.scattered).map(Some).chain([None]);
    let mut cases = Vec::new();
    for (number, kind) in (0..).zip(kinds) {
        for seed in seeds.clone().map(|seed| seed + 1000 * number) {
            for size in sizes {
                // In bursts one kind may be taken often, and should not run out.
                let all = if bursts { 6 * size } else { 2 * size };
                let planted = kind.map_or_else(|| two_keys(seed, all), |kind| tree(*kind, seed, all));
                let system = whole(&planted);
                let order =
                    if bursts { in_bursts(&system.trace, 2 * size, seed) } else { (0..2 * size).collect() };
                let name = format!("{}{}", planted.name, if bursts { ", in bursts" } else { "" });
                cases.extend(case(&name, &system, order[..*size].to_vec(), order[*size..].to_vec()));
            }
        }
    }
    cases
}

fn workload_cases(sizes: &[usize], each: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for folder in folders() {
        let expected = expected(&folder);
        let changes = expected["changes"].as_array().is_some_and(|changes| !changes.is_empty());
        if !expected["reference_metrics"]["J"].is_number() || changes {
            continue;
        }
        let system = of(common::read(&folder));
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a name");
        let n = system.trace.transactions.len();
        for size in sizes {
            for turn in 0..each.min(n / (2 * size)) {
                let begin = turn * (n / each.min(n / (2 * size)));
                let (seen, later) = (begin..begin + size, begin + size..begin + 2 * size);
                cases.extend(case(name, &system, seen.collect(), later.collect()));
            }
        }
    }
    cases
}

/// Says how many are covered, by size; gives the share.
fn judge(cases: &[Case]) -> f64 {
    let mut sizes: Vec<usize> = cases.iter().map(|case| case.transactions).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        let of: Vec<&Case> = cases.iter().filter(|case| case.transactions == size).collect();
        let covered = of.iter().filter(|case| case.is_covered()).count();
        let mut widths: Vec<f64> = of.iter().map(|case| (case.high - case.low) / 2.0).collect();
        let mut errors: Vec<f64> = of.iter().map(|case| (case.got - case.value).abs()).collect();
        let more = of.iter().map(|case| case.got - case.value).sum::<f64>() / of.len() as f64;
        widths.sort_by(f64::total_cmp);
        errors.sort_by(f64::total_cmp);
        println!(
            "{size} transactions: {covered} of {} covered; error: median {:.4}, mean {more:+.4}; half width: median {:.4}",
            of.len(),
            errors[errors.len() / 2],
            widths[widths.len() / 2]
        );
    }
    cases.iter().filter(|case| case.is_covered()).count() as f64 / cases.len() as f64
}

#[test]
fn nineteen_of_twenty_forecasts_cover_what_comes_next() {
    let mut cases: Vec<Case> = std::thread::scope(|scope| {
        let steady = scope.spawn(|| random_cases(100..110, &[200, 1000], false));
        let bursts = scope.spawn(|| random_cases(200..210, &[200, 1000], true));
        let public = scope.spawn(|| workload_cases(&[200, 1000, 4000], 12));
        [steady, bursts, public].into_iter().flat_map(|part| part.join().expect("cases")).collect()
    });
    // A share of nothing is easily covered.
    cases.retain(|case| case.got > 0.0 || case.value > 0.0);
    let share = judge(&cases);
    println!("{share:.3} of {} covered", cases.len());
    assert!((0.93..=0.97).contains(&share), "{share}");
    // And they are no wider than they have to be.
    let mut widths: Vec<f64> = cases
        .iter()
        .filter(|case| case.transactions == 1000)
        .map(|case| (case.high - case.low) / 2.0)
        .collect();
    widths.sort_by(f64::total_cmp);
    assert!(widths[widths.len() / 2] <= 0.025, "{}", widths[widths.len() / 2]);
}
