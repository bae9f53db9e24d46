//! Deployments whose sides are one set of rows: each rung, and every order in which two runners, their deaths and people
//! can come.

use std::collections::{BTreeSet, VecDeque};

use replat_model::deploy::{Certificate, Deployment, Event};
use replat_model::next::{Action, Evidence, Observation, Reason, Step, next};
use replat_model::plan::{Path, Plan};
use replat_model::spec::SwitchMode;

use super::{assert_rungs, intend, prove};
use crate::given::*;

fn by_views(plan: &mut Plan) {
    plan.path = Path::Views { views: Vec::new() };
}

fn begun() -> Vec<Event> {
    asked_with(by_views)
}

fn prepared() -> Vec<Event> {
    and(&begun(), [Event::Prepared])
}

fn at(millis: u64) -> Observation {
    Observation { now: after(millis), ..Observation::default() }
}

fn finished_at() -> Event {
    Event::Finished { at: T0 }
}

#[test]
fn where_rows_are_shared_nothing_is_fenced_copied_or_compared() {
    let by_hand = and(
        &asked_with(|plan| {
            by_views(plan);
            plan.policy.switch = SwitchMode::Manual;
        }),
        [Event::Prepared],
    );
    let tried = and(&prepared(), [intended(1)]);
    let switched_once = and(&tried, [switched(1, Green, e2())]);
    let on_green = and(&switched_once, [settled(e2())]);
    let back = and(&on_green, [switch_asked(Blue), intended(2), switched(2, Blue, e3()), settled(e3())]);
    let soak = on_green_policy_soak();
    assert_rungs(vec![
        ("asked", begun(), at(0), Step::Do(Action::Prepare)),
        ("asked, paused", and(&begun(), [paused()]), at(0), Step::Wait(Reason::Paused)),
        ("prepared", prepared(), at(0), intend(1, T0)),
        ("by hand", by_hand, at(0), Step::Wait(Reason::SwitchByHand)),
        ("tried", tried.clone(), at(0), prove(Blue, 1, e2())),
        ("tried, and paused", and(&tried, [paused()]), at(0), prove(Blue, 1, e2())),
        (
            "tried, and given up by a person",
            and(&tried, [abort_asked()]),
            at(3),
            super::give_up(1, "the deployment was aborted", after(3)),
        ),
        ("views are gone", and(&tried, [given_up(1)]), at(0), Step::Record(unfenced(1))),
        (
            "again later",
            and(&tried, [given_up(1), unfenced(1)]),
            at(0),
            Step::Wait(Reason::BackOff { left: 200 }),
        ),
        ("aborted", and(&prepared(), [abort_asked()]), at(0), Step::Do(Action::Clean)),
        ("switched", switched_once, at(0), Step::Record(settled(e2()))),
        ("soaking", on_green.clone(), at(0), Step::Wait(Reason::Soak { left: soak })),
        ("soak over", on_green.clone(), at(soak), Step::Record(finish_asked())),
        ("finish", and(&on_green, [finish_asked()]), at(0), Step::Do(Action::Retire)),
        ("finished", and(&on_green, [finish_asked(), finished_at()]), at(0), Step::Done),
        ("asked back", and(&on_green, [switch_asked(Blue)]), at(0), intend(2, T0)),
        ("going back", and(&on_green, [switch_asked(Blue), intended(2)]), at(0), prove(Green, 2, e3())),
        ("rolled back", back.clone(), at(0), Step::Wait(Reason::RolledBack)),
        ("forth once more", and(&back, [switch_asked(Green)]), at(0), intend(3, T0)),
        ("rolled back, aborted", and(&back, [abort_asked()]), at(0), Step::Do(Action::Clean)),
    ]);
}

fn on_green_policy_soak() -> u64 {
    super::plan::plan().policy.soak.millis()
}

#[test]
fn its_phases_are_those_of_a_copy_without_the_copy() {
    for (history, want) in [
        (begun(), "prepare"),
        (prepared(), "ready"),
        (and(&prepared(), [intended(1)]), "switch"),
        (and(&prepared(), [intended(1), switched(1, Green, e2())]), "switch"),
        (and(&prepared(), [intended(1), switched(1, Green, e2()), settled(e2())]), "soak"),
    ] {
        assert_eq!(Deployment::fold(&history).expect(want).phase().as_str(), want);
    }
}

