//! A map of HAProxy that is kept as the routes are: as a file, and in the running process.
//!
//! The file is what a process that starts reads; the runtime socket is how one that runs is told. The file is always
//! written first, so that whatever starts meanwhile has at least what was known then. Which process answers is seen
//! by its number at each exchange: another one is compared entry by entry and set right.
//!
//! HAProxy cannot hold requests until a switch is decided. Between the fence and the moment when it has the new map a
//! request may reach the service of the old home, whose database refuses it (`docs/serve.md`).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use replat_model::route::Routes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;

/// How often it is looked whether HAProxy is another process now.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a failure it is tried again after this; doubled up to [`LOOK_EVERY`].
const AGAIN_FIRST: Duration = Duration::from_millis(50);
/// How long HAProxy may take for one exchange.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A line of commands must fit into HAProxy's buffer, which has 16 KiB (`tune.bufsize`). Unit: bytes.
const LINE_MAX: usize = 8 << 10;

/// A map file: a partition a line, and the database whose services have it.
///
/// Source: HAProxy 2.6 configuration manual, "map" converters: key, blank, value.
pub fn map_text(routes: &Routes) -> String {
    let mut text = format!("# {} {} version {}\n", routes.project(), routes.context(), routes.version());
    for leaf in routes.map().leaves() {
        let _infallible = writeln!(text, "{} {}", leaf.partition, leaf.home.database);
    }
    text
}

/// Writes a file so that whoever reads it has the old or the new one.
///
/// # Errors
///
/// What the system says.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, text)?;
    fs::File::open(&beside)?.sync_all()?;
    fs::rename(&beside, path)
}

/// Which HAProxy is told, and of what.
#[derive(Clone, Debug)]
pub struct Haproxy {
    /// The context whose routes are told.
    pub context: String,
    /// The runtime socket (`stats socket … level admin`).
    pub socket: PathBuf,
    /// The map file, by the very name that HAProxy's configuration gives it.
    pub map: PathBuf,
}

/// How that stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// The version that HAProxy goes by; 0: none was told yet.
    pub version: u64,
    /// The version that the file has; 0: none was written yet.
    pub file_version: u64,
    /// Entries that were set, added or removed in the running process.
    pub changes: u64,
    /// What is wrong; `None`: nothing.
    pub trouble: Option<String>,
}

