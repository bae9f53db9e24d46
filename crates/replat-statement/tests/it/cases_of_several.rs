//! Statements with several tables, with sub-queries, and with changes; their parameters are those of `cases`.

use crate::cases::{NO_KEY, check};

const NO_KEY_C: &str = "? the key of public.customers is not restricted to values";

#[test]
fn joins() {
    check(&[
        (
            "select * from orders a join customers b on a.tenant_id = b.tenant_id where a.tenant_id = $1",
            "crm 7",
        ),
        ("select * from orders a join customers b on a.tenant_id = b.tenant_id and a.tenant_id = 1", "crm 1"),
        (
            "select * from orders a join customers b on b.tenant_id = a.tenant_id where b.tenant_id = 1",
            "crm 1",
        ),
        ("select * from orders a inner join customers b using (tenant_id) where tenant_id = 1", "crm 1"),
        ("select * from orders a join customers b using (tenant_id, id) where a.tenant_id = 1", "crm 1"),
        ("select * from orders join customers using (id) where orders.tenant_id = 1", NO_KEY_C),
        (
            "select * from orders natural join customers where tenant_id = 1",
            "? the statement has NATURAL JOIN, which is not looked into",
        ),
        ("select * from orders a join customers b on a.id = b.id where a.tenant_id = 1", NO_KEY_C),
        (
            "select * from orders a join customers b on a.id = b.id where a.tenant_id = 1 and b.tenant_id = 1",
            "crm 1",
        ),
        ("select * from orders a, customers b where a.tenant_id = b.tenant_id and b.tenant_id = 1", "crm 1"),
        ("select * from orders, customers where orders.tenant_id = 1", NO_KEY_C),
        ("select * from orders, customers where tenant_id = 1", NO_KEY),
        (
            "select * from orders a cross join customers b where a.tenant_id = 1 and b.tenant_id = a.tenant_id",
            "crm 1",
        ),
        (
            "select * from orders a join orders b on a.tenant_id = b.tenant_id and a.id = b.parent where a.tenant_id = 1",
            "crm 1",
        ),
        ("select * from orders a join orders b on a.id = b.parent where a.tenant_id = 1", NO_KEY),
        (
            "select * from orders a join customers b on a.tenant_id = b.tenant_id join notes c on c.tenant_id = b.tenant_id where a.tenant_id = 1",
            "crm 1",
        ),
        (
            "select * from orders a join customers b on a.tenant_id = b.tenant_id or true where a.tenant_id = 1",
            NO_KEY_C,
        ),
        (
            "select * from orders a join customers b on not a.tenant_id = b.tenant_id where a.tenant_id = 1",
            NO_KEY_C,
        ),
        (
            "select * from orders a left join customers b on a.tenant_id = b.tenant_id and a.cid = b.id where a.tenant_id = 1",
            "crm 1",
        ),
        (
            "select * from orders a left join customers b on a.tenant_id = b.tenant_id and a.tenant_id = 1",
            NO_KEY,
        ),
        ("select * from orders a left join customers b on b.tenant_id = 1 where a.tenant_id = 1", "crm 1"),
        (
            "select * from orders a left join customers b on a.tenant_id = b.tenant_id where b.tenant_id = 1",
            "crm 1",
        ),
        ("select * from orders a left join customers b on a.cid = b.id where b.tenant_id = 1", NO_KEY),
        (
            "select * from orders a left join customers b on a.cid = b.id where a.tenant_id = 1 and b.tenant_id = 1",
            "crm 1",
        ),
        ("select * from orders a left join customers b using (tenant_id) where tenant_id = 1", "crm 1"),
        ("select * from orders a right join customers b using (tenant_id) where tenant_id = 1", "crm 1"),
        (
            "select * from orders a right join customers b on a.tenant_id = b.tenant_id where a.tenant_id = 1",
            "crm 1",
        ),
        (
            "select * from orders a right join customers b on a.tenant_id = b.tenant_id and b.tenant_id = 1",
            NO_KEY_C,
        ),
        ("select * from orders a full join customers b using (tenant_id) where tenant_id = 1", NO_KEY),
        (
            "select * from orders a full join customers b on a.tenant_id = b.tenant_id where a.tenant_id = 1",
            "crm 1",
        ),
        (
            "select * from orders a full join customers b on a.tenant_id = b.tenant_id and a.tenant_id = 1",
            NO_KEY,
        ),
        (
            "select * from orders a left join customers b on a.tenant_id = b.tenant_id left join notes c on b.tenant_id = c.tenant_id where a.tenant_id = 1",
            "crm 1",
        ),
        (
            "select * from orders a left join (customers b join notes c on b.tenant_id = c.tenant_id) on a.tenant_id = b.tenant_id where a.tenant_id = 1",
            "crm 1",
        ),
        (
            "select * from orders a left join customers b left join notes c on b.tenant_id = c.tenant_id on a.tenant_id = b.tenant_id where a.tenant_id = 1",
            "crm 1",
        ),
        ("select * from (orders a join customers b using (tenant_id)) where tenant_id = 1", "crm 1"),
        (
            "select * from (orders a join customers b using (tenant_id)) as j where tenant_id = 1",
            "? the statement has a table of another kind, which is not looked into",
        ),
        ("select * from orders a join countries c on c.code = a.country where a.tenant_id = 1", "crm 1"),
        (
            "select * from orders a join countries c on c.tenant_id = a.tenant_id where c.tenant_id = 1",
            NO_KEY,
        ),
        ("select * from countries join orders using (tenant_id) where tenant_id = 1", "crm 1"),
        ("select * from countries left join orders using (tenant_id) where tenant_id = 1", NO_KEY),
        (
            "select * from orders a join countries c on a.tenant_id = c.x join customers b on b.tenant_id = c.x where a.tenant_id = 1",
            NO_KEY_C,
        ),
        (
            "select * from orders customers join customers orders on customers.tenant_id = orders.tenant_id where orders.tenant_id = 1",
            "crm 1",
        ),
        ("select * from orders customers where customers.tenant_id = 1", "crm 1"),
        ("select * from orders o where orders.tenant_id = 1", NO_KEY),
        (
            "select * from orders anti join customers b on anti.tenant_id = b.tenant_id where b.tenant_id = 1",
            "? the statement has a join of another kind, which is not looked into",
        ),
        ("select * from orders a join tenants t on t.id = a.tenant_id where t.id = 1", "crm 1"),
        ("select * from orders a join tenants t on tenant_id = t.id where t.id = 1", "crm 1"),
        (
            "select * from orders a join events e on e.id = a.id where a.tenant_id = 1 and e.tenant = 'x' and e.day = '2026-01-31'",
            "? tables of several contexts are named",
        ),
    ]);
}

