//! What the server knows of one context, and hands out.

use std::collections::VecDeque;
use std::io::Write;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use replat_engine::registry::{Envelope, Registry, RegistryError};
use replat_model::route::Routes;
use replat_registry::{Follower, Held};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// After a failure the registry is asked again after this; doubled up to the other.
const AGAIN_FIRST: Duration = Duration::from_millis(50);
const AGAIN_LAST: Duration = Duration::from_secs(1);

/// After so many deltas it is looked whether the registry has newer whole routes; or once deltas have as many bytes as the
/// whole routes, within these limits. That is when the registry gathers them, too.
const REBASE_DELTAS: usize = 256;
const REBASE_BYTES_MIN: usize = 64 << 10;
const REBASE_BYTES_MAX: usize = 8 << 20;

/// An envelope as it is sent.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// What a client has afterwards.
    pub version: u64,
    /// What it must have; `None`: nothing, these are whole routes.
    from: Option<u64>,
    event: Bytes,
    json: Range<usize>,
}

impl Parcel {
    fn new(envelope: &Envelope) -> Parcel {
        let mut event = Vec::with_capacity(envelope.body.len() + envelope.body.len() / 4 + 512);
        write!(event, "id: {}\nevent: routes\ndata: ", envelope.version).expect("memory takes everything");
        let begin = event.len();
        // Strings in JSON have no line feeds, so that it is one line.
        serde_json::to_writer(&mut event, envelope).expect("an envelope is plain data");
        let json = begin..event.len();
        event.extend_from_slice(b"\n\n");
        Parcel { version: envelope.version, from: envelope.from, event: event.into(), json }
    }

    /// As an event of a stream.
    pub fn event(&self) -> Bytes {
        self.event.clone()
    }

    /// As a JSON object.
    pub fn json(&self) -> Bytes {
        self.event.slice(self.json.clone())
    }
}

/// Whole routes, and deltas that lead from some version at or before them to the newest.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    whole: Option<Parcel>,
    deltas: VecDeque<Parcel>,
    /// Deltas and their bytes since it was last looked for newer whole routes.
    since_look: (usize, usize),
}

/// Envelopes that do not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version {version} does not go on from version {head}")]
pub struct Gap {
    head: u64,
    version: u64,
}

impl Chain {
    /// The newest version; 0: there is none.
    pub fn head(&self) -> u64 {
        let last = self.deltas.back().or(self.whole.as_ref());
        last.map_or(0, |parcel| parcel.version)
    }

    /// What takes a client that has version `have` to the newest: nothing, deltas, or whole routes and deltas,
    /// whichever is less to send.
    pub fn since(&self, have: u64) -> Vec<Parcel> {
        if have >= self.head() {
            return Vec::new();
        }
        let Some(whole) = &self.whole else { return Vec::new() };
        let size = |at: usize| self.deltas.range(at..).map(|parcel| parcel.event.len()).sum::<usize>();
        let after = self.at(whole.version);
        let exact = self.deltas.get(self.at(have)).is_some_and(|delta| delta.from == Some(have));
        if exact && size(self.at(have)) <= whole.event.len() + size(after) {
            return self.deltas.range(self.at(have)..).cloned().collect();
        }
        std::iter::once(whole).chain(self.deltas.range(after..)).cloned().collect()
    }

    /// The place of the first delta that begins at `version` or later.
    fn at(&self, version: u64) -> usize {
        self.deltas.partition_point(|delta| delta.from < Some(version))
    }

    /// Takes what the registry said leads on from the head.
    fn take(&mut self, envelopes: &[Envelope]) -> Result<(), Gap> {
        for envelope in envelopes {
            let parcel = Parcel::new(envelope);
            match parcel.from {
                None => {
                    self.deltas.clear();
                    self.whole = Some(parcel);
                    self.since_look = (0, 0);
                }
                Some(from) if from == self.head() => {
                    self.since_look.0 += 1;
                    self.since_look.1 += parcel.event.len();
                    self.deltas.push_back(parcel);
                }
                Some(_) => return Err(Gap { head: self.head(), version: parcel.version }),
            }
        }
        Ok(())
    }

