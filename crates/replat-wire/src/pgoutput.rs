//! The messages of PostgreSQL's `pgoutput` plugin, protocol versions 1 and 2 without streaming.
//!
//! Streaming of transactions in progress and two-phase commit are refused by name: their messages carry
//! transaction ids that a reader of whole transactions would silently drop, and with them the knowledge which
//! changes were rolled back.

use bytes::Bytes;
use replat_model::ids::Lsn;

use crate::reader::Reader;
use crate::{DecodeError, PgTimestamp, Problem};

/// One message of the plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A committed transaction begins; its changes follow up to [`Message::Commit`].
    Begin(Begin),
    /// The transaction ends.
    Commit(Commit),
    /// The transaction came from another server.
    Origin(Origin),
    /// What a table looks like, sent before its first change and again after every change of its shape.
    Relation(Relation),
    /// What a type that is not built in is called.
    Type(TypeName),
    /// A row appeared.
    Insert(Insert),
    /// A row changed.
    Update(Update),
    /// A row vanished.
    Delete(Delete),
    /// Tables were emptied.
    Truncate(Truncate),
    /// A message from `pg_logical_emit_message`.
    Message(LogicalMessage),
}

/// The beginning of a committed transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Where the transaction's commit record stands: the `lsn` of its [`Commit`].
    pub final_lsn: Lsn,
    /// When it was committed, by the server's clock.
    pub commit_time: PgTimestamp,
    /// The transaction's id; it wraps around.
    pub xid: u32,
}

/// The end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Where the commit record stands.
    pub lsn: Lsn,
    /// The end of the commit record: what to confirm once the transaction is durable elsewhere.
    pub end_lsn: Lsn,
    /// When it was committed, by the server's clock.
    pub time: PgTimestamp,
}

/// Where a transaction was committed first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Where it was committed on that server.
    pub commit_lsn: Lsn,
    /// The name of the replication origin here.
    pub name: String,
}

/// The shape of a table, as it was when the changes that follow were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The table's OID, by which changes refer to it.
    pub id: u32,
    /// Its schema; `pg_catalog` arrives as an empty text.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What the old row of an update or delete is made of.
    pub replica_identity: ReplicaIdentity,
    /// Its published columns, in the order of the values of a [`Tuple`].
    pub columns: Vec<Column>,
}

/// What the log keeps of a row before it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// Nothing.
    Nothing,
    /// Every column.
    Full,
    /// The columns of a chosen unique index.
    Index,
}

/// One published column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Whether it is part of the replica identity.
    pub key: bool,
    /// Its name.
    pub name: String,
    /// The OID of its type.
    pub type_oid: u32,
    /// Its type's modifier, such as a length; -1 if there is none.
    pub typmod: i32,
}

/// The name of a type that is not built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeName {
    /// The type's OID.
    pub id: u32,
    /// Its schema; `pg_catalog` arrives as an empty text.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A row that appeared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insert {
    /// The table, as in [`Relation::id`].
    pub relation: u32,
    /// The row.
    pub new: Tuple,
}

/// A row that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The table, as in [`Relation::id`].
    pub relation: u32,
    /// The row before; absent if the replica identity did not change.
    pub old: Option<OldRow>,
    /// The row after.
    pub new: Tuple,
}

/// A row that vanished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The table, as in [`Relation::id`].
    pub relation: u32,
    /// The row before.
    pub old: OldRow,
}

/// What is known of a row before its change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OldRow {
    /// The replica identity; every other column is NULL here, whatever it was.
    Key(Tuple),
    /// The whole row (REPLICA IDENTITY FULL).
    Full(Tuple),
}

impl OldRow {
    /// The values, of which only the identity counts if this is a [`OldRow::Key`].
    pub fn tuple(&self) -> &Tuple {
        match self {
            OldRow::Key(tuple) | OldRow::Full(tuple) => tuple,
        }
    }
}

/// Tables that were emptied together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncate {
    /// The tables, as in [`Relation::id`].
    pub relations: Vec<u32>,
    /// Whether it was TRUNCATE .. CASCADE.
    pub cascade: bool,
    /// Whether it was TRUNCATE .. RESTART IDENTITY.
    pub restart_identity: bool,
}

