//! Routes and registries, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use replat_engine::registry::{Attendance, HoldCall};
use replat_model::cohort::cohort;
use replat_model::deploy::Timestamp;
use replat_model::ids::PartitionId;
use replat_model::key::KeyValue;
use replat_model::map::{Dimension, Leaf};
use replat_model::route::{Route, Routes, Traffic};
use replat_registry::{Brought, Status};
use replat_statement::{Hint, Keys};
use serde::Serialize;
use serde_json::{Value, json};

use crate::route::HookBehind;
use crate::tables::TablesStanding;

use super::{bytes, count, counted, span};

/// How a context stands in a registry.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// The context.
    pub context: String,
    /// The newest version that the store has; 0: none.
    pub newest: u64,
    /// What the registry has; `None`: nothing.
    pub status: Option<Status>,
    /// Who follows.
    pub attending: Vec<Attendance>,
    /// What is asked to be held.
    pub holds: Vec<HoldCall>,
}

/// What was published, by context: the version that is there now, and what it took; `None`: nothing was tried.
pub fn published(registry: &str, done: &BTreeMap<String, (u64, Option<Brought>)>) -> String {
    let mut text = format!("{registry}\n");
    for (context, (version, brought)) in done {
        let what = match brought {
            None => "would be brought up to date".into(),
            Some(Brought { deltas: 0, wholes: 0, .. }) => "was up to date".into(),
            Some(Brought { deltas, wholes, .. }) => format!("published: {wholes} whole, {deltas} changes"),
        };
        let _infallible = writeln!(text, "  {context}  version {version}  {what}");
    }
    text
}

/// How the contexts of a project stand.
pub fn standing(registry: &str, contexts: &[Standing], now: Timestamp) -> String {
    let mut text = format!("{registry}\n");
    for c in contexts {
        let line = match &c.status {
            None => "nothing is published; replat registry init".to_owned(),
            Some(s) => format!(
                "version {}{}  whole {} at {}, {} since",
                s.version,
                if c.newest > s.version { format!(" of {}", c.newest) } else { String::new() },
                bytes(s.whole_bytes),
                s.whole,
                counted(usize::try_from(s.deltas).unwrap_or(usize::MAX), "change", "changes"),
            ),
        };
        let _infallible = writeln!(text, "  {}  {line}", c.context);
        text += &followers(c.status.as_ref().map_or(0, |s| s.version), &c.attending, now, "    ");
        for hold in &c.holds {
            let _infallible = writeln!(
                text,
                "    hold of {} at {} by {} (attempt {}), at most {} more",
                hold.partition,
                hold.epoch,
                hold.deployment,
                hold.attempt,
                span(hold.until.since(now)),
            );
        }
    }
    text
}

/// The tables of databases.
pub fn tables(all: &[TablesStanding]) -> String {
    let mut text = String::new();
    for one in all {
        let _infallible = writeln!(
            text,
            "  tables of {}  version {}  {} with {}, as of change {}",
            one.database,
            one.version,
            counted(one.sets, "table", "tables"),
            counted(one.partitions, "partition", "partitions"),
            one.outbox,
        );
    }
    text
}

/// Hooks that are behind.
pub fn deaf(behind: &[HookBehind]) -> String {
    let mut text = String::new();
    for one in behind {
        let heard = match one.version {
            0 => "heard nothing yet".to_owned(),
            version => format!("heard of version {version}"),
        };
        let why = one.trouble.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let _infallible = writeln!(
            text,
            "  hook {} is behind: of {} it has {heard}, {} is published{why}; replat registry publish tells it again",
            one.hook, one.context, one.newest,
        );
    }
    text
}

/// Who follows a context.
pub fn clients(context: &str, head: u64, attending: &[Attendance], now: Timestamp) -> String {
    match attending {
        [] => format!("{context}: nobody follows\n"),
        some => format!("{context} at version {head}\n{}", followers(head, some, now, "  ")),
    }
}

