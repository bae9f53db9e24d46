//! Statements and their keys. Parameters are `$1 = 7`, `$2 = 8`, `$3 = '{1,2}'`, `$4 = 'acme'`, `$5 = NULL`, in text.

use replat_statement::{Param, Plan};

use crate::schema::{shown, tables};

pub const NO_KEY: &str = "? the key of public.orders is not restricted to values";
const NOT_PARSED: &str = "? the statement is not understood";
const NOT_A_VALUE: &str = "? what tenant_id is compared with is not a plain value of its type";

#[test]
fn one_table() {
    check(&[
        ("select * from orders where tenant_id = 1", "crm 1"),
        ("SELECT * FROM ORDERS WHERE TENANT_ID = 1", "crm 1"),
        ("select * from orders where 1 = tenant_id", "crm 1"),
        ("select * from orders where tenant_id = $1", "crm 7"),
        ("select * from orders where $1 = tenant_id", "crm 7"),
        ("select * from orders where (tenant_id = 1)", "crm 1"),
        ("select * from orders where ((tenant_id) = (1))", "crm 1"),
        ("select * from orders where tenant_id = -1", "crm -1"),
        ("select * from orders where tenant_id = - 1", "crm -1"),
        ("select * from orders where tenant_id=-1", "crm -1"),
        ("select * from orders where tenant_id = '1'", "crm 1"),
        ("select * from orders where tenant_id = $$1$$", "crm 1"),
        ("select * from orders where tenant_id = $a$1$a$", "crm 1"),
        ("select * from orders where tenant_id = 1::bigint", "crm 1"),
        ("select * from orders where tenant_id = '1'::bigint", "crm 1"),
        ("select * from orders where tenant_id = '1'::int8", "crm 1"),
        ("select * from orders where tenant_id = '1'::int", "crm 1"),
        ("select * from orders where tenant_id = cast('1' as bigint)", "crm 1"),
        ("select * from orders where tenant_id = bigint '1'", "crm 1"),
        ("select * from orders where tenant_id = $1::bigint", "crm 7"),
        ("select * from orders where tenant_id = ($1)::bigint", "crm 7"),
        ("select * from orders where tenant_id = -1::bigint", "crm -1"),
        ("select * from orders where orders.tenant_id = 1", "crm 1"),
        ("select * from orders where public.orders.tenant_id = 1", "crm 1"),
        ("select * from public.orders where orders.tenant_id = 1", "crm 1"),
        ("select * from public.orders where tenant_id = 1", "crm 1"),
        ("select * from orders o where o.tenant_id = 1", "crm 1"),
        ("select * from orders as o where tenant_id = 1 and o.id = 5", "crm 1"),
        ("select * from orders where id = 5 and tenant_id = 1", "crm 1"),
        ("select * from orders where id = 5 and (total > 3 and tenant_id = 1)", "crm 1"),
        ("select * from orders where tenant_id = 1 and (a = 1 or b = 2)", "crm 1"),
        ("select * from orders where tenant_id = 1 and not deleted", "crm 1"),
        ("select * from orders where tenant_id = 1 and x between 1 and 2", "crm 1"),
        ("select * from orders where x between 1 and 2 and tenant_id = 1", "crm 1"),
        ("select * from orders where x is distinct from y and tenant_id = 1", "crm 1"),
        ("select * from orders where x like 'a%' escape '!' and tenant_id = 1", "crm 1"),
        ("select * from orders where x is not null and tenant_id = 1 and y ilike $2", "crm 1"),
        ("select * from orders where tenant_id = 1 and tenant_id = 2", "crm 1"),
        ("select * from orders where tenant_id in (1, 2) and tenant_id = 2", "crm 2"),
        ("select * from orders where tenant_id = 1 order by id limit 10 offset 5", "crm 1"),
        ("select distinct on (id) * from orders where tenant_id = 1 order by id, x desc nulls last", "crm 1"),
        ("select count(*), sum(total) filter (where total > 3) from orders where tenant_id = 1", "crm 1"),
        ("select id, rank() over (partition by x order by y) from orders where tenant_id = 1", "crm 1"),
        ("select x, count(*) from orders where tenant_id = 1 group by x having count(*) > 1", "crm 1"),
        ("select * from orders where tenant_id = 1 for update skip locked", "crm 1"),
        ("select * from extra.notes where tenant_id = 1", "crm 1"),
        ("select * from notes where tenant_id = 1", "crm 1"),
        ("select * from app.invoices where tenant_id = 1", "crm 1"),
        ("select * from invoices where tenant_id = 1", "? table invoices is not known"),
        ("select * from tenants where id = 1", "crm 1"),
        (
            "select * from tenants where tenant_id = 1",
            "? the key of public.tenants is not restricted to values",
        ),
        ("select * from \"orders\" where \"tenant_id\" = 1", "crm 1"),
        ("select * from \"Orders\" where tenant_id = 1", "? table Orders is not known"),
        ("select * from \"Mixed Case\" where \"TenantId\" = 1", "crm 1"),
        (
            "select * from \"Mixed Case\" where TenantId = 1",
            "? the key of public.Mixed Case is not restricted to values",
        ),
        ("select * from \"Mixed Case\" \"M\" where \"M\".\"TenantId\" = 1", "crm 1"),
        (
            "select * from \"Mixed Case\" \"M\" where m.\"TenantId\" = 1",
            "? the key of public.Mixed Case is not restricted to values",
        ),
        ("select * from order_totals where tenant_id = 1", "? table order_totals is not known"),
        ("select * from nowhere", "? table nowhere is not known"),
        ("select * from other.orders where tenant_id = 1", "? table other.orders is not known"),
        ("select * from pg_temp.orders where tenant_id = 1", "? table pg_temp.orders is not known"),
        (
            "select * from db.public.orders where tenant_id = 1",
            "? the statement has a name with a database, which is not looked into",
        ),
    ]);
}

