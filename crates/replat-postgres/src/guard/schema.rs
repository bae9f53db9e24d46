//! replat's own schema on a managed database, and how a partition's fence row comes there.

use replat_engine::EngineError;
use replat_model::deploy::Token;
use replat_model::ids::Side;
use replat_model::plan::Plan;
use tokio_postgres::Client;

use super::{lock_of, number, schema_of};
use crate::error::on;

/// replat's own schema on a managed database. Running it again changes nothing.
///
/// No right on it is given to anybody: the guard functions run as their owner.
pub const SCHEMA: &str = r#"
CREATE SCHEMA IF NOT EXISTS replat;
REVOKE ALL ON SCHEMA replat FROM PUBLIC;
CREATE TABLE IF NOT EXISTS replat.fence (
  partition  text NOT NULL,
  schema_name text NOT NULL,
  deployment text NOT NULL,
  epoch      bigint NOT NULL CHECK (epoch > 0),
  open       boolean NOT NULL,
  home       text,
  term       bigint NOT NULL,
  seq        bigint NOT NULL,
  pass       text NOT NULL DEFAULT gen_random_uuid()::text || gen_random_uuid()::text,
  mark       text NOT NULL DEFAULT gen_random_uuid()::text,
  PRIMARY KEY (partition, schema_name)
);
CREATE TABLE IF NOT EXISTS replat.guarded_table (
  tbl        regclass PRIMARY KEY,
  n          integer GENERATED ALWAYS AS IDENTITY UNIQUE
);
CREATE TABLE IF NOT EXISTS replat.guarded (
  tbl        regclass NOT NULL,
  partition  text NOT NULL,
  schema_name text NOT NULL,
  deployment text NOT NULL,
  region     text NOT NULL,
  columns    text NOT NULL,
  kept       jsonb,
  PRIMARY KEY (tbl, partition)
);
CREATE TABLE IF NOT EXISTS replat.leaf (
  deployment text NOT NULL,
  tbl        regclass NOT NULL,
  leaf       regclass NOT NULL,
  PRIMARY KEY (deployment, tbl, leaf)
);
CREATE TABLE IF NOT EXISTS replat.stream (
  deployment text NOT NULL,
  source     text NOT NULL CHECK (source IN ('blue', 'green')),
  schema_name text NOT NULL,
  position   pg_lsn NOT NULL,
  barrier    integer NOT NULL DEFAULT 0,
  open       boolean NOT NULL,
  compared   boolean NOT NULL DEFAULT false,
  apart      boolean NOT NULL DEFAULT false,
  PRIMARY KEY (deployment, source)
);
CREATE TABLE IF NOT EXISTS replat.cohort (
  cohort     text NOT NULL,
  deployment text PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS replat.chunk (
  deployment text NOT NULL,
  n          integer NOT NULL,
  rows       bigint NOT NULL,
  bytes      bigint NOT NULL,
  PRIMARY KEY (deployment, n)
);
CREATE TABLE IF NOT EXISTS replat.parked (
  deployment text NOT NULL,
  source     text NOT NULL,
  tbl        integer NOT NULL,
  key        text[] NOT NULL,
  why        text NOT NULL,
  PRIMARY KEY (deployment, source, tbl, key)
);
CREATE TABLE IF NOT EXISTS replat.incident (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  deployment text NOT NULL,
  source     text NOT NULL,
  at         pg_lsn NOT NULL,
  tbl        text NOT NULL,
  op         text NOT NULL,
  key        text[] NOT NULL,
  row_kept   jsonb,
  seen_at    timestamptz NOT NULL DEFAULT now(),
  UNIQUE (deployment, source, at, tbl, op, key)
);
CREATE TABLE IF NOT EXISTS replat.created (
  deployment text NOT NULL,
  schema_name text NOT NULL,
  whole      boolean NOT NULL,
  ord        integer NOT NULL,
  kind       text NOT NULL,
  identity   text NOT NULL,
  PRIMARY KEY (deployment, ord)
);
CREATE TABLE IF NOT EXISTS replat.schema_version (
  schema_name text PRIMARY KEY,
  version     text NOT NULL,
  digest      text NOT NULL
);
CREATE TABLE IF NOT EXISTS replat.deferred (
  deployment text NOT NULL,
  ord        integer NOT NULL,
  name       text NOT NULL,
  is_foreign boolean NOT NULL,
  definition text NOT NULL,
  PRIMARY KEY (deployment, ord)
);
CREATE TABLE IF NOT EXISTS replat.view (
  schema_name text NOT NULL,
  name        text NOT NULL,
  base_schema text NOT NULL,
  base_name   text NOT NULL,
  definition  text NOT NULL,
  stands_for  jsonb NOT NULL,
  PRIMARY KEY (schema_name, name)
);
CREATE TABLE IF NOT EXISTS replat.viewer (
  schema_name text NOT NULL,
  deployment  text NOT NULL,
  partition   text NOT NULL,
  PRIMARY KEY (schema_name, deployment)
);
CREATE TABLE IF NOT EXISTS replat.added_column (
  schema_name text NOT NULL,
  base_schema text NOT NULL,
  base_name   text NOT NULL,
  name        text NOT NULL,
  PRIMARY KEY (base_schema, base_name, name)
);
CREATE TABLE IF NOT EXISTS replat.exchanged (
  schema_name text NOT NULL,
  base_schema text NOT NULL,
  ord         integer NOT NULL,
  shared      jsonb NOT NULL,
  definition  text,
  PRIMARY KEY (schema_name, base_schema, ord)
);

CREATE OR REPLACE FUNCTION replat.pass(p text, home_schema text, lock_key bigint, op text) RETURNS void
LANGUAGE plpgsql VOLATILE AS $guard$
-- Called by the guard functions of the tables alone, which run as their owner and have set the search_path.
DECLARE
  f record;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(lock_key);
  -- A statement of a READ COMMITTED transaction has a fresh snapshot; under the stricter levels the snapshot is
  -- as old as the transaction, and only a locking read sees, or trips over, a fence that came later.
  IF current_setting('transaction_isolation') = 'read committed' THEN
    SELECT open, epoch, home, pass INTO f FROM replat.fence
      WHERE partition = p AND schema_name = home_schema;
  ELSE
    SELECT open, epoch, home, pass INTO f FROM replat.fence
      WHERE partition = p AND schema_name = home_schema FOR SHARE;
  END IF;
  IF f.open OR current_setting('replat.pass', true) = f.pass THEN
    RETURN;
  END IF;
  RAISE EXCEPTION USING
    ERRCODE = '25006',
    MESSAGE = format('partition %s does not accept writes here: %s refused', p, op),
    DETAIL = json_build_object('partition', p, 'epoch', f.epoch, 'home', f.home,
      'state', CASE WHEN f.home IS NULL THEN 'switching' ELSE 'moved' END)::text,
    HINT = CASE WHEN f.home IS NULL
      THEN 'The partition is being switched; ask the map again in a moment.'
      ELSE 'The partition lives elsewhere; ask the map for its home.' END;
END $guard$;

CREATE OR REPLACE FUNCTION replat.guard_statement() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $guard$
BEGIN
  -- Any partition's pass will do: a table can be closed for one deployment while another one fills it.
  IF EXISTS (SELECT 1 FROM replat.fence WHERE pass = current_setting('replat.pass', true)) THEN RETURN NULL; END IF;
  RAISE EXCEPTION USING
    ERRCODE = '25006',
    MESSAGE = format('%s of %s is refused while partition %s is being deployed', TG_OP, TG_RELID::regclass, TG_ARGV[0]),
    DETAIL = json_build_object('partition', TG_ARGV[0], 'state', TG_ARGV[1])::text,
    HINT = TG_ARGV[2];
END $guard$;
"#;

/// A deployment, as its fence is installed.
#[derive(Clone, Copy, Debug)]
pub struct Fenced<'a> {
    /// Its plan.
    pub plan: &'a Plan,
    /// Its name.
    pub deployment: &'a str,
    /// What its effects carry.
    pub token: Token,
}

