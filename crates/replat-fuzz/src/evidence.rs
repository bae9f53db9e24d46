//! Evidence of what a system does: files of it, the statements in them, and what is advised on all of that.

use replat_advise::advise::{Wish, advise_on};
use replat_advise::design::Design;
use replat_advise::evidence::{
    self, Evidence, Source, read_evidence, read_log, read_schema, read_statements, read_wal, write_evidence,
};
use replat_advise::fixture::read_workload;
use replat_advise::measure::measure;
use replat_advise::schema::{KeyColumn, Schema, Table};
use replat_advise::sql::{analyse, normalise};
use replat_advise::system::System;

use crate::Target;

/// What is larger is only read: advice takes a while.
const ADVISED_TABLES: usize = 8;
const ADVISED_TRANSACTIONS: usize = 40;

/// Of the systems that could be advised on, every so-manieth is.
const ADVISED_EVERY: usize = 16;

const LINES: &str = r#"{"format":"replat-evidence/1","name":"shop","span":[0.0,9.5],"hashed":"k1","partitions":4}
{"k":"table","name":"orders","columns":{"tenant":{"type":"integer","distinct":4.0,"common":[0.5,0.25]},"id":{"type":"bigint"}},"primary_key":["tenant","id"],"unique":[["id"]],"references":[{"columns":["tenant"],"parent":"tenants","parent_columns":["id"]}],"rows":200,"row_bytes":80,"reads":5,"writes":[1,2,3]}
{"k":"table","name":"tenants","columns":{"id":{"type":"integer","nullable":true}},"primary_key":["id"]}
{"k":"statement","id":"1","text":"select * from orders where tenant = $1 and id = $2","calls":20,"rows":20,"time_ms":1.5}
{"k":"statement","id":"2","text":"insert into orders (tenant, id) values ($1, $2), ($3, $4)","calls":9}
{"k":"writes","at":1.5,"xid":7,"rows":[{"table":"orders","op":"I","columns":{"tenant":3,"id":"9f"}},{"table":"tenants","op":"D","columns":{"id":null}}]}
{"k":"transaction","at":1.25,"kind":"buy","xid":7,"statements":[{"statement":"1","parameters":[3,null]},{"statement":"2","parameters":[3,"9f",3,8]}]}
"#;
const DDL: &str = "create table tenants (id int primary key, name text not null);\n\
    create table \"public\".orders (tenant int references tenants, id bigint, note varchar(9) default 'a;b',\n\
    primary key (tenant, id), unique (id));\n-- a comment; with a sign\n\
    alter table only orders add constraint f foreign key (tenant) references tenants (id);\n\
    create table items (tenant int, \"Order\" bigint, foreign key (tenant, \"Order\") references orders (tenant, id));\n";
const COUNTERS: &str = "queryid,query,calls,rows,total_exec_time\n\
    1,\"select * from orders where tenant = $1, \"\"x\"\"\",20,20,1.5\n-2,insert into tenants values ($1),3,3,\n";
