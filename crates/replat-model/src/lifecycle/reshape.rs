//! Conversions, splits, merges and other moduli, as units.
