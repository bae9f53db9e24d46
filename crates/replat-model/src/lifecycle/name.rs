//! What partitions are called.
