//! Throwaway servers, load and checkers; the demo. Never shipped.

pub mod check;
pub mod etcd;
pub mod gaps;
pub mod haproxy;
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

pub use etcd::Etcd;
pub use haproxy::Haproxy;
pub use nats::Nats;
pub use pgbouncer::Pgbouncer;
pub use redis::Redis;
pub use server::Server;
