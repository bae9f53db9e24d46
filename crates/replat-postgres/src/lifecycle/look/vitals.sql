-- How the server and this database are doing. Every source here is open to any role; what it hides is null.
select (select oid from pg_database where datname = current_database()) as database_oid,
       current_database()::text as database,
       current_setting('server_version')::text as version,
       (extract(epoch from clock_timestamp()) * 1000000)::bigint as now,
       -- Sessions that only show are read-only by their own wish, which says nothing of the database.
       pg_is_in_recovery() or (current_setting('default_transaction_read_only') = 'on'
         and coalesce(current_setting('replat.shows', true), '') <> 'on') as read_only,
       -- Backends of all databases, background processes among them: what max_connections is up against.
       (select sum(pg_stat_get_db_numbackends(oid)) from pg_database)::bigint as sessions,
       greatest(0, current_setting('max_connections')::bigint
         - current_setting('superuser_reserved_connections')::bigint
         - coalesce(current_setting('reserved_connections', true)::bigint, 0)) as sessions_max,
       (select count(*) from pg_class) as relations,
       current_setting('max_locks_per_transaction')::bigint
         * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint)
         as lock_room,
       (case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end
         - '0/0'::pg_lsn)::bigint as log_bytes,
       has_function_privilege('pg_control_system()', 'EXECUTE') as may_identify
