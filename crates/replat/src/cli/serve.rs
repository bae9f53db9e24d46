//! `serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Which context; without it all of the spec.
    #[arg(short = 'C', long)]
    pub context: Option<String>,
    /// Where to listen. An address that other machines can reach needs --token-file.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7440")]
    pub listen: SocketAddr,
    /// A file with a token on each line, which its owner alone may read; who asks has to show one of them.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Keep the map of a running HAProxy up to date, by its runtime socket (stats socket … level admin).
    #[arg(long, value_name = "SOCKET", requires = "haproxy_map")]
    pub haproxy: Option<PathBuf>,
    /// That map's file, by the very name that HAProxy's configuration gives it; it is written anew at each change.
    #[arg(long, value_name = "FILE", requires = "haproxy")]
    pub haproxy_map: Option<PathBuf>,
}
