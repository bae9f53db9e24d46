//! A partition as a file, and back.
