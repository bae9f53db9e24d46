//! Indexes that some partitions lack.

use replat_model::lifecycle::plan::Work;

use crate::harness::{Shop, unit};

const SCHEMA: &str = "create table p (id int not null, k int not null, v int) partition by range (k); \
     create table p_1 partition of p for values from (0) to (100); \
     create table p_2 partition of p for values from (100) to (200) partition by range (id); \
     create table p_21 partition of p_2 for values from (0) to (1000000); \
     insert into p select i, i % 200, i % 7 from generate_series(0, 999) i; ";

#[tokio::test]
async fn partitions_get_what_they_lack_of_an_index() {
    // What is there; its index; how many of the leaves' indexes are built anew.
    let rows = [
        ("nothing but the parent's", "create index i on only p (v, id)"),
        ("an equal one that is not attached", "create index i on only p (v); create index j on p_1 (v)"),
        (
            "one that was attached",
            "create index i on only p (v); create index j on p_1 (v); alter index i attach partition j",
        ),
        (
            "one that is invalid",
            "create index i on only p (v); create index j on p_1 (v); \
             update pg_index set indisvalid = false where indexrelid = 'j'::regclass",
        ),
        ("the shell of an inner partition", "create index i on only p (v); create index j on only p_2 (v)"),
        ("a primary key", "alter table only p add constraint i primary key (id, k)"),
        (
            "a primary key that a partition has",
            "alter table only p add constraint i primary key (id, k); alter table p_1 add primary key (id, k)",
        ),
        ("a unique index", "create unique index i on only p (id, k)"),
        ("an expression, a condition", "create index i on only p ((v + 1) desc, id) include (k) where v > 2"),
        ("a name that is taken", "create index i on only p (v); create table p_1_i ()"),
    ];
    for (case, more) in rows {
        let shop = Shop::open(&format!("{SCHEMA}{more}")).await;
        assert_eq!(shop.one("select indisvalid from pg_index where indexrelid = 'i'::regclass").await, "f");
        let work = Work::Align {
            index: "i".into(),
            missing_on: Vec::new(),
            attach: Vec::new(),
            rebuild: Vec::new(),
        };
        let outcome =
            shop.act(&unit("align", work.clone())).await.unwrap_or_else(|e| panic!("{case}: {e:?}"));
        assert!(outcome.done, "{case}");
        assert_eq!(
            shop.one(
                "select bool_and(indisvalid) from pg_index where indrelid in \
             (select relid from pg_partition_tree('p'))"
            )
            .await,
            "t",
            "{case}"
        );
        let each = shop
            .rows(
                "select indrelid::regclass::text, count(*) from pg_index where indrelid in \
             (select relid from pg_partition_tree('p')) group by 1 order by 1",
            )
            .await;
        assert_eq!(each, ["p|1", "p_1|1", "p_2|1", "p_21|1"], "{case}");
        let again = shop.act(&unit("align", work)).await.unwrap_or_else(|e| panic!("{case}: {e:?}"));
        assert!(again.done && again.tries == 0, "{case}: nothing is left to do");
    }
}

#[tokio::test]
async fn what_a_unique_index_cannot_hold_is_said() {
    let shop = Shop::open(&format!(
        "{SCHEMA} create unique index i on only p (id, k); insert into p values (1, 1, 1), (1, 1, 2)"
    ))
    .await;
    let work =
        Work::Align { index: "i".into(), missing_on: Vec::new(), attach: Vec::new(), rebuild: Vec::new() };
    let error = shop.act(&unit("dup", work.clone())).await.expect_err("two equal rows");
    assert!(error.to_string().contains("could not create unique index"), "{error}");
    shop.client.batch_execute("delete from p where id = 1").await.expect("mended");
    assert!(shop.act(&unit("dup", work)).await.expect("goes on").done, "the invalid leftover is built anew");
    assert_eq!(shop.one("select count(*) from pg_index where not indisvalid").await, "0");
}
