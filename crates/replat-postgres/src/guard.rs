//! The guard: the write fence inside the database, and the row that says whether it is open.
//!
//! A write of the partition takes a shared advisory lock and reads the fence row in a way that no old snapshot can
//! fool; the fence takes the lock exclusively, so it waits for that partition's running writers alone. The row is
//! closed by default, and changes only under the exclusive lock and only for a token that is not lower than the
//! one obeyed last.
//!
//! Invariant kept here: at most one side lets writers through. No router takes part in it.

use replat_engine::EngineError;
use replat_model::deploy::Token;
use replat_model::ids::{Epoch, Lsn, PartitionId, Side};
use replat_model::next::FenceSeen;
use replat_model::plan::{Plan, TablePlan};
use tokio_postgres::{Client, Transaction};

use crate::error::{failed, is_lock, on};
use crate::failpoint::crash_at;
use crate::slice::{predicate, table_name};
use crate::sql::{quote_ident, quote_literal};

/// replat's own schema on a managed database. Running it again changes nothing.
///
/// No right on it is given to anybody: the guard functions run as their owner.
pub const SCHEMA: &str = r#"
CREATE SCHEMA IF NOT EXISTS replat;
REVOKE ALL ON SCHEMA replat FROM PUBLIC;
CREATE TABLE IF NOT EXISTS replat.fence (
  partition  text PRIMARY KEY,
  deployment text NOT NULL,
  epoch      bigint NOT NULL CHECK (epoch > 0),
  open       boolean NOT NULL,
  home       text,
  term       bigint NOT NULL,
  seq        bigint NOT NULL,
  pass       text NOT NULL DEFAULT gen_random_uuid()::text || gen_random_uuid()::text,
  mark       text NOT NULL DEFAULT gen_random_uuid()::text
);
CREATE TABLE IF NOT EXISTS replat.stream (
  deployment text NOT NULL,
  source     text NOT NULL CHECK (source IN ('blue', 'green')),
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

CREATE OR REPLACE FUNCTION replat.pass(p text, lock_key bigint, op text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $guard$
DECLARE
  f record;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(lock_key);
  -- A statement of a READ COMMITTED transaction has a fresh snapshot; under the stricter levels the snapshot is
  -- as old as the transaction, and only a locking read sees, or trips over, a fence that came later.
  IF current_setting('transaction_isolation') = 'read committed' THEN
    SELECT open, epoch, home, pass INTO f FROM replat.fence WHERE partition = p;
  ELSE
    SELECT open, epoch, home, pass INTO f FROM replat.fence WHERE partition = p FOR SHARE;
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

CREATE OR REPLACE FUNCTION replat.guard_row() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $guard$
BEGIN
  PERFORM replat.pass(TG_ARGV[0], TG_ARGV[1]::bigint, TG_OP);
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $guard$;

CREATE OR REPLACE FUNCTION replat.guard_statement() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $guard$
BEGIN
  -- Any partition's pass will do: a table can be closed for one deployment while another one fills it.
  IF EXISTS (SELECT 1 FROM replat.fence WHERE pass = current_setting('replat.pass', true)) THEN RETURN NULL; END IF;
  RAISE EXCEPTION USING
    ERRCODE = '25006',
    MESSAGE = format('%s of %s is refused while partition %s is being deployed', TG_OP, TG_RELID::regclass, TG_ARGV[0]),
    DETAIL = json_build_object('partition', TG_ARGV[0], 'state', TG_ARGV[2])::text,
    HINT = TG_ARGV[3];
END $guard$;
"#;

/// The advisory lock of a partition: a number that the databases and replat derive alike.
pub fn lock_key(partition: &PartitionId) -> i64 {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("replat/{partition}"));
    i64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}

/// A deployment whose fence is installed.
#[derive(Clone, Copy, Debug)]
pub struct Fenced<'a> {
    /// Its plan.
    pub plan: &'a Plan,
    /// Its name.
    pub deployment: &'a str,
    /// What its effects carry.
    pub token: Token,
}

