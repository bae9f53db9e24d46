//! Metrics of runs, in the exposition format of Prometheus.
//!
//! The program ends with its run, so what only ever grows is read back from the file that the run before wrote.

use std::collections::BTreeMap;
use std::path::Path;

use replat_control::rotate::report::{Ending, RunReport, State, Worst};
use replat_model::lifecycle::health::Severity;

/// Upper bounds of the classes of how long locks were held. Unit: seconds.
const CLASSES: [f64; 8] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0];

/// What is known to grow from run to run, by name and labels.
type Counters = BTreeMap<String, f64>;

/// The metrics of runs over some databases that ended at `now`, in seconds since 1970; `before` is what was written
/// by the run before, or empty.
pub fn text(ended: &[(&str, Option<&RunReport>)], before: &str, now: i64) -> String {
    let mut page = Page::new(before);
    for (place, report) in ended {
        page.run(place, *report, now);
    }
    page.write()
}

/// The same of a run that looked at some databases, or some tables, only: what was said of the others still holds.
pub fn text_of_part(ended: &[(&str, Option<&RunReport>)], before: &str, now: i64) -> String {
    let mut page = Page::new(before);
    page.gauges = page.before.iter().filter(|(name, _)| !grows(name)).map(|(n, v)| (n.clone(), *v)).collect();
    for (place, report) in ended {
        page.run(place, *report, now);
    }
    page.write()
}

/// Replaces the file at once: whoever reads it meanwhile gets the old one or the new one, whole.
pub fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path).inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

/// A family of metrics.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

const FAMILIES: &[Family] = &[
    Family {
        name: "replat_lifecycle_runway_seconds",
        kind: "gauge",
        help: "For how long inserts are safe if nothing ever runs again; +Inf for ever, NaN if it is not known.",
    },
    Family {
        name: "replat_lifecycle_children",
        kind: "gauge",
        help: "Partitions of a table by state: attached, pending, detached, archived.",
    },
    Family {
        name: "replat_lifecycle_overdue_children",
        kind: "gauge",
        help: "Retirements and drops that are due and were not done.",
    },
    Family {
        name: "replat_lifecycle_overflow_rows",
        kind: "gauge",
        help: "Rows in a partition for what belongs to no other.",
    },
    Family { name: "replat_lifecycle_gaps", kind: "gauge", help: "Places where a partition is missing." },
    Family {
        name: "replat_lifecycle_findings",
        kind: "gauge",
        help: "What is wrong, or worth knowing, after the last run, by severity and code.",
    },
    Family { name: "replat_rotate_runs_total", kind: "counter", help: "Runs, by outcome." },
    Family {
        name: "replat_rotate_units_total",
        kind: "counter",
        help: "Units of work, by kind and by what became of them.",
    },
    Family {
        name: "replat_rotate_last_run_timestamp_seconds",
        kind: "gauge",
        help: "When the last run ended, however it ended.",
    },
    Family {
        name: "replat_rotate_last_success_timestamp_seconds",
        kind: "gauge",
        help: "When the last run ended that had no error.",
    },
    Family { name: "replat_rotate_converged", kind: "gauge", help: "1 if the last run left nothing to do." },
    Family { name: "replat_rotate_duration_seconds", kind: "gauge", help: "How long the last run took." },
    Family {
        name: "replat_rotate_stall_seconds_total",
        kind: "counter",
        help: "How long runs stood in queues for locks, which the application may have felt.",
    },
    Family {
        name: "replat_rotate_lock_seconds",
        kind: "histogram",
        help: "How long the longest transaction of a unit held locks that others wait for, by kind of work.",
    },
];

struct Page {
    gauges: BTreeMap<String, f64>,
    before: Counters,
    counters: Counters,
}

impl Page {
    fn new(before: &str) -> Page {
        let before = samples(before);
        let counters = before.iter().filter(|(name, _)| grows(name)).map(|(n, v)| (n.clone(), *v)).collect();
        Page { gauges: BTreeMap::new(), before, counters }
    }

    fn gauge(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.gauges.insert(sample(name, labels), value);
    }

