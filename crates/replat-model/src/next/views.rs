//! The ladder of a deployment whose sides are one set of rows.
//!
//! Both versions can be used at any time, so nobody is held and nothing is fenced, copied or compared. What is proved
//! before a switch is that the way in stands: that the other side's views are those that were made. The point of no
//! return is [`Event::Switched`], as everywhere, and the way back is the same way.

use super::{Action, Observation, Reason, Step, begin_switch, must_ask_contracts, paused};
use crate::deploy::{Attempt, Deployment, Event};
use crate::ids::Side;

/// The first thing that is not yet true.
pub(super) fn next(d: &Deployment, seen: &Observation) -> Step {
    if let Some(attempt) = &d.attempt {
        return switch(d, attempt, seen);
    }
    if d.abort_asked.is_some() {
        return Step::Do(Action::Clean);
    }
    // The new home was open all the time; what is left of a switch is to tell those who route.
    if !d.settled {
        return Step::Record(Event::Settled { epoch: d.epoch });
    }
    if d.finish_asked {
        return Step::Do(Action::Retire);
    }
    if let Some(wait) = paused(d) {
        return wait;
    }
    if !d.prepared {
        return Step::Do(Action::Prepare);
    }
    if d.home == Side::Blue {
        if d.contracts_broken.is_some() {
            return Step::Wait(Reason::ContractBroken);
        }
        if must_ask_contracts(d, seen.now, d.wanted_home() == Side::Green) {
            return Step::Do(Action::AskContracts);
        }
    }
    begin_switch(d, seen)
}

/// To switch and to give up exclude each other, so either is recorded before anything comes of it.
fn switch(d: &Deployment, attempt: &Attempt, seen: &Observation) -> Step {
    let number = attempt.number;
    if attempt.given_up.is_some() {
        return Step::Record(Event::Unfenced { attempt: number });
    }
    if d.abort_asked.is_some() {
        let why = "the deployment was aborted".into();
        return Step::Record(Event::FenceGivenUp { attempt: number, why, at: seen.now });
    }
    Step::Do(Action::Prove { from: d.home, attempt: number, epoch: d.epoch.next() })
}
