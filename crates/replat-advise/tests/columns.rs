//! Vertical cuts: what statements do with columns is read from their texts, planted groups are found again, what does not pay
//! is left alone, and names, order and repetition change nothing.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{advised, folders, system};
use proptest::prelude::*;
use replat_advise::columns::{ColumnAdvice, TableColumns, columns};
use replat_advise::confidence::cap;
use replat_advise::evidence::{Source, Tier, read};
use replat_advise::report::{Subject, Wanted, report};
use replat_advise::sql::{Uses, analyse};
use replat_advise::system::System;

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

fn seen(sources: &[Source]) -> System {
    System::of(read(sources).expect("evidence").0).0
}

/// What is said of columns in the report.
fn told(system: &System) -> ColumnAdvice {
    let subject = Subject { system, sources: Vec::new(), hashed: false, notes: Vec::new() };
    report(subject, &Wanted::default()).columns
}

fn set(names: &str) -> BTreeSet<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn columns_are_told_apart_by_what_they_are_used_for() {
    let ddl = "create table t (id int primary key, a int, b int, c text, d text);
               create table o (id int primary key, t_id int references t, x int, y text)";
    let schema = seen(&[source("schema.sql", ddl)]).schema;
    // Of table t: what is read, what rows are chosen by, what is set, what is given to new rows.
    let all = "id a b c d";
    let rows: &[(&str, &str, &str, &str, &str)] = &[
        ("select * from t", all, "", "", ""),
        ("select t.* from t join o on o.t_id = t.id", all, "id", "", ""),
        ("select a, upper(c) from t where b = $1 order by d", "a c d", "b", "", ""),
        ("select a as n from t order by n", "a", "", "", ""),
        ("select count(*) from t where a between 1 and b", "", "a b", "", ""),
        ("select count(t.*) from t", all, "", "", ""),
        (
            "select count(*) filter (where a > 1), sum(b) over (partition by c order by d) from t",
            "a b c d",
            "",
            "",
            "",
        ),
        ("select c, max(a) from t group by c having min(b) > 1", "a c", "b", "", ""),
        ("select 1 from o where exists (select * from t where t.id = o.t_id and a = 1)", "", "id a", "", ""),
        ("select x from o where t_id in (select a from t where b is not null)", "", "a b", "", ""),
        ("select x, (select c from t where t.id = o.t_id) from o", "c", "id", "", ""),
        ("select s.a from (select * from t) s", "a", "", "", ""),
        ("with s as (select * from t where b = 1) select a from s where c like 'x%'", "a", "b c", "", ""),
        ("select distinct a, b from t", "a b", "", "", ""),
        ("select distinct on (a) b from t", "a b", "", "", ""),
        ("select a from t union all select b from t", "a b", "", "", ""),
        ("select a from t where (b, c) in (($1, $2))", "a", "b c", "", ""),
        ("select a from t where b = any($1) and c = any(array['x'])", "a", "b c", "", ""),
        ("select a from t where not (b = 1 or d ilike '%x')", "a", "b d", "", ""),
        ("select case when a > 1 then b else $1 end, coalesce(c, d) from t", "a b c d", "", "", ""),
        ("select extract(epoch from a), substring(c from 1 for b), trim(d) from t", "a b c d", "", "", ""),
        ("select a from t join o using (id)", "a", "id", "", ""),
        ("select to_json(t) from t where id = $1", all, "id", "", ""),
        ("select row_number() over w from t window w as (partition by a order by b)", "a b", "", "", ""),
        ("select a from t for update", "a", "", "", ""),
        ("update t set a = a + 1, b = $1 where id = $2", "a", "id", "a b", ""),
        ("update t set (a, b) = (select x, 1 from o where o.t_id = t.id)", "", "id", "a b", ""),
        ("update t set c = o.y from o where o.t_id = t.id returning t.d", "d", "id", "c", ""),
        ("update t set a = 1 where id = 1 returning *", all, "id", "a", ""),
        ("insert into t (id, a) values ($1, $2)", "", "", "", "id a"),
        ("insert into t values ($1, $2) returning c", "c", "", "", all),
        (
            "insert into t (id, a) values (1, 2) on conflict (id) do update set a = t.a + excluded.a, b = 1",
            "a",
            "id",
            "a b",
            "id a",
        ),
        ("insert into o (id, x) select id, a from t where b > 1", "id a", "b", "", ""),
        ("delete from t where a < $1 returning b", "b", "a", "", ""),
        ("delete from t using o where o.t_id = t.id and o.x = 1", "", "id", "", ""),
        ("copy t (a, b) to stdout", "a b", "", "", ""),
        ("copy t from stdin", "", "", "", all),
        (
            "merge into t using o on t.id = o.t_id when matched then update set a = o.x when not matched then insert (id, b) values (1, 2)",
            "",
            "id",
            "a",
            "id b",
        ),
    ];
    for (text, read, filter, sets, added) in rows {
        let found = analyse(text, &schema).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert!(!found.partly, "{text}");
        let mut got = Uses::default();
        for touch in found.touches.iter().filter(|touch| schema.table(touch.table).name == "t") {
            got.read.extend(touch.uses.read.clone());
            got.filter.extend(touch.uses.filter.clone());
            got.set.extend(touch.uses.set.clone());
            got.added.extend(touch.uses.added.clone());
        }
        let want = Uses { read: set(read), filter: set(filter), set: set(sets), added: set(added) };
        assert_eq!(got, want, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn only_columns_that_are_there_are_used(text in "(select|update t set a =|delete from t where|with s as \\(select) ?[abcdt*.,() =<$1']{0,30}( from t| from t s)?( where | order by | group by )?[abcdt., =1]{0,12}") {
        let schema = seen(&[source("schema.sql", "create table t (a int primary key, b int, c text)")]).schema;
        if let Ok(found) = analyse(&text, &schema) {
            for touch in &found.touches {
                let uses = &touch.uses;
                for column in uses.looked_at().chain(&uses.set).chain(&uses.added) {
                    prop_assert!(["a", "b", "c"].contains(&column.as_str()), "{}: {}", text, column);
                }
            }
        }
    }
}

/// Knuth's linear congruential generator; its upper bits are the good ones.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A table whose columns were put into groups, and statements that keep to them.
#[derive(Clone)]
struct Planted {
    table: String,
    key: String,
    /// Each group's columns with their types.
    groups: Vec<Vec<(String, &'static str)>>,
    /// Statements with their calls, with `{table}` and so on filled in.
    statements: Vec<(String, u64)>,
    rows: u64,
    row_bytes: u64,
}

impl Planted {
    /// Groups of random columns; of a hundred runs, so many go across groups, and so many make rows.
    fn random(seed: u64, groups: usize, across: u64, made: u64) -> Planted {
        let mut dice = Dice(seed);
        let types = ["bigint", "text", "uuid", "timestamptz", "varchar(80)", "integer"];
        let mut planted = Planted {
            table: "wide".to_owned(),
            key: "id".to_owned(),
            groups: Vec::new(),
            statements: Vec::new(),
            rows: 2_000_000,
            row_bytes: 900,
        };
        for group in 0..groups {
            let count = 4 + dice.below(5);
            let column = |n: u64, dice: &mut Dice| {
                let kind = types[usize::try_from(dice.below(types.len() as u64)).expect("small")];
                (format!("c{}_{group}_{n}", dice.below(1000)), kind)
            };
            let mut columns: Vec<(String, &str)> = (0..count).map(|n| column(n, &mut dice)).collect();
            // Each group has something that is worth leaving out.
            (columns[0].1, columns[1].1) = ("jsonb", "bigint");
            planted.groups.push(columns);
        }
        let mut calls = 0;
        for group in 0..groups {
            let names: Vec<String> = planted.groups[group].iter().map(|(name, _)| name.clone()).collect();
            for turn in 0..4 {
                // All but a narrow one, some times: nothing that would be worth a table of its own.
                let left_out = if turn == 0 { names.len() } else { 1 };
                let some: Vec<&str> = names
                    .iter()
                    .enumerate()
                    .filter(|(n, _)| *n != left_out)
                    .map(|(_, name)| name.as_str())
                    .collect();
                let often = 5_000 + dice.below(5_000);
                calls += often;
                let by = &some[0];
                let text = match turn {
                    3 => {
                        let set: Vec<String> = some.iter().map(|name| format!("{name} = $2")).collect();
                        format!("UPDATE wide SET {} WHERE id = $1", set.join(", "))
                    }
                    2 => format!(
                        "SELECT {} FROM wide WHERE id = $1 AND {by} IS NOT NULL",
                        some[1..].join(", ")
                    ),
                    _ => format!("SELECT {} FROM wide WHERE id = $1", some.join(", ")),
                };
                planted.statements.push((text, often));
            }
        }
        let all: Vec<&str> = planted.groups.iter().flatten().map(|(name, _)| name.as_str()).collect();
        let insert: Vec<String> = (1..=all.len() + 1).map(|n| format!("${n}")).collect();
        let insert = format!("INSERT INTO wide (id, {}) VALUES ({})", all.join(", "), insert.join(", "));
        planted.statements.push((insert, calls * made / 100));
        planted.statements.push(("SELECT * FROM wide WHERE id = $1".to_owned(), calls * across / 100));
        planted
    }

    fn system(&self) -> System {
        let mut ddl = format!("CREATE TABLE {} ({} bigint PRIMARY KEY", self.table, self.key);
        for (name, kind) in self.groups.iter().flatten() {
            ddl += &format!(", {name} {kind}");
        }
        ddl += ");";
        let mut csv = String::from("queryid,calls,rows,query\n");
        for (place, (text, calls)) in self.statements.iter().enumerate().filter(|(_, (_, calls))| *calls > 0)
        {
            csv += &format!("{place},{calls},{calls},\"{text}\"\n");
        }
        let stats =
            format!("{{\"{}\": {{\"rows\": {}, \"row_bytes\": {}}}}}", self.table, self.rows, self.row_bytes);
        seen(&[
            source("schema.sql", &ddl),
            source("pg_stat_statements.csv", &csv),
            source("stats.json", &stats),
        ])
    }

    /// The same under other names, its columns, statements and groups in another order.
    fn disguised(&self) -> Planted {
        let mut other = self.clone();
        other.table = "schmal".to_owned();
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        for (name, _) in self.groups.iter().flatten() {
            names.insert(name.clone(), format!("z{}", name.chars().rev().collect::<String>()));
        }
        other.groups.iter_mut().for_each(|group| {
            group.iter_mut().for_each(|(name, _)| *name = names[name.as_str()].clone());
            group.reverse();
        });
        other.groups.reverse();
        let renamed = |text: &str| {
            let word = |word: &str| match names.get(word) {
                Some(new) => new.clone(),
                None if word == "wide" => "schmal".to_owned(),
                None => word.to_owned(),
            };
            let mut out = String::new();
            let mut begin = 0;
            let mut is_word = false;
            for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
                let now = c.is_alphanumeric() || c == '_';
                if now != is_word {
                    let piece = &text[begin..at];
                    out += &if is_word { word(piece) } else { piece.to_owned() };
                    (begin, is_word) = (at, now);
                }
            }
            out + &text[begin..]
        };
        other.statements =
            self.statements.iter().rev().map(|(text, calls)| (renamed(text), *calls)).collect();
        other
    }

    fn wanted(&self) -> BTreeSet<BTreeSet<String>> {
        self.groups.iter().map(|group| group.iter().map(|(name, _)| name.clone()).collect()).collect()
    }
}

fn pieces(table: &TableColumns) -> BTreeSet<BTreeSet<String>> {
    let of = |split: &replat_advise::columns::Split| {
        let names =
            |piece: &replat_advise::columns::Piece| piece.columns.iter().map(|c| c.name.clone()).collect();
        split.pieces.iter().map(names).collect()
    };
    table.split.as_ref().map(of).unwrap_or_default()
}

#[test]
fn planted_groups_are_found_again_whatever_they_are_called() {
    for seed in 0..25 {
        for groups in [2, 3] {
            let planted = Planted::random(seed, groups, seed % 3, seed % 4);
            let system = planted.system();
            assert_eq!(system.tier, Tier::Statements);
            let found = told(&system);
            let table = &found.tables[0];
            assert_eq!(pieces(table), planted.wanted(), "seed {seed}, {groups} groups: {table:#?}");
            let split = table.split.as_ref().expect("a split");
            assert!(split.confidence > 0.1 && split.confidence <= cap(Tier::Statements), "{split:?}");
            assert!(split.saved.covers(split.saved.value) && split.saved.low > 0.0, "{:?}", split.saved);

            let other = planted.disguised();
            let back = told(&other.system());
            assert_eq!(pieces(&back.tables[0]), other.wanted(), "seed {seed}, {groups} groups, disguised");
            let mut doubled = planted.clone();
            doubled.statements.iter_mut().for_each(|(_, calls)| *calls *= 2);
            let again = told(&doubled.system());
            assert_eq!(pieces(&again.tables[0]), planted.wanted(), "seed {seed}, {groups} groups, doubled");
            let (once, twice) =
                (split.saved.value, again.tables[0].split.as_ref().expect("a split").saved.value);
            assert!((once - twice).abs() < 0.01, "{once} {twice}");
        }
    }
}

#[test]
fn what_does_not_pay_is_left_whole_and_said_why() {
    let with = |change: &dyn Fn(&mut Planted)| {
        let mut planted = Planted::random(3, 2, 1, 1);
        change(&mut planted);
        told(&planted.system())
    };
    let rows: Vec<(&str, ColumnAdvice, &str)> = vec![
        (
            "all statements read whole rows",
            with(&|planted| {
                planted.statements = vec![("SELECT * FROM wide WHERE id = $1".to_owned(), 9_000)]
            }),
            "every statement reads whole rows",
        ),
        (
            "one group",
            with(&|planted| {
                let one =
                    planted.groups[0].iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
                planted.groups.truncate(1);
                planted.groups[0].extend([("e".to_owned(), "text"), ("f".to_owned(), "text")]);
                planted.statements = vec![(format!("SELECT {one}, e, f FROM wide WHERE id = $1"), 9_000)];
            }),
            "every statement reads whole rows",
        ),
        (
            "half of the runs read whole rows",
            {
                let planted = Planted::random(3, 2, 100, 1);
                told(&planted.system())
            },
            "no split",
        ),
        (
            "rows are mostly made",
            {
                let planted = Planted::random(3, 2, 1, 300);
                told(&planted.system())
            },
            "no split",
        ),
        ("a small table", with(&|planted| planted.rows = 10_000), "in memory as a whole"),
        (
            "hardly used",
            with(&|planted| planted.statements.iter_mut().for_each(|(_, calls)| *calls = 1)),
            "hardly used",
        ),
    ];
    for (case, found, why) in rows {
        let table = found.tables.first().unwrap_or_else(|| panic!("{case}: nothing is said"));
        assert!(table.split.is_none(), "{case}: {table:#?}");
        assert!(table.kept.as_ref().is_some_and(|kept| kept.contains(why)), "{case}: {:?}", table.kept);
    }
    // Of narrow rows, and of tables of few columns, nothing is said.
    let narrow = with(&|planted| planted.row_bytes = 120);
    assert!(narrow.tables.is_empty(), "{narrow:#?}");
    let few = with(&|planted| {
        planted.groups =
            vec![vec![("a".to_owned(), "text"), ("b".to_owned(), "jsonb")], vec![("c".to_owned(), "text")]];
        planted.statements = vec![
            ("SELECT a FROM wide WHERE id = $1".to_owned(), 9_000),
            ("SELECT b, c FROM wide WHERE id = $1".to_owned(), 90),
        ];
    });
    assert!(few.tables.is_empty(), "a table of four columns is not split: {few:#?}");
}

const ACCOUNTS: &str = "CREATE TABLE accounts (id bigint PRIMARY KEY, email text NOT NULL, name text NOT NULL, address text,
    settings jsonb NOT NULL, bio text, photo bytea, logins bigint NOT NULL, last_seen timestamptz, note text);";

fn accounts(statements: &str, stats: &str) -> System {
    seen(&[
        source("schema.sql", ACCOUNTS),
        source("pg_stat_statements.csv", &format!("queryid,calls,rows,query\n{statements}")),
        source("stats.json", stats),
    ])
}

const LARGE: &str = r#"{"accounts": {"rows": 5000000, "row_bytes": 700}}"#;

#[test]
fn counters_go_apart_from_a_wide_rest_that_hardly_changes() {
    let system = accounts(
        "1,90000,90000,\"UPDATE accounts SET logins = logins + 1, last_seen = now() WHERE id = $1\"\n\
         2,9000,9000,\"SELECT email, name, address, settings, bio FROM accounts WHERE id = $1\"\n\
         3,100,100,\"INSERT INTO accounts (id, email, name, settings, logins) VALUES ($1, $2, $3, $4, 0)\"\n",
        LARGE,
    );
    let found = told(&system);
    let table = &found.tables[0];
    let split = table.split.as_ref().expect("a split");
    let names =
        |place: usize| split.pieces[place].columns.iter().map(|c| c.name.as_str()).collect::<BTreeSet<_>>();
    assert_eq!(names(0), BTreeSet::from(["last_seen", "logins"]));
    assert_eq!(split.pieces[0].table, "accounts");
    assert_eq!(split.pieces[1].table, "accounts_more");
    assert!(split.bytes.written.1 < 0.2 * split.bytes.written.0, "{:?}", split.bytes);
    assert!(
        split.because.iter().any(|why| why.contains("of the updates set last_seen, logins alone")),
        "{split:#?}"
    );
    assert!(split.joins.is_empty(), "{:?}", split.joins);
    assert_eq!(split.nullable_first, ["email", "name", "settings"]);
    // Nobody looked at these; the photo is among what new rows are given nothing for.
    assert_eq!(found.cold.len(), 1);
    assert_eq!(found.cold[0].columns, ["note", "photo"]);
}

#[test]
fn a_wide_column_that_is_seldom_read_goes_apart_unless_it_lies_out_of_line() {
    let statements = "1,50000,50000,\"SELECT email, name, address, settings, logins, last_seen FROM accounts WHERE id = $1\"\n\
                      2,300,300,\"SELECT bio, photo, note FROM accounts WHERE id = $1\"\n\
                      3,20,20,\"SELECT * FROM accounts WHERE id = $1\"\n";
    let found = told(&accounts(statements, LARGE));
    let split = found.tables[0].split.as_ref().expect("a split");
    let apart: Vec<&str> = split.pieces[1].columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(apart, ["bio", "note", "photo"]);
    assert_eq!(
        split.joins.len(),
        0,
        "what has less than a thousandth of the runs is not named: {:?}",
        split.joins
    );
    assert!(split.because.iter().any(|why| why.contains("of the runs need them")), "{split:#?}");
    // The same with values that the server keeps out of line anyway.
    let mut system = accounts(statements, LARGE);
    let widths = [
        ("email", 24),
        ("name", 20),
        ("address", 60),
        ("settings", 120),
        ("bio", 0),
        ("photo", 18),
        ("note", 1),
    ];
    let table = &mut system.schema.tables[0];
    table.column_bytes = widths.map(|(name, bytes)| (name.to_owned(), bytes)).into();
    let found = told(&system);
    assert!(found.tables[0].split.is_none(), "{found:#?}");
}

#[test]
fn groups_of_different_contexts_are_told_with_them() {
    let ddl = "CREATE TABLE users (id bigint PRIMARY KEY, email text, name text, avatar text, about text, vat text, street text,
                   city text, terms text);
               CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint NOT NULL, text text);
               CREATE TABLE invoices (id bigint PRIMARY KEY, user_id bigint NOT NULL, total bigint);";
    let kinds = [
        (
            "profile",
            "SELECT email, name, avatar, about FROM users WHERE id = $1",
            "INSERT INTO posts (id, user_id, text) VALUES ($2, $1, $3)",
        ),
        (
            "billing",
            "SELECT vat, street, city, terms FROM users WHERE id = $1",
            "INSERT INTO invoices (id, user_id, total) VALUES ($2, $1, $3)",
        ),
    ];
    let mut log = String::new();
    for n in 0..400_u64 {
        let (_, read, write) = kinds[usize::from(n % 5 == 0)];
        for (place, text) in [read, write].iter().enumerate() {
            let at = n as f64 + place as f64 / 10.0;
            log += &format!(
                "{{\"timestamp\":{at},\"pid\":7,\"vxid\":\"1/{n}\",\"txid\":{n},\"query_id\":{},\"message\":\"execute: {text}\",\
                 \"detail\":\"parameters: $1 = '{}', $2 = '{n}', $3 = '5'\"}}\n",
                10 * u64::from(n % 5 == 0) + place as u64,
                n % 50
            );
        }
    }
    let stats = r#"{"users": {"rows": 5000000, "row_bytes": 800}}"#;
    let system = seen(&[source("schema.sql", ddl), source("log.jsonl", &log), source("stats.json", stats)]);
    assert_eq!(system.tier, Tier::Sample);
    let found = told(&system);
    let split = found.tables[0].split.as_ref().expect("a split");
    let with: Vec<&str> = split.pieces.iter().map(|piece| piece.used_with[0].0.as_str()).collect();
    assert_eq!(with, ["posts", "invoices"], "{split:#?}");
    let contexts: Vec<&[String]> = split.pieces.iter().map(|piece| piece.context.as_slice()).collect();
    assert_eq!(contexts, [["posts"], ["invoices"]], "{split:#?}");
    assert_eq!(split.writes_several, Some(0.0));
    assert!(split.because.iter().any(|why| why.contains("different contexts")), "{:?}", split.because);
    assert!(split.confidence <= cap(Tier::Sample));
}

