//! Each target over what is known, and for a moment over what is not.

use replat_fuzz::TARGETS;
use replat_fuzz::mutate::{Dice, mutated};

/// Mutated inputs for each target; a build without optimisation does them in a second or two.
const TRIES: usize = 1500;

#[test]
fn known_inputs_are_borne() {
    for target in TARGETS {
        let known = target.known().expect("regressions can be read");
        assert!(!known.is_empty(), "{} begins with something", target.name);
        for (name, input) in known {
            println!("{} {name}", target.name);
            (target.run)(&input);
        }
    }
}

#[test]
fn mutated_inputs_are_borne_for_a_moment() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        let mut dice = Dice::new(4);
        for number in 0..TRIES {
            let (one, other) = (dice.below(seeds.len()), dice.below(seeds.len()));
            let input = mutated(&seeds[one], &seeds[other], target.words, &mut dice);
            println!("{} {number} {:?}", target.name, String::from_utf8_lossy(&input));
            (target.run)(&input);
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_inputs() {
    let inputs = |seed| {
        let mut dice = Dice::new(seed);
        (0..50).map(|_| mutated(b"select 1", b"update", &["where"], &mut dice)).collect::<Vec<_>>()
    };
    assert_eq!(inputs(7), inputs(7));
    assert_ne!(inputs(7), inputs(8));
}

#[test]
fn names_are_those_of_the_fuzzers_programs() {
    let manifest = include_str!("../../../fuzz/Cargo.toml");
    for target in TARGETS {
        assert!(
            manifest.contains(&format!("name = \"{}\"", target.name)),
            "fuzz/Cargo.toml has no {}",
            target.name
        );
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
