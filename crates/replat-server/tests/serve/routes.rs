//! Lists, long polls, lookups, and who may ask for them.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use replat_engine::registry::Attendance;
use replat_model::deploy::Timestamp;
use replat_server::{BadToken, Options, Tokens};
use serde_json::json;

use crate::world::{CONTEXT, CONTEXT_ENCODED, PROJECT, Reply, World, get, get_with, say, taken};

fn list(query: &str) -> String {
    format!("/api/v1/projects/{PROJECT}/routes/{CONTEXT_ENCODED}{query}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_are_listed_from_any_version_and_prove_themselves() {
    let world = World::new().await;
    let server = world.serve(world.options()).await;
    let first = taken(None, &get(server.address(), &list("?since=0")).await.envelopes());
    assert_eq!(first, Some(world.now()));
    for home in ["green", "blue", "green"] {
        world.move_to("acme", home).await;
    }
    let reply = get(server.address(), &list("?since=1&wait=30")).await;
    let mut have = taken(first, &reply.envelopes()).expect("there are some");
    while have.version() < world.now().version() {
        let path = list(&format!("?since={}&wait=30s", have.version()));
        let reply = get(server.address(), &path).await;
        assert!(reply.envelopes().iter().all(|envelope| envelope.from.is_some()), "deltas are enough");
        have = taken(Some(have), &reply.envelopes()).expect("there are some");
    }
    assert_eq!(have, world.now());
    for nothing in ["?since=4", "?since=4&wait=0", "?since=77&wait=0.01"] {
        let reply = get(server.address(), &list(nothing)).await;
        assert_eq!((reply.envelopes(), reply.field("replat-version")), (vec![], Some("4")), "{nothing}");
    }
    assert_eq!(taken(None, &get(server.address(), &list("")).await.envelopes()), Some(have));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_is_answered_when_there_is_news() {
    let world = World::new().await;
    let server = world.serve(world.options()).await;
    let (address, path) = (server.address(), list("?since=1&wait=60"));
    let polls: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let path = path.clone();
                async move { get(address, &path).await }
            })
        })
        .collect();
    while !get(address, "/metrics").await.body.contains("replat_http_connections 21") {
        tokio::task::yield_now().await;
    }
    assert!(polls.iter().all(|poll| !poll.is_finished()), "there is nothing to say yet");
    let version = world.move_to("zeta", "green").await;
    for poll in polls {
        let envelopes = poll.await.expect("it was answered").envelopes();
        assert_eq!(envelopes.iter().map(|e| (e.from, e.version)).collect::<Vec<_>>(), [(Some(1), version)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_looked_up() {
    let world = World::new().await;
    world.move_to("acme", "green").await;
    let server = world.serve(world.options()).await;
    for (query, partition, database) in
        [("tenant_id=7", "acme", "green"), ("tenant_id=8", "zeta", "blue"), ("tenant_id=%39", "rest", "blue")]
    {
        let found = get(server.address(), &list(&format!("/lookup?{query}"))).await.json();
        let route = &found["routes"][0];
        assert_eq!((&found["version"], &route["partition"]), (&json!(2), &json!(partition)), "{found}");
        assert_eq!(route["home"]["database"], json!(database));
        assert_eq!(route["address"]["host"], json!(format!("{database}.internal")));
    }
}

/// What every refusal says.
fn problem(reply: &Reply, status: u16, code: &str) {
    let said = reply.json();
    assert_eq!(
        (reply.status, &said["code"], &said["status"]),
        (status, &json!(code), &json!(status)),
        "{reply:?}"
    );
    assert_eq!(reply.field("content-type"), Some("application/problem+json"));
    assert_eq!(said["type"], json!(format!("urn:replat:error:{code}")));
    assert!(said["state"].as_str().is_some_and(|state| state.starts_with("SAFE")), "{said}");
    assert!(said["remedy"][0].as_str().is_some_and(|remedy| !remedy.is_empty()), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_answered_is_refused_with_a_reason() {
    let world = World::new().await;
    let server = world.serve(world.options()).await;
    for (path, status) in [
        (list("?since=x"), 400),
        (list("?since=-1"), 400),
        (list("?wait=NaN"), 400),
        (list("?wait=-1"), 400),
        (list("?limit=1"), 400),
        (list("/lookup"), 400),
        (list("/lookup?tenant_id=seven"), 400),
        (list("/lookup?tenant_id=7&tenant_id=8"), 400),
        (list("/lookup?shop_id=7"), 400),
        (list("%"), 400),
        ("/api/v1/projects/other/routes/tenants".into(), 404),
        (format!("/api/v1/projects/{PROJECT}/routes/other"), 404),
        ("/api/v1/events".into(), 400),
        ("/api/v1/events?topics=deployments/1".into(), 400),
        ("/api/v1/events?topics=routes/a,routes/b".into(), 400),
        ("/api/v1/events?topics=routes/other".into(), 404),
        (format!("/api/v1/events?topics=routes/{CONTEXT_ENCODED}&since=x"), 400),
        ("/".into(), 404),
        ("/api/v2".into(), 404),
    ] {
        problem(&get(server.address(), &path).await, status, "RP7006");
    }
    let post = "POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let refused = say(server.address(), post).await;
    problem(&refused, 405, "RP7006");
    assert_eq!(refused.field("allow"), Some("GET, HEAD"));
    // A page of somebody else's whose name leads here.
    problem(&get_with(server.address(), &list(""), &[("Host", "evil.example")]).await, 421, "RP7006");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_no_token_is_told_nothing() {
    let world = World::new().await;
    let file = world.path("tokens");
    let allow = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("ours");
    let written = |text: &str| {
        std::fs::write(&file, text).expect("it can be written");
        allow(0o600);
    };
    for (text, refused) in [("\n \n", "is empty"), ("long-enough-to-be-one\nshort\n", "line 2 of")] {
        written(text);
        let error = Tokens::read(&file).expect_err(text).to_string();
        assert!(error.contains(refused) && !error.contains("short"), "{error}");
    }
    written("first-token-of-many\n\nsecond-token-of-many\n");
    allow(0o644);
    assert!(matches!(Tokens::read(&file), Err(BadToken::Open { .. })));
    allow(0o600);
    let tokens = Some(Tokens::read(&file).expect("it holds two"));
    let server = world.serve(Options { tokens, ..world.options() }).await;
    for path in [list(""), list("/lookup?tenant_id=7"), "/api/v1/events".into(), "/metrics".into()] {
        for fields in [&[][..], &[("Authorization", "Bearer first-token-of-man")]] {
            let refused = get_with(server.address(), &path, fields).await;
            problem(&refused, 401, "RP7007");
            assert_eq!(refused.field("www-authenticate"), Some("Bearer"));
        }
    }
    for token in ["first-token-of-many", "second-token-of-many"] {
        let bearer = format!("Bearer {token}");
        // With a token, names matter no more: a page in a browser does not have it.
        let fields = [("Authorization", bearer.as_str()), ("Host", "routes.internal")];
        assert_eq!(get_with(server.address(), &list(""), &fields).await.envelopes().len(), 1);
    }
    assert_eq!(get(server.address(), "/livez").await.status, 200);
    assert_eq!(get(server.address(), "/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_who_follows() {
    let world = World::new().await;
    let server = world.serve(world.options()).await;
    let router = Attendance {
        id: "1".into(),
        kind: "router".into(),
        place: "here".into(),
        context: CONTEXT.into(),
        version: 1,
        until: Timestamp(0),
        answers: Vec::new(),
        pinned: 0,
    };
    world.registry.attend(&router, 60_000).await.expect("it answers");
    world.registry.attend(&Attendance { id: "2".into(), ..router }, 60_000).await.expect("it answers");
    let version = world.move_to("acme", "green").await;
    get(server.address(), &list("?since=1&wait=60")).await;
    // The connection before may not have been counted as ended yet.
    let page = loop {
        let page = get(server.address(), "/metrics").await;
        if page.body.contains("replat_http_connections 1\n") {
            break page;
        }
    };
    assert_eq!(page.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let labels = format!("project=\"{PROJECT}\",context=\"{CONTEXT}\"");
    for line in [
        format!("replat_registry_up{{{labels}}} 1\n"),
        format!("replat_registry_revision{{{labels}}} {version}\n"),
        format!("replat_registry_contact_age_seconds{{{labels}}} 0"),
        format!("replat_route_clients{{{labels},kind=\"router\"}} 2\n"),
        format!("replat_route_client_version_lag{{{labels}}} 1\n"),
        "replat_sse_clients 0\n".into(),
        "replat_http_connections 1\n".into(),
        "replat_http_requests_total{route=\"/api/v1/projects/{project}/routes/{context}\",status=\"200\"} 1\n".into(),
    ] {
        assert!(page.body.contains(&line), "{line}\n{}", page.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_registry_a_server_hands_out_nothing() {
    let mut redis = replat_testkit::redis::start(None, None).await.expect("Redis starts");
    let url = format!("redis://{}", redis.address());
    let world = World::at(replat_registry::open(&url, crate::world::seal()).expect("a URL")).await;
    let options = Options { stale_max: Duration::from_secs(3), ..world.options() };
    let server = world.serve(options).await;
    let mut events = crate::world::Events::open(server.address(), "&since=0", &[]).await;
    assert_eq!(events.next().await.and_then(|event| event.id), Some(1));
    redis.kill().expect("it is ours");
    // Whoever waits is told, and streams end, so that nobody takes what is old for the newest.
    let address = server.address();
    let poll = tokio::spawn(async move { get(address, &list("?since=1&wait=4")).await });
    while get(server.address(), "/readyz").await.status == 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(events.next().await, None);
    problem(&get(server.address(), "/readyz").await, 503, "RP7001");
    problem(&get(server.address(), &list("")).await, 503, "RP7001");
    problem(&get(server.address(), &list("/lookup?tenant_id=7")).await, 503, "RP7001");
    assert_eq!(get(server.address(), "/livez").await.status, 200);
    assert!(get(server.address(), "/metrics").await.body.contains("\"} 0\n"), "replat_registry_up");
    problem(&poll.await.expect("it was answered"), 503, "RP7001");
    redis.start_again().await.expect("it starts with what it has");
    while get(server.address(), "/readyz").await.status != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.move_to("acme", "green").await;
    let envelopes = get(server.address(), &list("?since=1&wait=60")).await.envelopes();
    assert_eq!(envelopes.last().map(|envelope| envelope.version), Some(2));
}
