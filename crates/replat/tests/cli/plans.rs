//! Plans: what they say, that making one changes nothing, and which of them are carried out.

use replat_testkit::saas;
use tokio_postgres::Client;

use crate::program::Ran;
use crate::world::{World, number};

/// Digests and estimates, which differ from run to run and from release to release, as one word each.
fn masked(text: &str) -> String {
    let is_digest = |word: &str| word.len() == 12 && word.chars().all(|c| c.is_ascii_hexdigit());
    let is_number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let mut lines = Vec::new();
    let mut predicted = false;
    for line in text.lines() {
        // What is predicted depends on the machine, over as many lines as there are.
        predicted = line.starts_with("  predicted ") || predicted && line.starts_with("               ");
        if predicted {
            lines.extend(line.starts_with("  predicted ").then(|| "  predicted    FIGURES".to_owned()));
            continue;
        }
        let estimate = line.contains("about ") && line.contains(" rows, ");
        let words: Vec<&str> = line.split(' ').collect();
        let shown: Vec<&str> = words
            .iter()
            .enumerate()
            .map(|(n, word)| match word {
                word if is_digest(word) => "DIGEST",
                word if estimate && is_number(word) && words.get(n + 1) != Some(&"tables,") => "N",
                &("B" | "KiB" | "MiB" | "B," | "KiB," | "MiB,") if estimate => "UNIT",
                word => word,
            })
            .collect();
        lines.push(shown.join(" "));
    }
    lines.join("\n") + "\n"
}

/// The text is what the golden file says. With UPDATE_GOLDEN set, it says so from now on.
#[track_caller]
fn is_golden(ran: &Ran, name: &str, golden: &str) {
    let text = masked(&ran.out);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden").join(name);
        std::fs::write(path, text).expect("the golden file can be written");
        return;
    }
    assert_eq!(text, golden, "{name}\n{}", ran.told());
}

/// Everything that a catalogue knows, in short: how many rows, and the newest transaction that wrote one.
async fn catalogue(client: &Client) -> Vec<(String, i64, i64)> {
    let mut found = Vec::new();
    for table in [
        "pg_attribute",
        "pg_class",
        "pg_constraint",
        "pg_db_role_setting",
        "pg_depend",
        "pg_description",
        "pg_event_trigger",
        "pg_index",
        "pg_namespace",
        "pg_proc",
        "pg_publication",
        "pg_subscription",
        "pg_trigger",
        "pg_type",
    ] {
        let sql = format!("select count(*), coalesce(max(xmin::text::bigint), 0) from {table}");
        let row = client.query_one(&sql, &[]).await.expect(table);
        found.push((table.to_owned(), row.get(0), row.get(1)));
    }
    let slots = "select count(*) from pg_replication_slots where database = current_database()";
    found.push(("slots".into(), number(client, slots).await, 0));
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_moves_and_what_changes_and_leaves_both_databases_alone() {
    let world = World::example().await;
    let (blue, green) = (world.on_blue().await, world.on_green().await);
    let before = (catalogue(&blue).await, catalogue(&green).await);

    let ran = world.replat("plan deploy -p tenant_id=3").await.succeeds();
    is_golden(&ran, "plan.txt", include_str!("golden/plan.txt"));
    assert!(ran.err.is_empty(), "{}", ran.told());
    let ran = world.replat("plan deploy -p tenant_id=3 --detail").await.succeeds();
    is_golden(&ran, "plan-detail.txt", include_str!("golden/plan-detail.txt"));
    let ran = world.replat("plan deploy -p tenant_id=3 --dry-run").await.succeeds();
    is_golden(&ran, "plan-dry-run.txt", include_str!("golden/plan-dry-run.txt"));

    let said = world.replat("plan deploy -p tenant_id=3 --out plan.json --json").await.succeeds().json();
    let digest = said["digest"].as_str().expect("a digest");
    assert!(digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit()), "{digest}");
    let file: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(world.path("plan.json")).expect("a plan"))
            .expect("JSON");
    assert_eq!(file, said, "the file and standard output are the same plan");
    let shown = world.replat("show plan.json").await.succeeds().prints(&digest[..12]);
    assert!(shown.out.contains("split_part(full_name, ' ', 1)"), "{}", shown.told());
    assert_eq!(world.replat("show plan.json --json").await.succeeds().json(), said);
    world.replat("apply plan.json --dry-run").await.succeeds().prints("the point of no return");

    assert_eq!(before, (catalogue(&blue).await, catalogue(&green).await));
    assert_eq!(world.replat("deploy list --json").await.succeeds().json(), serde_json::json!([]));
}

