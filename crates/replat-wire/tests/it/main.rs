//! Round trips through encoders and decoders that exist only here, and bytes that nobody meant to send.

mod encoder;
mod pgoutput;
mod stream;
