//! Who is told of a switch: the registry of the spec, its key, and what its absence costs.

use std::os::unix::fs::PermissionsExt;

use replat_engine::registry::Registry;
use replat_model::route::Routes;
use replat_registry::{ProjectKey, Seal};
use serde_json::Value;

use crate::world::World;

const REGISTRY: &str = "[registry]\nurl = \"file:.replat/registry.db\"\nkey = { file = \"project.key\" }\n";

/// A deployment by this spec runs to its end.
fn at_once(spec: &str) -> String {
    spec.replace("soak = \"1h\"", "soak = \"0s\"")
}

fn lines_of(log: &str, step: &str) -> Vec<Value> {
    let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    entries.filter(|entry| entry["fields"]["step"] == step).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_is_published_signed_and_a_deployment_shows_who_was_told() {
    let endpoint = "\n[databases.green]\nendpoint = \"http://green.internal:8080\"\n";
    let world = World::example_with(|spec| {
        let spec = at_once(&spec).replacen("\n[databases.green]\n", endpoint, 1);
        assert!(spec.contains("green.internal"), "the example has a database green");
        format!("{spec}\n{REGISTRY}")
    })
    .await;
    let key = world.path("project.key");
    world.write("project.key", &format!("{}\n", "5a".repeat(32)));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("it is ours");

    let line = "deploy -p tenant_id=3 -y -v --log-format json --log-file replat.log --progress none";
    world.replat(line).await.succeeds();
    let log = std::fs::read_to_string(world.path("replat.log")).expect("a log");
    let published = lines_of(&log, "publish");
    assert!(!published.is_empty(), "{log}");
    assert!(published.iter().all(|line| line["fields"]["took_ms"].is_u64()), "{published:?}");

    let shown = world.replat("deploy get --json").await.succeeds().json();
    let seen = &shown["registry"];
    assert_eq!((&seen["trouble"], &seen["published"]), (&Value::Null, &seen["version"]), "{seen:#}");
    world.replat("deploy get").await.succeeds().prints("is published; nobody follows");

    let seal = Seal { project: "saas".into(), key: Some(ProjectKey::read(&key).expect("a key")) };
    let url = format!("file:{}", world.path(".replat/registry.db").display());
    let registry = replat_registry::open(&url, seal).expect("the registry that was published to");
    let mut routes: Option<Routes> = None;
    for envelope in registry.read("saas", 0).await.expect("it is signed by the key") {
        assert!(envelope.mac.is_some());
        routes = Some(match (envelope.from, routes) {
            (None, _) => serde_json::from_str(&envelope.body).expect("routes"),
            (Some(_), Some(before)) => {
                before.after(&serde_json::from_str(&envelope.body).expect("a delta")).expect("it goes on")
            }
            (Some(_), None) => panic!("a delta from nothing"),
        });
    }
    let routes = routes.expect("something was published");
    let moved = routes.partition(&"tenant_id_3".parse().expect("a name")).expect("it was carved out");
    assert_eq!((moved.leaf.home.database.as_str(), moved.leaf.epoch.get()), ("green", 2));
    assert_eq!(moved.address.endpoint.as_deref(), Some("http://green.internal:8080"));
    assert_eq!(moved.address.host, "127.0.0.1");
    assert_eq!(moved.traffic.and_then(|traffic| traffic.schema_version.as_deref()), Some("v2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_cannot_be_used_stops_no_switch_and_is_told() {
    for (url, why) in [
        ("etcd://127.0.0.1:1", "cannot be reached"),
        ("env:NO_SUCH_REGISTRY", "the environment has no variable NO_SUCH_REGISTRY"),
    ] {
        let world =
            World::example_with(|spec| format!("{}\n[registry]\nurl = \"{url}\"\n", at_once(&spec))).await;
        let line = "deploy -p tenant_id=3 -y -v --log-format json --log-file replat.log --progress none";
        world.replat(line).await.succeeds();
        let log = std::fs::read_to_string(world.path("replat.log")).expect("a log");
        let held = lines_of(&log, "hold");
        let trouble = held.first().map(|line| (&line["level"], line["fields"]["trouble"].as_str()));
        let (level, trouble) = trouble.unwrap_or_else(|| panic!("{url}: {log}"));
        assert_eq!(level, "WARN", "{url}");
        assert!(trouble.is_some_and(|t| t.contains(why) || t.contains("no answer")), "{url}: {trouble:?}");
        assert!(log.contains(why), "{url}: {log}");
        world.replat("deploy get").await.succeeds().prints(why).prints("nobody is asked to hold");
    }
}
