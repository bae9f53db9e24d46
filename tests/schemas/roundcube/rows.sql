INSERT INTO users (username, mail_host, language, preferences)
SELECT 'user' || n, 'mail.example.org', 'de_DE', 'a:' || n || ':{}' FROM generate_series(1, 5) n;
INSERT INTO identities (user_id, name, email, "reply-to", signature)
SELECT u, 'Name ' || i, 'n' || i || '@example.org', NULL, E'--\n\t' || repeat('ä€🙂', i) FROM generate_series(1, 5) u, generate_series(1, 3) i;
INSERT INTO responses (user_id, name, data) SELECT u, 'r' || i, repeat('x', i * 3000) FROM generate_series(1, 5) u, generate_series(1, 4) i;
INSERT INTO collected_addresses (user_id, name, email, type) SELECT u, 'c', i || '@example.org', i % 2 FROM generate_series(1, 5) u, generate_series(1, 40) i;
INSERT INTO contacts (user_id, name, email, vcard) SELECT u, 'contact ' || i, i || '@example.org', 'BEGIN:VCARD' || i FROM generate_series(1, 5) u, generate_series(1, 500) i;
INSERT INTO contactgroups (user_id, name) SELECT u, 'g' || i FROM generate_series(1, 5) u, generate_series(1, 3) i;
INSERT INTO contactgroupmembers (contactgroup_id, contact_id)
SELECT g.contactgroup_id, c.contact_id FROM contactgroups g JOIN contacts c USING (user_id) WHERE c.contact_id % 7 = 0;
INSERT INTO cache (user_id, cache_key, data) SELECT u, 'k' || i, md5(i::text) FROM generate_series(1, 5) u, generate_series(1, 50) i;
INSERT INTO cache_messages (user_id, mailbox, uid, data) SELECT u, 'INBOX', i, md5(i::text) FROM generate_series(1, 5) u, generate_series(1, 200) i;
INSERT INTO dictionary (user_id, language, data) SELECT u, 'de', 'words' FROM generate_series(1, 5) u;
INSERT INTO dictionary (user_id, language, data) VALUES (NULL, 'en', 'of everybody');
INSERT INTO searches (user_id, name, data) SELECT u, 's' || i, '{}' FROM generate_series(1, 5) u, generate_series(1, 3) i;
INSERT INTO filestore (user_id, context, filename, mtime, data) SELECT u, 'c', 'f' || i, i, repeat(md5(i::text), 4000) FROM generate_series(1, 5) u, generate_series(1, 3) i;
