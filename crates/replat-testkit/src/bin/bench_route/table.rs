//! The figures as a table that people like to read.

use crate::figures::{Case, FIGURES, growth};

/// The width of the first column.
const NAME: usize = 24;
/// The width of the others.
const CELL: usize = 12;

/// One shape, with a column for each number of leaves.
pub fn text(cases: &[Case]) -> String {
    let Some(first) = cases.first() else { return String::new() };
    let mut out = format!("{:NAME$}", format!("{}, leaves", first.shape));
    cases.iter().for_each(|case| out += &format!("{:>CELL$}", case.leaves));
    out += &format!("{:>CELL$}\n", "each ×10");
    for figure in FIGURES {
        out += &format!("  {figure:width$}", width = NAME - 2);
        for case in cases {
            out += &format!("{:>CELL$}", case.figures.get(figure).map_or("-".into(), |n| number(*n)));
        }
        let growth = growth(cases, figure).map_or("-".into(), |factor| format!("×{factor:.2}"));
        out += &format!("{growth:>CELL$}\n");
    }
    out
}

/// Three digits that count.
fn number(n: f64) -> String {
    match n.abs() {
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        _ => format!("{n:.2}"),
    }
}
