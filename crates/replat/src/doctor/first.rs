//! The first look: at a database that no spec describes yet.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use replat_model::doctor::keys::{Candidate, Part, candidates, chosen, movable};
use replat_model::doctor::{copy_of, few, sketch};
use replat_model::draft::{Ask, SliceSize};
use replat_model::facts::DatabaseFacts;
use replat_model::ids::{Epoch, Home};
use replat_model::key::KeyType;
use replat_model::map::Dimension;
use replat_model::prediction::Measured;
use replat_model::preflight::{Area, Check};
use replat_model::region::Region;
use replat_model::spec::{Context, SecretText, Spec, Table, nearest, parse};
use replat_postgres::survey::survey;

use super::{Diagnosis, OF_A_PARTITION, OF_A_ROLLOUT, Place, against_a_copy, told, unseen_place};
use crate::cli::DoctorArgs;
use crate::failure::{Exit, Failure};
use crate::project;

/// Goes through the checks as if green were an empty copy of the same schema.
pub async fn look(url: &SecretText, args: &DoctorArgs) -> Result<Diagnosis, Failure> {
    let facts = facts(url, &args.schema).await?;
    if !facts.schema_exists {
        let what = format!("{} has no schema {}", facts.database_name, args.schema);
        return Err(
            Failure::new("RP2002", Exit::Precondition, what).remedy("Name another one: --schema NAME")
        );
    }
    let found = candidates(&facts);
    let key = match &args.key {
        Some(column) => Some(named(&facts, column)?),
        None => found.first().cloned(),
    };
    if let Some(file) = &args.write_spec {
        write(file, &facts, key.as_ref())?;
    }
    let mut d = checked(&facts, key.as_ref())?;
    d.left_out = left_out(&facts);
    d.candidates = match &args.key {
        Some(_) => key.into_iter().collect(),
        None => found,
    };
    if let Some(file) = &args.write_spec {
        d.next = format!("fill in the rollout of {0}, then replat -c {0} doctor", file.display());
    } else if d.blocking == 0 {
        d.next = match d.candidates.is_empty() {
            true => "replat doctor --db-url=… --key COLUMN".into(),
            false => "replat doctor --db-url=… --write-spec replat.toml".into(),
        };
    }
    Ok(d)
}

async fn facts(url: &SecretText, schema: &str) -> Result<DatabaseFacts, Failure> {
    let bad = |what: String| {
        Failure::new("RP1005", Exit::Invalid, format!("--db-url: {what}"))
            .remedy("Write --db-url=postgres://USER@HOST/DATABASE, or --db-url=env:NAME.")
    };
    let text = project::written(url, Path::new("."), &bad)?;
    let info = project::resolved(&text, "--db-url", true, &bad)?;
    let session = replat_postgres::connect::connect(&info, "replat/doctor").await.map_err(|e| {
        let exit = if e.is_temporary() { Exit::Temporary } else { Exit::Precondition };
        Failure::new("RP1001", exit, format!("the database cannot be reached: {e}"))
            .because(crate::failure::causes(&e))
            .remedy(e.remedy())
    })?;
    Ok(survey(&session.client, &info.dbname, schema, None).await?)
}

/// The candidate that `--key` names, with the type that most of its tables give it.
fn named(facts: &DatabaseFacts, column: &str) -> Result<Candidate, Failure> {
    let mut types: BTreeMap<KeyType, usize> = BTreeMap::new();
    for table in movable(facts) {
        let found = table.column(column).and_then(|column| column.base_type.as_deref());
        if let Some(key_type) = found.and_then(KeyType::from_postgres) {
            *types.entry(key_type).or_default() += 1;
        }
    }
    if let Some((key_type, _)) = types.into_iter().max_by_key(|(_, carried)| *carried) {
        return Ok(chosen(facts, column, key_type));
    }
    let known = movable(facts).flat_map(|table| table.columns.iter().map(|column| column.name.as_str()));
    let remedy = match nearest(column, known) {
        Some(near) => format!("Did you mean {near}?"),
        None => {
            "Name a column of a type that can be a key: an integer, a text, a uuid, a date or a time.".into()
        }
    };
    let what = format!("no table of {} carries a column {column} that could be a key", facts.schema);
    Err(Failure::new("RP2002", Exit::Precondition, what).remedy(remedy))
}

