//! `adopt`: partitions of others are taken over, with what their tool was told about them.
//!
//! Nothing of the tables is changed, and nothing of the other tool: what is taken over stands in replat's own records,
//! with the bounds as they are, and can be given back. How the other tool is switched off is printed, for a person
//! to run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use replat_control::rotate::{Drafted, Rotation, Settings};
use replat_model::lifecycle::draft::disown;
use replat_model::lifecycle::facts::{Origin, SetFacts};
use replat_model::lifecycle::plan::RotatePlan;
use replat_model::lifecycle::policy::Lifecycle;
use replat_model::spec::{SecretText, UrlSource};
use replat_postgres::lifecycle::adopted::{Adopted, partsmith};
use serde::Serialize;
use serde_json::json;

use super::engines::engines;
use super::reach::{Place, places};
use super::teller::{Mute, Teller};
use super::{Ended, conclude_with, failed, one, wish};
use crate::cli::{AdoptArgs, Global, KindWord, Run, Switches, Wanted};
use crate::failure::{Exit, Failure};
use crate::render::{self, Style};

/// A set that is taken over, and what its former tool was told.
#[derive(Debug, Serialize)]
struct Taken {
    database: String,
    table: String,
    /// Partitions that were somebody else's before.
    partitions: usize,
    managed_by: Option<String>,
    /// The policy, as it stands under `[lifecycles]`.
    lifecycle: Lifecycle,
    notes: Vec<String>,
    /// The statement that switches the other tool off, where it is on.
    switch_off: Option<String>,
}

/// `adopt`.
pub async fn adopt(global: &Global, style: Style, args: &AdoptArgs) -> Result<Exit, Failure> {
    let document = args.partsmith.as_deref().map(document).transpose()?;
    if let Some(out) = args.out.as_deref().filter(|out| out.exists()) {
        return Err(there(out));
    }
    let mut places = places(global, &args.reach, global.dry_run)?;
    let run = Run {
        reach: args.reach.clone(),
        wanted: Wanted { adopt: !args.forget, ..Wanted::default() },
        switches: Switches { only: vec![KindWord::Adopt], ..Switches::default() },
        ..Run::default()
    };
    let teller = Teller::new(global, style, false);
    let mut all = Vec::new();
    let mut taken = Vec::new();
    for place in &mut places {
        if let Some(document) = &document {
            place.lifecycles = document.iter().map(|a| (a.table.to_string(), a.lifecycle.clone())).collect();
        }
        let report = match args.forget {
            true => give_back(global, &run, place, &teller).await,
            false => {
                let found = look(&run, place, document.as_deref()).await;
                match found {
                    Ok(found) => {
                        taken.extend(found);
                        one(global, style, &run, place, &teller).await
                    }
                    Err(failure) => Err(failure),
                }
            }
        };
        all.push(Ended { place: place.name.clone(), report });
    }
    if !style.is_json() {
        taken.iter().for_each(|set| style.line(text(set).trim_end()));
    }
    if let Some(out) = &args.out {
        write(out, &spec(args, &places, &taken))?;
        style.remark(&format!("{} has the policies; look at them before the next run.", out.display()));
    }
    conclude_with(style, &all, false, "AdoptResult", &json!({ "sets": taken }))
}

/// What is there to be taken over, and what was told about it.
async fn look(run: &Run, place: &Place, document: Option<&[Adopted]>) -> Result<Vec<Taken>, Failure> {
    let settings = wish::settings(run, &place.lifecycles, true)?;
    let drafted = drafted(place, &settings).await?;
    let about = drafted.facts.sets.iter().filter(|set| settings.wish.of(set).is_some());
    Ok(about.map(|set| taken(place, set, document)).collect())
}

async fn drafted(place: &Place, settings: &Settings) -> Result<Drafted, Failure> {
    let engines = engines(place, settings, 1);
    let rotation = Rotation { engines: &engines, settings, heard: &Mute };
    rotation.draft().await.map_err(failed)
}

fn taken(place: &Place, set: &SetFacts, document: Option<&[Adopted]>) -> Taken {
    let written = document.and_then(|all| all.iter().find(|one| one.table == set.table));
    let mut notes = set.managed_notes.clone();
    notes.extend(written.map(|one| one.notes.clone()).unwrap_or_default());
    let told = written.map(|one| &one.lifecycle).or(set.managed_as.as_ref()).cloned();
    let mut partitions = 0;
    set.level.each(&mut |part| partitions += usize::from(part.origin == Origin::Foreign));
    Taken {
        database: place.name.clone(),
        table: set.table.to_string(),
        partitions,
        managed_by: set.managed_by.clone().or_else(|| written.map(|_| "pg-partsmith".to_owned())),
        lifecycle: Lifecycle { tables: vec![set.table.to_string()], ..told.unwrap_or_default() },
        notes,
        switch_off: set.managed_off.clone(),
    }
}

