//! A registry in memory that can be made to fail, with followers that answer as they are told to.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use replat_engine::registry::{
    Attendance, Envelope, HoldAnswer, HoldCall, Matter, Published, Registry, RegistryError, Shortly,
};
use replat_model::deploy::Timestamp;
use replat_model::ids::PartitionId;
use replat_model::route::{Routes, RoutesDelta};

use crate::{Journal, now};

/// How long somebody waits for news at most.
const NEWS_MAX: Duration = Duration::from_millis(2);

/// How well a registry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It answers.
    Up,
    /// It cannot be reached.
    Down,
    /// It takes requests and never answers.
    Silent,
    /// So many publications fail.
    Fails(u32),
    /// So many publications are done and their answers lost.
    Forgets(u32),
}

/// A follower, and how it answers.
#[derive(Clone, Debug)]
pub struct Follower {
    kind: &'static str,
    /// Transactions that run until it has been looked at this often; `None`: it never answers.
    busy: Option<(u64, u32)>,
    /// Its answers are for another deployment.
    astray: bool,
}

impl Follower {
    /// It is quiet at once.
    pub fn quiet(kind: &'static str) -> Follower {
        Follower::quiet_after(kind, 0)
    }

    /// It is quiet after it was looked at this often.
    pub fn quiet_after(kind: &'static str, looks: u32) -> Follower {
        Follower { kind, busy: Some((1, looks)), astray: false }
    }

    /// It is never quiet.
    pub fn busy(kind: &'static str, running: u64) -> Follower {
        Follower { kind, busy: Some((running, u32::MAX)), astray: false }
    }

    /// It never answers.
    pub fn mute(kind: &'static str) -> Follower {
        Follower { kind, busy: None, astray: false }
    }

    /// It is quiet, for another deployment's attempt of the same number.
    pub fn astray(kind: &'static str) -> Follower {
        Follower { astray: true, ..Follower::quiet(kind) }
    }

    fn attends(&mut self, hold: Option<&HoldCall>) -> Attendance {
        let astray = self.astray;
        let answer = |hold: &HoldCall| {
            let (running, looks) = self.busy.as_mut()?;
            let busy = if *looks == 0 { 0 } else { *running };
            *looks = looks.saturating_sub(1);
            Some(HoldAnswer {
                partition: hold.partition.clone(),
                deployment: if astray { "d0".into() } else { hold.deployment.clone() },
                attempt: hold.attempt,
                busy,
                held: 0,
            })
        };
        Attendance {
            id: self.kind.into(),
            kind: self.kind.into(),
            place: "a".into(),
            context: "shop".into(),
            version: 0,
            until: Timestamp(now().0 + 60_000),
            answers: hold.and_then(answer).into_iter().collect(),
            pinned: 0,
        }
    }
}

/// A registry in memory.
pub struct Memory {
    journal: Journal,
    state: Mutex<State>,
}

struct State {
    mood: Mood,
    routes: Option<Routes>,
    followers: Vec<Follower>,
    hold: Option<HoldCall>,
    last_hold: Option<HoldCall>,
    news: u64,
}

impl Memory {
    /// Empty, and well.
    pub fn new(journal: Journal) -> Memory {
        let state = State {
            mood: Mood::Up,
            routes: None,
            followers: Vec::new(),
            hold: None,
            last_hold: None,
            news: 0,
        };
        Memory { journal, state: Mutex::new(state) }
    }

