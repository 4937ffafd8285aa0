//! The gRPC services: each checks who calls, reads the request, and lets journal, hub or table do the work.

mod enrollment;
mod fleet;
mod publish;
mod sync;

use std::{future::Future, sync::Arc};

use driftless_model::{
    fleet::{self as model_fleet, Fleet, MAX_EVENT_BYTES},
    hash::ObjectHash,
    name::ChannelName,
};
use driftless_proto::{MAX_MESSAGE_BYTES, from_time, to_hash, v1};
use driftless_store::{Bucket, Journal};
use futures::stream::{BoxStream, unfold};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    service::{Routes, RoutesBuilder},
};

use crate::{
    auth::Auth, egress::Egress, failure::Failure, hub::Hub, metrics::Metrics, objects::Objects, pki::Authority,
    settings::Clock, status_table::StatusTable,
};

/// What an agent may send in one message: a report of everything that is wrong in a large cluster fits.
const AGENT_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// What anybody may send before anything is known of the sender.
const SMALL_MESSAGE_BYTES: usize = 64 * 1024;
/// Hashes in one request.
const MAX_HASHES: usize = 10_000;

/// What all services share.
pub(crate) struct Core {
    pub(crate) auth: Auth,
    pub(crate) authority: Arc<Authority>,
    pub(crate) bucket: Bucket,
    pub(crate) journal: Journal,
    pub(crate) objects: Arc<Objects>,
    pub(crate) egress: Egress,
    pub(crate) hub: Arc<Hub>,
    pub(crate) table: Arc<StatusTable>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    /// Cancelled when the server begins to stop: long-lived streams end.
    pub(crate) stopping: CancellationToken,
}

impl Core {
    /// The newest fleet state.
    fn state(&self) -> Arc<driftless_store::journal::State> {
        Arc::clone(&self.journal.state().borrow())
    }

    /// Brings the metrics about clusters up to date.
    pub(crate) fn measure_progress(&self) {
        let fleet = &self.state().fleet;
        for name in fleet.channels.keys() {
            self.metrics.progress(name, &self.table.progress(fleet, name));
        }
    }

    /// A channel as callers see it.
    fn channel_message(&self, fleet: &Fleet, name: &ChannelName, channel: &model_fleet::Channel) -> v1::Channel {
        v1::Channel {
            name: name.to_string(),
            sequence: channel.sequence,
            changed: Some(from_time(channel.changed)),
            snapshot: channel.snapshot.as_ref().map(to_hash),
            components: channel
                .components
                .iter()
                .map(|(name, bundle)| (name.to_string(), to_hash(bundle)))
                .collect(),
            clusters: self.table.followers(fleet, name),
            progress: Some(self.table.progress(fleet, name)),
        }
    }
}

/// A server's answer that comes in parts.
type Parts<T> = BoxStream<'static, Result<T, Status>>;

/// All services of this crate, for the HTTP router.
pub(crate) fn routes(core: &Arc<Core>) -> RoutesBuilder {
    let sync = sync::Service(Arc::clone(core));
    let enrollment = v1::enrollment_server::EnrollmentServer::new(enrollment::Service(Arc::clone(core)));
    let publish = v1::publish_server::PublishServer::new(publish::Service::new(Arc::clone(core)));
    let fleet = v1::fleet_server::FleetServer::new(fleet::Service(Arc::clone(core)));
    let mut routes = Routes::builder();
    routes
        .add_service(sync)
        .add_service(enrollment.max_decoding_message_size(SMALL_MESSAGE_BYTES))
        .add_service(
            publish
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(
            fleet
                .max_decoding_message_size(MAX_EVENT_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
        );
    routes
}

/// A stream of what `step` gives, until it gives `None`, or an error, which is then the last.
fn parts<S, T, F>(state: S, step: impl Fn(S) -> F + Clone + Send + 'static) -> Parts<T>
where
    S: Send + 'static,
    T: Send + 'static,
    F: Future<Output = Result<Option<(T, S)>, Failure>> + Send + 'static,
{
    Box::pin(unfold(Some(state), move |state| {
        let step = step.clone();
        async move {
            match step(state?).await {
                Ok(Some((item, state))) => Some((Ok(item), Some(state))),
                Ok(None) => None,
                Err(failure) => Some((Err(failure.into()), None)),
            }
        }
    }))
}

/// Reads the hashes of a request that may name many.
fn hashes(list: &[bytes::Bytes]) -> Result<Vec<ObjectHash>, Failure> {
    if list.len() > MAX_HASHES {
        let text = format!(
            "{} hashes in one request: ask for at most {MAX_HASHES} at once",
            list.len()
        );
        return Err(Failure::TooMuch(text));
    }
    Ok(driftless_proto::hashes("hashes", list)?)
}
