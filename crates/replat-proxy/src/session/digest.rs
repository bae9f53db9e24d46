//! Frames from one buffer to the other, as long as nothing has to be waited for.

use replat_wire::backend::{self, Complaint};
use replat_wire::conversation::Fate;
use replat_wire::frame::{BODY_MAX, HEAD_BYTES, Head, Tag, head};
use replat_wire::frontend::{self, Bind, Parse};

use tokio::time::Instant;

use super::{End, Memory, Session, put_idle};
use crate::custom::{Choice, choice};
use crate::doors::Doors;
use crate::greet::violation;

/// What has to happen before more of the client's input can be dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Something must be read, from either side.
    Read,
    /// The session is at a boundary and its client begins something.
    Knock,
    /// The client said good-bye.
    Bye,
}

/// The longest statement whose text is looked at, and of which choices are remembered. Unit: bytes.
const TEXT_MAX: usize = 64 * 1024;
/// How many prepared statements that may change the `search_path` are told apart; with more, every one may.
const UNSETTLING_MAX: usize = 256;
/// How many prepared statements that choose a partition are remembered.
const CHOICES_MAX: usize = 64;

impl Session {
    /// Takes everything over to the server that may go there now.
    pub(super) fn digest_client(&mut self) -> Result<Step, End> {
        let mut run = 0;
        let step = loop {
            if self.memory.client_rest > 0 {
                let count = self.memory.client_rest.min(self.client.input.len() - run);
                self.memory.client_rest -= count;
                match self.memory.client_drop {
                    true => {
                        self.pass_to_server(run);
                        run = 0;
                        drop(self.client.input.split_to(count));
                    }
                    false => run += count,
                }
                if self.memory.client_rest > 0 {
                    break Step::Read;
                }
                self.memory.client_drop = false;
            }
            let buffer = &self.client.input[run..];
            let Some(head) = head(buffer, BODY_MAX).map_err(bad_frame)? else { break Step::Read };
            if !frontend::is_known(head.tag) {
                return Err(End::Complaint(violation(&format!("no message begins with {}", Tag(head.tag)))));
            }
            let have = buffer.len().min(head.total());
            let is_whole = have == head.total();
            if !is_whole && is_looked_into(head.tag) && have < self.shared.settings.limits.look_bytes {
                break Step::Read;
            }
            if head.tag == frontend::tag::TERMINATE {
                self.pass_to_server(run);
                return Ok(Step::Bye);
            }
            if self.memory.skipping {
                // Nothing stands before it: a refusal comes at a boundary.
                self.skip(head, have);
                continue;
            }
            if self.pass.is_none() && begins(head.tag) {
                break Step::Knock;
            }
            if self.conversation.is_waiting()
                && self.conversation.begins_anew(head.tag)
                && (self.memory.attempt.is_some()
                    || self.may_miss(buffer)
                    || self.is_recalled()
                    || self.asks_each_time()
                    || self.choice_in(buffer).is_some())
            {
                // The answers that are under way may bring the boundary that somebody waits for, or that a choice
                // of another partition needs.
                break Step::Read;
            }
            run = self.take(head, run, have, is_whole);
        };
        self.pass_to_server(run);
        Ok(step)
    }

    /// Takes one message of the client, whose first `have` bytes stand behind `run` bytes that are to go to the
    /// server; how many those are now.
    fn take(&mut self, head: Head, run: usize, have: usize, is_whole: bool) -> usize {
        let mut run = run;
        self.note(head, run, have);
        let body = &self.client.input[run + HEAD_BYTES..run + have];
        let before = match is_sql_about_statements(head.tag, body) {
            true if self.conversation.has_unprepared() => {
                let and_sync = head.tag == frontend::tag::QUERY && !self.conversation.is_unsynced();
                let mut frames: Vec<_> = self.conversation.prepare_all(and_sync);
                if and_sync {
                    let mut sync = bytes::BytesMut::new();
                    frontend::put_sync(&mut sync);
                    frames.push(sync.freeze());
                }
                frames
            }
            true => Vec::new(),
            false => self.conversation.prepare_for(head.tag, body).into_iter().collect(),
        };
        if !before.is_empty() {
            self.pass_to_server(run);
            run = 0;
            if let Some(backend) = &mut self.backend {
                before.iter().for_each(|frame| backend.side.output.extend_from_slice(frame));
            }
        }
        self.conversation.ask(head.tag, &self.client.input[run..run + have], is_whole);
        self.memory.client_rest = head.total() - have;
        run + have
    }

    /// Whether each transaction has to say by itself where it belongs: then none is sent behind another one that has not
    /// been answered, since nobody would be asked about it.
    fn asks_each_time(&self) -> bool {
        self.statements_matter()
    }

    /// Whether the doors want to know what a transaction is about to do.
    pub(super) fn statements_matter(&self) -> bool {
        match &self.partition {
            None => self.shared.doors.reads_statements(),
            Some(partition) => self.shared.doors.shares_reads(partition),
        }
    }

