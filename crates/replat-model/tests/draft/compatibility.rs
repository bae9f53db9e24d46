//! What code of one version can do on the schema of the other: one change of a sound world at a time.

use replat_model::compatibility::{Fitness, compatibility};
use replat_model::facts::{
    ConstraintFacts, DatabaseFacts, ForeignKeyFacts, Identity, ReferenceFacts, TypeKind,
};
use replat_model::spec::NewTable;

use crate::world::*;

fn told(fitness: &Fitness) -> Vec<String> {
    let line = |found: &replat_model::compatibility::Break| {
        let works: Vec<String> = found.works.iter().map(ToString::to_string).collect();
        assert!(!found.instead.is_empty(), "{found:?}");
        let column = found.column.as_deref().map(|column| format!(".{column}")).unwrap_or_default();
        format!("{}{column} {}: {}", found.table, works.join("+"), found.why)
    };
    fitness.breaks.iter().map(line).collect()
}

fn note(facts: &mut DatabaseFacts) -> &mut replat_model::facts::ColumnFacts {
    column(orders(facts), "note")
}

fn labels(w: &mut DatabaseFacts, labels: &[&str]) {
    let kind = note(w);
    kind.type_kind = TypeKind::Enum(labels.iter().map(|label| (*label).to_owned()).collect());
    kind.base_type = None;
    kind.type_name = "state".into();
}

