//! replat-control.
