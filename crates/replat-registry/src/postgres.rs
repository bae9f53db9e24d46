//! A PostgreSQL database, by libpq's rules for reaching it. All that is kept lies in the schema `replat_registry`.
//!
//! Commits with conditions follow each other by an advisory lock. What changed is told by NOTIFY on the channel
//! `replat_registry`, which a pooler in transaction mode does not pass on; then routers look once a second.

use replat_postgres::connect::{ConnectError, Connected, connect, connect_listening};
use replat_postgres::conninfo::{ConnInfo, ConnInfoError, Environment};
use replat_postgres::sql::quote_ident;
use tokio::sync::{Mutex, mpsc};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::kv::{Change, Entry, Expect, Kv, KvError, Limits, Reading, Remedies, Revision, Soon};

/// The schema, and the channel.
const PLACE: &str = "replat_registry";
/// What commits queue for: `rplr`. Unit: none.
const LOCK: i64 = 0x7270_6c72;
/// Notifications that wait for their reader; the rest waits on the server.
const BACKLOG: usize = 256;

const SCHEMA: &str = r#"
create schema if not exists replat_registry;
create table if not exists replat_registry.entry (
    key      text collate "C" primary key,
    value    bytea not null,
    revision bigint not null,
    -- When the value ends; null: it stays.
    until    timestamptz
);
create index if not exists entry_until on replat_registry.entry (until) where until is not null;
create sequence if not exists replat_registry.revision;
"#;

/// Looks at all conditions, and if they hold brings all changes about and tells of them.
const COMMIT: &str = r#"
with condition as (
    select * from unnest($1::text[], $2::int8[]) as c(key, revision)
), met as (
    select not exists (
        select from condition c left join replat_registry.entry e
            on e.key = c.key and (e.until is null or e.until > pg_catalog.clock_timestamp())
        where e.revision is distinct from c.revision
    ) as yes
), put as (
    insert into replat_registry.entry (key, value, revision, until)
    select p.key, p.value, pg_catalog.nextval('replat_registry.revision'),
        pg_catalog.clock_timestamp() + p.ttl * interval '1 millisecond'
    from unnest($3::text[], $4::bytea[], $5::int8[]) as p(key, value, ttl), met where met.yes
    on conflict (key) do update
        set value = excluded.value, revision = excluded.revision, until = excluded.until
    returning key
), gone as (
    delete from replat_registry.entry using met
    where met.yes and entry.key = any ($6::text[])
    returning entry.key
), told as (
    select pg_catalog.pg_notify('replat_registry', key) from (select key from put union all select key from gone) as changed
)
select met.yes, (select pg_catalog.count(*) from told) from met
"#;

const REMEDIES: &Remedies = &[
    (
        "SQLSTATE 42501",
        "the role needs USAGE on the schema replat_registry and SELECT on its table; to publish, hold or attend also \
         INSERT, UPDATE, DELETE there and USAGE on its sequence; and CREATE on the database if it is to make them",
    ),
    (
        "password authentication failed",
        "look at the user and the password in the URL, PGPASSWORD or ~/.pgpass",
    ),
];

/// A registry in a database.
pub struct Postgres {
    info: ConnInfo,
    /// Kept while nobody uses it. Taken out by whoever does, so that a call that is given up takes its session along.
    idle: Mutex<Option<Connected>>,
}

impl Postgres {
    /// Connects at the first request. What the connection string leaves open comes from the environment, as libpq does it.
    ///
    /// # Errors
    ///
    /// [`ConnInfoError`] if the connection string is none.
    pub fn new(url: &str) -> Result<Postgres, ConnInfoError> {
        Ok(Postgres {
            info: ConnInfo::resolve(Some(url), &Environment::of_process())?,
            idle: Mutex::default(),
        })
    }

    async fn session(&self) -> Result<Connected, KvError> {
        let kept = self.idle.lock().await.take();
        if let Some(kept) = kept.filter(|kept| !kept.client.is_closed()) {
            return Ok(kept);
        }
        let opened = connect(&self.info, "replat registry").await.map_err(not_let_in)?;
        prepare(&opened.client).await.map_err(sorted)?;
        Ok(opened)
    }

    async fn keep(&self, session: Connected) {
        *self.idle.lock().await = Some(session);
    }

    async fn rows(
        &self,
        sql: &str,
        parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)],
    ) -> Result<Vec<tokio_postgres::Row>, KvError> {
        let session = self.session().await?;
        let rows = session.client.query_typed(sql, parameters).await.map_err(sorted)?;
        self.keep(session).await;
        Ok(rows)
    }

    async fn watch_once(&self, prefix: &str, wake: &(dyn Fn() + Send + Sync)) -> Result<(), KvError> {
        let (heard, mut news) = mpsc::channel(BACKLOG);
        let session = connect_listening(&self.info, "replat registry", heard).await.map_err(not_let_in)?;
        session.client.batch_execute(&format!("listen {}", quote_ident(PLACE))).await.map_err(sorted)?;
        wake();
        while let Some(key) = news.recv().await {
            if key.starts_with(prefix) {
                wake();
            }
        }
        Err(KvError::unreachable("the session was lost"))
    }
}

/// Makes the tables unless they are there. Looking first lets roles in that may use them and not make them.
async fn prepare(client: &Client) -> Result<(), tokio_postgres::Error> {
    let there = "select pg_catalog.to_regclass('replat_registry.entry') is not null
                    and pg_catalog.to_regclass('replat_registry.revision') is not null";
    if client.query_typed(there, &[]).await?.first().is_some_and(|row| row.get(0)) {
        return Ok(());
    }
    // Of two that make them at once, PostgreSQL would refuse one.
    let make = format!("begin; select pg_catalog.pg_advisory_xact_lock({LOCK}); {SCHEMA} commit;");
    let made = client.batch_execute(&make).await;
    if made.is_err() {
        drop(client.batch_execute("rollback").await);
    }
    made
}