#[test]
fn several_keys() {
    check(&[
        ("select * from orders where tenant_id in (1)", "crm 1"),
        ("select * from orders where tenant_id in (2, 1, 2)", "crm 1 | 2"),
        ("select * from orders where tenant_id in ($1, $2)", "crm 7 | 8"),
        ("select * from orders where tenant_id in ($1, $2, null)", "crm 7 | 8"),
        ("select * from orders where tenant_id = any(array[1, 2])", "crm 1 | 2"),
        ("select * from orders where tenant_id = any(array[1, 2]::bigint[])", "crm 1 | 2"),
        ("select * from orders where tenant_id = any('{1,2}')", "crm 1 | 2"),
        ("select * from orders where tenant_id = any('{1,2}'::bigint[])", "crm 1 | 2"),
        ("select * from orders where tenant_id = any($3)", "crm 1 | 2"),
        ("select * from orders where tenant_id = any($3::bigint[])", "crm 1 | 2"),
        ("select * from orders where tenant_id = some($3)", "crm 1 | 2"),
        (
            "select * from orders where tenant_id = any($1)",
            "? parameter $1 is missing, or its type or format is not read",
        ),
        ("select * from orders where tenant_id = all($3)", NO_KEY),
        ("select * from orders where tenant_id <> any($3)", NO_KEY),
        ("select * from orders where tenant_id = any(select 1)", NO_KEY),
        ("select * from orders where tenant_id not in (1, 2)", NO_KEY),
        ("select * from orders where tenant_id in (1, x)", NO_KEY),
        ("select * from orders where tenant_id in (1, 2 + 3)", NO_KEY),
        ("select * from orders where tenant_id in (select 1)", NO_KEY),
        ("select * from orders where (tenant_id, id) = (1, 2)", "crm 1"),
        ("select * from orders where (tenant_id, id) = ($1, $2)", "crm 7"),
        ("select * from orders where (id, tenant_id) in ((5, 1), (6, 2))", "crm 1 | 2"),
        ("select * from orders where (id, tenant_id) in (($1, $2), (6, 2))", "crm 2 | 8"),
        ("select * from orders where (id, tenant_id) in ((5, 1), (6, x))", NO_KEY),
        ("select * from orders where row(tenant_id, id) = row(1, 2)", NO_KEY),
        ("select * from orders where (tenant_id, id) >= (1, 2)", NO_KEY),
        (
            "select * from orders where tenant_id = 1 union all select * from orders where tenant_id = 2",
            "crm 1 | 2",
        ),
        (
            "(select * from orders where tenant_id = 1) union (select * from orders where tenant_id = 1) limit 5",
            "crm 1",
        ),
        (
            "select * from orders where tenant_id = 1 except select * from customers where tenant_id = 1",
            "crm 1",
        ),
        ("select * from orders where tenant_id = 1 intersect all select * from orders", NO_KEY),
        ("select 1 from orders a, customers b where a.tenant_id = 1 and b.tenant_id = 2", "crm 1 | 2"),
    ]);
}

