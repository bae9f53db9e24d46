-- What a database's catalogue says, as the JSON of DatabaseFacts.
--
-- $1 the schema, $2 the tables or null for all, $3 whether session_replication_role can be set. Runs with nothing
-- but pg_catalog in the search path, so that the names of users' types come with their schema.
with
relation as materialized (
  select c.oid, c.relname, c.relkind, c.relpersistence, c.relispartition, c.relowner, c.relacl, c.relrowsecurity, c.reltuples,
         c.relreplident, n.nspname
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
   where n.nspname = $1::text and c.relkind in ('r', 'p', 'f', 'v', 'm')
),
asked as materialized (
  select * from relation where $2::text[] is null or relname::text = any ($2::text[])
),
-- What the leaves of a partitioned table agree on; the table itself where there are none.
identity as (
  select a.oid,
         coalesce((select case when count(distinct leaf.relreplident) = 1 then min(leaf.relreplident::text) else 'n' end
                     from pg_partition_tree(a.oid) tree
                     join pg_class leaf on leaf.oid = tree.relid
                    where tree.isleaf and a.relkind = 'p'
                   having count(*) > 0), a.relreplident::text) as kind
    from asked a
),
index_columns as (
  select i.indexrelid, i.indrelid, i.indisprimary, i.indisreplident,
         coalesce((select jsonb_agg(a.attname order by k.place)
                     from unnest(i.indkey::int2[]) with ordinality k (number, place)
                     join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
                    where k.place <= i.indnkeyatts), '[]') as names
    from pg_index i
   where i.indrelid in (select oid from asked)
),
column_facts as (
  select a.attrelid,
         jsonb_agg(jsonb_build_object(
           'name', a.attname,
           'number', a.attnum,
           'type_name', format_type(a.atttypid, a.atttypmod),
           -- With a modifier of -1 the type is spelled so that it can be used as it is: bpchar, not character.
           'base_type', case when base.is_builtin then format_type(base.oid, -1) end,
           'type_kind', case
             when t.typtype = 'e' then jsonb_build_object('enum',
               (select coalesce(jsonb_agg(e.enumlabel order by e.enumsortorder), '[]') from pg_enum e
                 where e.enumtypid = t.oid))
             when t.typtype = 'd' and base.is_builtin then '"domain"'
             when base.is_builtin then '"builtin"'
             else '"other"' end,
           -- From PostgreSQL 18 on a column may refuse null from now on, and hold some from before.
           'not_null', a.attnotnull and not exists
             (select from pg_constraint said
               where said.conrelid = a.attrelid and said.contype = 'n' and said.conkey = array[a.attnum]
                 and not said.convalidated),
           'default', case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end,
           'generated', case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end,
           'identity', case a.attidentity when 'a' then 'always' when 'd' then 'by_default' end,
           -- The column's own, or else one that its default draws from, which may serve many tables.
           'sequence', coalesce(
             pg_get_serial_sequence(format('%I.%I', r.nspname, r.relname), a.attname),
             -- Without a default nothing is drawn, and no sequence need be looked at.
             case when d.oid is not null then (select format('%I.%I', sn.nspname, s.relname)
                from pg_class s
                join pg_namespace sn on sn.oid = s.relnamespace
               where s.relkind = 'S'
                 and (s.oid in (select used.refobjid from pg_depend used
                                 where used.classid = 'pg_attrdef'::regclass and used.objid = d.oid
                                   and used.refclassid = 'pg_class'::regclass)
                      or s.oid = coalesce(to_regclass(named.sequence),
                                          to_regclass(quote_ident(r.nspname) || '.' || named.sequence)))
               order by s.oid limit 1) end),
           -- A value of at most 24 bytes is never moved out of its row; some types are always that short.
           'toastable', a.attstorage <> 'p' and a.attlen = -1 and case
             when a.atttypmod < 4 then true
             when a.atttypid = 'numeric'::regtype then ((a.atttypmod - 4) >> 16) & 65535 > 28
             when a.atttypid in ('varchar'::regtype, 'bpchar'::regtype)
               then (a.atttypmod - 4) * pg_encoding_max_length(own.encoding) > 20
             else true end,
           'collated', a.attcollation <> 0,
           'deterministic', coalesce(collation_used.collisdeterministic, true)
         ) order by a.attnum) as facts
    from asked r
    join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid
    join pg_database own on own.datname = current_database()
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    -- A name that is given as text is looked up at every call, so the catalogue does not know of it.
    cross join lateral (
      select substring(pg_get_expr(d.adbin, d.adrelid) from 'nextval\(+''([^'']+)''::text\)') as sequence
    ) named
    left join pg_collation collation_used on collation_used.oid = a.attcollation
    cross join lateral (
      with recursive beneath as (
        select t.oid, t.typtype, t.typbasetype, t.typnamespace
        union all
        select b.oid, b.typtype, b.typbasetype, b.typnamespace
          from beneath join pg_type b on b.oid = beneath.typbasetype
         where beneath.typtype = 'd'
      )
      -- Types that came with the server have oids below 16384; an extension may put its own into pg_catalog.
      select oid, typtype in ('b', 'r', 'm') and typnamespace = 'pg_catalog'::regnamespace and oid < 16384 as is_builtin
        from beneath
       where typtype <> 'd'
    ) base
   group by a.attrelid
),
index_facts as (
  select c.indrelid,
         jsonb_agg(jsonb_build_object(
           'name', x.relname,
           'columns', c.names,
           -- A key WITHOUT OVERLAPS keeps more than equal values apart, and a conflict with it cannot be named.
           'unique', i.indisunique and not i.indisexclusion,
           'partial', i.indpred is not null,
           'expression', i.indexprs is not null,
           'deferrable', not i.indimmediate,
           'valid', i.indisvalid and i.indisready,
           'backs_constraint', exists (select from pg_constraint k
                                        where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')),
           'definition', coalesce(substring(pg_get_indexdef(i.indexrelid) from ' USING (.*)$'), '')
         ) order by x.relname) as facts
    from index_columns c
    join pg_index i on i.indexrelid = c.indexrelid
    join pg_class x on x.oid = c.indexrelid
   group by c.indrelid
),
constraint_facts as (
  select conrelid,
         jsonb_agg(jsonb_build_object('name', conname, 'definition', pg_get_constraintdef(oid)) order by conname)
           as facts
    from pg_constraint
   where conrelid in (select oid from asked) and contype in ('c', 'x')
   group by conrelid
),
-- Foreign keys, with the tables by whose names their ends are known: a leaf goes by the name of its root. One that every
-- leaf has for itself counts once.
foreign_keys as (
  select distinct on (e.child, e.parent, k.conname) e.child, e.parent, k.*
    from pg_constraint k
    cross join lateral (
      select coalesce(pg_partition_root(k.conrelid), k.conrelid)::oid as child,
             coalesce(pg_partition_root(k.confrelid), k.confrelid)::oid as parent
    ) e
   where k.contype = 'f' and k.conparentid = 0 and (e.child in (select oid from asked) or e.parent in (select oid from asked))
   order by e.child, e.parent, k.conname, k.oid
),
foreign_key_facts as (
  select k.child,
         jsonb_agg(jsonb_build_object(
           'name', k.conname,
           'columns', (select jsonb_agg(a.attname order by u.place)
                         from unnest(k.conkey) with ordinality u (number, place)
                         join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.number),
           'ref_schema', n.nspname,
           'ref_table', c.relname,
           'ref_columns', (select jsonb_agg(a.attname order by u.place)
                             from unnest(k.confkey) with ordinality u (number, place)
                             join pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.number),
           'on_delete_cascade', k.confdeltype = 'c',
           'on_update_cascade', k.confupdtype = 'c'
         ) order by k.conname) as facts
    from foreign_keys k
    join pg_class c on c.oid = k.parent
    join pg_namespace n on n.oid = c.relnamespace
   where k.child in (select oid from asked)
   group by k.child
),
reference_facts as (
  select k.parent,
         jsonb_agg(jsonb_build_object('name', k.conname, 'schema', n.nspname, 'table', c.relname)
                   order by n.nspname, c.relname, k.conname) as facts
    from foreign_keys k
    join pg_class c on c.oid = k.child
    join pg_namespace n on n.oid = c.relnamespace
   where k.parent in (select oid from asked)
   group by k.parent
),
trigger_facts as (
  select g.tgrelid,
         jsonb_agg(jsonb_build_object(
           'name', g.tgname,
           'enabled', case g.tgenabled when 'O' then 'origin' when 'R' then 'replica' when 'A' then 'always'
                                       else 'disabled' end,
           'definition', pg_get_triggerdef(g.oid)
         ) order by g.tgname) as facts
    from pg_trigger g
    join pg_proc p on p.oid = g.tgfoid
   where g.tgrelid in (select oid from asked) and not g.tgisinternal
     -- replat's own guards.
     and p.pronamespace is distinct from to_regnamespace('replat')
   group by g.tgrelid
),
-- Sequences that no column draws from: an application may.
free_sequences as (
  select jsonb_agg(jsonb_build_object('name', c.relname, 'qualified', format('%I.%I', n.nspname, c.relname), 'max', s.seqmax) order by c.relname) as facts
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_sequence s on s.seqrelid = c.oid
   where n.nspname = $1::text
     -- Asked of sequences alone, in whatever order the conditions are tried.
     and case when c.relkind = 'S'
              then has_sequence_privilege(c.oid, 'SELECT') and has_sequence_privilege(c.oid, 'UPDATE') end
     and not exists (select from pg_depend p
                      where (p.classid, p.objid) = ('pg_class'::regclass, c.oid) and p.deptype in ('a', 'i'))
     and not exists (select from pg_depend p
                      where (p.refclassid, p.refobjid) = ('pg_class'::regclass, c.oid)
                        and p.classid = 'pg_attrdef'::regclass)
),
table_facts as (
  select jsonb_agg(jsonb_build_object(
           'schema', r.nspname,
           'name', r.relname,
           'kind', case r.relkind when 'r' then 'ordinary' when 'p' then 'partitioned' when 'f' then 'foreign'
                                  when 'v' then 'view' else 'materialized_view' end,
           'partition_root', case when r.relispartition then
             (select relname from pg_class where oid = pg_partition_root(r.oid)) end,
           'unlogged', r.relpersistence = 'u',
           'inherits', not r.relispartition and r.relkind <> 'p' and exists
             (select from pg_inherits i where r.oid in (i.inhrelid, i.inhparent)),
           'owner', pg_get_userbyid(r.relowner),
           'owned', pg_has_role(r.relowner, 'usage'),
           'row_security', r.relrowsecurity,
           'rows_hidden', row_security_active(r.oid),
           'subscribed', exists (select from pg_subscription_rel s where s.srrelid = r.oid),
           'grants', coalesce((select jsonb_object_agg(granted.role, granted.rights) from
             (select coalesce(g.rolname, 'PUBLIC') as role,
                     jsonb_agg(distinct acl.privilege_type order by acl.privilege_type) as rights
                from aclexplode(coalesce(r.relacl, acldefault('r', r.relowner))) acl
                left join pg_roles g on g.oid = acl.grantee
               where acl.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE') and g.rolsuper is not true
               group by 1) granted), '{}'),
           'columns', coalesce(c.facts, '[]'),
           'primary_key', coalesce((select names from index_columns x where x.indrelid = r.oid and x.indisprimary), '[]'),
           'replica_identity', case d.kind
             when 'd' then '"default"'
             when 'f' then '"full"'
             when 'i' then coalesce((select jsonb_build_object('index', names) from index_columns x
                                      where x.indrelid = r.oid and x.indisreplident), '"nothing"')
             else '"nothing"' end,
           'indexes', coalesce(x.facts, '[]'),
           'constraints', coalesce(k.facts, '[]'),
           'foreign_keys', coalesce(f.facts, '[]'),
           'referenced_by', coalesce(b.facts, '[]'),
           'triggers', coalesce(g.facts, '[]'),
           'rows_estimate', case when r.relkind = 'p' then
               (select coalesce(sum(greatest(leaf.reltuples, 0)), 0)::bigint from pg_partition_tree(r.oid) tree
                  join pg_class leaf on leaf.oid = tree.relid where tree.isleaf)
             else greatest(r.reltuples, 0)::bigint end,
           'bytes', case when r.relkind = 'p' then
               (select coalesce(sum(pg_total_relation_size(relid)), 0)::bigint from pg_partition_tree(r.oid))
             else coalesce(pg_total_relation_size(r.oid), 0) end
         ) order by r.relname) as facts
    from asked r
    join identity d on d.oid = r.oid
    left join column_facts c on c.attrelid = r.oid
    left join index_facts x on x.indrelid = r.oid
    left join constraint_facts k on k.conrelid = r.oid
    left join foreign_key_facts f on f.child = r.oid
    left join reference_facts b on b.parent = r.oid
    left join trigger_facts g on g.tgrelid = r.oid
)
select jsonb_build_object(
         'system_id', (select system_identifier::text from pg_control_system()),
         'database_name', current_database(),
         'schema', $1::text,
         'schema_exists', to_regnamespace(quote_ident($1::text)) is not null,
         'version_num', current_setting('server_version_num')::int,
         'major', current_setting('server_version_num')::int / 10000,
         'encoding', current_setting('server_encoding'),
         'wal_level', current_setting('wal_level'),
         'max_replication_slots', current_setting('max_replication_slots')::int,
         'slots_used', (select count(*) from pg_replication_slots),
         'max_wal_senders', current_setting('max_wal_senders')::int,
         'senders_used', (select count(*) from pg_stat_replication),
         -- Its text is a number with a unit, as an interval may be written. Older servers have no such setting.
         'slot_idle_max_s',
           extract(epoch from coalesce(current_setting('idle_replication_slot_timeout', true), '0')::interval)::bigint,
         'standbys', (select count(*) from pg_replication_slots where slot_type = 'physical'),
         'role', current_user,
         'is_superuser', own.rolsuper,
         -- On managed services a role stands for the attribute.
         'can_replicate', own.rolsuper or own.rolreplication or exists
           (select from pg_roles r where r.rolname = 'rds_replication' and pg_has_role(r.oid, 'member')),
         'log_readers', (select min(rolname::text) from pg_roles where rolname = 'rds_replication'),
         'can_use_schema', coalesce(has_schema_privilege(to_regnamespace(quote_ident($1::text))::oid, 'USAGE'), true),
         'can_create', has_database_privilege(current_database(), 'CREATE'),
         'can_skip_triggers', $3::bool,
         'prepared_transactions', (select count(*) from pg_prepared_xacts where database = current_database()),
         'relations', (select coalesce(jsonb_agg(relname order by relname), '[]') from relation where not relispartition),
         'free_sequences', coalesce((select facts from free_sequences), '[]'),
         'tables', coalesce((select facts from table_facts), '[]')
       )::text
  from pg_roles own
 where own.rolname = current_user
