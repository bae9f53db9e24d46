//! Listed tenants in two databases, captured with the partition of each key and without a value: a load that shifts is
//! noticed, the move that is named is carried out as it is printed, and the load is even again.

use std::path::PathBuf;
use std::time::Duration;

use replat_testkit::Server;
use serde_json::Value;
use tokio_postgres::Client;

use crate::program::Program;
use crate::world::logging;

const SCHEMA: &str = "CREATE TABLE tenants (tenant bigint PRIMARY KEY, name text NOT NULL);
    CREATE TABLE orders (tenant bigint NOT NULL REFERENCES tenants, id bigint NOT NULL, note text, PRIMARY KEY (tenant, id));";

/// Eight tenants, each listed by itself; what else comes is the rest.
const SPEC: &str = "version = 1\nproject = \"shop\"\n\n[databases.blue]\nurl = \"env:BLUE_URL\"\n\n\
    [databases.green]\nurl = \"env:GREEN_URL\"\n\n[policy]\nsoak = \"0s\"\nretain = \"0s\"\n\n[contexts.shop]\n\
    dimensions = [{ column = \"tenant\", type = \"bigint\" }]\nhome = { database = \"blue\", schema = \"public\" }\n\n\
    [contexts.shop.tree]\nsplit = \"tenant\"\n\
    list = { alder = [770088119901], birch = [770088119902], cedar = [770088119903], elm = [770088119904], fir = [770088119905], hazel = [770088119906], \
    larch = [770088119907], oak = [770088119908] }\n\n[contexts.shop.tables]\ntenants = {}\norders = {}\n\n\
    [contexts.shop.rollout]\nversion = \"v1\"\nto = { database = \"green\", schema = \"public\" }\nddl = [\"schema.sql\"]\n";

const FIRST: u64 = 770_088_119_901;
const TENANTS: u64 = 8;
/// So many transactions before something changes, and after it.
const BEFORE: u64 = 4_000;
const AFTER: u64 = 8_000;
/// So many run on one side before it is the other's turn.
const TURN: u64 = 80;
/// A turn takes so long at least: where thousands a second have to wait for a switch, moving is too dear for what an even
/// load saves.
const PACE: Duration = Duration::from_millis(260);

/// The tenant of a transaction: all are alike, and then nine in ten are of the first two.
fn tenant_of(number: u64) -> u64 {
    match number {
        after if after >= BEFORE && after % 10 != 9 => FIRST + after % 2,
        other => FIRST + (other / 10 * 3 + other) % TENANTS,
    }
}

struct Shop {
    server: Server,
    folder: PathBuf,
    program: Program,
}

