//! `proxy`: the door of PostgreSQL's protocol, by the routes of the registry.

use std::sync::Arc;
use std::time::Duration;

use replat_engine::registry::Registry;
use replat_model::route::Address;
use replat_model::spec::DurationText;
use replat_postgres::conninfo::{ConnInfo, Environment};
use replat_proxy::{
    AuthQuery, Certificate, ClientAuth, ClientTls, Limits, Otherwise, Pinned, Policy, Proxy, Reach, Reached,
    RoutedDoors, Settings, ShadowTally, UserList, VarianceLog,
};
use replat_router::{Pace, Router, Staleness, Who, follow_until};
use rustix::process::{Resource, Rlimit};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cli::{ProxyArgs, Stale, Through};
use crate::deploy::Desk;
use crate::failure::{Exit, Failure, causes};
use crate::route::{home_of, tables_of};
use crate::watch::interrupted;

/// How long the first routes are waited for before it is said that there are none.
const ROUTES_MAX: Duration = Duration::from_secs(5);

/// How long after one another those go on who waited, so many at once.
const PACE: Duration = Duration::from_millis(1);

impl Desk<'_> {
    /// Serves until it is stopped.
    pub async fn proxy(&self, args: &ProxyArgs) -> Result<(), Failure> {
        let (name, context) = self.project.context(args.context.as_deref())?;
        let settings = self.proxy_settings(args)?;
        let staleness = match args.stale {
            Stale::Closed => Staleness::Closed,
            Stale::Reads => Staleness::Reads,
            Stale::All => Staleness::All,
        };
        self.raise_descriptors(args.clients_max);
        let router = Router::new(
            &self.project.spec.project,
            name,
            replat_router::Settings {
                staleness,
                pace: Pace::Batches { size: args.moves_at_once, every: PACE },
                ..replat_router::Settings::default()
            },
        );
        let policy = Policy {
            wait_max: duration("--wait-max", &args.wait_max)?,
            otherwise: match &args.otherwise {
                None => Otherwise::Refuse,
                Some(home) => Otherwise::Home(home_of(home)?),
            },
            tables: (!args.no_statements).then(|| tables_of(name, context)),
        };
        let drain = duration("--drain", &args.drain)?;
        let registry: Arc<dyn Registry> = Arc::new(self.need_registry()?);
        let (stop, stopped) = watch::channel(false);
        let following = tokio::spawn(follow_until(router.clone(), registry.clone(), self.who(args)?, {
            let mut stopped = stopped.clone();
            async move { drop(stopped.wait_for(|stop| *stop).await) }
        }));
        let mut versions = router.versions();
        if tokio::time::timeout(ROUTES_MAX, versions.wait_for(|version| *version > 0)).await.is_err() {
            self.style.remark(&format!(
                "{} has no routes of {name} for this proxy yet; clients are refused until it has. Publish them: replat \
                 registry init{}",
                registry.name(),
                router.trouble().map(|why| format!(" ({why})")).unwrap_or_default(),
            ));
        }
        let doors = Arc::new(RoutedDoors::new(router.clone(), self.reach(&args.through)?, policy));
        let proxy = Proxy::new(settings, Arc::new(doors)).map_err(|error| {
            Failure::new("RP9001", Exit::Usage, error.to_string())
                .because(causes(&error))
                .remedy("Correct --tls-cert and --tls-key.")
        })?;
        let mut listeners = Vec::new();
        for address in &args.listen {
            let listener = TcpListener::bind(address).await.map_err(|e| {
                Failure::new("RP9001", Exit::Usage, format!("{address} cannot be listened on: {e}"))
                    .remedy("Name another one: --listen ADDRESS")
            })?;
            let bound = listener.local_addr().unwrap_or(*address);
            self.style.result(
                &format!("listening on {bound} for {name}, version {}", router.version()),
                &json!({ "listening": bound, "context": name, "version": router.version() }),
            );
            listeners.push(listener);
        }
        let serving: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                let proxy = proxy.clone();
                tokio::spawn(async move { proxy.serve(listener).await })
            })
            .collect();
        let counting = tokio::spawn(count_pinned(proxy.clone(), router.clone()));
        interrupted().await;
        self.style.remark(&format!("stopping: sessions have {} to finish", args.drain));
        proxy.stop(drain);
        for one in serving {
            drop(one.await);
        }
        counting.abort();
        stop.send_replace(true);
        drop(following.await);
        let tally = proxy.tally();
        if tally.shadow != ShadowTally::default() {
            let ShadowTally { compared, equal, differed, transient, unsettled, .. } = tally.shadow;
            self.style.remark(&format!(
                "{compared} reads were compared with another home: {equal} equal, {differed} differed, {transient} only for a \
                 moment, {unsettled} not to be told"
            ));
        }
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.style.result(
            &format!(
                "{} transactions, {} refused, {} moves, {} of them prepared while held; {} held, for at most {} ms, moved in at most {} ms",
                tally.transactions,
                tally.refused,
                tally.moves,
                tally.warm,
                tally.waits,
                ms(tally.wait_max),
                ms(tally.move_max),
            ),
            &json!({
                "transactions": tally.transactions,
                "refused": tally.refused,
                "moves": tally.moves,
                "waits": tally.waits,
                "warm": tally.warm,
                "elsewhere": tally.elsewhere,
                "shadow": shadow_json(&tally.shadow),
                "partitions_asked": tally.asked,
                "wait_max_ms": ms(tally.wait_max),
                "move_max_ms": ms(tally.move_max),
            }),
        );
        Ok(())
    }

    /// Takes as many file descriptors as the system lets it have, and says so if these may not be enough.
    fn raise_descriptors(&self, clients_max: usize) {
        let limit = rustix::process::getrlimit(Resource::Nofile);
        if limit.current != limit.maximum {
            let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
            if let Err(error) = rustix::process::setrlimit(Resource::Nofile, most) {
                tracing::debug!(%error, "the limit of file descriptors stays as it is");
            }
        }
        // None is no limit.
        let Some(have) = rustix::process::getrlimit(Resource::Nofile).current else { return };
        let need = descriptors_needed(clients_max);
        if have < need {
            self.style.remark(&format!(
                "warning: {clients_max} clients need {need} file descriptors, and this process may have {have}; further \
                 clients will wait for one to be free. Raise the hard limit (LimitNOFILE={need} in a unit of systemd), or \
                 lower --clients-max"
            ));
        }
    }

    fn who(&self, args: &ProxyArgs) -> Result<Who, Failure> {
        let mut id = [0_u8; 8];
        getrandom::fill(&mut id).map_err(|e| {
            Failure::new("RP9001", Exit::Internal, format!("the system gives no random numbers: {e}"))
        })?;
        let listen: Vec<String> = args.listen.iter().map(ToString::to_string).collect();
        Ok(Who {
            id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            kind: "proxy".into(),
            place: listen.join(", "),
        })
    }

    /// How databases are reached: through the pooler that was named for them; else as the spec says where it names them at
    /// the address of the routes; else by the address.
    fn reach(&self, through: &[Through]) -> Result<Reach, Failure> {
        let mut poolers = std::collections::BTreeMap::new();
        for Through { database, host, port } in through {
            // TLS is spoken with it as the spec says of the database.
            let ConnInfo { dbname, sslmode, sslrootcert, sslcert, sslkey, .. } =
                self.project.database(database, false)?;
            let pooler =
                at(&Address { host: host.clone(), port: *port, dbname, endpoint: None }).map_err(|why| {
                    Failure::new("RP2006", Exit::Usage, format!("--through {database}={host}:{port}: {why}"))
                        .remedy("Name where the pooler listens: --through DATABASE=HOST:PORT")
                })?;
            let pooler = ConnInfo { sslmode, sslrootcert, sslcert, sslkey, ..pooler };
            poolers.insert(database.clone(), Arc::new(pooler));
        }
        let known: std::collections::BTreeMap<String, Arc<ConnInfo>> = self
            .project
            .spec
            .databases
            .keys()
            .filter_map(|name| Some((name.clone(), Arc::new(self.project.database(name, false).ok()?))))
            .collect();
        Ok(Box::new(move |database, address| {
            if let Some(pooler) = poolers.get(database) {
                return Ok(Reached { server: pooler.clone(), pooled: true });
            }
            let server = match known.get(database) {
                Some(info) if is_at(info, address) => info.clone(),
                _ => Arc::new(at(address)?),
            };
            Ok(Reached { server, pooled: false })
        }))
    }

    fn proxy_settings(&self, args: &ProxyArgs) -> Result<Settings, Failure> {
        let auth = match (&args.users, &args.users_from) {
            (Some(file), _) => {
                let text = std::fs::read_to_string(file).map_err(|e| {
                    Failure::new("RP9001", Exit::Usage, format!("{} cannot be read: {e}", file.display()))
                })?;
                let list = UserList::parse(&text).map_err(|e| {
                    Failure::new("RP2006", Exit::Invalid, format!("{}: {e}", file.display()))
                        .remedy("Copy lines from pg_authid: SELECT rolname, rolpassword FROM pg_authid.")
                })?;
                ClientAuth::Scram(Arc::new(list))
            }
            (None, Some(database)) => {
                let info = self.project.database(database, true)?;
                ClientAuth::Scram(Arc::new(AuthQuery::new(info, args.users_query.clone())))
            }
            (None, None) if args.trust && args.listen.iter().all(|address| address.ip().is_loopback()) => {
                ClientAuth::Trust
            }
            (None, None) if args.trust => {
                return Err(Failure::new(
                    "RP2006",
                    Exit::Usage,
                    "--trust lets everybody in who can reach the address",
                )
                .remedy("Listen on 127.0.0.1, or give --users or --users-from."));
            }
            (None, None) => {
                return Err(Failure::new("RP2006", Exit::Usage, "it is not said who may log in").remedy(
                    "Give --users-from=DATABASE (a role that may read pg_authid), --users=FILE, or --trust.",
                ));
            }
        };
        let tls = match (&args.tls_cert, &args.tls_key) {
            (Some(chain), Some(key)) => {
                let certificate = Certificate { chain: chain.clone(), key: key.clone() };
                if args.tls_required {
                    ClientTls::Required(certificate)
                } else {
                    ClientTls::Offered(certificate)
                }
            }
            _ => ClientTls::Off,
        };
        let pinned = match args.pinned.as_str() {
            "disconnect" => Pinned::Disconnect,
            text => Pinned::Wait(duration("--pinned", text)?),
        };
        let variances = match &args.variance_log {
            Some(file) => Some(VarianceLog::open(file, args.variance_data).map_err(|e| {
                Failure::new("RP9001", Exit::Usage, format!("{} cannot be written: {e}", file.display()))
                    .remedy("Name another file: --variance-log FILE")
            })?),
            None => None,
        };
        let limits = Limits {
            clients_max: args.clients_max,
            moves_at_once: args.moves_at_once as usize,
            missing_max: duration("--missing-wait", &args.missing_wait)?,
            ..Limits::USUAL
        };
        Ok(Settings { auth, tls, user_suffix: args.user_suffix, pinned, limits, variances })
    }
}

