//! When to stand back.
