//! What has gone wrong elsewhere, one story each: see docs/traps.md.

use std::time::Duration;

use replat_control::Pulse;
use replat_model::deploy::{Event, Phase};
use replat_model::ids::Side;

use crate::harness::{SHOP, Scene, TENANT, one_table, refused, run, value};

/// Runs until a question has this answer. The runner ticks meanwhile; a question that never has it fails the story.
async fn until(story: &crate::harness::Story, client: &tokio_postgres::Client, question: &str, answer: &str) {
    let asking = async {
        while value(client, question).await != answer {
            story.run_until("a tick", |_, _| true).await;
            tokio::task::yield_now().await;
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(60), asking).await;
    asked.unwrap_or_else(|_| panic!("{question} never became {answer}"));
}

#[tokio::test]
async fn a_writer_that_was_there_before_the_slot_is_waited_for_and_holds_up_nobody() {
    let story = Scene::default().begin().await;
    let long = story.session(Side::Blue).await;
    run(&story.blue, "create table elsewhere (n int)").await;
    run(&long, "begin; insert into elsewhere values (1)").await;
    let observer = story.session(Side::Blue).await;
    let telling = async {
        // The slot is on its way, and waits for this very transaction.
        let waiting = "select count(*) from pg_stat_activity where application_name like 'replat/slot/%' \
                       and wait_event_type = 'Lock' and datname = current_database()";
        while value(&observer, waiting).await == "0" {
            tokio::task::yield_now().await;
        }
        for n in 0..50 {
            run(&observer, &format!("insert into accounts (tenant_id, id) values (2, {})", 5_000 + n)).await;
        }
        run(
            &long,
            "update accounts set note = 'begun before the slot' where tenant_id = 2 and id = 7; commit",
        )
        .await;
    };
    tokio::join!(story.until_phase(Phase::Ready), telling);
    story.settle().await;
    assert_eq!(
        value(&story.green, "select note from accounts where tenant_id = 2 and id = 7").await,
        "begun before the slot"
    );
    story.assert_equal().await;
}

#[tokio::test]
async fn a_row_that_green_forbids_stops_the_copy_and_blue_goes_on() {
    let ddl = SHOP.replace("slot int,", "slot int check (slot <> 249),");
    // The plan tells it; here nobody looked.
    let story = Scene { ddl, blind: true, ..Scene::default() }.begin().await;
    let error = story.until_failed().await;
    assert!(format!("{error:?}").contains("accounts_slot_check"), "{error:?}");
    // Whoever mends the row on blue lets the deployment go on.
    run(&story.blue, "update accounts set slot = 0 where tenant_id = 2 and slot = 249").await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    story.assert_equal().await;
}

#[tokio::test]
async fn a_key_that_lies_out_of_line_is_found_again() {
    let table = "
        create table pages (
          tenant_id bigint not null, path text not null, body text, primary key (tenant_id, path)
        );
        alter table pages alter path set storage external, alter body set storage external;
    ";
    let long =
        |n: &str| format!("(select string_agg(md5({n}::text || i), '') from generate_series(1, 75) i)");
    let rows =
        format!("insert into pages select 2, {}, repeat('b', 3000) from generate_series(1, 50) n", long("n"));
    let story = one_table("pages", table, &rows).begin().await;
    story.until_phase(Phase::Ready).await;
    let of = |n: i64| format!("path = {}", long(&n.to_string()));
    for side in [Side::Blue, Side::Green] {
        let client = story.side(side);
        let base = if side == Side::Blue { 1 } else { 21 };
        run(client, &format!("update pages set body = 'short' where {}", of(base))).await;
        run(client, &format!("update pages set body = repeat('c', 4000) where {}", of(base + 1))).await;
        run(client, &format!("update pages set path = path || '!' where {}", of(base + 2))).await;
        run(client, &format!("delete from pages where {}", of(base + 3))).await;
        story.settle().await;
        story.assert_equal().await;
        story.switch_to(side.other()).await;
        story.assert_equal().await;
    }
    assert_eq!(value(&story.blue, "select count(*) from pages").await, "48");
}

#[tokio::test]
async fn a_large_transaction_right_before_the_fence_is_on_green_when_green_opens() {
    let policy = "lag_max = '1GiB'\npause_max = '500ms'\nattempts = 20";
    let story = Scene { policy, ..Scene::default() }.begin().await;
    story.until_phase(Phase::Ready).await;
    run(
        &story.blue,
        "insert into moves select 2, 10000 + n, 1 + n % 250, n from generate_series(1, 20000) n",
    )
    .await;
    story.say(&Event::SwitchAsked { to: Side::Green, why: "now".into() });
    story
        .run_until("the opening of green", |d, pulse| {
            d.home == Side::Green && matches!(pulse, Pulse::Acted(_))
        })
        .await;
    let arrived = value(&story.green, "select count(*) from moves where tenant_id = 2 and id > 10000").await;
    assert_eq!(arrived, "20000");
    story.run_until("the switch", |d, _| d.settled).await;
    story.settle().await;
    story.assert_equal().await;
}

#[tokio::test]
async fn a_quiet_partition_does_not_keep_the_log_of_a_busy_server() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    run(
        &story.blue,
        "create table noise (line text); insert into noise select md5(n::text) from generate_series(1, 20000) n",
    )
    .await;
    let end = value(&story.blue, "select pg_current_wal_lsn()").await;
    let passed = format!(
        "select confirmed_flush_lsn >= '{end}' from pg_replication_slots where slot_name = '{}'",
        story.ends.slot(Side::Blue)
    );
    until(&story, &story.blue, &passed, "true").await;
}

#[tokio::test]
async fn a_session_that_replicates_is_fenced_like_any_other() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    story.switch_to(Side::Green).await;
    run(&story.blue, "set session_replication_role = replica").await;
    for sql in [
        format!("insert into accounts (tenant_id, id) values ({TENANT}, 9999)"),
        format!("update accounts set note = 'stale' where tenant_id = {TENANT}"),
        format!("delete from moves where tenant_id = {TENANT}"),
    ] {
        assert_eq!(refused(&story.blue, &sql).await.0, "25006", "{sql}");
    }
}

#[tokio::test]
async fn green_knows_its_rows_before_anybody_asks() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    for table in ["accounts", "moves", "currencies"] {
        let known = format!(
            "select reltuples > 0 and exists (select 1 from pg_stats where schemaname = 'shop' and tablename = '{table}') \
             from pg_class where oid = 'shop.{table}'::regclass"
        );
        assert_eq!(value(&story.green, &known).await, "true", "{table}");
    }
}
