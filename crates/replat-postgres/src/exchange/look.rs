//! What the database says about tables and views that are to change places.

use replat_engine::EngineError;
use replat_model::exchange::{Made, Relation, Seen, SharedTable};
use replat_model::facts::TableName;
use tokio_postgres::GenericClient;

use super::Place;
use crate::error::on;

const RELATIONS: &str = include_str!("look.sql");
const LOOKING: &str = "looking at the tables that are to be exchanged";

/// What was written down when tables went to green: none if they are on blue.
pub(super) struct Record {
    /// The tables.
    pub tables: Vec<SharedTable>,
    /// The views that blue has in their place.
    pub made: Vec<Made>,
}

/// What is recorded of an exchange of these schemas.
pub(super) async fn record(client: &impl GenericClient, place: &Place) -> Result<Record, EngineError> {
    let on = on(&place.database, LOOKING);
    let mut record = Record { tables: Vec::new(), made: Vec::new() };
    let known =
        client.query_one("SELECT to_regclass('replat.exchanged') IS NOT NULL", &[]).await.map_err(&on)?;
    if !known.get::<_, bool>(0) {
        return Ok(record);
    }
    let rows = client
        .query(
            "SELECT shared::text, definition FROM replat.exchanged WHERE schema_name = $1 AND base_schema = $2 \
             ORDER BY ord",
            &[&place.green, &place.blue],
        )
        .await
        .map_err(&on)?;
    for row in rows {
        let shared: SharedTable = understood(place, row.get(0))?;
        if let Some(definition) = row.get(1) {
            record.made.push(Made { name: shared.blue.clone(), definition, stands_for: None });
        }
        record.tables.push(shared);
    }
    Ok(record)
}

/// The views that green has in the place of tables.
pub(super) async fn greens_views(
    client: &impl GenericClient,
    place: &Place,
) -> Result<Vec<Made>, EngineError> {
    let on = on(&place.database, LOOKING);
    let known = client.query_one("SELECT to_regclass('replat.view') IS NOT NULL", &[]).await.map_err(&on)?;
    if !known.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let rows = client
        .query(
            "SELECT name, definition, stands_for::text FROM replat.view WHERE schema_name = $1 AND base_schema = $2",
            &[&place.green, &place.blue],
        )
        .await
        .map_err(&on)?;
    rows.iter()
        .map(|row| {
            let name = TableName { schema: place.green.clone(), name: row.get(0) };
            Ok(Made { name, definition: row.get(1), stands_for: Some(understood(place, row.get(2))?) })
        })
        .collect()
}

/// What the catalogue says of `names`, if tables are to move to the schema `to`. Needs a search path of `pg_catalog`.
pub(super) async fn look(
    client: &impl GenericClient,
    place: &Place,
    names: &[&TableName],
    to: &str,
    made: Vec<Made>,
) -> Result<Seen, EngineError> {
    let on = on(&place.database, LOOKING);
    let relations = relations(client, place, names, to).await?;
    let row = client
        .query_one(
            "SELECT COALESCE(array_agg(c.relname::text), '{}'), \
               (SELECT count(*) = 2 FROM pg_namespace WHERE nspname IN ($1, $2) \
                  AND has_schema_privilege(oid, 'CREATE')), \
               current_setting('server_version_num')::int / 10000 \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $3",
            &[&place.blue, &place.green, &to],
        )
        .await
        .map_err(&on)?;
    let major: i32 = row.get(2);
    Ok(Seen {
        relations,
        made,
        taken: row.get(0),
        may_create: row.get(1),
        major: u32::try_from(major).unwrap_or_default(),
    })
}

/// The tables with their partitions, and the views.
pub(super) async fn relations(
    client: &impl GenericClient,
    place: &Place,
    names: &[&TableName],
    to: &str,
) -> Result<Vec<Relation>, EngineError> {
    let (schemas, tables): (Vec<&str>, Vec<&str>) =
        names.iter().map(|name| (name.schema.as_str(), name.name.as_str())).unzip();
    let rows =
        client.query(RELATIONS, &[&schemas, &tables, &to]).await.map_err(on(&place.database, LOOKING))?;
    rows.iter().map(|row| understood(place, row.get(0))).collect()
}

fn understood<T: serde::de::DeserializeOwned>(place: &Place, text: &str) -> Result<T, EngineError> {
    serde_json::from_str(text).map_err(|error| EngineError::Refused {
        database: place.database.clone(),
        during: LOOKING.to_owned(),
        why: format!("its answer is not understood: {error}"),
    })
}
