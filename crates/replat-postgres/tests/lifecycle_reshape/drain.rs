//! Rows out of a default partition.

use replat_model::lifecycle::facts::Bound;
use replat_model::lifecycle::plan::Work;

use crate::harness::{Load, Shape, Shop, part, public, range, unit};

pub const SHAPE: Shape = Shape {
    keys: &[
        "2026-01-10 00:00:00+00",
        "2026-03-01 00:00:00+00",
        "2026-03-31 23:59:59.999999+00",
        "2026-04-01 00:00:00+00",
        "2026-07-01 00:00:00+00",
    ],
    key: "ts",
};

pub fn schema(key: &str) -> String {
    format!(
        "create table p (id bigint not null, ts timestamptz not null, v bigint, w bigint generated always as (v + 1) stored, \
         pad text default 'x' {key}) partition by range (ts); create index on p (v); \
         create table p_01 partition of p for values from ('2026-01-01') to ('2026-02-01'); \
         create table p_02 partition of p for values from ('2026-02-01') to ('2026-03-01'); \
         create table p_d partition of p default; \
         insert into p (id, ts, v) select i, '2026-03-01'::timestamptz + i * interval '4 minutes', i \
         from generate_series(0, 19999) i"
    )
}

pub fn drain(id: &str) -> replat_model::lifecycle::plan::Unit {
    let parts = vec![
        part("p_03", range("2026-03-01 00:00:00+00", "2026-04-01 00:00:00+00")),
        part("p_04", range("2026-04-01 00:00:00+00", "2026-05-01 00:00:00+00")),
    ];
    unit(id, Work::Drain { parent: public("p"), default: public("p_d"), parts })
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_leave_the_default_while_they_are_read_and_written() {
    for (case, key) in [("a primary key", ", primary key (id, ts)"), ("no key", "")] {
        let shop = Shop::open(&schema(key)).await;
        let load = Load::begin(&shop, SHAPE, 20_000).await;
        load.go_on(50).await;
        let outcome = shop.act(&drain("dra1n")).await.unwrap_or_else(|e| panic!("{case}: {e:?}"));
        load.go_on(50).await;
        load.judge(&shop, SHAPE).await;
        assert!(outcome.done, "{case}");
        shop.assert_clean().await;
        shop.assert_proven(&["p_03", "p_04", "p_d"]);
        let strays = shop.one("select count(*) from p_d where ts < '2026-05-01'").await;
        assert_eq!(strays, "0", "{case}: rows stayed in the default");
        assert_eq!(shop.one("select count(*) from p_03 where id < 1000000").await, "11160", "{case}");
        let kept = shop.rows("select state from replat.lifecycle_part where drop_after > now()").await;
        assert_eq!(kept, ["replaced"], "{case}: the old default waits to be dropped");
        let bounds =
            shop.rows("select change->'added'->0->'table'->>'name' from replat.lifecycle_outbox").await;
        assert_eq!(bounds, ["p_03"], "{case}");
        let again = shop.act(&drain("dra1n")).await.unwrap_or_else(|e| panic!("{case}: {e:?}"));
        assert!(again.done && again.tries == 0, "{case}: a unit that was done is found done");
        println!(
            "{case}: held {} us, stalled {} us, {} tries",
            outcome.held_us, outcome.stalled_us, outcome.tries
        );
    }
}

#[tokio::test]
async fn a_list_is_drained_too() {
    let shop = Shop::open(
        "create table p (id bigint, c text, v bigint, primary key (id, c)) partition by list (c); \
         create table p_a partition of p for values in ('a'); create table p_d partition of p default; \
         insert into p select i, chr(97 + i % 4), i from generate_series(0, 999) i",
    )
    .await;
    let parts = vec![part("p_b", Bound::List(vec![Some("b".into())]))];
    let work = Work::Drain { parent: public("p"), default: public("p_d"), parts };
    let outcome = shop.act(&unit("list", work)).await.expect("a drain");
    assert!(outcome.done);
    shop.assert_clean().await;
    shop.assert_proven(&["p_b", "p_d"]);
    let found = shop.rows("select tableoid::regclass::text, count(*) from p group by 1 order by 1").await;
    assert_eq!(found, ["p_a|250", "p_b|250", "p_d|500"]);
}
