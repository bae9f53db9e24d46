//! How a project's deployments meet those who route its requests: by the registry that the spec names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use replat_engine::gate::{Gate, NoGate, UnusableGate};
use replat_engine::registry::{Attendance, HoldAnswer, HoldCall, Registry, RegistryError};
use replat_engine::{Listed, WorkLog};
use replat_model::route::Address;
use replat_model::spec::{Context, Database, RegistrySource, RegistrySpec};
use replat_postgres::conninfo::{ConnInfo, Place};
use replat_postgres::engine::now;
use replat_registry::{KvRegistry, LogOutbox, ProjectKey, Publisher, RegistryGate, Seal, Telling};
use replat_store::Store;
use serde::Serialize;

use crate::failure::{Failure, causes};
use crate::hooks::HookedGate;
use crate::project::Project;

/// How long somebody who looks at a deployment waits for the registry.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// What a look at the registry came to, for one deployment.
#[derive(Clone, Debug, Serialize)]
pub struct Routing {
    /// Which registry.
    pub registry: String,
    /// Why it could not be looked at.
    pub trouble: Option<String>,
    /// The version that it has of the context's routes; 0: none.
    pub published: u64,
    /// The newest version that there is.
    pub version: u64,
    /// Who follows, and what they say of a hold of the partition.
    pub followers: Vec<Following>,
    /// The hold of the partition, if one is asked for.
    pub hold: Option<HoldCall>,
}

/// Somebody who follows the routes.
#[derive(Clone, Debug, Serialize)]
pub struct Following {
    /// What it is, and where it runs.
    pub name: String,
    /// The version that it goes by.
    pub version: u64,
    /// Its answer to the hold.
    pub answer: Option<HoldAnswer>,
}

impl Project {
    /// The registry of the spec; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Why it cannot be used, in words for people. A server that is down is found out later.
    pub fn registry(&self) -> Option<Result<KvRegistry, String>> {
        let spec = self.spec.registry.as_ref()?;
        Some(self.seal(spec).and_then(|seal| {
            let url = registry_url(spec, self.folder())?;
            replat_registry::open(&url, seal).map_err(|error| in_words(&error))
        }))
    }

    /// What this project's routes are sealed with.
    fn seal(&self, spec: &RegistrySpec) -> Result<Seal, String> {
        let key = spec.key.as_ref().map(|key| ProjectKey::read(&self.folder().join(&key.file)));
        let key = key.transpose().map_err(|error| in_words(&error))?;
        Ok(Seal { project: self.spec.project.clone(), key })
    }

    /// What routers are told besides the map: where the databases are, and the services that work with them.
    pub fn telling(&self) -> Telling {
        let reached = |name: &String| match self.database(name, true) {
            Ok(info) => address_of(&info),
            Err(failure) => {
                tracing::debug!(database = name.as_str(), why = %failure.what, "routers are not told where it is");
                None
            }
        };
        let databases: BTreeMap<&String, Option<Address>> =
            self.spec.databases.keys().map(|name| (name, reached(name))).collect();
        let of = |context: &Context| {
            let told = |name: &String, database: &Database| {
                let endpoint = context.endpoints.get(name).or(database.endpoint.as_ref()).cloned();
                databases[name].clone().map(|address| Address { endpoint, ..address })
            };
            self.spec.databases.iter().map(|(name, db)| (name.clone(), told(name, db))).collect()
        };
        Telling {
            project: self.spec.project.clone(),
            contexts: self.spec.contexts.iter().map(|(name, context)| (name.clone(), of(context))).collect(),
        }
    }

