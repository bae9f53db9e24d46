//! Long values that an update leaves alone are not in the log: they must be kept, found elsewhere, or copied again.

use crate::harness::{Scene, one_table};
use crate::moments::at_every_moment;

const TABLE: &str = "
    create table documents (
      tenant_id bigint not null, id bigint not null, title text, body text, summary text,
      primary key (tenant_id, id)
    );
    alter table documents alter body set storage external, alter summary set storage external;
";

const ROWS: &str = "
    insert into documents
      select t, n, 'title ' || n, repeat(md5(format('%s/%s', t, n)), 100), repeat(md5(format('s%s/%s', t, n)), 80)
      from generate_series(1, 3) t, generate_series(1, 250) n;
";

fn scene(identity: &str) -> Scene {
    one_table("documents", &format!("{TABLE} alter table documents replica identity {identity}"), ROWS)
}

fn changes(k: i64) -> Vec<String> {
    let row = |id: i64| format!("tenant_id = 2 and id = {id}");
    let long = |seed: &str| format!("repeat(md5('{seed}{k}'), 120)");
    let retitle = |id: i64| format!("update documents set title = 'new {k}' where {}", row(id));
    let move_by = |id: i64, by: i64| format!("update documents set id = id + {by} where {}", row(id));
    vec![
        // In each chunk: another column changes.
        retitle(k),
        retitle(100 + k),
        retitle(200 + k),
        // A key goes to an earlier chunk, to a later one, there and back.
        move_by(200 + k + 1, -10_000),
        move_by(k + 1, 10_000),
        move_by(100 + k + 1, 20_000),
        format!("{}; {}", move_by(100 + k + 2, 30_000), move_by(30_100 + k + 2, -30_000)),
        move_by(100 + k + 3, 40_000),
        move_by(40_100 + k + 3, 10_000),
        // In one transaction, and so in one batch, with the row's birth.
        format!(
            "insert into documents values (2, {id}, 'born', {}, {}); {}; {}",
            long("a"),
            long("b"),
            retitle(60_000 + k),
            move_by(60_000 + k, 1_000),
            id = 60_000 + k
        ),
        // One long value is said and the other is not, in both orders.
        format!("update documents set body = {} where {}; {}", long("c"), row(k + 4), retitle(k + 4)),
        format!("{}; update documents set summary = {} where {}", retitle(k + 5), long("d"), row(k + 5)),
        format!(
            "{}; update documents set body = {} where {}",
            move_by(k + 6, 70_000),
            long("e"),
            row(70_000 + k + 6)
        ),
        // The key of a row that moved away is taken by another one.
        format!(
            "{}; insert into documents values (2, {}, 'heir', {}, null)",
            move_by(k + 7, 80_000),
            k + 7,
            long("f")
        ),
        format!("update documents set body = null where {}; {}", row(k + 8), retitle(k + 8)),
        format!(
            "delete from documents where {}; insert into documents values (2, {}, 'again', {}, {}); {}",
            row(k + 9),
            k + 9,
            long("g"),
            long("h"),
            retitle(k + 9)
        ),
        // Two rows change places.
        format!(
            "{}; {}; {}",
            move_by(100 + k + 4, 90_000),
            move_by(100 + k + 5, -1),
            move_by(90_100 + k + 4, -89_999)
        ),
    ]
}

#[tokio::test]
async fn unsaid_values_survive_every_moment_under_the_default_identity() {
    at_every_moment(scene("default"), changes, true).await;
}

#[tokio::test]
async fn unsaid_values_survive_every_moment_under_full_identity() {
    at_every_moment(scene("full"), changes, true).await;
}
