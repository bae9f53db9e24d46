//! Servers that ask who comes, and servers under TLS: with the right rights all works, with fewer it is said what is
//! missing, and no message has a secret in it.

use replat_engine::registry::{Attendance, Published, Registry, RegistryError};
use replat_model::deploy::Timestamp;
use replat_registry::open;
use replat_testkit::{Certificates, Server, Service, etcd, redis};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::contract::whole;
use crate::routes::{CONTEXT, first};
use crate::servers::{PROJECT, seal};
use crate::strange::chain;

const SECRET: &str = "hidden0word";

/// What comes of publishing, of reading, and of attending, by the registry at `url`: nothing, or what is said.
async fn tried(url: &str) -> [Option<String>; 3] {
    let registry = open(url, seal()).unwrap_or_else(|error| panic!("{url}: {}", chain(&error)));
    let routes = first(PROJECT, 4);
    let published = registry.publish(&whole(&routes)).await;
    if let Ok(published) = published {
        assert!(matches!(published, Published::Accepted { .. } | Published::Already), "{published:?}");
    }
    let read = registry.read(CONTEXT, 0).await.map(drop);
    let who = Attendance {
        id: "one".into(),
        kind: "router".into(),
        place: "here".into(),
        context: CONTEXT.into(),
        version: 1,
        until: Timestamp(0),
        answers: Vec::new(),
        pinned: 0,
    };
    let attended = registry.attend(&who, 60_000).await;
    assert!(!registry.name().contains(SECRET), "{}", registry.name());
    [published.map(drop), read, attended].map(|done| done.err().map(|error: RegistryError| chain(&error)))
}

/// For each URL: what each refusal says, in order; nothing where it works.
async fn check(rows: &[(&str, String, [&str; 3])]) {
    for (case, url, want) in rows {
        let said = tried(url).await;
        for ((said, want), what) in said.iter().zip(want).zip(["publishing", "reading", "attending"]) {
            match said {
                None => assert!(want.is_empty(), "{case}, {what}: it works, and should not: {want}"),
                Some(said) => {
                    assert!(
                        !want.is_empty() && said.contains(want),
                        "{case}, {what}: {said:?}, not {want:?}"
                    );
                    assert!(!said.contains(SECRET), "{case}, {what}: {said}");
                }
            }
        }
    }
}

