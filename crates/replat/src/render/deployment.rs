//! Deployments: how far they are, whose the rows are, and what to say next.

use replat_engine::{Listed, Recorded, Trouble};
use replat_model::contract::Kept;
use replat_model::deploy::{Certificate, Deployment, Event, KeptBack, Phase, Timestamp};
use replat_model::ids::Side;
use replat_model::next::{Action, Reason, Step};
use replat_postgres::engine::{SlotSeen, now};
use serde_json::{Value, json};

use super::happened::Happened;
use super::{bytes, count, counted, moment, span};
use crate::routing::{Following, Routing};

/// A deployment, and what is known around it.
pub struct Card<'a> {
    /// Which one.
    pub listed: &'a Listed,
    /// Its state.
    pub d: &'a Deployment,
    /// How many entries its log has.
    pub length: u64,
    /// What it took, as far as it came.
    pub happened: Happened,
    /// Whoever runs it now.
    pub runner: Option<String>,
    /// What its runner fails at, or failed at when it was last seen.
    pub trouble: Option<Trouble>,
    /// What was seen at the registry, if there is one and somebody looked.
    pub routing: Option<Routing>,
    /// What was seen at both databases, if somebody looked.
    pub live: Option<Live>,
}

/// What was seen at both databases.
pub struct Live {
    /// What comes next.
    pub step: Step,
    /// The slots of both streams.
    pub slots: Vec<SlotSeen>,
    /// Rows that could not be stored yet, by the side that has them.
    pub parked: Vec<KeptBack>,
}

impl Card<'_> {
    /// What comes next, for people. A process that does not run the deployment cannot see how far its streams are,
    /// and so not what the runner will do after them.
    fn next(&self) -> Option<String> {
        let live = self.live.as_ref()?;
        Some(match (&live.step, &self.runner) {
            (Step::Do(Action::Follow { .. }), Some(runner)) => format!("what {runner} finds in the streams"),
            (step, _) => step_text(step),
        })
    }

    /// At most two commands that make sense now.
    fn next_commands(&self) -> Vec<String> {
        let d = self.d;
        let verbs: &[&str] = match d.phase() {
            Phase::Aborted | Phase::Finished => &[],
            _ if d.paused.is_some() => &["resume"],
            _ if d.verify_failed.is_some() && d.home == Side::Blue => &["resume", "abort"],
            _ if d.verify_failed.is_some() => &["resume"],
            _ if d.contracts_broken.is_some() => &["resume", "abort"],
            Phase::Soak if d.plan.has_way_back() => &["rollback", "finish"],
            Phase::Soak => &["finish"],
            Phase::RolledBack => &["switch", "abort"],
            Phase::Ready if d.wanted_home() == Side::Blue => &["switch", "abort"],
            _ => &["watch"],
        };
        verbs.iter().map(|verb| format!("replat deploy {verb} {}", self.listed.id)).collect()
    }

    /// Who runs it, and what is not done while nobody does.
    fn runner_text(&self) -> Option<String> {
        if let Some(runner) = &self.runner {
            return Some(runner.clone());
        }
        let missing = match self.d.phase() {
            Phase::Aborted | Phase::Finished => return None,
            Phase::Soak if self.d.plan.path.shares_rows() => "the soak does not end by itself",
            Phase::Ready | Phase::RolledBack if self.d.plan.path.shares_rows() => "nothing goes on",
            Phase::Soak if self.d.plan.has_way_back() => "what is written on green does not flow back",
            Phase::Soak => "the soak does not end by itself",
            Phase::Ready | Phase::RolledBack => "what is written on blue does not reach green",
            _ => "nothing goes on",
        };
        Some(format!("none: {missing} until `replat deploy watch {}`", self.listed.id))
    }
}

