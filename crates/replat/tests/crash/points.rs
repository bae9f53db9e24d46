//! A crash at every durable step.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Failure;
use crate::beside;
use crate::story::{self, Way};
use crate::world::Servers;

/// Stories at the same time: most of each one's time is waiting for a dead runner's heartbeat to be over.
const AT_ONCE: usize = 4;

/// Every failpoint by name, and the way to it. `name:2` is the second time that it is passed.
const POINTS: &[(&str, Way)] = &[
    ("prepare.blue_installed", Way::Forward),
    ("prepare.green_installed", Way::Forward),
    ("prepare.green_tables", Way::Forward),
    ("prepare.green_closed", Way::Forward),
    ("prepare.blue_published", Way::Forward),
    ("arm.before_commit", Way::Forward),
    ("arm.after_commit", Way::Forward),
    ("arm.after_commit:2", Way::Forward),
    ("prepare.blue_armed", Way::Forward),
    ("slot.absent", Way::Forward),
    ("slot.absent:2", Way::Forward),
    ("slot.created", Way::Forward),
    ("slot.created:2", Way::Forward),
    ("slot.recorded", Way::Forward),
    ("slot.recorded:2", Way::Forward),
    ("copy.before_commit", Way::Forward),
    ("copy.after_commit", Way::Forward),
    ("copy.after_commit:5", Way::Forward),
    ("backlog.applied", Way::Forward),
    ("apply.before_commit", Way::Forward),
    ("apply.after_commit", Way::Forward),
    ("indexes.armed", Way::Forward),
    ("indexes.foreign_key_begun", Way::Forward),
    ("indexes.loading_over", Way::Forward),
    ("indexes.built", Way::Forward),
    ("publish.before", Way::Forward),
    ("publish.after", Way::Forward),
    ("hold.asked", Way::Forward),
    ("hold.asked", Way::GivenUp),
    ("fence.before_commit", Way::Forward),
    ("fence.after_commit", Way::Forward),
    ("open.before_commit", Way::Forward),
    ("open.after_commit", Way::Forward),
    ("open.before_commit", Way::GivenUpFenced),
    ("open.after_commit", Way::GivenUpFenced),
    ("publish.before:2", Way::Forward),
    ("publish.after:2", Way::Forward),
    ("seal.before_commit", Way::Forward),
    ("seal.after_commit", Way::Forward),
    ("retire.streams_stopped", Way::Finish),
    ("retire.green_free", Way::Finish),
    ("retire.green_forgotten", Way::Finish),
    ("disarm.after_commit", Way::Finish),
    ("disarm.after_commit", Way::Abort),
    ("drop.rows_deleted", Way::Drop),
    ("clean.streams_stopped", Way::Abort),
    ("clean.blue_free", Way::Abort),
    ("clean.green_free", Way::Abort),
    ("clean.green_forgotten", Way::Abort),
];

/// Events that a runner appends: each has a failpoint before and one after it.
const APPENDED: &[(&str, Way)] = &[
    ("prepared", Way::Forward),
    ("slot_opened", Way::Forward),
    ("slot_opened:2", Way::Forward),
    ("copy_planned", Way::Forward),
    ("copied", Way::Forward),
    ("indexed", Way::Forward),
    ("verified", Way::Forward),
    ("verified:2", Way::Forward),
    ("verify_failed", Way::Different),
    ("contracts_kept", Way::Forward),
    ("contracts_broken", Way::Broken),
    ("rows_kept_back", Way::KeptBack),
    ("switch_intended", Way::Forward),
    ("fenced", Way::Forward),
    ("fence_given_up", Way::GivenUp),
    ("unfenced", Way::GivenUp),
    ("switched", Way::Forward),
    ("settled", Way::Forward),
    ("leak_seen", Way::Leak),
    ("finish_asked", Way::SoakOver),
    ("finished", Way::Finish),
    ("dropped", Way::Drop),
    ("aborted", Way::Abort),
];

/// Events that only people's commands append; whoever's command died says it again.
const SAID_BY_PEOPLE: [&str; 6] = ["asked", "paused", "resumed", "switch_asked", "policy_set", "abort_asked"];

