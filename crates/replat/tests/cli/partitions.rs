//! Partitions of every shape, from one home to the next.

use crate::world::{World, number};

const TABLES: [&str; 6] = ["tenants", "users", "orders", "order_lines", "payments", "events"];

/// Green holds of every table exactly what blue holds of the tenants that `moved` names, and nothing else.
async fn moved(world: &World, moved: &str) {
    let (blue, green) = (world.on_blue().await, world.on_green().await);
    for table in TABLES {
        let expected = number(&blue, &format!("select count(*) from {table} where {moved}")).await;
        let found = number(&green, &format!("select count(*) from saas.{table} where {moved}")).await;
        let all = number(&green, &format!("select count(*) from saas.{table}")).await;
        assert_eq!((found, all), (expected, expected), "{table}");
        assert!(expected > 0, "{table} has rows that move");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_a_hash_moves() {
    let tree = "[contexts.saas]\ntree = { split = \"tenant_id\", hash = 4 }\n";
    let world = World::example_with(|spec| spec.replace("[contexts.saas]\n", tree).replace("1h", "0s")).await;
    world.replat("deploy -p b1 -y").await.succeeds().prints("saas/b1").prints("finished");
    let green = world.on_green().await;
    let tenants = number(&green, "select count(distinct tenant_id) from saas.tenants").await;
    assert!((1..8).contains(&tenants), "some of eight tenants move, and not all: {tenants}");
    let rows = green.query("select tenant_id from saas.tenants", &[]).await.expect("tenants");
    let ids: Vec<String> = rows.iter().map(|row| row.get::<_, i64>(0).to_string()).collect();
    moved(&world, &format!("tenant_id in ({})", ids.join(", "))).await;
    world.replat("deploy -p b1 -y").await.fails("RP2007", 3);
    world.replat("deploy -p b2 -y --hold").await.succeeds().prints("saas/b2");
    world.replat("plan deploy -p b7").await.fails("RP2006", 3).remarks("b7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_moves() {
    let world = World::example().await;
    let ran = world.program.run(&["deploy", "-p", "tenant_id=[3,6)", "-y"]).await;
    ran.succeeds().prints("finished").remarks("tenant_id in [3, 6)");
    moved(&world, "tenant_id in (3, 4, 5)").await;
    world.replat("plan deploy -p tenant_id=4").await.fails("RP2007", 3).remarks("green.saas");
    world.replat("plan deploy -p tenant_id=6").await.succeeds();
    let across = world.program.run(&["plan", "deploy", "-p", "tenant_id=[5,8)"]).await;
    across.fails("RP2006", 3).remarks("2 partitions").remarks("Name one partition");
}

const ODD_SPEC: &str = r#"
version = 1
project = "odd"

[databases.Old]
url = "env:BLUE_URL"

[databases.New]
url = "env:GREEN_URL"

[contexts.shop]
dimensions = [{ column = "Tenant Id", type = "uuid" }, { column = "Region", type = "text" }]
home = { database = "Old", schema = "My Shop" }

[contexts.shop.tables."Order Book"]
[contexts.shop.tables."select"]

[contexts.shop.rollout]
version = "2"
to = { database = "New", schema = "Shop.Two" }
ddl = ["new.sql"]

[contexts.shop.rollout.tables."Orders 2"]
from = "Order Book"

[contexts.shop.rollout.map."Orders 2"."Total-Minor"]
up = 'round("Total €" * 100)::bigint'
down = { column = "Total €", sql = '"Total-Minor"::numeric / 100' }

[policy]
soak = "0s"
"#;

const ODD_OLD: &str = r#"
create schema "My Shop";
set search_path = "My Shop";
create table "Order Book" (
    "Tenant Id" uuid, "Region" text, "Order ""No""" text, "Total €" numeric(12,2) not null,
    primary key ("Tenant Id", "Region", "Order ""No"""));
create table "select" ("Tenant Id" uuid, "Region" text, "from" uuid, "Where" text, primary key ("Tenant Id", "Region", "from"));
insert into "Order Book"
    select ('00000000-0000-0000-0000-00000000000' || t)::uuid, r, 'It''s "' || n || '" \ ' || r, n
    from generate_series(1, 3) t, unnest(array['eu', 'US', 'O''Neill', 'ü/ "x"', '']) r, generate_series(1, 20) n;
insert into "select"
    select "Tenant Id", "Region", gen_random_uuid(), E'tab\tback\\slash\nline' || "Region" from "Order Book";
analyze;
"#;

const ODD_NEW: &str = r#"
create table "Orders 2" (
    "Tenant Id" uuid, "Region" text, "Order ""No""" text, "Total-Minor" bigint not null,
    primary key ("Tenant Id", "Region", "Order ""No"""));
create table "select" ("Tenant Id" uuid, "Region" text, "from" uuid, "Where" text, primary key ("Tenant Id", "Region", "from"));
create index "An Index" on "select" ("Where");
"#;

#[tokio::test(flavor = "multi_thread")]
async fn names_with_capitals_blanks_and_quotes_and_keys_of_uuid_and_text_move() {
    let world = World::empty(ODD_SPEC).await;
    world.write("new.sql", ODD_NEW);
    let blue = world.on_blue().await;
    blue.batch_execute(ODD_OLD).await.expect("the old schema");
    world.replat("validate").await.succeeds();
    let plain = "Tenant Id=00000000-0000-0000-0000-000000000001,Region=";
    let write = "update \"My Shop\".\"Order Book\" set \"Total €\" = \"Total €\" + 1 where \"Region\" = $1 and \
                 \"Tenant Id\" = '00000000-0000-0000-0000-000000000001'";
    for (number, region) in ["eu", "O'Neill", "ü/ \"x\"", ""].into_iter().enumerate() {
        let partition = format!("{plain}\"{}\"", region.replace('"', "\"\""));
        let ran = world.program.run(&["deploy", "-p", &partition, "-y", "--hold"]).await.succeeds();
        let id = format!("d{}", number + 1);
        assert!(ran.out.starts_with(&format!("{id}  shop/")), "{}", ran.told());
        // Blue goes on writing while green is not home yet.
        assert_eq!(blue.execute(write, &[&region]).await.expect("blue is open until the switch"), 20);
        world.replat(&format!("deploy switch {id}")).await.succeeds().prints("New.Shop.Two (green)");
        world.program.run(&["verify", "-p", &partition]).await.succeeds().prints("all equal");
        world.replat(&format!("deploy rollback {id}")).await.succeeds().prints("Old.My Shop (blue)");
        world.replat(&format!("deploy switch {id}")).await.succeeds();
        world.replat(&format!("deploy finish {id}")).await.succeeds();
    }
    let green = world.on_green().await;
    assert_eq!(number(&green, "select count(*) from \"Shop.Two\".\"Orders 2\"").await, 4 * 20);
    let kept = "select count(distinct \"Where\") from \"Shop.Two\".\"select\" where \"Where\" like E'tab\\tback\\\\\\\\slash\\nline%'";
    assert_eq!(number(&green, kept).await, 4);
}
