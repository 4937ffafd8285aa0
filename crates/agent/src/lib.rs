//! One cluster's agent: holds a stream to the server open and keeps the cluster as the fleet wants it.
//!
//! # Layout
//! [`run`] → `election` (which pod leads) → `lead`, a leader's tasks:
//! - `sync`: `join` gets and renews the [`identity`], `connect` and [`dial`] open a connection, `sync::stream` serves
//!   it, `sync::session` decides what each message means; `object` is where bytes become believed.
//! - `keeper` writes what was accepted ([`accepted`]) to [`storage`].
//! - [`credentials`] is how `main` reaches the cluster, with tokens and authorities that may be replaced.
//! - the reconciler, of its own crate, makes the cluster so; `status` tells the server how that goes.
//!
//! Beside them [`serve()`] shows [`Metrics`], and whether all is well, to whoever asks.
//!
//! [`Follower`] is the believing half of an agent alone, for whoever measures servers with thousands of streams.
//!
//! Data flows one way: stream → session → view → reconciler → report → status → stream.

mod backoff;
mod connect;
mod election;
mod error;
mod join;
mod keeper;
mod lead;
mod metrics;
mod object;
mod serve;
mod settings;
mod status;
mod sync;

pub mod accepted;
pub mod credentials;
pub mod dial;
pub mod identity;
pub mod storage;

use std::sync::Arc;

use kube::Client;
use tokio_util::sync::CancellationToken;

pub use connect::check_url;
pub use election::{LEASE, Permit};
pub use error::Error;
pub use metrics::Metrics;
pub use object::{Bad, Frame, verify, verify_delta};
pub use serve::{Listen, serve};
pub use settings::{Clock, JoinSource, NAMESPACE, Settings, Timings};
pub use status::VERSION;
pub use sync::{Follower, Heard, Refused};

/// Runs an agent for a cluster until `token` is cancelled. `lease` is for the Lease alone; `work` is for everything else,
/// over connections that end with the permit of `settings` where there are any ([`credentials::gated`]).
///
/// # Guarantees
/// Writes nothing to the cluster while another agent leads, its Lease aside. Gives the Lease up at the end.
///
/// # Errors
/// When a person has to help: [`Error::is_fatal`]. A server or an API server that is away is waited for.
pub async fn run(lease: Client, work: Client, settings: Settings, token: CancellationToken) -> Result<(), Error> {
    let settings = Arc::new(settings);
    let candidate = election::Candidate::new(
        lease,
        &settings.namespace,
        settings.holder.clone(),
        settings.timings,
        settings.clock,
        settings.permit.clone(),
        lead::backoff(&settings, 0),
    );
    settings.metrics.observe_permit(settings.permit.clone());
    election::run(candidate, token, |reign| {
        lead::lead(work.clone(), settings.clone(), reign)
    })
    .await
}