/// Creates replat's schema on one end, and the fence rows of some deployments, which have the same ends.
///
/// A row that is there already is left as it is, unless it stands from an earlier deployment: then it is taken
/// over by token, with the state that this deployment begins with.
///
/// Those of a cohort are written down as its members. One pass lets replat through for all of them: a scan brings the
/// rows of many.
pub async fn install(
    client: &mut Client,
    members: &[Fenced<'_>],
    cohort: Option<&str>,
    side: Side,
) -> Result<(), EngineError> {
    let Some(first) = members.first() else { return Ok(()) };
    let on = on(&first.plan.end(side).home.database, "the installation of the fence rows");
    let tx = client.transaction().await.map_err(&on)?;
    // Two runners may install at once; CREATE … IF NOT EXISTS alone can then fail on the catalogue's indexes.
    tx.batch_execute("SELECT pg_advisory_xact_lock(7311340948551)").await.map_err(&on)?;
    tx.batch_execute(SCHEMA).await.map_err(&on)?;
    let mut locks: Vec<i64> = members.iter().map(|member| lock_of(member.plan, side)).collect();
    locks.sort_unstable();
    tx.execute("SELECT count(pg_advisory_xact_lock(lock)) FROM unnest($1::bigint[]) AS lock", &[&locks])
        .await
        .map_err(&on)?;
    let open = side == Side::Blue;
    let home = (!open).then(|| first.plan.blue.home.to_string());
    let partitions: Vec<&str> = members.iter().map(|member| member.plan.partition.as_str()).collect();
    let deployments: Vec<&str> = members.iter().map(|member| member.deployment).collect();
    let epochs: Vec<i64> = members.iter().map(|member| number(member.plan.epoch.get())).collect();
    let terms: Vec<i64> = members.iter().map(|member| number(member.token.term)).collect();
    let seqs: Vec<i64> = members.iter().map(|member| number(member.token.seq)).collect();
    tx.execute(
        "INSERT INTO replat.fence AS f (partition, schema_name, deployment, epoch, open, home, term, seq) \
         SELECT m.partition, $8, m.deployment, m.epoch, $6, $7, m.term, m.seq \
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) \
           AS m (partition, deployment, epoch, term, seq) \
         ON CONFLICT (partition, schema_name) DO UPDATE SET deployment = excluded.deployment, epoch = excluded.epoch, \
           open = excluded.open, home = excluded.home, term = excluded.term, seq = excluded.seq \
         WHERE f.deployment <> excluded.deployment AND (f.term, f.seq) < (excluded.term, excluded.seq)",
        &[&partitions, &deployments, &epochs, &terms, &seqs, &open, &home, &schema_of(first.plan, side)],
    )
    .await
    .map_err(&on)?;
    if let Some(cohort) = cohort {
        tx.execute(
            "INSERT INTO replat.cohort (cohort, deployment) \
             SELECT DISTINCT $1, f.deployment FROM replat.fence f WHERE f.deployment = ANY ($2::text[]) \
             ON CONFLICT DO NOTHING",
            &[&cohort, &deployments],
        )
        .await
        .map_err(&on)?;
        tx.execute(
            "UPDATE replat.fence f SET pass = m.pass FROM replat.cohort c, \
               (SELECT min(f.pass) AS pass FROM replat.fence f JOIN replat.cohort c USING (deployment) \
                WHERE c.cohort = $1) m \
             WHERE c.deployment = f.deployment AND c.cohort = $1 AND f.pass <> m.pass",
            &[&cohort],
        )
        .await
        .map_err(&on)?;
    }
    tx.commit().await.map_err(&on)
}

/// Forgets the guards of tables that are gone, and drops their functions, which go with no table.
pub async fn forget_tables(client: &Client) -> Result<(), tokio_postgres::Error> {
    client
        .batch_execute(
            "DO $$ DECLARE f regprocedure; BEGIN \
               DELETE FROM replat.leaf l WHERE NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = l.tbl); \
               DELETE FROM replat.guarded g WHERE NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = g.tbl); \
               FOR f IN \
                 WITH gone AS (DELETE FROM replat.guarded_table t \
                   WHERE NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = t.tbl) RETURNING n) \
                 SELECT p.oid FROM gone JOIN pg_proc p ON p.proname IN ('guard_' || n, 'is_guarded_' || n) \
                 WHERE p.pronamespace = 'replat'::regnamespace \
               LOOP EXECUTE 'DROP FUNCTION ' || f; END LOOP; \
             END $$",
        )
        .await
}
