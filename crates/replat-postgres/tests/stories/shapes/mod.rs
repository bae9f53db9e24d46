//! Shapes of change: what a new version may do to tables and columns, there and back under writes.

mod faults;
mod merging;
mod told;

use replat_model::deploy::Phase;
use replat_model::ids::Side;

use crate::harness::{Scene, Story, run, value};
use crate::moments::until_planned;

/// A change of shape, and how both versions are read so that they say the same.
struct Shape {
    /// What is special about it.
    name: &'static str,
    /// Blue's tables and rows.
    blue: &'static str,
    /// Green's tables.
    green: &'static str,
    /// Blue's tables that move, the ones that others point to first.
    slices: &'static [&'static str],
    /// What the spec says of each of them.
    slice_lines: &'static str,
    /// What the rollout says beyond its version and place.
    rollout: &'static str,
    /// The rest of the spec.
    spec: &'static str,
    /// Transactions of blue's application; `{k}` is another number each time.
    there: &'static [&'static str],
    /// Transactions of green's application.
    back: &'static [&'static str],
    /// Queries of which both sides' first value must be the same: blue's and green's.
    alike: &'static [(&'static str, &'static str)],
}

/// What most shapes have.
const PLAIN: Shape = Shape {
    name: "",
    blue: "",
    green: "",
    slices: &["items"],
    slice_lines: "",
    rollout: "",
    spec: "",
    there: &[],
    back: &[],
    alike: &[],
};

/// Takes a shape there, back, and there again, with writes at every stage.
async fn goes_there_and_back(shape: &Shape) {
    let story = Scene {
        blue: shape.blue.into(),
        rows: String::new(),
        ddl: shape.green.into(),
        slices: shape.slices.to_vec(),
        references: Vec::new(),
        slice_lines: shape.slice_lines,
        rollout: shape.rollout,
        spec: shape.spec,
        ..Scene::default()
    }
    .begin()
    .await;
    until_planned(&story).await;
    write(&story, Side::Blue, shape, 1).await;
    story.until_phase(Phase::Ready).await;
    write(&story, Side::Blue, shape, 2).await;
    story.settle().await;
    assert_alike(&story, shape, "before the switch").await;
    story.switch_to(Side::Green).await;
    assert_alike(&story, shape, "after the switch").await;
    write(&story, Side::Green, shape, 3).await;
    story.settle().await;
    assert_alike(&story, shape, "while green is home").await;
    story.switch_to(Side::Blue).await;
    write(&story, Side::Blue, shape, 4).await;
    story.settle().await;
    assert_alike(&story, shape, "after the rollback").await;
    story.switch_to(Side::Green).await;
    assert_alike(&story, shape, "after the second switch").await;
}

async fn write(story: &Story, side: Side, shape: &Shape, k: u32) {
    let transactions = if side == Side::Blue { shape.there } else { shape.back };
    for transaction in transactions {
        run(story.side(side), &format!("begin; {}; commit", transaction.replace("{k}", &k.to_string())))
            .await;
    }
}

async fn assert_alike(story: &Story, shape: &Shape, when: &str) {
    for (blue, green) in shape.alike {
        let (blue, green) = (value(&story.blue, blue).await, value(&story.green, green).await);
        assert_eq!(blue, green, "{}, {when}", shape.name);
        assert!(!blue.is_empty(), "{}: nothing is compared", shape.name);
    }
}

macro_rules! shapes {
    ($($test:ident: $shape:expr;)*) => {
        $(#[tokio::test]
        async fn $test() {
            goes_there_and_back(&Shape { name: stringify!($test), ..$shape }).await;
        })*
    };
}