impl Shop {
    async fn open() -> Shop {
        let server = logging().start().await.expect("a server");
        for database in ["blue", "green"] {
            server.create_database(database).await.expect("a database");
        }
        let fill = format!(
            "{SCHEMA} INSERT INTO tenants SELECT t, 'tenant ' || t FROM generate_series({FIRST}, {FIRST} + {TENANTS} - 1) t;
             INSERT INTO orders SELECT tenant, o, 'new' FROM tenants, generate_series(1, 20) o; ANALYZE"
        );
        server.execute("blue", &fill).await.expect("rows");
        let folder = std::env::temp_dir().join(format!("replat-shop-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("replat.toml"), SPEC).expect("a spec");
        std::fs::write(folder.join("schema.sql"), SCHEMA).expect("DDL");
        let program = Program::in_folder(&folder)
            .with("BLUE_URL", server.url("blue"))
            .with("GREEN_URL", server.url("green"));
        Shop { server, folder, program }
    }

    async fn run(&self, line: &str) -> crate::program::Ran {
        self.program.line(line).await.succeeds()
    }

    /// Transactions from one number to another, each where its tenant lives. How many of them were green's.
    async fn work(&self, numbers: std::ops::Range<u64>, on_green: &[u64]) -> u64 {
        let blue = self.server.client("blue").await.expect("a session");
        let green = self.server.client("green").await.expect("a session");
        let mut of_green = 0;
        let all: Vec<u64> = numbers.map(tenant_of).collect();
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for turn in all.chunks(usize::try_from(TURN).expect("small")) {
            pace.tick().await;
            let (there, here): (Vec<u64>, Vec<u64>) = turn.iter().partition(|t| on_green.contains(t));
            of_green += there.len() as u64;
            for (client, tenants) in [(&blue, here), (&green, there)] {
                write(client, &tenants).await;
            }
        }
        of_green
    }

    /// Both databases are captured while they work.
    async fn captured(&self, name: &str, numbers: std::ops::Range<u64>, on_green: &[u64]) -> u64 {
        let mut running = Vec::new();
        for database in ["blue", "green"] {
            let line = format!(
                "capture start --from {database} --name {name}-{database} --for 1h --with-partitions"
            );
            let mut capture = self.program.start(&line.split(' ').collect::<Vec<_>>());
            capture.remarks("Ctrl-C or").await;
            running.push((format!("{name}-{database}"), capture));
        }
        let of_green = self.work(numbers, on_green).await;
        for (name, capture) in running {
            self.run(&format!("capture stop {name}")).await;
            capture.end().await.succeeds();
        }
        of_green
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// A transaction for each.
async fn write(client: &Client, tenants: &[u64]) {
    if tenants.is_empty() {
        return;
    }
    let list: Vec<String> = tenants.iter().map(u64::to_string).collect();
    let work = format!(
        "DO $$ DECLARE t bigint; n bigint := 0; BEGIN FOREACH t IN ARRAY ARRAY[{}]::bigint[] LOOP n := n + 1; \
         UPDATE orders SET note = 'seen' WHERE tenant = t AND id = 1 + n % 20; \
         UPDATE tenants SET name = name WHERE tenant = t; COMMIT; END LOOP; END $$",
        list.join(", ")
    );
    client.batch_execute(&work).await.expect("it is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_without_values_names_the_partition_to_move_and_the_load_is_even_again() {
    let shop = Shop::open().await;
    shop.run("plan deploy -p fir -p hazel -p larch -p oak --out begin.json").await;
    shop.run("apply begin.json -y").await;
    let mut on_green: Vec<u64> = (FIRST + 4..FIRST + 8).collect();
    shop.captured("before", 0..BEFORE + AFTER, &on_green).await;

    // Neither a tenant nor the name of its partition is in what was written.
    for database in ["blue", "green"] {
        let file = shop.folder.join(format!(".replat/captures/before-{database}.jsonl"));
        let text = std::fs::read_to_string(&file).expect("a capture");
        assert_eq!(text.lines().filter(|line| line.starts_with(r#"{"k":"place""#)).count(), 4, "{database}");
        for planted in ["77008811990", "alder", "larch"] {
            assert!(!text.contains(planted), "{database} shows {planted}");
        }
    }
    let skew = |said: &Value| said["what_if"]["metrics"]["load_max_over_mean"].as_f64().expect("a number");
    let evidence = "-e before-blue before-green";
    let said = shop.run(&format!("advise drift {evidence} --json")).await.json();
    assert!(skew(&said) > 1.5, "blue has nearly all there is to do: {}", skew(&said));
    let moves = said["moves"].as_array().expect("moves");
    let due: Vec<&Value> = moves.iter().filter(|one| one["recommended"] == true).collect();
    let [only] = due[..] else { panic!("one move was expected: {moves:#?}") };
    let partitions: Vec<&str> =
        only["stages"][0]["partitions"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
    assert!(partitions == ["alder"] || partitions == ["birch"], "{only:#}");

    // As it is printed.
    let told = shop.run(&format!("advise drift {evidence}")).await;
    let commands: Vec<&str> =
        told.out.lines().filter_map(|line| line.strip_prefix("       replat ")).collect();
    assert_eq!(
        commands[0],
        format!("plan deploy -C shop -p {} --out move.json", partitions[0]),
        "{}",
        told.told()
    );
    for command in commands {
        let agreed = if command.starts_with("apply") { " -y" } else { "" };
        shop.run(&format!("{command}{agreed}")).await;
    }
    on_green.push(if partitions == ["alder"] { FIRST } else { FIRST + 1 });

    // The same load again: its share of one database is as it was forecast, and nothing is left to do.
    let (from, until) = (BEFORE, BEFORE + AFTER / 4);
    let of_green = shop.captured("after", from..until, &on_green).await;
    let said = shop.run("advise drift -e after-blue after-green --json").await.json();
    let measured = of_green.max(until - from - of_green) as f64 * 2.0 / (until - from) as f64;
    assert!((skew(&said) - measured).abs() < 0.02, "{} and not {measured}", skew(&said));
    assert!(skew(&said) < 1.2, "it is even: {}", skew(&said));
    let due =
        said["moves"].as_array().map_or(0, |all| all.iter().filter(|one| one["recommended"] == true).count());
    assert_eq!(due, 0, "{:#}", said["moves"]);
    // Without the partitions it could not have been told.
    let running = "capture start --from blue --name plain --for 1h";
    let mut capture = shop.program.start(&running.split(' ').collect::<Vec<_>>());
    capture.remarks("Ctrl-C or").await;
    shop.work(0..TURN, &on_green).await;
    shop.run("capture stop plain").await;
    capture.end().await.succeeds();
    let refused = shop.program.line("advise drift -e plain").await.fails("RP8003", 3);
    refused.remarks("replat capture start --with-partitions");
}
