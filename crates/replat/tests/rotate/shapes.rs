//! Every shape of partitioned table, without a spec, by an ordinary role.

use std::collections::BTreeSet;

use crate::world::{World, literal};

/// A set, and how its partitions are to be called and bounded, as a query: `name bound`, one row each.
struct Shape {
    table: &'static str,
    wanted: String,
}

/// Partitions over time: from the first until the one that holds the horizon, 30 days from now by the zone's own clock.
fn over_time(table: &'static str, zone: &str, first: &str, step: &str, name: &str, bound: &str) -> Shape {
    let last = format!("(now() at time zone '{zone}' + interval '30 days')");
    let wanted = format!(
        "select format('%s FOR VALUES FROM (%s) TO (%s)', {name}, {from}, {to}) \
         from (select d, d + interval '{step}' as e from generate_series({first}, {last}, interval '{step}') d) c",
        from = bound.replace('$', "d"),
        to = bound.replace('$', "e"),
    );
    Shape { table, wanted }
}

fn daily(table: &'static str, back: u32, name: &str, bound: &str) -> Shape {
    over_time(table, "UTC", &format!("(current_date - {back})::timestamp"), "1 day", name, bound)
}

const TZ: &str = "quote_literal(($ at time zone 'UTC')::timestamptz)";
const MS: &str = "quote_literal((extract(epoch from $) * 1000)::bigint)";
const V7: &str =
    "quote_literal((lpad(to_hex((extract(epoch from $) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid)";

