//! What room there is.
