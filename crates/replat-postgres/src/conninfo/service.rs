//! Connection services: named sets of parameters in `pg_service.conf`.

use std::io;
use std::path::{Path, PathBuf};

use super::{ConnInfoError, Environment};

/// The parameters of `service`, from the user's file or, if that does not have it, the system's.
///
/// # Errors
///
/// [`ConnInfoError::NoService`] if neither has it. A file that `PGSERVICEFILE` names must be readable.
pub(super) fn parameters(
    service: &str,
    environment: &Environment,
) -> Result<Vec<(String, String)>, ConnInfoError> {
    let mut looked = Vec::new();
    for (path, must_exist) in files(environment) {
        let found = match (environment.read_file)(&path) {
            Ok(file) => find(&file.text, service, &path)?,
            Err(error) if !must_exist && error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(ConnInfoError::File { path, source }),
        };
        if let Some(pairs) = found {
            return Ok(pairs);
        }
        looked.push(path);
    }
    Err(ConnInfoError::NoService { service: service.to_owned(), looked })
}

fn files(environment: &Environment) -> impl Iterator<Item = (PathBuf, bool)> {
    let named = environment.var("PGSERVICEFILE").map(|path| (PathBuf::from(path), true));
    let own = || environment.home.as_ref().map(|home| (home.join(".pg_service.conf"), false));
    let system = environment.var("PGSYSCONFDIR");
    let system = system.map(|directory| (Path::new(directory).join("pg_service.conf"), false));
    named.or_else(own).into_iter().chain(system)
}

fn find(text: &str, service: &str, path: &Path) -> Result<Option<Vec<(String, String)>>, ConnInfoError> {
    let mut found: Option<Vec<(String, String)>> = None;
    for (position, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            found = (section.trim_end_matches(']') == service).then(Vec::new);
        } else if let Some(pairs) = &mut found {
            pairs.push(pair(line).map_err(|problem| ConnInfoError::ServiceFile {
                path: path.to_owned(),
                line: position + 1,
                problem,
            })?);
        }
    }
    Ok(found)
}

fn pair(line: &str) -> Result<(String, String), &'static str> {
    match line.split_once('=') {
        Some(("service", _)) => Err("a service cannot name another service"),
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        None if line.starts_with("ldap") => Err("services from LDAP are not supported"),
        None => Err("expected name=value"),
    }
}
