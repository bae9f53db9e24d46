//! A stream: reads one side's log and brings it to the other side, for as long as it lives.
//!
//! What it does with a change follows from the log itself. Between an opening and a barrier the side is open and
//! its changes are applied; between a barrier and an opening it is closed, and a change that is not replat's own
//! is kept as an incident.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use replat_engine::{BoxError, EngineError};
use replat_model::deploy::KeptBack;
use replat_model::ids::{Lsn, Side};
use replat_wire::pgoutput;
use replat_wire::stream::Frame;
use tokio::sync::{mpsc, watch};
use tokio_postgres::types::ToSql;

use crate::apply::{Applier, Batch, Position, texts};
use crate::changes::{Change, Changes, Entry, Part};
use crate::ends::Ends;
use crate::error::on;
use crate::failpoint::crash_at;
use crate::guard::{self, Mark};
use crate::leaves::Trees;
use crate::parked::Patience;

/// A batch is applied when it has this many changes: at 10,000 the cost of a commit is spread thin, and more
/// gains nothing.
const BATCH_CHANGES: usize = 10_000;

/// Or this many bytes, so that memory stays bounded whatever the rows are like.
const BATCH_BYTES: usize = 16 << 20;

/// Entries between reader and applier.
const QUEUE: usize = 16_384;

/// Changes asked for at once while a backlog is read by SQL.
const BACKLOG_CHANGES: i32 = 50_000;

/// The server drops a silent reader after `wal_sender_timeout`, a minute by default.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// How often it is recorded at the other end that nothing is left before a position, while nothing else is: whoever reads
/// there goes by that record.
const RECORD_EVERY: Duration = Duration::from_millis(500);

/// More touched keys than this are not remembered: everything is compared again instead.
const TOUCHED_MAX: usize = 1_000_000;

/// What a stream has done, for those who look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Everything before it, on the server read from, is durable at the other end.
    pub through: Lsn,
    /// The newest barrier that is durable at the other end.
    pub barrier: u32,
    /// Keys that are parked, as far as this process knows.
    pub parked: u64,
}

/// Table and key.
pub type TouchedKey = (usize, Vec<String>);

/// Touched keys, each with the number of its last touch: another number means that it was touched again.
pub type Touched = HashMap<TouchedKey, u64>;

/// What both streams and their watchers share.
pub struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    streams: [Option<Standing>; 2],
    errors: [Option<EngineError>; 2],
    /// The position that this process left each stream at; another value means that somebody else was at work.
    left_at: [Option<Lsn>; 2],
    /// Keys touched since the last comparison, by the side that was the original, each with the number of its last
    /// touch; `None` while nothing is counted.
    touched: [Option<Touched>; 2],
    /// Touches so far.
    touches: u64,
    /// Whether that comparison was completed.
    compared: [bool; 2],
    /// What the trees on blue and on green were when it began.
    trees: [Option<[Trees; 2]>; 2],
    /// What the trees on a side were when the stream from there began to read.
    read_trees: [Option<Trees>; 2],
    /// How often what is parked was copied in vain.
    patience: [Patience; 2],
    /// What cannot be stored at the other end; `None` while that is not known.
    kept_back: [Option<KeptBack>; 2],
}

impl State {
    /// The touched keys, if every stream that this process has ever had is running. While one is down, another
    /// process may carry rows over that are not counted here; when it runs again, its position tells.
    fn trusted(&self, from: Side) -> Option<&Touched> {
        let down = (0..2).any(|n| self.left_at[n].is_some() && self.streams[n].is_none());
        self.touched[index(from)].as_ref().filter(|_| !down)
    }
}

fn none_kept_back(from: Side) -> KeptBack {
    KeptBack { from, keys: 0, samples: Vec::new() }
}

fn index(side: Side) -> usize {
    match side {
        Side::Blue => 0,
        Side::Green => 1,
    }
}

impl Default for Shared {
    fn default() -> Shared {
        Shared { state: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("no holder of the lock panics"))
    }

