//! Splits, merges, other moduli and conversions.
