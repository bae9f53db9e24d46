//! Every interleaving of two requests with a hold, a switch and its release, step by step on the real router.
//!
//! A request has four steps (aim, announce, settle, leave), the holder five (close, see quiet, store routes, open, and
//! leave it at that). The schedules are all orders of these steps. After each the promise is asked for: once quiet was
//! seen, nobody is inside at the old epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use replat_model::ids::{Epoch, Home, PartitionId};
use replat_model::key::{KeyType, KeyValue};
use replat_model::map::{Dimension, Map};
use replat_model::route::{Address, Routes};

use super::*;
use crate::holds::Hold;
use crate::{HoldOutcome, Settings, Staleness};

fn home(database: &str) -> Home {
    Home { database: database.into(), schema: "app".into() }
}

fn routes(map: Map) -> Routes {
    let address =
        |host: &str| Address { host: host.into(), port: 5432, dbname: "app".into(), endpoint: None };
    let addresses = BTreeMap::from([("blue", address("blue")), ("green", address("green"))]);
    let addresses = addresses.into_iter().map(|(name, address)| (name.to_owned(), address)).collect();
    Routes::new("shop".into(), map, addresses, BTreeMap::new()).expect("whole routes")
}

fn partition() -> PartitionId {
    "tenants".parse().expect("a name")
}

/// Blue at the first epoch, then green at the second.
fn before_and_after() -> (Routes, Routes) {
    let dimension = Dimension { column: "tenant".into(), key_type: KeyType::Integer };
    let map = Map::build("tenants", vec![dimension], None, home("blue")).expect("a map");
    let after = map.with_home(&partition(), home("green"), Epoch::FIRST.next()).expect("a later epoch");
    (routes(map), routes(after))
}

fn open_router(routes: Routes) -> Router {
    let settings = Settings { staleness: Staleness::All, ..Settings::default() };
    let router = Router::new("shop", "tenants", settings);
    router.take(routes).expect("the first routes");
    router
}

/// Where a request is on its way.
enum Request {
    Outside,
    /// With what it read before it was counted.
    Aimed(Aim, Destination),
    Announced(Announced),
    Inside(Pass),
    /// In by what it read before it was counted: the mistake that the order of steps prevents.
    Mistaken {
        early: Destination,
        _inside: Announced,
    },
    Gone,
}

/// What is done in another order than it must be.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// A request goes by the routes that it read before it was counted.
    ReadsEarly,
    /// The gate is opened before the routes are stored.
    OpensEarly,
}

/// What the holder has done.
#[derive(Clone, Copy, PartialEq)]
enum Holder {
    Begun,
    Holds,
    SawQuiet,
    HalfWay,
    Done,
}

struct World {
    router: Router,
    after: Routes,
    requests: [Request; 2],
    holder: Holder,
    intents: [Intent; 2],
    reads: bool,
    mistake: Mistake,
}

impl World {
    fn new(intents: [Intent; 2], reads: bool, mistake: Mistake) -> World {
        let (before, after) = before_and_after();
        let requests = [Request::Outside, Request::Outside];
        World { router: open_router(before), after, requests, holder: Holder::Begun, intents, reads, mistake }
    }

    /// One step of actor `who`: a request, or the holder. False if it has none to do now.
    fn step(&mut self, who: usize) -> bool {
        let Some(request) = self.requests.get_mut(who) else { return self.step_holder() };
        let key = [KeyValue::Int(7)];
        let target = Target::Key(&key);
        let (next, moved) = match std::mem::replace(request, Request::Gone) {
            Request::Outside => {
                let aim = self.router.aim(target, self.intents[who]).expect("an open router");
                let early = self.router.destination(target, self.intents[who]).expect("an open router");
                (Request::Aimed(aim, early), true)
            }
            Request::Aimed(aim, early) => match aim.announce() {
                Ok(announced) if self.mistake == Mistake::ReadsEarly => {
                    (Request::Mistaken { early, _inside: announced }, true)
                }
                Ok(announced) => (Request::Announced(announced), true),
                // It waits; to look again while nothing has changed is no step.
                Err(aim) => (Request::Aimed(aim, early), false),
            },
            Request::Announced(announced) => match announced.settle(&self.router, target) {
                Ok(Settled::Inside(pass)) => (Request::Inside(*pass), true),
                Ok(Settled::Elsewhere) | Err(_) => panic!("the partition is still there"),
            },
            Request::Inside(_) | Request::Mistaken { .. } => (Request::Gone, true),
            Request::Gone => (Request::Gone, false),
        };
        self.requests[who] = next;
        moved
    }

