//! What may change how later statements are read, and what is known then.

use replat_statement::Plan;

use crate::schema::{shown, tables};

const UNSETTLED: &str = "? a statement before it may change the search_path, or how texts are read";

#[test]
fn what_is_read_after_a_change_of_how_it_is_read_is_unknown() {
    let read = "select * from orders where tenant_id = 1";
    let rows = [
        ("set search_path = extra", UNSETTLED),
        ("SET LOCAL Search_Path TO extra", UNSETTLED),
        ("set schema 'extra'", UNSETTLED),
        ("reset search_path", UNSETTLED),
        ("reset all", UNSETTLED),
        ("discard all", UNSETTLED),
        ("set standard_conforming_strings = off", UNSETTLED),
        ("set names latin1", UNSETTLED),
        ("set client_encoding = 'sjis'", UNSETTLED),
        ("set \"search_path\" = extra", UNSETTLED),
        (
            "select set_config('search_path', 'extra', true)",
            "? function set_config may read or write anything",
        ),
        ("do $$ begin set search_path = extra; end $$", "? function do may read or write anything"),
        ("update orders set a = elsewhere(2) where tenant_id = 1", UNSETTLED),
        ("set statement_timeout = 5", "crm 1"),
        ("set local time zone 'UTC'", "crm 1"),
        ("begin", "crm 1"),
        ("select count(*), now() from orders where tenant_id = 1", "crm 1"),
        ("insert into orders (tenant_id, id) values (1, nextval('s'))", "crm 1"),
    ];
    for (before, want) in rows {
        assert_eq!(shown(&Plan::of(&format!("{before}; {read}"), &tables()).keys(&[])), want, "{before}");
    }
    // What was read before it is known; and what names nothing means the same.
    let rows = [("set search_path = a", "crm 1"), ("set search_path = a; set x.y = 1; commit", "crm 1")];
    for (after, want) in rows {
        assert_eq!(shown(&Plan::of(&format!("{read}; {after}"), &tables()).keys(&[])), want, "{after}");
    }
}

#[test]
fn whatever_may_change_it_is_told_and_nothing_else() {
    let rows = [
        ("set search_path = a", true),
        ("select set_config($1, $2, false)", true),
        ("select app.anything()", true),
        ("select * from orders o, lateral app.anything(o.id) where o.tenant_id = 1", true),
        ("do $$ begin end $$", true),
        ("call app.work()", true),
        ("execute prepared", true),
        ("select )", true),
        ("wibble", true),
        ("\u{0}", true),
        ("set statement_timeout = 5", false),
        ("set replat.partition = 'acme'", false),
        ("begin isolation level serializable", false),
        ("select pg_sleep(1), count(*) from orders", false),
        ("insert into orders (tenant_id) values (1) returning id", false),
        ("create table t ()", false),
        ("listen news", false),
        ("", false),
    ];
    for (sql, want) in rows {
        assert_eq!(Plan::of(sql, &tables()).unsettles(), want, "{sql}");
    }
}

#[test]
fn without_a_known_search_path_only_names_with_a_schema_are_known() {
    let tables = tables().with_unknown_search_path();
    let rows = [
        ("select * from orders where tenant_id = 1", "? table orders is not known"),
        ("select * from public.orders where tenant_id = 1", "crm 1"),
        (
            "select * from public.orders o join notes n using (tenant_id) where tenant_id = 1",
            "? table notes is not known",
        ),
        (
            "update public.orders set total = 3 where tenant_id = $1",
            "? parameter $1 is missing, or its type or format is not read",
        ),
        ("select * from pg_class", "? table pg_class is not known"),
        ("select * from pg_catalog.pg_class", "-"),
        ("select now()", "? function now may read or write anything"),
        ("select pg_catalog.now()", "-"),
        ("begin", "-"),
    ];
    for (sql, want) in rows {
        assert_eq!(shown(&Plan::of(sql, &tables).keys(&[])), want, "{sql}");
    }
}
