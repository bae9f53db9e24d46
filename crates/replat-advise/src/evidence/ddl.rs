//! Tables from the text that makes them: PostgreSQL's data definition, as a file of migrations or `pg_dump` has it.

use std::collections::BTreeMap;

use sqlparser::ast::{
    AlterTableOperation, ColumnDef, ColumnOption, Expr, ForeignKeyConstraint, Ident, IndexColumn, ObjectName,
    Statement, TableConstraint,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::{ColumnSeen, Note, ReferenceSeen, TableSeen};
use crate::sql;

/// Reads `schema.sql`. What cannot be read, or makes no tables, is passed over; of what cannot be read, a note says so.
pub fn read_schema(name: &str, text: &str) -> (Vec<TableSeen>, Vec<Note>) {
    let mut tables = Tables::default();
    let mut notes = Vec::new();
    let mut unread = Vec::new();
    for (line, statement) in sql::split(text) {
        // The parser knows little of what has nothing to do with tables; that is not worth a note.
        if !sql::begins_with(statement, &["create", "alter"]) {
            continue;
        }
        let parsed = Parser::new(&PostgreSqlDialect {})
            .with_recursion_limit(sql::NESTING_MAX)
            .try_with_sql(statement)
            .and_then(|mut parser| parser.parse_statements());
        match parsed {
            Ok(all) => all.into_iter().for_each(|statement| tables.take(statement)),
            Err(_) if sql::names(statement, "table") => unread.push(line),
            Err(_) => {}
        }
    }
    if let Some(first) = unread.first() {
        notes.push(Note::new(
            name,
            format!("{} statements about tables could not be read, the first at line {first}", unread.len()),
        ));
    }
    (tables.finish(), notes)
}

/// A name as evidence has it: without the schema `public`.
pub(crate) fn name_of(name: &ObjectName) -> Option<String> {
    let parts: Option<Vec<String>> = name.0.iter().map(|part| part.as_ident().map(folded)).collect();
    let mut parts = parts?;
    if parts.len() > 1 && parts[parts.len() - 2] == "public" {
        parts.drain(..parts.len() - 1);
    }
    if parts.len() > 2 {
        parts.drain(..parts.len() - 2);
    }
    Some(parts.join("."))
}

/// An identifier as the server has it: in small letters, unless it is quoted.
pub(crate) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

#[derive(Default)]
struct Tables {
    all: Vec<TableSeen>,
    places: BTreeMap<String, usize>,
}

impl Tables {
    fn take(&mut self, statement: Statement) {
        match statement {
            Statement::CreateTable(create) => {
                let Some(name) = name_of(&create.name) else { return };
                // A partition of a table is no table of its own.
                if create.partition_of.is_some() {
                    return;
                }
                let mut table = TableSeen { name: name.clone(), ..TableSeen::default() };
                for column in &create.columns {
                    add_column(&mut table, column);
                }
                for constraint in &create.constraints {
                    add_constraint(&mut table, constraint);
                }
                if !self.places.contains_key(&name) {
                    self.places.insert(name, self.all.len());
                    self.all.push(table);
                }
            }
            Statement::AlterTable(alter) => {
                let Some(table) = self.find(&alter.name) else { return };
                for operation in &alter.operations {
                    match operation {
                        AlterTableOperation::AddConstraint { constraint, .. } => {
                            add_constraint(table, constraint);
                        }
                        AlterTableOperation::AddColumn { column_def, .. } => add_column(table, column_def),
                        _ => {}
                    }
                }
            }
            Statement::CreateIndex(index) if index.unique && index.predicate.is_none() => {
                let columns: Option<Vec<String>> = index.columns.iter().map(indexed).collect();
                if let (Some(table), Some(columns)) = (self.find(&index.table_name), columns) {
                    table.unique.push(columns);
                }
            }
            _ => {}
        }
    }

    fn find(&mut self, name: &ObjectName) -> Option<&mut TableSeen> {
        let place = *self.places.get(&name_of(name)?)?;
        Some(&mut self.all[place])
    }

    /// The tables; a foreign key that names no columns means its parent's primary key.
    fn finish(mut self) -> Vec<TableSeen> {
        let keys: BTreeMap<String, Vec<String>> =
            self.all.iter().map(|table| (table.name.clone(), table.primary_key.clone())).collect();
        for table in &mut self.all {
            for reference in &mut table.references {
                if reference.parent_columns.is_empty() {
                    reference.parent_columns = keys.get(&reference.parent).cloned().unwrap_or_default();
                }
            }
            table.references.retain(|r| !r.columns.is_empty() && r.columns.len() == r.parent_columns.len());
            table.references.dedup();
            table.unique.dedup();
        }
        self.all
    }
}

fn add_column(table: &mut TableSeen, column: &ColumnDef) {
    let name = folded(&column.name);
    let mut seen = ColumnSeen {
        data_type: column.data_type.to_string().to_ascii_lowercase(),
        nullable: true,
        ..ColumnSeen::default()
    };
    for option in &column.options {
        match &option.option {
            ColumnOption::NotNull => seen.nullable = false,
            ColumnOption::PrimaryKey(_) => {
                seen.nullable = false;
                table.primary_key = vec![name.clone()];
            }
            ColumnOption::Unique(_) => table.unique.push(vec![name.clone()]),
            ColumnOption::ForeignKey(key) => add_reference(table, vec![name.clone()], key),
            _ => {}
        }
    }
    if table.columns.insert(name.clone(), seen).is_none() {
        table.order.push(name);
    }
}

fn add_constraint(table: &mut TableSeen, constraint: &TableConstraint) {
    match constraint {
        TableConstraint::PrimaryKey(key) => {
            let columns: Vec<String> = key.columns.iter().filter_map(indexed).collect();
            for column in &columns {
                if let Some(column) = table.columns.get_mut(column) {
                    column.nullable = false;
                }
            }
            table.primary_key = columns;
        }
        TableConstraint::Unique(key) => table.unique.push(key.columns.iter().filter_map(indexed).collect()),
        TableConstraint::ForeignKey(key) => {
            add_reference(table, key.columns.iter().map(folded).collect(), key);
        }
        _ => {}
    }
}

fn add_reference(table: &mut TableSeen, columns: Vec<String>, key: &ForeignKeyConstraint) {
    let Some(parent) = name_of(&key.foreign_table) else { return };
    let parent_columns = key.referred_columns.iter().map(folded).collect();
    table.references.push(ReferenceSeen { columns, parent, parent_columns });
}

fn indexed(column: &IndexColumn) -> Option<String> {
    match &column.column.expr {
        Expr::Identifier(name) => Some(folded(name)),
        _ => None,
    }
}
