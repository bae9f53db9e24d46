//! A deployed design is watched; and where it pays, rows go where the printed commands bring them, and come home again.

use std::collections::BTreeMap;
use std::path::Path;

use replat_model::key::KeyValue;
use replat_model::map::Map;
use replat_model::spec;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::advise::{SCHEMA, evidence_of_a_bank};
use crate::program::{Program, Ran};
use crate::world::{Folder, World, number};

const BRANCHES: u64 = 16;

/// So many transactions before something changes, and after it.
const BEFORE: u64 = 4_000;
const AFTER: u64 = 8_000;

/// Two databases; branches from 8 on live on green, where they went as these partitions.
async fn deployed(partitions: &str) -> World {
    let world = began().await;
    world.replat(&format!("plan deploy {partitions} --out begin.json")).await.succeeds();
    world.replat("apply begin.json -y").await.succeeds();
    world
}

/// Three databases, of which the third is called red; partitions of branches go to green and then to red.
async fn deployed_to_three(to_green: &str, to_red: &str) -> World {
    let mut world = began().await;
    let red = format!("{}_red", world.blue);
    world.server.create_database(&red).await.expect("a database");
    world.program = Program::in_folder(world.folder.path())
        .with("BLUE_URL", world.server.url(&world.blue))
        .with("GREEN_URL", world.server.url(&world.green))
        .with("RED_URL", world.server.url(&red));
    let spec = std::fs::read_to_string(world.path("replat.toml")).expect("a spec");
    let spec = spec.replace("[policy]", "[databases.red]\nurl = \"env:RED_URL\"\n\n[policy]");
    for (to, partitions) in [("green", to_green), ("red", to_red)] {
        let spec = spec.replace("to = { database = \"green\"", &format!("to = {{ database = \"{to}\""));
        world.write("replat.toml", &spec);
        world.replat(&format!("plan deploy {partitions} --out begin.json")).await.succeeds();
        world.replat("apply begin.json -y").await.succeeds();
    }
    world
}

/// What drift recommends is carried out as it is printed, and asked for again, until nothing is left. How often that was.
async fn until_nothing_is_left(world: &World, line: &str) -> usize {
    for round in 0..4 {
        let said = world.replat(&format!("{line} --json")).await.succeeds().json();
        if recommended(&said).is_empty() {
            return round;
        }
        let ran = world.replat(line).await.succeeds();
        let printed = commands(&ran);
        assert!(!printed.is_empty(), "{}", ran.told());
        carry_out(world, &printed).await;
    }
    panic!("it does not come to an end");
}

fn skew(said: &Value) -> f64 {
    said["what_if"]["metrics"]["load_max_over_mean"].as_f64().expect("a number")
}

/// Everything on blue yet.
async fn began() -> World {
    let spec = "# Ours.\nversion = 1\nproject = \"bank\"\n\n[databases.blue]\nurl = \"env:BLUE_URL\"\n\n\
                [databases.green]\nurl = \"env:GREEN_URL\"\n\n[policy]\nsoak = \"0s\"\nretain = \"0s\"\n\n[contexts.bank]\n\
                dimensions = [{ column = \"bid\", type = \"bigint\" }]\nhome = { database = \"blue\", schema = \"public\" }\n\n\
                [contexts.bank.tables]\nbranches = {}\naccounts = {}\nhistory = {}\n\n\
                [contexts.bank.rollout] # where branches go\nversion = \"v1\"\n\
                to = { database = \"green\", schema = \"public\" } # here\nddl = [\"schema.sql\"]\n";
    let world = World::empty(spec).await;
    world.write("schema.sql", SCHEMA);
    let blue = world.on_blue().await;
    blue.batch_execute(SCHEMA).await.expect("the schema");
    let fill = format!(
        "INSERT INTO branches SELECT b, 0 FROM generate_series(0, {BRANCHES} - 1) b;
         INSERT INTO accounts SELECT b, a, 0 FROM generate_series(0, {BRANCHES} - 1) b, generate_series(0, 4) a;
         INSERT INTO history SELECT b, h, 0 FROM generate_series(0, {BRANCHES} - 1) b, generate_series(0, 9) h"
    );
    blue.batch_execute(&fill).await.expect("rows");
    world
}

