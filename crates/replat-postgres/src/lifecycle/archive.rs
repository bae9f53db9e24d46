//! A partition's rows in a file, verified by reading them back.
//!
//! The file has what `COPY … TO STDOUT` sends, in text format, so that `COPY … FROM` reads it. Beside it lies a second
//! one, `….json`, that says what is in it and how the table was made. Two digests are kept: the file's own, and one of
//! its rows that does not depend on their order, by which the table can be compared later, and after it was rewritten.

use std::fmt::Write as _;
use std::path::Path;
use std::pin::pin;

use bytes::Bytes;
use futures_util::TryStreamExt;
use replat_engine::EngineError;
use replat_engine::lifecycle::Hear;
use replat_model::lifecycle::facts::{Bound, TableName};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio_postgres::Client;

use super::ledger::quoted;
use super::script::Filing;
use crate::error::on;
use crate::sql::{quote_ident, quote_literal};

/// How much is read from a file at once, in bytes.
const BLOCK: usize = 256 * 1024;
/// After how many bytes those who listen hear of it.
const TELL_EVERY: u64 = 16 << 20;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// The file's digest.
    pub sha256: String,
}

/// What is in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The version of this format; 1.
    pub format: u32,
    /// The table.
    pub table: TableName,
    /// Its identity at that time.
    pub table_id: u32,
    /// What belonged to it.
    pub bound: Option<Bound>,
    /// Its columns with their types, in the order of the file.
    pub columns: Vec<(String, String)>,
    /// Rows in the file.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The file's digest.
    pub sha256: String,
    /// The digest of the rows in any order.
    pub content: String,
    /// How the file is read: `COPY … FROM STDIN`.
    pub restore: String,
    /// How the table is made.
    pub ddl: Vec<String>,
}

/// The statement that sends a table's rows.
pub fn copy(table: &TableName) -> String {
    format!("COPY (SELECT * FROM {}) TO STDOUT", quoted(table))
}

/// The file of a table. Its name is safe whatever the table's is.
pub fn path(folder: &str, table: &TableName, id: u32) -> String {
    let mut name = String::new();
    for c in format!("{}.{}", table.schema, table.name).chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' => name.push(c),
            other => {
                let mut buffer = [0; 4];
                for byte in other.encode_utf8(&mut buffer).bytes() {
                    let _infallible = write!(name, "%{byte:02x}");
                }
            }
        }
    }
    // Few file systems take more than 255 bytes, and the names may have 63 each, of three letters a byte.
    if name.len() > 180 {
        let digest = Sha256::digest(name.as_bytes());
        name.truncate(150);
        let _infallible = write!(name, "-{}", hex(&digest[..8]));
    }
    // A leading dot would hide it.
    let name = name.trim_start_matches('.');
    format!("{}/{name}.{id}.copy", folder.trim_end_matches('/'))
}

/// Whether files can be written to a folder, which is made if it is not there. Asked before anything is done that
/// would be for nothing without it.
///
/// # Errors
///
/// [`EngineError::Precondition`] if not.
pub async fn usable(folder: &str) -> Result<(), EngineError> {
    let folder = Path::new(folder);
    tokio::fs::create_dir_all(folder).await.map_err(file(folder))?;
    let probe = folder.join(format!(".replat-{}.tmp", std::process::id()));
    let written = create(&probe).await;
    drop(tokio::fs::remove_file(&probe).await);
    written.map(drop)
}

/// Writes a table to its file, reads the file back, and compares it with the table. The client is in a transaction
/// with one snapshot.
///
/// # Errors
///
/// [`EngineError::Precondition`] if the file cannot be written, or does not hold what the table holds.
pub async fn write(
    client: &Client,
    database: &str,
    filing: &Filing,
    heard: &dyn Hear,
) -> Result<Written, EngineError> {
    let path = Path::new(&filing.path);
    let part = path.with_extension("copy.tmp");
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(file(folder))?;
    }
    let written = verified(client, database, filing, &part, heard).await;
    if written.is_err() {
        // What was begun is of no use to anybody.
        drop(tokio::fs::remove_file(&part).await);
    }
    written
}

