INSERT INTO website (website_id, name, domain, user_id)
SELECT ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, 'site ' || n, n || '.example', (SELECT user_id FROM "user" LIMIT 1)
FROM generate_series(1, 4) n;
INSERT INTO session (session_id, website_id, browser, country, city)
SELECT gen_random_uuid(), website_id, 'firefox', CASE n % 3 WHEN 0 THEN NULL WHEN 1 THEN 'DE' ELSE 'F' END, 'Köln ' || n
FROM website, generate_series(1, 100) n;
INSERT INTO website_event (event_id, website_id, session_id, url_path, url_query, page_title)
SELECT gen_random_uuid(), website_id, session_id, '/p/' || n, '', repeat('t', n) FROM session, generate_series(1, 5) n;
INSERT INTO event_data (event_data_id, website_id, website_event_id, event_key, number_value, data_type)
SELECT gen_random_uuid(), website_id, event_id, 'k', 1.5000, 2 FROM website_event;
INSERT INTO session_data (session_data_id, website_id, session_id, session_key, date_value, data_type)
SELECT gen_random_uuid(), website_id, session_id, 'k', now(), 4 FROM session;
INSERT INTO report (report_id, user_id, website_id, type, name, description, parameters)
SELECT gen_random_uuid(), user_id, website_id, 'funnel', 'r', '', '{"a": [1, 2]}' FROM website;
