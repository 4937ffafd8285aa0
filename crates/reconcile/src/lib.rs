//! A desired set and a Kubernetes client in, a converged cluster out.
//!
//! Knows nothing of the store or the wire: the agent gives a [`View`] and reads
//! [`Report`]s. Level-triggered: the newest view wins, whatever became of the one before.
//!
//! # Layout
//! [`engine`] is the single task that owns all state; it asks the pure modules what to do and has workers do it.
//!
//! Decisions: [`plan`] (one object: apply, repair, prune or wait), [`owned`] (is it still what was applied),
//! [`health`] (how it does), [`hooks`] (what runs once per version), [`applyset`] (what belongs to a component),
//! [`record`] (what was applied, across restarts), [`backoff`] (when to try again), [`budget`] (may what left go without
//! a person's consent), [`change`] (who changed what), [`ignored`] (fields that others decide), [`ownership`] (whose is
//! what exists already), [`immutable`] (what cannot be changed), [`ground`] (what others stand on), [`rights`] (what is to
//! be granted), [`rules`] (a component's own idea of health).
//!
//! [`metrics`] counts what is done.
//!
//! I/O: [`api`] (requests), [`apply`] (one object), [`discovery`] (which kinds are served), [`watch`] (one per kind),
//! [`parent`] (the ApplySets' parents), [`survey`] (what exists before a first apply). What they bring is reduced to a
//! [`live::Seen`] at once. [`probe`] stands beside the engine: it asks what a view would do, and writes nothing.
//!
//! `view → engine → plan → apply → response and watch → engine → report`

mod api;
mod apply;
mod applyset;
pub mod backoff;
mod budget;
mod change;
mod digest;
mod discovery;
mod engine;
mod events;
mod ground;
pub mod health;
mod hooks;
mod ignored;
mod immutable;
mod live;
mod metrics;
mod owned;
mod ownership;
mod parent;
mod plan;
pub mod probe;
mod record;
mod rights;
mod rules;
mod survey;
mod watch;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use driftless_model::{
    hash::ObjectHash,
    manifest::ManifestId,
    name::ComponentName,
    orders::Orders,
    status::{ComponentStatus, Counters, Problem},
    view::View,
};
use jiff::Timestamp;
use tokio::{sync::watch as channel, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
pub use crate::{change::Change, metrics::Metrics};

/// Where the time comes from.
pub type Clock = fn() -> Timestamp;

/// May this process write, at this moment? Asked right before each request that writes.
pub type Permit = Arc<dyn Fn() -> bool + Send + Sync>;

/// What can be chosen about a [`Reconciler`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// As whom objects are applied.
    pub field_manager: String,
    /// Home of the ApplySets' parents. Created when first needed.
    pub namespace: String,
    /// Most requests under way at once, watches aside.
    pub in_flight: usize,
    /// Delays between tries at one object.
    pub backoff: Backoff,
    /// How long a component must be quiet before what was applied is recorded.
    pub record_after: Duration,
    /// Shortest time between two reports, unless everything has just converged.
    pub report_every: Duration,
    /// How long a wave may be without progress before the next one starts all the same.
    pub wave_deadline: Duration,
    /// How long a deletion may take before it is told of.
    pub stuck_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            field_manager: "driftless".to_owned(),
            namespace: "driftless-system".to_owned(),
            in_flight: 32,
            backoff: Backoff {
                first: Duration::from_millis(500),
                most: Duration::from_secs(300),
            },
            record_after: Duration::from_secs(1),
            report_every: Duration::from_millis(200),
            wave_deadline: Duration::from_secs(300),
            stuck_after: Duration::from_secs(60),
        }
    }
}

/// Why a [`Reconciler`] ended on its own. What a cluster does never ends it: that goes into the [`Report`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A bug in this crate.
    #[error("a worker of the reconciler panicked: please report this")]
    Worker(#[source] tokio::task::JoinError),
    /// What would be cannot be told; says why. Comes of a [`probe`] alone.
    #[error("{0}")]
    Unanswered(String),
}

/// An object that was put back after somebody had changed or deleted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The object.
    pub id: ManifestId,
    /// From the watch event to the API server's answer.
    pub took: Duration,
    /// What was done to it, if that was seen.
    pub change: Option<Change>,
}

