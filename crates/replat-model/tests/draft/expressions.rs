//! Which expressions may be used, and which columns they look at.

use proptest::prelude::*;
use replat_model::draft::tokens::tokens;
use replat_model::facts::ReplicaIdentity;

use crate::world::*;

#[test]
fn an_expression_is_deterministic_and_looks_at_one_row() {
    let refused = [
        ("", "it is empty"),
        ("note; drop table x", "it has a semicolon; it must be one expression"),
        ("(note", "its parentheses are not balanced"),
        ("note)(", "its parentheses are not balanced"),
        ("note -- really", "it has a comment, which could hide the text around it"),
        ("note /* really */", "it has a comment, which could hide the text around it"),
        ("note || $1", "it has a parameter, and there is nothing to put in its place"),
        ("note || 'x", "a quote in it is not closed, or it has a U&\"…\" name"),
        ("(select note)", "it has a sub-select; it must look at one row only"),
        ("note || Now()", "now() gives another answer on another server or at another time"),
        ("note || pg_catalog.\"now\"()", "now() gives another answer on another server or at another time"),
        (
            "CURRENT_TIMESTAMP::text",
            "CURRENT_TIMESTAMP gives another answer on another server or at another time",
        ),
        ("current_user || note", "CURRENT_USER gives another answer on another server or at another time"),
        (
            "gen_random_uuid()::text",
            "gen_random_uuid() gives another answer on another server or at another time",
        ),
        ("nextval('s')::text", "nextval() gives another answer on another server or at another time"),
        ("('Now'::timestamp)::text", "'Now' is another moment each time it is looked at"),
        ("(date 'today')::text", "'today' is another moment each time it is looked at"),
        ("max(note)", "max() looks at more than one row, or makes more than one"),
        ("row_number() over ()", "row_number() looks at more than one row, or makes more than one"),
        (
            "regexp_split_to_table (note, ',')",
            "regexp_split_to_table() looks at more than one row, or makes more than one",
        ),
        ("greatest(note) over (order by id)", "it has a window; it must look at one row only"),
    ];
    for (expression, why) in refused {
        let mut world = World::new();
        world.map("orders", "note", expression, Some(("note", "note")));
        let want = format!(
            "EXPRESSION orders.note: up = {expression:?} cannot be used: {why} | Write an expression that is \
             deterministic and looks at one row only."
        );
        assert_eq!(world.findings(), [want], "{expression}");
    }
    let taken = [
        "'now()'",
        "split_part(note, ' ', 1)",
        "case when note = 'today' then null else note end",
        "E'\\'' || note",
    ];
    for expression in taken {
        let mut world = World::new();
        world.map("orders", "note", expression, Some(("note", "note")));
        assert_eq!(world.findings(), Vec::<String>::new(), "{expression}");
    }
    let mut world = World::new();
    world.map("orders", "note", "note", Some(("note", "now()::text")));
    assert_eq!(world.findings().len(), 1, "the way back has the same rules");
}

#[test]
fn an_expression_depends_on_the_columns_that_it_names() {
    let rows: [(&str, &[&str]); 7] = [
        ("NOTE", &["note"]),
        ("\"note\" || 'amount'", &["note"]),
        ("\"NOTE\"::text", &[]),
        ("coalesce(note, amount::text, id::text)", &["id", "note", "amount"]),
        ("$$ note $$ || amount", &["amount"]),
        ("amount(tenant_id)", &["tenant_id", "amount"]),
        ("'constant'", &[]),
    ];
    for (expression, want) in rows {
        let mut world = World::new();
        orders(&mut world.blue).replica_identity = ReplicaIdentity::Full;
        world.map("orders", "note", expression, Some(("note", "note")));
        let plan = world.draft().expect(expression);
        assert_eq!(target(&planned(&plan, "orders").forward, "note").depends, want, "{expression}");
    }
}

proptest! {
    #[test]
    fn any_text_has_tokens(text in "\\PC{0,60}") {
        tokens(&text);
    }

    #[test]
    fn any_text_of_sql_characters_has_tokens(text in "[\"'$;:/*\\-a-eEuU&\\\\ \n(é1.]{0,40}") {
        tokens(&text);
        let mut world = World::new();
        world.map("orders", "note", &text, Some(("note", &text)));
        // Whether it is refused is not the point: an answer comes.
        drop(world.draft());
    }

    #[test]
    fn a_quoted_column_is_found_whatever_its_name(name in "[^\\x00]{1,15}") {
        let mut world = World::new();
        for side in [&mut world.blue, &mut world.green] {
            column(orders(side), "note").name = name.clone();
        }
        let plan = world.draft().expect("a name is no obstacle");
        let orders = planned(&plan, "orders");
        prop_assert_eq!(&target(&orders.forward, &name).depends, std::slice::from_ref(&name));
    }
}