    fn announce(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Told whenever something changes.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What the stream from `side` has done; `None` if it does not run.
    pub fn standing(&self, side: Side) -> Option<Standing> {
        self.with(|s| s.streams[index(side)])
    }

    /// Why the stream from `side` ended, once.
    pub fn take_error(&self, side: Side) -> Option<EngineError> {
        self.with(|s| s.errors[index(side)].take())
    }

    /// Whether the stream from `side` ended with an error that nobody has taken yet.
    pub fn has_error(&self, side: Side) -> bool {
        self.with(|s| s.errors[index(side)].is_some())
    }

    /// The stream from `side` was stopped on purpose.
    pub fn stopped(&self, side: Side) {
        self.ended(side, None);
    }

    /// How many keys were touched since both sides were last compared with `from` as the original; `None` if they
    /// were not, or if the count is not to be trusted.
    pub fn unproved(&self, from: Side) -> Option<u64> {
        self.with(|s| {
            let keys = s.trusted(from).filter(|_| s.compared[index(from)])?;
            Some(keys.len() as u64)
        })
    }

    /// From now on, touched keys are counted for a comparison that begins, of what has these trees on blue and green.
    pub fn begin_comparison(&self, from: Side, trees: [Trees; 2]) {
        self.with(|s| {
            s.touched[index(from)] = Some(Touched::new());
            s.compared[index(from)] = false;
            s.trees[index(from)] = Some(trees);
        });
    }

    /// A stream begins to read the log of `side`, which has these trees.
    pub fn begin_reading(&self, side: Side, trees: Trees) {
        self.with(|s| s.read_trees[index(side)] = Some(trees));
    }

    /// Forgets what was compared while `side` had other trees than these: leaves come with rows and go with rows.
    /// Returns whether the stream from there began to read with others as well.
    pub fn see_trees(&self, side: Side, trees: &Trees) -> bool {
        self.with(|s| {
            for from in 0..2 {
                if s.trees[from].as_ref().is_some_and(|known| known[index(side)] != *trees) {
                    s.trees[from] = None;
                    s.touched[from] = None;
                    s.compared[from] = false;
                }
            }
            s.read_trees[index(side)].as_ref().is_some_and(|known| known != trees)
        })
    }

    /// Whether tables on `side` have leaves, which can come and go.
    pub fn has_leaves(&self, side: Side) -> bool {
        self.with(|s| {
            let compared = s.trees.iter().flatten().map(|known| &known[index(side)]);
            compared.chain(&s.read_trees[index(side)]).any(|known| !known.are_bare())
        })
    }

    /// The comparison is complete. False if the count was lost meanwhile: then it counts for nothing.
    pub fn end_comparison(&self, from: Side) -> bool {
        self.with(|s| {
            s.compared[index(from)] = s.trusted(from).is_some();
            s.compared[index(from)]
        })
    }

    /// Forgets that the sides were ever compared.
    pub fn distrust(&self, from: Side) {
        self.with(|s| {
            s.touched[index(from)] = None;
            s.compared[index(from)] = false;
        });
    }

    /// The touched keys. They stay on the list until somebody says that they are equal.
    pub fn touched(&self, from: Side) -> Option<Touched> {
        self.with(|s| s.trusted(from).cloned())
    }

    /// Takes keys off the list that were found equal, unless they were touched again since `seen`.
    pub fn found_equal(&self, from: Side, seen: Touched) {
        self.with(|s| {
            let Some(touched) = &mut s.touched[index(from)] else { return };
            for (key, touch) in seen {
                if touched.get(&key) == Some(&touch) {
                    touched.remove(&key);
                }
            }
        });
    }

    /// Puts keys on the list of those to be compared.
    pub fn touch(&self, keys: impl IntoIterator<Item = TouchedKey>) {
        let keys: Vec<_> = keys.into_iter().collect();
        self.with(|s| {
            s.touches += 1;
            let touch = s.touches;
            for side in 0..2 {
                if let Some(touched) = &mut s.touched[side] {
                    touched.extend(keys.iter().map(|key| (key.clone(), touch)));
                    if touched.len() > TOUCHED_MAX {
                        s.touched[side] = None;
                        s.compared[side] = false;
                    }
                }
            }
        });
    }

    pub(crate) fn begins(&self, side: Side, position: Position, parked: u64) {
        self.with(|s| {
            // Somebody else moved this stream on: what was touched meanwhile is not known here.
            if s.left_at[index(side)] != Some(position.at) {
                s.touched = [None, None];
                s.compared = [false, false];
            }
            s.left_at[index(side)] = Some(position.at);
            s.errors[index(side)] = None;
            if parked == 0 {
                s.kept_back[index(side)] = Some(none_kept_back(side));
            }
            s.streams[index(side)] =
                Some(Standing { through: position.at, barrier: position.barrier, parked });
        });
        self.announce();
    }

    /// Nothing of the stream from `side` is left before `at`, and `recorded` is what the other end knows of that. Nobody is
    /// told: it is so all the time.
    pub(crate) fn passed(&self, side: Side, at: Lsn, recorded: Lsn) {
        self.with(|s| {
            s.left_at[index(side)] = Some(recorded);
            if let Some(standing) = &mut s.streams[index(side)] {
                standing.through = standing.through.max(at);
            }
        });
    }

    pub(crate) fn reached(&self, side: Side, taken: Position, recorded: Position, parked: Option<u64>) {
        self.with(|s| {
            s.left_at[index(side)] = Some(recorded.at);
            if let Some(standing) = &mut s.streams[index(side)] {
                standing.through = standing.through.max(taken.at);
                standing.barrier = recorded.barrier;
                standing.parked = parked.unwrap_or(standing.parked);
            }
        });
        self.announce();
    }

    /// How many keys of the stream from `side` are parked now.
    pub fn set_parked(&self, side: Side, parked: u64) {
        let is_new = self.with(|s| {
            if parked == 0 {
                s.kept_back[index(side)] = Some(none_kept_back(side));
            }
            let standing = s.streams[index(side)].as_mut();
            standing.is_some_and(|standing| std::mem::replace(&mut standing.parked, parked) != parked)
        });
        if is_new {
            self.announce();
        }
    }

    /// What cannot be stored at the other end.
    pub fn set_kept_back(&self, kept: KeptBack) {
        let from = index(kept.from);
        self.with(|s| s.kept_back[from] = Some(kept));
    }

    /// What of `side`'s rows cannot be stored at the other end; `None` if that is not known.
    pub fn kept_back(&self, side: Side) -> Option<KeptBack> {
        self.with(|s| s.kept_back[index(side)].clone())
    }

    /// Lets `change` look at, and count, how often the parked keys of `side` were copied in vain.
    pub fn with_patience<T>(&self, side: Side, change: impl FnOnce(&mut Patience) -> T) -> T {
        self.with(|s| change(&mut s.patience[index(side)]))
    }

    pub(crate) fn ended(&self, side: Side, error: Option<EngineError>) {
        self.with(|s| {
            s.streams[index(side)] = None;
            s.errors[index(side)] = error;
        });
        self.announce();
    }
}

/// Reads the log of `from` and brings it to the other side until something breaks or it is dropped.
pub async fn follow(ends: Ends, from: Side, shared: Arc<Shared>) {
    let ended = run(&ends, from, &shared).await;
    if let Err(error) = &ended {
        tracing::info!(deployment = %ends.deployment, %from, %error, "the stream ended");
    }
    shared.ended(from, ended.err());
}

async fn run(ends: &Ends, from: Side, shared: &Shared) -> Result<(), EngineError> {
    let client = ends.connect_to_write(from.other(), "apply").await?;
    let parked = count_parked(&client, ends, from).await?;
    let mut applier = Applier::new(&ends.plan, ends.deployment.as_str(), from, client).await?;
    let mut gather = Gather::new(applier.position());
    let mut announced = false;
    loop {
        let full = backlog(ends, from, shared, &mut applier, &mut gather, !announced, parked).await?;
        announced = true;
        if !full {
            break;
        }
    }
    stream(ends, from, shared, applier, gather).await
}

/// How many keys of the stream from `from` are parked at the other end.
pub async fn count_parked(
    client: &tokio_postgres::Client,
    ends: &Ends,
    from: Side,
) -> Result<u64, EngineError> {
    let row = client
        .query_one(
            "SELECT count(*) FROM replat.parked WHERE deployment = $1 AND source = $2",
            &[&ends.deployment.as_str(), &crate::apply::side_text(from)],
        )
        .await
        .map_err(on(ends.database(from.other()), "counting parked keys"))?;
    Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or_default())
}

