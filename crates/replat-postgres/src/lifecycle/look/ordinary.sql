-- The relations with the identities $1, as a conversion needs to know them.
select c.oid,
       n.nspname::text as schema_name,
       c.relname::text as table_name,
       c.relkind::text as kind,
       c.relpersistence = 't' as temporary,
       (select array[pn.nspname::text, p.relname::text]
          from pg_inherits i
          join pg_class p on p.oid = i.inhparent
          join pg_namespace pn on pn.oid = p.relnamespace
         where i.inhrelid = c.oid order by i.inhseqno limit 1) as parent,
       exists (select from pg_inherits i where i.inhparent = c.oid) as inherited,
       pg_get_userbyid(c.relowner)::text as owner,
       current_user::text as me,
       pg_has_role(c.relowner, 'USAGE') as owns,
       has_schema_privilege(n.oid, 'CREATE') as may_create,
       case when c.reltuples >= 0 then c.reltuples::bigint end as rows,
       case when c.relkind in ('r', 'm') then pg_total_relation_size(c.oid) else 0 end as bytes,
       (1 + (select count(*) from pg_index x where x.indrelid = c.oid)
          + case when c.reltoastrelid <> 0 then 2 else 0 end)::integer as relations
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'v', 'm', 'f') and format('%s.%s', n.nspname, c.relname) = any ($1::text[])
 order by 2, 3
