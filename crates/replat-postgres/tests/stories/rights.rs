//! Managed services have no superuser: a role with what is granted to it does a whole deployment, and each right that
//! it lacks is named before anything begins.

use replat_engine::EngineError;
use replat_model::deploy::Phase;
use replat_model::draft::Finding;
use replat_model::ids::Side;
use replat_model::plan::Plan;
use replat_model::preflight::Check;

use crate::harness::{SHOP, SHOP_ROWS, Scene, one_table, run, value};

/// Makes the role `{role}` and gives it what a deployment needs, but for what begins with `without`. Roles belong to
/// the whole server, so each story has its own.
fn rights(role: &str, schema: &str, without: &str) -> String {
    let database =
        "do $$ begin execute format('grant create on database %I to {role}', current_database()); end $$";
    // Two that grant at once trip over each other, and their databases have no lock in common.
    let parameter = "do $$ begin while current_setting('server_version_num')::int >= 150000 loop \
                       begin execute 'grant set on parameter session_replication_role to {role}'; exit; \
                       exception when unique_violation or internal_error then end; \
                     end loop; end $$";
    let membership = "do $$ begin execute 'grant {role}_owner to {role}' || case when \
                        current_setting('server_version_num')::int >= 160000 then ' with inherit true' else '' end; \
                      end $$";
    let all = [
        ("REPLICATION", "alter role {role} replication"),
        ("CREATE", database),
        ("OWNER", membership),
        ("SET", parameter),
    ];
    let granted = all.iter().filter(|(name, _)| *name != without).map(|(_, sql)| format!("{sql};"));
    let granted: String = granted.collect();
    format!(
        "create role {{role}} login nosuperuser; create role {{role}}_owner nologin; {granted} \
         do $$ declare t record; begin for t in select format('%I.%I', schemaname, tablename) as name from pg_tables \
           where schemaname = '{schema}' loop execute format('alter table %s owner to {{role}}_owner', t.name); end loop; \
         end $$"
    )
    .replace("{role}", role)
}

/// The shop, moved by a role that lacks a right on blue and one on green; an empty word for none.
fn shop(role: &'static str, lacks_on_blue: &str, lacks_on_green: &str) -> Scene {
    Scene {
        rows: format!("{SHOP_ROWS}; {}", rights(role, "public", lacks_on_blue)),
        green_before: rights(role, "shop", lacks_on_green),
        role,
        ..Scene::default()
    }
}

/// Writes of an application that has rights on the tables, and none on replat's own schema.
const WRITES: &str = "
    insert into accounts select 2, n, 'w' || n, n, 'written', repeat(md5(n::text), 200)
      from generate_series(5000, 5040) n;
    insert into moves select 2, n, n, 1 from generate_series(5000, 5040) n;
    update accounts set note = 'changed' where tenant_id = 2 and id % 7 = 0;
    delete from moves where tenant_id = 2 and id % 11 = 0";

async fn there_and_back(scene: Scene) {
    let story = scene.begin().await;
    story.until_phase(Phase::Copy).await;
    run(&story.blue, WRITES).await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    story.assert_equal().await;
    story.switch_to(Side::Green).await;
    run(&story.green, "update accounts set note = 'on green' where tenant_id = 2 and id < 50").await;
    run(&story.green, "insert into moves values (2, 9001, 1, 2)").await;
    story.settle().await;
    story.assert_equal().await;
    story.switch_to(Side::Blue).await;
    assert_eq!(value(&story.blue, "select count(*) from moves where id = 9001").await, "1");
    story.assert_equal().await;
    story.abort().await;
    run(&story.blue, "update currencies set name = 'x'").await;
}

/// What must be allowed of a plan that could be drafted.
fn must_allow(plan: &Plan) -> Vec<Check> {
    plan.hazards.iter().filter(|hazard| hazard.must_allow).map(|hazard| hazard.name).collect()
}

#[tokio::test]
async fn a_role_with_what_is_granted_to_it_goes_there_and_back() {
    there_and_back(shop("mover_whole", "", "")).await;
}

