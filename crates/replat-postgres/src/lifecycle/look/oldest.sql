-- The oldest transaction of anybody else in this database, prepared ones among them. A role sees the times of its own
-- sessions only, unless it has pg_read_all_stats; prepared transactions are seen by all.
select t.pid, (extract(epoch from clock_timestamp() - t.since) * 1000)::bigint as age_ms, t.who
  from (
    select a.pid, a.xact_start as since,
           concat_ws(' ', a.usename, nullif(a.application_name, ''), host(a.client_addr)) as who
      from pg_stat_activity a
     where a.datname = current_database() and a.pid <> pg_backend_pid()
       and a.backend_type not in ('autovacuum worker', 'parallel worker')
    union all
    select 0, p.prepared, concat_ws(' ', p.owner, 'prepared transaction', p.gid)
      from pg_prepared_xacts p
     where p.database = current_database()
  ) t
 where t.since is not null
 order by t.since
 limit 1
