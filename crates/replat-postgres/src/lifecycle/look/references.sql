-- Foreign keys from and to the tables $1, without the copies that partitions have of those of their parents.
select con.conname::text as name,
       con.conrelid as from_id, fn.nspname::text as from_schema, f.relname::text as from_table,
       con.confrelid as to_id, tn.nspname::text as to_schema, t.relname::text as to_table,
       pg_get_constraintdef(con.oid) as definition
  from pg_constraint con
  join pg_class f on f.oid = con.conrelid
  join pg_namespace fn on fn.oid = f.relnamespace
  join pg_class t on t.oid = con.confrelid
  join pg_namespace tn on tn.oid = t.relnamespace
 where con.contype = 'f' and con.conparentid = 0
   and (con.conrelid = any ($1::oid[]) or con.confrelid = any ($1::oid[]))
 order by con.conname, con.oid
