//! How large a share of transactions is logged, if it is left to the capture: as much as advice needs, and no more than
//! a server hardly notices.
//!
//! A few hundred whole transactions are worth having, and a thousand are plenty; so the share follows from how many
//! transactions there are and how long the capture lasts. It changes seldom, since each change is written to the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_postgres::Client;

use super::rate;

/// So many whole transactions are had early, within [`EARLY`]: a capture that is ended by hand has them, too.
const EARLY_WANTED: f64 = 200.0;
/// The share of a capture's time that is early.
const EARLY: f64 = 0.1;
/// So many are had in all.
const WANTED: f64 = 1_000.0;
/// What the sample may add to the server's log for each transaction that it runs. Unit: bytes.
const BYTES_EACH: f64 = 50.0;
/// What it may add on a server that runs few transactions. Unit: bytes a second.
const BYTES_ALWAYS: f64 = 10_000.0;
/// What a transaction takes in the log, until some were seen. Unit: bytes.
const BYTES_GUESSED: f64 = 10_000.0;
/// So many have to be seen.
const SEEN_MIN: u64 = 20;
/// The least share; less is none at all on any server.
const LEAST: f64 = 1e-6;
/// A share that is off by less than this factor stays.
const OFF_MAX: f64 = 1.5;
/// How often is looked at what the server does. Sessions tell what they did once a second.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The most at the beginning, when the server has been seen for a moment only.
const FIRST_MAX: f64 = 0.01;

/// The share where the server does not say what it does.
pub(super) const CAUTIOUS: f64 = 0.001;

/// The share of transactions that a server is to log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Share {
    /// This one.
    Fixed(f64),
    /// As much as advice needs, by what the server does.
    Needed,
}

/// What a capture has read of the log so far, told by who reads it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Whole transactions.
    pub transactions: AtomicU64,
    /// Bytes of the log.
    pub bytes: AtomicU64,
}

/// What is known when a share is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Transactions a second, of the database that is captured.
    pub here: f64,
    /// The same of all databases of the server: all of them are logged.
    pub everywhere: f64,
    /// Whole transactions so far.
    pub transactions: u64,
    /// What they took in the log, with all that stands between them. Unit: bytes.
    pub bytes: u64,
    /// How much of its time the capture has had. Unit: seconds.
    pub elapsed: f64,
    /// How long it lasts. Unit: seconds.
    pub lasts: f64,
}

/// The share that gives what is wanted in the time that is left, within what the log may grow by.
pub fn share(seen: &Seen) -> f64 {
    let had = seen.transactions as f64;
    let left = |until: f64| (until - seen.elapsed).max(seen.lasts * EARLY / 2.0).max(1.0);
    let early = (EARLY_WANTED - had).max(0.0) / left(seen.lasts * EARLY);
    let all = (WANTED - had).max(0.0) / left(seen.lasts);
    let needed = early.max(all) / seen.here.max(0.1);
    let each = match seen.transactions >= SEEN_MIN {
        true => (seen.bytes as f64 / had).max(1.0),
        false => BYTES_GUESSED,
    };
    let allowed = (BYTES_EACH * seen.everywhere).max(BYTES_ALWAYS) / (each * seen.everywhere.max(0.1));
    rounded(needed.min(allowed).clamp(LEAST, 1.0))
}

/// With two digits, as a person would set it.
fn rounded(share: f64) -> f64 {
    let unit = 10_f64.powf(share.log10().floor() - 1.0);
    // Once more, for what no unit divides is no number of few digits.
    ((share / unit).round() * unit * 1e9).round() / 1e9
}

/// How many transactions have ended, here and everywhere.
async fn ended(client: &Client) -> Option<(f64, f64)> {
    let query = "select coalesce(sum(xact_commit + xact_rollback) filter (where datname = pg_catalog.current_database()), 0)::float8, \
         coalesce(sum(xact_commit + xact_rollback), 0)::float8 from pg_catalog.pg_stat_database";
    let row = client.query_one(query, &[]).await.ok()?;
    Some((row.get(0), row.get(1)))
}

/// What the server does, between looks.
#[derive(Debug)]
pub struct Pace {
    began: Instant,
    lasts: Duration,
    looked: Instant,
    ended: (f64, f64),
    share: f64,
    /// Transactions here, and those of them that are likely to be logged.
    run: (f64, f64),
}

impl Pace {
    /// Looks for a moment at what the server does; `None` if it does not say. A capture begins that lasts so long.
    pub async fn begin(client: &Client, lasts: Duration) -> Option<Pace> {
        let before = (Instant::now(), ended(client).await?);
        tokio::time::sleep(LOOK_EVERY).await;
        let now = Instant::now();
        let mut pace =
            Pace { began: now, lasts, looked: before.0, ended: before.1, share: LEAST, run: (0.0, 0.0) };
        pace.share = pace.look(client, &Progress::default()).await?;
        // What ran until now was before the capture.
        pace.run = (0.0, 0.0);
        pace.share = pace.share.min(FIRST_MAX);
        Some(pace)
    }

