//! The tables of databases: published after runs of `rotate`, and looked up by key.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use replat_engine::BoxError;
use replat_engine::registry::RegistryError;
use replat_model::lifecycle::facts::TableName;
use replat_model::lifecycle::tables::{Tables, TablesDocument};
use replat_postgres::engine::now;
use replat_registry::{KvRegistry, ProjectKey, PublishedTables, Seal, TablesError, tables_context};
use serde_json::json;

use crate::cli::{Global, Publication};
use crate::deploy::Desk;
use crate::failure::{Exit, Failure, causes};
use crate::hooks::report;
use crate::project::{self, Project};
use crate::render::Style;
use crate::rotate::{Place, tables_of};

/// How long a run waits for the registry, and for hooks.
const PUBLISH_MAX: Duration = Duration::from_secs(15);

/// Where runs publish tables: the spec's registry, or the one of the command line.
pub struct Publishing {
    project: Option<Project>,
    registry: Arc<KvRegistry>,
}

impl Publishing {
    /// `None` if neither the command line nor a spec names a registry, or the spec's cannot be used.
    pub fn of(global: &Global, to: &Publication) -> Result<Option<Publishing>, Failure> {
        let bad = |why: String| {
            Failure::new("RP7002", Exit::Invalid, format!("--registry: {why}"))
                .remedy("Write --registry=file:PATH, or another URL as in docs/registry.md.")
        };
        let project = match global.config.is_some() || project::find_spec(global).is_ok() {
            true => Some(Project::open(global)?),
            false => None,
        };
        let Some(url) = &to.registry else {
            let Some(registry) = project.as_ref().and_then(Project::registry) else { return Ok(None) };
            return Ok(match registry {
                Ok(registry) => Some(Publishing { project, registry: Arc::new(registry) }),
                Err(why) => {
                    // Partitions are needed all the same.
                    tracing::warn!(why, "[registry] cannot be used: tables are not published");
                    None
                }
            });
        };
        let url = match url.strip_prefix("env:") {
            None => url.clone(),
            Some(name) => {
                std::env::var(name).map_err(|_| bad(format!("the environment has no variable {name}")))?
            }
        };
        let name =
            to.project.clone().or_else(|| project.as_ref().map(|project| project.spec.project.clone()));
        let name = name.ok_or_else(|| {
            Failure::new("RP7002", Exit::Usage, "whose tables these are is not said")
                .remedy("Say it: --registry-project=NAME, as those who follow name it.")
        })?;
        let key = to.key.as_deref().map(|path: &Path| ProjectKey::read(path)).transpose();
        let key = key.map_err(|error| bad(error.to_string()))?;
        let registry = replat_registry::open(&url, Seal { project: name, key }).map_err(|error| {
            bad([error.to_string()].into_iter().chain(causes(&error)).collect::<Vec<_>>().join(": "))
        })?;
        Ok(Some(Publishing { project, registry: Arc::new(registry) }))
    }

    /// Publishes the tables of one database as they are now, and tells hooks. Within a limited time.
    pub async fn bring(&self, place: &Place) -> Result<PublishedTables, Failure> {
        let bring = async {
            let look =
                async || tables_of(place).await.map_err(|failure| BoxError::from(failure.what.into_string()));
            let brought = self.registry.bring_tables(&place.name, now, look).await.map_err(unpublished)?;
            if let Some(project) = self.project.as_ref().filter(|project| !project.spec.hooks.is_empty()) {
                let context = tables_context(&place.name);
                if let Ok(heard) = project.hooks(self.registry.clone(), None).tell(&context).await {
                    report(&context, &heard);
                }
            }
            Ok(brought)
        };
        tokio::time::timeout(PUBLISH_MAX, bring).await.unwrap_or_else(|_| {
            Err(Failure::new("RP7001", Exit::Temporary, "the registry, or a hook, did not answer in time"))
        })
    }
}

/// After a run, whatever came of it: a registry that fails is no failure of the run, and the next run publishes.
pub async fn publish_after(publishing: Option<&Publishing>, place: &Place, style: Style) {
    let Some(publishing) = publishing else { return };
    match publishing.bring(place).await {
        Ok(brought) => tracing::info!(
            database = place.name.as_str(),
            version = brought.version,
            partitions = brought.document.partitions(),
            "its tables are published"
        ),
        Err(failure) => {
            let because: Vec<String> = failure.because.iter().map(|why| format!(" ({why})")).collect();
            style.remark(&format!(
                "warning: the tables of {} are not published; the next run does it: {}{}",
                place.name,
                failure.what,
                because.concat()
            ));
        }
    }
}

