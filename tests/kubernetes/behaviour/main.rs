//! What Driftless does to a cluster, with the real programs: on a simulated API server, and on a real one.
//!
//! Where the two differ in what a test observes, the simulator is wrong.

mod adoption;
mod apply;
mod applyset;
mod clocks;
mod consent;
mod differing;
mod disputes;
mod dry_run;
mod enrolled;
mod frozen;
mod idle;
mod joining;
mod keep;
mod kube_prometheus;
mod order;
mod outages;
mod paused;
mod rights;
mod stress;
