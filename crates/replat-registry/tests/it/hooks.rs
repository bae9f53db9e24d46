//! Hooks against a real HTTP server and a real PostgreSQL: each hears of each version at least once, whoever was down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use replat_engine::registry::Registry;
use replat_model::deploy::Timestamp;
use replat_model::lifecycle::tables::TablesDocument;
use replat_postgres::conninfo::{ConnInfo, Environment};
use replat_postgres::lifecycle::listen::Listener;
use replat_registry::address::{Address, Hidden};
use replat_registry::hooks::{By, Concerned, HookTo, Hooks, Message, MessageKind, Web};
use replat_registry::{KvRegistry, Publisher, Seal, tables_context};
use replat_testkit::hook::Reply;
use replat_testkit::{HookServer, Server};
use sha2::Sha256;

use crate::routes::{CONTEXT, Versions, first};

fn now() -> Timestamp {
    Timestamp(1_790_000_000_000)
}

/// A registry in memory of this test, a store, and what publishes from there.
struct Shop {
    registry: Arc<KvRegistry>,
    store: Arc<Versions>,
    publisher: Publisher,
    _folder: Folder,
}

struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl Shop {
    fn open(name: &str) -> Shop {
        let folder = std::env::temp_dir().join(format!("replat-hooks-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let seal = Seal { project: "shop".into(), key: None };
        let kv = replat_registry::connect(&Address::File(folder.join("registry.db"))).expect("a registry");
        let registry = Arc::new(KvRegistry::new(kv, seal.clone()));
        let store = Arc::new(Versions::new(first("shop", 4)));
        let publisher = Publisher::new(registry.clone(), store.clone(), seal, now);
        Shop { registry, store, publisher, _folder: Folder(folder) }
    }

    fn hooks(&self, by: By, timeout: Duration) -> Hooks {
        let hook = HookTo { name: "cache".into(), by, timeout };
        Hooks::new(self.registry.clone(), Some(self.store.clone()), vec![hook], now)
    }

    async fn publish(&self, versions: u64) -> u64 {
        self.store.advance(versions);
        self.publisher.bring(CONTEXT).await.expect("it is published").version
    }

    async fn told(&self) -> u64 {
        let all = self.registry.all_told(CONTEXT).await.expect("what was told");
        all.into_iter().find(|(name, _)| name == "cache").map_or(0, |(_, told)| told.version)
    }
}

fn web(server: &HookServer) -> By {
    let url = format!("http://{}/told?by=replat", server.address());
    By::Web(Web::new(&url, Some(Hidden::new("a secret"))).expect("a URL"))
}

async fn hook_server() -> HookServer {
    HookServer::start("127.0.0.1:0".parse().expect("an address")).await.expect("a server")
}

fn read(body: &[u8]) -> Message {
    serde_json::from_slice(body).expect("a message")
}

#[tokio::test]
async fn each_published_change_is_told_signed_and_once() {
    let (shop, server) = (Shop::open("told"), hook_server().await);
    let hooks = shop.hooks(web(&server), Duration::from_secs(30));
    shop.publish(0).await;
    hooks.tell(CONTEXT).await.expect("told");
    let version = shop.publish(1).await;
    for _ in 0..2 {
        let heard = hooks.tell(CONTEXT).await.expect("told");
        assert_eq!((heard[0].version, &heard[0].trouble), (version, &None));
    }
    let seen = server.seen(2).await;
    assert_eq!(seen.len(), 2, "the second time there was nothing to tell");
    assert_eq!((seen[1].method.as_str(), seen[1].path.as_str()), ("POST", "/told?by=replat"));
    let (whole, moved) = (read(&seen[0].body), read(&seen[1].body));
    assert_eq!((whole.kind, whole.from), (MessageKind::Reset, 0), "of what was before nothing is known");
    assert_eq!((moved.kind, moved.from, moved.version), (MessageKind::Routes, version - 1, version));
    assert_eq!(moved.id, format!("shop/{CONTEXT}/{version}"));
    assert_eq!(seen[1].fields["replat-id"], moved.id);
    let [one] = &moved.concerned.partitions[..] else { panic!("one has moved: {moved:?}") };
    assert_eq!((one.kind.as_str(), one.epoch.map(|epoch| epoch.get())), ("switched", Some(2)));
    assert_eq!(one.home.as_ref().map(|home| home.database.as_str()), Some("green"));
    for request in &seen {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"a secret").expect("a key");
        mac.update(&request.body);
        let signed: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(request.fields["replat-signature"], format!("sha256={signed}"));
    }
}

/// Down, then refusing, then silent: nothing is lost, and what is told in the end covers all of it.
#[tokio::test]
async fn what_a_hook_has_missed_it_is_told_later() {
    let shop = Shop::open("missed");
    let gone = hook_server().await.address();
    let at_gone = || By::Web(Web::new(&format!("http://{gone}/"), None).expect("a URL"));
    let begun = shop.publish(1).await;
    let heard =
        shop.hooks(at_gone(), Duration::from_secs(30)).tell(CONTEXT).await.expect("the registry is up");
    assert!(heard[0].trouble.is_some() && heard[0].version == 0, "{heard:?}");
    assert_eq!(shop.told().await, 0);

    let server = HookServer::start(gone).await.expect("the same port");
    shop.hooks(at_gone(), Duration::from_secs(30)).tell(CONTEXT).await.expect("told");
    assert_eq!(shop.told().await, begun);

    server.answer(&[Reply::Status(500), Reply::Status(302), Reply::Never]);
    let newest = shop.publish(3).await;
    for (timeout, why) in [(30_000, "status 500"), (30_000, "status 302"), (200, "no answer within 200 ms")] {
        let hooks = shop.hooks(at_gone(), Duration::from_millis(timeout));
        let heard = hooks.tell(CONTEXT).await.expect("the registry is up");
        let trouble = heard[0].trouble.as_deref().unwrap_or_default();
        assert!(trouble.contains(why), "{trouble}");
        assert_eq!((heard[0].version, heard[0].newest), (begun, newest));
    }
    let kept = shop.registry.all_told(CONTEXT).await.expect("what was told");
    assert_eq!((kept[0].1.failures, kept[0].1.version), (3, begun));
    // Somebody else goes on: nothing was remembered but in the registry.
    shop.hooks(at_gone(), Duration::from_secs(30)).tell(CONTEXT).await.expect("told");
    let messages: Vec<Message> = server.seen(5).await.iter().map(|request| read(&request.body)).collect();
    assert!(messages[1..].iter().all(|one| (one.from, one.version) == (begun, newest)), "{messages:?}");
    assert_eq!(messages[4].id, messages[1].id, "whoever has heard it knows it again");
    assert_eq!(messages[4].concerned.partitions.len(), 3);
    assert_eq!(shop.told().await, newest);
}

/// A hook that hangs costs whoever tells its time-out, and others nothing.
#[tokio::test]
async fn a_slow_hook_delays_no_other() {
    let (shop, slow, quick) = (Shop::open("slow"), hook_server().await, hook_server().await);
    slow.answer(&[Reply::Never]);
    let to = |name: &str, server: &HookServer| HookTo {
        name: name.into(),
        by: web(server),
        timeout: Duration::from_secs(60),
    };
    let hooks = vec![to("slow", &slow), to("quick", &quick)];
    let hooks = Hooks::new(shop.registry.clone(), Some(shop.store.clone()), hooks, now);
    shop.publish(1).await;
    let begun = Instant::now();
    tokio::select! {
        heard = hooks.tell(CONTEXT) => panic!("one hangs: {heard:?}"),
        seen = quick.seen(1) => assert_eq!(seen.len(), 1),
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "it did not wait for the slow one");
}

#[tokio::test]
async fn a_channel_is_notified_and_long_news_are_cut_short() {
    let (shop, server) = (Shop::open("notify"), Server::start().await.expect("a server"));
    let info = ConnInfo::resolve(Some(&server.url("postgres")), &Environment::empty()).expect("a URL");
    let mut listener = Listener::open(&info, "replat_routes").await.expect("it listens");
    let by = || By::Notify { info: Box::new(info.clone()), channel: "replat_routes".into() };
    shop.publish(0).await;
    let hooks = shop.hooks(by(), Duration::from_secs(30));
    hooks.tell(CONTEXT).await.expect("told");
    let version = shop.publish(1).await;
    hooks.tell(CONTEXT).await.expect("told");
    let first = read(listener.next().await.expect("a payload").as_bytes());
    let second = read(listener.next().await.expect("a payload").as_bytes());
    assert_eq!((first.kind, second.kind, second.version), (MessageKind::Reset, MessageKind::Routes, version));

    // 8,000 bytes are too many for PostgreSQL.
    let many = Shop::open("many");
    *many.store.all() = vec![first_with(300)];
    many.publish(0).await;
    let hooks = many.hooks(by(), Duration::from_secs(30));
    hooks.tell(CONTEXT).await.expect("told");
    many.publish(200).await;
    let heard = hooks.tell(CONTEXT).await.expect("told");
    assert_eq!(heard[0].trouble, None);
    listener.next().await.expect("a payload");
    let long = read(listener.next().await.expect("a payload").as_bytes());
    assert_eq!((long.kind, long.concerned), (MessageKind::Reset, Concerned::default()));
}

fn first_with(leaves: u32) -> replat_model::route::Routes {
    first("shop", leaves)
}

#[tokio::test]
async fn published_tables_are_told_by_the_name_of_their_database() {
    let (shop, server) = (Shop::open("tables"), hook_server().await);
    let look = async || Ok(TablesDocument { outbox: 7, sets: Vec::new() });
    shop.registry.bring_tables("blue", now, look).await.expect("published");
    let hooks = shop.hooks(web(&server), Duration::from_secs(30));
    hooks.tell(&tables_context("blue")).await.expect("told");
    let message = read(&server.seen(1).await[0].body);
    assert_eq!((message.kind, message.version), (MessageKind::Tables, 1));
    assert_eq!(message.concerned.database.as_deref(), Some("blue"));
    assert_eq!(shop.registry.contexts().await.expect("contexts"), Vec::<String>::new());
    assert_eq!(shop.registry.head(&tables_context("blue")).await.expect("a head"), 1);
}
