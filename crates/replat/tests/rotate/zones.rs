//! Days that are not 24 hours long.

use crate::world::World;

/// A window that holds a change of the clocks of Berlin, whatever day it is: they lie 217 days apart at most.
const DAYS: u32 = 230;

/// The bounds of all partitions of a table as moments in UTC, in order, and whether each begins where one ends.
async fn bounds(world: &World, table: &str) -> Vec<(String, String)> {
    let sql = format!(
        "select format('%s %s', m[1]::timestamptz at time zone 'UTC', m[2]::timestamptz at time zone 'UTC') \
         from (select regexp_match(pg_get_expr(relpartbound, c.oid), \
             'FROM \\(''([^'']*)''\\) TO \\(''([^'']*)''\\)') m \
           from pg_inherits i join pg_class c on c.oid = inhrelid where inhparent = '{table}'::regclass) p \
         order by m[1]::timestamptz"
    );
    let text = world.column(&sql).await;
    text.iter().map(|line| (line[..19].to_owned(), line[20..].to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn midnight_is_midnight_where_people_live() {
    let world = World::with(
        "create table days (ts timestamptz not null) partition by range (ts); \
         create table weeks (ts timestamptz not null) partition by range (ts); \
         create table months (ts timestamptz not null) partition by range (ts); \
         create table hours (ts timestamptz not null) partition by range (ts); \
         create table plain (ts timestamp not null) partition by range (ts)",
    )
    .await;
    for (table, interval, unit) in [
        ("days", "1 day", "day"),
        ("weeks", "1 week", "week"),
        ("months", "1 month", "month"),
        ("plain", "1 day", "day"),
    ] {
        let url = format!("--db-url={}", world.url("app"));
        let (days, interval_flag) = (format!("--buffer-days={DAYS}"), format!("--interval={interval}"));
        let words = ["rotate", &url, "-t", table, &days, &interval_flag, "--zone=Europe/Berlin"];
        let ran = world.program.run(&words).await.succeeds();
        // What the server's own clock of Berlin says. Of a column without a zone the values are local already.
        let now = "(now() at time zone 'Europe/Berlin')";
        let shown = match table {
            "plain" => "d",
            _ => "d at time zone 'Europe/Berlin' at time zone 'UTC'",
        };
        let wanted = world
            .column(&format!(
                "select ({shown})::text from generate_series(date_trunc('{unit}', {now}), \
                   {now} + interval '{DAYS} days', interval '{interval}') d order by 1"
            ))
            .await;
        let found: Vec<String> = bounds(&world, table).await.into_iter().map(|(from, _)| from).collect();
        // An hour more or less at the far end, where the horizon is counted in days of 24 hours.
        let common = wanted.len().min(found.len());
        assert!(
            wanted.len().abs_diff(found.len()) <= 1,
            "{table}: {} {}: {}",
            wanted.len(),
            found.len(),
            ran.told()
        );
        assert_eq!(found[..common], wanted[..common], "{table}: {}", ran.told());
    }
    let lengths = world
        .column(
            "select distinct extract(hour from m[2]::timestamptz at time zone 'UTC' - m[1]::timestamptz at time zone 'UTC') \
               ::text || ' ' || (m[2]::timestamptz - m[1]::timestamptz)::text from (select \
               regexp_match(pg_get_expr(relpartbound, c.oid), 'FROM \\(''([^'']*)''\\) TO \\(''([^'']*)''\\)') m \
               from pg_inherits i join pg_class c on c.oid = inhrelid where inhparent = 'days'::regclass) p order by 1",
        )
        .await;
    assert!(lengths.len() >= 2, "no day was longer or shorter than the others: {lengths:?}");

    // Hours: no hole and no overlap, and the second run agrees with the first.
    for (table, flags) in [("hours", "--interval=12h --zone=Europe/Berlin"), ("weeks", "")] {
        let line = format!("-t {table} --buffer-days={DAYS} {flags}");
        world.rotate(&line).await.succeeds();
        let all = bounds(&world, table).await;
        assert!(all.len() > 30, "{table}: {}", all.len());
        for pair in all.windows(2) {
            assert_eq!(pair[0].1, pair[1].0, "{table}: a hole");
        }
        world.rotate(&line).await.succeeds().prints("nothing to do");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_zone_is_learned_from_bounds_of_summer_and_winter() {
    let world = World::with(&format!(
        "create table berlin (ts timestamptz not null) partition by range (ts); \
         do $$ declare d date; begin for i in -{DAYS}..1 loop d := current_date + i; \
           execute format('create table berlin_%s partition of berlin for values from (%L) to (%L)', \
             to_char(d, 'YYYYMMDD'), d::timestamp at time zone 'Europe/Berlin', \
             (d + 1)::timestamp at time zone 'Europe/Berlin'); end loop; end $$"
    ))
    .await;
    let ran = world.rotate(&format!("--buffer-days={DAYS} --explain")).await.succeeds();
    assert!(ran.out.contains("Europe/"), "{}", ran.told());
    let wanted = world
        .column(&format!(
            "select (d at time zone 'Europe/Berlin' at time zone 'UTC')::text \
             from generate_series((current_date - {DAYS})::timestamp, (current_date + {DAYS})::timestamp - interval '1 day', \
               interval '1 day') d order by 1"
        ))
        .await;
    let found: Vec<String> = bounds(&world, "berlin").await.into_iter().map(|(from, _)| from).collect();
    assert_eq!(found[..wanted.len()], wanted[..]);
    world.rotate("--check").await.succeeds();
}
