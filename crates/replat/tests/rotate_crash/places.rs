//! Death at every place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use replat_testkit::Server;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Failure;
use crate::judge::{self, Bounds};
use crate::program::Program;
use crate::stories::{Before, DAYS, STORIES, Story};

/// Deaths at the same time.
const AT_ONCE: usize = 4;
/// What stands in the script of a transaction that is run only if another one was broken off.
const ONLY_IF: &str = "only if what came before was broken off";

/// A database in which a run has something to do, and what it is like after a run that did not die.
struct Told {
    story: Story,
    template: String,
    folder: PathBuf,
    before: Bounds,
    version: u64,
    content: Vec<String>,
}

/// One server, on which each death has a database of its own.
struct Stage {
    server: Server,
    folder: PathBuf,
    count: AtomicU32,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl Stage {
    async fn start() -> Result<Stage, Failure> {
        let server = Server::start().await?;
        let folder = std::env::temp_dir().join(format!("replat-rotate-crash-{}", server.port()));
        std::fs::create_dir(&folder)?;
        Ok(Stage { server, folder, count: AtomicU32::new(0) })
    }

    /// A copy of a database, with a folder of its own.
    async fn copy(&self, template: &str) -> Result<(String, Program), Failure> {
        let name = format!("d{}", self.count.fetch_add(1, Ordering::SeqCst));
        let create = format!("CREATE DATABASE {name} TEMPLATE {template}");
        // A session that has just ended may still be seen.
        let mut tries = 0;
        while let Err(error) = self.server.execute("postgres", &create).await {
            tries += 1;
            if tries > 200 || !format!("{error:?}").contains("55006") {
                return Err(error.into());
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let program = Program { url: self.server.url(&name), folder: self.folder.join(&name) };
        Ok((name, program))
    }

    async fn gone(&self, name: &str) -> Result<(), Failure> {
        Ok(self.server.execute("postgres", &format!("DROP DATABASE {name} WITH (FORCE)")).await?)
    }

    /// Makes a story's database, and tells the story once without a death.
    async fn tell(&self, story: Story) -> Result<Told, Failure> {
        let template = format!("t_{}", story.name);
        self.server.create_database(&template).await?;
        let folder = self.folder.join(&template);
        let program = Program { url: self.server.url(&template), folder: folder.clone() };
        self.server.execute(&template, &format!("{DAYS}{}", story.schema)).await?;
        for before in story.before {
            match before {
                Before::Run(arguments) => drop(program.run(arguments).await?),
                Before::Died(arguments, place) => {
                    if !program.dies(arguments, place).await? {
                        return Err(format!("{place} was never reached").into());
                    }
                }
                Before::Sql(sql) => self.server.execute(&template, sql).await?,
                Before::Pending(set, days) => self.pend(&template, set, *days).await?,
            }
        }
        let (before, version, rows) = {
            let client = self.server.client(&template).await?;
            (judge::bounds(&client).await?, judge::version(&client).await?, judge::rows(&client).await?)
        };
        let mut told = Told { story, template, folder, before, version, content: Vec::new() };
        let (name, program) = self.copy(&told.template).await?;
        program.run(story.run).await?;
        told.content = self.judge(&told, &name, &program.folder).await?;
        // A partition that is dropped takes its rows along, and a pending one does not show them.
        let after = judge::rows(&self.server.client(&name).await?).await?;
        if story.keeps_rows && after != rows {
            return Err(format!("there were {rows} rows, and there are {after}").into());
        }
        let again = program.run(story.run).await?;
        let same = self.judge(&told, &name, &program.folder).await?;
        if same != told.content {
            return Err(format!("a second run does more: {}", judge::different(&told.content, &same)).into());
        }
        let units = again.pointer("/databases/0/entries").and_then(Value::as_array);
        if units.is_some_and(|units| !units.is_empty()) {
            return Err(format!("a second run finds work: {units:?}").into());
        }
        self.gone(&name).await?;
        Ok(told)
    }

    async fn pend(&self, database: &str, set: &str, days: i32) -> Result<(), Failure> {
        let (reader, breaks) = (self.server.client(database).await?, self.server.client(database).await?);
        let part = judge::ask(
            &breaks,
            &format!(
                "SELECT '{set}_' || to_char((now() - interval '{days} days') AT TIME ZONE 'UTC', 'YYYYMMDD')"
            ),
        )
        .await?;
        let part = part.first().ok_or("a name")?;
        reader.batch_execute(&format!("BEGIN; SELECT FROM {set} LIMIT 1")).await?;
        breaks.batch_execute("SET lock_timeout = '50ms'").await?;
        let detach = format!("ALTER TABLE {set} DETACH PARTITION {part} CONCURRENTLY");
        match breaks.batch_execute(&detach).await {
            Ok(()) => Err("the detach should have been in the reader's way".into()),
            Err(_) => Ok(reader.batch_execute("ROLLBACK").await?),
        }
    }

    /// What a database is like, if its records agree.
    async fn judge(&self, told: &Told, name: &str, folder: &Path) -> Result<Vec<String>, Failure> {
        let client = self.server.client(name).await?;
        judge::records(&client, &told.before, told.version).await?;
        judge::archives(&client, folder).await?;
        judge::content(&client).await
    }

    /// The places of a story: those of its script, in order, and those that no script shows.
    async fn places(&self, told: &Told) -> Result<Vec<Vec<String>>, Failure> {
        let program = Program { url: self.server.url(&told.template), folder: told.folder.clone() };
        let shown = program.shown(told.story.run).await?;
        let entries = shown.pointer("/databases/0/entries").and_then(Value::as_array).ok_or("entries")?;
        let mut passed: BTreeMap<String, u32> = BTreeMap::new();
        let mut places = Vec::new();
        // Where rows move, places have names of their own.
        let moving = |entry: &&Value| {
            let what = entry.pointer("/unit/work/do").and_then(Value::as_str);
            what.is_some_and(|what| ["drain", "recut", "convert", "unconvert", "align"].contains(&what))
        };
        for transaction in entries
            .iter()
            .filter(|entry| !moving(entry))
            .filter_map(|entry| entry.pointer("/script/transactions").and_then(Value::as_array))
            .flatten()
        {
            let name = transaction["name"].as_str().ok_or("a name")?;
            let statements = transaction["statements"].as_array().ok_or("statements")?;
            let stall = statements.first().and_then(|s| s["stall"].as_str()).unwrap_or_default();
            let alone = transaction["alone"].as_bool() == Some(true);
            if stall.contains(ONLY_IF) && !alone {
                continue;
            }
            let last = if alone { statements.len() } else { statements.len() + 1 };
            let ends = (0..last).map(|n| n.to_string()).chain(["committed".to_owned()]);
            for end in ends {
                let place = format!("rotate.{name}.{end}");
                let nth = passed.entry(place.clone()).or_default();
                *nth += 1;
                places.push(vec![format!("{place}:{nth}")]);
            }
        }
        if places.is_empty() && told.story.places.is_empty() {
            return Err(format!("there is nothing to do: {shown:#}").into());
        }
        if told.story.only_named {
            places.clear();
        }
        places.extend(told.story.places.iter().map(|place| vec![(*place).to_owned()]));
        places.extend(told.story.twice.iter().map(|(a, b)| vec![(*a).to_owned(), (*b).to_owned()]));
        Ok(places)
    }

    /// One death, or one after the other; then a run that lives.
    async fn die(&self, told: &Told, places: &[String]) -> Result<(), Failure> {
        let (name, program) = self.copy(&told.template).await?;
        for place in places {
            if !program.dies(told.story.run, place).await? {
                return Err(format!("{place} was never reached").into());
            }
        }
        program.run(told.story.run).await?;
        let content = self.judge(told, &name, &program.folder).await?;
        if content != told.content {
            return Err(
                format!("it is not as it should be: {}", judge::different(&told.content, &content)).into()
            );
        }
        self.gone(&name).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_dies_anywhere_is_put_right_by_the_next() {
    let stage = Arc::new(Stage::start().await.expect("a server starts"));
    // One story or place, for those who look into a failure.
    let only = std::env::var("REPLAT_POINTS").unwrap_or_default();
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut failed = Vec::new();
    let mut deaths = JoinSet::new();
    let mut kinds = BTreeSet::new();
    for story in STORIES.iter().filter(|story| only.is_empty() || only.starts_with(story.name)) {
        let told = match stage.tell(*story).await {
            Ok(told) => Arc::new(told),
            Err(failure) => {
                println!("{}: {failure}", story.name);
                failed.push(story.name.to_owned());
                continue;
            }
        };
        let places = stage.places(&told).await.unwrap_or_else(|error| panic!("{}: {error}", story.name));
        println!("{}: {} places", story.name, places.len());
        kinds.extend(places.iter().filter_map(|p| p[0].split('.').nth(1).map(str::to_owned)));
        for places in places {
            let what = format!("{} {}", story.name, places.join(" "));
            if !what.starts_with(&only) {
                continue;
            }
            let (stage, told, turns) = (Arc::clone(&stage), Arc::clone(&told), Arc::clone(&turns));
            deaths.spawn(async move {
                let _turn = turns.acquire().await.expect("the semaphore is never closed");
                let died = stage.die(&told, &places).await;
                (what, died)
            });
        }
    }
    let mut died = 0;
    while let Some(death) = deaths.join_next().await {
        let (what, ended) = death.expect("no story panics");
        died += 1;
        if let Err(failure) = ended {
            println!("{what}: {failure}");
            failed.push(what);
        }
    }
    println!("{died} deaths");
    assert!(failed.is_empty(), "{} deaths did harm: {}", failed.len(), failed.join(", "));
    if only.is_empty() {
        for kind in
            ["stage", "check", "validate", "attach", "begin", "detach", "record", "archive", "release"]
        {
            assert!(kinds.contains(kind), "nobody died at {kind}");
        }
        for kind in ["drop", "adopt", "take-back", "finalize"] {
            assert!(kinds.contains(kind), "nobody died at {kind}");
        }
    }
}

/// Names that no script shows: somebody dies at each.
#[test]
fn every_named_place_in_the_sources_has_its_death() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../replat-postgres/src/lifecycle")];
    let mut named = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                let calls = text.split("crash_at(\"").skip(1);
                named.extend(calls.filter_map(|call| call.split('"').next().map(str::to_owned)));
            }
        }
    }
    let visited = STORIES.iter().flat_map(|story| story.places).copied().chain(crate::shapes::places());
    let visited: BTreeSet<String> =
        visited.map(|place| place.split(':').next().unwrap_or_default().to_owned()).collect();
    let missed: Vec<&String> = named.difference(&visited).collect();
    assert!(named.len() > 10 && missed.is_empty(), "nobody dies at {missed:?}");
}
