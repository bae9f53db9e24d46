//! Generated ids: green's sequences begin far above blue's, so that numbers which the two sides hand out, while
//! other partitions still live on blue, never meet.

use replat_engine::EngineError;
use replat_model::ids::Side;
use replat_model::plan::SequencePlan;
use tokio_postgres::Client;

use crate::ends::Ends;
use crate::error::on;
use crate::sql::quote_ident;

/// Lifts each of green's sequences to `room` above blue's, unless at least half of that room is left.
///
/// Never lowers one. A column that cannot hold the sum gets half of what is left of its range.
pub async fn give_room(ends: &Ends, blue: &Client, green: &Client, room: u64) -> Result<(), EngineError> {
    for sequence in &ends.plan.sequences {
        let Some(ahead) = last(ends, blue, Side::Blue, sequence).await? else { continue };
        let Some(behind) = last(ends, green, Side::Green, sequence).await? else { continue };
        let left = u64::try_from(sequence.max.saturating_sub(ahead)).unwrap_or_default();
        let room = i64::try_from(room.min(left / 2)).unwrap_or(i64::MAX);
        if behind >= ahead.saturating_add(room / 2) && behind > ahead {
            continue;
        }
        green
            .execute(
                "SELECT setval(pg_get_serial_sequence($1, $2)::regclass, $3)",
                &[
                    &table(ends, Side::Green, &sequence.table),
                    &sequence.column,
                    &ahead.saturating_add(room.max(1)),
                ],
            )
            .await
            .map_err(on(ends.database(Side::Green), "giving green's sequences room"))?;
    }
    Ok(())
}

/// The last number that a sequence handed out; `None` if the column has none.
async fn last(
    ends: &Ends,
    client: &Client,
    side: Side,
    sequence: &SequencePlan,
) -> Result<Option<i64>, EngineError> {
    let (name, column) = match side {
        Side::Blue => (&sequence.blue_table, &sequence.blue_column),
        Side::Green => (&sequence.table, &sequence.column),
    };
    let on = on(ends.database(side), "reading a sequence");
    let found = client
        .query_one("SELECT pg_get_serial_sequence($1, $2)", &[&table(ends, side, name), column])
        .await
        .map_err(&on)?;
    let Some(found) = found.get::<_, Option<String>>(0) else { return Ok(None) };
    // The name comes quoted from the server.
    let row = client.query_one(&format!("SELECT last_value FROM {found}"), &[]).await.map_err(&on)?;
    Ok(Some(row.get(0)))
}

fn table(ends: &Ends, side: Side, name: &str) -> String {
    format!("{}.{}", quote_ident(&ends.plan.end(side).home.schema), quote_ident(name))
}
