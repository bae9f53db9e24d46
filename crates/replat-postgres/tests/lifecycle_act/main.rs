//! Units of lifecycle on real servers: what they make, what they lock, whom they wait for, and what is left of them.

mod creating;
mod following;
mod locks;
mod retiring;
mod rivals;
mod world;
