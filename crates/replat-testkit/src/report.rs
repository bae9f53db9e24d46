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
    /// What writers were told that was no success, also where they tried again.
    pub errors: Errors,
    /// What the proxy held.
    pub held: Held,
    /// How long each writer waited at each switch.
    pub clients: Vec<Client>,
    /// How long writers waited, switch by switch.
    pub waits: Vec<Wait>,
    /// Whole tenants compared between both sides.
    pub comparisons: Vec<Compared>,
    /// The journal against the databases.
    pub durability: Durability,
}

/// Errors that writers met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// How many.
    pub count: u64,
    /// Some of them.
    pub examples: Vec<String>,
}

/// What a proxy says of itself in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Transactions that went through it.
    pub transactions: u64,
    /// Those among them that were held.
    pub held: u64,
    /// The longest of these waits. Unit: milliseconds.
    pub longest_ms: u64,
    /// Sessions that it took to another home.
    pub moves: u64,
    /// What it answered by a complaint of its own.
    pub refused: u64,
}

/// One writer's pauses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Client {
    /// Who.
    pub name: String,
    /// By switch, the longest time between two of its acknowledgements; absent if it wrote nothing then. Unit:
    /// milliseconds.
    pub pauses_ms: Vec<(String, Option<f64>)>,
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
    /// Whether one more writer came by SQLAlchemy.
    pub sqlalchemy: bool,
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
        let Setting { postgres, tenants, rows, moved, moved_writers, other_writers, rate, sqlalchemy } =
            &self.setting;
        let python = match sqlalchemy {
            true => "One more on the moved tenant came by SQLAlchemy.",
            false => "There was NO WRITER BY SQLALCHEMY.",
        };
        format!(
            "PostgreSQL {postgres}, {tenants} tenants, about {rows} rows; tenant {moved} moved under \
             {moved_writers} writers of its own, {other_writers} on the others, through replat proxy, {rate} transactions/s each at most. {python}"
        )
    }

    fn tables(&self) -> [Table; 6] {
        [
            self.durability_table(),
            self.comparison_table(),
            self.held_table(),
            self.client_table(),
            self.wait_table(),
            self.phase_table(),
        ]
    }

    fn held_table(&self) -> Table {
        let Held { transactions, held, longest_ms, moves, refused } = self.held;
        let lines = [
            ("errors that writers met", self.errors.count.to_string()),
            ("transactions through the proxy", transactions.to_string()),
            ("held", held.to_string()),
            ("held longest", format!("{longest_ms} ms")),
            ("sessions moved", moves.to_string()),
            ("refused", refused.to_string()),
        ];
        Table {
            title: "At the proxy",
            head: vec![String::new(), "count".into()],
            lines: lines.into_iter().map(|(name, count)| vec![name.to_owned(), count]).collect(),
        }
    }

    fn client_table(&self) -> Table {
        let switches = self.clients.first().map(|client| &client.pauses_ms[..]).unwrap_or_default();
        let head = ["client".to_owned()].into_iter().chain(switches.iter().map(|(name, _)| name.clone()));
        let line = |client: &Client| {
            let pauses = client.pauses_ms.iter().map(|(_, pause)| in_ms(*pause));
            [client.name.clone()].into_iter().chain(pauses).collect()
        };
        Table {
            title: "Longest time between two acknowledgements, client by client",
            head: head.collect(),
            lines: self.clients.iter().map(line).collect(),
        }
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
            head: heads(&["", "count"]),
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
            head: heads(&["when", "rows", "different"]),
            lines: self.comparisons.iter().map(line).collect(),
        }
    }

    fn wait_table(&self) -> Table {
        let line = |wait: &Wait| {
            let fenced = wait.fenced_ms.map_or("-".into(), |ms| format!("{ms} ms"));
            vec![wait.when.clone(), in_ms(wait.moved_ms), in_ms(wait.others_ms), fenced]
        };
        Table {
            title: "Longest time between two acknowledgements of one writer",
            head: heads(&["when", "moved tenant", "other tenants", "fence to decision"]),
            lines: self.waits.iter().map(line).collect(),
        }
    }

    fn phase_table(&self) -> Table {
        let line = |phase: &Phase| vec![phase.name.clone(), format!("{:.2} s", phase.ms as f64 / 1000.0)];
        Table {
            title: "Wall time",
            head: heads(&["phase", "time"]),
            lines: self.phases.iter().map(line).collect(),
        }
    }

    fn example_lines(&self, bullet: &str) -> String {
        let compared = self.comparisons.iter().flat_map(|compared| &compared.comparison.examples);
        let examples: Vec<&String> =
            self.durability.examples.iter().chain(&self.errors.examples).chain(compared).collect();
        if examples.is_empty() {
            return String::new();
        }
        let lines: Vec<String> = examples.iter().map(|words| format!("{bullet}{words}\n")).collect();
        format!("\nWhat is wrong, in part:\n\n{}", lines.concat())
    }
}

fn heads(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn in_ms(value: Option<f64>) -> String {
    value.map_or("-".into(), |ms| format!("{ms:.1} ms"))
}

struct Table {
    title: &'static str,
    head: Vec<String>,
    lines: Vec<Vec<String>>,
}

impl Table {
    fn markdown(&self) -> String {
        let mut text = format!("\n## {}\n\n", self.title);
        let mut line = |cells: Vec<String>| {
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
        };
        line(self.head.clone());
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
        for cells in std::iter::once(&self.head).chain(&self.lines) {
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
            sqlalchemy: false,
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
            errors: Errors { count: 1, examples: vec!["25006 read-only".into()] },
            held: Held { held: 3, longest_ms: 21, ..Held::default() },
            clients: vec![Client {
                name: "proxy 1".into(),
                pauses_ms: vec![("switch to green".into(), Some(9.0))],
            }],
            waits: vec![wait],
            comparisons: vec![Compared { when: "on green".into(), comparison }],
            durability: Durability { issued: 9, acknowledged: 8, lost: 1, ..Durability::default() },
        }
    }

    #[test]
    fn every_form_of_a_report_says_what_was_lost_and_what_differs() {
        let report = report();
        for text in [report.markdown(), report.terminal()] {
            for wanted in [
                "A PROMISE WAS BROKEN",
                "users 7 differs",
                "12.3 ms",
                "7 ms",
                "1.50 s",
                "lost",
                "25006 read-only",
                "21 ms",
                "9.0 ms",
                "NO WRITER",
            ] {
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
