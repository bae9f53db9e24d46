//! What is no obstacle but should be known.

use replat_model::facts::{ForeignKeyFacts, ReferenceFacts, TriggerEnabled, TriggerFacts};

use crate::world::*;

#[test]
fn what_a_person_should_know_is_a_hazard() {
    let trigger = |enabled| TriggerFacts { name: "audit".into(), enabled, definition: "…".into() };
    let out = ForeignKeyFacts {
        name: "fk".into(),
        columns: vec!["note".into()],
        ref_schema: "public".into(),
        ref_table: "people".into(),
        ref_columns: vec!["id".into()],
        on_delete_cascade: false,
        on_update_cascade: false,
    };
    let into = ReferenceFacts { name: "fk".into(), schema: "public".into(), table: "invoices".into() };
    type Row = (&'static str, Box<dyn Fn(&mut World)>, &'static [&'static str]);
    let inside = ForeignKeyFacts { ref_table: "currencies".into(), on_delete_cascade: true, ..out.clone() };
    let rows: Vec<Row> = vec![
        ("none", Box::new(|_| {}), &[]),
        (
            "a key among the tables",
            Box::new(move |w| orders(&mut w.blue).foreign_keys.push(inside.clone())),
            &[],
        ),
        (
            "a key to elsewhere",
            Box::new(move |w| orders(&mut w.blue).foreign_keys.push(out.clone())),
            &["FK_OUTSIDE!: blue.orders: foreign key fk points at public.people, which does not move"],
        ),
        (
            "a key from elsewhere",
            Box::new(move |w| orders(&mut w.blue).referenced_by.push(into.clone())),
            &["FK_INTO!: blue.orders: foreign key fk of public.invoices points at rows that move"],
        ),
        (
            "prepared transactions",
            Box::new(|w| w.blue.prepared_transactions = 2),
            &[
                "PREPARED_TRANSACTIONS: 2 prepared transactions on pg_a wait for their second phase; nothing begins before they end",
            ],
        ),
        (
            "triggers that stay silent",
            Box::new(move |w| orders(&mut w.green).triggers.push(trigger(TriggerEnabled::Origin))),
            &["TRIGGERS: green.orders: audit do not fire for rows that replat writes"],
        ),
        (
            "triggers that fire",
            Box::new(move |w| orders(&mut w.green).triggers.push(trigger(TriggerEnabled::Always))),
            &["TRIGGERS_FIRE!: green.orders: audit fire for rows that replat writes, too"],
        ),
        (
            "a subscription",
            Box::new(|w| orders(&mut w.blue).subscribed = true),
            &["SUBSCRIBED!: blue.orders: a subscription writes to it, past ordinary triggers"],
        ),
        (
            "row level security that goes",
            Box::new(|w| orders(&mut w.blue).row_security = true),
            &["ROW_SECURITY_GONE!: blue.orders has row level security, and green.orders has none"],
        ),
        (
            "large objects",
            Box::new(|w| w.both(|table| add_column(table, "scan", "oid"))),
            &["LARGE_OBJECTS!: blue.orders.scan may name large objects, which do not move"],
        ),
        (
            "stricter on green",
            Box::new(|w| column(orders(&mut w.green), "note").not_null = true),
            &[
                "NOT_NULL: blue.orders.note becomes green.orders.note, and blue takes null where green does not; such a row is kept back",
            ],
        ),
        (
            "no sequence on blue",
            Box::new(|w| column(orders(&mut w.blue), "id").sequence = None),
            &["SEQUENCE_NEW: green.orders.id numbers its rows from the start"],
        ),
        (
            "little room for ids",
            Box::new(|w| w.spec.policy.sequence_room = 1 << 62),
            &[
                "SEQUENCE_ROOM: orders.id holds numbers up to 9223372036854775807, and each switch leaves 4611686018427387904 of them free (policy.sequence_room)",
            ],
        ),
        (
            "a derived value",
            Box::new(|w| {
                add_column(orders(&mut w.green), "short", "text");
                w.map("orders", "short", "left(note, 3)", None);
            }),
            &[
                "DERIVED_ONLY: a value that green's application itself writes to green.orders.short is not carried back",
            ],
        ),
    ];
    for (case, change, want) in rows {
        let mut world = World::new();
        change(&mut world);
        assert_eq!(world.hazards(), want, "{case}");
    }
}