#[test]
fn the_public_workloads_have_nothing_foolish_said_of_them() {
    let mut split = 0;
    for folder in folders() {
        let system = system(&folder);
        let advice = advised(&system);
        let found = columns(&system, advice.design.as_ref());
        for table in &found.tables {
            println!("{}: {} {:?} {:?}", folder.display(), table.table, table.kept, pieces(table));
            assert!(table.columns > 6 && table.row_bytes >= 160.0, "{table:#?}");
            assert!(table.split.is_some() != table.kept.is_some());
            let Some(one) = &table.split else { continue };
            split += 1;
            let described = system.schema.table(system.schema.find(&table.table).expect("the table"));
            // Every column is in one piece, or in all.
            let mut columns: Vec<&String> = one.carried.iter().map(|column| &column.name).collect();
            columns
                .extend(one.pieces.iter().flat_map(|piece| piece.columns.iter().map(|column| &column.name)));
            columns.sort();
            assert_eq!(columns, described.columns.keys().collect::<Vec<_>>());
            assert!(
                described.primary_key.iter().all(|key| one.carried.iter().any(|column| column.name == *key))
            );
            assert!(one.saved.value >= 0.15 && one.saved.low > 0.0 && one.confidence <= cap(Tier::Trace));
        }
        for cold in &found.cold {
            let described = system.schema.table(system.schema.find(&cold.table).expect("the table"));
            assert!(cold.columns.iter().all(|column| !described.primary_key.contains(column)), "{cold:?}");
        }
    }
    println!("{split} tables are split");
}

