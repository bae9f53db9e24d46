//! Doors that go by a router: where each partition lives, and whether it is being switched.
//!
//! Which partition a session works on is what it has chosen (at start-up or by `SET replat.partition`); else what its
//! next statement names, by a comment or by its key, where that can be proved. A statement whose partition is not known
//! goes where [`Otherwise`] says, or is refused with the reason; nothing is guessed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use replat_model::ids::{Home as Place, PartitionId};
use replat_model::key::KeyValue;
use replat_model::route::{Address, Routes};
use replat_postgres::conninfo::ConnInfo;
use replat_postgres::sql::quote_ident;
use replat_router::{Destination, Intent, Refused, Router};
use replat_statement::{Format, Hint, Keys, Param, Plan, Plans, Tables, Verb, Why};
use replat_wire::backend::Complaint;
use replat_wire::frontend::Value;

use crate::doors::{Ask, Doors, Home, Knock, Pass, Reading, Share, Statement, Ticket};
use crate::lags::Lags;

/// How much memory plans of statements take.
const PLANS_BYTES: usize = 16 * 1024 * 1024;

/// By so many the sample of a partition's reads goes on each time: all of a hundred come in turn, and no part of them in a
/// row.
const SPREAD: u64 = 37;

/// Says how a database is reached, by its name in the spec and its address in the routes; `Err`: why not.
pub type Reach = Box<dyn Fn(&str, &Address) -> Result<Reached, String> + Send + Sync>;

/// How a database is reached.
#[derive(Clone, Debug)]
pub struct Reached {
    /// Hosts, TLS, time-outs.
    pub server: Arc<ConnInfo>,
    /// It is a pooler in session mode; see [`Home::pooled`].
    pub pooled: bool,
}

/// Where a statement goes whose partition is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// Nowhere.
    Refuse,
    /// To this place, as if it were no partition's: the databases' own guard is all that watches it.
    Home(Place),
}

/// How doors behave.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long a transaction may wait while its partition is switched.
    pub wait_max: Duration,
    /// Where a statement goes whose partition is not known.
    pub otherwise: Otherwise,
    /// The tables of the context; `None`: statements are not read for keys.
    pub tables: Option<Tables>,
}

/// Doors by a router.
pub struct RoutedDoors {
    router: Router,
    reach: Reach,
    policy: Policy,
    /// The policy's tables as a session sees them that has set its own `search_path`.
    tables_elsewhere: Option<Tables>,
    plans: Plans,
    /// Plans by `tables_elsewhere`.
    plans_elsewhere: Plans,
    lags: Arc<Lags>,
    /// How many reads of each partition were shared out.
    samples: Mutex<HashMap<PartitionId, u64>>,
    /// Homes that were asked for, so that sessions at one place share it.
    homes: RwLock<HashMap<HomeKey, Arc<Home>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct HomeKey {
    database: String,
    schema: String,
    address: (String, u16, String),
    partition: Option<PartitionId>,
    epoch: u64,
}

/// More homes than this are forgotten and made anew: epochs rise for ever.
const HOMES_MAX: usize = 100_000;

impl fmt::Debug for RoutedDoors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutedDoors").field("context", &self.router.context()).finish_non_exhaustive()
    }
}

/// What an [`Ask`] comes to.
enum Wanted {
    Partition(PartitionId, Intent),
    /// Whatever home there is; it is no partition's rows.
    Any,
    /// The partition is not known, and why.
    Unknown(String),
}

impl Ticket for replat_router::Pass {
    fn is_recalled(&self) -> bool {
        replat_router::Pass::is_recalled(self)
    }
}

impl RoutedDoors {
    /// Doors to the partitions that `router` knows.
    pub fn new(router: Router, reach: Reach, policy: Policy) -> RoutedDoors {
        let plans = Plans::with_limit(PLANS_BYTES);
        let plans_elsewhere = Plans::with_limit(PLANS_BYTES / 4);
        let tables_elsewhere = policy.tables.as_ref().map(Tables::with_unknown_search_path);
        let (lags, samples, homes) = (Arc::default(), Mutex::default(), RwLock::default());
        RoutedDoors { router, reach, policy, tables_elsewhere, plans, plans_elsewhere, lags, samples, homes }
    }

