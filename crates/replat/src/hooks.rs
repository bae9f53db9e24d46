//! Hooks: who else is told of what was published, and when.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use replat_engine::WorkLog;
use replat_engine::gate::{Gate, Hold, Soon};
use replat_engine::registry::{Matter, Registry};
use replat_model::ids::PartitionId;
use replat_model::next::Held;
use replat_model::spec::{self, BadHook, TextSource};
use replat_postgres::engine::now;
use replat_registry::address::Hidden;
use replat_registry::hooks::{By, Heard, HookTo, Hooks, Web};
use replat_registry::{KvRegistry, LogOutbox, Outbox, RegistryGate};

use crate::failure::causes;
use crate::project::Project;

/// After a failure it is tried again after this; doubled up to the other.
const AGAIN_FIRST: Duration = Duration::from_millis(200);
const AGAIN_LAST: Duration = Duration::from_secs(30);

impl Project {
    /// The hooks of the spec. What an earlier version of routes said is asked of `log`.
    ///
    /// One that cannot be used stops nothing: it says why whenever it should be told.
    pub fn hooks(&self, registry: Arc<KvRegistry>, log: Option<Arc<dyn WorkLog>>) -> Hooks {
        let outbox = log.map(|log| Arc::new(LogOutbox::new(log, self.telling())) as Arc<dyn Outbox>);
        let hook = |(name, hook): (&String, &spec::Hook)| HookTo {
            name: name.clone(),
            by: self.hook_by(hook).unwrap_or_else(By::Unusable),
            timeout: hook.timeout.as_duration(),
        };
        Hooks::new(registry, outbox, self.spec.hooks.iter().map(hook).collect(), now)
    }

    fn hook_by(&self, hook: &spec::Hook) -> Result<By, String> {
        if let (Some(channel), Some(database)) = (&hook.channel, &hook.database) {
            let info = self.database(database, false).map_err(|failure| failure.what.into_string())?;
            return Ok(By::Notify { info: Box::new(info), channel: channel.clone() });
        }
        let url = hook.url.as_ref().ok_or("nothing says how it is told")?;
        let url = self.kept(url.source())?;
        let secret = hook.secret.as_ref().map(|secret| self.kept(secret.source())).transpose()?;
        if secret.as_ref().is_some_and(String::is_empty) {
            return Err("its secret is empty".into());
        }
        Web::new(&url, secret.map(Hidden::new))
            .map(By::Web)
            .map_err(|bad| [bad.to_string()].into_iter().chain(causes(&bad)).collect::<Vec<_>>().join(": "))
    }

    /// A text from where it is kept; a relative path begins at the spec's folder.
    fn kept(&self, source: Result<TextSource<'_>, BadHook>) -> Result<String, String> {
        match source.map_err(|bad| bad.to_string())? {
            TextSource::Literal(text) => Ok(text.to_owned()),
            TextSource::Env(name) => {
                std::env::var(name).map_err(|_| format!("the environment has no variable {name}"))
            }
            TextSource::File(path) => std::fs::read_to_string(self.folder().join(path))
                .map(|text| text.trim().to_owned())
                .map_err(|error| format!("{path} cannot be read: {error}")),
        }
    }
}

/// The gate of deployments in a project with hooks: whatever is published, by whomever, hooks are told of beside it.
pub struct HookedGate {
    gate: RegistryGate,
    registry: Arc<KvRegistry>,
    hooks: Hooks,
    context: String,
}

impl HookedGate {
    /// `gate`, and `hooks` for the same context of the same registry.
    pub fn new(gate: RegistryGate, registry: Arc<KvRegistry>, hooks: Hooks, context: &str) -> HookedGate {
        HookedGate { gate, registry, hooks, context: context.to_owned() }
    }

    /// Tells hooks of what is published, again and again until they have heard.
    async fn tell_on(&self) -> Infallible {
        let (mut since, mut pause, mut failing) = (0, AGAIN_FIRST, false);
        loop {
            if failing {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(AGAIN_LAST);
            } else if let Ok(count) = self.registry.changed(&self.context, Matter::Routes, since).await {
                since = count;
            } else {
                tokio::time::sleep(AGAIN_FIRST).await;
            }
            let was = failing;
            failing = !self.tell().await;
            pause = if was && failing { pause } else { AGAIN_FIRST };
        }
    }

    /// Whether all have heard.
    async fn tell(&self) -> bool {
        match self.hooks.tell(&self.context).await {
            Ok(heard) => report(&self.context, &heard),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "hooks are not told now");
                false
            }
        }
    }
}

/// Says which hooks did not hear. Whether all did.
pub fn report(context: &str, heard: &[Heard]) -> bool {
    for one in heard {
        if let Some(trouble) = &one.trouble {
            let hook = one.hook.as_str();
            tracing::warn!(hook, context, trouble, "a hook was not told, and will be later");
        }
    }
    heard.iter().all(|one| one.trouble.is_none())
}

impl Gate for HookedGate {
    fn hold<'a>(&'a self, hold: &'a Hold) -> Soon<'a, Held> {
        self.gate.hold(hold)
    }

    fn release(&self, partition: &PartitionId, attempt: u32) {
        self.gate.release(partition, attempt);
    }

    fn publish(&self) {
        self.gate.publish();
    }

    fn tend(&self) -> Soon<'_, Infallible> {
        Box::pin(async {
            tokio::select! {
                never = self.gate.tend() => never,
                never = self.tell_on() => never,
            }
        })
    }

    fn flushed(&self) -> Soon<'_, ()> {
        Box::pin(async {
            self.gate.flushed().await;
            self.tell().await;
        })
    }
}