/// What only cohorts do, whose crashes are those of the test binary `cohort`.
const OF_COHORTS: [&str; 4] = ["apart.", "cohort.", "hub.", "scan."];

/// Work on partitions, whose crashes are those of the test binary `rotate_crash`.
const OF_ROTATE: [&str; 3] = ["align.", "convert.", "mirror."];

/// What only captures do, whose crashes are those of the test binary `capture`.
const OF_CAPTURES: &str = "capture.";

fn cases() -> Vec<(String, Way)> {
    let named = POINTS.iter().map(|(name, way)| ((*name).to_owned(), *way));
    let around = APPENDED
        .iter()
        .flat_map(|(event, way)| ["before", "after"].map(|when| (format!("append.{when}.{event}"), *way)));
    named.chain(around).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_durable_step_costs_time_only() {
    let servers = Arc::new(Servers::start().await.expect("two servers start"));
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    // One or some of them, for those who look into a failure.
    let only = std::env::var("REPLAT_POINTS").unwrap_or_default();
    let mut stories = JoinSet::new();
    for (n, (point, way)) in cases().into_iter().enumerate().filter(|(_, (point, _))| point.contains(&only)) {
        let (servers, turns) = (Arc::clone(&servers), Arc::clone(&turns));
        stories.spawn(async move {
            let _turn = turns.acquire().await.expect("the semaphore is never closed");
            let begun = Instant::now();
            let told = story::tell(&servers, &format!("p{n}"), way, &point).await;
            let took = begun.elapsed().as_secs_f32();
            match &told {
                Ok(()) => println!("{point} ({way:?}): passed in {took:.1} s"),
                Err(failure) => println!("{point} ({way:?}): FAILED after {took:.1} s: {failure}"),
            }
            (point, told)
        });
    }
    let mut failed = Vec::new();
    while let Some(story) = stories.join_next().await {
        let (point, told) = story.expect("a story does not panic");
        failed.extend(told.is_err().then_some(point));
    }
    assert!(failed.is_empty(), "a crash did harm at: {}", failed.join(", "));
}

#[test]
fn every_failpoint_in_the_sources_has_its_crash() {
    let (mut in_sources, events) = read_sources().expect("the sources can be read");
    in_sources.retain(|point| {
        let elsewhere = OF_ROTATE.iter().chain(&OF_COHORTS).chain([&OF_CAPTURES]);
        elsewhere.into_iter().all(|prefix| !point.starts_with(prefix))
    });
    let said_by_people: BTreeSet<String> = SAID_BY_PEOPLE.map(str::to_owned).into();
    assert!(said_by_people.is_subset(&events), "a word of people's is no event");
    for event in events.difference(&said_by_people) {
        in_sources.extend(["before", "after"].map(|when| format!("append.{when}.{event}")));
    }
    let visited: BTreeSet<String> = cases()
        .into_iter()
        .map(|(point, _)| point)
        .chain(beside::points())
        .map(|point| plain(&point))
        .collect();
    assert_eq!(visited, in_sources);
}

/// A failpoint's name, whichever time it is passed.
fn plain(point: &str) -> String {
    point.split(':').next().unwrap_or_default().to_owned()
}

/// The names that `crash_at` is called with, and the events that a work log can hold.
fn read_sources() -> Result<(BTreeSet<String>, BTreeSet<String>), Failure> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut points = BTreeSet::new();
    for file in sources(&crates)? {
        let text = std::fs::read_to_string(&file)?;
        for call in text.split("crash_at(").skip(1) {
            let arguments = call.split(')').next().unwrap_or_default();
            points.extend(arguments.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
    let text = std::fs::read_to_string(crates.join("replat-model/src/deploy.rs"))?;
    let (_, rest) = text.split_once("pub enum Event {").ok_or("the events are in their place")?;
    let body = rest.split("\n}").next().unwrap_or_default();
    let variants = body.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?.split([' ', '{', ',', '(']).next().unwrap_or_default();
        name.starts_with(char::is_uppercase).then(|| snake_case(name))
    });
    Ok((points, variants.collect()))
}

/// All source files of all crates but their tests.
fn sources(crates: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(crates)?
        .map(|entry| Ok(entry?.path().join("src")))
        .collect::<Result<_, Failure>>()?;
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}