/// The branch of a transaction: all are alike, and then nine in ten are of the two `hot` ones.
fn branch_of(number: u64, hot: [u64; 2]) -> u64 {
    match number {
        after if after >= BEFORE && after % 10 != 9 => hot[usize::try_from(after % 2).expect("0 or 1")],
        // Three is coprime to sixteen, so each branch has its turn.
        other => (other / 10 * 3 + other) % BRANCHES,
    }
}

/// Evidence of such transactions, of one branch each.
fn evidence(folder: &Path, hot: [u64; 2]) {
    let mut lines = String::new();
    for number in 0..BEFORE + AFTER {
        let branch = branch_of(number, hot);
        let (account, history) = (number % 5, number % 97);
        let line = json!({"t": number, "x": "transfer", "s": [
            [0, [branch, account], [[[branch, account]]]], [1, [branch], [[[branch]]]],
            [2, [branch, history], [[[branch, history]]]],
        ]});
        lines += &(line.to_string() + "\n");
    }
    evidence_of_a_bank(folder, &lines);
}

/// The commands of a printed plan.
fn commands(ran: &Ran) -> Vec<String> {
    ran.out.lines().filter_map(|line| line.strip_prefix("       replat ")).map(str::to_owned).collect()
}

async fn rows_of(client: &Client, branch: u64) -> [i64; 3] {
    let mut all = [0; 3];
    for (count, table) in all.iter_mut().zip(["branches", "accounts", "history"]) {
        *count = number(client, &format!("SELECT count(*) FROM {table} WHERE bid = {branch}")).await;
    }
    all
}

/// Runs what was printed, as it was printed. Nobody is there to be asked.
async fn carry_out(world: &World, commands: &[String]) {
    for command in commands {
        let said = if command.starts_with("apply") { " -y" } else { "" };
        world.replat(&format!("{command}{said}")).await.succeeds();
    }
}

fn recommended(said: &Value) -> Vec<&Value> {
    let moves = said["moves"].as_array().map(Vec::as_slice).unwrap_or_default();
    moves.iter().filter(|one| one["recommended"] == true).collect()
}

#[tokio::test]
async fn what_was_never_deployed_is_what_the_spec_says_and_no_store_is_made() {
    let folder = Folder::new();
    let program = Program::in_folder(folder.path());
    evidence(&folder.path().join("evidence"), [1, 2]);
    let text = "version = 1\nproject = \"bank\"\n\n[databases.blue]\nurl = \"env:BLUE_URL\"\n\n[contexts.bank]\n\
                dimensions = [{ column = \"bid\", type = \"bigint\" }]\nhome = { database = \"blue\", schema = \"public\" }\n\n\
                [contexts.bank.tree]\nsplit = \"bid\"\nlist = { first = [1] }\nunder.rest = { split = \"bid\", hash = 4 }\n\n\
                [contexts.bank.tables]\nbranches = {}\naccounts = {}\nhistory = {}\n";
    std::fs::write(folder.path().join("replat.toml"), text).expect("a spec");
    let said = program.line("advise what-if -e evidence --json").await.succeeds().json();
    let source = said["what_if"]["source"].as_str().expect("a source");
    assert!(source.contains("nothing was deployed yet: 5 partitions, as if each"), "{source}");
    // Each key is where PostgreSQL's own hash puts it.
    let parsed = spec::parse(text).expect("a valid spec");
    let context = &parsed.contexts["bank"];
    let map = Map::build("bank", context.dimensions.clone(), context.tree.as_ref(), context.home.clone());
    let map = map.expect("a map");
    let mut load: BTreeMap<String, u64> = BTreeMap::new();
    for number in 0..BEFORE + AFTER {
        let key = [KeyValue::Int(i64::try_from(branch_of(number, [1, 2])).expect("small"))];
        let leaf = map.lookup(&key).expect("every key has a leaf");
        *load.entry(leaf.partition.to_string()).or_default() += 1;
    }
    let most = *load.values().max().expect("some load") as f64;
    let skew = said["what_if"]["metrics"]["load_max_over_mean"].as_f64().expect("a number");
    let wanted = most * 5.0 / (BEFORE + AFTER) as f64;
    assert!((skew - wanted).abs() < 1e-6, "{skew} and not {wanted}");
    assert!(!folder.path().join(".replat").exists(), "a look makes no store");
}

