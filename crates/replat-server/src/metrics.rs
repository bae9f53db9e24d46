//! What the server says of itself, in the exposition format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use replat_engine::registry::Attendance;

use crate::board::Standing;
use crate::haproxy::Exported;

/// Answers that were given, by address and status.
#[derive(Default)]
pub struct Requests(Mutex<BTreeMap<(&'static str, u16), u64>>);

impl Requests {
    /// Counts one.
    pub fn count(&self, route: &'static str, status: u16) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry((route, status)).or_default() += 1;
    }

    fn all(&self) -> BTreeMap<(&'static str, u16), u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is told of one context.
pub struct ContextFacts {
    pub context: String,
    /// The newest version that is handed out.
    pub version: u64,
    pub standing: Standing,
    pub is_ready: bool,
    /// Who follows, by the registry; `None`: it did not say.
    pub attending: Option<Vec<Attendance>>,
}

/// What is told of all.
pub struct Facts<'a> {
    pub project: &'a str,
    pub contexts: Vec<ContextFacts>,
    pub connections: usize,
    pub streams: usize,
    /// Polls that wait.
    pub polls: usize,
    pub requests: &'a Requests,
    pub haproxy: Option<Exported>,
}

/// The page.
pub fn page(facts: &Facts<'_>) -> String {
    let mut page = Page(String::new());
    let project = facts.project;
    page.family("replat_build_info", "gauge", "Which program this is.");
    page.sample("replat_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let of = |one: &ContextFacts| one.context.clone();
    page.family("replat_registry_up", "gauge", "Whether the registry is heard of.");
    for one in &facts.contexts {
        let up = f64::from(u8::from(one.is_ready));
        page.sample("replat_registry_up", &[("project", project), ("context", &of(one))], up);
    }
    page.family("replat_registry_revision", "gauge", "The newest version of the routes that is handed out.");
    for one in &facts.contexts {
        let labels = [("project", project), ("context", &of(one))];
        page.sample("replat_registry_revision", &labels, one.version as f64);
    }
    page.family(
        "replat_registry_contact_age_seconds",
        "gauge",
        "How long ago all that the registry had was known; +Inf: never yet.",
    );
    for one in &facts.contexts {
        let age = one.standing.age.map_or(f64::INFINITY, |age| Duration::as_secs_f64(&age));
        let labels = [("project", project), ("context", &of(one))];
        page.sample("replat_registry_contact_age_seconds", &labels, age);
    }
    page.family("replat_route_clients", "gauge", "Routers and proxies that attend at the registry, by kind.");
    for one in &facts.contexts {
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for who in one.attending.iter().flatten() {
            *kinds.entry(&who.kind).or_default() += 1;
        }
        for (kind, count) in kinds {
            let labels = [("project", project), ("context", &of(one)), ("kind", kind)];
            page.sample("replat_route_clients", &labels, count as f64);
        }
    }
    page.family(
        "replat_route_client_version_lag",
        "gauge",
        "How many versions the slowest of them is behind.",
    );
    for one in &facts.contexts {
        let lag = |who: &Attendance| one.version.saturating_sub(who.version);
        if let Some(lag) = one.attending.iter().flatten().map(lag).max() {
            let labels = [("project", project), ("context", &of(one))];
            page.sample("replat_route_client_version_lag", &labels, lag as f64);
        }
    }
    page.family("replat_sse_clients", "gauge", "Open streams of events.");
    page.sample("replat_sse_clients", &[], facts.streams as f64);
    page.family("replat_http_polls", "gauge", "Requests that wait for newer routes.");
    page.sample("replat_http_polls", &[], facts.polls as f64);
    page.family("replat_http_connections", "gauge", "Open connections.");
    page.sample("replat_http_connections", &[], facts.connections as f64);
    page.family("replat_http_requests_total", "counter", "Answers, by address and status.");
    for ((route, status), count) in facts.requests.all() {
        let labels = [("route", route), ("status", &status.to_string())];
        page.sample("replat_http_requests_total", &labels, count as f64);
    }
    if let Some(haproxy) = &facts.haproxy {
        page.family("replat_haproxy_up", "gauge", "Whether HAProxy has the map as it should be.");
        page.sample("replat_haproxy_up", &[], f64::from(u8::from(haproxy.trouble.is_none())));
        page.family("replat_haproxy_revision", "gauge", "The version of the routes that HAProxy goes by.");
        page.sample("replat_haproxy_revision", &[], haproxy.version as f64);
        page.family(
            "replat_haproxy_changes_total",
            "counter",
            "Entries of the map that were set, added or removed.",
        );
        page.sample("replat_haproxy_changes_total", &[], haproxy.changes as f64);
    }
    page.0
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _infallible = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let pair = |(name, value): &(&str, &str)| format!("{name}=\"{}\"", escaped(value));
        let labels: Vec<String> = labels.iter().map(pair).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let value = if value == f64::INFINITY { "+Inf".to_owned() } else { value.to_string() };
        let _infallible = writeln!(self.0, "{name}{labels} {value}");
    }
}
