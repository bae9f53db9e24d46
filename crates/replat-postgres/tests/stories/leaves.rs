//! Natively partitioned tables: writers that name a leaf, and leaves that come and go.

use replat_model::deploy::Phase;
use replat_model::ids::Side;

use crate::harness::{Scene, one_table, refused, value};
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
