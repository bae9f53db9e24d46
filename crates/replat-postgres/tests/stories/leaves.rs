//! Natively partitioned tables: writers that name a leaf, and leaves that come and go.

use replat_control::Pulse;
use replat_model::deploy::{Event, Phase};
use replat_model::ids::Side;

use crate::harness::{Scene, Story, one_table, refused, run, value};
use crate::moments::{at_every_moment, until_planned};

const RANGE: &str = "
    create table notes (tenant_id bigint not null, id bigint not null, title text, primary key (tenant_id, id))
      partition by range (tenant_id);
    create table notes_low partition of notes for values from (minvalue) to (3);
    create table notes_high partition of notes for values from (3) to (maxvalue);
";

/// Two levels, and the tenant's rows in several leaves.
const LIST: &str = "
    create table notes (tenant_id bigint not null, id bigint not null, title text, primary key (tenant_id, id))
      partition by list (tenant_id);
    create table notes_two partition of notes for values in (2) partition by hash (id);
    create table notes_low partition of notes_two for values with (modulus 2, remainder 0);
    create table notes_odd partition of notes_two for values with (modulus 2, remainder 1);
    create table notes_rest partition of notes default;
";

const ROWS: &str = "
    insert into notes select t, n, 'title ' || n from generate_series(1, 3) t, generate_series(1, 250) n;
";

fn changes(k: i64) -> Vec<String> {
    let some_leaf = "update notes_low set title = 'by leaf' where tenant_id = 2 and id between";
    vec![
        format!("{some_leaf} {k} and {k} + 3"),
        format!("delete from notes_low where tenant_id = 2 and id between 100 + {k} and 103 + {k}"),
        format!("update notes set id = id + 1000 where tenant_id = 2 and id between 200 + {k} and 203 + {k}"),
        format!("insert into notes select 2, 5000 + {k} * 10 + n, 'new' from generate_series(1, 9) n"),
    ]
}

#[tokio::test]
async fn rows_written_through_a_leaf_arrive_in_a_range_partitioned_table() {
    at_every_moment(one_table("notes", RANGE, ROWS), changes, true).await;
}

#[tokio::test]
async fn rows_written_through_a_leaf_arrive_in_a_table_with_two_levels() {
    at_every_moment(one_table("notes", LIST, ROWS), changes, true).await;
}

/// Green need not be partitioned as blue is.
#[tokio::test]
async fn a_partitioned_table_becomes_a_plain_one() {
    let plain = "create table notes (tenant_id bigint, id bigint, title text, primary key (tenant_id, id));
        create view notes_low as select * from notes";
    let scene = Scene { ddl: plain.into(), ..one_table("notes", LIST, ROWS) };
    at_every_moment(scene, changes, true).await;
}

#[tokio::test]
async fn writers_that_name_a_leaf_are_fenced() {
    for table in [RANGE, LIST] {
        let story = one_table("notes", table, ROWS).begin().await;
        until_planned(&story).await;
        assert_eq!(refused(&story.blue, "truncate notes_low").await.0, "25006");
        story.until_phase(Phase::Ready).await;
        story.switch_to(Side::Green).await;
        // A key that lies in this very leaf, so that nothing but the guard can refuse it.
        let id = value(&story.blue, "select min(id) from notes_low where tenant_id = 2").await;
        let copy = format!("copy notes_low from program 'printf \"2\\t{id}\\tlate\\n\"'");
        for sql in [
            &format!("update notes_low set title = 'late' where tenant_id = 2 and id = {id}"),
            &format!("delete from notes_low where tenant_id = 2 and id = {id}"),
            &format!("insert into notes_low values (2, {id}, 'late')"),
            &copy,
        ] {
            assert_eq!(refused(&story.blue, sql).await.0, "25006", "{sql}");
        }
        assert_eq!(refused(&story.blue, "truncate notes_low").await.0, "25006");
        story.assert_equal().await;
    }
}

/// Blue is cut by id, so that the tenant has rows in every leaf, and there is room for more leaves; green is not cut.
fn cut_by_id() -> Scene {
    let tables = "
        create table notes (tenant_id bigint not null, id bigint not null, title text, primary key (tenant_id, id))
          partition by range (id);
        create table notes_low partition of notes for values from (minvalue) to (100);
        create table notes_odd partition of notes for values from (100) to (1000)";
    let plain = "create table notes (tenant_id bigint, id bigint, title text, primary key (tenant_id, id))";
    Scene { ddl: plain.into(), ..one_table("notes", tables, ROWS) }
}

/// A table that holds rows of the tenant, and nothing in the log says so when it becomes a leaf.
const COMES_WITH_ROWS: &str = "
    create table notes_new (like notes including all);
    insert into notes_new select t, n, 'came along' from generate_series(1, 2) t, generate_series(1000, 1009) n;
    alter table notes attach partition notes_new for values from (1000) to (2000)";

/// What nobody may do on blue when green is home, whichever table is named.
async fn assert_guarded(story: &Story, leaf: &str, id: i64) {
    for role in ["origin", "replica"] {
        run(&story.blue, &format!("set session_replication_role = {role}")).await;
        for sql in [
            format!("insert into {leaf} values (2, {id}, 'late')"),
            format!("insert into notes values (2, {id}, 'late')"),
            format!("update {leaf} set tenant_id = 2 where tenant_id = 1"),
            format!("truncate {leaf}"),
        ] {
            assert_eq!(refused(&story.blue, &sql).await.0, "25006", "as {role}: {sql}");
        }
    }
    run(&story.blue, "set session_replication_role = origin").await;
}

