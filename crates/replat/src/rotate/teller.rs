//! Tells of a run while it is under way: a line for each fact where nobody watches, a table at the end on a terminal.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use replat_control::rotate::report::RunReport;
use replat_control::rotate::{News, Watch};
use replat_engine::lifecycle::Hear;
use replat_model::lifecycle::health::Severity;
use serde_json::json;

use super::reach::Place;
use crate::cli::{Global, Progress};
use crate::failure::Failure;
use crate::render::{self, Style};

/// Progress within a unit is told at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// How a run is told of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A line for each fact on standard output.
    Lines,
    /// A table when it has ended, and what it is at meanwhile on standard error.
    Table,
    /// Nothing before the end.
    End,
}

/// Tells of runs.
pub struct Teller {
    style: Style,
    form: Form,
    /// Progress as JSON on standard error.
    json: bool,
    quiet: bool,
    explain: bool,
    /// Whether runs come again and again, so that one without news is one line.
    standing: bool,
    /// The database, where there are several.
    place: Option<String>,
    /// When progress was told last, or a unit began.
    said: Mutex<Instant>,
}

impl Teller {
    /// As the command line wants it.
    pub fn new(global: &Global, style: Style, explain: bool) -> Teller {
        let terminal = std::io::stdout().is_terminal();
        let form = match (style.is_json(), global.progress) {
            (true, _) => Form::End,
            (_, Progress::Tty) => Form::Table,
            (_, Progress::Auto) if terminal => Form::Table,
            _ => Form::Lines,
        };
        let json = global.progress == Progress::Json;
        let said = Mutex::new(Instant::now());
        let (standing, place) = (false, None);
        Teller { style, form, json, quiet: global.quiet, explain, standing, place, said }
    }

    /// Of a daemon: lines, wherever they go.
    pub fn standing(global: &Global, style: Style, explain: bool) -> Teller {
        let form = if style.is_json() { Form::End } else { Form::Lines };
        Teller { form, json: false, quiet: true, standing: true, ..Teller::new(global, style, explain) }
    }

    /// The end of one of a daemon's runs, and why it was begun.
    pub fn came(&self, report: &RunReport, because: &str) {
        if self.explain && self.form == Form::Lines {
            for line in render::rotate::understood(report).lines() {
                self.fact(&format!("explain {}", line.trim()));
            }
        }
        let summary = render::rotate::summary(report);
        self.fact(&format!("{summary} because={because:?}"));
    }

    /// The one for a database, whose name each line has if there are several.
    #[must_use]
    pub fn at(mut self, place: &Place, several: bool) -> Teller {
        self.place = several.then(|| render::rotate::word(&place.name));
        self
    }

    /// A run that could not be begun, or broke off; why is told at the very end.
    pub fn broke_off(&self, failure: &Failure) {
        self.fact(&format!("rotate failed code={} what={:?}", failure.code, failure.what));
    }

    fn fact(&self, text: &str) {
        if self.form == Form::Lines {
            let now = jiff::Timestamp::now();
            let at = self.place.as_ref().map_or_else(String::new, |place| format!(" at={place}"));
            self.style.line(&format!("{now:.0} {text}{at}"));
        }
    }

    /// The end of a run.
    pub fn ended(&self, report: &RunReport) {
        match self.form {
            Form::Lines => {
                if self.explain {
                    for line in render::rotate::understood(report).lines() {
                        self.fact(&format!("explain {}", line.trim()));
                    }
                }
                self.fact(&render::rotate::summary(report));
            }
            Form::Table => self.style.line(render::rotate::run(report, self.explain).trim_end()),
            Form::End => {}
        }
    }
}

impl Hear for Teller {
    fn progress(&self, what: &str, done: u64, of: Option<u64>) {
        if self.quiet || (self.form == Form::End && !self.json) {
            return;
        }
        let mut said = self.said.lock().unwrap_or_else(|e| e.into_inner());
        if said.elapsed() < PROGRESS_EVERY {
            return;
        }
        *said = Instant::now();
        let of_text = of.map_or_else(String::new, |of| format!(" of {}", render::count(of)));
        match self.json {
            true => self.style.progress(&json!({ "progress": what, "done": done, "of": of })),
            false => self.style.remark(&format!("  … {what} {}{of_text}", render::count(done))),
        }
    }
}

impl Watch for Teller {
    fn told(&self, news: &News<'_>) {
        match news {
            News::Began { .. } if self.standing => {}
            News::Began { run, facts, plan } => self.fact(&format!(
                "rotate start run={run} database={} tables={} units={}",
                render::rotate::word(&facts.vitals.database),
                facts.sets.len(),
                plan.units.len()
            )),
            News::Begins(unit) => {
                *self.said.lock().unwrap_or_else(|e| e.into_inner()) = Instant::now();
                if self.form == Form::Table {
                    self.style.remark(&format!("  … {}", render::rotate::work(unit)));
                }
            }
            News::Ended(entry) => {
                self.fact(&render::rotate::entry(entry));
                if self.json {
                    let (unit, state) = (&entry.unit.id, entry.state);
                    self.style.progress(&json!({ "unit": unit, "state": state, "why": entry.why }));
                }
            }
            News::Held { reason, closes_when } => {
                self.fact(&format!("held   reason={reason:?} goes_on_when={closes_when:?}"));
                if self.form != Form::Lines {
                    self.style.remark(&format!("  … waits: {reason}; goes on when {closes_when}"));
                }
            }
            News::GoesOn => self.fact("goes on"),
            News::Finding(finding) => {
                let told = self.explain || finding.severity > Severity::Note;
                if told || render::rotate::leaves_out(finding) {
                    self.fact(&render::rotate::finding(finding));
                }
            }
        }
    }
}

/// Tells nothing.
pub struct Mute;

impl Hear for Mute {
    fn progress(&self, _what: &str, _done: u64, _of: Option<u64>) {}
}

impl Watch for Mute {
    fn told(&self, _news: &News<'_>) {}
}
