//! Which database is looked at as it is: one of the spec, or any other by how it is reached.

use std::path::Path;

use replat_model::spec::{SecretText, UrlSource};
use replat_postgres::conninfo::ConnInfo;

use crate::cli::Global;
use crate::failure::{Exit, Failure};
use crate::project::{self, Project};

/// A database, and how it is reached.
pub struct Source {
    /// What people call it: its name in the spec, else its own.
    pub database: String,
    /// How it is reached.
    pub info: ConnInfo,
    /// How it was named, unless a text was given that might hold a password.
    pub from: Option<String>,
}

impl Source {
    /// The one that the spec calls `name`.
    pub fn of_spec(project: &Project, name: &str, read_only: bool) -> Result<Source, Failure> {
        let info = project.database(name, read_only)?;
        Ok(Source { database: name.to_owned(), info, from: Some(name.to_owned()) })
    }

    /// The one that a text given with `option` says how to reach.
    pub fn of_text(text: &SecretText, option: &str, read_only: bool) -> Result<Source, Failure> {
        let bad = |what: String| {
            Failure::new("RP1005", Exit::Invalid, format!("{option}: {what}")).remedy(format!(
                "Write {option}=postgres://USER@HOST/DATABASE or {option}=env:NAME, or take a database of the spec."
            ))
        };
        let from = match text.source().map_err(|e| bad(e.to_string()))? {
            UrlSource::Literal(_) => None,
            UrlSource::Env(name) => Some(format!("env:{name}")),
            UrlSource::File(path) => Some(format!("file:{path}")),
        };
        let text = project::written(text, Path::new("."), &bad)?;
        let info = project::resolved(&text, option, read_only, &bad)?;
        Ok(Source { database: info.dbname.clone(), info, from })
    }
}

/// The project, if there is a spec.
pub fn project_if_any(global: &Global) -> Result<Option<Project>, Failure> {
    match global.config.is_some() || project::find_spec(global).is_ok() {
        true => Project::open(global).map(Some),
        false => Ok(None),
    }
}

/// The name of the spec's database that a text is, if it is one.
pub fn named<'a>(project: &Project, text: &'a SecretText) -> Option<&'a str> {
    Some(text.expose()).filter(|name| project.spec.databases.contains_key(*name))
}

/// The database that is meant where none is named: that of the context, or of all contexts if it is one; where there is
/// no context yet, the only one there is. With several, `option` is what names one.
pub fn home(project: &Project, context: Option<&str>, option: &str) -> Result<String, Failure> {
    if context.is_some() || project.spec.contexts.len() == 1 {
        return Ok(project.context(context)?.1.home.database.clone());
    }
    let mut homes: Vec<&str> = project.spec.contexts.values().map(|c| c.home.database.as_str()).collect();
    if homes.is_empty() {
        homes = project.spec.databases.keys().map(String::as_str).collect();
    }
    homes.sort_unstable();
    homes.dedup();
    match homes[..] {
        [one] => Ok(one.to_owned()),
        [] => Err(nothing_named(option)),
        _ => Err(Failure::new("RP2006", Exit::Invalid, "the spec has several databases")
            .remedy(format!("Name one with {option}: {}", homes.join(", ")))),
    }
}

/// Nobody says which database is meant.
pub fn nothing_named(option: &str) -> Failure {
    Failure::new("RP1005", Exit::Usage, "nothing says which database is meant")
        .remedy(format!(
            "Name it: {option} env:DB_URL, with DB_URL=postgres://USER@HOST/DATABASE in the environment"
        ))
        .remedy("Or write a spec with [databases] and [contexts]; see docs/spec.md.")
}
