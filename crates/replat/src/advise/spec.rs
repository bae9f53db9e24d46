//! The plan as a part of a spec: contexts and lifecycles are added or changed in its text, and all the rest stays as it
//! is, comments too.

mod lifecycles;
mod splits;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use replat_advise::advise::Verdict;
use replat_advise::carry::{Becoming, Stage, Wanted};
use replat_advise::columns::bare;
use replat_advise::report::{Carrier, Family, Report, Tree};
use replat_advise::value::Value;
use replat_model::key::KeyType;
use replat_model::spec::{self, Spec};
use serde_json::json;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, value};

use self::lifecycles::Put;
use super::written;
use crate::cli::{Advise, AdviseArgs, Global};
use crate::failure::{Exit, Failure};
use crate::project::find_spec;
use crate::render::advise::difference;

/// What is to become of a spec.
pub struct Change {
    file: PathBuf,
    before: String,
    after: String,
    contexts: Vec<String>,
    lifecycles: Put,
    /// Files beside it that it names, with their text.
    files: Vec<(PathBuf, String)>,
    /// Statements that come before the first deployment.
    first: Vec<String>,
}

impl Change {
    /// In words, or as a difference.
    pub fn told(&self, dry_run: bool) -> String {
        let file = self.file.display();
        let left: String =
            self.lifecycles.left.iter().map(|left| format!("Left as it is: {left}\n")).collect();
        if self.before == self.after {
            return format!("{left}{file} says so already.\n");
        }
        let first: String =
            self.first.iter().map(|one| format!("First, in the database:  {one}\n")).collect();
        if dry_run {
            let difference = difference(&file.to_string(), &self.before, &self.after);
            let new: String = self.files.iter().map(|(path, text)| added(path, text)).collect();
            return format!("{difference}{new}{left}{first}No change has been made.\n");
        }
        let beside: String =
            self.files.iter().map(|(path, _)| format!("{}: written.\n", path.display())).collect();
        let (mut what, mut next) = (Vec::new(), vec![format!("replat -c {file} validate")]);
        if let Some(first) = self.contexts.first() {
            what.push(format!("context {}", self.contexts.join(", ")));
            next.push(format!("replat -c {file} plan deploy -C {first} -p …"));
        }
        let Put { names, converts, .. } = &self.lifecycles;
        if !names.is_empty() {
            what.push(format!("lifecycle {}", names.join(", ")));
            next.push(format!("replat -c {file} plan rotate"));
        }
        let ordinary = |convert: &String| {
            format!("If it is an ordinary table yet:  replat -c {file} {convert} --dry-run\n")
        };
        let converts: String = converts.iter().map(ordinary).collect();
        format!(
            "{left}{file}: written, {}.\n{beside}{first}{converts}Next:  {}\n",
            what.join(" and "),
            next.join("     ")
        )
    }

    /// For programs.
    pub fn value(&self, dry_run: bool) -> serde_json::Value {
        json!({
            "file": self.file, "contexts": self.contexts, "lifecycles": self.lifecycles.names,
            "left": self.lifecycles.left,
            "changed": self.before != self.after, "written": !dry_run, "text": self.after,
            "files": self.files.iter().map(|(path, text)| json!({ "file": path, "text": text })).collect::<Vec<_>>(),
            "first": self.first,
        })
    }

    /// Writes it, whole or not at all; what it names comes before it.
    pub fn write(&self) -> Result<(), Failure> {
        for (path, text) in &self.files {
            written(path, text)?;
        }
        let beside = self.file.with_extension("toml.new");
        written(&beside, &self.after)?;
        std::fs::rename(&beside, &self.file).map_err(|e| {
            Failure::new("RP9001", Exit::Usage, format!("{} cannot be written: {e}", self.file.display()))
        })
    }
}

/// A file that is new, as a difference.
fn added(path: &Path, text: &str) -> String {
    difference(&path.display().to_string(), "", text)
}

