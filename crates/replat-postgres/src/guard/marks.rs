//! Notes in a server's log that replat's streams meet in commit order, and positions in it.

use replat_engine::EngineError;
use replat_model::ids::{Lsn, PartitionId, Side};
use replat_model::plan::Plan;
use tokio_postgres::{Client, Transaction};

use super::schema_of;
use crate::error::on;

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

/// Writes a mark into the log of `side`'s server. The home's secret is put in front of it by the server itself, so that
/// the streams of two homes in one database tell their marks apart.
pub async fn emit(
    tx: &Transaction<'_>,
    plan: &Plan,
    side: Side,
    mark: &Mark,
) -> Result<(), tokio_postgres::Error> {
    let (prefix, content) = mark.encode();
    tx.query_one(
        "SELECT pg_logical_emit_message(true, $1, mark || ' ' || $2::text)::text \
         FROM replat.fence WHERE partition = $3 AND schema_name = $4",
        &[&prefix, &content, &plan.partition.as_str(), &schema_of(plan, side)],
    )
    .await?;
    Ok(())
}

/// What the marks of `side` begin with in the log of its server.
pub async fn mark_secret(client: &Client, plan: &Plan, side: Side) -> Result<String, EngineError> {
    let home = &plan.end(side).home;
    let row = client
        .query_opt(
            "SELECT mark FROM replat.fence WHERE partition = $1 AND schema_name = $2",
            &[&plan.partition.as_str(), &home.schema],
        )
        .await
        .map_err(on(&home.database, "reading the fence row"))?;
    row.map(|r| r.get(0)).ok_or_else(|| EngineError::Precondition {
        what: format!("{home} has no fence row of {}", plan.partition),
        remedy: "Abort the deployment and start it again.".into(),
    })
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
