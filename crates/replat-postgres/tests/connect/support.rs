//! What the tests share: servers with rules of their own, and connection strings for them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

use replat_postgres::connect::{ConnectError, Connected, connect};
use replat_postgres::conninfo::{ConnInfo, Environment};
use replat_postgres::replication::{ReplicationConnection, ReplicationError};
use replat_testkit::Server;

/// The password of every role that has one.
pub const PASSWORD: &str = "pass word's";

const HBA: &str = "\
local   all all                          trust
host    all postgres     127.0.0.1/32    trust
host    all trusted      127.0.0.1/32    trust
host    all scrammed     127.0.0.1/32    scram-sha-256
host    all hashed       127.0.0.1/32    md5
host    all clear        127.0.0.1/32    password
hostssl all only_tls     127.0.0.1/32    trust
hostnossl all only_plain 127.0.0.1/32    trust
hostssl all certified    127.0.0.1/32    cert
";

const ROLES: &str = "\
create role trusted login replication;
create role only_tls login replication;
create role only_plain login replication;
create role certified login replication;
create role stranger login replication;
create role mortal login;
set password_encryption = 'scram-sha-256';
create role scrammed login replication password 'pass word''s';
create role clear login replication password 'pass word''s';
set password_encryption = 'md5';
create role hashed login replication password 'pass word''s';
";

/// A server that asks each role for another proof, under TLS if it has an [`Identity`].
pub struct Strict {
    pub server: Server,
}

/// What a server shows about itself under TLS, and who vouches for its clients; files in PEM form.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_authority: PathBuf,
}

impl Strict {
    pub async fn start(identity: Option<&Identity>) -> Strict {
        let mut server = Server::start().await.expect("a server");
        server.execute("postgres", ROLES).await.expect("roles");
        fs::write(server.folder().join("data/pg_hba.conf"), HBA).expect("pg_hba.conf can be written");
        if let Some(identity) = identity {
            install(&server, &identity.certificate, "server.crt");
            install(&server, &identity.key, "server.key");
            install(&server, &identity.client_authority, "root.crt");
            server.execute("postgres", "alter system set ssl = on").await.expect("ssl");
            server
                .execute("postgres", "alter system set ssl_ca_file = 'root.crt'")
                .await
                .expect("ssl_ca_file");
        }
        server.restart().await.expect("the server starts again");
        Strict { server }
    }

    /// `key=value` pairs for `user` on this server, without a host.
    pub fn pairs(&self, user: &str) -> String {
        format!("hostaddr=127.0.0.1 port={} dbname=postgres user={user} ", self.server.port())
    }
}

/// Puts a file where the server finds it, in the hands of the server's account.
fn install(server: &Server, file: &PathBuf, name: &str) {
    let data = server.folder().join("data");
    let path = data.join(name);
    fs::copy(file, &path).expect("the file can be copied");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the file is ours");
    let owner = fs::metadata(&data).expect("a data directory");
    chown(&path, Some(owner.uid()), Some(owner.gid())).expect("we may give it away");
}

/// Resolves `text` with nothing around it: no variables, no home, no files.
pub fn info(text: &str) -> ConnInfo {
    ConnInfo::resolve(Some(text), &Environment::empty()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub async fn session(text: &str) -> Result<Connected, ConnectError> {
    connect(&info(text), "replat-tests").await
}

pub async fn replication(text: &str) -> Result<ReplicationConnection, ReplicationError> {
    ReplicationConnection::connect(&info(text), "replat-tests").await
}

/// The decisive failure of a search, in short: its SQLSTATE, or the name of its kind.
pub fn verdict(error: &ConnectError) -> String {
    let said = format!("{error} {error:?} {}", error.remedy());
    assert!(!said.contains("pass word"), "a password was shown: {said}");
    let failure = &error.decisive().failure;
    match failure {
        replat_postgres::connect::Failure::Refused(said) => said.sqlstate.clone(),
        other => {
            let debug = format!("{other:?}");
            debug.split([' ', '{', '(']).next().expect("a name").to_owned()
        }
    }
}

/// The failure of a replication connection, in the same words.
pub fn replication_verdict(error: ReplicationError) -> String {
    match error {
        ReplicationError::Connect(error) => verdict(&error),
        other => panic!("{other:?}"),
    }
}
