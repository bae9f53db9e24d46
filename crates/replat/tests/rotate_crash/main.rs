//! `replat rotate` dies at each of its statements, and the next run puts everything right.
//!
//! Each story is a database in which one run has a certain kind of work to do. From its script, as `--dry-run` shows it,
//! come the places at which the process can die: before each statement, before and after each commit. For each place
//! there is a copy of the database, a process that dies there, and a process that does not. Then the copy must be as
//! the one is in which nobody died.

mod judge;
mod places;
mod program;
mod shapes;
mod stories;

/// Whatever made a story impossible to tell, or showed that a promise was broken.
type Failure = Box<dyn std::error::Error + Send + Sync>;
