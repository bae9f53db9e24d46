//! Both ends of a deployment as values: fences that open and close, and streams that are always level.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use replat_engine::{Engine, Soon};
use replat_model::deploy::{Certificate, Deployment, Token};
use replat_model::ids::{Epoch, Lsn, Side};
use replat_model::next::{Action, Evidence, FenceSeen, Observation, SideSeen, StreamSeen};

use crate::{Journal, now};

/// Both ends.
pub struct Ends {
    journal: Journal,
    state: Mutex<State>,
}

struct State {
    blue: FenceSeen,
    green: FenceSeen,
    barrier: Option<u32>,
    refusals: u32,
}

impl Ends {
    /// Blue is open at the first epoch, green closed.
    pub fn new(journal: Journal) -> Ends {
        let fence = |open| FenceSeen { open, epoch: Epoch::FIRST };
        let state = State { blue: fence(true), green: fence(false), barrier: None, refusals: 0 };
        Ends { journal, state: Mutex::new(state) }
    }

    /// The next fences cannot be had in time.
    pub fn refuse_fences(&self, count: u32) {
        self.state().refusals = count;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, side: Side, fence: FenceSeen) {
        let mut state = self.state();
        match side {
            Side::Blue => state.blue = fence,
            Side::Green => state.green = fence,
        }
    }

    fn bring_about(&self, action: &Action) -> Evidence {
        match action {
            Action::Fence { side, attempt, epoch } => {
                if self.state().refusals > 0 {
                    self.state().refusals -= 1;
                    return Evidence::NotNow { why: "a writer does not end".into() };
                }
                self.journal.note(format!("fence {side}"));
                self.set(*side, FenceSeen { open: false, epoch: *epoch });
                self.state().barrier = Some(*attempt);
                Evidence::Fenced { at: Lsn(1), since: now() }
            }
            Action::Prove { .. } | Action::Verify { .. } => Evidence::Compared(Certificate::default()),
            Action::Open { side, epoch } => {
                self.journal.note(format!("open {side}"));
                self.set(*side, FenceSeen { open: true, epoch: *epoch });
                Evidence::Done
            }
            Action::Seal { side, epoch } => {
                self.journal.note(format!("seal {side}"));
                self.set(*side, FenceSeen { open: false, epoch: *epoch });
                Evidence::Done
            }
            _ => Evidence::Done,
        }
    }
}

impl Engine for Ends {
    fn look<'a>(&'a self, _: &'a Deployment) -> Soon<'a, Observation> {
        let state = self.state();
        let stream = StreamSeen {
            through: Lsn(9),
            lag: Some(0),
            barrier: state.barrier,
            parked: 0,
            unproved: Some(0),
        };
        let side = |fence| SideSeen { fence: Some(Some(fence)), settled: Some(true), stream: Some(stream) };
        let (blue, green) = (side(state.blue), side(state.green));
        let seen = Observation { now: now(), blue, green, leaks: Some(0), kept_back: None, held: None };
        Box::pin(std::future::ready(Ok(seen)))
    }

    fn act<'a>(&'a self, _: &'a Deployment, action: &'a Action, _: Token) -> Soon<'a, Evidence> {
        Box::pin(async move {
            // As with real ends, others have their turn meanwhile.
            tokio::task::yield_now().await;
            Ok(self.bring_about(action))
        })
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}
