//! The example database of `examples/saas`, filled.
//!
//! Tenants are skewed as in life: tenant `k` has a share proportional to `1/k`. Everything follows from the seed
//! by `hashint8extended`, so two fills with the same arguments are equal, row by row.

use std::path::{Path, PathBuf};

use tokio_postgres::Client;

/// How much to fill in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Tenants, numbered from 1; tenant 1 is the largest.
    pub tenants: u32,
    /// Rows over all tables and tenants, roughly: every tenant has at least a handful.
    pub rows: u64,
    /// What the values follow from.
    pub seed: u64,
}

/// The tables of a tenant, parents first.
pub const TABLES: [&str; 6] = ["tenants", "users", "orders", "order_lines", "payments", "events"];

/// Rows that come with each order: itself, two lines, a payment, an event and a quarter of a user.
const ROWS_PER_ORDER: f64 = 5.25;

/// The directory `examples/saas` of this repository.
pub fn example_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/saas")
}

/// Creates the v1 schema in the session's current schema.
///
/// # Errors
///
/// What the server says, for example that the tables are there already.
pub async fn create_v1(client: &Client) -> Result<(), tokio_postgres::Error> {
    client.batch_execute(include_str!("../../../examples/saas/schema_v1.sql")).await
}

/// Creates `schema` and the v2 tables in it, as a deployment would.
///
/// # Errors
///
/// What the server says.
pub async fn create_v2(client: &Client, schema: &str) -> Result<(), tokio_postgres::Error> {
    client.batch_execute(&format!("create schema {schema}; set search_path = {schema}")).await?;
    client.batch_execute(include_str!("../../../examples/saas/schema_v2.sql")).await
}

/// Fills empty v1 tables in the session's current schema and gathers statistics.
///
/// # Errors
///
/// What the server says; nothing is filled in then.
pub async fn fill_v1(client: &Client, fill: Fill) -> Result<(), tokio_postgres::Error> {
    client.batch_execute(&format!("begin; {}", share_sql(fill))).await?;
    for statement in FILL {
        client.batch_execute(&statement.replace("{seed}", &seed_literal(fill.seed))).await?;
    }
    client.batch_execute("drop table share; commit; analyze").await
}

/// The seed as a signed number, since PostgreSQL has no unsigned ones.
fn seed_literal(seed: u64) -> String {
    format!("({})::bigint", seed.cast_signed())
}

/// A table with each tenant's number of users and orders.
fn share_sql(fill: Fill) -> String {
    let harmonic: f64 = (1..=fill.tenants).map(|tenant| 1.0 / f64::from(tenant)).sum();
    let values = (1..=fill.tenants).map(|tenant| {
        // Rounding is all right: the number of rows is a wish, not a promise.
        let share = fill.rows as f64 / ROWS_PER_ORDER / f64::from(tenant) / harmonic;
        let orders = (share.round() as u64).max(8);
        format!("({tenant}::bigint, {}, {orders})", orders / 4)
    });
    let values = values.collect::<Vec<_>>().join(", ");
    format!(
        "create temp table share on commit drop as select * from (values {values}) s (tenant_id, users, orders)"
    )
}