/// Creates replat's schema on one end, and the fence rows of these partitions where there are none. All have the same
/// ends; if they are members of a cohort, that is written down as well.
///
/// A row that is there already is left as it is, unless it stands from an earlier deployment: then it is taken
/// over by token, with the state that this deployment begins with.
pub async fn install(
    client: &mut Client,
    members: &[Fenced<'_>],
    cohort: Option<&str>,
    side: Side,
) -> Result<(), EngineError> {
    let Some(first) = members.first() else { return Ok(()) };
    let database = &first.plan.end(side).home.database;
    let on = on(database, "the installation of the fence row");
    let tx = client.transaction().await.map_err(&on)?;
    // Two runners may install at once; CREATE … IF NOT EXISTS alone can then fail on the catalogue's indexes.
    tx.batch_execute("SELECT pg_advisory_xact_lock(7311340948551)").await.map_err(&on)?;
    tx.batch_execute(SCHEMA).await.map_err(&on)?;
    let mut keys: Vec<i64> = members.iter().map(|member| lock_key(&member.plan.partition)).collect();
    keys.sort_unstable();
    tx.execute("SELECT count(pg_advisory_xact_lock(key)) FROM unnest($1::bigint[]) AS key", &[&keys])
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
        "INSERT INTO replat.fence AS f (partition, deployment, epoch, open, home, term, seq) \
         SELECT m.partition, m.deployment, m.epoch, $6, $7, m.term, m.seq \
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) \
           AS m (partition, deployment, epoch, term, seq) \
         ON CONFLICT (partition) DO UPDATE SET deployment = excluded.deployment, epoch = excluded.epoch, \
           open = excluded.open, home = excluded.home, term = excluded.term, seq = excluded.seq \
         WHERE f.deployment <> excluded.deployment AND (f.term, f.seq) < (excluded.term, excluded.seq)",
        &[&partitions, &deployments, &epochs, &terms, &seqs, &open, &home],
    )
    .await
    .map_err(&on)?;
    if let Some(cohort) = cohort {
        tx.execute(
            "INSERT INTO replat.cohort (cohort, deployment) \
             SELECT $1, f.deployment FROM replat.fence f WHERE f.deployment = ANY ($2::text[]) ON CONFLICT DO NOTHING",
            &[&cohort, &deployments],
        )
        .await
        .map_err(&on)?;
        // One pass lets replat through for all of them: a scan brings the rows of many.
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

/// What the guard of one table consists of: trigger names and the statements that make them.
///
/// Their names sort last, so that a trigger which changes the key has run before the guard looks at it.
pub fn triggers(plan: &Plan, table: &TablePlan, side: Side) -> Vec<(String, String)> {
    let p = &plan.partition;
    let key = lock_key(p);
    let target = table_name(plan, table, side);
    let (old, new) = (predicate(plan, table, side, "OLD."), predicate(plan, table, side, "NEW."));
    let row = |letter: char, event: &str, when: String| {
        let name = format!("zz_replat_{p}_{letter}");
        let text = format!(
            "CREATE TRIGGER {} BEFORE {event} ON {target} FOR EACH ROW WHEN ({when}) \
             EXECUTE FUNCTION replat.guard_row({}, '{key}')",
            quote_ident(&name),
            quote_literal(p.as_str())
        );
        (name, text)
    };
    vec![
        row('i', "INSERT", new.clone()),
        row('u', "UPDATE", format!("({old}) OR ({new})")),
        row('d', "DELETE", old),
    ]
}

/// The statement-level guard: the whole table is closed to everybody but replat.
pub fn statement_trigger(plan: &Plan, table: &TablePlan, side: Side, why: Closed) -> (String, String) {
    let p = &plan.partition;
    let name = format!("zz_replat_{p}_{}", why.letter());
    let text = format!(
        "CREATE TRIGGER {} BEFORE {} ON {} FOR EACH STATEMENT \
         EXECUTE FUNCTION replat.guard_statement({}, '{}', '{}', {})",
        quote_ident(&name),
        why.events(),
        table_name(plan, table, side),
        quote_literal(p.as_str()),
        lock_key(p),
        why.state(),
        quote_literal(why.hint()),
    );
    (name, text)
}

/// Why a whole table refuses statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// TRUNCATE does not fire row triggers and knows no partitions.
    Truncate,
    /// A reference table is read-only during a deployment.
    Reference,
    /// A table that was made for this deployment and is being filled.
    Loading,
}

impl Closed {
    fn letter(self) -> char {
        match self {
            Closed::Truncate => 't',
            Closed::Reference => 'r',
            Closed::Loading => 'l',
        }
    }

    fn events(self) -> &'static str {
        match self {
            Closed::Truncate => "TRUNCATE",
            Closed::Reference | Closed::Loading => "INSERT OR UPDATE OR DELETE",
        }
    }

    fn state(self) -> &'static str {
        match self {
            Closed::Truncate => "armed",
            Closed::Reference => "reference",
            Closed::Loading => "loading",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Closed::Truncate => "Delete the rows instead: TRUNCATE knows no partitions.",
            Closed::Reference => {
                "A reference table is read-only until the deployment is finished or aborted."
            }
            Closed::Loading => "The table is being filled and belongs to nobody yet.",
        }
    }
}

