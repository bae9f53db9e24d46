//! Advice on a database as it is now: what it reads, what it says where that is not to be had, and what it never shows.

use replat_testkit::Server;
use tokio_postgres::Client;

use crate::privacy::{is_clean, plant};
use crate::world::{World, files, sell};

/// A project of databases whose home is `home`.
fn spec(home: &str) -> String {
    format!(
        "version = 1\nproject = \"shop\"\n\n[databases.blue]\nurl = \"env:SHOP_URL\"\n\n\
         [databases.green]\nurl = \"env:GREEN_URL\"\n{home}"
    )
}

const HOME: &str = "\n[contexts.shop]\ndimensions = [{ column = \"tenant\", type = \"integer\" }]\n\
    home = { database = \"blue\", schema = \"public\" }\n\n[contexts.shop.tables.accounts]\n";

/// A shop where something has been bought.
async fn shop() -> World {
    let world = World::new().await;
    let mut client = world.client().await;
    for n in 0..40 {
        sell(&mut client, 1 + n % 4, n.into()).await;
    }
    client.batch_execute("analyze").await.expect("statistics");
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_database_is_advised_on_without_a_capture() {
    let world = shop().await;
    let ran = world.program.line("advise --url env:SHOP_URL").await.succeeds();
    let ran = ran.remarks("looked at shop: 5 tables").prints("T1, statements and how often they ran");
    let ran = ran.prints("sure to 0.60 at most").prints("shop (as it is now)");
    ran.prints("Next:  replat capture start --from env:SHOP_URL");
    assert_eq!(files(&world.path("")), Vec::new(), "nothing is written here");

    let said = world.program.line("advise --db-url env:SHOP_URL --json").await.succeeds().json();
    assert_eq!((&said["tier"], &said["evidence"]["tables"]), (&"T1".into(), &5.into()), "{said:#}");
    assert!(said["evidence"]["statements"].as_u64() >= Some(4), "{said:#}");
    assert!(said["confidence"].as_f64().expect("a number") <= 0.6, "{said:#}");

    // What was recorded is put together with it.
    let capturing = world.start("--name monday --sample-rate 1").await;
    sell(&mut world.client().await, 1, 1_000).await;
    capturing.signal("INT").await;
    capturing.end().await.succeeds();
    let line = "advise --evidence monday --url env:SHOP_URL --json";
    let both = world.program.line(line).await.succeeds().json();
    assert_eq!(both["evidence"]["sources"].as_array().map(Vec::len), Some(2), "{both:#}");
    assert_eq!((&both["tier"], &both["evidence"]["hashed"]), (&"T3".into(), &true.into()), "{both:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_word_the_home_of_the_spec_is_meant() {
    let world = shop().await;
    world.server.create_database("green").await.expect("a database");
    let program = world.program.clone().with("GREEN_URL", world.server.url("green"));
    program.line("advise").await.fails("RP1005", 2).remarks("--url env:DB_URL");
    program.line("advise --database blue").await.fails("RP2001", 3);
    program.line("advise layout").await.fails("RP8001", 2);
    let write = |text: &str| std::fs::write(world.path("replat.toml"), text).expect("a spec");
    write(&spec(""));
    program.line("advise").await.fails("RP2006", 3).remarks("--database: blue, green");
    program.line("advise --database red").await.fails("RP2006", 3).remarks("blue, green");
    program.line("advise --database green").await.fails("RP3101", 4);
    program.line("advise --url env:NOTHERE").await.fails("RP1005", 3);
    let away = "advise --url postgres://127.0.0.1:1/nobody?connect_timeout=5";
    program.line(away).await.fails("RP1001", 20);
    program.line("advise keys --database blue").await.succeeds().prints("VERDICT");
    write(&spec(HOME));
    let ran = program.line("advise keys").await.succeeds();
    ran.remarks("advice is on blue, the home in").prints("blue (as it is now)");
    // What most statements say is the tenant, and nothing else.
    let client = world.client().await;
    for _ in 0..50 {
        for table in ["accounts", "orders", "visits"] {
            let query = format!("select count(*) from {table} where tenant = $1");
            client.query(&query, &[&1]).await.expect("a report");
        }
    }
    // A plan of counters alone is taken only by those who say so; its home is the database that was looked at.
    let line = "advise keys --partitions 4 --apply-to-spec";
    program.line(line).await.fails("RP8004", 4).remarks("--accept-low-confidence takes it all the same");
    let ran = program.line(&format!("{line} --accept-low-confidence --json")).await.succeeds().json();
    assert_eq!(ran["spec"]["written"], true, "{ran:#}");
    program.line("validate").await.succeeds();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_will_do_so_nothing_is_written_there() {
    let world = shop().await;
    let standby = world.server.standby(&[("shared_preload_libraries", "pg_stat_statements")]).await;
    let standby = standby.expect("a standby");
    let client = standby.client("shop").await.expect("a session");
    for _ in 0..10 {
        client.query("select * from orders where tenant = $1", &[&1]).await.expect("a report");
    }
    let program = world.program.clone().with("SHOP_URL", standby.url("shop"));
    let said = program.line("advise --url env:SHOP_URL --json").await.succeeds().json();
    assert_eq!((&said["tier"], &said["evidence"]["statements"]), (&"T1".into(), &1.into()), "{said:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_to_be_had_is_said_with_what_would_give_it() {
    let world = shop().await;
    let root = world.client().await;
    root.batch_execute("create role feeble login").await.expect("a role");
    let feeble = world.server.url("shop").replace("postgres@", "feeble@");
    let program = world.program.clone().with("SHOP_URL", feeble);
    let granted = async |grant: &str| root.batch_execute(grant).await.expect(grant);
    let advised = async |tier: &str| {
        let said = program.line("advise --url env:SHOP_URL --json").await.succeeds().json();
        assert_eq!(said["tier"], tier, "{said:#}");
        assert!(tier == "T1" || said["verdict"] == "not_enough_evidence", "{said:#}");
        said["evidence"]["notes"].to_string()
    };
    let (data, stats) =
        ("GRANT pg_read_all_data TO \\\"feeble\\\"", "GRANT pg_read_all_stats TO \\\"feeble\\\"");
    let notes = advised("T0").await;
    assert!(notes.contains(data) && notes.contains(stats), "{notes}");
    granted("grant pg_read_all_stats to feeble").await;
    let notes = advised("T1").await;
    assert!(notes.contains(data) && !notes.contains(stats), "{notes}");
    granted("grant pg_read_all_data to feeble").await;
    let notes = advised("T1").await;
    assert!(!notes.contains("GRANT"), "{notes}");
    // To have statements at all is a right, too, where somebody took it away.
    granted("revoke execute on function pg_stat_statements(boolean) from public").await;
    let notes = advised("T0").await;
    let execute = "GRANT EXECUTE ON FUNCTION \\\"public\\\".pg_stat_statements(boolean) TO \\\"feeble\\\"";
    assert!(notes.contains("feeble may not read pg_stat_statements") && notes.contains(execute), "{notes}");
    granted(
        "grant execute on function pg_stat_statements(boolean) to public; select pg_stat_statements_reset()",
    )
    .await;
    let notes = advised("T0").await;
    assert!(notes.contains("no statement about rows has been counted here yet"), "{notes}");
    granted("drop extension pg_stat_statements").await;
    let notes = advised("T0").await;
    assert!(notes.contains("the extension pg_stat_statements is not there; CREATE EXTENSION"), "{notes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_counts_nothing_says_how_it_would() {
    let world = World::on(Server::builder().blue().setting("shared_preload_libraries", "")).await;
    let ran = world.program.line("advise --url env:SHOP_URL --json").await.succeeds();
    let ran = ran.prints("\"tier\": \"T0\"").prints("the library of pg_stat_statements is not loaded");
    ran.prints("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements', and restart the server");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_planted_is_shown_or_written() {
    let world = World::new().await;
    let mut client = world.client().await;
    plant(&world, &mut client).await;
    client.batch_execute("analyze").await.expect("statistics");
    let words = "--url env:SHOP_URL --detail --html a.html --markdown a.md --out judged -vv --log-file log";
    for verb in ["all", "keys", "contexts", "lifecycle"] {
        for json in ["", "--json"] {
            let line = format!("advise {verb} {words} {json}");
            is_clean(&line, world.program.line(&line).await.succeeds().told().as_bytes());
        }
    }
    let written = files(&world.path(""));
    assert!(written.len() >= 5, "{written:?}");
    for (path, bytes) in &written {
        is_clean(&path.display().to_string(), bytes);
    }
}

/// Events of two years that came in order, and what somebody asks about them.
async fn with_events(client: &Client) {
    client
        .batch_execute(
            "create table events (tenant int, id bigint, at timestamptz not null, born date, primary key (tenant, id, at)); \
             insert into events select n % 4, n, '2024-01-01 11:22:33+00'::timestamptz + n * interval '1 minute', \
               '1980-02-14'::date + (n::bigint * 7919 % 9000)::int from generate_series(1, 1050000) n; \
             analyze events",
        )
        .await
        .expect("events");
    let recent = "select count(*) from events where tenant = $1 and at > $2::text::timestamptz";
    let born = "select count(*) from events where born between $1::text::date and $1::text::date + 1";
    for _ in 0..5 {
        client.query(recent, &[&1, &"2025-12-01"]).await.expect("a report");
        client.query(born, &[&"1980-02-14"]).await.expect("another");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_come_in_the_order_of_time_get_a_lifecycle_in_the_spec() {
    let world = shop().await;
    with_events(&world.client().await).await;
    let before = spec(HOME) + "\n# Careful.\n[policy]\nsoak = \"2d\" # two days\n";
    std::fs::write(world.path("replat.toml"), &before).expect("a spec");
    let program = world.program.clone().with("GREEN_URL", world.server.url("shop"));
    let ran = program.line("advise lifecycle --detail").await.succeeds();
    let ran = ran.prints("ranges of at of 1 year").prints("rows lie in the order of at");
    assert!(!ran.out.contains("of born"), "a birthday is no time at which rows come: {}", ran.told());
    is_clean("the advice", ran.told().as_bytes());

    let line = "advise lifecycle --apply-to-spec";
    let dry = program.line(&format!("{line} --dry-run")).await.succeeds();
    dry.prints("+[lifecycles.events]").prints("No change has been made.");
    let ran = program.line(line).await.succeeds().prints("written, lifecycle events").prints("plan rotate");
    let convert = "rotate convert public.events --by=range:at --interval=\"1 year\"";
    assert!(ran.out.contains(&format!("{convert} --dry-run")), "{}", ran.told());
    let read = || std::fs::read_to_string(world.path("replat.toml")).expect("a spec");
    let written = read();
    assert!(written.starts_with(before.trim_end()), "what was there stays: {written}");
    for said in ["database = \"blue\"", "column = \"at\"", "interval = \"1 year\"", "ahead_count = 3"] {
        assert!(written.contains(said), "{said} in {written}");
    }
    program.line("validate").await.succeeds();
    program.line(line).await.succeeds().prints("says so already");

    // What somebody has changed since is theirs, but for what the advice is about.
    let theirs = written
        .replace("interval = \"1 year\"", "interval = \"1 day\" # ours")
        .replace("ahead_count = 3", "ahead = \"9d\"");
    std::fs::write(world.path("replat.toml"), &theirs).expect("a spec");
    program.line(line).await.succeeds();
    assert_eq!(read(), theirs.replace("\"1 day\" # ours", "\"1 year\" # ours"));
    let others = theirs.replace("tables = [\"events\"]", "tables = [\"events\", \"audit\"]");
    std::fs::write(world.path("replat.toml"), &others).expect("a spec");
    let ran = program.line(line).await.succeeds().prints("it looks after other tables besides events");
    ran.prints("says so already");
    assert_eq!(read(), others);

    // An ordinary table is converted as it was said; then its lifecycle looks after it.
    std::fs::write(world.path("replat.toml"), &written).expect("a spec");
    let words = ["rotate", "convert", "public.events", "--by=range:at", "--interval=1 year", "-y"];
    program.run(&words).await.succeeds();
    program.line("plan rotate --json").await.succeeds().prints("events");
}
