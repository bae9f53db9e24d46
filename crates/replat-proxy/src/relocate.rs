//! Taking a session from one home to another.
//!
//! Both ends are owned here, so that the session can look after its client meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{Backend, Belongings, DialError};
use crate::doors::Home;
use crate::prewarm::{Line, Traveller};

/// The pause between two tries to reach a home, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// What came of a move.
pub(crate) struct Relocated {
    /// Where the session was. After a success it may be left.
    pub(crate) old: Option<Backend>,
    pub(crate) outcome: Result<Backend, Stays>,
}

/// Why a session stays where it is.
#[derive(Debug)]
pub(crate) enum Stays {
    /// It has what cannot be taken along.
    Pinned(Vec<String>),
    /// The new home does not let it in.
    Dial(DialError),
}

/// Brings a session to `home`. An error says that its old server has gone, with what the session had.
pub(crate) async fn relocate(
    old: Option<Backend>,
    home: Arc<Home>,
    line: Line,
    traveller: Traveller,
) -> Result<Relocated, DialError> {
    let mut old = old;
    let found = belongings(&mut old, &traveller).await?;
    let outcome = match found.pins.is_empty() {
        true => settle(home, &line, &traveller, &found).await.map_err(Stays::Dial),
        false => Err(Stays::Pinned(found.pins)),
    };
    Ok(Relocated { old, outcome })
}

/// What a session has at its old server; nothing if nothing was ever asked of that.
pub(crate) async fn belongings(
    old: &mut Option<Backend>,
    traveller: &Traveller,
) -> Result<Belongings, DialError> {
    match old {
        Some(backend) if !traveller.fresh => {
            let census = backend.census(&traveller.identity.user, &traveller.custom);
            tokio::time::timeout(traveller.limits.dial_max, census).await.unwrap_or(Err(DialError::Slow))
        }
        _ => Ok(Belongings::default()),
    }
}

/// Tries until the home lets the session in, or says no, or patience ends. Each try waits for its turn.
pub(crate) async fn settle(
    home: Arc<Home>,
    line: &Line,
    traveller: &Traveller,
    belongings: &Belongings,
) -> Result<Backend, DialError> {
    let Traveller { identity, limits, .. } = traveller;
    let until = Instant::now() + limits.move_max;
    let mut pause = AGAIN.0;
    loop {
        let attempt = async {
            let _turn = line.turn().await;
            let mut backend = Backend::dial(home.clone(), identity, limits.dial_max).await?;
            if !belongings.settings.is_empty() {
                // Before the client's own, which count.
                backend.settle().await?;
                backend.replay(&belongings.settings).await?;
            }
            Ok(backend)
        };
        match attempt.await {
            Err(error) if DialError::is_temporary(&error) && Instant::now() + pause < until => {
                tracing::debug!(%home, error = &error as &dyn std::error::Error, "a home is not to be had yet");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(AGAIN.1);
            }
            other => return other,
        }
    }
}
