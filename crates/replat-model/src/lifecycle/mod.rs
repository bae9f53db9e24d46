//! The life of partitions: which are wanted, which are there, and what follows.
//!
//! ```text
//!   catalogue ── look ──▶ Facts ──┐
//!   spec, command line ─▶ Policy ─┼── draft ──▶ RotatePlan: units ── act ──▶ the database
//!   clock ──────────────▶ now ────┘                                            │
//!   history of runs ◀── record ── Outcome ◀────────────────────────────────────┘
//! ```
//!
//! | what | where |
//! |---|---|
//! | what a key's values mean, as positions on a line | [`axis`] |
//! | the raster of bounds on that line, proof against time zones | [`grid`] |
//! | what was found | [`facts`] |
//! | what is wanted, and what follows from the bounds when nobody said | [`policy`], [`infer`] |
//! | what partitions are called | [`name`] |
//! | how fast rows come, how long bounds last, what room there is | [`forecast`], [`runway`], [`quota`] |
//! | when to stand back, and for how long to try | [`breaker`], [`patience`] |
//! | what to do, as units that succeed or fail alone | [`plan`], [`draft`], [`reshape`] |
//! | what is wrong with what is there, and how many there are of each kind | [`health`], [`census`] |
//! | when to look again: not before, or at once | [`steady`], [`velocity`] |
//!
//! Nothing here knows the statements of a database: a [`plan::Unit`] says what is to become true, and an engine
//! turns it into statements with their locks. Absent on purpose: I/O, clocks, randomness, SQL.

pub mod axis;
pub mod breaker;
pub mod census;
pub mod draft;
pub mod facts;
pub mod forecast;
pub mod grid;
pub mod health;
pub mod infer;
pub mod name;
pub mod patience;
pub mod plan;
pub mod policy;
pub mod quota;
pub mod reshape;
pub mod runway;
pub mod steady;
pub mod velocity;