#[test]
fn sub_queries_and_ctes() {
    check(&[
        (
            "select * from orders where tenant_id = 1 and exists (select 1 from customers c where c.tenant_id = orders.tenant_id)",
            "crm 1",
        ),
        (
            "select * from orders where tenant_id = 1 and exists (select 1 from customers where tenant_id = 1)",
            "crm 1",
        ),
        (
            "select * from orders where tenant_id = 1 and not exists (select from customers c where c.tenant_id = orders.tenant_id and c.id = cid)",
            "crm 1",
        ),
        ("select * from orders where tenant_id = 1 and exists (select 1 from customers)", NO_KEY_C),
        (
            "select * from orders where tenant_id = 1 and exists (select 1 from customers where tenant_id = orders.tenant_id)",
            "crm 1",
        ),
        (
            "select * from orders where tenant_id = 1 and id in (select order_id from customers where tenant_id = 2)",
            "crm 1 | 2",
        ),
        ("select * from orders where tenant_id = 1 and id in (select order_id from customers)", NO_KEY_C),
        ("select * from orders where tenant_id = 1 and id > (select avg(id) from orders)", NO_KEY),
        (
            "select * from orders o where o.tenant_id = 1 and id > (select avg(id) from orders i where i.tenant_id = o.tenant_id)",
            "crm 1",
        ),
        (
            "select * from orders where exists (select 1 from customers where customers.tenant_id = orders.tenant_id and orders.tenant_id = 1)",
            NO_KEY,
        ),
        (
            "select (select count(*) from customers c where c.tenant_id = o.tenant_id) from orders o where o.tenant_id = 1",
            "crm 1",
        ),
        ("select (select count(*) from customers) from orders o where o.tenant_id = 1", NO_KEY_C),
        ("select * from orders o where tenant_id = 1 order by (select max(x) from customers)", NO_KEY_C),
        ("select * from orders o where tenant_id = 1 limit (select count(*) from customers)", NO_KEY_C),
        (
            "select case when exists (select 1 from customers) then 1 end from orders where tenant_id = 1",
            NO_KEY_C,
        ),
        ("select array(select id from customers) from orders where tenant_id = 1", NO_KEY_C),
        (
            "select sum(x) filter (where exists (select 1 from customers)) from orders where tenant_id = 1",
            NO_KEY_C,
        ),
        ("select coalesce((select 1 from customers), 2) from orders where tenant_id = 1", NO_KEY_C),
        ("select * from (select * from orders where tenant_id = 1) s", "crm 1"),
        ("select * from (select * from orders) s where tenant_id = 1", NO_KEY),
        (
            "select * from (select tenant_id, id from orders where tenant_id = 1) s join customers c on c.tenant_id = s.tenant_id",
            "crm 1",
        ),
        (
            "select * from (select tenant_id t from orders where tenant_id = 1) s join customers c on c.tenant_id = s.t",
            "crm 1",
        ),
        (
            "select * from (select tenant_id from orders where tenant_id = 1) s(t) join customers c on c.tenant_id = s.t",
            "crm 1",
        ),
        (
            "select * from (select * from orders where tenant_id = 1) s join customers c using (tenant_id)",
            "crm 1",
        ),
        (
            "select * from (select id, tenant_id from orders where tenant_id = 1) s(tenant_id, t) join customers c using (tenant_id)",
            NO_KEY_C,
        ),
        ("select * from (values (1), (2)) v(t) join orders o on o.tenant_id = v.t", "crm 1 | 2"),
        ("select * from (select 1 as t union select 2) v join orders o on o.tenant_id = v.t", "crm 1 | 2"),
        ("select * from (values (1), (x)) v(t) join orders o on o.tenant_id = v.t", NO_KEY),
        (
            "select * from orders a, lateral (select * from customers c where c.tenant_id = a.tenant_id) s where a.tenant_id = 1",
            "crm 1",
        ),
        (
            "select * from orders a left join lateral (select * from customers c where c.tenant_id = a.tenant_id limit 1) s on true where a.tenant_id = 1",
            "crm 1",
        ),
        ("select * from orders a, lateral (select * from customers c) s where a.tenant_id = 1", NO_KEY_C),
        (
            "select * from orders a, (select * from customers c where c.tenant_id = a.tenant_id) s where a.tenant_id = 1",
            NO_KEY_C,
        ),
        ("select * from orders a, lateral generate_series(1, a.n) g where a.tenant_id = 1", "crm 1"),
        ("select * from orders a, unnest(array(select id from customers)) u where a.tenant_id = 1", NO_KEY_C),
        ("select * from unnest($3::bigint[]) u(t) join orders o on o.tenant_id = u.t", NO_KEY),
        ("with o as (select * from orders where tenant_id = 1) select * from o", "crm 1"),
        ("with o as (select * from orders) select * from o where tenant_id = 1", NO_KEY),
        ("with o as (select * from orders where tenant_id = 1) select * from customers", NO_KEY_C),
        ("with orders as (select 1 as id) select * from orders", "-"),
        ("with orders as (select * from orders where tenant_id = 1) select * from orders", "crm 1"),
        ("with orders as (select 1 as id) select * from public.orders", NO_KEY),
        (
            "with o as (select tenant_id from orders where tenant_id = 1) select * from customers join o using (tenant_id)",
            "crm 1",
        ),
        (
            "with o(t) as (select tenant_id from orders where tenant_id = 1) select * from customers c join o on o.t = c.tenant_id",
            "crm 1",
        ),
        (
            "with a as (select 1 as t), b as (select t from a) select * from orders o join b on b.t = o.tenant_id",
            "crm 1",
        ),
        (
            "with recursive t as (select id from orders where tenant_id = 1 union all select o.id from orders o join t on o.parent = t.id where o.tenant_id = 1) select * from t",
            "crm 1",
        ),
        (
            "with recursive t as (select id, tenant_id from orders where tenant_id = 1 union all select o.id, o.tenant_id from orders o join t on o.parent = t.id and o.tenant_id = t.tenant_id) select * from t",
            NO_KEY,
        ),
        ("with d as (delete from orders where tenant_id = 1 returning *) select * from d", "crm 1"),
        ("with d as (delete from orders returning *) select * from d", NO_KEY),
        (
            "with d as (delete from orders where tenant_id = 1 returning tenant_id, id) insert into customers (tenant_id, id) select * from d",
            "? the key of public.customers is not restricted to values",
        ),
        (
            "with d as (delete from orders where tenant_id = 1 returning tenant_id, id) insert into customers (tenant_id, id) select tenant_id, id from d",
            "crm 1",
        ),
        (
            "with d as (update orders set x = 1 where tenant_id = 1 returning id) select * from d, customers",
            NO_KEY_C,
        ),
    ]);
}