#[test]
fn updates_of_the_log_are_those_of_the_statements_that_were_counted() {
    let wal: String = (0..300)
        .map(|n| {
            format!(
                "{{\"xid\":{n},\"a\":\"B\",\"t\":{n}.0}}\n{{\"xid\":{n},\"a\":\"U\",\"table\":\"accounts\",\"cols\":{{\"id\":{}}}}}\n\
                 {{\"xid\":{n},\"a\":\"C\",\"t\":{n}.0}}\n",
                n % 40
            )
        })
        .collect();
    let with = |statements: &str| {
        let csv = format!("queryid,calls,rows,query\n{statements}");
        let system = seen(&[
            source("schema.sql", ACCOUNTS),
            source("pg_stat_statements.csv", &csv),
            source("wal.jsonl", &wal),
            source("stats.json", LARGE),
        ]);
        assert_eq!(system.tier, Tier::Writes);
        told(&system)
    };
    let reads = "2,60,60,\"SELECT email, name, address, settings, bio FROM accounts WHERE id = $1\"\n";
    let counted =
        with(&format!("1,300,300,\"UPDATE accounts SET logins = logins + 1 WHERE id = $1\"\n{reads}"));
    let split = counted.tables[0].split.as_ref().expect("a split");
    assert!(split.pieces[0].columns.iter().any(|column| column.name == "logins"), "{split:#?}");
    assert!(split.confidence <= cap(Tier::Writes));
    // Without the statement nobody knows what is set, so it may be anything.
    let unknown = with(reads);
    assert!(unknown.tables[0].split.is_none(), "{unknown:#?}");
    assert!(unknown.cold.is_empty());
}