/// A deployment as a JSON object.
pub fn deployment_value(card: &Card) -> Value {
    let (listed, d) = (card.listed, card.d);
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
        "path": d.plan.path.name(),
        "version_before": d.plan.version_before,
        "version_now": version_now(d),
        "created": moment(listed.created),
        "entries": card.length,
        "attempts": d.attempts,
        "reversible": d.home == Side::Green && d.finished.is_none() && d.plan.has_way_back(),
        "paused": d.paused,
        "differs": d.verify_failed.as_ref().map(|(_, c)| c),
        "contracts_broken": d.contracts_broken.as_ref().map(|kept| &kept.broken),
        "verified": d.verified_forward,
        "verified_backward": d.verified_backward,
        "incident_rows": d.leaks,
        "kept_back": d.kept_back,
        "trouble": card.trouble.as_ref().map(trouble_value),
        "predicted": {
            "rows": d.plan.rows(),
            "bytes": d.plan.bytes(),
            "copy_ms": d.plan.prediction.copy_ms,
            "verify_ms": d.plan.prediction.verify_ms,
            "pause_ms": d.plan.prediction.pause_ms,
            "log_kept": d.plan.prediction.log_kept,
            "measured": d.plan.prediction.measured,
        },
        "happened": card.happened,
        "policy": d.policy,
        "runner": card.runner,
        "registry": card.routing,
        "streams": card.live.as_ref().map(|live| &live.slots),
        "parked": card.live.as_ref().map(|live| &live.parked),
        "next": card.next(),
        "next_commands": card.next_commands(),
    })
}

/// The schema version of the home that the partition has now, if it was ever said.
fn version_now(d: &Deployment) -> Option<&str> {
    match d.home {
        Side::Green => Some(&d.plan.version),
        Side::Blue => d.plan.version_before.as_deref(),
    }
}

/// A deployment for people.
pub fn deployment(card: &Card) -> String {
    let (listed, d) = (card.listed, card.d);
    let mut t = format!(
        "{}  {}/{}  {} -> {}   {}\n",
        listed.id,
        listed.context,
        listed.partition,
        d.plan.blue.home,
        d.plan.green.home,
        d.phase().as_str()
    );
    let mut row = |name: &str, text: &str| t += &format!("  {name:<10} {text}\n");
    let now = version_now(d).unwrap_or("unknown");
    row(
        "version",
        &format!("{}, now {now}", super::plan::step(d.plan.version_before.as_deref(), &d.plan.version)),
    );
    row("owner", &format!("{} ({}), at epoch {}", d.plan.end(d.home).home, d.home, d.epoch));
    let happened = card.happened.rows_beside(&d.plan);
    for (name, text) in comparisons(d).into_iter().chain(happened).chain(circumstances(card)) {
        row(name, &text);
    }
    row("log", &format!("{} entries since {}", card.length, moment(listed.created)));
    let commands = card.next_commands();
    if !commands.is_empty() {
        t += &format!("Next:  {}\n", commands.join("     "));
    }
    t
}

fn comparisons(d: &Deployment) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    for (name, certificate) in [("verified", &d.verified_forward), ("way back", &d.verified_backward)] {
        if let Some(c) = certificate {
            rows.push((name, format!("{} rows equal, digest {}", count(c.rows), short(&c.digest))));
        }
    }
    if let Some((from, c)) = &d.verify_failed {
        rows.push(("differs", format!("{} of {} rows, seen from {from}", count(c.different), count(c.rows))));
        rows.extend(c.samples.iter().map(|sample| ("", sample.clone())));
    }
    if let Some(kept) = &d.contracts_broken {
        let said = broken_contracts(kept);
        rows.extend(
            said.into_iter().enumerate().map(|(n, line)| (if n == 0 { "contracts" } else { "" }, line)),
        );
    }
    rows
}

fn circumstances(card: &Card) -> Vec<(&'static str, String)> {
    let d = card.d;
    let mut rows = Vec::new();
    if let Some(why) = &d.paused {
        rows.push(("paused", why.clone()));
    }
    if d.leaks > 0 {
        let text = format!("{} rows were written past the guard; see replat.incident", count(d.leaks));
        rows.push(("incidents", text));
    }
    // What was just seen says more than the log.
    let kept: Vec<&KeptBack> = match &card.live {
        Some(live) => live.parked.iter().collect(),
        None => d.kept_back.iter().collect(),
    };
    for kept in kept {
        rows.push(("kept back", format!("{}:", kept_back_text(kept))));
        rows.extend(kept.samples.iter().map(|sample| ("", sample.clone())));
        if kept.keys > kept.samples.len() as u64 {
            rows.push(("", "…".into()));
        }
    }
    if let Some(trouble) = &card.trouble {
        let ago = |at: Timestamp| span(now().since(at));
        let age = match trouble.last.since(trouble.since) {
            0 => format!("{} ago", ago(trouble.last)),
            _ => format!("{} ago, since {}", ago(trouble.last), moment(trouble.since)),
        };
        rows.push(("trouble", format!("{} {} ({age})", trouble.code, trouble.what)));
        rows.push(("", trouble.remedy.clone()));
    }
    if d.plan.path.shares_rows() && d.prepared && !d.aborted {
        let (blue, green) = (&d.plan.blue.home, &d.plan.green.home);
        rows.push(match d.finished {
            None => ("rows", format!("in {blue}; the tables of {green} are views of them")),
            Some(_) => ("rows", format!("{blue} and {green} are tables and views of one set of rows")),
        });
    }
    if let Some(at) = d.finished.filter(|_| !d.ended()) {
        let until = moment(Timestamp(at.0.saturating_add(d.policy.retain.millis())));
        let watch = format!("replat deploy watch {}", card.listed.id);
        rows.push(("kept", format!("blue's copy, read-only, until {until}; then `{watch}` drops it")));
    }
    rows.extend(card.routing.iter().flat_map(routing));
    for slot in card.live.iter().flat_map(|live| &live.slots) {
        let runs = if slot.active { "runs" } else { "does not run" };
        let behind = slot.behind.map_or("of unknown lag".to_owned(), |n| format!("{} behind", bytes(n)));
        rows.push(("stream", format!("{} -> {}: {runs}, {behind}", slot.from, slot.from.other())));
    }
    if let Some(next) = card.next() {
        rows.push(("next", next));
    }
    if let Some(runner) = card.runner_text() {
        rows.push(("runner", runner));
    }
    rows
}

