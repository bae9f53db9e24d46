-- Options hang on pools and subnets and carry no subnet_id of their own that fits: they stay.
SET "kea.disable_audit" = 'true';
INSERT INTO dhcp4_options (code, value, scope_id, pool_id)
SELECT 6, '\x01', 5, id FROM dhcp4_pool WHERE subnet_id = 1 ORDER BY id LIMIT 3;
