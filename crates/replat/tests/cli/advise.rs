//! Advice from recorded evidence; and what it leads to: a plan in a spec, and a deployment of it on real servers.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use replat_model::ids::PartitionId;
use replat_model::key::KeyValue;
use replat_model::map::Map;
use replat_model::spec;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::program::Program;
use crate::world::{Folder, World, number};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../replat-advise/tests/data").join(name)
}

fn evidence(name: &str) -> String {
    data(name).display().to_string()
}

#[tokio::test]
async fn advice_is_printed_written_and_judged_and_says_the_same_everywhere() {
    let folder = Folder::new();
    let program = Program::in_folder(folder.path());
    let tatp = evidence("tatp");
    let line = format!("advise -e {tatp} --markdown a.md --html a.html --out judged");
    let ran = program.line(&line).await.succeeds().prints("VERDICT").prints("Partition.").prints("by s_id");
    let ran = ran.prints("a routing index subscriber.(sub_nbr) -> (s_id)").prints("hash = 16");
    assert!(!ran.out.contains('\u{1b}'), "no colour where nobody looks");
    let markdown = std::fs::read_to_string(folder.path().join("a.md")).expect("Markdown");
    assert!(markdown.starts_with("# Advice on ") && markdown.contains("| subscriber |"), "{markdown}");
    let page = std::fs::read_to_string(folder.path().join("a.html")).expect("a page");
    assert_eq!(page.matches("<svg").count(), 4, "graph, matrix, tree and load");
    assert_eq!(page.matches("<title>").count() - page.matches("</title>").count(), 0);
    assert_eq!(page.matches("role=\"img\"").count(), page.matches("<desc>").count());
    for loaded in ["<script", "src=", "@import", "url(", "<link"] {
        assert!(!page.contains(loaded), "the page loads or runs something: {loaded}");
    }
    let verdict = std::fs::read_to_string(folder.path().join("judged/verdict.json")).expect("a verdict");
    assert!(verdict.contains("\"partition\""), "{verdict}");
    // The design that was written can be asked about, and costs what it was said to cost.
    let line = format!("advise what-if -e {tatp} --design judged/design.json --json");
    let said = program.line(&line).await.succeeds().json();
    assert!(said["what_if"]["regret"].as_f64().expect("a number").abs() < 1e-9, "{:#}", said["what_if"]);
}

/// Few tables and many, two dimensions and rows dealt out, a refusal: on a desk and on a telephone.
#[tokio::test]
async fn a_browser_shows_pages_of_advice_as_they_are_meant() {
    for (name, pictures) in [("tatp", 4), ("saas", 4), ("epinions", 5), ("pgbench", 2)] {
        let folder = Folder::new();
        let program = Program::in_folder(folder.path());
        program.line(&format!("advise -e {} --html a.html", evidence(name))).await.succeeds();
        let page = std::fs::read_to_string(folder.path().join("a.html")).expect("a page");
        assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""), "{name}");
        for width in [1200, 400] {
            let seen = replat_testkit::browser::see(&page, width, folder.path()).await;
            let seen = seen.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(seen.faults, Vec::<String>::new(), "{name}, {width} pixels wide");
            assert_eq!(seen.pictures, pictures, "{name}");
        }
    }
}

#[tokio::test]
async fn a_refusal_is_advice_and_has_no_plan() {
    let folder = Folder::new();
    let program = Program::in_folder(folder.path());
    let pgbench = evidence("pgbench");
    let ran = program.line(&format!("advise keys -e {pgbench}")).await.succeeds();
    ran.prints("Do not partition.").prints("counters that add up");
    std::fs::write(folder.path().join("replat.toml"), "version = 1\nproject = \"p\"\n").expect("a spec");
    let line = format!("advise keys -e {pgbench} --apply-to-spec");
    program.line(&line).await.fails("RP8004", 4);
    let greenfield = evidence("greenfield_clinic");
    let said = program.line(&format!("advise -e {greenfield} --json")).await.succeeds().json();
    assert_eq!(said["verdict"], "not_enough_evidence");
    assert_eq!(said["plan"]["ready"], false);
    assert_eq!(said["metrics"], Value::Null);
    assert!(said["confidence"].as_f64().expect("a number") <= 0.4);
}