#[test]
fn what_is_no_plain_equality_is_unknown() {
    check(&[
        ("select * from orders", NO_KEY),
        ("select * from orders where id = 1", NO_KEY),
        ("select * from orders where tenant_id > 1", NO_KEY),
        ("select * from orders where tenant_id between 1 and 1", NO_KEY),
        ("select * from orders where tenant_id = 1 or id = 2", NO_KEY),
        ("select * from orders where tenant_id = 1 and id = 1 or id = 2", NO_KEY),
        ("select * from orders where id = 2 or tenant_id = 1 and id = 1", NO_KEY),
        ("select * from orders where (tenant_id = 1 or tenant_id = 2)", NO_KEY),
        ("select * from orders where not tenant_id = 1", NO_KEY),
        ("select * from orders where not (tenant_id = 1 and id = 2)", NO_KEY),
        ("select * from orders where tenant_id <> 1", NO_KEY),
        ("select * from orders where tenant_id is not distinct from 1", NO_KEY),
        ("select * from orders where (tenant_id = 1) is not false", NO_KEY),
        ("select * from orders where tenant_id = 1 is null", NO_KEY),
        ("select * from orders where (tenant_id = 1) = (id = 2)", NO_KEY),
        ("select * from orders where coalesce(tenant_id, 1) = 1", NO_KEY),
        ("select * from orders where tenant_id::text = '1'", NO_KEY),
        ("select * from orders where tenant_id + 0 = 1", NO_KEY),
        ("select * from orders where +tenant_id = 1", NO_KEY),
        ("select * from orders where tenant_id = 1 + 0", NO_KEY),
        ("select * from orders where tenant_id = abs(1)", NO_KEY),
        ("select * from orders where tenant_id = current_setting('app.tenant')::bigint", NO_KEY),
        ("select * from orders where tenant_id = (select 1)", NO_KEY),
        ("select * from orders where tenant_id = id", NO_KEY),
        ("select * from orders where tenant_id = tenant_id", NO_KEY),
        ("select * from orders where tenant_id operator(pg_catalog.=) 1", NO_KEY),
        ("select * from orders where case when tenant_id = 1 then true end", NO_KEY),
        ("select * from orders where tenant_id = 1.0", NOT_A_VALUE),
        ("select * from orders where tenant_id = 1e0", NOT_A_VALUE),
        ("select * from orders where tenant_id = 'x'", NOT_A_VALUE),
        ("select * from orders where tenant_id = ' 1'", NOT_A_VALUE),
        ("select * from orders where tenant_id = 9223372036854775808", NOT_A_VALUE),
        ("select * from orders where tenant_id = 70000::smallint", NOT_A_VALUE),
        ("select * from orders where tenant_id = '1'::text", NOT_A_VALUE),
        ("select * from orders where tenant_id = E'1'", NO_KEY),
        ("select * from orders where tenant_id = 1::numeric", NO_KEY),
        ("select * from orders where tenant_id = '1'::int4::int8", NO_KEY),
        ("select * from orders where tenant_id = true", NO_KEY),
        ("select * from orders where tenant_id = null", "? tenant_id is NULL"),
        ("select * from orders where tenant_id = $5", "? tenant_id is NULL"),
        (
            "select * from orders where tenant_id = $4",
            "? parameter $4 is missing, or its type or format is not read",
        ),
        (
            "select * from orders where tenant_id = $9",
            "? parameter $9 is missing, or its type or format is not read",
        ),
        ("select * from orders where tenant_id = $0", NOT_PARSED),
        ("select * from orders where tenant_id = $99999999999", NOT_PARSED),
        (
            "select * from orders tablesample system (10) where tenant_id = 1",
            "? the statement has a table with a sample or a hint, which is not looked into",
        ),
        ("select * from only orders where tenant_id = 1", "? table only is not known"),
        (
            "select * from orders as o(a, b) where a = 1",
            "? the statement has an alias that renames a table's columns, which is not looked into",
        ),
        ("table orders", NOT_PARSED),
        (
            "select 1 'x' from orders where tenant_id = 'a' 'b'",
            "? the statement has two strings side by side, which is not looked into",
        ),
        (
            "select 'a'\n'b' from orders where tenant_id = 1",
            "? the statement has two strings side by side, which is not looked into",
        ),
    ]);
}

