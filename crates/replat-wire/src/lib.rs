//! replat-wire.