/// What the plan makes of a spec: the project's, or the one that was named.
pub fn change(
    global: &Global,
    file: Option<&Path>,
    args: &AdviseArgs,
    report: &Report,
) -> Result<Change, Failure> {
    if args.what == Advise::Lifecycle {
        return lifecycles::change(Opened::open(global, file)?, args, report);
    }
    if args.what == Advise::Columns {
        return splits::change(Opened::open(global, file)?, args, report);
    }
    if !report.plan.ready {
        let why = match &report.advice.verdict {
            Verdict::Partition => report.plan.not_ready.clone(),
            Verdict::DoNotPartition { because } => vec![because.clone()],
            Verdict::NotEnoughEvidence { because } => {
                std::iter::once(because).chain(&report.plan.not_ready).cloned().collect()
            }
        };
        let failure =
            Failure::new("RP8004", Exit::Precondition, "there is no plan that can be taken as it is")
                .because(why)
                .remedy("Read the advice first: replat advise … --html advice.html")
                .remedy("Do what is listed there, take evidence again, and ask again.");
        return Err(match report.lifecycles.is_empty() {
            true => failure,
            false => failure.remedy(
                "What it says of rows that grow old can be taken alone: replat advise lifecycle … --apply-to-spec",
            ),
        });
    }
    let mut opened = Opened::open(global, file)?;
    let Opened { spec, document, .. } = &mut opened;
    let families: Vec<&Family> = match &args.context {
        // With one family the name that was given is its context; with several it chooses one.
        Some(_) if report.plan.families.len() == 1 => report.plan.families.iter().collect(),
        Some(name) => report.plan.families.iter().filter(|family| target(spec, family) == *name).collect(),
        None => report.plan.families.iter().collect(),
    };
    if families.is_empty() {
        let known: Vec<&str> = report.plan.families.iter().map(|family| family.name.as_str()).collect();
        return Err(Failure::new("RP2006", Exit::Usage, "the plan has no such context")
            .remedy(format!("It has: {}", known.join(", "))));
    }
    let mut contexts = Vec::new();
    for family in families {
        let name = match &args.context {
            Some(name) => name.clone(),
            None => target(spec, family),
        };
        let home = home(spec, &name, family, args)?;
        put(document, &name, family, &home)?;
        contexts.push(name);
    }
    let put = match args.what {
        Advise::All => lifecycles::put(document, spec, args, report)?,
        _ => Put::default(),
    };
    opened.changed(contexts, put)
}

/// A spec that is about to be changed.
struct Opened {
    file: PathBuf,
    before: String,
    spec: Spec,
    document: DocumentMut,
}

impl Opened {
    /// The project's, or the one that was named.
    fn open(global: &Global, file: Option<&Path>) -> Result<Opened, Failure> {
        let file = match file {
            Some(file) => file.to_owned(),
            None => find_spec(global)?,
        };
        let before = std::fs::read_to_string(&file).map_err(|e| {
            Failure::new("RP2001", Exit::Invalid, format!("{} cannot be read: {e}", file.display()))
                .remedy("Begin with one that names your databases; docs/spec.md shows how.")
        })?;
        let spec = parsed(&file, &before)?;
        let document: DocumentMut = before.parse().map_err(|e| {
            Failure::new("RP2001", Exit::Invalid, format!("{} is not TOML: {e}", file.display()))
                .remedy("Correct it: replat validate")
        })?;
        Ok(Opened { file, before, spec, document })
    }

    /// The change, if what came of it is a spec.
    fn changed(self, contexts: Vec<String>, lifecycles: Put) -> Result<Change, Failure> {
        let after = self.document.to_string();
        parsed(&self.file, &after)?;
        let Opened { file, before, .. } = self;
        Ok(Change { file, before, after, contexts, lifecycles, files: Vec::new(), first: Vec::new() })
    }
}