fn kept_back_text(kept: &KeptBack) -> String {
    let rows = if kept.keys == 1 { "row" } else { "rows" };
    format!("{} {rows} of {} cannot be stored on {}", count(kept.keys), kept.from, kept.from.other())
}

/// What a runner fails at, for people.
pub fn trouble_text(trouble: &Trouble) -> String {
    format!("{} {}. {}", trouble.code, trouble.what, trouble.remedy)
}

fn trouble_value(trouble: &Trouble) -> Value {
    json!({
        "code": trouble.code,
        "what": trouble.what,
        "remedy": trouble.remedy,
        "needs_a_person": trouble.needs_a_person,
        "since": moment(trouble.since),
        "last": moment(trouble.last),
    })
}

/// Who is told of a switch, and who holds.
fn routing(seen: &Routing) -> Vec<(&'static str, String)> {
    let Routing { registry, trouble, published, version, followers, hold } = seen;
    if let Some(trouble) = trouble {
        let text = format!("{trouble}; nobody is asked to hold, and the databases tell the new home");
        return vec![("registry", text)];
    }
    let told = match published {
        0 => "nothing is published yet".to_owned(),
        published if published < version => format!("version {published} of {version} is published"),
        published => format!("version {published} is published"),
    };
    let behind = followers.iter().filter(|who| who.version < *published).count();
    let follow = match (followers.len(), behind) {
        (0, _) => "nobody follows".to_owned(),
        (all, 0) => format!("{all} follow"),
        (all, behind) => format!("{all} follow, {behind} of them behind"),
    };
    let mut rows = vec![("registry", format!("{registry}: {told}; {follow}"))];
    if let Some(hold) = hold {
        let what = if hold.reads { "reads and writes wait" } else { "new transactions wait" };
        rows.push(("hold", format!("attempt {}: {what}", hold.attempt)));
        rows.extend(followers.iter().map(|who| ("", answer(who))));
    }
    rows
}

fn answer(who: &Following) -> String {
    match &who.answer {
        None => format!("{}: has not answered", who.name),
        Some(a) if a.busy == 0 => format!("{}: quiet, {} wait", who.name, count(a.held)),
        Some(a) => format!("{}: {} running, {} wait", who.name, count(a.busy), count(a.held)),
    }
}

