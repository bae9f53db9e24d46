//! What newer releases of PostgreSQL know and older ones do not. Where a server is too old for it, the story is told with
//! the next thing that it has.

use replat_model::deploy::Phase;
use replat_model::ids::Side;

use crate::harness::{Scene, available, oldest_major, one_table, run, value};

#[tokio::test]
async fn a_column_that_is_computed_when_it_is_read_is_computed_on_either_side() {
    // Virtual ones came with 18.
    let kind = if oldest_major().await >= 18 { "virtual" } else { "stored" };
    let tables = format!(
        "create table prices (tenant_id bigint not null, id bigint not null, net numeric(12,2) not null, note text,
           gross numeric(14,2) generated always as (round(net * 1.2, 2)) {kind}, primary key (tenant_id, id));"
    );
    let rows = "insert into prices select t, n, n / 7.0, 'note ' || n from generate_series(1, 3) t, generate_series(1, 250) n";
    let story = one_table("prices", &tables, rows).begin().await;
    story.until_phase(Phase::Ready).await;
    run(&story.blue, "update prices set net = net + 1 where tenant_id = 2 and id <= 20").await;
    run(&story.blue, "insert into prices values (2, 9000, 1.15, 'late')").await;
    story.switch_to(Side::Green).await;
    story.assert_equal().await;
    run(&story.green, "update prices set net = 100 where tenant_id = 2 and id = 1").await;
    story.switch_to(Side::Blue).await;
    story.assert_equal().await;
    let gross = "select gross::text from prices where tenant_id = 2 and id = 1";
    assert_eq!(value(&story.blue, gross).await, "120.00");
}

#[tokio::test]
async fn null_that_was_there_before_it_was_forbidden_is_no_part_of_a_key() {
    if oldest_major().await < 18 {
        return;
    }
    let tables = "
        create table seats (tenant_id bigint, id bigint not null, note text, unique (tenant_id, id));
        alter table seats replica identity full;
    ";
    let rows = "insert into seats values (null, 1, 'nobody'), (2, 1, 'two'), (2, 2, 'two');
        alter table seats add constraint said not null tenant_id not valid";
    let scene = Scene {
        slice_lines: "key = ['tenant_id', 'id']",
        ddl: tables.replace("tenant_id bigint,", "tenant_id bigint constraint said not null,"),
        ..one_table("seats", tables, rows)
    };
    let story = scene.begin().await;
    let named: Vec<_> = story.plan.hazards.iter().map(|hazard| hazard.name.code()).collect();
    assert!(named.contains(&"NULL_KEYS"), "{named:?}");
    story.until_phase(Phase::Ready).await;
    run(&story.blue, "insert into seats values (2, 3, 'three'); update seats set note = 'ii' where id = 2")
        .await;
    story.switch_to(Side::Green).await;
    story.assert_equal().await;
}

/// A booking is a key without overlaps; what belongs to it refers to it over its period.
const BOOKINGS: &str = "
    create extension if not exists btree_gist;
    create table rooms (tenant_id bigint not null, room bigint not null, open daterange not null, note text,
                        primary key (tenant_id, room, open without overlaps));
    create table bookings (tenant_id bigint not null, id bigint not null, room bigint not null, during daterange not null,
                           primary key (tenant_id, id),
                           foreign key (tenant_id, room, period during) references rooms (tenant_id, room, period open));
";

const BOOKED: &str = "
    insert into rooms select t, n, daterange('2026-01-01', '2027-01-01'), 'room ' || n
      from generate_series(1, 3) t, generate_series(1, 120) n;
    insert into bookings select t, n, n, daterange('2026-03-01', '2026-03-01'::date + n::int)
      from generate_series(1, 3) t, generate_series(1, 120) n;
";

#[tokio::test]
async fn a_key_without_overlaps_needs_a_unique_index_beside_it() {
    if oldest_major().await < 18 || available(&["btree_gist"]).await.is_empty() {
        return;
    }
    let scene = |more: &str| Scene {
        blue: format!("{BOOKINGS} {more}"),
        ddl: format!("{} {more}", BOOKINGS.replace("create extension if not exists btree_gist;", "")),
        green_before: "create extension btree_gist".into(),
        rows: BOOKED.into(),
        slices: vec!["rooms", "bookings"],
        references: Vec::new(),
        ..Scene::default()
    };
    assert_eq!(scene("").findings().await, ["KEY_NOT_UNIQUE", "KEY_NOT_UNIQUE"]);
    let story = scene("create unique index on rooms (tenant_id, room, open);").begin().await;
    story.until_phase(Phase::Ready).await;
    run(&story.blue, "update rooms set note = 'shut', open = daterange('2026-01-01', '2028-01-01') where tenant_id = 2 and room = 7")
        .await;
    run(&story.blue, "insert into bookings values (2, 9000, 7, daterange('2027-05-01', '2027-05-08'))").await;
    story.switch_to(Side::Green).await;
    story.assert_equal().await;
    run(&story.green, "delete from bookings where tenant_id = 2 and id = 9000").await;
    story.switch_to(Side::Blue).await;
    story.assert_equal().await;
}
