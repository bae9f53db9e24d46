//! An exchange of tables and views, for people and programs.

use replat_model::exchange::{ExchangePlan, SharedTable};
use replat_postgres::exchange::Script;
use serde_json::{Value, json};

use super::span;

/// What would be done, and how long it may ask others to wait.
pub struct Exchange<'a> {
    /// What changes places.
    pub plan: &'a ExchangePlan,
    /// The statements.
    pub script: &'a Script,
    /// How long a lock is waited for, in milliseconds.
    pub lock_timeout_ms: u64,
}

/// The exchange as text.
pub fn exchange(e: &Exchange) -> String {
    let mut t = String::from("Tables and views change places; no row is touched.\n\n");
    let mut line = |name: &str, text: String| t += &format!("  {name:<8}  {text}\n");
    for table in &e.plan.tables {
        line("table", moved(e.plan, table));
    }
    line(
        "locks",
        format!(
            "ACCESS EXCLUSIVE on all of them at once, in one transaction; none is waited for longer than {}",
            span(e.lock_timeout_ms)
        ),
    );
    for hazard in &e.plan.hazards {
        line("allow", format!("{}: {}", hazard.name.code(), hazard.what));
    }
    t.push('\n');
    for statement in e.script.statements() {
        t += &format!("  {statement};\n");
    }
    t.push('\n');
    t
}

/// Where a table goes, and which of its columns have other names there.
fn moved(plan: &ExchangePlan, table: &SharedTable) -> String {
    let to = plan.to;
    let (from, goal) = (table.on(to.other()), table.on(to));
    if !table.moves() {
        return format!("{}.{} stays, with the names of its table", from.schema, from.name);
    }
    let mut text = format!("{}.{} -> {}.{}", from.schema, from.name, goal.schema, goal.name);
    let renamed: Vec<String> = table
        .columns
        .iter()
        .filter(|column| !table.is_leaf && column.on(to) != column.on(to.other()))
        .map(|column| format!("{} -> {}", column.on(to.other()), column.on(to)))
        .collect();
    if !renamed.is_empty() {
        text += &format!("  ({})", renamed.join(", "));
    }
    text
}

/// The exchange as a value.
pub fn exchange_value(e: &Exchange) -> Value {
    let tables: Vec<Value> = e
        .plan
        .tables
        .iter()
        .map(|table| json!({ "blue": table.blue, "green": table.green, "partition": table.is_leaf }))
        .collect();
    json!({
        "kind": "ExchangePlan",
        "to": e.plan.to,
        "tables": tables,
        "hazards": e.plan.hazards,
        "locks": { "mode": "ACCESS EXCLUSIVE", "lock_timeout_ms": e.lock_timeout_ms },
        "statements": e.script.statements().collect::<Vec<_>>(),
    })
}