/// Reads what has piled up in the slot by SQL, which is several times faster than streaming it, since the server
/// flushes each streamed message by itself. True if there is more.
async fn backlog(
    ends: &Ends,
    from: Side,
    shared: &Shared,
    applier: &mut Applier<'_>,
    gather: &mut Gather,
    announce: bool,
    parked: u64,
) -> Result<bool, EngineError> {
    let database = ends.database(from);
    let reader = ends.connect(from, "log").await?;
    let start = applier.position().at;
    check_slot(ends, from, &reader, applier).await?;
    // Before the rows begin to flow: a connection answers one question after the other.
    let secret = guard::mark_secret(&reader, &ends.plan, from).await?;
    // Asked before the backlog: its rows hold the session until they are all taken.
    let mut rows = Box::pin(
        reader
            .query_raw(
                "SELECT lsn::text, data FROM pg_logical_slot_peek_binary_changes($1, NULL, $2, \
                 'proto_version', '1', 'publication_names', $3, 'messages', 'true')",
                [
                    &ends.slot(from) as &(dyn ToSql + Sync),
                    &BACKLOG_CHANGES,
                    &crate::sql::quote_ident(&ends.publication(from)),
                ],
            )
            .await
            .map_err(|e| slot_error(ends, from, e))?,
    );
    if announce {
        shared.begins(from, applier.position(), parked);
    }
    let mut read = 0;
    let mut changes =
        Changes::new(&ends.plan, from, vec![Part::of(&ends.plan, ends.deployment.as_str(), secret)]);
    let mut skipping = false;
    while let Some(row) = rows.try_next().await.map_err(|e| slot_error(ends, from, e))? {
        read += 1;
        let at = guard::parse_lsn(row.get(0), database)?;
        let message = decode(database, Bytes::from(row.get::<_, Vec<u8>>(1)))?;
        // The slot may lie before our position, when a crash came between the commit and the slot's advance.
        if let pgoutput::Message::Begin(begin) = &message {
            skipping = begin.final_lsn < start;
        }
        if skipping && !matches!(message, pgoutput::Message::Relation(_)) {
            continue;
        }
        for entry in changes.take(at, message)? {
            gather.push(entry);
            if gather.is_full() {
                settle(shared, from, applier, gather, Persist::WithWork).await?;
            }
        }
    }
    settle(shared, from, applier, gather, Persist::Always).await?;
    if applier.position().at > start {
        crash_at("backlog.applied");
        reader
            .execute(
                "SELECT pg_replication_slot_advance($1, $2::text::pg_lsn)",
                &[&ends.slot(from), &applier.position().at.to_string()],
            )
            .await
            .map_err(|e| slot_error(ends, from, e))?;
    }
    Ok(read >= BACKLOG_CHANGES)
}

