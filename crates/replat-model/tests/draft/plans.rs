//! What a plan says about columns and keys.

use replat_model::facts::{ColumnFacts, TypeKind};
use replat_model::ids::Side;
use replat_model::plan::{Compare, Reversibility};
use replat_model::spec::NewTable;

use crate::world::*;

#[test]
fn equal_schemas_are_planned_column_by_column_and_lose_nothing() {
    let plan = World::new().draft().expect("nothing in the way");
    let orders = planned(&plan, "orders");

    assert_eq!(plan.reversible, Reversibility::Lossless);
    assert_eq!(plan.hazards, []);
    assert_eq!((orders.rows, orders.bytes), (7, 700));
    assert_eq!(orders.key_on(Side::Green).collect::<Vec<_>>(), ["tenant_id", "id"]);
    assert!(orders.key.iter().all(|key| key.bytes_comparable && !key.collated));
    let forward: Vec<_> = orders.forward.iter().map(|c| (c.target.as_str(), c.expression.as_str())).collect();
    let want =
        [("tenant_id", "\"tenant_id\""), ("id", "\"id\""), ("note", "\"note\""), ("amount", "\"amount\"")];
    assert_eq!(forward, want);
    assert_eq!(orders.forward, orders.backward);
    assert_eq!(plan.references.len(), 1);
    assert_eq!(plan.sequences.len(), 1);
    assert_eq!(plan.sequences[0].max, i64::MAX);
}

#[test]
fn a_table_carries_the_partition_key_under_a_name_of_its_own() {
    let mut world = World::new();
    world.context().dimensions[0].column = "tenant".into();
    let said = world.context().tables.get_mut("orders").expect("orders");
    said.dimensions.insert("tenant".into(), "tenant_id".into());
    let plan = world.draft().expect("nothing in the way");
    assert_eq!(plan.dimensions[0].column, "tenant");
    assert_eq!(planned(&plan, "orders").dimensions["tenant"], "tenant_id");
    assert_eq!(plan.hazards, [], "its primary key holds the partition key, and says it with each change");
}

#[test]
fn a_copy_has_no_more_lanes_than_either_database_has_connections_for() {
    for (blue, green, lanes) in [(8, 8, 6), (20, 5, 3), (4, 20, 2), (1, 1, 1), (40, 40, 10)] {
        let mut world = World::new();
        world.spec.policy.copy_parallel = 10;
        let (from, to) = (world.ask.home.database.clone(), world.context().rollout.clone());
        let to = to.expect("a rollout").to.database;
        world.spec.databases.get_mut(&from).expect("blue").max_connections = blue;
        world.spec.databases.get_mut(&to).expect("green").max_connections = green;
        let plan = world.draft().expect("nothing in the way");
        assert_eq!(plan.policy.copy_parallel, lanes, "{blue} and {green}");
    }
}

#[test]
fn a_renamed_column_is_recognised_in_both_directions() {
    let mut world = World::new();
    column(orders(&mut world.green), "id").name = "order_id".into();
    column(orders(&mut world.green), "note").name = "remark".into();
    let green = orders(&mut world.green);
    green.primary_key = vec!["tenant_id".into(), "order_id".into()];
    green.indexes = vec![index("orders_pkey", &["order_id", "tenant_id"])];
    world.map("orders", "order_id", "ID", None);
    world.map("orders", "remark", "note", None);

    let plan = world.draft().expect("nothing in the way");
    let orders = planned(&plan, "orders");
    assert_eq!(target(&orders.forward, "order_id").expression, "\"id\"");
    assert_eq!(target(&orders.backward, "id").expression, "\"order_id\"");
    assert_eq!(target(&orders.backward, "note").expression, "\"remark\"");
    assert_eq!((orders.key[1].blue.as_str(), orders.key[1].green.as_str()), ("id", "order_id"));
    assert_eq!(plan.reversible, Reversibility::Lossless);
    assert_eq!(plan.sequences[0].green, "shop.orders_id_seq");
}

#[test]
fn a_renamed_table_is_found_under_its_new_name() {
    let mut world = World::new();
    orders(&mut world.green).name = "purchases".into();
    world
        .rollout()
        .tables
        .insert("purchases".into(), NewTable { from: Some("orders".into()), ..NewTable::default() });
    world.map("purchases", "note", "upper(note)", Some(("note", "lower(note)")));

    let plan = world.draft().expect("nothing in the way");
    let orders = planned(&plan, "orders");
    assert_eq!(orders.green.name, "purchases");
    assert_eq!(target(&orders.forward, "note").expression, "upper(note)");
}

#[test]
fn a_value_is_compared_as_it_is_stored() {
    let mut world = World::new();
    add_column(orders(&mut world.blue), "status", "text");
    let status = enumeration("status", "shop.order_status", &["new", "paid"]);
    add_column(orders(&mut world.green), "status", "text");
    *column(orders(&mut world.green), "status") = ColumnFacts { number: 5, ..status };
    world.map("orders", "amount", "amount / 3", Some(("amount", "amount * 3")));

    let plan = world.draft().expect("nothing in the way");
    let orders = planned(&plan, "orders");
    let of = |name: &str| target(&orders.forward, name);
    assert_eq!(of("amount").expression, "(amount / 3)::numeric(14,2)", "rounded as the column rounds");
    assert_eq!((of("amount").wire_type.as_str(), of("amount").compare), ("numeric", Compare::Text));
    assert_eq!((of("id").wire_type.as_str(), of("id").compare), ("bigint", Compare::Native));
    assert_eq!((of("status").wire_type.as_str(), of("status").compare), ("text", Compare::Text));
    assert_eq!(of("status").target_type, "shop.order_status");
    assert_eq!(orders.green.columns[4].stage_type, "text");
    assert_eq!(target(&orders.backward, "status").expression, "\"status\"", "an enum is text again");

    world.green.major = 16;
    let plan = world.draft().expect("nothing in the way");
    let native = planned(&plan, "orders").forward.iter().filter(|c| c.compare == Compare::Native);
    assert_eq!(native.count(), 0, "hashes of two major versions may differ");
}

#[test]
fn labels_that_green_lacks_need_an_expression() {
    let mut world = World::new();
    for (side, labels) in
        [(&mut world.blue, ["new", "paid", "void"].as_slice()), (&mut world.green, &["new", "paid"])]
    {
        let schema = side.schema.clone();
        add_column(orders(side), "status", "text");
        let status = enumeration("status", &format!("{schema}.order_status"), labels);
        *column(orders(side), "status") = ColumnFacts { number: 5, ..status };
    }
    assert_eq!(world.findings().len(), 1);
    column(orders(&mut world.green), "status").type_kind =
        TypeKind::Enum(["void", "paid", "new"].map(String::from).to_vec());
    assert_eq!(world.findings(), Vec::<String>::new());
}

#[test]
fn keys_of_text_are_collated_and_nondeterministic_ones_are_not_compared_as_bytes() {
    let mut world = World::new();
    world.both(|table| {
        let id = column(table, "id");
        (id.type_name, id.base_type, id.collated) = ("text".into(), Some("text".into()), true);
        (id.identity, id.sequence) = (None, None);
    });
    let key = |world: &World| planned(&world.draft().expect("nothing in the way"), "orders").key[1].clone();
    assert!(key(&world).collated && key(&world).bytes_comparable);
    column(orders(&mut world.green), "id").deterministic = false;
    assert!(!key(&world).bytes_comparable);
}
