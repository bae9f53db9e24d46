//! Publication: what may follow on what, and how it comes about at one moment.

use replat_engine::registry::{Envelope, Published, RegistryError};
use replat_model::route::{Routes, RoutesDelta};

use super::head::Head;
use super::keys::{self, Keys};
use super::read::Gap;
use super::{KvRegistry, TRIES, apart, blob};
use crate::follower::fold;
use crate::kv::{Change, Expect, KvError};
use crate::seal;

const DURING: &str = "publishing";

/// What is to be done about a publication.
enum Next {
    /// Nothing.
    Answer(Published),
    /// The head is to be this one.
    Write(Head),
    /// The same version is there already, by deltas; if these come to the same, the head is to be this one.
    Compare(Head),
    /// The same version is there already in the same form, with another body.
    Conflict,
}

impl KvRegistry {
    pub(super) async fn bring_out(&self, envelope: &Envelope) -> Result<Published, RegistryError> {
        let context = &envelope.context;
        let checked = self.seal.check(context, envelope);
        checked.map_err(|why| self.refused(DURING, format!("what was given is not fit: {why}")))?;
        let keys = Keys::of(context);
        let cut = blob::cut(envelope, &keys, self.kv.limits());
        let body = seal::sha256(envelope.body.as_bytes());
        let mut pieces = Some(cut.pieces);
        let mut lost = None;
        for _ in 0..TRIES {
            let there = self.load_head(context).await?;
            let head = there.as_ref().map(|(head, _)| head);
            let head = match self.next(envelope, &body, cut.bytes, head) {
                Next::Answer(answer) => return Ok(answer),
                Next::Write(head) => head,
                Next::Compare(head) => {
                    let now = there.as_ref().map(|(head, _)| head).unwrap_or(&head);
                    if let Err(Gap(what)) = self.refuse_if_different(envelope, now).await? {
                        lost = Some(what);
                        continue;
                    }
                    head
                }
                Next::Conflict => {
                    let now = there.as_ref().map(|(head, _)| head);
                    match self.same_in_other_words(envelope, now).await? {
                        Ok(published) => return Ok(published),
                        Err(Gap(what)) => lost = Some(what),
                    }
                    continue;
                }
            };
            if head.overdue(self.window) {
                let deltas = head.deltas - 1;
                let why = format!(
                    "there are {deltas} deltas since the last whole routes; publish whole ones first"
                );
                return Err(self.refused(DURING, why));
            }
            if let Some(pieces) = pieces.take() {
                blob::put_pieces(&*self.kv, pieces).await.map_err(|error| self.failed(DURING, error))?;
            }
            let revision = there.as_ref().map(|(_, entry)| entry.revision);
            let expect = [Expect { key: keys.head(), revision }];
            let place = match envelope.from {
                None => keys.whole(envelope.version),
                Some(_) => keys.delta(envelope.version),
            };
            let document = serde_json::to_vec(&head).expect("a head is plain data");
            let changes = [Change::put(keys.head(), document), Change::put(place, cut.root.clone())];
            if self.within(DURING, self.kv.commit(&expect, &changes)).await? {
                if envelope.from.is_none() {
                    self.tidy(context, &head).await;
                }
                return Ok(Published::Accepted { whole_due: head.whole_due(self.window) });
            }
        }
        match lost {
            Some(what) => Err(self.damaged(context, what)),
            None => Err(self.refused(DURING, "others publish all the time")),
        }
    }

    fn next(&self, envelope: &Envelope, body: &str, bytes: u64, head: Option<&Head>) -> Next {
        let version = envelope.version;
        let whole = || Head::whole(self.seal.project.clone(), version, body.to_owned(), bytes);
        match (head, envelope.from) {
            (None, None) => Next::Write(whole()),
            (None, Some(_)) => Next::Answer(Published::Behind { head: 0 }),
            (Some(head), _) if version < head.version => {
                Next::Answer(Published::Behind { head: head.version })
            }
            (Some(head), None) if version > head.version => Next::Write(whole()),
            (Some(head), None) if head.whole < version => {
                Next::Compare(head.gathered(body.to_owned(), bytes))
            }
            (Some(head), None) if head.whole_body == body => Next::Answer(Published::Already),
            (Some(head), Some(from))
                if version == head.version && head.from == Some(from) && head.body == body =>
            {
                Next::Answer(Published::Already)
            }
            (Some(head), Some(from)) if version > head.version && head.version == from => {
                Next::Write(head.after(version, body.to_owned(), bytes))
            }
            (Some(head), Some(from)) if version > head.version || head.from != Some(from) => {
                Next::Answer(Published::Behind { head: head.version })
            }
            (Some(_), _) => Next::Conflict,
        }
    }

