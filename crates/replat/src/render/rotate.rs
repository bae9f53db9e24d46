//! Runs over partitions, for people and programs.

use replat_control::rotate::report::{Ending, Entry, RunReport, State};
use replat_engine::lifecycle::{Script, Statement};
use replat_model::lifecycle::facts::{Bound, Edge, Micros, TableName};
use replat_model::lifecycle::health::{Finding, Severity, codes};
use replat_model::lifecycle::plan::{Kind, NewPart, RotatePlan, Unit, Work};
use replat_model::lifecycle::runway::Runway;

use super::{bytes, count, counted};

/// A word of a line of facts: as it is, or quoted where it would not be one word.
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "._-$:/".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

/// A table's name as a word.
pub fn table(name: &TableName) -> String {
    word(&name.to_string())
}

/// A moment by the database's clock, in RFC 3339, to the second.
pub fn second(at: Micros) -> String {
    jiff::Timestamp::from_microsecond(at).map_or_else(|_| format!("{at} us"), |t| format!("{t:.0}"))
}

fn edge(edges: &[Edge]) -> String {
    let one = |edge: &Edge| match edge {
        Edge::Min => "MIN".to_owned(),
        Edge::Max => "MAX".to_owned(),
        Edge::At(text) => {
            let short = text.trim_end_matches("+00").trim_end_matches(" 00:00:00");
            (if short.len() < 10 { text } else { short }).replace(' ', "T")
        }
    };
    let parts: Vec<String> = edges.iter().map(one).collect();
    if parts.len() == 1 { parts[0].clone() } else { format!("({})", parts.join(",")) }
}

/// Bounds, in short: `[2026-10-01,2026-10-02)`.
pub fn bound(bound: &Bound) -> String {
    match bound {
        Bound::Range { from, to } => format!("[{},{})", edge(from), edge(to)),
        Bound::List(values) => {
            let values: Vec<String> =
                values.iter().map(|v| v.as_deref().map_or_else(|| "NULL".into(), word)).collect();
            format!("({})", values.join(","))
        }
        Bound::Hash { modulus, remainder } => format!("{remainder}/{modulus}"),
        Bound::Default => "default".into(),
    }
}

/// The bounds of several partitions: of ranges where they begin and end.
fn bounds(parts: &[NewPart]) -> String {
    match (parts.first(), parts.last()) {
        (
            Some(NewPart { bound: Bound::Range { from, .. }, .. }),
            Some(NewPart { bound: Bound::Range { to, .. }, .. }),
        ) => {
            format!("[{},{})", edge(from), edge(to))
        }
        _ => {
            let shown: Vec<String> = parts.iter().take(4).map(|p| bound(&p.bound)).collect();
            let more = if parts.len() > 4 { "…" } else { "" };
            shown.join(" ") + more
        }
    }
}

/// What a unit does, in a few words: `create billing.usage_events +1 [2026-10-01,2026-10-02)`.
pub fn work(unit: &Unit) -> String {
    let set = table(&unit.set);
    let of = |parent: &TableName| {
        if *parent == unit.set { String::new() } else { format!(" below {}", table(parent)) }
    };
    match &unit.work {
        Work::Create { parent, parts, .. } => {
            format!("create {set}{} +{} {}", of(parent), parts.len(), bounds(parts))
        }
        Work::Drain { parent, parts, .. } => {
            format!("drain {set}{} +{} {}", of(parent), parts.len(), bounds(parts))
        }
        Work::Overflow { parent, old, new } => {
            format!("overflow {set}{} -{} +{}", of(parent), old.len(), new.len())
        }
        Work::Retire { part, bound: b, .. } => format!("retire {set} {} {}", word(&part.name), bound(b)),
        Work::Archive { table: t, .. } => format!("archive {set} {}", word(&t.name)),
        Work::Drop { table: t, .. } => format!("drop {set} {}", word(&t.name)),
        Work::Finalize { part, .. } => format!("finalize {set} {}", word(&part.name)),
        Work::Reap { tables, unit } => {
            format!("reap {set} {} of {unit}", counted(tables.len(), "table", "tables"))
        }
        Work::Adopt { parts } => format!("adopt {set} {}", counted(parts.len(), "partition", "partitions")),
        Work::Disown { parts } => {
            format!("give back {set} {}", counted(parts.len(), "partition", "partitions"))
        }
        Work::Recut { parent, old, new } => {
            format!("recut {set}{} -{} +{} {}", of(parent), old.len(), new.len(), bounds(new))
        }
        Work::Convert { table: t, first, .. } => format!("convert {} first={}", table(t), bound(first)),
        Work::Unconvert { table: t, .. } => format!("unconvert {}", table(t)),
        Work::Align { index, missing_on, attach, rebuild } => format!(
            "align {set} {} missing={} attach={} rebuild={}",
            word(index),
            missing_on.len(),
            attach.len(),
            rebuild.len()
        ),
    }
}

