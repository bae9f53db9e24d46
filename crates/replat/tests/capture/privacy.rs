//! What is planted in a database and in what is said to it is in nothing that is written.

use tokio_postgres::Client;

use crate::program::Ran;
use crate::world::{World, files, sell};

/// What every planted text has in it. Numbers are planted as well.
const CANARY: &str = "c4nary";
const NUMBERS: [&str; 3] = ["7700881199", "6600771188", "5500660077"];
/// A day that is somebody's birthday, and a moment.
const TIMES: [&str; 2] = ["1980-02-14", "11:22:33"];

/// Nothing of what was planted is in it.
pub fn is_clean(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for planted in NUMBERS.iter().chain(&TIMES).chain(&[CANARY]) {
        assert!(!text.contains(planted), "{what} shows {planted}:\n{text}");
    }
}

/// By every door that there is.
pub async fn plant(world: &World, client: &mut Client) {
    sell(client, 1, 7_700_881_199).await;
    let plain = [
        "insert into accounts values (2, 6600771188, 'c4nary@mail', '1980-02-14')",
        "update orders set note = 'c4nary', at = '2026-01-02 11:22:33' where id = 7700881199 /* c4nary */",
        "select * from accounts where email = 'c4nary@mail' -- c4nary",
        "select $x$c4nary$x$, E'c4nary\\'', U&'c4nary' from accounts where id = 5500660077",
        "begin; select 1 from orders where note like '%c4nary%'; commit",
        "set application_name = 'c4nary'",
        "set my.c4nary = 'c4nary'",
        "do $$ begin perform 'c4nary'; end $$",
        "create role somebody password 'c4nary'",
        "prepare p as select * from accounts where email = $1; execute p('c4nary'); deallocate p",
        "declare x cursor with hold for select * from accounts where email = 'c4nary'; close x",
        "select /*c4nary*/ count(*) from accounts where born between '1980-02-14' and '1980-02-14'",
    ];
    for statement in plain {
        client.batch_execute(statement).await.expect(statement);
    }
    for wrong in [
        "insert into accounts values (2, 6600771188, 'c4nary@mail', null)",
        "select 'c4nary'::int",
        "select c4nary from accounts",
        "select * from accounts where email = 'c4nary",
    ] {
        client.batch_execute(wrong).await.expect_err(wrong);
    }
    let born = "select * from accounts where email = $1 and id = $2";
    client.query(born, &[&"c4nary@mail", &6_600_771_188_i64]).await.expect(born);
    client.execute("delete from orders where id = $1", &[&7_700_881_199_i64]).await.expect("a deletion");
    client.execute("select $1::text", &[&"c4nary"]).await.expect("an echo");
    let url = format!("{}?application_name=c4nary", world.server.url("shop"));
    let named = replat_testkit::server::connect(&url).await.expect("a session");
    named
        .batch_execute("update accounts set email = 'c4nary' where id = 6600771188")
        .await
        .expect("an update");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_planted_is_written_anywhere() {
    let world = World::new().await;
    let begun =
        "capture start --from env:SHOP_URL --sample-rate 1 --for 1h -vv --log-file log --progress json";
    let mut capturing = world.program.start(&begun.split(' ').collect::<Vec<_>>());
    capturing.remarks("Ctrl-C or").await;
    world.until("select setting = '1' from pg_settings where name = 'log_transaction_sample_rate'").await;
    plant(&world, &mut world.client().await).await;
    world.program.line("capture stop -vv").await.succeeds();
    let ended: Ran = capturing.end().await.succeeds();
    is_clean("the capture", ended.told().as_bytes());
    for line in ["capture show c1 --json", "capture list", "capture show .replat/captures/c1.jsonl"] {
        is_clean(line, world.program.line(line).await.succeeds().told().as_bytes());
    }
    let written = files(&world.path(""));
    assert!(written.iter().any(|(path, _)| path.ends_with("captures/c1.jsonl")), "{written:?}");
    for (path, bytes) in &written {
        is_clean(&path.display().to_string(), bytes);
    }
    // What is kept of them is there: the same values, hashed.
    let file = ".replat/captures/c1.jsonl";
    let hash = |line: &serde_json::Value| line["rows"][0]["columns"]["id"].as_str().map(str::to_owned);
    let writes = world.of_kind(file, "writes");
    let sold = writes.iter().find(|line| line["rows"][0]["table"] == "orders").expect("a sale");
    let gone = writes.iter().find(|line| line["rows"][0]["op"] == "D").expect("a deletion");
    assert_eq!(hash(sold), hash(gone));
    let transactions = world.of_kind(file, "transaction");
    assert!(transactions.len() >= 8, "{transactions:?}");
    // A balance is set by an UPDATE that was counted before, so that it is nobody's key.
    assert!(!writes.iter().any(|line| line.to_string().contains("\"balance\"")), "{writes:?}");
    let months = world.lines(file).iter().any(|line| line.to_string().contains("\"born\":3683"));
    assert!(months, "the month of a birthday is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_captures_hash_one_value_to_two_texts() {
    let world = World::new().await;
    let mut hashes = Vec::new();
    for n in 0..2 {
        let capturing = world.start("").await;
        sell(&mut world.client().await, 1, n).await;
        capturing.signal("INT").await;
        capturing.end().await.succeeds();
        let file = format!(".replat/captures/c{}.jsonl", n + 1);
        let head = &world.lines(&file)[0];
        hashes.push((
            head["hashed"].clone(),
            world.of_kind(&file, "writes")[0]["rows"][0]["columns"]["tenant"].clone(),
        ));
    }
    assert_ne!(hashes[0].0, hashes[1].0);
    assert_ne!(hashes[0].1, hashes[1].1);
}

/// Orders by their own numbers, of which one is listed under a name that would show it.
const LISTED: &str = "version = 1\nproject = \"shop\"\n\n[databases.shop]\nurl = \"env:SHOP_URL\"\n\n[contexts.sales]\n\
    dimensions = [{ column = \"id\", type = \"bigint\" }]\nhome = { database = \"shop\", schema = \"public\" }\n\
    tree = { split = \"id\", list = { c4nary = [7700881199, 6600771188] } }\n\n[contexts.sales.tables]\n\
    orders = {}\naccounts = {}\n\n[contexts.both]\n\
    dimensions = [{ column = \"tenant\", type = \"bigint\" }, { column = \"id\", type = \"bigint\" }]\n\
    home = { database = \"shop\", schema = \"public\" }\n\n[contexts.both.tables]\nvisits = {}\n";

#[tokio::test(flavor = "multi_thread")]
async fn where_a_key_is_is_told_and_neither_the_key_nor_the_partition() {
    let world = World::new().await;
    std::fs::write(world.path("replat.toml"), LISTED).expect("a spec");
    let begun = "capture start --sample-rate 1 --for 1h --with-partitions -vv --log-file log --progress json";
    let mut capturing = world.program.start(&begun.split(' ').collect::<Vec<_>>());
    capturing.remarks("Ctrl-C or").await;
    world.until("select setting = '1' from pg_settings where name = 'log_transaction_sample_rate'").await;
    plant(&world, &mut world.client().await).await;
    sell(&mut world.client().await, 2, 17).await;
    world.program.line("capture stop -vv").await.succeeds();
    let ended: Ran = capturing.end().await.succeeds();
    is_clean("the capture", ended.told().as_bytes());
    ended.prints("the partitions of both: its key has several columns");
    std::fs::remove_file(world.path("replat.toml")).expect("the spec has them");
    for (path, bytes) in &files(&world.path("")) {
        is_clean(&path.display().to_string(), bytes);
    }
    // Two of a partition are told to be, also one that was only looked for; another is elsewhere.
    let places = world.of_kind(".replat/captures/c1.jsonl", "place");
    let mut by_partition: std::collections::BTreeMap<&str, u32> = std::collections::BTreeMap::new();
    for place in &places {
        assert_eq!(place["context"], "sales", "{place}");
        *by_partition.entry(place["partition"].as_str().expect("a text")).or_default() += 1;
    }
    let counts: std::collections::BTreeSet<u32> = by_partition.values().copied().collect();
    assert!(by_partition.len() == 2 && counts.contains(&2), "{places:?}");
}