/// What somebody wrote to the log by `pg_logical_emit_message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalMessage {
    /// Whether it belongs to the transaction around it, or stands by itself.
    pub transactional: bool,
    /// Where it stands in the log.
    pub lsn: Lsn,
    /// For whom it is.
    pub prefix: String,
    /// What it says: any bytes.
    pub content: Bytes,
}

/// The values of one row, in the order of [`Relation::columns`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuple(pub Vec<TupleValue>);

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TupleValue {
    /// NULL.
    Null,
    /// Stored out of line and not changed, so the log does not have it. Not NULL.
    Unchanged,
    /// The text form of its type, under the settings of the replication session.
    Text(Bytes),
    /// The binary form of its type; only if the stream was started with `binary`.
    Binary(Bytes),
}

/// Decodes one message; values are slices of `message`, not copies.
///
/// # Errors
///
/// [`DecodeError`] says which message is wrong at which byte. Messages of streamed and of prepared transactions
/// are [`Problem::Unsupported`].
pub fn decode(message: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(message, "pgoutput message");
    let tag = reader.u8("tag")?;
    if let Some(problem) = refused(tag) {
        return Err(DecodeError { what: "pgoutput message", at: 0, problem });
    }
    let message = match tag {
        b'B' => Message::Begin(begin(&mut reader)?),
        b'C' => Message::Commit(commit(&mut reader)?),
        b'O' => Message::Origin(origin(&mut reader)?),
        b'R' => Message::Relation(relation(&mut reader)?),
        b'Y' => Message::Type(type_name(&mut reader)?),
        b'I' => Message::Insert(insert(&mut reader)?),
        b'U' => Message::Update(update(&mut reader)?),
        b'D' => Message::Delete(delete(&mut reader)?),
        b'T' => Message::Truncate(truncate(&mut reader)?),
        b'M' => Message::Message(logical_message(&mut reader)?),
        value => {
            let problem = Problem::Unknown { field: "tag of a pgoutput message", value };
            return Err(DecodeError { what: "pgoutput message", at: 0, problem });
        }
    };
    reader.finish(message)
}

/// Messages that exist but that nobody asked for.
fn refused(tag: u8) -> Option<Problem> {
    const STREAMING: &str = "the streaming of transactions in progress";
    const TWO_PHASE: &str = "the decoding of prepared transactions";
    let (message, feature) = match tag {
        b'S' => ("Stream Start", STREAMING),
        b'E' => ("Stream Stop", STREAMING),
        b'c' => ("Stream Commit", STREAMING),
        b'A' => ("Stream Abort", STREAMING),
        b'p' => ("Stream Prepare", STREAMING),
        b'b' => ("Begin Prepare", TWO_PHASE),
        b'P' => ("Prepare", TWO_PHASE),
        b'K' => ("Commit Prepared", TWO_PHASE),
        b'r' => ("Rollback Prepared", TWO_PHASE),
        _ => return None,
    };
    Some(Problem::Unsupported { message, feature })
}

fn begin(reader: &mut Reader) -> Result<Begin, DecodeError> {
    reader.is_now("Begin");
    Ok(Begin {
        final_lsn: reader.lsn("final position")?,
        commit_time: reader.time("commit time")?,
        xid: reader.u32("transaction id")?,
    })
}

fn commit(reader: &mut Reader) -> Result<Commit, DecodeError> {
    reader.is_now("Commit");
    reader.u8("flags")?;
    Ok(Commit {
        lsn: reader.lsn("position")?,
        end_lsn: reader.lsn("end position")?,
        time: reader.time("commit time")?,
    })
}

fn origin(reader: &mut Reader) -> Result<Origin, DecodeError> {
    reader.is_now("Origin");
    Ok(Origin { commit_lsn: reader.lsn("position")?, name: reader.text("name")? })
}

fn relation(reader: &mut Reader) -> Result<Relation, DecodeError> {
    reader.is_now("Relation");
    let id = reader.u32("relation id")?;
    let namespace = reader.text("schema")?;
    let name = reader.text("name")?;
    let replica_identity = replica_identity(reader)?;
    let count = reader.count16("number of columns")?;
    let columns = (0..count).map(|_| column(reader)).collect::<Result<_, _>>()?;
    Ok(Relation { id, namespace, name, replica_identity, columns })
}

