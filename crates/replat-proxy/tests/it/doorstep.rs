//! What strangers may try before they have logged in, and clients afterwards.

use std::time::Duration;

use replat_proxy::ClientAuth;
use replat_wire::backend::Complaint;
use replat_wire::frame::{BODY_MAX, HEAD_BYTES, head};
use replat_wire::startup::put_startup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::World;

/// What comes back for `bytes`, until the proxy hangs up. `None` if nothing does.
async fn answer(world: &World, bytes: &[u8]) -> Option<Complaint> {
    let mut stream = TcpStream::connect(world.address).await.expect("the proxy listens");
    // The proxy may hang up before it has read everything.
    drop(stream.write_all(bytes).await);
    drop(stream.shutdown().await);
    let mut said = Vec::new();
    drop(stream.read_to_end(&mut said).await);
    let mut rest = &said[..];
    while let Ok(Some(head)) = head(rest, BODY_MAX) {
        let body = rest.get(HEAD_BYTES..head.total())?;
        if head.tag == b'E' {
            return Some(Complaint::read(body));
        }
        rest = &rest[head.total()..];
    }
    None
}

fn first(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + body.len()).expect("short");
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

fn startup(user: &str) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    put_startup(&mut out, [("user", user), ("database", "app")]);
    out.to_vec()
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + body.len()).expect("short");
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_stranger_says_gets_an_answer_or_nothing_and_the_proxy_lives() {
    let world = World::start().await;
    let login = startup("app+acme");
    let after = |more: Vec<u8>| [login.clone(), more].concat();
    let sasl = |length: i32, data: &[u8]| {
        message(b'p', &[b"SCRAM-SHA-256\0", &length.to_be_bytes()[..], data].concat())
    };
    let rows: Vec<(&str, Vec<u8>, Option<&str>)> = vec![
        ("nothing", vec![], None),
        ("half a length", vec![0, 0], None),
        ("a length of zero", vec![0; 8], Some("08P01")),
        ("a length of two gigabytes", [&[0x7f, 0xff, 0xff, 0xff][..], &[0, 3, 0, 0]].concat(), Some("08P01")),
        ("a negative length", [&[0xff; 4][..], &[0, 3, 0, 0]].concat(), Some("08P01")),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Some("08P01")),
        ("TLS, which is off", vec![0x16, 3, 1, 0, 0], None),
        ("protocol 2", first(2 << 16, b"user\0app\0\0"), Some("08P01")),
        ("no user", first(3 << 16, b"database\0app\0\0"), Some("08P01")),
        ("no end of the parameters", first(3 << 16, b"user\0app\0"), Some("08P01")),
        ("two users", first(3 << 16, b"user\0app\0user\0postgres\0\0"), Some("08P01")),
        ("a start-up that never ends", login[..login.len() - 3].to_vec(), None),
        ("replication", first(3 << 16, b"user\0app\0replication\0database\0\0"), Some("0A000")),
        ("a cancel for nobody", first(80_877_102, &[0, 0, 0, 1, 0, 0, 0, 2]), None),
        ("a cancel that is too short", first(80_877_102, &[0, 0, 0, 1]), Some("08P01")),
        ("a start-up, and no more", login.clone(), None),
        ("a start-up, and another one", after(login.clone()), Some("08P01")),
        ("a query before the login", after(message(b'Q', b"select 1\0")), Some("08P01")),
        ("a message that is no answer", after(message(b'p', b"")), Some("08P01")),
        ("another mechanism", after(message(b'p', b"PLAIN\0\0\0\0\0")), Some("08P01")),
        ("channel binding, not offered", after(sasl(25, b"p=tls-unique,,n=,r=abcdefg")), Some("08P01")),
        ("a length that lies", after(sasl(-1, b"n,,n=,r=abc")), Some("08P01")),
        ("another that lies", after(sasl(i32::MAX, b"n,,n=,r=abc")), Some("08P01")),
        (
            "a proof that is none",
            after([sasl(11, b"n,,n=,r=abc"), message(b'p', b"x")].concat()),
            Some("08P01"),
        ),
        ("an answer that is too long", after(message(b'p', &[b'x'; 5000])), Some("08P01")),
        ("an answer of a gigabyte", after(vec![b'p', 0x40, 0, 0, 0]), Some("08P01")),
    ];
    for (case, bytes, want) in rows {
        let said = answer(&world, &bytes).await;
        assert_eq!(said.as_ref().map(|said| said.sqlstate.as_str()), want, "{case}: {said:?}");
        assert!(said.is_none_or(|said| said.fatal), "{case}");
    }
    world.client().await.query_one("select 1", &[]).await.expect("the proxy lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_client_says_after_its_login_ends_at_most_its_own_session() {
    // Without passwords, so that a session is one packet away.
    let world = World::with(|settings| settings.auth = ClientAuth::Trust).await;
    let login = startup("postgres+acme");
    let rows: [(&str, Vec<u8>, Option<&str>); 7] = [
        ("an unknown message", message(b'?', b""), Some("08P01")),
        ("a length below four", vec![b'Q', 0, 0, 0, 3], Some("08P01")),
        ("a negative length", vec![b'Q', 0xff, 0xff, 0xff, 0xff], Some("08P01")),
        ("more than a gigabyte", vec![b'Q', 0x40, 0, 0, 0], Some("08P01")),
        ("a password, now", message(b'p', b"x\0"), Some("08P01")),
        ("half a query", message(b'Q', b"select 1\0")[..8].to_vec(), None),
        ("good-bye", message(b'X', b""), None),
    ];
    for (case, bytes, want) in rows {
        let said = answer(&world, &[login.clone(), bytes].concat()).await;
        assert_eq!(said.as_ref().map(|said| said.sqlstate.as_str()), want, "{case}: {said:?}");
    }
    // What the server has to say about a message is the server's matter.
    for (case, bytes, want) in [
        ("a Parse without an end", [message(b'P', b"x"), message(b'S', b"")].concat(), "08P01"),
        ("a Bind of nothing", [message(b'B', b""), message(b'S', b"")].concat(), "08P01"),
        ("a Query that is not SQL", message(b'Q', b"x\0"), "42601"),
    ] {
        let said = answer(&world, &[login.clone(), bytes].concat()).await;
        assert_eq!(said.map(|said| said.sqlstate).as_deref(), Some(want), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_in_time_who_it_is_has_to_go() {
    let world = World::with(|settings| settings.limits.startup_max = Duration::from_secs(4)).await;
    let login = startup("app+acme");
    let silent = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(world.address).await.expect("the proxy listens");
        stream.write_all(bytes).await.expect("written");
        // Ends without a word of ours: the proxy hangs up.
        drop(stream.read_to_end(&mut Vec::new()).await);
    };
    tokio::join!(silent(b""), silent(&login[..5]), silent(&login));
    world.client().await.query_one("select 1", &[]).await.expect("who says it gets in");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_for_too_long_has_to_go() {
    let world = World::with(|settings| settings.limits.idle_max = Some(Duration::from_millis(300))).await;
    let client = world.client().await;
    // Busy is not idle.
    client.batch_execute("select pg_sleep(1)").await.expect("an answer");
    client.batch_execute("begin; select pg_sleep(0.5)").await.expect("an answer");
    client.batch_execute("commit").await.expect("an answer");
    while !client.is_closed() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_who_only_connect_keep_nobody_out() {
    let world = World::start().await;
    let mut idlers = Vec::new();
    for _ in 0..2000 {
        let mut stream = TcpStream::connect(world.address).await.expect("the proxy listens");
        stream.write_all(&startup("app+acme")[..9]).await.expect("written");
        idlers.push(stream);
    }
    let client = world.client().await;
    client.query_one("select 1", &[]).await.expect("an answer");
    assert_eq!(world.proxy.tally().clients, 2001);
    drop(idlers);
    while world.proxy.tally().clients > 1 {
        tokio::task::yield_now().await;
    }
}