    fn is_recalled(&self) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.is_recalled())
    }

    fn pass_to_server(&mut self, count: usize) {
        if count > 0 {
            match &mut self.backend {
                Some(backend) => {
                    self.memory.fresh = false;
                    self.client.pass(count, &mut backend.side.output);
                }
                // Only messages that mean nothing outside a transaction come here without a server.
                None => drop(self.client.input.split_to(count)),
            }
        }
    }

    /// Remembers what a statement says about the session's own settings.
    fn note(&mut self, head: Head, run: usize, have: usize) {
        let body = &self.client.input[run + HEAD_BYTES..run + have];
        if self.partition.is_some() {
            // Nobody reads its statements now; if somebody does later, the server is asked.
            self.memory.path_in_doubt = true;
        } else if self.shared.doors.reads_statements() {
            note_path(&mut self.memory, &*self.shared.doors, head, body);
        }
        let (name, sql) = match head.tag {
            frontend::tag::QUERY => (None, frontend::query(body)),
            frontend::tag::PARSE => match Parse::read(body) {
                Some(parse) => (Some(parse.name), parse.sql),
                None => return,
            },
            frontend::tag::BIND => {
                if !self.memory.choices.is_empty()
                    && let Some(bind) = Bind::read(body)
                {
                    let chosen = self.memory.choices.get(bind.statement).cloned();
                    self.memory.pending = chosen.or(self.memory.pending.take());
                }
                return;
            }
            _ => return,
        };
        if sql.len() > TEXT_MAX {
            return;
        }
        let Ok(sql) = std::str::from_utf8(sql) else { return };
        self.custom.read(sql);
        let chosen = choice(sql);
        match name {
            None => self.memory.pending = chosen.or(self.memory.pending.take()),
            Some(name) => match chosen {
                Some(chosen) if self.memory.choices.len() < CHOICES_MAX => {
                    self.memory.choices.insert(name.into(), chosen);
                }
                _ => drop(self.memory.choices.remove(name)),
            },
        }
    }

    /// The choice of a partition that the message makes which `buffer` begins with, if it is whole.
    pub(super) fn choice_in(&self, buffer: &[u8]) -> Option<Choice> {
        let head = head(buffer, BODY_MAX).ok()??;
        let body = buffer.get(HEAD_BYTES..head.total())?;
        let sql = match head.tag {
            frontend::tag::QUERY => frontend::query(body),
            frontend::tag::PARSE => Parse::read(body)?.sql,
            frontend::tag::BIND => return self.memory.choices.get(Bind::read(body)?.statement).cloned(),
            _ => return None,
        };
        if sql.len() > TEXT_MAX {
            return None;
        }
        choice(std::str::from_utf8(sql).ok()?)
    }

    /// Answers the request that stands at the front of the input by `complaint`, in the server's place.
    pub(super) fn refuse(&mut self, complaint: &Complaint) -> Result<(), End> {
        if complaint.fatal {
            return Err(End::Complaint(complaint.clone()));
        }
        let Some(head) = head(&self.client.input, BODY_MAX).map_err(bad_frame)? else { return Ok(()) };
        complaint.put(&mut self.client.output);
        match frontend::is_extended(head.tag) {
            true => self.memory.skipping = true,
            false => {
                put_idle(&mut self.client.output);
                let have = self.client.input.len().min(head.total());
                self.drop_client(head, have);
            }
        }
        Ok(())
    }

    fn skip(&mut self, head: Head, have: usize) {
        self.drop_client(head, have);
        if head.tag == frontend::tag::SYNC {
            self.memory.skipping = false;
            put_idle(&mut self.client.output);
        }
    }

    fn drop_client(&mut self, head: Head, have: usize) {
        drop(self.client.input.split_to(have));
        self.memory.client_rest = head.total() - have;
        self.memory.client_drop = self.memory.client_rest > 0;
    }

    /// Takes everything over to the client that the server has said.
    pub(super) fn digest_server(&mut self) -> Result<(), End> {
        let Some(backend) = &mut self.backend else { return Ok(()) };
        let look_bytes = self.shared.settings.limits.look_bytes;
        let mut run = 0;
        loop {
            let input = &backend.side.input;
            if self.memory.server_rest > 0 {
                let count = self.memory.server_rest.min(input.len() - run);
                self.memory.server_rest -= count;
                run += count;
                if self.memory.server_rest > 0 {
                    break;
                }
            }
            let buffer = &input[run..];
            let Some(head) = head(buffer, BODY_MAX).map_err(bad_frame)? else { break };
            let have = buffer.len().min(head.total());
            let is_heard = is_heard(head.tag) || self.memory.attempt.is_some() || self.lent.listens();
            if have < head.total() && is_heard && have < look_bytes {
                break;
            }
            let body = &buffer[HEAD_BYTES..have];
            let fate = self.conversation.hear(head.tag, body);
            let fate = fate.map_err(|error| End::Complaint(violation(&error.to_string())))?;
            let mut fate = self.memory.weigh(head.tag, &buffer[..have], have == head.total(), fate);
            let mut owed = None;
            if head.tag == backend::tag::READY && fate == Fate::Pass {
                (fate, owed) = self.memory.settle(self.conversation.at_boundary());
            }
            if fate == Fate::Pass {
                self.lent.hear(head.tag, body, have == head.total());
            }
            match head.tag {
                backend::tag::PARAMETER => {
                    if let Some((name, value)) = backend::parameter(body) {
                        self.memory.path_in_doubt |= name == "search_path";
                        self.told.insert(name.to_owned(), value.to_owned());
                    }
                }
                backend::tag::ERROR => {
                    self.memory.fatal_told |= Complaint::read(body).fatal;
                    self.memory.pending = None;
                }
                backend::tag::COMMAND_COMPLETE if backend::command(body) == b"ROLLBACK" => {
                    self.memory.pending = None;
                }
                // What stood at start-up is back; where it could not be told the home's settings, they are gone.
                backend::tag::COMMAND_COMPLETE
                    if backend.home.pooled && matches!(backend::command(body), b"RESET" | b"DISCARD ALL") =>
                {
                    backend.settled = false;
                }
                _ => {}
            }
            // A message that is swallowed is short, so it is here as a whole.
            match fate {
                Fate::Swallow => {
                    backend.side.pass(run, &mut self.client.output);
                    run = 0;
                    drop(backend.side.input.split_to(have));
                }
                Fate::Pass => {
                    if let Some(error) = owed {
                        backend.side.pass(run, &mut self.client.output);
                        self.client.output.extend_from_slice(&error);
                        run = 0;
                    }
                    run += have;
                }
            }
            self.memory.server_rest = head.total() - have;
            if head.tag == backend::tag::READY && self.conversation.at_boundary() {
                // Before the client hears of it: whoever waits for the boundary need not wait for the client.
                if self.pass.take().is_some_and(|pass| !pass.only_reads) {
                    self.memory.changed = Some(Instant::now());
                }
                match self.memory.pending.take() {
                    Some(Choice::This(partition)) => self.partition = Some(partition),
                    Some(Choice::AsAtStart) => self.partition = self.partition_at_start.clone(),
                    None => {}
                }
            }
        }
        if run > 0 {
            backend.side.pass(run, &mut self.client.output);
        }
        Ok(())
    }
}