/// All deployments, for people: a line each.
pub fn list(cards: &[Card]) -> String {
    if cards.is_empty() {
        return "no deployments yet\nNext:  replat plan deploy -p …".into();
    }
    let line = |[id, partition, phase, home, version, epoch, runner, since]: [&str; 8]| {
        format!(
            "{id:<6} {partition:<32} {phase:<12} {home:<6} {version:<8} {epoch:<6} {runner:<12} {since}\n"
        )
    };
    let mut t = line(["ID", "PARTITION", "PHASE", "HOME", "VERSION", "EPOCH", "RUNNER", "SINCE"]);
    for card in cards {
        t += &line([
            card.listed.id.as_str(),
            &format!("{}/{}", card.listed.context, card.listed.partition),
            card.d.phase().as_str(),
            &card.d.home.to_string(),
            version_now(card.d).unwrap_or("-"),
            &card.d.epoch.to_string(),
            card.runner.as_deref().unwrap_or("-"),
            &moment(card.listed.created),
        ]);
    }
    t
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// A step for people.
fn step_text(step: &Step) -> String {
    match step {
        Step::Do(action) => action_text(action),
        Step::Hold { .. } => "let new transactions of the partition wait where they come from".into(),
        Step::Record(event) => event_text(event),
        Step::Wait(reason) => reason_text(reason),
        Step::Done => "nothing: it has ended".into(),
    }
}

fn action_text(action: &Action) -> String {
    match action {
        Action::Prepare => "prepare both ends".into(),
        Action::OpenSlot { side } => format!("open a slot on {side}"),
        Action::PlanCopy => "cut the tables into chunks".into(),
        Action::Copy { chunks } => format!("copy {} chunks", count(chunks.len() as u64)),
        Action::BuildIndexes => "build indexes and constraints on green".into(),
        Action::Follow { from } => format!("follow what is written on {from}"),
        Action::CopyParked { from } => format!("copy some rows of {from} once more"),
        Action::Verify { from, .. } => format!("compare both sides, seen from {from}"),
        Action::AskContracts => "ask both sides what consumers rely on".into(),
        Action::Fence { side, .. } => format!("refuse the partition's writers on {side}"),
        Action::Prove { .. } => "compare what was touched since".into(),
        Action::Open { side, .. } => format!("let the partition's writers through on {side}"),
        Action::Seal { side, .. } => format!("name the home to writers on {side}"),
        Action::HandOver { to, .. } => {
            format!("let the partition's writers through on {to}, and on no other side")
        }
        Action::Retire => "end the way back".into(),
        Action::DropCopy => "drop blue's copy".into(),
        Action::Clean => "remove what the deployment made".into(),
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
        Reason::ContractBroken => {
            "a consumer's query has another answer on green; look, then `replat deploy resume`".into()
        }
        Reason::Paused => "paused: `replat deploy resume` goes on".into(),
        Reason::Soak { left } => format!("soaks for {} more; rollback is possible", span(*left)),
        Reason::RolledBack => {
            "rolled back: `replat deploy switch` goes forward again, `abort` cleans up".into()
        }
        Reason::Retained { left } => format!("finished; blue's copy is kept for {} more", span(*left)),
    }
}

/// Contracts that are not kept, one line each.
pub fn broken_contracts(kept: &Kept) -> Vec<String> {
    kept.broken.iter().map(|b| format!("{} ({}): {}", b.contract, b.consumer, b.what)).collect()
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
        Event::ContractsKept { kept, .. } => format!(
            "{} kept{}",
            counted(kept.kept.len() + kept.unsettled.len(), "contract is", "contracts are"),
            match kept.unsettled.is_empty() {
                true => String::new(),
                false =>
                    format!("; rows that never stood still were not compared: {}", kept.unsettled.join(", ")),
            }
        ),
        Event::ContractsBroken { kept } => format!("not kept: {}", broken_contracts(kept).join("; ")),
        Event::SwitchIntended { attempt, .. } => format!("attempt {attempt} to switch begins"),
        Event::Fenced { attempt, at, .. } => format!("attempt {attempt}: fenced at {at}"),
        Event::FenceGivenUp { attempt, why, .. } => format!("attempt {attempt} given up: {why}"),
        Event::Unfenced { attempt } => format!("attempt {attempt}: writers go on where they were"),
        Event::Switched { to, epoch, proof, .. } => {
            format!("switched to {to} at {epoch}; {} touched rows proved equal", count(proof.rows))
        }
        Event::Settled { epoch } => format!("settled at {epoch}: the new home is in use"),
        Event::LeakSeen { side, rows } => format!("{rows} rows written to {side} past its guard are kept"),
        Event::RowsKeptBack(kept) if kept.keys == 0 => {
            format!("no row of {} is kept back any more", kept.from)
        }
        Event::RowsKeptBack(kept) => format!("{}: {}", kept_back_text(kept), kept.samples.join("; ")),
        Event::Paused { why } => format!("paused: {why}"),
        Event::Resumed => "resumed".into(),
        Event::SwitchAsked { to, why } => format!("{to} is wanted as home: {why}"),
        Event::PolicySet { what, .. } => format!("set {what}"),
        Event::FinishAsked { why } => format!("finish asked: {why}"),
        Event::Finished { .. } => "finished: the way back has ended".into(),
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

/// One entry for people: its place, its time, what happened.
pub fn event_line(entry: &Recorded) -> String {
    format!("{:>4}  {}  {}", entry.seq, moment(entry.at), event_text(&entry.event))
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
