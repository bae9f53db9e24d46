-- Partitions that have no part of the index $1, outermost level only: what they lack, and what equal index they have.
WITH above AS (
  SELECT x.indexrelid, x.indrelid, x.indisunique, i.relname AS index_name, n.nspname AS index_schema,
    pg_catalog.substr(pg_catalog.pg_get_indexdef(x.indexrelid), pg_catalog.length(pg_catalog.format(
      'CREATE %sINDEX %I ON ONLY %I.%I ', CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END,
      i.relname, n.nspname, t.relname)) + 1) AS rest,
    CASE k.contype WHEN 'p' THEN 'PRIMARY KEY' WHEN 'u' THEN 'UNIQUE' END AS word,
    pg_catalog.pg_get_constraintdef(k.oid) AS definition
  FROM pg_catalog.pg_index x
    JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
    LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid
      AND k.contype IN ('p', 'u')
  WHERE x.indexrelid = pg_catalog.to_regclass($1)
), below AS (
  SELECT c.oid, n.nspname, c.relname, c.relkind
  FROM above a
    JOIN pg_catalog.pg_inherits h ON h.inhparent = a.indrelid
    JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid AND c.relkind IN ('r', 'p')
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
), own AS (
  SELECT b.oid AS relid, x.indexrelid, x.indisvalid, x.indisunique, i.relname, o.conname IS NOT NULL AS carries,
    h.inhparent,
    pg_catalog.substr(pg_catalog.pg_get_indexdef(x.indexrelid), pg_catalog.length(pg_catalog.format(
      'CREATE %sINDEX %I ON %s%I.%I ', CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END,
      i.relname, CASE WHEN i.relkind = 'I' THEN 'ONLY ' ELSE '' END, b.nspname, b.relname)) + 1) AS rest
  FROM below b
    JOIN pg_catalog.pg_index x ON x.indrelid = b.oid
    JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    LEFT JOIN pg_catalog.pg_constraint o ON o.conindid = x.indexrelid AND o.conrelid = x.indrelid
      AND o.contype IN ('p', 'u')
    LEFT JOIN pg_catalog.pg_inherits h ON h.inhrelid = x.indexrelid
)
SELECT b.nspname::text, b.relname::text, a.index_schema::text, a.index_name::text, a.rest, a.indisunique, a.word,
  b.relkind = 'p', e.relname::text, e.indisvalid, e.carries, a.definition
FROM above a CROSS JOIN below b
  LEFT JOIN LATERAL (
    SELECT o.relname, o.indisvalid, o.carries FROM own o
    WHERE o.relid = b.oid AND o.inhparent IS NULL AND o.rest = a.rest AND o.indisunique = a.indisunique
      -- A constraint's index serves a plain one, but not the other way round unless it can still become one.
    ORDER BY o.indisvalid DESC, (o.carries = (a.word IS NOT NULL)) DESC, o.indexrelid LIMIT 1
  ) e ON true
WHERE NOT EXISTS (
  SELECT FROM own o WHERE o.relid = b.oid AND o.inhparent = a.indexrelid AND o.indisvalid
)
ORDER BY b.nspname, b.relname
