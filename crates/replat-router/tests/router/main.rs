//! The router as applications use it.

mod follow;
mod gate;
mod leases;
mod measure;
mod memory;
mod reads;
mod scene;
mod tables;
mod transaction;
mod vectors;