/// Microseconds as milliseconds, to a tenth.
fn ms(us: u64) -> String {
    format!("{:.1}ms", us as f64 / 1_000.0)
}

/// A unit that has ended, as a line of facts without its time.
pub fn entry(entry: &Entry) -> String {
    let mut line = match entry.state {
        State::Done => work(&entry.unit),
        State::Failed => format!("failed {}", work(&entry.unit)),
        State::Held => format!("held   {}", work(&entry.unit)),
        State::Refused => format!("refused {}", work(&entry.unit)),
        State::Shown => format!("would {}", work(&entry.unit)),
    };
    if let Some(outcome) = &entry.outcome {
        if outcome.rows > 0 {
            line += &format!(" rows={}", outcome.rows);
        }
        if !outcome.proofs.is_empty() {
            let mut proofs = outcome.proofs.clone();
            proofs.sort();
            proofs.dedup();
            line += &format!(" proof={}", proofs.join(","));
        }
        // What is as it should be is not worth a word: no lock in anybody's way, no queue, the first try.
        for (name, us) in [("held", outcome.held_us), ("stall", outcome.stalled_us)] {
            if us > 0 {
                line += &format!(" {name}={}", ms(us));
            }
        }
        if outcome.tries > 1 {
            line += &format!(" tries={}", outcome.tries);
        }
        if let Some(version) = outcome.version {
            line += &format!(" version={version}");
        }
    }
    if let Work::Retire { drop_after: Some(at), .. } = &entry.unit.work {
        line += &format!(" drop_after={}", second(*at));
    }
    if let Some(code) = &entry.code {
        line += &format!(" code={code}");
    }
    if let Some(why) = &entry.why {
        line += &format!(" why={why:?}");
    }
    line
}

/// What a finding says, without the name of its set in front where that is told beside it.
pub fn said(finding: &Finding) -> &str {
    let name = finding.set.as_ref().map(|set| format!("{set}: "));
    name.and_then(|name| finding.what.strip_prefix(&name)).unwrap_or(&finding.what)
}

/// A finding with the name of its set, as a sentence.
pub fn sentence(finding: &Finding) -> String {
    match &finding.set {
        Some(set) => format!("{}: {}", table(set), said(finding)),
        None => finding.what.clone(),
    }
}

/// A finding as a line of facts without its time.
pub fn finding(finding: &Finding) -> String {
    let word = match finding.severity {
        Severity::Note => "note  ",
        Severity::Warning => "warn  ",
        Severity::Error => "error ",
    };
    let set = finding.set.as_ref().map_or_else(String::new, |set| format!(" {}", table(set)));
    format!("{word}{set} code={} what={:?} remedy={:?}", finding.code, said(finding), finding.remedy)
}

/// How long, in days, for people.
pub fn lasting(seconds: Option<u64>) -> String {
    match seconds {
        None => "for ever".into(),
        Some(0) => "0".into(),
        Some(s) if s < 3_600 => format!("{}min", s / 60),
        Some(s) if s < 2 * 86_400 => format!("{}h", s / 3_600),
        Some(s) => format!("{}d", s / 86_400),
    }
}

/// Whether a finding says that something wanted is left out. Then it is told even where it is no more than a note: what
/// is wanted and not done must never go unseen.
pub fn leaves_out(finding: &Finding) -> bool {
    [codes::OVERDUE, codes::KEPT, codes::SWITCHED_OFF].contains(&finding.code.as_str())
}

/// How long a table's inserts are safe, for people.
pub fn lasts(runway: &Runway) -> String {
    if runway.unknown.is_some() { "unknown".into() } else { lasting(runway.seconds) }
}

