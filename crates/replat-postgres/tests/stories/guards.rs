//! One guard for all partitions of a table: deployments come and go, and each keeps exactly its own rows closed.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use replat_model::deploy::{Event, Phase};
use replat_model::ids::Side;
use replat_model::key::{KeyType, KeyValue};
use replat_model::map::Dimension;
use replat_model::region::{Constraint, Region};
use replat_postgres::guard::{self, Guarded, lock_key};
use replat_postgres::sql::quote_literal;
use replat_testkit::Server;
use tokio_postgres::Client;

use crate::harness::{Scene, Story, refused, run, value};

fn insert(tenant: i64, id: i64) -> String {
    format!("insert into accounts values ({tenant}, {id}, null, 1, 'x', 'x')")
}

/// Names and definitions of all triggers and functions of the guards on blue.
async fn guards(story: &Story) -> String {
    value(
        &story.blue,
        "select string_agg(d, E'\\n' order by d) from (
           select pg_get_triggerdef(oid) || tgenabled::text d from pg_trigger where tgname like 'zz_replat%'
           union all select pg_get_functiondef(oid) from pg_proc where proname like '%guard%'
             and pronamespace = to_regnamespace('replat')) x",
    )
    .await
}

/// One tenant is out there for good, one can still go back, and a third one is given up.
#[tokio::test]
async fn of_three_deployments_on_the_same_tables_each_keeps_its_own_guard() {
    let finished = Scene::default().begin().await;
    finished.until_phase(Phase::Ready).await;
    finished.switch_to(Side::Green).await;
    finished.say(&Event::FinishAsked { why: "the story goes so".into() });
    finished.run_until("the finish", |d, _| d.finished.is_some()).await;

    let scene = Scene { tenant: 3, ..Scene::default() };
    let live = scene.begin_in(finished.database().to_owned(), Some(&finished)).await;
    live.until_phase(Phase::Ready).await;
    live.switch_to(Side::Green).await;
    let before = guards(&live).await;

    let scene = Scene { tenant: 1, ..Scene::default() };
    let aborted = scene.begin_in(finished.database().to_owned(), Some(&live)).await;
    aborted.until_phase(Phase::Ready).await;
    assert_ne!(guards(&aborted).await, before);
    for tenant in [2, 3] {
        let (code, detail) = refused(&aborted.blue, &insert(tenant, 8001)).await;
        assert!(
            code == "25006" && detail.contains(&format!("tenant_id_{tenant}")) || detail.contains("moved"),
            "{detail}"
        );
    }
    run(&aborted.blue, &insert(1, 8001)).await;
    aborted.abort().await;
    assert_eq!(guards(&aborted).await, before, "the abort leaves no trace, and touches no other's guard");

    let blue = &live.blue;
    for tenant in [2, 3] {
        for sql in [
            insert(tenant, 8002),
            format!("update accounts set note = 'x' where tenant_id = {tenant} and id = 1"),
            format!("update accounts set tenant_id = {tenant} where tenant_id = 1 and id = 249"),
            format!("delete from moves where tenant_id = {tenant} and id = 1"),
        ] {
            assert_eq!(refused(blue, &sql).await.0, "25006", "{sql}");
        }
        assert_eq!(refused(&live.green, &insert(tenant, 1)).await.0, "23505", "at home");
    }
    assert_eq!(refused(blue, "truncate moves").await.0, "25006");
    for tenant in [1, 4] {
        run(blue, &insert(tenant, 8003)).await;
    }
    // The one that can go back does, and is given up there: its rows are free again, and the first one's are not.
    live.switch_to(Side::Blue).await;
    live.abort().await;
    run(blue, &insert(3, 8004)).await;
    assert_eq!(refused(blue, &insert(2, 8004)).await.0, "25006");
}

/// Two runners, each of a deployment of its own, arm and disarm the same table at the same time.
#[tokio::test]
async fn guards_that_come_and_go_at_once_do_not_overwrite_each_other() {
    let server = Server::start().await.expect("a server");
    let client = server.client("postgres").await.expect("a session");
    run(&client, guard::SCHEMA).await;
    run(&client, "create table t (k bigint, id bigint)").await;
    let work = |worker: i64| {
        let server = &server;
        async move {
            let mut client = server.client("postgres").await.expect("a session");
            for round in 0..12 {
                let mine =
                    on_column("k", KeyType::BigInt, worker * 100 + round, one_of([worker * 100 + round]));
                let tx = client.transaction().await.expect("a transaction");
                guard::add(&tx, "blue", "public.t", &[("d_1", mine.clone())]).await.expect("armed");
                tx.commit().await.expect("a commit");
                if round % 3 == 0 {
                    let tx = client.transaction().await.expect("a transaction");
                    guard::remove(&tx, "blue", "public.t", &mine.partition).await.expect("disarmed");
                    tx.commit().await.expect("a commit");
                }
            }
        }
    };
    tokio::join!(work(1), work(2), work(3), work(4));
    for worker in 1..=4 {
        for round in 0..12 {
            let k = worker * 100 + round;
            let sql = format!("insert into t values ({k}, 1)");
            match round % 3 {
                0 => run(&client, &sql).await,
                _ => assert_eq!(refused(&client, &sql).await.0, "25006", "{k}"),
            }
        }
    }
}

