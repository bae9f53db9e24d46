//! Moves of drift as deployments: what a spec has to say for them, and the commands that carry them out.
//!
//! A deployment takes keys, or a whole partition, to another database. What it cannot do is said, with what to do instead.

use std::collections::{BTreeMap, BTreeSet};

use replat_advise::drift::{Drift, Keys, Move, TransferStep};
use replat_advise::value::Value;
use replat_engine::WorkLog;
use replat_model::deploy::Event;
use replat_model::ids::{Home, PartitionId};
use replat_model::key::KeyValue;
use replat_model::map::{Leaf, Map};
use replat_model::region::{Constraint, Region};
use replat_model::spec::{Context, Rollout, TableMode};
use serde::Serialize;

use super::deployed::{Deployed, Parts};
use crate::cli::AdviseArgs;
use crate::failure::Failure;
use crate::project::Project;
use crate::render::counted;

/// A move, as an operator carries it out.
#[derive(Clone, Debug, Serialize)]
pub struct Carried {
    /// Why, in words.
    pub because: String,
    /// Whether it has paid for itself.
    pub recommended: bool,
    /// What is deployed, one after the other.
    pub stages: Vec<Stage>,
    /// What no deployment does, and what to do instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cannot: Vec<String>,
}

/// Partitions that go from one home to another together.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    /// The context.
    pub context: String,
    /// What goes, as `-p` takes it.
    pub partitions: Vec<String>,
    /// Where it lives.
    pub from: Home,
    /// Where it is to live.
    pub rollout: Wanted,
    /// The commands, in their order.
    pub commands: Vec<String>,
    /// Whether the DDL of the spec's rollout has no place here: it is of another version, or the tables are there.
    #[serde(skip)]
    pub forgets_ddl: bool,
    /// What to see to before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
}

/// The rollout that a stage needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Wanted {
    /// Where to.
    pub to: Home,
    /// The version of the schema there.
    pub version: String,
    /// How the spec's rollout becomes this one.
    pub change: Becoming,
}

/// How a spec's rollout becomes the one that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Becoming {
    /// It says so already.
    AsItIs,
    /// It goes to another home, and is the same else.
    OtherHome,
    /// Nothing is transformed: the version is the one that the partition has.
    Plain,
}

/// Of each context, home and database, what goes from there to here.
type Ways = BTreeMap<(String, Home, String), BTreeSet<String>>;

/// The moves that were found, as deployments.
pub struct Moves<'a> {
    project: &'a Project,
    deployed: &'a Deployed,
    args: &'a AdviseArgs,
    config: Option<String>,
    left: Vec<Left>,
}

/// A partition that left a home by a deployment: its guard there refuses its keys, whoever writes them.
struct Left {
    context: String,
    partition: PartitionId,
    region: Region,
    home: Home,
}

