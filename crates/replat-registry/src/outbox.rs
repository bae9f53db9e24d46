//! replat's own store as what is to be published.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use replat_engine::{BoxError, LogError, WorkLog};
use replat_model::route::{Address, Routes, RoutesDelta};

use crate::publisher::Outbox;

/// What a spec says of its databases, beyond what the store knows.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    /// The project.
    pub project: String,
    /// By context, the databases of the spec; `None` where it cannot be told from here how one is reached. Such a one
    /// keeps the address that it had.
    pub contexts: BTreeMap<String, BTreeMap<String, Option<Address>>>,
}

/// A work log as an outbox. Tells it the spec's addresses before it is first asked for a context's routes.
pub struct LogOutbox {
    log: Arc<dyn WorkLog>,
    telling: Telling,
    known: Mutex<HashMap<String, Known>>,
}

/// Routes that were read, so that the next time only what is new is.
#[derive(Clone)]
struct Known {
    newest: Routes,
    /// The version before, which the registry most probably has.
    before: Option<Routes>,
}

impl LogOutbox {
    /// An outbox for the contexts that `telling` names.
    pub fn new(log: Arc<dyn WorkLog>, telling: Telling) -> LogOutbox {
        LogOutbox { log, telling, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest routes; `None` if the context has no map.
    fn look(&self, context: &str) -> Result<Option<Known>, LogError> {
        let known = self.known().get(context).cloned();
        let known = match known {
            Some(Known { newest, before }) => {
                let now = self.log.routes_after(&newest)?;
                let before = if now.version() == newest.version() { before } else { Some(newest) };
                Known { newest: now, before }
            }
            None => match self.tell(context) {
                Ok(newest) => Known { newest, before: None },
                Err(LogError::NoMap(_)) => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        self.known().insert(context.to_owned(), known.clone());
        Ok(Some(known))
    }

    fn tell(&self, context: &str) -> Result<Routes, LogError> {
        let nothing = BTreeMap::new();
        let databases = self.telling.contexts.get(context).unwrap_or(&nothing);
        let before = match databases.values().all(Option::is_some) {
            true => None,
            // Routes that lead nowhere are what this is to mend.
            false => self.log.routes(context).ok().flatten(),
        };
        let known = |name: &String| before.as_ref().and_then(|routes| routes.addresses().get(name)).cloned();
        let addresses = databases
            .iter()
            .filter_map(|(name, address)| Some((name.clone(), address.clone().or_else(|| known(name))?)))
            .collect();
        self.log.tell(context, &self.telling.project, &addresses, &BTreeMap::new())
    }
}

impl Outbox for LogOutbox {
    fn newest(&self, context: &str) -> Result<Option<u64>, BoxError> {
        Ok(self.look(context)?.map(|known| known.newest.version()))
    }

    fn routes(&self, context: &str) -> Result<Routes, BoxError> {
        let known = self.look(context)?.ok_or_else(|| LogError::NoMap(context.to_owned()))?;
        Ok(known.newest)
    }

    fn since(&self, context: &str, version: u64) -> Result<Option<Vec<RoutesDelta>>, BoxError> {
        let Some(Known { newest, before }) = self.look(context)? else { return Ok(None) };
        if newest.version() == version {
            return Ok(Some(Vec::new()));
        }
        let then = match before.filter(|before| before.version() == version) {
            None => self.log.routes_at(context, version)?,
            before => before,
        };
        Ok(then.and_then(|then| then.delta(&newest)).map(|delta| vec![delta]))
    }

    fn at(&self, context: &str, version: u64) -> Result<Option<Routes>, BoxError> {
        let Some(Known { newest, before }) = self.look(context)? else { return Ok(None) };
        match [Some(newest), before].into_iter().flatten().find(|routes| routes.version() == version) {
            None => Ok(self.log.routes_at(context, version)?),
            known => Ok(known),
        }
    }
}
