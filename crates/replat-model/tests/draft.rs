//! Every rule by which a plan is drafted, each in a world that differs from a sound one in one thing.

#[path = "draft/compatibility.rs"]
mod compatibility;
#[path = "draft/differences.rs"]
mod differences;
#[path = "draft/expressions.rs"]
mod expressions;
#[path = "draft/findings.rs"]
mod findings;
#[path = "draft/hazards.rs"]
mod hazards;
#[path = "draft/plans.rs"]
mod plans;
#[path = "draft/provoked.rs"]
mod provoked;
#[path = "draft/versions.rs"]
mod versions;
#[path = "draft/views.rs"]
mod views;
#[path = "draft/ways_back.rs"]
mod ways_back;
#[path = "draft/world.rs"]
mod world;
