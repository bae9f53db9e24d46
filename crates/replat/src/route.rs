//! `route` and `registry`: where requests go, and how those who route them are told.

mod behind;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use replat_engine::WorkLog;
use replat_engine::registry::{Registry, RegistryError};
use replat_model::ids::{Home, PartitionId};
use replat_model::lifecycle::facts::TableName as LifecycleTable;
use replat_model::map::{Map, Pick, Selection};
use replat_model::route::{Reads, Route, Routes, RoutesDelta, Traffic};
use replat_model::spec::{Context, DurationText, TableMode};
use replat_postgres::engine::now;
use replat_registry::{
    Brought, Follower, KvRegistry, LogOutbox, ProjectKey, PublishError, Publisher, Seal, Status,
};
use replat_statement::{Hint, Keys, Plan, SessionChange, TableName, Tables};
use serde_json::{Value, json};

use crate::cli::{ExportForm, RegistryArgs, RegistryVerb, RouteArgs, RouteSource, RouteVerb};
use crate::deploy::Desk;
use crate::failure::{Exit, Failure, causes};
use crate::render::route as render;
use crate::tables::{TableQuestion, TablesStanding};

pub use behind::HookBehind;

/// How long a command waits for a registry.
const REGISTRY_MAX: Duration = Duration::from_secs(10);

/// How long a registry may be out of reach before somebody who watches it is told.
const SILENCE_MAX: Duration = Duration::from_secs(5);

