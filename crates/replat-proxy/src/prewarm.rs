//! Being there before the partition is.
//!
//! While a session is held, it is often known where its partition is about to go. Then its next server session is opened
//! meanwhile, with its settings, so that the release costs no connecting. Nothing is run there before the doors say so;
//! and if the partition stays where it is, what was opened is given up again.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::backend::{Backend, Belongings, DialError, Identity};
use crate::doors::{Home, Pass};
use crate::relocate::{belongings, settle};
use crate::session::Attended;
use crate::settings::Limits;

/// How many sessions may be connecting to a server at once, for each server: a new home is not met by all at once.
#[derive(Debug)]
pub(crate) struct Turns {
    most: usize,
    of: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Turns {
    pub(crate) fn new(most: usize) -> Turns {
        Turns { most: most.clamp(1, Semaphore::MAX_PERMITS), of: Mutex::default() }
    }

    /// The line before the server of a home.
    pub(crate) fn at(&self, home: &Home) -> Line {
        let hosts: Vec<String> = home.server.hosts.iter().map(ToString::to_string).collect();
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(self.most));
        Line(of.entry(hosts.join(",")).or_insert_with(new).clone())
    }
}

/// The line before one server.
#[derive(Clone, Debug)]
pub(crate) struct Line(Arc<Semaphore>);

impl Line {
    /// A turn; the next one in the line has it when it is dropped.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        self.0.clone().acquire_owned().await.ok()
    }
}

/// Whom to be, and by what rules, at another server.
#[derive(Clone)]
pub(crate) struct Traveller {
    pub(crate) identity: Arc<Identity>,
    /// The settings with names of its own that it may have.
    pub(crate) custom: Vec<String>,
    /// Nothing was ever asked of its present server.
    pub(crate) fresh: bool,
    pub(crate) limits: Limits,
}

/// What came of a wait.
pub(crate) struct Awaited {
    /// The session's server, as it was; `None` if it had none.
    pub(crate) old: Option<Backend>,
    /// A session at the place that the answer names, with the settings that the old one has.
    pub(crate) warm: Option<Backend>,
    pub(crate) answer: Result<Pass, Attended>,
}

/// Waits for the doors' answer, and gets ready meanwhile to be at `next`. An error says that the old server has gone, with
/// what the session had.
pub(crate) async fn await_warming(
    answer: impl Future<Output = Result<Pass, Attended>>,
    old: Option<Backend>,
    next: Arc<Home>,
    line: Line,
    traveller: Traveller,
) -> Result<Awaited, DialError> {
    let mut answer = pin!(answer);
    let mut old = old;
    let turn = tokio::select! {
        biased;
        answer = &mut answer => return Ok(Awaited { old, warm: None, answer }),
        turn = line.turn() => turn,
    };
    // Not broken off by the answer: what the old server says must be heard to its end.
    let found = belongings(&mut old, &traveller).await?;
    drop(turn);
    if !found.pins.is_empty() {
        return Ok(Awaited { old, warm: None, answer: answer.await });
    }
    let mut opening = pin!(open(next.clone(), &line, &traveller, &found));
    tokio::select! {
        biased;
        answer = &mut answer => {
            let goes_there = answer.as_ref().is_ok_and(|pass| pass.home.is_place_of(&next));
            let warm = match goes_there {
                true => opening.await,
                false => None,
            };
            Ok(Awaited { old, warm, answer })
        }
        warm = &mut opening => {
            let answer = answer.await;
            let goes_there = answer.as_ref().is_ok_and(|pass| pass.home.is_place_of(&next));
            let warm = match (warm, goes_there) {
                (Some(cold), false) => {
                    cold.leave();
                    None
                }
                (warm, _) => warm,
            };
            Ok(Awaited { old, warm, answer })
        }
    }
}

/// If it cannot be there now, it is tried again, and told, when it has to be.
async fn open(
    next: Arc<Home>,
    line: &Line,
    traveller: &Traveller,
    belongings: &Belongings,
) -> Option<Backend> {
    let opened = settle(next.clone(), line, traveller, belongings).await;
    opened
        .inspect_err(|error| {
            let error = error as &dyn std::error::Error;
            tracing::debug!(home = %next, error, "a session could not get ready for its next home");
        })
        .ok()
}