const LOG: &str = concat!(
    r#"{"timestamp":"2026-03-01 12:34:56.789 UTC","pid":1,"vxid":"3/1","txid":0,"query_id":5,"message":"execute s1: select * from orders where tenant = $1","detail":"parameters: $1 = '3', $2 = NULL"}"#,
    "\n",
    r#"{"timestamp":12.5,"pid":1,"vxid":"3/1","txid":7,"query_id":6,"message":"duration: 0.1 ms  statement: update orders set note = 'it''s' where tenant = 3 and id in (1, 2)"}"#,
    "\n",
    r#"{"timestamp":13,"pid":1,"vxid":"3/1","message":"statement: begin"}"#,
    "\n",
    r#"{"timestamp":13,"pid":2,"vxid":"","error_severity":"ERROR","message":"canceling statement"}"#,
    "\n",
);
const WAL: &str = r#"{"xid":7,"a":"B","t":1.5}
{"xid":7,"a":"I","table":"orders","cols":{"tenant":3,"id":8}}
{"xid":7,"a":"U","table":"tenants","cols":{"id":3,"name":null}}
{"xid":7,"a":"C","t":1.75}
"#;
const STATS: &str = r#"{"orders":{"rows":2000,"row_bytes":80},"tenants":{"rows":40,"row_bytes":30}}"#;
const WORKLOAD: &str = r#"{"format":"advisor-workload/1","name":"shop","partitions":4,
"constraints":{"residency":{"table":"tenants","column":"region"},"retention":{"table":"orders","column":"id","days":9}},
"services":{"a":["orders"],"b":["tenants"]},
"tables":{"orders":{"pk":["id"],"fks":[[["tenant"],"tenants",["id"]]],"columns":{"id":"BIGINT","tenant":"INT"},"key_columns":["id","tenant","region"],"derived_columns":{"region":["tenant","tenants","region"]}},
"tenants":{"pk":["id"],"columns":{"id":"INT","region":"TEXT"},"key_columns":["id","region"]}},
"statements":[{"id":0,"name":"a","sql":"select * from orders o, tenants t where o.tenant = $1 and t.id = o.tenant","touch":[{"table":"orders","op":"r","eq":{"tenant":1},"in":{},"range":{}},{"table":"tenants","op":"r","eq":{}}],"joins":[[["orders","tenant"],["tenants","id"]]]},
{"id":1,"sql":"update tenants set name = $2 where id = any($1)","touch":[{"table":"tenants","op":"u","eq":{},"in":{"id":1}}]}]}"#;
const TRACE: &str = r#"{"t":0.5,"x":"read","c":1,"s":[[0,[3],[[[8,3,"eu"],[9,3,"eu"]],[[3,"eu"]]]]]}
{"t":1.5,"x":"write","c":1,"s":[[1,[4,"n"],[[[4,"us"]]]],[0,[5],[null,null]]]}
"#;

const WORDS: &[&str] = &[
    "{\"",
    "\":",
    "[",
    "]",
    "},",
    "null",
    "4294967295",
    "-1",
    "1e308",
    "\"format\"",
    "\"k\":\"table\"",
    "\"at\":",
    "\"s\":",
    "\"xid\":",
    "orders",
    "tenant",
    "select ",
    " from ",
    " where ",
    "$1",
    "$65535",
    " join ",
    " on ",
    "create table ",
    "primary key",
    "references ",
    "\n",
    "\\u0000",
    ",",
    "''",
    "\"\"",
    "(",
    ")",
    "interval ",
    "any(",
    " in (",
    "begin",
    "commit",
];

/// The files of an input: each begins with its name and a line's end, and ends with a zero byte.
fn sources(text: &str) -> Vec<Source> {
    let files = text.split('\0').filter_map(|file| file.split_once('\n'));
    files.map(|(name, text)| Source { name: name.to_owned(), text: text.to_owned() }).collect()
}

fn seed(files: &[(&str, &str)]) -> Vec<u8> {
    files.iter().map(|(name, text)| format!("{name}\n{text}\0")).collect::<String>().into_bytes()
}

pub(crate) const EVIDENCE: Target = Target {
    name: "evidence",
    reads: "files of evidence of any form, put together, and what is advised on them",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let Ok((known, _)) = evidence::read(&sources(text)) else { return };
        let (system, _) = System::of(known);
        let is_small = system.schema.tables.len() <= ADVISED_TABLES
            && system.trace.transactions.len() <= ADVISED_TRANSACTIONS;
        if !is_small || bytes.len() % ADVISED_EVERY != 0 {
            return;
        }
        let advice = advise_on(&system, &Wish::default());
        assert!((0.0..=1.0).contains(&advice.confidence), "{}", advice.confidence);
        if let Some(design) = &advice.design {
            let metrics = measure(&system.schema, &system.trace, design).expect("it fits its own system");
            assert!(metrics.cost.is_finite());
        }
    },
    seeds: || {
        vec![
            seed(&[("c1.jsonl", LINES)]),
            seed(&[
                ("schema.sql", DDL),
                ("s.csv", COUNTERS),
                ("wal.jsonl", WAL),
                ("log.jsonl", LOG),
                ("stats.json", STATS),
            ]),
            seed(&[("schema.sql", DDL), ("s.csv", COUNTERS), ("wal.jsonl", WAL)]),
            seed(&[("workload.json", WORKLOAD), ("trace.jsonl", TRACE), ("stats.json", STATS)]),
            seed(&[
                ("workload.json", WORKLOAD),
                ("intent.md", "Rows of a tenant stay together.\n\n- One region each."),
            ]),
            seed(&[("wal.jsonl", WAL)]),
        ]
    },
    words: WORDS,
};