fn replica_identity(reader: &mut Reader) -> Result<ReplicaIdentity, DecodeError> {
    match reader.u8("replica identity")? {
        b'd' => Ok(ReplicaIdentity::Default),
        b'n' => Ok(ReplicaIdentity::Nothing),
        b'f' => Ok(ReplicaIdentity::Full),
        b'i' => Ok(ReplicaIdentity::Index),
        value => Err(reader.problem(Problem::Unknown { field: "replica identity", value })),
    }
}

fn column(reader: &mut Reader) -> Result<Column, DecodeError> {
    Ok(Column {
        key: reader.u8("column flags")? & 1 != 0,
        name: reader.text("column name")?,
        type_oid: reader.u32("column type")?,
        typmod: reader.i32("type modifier")?,
    })
}

fn type_name(reader: &mut Reader) -> Result<TypeName, DecodeError> {
    reader.is_now("Type");
    Ok(TypeName { id: reader.u32("type id")?, namespace: reader.text("schema")?, name: reader.text("name")? })
}

fn insert(reader: &mut Reader) -> Result<Insert, DecodeError> {
    reader.is_now("Insert");
    let relation = reader.u32("relation id")?;
    match reader.u8("kind of row")? {
        b'N' => Ok(Insert { relation, new: tuple(reader)? }),
        value => Err(reader.problem(Problem::Unknown { field: "kind of row", value })),
    }
}

fn update(reader: &mut Reader) -> Result<Update, DecodeError> {
    reader.is_now("Update");
    let relation = reader.u32("relation id")?;
    let mut kind = reader.u8("kind of row")?;
    let mut old = None;
    if kind != b'N' {
        old = Some(old_row(kind, reader)?);
        kind = reader.u8("kind of row")?;
    }
    match kind {
        b'N' => Ok(Update { relation, old, new: tuple(reader)? }),
        value => Err(reader.problem(Problem::Unknown { field: "kind of row", value })),
    }
}

fn delete(reader: &mut Reader) -> Result<Delete, DecodeError> {
    reader.is_now("Delete");
    let relation = reader.u32("relation id")?;
    let kind = reader.u8("kind of row")?;
    Ok(Delete { relation, old: old_row(kind, reader)? })
}

fn old_row(kind: u8, reader: &mut Reader) -> Result<OldRow, DecodeError> {
    match kind {
        b'K' => tuple(reader).map(OldRow::Key),
        b'O' => tuple(reader).map(OldRow::Full),
        value => Err(reader.problem(Problem::Unknown { field: "kind of row", value })),
    }
}

fn truncate(reader: &mut Reader) -> Result<Truncate, DecodeError> {
    reader.is_now("Truncate");
    let count = reader.count32("number of relations")?;
    let options = reader.u8("options")?;
    let mut relations = Vec::with_capacity(reader.at_most(count, 4));
    for _ in 0..count {
        relations.push(reader.u32("relation id")?);
    }
    Ok(Truncate { relations, cascade: options & 1 != 0, restart_identity: options & 2 != 0 })
}

fn logical_message(reader: &mut Reader) -> Result<LogicalMessage, DecodeError> {
    reader.is_now("Message");
    let transactional = reader.u8("flags")? & 1 != 0;
    let lsn = reader.lsn("position")?;
    let prefix = reader.text("prefix")?;
    let length = reader.count32("length of the content")?;
    Ok(LogicalMessage { transactional, lsn, prefix, content: reader.take(length, "content")? })
}

fn tuple(reader: &mut Reader) -> Result<Tuple, DecodeError> {
    let count = reader.count16("number of values")?;
    let mut values = Vec::with_capacity(reader.at_most(count, 1));
    for _ in 0..count {
        values.push(value(reader)?);
    }
    Ok(Tuple(values))
}

fn value(reader: &mut Reader) -> Result<TupleValue, DecodeError> {
    match reader.u8("kind of value")? {
        b'n' => Ok(TupleValue::Null),
        b'u' => Ok(TupleValue::Unchanged),
        b't' => sized(reader).map(TupleValue::Text),
        b'b' => sized(reader).map(TupleValue::Binary),
        value => Err(reader.problem(Problem::Unknown { field: "kind of value", value })),
    }
}

fn sized(reader: &mut Reader) -> Result<Bytes, DecodeError> {
    let length = reader.count32("length of a value")?;
    reader.take(length, "value")
}
