//! What a session does for reads that are compared with another home's: it lends what it knows, and listens to its own
//! server. The rest is done in the background.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use replat_statement::Shape;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Attended, End, Session};
use crate::backend::Belongings;
use crate::compare::{Answer, Heard};
use crate::doors::{Home, Share};
use crate::request::Request;
use crate::shadow::{Places, Shadow, Skipped, Timed};

/// How often the own server is asked for the session's settings, at most.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What a session knows of its own server for comparisons.
#[derive(Default)]
pub(crate) struct Lent {
    places: Places,
    known: Known,
    /// Somebody would have liked to know.
    is_wanted: bool,
    asked: Option<Instant>,
    listening: Option<Listening>,
}

#[derive(Default)]
enum Known {
    #[default]
    Nothing,
    /// It has what cannot be had elsewhere.
    Pinned,
    All(Belongings),
}

/// The answer that the own server is giving to a request that is compared.
struct Listening {
    answer: Answer,
    begun: Instant,
    to: oneshot::Sender<Timed>,
}

impl Lent {
    /// What was known of the session's settings may be so no more.
    pub(super) fn forget(&mut self) {
        self.known = Known::Nothing;
    }

    pub(super) fn close(&self) {
        self.places.close();
    }

    /// Whether whole messages of the own server are wanted.
    pub(super) fn listens(&self) -> bool {
        self.listening.is_some()
    }

    /// Takes note of a message that the client gets.
    pub(super) fn hear(&mut self, tag: u8, body: &[u8], is_whole: bool) {
        let Some(mut listening) = self.listening.take() else { return };
        let heard = if is_whole { listening.answer.hear(tag, body) } else { Heard::Unfit };
        match heard {
            Heard::More => self.listening = Some(listening),
            // Nobody may be waiting any more.
            Heard::All => drop(listening.to.send((listening.answer, listening.begun.elapsed()))),
            Heard::Unfit => {}
        }
    }
}

impl Session {
    /// Has the request at the front of the input run at another home as well. Nothing is waited for.
    pub(super) fn shadow(&mut self, home: &Arc<Home>, share: &Share, sql: Vec<String>) {
        self.lent.listening = None;
        if let Err(why) = self.try_shadow(home, share, sql) {
            self.shared.shadows.skip(why);
        }
    }

    fn try_shadow(&mut self, home: &Arc<Home>, share: &Share, sql: Vec<String>) -> Result<(), Skipped> {
        if let (Known::Nothing, true) = (&self.lent.known, self.memory.fresh) {
            self.lent.known = Known::All(Belongings::default());
        }
        let belongings = match &self.lent.known {
            Known::Nothing => {
                self.lent.is_wanted = true;
                return Err(Skipped::Settings);
            }
            Known::Pinned => return Err(Skipped::Pinned),
            Known::All(belongings) => belongings.clone(),
        };
        let request = Request::at_front(&self.client.input, &self.conversation);
        let request = request.filter(|request| !request.prepares_by_name()).ok_or(Skipped::Form)?;
        let turn = self.shared.shadows.turn().ok_or(Skipped::Busy)?;
        let shapes: Vec<Shape> = sql.iter().map(|sql| Shape::of(sql)).collect();
        if !shapes.iter().all(Shape::is_steady) {
            return Err(Skipped::Form);
        }
        let taken = self.lent.places.take()?;
        let (to, own) = oneshot::channel();
        let answer = self.shared.shadows.answer();
        self.lent.listening = Some(Listening { answer, begun: Instant::now(), to });
        let (shared, traveller) = (self.shared.clone(), self.traveller());
        let (own_home, share) = (home.clone(), share.clone());
        let shadow = Shadow { shared, own: own_home, share, traveller, belongings, request, sql, shapes };
        tokio::spawn(shadow.run(turn, taken, own));
        Ok(())
    }

    /// Asks the own server for the session's settings if they are wanted, while its client asks nothing.
    pub(super) async fn lend(&mut self) -> Result<(), End> {
        let is_due = self.lent.asked.is_none_or(|asked| asked.elapsed() >= ASK_EVERY);
        if !self.lent.is_wanted || !is_due || !self.is_at_rest() || !self.client.input.is_empty() {
            return Ok(());
        }
        // The client has its last answer first.
        let told = poll_fn(|cx| Poll::Ready(self.client.poll_drain(cx))).await;
        let hears_nothing = self.backend.as_ref().is_some_and(|backend| backend.side.input.is_empty());
        match told {
            Poll::Ready(Ok(())) if hears_nothing => {}
            Poll::Ready(Err(_)) => return Err(End::ClientGone),
            _ => return Ok(()),
        }
        self.lent.is_wanted = false;
        self.lent.asked = Some(Instant::now());
        self.lent.known = match self.belongings().await {
            Ok(Some((_, belongings))) => Known::All(belongings),
            Ok(None) => Known::Pinned,
            Err(Attended::End(end)) => return Err(end),
            Err(Attended::Refused(_)) => Known::Nothing,
        };
        Ok(())
    }
}
