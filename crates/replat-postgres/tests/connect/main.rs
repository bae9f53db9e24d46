//! Connecting to real servers: passwords, TLS, several hosts, and replication streams.

mod certificates;
mod hosts;
mod passwords;
mod replication;
mod support;
mod tls;
