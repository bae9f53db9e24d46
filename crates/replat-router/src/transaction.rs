//! Whole transactions by `tokio-postgres`: the right home, its schema, and another try where that is safe.
//!
//! The connections are the application's, from its pool or not; see [`Connect`].

use std::future::Future;
use std::ops::DerefMut;
use std::pin::Pin;
use std::time::Duration;

use replat_engine::BoxError;
use tokio::time::Instant;
use tokio_postgres::{Client, Transaction};

use crate::Intent;
use crate::enter::{Pass, Target};
use crate::refused::Refused;
use crate::retry::{Decision, Failure, Moved, Stage, decide};
use crate::router::{Destination, Router};

/// A future that is sent between threads.
pub type Coming<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where an application has its connections from. A pool keeps them by database; the schema is set for each
/// transaction.
pub trait Connect: Send + Sync {
    /// A connection, given back when it is dropped.
    type Client: DerefMut<Target = Client> + Send;

    /// A connection to a destination's database.
    fn connect<'a>(&'a self, to: &'a Destination) -> Coming<'a, Result<Self::Client, BoxError>>;

    /// Asks whoever makes partitions for one that takes a row that no partition of `table` took. Whether to try again.
    fn provide<'a>(&'a self, to: &'a Destination, table: Option<(String, String)>) -> Coming<'a, bool> {
        let _nobody_is_asked = (to, table);
        Box::pin(std::future::ready(false))
    }
}

/// How a transaction is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tries {
    /// How long all tries together may take until the last one begins.
    pub limit: Duration,
    /// How often it is begun again at most.
    pub retries: u32,
    /// Whether it only reads.
    pub intent: Intent,
    /// Schemas of the `search_path` after the home's own one: where extensions are.
    pub also_schemas: Vec<String>,
}

impl Default for Tries {
    /// Five seconds, three more tries, writing, `public`.
    fn default() -> Tries {
        Tries {
            limit: Duration::from_secs(5),
            retries: 3,
            intent: Intent::Write,
            also_schemas: vec!["public".into()],
        }
    }
}

/// Why the work of a transaction ends early.
#[derive(Debug)]
pub enum Stop<E> {
    /// The database refused a statement. Pass its error on as it is, so that it can be judged.
    Database(tokio_postgres::Error),
    /// The application's own reason. The transaction is rolled back, and not tried again.
    Own(E),
}

impl<E> From<tokio_postgres::Error> for Stop<E> {
    fn from(error: tokio_postgres::Error) -> Stop<E> {
        Stop::Database(error)
    }
}

/// Why a transaction was not done.
#[derive(Debug, thiserror::Error)]
pub enum Failed<E> {
    /// There was nowhere to go.
    #[error(transparent)]
    Refused(Refused),
    /// There was no connection to be had.
    #[error("no connection to {} on {}", .to.home.database, .to.address.host)]
    Connect {
        /// Where to.
        to: Box<Destination>,
        /// What the application's pool said.
        source: BoxError,
    },
    /// The database refused it, in the end. Nothing of it has happened.
    #[error("the database refused the transaction")]
    Database(#[source] tokio_postgres::Error),
    /// COMMIT was sent, and nobody knows whether it happened.
    #[error("whether the transaction was committed is not known")]
    OutcomeUnknown(#[source] tokio_postgres::Error),
    /// The application's own reason. Nothing of it has happened.
    #[error("the transaction was given up")]
    Own(E),
}

/// What became of one try.
enum Tried<T, E> {
    Done(T),
    /// Begin again, after what there is to wait for.
    Again(Wait, tokio_postgres::Error),
    Over(Failed<E>),
}

enum Wait {
    /// For routes of a later epoch.
    Moved(Moved),
    /// For a partition of this table.
    Missing(Option<(String, String)>),
    /// For a moment.
    Moment,
}

impl Router {
    /// Does `work` in one transaction at a key's home, with that home's schema first in the `search_path`.
    ///
    /// The gate is passed for each try, so a switch holds it back for as long as [`Tries::limit`] allows. What was
    /// certainly rolled back because the partition has moved, or by a serialization failure or a deadlock, is run
    /// again from the start; so `work` should have no other effects. It must pass database errors on: if it swallows
    /// one, the server rolls back what it then commits.
    ///
    /// # Errors
    ///
    /// [`Failed`]. Only after [`Failed::OutcomeUnknown`] it may have happened all the same.
    pub async fn transaction<'a, C, T, E, W>(
        &self,
        connect: &C,
        key: impl Into<Target<'a>>,
        tries: &Tries,
        mut work: W,
    ) -> Result<T, Failed<E>>
    where
        C: Connect,
        W: for<'t> FnMut(&'t Transaction<'_>) -> Coming<'t, Result<T, Stop<E>>>,
    {
        let key = key.into();
        let deadline = Instant::now() + tries.limit;
        let mut begun = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let pass = self.enter(key, tries.intent, left).await.map_err(Failed::Refused)?;
            let mut client = match connect.connect(pass.destination()).await {
                Ok(client) => client,
                Err(source) => {
                    // The home may be gone because the partition has left it.
                    let to = pass.destination().clone();
                    drop(pass);
                    self.refresh(deadline.saturating_duration_since(Instant::now())).await;
                    if self.is_past(&to.partition, to.epoch) && begun < tries.retries {
                        begun += 1;
                        continue;
                    }
                    return Err(Failed::Connect { to: Box::new(to), source });
                }
            };
            // A pool may have let us wait for longer than a switch does.
            if self.is_past(pass.partition(), pass.epoch()) && begun < tries.retries {
                begun += 1;
                continue;
            }
            let (wait, error) = match tried(&mut client, &pass, tries, &mut work).await {
                Tried::Done(value) => return Ok(value),
                Tried::Over(failed) => return Err(failed),
                Tried::Again(wait, error) => (wait, error),
            };
            drop(client);
            let to = pass.destination().clone();
            // A hold waits for this one, so it must not wait for the hold with the pass in hand.
            drop(pass);
            let more = begun < tries.retries && Instant::now() < deadline;
            if !more || !self.wait_before_retry(connect, &to, wait, begun, deadline).await {
                return Err(Failed::Database(error));
            }
            begun += 1;
        }
    }