/// Makes sure that a table has `trigger`, and that it also fires for replication sessions.
///
/// One short transaction; waits for its lock no longer than the policy says, so that writers never queue behind
/// it for longer.
///
/// # Errors
///
/// [`EngineError::Superseded`] if the partition's fence row is not this deployment's: a runner that slept while the
/// deployment ended must not close what nobody would open again.
pub async fn arm(
    client: &mut Client,
    plan: &Plan,
    deployment: &str,
    table: &TablePlan,
    side: Side,
    trigger: &(String, String),
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    let database = &plan.end(side).home.database;
    let on = on(database, "arming a trigger");
    let target = table_name(plan, table, side);
    let (name, create) = trigger;
    if is_armed(client, &target, name).await.map_err(&on)? {
        return Ok(());
    }
    let tx = client.transaction().await.map_err(&on)?;
    tx.batch_execute(&format!("SET LOCAL lock_timeout = {lock_timeout_ms}")).await.map_err(&on)?;
    tx.batch_execute(&format!("DROP TRIGGER IF EXISTS {} ON {target}", quote_ident(name)))
        .await
        .map_err(&on)?;
    tx.batch_execute(create).await.map_err(&on)?;
    let mine = tx
        .query_opt(
            "SELECT 1 FROM replat.fence WHERE partition = $1 AND deployment = $2 FOR KEY SHARE",
            &[&plan.partition.as_str(), &deployment],
        )
        .await
        .map_err(&on)?;
    if mine.is_none() {
        return Err(superseded(plan, side));
    }
    // Leaves have clones of row triggers, which are enabled one by one.
    let leaves = tx
        .query(
            "SELECT t.tgrelid::regclass::text FROM pg_trigger t \
             WHERE t.tgname = $1 AND (t.tgrelid = $2::text::regclass OR t.tgrelid IN \
               (SELECT relid FROM pg_partition_tree($2::text::regclass)))",
            &[name, &target],
        )
        .await
        .map_err(&on)?;
    for leaf in leaves {
        let leaf: String = leaf.get(0);
        tx.batch_execute(&format!("ALTER TABLE {leaf} ENABLE ALWAYS TRIGGER {}", quote_ident(name)))
            .await
            .map_err(&on)?;
    }
    tx.commit().await.map_err(&on)
}

