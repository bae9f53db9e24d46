//! Unique values that hold no partition key: a row of another partition has one that a row of this one wants.

use replat_engine::EngineError;
use replat_model::deploy::{Event, KeptBack, Phase};
use replat_model::ids::Side;

use crate::harness::{Story, one_table, run, value};

const TABLE: &str = "
    create table people (id bigint primary key, tenant_id bigint not null, name text not null unique,
                         unique (id, tenant_id));
    alter table people replica identity using index people_id_tenant_id_key;
";

/// Ids in turns: tenant 1 has 1, 4, 7, tenant 2 has 2, 5, 8.
const ROWS: &str =
    "insert into people select n, (n - 1) % 3 + 1, 'name ' || n from generate_series(1, 30) n;";

fn told(story: &Story) -> Vec<KeptBack> {
    let kept = |event| match event {
        Event::RowsKeptBack(kept) => Some(kept),
        _ => None,
    };
    story.events().into_iter().filter_map(kept).collect()
}

#[tokio::test]
async fn a_value_that_another_partition_has_is_told_and_holds_the_way_back_until_it_is_free() {
    let story = one_table("people", TABLE, ROWS).begin().await;
    story.until_phase(Phase::Ready).await;
    story.switch_to(Side::Green).await;
    run(&story.green, "insert into people values (100, 2, 'name 1'), (101, 2, 'nobody has it')").await;
    let EngineError::KeptBack { what, lasting: true, remedy } = story.until_failed().await else {
        panic!("the row is not kept back")
    };
    let why = "duplicate key value violates unique constraint \"people_name_key\": Key (name)=(name 1) already exists.";
    assert_eq!(
        what,
        format!("1 row of the partition on green cannot be stored on blue: people (100): {why}")
    );
    assert!(remedy.contains("another value"), "{remedy}");
    let kept = KeptBack { from: Side::Green, keys: 1, samples: vec![format!("people (100): {why}")] };
    assert_eq!(told(&story), std::slice::from_ref(&kept), "told once, before a person is asked");
    assert_eq!(story.engine.parked().await.expect("both sides answer"), [kept]);
    assert_eq!(
        value(&story.blue, "select string_agg(name, ' ') from people where id in (1, 100, 101)").await,
        "name 1 nobody has it"
    );

    // Mended on the side that has the row.
    run(&story.green, "update people set name = 'free' where id = 100").await;
    story.settle().await;
    assert_eq!(story.state().kept_back, None);
    assert_eq!(value(&story.blue, "select name from people where id = 100").await, "free");
    // And on the side where it is wanted.
    run(&story.green, "insert into people values (102, 2, 'name 3')").await;
    assert!(matches!(story.until_failed().await, EngineError::KeptBack { lasting: true, .. }));
    assert_eq!(story.state().kept_back.map(|kept| kept.keys), Some(1));
    run(&story.blue, "update people set name = 'moved on' where id = 3").await;
    story.settle().await;
    let none = KeptBack { from: Side::Green, keys: 0, samples: Vec::new() };
    assert_eq!(told(&story).iter().map(|kept| kept.keys).collect::<Vec<_>>(), [1, 0, 1, 0]);
    assert_eq!(told(&story).last(), Some(&none));
    story.switch_to(Side::Blue).await;
    story.assert_equal().await;
}