pub fn unpublished(error: TablesError) -> Failure {
    let (code, exit, remedy) = match &error {
        TablesError::Registry(RegistryError::Unreachable { .. }) | TablesError::Contended(_) => (
            "RP7001",
            Exit::Temporary,
            "Check that it is up and reachable from here; the next run publishes.",
        ),
        TablesError::Registry(RegistryError::Refused { .. }) => {
            ("RP7002", Exit::Precondition, "Grant what is missing, or raise its limit.")
        }
        TablesError::Registry(RegistryError::Damaged { .. }) => {
            ("RP7003", Exit::Different, "See what is wrong: replat registry fsck")
        }
        TablesError::Look { .. } => ("RP1001", Exit::Temporary, "See why, and try again."),
        TablesError::Ahead { .. } => (
            "RP7004",
            Exit::Person,
            "Find out which of the two is right; give each project a registry, and each database a name of its own.",
        ),
    };
    Failure::new(code, exit, error.to_string())
        .because(causes(&error))
        .state("SAFE: databases are as they were; followers keep the tables that they know.")
        .remedy(remedy)
}

/// What `route lookup --table` asks.
pub struct TableQuestion<'a> {
    /// The table, as SCHEMA.TABLE.
    pub table: TableName,
    /// In which database.
    pub database: &'a str,
    /// COLUMN=VALUE, separated by commas.
    pub key: &'a str,
}

impl Desk<'_> {
    /// Prints the table that holds a key, as the registry has it.
    pub async fn lookup_table(&self, question: &TableQuestion<'_>) -> Result<(), Failure> {
        let registry = self.need_registry()?;
        let published = crate::route::within(registry.tables(question.database)).await?;
        let Some(PublishedTables { version, document }) = published else {
            let what = format!(
                "{} has no tables of {}",
                replat_engine::registry::Registry::name(&registry),
                question.database
            );
            return Err(Failure::new("RP7003", Exit::Precondition, what)
                .remedy(format!("Publish them: replat rotate --database {}", question.database)));
        };
        let tables = Tables::from(&document);
        let table = find(&tables, question).map_err(|why| {
            let mut known: Vec<String> = document.sets.iter().map(|set| set.table.to_string()).collect();
            known.truncate(20);
            Failure::new("RP2006", Exit::Invalid, why)
                .remedy(format!("Write --key COLUMN=VALUE,…; partitioned tables there: {}", known.join(", ")))
        })?;
        self.style.result(
            &format!("{table}  in {}, version {version}\n", question.database),
            &json!({
                "database": question.database, "entity": question.table, "table": table,
                "version": version, "outbox": document.outbox,
            }),
        );
        Ok(())
    }
}

fn find(tables: &Tables, question: &TableQuestion<'_>) -> Result<TableName, String> {
    let parts: Result<Vec<(&str, &str)>, String> = question
        .key
        .split(',')
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            let (column, value) = part.split_once('=').ok_or(format!("{part:?} is not COLUMN=VALUE"))?;
            Ok((column.trim(), value.trim()))
        })
        .collect();
    let key = tables.key(&question.table, &parts?).map_err(|why| why.to_string())?;
    Ok(tables.find(&question.table, &key).map_err(|why| why.to_string())?.clone())
}

/// How the tables of a database stand in the registry.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TablesStanding {
    /// Which database.
    pub database: String,
    /// The registry's version.
    pub version: u64,
    /// The version of the outbox in the database, as of then.
    pub outbox: u64,
    /// Partitioned tables.
    pub sets: usize,
    /// Their partitions.
    pub partitions: usize,
}

impl TablesStanding {
    /// Of what was published.
    pub fn of(database: &str, published: &PublishedTables) -> TablesStanding {
        let document: &TablesDocument = &published.document;
        TablesStanding {
            database: database.to_owned(),
            version: published.version,
            outbox: document.outbox,
            sets: document.sets.len(),
            partitions: document.partitions(),
        }
    }
}
