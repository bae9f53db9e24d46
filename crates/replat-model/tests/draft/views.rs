//! When green's tables can be views of blue's, and why not: each in a world that differs in one thing from one where they
//! can.

use replat_model::draft::Beside;
use replat_model::facts::{
    ConstraintFacts, ForeignKeyFacts, Identity, SequenceFacts, TableKind, TableName, TriggerEnabled,
    TriggerFacts, TypeKind,
};
use replat_model::plan::{AddedColumn, Path, ViewPlan};
use replat_model::preflight::Check;
use replat_model::spec::{NewTable, PathWish, TableMode};

use crate::world::*;

fn beside() -> World {
    let mut world = World::new();
    world.beside();
    world
}

fn views(world: &World) -> Vec<ViewPlan> {
    match world.draft().expect("nothing in the way").path {
        Path::Views { views } => views,
        Path::Copy { because } => panic!("copied: {because:?}"),
    }
}

fn trigger(definition: &str) -> TriggerFacts {
    TriggerFacts { name: "audit".into(), enabled: TriggerEnabled::Origin, definition: definition.into() }
}

#[test]
fn what_is_the_same_but_for_names_and_new_columns_is_a_view() {
    let mut world = beside();
    let green = orders(&mut world.green);
    green.name = "purchases".into();
    column(green, "note").name = "remark".into();
    green
        .constraints
        .push(ConstraintFacts { name: "c".into(), definition: "CHECK ((remark <> ''::text))".into() });
    green.triggers.push(trigger(
        "CREATE TRIGGER audit BEFORE UPDATE OF remark ON shop.purchases EXECUTE FUNCTION a.log()",
    ));
    add_column(green, "kind", "text");
    column(green, "kind").default = Some("'plain'::text".into());
    column(green, "kind").not_null = true;
    column(green, "amount").default = Some("0".into());
    green
        .indexes
        .push(replat_model::facts::IndexFacts { unique: false, ..index("purchases_kind", &["kind"]) });
    let blue = orders(&mut world.blue);
    blue.constraints
        .push(ConstraintFacts { name: "b".into(), definition: "CHECK ((note <> ''::text))".into() });
    blue.triggers.push(trigger(
        "CREATE TRIGGER audit BEFORE UPDATE OF note ON public.orders EXECUTE FUNCTION a.log()",
    ));
    world
        .rollout()
        .tables
        .insert("purchases".into(), NewTable { from: Some("orders".into()), ..NewTable::default() });
    world.map("purchases", "remark", "note", Some(("note", "remark")));
    drop_column(orders(&mut world.blue), "nothing");
    add_column(orders(&mut world.blue), "old", "text");

    let views = views(&world);
    let view = views.iter().find(|view| view.table == "orders").expect("a view");
    assert_eq!(view.stands_for.name, "purchases");
    let columns: Vec<_> =
        view.columns.iter().map(|c| (c.name.as_str(), c.of.as_str(), c.default.as_deref())).collect();
    let want = [
        ("tenant_id", "tenant_id", None),
        ("id", "id", None),
        ("remark", "note", None),
        ("amount", "amount", Some("0")),
        ("kind", "kind", None),
    ];
    assert_eq!(columns, want);
    let added =
        AddedColumn { type_name: "text".into(), default: Some("'plain'::text".into()), not_null: true };
    assert_eq!(view.columns[4].added, Some(added));
    let hazards = world.hazards();
    assert_eq!(hazards.len(), 4, "{hazards:?}");
    assert!(hazards.iter().all(|said| said.starts_with("ROWS_SHARED!: ")), "{hazards:?}");
    assert!(hazards[3].contains("purchases_kind"), "{hazards:?}");
}

#[test]
fn a_spec_that_asks_for_views_has_allowed_them() {
    let mut world = beside();
    world.rollout().path = PathWish::Views;
    let hazards = world.hazards();
    assert!(hazards.iter().all(|said| said.starts_with("ROWS_SHARED: ")), "{hazards:?}");
    // What the spec says of tables and columns that are not there is no less wrong.
    world.map("ordres", "note", "note", None);
    assert!(world.findings()[0].starts_with("UNKNOWN_TABLE ordres"), "{:?}", world.findings());
}

/// What is changed, and the reason that is given.
type Case = (&'static str, fn(&mut World), &'static str);

