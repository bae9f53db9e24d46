//! What replat keeps about partitions, in the managed database.
