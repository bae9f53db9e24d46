//! The configuration of pg-partsmith: a document of the operator, as JSON.

use replat_model::lifecycle::facts::TableName;
use replat_model::lifecycle::policy::{Cut, LevelPolicy, Lifecycle, Retire};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Adopted;

/// A document that cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum BadDocument {
    /// It is no JSON, or not of that form.
    #[error("it is no document of pg-partsmith in JSON")]
    Form(#[from] serde_json::Error),
    /// Another version of the format.
    #[error("its version is {0}; only 1 is known")]
    Version(u64),
    /// A table says something that is not known.
    #[error("{table}: {why}")]
    Table {
        /// The table.
        table: String,
        /// What is not known.
        why: String,
    },
}

#[derive(Deserialize)]
struct Document {
    #[serde(default = "one")]
    version: u64,
    #[serde(default)]
    defaults: Map<String, Value>,
    tables: Vec<Map<String, Value>>,
    /// How its own parts are wired. Of it only the reading of keys concerns partitions.
    #[serde(default)]
    runtime: Map<String, Value>,
    #[serde(default)]
    hooks: Option<Value>,
}

fn one() -> u64 {
    1
}

/// One table's entry, in the flat form. Topologies given as `scheme` are another language altogether.
///
/// A word that is not known here is refused, as it is there: it would be a part of the policy.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    schema_name: Option<String>,
    table_name: String,
    partition_column: Option<String>,
    #[serde(default)]
    trailing_partition_columns: Vec<String>,
    granularity: Option<String>,
    tz: Option<String>,
    boundary_codec: Option<String>,
    #[serde(default = "six")]
    create_ahead_count: u32,
    #[serde(default = "twelve")]
    retention_count: u32,
    scheme: Option<Value>,
    lifecycle: Option<Value>,
    /// Storage of new partitions, which replat takes from their siblings.
    #[allow(dead_code, reason = "known, and without a meaning here")]
    leaves: Option<Value>,
    partition_type: Option<String>,
    #[allow(dead_code, reason = "known, and without a meaning here")]
    partition_strategy: Option<String>,
}

fn six() -> u32 {
    6
}

fn twelve() -> u32 {
    12
}

/// What a document of pg-partsmith (version 1, as JSON) says of each table, in our words.
///
/// # Errors
///
/// [`BadDocument`] if anything in it is not understood: half of a policy is another policy.
pub fn partsmith(json: &str) -> Result<Vec<Adopted>, BadDocument> {
    let document: Document = serde_json::from_str(json)?;
    if document.version != 1 {
        return Err(BadDocument::Version(document.version));
    }
    let codec = document.runtime.get("boundary_codec").and_then(Value::as_str);
    let entry = |own: &Map<String, Value>| {
        let all = one_spelling(&document.defaults).chain(one_spelling(own)).collect::<Map<_, _>>();
        let table = |map: &Map<String, Value>| {
            map.get("table_name").and_then(Value::as_str).unwrap_or("a table without a name").to_owned()
        };
        let name = table(&all);
        let mut entry: Entry = serde_json::from_value(Value::Object(all))
            .map_err(|why| BadDocument::Table { table: name, why: why.to_string() })?;
        entry.boundary_codec = entry.boundary_codec.or(codec.map(str::to_owned));
        let mut adopted = adopted(entry)?;
        if document.hooks.is_some() {
            adopted.notes.push("its hooks are not run any more".to_owned());
        }
        Ok(adopted)
    };
    let all: Vec<Adopted> = document.tables.iter().map(entry).collect::<Result<_, BadDocument>>()?;
    let twice =
        all.iter().enumerate().find(|(n, one)| all[..*n].iter().any(|other| other.table == one.table));
    match twice {
        Some((_, one)) => {
            Err(BadDocument::Table { table: one.table.to_string(), why: "it is described twice".into() })
        }
        None => Ok(all),
    }
}

/// The fields of an entry; the schema has two spellings.
fn one_spelling(map: &Map<String, Value>) -> impl Iterator<Item = (String, Value)> {
    map.iter().map(|(name, value)| {
        let name = if name == "schema" { "schema_name" } else { name };
        (name.to_owned(), value.clone())
    })
}

