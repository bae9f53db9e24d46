//! Every way to cut a table is read as it is, in order, whatever the role's settings are.

use replat_engine::lifecycle::Look;
use replat_model::lifecycle::facts::{Bound, TableName};
use replat_postgres::lifecycle::bounds;
use replat_postgres::lifecycle::look::look;

use super::support::{all, database, drawn, part, set};

/// Tables with what a look says of them.
const CASES: &[(&str, &str, &[&str])] = &[
    (
        "dates",
        "create table dates (d date) partition by range (d);
         create table dates_far partition of dates for values from ('10000-01-01') to ('infinity');
         create table dates_new partition of dates for values from ('2026-01-01') to ('2026-02-01');
         create table dates_bc partition of dates for values from ('0044-03-15 BC') to ('0001-01-01');
         create table dates_rest partition of dates default",
        &[
            "Range \"d\" date",
            "  dates_bc FOR VALUES FROM ('0044-03-15 BC') TO ('0001-01-01')",
            "  dates_new FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
            "  dates_far FOR VALUES FROM ('10000-01-01') TO ('infinity')",
            "  dates_rest DEFAULT",
        ],
    ),
    (
        "stamps",
        "create table stamps (t timestamp(3)) partition by range (t);
         create table stamps_2 partition of stamps for values from ('2026-01-02 00:00:00.5') to (maxvalue);
         create table stamps_1 partition of stamps for values from (minvalue) to ('2026-01-02 00:00:00.5')",
        &[
            "Range \"t\" timestamp(3) without time zone",
            "  stamps_1 FOR VALUES FROM (MINVALUE) TO ('2026-01-02 00:00:00.5')",
            "  stamps_2 FOR VALUES FROM ('2026-01-02 00:00:00.5') TO (MAXVALUE)",
        ],
    ),
    (
        "zoned",
        "create table zoned (t timestamptz not null) partition by range (t);
         create table zoned_1 partition of zoned
           for values from ('2026-03-28 00:00 Europe/Berlin') to ('2026-03-29 00:00 Europe/Berlin');
         create table zoned_2 partition of zoned
           for values from ('2026-03-29 00:00 Europe/Berlin') to ('2026-03-30 00:00 Europe/Berlin')",
        &[
            "Range \"t\" timestamp with time zone",
            "  zoned_1 FOR VALUES FROM ('2026-03-27 23:00:00+00') TO ('2026-03-28 23:00:00+00')",
            "  zoned_2 FOR VALUES FROM ('2026-03-28 23:00:00+00') TO ('2026-03-29 22:00:00+00')",
        ],
    ),
    (
        "small",
        "create table small (n int2) partition by range (n);
         create table small_b partition of small for values from (10) to (200);
         create table small_a partition of small for values from (-5) to (9)",
        &[
            "Range \"n\" smallint",
            "  small_a FOR VALUES FROM ('-5') TO ('9')",
            "  small_b FOR VALUES FROM ('10') TO ('200')",
        ],
    ),
    (
        "ids",
        "create table ids (n int4) partition by range (n);
         create table ids_1 partition of ids for values from (0) to (1000000)",
        &["Range \"n\" integer", "  ids_1 FOR VALUES FROM ('0') TO ('1000000')"],
    ),
    (
        "bigs",
        "create table bigs (n bigint) partition by range (n);
         create table bigs_1 partition of bigs for values from (-9223372036854775808) to (9223372036854775807)",
        &["Range \"n\" bigint", "  bigs_1 FOR VALUES FROM ('-9223372036854775808') TO ('9223372036854775807')"],
    ),
    (
        "amounts",
        "create table amounts (n numeric(30,2)) partition by range (n);
         create table amounts_2 partition of amounts for values from (9.50) to (1e20);
         create table amounts_1 partition of amounts for values from (-9.5) to (9.5)",
        &[
            "Range \"n\" numeric(30,2)",
            "  amounts_1 FOR VALUES FROM ('-9.50') TO ('9.50')",
            "  amounts_2 FOR VALUES FROM ('9.50') TO ('100000000000000000000.00')",
        ],
    ),
    (
        "floats",
        "create table floats (n float8) partition by range (n);
         create table floats_1 partition of floats for values from ('-infinity') to (0.1)",
        &["Range \"n\" double precision", "  floats_1 FOR VALUES FROM ('-Infinity') TO ('0.1')"],
    ),
    (
        "uuids",
        "create table uuids (u uuid) partition by range (u);
         create table uuids_1 partition of uuids for values from ('019b0000-0000-7000-8000-000000000000')
           to ('019C0000-0000-7000-8000-000000000000')",
        &[
            "Range \"u\" uuid",
            "  uuids_1 FOR VALUES FROM ('019b0000-0000-7000-8000-000000000000') TO \
             ('019c0000-0000-7000-8000-000000000000')",
        ],
    ),
    (
        "words",
        // The order is the collation's: upper case before lower case in C.
        r#"create table words (w text collate "C") partition by range (w);
         create table words_b partition of words for values from ('Z') to ('a\b''c');
         create table words_a partition of words for values from (minvalue) to ('A')"#,
        &[
            "Range \"w\" text",
            "  words_a FOR VALUES FROM (MINVALUE) TO ('A')",
            "  words_b FOR VALUES FROM ('Z') TO (E'a\\\\b''c')",
        ],
    ),
    (
        "kinds",
        r#"create table kinds (k text) partition by list (k);
         create table kinds_none partition of kinds for values in (null);
         create table kinds_b partition of kinds for values in ('b', 'NULL', E'o\\''k\n', '');
         create table kinds_a partition of kinds for values in ('c', 'a')"#,
        &[
            "List \"k\" text",
            "  kinds_b FOR VALUES IN ('b', 'NULL', E'o\\\\''k\n', '')",
            "  kinds_a FOR VALUES IN ('c', 'a')",
            "  kinds_none FOR VALUES IN (NULL)",
        ],
    ),
    (
        "flags",
        "create table flags (f boolean) partition by list (f);
         create table flags_yes partition of flags for values in (true);
         create table flags_no partition of flags for values in (false, null)",
        &["List \"f\" boolean", "  flags_no FOR VALUES IN ('false', NULL)", "  flags_yes FOR VALUES IN ('true')"],
    ),
    (
        "moods",
        "create type mood as enum ('sad', 'o''k', 'happy');
         create table moods (m mood) partition by list (m);
         create table moods_2 partition of moods for values in ('happy');
         create table moods_1 partition of moods for values in ('sad', 'o''k')",
        &[
            "List \"m\" public.mood",
            "  moods_1 FOR VALUES IN ('sad', 'o''k')",
            "  moods_2 FOR VALUES IN ('happy')",
        ],
    ),
    (
        "odd",
        "create table odd (b bytea, a int[], i interval, c money, o bit(3)) partition by range (b, a, i, c, o);
         create table odd_1 partition of odd for values from ('\\x00', '{1,2}', '-1 day 2 hours', '1000.5', '101')
           to ('\\xff', maxvalue, maxvalue, maxvalue, maxvalue)",
        &[
            "Range \"b\" bytea, \"a\" integer[], \"i\" interval, \"c\" money, \"o\" bit(3)",
            "  odd_1 FOR VALUES FROM (E'\\\\x00', '{1,2}', '-1 days +02:00:00', '$1,000.50', '101') TO \
             (E'\\\\xff', MAXVALUE, MAXVALUE, MAXVALUE, MAXVALUE)",
        ],
    ),
    (
        "domains",
        "create domain day as date; create domain workday as day;
         create table domains (d workday) partition by range (d);
         create table domains_1 partition of domains for values from ('2026-01-01') to ('2026-01-02')",
        &["Range \"d\" date", "  domains_1 FOR VALUES FROM ('2026-01-01') TO ('2026-01-02')"],
    ),
    (
        "pairs",
        "create table pairs (tenant int, t date) partition by range (tenant, t);
         create table pairs_3 partition of pairs for values from (2, minvalue) to (2, '2026-01-01');
         create table pairs_1 partition of pairs for values from (1, '2026-01-01') to (1, maxvalue);
         create table pairs_0 partition of pairs for values from (1, minvalue) to (1, '2026-01-01')",
        &[
            "Range \"tenant\" integer, \"t\" date",
            "  pairs_0 FOR VALUES FROM ('1', MINVALUE) TO ('1', '2026-01-01')",
            "  pairs_1 FOR VALUES FROM ('1', '2026-01-01') TO ('1', MAXVALUE)",
            "  pairs_3 FOR VALUES FROM ('2', MINVALUE) TO ('2', '2026-01-01')",
        ],
    ),
    (
        "computed",
        r#"create table computed (a int, "o'd,(d" text, t timestamptz)
           partition by range ((a + 1), lower("o'd,(d"), t, (case when a > 1 then 'x,y' else "o'd,(d" end),
                               (extract(epoch from t at time zone 'UTC')));
         create table computed_1 partition of computed
           for values from (1, 'a', '2026-01-01 00:00Z', 'b', 1.5) to (2, 'a', '2026-01-01 00:00Z', 'b', 1.5)"#,
        &[
            "Range ((a + 1)) integer, (lower(\"o'd,(d\")) text, \"t\" timestamp with time zone, (CASE\n    WHEN \
             (a > 1) THEN 'x,y'::text\n    ELSE \"o'd,(d\"\nEND) text, (EXTRACT(epoch FROM (t AT TIME ZONE \
             'UTC'::text))) numeric",
            "  computed_1 FOR VALUES FROM ('1', 'a', '2026-01-01 00:00:00+00', 'b', '1.5') TO \
             ('2', 'a', '2026-01-01 00:00:00+00', 'b', '1.5')",
        ],
    ),
    (
        "buckets",
        "create table buckets (id bigint, x text) partition by hash (id, x);
         create table buckets_31 partition of buckets for values with (modulus 4, remainder 3);
         create table buckets_0 partition of buckets for values with (modulus 2, remainder 0);
         create table buckets_1 partition of buckets for values with (modulus 4, remainder 1)",
        &[
            "Hash \"id\" bigint, \"x\" text",
            "  buckets_0 FOR VALUES WITH (modulus 2, remainder 0)",
            "  buckets_1 FOR VALUES WITH (modulus 4, remainder 1)",
            "  buckets_31 FOR VALUES WITH (modulus 4, remainder 3)",
        ],
    ),
    (
        "deep",
        "create table deep (t date, tenant text, id int) partition by range (t);
         create table deep_2 partition of deep for values from ('2026-02-01') to ('2026-03-01')
           partition by list (tenant);
         create table deep_1 partition of deep for values from ('2026-01-01') to ('2026-02-01');
         create table deep_2_b partition of deep_2 for values in ('b') partition by hash (id);
         create table deep_2_a partition of deep_2 for values in ('a');
         create table deep_2_rest partition of deep_2 default;
         create table deep_2_b_0 partition of deep_2_b for values with (modulus 1, remainder 0);",
        &[
            "Range \"t\" date",
            "  deep_1 FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
            "  deep_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
            "    List \"tenant\" text",
            "      deep_2_a FOR VALUES IN ('a')",
            "      deep_2_b FOR VALUES IN ('b')",
            "        Hash \"id\" integer",
            "          deep_2_b_0 FOR VALUES WITH (modulus 1, remainder 0)",
            "      deep_2_rest DEFAULT",
        ],
    ),
    ("empty", "create table empty (t date) partition by range (t)", &["Range \"t\" date"]),
    (
        r#"It's a "Set""#,
        r#"create table "It's a ""Set""" ("Käy;--" date) partition by range ("Käy;--");
         create table "P''1 "" % $1" partition of "It's a ""Set""" for values from ('2026-01-01') to ('2026-01-02');
         create table "sechzig_bytes_und_noch_drei_mehr_damit_die_grenze_erreicht_wird" partition of
           "It's a ""Set""" for values from ('2026-01-02') to ('2026-01-03')"#,
        &[
            "Range \"Käy;--\" date",
            "  P''1 \" % $1 FOR VALUES FROM ('2026-01-01') TO ('2026-01-02')",
            "  sechzig_bytes_und_noch_drei_mehr_damit_die_grenze_erreicht_wird FOR VALUES FROM ('2026-01-02') TO \
             ('2026-01-03')",
        ],
    ),
];

