//! At a boundary: where does the next transaction go, and may it begin now?

use std::sync::Arc;

use replat_wire::backend::{Complaint, put_parameter};
use replat_wire::frame::{BODY_MAX, HEAD_BYTES, head};
use replat_wire::frontend::{self, Bind, Parse, Value};
use tokio::time::Instant;

use super::{Attended, End, Session, unless_cancelled};
use crate::backend::{Backend, DialError};
use crate::custom::Choice;
use crate::doors::{Ask, Home, Knock, Pass, Reading, Soon, Statement};
use crate::prewarm::{Awaited, Traveller, await_warming};
use crate::relocate::{Relocated, Stays, relocate};
use crate::roll::Held;
use crate::settings::Pinned;

/// How often a session that is pinned looks whether its partition has come back.
const PINNED_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

/// What is known of the transaction that begins, from what has been read ahead.
enum Ahead {
    /// Not enough has been read to tell.
    More,
    /// Nothing can be said.
    Nothing,
    /// All that is asked for before the next boundary.
    All(Vec<Seen>),
}

impl Ahead {
    /// The texts of the statements that are run.
    fn run(&self) -> Vec<String> {
        match self {
            Ahead::All(seen) => seen.iter().filter(|seen| seen.is_run).map(|seen| seen.sql.clone()).collect(),
            Ahead::More | Ahead::Nothing => Vec::new(),
        }
    }
}

/// A statement, out of the input or of the frame in which it was prepared.
struct Seen {
    sql: String,
    types: Vec<u32>,
    values: Option<Vec<(bool, Option<Vec<u8>>)>>,
    is_run: bool,
}

impl Seen {
    fn values(&self) -> Option<Vec<Value<'_>>> {
        let values = self.values.as_ref()?.iter();
        Some(values.map(|(binary, bytes)| Value { binary: *binary, bytes: bytes.as_deref() }).collect())
    }

    fn with<'a>(&'a self, values: &'a Option<Vec<Value<'a>>>) -> Statement<'a> {
        let values = values.as_deref().map(|values| (values, self.types.as_slice()));
        Statement { sql: &self.sql, values, is_run: self.is_run }
    }
}

impl Session {
    /// Lets the transaction begin that stands at the front of the input, wherever it belongs; or answers in the
    /// server's place why not.
    pub(super) async fn admit(&mut self) -> Result<(), End> {
        let before = self.partition.clone();
        match self.choice_in(&self.client.input) {
            Some(Choice::This(partition)) => self.partition = Some(partition),
            Some(Choice::AsAtStart) => self.partition = self.partition_at_start.clone(),
            None => {}
        }
        let is_read = self.statements_matter();
        let ahead = if is_read { self.look_ahead() } else { Ahead::Nothing };
        if let Ahead::More = ahead {
            return self.wait().await;
        }
        // The statement is in the proxy, and so is a wish to cancel it: what the server is asked meanwhile is not the
        // client's, and must not be cancelled in its name.
        let _here = self.registered.target.lead_here();
        let reading = if is_read { self.reading().await? } else { Reading::USUAL };
        match self.enter(&ahead, reading).await {
            Ok(()) => self.settle().await,
            Err(Attended::End(end)) => Err(end),
            Err(Attended::Refused(complaint)) => {
                self.partition = before;
                self.memory.again = None;
                self.shared.counts.refused();
                self.refuse(&complaint)
            }
        }
    }

    /// Gives the session what it could not be given at start-up, now that it needs a server.
    async fn settle(&mut self) -> Result<(), End> {
        let limit = self.shared.settings.limits.dial_max;
        let Some(backend) = self.backend.as_mut().filter(|backend| !backend.settled) else { return Ok(()) };
        match tokio::time::timeout(limit, backend.settle()).await.unwrap_or(Err(DialError::Slow)) {
            Ok(()) => Ok(()),
            Err(error) => Err(End::Complaint(error.complaint(&backend.home, &self.identity.user))),
        }
    }

