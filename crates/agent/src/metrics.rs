//! The agent's own measurements, as Prometheus reads them at `/metrics`, and what its probes want to know.
//!
//! Written by the parts of the agent as things happen, read by [`crate::serve()`]. What is counted from the reconciler's
//! report is counted when somebody asks.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError, atomic::AtomicU64},
};

use driftless_model::status::Health;
use driftless_reconcile::Report;
use prometheus_client::{
    encoding::text,
    metrics::{family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};
use tokio::sync::watch;

use crate::{election::Permit, status::VERSION};

type Gauges = Family<[(&'static str, String); 2], Gauge>;

/// What an agent measures. Cheap to clone; clones measure together.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    reconciler: driftless_reconcile::Metrics,
    leader: Gauge,
    connected: Gauge,
    sequence: Gauge<u64, AtomicU64>,
    objects: Gauges,
    health: Gauges,
    report: Mutex<Option<watch::Receiver<Arc<Report>>>>,
    permit: OnceLock<Arc<Permit>>,
}

impl Default for Inner {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("driftless_agent");
        let build = Info::new([("version", VERSION)]);
        registry.register("build", "Version of this agent", build);
        let (leader, connected, sequence) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("leader", "Does this pod hold the Lease and work?", leader.clone());
        let help = "Is a stream to the server open?";
        registry.register("connected", help, connected.clone());
        let help = "Sequence of the directive accepted last";
        registry.register("directive_sequence", help, sequence.clone());
        let (objects, health) = (Gauges::default(), Gauges::default());
        let help = "Objects by component and state: applied, pending, to_prune";
        registry.register("objects", help, objects.clone());
        let help = "1 for the worst health among a component's objects";
        registry.register("component_health", help, health.clone());
        let reconciler = driftless_reconcile::Metrics::default();
        reconciler.register(&mut registry);
        Self {
            registry,
            reconciler,
            leader,
            connected,
            sequence,
            objects,
            health,
            report: Mutex::default(),
            permit: OnceLock::new(),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Says that something is over when it is dropped.
pub(crate) struct While(Metrics, fn(&Inner));

impl Drop for While {
    fn drop(&mut self) {
        (self.1)(&self.0.0);
    }
}

impl Metrics {
    /// For the reconciler of a reign.
    pub(crate) fn reconciler(&self) -> &driftless_reconcile::Metrics {
        &self.0.reconciler
    }

    /// Who may write is told by this.
    pub(crate) fn observe_permit(&self, permit: Arc<Permit>) {
        // A second agent of one process measures with the first one's.
        drop(self.0.permit.set(permit));
    }

    /// A reign has begun; it is over when what this gives is dropped.
    pub(crate) fn led(&self, report: watch::Receiver<Arc<Report>>) -> While {
        *self.0.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
        While(self.clone(), |inner| {
            *inner.report.lock().unwrap_or_else(PoisonError::into_inner) = None;
        })
    }

    /// A stream is open; it is closed when what this gives is dropped.
    pub(crate) fn connected(&self) -> While {
        self.0.connected.set(1);
        While(self.clone(), |inner| {
            inner.connected.set(0);
        })
    }

    /// A directive was accepted.
    pub(crate) fn accepted(&self, sequence: u64) {
        self.0.sequence.set(sequence);
    }

    /// Is this agent able to work, or to stand by? Says why not.
    ///
    /// # Errors
    /// A line for whoever looks at the probe.
    pub(crate) fn ready(&self) -> Result<(), &'static str> {
        let permit = self.0.permit.get().ok_or("it has not begun to stand for leader")?;
        if permit.was_asked_for() {
            Ok(())
        } else {
            Err("it has not read the Lease yet")
        }
    }

    /// The page at `/metrics`.
    pub(crate) fn encode(&self) -> String {
        let inner = &*self.0;
        let leads = inner.permit.get().is_some_and(|permit| permit.holds());
        inner.leader.set(i64::from(leads));
        inner.objects.clear();
        inner.health.clear();
        let report = inner.report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(report) = report {
            self.count(&report.borrow());
        }
        let mut page = String::new();
        text::encode(&mut page, &inner.registry).expect("writing to a string cannot fail");
        page
    }

    fn count(&self, report: &Report) {
        for (name, status) in &report.components {
            let pending = status.desired.saturating_sub(status.applied);
            for (state, count) in [
                ("applied", status.applied),
                ("pending", pending),
                ("to_prune", status.to_prune),
            ] {
                let labels = [("component", name.to_string()), ("state", state.to_owned())];
                self.0.objects.get_or_create(&labels).set(i64::from(count));
            }
            let health: Health = status.health;
            let labels = [("component", name.to_string()), ("health", health.to_string())];
            self.0.health.get_or_create(&labels).set(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use driftless_model::status::ComponentStatus;

    use super::*;

    #[test]
    fn objects_are_counted_by_component_and_state_for_as_long_as_a_reign_lasts() {
        let metrics = Metrics::default();
        let status = ComponentStatus {
            desired: 5,
            applied: 3,
            to_prune: 2,
            ..ComponentStatus::default()
        };
        let report = Report {
            components: [("shop".parse().unwrap(), status)].into(),
            ..Report::default()
        };
        let (_sender, receiver) = watch::channel(Arc::new(report));
        let reign = metrics.led(receiver);
        let stream = metrics.connected();
        metrics.accepted(7);
        let page = metrics.encode();
        for line in [
            "driftless_agent_objects{component=\"shop\",state=\"applied\"} 3",
            "driftless_agent_objects{component=\"shop\",state=\"pending\"} 2",
            "driftless_agent_objects{component=\"shop\",state=\"to_prune\"} 2",
            "driftless_agent_connected 1",
            "driftless_agent_leader 0",
            "driftless_agent_directive_sequence 7",
            "driftless_agent_build_info{version=",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
        drop((reign, stream));
        let page = metrics.encode();
        assert!(page.contains("driftless_agent_connected 0"), "{page}");
        assert!(!page.contains("component=\"shop\""), "{page}");
    }
}
