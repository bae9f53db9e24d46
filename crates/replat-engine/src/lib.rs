//! replat-engine.
