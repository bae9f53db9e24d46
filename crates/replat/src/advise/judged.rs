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
    Ok(())
}

fn files(report: &Report) -> [(&'static str, Option<Value>); 6] {
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
        ("report.json", Some(json!(report))),
    ]
}
