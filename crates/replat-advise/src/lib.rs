//! Advice on partitioning from evidence: bounded contexts, keys, trees, and what each choice costs.
//!
//! Pure: evidence comes in as text or values, advice goes out as a value. Nothing here reads a file, a clock or a
//! database.

pub mod advise;
pub mod assignment;
pub mod context;
pub mod design;
pub mod domain;
pub mod drift;
pub mod evidence;
pub mod fixture;
pub mod layout;
pub mod lifecycle;
pub mod measure;
pub mod schema;
pub mod search;
pub mod system;
pub mod trace;
pub mod value;
