-- What the catalogue says of tables with all their partitions, and of views. $1 and $2 are schemas and names, $3 is the
-- schema that tables are to move to. Runs with pg_catalog alone in the search path, so that every name is whole.
WITH RECURSIVE wanted AS (
  SELECT c.oid, NULL::oid AS parent, 0 AS depth, w.n AS place
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w(s, t, n)
  JOIN pg_namespace ns ON ns.nspname = w.s
  JOIN pg_class c ON c.relnamespace = ns.oid AND c.relname = w.t
), tree AS (
  SELECT * FROM wanted
  UNION ALL
  SELECT i.inhrelid, i.inhparent, t.depth + 1, t.place
  FROM pg_inherits i JOIN tree t ON t.oid = i.inhparent
), here AS (
  SELECT DISTINCT ON (t.oid) t.*, c.relname, c.relkind, c.relowner, c.relacl, c.relnamespace, c.reltype,
    c.relrowsecurity, n.nspname
  FROM tree t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
  -- A partition that was asked for by its own name is one all the same.
  ORDER BY t.oid, t.depth DESC
)
SELECT jsonb_build_object(
  'name', jsonb_build_object('schema', h.nspname, 'name', h.relname),
  'parent', (SELECT jsonb_build_object('schema', n.nspname, 'name', p.relname)
             FROM pg_class p JOIN pg_namespace n ON n.oid = p.relnamespace WHERE p.oid = h.parent),
  'is_view', h.relkind = 'v',
  'is_table', h.relkind IN ('r', 'p'),
  'definition', CASE WHEN h.relkind = 'v' THEN pg_get_viewdef(h.oid) END,
  'owner', pg_get_userbyid(h.relowner),
  'owned', pg_has_role(h.relowner, 'USAGE'),
  'owner_may_enter', COALESCE(
    (SELECT has_schema_privilege(h.relowner, n.oid, 'USAGE') FROM pg_namespace n WHERE n.nspname = $3), false),
  'row_security', h.relrowsecurity,
  'guarded', EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = h.oid AND t.tgname LIKE 'zz\_replat\_%'),
  'columns', COALESCE((
    SELECT jsonb_agg(jsonb_build_object(
      'name', a.attname,
      'type_name', format_type(a.atttypid, a.atttypmod),
      'default', CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
      'grants', COALESCE((
        SELECT jsonb_agg(jsonb_build_object('role', r.rolname, 'right', g.privilege_type, 'grantable', g.is_grantable)
                         ORDER BY r.rolname, g.privilege_type)
        FROM aclexplode(a.attacl) g LEFT JOIN pg_roles r ON r.oid = g.grantee WHERE g.grantee <> h.relowner), '[]')
      ) ORDER BY a.attnum)
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = h.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
  'grants', COALESCE((
    SELECT jsonb_agg(jsonb_build_object('role', r.rolname, 'right', g.privilege_type, 'grantable', g.is_grantable)
                     ORDER BY r.rolname, g.privilege_type)
    FROM aclexplode(h.relacl) g LEFT JOIN pg_roles r ON r.oid = g.grantee WHERE g.grantee <> h.relowner), '[]'),
  'triggers', COALESCE((
    SELECT jsonb_agg(t.tgname ORDER BY t.tgname) FROM pg_trigger t
    WHERE t.tgrelid = h.oid AND NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgname NOT LIKE 'zz\_replat\_%'), '[]'),
  'published', COALESCE((
    SELECT jsonb_agg(DISTINCT p.pubname ORDER BY p.pubname) FROM pg_publication_tables p
    WHERE p.schemaname = h.nspname AND p.tablename = h.relname), '[]'),
  'dependents', CASE WHEN h.relkind <> 'v' THEN '[]' ELSE COALESCE((
    SELECT jsonb_agg(DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid)) FROM pg_depend d
    WHERE (d.refclassid, d.refobjid) IN (
        VALUES ('pg_class'::regclass, h.oid), ('pg_type'::regclass, h.reltype),
               ('pg_type'::regclass, (SELECT t.typarray FROM pg_type t WHERE t.oid = h.reltype)))
      AND d.deptype = 'n'
      AND NOT (d.classid = 'pg_rewrite'::regclass
               AND EXISTS (SELECT 1 FROM pg_rewrite r WHERE r.oid = d.objid AND r.ev_class = h.oid))), '[]') END,
  'parts', COALESCE((
    SELECT jsonb_agg(c.relname ORDER BY c.relname) FROM pg_class c
    WHERE c.oid IN (SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = h.oid
                    UNION ALL
                    SELECT d.objid FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = h.oid AND d.deptype IN ('a', 'i')
                      AND EXISTS (SELECT 1 FROM pg_class s WHERE s.oid = d.objid AND s.relkind = 'S'))), '[]'),
  'statistics', COALESCE((
    SELECT jsonb_agg(s.stxname ORDER BY s.stxname) FROM pg_statistic_ext s
    WHERE s.stxrelid = h.oid AND s.stxnamespace = h.relnamespace), '[]'),
  'tree', CASE WHEN h.relkind = 'p' AND h.parent IS NULL THEN jsonb_build_object(
    'key', pg_get_partkeydef(h.oid),
    'columns', (
      SELECT jsonb_agg(jsonb_build_object('name', a.attname, 'definition', concat_ws(' ',
        format_type(a.atttypid, a.atttypmod),
        (SELECT 'COLLATE ' || quote_ident(n.nspname) || '.' || quote_ident(l.collname) FROM pg_collation l
         JOIN pg_namespace n ON n.oid = l.collnamespace JOIN pg_type t ON t.oid = a.atttypid
         WHERE l.oid = a.attcollation AND a.attcollation <> t.typcollation),
        CASE WHEN a.attgenerated = 's' THEN 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ') STORED'
             WHEN a.attgenerated = 'v' THEN 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ') VIRTUAL'
             ELSE 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) END,
        CASE WHEN a.attnotnull THEN 'NOT NULL' END)) ORDER BY a.attnum)
      FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE a.attrelid = h.oid AND a.attnum > 0 AND NOT a.attisdropped),
    'constraints', COALESCE((
      SELECT jsonb_agg(jsonb_build_object('name', k.conname, 'definition', pg_get_constraintdef(k.oid))
                       ORDER BY k.contype = 'f', k.conname)
      FROM pg_constraint k
      WHERE k.conrelid = h.oid AND k.conparentid = 0 AND k.contype IN ('c', 'p', 'u', 'x', 'f')), '[]'),
    'indexes', COALESCE((
      SELECT jsonb_agg(pg_get_indexdef(i.indexrelid) ORDER BY i.indexrelid) FROM pg_index i
      WHERE i.indrelid = h.oid AND NOT EXISTS (
        SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = h.oid)), '[]'),
    'partitions', COALESCE((
      SELECT jsonb_agg(jsonb_build_object(
          'name', jsonb_build_object('schema', n.nspname, 'name', c.relname),
          'bound', pg_get_expr(c.relpartbound, c.oid),
          'condition', COALESCE(pg_get_partition_constraintdef(c.oid), 'true'))
        ORDER BY pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT', n.nspname, c.relname)
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE i.inhparent = h.oid), '[]'),
    'sequences', COALESCE((
      SELECT jsonb_agg(jsonb_build_object('name', jsonb_build_object('schema', n.nspname, 'name', s.relname),
                                          'column', a.attname) ORDER BY n.nspname, s.relname)
      FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
      JOIN pg_namespace n ON n.oid = s.relnamespace
      JOIN pg_attribute a ON a.attrelid = h.oid AND a.attnum = d.refobjsubid
      WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = h.oid
        AND d.deptype = 'a'), '[]'),
    'comments', COALESCE((
      SELECT jsonb_agg(jsonb_build_object('column', a.attname, 'text', d.description) ORDER BY d.objsubid)
      FROM pg_description d LEFT JOIN pg_attribute a ON a.attrelid = h.oid AND a.attnum = d.objsubid AND a.attnum > 0
      WHERE d.classoid = 'pg_class'::regclass AND d.objoid = h.oid), '[]'),
    'ties', to_jsonb(ARRAY(
      SELECT 'a hash of the key says nothing to another table' FROM pg_partitioned_table p
        WHERE p.partrelid = h.oid AND p.partstrat = 'h'
      UNION ALL SELECT DISTINCT 'the identity of ' || a.attname FROM pg_attribute a
        WHERE a.attrelid = h.oid AND a.attidentity <> ''
      UNION ALL SELECT 'the trigger ' || t.tgname FROM pg_trigger t WHERE t.tgrelid = h.oid AND NOT t.tgisinternal
      UNION ALL SELECT 'the publication ' || p.pubname FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
        WHERE r.prrelid = h.oid
      UNION ALL SELECT 'the statistics ' || s.stxname FROM pg_statistic_ext s WHERE s.stxrelid = h.oid
      UNION ALL SELECT 'the index ' || i.indexrelid::regclass || ', which is not valid' FROM pg_index i
        WHERE i.indrelid = h.oid AND NOT i.indisvalid
      UNION ALL SELECT 'the constraint ' || k.conname || ', which is not valid' FROM pg_constraint k
        WHERE k.conrelid = h.oid AND NOT k.convalidated
      UNION ALL SELECT 'the settings of ' || a.attname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = h.oid AND a.attnum > 0 AND NOT a.attisdropped
          AND (a.attstorage <> t.typstorage OR a.attoptions IS NOT NULL OR a.attcompression <> ''
               OR COALESCE(a.attstattarget, -1) <> -1)
      UNION ALL SELECT 'its tablespace or replica identity' FROM pg_class c
        WHERE c.oid = h.oid AND (c.reltablespace <> 0 OR c.relreplident <> 'd')
      UNION ALL SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend d
        WHERE (d.refclassid, d.refobjid) IN (
            VALUES ('pg_class'::regclass, h.oid), ('pg_type'::regclass, h.reltype),
                   ('pg_type'::regclass, (SELECT t.typarray FROM pg_type t WHERE t.oid = h.reltype)))
          AND d.deptype = 'n'
          AND NOT (d.classid = 'pg_rewrite'::regclass AND EXISTS (
            SELECT 1 FROM pg_rewrite r JOIN wanted w ON w.oid = r.ev_class WHERE r.oid = d.objid))
          -- What is its own goes with it and is made again; but a key that points at itself would be checked.
          AND NOT (d.classid = 'pg_constraint'::regclass AND EXISTS (
            SELECT 1 FROM pg_constraint k WHERE k.oid = d.objid AND k.conrelid = h.oid AND k.contype <> 'f'))
          AND NOT (d.classid = 'pg_attrdef'::regclass AND EXISTS (
            SELECT 1 FROM pg_attrdef a WHERE a.oid = d.objid AND a.adrelid = h.oid))
          AND NOT (d.classid = 'pg_class'::regclass AND (d.objid = h.oid OR EXISTS (
            SELECT 1 FROM pg_index i WHERE i.indexrelid = d.objid AND i.indrelid = h.oid)))))
  ) END
)::text
FROM here h
ORDER BY h.place, h.depth, h.nspname, h.relname
