//! The whole way: a load is captured, advice is made of the capture, and what it advises is deployed while the load goes
//! on. What was forecast comes true, and no write is lost.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use replat_model::key::KeyValue;
use replat_model::map::Map;
use replat_model::spec;
use replat_testkit::Server;
use tokio_postgres::{Client, Error, Statement};

use crate::program::Program;
use crate::world::logging;

/// What pgbench has, with the branch in every key.
const SCHEMA: &str = "
    CREATE TABLE branches (bid bigint PRIMARY KEY, balance bigint NOT NULL, filler text);
    CREATE TABLE tellers (bid bigint NOT NULL REFERENCES branches, tid bigint NOT NULL, balance bigint NOT NULL,
        PRIMARY KEY (bid, tid));
    CREATE TABLE accounts (bid bigint NOT NULL REFERENCES branches, aid bigint NOT NULL, balance bigint NOT NULL,
        PRIMARY KEY (bid, aid));
    CREATE TABLE history (bid bigint NOT NULL REFERENCES branches, hid bigint NOT NULL, delta bigint NOT NULL,
        mtime timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (bid, hid));";

const BRANCHES: i64 = 64;
const TELLERS: i64 = 4;
const ACCOUNTS: i64 = 20;
/// So many work at once.
const CROWD: i64 = 4;

/// Not only what is asked of the rows, but also that they are there.
const STATEMENTS: [&str; 5] = [
    "SELECT balance FROM accounts WHERE bid = $1 AND aid = $2",
    "UPDATE accounts SET balance = balance + $1 WHERE bid = $2 AND aid = $3",
    "UPDATE tellers SET balance = balance + $1 WHERE bid = $2 AND tid = $3",
    "UPDATE branches SET balance = balance + $1 WHERE bid = $2",
    "INSERT INTO history (bid, hid, delta) VALUES ($1, $2, $3)",
];

/// A session of an application, with its statements prepared.
struct Session {
    client: Client,
    statements: Vec<Statement>,
}

impl Session {
    async fn at(server: &Server) -> Session {
        let client = server.client("bank").await.expect("a session");
        let mut statements = Vec::new();
        for statement in STATEMENTS {
            statements.push(client.prepare(statement).await.expect(statement));
        }
        Session { client, statements }
    }

    /// Whether it was done; an error, or a row that is not there, undoes all of it.
    async fn run(&mut self, transfer: &Transfer) -> Result<bool, Error> {
        let [look, account, teller, branch, history] = &self.statements[..] else { return Ok(false) };
        let Transfer { from, to, account: aid, other, teller: tid, hid, amount } = transfer;
        let transaction = self.client.transaction().await?;
        let mut done = transaction.query(look, &[from, aid]).await?.len() as u64;
        // In the order of their keys, so that no two wait for each other.
        let mut accounts = [(from, aid, -amount), (to, other, *amount)];
        accounts.sort_unstable();
        for (bid, aid, amount) in &accounts {
            done += transaction.execute(account, &[amount, bid, aid]).await?;
        }
        done += transaction.execute(teller, &[&-amount, from, tid]).await?;
        done += transaction.execute(branch, &[&-amount, from]).await?;
        transaction.execute(history, &[from, hid, &-amount]).await?;
        if done < STATEMENTS.len() as u64 {
            return Ok(false);
        }
        transaction.commit().await?;
        Ok(true)
    }
}

/// Money goes from an account to another, mostly of the same branch.
#[derive(Clone, Debug)]
struct Transfer {
    from: i64,
    to: i64,
    account: i64,
    other: i64,
    teller: i64,
    hid: i64,
    amount: i64,
}

/// One of those who work, with what came of it.
struct Worker {
    number: i64,
    dice: u64,
    next: i64,
    /// What was acknowledged: branch, number and amount of each line of the history.
    done: Vec<(i64, i64, i64)>,
    /// The branches that each transaction was about, whether it could be done or not.
    wanted: Vec<BTreeSet<i64>>,
}

