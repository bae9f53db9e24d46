//! The program as people and scripts meet it: the real binary against real servers.

mod advise;
mod blocked;
mod columns;
mod connections;
mod contracts;
mod damage;
mod deployments;
mod doctor;
mod drift;
mod interrupted;
mod logs;
mod offline;
mod partitions;
mod plans;
mod program;
mod routing;
mod secrets;
mod serving;
mod views;
mod words;
mod world;
