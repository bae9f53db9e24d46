//! What a deployment is, and what it does next.
//!
//! A deployment's history is a list of [`Event`]s, its state is their fold ([`Deployment::fold`]), and its
//! future is `next`: a pure function of that state, of what was just seen, and of the policy. Nothing here
//! waits, reads a clock or talks to a database, so a test, the explorer, `--dry-run` and the real runner all run
//! these very lines.
//!
//! Invariant: for any key, at most one side accepts writes. `tests/explore.rs` visits every way to crash and
//! every interleaving of two runners and checks it.
//!
//! The two directions are one protocol: `home` is the side that owns the rows, and a switch goes from `home` to
//! the other side, whichever that is. Rollback is therefore not a special path.
//!
//! Absent on purpose: a step counter. `next` is a ladder of facts, and the first that does not hold yet names
//! the work. A deployment survives a crash because it looks, not because it remembers.

use serde::{Deserialize, Serialize};

use crate::contract::Kept;
use crate::ids::{Epoch, Lsn, Side};
use crate::plan::Plan;
use crate::spec::{Policy, SwitchMode};

/// A moment. Unit: milliseconds since 1970-01-01 UTC. Only compared to moments of the same clock, and only to
/// decide how long to be patient: no promise depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Milliseconds from `earlier` to `self`; zero if the clock went back.
    pub fn since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What every effect carries, and what the databases compare: an effect with a lower token than the highest one
/// obeyed is refused there, in the same transaction.
///
/// `term` is the deployment's serial number in the control store, `seq` the length of the work log from which the
/// effect was decided. Since futures that exclude each other are recorded before anything is done about them, the
/// later decision always carries the higher token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    /// The deployment's serial number.
    pub term: u64,
    /// The length of its work log.
    pub seq: u64,
}

/// One piece of a table, in key order: the rows with `after < key <= upto`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The table's place in the plan.
    pub table: usize,
    /// The key before the first row; `None` for the beginning.
    pub after: Option<Vec<String>>,
    /// The key of the last row; `None` for the end.
    pub upto: Option<Vec<String>>,
}

/// What a comparison of both sides came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Rows compared, as transformed, in all tables.
    pub rows: u64,
    /// Rows that differ, are missing or are too many, after rechecks.
    pub different: u64,
    /// A few of those: table, key and what is wrong with it.
    pub samples: Vec<String>,
    /// An order-free digest over all rows compared, in hexadecimal.
    pub digest: String,
}

/// Rows that cannot be stored on the receiving side for a reason that does not pass by itself: rows there have their keys
/// or their unique values. Neither is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBack {
    /// The side that has the rows.
    pub from: Side,
    /// How many; 0 when all are there.
    pub keys: u64,
    /// A few of those: table, key and what is in the way.
    pub samples: Vec<String>,
}

