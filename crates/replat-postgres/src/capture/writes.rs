//! Which rows were written together, from the log, by the decoder that deployments use.
//!
//! The slot is temporary: it ends with its connection, so nothing keeps the server's log once a capture is gone,
//! however it ended. Publications stay behind a capture that was killed; they cost nothing, and the next capture, or
//! `capture stop`, drops them. A table whose log does not say which row was changed is published for what is
//! inserted only, since the server would refuse its other changes.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use replat_advise::evidence::{Change, Line, RowSeen, Tier, WritesSeen};
use replat_advise::value::Value;
use replat_model::ids::Lsn;
use replat_wire::pgoutput::{Message, Relation, Tuple, TupleValue, decode};
use replat_wire::stream::Frame;
use tokio::sync::{mpsc, watch};
use tokio_postgres::Client;

use super::Lacking;
use super::catalogue::Found;
use super::columns::WatchList;
use super::secret::{Kept, Secret};
use crate::conninfo::ConnInfo;
use crate::replication::{ReplicationConnection, ReplicationError, ReplicationStream};
use crate::sql::{quote_ident, quote_literal};

/// What publishes all changes, and what publishes insertions only.
pub const PUBLICATIONS: [&str; 2] = ["replat_capture", "replat_capture_inserts"];

/// How long the slot may wait for transactions that were under way.
const SLOT_WAIT: Duration = Duration::from_secs(30);
/// How often the server is told how far we are.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// How long what was committed before the end may take to come.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// How long after a connection was lost, or could not be made, it is tried to make one.
pub(super) const AGAIN_EVERY: Duration = Duration::from_secs(1);
/// How often what breaks off is begun again.
pub(super) const AGAIN_MAX: u32 = 100;
/// The most rows that are kept of a transaction; of a longer one the first.
pub const ROWS_MAX: usize = 1_000;

/// What is read as the log is.
pub struct Reading {
    stream: ReplicationStream,
    /// What could be published.
    publications: Vec<String>,
    /// How often it was begun again.
    times: u32,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("publications", &self.publications).finish_non_exhaustive()
    }
}

/// Drops the publications that a capture made, if they are there.
///
/// # Errors
///
/// What the server says.
pub async fn drop_publications(client: &Client) -> Result<(), tokio_postgres::Error> {
    for name in ours(client).await? {
        client.batch_execute(&format!("DROP PUBLICATION IF EXISTS {}", quote_ident(&name))).await?;
    }
    Ok(())
}