#[tokio::test]
async fn a_hot_branch_goes_where_the_printed_commands_bring_it_and_then_all_is_well() {
    let world = deployed("-p bid=[8,16)").await;
    let (blue, green) = (world.on_blue().await, world.on_green().await);
    evidence(&world.path("evidence"), [1, 2]);

    // What is deployed is what the store knows, not what the spec began with.
    let said = world.replat("advise what-if -e evidence --json").await.succeeds().json();
    let source = said["what_if"]["source"].as_str().expect("a source");
    assert!(source.ends_with("3 partitions in blue, green"), "{source}");
    let skew = said["what_if"]["metrics"]["load_max_over_mean"].as_f64().expect("a number");
    // Blue has eight of sixteen branches before, and nearly all there is to do after.
    assert!((1.5..1.8).contains(&skew), "the busiest database does {skew:.2} times the mean");
    assert_eq!(said["what_if"]["metrics"]["cross_partition_share"], 0.0);

    let said = world.replat("advise drift -e evidence --json").await.succeeds().json();
    let moves = recommended(&said);
    let [only] = moves[..] else { panic!("one move was expected: {:#}", said["moves"]) };
    let stage = &only["stages"][0];
    let hot = stage["partitions"][0].as_str().expect("a partition").to_owned();
    assert!(hot == "bid=1" || hot == "bid=2", "{stage:#}");
    assert_eq!(
        (&stage["from"]["database"], &stage["rollout"]["to"]["database"]),
        (&json!("blue"), &json!("green"))
    );
    let hot: u64 = hot["bid=".len()..].parse().expect("a number");

    let before = rows_of(&blue, hot).await;
    assert!(before.iter().all(|count| *count > 0), "{before:?}");
    let ran = world.replat("advise drift -e evidence").await.succeeds();
    let printed = commands(&ran);
    assert!(printed.len() >= 2 && printed[0].starts_with("plan deploy -C bank -p bid="), "{}", ran.told());
    carry_out(&world, &printed).await;
    assert_eq!(rows_of(&green, hot).await, before);
    let refused = blue.execute(&format!("UPDATE branches SET balance = 1 WHERE bid = {hot}"), &[]).await;
    assert!(refused.is_err() || refused.is_ok_and(|rows| rows == 0), "blue lets it be written");
    green
        .execute(&format!("UPDATE branches SET balance = 1 WHERE bid = {hot}"), &[])
        .await
        .expect("it is home");

    // The same transactions, on what is deployed now: nothing is left to do.
    let said = world.replat("advise drift -e evidence --json").await.succeeds().json();
    assert_eq!(recommended(&said), Vec::<&Value>::new());
    world
        .replat("advise drift -e evidence --apply-to-spec")
        .await
        .fails("RP8004", 4)
        .remarks("may stay as it is");
}

#[tokio::test]
async fn a_branch_comes_home_by_a_rollout_that_the_spec_is_given() {
    let each: String = (8..BRANCHES).map(|branch| format!("-p bid={branch} ")).collect();
    let world = deployed(&each).await;
    let (blue, green) = (world.on_blue().await, world.on_green().await);
    evidence(&world.path("evidence"), [11, 12]);
    let spec = || std::fs::read_to_string(world.path("replat.toml")).expect("a spec");
    let before = spec();
    let line = "advise drift -e evidence --apply-to-spec";
    let ran = world.replat(&format!("{line} --dry-run")).await.succeeds();
    ran.prints("+to = { database = \"blue\", schema = \"public\" } # here").prints("No change has been made");
    assert_eq!(spec(), before);
    let ran = world.replat("advise drift -e evidence").await.succeeds();
    let printed = commands(&ran);
    assert_eq!(printed.first().map(String::as_str), Some(line), "{}", ran.told());
    let hot: u64 = match printed.iter().any(|command| command.contains("bid_11")) {
        true => 11,
        false => 12,
    };
    let rows = rows_of(&green, hot).await;
    carry_out(&world, &printed).await;
    assert_eq!(rows_of(&blue, hot).await, rows);
    let after = spec();
    assert!(
        after.starts_with("# Ours.\n") && after.contains("# where branches go"),
        "comments stay: {after}"
    );
    assert!(!after.contains("ddl"), "the tables are there: {after}");
    let said = world.replat("advise drift -e evidence --json").await.succeeds().json();
    assert_eq!(recommended(&said), Vec::<&Value>::new());
}

