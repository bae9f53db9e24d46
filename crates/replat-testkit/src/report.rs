//! What the demo found out, for a terminal, for a page and for a program.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::check::{Comparison, Durability};

/// The demo's whole result.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether every promise was kept.
    pub kept: bool,
    /// On what it ran.
    pub setting: Setting,
    /// How long each part of the story took, in order.
    pub phases: Vec<Phase>,
    /// How long writers waited, switch by switch.
    pub waits: Vec<Wait>,
    /// Whole tenants compared between both sides.
    pub comparisons: Vec<Compared>,
    /// The journal against the databases.
    pub durability: Durability,
}

/// On what the demo ran.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// The release of both servers, such as `17.2`.
    pub postgres: String,
    /// Tenants in the database.
    pub tenants: u32,
    /// Rows filled in at first, roughly.
    pub rows: u64,
    /// Which tenant was moved.
    pub moved: i64,
    /// Writers on the moved tenant.
    pub moved_writers: usize,
    /// Writers on all others.
    pub other_writers: usize,
    /// Transactions a second that each writer aims at.
    pub rate: u32,
}

/// One part of the story.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    /// In words.
    pub name: String,
    /// Wall time, in milliseconds.
    pub ms: u64,
}

/// The longest times between two acknowledgements of one writer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Wait {
    /// When: a switch, or the rest of the time.
    pub when: String,
    /// Of the moved tenant's writers, in milliseconds; absent if none wrote then.
    pub moved_ms: Option<f64>,
    /// Of all other writers, in milliseconds; absent if none wrote then.
    pub others_ms: Option<f64>,
    /// From the first refused write to the recorded decision, by replat's own account, in milliseconds.
    pub fenced_ms: Option<u64>,
}

/// One comparison of the moved tenant between both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// When.
    pub when: String,
    /// What came of it.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// A duration in milliseconds, for [`Wait`].
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}

impl Report {
    /// For a program.
    ///
    /// # Errors
    ///
    /// None that this type can cause; the signature is the serializer's.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// For a page.
    pub fn markdown(&self) -> String {
        let mut text = format!("# replat demo: {}\n\n{}\n", self.verdict(), self.setting_line());
        for table in self.tables() {
            text.push_str(&table.markdown());
        }
        text.push_str(&self.example_lines("- "));
        text
    }

    /// For a terminal.
    pub fn terminal(&self) -> String {
        let mut text = format!("\n{}\n{}\n", self.verdict(), self.setting_line());
        for table in self.tables() {
            text.push_str(&table.aligned());
        }
        text.push_str(&self.example_lines("  "));
        text
    }

    fn verdict(&self) -> &'static str {
        if self.kept { "every promise was kept" } else { "A PROMISE WAS BROKEN" }
    }

    fn setting_line(&self) -> String {
        let Setting { postgres, tenants, rows, moved, moved_writers, other_writers, rate } = &self.setting;
        format!(
            "PostgreSQL {postgres}, {tenants} tenants, about {rows} rows; tenant {moved} moved under \
             {moved_writers} writers of its own, {other_writers} on the others, {rate} transactions/s each at most."
        )
    }

    fn tables(&self) -> [Table; 4] {
        [self.durability_table(), self.comparison_table(), self.wait_table(), self.phase_table()]
    }

    fn durability_table(&self) -> Table {
        let d = &self.durability;
        let lines = [
            ("issued", d.issued),
            ("acknowledged", d.acknowledged),
            ("found at the tenant's home", d.found),
            ("lost", d.lost),
            ("doubled", d.doubled),
            ("refused and yet done", d.phantom),
            ("COMMIT never answered", d.unknown),
            ("answers that must not be", d.faults),
            ("rows held to their last change", d.checked_rows),
            ("rows that differ from it", d.wrong_rows),
        ];
        Table {
            title: "Operations, by the journal",
            head: &["", "count"],
            lines: lines.iter().map(|(name, count)| vec![(*name).to_owned(), count.to_string()]).collect(),
        }
    }

    fn comparison_table(&self) -> Table {
        let line = |compared: &Compared| {
            let Comparison { rows, different, .. } = compared.comparison;
            vec![compared.when.clone(), rows.to_string(), different.to_string()]
        };
        Table {
            title: "All rows of the moved tenant, blue against green",
            head: &["when", "rows", "different"],
            lines: self.comparisons.iter().map(line).collect(),
        }
    }

    fn wait_table(&self) -> Table {
        let shown = |value: Option<f64>| value.map_or("-".into(), |ms| format!("{ms:.1} ms"));
        let line = |wait: &Wait| {
            let fenced = wait.fenced_ms.map_or("-".into(), |ms| format!("{ms} ms"));
            vec![wait.when.clone(), shown(wait.moved_ms), shown(wait.others_ms), fenced]
        };
        Table {
            title: "Longest time between two acknowledgements of one writer",
            head: &["when", "moved tenant", "other tenants", "fence to decision"],
            lines: self.waits.iter().map(line).collect(),
        }
    }

    fn phase_table(&self) -> Table {
        let line = |phase: &Phase| vec![phase.name.clone(), format!("{:.2} s", phase.ms as f64 / 1000.0)];
        Table { title: "Wall time", head: &["phase", "time"], lines: self.phases.iter().map(line).collect() }
    }

    fn example_lines(&self, bullet: &str) -> String {
        let compared = self.comparisons.iter().flat_map(|compared| &compared.comparison.examples);
        let examples: Vec<&String> = self.durability.examples.iter().chain(compared).collect();
        if examples.is_empty() {
            return String::new();
        }
        let lines: Vec<String> = examples.iter().map(|words| format!("{bullet}{words}\n")).collect();
        format!("\nWhat is wrong, in part:\n\n{}", lines.concat())
    }
}

