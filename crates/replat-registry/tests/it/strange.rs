//! Servers that are not there, are others, or do not let us in; and keys.

use std::net::TcpListener;

use replat_engine::registry::{Registry, RegistryError};
use replat_registry::kv::KvError;
use replat_registry::seal::KeyError;
use replat_registry::{OpenError, ProjectKey, Seal, open};
use replat_testkit::Server;

use crate::routes::CONTEXT;
use crate::servers::seal;

pub fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said += &format!(": {error}");
        cause = error.source();
    }
    said
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable_and_named_without_its_password() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = listener.local_addr().expect("it has one").port();
    drop(listener);
    for url in [
        format!("postgres://me:hidden@127.0.0.1:{port}/db"),
        format!("etcd://me:hidden@127.0.0.1:{port},127.0.0.1:{port}"),
        format!("consul://:hidden@127.0.0.1:{port}"),
        format!("redis://me:hidden@127.0.0.1:{port}"),
    ] {
        let registry = open(&url, seal()).expect("it is a URL");
        assert!(
            !registry.name().contains("hidden") && registry.name().contains(&port.to_string()),
            "{}",
            registry.name()
        );
        let error = registry.head(CONTEXT).await.expect_err("nobody is there");
        assert!(matches!(error, RegistryError::Unreachable { .. }), "{url}: {error:?}");
        assert!(!chain(&error).contains("hidden"), "{}", chain(&error));
    }
}

#[tokio::test]
async fn whoever_speaks_another_protocol_is_told_so() {
    let server = Server::start().await.expect("PostgreSQL starts");
    for scheme in ["etcd", "consul", "redis"] {
        let registry = open(&format!("{scheme}://127.0.0.1:{}", server.port()), seal()).expect("it is a URL");
        let error = registry.head(CONTEXT).await.expect_err("it is PostgreSQL");
        assert!(
            matches!(error, RegistryError::Unreachable { .. } | RegistryError::Refused { .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_file_of_another_kind_is_not_touched() {
    let folder = std::env::temp_dir().join(format!("replat-registry-strange-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("it can be made");
    let path = folder.join("notes.txt");
    let text = "these are notes, and not a database at all; ".repeat(50);
    std::fs::write(&path, &text).expect("it can be written");
    let error = open(&format!("file:{}", path.display()), seal()).map(drop).expect_err("it is none");
    assert!(matches!(error, OpenError::File { source: KvError::Refused(_), .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), text);
    std::fs::remove_dir_all(&folder).expect("it can be removed");
}

#[test]
fn a_key_is_made_once_and_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("replat-registry-key-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("it can be made");
    let path = folder.join("project.key");
    let key = ProjectKey::create(&path).expect("it is made");
    let mode = |path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(ProjectKey::read(&path).expect("it is read"), key);
    assert!(!format!("{:?}", Seal { project: "p".into(), key: Some(key) }).contains("ProjectKey(["));
    assert!(matches!(ProjectKey::create(&path), Err(KeyError::Exists { .. })));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    assert!(matches!(ProjectKey::read(&path), Err(KeyError::Open { .. })));
    for text in ["", "abc", &"g".repeat(64), &"0".repeat(63)] {
        std::fs::write(&path, text).expect("it can be written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
        assert!(matches!(ProjectKey::read(&path), Err(KeyError::Unfit { .. })), "{text:?}");
    }
    std::fs::remove_dir_all(&folder).expect("it can be removed");
}
