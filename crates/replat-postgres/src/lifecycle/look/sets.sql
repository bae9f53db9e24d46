-- Every partitioned table that is not a partition, and what this role may not do with it.
select c.oid,
       n.nspname::text as schema_name,
       c.relname::text as table_name,
       pg_get_userbyid(c.relowner)::text as owner,
       current_user::text as me,
       pg_has_role(c.relowner, 'USAGE') as owns,
       has_schema_privilege(n.oid, 'USAGE') as may_use,
       has_schema_privilege(n.oid, 'CREATE') as may_create
  from pg_partitioned_table p
  join pg_class c on c.oid = p.partrelid
  join pg_namespace n on n.oid = c.relnamespace
 where not c.relispartition and c.relpersistence <> 't'
 order by n.nspname, c.relname
