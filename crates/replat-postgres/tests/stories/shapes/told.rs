//! What a plan says of rows that green would not take, before anything begins.

use crate::harness::{Scene, one_table};

const ITEMS: &str = "create table items (tenant_id bigint, id bigint, note text, amount int, code varchar(9),
                                         primary key (tenant_id, id));";

/// Green's table, with this in the place of a column's definition.
fn green(column: &str, definition: &str) -> String {
    let columns = [("note", "note text"), ("amount", "amount int"), ("code", "code varchar(9)")];
    let columns: Vec<String> = columns
        .iter()
        .map(|(name, plain)| if *name == column { definition.to_owned() } else { (*plain).to_owned() })
        .collect();
    format!(
        "create table items (tenant_id bigint, id bigint, {}, primary key (tenant_id, id));",
        columns.join(", ")
    )
}

/// A case: what green has, what the spec maps, which row is mended or broken, and what is found.
struct Case {
    name: &'static str,
    green: String,
    spec: &'static str,
    row: &'static str,
    told: &'static str,
}

/// Rows of two tenants; those of tenant 1 break every rule, and are nobody's concern here.
const ROWS: &str = "insert into items select 2, n, 'n' || n, n, 'c' || n from generate_series(1, 300) n;
                    insert into items select 1, n, null, -1, 'c' from generate_series(1, 10) n;";

fn cases() -> Vec<Case> {
    let case = |name, green, spec, row, told| Case { name, green, spec, row, told };
    vec![
        case(
            "nulls",
            green("note", "note text not null"),
            "",
            "update items set note = null where tenant_id = 2 and id in (7, 8)",
            "NULL_VALUES items.note: 2 rows of items, such as (2, 7), have no value for note, which must not be null on green",
        ),
        case(
            "a null that an expression makes",
            green("amount", "amount int not null"),
            "[contexts.shop.rollout.map.items.amount]\nup = 'nullif(amount, 9)'\ndown = { column = 'amount', sql = 'amount' }",
            "",
            "NULL_VALUES items.amount: the row of items (2, 9) has no value for amount, which must not be null on green",
        ),
        case(
            "a division by zero",
            green("amount", "amount int"),
            "[contexts.shop.rollout.map.items.amount]\nup = '100 / amount'\ndown = { column = 'amount', sql = '100 / amount' }",
            "update items set amount = 0 where tenant_id = 2 and id = 250",
            "VALUE_UNFIT items.amount: the row of items (2, 250) cannot be carried over: amount = 100 / amount: division by zero",
        ),
        case(
            "a bad cast",
            green("code", "code int"),
            "[contexts.shop.rollout.map.items.code]\nup = 'substr(code, 2)::int'\ndown = { column = 'code', sql = \"'c' || code\" }",
            "update items set code = 'cx' where tenant_id = 2 and id = 100",
            "VALUE_UNFIT items.code: the row of items (2, 100) cannot be carried over: code = substr(code, 2)::int: \
             invalid input syntax for type integer: \"x\"",
        ),
        case(
            "no such label",
            format!("create type note as enum ('n1', 'n2'); {}", green("note", "note note")),
            "",
            "update items set note = case when id = 30 then 'other' else 'n1' end where tenant_id = 2",
            "VALUE_UNFIT items.note: the row of items (2, 30) has a value for note that is none of n1, n2",
        ),
        case(
            "too long",
            green("code", "code varchar(3)"),
            "[contexts.shop.rollout.map.items.code]\nup = 'code'\ndown = { column = 'code', sql = 'code' }",
            "",
            "VALUE_UNFIT items.code: 201 rows of items, such as (2, 100), have a value for code of more than 3 characters",
        ),
        case(
            "too long for an expression",
            green("code", "code varchar(3)"),
            "[contexts.shop.rollout.map.items.code]\nup = 'code::text'\ndown = { column = 'code', sql = 'code' }",
            "",
            "VALUE_UNFIT items.code: 201 rows of items, such as (2, 100), have a value for code of more than 3 characters",
        ),
        case(
            "a check",
            green("amount", "amount int constraint few check (amount < 299 and note <> ')')"),
            "",
            "",
            "CHECK_VIOLATED items: 2 rows of items, such as (2, 299), violate few, \
             CHECK (((amount < 299) AND (note <> ')'::text)))",
        ),
        case(
            "a new unique constraint",
            green("note", "note text, constraint once unique (tenant_id, note)"),
            "",
            "update items set note = 'n1' where tenant_id = 2 and id = 200",
            "DUPLICATES items: 2 rows of items, such as (2, 1) and (2, 200), have the same tenant_id, note as another, \
             which once keeps apart on green",
        ),
        case(
            "unique by an expression over some rows",
            format!("{} create unique index once on items (lower(code)) where amount > 5", green("", "")),
            "",
            "update items set code = upper(code) || '' where tenant_id = 2 and id = 6; \
             update items set code = 'c6' where tenant_id = 2 and id in (4, 60)",
            "DUPLICATES items: 2 rows of items, such as (2, 6) and (2, 60), have the same lower((code)::text) as another, \
             which once keeps apart on green",
        ),
        case("all is well", green("note", "note text not null"), "", "", ""),
    ]
}

#[tokio::test]
async fn rows_that_green_would_not_take_are_told_before_anything_begins() {
    for Case { name, green, spec, row, told } in cases() {
        let scene = Scene {
            ddl: green,
            spec,
            rollout: "reversible = 'accept-lossy'",
            ..one_table("items", ITEMS, &format!("{ROWS} {row}"))
        };
        let found = match scene.drafted().await.expect("both sides answer") {
            Ok(plan) => {
                assert!(
                    plan.hazards.iter().all(|h| h.name.code() != "ROWS_UNSEEN"),
                    "{name}: {:?}",
                    plan.hazards
                );
                Vec::new()
            }
            Err(findings) => findings,
        };
        let found: Vec<String> = found
            .iter()
            .map(|f| {
                let column = f.column.as_ref().map(|c| format!(".{c}")).unwrap_or_default();
                format!("{} {}{column}: {}", f.code, f.table.as_deref().unwrap_or_default(), f.what)
            })
            .collect();
        let told: Vec<&str> = Some(told).filter(|told| !told.is_empty()).into_iter().collect();
        assert_eq!(found, told, "{name}");
    }
}

#[tokio::test]
async fn what_blue_does_not_understand_is_said_and_found_later() {
    let green = "create function fine(int) returns bool language sql immutable as 'select $1 < 200';
                 create table items (tenant_id bigint, id bigint, note text, amount int, code varchar(9),
                                     primary key (tenant_id, id), constraint fine check (shop.fine(amount)))";
    let scene = Scene { ddl: green.into(), ..one_table("items", ITEMS, ROWS) };
    let plan = scene.drafted().await.expect("both sides answer").expect("nothing is in the way");
    let told: Vec<_> = plan.hazards.iter().filter(|h| h.name.code() == "ROWS_UNSEEN").collect();
    assert_eq!(told.len(), 1, "{:?}", plan.hazards);
    assert!(told[0].what.contains("shop") && !told[0].must_allow, "{told:?}");
}
