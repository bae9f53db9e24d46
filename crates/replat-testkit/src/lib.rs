//! replat-testkit.
