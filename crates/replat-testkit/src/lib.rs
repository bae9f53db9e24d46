//! Throwaway servers, load and checkers; the demo. Never shipped.

pub mod check;
pub mod etcd;
pub mod gaps;
pub mod haproxy;
pub mod hook;
pub mod load;
pub mod nats;
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
pub use hook::HookServer;
pub use nats::Nats;
pub use redis::Redis;
pub use server::Server;
