//! SQL.

use replat_model::key::KeyType;
use replat_model::map::Dimension;
use replat_statement::{Keys, Param, Plan, TableName, Tables};

use crate::Target;

fn tables() -> Tables {
    let dimension = |column: &str, key_type| Dimension { column: column.to_owned(), key_type };
    Tables::new(["app"])
        .with_context("tenants", &[dimension("tenant_id", KeyType::Integer)])
        .with_partitioned(TableName::new("app", "orders"))
        .with_partitioned(TableName::new("app", "items"))
        .with_reference(TableName::new("app", "countries"))
        .with_context("shops", &[dimension("region", KeyType::Text), dimension("shop", KeyType::BigInt)])
        .with_partitioned(TableName::new("app", "sales"))
}

pub(crate) const STATEMENT: Target = Target {
    name: "statement",
    reads: "SQL, and after a zero byte each the values of its parameters",
    run: |bytes| {
        let mut parts = bytes.split(|byte| *byte == 0).map(std::str::from_utf8);
        let Some(Ok(sql)) = parts.next() else { return };
        let values: Vec<&str> = parts.map_while(Result::ok).collect();
        let params: Vec<Param<'_>> = values.iter().map(|value| Param::text(value)).collect();
        let plan = Plan::of(sql, &tables());
        if let Some(hint) = plan.hint() {
            drop(hint.key(&[Dimension { column: "tenant_id".into(), key_type: KeyType::Integer }]));
        }
        assert!(plan.session_changes().count() <= sql.len(), "nothing comes of nothing");
        match plan.keys(&params) {
            Keys::Exact { keys, .. } => {
                assert!(!keys.is_empty() && keys.is_sorted_by(|one, next| one < next), "in order, each once");
            }
            Keys::Partial { values, .. } => assert!(values.iter().any(Option::is_some)),
            Keys::Unknown(why) => drop(why.to_string()),
            Keys::Reference | Keys::NotData => {}
        }
    },
    seeds: || {
        let texts = [
            "select * from orders where tenant_id = 1",
            "select * from orders o join items i using (tenant_id) where o.tenant_id = $1 and i.x in (1, 2)\u{0}5",
            "insert into orders (tenant_id, x) values (1, 'a'), ($1, e'b\\n')\u{0}7",
            "update orders set x = 2 where tenant_id = any('{1,2}'::int[]) returning *",
            "with a as (select * from sales where region = 'eu' and shop = 3) select * from a order by 1 limit 1",
            "begin; set local search_path = app; delete from items where tenant_id = 4 or tenant_id in (5); commit",
            "/* replat:partition=acme */ select now(), count(*) from countries group by rollup (1, 2)",
            "copy (select * from orders where tenant_id = 3) to stdout; explain (analyze) select 1",
            "declare c cursor with hold for select $$a$$, $x$b$x$, U&'\\0041', b'1', x'ff', array[1,2] from orders",
            "select set_config('search_path', 'x', false), pg_advisory_lock(1); listen a; create temp table t ()",
        ];
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    },
    words: &[
        "select ",
        " from ",
        " where ",
        "tenant_id",
        " = ",
        "orders",
        " and ",
        " or ",
        " not ",
        "(",
        ")",
        "((((",
        ",",
        " join ",
        " left join ",
        " on ",
        " union all ",
        " in ",
        " any ",
        "$1",
        "'",
        "\"",
        "--\n",
        "/*",
        "*/",
        ";",
        "::int",
        " with ",
        " as ",
        "insert into ",
        " values ",
        "update ",
        " set ",
        "delete ",
        " returning ",
        " is null ",
        "case ",
        " when ",
        " end",
        "null",
        " between ",
        " like ",
        " exists ",
        "lateral ",
        "E'",
        "U&'",
        "$$",
        "set ",
        "reset ",
    ],
};
