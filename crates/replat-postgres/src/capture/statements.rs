//! Statements and how often they ran, from `pg_stat_statements`: what came between two looks.

use std::collections::HashMap;
use std::time::Duration;

use replat_advise::evidence::{Line, StatementSeen, Tier};
use tokio::sync::{mpsc, watch};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::Lacking;
use super::text::{Normal, normal};
use crate::sql::quote_ident;

/// How long after the beginning of a capture is told for the first time what was counted.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What was counted of one statement.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    calls: i64,
    rows: i64,
    time_ms: f64,
}

impl Counts {
    /// What came since; all of it if the counters were reset.
    fn since(self, before: Counts) -> Counts {
        match self.calls >= before.calls {
            true => Counts {
                calls: self.calls - before.calls,
                rows: (self.rows - before.rows).max(0),
                time_ms: (self.time_ms - before.time_ms).max(0.0),
            },
            false => self,
        }
    }
}

/// Where statements are counted, and who reads it.
#[derive(Debug)]
struct Place {
    schema: String,
    role: String,
}

impl Place {
    async fn find(client: &Client) -> Result<Place, Lacking> {
        let query = "select n.nspname::text, current_user::text from pg_catalog.pg_extension e \
             join pg_catalog.pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_stat_statements'";
        let row = client.query_opt(query, &[]).await.map_err(|error| unread(&error))?;
        let Some(row) = row else {
            let why = "the extension pg_stat_statements is not there";
            return Err(Lacking::of(Tier::Statements, why).by(
                "CREATE EXTENSION pg_stat_statements; if its library is not preloaded yet, before that \
                 ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements', and restart the server",
            ));
        };
        Ok(Place { schema: row.get(0), role: row.get(1) })
    }

    /// Why the server does not tell, and what would have it do so.
    fn refused(&self, error: &tokio_postgres::Error) -> Lacking {
        match error.code() {
            Some(code) if *code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => Lacking::of(
                Tier::Statements,
                "the library of pg_stat_statements is not loaded",
            )
            .by("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements', and restart the server"),
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                let (schema, role) = (quote_ident(&self.schema), quote_ident(&self.role));
                Lacking::of(Tier::Statements, format!("{} may not read pg_stat_statements", self.role)).by(
                    format!(
                        "GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT EXECUTE ON FUNCTION \
                     {schema}.pg_stat_statements(boolean) TO {role}; GRANT pg_read_all_stats TO {role}"
                    ),
                )
            }
            _ => unread(error),
        }
    }
}

fn unread(error: &tokio_postgres::Error) -> Lacking {
    Lacking::of(Tier::Statements, format!("pg_stat_statements cannot be read: {}", super::said(error)))
}

/// What was counted before a look; what came since is what the look tells.
#[derive(Debug)]
pub struct Before {
    place: Place,
    counts: HashMap<i64, Counts>,
    /// How many entries the server had thrown away.
    thrown_away: i64,
}

/// Looks for the first time; the reason why not, if that is not possible.
pub async fn begin(client: &Client) -> Result<Before, Lacking> {
    let place = Place::find(client).await?;
    let counts = counts(client, &place.schema).await.map_err(|error| place.refused(&error))?;
    Ok(Before { thrown_away: thrown_away(client, &place.schema).await, place, counts })
}

/// As if nothing had been counted before, so that all that the server has counted is told; and since when it counts,
/// in seconds since 1970, if it says so.
pub async fn from_the_beginning(client: &Client) -> Result<(Before, Option<f64>), Lacking> {
    let place = Place::find(client).await?;
    // Versions before 1.9 do not say.
    let query = format!(
        "select extract(epoch from stats_reset)::float8 from {}.pg_stat_statements_info",
        quote_ident(&place.schema)
    );
    let since = client.query_one(&query, &[]).await.map_or(None, |row| row.get(0));
    Ok((Before { place, counts: HashMap::new(), thrown_away: 0 }, since))
}

/// Texts of statements that set columns, as far as they have been counted until now; none if they cannot be had.
pub async fn setting(client: &Client, before: &Before) -> Vec<Normal> {
    let query = format!(
        "select query from {}.pg_stat_statements(true) where {HERE} and query ~* 'update' and query ~* 'set'",
        quote_ident(&before.place.schema)
    );
    let rows = client.query(&query, &[]).await.unwrap_or_default();
    let texts = rows.iter().filter_map(|row| row.get::<_, Option<&str>>(0));
    texts.filter_map(normal).flatten().collect()
}

const HERE: &str =
    "dbid = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())";

async fn counts(client: &Client, schema: &str) -> Result<HashMap<i64, Counts>, tokio_postgres::Error> {
    let query = format!(
        "select queryid, sum(calls)::int8, sum(rows)::int8, sum(total_exec_time)::float8 \
         from {}.pg_stat_statements(false) where {HERE} and queryid is not null group by queryid",
        quote_ident(schema)
    );
    let rows = client.query(&query, &[]).await?;
    let counts =
        |row: &tokio_postgres::Row| Counts { calls: row.get(1), rows: row.get(2), time_ms: row.get(3) };
    Ok(rows.iter().map(|row| (row.get(0), counts(row))).collect())
}

