//! The loop: read, fold, look, next, act, append.
//!
//! It has no opinion. What comes next is `replat_model::next::next`; how it is done is the engine's; what was done is
//! the work log's. Two runners of one deployment do no harm: the log refuses the slower one's entry, and the
//! databases refuse its effects.

mod pause;
pub mod rotate;

use std::sync::Arc;
use std::time::{Duration, Instant};

use replat_engine::failpoint::crash_at_named;
use replat_engine::gate::{Gate, Hold};
use replat_engine::{Engine, EngineError, Listed, LogError, Recorded, Trouble, Verdict, WorkLog};
use replat_model::deploy::{Deployment, Event, OutOfPlace, Timestamp, Token};
use replat_model::ids::Epoch;
use replat_model::next::{Action, Held, Reason, Step, next};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument;

use crate::pause::Pause;

/// How often the log is looked at for what people, or another runner, wrote. Only their words wait for it: what
/// happens in the databases is told by the engine.
const LOG_EVERY: Duration = Duration::from_millis(100);

/// The longest sleep between two looks while clients are held.
const HELD_EVERY: Duration = Duration::from_millis(20);

/// The longest sleep between two looks otherwise: fences are re-asserted at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The shortest sleep between two looks while nothing is urgent, however busy the streams are.
const LOOK_AT_MOST: Duration = Duration::from_millis(50);

/// How long a runner that has ended waits until those who route requests were told the newest routes. Usually that is
/// over before; a registry that hangs holds nobody's command up for longer.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// How much longer a hold lasts than an attempt can take. Whoever asked for it is gone by then, or has published.
const HOLD_ROOM_MS: u64 = 500;

/// A runner that has said nothing for this long is taken for gone. Unit: milliseconds.
pub const HEARTBEAT_MS: u64 = 3_000;

/// A runner that has not failed for this long does not fail any more: what fails is tried again after five seconds, but
/// a stream can live a while before it breaks where it broke before. Unit: milliseconds.
const TROUBLE_MS: u64 = 30_000;

/// How often others are told that a runner still fails at the same. Unit: milliseconds.
const TELL_MS: u64 = 1_000;

/// Why a deployment's history cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The work log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The work log makes no sense.
    #[error(transparent)]
    OutOfPlace(#[from] OutOfPlace),
}

/// What one tick came to.
#[derive(Debug)]
pub enum Pulse {
    /// Something happened, and is written down.
    Moved(Event),
    /// Something was brought about that needs no entry.
    Acted(Action),
    /// Those who route requests were asked to let new transactions wait; what came of it is known.
    Held(Held),
    /// Nothing can be done until something changes.
    Waiting(Reason),
    /// The log grew while something long was under way; it was broken off, to be looked at anew.
    Interrupted,
    /// It could switch, and waited for its turn among those that are run together.
    Queued,
    /// Another runner was faster.
    Overtaken,
    /// It could not be done.
    Failed(EngineError),
    /// Another runner is alive; this one leaves the deployment to it.
    GaveWay,
    /// Nothing is left to do.
    Ended,
}

/// A deployment and what it takes to run it.
pub struct Runner<'a> {
    /// Which one.
    pub listed: Listed,
    /// Its memory.
    pub log: &'a dyn WorkLog,
    /// Its hands.
    pub engine: &'a dyn Engine,
    /// Those who route requests.
    pub gate: &'a dyn Gate,
    /// The clock.
    pub clock: fn() -> Timestamp,
    /// A name for this runner, for people.
    pub name: String,
    /// Where several deployments are run together: whoever wants to switch takes one of these first, and keeps it until
    /// the switch is over. `None`: it is alone.
    pub turns: Option<Arc<Semaphore>>,
}

/// What a runner has read of the log, so that while clients are held only the newest entries are read. Entries are
/// never changed, so what was read stays true.
#[derive(Default)]
struct Memory {
    history: Vec<Recorded>,
    state: Option<Deployment>,
    /// What came of the hold for an attempt. Not in the log: who holds is not told by what was, and the next runner
    /// asks anew.
    held: Option<(u32, Held)>,
    /// The turn to switch.
    turn: Option<OwnedSemaphorePermit>,
}

impl Memory {
    fn learn(&mut self, log: &dyn WorkLog, listed: &Listed) -> Result<(), ControlError> {
        let news = log.read_from(&listed.id, self.history.len() as u64)?;
        for recorded in &news {
            if let Some(state) = &mut self.state {
                let at = usize::try_from(recorded.seq).unwrap_or(usize::MAX);
                state.after(&recorded.event).map_err(|why| OutOfPlace { at, why })?;
            }
        }
        self.history.extend(news);
        if self.state.is_none() {
            self.state = Some(Deployment::fold(self.history.iter().map(|r| &r.event))?);
        }
        Ok(())
    }