/// Settings of a role under which other programs read bounds wrongly.
const ODD: &str = "
    alter role postgres set timezone = 'Pacific/Marquesas';
    alter role postgres set datestyle = 'SQL, DMY';
    alter role postgres set intervalstyle = 'sql_standard';
    alter role postgres set extra_float_digits = -10;
    alter role postgres set bytea_output = 'escape';
    alter role postgres set standard_conforming_strings = off;
    alter role postgres set quote_all_identifiers = on;
    alter role postgres set search_path = 'nowhere'";

#[tokio::test]
async fn every_cut_is_read_as_it_is() {
    let scene: Vec<&str> = CASES.iter().map(|(_, sql, _)| *sql).collect();
    let (name, client) = database(&scene.join(";\n")).await;
    let odd = ODD.replace("postgres set", &format!("postgres in database {name} set"));
    client.batch_execute(&odd).await.expect("odd settings");
    for client in [client, super::support::session(&name, "postgres").await] {
        let facts = all(&client).await;
        assert_eq!(facts.refused, []);
        for (table, _, expected) in CASES {
            assert_eq!(drawn(&set(&facts, table).level), *expected, "{table}");
        }
    }
}

#[tokio::test]
async fn a_bound_that_is_written_again_is_the_same_bound() {
    let scene: Vec<&str> = CASES.iter().map(|(_, sql, _)| *sql).collect();
    let (_, client) = database(&scene.join(";\n")).await;
    let before = all(&client).await;
    let mut again = replat_postgres::lifecycle::look::SETTINGS.to_owned();
    for set in &before.sets {
        // Those below first, so that a table that is detached is whole.
        let mut parts = Vec::new();
        set.level.each(&mut |part| parts.push(part));
        let parent = |id: u64| {
            let mut parent = set.table.clone();
            set.level.each(&mut |part| {
                if part.below.as_ref().is_some_and(|below| below.parts.iter().any(|p| p.id == id)) {
                    parent = part.table.clone();
                }
            });
            parent
        };
        for part in parts {
            let quoted = |table: &TableName| replat_postgres::sql::quote_ident(&table.name);
            let (of, own) = (quoted(&parent(part.id)), quoted(&part.table));
            again += &format!(
                "; alter table public.{of} detach partition public.{own}; \
                 alter table public.{of} attach partition public.{own} {}",
                bounds::sql(&part.bound)
            );
        }
    }
    client.batch_execute(&format!("begin; {again}; commit")).await.expect("every bound is attached again");
    let after = all(&client).await;
    for (before, after) in before.sets.iter().zip(&after.sets) {
        assert_eq!(drawn(&before.level), drawn(&after.level));
    }
}

