//! Generated ids: green's sequences begin far above blue's, so that numbers which the two sides hand out, while
//! other partitions still live on blue, never meet.

use replat_engine::EngineError;
use replat_model::ids::Side;
use tokio_postgres::Client;

use crate::ends::Ends;
use crate::error::on;

/// Lifts each of green's sequences to `room` above blue's, unless at least half of that room is left.
///
/// Never lowers one. A column that cannot hold the sum gets half of what is left of its range.
pub async fn give_room(ends: &Ends, blue: &Client, green: &Client, room: u64) -> Result<(), EngineError> {
    for sequence in &ends.plan.sequences {
        let ahead = last(ends, blue, Side::Blue, &sequence.blue).await?;
        let behind = last(ends, green, Side::Green, &sequence.green).await?;
        let left = u64::try_from(sequence.max.saturating_sub(ahead)).unwrap_or_default();
        let room = i64::try_from(room.min(left / 2)).unwrap_or(i64::MAX);
        if behind >= ahead.saturating_add(room / 2) && behind > ahead {
            continue;
        }
        green
            .execute(
                "SELECT setval($1::text::regclass, $2)",
                &[&sequence.green, &ahead.saturating_add(room.max(1))],
            )
            .await
            .map_err(on(ends.database(Side::Green), "giving green's sequences room"))?;
    }
    Ok(())
}

/// The last number that a sequence handed out.
async fn last(ends: &Ends, client: &Client, side: Side, sequence: &str) -> Result<i64, EngineError> {
    // The name comes quoted from the server.
    let row = client
        .query_one(&format!("SELECT last_value FROM {sequence}"), &[])
        .await
        .map_err(on(ends.database(side), "reading a sequence"))?;
    Ok(row.get(0))
}