impl<'a> Moves<'a> {
    /// Of a project whose deployed design was watched.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the store cannot be read.
    pub fn of(
        project: &'a Project,
        deployed: &'a Deployed,
        args: &'a AdviseArgs,
        named: bool,
    ) -> Result<Moves<'a>, Failure> {
        let config = named.then(|| shell(&project.file.display().to_string()));
        let mut left = Vec::new();
        if let Some(store) = project.store_so_far()? {
            for listed in store.list()? {
                let history = store.read(&listed.id)?;
                let Some(Event::Asked { plan }) = history.first().map(|first| &first.event) else { continue };
                left.push(Left {
                    context: listed.context,
                    partition: listed.partition,
                    region: plan.region.clone(),
                    home: plan.blue.home.clone(),
                });
            }
        }
        Ok(Moves { project, deployed, args, config, left })
    }

    /// All of them, those first that have paid for themselves.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the store cannot be read.
    pub fn carried(&self, drift: &Drift) -> Result<Vec<Carried>, Failure> {
        let all = drift.repartitions.iter().chain(&drift.considered);
        all.map(|one| self.one(one)).collect()
    }

    fn one(&self, found: &Move) -> Result<Carried, Failure> {
        let mut cannot = BTreeSet::new();
        // Of each context and both ends, the keys that go there.
        let mut ways = Ways::new();
        for step in &found.transfer.steps {
            if let Some(why) = self.step(step, &mut ways, &mut cannot) {
                cannot.insert(why);
            }
        }
        let mut stages = Vec::new();
        for ((context, from, database), partitions) in ways {
            stages.push(self.stage(
                &context,
                from,
                &database,
                partitions.into_iter().collect(),
                stages.len(),
            )?);
        }
        let because = found.because.clone();
        Ok(Carried { because, recommended: found.due, stages, cannot: cannot.into_iter().collect() })
    }

    /// Adds what a step takes somewhere else; why no deployment does it, if none does.
    fn step(&self, step: &TransferStep, ways: &mut Ways, cannot: &mut BTreeSet<String>) -> Option<String> {
        Some(match step {
            TransferStep::Move(keys) | TransferStep::Split(keys) | TransferStep::Merge(keys) => {
                let all = matches!(step, TransferStep::Merge(_));
                match self.destination(keys.to) {
                    Ok(database) => {
                        self.keys(keys, all, &database, ways, cannot);
                        return None;
                    }
                    Err(why) => why,
                }
            }
            TransferStep::Rekey { table, to, .. } => format!(
                "no deployment places {table} by {}: describe a context by that key (replat advise keys --apply-to-spec), \
                 and deploy into it",
                to.join(", ")
            ),
            TransferStep::Copies { table, everywhere: true, .. } => format!(
                "no deployment keeps copies of {table} alike everywhere: replicate it yourself, and say mode = \"reference\" \
                 of it"
            ),
            TransferStep::Copies { table, everywhere: false, .. } => {
                format!("no deployment takes copies of {table} away: say what becomes of them yourself")
            }
        })
    }

    /// The database that a part of the new design stands for.
    fn destination(&self, part: u32) -> Result<String, String> {
        let Deployed { parts, names, contexts, .. } = self.deployed;
        let known = names.get(part as usize);
        match (parts, known) {
            (Parts::Databases, Some(name)) => Ok(name.clone()),
            (Parts::Partitions, Some(name)) => Err(format!(
                "keys do not change over to {name}: a partition gives keys up only to one that is made of them, and \
                 partitions in one database are in one place"
            )),
            (_, None) => {
                let in_use: BTreeSet<&str> = contexts
                    .values()
                    .flat_map(|placed| placed.map.leaves())
                    .map(|leaf| leaf.home.database.as_str())
                    .collect();
                let free = self.project.spec.databases.keys().find(|name| !in_use.contains(name.as_str()));
                free.cloned().ok_or_else(|| {
                    "it needs one database more than there are: add [databases.NAME] to the spec, and ask again"
                        .to_owned()
                })
            }
        }
    }

    /// Adds what goes to `database`: whole partitions where `all` of them do, or all keys of one are among these.
    fn keys(&self, keys: &Keys, all: bool, database: &str, ways: &mut Ways, cannot: &mut BTreeSet<String>) {
        if self.deployed.hashed {
            cannot.insert(format!(
                "{} that ought to go to {database} cannot be named: this evidence knows keys by their hashes only",
                counted(keys.count, "key", "keys")
            ));
            return;
        }
        if keys.keys.is_empty() {
            cannot.insert(format!("{} keys are too many to be named one by one", keys.count));
            return;
        }
        if keys.partly {
            let column = keys.columns.first().map_or("", String::as_str);
            cannot.insert(format!(
                "only some rows of the keys {} go, by another column than {column}: make it a dimension of the context first",
                named(&keys.keys)
            ));
            return;
        }
        for (name, placed) in &self.deployed.contexts {
            let context = &self.project.spec.contexts[name];
            if !keys.tables.iter().any(|table| cuts(context, table)) {
                continue;
            }
            let map = &placed.map;
            let moving: BTreeSet<KeyValue> = keys.keys.iter().filter_map(|key| read(map, key)).collect();
            for value in &moving {
                let Ok(leaf) = map.lookup(std::slice::from_ref(value)) else { continue };
                if leaf.home.database == database {
                    continue;
                }
                let whole = all || is_made_of(map, leaf, &moving);
                let what = if whole { leaf.partition.to_string() } else { selection(map, value) };
                let own = whole.then_some(&leaf.partition);
                if let Some(larger) = self.kept_out(name, map, value, own, database) {
                    cannot.insert(format!(
                        "{what} of {name} does not go back to {database} by itself: it left with {larger}, whose guard there \
                         refuses its keys; take that back as a whole (-p {larger}), or add a database to the spec"
                    ));
                    continue;
                }
                let way = (name.clone(), Home::clone(&leaf.home), database.to_owned());
                ways.entry(way).or_default().insert(what);
            }
        }
    }

    /// The partition with which a key left `database`, if that still lives elsewhere and is not `own`, which goes.
    fn kept_out(
        &self,
        context: &str,
        map: &Map,
        key: &KeyValue,
        own: Option<&PartitionId>,
        database: &str,
    ) -> Option<&PartitionId> {
        let key = std::slice::from_ref(key);
        let is_away = |id: &PartitionId| map.leaf(id).is_some_and(|leaf| leaf.home.database != database);
        let left = self.left.iter().find(|left| {
            let Left { context: of, partition, region, home } = left;
            *of == context
                && home.database == database
                && region.contains(key)
                && own != Some(partition)
                && is_away(partition)
        });
        left.map(|left| &left.partition)
    }

    fn stage(
        &self,
        name: &str,
        from: Home,
        database: &str,
        partitions: Vec<String>,
        before: usize,
    ) -> Result<Stage, Failure> {
        let context = &self.project.spec.contexts[name];
        let map = &self.deployed.contexts[name].map;
        let there: Vec<&Leaf> = map.leaves().filter(|leaf| leaf.home.database == database).collect();
        let own = self.version(name, context, map.leaves().find(|leaf| *leaf.home == from))?;
        let schema = there.first().map_or(&from.schema, |leaf| &leaf.home.schema);
        let to = Home { database: database.to_owned(), schema: schema.clone() };
        let at = self.version(name, context, there.iter().find(|leaf| *leaf.home == to).copied())?;
        let rollout = wanted(context, to, at.or(own.clone()), own.as_deref());
        let mut said = Vec::new();
        if rollout.change != Becoming::AsItIs {
            let ddl = context
                .rollout
                .as_ref()
                .is_some_and(|known| !known.ddl.is_empty() && known.version == rollout.version);
            if there.is_empty() && !ddl {
                said.push(format!(
                    "if {database} has no tables yet, give the rollout its DDL, such as ddl = [\"schema.sql\"] from pg_dump \
                     --schema-only --schema={}",
                    from.schema
                ));
            }
            if let Some(known) = context.rollout.as_ref().filter(|known| known.to != rollout.to) {
                let left = map.leaves().filter(|leaf| *leaf.home != known.to).count();
                said.push(format!(
                    "the rollout of {} to {} gives way: {} not there",
                    known.version,
                    known.to,
                    counted(left, "partition is", "partitions are")
                ));
            }
        }
        let commands = self.commands(name, &partitions, rollout.change, before);
        let is_other = |known: &Rollout| known.version != rollout.version;
        let forgets_ddl = !there.is_empty() || context.rollout.as_ref().is_none_or(is_other);
        let context = name.to_owned();
        Ok(Stage { context, partitions, from, rollout, commands, forgets_ddl, before: said })
    }

    fn version(&self, name: &str, context: &Context, leaf: Option<&Leaf>) -> Result<Option<String>, Failure> {
        let Some(leaf) = leaf else { return Ok(None) };
        let recorded = match self.project.store_so_far()? {
            Some(store) => store.schema_version(name, &leaf.partition)?,
            None => None,
        };
        let first = || context.versions.first().filter(|_| *leaf.home == context.home).cloned();
        Ok(recorded.or_else(first))
    }

    fn commands(&self, context: &str, partitions: &[String], change: Becoming, before: usize) -> Vec<String> {
        let replat = match &self.config {
            Some(file) => format!("replat -c {file}"),
            None => "replat".to_owned(),
        };
        let mut commands = Vec::new();
        if change != Becoming::AsItIs {
            let evidence: Vec<String> =
                self.args.evidence.iter().map(|path| shell(&path.display().to_string())).collect();
            let only = match &self.args.context {
                Some(context) => format!(" -C {context}"),
                None => String::new(),
            };
            commands.push(format!("{replat} advise drift{only} -e {} --apply-to-spec", evidence.join(" ")));
        }
        let file = match before {
            0 => "move.json".to_owned(),
            more => format!("move-{}.json", more + 1),
        };
        let which: String = partitions.iter().map(|one| format!(" -p {}", shell(one))).collect();
        commands.push(format!("{replat} plan deploy -C {context}{which} --out {file}"));
        commands.push(format!("{replat} apply {file}"));
        commands
    }
}

