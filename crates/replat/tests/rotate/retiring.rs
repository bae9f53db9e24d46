//! The end of partitions: never of what is not replat's own, never more than was allowed, never what is still needed.

use crate::world::{World, daily, spec};

/// `RP` codes in what a run printed.
fn mentions(out: &str, code: &str) -> bool {
    out.contains(code)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_made_stays_until_it_is_handed_over() {
    let world = World::with(&daily("events", -9, 1)).await;
    let before = world.parts("events").await;
    let ran =
        world.rotate("--buffer-days=2 --keep=3d --retire=drop --drop-after=0s --explain").await.succeeds();
    assert!(mentions(&ran.out, "RP3014") && ran.out.contains("not made by replat"), "{}", ran.told());
    let after = world.parts("events").await;
    assert!(before.iter().all(|part| after.contains(part)), "{}", ran.told());

    // Handed over, the oldest go first, and never more than was allowed.
    let old = async || {
        world
            .number(
                "select count(*) from pg_class where relname like 'events\\_%' and relkind = 'r' \
                                     and relispartition",
            )
            .await
    };
    let there = old().await;
    let ran = world.rotate("--buffer-days=2 --adopt --keep=3d --max-retire=2").await.succeeds();
    assert_eq!(old().await, there - 2, "{}", ran.told());
    let ran = ran.prints("retired=2").prints("adopted=");
    assert!(ran.out.contains("retire public.events events_"), "{}", ran.told());
    world.rotate("--buffer-days=2 --adopt --keep=3d --max-retire=2").await.succeeds().prints("retired=2");
    // `-9` to `-4` have ended three days ago or more.
    world.rotate("--buffer-days=2 --keep=3d --max-retire=9").await.succeeds().prints("retired=2");
    let ran = world.rotate("--buffer-days=2 --keep=3d --max-retire=9").await.succeeds().prints("retired=0");
    // Detached, they stay as tables, and hold what they held.
    let kept = "select count(*) from pg_class where relname like 'events\\_%' and relkind = 'r' and not relispartition";
    assert_eq!(world.number(kept).await, 6, "{}", ran.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn archived_read_back_and_dropped_when_their_time_is_over() {
    let world = World::with(&format!(
        "{} insert into events (ts, v) select current_date - 5 + interval '1 hour' * (i % 24), 'row ' || i \
           from generate_series(1, 500) i",
        daily("events", -5, 1)
    ))
    .await;
    let folder = world.path("archive").display().to_string();
    let flags =
        format!("--buffer-days=2 --adopt --keep=4d --retire=archive --archive={folder} --drop-after=1h");
    let ran = world.rotate(&flags).await.succeeds().prints("retired=1").prints("drop_after=");
    let files: Vec<_> = std::fs::read_dir(&folder).expect("the folder").flatten().map(|f| f.path()).collect();
    assert!(!files.is_empty() && files.iter().all(|f| f.metadata().is_ok_and(|m| m.len() > 0)), "{files:?}");
    let record = "select concat_ws(' ', state, archive_path is not null, archive_sha256 ~ '^[0-9a-f]{64}$') \
                  from replat.lifecycle_part where archive_path is not null";
    assert_eq!(world.column(record).await, ["detached t t"], "{}", ran.told());
    // Not before its time, whatever is switched on.
    world.rotate(&flags).await.succeeds().prints("retired=0");
    let there =
        "select count(*) from pg_class where relname = 'events_' || to_char(current_date - 5, 'YYYYMMDD')";
    assert_eq!(world.number(there).await, 1);
    world
        .app("update replat.lifecycle_part set drop_after = now() - interval '1 s' where state = 'detached'")
        .await;
    // The switch for dropping is one of its own.
    world.rotate(&format!("{flags} --no-drop --explain")).await.succeeds().prints("RP3026");
    assert_eq!(world.number(there).await, 1);
    world.rotate(&flags).await.succeeds().prints("dropped=1");
    assert_eq!(world.number(there).await, 0);
    assert!(files.iter().all(|f| f.exists()), "an archive went with its table");
}

#[tokio::test(flavor = "multi_thread")]
async fn legal_holds_and_rows_that_refer_keep_a_partition() {
    let world = World::with(&format!(
        "{} insert into events (ts, v) values (current_date - 5 + time '12:00', 'keep me'), \
           (current_date - 4 + time '12:00', 'refer to me'), (current_date - 3 + time '12:00', 'x'); \
         create table notes (event bigint, at timestamptz, foreign key (event, at) references events (id, ts)); \
         insert into notes select id, ts from events where v = 'refer to me'",
        daily("events", -5, 1)
    ))
    .await;
    let spec = &spec(
        "[lifecycles.events]\ntables = [\"public.events\"]\nahead = \"2d\"\nadopt = true\n\
         [lifecycles.events.retire]\nkeep = \"1d\"\nmax_per_run = 9\nlegal_hold = [\"v like 'keep%'\"]",
    );
    let ran = world.rotate_with(spec, "--explain").await.succeeds().prints("retired=2");
    assert!(
        ran.out.contains("legal hold") && ran.out.contains("rows of another table refer"),
        "{}",
        ran.told()
    );
    let left =
        world.column("select format('%s %s', current_date - ts::date, v) from events order by 1").await;
    assert_eq!(left, ["4 refer to me", "5 keep me"]);
    // Once nothing refers to it any more, it goes; the hold stays a hold.
    world.app("delete from notes").await;
    world.rotate_with(spec, "").await.succeeds().prints("retired=1");
    assert_eq!(world.column("select v from events").await, ["keep me"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_work_has_a_switch_of_its_own() {
    let world = World::with(&format!(
        "{} create table events_default partition of events default; \
         insert into events (ts) values (now() + interval '3 days')",
        daily("events", -5, 1)
    ))
    .await;
    let wanted = "--buffer-days=5 --adopt --keep=4d --max-retire=1";
    let rows = "select count(*) from events_default";
    let parts = "select count(*) from pg_inherits where inhparent = 'events'::regclass";
    let before = world.number(parts).await;
    world.rotate(&format!("{wanted} --only=adopt")).await.succeeds().prints("created=0 retired=0");
    assert_eq!((world.number(parts).await, world.number(rows).await), (before, 1));
    world
        .rotate(&format!("{wanted} --no-create --no-drain --no-retire --explain"))
        .await
        .succeeds()
        .prints("switched off");
    assert_eq!((world.number(parts).await, world.number(rows).await), (before, 1));
    world.rotate(&format!("{wanted} --no-create --no-drain")).await.succeeds().prints("created=0 retired=1");
    world.rotate(&format!("{wanted} --only=drain")).await.succeeds().prints("drained=1");
    assert_eq!(world.number(rows).await, 0);
    world.rotate(&format!("{wanted} --only=create")).await.succeeds().prints("retired=0");
    world.rotate(&format!("{wanted} --max-retire=0")).await.exits(2);
    world.rotate(&format!("{wanted} --retire=archive")).await.exits(2).remarks("--archive DIR");
}