/// How the cluster does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The desired components, and those still being pruned.
    pub components: BTreeMap<ComponentName, ComponentStatus>,
    /// What the desired ones are versions of, see [`driftless_model::view::ComponentView::version`].
    pub versions: BTreeMap<ComponentName, ObjectHash>,
    /// What was done since the start.
    pub counters: Counters,
    /// What stands in the way as a whole.
    pub problems: Vec<Problem>,
    /// Version of the API server; empty until known.
    pub kubernetes_version: String,
    /// Kubernetes Events that could not be created, or would have been too many.
    pub events_lost: u64,
    /// The latest repair.
    pub last_repair: Option<Repair>,
}

/// Tells a [`Reconciler`] what to do and hears how it goes. Cheap to clone; outlives the reconciler.
#[derive(Debug, Clone)]
pub struct Handle {
    desired: Arc<channel::Sender<Option<Arc<View>>>>,
    orders: Arc<channel::Sender<engine::Ordered>>,
    report: channel::Receiver<Arc<Report>>,
}

impl Handle {
    /// Sets what the cluster shall run. Replaces whatever was set before, carried out or not.
    pub fn set_desired(&self, view: Arc<View>) {
        self.desired.send_replace(Some(view));
    }

    /// Sets what people asked for by hand. Replaces whatever was set before.
    pub fn set_orders(&self, orders: Arc<Orders>) {
        self.orders.send_if_modified(|current| {
            let differs = *current.orders != *orders;
            current.orders = orders;
            differs
        });
    }

    /// Tells what the clock shows by which orders end: that of whoever takes them. Until this is known they end by the
    /// clock of this machine.
    pub fn set_time(&self, time: Timestamp) {
        self.orders.send_if_modified(|current| {
            current.shown = Some((time, Instant::now()));
            !current.orders.is_empty()
        });
    }

    /// How it goes: the latest report, at most some five a second.
    pub fn report(&self) -> channel::Receiver<Arc<Report>> {
        self.report.clone()
    }
}

/// Makes a cluster run what is desired, and keeps it so. There must be only one per cluster: the leader's.
///
/// # Guarantees
/// - Nothing is written before a view is set, and nothing after [`run`](Self::run) has returned.
/// - Only fields of manifests are written, and only objects in an ApplySet of ours are deleted.
/// - A cluster that is as desired costs no requests but its watches.
/// - An object that fails delays no other, but for what needs it: a namespace, a CRD.
pub struct Reconciler {
    engine: engine::Engine,
}

impl Reconciler {
    /// Makes a reconciler and its handle. `seed` feeds the jitter of all delays.
    pub fn new(client: kube::Client, settings: Settings, clock: Clock, seed: u64) -> (Handle, Self) {
        Self::with_permit(client, Arc::new(|| true), settings, clock, seed)
    }

    /// Makes a reconciler that writes only while `permit` says that it may: what it would send otherwise fails as if the
    /// API server were away.
    pub fn with_permit(
        client: kube::Client,
        permit: Permit,
        settings: Settings,
        clock: Clock,
        seed: u64,
    ) -> (Handle, Self) {
        let api = api::Api::new(client, permit);
        let (desired, views) = channel::channel(None);
        let (orders, ordered) = channel::channel(engine::Ordered::default());
        let (reports, report) = channel::channel(Arc::default());
        let engine = engine::Engine::new(api, settings, clock, seed, (views, ordered), reports);
        (
            Handle {
                desired: Arc::new(desired),
                orders: Arc::new(orders),
                report,
            },
            Self { engine },
        )
    }

    /// Counts what is done in `metrics`.
    #[must_use]
    pub fn measured(mut self, metrics: &Metrics) -> Self {
        self.engine.measure(metrics);
        self
    }

    /// Runs until cancelled, then stops at once: requests under way are abandoned, nothing more is sent.
    ///
    /// # Errors
    /// [`Error::Worker`] after a bug; never because of what the cluster does.
    pub async fn run(self, token: CancellationToken) -> Result<(), Error> {
        self.engine.run(token).await
    }
}
