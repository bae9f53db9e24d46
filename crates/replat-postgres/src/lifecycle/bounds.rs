//! Partition bounds, as the catalogue prints them.
