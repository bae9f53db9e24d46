//! Many deployments that were begun together: each is one of its own, and what they share is machinery.
//!
//! Shared are the connections ([`Pool`]), the publication and one slot in each direction with its reader (`Hub`), what
//! is put in place before rows move, one look at all fences, and one scan of a table for all members that are small.
//! Not shared is what promises rest upon: the log, the fence, the tokens, the position of a stream, the comparison, the
//! switch. A member that fails leaves the shared slot (`apart`).

pub(crate) mod apart;
mod hub;
mod joint;
mod prepare;
mod scan;
mod sight;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use replat_engine::{EngineError, Verdict};
use replat_model::deploy::{Chunk, Token};
use replat_model::ids::{DeploymentId, Lsn, Side};
use replat_model::plan::Plan;
use tokio::sync::{Mutex, OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::conninfo::ConnInfo;
use crate::ends::Ends;
use crate::follow::Shared;
use crate::guard::Fenced;
use crate::pool::Pool;

use self::hub::Hub;
use self::joint::Joint;
use self::sight::Sight;

/// The fewest connections to each database with which a cohort can work: its streams take half of them.
pub const CONNECTIONS_MIN: u32 = 8;

/// Connections of each side that are taken for as long as the cohort runs: two that apply, one that records.
const STREAMS: usize = 3;

/// A switch takes a pair of connections on each side.
const OF_A_SWITCH: usize = 2;

/// So does any other work of one member.
const OF_OTHER_WORK: usize = 2;

/// More than so many switches at once gain nothing and share one reader.
const SWITCHES_MAX: usize = 4;

/// The same for copies, comparisons and what else takes long.
const OTHER_WORK_MAX: usize = 8;

/// A deployment that is to be a member.
#[derive(Clone, Debug)]
pub struct NewMember {
    /// Its name.
    pub deployment: DeploymentId,
    /// Its serial number: the `term` of its tokens.
    pub serial: u64,
    /// Its plan, which differs from the others' in keys, epoch and estimates only.
    pub plan: Arc<Plan>,
    /// Whether nothing was put in place for it yet.
    pub is_fresh: bool,
}

/// A member.
pub(crate) struct Member {
    pub(crate) ends: Ends,
    serial: u64,
    is_fresh: bool,
    /// Whether it has ended, or is about to.
    has_left: AtomicBool,
}

/// What the cohort's own tasks know of it.
pub(crate) struct Common {
    pub(crate) label: String,
    pub(crate) members: Vec<Member>,
    turns: Arc<Semaphore>,
    turns_max: usize,
}

impl Common {
    /// The slot on `side` that all members read which are not apart.
    pub(crate) fn slot(&self, side: Side) -> String {
        crate::ends::slot_name(&self.label, side)
    }

    /// Waits until nobody switches, and lets nobody begin to for as long as what is returned is kept.
    fn calm(&self) -> impl Future<Output = Option<OwnedSemaphorePermit>> + Send + use<> {
        let (turns, all) = (Arc::clone(&self.turns), u32::try_from(self.turns_max).expect("few turns"));
        async move { turns.acquire_many_owned(all).await.ok() }
    }

    /// Members that are under way, as their fences are installed.
    fn present(&self, is_wanted: impl Fn(&Member) -> bool) -> Vec<Fenced<'_>> {
        let present = self.members.iter().filter(|m| !m.has_left.load(Ordering::Relaxed) && is_wanted(m));
        present
            .map(|member| Fenced {
                plan: &member.ends.plan,
                deployment: member.ends.deployment.as_str(),
                // What every log has is its first entry; whatever is done later carries more.
                token: Token { term: member.serial, seq: 1 },
            })
            .collect()
    }
}

