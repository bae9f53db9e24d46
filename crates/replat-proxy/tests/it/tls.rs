//! TLS on both legs.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use replat_postgres::conninfo::{ConnInfo, Environment};
use replat_proxy::{Certificate, ClientTls, Home};
use replat_testkit::Server;
use replat_wire::startup::put_startup;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{PARTITION, PASSWORD, World, home};

/// A certificate for `localhost` that signed itself, in a folder that is removed when this is dropped.
struct Identity(PathBuf);

impl Identity {
    fn make() -> Identity {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("replat-proxy-tls-{}-{serial}", std::process::id()));
        fs::create_dir(&folder).expect("a folder of our own");
        let config = "[req]\ndistinguished_name = dn\nx509_extensions = ext\nprompt = no\n[dn]\nCN = localhost\n\
                      [ext]\nsubjectAltName = DNS:localhost\nbasicConstraints = critical, CA:FALSE\n";
        fs::write(folder.join("config"), config).expect("a small file");
        let arguments = "req -x509 -config config -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
                         -keyout key -out crt";
        let output = Command::new("openssl").current_dir(&folder).args(arguments.split_whitespace()).output();
        let output = output.expect("the openssl program is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Identity(folder)
    }

    fn crt(&self) -> PathBuf {
        self.0.join("crt")
    }

    fn certificate(&self) -> Certificate {
        Certificate { chain: self.crt(), key: self.0.join("key") }
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        // Nobody is left to hear that a folder stays behind.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What psql says with these settings of TLS.
async fn psql(world: &World, sslmode: &str, root: &Path) -> Result<String, String> {
    let mut psql = world.program("psql");
    psql.args(["-X", "-A", "-t", "-c", "select 'in'"]);
    psql.env("PGHOST", "localhost").env("PGHOSTADDR", "127.0.0.1").env("PGSSLMODE", sslmode);
    let output = psql.env("PGSSLROOTCERT", root).output().await.expect("psql runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_speak_tls_if_they_like_or_because_they_must() {
    let identity = Identity::make();
    let offered = World::with(|settings| settings.tls = ClientTls::Offered(identity.certificate())).await;
    for sslmode in ["disable", "prefer", "require", "verify-full"] {
        assert_eq!(psql(&offered, sslmode, &identity.crt()).await.as_deref(), Ok("in"), "{sslmode}");
    }
    let other = Identity::make();
    assert!(psql(&offered, "verify-full", &other.crt()).await.is_err(), "the client checks");
    let required = World::with(|settings| settings.tls = ClientTls::Required(identity.certificate())).await;
    assert_eq!(psql(&required, "require", &identity.crt()).await.as_deref(), Ok("in"));
    let error = psql(&required, "disable", &identity.crt()).await.expect_err("it is required");
    assert!(error.contains("only for connections under TLS"), "{error}");
    let off = World::start().await;
    let error = psql(&off, "require", &identity.crt()).await.expect_err("it is off");
    assert!(error.contains("does not support SSL"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_may_begin_at_once_but_only_for_postgresql() {
    let identity = Identity::make();
    let world = World::with(|settings| settings.tls = ClientTls::Required(identity.certificate())).await;
    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(identity.crt()).expect("a certificate");
    roots.add(certificate).expect("one that can be trusted");
    for (protocols, let_in) in
        [(vec![b"postgresql".to_vec()], true), (vec![], false), (vec![b"h2".to_vec()], false)]
    {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("usual versions").with_root_certificates(roots.clone());
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols.clone_from(&protocols);
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TcpStream::connect(world.address).await.expect("the proxy listens");
        let said = async {
            let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
            let mut out = bytes::BytesMut::new();
            put_startup(&mut out, [("user", "app+acme"), ("database", "app")]);
            stream.write_all(&out).await?;
            stream.flush().await?;
            stream.read_u8().await
        };
        assert_eq!(said.await.ok(), let_in.then_some(b'R'), "{protocols:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_tls_began_does_not_count() {
    let identity = Identity::make();
    let world = World::with(|settings| settings.tls = ClientTls::Offered(identity.certificate())).await;
    let mut stream = TcpStream::connect(world.address).await.expect("the proxy listens");
    let mut out = bytes::BytesMut::from(&[0, 0, 0, 8, 4, 210, 22, 47][..]);
    put_startup(&mut out, [("user", "app+acme"), ("database", "app")]);
    stream.write_all(&out).await.expect("written");
    let mut said = Vec::new();
    drop(stream.read_to_end(&mut said).await);
    assert_eq!(said.first(), Some(&b'S'));
    // What follows is at most an alert of TLS; no login in the clear has begun.
    assert!(said.get(1).is_none_or(|byte| *byte == 0x15), "{said:?}");
}

/// Puts a file where the server finds it, in the hands of the server's account.
fn install(server: &Server, file: &Path, name: &str) {
    let data = server.folder().join("data");
    let path = data.join(name);
    fs::copy(file, &path).expect("the file can be copied");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the file is ours");
    let owner = fs::metadata(&data).expect("a data directory");
    chown(&path, Some(owner.uid()), Some(owner.gid())).expect("we may give it away");
}

/// Green's home, reached with this mode and these roots.
fn green_under_tls(world: &World, sslmode: &str, root: &Path) -> Home {
    let (port, root) = (world.green.port(), root.display());
    let text = format!(
        "host=localhost hostaddr=127.0.0.1 port={port} user=app dbname=app sslmode={sslmode} sslrootcert='{root}'"
    );
    let server = ConnInfo::resolve(Some(&text), &Environment::empty()).expect("a legal address");
    Home { server: Arc::new(server), ..home(&world.green) }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_reached_under_tls_and_checked() {
    let identity = Identity::make();
    let mut world = World::start().await;
    install(&world.green, &identity.crt(), "server.crt");
    install(&world.green, &identity.certificate().key, "server.key");
    world.green.execute("postgres", "alter system set ssl = on").await.expect("ssl");
    world.green.restart().await.expect("the server starts again");
    let under_tls = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    for (sslmode, want) in [("disable", false), ("prefer", true), ("require", true), ("verify-full", true)] {
        world.doors.put(PARTITION, green_under_tls(&world, sslmode, &identity.crt()));
        let client = world.client().await;
        let row = client.query_one(under_tls, &[]).await.expect("an answer");
        assert_eq!(row.get::<_, bool>(0), want, "{sslmode}");
        if want {
            let (sleep, cancelled) = tokio::join!(client.batch_execute("select pg_sleep(60)"), async {
                let running = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'";
                while crate::support::number(&world.green, running).await == 0 {
                    tokio::task::yield_now().await;
                }
                client.cancel_token().cancel_query(tokio_postgres::NoTls).await
            });
            cancelled.expect("asked");
            sleep.expect_err("cancelled under TLS, too");
        }
    }
    let other = Identity::make();
    world.doors.put(PARTITION, green_under_tls(&world, "verify-full", &other.crt()));
    let error =
        crate::support::session(&world.pairs("app+acme", PASSWORD)).await.expect_err("another server");
    assert_eq!(error.code().map(|code| code.code()), Some("08001"), "{error:?}");
}