    fn count(&mut self, name: &str, labels: &[(&str, &str)], more: f64) {
        *self.counters.entry(sample(name, labels)).or_default() += more;
    }

    fn run(&mut self, place: &str, report: Option<&RunReport>, now: i64) {
        let of = ("database", place);
        let now = now as f64;
        self.gauge("replat_rotate_last_run_timestamp_seconds", &[of], now);
        let success = "replat_rotate_last_success_timestamp_seconds";
        if report.is_some_and(|r| r.worst() <= Worst::Warned) {
            self.gauge(success, &[of], now);
        } else if let Some(at) = self.before.get(&sample(success, &[of])).copied() {
            self.gauge(success, &[of], at);
        }
        let outcome = outcome(report);
        self.count("replat_rotate_runs_total", &[of, ("outcome", outcome)], 1.0);
        let Some(report) = report else { return };
        self.gauge("replat_rotate_converged", &[of], f64::from(u8::from(report.converged)));
        self.gauge("replat_rotate_duration_seconds", &[of], report.took_ms as f64 / 1_000.0);
        self.count("replat_rotate_stall_seconds_total", &[of], report.stalled_us() as f64 / 1e6);
        for entry in &report.entries {
            let state = match entry.state {
                State::Done => "done",
                State::Failed => "failed",
                State::Held => "held",
                State::Refused => "refused",
                State::Shown => continue,
            };
            let kind = entry.unit.work.kind().word();
            self.count("replat_rotate_units_total", &[of, ("kind", kind), ("state", state)], 1.0);
            if let Some(outcome) = &entry.outcome {
                self.observe(of, kind, outcome.held_us as f64 / 1e6);
            }
        }
        // A run that found nothing changed looked at no table: what the run before said of them still holds.
        if matches!(report.ending, Ending::Unchanged | Ending::ReadOnly) {
            self.keep(place);
            return;
        }
        self.tables(of, report);
    }

    fn tables(&mut self, of: (&str, &str), report: &RunReport) {
        for runway in &report.runways {
            // What is not known must not look like an emergency, nor like safety.
            let seconds = match (&runway.unknown, runway.seconds) {
                (Some(_), _) => f64::NAN,
                (None, Some(seconds)) => seconds as f64,
                (None, None) => f64::INFINITY,
            };
            let table = runway.set.to_string();
            self.gauge("replat_lifecycle_runway_seconds", &[of, ("table", &table)], seconds);
        }
        for (table, census) in &report.census {
            let labels = [of, ("table", table.as_str())];
            for (state, n) in [
                ("attached", census.attached),
                ("pending", census.pending),
                ("detached", census.detached),
                ("archived", census.archived),
            ] {
                let labels = [of, ("table", table), ("state", state)];
                self.gauge("replat_lifecycle_children", &labels, n as f64);
            }
            self.gauge("replat_lifecycle_overdue_children", &labels, census.overdue as f64);
            self.gauge("replat_lifecycle_gaps", &labels, census.gaps as f64);
            if let Some(rows) = census.overflow_rows {
                self.gauge("replat_lifecycle_overflow_rows", &labels, rows as f64);
            }
        }
        let mut findings: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        for finding in &report.findings {
            let severity = match finding.severity {
                Severity::Note => "note",
                Severity::Warning => "warning",
                Severity::Error => "error",
            };
            *findings.entry((severity, &finding.code)).or_default() += 1.0;
        }
        for ((severity, code), n) in findings {
            self.gauge("replat_lifecycle_findings", &[of, ("severity", severity), ("code", code)], n);
        }
    }

    /// Takes over what the run before said of the tables of a database.
    fn keep(&mut self, place: &str) {
        let label = format!("database={}", quoted(place));
        for (name, value) in &self.before {
            let of_here = name.split_once('{').is_some_and(|(_, labels)| labels.starts_with(&label));
            if name.starts_with("replat_lifecycle_") && of_here {
                self.gauges.insert(name.clone(), *value);
            }
        }
    }

