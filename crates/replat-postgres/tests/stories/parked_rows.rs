//! Parked keys are copied once more while the stream goes on: neither may overwrite what the other has brought.

use replat_engine::Engine;
use replat_model::deploy::Phase;
use replat_model::ids::Side;
use replat_model::next::Action;

use crate::harness::{Scene, run, value};

/// The copy is held up between its read and its write; meanwhile the row changes, and the stream has the change.
#[tokio::test]
async fn a_row_that_changes_while_its_parked_key_is_copied_keeps_the_change() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    let id = story.listed.id.as_str();
    run(
        &story.green,
        &format!("insert into replat.parked values ('{id}', 'blue', 0, array['2', '7'], 'for the story')"),
    )
    .await;
    // The copy deletes this entry before it writes, and waits here for that.
    run(&story.green, "begin; select 1 from replat.parked for update").await;
    let d = story.state();
    let action = Action::CopyParked { from: Side::Blue };
    let copying = story.engine.act(&d, &action, story.token());
    let meddling = async {
        let watcher = story.session(Side::Green).await;
        until(
            &watcher,
            "select count(*) > 0 from pg_stat_activity where datname = current_database() \
            and application_name like 'replat/parked/%' and wait_event_type = 'Lock'",
        )
        .await;
        run(&story.blue, "update accounts set note = 'newer' where tenant_id = 2 and id = 7").await;
        // The stream has brought it, or waits for the copy.
        until(
            &watcher,
            "select (select note from accounts where tenant_id = 2 and id = 7) = 'newer' or exists ( \
            select 1 from pg_stat_activity where datname = current_database() \
            and application_name like 'replat/apply/%' and wait_event_type = 'Lock')",
        )
        .await;
        run(&story.green, "commit").await;
    };
    let (copied, ()) = tokio::join!(copying, meddling);
    copied.expect("the key is copied");
    story.settle().await;
    story.assert_equal().await;
    assert_eq!(value(&story.green, "select count(*) from replat.parked").await, "0");
    story.switch_to(Side::Green).await;
    story.assert_equal().await;
}

async fn until(client: &tokio_postgres::Client, sql: &str) {
    for _ in 0..100_000 {
        if value(client, sql).await == "true" {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never became true: {sql}");
}

/// Two parked rows hold each other's unique values; put in place one after the other, neither could go first.
#[tokio::test]
async fn parked_rows_that_hold_each_others_values_are_put_in_place_together() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    let green = story.ends.connect_to_write(Side::Green, "story").await.expect("a session with the pass");
    let id = story.listed.id.as_str();
    run(
        &green,
        &format!(
            "begin; update accounts set email = 'tmp' where tenant_id = 2 and id = 7; \
             update accounts set email = 'u7@t2' where tenant_id = 2 and id = 8; \
             update accounts set email = 'u8@t2' where tenant_id = 2 and id = 7; \
             insert into replat.parked values ('{id}', 'blue', 0, array['2', '7'], 'story'), \
               ('{id}', 'blue', 0, array['2', '8'], 'story'); commit"
        ),
    )
    .await;
    let d = story.state();
    story.engine.act(&d, &Action::CopyParked { from: Side::Blue }, story.token()).await.expect("copied");
    assert_eq!(value(&story.green, "select count(*) from replat.parked").await, "0");
    story.assert_equal().await;
}
