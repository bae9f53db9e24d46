SELECT graphile_worker.add_job(t, json_build_object('n', n, 'text', repeat('ü', n % 50)), 'queue ' || n % 3, job_key => t || n)
FROM unnest(ARRAY['mail', 'bill', 'idle']) t, generate_series(1, 200) n;
UPDATE graphile_worker._private_jobs SET locked_at = now(), locked_by = 'w', flags = '{"a": true}' WHERE id % 5 = 0;
