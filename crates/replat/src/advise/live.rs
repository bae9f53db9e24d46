//! Databases that are looked at as they are now, instead of a recording.

use replat_advise::evidence::Evidence;

use crate::capture::failed;
use crate::cli::{AdviseArgs, Global};
use crate::failure::{Exit, Failure};
use crate::project::Project;
use crate::render::{Style, counted};
use crate::source::{self, Source};

/// The databases that were named. Where nothing was named at all, the one that the spec says is home, if it says one.
pub fn sources(global: &Global, style: Style, args: &AdviseArgs) -> Result<Vec<Source>, Failure> {
    let mut all = Vec::new();
    if !args.database.is_empty() {
        let project = Project::open(global)?;
        for name in &args.database {
            if !project.spec.databases.contains_key(name) {
                let known: Vec<&str> = project.spec.databases.keys().map(String::as_str).collect();
                return Err(Failure::new(
                    "RP2006",
                    Exit::Invalid,
                    format!("the spec has no database {name}"),
                )
                .remedy(format!("It has: {}", known.join(", ")))
                .remedy("Any other is named by how it is reached: --url env:DB_URL"));
            }
            all.push(Source::of_spec(&project, name, true)?);
        }
    }
    if let Some(url) = &args.url {
        all.push(Source::of_text(url, "--url", true)?);
    }
    if !all.is_empty() || !args.evidence.is_empty() {
        return Ok(all);
    }
    let Some(project) = source::project_if_any(global)? else {
        return Err(Failure::new("RP1005", Exit::Usage, "nothing says what the advice is to be on")
            .remedy("Name a database: --url env:DB_URL, with DB_URL=postgres://USER@HOST/DATABASE in the environment")
            .remedy("Or name what was recorded: --evidence PATH"));
    };
    // Of a plan the context may be one that the spec has not got yet.
    let context = args.context.as_deref().filter(|name| project.spec.contexts.contains_key(*name));
    let name = source::home(&project, context, "--database")?;
    style.remark(&format!("advice is on {name}, the home in {}", project.file.display()));
    Ok(vec![Source::of_spec(&project, &name, true)?])
}

/// Looks at each, and says what was found.
pub async fn look(style: Style, live: &[Source]) -> Result<Vec<Evidence>, Failure> {
    let mut all = Vec::new();
    for Source { database, info, .. } in live {
        let seen = replat_postgres::capture::look(info, database).await.map_err(|e| failed(database, e))?;
        style.remark(&format!(
            "looked at {database}: {}, {}",
            counted(seen.tables.len(), "table", "tables"),
            counted(seen.statements.len(), "statement", "statements")
        ));
        all.push(seen);
    }
    Ok(all)
}

/// The database that new contexts belong to: the one that was looked at, if it is one of the spec.
pub fn home(live: &[Source]) -> Option<String> {
    match live {
        [Source { database, from, .. }] if from.as_ref() == Some(database) => Some(database.clone()),
        _ => None,
    }
}

/// The option that names it again. A text that may hold a password is not repeated.
pub fn option(source: &Source) -> String {
    match &source.from {
        Some(from) if *from == source.database => format!("--database {from}"),
        Some(from) => format!("--url {from}"),
        None => "--url …".to_owned(),
    }
}

/// The option by which `capture start` watches what was looked at, if that was one database.
pub fn to_capture(live: &[Source]) -> Option<String> {
    match live {
        [one] => Some(format!("--from {}", one.from.as_deref().unwrap_or("…"))),
        _ => None,
    }
}
