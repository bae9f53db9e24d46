//! The other direction of the pgoutput decoder, written from PostgreSQL's protocol documentation.

use bytes::{BufMut, Bytes, BytesMut};
use replat_wire::pgoutput::{Message, OldRow, Relation, ReplicaIdentity, Truncate, Tuple, TupleValue};

pub fn encode(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    match message {
        Message::Begin(begin) => {
            out.put_u8(b'B');
            out.put_u64(begin.final_lsn.0);
            out.put_i64(begin.commit_time.0);
            out.put_u32(begin.xid);
        }
        Message::Commit(commit) => {
            out.put_slice(b"C\0");
            out.put_u64(commit.lsn.0);
            out.put_u64(commit.end_lsn.0);
            out.put_i64(commit.time.0);
        }
        Message::Origin(origin) => {
            out.put_u8(b'O');
            out.put_u64(origin.commit_lsn.0);
            text(&origin.name, &mut out);
        }
        Message::Relation(table) => relation(table, &mut out),
        Message::Type(name) => {
            out.put_u8(b'Y');
            out.put_u32(name.id);
            text(&name.namespace, &mut out);
            text(&name.name, &mut out);
        }
        Message::Insert(insert) => {
            out.put_u8(b'I');
            out.put_u32(insert.relation);
            row(b'N', &insert.new, &mut out);
        }
        Message::Update(update) => {
            out.put_u8(b'U');
            out.put_u32(update.relation);
            if let Some(old) = &update.old {
                old_row(old, &mut out);
            }
            row(b'N', &update.new, &mut out);
        }
        Message::Delete(delete) => {
            out.put_u8(b'D');
            out.put_u32(delete.relation);
            old_row(&delete.old, &mut out);
        }
        Message::Truncate(tables) => truncate(tables, &mut out),
        Message::Message(message) => {
            out.put_u8(b'M');
            out.put_u8(message.transactional.into());
            out.put_u64(message.lsn.0);
            text(&message.prefix, &mut out);
            out.put_u32(message.content.len() as u32);
            out.put_slice(&message.content);
        }
    }
    out.freeze()
}

fn relation(table: &Relation, out: &mut BytesMut) {
    out.put_u8(b'R');
    out.put_u32(table.id);
    text(&table.namespace, out);
    text(&table.name, out);
    out.put_u8(match table.replica_identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Nothing => b'n',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Index => b'i',
    });
    out.put_u16(table.columns.len() as u16);
    for column in &table.columns {
        out.put_u8(column.key.into());
        text(&column.name, out);
        out.put_u32(column.type_oid);
        out.put_i32(column.typmod);
    }
}

fn truncate(tables: &Truncate, out: &mut BytesMut) {
    out.put_u8(b'T');
    out.put_u32(tables.relations.len() as u32);
    out.put_u8(u8::from(tables.cascade) | u8::from(tables.restart_identity) << 1);
    for id in &tables.relations {
        out.put_u32(*id);
    }
}

fn old_row(old: &OldRow, out: &mut BytesMut) {
    match old {
        OldRow::Key(tuple) => row(b'K', tuple, out),
        OldRow::Full(tuple) => row(b'O', tuple, out),
    }
}

fn row(kind: u8, tuple: &Tuple, out: &mut BytesMut) {
    out.put_u8(kind);
    out.put_u16(tuple.0.len() as u16);
    for value in &tuple.0 {
        match value {
            TupleValue::Null => out.put_u8(b'n'),
            TupleValue::Unchanged => out.put_u8(b'u'),
            TupleValue::Text(bytes) => sized(b't', bytes, out),
            TupleValue::Binary(bytes) => sized(b'b', bytes, out),
        }
    }
}

fn sized(kind: u8, bytes: &Bytes, out: &mut BytesMut) {
    out.put_u8(kind);
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

fn text(text: &str, out: &mut BytesMut) {
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}