#[tokio::test]
async fn what_no_deployment_does_is_said_and_nothing_is_written() {
    let world = deployed("-p bid=[8,16)").await;
    evidence(&world.path("evidence"), [11, 12]);
    // Both hot branches left blue as parts of one partition, and only the whole of it can come back.
    let ran = world.replat("advise drift -e evidence").await.succeeds();
    assert_eq!(commands(&ran), Vec::<String>::new(), "{}", ran.told());
    let ran =
        ran.prints("Recommended").prints("does not go back to blue by itself: it left with bid_8_to_16");
    drop(ran);
    let before = std::fs::read_to_string(world.path("replat.toml")).expect("a spec");
    let ran = world.replat("advise drift -e evidence --apply-to-spec").await.fails("RP8004", 4);
    ran.remarks("it left with bid_8_to_16");
    assert_eq!(std::fs::read_to_string(world.path("replat.toml")).expect("a spec"), before);
}

/// Lets the rollout lead back to blue; the spec as it was.
fn comes_back(world: &World, from: &str) -> String {
    let spec = std::fs::read_to_string(world.path("replat.toml")).expect("a spec");
    let away =
        format!("to = {{ database = \"{from}\", schema = \"public\" }} # here\nddl = [\"schema.sql\"]");
    assert!(spec.contains(&away), "{spec}");
    let back = spec.replace(&away, "to = { database = \"blue\", schema = \"public\" }");
    world.write("replat.toml", &back);
    spec
}

#[tokio::test]
async fn a_key_that_left_with_others_is_refused_before_it_comes_back_alone_and_all_of_them_come_back() {
    let world = deployed("-p bid=[8,16)").await;
    let (blue, green) = (world.on_blue().await, world.on_green().await);
    let rows = rows_of(&green, 11).await;
    let spec = comes_back(&world, "green");
    for alone in ["-p bid=11", "-p bid=[12,14)", "-p bid=9 -p bid=11"] {
        let refused = world.replat(&format!("plan deploy {alone} --out alone.json")).await;
        let code = if alone.contains(" -p ") { "RP2002" } else { "RP2009" };
        refused.fails(code, 4).remarks("the guard of bid_8_to_16").remarks("-p bid_8_to_16");
        assert!(!world.path("alone.json").exists(), "{alone}");
    }
    // Nothing was begun: the same rows are where they were, and can be written there.
    assert_eq!(rows_of(&green, 11).await, rows);
    green.execute("UPDATE branches SET balance = 7 WHERE bid = 11", &[]).await.expect("it is home");
    // What the error says helps.
    world.replat("plan deploy -p bid_8_to_16 --out back.json").await.succeeds();
    world.replat("apply back.json -y").await.succeeds();
    assert_eq!(rows_of(&blue, 11).await, rows);
    blue.execute("UPDATE branches SET balance = 8 WHERE bid = 11", &[]).await.expect("it is home");
    // Now it is green that all of them have left.
    world.write("replat.toml", &spec);
    let refused = world.replat("plan deploy -p bid=11").await.fails("RP2009", 4);
    refused.remarks("which lives on blue.public");
}

#[tokio::test]
async fn a_partition_does_not_come_back_without_keys_that_left_with_it_and_live_in_a_third_place() {
    let world = deployed_to_three("-p bid=[8,16)", "-p bid=11").await;
    let (blue, green) = (world.on_blue().await, world.on_green().await);
    let stale = "INSERT INTO branches (bid, balance) VALUES (11, 7)";
    blue.execute(stale, &[]).await.expect_err("it lives on red");
    let rows = rows_of(&green, 9).await;
    comes_back(&world, "red");
    let refused = world.replat("plan deploy -p bid_8_to_16 --out back.json").await.fails("RP2009", 4);
    refused.remarks("keeps writers away from bid_11").remarks("lives on red.public");
    assert!(!world.path("back.json").exists());
    // Who never heard of any of it is still refused, and the others are written where they live.
    blue.execute(stale, &[]).await.expect_err("it lives on red");
    green.execute("UPDATE branches SET balance = 7 WHERE bid = 9", &[]).await.expect("it is home");
    assert_eq!(rows_of(&green, 9).await, rows);
}