    /// Those who route the requests of one context.
    ///
    /// A registry that cannot be used stops no deployment: it is told as a warning.
    pub fn gate(&self, context: &str) -> Result<Box<dyn Gate>, Failure> {
        Ok(match self.registry() {
            None => Box::new(NoGate),
            Some(Ok(registry)) => {
                let seal = registry.seal().clone();
                let kept = Arc::new(registry);
                let registry: Arc<dyn Registry> = kept.clone();
                // A connection of its own: to publish goes on beside the deployment.
                let log: Arc<dyn WorkLog> = Arc::new(self.store()?);
                let outbox = Arc::new(LogOutbox::new(log.clone(), self.telling()));
                let publisher = Publisher::new(Arc::clone(&registry), outbox, seal, now);
                let gate = RegistryGate::new(registry, publisher, context);
                match self.spec.hooks.is_empty() {
                    true => Box::new(gate),
                    false => {
                        let hooks = self.hooks(kept.clone(), Some(log));
                        Box::new(HookedGate::new(gate, kept, hooks, context))
                    }
                }
            }
            Some(Err(why)) => {
                tracing::warn!(
                    why,
                    "the registry cannot be used: routers are not asked to hold, nor told of a switch"
                );
                Box::new(UnusableGate { why })
            }
        })
    }

    /// Looks at the registry, within a limited time; `None` if the spec has none.
    pub async fn routing(&self, store: &Store, listed: &Listed) -> Result<Option<Routing>, Failure> {
        let registry = match self.registry() {
            None => return Ok(None),
            Some(Ok(registry)) => registry,
            Some(Err(why)) => return Ok(Some(Routing::unknown(shown(self), why))),
        };
        let version = store.map(&listed.context)?.map_or(0, |map| map.version());
        let unknown = |why| Routing { version, ..Routing::unknown(registry.name(), why) };
        Ok(Some(match tokio::time::timeout(LOOK_MAX, look(&registry, listed)).await {
            Ok(Ok(seen)) => Routing { version, ..seen },
            Ok(Err(error)) => unknown(in_words(&error)),
            Err(_) => unknown(format!("no answer within {} s", LOOK_MAX.as_secs())),
        }))
    }
}

impl Routing {
    fn unknown(registry: String, why: String) -> Routing {
        let (followers, hold) = (Vec::new(), None);
        Routing { registry, trouble: Some(why), published: 0, version: 0, followers, hold }
    }
}

async fn look(registry: &KvRegistry, listed: &Listed) -> Result<Routing, RegistryError> {
    let context = listed.context.as_str();
    let published = registry.head(context).await?;
    let attending = registry.attending(context).await?;
    let hold = registry.holds(context).await?.into_iter().find(|hold| hold.partition == listed.partition);
    let following = |who: Attendance| {
        let is_asked = |answer: &HoldAnswer| {
            answer.partition == listed.partition
                && hold
                    .as_ref()
                    .is_some_and(|h| (h.attempt, &h.deployment) == (answer.attempt, &answer.deployment))
        };
        Following {
            name: format!("{} at {}", who.kind, who.place),
            version: who.version,
            answer: who.answers.into_iter().find(is_asked),
        }
    };
    let followers = attending.into_iter().map(following).collect();
    Ok(Routing { registry: registry.name(), trouble: None, published, version: 0, followers, hold })
}

/// The registry's URL itself; a relative path of a file begins at `folder`.
fn registry_url(spec: &RegistrySpec, folder: &Path) -> Result<String, String> {
    let url = match spec.url.source().map_err(|error| error.to_string())? {
        RegistrySource::Url(url) => url.to_owned(),
        RegistrySource::Env(variable) => {
            std::env::var(variable).map_err(|_| format!("the environment has no variable {variable}"))?
        }
    };
    Ok(match url.strip_prefix("file:") {
        Some(path) => format!("file:{}", folder.join(path).display()),
        None => url,
    })
}

/// The registry as the spec names it, without secrets.
fn shown(project: &Project) -> String {
    project.spec.registry.as_ref().map(|spec| spec.url.masked()).unwrap_or_default()
}

/// Where a connection leads; of several hosts the first. Neither user nor password is told.
pub fn address_of(info: &ConnInfo) -> Option<Address> {
    let host = info.hosts.first()?;
    let name = match &host.place {
        Place::Name(name) => name.clone(),
        Place::Address { ip, .. } => ip.to_string(),
        Place::UnixDirectory(folder) => folder.display().to_string(),
    };
    Some(Address { host: name, port: host.port, dbname: info.dbname.clone(), endpoint: None })
}

fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = vec![error.to_string()];
    words.extend(causes(error));
    words.join(": ")
}
