//! The checker finds nothing where nothing is wrong, and everything that was put wrong behind its back.

use std::collections::BTreeMap;
use std::sync::Arc;

use replat_testkit::Server;
use replat_testkit::check::{Comparison, check_journal, compare_tenant};
use replat_testkit::load::{Journal, Load, LoadOptions, Outcome};
use replat_testkit::routes::{self, Homes, Publisher, Routes, TenantHome};
use replat_testkit::rows::Version;
use replat_testkit::saas::{self, Fill};

const FILL: Fill = Fill { tenants: 3, rows: 3_000, seed: 11 };

struct World {
    server: Server,
    blue: TenantHome,
    publisher: Publisher,
    routes: Routes,
}

async fn world() -> World {
    let server = Server::start().await.expect("a server");
    server.create_database("blue").await.expect("a database");
    let client = server.client("blue").await.expect("a session");
    saas::create_v1(&client).await.expect("the v1 schema");
    saas::fill_v1(&client, FILL).await.expect("rows");
    let (url, schema) = (server.url("blue"), "public".to_owned());
    let blue = TenantHome { epoch: 1, url, schema, version: Version::V1 };
    let (publisher, routes) = routes::channel(Homes { usual: blue.clone(), moved: BTreeMap::new() });
    World { server, blue, publisher, routes }
}

impl World {
    async fn load(&self) -> Load {
        let options = LoadOptions {
            writers: 3,
            moved: 1,
            tenants: FILL.tenants,
            rate: 1000,
            seed: 5,
            journal: None,
            door: None,
        };
        Load::start(&options, self.routes.clone()).await.expect("writers")
    }

    async fn execute(&self, statements: &str) {
        self.server.execute("blue", statements).await.expect(statements);
    }
}

async fn until_acknowledged(load: &Load, operations: usize) {
    let wanted = load.journal().acknowledged() + operations;
    while load.journal().acknowledged() < wanted {
        tokio::task::yield_now().await;
    }
}

async fn written(world: &World, operations: usize) -> Arc<Journal> {
    let load = world.load().await;
    until_acknowledged(&load, operations).await;
    load.stop().await.expect("the journal")
}

#[tokio::test]
async fn a_server_that_loses_nothing_is_found_blameless() {
    let world = world().await;
    let notes = written(&world, 600).await.notes();
    let found = check_journal(&notes, &world.routes.all()).await.expect("a check");
    assert!(found.holds(), "{found:?}");
    assert!(found.acknowledged >= 600);
    assert_eq!(found.found, found.acknowledged);
    assert!(found.checked_rows > 600, "{found:?}");
}

#[tokio::test]
async fn what_was_put_wrong_behind_its_back_is_reported() {
    let world = world().await;
    let notes = written(&world, 600).await.notes();
    let mut acknowledged = notes.entries.iter().filter(|entry| entry.outcome == Outcome::Acknowledged);
    let mut next = || acknowledged.next().expect("an operation").op.clone();
    let (lost, doubled) = (next(), next());
    world.execute(&format!("delete from events where op_id = '{lost}'")).await;
    world
        .execute(&format!(
            "drop index events_operation;
             insert into events (tenant_id, op_id, kind, body)
             select tenant_id, op_id, kind, body from events where op_id = '{doubled}'"
        ))
        .await;
    let found = check_journal(&notes, &world.routes.all()).await.expect("a check");
    assert_eq!((found.lost, found.doubled, found.wrong_rows), (1, 1, 0), "{found:?}");
    assert!(found.examples.iter().any(|words| words.contains(&lost)), "{found:?}");
    assert!(found.examples.iter().any(|words| words.contains(&doubled)), "{found:?}");
}

#[tokio::test]
async fn a_row_that_differs_from_its_last_acknowledged_change_is_reported() {
    let world = world().await;
    let notes = written(&world, 600).await.notes();
    // One row by its place: two tenants may have used the same id.
    let wrongs = [
        "update payments set amount = amount + 0.01 where ctid = (select ctid from payments order by id desc limit 1)",
        "update users set profile = profile || 'x' where ctid = (select ctid from users order by id desc limit 1)",
        "delete from order_lines where ctid = (select ctid from order_lines order by id desc limit 1)",
    ];
    for (number, wrong) in wrongs.into_iter().enumerate() {
        world.execute(wrong).await;
        let found = check_journal(&notes, &world.routes.all()).await.expect("a check");
        assert_eq!(found.wrong_rows, number as u64 + 1, "{wrong}: {found:?}");
        assert!(!found.holds());
    }
}

