//! Files of evidence: what is written is read back, what is cut off or odd is told or refused with its place, and what is
//! not known is said.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use replat_advise::advise::{Wish, advise_on};
use replat_advise::evidence::{
    Change, ColumnSeen, Evidence, Executed, FORMAT, Head, Known, Line, ReferenceSeen, RowSeen, Source,
    StatementSeen, TableSeen, Tier, TransactionSeen, WritesSeen, read, read_evidence, write_evidence,
};
use replat_advise::fixture::BadEvidence;
use replat_advise::missing::hypotheses;
use replat_advise::system::System;
use replat_advise::value::Value;

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

fn seen(sources: &[Source]) -> (System, Vec<String>) {
    let (known, notes) = read(sources).expect("evidence");
    let (system, more) = System::of(known);
    (system, notes.into_iter().chain(more).map(|note| format!("{}: {}", note.about, note.says)).collect())
}

fn word() -> impl Strategy<Value = String> {
    "[a-z]{1,3}"
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::Int), any::<String>().prop_map(Value::Text)]
}

fn table() -> impl Strategy<Value = TableSeen> {
    (
        word(),
        proptest::collection::btree_map(word(), (any::<bool>(), any::<Option<(i64, i64)>>()), 0..4),
        proptest::option::of(any::<u64>()),
        word(),
    )
        .prop_map(|(name, columns, rows, parent)| TableSeen {
            name,
            order: columns.keys().rev().cloned().collect(),
            parts: columns.keys().take(1).map(|column| format!("{column}_1")).collect(),
            primary_key: columns.keys().take(1).cloned().collect(),
            unique: columns.keys().take(1).map(|column| vec![column.clone()]).collect(),
            references: vec![ReferenceSeen {
                columns: columns.keys().take(1).cloned().collect(),
                parent,
                parent_columns: vec!["id".to_owned()],
            }],
            columns: columns
                .into_iter()
                .map(|(name, (nullable, days))| {
                    let seen = ColumnSeen {
                        data_type: if days.is_some() { "date" } else { "text" }.into(),
                        nullable,
                        bytes: nullable.then_some(7),
                        distinct: Some(-0.5),
                        common: vec![0.5, 0.25],
                        ordered: days.map(|_| 0.5),
                        days,
                    };
                    (name, seen)
                })
                .collect(),
            rows,
            row_bytes: rows.map(|rows| rows / 2),
            reads: rows,
            writes: rows.map(|rows| [rows, 0, 1]),
        })
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let statements = proptest::collection::btree_map(
        word(),
        (any::<String>(), proptest::option::of(0..u64::MAX / 4)),
        0..3,
    )
    .prop_map(|all| {
        let seen = |(id, (text, calls)): (String, (String, Option<u64>))| StatementSeen {
            id,
            text,
            calls,
            rows: calls,
            time_ms: calls.map(|_| 1.5),
        };
        all.into_iter().map(seen).collect::<Vec<_>>()
    });
    let row = (word(), proptest::collection::btree_map(word(), value(), 0..3))
        .prop_map(|(table, columns)| RowSeen { table, op: Change::Update, columns });
    let writes = (0..1000_i32, proptest::option::of(any::<u64>()), proptest::collection::vec(row, 0..3))
        .prop_map(|(at, xid, rows)| WritesSeen { at: f64::from(at) / 8.0, xid, rows });
    let run = (word(), proptest::collection::vec(proptest::option::of(value()), 0..3)).prop_map(
        |(statement, parameters)| Executed {
            statement,
            // Null as a value and no value at all are one in JSON.
            parameters: parameters.into_iter().map(|p| p.filter(|p| *p != Value::Null)).collect(),
        },
    );
    let transaction =
        (0..1000_i32, proptest::option::of(word()), proptest::collection::vec(run, 0..3)).prop_map(
            |(at, kind, statements)| TransactionSeen { at: f64::from(at) / 8.0, kind, xid: None, statements },
        );
    (
        proptest::option::of(word()),
        proptest::collection::vec(table(), 0..3),
        statements,
        proptest::collection::vec(writes, 0..3),
        proptest::collection::vec(transaction, 0..3),
    )
        .prop_map(|(hashed, tables, statements, writes, transactions)| Evidence {
            head: Head { format: FORMAT.to_owned(), hashed, span: Some((1.0, 2.5)), ..Head::default() },
            tables,
            statements,
            writes,
            transactions,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_is_read_back(evidence in evidence()) {
        let (back, notes) = read_evidence("e", &write_evidence(&evidence)).expect("what was written");
        prop_assert_eq!(back, evidence);
        prop_assert!(notes.is_empty());
    }

    #[test]
    fn what_is_cut_off_is_read_up_to_there(evidence in evidence(), share in 0.0..1.0_f64) {
        let text = write_evidence(&evidence);
        let mut at = (text.len() as f64 * share) as usize;
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let head = text.find('\n').expect("a first line");
        match read_evidence("e", &text[..at]) {
            Ok((cut, _)) => {
                prop_assert!(at >= head);
                prop_assert!(cut.tables.len() <= evidence.tables.len());
            }
            Err(error) => prop_assert!(at < head, "{}", error),
        }
    }

    #[test]
    fn a_system_is_made_of_any_evidence(one in evidence(), other in evidence()) {
        let (both, _) = one.merge(other);
        let (system, _) = System::of(Known::Seen(Box::new(both)));
        for table in &system.schema.tables {
            prop_assert!(table.keys.len() <= 20);
        }
    }

    #[test]
    fn odd_texts_are_refused_or_read(name in "[a-z.]{0,6}(sql|csv|json|jsonl|md)?", text in any::<String>()) {
        let read = read(&[source(&name, &text), source("schema.sql", "create table a (b int primary key)")]);
        prop_assert!(read.is_ok() || !read.err().expect("a reason").to_string().is_empty());
    }

    #[test]
    fn odd_statements_are_refused_or_read(text in "(select|insert into a values|update a set|delete from a|with x as)[ a-z0-9$'\"(),=.*<>-]{0,40}") {
        let schema = seen(&[source("schema.sql", "create table a (b int primary key, c text)")]).0.schema;
        let found = replat_advise::sql::analyse(&text, &schema);
        prop_assert!(found.is_err() || found.expect("an analysis").touches.len() <= text.len());
    }
}

fn of_secret(secret: &str, xid: u64) -> Evidence {
    let columns = BTreeMap::from([("id".to_owned(), Value::Text("7".to_owned()))]);
    Evidence {
        head: Head { format: FORMAT.to_owned(), hashed: Some(secret.to_owned()), ..Head::default() },
        statements: vec![StatementSeen {
            id: "1".into(),
            text: "SELECT $1".into(),
            calls: Some(5),
            ..StatementSeen::default()
        }],
        writes: vec![WritesSeen {
            at: 1.0,
            xid: Some(xid),
            rows: vec![RowSeen { table: "t".into(), op: Change::Insert, columns }],
        }],
        ..Evidence::default()
    }
}

#[test]
fn of_a_statement_that_is_told_of_again_the_last_count_and_the_text_that_ran_are_kept() {
    /// A statement's text, and how often it ran.
    type Told = (&'static str, Option<u64>);
    let head = serde_json::json!({ "format": FORMAT }).to_string();
    let told = |text: &str, calls: Option<u64>| {
        let seen = StatementSeen { id: "7".into(), text: text.into(), calls, ..StatementSeen::default() };
        serde_json::to_string(&Line::Statement(seen)).expect("a line")
    };
    let (counted, ran) = ("select $1", "select $2");
    let cases: [(&[Told], Told); 4] = [
        (&[(counted, Some(1)), (counted, Some(5))], (counted, Some(5))),
        (&[(counted, Some(1)), (ran, None)], (ran, Some(1))),
        (&[(ran, None), (counted, Some(2)), (counted, Some(3))], (ran, Some(3))),
        (&[(ran, None)], (ran, None)),
    ];
    for (lines, want) in cases {
        let lines: Vec<String> = lines.iter().map(|(text, calls)| told(text, *calls)).collect();
        let (evidence, _) = read_evidence("e", &format!("{head}\n{}\n", lines.join("\n"))).expect("evidence");
        let all: Vec<_> = evidence.statements.iter().map(|one| (one.text.as_str(), one.calls)).collect();
        assert_eq!(all, [want], "{lines:?}");
    }
}

#[test]
fn statements_that_were_counted_are_shown_as_fast_as_they_ran() {
    // Per second: 50 of them, whether all of them can be shown or not.
    for (calls, span, want) in
        [(500, Some((100.0, 110.0)), 10.0), (500_000, Some((0.0, 10_000.0)), 80.0), (500, None, 1.0)]
    {
        let head = Head { format: FORMAT.to_owned(), span, ..Head::default() };
        let table = TableSeen {
            name: "a".into(),
            primary_key: vec!["id".into()],
            columns: [("id".to_owned(), ColumnSeen { data_type: "bigint".into(), ..ColumnSeen::default() })]
                .into(),
            ..TableSeen::default()
        };
        let text = "select * from a where id = $1".to_owned();
        let statement =
            StatementSeen { id: "1".into(), text, calls: Some(calls), ..StatementSeen::default() };
        let evidence =
            Evidence { head, tables: vec![table], statements: vec![statement], ..Evidence::default() };
        let (system, _) = System::of(Known::Seen(Box::new(evidence)));
        let transactions = &system.trace.transactions;
        let seconds = transactions.last().expect("some").at - transactions[0].at;
        assert!((seconds - want).abs() < want / 50.0, "{calls} {span:?}: {seconds}");
    }
}

#[test]
fn values_of_different_secrets_are_never_equal_and_calls_add_up() {
    let id = |evidence: &Evidence, place: usize| evidence.writes[place].rows[0].columns["id"].clone();
    let (alike, notes) = of_secret("a", 1).merge(of_secret("a", 2));
    assert!(notes.is_empty());
    assert_eq!(id(&alike, 0), id(&alike, 1));
    assert_eq!(alike.statements[0].calls, Some(10));
    let (apart, notes) = of_secret("a", 1).merge(of_secret("b", 1));
    assert!(notes[0].says.contains("another secret"), "{notes:?}");
    assert_ne!(id(&apart, 0), id(&apart, 1));
    assert_ne!(apart.writes[0].xid, apart.writes[1].xid);
    // A third file of the first secret joins those of the first again.
    let (three, _) = apart.merge(of_secret("a", 3));
    assert_eq!(id(&three, 0), id(&three, 2));
}

#[test]
fn evidence_of_any_amount_is_a_system_or_refused_with_a_reason() {
    let schema = source(
        "schema.sql",
        "CREATE TABLE a (id int PRIMARY KEY, n int);\nCREATE TABLE b (id int PRIMARY KEY, a_id int NOT NULL REFERENCES a);",
    );
    let wal = r#"{"xid":1,"a":"B","t":1.0}
{"xid":1,"a":"I","table":"b","cols":{"id":5,"a_id":7}}
{"xid":1,"a":"I","table":"ghost","cols":{"id":5}}
{"xid":1,"a":"C","t":1.0}
"#;
    let log = "{\"timestamp\":1.0,\"pid\":1,\"vxid\":\"1/1\",\"txid\":1,\"query_id\":9,\"message\":\"statement: INSERT INTO b VALUES (5, 7)\"}\n";
    let rows: Vec<(&str, Vec<Source>, Tier, &str)> = vec![
        ("only tables", vec![schema.clone()], Tier::Catalogue, ""),
        (
            "one transaction",
            vec![schema.clone(), source("wal.jsonl", wal)],
            Tier::Writes,
            "ghost: it was written to",
        ),
        (
            "a cut line",
            vec![schema.clone(), source("wal.jsonl", &wal[..wal.len() - 20])],
            Tier::Catalogue,
            "ends in the middle of line 4",
        ),
        (
            "an open transaction",
            vec![
                schema.clone(),
                source("wal.jsonl", &format!("{wal}{}", wal.lines().next().expect("a line"))),
            ],
            Tier::Writes,
            "without a commit",
        ),
        ("no schema", vec![source("wal.jsonl", wal)], Tier::Writes, "no file says which tables"),
        ("one statement of a log", vec![schema.clone(), source("log.jsonl", log)], Tier::Sample, ""),
        (
            "a log of other things",
            vec![schema.clone(), source("log.jsonl", "{\"timestamp\":\"x\",\"message\":\"checkpoint\"}\n")],
            Tier::Catalogue,
            "",
        ),
        (
            "a log with a broken line",
            vec![schema.clone(), source("log.jsonl", &format!("{log}nonsense\n{log}"))],
            Tier::Sample,
            "1 lines are no JSON",
        ),
        (
            "statements",
            vec![
                schema.clone(),
                source("s.csv", "queryid,calls,rows,query\n1,5,5,\"SELECT * FROM b WHERE id = $1\"\n2,x,,\n"),
            ],
            Tier::Statements,
            "line 3",
        ),
        (
            "statements of other tables",
            vec![schema.clone(), source("s.csv", "calls,query\n5,SELECT * FROM v\n5,SELEKT\n")],
            Tier::Catalogue,
            "no known tables: v",
        ),
        (
            "zero characters",
            vec![source("schema.sql", "CREATE TABLE a (id int PRIMARY KEY);\0\0")],
            Tier::Catalogue,
            "",
        ),
        (
            "a statement that cannot be read",
            vec![source("schema.sql", "CREATE TABLE a (id int);\nCREATE TABLE b (id ???);")],
            Tier::Catalogue,
            "the first at line 2",
        ),
        (
            "a parent that is not there",
            vec![source("schema.sql", "CREATE TABLE a (id int REFERENCES z(id));")],
            Tier::Catalogue,
            "refers to table z",
        ),
        (
            "a file for somebody else",
            vec![schema.clone(), source("rows.csv", "a,b\n1,2\n")],
            Tier::Catalogue,
            "rows.csv: it is no evidence",
        ),
    ];
    for (case, sources, tier, note) in rows {
        let (system, notes) = seen(&sources);
        assert_eq!(system.tier, tier, "{case}: {notes:?}");
        assert!(note.is_empty() || notes.iter().any(|n| n.contains(note)), "{case}: {notes:?}");
        assert!(!system.missing.is_empty(), "{case}");
        advise_on(&system, &Wish { partitions: Some(4), ..Wish::default() });
    }
    let refused: Vec<(&str, Vec<Source>, &str)> = vec![
        ("nothing", vec![], "no file was given"),
        ("an empty file", vec![source("schema.sql", "")], "which tables"),
        (
            "another format",
            vec![source("e.jsonl", "{\"format\":\"replat-evidence/9\"}\n")],
            "replat-evidence/1",
        ),
        (
            "a broken line",
            vec![source("e.jsonl", "{\"format\":\"replat-evidence/1\"}\n{\"k\":\"tabel\"}\n{}\n")],
            "line 2",
        ),
        (
            "a trace alone",
            vec![schema, source("trace.jsonl", "{\"t\":1,\"x\":\"a\",\"s\":[]}\n")],
            "is a trace",
        ),
        ("half a workload", vec![source("workload.json", "{\"format\": \"advisor-workload/1\",\n")], "line"),
    ];
    for (case, sources, why) in refused {
        let error: BadEvidence = read(&sources).map(|_| ()).expect_err(case);
        assert!(error.to_string().contains(why), "{case}: {error}");
    }
}

#[test]
fn a_thousand_tables_are_read_at_once() {
    let mut ddl = String::new();
    let mut statements = String::from("queryid,calls,query\n");
    for n in 0..1000 {
        let parent =
            if n == 0 { String::new() } else { format!(", p int NOT NULL REFERENCES t{}(id)", n / 3) };
        ddl += &format!("CREATE TABLE t{n} (id int PRIMARY KEY, v text{parent});\n");
        statements += &format!("{n},{n},SELECT v FROM t{n} WHERE id = $1\n");
    }
    let (system, notes) = seen(&[source("schema.sql", &ddl), source("s.csv", &statements)]);
    assert_eq!((system.schema.tables.len(), system.tier), (1000, Tier::Statements));
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn what_nobody_knows_of_a_greenfield_is_said() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/greenfield_clinic");
    let file = |name: &str| source(name, &std::fs::read_to_string(folder.join(name)).expect("a file"));
    let (system, _) = seen(&[file("schema.sql"), file("intent.md")]);
    assert_eq!(system.tier, Tier::Catalogue);
    assert!((system.tier.confidence_max() - 0.4).abs() < 1e-9);
    let all: Vec<&str> = system.missing.iter().map(|missing| missing.what.as_str()).collect();
    for needed in [
        "transaction mix",
        "table sizes and growth",
        "distribution of load over clinics and patients",
        "share of transactions crossing clinics",
        "read/write ratio of price_codes",
        "latency and availability targets",
        "retention of appointments",
        "clinics.country",
        "must stay in the country",
    ] {
        assert!(all.iter().any(|what| what.contains(needed)), "{needed}: {all:#?}");
    }
    let keys: Vec<String> = hypotheses(&system.schema).into_iter().map(|h| h.column).collect();
    assert_eq!(keys, ["clinic_id", "patient_id"]);
}
