//! All of it behind the boundary.
