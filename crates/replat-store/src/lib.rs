//! replat-store.