    async fn enter(&mut self, ahead: &Ahead, reading: Reading) -> Result<(), Attended> {
        let mut pinned_since = None;
        loop {
            let pass = match self.knock(ahead, reading) {
                Knock::Open(pass) => pass,
                Knock::Refused(complaint) => return Err(Attended::Refused(complaint)),
                Knock::Held { answer, next } => {
                    let begun = Instant::now();
                    let _held = Held::new(&self.card, &self.shared.counts);
                    let next = next.filter(|next| pinned_since.is_none() && self.may_go_to(next));
                    let pass = match next {
                        // What can be done before the release is not left for after it.
                        Some(next) => self.await_warming(answer, next).await?,
                        None => self.attend_or_cancel(answer).await?.map_err(Attended::Refused)?,
                    };
                    self.shared.counts.waited(begun.elapsed());
                    pass
                }
            };
            if self.is_at_place(&pass.home) {
                match &pass.share {
                    Some(share) if share.shadow => self.shadow(&pass.home, share, ahead.run()),
                    Some(share) if self.read_elsewhere(share).await? => return Ok(()),
                    _ => {}
                }
                self.begin(pass);
                return Ok(());
            }
            match self.move_to(pass.home.clone()).await? {
                Ok(()) if self.registered.target.is_asked() => {
                    return Err(Attended::Refused(super::cancelled()));
                }
                // The way there took so long that the partition is held again. Nothing has reached a server, so the
                // transaction waits like any other; with this pass it would be refused behind the next fence.
                Ok(()) if pass.is_recalled() => {}
                Ok(()) => {
                    self.begin(pass);
                    return Ok(());
                }
                Err(Stays::Pinned(pins)) => {
                    let since = *pinned_since.get_or_insert_with(Instant::now);
                    self.card.surveyed(pins.clone());
                    match self.shared.settings.pinned {
                        Pinned::Wait(limit) if since.elapsed() < limit => {
                            drop(pass);
                            self.attend_or_cancel(tokio::time::sleep(PINNED_EVERY)).await?;
                        }
                        _ => return Err(Attended::End(End::Complaint(pinned(&pass.home, &pins)))),
                    }
                }
                // Nothing of this transaction has reached a server, so the session may try again.
                Err(Stays::Dial(error)) => {
                    let complaint = error.complaint(&pass.home, &self.identity.user);
                    let fatal = complaint.fatal && !error.is_temporary();
                    return Err(Attended::Refused(Complaint { fatal, ..complaint }));
                }
            }
        }
    }

    fn begin(&mut self, pass: Pass) {
        if !pass.only_reads {
            self.lent.forget();
        }
        if !pass.only_reads
            && let Some(aside) = self.aside.take()
        {
            // It might not have the settings any more that the session has after this.
            aside.backend.leave();
        }
        self.attempt(&pass);
        self.card.is_at(&pass.home);
        self.pass = Some(pass);
        self.shared.counts.began();
    }

    fn is_at_place(&self, home: &Home) -> bool {
        self.backend.as_ref().is_some_and(|backend| !backend.side.ended && backend.home.is_place_of(home))
    }

    fn knock(&self, ahead: &Ahead, reading: Reading) -> Knock {
        let seen: Option<&[Seen]> = match ahead {
            Ahead::All(seen) => Some(seen),
            Ahead::More | Ahead::Nothing => None,
        };
        let values: Vec<Option<Vec<Value<'_>>>> = seen.unwrap_or_default().iter().map(Seen::values).collect();
        let statements: Option<Vec<Statement<'_>>> =
            seen.map(|seen| seen.iter().zip(&values).map(|(seen, values)| seen.with(values)).collect());
        self.shared.doors.knock(&Ask {
            user: &self.identity.user,
            database: &self.database,
            parameters: &self.identity.parameters,
            partition: self.partition.as_deref(),
            current: self.backend.as_ref().map(|backend| &backend.home),
            statements: statements.as_deref(),
            reading,
        })
    }

