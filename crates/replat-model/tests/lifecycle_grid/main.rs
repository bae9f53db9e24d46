//! Axes, grids, what is learned from bounds, and names.

mod axes;
mod grids;
mod learning;
mod names;
