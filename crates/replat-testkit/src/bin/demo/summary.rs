//! Lays the program's own account of its deployment beside the writers' journal.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use replat_testkit::gaps::{Gap, gaps, longest};
use replat_testkit::load::Notes;
use replat_testkit::report::{Client, Phase, Wait, milliseconds};
use serde_json::Value;

/// What there is to go by.
pub struct Evidence<'a> {
    /// What writers noted.
    pub notes: &'a Notes,
    /// The origin of the notes' times.
    pub begun_at: SystemTime,
    /// What `replat deploy events --json` printed.
    pub events: &'a Value,
}

/// One event of the deployment.
struct Told<'a> {
    name: &'a str,
    /// Since the notes' origin.
    at: Duration,
    details: &'a Value,
}

/// One switch, in the notes' time.
struct Switch {
    /// Its number, from 1, and where it went.
    name: String,
    from: Duration,
    until: Duration,
    fenced_ms: Option<u64>,
}

impl Evidence<'_> {
    /// All events whose name and time can be read, in order.
    fn told(&self) -> Vec<Told<'_>> {
        let list =
            self.events.as_array().or_else(|| self.events.as_object()?.values().find_map(Value::as_array));
        list.into_iter().flatten().filter_map(|event| self.read(event)).collect()
    }

    fn read<'a>(&self, event: &'a Value) -> Option<Told<'a>> {
        // Either the name alone or an object that is tagged with it.
        let details = &event["event"];
        let name = details.as_str().or_else(|| details["event"].as_str())?;
        let at: Timestamp = event["at"].as_str()?.parse().ok()?;
        let at = SystemTime::from(at).duration_since(self.begun_at).unwrap_or_default();
        Some(Told { name, at, details })
    }

    fn switches(&self) -> Vec<Switch> {
        let told = self.told();
        let mut switches = Vec::new();
        for (place, decided) in told.iter().enumerate().filter(|(_, told)| told.name == "switched") {
            let before = |name| told[..place].iter().rev().find(|told| told.name == name);
            let settled = told[place..].iter().find(|told| told.name == "settled");
            let since = before("fenced").and_then(|fenced| fenced.details["since"].as_u64());
            let until = decided.details["at"].as_u64();
            switches.push(Switch {
                name: format!(
                    "switch {} to {}",
                    switches.len() + 1,
                    decided.details["to"].as_str().unwrap_or("?")
                ),
                from: before("switch_intended").map_or(decided.at, |told| told.at),
                until: settled.map_or(decided.at, |told| told.at),
                fenced_ms: since.zip(until).map(|(since, until)| until.saturating_sub(since)),
            });
        }
        switches
    }
}

/// How long each part of the deployment took, by its own events.
pub fn phases(evidence: &Evidence) -> Vec<Phase> {
    const MILESTONES: &[(&str, &str)] = &[
        ("prepared", "prepare"),
        ("copied", "copy"),
        ("indexed", "indexes and constraints"),
        ("verified", "verify"),
    ];
    let mut phases = Vec::new();
    let mut last = evidence.told().first().map(|told| told.at);
    for told in evidence.told() {
        // Comparisons for the way back run beside the soak and end no phase.
        if told.name == "switch_intended" {
            break;
        }
        if let Some((_, label)) = MILESTONES.iter().find(|(name, _)| *name == told.name) {
            let took = told.at.saturating_sub(last.unwrap_or(told.at));
            phases.push(Phase { name: format!("by its events: {label}"), ms: whole_ms(took) });
            last = Some(told.at);
        }
    }
    for switch in evidence.switches() {
        let name = format!("by its events: {}", switch.name);
        phases.push(Phase { name, ms: whole_ms(switch.until.saturating_sub(switch.from)) });
    }
    phases
}

/// The longest wait of each writer at each switch. Of `writers`, those below `moved` belong to the moved tenant; one more
/// there may be is Python's.
pub fn clients(evidence: &Evidence, moved: usize, writers: usize) -> Vec<Client> {
    let switches = evidence.switches();
    let client = |writer: usize| {
        let gaps = gaps(evidence.notes, |one| one == writer);
        let at = |from, until| {
            longest(&gaps, |gap| gap.touches((from, until))).map(|gap| milliseconds(gap.length()))
        };
        let name = match writer {
            writer if writer == writers => "SQLAlchemy, moved tenant".to_owned(),
            writer if writer < moved => format!("proxy, moved tenant, {}", writer + 1),
            writer => format!("proxy, other tenants, {}", writer + 1),
        };
        let pauses =
            switches.iter().map(|switch| (switch.name.clone(), at(switch.from, switch.until))).collect();
        (!gaps.is_empty()).then_some(Client { name, pauses_ms: pauses })
    };
    (0..=writers).filter_map(client).collect()
}

/// The longest waits of writers, for each switch and for the rest of the time. `is_moved` says who writes on the moved
/// tenant.
pub fn waits(evidence: &Evidence, is_moved: &dyn Fn(usize) -> bool) -> Vec<Wait> {
    let of_moved = gaps(evidence.notes, is_moved);
    let of_others = gaps(evidence.notes, |writer| !is_moved(writer));
    let switches = evidence.switches();
    let line = |when: String, fenced_ms, wanted: &dyn Fn(&Gap) -> bool| Wait {
        when,
        moved_ms: longest(&of_moved, wanted).map(|gap| milliseconds(gap.length())),
        others_ms: longest(&of_others, wanted).map(|gap| milliseconds(gap.length())),
        fenced_ms,
    };
    let mut waits: Vec<Wait> = switches
        .iter()
        .map(|switch| {
            let window = (switch.from, switch.until);
            line(switch.name.clone(), switch.fenced_ms, &|gap| gap.touches(window))
        })
        .collect();
    let outside = |gap: &Gap| !switches.iter().any(|switch| gap.touches((switch.from, switch.until)));
    waits.push(line("outside of switches".into(), None, &outside));
    waits
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn switches_and_phases_are_read_from_the_programs_events() {
        let at = |ms: u64| format!("2026-01-01T00:00:{:02}.{:03}Z", ms / 1000, ms % 1000);
        let events = json!([
            { "seq": 0, "at": at(1000), "event": { "event": "asked" } },
            { "seq": 1, "at": at(1500), "event": { "event": "prepared" } },
            { "seq": 2, "at": at(4000), "event": { "event": "copied" } },
            { "seq": 3, "at": at(9000), "event": { "event": "switch_intended", "attempt": 1 } },
            { "seq": 4, "at": at(9004), "event": { "event": "fenced", "since": 9_002 } },
            { "seq": 5, "at": at(9010), "event": { "event": "switched", "to": "green", "at": 9_010 } },
            { "seq": 6, "at": at(9020), "event": { "event": "settled" } },
        ]);
        let begun_at = SystemTime::from("2026-01-01T00:00:00Z".parse::<Timestamp>().expect("a time"));
        let notes = Notes::default();
        let evidence = Evidence { notes: &notes, begun_at, events: &events };
        let phases: Vec<(String, u64)> =
            phases(&evidence).into_iter().map(|phase| (phase.name, phase.ms)).collect();
        let wanted = [("prepare", 500), ("copy", 2500), ("switch 1 to green", 20)];
        assert_eq!(phases, wanted.map(|(name, ms)| (format!("by its events: {name}"), ms)));
        let waits = waits(&evidence, &|writer| writer < 1);
        assert_eq!((waits[0].when.as_str(), waits[0].fenced_ms), ("switch 1 to green", Some(8)));
        assert_eq!(waits[1].when, "outside of switches");
    }
}
