//! What replat keeps about partitions, as far as a look needs it.

use std::collections::HashMap;

use replat_engine::EngineError;
use replat_model::lifecycle::facts::{
    Bound, Level, LooseState, LooseTable, Method, Micros, Origin, Sample, SetFacts, TableName,
};
use tokio_postgres::Row;

use super::Reading;
use super::assembly::{Nodes, oid};
use crate::lifecycle::ledger::{self, Ledger};

/// How far back samples are read.
const SAMPLE_DAYS: u32 = 180;
/// How many samples of one set are read at most, the newest.
const SAMPLES_MAX: i64 = 1000;

/// What is recorded about one partition that is there.
#[derive(Clone, Debug)]
pub(super) struct PartRecord {
    pub(super) origin: Origin,
    pub(super) since: Option<Micros>,
    pub(super) legal_hold: bool,
}

/// All records that concern the sets that are looked at.
#[derive(Default)]
pub(super) struct Records {
    /// By identity, with the name that was recorded: numbers are used again, so both must be as they were.
    parts: HashMap<u32, (TableName, PartRecord)>,
    loose: Vec<LooseTable>,
    samples: HashMap<u32, Vec<Sample>>,
}

impl Records {
    /// What is known of a partition; of one that is not recorded, that somebody else made it.
    pub(super) fn part(&self, id: u32, table: &TableName) -> PartRecord {
        let foreign = PartRecord { origin: Origin::Foreign, since: None, legal_hold: false };
        self.parts.get(&id).filter(|(name, _)| name == table).map_or(foreign, |(_, record)| record.clone())
    }

    /// Tables that are recorded and attached to nothing, of sets that `wanted` says yes to.
    pub(super) fn loose(&self, wanted: impl Fn(&TableName) -> bool) -> Vec<LooseTable> {
        self.loose.iter().filter(|table| wanted(&table.set)).cloned().collect()
    }

    /// Whether this partitioned table is no set of anybody's: it is being filled, or was replaced.
    pub(super) fn is_loose(&self, id: u32, table: &TableName) -> bool {
        self.loose.iter().any(|loose| oid(loose.id) == id && loose.table == *table)
    }

    /// Fills in earlier looks and this one: of the set, and of each level below lists and hashes, which grows by
    /// itself.
    pub(super) fn fill_samples(&self, set: &mut SetFacts, now: Micros, nodes: &Nodes) {
        set.samples = self.samples(oid(set.id), set.level.high.clone(), now, nodes);
        self.fill_below(&mut set.level, now, nodes);
    }

    fn fill_below(&self, level: &mut Level, now: Micros, nodes: &Nodes) {
        if level.method == Method::Range {
            return;
        }
        for part in &mut level.parts {
            let id = oid(part.id);
            if let Some(below) = &mut part.below {
                below.samples = self.samples(id, below.high.clone(), now, nodes);
                self.fill_below(below, now, nodes);
            }
        }
    }

    /// Earlier looks at a table, and this one.
    fn samples(&self, id: u32, high: Option<String>, now: Micros, nodes: &Nodes) -> Vec<Sample> {
        let mut samples = self.samples.get(&id).cloned().unwrap_or_default();
        let leaves = nodes.leaves(id);
        samples.push(Sample {
            at: now,
            inserted: leaves.iter().map(|(_, leaf)| leaf.inserted).sum(),
            rows: leaves.iter().filter_map(|(_, leaf)| leaf.rows).sum(),
            bytes: leaves.iter().map(|(_, leaf)| leaf.bytes).sum(),
            high,
        });
        samples
    }
}

/// Reads them; none, if there is no record in this database that this role may read and trust.
pub(super) async fn read(reading: &Reading<'_>) -> Result<Records, EngineError> {
    let Some(ledger) = ledger(reading).await? else { return Ok(Records::default()) };
    let mut records = Records::default();
    let sql = include_str!("records.sql").replace(":parts", &ledger.table(ledger::PARTS));
    for row in reading.query(&sql, &[]).await? {
        let id: u32 = reading.get(&row, "relation")?;
        let table = TableName::new(
            reading.get::<String>(&row, "schema_name")?,
            reading.get::<String>(&row, "table_name")?,
        );
        let origin = match reading.get::<String>(&row, "origin")?.as_str() {
            "adopted" => Origin::Adopted,
            _ => Origin::Made,
        };
        if reading.get::<bool>(&row, "attached")? {
            let since = reading.get(&row, "since")?;
            let legal_hold = reading.get(&row, "legal_hold")?;
            records.parts.insert(id, (table, PartRecord { origin, since, legal_hold }));
        } else if let Some(loose) = loose(reading, &row, id, table, origin)? {
            records.loose.push(loose);
        }
    }
    records.samples = samples(reading, &ledger).await?;
    Ok(records)
}