fn one_of(values: impl IntoIterator<Item = i64>) -> Constraint {
    Constraint::OneOf(values.into_iter().map(KeyValue::Int).collect())
}

fn on_column(column: &str, key_type: KeyType, n: i64, constraint: Constraint) -> Guarded {
    Guarded {
        partition: format!("p{n}").parse().expect("a legal name"),
        schema: "public".into(),
        region: Region::everything().and(0, constraint),
        columns: vec![Dimension { column: column.into(), key_type }],
    }
}

/// Values that are near each other, so that lists and ranges meet; texts that sort otherwise in most languages.
fn values(key_type: KeyType) -> BoxedStrategy<KeyValue> {
    let texts =
        ["", "a", "B", "b", "Z", "z", "ä", "Ä", "a b", "it's", "\\", "\"", "$$", "é", "e\u{301}", "ß", "ss"];
    match key_type {
        KeyType::SmallInt | KeyType::Integer | KeyType::BigInt => {
            (-20_i64..40).prop_map(KeyValue::Int).boxed()
        }
        KeyType::Text => (0..texts.len()).prop_map(move |n| KeyValue::Text(texts[n].into())).boxed(),
        KeyType::Uuid => (0_u8..30).prop_map(|n| KeyValue::Uuid([n.wrapping_mul(9); 16])).boxed(),
        KeyType::Date => (-20_i32..40).prop_map(KeyValue::Date).boxed(),
        KeyType::Timestamp | KeyType::TimestampTz => {
            (-20_i64..40).prop_map(|n| KeyValue::Timestamp(n * 3_600_000_000)).boxed()
        }
    }
}

fn constraints(key_type: KeyType) -> BoxedStrategy<Constraint> {
    let set = |most| proptest::collection::btree_set(values(key_type), 0..most);
    prop_oneof![
        6 => set(3).prop_map(Constraint::OneOf),
        2 => set(12).prop_map(Constraint::OneOf),
        1 => set(12).prop_map(Constraint::NoneOf),
        2 => (values(key_type), values(key_type))
            .prop_map(|(a, b)| Constraint::Within { lower: Some(a.clone().min(b.clone())), upper: Some(a.max(b)) }),
        1 => values(key_type).prop_map(|lower| Constraint::Within { lower: Some(lower), upper: None }),
        2 => (1_u32..6, 0_u32..6)
            .prop_map(|(modulus, r)| Constraint::Bucket { modulus, remainder: r % modulus }),
    ]
    .boxed()
}

const KEY_TYPES: [KeyType; 8] = [
    KeyType::SmallInt,
    KeyType::Integer,
    KeyType::BigInt,
    KeyType::Text,
    KeyType::Uuid,
    KeyType::Date,
    KeyType::Timestamp,
    KeyType::TimestampTz,
];

/// One column of each type, and a table that is guarded for a few partitions of one or two of them: whether a row is
/// let through is what their regions say.
#[tokio::test]
async fn a_guard_refuses_exactly_the_rows_of_its_closed_partitions() {
    let server = Server::start().await.expect("a server");
    let mut client = server.client("postgres").await.expect("a session");
    run(&client, guard::SCHEMA).await;
    let mut runner = TestRunner::deterministic();
    for round in 0..48_usize {
        let first = KEY_TYPES[round % KEY_TYPES.len()];
        let second = KEY_TYPES[(round / 3) % KEY_TYPES.len()];
        let columns = vec![
            Dimension { column: "k 1".into(), key_type: first },
            Dimension { column: "k2".into(), key_type: second },
        ];
        let some = |strategy: BoxedStrategy<Constraint>, runner: &mut TestRunner| {
            strategy.new_tree(runner).expect("a constraint").current()
        };
        let count = [1, 2, 5, 14][round % 4];
        let mut guards = Vec::new();
        for n in 0..count {
            let mut region = Region::everything().and(0, some(constraints(first), &mut runner));
            if (n + round) % 4 == 0 {
                region = region.and(1, some(constraints(second), &mut runner));
            }
            guards.push(Guarded {
                partition: format!("p{n}").parse().expect("a legal name"),
                schema: "public".into(),
                region,
                columns: columns.clone(),
            });
        }
        check(&mut client, &mut runner, &columns, &guards, round).await;
    }
}

