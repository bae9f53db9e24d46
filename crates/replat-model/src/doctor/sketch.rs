//! A first spec for a schema, as text with comments: it is valid, and says what is still to be filled in.

use super::keys::{Candidate, Part, movable};
use crate::facts::{DatabaseFacts, TableFacts};

/// What is said above the tables of each part.
const SAID: [(Part, &str); 4] = [
    (Part::Slice, "# The rows of a partition move.\n"),
    (
        Part::Lacks,
        "# Rows of these belong to partitions by what they refer to, but they lack the key: add the column to them and\n\
         # to their keys, then take the # away.\n",
    ),
    (
        Part::Reference,
        "# Others refer to these: copied whole, and not to be changed while a deployment runs.\n",
    ),
    (
        Part::Apart,
        "# These have nothing to do with the key and stay; what is to be copied whole loses its #.\n",
    ),
];

/// A spec of one context, `name`, whose tables are cut by `key`.
///
/// The connection is `env:BLUE_URL`, so that no secret comes into the file.
pub fn spec(facts: &DatabaseFacts, name: &str, key: &Candidate) -> String {
    let (context, schema) = (text(name), text(&facts.schema));
    let mut t = format!(
        "# A first spec, made from what the catalogue says of {schema} in {}. Read it before it is used: the\n\
         # partition key is a guess, and only you know which tables belong together.\n\n\
         version = 1\nproject = {context}\n\n\
         # Where the partitions live now; from the environment, so that no password stands here.\n\
         [databases.blue]\nurl = \"env:BLUE_URL\"\n\n\
         # Where they are to live: another database, or this one with another schema.\n\
         # [databases.green]\n# url = \"env:GREEN_URL\"\n\n\
         [contexts.{context}]\n# {} of {} tables carry it.\n\
         dimensions = [{{ column = {}, type = {} }}]\nhome = {{ database = \"blue\", schema = {schema} }}\n\n",
        text(&facts.database_name),
        key.carried,
        key.parts.len(),
        text(&key.column),
        text(key.key_type.postgres_name()),
    );
    for (part, said) in SAID {
        let tables: Vec<&TableFacts> =
            movable(facts).filter(|table| key.parts.get(&table.name) == Some(&part)).collect();
        if tables.is_empty() {
            continue;
        }
        t += said;
        tables.into_iter().for_each(|table| t += &entry(&context, part, table));
        t.push('\n');
    }
    t += &format!(
        "# The new version and its home, to be filled in.\n# [contexts.{context}.rollout]\n# version = \"v2\"\n\
         # to = {{ database = \"green\", schema = {schema} }}\n# ddl = [\"schema_v2.sql\"]\n",
    );
    t
}

fn entry(context: &str, part: Part, table: &TableFacts) -> String {
    let out = if matches!(part, Part::Lacks | Part::Apart) { "# " } else { "" };
    let mut t = format!("{out}[contexts.{context}.tables.{}]\n", text(&table.name));
    if let Some(columns) = key_columns(table) {
        let list = columns.iter().map(|column| text(column)).collect::<Vec<_>>().join(", ");
        t += &format!("{out}key = [{list}]\n");
    }
    if matches!(part, Part::Reference | Part::Apart) {
        t += &format!("{out}mode = \"reference\"\n");
    }
    t
}

/// What names a row where there is no primary key.
pub fn key_columns(table: &TableFacts) -> Option<&[String]> {
    if !table.primary_key.is_empty() {
        return None;
    }
    let unique = table.indexes.iter().find(|index| {
        let columns: Vec<&str> = index.columns.iter().map(String::as_str).collect();
        !columns.is_empty() && table.is_unique_over(&columns)
    });
    unique.map(|index| index.columns.as_slice())
}

/// A TOML string, which may stand as a key too.
fn text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted += "\\\"",
            '\\' => quoted += "\\\\",
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
