-- What makes the indexes $1 alike: method, keys by the names of their columns, what each key is compared by, what is
-- included, for which rows, and how nulls count. Two with the same text can be attached to one another.
--
-- Whether nulls are distinct is asked by way of JSON, since 14 has no such column.
select i.indexrelid as id,
       concat_ws(' | ', am.amname, i.indisunique, i.indnkeyatts, i.indclass, i.indcollation, i.indoption,
         (select string_agg(pg_get_indexdef(i.indexrelid, k, false), ', ' order by k)
            from generate_series(1, i.indnatts) k),
         coalesce(pg_get_expr(i.indpred, i.indrelid), 'all rows'),
         coalesce(to_jsonb(i) ->> 'indnullsnotdistinct', 'false')) as shape
  from pg_index i
  join pg_class x on x.oid = i.indexrelid
  join pg_am am on am.oid = x.relam
 where i.indexrelid = any ($1::oid[])
