-- The names of all relations and types of the schemas $1.
select n.nspname::text as schema_name, array_agg(t.name::text) as names
  from (
    select c.relnamespace as namespace, c.relname as name from pg_class c
    union
    select t.typnamespace, t.typname from pg_type t
  ) t
  join pg_namespace n on n.oid = t.namespace
 where n.nspname = any ($1::text[])
 group by n.nspname
