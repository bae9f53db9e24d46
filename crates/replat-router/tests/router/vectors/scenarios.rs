//! Stories that a router of any language must play: stale versions, switches, rollbacks, lost registries.
//!
//! A step is an object with one field, its verb; beside it `want`, what the router must say. Time is a clock that only
//! the step `pass` moves.

use std::collections::BTreeMap;
use std::time::Duration;

use replat_model::ids::{Epoch, PartitionId};
use replat_model::key::KeyValue;
use replat_model::route::Routes;
use replat_router::clock::Clock;
use replat_router::retry::{Decision, Failure, Stage, decide};
use replat_router::{
    Destination, Hold, HoldOutcome, Intent, NotTaken, Pass, Refused, Router, Settings, Staleness,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::scene::{HandClock, addresses, home, moved, name, routes, tenants};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    name: String,
    /// `closed`, `reads` or `all`: what is served without a lease.
    staleness: String,
    lease_ms: u64,
    /// By the names that steps use.
    routes: BTreeMap<String, Routes>,
    steps: Vec<Value>,
}

impl Scenario {
    pub async fn play(&self) {
        let clock = HandClock::new();
        let staleness = match &*self.staleness {
            "closed" => Staleness::Closed,
            "reads" => Staleness::Reads,
            "all" => Staleness::All,
            other => panic!("{other} is no way to be stale"),
        };
        let lease = Duration::from_millis(self.lease_ms);
        let router = clock.router(Settings { staleness, lease, ..Settings::default() });
        let mut player = Player { clock, router, routes: &self.routes, inside: BTreeMap::new() };
        for (n, step) in self.steps.iter().enumerate() {
            let got = player.step(step).await;
            assert_eq!(got, step["want"], "{}, step {}: {step}", self.name, n + 1);
        }
    }
}

struct Player<'a> {
    clock: HandClock,
    router: Router,
    routes: &'a BTreeMap<String, Routes>,
    inside: BTreeMap<String, Pass>,
}

fn partition(value: &Value) -> PartitionId {
    value.as_str().expect("a name").parse().expect("a legal name")
}

fn epoch(value: &Value) -> Epoch {
    Epoch::from_number(value.as_u64().expect("a number")).expect("not zero")
}

fn millis(value: &Value) -> Duration {
    Duration::from_millis(value.as_u64().expect("milliseconds"))
}

fn key(value: &Value) -> Vec<KeyValue> {
    serde_json::from_value(value.clone()).expect("a key")
}

fn small(value: &Value) -> u32 {
    u32::try_from(value.as_u64().expect("a number")).expect("a small number")
}

fn found(found: Result<Destination, Refused>) -> Value {
    match found {
        Ok(to) => json!({"partition": to.partition, "home": to.home.to_string(), "epoch": to.epoch}),
        Err(refused) => json!({"refused": word(&refused)}),
    }
}

fn word(refused: &Refused) -> &'static str {
    match refused {
        Refused::NoRoutes { .. } => "no_routes",
        Refused::Stale { .. } => "stale",
        Refused::Key(_) => "key",
        Refused::UnknownPartition { .. } => "unknown_partition",
        Refused::Behind { .. } => "behind",
        Refused::Held { .. } => "held",
        Refused::Table(_) => "table",
    }
}