/// Those of our publications that the session may drop. One of the same name that belongs to somebody else was made
/// for us, and stays.
async fn ours(client: &Client) -> Result<Vec<String>, tokio_postgres::Error> {
    let query = "select pubname::text from pg_catalog.pg_publication where pubname::text = any ($1) \
         and pg_catalog.pg_has_role(pubowner, 'usage')";
    let rows = client.query(query, &[&PUBLICATIONS.as_slice()]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Makes the publications and the slot, and begins to read; the reason why not, if that is not possible.
pub async fn begin(
    client: &Client,
    info: &ConnInfo,
    found: &[Found],
) -> Result<(Reading, Vec<Lacking>), Lacking> {
    check(client).await?;
    let (publications, lacking) = publish(client, found).await?;
    let began = start(info, 0, &publications).await;
    match began {
        Ok(stream) => Ok((Reading { stream, publications, times: 0 }, lacking)),
        Err(why) => {
            drop(drop_publications(client).await);
            Err(why)
        }
    }
}

/// Whether the server and the role are fit for it.
async fn check(client: &Client) -> Result<(), Lacking> {
    let query = "select current_setting('wal_level'), pg_catalog.pg_is_in_recovery(), \
         r.rolreplication or r.rolsuper or exists (select from pg_catalog.pg_roles m \
           where m.rolname in ('rds_replication', 'azure_pg_admin', 'cloudsqlsuperuser') \
           and pg_catalog.pg_has_role(m.oid, 'member')), current_user::text, \
         (select count(*) from pg_catalog.pg_replication_slots) >= current_setting('max_replication_slots')::int8, \
         (select count(*) from pg_catalog.pg_stat_replication) >= current_setting('max_wal_senders')::int8 \
         from pg_catalog.pg_roles r where r.rolname = current_user";
    let row = client
        .query_one(query, &[])
        .await
        .map_err(|e| lacks(format!("it cannot be asked for: {}", super::said(&e))))?;
    let (level, standby, may, role): (String, bool, bool, String) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    if standby {
        return Err(lacks("the server is a standby").by("name the primary with --from"));
    }
    if level != "logical" {
        return Err(lacks(format!("wal_level is {level}"))
            .by("ALTER SYSTEM SET wal_level = 'logical', and restart the server"));
    }
    if !may {
        return Err(lacks(format!("{role} may not read the log"))
            .by(format!("ALTER ROLE {} REPLICATION", quote_ident(&role))));
    }
    for (full, what, setting, look) in [
        (
            row.get(4),
            "replication slots",
            "max_replication_slots",
            "slot_name, active FROM pg_replication_slots",
        ),
        (
            row.get(5),
            "connections for replication",
            "max_wal_senders",
            "pid, application_name FROM pg_stat_replication",
        ),
    ] {
        if full {
            return Err(lacks(format!("all {what} are in use ({setting})")).by(format!(
                "give up one that nobody needs: SELECT {look}; or raise {setting}, and restart the server"
            )));
        }
    }
    Ok(())
}

fn lacks(why: impl Into<String>) -> Lacking {
    Lacking::of(Tier::Writes, why)
}

/// What is to be published, and what is missing from it.
#[derive(Debug)]
enum Wish<'a> {
    /// Somebody else made publications for us.
    Theirs(Vec<String>),
    /// All changes of the former, insertions of the latter.
    Ours(Vec<&'a Found>, Vec<&'a Found>),
}

/// What could be read, without changing anything.
pub async fn outlook(client: &Client, found: &[Found]) -> Result<Vec<Lacking>, Lacking> {
    check(client).await?;
    Ok(wish(client, found).await?.1)
}

fn unpublished(error: tokio_postgres::Error) -> Lacking {
    lacks(format!("nothing can be published: {}", super::said(&error)))
}

async fn wish<'a>(client: &Client, found: &'a [Found]) -> Result<(Wish<'a>, Vec<Lacking>), Lacking> {
    let query = "select pubname::text, pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create'), \
         pg_catalog.quote_ident(pg_catalog.current_database()), current_user::text \
         from (select 1) one left join pg_catalog.pg_publication on pubname::text = any ($1) \
         and not pg_catalog.pg_has_role(pubowner, 'usage')";
    let rows = client.query(query, &[&PUBLICATIONS.as_slice()]).await.map_err(unpublished)?;
    let theirs: Vec<String> = rows.iter().filter_map(|row| row.get(0)).collect();
    if !theirs.is_empty() {
        return Ok((Wish::Theirs(theirs), Vec::new()));
    }
    let Some(row) = rows.first() else { return Err(lacks("nothing can be published")) };
    let (may, database, role): (bool, String, String) = (row.get(1), row.get(2), row.get(3));
    let logged = found.iter().filter(|table| table.logged);
    let (owned, others): (Vec<&Found>, Vec<&Found>) = logged.partition(|table| table.owned);
    if owned.is_empty() {
        let names: Vec<String> = others.iter().filter(|t| t.identified).map(|table| table.quoted()).collect();
        let by = format!(
            "let the owner make it: CREATE PUBLICATION {} FOR TABLE {}",
            PUBLICATIONS[0],
            few(&names)
        );
        return Err(lacks(format!("{role} owns no table that could be published")).by(by));
    }
    if !may {
        return Err(lacks(format!("{role} may not make a publication"))
            .by(format!("GRANT CREATE ON DATABASE {database} TO {}", quote_ident(&role))));
    }
    let (all, inserts): (Vec<&Found>, Vec<&Found>) = owned.into_iter().partition(|table| table.identified);
    let mut lacking = Vec::new();
    let names = |tables: &[&Found]| tables.iter().map(|table| table.quoted()).collect::<Vec<String>>();
    if !others.is_empty() {
        let owners: Vec<String> = others.iter().map(|table| quote_ident(&table.owner)).collect();
        let why = format!("{role} does not own {}", few(&names(&others)));
        lacking.push(lacks(why).by(format!("GRANT {} TO {}", few(&unique(owners)), quote_ident(&role))));
    }
    if let Some(first) = inserts.first() {
        let why = format!("of {} only what is inserted is seen, for want of a key", few(&names(&inserts)));
        lacking.push(lacks(why).by(format!("ALTER TABLE {} REPLICA IDENTITY FULL", first.quoted())));
    }
    Ok((Wish::Ours(all, inserts), lacking))
}

