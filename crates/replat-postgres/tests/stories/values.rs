//! Every type that a column can have, with values that have gone wrong somewhere.

use replat_testkit::random::Random;

/// A column's name, its type, and values as they are put between quotes.
pub type Column = (&'static str, &'static str, &'static [&'static str]);

/// Of types that every server has, and of those that [`own_types`] makes.
pub const COLUMNS: &[Column] = &[
    (
        "n",
        "numeric",
        &[
            "NaN",
            "Infinity",
            "-Infinity",
            "0.000",
            "1.10",
            "1.1",
            "1e-20",
            "98765432109876543210.123456789",
            "-0.0",
            "1e5000",
            "1e-5000",
        ],
    ),
    ("n3", "numeric(10,3)", &["NaN", "1.5", "-0.001", "0"]),
    (
        "f8",
        "float8",
        &["-0", "NaN", "Infinity", "-Infinity", "0.1", "1.7976931348623157e308", "5e-324", "1e16"],
    ),
    ("f4", "float4", &["-0", "NaN", "Infinity", "0.1", "3.4028235e38", "1e-45"]),
    ("i2", "smallint", &["-32768", "32767"]),
    ("i4", "integer", &["-2147483648", "2147483647"]),
    ("i8", "bigint", &["-9223372036854775808", "9223372036854775807"]),
    ("b", "boolean", &["t", "f"]),
    (
        "t",
        "text",
        &[
            "",
            "it's",
            "\t tab\nline\rreturn",
            "\\N",
            "\\\\.",
            "\\.",
            "\\x00",
            "ünï 日本 🦀",
            "null",
            "NULL",
            "{a,\"b\"}",
            "\u{1}\u{7f}",
            " ",
            // Not composed and composed, joined, from right to left, ends of lines, no characters, the last one.
            "e\u{301}\u{e9}",
            "👩\u{200d}👩\u{200d}👧",
            "\u{202e}abc\u{202c}",
            "\u{feff}\u{85}\u{2028}\u{2029}\u{b}\u{c}",
            "\u{fffe}\u{ffff}\u{10ffff}\u{e000}",
        ],
    ),
    ("v", "varchar(12)", &["", "a ", " a", "日本語日本語日本語日本語"]),
    ("c", "char(7)", &["", "a", "a b", "1234567"]),
    ("bp", "bpchar", &["", "a", "a  ", "  a"]),
    ("ch", "\"char\"", &["x", "", "\\"]),
    ("nm", "name", &["a name", ""]),
    ("by", "bytea", &["\\x", "\\x00ff5c27", "\\x0a0d09"]),
    (
        "ts",
        "timestamp",
        &[
            "infinity",
            "-infinity",
            "0044-03-15 12:00:00 BC",
            "2026-01-01 00:00:00.000001",
            "294276-12-31 23:59:59.999999",
            "4714-11-24 00:00:00 BC",
            "2016-12-31 23:59:60",
        ],
    ),
    (
        "tz",
        "timestamptz",
        &[
            "infinity",
            "-infinity",
            "4713-01-01 00:00:00+00 BC",
            "2026-03-29 01:30:00+01",
            "1900-01-01 00:00:00+00",
        ],
    ),
    ("ts0", "timestamp(0)", &["2026-01-01 00:00:00.5", "infinity"]),
    ("d", "date", &["infinity", "-infinity", "4714-11-24 BC", "5874897-12-31", "2024-02-29"]),
    ("tm", "time", &["24:00:00", "00:00:00", "23:59:59.999999"]),
    ("tmz", "timetz", &["24:00:00-15:59", "00:00:00.000001+15:59", "12:00:00+05:30:15"]),
    (
        "iv",
        "interval",
        &[
            "1 mon -3 days 04:05:06.789",
            "-178000000 years",
            "0",
            "1 year 2 mons",
            "30 days",
            "1 mon",
            "-1 year 2 days -00:00:00.000001",
            "P178000000Y",
            "-1 day +24:00:00",
        ],
    ),
    ("ivy", "interval year to month", &["14 months", "-1 mon"]),
    ("iv3", "interval second(3)", &["1.0015 seconds", "-0.001 seconds"]),
    (
        "j",
        "json",
        &[
            "{\"b\":1,  \"a\":[1.0,null],\"b\":2}",
            "\"\\u00e9 \\ud83e\\udd80 \\u0000\"",
            "null",
            " 1 ",
            "{\n\t\"a\" : 1e400 }",
        ],
    ),
    ("jb", "jsonb", &["{\"b\":1.0,\"a\":{}}", "null", "[1.10, 1.1]", "\"it's\"", "{\"\":[-0.0, 1e400]}"]),
    ("u", "uuid", &["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]),
    ("ip", "inet", &["::1/64", "192.168.1.5/24", "192.168.1.5", "::ffff:1.2.3.4"]),
    ("ci", "cidr", &["10.0.0.0/8", "::/0"]),
    ("mac", "macaddr", &["08:00:2b:01:02:03"]),
    ("mac8", "macaddr8", &["08:00:2b:01:02:03:04:05"]),
    ("bi", "bit(5)", &["10101", "00000"]),
    ("vb", "bit varying", &["", "1011", "0000000000000000000000000000000000001"]),
    ("ia", "int[]", &["{{1,2},{3,NULL}}", "[0:1]={5,6}", "{}", "{NULL}", "[-2:-1][3:3]={{1},{2}}"]),
    ("ta", "text[]", &["{\"a,b\",\"c\\\"d\",NULL,\"NULL\",\"\"}", "{{\"{}\",\"\\\\\"}}", "{}", "{\" a\"}"]),
    ("na", "numeric[]", &["{NaN,1.10,1.1}", "{}"]),
    ("fa", "float8[]", &["{-0,NaN,0.1}"]),
    ("ba", "bytea[]", &["{\"\\\\x00ff\",NULL}", "{\"\\\\x\"}"]),
    ("ja", "json[]", &["{\"{\\\"a\\\": 1,  \\\"a\\\":2}\"}"]),
    ("tsa", "timestamptz[]", &["{infinity,\"0044-03-15 12:00:00+00 BC\"}"]),
    ("ma", "mood[]", &["{sad,\"o'k\"}", "{}", "{NULL}"]),
    ("pra", "pair[]", &["{\"(1,\\\"a,b\\\")\",NULL,\"(,)\"}"]),
    ("ir", "int4range", &["empty", "[1,5)", "(,)", "[1,1]"]),
    ("nr", "numrange", &["[1.10,2.0)", "[1.1,2.00)", "empty", "(1.0,)"]),
    ("tr", "tstzrange", &["[-infinity,infinity]", "(,2026-01-01 00:00:00+00)"]),
    ("dr", "daterange", &["[2026-01-01,infinity)", "(,)"]),
    ("mr", "int8multirange", &["{[1,3),[5,8)}", "{}", "{(,)}"]),
    ("fr", "floats", &["[-0,NaN]", "empty", "(,0.1)"]),
    ("fm", "floats_many", &["{[-1,0.1),(5e-324,)}", "{}"]),
    ("pt", "point", &["(1.5,-0)", "(NaN,Infinity)"]),
    ("li", "line", &["{1,-1,0.1}"]),
    ("ls", "lseg", &["[(0,0),(1,0.1)]"]),
    ("bx", "box", &["(1,1),(0,0)"]),
    ("pa", "path", &["[(0,0),(1,1)]", "((0,0),(1,1))"]),
    ("po", "polygon", &["((0,0),(1,1),(2,0))"]),
    ("cc", "circle", &["<(0.1,0.2),3>"]),
    ("mo", "money", &["-12.34", "0", "92233720368547758.07", "-92233720368547758.08"]),
    (
        "x",
        "xml",
        &[
            "<a b=\"1\">x &amp; y</a>",
            "text only",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a>é</a>",
            "<?xml version=\"1.1\" standalone=\"yes\"?><a/>",
            "<!-- c --><a> <![CDATA[<&]]> </a>",
        ],
    ),
    ("tv", "tsvector", &["'a':1A 'b c':2", "", "'it''s' '\\\\'"]),
    ("tq", "tsquery", &["'a' & !'b'", "", "'a':*AB <3> 'b'"]),
    ("lsn", "pg_lsn", &["16/B374D848", "0/0"]),
    ("sn", "pg_snapshot", &["10:20:10,14,15"]),
    ("xs", "txid_snapshot", &["10:20:10,14,15"]),
    ("x8", "xid8", &["18446744073709551615"]),
    ("ti", "tid", &["(1,2)"]),
    ("rc", "refcursor", &["<unnamed portal 1>", ""]),
    ("iv2", "int2vector", &["1 -2 3"]),
    ("jp", "jsonpath", &["$.\"a\"[*] ? (@ > 1)"]),
    ("md", "mood", &["sad", "o'k", "HAPPY"]),
    ("dm", "good_mood", &["o'k", "HAPPY"]),
    ("ce", "cents", &["0", "9223372036854775807"]),
    ("sh", "short", &["", "abc", "it's"]),
    ("co", "code", &["", "ab", "a"]),
    ("fw", "few", &["{1,2}", "{}", "[5:5]={1}"]),
    ("am", "amount", &["1.105", "-0.001"]),
    ("pr", "pair", &["(1,\"a,b\")", "(,)", "(2,\"\")", "(3,\"it's \\\\ \"\"so\"\"\")"]),
    ("ne", "nest", &["(\"(1,\"\"a,b\"\")\",\"{sad,NULL}\",\"[1,3)\")", "(,,)", "(\"(,)\",{},empty)"]),
];

/// Types of extensions that come with the server, by the extension.
pub const EXTENSIONS: &[Column] = &[
    ("hstore", "hstore", &["\"a b\"=>\"it's\", b=>NULL", "", "\"\"=>\"\\\\\""]),
    ("citext", "citext", &["A", "a", ""]),
    ("ltree", "ltree", &["Top.Science", ""]),
    ("cube", "cube", &["(1,2),(3,0.1)", "(0)"]),
    ("isn", "isbn13", &["978-0-393-04002-9", "9780393040029!"]),
    ("seg", "seg", &["1.0 .. 2.00", "<0.1", "~5"]),
];

/// The types that the columns name, with the labels of the enum in this order.
pub fn own_types(moods: &str) -> String {
    format!(
        "create type mood as enum ({moods}); create domain good_mood as mood check (value <> 'sad'); \
         create domain cents as bigint check (value >= 0); create domain short as varchar(4); \
         create domain code as char(3); create domain few as int[] check (cardinality(value) < 3); \
         create domain amount as numeric(8,3); create type pair as (a int, b text); \
         create type nest as (p pair, m mood[], r int4range); \
         create type floats as range (subtype = float8, multirange_type_name = floats_many);"
    )
}

/// A value of the column, as an expression.
pub fn literal(random: &mut Random, column: &Column, is_nullable: bool) -> String {
    let (_, kind, values) = column;
    match random.below(8) {
        0 if is_nullable => "null".into(),
        // Long enough to lie out of line.
        1 if *kind == "text" && random.below(16) == 0 => {
            format!("repeat('{}', 32768)", random.hex(32))
        }
        1 if *kind == "text" => format!("'{}'", random.hex(6_000)),
        1 if *kind == "bytea" => format!("'\\x{}'", random.hex(8_000)),
        1 if *kind == "json" || *kind == "jsonb" => format!("'{{\"long\": \"{}\"}}'", random.hex(5_000)),
        1 if *kind == "numeric" => format!("{}.{:03}", random.bits(), random.below(1_000)),
        1 if *kind == "float8" => {
            format!("'{}'", f64::from_bits(random.bits() & !(0x7ff << 52) | (1_000 << 52)))
        }
        _ => {
            let n = usize::try_from(random.below(values.len() as u64)).expect("few values");
            format!("'{}'", values[n].replace('\'', "''"))
        }
    }
}
