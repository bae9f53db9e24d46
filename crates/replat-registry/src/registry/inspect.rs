//! What a person may want to know of a registry.

use replat_engine::registry::RegistryError;
use replat_model::deploy::Timestamp;
use serde::Serialize;

use super::KvRegistry;
use super::keys::{self, Keys};

/// A context as `replat registry status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The context.
    pub context: String,
    /// The newest version.
    pub version: u64,
    /// The version of the newest whole routes.
    pub whole: u64,
    /// Their length as they are stored. Unit: bytes.
    pub whole_bytes: u64,
    /// Deltas lead from this version to the newest.
    pub oldest: u64,
    /// Deltas since the whole routes.
    pub deltas: u64,
    /// Their length. Unit: bytes.
    pub delta_bytes: u64,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// In which context.
    pub context: String,
    /// What.
    pub what: String,
}

impl KvRegistry {
    /// The contexts that have routes here.
    ///
    /// # Errors
    ///
    /// [`RegistryError`] if the server fails.
    pub async fn contexts(&self) -> Result<Vec<String>, RegistryError> {
        let mut contexts = self.all_contexts().await?;
        contexts.retain(|context| !context.starts_with(crate::tables::PREFIX));
        Ok(contexts)
    }

    /// Whatever has a head here.
    pub(crate) async fn all_contexts(&self) -> Result<Vec<String>, RegistryError> {
        let keys = self.within("listing contexts", self.kv.keys("")).await?;
        Ok(keys.iter().filter_map(|key| keys::context_of_head(key)).collect())
    }

    /// How a context stands; `None` if it has no routes.
    ///
    /// # Errors
    ///
    /// [`RegistryError`], also if its head is another project's or cannot be read.
    pub async fn status(&self, context: &str) -> Result<Option<Status>, RegistryError> {
        Ok(self.load_head(context).await?.map(|(head, _)| Status {
            context: context.to_owned(),
            version: head.version,
            whole: head.whole,
            whole_bytes: head.whole_bytes,
            oldest: head.oldest,
            deltas: head.deltas,
            delta_bytes: head.delta_bytes,
        }))
    }

    /// Reads all that a follower may have to read, and says what does not hold: whole routes, the deltas since, and the
    /// deltas before for those who are behind. Also says what lies there that nothing leads to.
    ///
    /// # Errors
    ///
    /// [`RegistryError`] if the server fails. What is damaged is a finding.
    pub async fn check(&self, context: &str) -> Result<Vec<Finding>, RegistryError> {
        let mut findings = Vec::new();
        let mut find = |what: String| findings.push(Finding { context: context.to_owned(), what });
        let head = match self.load_head(context).await {
            Ok(Some((head, _))) => head,
            Ok(None) => return Ok(findings),
            Err(RegistryError::Damaged { why, .. }) => {
                find(why);
                return Ok(findings);
            }
            Err(error) => return Err(error),
        };
        for have in [0, head.oldest] {
            match self.read_from(context, have).await {
                Ok(_) => {}
                Err(RegistryError::Damaged { why, .. }) => find(why),
                Err(error) => return Err(error),
            }
        }
        let names = Keys::of(context);
        for (prefix, from, what) in [
            (names.wholes(), head.whole, "whole routes"),
            (names.deltas(), head.oldest + 1, "deltas"),
            (names.pieces(), head.oldest, "pieces"),
        ] {
            let found = self.within("listing", self.kv.keys(&prefix)).await?;
            let stray = |key: &&String| {
                !keys::version(key, &prefix).is_some_and(|version| from <= version && version <= head.version)
            };
            let strays = found.iter().filter(stray).count();
            if strays > 0 {
                find(format!(
                    "{strays} {what} that nothing leads to; the next whole routes remove what is older"
                ));
            }
        }
        if self.attendance_of_the_future(context).await? {
            find("an attendance lasts for more than a day: some clock was set back".into());
        }
        findings.dedup();
        Ok(findings)
    }

    async fn attendance_of_the_future(&self, context: &str) -> Result<bool, RegistryError> {
        use replat_engine::registry::Registry;
        let now = self.now().await?.latest;
        let far = Timestamp(now + 86_400_000);
        Ok(self.attending(context).await?.iter().any(|who| who.until > far))
    }
}
