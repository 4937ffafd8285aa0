//! The command line as a person meets it: real binaries, a real server, what is printed and how it ends.

mod bad_input;
mod bench;
mod client;
mod clusters;
mod completion;
mod connection;
mod desk;
mod differing;
mod golden;
mod reading;
mod refusals;
mod sources;
mod story;