/// What the rollout of a stage makes of the project's spec, or of the one that was named.
pub fn rollout_change(global: &Global, file: Option<&Path>, stage: &Stage) -> Result<Change, Failure> {
    let mut opened = Opened::open(global, file)?;
    let name = &stage.context;
    let context = opened
        .document
        .get_mut("contexts")
        .and_then(|contexts| contexts.get_mut(name))
        .and_then(Item::as_table_like_mut)
        .ok_or_else(|| in_the_way(name))?;
    let Wanted { to, version, change } = &stage.rollout;
    let mut home = InlineTable::new();
    home.insert("database", to.database.as_str().into());
    home.insert("schema", to.schema.as_str().into());
    let rollout = context.entry("rollout").or_insert_with(|| Item::Table(Table::new()));
    let rollout = rollout.as_table_like_mut().ok_or_else(|| in_the_way(name))?;
    if *change != Becoming::AsItIs {
        set(rollout, "version", value(version.as_str()));
        set(rollout, "to", value(home));
    }
    if *change == Becoming::Plain {
        // What transforms rows, or is written for one version, is not of this rollout.
        ["after", "map", "tables", "path"].iter().for_each(|key| drop(rollout.remove(key)));
    }
    if *change != Becoming::AsItIs && stage.forgets_ddl {
        rollout.remove("ddl");
    }
    opened.changed(vec![name.clone()], Put::default())
}

/// Another value under a key of a table, however it is written; the comments at the value stay.
fn set(table: &mut dyn TableLike, key: &str, mut new: Item) {
    let decor = table.get(key).and_then(Item::as_value).map(|old| old.decor().clone());
    if let (Some(decor), Some(new)) = (decor, new.as_value_mut()) {
        *new.decor_mut() = decor;
    }
    table.insert(key, new);
}

fn in_the_way(context: &str) -> Failure {
    Failure::new(
        "RP8004",
        Exit::Precondition,
        format!("contexts.{context} is not written as a table of its own"),
    )
    .remedy(format!("Write it with a header: [contexts.{context}]"))
}

fn parsed(file: &Path, text: &str) -> Result<Spec, Failure> {
    spec::parse(text).map_err(|errors| {
        let shown = file.display().to_string();
        let rendered = spec::render_errors(&shown, text, &errors);
        Failure::new("RP2001", Exit::Invalid, format!("{shown} would not be valid"))
            .because(rendered.lines().map(|line| line.trim_end().to_owned()))
            .details(&errors)
            .remedy("Correct the spec, or write the plan into one of its own: --apply-to-spec FILE")
    })
}

/// The context of the spec that has most of the family's tables, else a new one of its name.
fn target(spec: &Spec, family: &Family) -> String {
    let shared = |name: &str| {
        spec.contexts[name]
            .tables
            .keys()
            .filter(|table| family.tables.keys().any(|own| bare(own) == table.as_str()))
            .count()
    };
    let best = spec.contexts.keys().max_by_key(|name| shared(name)).filter(|name| shared(name) > 0);
    best.cloned().unwrap_or_else(|| family.name.clone())
}

/// Where a family lives: its database and its schema.
struct Place {
    database: String,
    schema: String,
}

fn home(spec: &Spec, context: &str, family: &Family, args: &AdviseArgs) -> Result<Place, Failure> {
    let mut schemas: Vec<&str> =
        family.tables.keys().chain(&family.everywhere).map(|t| schema_of(t)).collect();
    schemas.sort_unstable();
    schemas.dedup();
    let [schema] = schemas[..] else {
        return Err(Failure::new(
            "RP8004",
            Exit::Precondition,
            "the tables of a context must be in one schema",
        )
        .because([format!("{context} has tables in {}", schemas.join(", "))])
        .remedy("Move them together, or describe the context by hand."));
    };
    if let Some(known) = spec.contexts.get(context) {
        return Ok(Place { database: known.home.database.clone(), schema: known.home.schema.clone() });
    }
    let database = database(spec, args)?;
    Ok(Place { database, schema: schema.to_owned() })
}

