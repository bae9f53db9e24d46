INSERT INTO pgbench_history (tid, bid, aid, delta, mtime)
SELECT b * 10, b, b * 100000, n, now() FROM generate_series(1, 4) b, generate_series(1, 50) n;