/// Only what is recorded at the other end is ever confirmed. A slot that is further than that record is another
/// slot under the same name, and what lies between is lost to it; unless another runner has moved both on since
/// this one read the record.
async fn check_slot(
    ends: &Ends,
    from: Side,
    reader: &tokio_postgres::Client,
    applier: &Applier<'_>,
) -> Result<(), EngineError> {
    let database = ends.database(from);
    let lost = || EngineError::SlotLost { database: database.to_owned(), slot: ends.slot(from) };
    let row = reader
        .query_opt(
            "SELECT confirmed_flush_lsn::text, wal_status FROM pg_replication_slots WHERE slot_name = $1",
            &[&ends.slot(from)],
        )
        .await
        .map_err(on(database, "reading the slot"))?
        .ok_or_else(lost)?;
    let confirmed = guard::parse_lsn(row.get(0), database)?;
    if row.get::<_, Option<&str>>(1) == Some("lost") {
        return Err(lost());
    }
    if confirmed <= applier.position().at {
        return Ok(());
    }
    if confirmed <= applier.recorded().await?.at {
        return Err(EngineError::Superseded { what: format!("the stream from {from}") });
    }
    Err(lost())
}

fn slot_error(ends: &Ends, side: Side, error: tokio_postgres::Error) -> EngineError {
    use tokio_postgres::error::SqlState;
    let lost = [SqlState::UNDEFINED_OBJECT, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE];
    if error.code().is_some_and(|c| lost.contains(c)) {
        return EngineError::SlotLost { database: ends.database(side).to_owned(), slot: ends.slot(side) };
    }
    on(ends.database(side), "reading the slot")(error)
}

