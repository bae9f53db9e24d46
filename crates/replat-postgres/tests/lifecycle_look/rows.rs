//! What is read of rows: highest keys, strays, conditions, references.

use replat_engine::lifecycle::{Look, Retiring};
use replat_model::lifecycle::facts::{Facts, Strays};
use replat_postgres::lifecycle::look::look;
use tokio_postgres::Client;

use super::support::{all, database, part, set};

fn strays(rows: u64, low: &str, high: &str, values: &[(&str, u64)]) -> Strays {
    let values = values.iter().map(|(value, count)| ((*value).to_owned(), *count)).collect();
    Strays { rows, low: Some(low.into()), high: Some(high.into()), values, more: false }
}

#[tokio::test]
async fn strays_are_counted_where_they_are_few() {
    let (_, client) = database(
        "create table ranges (t timestamptz, id int) partition by range (t);
         create table ranges_1 partition of ranges for values from ('2026-01-01Z') to ('2026-02-01Z');
         create table ranges_rest partition of ranges default;
         insert into ranges values ('2026-01-05Z', 1), ('2026-03-01Z', 1), ('2026-03-01Z', 2), ('2031-01-01Z', 3),
           (null, 4);
         create table lists (k text) partition by list (k);
         create table lists_a partition of lists for values in ('a');
         create table lists_rest partition of lists default;
         insert into lists select 'k' || n % 3 from generate_series(1, 10) n;
         create table bare (k text) partition by list (k); create table bare_rest partition of bare default;
         create table edges (n int) partition by range (n);
         create table edges_low partition of edges for values from (minvalue) to (0);
         create table edges_0 partition of edges for values from (0) to (10);
         create table edges_high partition of edges for values from (10) to (maxvalue);
         insert into edges values (-7), (5), (9);
         create table many (k int) partition by list (k); create table many_rest partition of many default;
         insert into many select n from generate_series(1, 300) n;
         create table odd (k int, l int) partition by range ((k + l));
         create table odd_rest partition of odd default; insert into odd values (1, 2)",
    )
    .await;
    let facts = all(&client).await;
    let of = |name: &str, of: &str| part(set(&facts, name), of).clone();
    let ranges = of("ranges", "ranges_rest");
    let may = "2026-03-01 00:00:00+00";
    let far = "2031-01-01 00:00:00+00";
    assert_eq!(
        (ranges.empty, ranges.strays),
        (Some(false), Some(strays(3, may, far, &[(may, 2), (far, 1)])))
    );
    let lists = of("lists", "lists_rest");
    let three = strays(10, "k0", "k2", &[("k0", 3), ("k1", 4), ("k2", 3)]);
    assert_eq!((lists.empty, lists.strays), (Some(false), Some(three)));
    let bare = of("bare", "bare_rest");
    assert_eq!((bare.empty, bare.strays), (Some(true), Some(Strays::default())));
    assert_eq!(of("edges", "edges_low").strays, Some(strays(1, "-7", "-7", &[("-7", 1)])));
    assert_eq!(of("edges", "edges_high").empty, Some(true));
    assert_eq!(of("edges", "edges_0").strays, None);
    let many = of("many", "many_rest").strays.expect("strays");
    assert_eq!((many.values.len(), many.more, many.low.as_deref()), (100, true, Some("1")));
    assert_eq!(of("odd", "odd_rest").strays, Some(strays(1, "3", "3", &[("3", 1)])));
}

#[tokio::test]
async fn the_highest_key_is_found_where_it_is_cheap() {
    let (_, client) = database(
        "create table ids (id bigint primary key) partition by range (id);
         create table ids_0 partition of ids for values from (0) to (1000);
         create table ids_1 partition of ids for values from (1000) to (2000);
         create table ids_2 partition of ids for values from (2000) to (3000);
         create table ids_rest partition of ids default;
         insert into ids select generate_series(1, 1500); insert into ids values (999999);
         create table slow (id bigint, pad text) partition by range (id);
         create table slow_0 partition of slow for values from (0) to (100000);
         insert into slow select n, repeat('x', 1000) from generate_series(1, 5000) n;
         create table tenants (tenant text, id bigint, primary key (tenant, id)) partition by list (tenant);
         create table tenants_a partition of tenants for values in ('a') partition by range (id);
         create table tenants_a_0 partition of tenants_a for values from (0) to (10);
         create table tenants_a_1 partition of tenants_a for values from (10) to (20);
         insert into tenants select 'a', generate_series(1, 7);
         create table empty (id bigint) partition by range (id);
         create table empty_0 partition of empty for values from (0) to (10)",
    )
    .await;
    // The counters of other sessions' work are told by the statistics as soon as a session ends its transaction.
    client.batch_execute("vacuum analyze ids, slow, tenants").await.expect("statistics");
    let facts = all(&client).await;
    assert_eq!(set(&facts, "ids").level.high.as_deref(), Some("1500"));
    assert_eq!(set(&facts, "ids").samples.last().and_then(|sample| sample.high.as_deref()), Some("1500"));
    assert_eq!(set(&facts, "slow").level.high, None);
    let tenant = part(set(&facts, "tenants"), "tenants_a");
    assert_eq!(tenant.below.as_ref().and_then(|below| below.high.as_deref()), Some("7"));
    assert_eq!(tenant.below.as_ref().map(|below| below.samples.len()), Some(1));
    assert_eq!(set(&facts, "empty").level.high, None);
    assert_eq!(
        (part(set(&facts, "ids"), "ids_0").rows, part(set(&facts, "empty"), "empty_0").rows),
        (Some(999), None)
    );
    assert_eq!(tenant.rows, Some(7));
}