    /// Whether there is a point in getting ready to be at `home`.
    fn may_go_to(&self, home: &Home) -> bool {
        !self.is_at_place(home) && self.all_pins(Vec::new()).is_empty()
    }

    pub(super) fn traveller(&self) -> Traveller {
        Traveller {
            identity: self.identity.clone(),
            custom: self.custom.list(),
            fresh: self.memory.fresh,
            limits: self.shared.settings.limits,
        }
    }

    /// Waits until the doors let the session go on, ready by then to be at `next`.
    async fn await_warming(
        &mut self,
        answer: Soon<Result<Pass, Complaint>>,
        next: Arc<Home>,
    ) -> Result<Pass, Attended> {
        let (line, traveller, fresh) = (self.shared.turns.at(&next), self.traveller(), self.memory.fresh);
        self.registered.target.lead_to(None);
        let answer = unless_cancelled(self.registered.target.clone(), answer);
        let answer = async { answer.await?.map_err(Attended::Refused) };
        let waiting = await_warming(answer, self.backend.take(), next, line, traveller);
        let Awaited { old, warm, answer } = self.attend(waiting).await?.map_err(|error| lost(&error))?;
        match warm {
            Some(new) => {
                let begun = Instant::now();
                self.has_moved(old, new, fresh);
                self.shared.counts.was_warm();
                self.shared.counts.moved(begun.elapsed());
            }
            None => {
                if let Some(old) = old {
                    self.is_at(old);
                    self.memory.fresh = fresh;
                }
            }
        }
        if self.registered.target.is_asked() {
            return Err(Attended::Refused(super::cancelled()));
        }
        answer
    }

    /// The session is at another server now, with all that it had.
    fn has_moved(&mut self, old: Option<Backend>, new: Backend, fresh: bool) {
        if let Some(old) = old {
            old.leave();
        }
        if let Some(aside) = self.aside.take() {
            aside.backend.leave();
        }
        self.conversation.moved();
        self.tell_parameters(&new);
        self.is_at(new);
        // Whatever was replayed has to be asked for at the next move.
        self.memory.fresh = fresh;
    }

    /// Takes the session to `home`, with all that it has.
    async fn move_to(&mut self, home: Arc<Home>) -> Result<Result<(), Stays>, Attended> {
        let pins = self.all_pins(Vec::new());
        if !pins.is_empty() {
            return Ok(Err(Stays::Pinned(pins)));
        }
        self.registered.target.lead_to(None);
        let begun = Instant::now();
        let (line, traveller, fresh) = (self.shared.turns.at(&home), self.traveller(), self.memory.fresh);
        let moving = relocate(self.backend.take(), home, line, traveller);
        let Relocated { old, outcome } = self.attend(moving).await?.map_err(|error| lost(&error))?;
        match outcome {
            Ok(new) => {
                self.has_moved(old, new, fresh);
                self.shared.counts.moved(begun.elapsed());
                Ok(Ok(()))
            }
            Err(stays) => {
                if let Some(old) = old {
                    self.is_at(old);
                    self.memory.fresh = fresh;
                }
                Ok(Err(stays))
            }
        }
    }

    /// Tells the client which settings are others at the new home.
    fn tell_parameters(&mut self, new: &Backend) {
        for (name, value) in &new.parameters {
            if self.told.get(name) != Some(value) {
                put_parameter(&mut self.client.output, name, value);
            }
        }
        self.told.clone_from(&new.parameters);
    }

