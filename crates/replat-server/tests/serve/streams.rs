//! Streams of events.

use std::net::SocketAddr;

use replat_engine::registry::HoldCall;
use replat_model::deploy::Timestamp;
use replat_model::ids::Epoch;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::world::{CONTEXT, CONTEXT_ENCODED, Events, PROJECT, World, first, get, id, taken};

fn call(attempt: u32) -> HoldCall {
    HoldCall {
        context: CONTEXT.into(),
        partition: id("acme"),
        deployment: "d1".into(),
        attempt,
        epoch: Epoch::FIRST,
        reads: true,
        to: None,
        until: Timestamp(0),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_tells_of_routes_and_of_holds_in_their_order() {
    let world = World::new().await;
    let server = world.serve(world.options()).await;
    let mut events = Events::open(server.address(), "&since=0", &[]).await;
    let head = events.head.to_ascii_lowercase();
    for field in ["content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"] {
        assert!(head.contains(field), "{head}");
    }
    let first = taken(None, &[events.next().await.expect("routes").envelope()]).expect("they are whole");
    assert_eq!(first, world.now());

    world.registry.hold(&call(3), 60_000).await.expect("it answers");
    let hold = events.next().await.expect("a hold");
    let mut said: Value = serde_json::from_str(&hold.data).expect("JSON");
    let for_ms = said["for_ms"].take().as_u64().expect("a time");
    assert!((1..=60_000).contains(&for_ms), "{for_ms}");
    let wanted = json!({
        "partition": "acme", "epoch": 1, "attempt": 3, "deployment": "d1", "reads": true, "for_ms": null
    });
    assert_eq!((hold.name.as_str(), hold.id, said), ("hold", None, wanted));

    // Whoever comes meanwhile is told of what stands, and of no routes that are not new.
    let mut late = Events::open(server.address(), "", &[]).await;
    assert_eq!(late.next().await.expect("a hold").name, "hold");

    let version = world.move_to("acme", "green").await;
    world.registry.release(CONTEXT, &id("acme"), 3).await.expect("it answers");
    for events in [&mut events, &mut late] {
        let routes = taken(Some(first.clone()), &[events.next().await.expect("routes").envelope()]);
        assert_eq!(routes.as_ref(), Some(&world.now()));
        let release = events.next().await.expect("a release");
        let said: Value = serde_json::from_str(&release.data).expect("JSON");
        assert_eq!((release.name.as_str(), said), ("release", json!({ "partition": "acme", "attempt": 3 })));
    }

    // A stream that broke goes on where it was, whatever it began with.
    world.move_to("acme", "blue").await;
    let last = version.to_string();
    let mut again = Events::open(server.address(), "&since=0", &[("Last-Event-ID", &last)]).await;
    let envelope = again.next().await.expect("routes").envelope();
    assert_eq!((envelope.from, envelope.version), (Some(version), version + 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_and_polls_end_when_the_server_stops() {
    let world = World::new().await;
    let server = world.serve(world.options()).await;
    let address = server.address();
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(Events::open(address, "", &[]).await);
    }
    let poll = format!("/api/v1/projects/{PROJECT}/routes/{CONTEXT_ENCODED}?since=1&wait=60");
    let poll = tokio::spawn(async move { get(address, &poll).await });
    // A connection that is accepted need not have asked yet, and then gets no answer.
    while !get(address, "/metrics").await.body.contains("replat_http_polls 1\n") {
        tokio::task::yield_now().await;
    }
    server.stop().await;
    for mut stream in streams {
        assert_eq!(stream.next().await, None, "it ends in order");
    }
    assert_eq!(poll.await.expect("it was answered").envelopes(), []);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

/// A connection on which little fits.
async fn narrow(server: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 << 10).expect("it may be small");
    socket.connect(server).await.expect("it listens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_told_the_newest_when_it_does() {
    const VERSIONS: u64 = 120;
    let world = World::new().await;
    let server = world.serve(world.options()).await;
    let mut slow = Events::on(narrow(server.address()).await, "&since=1", &[]).await;
    let mut quick = Events::open(server.address(), "&since=1", &[]).await;
    let reading = tokio::spawn(async move {
        let mut versions = Vec::new();
        while versions.last() < Some(&(VERSIONS + 1)) {
            versions.push(quick.next().await.expect("it goes on").envelope().version);
        }
        versions
    });
    for _ in 0..VERSIONS {
        world.change_much(128 << 10).await;
    }
    reading.await.expect("whoever reads gets all of it, however slow others are");
    let mut have = Some(first());
    let (mut events, mut wholes) = (0, 0);
    while have.as_ref().is_none_or(|have| have.version() <= VERSIONS) {
        let envelope = slow.next().await.expect("it goes on").envelope();
        events += 1;
        wholes += u32::from(envelope.from.is_none());
        have = taken(have, &[envelope]);
    }
    assert_eq!(have, Some(world.now()));
    assert!(wholes >= 1 && events < VERSIONS / 2, "{events} events, {wholes} of them whole");
}
