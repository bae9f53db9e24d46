//! Whoever follows the outbox names the table that PostgreSQL puts a row into, after each change.

use replat_engine::lifecycle::{LifecycleEngine, Look};
use replat_model::key::{KeyType, KeyValue};
use replat_model::lifecycle::change::Change;
use replat_model::lifecycle::facts::{Bound, Method};
use replat_model::lifecycle::plan::{NewLevel, NewPart, Work};
use replat_model::lifecycle::tables::{NoTable, Tables};

use crate::world::{EVENTS, World, create, day, table};

/// Takes what the outbox has told since.
async fn follow(world: &World, tables: &mut Tables) {
    let have = i64::try_from(tables.version()).expect("a small number");
    let sql = "SELECT version, change::text FROM replat.lifecycle_outbox WHERE version > $1 ORDER BY version";
    for row in world.client.query(sql, &[&have]).await.expect("the outbox") {
        let change: Change = serde_json::from_str(row.get(1)).expect("a change is readable");
        let version = u64::try_from(row.get::<_, i64>(0)).expect("versions count from 1");
        tables.take(version, &change).expect("without gaps");
    }
}

/// Whether rows of four days are put where `tables` says; how many have a table.
async fn agrees(world: &World, tables: &Tables, when: &str) -> usize {
    let mut placed = 0;
    for n in 0..40 {
        let (id, moment) = (1_000_000 + n, format!("2030-01-{:02} 0{}:30:00+00", n % 4 + 1, n % 7));
        let sql =
            format!("INSERT INTO events VALUES ({id}, '{moment}', 'b') RETURNING tableoid::regclass::text");
        let theirs = world.client.query_one(&sql, &[]).await.map(|row| row.get::<_, String>(0));
        let at = KeyType::TimestampTz.parse(&moment).expect("a moment");
        let ours = tables.find(&table("events"), &[("id", KeyValue::Int(id)), ("ts", at)]);
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => {
                assert_eq!(theirs, ours.name, "{when}: {sql}");
                placed += 1;
            }
            (Err(_), Err(NoTable::Missing(_))) => {}
            other => panic!("{when}: {sql}: {other:?}"),
        }
    }
    world.run("DELETE FROM events WHERE id >= 1000000").await;
    placed
}

#[tokio::test]
async fn tables_are_named_as_the_outbox_tells() {
    let world = World::with(EVENTS).await;
    world.run("SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'German'").await;
    let looked = world.engine().look(&Look::default()).await.expect("a look");
    let mut tables = Tables::of(&looked.sets, 0);
    assert_eq!(agrees(&world, &tables, "as looked at").await, 10);

    let bucket = |remainder: u32| NewPart {
        table: table(&format!("events_2030_01_02_{remainder}")),
        bound: Bound::Hash { modulus: 3, remainder },
        like: None,
        below: None,
    };
    let below =
        NewLevel { method: Method::Hash, keys: vec!["id".into()], parts: (0..3).map(bucket).collect() };
    let second = NewPart { below: Some(below), ..day(2) };
    let made = world.unit(&table("events"), create(vec![second, day(3)])).await;
    world.done(&made).await;
    follow(&world, &mut tables).await;
    assert_eq!(agrees(&world, &tables, "two days more, one of them cut").await, 30);

    let first = "events_2030_01_01";
    let id = world.id(&table(first)).await;
    world.done(&world.unit(&table("events"), Work::Adopt { parts: vec![(table(first), id)] }).await).await;
    let retire = Work::Retire {
        parent: table("events"),
        part: table(first),
        part_id: id,
        bound: day(1).bound,
        default: None,
        archive: None,
        drop_after: None,
        because: "old".into(),
    };
    world.done(&world.unit(&table("events"), retire).await).await;
    follow(&world, &mut tables).await;
    assert_eq!(agrees(&world, &tables, "the first is retired").await, 20);

    let looked = world.engine().look(&Look::default()).await.expect("a look");
    assert_eq!(Tables::of(&looked.sets, tables.version()), tables, "following comes to what a look finds");
}
