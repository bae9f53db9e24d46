//! Systems of random shape: the key that was planted is found, or one as good; what has none is refused; and what is
//! forecast comes about. None of the public workloads is among them, so nothing here can be tuned to those.

mod common;

use common::planted::{KINDS, Planted, tree, two_keys};
use replat_advise::advise::{Wish, advise_on};
use replat_advise::evidence::{Known, Tier, read};
use replat_advise::fixture::Described;
use replat_advise::measure::measure;
use replat_advise::system::System;

/// So many systems of each kind.
const SEEDS: u64 = 4;

/// So many transactions of each.
const TRANSACTIONS: usize = 3_000;

fn systems() -> Vec<Planted> {
    let trees = KINDS.iter().flat_map(|kind| (0..SEEDS).map(|seed| tree(*kind, seed, TRANSACTIONS)));
    trees.chain((0..SEEDS).map(|seed| two_keys(seed, TRANSACTIONS))).collect()
}

fn described(planted: &Planted) -> Described {
    match read(&planted.whole).expect("it is whole").0 {
        Known::Described(described) => *described,
        Known::Seen(_) => panic!("a trace was given"),
    }
}

/// The cost of the best of the good designs.
fn best(planted: &Planted, truth: &Described) -> f64 {
    let costs = planted
        .good
        .iter()
        .map(|design| measure(&truth.schema, &truth.trace, design).expect("it fits the workload").cost);
    costs.fold(f64::INFINITY, f64::min)
}

#[test]
fn the_planted_key_is_found_or_one_as_good_and_what_has_none_is_refused() {
    let mut wrong = Vec::new();
    // How far what is forecast from a sample is from what all transactions cost.
    let mut errors = Vec::new();
    // What stays distributed, as all transactions tell it, and as the sample does.
    let mut floors = Vec::new();
    for planted in systems() {
        let truth = described(&planted);
        let best = best(&planted, &truth);
        let (whole, _) = System::of(read(&planted.whole).expect("it is whole").0);
        let (sample, notes) = System::of(read(&planted.sample).expect("a sample").0);
        assert_eq!((whole.tier, sample.tier), (Tier::Trace, Tier::Sample), "{}: {notes:?}", planted.name);
        let wish = Wish { partitions: truth.partitions, ..Wish::default() };
        for (system, at_most) in [(&whole, 0.02), (&sample, 0.05)] {
            let advice = advise_on(system, &wish);
            let design = advice.design.as_ref().expect("a design");
            // What only the sample knows of, its workload's description may not.
            let found = measure(&truth.schema, &truth.trace, design).map(|metrics| metrics.cost);
            println!(
                "{} {:?}: refuses {}, regret {:+.3?}, best {best:.3}, floor {:.3?}",
                planted.name,
                system.tier,
                advice.refuses(),
                found.as_ref().map(|found| found - best).ok(),
                advice.floor.as_ref().map(|floor| floor.share)
            );
            let is_right = match planted.good.is_empty() {
                true => advice.refuses(),
                false => !advice.refuses() && found.is_ok_and(|found| found <= best + at_most),
            };
            let forecast = advice.forecast.as_ref().expect("a forecast").cross_partition_share.value;
            if let (Tier::Sample, Ok(metrics)) = (system.tier, measure(&truth.schema, &truth.trace, design)) {
                println!("  forecast {forecast:.3}, and it is {:.3}", metrics.cross_partition_share);
                errors.push((forecast - metrics.cross_partition_share).abs());
            }
            let floor = advice.floor.expect("a floor");
            match system.tier {
                Tier::Trace => floors.push((planted.name.clone(), floor.share, floor)),
                _ => floors.last_mut().expect("all transactions come first").2 = floor,
            }
            if !is_right {
                wrong.push(format!("{} {:?}", planted.name, system.tier));
            }
        }
    }
    errors.sort_by(f64::total_cmp);
    let (median, worst) = (errors[errors.len() / 2], errors[errors.len() - 1]);
    println!("forecasts from samples: {} of them, error: median {median:.3}, worst {worst:.3}", errors.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(median <= 0.02, "{median}");
    for (name, whole, sample) in floors {
        // Rows of which nobody knows where they are do not stay apart whatever is done. The sample's kinds are finer, and
        // more of them have a key that suits them alone.
        assert!(sample.share <= whole + 0.03, "{name}: {whole:.3} and {sample:.3?}");
        assert!(sample.least <= sample.share && sample.share <= sample.most, "{name}: {sample:?}");
    }
}

#[test]
fn what_is_forecast_from_one_half_comes_about_on_the_other() {
    let (mut errors, mut covered, mut widths) = (Vec::new(), 0, Vec::new());
    for planted in systems().into_iter().filter(|planted| !planted.good.is_empty()) {
        let (whole, _) = System::of(read(&planted.whole).expect("it is whole").0);
        let n = whole.trace.transactions.len();
        for first in [true, false] {
            let part = |seen: bool| {
                whole.trace.chosen((0..n).filter(|place| ((place * 40 / n) % 2 == 0) == (first == seen)))
            };
            let advice = advise_on(&System { trace: part(true), ..whole.clone() }, &Wish::default());
            let design = advice.design.expect("a design");
            let forecast = advice.forecast.expect("a forecast").cross_partition_share;
            let got = measure(&whole.schema, &part(false), &design).expect("it fits").cross_partition_share;
            if !forecast.covers(got) {
                println!("{}: {got:.4}, forecast {forecast:.4?}", planted.name);
            }
            covered += u32::from(forecast.covers(got));
            errors.push((got - forecast.value).abs());
            widths.push(forecast.half_width());
        }
    }
    errors.sort_by(f64::total_cmp);
    widths.sort_by(f64::total_cmp);
    let of = errors.len();
    println!(
        "{covered} of {of} covered; error: median {:.4}, worst {:.4}; half width: median {:.4}",
        errors[of / 2],
        errors[of - 1],
        widths[of / 2]
    );
    assert!(f64::from(covered) >= 0.9 * of as f64 && errors[of / 2] <= 0.01);
}
