//! Reading evidence from disk: files and folders, plain or compressed.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use replat_advise::evidence::{self, Evidence, Known, PlaceSeen};
use replat_advise::fixture::BadEvidence;
use replat_advise::report::Source;
use replat_advise::system::System;
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
    /// In which partitions hashed keys are, as far as a capture told it.
    pub places: Vec<PlaceSeen>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// A file's text.
pub struct Text {
    /// Its name, without its folder and without `.gz`.
    pub name: String,
    /// The text, unpacked.
    pub text: String,
    source: Source,
    /// Why it ends before its end, if it does.
    broken_off: Option<String>,
}

impl Text {
    /// What was seen of a database just now, as the file of evidence that it would be.
    pub fn of(seen: &Evidence) -> Text {
        let text = evidence::write_evidence(seen);
        let name = format!("{} (as it is now)", seen.head.name);
        Text { source: source(&name, text.as_bytes()), name, text, broken_off: None }
    }
}

fn source(name: &str, bytes: &[u8]) -> Source {
    let digest = Sha256::digest(bytes);
    Source {
        name: name.to_owned(),
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        bytes: bytes.len() as u64,
    }
}

/// Reads all of it, and puts it together with what was `seen` just now.
pub fn read(paths: &[PathBuf], seen: &[Evidence]) -> Result<Reading, Failure> {
    let mut texts = Vec::new();
    for path in paths {
        for file in files(path, &may_be_evidence)? {
            texts.push(text(&file)?);
        }
    }
    // What is seen now comes last: of what changes, the later word counts.
    texts.extend(seen.iter().map(Text::of));
    system(texts)
}

/// The files of a path: itself, or those of a folder that have a name that is known.
pub fn files(path: &Path, known: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>, Failure> {
    let cannot = |e: std::io::Error| unreadable(path, &e.to_string());
    if !std::fs::metadata(path).map_err(cannot)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    // Those of the folder itself and of `evidence` below it; what they are follows from what is in them.
    let mut found = Vec::new();
    for folder in [path.to_owned(), path.join("evidence")] {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let file = entry.map_err(cannot)?.path();
            if file.is_file() && known(&file) {
                found.push(file);
            }
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(unreadable(path, "the folder has no file of evidence"));
    }
    Ok(found)
}

/// Whether a file of a folder is looked into. What is named on the command line always is.
fn may_be_evidence(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let known = ["json", "jsonl", "csv", "sql", "md", "txt"];
    let answer = matches!(name, "expected.json" | "layout.json")
        || name.starts_with("queries_")
        || name.starts_with("rows.");
    !answer && file.extension().is_some() && known.iter().any(|end| name.ends_with(&format!(".{end}")))
}

fn unreadable(path: &Path, why: &str) -> Failure {
    Failure::new("RP8001", Exit::Invalid, format!("{} cannot be read as evidence", path.display()))
        .because([why])
        .remedy("Name a file that replat capture wrote, or a folder with workload.json; docs/advise.md lists the forms.")
}

/// The text of a file. What is compressed is unpacked; what ends early is taken up to there.
pub fn text(path: &Path) -> Result<Text, Failure> {
    let bytes = std::fs::read(path).map_err(|e| unreadable(path, &e.to_string()))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let source = source(&name, &bytes);
    let mut broken_off = None;
    let mut plain = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let unpacked = MultiGzDecoder::new(&bytes[..]).take(TEXT_MAX + 1).read_to_end(&mut plain);
        match unpacked {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => broken_off = Some(e.to_string()),
            // Of what is damaged somewhere, nobody knows which values are wrong.
            Err(e) => return Err(unreadable(path, &format!("it is damaged: {e}"))),
            Ok(_) => {}
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
    let (mut files, mut sources, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for text in texts {
        notes.extend(
            text.broken_off
                .map(|why| format!("{} ends early ({why}); what came before is used", text.source.name)),
        );
        files.push(evidence::Source { name: text.name, text: text.text });
        sources.push(text.source);
    }
    let (known, more) = evidence::read(&files).map_err(bad)?;
    let hashed = match &known {
        Known::Described(_) => false,
        Known::Seen(seen) => seen.head.hashed.is_some(),
    };
    let mut places = Vec::new();
    if let Known::Seen(seen) = &known {
        notes.extend(seen.head.lacking.iter().cloned());
        places.clone_from(&seen.places);
    }
    let (system, also) = System::of(known);
    notes.extend(more.into_iter().chain(also).map(|note| format!("{}: {}", note.about, note.says)));
    Ok(Reading { system, sources, hashed, places, notes })
}

fn bad(error: BadEvidence) -> Failure {
    let code = match error {
        BadEvidence::Text { .. } | BadEvidence::Nothing(_) => "RP8001",
        BadEvidence::Misfit { .. } | BadEvidence::Contradiction(_) => "RP8002",
    };
    Failure::new(code, Exit::Invalid, error.to_string())
        .remedy("Take the evidence again, or name only files of one system and one time.")
}
