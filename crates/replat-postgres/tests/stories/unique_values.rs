//! Unique values that are not the key, taken from one row by another: while rows of different ages lie side by side,
//! and in tables that already have their indexes.

use crate::harness::{Scene, one_table};
use crate::moments::at_every_moment;

const TABLE: &str = "
    create table seats (
      tenant_id bigint not null, id bigint not null, label text, place int, last int, said text,
      primary key (tenant_id, id),
      constraint seats_label unique (tenant_id, label),
      constraint seats_place unique (tenant_id, place) deferrable initially immediate,
      constraint seats_last unique (tenant_id, last) deferrable initially deferred
    );
    create unique index seats_said on seats (tenant_id, lower(said)) where said is not null;
";

const ROWS: &str = "
    insert into seats select t, n, 'label ' || n, n, n, 'said ' || n
    from generate_series(1, 3) t, generate_series(1, 250) n;
";

fn fresh() -> Scene {
    one_table("seats", TABLE, ROWS)
}

/// Green's tables are there, with all their indexes and with rows of another tenant.
fn shared() -> Scene {
    let green_before = format!(
        "create schema shop; set search_path = shop; {TABLE} \
         insert into seats select 9, n, 'label ' || n, n, n, 'said ' || n from generate_series(1, 50) n"
    );
    Scene { green_before, ddl: String::new(), ..fresh() }
}

fn changes(k: i64) -> Vec<String> {
    let set = |id: i64, what: &str| format!("update seats set {what} where tenant_id = 2 and id = {id}");
    let (a, b, c) = (k, 100 + k, 200 + k);
    vec![
        // Between the first chunk and the last, by way of a third value.
        format!(
            "{}; {}; {}",
            set(a, "label = 'tmp'"),
            set(c, &format!("label = 'label {a}'")),
            set(a, &format!("label = 'label {c}'"))
        ),
        // All at once, or at the end, where the constraint allows it.
        format!("update seats set place = {a} + {c} - place where tenant_id = 2 and id in ({a}, {c})"),
        format!("{}; {}", set(a, &format!("last = {b}")), set(b, &format!("last = {a}"))),
        // Around three rows, in three transactions.
        set(a, "said = 'SAID tmp'"),
        set(b, &format!("said = 'said {a}'")),
        set(c, &format!("said = 'Said {b}'")),
        set(a, &format!("said = 'said {c}'")),
        // A value, then a key, is used again after its row is gone.
        format!("delete from seats where tenant_id = 2 and id = {}", a + 1),
        format!(
            "insert into seats values (2, {}, 'label {}', {2}, {2}, 'said {2}')",
            1_000 + k,
            a + 1,
            a + 1
        ),
        format!(
            "delete from seats where tenant_id = 2 and id = {0}; \
             insert into seats values (2, {0}, 'other {0}', 5000 + {0}, null, null)",
            b + 1
        ),
        format!(
            "delete from seats where tenant_id = 2 and id = {0}; {1}",
            c + 1,
            set(a + 2, &format!("label = 'label {0}', place = {0}, last = {0}, said = 'said {0}'", c + 1))
        ),
        // A key moves, and another row takes all that it left.
        format!(
            "update seats set id = {0} + 7000, label = 'moved {0}', place = -{0}, last = -{0}, said = null \
             where tenant_id = 2 and id = {0}",
            b + 2
        ),
        format!("insert into seats values (2, {0} + 8000, 'label {0}', {0}, {0}, 'said {0}')", b + 2),
    ]
}

#[tokio::test]
async fn unique_values_change_hands_in_tables_that_are_made_for_the_partition() {
    at_every_moment(fresh(), changes, true).await;
}

#[tokio::test]
async fn unique_values_change_hands_in_tables_that_hold_other_partitions() {
    at_every_moment(shared(), changes, true).await;
}