    /// Which partition somebody works on who asks.
    fn wanted(&self, ask: &Ask<'_>, routes: &Routes) -> Result<Wanted, Complaint> {
        if let Some(chosen) = ask.partition {
            return Ok(Wanted::Partition(named(routes, chosen)?, Intent::Write));
        }
        if self.policy.tables.is_none() {
            return Ok(Wanted::Any);
        }
        let Some(statements) = ask.statements else {
            return Ok(match ask.current {
                None => Wanted::Any,
                Some(_) => {
                    Wanted::Unknown("what was sent cannot be looked over before it has an answer".into())
                }
            });
        };
        let mut all = Wanted::Any;
        let mut unsettled = false;
        for statement in statements.iter().filter(|statement| statement.is_run) {
            let Some(plan) = self.plan(statement.sql, ask.reading) else { continue };
            let wanted = match why_unread(statement, &plan, ask.reading, unsettled) {
                Some(why) => Wanted::Unknown(why),
                None => read(&plan, statement, routes)?,
            };
            unsettled |= plan.unsettles();
            all = together(all, wanted)?;
        }
        Ok(all)
    }

    /// How a statement is understood in a session that reads so; `None` if statements are not read.
    fn plan(&self, sql: &str, reading: Reading) -> Option<Arc<Plan>> {
        Some(match reading.names {
            true => self.plans.plan(sql, self.policy.tables.as_ref()?),
            false => self.plans_elsewhere.plan(sql, self.tables_elsewhere.as_ref()?),
        })
    }

    /// The place of a partition at an epoch.
    fn home(
        &self,
        place: &Place,
        address: &Address,
        of: Option<(&PartitionId, u64)>,
    ) -> Result<Arc<Home>, Complaint> {
        let key = HomeKey {
            database: place.database.clone(),
            schema: place.schema.clone(),
            address: (address.host.clone(), address.port, address.dbname.clone()),
            partition: of.map(|(partition, _)| partition.clone()),
            epoch: of.map_or(0, |(_, epoch)| epoch),
        };
        if let Some(home) = self.homes.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(home.clone());
        }
        let Reached { server, pooled } = (self.reach)(&place.database, address).map_err(|why| {
            Complaint::error(
                "08001",
                format!("the proxy cannot tell how {} is reached: {why}", place.database),
            )
        })?;
        let home = Arc::new(Home {
            server,
            database: address.dbname.clone(),
            settings: vec![("search_path".into(), quote_ident(&place.schema))],
            pooled,
            partition: of.map(|(partition, _)| partition.to_string()),
            epoch: key.epoch,
        });
        let mut homes = self.homes.write().unwrap_or_else(PoisonError::into_inner);
        if homes.len() >= HOMES_MAX {
            homes.clear();
        }
        homes.insert(key, home.clone());
        Ok(home)
    }

    fn admitted(&self, pass: replat_router::Pass) -> Result<Pass, Complaint> {
        let Destination { partition, home, address, epoch, .. } = pass.destination();
        let home = self.home(home, address, Some((partition, epoch.get())))?;
        Ok(Pass::new(home, pass))
    }

    /// Whether another home has a part in the reads of a partition.
    fn has_share(routes: &Routes, partition: &PartitionId) -> bool {
        routes.traffic().get(partition).is_some_and(|traffic| traffic.reads.is_some())
    }

    /// Whether all that is about to be done only reads, and only rows of this partition.
    fn proves_reads(&self, ask: &Ask<'_>, routes: &Routes, partition: &PartitionId) -> bool {
        let (Some(tables), Some(statements)) = (&self.policy.tables, ask.statements) else { return false };
        let proves = |statement: &Statement<'_>| {
            let plan = self.plans.plan(statement.sql, tables);
            if !plan.statements().iter().all(|one| matches!(one.effects().verb, Verb::Read)) {
                return false;
            }
            let params = params(statement);
            let found = match plan.keys(params.as_deref().unwrap_or_default()) {
                Keys::Exact { keys, .. } => of_keys(routes, &keys).unwrap_or_default(),
                Keys::Partial { values, .. } => of_parts(routes, &values),
                Keys::NotData | Keys::Reference | Keys::Unknown(_) => return false,
            };
            found == [partition.clone()]
        };
        statements.iter().any(|statement| statement.is_run) && statements.iter().all(proves)
    }

    /// The part that another home has in the next read of a partition that lives at `own`.
    fn share(&self, partition: &PartitionId, own: &Home, routes: &Routes) -> Option<Share> {
        let sample = {
            let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
            let sample = samples.entry(partition.clone()).or_default();
            *sample = (*sample + SPREAD) % 100;
            *sample
        };
        let route = self.router.read_route(partition, sample).ok()?;
        let (to, stale_max, shadow) = match (route.shadow, route.stale_max) {
            (Some((to, stale_max)), _) => (to, stale_max, true),
            (None, Some(stale_max)) => (route.answers, stale_max, false),
            (None, None) => return None,
        };
        let address = routes.addresses().get(&to.home.database)?;
        let home = self.home(&to.home, address, Some((partition, to.epoch.get()))).ok()?;
        let as_of = self.lags.as_of(partition, own, &home)?;
        (as_of.elapsed() <= stale_max).then_some(Share { home, stale_max, shadow })
    }

    /// Where a partition is about to go that is held, if that is known and can be reached.
    fn next(&self, partition: &PartitionId, routes: &Routes) -> Option<Arc<Home>> {
        let place = self.router.next_home(partition)?;
        let epoch = routes.epoch(partition)?.next();
        self.home(&place, routes.addresses().get(&place.database)?, Some((partition, epoch.get()))).ok()
    }

    /// Where somebody goes who has no partition: he stays, or goes to the place for that, or to any.
    fn anywhere(&self, ask: &Ask<'_>, routes: &Routes) -> Result<Pass, Complaint> {
        if let (Some(current), None) = (ask.current, ask.partition) {
            return Ok(Pass::new(current.clone(), ()));
        }
        let place = match &self.policy.otherwise {
            Otherwise::Home(place) => place.clone(),
            Otherwise::Refuse => {
                // Somewhere a session must be to be one; whatever it does with rows is asked for then.
                let first = routes.map().leaves().next();
                first.map(|leaf| (*leaf.home).clone()).ok_or_else(|| nameless("the map is empty"))?
            }
        };
        self.at(&place, routes)
    }

    fn at(&self, place: &Place, routes: &Routes) -> Result<Pass, Complaint> {
        let address = routes.addresses().get(&place.database).ok_or_else(|| {
            Complaint::error("08001", format!("the routes have no address of {}", place.database))
        })?;
        Ok(Pass::new(self.home(place, address, None)?, ()))
    }
}

