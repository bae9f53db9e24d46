//! Others who are in the way, and who must not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use replat_engine::EngineError;
use replat_engine::lifecycle::{LifecycleEngine, Limits};
use replat_model::lifecycle::facts::{Bound, Edge, TableName};
use replat_model::lifecycle::plan::{NewPart, Unit, Work};

use crate::world::{EVENTS, World, act, create, day, range, table};

const DEFAULT: &str = "CREATE TABLE events_rest PARTITION OF events DEFAULT;";

fn short() -> Limits {
    Limits {
        wait_each: Duration::from_millis(20),
        wait_total: Duration::from_millis(60),
        patience: Duration::from_millis(1500),
        seed: 7,
    }
}

/// What somebody holds, and whether a new partition can be had beside it.
#[tokio::test]
async fn a_long_transaction_delays_a_new_partition_and_nobody_else() {
    let rows = [
        ("a reader of everything", DEFAULT, "SELECT count(*) FROM events", false),
        ("a writer to the default", DEFAULT, "INSERT INTO events VALUES (1, '2035-01-01', 'x')", false),
        ("somebody who analyses", "", "LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE", false),
        ("a reader where there is no default", "", "SELECT count(*) FROM events", true),
        ("a writer where there is no default", "", "INSERT INTO events VALUES (1, '2030-01-01', 'x')", true),
        (
            "a writer to the table that is referred to",
            "CREATE TABLE ref (id int PRIMARY KEY); ALTER TABLE events ADD r int REFERENCES ref;",
            "INSERT INTO ref VALUES (1)",
            false,
        ),
    ];
    for (what, more, statement, passes) in rows {
        let world = World::with(&format!("{EVENTS} {more}")).await;
        let before = world.parts("events").await;
        let holder = world.session().await;
        holder.batch_execute(&format!("BEGIN; {statement}")).await.expect("a holder");
        // Somebody who writes all the time, and gives up where it takes longer than the budget of one try could explain.
        let (stop, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let writer = world.session().await;
        let load = tokio::spawn({
            let (stop, writes) = (Arc::clone(&stop), Arc::clone(&writes));
            async move {
                writer.batch_execute("SET lock_timeout = '1s'").await.expect("a setting");
                while !stop.load(Ordering::SeqCst) {
                    let write = "INSERT INTO events VALUES (9, '2030-01-01 05:00+00', 'w') ON CONFLICT DO NOTHING; \
                                 SELECT count(*) FROM events WHERE id = 9";
                    writer.batch_execute(write).await?;
                    writes.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
                Ok::<(), tokio_postgres::Error>(())
            }
        });
        let unit = world.unit(&table("events"), create(vec![day(2), day(3)])).await;
        let outcome = act(&world.engine(), &unit, &short()).await;
        assert_eq!(outcome.done, passes, "{what}: {:?}", outcome.why);
        // A server cannot wait for less than a millisecond, and each try may wait so for one lock.
        let most = short().wait_total + short().wait_each + Duration::from_millis(u64::from(outcome.tries));
        assert!(outcome.stalled_us <= most.as_micros() as u64, "{what}: {outcome:?}");
        if !passes {
            assert!(outcome.tries > 3, "{what}: {} tries", outcome.tries);
            let why = outcome.why.expect("a reason");
            assert!(why.contains("could not be had within") && why.contains("process "), "{what}: {why}");
            assert_eq!(world.parts("events").await, before, "{what}");
            assert_eq!(world.ask("SELECT count(*) FROM replat.lifecycle_part").await, "0", "{what}");
            assert_eq!(world.ask("SELECT state FROM replat.lifecycle_unit").await, "taken-back", "{what}");
            world.has_no_orphan().await;
        }
        stop.store(true, Ordering::SeqCst);
        load.await
            .expect("the load does not panic")
            .unwrap_or_else(|e| panic!("{what}: a writer waited: {e:?}"));
        assert!(writes.load(Ordering::SeqCst) > 3, "{what}: the load stood still");
        holder.batch_execute("ROLLBACK").await.expect("the holder ends");
        world.done(&unit).await;
        assert_eq!(world.parts("events").await.lines().count(), before.lines().count() + 2, "{what}");
        world.has_no_orphan().await;
    }
}

#[tokio::test]
async fn behind_one_long_transaction_nobody_is_made_to_wait() {
    let world = World::with(&format!("{EVENTS} {DEFAULT}")).await;
    let holder = world.session().await;
    holder.batch_execute("BEGIN; SELECT count(*) FROM events").await.expect("a holder");
    let unit = world.unit(&table("events"), create(vec![day(2)])).await;
    let outcome = act(&world.engine(), &unit, &short()).await;
    assert!(!outcome.done && outcome.tries > 3);
    assert_eq!(outcome.stalled_us, 0, "the queue would only have grown");
}

#[tokio::test]
async fn without_a_budget_it_is_tried_and_nobody_waits() {
    let world = World::with(&format!("{EVENTS} {DEFAULT}")).await;
    let none = Limits { wait_each: Duration::ZERO, wait_total: Duration::ZERO, ..short() };
    let unit = world.unit(&table("events"), create(vec![day(2)])).await;
    let outcome = act(&world.engine(), &unit, &none).await;
    assert!(outcome.done && outcome.stalled_us == 0, "{outcome:?}");
}

#[tokio::test]
async fn one_run_at_a_time() {
    let world = World::with(EVENTS).await;
    let (one, other) = (world.engine(), world.engine());
    let alone = one.alone().await.expect("alone");
    let refused = other.alone().await.err().expect("somebody is there");
    assert!(matches!(refused, EngineError::Superseded { .. }), "{refused}");
    drop(alone);
    // The session ends in its own time.
    for _ in 0..500 {
        match other.alone().await {
            Ok(_) => return,
            Err(EngineError::Superseded { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the lock outlived its guard");
}

/// Two that did not see each other: each partition is made once, and told once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_unit_twice_at_once_does_no_harm() {
    for more in ["", DEFAULT] {
        let world = World::with(&format!("{EVENTS} {more}")).await;
        replat_postgres::lifecycle::ledger::ensure(&world.client, "public").await.expect("records");
        let unit = world.unit(&table("events"), create(vec![day(2), day(3)])).await;
        let (one, other, limits) = (world.engine(), world.engine(), short());
        let (a, b) = tokio::join!(
            one.act(&unit, &limits, &replat_engine::lifecycle::Quiet),
            other.act(&unit, &limits, &replat_engine::lifecycle::Quiet)
        );
        let done = [&a, &b].into_iter().filter(|o| o.as_ref().is_ok_and(|o| o.done)).count();
        println!("{done} of two: {a:?} {b:?}");
        world.done(&unit).await;
        assert_eq!(world.ask("SELECT count(*), max(version) FROM replat.lifecycle_outbox").await, "1|1");
        assert_eq!(
            world.ask("SELECT count(*) FROM replat.lifecycle_part WHERE state = 'attached'").await,
            "2"
        );
        drop(one.alone().await.expect("alone"));
        world.has_no_orphan().await;
    }
}

/// Names that break what is not quoted, of full length; and what a superuser needs not think of.
#[tokio::test]
async fn all_kinds_of_work_are_done_by_an_ordinary_role_under_any_name() {
    let long = "ü".repeat(31);
    for (schema, set) in [("own", "events"), ("S \"c", "Ev'en\"ts; --"), ("select", long.as_str())] {
        let q = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let name = |tail: &str| TableName::new(schema, format!("{}{tail}", set.trim_end_matches('ü')));
        let (s, t) = (q(schema), q(set));
        let first = name("_1");
        let world = World::with(&format!(
            "DO $$ BEGIN CREATE ROLE app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
             CREATE SCHEMA {s} AUTHORIZATION app; SET ROLE app;
             CREATE TABLE {s}.{t} (\"I d\" bigint, \"T'\"\"s\" timestamptz NOT NULL, PRIMARY KEY (\"I d\", \"T'\"\"s\"))
               PARTITION BY RANGE (\"T'\"\"s\");
             CREATE TABLE {s}.{f} PARTITION OF {s}.{t} FOR VALUES FROM ('2030-01-01+00') TO ('2030-01-02+00');
             INSERT INTO {s}.{t} VALUES (1, '2030-01-01 12:00+00');
             CREATE TABLE {s}.{rest} PARTITION OF {s}.{t} DEFAULT;
             INSERT INTO {s}.{t} SELECT n, '2040-01-01' FROM generate_series(1, 60000) n; RESET ROLE",
            f = q(&first.name),
            rest = q(&name("_rest").name),
        ))
        .await;
        let parent = TableName::new(schema, set);
        let engine = world.engine_as("app");
        let mut count = 0;
        let mut unit = world.unit(&parent, Work::Adopt { parts: Vec::new() }).await;
        let mut done = async |unit: &mut Unit, work: Work| {
            count += 1;
            unit.id = format!("u-{count}");
            unit.work = work;
            let outcome = act(&engine, unit, &crate::world::limits()).await;
            assert!(outcome.done, "{schema}.{set} {count}: {:?}", outcome.why);
            assert!(engine.script(unit).await.is_ok(), "{schema}.{set} {count}");
        };
        let second = NewPart { table: name("_2"), ..day(2) };
        let work =
            |parts: Vec<NewPart>| Work::Create { parent: parent.clone(), parts, default: None, edge: None };
        done(&mut unit, work(vec![second.clone()])).await;
        let id = world.id(&first).await;
        done(&mut unit, Work::Adopt { parts: vec![(first.clone(), id)] }).await;
        let folder = std::env::temp_dir().join(format!("replat-names-{}", world.database));
        let retire = Work::Retire {
            parent: parent.clone(),
            part: first.clone(),
            part_id: id,
            bound: day(1).bound,
            default: Some(name("_rest")),
            archive: Some(folder.display().to_string()),
            drop_after: Some(1),
            because: "old".into(),
        };
        done(&mut unit, retire).await;
        done(&mut unit, Work::Drop { table: first, table_id: id, because: "over".into() }).await;
        std::fs::remove_dir_all(&folder).expect("an archive was made");
        // Edges instead of the default, which has to be empty; then one of them gives way.
        world
            .run(&format!("DELETE FROM {s}.{t} WHERE \"I d\" > 1; TRUNCATE {s}.{}", q(&name("_rest").name)))
            .await;
        let rest = (name("_rest"), world.id(&name("_rest")).await, Bound::Default);
        let edge = |tail: &str, bound: Bound| NewPart { table: name(tail), bound, like: None, below: None };
        let Bound::Range { from, to } = second.bound.clone() else { panic!("a range") };
        let new = vec![
            edge("_lo", Bound::Range { from: vec![Edge::Min], to: from }),
            edge("_hi", Bound::Range { from: to.clone(), to: vec![Edge::Max] }),
        ];
        done(&mut unit, Work::Overflow { parent: parent.clone(), old: vec![rest], new }).await;
        let third = NewPart { table: name("_3"), ..day(3) };
        let Bound::Range { to: end, .. } = range("", "2030-01-04 00:00:00+00") else { panic!("a range") };
        let edge = replat_model::lifecycle::plan::EdgeMove { table: name("_hi"), from: to, to: end };
        done(
            &mut unit,
            Work::Create { parent: parent.clone(), parts: vec![third], default: None, edge: Some(edge) },
        )
        .await;
        // Finish a detach, and take back what was begun.
        crate::world::pend(&world, &format!("{s}.{t}"), &format!("{s}.{}", q(&second.table.name))).await;
        let finalize = Work::Finalize { parent: parent.clone(), part: second.table, bound: second.bound };
        done(&mut unit, finalize).await;
        done(&mut unit, Work::Reap { unit: "u-nobody's".into(), tables: Vec::new() }).await;
        let ledger = world.ask("SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE relname = 'lifecycle_part'").await;
        assert_eq!(ledger, schema, "an ordinary role keeps its records beside its tables");
    }
}