fn shapes() -> Vec<Shape> {
    let plain = |table: &str| format!("'{table}_' || to_char(d, 'YYYYMMDD')");
    vec![
        daily("bill.daily", 10, "'daily_' || to_char(d, 'YYYY_MM_DD')", TZ),
        over_time(
            "monthly",
            "UTC",
            "date_trunc('month', current_date)::timestamp - interval '5 months'",
            "1 month",
            "'monthly_y' || to_char(d, 'YYYY\"m\"MM')",
            "quote_literal($::date)",
        ),
        daily("epoch_ms", 3, &plain("epoch_ms"), MS),
        daily("v7", 3, &plain("v7"), V7),
        daily("tenants_acme", 2, &plain("tenants_acme"), TZ),
        daily("tenants_zeta", 2, &plain("tenants_zeta"), TZ),
        daily("rh", 2, &plain("rh"), TZ),
        daily("with_fk", 1, &plain("with_fk"), TZ),
        daily("\"Odd \"\"Näme\"\" 'x\"", 1, "'Odd \"Näme\" ''x_' || to_char(d, 'YYYYMMDD')", TZ),
        over_time(
            "berlin",
            "Europe/Berlin",
            "(current_date - 40)::timestamp",
            "1 day",
            &plain("berlin"),
            "quote_literal($ at time zone 'Europe/Berlin')",
        ),
        Shape {
            table: "multi",
            wanted: "select format('multi_%s_%s FOR VALUES FROM (%s, %L) TO (%s, %L)', t, to_char(d, 'YYYYMMDD'), t, \
                       (d at time zone 'UTC'), t, (d + interval '1 day') at time zone 'UTC') \
                     from generate_series(1, 2) t, \
                       generate_series((current_date - 1)::timestamp, (now() + interval '30 days')::timestamp, \
                         interval '1 day') d"
                .into(),
        },
        Shape {
            table: "hashed",
            wanted: "select format('hashed_%s FOR VALUES WITH (modulus 4, remainder %s)', r, r) \
                     from generate_series(0, 3) r"
                .into(),
        },
        Shape {
            table: "ids",
            // The pace of numbers is not known on the first day: four after the one in use.
            wanted: "select format('ids_p%s FOR VALUES FROM (%L) TO (%L)', n, n::text, (n + 100000)::text) \
                     from generate_series(0, 800000, 100000) n"
                .into(),
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn all_shapes_get_the_partitions_of_thirty_days_under_their_own_names() {
    let world = World::with(include_str!("shapes.sql")).await;
    let ran = world.rotate("--buffer-days=30").await;
    // One table is empty, so nothing says how it is cut: it fails alone, and says so.
    let ran = ran.exits(4).remarks("RP3003").prints("rotate done created=").prints("failed=0");
    assert!(ran.err.contains("public.empty_set: there is no partition"), "{}", ran.told());
    assert_eq!(ran.err.matches("public.empty_set").count(), 1, "it is named once: {}", ran.told());

    for shape in shapes() {
        let mut wanted = world.column(&shape.wanted).await;
        wanted.sort();
        assert_eq!(world.parts(shape.table).await, wanted, "{}", shape.table);
    }
    let below = world
        .number(
            "select count(*) from pg_inherits i join pg_class c on c.oid = i.inhparent \
             where c.relispartition and c.relname like 'rh_%'",
        )
        .await;
    assert_eq!(below, 33 * 3, "each range of days has its three remainders");
    // Weeks: the one that holds the horizon, and all before it, beside the default that was there.
    let weeks = world
        .column(
            "select format('weekly_def_%s FOR VALUES FROM (%L) TO (%L)', to_char(d, 'IYYY\"w\"IW'), d, \
               d + interval '7 days') \
             from generate_series(date_trunc('week', current_date)::timestamp - interval '4 weeks', \
               (now() + interval '30 days')::timestamp, interval '7 days') d",
        )
        .await;
    let found: BTreeSet<String> = world.parts("weekly_def").await.into_iter().collect();
    for week in weeks {
        assert!(found.contains(&week), "{week} is not among {found:#?}");
    }
    // The rows that lay there were moved, and all can be seen.
    assert_eq!(world.number("select count(*) from weekly_def").await, 1000);
    let strays = world
        .number(
            "select count(*) from weekly_def where tableoid = (select partdefid from pg_partitioned_table \
                 where partrelid = 'weekly_def'::regclass)",
        )
        .await;
    assert_eq!(strays, 0, "rows were left in the default");

    // What was asked a second time is there.
    world.rotate("--buffer-days=30").await.exits(4).prints("rotate done created=0 retired=0");

    // With an interval for the empty one all is well; then there is nothing to do, and the run says so, quickly.
    let ran = world.rotate("--buffer-days=30 -t empty_set --interval=6h").await.succeeds();
    let ran = ran.prints("create public.empty_set +");
    assert!(!ran.err.contains("error"), "{}", ran.told());
    let hours = world
        .number(
            "select count(*) from generate_series(date_bin('6 hours', now()::timestamp, '2000-01-01'), \
               (now() + interval '30 days')::timestamp, interval '6 hours')",
        )
        .await;
    assert_eq!(world.parts("empty_set").await.len() as i64, hours);
    world.app("insert into empty_set values (now()), (now() + interval '29 days 23 hours')").await;
    world.rotate("--buffer-days=30").await.succeeds().prints("rotate done created=0 retired=0");
    let before = world.mark().await;
    let ran = world.rotate("--buffer-days=30").await.succeeds().prints("nothing to do");
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.told());
    assert_eq!(world.mark().await, before, "a run with nothing to do wrote something");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_one_object_and_nothing_else() {
    let world = World::with(&crate::world::daily("events", -2, 1)).await;
    let ran = world.rotate("--buffer-days=7 --json").await.succeeds();
    assert!(ran.err.is_empty(), "{}", ran.told());
    let value = ran.json();
    assert_eq!(value["kind"], "RotateResult");
    assert_eq!((&value["exit"], &value["summary"]["created"]), (&0.into(), &6.into()), "{value:#}");
    let run = &value["databases"][0];
    assert_eq!(run["database"], world.database.as_str());
    assert_eq!(run["entries"][0]["state"], "done");
    let value = world.rotate("--buffer-days=7 --json").await.succeeds().json();
    assert_eq!(value["summary"]["created"], 0);
    // A failure is part of the object, and standard output is still one object.
    let ran = world.rotate("--buffer-days=7 --json -t nothing").await.exits(4);
    assert_eq!(ran.json()["exit"], 4, "{}", ran.told());
    let ran = world.program.run(&["rotate", "--json", "--db-url=postgres://127.0.0.1:1/x"]).await.exits(20);
    assert_eq!(ran.json()["error"]["exit"], 20, "{}", ran.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_is_asked_by_days_by_count_and_by_date() {
    let world = World::with(&crate::world::daily("events", -2, 0)).await;
    let last = async || {
        let sql = "select substring(max(pg_get_expr(relpartbound, oid)) from 'TO \\(''(\\S+)') from pg_class \
                   where relispartition and relkind = 'r'";
        world.column(sql).await.remove(0)
    };
    let day =
        async |days: i32| world.column(&format!("select (current_date + {days})::text")).await.remove(0);
    world.rotate("--ahead=3").await.succeeds();
    assert_eq!(last().await, day(4).await);
    let until = day(9).await;
    world.rotate(&format!("--until={until}")).await.succeeds();
    assert_eq!(last().await, until);
    // The farthest counts.
    world.rotate(&format!("--until={until} --ahead=3 --buffer-days=10")).await.succeeds();
    assert_eq!(last().await, day(11).await);
    world.rotate("--until=whenever").await.exits(4).remarks("whenever");
    world.rotate("--buffer-days=0").await.exits(2);
}

/// What earlier runs saw: so many days ago the highest key was so high.
fn history(table: &str, rows: &[(i32, &str)]) -> String {
    let rows: Vec<String> = rows
        .iter()
        .map(|(days, high)| {
            format!("({}::regclass, now() - interval '{days} days', 0, 0, 0, {high})", literal(table))
        })
        .collect();
    format!(
        "insert into replat.lifecycle_sample (set_id, at, inserted, rows, bytes, high) values {}",
        rows.join(",")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forecast_extends_the_horizon_within_bounds_and_numbers_follow_their_pace() {
    let world = World::with(&format!(
        "{} create table ids (id bigint primary key) partition by range (id); \
         create table ids_0 partition of ids for values from (0) to (1000); \
         create table ids_1000 partition of ids for values from (1000) to (2000); \
         insert into ids values (1999); insert into events (ts) values (now());",
        crate::world::daily("events", -2, 1)
    ))
    .await;
    world.rotate("--buffer-days=1").await.succeeds();
    // A hundred keys a day, and rows whose time lies five days ahead.
    let ids: Vec<(i32, String)> = (1..=10).map(|day| (day, format!("'{}'", 1999 - 100 * day))).collect();
    let ids: Vec<(i32, &str)> = ids.iter().map(|(day, high)| (*day, high.as_str())).collect();
    world.app(&history("ids", &ids)).await;
    let ran = world.rotate("--buffer-days=30 --explain -t ids").await.succeeds();
    // 30 days at a hundred keys: until 5000 at least, and not beyond four times that.
    let highest = world.number("select max((regexp_match(pg_get_expr(relpartbound, oid), 'TO \\(''(\\d+)'))[1]::bigint) \
                                from pg_class where relname like 'ids\\_%' and relispartition and relkind = 'r'").await;
    assert!((5_000..=14_000).contains(&highest), "{highest}: {}", ran.told());
    assert!(ran.out.contains("explain"), "{}", ran.told());
}
