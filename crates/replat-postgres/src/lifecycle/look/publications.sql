-- The publications of which the tables $1 are members: all of them, by their schema, or by name.
select p.pubname::text as name, p.pubviaroot as via_root, c.oid as relation
  from pg_class c
  join pg_publication p on p.puballtables
 where c.oid = any ($1::oid[]) and c.relpersistence = 'p' and c.relkind in ('r', 'p')
union
select p.pubname::text, p.pubviaroot, c.oid
  from pg_class c
  join (select pnnspid as schema, pnpubid as publication from pg_publication_namespace) s
    on s.schema = c.relnamespace
  join pg_publication p on p.oid = s.publication
 where c.oid = any ($1::oid[]) and c.relpersistence = 'p' and c.relkind in ('r', 'p')
union
select p.pubname::text, p.pubviaroot, r.prrelid
  from pg_publication_rel r
  join pg_publication p on p.oid = r.prpubid
 where r.prrelid = any ($1::oid[])
 order by 1, 3