const CASES: &[Case] = &[
    ("two databases", |w| w.ask.beside = None, "not in one database"),
    (
        "tied",
        |w| w.ask.beside = Some(Beside { tied: Some("view v depends on it".into()) }),
        "view v depends on it",
    ),
    ("tables there", |w| w.ask.ddl.clear(), "is there already on green"),
    ("no right", |w| w.green.can_create = false, "may not create schemas"),
    (
        "free sequence",
        |w| {
            let sequence =
                SequenceFacts { name: "tickets".into(), qualified: "shop.tickets".into(), max: i64::MAX };
            w.green.free_sequences.push(sequence);
        },
        "tickets is a sequence of green's own",
    ),
    ("no table", |w| w.add_table("ordres", TableMode::Slice), "ordres is not on both sides"),
    ("view on blue", |w| orders(&mut w.blue).kind = TableKind::View, "is no table on blue"),
    ("leaf", |w| orders(&mut w.blue).partition_root = Some("all".into()), "a part of another table"),
    ("inherits", |w| orders(&mut w.blue).inherits = true, "a part of another table"),
    ("partitioned", |w| orders(&mut w.green).kind = TableKind::Partitioned, "partitioned on one side only"),
    ("unlogged", |w| orders(&mut w.green).unlogged = true, "logged on one side only"),
    ("policies", |w| w.both(|table| table.row_security = true), "row level security"),
    ("expression", |w| w.map("orders", "note", "upper(note)", None), "cannot be written through a view"),
    ("old server", |w| (w.blue.major, w.green.major) = (13, 13), "PostgreSQL 13"),
    (
        "unknown column",
        |w| w.map("orders", "nots", "note", None),
        "orders.nots is in rollout.map, and not on green",
    ),
    (
        "down",
        |w| w.map("orders", "note", "note", Some(("note", "lower(note)"))),
        "a `down` that makes another value",
    ),
    (
        "retyped",
        |w| column(orders(&mut w.green), "amount").type_name = "numeric(20,2)".into(),
        "numeric(14,2) on blue",
    ),
    ("null", |w| column(orders(&mut w.green), "note").not_null = true, "another say about null"),
    (
        "identity",
        |w| column(orders(&mut w.green), "id").identity = Some(Identity::Always),
        "another identity",
    ),
    ("collation", |w| column(orders(&mut w.green), "note").deterministic = false, "another collation"),
    (
        "default gone",
        |w| column(orders(&mut w.blue), "note").default = Some("'x'::text".into()),
        "a default on blue only",
    ),
    (
        "other numbers",
        |w| column(orders(&mut w.green), "amount").default = Some("nextval('s'::regclass)".into()),
        "numbers from another sequence",
    ),
    (
        "generated",
        |w| column(orders(&mut w.green), "note").generated = Some("1".into()),
        "way of being generated",
    ),
    (
        "generated otherwise",
        |w| {
            column(orders(&mut w.green), "note").generated = Some("(amount)::text".into());
            column(orders(&mut w.blue), "note").generated = Some("(id)::text".into());
        },
        "generated in another way",
    ),
    (
        "two of one",
        |w| {
            add_column(orders(&mut w.green), "copy", "text");
            w.map("orders", "copy", "note", None);
        },
        "another column of green, too",
    ),
    (
        "new and worked out",
        |w| {
            add_column(orders(&mut w.green), "at", "timestamp");
            column(orders(&mut w.green), "at").default = Some("now()".into());
        },
        "its default is no constant",
    ),
    (
        "new and not null",
        |w| {
            add_column(orders(&mut w.green), "at", "text");
            column(orders(&mut w.green), "at").not_null = true;
        },
        "must not be null and has no default",
    ),
    (
        "new and generated",
        |w| {
            add_column(orders(&mut w.green), "twice", "numeric");
            column(orders(&mut w.green), "twice").generated = Some("(amount * 2)".into());
        },
        "is new and makes its own values",
    ),
    (
        "new type",
        |w| {
            add_column(orders(&mut w.green), "mood", "shop.mood");
            column(orders(&mut w.green), "mood").type_kind = TypeKind::Enum(vec!["glad".into()]);
        },
        "of a type of its own",
    ),
    (
        "new, and blue is another's",
        |w| {
            add_column(orders(&mut w.green), "kind", "text");
            orders(&mut w.blue).owned = false;
        },
        "may not add columns",
    ),
    (
        "new, and blue is a view",
        |w| {
            add_column(orders(&mut w.green), "kind", "text");
            orders(&mut w.blue).kind = TableKind::View;
            orders(&mut w.blue).view_of = Some(TableName { schema: "old".into(), name: "orders".into() });
        },
        "blue's table is a view itself",
    ),
    (
        "dropped and needed",
        |w| {
            column(orders(&mut w.blue), "note").not_null = true;
            drop_column(orders(&mut w.green), "note");
        },
        "the new version does not know it",
    ),
    (
        "unique on green",
        |w| orders(&mut w.green).indexes.push(index("once", &["note"])),
        "the unique once on green only",
    ),
    (
        "unique on blue",
        |w| orders(&mut w.blue).indexes.push(index("once", &["note"])),
        "the unique once on blue only",
    ),
    (
        "check",
        |w| {
            let check =
                ConstraintFacts { name: "positive".into(), definition: "CHECK ((amount > 0))".into() };
            orders(&mut w.green).constraints.push(check);
        },
        "the constraint positive on green only",
    ),
    (
        "foreign key",
        |w| {
            orders(&mut w.green).foreign_keys.push(ForeignKeyFacts {
                name: "money".into(),
                columns: vec!["note".into()],
                ref_schema: "shop".into(),
                ref_table: "currencies".into(),
                ref_columns: vec!["code".into()],
                on_delete_cascade: false,
                on_update_cascade: false,
            });
        },
        "the foreign key money on green only",
    ),
    (
        "a function of green's own",
        |w| {
            let text = "CREATE TRIGGER audit BEFORE INSERT ON public.orders EXECUTE FUNCTION public.log()";
            orders(&mut w.blue).triggers.push(trigger(text));
            orders(&mut w.green).triggers.push(trigger(&text.replace("public", "shop")));
        },
        "the trigger audit on green only",
    ),
    (
        "a right on green",
        |w| {
            orders(&mut w.green).grants.insert("app".into(), vec!["INSERT".into(), "TRUNCATE".into()]);
        },
        "app may INSERT on green's orders",
    ),
    (
        "before 15, and blue is another's",
        |w| {
            (w.blue.major, w.green.major) = (14, 14);
            orders(&mut w.blue).owned = false;
        },
        "with whose rights a view would act",
    ),
];

