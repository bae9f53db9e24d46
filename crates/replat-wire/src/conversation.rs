//! Where a session stands: what its client still waits for, which statements it has prepared, and whether the
//! moment is one at which it could go on elsewhere.
//!
//! A session is **at a boundary** when nothing that its client asked is unanswered, its server's last word was that
//! no transaction is open, and no message of the extended protocol has come since the last Sync. Only there may a
//! relay hold a session or take it to another server.
//!
//! The rules that are easy to get wrong:
//! - After an error the server skips everything up to the next Sync, so a ReadyForQuery answers its Sync *and*
//!   all that was asked before it.
//! - While the server takes rows for COPY it ignores Sync. A Sync that the client sent ahead is never answered.
//! - A statement exists from its ParseComplete on, whatever becomes of the transaction.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::backend::{self, TxStatus};
use crate::frontend;

/// One thing that the server will answer.
#[derive(Debug)]
enum Expected {
    /// ParseComplete. The frame is kept if it names its statement.
    Parse { named: Option<(Box<[u8]>, Bytes)> },
    /// ParseComplete for a statement that the relay prepared again; its client must not see it.
    Again { name: Box<[u8]> },
    /// CloseComplete, and the statement's name if it is one.
    Close { statement: Option<Box<[u8]>> },
    /// ReadyForQuery, for a Query or a FunctionCall.
    Answer,
    /// ReadyForQuery, for a Sync.
    Sync,
    /// ReadyForQuery, for a Sync of the relay's own; its client must not see it, nor an error before it.
    OwnSync,
    /// Nothing; but Syncs behind it are answered even if those before it were ignored.
    CopyEnd,
}

/// What becomes of a server's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The client gets it.
    Pass,
    /// It answers what the relay asked, so the client does not.
    Swallow,
}

/// The server answered what nobody asked. The session cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sent {} that nobody asked for", crate::frame::Tag(*tag))]
pub struct OutOfStep {
    /// The message's tag.
    pub tag: u8,
}

/// A prepared statement that has a name.
#[derive(Debug)]
struct Statement {
    frame: Bytes,
    /// Whether the present server has it, or will have before anything that is sent now.
    here: bool,
}

/// The state of one session, towards its client and its present server.
#[derive(Debug)]
pub struct Conversation {
    expected: VecDeque<Expected>,
    status: TxStatus,
    /// A message of the extended protocol has come since the last Sync.
    unsynced: bool,
    /// The server takes rows for COPY.
    copying_in: bool,
    statements: HashMap<Box<[u8]>, Statement>,
    statement_bytes: usize,
    statement_bytes_max: usize,
    forgetful: bool,
}

impl Conversation {
    /// A session whose server waits for its first request. Statements are remembered up to `statement_bytes_max`
    /// bytes in all.
    pub fn new(statement_bytes_max: usize) -> Conversation {
        Conversation {
            expected: VecDeque::new(),
            status: TxStatus::Idle,
            unsynced: false,
            copying_in: false,
            statements: HashMap::new(),
            statement_bytes: 0,
            statement_bytes_max,
            forgetful: false,
        }
    }

    /// Whether the session could go on elsewhere now.
    pub fn at_boundary(&self) -> bool {
        self.status == TxStatus::Idle && !self.unsynced && !self.copying_in && self.expected.is_empty()
    }

    /// Whether a message with this tag begins a request that might as well be made elsewhere, if the answers that
    /// are still to come say that no transaction is open.
    pub fn begins_anew(&self, tag: u8) -> bool {
        let request = matches!(tag, frontend::tag::QUERY | frontend::tag::FUNCTION);
        !self.unsynced && !self.copying_in && (request || frontend::is_extended(tag))
    }

    /// Whether the server owes an answer.
    pub fn is_waiting(&self) -> bool {
        !self.expected.is_empty()
    }

    /// Whether the server takes rows for COPY.
    pub fn is_copying_in(&self) -> bool {
        self.copying_in
    }

    /// Whether messages of the extended protocol wait for their Sync.
    pub fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// The server's last word on transactions.
    pub fn status(&self) -> TxStatus {
        self.status
    }

    /// Whether statements were prepared that were too large to be remembered, so that they cannot be taken along.
    pub fn is_forgetful(&self) -> bool {
        self.forgetful
    }