#[tokio::test]
async fn a_leaf_that_is_made_during_a_deployment_is_guarded_like_the_others() {
    let story = cut_by_id().begin().await;
    until_planned(&story).await;
    run(&story.blue, "create table notes_1 partition of notes for values from (1000) to (2000)").await;
    run(&story.blue, "insert into notes_1 select t, 1500, 'new' from generate_series(1, 2) t").await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    run(&story.blue, "create table notes_2 partition of notes for values from (2000) to (3000)").await;
    run(&story.blue, "insert into notes_2 select t, 2500, 'new' from generate_series(1, 2) t").await;
    story.switch_to(Side::Green).await;
    for (leaf, id) in [("notes_low", 50), ("notes_1", 1700), ("notes_2", 2700)] {
        assert_guarded(&story, leaf, id).await;
    }
    assert_eq!(value(&story.green, "select count(*) from notes where id in (1500, 2500)").await, "2");
    story.assert_equal().await;
    story.switch_to(Side::Blue).await;
    story.abort().await;
    let guards = "select count(*) from pg_trigger where tgname like 'zz_replat%'";
    assert_eq!(value(&story.blue, guards).await, "0");
    run(&story.blue, "truncate notes_2").await;
}

/// Compared before, and yet not the same any more: such a leaf must be found before anybody switches.
#[tokio::test]
async fn rows_that_come_along_with_a_leaf_are_found_before_a_switch() {
    let story = cut_by_id().begin().await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    run(&story.blue, COMES_WITH_ROWS).await;
    story.say(&Event::SwitchAsked { to: Side::Green, why: "now".into() });
    story.run_until_difference("the rows that came along are not on green").await;
    assert_eq!(story.state().home, Side::Blue);
    // Said once more, they are in the log.
    run(&story.blue, "update notes set title = title where id >= 1000").await;
    story.say(&Event::Resumed);
    story.run_until("the switch", |d, _| d.home == Side::Green && d.settled).await;
    story.settle().await;
    assert_eq!(value(&story.green, "select count(*) from notes where id >= 1000").await, "10");
    assert_guarded(&story, "notes_new", 1500).await;
    story.assert_equal().await;
}

/// Between the last look and the fence there is time for a leaf to come.
#[tokio::test]
async fn rows_that_come_along_in_the_last_moment_are_found_within_the_pause() {
    let story = cut_by_id().begin().await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    story.say(&Event::SwitchAsked { to: Side::Green, why: "now".into() });
    story.run_until("the attempt", |_, p| matches!(p, Pulse::Moved(Event::SwitchIntended { .. }))).await;
    run(&story.blue, COMES_WITH_ROWS).await;
    let mut why = String::new();
    story
        .run_until("a given-up attempt", |_, pulse| match pulse {
            Pulse::Moved(Event::FenceGivenUp { why: said, .. }) => {
                why = said.clone();
                true
            }
            Pulse::Moved(Event::Switched { .. }) => panic!("switched, and ten rows are lost"),
            _ => false,
        })
        .await;
    assert!(why.contains("leaves"), "{why}");
    story.run_until_difference("the rows that came along are not on green").await;
    assert_eq!(story.state().home, Side::Blue);
}

#[tokio::test]
async fn a_leaf_that_is_detached_stops_the_deployment_until_it_is_back() {
    let story = cut_by_id().begin().await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    run(&story.blue, "alter table notes detach partition notes_odd").await;
    story.say(&Event::SwitchAsked { to: Side::Green, why: "now".into() });
    let error = story.until_failed().await;
    assert_eq!(error.code(), "RP1003");
    let told = format!("{error} {}", error.remedy());
    for part in ["notes_odd", "detached from notes", "Attach", "abort"] {
        assert!(told.contains(part), "{told} says {part}");
    }
    assert_eq!(story.state().home, Side::Blue);
    run(&story.blue, "alter table notes attach partition notes_odd for values from (100) to (1000)").await;
    story.say(&Event::Resumed);
    story.run_until("the switch", |d, _| d.home == Side::Green && d.settled).await;
    story.settle().await;
    story.assert_equal().await;
    assert_guarded(&story, "notes_odd", 500).await;
}

/// While it was away, nobody saw what was written to it; its catalogue says the same as before.
#[tokio::test]
async fn what_was_written_to_a_leaf_while_it_was_detached_is_found_before_a_switch() {
    for tables in ["", "until the attempt"] {
        let story = cut_by_id().begin().await;
        story.until_phase(Phase::Ready).await;
        story.settle().await;
        story.say(&Event::SwitchAsked { to: Side::Green, why: "now".into() });
        if !tables.is_empty() {
            story
                .run_until("the attempt", |_, p| matches!(p, Pulse::Moved(Event::SwitchIntended { .. })))
                .await;
        }
        run(
            &story.blue,
            "alter table notes detach partition notes_odd; update notes_odd set title = 'unseen' where id = 200;
             alter table notes attach partition notes_odd for values from (100) to (1000)",
        )
        .await;
        story.run_until_difference("the change is not on green").await;
        assert_eq!(story.state().home, Side::Blue);
    }
}

/// The tenant's rows are one leaf, with leaves of its own: all of the partition goes away at once.
#[tokio::test]
async fn a_partition_that_is_one_leaf_and_is_detached_can_be_given_up_without_a_trace() {
    let story = one_table("notes", LIST, ROWS).begin().await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    run(&story.blue, "alter table notes detach partition notes_two").await;
    let error = story.until_failed().await;
    assert!(error.to_string().contains("detached from notes"), "{error}");
    story.abort().await;
    let left = "select string_agg(tgname::text, ',') from pg_trigger where tgname like 'zz_replat%'";
    assert_eq!(value(&story.blue, left).await, "");
    run(&story.blue, "truncate notes_low; update notes_two set title = 'free'; delete from notes").await;
}
