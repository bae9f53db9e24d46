//! Texts that are meant to harm: nothing panics, overflows the stack or takes for ever.

use proptest::prelude::*;
use replat_statement::{Format, Keys, Param, Plan, STATEMENT_BYTES_MAX};

use crate::schema::tables;

/// Two thirds of what a thread of the runtime has, for the parser takes much without optimisation.
const STACK: usize = 1_400 * 1024;

/// Patterns that nest or chain when they are repeated: before, repeated, middle, repeated, behind.
const PATTERNS: &[(&str, &str, &str, &str, &str)] = &[
    ("select ", "(", "1", ")", ""),
    ("select ", "((1),", "1", ")", ""),
    ("select * from orders where tenant_id = 1 and ", "(", "true", ")", ""),
    ("select * from orders where tenant_id = ", "(", "1", ")", ""),
    ("select * from orders where tenant_id = 1", " and x = 1", "", "", ""),
    ("select * from orders where tenant_id = 1", " or x = 1", "", "", ""),
    ("select 1", " + 1", "", "", ""),
    ("select 1", " + (1", " ", ")", ""),
    ("select ", "(", "1", " + 1 + 1 + 1)", ""),
    ("select ", "(", "1", " or true and not false)", ""),
    ("select ", "not ", "true", "", ""),
    ("select ", "- ", "1", "", ""),
    ("select ", "+ ", "1", "", ""),
    ("select ", "~", "1", "", ""),
    ("select ", "@ ", "1", "", ""),
    ("select 1", "::int", "", "", ""),
    ("select x", " is null", "", "", ""),
    ("select x", " collate \"C\"", "", "", ""),
    ("select x", " at time zone 'x'", "", "", ""),
    ("select x", "[1]", "", "", ""),
    ("select ", "x[", "1", "]", ""),
    ("select ", "a.", "b", "", ""),
    ("select x", " in (1", "", ")", ""),
    ("select ", "x in (", "1", ")", ""),
    ("select ", "case when ", "true", " then 1 end", ""),
    ("select ", "case ", "1", " when 1 then 1 end", ""),
    ("select ", "f(", "1", ")", ""),
    ("select ", "f(a => ", "1", ")", ""),
    ("select ", "cast(", "1", " as int)", ""),
    ("select ", "array[", "1", "]", ""),
    ("select ", "row(", "1", ")", ""),
    ("select ", "interval ", "'1'", "", ""),
    ("select ", "exists (select ", "1", ")", ""),
    ("select ", "(select ", "1", ")", ""),
    ("", "(", "select 1", ")", ""),
    ("", "select * from (", "select 1", ") x", ""),
    ("select * from ", "(", "orders", ")", ""),
    ("select * from ", "(", "orders", " join orders on true)", ""),
    ("select * from ", "((", "select 1", ") x cross join orders)", ""),
    ("select * from orders", " join orders", "", " on true", ""),
    ("select * from orders", " join orders on true", "", "", ""),
    ("select * from orders", ", orders", "", "", ""),
    ("select 1", " union select 1", "", "", ""),
    ("select 1", " union (select 1", "", ")", ""),
    ("with a as (", "with a as (", "select 1", ") select 1", ") select 1"),
    ("select x::", "array<", "int", ">", ""),
    ("select x::", "struct<a ", "int", ">", ""),
    ("select x::", "nullable(", "int", ")", ""),
    ("select x::", "map(int, ", "int", ")", ""),
    ("select x::", "setof ", "int", "", ""),
    ("select x::int", "[]", "", "", ""),
    ("select ", "extract(day from ", "x", ")", ""),
    ("select ", "substring(", "x", " from 1)", ""),
    ("select ", "trim(both ", "x", " from y)", ""),
    ("select ", "position('a' in ", "x", ")", ""),
    ("select ", "sum(x) over (partition by ", "x", ")", ""),
    ("select ", "sum(x) filter (where ", "x", ")", ""),
    ("select x between ", "x between ", "1", " and 2", ""),
    ("select x like ", "x like ", "1", "", ""),
    ("select x = any(", "x = any(", "1", ")", ")"),
    ("select x", " -> 'a'", "", "", ""),
    ("explain ", "explain ", "select 1", "", ""),
    ("", "with a as (delete from orders where tenant_id = 1 returning *) ", "select 1", "", ""),
    ("insert into orders (tenant_id) values ", "(1),", "(1)", "", ""),
    ("insert into orders (tenant_id) values (", "(", "1", ")", ")"),
    ("", "begin; ", "", "", ""),
    ("", "/* ", "", " */", "select 1"),
    ("", "/*", "select 1", "", ""),
    ("set x = ", "a, ", "b", "", ""),
    ("create table t (a ", "array<", "int", ">", ")"),
    ("select ", "$1 + ", "$1", "", ""),
    ("select $", "$", "", "", ""),
    ("select '", "''", "", "", "'"),
    ("select e'", "\\'", "", "", "'"),
    ("select 1 from orders where (tenant_id) in (", "(1),", "(1)", "", ")"),
    ("select 1 from orders group by ", "grouping sets (", "x", ")", ""),
    ("select 1 from orders where tenant_id = ", "date ", "'x'", "", ""),
    ("select ", "x ? ", "1", "", ""),
    ("select ", "x -> ", "1", "", ""),
    ("select ", "{", "", "}", ""),
    ("select ", "x:a", "", "", ""),
    ("declare c cursor for ", "declare c cursor for ", "select 1", "", ""),
    ("copy (", "copy (", "select 1", ") to stdout", ") to stdout"),
];