#[tokio::test]
async fn a_way_back_that_is_given_up_leaves_the_old_home_guarded() {
    let world = deployed("-p bid=[8,16)").await;
    let (blue, green) = (world.on_blue().await, world.on_green().await);
    let stale = "INSERT INTO branches (bid, balance) VALUES (11, 7)";
    let refused = |error: tokio_postgres::Error| {
        let error = error.as_db_error().expect("of the server");
        assert_eq!(error.code().code(), "25006");
        error.detail().unwrap_or_default().to_owned()
    };
    let before = refused(blue.execute(stale, &[]).await.expect_err("it lives on green"));
    comes_back(&world, "green");
    for _ in 0..2 {
        world.replat("deploy -p bid_8_to_16 --yes --hold --quiet").await.succeeds();
        world.replat("deploy abort").await.succeeds();
        let after = refused(blue.execute(stale, &[]).await.expect_err("it still lives on green"));
        assert_eq!(after, before);
    }
    green.execute("UPDATE branches SET balance = 7 WHERE bid = 11", &[]).await.expect("it is home");
    blue.execute("UPDATE branches SET balance = 7 WHERE bid = 3", &[]).await.expect("it never left");
    assert_eq!(rows_of(&blue, 11).await, [0; 3]);
    let rows = rows_of(&green, 11).await;
    world.replat("plan deploy -p bid_8_to_16 --out back.json").await.succeeds();
    world.replat("apply back.json -y").await.succeeds();
    assert_eq!(rows_of(&blue, 11).await, rows);
    blue.execute("UPDATE branches SET balance = 8 WHERE bid = 11", &[]).await.expect("it is home");
}

/// Evidence of such transactions, each of these branches.
fn evidence_by(folder: &Path, branches: impl Fn(u64) -> Vec<u64>) {
    let mut lines = String::new();
    for number in 0..BEFORE + AFTER {
        let touched: Vec<Value> = branches(number)
            .into_iter()
            .flat_map(|branch| {
                let (account, history) = (number % 5, number % 97);
                [
                    json!([0, [branch, account], [[[branch, account]]]]),
                    json!([1, [branch], [[[branch]]]]),
                    json!([2, [branch, history], [[[branch, history]]]]),
                ]
            })
            .collect();
        lines += &(json!({"t": number, "x": "transfer", "s": touched}).to_string() + "\n");
    }
    evidence_of_a_bank(folder, &lines);
}

#[tokio::test]
async fn keys_that_ought_to_go_to_several_databases_go_one_after_the_other() {
    let world = deployed_to_three("-p bid=[10,13)", "-p bid=[13,16)").await;
    // Three of blue's branches become hot, and the others have less to do.
    evidence_by(&world.path("evidence"), |number| {
        let hot = [1, 2, 3];
        vec![match number {
            after if after >= BEFORE && after % 10 != 9 => hot[usize::try_from(after % 3).expect("small")],
            other => (other / 10 * 3 + other) % BRANCHES,
        }]
    });
    let line = "advise drift -e evidence";
    let said = world.replat(&format!("{line} --json")).await.succeeds().json();
    let before = skew(&said);
    let moves = recommended(&said);
    let stages = moves[0]["stages"].as_array().expect("stages");
    let to: Vec<&str> =
        stages.iter().filter_map(|stage| stage["rollout"]["to"]["database"].as_str()).collect();
    assert_eq!(to, ["green", "red"], "{:#}", said["moves"]);
    let ran = world.replat(line).await.succeeds();
    ran.prints("carried out one after the other").prints("After the first ask again");
    let rounds = until_nothing_is_left(&world, line).await;
    assert!((1..=2).contains(&rounds), "{rounds} rounds");
    let said = world.replat(&format!("{line} --json")).await.succeeds().json();
    assert!(skew(&said) < before - 0.5, "{} is hardly less than {before}", skew(&said));
}

