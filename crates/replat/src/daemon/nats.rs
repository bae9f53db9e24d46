//! Messages from NATS JetStream.
//!
//! A durable consumer keeps its place in the stream over restarts, and several daemons that name the same consumer
//! share its messages. A message is acknowledged when its run has succeeded; one that nobody acknowledges comes again.

use std::time::Duration;

use async_nats::ConnectErrorKind;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::{self, AckKind, Message};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::{Ask, Occasion, Waiting};

/// How long the server waits for an acknowledgement. A run that takes longer says that it is at work.
pub(super) const ACK_WAIT: Duration = Duration::from_secs(120);

/// How long a message rests before it comes again after a run that did not succeed: the first time, and at most. Each
/// time it rests twice as long.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_MAX: Duration = Duration::from_secs(15 * 60);

/// So many messages are on their way to us at most; the others stay on the server, for us or for another consumer.
const AT_ONCE: usize = 64;

/// How long to wait after the consumer was lost.
const LOST: Duration = Duration::from_secs(2);

/// Where messages come from.
#[derive(Clone)]
pub struct JetStart {
    /// The server: `nats://host:4222`, with several separated by commas. It may contain a password.
    pub url: String,
    /// The text of a credentials file, if the server asks for one.
    pub credentials: Option<String>,
    /// The stream. It has to be there.
    pub stream: String,
    /// Of which subject; `None`: all of the stream.
    pub subject: Option<String>,
    /// The name under which the place in the stream is kept.
    pub consumer: String,
}

/// Why messages cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{what} failed: {why}")]
pub struct JetError {
    /// Whether the same may succeed later, with nothing changed.
    pub temporary: bool,
    /// What was tried.
    pub what: String,
    /// Why it failed. Addresses in it carry no password.
    pub why: String,
}

fn failed(what: impl Into<String>, temporary: bool) -> impl FnOnce(&dyn std::error::Error) -> JetError {
    let what = what.into();
    move |error| JetError { temporary, what, why: error.to_string() }
}

/// A consumer of a stream.
pub struct Jet {
    consumer: PullConsumer,
}

impl Jet {
    /// Connects and finds the consumer, or makes it.
    ///
    /// # Errors
    ///
    /// [`JetError`] if the server or the stream cannot be had.
    pub async fn open(start: JetStart) -> Result<Jet, JetError> {
        let mut options = async_nats::ConnectOptions::new().name("replat rotate");
        if let Some(text) = &start.credentials {
            // What is wrong with it is not repeated: it is a key.
            options = options.credentials(text).map_err(|_| JetError {
                temporary: false,
                what: "reading the credentials of NATS".into(),
                why: "they are not what `nsc generate creds` writes".into(),
            })?;
        }
        let servers: Vec<async_nats::ServerAddr> = start
            .url
            .split(',')
            .map(|url| url.trim().parse())
            .collect::<Result<_, _>>()
            // The address is not repeated: it may hold a password.
            .map_err(|_| JetError {
                temporary: false,
                what: "reading the address of NATS".into(),
                why: "it is not nats://host:port".into(),
            })?;
        let client = options.connect(servers).await.map_err(|e| {
            // A server that lets nobody in will not change its mind.
            let refused = matches!(
                e.kind(),
                ConnectErrorKind::Authentication
                    | ConnectErrorKind::AuthorizationViolation
                    | ConnectErrorKind::Tls
            );
            failed("connecting to NATS", !refused)(&e)
        })?;
        let stream = jetstream::new(client).get_stream(&start.stream).await.map_err(|e| {
            let there = !matches!(e.kind(), GetStreamErrorKind::JetStream(_) | GetStreamErrorKind::EmptyName);
            failed(format!("finding the stream {} on NATS", start.stream), there)(&e)
        })?;
        let wanted = start.subject.unwrap_or_default();
        let config = pull::Config {
            durable_name: Some(start.consumer.clone()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            filter_subject: wanted.clone(),
            ..pull::Config::default()
        };
        let what = format!("finding the consumer {} on NATS", start.consumer);
        let consumer: PullConsumer = stream
            .get_or_create_consumer(&start.consumer, config)
            .await
            .map_err(|e| failed(what.clone(), false)(&e))?;
        let known = &consumer.cached_info().config.filter_subject;
        if *known != wanted {
            let why = format!("it is there already, and hears {known:?} instead of {wanted:?}");
            return Err(JetError { temporary: false, what, why });
        }
        Ok(Jet { consumer })
    }

    /// Passes messages on for ever.
    pub(super) async fn forward(self, heard: mpsc::Sender<Waiting>) {
        loop {
            match self.consumer.stream().max_messages_per_batch(AT_ONCE).messages().await {
                Ok(mut messages) => {
                    while let Some(message) = messages.next().await {
                        match message {
                            Ok(message) => {
                                if pass_on(message, &heard).await.is_none() {
                                    return;
                                }
                            }
                            Err(error) => tracing::warn!("JetStream: {error}"),
                        }
                    }
                }
                Err(error) => tracing::warn!("JetStream: {error}"),
            }
            // The client connects again by itself; here the consumer is asked for again.
            tokio::time::sleep(LOST).await;
        }
    }
}

/// `None` if nobody listens any more.
async fn pass_on(message: Message, heard: &mpsc::Sender<Waiting>) -> Option<()> {
    let text = String::from_utf8_lossy(&message.payload).into_owned();
    match text.parse::<Ask>() {
        Ok(ask) => {
            let occasion = Occasion::Asked { by: "nats", place: None, ask };
            let receipt = Some(Receipt(message));
            heard.send(Waiting { occasion, receipt, tries: 0 }).await.ok()
        }
        Err(error) => {
            tracing::warn!("a message on {} was not understood: {error}", message.subject);
            // It would not be understood next time either.
            if let Err(error) = message.ack_with(AckKind::Term).await {
                tracing::warn!("JetStream: {error}");
            }
            Some(())
        }
    }
}

/// A message that wants an answer.
pub(super) struct Receipt(Message);

impl Receipt {
    /// The run succeeded. Returns when the server knows.
    pub(super) async fn done(self) {
        if let Err(error) = self.0.double_ack().await {
            tracing::warn!("JetStream: {error}; the message will come again");
        }
    }

    /// The run goes on.
    pub(super) async fn working(&self) {
        self.answer(AckKind::Progress).await;
    }

    /// The run did not succeed; the message is to come again.
    pub(super) async fn again(self) {
        let before = self.0.info().map_or(1, |info| info.delivered).clamp(1, 16);
        let rest = AGAIN.saturating_mul(1 << (before - 1)).min(AGAIN_MAX);
        self.answer(AckKind::Nak(Some(rest))).await;
    }

    /// There will be no run here; whoever comes next gets the message at once.
    pub(super) async fn hand_back(self) {
        if let Err(error) = self.0.double_ack_with(AckKind::Nak(None)).await {
            tracing::debug!("JetStream: {error}; the message comes again by itself");
        }
    }

    async fn answer(&self, kind: AckKind) {
        if let Err(error) = self.0.ack_with(kind).await {
            tracing::warn!("JetStream: {error}; the message will come again");
        }
    }
}