/// Makes sure that a table has the whole guard of each of these partitions, in one short transaction for a few of them at
/// a time.
///
/// # Errors
///
/// As [`arm`].
pub async fn arm_all(
    client: &mut Client,
    members: &[Fenced<'_>],
    table: &TablePlan,
    side: Side,
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    let Some(first) = members.first() else { return Ok(()) };
    let on = on(&first.plan.end(side).home.database, "arming triggers");
    let target = table_name(first.plan, table, side);
    let tree = client
        .query(
            "SELECT relid::regclass::text FROM pg_partition_tree($1::text::regclass) WHERE level > 0",
            &[&target],
        )
        .await
        .map_err(&on)?;
    let leaves: Vec<String> = tree.iter().map(|row| row.get(0)).collect();
    let armed = client
        .query(
            "SELECT tgname::text FROM pg_trigger WHERE tgrelid = $1::text::regclass AND tgenabled = 'A' \
             AND starts_with(tgname::text, 'zz_replat_')",
            &[&target],
        )
        .await
        .map_err(&on)?;
    let armed: std::collections::HashSet<String> = armed.iter().map(|row| row.get(0)).collect();
    let wanted = |member: &Fenced<'_>| {
        // The same table in this member's own plan.
        let same = |t: &&TablePlan| t.blue.name == table.blue.name;
        let table = member.plan.tables.iter().find(same).unwrap_or(table);
        let is_reference = member.plan.references.iter().any(|r| r.blue.name == table.blue.name);
        let mut all = match is_reference {
            true => vec![statement_trigger(member.plan, table, side, Closed::Reference)],
            false => triggers(member.plan, table, side),
        };
        let truncate = statement_trigger(member.plan, table, side, Closed::Truncate);
        let is_armed = all.iter().chain([&truncate]).all(|(name, _)| armed.contains(name));
        all.push(truncate);
        (!is_armed || !leaves.is_empty()).then_some(all)
    };
    for some in members.chunks(ARMED_AT_ONCE) {
        let mut statements = format!("SET LOCAL lock_timeout = {lock_timeout_ms};");
        let mut any = false;
        for (name, create) in some.iter().filter_map(wanted).flatten() {
            any = true;
            let quoted = quote_ident(&name);
            statements += &format!(
                "DROP TRIGGER IF EXISTS {quoted} ON {target}; {create}; \
                 ALTER TABLE {target} ENABLE ALWAYS TRIGGER {quoted};"
            );
            let kind = name.chars().last();
            // A reference table's leaves are left to its root, as where there is one deployment.
            for leaf in leaves.iter().filter(|_| kind != Some(Closed::Reference.letter())) {
                // A statement trigger does not come to the leaves by itself; the clones of row triggers do.
                if kind == Some(Closed::Truncate.letter()) {
                    let create = create.replacen(&format!(" ON {target} "), &format!(" ON {leaf} "), 1);
                    statements += &format!("DROP TRIGGER IF EXISTS {quoted} ON {leaf}; {create};");
                }
                statements += &format!("ALTER TABLE {leaf} ENABLE ALWAYS TRIGGER {quoted};");
            }
        }
        if !any {
            continue;
        }
        let tx = client.transaction().await.map_err(&on)?;
        tx.batch_execute(&statements).await.map_err(&on)?;
        let deployments: Vec<&str> = some.iter().map(|member| member.deployment).collect();
        let mine = tx
            .query(
                "SELECT 1 FROM replat.fence WHERE deployment = ANY ($1::text[]) FOR KEY SHARE",
                &[&deployments],
            )
            .await
            .map_err(&on)?;
        if mine.len() != some.len() {
            return Err(superseded(first.plan, side));
        }
        tx.commit().await.map_err(&on)?;
    }
    Ok(())
}

/// Partitions whose guards are put on a table in one transaction: it keeps writers out of the table meanwhile.
const ARMED_AT_ONCE: usize = 20;

async fn is_armed(client: &Client, target: &str, name: &str) -> Result<bool, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT count(*) > 0 AND bool_and(tgenabled = 'A') FROM pg_trigger \
             WHERE tgname = $1 AND (tgrelid = $2::text::regclass OR tgrelid IN \
               (SELECT relid FROM pg_partition_tree($2::text::regclass)))",
            &[&name, &target],
        )
        .await?;
    Ok(row.get::<_, Option<bool>>(0).unwrap_or(false))
}

/// Removes every trigger of the partition's guard from a table that may be gone already.
///
/// # Errors
///
/// [`EngineError::Superseded`] if the guard is another deployment's by now.
pub async fn disarm(
    client: &mut Client,
    plan: &Plan,
    deployment: &str,
    table: &TablePlan,
    side: Side,
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    let database = &plan.end(side).home.database;
    let on = on(database, "removing the guard");
    let target = table_name(plan, table, side);
    // Leaves have statement triggers of their own.
    let names = client
        .query(
            "SELECT tgname::text, tgrelid::regclass::text FROM pg_trigger \
             WHERE (tgrelid = to_regclass($1) OR tgrelid IN (SELECT relid FROM pg_partition_tree(to_regclass($1)))) \
             AND starts_with(tgname::text, $2) AND length(tgname::text) = length($2) + 1 \
             AND tgparentid = 0",
            &[&target, &format!("zz_replat_{}_", plan.partition)],
        )
        .await
        .map_err(&on)?;
    for row in names {
        let (name, target): (String, String) = (row.get(0), row.get(1));
        let tx = client.transaction().await.map_err(&on)?;
        tx.batch_execute(&format!(
            "SET LOCAL lock_timeout = {lock_timeout_ms}; DROP TRIGGER IF EXISTS {} ON {target}",
            quote_ident(&name)
        ))
        .await
        .map_err(&on)?;
        let others = tx
            .query_opt(
                "SELECT 1 FROM replat.fence WHERE partition = $1 AND deployment <> $2",
                &[&plan.partition.as_str(), &deployment],
            )
            .await
            .map_err(&on)?;
        if others.is_some() {
            return Err(superseded(plan, side));
        }
        tx.commit().await.map_err(&on)?;
    }
    Ok(())
}