/// Versions before 1.9 do not say; then nothing is known to have been thrown away.
async fn thrown_away(client: &Client, schema: &str) -> i64 {
    let query = format!("select dealloc from {}.pg_stat_statements_info", quote_ident(schema));
    client.query_one(&query, &[]).await.map_or(0, |row| row.get(0))
}

/// What ran since the first look, and what could not be seen of it.
pub async fn end(client: &Client, before: &Before) -> Result<(Vec<StatementSeen>, Vec<Lacking>), Lacking> {
    let place = &before.place;
    let refused = |error: tokio_postgres::Error| place.refused(&error);
    let now = counts(client, &place.schema).await.map_err(refused)?;
    let ran: HashMap<i64, Counts> = now
        .into_iter()
        .map(|(id, counts)| (id, counts.since(before.counts.get(&id).copied().unwrap_or_default())))
        .filter(|(_, counts)| counts.calls > 0)
        .collect();
    let ids: Vec<i64> = ran.keys().copied().collect();
    let texts = format!(
        "select queryid, min(query) from {}.pg_stat_statements(true) where {HERE} and queryid = any ($1) group by queryid",
        quote_ident(&place.schema)
    );
    let rows = client.query(&texts, &[&ids]).await.map_err(refused)?;
    let (mut statements, mut unread) = (Vec::new(), 0_usize);
    for row in rows {
        let (id, text): (i64, Option<String>) = (row.get(0), row.get(1));
        let Some(counts) = ran.get(&id) else { continue };
        let read = text.as_deref().and_then(normal);
        let [one] = read.as_deref().unwrap_or_default() else {
            unread += 1;
            continue;
        };
        if !one.is_about_rows() || one.is_of_the_catalogue() {
            continue;
        }
        statements.push(StatementSeen {
            id: id.to_string(),
            text: one.text(),
            calls: u64::try_from(counts.calls).ok(),
            rows: u64::try_from(counts.rows).ok(),
            time_ms: Some((counts.time_ms * 1e3).round() / 1e3),
        });
    }
    statements.sort_by(|a, b| a.id.cmp(&b.id));
    let mut lacking = hidden(client, place).await?;
    if thrown_away(client, &place.schema).await > before.thrown_away {
        let why = "the server threw statements away while they were counted, since it keeps too few";
        lacking.push(
            Lacking::of(Tier::Statements, why)
                .by("ALTER SYSTEM SET pg_stat_statements.max = 20000, and restart the server"),
        );
    }
    if unread > 0 {
        let left_out = super::counted(unread, "statement was", "statements were");
        lacking.push(Lacking::of(
            Tier::Statements,
            format!("{left_out} left out, whose text is not understood"),
        ));
    }
    Ok((statements, lacking))
}

/// Tells `lines` again and again what was counted until then, each time after a pause that is twice as long, until
/// `over`: who is killed meanwhile has said the last of it. What does not answer is passed over.
pub async fn tell(
    client: &Client,
    before: &Before,
    lines: mpsc::Sender<Line>,
    mut over: watch::Receiver<bool>,
) {
    let mut pause = FIRST_PAUSE;
    let mut told: HashMap<String, Option<u64>> = HashMap::new();
    loop {
        tokio::select! {
            _ = over.wait_for(|over| *over) => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause *= 2;
        let Ok((seen, _)) = end(client, before).await else { continue };
        for seen in seen {
            if told.insert(seen.id.clone(), seen.calls) != Some(seen.calls)
                && lines.send(Line::Statement(seen)).await.is_err()
            {
                return;
            }
        }
    }
}

/// Statements of other roles are shown without a name unless one may read all statistics.
async fn hidden(client: &Client, place: &Place) -> Result<Vec<Lacking>, Lacking> {
    let query = format!(
        "select count(*) from {}.pg_stat_statements(false) where {HERE} and queryid is null",
        quote_ident(&place.schema)
    );
    let row = client.query_one(&query, &[]).await.map_err(|error| place.refused(&error))?;
    let count: i64 = row.get(0);
    if count == 0 {
        return Ok(Vec::new());
    }
    let why = format!("{count} statements of other roles are hidden from {}", place.role);
    let grant = format!("GRANT pg_read_all_stats TO {}", quote_ident(&place.role));
    Ok(vec![Lacking::of(Tier::Statements, why).by(grant)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_were_reset_count_from_zero() {
        let counts = |calls| Counts { calls, rows: calls * 2, time_ms: 1.0 };
        assert_eq!(counts(10).since(counts(4)).calls, 6);
        assert_eq!(counts(10).since(counts(4)).rows, 12);
        assert_eq!(counts(3).since(counts(4)).calls, 3);
    }
}
