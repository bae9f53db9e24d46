//! A unit as statements with their locks.