/// A file that is there is somebody's work.
fn write(file: &Path, facts: &DatabaseFacts, key: Option<&Candidate>) -> Result<(), Failure> {
    let Some(key) = key else {
        return Err(Failure::new("RP2002", Exit::Precondition, "no column is likely to be a partition key")
            .remedy("Name one: --key COLUMN"));
    };
    let text = sketch::spec(facts, &facts.database_name, key);
    let bad = |why: String| {
        let what = format!("{} cannot be written: {why}", file.display());
        Failure::new("RP2001", Exit::Invalid, what).remedy("Name a file that is not there yet.")
    };
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(file);
    let mut opened = opened.map_err(|e| bad(e.to_string()))?;
    opened.write_all(text.as_bytes()).map_err(|e| bad(e.to_string()))
}

/// The name by which the context goes while there is no spec.
const CONTEXT: &str = "first-look";

fn checked(facts: &DatabaseFacts, key: Option<&Candidate>) -> Result<Diagnosis, Failure> {
    let home = Home { database: facts.database_name.clone(), schema: facts.schema.clone() };
    let parts = |name: &str| key.and_then(|key| key.parts.get(name)).copied().unwrap_or(Part::Apart);
    let tables = movable(facts).map(|table| {
        let key = sketch::key_columns(table).map(<[String]>::to_vec);
        (table.name.clone(), Table { key, ..Table::of_mode(parts(&table.name).mode()) })
    });
    let context = Context {
        contracts: BTreeMap::new(),
        dimensions: key
            .map(|key| Dimension { column: key.column.clone(), key_type: key.key_type })
            .into_iter()
            .collect(),
        home: home.clone(),
        tree: None,
        endpoints: BTreeMap::new(),
        versions: Vec::new(),
        tables: tables.collect(),
        rollout: None,
    };
    let mut spec = blank()?;
    spec.contexts.insert(CONTEXT.to_owned(), context);
    let sizes = movable(facts)
        .map(|table| (table.name.clone(), SliceSize { rows: table.rows_estimate, bytes: table.bytes }));
    let all = "all".parse().map_err(|e| Failure::new("RP9001", Exit::Internal, format!("{e}")))?;
    let ask = Ask {
        context: CONTEXT.to_owned(),
        partition: all,
        region: Region::everything(),
        epoch: Epoch::FIRST,
        version: None,
        home,
        ddl: Vec::new(),
        sizes: sizes.collect(),
        occupied: Vec::new(),
        contracts: Vec::new(),
        crossings: Vec::new(),
        beside: None,
        measured: Measured::default(),
        unsettled_keys: Vec::new(),
        misfits: Vec::new(),
    };
    let copy = copy_of(facts, None, &facts.schema);
    let mut found = against_a_copy(&spec, &ask, facts, &copy)?;
    found.not_asked(
        [Check::UnknownContext, Check::NoRollout, Check::UnknownTable, Check::UnknownColumn],
        "there is no spec yet",
    );
    found.not_asked(OF_A_ROLLOUT, "green was taken to be an empty copy of this schema");
    found.not_asked(OF_A_PARTITION, "no partition was named");
    if key.is_none() {
        let keys = Check::ALL.iter().copied().filter(|check| check.area() == Area::Keys);
        found.not_asked(keys, "no column is likely to be a partition key; name one with --key");
    }
    let place = Place::of(format!("{}.{}", facts.database_name, facts.schema), facts);
    Ok(told(found, Vec::new(), place, unseen_place("an empty copy of the same schema"), "", true))
}

/// A spec that says nothing.
fn blank() -> Result<Spec, Failure> {
    let mut spec = parse("version = 1\nproject = \"first-look\"\n")
        .map_err(|_| Failure::new("RP9001", Exit::Internal, "the smallest spec is not valid"))?;
    spec.contexts.clear();
    Ok(spec)
}

/// What of the schema is no table with rows of its own.
fn left_out(facts: &DatabaseFacts) -> Vec<String> {
    let movable: Vec<&str> = movable(facts).map(|table| table.name.as_str()).collect();
    let taken: std::collections::BTreeSet<&str> = movable.into_iter().collect();
    let (leaves, others): (Vec<_>, Vec<_>) = facts
        .tables
        .iter()
        .filter(|table| !taken.contains(table.name.as_str()))
        .partition(|table| table.partition_root.is_some());
    let mut lines = Vec::new();
    if !leaves.is_empty() {
        lines.push(format!("{} partitions, which go with their tables", leaves.len()));
    }
    if !others.is_empty() {
        let names: Vec<String> = others.iter().map(|table| table.name.clone()).collect();
        lines.push(format!("views and foreign tables: {}", few(&names)));
    }
    lines
}
