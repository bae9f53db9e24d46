//! What is deployed, as the spec and the store have it, read for advice on it.

use std::collections::BTreeMap;

use replat_advise::deployed::{CannotTell, Deployed, Keys, Parts, Standing, deployed};
use replat_advise::evidence::PlaceSeen;
use replat_engine::WorkLog;
use replat_model::spec::Context;
use replat_postgres::capture::place_name;

use super::reading::Reading;
use crate::failure::{Exit, Failure};
use crate::project::Project;
use crate::render::counted;

/// What is deployed of the system that the evidence shows, in the context that was named or in all of them; and where that
/// is from, for people.
///
/// # Errors
///
/// [`Failure`] if the store cannot be read, or the spec has none of the tables that the evidence shows, or nothing tells
/// where its keys live.
pub fn read(
    project: &Project,
    reading: &Reading,
    context: Option<&str>,
) -> Result<(Deployed, String), Failure> {
    let chosen: Vec<(&str, &Context)> = match context {
        Some(_) => vec![project.context(context)?],
        None => project.spec.contexts.iter().map(|(name, context)| (name.as_str(), context)).collect(),
    };
    let mut contexts = BTreeMap::new();
    for (name, context) in chosen {
        contexts.insert(name.to_owned(), standing(project, name, context)?);
    }
    let keys = match reading.hashed {
        false => Keys::Values,
        true => Keys::Hashes(partitions(&contexts, reading)),
    };
    let all: Vec<String> = contexts.keys().cloned().collect();
    let found = deployed(&reading.system, contexts, &keys).map_err(|e| untold(&e, project, &all))?;
    let source = source(project, &found);
    Ok((found, source))
}

/// A context as it stands.
fn standing(project: &Project, name: &str, context: &Context) -> Result<Standing, Failure> {
    let store = project.store_so_far()?;
    let stored = match &store {
        Some(store) => store.map(name)?,
        None => None,
    };
    let is_stored = stored.is_some();
    let map = match stored {
        Some(map) => map,
        None => project.first_map(name, context)?,
    };
    let mut versions = BTreeMap::new();
    for leaf in map.leaves() {
        if versions.contains_key(&*leaf.home) {
            continue;
        }
        let recorded = match &store {
            Some(store) => store.schema_version(name, &leaf.partition)?,
            None => None,
        };
        let first = || context.versions.first().filter(|_| *leaf.home == context.home).cloned();
        versions.extend(recorded.or_else(first).map(|version| ((*leaf.home).clone(), version)));
    }
    Ok(Standing { context: context.clone(), map, is_stored, versions })
}

/// The partition of each hash that a capture told one of. It names partitions by something that only who knows them can read.
fn partitions(
    contexts: &BTreeMap<String, Standing>,
    reading: &Reading,
) -> BTreeMap<String, BTreeMap<String, replat_model::ids::PartitionId>> {
    let mut told: BTreeMap<String, BTreeMap<String, _>> = BTreeMap::new();
    let mut known: BTreeMap<(&str, &str), BTreeMap<String, _>> = BTreeMap::new();
    for PlaceSeen { context, key, secret, partition } in &reading.places {
        let Some(standing) = contexts.get(context) else { continue };
        let names = known.entry((context, secret)).or_insert_with(|| {
            let leaves = standing.map.leaves();
            leaves
                .map(|leaf| (place_name(secret, context, &leaf.partition), leaf.partition.clone()))
                .collect()
        });
        if let Some(id) = names.get(partition) {
            told.entry(context.clone()).or_default().insert(key.clone(), id.clone());
        }
    }
    told
}

/// Why it cannot be told, and what to do.
fn untold(error: &CannotTell, project: &Project, all: &[String]) -> Failure {
    let failure = Failure::new("RP8003", Exit::Invalid, error.to_string());
    match error {
        CannotTell::Places { is_of_several_columns: true, .. } => failure
            .because([
                "its key has several columns, and this evidence knows each of them by hashes only".to_owned()
            ])
            .remedy("Take evidence with values, such as a recorded workload; docs/advise.md lists the forms.")
            .remedy("Or say how its keys are spread, without their values: --design FILE"),
        CannotTell::Places { .. } => failure
            .because([
                "its partitions are made of listed keys or ranges, and this evidence knows keys by their hashes only"
                    .to_owned(),
            ])
            .remedy("Capture it again, with the partition of each key: replat capture start --with-partitions")
            .remedy("Or take evidence with values, such as a recorded workload; docs/advise.md lists the forms.")
            .remedy("Or say how its keys are spread, without their values: --design FILE"),
        CannotTell::NothingCut => failure
            .because([format!(
                "of {} in {}, the evidence shows no table of mode slice",
                all.join(", "),
                project.file.display()
            )])
            .remedy("Name the design: --design FILE; or the spec of this system: -c FILE"),
    }
}

fn source(project: &Project, found: &Deployed) -> String {
    let Deployed { contexts, names, parts, .. } = found;
    let file = project.file.display();
    let leaves: usize = contexts.values().map(|standing| standing.map.leaves().count()).sum();
    let leaves = counted(leaves, "partition", "partitions");
    let stored: Vec<String> = contexts
        .iter()
        .filter(|(_, standing)| standing.is_stored)
        .map(|(name, standing)| format!("{name} at version {}", standing.map.version()))
        .collect();
    let from = match &stored[..] {
        [] => format!("{file}, of which nothing was deployed yet"),
        stored => format!("{file} and the maps of {}", stored.join(", ")),
    };
    match parts {
        Parts::Databases => format!("{from}: {leaves} in {}", names.join(", ")),
        Parts::Partitions => format!("{from}: {leaves}, as if each had a database of its own"),
    }
}
