INSERT INTO domains (name, type, master) SELECT 'd' || n || '.example', 'NATIVE', '192.0.2.' || n FROM generate_series(1, 5) n;
INSERT INTO records (domain_id, name, type, content, ttl, prio, ordername, auth)
SELECT d, 'h' || n || '.d' || d || '.example', CASE n % 3 WHEN 0 THEN 'TXT' ELSE 'A' END,
       CASE n % 3 WHEN 0 THEN '"' || repeat('ü', n * 20) || '"' ELSE '192.0.2.1' END, 3600, NULL, 'h' || n, n % 2 = 0
FROM generate_series(1, 5) d, generate_series(1, 300) n;
INSERT INTO records (domain_id, name, type, content) VALUES (NULL, 'orphan.example', 'A', '192.0.2.9');
INSERT INTO comments (domain_id, name, type, modified_at, comment) SELECT d, 'd' || d || '.example', 'SOA', 1, 'c' || n FROM generate_series(1, 5) d, generate_series(1, 5) n;
INSERT INTO domainmetadata (domain_id, kind, content) SELECT d, 'ALSO-NOTIFY', '192.0.2.' || n FROM generate_series(1, 5) d, generate_series(1, 3) n;
INSERT INTO cryptokeys (domain_id, flags, active, content) SELECT d, 257, true, repeat('k', 900) FROM generate_series(1, 5) d;
INSERT INTO supermasters VALUES ('192.0.2.0/24', 'ns.example', 'a'), ('2001:db8::1', 'ns.example', 'b');
INSERT INTO tsigkeys (name, algorithm, secret) VALUES ('k', 'hmac-sha256', 'c2VjcmV0');
