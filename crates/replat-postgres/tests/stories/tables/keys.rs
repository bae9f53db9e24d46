//! Keys of every kind: rows are found again by them, cut into ranges by them, and change them.

use crate::harness::{Scene, one_table};
use crate::moments::at_every_moment;

/// A type, and the key of the row with number `#` as it is at first, and as another value that the type takes for
/// equal, or just another value.
type KeyKind = (&'static str, &'static str, &'static str);

const KINDS: &[KeyKind] = &[
    // In an order of its own, with all that a value can be confused with.
    ("text", "e'k\\'\"\\\\,{}\\n\\t\\u2028' || chr(64 + # % 60) || #", "'ü👩' || #"),
    ("text collate \"C\"", "' ' || #", "#::text"),
    ("text collate sloppy", "'Key ' || #", "'KEY ' || #"),
    ("varchar(20)", "'v' || #", "'v' || # || ' '"),
    ("char(8)", "'c' || #", "'C' || #"),
    ("uuid", "md5(#::text)::uuid", "md5('x' || #)::uuid"),
    ("date", "date '2000-01-01' + #", "date '0044-03-15 BC' + #"),
    ("bytea", "decode(md5(#::text), 'hex')", "'\\x00'::bytea || decode(md5(#::text), 'hex')"),
    ("numeric", "(# || '.10')::numeric", "(# || '.100')::numeric"),
    ("float8", "# / 3.0", "-# / 7.0"),
    (
        "timestamptz",
        "timestamptz '2026-01-01 00:00Z' + # * interval '1 us'",
        "timestamptz 'epoch' + # * interval '1 day'",
    ),
    ("interval", "# * interval '30 days'", "# * interval '1 month'"),
    ("inet", "inet '10.0.0.0' + #", "set_masklen(inet '10.0.0.0' + #, 24)"),
    ("jsonb", "jsonb_build_object('k', #::numeric)", "jsonb_build_object('k', (# || '.0')::numeric)"),
    ("int[]", "array[#, null]", "array[[#]]"),
    ("int4range", "int4range(#, # + 2)", "int4range(-#, #)"),
    ("name", "('n' || #)::name", "('N' || #)::name"),
    ("stock_number", "#", "-#"),
];

/// Rows have a number beside the key, so that the same rows can be meant whatever their key is.
fn table(kind: &str) -> String {
    format!(
        "create collation sloppy (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         create domain stock_number as int;
         create table shelf (tenant_id bigint not null, k {kind}, id int not null, note text, body text,
                             primary key (tenant_id, k));
         alter table shelf alter body set storage external;"
    )
}

fn scene(kind: &KeyKind, identity: &str) -> Scene {
    let (kind, first, _) = kind;
    let rows = format!(
        "insert into shelf select t, {}, n, 'note ' || n, repeat(md5(n::text), 100)
         from generate_series(1, 3) t, generate_series(1, 250) n",
        first.replace('#', "n")
    );
    one_table("shelf", &format!("{} alter table shelf replica identity {identity};", table(kind)), &rows)
}

fn changes(kind: &KeyKind, k: i64) -> Vec<String> {
    let (_, first, second) = kind;
    let set = |id: i64, what: &str| format!("update shelf set {what} where tenant_id = 2 and id = {id}");
    let to = |id: i64, key: &str| set(id, &format!("k = {}", key.replace('#', "id")));
    vec![
        set(k, "note = 'new'"),
        to(k + 1, second),
        format!("{}; {}", to(k + 2, second), to(k + 2, first)),
        format!("{}; {}", to(k + 100, second), set(k + 100, "note = 'then'")),
        format!("{}; {}", set(k + 101, "body = repeat(note, 900)"), to(k + 101, second)),
        format!("delete from shelf where tenant_id = 2 and id = {}", k + 102),
        format!(
            "delete from shelf where tenant_id = 2 and id = {id}; \
             insert into shelf values (2, {}, {id}, 'again', null)",
            second.replace('#', &(k + 103).to_string()),
            id = k + 103
        ),
        set(k + 150, "body = body || 'longer', note = null"),
    ]
}

async fn kinds(identity: &str, half: usize) {
    for kind in KINDS.iter().skip(half).step_by(2) {
        println!("a key of type {} under {identity} identity", kind.0);
        at_every_moment(scene(kind, identity), |k| changes(kind, k), true).await;
    }
}

#[tokio::test]
async fn rows_are_found_again_by_keys_of_every_type_under_the_default_identity() {
    kinds("default", 0).await;
}

#[tokio::test]
async fn rows_are_found_again_by_keys_of_every_other_type_under_full_identity() {
    kinds("full", 1).await;
}

/// A table without a primary key, whose spec says which columns name a row.
fn keyless(identity: &str) -> Scene {
    let table = format!(
        "create table shelf (tenant_id bigint not null, k text not null, id int not null, note text, body text);
         create unique index shelf_k on shelf (tenant_id, k);
         alter table shelf alter body set storage external; {identity}"
    );
    Scene {
        spec: "[contexts.shop.tables.shelf]\nkey = ['tenant_id', 'k']",
        slices: Vec::new(),
        blue: table.clone(),
        ddl: table,
        ..scene(&KINDS[1], "default")
    }
}

#[tokio::test]
async fn a_unique_index_names_rows_where_there_is_no_primary_key() {
    for identity in
        ["alter table shelf replica identity full", "alter table shelf replica identity using index shelf_k"]
    {
        at_every_moment(keyless(identity), |k| changes(&KINDS[1], k), true).await;
    }
}

#[tokio::test]
async fn keys_that_cannot_name_a_row_are_refused() {
    let table = |columns: &str| {
        let ddl = format!(
            "create type mood as enum ('sad'); create table shelf (tenant_id bigint not null, {columns});"
        );
        one_table("shelf", &ddl, "")
    };
    let cases = [
        (keyless(""), vec!["REPLICA_IDENTITY", "REPLICA_IDENTITY"]),
        (table("k text"), vec!["NO_KEY"]),
        (table("k mood, primary key (tenant_id, k)"), vec!["KEY_CHANGES"]),
        (table("k text, primary key (tenant_id, k) deferrable"), vec!["KEY_NOT_UNIQUE", "KEY_NOT_UNIQUE"]),
        (
            table("k text primary key, o regclass, a aclitem[], g text generated always as (k) stored"),
            vec!["CATALOGUE_NUMBERS"; 4],
        ),
    ];
    for (scene, codes) in cases {
        let ddl = scene.ddl.clone();
        let found = scene.findings().await;
        for code in &codes {
            let [wanted, there] = [&codes, &found].map(|all| all.iter().filter(|c| *c == code).count());
            assert!(there >= wanted, "{ddl}: {found:?}");
        }
    }
}