#[test]
fn comments_and_quotes_are_read_as_the_server_reads_them() {
    check(&[
        ("select * from orders /* where tenant_id = 2 */ where tenant_id = 1", "crm 1"),
        ("select * from orders where tenant_id = 1 -- or true", "crm 1"),
        ("select * from orders where tenant_id = 1 --\n or true", NO_KEY),
        ("select * from orders where tenant_id = 1 --\r or true", NO_KEY),
        ("select * from orders where tenant_id = 1 /* /* */ or true */", "crm 1"),
        ("select * from orders where tenant_id = 1 /* /* */ */ or true", NO_KEY),
        ("select * from orders where x = 'or' and tenant_id = 1", "crm 1"),
        ("select * from orders where x = 'it''s' and tenant_id = 1", "crm 1"),
        ("select * from orders where x = '\\' and tenant_id = 1 -- '", "crm 1"),
        ("select * from orders where x = E'\\' or true -- ' and tenant_id = 1", "crm 1"),
        ("select * from orders where x = $$ ' or true -- $$ and tenant_id = 1", "crm 1"),
        ("select * from orders where x = $a$ $$ or true $b$ $a$ and tenant_id = 1", "crm 1"),
        ("select * from orders where \"or\" = 1 and tenant_id = 1", "crm 1"),
        ("select * from orders where \"a\"\"b\" = 1 and tenant_id = 1", "crm 1"),
        ("select * from orders where tenant_id = 1;", "crm 1"),
        (";;select * from orders where tenant_id = 1;;", "crm 1"),
        ("/* replat:key=3 */ select * from orders where tenant_id = 1", "crm 1"),
        ("select /*+ SeqScan(orders) */ * from orders where tenant_id = 1", "crm 1"),
        ("select * from orders where tenant_id\t=\n1", "crm 1"),
        ("select * from orders where tenant_id = 1 or\u{a0}x", NOT_PARSED),
        ("select * from orders where n'x' = x and tenant_id = 1", "crm 1"),
        ("select '\u{1F600}' from orders where tenant_id = 1", "crm 1"),
        ("", "-"),
        ("-- nothing", "-"),
        ("select * from orders where tenant_id = 'a", NOT_PARSED),
        ("select * from orders /* where tenant_id = 1", NOT_PARSED),
        ("not sql at all", NOT_PARSED),
        ("select * from orders where tenant_id = 1)", NOT_PARSED),
        ("select * from orders where (tenant_id = 1", NOT_PARSED),
    ]);
}