impl Desk<'_> {
    /// Obeys a verb of `registry`.
    pub async fn registry(&self, args: &RegistryArgs) -> Result<(), Failure> {
        match args.verb {
            RegistryVerb::Init => {
                self.make_key()?;
                self.publish().await
            }
            RegistryVerb::Publish => self.publish().await,
            RegistryVerb::Status => self.status().await,
            RegistryVerb::Fsck => self.check().await,
        }
    }

    /// Obeys a verb of `route`.
    pub async fn route(&self, args: &RouteArgs) -> Result<(), Failure> {
        match &args.verb {
            RouteVerb::Lookup { what, table: None, source, .. } => {
                self.lookup(what.as_deref().unwrap_or_default(), source).await
            }
            RouteVerb::Lookup { what, table: Some(table), key, database, source } => {
                let home = match what {
                    Some(what) => Some(self.one_home(what, source).await?),
                    None => None,
                };
                let database = database.as_deref().or(home.as_ref().map(|home| home.database.as_str()));
                let schema = home.as_ref().map_or("public", |home| home.schema.as_str());
                let question = TableQuestion {
                    table: match table.split_once('.') {
                        Some((schema, name)) => LifecycleTable::new(schema, name),
                        None => LifecycleTable::new(schema, table.as_str()),
                    },
                    database: database.unwrap_or_default(),
                    key: key.as_deref().unwrap_or_default(),
                };
                self.lookup_table(&question).await
            }
            RouteVerb::Explain { sql, source } => self.explain(sql, source).await,
            RouteVerb::Set { .. } => self.share_out(&args.verb).await,
            RouteVerb::Watch { context } => self.watch_routes(context.as_deref()).await,
            RouteVerb::Clients { context } => self.clients(context.as_deref()).await,
            RouteVerb::Export { form, source, out } => self.export(*form, source, out.as_deref()).await,
        }
    }

    /// The registry of the spec, which must have one here.
    pub fn need_registry(&self) -> Result<KvRegistry, Failure> {
        let file = self.project.file.display();
        match self.project.registry() {
            Some(Ok(registry)) => Ok(registry),
            Some(Err(why)) => Err(Failure::new("RP7002", Exit::Invalid, format!("[registry]: {why}"))
                .remedy(format!("Correct [registry] in {file}; a key that is not there yet is made by: replat registry init"))),
            None => Err(Failure::new("RP7002", Exit::Invalid, format!("{file} names no registry"))
                .remedy("Add, for one machine: [registry] url = \"file:.replat/registry.db\"")),
        }
    }

    /// Makes the key that the spec names, if there is none yet.
    fn make_key(&self) -> Result<(), Failure> {
        let Some(key) = self.project.spec.registry.as_ref().and_then(|spec| spec.key.as_ref()) else {
            return Ok(());
        };
        let path = self.project.folder().join(&key.file);
        if path.exists() || self.global.dry_run {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| {
                Failure::new("RP9001", Exit::Usage, format!("{} cannot be made: {e}", folder.display()))
            })?;
        }
        ProjectKey::create(&path).map_err(|error| {
            Failure::new("RP7002", Exit::Invalid, error.to_string())
                .because(causes(&error))
                .remedy("Name another file in [registry] key, or make the folder writable.")
        })?;
        self.style
            .remark(&format!("{} was made; give it to those who route, and to nobody else.", path.display()));
        Ok(())
    }

    fn publisher(&self, registry: &Arc<dyn Registry>, seal: Seal) -> Result<Publisher, Failure> {
        let log: Arc<dyn WorkLog> = Arc::new(self.project.store()?);
        let outbox = LogOutbox::new(log, self.project.telling());
        Ok(Publisher::new(Arc::clone(registry), Arc::new(outbox), seal, now))
    }

    /// Publishes what is missing, of all contexts.
    async fn publish(&self) -> Result<(), Failure> {
        let registry = self.need_registry()?;
        let seal = registry.seal().clone();
        let kept = Arc::new(registry);
        let registry: Arc<dyn Registry> = kept.clone();
        let publisher = self.publisher(&registry, seal)?;
        let mut done = BTreeMap::new();
        for (name, context) in &self.project.spec.contexts {
            let map = self.project.map(&self.store, name, context)?;
            if self.global.dry_run {
                let head = within(registry.head(name)).await?;
                done.insert(name.clone(), (map.version().max(head), None));
                continue;
            }
            self.store.chart(&map)?;
            let brought = timely(&*registry, publisher.bring(name)).await?.map_err(unpublished)?;
            done.insert(name.clone(), (brought.version, Some(brought)));
        }
        let (tables, deaf) = match self.global.dry_run {
            true => (Vec::new(), Vec::new()),
            false => (self.publish_tables().await?, self.tell_hooks(&kept).await?),
        };
        let value = |(version, brought): &(u64, Option<Brought>)| {
            json!({
                "version": version,
                "published": brought.map(|b| json!({ "deltas": b.deltas, "whole_routes": b.wholes })),
            })
        };
        let values: Value = done
            .iter()
            .map(|(name, done)| (name.clone(), value(done)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        self.style.result(
            &(render::published(&registry.name(), &done) + &render::tables(&tables) + &render::deaf(&deaf)),
            &json!({ "registry": registry.name(), "contexts": values, "tables": tables, "hooks_behind": deaf }),
        );
        Ok(())
    }

    /// How each context stands.
    async fn status(&self) -> Result<(), Failure> {
        let registry = self.need_registry()?;
        let mut contexts = Vec::new();
        for name in self.project.spec.contexts.keys() {
            let newest = self.store.map(name)?.map_or(0, |map| map.version());
            let status: Option<Status> = within(registry.status(name)).await?;
            let attending = within(registry.attending(name)).await?;
            let holds = within(registry.holds(name)).await?;
            contexts.push(render::Standing { context: name.clone(), newest, status, attending, holds });
        }
        let mut tables = Vec::new();
        for database in within(registry.databases()).await? {
            if let Some(published) = within(registry.tables(&database)).await? {
                tables.push(TablesStanding::of(&database, &published));
            }
        }
        let behind = self.hooks_behind(&registry).await?;
        self.style.result(
            &(render::standing(&registry.name(), &contexts, now())
                + &render::tables(&tables)
                + &render::deaf(&behind)),
            &json!({
                "registry": registry.name(), "contexts": contexts, "tables": tables, "hooks_behind": behind,
            }),
        );
        Ok(())
    }

    /// Reads everything, and compares it with the store.
    async fn check(&self) -> Result<(), Failure> {
        let registry = self.need_registry()?;
        let seal = registry.seal().clone();
        let mut findings = Vec::new();
        for name in self.project.spec.contexts.keys() {
            findings.extend(within(registry.check(name)).await?);
        }
        let checked = self.project.spec.contexts.len();
        let name = registry.name();
        let registry: Arc<dyn Registry> = Arc::new(registry);
        if findings.is_empty() && !self.global.dry_run {
            let publisher = self.publisher(&registry, seal)?;
            for context in self.project.spec.contexts.keys() {
                timely(&*registry, publisher.compare(context)).await?.map_err(unpublished)?;
            }
        }
        if findings.is_empty() {
            self.style.result(
                &format!("{name}: {checked} checked, nothing is wrong.\n"),
                &json!({ "registry": name, "findings": [] }),
            );
            return Ok(());
        }
        Err(Failure::new("RP7003", Exit::Different, format!("{name} is not as it was published"))
            .because(findings.iter().map(|finding| format!("{}: {}", finding.context, finding.what)))
            .details(&findings)
            .state("SAFE: the databases alone decide who may write; followers keep the routes that they have.")
            .remedy("Publish again what is missing: replat registry publish; where it is damaged, empty the registry first."))
    }

    /// The routes of a context, from the store or the registry.
    async fn routes(&self, source: &RouteSource) -> Result<Routes, Failure> {
        let (name, context) = self.project.context(source.context.as_deref())?;
        if source.published {
            let registry = self.need_registry()?;
            return published(&registry, name).await;
        }
        let telling = self.project.telling();
        let map = self.project.map(&self.store, name, context)?;
        let told = self.store.routes(name)?;
        let known = told.as_ref().map(Routes::addresses);
        let addresses = telling.contexts.get(name).into_iter().flatten().filter_map(|(database, address)| {
            let address = address.clone().or_else(|| known?.get(database).cloned())?;
            Some((database.clone(), address))
        });
        let traffic = self.store.traffic(name)?;
        Routes::new(telling.project.clone(), map, addresses.collect(), traffic).map_err(|why| {
            Failure::new("RP2001", Exit::Invalid, why.to_string())
                .remedy("Say in [databases] how it is reached, with a host and a port.")
        })
    }

    /// The home of the one partition that `what` means.
    async fn one_home(&self, what: &str, source: &RouteSource) -> Result<Home, Failure> {
        let routes = self.routes(source).await?;
        match &matching(&routes, what)?[..] {
            [route] => Ok(Home::clone(&route.leaf.home)),
            some => {
                Err(Failure::new("RP2006", Exit::Invalid, format!("{what} is {} partitions", some.len()))
                    .remedy("Name one: replat route lookup …"))
            }
        }
    }

    async fn lookup(&self, what: &str, source: &RouteSource) -> Result<(), Failure> {
        let routes = self.routes(source).await?;
        let found = matching(&routes, what)?;
        let values: Vec<Value> = found.iter().map(replat_server::route_value).collect();
        self.style.result(
            &render::lookup(&routes, &found),
            &json!({ "project": routes.project(), "context": routes.context(), "version": routes.version(), "routes": values }),
        );
        Ok(())
    }

    /// Says which partition a statement names, as a proxy would find it.
    async fn explain(&self, sql: &str, source: &RouteSource) -> Result<(), Failure> {
        let routes = self.routes(source).await?;
        let (name, context) = self.project.context(source.context.as_deref())?;
        let plan = Plan::of(sql, &tables_of(name, context));
        let (keys, hint) = (plan.keys(&[]), plan.hint());
        let hinted = match hint {
            None => None,
            Some(Hint::Partition(partition)) => Some(matching(&routes, partition.as_str())?),
            Some(hint @ Hint::Key(_)) => hint
                .key(routes.map().dimensions())
                .and_then(|key| routes.find(&key).ok())
                .map(|route| vec![route]),
            Some(Hint::Bad) => None,
        };
        let named = match &keys {
            Keys::Exact { keys, .. } => distinct(keys.iter().filter_map(|key| routes.find(key).ok())),
            _ => Vec::new(),
        };
        let found = hinted.unwrap_or(named);
        let explained = render::Explained {
            keys: render::keys_text(&keys, hint, routes.map().dimensions()),
            verbs: plan.statements().iter().map(|one| format!("{:?}", one.effects().verb)).collect(),
            session: plan.session_changes().map(|change| format!("{change:?}")).collect(),
            pins: plan.session_changes().any(SessionChange::pins),
        };
        self.style.result(
            &render::explained(&routes, &explained, &found),
            &json!({
                "keys": explained.keys,
                "verbs": explained.verbs,
                "session": explained.session,
                "pins": explained.pins,
                "routes": found.iter().map(replat_server::route_value).collect::<Vec<_>>(),
            }),
        );
        Ok(())
    }

    async fn export(
        &self,
        form: ExportForm,
        source: &RouteSource,
        out: Option<&Path>,
    ) -> Result<(), Failure> {
        let routes = self.routes(source).await?;
        let text = match form {
            ExportForm::Json => serde_json::to_string(&routes).expect("routes are plain data") + "\n",
            ExportForm::Haproxy => replat_server::haproxy::map_text(&routes),
            ExportForm::Envoy => render::envoy(&routes).to_string() + "\n",
            ExportForm::Nginx => render::nginx(&routes).map_err(|partition| {
                Failure::new(
                    "RP2001",
                    Exit::Invalid,
                    format!("partition {partition} has no service endpoint"),
                )
                .remedy("Add `endpoint` to its database, or to [contexts.NAME.endpoints].")
            })?,
        };
        let Some(out) = out else {
            self.style.result(&text, &json!(routes));
            return Ok(());
        };
        replat_server::haproxy::replace(out, &text).map_err(|e| {
            Failure::new("RP9001", Exit::Usage, format!("{} cannot be written: {e}", out.display()))
        })?;
        self.style.remark(&format!(
            "{} has version {} of {}.",
            out.display(),
            routes.version(),
            routes.context()
        ));
        Ok(())
    }

    async fn clients(&self, context: Option<&str>) -> Result<(), Failure> {
        let (name, _) = self.project.context(context)?;
        let registry = self.need_registry()?;
        let head = within(registry.head(name)).await?;
        let attending = within(registry.attending(name)).await?;
        self.style.result(
            &render::clients(name, head, &attending, now()),
            &json!({ "context": name, "version": head, "clients": attending }),
        );
        Ok(())
    }

    async fn watch_routes(&self, context: Option<&str>) -> Result<(), Failure> {
        let (name, _) = self.project.context(context)?;
        let registry: Arc<dyn Registry> = Arc::new(self.need_registry()?);
        // A registry that is not there at the beginning is an error; later it is waited for.
        within(registry.head(name)).await?;
        let follower = Follower::start(registry, name, None);
        let (mut routes, mut freshness) = (follower.routes(), follower.freshness());
        let mut before: Option<Routes> = None;
        let mut told = false;
        loop {
            let now = routes.borrow_and_update().clone();
            if let Some(now) = now.filter(|now| before.as_ref().is_none_or(|b| b.version() < now.version())) {
                self.style.result(
                    &render::change(before.as_ref(), &now),
                    &render::change_value(before.as_ref(), &now),
                );
                before = Some(now);
            }
            tokio::select! {
                changed = routes.changed() => if changed.is_err() { return Ok(()) },
                changed = freshness.changed() => if changed.is_err() { return Ok(()) },
                () = tokio::time::sleep(SILENCE_MAX) => {}
            }
            let trouble = freshness.borrow().trouble.clone();
            if let (Some(why), false) = (&trouble, told) {
                self.style.remark(&format!("the registry does not answer; what is shown may be old: {why}"));
            }
            told = trouble.is_some();
        }
    }

    async fn share_out(&self, verb: &RouteVerb) -> Result<(), Failure> {
        let RouteVerb::Set {
            context,
            partition,
            schema_version,
            feature,
            no_feature,
            reads,
            from,
            shadow,
            stale_max,
        } = verb
        else {
            return Ok(());
        };
        let source = RouteSource { context: context.clone(), published: false };
        let routes = self.routes(&source).await?;
        let [route] = matching(&routes, partition)?[..] else {
            return Err(Failure::new("RP2006", Exit::Invalid, format!("{partition} is not one partition"))
                .remedy("Name one: replat route lookup …"));
        };
        let id = route.leaf.partition.clone();
        let mut traffic: Traffic = route.traffic.cloned().unwrap_or_default();
        if let Some(version) = schema_version {
            traffic.schema_version = Some(version.clone()).filter(|version| !version.is_empty());
        }
        traffic.features.extend(feature.iter().cloned());
        traffic.features.retain(|name| !no_feature.contains(name));
        match reads {
            None => {}
            Some(0) => traffic.reads = None,
            Some(percent) => {
                let known = traffic.reads.as_ref().map(|reads| reads.home.clone());
                let home = from.as_deref().map(home_of).transpose()?.or(known).ok_or_else(|| {
                    Failure::new("RP2006", Exit::Usage, "who answers these reads is not said")
                        .remedy("Say --from=DATABASE.SCHEMA")
                })?;
                let stale: DurationText = stale_max.parse().map_err(|e| {
                    Failure::new("RP2006", Exit::Usage, format!("--stale-max {stale_max}: {e}"))
                        .remedy("Write it with its unit: 500ms, 5s, 1m")
                })?;
                let stale_max_ms = stale.millis();
                traffic.reads = Some(Reads { home, percent: *percent, shadow: *shadow, stale_max_ms });
            }
        }
        let after = (traffic != Traffic::default()).then_some(traffic);
        let text = render::shared_out(&id, after.as_ref());
        if self.global.dry_run {
            self.style.result(
                &format!("{text}No change has been made.\n"),
                &json!({ "partition": id, "traffic": after }),
            );
            return Ok(());
        }
        self.store.chart(routes.map())?;
        let told = self.store.tell(
            routes.context(),
            routes.project(),
            routes.addresses(),
            &BTreeMap::from([(id.clone(), after.clone())]),
        )?;
        self.style.result(&text, &json!({ "partition": id, "traffic": after, "version": told.version() }));
        if self.project.spec.registry.is_some() { self.publish().await } else { Ok(()) }
    }
}

/// The tables of a context as statements name them: in the schema of its home, and as the roll-out will call them.
pub fn tables_of(name: &str, context: &Context) -> Tables {
    let schema = context.home.schema.as_str();
    let mut tables = Tables::new([schema]).with_context(name, &context.dimensions);
    let renamed = context.rollout.iter().flat_map(|rollout| rollout.tables.iter());
    let later =
        renamed.flat_map(|(new, table)| table.old_names(new).into_iter().map(move |old| (new.as_str(), old)));
    let now = context.tables.keys().map(|table| (table.as_str(), table.as_str()));
    for (shown, table) in now.chain(later) {
        let name = TableName::new(schema, shown);
        tables = match context.tables.get(table).map(|table| table.mode) {
            Some(TableMode::Slice) => {
                let columns = context.dimensions.iter().map(|d| context.column_of(table, &d.column));
                tables.with_partitioned_by(name, &columns.collect::<Vec<_>>())
            }
            Some(TableMode::Reference) => tables.with_reference(name),
            _ => tables.with_other(name),
        };
    }
    tables
}

/// Each partition once, in the order of its first key.
fn distinct<'a>(routes: impl Iterator<Item = Route<'a>>) -> Vec<Route<'a>> {
    let mut found: Vec<Route<'a>> = Vec::new();
    for route in routes {
        if found.iter().all(|known| known.leaf.partition != route.leaf.partition) {
            found.push(route);
        }
    }
    found
}

