//! The engine: looks at both ends of a deployment and brings about one action at a time.

use std::collections::BTreeSet;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::try_join;
use replat_engine::{Engine, EngineError, Soon, Verdict};
use replat_model::deploy::{Certificate, Chunk, Deployment, KeptBack, Timestamp, Token};
use replat_model::ids::{DeploymentId, Epoch, Lsn, Side};
use replat_model::next::{Action, Evidence, Observation, Scope, SideSeen, StreamSeen};
use replat_model::plan::{Path, Plan};
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::cohort::Cohort;
use crate::conninfo::ConnInfo;
use crate::copy::{self, CopyProgress, Lane};
use crate::ends::Ends;
use crate::error::on;
use crate::follow::{Shared, follow};
use crate::freshness;
use crate::guard::{self, Closing};
use crate::pool::Session;
use crate::verify::{Verifier, VerifyProgress};
use crate::{contracts, leaves, parked, prepare, retire, sequences, views};

/// Both ends of one deployment on PostgreSQL.
pub struct PostgresEngine {
    ends: Ends,
    shared: Arc<Shared>,
    changed: Mutex<watch::Receiver<u64>>,
    control: [Mutex<Option<Session>>; 2],
    /// Open before the pause begins, so that nothing is dialled within it.
    prover: Mutex<Option<Verifier>>,
    streams: Mutex<[Option<JoinHandle<()>>; 2]>,
    copying: Arc<CopyProgress>,
    comparing: Arc<VerifyProgress>,
    /// The cohort that it is a member of, and its place there.
    cohort: Option<(Arc<Cohort>, usize)>,
    /// Whether a switch is under way, so that what it needs is kept open.
    switches: AtomicBool,
}

/// A connection for short statements. A member of a cohort gives it back at once, but for the time of a switch.
struct Control<'a> {
    held: MutexGuard<'a, Option<Session>>,
    is_kept: bool,
}

impl Deref for Control<'_> {
    type Target = Option<Session>;

    fn deref(&self) -> &Option<Session> {
        &self.held
    }
}

impl DerefMut for Control<'_> {
    fn deref_mut(&mut self) -> &mut Option<Session> {
        &mut self.held
    }
}

impl Drop for Control<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            drop(self.held.take());
        }
    }
}

/// What a server says of one of the deployment's replication slots.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SlotSeen {
    /// The side whose log it reads.
    pub from: Side,
    /// Whether a runner reads from it now.
    pub active: bool,
    /// How much of the log is not yet durable at the other end. Unit: bytes. `None` if the server does not say.
    pub behind: Option<u64>,
}

