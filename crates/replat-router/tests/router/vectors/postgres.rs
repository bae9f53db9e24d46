//! PostgreSQL puts each key where the vectors say.

use replat_model::key::{KeyLiteral, KeyType};
use replat_model::map::{Dimension, Tree};
use replat_testkit::Server;

use super::placements::{Table, all};

fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Tables for a tree, partitioned as it is split; a leaf's table has its partition's name.
struct Ddl<'a> {
    dimensions: &'a [Dimension],
    statements: Vec<String>,
}

impl Ddl<'_> {
    fn of(table: &Table) -> Vec<String> {
        let mut ddl = Ddl { dimensions: &table.dimensions, statements: Vec::new() };
        let columns: Vec<String> = table.dimensions.iter().map(column).collect();
        let root = format!("CREATE TABLE root ({})", columns.join(", "));
        ddl.split("root", "", &root, &table.tree);
        ddl.statements
    }

    fn split(&mut self, table: &str, path: &str, create: &str, tree: &Tree) {
        let dimension = self.dimensions.iter().find(|d| d.column == tree.split).expect("a dimension");
        let value = |literal: &KeyLiteral| {
            let value = dimension.key_type.literal(literal).expect("a value");
            self::literal(&dimension.key_type.text_of(&value))
        };
        let (method, children): (&str, Vec<(String, String)>) = match (&tree.list, tree.hash, &tree.cuts) {
            (Some(list), ..) => {
                let listed = list.iter().map(|(name, values)| {
                    let values: Vec<String> = values.iter().map(value).collect();
                    (name.clone(), format!("FOR VALUES IN ({})", values.join(", ")))
                });
                let rest = (tree.rest.clone().unwrap_or("rest".into()), "DEFAULT".to_owned());
                ("LIST", listed.chain([rest]).collect())
            }
            (_, Some(modulus), _) => {
                let bucket = |remainder: u32| {
                    let bound = format!("FOR VALUES WITH (MODULUS {modulus}, REMAINDER {remainder})");
                    (format!("b{remainder}"), bound)
                };
                ("HASH", (0..modulus).map(bucket).collect())
            }
            (_, _, Some(cuts)) => {
                let cuts: Vec<String> = cuts.iter().map(value).collect();
                let low = std::iter::once("MINVALUE".to_owned()).chain(cuts.iter().cloned());
                let high = cuts.iter().cloned().chain(["MAXVALUE".to_owned()]);
                let range = |(n, (low, high)): (usize, (String, String))| {
                    let name = tree.names.as_ref().map_or(format!("r{n}"), |names| names[n].clone());
                    (name, format!("FOR VALUES FROM ({low}) TO ({high})"))
                };
                ("RANGE", low.zip(high).enumerate().map(range).collect())
            }
            _ => panic!("a split is by something"),
        };
        self.statements.push(format!("{create} PARTITION BY {method} ({})", ident(&tree.split)));
        for (name, bound) in children {
            let path = if path.is_empty() { name.clone() } else { format!("{path}_{name}") };
            let create = format!("CREATE TABLE {} PARTITION OF {} {bound}", ident(&path), ident(table));
            match tree.under.get(&name) {
                Some(under) => self.split(&path, &path, &create, under),
                None => self.statements.push(create),
            }
        }
    }
}

fn column(dimension: &Dimension) -> String {
    // The map orders text by its bytes.
    let collation = if dimension.key_type == KeyType::Text { " COLLATE \"C\"" } else { "" };
    format!("{} {}{collation}", ident(&dimension.column), dimension.key_type.postgres_name())
}

#[tokio::test]
async fn postgresql_puts_each_key_where_the_file_says() {
    let server = Server::start().await.expect("a server");
    server
        .execute(
            "postgres",
            "CREATE DATABASE utf8 ENCODING 'UTF8' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
        )
        .await
        .expect("a database");
    let client = server.client("utf8").await.expect("a session");
    client
        .batch_execute("SET TimeZone = 'America/New_York'; SET DateStyle = 'SQL, DMY'")
        .await
        .expect("settings that must not matter");
    let file = super::Vectors::read();
    let mut asked = 0;
    for table in all() {
        let placement = file.placements.iter().find(|p| p.name == table.name).expect(&table.name);
        client.batch_execute("DROP TABLE IF EXISTS root").await.expect("a clean place");
        for statement in Ddl::of(&table) {
            client.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
        for case in &placement.cases {
            let values: Vec<String> = case.text.iter().map(|text| literal(text)).collect();
            let insert =
                format!("INSERT INTO root VALUES ({}) RETURNING tableoid::regclass::text", values.join(", "));
            let row = client.query_one(&insert, &[]).await.unwrap_or_else(|e| panic!("{insert}: {e:?}"));
            let found: String = row.get(0);
            assert_eq!(found.trim_matches('"'), case.partition.as_str(), "{}: {insert}", table.name);
            asked += 1;
        }
    }
    assert!(asked > 200, "{asked} keys");
}