impl Player<'_> {
    async fn step(&mut self, step: &Value) -> Value {
        let fields = step.as_object().expect("a step is an object");
        let (verb, with) = fields.iter().find(|(verb, _)| *verb != "want").expect("a step has a verb");
        let router = self.router.clone();
        match verb.as_str() {
            "take" => match router.take(self.routes[with.as_str().expect("a name")].clone()) {
                Ok(()) => json!({"version": router.version()}),
                Err(NotTaken::Project { .. }) => json!({"refused": "project"}),
                Err(NotTaken::Context { .. }) => json!({"refused": "context"}),
                Err(NotTaken::Version { .. }) => json!({"refused": "version"}),
            },
            "attended" => {
                router.attended(self.clock.now());
                Value::Null
            }
            "read" => {
                router.confirmed(self.clock.now());
                Value::Null
            }
            "pass" => {
                self.clock.pass(millis(with));
                Value::Null
            }
            "find" => found(router.find(&key(with))),
            "find_partition" => found(router.find_partition(&partition(with))),
            "enter" => {
                let intent = match with["intent"].as_str() {
                    Some("read") => Intent::Read,
                    _ => Intent::Write,
                };
                let entered = router.enter(key(&with["key"]).as_slice(), intent, Duration::ZERO).await;
                found(entered.map(|pass| {
                    let to = pass.destination().clone();
                    self.inside.insert(with["as"].as_str().expect("a name").to_owned(), pass);
                    to
                }))
            }
            "leave" => {
                drop(self.inside.remove(with.as_str().expect("a name")).expect("who is inside"));
                Value::Null
            }
            "hold" => {
                let outcome = router.hold(&Hold {
                    partition: partition(&with["partition"]),
                    deployment: "d1".into(),
                    attempt: small(&with["attempt"]),
                    epoch: epoch(&with["epoch"]),
                    reads: with["reads"].as_bool().expect("a bool"),
                    to: None,
                    lasts: millis(&with["lasts_ms"]),
                });
                match outcome {
                    HoldOutcome::Closed => json!("closed"),
                    HoldOutcome::Past => json!("past"),
                    HoldOutcome::Superseded => json!("superseded"),
                }
            }
            "release" => {
                json!(router.release(&partition(&with["partition"]), small(&with["attempt"])))
            }
            "answers" => {
                let answer = |a: &replat_engine::registry::HoldAnswer| json!({"partition": a.partition, "attempt": a.attempt, "busy": a.busy});
                router.answers().iter().map(answer).collect()
            }
            "heard" => {
                router.heard(&partition(&with["partition"]), epoch(&with["epoch"]));
                Value::Null
            }
            "error" => decision(with),
            other => panic!("{other} is no verb"),
        }
    }
}

fn decision(with: &Value) -> Value {
    let stage = match with["stage"].as_str().expect("a stage") {
        "first" => Stage::First,
        "later" => Stage::Later,
        "whole" => Stage::Whole,
        "commit" => Stage::Commit,
        "commit_of_whole" => Stage::CommitOfWhole,
        other => panic!("{other} is no stage"),
    };
    let failure = Failure {
        sqlstate: with["sqlstate"].as_str(),
        detail: with["detail"].as_str(),
        routine: with["routine"].as_str(),
        constraint: with["constraint"].as_str(),
        ..Failure::default()
    };
    match decide(&failure, stage) {
        Decision::RefreshAndRetry(moved) => {
            json!({"do": "refresh_and_retry", "partition": moved.partition, "epoch": moved.epoch})
        }
        Decision::AskForPartition { .. } => json!({"do": "ask_for_partition"}),
        Decision::HandOut { retryable, .. } => json!({"do": "hand_out", "retryable": retryable}),
        Decision::OutcomeUnknown => json!({"do": "outcome_unknown"}),
    }
}

/// `acme` on blue, on green, and back on blue.
fn there_and_back() -> BTreeMap<String, Routes> {
    let v1 = routes(tenants());
    let v2 = moved(&v1, "green");
    let v3 = moved(&v2, "blue");
    [("v1", v1), ("v2", v2), ("v3", v3)].into_iter().map(|(n, r)| (n.to_owned(), r)).collect()
}

fn scenario(name: &str, staleness: &str, steps: Value) -> Scenario {
    Scenario {
        name: name.into(),
        staleness: staleness.into(),
        lease_ms: 10_000,
        routes: there_and_back(),
        steps: steps.as_array().expect("a list").clone(),
    }
}

