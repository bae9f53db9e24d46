//! What differs between two surveys, in words.

use replat_model::draft::{changed, ddl_digest, schema_difference};
use replat_model::facts::{DatabaseFacts, ReplicaIdentity, TypeKind};
use replat_model::plan::DdlFile;

use crate::world::*;

#[test]
fn the_difference_of_two_schemas_is_one_line_each() {
    let mut world = World::new();
    let green = orders(&mut world.green);
    add_column(green, "amount_minor", "bigint");
    drop_column(green, "amount");
    column(green, "note").name = "remark".into();
    column(green, "id").identity = None;
    green.indexes.push(index("orders_remark", &["remark"]));
    world.green.relations.push("audit".into());
    world.map("orders", "amount_minor", "round(amount * 100)", Some(("amount", "amount_minor / 100.0")));
    world.map("orders", "remark", "note", None);

    let plan = world.draft().expect("nothing in the way");
    let want = [
        "~ orders.id bigint not null identity -> bigint not null",
        "~ orders.note -> orders.remark",
        "+ orders.amount_minor bigint",
        "- orders.amount numeric(14,2)",
        "+ orders index orders_remark unique btree (remark)",
        "+ audit",
    ];
    assert_eq!(schema_difference(&world.blue, &world.green, &plan), want);
    assert_eq!(
        schema_difference(&world.blue, &world.blue, &World::new().draft().expect("nothing in the way")),
        Vec::<String>::new()
    );
}

#[test]
fn a_stale_plan_says_what_changed_and_statistics_do_not_count() {
    let then = World::new().blue;
    let mut now = then.clone();
    (now.slots_used, now.senders_used, now.prepared_transactions) = (3, 3, 3);
    orders(&mut now).rows_estimate = 1_000_000;
    orders(&mut now).bytes = 1 << 40;
    assert_eq!(changed(&then, &now), Vec::<String>::new());

    add_column(orders(&mut now), "fee", "numeric");
    drop_column(orders(&mut now), "note");
    column(orders(&mut now), "amount").not_null = true;
    orders(&mut now).indexes.push(index("orders_fee", &["fee"]));
    orders(&mut now).replica_identity = ReplicaIdentity::Full;
    now.wal_level = "replica".into();
    now.tables.remove(0);
    let want = [
        "wal_level is replica, and was logical",
        "currencies is gone",
        "orders: column amount is now numeric(14,2) not null, and was numeric(14,2)",
        "orders got a column fee numeric",
        "orders got an index orders_fee unique btree (fee)",
        "orders: replica identity is now full, and was default",
        "orders lost its column note",
    ];
    assert_eq!(changed(&then, &now), want);
}

#[test]
fn facts_read_as_they_are_written() {
    let mut facts = World::new().green;
    orders(&mut facts).replica_identity = ReplicaIdentity::Index(vec!["id".into()]);
    column(orders(&mut facts), "note").type_kind = TypeKind::Enum(vec!["a".into()]);
    let text = serde_json::to_string(&facts).expect("facts are plain data");
    assert_eq!(serde_json::from_str::<DatabaseFacts>(&text).expect("as written"), facts);
}

#[test]
fn the_digest_of_ddl_is_that_of_its_text() {
    let file = |name: &str, text: &str| DdlFile { name: name.into(), text: text.into() };
    let one = ddl_digest(&[file("a.sql", "create table t ();")]);
    assert_eq!(one, ddl_digest(&[file("b.sql", "create table t ();")]));
    assert_ne!(one, ddl_digest(&[file("a.sql", "create table u ();")]));
    assert_eq!(one.len(), 64);
}
