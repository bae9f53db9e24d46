//! The end of a partition: it leaves beside its readers, goes to a file, and is dropped, if all is as it was recorded.

use std::path::PathBuf;

use replat_model::lifecycle::facts::{Bound, TableName};
use replat_model::lifecycle::plan::{Unit, Work};
use sha2::{Digest, Sha256};

use crate::world::{EVENTS, Ears, World, act_heard, ask, create, day, limits, pend, table};

/// A folder that is removed with this.
struct Folder(PathBuf);

impl Folder {
    fn of(world: &World, what: &str) -> Folder {
        let path = std::env::temp_dir().join(format!(
            "replat-archive-{}-{}-{what}",
            std::process::id(),
            world.database
        ));
        Folder(path)
    }

    fn text(&self) -> String {
        self.0.display().to_string()
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("a folder").flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

const OLD: &str = "events_2030_01_01";

async fn adopt(world: &World, set: &str, parts: &[&str]) {
    let mut all = Vec::new();
    for part in parts {
        all.push((table(part), world.id(&table(part)).await));
    }
    let mut unit = world.unit(&table(set), Work::Adopt { parts: all }).await;
    unit.id = format!("u-adopt-{}", parts.join("-"));
    world.done(&unit).await;
}

async fn retire(world: &World, part: &str, bound: Bound, archive: Option<String>) -> Unit {
    let work = Work::Retire {
        parent: table("events"),
        part: table(part),
        part_id: world.id(&table(part)).await,
        bound,
        default: None,
        archive,
        drop_after: Some(1),
        because: "old".into(),
    };
    let mut unit = world.unit(&table("events"), work).await;
    unit.id = format!("u-retire-{part}");
    unit
}

async fn drop_of(world: &World, part: &str) -> Unit {
    let table_id = world.id(&table(part)).await;
    let mut unit = world
        .unit(&table("events"), Work::Drop { table: table(part), table_id, because: "over".into() })
        .await;
    unit.id = format!("u-drop-{part}");
    unit
}

const DEFAULT: &str = "CREATE TABLE events_rest PARTITION OF events DEFAULT;";

#[tokio::test]
async fn a_partition_leaves_and_keeps_its_rows() {
    for (what, more, concurrently) in [("no default", "", true), ("beside a default", DEFAULT, false)] {
        let world = World::with(&format!("{EVENTS} {more}")).await;
        adopt(&world, "events", &[OLD]).await;
        let unit = retire(&world, OLD, day(1).bound, None).await;
        let script = replat_engine::lifecycle::LifecycleEngine::script(&world.engine(), &unit).await;
        let script = script.expect("a script");
        let alone =
            script.transactions.iter().any(|t| t.alone && t.statements[0].sql.ends_with("CONCURRENTLY"));
        assert_eq!(alone, concurrently, "{what}");
        let outcome = world.done(&unit).await;
        assert_eq!(outcome.version, Some(1), "{what}");
        assert_eq!(world.ask(&format!("SELECT count(*) FROM {OLD}")).await, "100", "{what}");
        assert_eq!(world.ask("SELECT count(*) FROM events").await, "0", "{what}");
        assert_eq!(
            world.ask("SELECT state, drop_after = to_timestamp(0.000001) FROM replat.lifecycle_part").await,
            "detached|t",
            "{what}"
        );
        assert_eq!(
            world.ask("SELECT change->'removed'->0->'table'->>'name', change->'added' IS NULL FROM replat.lifecycle_outbox").await,
            format!("{OLD}|t"),
            "{what}"
        );
        world.has_no_orphan().await;
        let again = world.done(&unit).await;
        assert_eq!((again.version, again.tries), (None, 0), "{what}: what is done is found done");
    }
}

#[tokio::test]
async fn nobody_waits_for_a_detach_that_waits() {
    let world = World::with(EVENTS).await;
    adopt(&world, "events", &[OLD]).await;
    let unit = retire(&world, OLD, day(1).bound, None).await;
    let (reader, writer) = (world.session().await, world.session().await);
    reader.batch_execute("BEGIN; SELECT count(*) FROM events").await.expect("a reader");
    let (engine, ears, limits) = (world.engine(), Ears::default(), limits());
    let works = act_heard(&engine, &unit, &limits, &ears);
    tokio::pin!(works);
    // Until it is seen to wait for the reader.
    let waits = async {
        loop {
            let waiting = world.ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%CONCURRENTLY%' AND pid <> pg_backend_pid()").await;
            if waiting == "1" {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = waits => {}
        outcome = &mut works => panic!("it should wait for the reader: {outcome:?}"),
    }
    // Others get all locks they want at once.
    let at_once =
        "SET lock_timeout = '1ms'; SELECT count(*) FROM events; UPDATE events SET kind = 'b' WHERE id = 7";
    writer.batch_execute(at_once).await.expect("no queue");
    reader.batch_execute("COMMIT").await.expect("the reader ends");
    let outcome = works.await;
    assert!(outcome.done, "{:?}", outcome.why);
    assert_eq!(outcome.stalled_us, 0, "it stood in nobody's way");
    world.has_no_orphan().await;
}

#[tokio::test]
async fn a_partition_deep_in_a_tree_leaves_its_own_parent() {
    let world = World::with(
        "CREATE TABLE events (tenant text, ts timestamptz) PARTITION BY LIST (tenant);
         CREATE TABLE events_a PARTITION OF events FOR VALUES IN ('a') PARTITION BY RANGE (ts);
         CREATE TABLE events_2030_01_01 PARTITION OF events_a FOR VALUES FROM ('2030-01-01+00') TO ('2030-01-02+00');
         CREATE TABLE events_rest PARTITION OF events DEFAULT;
         INSERT INTO events SELECT 'a', '2030-01-01 12:00+00' FROM generate_series(1, 9)",
    )
    .await;
    adopt(&world, "events", &[OLD]).await;
    let mut unit = retire(&world, OLD, day(1).bound, None).await;
    if let Work::Retire { parent, .. } = &mut unit.work {
        *parent = table("events_a");
    }
    world.done(&unit).await;
    assert_eq!(world.parts("events_a").await, "");
    assert_eq!(world.ask(&format!("SELECT count(*) FROM {OLD}")).await, "9");
    assert_eq!(world.ask("SELECT change->'parent'->>'name' FROM replat.lifecycle_outbox").await, "events_a");
    world.done(&drop_of(&world, OLD).await).await;
    assert_eq!(world.ask("SELECT count(*) FROM replat.lifecycle_part").await, "0");
}

#[tokio::test]
async fn rows_that_are_referred_to_stay() {
    for more in ["", DEFAULT] {
        let world = World::with(&format!(
            "{EVENTS} {more} CREATE TABLE events_2030_01_02 PARTITION OF events FOR VALUES FROM ('2030-01-02+00') TO ('2030-01-03+00');
             INSERT INTO events VALUES (1, '2030-01-02 12:00+00', 'b');
             CREATE TABLE uses (id bigint, ts timestamptz, FOREIGN KEY (id, ts) REFERENCES events);
             INSERT INTO uses VALUES (1, '2030-01-01 12:00+00')"
        ))
        .await;
        adopt(&world, "events", &[OLD, "events_2030_01_02"]).await;
        let before = world.parts("events").await;
        let outcome = world.act(&retire(&world, OLD, day(1).bound, None).await).await;
        let why = outcome.why.expect("a reason");
        assert!(!outcome.done && why.contains("rows of public.uses refer to rows of"), "{why}");
        assert!(why.contains("Delete those rows"), "a remedy: {why}");
        assert_eq!(world.parts("events").await, before);
        world.done(&retire(&world, "events_2030_01_02", day(2).bound, None).await).await;
        world.run("DELETE FROM uses").await;
        world.done(&retire(&world, OLD, day(1).bound, None).await).await;
        world.has_no_orphan().await;
    }
}

#[tokio::test]
async fn what_is_not_replats_is_not_touched() {
    let world = World::with(EVENTS).await;
    // Somebody else's, never taken over.
    let unit = retire(&world, OLD, day(1).bound, None).await;
    let outcome = world.act(&unit).await;
    let why = outcome.why.expect("a reason");
    assert!(!outcome.done && why.contains("neither made nor taken over"), "{why}");
    // Taken over, and then held.
    adopt(&world, "events", &[OLD]).await;
    world.run("UPDATE replat.lifecycle_part SET legal_hold = true").await;
    let outcome = world.act(&unit).await;
    assert!(outcome.why.is_some_and(|why| why.contains("legal hold")));
    world.run("UPDATE replat.lifecycle_part SET legal_hold = false").await;
    // Another table of that name, or of that bound.
    world
        .run(&format!("ALTER TABLE {OLD} RENAME TO events_renamed; CREATE TABLE {OLD} (precious int)"))
        .await;
    for table in [OLD, "events_renamed"] {
        let mut unit = unit.clone();
        unit.id = format!("u-{table}");
        if let Work::Retire { part, .. } = &mut unit.work {
            part.name = table.into();
        }
        assert!(!world.act(&unit).await.done, "{table}");
    }
    world.run(&format!("DROP TABLE {OLD}; ALTER TABLE events_renamed RENAME TO {OLD}")).await;
    let mut other = unit.clone();
    if let Work::Retire { bound, .. } = &mut other.work {
        *bound = day(2).bound;
    }
    let outcome = world.act(&other).await;
    assert!(outcome.why.is_some_and(|why| why.contains("not the partition that was planned for")));
    assert_eq!(world.parts("events").await.lines().count(), 1);
    assert_eq!(world.ask("SELECT count(*) FROM events").await, "100");
    // Not a drop either, as long as it is attached.
    let outcome = world.act(&drop_of(&world, OLD).await).await;
    assert!(outcome.why.is_some_and(|why| why.contains("still in use")));
}

#[tokio::test]
async fn a_table_is_dropped_only_as_it_was_retired() {
    // What happens to the retired table, and what is said then; nothing if it is dropped.
    let rows = [
        ("", ""),
        ("CREATE VIEW v AS SELECT * FROM events_2030_01_01", "other objects depend on it"),
        (
            "CREATE TABLE uses (id bigint, ts timestamptz, FOREIGN KEY (id, ts) REFERENCES events_2030_01_01)",
            "other objects depend on it",
        ),
        (
            "ALTER TABLE events ATTACH PARTITION events_2030_01_01 FOR VALUES FROM ('2030-01-01+00') TO ('2030-01-02+00')",
            "still in use as a partition",
        ),
        (
            "INSERT INTO events_2030_01_01 VALUES (1000, '2030-01-01 12:00+00', 'new')",
            "has changed since it was archived: 101 rows now, 100",
        ),
        ("UPDATE events_2030_01_01 SET kind = 'other' WHERE id = 7", "has changed since it was archived"),
        ("DELETE FROM events_2030_01_01 WHERE id = 7", "has changed since it was archived"),
        // What was only rewritten is the same.
        (
            "UPDATE events_2030_01_01 SET kind = kind; CLUSTER events_2030_01_01 USING events_2030_01_01_pkey",
            "",
        ),
        ("UPDATE replat.lifecycle_part SET legal_hold = true", "legal hold"),
        (
            "UPDATE replat.lifecycle_part SET archive_sha256 = repeat('0', 64)",
            "is not the file that was written",
        ),
        ("DELETE FROM replat.lifecycle_part", "neither made nor taken over"),
        (
            "UPDATE replat.lifecycle_part SET archive_path = NULL, archive_sha256 = NULL",
            "was to be archived to",
        ),
    ];
    for (what, said) in rows {
        let world = World::with(EVENTS).await;
        let folder = Folder::of(&world, "drop");
        adopt(&world, "events", &[OLD]).await;
        world.done(&retire(&world, OLD, day(1).bound, Some(folder.text())).await).await;
        let unit = drop_of(&world, OLD).await;
        world.run(what).await;
        let outcome = world.act(&unit).await;
        if said.is_empty() {
            assert!(outcome.done, "{what}: {:?}", outcome.why);
            assert_eq!(world.ask(&format!("SELECT to_regclass('{OLD}') IS NULL")).await, "t", "{what}");
            assert_eq!(world.ask("SELECT count(*) FROM replat.lifecycle_part").await, "0", "{what}");
            let again = world.act(&unit).await;
            assert!(again.done && again.tries == 0, "{what}: what is done is found done");
            world.has_no_orphan().await;
            continue;
        }
        let why = outcome.why.expect("a reason");
        assert!(!outcome.done && why.contains(said), "{what}: {why}");
        assert_eq!(world.ask(&format!("SELECT to_regclass('{OLD}') IS NULL")).await, "f", "{what}");
        assert_eq!(
            world.ask("SELECT count(*) FROM replat.lifecycle_unit WHERE state IN ('begun', 'failed')").await,
            "0",
            "{what}"
        );
    }
    // Another table that has the name by now.
    let world = World::with(EVENTS).await;
    adopt(&world, "events", &[OLD]).await;
    world.done(&retire(&world, OLD, day(1).bound, None).await).await;
    let unit = drop_of(&world, OLD).await;
    world.run(&format!("ALTER TABLE {OLD} RENAME TO kept; CREATE TABLE {OLD} (precious int)")).await;
    let outcome = world.act(&unit).await;
    assert!(outcome.why.is_some_and(|why| why.contains("another table by now")));
    world.run(&format!("SELECT FROM {OLD}, kept")).await;
}

#[tokio::test]
async fn an_archive_is_what_the_table_was() {
    let world = World::with(&format!(
        "{EVENTS} INSERT INTO events VALUES (1001, '2030-01-01 13:00+00', E'a line\\nand\\ta tab \\\\ and \"quotes\"'),
         (1002, '2030-01-01 13:00+00', NULL), (1003, '2030-01-01 13:00+00', '');"
    ))
    .await;
    let folder = Folder::of(&world, "archive");
    adopt(&world, "events", &[OLD]).await;
    let outcome = world.done(&retire(&world, OLD, day(1).bound, Some(folder.text())).await).await;
    assert_eq!(outcome.rows, 103);
    let recorded = world.ask("SELECT archive_path, archive_sha256 FROM replat.lifecycle_part").await;
    let (path, digest) = recorded.rsplit_once('|').expect("both");
    let bytes = std::fs::read(path).expect("the file");
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found, digest);
    let name = path.rsplit('/').next().expect("a name").to_owned();
    assert_eq!(folder.files(), [name.clone(), format!("{name}.json")], "nothing else is left");

    // It can be read again, by what lies beside it alone.
    let beside = std::fs::read(format!("{path}.json")).expect("the file beside it");
    let beside: replat_postgres::lifecycle::archive::Contents =
        serde_json::from_slice(&beside).expect("contents");
    assert_eq!((beside.rows, beside.sha256.as_str(), beside.bound), (103, digest, Some(day(1).bound)));
    let text = "SELECT string_agg(t::text, '/' ORDER BY id) FROM events_2030_01_01 t";
    let before = world.ask(text).await;
    world.run(&format!("DROP TABLE {OLD}")).await;
    for statement in &beside.ddl {
        world.run(statement).await;
    }
    let sink = world.client.copy_in::<_, bytes::Bytes>(&beside.restore).await.expect("a copy");
    let mut sink = std::pin::pin!(sink);
    futures_util::SinkExt::send(&mut sink, bytes::Bytes::from(bytes)).await.expect("sent");
    sink.finish().await.expect("restored");
    assert_eq!(world.ask(text).await, before);
    assert_eq!(
        world.ask("SELECT count(*) FROM pg_indexes WHERE tablename = 'events_2030_01_01'").await,
        "2",
        "with its indexes"
    );
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_to_keeps_the_partition_where_it_is() {
    let world = World::with(EVENTS).await;
    let folder = Folder::of(&world, "closed");
    std::fs::create_dir_all(&folder.0).expect("a folder");
    std::fs::write(folder.0.join("file"), "no folder").expect("a file");
    adopt(&world, "events", &[OLD]).await;
    let unit = retire(&world, OLD, day(1).bound, Some(format!("{}/file", folder.text()))).await;
    let outcome = world.act(&unit).await;
    let why = outcome.why.expect("a reason");
    assert!(!outcome.done && why.contains("cannot be used") && why.contains("archive folder"), "{why}");
    assert_eq!(world.parts("events").await.lines().count(), 1, "it is still attached");
    world.has_no_orphan().await;

    // A folder that fails in the middle: a folder lies where the file is to be.
    let id = world.id(&table(OLD)).await;
    let inner = folder.0.join("inner");
    std::fs::create_dir_all(inner.join(format!("public.{OLD}.{id}.copy/x"))).expect("a folder in the way");
    let mut unit = retire(&world, OLD, day(1).bound, Some(inner.display().to_string())).await;
    let outcome = world.act(&unit).await;
    assert!(!outcome.done, "{outcome:?}");
    let files: Vec<_> =
        std::fs::read_dir(&inner).expect("a folder").flatten().map(|e| e.file_name()).collect();
    assert!(files.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{files:?}");
    assert_eq!(world.ask(&format!("SELECT count(*) FROM {OLD}")).await, "100", "no row is lost");
    let outcome = world.act(&drop_of(&world, OLD).await).await;
    assert!(outcome.why.is_some_and(|why| why.contains("was to be archived")), "it is not dropped");
    std::fs::remove_dir_all(&inner).expect("out of the way");
    unit.id = "u-archive".into();
    unit.work = Work::Archive { table: table(OLD), table_id: id, folder: inner.display().to_string() };
    world.done(&unit).await;
    world.done(&drop_of(&world, OLD).await).await;
    world.has_no_orphan().await;
}

#[tokio::test]
async fn a_detach_that_was_broken_off_is_finished() {
    let world = World::with(EVENTS).await;
    adopt(&world, "events", &[OLD]).await;
    // The unit that was broken off said when it is to be dropped.
    let begun = retire(&world, OLD, day(1).bound, None).await;
    let text = serde_json::to_string(&begun.work).expect("work").replace('\'', "''");
    world
        .run(&format!(
            "INSERT INTO replat.lifecycle_unit (id, run, set_schema, set_name, kind, work, state, begun_at)
             VALUES ('u-broken', 'r0', 'public', 'events', 'retire', '{text}', 'begun', now())"
        ))
        .await;
    pend(&world, "events", OLD).await;
    let work = Work::Finalize { parent: table("events"), part: table(OLD), bound: day(1).bound };
    let unit = world.unit(&table("events"), work).await;
    let outcome = world.done(&unit).await;
    assert_eq!(outcome.version, Some(1));
    assert_eq!(
        world.ask("SELECT state, drop_after = to_timestamp(0.000001) FROM replat.lifecycle_part").await,
        "detached|t"
    );
    assert_eq!(world.ask(&format!("SELECT count(*) FROM {OLD}")).await, "100");
    assert!(world.done(&unit).await.version.is_none(), "what is done is found done");
    // Nobody is at work any more: the record of the unit that was broken off is closed.
    drop(replat_engine::lifecycle::LifecycleEngine::alone(&world.engine()).await.expect("alone"));
    world.has_no_orphan().await;
}

#[tokio::test]
async fn what_a_dead_unit_staged_is_removed_and_nothing_else() {
    let many =
        "INSERT INTO events SELECT n, '2031-01-01', repeat('x', 200) FROM generate_series(1, 30000) n;";
    let world =
        World::with(&format!("{EVENTS} {DEFAULT} {many} CREATE TABLE events_2030_01_09 (precious int)"))
            .await;
    let unit = world.unit(&table("events"), create(vec![day(2), day(3)])).await;
    // As a process leaves it that dies between the check and the attach.
    {
        use replat_postgres::lifecycle::{ledger, script};
        let ledger = ledger::ensure(&world.client, "public").await.expect("records");
        let kitchen = script::Kitchen {
            client: &world.client,
            database: "test",
            ledger: &ledger,
            run: "r0",
            shown: false,
        };
        let recipe = script::recipe(&kitchen, &unit).await.expect("a recipe");
        for txn in &recipe.transactions[..2] {
            world.run("BEGIN").await;
            for step in &txn.steps {
                world.run(&step.sql).await;
            }
            world.run("COMMIT").await;
        }
    }
    assert_eq!(world.ask("SELECT count(*) FROM pg_constraint WHERE conname LIKE 'replat%'").await, "1");
    let work = Work::Reap { unit: unit.id.clone(), tables: vec![day(2).table, day(3).table] };
    let reap = world.unit(&table("events"), work).await;
    world.done(&reap).await;
    world.run("DROP TABLE events_2030_01_09").await;
    world.has_no_orphan().await;
    assert_eq!(world.ask("SELECT to_regclass('events_2030_01_02') IS NULL").await, "t");
    world.done(&unit).await;
    assert_eq!(ask(&world.client, "SELECT count(*) FROM events").await, "30100");
    // A staged table that somebody put to use is not dropped.
    let world = World::with(EVENTS).await;
    let unit = world.unit(&table("events"), create(vec![day(2)])).await;
    world.done(&unit).await;
    world.run("UPDATE replat.lifecycle_part SET state = 'staged'").await;
    let work = Work::Reap { unit: unit.id.clone(), tables: vec![day(2).table] };
    world.act(&world.unit(&table("events"), work).await).await;
    assert_eq!(world.parts("events").await.lines().count(), 2, "it is attached");
    let name = TableName::new("public", "events_2030_01_02");
    assert!(world.id(&name).await > 0);
}
