//! The partition key that a SQL statement names, and what the statement does to its session.
//!
//! [`Plan::of`] reads a statement of PostgreSQL once. [`Plan::keys`] then says, for each set of parameters, whose rows
//! the statement concerns: [`Keys::Exact`] if that can be proved from its text, and [`Keys::Unknown`] with the reason
//! if it cannot. Nothing is guessed: a form that is not on the list of understood ones is unknown, so that a new
//! kind of SQL costs speed and not correctness.
//!
//! **What `Exact` promises**: run on a database that holds no rows of the partitioned tables but those of the given
//! keys, the statement gives the same result and changes the same rows. `tests/soundness.rs` checks that against a
//! real server.
//!
//! What the promise cannot cover, since it is not in the statement's text:
//! - functions, operators, casts, triggers, rules and policies of the database may read and write what they like.
//!   The tables that are named decide; a statement that names no table but calls a function that is not known to be
//!   harmless is [`Keys::Unknown`].
//! - a constraint that spans several keys (a foreign key, a unique index without the key column) may refuse a
//!   statement because of another key's row.
//! - [`Tables`] must be right and complete for the schemas in its search path; a view counts as a table that is not
//!   known.
//!
//! What it supposes of the session: `client_encoding` is UTF-8, `standard_conforming_strings` is on (a server reports
//! both), the `search_path` is that of [`Tables`], and operators are those of `pg_catalog`. [`Plan::unsettles`] says after
//! which statements that has to be looked at anew; within one text it is minded here. Key columns are NOT NULL, have a deterministic collation, and are no `timestamp(p)`, which would
//! round what is inserted.
//!
//! Absent on purpose: what a key means (that is the map's), the session's state (that is the proxy's), I/O.

mod cache;
mod effects;
mod functions;
mod keys;
mod lex;
mod param;
mod plan;
mod read;
mod shape;
mod tables;
mod term;

pub use cache::Plans;
pub use effects::{Effects, Scope, SessionChange, SettingValue, Transaction, Verb};
pub use keys::{Keys, Why};
pub use lex::Hint;
pub use param::{Format, Param};
pub use plan::{Plan, STATEMENT_BYTES_MAX, Statement};
pub use shape::Shape;
pub use tables::{TableName, Tables};
