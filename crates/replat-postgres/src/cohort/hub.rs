//! One stream for all members of a cohort, in one direction: one slot, one connection that reads it, one decoder.
//!
//! Each change is looked up by its key and handed to the member that it is of. What is done with it then is the
//! member's own affair: its position, its barrier, its transactions. The slot is confirmed only up to where the last of
//! all members is, those included that do not follow yet.
//!
//! A member that comes later is further back in the log than the others, so reading begins anew from there; what the
//! others have already had is passed over. While somebody switches, nothing begins anew.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use replat_engine::{BoxError, EngineError, Verdict};
use replat_model::ids::{Lsn, Side};
use replat_wire::pgoutput::Message;
use replat_wire::stream::Frame;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Common, again};
use crate::apply::{Batch, Lane, Position, side_text};
use crate::changes::{Change, Changes, Entry, Part};
use crate::error::on;
use crate::follow::{Gather, Shared, decode, touched_by};
use crate::guard;
use crate::pool::Session;
use crate::replication::ReplicationConnection;

/// Members whose changes are applied at the same time.
const LANES: usize = 2;

/// Changes that were read and are not applied yet; more are not read.
const PENDING_MAX: usize = 60_000;

/// Or this many bytes of them.
const PENDING_BYTES_MAX: usize = 64 << 20;

/// How often it is recorded where the members are for which there was nothing.
const RECORD_EVERY: Duration = Duration::from_millis(500);

/// How often members for which there was nothing are told how far the log was read.
const PASS_EVERY: Duration = Duration::from_millis(50);

/// Reading begins anew no more often than this, so that many who come one after the other begin together.
const RENEW_EVERY: Duration = Duration::from_millis(800);

/// The server drops a silent reader after `wal_sender_timeout`.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// How long a reader that has just ended may still hold the slot.
const SLOT_FREE_WITHIN: Duration = Duration::from_secs(5);

/// Those who want to be served, by their place in the cohort.
#[derive(Default)]
struct Wants {
    members: Mutex<BTreeMap<usize, Arc<Shared>>>,
    news: Notify,
}

impl Wants {
    fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<usize, Arc<Shared>>) -> T) -> T {
        change(&mut self.members.lock().expect("no holder of the lock panics"))
    }
}

/// The stream of a cohort from one side.
pub(crate) struct Hub {
    from: Side,
    wants: Arc<Wants>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Hub {
    pub(crate) fn new(from: Side) -> Hub {
        Hub { from, wants: Arc::default(), task: Mutex::default() }
    }

    /// From now on, what is written on this side is brought to the other side for `member`, until it leaves or fails;
    /// `shared` tells which.
    pub(crate) fn join(&self, common: &Arc<Common>, member: usize, shared: &Arc<Shared>) {
        self.wants.with(|wants| wants.insert(member, Arc::clone(shared)));
        self.wants.news.notify_one();
        let mut task = self.task.lock().expect("no holder of the lock panics");
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            *task = Some(tokio::spawn(tend(Arc::clone(common), self.from, Arc::clone(&self.wants))));
        }
    }

    /// Nothing more is done for `member`.
    pub(crate) fn leave(&self, member: usize) {
        self.wants.with(|wants| wants.remove(&member));
        self.wants.news.notify_one();
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Ok(mut task) = self.task.lock()
            && let Some(task) = task.take()
        {
            task.abort();
        }
    }
}

/// Serves whoever wants it, for as long as the cohort's runner lives.
async fn tend(common: Arc<Common>, from: Side, wants: Arc<Wants>) {
    let mut calm = None;
    loop {
        if wants.with(|wants| wants.is_empty()) {
            wants.news.notified().await;
            continue;
        }
        match Reading::begin(&common, from, &wants, calm.take()).await {
            Ok(mut reading) => match reading.run().await {
                Ok(renewal) => calm = renewal,
                Err(error) => fail(&common, from, &wants, &error),
            },
            Err(error) => fail(&common, from, &wants, &error),
        }
    }
}

