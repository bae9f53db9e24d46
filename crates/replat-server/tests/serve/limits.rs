//! What nobody may have more of.

use std::time::Duration;

use replat_server::Options;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::world::{CONTEXT_ENCODED, Events, World, get, get_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_allowed_are_told_so() {
    let world = World::new().await;
    let server = world.serve(Options { connections_max: 2, ..world.options() }).await;
    while !get(server.address(), "/metrics").await.body.contains("replat_http_connections 1\n") {
        tokio::task::yield_now().await;
    }
    let one = Events::open(server.address(), "", &[]).await;
    // The connections before may not have been counted as ended yet: then this one is refused, and another one is taken.
    let mut other = loop {
        let mut other = TcpStream::connect(server.address()).await.expect("it listens");
        let mut said = [0; 1];
        let read = tokio::time::timeout(Duration::from_millis(200), other.read(&mut said)).await;
        if read.is_err() {
            break other;
        }
    };
    let refused = loop {
        // The connections before may not have been counted as ended yet, but then this one is answered.
        let mut third = TcpStream::connect(server.address()).await.expect("it listens");
        let mut said = String::new();
        let read = third.read_to_string(&mut said);
        match tokio::time::timeout(Duration::from_millis(200), read).await {
            Ok(Ok(_)) if !said.is_empty() => break said,
            _ => {}
        }
    };
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let (_, body) = refused.split_once("\r\n\r\n").expect("it has a head");
    let body: serde_json::Value = serde_json::from_str(body).expect("it is JSON");
    assert_eq!(body["code"], json!("RP7008"));
    drop(one);
    // Those that are there are served all the same, and whoever comes when one has gone.
    tokio::io::AsyncWriteExt::write_all(&mut other, b"GET /livez HTTP/1.0\r\n\r\n").await.expect("it reads");
    let mut said = String::new();
    other.read_to_string(&mut said).await.expect("it answers");
    assert!(said.ends_with("ok\n"), "{said}");
    while get(server.address(), "/livez").await.status != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_so_many_streams_and_no_more() {
    let world = World::new().await;
    let server = world.serve(Options { streams_max: 1, ..world.options() }).await;
    let one = Events::open(server.address(), "", &[]).await;
    let path = format!("/api/v1/events?topics=routes/{CONTEXT_ENCODED}");
    let refused = get(server.address(), &path).await;
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("RP7008")));
    assert_eq!(refused.field("retry-after"), Some("1"));
    drop(one);
    while !get(server.address(), "/metrics").await.body.contains("replat_sse_clients 0") {
        tokio::task::yield_now().await;
    }
    Events::open(server.address(), "", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_too_long_is_refused() {
    let world = World::new().await;
    let server = world.serve(world.options()).await;
    let long = "x".repeat(20 << 10);
    assert_eq!(get_with(server.address(), "/livez", &[("X-Long", &long)]).await.status, 431);
    let many: Vec<(&str, &str)> = (0..100).map(|_| ("X-Many", "x")).collect();
    assert_eq!(get_with(server.address(), "/livez", &many).await.status, 431);
    assert_eq!(get(server.address(), "/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_is_given_up() {
    let world = World::new().await;
    let options = Options { patience: Duration::from_millis(200), ..world.options() };
    let server = world.serve(options).await;
    let stuck = Events::open(server.address(), "&since=0", &[]).await;
    while !get(server.address(), "/metrics").await.body.contains("replat_sse_clients 0") {
        world.change_much(60_000).await;
    }
    drop(stuck);
}
