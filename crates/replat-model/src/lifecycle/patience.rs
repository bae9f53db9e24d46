//! For how long to try.
