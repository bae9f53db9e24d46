//! What follows from partitions that are there and a policy: every rule, and the promise that a plan that was carried
//! out leaves nothing to do.

#![allow(clippy::type_complexity, reason = "a table of cases is a slice of tuples")]

#[path = "lifecycle_draft/applier.rs"]
mod applier;
#[path = "lifecycle_draft/convergence.rs"]
mod convergence;
#[path = "lifecycle_draft/health.rs"]
mod health;
#[path = "lifecycle_draft/managed.rs"]
mod managed;
#[path = "lifecycle_draft/ranges.rs"]
mod ranges;
#[path = "lifecycle_draft/retirement.rs"]
mod retirement;
#[path = "lifecycle_draft/shapes.rs"]
mod shapes;
#[path = "lifecycle_draft/strays.rs"]
mod strays;
#[path = "lifecycle_draft/trouble.rs"]
mod trouble;
#[path = "lifecycle_draft/world.rs"]
mod world;
