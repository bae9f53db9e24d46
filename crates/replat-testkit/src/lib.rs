//! Throwaway servers, load and checkers; the demo. Never shipped.

pub mod browser;
pub mod certificates;
pub mod check;
pub mod etcd;
pub mod gaps;
pub mod haproxy;
pub mod hook;
pub mod load;
pub mod nats;
pub mod pgbouncer;
pub mod random;
pub mod redis;
pub mod report;
pub mod routes;
pub mod rows;
pub mod saas;
pub mod server;
pub mod service;

pub use certificates::Certificates;
pub use haproxy::Haproxy;
pub use hook::HookServer;
pub use nats::Nats;
pub use pgbouncer::Pgbouncer;
pub use server::Server;
pub use service::Service;