pub(crate) fn decode(database: &str, data: Bytes) -> Result<pgoutput::Message, EngineError> {
    pgoutput::decode(data).map_err(|e| EngineError::Refused {
        database: database.to_owned(),
        during: "reading its log".into(),
        why: e.to_string(),
    })
}

enum Item {
    Entry(Entry),
    /// Nothing is left before this position.
    Idle(Lsn),
}

async fn stream(
    ends: &Ends,
    from: Side,
    shared: &Shared,
    mut applier: Applier<'_>,
    mut gather: Gather,
) -> Result<(), EngineError> {
    let (send, mut receive) = mpsc::channel(QUEUE);
    let start = applier.position().at;
    let (durable, flushed) = watch::channel(start);
    let mut persisted = tokio::time::Instant::now();
    let reading = read(ends, from, start, send, flushed);
    let applying = async {
        loop {
            match tokio::time::timeout(RECORD_EVERY, receive.recv()).await {
                Ok(Some(item)) => gather.take(item),
                Ok(None) => return Ok(()),
                // What came too soon after the last record is recorded now.
                Err(_) => {}
            }
            // In the middle of a source transaction there is nothing to be had by stopping.
            while !gather.is_full() {
                match receive.try_recv() {
                    Ok(item) => gather.take(item),
                    Err(_) if gather.in_transaction => match receive.recv().await {
                        Some(item) => gather.take(item),
                        None => return Ok(()),
                    },
                    Err(_) => break,
                }
            }
            // What is of no concern to this partition is recorded now and then, so that the slot can move on.
            let persist =
                if persisted.elapsed() >= RECORD_EVERY { Persist::Always } else { Persist::WithWork };
            settle(shared, from, &mut applier, &mut gather, persist).await?;
            let recorded = applier.position().at;
            if durable.send_if_modified(|at| std::mem::replace(at, recorded) < recorded) {
                persisted = tokio::time::Instant::now();
            }
        }
    };
    tokio::select! {
        ended = reading => ended,
        ended = applying => ended,
    }
}

/// Reads frames into the queue and reports what is durable. Reporting never waits behind the queue.
async fn read(
    ends: &Ends,
    from: Side,
    start: Lsn,
    send: mpsc::Sender<Item>,
    mut flushed: watch::Receiver<Lsn>,
) -> Result<(), EngineError> {
    let database = ends.database(from);
    let broke = |source: BoxError| EngineError::Unreachable {
        database: database.to_owned(),
        during: "reading its log".into(),
        source,
    };
    let connection = ends.connect_to_read_log(from).await?;
    let mut stream = connection
        .start(&ends.slot(from), start, &ends.publication(from))
        .await
        .map_err(|e| broke(Box::new(e)))?;
    let secret = {
        let client = ends.connect(from, "log").await?;
        guard::mark_secret(&client, &ends.plan, from).await?
    };
    let mut changes =
        Changes::new(&ends.plan, from, vec![Part::of(&ends.plan, ends.deployment.as_str(), secret)]);
    let mut queue: VecDeque<Item> = VecDeque::new();
    let mut timer = tokio::time::interval(STATUS_EVERY);
    loop {
        let mut report = false;
        tokio::select! {
            permit = send.reserve(), if !queue.is_empty() => {
                let Ok(permit) = permit else { return Ok(()) };
                permit.send(queue.pop_front().expect("the queue is not empty"));
            }
            frame = stream.next(), if queue.is_empty() => match frame.map_err(|e| broke(Box::new(e)))? {
                Frame::XLogData(data) => {
                    let entries = changes.take(data.start, decode(database, data.data)?)?;
                    queue.extend(entries.into_iter().map(Item::Entry));
                }
                Frame::Keepalive(keepalive) => {
                    queue.push_back(Item::Idle(keepalive.wal_end));
                    report = keepalive.reply_requested;
                }
            },
            changed = flushed.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                report = true;
            }
            _ = timer.tick() => report = true,
        }
        if report {
            let durable = *flushed.borrow_and_update();
            stream.status(durable).await.map_err(|e| broke(Box::new(e)))?;
        }
    }
}

