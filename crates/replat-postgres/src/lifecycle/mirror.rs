//! Rows that are copied to new tables while they are written.
