//! The partitions of databases, published: which table holds a key, for code that must name partitions.
//!
//! What is published is what a database has committed, and all of it each time: whoever publishes looks at the registry
//! first and at the database afterwards, and the registry takes a version only over the one that was looked at. So
//! nothing older ever comes over something newer, a publication that was lost is made by whoever looks next, and what
//! was taken back was never named.

use replat_engine::BoxError;
use replat_engine::registry::{Published, Registry, RegistryError};
use replat_model::deploy::Timestamp;
use replat_model::lifecycle::tables::TablesDocument;

use crate::registry::KvRegistry;

/// What the names of such contexts begin with.
pub(crate) const PREFIX: &str = "tables/";
/// How often is begun anew what others got in the way of.
const ROUNDS: usize = 8;

/// The registry's name for the tables of a database: a context like those of routes, with versions of its own.
pub fn tables_context(database: &str) -> String {
    format!("{PREFIX}{database}")
}

/// The tables of a database, as they are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedTables {
    /// The registry's version; it rises by each publication.
    pub version: u64,
    /// Them.
    pub document: TablesDocument,
}

/// Why tables were not published.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// The registry failed, or refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The database cannot be looked at.
    #[error("the tables of {database} cannot be read")]
    Look {
        /// Which database.
        database: String,
        /// Why.
        source: BoxError,
    },
    /// The registry has tables of a later time.
    #[error(
        "{registry} has tables of {database} as of change {published}, and the database has only made {made}: it was \
         restored from a backup, or is another one of the same name"
    )]
    Ahead {
        /// Which registry.
        registry: String,
        /// Which database.
        database: String,
        /// The version of the outbox that was published.
        published: u64,
        /// The one that the database has.
        made: u64,
    },
    /// Others publish all the time.
    #[error("others publish the tables of {0} all the time")]
    Contended(String),
}

impl KvRegistry {
    /// The tables of a database; `None` if none were published.
    ///
    /// # Errors
    ///
    /// [`RegistryError`], also if what is there cannot be believed.
    pub async fn tables(&self, database: &str) -> Result<Option<PublishedTables>, RegistryError> {
        let context = tables_context(database);
        let Some(envelope) = self.read(&context, 0).await?.pop() else { return Ok(None) };
        let document = serde_json::from_str(&envelope.body).map_err(|error| RegistryError::Damaged {
            registry: self.name(),
            context,
            why: format!("version {}: {error}", envelope.version),
        })?;
        Ok(Some(PublishedTables { version: envelope.version, document }))
    }

    /// The databases whose tables are published.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub async fn databases(&self) -> Result<Vec<String>, RegistryError> {
        let all = self.all_contexts().await?;
        Ok(all.iter().filter_map(|context| context.strip_prefix(PREFIX)).map(str::to_owned).collect())
    }

    /// Publishes what `look` finds in a database, unless that is what the registry has.
    ///
    /// # Errors
    ///
    /// [`TablesError`].
    pub async fn bring_tables(
        &self,
        database: &str,
        now: fn() -> Timestamp,
        look: impl AsyncFn() -> Result<TablesDocument, BoxError>,
    ) -> Result<PublishedTables, TablesError> {
        let context = tables_context(database);
        let mut refused = None;
        for _ in 0..ROUNDS {
            let there = self.tables(database).await?;
            let looked = look().await;
            let document =
                looked.map_err(|source| TablesError::Look { database: database.to_owned(), source })?;
            let mut version = 1;
            if let Some(there) = there {
                if there.document == document {
                    return Ok(there);
                }
                if there.document.outbox > document.outbox {
                    let (registry, database) = (self.name(), database.to_owned());
                    let (published, made) = (there.document.outbox, document.outbox);
                    return Err(TablesError::Ahead { registry, database, published, made });
                }
                version = there.version + 1;
            }
            let body = serde_json::to_string(&document).expect("tables are plain data");
            let envelope = self.seal().envelope(&context, version, None, now(), body);
            match self.publish(&envelope).await {
                Ok(Published::Accepted { .. } | Published::Already) => {
                    return Ok(PublishedTables { version, document });
                }
                Ok(Published::Behind { .. }) => {}
                // Somebody else has published this version meanwhile, with what he saw.
                Err(error @ RegistryError::Damaged { .. }) => refused = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        Err(refused.map_or_else(|| TablesError::Contended(database.to_owned()), TablesError::Registry))
    }
}
