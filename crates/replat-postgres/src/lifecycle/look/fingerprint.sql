-- A digest of all partitioned tables and partitions: it changes when one comes, goes, is renamed, changes its bounds or
-- its parent, or when a detach of it begins. Hashes are chained by their seeds, and added up by bit_xor, so that
-- nothing is sorted and no text is built.
select concat_ws('-',
  (select concat_ws('-', count(*), to_hex(bit_xor(
            hashtextextended(coalesce(c.relpartbound::text, ''), hashtextextended(c.relname::text,
              (c.oid::bigint << 32) | c.relnamespace::bigint)))))
     from pg_class c
    where (c.relispartition or c.relkind = 'p') and c.relkind in ('r', 'p', 'f')),
  (select to_hex(bit_xor(
            hashint8extended((i.inhrelid::bigint << 32) | i.inhparent::bigint, i.inhdetachpending::int)))
     from pg_partitioned_table p
     join pg_inherits i on i.inhparent = p.partrelid),
  -- Only of schemas with partitioned tables: others come and go.
  (select to_hex(bit_xor(hashtextextended(n.nspname::text, n.oid::bigint)))
     from pg_namespace n
    where n.oid in (select c.relnamespace from pg_partitioned_table p join pg_class c on c.oid = p.partrelid)))