#[tokio::test]
async fn bad_evidence_is_refused_with_its_reason_or_used_as_far_as_it_goes() {
    let folder = Folder::new();
    let program = Program::in_folder(folder.path());
    let file = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("a file");
    std::fs::create_dir(folder.path().join("empty")).expect("a folder");
    file("nothing.json", b"");
    file("binary", &[0xff, 0xfe, 0x00, 0x80]);
    file("bad.json", br#"{"format":"advisor-workload/1","tables":{"a":{"fks":[[["b"],"c",["d"]]]}}}"#);
    for (line, code) in [
        ("advise -e missing.jsonl", "RP8001"),
        ("advise -e empty", "RP8001"),
        ("advise -e nothing.json", "RP8001"),
        ("advise -e binary", "RP8001"),
        ("advise -e bad.json", "RP8002"),
        ("advise layout -e empty", "RP8001"),
    ] {
        let ran = program.line(line).await.fails(code, 3);
        assert!(ran.out.is_empty(), "{}", ran.told());
    }
    // A trace that ends in the middle of its compression is used up to there.
    let whole = std::fs::read(data("tatp").join("trace.jsonl.gz")).expect("a trace");
    file("trace.jsonl.gz", &whole[..whole.len() / 2]);
    let workload = evidence("tatp/workload.json");
    let line = format!("advise keys -e {workload} trace.jsonl.gz");
    program.line(&line).await.succeeds().prints("ends early").prints("by s_id");
    // One that is damaged within is not: nobody knows which values are wrong.
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x40;
    file("trace.jsonl.gz", &damaged);
    program.line(&line).await.fails("RP8001", 3).remarks("trace.jsonl.gz").remarks("damaged");
    // A design that speaks of what is not there.
    file("design.json", br#"{"partitions":4,"tables":{"nobody":{"mode":"single"}}}"#);
    file("nonsense.json", b"{}");
    let tatp = evidence("tatp");
    let line = format!("advise what-if -e {tatp} --design design.json");
    program.line(&line).await.fails("RP8003", 3).remarks("nobody");
    let line = format!("advise what-if -e {tatp} --design nonsense.json");
    program.line(&line).await.fails("RP8003", 3);
    // One transaction of one table, and a thousand tables: an answer, and no panic.
    let one = r#"{"format":"advisor-workload/1","tables":{"a":{"pk":["id"],"key_columns":["id"]}},
        "statements":[{"id":0,"touch":[{"table":"a","op":"u","eq":{"id":1}}]}]}"#;
    file("one.json", one.as_bytes());
    file("one.jsonl", b"{\"t\":0,\"x\":\"only\",\"s\":[[0,[1],[[[1]]]]]}\n");
    program.line("advise -e one.json one.jsonl").await.succeeds().prints("VERDICT");
    let tables: serde_json::Map<String, Value> =
        (0..1000).map(|n| (format!("t{n}"), json!({"pk": ["id"], "key_columns": ["id"]}))).collect();
    let many = json!({"format": "advisor-workload/1", "tables": tables, "statements": []});
    file("many.json", many.to_string().as_bytes());
    program.line("advise -e many.json").await.succeeds().prints("VERDICT");
}

#[tokio::test]
async fn names_of_others_are_no_markup() {
    let folder = Folder::new();
    let program = Program::in_folder(folder.path());
    let evil = "<script>alert('x')</script>|&\u{1b}[31m";
    let tables = json!({ evil: {"pk": ["id"], "key_columns": ["id"], "columns": {"id": "bigint"}},
                         "b": {"pk": ["id"], "key_columns": ["id"], "columns": {"id": "bigint"}} });
    let statements = json!([
        {"id": 0, "name": evil, "touch": [{"table": evil, "op": "u", "eq": {"id": 1}}]},
        {"id": 1, "touch": [{"table": "b", "op": "u", "eq": {"id": 1}}]},
    ]);
    let workload = json!({"format": "advisor-workload/1", "tables": tables, "statements": statements});
    std::fs::write(folder.path().join("w.json"), workload.to_string()).expect("a workload");
    let lines: String = (0..200)
        .map(|n| {
            json!({"t": n, "x": evil, "s": [[0, [n], [[[n % 50]]]], [1, [n], [[[n % 50]]]]]}).to_string()
                + "\n"
        })
        .collect();
    std::fs::write(folder.path().join("t.jsonl"), lines).expect("a trace");
    let ran =
        program.line("advise -e w.json t.jsonl --html a.html --markdown a.md --detail").await.succeeds();
    assert!(!ran.out.contains('\u{1b}'), "{}", ran.told());
    let page = std::fs::read_to_string(folder.path().join("a.html")).expect("a page");
    assert!(!page.contains("<script") && !page.contains('\u{1b}') && page.contains("&lt;script&gt;"));
    let markdown = std::fs::read_to_string(folder.path().join("a.md")).expect("Markdown");
    let prose: String = markdown.split("\n```").step_by(2).collect();
    assert!(!prose.contains("<script") && prose.contains("&lt;script&gt;"), "{markdown}");
}

/// The schema of a bank.
pub const SCHEMA: &str = "
    CREATE TABLE branches (bid bigint PRIMARY KEY, balance bigint NOT NULL);
    CREATE TABLE accounts (bid bigint NOT NULL REFERENCES branches, aid bigint NOT NULL, balance bigint NOT NULL,
        PRIMARY KEY (bid, aid));
    CREATE TABLE history (bid bigint NOT NULL REFERENCES branches, hid bigint NOT NULL, delta bigint NOT NULL,
        PRIMARY KEY (bid, hid));";

const BRANCHES: u64 = 64;
const ACCOUNTS: u64 = 20;

/// What pgbench does, among tenants that hardly ever meet: each transaction is run, and written down as it ran.
struct Bank {
    dice: u64,
    history: u64,
    lines: String,
    /// Of each transaction, the branches that it worked on.
    branches: Vec<BTreeSet<u64>>,
}

impl Bank {
    fn roll(&mut self, below: u64) -> u64 {
        // Knuth's linear congruential generator; its upper bits are the good ones.
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % below
    }

    async fn work(&mut self, client: &mut Client, count: usize) {
        for at in 0..count {
            let from = self.roll(BRANCHES);
            let to = if self.roll(10) == 0 { self.roll(BRANCHES) } else { from };
            let (a, b) = (self.roll(ACCOUNTS), self.roll(ACCOUNTS));
            self.history += 1;
            let hid = self.history;
            let transaction = client.transaction().await.expect("a transaction");
            let run = format!(
                "UPDATE accounts SET balance = balance - 1 WHERE bid = {from} AND aid = {a};
                 UPDATE accounts SET balance = balance + 1 WHERE bid = {to} AND aid = {b};
                 UPDATE branches SET balance = balance + 1 WHERE bid = {from};
                 INSERT INTO history VALUES ({from}, {hid}, 1)"
            );
            transaction.batch_execute(&run).await.expect("it runs");
            transaction.commit().await.expect("it commits");
            let line = json!({"t": at, "x": "transfer", "s": [
                [0, [from, a], [[[from, a]]]], [0, [to, b], [[[to, b]]]], [1, [from], [[[from]]]], [2, [from, hid], [[[from, hid]]]],
            ]});
            self.lines += &(line.to_string() + "\n");
            self.branches.push(BTreeSet::from([from, to]));
        }
    }

    fn evidence(&self, folder: &Path) {
        evidence_of_a_bank(folder, &self.lines);
    }
}

/// Writes evidence of a bank: the tables of [`SCHEMA`], and these transactions.
pub fn evidence_of_a_bank(folder: &Path, lines: &str) {
    std::fs::create_dir_all(folder).expect("a folder");
    let columns =
        |names: &[&str]| -> Value { names.iter().map(|n| (n.to_string(), json!("bigint"))).collect() };
    let to_branch = json!([[["bid"], "branches", ["bid"]]]);
    let workload = json!({"format": "advisor-workload/1", "tables": {
        "branches": {"pk": ["bid"], "key_columns": ["bid"], "columns": columns(&["bid", "balance"])},
        "accounts": {"pk": ["bid", "aid"], "fks": to_branch, "key_columns": ["bid", "aid"],
                     "columns": columns(&["bid", "aid", "balance"])},
        "history": {"pk": ["bid", "hid"], "fks": to_branch, "key_columns": ["bid", "hid"],
                    "columns": columns(&["bid", "hid", "delta"])},
    }, "statements": [
        {"id": 0, "name": "account", "touch": [{"table": "accounts", "op": "u", "eq": {"bid": 1, "aid": 2}}]},
        {"id": 1, "name": "branch", "touch": [{"table": "branches", "op": "u", "eq": {"bid": 1}}]},
        {"id": 2, "name": "history", "touch": [{"table": "history", "op": "i", "eq": {"bid": 1, "hid": 2}}]},
    ]});
    std::fs::write(folder.join("workload.json"), workload.to_string()).expect("a workload");
    let file = std::fs::File::create(folder.join("trace.jsonl.gz")).expect("a trace");
    let mut packed = GzEncoder::new(file, Compression::fast());
    packed.write_all(lines.as_bytes()).expect("it is written");
    packed.finish().expect("it is complete");
}

#[tokio::test]
async fn a_plan_from_evidence_is_deployed_and_does_what_was_forecast() {
    let spec = "# Ours.\nversion = 1\nproject = \"bank\" # the project\n\n[databases.blue]\nurl = \"env:BLUE_URL\"\n\n\
                [databases.green]\nurl = \"env:GREEN_URL\"\n\n[policy]\nsoak = \"0s\"\n";
    let world = World::empty(spec).await;
    world.write("schema.sql", SCHEMA);
    let mut blue = world.on_blue().await;
    blue.batch_execute(SCHEMA).await.expect("the schema");
    let fill = format!(
        "INSERT INTO branches SELECT b, 0 FROM generate_series(0, {BRANCHES} - 1) b;
         INSERT INTO accounts SELECT b, a, 0 FROM generate_series(0, {BRANCHES} - 1) b, generate_series(0, {ACCOUNTS} - 1) a"
    );
    blue.batch_execute(&fill).await.expect("rows");
    let mut bank = Bank { dice: 7, history: 0, lines: String::new(), branches: Vec::new() };
    bank.work(&mut blue, 3_000).await;
    bank.evidence(&world.path("evidence"));

    // A look first: nothing is written.
    let line = "advise keys -e evidence --partitions 4 --apply-to-spec --home blue";
    world.replat(&format!("{line} --dry-run")).await.succeeds().prints("+[contexts.branches]");
    assert_eq!(std::fs::read_to_string(world.path("replat.toml")).expect("a spec"), spec);
    let said = world.replat(&format!("{line} --json")).await.succeeds().json();
    assert_eq!(said["verdict"], "partition");
    let forecast = &said["plan"]["forecast"]["cross_partition_share"];
    let forecast = forecast["value"].as_f64().expect("a forecast");
    let written = std::fs::read_to_string(world.path("replat.toml")).expect("a spec");
    assert!(
        written.starts_with("# Ours.\n") && written.contains("# the project"),
        "comments stay: {written}"
    );
    world.replat("validate").await.succeeds().prints("1 context");
    // Asked again it says so, and changes nothing.
    world.replat(line).await.succeeds().prints("says so already");

    // Fresh transactions, and the map of the spec itself: how many really meet two partitions?
    let parsed = spec::parse(&written).expect("a valid spec");
    let context = &parsed.contexts["branches"];
    let map = Map::build("branches", context.dimensions.clone(), context.tree.as_ref(), context.home.clone())
        .expect("a map");
    bank.branches.clear();
    bank.work(&mut blue, 3_000).await;
    let place = |bid: &u64| {
        let key = [KeyValue::Int(i64::try_from(*bid).expect("small"))];
        map.lookup(&key).expect("every key has a leaf").partition.clone()
    };
    let crossing =
        bank.branches.iter().filter(|all| all.iter().map(place).collect::<BTreeSet<_>>().len() > 1);
    let measured = crossing.count() as f64 / bank.branches.len() as f64;
    println!("forecast {forecast:.4}, measured {measured:.4}");
    assert!((forecast - measured).abs() <= 0.02, "forecast {forecast}, measured {measured}");

    // One of its partitions goes to another database.
    let rollout = "\n[contexts.branches.rollout]\nversion = \"v2\"\nto = { database = \"green\", schema = \"public\" }\n\
                   ddl = [\"schema.sql\"]\n";
    world.write("replat.toml", &(written + rollout));
    world.replat("validate").await.succeeds();
    // The one with most branches: where every branch is listed, there is one for all others, and it is empty.
    let tenants = |leaf: &PartitionId| (0..BRANCHES).filter(|bid| place(bid) == *leaf).count();
    let partition = map.leaves().map(|leaf| leaf.partition.clone()).max_by_key(tenants).expect("a leaf");
    let of_it: Vec<String> =
        (0..BRANCHES).filter(|bid| place(bid) == partition).map(|bid| bid.to_string()).collect();
    world.replat(&format!("plan deploy -p {partition} --out plan.json")).await.succeeds();
    world.replat("apply plan.json -y").await.succeeds();
    let green = world.on_green().await;
    let of_it = of_it.join(", ");
    for table in ["branches", "accounts", "history"] {
        let query = format!("SELECT count(*) FROM {table} WHERE bid IN ({of_it})");
        let (before, after) = (number(&blue, &query).await, number(&green, &query).await);
        assert!(before > 0 && before == after, "{table}: {before} rows on blue, {after} on green");
        assert_eq!(number(&green, &format!("SELECT count(*) FROM {table}")).await, after, "and no others");
    }
}

/// Some rows of TPC-C: three warehouses, with orders that other warehouses supply.
const TPCC_ROWS: &str = "
    INSERT INTO warehouse SELECT w, 'w' || w, 0.1, 0 FROM generate_series(1, 3) w;
    INSERT INTO district SELECT w, d, 0.1, 0, 4 FROM generate_series(1, 3) w, generate_series(1, 2) d;
    INSERT INTO customer SELECT w, d, c, 'last', 'first', 'GC', 0, 0, 'data'
        FROM generate_series(1, 3) w, generate_series(1, 2) d, generate_series(1, 5) c;
    INSERT INTO history SELECT 100 * w + 10 * d + c, w, d, c, w, d, 10, '2026-01-01'
        FROM generate_series(1, 3) w, generate_series(1, 2) d, generate_series(1, 5) c;
    INSERT INTO item SELECT i, 'item', 1, 'data' FROM generate_series(1, 10) i;
    INSERT INTO stock SELECT w, i, 100, 0, 0, 0, 'dist' FROM generate_series(1, 3) w, generate_series(1, 10) i;
    INSERT INTO orders SELECT w, d, o, o, '2026-01-01', NULL, 2
        FROM generate_series(1, 3) w, generate_series(1, 2) d, generate_series(1, 4) o;
    INSERT INTO new_order SELECT w, d, 4 FROM generate_series(1, 3) w, generate_series(1, 2) d;
    INSERT INTO order_line SELECT w, d, o, l, l, w, 1, 1, NULL FROM generate_series(1, 3) w, generate_series(1, 2) d,
        generate_series(1, 4) o, generate_series(1, 2) l;";

#[tokio::test]
async fn a_key_that_each_table_calls_otherwise_is_planned_and_deployed() {
    let spec = "version = 1\nproject = \"tpcc\"\n\n[databases.blue]\nurl = \"env:BLUE_URL\"\n\n\
                [databases.green]\nurl = \"env:GREEN_URL\"\n\n[policy]\nsoak = \"0s\"\n";
    let world = World::empty(spec).await;
    // What has to be done before: the old values of a change must say the warehouse of a history row.
    let schema = std::fs::read_to_string(data("tpcc").join("schema.sql")).expect("a schema")
        + "\nALTER TABLE history REPLICA IDENTITY FULL;\n";
    world.write("schema.sql", &schema);
    let blue = world.on_blue().await;
    blue.batch_execute(&schema).await.expect("the schema");
    blue.batch_execute(TPCC_ROWS).await.expect("rows");
    let line = format!("advise keys -e {} --apply-to-spec --home blue", evidence("tpcc"));
    world.replat(&line).await.succeeds().prints("written, context warehouse");
    let written = std::fs::read_to_string(world.path("replat.toml")).expect("a spec");
    let context = &spec::parse(&written).expect("a valid spec").contexts["warehouse"];
    let tables = [
        ("warehouse", "w_id"),
        ("district", "d_w_id"),
        ("customer", "c_w_id"),
        ("history", "h_c_w_id"),
        ("stock", "s_w_id"),
        ("orders", "o_w_id"),
        ("new_order", "no_w_id"),
        ("order_line", "ol_w_id"),
    ];
    for (table, column) in tables {
        assert_eq!(context.column_of(table, "w_id"), column, "{table}: {written}");
    }
    let rollout = "\n[contexts.warehouse.rollout]\nversion = \"v2\"\nto = { database = \"green\", schema = \"public\" }\n\
                   ddl = [\"schema.sql\"]\n";
    world.write("replat.toml", &(written + rollout));
    world.replat("validate").await.succeeds();
    world.replat("plan deploy -p w_id=2 --out plan.json").await.succeeds();
    world.replat("apply plan.json -y").await.succeeds();
    let green = world.on_green().await;
    for (table, column) in tables {
        let query = format!("SELECT count(*) FROM {table} WHERE {column} = 2");
        let (before, after) = (number(&blue, &query).await, number(&green, &query).await);
        assert!(before > 0 && before == after, "{table}: {before} rows on blue, {after} on green");
        assert_eq!(number(&green, &format!("SELECT count(*) FROM {table}")).await, after, "and no others");
        // The old home refuses that warehouse, and takes the others.
        let refused = blue.execute(&format!("DELETE FROM {table} WHERE {column} = 2"), &[]).await;
        assert!(refused.is_err(), "{table}: blue lets its rows be written");
    }
    blue.execute("UPDATE district SET d_ytd = 1 WHERE d_w_id = 1", &[]).await.expect("it is blue's");
    green.execute("UPDATE district SET d_ytd = 1 WHERE d_w_id = 2", &[]).await.expect("it is green's");
}
