//! What takes a follower from its version to the newest.

use replat_engine::registry::{Envelope, RegistryError};

use super::KvRegistry;
use super::blob::{self, NotRead};
use super::head::Head;
use super::keys::{self, Keys};
use crate::kv::KvError;

/// How often is read again what a publisher has tidied away meanwhile.
const TRIES: usize = 8;
/// So many deltas are asked for by their keys; of more, all are listed.
const BY_KEY_MAX: u64 = 16;

/// What is not there.
pub(super) struct Gap(pub(super) String);

/// Why a reading came to nothing.
enum Broken {
    /// Something is not there: read again, since a publisher may have tidied up, and if it stays so, it is lost.
    Gap(Gap),
    /// For good.
    Failed(RegistryError),
}

fn gap(what: String) -> Broken {
    Broken::Gap(Gap(what))
}

impl From<RegistryError> for Broken {
    fn from(error: RegistryError) -> Broken {
        Broken::Failed(error)
    }
}

impl KvRegistry {
    pub(super) async fn read_from(&self, context: &str, have: u64) -> Result<Vec<Envelope>, RegistryError> {
        let mut why = String::new();
        for _ in 0..TRIES {
            let Some((head, _)) = self.load_head(context).await? else { return Ok(Vec::new()) };
            if head.version <= have {
                return Ok(Vec::new());
            }
            match self.lead(context, &head, have).await {
                Ok(envelopes) => return Ok(envelopes),
                Err(Broken::Gap(Gap(gap))) => why = gap,
                Err(Broken::Failed(error)) => return Err(error),
            }
        }
        Err(self.damaged(context, why))
    }

    /// What leads from `have` to `head`: deltas if they do, else whole routes and the deltas since.
    async fn lead(&self, context: &str, head: &Head, have: u64) -> Result<Vec<Envelope>, Broken> {
        if have >= head.oldest
            && let Some(deltas) = self.deltas(context, head, have).await?
        {
            return Ok(deltas);
        }
        self.lead_from_whole(context, head).await
    }

    async fn lead_from_whole(&self, context: &str, head: &Head) -> Result<Vec<Envelope>, Broken> {
        let key = Keys::of(context).whole(head.whole);
        let Some(root) = self.get("reading whole routes", key).await? else {
            return Err(gap(format!("whole routes of version {} are not there", head.whole)));
        };
        let whole = self.envelope(context, head.whole, root.value).await?;
        if whole.from.is_some() {
            return Err(self.damaged(context, "a delta lies where whole routes should").into());
        }
        let deltas = self.deltas(context, head, head.whole).await?.ok_or_else(|| {
            gap(format!("the deltas from version {} to {} do not join", head.whole, head.version))
        })?;
        Ok([vec![whole], deltas].concat())
    }

    /// The whole routes and the deltas since that the head speaks of, or what is not there of them: then somebody has
    /// published meanwhile and the head is old, or it is lost.
    pub(super) async fn whole_and_deltas(
        &self,
        context: &str,
        head: &Head,
    ) -> Result<Result<Vec<Envelope>, Gap>, RegistryError> {
        match self.lead_from_whole(context, head).await {
            Ok(envelopes) => Ok(Ok(envelopes)),
            Err(Broken::Gap(gap)) => Ok(Err(gap)),
            Err(Broken::Failed(error)) => Err(error),
        }
    }

    /// The deltas from `from` to the head, if they are there and each begins where the one before ends.
    async fn deltas(&self, context: &str, head: &Head, from: u64) -> Result<Option<Vec<Envelope>>, Broken> {
        if from == head.version {
            return Ok(Some(Vec::new()));
        }
        let keys = Keys::of(context);
        let roots = if head.from == Some(from) {
            let entry = self.get("reading a delta", keys.delta(head.version)).await?;
            entry.into_iter().map(|entry| (head.version, entry.value)).collect()
        } else if head.version - from <= BY_KEY_MAX {
            // Versions may be left out, so that some of these need not be there.
            let versions: Vec<u64> = (from + 1..=head.version).collect();
            let wanted: Vec<String> = versions.iter().map(|version| keys.delta(*version)).collect();
            let found = self.within("reading deltas", self.kv.get(&wanted)).await?;
            versions
                .into_iter()
                .zip(found)
                .filter_map(|(version, entry)| Some((version, entry?.value)))
                .collect()
        } else {
            let found = self.within("listing deltas", self.kv.list(&keys.deltas())).await?;
            let prefix = keys.deltas();
            let entry = |entry: crate::kv::Entry| Some((keys::version(&entry.key, &prefix)?, entry.value));
            let wanted = |(version, _): &(u64, _)| from < *version && *version <= head.version;
            found.into_iter().filter_map(entry).filter(wanted).collect::<Vec<_>>()
        };
        let mut joined = Vec::with_capacity(roots.len());
        let mut at = from;
        for (version, root) in roots {
            let delta = self.envelope(context, version, root).await?;
            if delta.from != Some(at) {
                return Ok(None);
            }
            at = version;
            joined.push(delta);
        }
        Ok((at == head.version).then_some(joined))
    }

    /// The envelope of a version, believed only if it proves itself.
    async fn envelope(&self, context: &str, version: u64, root: Vec<u8>) -> Result<Envelope, Broken> {
        let bad = |why: &dyn std::fmt::Display| self.damaged(context, format!("version {version}: {why}"));
        // Each piece has its time, however many there are.
        let read = blob::read(&*self.kv, &Keys::of(context), version, root).await;
        let envelope = read.map_err(|error| match error {
            NotRead::Server(error) => self.failed("reading routes", error).into(),
            NotRead::Gone => gap(format!("pieces of version {version} are not there")),
            NotRead::Bad(why) => bad(&why).into(),
        })?;
        let (seal, context_name) = (self.seal.clone(), context.to_owned());
        let checked = super::apart(move || seal.check(&context_name, &envelope).map(|()| envelope)).await;
        let checked = checked.map_err(|error| self.failed("checking routes", KvError::Unreachable(error)))?;
        let envelope = checked.map_err(|why| bad(&why))?;
        match envelope.version == version {
            true => Ok(envelope),
            false => Err(bad(&format!("version {} lies in its place", envelope.version)).into()),
        }
    }
}
