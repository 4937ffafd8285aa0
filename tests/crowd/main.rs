//! One real server and thousands of agents of which some behave badly: they cost the others nothing, and the server no more
//! than is said here.
//!
//! [`crowded`], [`bases`], [`late`] and [`spread`] are the tests. [`stage`] is the server and its fleet, [`wire`] a stream that is opened by hand;
//! [`stalled`], [`flapping`] and [`garbage`] are what badly behaved agents do with one.

mod bases;
mod crowded;
mod flapping;
mod garbage;
mod late;
mod shares;
mod stage;
mod stalled;
mod wire;