/// What stops all stops each of them; each of them comes again.
fn fail(common: &Common, from: Side, wants: &Wants, error: &EngineError) {
    tracing::info!(cohort = common.label, %from, %error, "the cohort's stream ended");
    for shared in std::mem::take(&mut *wants.members.lock().expect("no holder of the lock panics")).values() {
        shared.ended(from, Some(again(error)));
    }
}

/// A member that is served.
struct Served {
    member: usize,
    shared: Arc<Shared>,
    gather: Gather,
    /// What the other end knows of its position.
    recorded: Position,
    /// Transactions that were committed before are there already.
    start: Lsn,
    /// Whether something of it is under way at the other end.
    busy: bool,
    /// Whether it waits for a lane.
    queued: bool,
    gone: bool,
}

impl Served {
    fn has_turn(&self) -> bool {
        !self.busy
            && !self.gone
            && self.gather.has_work()
            && (!self.gather.in_transaction || self.gather.is_full())
    }

    fn is_idle(&self) -> bool {
        !self.busy && !self.gone && !self.gather.has_work() && !self.gather.in_transaction
    }
}

/// What came of something at the other end.
enum Done {
    Applied { lane: Lane, place: usize, batch: Size, came: Result<(Position, u64), EngineError> },
    Recorded { session: Session, at: Lsn, asked: Vec<usize>, came: Result<Recorded, EngineError> },
}

/// What was pending.
#[derive(Clone, Copy, Default)]
struct Size {
    changes: usize,
    bytes: usize,
}

/// Positions that were recorded.
struct Recorded {
    deployments: Vec<String>,
    /// Where the last of all members is, of those who read this slot.
    least: Option<Lsn>,
}

type Doing = Pin<Box<dyn Future<Output = Done> + Send>>;

/// One reading of the slot, from where the last of those who are served is.
struct Reading<'a> {
    common: &'a Arc<Common>,
    from: Side,
    wants: &'a Wants,
    served: Vec<Served>,
    log: crate::replication::ReplicationStream,
    changes: Changes<'a>,
    doing: FuturesUnordered<Doing>,
    lanes: Vec<Lane>,
    /// The connection that records positions, unless it does just now.
    recorder: Option<Session>,
    ready: VecDeque<usize>,
    pending: Size,
    /// Everything before it was read.
    passed: Lsn,
    /// The commit of the transaction that is being read.
    committing: Option<Lsn>,
    /// Those whose rows it has.
    concerned: Vec<usize>,
    confirmed: Lsn,
    begun: Instant,
}

