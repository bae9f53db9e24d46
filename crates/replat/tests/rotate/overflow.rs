//! Rows that belong to no partition: moved while they stay visible, and where they go from then on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::world::{World, daily, number};

/// A table with a default partition that holds 20,000 rows of the next ten days.
fn flooded() -> String {
    format!(
        "{} create table events_default partition of events default; \
         insert into events (ts, v) select now() + interval '2 days' + (i % 8) * interval '1 day', 'late' \
           from generate_series(1, 20000) i",
        daily("events", -3, 0)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_the_default_are_drained_and_never_out_of_sight() {
    let world = World::with(&flooded()).await;
    let over = Arc::new(AtomicBool::new(false));
    let (reader, writer) = (world.client().await, world.client().await);
    let watch = tokio::spawn({
        let over = Arc::clone(&over);
        async move {
            let mut looks = 0;
            let mut last = 0;
            while !over.load(Ordering::Relaxed) {
                let seen = number(&reader, "select count(*) from events").await;
                assert!(seen >= 20_000 && seen >= last, "{seen} rows are seen after {last}");
                (looks, last) = (looks + 1, seen);
            }
            looks
        }
    });
    let write = tokio::spawn({
        let over = Arc::clone(&over);
        async move {
            let mut written = 0;
            while !over.load(Ordering::Relaxed) {
                // Late writers go to the very days that are being moved.
                let sql = "insert into events (ts, v) values (now() + (2 + floor(random() * 8)) * interval '1 day', 'w')";
                written += writer.execute(sql, &[]).await.expect("a row is taken") as i64;
            }
            written
        }
    });
    let ran = world.rotate("--buffer-days=14").await;
    over.store(true, Ordering::Relaxed);
    let (looks, written) =
        (watch.await.expect("rows stayed in sight"), write.await.expect("rows were taken"));
    let ran = ran.succeeds().prints("drain public.events +");
    assert!(looks > 3 && written > 3, "{looks} looks, {written} rows: {}", ran.told());
    assert_eq!(world.number("select count(*) from events").await, 20_000 + written);
    assert_eq!(world.number("select count(*) from only events_default").await, 0, "{}", ran.told());
    // Nothing of the work is left but what is kept for a grace.
    let triggers = "select count(*) from pg_trigger t join pg_class c on c.oid = t.tgrelid \
                    where not tgisinternal and relname like 'events%'";
    assert_eq!(world.number(triggers).await, 0, "{}", ran.told());
}

/// How the catch-all partitions of `events` are bounded.
async fn catch_alls(world: &World) -> Vec<String> {
    let all = world.parts("events").await;
    let mut found: Vec<String> = all
        .iter()
        .filter_map(|part| part.split_once(' ').map(|(_, bound)| bound))
        .filter(|bound| *bound == "DEFAULT" || bound.contains("MINVALUE") || bound.contains("MAXVALUE"))
        .map(|bound| match bound {
            "DEFAULT" => "default".to_owned(),
            bound if bound.contains("MINVALUE") => "below".to_owned(),
            _ => "above".to_owned(),
        })
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_for_such_rows_can_be_switched_at_any_time() {
    let world = World::with(&flooded()).await;
    // A default that holds rows is not taken away: first they are moved, then it goes.
    world.rotate("--buffer-days=14 --overflow=reject").await.succeeds();
    world.rotate("--buffer-days=14 --overflow=reject").await.succeeds();
    assert_eq!(catch_alls(&world).await, [""; 0]);
    assert_eq!(world.number("select count(*) from events").await, 20_000);
    let far = "insert into events (ts) values (now() + interval '1 year')";
    let refused = world.client().await.batch_execute(far).await.expect_err("no partition takes it");
    assert_eq!(refused.code().map(|code| code.code()), Some("23514"));

    for (policy, wanted) in [
        ("edge", vec!["above", "below"]),
        ("default", vec!["default"]),
        ("edge", vec!["above", "below"]),
        ("reject", vec![]),
        ("default", vec!["default"]),
    ] {
        let ran = world.rotate(&format!("--buffer-days=14 --overflow={policy}")).await.succeeds();
        assert_eq!(catch_alls(&world).await, wanted, "{policy}: {}", ran.told());
        let again = world.rotate(&format!("--buffer-days=14 --overflow={policy}")).await.succeeds();
        assert!(again.out.contains("nothing to do"), "{policy}: {}", again.told());
    }
    // With edges the horizon still moves on, and what lies in the edge comes out of it.
    world.rotate("--buffer-days=14 --overflow=edge").await.succeeds();
    world.rotate("--buffer-days=20 --overflow=edge").await.succeeds();
    let last = world.column("select (current_date + 20)::text").await.remove(0);
    assert!(world.parts("events").await.iter().any(|part| part.contains(&format!("FROM ('{last} "))));
    assert_eq!(catch_alls(&world).await, ["above", "below"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outlier_moves_no_horizon_and_is_told_of() {
    let world = World::with(&format!(
        "{} create table events_default partition of events default; \
         insert into events (ts) values (now() + interval '70 years')",
        daily("events", -3, 1)
    ))
    .await;
    let ran = world.rotate("--buffer-days=10").await.succeeds().prints("code=RP300");
    assert!(world.parts("events").await.len() < 20, "{}", ran.told());
    assert_eq!(world.number("select count(*) from events_default").await, 1);
    world.rotate("--buffer-days=10 --strict").await.exits(14).remarks("events_default");
}