    fn is_look_due(&self) -> bool {
        let whole = self.whole.as_ref().map_or(0, |whole| whole.event.len());
        let bytes = whole.clamp(REBASE_BYTES_MIN, REBASE_BYTES_MAX);
        self.since_look.0 >= REBASE_DELTAS || self.since_look.1 >= bytes
    }

    /// Takes newer whole routes, if `envelopes`, which are all that the registry has, begin with such. What leads to
    /// them from those before stays, for clients that are somewhat behind.
    fn rebase(&mut self, envelopes: &[Envelope]) {
        self.since_look = (0, 0);
        let before = self.whole.as_ref().map_or(0, |whole| whole.version);
        let newer = |envelope: &&Envelope| envelope.from.is_none() && envelope.version > before;
        let Some(whole) = envelopes.first().filter(newer) else { return };
        // Whoever has the whole routes must be able to go on by our deltas.
        let joins = self.deltas.iter().any(|delta| delta.version == whole.version);
        if joins {
            self.whole = Some(Parcel::new(whole));
            self.deltas.retain(|delta| delta.version > before);
        }
    }
}

/// What is known of a context at one moment. Holds are never newer than routes: the end of a hold that is shown was
/// decided with routes that are shown.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// What leads to the newest routes.
    pub chain: Arc<Chain>,
    /// These routes; they may be newer than the chain by a moment.
    pub routes: Option<Routes>,
    /// The holds that are called for.
    pub holds: Arc<[Held]>,
}

/// One context, followed.
pub struct Topic {
    follower: Follower,
    board: watch::Receiver<Board>,
    failing: Arc<Mutex<Option<(Instant, String)>>>,
    task: JoinHandle<()>,
}

impl Drop for Topic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How well a context is known.
#[derive(Clone, Debug)]
pub struct Standing {
    /// So long ago everything that the registry had was known; `None`: never yet.
    pub age: Option<Duration>,
    /// What is wrong; `None`: nothing.
    pub trouble: Option<String>,
}

impl Topic {
    /// Begins to follow.
    pub fn follow(registry: Arc<dyn Registry>, context: &str) -> Topic {
        let follower = Follower::start(Arc::clone(&registry), context, None);
        let (tell, board) = watch::channel(Board::default());
        let failing = Arc::new(Mutex::new(None));
        let mirror = Mirror { registry, context: context.to_owned(), tell, failing: Arc::clone(&failing) };
        let task = tokio::spawn(mirror.run(follower.routes(), follower.holds()));
        Topic { follower, board, failing, task }
    }

    /// What is known, as it comes.
    pub fn board(&self) -> watch::Receiver<Board> {
        self.board.clone()
    }

    /// The routes alone, a moment earlier.
    pub fn routes(&self) -> watch::Receiver<Option<Routes>> {
        self.follower.routes()
    }

    /// How well it is known.
    pub fn standing(&self) -> Standing {
        let freshness = self.follower.freshness().borrow().clone();
        // The follower knows a moment earlier what there is; until the first of it is here, nothing is handed out.
        let is_here = freshness.version == 0 || self.board.borrow().chain.head() > 0;
        let mut age = freshness.seen.filter(|_| is_here).map(|seen| seen.elapsed());
        let mut trouble = freshness.trouble;
        if let Some((since, why)) = &*self.failing.lock().unwrap_or_else(PoisonError::into_inner) {
            age = age.map(|age| age.max(since.elapsed()));
            trouble = trouble.or(Some(why.clone()));
        }
        Standing { age, trouble }
    }
}

/// Keeps the board.
struct Mirror {
    registry: Arc<dyn Registry>,
    context: String,
    tell: watch::Sender<Board>,
    failing: Arc<Mutex<Option<(Instant, String)>>>,
}

/// Why the chain is not the registry's.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Gap(#[from] Gap),
}

