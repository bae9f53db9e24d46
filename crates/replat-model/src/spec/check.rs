//! Whether what a spec says fits together: names that refer to something, rooms that are not taken twice, limits
//! that leave each other room.

mod lifecycle;

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Document, Path, path};
use super::error::{Position, SpecError};
use super::nearest::{did_you_mean, quoted};
use super::{Context, Contract, Database, Hook, Policy, ReadsPolicy, Rollout, Spec, Table, TableMode};
use crate::ids::Home;
use crate::map::{Dimension, Map};

/// Everything in `spec` that contradicts something else in it, in no particular order.
///
/// `document` is the text that the spec came from; it says where each value is written.
pub(super) fn contradictions(spec: &Spec, document: &Document<'_>) -> Vec<SpecError> {
    let mut check = Check { spec, document, errors: Vec::new() };
    for (name, database) in &spec.databases {
        check.database(&path(["databases", name]), database);
    }
    for (name, context) in &spec.contexts {
        check.context(&path(["contexts", name]), name, context);
    }
    for (name, hook) in &spec.hooks {
        check.hook(&path(["hooks", name]), hook);
    }
    check.policy(&path(["policy"]), &spec.policy);
    check.lifecycles(&path(["lifecycles"]));
    check.errors
}

struct Check<'a> {
    spec: &'a Spec,
    document: &'a Document<'a>,
    errors: Vec<SpecError>,
}

