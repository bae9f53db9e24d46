//! Keys that do not say the partition: two sides can give one number to two rows, of which one is somebody else's.

use replat_engine::EngineError;
use replat_model::deploy::Phase;
use replat_model::ids::Side;

use crate::harness::{Scene, Story, one_table, run, value};

const TABLE: &str = "
    create table notes (id bigint primary key, tenant_id bigint not null, said text);
    create unique index notes_identity on notes (id, tenant_id);
    alter table notes replica identity using index notes_identity;
";

/// Ids in turns: tenant 1 has 1, 4, 7, tenant 2 has 2, 5, 8.
const ROWS: &str =
    "insert into notes select n, (n - 1) % 3 + 1, 'note ' || n from generate_series(1, 300) n;";

/// Nobody's row but the partition's own was touched.
const OTHERS: &str = "select md5(string_agg(n::text, ' ' order by id)) from notes n where tenant_id <> 2";

async fn until_refused(story: &Story) -> String {
    match story.until_failed().await {
        EngineError::KeptBack { what, lasting: true, .. } => what,
        error => panic!("another error: {error:?}"),
    }
}

#[tokio::test]
async fn a_row_that_is_written_on_green_takes_no_other_tenants_place_on_blue() {
    let story = one_table("notes", TABLE, ROWS).begin().await;
    story.until_phase(Phase::Ready).await;
    story.switch_to(Side::Green).await;
    let others = value(&story.blue, OTHERS).await;
    run(
        &story.green,
        "insert into notes values (4, 2, 'a number that blue gave to tenant 1'), (1000, 2, 'free')",
    )
    .await;
    let what = until_refused(&story).await;
    assert_eq!(
        what,
        "1 row of the partition on green cannot be stored on blue: notes (4): its key is that of a row of another partition"
    );
    assert_eq!(value(&story.blue, OTHERS).await, others);
    // Neither a change nor the end of the one row may reach the other.
    run(&story.green, "update notes set said = 'again' where id = 4").await;
    until_refused(&story).await;
    assert_eq!(value(&story.blue, OTHERS).await, others);
    run(&story.green, "delete from notes where id = 4").await;
    story.settle().await;
    assert_eq!(value(&story.blue, OTHERS).await, others);
    story.switch_to(Side::Blue).await;
    story.assert_equal().await;
    assert_eq!(value(&story.blue, OTHERS).await, others);
}

#[tokio::test]
async fn a_green_that_gave_a_number_to_somebody_else_keeps_its_row_and_nothing_switches() {
    let scene = Scene {
        green_before: format!(
            "create schema shop; set search_path = shop; {TABLE} insert into notes values (5, 9, 'mine'), (8, 9, 'mine')"
        ),
        ddl: String::new(),
        ..one_table("notes", TABLE, ROWS)
    };
    let story = scene.begin().await;
    let what = until_refused(&story).await;
    assert_eq!(
        what,
        "2 rows of the partition on blue cannot be stored on green: \
         notes (5): its key is that of a row of another partition; \
         notes (8): its key is that of a row of another partition"
    );
    assert_eq!(
        value(&story.green, "select count(*) from notes where said = 'mine' and tenant_id = 9").await,
        "2"
    );
    assert_eq!(story.state().home, Side::Blue);
    // The other tenant's rows get other numbers, and the deployment goes on by itself.
    run(&story.green, "update notes set id = id + 5000 where tenant_id = 9").await;
    story.settle().await;
    story.switch_to(Side::Green).await;
    story.assert_equal().await;
    assert_eq!(value(&story.green, "select count(*) from notes where tenant_id = 9").await, "2");
}

#[tokio::test]
async fn numbers_go_on_whoever_draws_them() {
    let table = "
        create sequence ids; create sequence \"Named\"; create sequence tickets;
        create table notes (
          tenant_id bigint not null, id bigint not null default nextval('ids'), said text,
          seat int not null default nextval('\"Named\"'::text),
          number int not null default nextval('ids'),
          primary key (tenant_id, id)
        );
    ";
    let rows = "
        insert into notes (tenant_id, said) select n % 3, 'note ' || n from generate_series(1, 30) n;
        select setval('tickets', 700);
    ";
    let story = one_table("notes", table, rows).begin().await;
    let named: Vec<(&str, &str)> =
        story.plan.sequences.iter().map(|plan| (plan.blue.as_str(), plan.green.as_str())).collect();
    let want = [
        ("public.ids", "shop.ids"),
        ("public.\"Named\"", "shop.\"Named\""),
        ("public.tickets", "shop.tickets"),
    ];
    assert_eq!(named, want);
    story.until_phase(Phase::Ready).await;
    story.switch_to(Side::Green).await;
    run(&story.green, "insert into notes (tenant_id, said) values (2, 'the first on green')").await;
    let told = "select id > 60 and number > 60 and seat > 30 and nextval('tickets') > 700 from notes \
                where said = 'the first on green'";
    assert_eq!(value(&story.green, told).await, "true");
    story.settle().await;
    story.assert_equal().await;
}