/// Guards a new table, closes every other partition, and writes.
async fn check(
    client: &mut Client,
    runner: &mut TestRunner,
    columns: &[Dimension],
    guards: &[Guarded],
    round: usize,
) {
    let table = format!("public.t{round}");
    let [first, second] = [0, 1].map(|n| columns[n].key_type);
    // Text as a column under a language's order, and with another type's name.
    let declared = |key_type: KeyType| match key_type {
        KeyType::Text if round.is_multiple_of(2) => "varchar(40)".to_owned(),
        KeyType::Text => "text collate \"und-x-icu\"".to_owned(),
        other => other.to_string(),
    };
    run(
        client,
        &format!(
            "delete from replat.fence; create table {table} (\"k 1\" {}, id bigint, k2 {})",
            declared(first),
            declared(second)
        ),
    )
    .await;
    for (n, guarded) in guards.iter().enumerate() {
        let is_open = n % 2 == 1;
        run(
            client,
            &format!(
                "insert into replat.fence (partition, schema_name, deployment, epoch, open, term, seq) \
                 values ('{}', 'public', 'd_1', 1, {is_open}, 1, 1)",
                guarded.partition
            ),
        )
        .await;
        let tx = client.transaction().await.expect("a transaction");
        guard::add(&tx, "blue", &table, &[("d_1", guarded.clone())]).await.expect("armed");
        tx.commit().await.expect("a commit");
    }
    let closed: Vec<&Guarded> = guards.iter().step_by(2).collect();
    let holds = |key: &[Option<KeyValue>; 2]| {
        closed.iter().any(|guarded| {
            // A row without a value is in no region that asks for one.
            guarded.region.constraints().all(|(at, c)| key[at].as_ref().is_some_and(|value| c.admits(value)))
        })
    };
    let literal = |at: usize, value: &Option<KeyValue>| match value {
        None => "null".to_owned(),
        Some(value) => quote_literal(&columns[at].key_type.text_of(value)),
    };
    let mut keys = Vec::new();
    for _ in 0..24 {
        let pair =
            (proptest::option::weighted(0.9, values(first)), proptest::option::weighted(0.9, values(second)));
        let (one, two) = pair.new_tree(runner).expect("a key").current();
        keys.push([one, two]);
    }
    let is_refused = async |client: &Client, sql: &str| match client.batch_execute(sql).await {
        Ok(()) => false,
        Err(error) => {
            assert_eq!(error.code().map(|c| c.code()), Some("25006"), "{sql}: {error:?}");
            true
        }
    };
    for (n, key) in keys.iter().enumerate() {
        let (one, two) = (literal(0, &key[0]), literal(1, &key[1]));
        let told = format!("{key:?} of {guards:#?}");
        let wanted = holds(key);
        let insert = format!("insert into {table} values ({one}, {n}, {two})");
        assert_eq!(is_refused(client, &insert).await, wanted, "{insert}: {told}");
        // Put there past the guard, it can neither be changed nor deleted.
        run(client, &format!("alter table {table} disable trigger all; delete from {table}; {insert}")).await;
        run(client, &format!("insert into {table} values (null, -1, null)")).await;
        run(
            client,
            &format!(
                "alter table {table} enable always trigger zz_replat_update; \
                      alter table {table} enable always trigger zz_replat_delete; \
                      alter table {table} enable always trigger zz_replat_insert"
            ),
        )
        .await;
        let other = &keys[(n + 1) % keys.len()];
        let leaving = format!("update {table} set \"k 1\" = null, k2 = null where id = {n}");
        let arriving = format!("update {table} set \"k 1\" = {one}, k2 = {two} where id = -1");
        let delete = format!("delete from {table} where id = {n}");
        let (to, k2) = (literal(0, &other[0]), literal(1, &other[1]));
        let moving = format!("update {table} set \"k 1\" = {to}, k2 = {k2} where id = {n}");
        let none = holds(&[None, None]);
        for (sql, wanted) in [(&arriving, wanted || none), (&moving, wanted || holds(other))] {
            let sql = format!("begin; {sql}; rollback");
            assert_eq!(is_refused(client, &sql).await, wanted, "{sql}: {told}");
            run(client, "rollback").await;
        }
        for sql in [&leaving, &delete] {
            let sql = format!("begin; {sql}; rollback");
            assert_eq!(is_refused(client, &sql).await, wanted || (none && *sql == leaving), "{sql}: {told}");
            run(client, "rollback").await;
        }
    }
    let partitions: BTreeSet<&str> = guards.iter().map(|g| g.partition.as_str()).collect();
    for guarded in guards {
        let tx = client.transaction().await.expect("a transaction");
        guard::remove(&tx, "blue", &table, &guarded.partition).await.expect("disarmed");
        tx.commit().await.expect("a commit");
    }
    assert_eq!(partitions.len(), guards.len());
    let left = "select count(*) from pg_proc where proname ~ '^(is_)?guard(ed)?_[0-9]' \
                and pronamespace = 'replat'::regnamespace";
    assert_eq!(value(client, left).await, "0", "nothing is left of a guard that nobody needs");
    let left = format!("select count(*) from pg_trigger where tgrelid = '{table}'::regclass");
    assert_eq!(value(client, &left).await, "0");
    assert_ne!(lock_key(&guards[0].partition, "public"), lock_key(&guards[0].partition, "other"));
}

