//! What the test suites stand on: a real Kubernetes control plane, and our own real programs.
//!
//! - [`binaries`] finds what `tests/kubernetes/install` built, and holds the policy for its absence.
//! - [`plane`] starts etcd, kube-apiserver, the controllers and fake nodes, and takes them away.
//! - [`audit`] reads what the API server was asked for.
//! - [`process`] builds and runs `driftless` and `driftless-agent` as a user would.
//! - [`child`] owns every started process; [`identity`] makes certificates for them.
//! - [`cluster`] is what one behaviour suite may ask of the real plane and of the simulator alike.
//! - [`wait`] is the only way to wait: a condition, a deadline, and the last state seen.
//!
//! binaries → plane → cluster → suites ← process ← child. Nothing here is shipped.

pub mod audit;
pub mod binaries;
pub mod child;
pub mod cluster;
pub mod identity;
pub mod plane;
pub mod process;
pub mod wait;

pub use cluster::TestCluster;
pub use plane::{Component, ControlPlane, Options};
pub use wait::eventually;
