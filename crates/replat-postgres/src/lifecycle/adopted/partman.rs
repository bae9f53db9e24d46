//! The configuration of pg_partman, versions 4 and 5.

use std::collections::BTreeMap;

use replat_engine::EngineError;
use replat_model::lifecycle::facts::TableName;
use replat_model::lifecycle::grid::Interval;
use replat_model::lifecycle::policy::{Cut, Grow, GrowOn, LevelPolicy, Lifecycle, Retire, RetireHow};
use replat_model::spec::DurationText;
use serde::Deserialize;

use super::Adopted;
use crate::lifecycle::look::Reading;
use crate::sql::quote_ident;

/// For how long a table that pg_partman would have dropped at once is kept.
const GRACE: &str = "1d";

/// All that one installation was told.
#[derive(Debug)]
pub(super) struct Told {
    /// By table, also those that it made by itself for partitions that are cut further.
    pub(super) tops: Vec<Config>,
    /// How partitions of a table are cut further.
    pub(super) subs: Vec<Config>,
    /// Rows that no known version writes: the table they are about, and why.
    pub(super) unclear: Vec<(String, String)>,
}

impl Config {
    /// Whether the tool works on the table by itself.
    pub(super) fn is_automatic(&self) -> bool {
        self.automatic_maintenance.as_deref() != Some("off")
    }
}

/// One row of `part_config`, or of `part_config_sub` without the prefix of its names. What a version does not have
/// is absent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    /// `schema.table`, unquoted.
    #[serde(alias = "parent_table", alias = "parent")]
    pub(super) table: String,
    pub(super) control: String,
    pub(super) partition_interval: String,
    pub(super) partition_type: String,
    pub(super) premake: u32,
    pub(super) epoch: Option<String>,
    pub(super) time_encoder: Option<String>,
    pub(super) time_decoder: Option<String>,
    pub(super) retention: Option<String>,
    pub(super) retention_schema: Option<String>,
    pub(super) retention_keep_table: Option<bool>,
    pub(super) infinite_time_partitions: Option<bool>,
    pub(super) automatic_maintenance: Option<String>,
    pub(super) template_table: Option<String>,
    pub(super) constraint_cols: Option<Vec<String>>,
    pub(super) undo_in_progress: Option<bool>,
}

/// Reads both tables. The inner error is for people: tables that may not be read, or not now.
pub(super) async fn read(reading: &Reading<'_>, schema: &str) -> Result<Result<Told, String>, EngineError> {
    let mut told = Told { tops: Vec::new(), subs: Vec::new(), unclear: Vec::new() };
    for (table, prefix) in [("part_config", ""), ("part_config_sub", "sub_")] {
        // By way of JSON, since every version has other columns.
        let sql = format!("select to_jsonb(c)::text as config from {}.{table} c", quote_ident(schema));
        let rows = match reading.try_query(2_000, &sql, &[]).await? {
            Ok(rows) => rows,
            Err(error) => {
                return Ok(Err(error.as_db_error().map_or("no answer".into(), |e| e.message().into())));
            }
        };
        for row in rows {
            let text: String = reading.get(&row, "config")?;
            match config(&text, prefix) {
                Ok(config) if prefix.is_empty() => told.tops.push(config),
                Ok(config) => told.subs.push(config),
                Err(why) => told.unclear.push((about(&text, prefix), format!("{table}: {why}"))),
            }
        }
    }
    Ok(Ok(told))
}