/// A copy of an error, for each of those whom it concerns. What it is and what it asks for stay the same.
pub(crate) fn again(error: &EngineError) -> EngineError {
    let told = || {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(deeper) = cause {
            text += &format!(": {deeper}");
            cause = deeper.source();
        }
        text
    };
    match error {
        EngineError::Unreachable { database, during, .. } => EngineError::Unreachable {
            database: database.clone(),
            during: during.clone(),
            source: told().into(),
        },
        EngineError::Locked { database, what, .. } => {
            EngineError::Locked { database: database.clone(), what: what.clone(), source: told().into() }
        }
        EngineError::Superseded { what } => EngineError::Superseded { what: what.clone() },
        EngineError::SlotLost { database, slot } => {
            EngineError::SlotLost { database: database.clone(), slot: slot.clone() }
        }
        EngineError::Row { database, table, key, why } => EngineError::Row {
            database: database.clone(),
            table: table.clone(),
            key: key.clone(),
            why: why.clone(),
        },
        EngineError::KeptBack { what, remedy, lasting } => {
            EngineError::KeptBack { what: what.clone(), remedy: remedy.clone(), lasting: *lasting }
        }
        EngineError::Precondition { what, remedy } => {
            EngineError::Precondition { what: what.clone(), remedy: remedy.clone() }
        }
        EngineError::Refused { database, during, why } => {
            EngineError::Refused { database: database.clone(), during: during.clone(), why: why.clone() }
        }
    }
}

/// A member, by its place, and the pieces in which it is copied.
type Scan = (usize, Arc<Vec<Chunk>>);

/// What the members of a cohort share while one process runs them.
pub struct Cohort {
    common: Arc<Common>,
    hubs: [Hub; 2],
    busy: Arc<Semaphore>,
    is_prepared: Mutex<bool>,
    opening: Mutex<()>,
    is_indexed: Mutex<bool>,
    apart: OnceCell<()>,
    looks: Joint<(), Result<Arc<Sight>, EngineError>>,
    plans: Joint<usize, Result<Vec<Chunk>, EngineError>>,
    scans: Joint<Scan, Result<(), EngineError>>,
}

impl Cohort {
    /// The cohort that is called by `label` on both sides, with these members. `connections`: how many may be opened to
    /// blue and to green, the readers of members that are apart not counted.
    ///
    /// `None` if there are no members.
    pub fn new(
        label: &str,
        members: Vec<NewMember>,
        blue: &ConnInfo,
        green: &ConnInfo,
        connections: [u32; 2],
    ) -> Option<Arc<Cohort>> {
        // One connection on each side reads its log.
        let limits = connections.map(|n| n.max(CONNECTIONS_MIN) as usize - 1);
        let pool = Pool::new(limits);
        let spare = limits.into_iter().min().unwrap_or(0).saturating_sub(STREAMS);
        let turns_max = (spare / 2 / OF_A_SWITCH).clamp(1, SWITCHES_MAX);
        let busy = (spare.saturating_sub(turns_max * OF_A_SWITCH) / OF_OTHER_WORK).clamp(1, OTHER_WORK_MAX);
        let members: Vec<Member> = members
            .into_iter()
            .map(|member| Member {
                ends: Ends::new(member.plan, member.deployment, blue.clone(), green.clone())
                    .in_cohort(label, Some(Arc::clone(&pool))),
                serial: member.serial,
                is_fresh: member.is_fresh,
                has_left: AtomicBool::new(false),
            })
            .collect();
        if members.is_empty() {
            return None;
        }
        let turns = Arc::new(Semaphore::new(turns_max));
        Some(Arc::new(Cohort {
            common: Arc::new(Common { label: label.to_owned(), members, turns, turns_max }),
            hubs: [Hub::new(Side::Blue), Hub::new(Side::Green)],
            busy: Arc::new(Semaphore::new(busy)),
            is_prepared: Mutex::default(),
            opening: Mutex::default(),
            is_indexed: Mutex::default(),
            apart: OnceCell::new(),
            looks: Joint::default(),
            plans: Joint::default(),
            scans: Joint::default(),
        }))
    }

    /// Whoever wants to switch a member takes one of these first, and keeps it until the new home is open.
    pub fn turns(&self) -> Arc<Semaphore> {
        Arc::clone(&self.common.turns)
    }

    /// The place of a deployment among the members.
    pub fn place(&self, deployment: &DeploymentId) -> Option<usize> {
        self.common.members.iter().position(|member| member.ends.deployment == *deployment)
    }