/// Publishes what may be published; the names of the publications, and what is missing from them.
async fn publish(client: &Client, found: &[Found]) -> Result<(Vec<String>, Vec<Lacking>), Lacking> {
    drop_publications(client).await.map_err(unpublished)?;
    let (wish, lacking) = wish(client, found).await?;
    let (all, inserts) = match wish {
        Wish::Theirs(names) => return Ok((names, lacking)),
        Wish::Ours(all, inserts) => (all, inserts),
    };
    let mut made = Vec::new();
    for (name, tables, operations) in
        [(PUBLICATIONS[0], all, "insert, update, delete"), (PUBLICATIONS[1], inserts, "insert")]
    {
        if tables.is_empty() {
            continue;
        }
        let list: Vec<String> = tables.iter().map(|table| table.quoted()).collect();
        let create = format!(
            "CREATE PUBLICATION {} FOR TABLE {} WITH (publish = {}, publish_via_partition_root = true)",
            quote_ident(name),
            list.join(", "),
            quote_literal(operations)
        );
        if let Err(error) = client.batch_execute(&create).await {
            drop(drop_publications(client).await);
            return Err(unpublished(error));
        }
        crate::failpoint::crash_at("capture.published");
        made.push(name.to_owned());
    }
    Ok((made, lacking))
}

fn unique(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names
}

fn few(names: &[String]) -> String {
    const FEW: usize = 6;
    match names.len().checked_sub(FEW) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..FEW].join(", ")),
    }
}

async fn start(info: &ConnInfo, times: u32, publications: &[String]) -> Result<ReplicationStream, Lacking> {
    // A server that lost us may not have noticed yet, and keep the slot that we had.
    let slot = &format!("replat_capture_{}_{times}", std::process::id());
    let info = &ConnInfo { application_name: None, ..info.clone() };
    let failed = |error: ReplicationError| lacks(format!("the log cannot be read: {}", chain(&error)));
    let mut connection = ReplicationConnection::connect(info, super::APPLICATION).await.map_err(failed)?;
    // This form is understood by all releases.
    let create =
        format!("CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT", quote_ident(slot));
    let made = tokio::time::timeout(SLOT_WAIT, connection.simple_query(&create)).await;
    made.map_err(|_| {
        lacks(format!("a transaction has been under way for more than {} s", SLOT_WAIT.as_secs()))
            .by("end it, or begin again later: SELECT pid, xact_start FROM pg_stat_activity ORDER BY 2")
    })?
    .map_err(failed)?;
    connection.start_all(slot, Lsn(0), publications).await.map_err(failed)
}

fn chain(error: &ReplicationError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// What became of a reading.
#[derive(Debug, Default)]
pub struct Read {
    /// Transactions of which only the first rows were kept.
    pub cut: u64,
    /// How often it broke off and was begun again; what was written in between is not known.
    pub gaps: u64,
    /// Why it ended early.
    pub broke: Option<Lacking>,
}

/// Reads until `end` says up to where, and tells each transaction. A connection that is lost is made again, for as long
/// as there is no end. The slot is gone when this returns.
pub async fn read(
    mut reading: Reading,
    info: &ConnInfo,
    list: &WatchList,
    secret: &Secret,
    lines: mpsc::Sender<Line>,
    mut end: watch::Receiver<Option<Lsn>>,
) -> Read {
    let mut all = Read::default();
    loop {
        let (publications, times) = (reading.publications.clone(), reading.times + 1);
        let read = read_once(reading, list, secret, lines.clone(), end.clone()).await;
        all.cut += read.cut;
        all.broke = read.broke;
        if all.broke.is_none() || times > AGAIN_MAX {
            return all;
        }
        let stream = loop {
            tokio::select! {
                _ = end.wait_for(Option::is_some) => return all,
                () = tokio::time::sleep(AGAIN_EVERY) => {}
            }
            if let Ok(stream) = start(info, times, &publications).await {
                break stream;
            }
        };
        all.broke = None;
        all.gaps += 1;
        reading = Reading { stream, publications, times };
    }
}

async fn read_once(
    reading: Reading,
    list: &WatchList,
    secret: &Secret,
    lines: mpsc::Sender<Line>,
    mut end: watch::Receiver<Option<Lsn>>,
) -> Read {
    let mut stream = reading.stream;
    let mut gathered = Gathered::new(list, secret);
    let mut reached = Lsn(0);
    let mut timer = tokio::time::interval(STATUS_EVERY);
    let mut give_up = None;
    let broke = loop {
        if let Some(until) = *end.borrow_and_update() {
            let limit = *give_up.get_or_insert_with(|| tokio::time::Instant::now() + DRAIN_MAX);
            let inside = gathered.open.is_some();
            if reached >= until && !inside || tokio::time::Instant::now() >= limit {
                break None;
            }
        }
        let frame = tokio::select! {
            frame = stream.next() => frame,
            _ = timer.tick() => match stream.status(reached).await {
                Ok(()) => continue,
                Err(error) => Err(error),
            },
            changed = end.changed(), if give_up.is_none() => match changed {
                Ok(()) => continue,
                Err(_) => break None,
            },
        };
        match frame {
            Ok(Frame::XLogData(data)) => match decode(data.data) {
                Ok(message) => {
                    if let Message::Commit(commit) = &message {
                        reached = reached.max(commit.end_lsn);
                    }
                    if let Some(writes) = gathered.take(message)
                        && lines.send(Line::Writes(writes)).await.is_err()
                    {
                        break None;
                    }
                }
                Err(error) => break Some(error.to_string()),
            },
            Ok(Frame::Keepalive(alive)) => {
                reached = reached.max(alive.wal_end);
                if alive.reply_requested
                    && let Err(error) = stream.status(reached).await
                {
                    break Some(chain(&error));
                }
            }
            Err(error) => break Some(chain(&error)),
        }
    };
    let lost = broke.is_some();
    if !lost {
        // The slot ends with the connection, in an orderly way or not.
        drop(stream.stop().await);
    }
    let broke = broke.map(|why| lacks(format!("reading the log broke off: {why}")));
    Read { cut: gathered.cut, gaps: 0, broke }
}

/// Where kept columns are in the log's tuples.
#[derive(Clone, Debug)]
struct Layout {
    table: String,
    columns: Vec<(usize, String, Kept)>,
}

/// Messages to transactions.
pub struct Gathered<'a> {
    list: &'a WatchList,
    secret: &'a Secret,
    layouts: HashMap<u32, Layout>,
    open: Option<WritesSeen>,
    is_cut: bool,
    cut: u64,
}

