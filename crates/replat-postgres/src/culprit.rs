//! Which row it is that cannot be carried over, and by which expression: a server that refuses one row of many says
//! why, and seldom which.
//!
//! Ranges of keys are tried until one row is left, so a culprit among a million is found by a few dozen statements.
//! Nothing that is tried stays.

use replat_engine::EngineError;
use replat_model::ids::Side;
use replat_model::plan::{ColumnPlan, Plan, TablePlan};
use tokio_postgres::Client;

use crate::copy::{Format, boundaries, copy_range};
use crate::error::{is_of_the_row, on};
use crate::slice::{key_name, key_range, key_text, members, table_name};
use crate::sql::{quote_ident, quote_literal};

/// Into how many parts a range is cut at each step.
const PARTS: u64 = 8;

/// What was being done, for errors.
const LOOKING: &str = "looking for the row that is refused";

/// A row that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// Its key, as text.
    pub key: Vec<String>,
    /// The receiving column whose expression has no value for it; `None` if it has all its values, and cannot be stored.
    pub column: Option<String>,
    /// The server's words, with the expression if that is what fails.
    pub why: String,
}

/// How a range of rows is tried.
enum Trial<'a> {
    /// The expressions are evaluated where the rows are.
    Read(&'a [&'a ColumnPlan]),
    /// The rows are written to the other side, and taken back.
    Write { to: &'a Client, format: Format },
}

/// A range of keys: after the first, up to the second.
type Range<'r> = (Option<&'r Vec<String>>, Option<&'r Vec<String>>);

/// The rows of one table, seen from the side that has them.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// The whole plan.
    pub plan: &'a Plan,
    /// The table.
    pub table: &'a TablePlan,
    /// The side that has the rows.
    pub side: Side,
    /// A session there.
    pub client: &'a Client,
}