/// What was taken over is given back.
async fn give_back(
    global: &Global,
    run: &Run,
    place: &Place,
    teller: &Teller,
) -> Result<replat_control::rotate::report::RunReport, Failure> {
    let settings = wish::settings(run, &place.lifecycles, global.dry_run)?;
    let Drafted { facts, plan, .. } = drafted(place, &settings).await?;
    let findings = facts
        .refused
        .iter()
        .flat_map(|refused| plan.findings.iter().filter(|f| f.what.starts_with(&refused.table)).cloned());
    let back = RotatePlan { findings: findings.collect(), units: disown(&facts), ..plan };
    let engines = engines(place, &settings, 1);
    let rotation = Rotation { engines: &engines, settings: &settings, heard: teller };
    let same = |now: &Drafted| match now.facts.fingerprint == facts.fingerprint {
        true => Ok(()),
        false => Err("partitions came or went meanwhile".to_owned()),
    };
    let report = rotation.apply(&back, same).await.map_err(failed)?.map_err(|why| {
        Failure::new("RP2003", Exit::Temporary, "nothing was given back").because([why]).remedy("Try again.")
    })?;
    teller.ended(&report);
    Ok(report)
}

fn text(set: &Taken) -> String {
    let by = set.managed_by.as_ref().map_or("made by hand".to_owned(), |tool| format!("of {tool}"));
    let count = render::counted(set.partitions, "partition", "partitions");
    let mut text = format!("{}: {by}, {count} to take over\n", render::rotate::word(&set.table));
    for note in &set.notes {
        text += &format!("  note: {note}\n");
    }
    if let Some(statement) = &set.switch_off {
        text += &format!("  both would work on it; switch the other off:\n    {statement};\n");
    }
    text
}

fn document(path: &Path) -> Result<Vec<Adopted>, Failure> {
    let bad = |why: String| {
        Failure::new("RP2001", Exit::Invalid, format!("{}: {why}", path.display())).remedy(
            "Give it as JSON (yq -o json partitions.yaml), in the flat form; write a policy for what has another.",
        )
    };
    let json = std::fs::read_to_string(path).map_err(|e| bad(format!("it cannot be read: {e}")))?;
    partsmith(&json).map_err(|e| Failure { because: crate::failure::causes(&e), ..bad(e.to_string()) })
}

/// A spec that can be validated as it stands.
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    project: &'a str,
    databases: BTreeMap<&'a str, Endpoint>,
    lifecycles: BTreeMap<String, Lifecycle>,
}

#[derive(Serialize)]
struct Endpoint {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

fn spec(args: &AdoptArgs, places: &[Place], taken: &[Taken]) -> String {
    let mut text =
        "# What was read of the policies of tools that managed these tables before. Look at it, and change \
                    what you like.\n"
            .to_owned();
    let mut lifecycles = BTreeMap::new();
    for set in taken {
        let name = free_name(&lifecycles, &set.table);
        for note in &set.notes {
            text += &format!("# {name}: {}\n", note.replace(['\n', '\r'], " "));
        }
        let database = (places.len() > 1).then(|| set.database.clone());
        lifecycles.insert(name, Lifecycle { database, ..set.lifecycle.clone() });
    }
    if args.reach.db_url.is_none() {
        text += "# How the databases are reached is not repeated here: copy [lifecycles] into the spec that says so.\n";
    }
    let endpoint = || Endpoint { url: url(args) };
    let written = Written {
        version: 1,
        project: places.first().map_or("adopted", |place| place.name.as_str()),
        databases: places.iter().map(|place| (place.name.as_str(), endpoint())).collect(),
        lifecycles,
    };
    text + "\n" + &toml::to_string(&written).expect("a policy is texts and numbers")
}

/// Where the connection is to be found; a text that may hold a password is not written down.
fn url(args: &AdoptArgs) -> Option<String> {
    let given = args.reach.db_url.as_ref()?;
    let kept = |given: &SecretText| match given.source() {
        Ok(UrlSource::Env(_) | UrlSource::File(_)) => Some(given.masked()),
        _ => None,
    };
    Some(kept(given).unwrap_or_else(|| "env:DB_URL".to_owned()))
}

/// The table's name in letters that need no quotes, if no other table took that.
fn free_name(taken: &BTreeMap<String, Lifecycle>, table: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '_' };
    let name: String = table.strip_prefix("public.").unwrap_or(table).chars().map(plain).collect();
    let others: BTreeSet<&str> = taken.keys().map(String::as_str).collect();
    let numbered = (2..).map(|n| format!("{name}_{n}"));
    std::iter::once(name.clone()).chain(numbered).find(|n| !others.contains(n.as_str())).unwrap_or(name)
}

fn there(path: &Path) -> Failure {
    Failure::new("RP2006", Exit::Usage, format!("{} is there already", path.display()))
        .remedy("Name another file: what was written by hand is not overwritten.")
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = std::fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => there(path),
        _ => Failure::new("RP2006", Exit::Usage, format!("{} cannot be written: {e}", path.display()))
            .state("SAFE: what was taken over stays so; only the file is missing.")
            .remedy("Name a file that can be written, and run it again."),
    })
}
