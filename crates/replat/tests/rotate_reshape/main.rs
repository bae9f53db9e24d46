//! Verbs that change a table's shape, as people call them: the real binary against a real server, while others write.

mod stories;
mod world;
