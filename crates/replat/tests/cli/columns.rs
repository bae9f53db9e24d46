//! Columns that go apart: the advice, and the piece of a spec that it writes, deployed on a real server.

use crate::world::{World, number};

const SPEC: &str = "version = 1\nproject = \"shop\"\n\n[databases.blue]\nurl = \"env:BLUE_URL\"\n\n\
                    [databases.green]\nurl = \"env:GREEN_URL\"\n\n[policy]\nsoak = \"0s\"\n\n";

const SCHEMA: &str = "CREATE TABLE orgs (id bigint PRIMARY KEY, name text NOT NULL);
    CREATE TABLE accounts (id bigint PRIMARY KEY, org_id bigint NOT NULL REFERENCES orgs, email varchar(80) NOT NULL UNIQUE,
        \"Name\" text, address text, settings jsonb, bio text, logins bigint NOT NULL, last_seen timestamptz, photo bytea);";

/// What statements were seen doing: counters change all the time, the rest is read now and then.
fn evidence(world: &World) {
    std::fs::create_dir_all(world.path("evidence")).expect("a folder");
    world.write("evidence/schema.sql", SCHEMA);
    let mut csv = String::from("queryid,calls,rows,query\n");
    for (calls, text) in [
        (90_000, "UPDATE accounts SET logins = logins + 1, last_seen = now() WHERE id = $1"),
        (12_000, "SELECT org_id, email, \"\"Name\"\", address, settings, bio FROM accounts WHERE id = $1"),
        (200, "SELECT id, org_id, email, logins FROM accounts WHERE email = $1"),
        (100, "INSERT INTO accounts (id, org_id, email, logins) VALUES ($1, $2, $3, 0)"),
    ] {
        csv += &format!("{calls},{calls},{calls},\"{text}\"\n");
    }
    world.write("evidence/pg_stat_statements.csv", &csv);
    let stats =
        r#"{"accounts": {"rows": 5000000, "row_bytes": 700}, "orgs": {"rows": 100, "row_bytes": 40}}"#;
    world.write("evidence/stats.json", stats);
}

#[tokio::test]
async fn a_table_whose_columns_go_apart_is_advised_and_deployed_as_two() {
    let world = World::empty(SPEC).await;
    evidence(&world);
    let blue = world.on_blue().await;
    let fill = "INSERT INTO orgs SELECT n, 'org ' || n FROM generate_series(1, 5) n;
        INSERT INTO accounts SELECT n, 1 + n % 5, n || '@example.org', 'name ' || n, nullif('street ' || n % 7, 'street 3'),
               jsonb_build_object('n', n), CASE WHEN n % 3 = 0 THEN repeat('long ', 900) END, n * 7, now(), NULL
          FROM generate_series(1, 400) n;";
    blue.batch_execute(&format!("{SCHEMA} {fill}")).await.expect("accounts");

    // Everything that is written says it.
    let line = "advise columns -e evidence --out judged --html a.html --markdown a.md";
    let told = world.replat(line).await.succeeds().prints("accounts: make 2 tables of it");
    let told = told
        .prints("of the updates set last_seen, logins alone")
        .prints("accounts: photo (4,00")
        .prints("It refers to tables that the piece leaves");
    assert!(!told.out.contains("\nKEYS\n"), "only what was asked for: {}", told.out);
    let page = std::fs::read_to_string(world.path("a.html")).expect("a page");
    assert!(page.contains("Statements against the columns of accounts"), "{page}");
    assert!(std::fs::read_to_string(world.path("a.md")).expect("Markdown").contains("make 2 tables of it"));
    let said = world.replat("advise columns -e evidence --json").await.succeeds().json();
    let split = &said["columns"]["tables"][0]["split"];
    assert_eq!(split["pieces"][1]["table"], "accounts_more");
    assert!(split["confidence"].as_f64().expect("a number") <= 0.6, "no more than the tier allows");

    // The piece is a spec's, as it was written.
    let piece = std::fs::read_to_string(world.path("judged/split_accounts.toml")).expect("a piece of a spec");
    world.write("replat.toml", &format!("{SPEC}{piece}"));
    std::fs::copy(world.path("judged/split_accounts.sql"), world.path("split_accounts.sql"))
        .expect("the DDL");
    world.replat("validate").await.succeeds().prints("1 context");
    let first: Vec<&str> = piece.lines().filter_map(|line| line.strip_prefix("# first: ")).collect();
    assert_eq!(first.len(), 2, "email and org_id: {piece}");
    blue.batch_execute(&first.join("\n")).await.expect("what comes first");
    world.replat("plan deploy -p accounts --out plan.json").await.succeeds();
    // The table that it refers to stays where it is, which is said, and has to be allowed.
    world.replat("apply plan.json -y --allow FK_OUTSIDE").await.succeeds();

    let rows = "SELECT count(*) FROM public_split.accounts";
    assert_eq!(number(&blue, rows).await, 400);
    let same = "SELECT count(*) FROM public.accounts a JOIN public_split.accounts b USING (id)
        JOIN public_split.accounts_more c USING (id)
        WHERE (a.logins, a.last_seen, a.org_id, a.email, a.\"Name\", a.settings) =
              (b.logins, b.last_seen, c.org_id, c.email, c.\"Name\", c.settings)
          AND a.bio IS NOT DISTINCT FROM c.bio AND a.address IS NOT DISTINCT FROM c.address";
    assert_eq!(number(&blue, same).await, 400);
    // What the advice promised: an update of a counter leaves the rest alone.
    let before = "SELECT sum(pg_column_size(a))::bigint FROM public.accounts a";
    let after = "SELECT sum(pg_column_size(a))::bigint FROM public_split.accounts a";
    assert!(3 * number(&blue, after).await < number(&blue, before).await);
}

/// The rows of the table as it was and of the two that it becomes, with what they say; both have the same if these are alike.
const WHOLE: &str = "SELECT md5(string_agg(concat_ws('|', id, org_id, email, \"Name\", address, settings, bio, logins), ';' \
    ORDER BY id)) FROM accounts";
const IN_TWO: &str = "SELECT md5(string_agg(concat_ws('|', id, org_id, email, \"Name\", address, settings, bio, logins), ';' \
    ORDER BY id)) FROM public_split.accounts JOIN public_split.accounts_more USING (id)";

#[tokio::test]
async fn a_split_goes_into_the_spec_to_a_second_database_and_back_with_all_rows() {
    let world = World::empty(&format!("# Ours.\n{}", SPEC.replace("soak = \"0s\"", "soak = \"1h\""))).await;
    evidence(&world);
    let blue = world.on_blue().await;
    let fill = "INSERT INTO orgs SELECT n, 'org ' || n FROM generate_series(1, 5) n;
        INSERT INTO accounts SELECT n, 1 + n % 5, n || '@example.org', 'name ' || n, nullif('street ' || n % 7, 'street 3'),
               jsonb_build_object('n', n), CASE WHEN n % 3 = 0 THEN repeat('long ', 90) END, n * 7, now(), NULL
          FROM generate_series(1, 400) n;";
    blue.batch_execute(&format!("{SCHEMA} {fill}")).await.expect("accounts");
    let line = "advise columns -e evidence --apply-to-spec";
    let spec = || std::fs::read_to_string(world.path("replat.toml")).expect("a spec");
    let before = spec();
    world.replat(line).await.fails("RP2006", 2).remarks("--home");
    let ran = world.replat(&format!("{line} --home blue --dry-run")).await.succeeds();
    let ran = ran.prints("+[contexts.accounts.rollout]").prints("+CREATE TABLE \"accounts_more\"");
    drop(ran.prints("No change has been made"));
    assert_eq!((spec(), world.path("split_accounts.sql").exists()), (before.clone(), false));
    let ran = world.replat(&format!("{line} --home blue")).await.succeeds();
    let first: Vec<String> = ran
        .out
        .lines()
        .filter_map(|line| line.strip_prefix("First, in the database:  "))
        .map(str::to_owned)
        .collect();
    assert_eq!(first.len(), 2, "email and org_id: {}", ran.told());
    assert!(spec().starts_with(&before), "what was there stays: {}", spec());
    world.replat("validate").await.succeeds().prints("1 context");
    // Once it is there, it is not written again.
    world.replat(&format!("{line} --home blue")).await.fails("RP8004", 4).remarks("has a rollout already");
    blue.batch_execute(&first.join("\n")).await.expect("what comes first");

    // To a second database: somebody changes where it goes.
    let to = "to = { database = \"blue\", schema = \"public_split\" }";
    assert!(spec().contains(to), "{}", spec());
    world.write("replat.toml", &spec().replace(to, &to.replace("blue", "green")));
    world.replat("plan deploy -p accounts --out plan.json").await.succeeds();
    world.replat("apply plan.json -y --hold --allow FK_OUTSIDE").await.succeeds();
    world.replat("deploy switch").await.succeeds();
    let green = world.on_green().await;
    assert_eq!(text(&green, IN_TWO).await, text(&blue, WHOLE).await);
    world.replat("verify -p accounts").await.succeeds();
    // What is written there goes back, a row of either table and both.
    green
        .batch_execute(
            "UPDATE public_split.accounts SET logins = 0 WHERE id <= 10;
             UPDATE public_split.accounts_more SET bio = 'new', address = NULL WHERE id BETWEEN 6 AND 20;
             DELETE FROM public_split.accounts WHERE id BETWEEN 30 AND 35;
             BEGIN;
             INSERT INTO public_split.accounts (id, logins) VALUES (1000, 1);
             INSERT INTO public_split.accounts_more (id, org_id, email) VALUES (1000, 1, 'late@example.org');
             COMMIT",
        )
        .await
        .expect("green is home");
    let there = text(&green, IN_TWO).await;
    world.replat("deploy rollback").await.succeeds();
    assert_eq!(text(&blue, WHOLE).await, there);
    assert_eq!(number(&blue, "SELECT count(*) FROM accounts").await, 395);
    blue.batch_execute("UPDATE accounts SET logins = 5 WHERE id = 1000").await.expect("blue is home again");
}

async fn text(client: &tokio_postgres::Client, query: &str) -> String {
    client.query_one(query, &[]).await.expect(query).get(0)
}
