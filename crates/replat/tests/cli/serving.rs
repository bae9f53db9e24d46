//! `serve`: where it may listen, what it hands out, and how it ends.

use std::os::unix::fs::PermissionsExt;

use replat_testkit::saas::example_directory;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::program::{Program, Started};
use crate::world::Folder;

/// A project whose databases nobody asks, with a registry in a file.
fn project() -> (Folder, Program) {
    let folder = Folder::new();
    let spec = std::fs::read_to_string(example_directory().join("replat.toml")).expect("the example");
    let registry = "\n[registry]\nurl = \"file:.replat/registry.db\"\n";
    std::fs::write(folder.path().join("replat.toml"), spec + registry).expect("a spec");
    let program = Program::in_folder(folder.path())
        .with("BLUE_URL", "postgres://app@blue.internal/shop")
        .with("GREEN_URL", "postgres://app@green.internal/shop");
    (folder, program)
}

async fn get(address: &str, path: &str, fields: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{fields}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.lines().next().expect("a status").to_owned(), body.to_owned())
}

/// Starts it with these options; returns where it listens.
async fn serving(program: &Program, options: &str) -> (Started, String) {
    let line = format!("serve --json --listen 127.0.0.1:0 {options}");
    let mut started = program.start(&line.split_whitespace().collect::<Vec<_>>());
    let told = started.prints_json().await;
    let url = told["url"].as_str().expect("it says where").to_owned();
    (started, url.trim_start_matches("http://").to_owned())
}

#[tokio::test]
async fn what_was_published_is_served_until_a_signal() {
    let (folder, program) = project();
    program.line("registry init").await.succeeds();
    let token = folder.path().join("serve.token");
    std::fs::write(&token, "a-token-for-this-test\n").expect("it can be written");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).expect("ours");

    let (started, address) = serving(&program, "--token-file serve.token").await;
    let path = "/api/v1/projects/saas/routes/saas/lookup?tenant_id=3";
    let (status, body) = get(&address, path, "").await;
    assert!(status.contains(" 401 ") && body.contains("RP7007"), "{status}: {body}");
    let (status, body) = get(&address, path, "Authorization: Bearer a-token-for-this-test\r\n").await;
    assert!(status.contains(" 200 "), "{status}: {body}");
    let found: Value = serde_json::from_str(&body).expect("it is JSON");
    assert_eq!(found["routes"][0]["address"]["host"], "blue.internal", "{found}");
    started.signal("TERM").await;
    let ran = started.end().await.succeeds();
    assert!(!ran.err.contains("a-token"), "{}", ran.told());
    assert!(TcpStream::connect(&address).await.is_err(), "nobody listens any more");

    let (started, address) = serving(&program, "").await;
    let (status, _) = get(&address, path, "").await;
    assert!(status.contains(" 200 "), "{status}");
    let taken = program.line(&format!("serve --listen {address}")).await;
    taken.fails("RP7005", 4).remarks("cannot be listened at");
    started.signal("INT").await;
    started.end().await.succeeds();
}

#[tokio::test]
async fn routes_are_written_for_other_proxies() {
    let (folder, program) = project();
    program.line("registry init").await.succeeds();
    program.line("route export envoy --out routes.json").await.succeeds().remarks("routes.json has version ");
    let text = std::fs::read_to_string(folder.path().join("routes.json")).expect("it was written");
    let found: Value = serde_json::from_str(&text).expect("it is JSON");
    let version = found["version_info"].as_str().and_then(|version| version.parse::<u64>().ok());
    assert!(version.is_some_and(|version| version > 0), "{found}");
    let map = program.line("route export haproxy").await.succeeds().out;
    let homes: Vec<(&str, &str)> =
        map.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' ')).collect();
    assert!(!homes.is_empty(), "{map}");
    let routes = found["resources"][0]["virtual_hosts"][0]["routes"].as_array().expect("routes");
    let (last, each) = routes.split_last().expect("there are some");
    assert_eq!(last["direct_response"]["status"], 404, "what nobody has: {last}");
    let each = each.iter().map(|route| {
        let header = &route["match"]["headers"][0];
        assert_eq!(header["name"], "x-partition", "{route}");
        (&header["string_match"]["exact"], &route["route"]["cluster"])
    });
    let each: Vec<_> = each.map(|(partition, home)| (partition.as_str(), home.as_str())).collect();
    let homes: Vec<_> = homes.into_iter().map(|(partition, home)| (Some(partition), Some(home))).collect();
    assert_eq!(each, homes, "{found}\n{map}");
}

#[tokio::test]
async fn a_place_where_anybody_could_ask_is_refused_with_the_reason() {
    let (folder, program) = project();
    for place in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let ran = program.line(&format!("serve --listen {place}")).await;
        ran.fails("RP7005", 4).remarks("anybody could read").remarks("--token-file").remarks("127.0.0.1");
    }
    let token = folder.path().join("serve.token");
    std::fs::write(&token, "a-token-for-this-test\n").expect("it can be written");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).expect("ours");
    program.line("serve --token-file serve.token").await.fails("RP7005", 4).remarks("chmod 0600");
    program.line("serve --token-file absent").await.fails("RP7005", 4).remarks("cannot be read");
    program.line("serve --haproxy /run/haproxy.sock").await.exits(2).remarks("--haproxy-map");
    program.line("serve -C absent").await.fails("RP2006", 3);
}