fn followers(head: u64, attending: &[Attendance], now: Timestamp, indent: &str) -> String {
    let mut text = String::new();
    for who in attending {
        let behind = match head.saturating_sub(who.version) {
            0 => "up to date".into(),
            n => {
                format!("{} behind", counted(usize::try_from(n).unwrap_or(usize::MAX), "version", "versions"))
            }
        };
        let _infallible = write!(
            text,
            "{indent}{} at {}  version {}, {behind}, lease {} more",
            who.kind,
            who.place,
            who.version,
            span(who.until.since(now)),
        );
        if who.pinned > 0 {
            let _infallible = write!(text, ", {} sessions cannot move", count(who.pinned));
        }
        for answer in &who.answers {
            let _infallible =
                write!(text, ", {}: {} running, {} held", answer.partition, answer.busy, answer.held);
        }
        text.push('\n');
    }
    text
}

/// Where some keys are served.
pub fn lookup(routes: &Routes, found: &[Route<'_>]) -> String {
    let mut text = format!("{} version {}\n", routes.context(), routes.version());
    for route in found {
        let (leaf, address) = (route.leaf, route.address);
        let _infallible = write!(
            text,
            "  {}  {} {}  {}:{}/{}  cohort {}",
            leaf.partition,
            leaf.home,
            leaf.epoch,
            address.host,
            address.port,
            address.dbname,
            cohort(&leaf.partition),
        );
        if let Some(endpoint) = &address.endpoint {
            let _infallible = write!(text, "  {endpoint}");
        }
        if let Some(traffic) = route.traffic {
            let _infallible = write!(text, "  {}", special(traffic));
        }
        text.push('\n');
    }
    if found.is_empty() {
        text += "  no partition\n";
    }
    text
}

fn special(traffic: &Traffic) -> String {
    let mut parts = Vec::new();
    if let Some(version) = &traffic.schema_version {
        parts.push(format!("schema {version}"));
    }
    if !traffic.features.is_empty() {
        parts.push(format!("features {}", traffic.features.iter().cloned().collect::<Vec<_>>().join(",")));
    }
    if let Some(reads) = &traffic.reads {
        let how = if reads.shadow { "shadowed by" } else { "answered by" };
        let stale = span(reads.stale_max_ms);
        parts.push(format!("{} % of the reads {how} {} (at most {stale} behind)", reads.percent, reads.home));
    }
    parts.join(", ")
}

/// What a statement names, and does to its session.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Whose rows it concerns, or why that is not known.
    pub keys: String,
    /// What kind of work each statement is.
    pub verbs: Vec<String>,
    /// What it changes in its session.
    pub session: Vec<String>,
    /// Whether a session that did it cannot move to another server.
    pub pins: bool,
}

/// Whose rows a statement concerns, in words.
pub fn keys_text(keys: &Keys, hint: Option<&Hint>, dimensions: &[Dimension]) -> String {
    let shown = |key: &Vec<KeyValue>| {
        let parts = dimensions.iter().zip(key);
        parts.map(|(d, value)| format!("{}={value}", d.column)).collect::<Vec<_>>().join(",")
    };
    match (hint, keys) {
        (Some(Hint::Partition(partition)), _) => format!("partition {partition}, by a comment"),
        (Some(Hint::Key(key)), _) => format!("key {key}, by a comment"),
        (Some(Hint::Bad), _) => "unknown: its comment begins with replat: and is not understood".into(),
        (None, Keys::Exact { keys, .. }) if keys.len() == 1 => shown(&keys[0]),
        (None, Keys::Exact { keys, .. }) => {
            format!(
                "{}: {}",
                counted(keys.len(), "key", "keys"),
                keys.iter().map(shown).collect::<Vec<_>>().join("; ")
            )
        }
        (None, Keys::Partial { .. }) => "only a part of the key".into(),
        (None, Keys::Reference) => "no partition: a table that every home has".into(),
        (None, Keys::Unknown(why)) => format!("unknown: {why}"),
        (None, Keys::NotData) => "no rows".into(),
    }
}

