-- How rows of other tables are joined to the rows that they refer to, of foreign keys to the tables $1.
select con.confrelid as to_id, fn.nspname::text as from_schema, f.relname::text as from_table,
       has_table_privilege(f.oid, 'SELECT') and has_schema_privilege(fn.oid, 'USAGE') as readable,
       (select string_agg(format('p.%I OPERATOR(%I.%s) f.%I', ta.attname, opn.nspname, op.oprname, fa.attname), ' and ')
          from unnest(con.conkey, con.confkey, con.conpfeqop) k (own, other, operator)
          join pg_attribute fa on fa.attrelid = con.conrelid and fa.attnum = k.own
          join pg_attribute ta on ta.attrelid = con.confrelid and ta.attnum = k.other
          join pg_operator op on op.oid = k.operator
          join pg_namespace opn on opn.oid = op.oprnamespace) as condition
  from pg_constraint con
  join pg_class f on f.oid = con.conrelid
  join pg_namespace fn on fn.oid = f.relnamespace
 where con.contype = 'f' and con.conparentid = 0 and con.confrelid = any ($1::oid[])
