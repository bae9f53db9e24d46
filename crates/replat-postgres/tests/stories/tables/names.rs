//! Names that must be quoted everywhere.

use replat_model::deploy::Phase;
use replat_model::ids::Side;

use crate::harness::{Scene, one_table, value};
use crate::moments::at_every_moment;

/// 63 bytes, of which the last two are one letter.
const LONG: &str = "a_name_that_is_as_long_as_a_name_can_be_and_has_a_letter_moreü";

/// The table, a column, and the names of everything else in one.
const NAMES: &[(&str, &str)] = &[
    ("it's \"quoted\"", "a \"column\""),
    ("Mixed Case", "Id"),
    ("select", "user"),
    ("replat", "replat"),
    (" trailing ", "trailing "),
    (LONG, LONG),
    ("日本語 🦀", "ñ"),
    ("percent %s %I $1 {x}", "$1"),
    ("a.b", "a.b"),
    ("back\\slash; -- drop", "\\"),
    ("excluded", "excluded"),
    ("t", "s"),
];

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn table((table, column): (&str, &str)) -> String {
    let short = |suffix: &str| {
        let room = 63 - suffix.len();
        let cut =
            (0..=room.min(table.len())).rev().find(|n| table.is_char_boundary(*n)).expect("zero is one");
        quoted(&format!("{}{suffix}", &table[..cut]))
    };
    format!(
        "create type {kind} as enum ('a', 'b'''); create domain {domain} as text;
         create sequence {sequence} start 1000;
         create table {name} (tenant_id bigint not null, {column} bigint not null default nextval('{sequence_text}'),
           \"{{}}\" {kind}, \"v0\" {domain}, \"c1\" text, \"E\" text generated always as (\"c1\" || {column}::text) stored,
           constraint {key} primary key (tenant_id, {column}));
         alter sequence {sequence} owned by {name}.{column};
         create unique index {index} on {name} (tenant_id, \"v0\");",
        name = quoted(table),
        column = quoted(column),
        kind = short("_k"),
        domain = short("_d"),
        sequence = short("_q"),
        sequence_text = short("_q").replace('\'', "''"),
        key = short("_p"),
        index = short("_i"),
    )
}

fn scene(names: (&'static str, &'static str)) -> Scene {
    let rows = format!(
        "insert into {} (tenant_id, {}, \"{{}}\", \"v0\", \"c1\")
         select t, n, 'b''', n, n from generate_series(1, 3) t, generate_series(1, 250) n",
        quoted(names.0),
        quoted(names.1)
    );
    one_table(names.0, &table(names), &rows)
}

fn changes(names: (&str, &str), k: i64) -> Vec<String> {
    let (table, column) = (quoted(names.0), quoted(names.1));
    let row = |n: i64| format!("tenant_id = 2 and {column} = {n}");
    vec![
        format!("update {table} set \"c1\" = 'new', \"{{}}\" = 'a' where {}", row(k)),
        format!("update {table} set {column} = {column} + 5000 where {}", row(k + 1)),
        format!("delete from {table} where {}", row(k + 2)),
        format!("insert into {table} (tenant_id, \"v0\") values (2, 'born {k}')"),
    ]
}

#[tokio::test]
async fn hostile_names_are_quoted_everywhere() {
    for names in NAMES {
        println!("{names:?}");
        at_every_moment(scene(*names), |k| changes(*names, k), true).await;
    }
}

#[tokio::test]
async fn a_hostile_schema_is_quoted_everywhere() {
    for schema in ["it's \"green\"", "Shop", LONG, "replat_green", "a.b "] {
        println!("{schema}");
        let story = Scene { schema, ..scene(NAMES[0]) }.begin().await;
        story.until_phase(Phase::Ready).await;
        story.settle().await;
        story.switch_to(Side::Green).await;
        story.assert_equal().await;
        let next =
            format!("nextval('{}.{}')", quoted(schema), quoted("it's \"quoted\"_q")).replace("it's", "it''s");
        assert!(value(&story.green, &next).await.parse::<i64>().expect("a number") > 1_000);
        story.switch_to(Side::Blue).await;
        story.assert_equal().await;
    }
}
