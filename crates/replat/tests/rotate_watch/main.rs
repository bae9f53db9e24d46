//! `rotate --watch` as it is shipped: the real binary, real databases, a real NATS server.

mod burst;
mod daemon;
mod loss;
mod messages;
mod place;
mod starts;
