//! The raster of bounds on an axis.