/// An index whose predicate counts, and planning a query on its table is enough to evaluate it. A session that may
/// write leaves a mark on the counter; one that may not is refused by the server, and notes that.
const WITNESS: &str = "
    create sequence witness_counter;
    create function witness() returns integer language plpgsql immutable as $$
    begin
        perform nextval('public.witness_counter');
        return 1;
    exception when read_only_sql_transaction then
        return 1;
    end $$;
    create index witness on users (id) where public.witness() = 1;";

async fn marks(client: &Client) -> i64 {
    number(client, "select case when is_called then last_value else 0 end from witness_counter").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_cannot_write_since_the_server_does_not_let_it() {
    let world = World::example().await;
    let blue = world.on_blue().await;
    blue.batch_execute(WITNESS).await.expect("a witness");
    let before = marks(&blue).await;
    world.replat("plan deploy -p tenant_id=3 --out plan.json").await.succeeds();
    assert!(marks(&blue).await > before, "the witness sees sessions that may write");

    let before = marks(&blue).await;
    world.replat("plan deploy -p tenant_id=3 --dry-run").await.succeeds().prints("nothing will be changed");
    world.replat("deploy -p tenant_id=3 --dry-run").await.succeeds().prints("nothing will be changed");
    world.replat("apply plan.json -n").await.succeeds().prints("No change has been made.");
    assert_eq!(marks(&blue).await, before, "a dry run wrote");

    world.replat("apply plan.json -y --hold").await.succeeds();
    let before = marks(&blue).await;
    world.replat("verify -p tenant_id=3").await.succeeds();
    world.replat("deploy get --live").await.succeeds();
    assert_eq!(marks(&blue).await, before, "looking and comparing wrote");
    world.replat("deploy abort").await.succeeds();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hazard_that_nobody_allowed_is_named_and_stops_the_deployment() {
    let world = World::example_with(|spec| {
        spec.replace("reversible = \"accept-lossy\"", "reversible = \"required\"").replace("1h", "0s")
    })
    .await;
    world
        .replat("plan deploy -p tenant_id=3 --out plan.json")
        .await
        .succeeds()
        .prints("needs --allow LOSSY_ROLLBACK");
    for line in ["deploy -p tenant_id=3 -y", "apply plan.json -y", "apply plan.json -y --allow DERIVED_ONLY"]
    {
        world
            .replat(line)
            .await
            .fails("RP2005", 3)
            .remarks("LOSSY_ROLLBACK: ")
            .remarks("legacy_note")
            .remarks("--allow LOSSY_ROLLBACK");
    }
    assert_eq!(world.replat("deploy list --json").await.json(), serde_json::json!([]));
    world.replat("apply plan.json -y --hold --allow LOSSY_ROLLBACK").await.succeeds();
    world.replat("deploy abort").await.succeeds();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_yes_nothing_is_begun() {
    let world = World::example().await;
    for line in ["deploy -p tenant_id=3", "deploy -p tenant_id=3 --no-input"] {
        world.replat(line).await.fails("RP2008", 13).remarks("--yes");
    }
    assert_eq!(world.replat("deploy list --json").await.json(), serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_carried_out_once_and_saying_it_again_is_no_failure() {
    let world = World::example().await;
    world.replat("plan deploy -p tenant_id=3 --out plan.json").await.succeeds();
    let ran = world
        .replat("apply plan.json -y")
        .await
        .succeeds()
        .prints("finished")
        .remarks("switched to green at e2");
    assert!(ran.out.contains("kept"), "{}", ran.told());
    world.replat("apply plan.json -y").await.succeeds().prints("carried out already, as d1");
    let again = world.replat("apply plan.json -y --json").await.succeeds().json();
    assert_eq!((&again["id"], &again["already"]), (&"d1".into(), &true.into()));
    world.replat("deploy -p tenant_id=3 -y").await.fails("RP2007", 3).remarks("green.saas");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_plan_is_refused_and_says_what_changed() {
    let world = World::example().await;
    world.replat("plan deploy -p tenant_id=3 --out plan.json").await.succeeds();
    let blue = world.on_blue().await;
    let cases = [
        ("alter table orders add fee numeric", "alter table orders drop fee", "orders got a column fee"),
        ("alter table users alter note type varchar(9)", "", "note"),
        ("create unique index extra on payments (tenant_id, reference)", "drop index extra", "extra"),
    ];
    blue.batch_execute("alter table users add note text").await.expect("a column");
    world.replat("plan deploy -p tenant_id=3 --out plan.json").await.succeeds();
    for (change, back, said) in cases {
        blue.batch_execute(change).await.expect(change);
        for line in ["apply plan.json -y", "apply plan.json --dry-run"] {
            world.replat(line).await.fails("RP2003", 3).remarks(said).remarks("replat plan deploy");
        }
        blue.batch_execute(back).await.expect(back);
        if back.is_empty() {
            world.replat("plan deploy -p tenant_id=3 --out plan.json").await.succeeds();
        }
    }
    let ddl = std::fs::read_to_string(world.path("schema_v2.sql")).expect("the DDL");
    world.write("schema_v2.sql", &format!("{ddl}\n-- one more line\n"));
    for line in ["apply plan.json -y", "apply plan.json --dry-run"] {
        world.replat(line).await.fails("RP2003", 3).remarks("DDL was changed");
    }
    world.write("schema_v2.sql", &ddl);
    let spec = std::fs::read_to_string(world.path("replat.toml")).expect("the spec");
    world
        .write("replat.toml", &spec.replace("lower(split_part(email, '@', 2))", "split_part(email, '@', 2)"));
    world.replat("apply plan.json -y").await.fails("RP2003", 3).remarks("the spec says something else");
    let onwards = spec.replace("version = \"v2\"", "version = \"v3\"").replace(r#""v2"]"#, r#""v3"]"#);
    world.write("replat.toml", &onwards);
    world.replat("apply plan.json -y").await.fails("RP2003", 3).remarks("was v2 and is v3");
    assert_eq!(world.replat("deploy list --json").await.json(), serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_somebody_changed_is_refused() {
    let world = World::example().await;
    world.replat("plan deploy -p tenant_id=3 --out plan.json").await.succeeds();
    let plan = std::fs::read_to_string(world.path("plan.json")).expect("the plan");
    for (right, wrong) in [
        ("\"tenant_id_3\"", "\"tenant_id_4\""),
        ("split_part(full_name, ' ', 1)", "'x'"),
        ("- users.legacy_note", "- users.another"),
        ("\"DeployPlan\"", "\"Plan\""),
        ("\"kind\"", "\"kin\""),
        ("{", "["),
    ] {
        assert!(plan.contains(right), "{right} is in the plan");
        world.write("tampered.json", &plan.replacen(right, wrong, 1));
        for line in ["apply tampered.json -y", "show tampered.json"] {
            world.replat(line).await.fails("RP2004", 3).remarks("tampered.json is not a plan");
        }
    }
    world.replat("apply missing.json -y").await.fails("RP2004", 3).remarks("missing.json");
    world.replat("show missing.json").await.fails("RP2006", 3).remarks("missing.json");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_all_said_at_once_with_remedies() {
    let world = World::example().await;
    let blue = world.on_blue().await;
    blue.batch_execute("alter table events drop constraint events_pkey").await.expect("no key any more");
    let ran = world.replat("plan deploy -p tenant_id=3").await.fails("RP2002", 4).remarks("events");
    assert!(ran.out.is_empty(), "{}", ran.told());
    blue.batch_execute("alter table payments add extra text not null default 'x'").await.expect("a column");
    world.replat("plan deploy -p tenant_id=3").await.fails("RP2002", 4).remarks("events");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_cannot_be_meant_is_refused_with_a_way_to_say_it() {
    let world = World::example().await;
    for (partition, said) in [
        ("tenat_id=4", "did you mean tenant_id?"),
        ("tenant_id=x", "bigint"),
        ("tenant_id=[6,3)", "empty"),
        ("nobody", "nobody"),
        ("", "-p tenant_id=VALUE"),
    ] {
        let ran = world.program.run(&["plan", "deploy", "-p", partition]).await;
        ran.fails("RP2006", 3).remarks(said);
    }
    world.replat("plan deploy -C shop -p tenant_id=4").await.fails("RP2006", 3).remarks("saas");
}

#[tokio::test(flavor = "multi_thread")]
async fn green_may_have_its_tables_already_but_no_rows_of_the_partition() {
    let world = World::example_with(|spec| spec.replace("ddl = [\"schema_v2.sql\"]", "")).await;
    let green = world.on_green().await;
    saas::create_v2(&green, "saas").await.expect("the v2 schema");
    world.replat("plan deploy -p tenant_id=3").await.succeeds().prints("green has it already");
    let row = "insert into saas.tenants (tenant_id, slug) values (3, 'left over')";
    green.batch_execute(row).await.expect("a row");
    world
        .replat("plan deploy -p tenant_id=3")
        .await
        .fails("RP2002", 4)
        .remarks("GREEN_NOT_EMPTY")
        .remarks("1 thing stands in the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_recorded_with_each_switch_and_none_is_passed_over() {
    let world = World::example_with(|spec| spec).await;
    world
        .replat("plan deploy -p tenant_id=3")
        .await
        .succeeds()
        .prints("version      v1 -> v2")
        .prints("old code     on green: reads no, inserts no, updates no, deletes yes")
        .prints("new code     on blue: reads no, inserts no, updates no, deletes yes")
        .prints("payments.amount: the column is not there");
    let ran = world.replat("plan deploy -p tenant_id=3 --json").await.succeeds();
    let file: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(file["plan"]["version_before"], "v1");
    let breaks = file["compatibility"]["old_on_new"]["breaks"].as_array().expect("findings");
    let amount = breaks.iter().find(|found| found["column"] == "amount").expect("a column that is gone");
    assert_eq!(amount["works"], serde_json::json!(["reads", "inserts", "updates"]));

    let spec = std::fs::read_to_string(world.path("replat.toml")).expect("the spec");
    let versions = |list: &str| world.write("replat.toml", &spec.replace(r#"["v1", "v2"]"#, list));
    versions(r#"["v1", "v1b", "v2"]"#);
    let ran = world.replat("plan deploy -p tenant_id=3").await.fails("RP2002", 4);
    ran.remarks("VERSION_GAP tenant_id_3 is at v1, and v2 comes after v1b").remarks("after = \"v1\"");
    world.replat("doctor -p tenant_id=3").await.prints("VERSION_GAP");
    world.write(
        "replat.toml",
        &spec
            .replace(r#"["v1", "v2"]"#, r#"["v1", "v1b", "v2"]"#)
            .replace("version = \"v2\"", "version = \"v2\"\nafter = \"v1\""),
    );
    world.replat("deploy -p tenant_id=3 -y --hold").await.succeeds();
    world.replat("deploy list").await.succeeds().prints("blue   v1");
    world.replat("deploy switch").await.succeeds();
    world.replat("deploy list").await.succeeds().prints("green  v2");
    world.replat("deploy get").await.succeeds().prints("v1 -> v2, now v2");
    world.replat("route lookup tenant_id=3").await.succeeds().prints("schema v2");
    // What is carved out of the moved partition would be at its version; the others are where they were.
    let to_v3 = spec
        .replace(r#"["v1", "v2"]"#, r#"["v1", "v2", "v3"]"#)
        .replace("version = \"v2\"", "version = \"v3\"");
    let to_v3 = to_v3.replace("schema = \"saas\" }", "schema = \"saas3\" }");
    world.write("replat.toml", &to_v3);
    world
        .replat("plan deploy -p tenant_id=4")
        .await
        .fails("RP2002", 4)
        .remarks("is at v1, and v3 comes after v2");
    world.replat("deploy rollback").await.succeeds();
    world.replat("deploy list").await.succeeds().prints("blue   v1");
    world.replat("route lookup tenant_id=3").await.succeeds().prints("schema v1");
}