    /// Takes note of a message of the client, which goes to the server.
    ///
    /// `frame` is the whole message, or as much as there is of a long one. `is_whole` says which.
    pub fn ask(&mut self, tag: u8, frame: &[u8], is_whole: bool) {
        use frontend::tag as t;
        let body = frame.get(crate::frame::HEAD_BYTES..).unwrap_or_default();
        self.unsynced |= frontend::is_extended(tag);
        match tag {
            t::QUERY | t::FUNCTION => self.expected.push_back(Expected::Answer),
            t::SYNC if self.copying_in => {}
            t::SYNC => {
                self.unsynced = false;
                self.expected.push_back(Expected::Sync);
            }
            t::PARSE => {
                let name = frontend::Parse::read(body).map_or(&[][..], |parse| parse.name);
                let named = !name.is_empty();
                if !named {
                    self.forget(name);
                }
                self.forgetful |= named && !is_whole;
                let kept = (named && is_whole).then(|| (name.into(), Bytes::copy_from_slice(frame)));
                self.expected.push_back(Expected::Parse { named: kept });
            }
            t::CLOSE => {
                let statement = match frontend::Object::read(body) {
                    Some(frontend::Object::Statement(name)) => Some(name.into()),
                    _ => None,
                };
                self.expected.push_back(Expected::Close { statement });
            }
            t::COPY_DONE | t::COPY_FAIL => match self.copying_in {
                true => self.copying_in = false,
                // Sent before the server said that it takes rows: or there is no COPY, and it means nothing.
                false if !self.expected.is_empty() || self.unsynced => {
                    self.expected.push_back(Expected::CopyEnd);
                }
                false => {}
            },
            _ => {}
        }
    }

    /// The Parse that must go to the server before this message of the client can; `None` if it needs none.
    /// It is taken as sent: its ParseComplete will be swallowed.
    pub fn prepare_for(&mut self, tag: u8, body: &[u8]) -> Option<Bytes> {
        let name = match tag {
            frontend::tag::BIND => frontend::Bind::read(body)?.statement,
            frontend::tag::DESCRIBE => match frontend::Object::read(body)? {
                frontend::Object::Statement(name) => name,
                frontend::Object::Portal(_) => return None,
            },
            _ => return None,
        };
        self.prepare(name)
    }

    fn prepare(&mut self, name: &[u8]) -> Option<Bytes> {
        let statement = self.statements.get_mut(name).filter(|statement| !statement.here)?;
        // Not when its ParseComplete comes: the client may send several Binds before that.
        statement.here = true;
        self.expected.push_back(Expected::Again { name: name.into() });
        Some(statement.frame.clone())
    }

    /// The text of a statement that was prepared under a name, as a Parse's whole frame.
    pub fn statement(&self, name: &[u8]) -> Option<&Bytes> {
        self.statements.get(name).map(|statement| &statement.frame)
    }

    /// The client has prepared its unnamed statement on another server, by this Parse frame: here it is prepared when it
    /// is asked for.
    pub fn prepared_elsewhere(&mut self, unnamed: &Bytes) {
        let name: Box<[u8]> = Box::default();
        self.keep(name.clone(), unnamed.clone());
        self.is_not_here(&name);
    }

    /// All statements that the present server does not have, as Parse frames, for a statement of SQL that may name
    /// any of them. They are taken as sent; before a Query (`and_sync`) a Sync must follow them.
    pub fn prepare_all(&mut self, and_sync: bool) -> Vec<Bytes> {
        let mut frames = Vec::new();
        for (name, statement) in self.statements.iter_mut().filter(|(_, statement)| !statement.here) {
            statement.here = true;
            self.expected.push_back(Expected::Again { name: name.clone() });
            frames.push(statement.frame.clone());
        }
        if and_sync && !frames.is_empty() {
            self.expected.push_back(Expected::OwnSync);
        }
        frames
    }

    /// Whether statements are remembered that the present server does not have.
    pub fn has_unprepared(&self) -> bool {
        self.statements.values().any(|statement| !statement.here)
    }