/// Which table a row is about, whatever else is in it.
fn about(text: &str, prefix: &str) -> String {
    let row: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let name = if prefix.is_empty() { "parent_table" } else { "sub_parent" };
    row.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

/// One row as JSON; names lose `prefix`.
fn config(text: &str, prefix: &str) -> Result<Config, serde_json::Error> {
    let row: BTreeMap<String, serde_json::Value> = serde_json::from_str(text)?;
    let named = row.into_iter().map(|(name, value)| {
        let short = name.strip_prefix(prefix).unwrap_or(&name).to_owned();
        (short, value)
    });
    serde_json::from_value(serde_json::Value::Object(named.collect()))
}

/// What pg_partman was told about a set, in our words.
///
/// `columns` are the set's, with their types; `below` says how its partitions are cut, level by level.
pub(super) fn lifecycle_of(
    table: &TableName,
    columns: &BTreeMap<String, String>,
    top: &Config,
    below: &[&Config],
) -> Adopted {
    let mut notes = Vec::new();
    let levels = std::iter::once(top).chain(below.iter().copied());
    let levels = levels.map(|config| level(config, columns, &mut notes)).collect();
    let lifecycle = Lifecycle {
        tables: vec![table.to_string()],
        levels,
        ahead_count: Some(top.premake),
        retire: top.retention.as_ref().and_then(|text| retire(top, text, &mut notes)),
        ..Lifecycle::default()
    };
    for config in below.iter().filter(|config| config.retention.is_some()) {
        notes.push(format!(
            "partitions of {} were retired by themselves after {}; here a partition is retired as a whole",
            config.table,
            config.retention.as_deref().unwrap_or_default()
        ));
    }
    remark(top, &mut notes);
    Adopted { table: table.clone(), lifecycle, notes }
}

fn level(config: &Config, columns: &BTreeMap<String, String>, notes: &mut Vec<String>) -> LevelPolicy {
    let kind = columns.get(&config.control).map_or("", String::as_str);
    let is_list = config.partition_type == "list";
    LevelPolicy {
        // Commas part columns there.
        column: if config.control.contains(',') { "*".into() } else { config.control.clone() },
        by: if is_list { Cut::List } else { Cut::Range },
        interval: if is_list { None } else { interval(&config.partition_interval, notes) },
        origin: None,
        zone: None,
        encoding: if is_list { None } else { encoding(config, kind, notes) },
        snowflake: None,
        modulus: None,
        values: Vec::new(),
        // One number for each partition, the next ones ahead of need.
        grow: is_list.then_some(Grow { on: GrowOn::Sliding, rows: None, age: None }),
    }
}

/// As we write it. What is not understood is learned from the bounds that are there.
fn interval(text: &str, notes: &mut Vec<String>) -> Option<String> {
    match text.parse::<Interval>() {
        Ok(interval) => Some(interval.to_string()),
        Err(_) => {
            notes.push(format!("the interval {text:?} is not understood: it is learned from the bounds"));
            None
        }
    }
}

/// What the values of the key mean, where its type does not say.
fn encoding(config: &Config, kind: &str, notes: &mut Vec<String>) -> Option<String> {
    let is_number = ["smallint", "integer", "bigint", "numeric"].iter().any(|name| kind.starts_with(name));
    let word = match config.epoch.as_deref() {
        Some("seconds") => Some("epoch-s"),
        Some("milliseconds") => Some("epoch-ms"),
        Some("microseconds") => Some("epoch-us"),
        Some("nanoseconds") => Some("epoch-ns"),
        _ if is_number => Some("number"),
        _ => None,
    };
    let decoder = config.time_decoder.as_deref().or(config.time_encoder.as_deref());
    match (word, decoder) {
        (Some(word), _) => Some(word.to_owned()),
        (None, Some(decoder)) if kind == "uuid" && decoder.contains("uuid7") => Some("uuidv7".into()),
        (None, Some(decoder)) => {
            notes.push(format!(
                "{} was decoded by {decoder}: name what its values mean with `encoding`",
                config.control
            ));
            None
        }
        (None, None) => None,
    }
}

fn retire(config: &Config, text: &str, notes: &mut Vec<String>) -> Option<Retire> {
    let mut retire = Retire::default();
    match text.parse::<Interval>() {
        Ok(Interval::Number(keys)) => retire.keep_keys = u64::try_from(keys).ok(),
        Ok(interval) => {
            if let Some((keep, exact)) = keep(interval) {
                retire.keep = Some(keep);
                if !exact {
                    notes.push(format!(
                        "retention of {text} is {keep} here: months are taken as 31 days, so nothing goes earlier"
                    ));
                }
            }
        }
        Err(_) => {}
    }
    if retire.keep.is_none() && retire.keep_keys.is_none() {
        notes.push(format!(
            "retention of {text:?} is not understood: nothing is retired until `retire.keep` is set"
        ));
        return None;
    }
    match (&config.retention_schema, config.retention_keep_table) {
        (Some(schema), _) => notes.push(format!(
            "old partitions were moved to schema {schema}; here they are detached and stay in theirs"
        )),
        (None, Some(false)) => {
            retire.how = RetireHow::Drop;
            retire.drop_after = GRACE.parse().ok();
            notes.push(format!(
                "old partitions were dropped at once; here they are detached, and dropped after {GRACE}"
            ));
        }
        (None, _) => {}
    }
    Some(retire)
}

/// For how long partitions are kept, and whether that is exact: months have no fixed length, and are taken as long.
fn keep(interval: Interval) -> Option<(DurationText, bool)> {
    let (text, exact) = match interval {
        Interval::Months(months) => (format!("{}d", u64::from(months) * 31), false),
        Interval::Days(days) => (format!("{days}d"), true),
        Interval::Fixed(micros) => (format!("{}ms", (micros + 999) / 1000), true),
        Interval::Number(_) | Interval::Decimal { .. } => return None,
    };
    text.parse().ok().map(|keep| (keep, exact))
}

/// What has no equal here, or needs a look.
fn remark(config: &Config, notes: &mut Vec<String>) {
    if !config.is_automatic() {
        notes.push("its automatic maintenance was off: somebody else may call it for this set".into());
    }
    if config.undo_in_progress == Some(true) {
        notes.push("its partitioning was being undone: finish that, or set undo_in_progress to false".into());
    }
    if config.infinite_time_partitions == Some(false) && config.epoch.as_deref() != Some("none") {
        notes.push("it made partitions only while rows came; here they are made by the clock".into());
    }
    if let Some(columns) = config.constraint_cols.as_ref().filter(|columns| !columns.is_empty()) {
        notes.push(format!("checks on {} of old partitions are not made any more", columns.join(", ")));
    }
    if let Some(template) = &config.template_table {
        notes.push(format!(
            "what only its template {template} has is taken from the newest partition from now on"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adopted(kind: &str, row: &str) -> Adopted {
        let columns = BTreeMap::from([("k".to_owned(), kind.to_owned())]);
        let config = config(row, "").expect("a row");
        lifecycle_of(&TableName::new("public", "t"), &columns, &config, &[])
    }

    #[test]
    fn rows_of_both_versions_are_understood() {
        // Type of the key, what differs in the row, then interval, encoding, keep, keep_keys, how.
        let rows = [
            ("date", r#""partition_interval": "1 day""#, ("1 day", None), (None, None, RetireHow::Detach)),
            (
                "timestamp with time zone",
                r#""partition_interval": "7 days", "retention": "30 days""#,
                ("1 week", None),
                (Some("30d"), None, RetireHow::Detach),
            ),
            (
                "timestamp with time zone",
                r#""partition_interval": "01:00:00", "retention": "2 mons", "retention_keep_table": false"#,
                ("1 hour", None),
                (Some("62d"), None, RetireHow::Drop),
            ),
            (
                "bigint",
                r#""partition_interval": "1000000", "retention": "5000000", "epoch": "none""#,
                ("1000000", Some("number")),
                (None, Some(5_000_000), RetireHow::Detach),
            ),
            (
                "bigint",
                r#""partition_interval": "3 mons", "epoch": "milliseconds", "retention": "36:00:00", "retention_schema": "old""#,
                ("3 months", Some("epoch-ms")),
                (Some("36h"), None, RetireHow::Detach),
            ),
            (
                "uuid",
                r#""partition_interval": "1 mon", "time_decoder": "partman.uuid7_time_decoder""#,
                ("1 month", Some("uuidv7")),
                (None, None, RetireHow::Detach),
            ),
            (
                "timestamp without time zone",
                r#""partition_interval": "15 minutes", "retention": "1 week""#,
                ("15 minutes", None),
                (Some("7d"), None, RetireHow::Detach),
            ),
            (
                "date",
                r#""partition_interval": "1 year", "partition_type": "native", "retention": "10 years""#,
                ("1 year", None),
                (Some("3720d"), None, RetireHow::Detach),
            ),
        ];
        for (kind, differs, (interval, encoding), (keep, keep_keys, how)) in rows {
            let row = format!(
                r#"{{"parent_table": "public.t", "control": "k", "premake": 7, "no_such": [1], {differs}}}"#
            );
            let Adopted { lifecycle, .. } = adopted(kind, &row);
            assert_eq!(lifecycle.ahead_count, Some(7));
            let level = &lifecycle.levels[0];
            assert_eq!(
                (level.interval.as_deref(), level.encoding.as_deref()),
                (Some(interval), encoding),
                "{row}"
            );
            let retire = lifecycle.retire.unwrap_or_default();
            let kept = retire.keep.map(|keep| keep.to_string());
            // A duration is written with the unit that makes it shortest.
            let same = keep.map(|text| text.parse::<DurationText>().expect("a duration").to_string());
            assert_eq!((kept, retire.keep_keys, retire.how), (same, keep_keys, how), "{row}");
        }
    }

    proptest::proptest! {
        /// Whatever a row has, it is a policy that says only what the row says, or it is not read at all.
        #[test]
        fn any_row_is_read_or_refused(
            interval in ".{0,20}",
            retention in proptest::option::of(".{0,20}"),
            premake in proptest::num::i64::ANY,
            control in ".{0,12}",
            epoch in ".{0,12}",
            keep in proptest::option::of(proptest::bool::ANY),
        ) {
            let row = serde_json::json!({
                "parent_table": "public.t", "control": control, "partition_interval": interval,
                "partition_type": "range", "premake": premake, "retention": retention, "epoch": epoch,
                "retention_keep_table": keep,
            });
            let Ok(read) = config(&row.to_string(), "") else {
                proptest::prop_assert!(u32::try_from(premake).is_err());
                return Ok(());
            };
            let columns = BTreeMap::from([(control.clone(), "bigint".to_owned())]);
            let Adopted { lifecycle, .. } = lifecycle_of(&TableName::new("public", "t"), &columns, &read, &[]);
            proptest::prop_assert_eq!(lifecycle.ahead_count.map(i64::from), Some(premake));
            let drops = lifecycle.retire.as_ref().is_some_and(|retire| retire.how == RetireHow::Drop);
            proptest::prop_assert!(!drops || keep == Some(false) && retention.is_some());
            if let Some(text) = &lifecycle.levels[0].interval {
                proptest::prop_assert!(text.parse::<Interval>().is_ok());
            }
        }
    }

    #[test]
    fn what_has_no_equal_is_said() {
        let row = r#"{"parent_table": "public.t", "control": "k", "premake": 4, "partition_interval": "1 day",
            "retention": "soon", "automatic_maintenance": "off", "undo_in_progress": true, "time_decoder": "my.decoder",
            "constraint_cols": ["a", "b"], "template_table": "partman.template_public_t",
            "infinite_time_partitions": false}"#;
        let row = &row.replace("1 day", "a day or two");
        let Adopted { lifecycle, notes, .. } = adopted("text", row);
        assert_eq!(lifecycle.retire, None);
        assert_eq!(lifecycle.levels[0].interval, None);
        let words = [
            "a day or two",
            "my.decoder",
            "\"soon\"",
            "maintenance was off",
            "being undone",
            "by the clock",
            "a, b",
            "template",
        ];
        assert_eq!(notes.len(), words.len(), "{notes:?}");
        for (note, word) in notes.iter().zip(words) {
            assert!(note.contains(word), "{note}");
        }
    }
}
