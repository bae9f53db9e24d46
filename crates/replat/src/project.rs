//! A project on this machine: its spec, its control store, and how its databases are reached.

use std::path::{Path, PathBuf};

use replat_engine::{Listed, WorkLog};
use replat_model::ids::{DeploymentId, Home};
use replat_model::map::Map;
use replat_model::spec::{self, Context, SecretText, Spec, UrlSource};
use replat_postgres::conninfo::{ConnInfo, Environment};
use replat_store::Store;

use crate::cli::Global;
use crate::failure::{Exit, Failure, causes};
use crate::render::counted;

/// A project.
pub struct Project {
    /// The spec.
    pub spec: Spec,
    /// The spec's file.
    pub file: PathBuf,
    /// Where the control store lies.
    store_file: PathBuf,
}

/// Finds the spec: the one that was named, or replat.toml here or above.
pub fn find_spec(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(file) = &global.config {
        return Ok(file.clone());
    }
    let here = std::env::current_dir()
        .map_err(|e| Failure::new("RP9001", Exit::Internal, format!("this folder cannot be read: {e}")))?;
    here.ancestors().map(|folder| folder.join("replat.toml")).find(|f| f.is_file()).ok_or_else(|| {
        Failure::new("RP2001", Exit::Invalid, "there is no replat.toml here or above")
            .remedy("Name it: replat -c FILE …; examples/saas/replat.toml is one to begin with.")
    })
}

impl Project {
    /// Reads the spec.
    pub fn open(global: &Global) -> Result<Project, Failure> {
        let file = find_spec(global)?;
        let shown = file.display().to_string();
        let text = std::fs::read_to_string(&file).map_err(|e| {
            Failure::new("RP2001", Exit::Invalid, format!("{shown} cannot be read: {e}")).remedy(
                "Name another one with -c FILE; without -c, replat.toml is looked for upwards from here.",
            )
        })?;
        let spec = spec::parse(&text).map_err(|errors| {
            let rendered = spec::render_errors(&shown, &text, &errors);
            Failure::new(
                "RP2001",
                Exit::Invalid,
                format!("{shown} has {}", counted(errors.len(), "error", "errors")),
            )
            .because(rendered.lines().map(|line| line.trim_end().to_owned()))
            .details(&errors)
            .remedy("Correct the spec; every key is described in docs/spec.md.")
        })?;
        let store_file =
            global.store.clone().unwrap_or_else(|| folder_of(&file).join(".replat").join("control.db"));
        Ok(Project { spec, file, store_file })
    }

    /// The folder of the spec: relative paths in it begin here.
    pub fn folder(&self) -> &Path {
        folder_of(&self.file)
    }

    /// A file of ours in the store's folder.
    pub fn beside_store(&self, name: &str) -> PathBuf {
        folder_of(&self.store_file).join(name)
    }

    /// The control store, made if it is not there.
    pub fn store(&self) -> Result<Store, Failure> {
        if let Some(folder) = self.store_file.parent() {
            std::fs::create_dir_all(folder).map_err(|e| {
                Failure::new("RP6003", Exit::Person, format!("{} cannot be made: {e}", folder.display()))
            })?;
        }
        Ok(Store::open(&self.store_file)?)
    }

    /// The control store if there is one: who only looks makes none.
    pub fn store_so_far(&self) -> Result<Option<Store>, Failure> {
        if self.store_file.exists() { Ok(Some(self.store()?)) } else { Ok(None) }
    }