impl Rows<'_> {
    /// The first row of the range for which one of the `columns` of the other side has no value. `None` if there is
    /// none any more.
    ///
    /// # Errors
    ///
    /// What the server says to anything else.
    pub async fn without_value(
        &self,
        columns: &[&ColumnPlan],
        range: Range<'_>,
    ) -> Result<Option<Culprit>, EngineError> {
        let Some((key, why)) = self.refused(&Trial::Read(columns), range).await? else { return Ok(None) };
        let row = self.alone(&key);
        for column in columns {
            if let Some(why) = self.try_reading(&[column], &row).await? {
                let why = format!("{} = {}: {why}", column.target, column.expression);
                return Ok(Some(Culprit { key, column: Some(column.target.clone()), why }));
            }
        }
        Ok(Some(Culprit { key, column: None, why }))
    }

    /// The first row of the range that `to`, a session on the other side, cannot store.
    ///
    /// # Errors
    ///
    /// What the servers say to anything else.
    pub async fn not_storable(
        &self,
        to: &Client,
        format: Format,
        range: Range<'_>,
    ) -> Result<Option<Culprit>, EngineError> {
        let found = self.refused(&Trial::Write { to, format }, range).await?;
        Ok(found.map(|(key, why)| Culprit { key, column: None, why }))
    }

    async fn refused(
        &self,
        trial: &Trial<'_>,
        range: Range<'_>,
    ) -> Result<Option<(Vec<String>, String)>, EngineError> {
        let (mut after, mut upto) = (range.0.cloned(), range.1.cloned());
        loop {
            let inside = key_range(self.table, self.side, after.as_ref(), upto.as_ref());
            let rows = self.count(&inside).await?;
            let part = u32::try_from(rows.div_ceil(PARTS)).unwrap_or(u32::MAX).max(1);
            let cuts = boundaries(self.client, self.plan, self.table, self.side, &inside, part).await?;
            let mut lower = after.clone();
            let mut found = None;
            for cut in cuts.into_iter().map(Some).chain([upto.clone()]) {
                if let Some(why) = self.attempt(trial, lower.as_ref(), cut.as_ref()).await? {
                    found = Some((lower, cut, why));
                    break;
                }
                lower = cut;
            }
            let Some((lower, cut, why)) = found else { return Ok(None) };
            if part == 1 {
                let inside = key_range(self.table, self.side, lower.as_ref(), cut.as_ref());
                return Ok(self.first_key(&inside).await?.map(|key| (key, why)));
            }
            (after, upto) = (lower, cut);
        }
    }

    /// The server's words, if a row of the range is refused.
    async fn attempt(
        &self,
        trial: &Trial<'_>,
        after: Option<&Vec<String>>,
        upto: Option<&Vec<String>>,
    ) -> Result<Option<String>, EngineError> {
        match trial {
            Trial::Read(columns) => {
                self.try_reading(columns, &key_range(self.table, self.side, after, upto)).await
            }
            Trial::Write { to, format } => {
                let during = on(&self.plan.end(self.side.other()).home.database, LOOKING);
                to.batch_execute("BEGIN").await.map_err(&during)?;
                let tried = copy_range(self.client, to, self.plan, self.table, after, upto, *format).await;
                to.batch_execute("ROLLBACK").await.map_err(&during)?;
                match tried {
                    Err(EngineError::Row { why, .. }) => Ok(Some(why)),
                    Err(error) => Err(error),
                    Ok(_) => Ok(None),
                }
            }
        }
    }

    async fn try_reading(
        &self,
        columns: &[&ColumnPlan],
        inside: &str,
    ) -> Result<Option<String>, EngineError> {
        let values: Vec<String> =
            columns.iter().map(|c| format!("count(({})::{})", c.expression, c.wire_type)).collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE {} AND {inside}",
            values.join(", "),
            table_name(self.plan, self.table, self.side),
            members(self.plan, self.table, self.side, ""),
        );
        match self.client.query(&sql, &[]).await {
            Ok(_) => Ok(None),
            Err(error) => match error.as_db_error().filter(|_| is_of_the_row(&error)) {
                Some(server) => Ok(Some(server.message().to_owned())),
                None => Err(on(&self.plan.end(self.side).home.database, LOOKING)(error)),
            },
        }
    }

    /// The condition that a row has this key.
    fn alone(&self, key: &[String]) -> String {
        let equal = self.table.key.iter().zip(key).map(|(column, value)| {
            let name = quote_ident(key_name(column, self.side));
            format!("{name} = {}::{}", quote_literal(value), column.type_name)
        });
        equal.collect::<Vec<_>>().join(" AND ")
    }

    async fn count(&self, inside: &str) -> Result<u64, EngineError> {
        let sql = format!(
            "SELECT count(*) FROM {} WHERE {} AND {inside}",
            table_name(self.plan, self.table, self.side),
            members(self.plan, self.table, self.side, "")
        );
        let row = self.client.query_one(&sql, &[]).await;
        let row = row.map_err(on(&self.plan.end(self.side).home.database, LOOKING))?;
        Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or_default())
    }

    async fn first_key(&self, inside: &str) -> Result<Option<Vec<String>>, EngineError> {
        let sql = format!(
            "SELECT ARRAY[{}] FROM {} WHERE {} AND {inside} LIMIT 1",
            key_text(self.table, self.side, ""),
            table_name(self.plan, self.table, self.side),
            members(self.plan, self.table, self.side, "")
        );
        let row = self.client.query_opt(&sql, &[]).await;
        let row = row.map_err(on(&self.plan.end(self.side).home.database, LOOKING))?;
        Ok(row.map(|row| row.get(0)))
    }
}

/// The error that names the culprit, or `error` if nothing more is known.
pub fn named(error: EngineError, table: &str, culprit: Option<Culprit>) -> EngineError {
    match (error, culprit) {
        (EngineError::Row { database, .. }, Some(culprit)) => EngineError::Row {
            database,
            table: table.to_owned(),
            key: Some(culprit.key.join(", ")),
            why: culprit.why,
        },
        (error, _) => error,
    }
}
