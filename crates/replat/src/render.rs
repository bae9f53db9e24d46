//! The one place that prints.
//!
//! Results go to standard output, everything else to standard error. With `--json` the same facts are one object.
//! Colour never carries meaning alone.

use std::io::{IsTerminal, Write};

use replat_engine::{Listed, Recorded};
use replat_model::deploy::{Certificate, Deployment, Event, Timestamp};
use replat_model::ids::Side;
use replat_model::next::{Reason, Step};
use replat_model::plan::{Plan, Reversibility, TablePlan};
use serde_json::{Value, json};

use crate::cli::{Global, When};
use crate::failure::Failure;
use crate::planning::{Outlook, PlanFile};

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
                !set("NO_COLOR")
                    && std::env::var("TERM").as_deref() != Ok("dumb")
                    && (set("FORCE_COLOR") || std::io::stderr().is_terminal())
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
        // A reader that has gone away, such as `head`, is no failure of ours.
        drop(writeln!(std::io::stdout().lock(), "{text}"));
    }

    /// A remark.
    pub fn remark(self, text: &str) {
        if !self.quiet {
            drop(writeln!(std::io::stderr().lock(), "{text}"));
        }
    }

    /// One JSON object on a line of its own, while things go on.
    pub fn line(self, value: &Value) {
        drop(writeln!(std::io::stdout().lock(), "{value}"));
    }

    /// A failure.
    pub fn failure(self, failure: &Failure) {
        if self.json {
            self.result("", &json!({ "error": failure }));
        }
        let mut text =
            format!("{}: {}\n", self.paint("1;31", &format!("error[{}]", failure.code)), failure.what);
        let mut block = |name: &str, lines: &[String]| {
            for (n, line) in lines.iter().enumerate() {
                let name = if n == 0 { name } else { "" };
                text += &format!("  {}  {line}\n", self.paint("2", &format!("{name:<8}")));
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

/// A plan for people.
pub fn plan(file: &PlanFile, detail: bool) -> String {
    let p = &file.plan;
    let mut t = format!(
        "Plan {}  {}/{}  {} -> {}  epoch {}\n",
        &file.digest[..12],
        p.context,
        p.partition,
        p.blue.home,
        p.green.home,
        p.epoch
    );
    let mut row = |name: &str, text: String| t += &format!("  {name:<12} {text}\n");
    row("partition", p.region.describe(&p.dimensions));
    row("moves", format!("{} tables, about {} rows, {}", p.tables.len(), count(p.rows()), bytes(p.bytes())));
    if !p.references.is_empty() {
        row("references", names(&p.references));
    }
    if !p.rebuild.is_empty() {
        row("not copied", p.rebuild.join(", "));
    }
    row("version", format!("{}{}", p.version, if p.ddl.is_empty() { " (green has it already)" } else { "" }));
    for (n, line) in file.difference.iter().enumerate() {
        row(if n == 0 { "schema" } else { "" }, line.clone());
    }
    match &p.reversible {
        Reversibility::Lossless => row("reversible", "yes, lossless".into()),
        Reversibility::Lossy(why) => listed(&mut row, "reversible", "yes, but not all of it:", why),
        Reversibility::No(why) => listed(&mut row, "reversible", "no:", why),
    }
    let policy = &p.policy;
    row(
        "switch",
        format!(
            "{}; the partition's writers are refused for {} at most, nobody else's at all",
            if replat_model::next::switches_by_itself(policy.switch) { "by itself" } else { "by hand" },
            policy.pause_max,
        ),
    );
    row(
        "afterwards",
        format!("a rollback stays possible for {}; blue's copy is kept for {}", policy.soak, policy.retain),
    );
    for (n, hazard) in p.hazards.iter().enumerate() {
        let must = if hazard.must_allow { format!("  needs --allow {}", hazard.name) } else { String::new() };
        row(if n == 0 { "hazards" } else { "" }, format!("{}: {}{must}", hazard.name, hazard.what));
    }
    if detail {
        t += &plan_detail(p);
    }
    t
}

fn names(tables: &[TablePlan]) -> String {
    tables.iter().map(|t| t.blue.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn listed(row: &mut impl FnMut(&str, String), name: &str, first: &str, rest: &[String]) {
    row(name, first.to_owned());
    for line in rest {
        row("", line.clone());
    }
}

fn plan_detail(p: &Plan) -> String {
    let mut t = String::new();
    for table in p.tables.iter().chain(&p.references) {
        t += &format!(
            "\n  {} -> {}   about {} rows, {}, key ({})\n",
            table.blue.name,
            table.green.name,
            count(table.rows),
            bytes(table.bytes),
            table.key_on(Side::Blue).collect::<Vec<_>>().join(", ")
        );
        for (arrow, columns) in [("->", &table.forward), ("<-", &table.backward)] {
            for c in columns {
                t += &format!("    {arrow} {} {}  =  {}\n", c.target, c.target_type, c.expression);
            }
        }
    }
    t
}

/// What a dry run can say.
pub fn outlook(o: &Outlook) -> String {
    let mut t = format!("{}  {} -> {}   nothing will be changed\n", o.partition, o.from, o.to);
    t += &format!("  partition    {}\n  version      {}\n", o.region, o.version);
    for (n, (table, size)) in o.tables.iter().enumerate() {
        let name = if n == 0 { "moves" } else { "" };
        t += &format!("  {name:<12} {table}: about {} rows, {}\n", count(size.rows), bytes(size.bytes));
    }
    t += &format!(
        "  schema       {}\n",
        if o.green_has_tables {
            "green has tables there already"
        } else {
            "green has no tables yet; `replat plan deploy` rehearses the DDL and shows the difference"
        }
    );
    t
}

/// The steps that a deployment will take.
pub fn steps(p: &Plan) -> String {
    let (blue, green) = (&p.blue.home, &p.green.home);
    let mut lines = vec![
        format!("prepare    guards on {blue} and {green}; {green} gets its tables, closed to everybody"),
        format!("slot       on {}; it keeps WAL there until finish", blue.database),
        format!("copy       {} rows, {}", count(p.rows()), bytes(p.bytes())),
        "catch up   replay what changed, then build indexes and constraints".to_owned(),
        "verify     every row as transformed, on both sides".to_owned(),
        format!("fence      writers of the partition are refused from here, {} at most", p.policy.pause_max),
        format!("switch     {} -> {}: the point of no return", p.epoch, p.epoch.next()),
        format!("soak       changes flow back for {}", p.policy.soak),
        "finish     the way back ends; blue's copy is kept read-only".to_owned(),
    ];
    if !p.has_way_back() {
        lines[7] = "soak       no changes flow back: this cannot be rolled back".to_owned();
    }
    lines.iter().enumerate().map(|(n, line)| format!("  {}  {line}\n", n + 1)).collect()
}

/// A deployment as a JSON object.
pub fn deployment_value(listed: &Listed, d: &Deployment, length: u64, next: Option<&Step>) -> Value {
    json!({
        "kind": "Deployment",
        "id": listed.id,
        "context": listed.context,
        "partition": listed.partition,
        "phase": d.phase(),
        "home": d.home,
        "home_name": d.plan.end(d.home).home.to_string(),
        "epoch": d.epoch,
        "blue": d.plan.blue.home.to_string(),
        "green": d.plan.green.home.to_string(),
        "version": d.plan.version,
        "created": moment(listed.created),
        "entries": length,
        "attempts": d.attempts,
        "reversible": d.home == Side::Green && d.finished.is_none() && d.plan.has_way_back(),
        "paused": d.paused,
        "differs": d.verify_failed.as_ref().map(|(_, c)| c),
        "verified": d.verified_forward,
        "verified_backward": d.verified_backward,
        "incident_rows": d.leaks,
        "next": next.map(step_text),
    })
}

/// A deployment for people.
pub fn deployment(listed: &Listed, d: &Deployment, length: u64, next: Option<&Step>) -> String {
    let mut t = format!(
        "{}  {}/{}  {} -> {}   {}\n",
        listed.id,
        listed.context,
        listed.partition,
        d.plan.blue.home,
        d.plan.green.home,
        d.phase().as_str()
    );
    let mut row = |name: &str, text: String| t += &format!("  {name:<10} {text}\n");
    row("owner", format!("{} ({}), at epoch {}", d.plan.end(d.home).home, d.home, d.epoch));
    for (name, certificate) in [("verified", &d.verified_forward), ("way back", &d.verified_backward)] {
        if let Some(c) = certificate {
            row(name, format!("{} rows equal, digest {}", count(c.rows), short(&c.digest)));
        }
    }
    if let Some((from, c)) = &d.verify_failed {
        row("differs", format!("{} of {} rows, seen from {from}", count(c.different), count(c.rows)));
        for sample in &c.samples {
            row("", sample.clone());
        }
    }
    if let Some(why) = &d.paused {
        row("paused", why.clone());
    }
    if d.leaks > 0 {
        row("incidents", format!("{} rows were written past the guard; see replat.incident", d.leaks));
    }
    if let Some(next) = next {
        row("next", step_text(next));
    }
    row("log", format!("{length} entries since {}", moment(listed.created)));
    t
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// A step for people.
pub fn step_text(step: &Step) -> String {
    match step {
        Step::Do(action) => serde_json::to_value(action)
            .ok()
            .and_then(|v| v.get("action").and_then(Value::as_str).map(|s| s.replace('_', " ")))
            .unwrap_or_default(),
        Step::Record(event) => event_text(event),
        Step::Wait(reason) => reason_text(reason),
        Step::Done => "nothing: it has ended".into(),
    }
}

/// Why it waits, for people.
pub fn reason_text(reason: &Reason) -> String {
    match reason {
        Reason::RunningTransactions => "waits for transactions that ran when the slot was made".into(),
        Reason::Unknown { what } => format!("{what} could not be read"),
        Reason::Lag { now, max } => {
            format!("is {} behind; the switch waits for {}", bytes(*now), bytes(*max))
        }
        Reason::CatchingUp { to } => format!("catches up to {to}"),
        Reason::Draining { attempt } => format!("drains to the barrier of attempt {attempt}"),
        Reason::BackOff { left } => format!("tries again in {}", span(*left)),
        Reason::SwitchByHand => "ready: say `replat deploy switch`".into(),
        Reason::AttemptsUsedUp { attempts } => {
            format!("{attempts} attempts to switch were given up; look, then `replat deploy resume`")
        }
        Reason::Different => "the sides differ; look, then `replat deploy resume`".into(),
        Reason::Paused => "paused: `replat deploy resume` goes on".into(),
        Reason::Soak { left } => format!("soaks for {} more; rollback is possible", span(*left)),
        Reason::RolledBack => {
            "rolled back: `replat deploy switch` goes forward again, `abort` cleans up".into()
        }
        Reason::Retained { left } => format!("finished; blue's copy is kept for {} more", span(*left)),
    }
}

/// An event for people.
pub fn event_text(event: &Event) -> String {
    match event {
        Event::Asked { plan } => {
            format!("asked: {} from {} to {}", plan.partition, plan.blue.home, plan.green.home)
        }
        Event::Prepared => "both ends are prepared; green is closed".into(),
        Event::SlotOpened { side, at, .. } => format!("slot on {side} at {at}"),
        Event::CopyPlanned { chunks } => format!("copy planned in {} chunks", count(chunks.len() as u64)),
        Event::Copied { rows, bytes: b, .. } => format!("copied {} rows, {}", count(*rows), bytes(*b)),
        Event::Indexed => "indexes and constraints are built".into(),
        Event::Verified { from, certificate } => {
            format!("verified from {from}: {}", certificate_text(certificate))
        }
        Event::VerifyFailed { from, certificate } => {
            format!("the sides differ, seen from {from}: {}", certificate_text(certificate))
        }
        Event::SwitchIntended { attempt, .. } => format!("attempt {attempt} to switch begins"),
        Event::Fenced { attempt, at, .. } => format!("attempt {attempt}: fenced at {at}"),
        Event::FenceGivenUp { attempt, why, .. } => format!("attempt {attempt} given up: {why}"),
        Event::Unfenced { attempt } => format!("attempt {attempt}: writers go on where they were"),
        Event::Switched { to, epoch, proof, .. } => {
            format!("switched to {to} at {epoch}; {} touched rows proved equal", count(proof.rows))
        }
        Event::Settled { epoch } => format!("settled at {epoch}: the new home is open, the old one sealed"),
        Event::LeakSeen { side, rows } => format!("{rows} rows written to {side} past its guard are kept"),
        Event::Paused { why } => format!("paused: {why}"),
        Event::Resumed => "resumed".into(),
        Event::SwitchAsked { to, why } => format!("{to} is wanted as home: {why}"),
        Event::PolicySet { what, .. } => format!("set {what}"),
        Event::FinishAsked { why } => format!("finish asked: {why}"),
        Event::Finished { .. } => "finished: the way back has ended; blue's copy is kept, read-only".into(),
        Event::Dropped => "blue's copy is dropped".into(),
        Event::AbortAsked { why } => format!("abort asked: {why}"),
        Event::Aborted => "aborted: nothing is left behind".into(),
    }
}

/// A certificate for people.
pub fn certificate_text(c: &Certificate) -> String {
    if c.different == 0 {
        format!("{} rows compared, all equal", count(c.rows))
    } else {
        format!("{} rows compared, {} different: {}", count(c.rows), count(c.different), c.samples.join("; "))
    }
}

/// A history as JSON.
pub fn events_value(history: &[Recorded]) -> Value {
    history.iter().map(event_value).collect()
}

/// One entry as JSON.
pub fn event_value(r: &Recorded) -> Value {
    let mut event = serde_json::to_value(&r.event).unwrap_or(Value::Null);
    // The plan and the list of chunks are whole documents of their own.
    if let Some(fields) = event.as_object_mut() {
        fields.remove("plan");
        if let Some(Value::Array(chunks)) = fields.remove("chunks") {
            fields.insert("chunks".into(), chunks.len().into());
        }
    }
    json!({ "seq": r.seq, "at": moment(r.at), "event": event, "text": event_text(&r.event) })
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