pub(crate) const CAPTURED: Target = Target {
    name: "captured",
    reads: "a file that a capture wrote",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Ok((evidence, _)) = read_evidence("captured", text) {
            let (again, notes) =
                read_evidence("captured", &write_evidence(&evidence)).expect("what was written");
            // Numbers with a fraction may differ in their last digit; whatever else there is is read as the same.
            assert_eq!(again.head.name, evidence.head.name);
            assert_eq!(again.statements.len(), evidence.statements.len());
            let names = |evidence: &Evidence| {
                let tables =
                    evidence.tables.iter().map(|table| (table.name.clone(), table.primary_key.clone()));
                tables.collect::<Vec<_>>()
            };
            assert_eq!(names(&again), names(&evidence));
            let rows = |evidence: &Evidence| {
                let rows = evidence.writes.iter().flat_map(|writes| writes.rows.clone());
                rows.collect::<Vec<_>>()
            };
            assert_eq!(rows(&again), rows(&evidence));
            let runs = |evidence: &Evidence| {
                let runs =
                    evidence.transactions.iter().flat_map(|transaction| transaction.statements.clone());
                runs.collect::<Vec<_>>()
            };
            assert_eq!(runs(&again), runs(&evidence));
            assert!(notes.is_empty(), "{notes:?}");
        }
    },
    seeds: || vec![LINES.into()],
    words: WORDS,
};

pub(crate) const SCHEMA: Target = Target {
    name: "schema_sql",
    reads: "data definition, for the tables that it makes",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let (tables, _) = read_schema("schema.sql", text);
        assert!(tables.len() <= text.len(), "nothing comes of nothing");
    },
    seeds: || {
        vec![
            DDL.into(),
            b"create table a (b int primary key) partition by hash (b); create table c partition of a"
                .to_vec(),
        ]
    },
    words: WORDS,
};

pub(crate) const COUNTED: Target = Target {
    name: "counters_csv",
    reads: "pg_stat_statements as comma-separated values",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Ok((statements, _)) = read_statements("counters", text) {
            assert!(
                statements.iter().all(|one| one.calls.is_some() && one.time_ms.is_none_or(f64::is_finite))
            );
        }
    },
    seeds: || vec![COUNTERS.into()],
    words: &["\"", "\"\"", ",", "\r\n", "query", "calls", "queryid", "nan", "1e999", "\u{feff}"],
};

pub(crate) const LOGGED: Target = Target {
    name: "log_json",
    reads: "a server's log in JSON",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Ok(logged) = read_log("log", text, &|value| value) {
            let known: Vec<&str> = logged.statements.iter().map(|statement| statement.id.as_str()).collect();
            for run in logged.transactions.iter().flat_map(|transaction| &transaction.statements) {
                assert!(known.contains(&run.statement.as_str()), "{} is told of", run.statement);
            }
        }
    },
    seeds: || vec![LOG.into()],
    words: &[
        "statement: ",
        "execute a: ",
        "duration: ",
        " ms  ",
        "parameters: ",
        "$1 = '",
        "$65535 = '1'",
        "NULL",
        "', $2 = ",
        "9999999999999",
        "-01-01 ",
        "begin",
        "commit",
        "rollback to a",
        "\\u0000",
        "\"vxid\":\"3/0\"",
        "\"pid\":9",
        "'...",
        "$$",
    ],
};