    /// The share that is set, or is to be.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// The share of the transactions so far that were logged, by what was set while they ran.
    pub fn mean(&self) -> f64 {
        match self.run.0 > 0.0 {
            true => rounded((self.run.1 / self.run.0).max(LEAST)),
            false => self.share,
        }
    }

    /// Looks again; the share that would be right.
    async fn look(&mut self, client: &Client, progress: &Progress) -> Option<f64> {
        let (now, ended) = (Instant::now(), ended(client).await?);
        let within = now.duration_since(self.looked).as_secs_f64().max(0.1);
        // A server that crashed counts from zero.
        let here = (ended.0 - self.ended.0).max(0.0);
        let everywhere = (ended.1 - self.ended.1).max(here);
        self.run = (self.run.0 + here, self.run.1 + here * self.share);
        (self.looked, self.ended) = (now, ended);
        Some(share(&Seen {
            here: here / within,
            everywhere: everywhere / within,
            transactions: progress.transactions.load(Ordering::Relaxed),
            bytes: progress.bytes.load(Ordering::Relaxed),
            elapsed: now.duration_since(self.began).as_secs_f64(),
            lasts: self.lasts.as_secs_f64(),
        }))
    }
}

/// Keeps the share at what is needed until `over`. It is lowered as soon as it is too high, and raised after pauses that
/// become longer, since each change is written to the log.
pub async fn keep(
    client: &Client,
    database: &str,
    pace: &mut Pace,
    progress: &Progress,
    mut over: watch::Receiver<bool>,
) {
    let (mut pause, mut changed) = (LOOK_EVERY, Instant::now());
    loop {
        tokio::select! {
            _ = over.wait_for(|over| *over) => {
                // The last of the mean.
                pace.look(client, progress).await;
                return;
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let Some(wanted) = pace.look(client, progress).await else { continue };
        let too_high = wanted * OFF_MAX < pace.share;
        let too_low = wanted > pace.share * OFF_MAX && changed.elapsed() >= pause;
        // If it cannot be set now, it is looked at once more.
        if (too_high || too_low) && rate::set(client, database, wanted).await.is_ok() {
            pace.share = wanted;
            changed = Instant::now();
            pause = (pause * 2).min(pace.lasts / 20).max(LOOK_EVERY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(here: f64, lasts: f64) -> Seen {
        Seen { here, everywhere: here, transactions: 0, bytes: 0, elapsed: 0.0, lasts }
    }

    #[test]
    fn the_share_is_what_is_needed_within_what_the_log_may_grow_by() {
        let rows = [
            ("an idle server is logged as a whole", seen(1.0, 60.0), 1.0),
            ("nothing at all is seen yet", seen(0.0, 600.0), 1.0),
            ("a busy one for ten minutes: 200 of the first 60,000", seen(1_000.0, 600.0), 0.0033),
            ("the same for a day", seen(1_000.0, 86_400.0), 0.000_023),
            ("a short capture is held by what the log may grow by", seen(1_000.0, 10.0), 0.005),
            (
                "of which small transactions have more",
                Seen { transactions: 30, bytes: 30_000, ..seen(1_000.0, 10.0) },
                0.05,
            ),
            ("others are logged as well", Seen { everywhere: 10_000.0, ..seen(10.0, 60.0) }, 0.005),
            (
                "the early ones are had",
                Seen { transactions: 200, bytes: 2_000_000, elapsed: 60.0, ..seen(1_000.0, 600.0) },
                0.0015,
            ),
            (
                "all are had",
                Seen { transactions: 1_000, bytes: 2_000_000, elapsed: 60.0, ..seen(1_000.0, 600.0) },
                LEAST,
            ),
            (
                "too few were had by the end",
                Seen { transactions: 50, bytes: 50_000, elapsed: 599.0, ..seen(100.0, 600.0) },
                0.1,
            ),
        ];
        for (case, seen, want) in rows {
            let got = share(&seen);
            assert!((got / want - 1.0).abs() < 1e-6, "{case}: {got} is not {want}");
        }
    }

    #[test]
    fn whatever_the_server_does_the_log_grows_by_little() {
        for here in [0.1, 3.0, 50.0, 700.0, 20_000.0, 1e6] {
            for lasts in [1.0, 30.0, 600.0, 86_400.0] {
                for each in [300, 5_000, 200_000_u64] {
                    let seen = Seen { transactions: 100, bytes: 100 * each, ..seen(here, lasts) };
                    let grows = share(&seen) * here * each as f64;
                    let may = (BYTES_EACH * here).max(BYTES_ALWAYS);
                    // Two digits of a share may round it up.
                    assert!(grows <= 1.05 * may || share(&seen) <= LEAST, "{seen:?}: {grows} beyond {may}");
                }
            }
        }
    }
}