impl<'a> Reading<'a> {
    async fn begin(
        common: &'a Arc<Common>,
        from: Side,
        wants: &'a Wants,
        calm: Option<OwnedSemaphorePermit>,
    ) -> Result<Reading<'a>, EngineError> {
        let ends = &common.members[0].ends;
        let recorder = ends.connect(from.other(), "log").await?;
        let wanted = wants.with(|wants| wants.clone());
        let known = known(common, &recorder, from).await?;
        let confirmed = confirmed(common, from).await?;
        let mut served = Vec::new();
        let mut parts = Vec::new();
        for (member, shared) in wanted {
            let ends = &common.members[member].ends;
            let lost = || {
                let (database, slot) = (ends.database(from).to_owned(), ends.slot(from));
                Err(EngineError::SlotLost { database, slot })
            };
            let found = match known.get(ends.deployment.as_str()) {
                None => Err(EngineError::Precondition {
                    what: format!(
                        "{} does not know where the stream from {from} stands",
                        ends.database(from.other())
                    ),
                    remedy: "Abort the deployment and start it again.".into(),
                }),
                Some(known) if known.position.at < confirmed => lost(),
                Some(known) => Ok(known),
            };
            match found {
                Ok(Known { position, parked, secret }) => {
                    shared.begins(from, *position, *parked);
                    parts.push(Part::of(&ends.plan, ends.deployment.as_str(), secret.clone()));
                    served.push(Served {
                        member,
                        shared,
                        gather: Gather::new(*position),
                        recorded: *position,
                        start: position.at,
                        busy: false,
                        queued: false,
                        gone: false,
                    });
                }
                Err(error) => {
                    wants.with(|wants| wants.remove(&member));
                    shared.ended(from, Some(error));
                }
            }
        }
        let start = served.iter().map(|one| one.start).min().unwrap_or(confirmed);
        let log = read_from(common, from, start).await?;
        let mut lanes = Vec::new();
        for _ in 0..LANES {
            lanes.push(Lane::new(ends.connect_to_write(from.other(), "apply").await?));
        }
        drop(calm);
        Ok(Reading {
            common,
            from,
            wants,
            served,
            log,
            changes: Changes::new(&ends.plan, from, parts),
            doing: FuturesUnordered::new(),
            lanes,
            recorder: Some(recorder),
            ready: VecDeque::new(),
            pending: Size::default(),
            passed: start,
            committing: None,
            concerned: Vec::new(),
            confirmed,
            begun: Instant::now(),
        })
    }

    fn broke(&self) -> impl Fn(BoxError) -> EngineError + use<> {
        let database = self.common.members[0].ends.database(self.from).to_owned();
        move |source| EngineError::Unreachable {
            database: database.clone(),
            during: "reading its log".into(),
            source,
        }
    }

    /// Reads until reading must begin anew; then nobody switches, for as long as what is returned is kept.
    async fn run(&mut self) -> Result<Option<OwnedSemaphorePermit>, EngineError> {
        let broke = self.broke();
        let mut status = tokio::time::interval(STATUS_EVERY);
        let mut record = tokio::time::interval(RECORD_EVERY);
        let mut pass = tokio::time::interval(PASS_EVERY);
        let mut is_asked = self.hears();
        // Kept while it waits, so that it gets its turn among those who switch.
        let mut calm: Option<Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>> = None;
        loop {
            let has_room = self.pending.changes < PENDING_MAX && self.pending.bytes < PENDING_BYTES_MAX;
            if is_asked && calm.is_none() && self.begun.elapsed() >= RENEW_EVERY {
                calm = Some(Box::pin(self.common.calm()));
            }
            tokio::select! {
                frame = self.log.next(), if has_room => {
                    match frame.map_err(|e| broke(Box::new(e)))? {
                        Frame::XLogData(data) => {
                            let database = self.common.members[0].ends.database(self.from);
                            let message = decode(database, data.data)?;
                            self.take(data.start, message)?;
                        }
                        Frame::Keepalive(keepalive) => {
                            if self.committing.is_none() {
                                self.passed = self.passed.max(keepalive.wal_end);
                            }
                            if keepalive.reply_requested {
                                self.report().await?;
                            }
                        }
                    }
                }
                Some(done) = self.doing.next(), if !self.doing.is_empty() => self.hear(done).await?,
                // Somebody who switches needs this stream until then.
                calm = async { calm.as_mut().expect("it is waited for").await }, if calm.is_some() => {
                    while let Some(done) = self.doing.next().await {
                        self.hear(done).await?;
                    }
                    return Ok(calm);
                }
                () = self.wants.news.notified() => is_asked = self.hears(),
                _ = record.tick() => self.record(),
                _ = pass.tick() => self.pass(),
                _ = status.tick() => self.report().await?,
            }
            self.work();
        }
    }

    /// Lets those go who want nothing more. Whether somebody wants to be served who is not.
    fn hears(&mut self) -> bool {
        let wanted = self.wants.with(|wants| wants.clone());
        for one in &mut self.served {
            if !one.gone && !wanted.contains_key(&one.member) {
                one.gone = true;
                let left = one.gather.cut();
                self.pending.changes -= left.changes.len() + left.incidents.len();
            }
        }
        let is_served = |member: usize| self.served.iter().any(|one| one.member == member && !one.gone);
        wanted.keys().any(|member| !is_served(*member)) || wanted.is_empty()
    }

    fn take(&mut self, at: Lsn, message: Message) -> Result<(), EngineError> {
        match &message {
            Message::Begin(begin) => self.committing = Some(begin.final_lsn),
            Message::Commit(commit) => {
                self.committing = None;
                self.passed = self.passed.max(commit.end_lsn);
                for place in std::mem::take(&mut self.concerned) {
                    self.served[place].gather.push(Entry::Committed(commit.end_lsn));
                    self.queue(place);
                }
                return Ok(());
            }
            _ => {}
        }
        for (place, entry) in self.changes.take_all(at, message)? {
            let one = &mut self.served[place];
            if one.gone || self.committing.is_some_and(|commit| commit < one.start) {
                continue;
            }
            if self.concerned.last() != Some(&place) && !self.concerned.contains(&place) {
                self.concerned.push(place);
            }
            if let Entry::Changed(_, change) = &entry {
                self.pending.changes += 1;
                self.pending.bytes += change.size();
            }
            one.gather.push(entry);
            if one.gather.is_full() {
                self.queue(place);
            }
        }
        Ok(())
    }

    /// Puts a member on the list of those that have something to apply; one that is being closed or opened goes first,
    /// since its clients wait.
    fn queue(&mut self, place: usize) {
        let one = &mut self.served[place];
        if one.queued {
            return;
        }
        one.queued = true;
        match one.gather.is_marked() {
            true => self.ready.push_front(place),
            false => self.ready.push_back(place),
        }
    }

    /// Gives each free lane something to do.
    fn work(&mut self) {
        let mut busy = VecDeque::new();
        while !self.lanes.is_empty() {
            let Some(place) = self.ready.pop_front() else { break };
            let one = &mut self.served[place];
            if one.busy {
                busy.push_back(place);
                continue;
            }
            one.queued = false;
            if !one.has_turn() {
                continue;
            }
            let Some(mut lane) = self.lanes.pop() else { break };
            let batch = one.gather.cut();
            one.busy = true;
            let (ends, shared) = (self.common.members[one.member].ends.clone(), Arc::clone(&one.shared));
            let (from, known) = (self.from, one.recorded);
            let size = size_of(&batch);
            self.doing.push(Box::pin(async move {
                let came = async {
                    // Before the commit: a key must never be on the other side without being on the list.
                    shared.touch(touched_by(&batch)?);
                    lane.apply(&ends.plan, ends.deployment.as_str(), from, known, &batch).await
                };
                let came = came.await;
                Done::Applied { lane, place, batch: size, came }
            }));
        }
        self.ready.append(&mut busy);
    }

    async fn hear(&mut self, done: Done) -> Result<(), EngineError> {
        match done {
            Done::Applied { lane, place, batch, came } => {
                self.pending.changes = self.pending.changes.saturating_sub(batch.changes);
                self.pending.bytes = self.pending.bytes.saturating_sub(batch.bytes);
                let one = &mut self.served[place];
                one.busy = false;
                match came {
                    Ok((recorded, parked)) => {
                        self.lanes.push(lane);
                        one.recorded = recorded;
                        let before = one.shared.standing(self.from).map_or(0, |s| s.parked);
                        let parked = (parked > 0).then_some(before + parked);
                        one.shared.reached(self.from, recorded, recorded, parked);
                        if one.has_turn() {
                            self.queue(place);
                        }
                    }
                    Err(error) => {
                        // The connection may be what failed.
                        drop(lane);
                        self.give_up(place, error).await?;
                        let ends = &self.common.members[0].ends;
                        self.lanes.push(Lane::new(ends.connect_to_write(self.from.other(), "apply").await?));
                    }
                }
            }
            Done::Recorded { session, at, asked, came } => {
                self.recorder = Some(session);
                let came = came?;
                for place in asked {
                    let one = &mut self.served[place];
                    one.busy = false;
                    let name = one.deployment(self.common);
                    if came.deployments.iter().any(|deployment| deployment == name) {
                        one.recorded.at = at;
                        one.gather.pass(at);
                        one.shared.passed(self.from, at, at);
                    }
                    if one.has_turn() {
                        self.queue(place);
                    }
                }
                if let Some(least) = came.least.filter(|least| *least > self.confirmed) {
                    self.confirmed = least;
                    self.report().await?;
                }
            }
        }
        Ok(())
    }

    /// A member whose rows cannot be brought over does not hold the others up. If only a person can help, it gets a slot
    /// of its own, so that the cohort's can go on.
    async fn give_up(&mut self, place: usize, error: EngineError) -> Result<(), EngineError> {
        let one = &mut self.served[place];
        one.gone = true;
        let left = one.gather.cut();
        self.pending.changes = self.pending.changes.saturating_sub(left.changes.len() + left.incidents.len());
        self.wants.with(|wants| wants.remove(&one.member));
        if error.verdict() == Verdict::AskAPerson {
            super::apart::part(self.common, one.member, self.from).await?;
        }
        let deployment = one.deployment(self.common);
        tracing::info!(deployment, from = %self.from, %error, "the member's stream ended");
        one.shared.ended(self.from, Some(error));
        Ok(())
    }

    /// Records how far the log was read for those for whom there was nothing, all of them by one statement.
    fn record(&mut self) {
        let at = match self.committing {
            None => self.passed,
            Some(_) => return,
        };
        let Some(session) = self.recorder.take() else { return };
        let asked: Vec<usize> = (0..self.served.len())
            .filter(|place| self.served[*place].is_idle() && self.served[*place].recorded.at < at)
            .collect();
        let names: Vec<String> =
            asked.iter().map(|place| self.served[*place].deployment(self.common).to_owned()).collect();
        let known: Vec<String> =
            asked.iter().map(|place| self.served[*place].recorded.at.to_string()).collect();
        for place in &asked {
            self.served[*place].busy = true;
        }
        let (common, from) = (Arc::clone(self.common), self.from);
        self.doing.push(Box::pin(async move {
            let came = record(&common, &session, from, &names, &known, at).await;
            Done::Recorded { session, at, asked, came }
        }));
    }

    fn pass(&mut self) {
        if self.committing.is_some() {
            return;
        }
        for one in self.served.iter().filter(|one| one.is_idle()) {
            one.shared.passed(self.from, self.passed, one.recorded.at);
        }
    }

    async fn report(&mut self) -> Result<(), EngineError> {
        let broke = self.broke();
        self.log.status(self.confirmed).await.map_err(|e| broke(Box::new(e)))
    }
}