impl Doors for Arc<RoutedDoors> {
    fn knock(&self, ask: &Ask<'_>) -> Knock {
        let Some(routes) = self.router.routes() else {
            return Knock::Refused(refused(&Refused::NoRoutes { context: self.router.context().to_owned() }));
        };
        let wanted = match self.wanted(ask, &routes) {
            Ok(wanted) => wanted,
            Err(complaint) => return Knock::Refused(complaint),
        };
        let answer = match wanted {
            Wanted::Any if !self.reads_statements() => match &self.policy.otherwise {
                Otherwise::Refuse => Err(nameless("no partition is named")),
                Otherwise::Home(_) => self.anywhere(ask, &routes),
            },
            Wanted::Any => self.anywhere(ask, &routes),
            Wanted::Unknown(why) => match &self.policy.otherwise {
                Otherwise::Refuse => Err(nameless(&why)),
                Otherwise::Home(place) => self.at(place, &routes),
            },
            Wanted::Partition(partition, intent) => {
                let only_reads = RoutedDoors::has_share(&routes, &partition)
                    && self.proves_reads(ask, &routes, &partition);
                let intent = if only_reads { Intent::Read } else { intent };
                match self.router.try_enter(&partition, intent) {
                    Ok(pass) => self.admitted(pass).map(|pass| match only_reads {
                        true => {
                            let share = self.share(&partition, &pass.home, &routes);
                            pass.reading(share)
                        }
                        false => pass,
                    }),
                    Err(why) if why.may_pass() => {
                        let next = self.next(&partition, &routes);
                        let (doors, wait_max) = (self.clone(), self.policy.wait_max);
                        let answer = Box::pin(async move {
                            let pass = doors.router.enter(&partition, intent, wait_max).await;
                            pass.map_err(|why| refused(&why)).and_then(|pass| doors.admitted(pass))
                        });
                        return Knock::Held { answer, next };
                    }
                    Err(why) => Err(refused(&why)),
                }
            }
        };
        // To prepare and to close statements is to change nothing.
        let runs_nothing = |all: &[Statement<'_>]| all.iter().all(|statement| !statement.is_run);
        match answer {
            Ok(pass) if ask.statements.is_some_and(runs_nothing) => Knock::Open(pass.reading(None)),
            Ok(pass) => Knock::Open(pass),
            Err(complaint) => Knock::Refused(complaint),
        }
    }

    fn share_stands(&self, own: &Home, share: &Share) -> bool {
        let partition = own.partition.as_deref().and_then(|name| name.parse::<PartitionId>().ok());
        let (Some(partition), Some(routes)) = (partition, self.router.routes()) else { return false };
        let is_home = routes.epoch(&partition).is_some_and(|epoch| epoch.get() == own.epoch);
        let as_of = self.lags.as_of(&partition, own, &share.home);
        is_home && as_of.is_some_and(|as_of| as_of.elapsed() <= share.stale_max)
    }

    fn reads_statements(&self) -> bool {
        self.policy.tables.is_some()
    }

    fn unsettles(&self, sql: &str) -> bool {
        self.plan(sql, Reading::USUAL).is_some_and(|plan| plan.unsettles())
    }

    fn shares_reads(&self, partition: &str) -> bool {
        if !self.reads_statements() {
            return false;
        }
        let Some(routes) = self.router.routes() else { return false };
        let is_it = |partition: PartitionId| RoutedDoors::has_share(&routes, &partition);
        !routes.traffic().is_empty() && named(&routes, partition).is_ok_and(is_it)
    }
}

/// Why a statement may mean something else to the server than to us; `None` if it does not.
fn why_unread(statement: &Statement<'_>, plan: &Plan, reading: Reading, unsettled: bool) -> Option<String> {
    // Without a backslash, both rules read the same.
    if !reading.strings && statement.sql.contains('\\') {
        return Some("it has a backslash, and the session has set standard_conforming_strings to off".into());
    }
    let values = statement.values.map_or(&[][..], |(values, _)| values);
    let is_ascii =
        statement.sql.is_ascii() && values.iter().all(|value| value.bytes.is_none_or(<[u8]>::is_ascii));
    if !reading.utf8 && !is_ascii {
        return Some("the session has set another client_encoding than UTF8".into());
    }
    (unsettled && plan.looks_up_names()).then(|| Why::Unsettled.to_string())
}

/// Which partition a statement names.
fn read(plan: &Plan, statement: &Statement<'_>, routes: &Routes) -> Result<Wanted, Complaint> {
    match plan.hint() {
        None => {}
        Some(Hint::Partition(partition)) => {
            return Ok(Wanted::Partition(named(routes, partition.as_str())?, intent(plan)));
        }
        Some(hint @ Hint::Key(_)) => {
            let key = hint.key(routes.map().dimensions());
            let found = key.and_then(|key| routes.find(&key).ok());
            let found = found.ok_or_else(|| bad_hint("names no key of this context"))?;
            return Ok(Wanted::Partition(found.leaf.partition.clone(), intent(plan)));
        }
        Some(Hint::Bad) => return Err(bad_hint("is not understood")),
    }
    let params = params(statement);
    let partitions = match plan.keys(params.as_deref().unwrap_or_default()) {
        Keys::NotData if begins(plan) => {
            return Ok(Wanted::Unknown("a transaction begins, and what will be in it is not known".into()));
        }
        Keys::NotData | Keys::Reference => return Ok(Wanted::Any),
        Keys::Unknown(why) => return Ok(Wanted::Unknown(why.to_string())),
        Keys::Exact { keys, .. } => of_keys(routes, &keys)?,
        Keys::Partial { values, .. } => of_parts(routes, &values),
    };
    match &partitions[..] {
        [partition] => Ok(Wanted::Partition(partition.clone(), intent(plan))),
        [] => Ok(Wanted::Unknown("only a part of the key is given".into())),
        several => Err(across(several)),
    }
}

/// What two statements of one transaction come to.
fn together(one: Wanted, other: Wanted) -> Result<Wanted, Complaint> {
    Ok(match (one, other) {
        (Wanted::Any, wanted) | (wanted, Wanted::Any) => wanted,
        (unknown @ Wanted::Unknown(_), _) | (_, unknown @ Wanted::Unknown(_)) => unknown,
        (Wanted::Partition(a, first), Wanted::Partition(b, second)) if a == b => {
            let writes = first == Intent::Write || second == Intent::Write;
            Wanted::Partition(a, if writes { Intent::Write } else { Intent::Read })
        }
        (Wanted::Partition(a, _), Wanted::Partition(b, _)) => return Err(across(&[a, b])),
    })
}

fn across(partitions: &[PartitionId]) -> Complaint {
    let names = partitions.iter().take(8).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let what =
        format!("{} partitions are concerned at once, and each has a home of its own", partitions.len());
    Complaint::error("0A000", what).detail(names).hint("Ask for each partition in a transaction of its own.")
}

/// The partition that a session chose: by its name, or by a key of a context with one dimension.
fn named(routes: &Routes, chosen: &str) -> Result<PartitionId, Complaint> {
    let by_name = chosen.parse::<PartitionId>().ok().filter(|name| routes.partition(name).is_some());
    let by_key = || match routes.map().dimensions() {
        [one] => {
            let value = one.key_type.parse(chosen).ok()?;
            routes.find(&[value]).ok().map(|route| route.leaf.partition.clone())
        }
        _ => None,
    };
    by_name.or_else(by_key).ok_or_else(|| {
        Complaint::error("3D000", format!("{} has no partition \"{chosen}\"", routes.context()))
            .hint("Name a partition of the map, or give a value of its key; replat route lookup shows them.")
    })
}

fn of_keys(routes: &Routes, keys: &[Vec<KeyValue>]) -> Result<Vec<PartitionId>, Complaint> {
    let mut found: Vec<PartitionId> = Vec::new();
    for key in keys {
        let route = routes.find(key).map_err(|why| Complaint::error("22023", why.to_string()))?;
        if !found.contains(&route.leaf.partition) {
            found.push(route.leaf.partition.clone());
        }
    }
    Ok(found)
}

/// The only partition that can hold keys of which a part is known; none if there may be several.
fn of_parts(routes: &Routes, values: &[Option<Vec<KeyValue>>]) -> Vec<PartitionId> {
    let single = |values: &Option<Vec<KeyValue>>| match values.as_deref() {
        Some([value]) => Some(value.clone()),
        _ => None,
    };
    let probe: Vec<Option<KeyValue>> = values.iter().map(single).collect();
    match routes.map().lookup_partial(&probe).as_deref() {
        Ok([leaf]) => vec![leaf.partition.clone()],
        _ => Vec::new(),
    }
}

fn params<'a>(statement: &Statement<'a>) -> Option<Vec<Param<'a>>> {
    let (values, types) = statement.values?;
    let of = |(at, value): (usize, &Value<'a>)| Param {
        bytes: value.bytes,
        format: if value.binary { Format::Binary } else { Format::Text },
        oid: types.get(at).copied().unwrap_or(0),
    };
    Some(values.iter().enumerate().map(of).collect())
}

