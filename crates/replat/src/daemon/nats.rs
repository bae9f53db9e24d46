//! Messages from NATS JetStream.
//!
//! A durable consumer keeps its place in the stream over restarts, and several daemons that name the same consumer
//! share its messages. A message is acknowledged when its run has succeeded; one that nobody acknowledges comes again.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, Message};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::{Ask, Occasion, Waiting};

/// How long the server waits for an acknowledgement. A run that takes longer says that it is at work.
pub(super) const ACK_WAIT: Duration = Duration::from_secs(120);

/// How long a message rests before it comes again after a run that did not succeed.
const AGAIN: Duration = Duration::from_secs(30);

/// How long to wait after the consumer was lost.
const LOST: Duration = Duration::from_secs(2);

/// Where messages come from.
#[derive(Clone)]
pub struct JetStart {
    /// The server: `nats://host:4222`, with several separated by commas. It may contain a password.
    pub url: String,
    /// A credentials file, if the server asks for one.
    pub credentials: Option<std::path::PathBuf>,
    /// The stream. It has to be there.
    pub stream: String,
    /// Of which subject; `None`: all of the stream.
    pub subject: Option<String>,
    /// The name under which the place in the stream is kept.
    pub consumer: String,
}

/// Why messages cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{what} on NATS failed: {why}")]
pub struct JetError {
    /// What was tried.
    pub what: String,
    /// Why it failed. Addresses in it carry no password.
    pub why: String,
}

fn failed(what: impl Into<String>) -> impl FnOnce(&dyn std::error::Error) -> JetError {
    let what = what.into();
    move |error| JetError { what, why: error.to_string() }
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
        if let Some(path) = &start.credentials {
            options = options
                .credentials_file(path)
                .await
                .map_err(|e| failed(format!("reading {}", path.display()))(&e))?;
        }
        let servers: Vec<async_nats::ServerAddr> = start
            .url
            .split(',')
            .map(|url| url.trim().parse())
            .collect::<Result<_, _>>()
            // The address is not repeated: it may hold a password.
            .map_err(|_| JetError {
                what: "reading the address".into(),
                why: "it is not nats://host:port".into(),
            })?;
        let client = options.connect(servers).await.map_err(|e| failed("connecting")(&e))?;
        let stream = jetstream::new(client)
            .get_stream(&start.stream)
            .await
            .map_err(|e| failed(format!("finding the stream {}", start.stream))(&e))?;
        let config = pull::Config {
            durable_name: Some(start.consumer.clone()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            filter_subject: start.subject.unwrap_or_default(),
            ..pull::Config::default()
        };
        let consumer = stream
            .get_or_create_consumer(&start.consumer, config)
            .await
            .map_err(|e| failed(format!("finding the consumer {}", start.consumer))(&e))?;
        Ok(Jet { consumer })
    }

    /// Passes messages on for ever.
    pub(super) async fn forward(self, heard: mpsc::Sender<Waiting>) {
        loop {
            match self.consumer.messages().await {
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
            let occasion = Occasion::Asked { by: "nats", ask };
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
    /// The run succeeded.
    pub(super) async fn done(self) {
        self.answer(AckKind::Ack).await;
    }

    /// The run goes on.
    pub(super) async fn working(&self) {
        self.answer(AckKind::Progress).await;
    }

    /// The run did not succeed; the message is to come again.
    pub(super) async fn again(self) {
        self.answer(AckKind::Nak(Some(AGAIN))).await;
    }

    async fn answer(&self, kind: AckKind) {
        if let Err(error) = self.0.ack_with(kind).await {
            tracing::warn!("JetStream: {error}; the message will come again");
        }
    }
}
