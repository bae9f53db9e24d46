-- The components of the keys of the partitioned tables $1.
--
-- A component is a column or an expression. The catalogue has all expressions of a key in one tree, which is printed
-- as a list; it is cut at commas that stand outside of quotes and brackets, since no expression has such a comma.
--
-- The type of an expression is the input type of its operator class, which the catalogue knows without evaluating
-- anything. Domains are followed to their base type: bounds are printed as values of that.
with recursive base as (
  select t.oid as domain, t.typbasetype as type, t.typtypmod as modifier from pg_type t where t.typtype = 'd'
  union all
  select b.domain, t.typbasetype, case when t.typtypmod = -1 then b.modifier else t.typtypmod end
    from base b
    join pg_type t on t.oid = b.type and t.typtype = 'd'
),
component as (
  select p.partrelid, p.partstrat::text as strategy, k.place,
         k.attnum, k.class, k.sorting,
         case when p.partexprs is not null and k.place = 1 then pg_get_expr(p.partexprs, p.partrelid) end as expressions
    from pg_partitioned_table p
   cross join lateral unnest(p.partattrs::int2[], p.partclass::oid[], p.partcollation::oid[])
         with ordinality k (attnum, class, sorting, place)
   where p.partrelid = any ($1::oid[])
),
typed as (
  select k.*, a.attname::text as column_name, coalesce(not a.attnotnull, true) as nullable,
         o.opcfamily, o.opcintype,
         coalesce(b.type, a.atttypid, o.opcintype) as type,
         coalesce(b.modifier, a.atttypmod, -1) as modifier
    from component k
    join pg_opclass o on o.oid = k.class
    left join pg_attribute a on a.attrelid = k.partrelid and a.attnum = k.attnum and k.attnum <> 0
    left join base b on b.domain = a.atttypid
         and not exists (select from pg_type t where t.oid = b.type and t.typtype = 'd')
)
select k.partrelid, k.strategy, k.place, k.column_name, k.expressions, k.nullable,
       format_type(k.type, k.modifier) as type_name,
       -- With a modifier of -1 a type is spelled so that it can be cast to as it is: bpchar, not character.
       format_type(k.type, -1) as cast_type,
       case when k.sorting <> 0 then format('%I.%I', cn.nspname, c.collname) end as collation,
       case when op.oid is not null then format('OPERATOR(%I.%s)', opn.nspname, op.oprname) end as less
  from typed k
  left join pg_collation c on c.oid = k.sorting
  left join pg_namespace cn on cn.oid = c.collnamespace
  left join pg_amop m on m.amopfamily = k.opcfamily and m.amoplefttype = k.opcintype
       and m.amoprighttype = k.opcintype and m.amopstrategy = 1 and k.strategy <> 'h'
  left join pg_operator op on op.oid = m.amopopr
  left join pg_namespace opn on opn.oid = op.oprnamespace
 order by k.partrelid, k.place
