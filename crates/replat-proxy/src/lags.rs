//! How far the copies are behind that answer reads.
//!
//! For each pair of databases of which one has the homes and the other one copies, both are asked in turn, by a connection
//! of the proxy's own: how far the home's log has come, and up to where each copy has taken it over. A copy is as of the
//! last moment whose position it has reached. When nobody answers, what is known grows old by itself, and reads stay at
//! home.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use replat_model::ids::{Lsn, PartitionId};
use replat_postgres::connect::connect;
use replat_postgres::conninfo::ConnInfo;
use replat_postgres::freshness;
use replat_postgres::sql::quote_ident;
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::doors::Home;

/// How often both databases are asked.
const EVERY: Duration = Duration::from_millis(200);
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The pause after a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// For so long moments are remembered: a copy that is further behind is as of no moment.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Databases that nobody has wanted to read from for so long are not asked any more.
const UNUSED_MAX: Duration = Duration::from_secs(60);
/// What servers show as the connections' name.
const NAME: &str = "replat proxy reads";

/// The copies that are watched.
#[derive(Debug, Default)]
pub(crate) struct Lags {
    watched: Mutex<HashMap<Pair, Arc<Copies>>>,
}

/// The names of two databases and the hosts that they are on.
type Pair = [(String, String); 2];

/// A partition's copy, and the `search_path` that leads to it: of two homes in one database, one may be its copy.
type CopyAt = (PartitionId, String);

/// The copies in one database of partitions that live at another home.
#[derive(Debug)]
struct Copies {
    as_of: RwLock<HashMap<CopyAt, Instant>>,
    wanted: Mutex<Instant>,
}