    fn observe(&mut self, of: (&str, &str), kind: &str, seconds: f64) {
        let name = "replat_rotate_lock_seconds";
        for class in CLASSES {
            let le = class.to_string();
            let more = f64::from(u8::from(seconds <= class));
            self.count(&format!("{name}_bucket"), &[of, ("op", kind), ("le", &le)], more);
        }
        self.count(&format!("{name}_bucket"), &[of, ("op", kind), ("le", "+Inf")], 1.0);
        self.count(&format!("{name}_sum"), &[of, ("op", kind)], seconds);
        self.count(&format!("{name}_count"), &[of, ("op", kind)], 1.0);
    }

    fn write(&self) -> String {
        let mut text = String::new();
        for family in FAMILIES {
            let all = || self.gauges.iter().chain(&self.counters);
            let mut of: Vec<(&String, &f64)> = all().filter(|(name, _)| family.has(name)).collect();
            if of.is_empty() {
                continue;
            }
            of.sort_by(|a, b| order(a.0).partial_cmp(&order(b.0)).unwrap_or(std::cmp::Ordering::Equal));
            text += &format!("# HELP {} {}\n", family.name, family.help);
            text += &format!("# TYPE {} {}\n", family.name, family.kind);
            for (name, value) in of {
                text += &format!("{name} {}\n", number(*value));
            }
        }
        text
    }
}

impl Family {
    fn has(&self, sample: &str) -> bool {
        let name = sample.split('{').next().unwrap_or_default();
        let rest = name.strip_prefix(self.name);
        match self.kind {
            "histogram" => matches!(rest, Some("_bucket" | "_sum" | "_count")),
            _ => rest == Some(""),
        }
    }
}

/// The classes of a histogram stand in order of their bounds, and all else in order of its name.
fn order(sample: &str) -> (String, f64) {
    let Some((head, le)) = sample.rsplit_once("le=\"") else { return (sample.to_owned(), 0.0) };
    let bound = le.trim_end_matches("\"}");
    (head.to_owned(), bound.trim_start_matches('+').parse().unwrap_or(f64::INFINITY))
}

fn grows(sample: &str) -> bool {
    FAMILIES.iter().any(|family| family.kind != "gauge" && family.has(sample))
}

fn outcome(report: Option<&RunReport>) -> &'static str {
    match report.map(|r| (r.ending, r.worst())) {
        None => "error",
        Some((Ending::Unchanged, _)) => "unchanged",
        Some((Ending::ReadOnly, _)) => "read-only",
        Some((_, Worst::Fine | Worst::Warned)) => "success",
        Some((_, Worst::Temporary | Worst::Throttled)) => "partial",
        Some((_, Worst::Precondition | Worst::Different)) => "error",
    }
}