/// The partition's fence row; `None` if there is none, or no schema of replat's at all.
pub async fn read(
    client: &Client,
    database: &str,
    partition: &PartitionId,
) -> Result<Option<FenceSeen>, EngineError> {
    let row = client
        .query_opt("SELECT open, epoch FROM replat.fence WHERE partition = $1", &[&partition.as_str()])
        .await;
    match row {
        Ok(None) => Ok(None),
        Ok(Some(row)) => Ok(Some(FenceSeen { open: row.get(0), epoch: epoch_of(row.get(1)) })),
        Err(e) if is_missing(&e) => Ok(None),
        Err(e) => Err(failed(database, "reading the fence row", e)),
    }
}

/// Whether a table, schema or function is not there.
pub fn is_missing(error: &tokio_postgres::Error) -> bool {
    use tokio_postgres::error::SqlState;
    error.code().is_some_and(|c| {
        [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME, SqlState::UNDEFINED_FUNCTION].contains(c)
    })
}

/// What closing the fence came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It stands; the position after its commit.
    Stands(Lsn),
    /// A running transaction of the partition did not end in time; nothing was changed. Who it was.
    Blocked(String),
}

/// Closes the home for one partition and sends the barrier.
///
/// Waits for this partition's running writers, at most `timeout_ms`. The position is read after the commit: a
/// position read before can lie before an acknowledged write.
pub async fn close(
    client: &mut Client,
    plan: &Plan,
    side: Side,
    token: Token,
    epoch: Epoch,
    attempt: u32,
    timeout_ms: u64,
) -> Result<Closing, EngineError> {
    let database = &plan.end(side).home.database;
    let on = on(database, "closing the fence");
    let tx = client.transaction().await.map_err(&on)?;
    match lock_exclusively(&tx, &plan.partition, timeout_ms).await {
        Ok(()) => {}
        Err(e) if e.code().is_some_and(is_lock) => {
            drop(tx);
            return Ok(Closing::Blocked(blockers(client, &plan.partition).await));
        }
        Err(e) => return Err(on(e)),
    }
    let closed = tx
        .execute(
            "UPDATE replat.fence SET open = false, home = NULL, term = $2, seq = $3 \
             WHERE partition = $1 AND (term, seq) <= ($2, $3) AND epoch = $4",
            &[&plan.partition.as_str(), &number(token.term), &number(token.seq), &number(epoch.get())],
        )
        .await
        .map_err(&on)?;
    if closed != 1 {
        return Err(superseded(plan, side));
    }
    crash_at("fence.before_commit");
    emit(&tx, &plan.partition, &Mark::Barrier { partition: plan.partition.clone(), attempt })
        .await
        .map_err(&on)?;
    tx.commit().await.map_err(&on)?;
    crash_at("fence.after_commit");
    current_lsn(client, database).await.map(Closing::Stands)
}

/// Lets writers through at `epoch`. What the log says after this is written by them.
pub async fn open(
    client: &mut Client,
    plan: &Plan,
    side: Side,
    token: Token,
    epoch: Epoch,
) -> Result<(), EngineError> {
    set(client, plan, side, token, epoch, true).await
}

/// Makes sure that writers are refused and are told the home, at `epoch`.
pub async fn seal(
    client: &mut Client,
    plan: &Plan,
    side: Side,
    token: Token,
    epoch: Epoch,
) -> Result<(), EngineError> {
    set(client, plan, side, token, epoch, false).await
}

