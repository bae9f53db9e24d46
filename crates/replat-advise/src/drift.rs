//! Drift.
mod level;