#[test]
fn keys_of_other_types_and_of_two_dimensions() {
    check(&[
        ("select * from events where tenant = 'acme' and day = '2026-01-31'", "log acme,2026-01-31"),
        ("select * from events where tenant = $4 and day = date '2026-01-31'", "log acme,2026-01-31"),
        ("select * from events where tenant = 'acme'", "part of log acme,any"),
        ("select * from events where day = '2026-01-31' and tenant like 'a%'", "part of log any,2026-01-31"),
        (
            "select * from events where tenant in ('a', 'b') and day in ('2026-01-01', '2026-01-02')",
            "log a,2026-01-01 | a,2026-01-02 | b,2026-01-01 | b,2026-01-02",
        ),
        ("select * from events where (tenant, day) in (('a', '2026-01-01'))", "log a,2026-01-01"),
        (
            "select * from events e join visits v using (tenant, day) where tenant = 'a' and day = '2026-01-01'",
            "log a,2026-01-01",
        ),
        (
            "select * from events e join visits v using (tenant) where tenant = 'a' and e.day = '2026-01-01'",
            "part of log a,any",
        ),
        (
            "select * from events e, visits v where e.tenant = 'a' and v.day = '2026-01-01'",
            "? the key of public.events is not restricted to values",
        ),
        ("insert into events (tenant, day) values ('acme', '2026-01-31')", "log acme,2026-01-31"),
        ("insert into events (tenant, day) values ('acme', current_date)", "part of log acme,any"),
        (
            "insert into events (tenant, day) values ('acme ', '2026-01-31')",
            "? what tenant is compared with is not a plain value of its type",
        ),
        ("select * from events where tenant = 'acme'::varchar and day = '2026-01-31'", "log acme,2026-01-31"),
        (
            "select * from events where tenant = 'acme'::varchar(2)",
            "? the key of public.events is not restricted to values",
        ),
        (
            "select * from events where tenant = 'acme'::char(4)",
            "? the key of public.events is not restricted to values",
        ),
        (
            "select * from events where tenant = 'a' collate \"C\"",
            "? the key of public.events is not restricted to values",
        ),
        (
            "select * from events where tenant = 42",
            "? what tenant is compared with is not a plain value of its type",
        ),
        ("select * from events where tenant = ''", "part of log ,any"),
        ("select * from events where tenant = 'A'", "part of log A,any"),
        (
            "select * from events where day = 'today'",
            "? what day is compared with is not a plain value of its type",
        ),
        (
            "select * from events where day = '31.01.2026'",
            "? what day is compared with is not a plain value of its type",
        ),
        (
            "select * from events where day = timestamp '2026-01-31 00:00'",
            "? what day is compared with is not a plain value of its type",
        ),
        ("select * from events where day = now()", "? the key of public.events is not restricted to values"),
        (
            "select * from docs where owner = '6f9619ff-8b86-d011-b42d-00c04fc964ff'",
            "doc 6f9619ff-8b86-d011-b42d-00c04fc964ff",
        ),
        (
            "select * from docs where owner = '6F9619FF-8B86-D011-B42D-00C04FC964FF'::uuid",
            "doc 6f9619ff-8b86-d011-b42d-00c04fc964ff",
        ),
        (
            "select * from docs where owner = uuid '6f9619ff8b86d011b42d00c04fc964ff'",
            "doc 6f9619ff-8b86-d011-b42d-00c04fc964ff",
        ),
        (
            "select * from docs where owner = $1::uuid",
            "? parameter $1 is missing, or its type or format is not read",
        ),
        ("select * from metrics where at = '2026-01-31 10:00+02'", "metric 2026-01-31 08:00:00"),
        ("select * from metrics where at = timestamptz '2026-01-31 10:00+00'", "metric 2026-01-31 10:00:00"),
        (
            "select * from metrics where at = '2026-01-31 10:00'",
            "? what at is compared with is not a plain value of its type",
        ),
        (
            "select * from metrics where at = '2026-01-31'::date",
            "? what at is compared with is not a plain value of its type",
        ),
        (
            "select * from metrics where at = timestamp with time zone '2026-01-31 10:00Z'",
            "metric 2026-01-31 10:00:00",
        ),
    ]);
}

