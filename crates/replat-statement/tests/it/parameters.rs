//! Parameters in binary form, and what a statement's text says of their types.

use replat_statement::{Format, Param, Plan, Plans};

use crate::schema::{shown, tables};

fn binary(oid: u32, bytes: &[u8]) -> Param<'_> {
    Param { bytes: Some(bytes), format: Format::Binary, oid }
}

#[test]
fn an_undeclared_binary_parameter_is_read_where_its_type_follows_from_the_text() {
    const NOT_READ: &str = "? parameter $1 is missing, or its type or format is not read";
    let seven = 7i64.to_be_bytes();
    let cases = [
        ("select * from orders where tenant_id = $1", "crm 7"),
        ("select * from orders where tenant_id = $1::bigint", "crm 7"),
        (
            "select * from orders o join customers c using (tenant_id) where o.tenant_id = $1 and c.tenant_id = $1",
            "crm 7",
        ),
        ("select * from orders where tenant_id in ($1, 8)", "crm 7 | 8"),
        ("insert into orders (tenant_id, id) values ($1, 5)", "crm 7"),
        ("insert into orders (tenant_id, id) select $1, id from countries", NOT_READ),
        // It may be of another type for its other use, and then it is here too.
        ("select * from orders where tenant_id = $1 and total > $1", NOT_READ),
        ("select $1 from orders where tenant_id = $1", NOT_READ),
        ("select * from orders where tenant_id = $1 and tenant_id = $1::int", NOT_READ),
        ("select * from orders where tenant_id = $1 and (x = 1 or tenant_id = $1)", NOT_READ),
    ];
    let tables = tables();
    for (sql, expected) in cases {
        let plan = Plan::of(sql, &tables);
        assert_eq!(shown(&plan.keys(&[binary(0, &seven)])), expected, "{sql}");
        // The server's own word on the type settles it.
        let told = shown(&plan.keys(&[binary(20, &seven)]));
        assert!(told.starts_with("crm 7"), "{sql}: {told}");
    }
}

#[test]
fn declared_types_must_be_those_of_the_key() {
    let tables = tables();
    let keys = |sql: &str, param| shown(&Plan::of(sql, &tables).keys(&[param]));
    let not_read = "? parameter $1 is missing, or its type or format is not read";
    let by_tenant = "select * from orders where tenant_id = $1";
    let int4 = 7i32.to_be_bytes();
    let text = |text: &'static str, oid| Param { bytes: Some(text.as_bytes()), format: Format::Text, oid };
    assert_eq!(keys(by_tenant, binary(23, &int4)), "crm 7");
    assert_eq!(keys(by_tenant, binary(701, &[0; 8])), not_read, "float8");
    assert_eq!(keys(by_tenant, binary(1700, &[0; 8])), not_read, "numeric");
    assert_eq!(keys(by_tenant, text("7", 25)), not_read, "the server refuses it");
    assert_eq!(keys("select * from orders where tenant_id = $1::bigint", text("7", 25)), "crm 7");
    assert_eq!(keys(by_tenant, text("7", 0)), "crm 7");
    assert_eq!(keys(by_tenant, text("7", 23)), "crm 7");
    assert_eq!(keys(by_tenant, text("7.0", 0)), not_read);
    let by_name = "select * from events where tenant = $1 and day = '2026-01-31'";
    assert_eq!(keys(by_name, binary(1043, b"acme")), "log acme,2026-01-31");
    assert_eq!(keys(by_name, binary(0, b"acme")), "log acme,2026-01-31");
    assert_eq!(keys(by_name, binary(1042, b"acme")), not_read, "bpchar");
    assert_eq!(keys(by_name, binary(25, b"\xff\xfe")), not_read);
    assert_eq!(
        keys("select * from docs where owner = $1", binary(2950, &[1; 16])),
        "doc 01010101-0101-0101-0101-010101010101"
    );
    assert_eq!(keys("select * from docs where owner = $1", binary(0, &[1; 15])), not_read);
}

#[test]
fn a_remembered_plan_serves_other_parameters() {
    let (tables, plans) = (tables(), Plans::with_limit(1 << 20));
    for n in 0..100 {
        let text = n.to_string();
        let plan = plans.plan("select * from orders where tenant_id = $1", &tables);
        assert_eq!(shown(&plan.keys(&[Param::text(&text)])), format!("crm {n}"));
    }
}