    /// Reads what stands in the input up to the next boundary: all that will be run before somebody is asked again.
    ///
    /// A client that asks for answers in between (Flush) may go on with what is not here yet; then nothing is said,
    /// unless it has told all by then.
    fn look_ahead(&self) -> Ahead {
        let input = &self.client.input[..];
        let mut at = 0;
        let mut parsed: Vec<Parse<'_>> = Vec::new();
        let mut seen = Vec::new();
        let mut bound: Vec<&[u8]> = Vec::new();
        let is_closed = loop {
            let rest = &input[at..];
            let head = match head(rest, BODY_MAX) {
                Ok(Some(head)) if rest.len() >= head.total() => head,
                // A client that has not said Sync or Flush yet will say more without an answer.
                Ok(_) if input.len() < self.shared.settings.limits.look_bytes && !self.client.ended => {
                    return Ahead::More;
                }
                _ => return Ahead::Nothing,
            };
            let body = &rest[HEAD_BYTES..head.total()];
            match head.tag {
                frontend::tag::QUERY if at == 0 => {
                    match of_text(frontend::query(body), Vec::new(), None, true) {
                        Some(query) => return Ahead::All(vec![query]),
                        None => return Ahead::Nothing,
                    }
                }
                frontend::tag::PARSE => match Parse::read(body) {
                    Some(parse) => {
                        parsed.retain(|known| known.name != parse.name);
                        parsed.push(parse);
                    }
                    None => return Ahead::Nothing,
                },
                frontend::tag::BIND => {
                    let Some(bind) = Bind::read(body) else { return Ahead::Nothing };
                    let fresh = parsed.iter().find(|parse| parse.name == bind.statement).copied();
                    let kept =
                        || Parse::read(self.conversation.statement(bind.statement)?.get(HEAD_BYTES..)?);
                    let Some(parse) = fresh.or_else(kept) else { return Ahead::Nothing };
                    let own = |value: Value<'_>| (value.binary, value.bytes.map(<[u8]>::to_vec));
                    let values = bind.values().map(|values| values.into_iter().map(own).collect());
                    match of_text(parse.sql, parse.type_oids().collect(), values, true) {
                        Some(statement) => seen.push(statement),
                        None => return Ahead::Nothing,
                    }
                    bound.push(bind.statement);
                }
                frontend::tag::DESCRIBE | frontend::tag::EXECUTE | frontend::tag::CLOSE => {}
                frontend::tag::SYNC => break true,
                frontend::tag::FLUSH => break false,
                frontend::tag::TERMINATE if at == 0 => return Ahead::All(Vec::new()),
                _ => return Ahead::Nothing,
            }
            at += head.total();
        };
        // What is prepared and not run yet is asked about when it is; before a Flush that may be at once.
        for parse in parsed.iter().filter(|parse| !bound.contains(&parse.name)) {
            match of_text(parse.sql, parse.type_oids().collect(), None, !is_closed) {
                Some(statement) => seen.push(statement),
                None => return Ahead::Nothing,
            }
        }
        match is_closed || !seen.is_empty() {
            true => Ahead::All(seen),
            false => Ahead::Nothing,
        }
    }
}

fn of_text(
    sql: &[u8],
    types: Vec<u32>,
    values: Option<Vec<(bool, Option<Vec<u8>>)>>,
    is_run: bool,
) -> Option<Seen> {
    Some(Seen { sql: std::str::from_utf8(sql).ok()?.to_owned(), types, values, is_run })
}

fn pinned(home: &Home, pins: &[String]) -> Complaint {
    let partition = home.partition.as_deref().unwrap_or("the session's database");
    Complaint::fatal("57P01", format!("terminating connection because {partition} has moved"))
        .detail(format!("The session could not be taken along, since it has {}.", pins.join(", ")))
        .hint("Connect again; a new session is at the new home.")
}

pub(super) fn lost(error: &DialError) -> Attended {
    let gone = "the session's server has gone, and the session's settings with it";
    let complaint = Complaint::fatal("57P01", gone).detail(format!("{error}."));
    Attended::End(End::Complaint(complaint.hint("Connect again.")))
}

impl From<End> for Attended {
    fn from(end: End) -> Attended {
        Attended::End(end)
    }
}