shapes! {
    a_column_is_added_with_a_default_and_one_that_is_derived: Shape {
        blue: "create table items (tenant_id bigint, id bigint, title text, primary key (tenant_id, id));
               insert into items select t, n, 'title ' || n from generate_series(1, 3) t, generate_series(1, 250) n",
        green: "create table items (tenant_id bigint, id bigint, title text, stars int not null default 3, slug text,
                                    primary key (tenant_id, id))",
        rollout: "reversible = 'accept-lossy'",
        spec: "[contexts.shop.rollout.map.items.slug]\nup = \"lower(replace(title, ' ', '-'))\"",
        there: &["update items set title = 'New {k}' where tenant_id = 2 and id % 4 = {k} % 4",
                 "insert into items values (2, 1000 + {k}, 'Come {k}')",
                 "delete from items where tenant_id = 2 and id = 200 + {k}"],
        back: &["insert into items values (2, 2000 + {k}, 'Of green', 5, 'of-green')",
                "update items set title = 'Again', slug = 'again', stars = 1 where tenant_id = 2 and id = 7"],
        alike: &[("select string_agg(format('%s %s %s', id, title, lower(replace(title, ' ', '-'))), ',' order by id)
                   from items where tenant_id = 2",
                  "select string_agg(format('%s %s %s', id, title, slug), ',' order by id) from items")],
        ..PLAIN
    };
    a_column_is_dropped_and_its_old_values_stay_on_blue: Shape {
        blue: "create table items (tenant_id bigint, id bigint, title text, legacy text, primary key (tenant_id, id));
               insert into items select t, n, 'title ' || n, 'old ' || n
                 from generate_series(1, 3) t, generate_series(1, 250) n",
        green: "create table items (tenant_id bigint, id bigint, title text, primary key (tenant_id, id))",
        rollout: "reversible = 'accept-lossy'",
        there: &["update items set legacy = 'l{k}', title = 't{k}' where tenant_id = 2 and id = 10 + {k}"],
        back: &["update items set title = 'g{k}' where tenant_id = 2 and id = 20 + {k}",
                "insert into items values (2, 3000 + {k}, 'new')"],
        alike: &[("select string_agg(format('%s %s', id, title), ',' order by id) from items where tenant_id = 2",
                  "select string_agg(format('%s %s', id, title), ',' order by id) from items"),
                 ("select count(*) from items where tenant_id = 2 and id <= 250 and legacy is not null",
                  "select count(*) from items where id <= 250")],
        ..PLAIN
    };
    a_table_and_its_columns_change_their_names: Shape {
        blue: "create table items (tenant_id bigint, id bigint, title text, primary key (tenant_id, id));
               insert into items select t, n, 'title ' || n from generate_series(1, 3) t, generate_series(1, 250) n",
        green: "create table things (tenant bigint, number bigint, \"the Name\" text, primary key (tenant, number))",
        spec: "[contexts.shop.rollout.tables.things]\nfrom = 'items'
               [contexts.shop.rollout.map.things]
               tenant = { up = 'tenant_id' }\nnumber = { up = 'id' }\n'the Name' = { up = 'title' }",
        there: &["update items set id = id + 1000 where tenant_id = 2 and id = 30 + {k}",
                 "update items set title = 't{k}' where tenant_id = 2 and id = 40 + {k}"],
        back: &["update things set number = number + 2000, \"the Name\" = 'x' where tenant = 2 and number = 50 + {k}",
                "delete from things where number = 60 + {k}"],
        alike: &[("select string_agg(format('%s %s', id, title), ',' order by id) from items where tenant_id = 2",
                  "select string_agg(format('%s %s', number, \"the Name\"), ',' order by number) from things")],
        ..PLAIN
    };
    a_column_is_split_and_merged_again_on_the_way_back: Shape {
        blue: "create table items (tenant_id bigint, id bigint, whole text not null, primary key (tenant_id, id));
               insert into items select t, n, format('first%s last%s', n, n)
                 from generate_series(1, 3) t, generate_series(1, 250) n",
        green: "create table items (tenant_id bigint, id bigint, head text not null, tail text not null,
                                    primary key (tenant_id, id));
                alter table items replica identity full",
        spec: "[contexts.shop.rollout.map.items.head]\nup = \"split_part(whole, ' ', 1)\"
               down = { column = 'whole', sql = \"head || ' ' || tail\" }
               [contexts.shop.rollout.map.items.tail]\nup = \"split_part(whole, ' ', 2)\"",
        there: &["update items set whole = 'a{k} b{k}' where tenant_id = 2 and id = 10 + {k}"],
        back: &["update items set tail = 'only{k}' where tenant_id = 2 and id = 20 + {k}",
                "insert into items values (2, 5000 + {k}, 'green', 'row')"],
        alike: &[("select string_agg(format('%s %s', id, whole), ',' order by id) from items where tenant_id = 2",
                  "select string_agg(format('%s %s %s', id, head, tail), ',' order by id) from items")],
        ..PLAIN
    };
    two_columns_are_merged_and_split_again_on_the_way_back: Shape {
        blue: "create table items (tenant_id bigint, id bigint, head text not null, tail text not null,
                                   primary key (tenant_id, id));
               alter table items replica identity full;
               insert into items select t, n, 'first' || n, 'last' || n
                 from generate_series(1, 3) t, generate_series(1, 250) n",
        green: "create table items (tenant_id bigint, id bigint, whole text not null, primary key (tenant_id, id))",
        spec: "[contexts.shop.rollout.map.items.whole]\nup = \"head || ' ' || tail\"
               [contexts.shop.rollout.tables.items.back]
               head = \"split_part(whole, ' ', 1)\"\ntail = \"split_part(whole, ' ', 2)\"",
        ..MERGED
    };
    types_change_and_come_back: Shape {
        blue: "create table items (tenant_id bigint, id int, price numeric(10,2), state smallint, at timestamp,
                                   code varchar(20), primary key (tenant_id, id));
               insert into items select t, n, n / 4.0, n % 3, timestamp '2026-01-01' + n * interval '1 hour', 'c' || n
                 from generate_series(1, 3) t, generate_series(1, 250) n",
        green: "create table items (tenant_id bigint, id int, price_minor bigint, state text, at timestamptz(0),
                                    code text, primary key (tenant_id, id))",
        spec: "[contexts.shop.rollout.map.items]
               price_minor = { up = 'round(price * 100)::bigint', down = { column = 'price', sql = 'price_minor / 100.0' } }
               state = { up = \"(array['new', 'paid', 'gone'])[state + 1]\",
                         down = { column = 'state', sql = \"array_position(array['new', 'paid', 'gone'], state) - 1\" } }
               at = { up = \"at at time zone 'UTC'\", down = { column = 'at', sql = \"at at time zone 'UTC'\" } }
               code = { up = 'code', down = { column = 'code', sql = 'code' } }",
        there: &["update items set price = 0.0{k}, state = {k} % 3 where tenant_id = 2 and id = 10 + {k}"],
        back: &["update items set price_minor = price_minor + {k}, state = 'gone' where tenant_id = 2 and id = 20 + {k}"],
        alike: &[("select string_agg(format('%s %s %s %s', id, (price * 100)::bigint, state, code), ',' order by id)
                   from items where tenant_id = 2",
                  "select string_agg(format('%s %s %s %s', id, price_minor,
                     array_position(array['new', 'paid', 'gone'], state) - 1, code), ',' order by id) from items")],
        ..PLAIN
    };
    old_nulls_get_a_value_that_green_insists_on: Shape {
        blue: "create table items (tenant_id bigint, id bigint, note text, amount int, primary key (tenant_id, id));
               insert into items select t, n, case when n % 3 > 0 then 'n' || n end, n
                 from generate_series(1, 3) t, generate_series(1, 250) n",
        green: "create table items (tenant_id bigint, id bigint, note text not null default '?',
                                    amount int not null check (amount > -1), primary key (tenant_id, id))",
        spec: "[contexts.shop.rollout.map.items.note]\nup = \"coalesce(note, '?')\"
               down = { column = 'note', sql = \"nullif(note, '?')\" }",
        there: &["update items set note = null where tenant_id = 2 and id = 10 + {k}"],
        back: &["update items set note = default where tenant_id = 2 and id = 20 + {k}",
                "update items set amount = 0 where tenant_id = 2 and id = 30 + {k}"],
        alike: &[("select string_agg(format('%s %s %s', id, coalesce(note, '?'), amount), ',' order by id)
                   from items where tenant_id = 2",
                  "select string_agg(format('%s %s %s', id, note, amount), ',' order by id) from items")],
        ..PLAIN
    };
    labels_are_added_removed_and_renamed: Shape {
        blue: "create type state as enum ('draft', 'sent', 'paid');
               create table items (tenant_id bigint, id bigint, state state not null, primary key (tenant_id, id));
               insert into items select t, n, (array['draft', 'sent', 'paid'])[1 + n % 3]::state
                 from generate_series(1, 3) t, generate_series(1, 250) n",
        green: "create type state as enum ('new', 'sent', 'paid', 'refunded');
                create table items (tenant_id bigint, id bigint, state state not null, primary key (tenant_id, id))",
        spec: "[contexts.shop.rollout.map.items.state]\nup = \"case state::text when 'draft' then 'new' else state::text end\"
               down = { column = 'state', sql = \"case state::text when 'new' then 'draft' else state::text end\" }",
        there: &["update items set state = 'draft' where tenant_id = 2 and id = 10 + {k}"],
        back: &["update items set state = 'new' where tenant_id = 2 and id between 20 and 23 + {k}",
                "update items set state = 'paid' where tenant_id = 2 and id = 30 + {k}"],
        alike: &[("select string_agg(format('%s %s', id, replace(state::text, 'draft', 'new')), ',' order by id)
                   from items where tenant_id = 2",
                  "select string_agg(format('%s %s', id, state), ',' order by id) from items")],
        ..PLAIN
    };
    a_mapping_column_becomes_the_key_and_foreign_keys_follow: Shape {
        blue: "create table items (id bigint generated by default as identity primary key, tenant_id bigint not null,
                                   uid uuid not null default gen_random_uuid(), title text, unique (tenant_id, uid));
               create table parts (id bigint generated by default as identity primary key, tenant_id bigint not null,
                                   uid uuid not null default gen_random_uuid(), unique (tenant_id, uid),
                                   item_id bigint not null references items, item_uid uuid not null, what text,
                                   foreign key (tenant_id, item_uid) references items (tenant_id, uid));
               alter table items replica identity using index items_tenant_id_uid_key;
               alter table parts replica identity using index parts_tenant_id_uid_key;
               insert into items (tenant_id, title) select t, 'title ' || n
                 from generate_series(1, 3) t, generate_series(1, 250) n;
               insert into parts (tenant_id, item_id, item_uid, what)
                 select tenant_id, id, uid, 'of ' || title from items",
        green: "create table items (tenant_id bigint not null, uid uuid not null default gen_random_uuid(),
                                    id bigint generated by default as identity, title text,
                                    primary key (tenant_id, uid));
                create table parts (tenant_id bigint not null, uid uuid not null default gen_random_uuid(),
                                    id bigint generated by default as identity,
                                    item_uid uuid not null, item_id bigint not null, what text,
                                    primary key (tenant_id, uid),
                                    foreign key (tenant_id, item_uid) references items)",
        slices: &["items", "parts"],
        slice_lines: "key = ['tenant_id', 'uid']",
        there: &["with i as (insert into items (tenant_id, title) values (2, 'new {k}') returning *)
                    insert into parts (tenant_id, item_id, item_uid, what) select tenant_id, id, uid, 'p' from i",
                 "update items set title = 't{k}' where tenant_id = 2 and id % 50 = {k}",
                 "delete from parts where tenant_id = 2 and item_id % 60 = {k}"],
        back: &["with i as (insert into items (tenant_id, title) values (2, 'green {k}') returning *)
                    insert into parts (tenant_id, item_uid, item_id, what) select tenant_id, uid, id, 'g' from i",
                "update parts set what = 'w{k}' where item_id % 40 = {k}"],
        alike: &[("select string_agg(format('%s %s', uid, title), ',' order by uid) from items where tenant_id = 2",
                  "select string_agg(format('%s %s', uid, title), ',' order by uid) from items"),
                 ("select string_agg(format('%s %s %s', uid, item_uid, what), ',' order by uid) from parts where tenant_id = 2",
                  "select string_agg(format('%s %s %s', uid, item_uid, what), ',' order by uid) from parts")],
        ..PLAIN
    };
}