/// One deployment, its views, and two runners that each may have decided something a while ago.
#[derive(Clone, Debug, PartialEq)]
struct World {
    log: Vec<Event>,
    /// Whether green's views stand, and blue's new columns with them.
    views: bool,
    /// What each runner has done and not yet written down: the log's length when it decided, and the event.
    runners: [Option<(usize, Event)>; 2],
}

/// What is tried besides runners: a person's word at any time, and whether the log compares before it appends.
struct Rules {
    compares: bool,
}

impl World {
    fn state(&self) -> Deployment {
        Deployment::fold(&self.log).expect("what is in the log can stand there")
    }

    fn key(&self) -> String {
        format!("{:?} {} {:?}", self.log.iter().skip(1).collect::<Vec<_>>(), self.views, self.runners)
    }

    /// A runner looks, decides and acts; what comes of it is still to be written down.
    fn decides(&self, runner: usize) -> Option<World> {
        let d = self.state();
        let mut after = self.clone();
        let event = match next(&d, &at(1_000_000_000)) {
            Step::Record(event) => event,
            Step::Do(action) => {
                let evidence = match action {
                    Action::Prove { .. } => {
                        let different = u64::from(d.home == Blue && !self.views);
                        Evidence::Compared(Certificate { different, ..Certificate::default() })
                    }
                    Action::Prepare => {
                        after.views = true;
                        Evidence::Done
                    }
                    Action::Clean => {
                        after.views = false;
                        Evidence::Done
                    }
                    Action::Retire => Evidence::Done,
                    other => panic!("{other:?} has no place here"),
                };
                action.became(&d, evidence, T0)?
            }
            _ => return None,
        };
        after.runners[runner] = Some((self.log.len(), event));
        Some(after)
    }

    /// A runner's entry comes to the log, which takes it or not.
    fn writes(&self, runner: usize, rules: &Rules) -> Option<World> {
        let (length, event) = self.runners[runner].clone()?;
        let mut after = self.clone();
        after.runners[runner] = None;
        if length == self.log.len() || !rules.compares {
            after.append(event);
        }
        Some(after)
    }

    fn dies(&self, runner: usize) -> Option<World> {
        let mut after = self.clone();
        after.runners[runner].take().map(|_| after)
    }

    fn append(&mut self, event: Event) {
        let mut d = self.state();
        if d.after(&event).is_ok() {
            self.log.push(event);
        }
    }

    fn moves(&self, rules: &Rules) -> Vec<World> {
        let mut moves = Vec::new();
        for runner in 0..2 {
            moves.extend(self.decides(runner));
            moves.extend(self.writes(runner, rules));
            moves.extend(self.dies(runner));
        }
        let said = |word: &Event| self.log.contains(word);
        for word in [switch_asked(Blue), switch_asked(Green), abort_asked(), finish_asked()] {
            if !said(&word) {
                let mut after = self.clone();
                after.append(word);
                moves.push(after);
            }
        }
        moves
    }

    /// What must be true in every world.
    fn broken(&self) -> Option<&'static str> {
        let d = self.state();
        let mut attempts = BTreeSet::new();
        for event in &self.log {
            if let Event::Switched { attempt, .. } | Event::FenceGivenUp { attempt, .. } = event
                && !attempts.insert(*attempt)
            {
                return Some("an attempt has two ends");
            }
        }
        let is_green = d.home == Green;
        (is_green && !self.views).then_some("the home has no tables")
    }
}

/// The first broken promise, with the way to it; and how many worlds there are.
fn explore(rules: &Rules) -> (Option<(&'static str, World)>, usize) {
    let start = World { log: begun(), views: false, runners: [None, None] };
    let mut seen = BTreeSet::from([start.key()]);
    let mut queue = VecDeque::from([start]);
    while let Some(world) = queue.pop_front() {
        if let Some(broken) = world.broken() {
            return (Some((broken, world)), seen.len());
        }
        // Three attempts show all that a fourth could.
        if world.state().attempts > 3 {
            continue;
        }
        for after in world.moves(rules) {
            if seen.insert(after.key()) {
                queue.push_back(after);
            }
        }
    }
    (None, seen.len())
}

#[test]
fn whatever_two_runners_and_people_do_the_home_has_its_tables() {
    let (broken, worlds) = explore(&Rules { compares: true });
    assert_eq!(broken, None);
    assert!(worlds > 1_000, "{worlds} worlds are too few to mean anything");
}

#[test]
fn a_log_that_takes_late_entries_is_found() {
    let (broken, _) = explore(&Rules { compares: false });
    assert!(broken.is_some());
}