/// Has etcd's gateway do something.
async fn tell_etcd(server: &Service, path: &str, body: &str) {
    let mut stream = TcpStream::connect(server.address()).await.expect("etcd is there");
    let length = body.len();
    let head = format!("POST /v3/auth/{path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).await.expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
}

#[tokio::test]
async fn etcd_with_users_and_tls() {
    let certificates = Certificates::make().expect("openssl makes them");
    let server = etcd::start(Some(&certificates)).await.expect("etcd starts");
    // `shop/` to `shop0`, in base64: all keys of the prefix.
    let range = r#""key":"c2hvcC8=","range_end":"c2hvcDA=""#;
    for (path, body) in [
        ("user/add", format!(r#"{{"name":"root","password":"{SECRET}"}}"#)),
        ("user/grant", r#"{"user":"root","role":"root"}"#.to_owned()),
        ("role/add", r#"{"name":"uses"}"#.to_owned()),
        ("role/grant", format!(r#"{{"name":"uses","perm":{{"permType":"READWRITE",{range}}}}}"#)),
        ("user/add", format!(r#"{{"name":"app","password":"{SECRET}"}}"#)),
        ("user/grant", r#"{"user":"app","role":"uses"}"#.to_owned()),
        ("role/add", r#"{"name":"looks"}"#.to_owned()),
        ("role/grant", format!(r#"{{"name":"looks","perm":{{"permType":"READ",{range}}}}}"#)),
        ("user/add", format!(r#"{{"name":"guest","password":"{SECRET}"}}"#)),
        ("user/grant", r#"{"user":"guest","role":"looks"}"#.to_owned()),
    ] {
        // The role `root` has to be made first, where etcd does not make it by itself.
        if body.contains(r#""role":"root""#) {
            tell_etcd(&server, "role/add", r#"{"name":"root"}"#).await;
        }
        tell_etcd(&server, path, &body).await;
    }
    tell_etcd(&server, "enable", "{}").await;
    let (plain, tls, ca) = (server.address(), server.tls_address(), certificates.ca());
    let ca = ca.display();
    let wrong = "invalid user ID or password; look at USER:PASSWORD";
    let denied = "permission denied; grant a role of the user";
    let nobody = "user name is empty; put USER:PASSWORD@";
    let untrusted = "name in the URL who vouches for it: ?ca=FILE";
    let in_the_clear = "cannot be reached";
    let no_tls = "look whether it speaks TLS there";
    check(&[
        ("all rights", format!("etcd://app:{SECRET}@{plain}/shop"), ["", "", ""]),
        ("all rights under TLS", format!("etcds://app:{SECRET}@{tls}/shop?ca={ca}"), ["", "", ""]),
        ("may only read", format!("etcd://guest:{SECRET}@{plain}/shop"), ["", "", denied]),
        ("another prefix", format!("etcd://app:{SECRET}@{plain}/shed"), [denied, denied, denied]),
        ("a wrong password", format!("etcd://app:{SECRET}x@{plain}/shop"), [wrong, wrong, wrong]),
        ("nobody", format!("etcd://{plain}/shop"), [nobody, nobody, nobody]),
        ("no authority", format!("etcds://app:{SECRET}@{tls}/shop"), [untrusted, untrusted, untrusted]),
        ("no TLS", format!("etcd://app:{SECRET}@{tls}/shop"), [in_the_clear, in_the_clear, in_the_clear]),
        ("TLS where none is", format!("etcds://app:{SECRET}@{plain}/shop?ca={ca}"), [no_tls, no_tls, no_tls]),
    ])
    .await;
}

/// Has Redis do something, as its first user.
async fn tell_redis(server: &Service, commands: &str) {
    let mut stream = TcpStream::connect(server.address()).await.expect("Redis is there");
    stream
        .write_all(format!("AUTH {SECRET}\r\n{commands}\r\nQUIT\r\n").as_bytes())
        .await
        .expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    assert!(answer.lines().all(|line| line == "+OK"), "{commands}: {answer}");
}

#[tokio::test]
async fn redis_with_users_and_tls() {
    let certificates = Certificates::make().expect("openssl makes them");
    let server = redis::start(Some(SECRET), Some(&certificates)).await.expect("Redis starts");
    let rights = "+@read +@write +@scripting +@pubsub +@connection +time +select";
    let users = format!(
        "ACL SETUSER app on >{SECRET} ~{{shop}}* &{{shop}}#changed {rights}\r\n\
         ACL SETUSER guest on >{SECRET} ~{{shop}}* &{{shop}}#changed +@read +@connection +select"
    );
    tell_redis(&server, &users).await;
    let (plain, tls, ca) = (server.address(), server.tls_address(), certificates.ca());
    let ca = ca.display();
    let denied = "the user needs the keys";
    let wrong = "look at USER:PASSWORD";
    let nobody = "put :PASSWORD@";
    let untrusted = "name in the URL who vouches for it: ?ca=FILE";
    let gone = "cannot be reached";
    check(&[
        ("the first user", format!("redis://:{SECRET}@{plain}/0/shop"), ["", "", ""]),
        ("all rights", format!("redis://app:{SECRET}@{plain}/0/shop"), ["", "", ""]),
        ("all rights under TLS", format!("rediss://app:{SECRET}@{tls}/0/shop?ca={ca}"), ["", "", ""]),
        ("may only read", format!("redis://guest:{SECRET}@{plain}/0/shop"), ["", "", denied]),
        ("another prefix", format!("redis://app:{SECRET}@{plain}/0/shed"), [denied, denied, denied]),
        ("a wrong password", format!("redis://app:{SECRET}x@{plain}/0/shop"), [wrong, wrong, wrong]),
        ("nobody", format!("redis://{plain}/0/shop"), [nobody, nobody, nobody]),
        ("no authority", format!("rediss://app:{SECRET}@{tls}/0/shop"), [untrusted, untrusted, untrusted]),
        ("no TLS", format!("redis://app:{SECRET}@{tls}/0/shop"), [gone, gone, gone]),
    ])
    .await;
}

#[tokio::test]
async fn postgres_with_roles_and_tls() {
    let certificates = Certificates::make().expect("openssl makes them");
    let server = Server::builder()
        .setting("ssl", "on")
        .setting("ssl_cert_file", &certificates.cert().display().to_string())
        .setting("ssl_key_file", &certificates.key().display().to_string());
    let mut server = server.start().await.expect("PostgreSQL starts");
    let database = "registry";
    server.create_database(database).await.expect("a database");
    let roles = ["publisher", "router", "guest", "stranger"];
    for role in roles {
        let made = format!("create role {role} login password '{SECRET}'");
        server.execute("postgres", &made).await.expect(role);
    }
    server
        .execute("postgres", &format!("grant create on database {database} to publisher"))
        .await
        .expect("a grant");
    let rules = "local all all trust\nhost all postgres 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(server.folder().join("data/pg_hba.conf"), rules).expect("pg_hba.conf can be written");
    server.restart().await.expect("it starts again");
    let (port, ca) = (server.port(), certificates.ca());
    let url = |role: &str, password: &str, mode: &str| {
        format!(
            "postgres://{role}:{password}@127.0.0.1:{port}/{database}?sslmode={mode}&sslrootcert={}",
            ca.display()
        )
    };
    let no_schema = "permission denied for database registry (SQLSTATE 42501); the role needs USAGE";
    let denied = "(SQLSTATE 42501); the role needs USAGE";
    let wrong = "look at the user and the password";
    let no_rule = "no pg_hba.conf entry";
    check(&[(
        "nothing is there yet",
        url("router", SECRET, "verify-full"),
        [no_schema, no_schema, no_schema],
    )])
    .await;
    check(&[("makes it", url("publisher", SECRET, "verify-full"), ["", "", ""])]).await;
    let grants = "grant usage on schema replat_registry to router, guest; \
                  grant select, insert, update, delete on all tables in schema replat_registry to router; \
                  grant usage on all sequences in schema replat_registry to router; \
                  grant select on all tables in schema replat_registry to guest";
    server.execute(database, grants).await.expect("grants");
    check(&[
        ("all rights", url("router", SECRET, "verify-full"), ["", "", ""]),
        ("may only read", url("guest", SECRET, "verify-full"), ["", "", denied]),
        ("no rights", url("stranger", SECRET, "verify-full"), [denied, denied, denied]),
        ("a wrong password", url("router", &format!("{SECRET}x"), "verify-full"), [wrong, wrong, wrong]),
        ("no TLS", url("router", SECRET, "disable"), [no_rule, no_rule, no_rule]),
    ])
    .await;
}
