//! What consumers rely on: asked on both sides, and in the way of a switch if it no longer holds.

use crate::world::World;

const CONTRACTS: &str = r#"
[contexts.saas.contracts."ledger/paid"]
query = "paid.sql"
parameters = ["$tenant_id"]
[contexts.saas.contracts."mail/addresses"]
consumer = "newsletter"
query = "addresses.sql"
parameters = ["$tenant_id"]
order = "exact"
budget = "20s"
"#;

async fn promised(paid: &str) -> World {
    let world = World::example_with(|spec| {
        spec.replace("[contexts.saas.rollout]", &format!("{CONTRACTS}\n[contexts.saas.rollout]"))
    })
    .await;
    world.write("paid.sql", paid);
    world.write(
        "addresses.sql",
        "-- by name\nselect id, email from users where tenant_id = $1 order by email;\n",
    );
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_a_consumer_relies_on_stops_a_switch_and_names_the_consumer() {
    // Green has no column amount any more.
    let world = promised("select order_id, amount from payments where tenant_id = $1").await;
    world.replat("contracts list").await.succeeds().prints("ledger/paid").prints("for newsletter");
    world.replat("contracts check").await.succeeds().prints("rows (order_id bigint, amount numeric)");
    let ran = world.replat("deploy -p tenant_id=3 -y --hold").await.fails("RP4004", 11);
    let ran = ran
        .remarks("ledger/paid (ledger): green does not answer it: column \"amount\" does not exist (42703)")
        .remarks("SAFE: blue.public (blue)");
    assert!(!ran.err.contains("newsletter"), "the other is kept: {}", ran.told());
    world.replat("deploy get").await.succeeds().prints("ledger/paid (ledger)").prints("deploy resume d1");
    world.replat("deploy switch").await.fails("RP4004", 11).remarks("ledger/paid");
    let ran = world.replat("contracts test -p tenant_id=3").await.fails("RP4004", 11);
    ran.prints("mail/addresses  kept").remarks("ledger/paid (ledger): green does not answer it");
    // Whoever says that it may go on is heard, and the consumers are asked about once more.
    world.replat("deploy resume").await.succeeds();
    world.replat("deploy events").await.succeeds().prints("resumed");
    world.replat("deploy abort").await.succeeds();
}

#[tokio::test(flavor = "multi_thread")]
async fn contracts_that_are_kept_let_a_deployment_through() {
    // Whoever asks like this is answered alike by both versions.
    let world =
        promised("select order_id, count(*) from payments where tenant_id = $1 group by order_id").await;
    world.replat("deploy -p tenant_id=3 -y --hold").await.succeeds();
    world.replat("contracts test -p tenant_id=3").await.succeeds().prints("ledger/paid  kept");
    world.replat("deploy switch").await.succeeds();
    world.replat("deploy events").await.succeeds().prints("2 contracts are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_never_returns_or_is_none_is_said_to_be_so() {
    let world = promised("select pg_sleep(600) from payments where tenant_id = $1 limit 1").await;
    let spec = CONTRACTS.replacen("parameters", "budget = \"100ms\"\nparameters", 1);
    let world_spec = std::fs::read_to_string(world.path("replat.toml")).expect("the spec");
    world.write("replat.toml", &world_spec.replace(CONTRACTS, &spec));
    let ran = world.replat("contracts check").await.fails("RP4004", 11);
    ran.remarks("ledger/paid (ledger): it did not answer within 1000 ms");
    world.write("paid.sql", "delete from payments where tenant_id = $1");
    world.replat("contracts check").await.fails("RP4004", 11).remarks("ledger/paid (ledger): ");
    std::fs::remove_file(world.path("paid.sql")).expect("it was there");
    let ran = world.replat("plan deploy -p tenant_id=3").await.fails("RP2001", 3);
    ran.remarks("paid.sql cannot be read").remarks("contract ledger/paid");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compared_as_values_however_a_database_writes_them() {
    let world = promised(
        "select date '2026-08-01' as due, interval '1 day 2 hours' as after, 0.1::float8 + 0.2 as rate, count(*) \
         from payments where tenant_id = $1",
    )
    .await;
    world.replat("deploy -p tenant_id=3 -y --hold").await.succeeds();
    for setting in ["DateStyle = 'German, DMY'", "IntervalStyle = 'iso_8601'", "extra_float_digits = 0"] {
        let alter = format!("alter database {} set {setting}", world.green);
        world.on_blue().await.batch_execute(&alter).await.expect("a setting of green alone");
    }
    world.replat("contracts test -p tenant_id=3").await.succeeds().prints("ledger/paid  kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn contracts_are_asked_where_the_partition_lives_now() {
    let world = promised("select order_id from payments where tenant_id = $1").await;
    world.replat("deploy -p tenant_id=3 -y --hold").await.succeeds();
    world.replat("deploy switch").await.succeeds();
    // Blue is followed, so both sides can still be asked; and what comes next once the spec has it.
    world.replat("contracts test -p tenant_id=3").await.succeeds().prints("ledger/paid  kept");
    let spec = std::fs::read_to_string(world.path("replat.toml")).expect("the spec");
    let onwards = spec.replace(
        r#"to = { database = "green", schema = "saas" }"#,
        r#"to = { database = "blue", schema = "third" }"#,
    );
    assert_ne!(spec, onwards);
    world.write("replat.toml", &onwards);
    let third = "create schema third; create table third.payments (tenant_id bigint, order_id bigint); \
                 create table third.users (tenant_id bigint, id bigint, email text)";
    world.on_blue().await.batch_execute(third).await.expect("tables");
    let ran = world.replat("contracts test -p tenant_id=3").await.fails("RP4004", 11);
    ran.remarks("ledger/paid (ledger): it had ").remarks("green.saas and blue.third");
}
