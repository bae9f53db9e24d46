-- The sets $1 with all their partitions, at any depth, in one pass over the catalogue.
--
-- pg_get_expr gets no relation: a bound has no columns, and without one the partition is neither opened nor locked.
-- For the same reason the tree is not asked of pg_partition_tree, which locks every table of it.
with recursive tree as (
  select c.oid, c.oid as root, 0::oid as parent, false as pending
    from pg_class c
   where c.oid = any ($1::oid[])
  union all
  select i.inhrelid, t.root, t.oid, i.inhdetachpending
    from tree t
    join pg_inherits i on i.inhparent = t.oid
)
select t.oid, t.root, t.parent, t.pending,
       n.nspname::text as schema_name,
       c.relname::text as table_name,
       c.relkind::text as kind,
       pg_get_expr(c.relpartbound, 0) as bound,
       c.reltuples,
       case when c.relkind = 'r' then pg_stat_get_live_tuples(c.oid) end as live,
       case when c.relkind = 'r' then pg_stat_get_tuples_inserted(c.oid) end as inserted,
       c.relpages,
       (c.relpages + coalesce(ix.pages, 0) + coalesce(toast.relpages, 0))::bigint as pages,
       c.reltoastrelid <> 0 as has_toast,
       pg_get_userbyid(c.relowner)::text as owner,
       -- What the owner has by himself is the same, written down or not.
       case when c.relacl is null or (c.relacl @> acldefault('r', c.relowner) and c.relacl <@ acldefault('r', c.relowner))
            then 'default' else (
         select coalesce(string_agg(item::text, ', ' order by item::text), 'none') from unnest(c.relacl) item
       ) end as privileges,
       case c.relreplident when 'd' then 'primary key' when 'n' then 'nothing' when 'f' then 'full'
                           when 'i' then 'an index' end as identity,
       case when c.reloptions is not null then
         (select string_agg(o, ', ' order by o) from unnest(c.reloptions) o) end as options,
       case when toast.reloptions is not null then
         (select string_agg(o, ', ' order by o) from unnest(toast.reloptions) o) end as toast_options,
       coalesce(space.spcname::text, 'default') as tablespace,
       case c.relpersistence when 'u' then 'unlogged' else 'logged' end as persistence,
       case when c.relforcerowsecurity then 'forced' when c.relrowsecurity then 'on' else 'off' end as row_security
  from tree t
  join pg_class c on c.oid = t.oid
  join pg_namespace n on n.oid = c.relnamespace
  left join (
    select i.indrelid, sum(x.relpages) as pages
      from pg_index i join pg_class x on x.oid = i.indexrelid
     group by i.indrelid
  ) ix on ix.indrelid = t.oid
  left join pg_class toast on toast.oid = c.reltoastrelid
  left join pg_tablespace space on space.oid = c.reltablespace
