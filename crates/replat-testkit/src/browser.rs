//! Pages, as a browser shows them.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use tokio::process::Command;

/// The environment variable that names the browser's program.
pub const PROGRAM_VARIABLE: &str = "REPLAT_CHROMIUM";

/// What is said of a page by those who see it laid out.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Seen {
    /// How many pictures it has.
    pub pictures: usize,
    /// What a reader would trip over: a page wider than its window, texts over one another or outside their picture, links
    /// that lead nowhere, numbers that are none, and whatever the page loads.
    pub faults: Vec<String>,
}

/// Why a page was not seen.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// The browser or a file of its folder is not there.
    #[error("{program:?} cannot be run; install chromium or set {PROGRAM_VARIABLE} to its program")]
    NotRun {
        /// The program.
        program: OsString,
        /// Why.
        source: io::Error,
    },
    /// It ended without an answer.
    #[error("the browser said nothing of the page: {said}")]
    Silent {
        /// The end of what it said instead.
        said: String,
    },
}

/// Shows `page` in a window that is `width` pixels wide, in `folder`, which is the browser's own from then on.
///
/// A page that lets no script run is shown without that rule, since the look itself is one.
///
/// # Errors
///
/// See [`BrowserError`].
pub async fn see(page: &str, width: u32, folder: &Path) -> Result<Seen, BrowserError> {
    let program = env::var_os(PROGRAM_VARIABLE).unwrap_or_else(|| "chromium".into());
    let not_run = |source| BrowserError::NotRun { program: program.clone(), source };
    let shown = folder.join("shown.html");
    let look = concat!("<script>", include_str!("browser.js"), "</script>");
    fs::write(&shown, format!("{}{look}", page.replace("http-equiv=\"Content-Security-Policy\"", "")))
        .map_err(not_run)?;
    let mut browser = Command::new(&program);
    // Without the last ones it asks its maker's servers for updates.
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]);
    browser.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    browser.arg(format!("--user-data-dir={}", folder.join("browser").display()));
    browser.arg(format!("--window-size={width},900")).arg(&shown).kill_on_drop(true);
    let ran = browser.output().await.map_err(not_run)?;
    let dom = String::from_utf8_lossy(&ran.stdout);
    told(&dom).ok_or_else(|| {
        let said = String::from_utf8_lossy(&ran.stderr);
        BrowserError::Silent { said: said.lines().rev().take(5).collect::<Vec<_>>().join("; ") }
    })
}

/// What the look left in the page: JSON, each byte as two hexadecimal digits.
fn told(dom: &str) -> Option<Seen> {
    let (_, behind) = dom.split_once("data-told=\"")?;
    let (digits, _) = behind.split_once('"')?;
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    serde_json::from_slice(&bytes?).ok()
}
