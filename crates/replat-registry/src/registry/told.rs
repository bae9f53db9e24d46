//! How far each hook was told, kept beside the routes that it is told of.

use replat_engine::registry::RegistryError;
use replat_model::deploy::Timestamp;
use serde::{Deserialize, Serialize};

use super::KvRegistry;
use super::keys::{self, Keys};
use crate::kv::{Change, Expect, Revision};

/// How far a hook was told of a context.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// The newest version that it has acknowledged; 0: none.
    pub version: u64,
    /// When this was written down, by the teller's clock.
    pub at: Timestamp,
    /// Tries that failed since it acknowledged something.
    #[serde(default)]
    pub failures: u32,
    /// Why the last of them failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl KvRegistry {
    /// How far a hook was told, and what is needed to change that; `None`: it was told nothing yet.
    pub(crate) async fn told(
        &self,
        context: &str,
        hook: &str,
    ) -> Result<Option<(Told, Revision)>, RegistryError> {
        let key = Keys::of(context).hook(hook);
        let Some(entry) = self.get("reading how far a hook was told", key).await? else { return Ok(None) };
        Ok(Some((self.parse(context, "how far a hook was told", &entry.value)?, entry.revision)))
    }

    /// Writes down how far a hook was told, unless somebody else has meanwhile.
    pub(crate) async fn tell_told(
        &self,
        context: &str,
        hook: &str,
        before: Option<Revision>,
        told: &Told,
    ) -> Result<bool, RegistryError> {
        let key = Keys::of(context).hook(hook);
        let expect = [Expect { key: key.clone(), revision: before }];
        let change = [Change::put(key, serde_json::to_vec(told).expect("it is plain data"))];
        self.within("writing down how far a hook was told", self.kv.commit(&expect, &change)).await
    }

    /// How far each hook was told of a context, by the hooks' names.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub async fn all_told(&self, context: &str) -> Result<Vec<(String, Told)>, RegistryError> {
        let prefix = Keys::of(context).hooks();
        let entries = self.within("listing hooks", self.kv.list(&prefix)).await?;
        let mut all = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(name) = keys::name_after(&entry.key, &prefix) else { continue };
            all.push((name, self.parse(context, "how far a hook was told", &entry.value)?));
        }
        Ok(all)
    }
}