/// The last line of a run: `rotate done created=2 retired=1 …`.
pub fn summary(report: &RunReport) -> String {
    let what = match report.ending {
        Ending::Unchanged => {
            return format!(
                "rotate done created=0 retired=0 duration={} nothing to do: nothing has changed since the last run",
                duration(report)
            );
        }
        Ending::ReadOnly => {
            let database = word(&report.database);
            return format!(
                "rotate done created=0 retired=0 duration={} nothing to do: {database} is read-only",
                duration(report)
            );
        }
        Ending::Shown => "rotate shown",
        Ending::Checked => return checked(report),
        Ending::Through => "rotate done",
    };
    let mut line = what.to_owned();
    for (name, kinds) in [
        ("created", &[Kind::Create][..]),
        ("drained", &[Kind::Drain]),
        ("retired", &[Kind::Retire]),
        ("dropped", &[Kind::Drop]),
        ("repaired", &[Kind::Repair]),
        ("adopted", &[Kind::Adopt]),
        ("reshaped", &[Kind::Recut, Kind::Convert, Kind::Align]),
    ] {
        let n: usize = kinds.iter().map(|k| report.done(*k)).sum();
        if n > 0 || matches!(name, "created" | "retired") {
            line += &format!(" {name}={n}");
        }
    }
    let kept: u64 = report.census.values().map(|c| c.attached).sum();
    line += &format!(" kept={kept} failed={}", report.in_state(State::Failed).count());
    for (name, state) in [("held", State::Held), ("refused", State::Refused), ("shown", State::Shown)] {
        let n = report.in_state(state).count();
        if n > 0 {
            line += &format!(" {name}={n}");
        }
    }
    for (name, severity) in [("errors", Severity::Error), ("warnings", Severity::Warning)] {
        let n = found(report, severity);
        if n > 0 {
            line += &format!(" {name}={n}");
        }
    }
    if !report.entries.is_empty() && report.ending != Ending::Shown {
        line += &format!(" stall={}", ms(report.stalled_us()));
    }
    line += &format!("{} duration={}", least(report), duration(report));
    if report.entries.is_empty() { line + " nothing to do" } else { line }
}

fn found(report: &RunReport, severity: Severity) -> usize {
    report.findings.iter().filter(|f| f.severity == severity).count()
}

/// The table whose inserts are safe for the shortest time.
fn least(report: &RunReport) -> String {
    let known = |r: &&Runway| r.seconds.is_some() && r.unknown.is_none();
    let least = report.runways.iter().find(known);
    least.map_or_else(String::new, |r| format!(" runway_min={}({})", lasting(r.seconds), table(&r.set)))
}

fn checked(report: &RunReport) -> String {
    let gaps: u64 = report.census.values().map(|c| c.gaps).sum();
    let overdue: u64 = report.census.values().map(|c| c.overdue).sum();
    format!(
        "rotate check tables={} errors={} warnings={} notes={} gaps={gaps} overdue={overdue}{} duration={}",
        report.sets,
        found(report, Severity::Error),
        found(report, Severity::Warning),
        found(report, Severity::Note),
        least(report),
        duration(report)
    )
}

fn duration(report: &RunReport) -> String {
    match report.took_ms {
        ms @ 0..1_000 => format!("{ms}ms"),
        ms => format!("{:.1}s", ms as f64 / 1_000.0),
    }
}

/// A run as a short table, for a terminal.
pub fn run(report: &RunReport, explain: bool) -> String {
    let mut text = format!("{}  {}\n", report.database, report.version);
    for entry in &report.entries {
        let mark = match entry.state {
            State::Done => "✓",
            State::Shown => "·",
            State::Held => "…",
            State::Failed | State::Refused => "✗",
        };
        text += &format!("  {mark} {}\n", self::entry(entry));
    }
    if explain {
        text += &understood(report);
    }
    let told = |f: &&Finding| explain || f.severity > Severity::Note || leaves_out(f);
    for f in report.findings.iter().filter(told) {
        let mark = match f.severity {
            Severity::Note => "i",
            Severity::Warning => "!",
            Severity::Error => "✗",
        };
        text += &format!("  {mark} {}  {}\n      {}\n", sentence(f), f.code, f.remedy);
    }
    text + &summary(report) + "\n"
}

/// How each set was understood.
pub fn understood(report: &RunReport) -> String {
    let mut text = String::new();
    for set in &report.understood {
        text += &format!("  {}: {}\n", table(&set.table), set.grid);
        match &set.wanted_until {
            Some(until) => text += &format!("      wanted until {until}: {}\n", set.because),
            None => text += &format!("      {}\n", set.because),
        }
    }
    text
}

