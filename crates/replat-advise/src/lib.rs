//! Advice on partitioning from evidence: bounded contexts, keys, trees, and what each choice costs.
//!
//! Pure: evidence comes in as text or values, advice goes out as a value. Nothing here reads a file, a clock or a
//! database.

pub mod advise;
pub mod aside;
pub mod assignment;
pub mod candidate;
pub mod carry;
pub mod columns;
pub mod community;
pub mod confidence;
pub mod context;
pub mod deployed;
pub mod derived;
pub mod design;
pub mod domain;
pub mod drift;
pub mod evidence;
pub mod explain;
pub mod fixture;
pub mod layout;
pub mod lifecycle;
pub mod locality;
pub mod lookups;
pub mod measure;
pub mod missing;
pub mod order;
mod related;
pub mod report;
pub mod residency;
pub mod schema;
pub mod search;
pub mod services;
pub mod sql;
pub mod system;
pub mod trace;
pub mod unknown;
pub mod value;
