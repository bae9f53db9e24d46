//! What `rotate` does to partitions is published, and answers which table holds a key.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use replat_model::key::{KeyType, KeyValue};
use replat_model::map::{Dimension, Map};
use replat_model::route::{Address, Routes};
use replat_registry::{KvRegistry, Seal};
use replat_router::{Router, follow_tables};
use replat_testkit::{Server, etcd, redis};

use crate::program::Program;

/// Partitions of a month each; the present one is there.
const TABLES: &str = "create table events (tenant bigint not null, at timestamptz not null) partition by range (at); \
     do $$ begin execute format('create table events_now partition of events for values from (%L) to (%L)', \
     date_trunc('month', now()), date_trunc('month', now()) + interval '1 month'); end $$;";

const SPEC: &str = r#"
version = 1
project = "shop"
[registry]
url = "env:REGISTRY_URL"
[databases.blue]
url = "env:BLUE_URL"
[lifecycles.events]
database = "blue"
tables = ["public.events"]
"#;

struct Folder(PathBuf);

impl Folder {
    fn make(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("replat-tables-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

async fn database(name: &str) -> Server {
    let server = Server::start().await.expect("a server");
    server.create_database(name).await.expect("a database");
    server.execute(name, TABLES).await.expect("tables");
    server
}

/// The middle of the month that is `months` after the present one, as the server writes it.
async fn month(server: &Server, months: i32) -> String {
    let client = server.client("blue").await.expect("a session");
    let sql = "select to_char((date_trunc('month', now()) + $1 * interval '1 month' + interval '14 days') \
               at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
    client.query_one(sql, &[&f64::from(months)]).await.expect("a time").get(0)
}

/// The server's own word on where a row of this moment is, or `None` if nowhere.
async fn home_of(server: &Server, at: &str) -> Option<String> {
    let client = server.client("blue").await.expect("a session");
    let sql = format!("insert into events values (1, '{at}') returning tableoid::regclass::text");
    client.query_one(&sql, &[]).await.ok().map(|row| row.get(0))
}

async fn story(name: &str, url: &str) {
    let (server, folder) = (database("blue").await, Folder::make(name));
    std::fs::write(folder.0.join("replat.toml"), SPEC).expect("a file");
    let program =
        Program::in_folder(&folder.0).with("BLUE_URL", server.url("blue")).with("REGISTRY_URL", url);
    let rotate = "rotate --ahead=2 --no-forecast --json";
    program.line(rotate).await.succeeds();
    let lookup = async |at: &str| {
        let line = format!("route lookup --database=blue --table=events --key=tenant=7,at={at} --json");
        program.line(&line).await
    };
    let next = lookup(&month(&server, 1).await).await.succeeds().json();
    let theirs = home_of(&server, &month(&server, 1).await).await;
    assert_eq!(next["table"]["name"].as_str(), theirs.as_deref());
    let version = next["version"].as_u64().expect("a version");
    lookup(&month(&server, 60).await).await.fails("RP2006", 3);

    // Nothing has changed, nothing is published anew; then something has.
    program.line(rotate).await.succeeds();
    assert_eq!(lookup(&month(&server, 1).await).await.succeeds().json()["version"], version);
    program.line("rotate --ahead=4 --no-forecast --json").await.succeeds();
    let later = lookup(&month(&server, 4).await).await.succeeds().json();
    assert_eq!(later["version"].as_u64(), Some(version + 1));
    let status = program.line("registry status").await.succeeds();
    status.prints("tables of blue");
}

#[tokio::test]
async fn rotate_publishes_tables_to_a_file() {
    let folder = Folder::make("file-registry");
    let path: &Path = &folder.0;
    story("file", &format!("file:{}", path.join("registry.db").display())).await;
}

#[tokio::test]
async fn rotate_publishes_tables_to_etcd() {
    let etcd = etcd::start(None).await.expect("an etcd");
    story("etcd", &format!("etcd://{}/shop", etcd.address())).await;
}

#[tokio::test]
async fn rotate_publishes_tables_to_redis() {
    let redis = redis::start(None, None).await.expect("a redis");
    story("redis", &format!("redis://{}/0/shop", redis.address())).await;
}

/// A registry that is down costs a run nothing; the next one publishes. What was taken back is never named, and a router
/// that follows hears of all.
#[tokio::test]
async fn a_lost_publication_is_repeated_and_a_router_hears_of_it() {
    let (server, folder) = (database("blue").await, Folder::make("lost"));
    let url = format!("file:{}", folder.0.join("registry.db").display());
    let program = Program::in_folder(&folder.0).with("REPLAT_DB_URL", server.url("blue"));
    let nowhere = "rotate --ahead=1 --no-forecast --registry=etcd://127.0.0.1:1/x --registry-project=shop";
    program.line(nowhere).await.succeeds().remarks("are not published");

    let registry = Arc::new(registry(&url));
    let router = Router::fixed(routes());
    let following = tokio::spawn(follow_tables(router.clone(), registry.clone(), "blue".into()));
    let to = router.find(&[KeyValue::Int(1)]).expect("a route");
    let key = |at: &str| [("at", KeyType::TimestampTz.parse(at).expect(at))];
    let knows = async |at: &str| {
        let found = async {
            loop {
                if let Ok(table) = router.table_for(&to, "events", &key(at)) {
                    return table.name;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), found).await.expect("it hears of it")
    };

    // A run that dies in the middle of a unit leaves staged tables behind.
    let again = format!("rotate --ahead=3 --no-forecast --registry={url} --registry-project=shop");
    let dead = program.clone().with("REPLAT_CRASH_AT", "rotate.stage.committed");
    dead.line(&again).await;
    if let Some(published) = registry.tables("blue").await.expect("an answer") {
        exist(&server, &published.document).await;
    }
    program.line(&again).await.succeeds();
    let published = registry.tables("blue").await.expect("an answer").expect("tables");
    exist(&server, &published.document).await;
    for months in 0..=3 {
        let at = month(&server, months).await;
        assert_eq!(Some(knows(&at).await), home_of(&server, &at).await, "{at}");
    }
    following.abort();
}

/// Each table that is named is there, as a partition of its parent.
async fn exist(server: &Server, document: &replat_model::lifecycle::tables::TablesDocument) {
    let client = server.client("blue").await.expect("a session");
    for part in document.sets.iter().flat_map(|set| &set.level.parts) {
        let sql =
            "select count(*) from pg_inherits i join pg_class c on c.oid = i.inhrelid where c.relname = $1";
        let found: i64 = client.query_one(sql, &[&part.table.name]).await.expect("an answer").get(0);
        assert_eq!(found, 1, "{}", part.table);
    }
}

fn registry(url: &str) -> KvRegistry {
    replat_registry::open(url, Seal { project: "shop".into(), key: None }).expect("a registry")
}

fn routes() -> Routes {
    let dimension = Dimension { column: "tenant".into(), key_type: KeyType::BigInt };
    let home = replat_model::ids::Home { database: "blue".into(), schema: "public".into() };
    let map = Map::build("shop", vec![dimension], None, home).expect("a map");
    let address = Address { host: "h".into(), port: 1, dbname: "blue".into(), endpoint: None };
    Routes::new("shop".into(), map, [("blue".to_owned(), address)].into(), Default::default())
        .expect("routes")
}