#[test]
fn what_is_not_data() {
    check(&[
        ("select 1", "-"),
        ("select now(), current_user, version(), pg_catalog.current_setting('x')", "-"),
        ("select $1", "-"),
        ("values (1, 2)", "-"),
        ("select * from pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace", "-"),
        ("select * from information_schema.tables", "-"),
        ("select * from generate_series(1, 10) g", "-"),
        ("select * from countries where code = 'de'", "reference"),
        ("select * from countries, pg_class", "reference"),
        ("select transfer(1, 2)", "? function transfer may read or write anything"),
        ("select app.now()", "? function app.now may read or write anything"),
        ("select nextval('s')", "? function nextval may read or write anything"),
        ("select pg_sleep(1) from orders where tenant_id = 1", "crm 1"),
        ("select * from read_all() r", "? function read_all may read or write anything"),
        ("begin", "-"),
        ("start transaction isolation level serializable", "-"),
        ("commit and chain", "-"),
        ("rollback to savepoint a", "-"),
        ("prepare transaction 'x'", "-"),
        ("set search_path to a, b", "-"),
        ("show all", "-"),
        ("discard all", "-"),
        ("listen x", "-"),
        ("fetch 10 from c", "-"),
        ("deallocate all", "-"),
        ("prepare p as select * from orders where tenant_id = $1", "-"),
        ("execute p(1)", "? prepared statement p was not seen"),
        ("execute \"P\"", "? prepared statement P was not seen"),
        ("call f(1)", "? function call may read or write anything"),
        ("do $$ begin delete from orders; end $$", "? function do may read or write anything"),
        ("copy orders from stdin", "? COPY concerns whole tables or the database"),
        ("copy orders (tenant_id) to stdout", "? COPY concerns whole tables or the database"),
        ("copy (select * from orders where tenant_id = 1) to stdout with (format csv)", "crm 1"),
        ("copy (select * from orders) to stdout", NO_KEY),
        ("explain select * from orders where tenant_id = 1", "crm 1"),
        ("explain analyze verbose delete from orders where tenant_id = 1", "crm 1"),
        ("explain (analyze, buffers, format json) select * from orders where tenant_id = 1", "crm 1"),
        ("explain (select * from orders where tenant_id = 1)", "crm 1"),
        ("explain select * from orders", NO_KEY),
        ("declare c cursor for select * from orders where tenant_id = 1", "crm 1"),
        ("declare c no scroll cursor with hold for select * from orders", NO_KEY),
        ("create table x (a int)", "? DDL concerns whole tables or the database"),
        (
            "create temp table x as select * from orders where tenant_id = 1",
            "? DDL concerns whole tables or the database",
        ),
        (
            "select * into temp x from orders where tenant_id = 1",
            "? SELECT INTO concerns whole tables or the database",
        ),
        ("alter table orders add x int", "? DDL concerns whole tables or the database"),
        ("lock table orders in share mode", "? LOCK concerns whole tables or the database"),
        ("vacuum orders", "? upkeep concerns whole tables or the database"),
    ]);
}