async fn verified(
    client: &Client,
    database: &str,
    filing: &Filing,
    part: &Path,
    heard: &dyn Hear,
) -> Result<Written, EngineError> {
    let path = Path::new(&filing.path);
    let sent = receive(client, database, &filing.table, Some(part), heard).await?;
    let read = read_back(part).await?;
    // What the server sends twice under one snapshot is what it has; what the disk gives back is what it kept.
    let again = receive(client, database, &filing.table, None, heard).await?;
    if sent != read || sent.content != again.content {
        return Err(EngineError::Precondition {
            what: format!("{} does not hold what {} holds", filing.path, filing.table),
            remedy: "Check the disk of the archive folder; nothing was dropped.".into(),
        });
    }
    let contents = Contents {
        format: 1,
        table: filing.table.clone(),
        table_id: filing.table_id,
        bound: filing.bound.clone(),
        columns: columns(client, database, filing.table_id).await?,
        rows: sent.content.rows,
        bytes: sent.bytes,
        sha256: sent.sha256.clone(),
        content: sent.content.to_string(),
        restore: format!("COPY {} FROM STDIN", quoted(&filing.table)),
        ddl: ddl(client, database, &filing.table, filing.table_id).await?,
    };
    let text = serde_json::to_vec_pretty(&contents).expect("contents are texts and numbers");
    let beside = beside(path);
    let beside_part = beside.with_extension("json.tmp");
    let mut out = create(&beside_part).await?;
    out.write_all(&text).await.map_err(file(&beside_part))?;
    keep(out, &beside_part, &beside).await?;
    let out = File::open(part).await.map_err(file(part))?;
    keep(out, part, path).await?;
    Ok(Written { rows: sent.content.rows, sha256: sent.sha256 })
}

/// Whether a table still holds what was archived, and the file still is what was written.
///
/// # Errors
///
/// [`EngineError::Precondition`] if one of them is not so.
pub async fn compare(
    client: &Client,
    database: &str,
    table: &TableName,
    path: &str,
    sha256: &str,
) -> Result<(), EngineError> {
    let read = read_back(Path::new(path)).await?;
    if read.sha256 != sha256 {
        return Err(EngineError::Precondition {
            what: format!("{path} is not the file that was written: its digest differs"),
            remedy: "Bring the file back, or archive the table again under another folder.".into(),
        });
    }
    let now = receive(client, database, table, None, &replat_engine::lifecycle::Quiet).await?;
    match now.content == read.content {
        true => Ok(()),
        false => Err(EngineError::Precondition {
            what: format!(
                "{table} has changed since it was archived: {} rows now, {} in {path}",
                now.content.rows, read.content.rows
            ),
            remedy: "Move the file away and archive the table again.".into(),
        }),
    }
}

/// A pass over rows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pass {
    bytes: u64,
    sha256: String,
    content: Content,
}

async fn receive(
    client: &Client,
    database: &str,
    table: &TableName,
    to: Option<&Path>,
    heard: &dyn Hear,
) -> Result<Pass, EngineError> {
    let failed = on(database, "reading the rows of a partition");
    let mut out = match to {
        Some(path) => Some((BufWriter::with_capacity(BLOCK, create(path).await?), path)),
        None => None,
    };
    let mut reader = Reader::default();
    let mut stream = pin!(client.copy_out(&copy(table)).await.map_err(&failed)?);
    let mut told = 0;
    while let Some(block) = stream.try_next().await.map_err(&failed)? {
        reader.take(&block);
        if let Some((out, path)) = &mut out {
            out.write_all(&block).await.map_err(file(path))?;
        }
        if reader.bytes - told >= TELL_EVERY {
            told = reader.bytes;
            heard.progress("rows archived", reader.content.rows, None);
        }
    }
    if let Some((mut out, path)) = out {
        out.flush().await.map_err(file(path))?;
        out.into_inner().sync_all().await.map_err(file(path))?;
    }
    Ok(reader.end())
}

async fn read_back(path: &Path) -> Result<Pass, EngineError> {
    let mut from = File::open(path).await.map_err(file(path))?;
    let mut block = vec![0; BLOCK];
    let mut reader = Reader::default();
    loop {
        let n = from.read(&mut block).await.map_err(file(path))?;
        if n == 0 {
            return Ok(reader.end());
        }
        reader.take(&Bytes::copy_from_slice(&block[..n]));
    }
}

/// Digests bytes as they come, whole and by row. A line end inside a value is written as `\n`, so each is a row's.
#[derive(Default)]
struct Reader {
    whole: Sha256,
    row: Sha256,
    bytes: u64,
    content: Content,
}

impl Reader {
    fn take(&mut self, block: &[u8]) {
        self.whole.update(block);
        self.bytes += block.len() as u64;
        let mut rest = block;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.row.update(&rest[..end]);
            let digest = self.row.finalize_reset();
            self.content.add(&digest);
            rest = &rest[end + 1..];
        }
        self.row.update(rest);
    }

    fn end(self) -> Pass {
        Pass { bytes: self.bytes, sha256: hex(&self.whole.finalize()), content: self.content }
    }
}

/// The rows of a table in any order: how many there are, and the sum of their digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Content {
    rows: u64,
    sum: [u64; 4],
}