struct Table {
    title: &'static str,
    head: &'static [&'static str],
    lines: Vec<Vec<String>>,
}

impl Table {
    fn markdown(&self) -> String {
        let mut text = format!("\n## {}\n\n", self.title);
        let mut line = |cells: Vec<String>| {
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
        };
        line(self.head.iter().map(|cell| (*cell).to_owned()).collect());
        line(
            self.head.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "---:" }.into()).collect(),
        );
        self.lines.iter().cloned().for_each(line);
        text
    }

    /// The first column to the left, numbers to the right.
    fn aligned(&self) -> String {
        let width = |at: usize| {
            let cells = self.lines.iter().map(|line| line[at].chars().count());
            cells.chain([self.head[at].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut text = format!("\n{}\n", self.title);
        let head: Vec<String> = self.head.iter().map(|cell| (*cell).to_owned()).collect();
        for cells in std::iter::once(&head).chain(&self.lines) {
            let mut line = format!("  {:<width$}", cells[0], width = widths[0]);
            for (cell, width) in cells.iter().zip(&widths).skip(1) {
                write!(line, "  {cell:>width$}").expect("writing to a String does not fail");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let setting = Setting {
            postgres: "17.2".into(),
            tenants: 20,
            rows: 1000,
            moved: 1,
            moved_writers: 2,
            other_writers: 2,
            rate: 100,
        };
        let wait = Wait {
            when: "switch to green".into(),
            moved_ms: Some(12.34),
            others_ms: None,
            fenced_ms: Some(7),
        };
        let comparison = Comparison { rows: 500, different: 1, examples: vec!["users 7 differs".into()] };
        Report {
            kept: false,
            setting,
            phases: vec![Phase { name: "copy".into(), ms: 1500 }],
            waits: vec![wait],
            comparisons: vec![Compared { when: "on green".into(), comparison }],
            durability: Durability { issued: 9, acknowledged: 8, lost: 1, ..Durability::default() },
        }
    }

    #[test]
    fn every_form_of_a_report_says_what_was_lost_and_what_differs() {
        let report = report();
        for text in [report.markdown(), report.terminal()] {
            for wanted in ["A PROMISE WAS BROKEN", "users 7 differs", "12.3 ms", "7 ms", "1.50 s", "lost"] {
                assert!(text.contains(wanted), "{wanted} in {text}");
            }
        }
        let json: serde_json::Value = serde_json::from_str(&report.json().expect("JSON")).expect("JSON");
        assert_eq!(json["durability"]["lost"], 1);
        assert_eq!(json["comparisons"][0]["different"], 1);
        assert_eq!(json["waits"][0]["others_ms"], serde_json::Value::Null);
    }

    #[test]
    fn columns_stand_below_each_other() {
        let text = report().terminal();
        let line = |start: &str| text.lines().find(|line| line.trim_start().starts_with(start)).expect(start);
        assert_eq!(line("issued").chars().count(), line("found at").chars().count());
    }
}
