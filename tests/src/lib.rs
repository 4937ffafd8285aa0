//! What the test suites stand on: a real Kubernetes control plane, and our own real programs.
//!
//! - [`binaries`] finds what `tests/kubernetes/install` built, and holds the policy for its absence.
//! - [`plane`] starts etcd, kube-apiserver, the controllers and fake nodes, and takes them away.
//! - [`audit`] reads what the API server was asked for.
//! - [`process`] builds and runs `driftless` and `driftless-agent` as a user would.
//! - [`child`] owns every started process; [`identity`] makes certificates for them.
//! - [`cluster`] is what one behaviour suite may ask of the real plane and of [`simulated`] alike.
//! - [`world`] is a whole fleet around such a cluster: server, channel, agents; [`fixture`] is what is pushed.
//! - [`terminal`] shows what a program looks like to a person.
//! - [`wait`] is the only way to wait: a condition, a deadline, and the last state seen.
//!
//! binaries → plane → cluster → world → suites; world ← process ← child. Nothing here is shipped.

pub mod audit;
pub mod binaries;
pub mod child;
pub mod cluster;
pub mod fixture;
pub mod identity;
pub mod plane;
pub mod process;
pub mod simulated;
pub mod terminal;
pub mod wait;
pub mod world;

pub use cluster::TestCluster;
pub use plane::{Component, ControlPlane, Options};
pub use simulated::Simulated;
pub use wait::eventually;
pub use world::World;

/// Tells people something that a passing test found out, a measured time above all.
pub fn say(text: &str) {
    use std::io::Write as _;
    // Not `eprintln!`: the test runner swallows what a passing test prints with it. Nobody is left to tell
    // when stderr itself is gone.
    drop(std::io::stderr().write_all(format!("{text}\n").as_bytes()));
}
