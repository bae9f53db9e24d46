//! Moves of drift as deployments: what a spec has to say for them, and what no deployment does, with what to do instead.
//!
//! A deployment takes keys, or whole partitions, from one home to another. A context has one rollout, so what goes to
//! several homes goes one after the other.

use std::collections::{BTreeMap, BTreeSet};

use replat_model::ids::{Home, PartitionId};
use replat_model::key::KeyValue;
use replat_model::map::{Leaf, Map};
use replat_model::region::{Constraint, Region};
use replat_model::spec::{Context, Rollout, TableMode};
use serde::Serialize;

use crate::deployed::{Called, Deployed, Parts, Standing};
use crate::drift::{Drift, Keys, Move, TransferStep};
use crate::value::Value;

/// A move, as an operator carries it out.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// The context.
    pub context: String,
    /// What goes, as `-p` takes it.
    pub partitions: Vec<String>,
    /// Where it lives.
    pub from: Home,
    /// Where it is to live.
    pub rollout: Wanted,
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

/// A partition that left a home by a deployment: its guard there refuses its keys, whoever writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its context.
    pub context: String,
    /// Its name.
    pub partition: PartitionId,
    /// The keys that left with it.
    pub region: Region,
    /// The home that it left.
    pub home: Home,
}

/// What moves are carried out on.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// What is deployed.
    pub deployed: &'a Deployed,
    /// The databases of the spec, in the order in which free ones are taken.
    pub databases: &'a [String],
    /// What left which home.
    pub left: &'a [Left],
}

/// Of each context, home and database, what goes from there to here.
type Ways = BTreeMap<(String, Home, String), BTreeSet<String>>;

/// The moves of `drift` as deployments, those first that have paid for themselves.
pub fn carried(ground: Ground<'_>, drift: &Drift) -> Vec<Carried> {
    drift.repartitions.iter().chain(&drift.considered).map(|one| ground.one(one)).collect()
}

/// What is to go to another database.
struct Going {
    /// As `-p` takes it.
    what: String,
    region: Region,
    /// If it is the whole of a partition.
    whole: Option<PartitionId>,
    from: Home,
}

