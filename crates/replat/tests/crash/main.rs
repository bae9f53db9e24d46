//! Whatever dies, wherever it dies, and whoever else is at work: it costs time only.
//!
//! The real program moves a tenant between two real servers while writers write, as a user would run it. It is
//! killed at every durable step ([`points`]), at random times ([`kills`]), and run twice at once, awake and in its
//! sleep ([`rivals`]). In the end the databases themselves are asked whether every acknowledged write is there
//! once, whether both sides are alike, and whether anything was left behind.

mod audit;
mod beside;
mod follow;
mod kills;
mod leftovers;
mod live;
mod points;
mod program;
mod rivals;
mod story;
mod world;

/// Whatever made a story impossible to tell, or showed that a promise was broken.
type Failure = Box<dyn std::error::Error + Send + Sync>;
