-- What is recorded about tables that are still there, under the name that was recorded.
select r.relation, r.schema_name, r.table_name, r.set_schema, r.set_name, r.parent_schema, r.parent_name,
       r.bound::text as bound, r.origin, r.state, c.relispartition as attached,
       (extract(epoch from r.since) * 1000000)::bigint as since,
       (extract(epoch from r.drop_after) * 1000000)::bigint as drop_after,
       r.archive_path, r.archive_sha256, coalesce(r.legal_hold, false) as legal_hold, r.unit
  from :parts r
  join pg_class c on c.oid = r.relation and c.relname::text = r.table_name
  join pg_namespace n on n.oid = c.relnamespace and n.nspname::text = r.schema_name
 order by r.schema_name, r.table_name
