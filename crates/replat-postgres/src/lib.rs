//! The real world: all SQL for managed PostgreSQL databases.
//!
//! | what | where |
//! |---|---|
//! | reach a server as libpq would | [`conninfo`], [`connect`], [`replication`] |
//! | read a catalogue, rehearse DDL | [`survey`] |
//! | a partition as SQL | [`mod@slice`] |
//! | green's tables as views of blue's | [`views`] |
//! | tables and views change places | [`exchange`] |
//! | the write fence | [`guard`] |
//! | leaves that come and go | [`leaves`] |
//! | before and after rows move | [`prepare`], [`retire`], [`sequences`] |
//! | a row's way | [`copy`] |
//! | a changed row's way | [`changes`], [`merge`], [`apply`], [`follow`], [`parked`] |
//! | many deployments that share machinery | [`cohort`], [`pool`] |
//! | are both sides alike? | [`verify`] |
//! | which row is refused | [`culprit`] |
//! | what a system does, as evidence | [`capture`] |
//! | all of it behind two verbs | [`engine`] |
//! | partitions that come and go | [`lifecycle`] |
//! | what advice asks for, as SQL for people | [`advised`] |
//!
//! Absent on purpose: decisions. Which action comes next is `replat_model::next`; how often it is tried is the
//! runner's.

pub mod advised;
pub mod apply;
pub mod capture;
pub mod changes;
mod coalesce;
pub mod cohort;
mod compared;
pub mod connect;
pub mod conninfo;
pub mod contracts;
pub mod copy;
pub mod culprit;
pub mod ends;
pub mod engine;
pub mod error;
pub mod exchange;
pub mod follow;
pub mod freshness;
pub mod guard;
pub mod leaves;
pub mod lifecycle;
pub mod merge;
pub mod parked;
pub mod pool;
pub mod prepare;
pub mod replication;
pub mod retire;
pub mod sequences;
pub mod session;
pub mod slice;
pub mod sql;
pub mod survey;
pub mod tls;
pub mod verify;
pub mod views;

pub use replat_engine::failpoint;