fn not_let_in(error: ConnectError) -> KvError {
    match error.is_temporary() {
        true => KvError::unreachable(error),
        false => KvError::refused(error.to_string(), REMEDIES),
    }
}

fn sorted(error: tokio_postgres::Error) -> KvError {
    match error.as_db_error() {
        // 08: connection; 57: it goes down, or somebody ended us; 40: of two at once, one.
        Some(said) if ["08", "57", "40"].iter().any(|class| said.code().code().starts_with(class)) => {
            KvError::unreachable(error)
        }
        Some(said) => {
            KvError::refused(format!("{} (SQLSTATE {})", said.message(), said.code().code()), REMEDIES)
        }
        None => KvError::unreachable(error),
    }
}

fn entry(row: &tokio_postgres::Row) -> Entry {
    // From a sequence, which counts from 1.
    let revision: i64 = row.get(2);
    Entry { key: row.get(0), value: row.get(1), revision: Revision(revision.unsigned_abs()) }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Kv for Postgres {
    fn name(&self) -> String {
        self.info.to_string()
    }

    fn limits(&self) -> Limits {
        Limits { value_bytes: 4 << 20, commit_bytes: 4 << 20, commit_parts: 10_000 }
    }

    fn clock(&self) -> Soon<'_, Reading> {
        Box::pin(async {
            let sql = "select (extract(epoch from pg_catalog.clock_timestamp()) * 1000)::int8";
            let rows = self.rows(sql, &[]).await?;
            let now: i64 = rows.first().map_or(0, |row| row.get(0));
            let now = now.unsigned_abs();
            // Rounded to the nearest.
            Ok(Reading { earliest: now.saturating_sub(1), latest: now + 1 })
        })
    }

    fn get<'a>(&'a self, keys: &'a [String]) -> Soon<'a, Vec<Option<Entry>>> {
        Box::pin(async move {
            let sql = "select e.key, e.value, e.revision from replat_registry.entry e
                       where e.key = any ($1) and (e.until is null or e.until > pg_catalog.clock_timestamp())";
            let rows = self.rows(sql, &[(&keys, Type::TEXT_ARRAY)]).await?;
            let mut found: Vec<Entry> = rows.iter().map(entry).collect();
            let mut take = |key: &String| {
                let at = found.iter().position(|entry| entry.key == *key)?;
                Some(found.swap_remove(at))
            };
            Ok(keys.iter().map(&mut take).collect())
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<Entry>> {
        Box::pin(async move {
            let sql = r#"select e.key, e.value, e.revision from replat_registry.entry e
                         where e.key >= $1 and e.key < $2
                           and (e.until is null or e.until > pg_catalog.clock_timestamp())
                         order by e.key"#;
            let rows = self.rows(sql, &[(&prefix, Type::TEXT), (&end(prefix), Type::TEXT)]).await?;
            Ok(rows.iter().map(entry).collect())
        })
    }

    fn keys<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<String>> {
        Box::pin(async move {
            let sql =
                "select e.key from replat_registry.entry e where e.key >= $1 and e.key < $2 order by e.key";
            let rows = self.rows(sql, &[(&prefix, Type::TEXT), (&end(prefix), Type::TEXT)]).await?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        })
    }

    fn commit<'a>(&'a self, expect: &'a [Expect], changes: &'a [Change]) -> Soon<'a, bool> {
        Box::pin(async move {
            let session = self.session().await?;
            // From here on a failure drops the session, which rolls back.
            let done = commit(&session.client, expect, changes).await.map_err(sorted)?;
            self.keep(session).await;
            Ok(done)
        })
    }

    fn watch<'a>(&'a self, prefix: &'a str, wake: &'a (dyn Fn() + Send + Sync)) -> Soon<'a, ()> {
        Box::pin(self.watch_once(prefix, wake))
    }
}

/// The first text after all that begin with `prefix`, by bytes: no key has a character this high.
fn end(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}

async fn commit(
    client: &Client,
    expect: &[Expect],
    changes: &[Change],
) -> Result<bool, tokio_postgres::Error> {
    let conditions: Vec<&str> = expect.iter().map(|expect| expect.key.as_str()).collect();
    let revisions: Vec<Option<i64>> =
        expect.iter().map(|expect| expect.revision.map(|Revision(n)| signed(n))).collect();
    let (mut keys, mut values, mut ttls, mut gone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        match change {
            Change::Put { key, value, ttl_ms } => {
                keys.push(key.as_str());
                values.push(value.as_slice());
                ttls.push(ttl_ms.map(signed));
            }
            Change::Delete { key } => gone.push(key.as_str()),
        }
    }
    // The snapshot of the statement must be taken under the lock, so the lock is a statement before it.
    let begin = format!(
        "begin; select pg_catalog.pg_advisory_xact_lock({LOCK});
         delete from replat_registry.entry where until <= pg_catalog.clock_timestamp()"
    );
    if !expect.is_empty() {
        client.batch_execute(&begin).await?;
    }
    let rows = client
        .query_typed(
            COMMIT,
            &[
                (&conditions, Type::TEXT_ARRAY),
                (&revisions, Type::INT8_ARRAY),
                (&keys, Type::TEXT_ARRAY),
                (&values, Type::BYTEA_ARRAY),
                (&ttls, Type::INT8_ARRAY),
                (&gone, Type::TEXT_ARRAY),
            ],
        )
        .await?;
    if !expect.is_empty() {
        client.batch_execute("commit").await?;
    }
    Ok(rows.first().is_some_and(|row| row.get(0)))
}