impl<'a> Gathered<'a> {
    /// Nothing yet.
    pub fn new(list: &'a WatchList, secret: &'a Secret) -> Gathered<'a> {
        Gathered { list, secret, layouts: HashMap::new(), open: None, is_cut: false, cut: 0 }
    }

    /// Takes a message; a transaction that ends with it, if rows of it are to be told.
    pub fn take(&mut self, message: Message) -> Option<WritesSeen> {
        match message {
            Message::Begin(begin) => {
                let at = begin.commit_time.unix_micros() as f64 / 1e6;
                self.is_cut = false;
                self.open = Some(WritesSeen { at, xid: Some(begin.xid.into()), rows: Vec::new() });
            }
            Message::Relation(relation) => self.know(&relation),
            Message::Insert(insert) => self.row(insert.relation, Change::Insert, &insert.new, None),
            Message::Update(update) => {
                self.row(
                    update.relation,
                    Change::Update,
                    &update.new,
                    update.old.as_ref().map(|old| old.tuple()),
                );
            }
            Message::Delete(delete) => self.row(delete.relation, Change::Delete, delete.old.tuple(), None),
            Message::Commit(_) => return self.open.take().filter(|writes| !writes.rows.is_empty()),
            Message::Truncate(_) | Message::Origin(_) | Message::Type(_) | Message::Message(_) => {}
        }
        None
    }

    fn know(&mut self, relation: &Relation) {
        self.layouts.remove(&relation.id);
        let Some(watched) = self.list.find(&relation.namespace, &relation.name) else { return };
        let columns = relation.columns.iter().enumerate().filter_map(|(at, column)| {
            let (_, kept) = watched.columns.iter().find(|(name, _)| *name == column.name)?;
            Some((at, column.name.clone(), (*kept)?))
        });
        self.layouts.insert(relation.id, Layout { table: watched.name.clone(), columns: columns.collect() });
    }

    fn row(&mut self, relation: u32, op: Change, new: &Tuple, old: Option<&Tuple>) {
        let (Some(layout), Some(open)) = (self.layouts.get(&relation), &mut self.open) else { return };
        if open.rows.len() >= ROWS_MAX {
            if !std::mem::replace(&mut self.is_cut, true) {
                self.cut += 1;
            }
            return;
        }
        let mut columns = BTreeMap::new();
        for (at, name, kept) in &layout.columns {
            let said = new.0.get(*at).filter(|value| **value != TupleValue::Unchanged);
            let value = match said.or_else(|| old.and_then(|old| old.0.get(*at))) {
                // Of a deleted row all but its identity is null in the log.
                Some(TupleValue::Null) if op == Change::Delete => None,
                Some(TupleValue::Null) => Some(Value::Null),
                Some(TupleValue::Text(text)) => {
                    std::str::from_utf8(text).ok().and_then(|text| kept.keep(self.secret, text))
                }
                _ => None,
            };
            columns.extend(value.map(|value| (name.clone(), value)));
        }
        open.rows.push(RowSeen { table: layout.table.clone(), op, columns });
    }
}