pub fn all() -> Vec<Scenario> {
    let at = |home: &str, epoch: u64| json!({"partition": "acme", "home": home, "epoch": epoch});
    let (blue, green, back) = (at("blue.app_blue", 1), at("green.app_green", 2), at("blue.app_blue", 3));
    let globex = json!({"partition": "globex", "home": "blue.app_blue", "epoch": 1});
    let hold = |attempt: u32, epoch: u64, reads: bool| json!({"partition": "acme", "attempt": attempt, "epoch": epoch, "reads": reads, "lasts_ms": 5000});
    let held = json!({"refused": "held"});
    let stale = json!({"refused": "stale"});
    let answer = |busy: u64| json!([{"partition": "acme", "attempt": 1, "busy": busy}]);
    let enter = |who: &str, key: i64, intent: &str| json!({"as": who, "key": [key], "intent": intent});
    let moved_detail = r#"{"partition": "acme", "epoch": 2, "home": "green.app_green", "state": "moved"}"#;
    let mut all = vec![
        scenario(
            "versions only rise",
            "all",
            json!([
                {"find": [1], "want": {"refused": "no_routes"}},
                {"take": "v2", "want": {"version": 2}},
                {"find": [1], "want": green},
                {"take": "v1", "want": {"refused": "version"}},
                {"take": "v2", "want": {"refused": "version"}},
                {"find": [1], "want": green},
                {"take": "v3", "want": {"version": 3}},
                {"find": [1], "want": back},
            ]),
        ),
        scenario(
            "a switch and its rollback",
            "all",
            json!([
                {"take": "v1", "want": {"version": 1}},
                {"enter": enter("a", 1, "write"), "want": blue},
                {"hold": hold(1, 1, false), "want": "closed"},
                {"answers": null, "want": answer(1)},
                {"enter": enter("b", 1, "write"), "want": held},
                {"enter": enter("r", 1, "read"), "want": blue},
                {"enter": enter("g", 3, "write"), "want": globex},
                {"leave": "a", "want": null},
                {"answers": null, "want": answer(0)},
                {"take": "v2", "want": {"version": 2}},
                {"answers": null, "want": []},
                {"enter": enter("b", 1, "write"), "want": green},
                {"hold": hold(1, 1, false), "want": "past"},
                {"hold": hold(1, 2, false), "want": "closed"},
                {"leave": "b", "want": null},
                {"take": "v3", "want": {"version": 3}},
                {"enter": enter("c", 2, "write"), "want": back},
            ]),
        ),
        scenario(
            "a switch that is given up",
            "all",
            json!([
                {"take": "v1", "want": {"version": 1}},
                {"hold": hold(1, 1, true), "want": "closed"},
                {"enter": enter("r", 1, "read"), "want": held},
                {"hold": hold(2, 1, false), "want": "closed"},
                {"hold": hold(1, 1, true), "want": "superseded"},
                {"enter": enter("r", 1, "read"), "want": blue},
                {"release": {"partition": "acme", "attempt": 1}, "want": false},
                {"enter": enter("w", 1, "write"), "want": held},
                {"release": {"partition": "acme", "attempt": 2}, "want": true},
                {"enter": enter("w", 1, "write"), "want": blue},
                {"release": {"partition": "acme", "attempt": 2}, "want": false},
            ]),
        ),
        scenario(
            "whoever asked for the hold is gone",
            "all",
            json!([
                {"take": "v1", "want": {"version": 1}},
                {"hold": hold(1, 1, false), "want": "closed"},
                {"pass": 4999, "want": null},
                {"enter": enter("w", 1, "write"), "want": held},
                {"pass": 1, "want": null},
                {"answers": null, "want": []},
                {"enter": enter("w", 1, "write"), "want": blue},
            ]),
        ),
        scenario(
            "a registry that cannot be reached",
            "closed",
            json!([
                {"take": "v1", "want": {"version": 1}},
                {"find": [1], "want": stale},
                {"read": null, "want": null},
                {"find": [1], "want": stale},
                {"attended": null, "want": null},
                {"find": [1], "want": blue},
                {"pass": 9999, "want": null},
                {"find": [1], "want": blue},
                {"pass": 1, "want": null},
                {"find": [1], "want": stale},
                {"enter": enter("r", 1, "read"), "want": stale},
                {"attended": null, "want": null},
                {"find": [1], "want": stale},
                {"take": "v2", "want": {"version": 2}},
                {"find": [1], "want": stale},
                {"read": null, "want": null},
                {"find": [1], "want": green},
            ]),
        ),
        scenario(
            "stale reads are permitted",
            "reads",
            json!([
                {"take": "v1", "want": {"version": 1}},
                {"enter": enter("r", 1, "read"), "want": blue},
                {"enter": enter("w", 1, "write"), "want": stale},
                {"find": [1], "want": stale},
            ]),
        ),
        scenario(
            "a database knows more than the routes",
            "all",
            json!([
                {"take": "v1", "want": {"version": 1}},
                {"error": {"sqlstate": "25006", "detail": moved_detail, "stage": "first"},
                 "want": {"do": "refresh_and_retry", "partition": "acme", "epoch": 2}},
                {"heard": {"partition": "acme", "epoch": 2}, "want": null},
                {"enter": enter("w", 1, "write"), "want": {"refused": "behind"}},
                {"enter": enter("g", 3, "write"), "want": globex},
                {"take": "v2", "want": {"version": 2}},
                {"enter": enter("w", 1, "write"), "want": green},
            ]),
        ),
        scenario(
            "a hold of a later epoch than the routes have",
            "all",
            json!([
                {"take": "v1", "want": {"version": 1}},
                {"hold": hold(1, 2, false), "want": "closed"},
                {"take": "v2", "want": {"version": 2}},
                {"enter": enter("w", 1, "write"), "want": held},
                {"release": {"partition": "acme", "attempt": 1}, "want": true},
                {"enter": enter("w", 1, "write"), "want": green},
            ]),
        ),
        scenario(
            "keys and partitions that are not there",
            "all",
            json!([
                {"take": "v1", "want": {"version": 1}},
                {"find": [], "want": {"refused": "key"}},
                {"find": ["one"], "want": {"refused": "key"}},
                {"find": [99], "want": {"partition": "rest", "home": "blue.app_blue", "epoch": 1}},
                {"find_partition": "initech", "want": {"refused": "unknown_partition"}},
                {"find_partition": "globex", "want": globex},
            ]),
        ),
        scenario(
            "what may be tried again",
            "all",
            json!([
                {"error": {"sqlstate": "25006", "detail": moved_detail, "stage": "later"},
                 "want": {"do": "hand_out", "retryable": true}},
                {"error": {"sqlstate": "25006", "stage": "first"}, "want": {"do": "hand_out", "retryable": false}},
                {"error": {"sqlstate": "25006", "detail": "{", "stage": "first"},
                 "want": {"do": "hand_out", "retryable": false}},
                {"error": {"sqlstate": "40001", "stage": "later"}, "want": {"do": "hand_out", "retryable": true}},
                {"error": {"sqlstate": "23514", "routine": "ExecFindPartition", "stage": "first"},
                 "want": {"do": "ask_for_partition"}},
                {"error": {"sqlstate": "23514", "routine": "ExecConstraints", "constraint": "c", "stage": "first"},
                 "want": {"do": "hand_out", "retryable": false}},
                {"error": {"sqlstate": null, "stage": "first"}, "want": {"do": "hand_out", "retryable": true}},
                {"error": {"sqlstate": null, "stage": "commit"}, "want": {"do": "outcome_unknown"}},
                {"error": {"sqlstate": "57P01", "stage": "commit_of_whole"}, "want": {"do": "outcome_unknown"}},
            ]),
        ),
    ];
    let mut strangers = scenario(
        "routes of others",
        "all",
        json!([
            {"take": "v1", "want": {"version": 1}},
            {"take": "other_project", "want": {"refused": "project"}},
            {"take": "other_context", "want": {"refused": "context"}},
            {"find": [1], "want": blue},
        ]),
    );
    let v3 = strangers.routes["v3"].clone();
    let other = |project: &str, map| {
        Routes::new(project.into(), map, addresses(), BTreeMap::new()).expect("whole routes")
    };
    strangers.routes.insert("other_project".into(), other("other", v3.map().clone()));
    let dimension = tenants().dimensions().to_vec();
    let map = replat_model::map::Map::build("orders", dimension, None, home("blue")).expect("a map");
    let map = map.with_home(&name("orders"), home("green"), Epoch::FIRST.next()).expect("a later epoch");
    strangers.routes.insert("other_context".into(), other("shop", map));
    all.push(strangers);
    all
}