    pub(crate) fn member(&self, place: usize) -> &Ends {
        &self.common.members[place].ends
    }

    fn hub(&self, side: Side) -> &Hub {
        &self.hubs[usize::from(side == Side::Green)]
    }

    /// Room for one more member to do something that takes long.
    pub(crate) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.busy).acquire_owned().await.ok()
    }

    /// Puts in place whatever must be before rows move, for all members that have nothing yet.
    pub(crate) async fn prepare(&self, lock_timeout_ms: u64) -> Result<(), EngineError> {
        let mut is_prepared = self.is_prepared.lock().await;
        if !*is_prepared {
            prepare::prepare(&self.common, lock_timeout_ms).await?;
            *is_prepared = true;
        }
        Ok(())
    }

    /// The slot on `side`, which is made with the first member that asks for it. Returns where this member's stream
    /// begins, and the first transaction id that did not exist yet.
    pub(crate) async fn open_slot(&self, place: usize, side: Side) -> Result<(Lsn, u64), EngineError> {
        let _one_at_a_time = self.opening.lock().await;
        let deployments: Vec<&str> = self.common.present(|_| true).iter().map(|m| m.deployment).collect();
        crate::prepare::open_slot(self.member(place), side, &deployments).await
    }

    /// What is true of all members, asked once for all who ask now.
    pub(crate) async fn look(&self) -> Result<Arc<Sight>, EngineError> {
        self.looks
            .ask((), |all| async move {
                let seen = sight::look(&self.common).await;
                all.iter()
                    .map(|()| match &seen {
                        Ok(seen) => Ok(Arc::clone(seen)),
                        Err(error) => Err(again(error)),
                    })
                    .collect()
            })
            .await
    }

    /// The pieces in which a member is copied.
    pub(crate) async fn plan_copy(&self, place: usize, rows: u32) -> Result<Vec<Chunk>, EngineError> {
        self.plans
            .ask(place, |places| async move {
                let _room = self.room().await;
                scan::plan(&self.common, &places, rows).await
            })
            .await
    }

    /// Copies what is small of all members that ask now, table by table and each table by one scan. What is left is the
    /// member's own.
    pub(crate) async fn copy_small(&self, place: usize, chunks: &[Chunk]) -> Result<(), EngineError> {
        let chunks = Arc::new(chunks.to_vec());
        self.scans
            .ask((place, chunks), |asked| async move {
                let _room = self.room().await;
                let done = scan::copy(&self.common, &asked).await;
                asked
                    .iter()
                    .map(|_| match &done {
                        Ok(()) => Ok(()),
                        Err(error) => Err(again(error)),
                    })
                    .collect()
            })
            .await
    }

    /// Builds what was deferred for all, once.
    pub(crate) async fn build_indexes(&self, place: usize) -> Result<(), EngineError> {
        let mut is_indexed = self.is_indexed.lock().await;
        if !*is_indexed {
            crate::prepare::build_for_all(self.member(place)).await?;
            *is_indexed = true;
        }
        Ok(())
    }

    /// Whether the member's stream from `from` reads a slot of its own.
    pub(crate) async fn is_apart(&self, place: usize, from: Side) -> Result<bool, EngineError> {
        self.apart.get_or_try_init(|| apart::recall(&self.common)).await?;
        Ok(self.member(place).is_apart(from))
    }

    /// Lets the member's changes be brought over with those of all others.
    pub(crate) fn join(&self, place: usize, from: Side, shared: &Arc<Shared>) {
        self.hub(from).join(&self.common, place, shared);
    }

    /// The member wants nothing more of the shared streams.
    pub(crate) fn leave(&self, place: usize) {
        self.common.members[place].has_left.store(true, Ordering::Relaxed);
        for hub in &self.hubs {
            hub.leave(place);
        }
    }

    /// A member that cannot be copied before a person has helped does not hold the shared slot.
    pub(crate) async fn failed(&self, place: usize, error: &EngineError) -> Result<(), EngineError> {
        match error.verdict() {
            Verdict::AskAPerson => apart::part(&self.common, place, Side::Blue).await,
            Verdict::TryAgain | Verdict::StandDown => Ok(()),
        }
    }
}
