//! What must stop a stream: tables that change their shape, and slots that are not the one that was made.

use replat_engine::EngineError;
use replat_model::deploy::{Event, Phase};
use replat_model::ids::Side;

use crate::harness::{Scene, Story, run, value};

/// Traffic goes on where it was, and nothing was switched.
async fn assert_safe_on_blue(story: &Story) {
    run(&story.blue, "insert into accounts (tenant_id, id) values (2, 9500)").await;
    assert_eq!(story.state().home, Side::Blue);
    let switched = story.events().iter().any(|e| matches!(e, Event::Switched { .. }));
    assert!(!switched, "a stream that stopped proves nothing");
    let code = story
        .green
        .batch_execute("insert into accounts (tenant_id, id) values (2, 9501)")
        .await
        .expect_err("green stays closed");
    assert_eq!(code.code().map(|c| c.code()), Some("25006"));
}

#[tokio::test]
async fn a_table_that_changes_its_shape_stops_the_stream_before_a_value_is_lost() {
    let changes = [
        ("alter table accounts add column extra text", "extra"),
        ("alter table accounts rename column note to remark", "remark"),
        ("alter table accounts drop column slot", "slot"),
    ];
    for (change, column) in changes {
        let story = Scene::default().begin().await;
        story.until_phase(Phase::Ready).await;
        run(&story.blue, change).await;
        run(&story.blue, "update accounts set email = null where tenant_id = 2 and id < 5").await;
        let error = story.until_failed().await;
        let EngineError::Precondition { what, .. } = &error else { panic!("{change}: {error:?}") };
        assert!(what.contains("accounts") && what.contains(column), "{change}: {what}");
        story.say(&Event::SwitchAsked { to: Side::Green, why: "anyway".into() });
        story.until_failed().await;
        assert_safe_on_blue(&story).await;
        story.abort().await;
    }
}

/// From PostgreSQL 18 on, the stream passes over changes in silence where its publication is gone; before, so it does
/// where only a table is.
#[tokio::test]
async fn a_publication_that_no_longer_has_a_table_stops_the_deployment() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    let name = value(&story.blue, "select quote_ident(pubname) from pg_publication").await;
    for change in ["alter publication {} drop table accounts", "drop publication {}"] {
        run(&story.blue, &change.replace("{}", &name)).await;
        let error = story.until_failed().await;
        assert!(format!("{error:?}").contains("publication"), "{change}: {error:?}");
    }
    assert_safe_on_blue(&story).await;
}

async fn drop_slot(story: &Story, side: Side) {
    let slot = story.ends.slot(side);
    let sql = format!(
        "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '{slot}' and active"
    );
    // The reader may come back in between; then it is ended once more.
    loop {
        run(story.side(side), &sql).await;
        let dropped =
            story.side(side).batch_execute(&format!("select pg_drop_replication_slot('{slot}')")).await;
        if dropped.is_ok() {
            return;
        }
    }
}

async fn until_slot_lost(story: &Story) {
    let error = story.until_failed().await;
    assert!(matches!(error, EngineError::SlotLost { .. }), "{error:?}");
}

#[tokio::test]
async fn a_slot_that_was_dropped_is_said_to_be_lost() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    drop_slot(&story, Side::Blue).await;
    run(&story.blue, "update accounts set note = 'unseen' where tenant_id = 2").await;
    story.say(&Event::SwitchAsked { to: Side::Green, why: "now".into() });
    until_slot_lost(&story).await;
    assert_safe_on_blue(&story).await;
    story.abort().await;
}

#[tokio::test]
async fn a_slot_that_was_made_anew_under_its_name_is_not_taken_for_the_old_one() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    drop_slot(&story, Side::Blue).await;
    run(&story.blue, "update accounts set note = 'unseen' where tenant_id = 2").await;
    let slot = story.ends.slot(Side::Blue);
    run(&story.blue, &format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
    run(&story.blue, "update accounts set note = 'seen' where tenant_id = 2 and id < 9").await;
    story.say(&Event::SwitchAsked { to: Side::Green, why: "now".into() });
    until_slot_lost(&story).await;
    assert_safe_on_blue(&story).await;
    story.abort().await;
}

#[tokio::test]
async fn the_way_back_is_lost_with_its_slot_and_green_goes_on() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    story.switch_to(Side::Green).await;
    drop_slot(&story, Side::Green).await;
    run(&story.green, "update accounts set note = 'unseen' where tenant_id = 2").await;
    let slot = story.ends.slot(Side::Green);
    run(&story.green, &format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
    story.say(&Event::SwitchAsked { to: Side::Blue, why: "back".into() });
    until_slot_lost(&story).await;
    assert_eq!(story.state().home, Side::Green);
    run(&story.green, "insert into accounts (tenant_id, id) values (2, 9500)").await;
    assert_eq!(value(&story.blue, "select count(*) from accounts where note = 'unseen'").await, "0");
}
