-- The names of all relations and types of the schemas $1. A table's row type has its name, and an array type gives
-- way by itself, so neither counts.
select n.nspname::text as schema_name, array_agg(t.name::text) as names
  from (
    select c.relnamespace as namespace, c.relname as name from pg_class c
    union all
    select t.typnamespace, t.typname from pg_type t where t.typrelid = 0 and t.typcategory <> 'A'
  ) t
  join pg_namespace n on n.oid = t.namespace
 where n.nspname = any ($1::text[])
 group by n.nspname