/// Without session_replication_role, foreign keys act on what replat writes: rows of a child must never come before
/// those of its parent, whichever name comes first in the alphabet.
#[tokio::test]
async fn foreign_keys_that_act_are_no_obstacle() {
    let tables =
        "create table harbours (tenant_id bigint, id bigint, name text, primary key (tenant_id, id));
        create table boats (tenant_id bigint, id bigint, harbour bigint not null, primary key (tenant_id, id),
          foreign key (tenant_id, harbour) references harbours);";
    let rows = "insert into harbours select 2, n, 'h' || n from generate_series(1, 300) n;
        insert into boats select 2, n, 1 + n % 300 from generate_series(1, 900) n";
    let role = "mover_14";
    let story = Scene {
        rows: format!("{rows}; {}", rights(role, "public", "SET")),
        green_before: rights(role, "shop", "SET"),
        role,
        ..one_table("boats", tables, "")
    };
    let story = Scene { slices: vec!["boats", "harbours"], ..story }.begin().await;
    assert!(must_allow(&story.plan).contains(&Check::TriggersFire), "{:?}", story.plan.hazards);
    story.until_phase(Phase::Copy).await;
    let written = |from: i64| {
        format!(
            "begin; insert into harbours select 2, n, 'new' from generate_series({from}, {from} + 40) n;
             insert into boats select 2, n, n from generate_series({from}, {from} + 40) n; commit;
             update boats set harbour = {from} where tenant_id = 2 and id % 5 = 0;
             begin; delete from boats where tenant_id = 2 and harbour = 7;
             delete from harbours where tenant_id = 2 and id = 7; commit;
             begin; insert into harbours values (2, 7, 'again'); insert into boats values (2, {from} + 100, 7); commit"
        )
    };
    run(&story.blue, &written(5_000)).await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    story.assert_equal().await;
    story.switch_to(Side::Green).await;
    run(&story.green, &written(6_000)).await;
    story.settle().await;
    story.assert_equal().await;
    story.switch_to(Side::Blue).await;
    story.assert_equal().await;
    story.abort().await;
}

#[tokio::test]
async fn each_right_that_is_lacking_is_named_before_anything_begins() {
    let refused = |drafted: Result<Result<Plan, Vec<Finding>>, EngineError>| match drafted {
        Ok(Err(findings)) => findings.iter().map(|f| format!("{}: {}", f.code, f.remedy)).collect::<Vec<_>>(),
        Ok(Ok(plan)) => must_allow(&plan).iter().map(|check| check.code().to_owned()).collect(),
        Err(EngineError::Precondition { what, remedy }) => vec![format!("{what} {remedy}")],
        Err(error) => panic!("{error:?}"),
    };
    let cases: [(Scene, &str); 7] = [
        (shop("lacks_1", "REPLICATION", ""), "PRIVILEGE: ALTER ROLE \"lacks_1\" REPLICATION;"),
        (shop("lacks_2", "", "REPLICATION"), "PRIVILEGE: ALTER ROLE \"lacks_2\" REPLICATION;"),
        (shop("lacks_3", "CREATE", ""), "PRIVILEGE: GRANT CREATE ON DATABASE \"story_"),
        (shop("lacks_4", "", "CREATE"), "PRIVILEGE: replat's role may not make the schema shop on green"),
        (shop("lacks_5", "OWNER", ""), "NOT_OWNER: GRANT \"lacks_5_owner\" TO \"lacks_5\""),
        (
            Scene {
                ddl: String::new(),
                green_before: format!(
                    "create schema shop; grant usage on schema shop to public; set search_path = shop; {SHOP}; {}",
                    rights("lacks_6", "shop", "OWNER")
                ),
                ..shop("lacks_6", "", "")
            },
            "NOT_OWNER: GRANT \"lacks_6_owner\" TO \"lacks_6\"",
        ),
        (shop("lacks_7", "SET", ""), "TRIGGERS_FIRE"),
    ];
    for (scene, wanted) in cases {
        let role = scene.role;
        let said = refused(scene.drafted().await);
        assert!(said.iter().any(|line| line.starts_with(wanted)), "{role}: {said:#?}");
    }
}
