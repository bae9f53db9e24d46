//! The door of PostgreSQL's wire protocol: clients connect here, and their sessions are where their partitions are.
//!
//! A relay of frames, not a server: five bytes are read, a few messages are looked into, the rest is passed on. One
//! client has one session at a server, so what a session has stays right. At every transaction boundary the session
//! asks its [`Doors`] where it belongs and whether it may go on; a session that belongs elsewhere is taken there with
//! its settings and its prepared statements, and its client notices a pause.
//!
//! What is absent on purpose: pooling; decisions about homes; passwords (SCRAM is checked against the role's
//! verifier, and the key that a right proof gives away is passed on); retries of anything that has reached a server.
//!
//! The databases' own fence is the safety; this is the courtesy.

pub mod doors;
pub mod fixed;
pub mod routed;
pub mod settings;
pub mod verifiers;

mod aside;
mod backend;
mod compare;
mod custom;
mod greet;
mod keys;
mod lags;
mod prewarm;
mod proxy;
mod relocate;
mod request;
mod roll;
mod session;
mod shadow;
mod side;
mod tls;
mod variance;

pub use doors::{Ask, Doors, Home, Knock, Pass, Reading, Share, Statement, Ticket};
pub use fixed::FixedDoors;
pub use proxy::{BadStart, Proxy};
pub use roll::{SessionReport, Tally};
pub use routed::{Otherwise, Policy, Reach, Reached, RoutedDoors};
pub use settings::{ClientAuth, ClientTls, Limits, Pinned, Settings};
pub use shadow::ShadowTally;
pub use tls::{BadCertificate, Certificate};
pub use variance::VarianceLog;
pub use verifiers::{AuthQuery, UserList, Verifiers};