    /// The context that was named, or the only one there is.
    pub fn context<'a>(&'a self, named: Option<&'a str>) -> Result<(&'a str, &'a Context), Failure> {
        let known = || self.spec.contexts.keys().cloned().collect::<Vec<_>>().join(", ");
        match named {
            Some(name) => match self.spec.contexts.get_key_value(name) {
                Some((name, context)) => Ok((name, context)),
                None => Err(Failure::new("RP2006", Exit::Invalid, format!("there is no context {name}"))
                    .remedy(format!("The spec has: {}", known()))),
            },
            None => match self.spec.contexts.iter().next() {
                Some((name, context)) if self.spec.contexts.len() == 1 => Ok((name, context)),
                _ => Err(Failure::new("RP2006", Exit::Invalid, "the spec has several contexts")
                    .remedy(format!("Name one with -C: {}", known()))),
            },
        }
    }

    /// The newest map of a context: the stored one, or the one that the spec describes.
    pub fn map(&self, store: &dyn WorkLog, name: &str, context: &Context) -> Result<Map, Failure> {
        if let Some(map) = store.map(name)? {
            return Ok(map);
        }
        self.first_map(name, context)
    }

    /// The map that the spec describes: the one that a context begins with.
    pub fn first_map(&self, name: &str, context: &Context) -> Result<Map, Failure> {
        Map::build(name, context.dimensions.clone(), context.tree.as_ref(), context.home.clone())
            .map_err(|e| Failure::new("RP2001", Exit::Invalid, e.to_string()))
    }

    /// How the database of `home` is reached.
    pub fn connection(&self, home: &Home, read_only: bool) -> Result<ConnInfo, Failure> {
        self.database(&home.database, read_only)
    }

    /// How the database `name` of the spec is reached.
    pub fn database(&self, name: &str, read_only: bool) -> Result<ConnInfo, Failure> {
        let bad = |what: String| {
            Failure::new("RP1005", Exit::Invalid, format!("database {name}: {what}"))
                .remedy(format!("Correct [databases.{name}] in {}.", self.file.display()))
        };
        let database =
            self.spec.databases.get(name).ok_or_else(|| bad("the spec does not have it".into()))?;
        let text = match (&database.url, &database.service) {
            (Some(url), _) => written(url, self.folder(), &bad)?,
            (None, Some(service)) => {
                format!("service='{}'", service.replace('\\', "\\\\").replace('\'', "\\'"))
            }
            (None, None) => String::new(),
        };
        resolved(&text, name, read_only, &bad)
    }

    /// The deployment that was named, or the only one that has not ended.
    pub fn deployment(&self, store: &dyn WorkLog, named: Option<&str>) -> Result<Listed, Failure> {
        let all = store.list()?;
        if let Some(named) = named {
            let name = named.strip_prefix("deployment/").unwrap_or(named);
            let id: Option<DeploymentId> = name.parse().ok();
            return all.into_iter().find(|l| Some(&l.id) == id.as_ref()).ok_or_else(|| {
                Failure::new("RP2006", Exit::Invalid, format!("there is no deployment {named}"))
                    .remedy("See: replat deploy list")
            });
        }
        let mut open = Vec::new();
        for listed in &all {
            let history = store.read(&listed.id)?;
            let state = replat_model::deploy::Deployment::fold(history.iter().map(|r| &r.event))
                .map_err(replat_control::ControlError::from)?;
            if !state.ended() && state.finished.is_none() {
                open.push(listed.clone());
            }
        }
        // Where only one was ever made, it is meant even after its end.
        let mut candidates = if open.is_empty() { all } else { open };
        match candidates.pop() {
            Some(one) if candidates.is_empty() => Ok(one),
            None => Err(Failure::new("RP2006", Exit::Invalid, "there is no deployment yet")
                .remedy("Begin with: replat plan deploy -p …")),
            Some(last) => {
                let names = candidates.iter().chain([&last]).map(|l| l.id.as_str()).collect::<Vec<_>>();
                let what = format!("several deployments can be meant: {}", names.join(", "));
                Err(Failure::new("RP2006", Exit::Invalid, what).remedy("Name one; see: replat deploy list"))
            }
        }
    }
}

/// The folder of a file.
pub fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The connection text itself, from wherever it is kept; a relative path begins at `folder`.
pub fn written(url: &SecretText, folder: &Path, bad: &dyn Fn(String) -> Failure) -> Result<String, Failure> {
    Ok(match url.source().map_err(|e| bad(e.to_string()))? {
        UrlSource::Literal(text) => text.to_owned(),
        UrlSource::Env(variable) => std::env::var(variable).map_err(|_| {
            let what = format!("the environment has no variable {variable}");
            Failure {
                remedy: vec![format!("Set it: export {variable}=postgres://USER@HOST/DATABASE")],
                ..bad(what)
            }
        })?,
        UrlSource::File(path) => std::fs::read_to_string(folder.join(path))
            .map_err(|e| bad(format!("{path} cannot be read: {e}")))?
            .trim()
            .to_owned(),
    })
}

/// A connection text with everything that the environment adds to it. `name` is the database's name in the log.
pub fn resolved(
    text: &str,
    name: &str,
    read_only: bool,
    bad: &dyn Fn(String) -> Failure,
) -> Result<ConnInfo, Failure> {
    let mut info = ConnInfo::resolve(Some(text), &Environment::of_process()).map_err(|e| {
        let mut failure = bad(e.to_string());
        failure.because = causes(&e);
        failure
    })?;
    for warning in &info.warnings {
        tracing::warn!(database = name, "{warning}");
    }
    if read_only {
        let options = info.options.take().unwrap_or_default();
        // The second setting tells those who look that the first one is ours, and not the database's own.
        let ours = "-c default_transaction_read_only=on -c replat.shows=on";
        info.options = Some(format!("{options} {ours}").trim().to_owned());
    }
    Ok(info)
}
