//! Asking a person, where there is one.

use std::io::{BufRead, IsTerminal, Write};

use crate::cli::Global;
use crate::failure::{Exit, Failure};

/// Returns if the answer is yes.
pub fn confirm(global: &Global, question: &str) -> Result<(), Failure> {
    if global.yes {
        return Ok(());
    }
    let no =
        |what: &str| Failure::new("RP2008", Exit::NotApproved, what).remedy("To agree beforehand: --yes");
    if global.no_input || !std::io::stdin().is_terminal() {
        return Err(no("there is nobody to ask"));
    }
    let mut err = std::io::stderr().lock();
    // If the question cannot be shown, the answer below is not a yes either.
    drop(write!(err, "{question} [y/N] "));
    drop(err.flush());
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|e| no(&format!("no answer: {e}")))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(no("not agreed")),
    }
}