#[test]
fn what_would_not_mean_the_same_is_refused_with_its_reason() {
    for (case, change, reason) in CASES {
        let mut world = beside();
        world.rollout().path = PathWish::Views;
        change(&mut world);
        let findings = world.draft().expect_err(case);
        let said: Vec<&str> =
            findings.iter().filter(|f| f.code == Check::PathNotOpen).map(|f| f.what.as_str()).collect();
        assert!(said.iter().any(|what| what.contains(reason)), "{case}: {said:?}");
        // A change to both tables, or of two triggers into two others, is told twice.
        assert!(said.len() <= 2, "{case}: {said:?}");
    }
}

#[test]
fn a_foreign_key_and_a_sequence_of_both_schemas_are_the_same() {
    let mut world = beside();
    let key = |schema: &str| ForeignKeyFacts {
        name: "money".into(),
        columns: vec!["note".into()],
        ref_schema: schema.into(),
        ref_table: "currencies".into(),
        ref_columns: vec!["code".into()],
        on_delete_cascade: true,
        on_update_cascade: false,
    };
    orders(&mut world.blue).foreign_keys.push(key("public"));
    orders(&mut world.green).foreign_keys.push(key("shop"));
    assert_eq!(views(&world).len(), 2);
    orders(&mut world.green).foreign_keys[0].ref_schema = "auth".into();
    assert!(matches!(world.draft().expect("it can be copied").path, Path::Copy { because: Some(_) }));
}

#[test]
fn views_that_stand_serve_the_next_partition_and_the_next_version() {
    let mut world = beside();
    world.ask.ddl.clear();
    for table in &mut world.green.tables {
        table.kind = TableKind::View;
        table.view_of = Some(TableName { schema: "public".into(), name: table.name.clone() });
    }
    assert_eq!(views(&world).len(), 2);
    // What is a view cannot be copied into.
    world.rollout().path = PathWish::Copy;
    let findings = world.draft().expect_err("views are no tables");
    assert!(findings.iter().any(|finding| finding.code == Check::NotATable), "{findings:?}");

    let mut next = beside();
    for table in &mut next.blue.tables {
        table.kind = TableKind::View;
        table.view_of = Some(TableName { schema: "old".into(), name: table.name.clone() });
    }
    assert_eq!(views(&next).len(), 2);
}

#[test]
fn the_spec_may_ask_for_a_copy_all_the_same() {
    let mut world = beside();
    world.rollout().path = PathWish::Copy;
    let plan = world.draft().expect("nothing in the way");
    assert_eq!(plan.path, Path::Copy { because: Some("the spec says so".into()) });
    assert_eq!(plan.tables.len(), 1);
}
