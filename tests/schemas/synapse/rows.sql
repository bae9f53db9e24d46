INSERT INTO destinations (destination, retry_last_ts, retry_interval) SELECT 'd' || n || '.example', 0, 0 FROM generate_series(1, 5) n;
INSERT INTO access_tokens (id, user_id, token) SELECT n, '@a:example.org', 't' || n FROM generate_series(1, 5) n;
