//! Real clients, real servers, and the proxy between them.

mod bench;
mod copying;
mod doorstep;
mod missing;
mod moving;
mod support;
mod tls;
mod who;