impl Ground<'_> {
    fn one(&self, found: &Move) -> Carried {
        let mut cannot = BTreeSet::new();
        let mut ways = Ways::new();
        for step in &found.transfer.steps {
            if let Some(why) = self.step(step, &mut ways, &mut cannot) {
                cannot.insert(why);
            }
        }
        let stages = ways
            .into_iter()
            .map(|((context, from, database), partitions)| {
                self.stage(&context, from, &database, partitions.into_iter().collect())
            })
            .collect();
        let because = found.because.clone();
        Carried { because, recommended: found.due, stages, cannot: cannot.into_iter().collect() }
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
        match (parts, names.get(part as usize)) {
            (Parts::Databases, Some(name)) => Ok(name.clone()),
            (Parts::Partitions, Some(name)) => Err(format!(
                "keys do not change over to {name}: a partition gives keys up only to one that is made of them, and \
                 partitions in one database are in one place"
            )),
            (_, None) => {
                let in_use: BTreeSet<&str> = contexts
                    .values()
                    .flat_map(|standing| standing.map.leaves())
                    .map(|leaf| leaf.home.database.as_str())
                    .collect();
                let free = self.databases.iter().find(|name| !in_use.contains(name.as_str()));
                free.cloned().ok_or_else(|| {
                    "it needs one database more than there are: add [databases.NAME] to the spec, and ask again"
                        .to_owned()
                })
            }
        }
    }

    /// Adds what goes to `database`: whole partitions where `all` of them do, or all keys of one are among these.
    fn keys(&self, keys: &Keys, all: bool, database: &str, ways: &mut Ways, cannot: &mut BTreeSet<String>) {
        if keys.keys.is_empty() {
            cannot.insert(format!("{} keys are too many to be named one by one", keys.count));
            return;
        }
        for (name, standing) in &self.deployed.contexts {
            if !keys.tables.iter().any(|table| cuts(&standing.context, table)) {
                continue;
            }
            let called = self.deployed.called[name];
            if keys.partly && called == Called::Itself {
                let column = keys.columns.first().map_or("", String::as_str);
                cannot.insert(format!(
                    "only some rows of the keys {} go, by another column than {column}: make it a dimension of the context \
                     first",
                    named(&keys.keys)
                ));
                continue;
            }
            let going = match called {
                Called::Itself => of_values(&standing.map, &keys.keys, all),
                Called::Partition => of_partitions(&standing.map, &keys.keys),
                Called::Hash => Vec::new(),
            };
            if called != Called::Itself && going.len() < keys.keys.len() {
                let more = keys.keys.len() - going.len();
                cannot.insert(format!(
                    "{} that ought to go to {database} cannot be named: this evidence knows keys by their hashes only; \
                     capture start --with-partitions tells their partitions",
                    counted(more, "key", "keys")
                ));
            }
            for going in going.into_iter().filter(|going| going.from.database != database) {
                let what = &going.what;
                if let Some(larger) = self.kept_out(name, standing, &going, database) {
                    cannot.insert(format!(
                        "{what} of {name} does not go back to {database} by itself: it left with {larger}, whose guard there \
                         refuses its keys; take that back as a whole (-p {larger}), or add a database to the spec"
                    ));
                    continue;
                }
                let way = (name.clone(), going.from, database.to_owned());
                ways.entry(way).or_default().insert(going.what);
            }
        }
    }

    /// The partition with which keys left `database`, if that still lives elsewhere and is not itself what goes.
    fn kept_out(
        &self,
        context: &str,
        standing: &Standing,
        going: &Going,
        database: &str,
    ) -> Option<&PartitionId> {
        let is_away =
            |id: &PartitionId| standing.map.leaf(id).is_some_and(|leaf| leaf.home.database != database);
        let left = self.left.iter().find(|left| {
            left.context == context
                && left.home.database == database
                && left.region.overlaps(&going.region) != Some(false)
                && going.whole.as_ref() != Some(&left.partition)
                && is_away(&left.partition)
        });
        left.map(|left| &left.partition)
    }

    fn stage(&self, name: &str, from: Home, database: &str, partitions: Vec<String>) -> Stage {
        let Standing { context, map, versions, .. } = &self.deployed.contexts[name];
        let there: Vec<&Leaf> = map.leaves().filter(|leaf| leaf.home.database == database).collect();
        let own = versions.get(&from).map(String::as_str);
        let schema = there.first().map_or(&from.schema, |leaf| &leaf.home.schema);
        let to = Home { database: database.to_owned(), schema: schema.clone() };
        let at = versions.get(&to).cloned();
        let rollout = wanted(context, to, at.or(own.map(str::to_owned)), own);
        let mut before = Vec::new();
        if rollout.change != Becoming::AsItIs {
            let ddl = context
                .rollout
                .as_ref()
                .is_some_and(|known| !known.ddl.is_empty() && known.version == rollout.version);
            if there.is_empty() && !ddl {
                before.push(format!(
                    "if {database} has no tables yet, give the rollout its DDL, such as ddl = [\"schema.sql\"] from pg_dump \
                     --schema-only --schema={}",
                    from.schema
                ));
            }
            if let Some(known) = context.rollout.as_ref().filter(|known| known.to != rollout.to) {
                let left = map.leaves().filter(|leaf| *leaf.home != known.to).count();
                before.push(format!(
                    "the rollout of {} to {} gives way: {} not there",
                    known.version,
                    known.to,
                    counted(left, "partition is", "partitions are")
                ));
            }
        }
        let is_other = |known: &Rollout| known.version != rollout.version;
        let forgets_ddl = !there.is_empty() || context.rollout.as_ref().is_none_or(is_other);
        Stage { context: name.to_owned(), partitions, from, rollout, forgets_ddl, before }
    }
}

/// What goes, of keys that are known by their values.
fn of_values(map: &Map, keys: &[Value], all: bool) -> Vec<Going> {
    let moving: BTreeSet<KeyValue> = keys.iter().filter_map(|key| read(map, key)).collect();
    moving
        .iter()
        .filter_map(|value| {
            let leaf = map.lookup(std::slice::from_ref(value)).ok()?;
            if all || is_made_of(map, leaf, &moving) {
                return whole(map, leaf);
            }
            let region = Region::everything().and(0, Constraint::OneOf(BTreeSet::from([value.clone()])));
            Some(Going { what: selection(map, value), region, whole: None, from: Home::clone(&leaf.home) })
        })
        .collect()
}

/// What goes, of keys that are called by the names of their partitions.
fn of_partitions(map: &Map, keys: &[Value]) -> Vec<Going> {
    let leaf = |key: &Value| map.leaf(&key.text().parse().ok()?);
    keys.iter().filter_map(|key| whole(map, leaf(key)?)).collect()
}

fn whole(map: &Map, leaf: &Leaf) -> Option<Going> {
    Some(Going {
        what: leaf.partition.to_string(),
        region: map.region(&leaf.partition)?,
        whole: Some(leaf.partition.clone()),
        from: Home::clone(&leaf.home),
    })
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

/// Some of these values.
fn named(values: &[Value]) -> String {
    const SHOWN_MAX: usize = 5;
    let shown: Vec<String> = values.iter().take(SHOWN_MAX).map(Value::text).collect();
    match values.len().saturating_sub(SHOWN_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn counted(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}
