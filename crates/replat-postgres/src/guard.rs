//! The guard: the write fence inside the database, and the row that says whether it is open.
//!
//! A write of the partition takes a shared advisory lock and reads the fence row in a way that no old snapshot can
//! fool; the fence takes the lock exclusively, so it waits for that partition's running writers alone. The row is
//! closed by default, and changes only under the exclusive lock and only for a token that is not lower than the
//! one obeyed last.
//!
//! Row, lock and marks belong to a home, which is a database and a schema: one database can hold both sides. The
//! triggers belong to a table: one for each event, however many partitions are guarded on it.
//!
//! Invariant kept here: at most one side lets writers through. No router takes part in it.
//!
//! | what | where |
//! |---|---|
//! | replat's own schema, the fence row | `schema.rs` |
//! | opening, closing, looking | `fence.rs` |
//! | which rows of a table are guarded, as SQL | `rows.rs` |
//! | the triggers of a table, put up and taken down | `arm.rs` |
//! | tables that are closed as a whole | `whole.rs` |
//! | notes in the server's log | `marks.rs` |

mod arm;
mod fence;
mod marks;
mod rows;
mod schema;
mod whole;

pub use arm::{Earlier, add, arm, closed_at, disarm, remove};
pub use fence::{Closing, close, hand_over, hold_closed, is_missing, lock_key, number, open, read, seal};
pub use marks::{Mark, current_lsn, emit, mark_secret, parse_lsn};
pub use rows::Guarded;
pub use schema::{Fenced, SCHEMA, forget_tables, install};
pub use whole::{Closed, close_table, reopen_table};

use replat_engine::EngineError;
use replat_model::ids::Side;
use replat_model::plan::Plan;

fn schema_of(plan: &Plan, side: Side) -> &str {
    &plan.end(side).home.schema
}

fn lock_of(plan: &Plan, side: Side) -> i64 {
    lock_key(&plan.partition, schema_of(plan, side))
}

fn superseded(plan: &Plan, side: Side) -> EngineError {
    EngineError::Superseded { what: format!("the fence of {} on {side}", plan.partition) }
}