impl Served {
    fn deployment<'c>(&self, common: &'c Common) -> &'c str {
        common.members[self.member].ends.deployment.as_str()
    }
}

fn size_of(batch: &Batch) -> Size {
    let changes = || batch.changes.iter().chain(batch.incidents.iter().map(|(_, change)| change));
    Size { changes: changes().count(), bytes: changes().map(Change::size).sum() }
}

/// What both ends know of a member's stream.
struct Known {
    position: Position,
    parked: u64,
    secret: String,
}

async fn known(common: &Common, target: &Session, from: Side) -> Result<HashMap<String, Known>, EngineError> {
    let ends = &common.members[0].ends;
    let (database, source) = (ends.database(from.other()), ends.database(from));
    let rows = target
        .query(
            "SELECT s.deployment, s.position::text, s.barrier, s.open, \
               (SELECT count(*) FROM replat.parked p WHERE p.deployment = s.deployment AND p.source = s.source) \
             FROM replat.stream s JOIN replat.cohort c USING (deployment) WHERE c.cohort = $1 AND s.source = $2",
            &[&common.label, &side_text(from)],
        )
        .await
        .map_err(on(database, "reading the streams' positions"))?;
    let session = ends.connect(from, "log").await?;
    let marks = session
        .query(
            "SELECT f.deployment, f.mark FROM replat.fence f JOIN replat.cohort c USING (deployment) \
             WHERE c.cohort = $1",
            &[&common.label],
        )
        .await
        .map_err(on(source, "reading the fence rows"))?;
    let mut secrets: HashMap<String, String> = marks.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut known = HashMap::new();
    for row in rows {
        let deployment: String = row.get(0);
        let Some(secret) = secrets.remove(&deployment) else { continue };
        let position = Position {
            at: guard::parse_lsn(row.get(1), database)?,
            barrier: u32::try_from(row.get::<_, i32>(2)).unwrap_or_default(),
            open: row.get(3),
        };
        let parked = u64::try_from(row.get::<_, i64>(4)).unwrap_or_default();
        known.insert(deployment, Known { position, parked, secret });
    }
    Ok(known)
}

