//! What stands in the way of a plan, and what mends it.

use replat_model::draft::Beside;
use replat_model::facts::{Identity, ReplicaIdentity, TableKind};
use replat_model::key::KeyType;
use replat_model::plan::DdlFile;
use replat_model::spec::TableMode;

use crate::world::*;

/// What is special about a world, and what is to be found there.
type Case = (&'static str, fn(&mut World), &'static [&'static str]);

#[test]
fn what_stands_in_the_way_is_found_with_its_remedy() {
    let rows: &[Case] = &[
        ("nothing", |_| {}, &[]),
        (
            "another context",
            |w| w.ask.context = "shp".into(),
            &["UNKNOWN_CONTEXT : the spec has no context shp | Did you mean shop?"],
        ),
        (
            "no rollout",
            |w| w.context().rollout = None,
            &["NO_ROLLOUT : context shop has no rollout | Write [contexts.shop.rollout] in the spec."],
        ),
        (
            "a copied cluster",
            |w| {
                w.green.system_id = w.blue.system_id.clone();
                w.green.schema = w.blue.schema.clone();
                w.rollout().to.schema = w.blue.schema.clone();
            },
            &[],
        ),
        (
            "one place",
            |w| {
                w.green = w.blue.clone();
                w.rollout().to = w.ask.home.clone();
                w.ask.beside = Some(Beside::default());
            },
            &[
                "SAME_HOME : pg_a.public and pg_a.public are one place | Name another database or another schema in rollout.to.",
            ],
        ),
        (
            "encodings",
            |w| w.green.encoding = "LATIN1".into(),
            &[
                "ENCODING : blue keeps text as UTF8 and green as LATIN1 | Make green with the encoding of blue, which must not be SQL_ASCII.",
            ],
        ),
        (
            "no encoding",
            |w| [&mut w.blue, &mut w.green].into_iter().for_each(|side| side.encoding = "SQL_ASCII".into()),
            &[
                "ENCODING : both keep text as SQL_ASCII, which is any bytes | Make green with the encoding of blue, which must not be SQL_ASCII.",
            ],
        ),
        (
            "an old server",
            |w| [&mut w.blue, &mut w.green].into_iter().for_each(|side| side.major = 13),
            &[
                "VERSION : pg_a runs PostgreSQL 13 | Upgrade it to 14 or later.",
                "VERSION : pg_b runs PostgreSQL 13 | Upgrade it to 14 or later.",
            ],
        ),
        (
            "WAL level",
            |w| w.blue.wal_level = "replica".into(),
            &[
                "WAL_LEVEL : wal_level on pg_a is replica, and must be logical | ALTER SYSTEM SET wal_level = 'logical'; -- then restart",
            ],
        ),
        (
            "no free slot",
            |w| w.green.slots_used = 10,
            &[
                "NO_SLOT : pg_b has 10 of max_replication_slots = 10 in use, and 1 more are needed | ALTER SYSTEM SET max_replication_slots = 11; -- then restart",
            ],
        ),
        (
            "one free sender for two streams",
            |w| {
                w.green.system_id = "1".into();
                w.blue.senders_used = 9;
            },
            &[
                "NO_SENDER : pg_a has 9 of max_wal_senders = 10 in use, and 2 more are needed | ALTER SYSTEM SET max_wal_senders = 11; -- then restart",
            ],
        ),
        (
            "privileges",
            |w| {
                w.blue.can_replicate = false;
                w.green.can_create = false;
            },
            &[
                "PRIVILEGE : replat may not read the log on pg_a | ALTER ROLE \"replat\" REPLICATION;",
                "PRIVILEGE : replat may not create schemas and publications on pg_b | GRANT CREATE ON DATABASE \"shop\" TO \"replat\";",
            ],
        ),
        (
            "a mistyped table",
            |w| w.add_table("ordres", TableMode::Slice),
            &[
                "UNKNOWN_TABLE ordres: pg_a.public has no table ordres | Did you mean orders?",
                "UNKNOWN_TABLE ordres: pg_b.shop has no table ordres | Did you mean orders?",
            ],
        ),
        (
            "a table that green lacks",
            |w| w.green.tables.retain(|table| table.name != "currencies"),
            &["UNKNOWN_TABLE currencies: pg_b.shop has no table currencies | Did you mean currencies?"],
        ),
        (
            "a map for no table",
            |w| w.map("refunds", "id", "id", None),
            &[
                "UNKNOWN_TABLE refunds: rollout.map speaks of refunds, which is not a table that moves | Name a table of the context as it is called on green.",
            ],
        ),
        (
            "a view",
            |w| orders(&mut w.blue).kind = TableKind::View,
            &["NOT_A_TABLE orders: orders is a view on blue | Take it out of the context."],
        ),
        (
            "a partition",
            |w| orders(&mut w.blue).partition_root = Some("all_orders".into()),
            &[
                "PARTITION_LEAF orders: orders is a partition of all_orders on blue | Name all_orders in its place.",
            ],
        ),
        (
            "inheritance, unlogged, foreign owner, hidden rows",
            |w| {
                let table = orders(&mut w.blue);
                (table.inherits, table.unlogged, table.owned, table.rows_hidden) = (true, true, false, true);
            },
            &[
                "INHERITANCE orders: orders has parents or children by inheritance on blue | Take it out of the context, or make it a partitioned table.",
                "UNLOGGED orders: orders is unlogged, so its changes are in no stream on blue | ALTER TABLE \"public\".\"orders\" SET LOGGED;",
                "ROWS_HIDDEN orders: orders hides rows from replat by row level security on blue | ALTER ROLE \"replat\" BYPASSRLS;",
                "NOT_OWNER orders: orders does not belong to replat on blue | GRANT \"shopkeeper\" TO \"replat\";",
            ],
        ),
    ];
    for (case, change, want) in rows {
        let mut world = World::new();
        change(&mut world);
        assert_eq!(world.findings(), *want, "{case}");
    }
}

#[test]
fn a_row_must_be_named_alike_on_both_sides() {
    let rows: &[Case] = &[
        (
            "rows on green",
            |w| w.ask.occupied.push("orders".into()),
            &[
                "GREEN_NOT_EMPTY orders: green.orders holds rows of the partition already, and whose they are is not known | Look at them on pg_b; if they are a retired copy that nobody needs, delete the rows of \"shop\".\"orders\" for which tenant_id = 42.",
            ],
        ),
        (
            "no key at all",
            |w| {
                w.both(|table| {
                    table.primary_key.clear();
                    table.replica_identity = ReplicaIdentity::Full;
                });
            },
            &[
                "NO_KEY orders: orders has no primary key, so a changed row cannot be found again | Say in the spec which columns name a row: key = [\"tenant_id\", \"id\"] (index orders_pkey).",
            ],
        ),
        (
            "a key that rows of no partition leave null, and half of it in the log",
            |w| {
                w.context().tables.get_mut("orders").expect("it is there").key =
                    Some(vec!["tenant_id".into(), "id".into()]);
                w.both(|table| {
                    table.primary_key.clear();
                    column(table, "tenant_id").not_null = false;
                });
            },
            &[
                "REPLICA_IDENTITY orders: a change of orders on blue does not say the old tenant_id, id | ALTER TABLE \"public\".\"orders\" REPLICA IDENTITY FULL;",
                "REPLICA_IDENTITY orders: a change of orders on green does not say the old tenant_id, id | ALTER TABLE \"shop\".\"orders\" REPLICA IDENTITY FULL;",
            ],
        ),
        (
            "the same with whole rows in the log, and a column of the key that is not the partition's",
            |w| {
                w.context().tables.get_mut("orders").expect("it is there").key =
                    Some(vec!["tenant_id".into(), "id".into()]);
                w.both(|table| {
                    table.primary_key.clear();
                    table.replica_identity = ReplicaIdentity::Full;
                    column(table, "tenant_id").not_null = false;
                });
                column(orders(&mut w.blue), "id").not_null = false;
            },
            &[
                "KEY_NOT_UNIQUE orders: orders on blue has no valid, immediate, full unique index over exactly the columns tenant_id, id that are not null | CREATE UNIQUE INDEX CONCURRENTLY ON \"public\".\"orders\" (\"tenant_id\", \"id\");",
            ],
        ),
        (
            "no key and nothing that could be one",
            |w| {
                w.both(|table| {
                    table.primary_key.clear();
                    table.indexes.clear();
                });
            },
            &[
                "NO_KEY orders: orders has no primary key, so a changed row cannot be found again | ALTER TABLE \"public\".\"orders\" ADD COLUMN \"orders_id\" bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY;",
            ],
        ),
        (
            "green's identity belongs into its DDL",
            |w| {
                w.ask.ddl.push(DdlFile { name: "v2.sql".into(), text: "create table orders ()".into() });
                w.both(|table| {
                    table.primary_key = vec!["id".into()];
                    table.indexes = vec![index("orders_pkey", &["id"])];
                });
                orders(&mut w.blue).replica_identity = ReplicaIdentity::Full;
            },
            &[
                "REPLICA_IDENTITY orders: a change of orders on green does not say the old tenant_id | CREATE UNIQUE INDEX \"orders_replat_identity\" ON \"shop\".\"orders\" (\"id\", \"tenant_id\"); ALTER TABLE \"shop\".\"orders\" REPLICA IDENTITY USING INDEX \"orders_replat_identity\"; -- in the DDL",
            ],
        ),
        (
            "a key that the table has not",
            |w| {
                w.context().tables.get_mut("orders").expect("orders").key =
                    Some(vec!["tenant_id".into(), "ident".into()])
            },
            &[
                "UNKNOWN_COLUMN orders.ident: orders has no column ident on blue | Name a column that the table has.",
            ],
        ),
        (
            "another key on green",
            |w| orders(&mut w.green).indexes = vec![index("orders_pkey", &["id"])],
            &[
                "KEY_NOT_UNIQUE orders: orders on green has no valid, immediate, full unique index over exactly the columns tenant_id, id that are not null | ALTER TABLE \"shop\".\"orders\" ADD PRIMARY KEY (\"tenant_id\", \"id\"); -- in the DDL",
            ],
        ),
        (
            "a partial index is no key",
            |w| orders(&mut w.blue).indexes[0].partial = true,
            &[
                "KEY_NOT_UNIQUE orders: orders on blue has no valid, immediate, full unique index over exactly the columns tenant_id, id that are not null | CREATE UNIQUE INDEX CONCURRENTLY ON \"public\".\"orders\" (\"tenant_id\", \"id\");",
            ],
        ),
        (
            "the key has another type on green",
            |w| {
                let id = column(orders(&mut w.green), "id");
                (id.type_name, id.base_type) = ("numeric".into(), Some("numeric".into()));
                w.map("orders", "id", "id", Some(("id", "id::bigint")));
            },
            &[
                "KEY_CHANGES orders.id: id is part of the key and is bigint on blue and numeric on green | Give it the same built-in type on both sides.",
            ],
        ),
        (
            "the key is made anew",
            |w| w.map("orders", "id", "id + 1", Some(("id", "id - 1"))),
            &[
                "KEY_CHANGES orders.id: no column of green takes id unchanged, and it is part of the key | Keep the column; it may be renamed by an `up` that is its old name alone.",
            ],
        ),
        (
            "a dimension that the table has not",
            |w| w.context().dimensions[0].column = "tenantid".into(),
            &[
                "NO_DIMENSION orders.tenantid: orders has no column tenantid, which is part of the partition key | Did you mean tenant_id?",
            ],
        ),
        (
            "a dimension that the table has from nowhere",
            |w| {
                w.context().dimensions[0].column = "zone".into();
            },
            &[
                "NO_DIMENSION orders.zone: orders has no column zone, which is part of the partition key | ALTER TABLE \"public\".\"orders\" ADD COLUMN \"zone\" bigint; -- then fill it, SET NOT NULL; or name the column that carries it under `dimensions` of the table; or declare the table as reference or rebuild",
            ],
        ),
        (
            "a dimension that the table calls otherwise, and has not",
            |w| {
                let orders = w.context().tables.get_mut("orders").expect("orders");
                orders.dimensions.insert("tenant_id".into(), "tenantid".into());
            },
            &[
                "NO_DIMENSION orders.tenantid: orders has no column tenantid, which is part of the partition key | Did you mean tenant_id?",
            ],
        ),
        (
            "a dimension that the table has from another",
            |w| {
                w.context().dimensions[0].column = "zone".into();
                let currencies =
                    w.blue.tables.iter_mut().find(|table| table.name == "currencies").expect("currencies");
                add_column(currencies, "zone", "bigint");
                orders(&mut w.blue).foreign_keys.push(in_currency("public"));
                orders(&mut w.green).foreign_keys.push(in_currency("shop"));
            },
            &[
                "NO_DIMENSION orders.zone: orders has no column zone, which is part of the partition key | ALTER TABLE \"public\".\"orders\" ADD COLUMN \"zone\" bigint; UPDATE \"public\".\"orders\" c SET \"zone\" = p.\"zone\" FROM \"public\".\"currencies\" p WHERE c.\"note\" = p.\"code\"; ALTER TABLE \"public\".\"orders\" ALTER COLUMN \"zone\" SET NOT NULL; -- a large table in batches; or declare it as reference or rebuild",
            ],
        ),
        (
            "a column by a name of replat's",
            |w| {
                w.both(|table| {
                    add_column(table, "replat_k12", "text");
                    add_column(table, "replat_kind", "text");
                    add_column(table, "replat_k", "text");
                })
            },
            &[
                "RESERVED_NAME orders: orders has a column replat_k12, which replat calls its own on blue | ALTER TABLE \"public\".\"orders\" RENAME COLUMN \"replat_k12\" TO …;",
                "RESERVED_NAME orders: orders has a column replat_k12, which replat calls its own on green | ALTER TABLE \"shop\".\"orders\" RENAME COLUMN \"replat_k12\" TO …;",
            ],
        ),
        (
            "a dimension of another type",
            |w| w.context().dimensions[0].key_type = KeyType::Uuid,
            &[
                "DIMENSION_TYPE orders.tenant_id: tenant_id is bigint, and the context says uuid | Correct the dimension's type in the spec, or the column.",
            ],
        ),
        (
            "old values are not said",
            |w| orders(&mut w.blue).replica_identity = ReplicaIdentity::Nothing,
            &[
                "REPLICA_IDENTITY orders: a change of orders on blue does not say the old tenant_id, id | ALTER TABLE \"public\".\"orders\" REPLICA IDENTITY DEFAULT;",
            ],
        ),
        (
            "the key does not hold the dimension",
            |w| {
                w.both(|table| {
                    table.primary_key = vec!["id".into()];
                    table.indexes = vec![index("orders_pkey", &["id"])];
                });
            },
            &[
                "REPLICA_IDENTITY orders: a change of orders on blue does not say the old tenant_id | CREATE UNIQUE INDEX CONCURRENTLY \"orders_replat_identity\" ON \"public\".\"orders\" (\"id\", \"tenant_id\"); ALTER TABLE \"public\".\"orders\" REPLICA IDENTITY USING INDEX \"orders_replat_identity\";",
                "REPLICA_IDENTITY orders: a change of orders on green does not say the old tenant_id | CREATE UNIQUE INDEX CONCURRENTLY \"orders_replat_identity\" ON \"shop\".\"orders\" (\"id\", \"tenant_id\"); ALTER TABLE \"shop\".\"orders\" REPLICA IDENTITY USING INDEX \"orders_replat_identity\";",
            ],
        ),
        (
            "the dimension is outside the key and can be null",
            |w| {
                w.both(|table| {
                    table.primary_key = vec!["id".into()];
                    table.indexes = vec![index("orders_pkey", &["id"])];
                    column(table, "tenant_id").not_null = false;
                });
                orders(&mut w.green).replica_identity = ReplicaIdentity::Full;
            },
            &[
                "REPLICA_IDENTITY orders: a change of orders on blue does not say the old tenant_id | ALTER TABLE \"public\".\"orders\" REPLICA IDENTITY FULL;",
            ],
        ),
        (
            "an index that says the dimension",
            |w| {
                w.both(|table| {
                    table.primary_key = vec!["id".into()];
                    table.indexes = vec![index("orders_pkey", &["id"])];
                    table.replica_identity = ReplicaIdentity::Index(vec!["tenant_id".into(), "id".into()]);
                });
            },
            &[],
        ),
        (
            "generated columns in the identity, from 18 on",
            |w| {
                w.blue.major = 18;
                let table = orders(&mut w.blue);
                table.replica_identity = ReplicaIdentity::Full;
                add_column(table, "doubled", "numeric");
                column(table, "doubled").generated = Some("(amount * 2)".into());
            },
            &[
                "GENERATED_IDENTITY orders: the replica identity of orders on blue has generated columns | ALTER TABLE \"public\".\"orders\" REPLICA IDENTITY DEFAULT;",
            ],
        ),
    ];
    for (case, change, want) in rows {
        let mut world = World::new();
        change(&mut world);
        assert_eq!(world.findings(), *want, "{case}");
    }
}

#[test]
fn every_column_of_green_needs_a_source() {
    let rows: &[Case] = &[
        (
            "new and never null",
            |w| {
                add_column(orders(&mut w.green), "kind", "text");
                column(orders(&mut w.green), "kind").not_null = true;
            },
            &[
                "NO_SOURCE orders.kind: kind must not be null on green, and blue has no column of that name | Write an `up` for orders.kind in rollout.map, or give it a default in the DDL.",
            ],
        ),
        (
            "another type that loses",
            |w| column(orders(&mut w.green), "amount").type_name = "numeric(14,1)".into(),
            &[
                "TYPE_DIFFERS orders.amount: amount is numeric(14,2) on blue and numeric(14,1) on green | Write an `up` for orders.amount in rollout.map.",
            ],
        ),
        (
            "columns that are not there",
            |w| w.map("orders", "notes", "note", Some(("nota", "notes"))),
            &[
                "UNKNOWN_COLUMN orders.notes: orders has no column notes on green | Did you mean note?",
                "UNKNOWN_COLUMN orders.nota: orders has no column nota on blue | Did you mean note?",
            ],
        ),
        (
            "a generated target",
            |w| {
                column(orders(&mut w.green), "amount").generated = Some("1".into());
                w.map("orders", "amount", "amount", None);
            },
            &[
                "GENERATED_TARGET orders.amount: amount is generated on green, so nothing can be written to it | Remove its `up`, or make it an ordinary column in the DDL.",
            ],
        ),
        (
            "two ways back",
            |w| {
                add_column(orders(&mut w.green), "other", "text");
                w.map("orders", "note", "note", Some(("note", "note")));
                w.map("orders", "other", "note", Some(("note", "other")));
            },
            &["DOWN_TWICE orders.note: note is given back by two expressions | Keep one of them."],
        ),
        (
            "an identity that refuses values",
            |w| {
                w.both(|table| add_column(table, "number", "bigint"));
                column(orders(&mut w.green), "number").identity = Some(Identity::Always);
            },
            &[
                "IDENTITY_ALWAYS orders.number: number is GENERATED ALWAYS, so it cannot be set when a row changes | ALTER TABLE \"shop\".\"orders\" ALTER COLUMN \"number\" SET GENERATED BY DEFAULT;",
            ],
        ),
        (
            "a part can be unsaid",
            |w| w.map("orders", "note", "note || amount", Some(("note", "note"))),
            &[
                "UNSAID_PART orders.note: note is made of several columns, of which note can lie out of line on blue and is then missing from a change of the others | ALTER TABLE \"public\".\"orders\" REPLICA IDENTITY FULL;",
            ],
        ),
        (
            "a part can be unsaid on the way back",
            |w| w.map("orders", "note", "note", Some(("note", "note || amount"))),
            &[
                "UNSAID_PART orders.note: note is made of several columns, of which note can lie out of line on green and is then missing from a change of the others | ALTER TABLE \"shop\".\"orders\" REPLICA IDENTITY FULL;",
            ],
        ),
        (
            "nothing is unsaid under FULL, and the key is always said",
            |w| {
                orders(&mut w.blue).replica_identity = ReplicaIdentity::Full;
                w.map("orders", "note", "note || amount", Some(("note", "note || id")));
            },
            &[],
        ),
        (
            "a generated source stands for what it is made of",
            |w| {
                add_column(orders(&mut w.blue), "label", "text");
                column(orders(&mut w.blue), "label").generated = Some("(note || (amount)::text)".into());
                w.map("orders", "note", "label", Some(("note", "note")));
            },
            &[
                "UNSAID_PART orders.note: note is made of several columns, of which note can lie out of line on blue and is then missing from a change of the others | ALTER TABLE \"public\".\"orders\" REPLICA IDENTITY FULL;",
            ],
        ),
    ];
    for (case, change, want) in rows {
        let mut world = World::new();
        change(&mut world);
        assert_eq!(world.findings(), *want, "{case}");
    }
}

fn in_currency(schema: &str) -> replat_model::facts::ForeignKeyFacts {
    replat_model::facts::ForeignKeyFacts {
        name: "in_currency".into(),
        columns: vec!["note".into()],
        ref_schema: schema.into(),
        ref_table: "currencies".into(),
        ref_columns: vec!["code".into()],
        on_delete_cascade: false,
        on_update_cascade: false,
    }
}
