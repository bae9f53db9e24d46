//! Two servers for all stories, and for each story a database on either, a spec, a store and an engine.
//!
//! Nothing here sleeps to let something happen: the runner ticks until a fact holds, or the story fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use replat_control::{Pulse, Runner};
use replat_engine::gate::NoGate;
use replat_engine::{Engine, EngineError, Listed, WorkLog};
use replat_model::deploy::{Deployment, Event, Phase, Token};
use replat_model::draft::{Ask, Beside, Finding, draft};
use replat_model::ids::{Lsn, Side};
use replat_model::map::{Map, Selection};
use replat_model::next::Reason;
use replat_model::plan::{DdlFile, Plan, Reversibility, TablePlan};
use replat_model::prediction::Measured;
use replat_model::spec::{self, Spec};
use replat_postgres::connect::connect;
use replat_postgres::conninfo::{ConnInfo, Environment};
use replat_postgres::ends::Ends;
use replat_postgres::engine::{PostgresEngine, now};
use replat_postgres::slice::{key_text, table_name};
use replat_postgres::sql::quote_ident;
use replat_postgres::survey::{Target, is_one_database, misfits, rehearse, survey};
use replat_store::Store;
use replat_testkit::Server;
use tokio::sync::OnceCell;
use tokio_postgres::Client;

/// A story that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What decides how a value is written; no session of a story's own depends on what its database says.
const FIXED: &str = "set datestyle = 'ISO'; set intervalstyle = 'postgres'; set timezone = 'UTC'; \
     set extra_float_digits = 3; set bytea_output = 'hex'; set xmloption = 'content'; set array_nulls = on; \
     set lc_monetary = 'C'; set standard_conforming_strings = on";

/// The tenant that moves, unless a scene says otherwise.
pub const TENANT: i64 = 2;

/// What most stories move: a unique secondary key, a long text, children, and a table without a tenant.
pub const SHOP: &str = "
    create table accounts (
      tenant_id bigint not null, id bigint not null, email text, slot int, note text, body text,
      primary key (tenant_id, id), unique (tenant_id, email)
    );
    alter table accounts alter body set storage external;
    create table moves (
      tenant_id bigint not null, id bigint not null, account_id bigint not null, amount numeric(12,2) not null,
      primary key (tenant_id, id),
      foreign key (tenant_id, account_id) references accounts (tenant_id, id)
    );
    create table currencies (code text primary key, name text not null);
";

/// Some rows of three tenants.
pub const SHOP_ROWS: &str = "
    insert into accounts
      select t, n, format('u%s@t%s', n, t), n, 'note ' || n, repeat(md5(t::text || n::text), 200)
      from generate_series(1, 3) t, generate_series(1, 250) n;
    insert into moves
      select t, n, 1 + n % 250, n / 7.0 from generate_series(1, 3) t, generate_series(1, 250) n;
    insert into currencies values ('CHF', 'Franken'), ('JPY', 'Yen');
";

struct Servers {
    blue: Server,
    green: Server,
}

/// One pair of servers for the whole binary. Whoever made them, their watchdogs stop them when the binary ends.
static SERVERS: OnceCell<Servers> = OnceCell::const_new();

async fn servers() -> &'static Servers {
    SERVERS
        .get_or_init(|| async {
            let server = || {
                Server::builder()
                    .setting("max_replication_slots", "150")
                    .setting("max_wal_senders", "60")
                    .setting("max_prepared_transactions", "20")
            };
            let (blue, green) =
                tokio::try_join!(server().blue().start(), server().green().start()).expect("two servers");
            Servers { blue, green }
        })
        .await
}

/// The major release of the newer side.
pub async fn newest_major() -> u32 {
    let servers = servers().await;
    servers.blue.version().max(servers.green.version()).major
}

/// The major release of the older side.
pub async fn oldest_major() -> u32 {
    let servers = servers().await;
    servers.blue.version().min(servers.green.version()).major
}

/// What a story begins with.
pub struct Scene {
    /// Blue's tables.
    pub blue: String,
    /// Blue's rows.
    pub rows: String,
    /// The rollout's DDL; empty if green's tables are there.
    pub ddl: String,
    /// What is on green before anything begins.
    pub green_before: String,
    /// Green's schema.
    pub schema: &'static str,
    /// Tables with a tenant, the ones that others point to first.
    pub slices: Vec<&'static str>,
    /// What the spec says of each of them beyond its name.
    pub slice_lines: &'static str,
    /// Tables without one.
    pub references: Vec<&'static str>,
    /// More of the spec, such as tables that name their key.
    pub spec: &'static str,
    /// Lines of the rollout.
    pub rollout: &'static str,
    /// Whether planning leaves the rows alone, so that what is wrong with them is found later.
    pub blind: bool,
    /// Lines of `[policy]`.
    pub policy: &'static str,
    /// The tenant that moves.
    pub tenant: i64,
    /// As whom replat connects.
    pub role: &'static str,
    /// Whether green is another schema of blue's very database.
    pub one_database: bool,
    /// By which way green comes to its rows.
    pub path: &'static str,
}

