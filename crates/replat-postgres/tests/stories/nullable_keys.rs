//! A key whose partition column can be null: rows without a value belong to no partition, and may be many.

use crate::harness::{Scene, one_table};
use crate::moments::at_every_moment;

const TABLE: &str = "
    create table words (tenant_id bigint, lang text not null, said text, unique (tenant_id, lang));
    alter table words replica identity full;
";

const ROWS: &str = "
    insert into words select t, 'l' || n, 'said ' || n from generate_series(1, 3) t, generate_series(1, 250) n;
    insert into words select null, 'l' || n % 50, 'nobody' from generate_series(1, 300) n;
";

fn changes(k: i64) -> Vec<String> {
    vec![
        format!("update words set said = 'again' where tenant_id = 2 and lang = 'l{k}'"),
        format!("update words set lang = 'm{k}' where tenant_id = 2 and lang = 'l{}'", 50 + k),
        format!("delete from words where tenant_id = 2 and lang = 'l{}'", 100 + k),
        format!("insert into words values (2, 'n{k}', 'new'), (null, 'n{k}', 'new'), (null, 'n{k}', 'new')"),
        // Rows of nobody change, go, and become the tenant's; one of the tenant's becomes nobody's.
        "update words set said = 'still nobody' where tenant_id is null and lang = 'l7'".into(),
        "delete from words where tenant_id is null and lang = 'l8'".into(),
        format!("insert into words values (null, 'o{k}', 'found')"),
        format!("update words set tenant_id = 2 where tenant_id is null and lang = 'o{k}'"),
        format!("update words set tenant_id = null where tenant_id = 2 and lang = 'l{}'", 150 + k),
    ]
}

#[tokio::test]
async fn rows_are_told_apart_by_a_key_that_other_rows_leave_null() {
    let scene = Scene { slice_lines: "key = ['tenant_id', 'lang']", ..one_table("words", TABLE, ROWS) };
    at_every_moment(scene, changes, true).await;
}
