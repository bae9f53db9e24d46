//! Systems of other kinds: what only ranges keep together, what nothing spreads, keys that are too hot, tables on their
//! own; and evidence that is too little, or oddly written.

use replat_advise::advise::{Advice, PartitionsBy, Verdict, Wish, advise_on};
use replat_advise::design::{Cut, Placement};
use replat_advise::evidence::{Source, read};
use replat_advise::lookups::Remedy;
use replat_advise::system::System;
use serde_json::{Map, Value, json};

/// A small generator of numbers, whose seed is fixed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 >> 11).expect("53 bits") % n
    }

    fn is(&mut self, percent: i64) -> bool {
        self.below(100) < percent
    }
}

/// A table: its name, its key columns with the primary key first, and how many rows it has.
type Table<'a> = (&'a str, &'a [&'a str], u64);

/// What a transaction does with a table: reads (`r`; `s` if by bounds), adds (`i`) or changes (`u`) these rows, found by this
/// column.
type Access<'a> = (&'a str, char, &'a str, Vec<Vec<i64>>);

/// The files of a system in which this was seen.
fn files(partitions: u64, tables: &[Table<'_>], seen: &[Vec<Access<'_>>]) -> Vec<Source> {
    let columns = |keys: &[&str]| -> Map<String, Value> {
        keys.iter().map(|key| ((*key).to_owned(), json!("BIGINT"))).collect()
    };
    // A column that is called as another table's primary key refers to that.
    let refers = |keys: &[&str]| -> Vec<Value> {
        let parents = tables.iter().filter(|(_, parent, _)| keys[1..].contains(&parent[0]));
        parents.map(|(name, parent, _)| json!([[parent[0]], name, [parent[0]]])).collect()
    };
    let described = |(name, keys, _): &Table<'_>| {
        let table =
            json!({ "pk": [keys[0]], "fks": refers(keys), "columns": columns(keys), "key_columns": keys });
        ((*name).to_owned(), table)
    };
    let mut statements: Vec<(&str, char, &str)> = Vec::new();
    let mut lines = String::new();
    for (number, accesses) in seen.iter().enumerate() {
        let mut ran = Vec::new();
        for (table, op, by, rows) in accesses {
            let known = statements.iter().position(|known| known == &(*table, *op, *by));
            let statement = known.unwrap_or_else(|| {
                statements.push((*table, *op, *by));
                statements.len() - 1
            });
            ran.push(json!([statement, [], [rows]]));
        }
        let kind: String = accesses.iter().map(|(table, op, ..)| format!("{op}{table} ")).collect();
        lines += &json!({ "t": number as f64 / 100.0, "x": kind.trim(), "c": 1, "s": ran }).to_string();
        lines.push('\n');
    }
    let statements: Vec<Value> = statements
        .iter()
        .enumerate()
        .map(|(id, (table, op, by))| {
            let sql = match op {
                's' => format!("SELECT * FROM {table} WHERE {by} >= $1 AND {by} < $2"),
                'r' => format!("SELECT * FROM {table} WHERE {by} = $1"),
                'u' => format!("UPDATE {table} SET note = $2 WHERE {by} = $1"),
                _ => format!("INSERT INTO {table} ({by}) VALUES ($1)"),
            };
            let (equal, range) = match op {
                's' => (json!({}), json!({ *by: [1, 2] })),
                _ => (json!({ *by: 1 }), json!({})),
            };
            let op = op.to_string().replace('s', "r");
            let touch = json!([{ "table": table, "op": op, "eq": equal, "in": {}, "range": range }]);
            json!({ "id": id, "name": format!("s{id}"), "sql": sql, "op": op, "touch": touch, "joins": [] })
        })
        .collect();
    let tables_described: Map<String, Value> = tables.iter().map(described).collect();
    let workload = json!({
        "format": "advisor-workload/1", "name": "of another kind", "partitions": partitions,
        "tables": tables_described, "statements": statements, "transactions": [],
    });
    let size = |(name, _, rows): &Table<'_>| ((*name).to_owned(), json!({ "rows": rows, "row_bytes": 100 }));
    let stats: Map<String, Value> = tables.iter().map(size).collect();
    let file = |name: &str, text: String| Source { name: name.to_owned(), text };
    vec![
        file("workload.json", workload.to_string()),
        file("trace.jsonl", lines),
        file("stats.json", Value::Object(stats).to_string()),
    ]
}

