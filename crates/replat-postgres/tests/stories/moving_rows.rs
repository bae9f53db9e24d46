//! Rows whose tenant changes: into the partition, out of it, and both.

use crate::harness::{Scene, one_table};
use crate::moments::at_every_moment;

const TABLE: &str = "
    create table documents (
      tenant_id bigint not null, id bigint not null, title text, body text,
      primary key (tenant_id, id)
    );
    alter table documents alter body set storage external;
";

/// Tenant 2 has the ids 1 to 250, tenant 1 those from 1001 on.
const ROWS: &str = "
    insert into documents
      select t, case t when 1 then 1000 + n else n end, 'title ' || n, repeat(md5(format('%s/%s', t, n)), 100)
      from generate_series(1, 2) t, generate_series(1, 250) n;
";

fn scene(identity: &str) -> Scene {
    one_table("documents", &format!("{TABLE} alter table documents replica identity {identity}"), ROWS)
}

fn changes(k: i64) -> Vec<String> {
    let to = |from: i64, id: i64, to: i64| {
        format!("update documents set tenant_id = {to} where tenant_id = {from} and id = {id}")
    };
    let retitle = |id: i64| format!("update documents set title = 'new' where tenant_id = 2 and id = {id}");
    vec![
        // In, and out, with the body unsaid.
        to(1, 1_000 + k, 2),
        to(2, k, 3),
        to(2, 200 + k, 3),
        // In, then changed, in the same transaction and in another one.
        format!("{}; {}", to(1, 1_001 + k, 2), retitle(1_001 + k)),
        to(1, 1_002 + k, 2),
        retitle(1_002 + k),
        // In with another key.
        format!(
            "update documents set tenant_id = 2, id = id + 9000 where tenant_id = 1 and id = {}",
            1_003 + k
        ),
        // With all of it said.
        format!(
            "update documents set tenant_id = 2, body = repeat('x', 5000) where tenant_id = 1 and id = {}",
            1_004 + k
        ),
        // In and out again, out and in again, at once and one after the other.
        format!("{}; {}", to(1, 1_005 + k, 2), to(2, 1_005 + k, 1)),
        format!("{}; {}", to(2, k + 1, 3), to(3, k + 1, 2)),
        to(2, 100 + k, 3),
        to(3, 100 + k, 2),
        to(1, 1_006 + k, 2),
        to(2, 1_006 + k, 3),
        // In, and gone.
        to(1, 1_007 + k, 2),
        format!("delete from documents where tenant_id = 2 and id = {}", 1_007 + k),
        // In, onto the key of a row that has just gone.
        format!(
            "delete from documents where tenant_id = 2 and id = {0}; \
             update documents set tenant_id = 2, id = {0} where tenant_id = 1 and id = {1}",
            k + 2,
            1_008 + k
        ),
    ]
}

#[tokio::test]
async fn rows_change_their_tenant_under_the_default_identity() {
    at_every_moment(scene("default"), changes, false).await;
}

#[tokio::test]
async fn rows_change_their_tenant_under_full_identity() {
    at_every_moment(scene("full"), changes, false).await;
}
