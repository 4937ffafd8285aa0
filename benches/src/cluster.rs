//! What benches on a real API server share: the programs at work on one cluster ([`stage`]), what they are given
//! ([`workload`]), the loop that they are compared with ([`bare`]), and the eye of the stopwatch ([`observe`]).

pub mod bare;
pub mod observe;
pub mod stage;
pub mod workload;