async fn retiring(client: &Client, when: Option<&str>, legal_hold: &[&str]) -> Facts {
    let retiring = Retiring {
        tables: vec!["public.*".into()],
        when: when.map(str::to_owned),
        legal_hold: legal_hold.iter().map(|hold| (*hold).to_owned()).collect(),
        oldest: 2,
    };
    let wanted = Look { retiring: vec![retiring], ..Look::default() };
    look(client, "test", &wanted).await.expect("a look")
}

#[tokio::test]
async fn conditions_are_asked_of_the_oldest_partitions() {
    let (_, client) = database(
        "create table t (day date, done boolean, held boolean) partition by range (day);
         create table t_1 partition of t for values from ('2026-01-01') to ('2026-02-01');
         create table t_2 partition of t for values from ('2026-02-01') to ('2026-03-01');
         create table t_3 partition of t for values from ('2026-03-01') to ('2026-04-01');
         create table t_4 partition of t for values from ('2026-04-01') to ('2026-05-01');
         insert into t values ('2026-01-05', true, false), ('2026-01-06', true, null), ('2026-02-05', true, true),
           ('2026-02-06', null, false), ('2026-03-05', true, false)",
    )
    .await;
    let of = |facts: &Facts, name: &str| {
        let part = part(set(facts, "t"), name);
        (part.when_true, part.held_by_rows)
    };
    let facts = retiring(&client, Some("done"), &["held"]).await;
    assert_eq!(of(&facts, "t_1"), (Some(true), Some(false)));
    // A condition that is not known to be true of a row is not true of every row.
    assert_eq!(of(&facts, "t_2"), (Some(false), Some(true)));
    // Only the two oldest that may go were asked, and those that have to stay on the way to them.
    assert_eq!(of(&facts, "t_3"), (Some(true), Some(false)));
    assert_eq!(of(&facts, "t_4"), (None, None));
    let facts = retiring(&client, None, &[]).await;
    assert_eq!(of(&facts, "t_1"), (None, None));
    let facts = retiring(&client, Some("done -- and then"), &["no_such_column"]).await;
    assert_eq!(of(&facts, "t_1"), (Some(true), None));
    assert!(facts.refused[0].why.contains("no_such_column"), "{:?}", facts.refused);
    // A condition cannot write.
    let facts =
        retiring(&client, Some("set_config('x.y', '1', false) is null or nextval('s') > 0"), &[]).await;
    assert_eq!((of(&facts, "t_1").0, facts.refused.len()), (None, 1));
}

#[tokio::test]
async fn rows_that_refer_to_an_old_partition_are_found() {
    let (_, client) = database(
        "create table t (id int, day date, primary key (id, day)) partition by range (day);
         create table t_1 partition of t for values from ('2026-01-01') to ('2026-02-01');
         create table t_2 partition of t for values from ('2026-02-01') to ('2026-03-01');
         create table refers (id int, day date, foreign key (id, day) references t);
         insert into t values (1, '2026-01-05'), (2, '2026-02-05'); insert into refers values (2, '2026-02-05');
         create table u (id int, day date) partition by range (day);
         create table u_1 partition of u for values from ('2026-01-01') to ('2026-02-01')",
    )
    .await;
    let facts = retiring(&client, None, &[]).await;
    assert_eq!(part(set(&facts, "t"), "t_1").referenced, Some(false));
    assert_eq!(part(set(&facts, "t"), "t_2").referenced, Some(true));
    assert_eq!(part(set(&facts, "u"), "u_1").referenced, None);
    let facts = all(&client).await;
    assert_eq!(part(set(&facts, "t"), "t_1").referenced, None);
}
