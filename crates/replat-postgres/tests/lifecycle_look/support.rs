//! One server for all tests here, and a database of its own for each.

use std::sync::atomic::{AtomicU32, Ordering};

use replat_engine::lifecycle::Look;
use replat_model::lifecycle::facts::{Facts, Level, Part, SetFacts};
use replat_postgres::lifecycle::bounds;
use replat_postgres::lifecycle::look::look;
use replat_testkit::Server;
use tokio::sync::OnceCell;
use tokio_postgres::Client;

static SERVER: OnceCell<Server> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The server. Whoever made it, its watchdog stops it when the tests end.
pub async fn server() -> &'static Server {
    SERVER.get_or_init(|| async { Server::start().await.expect("a server starts") }).await
}

/// A new database in which `sql` was run, and a session as superuser.
pub async fn database(sql: &str) -> (String, Client) {
    let name = format!("look_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    server().await.create_database(&name).await.expect("a database");
    let client = session(&name, "postgres").await;
    client.batch_execute(sql).await.expect("the scene is set");
    (name, client)
}

/// A session of `role`.
pub async fn session(database: &str, role: &str) -> Client {
    let url = server().await.url(database).replace("postgres@", &format!("{role}@"));
    replat_testkit::server::connect(&url).await.expect("a session")
}

/// All there is.
pub async fn all(client: &Client) -> Facts {
    let wanted = Look { sizes: true, indexes: true, ..Look::default() };
    look(client, "test", &wanted).await.expect("a look")
}

/// The set of that name.
pub fn set<'a>(facts: &'a Facts, name: &str) -> &'a SetFacts {
    facts.sets.iter().find(|set| set.table.name == name).unwrap_or_else(|| panic!("{name} in {facts:#?}"))
}

/// The partition of that name, at any depth.
pub fn part<'a>(set: &'a SetFacts, name: &str) -> &'a Part {
    let mut found = None;
    set.level.each(&mut |part| {
        if part.table.name == name {
            found = Some(part);
        }
    });
    found.unwrap_or_else(|| panic!("{name} in {set:#?}"))
}

/// A level as text: what it is cut by, and each partition with its bounds, those below it indented.
pub fn drawn(level: &Level) -> Vec<String> {
    let mut lines = Vec::new();
    draw(level, 0, &mut lines);
    lines
}

fn draw(level: &Level, depth: usize, lines: &mut Vec<String>) {
    let keys: Vec<String> = level.keys.iter().map(|key| format!("{} {}", key.text, key.type_name)).collect();
    lines.push(format!("{}{:?} {}", "  ".repeat(depth), level.method, keys.join(", ")));
    for part in &level.parts {
        lines.push(format!("{}{} {}", "  ".repeat(depth + 1), part.table.name, bounds::sql(&part.bound)));
        if let Some(below) = &part.below {
            draw(below, depth + 2, lines);
        }
    }
}