impl Content {
    fn add(&mut self, digest: &[u8]) {
        self.rows += 1;
        let mut carry = false;
        for (sum, bytes) in self.sum.iter_mut().zip(digest.chunks_exact(8)) {
            let word = u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
            let (with_carry, over_a) = sum.overflowing_add(u64::from(carry));
            let (added, over_b) = with_carry.overflowing_add(word);
            (*sum, carry) = (added, over_a || over_b);
        }
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.rows)?;
        self.sum.iter().try_for_each(|word| write!(f, "{word:016x}"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn beside(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// A file that nobody else may read.
async fn create(path: &Path) -> Result<File, EngineError> {
    // One that was broken off could be readable by others.
    drop(tokio::fs::remove_file(path).await);
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    options.open(path).await.map_err(file(path))
}

/// Gives a file that is complete its name, for good.
async fn keep(out: File, from: &Path, to: &Path) -> Result<(), EngineError> {
    out.sync_all().await.map_err(file(from))?;
    tokio::fs::rename(from, to).await.map_err(file(to))?;
    if let Some(folder) = to.parent() {
        let folder_file = File::open(folder).await.map_err(file(folder))?;
        folder_file.sync_all().await.map_err(file(folder))?;
    }
    Ok(())
}

fn file(path: &Path) -> impl Fn(std::io::Error) -> EngineError + '_ {
    move |error| EngineError::Precondition {
        what: format!("{} cannot be used: {error}", path.display()),
        remedy: "Make the archive folder one that replat may write to, with room for the table.".into(),
    }
}

async fn columns(client: &Client, database: &str, id: u32) -> Result<Vec<(String, String)>, EngineError> {
    let rows = client
        .query(
            "SELECT attname::text, pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute \
             WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            &[&id],
        )
        .await
        .map_err(on(database, "reading columns"))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Statements that make such a table: its columns, constraints and indexes.
async fn ddl(
    client: &Client,
    database: &str,
    table: &TableName,
    id: u32,
) -> Result<Vec<String>, EngineError> {
    let failed = on(database, "reading a table's definition");
    let columns = client
        .query(
            "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, \
               pg_catalog.pg_get_expr(d.adbin, d.adrelid), a.attgenerated::text, \
               CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::pg_catalog.regcollation::text END \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
               LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[&id],
        )
        .await
        .map_err(&failed)?;
    let column = |row: &tokio_postgres::Row| {
        let mut text = format!("{} {}", quote_ident(row.get(0)), row.get::<_, &str>(1));
        if let Some(collation) = row.get::<_, Option<&str>>(5) {
            text += &format!(" COLLATE {collation}");
        }
        match (row.get::<_, Option<&str>>(3), row.get::<_, &str>(4)) {
            (Some(expression), "s") => text += &format!(" GENERATED ALWAYS AS ({expression}) STORED"),
            (Some(expression), _) => text += &format!(" DEFAULT {expression}"),
            (None, _) => {}
        }
        if row.get(2) {
            text += " NOT NULL";
        }
        text
    };
    let columns: Vec<String> = columns.iter().map(column).collect();
    let mut statements = vec![format!("CREATE TABLE {} ({})", quoted(table), columns.join(", "))];
    let more = client
        .query(
            "SELECT pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', $2::text, conname, \
               pg_catalog.pg_get_constraintdef(oid)) FROM pg_catalog.pg_constraint \
             WHERE conrelid = $1 AND contype IN ('p', 'u', 'x', 'c') \
             UNION ALL SELECT pg_catalog.pg_get_indexdef(x.indexrelid) FROM pg_catalog.pg_index x \
             WHERE x.indrelid = $1 AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k \
               WHERE k.conindid = x.indexrelid AND k.conrelid = x.indrelid)",
            &[&id, &quoted(table)],
        )
        .await
        .map_err(&failed)?;
    statements.extend(more.iter().map(|row| row.get::<_, String>(0)));
    statements.push(format!(
        "COMMENT ON TABLE {} IS {}",
        quoted(table),
        quote_literal("restored from an archive")
    ));
    Ok(statements)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(blocks: &[&str]) -> Pass {
        let mut reader = Reader::default();
        blocks.iter().for_each(|block| reader.take(block.as_bytes()));
        reader.end()
    }

    #[test]
    fn the_content_is_the_rows_in_any_order_and_any_blocks() {
        let one = pass(&["1\ta\n2\tb\n"]);
        assert_eq!(one, pass(&["1\t", "a\n2", "\tb\n"]));
        let turned = pass(&["2\tb\n1\ta\n"]);
        assert_ne!(one.sha256, turned.sha256);
        assert_eq!(one.content, turned.content);
        for other in [&["1\ta\n"][..], &["1\ta\n2\tb\n2\tb\n"], &["1\tb\n2\ta\n"], &["1\ta\n2\tc\n"]] {
            assert_ne!(one.content, pass(other).content, "{other:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_file_name_is_safe_and_short(schema in ".{1,63}", name in ".{1,63}", id: u32) {
            let path = path("/folder", &TableName::new(schema, name), id);
            let file = path.strip_prefix("/folder/").expect("it lies in the folder");
            proptest::prop_assert!(!file.contains('/') && !file.starts_with('.') && file.len() < 250);
            proptest::prop_assert!(file.is_ascii() && !file.contains(char::is_control));
        }
    }
}
