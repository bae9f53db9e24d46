//! The advice as the files that tools compare with an answer key.

use std::path::Path;

use replat_advise::report::Report;
use serde_json::{Value, json};

use super::written;
use crate::failure::{Exit, Failure};

/// Writes what there is, a file each; files of an earlier run that have no place any more are removed.
pub fn write(folder: &Path, report: &Report) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|e| {
        Failure::new("RP9001", Exit::Usage, format!("{} cannot be made: {e}", folder.display()))
            .remedy("Name a folder that can be made.")
    })?;
    for (name, value) in files(report) {
        let path = folder.join(name);
        match value {
            Some(value) => {
                let text = serde_json::to_string_pretty(&value).expect("JSON can be written");
                written(&path, &(text + "\n"))?;
            }
            None if path.exists() => std::fs::remove_file(&path).map_err(|e| {
                Failure::new("RP9001", Exit::Usage, format!("{} cannot be removed: {e}", path.display()))
            })?,
            None => {}
        }
    }
    write_splits(folder, report)
}

/// What brings splits of tables about: for each a piece of a spec and the DDL that it names. Those of an earlier run go.
fn write_splits(folder: &Path, report: &Report) -> Result<(), Failure> {
    let cannot = |path: &Path, e: std::io::Error| {
        Failure::new("RP9001", Exit::Usage, format!("{} cannot be removed: {e}", path.display()))
    };
    for entry in std::fs::read_dir(folder).map_err(|e| cannot(folder, e))? {
        let path = entry.map_err(|e| cannot(folder, e))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("split_") && (name.ends_with(".sql") || name.ends_with(".toml")) {
            std::fs::remove_file(&path).map_err(|e| cannot(&path, e))?;
        }
    }
    for table in &report.columns.tables {
        // What cannot be deployed is told with the advice.
        if let Some(Ok(piece)) = table.split.as_ref().map(|split| super::split::piece(table, split)) {
            written(&folder.join(&piece.ddl_name), &piece.ddl)?;
            let before = piece.before.lines().map(|line| format!("# first: {line}\n")).collect::<String>();
            let file = piece.ddl_name.replace(".sql", ".toml");
            written(&folder.join(file), &(before + &piece.spec))?;
        }
    }
    Ok(())
}

fn files(report: &Report) -> [(&'static str, Option<Value>); 7] {
    let advice = &report.advice;
    let predicted = advice.forecast.as_ref().filter(|_| report.partitions()).map(|forecast| {
        let cross = &forecast.cross_partition_share;
        let mut value = json!({ "cross_partition_share": cross.value, "interval": [cross.low, cross.high] });
        value["forecast"] = json!(forecast);
        value
    });
    let contexts = (advice.transactions > 0).then(|| {
        let merge: Vec<_> =
            advice.services.iter().flat_map(|s| &s.merge).map(|merge| &merge.services).collect();
        json!({ "contexts": report.context_names, "shared": advice.contexts.cross_cutting, "merge": merge })
    });
    [
        ("verdict.json", Some(json!(advice.verdict))),
        ("design.json", report.design().filter(|_| report.partitions()).map(|design| json!(design))),
        ("predicted.json", predicted),
        ("contexts.json", contexts),
        ("changes.json", report.drift.as_ref().map(|drift| json!(drift))),
        ("columns.json", (!report.columns.tables.is_empty()).then(|| json!(report.columns))),
        ("report.json", Some(json!(report))),
    ]
}
