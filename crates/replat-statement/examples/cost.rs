//! What a statement costs: to be read for the first time, to be found again, and to give its keys.
//!
//! `cargo run --release -p replat-statement --example cost`

use std::hint::black_box;
use std::time::{Duration, Instant};

use replat_model::key::KeyType;
use replat_model::map::Dimension;
use replat_statement::{Param, Plan, Plans, TableName, Tables};

/// Each statement, with its name.
const STATEMENTS: &[(&str, &str)] = &[
    ("begin", "BEGIN"),
    ("point read", "SELECT id, total, state FROM orders WHERE tenant_id = $1 AND id = $2"),
    (
        "join",
        "SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.tenant_id = o.tenant_id AND c.id = \
         o.customer_id WHERE o.tenant_id = $1 AND o.state IN ('open', 'paid') ORDER BY o.created_at DESC LIMIT 50",
    ),
    ("insert", "INSERT INTO orders (tenant_id, id, total, state) VALUES ($1, $2, $3, $4) RETURNING id"),
    ("update", "UPDATE orders SET state = $3, changed_at = now() WHERE tenant_id = $1 AND id = $2"),
    (
        "report",
        "WITH o AS (SELECT tenant_id, customer_id, sum(total) AS total FROM orders WHERE tenant_id = $1 AND \
         created_at >= now() - interval '30 days' GROUP BY 1, 2) SELECT c.name, o.total, (SELECT count(*) FROM \
         orders x WHERE x.tenant_id = c.tenant_id AND x.customer_id = c.id) FROM customers c LEFT JOIN o USING \
         (tenant_id) WHERE c.tenant_id = $1 ORDER BY o.total DESC NULLS LAST",
    ),
];

/// How long one measurement takes.
const SPAN: Duration = Duration::from_millis(300);

fn main() {
    let public = |name| TableName::new("public", name);
    let tenant = Dimension { column: "tenant_id".into(), key_type: KeyType::BigInt };
    let tables = Tables::new(["public"])
        .with_context("crm", &[tenant])
        .with_partitioned(public("orders"))
        .with_partitioned(public("customers"));
    let plans = Plans::with_limit(8 << 20);
    println!("{:<12} {:>7} {:>12} {:>12} {:>12}", "statement", "bytes", "read, ns", "found, ns", "keys, ns");
    for (name, sql) in STATEMENTS {
        let plan = Plan::of(sql, &tables);
        let params = [Param::text("42"), Param::text("7"), Param::text("1"), Param::text("open")];
        let read = time(|| drop(black_box(Plan::of(black_box(sql), &tables))));
        let found = time(|| drop(black_box(plans.plan(black_box(sql), &tables))));
        let keys = time(|| drop(black_box(plan.keys(black_box(&params)))));
        println!("{name:<12} {:>7} {read:>12} {found:>12} {keys:>12}", sql.len());
    }
}

/// The best of five; unit: nanoseconds a run.
fn time(mut run: impl FnMut()) -> u128 {
    let once = |run: &mut dyn FnMut()| {
        let (begun, mut count) = (Instant::now(), 0u32);
        while begun.elapsed() < SPAN / 5 {
            for _ in 0..16 {
                run();
            }
            count += 16;
        }
        begun.elapsed().as_nanos() / u128::from(count)
    };
    (0..5).map(|_| once(&mut run)).min().unwrap_or_default()
}