#[test]
fn changes() {
    check(&[
        ("insert into orders (tenant_id, id) values (1, 5)", "crm 1"),
        ("insert into orders (id, tenant_id) values ($2, $1)", "crm 7"),
        ("insert into orders as o (id, tenant_id) values (5, 1) returning o.id", "crm 1"),
        ("insert into orders (tenant_id, id) values (1, 5), (2, 6)", "crm 1 | 2"),
        ("insert into orders (tenant_id, id) values (1, 5), (null, 6)", "? tenant_id is NULL"),
        ("insert into orders (tenant_id, id) values (1, 5), (default, 6)", NO_KEY),
        ("insert into orders (tenant_id, id) values (nextval('s'), 5)", NO_KEY),
        ("insert into orders (tenant_id, id) values (1, nextval('s'))", "crm 1"),
        ("insert into orders (id) values (5)", NO_KEY),
        ("insert into orders values (1, 5)", NO_KEY),
        ("insert into orders default values", NO_KEY),
        ("insert into orders (tenant_id, id) select 1, id from countries", "crm 1"),
        (
            "insert into orders (tenant_id, id) select tenant_id, id from customers where tenant_id = 1",
            "crm 1",
        ),
        ("insert into orders (tenant_id, id) select $1, id from customers where tenant_id = 1", "crm 1 | 7"),
        (
            "insert into orders (tenant_id, id) select id, tenant_id from customers where tenant_id = 1",
            NO_KEY,
        ),
        ("insert into orders (tenant_id, id) select * from customers where tenant_id = 1", NO_KEY),
        ("insert into orders (tenant_id, id) select tenant_id, id from customers", NO_KEY),
        ("insert into orders (tenant_id, id) values (1, (select max(id) from customers))", NO_KEY_C),
        ("insert into orders (tenant_id, id) values (1, 5) on conflict do nothing", "crm 1"),
        (
            "insert into orders (tenant_id, id) values (1, 5) on conflict (tenant_id, id) do update set x = excluded.x",
            "crm 1",
        ),
        ("insert into orders (tenant_id, id) values (1, 5) on conflict (id) do nothing", "crm 1"),
        (
            "insert into orders (tenant_id, id) values (1, 5) on conflict (id) do update set x = 1",
            "? ON CONFLICT may find a row of public.orders with another key; name the key in its target",
        ),
        (
            "insert into orders (tenant_id, id) values (1, 5) on conflict on constraint pk do update set x = 1",
            "? ON CONFLICT may find a row of public.orders with another key; name the key in its target",
        ),
        (
            "insert into orders (tenant_id, id) values (1, 5) on conflict (tenant_id, id) do update set tenant_id = 2",
            "? a row of public.orders may get another key",
        ),
        (
            "insert into orders (tenant_id, id) values (1, 5) on conflict (tenant_id, id) do update set x = (select 1 from customers)",
            NO_KEY_C,
        ),
        ("insert into countries (code) values ('de')", "reference"),
        (
            "insert into countries (code) select x from orders where tenant_id = 1",
            "? a change of a table that is not partitioned concerns whole tables or the database",
        ),
        ("update orders set x = 1 where tenant_id = 1", "crm 1"),
        ("update orders set x = 1 where id = 5", NO_KEY),
        ("update orders o set x = o.x + 1 where o.tenant_id = $1 returning *", "crm 7"),
        (
            "update orders set tenant_id = 2 where tenant_id = 1",
            "? a row of public.orders may get another key",
        ),
        (
            "update orders set (x, tenant_id) = (1, 2) where tenant_id = 1",
            "? a row of public.orders may get another key",
        ),
        (
            "update orders set \"tenant_id\" = 1 where tenant_id = 1",
            "? a row of public.orders may get another key",
        ),
        (
            "update orders set x = c.x from customers c where c.tenant_id = orders.tenant_id and orders.tenant_id = 1",
            "crm 1",
        ),
        (
            "update orders set x = c.x from customers c where c.id = orders.cid and orders.tenant_id = 1",
            NO_KEY_C,
        ),
        ("update orders set x = c.x from customers c where c.id = orders.cid and c.tenant_id = 1", NO_KEY),
        (
            "update orders set x = (select max(x) from customers c where c.tenant_id = orders.tenant_id) where tenant_id = 1",
            "crm 1",
        ),
        ("update orders set x = (select max(x) from customers) where tenant_id = 1", NO_KEY_C),
        ("update countries set x = 1", "reference"),
        (
            "update countries set x = 1 from orders where tenant_id = 1",
            "? a change of a table that is not partitioned concerns whole tables or the database",
        ),
        ("delete from orders where tenant_id = 1", "crm 1"),
        ("delete from orders", NO_KEY),
        (
            "delete from orders o using customers c where c.tenant_id = o.tenant_id and c.tenant_id = 1 and c.id = o.cid",
            "crm 1",
        ),
        ("delete from orders using customers where orders.tenant_id = 1", NO_KEY_C),
        ("delete from orders where tenant_id in (1, 2) returning tenant_id", "crm 1 | 2"),
        ("with orders as (select 1) delete from orders where tenant_id = 1", "crm 1"),
        (
            "merge into orders o using customers c on o.tenant_id = c.tenant_id when matched then delete",
            "? the statement has MERGE, which is not looked into",
        ),
        ("truncate orders", "? TRUNCATE concerns whole tables or the database"),
        (
            "update pg_class set relname = 'x'",
            "? a change of the catalogue concerns whole tables or the database",
        ),
    ]);
}