/// How many file descriptors so many clients need: each has a connection of its own to its server, and some are for the
/// registry, for looking up passwords, and for the proxy itself.
fn descriptors_needed(clients_max: usize) -> u64 {
    (clients_max as u64).saturating_mul(2).saturating_add(256)
}

/// What came of shadow reads.
fn shadow_json(tally: &ShadowTally) -> serde_json::Value {
    json!({
        "compared": tally.compared,
        "equal": tally.equal,
        "differed": tally.differed,
        "transient": tally.transient,
        "unsettled": tally.unsettled,
        "unwritten": tally.unwritten,
        "skipped": {
            "busy": tally.skipped_busy,
            "settings": tally.skipped_settings,
            "pinned": tally.skipped_pinned,
            "form": tally.skipped_form,
            "unreachable": tally.skipped_unreachable,
            "broken_off": tally.skipped_broken_off,
            "stale": tally.skipped_stale,
        },
    })
}

/// Tells those who ask the registry how many sessions cannot move.
async fn count_pinned(proxy: Proxy, router: Router) {
    loop {
        let pinned = proxy
            .sessions()
            .iter()
            .filter(|session| session.pins.as_ref().is_some_and(|pins| !pins.is_empty()))
            .count();
        router.set_pinned(pinned as u64);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn is_at(info: &ConnInfo, address: &Address) -> bool {
    crate::routing::address_of(info).is_some_and(|known| {
        (known.host, known.port, known.dbname) == (address.host.clone(), address.port, address.dbname.clone())
    })
}

fn at(address: &Address) -> Result<ConnInfo, String> {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let text = format!(
        "host={} port={} dbname={} user=replat",
        quoted(&address.host),
        address.port,
        quoted(&address.dbname)
    );
    ConnInfo::resolve(Some(&text), &Environment::of_process()).map_err(|why| why.to_string())
}

fn duration(option: &str, text: &str) -> Result<Duration, Failure> {
    let read: Result<DurationText, _> = text.parse();
    read.map(|text| text.as_duration()).map_err(|e| {
        Failure::new("RP2006", Exit::Usage, format!("{option} {text}: {e}"))
            .remedy("Write it with its unit: 500ms, 10s, 2m")
    })
}
