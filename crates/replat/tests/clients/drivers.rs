//! Drivers of Python's and Java's.

use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::world::World;
use crate::writers::{IDS, Writer, follow};

/// Where the packages of systems put the driver.
const JDBC: &str = "/usr/share/java/postgresql.jar";

/// The interpreter of an environment that has the clients in it.
async fn python() -> &'static Path {
    static PYTHON: OnceCell<PathBuf> = OnceCell::const_new();
    PYTHON
        .get_or_init(async || {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../clients/python/environment");
            let output = Command::new(script).arg("tests").output().await.expect("the script runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "clients/python/environment (python3 and its venv are needed): {said}"
            );
            Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("bin/python")
        })
        .await
}

fn source(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

async fn python_writers(world: &World, names: &[&str]) -> Vec<Writer> {
    let mut writers = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let mut command = Command::new(python().await);
        let first = (at as i64 + 1) * IDS;
        command.arg("-B").arg(source("writers.py"));
        command.args([*name, &world.port.to_string(), &first.to_string()]);
        writers.push(Writer::start(name, command, None, first));
    }
    writers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drivers_of_python_follow_their_partition() {
    let world = World::start(&[]).await;
    let writers = python_writers(&world, &["psycopg", "psycopg-async", "psycopg-pipeline", "asyncpg"]).await;
    follow(&world, writers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlalchemy_follows_its_partition() {
    let world = World::start(&[]).await;
    let writers = python_writers(&world, &["sqlalchemy-psycopg", "sqlalchemy-asyncpg"]).await;
    follow(&world, writers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jdbc_follows_its_partition() {
    let jar = std::env::var("REPLAT_JDBC").unwrap_or_else(|_| JDBC.into());
    assert!(
        Path::new(&jar).is_file(),
        "there is no {jar}; install the package libpostgresql-jdbc-java, or set REPLAT_JDBC to the driver's file"
    );
    let java = std::env::var("REPLAT_JAVA").unwrap_or_else(|_| "java".into());
    let there = Command::new(&java).arg("-version").output().await;
    assert!(
        there.is_ok(),
        "there is no {java}; install the package default-jdk-headless, or set REPLAT_JAVA to the program"
    );
    let world = World::start(&[]).await;
    let mut command = Command::new(java);
    command.args(["-cp", &jar, &source("Writer.java"), &world.port.to_string(), &IDS.to_string()]);
    follow(&world, vec![Writer::start("JDBC", command, None, IDS)]).await;
}