/// Something that has happened: past tense, never edited, never removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A person asked for it. Always the first event.
    Asked {
        /// What is to be done.
        plan: Box<Plan>,
    },
    /// Both ends have replat's schema, their fence rows (blue open, green closed) and their guards; green has
    /// its tables; both publish.
    Prepared,
    /// The slot on `side` exists: every later change there will be read.
    SlotOpened {
        /// The server that keeps the log.
        side: Side,
        /// Where the slot begins, on that server.
        at: Lsn,
        /// The first transaction id that did not exist yet; older ones must end before rows are copied.
        xid_horizon: u64,
    },
    /// How the rows will be copied.
    CopyPlanned {
        /// The pieces.
        chunks: Vec<Chunk>,
    },
    /// All chunks are on green.
    Copied {
        /// Blue's position after the last chunk was read: from here on green is consistent.
        at: Lsn,
        /// Rows copied.
        rows: u64,
        /// Bytes copied, as sent.
        bytes: u64,
    },
    /// Green's secondary indexes and constraints are in place.
    Indexed,
    /// Both sides were compared, all rows as transformed in this direction.
    Verified {
        /// The side that was read as the original.
        from: Side,
        /// What came of it.
        certificate: Certificate,
    },
    /// The sides differ; nothing is switched until a person has looked.
    VerifyFailed {
        /// The side that was read as the original.
        from: Side,
        /// What came of it.
        certificate: Certificate,
    },
    /// Consumers were asked about: every query that they rely on has its answer on green.
    ContractsKept {
        /// When.
        at: Timestamp,
        /// Which of them, and which could not be compared.
        kept: Kept,
    },
    /// A query that somebody relies on has another answer on green; nothing is switched until a person has looked.
    ContractsBroken {
        /// What came of all of them.
        kept: Kept,
    },
    /// An attempt to switch from `home` to the other side begins.
    SwitchIntended {
        /// Counted from 1 over the whole deployment.
        attempt: u32,
        /// When.
        since: Timestamp,
    },
    /// The home is closed; its barrier is in the log.
    Fenced {
        /// Which attempt.
        attempt: u32,
        /// The position of the fenced server after the fence's commit.
        at: Lsn,
        /// When writers were refused first.
        since: Timestamp,
    },
    /// The attempt is over without a switch. Recorded before the fence is opened again.
    FenceGivenUp {
        /// Which attempt.
        attempt: u32,
        /// Why.
        why: String,
        /// When.
        at: Timestamp,
    },
    /// The home accepts writes again after a given-up attempt.
    Unfenced {
        /// Which attempt.
        attempt: u32,
    },
    /// The point of no return: the home is the other side. The epoch in the map rises in the same transaction.
    Switched {
        /// Which attempt.
        attempt: u32,
        /// The new home.
        to: Side,
        /// Its epoch.
        epoch: Epoch,
        /// When it was decided.
        at: Timestamp,
        /// The proof of what changed since the last full comparison.
        proof: Certificate,
    },
    /// The new home is open and the old one sealed.
    Settled {
        /// The epoch that is settled.
        epoch: Epoch,
    },
    /// A write reached the side that is not the home, past the guard. The row is kept on the other side in
    /// `replat.incident`.
    LeakSeen {
        /// Where it was written.
        side: Side,
        /// How many rows are kept by now.
        rows: u64,
    },
    /// Rows are kept back from the side that is not the home, others than were told before; or none any more.
    RowsKeptBack(KeptBack),
    /// Progress stops before the next thing that was not yet begun.
    Paused {
        /// Why.
        why: String,
    },
    /// Progress goes on; a failed verification is tried again.
    Resumed,
    /// A person wants `to` as home.
    SwitchAsked {
        /// The side wanted.
        to: Side,
        /// Why.
        why: String,
    },
    /// A limit was changed while it runs.
    PolicySet {
        /// The policy from now on.
        policy: Box<Policy>,
        /// What was changed, for people.
        what: String,
    },
    /// A person, or the end of the soak, ends the way back.
    FinishAsked {
        /// Why.
        why: String,
    },
    /// The way back is gone: slots and publications are dropped, blue's copy is kept read-only.
    Finished {
        /// When.
        at: Timestamp,
    },
    /// Blue's copy, kept for `retain`, is deleted. Its guard stays.
    Dropped,
    /// A person gave it up before the switch, or after a rollback.
    AbortAsked {
        /// Why.
        why: String,
    },
    /// Nothing of the deployment is left but its history.
    Aborted,
}

/// An attempt to switch that is neither decided nor undone.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// When it began.
    pub since: Timestamp,
    /// The fence, once it stands.
    pub fence: Option<FenceStood>,
    /// Whether it was given up, with the reason.
    pub given_up: Option<String>,
}

/// A fence that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceStood {
    /// Position after the fence's commit.
    pub at: Lsn,
    /// When writers were refused first.
    pub since: Timestamp,
}