/// A context's routes as a registry has them.
async fn published(registry: &KvRegistry, context: &str) -> Result<Routes, Failure> {
    let name = registry.name();
    let damaged =
        |why: String| RegistryError::Damaged { registry: name.clone(), context: context.to_owned(), why };
    let mut routes: Option<Routes> = None;
    for envelope in within(registry.read(context, 0)).await? {
        let unread = |error: serde_json::Error| unreachable(&damaged(error.to_string()));
        routes = Some(match (&routes, envelope.from) {
            (_, None) => serde_json::from_str(&envelope.body).map_err(unread)?,
            (Some(known), Some(_)) => {
                let delta: RoutesDelta = serde_json::from_str(&envelope.body).map_err(unread)?;
                known.after(&delta).map_err(|why| unreachable(&damaged(why.to_string())))?
            }
            (None, Some(_)) => return Err(unreachable(&damaged("a change of nothing".into()))),
        });
    }
    routes.ok_or_else(|| {
        Failure::new("RP7003", Exit::Precondition, format!("{name} has no routes of {context}"))
            .remedy("Publish them: replat registry init")
    })
}

/// The partitions that a name or a part of the key space means.
fn matching<'a>(routes: &'a Routes, what: &str) -> Result<Vec<Route<'a>>, Failure> {
    let map: &Map = routes.map();
    let bad = |why: String| {
        let dimensions: Vec<&str> = map.dimensions().iter().map(|d| d.column.as_str()).collect();
        Failure::new("RP2006", Exit::Invalid, why).remedy(format!(
            "Write a key, such as {}=42, or the name of a partition.",
            dimensions.first().unwrap_or(&"tenant_id")
        ))
    };
    let selection = Selection::parse(what, map.dimensions()).map_err(|why| bad(why.to_string()))?;
    let route = |partition: &PartitionId| routes.partition(partition);
    match &selection {
        Selection::Named(name) => {
            route(name).map(|route| vec![route]).ok_or_else(|| bad(format!("there is no partition {name}")))
        }
        Selection::Keys(picks) => {
            let values: Option<Vec<Option<_>>> = map
                .dimensions()
                .iter()
                .enumerate()
                .map(|(at, _)| match picks.get(&at) {
                    None => Some(None),
                    Some(Pick::Is(value)) => Some(Some(value.clone())),
                    Some(Pick::Within { .. }) => None,
                })
                .collect();
            let leaves = match (&values, selection.region()) {
                (Some(values), _) => map.lookup_partial(values).map_err(|why| bad(why.to_string()))?,
                (None, Some(wanted)) => {
                    let meets = |leaf: &&_| {
                        let leaf: &replat_model::map::Leaf = leaf;
                        map.region(&leaf.partition)
                            .is_some_and(|region| region.overlaps(&wanted) != Some(false))
                    };
                    map.leaves().filter(meets).collect()
                }
                (None, None) => Vec::new(),
            };
            Ok(leaves.into_iter().filter_map(|leaf| route(&leaf.partition)).collect())
        }
    }
}

