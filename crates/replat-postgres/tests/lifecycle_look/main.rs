//! Looking at partitioned tables on real servers.

mod around;
mod rows;
mod shapes;
mod speed;
mod support;
mod vitals;