/// The runner's clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl PostgresEngine {
    /// An engine that is not connected yet.
    pub fn new(plan: Arc<Plan>, deployment: DeploymentId, blue: ConnInfo, green: ConnInfo) -> PostgresEngine {
        PostgresEngine::over(Ends::new(plan, deployment, blue, green), None)
    }

    /// The engine of a cohort's member; `None` if it is none of its members.
    pub fn of_member(cohort: &Arc<Cohort>, deployment: &DeploymentId) -> Option<PostgresEngine> {
        let place = cohort.place(deployment)?;
        Some(PostgresEngine::over(cohort.member(place).clone(), Some((Arc::clone(cohort), place))))
    }

    fn over(ends: Ends, cohort: Option<(Arc<Cohort>, usize)>) -> PostgresEngine {
        let shared = Arc::new(Shared::default());
        PostgresEngine {
            ends,
            cohort,
            switches: AtomicBool::new(false),
            changed: Mutex::new(shared.subscribe()),
            shared,
            control: [Mutex::default(), Mutex::default()],
            prover: Mutex::default(),
            streams: Mutex::default(),
            copying: Arc::default(),
            comparing: Arc::default(),
        }
    }

    /// The same engine, for those who only look or compare: the servers themselves refuse its writes.
    #[must_use]
    pub fn reading_only(mut self) -> PostgresEngine {
        self.ends = self.ends.clone().reading_only();
        self
    }

    /// How far the copy is.
    pub fn copy_progress(&self) -> Arc<CopyProgress> {
        Arc::clone(&self.copying)
    }

    /// How far the comparison is.
    pub fn verify_progress(&self) -> Arc<VerifyProgress> {
        Arc::clone(&self.comparing)
    }

    /// Compares both sides once, outside any deployment's course: nothing is counted and nothing recorded.
    pub async fn compare(&self, d: &Deployment) -> Result<Certificate, EngineError> {
        Verifier::new(&self.ends, &self.shared, d.home, d.home, Arc::clone(&self.comparing))
            .await?
            .full()
            .await
    }

    /// What both servers say of the deployment's slots, whoever reads from them. A slot that is not there is left
    /// out.
    ///
    /// # Errors
    ///
    /// As [`Engine::look`].
    pub async fn slots(&self) -> Result<Vec<SlotSeen>, EngineError> {
        let mut seen = Vec::new();
        for from in [Side::Blue, Side::Green] {
            let control = self.control(from).await?;
            let client = control.as_ref().expect("control connects");
            let row = client
                .query_opt(
                    "SELECT active, pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint \
                     FROM pg_replication_slots WHERE slot_name = $1",
                    &[&self.ends.slot(from)],
                )
                .await
                .map_err(on(self.ends.database(from), "looking at a slot"))?;
            seen.extend(row.map(|row| SlotSeen {
                from,
                active: row.get(0),
                behind: row.get::<_, Option<i64>>(1).and_then(|n| u64::try_from(n).ok()),
            }));
        }
        Ok(seen)
    }

    /// What is parked on either side: rows of the other one that could not be stored, for now or for good.
    ///
    /// # Errors
    ///
    /// As [`Engine::look`].
    pub async fn parked(&self) -> Result<Vec<KeptBack>, EngineError> {
        let mut all = Vec::new();
        for from in [Side::Blue, Side::Green] {
            let control = self.control(from.other()).await?;
            let client = control.as_ref().expect("control connects");
            let row = client
                .query_one("SELECT to_regclass('replat.parked') IS NOT NULL", &[])
                .await
                .map_err(on(self.ends.database(from.other()), "looking for parked keys"))?;
            if row.get(0) {
                all.extend(parked::seen(&self.ends, client, from).await?);
            }
        }
        Ok(all)
    }

    /// A connection for short statements, kept open.
    async fn control(&self, side: Side) -> Result<Control<'_>, EngineError> {
        let mut held = self.control[usize::from(side == Side::Green)].lock().await;
        if held.as_ref().is_none_or(|session| session.is_closed()) {
            *held = Some(self.ends.connect(side, "control").await?);
        }
        let is_kept = self.cohort.is_none() || self.switches.load(Ordering::Relaxed);
        Ok(Control { held, is_kept })
    }

    /// A switch begins, or is over: then what was kept open for it goes back to the other members.
    async fn switching(&self, begins: bool) {
        if self.cohort.is_none() {
            return;
        }
        self.switches.store(begins, Ordering::Relaxed);
        if !begins {
            self.prover.lock().await.take();
            for control in &self.control {
                control.lock().await.take();
            }
        }
    }

    async fn look_now(&self, d: &Deployment) -> Result<Observation, EngineError> {
        let mut seen = Observation { now: now(), ..Observation::default() };
        if !d.prepared || d.plan.path.shares_rows() {
            return Ok(seen);
        }
        if let Some((cohort, _)) = &self.cohort
            && d.attempt.is_none()
            && d.settled
        {
            return self.look_together(d, cohort, seen).await;
        }
        if d.attempt.is_some() {
            // Clients are held: only the home's fence is worth a round trip, and only once it must be open again.
            if d.attempt.as_ref().is_some_and(|a| a.given_up.is_some()) {
                let home = self.look_at(d, d.home, false).await?;
                *side_mut(&mut seen, d.home) = home;
            }
        } else {
            let (blue, green) =
                try_join(self.look_at(d, Side::Blue, true), self.look_at(d, Side::Green, true)).await?;
            (seen.blue, seen.green) = (blue, green);
            // Right after a switch clients wait for the new home to open, and for nothing else.
            // Once its end was asked for, the tables that they are kept in may be gone already.
            let ends = d.finish_asked || d.abort_asked.is_some();
            if d.forward_slot.is_some() && !ends {
                self.is_published(Side::Blue).await?;
                if self.ends.plan.has_way_back() {
                    self.is_published(Side::Green).await?;
                }
                try_join(self.has_its_leaves(Side::Blue), self.has_its_leaves(Side::Green)).await?;
            }
            if d.copied.is_some() && d.settled && !ends {
                seen.leaks = Some(self.count_incidents().await?);
            }
        }
        seen.kept_back = self.shared.kept_back(d.home);
        for side in [Side::Blue, Side::Green] {
            let stream = self.stream_seen(d, side, &seen).await?;
            side_mut(&mut seen, side).stream = stream;
        }
        Ok(seen)
    }

    /// The same between switches, where the databases are asked for all members at once.
    async fn look_together(
        &self,
        d: &Deployment,
        cohort: &Cohort,
        mut seen: Observation,
    ) -> Result<Observation, EngineError> {
        let sight = cohort.look().await?;
        let ends = d.finish_asked || d.abort_asked.is_some();
        seen.now = now();
        seen.kept_back = self.shared.kept_back(d.home);
        let mut leaks = 0;
        for side in [Side::Blue, Side::Green] {
            let there = sight.side(side);
            let has_slot = side == Side::Blue || self.ends.plan.has_way_back();
            if d.forward_slot.is_some() && has_slot && !ends && there.published != self.ends.plan.tables.len()
            {
                return Err(self.unpublished(side));
            }
            if d.forward_slot.is_some() && !ends && self.shared.has_leaves(side) {
                self.has_its_leaves(side).await?;
            }
            leaks += there.incidents.get(self.ends.deployment.as_str()).copied().unwrap_or_default();
            let settled = d.forward_slot.filter(|_| side == Side::Blue && d.copied.is_none());
            let fence = there.fences.get(d.plan.partition.as_str()).copied();
            *side_mut(&mut seen, side) = SideSeen {
                fence: Some(fence),
                settled: settled.map(|slot| there.oldest >= slot.xid_horizon),
                stream: self.standing(side, (side == d.home).then_some(there.end)),
            };
        }
        if d.copied.is_some() && !ends {
            seen.leaks = Some(leaks);
        }
        Ok(seen)
    }

    /// What the stream from `side` has done; how far it is behind if it is known where the log ends.
    fn standing(&self, side: Side, end: Option<Lsn>) -> Option<StreamSeen> {
        let standing = self.shared.standing(side)?;
        Some(StreamSeen {
            through: standing.through,
            lag: end.map(|end| end.since(standing.through).unwrap_or(0)),
            barrier: (standing.barrier > 0).then_some(standing.barrier),
            parked: standing.parked,
            unproved: self.shared.unproved(side),
        })
    }

    async fn look_at(&self, d: &Deployment, side: Side, settled_too: bool) -> Result<SideSeen, EngineError> {
        let control = self.control(side).await?;
        let client = control.as_ref().expect("control connects");
        let database = self.ends.database(side);
        let fence = guard::read(client, &d.plan, side).await?;
        let mut seen = SideSeen { fence: Some(fence), ..SideSeen::default() };
        if let Some(slot) = d.forward_slot.filter(|_| settled_too && side == Side::Blue && d.copied.is_none())
        {
            seen.settled = Some(prepare::is_settled(client, database, slot.xid_horizon).await?);
        }
        Ok(seen)
    }

    /// Whether the publication still has all tables. What is not in it, the stream passes over in silence; from
    /// PostgreSQL 18 on, so it does if there is no publication at all.
    async fn is_published(&self, side: Side) -> Result<(), EngineError> {
        let (database, name) = (self.ends.database(side), self.ends.publication(side));
        let control = self.control(side).await?;
        let client = control.as_ref().expect("control connects");
        let row = client
            .query_one(
                "SELECT count(*) FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid \
                 WHERE p.pubname = $1 AND p.pubinsert AND p.pubupdate AND p.pubdelete",
                &[&name],
            )
            .await
            .map_err(on(database, "looking at the publication"))?;
        let names: BTreeSet<&str> =
            self.ends.plan.tables.iter().map(|table| table.shape(side).name.as_str()).collect();
        if usize::try_from(row.get::<_, i64>(0)).ok() == Some(names.len()) {
            return Ok(());
        }
        Err(self.unpublished(side))
    }

    fn unpublished(&self, side: Side) -> EngineError {
        let (database, name) = (self.ends.database(side), self.ends.publication(side));
        EngineError::Precondition {
            what: format!(
                "the publication {name} on {database} is gone, or was altered: changes may be lost"
            ),
            remedy:
                "Give the deployment up and begin it again; to restore the publication does not bring back \
                     what it has passed over."
                    .to_owned(),
        }
    }

    /// Whether all leaves are there that were there. Where one has come or gone, what was compared is forgotten, and the
    /// stream begins to read anew.
    async fn has_its_leaves(&self, side: Side) -> Result<(), EngineError> {
        let mut reads_old_trees = false;
        let detached = {
            let control = self.control(side).await?;
            let client = control.as_ref().expect("control connects");
            if self.shared.has_leaves(side) {
                let trees = leaves::trees(client, &self.ends.plan, side).await?;
                reads_old_trees = self.shared.see_trees(side, &trees);
            }
            leaves::none_detached(client, &self.ends.plan, self.ends.deployment.as_str(), side).await
        };
        if reads_old_trees {
            // PostgreSQL 14 remembers of a table that it is not published, also when it becomes a leaf of one that is.
            // Whoever begins to read anew asks anew.
            self.stop_stream(side).await;
        }
        detached
    }

    async fn stream_seen(
        &self,
        d: &Deployment,
        side: Side,
        seen: &Observation,
    ) -> Result<Option<StreamSeen>, EngineError> {
        if self.shared.standing(side).is_none() {
            return Ok(None);
        }
        let mut end = None;
        // The lag matters before an attempt; within one only the barrier does.
        if d.attempt.is_none() && d.settled && side == d.home && seen.side(side).fence.is_some() {
            let control = self.control(side).await?;
            let client = control.as_ref().expect("control connects");
            end = Some(guard::current_lsn(client, self.ends.database(side)).await?);
        }
        Ok(self.standing(side, end))
    }

    async fn count_incidents(&self) -> Result<u64, EngineError> {
        let mut rows = 0;
        for side in [Side::Blue, Side::Green] {
            let control = self.control(side).await?;
            let client = control.as_ref().expect("control connects");
            let row = client
                .query_one(
                    "SELECT count(*) FROM replat.incident WHERE deployment = $1 AND source = $2",
                    &[&self.ends.deployment.as_str(), &crate::apply::side_text(side.other())],
                )
                .await
                .map_err(on(self.ends.database(side), "counting incidents"))?;
            rows += u64::try_from(row.get::<_, i64>(0)).unwrap_or_default();
        }
        Ok(rows)
    }

    /// The same for a member of a cohort, when it is its turn; `None` if it does that as it would alone.
    async fn act_together(
        &self,
        d: &Deployment,
        action: &Action,
        (cohort, place): (&Cohort, usize),
    ) -> Result<Option<Evidence>, EngineError> {
        let done = match action {
            Action::Prepare => {
                cohort.prepare(d.policy.lock_timeout.millis()).await?;
                Evidence::Done
            }
            Action::OpenSlot { side } => {
                let (at, xid_horizon) = cohort.open_slot(place, *side).await?;
                Evidence::Slot { at, xid_horizon }
            }
            Action::PlanCopy => match cohort.plan_copy(place, d.policy.chunk_rows).await {
                Ok(chunks) => Evidence::Chunks(chunks),
                Err(error) => {
                    cohort.failed(place, &error).await?;
                    return Err(error);
                }
            },
            Action::Copy { chunks } => {
                cohort.copy_small(place, chunks).await?;
                let _room = cohort.room().await;
                match self.copy(d, chunks).await {
                    Ok(evidence) => evidence,
                    Err(error) => {
                        cohort.failed(place, &error).await?;
                        return Err(error);
                    }
                }
            }
            Action::BuildIndexes => {
                cohort.build_indexes(place).await?;
                let _room = cohort.room().await;
                self.give_room(d).await?;
                Evidence::Done
            }
            Action::Follow { from } if !cohort.is_apart(place, *from).await? => {
                self.follow_together(*from, cohort, place).await?;
                Evidence::Done
            }
            _ => return Ok(None),
        };
        Ok(Some(done))
    }

    async fn act_now(&self, d: &Deployment, action: &Action, token: Token) -> Result<Evidence, EngineError> {
        let Some((cohort, place)) = &self.cohort else {
            return self.act_alone(d, action, token).await;
        };
        if let Some(done) = self.act_together(d, action, (cohort, *place)).await? {
            return Ok(done);
        }
        // Whoever switches had to wait for its turn before, and is not to wait any more.
        let is_urgent = d.attempt.is_some() || !d.settled || matches!(action, Action::Follow { .. });
        let _room = match is_urgent {
            true => None,
            false => cohort.room().await,
        };
        if matches!(action, Action::Retire | Action::Clean) {
            cohort.leave(*place);
        }
        if matches!(action, Action::Fence { .. }) {
            self.switching(true).await;
        }
        let done = self.act_alone(d, action, token).await;
        let is_over = match action {
            Action::Open { .. } => true,
            Action::Fence { .. } => !matches!(done, Ok(Evidence::Fenced { .. })),
            _ => false,
        };
        if is_over || d.attempt.is_none() && d.settled {
            self.switching(false).await;
        }
        done
    }

    async fn act_alone(
        &self,
        d: &Deployment,
        action: &Action,
        token: Token,
    ) -> Result<Evidence, EngineError> {
        let ends = &self.ends;
        let lock_timeout = d.policy.lock_timeout.millis();
        if let Path::Views { views } = &ends.plan.path {
            match action {
                Action::Prepare => {
                    return views::prepare(ends, views, lock_timeout).await.map(|()| Evidence::Done);
                }
                Action::Prove { from, .. } => {
                    return views::prove(ends, views, from.other()).await.map(Evidence::Compared);
                }
                // The views are what green is; there is nothing beside them.
                Action::Retire => return Ok(Evidence::Done),
                Action::Clean => return views::clean(ends, lock_timeout).await.map(|()| Evidence::Done),
                _ => {}
            }
        }
        match action {
            Action::Prepare => prepare::prepare(ends, token, lock_timeout).await.map(|()| Evidence::Done),
            Action::OpenSlot { side } => {
                let (at, xid_horizon) = prepare::open_slot(ends, *side, &[ends.deployment.as_str()]).await?;
                Ok(Evidence::Slot { at, xid_horizon })
            }
            Action::PlanCopy => {
                let (blue, green) =
                    try_join(ends.connect(Side::Blue, "plan"), ends.connect(Side::Green, "plan")).await?;
                copy::plan_chunks(&blue, &green, &ends.plan, d.policy.chunk_rows).await.map(Evidence::Chunks)
            }
            Action::Copy { chunks } => self.copy(d, chunks).await,
            Action::BuildIndexes => {
                prepare::build_indexes(ends, lock_timeout).await?;
                self.give_room(d).await?;
                Ok(Evidence::Done)
            }
            Action::Follow { from } => self.follow(*from).await,
            Action::CopyParked { from } => {
                let told = d.kept_back.as_ref().is_some_and(|kept| kept.from == *from);
                parked::copy_parked(ends, *from, &self.shared, told).await.map(|()| Evidence::Done)
            }
            Action::Verify { from, scope } => self.verify(d, *from, *scope).await,
            Action::AskContracts => contracts::ask(ends).await.map(Evidence::Contracts),
            Action::Fence { side, attempt, epoch } => self.fence(d, *side, *attempt, *epoch, token).await,
            Action::Prove { from, .. } => self.prove(d, *from).await,
            Action::Open { side, epoch } => {
                let mut control = self.control(*side).await?;
                let client = control.as_mut().expect("control connects");
                guard::open(client, &ends.plan, *side, token, *epoch).await.map(|()| Evidence::Done)
            }
            Action::Seal { side, epoch } => {
                let mut control = self.control(*side).await?;
                let client = control.as_mut().expect("control connects");
                guard::seal(client, &ends.plan, *side, token, *epoch).await.map(|()| Evidence::Done)
            }
            Action::HandOver { to, epoch } => {
                let mut control = self.control(*to).await?;
                let client = control.as_mut().expect("control connects");
                guard::hand_over(client, &ends.plan, *to, token, *epoch).await.map(|()| Evidence::Done)
            }
            Action::Retire => {
                self.stop_streams().await;
                retire::retire(ends, lock_timeout).await.map(|()| Evidence::Done)
            }
            Action::DropCopy => retire::drop_copy(ends).await.map(|()| Evidence::Done),
            Action::Clean => {
                self.stop_streams().await;
                retire::clean(ends, lock_timeout).await.map(|()| Evidence::Done)
            }
        }
    }

    async fn copy(&self, d: &Deployment, chunks: &[Chunk]) -> Result<Evidence, EngineError> {
        let ends = &self.ends;
        let id = ends.deployment.as_str();
        let green = ends.connect(Side::Green, "copy").await?;
        let (done, rows, bytes) = copy::chunks_done(&green, &ends.plan, id).await?;
        self.copying.chunks_total.store(chunks.len() as u64, Ordering::Relaxed);
        self.copying.chunks.store(done.len() as u64, Ordering::Relaxed);
        self.copying.rows.store(rows, Ordering::Relaxed);
        self.copying.bytes.store(bytes, Ordering::Relaxed);
        let todo: Vec<usize> = (0..chunks.len()).filter(|n| !done.contains(n)).collect();
        // The lanes of a cohort are its members.
        let lanes_max = if self.cohort.is_some() { 1 } else { d.policy.copy_parallel.max(1) as usize };
        let mut lanes = Vec::new();
        for _ in 0..lanes_max.min(todo.len()) {
            let (blue, green) =
                try_join(ends.connect(Side::Blue, "copy"), ends.connect_to_write(Side::Green, "copy"))
                    .await?;
            lanes.push(Lane { blue, green });
        }
        copy::copy_all(lanes, &ends.plan, id, chunks, todo, &self.copying).await?;
        let (_, rows, bytes) = copy::chunks_done(&green, &ends.plan, id).await?;
        let control = self.control(Side::Blue).await?;
        let client = control.as_ref().expect("control connects");
        let at = guard::current_lsn(client, ends.database(Side::Blue)).await?;
        Ok(Evidence::Copied { at, rows, bytes })
    }

    async fn give_room(&self, d: &Deployment) -> Result<(), EngineError> {
        if self.ends.plan.sequences.is_empty() {
            return Ok(());
        }
        let blue = self.control(Side::Blue).await?;
        let green = self.control(Side::Green).await?;
        let (blue, green) = (blue.as_ref().expect("connected"), green.as_ref().expect("connected"));
        sequences::give_room(&self.ends, blue, green, d.policy.sequence_room).await
    }

    /// Starts the stream unless it runs. If it broke for a reason that needs a person, that is said first.
    async fn follow(&self, from: Side) -> Result<Evidence, EngineError> {
        let mut streams = self.streams.lock().await;
        let slot = &mut streams[usize::from(from == Side::Green)];
        if slot.as_ref().is_some_and(|s| !s.is_finished()) {
            self.wait_for_start(from).await;
            return Ok(Evidence::Done);
        }
        if let Some(error) = self.shared.take_error(from)
            && error.verdict() == Verdict::AskAPerson
        {
            return Err(error);
        }
        {
            let control = self.control(from).await?;
            let client = control.as_ref().expect("control connects");
            self.shared.begin_reading(from, leaves::trees(client, &self.ends.plan, from).await?);
        }
        let span = tracing::info_span!(
            parent: None,
            "stream",
            deployment = %self.ends.deployment,
            partition = %self.ends.plan.partition,
            %from
        );
        let stream = follow(self.ends.clone(), from, Arc::clone(&self.shared));
        *slot = Some(tokio::spawn(stream.instrument(span)));
        self.wait_for_start(from).await;
        match self.shared.take_error(from) {
            Some(error) => Err(error),
            None => Ok(Evidence::Done),
        }
    }

    /// Joins the stream of all members, unless it has. If it broke for a reason that needs a person, that is said first.
    async fn follow_together(&self, from: Side, cohort: &Cohort, place: usize) -> Result<(), EngineError> {
        if self.shared.standing(from).is_some() {
            return Ok(());
        }
        if let Some(error) = self.shared.take_error(from)
            && error.verdict() == Verdict::AskAPerson
        {
            return Err(error);
        }
        cohort.join(place, from, &self.shared);
        self.wait_for_start(from).await;
        match self.shared.take_error(from) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Until the stream stands or has failed; a slot's backlog can take a while to be decoded.
    async fn wait_for_start(&self, from: Side) {
        let mut changed = self.shared.subscribe();
        let started = async {
            while self.shared.standing(from).is_none() && !self.shared.has_error(from) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        drop(tokio::time::timeout(Duration::from_secs(10), started).await);
    }

    async fn stop_streams(&self) {
        for side in [Side::Blue, Side::Green] {
            self.stop_stream(side).await;
        }
    }

    async fn stop_stream(&self, from: Side) {
        if let Some(stream) = self.streams.lock().await[usize::from(from == Side::Green)].take() {
            stream.abort();
            // It was told to end; that it did, however, is all that matters.
            drop(stream.await);
        }
        self.shared.stopped(from);
    }

    async fn verify(&self, d: &Deployment, from: Side, scope: Scope) -> Result<Evidence, EngineError> {
        self.comparing.rows.store(0, Ordering::Relaxed);
        let verifier =
            Verifier::new(&self.ends, &self.shared, from, d.home, Arc::clone(&self.comparing)).await?;
        let certificate = match scope {
            Scope::Full => {
                // Leaves that have come since are guarded before they are compared.
                prepare::guard_anew(&self.ends, d.policy.lock_timeout.millis()).await?;
                verifier.full().await?
            }
            Scope::Touched => verifier.touched().await?,
        };
        // A comparison of what was touched proves nothing of the rest, but can show that something is wrong.
        if scope == Scope::Full || certificate.different > 0 {
            freshness::compared(&self.ends, from, certificate.different == 0).await?;
        }
        // A member of a cohort has no connections to keep until its switch.
        *self.prover.lock().await = self.cohort.is_none().then_some(verifier);
        Ok(Evidence::Compared(certificate))
    }

    async fn fence(
        &self,
        d: &Deployment,
        side: Side,
        attempt: u32,
        epoch: Epoch,
        token: Token,
    ) -> Result<Evidence, EngineError> {
        // Everything that takes time and can be done before the pause is done before it: both connections of the
        // proof, and one run of it, after which the servers have its statements planned and its pages at hand.
        let mut prover = self.prover.lock().await;
        if prover.as_ref().is_none_or(|p| p.from() != side || p.is_closed()) {
            let fresh =
                Verifier::new(&self.ends, &self.shared, side, side, Arc::clone(&self.comparing)).await?;
            *prover = Some(fresh);
        }
        prover.as_ref().expect("just made").shrink().await?;
        drop(self.control(side.other()).await?);
        let mut control = self.control(side).await?;
        let client = control.as_mut().expect("control connects");
        let since = now();
        let timeout = d.policy.fence_timeout.millis();
        match guard::close(client, &self.ends.plan, side, token, epoch, attempt, timeout).await? {
            Closing::Stands(at) => Ok(Evidence::Fenced { at, since }),
            Closing::Blocked(why) => Ok(Evidence::NotNow { why }),
        }
    }

    /// Bounded by what is left of the pause: a proof that takes longer is no proof.
    async fn prove(&self, d: &Deployment, from: Side) -> Result<Evidence, EngineError> {
        let since = d.attempt.as_ref().and_then(|a| a.fence).map_or_else(now, |f| f.since);
        let left = d.policy.pause_max.millis().saturating_sub(now().since(since));
        let proving = async {
            if self.shared.standing(from).is_none_or(|s| s.parked > 0) {
                return Ok(Evidence::NotNow { why: "some rows could not be applied".into() });
            }
            let prover = self.prover.lock().await;
            let Some(prover) = prover.as_ref().filter(|p| p.from() == from) else {
                return Ok(Evidence::NotNow { why: "this runner has not compared the sides".into() });
            };
            let room = async {
                match from {
                    Side::Blue => self.give_room(d).await,
                    Side::Green => Ok(()),
                }
            };
            // A failover may have forgotten the fence since it was closed.
            let stands = async {
                let control = self.control(from).await?;
                let client = control.as_ref().expect("control connects");
                let fence = guard::read(client, &d.plan, from).await?;
                Ok(fence.is_some_and(|f| !f.open && f.epoch == d.epoch))
            };
            prover.look_at_trees().await?;
            if self.shared.unproved(from).is_none() {
                return Ok(Evidence::NotNow {
                    why: "leaves have come or gone since the sides were compared".into(),
                });
            }
            let (proof, stands) = try_join(prover.prove(), stands).await?;
            room.await?;
            if !stands {
                return Ok(Evidence::NotNow { why: "the fence does not stand any more".into() });
            }
            if proof.different > 0 {
                // Not to be tried again before everything was compared anew.
                self.shared.distrust(from);
            }
            Ok(Evidence::Compared(proof))
        };
        match tokio::time::timeout(Duration::from_millis(left), proving).await {
            Ok(evidence) => evidence,
            Err(_) => Ok(Evidence::NotNow { why: "the proof took longer than the pause may".into() }),
        }
    }
}

fn side_mut(seen: &mut Observation, side: Side) -> &mut SideSeen {
    match side {
        Side::Blue => &mut seen.blue,
        Side::Green => &mut seen.green,
    }
}

impl Engine for PostgresEngine {
    fn look<'a>(&'a self, d: &'a Deployment) -> Soon<'a, Observation> {
        Box::pin(self.look_now(d))
    }

    fn act<'a>(&'a self, d: &'a Deployment, action: &'a Action, token: Token) -> Soon<'a, Evidence> {
        Box::pin(self.act_now(d, action, token))
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let mut changed = self.changed.lock().await;
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

impl Drop for PostgresEngine {
    fn drop(&mut self) {
        for stream in self.streams.get_mut().iter().flatten() {
            stream.abort();
        }
    }
}