/// The fold of a deployment's events.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// What was asked.
    pub plan: Plan,
    /// Limits in force.
    pub policy: Policy,
    /// Both ends prepared.
    pub prepared: bool,
    /// Blue's slot.
    pub forward_slot: Option<SlotStood>,
    /// Green's slot.
    pub reverse_slot: Option<SlotStood>,
    /// The pieces to copy.
    pub chunks: Option<Vec<Chunk>>,
    /// Blue's position when the copy ended.
    pub copied: Option<Lsn>,
    /// Secondary indexes in place.
    pub indexed: bool,
    /// The latest full comparison, by the side that was the original.
    pub verified_forward: Option<Certificate>,
    /// The same for the way back.
    pub verified_backward: Option<Certificate>,
    /// A comparison that found differences and that nobody has answered yet.
    pub verify_failed: Option<(Side, Certificate)>,
    /// When the consumers' queries had their answers on green last; `None` if they never had, or have them no more.
    /// A way back leaves it as it is: it says of green what was so then, and before a later switch they are asked again.
    pub contracts_kept: Option<Timestamp>,
    /// What was found of them, if somebody's is broken and nobody has answered yet.
    pub contracts_broken: Option<Kept>,
    /// Who owns the rows.
    pub home: Side,
    /// At which epoch.
    pub epoch: Epoch,
    /// Whether the epoch is settled: new home open, old one sealed.
    pub settled: bool,
    /// The attempt under way.
    pub attempt: Option<Attempt>,
    /// Attempts begun so far.
    pub attempts: u32,
    /// Attempts given up since the last switch or the last word of a person.
    pub failed_attempts: u32,
    /// When the last attempt was given up.
    pub given_up_at: Option<Timestamp>,
    /// Which side a person wants; `None` while nobody has said.
    pub wanted: Option<Side>,
    /// When the last switch to green was.
    pub switched_at: Option<Timestamp>,
    /// Paused, with the reason.
    pub paused: Option<String>,
    /// Asked to finish.
    pub finish_asked: bool,
    /// When it finished.
    pub finished: Option<Timestamp>,
    /// Blue's retired copy is gone.
    pub dropped: bool,
    /// Asked to abort.
    pub abort_asked: Option<String>,
    /// Aborted and cleaned.
    pub aborted: bool,
    /// Rows kept from writes past the guard.
    pub leaks: u64,
    /// Rows that cannot be stored on the side that is not the home, if there are any.
    pub kept_back: Option<KeptBack>,
}

/// A slot that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotStood {
    /// Where it began.
    pub at: Lsn,
    /// See [`Event::SlotOpened`].
    pub xid_horizon: u64,
}

/// An event that cannot stand where it stands. The work log is damaged, or another program wrote to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {at} of the work log cannot stand there: {why}")]
pub struct OutOfPlace {
    /// Its place, from 0.
    pub at: usize,
    /// What is wrong.
    pub why: &'static str,
}

impl Deployment {
    fn asked(plan: &Plan) -> Deployment {
        Deployment {
            policy: plan.policy.clone(),
            epoch: plan.epoch,
            plan: plan.clone(),
            prepared: false,
            forward_slot: None,
            reverse_slot: None,
            chunks: None,
            copied: None,
            indexed: false,
            verified_forward: None,
            verified_backward: None,
            verify_failed: None,
            contracts_kept: None,
            contracts_broken: None,
            home: Side::Blue,
            settled: true,
            attempt: None,
            attempts: 0,
            failed_attempts: 0,
            given_up_at: None,
            wanted: None,
            switched_at: None,
            paused: None,
            finish_asked: false,
            finished: None,
            dropped: false,
            abort_asked: None,
            aborted: false,
            leaks: 0,
            kept_back: None,
        }
    }

    /// The state that `events` add up to, or the first event that cannot stand where it stands.
    pub fn fold<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Deployment, OutOfPlace> {
        let mut events = events.into_iter().enumerate();
        let mut state = match events.next() {
            Some((_, Event::Asked { plan })) => Deployment::asked(plan),
            _ => return Err(OutOfPlace { at: 0, why: "the first event must be Asked" }),
        };
        for (at, event) in events {
            state.after(event).map_err(|why| OutOfPlace { at, why })?;
        }
        Ok(state)
    }

