//! From a load to a file that has all tiers.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::world::{World, sell};

fn table<'a>(tables: &'a [Value], name: &str) -> &'a Value {
    tables.iter().find(|table| table["name"] == name).unwrap_or_else(|| panic!("{name} is not told of"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_becomes_evidence_of_all_tiers_and_nothing_is_left_behind() {
    let world = World::new().await;
    let capturing = world.start("--for 10m --sample-rate 1 --name monday").await;
    world.until("select setting = '1' from pg_settings where name = 'log_transaction_sample_rate'").await;
    let mut client = world.client().await;
    for n in 0..20 {
        sell(&mut client, 1 + n % 4, n.into()).await;
    }
    client
        .batch_execute("update orders set note = 'x' where tenant = 2 and id = 1")
        .await
        .expect("an update");
    client.batch_execute("delete from orders where tenant = 3 and id = 2").await.expect("a deletion");
    client
        .batch_execute("update audit set what = 'y'")
        .await
        .expect("a table without a key can be written to");
    let listed = world.program.line("capture list --json").await.succeeds().json();
    assert_eq!((&listed[0]["name"], &listed[0]["state"]), (&"monday".into(), &"running".into()));
    world.program.line("capture stop").await.succeeds().prints("monday    T0 T1 T2 T3");
    let ended = capturing.end().await.succeeds().prints("it was ended");
    assert!(ended.out.contains("replat advise --evidence .replat/captures/monday.jsonl"), "{}", ended.told());
    assert_eq!(world.left_overs().await, (0, 0, "0".into()));

    let file = ".replat/captures/monday.jsonl";
    let head = &world.lines(file)[0];
    assert_eq!((&head["format"], &head["sampled"]), (&"replat-evidence/1".into(), &1.0.into()));
    assert!(head["lacking"].to_string().contains("\\\"audit\\\" only what is inserted"), "{head}");

    let tables = world.of_kind(file, "table");
    let names: BTreeSet<&str> = tables.iter().filter_map(|table| table["name"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["accounts", "orders", "audit", "visits", "Odd one.it\"s"]));
    let accounts = table(&tables, "accounts");
    assert_eq!(accounts["rows"], 200);
    assert_eq!(accounts["primary_key"], serde_json::json!(["tenant", "id"]));
    assert_eq!(accounts["unique"], serde_json::json!([["email"]]));
    assert_eq!(accounts["columns"]["tenant"]["distinct"], 4.0);
    assert_eq!(accounts["columns"]["tenant"]["common"], serde_json::json!([0.25, 0.25, 0.25, 0.25]));
    assert_eq!(accounts["columns"]["tenant"]["bytes"], 4, "what a value takes in the row");
    let orders = table(&tables, "orders");
    assert_eq!(orders["references"][0]["columns"], serde_json::json!(["tenant", "account"]));
    assert_eq!(orders["references"][0]["parent"], "accounts");

    let statements = world.of_kind(file, "statement");
    let text = |line: &Value| line["text"].as_str().unwrap_or_default().to_owned();
    let insert = statements.iter().find(|line| text(line).starts_with("insert into orders"));
    assert_eq!(insert.expect("the insertion is counted")["calls"], 20);
    let ids: BTreeSet<&str> = statements.iter().filter_map(|line| line["id"].as_str()).collect();
    assert_eq!(ids.len(), statements.len(), "each statement is told once");

    let writes = world.of_kind(file, "writes");
    assert_eq!(writes.len(), 22, "{writes:?}");
    let sale = &writes[0]["rows"];
    let of = |n: usize| {
        (sale[n]["table"].as_str().unwrap_or_default(), sale[n]["op"].as_str().unwrap_or_default())
    };
    assert_eq!([of(0), of(1), of(2)], [("orders", "I"), ("audit", "I"), ("visits", "I")]);
    let tenant = &sale[0]["columns"]["tenant"];
    assert!(tenant.as_str().is_some_and(|hash| hash.len() == 16), "{tenant}");
    assert_eq!(tenant, &sale[1]["columns"]["tenant"]);
    assert_eq!(tenant, &sale[2]["columns"]["tenant"]);
    assert!(sale[0]["columns"].get("note").is_none() && sale[1]["columns"].get("what").is_none(), "{sale}");
    let deleted =
        writes.iter().flat_map(|line| line["rows"].as_array()).flatten().find(|row| row["op"] == "D");
    assert_eq!(deleted.expect("a deletion")["columns"].as_object().map(serde_json::Map::len), Some(2));

    let transactions = world.of_kind(file, "transaction");
    let sales: Vec<&Value> =
        transactions.iter().filter(|t| t["statements"].as_array().is_some_and(|s| s.len() == 4)).collect();
    assert_eq!(sales.len(), 20, "{transactions:?}");
    let numbers: BTreeSet<u64> = writes.iter().filter_map(|line| line["xid"].as_u64()).collect();
    for sale in &sales {
        assert!(numbers.contains(&sale["xid"].as_u64().expect("it wrote")), "{sale}");
        for executed in sale["statements"].as_array().expect("statements") {
            assert!(ids.contains(executed["statement"].as_str().expect("an id")), "{executed}");
        }
    }
    let first = sales.iter().find(|sale| sale["xid"] == writes[0]["xid"]).expect("the first sale");
    assert_eq!(
        &first["statements"][0]["parameters"][0], tenant,
        "a read and a write of one tenant are joined"
    );
    assert_eq!(first["statements"][1]["parameters"][3], Value::Null, "a note is nobody's key");
    world.program.line("capture list").await.succeeds().prints("monday").prints("ended");
    world
        .program
        .line(&format!("capture show {file} --json"))
        .await
        .succeeds()
        .prints("\"rows_written\": 62");

    // A capture is evidence by its name.
    for name in ["monday", "capture:monday"] {
        let advice = world.program.line(&format!("advise --evidence {name} --json")).await.succeeds().json();
        assert_eq!(advice["tier"], "T3", "{advice:#}");
        assert_eq!(advice["evidence"]["hashed"], true, "{advice:#}");
    }
    world.program.line("advise --evidence tuesday").await.fails("RP8001", 3).remarks("tuesday");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_keeps_what_was_captured() {
    for signal in ["INT", "TERM"] {
        let world = World::new().await;
        let capturing = world.start("--out shop.jsonl --json --max-transactions 100000").await;
        sell(&mut world.client().await, 1, 1).await;
        capturing.signal(signal).await;
        let told = capturing.end().await.succeeds().json();
        assert_eq!((&told["ended"], &told["evidence"]["writes"]), (&"stopped".into(), &1.into()), "{told}");
        assert_eq!(world.of_kind("shop.jsonl", "writes").len(), 1);
        assert_eq!(world.left_overs().await, (0, 0, "0".into()));
        world.program.line("capture start --from env:SHOP_URL --out shop.jsonl").await.fails("RP3103", 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_could_be_had_and_changes_nothing() {
    let world = World::new().await;
    let told = world.program.line("capture start -n --from env:SHOP_URL --sample-rate 0.5").await.succeeds();
    told.prints("T0 T1 T2 T3").prints("audit").prints("No change has been made.");
    let told = world.program.line("capture start -n --from env:SHOP_URL").await.succeeds();
    told.prints("T0 T1 T2\n").prints("--sample-rate auto");
    assert_eq!(world.left_overs().await, (0, 0, "0".into()));
    assert!(!world.path(".replat").exists());
}