/// Where the records are, if this role may read them. Without them every partition counts as somebody else's, which
/// is never retired.
pub(super) async fn ledger(reading: &Reading<'_>) -> Result<Option<Ledger>, EngineError> {
    let Some(ledger) = ledger::find(reading.client()).await? else { return Ok(None) };
    let sql = "
        select has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT') as readable
          from pg_class c
          join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = $1 and c.relname = $2";
    let rows = reading.query(sql, &[&ledger.schema, &ledger::PARTS]).await?;
    let readable = rows.first().map(|row| reading.get::<bool>(row, "readable")).transpose()?;
    Ok(readable.filter(|readable| *readable).map(|_| ledger))
}

fn loose(
    reading: &Reading<'_>,
    row: &Row,
    id: u32,
    table: TableName,
    origin: Origin,
) -> Result<Option<LooseTable>, EngineError> {
    let state = match reading.get::<String>(row, "state")?.as_str() {
        "staged" => LooseState::Staged,
        "detached" => LooseState::Detached,
        "replaced" => LooseState::Replaced,
        // Recorded as attached, and not: somebody else detached it. It is nobody's business here.
        _ => return Ok(None),
    };
    let name = |schema: &str, table: &str| -> Result<Option<TableName>, EngineError> {
        let schema: Option<String> = reading.get(row, schema)?;
        let table: Option<String> = reading.get(row, table)?;
        Ok(schema.zip(table).map(|(schema, table)| TableName::new(schema, table)))
    };
    let Some(set) = name("set_schema", "set_name")? else { return Ok(None) };
    let parent = name("parent_schema", "parent_name")?.unwrap_or_else(|| set.clone());
    let bound: Option<String> = reading.get(row, "bound")?;
    let bound = bound.and_then(|json| serde_json::from_str::<Bound>(&json).ok());
    let Some(bound) = bound else { return Ok(None) };
    let path: Option<String> = reading.get(row, "archive_path")?;
    let digest: Option<String> = reading.get(row, "archive_sha256")?;
    Ok(Some(LooseTable {
        table,
        id: u64::from(id),
        set,
        parent,
        bound,
        state,
        origin,
        since: reading.get::<Option<Micros>>(row, "since")?.unwrap_or(0),
        drop_after: reading.get(row, "drop_after")?,
        archive: path.zip(digest),
        legal_hold: reading.get(row, "legal_hold")?,
        unit: reading.get::<Option<String>>(row, "unit")?.unwrap_or_default(),
    }))
}

async fn samples(reading: &Reading<'_>, ledger: &Ledger) -> Result<HashMap<u32, Vec<Sample>>, EngineError> {
    let sql = format!(
        "select s.set_id, (extract(epoch from s.at) * 1000000)::bigint as at, s.inserted, s.rows, s.bytes, s.high
           from (select *, row_number() over (partition by set_id order by at desc) as place
                   from {}
                  where at > now() - interval '{SAMPLE_DAYS} days') s
          where s.place <= {SAMPLES_MAX}
          order by s.set_id, s.at",
        ledger.table("lifecycle_sample")
    );
    // A record that was made by an older version may lack the table.
    let Ok(rows) = reading.try_query(5_000, &sql, &[]).await? else { return Ok(HashMap::new()) };
    let mut samples: HashMap<u32, Vec<Sample>> = HashMap::new();
    for row in rows {
        let count = |name: &str| {
            reading.get::<Option<i64>>(&row, name).map(|n| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
        };
        let sample = Sample {
            at: reading.get(&row, "at")?,
            inserted: count("inserted")?,
            rows: count("rows")?,
            bytes: count("bytes")?,
            high: reading.get(&row, "high")?,
        };
        samples.entry(reading.get(&row, "set_id")?).or_default().push(sample);
    }
    Ok(samples)
}
