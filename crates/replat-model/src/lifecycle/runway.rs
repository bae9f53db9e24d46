//! How long bounds last.
