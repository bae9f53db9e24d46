//! SQL for what advice asks to be done before a deployment; for people to read and run, never run from here.

use replat_advise::columns::{Split, bare};
use replat_advise::derived::{NewColumn, Step};

use crate::sql::quote_ident;

/// A table by its name, which has its schema before a dot unless that is `public`.
fn table(name: &str) -> String {
    match name.split_once('.') {
        Some((schema, table)) => format!("{}.{}", quote_ident(schema), quote_ident(table)),
        None => quote_ident(name),
    }
}

/// One line, whatever is in it: a name may hold the end of a line, and with it the end of a comment.
fn comment(text: &str) -> String {
    format!("-- {}\n", text.replace(['\n', '\r'], " "))
}

/// A function's body between tags that are not in it.
fn body(statements: &str) -> String {
    let mut tag = "$$".to_owned();
    while statements.contains(&tag) {
        tag.insert(1, '_');
    }
    format!("{tag}\nBEGIN\n    {statements}\nEND {tag}")
}

/// The steps to a column that a table has not got yet: added, kept up by a trigger, filled, proved, made NOT NULL.
pub fn new_column(new: &NewColumn) -> String {
    let (own, column) = (table(&new.table), quote_ident(&new.column));
    let data_type = new.data_type.as_deref().map_or("/* the type of the key */".to_owned(), type_name);
    let filler = quote_ident(&format!("{}_{}_fill", new.table.replace('.', "_"), new.column));
    let follower = quote_ident(&format!("{}_{}_follow", new.table.replace('.', "_"), new.column));
    let mut sql = String::new();
    for step in &new.steps {
        sql += &match step {
            Step::Add => format!(
                "{}ALTER TABLE {own} ADD COLUMN IF NOT EXISTS {column} {data_type};\n",
                comment(&format!("{}: it gets the key", new.table))
            ),
            Step::Keep { by, parent, parent_key, value } => {
                let (value, parent, key) = (quote_ident(value), table(parent), quote_ident(parent_key));
                let by = quote_ident(by);
                let fill = body(&format!(
                    "SELECT p.{value} INTO NEW.{column} FROM {parent} p WHERE p.{key} = NEW.{by};\n    RETURN NEW;"
                ));
                let follow = body(&format!(
                    "UPDATE {own} SET {column} = NEW.{value} WHERE {by} = NEW.{key};\n    RETURN NULL;"
                ));
                format!(
                    "-- new rows get it, whatever the application writes\n\
                     CREATE OR REPLACE FUNCTION {filler}() RETURNS trigger LANGUAGE plpgsql AS {fill};\n\
                     CREATE OR REPLACE TRIGGER {filler} BEFORE INSERT OR UPDATE OF {by} ON {own}\n    \
                     FOR EACH ROW EXECUTE FUNCTION {filler}();\n\
                     -- and follow the row that they refer to\n\
                     CREATE OR REPLACE FUNCTION {follower}() RETURNS trigger LANGUAGE plpgsql AS {follow};\n\
                     CREATE OR REPLACE TRIGGER {follower} AFTER UPDATE OF {value} ON {parent}\n    \
                     FOR EACH ROW WHEN (OLD.{value} IS DISTINCT FROM NEW.{value}) EXECUTE FUNCTION {follower}();\n"
                )
            }
            Step::BackFill { ranges_of, by, parent, parent_key, value } => {
                let range = match &ranges_of[..] {
                    [] => String::new(),
                    columns => {
                        let columns: Vec<String> =
                            columns.iter().map(|column| format!("t.{}", quote_ident(column))).collect();
                        format!("\n    AND ({}) BETWEEN (:from) AND (:to)", columns.join(", "))
                    }
                };
                format!(
                    "-- old rows get it, a range of keys at a time\nUPDATE {own} t SET {column} = p.{value} FROM {parent} p\n    \
                     WHERE p.{key} = t.{by} AND t.{column} IS NULL{range};\n",
                    value = quote_ident(value),
                    parent = table(parent),
                    key = quote_ident(parent_key),
                    by = quote_ident(by),
                )
            }
            Step::Verify { by, parent, parent_key, value } => format!(
                "-- this must find nothing\nSELECT count(*) FROM {own} t LEFT JOIN {parent} p ON p.{key} = t.{by}\n    \
                 WHERE t.{column} IS DISTINCT FROM p.{value};\n",
                value = quote_ident(value),
                parent = table(parent),
                key = quote_ident(parent_key),
                by = quote_ident(by),
            ),
            Step::NotNull => format!("ALTER TABLE {own} ALTER COLUMN {column} SET NOT NULL;\n"),
        };
    }
    sql
}

/// The tables that one table becomes, as a rollout's DDL: names are without a schema, since the search path says it. What
/// evidence does not know of a table is named, and has to be added by hand.
pub fn split_tables(split: &Split) -> String {
    let own = |name: &str| quote_ident(bare(name));
    let list =
        |columns: &[String]| columns.iter().map(|name| quote_ident(name)).collect::<Vec<_>>().join(", ");
    let main = own(&split.pieces[0].table);
    let mut sql = "-- Made from evidence, which does not know defaults, checks, indexes, triggers and rights: add them.\n".to_owned();
    for (place, piece) in split.pieces.iter().enumerate() {
        let mut lines: Vec<String> = split
            .carried
            .iter()
            .chain(&piece.columns)
            .map(|column| {
                let required = if column.required { " NOT NULL" } else { "" };
                format!("{} {}{required}", quote_ident(&column.name), type_name(&column.data_type))
            })
            .collect();
        lines.push(format!("PRIMARY KEY ({})", list(&split.key)));
        lines.extend(piece.unique.iter().map(|key| format!("UNIQUE ({})", list(key))));
        if place > 0 {
            lines.push(format!(
                "FOREIGN KEY ({}) REFERENCES {main} ON UPDATE CASCADE ON DELETE CASCADE",
                list(&split.key)
            ));
        }
        sql += &format!("CREATE TABLE {} (\n    {}\n);\n", own(&piece.table), lines.join(",\n    "));
        for (columns, parent, parent_columns) in &piece.references {
            let key = format!(
                "ALTER TABLE {} ADD FOREIGN KEY ({}) REFERENCES {} ({});",
                own(&piece.table),
                list(columns),
                own(parent),
                list(parent_columns)
            );
            sql += "-- where its parent is in this schema as well:\n";
            sql += &comment(&key);
        }
    }
    sql
}

/// What has to be done to the table as it is before it can become several: a deployment makes the row of the main table first
/// when it brings rows back, and the others fill their columns in.
pub fn before_split(name: &str, split: &Split) -> String {
    let alter = |column: &String| {
        format!("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL;\n", table(name), quote_ident(column))
    };
    split.nullable_first.iter().map(alter).collect()
}

/// A type as the catalogue writes it. What could be anything else than a type's name is not written.
fn type_name(data_type: &str) -> String {
    let fits =
        |c: char| c.is_alphanumeric() || matches!(c, '_' | ' ' | '(' | ')' | ',' | '.' | '[' | ']' | '"');
    match !data_type.trim().is_empty() && data_type.chars().all(fits) {
        true => data_type.trim().to_owned(),
        false => "/* a type that the evidence does not tell */ text".to_owned(),
    }
}
