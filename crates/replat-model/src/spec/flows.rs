//! From which tables of the old version the rows of the new one come, and which of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ColumnMap, Context, Rollout};

/// A table of the new version: where its rows come from, and what of them goes back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTable {
    /// The table's name in the old version: one of the context's tables. Default: the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub from: Option<String>,
    /// The tables of the old version that become this one, by their names there. Not together with `from`. Default: one
    /// table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Source>,
    /// The table of the new version that holds the main part of these rows, with the same keys: both parts come from one
    /// table of the old version, and on the way back they are one row again. Default: its rows are whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub part_of: Option<String>,
    /// Which rows take part. Default: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Rows>,
    /// What columns of the old version are made of on the way back: SQL expressions over one row of the new version.
    /// Default: what `down` and columns of the same name say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub back: BTreeMap<String, String>,
}

/// One of several tables of the old version that become one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Which rows take part. `down` tells this table's rows from those of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Rows>,
    /// What the columns of the new version are made of, where it is not what the rollout's `map` says. Default: nothing
    /// else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub map: BTreeMap<String, ColumnMap>,
    /// What columns of this table are made of on the way back. Default: what `down` and columns of the same name say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub back: BTreeMap<String, String>,
}

/// Which rows take part. The others stay where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// A condition over one row of the old version: rows for which it is true go over. Default: all rows do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub up: Option<String>,
    /// A condition over one row of the new version: rows for which it is true go back. Default: those that satisfy `up`
    /// as they would be in the old version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub down: Option<String>,
}

/// Rows of one table of the old version that become rows of one table of the new version.
#[derive(Clone, Debug)]
pub struct Flow<'a> {
    /// The table's name in the old version.
    pub old: &'a str,
    /// The table's name in the new version.
    pub new: &'a str,
    /// What columns of the new version are made of.
    pub map: BTreeMap<&'a str, &'a ColumnMap>,
    /// What columns of the old version are made of on the way back.
    pub back: Option<&'a BTreeMap<String, String>>,
    /// Which rows take part.
    pub rows: Option<&'a Rows>,
    /// Whether the new table holds a part of the rows only, beside the table that holds the main part.
    pub is_part: bool,
}

impl NewTable {
    /// The tables of the old version that become this one, which is called `new`.
    pub fn old_names<'a>(&'a self, new: &'a str) -> Vec<&'a str> {
        match self.sources.is_empty() {
            true => vec![self.from.as_deref().unwrap_or(new)],
            false => self.sources.keys().map(String::as_str).collect(),
        }
    }
}

impl Rollout {
    /// What becomes of a table of the old version, in the order of the new names, parts last. A table of which nothing is
    /// said keeps its name.
    pub fn flows_of<'a>(&'a self, old: &'a str) -> Vec<Flow<'a>> {
        let said = self.tables.iter().filter(|(new, table)| table.old_names(new).contains(&old));
        let mut flows: Vec<Flow<'a>> = said.map(|(new, table)| self.flow(old, new, Some(table))).collect();
        if flows.iter().all(|flow| flow.is_part) {
            flows.push(self.flow(old, old, None));
        }
        flows.sort_by_key(|flow| flow.is_part);
        flows
    }

    fn flow<'a>(&'a self, old: &'a str, new: &'a str, table: Option<&'a NewTable>) -> Flow<'a> {
        let source = table.and_then(|table| table.sources.get(old));
        let common = self.map.get(new).into_iter().flatten();
        let own = source.into_iter().flat_map(|source| &source.map);
        Flow {
            old,
            new,
            // What is said of one source counts more than what is said of all.
            map: common.chain(own).map(|(column, map)| (column.as_str(), map)).collect(),
            back: source.map(|source| &source.back).or(table.map(|table| &table.back)),
            rows: match source {
                Some(source) => source.rows.as_ref(),
                None => table.and_then(|table| table.rows.as_ref()),
            },
            is_part: table.is_some_and(|table| table.part_of.is_some()),
        }
    }

    /// The tables of the old version that become the table `new`; none if the new version has no such table.
    pub fn old_tables<'a>(&'a self, new: &'a str, context: &'a Context) -> Vec<&'a str> {
        let becomes = |old: &&'a String| self.flows_of(old).iter().any(|flow| flow.new == new);
        context.tables.keys().filter(becomes).map(String::as_str).collect()
    }

    /// The tables of the new version, by their new names, each once.
    pub fn new_tables<'a>(&'a self, context: &'a Context) -> Vec<&'a str> {
        let flows = context.tables.keys().flat_map(|old| self.flows_of(old));
        let mut names: Vec<&str> = flows.map(|flow| flow.new).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
