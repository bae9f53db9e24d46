//! Facts and policy to a plan.
