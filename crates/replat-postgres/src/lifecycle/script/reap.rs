//! Taking back what was broken off: staged tables, and what a unit put on tables in use.
//!
//! Only what the ledger has, and only if it still is what the ledger says: identity and name.

use replat_engine::EngineError;
use replat_model::lifecycle::plan::Unit;

use super::catalog;
use super::create::same;
use super::{Kitchen, Mode, Recipe, Step, Txn};
use crate::lifecycle::ledger::{Leftover, PARTS, quoted};
use crate::sql::{quote_ident, quote_literal};

/// What takes the unit `broken` back. `unit` is the unit whose work that is; none if it takes itself back, because of
/// `why`. Empty if nothing is left of it.
///
/// # Errors
///
/// What the driver says.
pub async fn reap(
    kitchen: &Kitchen<'_>,
    unit: Option<&Unit>,
    broken: &str,
    why: Option<&str>,
) -> Result<Recipe, EngineError> {
    let ledger = kitchen.ledger;
    let mut txn = Txn::brief("take-back");
    if let Some(unit) = unit {
        txn.push(Step::record(ledger.begin(unit, kitchen.run)));
    }
    let mut leftovers = ledger.leftovers(kitchen.client, broken).await?;
    // A trigger needs its function for as long as it is there.
    leftovers.sort_by_key(|leftover| matches!(leftover, Leftover::Function { .. }));
    for leftover in leftovers {
        txn.steps.extend(removal(kitchen, &leftover).await?);
    }
    let which = format!("p.unit = {} AND p.state = 'staged'", quote_literal(broken));
    let staged = ledger.own(kitchen.client, &which).await?;
    for own in &staged {
        txn.push(same(&own.table, own.id));
    }
    // What was made below a staged table goes with it.
    let tops = staged.iter().filter(|own| !own.attached);
    txn.steps.extend(tops.map(|own| Step::new(format!("DROP TABLE {}", quoted(&own.table)))));
    txn.push(Step::record(format!(
        "DELETE FROM {} WHERE unit = {} AND state = 'staged' \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = relation)",
        ledger.table(PARTS),
        quote_literal(broken)
    )));
    txn.push(Step::record(ledger.ended(broken, None, "taken-back", why)));
    if let Some(unit) = unit {
        txn.push(Step::record(ledger.done(unit, kitchen.run)));
    }
    Ok(Recipe { transactions: vec![txn], proofs: Vec::new() })
}

/// The steps that remove something from a table in use, whatever it is called by now; none if the table is gone.
async fn removal(kitchen: &Kitchen<'_>, leftover: &Leftover) -> Result<Vec<Step>, EngineError> {
    let id = match leftover {
        Leftover::Check { table_id, .. } | Leftover::Trigger { table_id, .. } => *table_id,
        Leftover::Function { schema, name } => {
            let drop = format!("DROP FUNCTION IF EXISTS {}.{}()", quote_ident(schema), quote_ident(name));
            return Ok(vec![Step::new(drop)]);
        }
    };
    let Some(found) = catalog::by_id(kitchen, id).await? else { return Ok(Vec::new()) };
    let table = quoted(&found.name);
    let statement = match leftover {
        Leftover::Check { name, .. } => {
            format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {}", quote_ident(name))
        }
        Leftover::Trigger { name, .. } => {
            format!("DROP TRIGGER IF EXISTS {} ON {table}", quote_ident(name))
        }
        Leftover::Function { .. } => return Ok(Vec::new()),
    };
    Ok(vec![
        super::create::lock_catch_all(&found, Mode::AccessExclusive),
        Step::new(statement).locks_tree(&found, Mode::AccessExclusive),
    ])
}
