//! Rows that do not fit the new shape: found before the switch, named, and no harm to blue.

use replat_control::Pulse;
use replat_engine::{EngineError, Verdict};
use replat_model::deploy::{Event, Phase};
use replat_model::ids::Side;

use crate::harness::{Scene, Story, one_table, run, value};
use crate::moments::until_planned;

const ITEMS: &str = "create table items (tenant_id bigint, id bigint, email text, total int, parts int, primary key (tenant_id, id));";

const ROWS: &str = "insert into items select t, n, format('user%s@example', n), n * 10, 1 + n % 5
                    from generate_series(1, 3) t, generate_series(1, 3000) n;";

/// Items with a map.
fn mapped(spec: &'static str, green: &'static str) -> Scene {
    Scene { ddl: green.into(), spec, ..one_table("items", ITEMS, ROWS) }
}

/// Lower case there, the same text back: right for all rows but those with capitals.
fn lowered() -> Scene {
    mapped(
        "[contexts.shop.rollout.map.items.email]\nup = 'lower(email)'\ndown = { column = 'email', sql = 'email' }",
        ITEMS,
    )
}

/// A share, which has no value where nothing is shared.
fn shared_out() -> Scene {
    mapped(
        "[contexts.shop.rollout.map.items.share]\nup = 'total / parts'",
        "create table items (tenant_id bigint, id bigint, email text, total int, parts int, share int,
                             primary key (tenant_id, id))",
    )
}

async fn blue_is_as_it_was(story: &Story, count: &str) {
    assert_eq!(value(&story.blue, "select count(*) from items").await, count);
    run(&story.blue, "update items set total = total where tenant_id = 2 and id = 1").await;
}

async fn leaves_no_trace(story: &Story) {
    story.abort().await;
    let traces = "select (select count(*) from pg_namespace where nspname in ('replat', 'shop'))
                       + (select count(*) from pg_replication_slots where database = current_database())
                       + (select count(*) from pg_trigger where tgname like '%replat%')
                       + (select count(*) from pg_publication)";
    assert_eq!(value(&story.blue, traces).await, "0");
    assert_eq!(value(&story.green, traces).await, "0");
}

/// The first comparison that fails: its samples.
async fn until_different(story: &Story) -> Vec<String> {
    let mut samples = Vec::new();
    let runner = story.runner();
    let running = runner.run(|_, pulse| match pulse {
        Pulse::Moved(Event::VerifyFailed { certificate, .. }) => {
            samples.clone_from(&certificate.samples);
            true
        }
        Pulse::Failed(error) => {
            assert_ne!(error.verdict(), Verdict::AskAPerson, "{error:?}");
            false
        }
        _ => false,
    });
    tokio::time::timeout(std::time::Duration::from_secs(60), running)
        .await
        .expect("a difference is found")
        .expect("a usable history");
    samples
}

#[tokio::test]
async fn one_row_in_thousands_that_does_not_come_back_is_found_and_named_with_its_column() {
    let scene = lowered();
    let rows =
        format!("{} update items set email = 'User@Example' where tenant_id = 2 and id = 1234;", scene.rows);
    let story = Scene { rows, ..scene }.begin().await;
    let samples = until_different(&story).await;
    assert_eq!(samples, ["items (2, 1234) is different in blue.email"]);
    blue_is_as_it_was(&story, "9000").await;
    assert_eq!(
        value(&story.blue, "select email from items where tenant_id = 2 and id = 1234").await,
        "User@Example"
    );
    leaves_no_trace(&story).await;
}

#[tokio::test]
async fn a_row_that_does_not_come_back_and_is_written_after_the_comparison_is_not_switched() {
    let story = lowered().begin().await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    run(&story.blue, "update items set email = 'Late@Example' where tenant_id = 2 and id = 77").await;
    story.say(&Event::SwitchAsked { to: Side::Green, why: "the story goes so".into() });
    let samples = until_different(&story).await;
    assert_eq!(samples, ["items (2, 77) is different in blue.email"]);
    assert_eq!(story.state().home, Side::Blue);
    // Mended, and looked at again.
    run(&story.blue, "update items set email = lower(email) where tenant_id = 2 and id = 77").await;
    story.say(&Event::Resumed);
    story.run_until("the switch", |d, _| d.home == Side::Green && d.settled).await;
    story.settle().await;
    story.assert_equal().await;
}

#[tokio::test]
async fn a_row_without_a_value_is_named_by_the_copy_and_mended_on_blue() {
    let scene = shared_out();
    let rows = format!("{} update items set parts = 0 where tenant_id = 2 and id = 2345;", scene.rows);
    let story = Scene { rows, blind: true, ..scene }.begin().await;
    let EngineError::Row { table, key, why, .. } = story.until_failed().await else {
        panic!("the copy says which row it is")
    };
    assert_eq!((table.as_str(), key.as_deref()), ("items", Some("2, 2345")));
    assert_eq!(why, "share = total / parts: division by zero");
    blue_is_as_it_was(&story, "9000").await;
    run(&story.blue, "update items set parts = 2 where tenant_id = 2 and id = 2345").await;
    story.until_phase(Phase::Ready).await;
    story.switch_to(Side::Green).await;
    assert_eq!(value(&story.green, "select share from items where id = 2345").await, "11725");
}

#[tokio::test]
async fn a_row_that_green_cannot_store_is_named_by_the_copy() {
    let green =
        "create table items (tenant_id bigint, id bigint, email text, total int check (total < 29990),
                                     parts int, primary key (tenant_id, id))";
    let story = Scene { blind: true, ..mapped("", green) }.begin().await;
    let EngineError::Row { table, key, why, .. } = story.until_failed().await else {
        panic!("the copy says which row it is")
    };
    assert_eq!((table.as_str(), key.as_deref()), ("items", Some("2, 2999")));
    assert!(why.contains("items_total_check") && !why.contains("user2999"), "{why}");
    leaves_no_trace(&story).await;
    blue_is_as_it_was(&story, "9000").await;
}

#[tokio::test]
async fn a_row_without_a_value_in_the_stream_is_kept_back_and_holds_nothing_else_up() {
    let story = shared_out().begin().await;
    until_planned(&story).await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    run(&story.blue, "update items set parts = 0 where tenant_id = 2 and id = 5").await;
    run(&story.blue, "update items set total = 7000, parts = 7 where tenant_id = 2 and id = 6").await;
    let EngineError::KeptBack { what, lasting: true, .. } = story.until_failed().await else {
        panic!("the row is kept back")
    };
    assert_eq!(
        what,
        "1 row of the partition on blue cannot be stored on green: \
         items (2, 5): share = total / parts: division by zero"
    );
    assert_eq!(value(&story.green, "select share from items where id = 6").await, "1000");
    run(&story.blue, "update items set parts = 3 where tenant_id = 2 and id = 5").await;
    story.settle().await;
    story.switch_to(Side::Green).await;
    assert_eq!(value(&story.green, "select share from items where id = 5").await, "16");
}

#[tokio::test]
async fn ddl_that_fails_half_way_leaves_nothing() {
    let ddl = "create table items (tenant_id bigint, id bigint, email text, total int, parts int,
                                   primary key (tenant_id, id));
               create table more (id bigint references nothing);";
    let drafted = Scene { ddl: ddl.into(), ..mapped("", ITEMS) }.drafted().await;
    let Err(error) = drafted else { panic!("the rehearsal says so: {drafted:?}") };
    assert!(error.to_string().contains("v2.sql"), "{error}");
}