    /// Whether to begin again.
    async fn wait_before_retry<C: Connect>(
        &self,
        connect: &C,
        to: &Destination,
        wait: Wait,
        begun: u32,
        deadline: Instant,
    ) -> bool {
        let moment = (Instant::now() + MOMENT.saturating_mul(1 << begun.min(8))).min(deadline);
        match wait {
            Wait::Missing(table) => connect.provide(to, table).await,
            Wait::Moment => {
                tokio::time::sleep_until(moment).await;
                true
            }
            Wait::Moved(moved) => {
                match moved.epoch.filter(|epoch| *epoch > to.epoch) {
                    // What has moved is there; what is still being switched may come back.
                    Some(epoch) => {
                        self.heard(&moved.partition, epoch);
                        self.later_than(&to.partition, to.epoch, deadline).await
                    }
                    None => {
                        self.later_than(&to.partition, to.epoch, moment).await;
                        true
                    }
                }
            }
        }
    }
}

/// The first pause before another try; doubled each time.
const MOMENT: Duration = Duration::from_millis(25);

async fn tried<T, E, W>(client: &mut Client, pass: &Pass, tries: &Tries, work: &mut W) -> Tried<T, E>
where
    W: for<'t> FnMut(&'t Transaction<'_>) -> Coming<'t, Result<T, Stop<E>>>,
{
    let begin = client.build_transaction().read_only(tries.intent == Intent::Read).start();
    let transaction = match begin.await {
        Ok(transaction) => transaction,
        Err(error) => return judged(error, Stage::Whole),
    };
    let done = match transaction.batch_execute(&search_path(pass.destination(), tries)).await {
        Ok(()) => work(&transaction).await,
        Err(error) => Err(Stop::Database(error)),
    };
    match done {
        Ok(value) => match transaction.commit().await {
            Ok(()) => Tried::Done(value),
            Err(error) => judged(error, Stage::CommitOfWhole),
        },
        Err(stop) => {
            // If this fails the connection is gone, and the transaction with it.
            drop(transaction.rollback().await);
            match stop {
                Stop::Own(own) => Tried::Over(Failed::Own(own)),
                Stop::Database(error) => judged(error, Stage::Whole),
            }
        }
    }
}

fn judged<T, E>(error: tokio_postgres::Error, stage: Stage) -> Tried<T, E> {
    match decide(&Failure::of(&error), stage) {
        Decision::RefreshAndRetry(moved) => Tried::Again(Wait::Moved(moved), error),
        Decision::AskForPartition { table } => Tried::Again(Wait::Missing(table), error),
        Decision::HandOut { retryable: true, .. } => Tried::Again(Wait::Moment, error),
        Decision::HandOut { retryable: false, .. } => Tried::Over(Failed::Database(error)),
        Decision::OutcomeUnknown => Tried::Over(Failed::OutcomeUnknown(error)),
    }
}

/// The schemas in which names are looked for until the transaction ends.
fn search_path(to: &Destination, tries: &Tries) -> String {
    let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
    let schemas: Vec<String> =
        std::iter::once(&to.home.schema).chain(&tries.also_schemas).map(quoted).collect();
    format!("SET LOCAL search_path TO {}", schemas.join(", "))
}
