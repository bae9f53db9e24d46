//! Throwaway servers, load and checkers; the demo. Never shipped.

pub mod check;
pub mod gaps;
pub mod load;
pub mod nats;
pub mod random;
pub mod report;
pub mod routes;
pub mod rows;
pub mod saas;
pub mod server;

pub use nats::Nats;
pub use server::Server;
