//! What follows from the bounds that are there.