fn advice(files: &[Source]) -> Advice {
    let (system, _) = System::of(read(files).expect("evidence").0);
    advise_on(&system, &Wish::default())
}

fn is_in_ranges(advice: &Advice, table: &str) -> bool {
    match &advice.design.as_ref().expect("a design").tables[table] {
        Placement::Partition { levels } => matches!(levels[0].cut, Cut::Range { .. }),
        _ => false,
    }
}

#[test]
fn what_only_neighbours_need_is_kept_together_by_ranges() {
    let stretch = |from: i64, length: i64| (from..from + length).map(|key| vec![key]).collect::<Vec<_>>();
    let mut dice = Dice(0x0e1d);
    let anywhere: Vec<Vec<Access<'_>>> = (0..2_500)
        .map(|_| vec![("readings", 's', "place", stretch(dice.below(100_000), 1 + dice.below(12)))])
        .collect();
    let found = advice(&files(16, &[("readings", &["place"], 100_000)], &anywhere));
    assert_eq!(found.verdict, Verdict::Partition);
    let metrics = found.metrics.as_ref().expect("they were measured");
    assert!(is_in_ranges(&found, "readings") && metrics.cross_partition_share < 0.02, "{metrics:?}");
    assert!(metrics.load_max_over_mean < 1.3, "{metrics:?}");
    assert!(found.unrouted.iter().all(|one| one.remedy == Remedy::AskSome), "{:?}", found.unrouted);

    // Where keys grow with time, ranges of yesterday's keys would have today's load in one.
    let newest: Vec<Vec<Access<'_>>> = (0..2_500)
        .map(|now| vec![("readings", 's', "place", stretch(40 * now + dice.below(30), 1 + dice.below(12)))])
        .collect();
    let found = advice(&files(16, &[("readings", &["place"], 100_000)], &newest));
    assert!(!is_in_ranges(&found, "readings"), "{:?}", found.design);
}

#[test]
fn what_is_left_in_one_place_is_not_called_partitioned() {
    let mut dice = Dice(0xf0110);
    let friends: Vec<Vec<i64>> = (0..400).map(|_| (0..6).map(|_| dice.below(400)).collect()).collect();
    let mut seen: Vec<Vec<Access<'_>>> = Vec::new();
    for _ in 0..2_500 {
        let user = dice.below(400);
        let of_user = &friends[usize::try_from(user).expect("a user")];
        seen.push(if dice.is(10) {
            vec![("sessions", 'u', "user_id", vec![vec![user]])]
        } else if dice.is(50) {
            let follows = of_user.iter().map(|other| vec![user * 400 + other, user, *other]).collect();
            let posts = of_user.iter().take(4).map(|other| vec![*other * 10, *other]).collect();
            vec![("follows", 'r', "user_id", follows), ("posts", 'r', "user_id", posts)]
        } else {
            vec![("posts", 'i', "post_id", vec![vec![1_000_000 + dice.below(1_000_000), user]])]
        });
    }
    let tables: [Table<'_>; 3] = [
        ("sessions", &["user_id"], 400),
        ("follows", &["follow_id", "user_id", "other_id"], 20_000),
        ("posts", &["post_id", "user_id"], 900_000),
    ];
    let found = advice(&files(4, &tables, &seen));
    let metrics = found.metrics.as_ref().expect("they were measured");
    assert!(metrics.load_max_over_mean < 2.0, "{:?} {metrics:?}", found.design);
}