impl Worker {
    fn new(number: i64) -> Worker {
        let dice = 77 + u64::try_from(number).expect("few workers");
        Worker { number, dice, next: 0, done: Vec::new(), wanted: Vec::new() }
    }

    fn roll(&mut self, below: i64) -> i64 {
        // Knuth's linear congruential generator; its upper bits are the good ones.
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.dice >> 33).expect("31 bits") % below
    }

    fn transfer(&mut self) -> Transfer {
        let from = self.roll(BRANCHES);
        let to = if self.roll(10) == 0 { self.roll(BRANCHES) } else { from };
        self.next += 1;
        let transfer = Transfer {
            from,
            to,
            account: self.roll(ACCOUNTS),
            other: self.roll(ACCOUNTS),
            teller: self.roll(TELLERS),
            hid: self.next * CROWD + self.number,
            amount: 1 + self.roll(100),
        };
        self.wanted.push(BTreeSet::from([from, to]));
        transfer
    }

    fn acknowledge(&mut self, transfer: &Transfer) {
        self.done.push((transfer.from, transfer.hid, -transfer.amount));
    }

    /// Works while everything is on blue, for so many transactions.
    async fn work(&mut self, blue: &mut Session, count: usize) {
        for _ in 0..count {
            let transfer = self.transfer();
            assert!(blue.run(&transfer).await.expect("blue takes it"), "{transfer:?}");
            self.acknowledge(&transfer);
        }
    }

    /// Works while the branches of `moving` go from blue to green, for so many transactions at least and until `over`.
    /// What is refused is tried at the other one.
    async fn work_along(
        &mut self,
        blue: &mut Session,
        green_server: &Server,
        moving: &BTreeSet<i64>,
        count: usize,
        over: &AtomicBool,
    ) {
        let mut green: Option<Session> = None;
        let mut at_green = false;
        while self.wanted.len() < count || !over.load(Ordering::Relaxed) {
            let transfer = self.transfer();
            let concerned = [transfer.from, transfer.to].iter().filter(|bid| moving.contains(bid)).count();
            if concerned == 0 {
                assert!(blue.run(&transfer).await.expect("blue takes what is its own"), "{transfer:?}");
                self.acknowledge(&transfer);
                continue;
            }
            // No transaction is on two servers; an application would have to do without it.
            if concerned == 1 && transfer.from != transfer.to {
                continue;
            }
            let begun = Instant::now();
            loop {
                let taken = match (at_green, &mut green) {
                    (true, Some(green)) => green.run(&transfer).await,
                    (true, slot) => {
                        // Its tables may not be there yet.
                        *slot = there(green_server).await;
                        at_green = slot.is_some();
                        continue;
                    }
                    (false, _) => blue.run(&transfer).await,
                };
                if matches!(taken, Ok(true)) {
                    break;
                }
                at_green = !at_green;
                assert!(begun.elapsed() < Duration::from_secs(60), "nobody takes {transfer:?}: {taken:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            self.acknowledge(&transfer);
        }
    }
}

/// A session at a server that has the tables.
async fn there(server: &Server) -> Option<Session> {
    let client = server.client("bank").await.expect("a session");
    let query = "SELECT to_regclass('public.history') IS NOT NULL";
    let is_there = client.query_one(query, &[]).await.expect(query).get::<_, bool>(0);
    if is_there { Some(Session::at(server).await) } else { None }
}

const SPEC: &str = "# Ours.\nversion = 1\nproject = \"bank\" # the project\n\n[databases.blue]\nurl = \"env:BLUE_URL\"\n\n\
    [databases.green]\nurl = \"env:GREEN_URL\"\n\n[policy]\nsoak = \"0s\"\n";

const ROLLOUT: &str = "\n[contexts.branches.rollout]\nversion = \"v2\"\n\
    to = { database = \"green\", schema = \"public\" }\nddl = [\"schema.sql\"]\n";

struct Bank {
    blue: Server,
    green: Server,
    folder: PathBuf,
    program: Program,
}

impl Bank {
    async fn open() -> Bank {
        let blue = logging().start().await.expect("a server");
        let green = Server::builder().green().start().await.expect("another server");
        for server in [&blue, &green] {
            server.create_database("bank").await.expect("a database");
        }
        let fill = format!(
            "CREATE EXTENSION pg_stat_statements; {SCHEMA}
             INSERT INTO branches SELECT b, 0 FROM generate_series(0, {BRANCHES} - 1) b;
             INSERT INTO tellers SELECT b, t, 0 FROM generate_series(0, {BRANCHES} - 1) b, generate_series(0, {TELLERS} - 1) t;
             INSERT INTO accounts SELECT b, a, 0 FROM generate_series(0, {BRANCHES} - 1) b, generate_series(0, {ACCOUNTS} - 1) a;
             ANALYZE"
        );
        blue.execute("bank", &fill).await.expect("rows");
        let folder = std::env::temp_dir().join(format!("replat-bank-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let program = Program::in_folder(&folder)
            .with("BLUE_URL", blue.url("bank"))
            .with("GREEN_URL", green.url("bank"));
        let bank = Bank { blue, green, folder, program };
        bank.write("replat.toml", SPEC);
        bank.write("schema.sql", SCHEMA);
        bank
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), text).expect("a file");
    }

    fn spec(&self) -> String {
        std::fs::read_to_string(self.folder.join("replat.toml")).expect("a spec")
    }

    /// All workers at once, so many transactions each, on blue.
    async fn work(&self, workers: Vec<Worker>, count: usize) -> Vec<Worker> {
        let working = workers.into_iter().map(async |mut worker| {
            worker.work(&mut Session::at(&self.blue).await, count).await;
            worker
        });
        futures_util::future::join_all(working).await
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// The history of some branches as a side has it.
async fn history(client: &Client, of: &BTreeSet<i64>) -> BTreeSet<(i64, i64, i64)> {
    let of: Vec<i64> = of.iter().copied().collect();
    let query = "SELECT bid, hid, delta FROM history WHERE bid = ANY ($1)";
    let rows = client.query(query, &[&of]).await.expect(query);
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

/// Whether the branches' balances are what their history comes to.
async fn is_balanced(client: &Client, of: &BTreeSet<i64>) -> bool {
    let of: Vec<i64> = of.iter().copied().collect();
    let query = "SELECT NOT EXISTS (SELECT FROM branches b WHERE bid = ANY ($1) AND balance <> \
                 (SELECT coalesce(sum(delta), 0) FROM history h WHERE h.bid = b.bid))";
    client.query_one(query, &[&of]).await.expect(query).get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_capture_advises_is_deployed_and_does_what_was_forecast() {
    let bank = Bank::open().await;
    let run = async |line: &str| bank.program.line(line).await;
    // The system has been at work for a while, and its server knows which columns are only ever added to.
    let workers = bank.work((0..CROWD).map(Worker::new).collect(), 50).await;

    let begin = "capture start --from blue --name monday --for 1h --sample-rate 1";
    let mut capturing = bank.program.start(&begin.split(' ').collect::<Vec<_>>());
    capturing.remarks("Ctrl-C or").await;
    let mut workers = bank.work(workers, 750).await;
    run("capture stop monday").await.succeeds().prints("T0 T1 T2 T3");
    capturing.end().await.succeeds();

    let said = run("advise --evidence monday --partitions 4 --home blue --apply-to-spec --json").await;
    let said = said.succeeds().json();
    assert_eq!((&said["tier"], &said["verdict"]), (&"T3".into(), &"partition".into()), "{said:#}");
    let forecast = said["plan"]["forecast"]["cross_partition_share"]["value"].as_f64().expect("a forecast");
    assert!(bank.spec().starts_with("# Ours.\n") && bank.spec().contains("# the project"), "{}", bank.spec());
    bank.write("replat.toml", &(bank.spec() + ROLLOUT));
    run("validate").await.succeeds();

    // The partition that has most branches goes.
    let spec = spec::parse(&bank.spec()).expect("a valid spec");
    let context = &spec.contexts["branches"];
    assert_eq!(context.tables.len(), 4, "{}", bank.spec());
    let map = Map::build("branches", context.dimensions.clone(), context.tree.as_ref(), context.home.clone());
    let map = map.expect("a map");
    let place =
        |bid: &i64| map.lookup(&[KeyValue::Int(*bid)]).expect("every key has a leaf").partition.clone();
    let of = |partition| (0..BRANCHES).filter(|bid| place(bid) == partition).collect::<BTreeSet<i64>>();
    let partition = map.leaves().map(|leaf| leaf.partition.clone()).max_by_key(|p| of(p.clone()).len());
    let partition = partition.expect("a leaf");
    let moving = of(partition.clone());
    assert!(moving.len() > 4, "{moving:?}");
    run(&format!("plan deploy -p {partition} --out plan.json")).await.succeeds();

    // It goes while everybody works.
    workers.iter_mut().for_each(|worker| worker.wanted.clear());
    let over = Arc::new(AtomicBool::new(false));
    let working = workers.into_iter().map(async |mut worker| {
        let mut blue = Session::at(&bank.blue).await;
        worker.work_along(&mut blue, &bank.green, &moving, 750, &over).await;
        worker
    });
    let deploying = async {
        let ran = run(&format!("deploy -p {partition} -y")).await;
        over.store(true, Ordering::Relaxed);
        ran.succeeds();
    };
    let (workers, ()) = tokio::join!(futures_util::future::join_all(working), deploying);

    // What was forecast came true.
    let wanted: Vec<&BTreeSet<i64>> = workers.iter().flat_map(|worker| &worker.wanted).collect();
    let crosses = |all: &BTreeSet<i64>| all.iter().map(place).collect::<BTreeSet<_>>().len() > 1;
    let measured = wanted.iter().filter(|all| crosses(all)).count() as f64 / wanted.len() as f64;
    println!("forecast {forecast:.4}, measured {measured:.4} of {} transactions", wanted.len());
    assert!((forecast - measured).abs() <= 0.02, "forecast {forecast}, measured {measured}");
    assert!(measured > 0.01, "some transactions cross: {measured}");

    // No write is lost, and none is there twice.
    let (blue, green) = (Session::at(&bank.blue).await, Session::at(&bank.green).await);
    let staying: BTreeSet<i64> = (0..BRANCHES).filter(|bid| !moving.contains(bid)).collect();
    let acknowledged = |of: &BTreeSet<i64>| {
        let done = workers.iter().flat_map(|worker| &worker.done).copied();
        done.filter(|(bid, ..)| of.contains(bid)).collect::<BTreeSet<_>>()
    };
    for (client, home, other) in [(&blue.client, &staying, &moving), (&green.client, &moving, &staying)] {
        assert_eq!(history(client, home).await, acknowledged(home));
        assert!(is_balanced(client, home).await, "balances of {home:?}");
        if home == &moving {
            assert_eq!(history(client, other).await, BTreeSet::new(), "nobody else's rows went along");
        }
    }
    let after = acknowledged(&moving).len();
    let on_blue = history(&blue.client, &moving).await.len();
    println!("{after} lines of the partition's history; blue's copy has {on_blue}");
    // Whoever comes to blue all the same is refused.
    let bid = moving.first().expect("a branch");
    let late = "INSERT INTO history (bid, hid, delta) VALUES ($1, -1, 0)";
    blue.client.execute(late, &[bid]).await.expect_err("blue is closed to them");
}