#[test]
fn large_statements_are_read_up_to_the_limits() {
    let tables = tables();
    let found = |sql: &str| shown(&Plan::of(sql, &tables).keys(&[]));
    let ands = |n: usize| format!("select * from orders where tenant_id = 1{}", " and x = 1".repeat(n));
    assert_eq!(found(&ands(20)), "crm 1");
    assert_eq!(found(&ands(200)), "crm 1");
    assert_eq!(found(&ands(2_000)), TOO_DEEP);
    let brackets =
        |n: usize| format!("select * from orders where {}tenant_id = 1{}", "(".repeat(n), ")".repeat(n));
    assert_eq!(found(&brackets(3)), "crm 1");
    assert_eq!(found(&brackets(30)), "crm 1");
    assert_eq!(found(&brackets(300)), TOO_DEEP);
    let rows = |n: usize| format!("insert into orders (tenant_id, id) values (1, 0){}", ", (1, 1)".repeat(n));
    assert_eq!(found(&rows(5_000)), "crm 1");
    assert_eq!(found(&rows(10_000)), "? the statement has 80048 bytes, more than is read");
    let list = |n: usize| {
        let keys: Vec<String> = (0..n).map(|key| key.to_string()).collect();
        format!("select * from orders where tenant_id in ({})", keys.join(", "))
    };
    assert!(found(&list(1_000)).ends_with("| 999"));
    assert_eq!(found(&list(1_001)), "? the statement names more keys than are listed");
    let two = |n: usize| {
        let tenants: Vec<String> = (0..n).map(|key| format!("'t{key}'")).collect();
        format!(
            "select * from events where tenant in ({}) and day in ('2026-01-01', '2026-01-02')",
            tenants.join(",")
        )
    };
    assert!(found(&two(500)).starts_with("log t0,2026-01-01"));
    assert_eq!(found(&two(501)), "? the statement names more keys than are listed");
    let joins = |n: usize| {
        let join = |at| format!(" join orders o{at} using (tenant_id)");
        format!("select * from orders{} where tenant_id = 1", (0..n).map(join).collect::<String>())
    };
    assert_eq!(found(&joins(50)), "crm 1");
    assert_eq!(found(&joins(65)), TOO_DEEP);
    let commas =
        |n: usize| format!("select * from orders{} where orders.tenant_id = 1", ", countries".repeat(n));
    assert_eq!(found(&commas(99)), "crm 1");
    assert_eq!(found(&commas(100)), TOO_DEEP);
}

const TOO_DEEP: &str = "? the statement is nested or chained too deeply";

#[test]
fn several_statements() {
    check(&[
        ("begin; select * from orders where tenant_id = 1; commit", "crm 1"),
        ("select * from orders where tenant_id = 1; select * from customers where tenant_id = 1", "crm 1"),
        ("select * from orders where tenant_id = 1; select * from orders where tenant_id = 2", "crm 1 | 2"),
        ("select * from orders where tenant_id = 1; select * from orders", NO_KEY),
        ("select * from orders where tenant_id = 1; select * from countries", "crm 1"),
        ("select * from orders where tenant_id = 1; whatever", NOT_PARSED),
        (
            "select * from orders where tenant_id = 1; select * from docs where owner = '6f9619ff8b86d011b42d00c04fc964ff'",
            "? tables of several contexts are named",
        ),
        (
            "select * from events where tenant = 'a'; select * from events where tenant = 'b' and day = '2026-01-01'",
            "part of log a or b,any",
        ),
        (
            "select * from events where tenant = 'a'; select * from events where day = '2026-01-01'",
            "? the statement has statements with keys of different dimensions, which is not looked into",
        ),
        (
            "create function f() returns int language sql begin atomic select 1; select 2; end",
            "? DDL concerns whole tables or the database",
        ),
        ("select ';' from orders where tenant_id = 1", "crm 1"),
    ]);
}

pub fn check(cases: &[(&str, &str)]) {
    let tables = tables();
    let params =
        [Param::text("7"), Param::text("8"), Param::text("{1,2}"), Param::text("acme"), Param::null()];
    let mut wrong = String::new();
    for (sql, expected) in cases {
        let found = shown(&Plan::of(sql, &tables).keys(&params));
        if found != *expected {
            wrong.push_str(&format!("\n  {sql}\n    expected {expected}\n    found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