/// Runs on a small stack; a stack that overflows ends the test program, a text that takes for ever never ends it.
#[test]
fn deep_texts_are_refused_in_time() {
    let run = || {
        let tables = tables();
        for (before, opening, middle, closing, behind) in PATTERNS {
            for times in [1, 5, 10, 20, 30, 31, 32, 33, 64, 100, 250, 490, 1_000, 4_000, 100_000] {
                let sql = [*before, &opening.repeat(times), middle, &closing.repeat(times), behind].concat();
                let plan = Plan::of(&sql, &tables);
                plan.keys(&[]);
                if sql.len() > STATEMENT_BYTES_MAX {
                    assert!(matches!(plan.keys(&[]), Keys::Unknown(_)), "{before}{opening}");
                    break;
                }
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(run).expect("a thread");
    thread.join().expect("no panic");
}

/// The same patterns inside each other.
#[test]
fn deep_texts_of_two_kinds_are_refused_in_time() {
    let run = || {
        let tables = tables();
        for (at, (before, opening, middle, closing, behind)) in PATTERNS.iter().enumerate() {
            for (_, other_opening, _, other_closing, _) in PATTERNS.iter().skip(at % 8).step_by(8) {
                for times in [15, 120] {
                    let both = [*opening, other_opening].concat().repeat(times);
                    let ends = [*other_closing, closing].concat().repeat(times);
                    let sql = [*before, &both, middle, &ends, behind].concat();
                    Plan::of(&sql, &tables).keys(&[]);
                }
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(run).expect("a thread");
    thread.join().expect("no panic");
}

/// Words and signs from which much of SQL can be made.
const PIECES: &[&str] = &[
    "select",
    "from",
    "where",
    "and",
    "or",
    "not",
    "in",
    "(",
    ")",
    ",",
    "=",
    "orders",
    "customers",
    "tenant_id",
    "id",
    "1",
    "'x'",
    "$1",
    "join",
    "left",
    "on",
    "using",
    "with",
    "as",
    "insert",
    "into",
    "values",
    "update",
    "set",
    "delete",
    "union",
    "all",
    "any",
    "array",
    "[",
    "]",
    "::",
    "bigint",
    "null",
    "is",
    "distinct",
    "between",
    "like",
    "case",
    "when",
    "then",
    "else",
    "end",
    "exists",
    "lateral",
    ";",
    ".",
    "*",
    "-",
    "+",
    "--",
    "/*",
    "*/",
    "$$",
    "\"",
    "'",
    "E'",
    "\\",
    "\n",
    "group",
    "by",
    "having",
    "order",
    "limit",
    "returning",
    "conflict",
    "do",
    "nothing",
    "begin",
    "commit",
    "declare",
    "cursor",
    "for",
    "copy",
    "explain",
    "prepare",
    "execute",
    "listen",
    "create",
    "temp",
    "table",
    "interval",
    "date",
    "row",
    "over",
    "partition",
    "values",
    "recursive",
    "é",
    "\u{a0}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_read_without_a_panic(sql in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        read(&sql, &bytes);
    }

    #[test]
    fn any_words_are_read_without_a_panic(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60),
        bytes in prop::collection::vec(any::<u8>(), 0..24),
    ) {
        read(&pieces.join(" "), &bytes);
    }

    #[test]
    fn any_change_of_a_statement_is_read_without_a_panic(
        at in 0..200usize,
        piece in prop::sample::select(PIECES),
        bytes in prop::collection::vec(any::<u8>(), 0..24),
    ) {
        let sql = "with c as (select * from customers where tenant_id = $1) select o.id, count(*) from orders o \
                   left join c using (tenant_id) where o.tenant_id = $1 and o.id in (1, 2) group by 1 limit 3";
        let mut words: Vec<&str> = sql.split(' ').collect();
        let place = at % words.len();
        words[place] = piece;
        read(&words.join(" "), &bytes);
    }

    #[test]
    fn any_bytes_of_a_parameter_are_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        oid in prop::sample::select(&[0u32, 20, 21, 23, 25, 705, 1043, 1082, 1114, 1184, 2950, 1016, 1009, 1700][..]),
        is_text in any::<bool>(),
    ) {
        let tables = tables();
        let format = if is_text { Format::Text } else { Format::Binary };
        let params = [Param { bytes: Some(&bytes), format, oid }];
        for sql in [
            "select * from orders where tenant_id = $1",
            "select * from orders where tenant_id = any($1)",
            "select * from docs where owner = $1",
            "select * from metrics where at = $1",
            "select * from events where tenant = $1 and day = $1",
        ] {
            Plan::of(sql, &tables).keys(&params);
        }
    }
}

fn read(sql: &str, bytes: &[u8]) {
    let plan = Plan::of(sql, &tables());
    for (format, oid) in [(Format::Text, 0), (Format::Binary, 0), (Format::Binary, 20)] {
        plan.keys(&[Param { bytes: Some(bytes), format, oid }]);
    }
    plan.session_changes().count();
}