fn intent(plan: &Plan) -> Intent {
    let reads = |verb: Verb| matches!(verb, Verb::Read);
    match plan.statements().iter().all(|one| reads(one.effects().verb)) {
        true => Intent::Read,
        false => Intent::Write,
    }
}

/// Whether a transaction begins whose statements are yet to come.
fn begins(plan: &Plan) -> bool {
    let transaction =
        |verb: Verb| matches!(verb, Verb::Transaction(replat_statement::Transaction::Begin { .. }));
    plan.statements().iter().any(|one| transaction(one.effects().verb))
}

fn nameless(why: &str) -> Complaint {
    Complaint::error("3D000", format!("it is not known whose rows are meant: {why}")).hint(
        "Choose a partition: options=-c replat.partition=NAME at start-up, SET replat.partition = 'NAME', or a comment \
         /* replat:partition=NAME */; or restrict each table by its key.",
    )
}

fn bad_hint(what: &str) -> Complaint {
    Complaint::error("22023", format!("the comment that begins with replat: {what}"))
        .hint("Write /* replat:partition=NAME */ or /* replat:key=VALUE */.")
}

/// What a client is told whom the router refuses.
fn refused(why: &Refused) -> Complaint {
    let sqlstate = match why {
        Refused::UnknownPartition { .. } | Refused::Key(_) | Refused::Table(_) => "3D000",
        Refused::NoRoutes { .. } | Refused::Stale { .. } | Refused::Behind { .. } | Refused::Held { .. } => {
            "57P03"
        }
    };
    Complaint::error(sqlstate, why.to_string()).hint(why.remedy())
}