#[tokio::test]
async fn two_databases_that_are_needed_together_become_one_by_emptying_the_last() {
    let world = deployed_to_three("-p bid=[6,11)", "-p bid=[11,16)").await;
    // All branches of green and of red are worked on together now and then, so that no two of them are enough; blue has most
    // to do besides.
    evidence_by(&world.path("evidence"), |number| match number {
        after if after >= BEFORE && after % 25 == 0 => (6..BRANCHES).collect(),
        after if after >= BEFORE => vec![after % 6],
        _ => vec![(number / 10 * 3 + number) % BRANCHES],
    });
    let said = world.replat("advise drift -e evidence --json").await.succeeds().json();
    let moves = recommended(&said);
    let stage = &moves[0]["stages"][0];
    assert_eq!(stage["partitions"], json!(["bid_11_to_16"]), "{:#}", said["moves"]);
    assert_eq!(
        (&stage["from"]["database"], &stage["rollout"]["to"]["database"]),
        (&json!("red"), &json!("green"))
    );
    let cross =
        |said: &Value| said["what_if"]["metrics"]["cross_partition_share"].as_f64().expect("a number");
    assert!(cross(&said) > 0.02, "{}", cross(&said));
    until_nothing_is_left(&world, "advise drift -e evidence").await;
    let said = world.replat("advise drift -e evidence --json").await.succeeds().json();
    assert_eq!(cross(&said), 0.0);
    let source = said["what_if"]["source"].as_str().expect("a source");
    assert!(source.ends_with("partitions in blue, green"), "red is empty: {source}");
    assert_eq!(rows_of(&world.on_green().await, 13).await, [1, 5, 10]);
}

#[tokio::test]
async fn of_a_key_of_two_columns_the_partition_goes_that_has_too_much_to_do() {
    let world = began().await;
    let spec = std::fs::read_to_string(world.path("replat.toml")).expect("a spec");
    // Accounts and their history by branch and number, in four partitions.
    let spec = spec
        .replace(
            "dimensions = [{ column = \"bid\", type = \"bigint\" }]",
            "dimensions = [{ column = \"bid\", type = \"bigint\" }, { column = \"aid\", type = \"bigint\" }]\n\
             tree = { split = \"bid\", cuts = [8], under = { r0 = { split = \"aid\", cuts = [2] }, \
             r1 = { split = \"aid\", cuts = [2] } } }",
        )
        .replace("branches = {}\naccounts = {}\nhistory = {}\n", "accounts = {}\n");
    world.write("replat.toml", &spec);
    let blue = world.on_blue().await;
    blue.batch_execute("ALTER TABLE accounts DROP CONSTRAINT accounts_bid_fkey").await.expect("no reference");
    let plain = "CREATE TABLE accounts (bid bigint NOT NULL, aid bigint NOT NULL, balance bigint NOT NULL, \
                 PRIMARY KEY (bid, aid))";
    world.write("schema.sql", plain);
    world.replat("plan deploy -p r1_r0 -p r1_r1 --out begin.json").await.succeeds();
    world.replat("apply begin.json -y").await.succeeds();
    let mut lines = String::new();
    for number in 0..BEFORE + AFTER {
        // Half of all accounts are on either side before, and then nearly all work is on blue's.
        let (branch, account) = match number {
            after if after >= BEFORE && after % 10 != 9 => (after % 8, after / 8 % 4),
            other => ((other / 10 * 3 + other) % BRANCHES, other % 5),
        };
        let line = json!({"t": number, "x": "look", "s": [[0, [branch, account], [[[branch, account]]]]]});
        lines += &(line.to_string() + "\n");
    }
    evidence_of_a_bank(&world.path("evidence"), &lines);
    let line = "advise drift -e evidence";
    let ran = world.replat(line).await.succeeds();
    ran.prints("what is said of keys is said of whole partitions");
    let before = skew(&world.replat(&format!("{line} --json")).await.succeeds().json());
    assert!(before > 1.5, "{before}");
    assert_eq!(until_nothing_is_left(&world, line).await, 1);
    let after = skew(&world.replat(&format!("{line} --json")).await.succeeds().json());
    assert!(after < 1.3, "{after}");
}