    fn state(&self) -> Result<&Deployment, OutOfPlace> {
        self.state.as_ref().ok_or(OutOfPlace { at: 0, why: "nothing was read" })
    }
}

impl Runner<'_> {
    /// The deployment as its log has it, and the log's length.
    pub fn state(&self) -> Result<(Deployment, u64), ControlError> {
        let history = self.log.read(&self.listed.id)?;
        let state = Deployment::fold(history.iter().map(|r| &r.event))?;
        Ok((state, history.len() as u64))
    }

    /// Takes the deployment one step further. Safe to crash at any line.
    pub async fn tick(&self) -> Result<(Deployment, Pulse), ControlError> {
        let mut memory = Memory::default();
        loop {
            let pulse = self.tick_with(&mut memory).await?;
            // What was held would be forgotten; the step that it was for comes next.
            if !matches!(pulse, Pulse::Held(_)) {
                return Ok((memory.state()?.clone(), pulse));
            }
        }
    }

    async fn tick_with(&self, memory: &mut Memory) -> Result<Pulse, ControlError> {
        memory.learn(self.log, &self.listed)?;
        let d = memory.state()?;
        let span = tracing::info_span!(
            "replat",
            phase = d.phase().as_str(),
            deployment = %self.listed.id,
            partition = %self.listed.partition,
            epoch = %d.epoch
        );
        let pause = Pause::of(&memory.history, self.clock);
        let attempt = d.attempt.as_ref().map(|attempt| attempt.number);
        let held = memory.held.as_ref().filter(|(number, _)| Some(*number) == attempt);
        let held = held.map(|(_, held)| held.clone());
        let length = memory.history.len() as u64;
        let has_turn = self.turns.is_none() || memory.turn.is_some();
        let pulse = self.advance(d, length, held, &pause, has_turn).instrument(span).await?;
        self.tell(d, &pulse);
        let is_calm = attempt.is_none() && d.settled;
        match (&pulse, &self.turns) {
            // What was seen is old by the time that it comes; it is looked at once more.
            (Pulse::Queued, Some(turns)) => memory.turn = Arc::clone(turns).acquire_owned().await.ok(),
            (Pulse::Moved(Event::SwitchIntended { .. }), _) => {}
            _ if is_calm => memory.turn = None,
            _ => {}
        }
        if let (Pulse::Held(held), Some(attempt)) = (&pulse, attempt) {
            memory.held = Some((attempt, held.clone()));
        }
        Ok(pulse)
    }

    /// Lets those who route requests know what has become of the partition: the new routes when the new home is open,
    /// never before; and that a hold has ended when the old one is open again. `d` is what was before.
    fn tell(&self, d: &Deployment, pulse: &Pulse) {
        match pulse {
            Pulse::Acted(Action::Open { .. } | Action::HandOver { .. }) if d.attempt.is_none() => {
                self.gate.publish()
            }
            // A runner may have died between the two.
            Pulse::Moved(Event::Settled { .. }) => self.gate.publish(),
            Pulse::Moved(Event::Unfenced { attempt }) => self.gate.release(&self.listed.partition, *attempt),
            _ => {}
        }
    }

    async fn advance(
        &self,
        d: &Deployment,
        length: u64,
        held: Option<Held>,
        pause: &Pause,
        has_turn: bool,
    ) -> Result<Pulse, ControlError> {
        let mut seen = match self.engine.look(d).await {
            Ok(seen) => seen,
            Err(error) => return Ok(Pulse::Failed(error)),
        };
        seen.held = held;
        let (event, action) = match next(d, &seen) {
            Step::Hold { attempt, epoch, reads } => {
                let begun = Instant::now();
                let held = self.gate.hold(&self.hold(d, attempt, epoch, reads)).await;
                pause.held(attempt, &held, begun.elapsed());
                return Ok(Pulse::Held(held));
            }
            Step::Record(Event::SwitchIntended { .. }) if !has_turn => return Ok(Pulse::Queued),
            Step::Record(event) => (event, None),
            Step::Wait(reason) => return Ok(Pulse::Waiting(reason)),
            Step::Done => return Ok(Pulse::Ended),
            Step::Do(action) => {
                let token = Token { term: self.listed.serial, seq: length };
                tracing::debug!(action = action_kind(&action), ?token, "acting");
                pause.begins(&action);
                let begun = Instant::now();
                let Some(done) = self.act(d, length, &action, token).await? else {
                    return Ok(Pulse::Interrupted);
                };
                let evidence = match done {
                    Ok(evidence) => evidence,
                    Err(error) => return Ok(Pulse::Failed(error)),
                };
                pause.acted(d, &action, &evidence, begun.elapsed());
                match action.became(d, evidence, (self.clock)()) {
                    Some(event) => (event, Some(action)),
                    None => return Ok(Pulse::Acted(action)),
                }
            }
        };
        crash_at_named(|| format!("append.before.{}", kind(&event)));
        // Refused if another runner appended first. Nothing is lost by that: the action was idempotent, and the
        // next tick folds what the other runner wrote.
        let begun = Instant::now();
        match self.log.append(&self.listed.id, length, &event, (self.clock)()) {
            Ok(()) => {}
            Err(LogError::Conflict { .. }) => return Ok(Pulse::Overtaken),
            Err(error) => return Err(error.into()),
        }
        crash_at_named(|| format!("append.after.{}", kind(&event)));
        pause.recorded(&event, begun.elapsed());
        tracing::info!(entry = length, action = action.as_ref().map(action_kind), "{}", kind(&event));
        Ok(Pulse::Moved(event))
    }

    /// The hold that an attempt needs: for as long as the attempt can take, and no longer, since this runner may be gone
    /// before it ends it.
    fn hold(&self, d: &Deployment, attempt: u32, epoch: Epoch, reads: bool) -> Hold {
        let wait_ms = d.policy.hold_max.millis();
        let attempt_max = d.policy.fence_timeout.millis().saturating_add(d.policy.pause_max.millis());
        Hold {
            context: self.listed.context.clone(),
            partition: self.listed.partition.clone(),
            deployment: self.listed.id.clone(),
            attempt,
            epoch,
            reads,
            to: d.plan.end(d.home.other()).home.clone(),
            wait_ms,
            last_ms: wait_ms.saturating_add(attempt_max).saturating_add(HOLD_ROOM_MS),
        }
    }

    /// Acts. What can take long gives way when the log grows, for instance because a person said pause; it is
    /// idempotent, so breaking it off costs time only. Within a switch nothing gives way.
    async fn act(
        &self,
        d: &Deployment,
        length: u64,
        action: &Action,
        token: Token,
    ) -> Result<Option<Result<replat_model::next::Evidence, EngineError>>, ControlError> {
        let mut acting = self.engine.act(d, action, token);
        let gives_way = matches!(action, Action::Copy { .. } | Action::Verify { .. });
        let mut seen = self.log.data_version()?;
        loop {
            tokio::select! {
                done = &mut acting => return Ok(Some(done)),
                () = tokio::time::sleep(LOG_EVERY) => {
                    // Whoever else is alive meanwhile is given way to once this is done.
                    self.beat()?;
                    let now = self.log.data_version()?;
                    if gives_way && now != seen && self.log.read(&self.listed.id)?.len() as u64 != length {
                        return Ok(None);
                    }
                    seen = now;
                }
            }
        }
    }

    /// Says that this runner is alive. False if another one says so of itself: two that are awake do no harm, but
    /// each would undo the switches that the other begins.
    fn beat(&self) -> Result<bool, LogError> {
        let now = (self.clock)();
        let other = self.log.runner(&self.listed.id)?;
        if other.is_some_and(|(name, until)| name != self.name && until > now) {
            return Ok(false);
        }
        self.log.heartbeat(&self.listed.id, &self.name, Timestamp(now.0 + HEARTBEAT_MS))?;
        Ok(true)
    }

    /// Ticks until `told` says that it is enough, or another runner turns out to be alive: this one may have stood
    /// still for so long that it was taken for gone.
    ///
    /// `told` hears of every tick: the state after it and what it came to.
    pub async fn run(&self, told: impl FnMut(&Deployment, &Pulse) -> bool) -> Result<(), ControlError> {
        let mut tending = self.gate.tend();
        let ended = tokio::select! {
            ended = self.work(told) => ended,
            never = &mut tending => match never {},
        };
        tokio::select! {
            () = self.gate.flushed() => {}
            () = tokio::time::sleep(FLUSH_MAX) => {}
            never = &mut tending => match never {},
        }
        ended
    }

    async fn work(&self, mut told: impl FnMut(&Deployment, &Pulse) -> bool) -> Result<(), ControlError> {
        let mut memory = Memory::default();
        memory.learn(self.log, &self.listed)?;
        // What an earlier runner may have left unpublished. Where a switch is half done, opening comes first.
        if memory.state()?.attempt.is_none() && memory.state()?.settled {
            self.gate.publish();
        }
        let mut failures = 0_u32;
        let mut trouble = self.log.trouble(&self.listed.id)?;
        let mut beaten = tokio::time::Instant::now() - LOOK_EVERY;
        loop {
            if beaten.elapsed() >= LOOK_EVERY {
                beaten = tokio::time::Instant::now();
                if !self.beat()? {
                    told(&self.state()?.0, &Pulse::GaveWay);
                    return Ok(());
                }
            }
            let pulse = self.tick_with(&mut memory).await?;
            memory.learn(self.log, &self.listed)?;
            let d = memory.state()?;
            self.tell_trouble(&mut trouble, &pulse)?;
            if told(d, &pulse) || matches!(pulse, Pulse::Ended) {
                return Ok(());
            }
            failures = if matches!(pulse, Pulse::Failed(_)) { failures + 1 } else { 0 };
            self.rest(d, &pulse, failures).await?;
        }
    }

    /// Lets those who do not see this runner's output know what it fails at, while it does.
    fn tell_trouble(&self, told: &mut Option<Trouble>, pulse: &Pulse) -> Result<(), LogError> {
        let now = (self.clock)();
        let new = match pulse {
            Pulse::Failed(error) if error.verdict() != Verdict::StandDown => {
                let new = Trouble::of(error, told.as_ref(), now);
                let same = |t: &Trouble| t.what == new.what && t.needs_a_person == new.needs_a_person;
                if told.as_ref().is_some_and(|t| same(t) && now.since(t.last) < TELL_MS) {
                    return Ok(());
                }
                Some(new)
            }
            // That rows are kept back is no way on.
            Pulse::Moved(Event::RowsKeptBack(kept)) if kept.keys > 0 => return Ok(()),
            Pulse::Moved(_) => None,
            _ if told.as_ref().is_some_and(|t| now.since(t.last) >= TROUBLE_MS) => None,
            _ => return Ok(()),
        };
        if new != *told {
            self.log.tell_trouble(&self.listed.id, new.as_ref())?;
            *told = new;
        }
        Ok(())
    }

    /// Until it is worth looking again.
    async fn rest(&self, d: &Deployment, pulse: &Pulse, failures: u32) -> Result<(), ControlError> {
        let held = d.attempt.is_some();
        match pulse {
            // What stays parked waits for the stream, or for a person; asking at once again helps neither.
            Pulse::Acted(Action::CopyParked { .. }) => {
                tokio::time::sleep(LOOK_AT_MOST).await;
                Ok(())
            }
            Pulse::Moved(_)
            | Pulse::Acted(_)
            | Pulse::Held(_)
            | Pulse::Interrupted
            | Pulse::Queued
            | Pulse::GaveWay
            | Pulse::Ended => Ok(()),
            Pulse::Overtaken => {
                tokio::time::sleep(HELD_EVERY).await;
                Ok(())
            }
            Pulse::Waiting(_) if held => {
                drop(tokio::time::timeout(HELD_EVERY, self.engine.changed()).await);
                Ok(())
            }
            Pulse::Waiting(reason) => {
                tokio::time::sleep(LOOK_AT_MOST).await;
                self.until_changed(least_wait(reason)).await
            }
            Pulse::Failed(_) if held => {
                tokio::time::sleep(HELD_EVERY).await;
                Ok(())
            }
            Pulse::Failed(error) => {
                let pause = match error.verdict() {
                    Verdict::StandDown => LOOK_AT_MOST,
                    Verdict::TryAgain => (LOG_EVERY * 2_u32.pow(failures.min(6))).min(Duration::from_secs(5)),
                    Verdict::AskAPerson => Duration::from_secs(5),
                };
                // A stream under load has something new all the time, and seldom what makes room for these rows.
                let heeds_streams = !matches!(error, EngineError::KeptBack { .. });
                self.until_news(pause, heeds_streams).await
            }
        }
    }

    /// Until the engine or the log has something new, at most `longest`.
    async fn until_changed(&self, longest: Duration) -> Result<(), ControlError> {
        self.until_news(longest, true).await
    }

    /// The same, but what is new at the engine counts only if it `heeds_streams`.
    async fn until_news(&self, longest: Duration, heeds_streams: bool) -> Result<(), ControlError> {
        let before = self.log.data_version()?;
        let end = tokio::time::Instant::now() + longest;
        loop {
            let slice = LOG_EVERY.min(end.saturating_duration_since(tokio::time::Instant::now()));
            if slice.is_zero() {
                return Ok(());
            }
            if !heeds_streams {
                tokio::time::sleep(slice).await;
            } else if tokio::time::timeout(slice, self.engine.changed()).await.is_ok() {
                return Ok(());
            }
            if self.log.data_version()? != before {
                return Ok(());
            }
        }
    }
}

fn least_wait(reason: &Reason) -> Duration {
    match reason {
        Reason::BackOff { left } => Duration::from_millis((*left).max(1)).min(LOOK_EVERY),
        _ => LOOK_EVERY,
    }
}

/// An event's name, as the log has it.
pub fn kind(event: &Event) -> String {
    tag(event, "event")
}

/// An action's name. What it carries can be long, such as every chunk of a copy.
pub fn action_kind(action: &Action) -> String {
    tag(action, "action")
}

fn tag(value: &impl serde::Serialize, name: &str) -> String {
    let value = serde_json::to_value(value).ok();
    value.and_then(|v| v.get(name).and_then(|e| e.as_str()).map(str::to_owned)).unwrap_or_default()
}