    /// From now on.
    pub fn is(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// One more follower.
    pub fn follow(&self, follower: Follower) {
        self.state().followers.push(follower);
    }

    /// This one alone.
    pub fn only(&self, follower: Follower) {
        self.state().followers = vec![follower];
    }

    /// What was published last.
    pub fn newest(&self) -> Routes {
        self.state().routes.clone().expect("something was published")
    }

    /// Its version; 0: nothing was published.
    pub fn version(&self) -> u64 {
        self.state().routes.as_ref().map_or(0, Routes::version)
    }

    /// What was asked for last.
    pub fn last_hold(&self) -> Option<HoldCall> {
        self.state().last_hold.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn down() -> RegistryError {
        RegistryError::Unreachable { registry: "memory".into(), source: "it is down".into() }
    }

    /// Answers as its mood allows.
    fn answer<'a, T: Send + 'a>(&'a self, deed: impl FnOnce(&mut State) -> T + Send + 'a) -> Shortly<'a, T> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let mood = self.state().mood;
            match mood {
                Mood::Down => Err(Memory::down()),
                Mood::Silent => std::future::pending().await,
                _ => Ok(deed(&mut self.state())),
            }
        })
    }

    fn take(&self, state: &mut State, envelope: &Envelope) -> Published {
        let head = state.routes.as_ref().map_or(0, Routes::version);
        if head == envelope.version {
            return Published::Already;
        }
        let routes = match (envelope.from, &state.routes) {
            (None, _) if head < envelope.version => serde_json::from_str(&envelope.body).expect("routes"),
            (Some(from), Some(routes)) if from == head => {
                let delta: RoutesDelta = serde_json::from_str(&envelope.body).expect("a delta");
                routes.after(&delta).expect("it goes on from there")
            }
            _ => return Published::Behind { head },
        };
        assert_eq!(routes.version(), envelope.version);
        self.journal.note(format!("publish {}", envelope.version));
        state.routes = Some(routes);
        Published::Accepted { whole_due: false }
    }
}

impl Registry for Memory {
    fn name(&self) -> String {
        "memory".into()
    }

    fn clock(&self) -> Shortly<'_, Timestamp> {
        self.answer(|_| now())
    }

    fn head<'a>(&'a self, _: &'a str) -> Shortly<'a, u64> {
        self.answer(|state| state.routes.as_ref().map_or(0, Routes::version))
    }

    fn read<'a>(&'a self, _: &'a str, _: u64) -> Shortly<'a, Vec<Envelope>> {
        self.answer(|_| Vec::new())
    }

    fn publish<'a>(&'a self, envelope: &'a Envelope) -> Shortly<'a, Published> {
        Box::pin(async move {
            let published = self.answer(|state| match state.mood {
                Mood::Fails(left) => {
                    state.mood = if left > 1 { Mood::Fails(left - 1) } else { Mood::Up };
                    None
                }
                Mood::Forgets(left) => {
                    state.mood = if left > 1 { Mood::Forgets(left - 1) } else { Mood::Up };
                    self.take(state, envelope);
                    None
                }
                _ => Some(self.take(state, envelope)),
            });
            published.await?.ok_or_else(Memory::down)
        })
    }

    fn attend<'a>(&'a self, _: &'a Attendance, _: u64) -> Shortly<'a, ()> {
        self.answer(|_| ())
    }

    fn leave<'a>(&'a self, _: &'a str, _: &'a str) -> Shortly<'a, ()> {
        self.answer(|_| ())
    }

    fn attending<'a>(&'a self, _: &'a str) -> Shortly<'a, Vec<Attendance>> {
        self.answer(|state| {
            let hold = state.hold.clone();
            state.followers.iter_mut().map(|follower| follower.attends(hold.as_ref())).collect()
        })
    }

    fn hold<'a>(&'a self, call: &'a HoldCall, hold_ms: u64) -> Shortly<'a, ()> {
        self.answer(move |state| {
            self.journal.note(format!("hold {}", call.attempt));
            let call = HoldCall { until: Timestamp(now().0 + hold_ms), ..call.clone() };
            (state.hold, state.last_hold) = (Some(call.clone()), Some(call));
        })
    }

    fn release<'a>(&'a self, _: &'a str, _: &'a PartitionId, attempt: u32) -> Shortly<'a, ()> {
        self.answer(move |state| {
            self.journal.note(format!("release {attempt}"));
            state.hold = None;
        })
    }

    fn holds<'a>(&'a self, _: &'a str) -> Shortly<'a, Vec<HoldCall>> {
        self.answer(|state| state.hold.clone().into_iter().collect())
    }

    fn changed<'a>(&'a self, _: &'a str, _: Matter, since: u64) -> Shortly<'a, u64> {
        Box::pin(async move {
            if since > 0 {
                tokio::time::sleep(NEWS_MAX).await;
            }
            self.answer(|state| {
                state.news += 1;
                state.news
            })
            .await
        })
    }
}