pub(crate) const WRITTEN: Target = Target {
    name: "wal_json",
    reads: "the write-ahead log as logical decoding shows it",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Ok((writes, _)) = read_wal("wal", text) {
            assert!(writes.iter().all(|one| one.at.is_finite() && !one.rows.is_empty()));
        }
    },
    seeds: || vec![WAL.into()],
    words: WORDS,
};

pub(crate) const TRACED: Target = Target {
    name: "trace",
    reads: "a workload's description, and after a zero byte its transactions, and a design for it after another",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let mut parts = text.split('\0');
        let Ok(mut described) = read_workload(parts.next().unwrap_or("")) else { return };
        if described.read_trace(parts.next().unwrap_or("").lines()).is_err() {
            return;
        }
        if let Ok(design) = serde_json::from_str::<Design>(parts.next().unwrap_or(""))
            && let Ok(metrics) = measure(&described.schema, &described.trace, &design)
        {
            assert!((0.0..=1.0).contains(&metrics.cross_partition_share));
        }
    },
    seeds: || {
        let design = r#"{"partitions":4,"tables":{"orders":{"mode":"partition","levels":[{"kind":"hash","cols":["tenant"],"n":4,"pins":{"3":1}}]},"tenants":{"mode":"partition","levels":[{"kind":"tree","cols":["id"],"n":4,"root":{"col":"id","lt":4,"yes":{"leaf":1},"no":{"hash":["id"],"n":2,"base":2}}}]}}}"#;
        let other = r#"{"partitions":2,"tables":{"orders":{"mode":"partition","levels":[{"kind":"range","col":"tenant","bounds":[4]},{"kind":"mod","cols":["id"],"n":2}]},"tenants":{"mode":"single"}},"lookups":[{"table":"tenants","from":["region"],"to":["id"]}]}"#;
        [design, other].map(|design| format!("{WORKLOAD}\0{TRACE}\0{design}").into_bytes()).into()
    },
    words: WORDS,
};

pub(crate) const ANALYSED: Target = Target {
    name: "analysis",
    reads: "a statement, for what it touches, and the same without its constants",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let schema = tables();
        let (plain, constants) = normalise(text);
        assert!(constants.len() <= text.len(), "nothing comes of nothing");
        for text in [text, plain.as_str()] {
            if let Ok(analysis) = analyse(text, &schema) {
                assert!(analysis.joins.iter().all(|(a, b)| a.0.max(b.0) < analysis.touches.len()));
                drop(analysis.template(String::new(), text.to_owned()));
            }
        }
    },
    seeds: || {
        let texts = [
            "select * from orders o join tenants t on t.id = o.tenant where o.tenant = $1 and o.id between $2 and 5",
            "with a as (select id from tenants where id = any($1)) update orders set tenant = 3 from a where a.id = orders.tenant",
            "insert into orders (tenant, id) select id, $1 from tenants where id in (1, 2, $3) on conflict (id) do update set tenant = 1",
            "select count(*) from orders where (tenant, id) in ((1, 2), ($1, $2)) and exists (select 1 from tenants where id = tenant)",
            "delete from orders using tenants where orders.tenant = tenants.id and interval '1 day' > $1 -- 'end",
        ];
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    },
    words: WORDS,
};

fn tables() -> Schema {
    let table = |name: &str, keys: &[&str]| Table {
        name: name.to_owned(),
        primary_key: keys[..1].iter().map(|key| (*key).to_owned()).collect(),
        columns: keys.iter().map(|key| ((*key).to_owned(), "bigint".to_owned())).collect(),
        keys: keys.iter().map(|key| KeyColumn { name: (*key).to_owned(), derived: None }).collect(),
        ..Table::default()
    };
    Schema { tables: vec![table("orders", &["id", "tenant"]), table("tenants", &["id"])] }
}