/// Remembers whether what the client sends may change by which `search_path` later statements are read.
fn note_path(memory: &mut Memory, doors: &dyn Doors, head: Head, body: &[u8]) {
    let may = |sql: &[u8]| match std::str::from_utf8(sql) {
        Ok(text) if body.len() + HEAD_BYTES == head.total() && text.len() <= TEXT_MAX => {
            doors.unsettles(text)
        }
        _ => true,
    };
    let is_full = memory.unsettling.len() >= UNSETTLING_MAX;
    memory.path_in_doubt |= match head.tag {
        frontend::tag::QUERY => may(frontend::query(body)),
        frontend::tag::PARSE => match Parse::read(body) {
            Some(parse) if !is_full && may(parse.sql) => !memory.unsettling.insert(parse.name.into()),
            Some(parse) => !is_full && memory.unsettling.remove(parse.name),
            None => true,
        },
        frontend::tag::BIND => {
            Bind::read(body).is_none_or(|bind| is_full || memory.unsettling.contains(bind.statement))
        }
        frontend::tag::FUNCTION => true,
        _ => false,
    };
}

fn bad_frame(error: replat_wire::frame::BadFrame) -> End {
    End::Complaint(violation(&error.to_string()))
}

/// Whether a client's message begins something that the server will answer.
fn begins(tag: u8) -> bool {
    use frontend::tag::*;
    matches!(tag, QUERY | FUNCTION | SYNC) || frontend::is_extended(tag)
}

fn is_looked_into(tag: u8) -> bool {
    use frontend::tag::*;
    matches!(tag, QUERY | PARSE | BIND | DESCRIBE | CLOSE)
}

fn is_heard(tag: u8) -> bool {
    use backend::tag::*;
    matches!(tag, READY | COMMAND_COMPLETE | PARAMETER | ERROR)
}

/// Whether a statement of SQL may name prepared statements, which must be there then.
fn is_sql_about_statements(tag: u8, body: &[u8]) -> bool {
    let sql = match tag {
        frontend::tag::QUERY => frontend::query(body),
        frontend::tag::PARSE => Parse::read(body).map_or(&[][..], |parse| parse.sql),
        _ => return false,
    };
    let begins = |word: &[u8]| sql.get(..word.len()).is_some_and(|first| first.eq_ignore_ascii_case(word));
    begins(b"execute") || begins(b"deallocate")
}