/// The rollout that takes partitions to a home where `version` is, or that they bring along; `own` is what they are at.
fn wanted(context: &Context, to: Home, version: Option<String>, own: Option<&str>) -> Wanted {
    let Some(known) = &context.rollout else {
        let version = version.unwrap_or_else(|| "v1".to_owned());
        return Wanted { to, version, change: Becoming::Plain };
    };
    if known.to == to {
        return Wanted { to, version: known.version.clone(), change: Becoming::AsItIs };
    }
    let version = version.unwrap_or_else(|| known.version.clone());
    let is_there = own == Some(known.version.as_str());
    let transforms = !known.map.is_empty() || !known.tables.is_empty();
    let change = match version == known.version && !(is_there && transforms) {
        true => Becoming::OtherHome,
        false => Becoming::Plain,
    };
    Wanted { to, version, change }
}

/// Whether a table of the evidence is one that a context cuts.
fn cuts(context: &Context, seen: &str) -> bool {
    let slice = |table: &str| context.tables.get(table).is_some_and(|said| said.mode == TableMode::Slice);
    let bare = seen.strip_prefix(context.home.schema.as_str()).and_then(|rest| rest.strip_prefix('.'));
    slice(seen) || bare.is_some_and(slice)
}

/// A value of the evidence as one of the map's only dimension.
fn read(map: &Map, value: &Value) -> Option<KeyValue> {
    let [dimension] = map.dimensions() else { return None };
    value.is_known().then(|| dimension.key_type.parse(&value.text()).ok()).flatten()
}

