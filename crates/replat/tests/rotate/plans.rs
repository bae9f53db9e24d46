//! Plan first: what is shown, what is applied, and what no longer fits.

use serde_json::Value;

use crate::world::{World, daily};

const WANTED: &str = "--buffer-days=5";

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_shown_applied_once_and_then_stale() {
    let world = World::with(&daily("events", -2, 1)).await;
    let ran = world.verb("plan rotate", &format!("{WANTED} --out p.json --exit-code")).await.exits(10);
    let ran = ran
        .prints("create public.events +4")
        .prints("No change has been made.")
        .prints("replat apply p.json");
    assert!(ran.err.is_empty(), "{}", ran.told());
    let shown = world.program.line("show p.json").await.succeeds();
    for part in ["ATTACH PARTITION", "locks public.events in SHARE UPDATE EXCLUSIVE", "CREATE TABLE"] {
        assert!(shown.out.contains(part), "{part}: {}", shown.told());
    }
    let file: Value = serde_json::from_str(&std::fs::read_to_string(world.path("p.json")).expect("the plan"))
        .expect("JSON");
    assert_eq!(world.program.line("show p.json --json").await.succeeds().json(), file);

    // Somebody changed the file after it was approved.
    let changed = file.to_string().replacen("public", "pubIic", 1);
    std::fs::write(world.path("changed.json"), changed).expect("a file");
    world.verb("apply changed.json", "").await.fails("RP2004", 3).remarks("digest");

    world.verb("apply p.json", "").await.succeeds().prints("created=4");
    world.verb("apply p.json", "").await.fails("RP2003", 3).remarks("no longer fits");
    let ran = world.verb("plan rotate", &format!("{WANTED} --exit-code")).await.succeeds();
    assert!(ran.out.contains("nothing to do") || ran.out.contains("0 units"), "{}", ran.told());

    // A plan of one database is none of another.
    let other = World::with(&daily("events", -2, 1)).await;
    world.verb("plan rotate", "--buffer-days=9 --out q.json").await.succeeds();
    let url = format!("--db-url={}", other.url("app"));
    world
        .program
        .run(&["apply", "q.json", &url])
        .await
        .fails("RP2003", 3)
        .remarks("was made for the database");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_any_change_of_partitions_a_plan_is_refused() {
    let world = World::with(&format!(
        "{} create table other (k int) partition by list (k); create table other_1 partition of other for values in (1)",
        daily("events", -2, 1)
    ))
    .await;
    let today = world.column("select 'events_' || to_char(current_date, 'YYYYMMDD')").await.remove(0);
    let again = format!(
        "do $$ begin execute format('alter table events attach partition {today} for values from (%L) to (%L)', \
           current_date, current_date + 1); end $$"
    );
    for change in [
        "create table other_2 partition of other for values in (2)".to_owned(),
        "drop table other_2".to_owned(),
        format!("alter table events detach partition {today}"),
        again,
        format!(
            "alter table events detach partition {today}; drop table {today}; create table {today} (like events); \
                 alter table {today} add primary key (id, ts); do $$ begin execute format('alter table events attach \
                 partition {today} for values from (%L) to (%L)', current_date, current_date + 1); end $$"
        ),
        "create table events_default partition of events default".to_owned(),
        "create table more (id int) partition by range (id)".to_owned(),
        "drop table more".to_owned(),
    ] {
        world.verb("plan rotate", &format!("{WANTED} --out p.json")).await.succeeds();
        world.app(&change).await;
        let before = world.mark().await;
        let ran = world.verb("apply p.json", "").await;
        assert_eq!(ran.code, Some(3), "{change}: {}", ran.told());
        assert_eq!(world.mark().await, before, "{change}: a stale plan wrote something");
        let ran = ran.fails("RP2003", 3).remarks("plan rotate");
        assert!(!ran.out.contains("create"), "{change}: {}", ran.told());
    }
    world.verb("plan rotate", &format!("{WANTED} --out p.json")).await.succeeds();
    // What is no partition changes nothing about it.
    world.app("create table notes (id int); insert into events (ts) values (now())").await;
    world.verb("apply p.json", "").await.succeeds().prints("created=4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_statements_and_locks_and_cannot_write() {
    let world = World::with(include_str!("shapes.sql")).await;
    let before = world.mark().await;
    // The empty table has no plan, whatever the run does.
    let ran = world.rotate("--buffer-days=30 --dry-run --adopt --keep=5d").await.exits(4);
    assert_eq!(world.mark().await, before, "a dry run wrote something");
    let ran = ran.remarks("No change has been made.").prints("rotate shown created=0");
    for part in [
        "CREATE TABLE \"bill\".\"daily_",
        "ATTACH PARTITION",
        "locks bill.daily in SHARE UPDATE EXCLUSIVE",
        "locks public.weekly_def in ACCESS EXCLUSIVE",
        "would create",
        "would drain",
        "would retire",
        "DETACH PARTITION",
        "of log,",
    ] {
        assert!(ran.out.contains(part), "{part} is missing: {}", ran.told());
    }
    assert!(
        !ran.out.contains("lifecycle_unit"),
        "replat's own records are told of only with -v: {}",
        ran.told()
    );
    let ran = world.rotate("--buffer-days=30 --dry-run -t bill.daily --json").await.succeeds();
    let script = &ran.json()["databases"][0]["entries"][0]["script"];
    assert!(script["transactions"].as_array().is_some_and(|t| !t.is_empty()), "{}", ran.told());
    assert_eq!(world.mark().await, before, "a dry run wrote something");
    // Whatever else looks writes nothing either.
    world.verb("plan rotate", "--buffer-days=30 --out p.json").await.succeeds();
    world.rotate("--check").await;
    world.verb("runway", "").await.succeeds();
    world.verb("eject", "").await;
    assert_eq!(world.mark().await, before, "a look wrote something");
}
