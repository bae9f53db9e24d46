//! What replat says of itself: error codes, the spec's schema, completion, manual pages.

use std::path::Path;

use clap::CommandFactory;
use replat_model::preflight::Check;
use serde_json::json;

use crate::cli::{Cli, Global, SchemaWhat};
use crate::codes::{CODES, page, section};
use crate::failure::{Exit, Failure};
use crate::project::Project;
use crate::render::{Style, counted};

/// `validate`.
pub fn validate(global: &Global, style: Style) -> Result<(), Failure> {
    let project = Project::open(global)?;
    let spec = &project.spec;
    let mut text = format!(
        "{} is valid: {}, {}",
        project.file.display(),
        counted(spec.databases.len(), "database", "databases"),
        counted(spec.contexts.len(), "context", "contexts")
    );
    if !spec.lifecycles.is_empty() {
        text += &format!(", {}", counted(spec.lifecycles.len(), "lifecycle", "lifecycles"));
    }
    // A spec of lifecycles alone has nothing to deploy.
    let next = match spec.contexts.is_empty() && !spec.lifecycles.is_empty() {
        true => "replat plan rotate",
        false => "replat plan deploy -p …",
    };
    text += &format!("\nNext:  {next}");
    let contexts: Vec<&String> = spec.contexts.keys().collect();
    let lifecycles: Vec<&String> = spec.lifecycles.keys().collect();
    let value = json!({
        "valid": true, "file": project.file, "contexts": contexts, "lifecycles": lifecycles,
    });
    style.result(&text, &value);
    Ok(())
}

/// `explain`.
pub fn explain(code: Option<&str>, style: Style) -> Result<(), Failure> {
    let Some(code) = code else {
        let text: String = CODES.iter().map(|c| format!("{}  {}\n", c.code, c.title)).collect();
        style.result(&text, &json!(CODES));
        return Ok(());
    };
    let wanted = code.to_ascii_uppercase();
    let check = || wanted.parse().ok().and_then(section);
    match page(&wanted).or_else(check) {
        Some(text) => {
            style.result(text, &json!({ "code": wanted, "page": text }));
            Ok(())
        }
        None => {
            let known = CODES.iter().map(|c| c.code).chain(Check::ALL.iter().map(|check| check.code()));
            let meant = replat_model::spec::nearest(&wanted, known)
                .map_or_else(String::new, |near| format!("; did you mean {near}?"));
            Err(Failure::new("RP2006", Exit::Usage, format!("there is no code {code}{meant}"))
                .remedy("All codes: replat explain"))
        }
    }
}

/// `schema`.
pub fn schema(what: SchemaWhat, style: Style) {
    let value = match what {
        SchemaWhat::JsonSchema => replat_model::spec::json_schema(),
        SchemaWhat::Errors => json!(CODES),
    };
    let text = serde_json::to_string_pretty(&value).expect("JSON can be written");
    style.result(&text, &value);
}

/// `completion`.
pub fn completion(shell: clap_complete::Shell, style: Style) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "replat", &mut script);
    style.document(&script);
}

/// `man`.
pub fn man(dir: Option<&Path>, style: Style) -> Result<(), Failure> {
    let failed = |e: std::io::Error| {
        Failure::new("RP9001", Exit::Usage, format!("the manual could not be written: {e}"))
            .remedy("Name a folder that can be written: replat man --dir DIR")
    };
    match dir {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(failed)?;
            style.document(&page);
            Ok(())
        }
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(failed)?;
            clap_mangen::generate_to(Cli::command(), dir).map_err(failed)
        }
    }
}
