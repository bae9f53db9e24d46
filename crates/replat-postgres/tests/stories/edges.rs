//! Foreign keys that lead across a partition's edge, and tables beside the context that need its indexes.

use replat_engine::EngineError;
use replat_model::deploy::{Event, Phase};
use replat_model::ids::Side;
use replat_postgres::survey::{crossings, crossings_within};

use crate::harness::{Scene, one_table, run, value};

const TREE: &str = "
    create table nodes (id bigint primary key, tenant_id bigint not null, parent bigint references nodes, said text,
                        unique (tenant_id, id));
    alter table nodes replica identity using index nodes_tenant_id_id_key;
";

#[tokio::test]
async fn a_copy_that_a_row_outside_refers_to_is_not_dropped_under_it() {
    let outside =
        "create table outside (id bigint primary key, node bigint references nodes on delete cascade);";
    let scene = Scene {
        blue: format!("{TREE} {outside}"),
        ddl: TREE.into(),
        policy: "retain = '0s'",
        ..one_table(
            "nodes",
            TREE,
            "insert into nodes values (1, 1, null), (2, 2, null), (3, 2, 2); insert into outside values (7, 3)",
        )
    };
    let story = scene.begin().await;
    story.until_phase(Phase::Ready).await;
    let found = crossings(&story.blue, &story.plan).await.expect("the catalogue");
    let said: Vec<_> = found.iter().map(|c| (c.key.as_str(), c.leaves, c.example.as_str())).collect();
    assert_eq!(said, [("outside_node_fkey", false, "3")]);
    story.switch_to(Side::Green).await;
    story.say(&Event::FinishAsked { why: "the story goes so".into() });
    let EngineError::Precondition { what, .. } = story.until_failed().await else {
        panic!("the copy is not to be dropped")
    };
    assert_eq!(
        what,
        "the row of public.outside with node = 3 refers to the retired copy in public.nodes (foreign key \
         outside_node_fkey), which is kept"
    );
    assert_eq!(value(&story.blue, "select count(*) from nodes where tenant_id = 2").await, "2");
    run(&story.blue, "delete from outside").await;
    story.run_until("the copy's end", |d, _| d.dropped).await;
    assert_eq!(value(&story.blue, "select count(*) from nodes where tenant_id = 2").await, "0");
}

#[tokio::test]
async fn references_between_partitions_are_found_both_ways_with_an_example() {
    // Tenant 2 refers to a node of tenant 1, and tenant 3 to one of tenant 2.
    let rows = "insert into nodes values (1, 1, null), (2, 2, 1), (3, 3, 2), (4, 2, 2)";
    let scene = Scene { ddl: TREE.replace(" references nodes", ""), ..one_table("nodes", TREE, rows) };
    let story = scene.begin().await;
    let found = crossings(&story.blue, &story.plan).await.expect("the catalogue");
    let said: Vec<_> = found.iter().map(|c| (c.leaves, c.example.as_str())).collect();
    assert_eq!(said, [(true, "1"), (false, "2")]);
}

#[tokio::test]
async fn planning_does_not_wait_for_a_look_at_rows_that_takes_too_long() {
    let rows = "insert into nodes values (1, 1, null), (2, 2, 1), (3, 3, 2), (4, 2, 2)";
    let scene = Scene { ddl: TREE.replace(" references nodes", ""), ..one_table("nodes", TREE, rows) };
    let story = scene.begin().await;
    // Whoever has the table to itself keeps the look waiting.
    run(&story.blue, "begin; lock table nodes").await;
    let other = story.session(Side::Blue).await;
    let patience = std::time::Duration::from_millis(50);
    let edge = crossings_within(&other, &story.plan, patience).await.expect("that it took too long");
    assert_eq!((edge.found.len(), edge.unsettled.as_slice()), (0, &["nodes_parent_fkey".to_owned()][..]));
    run(&story.blue, "rollback").await;
    let edge = crossings_within(&other, &story.plan, std::time::Duration::from_secs(60)).await.expect("rows");
    assert_eq!((edge.found.len(), edge.unsettled.len()), (2, 0));
}

#[tokio::test]
async fn an_index_that_a_table_beside_the_context_needs_stays_where_it_is() {
    let tables = "
        create table names (tenant_id bigint not null, id bigint not null, name text not null unique, said text,
                            primary key (tenant_id, id));
        create table beside (id bigint primary key, name text references names (name));
    ";
    let rows = "insert into names select n % 3, n, 'name ' || n from generate_series(1, 60) n";
    let story = one_table("names", tables, rows).begin().await;
    story.until_phase(Phase::Ready).await;
    story.switch_to(Side::Green).await;
    story.assert_equal().await;
    run(&story.green, "insert into beside values (1, 'name 2')").await;
}

#[tokio::test]
async fn the_foreign_key_of_a_leaf_is_one_of_its_table() {
    let tables = "
        create table nodes (id bigint, tenant_id bigint not null, parent bigint, primary key (tenant_id, id)) \
          partition by list (tenant_id);
        create table nodes_two partition of nodes for values in (2);
        create table nodes_rest partition of nodes default;
        create table roots (id bigint primary key, tenant_id bigint not null, unique (id, tenant_id));
        alter table roots replica identity using index roots_id_tenant_id_key;
        alter table nodes_two add constraint to_root foreign key (parent) references roots;
        alter table nodes_rest add constraint to_root foreign key (parent) references roots;
    ";
    let scene = Scene {
        slices: vec!["nodes", "roots"],
        ddl: tables.replace("foreign key (parent) references roots", "check (true)"),
        ..one_table(
            "nodes",
            tables,
            "insert into roots values (1, 1), (2, 2); insert into nodes values (1, 1, 2), (2, 2, 1), (3, 2, 2)",
        )
    };
    let story = scene.begin().await;
    let found = crossings(&story.blue, &story.plan).await.expect("the catalogue");
    let said: Vec<_> = found.iter().map(|c| (c.child.as_str(), c.leaves, c.example.as_str())).collect();
    assert_eq!(said, [("public.nodes", true, "1"), ("public.nodes", false, "2")]);
    let into: Vec<_> = story.plan.hazards.iter().map(|hazard| hazard.name.code()).collect();
    assert!(!into.contains(&"FK_INTO") && !into.contains(&"FK_OUTSIDE"), "{:?}", story.plan.hazards);
}
