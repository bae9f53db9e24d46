//! How fast rows come.
