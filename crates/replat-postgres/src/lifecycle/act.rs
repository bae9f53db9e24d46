//! Bringing a unit about.
