//! Splits, merges and other moduli.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use replat_engine::EngineError;
use replat_engine::lifecycle::Hear;
use replat_model::lifecycle::facts::{Bound, Method};
use replat_model::lifecycle::plan::{NewLevel, NewPart, Unit, Work};

use crate::harness::{DATABASE, Load, Shape, Shop, part, public, range, unit};

fn recut(id: &str, old: &[&str], new: Vec<NewPart>) -> Unit {
    // The engine looks the identities and bounds up itself; those of the plan are for people.
    let old = old.iter().map(|name| (public(name), 0, Bound::Default)).collect();
    unit(id, Work::Recut { parent: public("p"), old, new })
}

fn hash(modulus: u32, remainder: u32) -> Bound {
    Bound::Hash { modulus, remainder }
}

fn list(values: &[&str]) -> Bound {
    Bound::List(values.iter().map(|value| Some((*value).to_owned())).collect())
}

/// A set, what happens to it, and how its rows lie afterwards.
struct Case {
    name: &'static str,
    schema: &'static str,
    shape: Shape,
    steady: u64,
    there: fn() -> Unit,
    back: fn() -> Unit,
    between: &'static [&'static str],
}

const NUMBERS: Shape = Shape { keys: &["5", "150", "250", "399", "1000", "-7"], key: "k" };
const LETTERS: Shape = Shape { keys: &["a", "b", "c", "d", "z"], key: "k" };

fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "a range beside a default is split in three, and merged again",
            schema: "create table p (id bigint, k int, v bigint, primary key (id, k)) partition by range (k); \
                     create table p_0 partition of p for values from (0) to (100); \
                     create table p_1 partition of p for values from (100) to (400); \
                     create table p_d partition of p default; \
                     insert into p select i, i % 500, i from generate_series(0, 4999) i",
            shape: NUMBERS,
            steady: 5_000,
            there: || {
                let parts = [("p_1", "100", "200"), ("p_2", "200", "300"), ("p_3", "300", "400")];
                recut("split", &["p_1"], parts.map(|(n, a, b)| part(n, range(a, b))).to_vec())
            },
            back: || recut("merge", &["p_1", "p_2", "p_3"], vec![part("p_1", range("100", "400"))]),
            between: &["p_0|1000", "p_1|1000", "p_2|1000", "p_3|1000", "p_d|1000"],
        },
        Case {
            name: "one partition of two moduli gets twice the modulus, and back",
            schema: "create table p (id bigint, k int, v bigint, primary key (id)) partition by hash (id); \
                     create table p_0 partition of p for values with (modulus 2, remainder 0); \
                     create table p_1 partition of p for values with (modulus 2, remainder 1); \
                     insert into p select i, 0, i from generate_series(0, 4999) i",
            shape: NUMBERS,
            steady: 5_000,
            there: || recut("more", &["p_0"], vec![part("p_0", hash(4, 0)), part("p_2", hash(4, 2))]),
            back: || recut("less", &["p_0", "p_2"], vec![part("p_0", hash(2, 0))]),
            between: &["p_0|1219", "p_1|2501", "p_2|1280"],
        },
        Case {
            name: "a list without a key is split, and merged again",
            schema: "create table p (id bigint, k text, v bigint) partition by list (k); \
                     create table p_1 partition of p for values in ('a', 'b', 'c'); \
                     create table p_2 partition of p for values in ('d'); \
                     create table p_3 partition of p default; \
                     insert into p select i, chr(97 + i % 5), i from generate_series(0, 4999) i",
            shape: LETTERS,
            steady: 5_000,
            there: || {
                recut("apart", &["p_1"], vec![part("p_a", list(&["a"])), part("p_1", list(&["b", "c"]))])
            },
            back: || recut("together", &["p_a", "p_1"], vec![part("p_1", list(&["a", "b", "c"]))]),
            between: &["p_1|2000", "p_2|1000", "p_3|1000", "p_a|1000"],
        },
        Case {
            name: "a range becomes one with partitions of its own, and back",
            schema: "create table p (id bigint, k int, v bigint, primary key (id, k)) partition by range (k); \
                     create table p_0 partition of p for values from (minvalue) to (100); \
                     create table p_1 partition of p for values from (100) to (maxvalue); \
                     insert into p select i, i % 500, i from generate_series(0, 4999) i",
            shape: NUMBERS,
            steady: 5_000,
            there: || {
                let parts = vec![part("p_1a", range("min", "300")), part("p_1b", range("300", "max"))];
                let below = NewLevel { method: Method::Range, keys: vec!["k".into()], parts };
                let nested = NewPart { below: Some(below), ..part("p_1", range("100", "max")) };
                recut("deeper", &["p_1"], vec![nested])
            },
            back: || recut("flat", &["p_1"], vec![part("p_1", range("100", "max"))]),
            between: &["p_0|1000", "p_1a|2000", "p_1b|2000"],
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_cut_anew_under_load_and_back() {
    const LAID: &str =
        "select tableoid::regclass::text, count(*) from p where id < 1000000 group by 1 order by 1";
    for case in cases() {
        let shop = Shop::open(case.schema).await;
        let before = shop.rows(LAID).await;
        let load = Load::begin(&shop, case.shape, case.steady).await;
        load.go_on(30).await;
        for (unit, lies) in [((case.there)(), case.between), ((case.back)(), &[])] {
            let outcome = shop.act(&unit).await.unwrap_or_else(|e| panic!("{}: {e:?}", case.name));
            assert!(outcome.done, "{}", case.name);
            println!("{} {}: held {} us, {} tries", case.name, unit.id, outcome.held_us, outcome.tries);
            load.go_on(30).await;
            let now = shop.rows(LAID).await;
            if lies.is_empty() {
                assert_eq!(now, before, "{}", case.name);
            } else {
                assert_eq!(now, lies, "{}", case.name);
            }
            let Work::Recut { new, .. } = &unit.work else { unreachable!() };
            let names: Vec<&str> = new.iter().map(|part| part.table.name.as_str()).collect();
            shop.assert_proven(&names);
            // Those that were replaced are kept for a while; here their names are wanted again.
            for table in
                shop.rows("select table_name from replat.lifecycle_part where state = 'replaced'").await
            {
                shop.client.batch_execute(&format!("drop table {table}")).await.expect("dropped");
            }
            shop.client
                .batch_execute("delete from replat.lifecycle_part where state = 'replaced'")
                .await
                .expect("x");
        }
        load.judge(&shop, case.shape).await;
        shop.assert_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_go_with_what_they_refer_to_go_all_the_time() {
    let shop = Shop::open(
        "create table c (id int primary key); insert into c select generate_series(0, 9999); \
         create table p (id bigint, k int, c int references c, v bigint, primary key (id, k)) partition by range (k); \
         create table p_1 partition of p for values from (0) to (1000); \
         insert into p select i, i % 1000, i % 10000, i from generate_series(0, 19999) i",
    )
    .await;
    let stop = Arc::new(AtomicBool::new(false));
    let client = shop.server.client(DATABASE).await.expect("a session");
    let told = stop.clone();
    // Whoever deletes a customer with all that is theirs must not be refused because a copy is behind.
    let deleter = tokio::spawn(async move {
        let mut gone = 0;
        while !told.load(Ordering::SeqCst) && gone < 9_000 {
            let text =
                format!("begin; delete from p where c = {gone}; delete from c where id = {gone}; commit");
            client.batch_execute(&text).await.unwrap_or_else(|e| panic!("customer {gone} stayed: {e:?}"));
            gone += 1;
        }
        gone
    });
    let new = vec![part("p_1", range("0", "500")), part("p_2", range("500", "1000"))];
    let outcome = shop.act(&recut("fk", &["p_1"], new)).await.expect("a split");
    stop.store(true, Ordering::SeqCst);
    let gone: u64 = deleter.await.expect("no customer stayed");
    assert!(outcome.done && gone > 0);
    shop.assert_clean().await;
    shop.assert_proven(&["p_1", "p_2"]);
    assert_eq!(shop.one("select count(*) from p").await, (20_000 - 2 * gone).to_string());
    let keys = shop
        .rows(
            "select conrelid::regclass::text from pg_constraint where contype = 'f' and convalidated \
         and conrelid in ('p'::regclass, 'p_1'::regclass, 'p_2'::regclass) order by 1",
        )
        .await;
    assert_eq!(keys, ["p", "p_1", "p_2"]);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_a_remedy_and_leaves_nothing() {
    let base = "create table p (id int, k int, v int, primary key (id, k)) partition by range (k); \
         create table p_1 partition of p for values from (0) to (100); insert into p values (1, 50, 1);";
    let halves = || vec![part("p_a", range("0", "50")), part("p_b", range("50", "100"))];
    let rows: Vec<(&str, &str, Vec<NewPart>, &str)> = vec![
        (
            "others refer to it",
            "create table r (i int, k int, foreign key (i, k) references p)",
            halves(),
            "refers",
        ),
        (
            "a trigger of its own",
            "create function f() returns trigger language plpgsql as 'begin return null; end'; \
             create trigger t after insert on p_1 for each row execute function f()",
            halves(),
            "trigger t",
        ),
        (
            "a hole",
            "",
            vec![part("p_a", range("0", "50")), part("p_b", range("60", "100"))],
            "none of the new",
        ),
        ("overlap", "", vec![part("p_a", range("0", "60")), part("p_b", range("50", "100"))], "overlap"),
        ("no such value", "", vec![part("p_a", range("x", "60"))], "invalid input"),
        ("a name that is taken", "create table p_a ()", halves(), "already exists"),
        ("a view on it", "create view w as select * from p_1", halves(), "view"),
    ];
    for (case, more, new, why) in rows {
        let shop = Shop::open(&format!("{base} {more}")).await;
        let error = shop.act(&recut("no", &["p_1"], new)).await.expect_err(case);
        let said = format!("{error}; {}", error.remedy());
        assert!(said.contains(why), "{case}: {said}");
        assert!(!matches!(error, EngineError::Unreachable { .. }), "{case}");
        shop.assert_clean().await;
        assert_eq!(shop.rows("select tableoid::regclass, id from p").await, ["p_1|1"], "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_rewritten_is_copied_anew() {
    for (case, rewrite, left) in [("truncated", "truncate p_1", 0), ("rewritten", "vacuum full p_1", 20_000)]
    {
        // Without a key, places are what identifies rows: the harder case.
        let shop = Shop::open(
            "create table p (id bigint, k int, v bigint) partition by range (k); \
             create table p_1 partition of p for values from (0) to (100); \
             insert into p select i, i % 100, i from generate_series(0, 19999) i; delete from p where id % 2 = 0; \
             insert into p select i, i % 100, i from generate_series(0, 19999) i where i % 2 = 0",
        )
        .await;
        let new = vec![part("p_a", range("0", "50")), part("p_b", range("50", "100"))];
        let unit = recut("rw", &["p_1"], new);
        let rewriter = Rewriter {
            client: shop.server.client(DATABASE).await.expect("a session"),
            rewrite,
            did: AtomicBool::default(),
        };
        let outcome = shop.act_heard(&unit, &rewriter).await;
        assert!(rewriter.did.load(Ordering::SeqCst));
        assert!(outcome.unwrap_or_else(|e| panic!("{case}: {e:?}")).done);
        shop.assert_clean().await;
        assert_eq!(shop.one("select count(*) from p").await, left.to_string(), "{case}");
        assert_eq!(shop.one("select count(distinct id) from p").await, left.to_string(), "{case}");
    }
}

/// Rewrites the source when the first pages are copied, and lets the copy wait for that.
struct Rewriter {
    client: tokio_postgres::Client,
    rewrite: &'static str,
    did: AtomicBool,
}

impl Hear for Rewriter {
    fn progress(&self, _what: &str, _done: u64, _of: Option<u64>) {
        if !self.did.swap(true, Ordering::SeqCst) {
            let run = self.client.batch_execute(self.rewrite);
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(run))
                .expect("a rewrite");
        }
    }
}