/// When the position is recorded at the other end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Persist {
    /// With the next change that concerns the partition.
    WithWork,
    /// Now.
    Always,
}

/// Applies what is gathered, and says so.
async fn settle(
    shared: &Shared,
    from: Side,
    applier: &mut Applier<'_>,
    gather: &mut Gather,
    persist: Persist,
) -> Result<(), EngineError> {
    let mut parked = None;
    let behind = !gather.in_transaction && gather.position.at > applier.position().at;
    if gather.has_work() || persist == Persist::Always && behind {
        let batch = gather.cut();
        // Before the commit: a key must never be on the other side without being on the list.
        shared.touch(touched_by(&batch)?);
        let newly = applier.apply(&batch).await?;
        if newly > 0 {
            let before = shared.standing(from).map_or(0, |s| s.parked);
            parked = Some(before + newly);
        }
    }
    shared.reached(from, gather.position, applier.position(), parked);
    Ok(())
}

/// The keys that a batch touches. A write past the guard makes the sides differ as well, and no switch may find them
/// equal unseen.
pub(crate) fn touched_by(batch: &Batch) -> Result<Vec<TouchedKey>, EngineError> {
    let mut touched = Vec::new();
    let leaked = batch.incidents.iter().map(|(_, change)| change);
    for change in batch.changes.iter().chain(leaked) {
        for key in change.keys() {
            touched.push((change.table(), texts(key)?));
        }
    }
    Ok(touched)
}

/// Collects entries into a batch.
pub(crate) struct Gather {
    batch: Batch,
    bytes: usize,
    /// Everything before it has been taken in. While a transaction is being taken in, its beginning.
    pub(crate) position: Position,
    pub(crate) in_transaction: bool,
    marked: bool,
}

impl Gather {
    pub(crate) fn new(position: Position) -> Gather {
        Gather { batch: Batch::default(), bytes: 0, position, in_transaction: false, marked: false }
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Entry(entry) => self.push(entry),
            Item::Idle(at) if !self.in_transaction => self.position.at = self.position.at.max(at),
            Item::Idle(_) => {}
        }
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        match entry {
            Entry::Changed(at, change) => {
                self.in_transaction = true;
                self.bytes += change.size();
                self.keep(at, change);
            }
            Entry::Mark(Mark::Barrier { attempt, .. }) => {
                self.position.open = false;
                self.position.barrier = attempt;
                self.marked = true;
            }
            Entry::Mark(_) => {
                self.position.open = true;
                self.marked = true;
            }
            Entry::Committed(at) => {
                self.in_transaction = false;
                self.batch.ends.push(self.batch.changes.len());
                self.position.at = self.position.at.max(at);
            }
        }
    }

    fn keep(&mut self, at: Lsn, change: Change) {
        if self.position.open {
            self.batch.changes.push(change);
        } else {
            self.batch.incidents.push((at, change));
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.batch.changes.len() + self.batch.incidents.len() >= BATCH_CHANGES || self.bytes >= BATCH_BYTES
    }

    /// Whether its partition is closed or opened.
    pub(crate) fn is_marked(&self) -> bool {
        self.marked
    }

    /// Nothing is left before `at`.
    pub(crate) fn pass(&mut self, at: Lsn) {
        self.take(Item::Idle(at));
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.batch.changes.is_empty() || !self.batch.incidents.is_empty() || self.marked
    }

    /// The batch so far. In the middle of a source transaction it has no position: its rows are applied, and
    /// would be applied again after a crash, which changes nothing.
    pub(crate) fn cut(&mut self) -> Batch {
        let mut batch = std::mem::take(&mut self.batch);
        batch.reached = (!self.in_transaction).then_some(self.position);
        self.bytes = 0;
        self.marked = false;
        batch
    }
}
