//! What goes along with routes to a registry: tables of databases, and hooks that are behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use replat_engine::WorkLog;
use replat_engine::registry::Registry;
use replat_registry::{KvRegistry, tables_context};

use super::{unreachable, within};
use crate::cli::{Publication, Reach};
use crate::deploy::Desk;
use crate::failure::Failure;
use crate::hooks::report;
use crate::rotate::{Place, places};
use crate::tables::{Publishing, TablesStanding};

/// A hook that has not heard of what is published.
#[derive(Clone, Debug, serde::Serialize)]
pub struct HookBehind {
    /// Which one.
    pub hook: String,
    /// Of which context.
    pub context: String,
    /// What it has heard of.
    pub version: u64,
    /// What is published.
    pub newest: u64,
    /// Tries that failed since it heard something, where that was looked up.
    pub failures: Option<u32>,
    /// Why the last try failed.
    pub trouble: Option<String>,
}

impl Desk<'_> {
    /// Publishes the tables of the databases that lifecycles are about.
    pub async fn publish_tables(&self) -> Result<Vec<TablesStanding>, Failure> {
        if self.project.spec.lifecycles.is_empty() {
            return Ok(Vec::new());
        }
        let Some(publishing) = Publishing::of(self.global, &Publication::default())? else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        let places: Vec<Place> = places(self.global, &Reach::default(), true)?;
        for place in &places {
            all.push(TablesStanding::of(&place.name, &publishing.bring(place).await?));
        }
        Ok(all)
    }

    /// Tells hooks what they have not heard; which of them did not hear now.
    pub async fn tell_hooks(&self, registry: &Arc<KvRegistry>) -> Result<Vec<HookBehind>, Failure> {
        if self.project.spec.hooks.is_empty() {
            return Ok(Vec::new());
        }
        let log: Arc<dyn WorkLog> = Arc::new(self.project.store()?);
        let hooks = self.project.hooks(registry.clone(), Some(log));
        let mut behind = Vec::new();
        for context in self.hooked(registry).await? {
            // Each try has its own limit.
            let heard = hooks.tell(&context).await.map_err(|error| unreachable(&error))?;
            report(&context, &heard);
            behind.extend(heard.into_iter().filter(|one| one.version < one.newest).map(|one| HookBehind {
                hook: one.hook,
                context: context.clone(),
                version: one.version,
                newest: one.newest,
                failures: None,
                trouble: one.trouble,
            }));
        }
        Ok(behind)
    }

    /// Whatever hooks are told of: the contexts, and the databases whose tables are published.
    async fn hooked(&self, registry: &KvRegistry) -> Result<Vec<String>, Failure> {
        let tables = within(registry.databases()).await?;
        let tables = tables.iter().map(|database| tables_context(database));
        Ok(self.project.spec.contexts.keys().cloned().chain(tables).collect())
    }

    /// Hooks of the spec that have not heard of what is published.
    pub async fn hooks_behind(&self, registry: &KvRegistry) -> Result<Vec<HookBehind>, Failure> {
        let mut behind = Vec::new();
        if self.project.spec.hooks.is_empty() {
            return Ok(behind);
        }
        for context in self.hooked(registry).await? {
            let newest = within(registry.head(&context)).await?;
            let told: BTreeMap<_, _> = within(registry.all_told(&context)).await?.into_iter().collect();
            for hook in self.project.spec.hooks.keys() {
                let told = told.get(hook).cloned().unwrap_or_default();
                if told.version < newest {
                    behind.push(HookBehind {
                        hook: hook.clone(),
                        context: context.clone(),
                        version: told.version,
                        newest,
                        failures: Some(told.failures),
                        trouble: told.trouble,
                    });
                }
            }
        }
        Ok(behind)
    }
}