impl Default for Scene {
    fn default() -> Scene {
        Scene {
            blue: SHOP.into(),
            rows: SHOP_ROWS.into(),
            ddl: SHOP.into(),
            green_before: String::new(),
            schema: "shop",
            slices: vec!["accounts", "moves"],
            slice_lines: "",
            references: vec!["currencies"],
            spec: "",
            rollout: "",
            blind: false,
            policy: "",
            tenant: TENANT,
            role: "postgres",
            one_database: false,
            path: "copy",
        }
    }
}

/// One table of one's own, on both sides alike.
pub fn one_table(name: &'static str, tables: &str, rows: &str) -> Scene {
    Scene {
        blue: tables.into(),
        rows: rows.into(),
        ddl: tables.into(),
        slices: vec![name],
        references: Vec::new(),
        ..Scene::default()
    }
}

/// A deployment under way, with a session to either side.
pub struct Story {
    /// A superuser's session on blue, `search_path` as the application has it.
    pub blue: Client,
    /// The same on green.
    pub green: Client,
    /// The plan.
    pub plan: Arc<Plan>,
    /// The deployment.
    pub listed: Listed,
    /// Its memory.
    pub store: Store,
    /// Its hands.
    pub engine: PostgresEngine,
    /// Both ends, for stories that act past the runner.
    pub ends: Ends,
    database: String,
    one_database: bool,
    schema: &'static str,
    tenant: i64,
    folder: Arc<Folder>,
}

/// Where a control store lies.
struct Folder(PathBuf);