/// The database that holds tables of which the spec says nothing yet.
fn database(spec: &Spec, args: &AdviseArgs) -> Result<String, Failure> {
    let known: Vec<&String> = spec.databases.keys().collect();
    match (&args.home, &known[..]) {
        (Some(name), _) if spec.databases.contains_key(name) => Ok(name.clone()),
        (None, [only]) => Ok((*only).clone()),
        (named, _) => {
            let what = match named {
                Some(name) => format!("the spec has no database {name}"),
                None => "it is not clear which database the tables are in".to_owned(),
            };
            let known: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
            Err(Failure::new("RP2006", Exit::Usage, what)
                .remedy(format!("Name it: --home DATABASE. The spec has: {}", known.join(", "))))
        }
    }
}

/// The schema of a table, by its name.
pub fn schema_of(table: &str) -> &str {
    table.split_once('.').map_or("public", |(schema, _)| schema)
}

/// Puts a family into the document, as a context of this name.
fn put(document: &mut DocumentMut, name: &str, family: &Family, home: &Place) -> Result<(), Failure> {
    let contexts = document.entry("contexts").or_insert_with(|| {
        let mut all = Table::new();
        all.set_implicit(true);
        Item::Table(all)
    });
    let in_the_way = || in_the_way(name);
    let contexts = contexts.as_table_mut().ok_or_else(in_the_way)?;
    let context = contexts.entry(name).or_insert_with(|| Item::Table(Table::new()));
    let context = context.as_table_mut().ok_or_else(in_the_way)?;
    let mut types = BTreeMap::new();
    let mut dimensions = Array::new();
    for dimension in &family.dimensions {
        let key_type = key_type(&dimension.column, dimension.data_type.as_deref().unwrap_or_default())?;
        types.insert(dimension.column.as_str(), key_type);
        let mut said = InlineTable::new();
        said.insert("column", dimension.column.as_str().into());
        said.insert("type", key_type.postgres_name().into());
        dimensions.push(said);
    }
    replace(context, "dimensions", value(dimensions));
    if !context.contains_key("home") {
        let mut said = InlineTable::new();
        said.insert("database", home.database.as_str().into());
        said.insert("schema", home.schema.as_str().into());
        context.insert("home", value(said));
    }
    match &family.tree {
        Some(tree) => replace(context, "tree", Item::Table(tree_table(tree, &types))),
        None => drop(context.remove("tree")),
    }
    let tables = context.entry("tables").or_insert_with(|| {
        let mut all = Table::new();
        all.set_implicit(true);
        Item::Table(all)
    });
    let tables = tables.as_table_like_mut().ok_or_else(in_the_way)?;
    for (table, carrier) in &family.tables {
        let said = tables.entry(bare(table)).or_insert_with(|| Item::Table(Table::new()));
        let said = said.as_table_like_mut().ok_or_else(in_the_way)?;
        // What the spec says of its key stays; only its mode is the plan's, and where the partition key is.
        if said.contains_key("mode") {
            said.insert("mode", value("slice"));
        }
        let key = family.dimensions[0].column.as_str();
        let own = match carrier {
            Carrier::Under(own) => Some(own.as_str()),
            Carrier::Itself | Carrier::Through(_) => None,
        };
        carry(said, key, own).ok_or_else(in_the_way)?;
    }
    for table in &family.everywhere {
        if tables.get(bare(table)).is_none() {
            let mut said = Table::new();
            said.insert("mode", value("reference"));
            tables.insert(bare(table), Item::Table(said));
        }
    }
    Ok(())
}

/// That a table carries the key in a column of its own name, or, without one, in that of the context's. `None` if what is
/// there cannot say so.
fn carry(table: &mut dyn TableLike, key: &str, own: Option<&str>) -> Option<()> {
    match own {
        Some(own) => {
            let names = table.entry("dimensions").or_insert_with(|| value(InlineTable::new()));
            names.as_table_like_mut()?.insert(key, value(own));
        }
        None => {
            let Some(names) = table.get_mut("dimensions") else { return Some(()) };
            let names = names.as_table_like_mut()?;
            names.remove(key);
            if names.is_empty() {
                table.remove("dimensions");
            }
        }
    }
    Some(())
}

