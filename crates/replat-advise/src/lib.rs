//! Advice on partitioning from evidence: bounded contexts, keys, trees, and what each choice costs.
//!
//! Pure: evidence comes in as text or values, advice goes out as a value. Nothing here reads a file, a clock or a
//! database.

pub mod design;
pub mod fixture;
pub mod measure;
pub mod schema;
pub mod trace;
pub mod value;