/// Values that have ended strings, lists and statements before.
#[tokio::test]
async fn hostile_values_come_back_as_they_were() {
    let values = [
        "",
        "'",
        "''",
        "\\",
        "\\'",
        "E'x'",
        "NULL",
        "MINVALUE",
        "), ('",
        "a,b",
        "x\ny\tz",
        "--",
        "/* */",
        "$1",
        "é",
        "日本",
        "\u{1F980}",
        "::text",
        "\"",
        "{}",
        " ",
    ];
    let list = Bound::List(values.iter().map(|value| Some((*value).to_owned())).chain([None]).collect());
    let scene = format!(
        "create table t (k text) partition by list (k); create table t_1 partition of t {};",
        bounds::sql(&list)
    );
    let (_, client) = database(&scene).await;
    let facts = all(&client).await;
    assert_eq!(part(set(&facts, "t"), "t_1").bound, list);
}

#[tokio::test]
async fn only_what_is_asked_for_is_looked_at_and_the_rest_is_explained() {
    let (_, client) = database(
        "create table events (t date) partition by range (t);
         create table events_1 partition of events for values from ('2026-01-01') to ('2026-01-02');
         create schema other; create table other.events (t date) partition by range (t);
         create table other.logs (t date) partition by range (t);
         create table plain (id int); create view looks as select 1 as one;
         create table old (id int); create table older () inherits (old);
         create temp table fleeting (t date) partition by range (t)",
    )
    .await;
    let cases: [(&[&str], &[&str], &[&str]); 6] = [
        (&[], &["other.events", "other.logs", "public.events"], &[]),
        (&["events"], &["other.events", "public.events"], &[]),
        (&["other.*"], &["other.events", "other.logs"], &[]),
        (&["public.events", "gone"], &["public.events"], &["gone: there is no such table in this database"]),
        (&["x*"], &[], &["x*: no partitioned table has such a name"]),
        (
            &["events_1", "plain", "looks", "old", "fleeting"],
            &[],
            &[
                "events_1: it is a partition of public.events",
                "plain: it is not partitioned",
                "looks: it is a view or a foreign table",
                "old: its children inherit from it in the old way, which is not partitioning",
                "fleeting: it is a temporary table of a session",
            ],
        ),
    ];
    for (tables, sets, refused) in cases {
        let tables = tables.iter().map(|table| (*table).to_owned()).collect();
        let facts = look(&client, "test", &Look { tables, ..Look::default() }).await.expect("a look");
        let found: Vec<String> = facts.sets.iter().map(|set| set.table.to_string()).collect();
        assert_eq!(found, sets);
        let why: Vec<String> = facts.refused.iter().map(|r| format!("{}: {}", r.table, r.why)).collect();
        assert_eq!(why, refused);
    }
}