impl Mirror {
    async fn run(self, mut routes: watch::Receiver<Option<Routes>>, mut holds: watch::Receiver<Vec<Held>>) {
        let mut chain = Arc::new(Chain::default());
        let mut pause = AGAIN_FIRST;
        loop {
            // The follower tells routes before holds. Taken the other way round, no hold is newer than the routes.
            let held: Arc<[Held]> = holds.borrow_and_update().clone().into();
            let known = routes.borrow_and_update().clone();
            let newest = known.as_ref().map_or(0, Routes::version);
            let brought = self.bring(&mut chain, newest).await;
            match brought {
                Ok(()) => {
                    self.note(None);
                    pause = AGAIN_FIRST;
                    self.tell.send_replace(Board { chain: Arc::clone(&chain), routes: known, holds: held });
                    let (routes, holds) = (routes.changed(), holds.changed());
                    let lives = tokio::select! { lives = routes => lives, lives = holds => lives };
                    if lives.is_err() {
                        return;
                    }
                }
                Err(trouble) => {
                    self.note(Some(&trouble));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_LAST);
                }
            }
        }
    }

    /// Remembers what is wrong, and since when.
    fn note(&self, trouble: Option<&Trouble>) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let since = failing.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        *failing = trouble.map(|trouble| (since, trouble.to_string()));
    }

    async fn bring(&self, chain: &mut Arc<Chain>, newest: u64) -> Result<(), Trouble> {
        if chain.head() < newest {
            let envelopes = self.registry.read(&self.context, chain.head()).await?;
            Arc::make_mut(chain).take(&envelopes).inspect_err(|_| *chain = Arc::default())?;
        }
        if chain.is_look_due() {
            let envelopes = self.registry.read(&self.context, 0).await?;
            Arc::make_mut(chain).rebase(&envelopes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use replat_model::deploy::Timestamp;

    fn envelope(version: u64, from: Option<u64>, bytes: usize) -> Envelope {
        Envelope {
            format: 1,
            project: "shop".into(),
            context: "tenants".into(),
            version,
            from,
            at: Timestamp(0),
            body: "\n".repeat(bytes),
            digest: String::new(),
            mac: None,
        }
    }

    /// What a client has after it took these, which must join.
    fn client(have: u64, parcels: &[Parcel]) -> u64 {
        parcels.iter().fold(have, |have, parcel| {
            assert!(parcel.from.is_none_or(|from| from == have), "{parcel:?} after {have}");
            parcel.version
        })
    }

    proptest! {
        #[test]
        fn whatever_a_client_has_it_is_led_to_the_newest(
            first in 1_u64..5,
            steps in proptest::collection::vec((1_u64..4, 0_usize..300, any::<bool>()), 0..60),
            have in 0_u64..200,
        ) {
            let mut chain = Chain::default();
            chain.take(&[envelope(first, None, 500)]).expect("whole routes go on from anything");
            for (step, bytes, rebase) in steps {
                let head = chain.head();
                chain.take(&[envelope(head + step, Some(head), bytes)]).expect("it goes on");
                if rebase {
                    chain.rebase(&[envelope(head + step, None, 500)]);
                }
                let parcels = chain.since(have);
                prop_assert_eq!(client(have, &parcels), have.max(chain.head()));
                let sent: usize = parcels.iter().map(|parcel| parcel.event.len()).sum();
                let whole: usize = chain.since(0).iter().map(|parcel| parcel.event.len()).sum();
                prop_assert!(sent <= whole, "nobody is sent more than whole routes and what came since");
            }
        }
    }

    #[test]
    fn what_does_not_join_is_refused() {
        let mut chain = Chain::default();
        let refused = chain.take(&[envelope(2, Some(1), 0)]).expect_err("there is nothing to go on from");
        assert_eq!(refused, Gap { head: 0, version: 2 });
    }

    #[test]
    fn old_deltas_go_when_whole_routes_are_newer() {
        let mut chain = Chain::default();
        chain.take(&[envelope(1, None, 9)]).expect("whole");
        for version in 2..=600 {
            chain.take(&[envelope(version, Some(version - 1), 0)]).expect("it goes on");
            if chain.is_look_due() {
                chain.rebase(&[envelope(version - 10, None, 9), envelope(version, Some(version - 10), 0)]);
            }
        }
        let oldest = chain.deltas.front().expect("there are deltas").version;
        assert!(
            chain.deltas.len() < 2 * REBASE_DELTAS && oldest > 200,
            "{} from {oldest}",
            chain.deltas.len()
        );
        assert!(chain.whole.as_ref().is_some_and(|whole| whole.version > 400));
    }
}
