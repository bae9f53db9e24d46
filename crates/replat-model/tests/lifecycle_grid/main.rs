//! Axes, grids, what is learned from bounds, and names.

#![allow(clippy::type_complexity, reason = "a table of cases is a slice of tuples")]

mod axes;
mod grids;
mod learning;
mod names;
