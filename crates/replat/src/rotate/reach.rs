//! Which databases a run is about, how they are reached, and what the spec wants of them.

use std::path::Path;

use replat_model::lifecycle::policy::Lifecycle;
use replat_postgres::conninfo::ConnInfo;

use crate::cli::{Global, Reach};
use crate::failure::{Exit, Failure};
use crate::project::{self, Project};

/// A database, and what is wanted there.
pub struct Place {
    /// What people call it: its name in the spec, or the database's own.
    pub name: String,
    /// How it is reached.
    pub info: ConnInfo,
    /// What the spec wants of its tables, by name. Without any, the command line alone speaks.
    pub lifecycles: Vec<(String, Lifecycle)>,
}

/// The databases that were asked for: by the command line, by the spec's lifecycles, or by the environment.
pub fn places(global: &Global, reach: &Reach, read_only: bool) -> Result<Vec<Place>, Failure> {
    let project = project(global, reach)?;
    if let Some(url) = &reach.db_url {
        let bad = |what: String| {
            Failure::new("RP1005", Exit::Invalid, format!("--db-url: {what}"))
                .remedy("Write --db-url=postgres://USER@HOST/DATABASE, or --db-url=env:NAME.")
        };
        let text = project::written(url, Path::new("."), &bad)?;
        let info = project::resolved(&text, "--db-url", read_only, &bad)?;
        // The spec's databases are places of their own, but its wishes are about tables: with one database, or
        // none named, they are meant for whatever --db-url says.
        let lifecycles = project.as_ref().map_or_else(Vec::new, |project| {
            let only = (project.spec.databases.len() == 1).then(|| project.spec.databases.keys().next());
            let meant = |lifecycle: &Lifecycle| match (&lifecycle.database, only.flatten()) {
                (None, _) => true,
                (Some(named), Some(only)) => named == only,
                (Some(_), None) => false,
            };
            wishes(project, meant)
        });
        return Ok(vec![Place { name: info.dbname.clone(), info, lifecycles }]);
    }
    match project {
        Some(project) => of_spec(&project, reach, read_only),
        None => of_environment(read_only),
    }
}

/// The spec, if there is one: it must be there only where nothing else says which database is meant.
fn project(global: &Global, reach: &Reach) -> Result<Option<Project>, Failure> {
    let named = global.config.is_some() || reach.database.is_some();
    if named || project::find_spec(global).is_ok() { Project::open(global).map(Some) } else { Ok(None) }
}

fn wishes(project: &Project, meant: impl Fn(&Lifecycle) -> bool) -> Vec<(String, Lifecycle)> {
    let all = project.spec.lifecycles.iter().filter(|(_, lifecycle)| meant(lifecycle));
    all.map(|(name, lifecycle)| (name.clone(), lifecycle.clone())).collect()
}

fn of_spec(project: &Project, reach: &Reach, read_only: bool) -> Result<Vec<Place>, Failure> {
    let spec = &project.spec;
    let only = (spec.databases.len() == 1).then(|| spec.databases.keys().next()).flatten();
    let mut names: Vec<&String> = match &reach.database {
        Some(name) => vec![name],
        None if spec.lifecycles.is_empty() => only.into_iter().collect(),
        None => spec.lifecycles.values().filter_map(|l| l.database.as_ref().or(only)).collect(),
    };
    names.sort();
    names.dedup();
    let unplaced = spec.lifecycles.iter().find(|(_, l)| l.database.is_none() && only.is_none());
    if let (Some((name, _)), None) = (unplaced, &reach.database) {
        let known = spec.databases.keys().cloned().collect::<Vec<_>>().join(", ");
        let what = format!("[lifecycles.{name}] does not say which database holds its tables");
        return Err(Failure::new("RP2001", Exit::Invalid, what).remedy(format!(
            "Add to it: database = \"NAME\"; the spec has {known}. Or name one: --database NAME"
        )));
    }
    if names.is_empty() {
        return Err(nowhere());
    }
    let place = |name: &String| {
        Ok(Place {
            name: name.clone(),
            info: project.database(name, read_only)?,
            lifecycles: wishes(project, |l| l.database.as_ref().or(only).is_none_or(|d| d == name)),
        })
    };
    names.into_iter().map(place).collect()
}

/// As psql would connect, but not by defaults alone: nobody means the database of the account that cron runs under.
fn of_environment(read_only: bool) -> Result<Vec<Place>, Failure> {
    let said = ["PGSERVICE", "PGHOST", "PGHOSTADDR", "PGDATABASE"];
    if !said.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
        return Err(nowhere());
    }
    let bad = |what: String| {
        Failure::new("RP1005", Exit::Invalid, format!("the PG* variables: {what}"))
            .remedy("Correct them, or write --db-url=postgres://USER@HOST/DATABASE.")
    };
    let info = project::resolved("", "environment", read_only, &bad)?;
    Ok(vec![Place { name: info.dbname.clone(), info, lifecycles: Vec::new() }])
}

fn nowhere() -> Failure {
    Failure::new("RP1005", Exit::Usage, "nothing says which database is meant")
        .remedy("Name it: --db-url=env:DB_URL, with DB_URL=postgres://USER@HOST/DATABASE in the environment")
        .remedy("Or write a spec with [databases] and [lifecycles]; see docs/spec.md.")
}
