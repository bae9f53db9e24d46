//! Reading evidence from disk: files and folders, plain or compressed.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use replat_advise::evidence::Tier;
use replat_advise::fixture::{BadEvidence, read_workload};
use replat_advise::report::Source;
use replat_advise::system::{Constraints, System};
use sha2::{Digest, Sha256};

use crate::failure::{Exit, Failure};

/// Evidence of more text than this is not read: a file that unpacks to so much is broken, or meant to do harm.
const TEXT_MAX: u64 = 2 << 30;

/// What was read.
pub struct Reading {
    /// The system.
    pub system: System,
    /// Where it comes from.
    pub sources: Vec<Source>,
    /// Whether values are known by their hashes only.
    pub hashed: bool,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// A file's text.
struct Text {
    name: String,
    text: String,
    source: Source,
    /// Why it ends before its end, if it does.
    broken_off: Option<String>,
}

/// Reads all of it.
pub fn read(paths: &[PathBuf]) -> Result<Reading, Failure> {
    let mut texts = Vec::new();
    for path in paths {
        for file in files(path)? {
            texts.push(text(&file)?);
        }
    }
    system(texts)
}

/// The files of a path: itself, or those of a folder that have a name that is known.
fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let cannot = |e: std::io::Error| unreadable(path, &e.to_string());
    if !std::fs::metadata(path).map_err(cannot)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let known = |file: &Path| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = name.strip_suffix(".gz").unwrap_or(name);
        file.is_file() && matches!(name, "workload.json" | "stats.json" | "trace.jsonl")
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        let file = entry.map_err(cannot)?.path();
        if known(&file) {
            found.push(file);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(unreadable(path, "the folder has no file of evidence"));
    }
    Ok(found)
}

fn unreadable(path: &Path, why: &str) -> Failure {
    Failure::new("RP8001", Exit::Invalid, format!("{} cannot be read as evidence", path.display()))
        .because([why])
        .remedy("Name a file that replat capture wrote, or a folder with workload.json; docs/advise.md lists the forms.")
}

/// The text of a file. What is compressed is unpacked; what ends early is taken up to there.
fn text(path: &Path) -> Result<Text, Failure> {
    let bytes = std::fs::read(path).map_err(|e| unreadable(path, &e.to_string()))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let digest = Sha256::digest(&bytes);
    let source = Source {
        name: name.clone(),
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        bytes: bytes.len() as u64,
    };
    let mut broken_off = None;
    let mut plain = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let unpacked = MultiGzDecoder::new(&bytes[..]).take(TEXT_MAX + 1).read_to_end(&mut plain);
        if let Err(e) = unpacked {
            broken_off = Some(e.to_string());
        }
    } else {
        plain = bytes;
    }
    if plain.len() as u64 > TEXT_MAX {
        return Err(unreadable(path, "it has more than 2 GiB of text"));
    }
    if broken_off.is_some() {
        // The line at which it broke off is half a line.
        plain.truncate(plain.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    }
    let text = String::from_utf8(plain)
        .map_err(|e| unreadable(path, &format!("byte {} is not UTF-8", e.utf8_error().valid_up_to())))?;
    Ok(Text { name: name.strip_suffix(".gz").unwrap_or(&name).to_owned(), text, source, broken_off })
}

fn system(texts: Vec<Text>) -> Result<Reading, Failure> {
    let find = |name: &str| texts.iter().find(|text| text.name == name);
    let Some(workload) = find("workload.json") else {
        let names: Vec<&str> = texts.iter().map(|text| text.name.as_str()).collect();
        return Err(Failure::new("RP8001", Exit::Invalid, "there is no evidence of a form that is known")
            .because([format!("what was read: {}", names.join(", "))])
            .remedy("Name a folder with workload.json; docs/advise.md lists the forms."));
    };
    let mut described = read_workload(&workload.text).map_err(bad)?;
    if let Some(stats) = find("stats.json") {
        described.read_stats(&stats.text).map_err(bad)?;
    }
    if let Some(trace) = find("trace.jsonl") {
        described.read_trace(trace.text.lines()).map_err(bad)?;
    }
    let notes = texts
        .iter()
        .filter_map(|text| {
            let why = text.broken_off.as_ref()?;
            Some(format!("{} ends early ({why}); what came before is used", text.source.name))
        })
        .collect();
    let tier = if described.trace.transactions.is_empty() { Tier::Catalogue } else { Tier::Trace };
    let system = System {
        name: "workload".to_owned(),
        schema: described.schema,
        trace: described.trace,
        partitions: described.partitions,
        constraints: Constraints::default(),
        services: Vec::new(),
        tier,
        missing: Vec::new(),
    };
    Ok(Reading { system, sources: texts.into_iter().map(|text| text.source).collect(), hashed: false, notes })
}

fn bad(error: BadEvidence) -> Failure {
    let code = match error {
        BadEvidence::Text { .. } => "RP8001",
        BadEvidence::Misfit { .. } | BadEvidence::Contradiction(_) => "RP8002",
    };
    Failure::new(code, Exit::Invalid, error.to_string())
        .remedy("Take the evidence again, or name only files of one system and one time.")
}