/// A stand-in for a move that is easy to see through: both schemas in one database, rows carried over by SQL.
const CARRY: &str = "
    insert into saas.currencies select * from public.currencies on conflict do nothing;
    insert into saas.tenants select * from public.tenants where tenant_id = 1;
    insert into saas.users (tenant_id, id, email, email_domain, first_name, last_name, external_id, tags, profile,
                            rev, created_at)
      select tenant_id, id, email, lower(split_part(email, '@', 2)), split_part(full_name, ' ', 1),
             split_part(full_name, ' ', 2), external_id, tags, profile, rev, created_at
        from public.users where tenant_id = 1;
    insert into saas.orders select tenant_id, id, user_id, status::saas.order_status, currency, note, discounts, rev,
                                   placed_at from public.orders where tenant_id = 1;
    insert into saas.order_lines (tenant_id, id, order_id, sku, quantity, unit_price, rev)
      select tenant_id, id, order_id, sku, quantity, unit_price, rev from public.order_lines where tenant_id = 1;
    insert into saas.payments select tenant_id, id, order_id, round(amount * 100), reference, rev, paid_at
        from public.payments where tenant_id = 1;
    insert into saas.events select * from public.events where tenant_id = 1;
    select setval('saas.events_id_seq', (select max(id) from saas.events));";

async fn carry(world: &World) -> TenantHome {
    let client = world.server.client("blue").await.expect("a session");
    saas::create_v2(&client, "saas").await.expect("the v2 schema");
    client.batch_execute(CARRY).await.expect("rows carried over");
    TenantHome { epoch: 2, schema: "saas".into(), version: Version::V2, ..world.blue.clone() }
}

#[tokio::test]
async fn writers_follow_a_tenant_to_its_new_home_and_version() {
    let world = world().await;
    let load = world.load().await;
    until_acknowledged(&load, 200).await;
    let stillness = load.still_moved().await;
    let green = carry(&world).await;
    assert_eq!(compare(&world, &green).await.different, 0);
    let mut homes = world.routes.all();
    homes.moved.insert(1, green.clone());
    world.publisher.publish(homes);
    drop(stillness);
    until_acknowledged(&load, 400).await;
    let notes = load.stop().await.expect("the journal").notes();
    assert!(notes.entries.iter().any(|entry| entry.tenant == 1 && entry.version == Version::V2));
    assert!(notes.entries.iter().all(|entry| entry.tenant == 1 || entry.version == Version::V1));
    let found = check_journal(&notes, &world.routes.all()).await.expect("a check");
    assert!(found.holds(), "{found:?}");
    let stale = Homes { usual: world.blue.clone(), moved: BTreeMap::new() };
    let found = check_journal(&notes, &stale).await.expect("a check of the old home");
    assert!(found.lost > 0, "the old home cannot have what was written at the new one: {found:?}");
}

async fn compare(world: &World, green: &TenantHome) -> Comparison {
    compare_tenant(&world.blue, green, 1).await.expect("a comparison")
}

#[tokio::test]
async fn each_kind_of_difference_between_two_versions_is_seen() {
    let world = world().await;
    let green = carry(&world).await;
    let equal = compare(&world, &green).await;
    assert_eq!(equal.different, 0, "{equal:?}");
    assert!(equal.rows > 1000, "{equal:?}");
    let wrongs = [
        "update saas.payments set amount_minor = amount_minor + 1 where id = 1",
        "update saas.users set email_domain = upper(email_domain) where id = 2",
        "update saas.users set profile = reverse(profile) || 'x' where id = 3",
        "delete from saas.order_lines where id = 1",
        "insert into saas.currencies values ('XXX', 'none', 0)",
        "update saas.orders set note = null where id = (select min(id) from saas.orders where note is not null)",
    ];
    for (number, wrong) in wrongs.into_iter().enumerate() {
        world.execute(wrong).await;
        let found = compare(&world, &green).await;
        assert_eq!(found.different, number as u64 + 1, "{wrong}: {found:?}");
    }
}

#[tokio::test]
async fn a_server_that_dies_under_the_writers_loses_nothing_that_it_acknowledged() {
    let mut world = world().await;
    let load = world.load().await;
    until_acknowledged(&load, 200).await;
    world.server.kill().await.expect("a kill");
    world.server.restart().await.expect("a recovery");
    until_acknowledged(&load, 200).await;
    let notes = load.stop().await.expect("the journal").notes();
    let found = check_journal(&notes, &world.routes.all()).await.expect("a check");
    assert!(found.holds(), "{found:?}");
}