fn search_path(home: &Home) -> &str {
    home.settings.iter().find(|(name, _)| name == "search_path").map_or("", |(_, path)| path.as_str())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lags {
    /// The moment of which the copy of a partition at `other` is; `None` if it is not known, or the copy is not to be read.
    /// The first question begins a watch, and has no answer yet.
    pub(crate) fn as_of(
        self: &Arc<Lags>,
        partition: &PartitionId,
        own: &Home,
        other: &Home,
    ) -> Option<Instant> {
        let place = |home: &Home| {
            let hosts: Vec<String> = home.server.hosts.iter().map(ToString::to_string).collect();
            (home.database.clone(), hosts.join(","))
        };
        let pair = [place(own), place(other)];
        let copies = locked(&self.watched).get(&pair).cloned();
        let copies = copies.unwrap_or_else(|| self.begin(pair, own, other));
        *locked(&copies.wanted) = Instant::now();
        let copy = (partition.clone(), search_path(other).to_owned());
        copies.as_of.read().unwrap_or_else(PoisonError::into_inner).get(&copy).copied()
    }

    fn begin(self: &Arc<Lags>, pair: Pair, own: &Home, other: &Home) -> Arc<Copies> {
        let mut watched = locked(&self.watched);
        let new = || {
            let copies = Arc::new(Copies { as_of: RwLock::default(), wanted: Mutex::new(Instant::now()) });
            let watch = Watch { home: Asked::new(own), copy: Asked::new(other), moments: VecDeque::new() };
            tokio::spawn(keep(watch, copies.clone(), pair.clone(), Arc::downgrade(self)));
            copies
        };
        watched.entry(pair.clone()).or_insert_with(new).clone()
    }
}

async fn keep(mut watch: Watch, copies: Arc<Copies>, pair: Pair, lags: Weak<Lags>) {
    loop {
        let pause = match tokio::time::timeout(ANSWER_MAX, watch.look()).await {
            Ok(Ok(known)) => {
                *copies.as_of.write().unwrap_or_else(PoisonError::into_inner) = known;
                EVERY
            }
            failed => {
                let why = match failed {
                    Ok(Err(why)) => why.to_string(),
                    _ => "no answer in time".to_owned(),
                };
                tracing::debug!(why, "how far {} is behind is not known", watch.copy.database);
                (watch.home.client, watch.copy.client) = (None, None);
                AGAIN
            }
        };
        tokio::time::sleep(pause).await;
        let Some(lags) = lags.upgrade() else { return };
        let mut watched = locked(&lags.watched);
        if locked(&copies.wanted).elapsed() > UNUSED_MAX {
            watched.remove(&pair);
            return;
        }
    }
}

/// A database and a connection to it.
struct Asked {
    server: Arc<ConnInfo>,
    database: String,
    client: Option<Client>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Asked {
    fn new(home: &Home) -> Asked {
        Asked { server: home.server.clone(), database: home.database.clone(), client: None }
    }

    async fn client(&mut self) -> Result<&Client, Failure> {
        let known = self.client.take().filter(|client| !client.is_closed());
        let client = match known {
            Some(client) => client,
            None => connect(&self.server, NAME).await?.client,
        };
        Ok(self.client.insert(client))
    }
}

struct Watch {
    home: Asked,
    copy: Asked,
    /// How far the home's log had come, and when; in order.
    moments: VecDeque<(Instant, Lsn)>,
}

impl Watch {
    async fn look(&mut self) -> Result<HashMap<CopyAt, Instant>, Failure> {
        let database = self.home.database.clone();
        let home = self.home.client().await?;
        // Before the question, so that the copy is never taken for newer than it is.
        let now = Instant::now();
        let flushed = freshness::flushed(home, &database).await?;
        self.remember(now, flushed);
        let database = self.copy.database.clone();
        let copies = freshness::copies(self.copy.client().await?, &database).await?;
        Ok(copies
            .into_iter()
            .filter_map(|copy| {
                Some(((copy.partition, quote_ident(&copy.schema)), self.reached(copy.through)?))
            })
            .collect())
    }

    fn remember(&mut self, now: Instant, flushed: Lsn) {
        // A server that has lost its newest log after a failure begins anew.
        if self.moments.back().is_some_and(|(_, known)| *known > flushed) {
            self.moments.clear();
        }
        self.moments.push_back((now, flushed));
        while self.moments.front().is_some_and(|(at, _)| now - *at > REMEMBERED) {
            self.moments.pop_front();
        }
    }

    /// The last moment at which the home's log had come no further.
    fn reached(&self, through: Lsn) -> Option<Instant> {
        let count = self.moments.partition_point(|(_, flushed)| *flushed <= through);
        self.moments.get(count.checked_sub(1)?).map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use replat_postgres::conninfo::Environment;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_copy_is_as_of_the_last_moment_that_it_has_reached() {
        let server = ConnInfo::resolve(Some("postgres://127.0.0.1/a?user=a"), &Environment::empty());
        let home = Home {
            server: Arc::new(server.expect("a legal address")),
            database: "a".into(),
            settings: Vec::new(),
            partition: None,
            epoch: 1,
            pooled: false,
        };
        let mut watch = Watch { home: Asked::new(&home), copy: Asked::new(&home), moments: VecDeque::new() };
        let begun = Instant::now();
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        for (seconds, position) in [(0, 10), (1, 10), (2, 20), (3, 30)] {
            watch.remember(at(seconds), Lsn(position));
        }
        for (through, want) in [(9, None), (10, Some(1)), (19, Some(1)), (20, Some(2)), (99, Some(3))] {
            assert_eq!(watch.reached(Lsn(through)), want.map(at), "{through}");
        }
        // The home's log is shorter than it was: what was known of it means nothing any more.
        watch.remember(at(4), Lsn(15));
        assert_eq!(watch.reached(Lsn(14)), None);
        assert_eq!(watch.reached(Lsn(15)), Some(at(4)));
        watch.remember(at(4) + REMEMBERED + Duration::from_secs(1), Lsn(40));
        assert_eq!(watch.reached(Lsn(15)), None, "too long ago");
    }
}
