//! The simulated server, seen through its clients.

mod objects;
mod support;