/// Why HAProxy does not have the map.
#[derive(Debug, thiserror::Error)]
pub enum NotExported {
    /// The file cannot be written.
    #[error("the map file {} cannot be written", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The socket does not answer.
    #[error("HAProxy's socket {} does not answer", path.display())]
    Socket {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// HAProxy said no.
    #[error("HAProxy refused: {0}")]
    Refused(String),
    /// A name that HAProxy's commands would take apart.
    #[error("{0:?} cannot be said to HAProxy: it may have letters, digits and . _ : / - only")]
    Name(String),
}

#[doc(hidden)] // For fuzzers.
pub type Entries = BTreeMap<String, String>;

impl Haproxy {
    /// Keeps the file and the running process as `routes` are, for as long as it is polled.
    pub async fn keep(&self, mut routes: watch::Receiver<Option<Routes>>, tell: watch::Sender<Exported>) {
        let mut known = None;
        let mut pause = AGAIN_FIRST;
        loop {
            let now = routes.borrow_and_update().clone();
            if let Some(now) = &now {
                let brought = self.bring(now, &mut known, &tell).await;
                let trouble = brought.as_ref().err().map(in_words);
                pause = if trouble.is_some() { (pause * 2).min(LOOK_EVERY) } else { AGAIN_FIRST };
                if trouble.is_some() {
                    known = None;
                }
                tell.send_if_modified(|told| {
                    let before = told.clone();
                    if let Some(why) = trouble.as_ref().filter(|_| told.trouble != trouble) {
                        tracing::warn!(code = "RP7009", why, "HAProxy does not have its map");
                    } else if told.trouble.is_some() && trouble.is_none() {
                        tracing::info!(version = now.version(), "HAProxy has its map again");
                    }
                    if trouble.is_none() {
                        told.version = now.version();
                    }
                    told.trouble.clone_from(&trouble);
                    *told != before
                });
            }
            let rest = if tell.borrow().trouble.is_some() { pause } else { LOOK_EVERY };
            tokio::select! {
                changed = routes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Brings file and process to these routes. `known`: which process has what, as far as was found or done before.
    async fn bring(
        &self,
        routes: &Routes,
        known: &mut Option<(u64, Known)>,
        tell: &watch::Sender<Exported>,
    ) -> Result<(), NotExported> {
        if tell.borrow().file_version != routes.version() {
            let (path, text) = (self.map.clone(), map_text(routes));
            let written = tokio::task::spawn_blocking(move || replace(&path, &text)).await;
            let failed = |source| NotExported::File { path: self.map.clone(), source };
            written.map_err(io::Error::other).flatten().map_err(failed)?;
            tell.send_modify(|told| told.file_version = routes.version());
        }
        let up_to_date = |known: &Known| known.version == routes.version();
        if let Some((process, entries)) = known
            && up_to_date(entries)
            && self.exchange("show info").await?.0 == *process
        {
            return Ok(());
        }
        let wanted = Known { version: routes.version(), entries: entries(routes)? };
        let map = said(&self.map.display().to_string())?;
        loop {
            let (process, have) = match known.take() {
                Some(known) if !up_to_date(&known.1) => (known.0, known.1.entries),
                // Another process than the one that was told, or the first one.
                _ => {
                    let (process, shown) = self.exchange(&format!("show info;show map {map}")).await?;
                    (process, parse_map(&shown)?)
                }
            };
            let commands = difference(&map, &have, &wanted.entries);
            let mut answered_by = process;
            for line in lines(&commands) {
                let (process, answer) = self.exchange(&format!("show info;{line}")).await?;
                if !answer.trim().is_empty() {
                    return Err(NotExported::Refused(answer.trim().to_owned()));
                }
                if process != answered_by {
                    answered_by = process;
                    break;
                }
            }
            tell.send_modify(|told| told.changes += commands.len() as u64);
            if answered_by == process {
                *known = Some((process, wanted));
                return Ok(());
            }
        }
    }

    /// Says a line of commands that begins with `show info`; returns the number of the process that answers, and
    /// what it says to the others.
    async fn exchange(&self, line: &str) -> Result<(u64, String), NotExported> {
        let failed = |source| NotExported::Socket { path: self.socket.clone(), source };
        let exchange = async {
            // A new connection each time: an old one may lead to a process that is about to end.
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(format!("{line}\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        };
        let answer = tokio::time::timeout(ANSWER_MAX, exchange).await;
        let answer = answer.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)?;
        let (info, rest) = answer.split_once("\n\n").unwrap_or((&answer, ""));
        let number = info.lines().find_map(|line| line.strip_prefix("Pid: ")?.trim().parse().ok());
        let process = number.ok_or_else(|| NotExported::Refused(info.trim().to_owned()))?;
        Ok((process, rest.to_owned()))
    }
}

/// What a process has.
struct Known {
    version: u64,
    entries: Entries,
}

fn entries(routes: &Routes) -> Result<Entries, NotExported> {
    let leaves = routes.map().leaves();
    leaves.map(|leaf| Ok((leaf.partition.to_string(), said(&leaf.home.database)?))).collect()
}

/// A word as it can be said: nothing in it means something to the commands.
fn said(word: &str) -> Result<String, NotExported> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/');
    match !word.is_empty() && word.chars().all(harmless) {
        true => Ok(word.to_owned()),
        false => Err(NotExported::Name(word.to_owned())),
    }
}

/// The entries of a map as `show map` lists them: an address, the key, the value.
#[doc(hidden)] // For fuzzers.
pub fn parse_map(shown: &str) -> Result<Entries, NotExported> {
    let mut entries = Entries::new();
    for line in shown.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_ascii_whitespace();
        let (Some(_), Some(key), Some(value), None) = (
            words.next().filter(|address| address.starts_with("0x")),
            words.next(),
            words.next(),
            words.next(),
        ) else {
            return Err(NotExported::Refused(line.to_owned()));
        };
        // A key that is there twice is set anew: no value of ours is empty.
        let doubled = entries.insert(key.to_owned(), value.to_owned()).is_some();
        if doubled {
            entries.insert(key.to_owned(), String::new());
        }
    }
    Ok(entries)
}

/// The commands that make `wanted` of `have`.
fn difference(map: &str, have: &Entries, wanted: &Entries) -> Vec<String> {
    let mut commands = Vec::new();
    for (key, value) in wanted {
        match have.get(key) {
            Some(old) if old == value => {}
            Some(_) => commands.push(format!("set map {map} {key} {value}")),
            None => commands.push(format!("add map {map} {key} {value}")),
        }
    }
    let gone = have.keys().filter(|key| !wanted.contains_key(*key));
    commands.extend(gone.map(|key| format!("del map {map} {key}")));
    commands
}

/// Commands joined to lines that HAProxy can take.
fn lines(commands: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for command in commands {
        match lines.last_mut().filter(|line| line.len() + 1 + command.len() <= LINE_MAX) {
            Some(line) => {
                line.push(';');
                line.push_str(command);
            }
            None => lines.push(command.clone()),
        }
    }
    lines
}

fn in_words(error: &NotExported) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What HAProxy makes of lines of commands.
    fn obey(have: &Entries, lines: &[String]) -> Entries {
        let mut map = have.clone();
        for command in lines.iter().flat_map(|line| line.split(';')) {
            match command.split(' ').collect::<Vec<_>>()[..] {
                ["set", "map", "m", key, value] => {
                    assert!(map.insert(key.into(), value.into()).is_some(), "{command}");
                }
                ["add", "map", "m", key, value] => {
                    assert!(map.insert(key.into(), value.into()).is_none(), "{command}");
                }
                ["del", "map", "m", key] => assert!(map.remove(key).is_some(), "{command}"),
                _ => panic!("{command}"),
            }
        }
        map
    }

    fn entries() -> impl Strategy<Value = Entries> {
        proptest::collection::btree_map("[a-d]{1,3}", "[xyz]", 0..40)
    }

    proptest! {
        #[test]
        fn commands_make_of_any_map_any_other(have in entries(), wanted in entries()) {
            let commands = difference("m", &have, &wanted);
            prop_assert_eq!(obey(&have, &lines(&commands)), wanted.clone());
            prop_assert!(difference("m", &wanted, &wanted).is_empty());
        }

        #[test]
        fn no_answer_makes_it_panic(shown in any::<String>()) {
            drop(parse_map(&shown));
        }
    }

    #[test]
    fn lines_fit_into_the_buffer() {
        let commands: Vec<String> = (0..5000).map(|n| format!("add map m k{n} v")).collect();
        let lines = lines(&commands);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= LINE_MAX));
        assert_eq!(lines.join(";"), commands.join(";"));
    }

    #[test]
    fn an_answer_that_lists_no_entries_is_a_refusal() {
        let shown = "0x55d0c0 acme blue\n0x55d0d0 zeta green\n0x55d0e0 zeta green\n\n";
        let parsed = parse_map(shown).expect("they are entries");
        assert_eq!(parsed, Entries::from([("acme".into(), "blue".into()), ("zeta".into(), String::new())]));
        for refusal in ["Unknown map identifier. Please use #<id> or <file>.\n", "Permission denied\n"] {
            assert!(matches!(parse_map(refusal), Err(NotExported::Refused(_))), "{refusal}");
        }
    }

    #[test]
    fn words_with_a_meaning_are_not_said() {
        for bad in ["", "a b", "a;b", "a\nb", "a\\", "#1", "ä"] {
            assert!(said(bad).is_err(), "{bad:?}");
        }
        assert!(said("/run/haproxy/tenants.map").is_ok());
    }
}