    /// Takes note of a message of the server. `body` may be cut short if the message is long.
    ///
    /// # Errors
    ///
    /// [`OutOfStep`] if it answers what was never asked.
    pub fn hear(&mut self, tag: u8, body: &[u8]) -> Result<Fate, OutOfStep> {
        use backend::tag as t;
        match tag {
            t::READY => {
                self.status = TxStatus::read(body).ok_or(OutOfStep { tag })?;
                return Ok(self.answered());
            }
            t::PARSE_COMPLETE => match self.next_answer() {
                Some(Expected::Parse { named: Some((name, frame)) }) => self.keep(name, frame),
                Some(Expected::Parse { named: None }) => {}
                Some(Expected::Again { .. }) => return Ok(Fate::Swallow),
                _ => return Err(OutOfStep { tag }),
            },
            t::CLOSE_COMPLETE => match self.next_answer() {
                Some(Expected::Close { statement: Some(name) }) => self.forget(&name),
                Some(Expected::Close { statement: None }) => {}
                _ => return Err(OutOfStep { tag }),
            },
            t::COMMAND_COMPLETE => match backend::command(body) {
                b"DEALLOCATE ALL" | b"DISCARD ALL" => self.forget_all(),
                _ => {}
            },
            t::COPY_IN => self.begin_copy(),
            t::ERROR => {
                self.copying_in = false;
                if self.answers_own_sync() {
                    return Ok(Fate::Swallow);
                }
            }
            _ => {}
        }
        Ok(Fate::Pass)
    }

    /// The session has another server, which knows nothing of it.
    pub fn moved(&mut self) {
        self.expected.clear();
        self.status = TxStatus::Idle;
        self.unsynced = false;
        self.copying_in = false;
        self.statements.values_mut().for_each(|statement| statement.here = false);
    }

    /// A request has been answered, up to its end. What the server skipped before that was asked in vain.
    fn answered(&mut self) -> Fate {
        let mut fate = Fate::Pass;
        while let Some(skipped) = self.expected.pop_front() {
            match skipped {
                Expected::Answer | Expected::Sync => break,
                Expected::OwnSync => {
                    fate = Fate::Swallow;
                    break;
                }
                Expected::Again { name } => self.is_not_here(&name),
                _ => {}
            }
        }
        // The end of rows for a COPY that has failed by now.
        while let Some(Expected::CopyEnd) = self.expected.front() {
            self.expected.pop_front();
        }
        fate
    }

    fn next_answer(&mut self) -> Option<Expected> {
        while let Some(Expected::CopyEnd) = self.expected.front() {
            self.expected.pop_front();
        }
        self.expected.pop_front()
    }

    fn answers_own_sync(&self) -> bool {
        let answer =
            |expected: &&Expected| matches!(expected, Expected::Answer | Expected::Sync | Expected::OwnSync);
        matches!(self.expected.iter().find(answer), Some(Expected::OwnSync))
    }

    /// The server reads rows until CopyDone or CopyFail, and ignores every Sync up to there.
    fn begin_copy(&mut self) {
        let by_query = matches!(self.expected.front(), Some(Expected::Answer));
        match self.expected.iter().position(|expected| matches!(expected, Expected::CopyEnd)) {
            Some(end) => {
                let behind = self.expected.split_off(end + 1);
                self.expected.pop_back();
                self.ignore_syncs();
                self.expected.extend(behind);
            }
            None => {
                self.copying_in = true;
                self.ignore_syncs();
                self.unsynced |= !by_query;
            }
        }
    }

    fn ignore_syncs(&mut self) {
        self.expected.retain(|expected| !matches!(expected, Expected::Sync));
    }

    fn keep(&mut self, name: Box<[u8]>, frame: Bytes) {
        self.forget(&name);
        self.statement_bytes += frame.len();
        if self.statement_bytes > self.statement_bytes_max {
            self.statement_bytes -= frame.len();
            self.forgetful = true;
            return;
        }
        self.statements.insert(name, Statement { frame, here: true });
    }

    fn forget(&mut self, name: &[u8]) {
        if let Some(statement) = self.statements.remove(name) {
            self.statement_bytes -= statement.frame.len();
        }
    }

    fn forget_all(&mut self) {
        self.statements.clear();
        self.statement_bytes = 0;
        self.forgetful = false;
    }

    fn is_not_here(&mut self, name: &[u8]) {
        if let Some(statement) = self.statements.get_mut(name) {
            statement.here = false;
        }
    }
}
