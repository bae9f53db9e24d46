//! What can go wrong where rows are chosen, and where tables become several or one.

use replat_engine::EngineError;
use replat_model::deploy::{Event, Phase};
use replat_model::ids::Side;

use crate::harness::{Scene, one_table, run, value};

/// Two tables that become one; `{first}` is the key of the second one's first row.
fn becoming_one(first: i64) -> Scene {
    let tables = "create table a (tenant_id bigint, id bigint, x text, primary key (tenant_id, id));
                  create table b (tenant_id bigint, id bigint, x text, primary key (tenant_id, id));";
    let rows = format!(
        "insert into a select 2, n, 'a' from generate_series(1, 250) n;
         insert into b select 2, n, 'b' from generate_series({first}, 500) n"
    );
    Scene {
        blue: tables.into(),
        rows,
        ddl: "create table ab (tenant_id bigint, id bigint, kind text not null, x text, primary key (tenant_id, id))"
            .into(),
        slices: vec!["a", "b"],
        references: Vec::new(),
        rollout: "reversible = 'accept-lossy'",
        spec: "[contexts.shop.rollout.tables.ab.sources.a]\nrows.down = \"kind = 'a'\"\nmap.kind.up = \"'a'\"
               [contexts.shop.rollout.tables.ab.sources.b]\nrows.down = \"kind = 'b'\"\nmap.kind.up = \"'b'\"",
        ..Scene::default()
    }
}

#[tokio::test]
async fn a_key_that_both_tables_have_is_kept_back_and_named_before_the_switch() {
    let story = becoming_one(250).begin().await;
    let EngineError::KeptBack { what, lasting: true, .. } = story.until_failed().await else {
        panic!("the row is kept back")
    };
    assert!(what.ends_with("(2, 250): its key is that of a row of another table or partition"), "{what}");
    assert_eq!(value(&story.green, "select count(*) from ab where id = 250").await, "1");
    assert_eq!(value(&story.blue, "select count(*) from a natural join (select id from b) b").await, "1");
    // Given another key, the deployment goes on.
    run(&story.blue, "update b set id = 1000 where id = 250").await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    story.switch_to(Side::Green).await;
    assert_eq!(
        value(&story.green, "select string_agg(kind, '' order by id) from ab where id in (250, 1000)").await,
        "ab"
    );
    // A new row of the one under a key of the other, while green is home: green itself has one key only.
    run(&story.green, "update ab set kind = 'a' where id = 300").await;
    story.settle().await;
    assert_eq!(value(&story.blue, "select x from a where id = 300").await, "b");
    assert_eq!(value(&story.blue, "select count(*) from b where id = 300").await, "0");
}

#[tokio::test]
async fn a_key_that_comes_to_both_tables_in_the_stream_is_kept_back() {
    let story = becoming_one(251).begin().await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    run(&story.blue, "insert into b values (2, 7, 'also b')").await;
    let EngineError::KeptBack { what, lasting: true, .. } = story.until_failed().await else {
        panic!("the row is kept back")
    };
    assert!(what.contains("b (2, 7)"), "{what}");
    assert_eq!(value(&story.green, "select kind || x from ab where id = 7").await, "aa");
    run(&story.blue, "delete from b where id = 7").await;
    story.settle().await;
    story.switch_to(Side::Green).await;
    assert_eq!(value(&story.green, "select kind || x from ab where id = 7").await, "aa");
}

const ITEMS: &str =
    "create table items (tenant_id bigint, id bigint, kind text, primary key (tenant_id, id));";
const ROWS: &str = "insert into items select 2, n, case n % 2 when 0 then 'even' else 'odd' end from generate_series(1, 250) n;
                    insert into items select 1, n, 'even' from generate_series(1, 250) n;";

fn becoming_two(spec: &'static str) -> Scene {
    let ddl = "create table evens (tenant_id bigint, id bigint, kind text, primary key (tenant_id, id));
               create table odds (tenant_id bigint, id bigint, kind text, primary key (tenant_id, id));";
    Scene { ddl: ddl.into(), spec, rollout: "reversible = 'accept-lossy'", ..one_table("items", ITEMS, ROWS) }
}

#[tokio::test]
async fn conditions_that_do_not_exclude_each_other_are_refused() {
    let scene = becoming_two(
        "[contexts.shop.rollout.tables.evens]\nfrom = 'items'\nrows.up = \"kind <> 'odd'\"
         [contexts.shop.rollout.tables.odds]\nfrom = 'items'\nrows.up = 'id > 248'",
    );
    let found = scene.drafted().await.expect("both sides answer").expect_err("a row would go twice");
    let told: Vec<_> = found.iter().map(|f| format!("{} {}", f.code, f.what)).collect();
    assert_eq!(
        told,
        [
            "GOES_TWICE the row of items (2, 250) would go to odds and to evens, since both conditions are true of it"
        ]
    );
}

#[tokio::test]
async fn rows_that_stay_are_told_and_are_still_there_when_the_copy_is_dropped() {
    let scene = Scene {
        spec: "[contexts.shop.rollout.tables.items]\nrows.up = \"kind = 'odd'\"",
        rollout: "reversible = 'accept-lossy'",
        policy: "soak = '0s'\nretain = '0s'",
        ..one_table("items", ITEMS, ROWS)
    };
    let story = scene.begin().await;
    let told: Vec<_> = story.plan.hazards.iter().map(|h| format!("{} {}", h.name, h.what)).collect();
    assert!(
        told.iter().any(|t| t.starts_with("ROWS_STAY rows of blue.items for which kind = 'odd'")),
        "{told:?}"
    );
    assert!(told.iter().any(|t| t.starts_with("LOSSY_ROLLBACK")), "{told:?}");
    story.until_phase(Phase::Ready).await;
    // A table that is emptied takes no row along that never went over.
    run(&story.blue, "begin; delete from items where tenant_id = 2 and id < 50; commit").await;
    story.settle().await;
    story.say(&Event::SwitchAsked { to: Side::Green, why: "the story goes so".into() });
    story.run_until("the end", |d, _| d.dropped).await;
    assert_eq!(value(&story.green, "select count(*) || min(kind) from items").await, "100odd");
    assert_eq!(
        value(&story.blue, "select count(*) || min(kind) from items where tenant_id = 2").await,
        "101even"
    );
    assert_eq!(value(&story.blue, "select count(*) from items where tenant_id = 1").await, "250");
}

#[tokio::test]
async fn a_rollback_that_must_lose_nothing_has_to_allow_a_choice_of_rows() {
    let scene = Scene {
        spec: "[contexts.shop.rollout.tables.items]\nrows.up = \"kind = 'odd'\"",
        ..one_table("items", ITEMS, ROWS)
    };
    let plan = scene.drafted().await.expect("both sides answer").expect("a plan that has to be allowed");
    let must: Vec<_> = plan.hazards.iter().filter(|h| h.must_allow).map(|h| h.name.code()).collect();
    assert_eq!(must, ["LOSSY_ROLLBACK"]);
}
