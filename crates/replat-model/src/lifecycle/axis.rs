//! What a key's values mean, as positions on a line.
