//! Rows of every type that a column can have, changed at random at every moment: what arrives is what was written, to
//! the letter and to the byte, on the way there and on the way back.
//!
//! Both databases say that values are written as nobody else writes them. Green has its columns in another order, other
//! dropped columns among them, and the labels of its enum in another order, too.

use replat_testkit::random::Random;

use crate::harness::{Scene, available, newest_major, one_table};
use crate::moments::at_every_moment;
use crate::values::{COLUMNS, Column, EXTENSIONS, literal, own_types};

/// Generated columns, each with the column that it is made of.
const GENERATED: &[(&str, &str)] = &[
    ("t", "int generated always as (coalesce(length(t), -1)) stored"),
    ("v", "text generated always as (upper(v) || '\"') stored"),
    ("n", "numeric generated always as (n * 2) stored"),
    ("jb", "text generated always as (jb ->> 'a') stored"),
    ("u", "text generated always as (u::text) stored"),
    ("ia", "text generated always as (array_dims(ia)) stored"),
];

/// What a value's text depends on, as a database may well say it.
const HOSTILE: &str = "do $$ begin
    execute format('alter database %I set datestyle = ''German''', current_database());
    execute format('alter database %I set intervalstyle = ''sql_standard''', current_database());
    execute format('alter database %I set timezone = ''Asia/Kathmandu''', current_database());
    execute format('alter database %I set bytea_output = ''escape''', current_database());
    execute format('alter database %I set extra_float_digits = -5', current_database());
    execute format('alter database %I set array_nulls = off', current_database());
    execute format('alter database %I set xmloption = ''document''', current_database());
    execute format('alter database %I set lc_monetary = ''C.utf8''', current_database());
    execute format('alter database %I set standard_conforming_strings = off', current_database());
  end $$;";

/// A column of a table, and whether it takes null.
struct Chosen {
    column: &'static Column,
    is_nullable: bool,
}

/// A table that follows from a seed.
struct Schema {
    columns: Vec<Chosen>,
    generated: Vec<&'static str>,
    extensions: Vec<String>,
    random: Random,
}

fn shuffled<T>(random: &mut Random, mut all: Vec<T>) -> Vec<T> {
    for n in (1..all.len()).rev() {
        all.swap(n, usize::try_from(random.below(n as u64 + 1)).expect("a place in the list"));
    }
    all
}

impl Schema {
    /// All columns, each of which takes null.
    fn whole(extensions: Vec<String>) -> Schema {
        let there = EXTENSIONS.iter().filter(|(name, ..)| extensions.iter().any(|e| e == name));
        let columns =
            COLUMNS.iter().chain(there).map(|column| Chosen { column, is_nullable: true }).collect();
        let generated = GENERATED.iter().map(|(_, definition)| *definition).collect();
        Schema { columns, generated, extensions, random: Random::new(20_26) }
    }

    /// From 18 on, no generated column may be in the identity, so full identity does without.
    async fn fit_for(mut self, identity: &str) -> Schema {
        if identity == "full" && newest_major().await >= 18 {
            self.generated.clear();
        }
        self
    }

    /// Some columns in any order.
    fn random(seed: u64, extensions: Vec<String>) -> Schema {
        let mut random = Random::new(seed);
        let whole = Schema::whole(extensions);
        let all = shuffled(&mut random, whole.columns);
        let some = 1 + usize::try_from(random.below(24)).expect("few columns");
        let columns: Vec<Chosen> =
            all.into_iter().take(some).map(|c| Chosen { is_nullable: random.below(3) > 0, ..c }).collect();
        let has = |name: &str| columns.iter().any(|c| c.column.0 == name);
        let generated =
            GENERATED.iter().filter(|(of, _)| has(of)).map(|(_, definition)| *definition).collect();
        Schema { columns, generated, extensions: whole.extensions, random }
    }

    /// The table, with its columns in an order of its own, and columns that were dropped between them.
    fn ddl(&mut self, moods: &str, identity: &str) -> String {
        let random = &mut self.random;
        let mut columns: Vec<String> = vec!["tenant_id bigint not null".into(), "id bigint not null".into()];
        columns.extend(self.columns.iter().map(|c| {
            let (name, kind, _) = c.column;
            format!("{name} {kind}{}", if c.is_nullable { "" } else { " not null" })
        }));
        columns.extend(self.generated.iter().enumerate().map(|(n, kind)| format!("g{n} {kind}")));
        let dropped = random.below(4);
        columns.extend((0..dropped).map(|n| format!("dropped_{n} text default 'gone'")));
        let columns = shuffled(random, columns).join(", ");
        let drops: String =
            (0..dropped).map(|n| format!("alter table things drop column dropped_{n};")).collect();
        format!(
            "{} create table things ({columns}, primary key (tenant_id, id)); {drops} \
             alter table things replica identity {identity};",
            own_types(moods)
        )
    }