    /// Whether whole routes say what the registry's version says, which came by deltas.
    async fn refuse_if_different(
        &self,
        envelope: &Envelope,
        head: &Head,
    ) -> Result<Result<(), Gap>, RegistryError> {
        let context = &envelope.context;
        let there = match self.whole_and_deltas(context, head).await? {
            Ok(there) => there,
            Err(gap) => return Ok(Err(gap)),
        };
        let given = envelope.clone();
        let compare = move || Ok::<_, String>(fold(None, &there)? == fold(None, &[given])?);
        match self.apart(compare).await? {
            Ok(true) => Ok(Ok(())),
            Ok(false) => Err(self.another(envelope)),
            Err(why) => Err(self.damaged(context, why)),
        }
    }

    /// Another body by the same version: the same, written by another release of this program, or a conflict.
    async fn same_in_other_words(
        &self,
        envelope: &Envelope,
        head: Option<&Head>,
    ) -> Result<Result<Published, Gap>, RegistryError> {
        let context = &envelope.context;
        let Some(head) = head else { return Err(self.another(envelope)) };
        let there = match envelope.from {
            None => match self.whole_and_deltas(context, head).await? {
                Ok(there) => there,
                Err(gap) => return Ok(Err(gap)),
            },
            Some(have) => self.read_from(context, have).await?,
        };
        let this = |there: &Envelope| (there.version, there.from) == (envelope.version, envelope.from);
        let Some(there) = there.into_iter().find(this) else {
            return Ok(Err(Gap(format!("version {} is not there", envelope.version))));
        };
        let (ours, whole) = (envelope.body.clone(), envelope.from.is_none());
        let same = self.apart(move || match whole {
            true => equal::<Routes>(&ours, &there.body),
            false => equal::<RoutesDelta>(&ours, &there.body),
        });
        match same.await? {
            true => Ok(Ok(Published::Already)),
            false => Err(self.another(envelope)),
        }
    }

    fn another(&self, envelope: &Envelope) -> RegistryError {
        let (context, version) = (&envelope.context, envelope.version);
        let why = format!(
            "version {version} is there with other contents than those that are to be published; another store publishes \
             to the same place, or this store was restored from a backup"
        );
        self.damaged(context, why)
    }

    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RegistryError> {
        apart(work).await.map_err(|error| self.failed(DURING, KvError::Unreachable(error)))
    }

    /// Removes what nothing leads to any more. If it fails, the next whole routes take it along.
    async fn tidy(&self, context: &str, head: &Head) {
        let keys = Keys::of(context);
        let tidied = async {
            let Head { whole, oldest, .. } = *head;
            let rows: [(String, &(dyn Fn(u64) -> bool + Sync)); 3] = [
                (keys.wholes(), &|version| version < whole),
                (keys.deltas(), &|version| version <= oldest),
                // Those of a higher version may be somebody's who publishes it just now.
                (keys.pieces(), &|version| version <= oldest && version != whole),
            ];
            let mut gone = Vec::new();
            for (prefix, is_old) in rows {
                let found = self.kv.keys(&prefix).await?;
                gone.extend(found.into_iter().filter(|key| keys::version(key, &prefix).is_some_and(is_old)));
            }
            for keys in gone.chunks(self.kv.limits().commit_parts) {
                let changes: Vec<Change> =
                    keys.iter().map(|key| Change::Delete { key: key.clone() }).collect();
                self.kv.commit(&[], &changes).await?;
            }
            Ok::<(), KvError>(())
        };
        if let Err(error) = tidied.await {
            let registry = self.kv.name();
            tracing::debug!(
                registry,
                error = &error as &dyn std::error::Error,
                "what is old was not removed"
            );
        }
    }
}

/// Whether two texts say the same, however they are written.
fn equal<T: serde::de::DeserializeOwned + PartialEq>(one: &str, other: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<T>(text).ok();
    read(one).is_some_and(|one| read(other) == Some(one))
}
