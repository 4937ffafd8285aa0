//! The simulated server, seen through its clients.

mod apply;
mod faults;
mod kinds;
mod objects;
mod support;
mod watches;
