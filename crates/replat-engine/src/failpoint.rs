//! Places where a test lets the process die.
//!
//! `REPLAT_CRASH_AT=name` (or `name:3` for the third time) aborts the process at that place: no destructor runs
//! and nothing is flushed, as with `kill -9`. Release builds have none of it.

/// Dies here if the environment says so.
#[cfg(debug_assertions)]
pub fn crash_at(name: &str) {
    crash_at_named(|| name.to_owned());
}

/// The same for a place whose name has to be put together first.
#[cfg(debug_assertions)]
pub fn crash_at_named(name: impl FnOnce() -> String) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let Ok(wanted) = std::env::var("REPLAT_CRASH_AT") else { return };
    let (at, times) = match wanted.split_once(':') {
        Some((at, times)) => (at, times.parse().unwrap_or(1)),
        None => (wanted.as_str(), 1),
    };
    if at == name() && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == times {
        std::process::abort();
    }
}

/// Whether the environment names a place, so that what is usually done at once has to be done step by step.
pub fn armed() -> bool {
    cfg!(debug_assertions) && std::env::var_os("REPLAT_CRASH_AT").is_some()
}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
pub fn crash_at(_name: &str) {}

/// Nothing, in a release build; the name is not even put together.
#[cfg(not(debug_assertions))]
pub fn crash_at_named(_name: impl FnOnce() -> String) {}
