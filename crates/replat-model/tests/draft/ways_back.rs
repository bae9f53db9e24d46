//! What a rollback keeps.

use replat_model::facts::ReplicaIdentity;
use replat_model::plan::Reversibility;
use replat_model::spec::Reversible;

use crate::world::*;

#[test]
fn a_column_of_the_same_name_goes_back_only_if_it_still_means_the_same() {
    let mut world = World::new();
    world.map("orders", "amount", "amount * 100", None);
    let plan = world.draft().expect("lossy is no obstacle");
    let lost = "blue.orders.amount is not kept up to date while green is home; its old value stays";
    assert_eq!(plan.reversible, Reversibility::Lossy(vec![lost.into()]));
    assert!(planned(&plan, "orders").backward.iter().all(|column| column.target != "amount"));
}

#[test]
fn the_way_back_says_what_it_loses_and_what_it_lacks() {
    type Row = (&'static str, fn(&mut World), Reversibility);
    let lossy = |why: &[&str]| Reversibility::Lossy(why.iter().map(|w| (*w).into()).collect());
    let no = |why: &[&str]| Reversibility::No(why.iter().map(|w| (*w).into()).collect());
    let rows: [Row; 6] = [
        ("equal", |_| {}, Reversibility::Lossless),
        (
            "dropped on green",
            |w| drop_column(orders(&mut w.green), "note"),
            lossy(&["blue.orders.note is not kept up to date while green is home; its old value stays"]),
        ),
        (
            "dropped on green, never null on blue",
            |w| {
                drop_column(orders(&mut w.green), "note");
                column(orders(&mut w.blue), "note").not_null = true;
            },
            no(&["blue.orders.note must not be null and has no `down`"]),
        ),
        (
            "new on green",
            |w| add_column(orders(&mut w.green), "nick", "text"),
            lossy(&["green.orders.nick exists on green only; a rollback leaves its values behind"]),
        ),
        (
            "wider on green",
            |w| column(orders(&mut w.green), "amount").type_name = "numeric".into(),
            lossy(&["blue.orders.amount is not kept up to date while green is home (numeric cannot become \
                     numeric(14,2) without a `down`); its old value stays"]),
        ),
        (
            "read by a way back",
            |w| {
                add_column(orders(&mut w.green), "nick", "integer");
                w.map("orders", "amount", "amount", Some(("amount", "amount + nick")));
            },
            Reversibility::Lossless,
        ),
    ];
    for (case, change, want) in rows {
        let mut world = World::new();
        orders(&mut world.green).replica_identity = ReplicaIdentity::Full;
        change(&mut world);
        let plan = world.draft().expect(case);
        assert_eq!(plan.reversible, want, "{case}");
        let names: Vec<_> = plan.hazards.iter().map(|h| (h.name.code(), h.must_allow)).collect();
        match want {
            Reversibility::No(_) => {
                assert!(names.contains(&("IRREVERSIBLE", true)), "{case}");
                assert!(plan.tables.iter().all(|table| table.backward.is_empty()), "{case}");
            }
            Reversibility::Lossy(_) => assert!(names.contains(&("LOSSY_ROLLBACK", true)), "{case}"),
            Reversibility::Lossless => assert_eq!(names, [], "{case}"),
        }
    }
}

#[test]
fn a_loss_must_be_allowed_only_where_a_way_back_is_required() {
    for (wanted, must_allow) in
        [(Reversible::Required, true), (Reversible::Preferred, false), (Reversible::AcceptLossy, false)]
    {
        let mut world = World::new();
        drop_column(orders(&mut world.green), "note");
        world.rollout().reversible = wanted;
        let plan = world.draft().expect("lossy is no obstacle");
        assert_eq!(plan.hazards[0].must_allow, must_allow, "{wanted:?}");
    }
}

#[test]
fn a_loss_in_a_reference_table_is_none() {
    let mut world = World::new();
    drop_column(&mut world.green.tables[0], "name");
    assert_eq!(world.draft().expect("nothing in the way").reversible, Reversibility::Lossless);
}