/// In the order of their foreign keys. Ids count from 1 in every tenant; the identity sequences are set past them.
///
/// One profile in eight and one note in sixteen are of hex digits without repetition and long enough to be stored
/// out of line; a repeated text would be compressed until it fits in the row.
const FILL: &[&str] = &[
    "create function pg_temp.draw(tenant bigint, id bigint, salt bigint, options bigint) returns bigint
     language sql immutable return
       (hashint8extended(tenant * 1000003 + id * 31 + salt, {seed}) & 9223372036854775807) % options",
    "create function pg_temp.long(tenant bigint, id bigint, pieces bigint) returns text
     language sql immutable return
       (select string_agg(md5(tenant || ':' || id || ':' || piece || ':' || {seed}), '')
          from generate_series(1, pieces) piece)",
    "insert into currencies values
       ('EUR', 'Euro', 2), ('USD', 'United States dollar', 2), ('GBP', 'Pound sterling', 2),
       ('CHF', 'Swiss franc', 2), ('SEK', 'Swedish krona', 2)",
    r#"insert into tenants (tenant_id, slug, settings, created_at)
       select tenant_id, 'tenant-' || tenant_id,
              jsonb_build_object('plan', (array['free', 'team', 'company'])[1 + pg_temp.draw(tenant_id, 0, 1, 3)],
                                 'limits', jsonb_build_object('users', users * 2, 'rate', 12.50)),
              timestamptz '2024-01-01 00:00:00+00' + tenant_id * interval '1 hour'
         from share"#,
    "insert into users (tenant_id, id, email, full_name, legacy_note, external_id, tags, profile, created_at)
     select tenant_id, id, 'User' || id || '@Example' || pg_temp.draw(tenant_id, id, 2, 9) || '.com',
            (array['Ada', 'José', 'Mei', 'Olu', 'Zoë'])[1 + pg_temp.draw(tenant_id, id, 3, 5)] || ' '
              || (array['Lindqvist', 'O''Hara', 'Okafor', '山田', 'Novák'])[1 + pg_temp.draw(tenant_id, id, 4, 5)],
            case when pg_temp.draw(tenant_id, id, 5, 3) = 0 then 'imported' end,
            md5(tenant_id || '/' || id)::uuid,
            case pg_temp.draw(tenant_id, id, 6, 3) when 0 then '{}' when 1 then '{new}' else '{vip,\"a,b\",NULL}' end::text[],
            case when pg_temp.draw(tenant_id, id, 7, 8) = 0 then pg_temp.long(tenant_id, id, 120) else 'short' end,
            timestamptz '2024-02-01 00:00:00+00' + id * interval '17.25 seconds'
       from share, generate_series(1::bigint, users) id",
    "insert into orders (tenant_id, id, user_id, status, currency, note, discounts, placed_at)
     select tenant_id, id, 1 + (id - 1) % users,
            (array['new', 'paid', 'shipped', 'cancelled'])[1 + pg_temp.draw(tenant_id, id, 8, 4)],
            (array['EUR', 'USD', 'GBP', 'CHF', 'SEK'])[1 + pg_temp.draw(tenant_id, id, 9, 5)],
            case pg_temp.draw(tenant_id, id, 10, 16) when 0 then pg_temp.long(tenant_id, id, 100) when 1 then null
                 else 'leave at the door' end,
            case pg_temp.draw(tenant_id, id, 11, 2) when 0 then '{}' else '{1.50,0.3}' end::numeric[],
            timestamptz '2024-03-01 00:00:00+00' + id * interval '61.5 seconds'
       from share, generate_series(1::bigint, orders) id",
    "insert into order_lines (tenant_id, id, order_id, sku, quantity, unit_price)
     select tenant_id, id, 1 + (id - 1) / 2, 'SKU-' || pg_temp.draw(tenant_id, id, 12, 5000),
            1 + pg_temp.draw(tenant_id, id, 13, 9), (100 + pg_temp.draw(tenant_id, id, 14, 100000)) / 100.0
       from share, generate_series(1::bigint, orders * 2) id",
    "insert into payments (tenant_id, id, order_id, amount, reference, paid_at)
     select tenant_id, id, id, (1000 + pg_temp.draw(tenant_id, id, 15, 1000000)) / 100.0,
            md5('payment ' || tenant_id || '/' || id)::uuid,
            timestamptz '2024-03-02 00:00:00+00' + id * interval '61.5 seconds'
       from share, generate_series(1::bigint, orders) id",
    "insert into events (tenant_id, id, op_id, kind, body, at)
     select tenant_id, id, md5('filled ' || tenant_id || '/' || id)::uuid, 'order placed',
            jsonb_build_object('order', id, 'weight', 1.10, 'via', array['web', 'app']),
            timestamptz '2024-03-01 00:00:00+00' + id * interval '61.5 seconds'
       from share, generate_series(1::bigint, orders) id",
    "select setval(pg_get_serial_sequence(name, 'id'), (select max(orders) * 2 from share))
       from unnest(array['users', 'orders', 'order_lines', 'payments', 'events']) name",
];