#[test]
fn each_change_breaks_what_it_says_and_nothing_else() {
    type Change = fn(&mut World);
    // What changes; what breaks of old code on green; what breaks of new code on blue.
    let cases: &[(&str, Change, &[&str], &[&str])] = &[
        ("nothing", |_| {}, &[], &[]),
        (
            "a column is dropped",
            |w| drop_column(orders(&mut w.green), "note"),
            &["orders.note reads+inserts+updates: the column is not there"],
            &[],
        ),
        (
            "a column is added",
            |w| add_column(orders(&mut w.green), "colour", "text"),
            &[],
            &["orders.colour reads+inserts+updates: the column is not there"],
        ),
        (
            "a column is added that must have a value",
            |w| {
                add_column(orders(&mut w.green), "colour", "text");
                column(orders(&mut w.green), "colour").not_null = true;
                w.map("orders", "colour", "'red'", None);
            },
            &[
                "orders inserts: colour must have a value there, has no default, and the code does not know it",
            ],
            &["orders.colour reads+inserts+updates: the column is not there"],
        ),
        (
            "a column is added that has a default",
            |w| {
                add_column(orders(&mut w.green), "colour", "text");
                let colour = column(orders(&mut w.green), "colour");
                (colour.not_null, colour.default) = (true, Some("'red'::text".into()));
            },
            &[],
            &["orders.colour reads+inserts+updates: the column is not there"],
        ),
        (
            "a column is renamed",
            |w| {
                note(&mut w.green).name = "remark".into();
                w.map("orders", "remark", "note", Some(("note", "remark")));
            },
            &["orders.note reads+inserts+updates: the column is called remark there"],
            &["orders.remark reads+inserts+updates: the column is called note there"],
        ),
        (
            "a type becomes wider",
            |w| column(orders(&mut w.green), "amount").type_name = "numeric(20,2)".into(),
            &["orders.amount reads: it is numeric(20,2) and not numeric(14,2)"],
            &["orders.amount inserts+updates: it is numeric(14,2) and not numeric(20,2)"],
        ),
        (
            "a column takes no null any more",
            |w| note(&mut w.green).not_null = true,
            &["orders.note inserts+updates: it takes no null"],
            &[],
        ),
        (
            "a default goes",
            |w| {
                w.both(|table| column(table, "note").not_null = true);
                note(&mut w.blue).default = Some("''::text".into());
            },
            &["orders.note inserts: it has no default, and must not be null"],
            &[],
        ),
        (
            "a column becomes generated",
            |w| note(&mut w.green).generated = Some("upper('x')".into()),
            &["orders.note inserts+updates: it is generated, and takes no value"],
            &[],
        ),
        (
            "a label goes and another comes",
            |w| {
                labels(&mut w.blue, &["new", "old"]);
                labels(&mut w.green, &["new", "done"]);
                w.map("orders", "note", "note", Some(("note", "note")));
            },
            &["orders.note reads+inserts+updates: it does not take old"],
            &["orders.note reads+inserts+updates: it does not take done"],
        ),
        (
            "a label comes",
            |w| {
                labels(&mut w.blue, &["new"]);
                labels(&mut w.green, &["new", "done"]);
                w.map("orders", "note", "note", Some(("note", "note")));
            },
            &["orders.note reads: it may be done, which the code does not know"],
            &["orders.note inserts+updates: it does not take done"],
        ),
        (
            "a text becomes a label",
            |w| labels(&mut w.green, &["new"]),
            &["orders.note inserts+updates: it is state and not text"],
            &["orders.note reads: it is text and not state"],
        ),
        (
            "a CHECK comes",
            |w| {
                let definition = "CHECK ((amount > 0))".to_owned();
                orders(&mut w.green).constraints.push(ConstraintFacts { name: "paid".into(), definition });
            },
            &["orders inserts+updates: rows must satisfy paid there: CHECK ((amount > 0))"],
            &[],
        ),
        (
            "a CHECK is the same in another schema",
            |w| {
                let check = |schema: &str| ConstraintFacts {
                    name: "paid".into(),
                    definition: format!("CHECK ({schema}.is_paid(amount))"),
                };
                orders(&mut w.blue).constraints.push(check("public"));
                orders(&mut w.green).constraints.push(check("shop"));
            },
            &[],
            &[],
        ),
        (
            "a unique index comes",
            |w| orders(&mut w.green).indexes.push(index("once", &["tenant_id", "note"])),
            &["orders inserts+updates: no two rows may have the same (tenant_id, note) there"],
            &[],
        ),
        (
            "a unique index over more columns comes",
            |w| orders(&mut w.green).indexes.push(index("more", &["tenant_id", "id", "note"])),
            &[],
            &[],
        ),
        (
            "a foreign key comes",
            |w| {
                orders(&mut w.green).foreign_keys.push(ForeignKeyFacts {
                    name: "in_currency".into(),
                    columns: vec!["note".into()],
                    ref_schema: "shop".into(),
                    ref_table: "currencies".into(),
                    ref_columns: vec!["code".into()],
                    on_delete_cascade: false,
                    on_update_cascade: false,
                });
            },
            &["orders inserts+updates: (note) must refer to a row of currencies there"],
            &[],
        ),
        (
            "others refer to it",
            |w| {
                let key = ReferenceFacts { name: "of".into(), schema: "shop".into(), table: "lines".into() };
                orders(&mut w.green).referenced_by.push(key);
            },
            &["orders updates+deletes: rows of lines may refer to a row there, by of"],
            &[],
        ),
        (
            "row level security comes",
            |w| orders(&mut w.green).row_security = true,
            &[
                "orders reads+inserts+updates+deletes: row level security may hide rows there, and refuse them",
            ],
            &[],
        ),
        (
            "a table is renamed",
            |w| {
                orders(&mut w.green).name = "purchases".into();
                w.green
                    .relations
                    .iter_mut()
                    .filter(|name| *name == "orders")
                    .for_each(|name| *name = "purchases".into());
                w.rollout().tables.insert(
                    "purchases".into(),
                    NewTable { from: Some("orders".into()), ..NewTable::default() },
                );
            },
            &["orders reads+inserts+updates+deletes: the table is called purchases there"],
            &["purchases reads+inserts+updates+deletes: the table is called orders there"],
        ),
        (
            "an id is given by the server alone on blue",
            |w| column(orders(&mut w.blue), "id").identity = Some(Identity::Always),
            &[],
            &["orders.id inserts+updates: it numbers itself, and takes no value"],
        ),
    ];
    for (case, change, old_on_new, new_on_old) in cases {
        let mut w = World::new();
        change(&mut w);
        let examined = replat_model::draft::examine(&w.spec, &w.ask, &w.blue, &w.green).expect("a rollout");
        let found = compatibility(&w.blue, &w.green, &examined.plan);
        assert_eq!(told(&found.old_on_new), *old_on_new, "{case}: old code on green");
        assert_eq!(told(&found.new_on_old), *new_on_old, "{case}: new code on blue");
    }
}

#[test]
fn a_kind_of_statement_runs_unless_something_breaks_it() {
    let mut w = World::new();
    note(&mut w.green).not_null = true;
    let plan = w.draft().expect("a plan");
    let found = compatibility(&w.blue, &w.green, &plan);
    assert_eq!(found.old_on_new.summary(), "reads yes, inserts no, updates no, deletes yes");
    assert_eq!(found.new_on_old.summary(), "reads yes, inserts yes, updates yes, deletes yes");
}
