//! Budgets, ladders and pauses.

use std::time::Duration;

use proptest::prelude::*;
use replat_model::lifecycle::facts::TableName;
use replat_model::lifecycle::patience::{Attempt, Backoff, Budgets, Ladder, Left, Spent, Stall};

use super::given::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn the_least_of_all_budgets_is_what_is_left() {
    let budgets = Budgets::default();
    let (a, b, tenants) = (table("a"), table("b"), table("tenants"));
    // (set, whether it refers to `tenants`, ms), and what is left for `b`, which refers to `tenants`.
    type Case<'a> = (&'a str, Vec<(&'a TableName, bool, u64)>, Option<(u64, u64)>);
    let cases: [Case<'_>; 7] = [
        ("nothing spent", vec![], Some((50, 100))),
        ("another set spent of the run", vec![(&a, false, 120)], Some((50, 80))),
        ("its own", vec![(&b, false, 170)], Some((30, 30))),
        ("another set, at the referenced table", vec![(&a, true, 60)], Some((40, 40))),
        ("the referenced table has nothing left", vec![(&a, true, 98)], None),
        ("the run has nothing left", vec![(&a, false, 150), (&b, false, 50)], None),
        ("more than there was", vec![(&a, true, 10_000)], None),
    ];
    for (case, stalls, want) in cases {
        let mut spent = Spent::default();
        for (set, refers, stalled) in &stalls {
            let referenced = if *refers { vec![tenants.clone()] } else { vec![] };
            spent.add(set, &referenced, ms(*stalled));
        }
        let left = spent.limits_for(&budgets, &b, std::slice::from_ref(&tenants));
        assert_eq!(left, want.map(|(each, total)| Left { each: ms(each), total: ms(total) }), "{case}");
        assert_eq!(spent.run(), stalls.iter().map(|stall| ms(stall.2)).sum(), "{case}");
    }
}

#[test]
fn an_hour_of_history_counts_for_tables_and_not_for_the_run() {
    let minute = 60_000_000;
    let stall = |ago: i64, stalled: u64| Stall {
        at: NOW - ago * minute,
        set: table("a"),
        referenced: vec![table("t")],
        stalled: ms(stalled),
    };
    let history = [stall(1, 40), stall(59, 20), stall(60, 1_000), stall(600, 1_000), stall(-5, 3)];
    let spent = Spent::within_the_hour(&history, NOW);
    assert_eq!(spent.run(), Duration::ZERO);
    assert_eq!((spent.of(&table("a")), spent.of_referenced(&table("t"))), (ms(63), ms(63)));
    assert_eq!(spent.of(&table("t")), Duration::ZERO);
}

#[test]
fn tries_escalate_only_while_there_is_budget() {
    let ladder = Ladder { left: Left { each: ms(50), total: ms(200) }, patient_tries: 3, tries_max: 40 };
    let tight = Ladder { left: Left { each: ms(20), total: ms(30) }, ..ladder };
    let none = Ladder { left: Left { each: ms(4), total: ms(200) }, ..ladder };
    for (case, ladder, number, spent, want) in [
        ("first", ladder, 0, 0, Attempt::NoWait),
        ("patient", ladder, 2, 0, Attempt::NoWait),
        ("1st rung", ladder, 3, 0, Attempt::Queue(ms(5))),
        ("between", ladder, 4, 5, Attempt::NoWait),
        ("between", ladder, 6, 5, Attempt::NoWait),
        ("2nd rung", ladder, 7, 5, Attempt::Queue(ms(10))),
        ("3rd rung", ladder, 11, 15, Attempt::Queue(ms(25))),
        ("4th rung", ladder, 15, 40, Attempt::Queue(ms(50))),
        ("stays there", ladder, 19, 90, Attempt::Queue(ms(50))),
        ("what is left", ladder, 23, 170, Attempt::Queue(ms(25))),
        ("too little is left", ladder, 27, 196, Attempt::NoWait),
        ("more than all is spent", ladder, 27, 900, Attempt::NoWait),
        ("enough", ladder, 40, 0, Attempt::GiveUp),
        ("never above each", tight, 15, 0, Attempt::Queue(ms(10))),
        ("a budget below the first rung", none, 15, 0, Attempt::NoWait),
    ] {
        assert_eq!(ladder.attempt(number, ms(spent)), want, "{case}, try {number}");
    }
}

proptest! {
    /// Whoever climbs the ladder never spends more than there is, nor more at once.
    #[test]
    fn no_climb_passes_its_budget(each in 0_u64..100, total in 0_u64..500, patient in 0_u32..30, taken in prop::collection::vec(0.0_f64..=1.0, 100)) {
        let left = Left { each: ms(each), total: ms(total) };
        let ladder = Ladder { left, patient_tries: patient, tries_max: 300 };
        let mut spent = Duration::ZERO;
        for number in 0..=300 {
            match ladder.attempt(number, spent) {
                Attempt::NoWait => {}
                Attempt::Queue(wait) => {
                    prop_assert!(number >= patient);
                    prop_assert!(wait <= left.each && !wait.is_zero());
                    spent += wait.mul_f64(taken[number as usize % taken.len()]);
                }
                Attempt::GiveUp => prop_assert_eq!(number, 300),
            }
        }
        prop_assert!(spent <= left.total);
    }

    /// However sets and referenced tables are mixed, no budget is passed by whoever keeps to what is left.
    #[test]
    fn no_sum_passes_its_budget(units in prop::collection::vec((0_usize..4, prop::collection::vec(0_usize..3, 0..3)), 0..60)) {
        let budgets = Budgets::default();
        let mut spent = Spent::default();
        for (set, referenced) in &units {
            let set = table(&format!("s{set}"));
            let mut referenced: Vec<_> = referenced.iter().map(|n| table(&format!("r{n}"))).collect();
            referenced.sort();
            referenced.dedup();
            if let Some(left) = spent.limits_for(&budgets, &set, &referenced) {
                prop_assert!(left.each <= budgets.each && left.each <= left.total);
                spent.add(&set, &referenced, left.each);
            }
        }
        prop_assert!(spent.run() <= budgets.per_run);
        for n in 0..4 {
            let (set, referenced) = (table(&format!("s{n}")), table(&format!("r{n}")));
            prop_assert!(spent.of(&set) <= budgets.per_table);
            prop_assert!(spent.of_referenced(&referenced) <= budgets.per_referenced);
        }
    }

    #[test]
    fn pauses_double_up_to_a_cap_and_are_the_same_again(seed in any::<u64>(), number in any::<u32>(), first in 1_u64..1_000, cap in 1_u64..10_000) {
        let backoff = Backoff::between(ms(first), ms(cap), seed);
        let whole = ms(first).saturating_mul(1_u32.checked_shl(number).unwrap_or(u32::MAX)).min(ms(cap));
        let pause = backoff.delay(number);
        prop_assert!(pause >= whole / 2 - Duration::from_nanos(1) && pause <= whole, "{pause:?} {whole:?}");
        prop_assert_eq!(pause, Backoff::between(ms(first), ms(cap), seed).delay(number));
    }
}

#[test]
fn two_seeds_are_out_of_step() {
    let apart = (0..50).filter(|n| Backoff::new(1).delay(*n) != Backoff::new(2).delay(*n)).count();
    assert!(apart > 45, "{apart} of 50");
}
