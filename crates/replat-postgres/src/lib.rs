//! replat-postgres.