/// Whether a partition is made of listed keys, all of which are among these.
fn is_made_of(map: &Map, leaf: &Leaf, keys: &BTreeSet<KeyValue>) -> bool {
    let listed = |id: &PartitionId| {
        let region = map.region(id)?;
        region.constraints().find_map(|(_, constraint)| match constraint {
            Constraint::OneOf(values) => Some(values.is_subset(keys)),
            _ => None,
        })
    };
    listed(&leaf.partition).unwrap_or(false)
}

/// A key as `-p` takes it.
fn selection(map: &Map, value: &KeyValue) -> String {
    let dimension = &map.dimensions()[0];
    let text = dimension.key_type.text_of(value);
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c));
    let text = if plain { text } else { format!("\"{}\"", text.replace('"', "\"\"")) };
    format!("{}={text}", dimension.column)
}

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:=/,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Some of these values.
fn named(values: &[Value]) -> String {
    const SHOWN_MAX: usize = 5;
    let shown: Vec<String> = values.iter().take(SHOWN_MAX).map(Value::text).collect();
    match values.len().saturating_sub(SHOWN_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Moves for people.
pub fn told(moves: &[Carried]) -> String {
    let mut text = String::new();
    for carried in moves {
        let what = if carried.recommended { "Recommended" } else { "Not yet" };
        text += &format!("\n{what}: {}.\n", carried.because);
        for (number, stage) in carried.stages.iter().enumerate() {
            let Wanted { to, version, change } = &stage.rollout;
            text += &format!(
                "  {}. {} of {} from {} to {to}\n",
                number + 1,
                stage.partitions.join(", "),
                stage.context,
                stage.from
            );
            for remark in &stage.before {
                text += &format!("     {remark}\n");
            }
            if *change != Becoming::AsItIs {
                text += &format!(
                    "     the spec has to say: [contexts.{}.rollout] version = \"{version}\", to = {{ database = \"{}\", \
                     schema = \"{}\" }}\n",
                    stage.context, to.database, to.schema
                );
            }
            // Only what has paid for itself is written by these commands.
            if carried.recommended {
                stage.commands.iter().for_each(|command| text += &format!("       {command}\n"));
            }
        }
        if carried.recommended && carried.stages.len() > 1 {
            text += "  After each of them ask again: what is left is told anew.\n";
        }
        carried.cannot.iter().for_each(|why| text += &format!("  - {why}\n"));
    }
    text
}
