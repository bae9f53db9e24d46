-- What many do who put several customers into one database: a column beside, told apart by the row's own data.
ALTER TABLE auth_user ADD COLUMN tenant_id integer;
UPDATE auth_user SET tenant_id = split_part(username, '@', 2)::integer;
ALTER TABLE auth_group ADD COLUMN tenant_id integer;
UPDATE auth_group SET tenant_id = right(name, 1)::integer;
ALTER TABLE auth_group_permissions ADD COLUMN tenant_id integer;
UPDATE auth_group_permissions p SET tenant_id = g.tenant_id FROM auth_group g WHERE g.id = p.group_id;
ALTER TABLE auth_user_groups ADD COLUMN tenant_id integer;
UPDATE auth_user_groups p SET tenant_id = u.tenant_id FROM auth_user u WHERE u.id = p.user_id;
ALTER TABLE auth_user_user_permissions ADD COLUMN tenant_id integer;
UPDATE auth_user_user_permissions p SET tenant_id = u.tenant_id FROM auth_user u WHERE u.id = p.user_id;
ALTER TABLE django_admin_log ADD COLUMN tenant_id integer;
INSERT INTO django_admin_log (action_time, object_id, object_repr, action_flag, change_message, content_type_id, user_id, tenant_id)
SELECT now(), n, 'row ' || n, 1 + n % 3, '[{"added": {}}]', (SELECT min(id) FROM django_content_type), u.id, u.tenant_id
FROM auth_user u, generate_series(1, 10) n;
ALTER TABLE django_session ADD COLUMN tenant_id integer;
INSERT INTO django_session (session_key, session_data, expire_date, tenant_id)
SELECT md5(t || 's' || n), repeat(md5(n::text), n), now() + interval '2 weeks', t FROM generate_series(1, 3) t, generate_series(1, 60) n;
