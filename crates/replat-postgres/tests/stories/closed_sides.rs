//! Who may write where: green is closed to everybody from the beginning, blue's reference tables while a deployment
//! runs, and no other tenant is kept from anything.

use replat_model::deploy::Phase;
use replat_model::ids::Side;

use crate::harness::{SHOP, Scene, refused, run, value};
use crate::moments::until_planned;

const WRITES: [&str; 7] = [
    "insert into accounts values (2, 7001, null, 1, 'x', 'x')",
    "insert into moves values (2, 7001, 1, 1)",
    "update accounts set note = 'x' where tenant_id = 2",
    "delete from moves where tenant_id = 2",
    "insert into accounts values (2, 1, null, 1, 'x', 'x') on conflict (tenant_id, id) do update set note = 'x'",
    "insert into currencies values ('XXX', 'none')",
    "truncate currencies",
];

#[tokio::test]
async fn green_refuses_everybody_from_the_beginning_to_the_decision() {
    let story = Scene::default().begin().await;
    until_planned(&story).await;
    for sql in WRITES.into_iter().chain(["truncate moves"]) {
        assert_eq!(refused(&story.green, sql).await.0, "25006", "while green is filled: {sql}");
    }
    story.until_phase(Phase::Ready).await;
    run(&story.green, "set session_replication_role = replica").await;
    for sql in WRITES.into_iter().chain(["truncate moves"]) {
        assert_eq!(refused(&story.green, sql).await.0, "25006", "when green is ready: {sql}");
    }
    run(&story.green, "set session_replication_role = origin").await;
    story.switch_to(Side::Green).await;
    run(&story.green, WRITES[0]).await;
    story.settle().await;
    story.assert_equal().await;
}

#[tokio::test]
async fn reference_tables_stand_still_on_both_sides_until_the_deployment_ends() {
    let story = Scene::default().begin().await;
    until_planned(&story).await;
    let change = "update currencies set name = 'x'";
    let (code, detail) = refused(&story.blue, change).await;
    assert_eq!(code, "25006");
    assert!(detail.contains("reference"), "{detail}");
    story.until_phase(Phase::Ready).await;
    story.switch_to(Side::Green).await;
    for side in [Side::Blue, Side::Green] {
        assert_eq!(refused(story.side(side), change).await.0, "25006", "{side}");
    }
    story.switch_to(Side::Blue).await;
    story.abort().await;
    run(&story.blue, change).await;
}

/// Other tenants live on both sides, and write there before, during and after.
#[tokio::test]
async fn other_tenants_write_on_both_sides_all_the_time() {
    let green_before = format!(
        "create schema shop; set search_path = shop; {SHOP} \
         insert into accounts select 9, n, format('u%s@t9', n), n, 'note', 'body' from generate_series(1, 20) n"
    );
    let story = Scene { green_before, ddl: String::new(), ..Scene::default() }.begin().await;
    let mut n = 100;
    let mut others = async |story: &crate::harness::Story| {
        n += 1;
        run(&story.blue, &format!("insert into accounts values (1, 10{n}, null, 1, 'x', 'x')")).await;
        run(&story.green, &format!("insert into accounts values (9, {n}, null, 1, 'x', 'x')")).await;
        run(&story.green, &format!("update accounts set note = '{n}' where tenant_id = 9")).await;
        run(&story.green, &format!("delete from accounts where tenant_id = 9 and id = {n}")).await;
    };
    until_planned(&story).await;
    others(&story).await;
    // There is no row of the tenant yet that could be updated or deleted.
    for sql in WRITES.into_iter().filter(|sql| !sql.starts_with("update") && !sql.starts_with("delete")) {
        assert_eq!(refused(&story.green, sql).await.0, "25006", "{sql}");
    }
    story.until_phase(Phase::Ready).await;
    others(&story).await;
    story.switch_to(Side::Green).await;
    others(&story).await;
    story.switch_to(Side::Blue).await;
    others(&story).await;
    story.assert_equal().await;
    assert_eq!(value(&story.blue, "select count(*) from accounts where tenant_id = 9").await, "0");
    story.abort().await;
    assert_eq!(value(&story.green, "select count(*) from accounts where tenant_id = 9").await, "20");
    assert_eq!(value(&story.green, "select count(*) from accounts where tenant_id = 2").await, "0");
}

/// The second tenant finds its tables, and the reference rows, there already; the first one still soaks.
#[tokio::test]
async fn a_second_tenant_follows_while_the_first_can_still_go_back() {
    let first = Scene::default().begin().await;
    first.until_phase(Phase::Ready).await;
    first.switch_to(Side::Green).await;
    let scene = Scene { tenant: 3, ..Scene::default() };
    let second = scene.begin_in(first.database().to_owned(), Some(&first)).await;
    assert!(second.plan.ddl.is_empty(), "green has this version already");
    second.until_phase(Phase::Ready).await;
    second.switch_to(Side::Green).await;
    for (tenant, story) in [(2, &first), (3, &second)] {
        run(&story.green, &format!("insert into accounts values ({tenant}, 7001, null, 1, 'x', 'x')")).await;
        story.settle().await;
        story.assert_equal().await;
    }
    first.switch_to(Side::Blue).await;
    first.abort().await;
    run(&second.green, "insert into moves values (3, 7001, 7001, 1)").await;
    second.settle().await;
    second.assert_equal().await;
}