impl Check<'_> {
    /// A value is wrong.
    fn refuse(&mut self, path: &Path, message: impl Into<String>) {
        self.report(self.document.locate(path), path, message.into(), None);
    }

    /// A name is wrong: the last key of `path`.
    fn refuse_name(&mut self, path: &Path, message: impl Into<String>, suggestion: Option<String>) {
        self.report(self.document.locate_key(path), path, message.into(), suggestion);
    }

    /// A value names something that there is not.
    fn refuse_reference<'k>(
        &mut self,
        path: &Path,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        let known: Vec<&str> = known.into_iter().collect();
        let message = no_such(what, name, &known);
        self.report(self.document.locate(path), path, message, did_you_mean(name, known));
    }

    fn report(&mut self, at: Option<Position>, path: &Path, message: String, suggestion: Option<String>) {
        self.errors.push(SpecError { at, path: path.to_string(), message, suggestion });
    }

    fn database(&mut self, at: &Path, database: &Database) {
        if database.url.is_some() && database.service.is_some() {
            self.refuse(&at.key("service"), "`url` and `service` both say how to connect; keep one of them");
        }
        if let Some(endpoint) = &database.endpoint {
            self.endpoint(&at.key("endpoint"), endpoint);
        }
    }

    fn hook(&mut self, at: &Path, hook: &Hook) {
        match (&hook.url, &hook.channel) {
            (None, None) => {
                self.refuse(at, "nothing says how it is told; add `url`, or `channel` and `database`")
            }
            (Some(_), Some(_)) => {
                self.refuse(
                    &at.key("channel"),
                    "`url` and `channel` both say how it is told; keep one of them",
                );
            }
            (Some(_), None) if hook.database.is_some() => {
                self.refuse(&at.key("database"), "`database` is of `channel`, and there is none");
            }
            (None, Some(_)) if hook.secret.is_some() => {
                self.refuse(&at.key("secret"), "`secret` is of `url`, and there is none");
            }
            _ => {}
        }
        match (&hook.channel, &hook.database) {
            (Some(_), None) => self.refuse(&at.key("channel"), "in which `database` is not said"),
            (_, Some(database)) if !self.spec.databases.contains_key(database) => {
                let known: Vec<&str> = self.spec.databases.keys().map(String::as_str).collect();
                self.refuse_reference(&at.key("database"), "database", database, known);
            }
            _ => {}
        }
        // Sixty-three bytes are what a name has in PostgreSQL.
        if hook.channel.as_ref().is_some_and(|channel| channel.len() > 63) {
            self.refuse(&at.key("channel"), "a channel's name has at most 63 bytes");
        }
        if hook.timeout.millis() == 0 {
            self.refuse(&at.key("timeout"), "no try can end within no time");
        }
        if self.spec.registry.is_none() {
            self.refuse(at, "hooks are told of what is published, and there is no [registry]");
        }
    }

    fn context(&mut self, at: &Path, name: &str, context: &Context) {
        if self.dimensions(&at.key("dimensions"), &context.dimensions) {
            self.map(at, name, context);
        }
        self.home(&at.key("home"), &context.home);
        if !context.tables.values().any(|table| table.mode == TableMode::Slice) {
            self.refuse(
                &at.key("tables"),
                "there is nothing to move: at least one table must be of mode slice, which is the default",
            );
        }
        for (name, table) in &context.tables {
            let key = table.key.iter().flatten().map(String::as_str);
            self.columns(&at.key("tables").key(name).key("key"), key, |at, index| at.index(index));
            self.carried(&at.key("tables").key(name).key("dimensions"), table, context);
        }
        self.endpoints(&at.key("endpoints"), &context.endpoints);
        self.versions(&at.key("versions"), &context.versions);
        for (name, contract) in &context.contracts {
            self.contract(&at.key("contracts").key(name), contract, context);
        }
        if let Some(rollout) = &context.rollout {
            self.rollout(&at.key("rollout"), rollout, context);
        }
    }

    /// An order has each version once.
    fn versions(&mut self, at: &Path, versions: &[String]) {
        for (index, version) in versions.iter().enumerate() {
            if version.trim().is_empty() {
                self.refuse(&at.index(index), "a version's name must not be empty");
            } else if versions[..index].contains(version) {
                self.refuse(&at.index(index), format!("{} is listed twice", quoted(version)));
            }
        }
    }

    /// What a rollout says of versions is in their order.
    fn step(&mut self, at: &Path, rollout: &Rollout, versions: &[String]) {
        let known = || versions.iter().map(String::as_str);
        let place = |version: &str| known().position(|name| name == version);
        if !versions.is_empty() && place(&rollout.version).is_none() {
            self.refuse_reference(&at.key("version"), "version", &rollout.version, known());
        }
        let Some(after) = &rollout.after else { return };
        let at = at.key("after");
        if *after == rollout.version {
            self.refuse(
                &at,
                "a version does not come after itself; leave it out where only the place changes",
            );
        } else if !versions.is_empty() && place(after).is_none() {
            self.refuse_reference(&at, "version", after, known());
        } else if place(after).zip(place(&rollout.version)).is_some_and(|(before, it)| before > it) {
            let message = format!("{} comes after {} in `versions`", quoted(after), quoted(&rollout.version));
            self.refuse(&at, message);
        }
    }

    /// Whoever follows the routes reads it.
    fn endpoint(&mut self, at: &Path, endpoint: &str) {
        if endpoint.trim().is_empty() {
            self.refuse(at, "this must not be empty");
        } else if endpoint.contains('@') {
            self.refuse(at, "a login does not belong here: all routers are told");
        }
    }

    fn endpoints(&mut self, at: &Path, endpoints: &BTreeMap<String, String>) {
        for (database, endpoint) in endpoints {
            let at = at.key(database);
            if !self.spec.databases.contains_key(database) {
                let known: Vec<&str> = self.spec.databases.keys().map(String::as_str).collect();
                let message = no_such("database", database, &known);
                self.refuse_name(&at, message, did_you_mean(database, known));
            }
            self.endpoint(&at, endpoint);
        }
    }

    /// Whether the dimensions can be used.
    fn dimensions(&mut self, at: &Path, dimensions: &[Dimension]) -> bool {
        let errors = self.errors.len();
        let columns = dimensions.iter().map(|dimension| dimension.column.as_str());
        self.columns(at, columns, |at, index| at.index(index).key("column"));
        self.errors.len() == errors
    }

    /// A table's own names for the components of the key are of components that there are, and each is another column.
    fn carried(&mut self, at: &Path, table: &Table, context: &Context) {
        if table.dimensions.is_empty() {
            return;
        }
        if table.mode != TableMode::Slice {
            self.refuse(
                at,
                "a table that is not cut carries no partition key; it is for tables of mode slice",
            );
            return;
        }
        let known: Vec<&str> = context.dimensions.iter().map(|dimension| dimension.column.as_str()).collect();
        for dimension in table.dimensions.keys().filter(|name| !known.contains(&name.as_str())) {
            let message = no_such("dimension", dimension, &known);
            self.refuse_name(&at.key(dimension), message, did_you_mean(dimension, known.iter().copied()));
        }
        let mut taken = BTreeSet::new();
        for dimension in known {
            let column = table.column_of(dimension);
            if column.trim().is_empty() {
                self.refuse(&at.key(dimension), "a column's name must not be empty");
            } else if !taken.insert(column) {
                self.refuse(at, format!("{} carries two components of the partition key", quoted(column)));
            }
        }
    }

    /// A list of columns names each once.
    fn columns<'c>(
        &mut self,
        at: &Path,
        columns: impl Iterator<Item = &'c str>,
        place: fn(&Path, usize) -> Path,
    ) {
        let mut seen = BTreeSet::new();
        for (index, column) in columns.enumerate() {
            if column.trim().is_empty() {
                self.refuse(&place(at, index), "a column's name must not be empty");
            } else if !seen.insert(column) {
                self.refuse(&place(at, index), format!("{} is listed twice", quoted(column)));
            }
        }
    }

    /// A contract's values are there for every partition, and its budget can be met.
    fn contract(&mut self, at: &Path, contract: &Contract, context: &Context) {
        if contract.query.trim().is_empty() {
            self.refuse(&at.key("query"), "a file's name must not be empty");
        }
        let known: Vec<&str> = context.dimensions.iter().map(|dimension| dimension.column.as_str()).collect();
        for (index, parameter) in contract.parameters.iter().enumerate() {
            let Some(column) = parameter.strip_prefix('$') else { continue };
            if !known.contains(&column) {
                let at = at.key("parameters").index(index);
                self.refuse_reference(&at, "dimension", column, known.iter().copied());
            }
        }
        if contract.budget.is_some_and(|budget| budget.millis() == 0) {
            self.refuse(&at.key("budget"), "no answer comes within no time");
        }
    }

    fn home(&mut self, at: &Path, home: &Home) {
        if !self.spec.databases.contains_key(&home.database) {
            let known = self.spec.databases.keys().map(String::as_str);
            self.refuse_reference(&at.key("database"), "database", &home.database, known);
        }
        if home.schema.trim().is_empty() {
            self.refuse(&at.key("schema"), "a schema's name must not be empty");
        }
    }

    /// The map that a context begins with can be built; only then are partitions known by their names.
    fn map(&mut self, at: &Path, name: &str, context: &Context) {
        let dimensions = context.dimensions.clone();
        let Err(bad) = Map::build(name, dimensions, context.tree.as_ref(), context.home.clone()) else {
            return;
        };
        // Without a tree it is the context's own name that cannot be used.
        let top = if context.tree.is_some() { at.key("tree") } else { at.clone() };
        let at = bad.path.into_iter().fold(top, |at, key| at.key(key));
        let suggestion = bad.nearest.map(|near| format!("did you mean `{near}`?"));
        self.report(self.document.locate(&at), &at, bad.what, suggestion);
    }

    fn rollout(&mut self, at: &Path, rollout: &Rollout, context: &Context) {
        self.home(&at.key("to"), &rollout.to);
        self.step(at, rollout, &context.versions);
        self.new_tables(&at.key("tables"), rollout, context);
        self.column_maps(&at.key("map"), rollout, context);
    }

    fn new_tables(&mut self, at: &Path, rollout: &Rollout, context: &Context) {
        let mut taken: BTreeMap<&str, (&str, bool)> = BTreeMap::new();
        for (new, table) in &rollout.tables {
            let at = at.key(new);
            if table.from.is_some() && !table.sources.is_empty() {
                self.refuse(
                    &at.key("from"),
                    "`from` and `sources` both say where its rows come from; keep one of them",
                );
                continue;
            }
            for old in table.old_names(new) {
                let (place, rows) = match table.sources.get(old) {
                    Some(source) => (at.key("sources").key(old), source.rows.as_ref()),
                    None => (at.key("from"), table.rows.as_ref()),
                };
                if !context.tables.contains_key(old) {
                    let known = context.tables.keys().map(String::as_str);
                    match (table.from.is_some(), table.sources.is_empty()) {
                        (_, false) => {
                            let known: Vec<&str> = known.collect();
                            let message = no_such("table in this context", old, &known);
                            self.refuse_name(&place, message, did_you_mean(old, known));
                        }
                        (true, true) => self.refuse_reference(&place, "table in this context", old, known),
                        (false, true) => {
                            let known: Vec<&str> = known.collect();
                            let message = no_such("table in this context", old, &known);
                            self.refuse_name(&at, message, did_you_mean(old, known));
                        }
                    }
                    continue;
                }
                if let Some(main) = &table.part_of {
                    self.part(&at.key("part_of"), (new, old), main, rollout, context);
                    continue;
                }
                let chooses = rows.is_some_and(|rows| rows.up.is_some());
                if let Some((other, others)) = taken.insert(old, (new, chooses))
                    && !(chooses && others)
                {
                    let message = format!(
                        "{} already becomes {}; `rows.up` of both must say which rows go where",
                        quoted(old),
                        quoted(other)
                    );
                    self.refuse(&place, message);
                }
                if table.sources.len() > 1 && rows.is_none_or(|rows| rows.down.is_none()) {
                    self.refuse(&place, "`rows.down` must say which rows of the new table are of this one");
                }
            }
            for (place, rows) in [(at.key("rows"), table.rows.as_ref())].into_iter().chain(
                table
                    .sources
                    .iter()
                    .map(|(old, s)| (at.key("sources").key(old).key("rows"), s.rows.as_ref())),
            ) {
                if rows.is_some_and(|rows| rows.up.is_none() && rows.down.is_none()) {
                    self.refuse(&place, "nothing says which rows take part; add `up`, `down` or both");
                }
            }
            if !table.sources.is_empty() && table.part_of.is_some() {
                self.refuse(&at.key("part_of"), "a table of several `sources` cannot be a part of another");
            }
            if !table.sources.is_empty() && table.rows.is_some() {
                self.refuse(&at.key("rows"), "each of the `sources` has its own `rows`");
            }
            if !table.sources.is_empty() && !table.back.is_empty() {
                self.refuse(&at.key("back"), "each of the `sources` has its own `back`");
            }
        }
        for (new, table) in &rollout.tables {
            let comes_from_itself = table.old_names(new).contains(&new.as_str());
            if context.tables.contains_key(new) && !taken.contains_key(new.as_str()) && !comes_from_itself {
                let message =
                    format!("{} is another table of this context, which keeps its name", quoted(new));
                self.refuse_name(&at.key(new), message, None);
            }
        }
    }

    /// A part has a main part, made of the same table.
    fn part(
        &mut self,
        at: &Path,
        (new, old): (&str, &str),
        main: &str,
        rollout: &Rollout,
        context: &Context,
    ) {
        let known = rollout.new_tables(context);
        if !known.contains(&main) {
            self.refuse_reference(at, "table in the new version", main, known);
            return;
        }
        let is_main = rollout.flows_of(old).iter().any(|flow| flow.new == main && !flow.is_part);
        if main == new || !is_main {
            let message =
                format!("{} does not hold the main part of the rows of {}", quoted(main), quoted(old));
            self.refuse(at, message);
        }
    }

    fn column_maps(&mut self, at: &Path, rollout: &Rollout, context: &Context) {
        for (table, columns) in &rollout.map {
            let at = at.key(table);
            match rollout.old_tables(table, context).first().copied() {
                None => {
                    let known: Vec<&str> = rollout.new_tables(context);
                    let message = no_such("table in the new version", table, &known);
                    self.refuse_name(&at, message, did_you_mean(table, known));
                }
                Some(old) if context.tables[old].mode == TableMode::Rebuild => {
                    let message =
                        format!("{} is of mode rebuild, so no row of it is transformed", quoted(old));
                    self.refuse_name(&at, message, None);
                }
                Some(_) => {}
            }
            let mut downs = BTreeMap::new();
            for (column, map) in columns {
                let Some(down) = &map.down else { continue };
                if let Some(other) = downs.insert(down.column.as_str(), column) {
                    let message = format!("{} already gives {} back", quoted(other), quoted(&down.column));
                    self.refuse(&at.key(column).key("down").key("column"), message);
                }
            }
        }
    }

    fn policy(&mut self, at: &Path, policy: &Policy) {
        if policy.fence_timeout.millis() == 0 {
            self.refuse(
                &at.key("fence_timeout"),
                "no running writer could ever end in no time; allow some ms",
            );
        }
        if policy.pause_max < policy.fence_timeout {
            let message = format!(
                "`pause_max` ({}) must be at least `fence_timeout` ({}), which is part of the pause",
                policy.pause_max, policy.fence_timeout
            );
            self.refuse(&at.key("pause_max"), message);
        }
        if policy.reads == ReadsPolicy::Strict && policy.hold_max.millis() == 0 {
            let message =
                "with strict reads everybody has to be quiet first, so this must be longer than zero";
            self.refuse(&at.key("hold_max"), message);
        }
        // PostgreSQL keeps it in an int of milliseconds and takes zero as "wait for ever".
        if !(1..=i32::MAX as u64).contains(&policy.lock_timeout.millis()) {
            self.refuse(&at.key("lock_timeout"), "this must be longer than zero and at most 24d");
        }
    }
}

impl Rollout {
    /// The version that a partition must be at: said, or the one before this in the order. `None` if there is none
    /// before it.
    pub fn comes_after<'a>(&'a self, versions: &'a [String]) -> Option<&'a str> {
        let before = || {
            let at = versions.iter().position(|version| *version == self.version)?;
            versions.get(at.checked_sub(1)?)
        };
        self.after.as_ref().or_else(before).map(String::as_str)
    }
}

fn no_such(what: &str, name: &str, known: &[&str]) -> String {
    match known {
        [] => format!("there is no {what} {}; none is declared", quoted(name)),
        known => format!("there is no {what} {}; declared: {}", quoted(name), known.join(", ")),
    }
}
