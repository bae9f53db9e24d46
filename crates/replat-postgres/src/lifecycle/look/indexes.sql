-- The indexes of the tables $1, each with the index of the parent that it is attached to.
select i.indexrelid as id, i.indrelid as relation, x.relname::text as name,
       h.inhparent as parent,
       i.indisvalid and i.indisready as valid,
       exists (select from pg_constraint c where c.conindid = i.indexrelid and c.contype in ('p', 'u', 'x'))
         as constrained,
       case when x.relkind = 'i' then pg_stat_get_numscans(i.indexrelid) end as scans
  from pg_index i
  join pg_class x on x.oid = i.indexrelid
  left join pg_inherits h on h.inhrelid = i.indexrelid
 where i.indrelid = any ($1::oid[])
 order by x.relname