fn number(value: f64) -> String {
    if value == f64::INFINITY { "+Inf".into() } else { format!("{value}") }
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn sample(name: &str, labels: &[(&str, &str)]) -> String {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// The samples of a page that [`text`] wrote; what is not understood is left out.
fn samples(text: &str) -> Counters {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            let known = FAMILIES.iter().any(|family| family.has(name)) && name.ends_with('}');
            let value: f64 = value.parse().ok()?;
            (known && !value.is_nan()).then(|| (name.to_owned(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use replat_control::rotate::report::Entry;
    use replat_engine::lifecycle::Outcome;
    use replat_model::lifecycle::census::Census;
    use replat_model::lifecycle::facts::TableName;
    use replat_model::lifecycle::plan::{Unit, Work};

    use super::*;

    fn report() -> RunReport {
        let unit = Unit {
            id: "u-1".into(),
            set: TableName::new("s", "t"),
            set_id: 1,
            work: Work::Adopt { parts: Vec::new() },
            wal_bytes: 0,
            relations: 0,
        };
        let outcome = Outcome { done: true, held_us: 4_000, stalled_us: 250_000, ..Outcome::default() };
        let entry = Entry {
            unit,
            state: State::Done,
            outcome: Some(outcome),
            why: None,
            code: None,
            again: false,
            at: 0,
            took_ms: 1,
            script: None,
        };
        let census = Census { attached: 3, overflow_rows: Some(2), ..Census::default() };
        RunReport {
            entries: vec![entry],
            census: [("s.\"odd\\".to_owned() + "\n", census)].into(),
            took_ms: 1_500,
            ..RunReport::default()
        }
    }

    #[test]
    fn what_grows_goes_on_from_what_was_written_and_what_does_not_begins_anew() {
        let (run, nothing) = (report(), RunReport { ending: Ending::Unchanged, ..RunReport::default() });
        let first = text(&[("db", Some(&run))], "", 100);
        let second = text(&[("db", Some(&run))], &first, 200);
        for wanted in [
            "replat_rotate_runs_total{database=\"db\",outcome=\"success\"} 2\n",
            "replat_rotate_stall_seconds_total{database=\"db\"} 0.5\n",
            "replat_rotate_lock_seconds_bucket{database=\"db\",op=\"adopt\",le=\"0.001\"} 0\n",
            "replat_rotate_lock_seconds_bucket{database=\"db\",op=\"adopt\",le=\"0.005\"} 2\n",
            "replat_rotate_lock_seconds_bucket{database=\"db\",op=\"adopt\",le=\"+Inf\"} 2\n",
            "replat_rotate_lock_seconds_count{database=\"db\",op=\"adopt\"} 2\n",
            "replat_rotate_last_success_timestamp_seconds{database=\"db\"} 200\n",
            "replat_rotate_duration_seconds{database=\"db\"} 1.5\n",
            "replat_lifecycle_overflow_rows{database=\"db\",table=\"s.\\\"odd\\\\\\n\"} 2\n",
            "# TYPE replat_rotate_lock_seconds histogram\n",
        ] {
            assert!(second.contains(wanted), "{wanted} is missing in\n{second}");
        }
        let failed = text(&[("db", None)], &second, 300);
        assert!(failed.contains("replat_rotate_last_success_timestamp_seconds{database=\"db\"} 200\n"));
        assert!(failed.contains("replat_rotate_last_run_timestamp_seconds{database=\"db\"} 300\n"));
        assert!(failed.contains("outcome=\"error\"} 1\n"), "{failed}");
        assert!(!failed.contains("replat_lifecycle_"), "nothing is known of tables that were not seen");
        let unchanged = text(&[("db", Some(&nothing))], &second, 400);
        assert!(unchanged.contains("replat_lifecycle_overflow_rows{"), "it still holds: {unchanged}");
    }

    #[test]
    fn a_run_over_a_part_leaves_what_was_said_of_the_rest() {
        let other = RunReport { census: [("s.other".to_owned(), Census::default())].into(), ..report() };
        let first = text(&[("db", Some(&other)), ("else", Some(&other))], "", 100);
        let part = text_of_part(&[("db", Some(&report()))], &first, 200);
        for wanted in [
            "replat_lifecycle_gaps{database=\"db\",table=\"s.other\"} 0\n",
            "replat_lifecycle_gaps{database=\"else\",table=\"s.other\"} 0\n",
            "replat_rotate_last_run_timestamp_seconds{database=\"else\"} 100\n",
            "replat_rotate_last_run_timestamp_seconds{database=\"db\"} 200\n",
            "replat_lifecycle_overflow_rows{database=\"db\",table=\"s.\\\"odd\\\\\\n\"} 2\n",
        ] {
            assert!(part.contains(wanted), "{wanted} is missing in\n{part}");
        }
    }

    #[test]
    fn a_damaged_page_is_no_reason_to_fail() {
        for page in
            ["", "\n\n", "replat_rotate_runs_total", "replat_rotate_runs_total{ 3", "x{a=\"b\"} NaN", "é 1"]
        {
            let page = text(&[("db", None)], page, 1);
            assert!(page.contains("outcome=\"error\"} 1\n"), "{page}");
        }
    }

    #[test]
    fn the_classes_of_a_histogram_stand_in_order() {
        let run = report();
        let page = text(&[("db", Some(&run))], "", 1);
        let bounds: Vec<&str> = page
            .lines()
            .filter(|l| l.starts_with("replat_rotate_lock_seconds_bucket"))
            .filter_map(|l| l.split("le=\"").nth(1)?.split('"').next())
            .collect();
        assert_eq!(bounds, ["0.001", "0.005", "0.01", "0.025", "0.05", "0.1", "0.5", "1", "+Inf"]);
    }
}
