SELECT pgboss.create_queue(q, '{"policy": "standard", "retryLimit": 3}') FROM unnest(ARRAY['mail', 'Bills & "more"', 'idle']) q;
INSERT INTO pgboss.job (name, data, state, priority, singleton_key)
SELECT q.name, jsonb_build_object('n', n, 'text', repeat('ü', n)), (enum_range(NULL::pgboss.job_state))[1 + n % 6], n % 5, NULL
FROM pgboss.queue q, generate_series(1, 400) n;
INSERT INTO pgboss.archive (id, name, data, state, priority, retry_limit, retry_count, retry_delay, retry_backoff,
                            start_after, expire_in, created_on, keep_until)
SELECT gen_random_uuid(), q.name, '{}', 'completed', 0, 2, 0, 0, false, now(), '15 min', now(), now() FROM pgboss.queue q, generate_series(1, 50);
INSERT INTO pgboss.schedule (name, cron) SELECT name, '* * * * *' FROM pgboss.queue;
INSERT INTO pgboss.subscription (event, name) SELECT 'e' || n, name FROM pgboss.queue, generate_series(1, 3) n;