/// One set of triggers for each partition, as the guard was before there was one for all.
fn one_for_each(n: i64) -> String {
    let mut sql = String::from("drop function if exists replat.each() cascade; ");
    sql += "create function replat.each() returns trigger language plpgsql security definer \
              set search_path = pg_catalog, pg_temp as $$ begin perform replat.pass(tg_argv[0], tg_argv[1], \
              tg_argv[2]::bigint, tg_op); if tg_op = 'DELETE' then return old; end if; return new; end $$; ";
    for k in 0..n {
        let lock = lock_key(&format!("p{k}").parse().expect("a legal name"), "public");
        for (event, when) in [
            ("insert", format!("new.k = '{k}'::bigint")),
            ("update", format!("(old.k = '{k}'::bigint) or (new.k = '{k}'::bigint)")),
            ("delete", format!("old.k = '{k}'::bigint")),
        ] {
            sql += &format!(
                "create trigger zz_{k}_{event} before {event} on each for each row when ({when}) \
                   execute function replat.each('p{k}', 'public', '{lock}'); \
                 alter table each enable always trigger zz_{k}_{event}; "
            );
        }
    }
    sql
}

/// What single inserts cost, of a tenant that nobody guards and of one whose partition is guarded and open: with no
/// guard, with one set of triggers for each partition, and with the shared one. Run it alone, with --ignored and
/// --nocapture; only the ratios within one line mean something.
#[tokio::test]
#[ignore = "measures, and says nothing on a busy machine"]
async fn measure_single_inserts_beside_many_guarded_partitions() {
    let server = Server::start().await.expect("a server");
    let mut client = server.client("postgres").await.expect("a session");
    run(&client, guard::SCHEMA).await;
    run(&client, "create table bare (k bigint, id bigint, note text)").await;
    run(&client, "create table each (like bare); create table shared (like bare)").await;
    run(
        &client,
        "insert into replat.fence (partition, schema_name, deployment, epoch, open, term, seq) \
           select 'p' || n, 'public', 'd_1', 1, n = 0, 1, 1 from generate_series(0, 999) n; analyze replat.fence",
    )
    .await;
    let mut armed = 0;
    for count in [1, 8, 50, 300] {
        for n in armed..count {
            let tx = client.transaction().await.expect("a transaction");
            let guarded = on_column("k", KeyType::BigInt, n, one_of([n]));
            guard::add(&tx, "blue", "public.shared", &[("d_1", guarded.clone())]).await.expect("armed");
            tx.commit().await.expect("a commit");
        }
        armed = count;
        run(&client, &one_for_each(count)).await;
        for sql in ["truncate bare, each", "vacuum full pg_trigger", "vacuum full pg_proc"] {
            run(&client, sql).await;
        }
        let mut line = format!("{count:>4} guarded:");
        for (who, key) in [("a neighbour", 100_000_i64), ("their own", 0)] {
            let mut best = [f64::MAX; 3];
            for round in 0..30 {
                for (at, table) in ["bare", "each", "shared"].into_iter().enumerate() {
                    let sql = format!("insert into {table} values ($1, $2, 'a note')");
                    let insert = client.prepare(&sql).await.expect("a statement");
                    let begun = std::time::Instant::now();
                    for id in 0..100_i64 {
                        client.execute(&insert, &[&key, &(round * 100 + id)]).await.expect("a row");
                    }
                    best[at] = best[at].min(begun.elapsed().as_secs_f64() * 1e6 / 100.0);
                }
            }
            let [bare, each, shared] = best;
            line += &format!(
                "  {who}: {bare:.0} µs unguarded, one for each x{:.2}, shared x{:.2};",
                each / bare,
                shared / bare
            );
        }
        println!("{line}");
    }
}