/// A home as it is written on a command line: DATABASE.SCHEMA.
pub fn home_of(text: &str) -> Result<Home, Failure> {
    match text.split_once('.') {
        Some((database, schema)) if !database.is_empty() && !schema.is_empty() => {
            Ok(Home { database: database.into(), schema: schema.into() })
        }
        _ => Err(Failure::new("RP2006", Exit::Usage, format!("{text} is not a home"))
            .remedy("Write it as DATABASE.SCHEMA, by the names of the spec.")),
    }
}

pub async fn within<T>(asked: impl Future<Output = Result<T, RegistryError>>) -> Result<T, Failure> {
    match tokio::time::timeout(REGISTRY_MAX, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(unreachable(&error)),
        Err(_) => Err(silent("the registry")),
    }
}

async fn timely<T>(registry: &dyn Registry, asked: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(REGISTRY_MAX, asked).await.map_err(|_| silent(&registry.name()))
}

fn silent(registry: &str) -> Failure {
    Failure::new(
        "RP7001",
        Exit::Temporary,
        format!("{registry} did not answer within {} s", REGISTRY_MAX.as_secs()),
    )
    .state("SAFE: the databases alone decide who may write.")
    .remedy("Check that it is up and reachable from here, then try again.")
}

fn unreachable(error: &RegistryError) -> Failure {
    let (code, exit, remedy) = match error {
        RegistryError::Unreachable { .. } => {
            ("RP7001", Exit::Temporary, "Check that it is up and reachable from here, then try again.")
        }
        RegistryError::Refused { .. } => {
            ("RP7002", Exit::Precondition, "Grant what is missing, or raise its limit.")
        }
        RegistryError::Damaged { .. } => {
            ("RP7003", Exit::Different, "See what is wrong: replat registry fsck")
        }
    };
    Failure::new(code, exit, error.to_string())
        .because(causes(error))
        .state("SAFE: the databases alone decide who may write; followers keep the routes that they have.")
        .remedy(remedy)
}

fn unpublished(error: PublishError) -> Failure {
    match error {
        PublishError::Registry(error) => unreachable(&error),
        PublishError::Ahead { .. } => Failure::new("RP7004", Exit::Person, error.to_string())
            .state("ATTENTION: followers may know more than this store; the databases alone decide who may write.")
            .remedy("Find the store that published it, or restore this one from a newer backup; give each project a registry of its own."),
        PublishError::Contended { .. } => {
            Failure::new("RP7001", Exit::Temporary, error.to_string()).remedy("Try again.")
        }
        PublishError::Outbox(_) => {
            Failure::new("RP6003", Exit::Person, error.to_string()).because(causes(&error)).remedy("See why, and try again.")
        }
    }
}
