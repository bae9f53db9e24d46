//! The server by real HTTP, over a registry in a file and in Redis, and HAProxy.

mod haproxy;
mod limits;
mod routes;
mod streams;
mod world;
