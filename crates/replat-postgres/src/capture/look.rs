//! What a server tells at once, without being watched: its catalogue, and the counters of its statements.

use replat_advise::evidence::{Evidence, FORMAT, Head, StatementSeen, Tier};
use tokio_postgres::Client;

use super::{CaptureError, Lacking, catalogue, counted_by, reading, statements};
use crate::conninfo::ConnInfo;
use crate::error::on;

/// What our sessions are called.
const APPLICATION: &str = "replat/advise";

/// Reads T0 and T1 of a database as they are now, in a session that only reads. What cannot be had is told in the
/// evidence, with the statement that would give it. `database` is what people call it.
///
/// Of statements all is told that was counted since their counters began, which the span of the evidence tells.
///
/// # Errors
///
/// See [`CaptureError`]; it is never busy.
pub async fn look(info: &ConnInfo, database: &str) -> Result<Evidence, CaptureError> {
    let client = reading(info, APPLICATION, database).await?;
    let (found, mut lacking) = catalogue::read(&client, database).await?;
    if found.is_empty() {
        return Err(CaptureError::NoTables { database: database.to_owned() });
    }
    let (statements, since) = match counted(&client, &mut lacking).await {
        Ok(counted) => counted,
        Err(why) => {
            lacking.push(why);
            (Vec::new(), None)
        }
    };
    let clock = "select extract(epoch from pg_catalog.clock_timestamp())::float8";
    let row = client.query_one(clock, &[]).await.map_err(on(database, "asking for the time"))?;
    let now: f64 = row.get(0);
    let head = Head {
        format: FORMAT.to_owned(),
        name: database.to_owned(),
        span: Some((since.unwrap_or(now), now)),
        counted_by: counted_by(&client).await,
        lacking: lacking.iter().map(Lacking::to_string).collect(),
        ..Head::default()
    };
    let tables = found.into_iter().map(|found| found.seen).collect();
    Ok(Evidence { head, tables, statements, ..Evidence::default() })
}

/// The statements, and since when they are counted. What could be better is added to `lacking`.
async fn counted(
    client: &Client,
    lacking: &mut Vec<Lacking>,
) -> Result<(Vec<StatementSeen>, Option<f64>), Lacking> {
    let (before, since) = statements::from_the_beginning(client).await?;
    let (statements, but) = statements::end(client, &before).await?;
    if statements.is_empty() && but.is_empty() {
        let why = "no statement about rows has been counted here yet";
        lacking.push(Lacking::of(Tier::Statements, why));
    }
    lacking.extend(but);
    Ok((statements, since))
}
