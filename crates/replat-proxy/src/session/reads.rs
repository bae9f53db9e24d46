//! Reads that another home answers, while the writes go to their own.
//!
//! Only what was proved to read, and only as a transaction of its own: one request that is all there. It is answered by
//! a session beside the client's own one, which has the same settings. Until the first row or the end of a statement has
//! come from there, nothing has reached the client; so whatever goes wrong before that is answered at home, and the client
//! notices nothing of it.

use std::sync::Arc;

use bytes::BytesMut;
use replat_wire::backend::{Complaint, TxStatus, tag};
use tokio::time::Instant;

use super::admit::lost;
use super::{Attended, End, Session};
use crate::aside::{Aside, Ear};
use crate::backend::{Belongings, DialError};
use crate::doors::{Home, Share};
use crate::keys::send_cancel;
use crate::prewarm::Traveller;
use crate::relocate::belongings;
use crate::request::Request;

/// After a failure a session reads at home for so long.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(5);
/// How often it is looked whether the proxy stops, while a client takes its time to read.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// A client cancelled: that is an answer, too.
const CANCELED: &str = "57014";

/// What came of asking elsewhere.
enum Elsewhere {
    /// The client has its answer.
    Answered,
    /// The client knows of nothing.
    Unanswered,
}

impl Session {
    /// Has the request at the front of the input answered by another home, if that can be; whether it was.
    pub(super) async fn read_elsewhere(&mut self, share: &Share) -> Result<bool, Attended> {
        let now = Instant::now();
        let own_writes = self.memory.changed.is_some_and(|changed| now - changed < share.stale_max);
        let failed_lately = self.memory.reads_failed.is_some_and(|failed| now - failed < AGAIN);
        if own_writes || failed_lately || self.client.ended {
            return Ok(false);
        }
        let request = Request::at_front(&self.client.input, &self.conversation);
        let Some(request) = request.filter(|request| !request.prepares_by_name()) else { return Ok(false) };
        let Some(mut aside) = self.aside_at(&share.home).await? else {
            self.memory.reads_failed = Some(now);
            return Ok(false);
        };
        match self.answer_from(&mut aside, &request).await? {
            Elsewhere::Answered => {
                if let Some(unnamed) = &request.unnamed {
                    self.conversation.prepared_elsewhere(unnamed);
                }
                self.aside = Some(aside);
                self.shared.counts.began();
                self.shared.counts.read_elsewhere();
                Ok(true)
            }
            Elsewhere::Unanswered => {
                aside.backend.leave();
                self.memory.reads_failed = Some(Instant::now());
                Ok(false)
            }
        }
    }

    /// A session beside the own one at `home`: the one that is there, or another one.
    async fn aside_at(&mut self, home: &Arc<Home>) -> Result<Option<Aside>, Attended> {
        if let Some(mut aside) = self.aside.take() {
            if aside.backend.home.is_place_of(home) && aside.is_alive().await {
                return Ok(Some(aside));
            }
            aside.backend.leave();
        }
        let Some((traveller, found)) = self.belongings().await? else { return Ok(None) };
        let line = self.shared.turns.at(home);
        match self.attend(Aside::open(home.clone(), &line, &traveller, &found)).await? {
            Ok(aside) => Ok(Some(aside)),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(%home, error, "a session for reads cannot be opened");
                Ok(None)
            }
        }
    }

    /// What the session has at its own server; `None` if that ties it there.
    pub(super) async fn belongings(&mut self) -> Result<Option<(Traveller, Belongings)>, Attended> {
        if !self.all_pins(Vec::new()).is_empty() {
            return Ok(None);
        }
        let (traveller, fresh) = (self.traveller(), self.memory.fresh);
        self.registered.target.lead_to(None);
        let mut old = self.backend.take();
        let (traveller, old, found): (_, _, Result<Belongings, DialError>) = self
            .attend(async move {
                let found = belongings(&mut old, &traveller).await;
                (traveller, old, found)
            })
            .await?;
        let found = found.map_err(|error| lost(&error))?;
        if let Some(old) = old {
            self.is_at(old);
            self.memory.fresh = fresh;
        }
        Ok(found.pins.is_empty().then_some((traveller, found)))
    }

    /// Asks `aside` and gives the client what it answers.
    async fn answer_from(&mut self, aside: &mut Aside, request: &Request) -> Result<Elsewhere, Attended> {
        let look_bytes = self.shared.settings.limits.look_bytes;
        let mut own = aside.ask(request);
        let mut ear = Ear::default();
        let mut cancelled = false;
        // What came before anything that counts.
        let mut kept = Some(BytesMut::new());
        loop {
            let hearing = ear.hear(&mut aside.backend.side, look_bytes);
            let heard = match cancelled {
                true => self.attend(hearing).await?,
                false => match self.attend_or_cancel(hearing).await {
                    Ok(heard) => heard,
                    // The client's key leads to the proxy as long as this goes on.
                    Err(Attended::Refused(_)) => {
                        cancelled = true;
                        if let Some(key) = aside.backend.key {
                            self.attend(send_cancel(&aside.backend.way, key)).await?;
                        }
                        continue;
                    }
                    Err(end) => return Err(end),
                },
            };
            let Ok(piece) = heard else {
                return match kept {
                    Some(_) => Ok(Elsewhere::Unanswered),
                    None => Err(Attended::End(End::ServerGone)),
                };
            };
            match piece.tag {
                tag::PARAMETER | tag::NOTIFICATION => continue,
                tag::PARSE_COMPLETE | tag::CLOSE_COMPLETE if own > 0 => {
                    own -= 1;
                    continue;
                }
                tag::ERROR if kept.is_some() && Complaint::read(piece.body()).sqlstate != CANCELED => {
                    return Ok(Elsewhere::Unanswered);
                }
                _ => {}
            }
            let counts = !matches!(
                piece.tag,
                tag::PARSE_COMPLETE | tag::BIND_COMPLETE | tag::NOTICE | b'T' | b't' | b'n'
            );
            if counts && let Some(before) = kept.take() {
                drop(self.client.input.split_to(request.length));
                self.client.output.extend_from_slice(&before);
            }
            let output = kept.as_mut().unwrap_or(&mut self.client.output);
            output.extend_from_slice(&piece.bytes);
            if piece.tag == tag::READY {
                // What began no transaction has ended, or its server is none.
                return match TxStatus::read(piece.body()) {
                    Some(TxStatus::Idle) => Ok(Elsewhere::Answered),
                    _ => Err(Attended::End(End::ServerGone)),
                };
            }
            self.give_way().await?;
        }
    }

    /// Waits for a client that reads slowly.
    async fn give_way(&mut self) -> Result<(), Attended> {
        while self.client.output.len() >= self.shared.settings.limits.buffer_bytes {
            match tokio::time::timeout(LOOK_EVERY, self.client.drain()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Attended::End(End::ClientGone)),
                Err(_) => self.attend(std::future::ready(())).await?,
            }
            self.leave_if_ordered()?;
        }
        Ok(())
    }
}