/// The statements of a unit, with locks and stalls.
pub fn script(unit: &Unit, script: &Script, records: bool) -> String {
    let mut text = format!("-- {}  {}\n", unit.id, work(unit));
    if let Work::Retire { because, .. } | Work::Drop { because, .. } = &unit.work {
        text += &format!("--   because {because}\n");
    }
    if unit.wal_bytes > 0 || unit.relations > 0 {
        text +=
            &format!("--   about {} of log, {} relations\n", bytes(unit.wal_bytes), count(unit.relations));
    }
    for transaction in &script.transactions {
        let how = match (transaction.alone, transaction.repeated) {
            (true, true) => ", outside of a transaction, repeated",
            (true, false) => ", outside of a transaction",
            (false, true) => ", one transaction a batch",
            (false, false) => "",
        };
        text += &format!("-- {}{how}\n", transaction.name);
        let own = transaction.statements.iter().filter(|s| s.records).count();
        let checks = transaction.statements.iter().filter(|s| is_check(s)).count();
        if own + checks > 0 && !records {
            text += &format!(
                "--   and {} on replat's own records, {}: -v\n",
                counted(own, "statement", "statements"),
                counted(checks, "check", "checks")
            );
        }
        let mut said = String::new();
        for statement in transaction.statements.iter().filter(|s| records || !(s.records || is_check(s))) {
            let locks: String = statement
                .locks
                .iter()
                .map(|lock| {
                    format!("--   locks {} in {}: {}\n", table(&lock.table), lock.mode, statement.stall)
                })
                .collect();
            // Thirty statements in a row that lock the same need not say so thirty times.
            if locks != said {
                text += &locks;
                said = locks;
            }
            let end = if statement.sql.trim_end().ends_with(';') { "" } else { ";" };
            text += &format!("{}{end}\n", statement.sql.trim_end());
        }
    }
    text
}

/// Whether a statement only makes sure that something is still as it was planned from.
fn is_check(statement: &Statement) -> bool {
    !statement.records && statement.locks.is_empty() && statement.sql.starts_with("SELECT ")
}

/// A plan with its statements.
pub fn rotate_plan(plan: &RotatePlan, scripts: &[(String, Script)], detail: bool, records: bool) -> String {
    let concerned: std::collections::BTreeSet<&TableName> = plan.units.iter().map(|unit| &unit.set).collect();
    let tables = plan.understood.len().max(concerned.len());
    let mut text = format!(
        "A run over {}, as of {}: {}\n",
        counted(tables, "table", "tables"),
        second(plan.at),
        counted(plan.units.len(), "unit", "units"),
    );
    for unit in &plan.units {
        text += &format!("  {}\n", work(unit));
        if let Some((_, found)) = scripts.iter().find(|(id, _)| *id == unit.id)
            && detail
        {
            text += &script(unit, found, records);
        }
    }
    let wal: u64 = plan.units.iter().map(|u| u.wal_bytes).sum();
    let relations: u64 = plan.units.iter().map(|u| u.relations).sum();
    if !plan.units.is_empty() {
        text += &format!("about {} of log, {} relations\n", bytes(wal), count(relations));
    }
    for f in &plan.findings {
        text += &format!("{}\n", finding(f));
    }
    text
}

/// How long inserts are safe, one line for each table.
pub fn runways(runways: &[Runway]) -> String {
    let width = runways.iter().map(|r| table(&r.set).chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for runway in runways {
        let name = table(&runway.set);
        let until = runway.until.as_deref().unwrap_or("-");
        text += &format!("{:>9}  {name:<width$}  {until}  {}\n", lasts(runway), runway.because);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_short_and_names_stay_one_word() {
        let day = |d: &str| vec![Edge::At(format!("2026-10-{d} 00:00:00+00"))];
        let hour = |h: &str| vec![Edge::At(format!("2026-10-01 {h}:00:00+00"))];
        let rows = [
            (Bound::Range { from: day("01"), to: day("02") }, "[2026-10-01,2026-10-02)"),
            (Bound::Range { from: hour("06"), to: hour("12") }, "[2026-10-01T06:00:00,2026-10-01T12:00:00)"),
            (
                Bound::Range { from: vec![Edge::At("1000".into())], to: vec![Edge::At("2000".into())] },
                "[1000,2000)",
            ),
            (Bound::Range { from: vec![Edge::Min], to: vec![Edge::At("+00".into())] }, "[MIN,+00)"),
            (Bound::List(vec![Some("a b".into()), None]), "(\"a b\",NULL)"),
            (Bound::Hash { modulus: 4, remainder: 3 }, "3/4"),
            (Bound::Default, "default"),
        ];
        for (given, wanted) in rows {
            assert_eq!(bound(&given), wanted);
        }
        assert_eq!(word("billing.events"), "billing.events");
        assert_eq!(word("a\nb"), "\"a\\nb\"");
        assert_eq!(word("x=1"), "\"x=1\"");
        assert_eq!(word(""), "\"\"");
    }

    #[test]
    fn spans_are_in_the_largest_unit_that_tells_enough() {
        let rows = [
            (None, "for ever"),
            (Some(0), "0"),
            (Some(120), "2min"),
            (Some(90_000), "25h"),
            (Some(864_000), "10d"),
        ];
        for (seconds, wanted) in rows {
            assert_eq!(lasting(seconds), wanted);
        }
    }
}