/// Another value under a key; the comments at the key stay.
fn replace(table: &mut Table, key: &str, new: Item) {
    match table.get_mut(key) {
        Some(Item::Value(old)) => {
            let decor = old.decor().clone();
            if let Item::Value(mut new) = new {
                *new.decor_mut() = decor;
                *old = new;
            } else {
                table.insert(key, new);
            }
        }
        Some(Item::Table(old)) => {
            let decor = old.decor().clone();
            if let Item::Table(mut new) = new {
                *new.decor_mut() = decor;
                new.set_position(old.position());
                *old = new;
            } else {
                table.insert(key, new);
            }
        }
        _ => drop(table.insert(key, new)),
    }
}

fn tree_table(tree: &Tree, types: &BTreeMap<&str, KeyType>) -> Table {
    let mut said = Table::new();
    said.insert("split", value(tree.split.as_str()));
    if let Some(n) = tree.hash {
        said.insert("hash", value(i64::from(n)));
    }
    let number = types
        .get(tree.split.as_str())
        .is_some_and(|key_type| matches!(key_type, KeyType::SmallInt | KeyType::Integer | KeyType::BigInt));
    let literals = |values: &[Value]| -> Array {
        values
            .iter()
            .map(|one| match one {
                Value::Int(n) if number => toml_edit::Value::from(*n),
                other => toml_edit::Value::from(other.text()),
            })
            .collect()
    };
    if !tree.cuts.is_empty() {
        said.insert("cuts", value(literals(&tree.cuts)));
    }
    if !tree.list.is_empty() {
        let mut list = Table::new();
        for (name, values) in &tree.list {
            list.insert(name, value(literals(values)));
        }
        said.insert("list", Item::Table(list));
        said.insert("rest", value(tree.rest.as_deref().unwrap_or("rest")));
    }
    if !tree.under.is_empty() {
        let mut under = Table::new();
        under.set_implicit(true);
        for (name, below) in &tree.under {
            under.insert(name, Item::Table(tree_table(below, types)));
        }
        said.insert("under", Item::Table(under));
    }
    said
}

/// What a database is called in pieces of a spec that are shown where no spec says how it is called.
pub const SOME_DATABASE: &str = "blue";

/// The plan as a piece of a spec, for those who look at it; `None` if it has none.
pub fn snippet(report: &Report) -> Option<String> {
    let mut document = DocumentMut::new();
    for family in &report.plan.families {
        let tables = family.tables.keys().chain(&family.everywhere);
        let schema = tables.map(|table| schema_of(table)).next().unwrap_or("public");
        let home = Place { database: SOME_DATABASE.to_owned(), schema: schema.to_owned() };
        put(&mut document, &family.name, family, &home).ok()?;
    }
    (!report.plan.families.is_empty()).then(|| document.to_string())
}

/// A type as the catalogue writes it, as a spec takes it.
pub fn key_type(column: &str, data_type: &str) -> Result<KeyType, Failure> {
    let written = data_type.trim().to_ascii_lowercase();
    let bare = written.split('(').next().unwrap_or_default().trim();
    let long_zone = written.ends_with("with time zone");
    Ok(match bare {
        "smallint" | "int2" | "smallserial" => KeyType::SmallInt,
        "integer" | "int" | "int4" | "serial" => KeyType::Integer,
        "bigint" | "int8" | "bigserial" => KeyType::BigInt,
        "text" | "varchar" | "character varying" => KeyType::Text,
        "uuid" => KeyType::Uuid,
        "date" => KeyType::Date,
        "timestamptz" | "timestamp with time zone" => KeyType::TimestampTz,
        "timestamp" if long_zone => KeyType::TimestampTz,
        "timestamp" | "timestamp without time zone" => KeyType::Timestamp,
        _ => {
            let what = format!("no partition key can be of the type of {column}: {written:?}");
            return Err(Failure::new("RP8004", Exit::Precondition, what).remedy(
                "Keys are smallint, integer, bigint, text, varchar, uuid, date, timestamp or timestamptz; docs/spec.md.",
            ));
        }
    })
}
