use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::certificates::Certificates;
use crate::support::{PASSWORD, Strict, replication, replication_verdict, session, verdict};

/// `encrypted` or `clear` as the server sees it, else why there is no session.
async fn outcome(text: &str) -> String {
    let connected = match session(text).await {
        Ok(connected) => connected,
        Err(error) => return verdict(&error),
    };
    let ask = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    let encrypted: bool = connected.client.query_one(ask, &[]).await.expect("an answer").get(0);
    assert_eq!(encrypted, connected.encrypted, "both ends agree");
    if encrypted { "encrypted".to_owned() } else { "clear".to_owned() }
}

/// The same over a replication connection.
async fn replication_outcome(text: &str) -> String {
    let mut connection = match replication(text).await {
        Ok(connection) => connection,
        Err(error) => return replication_verdict(error),
    };
    let ask = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    let rows = connection.simple_query(ask).await.expect("an answer");
    match rows[0][0].as_deref() {
        Some("t") => "encrypted".to_owned(),
        _ => "clear".to_owned(),
    }
}

#[tokio::test]
async fn each_mode_means_what_it_means_in_libpq() {
    let certificates = Certificates::make();
    let strict = Strict::start(Some(&certificates.identity("server"))).await;
    let rows = [
        // user, name of the host, sslmode, root certificates, outcome
        ("trusted", "localhost", "disable", "none", "clear"),
        ("trusted", "localhost", "allow", "none", "clear"),
        ("trusted", "localhost", "prefer", "none", "encrypted"),
        ("trusted", "localhost", "prefer", "ca", "encrypted"),
        ("trusted", "localhost", "prefer", "other", "clear"),
        ("trusted", "localhost", "require", "none", "encrypted"),
        ("trusted", "elsewhere", "require", "ca", "encrypted"),
        ("trusted", "localhost", "require", "other", "Tls"),
        ("trusted", "localhost", "verify-ca", "none", "TlsSettings"),
        ("trusted", "localhost", "verify-ca", "ca", "encrypted"),
        ("trusted", "elsewhere", "verify-ca", "ca", "encrypted"),
        ("trusted", "localhost", "verify-ca", "other", "Tls"),
        ("trusted", "localhost", "verify-full", "none", "TlsSettings"),
        ("trusted", "localhost", "verify-full", "ca", "encrypted"),
        ("trusted", "elsewhere", "verify-full", "ca", "Tls"),
        ("trusted", "", "verify-full", "ca", "Tls"),
        ("trusted", "localhost", "verify-full", "other", "Tls"),
        ("only_tls", "localhost", "disable", "none", "28000"),
        ("only_tls", "localhost", "allow", "none", "encrypted"),
        ("only_plain", "localhost", "prefer", "none", "clear"),
        ("only_plain", "localhost", "require", "none", "28000"),
    ];
    for (user, name, mode, roots, want) in rows {
        let roots = certificates.path(&format!("{roots}.crt"));
        let text =
            format!("{}host='{name}' sslmode={mode} sslrootcert={}", strict.pairs(user), roots.display());
        assert_eq!(outcome(&text).await, want, "{text}");
        assert_eq!(replication_outcome(&text).await, want, "a stream: {text}");
    }
}

#[tokio::test]
async fn a_server_that_signed_itself_is_believed_only_if_it_is_listed() {
    let certificates = Certificates::make();
    let strict = Strict::start(Some(&certificates.identity("self"))).await;
    let rows = [
        ("localhost", "require", "none", "encrypted"),
        ("localhost", "verify-ca", "self", "encrypted"),
        ("localhost", "verify-full", "self", "encrypted"),
        ("elsewhere", "verify-full", "self", "Tls"),
        ("localhost", "verify-ca", "ca", "Tls"),
        ("localhost", "require", "ca", "Tls"),
    ];
    for (name, mode, roots, want) in rows {
        let roots = certificates.path(&format!("{roots}.crt"));
        let text =
            format!("{}host={name} sslmode={mode} sslrootcert={}", strict.pairs("trusted"), roots.display());
        assert_eq!(outcome(&text).await, want, "{text}");
    }
}

#[tokio::test]
async fn the_systems_authorities_do_not_vouch_for_our_own() {
    let certificates = Certificates::make();
    let strict = Strict::start(Some(&certificates.identity("server"))).await;
    let outcome = outcome(&(strict.pairs("trusted") + "host=localhost sslrootcert=system")).await;
    // A machine without any authorities says so instead.
    assert!(outcome == "Tls" || outcome == "TlsSettings", "{outcome}");
}

#[tokio::test]
async fn scram_binds_the_password_to_the_channel() {
    let certificates = Certificates::make();
    let strict = Strict::start(Some(&certificates.identity("server"))).await;
    let rows = [
        ("scrammed", "require", "require", "encrypted"),
        ("scrammed", "require", "prefer", "encrypted"),
        ("scrammed", "require", "disable", "encrypted"),
        ("scrammed", "disable", "prefer", "clear"),
        ("hashed", "require", "prefer", "encrypted"),
    ];
    let text = |user: &str, mode: &str, binding: &str| {
        let password = PASSWORD.replace('\'', "\\'");
        format!("{}password='{password}' sslmode={mode} channel_binding={binding}", strict.pairs(user))
    };
    for (user, mode, binding, want) in rows {
        let text = text(user, mode, binding);
        assert_eq!(outcome(&text).await, want, "{user} {mode} {binding}");
        assert_eq!(replication_outcome(&text).await, want, "a stream: {user} {mode} {binding}");
    }
    for (user, mode) in [("scrammed", "disable"), ("hashed", "require"), ("trusted", "require")] {
        let text = text(user, mode, "require");
        verdict(&session(&text).await.expect_err("nothing is bound"));
        assert_eq!(replication_outcome(&text).await, "Method", "a stream: {user} {mode}");
    }
}

#[tokio::test]
async fn a_client_certificate_says_who_one_is() {
    let certificates = Certificates::make();
    let strict = Strict::start(Some(&certificates.identity("server"))).await;
    let open = certificates.path("open.key");
    fs::copy(certificates.path("client.key"), &open).expect("a copy");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let rows = [
        ("client.crt", "client.key", "encrypted"),
        ("self.crt", "self.key", "Tls"),
        ("none.crt", "client.key", "28000"),
        ("client.crt", "open.key", "TlsSettings"),
        ("client.crt", "none.key", "TlsSettings"),
        ("client.crt", "server.key", "TlsSettings"),
        ("client.crt", "client.crt", "TlsSettings"),
        ("client.key", "client.key", "TlsSettings"),
    ];
    for (certificate, key, want) in rows {
        let text = format!(
            "{}sslmode=require sslcert={} sslkey={}",
            strict.pairs("certified"),
            certificates.path(certificate).display(),
            certificates.path(key).display()
        );
        assert_eq!(outcome(&text).await, want, "{certificate} {key}");
        assert_eq!(replication_outcome(&text).await, want, "a stream: {certificate} {key}");
    }
}

#[tokio::test]
async fn a_statement_under_tls_is_cancelled_over_tls() {
    let certificates = Certificates::make();
    let strict = Strict::start(Some(&certificates.identity("server"))).await;
    let connected = session(&(strict.pairs("only_tls") + "sslmode=require")).await.expect("a session");
    let client = connected.client;
    let statement = tokio::spawn(async move { client.batch_execute("select pg_sleep(600)").await });
    while !statement.is_finished() {
        connected.cancel.cancel().await.expect("the server listens");
    }
    let error = statement.await.expect("no panic").expect_err("cancelled");
    assert_eq!(error.code().map(|code| code.code()), Some("57014"));
}