#[test]
fn a_key_that_is_too_hot_is_spread_evenly_by_the_few_keys_below_it() {
    let mut dice = Dice(0x4077);
    let mut seen: Vec<Vec<Access<'_>>> = Vec::new();
    for number in 0..4_000 {
        let tenant = if dice.is(40) { 7 } else { 10 + dice.below(150) };
        let project = tenant * 100 + dice.below(12);
        let task = |n: i64| vec![project * 1_000 + n, project, tenant];
        seen.push(match dice.below(10) {
            0 => vec![("tenants", 'r', "tenant_id", vec![vec![tenant]])],
            1 => vec![
                ("people", 'u', "person_id", vec![vec![tenant * 1_000 + dice.below(60), tenant]]),
                ("notes", 'i', "note_id", vec![vec![number, project, tenant]]),
            ],
            2..=5 => vec![("tasks", 'r', "project_id", (0..4).map(task).collect())],
            _ => vec![
                ("tasks", 'u', "task_id", vec![task(dice.below(4))]),
                ("notes", 'i', "note_id", vec![vec![number, project, tenant]]),
            ],
        });
    }
    let tables: [Table<'_>; 4] = [
        ("tenants", &["tenant_id"], 150),
        ("people", &["person_id", "tenant_id"], 9_000),
        ("tasks", &["task_id", "project_id", "tenant_id"], 90_000),
        ("notes", &["note_id", "project_id", "tenant_id"], 900_000),
    ];
    let found = advice(&files(16, &tables, &seen));
    let metrics = found.metrics.as_ref().expect("they were measured");
    assert!(metrics.load_max_over_mean < 1.3 && metrics.cross_partition_share < 0.05, "{metrics:?}");
    let unstable =
        |table: &&replat_advise::advise::TableAdvice| table.stability.is_some_and(|share| share < 0.5);
    assert!(!found.tables.iter().any(|table| unstable(&table)), "{:#?}", found.tables);
}

#[test]
fn a_table_that_is_used_alone_is_a_context_of_its_own() {
    let mut dice = Dice(0xa10e);
    let mut seen: Vec<Vec<Access<'_>>> = Vec::new();
    for _ in 0..2_000 {
        let id = dice.below(500);
        let one = || vec![vec![id]];
        seen.push(match dice.below(10) {
            0..=4 => {
                let mut both = vec![("orders", 'u', "order_id", one()), ("lines", 'u', "line_id", one())];
                if dice.is(10) {
                    both.push(("rates", 'u', "rate_id", vec![vec![dice.below(500)]]));
                }
                both
            }
            _ => vec![("rates", 'u', "rate_id", one())],
        });
    }
    let tables: [Table<'_>; 3] =
        [("orders", &["order_id"], 500), ("lines", &["line_id"], 500), ("rates", &["rate_id"], 500)];
    let contexts = advice(&files(4, &tables, &seen)).contexts.groups;
    assert_eq!(contexts.len(), 2, "{contexts:?}");
    assert!(contexts.contains(&vec!["rates".to_owned()]), "{contexts:?}");
}

#[test]
fn what_some_read_and_others_change_is_needed_by_many_and_yet_not_cross_cutting() {
    const PAIRS: [[&str; 2]; 5] = [
        ["orders", "lines"],
        ["carts", "wishes"],
        ["parcels", "stops"],
        ["bills", "dues"],
        ["calls", "notes"],
    ];
    let mut dice = Dice(0xacc0);
    let mut seen: Vec<Vec<Access<'_>>> = Vec::new();
    for _ in 0..2_000 {
        let id = dice.below(500);
        let one = || vec![vec![id]];
        let mut accesses: Vec<Access<'_>> = Vec::new();
        for table in PAIRS[usize::try_from(dice.below(5)).expect("one of five")] {
            accesses.push((table, 'u', "id", one()));
        }
        if dice.is(70) {
            accesses.push(("accounts", if dice.is(40) { 'u' } else { 'r' }, "id", one()));
        }
        if dice.is(70) {
            accesses.push(("trail", 'i', "id", vec![vec![dice.below(1 << 40)]]));
        }
        if dice.is(70) {
            accesses.push(("countries", 'r', "id", vec![vec![dice.below(200)]]));
        }
        seen.push(accesses);
    }
    let names = PAIRS.iter().flatten().chain(&["accounts", "trail", "countries"]);
    let tables: Vec<Table<'_>> = names.map(|name| (*name, &["id"] as &[&str], 500)).collect();
    let contexts = advice(&files(4, &tables, &seen)).contexts;
    assert_eq!(contexts.cross_cutting, ["countries", "trail"], "{contexts:#?}");
    assert_eq!(contexts.groups.iter().filter(|group| group.contains(&"accounts".to_owned())).count(), 1);
}

#[test]
fn an_outbox_and_an_audit_trail_bind_nothing_though_they_are_bound_to_each_other() {
    const PAIRS: [[&str; 2]; 4] =
        [["orders", "lines"], ["carts", "wishes"], ["parcels", "stops"], ["bills", "dues"]];
    let mut dice = Dice(0x07b0);
    let mut seen: Vec<Vec<Access<'_>>> = Vec::new();
    for _ in 0..2_000 {
        let [head, tail] = PAIRS[usize::try_from(dice.below(4)).expect("one of four")];
        let one = vec![vec![dice.below(500)]];
        let new = |dice: &mut Dice| vec![vec![dice.below(1 << 40)]];
        seen.push(match dice.below(4) {
            0 => vec![(head, 'u', "id", one.clone()), (tail, 'u', "id", one)],
            _ => vec![
                (head, 'u', "id", one),
                ("outbox", 'i', "id", new(&mut dice)),
                ("audit", 'i', "id", new(&mut dice)),
            ],
        });
    }
    let names = PAIRS.iter().flatten().chain(&["outbox", "audit"]);
    let tables: Vec<Table<'_>> = names.map(|name| (*name, &["id"] as &[&str], 500)).collect();
    let contexts = advice(&files(4, &tables, &seen)).contexts;
    assert_eq!(contexts.cross_cutting, ["audit", "outbox"], "{contexts:#?}");
    assert_eq!(contexts.groups.len(), 4, "{contexts:#?}");
}

/// Purchases that are read by themselves and written now and then.
fn purchases(transactions: usize) -> Vec<Vec<Access<'static>>> {
    let mut dice = Dice(0xb07);
    let one = |id| vec![vec![id]];
    let read_or_add = |_| vec![("purchases", if dice.is(5) { 'i' } else { 'r' }, "id", one(dice.below(900)))];
    (0..transactions).map(read_or_add).collect()
}

