//! A table that becomes several, as the piece of a spec that brings it about, and the DDL that it names.

use replat_advise::columns::{Split, TableColumns, bare};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, value};

use super::spec::{SOME_DATABASE, key_type, schema_of};
use crate::failure::Failure;

/// What brings a split about.
pub struct Piece {
    /// The file that the DDL goes into, by its name.
    pub ddl_name: String,
    /// What the tables are made by, with what has to be done before in words.
    pub ddl: String,
    /// What has to be done to the table as it is; nothing if it can stay as it is.
    pub before: String,
    /// The piece of the spec.
    pub spec: String,
}

/// The piece of a spec that makes several tables of one, for those who look at it.
///
/// # Errors
///
/// If no partition can be told by a column of its type.
pub fn piece(table: &TableColumns, split: &Split) -> Result<Piece, Failure> {
    piece_in(table, split, &context_name(&table.table), SOME_DATABASE)
}

/// The same, as a context of this name, whose tables are in this database.
///
/// # Errors
///
/// As [`piece`].
pub fn piece_in(
    table: &TableColumns,
    split: &Split,
    context_name: &str,
    database: &str,
) -> Result<Piece, Failure> {
    let name = bare(&table.table);
    let place = |schema: &str| place(database, schema);
    let ddl_name = format!("split_{context_name}.sql");
    let known = split.carried.iter().find(|column| column.name == split.dimension);
    let data_type = known.map_or("", |column| column.data_type.as_str());
    let key_type = key_type(&split.dimension, data_type)?;

    let mut context = Table::new();
    let mut dimension = InlineTable::new();
    dimension.insert("column", split.dimension.as_str().into());
    dimension.insert("type", key_type.postgres_name().into());
    let mut dimensions = Array::new();
    dimensions.push(dimension);
    context.insert("dimensions", value(dimensions));
    let schema = schema_of(&table.table);
    context.insert("home", value(place(schema)));

    let mut tables = Table::new();
    tables.set_implicit(true);
    tables.insert(name, Item::Table(Table::new()));
    context.insert("tables", Item::Table(tables));

    let mut rollout = Table::new();
    rollout.insert("version", value("split"));
    rollout.insert("to", value(place(&format!("{schema}_split"))));
    let mut ddl = Array::new();
    ddl.push(ddl_name.as_str());
    rollout.insert("ddl", value(ddl));
    let mut parts = Table::new();
    parts.set_implicit(true);
    for part in &split.pieces[1..] {
        let mut said = Table::new();
        said.insert("from", value(name));
        said.insert("part_of", value(name));
        parts.insert(bare(&part.table), Item::Table(said));
    }
    rollout.insert("tables", Item::Table(parts));
    context.insert("rollout", Item::Table(rollout));

    let mut contexts = Table::new();
    contexts.set_implicit(true);
    contexts.insert(context_name, Item::Table(context));
    let mut document = DocumentMut::new();
    document.insert("contexts", Item::Table(contexts));
    Ok(Piece {
        ddl_name,
        ddl: replat_postgres::advised::split_tables(split),
        before: replat_postgres::advised::before_split(&table.table, split),
        spec: document.to_string(),
    })
}

fn place(database: &str, schema: &str) -> InlineTable {
    let mut said = InlineTable::new();
    said.insert("database", database.into());
    said.insert("schema", schema.into());
    said
}

/// A table's name, without its schema, as a context can have it.
pub fn context_name(table: &str) -> String {
    let table = bare(table);
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    table.to_lowercase().chars().map(|c| if fits(c) { c } else { '_' }).take(48).collect()
}