async fn set(
    client: &mut Client,
    plan: &Plan,
    side: Side,
    token: Token,
    epoch: Epoch,
    opens: bool,
) -> Result<(), EngineError> {
    let database = &plan.end(side).home.database;
    let on = on(database, if opens { "opening the fence" } else { "sealing the old home" });
    let home = (!opens).then(|| plan.end(side.other()).home.to_string());
    let tx = client.transaction().await.map_err(&on)?;
    lock_exclusively(&tx, &plan.partition, 5_000).await.map_err(&on)?;
    let changed = tx
        .execute(
            "UPDATE replat.fence SET open = $5, epoch = $4, home = $6, term = $2, seq = $3 \
             WHERE partition = $1 AND (term, seq) <= ($2, $3)",
            &[
                &plan.partition.as_str(),
                &number(token.term),
                &number(token.seq),
                &number(epoch.get()),
                &opens,
                &home,
            ],
        )
        .await
        .map_err(&on)?;
    if changed != 1 {
        return Err(superseded(plan, side));
    }
    if opens {
        emit(&tx, &plan.partition, &Mark::Opened { partition: plan.partition.clone() }).await.map_err(&on)?;
    }
    crash_at(if opens { "open.before_commit" } else { "seal.before_commit" });
    tx.commit().await.map_err(&on)?;
    crash_at(if opens { "open.after_commit" } else { "seal.after_commit" });
    Ok(())
}

/// The exclusive lock of the partition, in a transaction that is flushed when it commits: a crash right after a
/// COMMIT under `synchronous_commit = off` forgets the fence. The partition's writers wait behind the lock, so a
/// process that stands still while it has it loses it soon.
async fn lock_exclusively(
    tx: &Transaction<'_>,
    partition: &PartitionId,
    timeout_ms: u64,
) -> Result<(), tokio_postgres::Error> {
    tx.batch_execute(&format!(
        "SET LOCAL lock_timeout = {timeout_ms}; SET LOCAL idle_in_transaction_session_timeout = '2s'; \
         SELECT set_config('synchronous_commit', 'on', true) \
         WHERE current_setting('synchronous_commit') IN ('off', 'local'); \
         SELECT pg_advisory_xact_lock({})",
        lock_key(partition)
    ))
    .await
}

/// Who holds the partition's lock, for people. Prepared transactions hold it with no process.
async fn blockers(client: &Client, partition: &PartitionId) -> String {
    let rows = client
        .query(
            "SELECT l.pid, a.application_name, a.state, \
               extract(epoch FROM now() - a.xact_start)::bigint \
             FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid) \
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
               AND (l.classid::bigint << 32) | l.objid::bigint = $1 AND l.pid IS DISTINCT FROM pg_backend_pid() \
             LIMIT 5",
            &[&lock_key(partition)],
        )
        .await
        .unwrap_or_default();
    let who: Vec<String> = rows
        .iter()
        .map(|r| match r.get::<_, Option<i32>>(0) {
            None => "a prepared transaction".into(),
            Some(pid) => format!(
                "pid {pid} ({}, {}, in its transaction for {} s)",
                r.get::<_, Option<String>>(1).unwrap_or_default(),
                r.get::<_, Option<String>>(2).unwrap_or_default(),
                r.get::<_, Option<i64>>(3).unwrap_or_default()
            ),
        })
        .collect();
    if who.is_empty() {
        return "a transaction of this partition did not end in time".into();
    }
    format!("a transaction of this partition did not end in time: {}", who.join(", "))
}

/// A note in a server's log that its readers meet in commit order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// After this, no write of the partition follows until it is opened again.
    Barrier {
        /// Which partition.
        partition: PartitionId,
        /// Which attempt.
        attempt: u32,
    },
    /// From here on, writes of the partition are its owner's.
    Opened {
        /// Which partition.
        partition: PartitionId,
    },
    /// All of this transaction was written by replat for this deployment.
    Own {
        /// Which deployment.
        deployment: String,
    },
}

impl Mark {
    /// Prefix and content of the logical message, without the secret that comes first in it.
    pub fn encode(&self) -> (&'static str, String) {
        match self {
            Mark::Barrier { partition, attempt } => ("replat.barrier", format!("{partition} {attempt}")),
            Mark::Opened { partition } => ("replat.opened", partition.to_string()),
            Mark::Own { deployment } => ("replat.own", deployment.clone()),
        }
    }

    /// The mark of a logical message; `None` if it is somebody else's message, or damaged.
    ///
    /// Any role may write logical messages, so each of ours begins with `secret`, which only replat's fence row
    /// holds: a forged mark would make a stream pass over rows.
    pub fn decode(prefix: &str, content: &[u8], secret: &str) -> Option<Mark> {
        let text = std::str::from_utf8(content).ok()?.strip_prefix(secret)?.strip_prefix(' ')?;
        match prefix {
            "replat.barrier" => {
                let (partition, attempt) = text.split_once(' ')?;
                Some(Mark::Barrier { partition: partition.parse().ok()?, attempt: attempt.parse().ok()? })
            }
            "replat.opened" => Some(Mark::Opened { partition: text.parse().ok()? }),
            "replat.own" => Some(Mark::Own { deployment: text.to_owned() }),
            _ => None,
        }
    }
}