#[test]
fn of_few_transactions_nothing_is_said_and_of_counters_nothing_is_refused() {
    let tables: [Table<'_>; 1] = [("purchases", &["id"], 900)];
    for (count, is_enough) in [(1, false), (19, false), (20, true), (400, true)] {
        let found = advice(&files(4, &tables, &purchases(count)));
        let is_silent = matches!(found.verdict, Verdict::NotEnoughEvidence { .. });
        assert_eq!(is_silent, !is_enough, "{count}: {:?}", found.verdict);
    }
    // Without sizes, copies in every partition seem to cost nothing; that is no reason not to partition.
    let mut dice = Dice(0x517e5);
    let trip = |driver: i64, rider: i64| vec![driver * 1_000 + rider, driver, rider];
    let trips: Vec<Vec<Access<'_>>> = (0..1_000)
        .map(|_| {
            let (own, others) = (dice.below(400), dice.below(390));
            vec![match dice.below(10) {
                0 => ("trips", 'i', "trip_id", vec![trip(own, others)]),
                1..=5 => ("trips", 'r', "driver_id", (0..3).map(|n| trip(own, others + n)).collect()),
                _ => ("trips", 'r', "rider_id", (0..3).map(|n| trip(others + n, own)).collect()),
            }]
        })
        .collect();
    let of_trips: [Table<'_>; 1] = [("trips", &["trip_id", "driver_id", "rider_id"], 90_000)];
    let without_sizes = &files(4, &of_trips, &trips)[..2];
    assert_eq!(advice(without_sizes).verdict, Verdict::Partition);
    let file = |name: &str, text: &str| Source { name: name.to_owned(), text: text.to_owned() };
    let counters = [
        file("schema.sql", "CREATE TABLE purchases (id int PRIMARY KEY, total numeric);"),
        file(
            "pg_stat_statements.csv",
            "queryid,calls,rows,query\n1,950,950,SELECT total FROM purchases WHERE id = $1\n2,50,50,UPDATE purchases SET \
             total = 0 WHERE id = $1\n",
        ),
    ];
    let found = advice(&counters);
    assert!(matches!(found.verdict, Verdict::NotEnoughEvidence { .. }), "{:?}", found.verdict);
}

#[test]
fn a_mark_of_byte_order_says_nothing_and_millions_of_partitions_are_not_looked_at() {
    let tables: [Table<'_>; 1] = [("purchases", &["id"], 900)];
    let mut marked = files(5_000_000, &tables, &purchases(200));
    marked.iter_mut().for_each(|source| source.text.insert(0, '\u{feff}'));
    let found = advice(&marked);
    assert_eq!(found.partitions_by, PartitionsBy::Most);
    let design = found.design.expect("a design");
    assert!(design.partitions <= 1_024 && design.tables.len() == 1, "{}", design.partitions);
}
