//! Logging in on a replication connection: the proofs that PostgreSQL asks for.

use std::io;

use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding as Binding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;

use super::wire::{Incoming, Wire};
use crate::connect::{Failure, ServerError};
use crate::conninfo::{ChannelBinding, ConnInfo, Secret};

/// Gives whatever proof the server asks for.
pub(super) async fn authenticate(
    wire: &mut Wire,
    info: &ConnInfo,
    password: Option<&Secret>,
) -> Result<(), Failure> {
    let password = || password.map(|password| password.expose().as_bytes()).ok_or(Failure::PasswordNeeded);
    match message(wire).await? {
        Message::AuthenticationOk => return without_binding(info),
        Message::AuthenticationCleartextPassword => {
            without_binding(info)?;
            let password = password()?;
            wire.send(|out| frontend::password_message(password, out)).await?;
        }
        Message::AuthenticationMd5Password(body) => {
            without_binding(info)?;
            let hash = md5_hash(info.user.as_bytes(), password()?, body.salt());
            wire.send(|out| frontend::password_message(hash.as_bytes(), out)).await?;
        }
        Message::AuthenticationSasl(body) => scram(wire, info, password()?, &body).await?,
        Message::AuthenticationGss | Message::AuthenticationSspi | Message::AuthenticationKerberosV5 => {
            return Err(Failure::Method { method: "Kerberos, which is not supported" });
        }
        _ => return Err(unexpected()),
    }
    match message(wire).await? {
        Message::AuthenticationOk => Ok(()),
        _ => Err(unexpected()),
    }
}

/// Waits for the end of the server's greeting.
pub(super) async fn wait_until_ready(wire: &mut Wire) -> Result<(), Failure> {
    loop {
        match message(wire).await? {
            Message::ReadyForQuery(_) => return Ok(()),
            Message::BackendKeyData(_) | Message::ParameterStatus(_) => {}
            _ => return Err(unexpected()),
        }
    }
}

/// The next message that is not a notice; an error is the server's answer to logging in.
async fn message(wire: &mut Wire) -> Result<Message, Failure> {
    loop {
        match wire.next().await? {
            Incoming::Message(Message::ErrorResponse(body)) => {
                return Err(Failure::Refused(ServerError::from_response(&body)));
            }
            Incoming::Message(Message::NoticeResponse(_)) => {}
            Incoming::Message(message) => return Ok(message),
            Incoming::CopyBoth => return Err(unexpected()),
        }
    }
}

fn unexpected() -> Failure {
    Failure::Protocol { what: "the server said something else than was its turn while logging in".into() }
}

fn without_binding(info: &ConnInfo) -> Result<(), Failure> {
    match info.channel_binding {
        ChannelBinding::Require => Err(Failure::Method {
            method: "a way without channel binding, which channel_binding=require forbids",
        }),
        ChannelBinding::Disable | ChannelBinding::Prefer => Ok(()),
    }
}

/// Both sides prove that they know the password; neither says it.
async fn scram(
    wire: &mut Wire,
    info: &ConnInfo,
    password: &[u8],
    offer: &AuthenticationSaslBody,
) -> Result<(), Failure> {
    let (mechanism, binding) = choose(wire, info, offer)?;
    let mut scram = ScramSha256::new(password, binding);
    wire.send(|out| frontend::sasl_initial_response(mechanism, scram.message(), out)).await?;
    let Message::AuthenticationSaslContinue(body) = message(wire).await? else { return Err(unexpected()) };
    scram.update(body.data()).map_err(not_proved)?;
    wire.send(|out| frontend::sasl_response(scram.message(), out)).await?;
    let Message::AuthenticationSaslFinal(body) = message(wire).await? else { return Err(unexpected()) };
    scram.finish(body.data()).map_err(not_proved)
}

fn not_proved(error: io::Error) -> Failure {
    Failure::Protocol { what: format!("the server could not prove that it knows the password: {error}") }
}

/// The mechanism, and what to say about channel binding. To say "the server cannot" when it can is how a
/// downgrade by somebody in between is found out, so the three cases must not be mixed up.
fn choose(
    wire: &Wire,
    info: &ConnInfo,
    offer: &AuthenticationSaslBody,
) -> Result<(&'static str, Binding), Failure> {
    let offered: Vec<&str> = offer.mechanisms().collect()?;
    let end_point = wire.stream().tls_server_end_point.clone();
    let end_point = end_point.filter(|_| info.channel_binding != ChannelBinding::Disable);
    if let Some(end_point) = end_point.clone().filter(|_| offered.contains(&SCRAM_SHA_256_PLUS)) {
        return Ok((SCRAM_SHA_256_PLUS, Binding::tls_server_end_point(end_point)));
    }
    without_binding(info)?;
    match (offered.contains(&SCRAM_SHA_256), end_point) {
        (true, Some(_)) => Ok((SCRAM_SHA_256, Binding::unrequested())),
        (true, None) => Ok((SCRAM_SHA_256, Binding::unsupported())),
        (false, _) => Err(Failure::Method { method: "a SASL mechanism other than SCRAM-SHA-256" }),
    }
}
