//! Live writers that remember what they were told.
//!
//! Some writers belong to one tenant, the one that is to be moved; the others share the rest. Each row is changed
//! by one writer only, so the last acknowledged change says what the row must be, whatever the interleaving.
//! Every operation leaves an event with its id in the same transaction: an acknowledged operation whose id is
//! nowhere is lost, and one whose id is there twice was done twice.

mod holdings;
mod journal;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::task::JoinSet;

pub use journal::{Entry, Fact, Journal, Notes, Outcome, Rest};

use crate::routes::Routes;
use crate::rows::Version;
use writer::Writer;

/// How much is written, and on what.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Writers altogether; half of them, at least one, write on `moved`.
    pub writers: usize,
    /// The tenant that has writers of its own.
    pub moved: i64,
    /// Tenants, numbered from 1.
    pub tenants: u32,
    /// Transactions a second that each writer aims at; at least 1.
    pub rate: u32,
    /// What operations follow from.
    pub seed: u64,
    /// Where to keep the journal besides memory.
    pub journal: Option<PathBuf>,
    /// Writers go by this address, and know neither homes nor routes; `None`: to the homes that the routes name.
    pub door: Option<Door>,
}

/// A proxy that knows where each tenant is.
#[derive(Clone, Debug)]
pub struct Door {
    /// Its connection string.
    pub url: String,
    /// By the schema that a transaction finds itself in, how that schema stores things.
    pub versions: BTreeMap<String, Version>,
}

impl LoadOptions {
    /// How many writers, from number 0 on, write on the moved tenant alone.
    pub fn moved_writers(&self) -> usize {
        let others = if self.tenants > 1 { self.writers / 2 } else { 0 };
        self.writers.max(1) - others
    }
}

/// Why there is no load any more.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The rows to begin with could not be read.
    #[error("a writer cannot read the rows it is to begin with")]
    Adopt(#[source] tokio_postgres::Error),
    /// The journal could not be written, so its evidence would be worthless.
    #[error("the journal cannot be written")]
    Journal(#[source] io::Error),
    /// A writer broke an assumption of its own.
    #[error("a writer panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

/// Running writers. Dropping it ends them in the midst of things; [`Load::stop`] lets them finish.
#[derive(Debug)]
pub struct Load {
    journal: Arc<Journal>,
    stop: Arc<AtomicBool>,
    moved_gate: Arc<RwLock<()>>,
    tasks: JoinSet<Result<(), LoadError>>,
}

/// The moved tenant's writers stand still until this is dropped.
#[derive(Debug)]
pub struct Stillness(#[expect(dead_code, reason = "its drop is what it is for")] OwnedRwLockWriteGuard<()>);

impl Load {
    /// Has the writers take over their rows, then sets them all going.
    ///
    /// # Errors
    ///
    /// [`LoadError::Journal`] or [`LoadError::Adopt`]; then nobody writes.
    pub async fn start(options: &LoadOptions, routes: Routes) -> Result<Load, LoadError> {
        let journal = Arc::new(Journal::open(options.journal.as_deref()).map_err(LoadError::Journal)?);
        let stop = Arc::new(AtomicBool::new(false));
        let moved_gate = Arc::new(RwLock::new(()));
        let others_gate = Arc::new(RwLock::new(()));
        let mut ready = Vec::new();
        for number in 0..options.writers.max(1) {
            let moves = number < options.moved_writers();
            let writer = Writer {
                number,
                share: share(options, number),
                tenants: tenants(options, number),
                seed: options.seed,
                interval: Duration::from_secs(1) / options.rate.max(1),
                routes: routes.clone(),
                door: options.door.clone(),
                journal: journal.clone(),
                stop: stop.clone(),
                gate: if moves { moved_gate.clone() } else { others_gate.clone() },
            };
            ready.push(writer.prepare().await?);
        }
        let mut tasks = JoinSet::new();
        for running in ready {
            tasks.spawn(running.run());
        }
        Ok(Load { journal, stop, moved_gate, tasks })
    }

    /// The journal, which goes on being written.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Lets the moved tenant's writers finish what they are at, then stand still.
    pub async fn still_moved(&self) -> Stillness {
        Stillness(self.moved_gate.clone().write_owned().await)
    }

    /// Lets every writer finish what it is at, and hands out the complete journal.
    ///
    /// # Errors
    ///
    /// The first that befell any writer.
    pub async fn stop(mut self) -> Result<Arc<Journal>, LoadError> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(LoadError::Panicked)??;
        }
        self.journal.flush().map_err(LoadError::Journal)?;
        Ok(self.journal.clone())
    }
}

fn share(options: &LoadOptions, number: usize) -> (usize, usize) {
    let moved = options.moved_writers();
    if number < moved { (number, moved) } else { (number - moved, options.writers - moved) }
}

fn tenants(options: &LoadOptions, number: usize) -> Vec<i64> {
    if number < options.moved_writers() {
        return vec![options.moved];
    }
    (1..=i64::from(options.tenants)).filter(|tenant| *tenant != options.moved).collect()
}