impl Folder {
    fn make(name: &str) -> Arc<Folder> {
        let folder = std::env::temp_dir().join(format!("replat-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Arc::new(Folder(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // If it cannot be removed there is nobody to tell.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl Servers {
    /// A side's server and database. Green's has another name than blue's, since the servers are copies of one cluster
    /// and so look like one place.
    fn place(&self, side: Side, blue: &str, one_database: bool) -> (&Server, String) {
        match side {
            Side::Green if !one_database => (&self.green, format!("{blue}_green")),
            _ => (&self.blue, blue.to_owned()),
        }
    }
}

fn conninfo(url: &str) -> ConnInfo {
    ConnInfo::resolve(Some(url), &Environment::of_process()).expect("a legal connection string")
}

impl Scene {
    fn spec(&self, tenant_tables: &[&str]) -> Spec {
        let mut text = format!(
            "version = 1\nproject = 'stories'\n\
             [databases.blue]\nurl = 'env:BLUE_URL'\n[databases.green]\nurl = 'env:GREEN_URL'\n\
             [contexts.shop]\ndimensions = [{{ column = 'tenant_id', type = 'bigint' }}]\n\
             home = {{ database = 'blue', schema = 'public' }}\n\
             [contexts.shop.rollout]\nversion = 'v2'\nto = {{ database = {:?}, schema = {:?} }}\n",
            if self.one_database { "blue" } else { "green" },
            self.schema
        );
        text += &format!("path = {:?}\n", self.path);
        if !self.ddl.is_empty() {
            text += "ddl = ['v2.sql']\n";
        }
        text += &format!("{}\n", self.rollout);
        for table in tenant_tables {
            text += &format!("[contexts.shop.tables.{table:?}]\n{}\n", self.slice_lines);
        }
        for table in &self.references {
            text += &format!("[contexts.shop.tables.{table:?}]\nmode = 'reference'\n");
        }
        text += &format!("{}\n", self.spec);
        text += &format!("[policy]\nswitch = 'manual'\nchunk_rows = 100\n{}\n", self.policy);
        spec::parse(&text).unwrap_or_else(|errors| panic!("{}", spec::render_errors("spec", &text, &errors)))
    }

    /// Makes both databases, plans and begins; nothing has been changed yet on either side but what the scene says.
    pub async fn begin(self) -> Story {
        let database = self.stage().await;
        self.begin_in(database, None).await
    }

    /// Makes both databases, and the plan or what stands in its way. Nothing begins.
    pub async fn drafted(self) -> Result<Result<Plan, Vec<Finding>>, EngineError> {
        let database = self.stage().await;
        let drafted = self.drafted_in(&self.spec(&self.slices), &database, None).await?;
        Ok(drafted.map(|(plan, _)| plan))
    }

    /// What stands in the way of a plan: the codes, in the order in which they are found.
    pub async fn findings(self) -> Vec<&'static str> {
        let found = self.drafted().await.expect("both sides answer");
        found.expect_err("the scene can be planned").iter().map(|finding| finding.code.code()).collect()
    }

    /// Makes both databases, and says how blue's is called.
    async fn stage(&self) -> String {
        static STORIES: AtomicU32 = AtomicU32::new(0);
        let database = format!("story_{}", STORIES.fetch_add(1, Ordering::Relaxed));
        let servers = servers().await;
        let place = |side| servers.place(side, &database, self.one_database);
        for ((server, name), statements, is_new) in [
            (place(Side::Blue), format!("{};{}", self.blue, self.rows), true),
            (place(Side::Green), self.green_before.clone(), !self.one_database),
        ] {
            if is_new {
                server.create_database(&name).await.expect("a database");
            }
            server.execute(&name, &statements).await.expect("the scene");
        }
        database
    }

    /// The same in databases that are there, for one more tenant.
    pub async fn begin_in(self, database: String, after: Option<&Story>) -> Story {
        let servers = servers().await;
        let session = async |side| {
            let (server, name) = servers.place(side, &database, self.one_database);
            server.client(&name).await.expect("a session")
        };
        let (blue, green) = (session(Side::Blue).await, session(Side::Green).await);
        let spec = self.spec(&self.slices);
        let map = after.map(|story| story.store.map("shop").expect("the store").expect("a map"));
        let drafted = self.drafted_in(&spec, &database, map).await.expect("both sides answer");
        let (plan, map) =
            drafted.unwrap_or_else(|findings| panic!("the scene cannot be planned: {findings:#?}"));
        if !self.rollout.contains("accept-lossy") {
            assert_eq!(plan.reversible, Reversibility::Lossless, "a story may go back and lose nothing");
        }
        blue.batch_execute(FIXED).await.expect("settings");
        green.batch_execute(FIXED).await.expect("settings");
        green
            .batch_execute(&format!("set search_path = {}, public", quote_ident(self.schema)))
            .await
            .expect("a search path");
        let folder = match after {
            Some(story) => Arc::clone(&story.folder),
            None => Folder::make(&database),
        };
        let store = Store::open(&folder.0.join("control.db")).expect("a store");
        let asked = Event::Asked { plan: Box::new(plan.clone()) };
        let listed = store.begin(&asked, &map, now()).expect("a deployment begins");
        let plan = Arc::new(plan);
        let infos = self.ends(servers, &database);
        let [b, g] = infos.clone();
        let engine = PostgresEngine::new(Arc::clone(&plan), listed.id.clone(), b, g);
        let [b, g] = infos;
        let ends = Ends::new(Arc::clone(&plan), listed.id.clone(), b, g);
        Story {
            blue,
            green,
            plan,
            listed,
            store,
            engine,
            ends,
            database,
            one_database: self.one_database,
            schema: self.schema,
            tenant: self.tenant,
            folder,
        }
    }

    /// Where replat finds both sides.
    fn ends(&self, servers: &Servers, database: &str) -> [ConnInfo; 2] {
        [Side::Blue, Side::Green].map(|side| {
            let (server, name) = servers.place(side, database, self.one_database);
            conninfo(&format!("postgres://{}@127.0.0.1:{}/{name}", self.role, server.port()))
        })
    }

    async fn drafted_in(
        &self,
        spec: &Spec,
        database: &str,
        map: Option<Map>,
    ) -> Result<Result<(Plan, Map), Vec<Finding>>, EngineError> {
        let [blue, green] = self.ends(servers().await, database);
        let session = async |info| connect(&info, "story").await.expect("a session of the role").client;
        let (blue, green) = (session(blue).await, session(green).await);
        let context = &spec.contexts["shop"];
        let rollout = context.rollout.as_ref().expect("the spec has a rollout");
        let map = map.unwrap_or_else(|| {
            Map::build("shop", context.dimensions.clone(), None, context.home.clone()).expect("a map")
        });
        let wanted = format!("tenant_id={}", self.tenant);
        let selection = Selection::parse(&wanted, map.dimensions()).expect("a selection");
        let (map, partition) = map.carve(&selection).expect("the tenant is carved out");
        let leaf = map.leaf(&partition).expect("the leaf that was carved");
        let tables: Vec<String> = context.tables.keys().cloned().collect();
        let green_tables: Vec<String> = rollout.new_tables(context).into_iter().map(str::to_owned).collect();
        let files: Vec<DdlFile> = rollout
            .ddl
            .iter()
            .map(|name| DdlFile { name: name.to_string(), text: self.ddl.clone() })
            .collect();
        let target = Target {
            database: &rollout.to.database,
            schema: &rollout.to.schema,
            version: &rollout.version,
            ddl: &files,
        };
        let blue_facts = survey(&blue, "blue", "public", Some(&tables)).await?;
        let rehearsal = rehearse(&green, target, &green_tables).await?;
        let beside = is_one_database(&blue, &green, "green").await?;
        let mut ask = Ask {
            context: "shop".into(),
            region: map.region(&partition).expect("its region"),
            partition,
            epoch: leaf.epoch,
            version: None,
            home: (*leaf.home).clone(),
            ddl: rehearsal.ddl,
            sizes: BTreeMap::new(),
            occupied: Vec::new(),
            contracts: Vec::new(),
            crossings: Vec::new(),
            beside: beside.then_some(Beside { tied: rehearsal.tied }),
            measured: Measured::default(),
            unsettled_keys: Vec::new(),
            misfits: Vec::new(),
        };
        let first = draft(spec, &ask, &blue_facts, &rehearsal.facts);
        if let (Ok(plan), false) = (&first, self.blind) {
            ask.misfits = misfits(&blue, plan, &blue_facts, &rehearsal.facts).await?;
        }
        let drafted = match ask.misfits.is_empty() {
            true => first,
            false => draft(spec, &ask, &blue_facts, &rehearsal.facts),
        };
        Ok(drafted.map(|plan| (plan, map)))
    }
}

impl Story {
    /// One more session on a side.
    pub async fn session(&self, side: Side) -> Client {
        let servers = servers().await;
        let (server, name) = servers.place(side, &self.database, self.one_database);
        let client = server.client(&name).await.expect("a session");
        if side == Side::Green {
            client
                .batch_execute(&format!("set search_path = {}, public", quote_ident(self.schema)))
                .await
                .expect("a search path");
        }
        client
    }

    /// The hands of another runner.
    pub async fn another_engine(&self) -> PostgresEngine {
        let servers = servers().await;
        let [blue, green] = [Side::Blue, Side::Green].map(|side| {
            let (server, name) = servers.place(side, &self.database, self.one_database);
            conninfo(&format!("postgres://postgres@127.0.0.1:{}/{name}", server.port()))
        });
        PostgresEngine::new(Arc::clone(&self.plan), self.listed.id.clone(), blue, green)
    }

    /// The name of blue's database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The runner of the deployment.
    pub fn runner(&self) -> Runner<'_> {
        Runner {
            listed: self.listed.clone(),
            log: &self.store,
            engine: &self.engine,
            gate: &NoGate,
            clock: now,
            name: "story".into(),
            turns: None,
        }
    }

    /// The state as the log has it.
    pub fn state(&self) -> Deployment {
        self.runner().state().expect("a log that folds").0
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        let history = self.store.read(&self.listed.id).expect("the log");
        history.into_iter().map(|r| r.event).collect()
    }

    /// The token that an effect decided now would carry.
    pub fn token(&self) -> Token {
        Token { term: self.listed.serial, seq: self.events().len() as u64 }
    }

    /// Appends what a person says.
    pub fn say(&self, event: &Event) {
        let length = self.events().len() as u64;
        self.store.append(&self.listed.id, length, event, now()).expect("the word is heard");
    }

    /// Runs until `told` is content. A failure that asks for a person ends the story, unless `told` is content
    /// with it.
    pub async fn run_until(&self, what: &str, mut told: impl FnMut(&Deployment, &Pulse) -> bool) {
        let mut last = String::new();
        let runner = self.runner();
        let running = runner.run(|d, pulse| {
            last = format!("{} {pulse:?}", d.phase().as_str());
            if told(d, pulse) {
                return true;
            }
            if let Pulse::Moved(Event::VerifyFailed { from, certificate }) = pulse {
                panic!("while waiting for {what}, compared with {from}: {:?}", certificate.samples);
            }
            if let Pulse::Failed(error) = pulse {
                let verdict = error.verdict();
                assert_ne!(
                    verdict,
                    replat_engine::Verdict::AskAPerson,
                    "while waiting for {what}: {error:?}"
                );
            }
            false
        });
        match tokio::time::timeout(PATIENCE, running).await {
            Ok(outcome) => outcome.expect("a usable history"),
            Err(_) => panic!("waited for {what} in vain; at last: {last}"),
        }
    }

    /// Runs until the state is in this phase, before anything is done in it.
    pub async fn until_phase(&self, phase: Phase) {
        self.run_until(phase.as_str(), |d, _| d.phase() == phase).await;
    }

    /// Runs until a comparison has found a difference, or every attempt was given up because of one.
    pub async fn run_until_difference(&self, what: &str) {
        self.run_until(what, |_, pulse| {
            matches!(
                pulse,
                Pulse::Moved(Event::VerifyFailed { .. })
                    | Pulse::Waiting(Reason::Different | Reason::AttemptsUsedUp { .. })
            )
        })
        .await;
        assert_ne!(self.state().phase(), Phase::Switch, "no attempt is left half-way");
    }

    /// Runs until the first error that asks for a person.
    pub async fn until_failed(&self) -> EngineError {
        let mut found = None;
        self.run_until("a failure", |_, pulse| match pulse {
            Pulse::Failed(error) => error.verdict() == replat_engine::Verdict::AskAPerson,
            _ => false,
        })
        .await;
        // The pulse is only lent; the engine says the same again at the next tick.
        for _ in 0..200 {
            let (_, pulse) = self.runner().tick().await.expect("a usable history");
            if let Pulse::Failed(error) = pulse
                && error.verdict() == replat_engine::Verdict::AskAPerson
            {
                found = Some(error);
                break;
            }
        }
        found.expect("the failure lasts")
    }

    /// Runs until nothing is left to do without a person (or until the soak is over), with everything that was
    /// committed before this call on the other side, and nothing parked.
    pub async fn settle(&self) {
        let home = self.state().home;
        let end = self.log_end(home).await;
        let calm = |pulse: &Pulse| {
            matches!(pulse, Pulse::Waiting(Reason::SwitchByHand | Reason::Soak { .. } | Reason::RolledBack))
        };
        loop {
            self.run_until("calm", |_, pulse| calm(pulse)).await;
            let seen = self.engine.look(&self.state()).await.expect("a look");
            let stream = seen.side(self.state().home).stream;
            if stream.is_some_and(|s| s.through >= end && s.parked == 0) {
                return;
            }
            tokio::time::timeout(Duration::from_secs(1), self.engine.changed()).await.unwrap_or(());
        }
    }

    /// Runs until the stream of the side that is not home has read all that is in its log now.
    pub async fn watched(&self) {
        let other = self.state().home.other();
        let end = self.log_end(other).await;
        loop {
            self.run_until("a tick", |_, _| true).await;
            let seen = self.engine.look(&self.state()).await.expect("a look");
            if seen.side(other).stream.is_some_and(|s| s.through >= end) {
                break;
            }
            tokio::time::timeout(Duration::from_secs(1), self.engine.changed()).await.unwrap_or(());
        }
        self.settle().await;
    }

    async fn log_end(&self, side: Side) -> Lsn {
        // The insert position: what a session committed without waiting for the disk is behind the written one.
        let client = self.session(side).await;
        let row =
            client.query_one("select pg_current_wal_insert_lsn()::text", &[]).await.expect("a position");
        row.get::<_, &str>(0).parse().expect("a position")
    }

    /// Asks for a home, and runs until it is so and settled.
    pub async fn switch_to(&self, side: Side) {
        self.say(&Event::SwitchAsked { to: side, why: "the story goes so".into() });
        self.run_until("the switch", |d, _| d.home == side && d.settled).await;
        self.settle().await;
    }

    /// Gives the deployment up and runs to its end.
    pub async fn abort(&self) {
        self.say(&Event::AbortAsked { why: "the story goes so".into() });
        self.run_until("the abort", |d, _| d.aborted).await;
    }

    /// A session of the side, for statements.
    pub fn side(&self, side: Side) -> &Client {
        match side {
            Side::Blue => &self.blue,
            Side::Green => &self.green,
        }
    }

    /// The tenant's rows of a table, by key: every value as its type writes it, and as it sends it.
    async fn rows(&self, table: &TablePlan, side: Side) -> BTreeMap<Vec<String>, Vec<Option<String>>> {
        let client = self.side(side);
        let name = table_name(&self.plan, table, side);
        let senders = senders(client, &name).await;
        let columns: Vec<String> = table
            .blue
            .columns
            .iter()
            .map(|c| {
                let column = format!("r.{}", quote_ident(&c.name));
                // Not a cast, which some types answer with something else than what they write.
                let written = format!("format('%s', {column})");
                let sent = senders.get(&c.name).map(|send| format!(", md5({send}({column}))"));
                let value = format!("concat({written}{})", sent.unwrap_or_default());
                format!("case when {column} is distinct from null then {value} end")
            })
            .collect();
        // Wider rows than an array constructor's are put together of parts.
        let values: Vec<String> =
            columns.chunks(50).map(|part| format!("array[{}]", part.join(", "))).collect();
        let sql = format!(
            "select array[{}], {} from {name} r where r.tenant_id = {}",
            key_text(table, Side::Blue, "r."),
            values.join(" || "),
            self.tenant
        );
        let rows = client.query(&sql, &[]).await.expect("rows");
        rows.iter().map(|r| (r.get(0), r.get(1))).collect()
    }

    /// Both sides hold the same rows of the tenant, to the letter.
    pub async fn assert_equal(&self) {
        for table in &self.plan.tables {
            let (blue, green) = (self.rows(table, Side::Blue).await, self.rows(table, Side::Green).await);
            let keys: BTreeSet<_> = blue.keys().chain(green.keys()).collect();
            let different: Vec<String> = keys
                .into_iter()
                .filter(|key| blue.get(*key) != green.get(*key))
                .take(5)
                .map(|key| format!("{key:?}: {}", difference(table, blue.get(key), green.get(key))))
                .collect();
            assert!(different.is_empty(), "{} differs: {different:#?}", table.blue.name);
        }
    }
}

/// The functions that send the values of a table's columns, where what they send names no type by its number.
async fn senders(client: &Client, table: &str) -> BTreeMap<String, String> {
    let sql = "select a.attname::text, t.typsend::oid::regproc::text from pg_attribute a \
               join pg_type t on t.oid = a.atttypid left join pg_range r on t.oid in (r.rngtypid, r.rngmultitypid) \
               where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped and t.typsend <> 0 \
                 and t.typtype <> 'c' and t.typname <> 'refcursor' and greatest(t.typelem, t.typbasetype, r.rngsubtype) < 16384";
    let rows = client.query(sql, &[&table]).await.expect("the types' functions");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Which of these extensions both servers can be given.
pub async fn available(names: &[&str]) -> Vec<String> {
    let mut there: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let servers = servers().await;
    for server in [&servers.blue, &servers.green] {
        let client = server.client("postgres").await.expect("a session");
        let sql = "select name::text from pg_available_extensions where name = any ($1)";
        let rows = client.query(sql, &[&there]).await.expect("the extensions");
        there = rows.iter().map(|row| row.get(0)).collect();
    }
    there
}

/// What is not alike in two rows of a table.
fn difference(
    table: &TablePlan,
    blue: Option<&Vec<Option<String>>>,
    green: Option<&Vec<Option<String>>>,
) -> String {
    let (Some(blue), Some(green)) = (blue, green) else {
        return format!("on blue {}, on green {}", blue.is_some(), green.is_some());
    };
    let short = |v: &Option<String>| v.as_ref().map(|v| v.chars().take(60).collect::<String>());
    let unlike = table.blue.columns.iter().zip(blue.iter().zip(green)).filter(|(_, (b, g))| b != g);
    let texts = unlike.map(|(c, (b, g))| format!("{} is {:?} and {:?}", c.name, short(b), short(g)));
    texts.collect::<Vec<_>>().join("; ")
}

/// Runs statements that must succeed.
pub async fn run(client: &Client, statements: &str) {
    client.batch_execute(statements).await.unwrap_or_else(|e| panic!("{statements}: {e:?}"));
}

/// Runs statements that must be refused. The SQLSTATE and the detail.
pub async fn refused(client: &Client, statements: &str) -> (String, String) {
    let error = client.batch_execute(statements).await.expect_err(statements);
    let server = error.as_db_error().unwrap_or_else(|| panic!("{statements}: {error:?}"));
    (server.code().code().to_owned(), server.detail().unwrap_or_default().to_owned())
}

/// The first value of the first row, as text; empty for null.
pub async fn value(client: &Client, sql: &str) -> String {
    let row = client
        .query_one(&format!("select ({sql})::text"), &[])
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    row.get::<_, Option<String>>(0).unwrap_or_default()
}