    fn step_holder(&mut self) -> bool {
        let gate = self.router.shared.gates.of(&partition());
        let next = match self.holder {
            Holder::Begun => {
                let hold = Hold {
                    partition: partition(),
                    deployment: "d1".into(),
                    attempt: 1,
                    epoch: Epoch::FIRST,
                    reads: self.reads,
                    to: None,
                    lasts: Duration::from_secs(3600),
                };
                assert_eq!(self.router.hold(&hold), HoldOutcome::Closed);
                Holder::Holds
            }
            Holder::Holds if !gate.is_quiet() => return false,
            Holder::Holds => Holder::SawQuiet,
            Holder::SawQuiet if self.mistake == Mistake::OpensEarly => {
                assert!(self.router.release(&partition(), 1));
                Holder::HalfWay
            }
            Holder::SawQuiet => {
                self.router.store(self.after.clone()).expect("newer routes");
                Holder::HalfWay
            }
            Holder::HalfWay if self.mistake == Mistake::OpensEarly => {
                self.router.store(self.after.clone()).expect("newer routes");
                Holder::Done
            }
            Holder::HalfWay => {
                self.router.end_answered_holds();
                Holder::Done
            }
            Holder::Done => return false,
        };
        self.holder = next;
        true
    }

    /// Whether somebody whom the hold concerns is inside at the old epoch although it was quiet already.
    fn is_broken(&self) -> bool {
        let concerned = |intent: Intent| self.reads || intent == Intent::Write;
        let quiet = !matches!(self.holder, Holder::Begun | Holder::Holds);
        let old = |request: &Request| match request {
            Request::Inside(pass) => pass.epoch() == Epoch::FIRST,
            Request::Mistaken { early, .. } => early.epoch == Epoch::FIRST,
            _ => false,
        };
        quiet && self.requests.iter().zip(self.intents).any(|(request, i)| concerned(i) && old(request))
    }

    fn is_done(&self) -> bool {
        self.holder == Holder::Done && self.requests.iter().all(|request| matches!(request, Request::Gone))
    }
}

/// Runs every schedule; how many ended with everybody done, and how many broke the promise.
fn explore(intents: [Intent; 2], reads: bool, mistake: Mistake) -> (u64, u64) {
    let (mut done, mut broken) = (0, 0);
    let mut schedules = vec![Vec::new()];
    while let Some(schedule) = schedules.pop() {
        for who in 0..3 {
            let mut world = World::new(intents, reads, mistake);
            for &earlier in &schedule {
                assert!(world.step(earlier), "what was possible is possible again");
            }
            if !world.step(who) {
                continue;
            }
            if world.is_broken() {
                broken += 1;
            } else if world.is_done() {
                done += 1;
                assert!(world.router.answers().is_empty());
            } else {
                let mut longer: Vec<usize> = schedule.clone();
                longer.push(who);
                schedules.push(longer);
            }
        }
    }
    (done, broken)
}

#[test]
fn nobody_is_let_in_at_the_old_epoch_once_it_was_quiet() {
    use Intent::{Read, Write};
    for (intents, reads) in [([Write, Write], false), ([Read, Write], true), ([Read, Write], false)] {
        let (done, broken) = explore(intents, reads, Mistake::None);
        assert_eq!(broken, 0, "{intents:?}, reads wait: {reads}");
        assert!(done > 1_000, "{done} schedules of {intents:?} came to an end");
    }
}

#[test]
fn the_exploration_finds_each_mistake_in_the_order_of_steps() {
    for mistake in [Mistake::ReadsEarly, Mistake::OpensEarly] {
        let (_, broken) = explore([Intent::Write, Intent::Write], false, mistake);
        assert!(broken > 0);
    }
}
