//! Round trips through encoders and decoders that exist only here, and bytes that nobody meant to send.

mod conversation;
mod encoder;
mod messages;
mod pgoutput;
mod scram;
mod startup;
mod stream;