/// Up to where the cohort's slot was confirmed.
async fn confirmed(common: &Common, from: Side) -> Result<Lsn, EngineError> {
    let ends = &common.members[0].ends;
    let (database, slot) = (ends.database(from), common.slot(from));
    let lost = || EngineError::SlotLost { database: database.to_owned(), slot: slot.clone() };
    let session = ends.connect(from, "log").await?;
    let row = session
        .query_opt(
            "SELECT confirmed_flush_lsn::text, wal_status FROM pg_replication_slots WHERE slot_name = $1",
            &[&slot],
        )
        .await
        .map_err(on(database, "reading the slot"))?
        .ok_or_else(lost)?;
    if row.get::<_, Option<&str>>(1) == Some("lost") {
        return Err(lost());
    }
    guard::parse_lsn(row.get::<_, Option<&str>>(0).ok_or_else(lost)?, database)
}

/// Begins to read the slot. Whoever read it before may still hold it for an instant.
async fn read_from(
    common: &Common,
    from: Side,
    start: Lsn,
) -> Result<crate::replication::ReplicationStream, EngineError> {
    let ends = &common.members[0].ends;
    let end = Instant::now() + SLOT_FREE_WITHIN;
    loop {
        let connection: ReplicationConnection = ends.connect_to_read_log(from).await?;
        match connection.start(&common.slot(from), start, &ends.publication(from)).await {
            Ok(stream) => return Ok(stream),
            Err(_) if Instant::now() < end => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => {
                return Err(EngineError::Unreachable {
                    database: ends.database(from).to_owned(),
                    during: "reading its log".into(),
                    source: Box::new(error),
                });
            }
        }
    }
}