/// Writes a mark into the transaction. The secret is put in front of it by the server itself.
pub async fn emit(
    tx: &Transaction<'_>,
    partition: &PartitionId,
    mark: &Mark,
) -> Result<(), tokio_postgres::Error> {
    let (prefix, content) = mark.encode();
    tx.query_one(
        "SELECT pg_logical_emit_message(true, $1, mark || ' ' || $2::text)::text \
         FROM replat.fence WHERE partition = $3",
        &[&prefix, &content, &partition.as_str()],
    )
    .await?;
    Ok(())
}

/// What this partition's marks in the log of `client`'s server begin with.
pub async fn mark_secret(
    client: &Client,
    database: &str,
    partition: &PartitionId,
) -> Result<String, EngineError> {
    let row = client
        .query_opt("SELECT mark FROM replat.fence WHERE partition = $1", &[&partition.as_str()])
        .await
        .map_err(on(database, "reading the fence row"))?;
    row.map(|r| r.get(0)).ok_or_else(|| EngineError::Precondition {
        what: format!("{database} has no fence row of {partition}"),
        remedy: "Abort the deployment and start it again.".into(),
    })
}

/// Makes sure that `side` is closed for the partition, and this deployment's, until `tx` ends.
///
/// # Errors
///
/// [`EngineError::Superseded`] if it is open, or another deployment's.
pub async fn hold_closed(
    tx: &Transaction<'_>,
    plan: &Plan,
    deployment: &str,
    side: Side,
) -> Result<(), EngineError> {
    let on = on(&plan.end(side).home.database, "making sure that the side is closed");
    tx.execute("SELECT pg_advisory_xact_lock_shared($1)", &[&lock_key(&plan.partition)])
        .await
        .map_err(&on)?;
    let closed = tx
        .query_opt(
            "SELECT 1 FROM replat.fence WHERE partition = $1 AND NOT open AND deployment = $2",
            &[&plan.partition.as_str(), &deployment],
        )
        .await
        .map_err(&on)?;
    match closed {
        Some(_) => Ok(()),
        None => Err(EngineError::Superseded { what: format!("{} on {side}", plan.partition) }),
    }
}

/// Where a server's log ends now.
pub async fn current_lsn(client: &Client, database: &str) -> Result<Lsn, EngineError> {
    let row = client
        .query_one("SELECT pg_current_wal_lsn()::text", &[])
        .await
        .map_err(on(database, "reading the log position"))?;
    parse_lsn(row.get(0), database)
}

/// A position as the server writes it.
pub fn parse_lsn(text: &str, database: &str) -> Result<Lsn, EngineError> {
    text.parse().map_err(|e| EngineError::Refused {
        database: database.to_owned(),
        during: "reading a log position".into(),
        why: format!("{e}"),
    })
}

fn superseded(plan: &Plan, side: Side) -> EngineError {
    EngineError::Superseded { what: format!("the fence of {} on {side}", plan.partition) }
}

/// A counter as the databases hold it.
pub fn number(n: u64) -> i64 {
    i64::try_from(n).expect("counters stay below 2^63")
}

fn epoch_of(n: i64) -> Epoch {
    u64::try_from(n).ok().and_then(Epoch::from_number).unwrap_or(Epoch::FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_as_it_was_written() {
        let partition: PartitionId = "acme".parse().expect("a legal id");
        for mark in [
            Mark::Barrier { partition: partition.clone(), attempt: 7 },
            Mark::Opened { partition },
            Mark::Own { deployment: "d_1".into() },
        ] {
            let (prefix, content) = mark.encode();
            let sent = format!("secret {content}");
            assert_eq!(Mark::decode(prefix, sent.as_bytes(), "secret"), Some(mark));
            assert_eq!(Mark::decode(prefix, sent.as_bytes(), "another"), None, "forged");
            assert_eq!(Mark::decode(prefix, content.as_bytes(), "secret"), None, "without the secret");
        }
        assert_eq!(Mark::decode("replat.barrier", b"secret acme x", "secret"), None);
        assert_eq!(Mark::decode("other", b"secret acme", "secret"), None);
    }
}
