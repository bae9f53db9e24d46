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
