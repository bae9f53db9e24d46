//! The queries that consumers rely on, asked on both sides.
//!
//! Each is run in a transaction that cannot write, is given up by the server after a limit, and is compared by
//! [`replat_model::contract::broken`]. Nothing is left behind and no value is kept.

use std::error::Error as StdError;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use replat_engine::EngineError;
use replat_model::contract::{Answer, AnsweredColumn, Broken, ContractPlan, Kept, ROWS_MAX, broken};
use replat_model::ids::{Home, Side};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Error};

use crate::ends::{Ends, PINNED};
use crate::error::on;
use crate::sql::quote_ident;

/// What was being done, for errors.
const ASKING: &str = "asking what consumers rely on";

/// So often both sides are looked at, while blue is written to and green is a moment behind.
const LOOKS: u32 = 6;

/// What lies between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Asks every contract of the plan on both sides.
///
/// # Errors
///
/// [`EngineError`] if a side does not answer at all. That a query is refused is a contract that is not kept.
pub async fn ask(ends: &Ends) -> Result<Kept, EngineError> {
    let blue = ends.connect(Side::Blue, "contracts").await?;
    let green = ends.connect(Side::Green, "contracts").await?;
    compare(&ends.plan.contracts, (&blue, &ends.plan.blue.home), (&green, &ends.plan.green.home)).await
}

/// The same for sessions that are there already, each with the home that its tables are in.
///
/// # Errors
///
/// See [`ask`].
pub async fn compare(
    contracts: &[ContractPlan],
    blue: (&Client, &Home),
    green: (&Client, &Home),
) -> Result<Kept, EngineError> {
    let mut kept = Kept::default();
    for contract in contracts {
        match one(contract, blue, green).await? {
            Outcome::Kept => kept.kept.push(contract.name.clone()),
            Outcome::Unsettled => kept.unsettled.push(contract.name.clone()),
            Outcome::Broken(what) => kept.broken.push(Broken {
                contract: contract.name.clone(),
                consumer: contract.consumer.clone(),
                what,
            }),
        }
    }
    Ok(kept)
}

enum Outcome {
    Kept,
    Unsettled,
    Broken(String),
}

/// Green may be a moment behind, so a difference counts only if it lasts; and only if blue's own answer stands still
/// around green's.
async fn one(
    contract: &ContractPlan,
    blue: (&Client, &Home),
    green: (&Client, &Home),
) -> Result<Outcome, EngineError> {
    let mut outcome = Outcome::Unsettled;
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        let before = match answer(contract, blue).await? {
            Ok(answer) => answer,
            Err(why) => return Ok(Outcome::Broken(format!("blue itself does not answer it: {why}"))),
        };
        let now = match answer(contract, green).await? {
            Ok(answer) => answer,
            Err(why) => return Ok(Outcome::Broken(format!("green does not answer it: {why}"))),
        };
        let Some(what) = broken(contract, &before, &now) else { return Ok(Outcome::Kept) };
        let after = answer(contract, blue).await?;
        let stands_still = after.is_ok_and(|after| after.rows == before.rows);
        outcome = if stands_still || now.columns != before.columns {
            Outcome::Broken(what)
        } else {
            Outcome::Unsettled
        };
    }
    Ok(outcome)
}

/// A side's answer, or in the server's words why it gives none.
///
/// The settings under which values are written alike hold for this transaction, whatever session is given.
///
/// # Errors
///
/// See [`ask`].
pub async fn answer(
    contract: &ContractPlan,
    (client, home): (&Client, &Home),
) -> Result<Result<Answer, String>, EngineError> {
    let on = on(&home.database, ASKING);
    // What is set in a transaction is taken back with it. The server counts milliseconds in 31 bits.
    let begin = format!(
        "BEGIN TRANSACTION READ ONLY; {PINNED}; SET LOCAL search_path = {}, pg_catalog; SET LOCAL statement_timeout = {}",
        quote_ident(&home.schema),
        contract.answer_max_ms().min(i32::MAX.unsigned_abs().into())
    );
    client.batch_execute(&begin).await.map_err(&on)?;
    let answered = run(contract, client).await;
    client.batch_execute("ROLLBACK").await.map_err(&on)?;
    match answered {
        Ok(answer) => Ok(Ok(answer)),
        Err(error) => match why(contract, &error) {
            Some(why) => Ok(Err(why)),
            None => Err(on(error)),
        },
    }
}

async fn run(contract: &ContractPlan, client: &Client) -> Result<Answer, Error> {
    // Prepared as it stands, so that its columns are its own and an error says where it is.
    let plain = client.prepare(&contract.sql).await?;
    let types: Vec<u32> = plain.columns().iter().map(|column| column.type_().oid()).collect();
    let names = client
        .query(
            "SELECT pg_catalog.format_type(t.o, NULL) FROM pg_catalog.unnest($1::oid[]) WITH ORDINALITY t (o, n) ORDER BY t.n",
            &[&types],
        )
        .await?;
    let columns = plain
        .columns()
        .iter()
        .zip(&names)
        .map(|(column, name)| AnsweredColumn { name: column.name().to_owned(), type_name: name.get(0) })
        .collect();
    let places: Vec<String> = (0..types.len()).map(|n| format!("c{n}")).collect();
    let texts: Vec<String> = places.iter().map(|place| format!("q.{place}::text")).collect();
    let sql = format!(
        "SELECT ARRAY[{}]::text[] FROM (\n{}\n) AS q ({}) LIMIT {}",
        texts.join(", "),
        contract.sql.trim().trim_end_matches(';'),
        places.join(", "),
        ROWS_MAX + 1
    );
    let statement = client.prepare(&sql).await?;
    let values: Vec<Value<'_>> = contract.parameters.iter().map(|value| Value(value.as_deref())).collect();
    let parameters: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
    let begun = Instant::now();
    let rows = client.query(&statement, &parameters).await?;
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Answer { columns, rows: rows.iter().map(|row| row.get(0)).collect(), took_ms })
}

/// Why the server refused the query; `None` if it was not about the query.
fn why(contract: &ContractPlan, error: &Error) -> Option<String> {
    let Some(refusal) = error.as_db_error() else {
        // A number of values that does not fit is found before the server is asked.
        return (!error.is_closed()).then(|| error.to_string());
    };
    if *refusal.code() == SqlState::QUERY_CANCELED {
        return Some(format!("it did not answer within {} ms", contract.answer_max_ms()));
    }
    let class = refusal.code().code().get(..2).unwrap_or_default();
    let about_the_server = ["08", "53", "57", "58", "XX"].contains(&class);
    (!about_the_server).then(|| format!("{} ({})", refusal.message(), refusal.code().code()))
}

/// A value as text, whatever type the server takes it for.
#[derive(Debug)]
struct Value<'a>(Option<&'a str>);

impl ToSql for Value<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let Some(text) = self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// The value of a column in some row of a table that satisfies `predicate`, as text; `None` if there is no row.
///
/// # Errors
///
/// What the server says.
pub async fn sample(
    client: &Client,
    home: &Home,
    table: &str,
    column: &str,
    predicate: &str,
) -> Result<Option<String>, EngineError> {
    let (schema, table, column) = (quote_ident(&home.schema), quote_ident(table), quote_ident(column));
    let sql = format!("SELECT {column}::text FROM {schema}.{table} WHERE {predicate} LIMIT 1");
    let row = client.query_opt(&sql, &[]).await.map_err(on(&home.database, ASKING))?;
    Ok(row.and_then(|row| row.get(0)))
}
