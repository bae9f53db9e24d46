//! The figures as a table that people like to read.

use crate::arm::Arm;
use crate::figures::{Better, CaseReport, Measure, Number, Report, median};
use crate::load::Class;

/// The width of the first column.
const NAME: usize = 24;
/// The width of the others.
const CELL: usize = 13;
/// How many different failures are shown of each arm.
const SHOWN: usize = 4;

/// On what it ran.
pub fn head(report: &Report) -> String {
    let mut out = String::new();
    for (key, value) in &report.setting {
        line(&mut out, &format!("{key:NAME$}{value}"));
    }
    line(&mut out, &format!("{:NAME$}{} before, {} after", "load average", report.busy[0], report.busy[1]));
    out
}

/// One case.
pub fn case_text(case: &CaseReport) -> String {
    let mut out = String::new();
    line(&mut out, "");
    let rounds = case.measures.iter().map(|m| m.round).max().unwrap_or(0);
    let times = if rounds == 1 { "1 round".to_owned() } else { format!("{rounds} rounds") };
    line(&mut out, &format!("{:<5}{}; {times}", case.id, case.title));
    if !case.wanted.is_empty() {
        line(&mut out, &format!("     wanted: {}", case.wanted));
    }
    if case.measures.iter().any(|m| !m.classes.is_empty()) {
        waits(&mut out, case);
    }
    numbers(&mut out, case);
    for arm in arms(case) {
        remarks(&mut out, case, arm);
    }
    out
}

fn arms(case: &CaseReport) -> impl Iterator<Item = Arm> {
    Arm::ALL.into_iter().filter(|arm| case.measures.iter().any(|m| m.arm == *arm))
}

fn of(case: &CaseReport, arm: Arm) -> impl Iterator<Item = &Measure> {
    case.measures.iter().filter(move |m| m.arm == arm)
}

/// The longest wait of each class over all rounds, and the middle round's 99th percentile.
fn waits(out: &mut String, case: &CaseReport) {
    let row = |name: &str, cell: &dyn Fn(Class) -> String| {
        Class::ALL
            .iter()
            .fold(format!("  {name:NAME$}"), |row, class| row + &format!("{:>CELL$}", cell(*class)))
    };
    line(out, &row("worst wait, ms", &|class| class.to_string()));
    let worst =
        |arm, class| of(case, arm).filter_map(|m| m.classes.get(&class)).map(|w| w.worst_ms).reduce(f64::max);
    let p99 =
        |arm, class| median(of(case, arm).filter_map(|m| m.classes.get(&class)).map(|w| w.p99_ms).collect());
    for arm in arms(case) {
        line(out, &row(&arm.to_string(), &|class| worst(arm, class).map_or("-".into(), number)));
        line(
            out,
            &row("   99 %", &|class| p99(arm, class).map_or("-".into(), |p99| format!("({})", number(p99)))),
        );
    }
    let ratio = |class| Some(times(worst(Arm::Partman, class)?, worst(Arm::Replat, class)?));
    if Class::ALL.iter().any(|class| ratio(*class).is_some()) {
        line(out, &row("pg_partman / replat", &|class| ratio(class).unwrap_or("-".into())));
    }
}

/// The middle round's value of each number, with the least and the most.
fn numbers(out: &mut String, case: &CaseReport) {
    for shown in &case.numbers {
        let mut row = format!("  {:NAME$}", label(shown));
        let mut middle = Vec::new();
        for arm in arms(case) {
            let values: Vec<f64> = of(case, arm).filter_map(|m| m.numbers.get(shown.key)).copied().collect();
            let Some(value) = median(values.clone()) else { continue };
            middle.push((arm, value));
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let spread = if least == most {
                String::new()
            } else {
                format!(" ({} to {})", number(least), number(most))
            };
            row += &format!("  {arm} {}{spread}", number(value));
        }
        let of = |wanted: Arm| middle.iter().find(|(arm, _)| *arm == wanted).map(|(_, value)| *value);
        if let (Some(partman), Some(replat)) = (of(Arm::Partman), of(Arm::Replat)) {
            match shown.better {
                Better::Less => row += &format!("  -> {}", times(partman, replat)),
                Better::More => row += &format!("  -> {}", times(replat, partman)),
                Better::Neither => {}
            }
        }
        if !middle.is_empty() {
            line(out, &row);
        }
    }
}

fn label(shown: &Number) -> String {
    if shown.unit.is_empty() { shown.key.to_owned() } else { format!("{}, {}", shown.key, shown.unit) }
}

/// What came of the work, what failed, and what the load was refused.
fn remarks(out: &mut String, case: &CaseReport, arm: Arm) {
    let measures: Vec<&Measure> = of(case, arm).collect();
    let failed = measures.iter().filter(|m| !m.achieved).count();
    if arm != Arm::Noise {
        let verdict = match failed {
            0 => "as wanted".to_owned(),
            failed => format!("NOT as wanted in {failed} of {} rounds", measures.len()),
        };
        let mut came_to: Vec<&str> =
            measures.iter().map(|m| m.came_to.as_str()).filter(|c| !c.is_empty()).collect();
        came_to.dedup();
        line(out, &format!("  {:NAME$}  {verdict}: {}", arm.to_string(), came_to.join("; ")));
    }
    let mut failures: Vec<(&str, usize)> = Vec::new();
    for failure in measures.iter().flat_map(|m| &m.failures) {
        match failures.iter_mut().find(|(words, _)| words == failure) {
            Some((_, count)) => *count += 1,
            None => failures.push((failure, 1)),
        }
    }
    for (words, count) in failures.iter().take(SHOWN) {
        line(out, &format!("  {:NAME$}  fails {count}x: {}", "", short(words)));
    }
    let mut refused = std::collections::BTreeMap::<&str, u64>::new();
    for (words, count) in measures.iter().flat_map(|m| &m.refused) {
        *refused.entry(words).or_default() += count;
    }
    for (words, count) in refused.into_iter().take(SHOWN) {
        line(out, &format!("  {:NAME$}  {arm}: the application was refused {count}x: {}", "", short(words)));
    }
}

fn short(words: &str) -> String {
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 200 { line } else { line.chars().take(199).chain(['…']).collect() }
}

fn number(value: f64) -> String {
    match value {
        value if value == value.trunc() && value.abs() < 1000.0 => format!("{value}"),
        value if value.abs() < 10.0 => format!("{value:.2}"),
        value if value.abs() < 100.0 => format!("{value:.1}"),
        value => grouped(value.round() as i64),
    }
}

fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

fn times(worse: f64, better: f64) -> String {
    match (worse, better) {
        (0.0, 0.0) => "1x".to_owned(),
        (_, 0.0) => "from some to none".to_owned(),
        (worse, better) if worse / better < 10.0 => format!("{:.1}x", worse / better),
        (worse, better) => format!("{}x", grouped((worse / better).round() as i64)),
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_keep_what_matters() {
        let cases = [
            (0.0, "0"),
            (30.0, "30"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (123.4, "123"),
            (19_990.4, "19,990"),
            (-1_234_567.0, "-1,234,567"),
        ];
        for (value, wanted) in cases {
            assert_eq!(number(value), wanted);
        }
    }

    #[test]
    fn a_ratio_says_how_often_one_goes_into_the_other() {
        let cases =
            [(20_000.0, 20.0, "1,000x"), (30.0, 20.0, "1.5x"), (10.0, 20.0, "0.5x"), (0.0, 0.0, "1x")];
        for (worse, better, wanted) in cases {
            assert_eq!(times(worse, better), wanted);
        }
        assert_eq!(times(3.0, 0.0), "from some to none");
    }
}
