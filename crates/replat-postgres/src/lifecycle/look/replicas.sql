-- Physical standbys, and other readers of the log that keep it as they do.
--
-- A sender that is bound to a logical slot is a subscription or a copy of ours, which has its own flow control; one
-- that takes a base backup is none either. A role that may not see the details gets a name and nulls.
select coalesce(nullif(s.application_name, ''), 'process ' || s.pid)::text as name,
       s.state is null as hidden,
       case when not pg_is_in_recovery() then
         greatest(0, pg_current_wal_lsn() - coalesce(s.replay_lsn, s.flush_lsn, s.write_lsn, s.sent_lsn))
       end::bigint as lag_bytes,
       -- What the server measured last, which stands still when a standby hangs; then its silence counts, beyond the
       -- ten seconds between the reports of an idle standby.
       (extract(epoch from greatest(s.replay_lag, clock_timestamp() - s.reply_time - interval '10 s', interval '0'))
         * 1000)::bigint as busy_lag_ms,
       s.replay_lag is not null as measured
  from pg_stat_replication s
 where not exists (select from pg_replication_slots l where l.active_pid = s.pid and l.slot_type = 'logical')
   and (s.state is null or s.state in ('streaming', 'catchup'))
 order by 1
