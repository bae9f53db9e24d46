//! Alignment of indexes, privileges and pruning.