/// Moves the streams of `names` from what is `known` of them to `at`, and says where the last of all is. Those that
/// somebody holds still are left where they are.
async fn record(
    common: &Common,
    session: &Session,
    from: Side,
    names: &[String],
    known: &[String],
    at: Lsn,
) -> Result<Recorded, EngineError> {
    let on = on(common.members[0].ends.database(from.other()), "recording the streams' positions");
    let mut deployments = Vec::new();
    if !names.is_empty() {
        let rows = session
            .query(
                "WITH free AS ( \
                   SELECT s.deployment FROM replat.stream s \
                   JOIN unnest($1::text[], $2::text[]) AS k (deployment, position) \
                     ON s.deployment = k.deployment AND s.position = k.position::pg_lsn \
                   WHERE s.source = $3 FOR UPDATE OF s SKIP LOCKED) \
                 UPDATE replat.stream s SET position = $4::text::pg_lsn FROM free \
                 WHERE s.deployment = free.deployment AND s.source = $3 RETURNING s.deployment",
                &[&names, &known, &side_text(from), &at.to_string()],
            )
            .await
            .map_err(&on)?;
        deployments = rows.iter().map(|row| row.get(0)).collect();
        crate::failpoint::crash_at("hub.recorded");
    }
    let row = session
        .query_one(
            "SELECT min(s.position)::text FROM replat.stream s JOIN replat.cohort c USING (deployment) \
             WHERE c.cohort = $1 AND s.source = $2 AND NOT s.apart",
            &[&common.label, &side_text(from)],
        )
        .await
        .map_err(&on)?;
    let database = common.members[0].ends.database(from.other());
    let least: Option<&str> = row.get(0);
    let least = least.map(|least| guard::parse_lsn(least, database)).transpose()?;
    Ok(Recorded { deployments, least })
}
