//! What reads bytes of others, as functions of bytes: [`TARGETS`].
//!
//! A target panics if something is wrong: a crash of what it calls, or a promise that is broken (what was read and
//! written again is read as the same). Three run them: libFuzzer (`fuzz/`, by `./x fuzz`), which sees which code an
//! input reaches; this crate's own program, which mutates seeds blindly and needs no other compiler or tool; and a
//! test, for a moment. What once was found lies in `regressions/TARGET/`, and is tried by all of them first.
//!
//! Absent on purpose: sockets, clocks, servers. What a target calls is all there before it runs.

mod evidence;
pub mod mutate;
mod registry;
mod routes;
mod statement;
mod texts;
mod wire;

use std::path::PathBuf;

/// Something that reads bytes of others.
pub struct Target {
    /// Its name: letters and `_`.
    pub name: &'static str,
    /// What it reads.
    pub reads: &'static str,
    /// Reads; panics if something is wrong.
    pub run: fn(&[u8]),
    /// Inputs that are read without complaint, or nearly, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that mean something there.
    pub words: &'static [&'static str],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    wire::OPENING,
    wire::CLIENT_FRAMES,
    wire::SERVER_FRAMES,
    wire::CONVERSATION,
    wire::SCRAM_SERVER,
    wire::SCRAM_CLIENT,
    wire::VERIFIER,
    wire::PGOUTPUT,
    registry::ENVELOPE,
    registry::REGISTRY,
    registry::REDIS,
    registry::ADDRESS,
    routes::MAP,
    routes::ROUTES,
    routes::DELTA,
    statement::STATEMENT,
    evidence::EVIDENCE,
    evidence::CAPTURED,
    evidence::SCHEMA,
    evidence::COUNTED,
    evidence::LOGGED,
    evidence::WRITTEN,
    evidence::TRACED,
    evidence::ANALYSED,
    texts::SPEC,
    texts::HAPROXY,
    texts::HTTP_TARGET,
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

impl Target {
    /// Where inputs lie that once were too much for it.
    pub fn regressions(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("regressions").join(self.name)
    }

    /// Its seeds, and what lies in [`Target::regressions`], by name.
    ///
    /// # Errors
    ///
    /// What the system says of a file that is there and cannot be read.
    pub fn known(&self) -> std::io::Result<Vec<(String, Vec<u8>)>> {
        let seeds = (self.seeds)().into_iter().enumerate();
        let mut known: Vec<_> = seeds.map(|(number, seed)| (format!("seed-{number}"), seed)).collect();
        let folder = self.regressions();
        if folder.is_dir() {
            for file in std::fs::read_dir(folder)? {
                let path = file?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                known.push((name, std::fs::read(path)?));
            }
        }
        Ok(known)
    }
}
