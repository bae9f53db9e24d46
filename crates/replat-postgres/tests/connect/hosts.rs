use std::net::TcpListener;

use replat_testkit::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener as TcpSocket;
use tokio_postgres::error::SqlState;

use crate::support::{Strict, replication, session, verdict};

/// A port on which nobody listens.
fn dead_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its number").port()
}

#[tokio::test]
async fn a_dead_host_is_passed_over() {
    let server = Server::start().await.expect("a server");
    let (dead, port) = (dead_port(), server.port());
    let text = format!("postgres://postgres@127.0.0.1:{dead},127.0.0.1:{port}/postgres");
    assert_eq!(session(&text).await.expect("the second host").host.port, port);
    assert_eq!(replication(&text).await.expect("the second host").host().port, port);
}

#[tokio::test]
async fn a_silent_host_is_given_up_in_time() {
    let server = Server::start().await.expect("a server");
    // It accepts, as the kernel does for it, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().map(|address| (silent, address.port())).expect("its number");
    let text = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=postgres connect_timeout=1",
        silent.1,
        server.port()
    );
    assert_eq!(session(&text).await.expect("the second host").host.port, server.port());
    let error = session(&format!("postgres://x@127.0.0.1:{}/?connect_timeout=1", silent.1)).await;
    assert_eq!(verdict(&error.expect_err("nobody speaks")), "TimedOut");
}

#[tokio::test]
async fn when_every_host_is_dead_each_is_named() {
    let (one, two) = (dead_port(), dead_port());
    let text = format!("postgres://x:pass word@127.0.0.1:{one},nowhere.invalid:{two}/d").replace(' ', "%20");
    let error = session(&text).await.expect_err("nobody there");
    let said = error.to_string();
    let want = [
        format!("cannot connect to postgres://x@127.0.0.1:{one},nowhere.invalid:{two}/d; "),
        format!("127.0.0.1:{one}: nobody answers: Connection refused"),
        format!("nowhere.invalid:{two}: the host name cannot be resolved: "),
    ];
    for part in want {
        assert!(said.contains(&part), "{said}\ndoes not contain\n{part}");
    }
    assert!(error.is_temporary());
    verdict(&error);
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_elsewhere() {
    let strict = Strict::start(None).await;
    let port = strict.server.port();
    let text = format!("postgres://scrammed:wrong@127.0.0.1:{port},127.0.0.1:{}/postgres", dead_port());
    let error = session(&text).await.expect_err("a wrong password");
    let tried: Vec<&str> = error.attempts.iter().map(|attempt| attempt.host.as_str()).collect();
    assert!(tried.iter().all(|host| *host == format!("127.0.0.1:{port}")), "{tried:?}");
    assert!(!error.is_temporary());
}

#[tokio::test]
async fn a_server_of_the_wanted_kind_is_found() {
    let writable = Server::start().await.expect("a server");
    let read_only = Server::builder().setting("default_transaction_read_only", "on").start().await;
    let read_only = read_only.expect("another");
    let (w, r) = (writable.port(), read_only.port());
    let rows = [
        ("any", [r, w], Ok(r)),
        ("read-write", [r, w], Ok(w)),
        ("read-only", [w, r], Ok(r)),
        ("primary", [r, w], Ok(r)),
        ("standby", [r, w], Err("OtherKind")),
        ("prefer-standby", [w, r], Ok(w)),
    ];
    for (wanted, [first, second], want) in rows {
        let text = format!(
            "host=127.0.0.1,127.0.0.1 port={first},{second} user=postgres target_session_attrs={wanted}"
        );
        let got = session(&text).await;
        let got = got.map(|connected| connected.host.port).map_err(|error| {
            assert!(error.is_temporary(), "another server may be promoted: {error}");
            verdict(&error)
        });
        assert_eq!(got, want.map_err(str::to_owned), "{wanted}");
        let got = replication(&text).await.map(|connection| connection.host().port);
        assert_eq!(got.ok(), want.ok(), "a stream to {wanted}");
    }
}

#[tokio::test]
async fn a_unix_socket_needs_no_tls_whatever_the_mode() {
    let server = Server::start().await.expect("a server");
    let directory = server.folder().join("socket").display().to_string();
    let encoded = directory.replace('/', "%2F");
    let texts = [
        format!("host={directory} port={} user=postgres sslmode=verify-full", server.port()),
        format!("postgres://postgres@{encoded}:{}/postgres", server.port()),
        format!("postgres://postgres@/postgres?host={directory}&port={}", server.port()),
    ];
    for text in texts {
        let connected = session(&text).await.expect(&text);
        assert!(!connected.encrypted);
        let address = connected.client.query_one("select inet_client_addr() is null", &[]).await;
        assert!(address.expect("an answer").get::<_, bool>(0), "the server sees a local client: {text}");
        replication(&text).await.expect(&text);
    }
    let error = session("host=/nonexistent user=x").await.expect_err("no such directory");
    assert_eq!(verdict(&error), "Unreachable");
}

#[tokio::test]
async fn whoever_does_not_speak_the_protocol_is_found_out() {
    let listener = TcpSocket::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its number").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let said = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            said.expect("the other end listens");
        }
    });
    let error = session(&format!("host=127.0.0.1 port={port} user=x sslmode=require")).await;
    assert_eq!(verdict(&error.expect_err("a web server")), "Protocol");
    let error = replication(&format!("host=127.0.0.1 port={port} user=x sslmode=disable")).await;
    let error = error.expect_err("a web server");
    assert!(!error.is_temporary(), "{error}");
}

/// Greets one client after another as a server with SCRAM would, then answers with a nonce that is not theirs.
async fn impostor(listener: TcpSocket) -> std::io::Result<()> {
    const OFFER: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";
    const CHALLENGE: &[u8] = b"R\0\0\0\x20\0\0\0\x0br=mine,s=c2FsdA==,i=4096";
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut heard = [0; 1024];
        for answer in [OFFER, CHALLENGE] {
            // Both messages are short and come in one piece.
            if stream.read(&mut heard).await? == 0 {
                break;
            }
            stream.write_all(answer).await?;
        }
    }
}

#[tokio::test]
async fn an_impostor_who_does_not_know_the_password_is_found_out() {
    let listener = TcpSocket::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its number").port();
    tokio::spawn(impostor(listener));
    let text = format!("host=127.0.0.1 port={port} user=x password=secret sslmode=disable");
    let error = session(&text).await.expect_err("no proof");
    assert_eq!(verdict(&error), "Protocol", "{error}");
    assert!(error.to_string().contains("invalid nonce"), "{error}");
    assert!(!error.is_temporary(), "{error}");
    let error = replication(&text).await.expect_err("no proof");
    assert!(
        error.to_string().contains("could not prove that it knows the password: invalid nonce"),
        "{error}"
    );
    assert!(!error.is_temporary(), "{error}");
}

#[tokio::test]
async fn a_running_statement_is_cancelled_from_outside() {
    let server = Server::start().await.expect("a server");
    let connected = session(&server.url("postgres")).await.expect("a session");
    let client = connected.client;
    let statement = tokio::spawn(async move { client.batch_execute("select pg_sleep(600)").await });
    // The statement may not have begun when the first request arrives.
    while !statement.is_finished() {
        connected.cancel.cancel().await.expect("the server listens");
    }
    let error = statement.await.expect("no panic").expect_err("cancelled");
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
}
