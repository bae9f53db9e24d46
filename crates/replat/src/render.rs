//! The one place that prints.
//!
//! Results go to standard output, everything else to standard error. With `--json` the same facts are one object.
//! Colour never carries meaning alone.

pub mod advise;
pub mod capture;
mod deployment;
pub mod doctor;
mod exchange;
mod happened;
mod plan;
mod prediction;
pub mod rotate;
pub mod route;

use std::io::{IsTerminal, Write};

use replat_model::deploy::Timestamp;
use serde_json::{Value, json};

use crate::cli::{Global, When};
use crate::failure::Failure;

pub use deployment::{
    Card, Live, broken_contracts, certificate_text, deployment, deployment_value, event_line, event_text,
    event_value, list, reason_text, trouble_text,
};
pub use exchange::{Exchange, exchange, exchange_value};
pub use happened::Happened;
pub use plan::{by_check, cohort_plan, outlook, plan, plan_next, steps, told_once};

/// How to print.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    json: bool,
    quiet: bool,
    colour: bool,
}

impl Style {
    /// From the command line and the environment.
    pub fn of(global: &Global) -> Style {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let colour = match global.color {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                let off = set("NO_COLOR")
                    || std::env::var("CLICOLOR").as_deref() == Ok("0")
                    || std::env::var("TERM").as_deref() == Ok("dumb");
                let on = set("FORCE_COLOR") || set("CLICOLOR_FORCE") || std::io::stderr().is_terminal();
                on && !off
            }
        };
        Style { json: global.json, quiet: global.quiet, colour }
    }

    /// Whether JSON was asked for.
    pub fn is_json(self) -> bool {
        self.json
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A result.
    pub fn result(self, text: &str, value: &Value) {
        let text = if self.json {
            serde_json::to_string_pretty(value).expect("JSON can be written")
        } else {
            text.trim_end().to_owned()
        };
        self.line(&text);
    }

    /// A remark.
    pub fn remark(self, text: &str) {
        if !self.quiet {
            drop(writeln!(std::io::stderr().lock(), "{text}"));
        }
    }

    /// A line of a result that comes bit by bit.
    pub fn line(self, text: &str) {
        // A reader that has gone away, such as `head`, is no failure of ours.
        drop(writeln!(std::io::stdout().lock(), "{text}"));
    }

    /// Progress as one JSON object on a line of its own. It is no result, so it goes where remarks go.
    pub fn progress(self, value: &Value) {
        drop(writeln!(std::io::stderr().lock(), "{value}"));
    }

    /// A document that was made elsewhere, such as a completion script.
    pub fn document(self, bytes: &[u8]) {
        drop(std::io::stdout().lock().write_all(bytes));
    }

    /// A failure.
    pub fn failure(self, failure: &Failure) {
        if self.json {
            self.result("", &json!({ "error": failure }));
        }
        self.trouble(failure);
    }

    /// A failure whose facts are part of a result that was printed.
    pub fn trouble(self, failure: &Failure) {
        let mut text =
            format!("{}: {}\n", self.paint("1;31", &format!("error[{}]", failure.code)), failure.what);
        let mut block = |name: &str, lines: &[String]| {
            for (n, line) in lines.iter().enumerate() {
                let name = if n == 0 { name } else { "" };
                let line = format!("  {}  {line}", self.paint("2", &format!("{name:<8}")));
                text += line.trim_end();
                text.push('\n');
            }
        };
        block("because", &failure.because);
        block("state", std::slice::from_ref(&failure.state));
        block("do", &failure.remedy);
        block("more", &[format!("replat explain {}", failure.code)]);
        drop(write!(std::io::stderr().lock(), "{text}"));
    }
}

/// Bytes for people: `38.2 GiB`.
pub fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// A number with thousands set apart: `1,204,000`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 error`, `2 errors`.
pub fn counted(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// Milliseconds for people: `143 ms`, `12.4 s`, `6 min 10 s`, `2 d 3 h`.
pub fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1_000 % 60),
        3_600_000..86_400_000 => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
        _ => format!("{} d {} h", ms / 86_400_000, ms / 3_600_000 % 24),
    }
}

/// A moment in RFC 3339, UTC, with milliseconds.
pub fn moment(at: Timestamp) -> String {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(t) => format!("{t:.3}"),
        Err(_) => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_204_000), "1,204,000");
        assert_eq!(bytes(900), "900 B");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(span(143), "143 ms");
        assert_eq!(span(370_000), "6 min 10 s");
        assert_eq!(span(90_000_000), "1 d 1 h");
        assert_eq!(moment(Timestamp(0)), "1970-01-01T00:00:00.000Z");
    }
}