shapes! {
    numbers_become_uuids_that_follow_from_them_and_stay_beside_them: Shape {
        blue: "create table items (tenant_id bigint, id bigint generated by default as identity, title text,
                                   primary key (tenant_id, id));
               create table parts (tenant_id bigint, id bigint generated by default as identity, item_id bigint not null,
                                   primary key (tenant_id, id), foreign key (tenant_id, item_id) references items);
               insert into items (tenant_id, title) select t, 'title ' || n
                 from generate_series(1, 3) t, generate_series(1, 250) n;
               insert into parts (tenant_id, item_id) select tenant_id, id from items",
        green: "create table items (tenant_id bigint not null, id uuid primary key, number bigint not null
                                      generated by default as identity, title text, unique (tenant_id, number));
                create table parts (tenant_id bigint not null, id uuid primary key, number bigint not null
                                      generated by default as identity, item_id uuid not null references items,
                                    item_number bigint not null, unique (tenant_id, number));
                alter table items replica identity using index items_tenant_id_number_key;
                alter table parts replica identity using index parts_tenant_id_number_key",
        slices: &["items", "parts"],
        rollout: "reversible = 'accept-lossy'",
        spec: "[contexts.shop.rollout.map.items]\nnumber = { up = 'id' }\nid = { up = \"md5('items' || id)::uuid\" }
               [contexts.shop.rollout.map.parts]\nnumber = { up = 'id' }\nid = { up = \"md5('parts' || id)::uuid\" }
               item_number = { up = 'item_id' }\nitem_id = { up = \"md5('items' || item_id)::uuid\" }
               [contexts.shop.rollout.tables.items]\nback = { id = 'number' }
               [contexts.shop.rollout.tables.parts]\nback = { id = 'number', item_id = 'item_number' }",
        there: &["with i as (insert into items (tenant_id, title) values (2, 'new {k}') returning *)
                    insert into parts (tenant_id, item_id) select tenant_id, id from i",
                 "update items set title = 't{k}' where tenant_id = 2 and id % 50 = {k}",
                 "delete from parts where tenant_id = 2 and item_id % 60 = {k}"],
        // Ids of green's own follow the same rule, or a deployment back and forth would change them.
        back: &["with n as (select nextval(pg_get_serial_sequence('items', 'number')) as n),
                      i as (insert into items (tenant_id, id, number, title)
                              select 2, md5('items' || n)::uuid, n, 'green {k}' from n returning *),
                      p as (select nextval(pg_get_serial_sequence('parts', 'number')) as n)
                   insert into parts select i.tenant_id, md5('parts' || p.n)::uuid, p.n, i.id, i.number from i, p",
                "update items set title = 'w{k}' where number % 40 = {k}"],
        alike: &[("select string_agg(format('%s %s %s', md5('items' || id)::uuid, id, title), ',' order by id) from items
                   where tenant_id = 2",
                  "select string_agg(format('%s %s %s', id, number, title), ',' order by number) from items"),
                 ("select string_agg(format('%s %s', id, md5('items' || item_id)::uuid), ',' order by id) from parts
                   where tenant_id = 2",
                  "select string_agg(format('%s %s', number, item_id), ',' order by number) from parts")],
        ..PLAIN
    };
    some_rows_go_over_and_others_enter_and_leave: Shape {
        blue: "create table items (tenant_id bigint, id bigint, state text not null, title text, body text,
                                   primary key (tenant_id, id));
               alter table items alter body set storage external;
               insert into items select t, n, case when n % 3 = 0 then 'archived' else 'live' end, 'title ' || n,
                                        repeat('b' || n, 2000)
                 from generate_series(1, 3) t, generate_series(1, 250) n",
        green: "create table items (tenant_id bigint, id bigint, status text not null, title text, body text,
                                    primary key (tenant_id, id))",
        rollout: "reversible = 'accept-lossy'",
        spec: "[contexts.shop.rollout.tables.items]\nrows = { up = \"state <> 'archived'\" }
               [contexts.shop.rollout.map.items]\nstatus = { up = 'state', down = { column = 'state', sql = 'status' } }",
        there: &["update items set state = 'archived' where tenant_id = 2 and id = 10 * {k}",
                 "update items set state = 'live' where tenant_id = 2 and id = 12 * {k}",
                 "update items set title = 'x{k}' where tenant_id = 2 and id between 30 * {k} and 30 * {k} + 5",
                 "insert into items values (2, 1000 + {k}, 'archived', 'a', 'b'), (2, 2000 + {k}, 'live', 'a', 'b')",
                 "update items set id = id + 5000, state = 'live' where tenant_id = 2 and id = 9 * {k}",
                 "delete from items where tenant_id = 2 and id = 100 + {k}"],
        back: &["update items set status = 'archived' where tenant_id = 2 and id = 201",
                "update items set status = 'new', title = 'g' where tenant_id = 2 and id = 202",
                "insert into items values (2, 3000 + {k}, 'live', 'of green', 'b'), (2, 4000 + {k}, 'archived', 'g', 'b')",
                "delete from items where id = 203"],
        alike: &[("select md5(string_agg(format('%s %s %s %s', id, state, title, body), ',' order by id)) from items
                   where tenant_id = 2 and state <> 'archived'",
                  "select md5(string_agg(format('%s %s %s %s', id, status, title, body), ',' order by id)) from items
                   where status <> 'archived'"),
                 // What was archived on blue before is still there.
                 ("select count(*) > 30 from items where tenant_id = 2 and state = 'archived'", "select true")],
        ..PLAIN
    };
    one_table_becomes_two_and_one_again: Shape {
        blue: "create table payments (tenant_id bigint, id bigint, kind text not null, card text, iban text, amount int,
                                      primary key (tenant_id, id));
               insert into payments select t, n, case when n % 2 = 0 then 'card' else 'bank' end, 'card ' || n, 'iban ' || n, n
                 from generate_series(1, 3) t, generate_series(1, 250) n",
        green: "create table card_payments (tenant_id bigint, id bigint, card text, amount int, primary key (tenant_id, id));
                create table bank_payments (tenant_id bigint, id bigint, iban text, amount int, primary key (tenant_id, id))",
        slices: &["payments"],
        rollout: "reversible = 'accept-lossy'",
        spec: "[contexts.shop.rollout.tables.card_payments]\nfrom = 'payments'\nrows.up = \"kind = 'card'\"
               back.kind = \"'card'\"
               [contexts.shop.rollout.tables.bank_payments]\nfrom = 'payments'\nrows.up = \"kind = 'bank'\"
               back.kind = \"'bank'\"",
        there: &["update payments set kind = 'bank' where tenant_id = 2 and id = 10 * {k}",
                 "update payments set kind = 'card', amount = 5 where tenant_id = 2 and id = 21 * {k}",
                 "insert into payments values (2, 1000 + {k}, 'card', 'c', null, 1), (2, 2000 + {k}, 'bank', null, 'i', 1)",
                 "delete from payments where tenant_id = 2 and id in (100 + {k}, 111 + {k})"],
        back: &["insert into card_payments values (2, 3000 + {k}, 'c', 7)",
                "with gone as (delete from card_payments where id = 202 returning *)
                   insert into bank_payments select tenant_id, id, 'moved', amount from gone",
                "update bank_payments set amount = 0 where id % 9 = 0"],
        alike: &[("select string_agg(format('%s %s %s', id, card, amount), ',' order by id) from payments
                   where tenant_id = 2 and kind = 'card'",
                  "select string_agg(format('%s %s %s', id, card, amount), ',' order by id) from card_payments"),
                 ("select string_agg(format('%s %s %s', id, iban, amount), ',' order by id) from payments
                   where tenant_id = 2 and kind = 'bank'",
                  "select string_agg(format('%s %s %s', id, iban, amount), ',' order by id) from bank_payments")],
        ..PLAIN
    };
    a_row_becomes_two_and_one_again: Shape {
        blue: "create table users (tenant_id bigint, id bigint, email text not null, bio text, stars int,
                                   primary key (tenant_id, id));
               insert into users select t, n, 'user' || n, case when n % 3 > 0 then 'bio ' || n end, n % 7
                 from generate_series(1, 3) t, generate_series(1, 250) n",
        green: "create table users (tenant_id bigint, id bigint, mail text not null, primary key (tenant_id, id));
                create table bios (tenant_id bigint, id bigint, bio text not null, stars int, primary key (tenant_id, id),
                                   foreign key (tenant_id, id) references users on update cascade on delete cascade)",
        slices: &["users"],
        rollout: "reversible = 'accept-lossy'",
        spec: "[contexts.shop.rollout.map.users.mail]\nup = 'email'
               [contexts.shop.rollout.tables.bios]\nfrom = 'users'\npart_of = 'users'\nrows.up = 'bio is not null'",
        there: &["update users set bio = null, stars = null where tenant_id = 2 and id = 10 * {k}",
                 "update users set bio = 'b{k}' where tenant_id = 2 and id = 21 * {k}",
                 "insert into users values (2, 1000 + {k}, 'new', 'of new', 1), (2, 2000 + {k}, 'new', null, null)",
                 "update users set id = id + 5000 where tenant_id = 2 and id between 32 * {k} and 32 * {k} + 2",
                 "delete from users where tenant_id = 2 and id in (100 + {k}, 111 + {k})"],
        back: &["insert into users values (2, 3000 + {k}, 'green'); insert into bios values (2, 3000 + {k}, 'green bio', 5)",
                "insert into users values (2, 4000 + {k}, 'green')",
                "insert into bios values (2, 4000 + {k}, 'later', 5)",
                "update bios set bio = 'changed' where id between 200 and 210",
                "delete from bios where id between 211 and 215",
                "delete from users where id between 216 and 220",
                "insert into users values (2, 217, 'again')",
                "update users set id = id + 9000 where id between 221 and 225",
                "delete from users where id = 226; insert into users values (2, 226, 'at once');
                 insert into bios values (2, 226, 'at once', 9)"],
        alike: &[("select string_agg(format('%s %s %s', id, email, bio), ',' order by id) from users where tenant_id = 2",
                  "select string_agg(format('%s %s %s', id, mail, bio), ',' order by id)
                   from users left join bios using (tenant_id, id)"),
                 ("select string_agg(format('%s %s', id, stars), ',' order by id) from users
                   where tenant_id = 2 and bio is not null",
                  "select string_agg(format('%s %s', id, stars), ',' order by id) from bios")],
        ..PLAIN
    };
    two_tables_become_one_and_two_again: Shape {
        blue: "create table bank_payments (tenant_id bigint, id bigint, iban text, amount int, primary key (tenant_id, id));
               create table card_payments (tenant_id bigint, id bigint, card text, amount int, primary key (tenant_id, id));
               insert into bank_payments select t, 2 * n, 'iban ' || n, n from generate_series(1, 3) t, generate_series(1, 250) n;
               insert into card_payments select t, 2 * n + 1, 'card ' || n, n
                 from generate_series(1, 3) t, generate_series(1, 250) n",
        green: "create table payments (tenant_id bigint, id bigint, kind text not null, token text, amount int,
                                       primary key (tenant_id, id))",
        slices: &["bank_payments", "card_payments"],
        rollout: "reversible = 'accept-lossy'",
        spec: "[contexts.shop.rollout.tables.payments.sources.bank_payments]\nrows.down = \"kind = 'bank'\"
               map.kind = { up = \"'bank'\" }\nmap.token = { up = 'iban', down = { column = 'iban', sql = 'token' } }
               [contexts.shop.rollout.tables.payments.sources.card_payments]\nrows.down = \"kind = 'card'\"
               map.kind = { up = \"'card'\" }\nmap.token = { up = 'card', down = { column = 'card', sql = 'token' } }",
        there: &["update bank_payments set amount = 1 where tenant_id = 2 and id = 20 * {k}",
                 "insert into card_payments values (2, 10001 + 2 * {k}, 'c', 1)",
                 "insert into bank_payments values (2, 10000 + 2 * {k}, 'i', 1)",
                 "with gone as (delete from card_payments where tenant_id = 2 and id = 31 + 2 * {k} returning *)
                    insert into bank_payments select tenant_id, id, 'was a card', amount from gone",
                 "delete from bank_payments where tenant_id = 2 and id = 100 + 2 * {k}"],
        back: &["update payments set kind = 'card', token = 'turned' where id = 204",
                "update payments set amount = -1 where id % 11 = 0",
                "insert into payments values (2, 20000 + {k}, 'bank', 'g', 1), (2, 30000 + {k}, 'card', 'g', 1)",
                "delete from payments where id in (206, 207)"],
        alike: &[("select string_agg(format('%s %s %s', id, iban, amount), ',' order by id) from bank_payments where tenant_id = 2",
                  "select string_agg(format('%s %s %s', id, token, amount), ',' order by id) from payments where kind = 'bank'"),
                 ("select string_agg(format('%s %s %s', id, card, amount), ',' order by id) from card_payments where tenant_id = 2",
                  "select string_agg(format('%s %s %s', id, token, amount), ',' order by id) from payments where kind = 'card'")],
        ..PLAIN
    };
}

/// The rest of the shape that merges two columns.
const MERGED: Shape = Shape {
    there: &["update items set tail = 'b{k}' where tenant_id = 2 and id = 10 + {k}"],
    back: &[
        "update items set whole = 'only this{k}' where tenant_id = 2 and id = 20 + {k}",
        "insert into items values (2, 5000 + {k}, 'green row')",
    ],
    alike: &[(
        "select string_agg(format('%s %s %s', id, head, tail), ',' order by id) from items where tenant_id = 2",
        "select string_agg(format('%s %s', id, whole), ',' order by id) from items",
    )],
    ..PLAIN
};