/// Which partitions a statement goes to.
pub fn explained(routes: &Routes, explained: &Explained, found: &[Route<'_>]) -> String {
    let mut text = format!("names  {}\n", explained.keys);
    let _infallible = writeln!(text, "does   {}", explained.verbs.join(", "));
    for change in &explained.session {
        let _infallible = writeln!(text, "session  {change}");
    }
    if explained.pins {
        text += "         the session cannot move to another server while it has this\n";
    }
    match found {
        [] => text += "goes   where the proxy is told that statements without a partition go\n",
        [_, _, ..] => text += "goes   nowhere: it concerns several partitions\n",
        [_] => {}
    }
    text + &if found.is_empty() { String::new() } else { lookup(routes, found) }
}

/// How requests for a partition are shared out from now on.
pub fn shared_out(partition: &PartitionId, traffic: Option<&Traffic>) -> String {
    match traffic {
        None => format!("{partition}: everything goes to its home\n"),
        Some(traffic) => format!("{partition}: {}\n", special(traffic)),
    }
}

/// What a new version changes.
pub fn change(before: Option<&Routes>, now: &Routes) -> String {
    let Some(before) = before else {
        let partitions = counted(now.map().leaves().count(), "partition", "partitions");
        return format!("{} version {}: {partitions}\n", now.context(), now.version());
    };
    let mut text = format!("{} version {}\n", now.context(), now.version());
    for change in before.map().diff(now.map()) {
        let line = match (&change.before, &change.after) {
            (Some(before), Some(after)) => {
                format!("{} {} -> {} {}", before.home, before.epoch, after.home, after.epoch)
            }
            (None, Some(after)) => format!("appears on {} {}", after.home, after.epoch),
            _ => "goes".into(),
        };
        let _infallible = writeln!(text, "  {}  {line}", change.partition);
    }
    if before.addresses() != now.addresses() {
        text += "  addresses changed\n";
    }
    for (partition, traffic) in now.traffic() {
        if before.traffic().get(partition) != Some(traffic) {
            let _infallible = writeln!(text, "  {partition}  {}", special(traffic));
        }
    }
    for partition in before.traffic().keys().filter(|partition| !now.traffic().contains_key(*partition)) {
        let _infallible = writeln!(text, "  {partition}  everything goes to its home");
    }
    text
}

/// The same for programs.
pub fn change_value(before: Option<&Routes>, now: &Routes) -> Value {
    let changes = before.map(|before| {
        let lives = |leaf: Option<Leaf>| leaf.map(|leaf| json!({ "home": *leaf.home, "epoch": leaf.epoch }));
        let changes = before.map().diff(now.map()).into_iter();
        changes
            .map(|c| json!({ "partition": c.partition, "before": lives(c.before), "after": lives(c.after) }))
            .collect::<Vec<_>>()
    });
    json!({ "context": now.context(), "version": now.version(), "changes": changes })
}

/// Routes for Envoy's file-based discovery of routes (RDS): requests with a partition's name in the field `x-partition` go
/// to the cluster named as its database; others are answered with 404. Envoy takes a new file when it is moved into place.
pub fn envoy(routes: &Routes) -> serde_json::Value {
    let to = |leaf: &Leaf| {
        let exact = json!({ "exact": leaf.partition.to_string() });
        json!({
            "match": { "prefix": "/", "headers": [{ "name": "x-partition", "string_match": exact }] },
            "route": { "cluster": leaf.home.database },
        })
    };
    let mut all: Vec<_> = routes.map().leaves().map(to).collect();
    all.push(json!({ "match": { "prefix": "/" }, "direct_response": { "status": 404 } }));
    json!({
        "version_info": routes.version().to_string(),
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": routes.context(),
            "virtual_hosts": [{ "name": routes.project(), "domains": ["*"], "routes": all }],
        }],
    })
}

/// The inside of a `map` block of nginx: a partition a line, and the address of its services.
///
/// # Errors
///
/// A partition whose database has no endpoint.
pub fn nginx(routes: &Routes) -> Result<String, PartitionId> {
    let mut text = format!("# {} {} version {}\n", routes.project(), routes.context(), routes.version());
    for leaf in routes.map().leaves() {
        let endpoint = routes.addresses().get(&leaf.home.database).and_then(|a| a.endpoint.as_deref());
        let endpoint = endpoint.ok_or_else(|| leaf.partition.clone())?;
        let _infallible = writeln!(text, "{} {endpoint};", leaf.partition);
    }
    Ok(text)
}
