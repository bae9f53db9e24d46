//! Where routes are published, over whatever server there is: a file, PostgreSQL, etcd, Consul or Redis.
//!
//! A server is a [`Kv`](kv::Kv), which is small; what a registry promises is written once, in [`KvRegistry`], over
//! any of them. A [`Publisher`] brings a registry up to date from replat's own store, a [`Follower`] brings routes from
//! there to whoever routes. `docs/registry.md` tells what is kept, byte by byte.
//!
//! Absent on purpose: any say in who may write. The databases decide that; a registry that is lost, old or lied to
//! costs freshness, never rows.

pub mod address;
mod clock;
#[cfg(feature = "consul")]
pub mod consul;
#[cfg(feature = "net")]
pub mod dial;
#[cfg(feature = "etcd")]
pub mod etcd;
#[cfg(feature = "file")]
pub mod file;
mod follower;
mod gate;
#[cfg(feature = "hooks")]
pub mod hooks;
#[cfg(feature = "http")]
mod http;
pub mod kv;
mod outbox;
#[cfg(feature = "postgres")]
pub mod postgres;
mod publisher;
#[cfg(feature = "redis")]
pub mod redis;
mod registry;
pub mod seal;
mod tables;

use std::path::PathBuf;
use std::sync::Arc;

pub use address::{Address, BadAddress};
pub use follower::{Follower, Freshness, Held};
pub use gate::RegistryGate;
pub use outbox::{LogOutbox, Telling};
pub use publisher::{Brought, Outbox, PublishError, Publisher};
pub use registry::{Finding, KvRegistry, Status, Told};
pub use seal::{ProjectKey, Seal};
pub use tables::{PublishedTables, TablesError, tables_context};

/// Why a registry cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names none.
    #[error("the registry's URL is not understood")]
    Address(#[from] BadAddress),
    /// This program was built without it.
    #[error("this program was built without registries of this kind ({0})")]
    NotBuilt(&'static str),
    /// The file cannot be had.
    #[error("the registry file {} cannot be used", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: kv::KvError,
    },
    /// The connection string is none.
    #[cfg(feature = "postgres")]
    #[error("the registry's connection string is not understood")]
    ConnInfo(#[from] replat_postgres::conninfo::ConnInfoError),
    /// The files for TLS will not do.
    #[cfg(feature = "net")]
    #[error("TLS towards the registry cannot begin")]
    Tls(#[from] dial::TlsError),
}

/// The server at `address`. A file is opened now, a server is reached at the first request.
///
/// # Errors
///
/// [`OpenError`].
pub fn connect(address: &Address) -> Result<Arc<dyn kv::Kv>, OpenError> {
    match address {
        #[cfg(feature = "file")]
        Address::File(path) => {
            let opened = file::File::open(path);
            let opened = opened.map_err(|source| OpenError::File { path: path.clone(), source })?;
            Ok(Arc::new(opened))
        }
        #[cfg(feature = "postgres")]
        Address::Postgres(url) => Ok(Arc::new(postgres::Postgres::new(url.expose())?)),
        #[cfg(feature = "etcd")]
        Address::Etcd(net) => Ok(Arc::new(etcd::Etcd::new(net)?)),
        #[cfg(feature = "consul")]
        Address::Consul(net) => Ok(Arc::new(consul::Consul::new(net)?)),
        #[cfg(feature = "redis")]
        Address::Redis(net) => Ok(Arc::new(redis::Redis::new(net)?)),
        #[allow(unreachable_patterns, reason = "not all kinds need be built")]
        other => Err(OpenError::NotBuilt(match other {
            Address::File(_) => "file",
            Address::Postgres(_) => "postgres",
            Address::Etcd(_) => "etcd",
            Address::Consul(_) => "consul",
            Address::Redis(_) => "redis",
        })),
    }
}

/// The registry that `url` names, for one project's routes; credentials that the URL leaves out come from the
/// environment of the process.
///
/// # Errors
///
/// [`OpenError`].
pub fn open(url: &str, seal: Seal) -> Result<KvRegistry, OpenError> {
    let address = Address::parse(url, &|name| std::env::var(name).ok())?;
    Ok(KvRegistry::new(connect(&address)?, seal))
}