    /// Takes one more event in. This is also the gate of the work log: an event that is refused here is never
    /// appended.
    pub fn after(&mut self, event: &Event) -> Result<(), &'static str> {
        if self.aborted {
            return Err("nothing follows Aborted");
        }
        match event {
            Event::Asked { .. } => return Err("asked twice"),
            Event::Prepared => self.prepared = true,
            Event::SlotOpened { side, at, xid_horizon } => {
                let slot = Some(SlotStood { at: *at, xid_horizon: *xid_horizon });
                match side {
                    Side::Blue => self.forward_slot = slot,
                    Side::Green => self.reverse_slot = slot,
                }
            }
            Event::CopyPlanned { chunks } => self.chunks = Some(chunks.clone()),
            Event::Copied { at, .. } => self.copied = Some(*at),
            Event::Indexed => self.indexed = true,
            Event::Verified { from, certificate } => {
                self.verify_failed = None;
                *self.verified_slot(*from) = Some(certificate.clone());
            }
            Event::VerifyFailed { from, certificate } => {
                *self.verified_slot(*from) = None;
                self.verify_failed = Some((*from, certificate.clone()));
            }
            Event::ContractsKept { at, .. } => {
                self.contracts_broken = None;
                self.contracts_kept = Some(*at);
            }
            Event::ContractsBroken { kept } => {
                self.contracts_kept = None;
                self.contracts_broken = Some(kept.clone());
            }
            Event::SwitchIntended { attempt, since } => self.intended(*attempt, *since)?,
            Event::Fenced { attempt, at, since } => {
                let a = self.current(*attempt)?;
                if a.given_up.is_some() {
                    return Err("fenced after it was given up");
                }
                a.fence = Some(FenceStood { at: *at, since: *since });
            }
            Event::FenceGivenUp { attempt, why, at } => {
                let a = self.current(*attempt)?;
                a.given_up = Some(why.clone());
                self.given_up_at = Some(*at);
                self.failed_attempts += 1;
            }
            Event::Unfenced { attempt } => {
                if self.current(*attempt)?.given_up.is_none() {
                    return Err("unfenced before it was given up");
                }
                self.attempt = None;
            }
            Event::Switched { attempt, to, epoch, at, .. } => self.switched(*attempt, *to, *epoch, *at)?,
            Event::Settled { epoch } => {
                if *epoch != self.epoch {
                    return Err("settled at another epoch");
                }
                self.settled = true;
            }
            Event::LeakSeen { rows, .. } => self.leaks = *rows,
            Event::RowsKeptBack(kept) => self.kept_back = (kept.keys > 0).then(|| kept.clone()),
            Event::Paused { why } => self.paused = Some(why.clone()),
            Event::Resumed => {
                self.paused = None;
                self.verify_failed = None;
                self.contracts_broken = None;
                self.failed_attempts = 0;
            }
            Event::SwitchAsked { to, .. } => self.switch_asked(*to)?,
            Event::PolicySet { policy, .. } => self.policy = (**policy).clone(),
            Event::FinishAsked { .. } => {
                if self.home != Side::Green || self.attempt.is_some() {
                    return Err(
                        "only a deployment whose home is green, with no switch under way, can finish",
                    );
                }
                self.finish_asked = true;
            }
            Event::Finished { at } => {
                if !self.finish_asked {
                    return Err("finished without being asked");
                }
                self.finished = Some(*at);
                self.kept_back = None;
            }
            Event::Dropped => {
                if self.finished.is_none() {
                    return Err("dropped before it was finished");
                }
                self.dropped = true;
            }
            Event::AbortAsked { why } => {
                if self.home != Side::Blue || self.finish_asked {
                    return Err("after the switch there is no abort; roll back first");
                }
                self.abort_asked = Some(why.clone());
            }
            Event::Aborted => {
                if self.abort_asked.is_none() {
                    return Err("aborted without being asked");
                }
                self.aborted = true;
            }
        }
        Ok(())
    }

    fn verified_slot(&mut self, from: Side) -> &mut Option<Certificate> {
        match from {
            Side::Blue => &mut self.verified_forward,
            Side::Green => &mut self.verified_backward,
        }
    }

    fn current(&mut self, attempt: u32) -> Result<&mut Attempt, &'static str> {
        self.attempt.as_mut().filter(|a| a.number == attempt).ok_or("it belongs to no attempt under way")
    }

    fn intended(&mut self, attempt: u32, since: Timestamp) -> Result<(), &'static str> {
        if self.attempt.is_some() {
            return Err("an attempt is under way");
        }
        // A barrier names its attempt, and a later one must not be taken for it.
        if attempt != self.attempts + 1 {
            return Err("attempts are counted one by one");
        }
        if self.abort_asked.is_some() || self.finish_asked {
            return Err("abort or finish was asked");
        }
        self.attempts = attempt;
        self.attempt = Some(Attempt { number: attempt, since, fence: None, given_up: None });
        Ok(())
    }

    fn switched(&mut self, attempt: u32, to: Side, epoch: Epoch, at: Timestamp) -> Result<(), &'static str> {
        if to == self.home || epoch != self.epoch.next() {
            return Err("a switch goes to the other side, at the next epoch");
        }
        // Where both sides are one set of rows there is nothing that a fence could keep apart.
        let needs_fence = !self.plan.path.shares_rows();
        let a = self.current(attempt)?;
        if a.given_up.is_some() || needs_fence && a.fence.is_none() {
            return Err("a switch needs a fence that stands");
        }
        self.attempt = None;
        self.home = to;
        self.epoch = epoch;
        self.settled = false;
        self.failed_attempts = 0;
        self.given_up_at = None;
        self.wanted = Some(to);
        self.switched_at = (to == Side::Green).then_some(at);
        Ok(())
    }

    fn switch_asked(&mut self, to: Side) -> Result<(), &'static str> {
        if self.abort_asked.is_some() || self.finish_asked {
            return Err("abort or finish was asked");
        }
        if to == Side::Blue && !self.plan.has_way_back() {
            return Err("there is no way back");
        }
        self.wanted = Some(to);
        self.failed_attempts = 0;
        Ok(())
    }

    /// Which side should be home now: what a person said, else what the policy says.
    pub fn wanted_home(&self) -> Side {
        match (self.wanted, self.policy.switch) {
            (Some(side), _) => side,
            (None, SwitchMode::Auto) => Side::Green,
            (None, SwitchMode::Manual) => self.home,
        }
    }

    /// Whether nothing more will ever be done.
    pub fn ended(&self) -> bool {
        self.aborted || self.dropped || self.finished.is_some() && self.plan.path.shares_rows()
    }

    fn has_asked_contracts(&self) -> bool {
        self.contracts_kept.is_some() || self.plan.contracts.is_empty()
    }

    /// A label for people and metrics. No code decides by it.
    pub fn phase(&self) -> Phase {
        if self.aborted {
            Phase::Aborted
        } else if self.finished.is_some() {
            Phase::Finished
        } else if self.attempt.is_some() || !self.settled {
            Phase::Switch
        } else if self.home == Side::Green {
            Phase::Soak
        } else if self.epoch > self.plan.epoch {
            Phase::RolledBack
        } else if !self.prepared {
            Phase::Prepare
        } else if self.plan.path.shares_rows() {
            if self.has_asked_contracts() { Phase::Ready } else { Phase::Verify }
        } else if self.forward_slot.is_none() {
            Phase::Prepare
        } else if self.copied.is_none() {
            Phase::Copy
        } else if !self.indexed || self.reverse_slot.is_none() && self.plan.has_way_back() {
            Phase::CatchUp
        } else if self.verified_forward.is_none() || !self.has_asked_contracts() {
            Phase::Verify
        } else {
            Phase::Ready
        }
    }
}

/// A label for people: where a deployment is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Both ends are being prepared.
    Prepare,
    /// Rows are being copied.
    Copy,
    /// Green is following; its indexes are being built.
    CatchUp,
    /// Both sides are being compared.
    Verify,
    /// A switch could begin.
    Ready,
    /// A switch is under way.
    Switch,
    /// Green is home; changes flow back.
    Soak,
    /// Green is home for good.
    Finished,
    /// Blue is home again; changes flow forward.
    RolledBack,
    /// Given up.
    Aborted,
}

impl Phase {
    /// The label's text.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Prepare => "prepare",
            Phase::Copy => "copy",
            Phase::CatchUp => "catch-up",
            Phase::Verify => "verify",
            Phase::Ready => "ready",
            Phase::Switch => "switch",
            Phase::Soak => "soak",
            Phase::Finished => "finished",
            Phase::RolledBack => "rolled-back",
            Phase::Aborted => "aborted",
        }
    }
}