    fn insert(&self, random: &mut Random, tenant: i64, id: i64) -> String {
        let names: Vec<&str> = self.columns.iter().map(|c| c.column.0).collect();
        let values: Vec<String> =
            self.columns.iter().map(|c| literal(random, c.column, c.is_nullable)).collect();
        format!(
            "insert into things (tenant_id, id, {}) values ({tenant}, {id}, {}) on conflict do nothing",
            names.join(", "),
            values.join(", ")
        )
    }

    fn change(&self, random: &mut Random) -> String {
        let id = 1 + i64::try_from(random.below(260)).expect("a small number");
        match random.below(10) {
            0 | 1 => self.insert(random, 2, id),
            2 => format!("delete from things where tenant_id = 2 and id = {id}"),
            3 => format!(
                "update things set id = {} where tenant_id = 2 and id = {id}",
                100_000 + i64::try_from(random.bits() >> 8).expect("56 bits")
            ),
            _ => {
                let mut sets = Vec::new();
                for _ in 0..=random.below(3) {
                    let n = usize::try_from(random.below(self.columns.len() as u64)).expect("few columns");
                    // A column is set once in a statement.
                    if !sets.iter().any(|(m, _)| *m == n) {
                        let Chosen { column, is_nullable } = &self.columns[n];
                        sets.push((n, format!("{} = {}", column.0, literal(random, column, *is_nullable))));
                    }
                }
                let sets: Vec<String> = sets.into_iter().map(|(_, set)| set).collect();
                format!("update things set {} where tenant_id = 2 and id = {id}", sets.join(", "))
            }
        }
    }

    /// Some transactions of one to six changes.
    fn changes(&self, k: i64) -> Vec<String> {
        let mut random = Random::new(u64::try_from(k).expect("moments are counted up"));
        (0..25)
            .map(|_| {
                let several: Vec<String> = (0..=random.below(6)).map(|_| self.change(&mut random)).collect();
                several.join("; ")
            })
            .collect()
    }

    fn scene(&mut self, identity: &str) -> Scene {
        let mut random = self.random.clone();
        let rows: Vec<String> =
            (1..=251).map(|id| self.insert(&mut random, if id > 250 { 1 } else { 2 }, id)).collect();
        let extensions: String =
            self.extensions.iter().map(|name| format!("create extension {name};")).collect();
        let blue = format!("{extensions} {}", self.ddl("'sad', 'o''k', 'HAPPY'", identity));
        Scene {
            ddl: self.ddl("'HAPPY', 'o''k', 'sad'", identity),
            green_before: format!("{HOSTILE} {extensions} create domain other_numbers as int;"),
            ..one_table("things", &blue, &format!("{}; {HOSTILE}", rows.join(";")))
        }
    }
}

async fn extensions() -> Vec<String> {
    let names: Vec<&str> = EXTENSIONS.iter().map(|(name, ..)| *name).collect();
    available(&names).await
}

async fn whole(identity: &str) {
    let mut schema = Schema::whole(extensions().await).fit_for(identity).await;
    let scene = schema.scene(identity);
    at_every_moment(scene, |k| schema.changes(k), true).await;
}

/// `REPLAT_STORY_SEED` puts another seed in the place of each.
async fn random(seed: u64, identity: &str) {
    let seed = std::env::var("REPLAT_STORY_SEED").map_or(seed, |seed| seed.parse().expect("a number"));
    println!("seed {seed} under {identity} identity");
    let mut schema = Schema::random(seed, extensions().await).fit_for(identity).await;
    let scene = schema.scene(identity);
    println!("{}\n{}", scene.blue, scene.ddl);
    at_every_moment(scene, |k| schema.changes(k), true).await;
}

#[tokio::test]
async fn rows_of_all_types_are_the_same_on_both_sides_under_the_default_identity() {
    whole("default").await;
}

#[tokio::test]
async fn rows_of_all_types_are_the_same_on_both_sides_under_full_identity() {
    whole("full").await;
}

#[tokio::test]
async fn random_schemas_keep_their_rows_under_the_default_identity() {
    for seed in 1..=4 {
        random(seed, "default").await;
    }
}

#[tokio::test]
async fn random_schemas_keep_their_rows_under_full_identity() {
    for seed in 11..=14 {
        random(seed, "full").await;
    }
}