fn adopted(entry: Entry) -> Result<Adopted, BadDocument> {
    let table = TableName::new(entry.schema_name.as_deref().unwrap_or("public"), &entry.table_name);
    let bad = |why: &str| BadDocument::Table { table: table.to_string(), why: why.to_owned() };
    if entry.scheme.is_some() || entry.lifecycle.is_some() {
        return Err(bad("`scheme` and `lifecycle` are not read; write `levels` and `retire` in their place"));
    }
    if entry.partition_type.as_deref().is_some_and(|kind| kind != "range") {
        return Err(bad("only ranges have the flat form"));
    }
    let column = entry.partition_column.ok_or_else(|| bad("it has no partition_column"))?;
    let granularity = entry.granularity.ok_or_else(|| bad("it has no granularity"))?;
    // The period, and the days that it has at most.
    let (interval, days) = match granularity.as_str() {
        "hour" => ("1 hour", None),
        "day" => ("1 day", Some(1)),
        "week" => ("1 week", Some(7)),
        "month" => ("1 month", Some(31)),
        "quarter" => ("3 months", Some(92)),
        "year" => ("1 year", Some(366)),
        other => return Err(bad(&format!("the granularity {other:?} is not known"))),
    };
    let encoding = match entry.boundary_codec.as_deref() {
        None => None,
        Some("uuidv7") => Some("uuidv7"),
        Some("epoch_seconds") => Some("epoch-s"),
        Some("epoch_milliseconds") => Some("epoch-ms"),
        Some(other) => return Err(bad(&format!("the codec {other:?} is not known"))),
    };
    // Both count the period that is in use.
    let kept = u64::from(entry.retention_count.saturating_sub(1));
    let keep = match days {
        Some(days) => format!("{}d", kept * days),
        None => format!("{kept}h"),
    };
    let columns = std::iter::once(column).chain(entry.trailing_partition_columns);
    let level = LevelPolicy {
        column: columns.collect::<Vec<_>>().join(", "),
        by: Cut::Range,
        interval: Some(interval.to_owned()),
        origin: None,
        zone: entry.tz.filter(|zone| zone != "UTC"),
        encoding: encoding.map(str::to_owned),
        snowflake: None,
        modulus: None,
        values: Vec::new(),
        grow: None,
    };
    let keep = keep.parse().map_err(|_| bad("its retention_count is too large"))?;
    let lifecycle = Lifecycle {
        tables: vec![table.to_string()],
        levels: vec![level],
        ahead_count: Some(entry.create_ahead_count.saturating_sub(1)),
        retire: Some(Retire { keep: Some(keep), ..Retire::default() }),
        ..Lifecycle::default()
    };
    let notes = vec![
        "old partitions are detached and stay: set `retire.how` and `retire.drop_after` to drop them"
            .to_owned(),
    ];
    Ok(Adopted { table, lifecycle, notes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read() {
        let json = r#"{"version": 1, "defaults": {"granularity": "month", "retention_count": 4}, "tables": [
            {"schema": "app", "table_name": "events", "partition_column": "at", "tz": "Europe/Berlin",
             "trailing_partition_columns": ["tenant"]},
            {"table_name": "ids", "partition_column": "id", "granularity": "hour", "boundary_codec": "uuidv7",
             "create_ahead_count": 3}]}"#;
        let found = partsmith(json).expect("a document");
        let seen: Vec<_> = found
            .iter()
            .map(|Adopted { table, lifecycle, .. }| {
                let level = &lifecycle.levels[0];
                let keep = lifecycle.retire.as_ref().and_then(|r| r.keep).map(|keep| keep.to_string());
                (
                    table.to_string(),
                    level.column.as_str(),
                    level.interval.as_deref(),
                    level.zone.as_deref(),
                    level.encoding.as_deref(),
                    lifecycle.ahead_count,
                    keep,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (
                    "app.events".into(),
                    "at, tenant",
                    Some("1 month"),
                    Some("Europe/Berlin"),
                    None,
                    Some(5),
                    Some("93d".into())
                ),
                ("public.ids".into(), "id", Some("1 hour"), None, Some("uuidv7"), Some(2), Some("3h".into())),
            ]
        );
    }

    proptest::proptest! {
        /// No document makes it panic, and none becomes a policy that keeps less than it says.
        #[test]
        fn any_document_is_read_or_refused(
            text in ".{0,80}",
            words in proptest::collection::vec((".{0,12}", ".{0,12}"), 0..4),
            granularity in proptest::sample::select(vec!["hour", "day", "week", "month", "quarter", "year", "moon"]),
            retention in proptest::num::u32::ANY,
            ahead in proptest::num::u32::ANY,
        ) {
            drop(partsmith(&text));
            let mut entry = Map::new();
            for (name, value) in &words {
                entry.insert(name.clone(), Value::from(value.clone()));
            }
            entry.insert("table_name".into(), "t".into());
            entry.insert("partition_column".into(), "at".into());
            entry.insert("granularity".into(), granularity.into());
            entry.insert("retention_count".into(), retention.into());
            entry.insert("create_ahead_count".into(), ahead.into());
            let document = serde_json::json!({ "version": 1, "tables": [entry] });
            let Ok(all) = partsmith(&document.to_string()) else { return Ok(()) };
            proptest::prop_assert!(granularity != "moon");
            let lifecycle = &all[0].lifecycle;
            proptest::prop_assert_eq!(lifecycle.ahead_count, Some(ahead.saturating_sub(1)));
            let keep = lifecycle.retire.as_ref().and_then(|retire| retire.keep).expect("it keeps some");
            let least = match granularity { "hour" => 3_600, "day" => 86_400, "week" => 7 * 86_400, _ => 28 * 86_400 };
            proptest::prop_assert!(keep.as_duration().as_secs() >= u64::from(retention.saturating_sub(1)) * least);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let rows = [
            ("[]", "no document"),
            (r#"{"version": 2, "tables": []}"#, "version is 2"),
            (r#"{"tables": [{"table_name": "t"}]}"#, "no partition_column"),
            (r#"{"tables": [{"table_name": "t", "partition_column": "k"}]}"#, "no granularity"),
            (
                r#"{"tables": [{"table_name": "t", "partition_column": "k", "granularity": "moon"}]}"#,
                "\"moon\"",
            ),
            (r#"{"tables": [{"table_name": "t", "scheme": {"method": "hash"}}]}"#, "`scheme`"),
            (
                r#"{"defaults": {"granularity": "day"}, "tables": [{"table_name": "t", "partition_column": "k", "keep": 3}]}"#,
                "`keep`",
            ),
            (
                r#"{"defaults": {"granularity": "day", "partition_column": "k"},
                    "tables": [{"table_name": "t"}, {"table_name": "t", "schema": "public"}]}"#,
                "described twice",
            ),
            (
                r#"{"tables": [{"table_name": "t", "partition_column": "k", "granularity": "day",
                    "partition_type": "list"}]}"#,
                "only ranges",
            ),
        ];
        for (json, why) in rows {
            let refused = partsmith(json).expect_err(json).to_string();
            assert!(refused.contains(why), "{json}: {refused}");
        }
    }
}
