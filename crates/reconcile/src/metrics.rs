//! What the reconciler measures of its own work, as Prometheus reads it.
//!
//! Written by the engine and by [`crate::api`] as things happen, read by whoever registered it. Every label has few
//! values: components and kinds are the fleet's, field managers are counted by name only up to a bound, and fields are
//! no label at all (Events and logs name them).

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use driftless_model::{manifest::ManifestId, name::ComponentName};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use crate::change::Change;

/// Field managers that are counted by name; further ones are one.
const MANAGERS: usize = 32;
const OTHERS: &str = "others";
/// Where the API server keeps no trace of who it was.
const UNKNOWN: &str = "unknown";
/// Upper bounds of buckets, in seconds.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

type Labels<const N: usize> = [(&'static str, String); N];

/// What a [`crate::Reconciler`] measures. Cheap to clone; clones count together, and go on counting when one reconciler
/// follows another.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    requests: Family<[(&'static str, &'static str); 2], Counter>,
    applied: Family<Labels<1>, Counter>,
    pruned: Family<Labels<1>, Counter>,
    repairs: Family<Labels<3>, Counter>,
    conflicts: Family<Labels<2>, Counter>,
    apply_seconds: Histogram,
    repair_seconds: Histogram,
    managers: Mutex<BTreeSet<String>>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            applied: Family::default(),
            pruned: Family::default(),
            repairs: Family::default(),
            conflicts: Family::default(),
            apply_seconds: Histogram::new(SECONDS),
            repair_seconds: Histogram::new(SECONDS),
            managers: Mutex::default(),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Has `registry` show all of it.
    pub fn register(&self, registry: &mut Registry) {
        let Inner {
            requests,
            applied,
            pruned,
            repairs,
            conflicts,
            apply_seconds,
            repair_seconds,
            managers: _,
        } = &*self.0;
        let help = "Requests to the API server by what was asked and the class of the answer";
        registry.register("requests", help, requests.clone());
        let help = "Objects created or changed because the desired state changed";
        registry.register("applied", help, applied.clone());
        let help = "Objects deleted because they left the desired state";
        registry.register("pruned", help, pruned.clone());
        let help = "Objects put back after somebody changed or deleted them; Events name the fields";
        registry.register("repairs", help, repairs.clone());
        let help = "Applies refused because another manager holds fields";
        registry.register("conflicts", help, conflicts.clone());
        let help = "Time of one server-side apply, from request to answer";
        registry.register("apply_seconds", help, apply_seconds.clone());
        let help = "Time from the watch event that shows drift to its repair";
        registry.register("repair_seconds", help, repair_seconds.clone());
    }

    /// A request was answered, or not (`None`).
    pub(crate) fn request(&self, verb: &'static str, code: Option<u16>, took: Duration) {
        let code = match code {
            None => "none",
            Some(200..300) => "2xx",
            Some(403) => "403",
            Some(404) => "404",
            Some(409) => "409",
            Some(422) => "422",
            Some(429) => "429",
            Some(300..500) => "4xx",
            Some(_) => "5xx",
        };
        let labels = [("verb", verb), ("code", code)];
        self.0.requests.get_or_create(&labels).inc();
        if verb == "apply" && code == "2xx" {
            self.0.apply_seconds.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn applied(&self, component: &ComponentName) {
        self.0.applied.get_or_create(&of(component)).inc();
    }

    pub(crate) fn pruned(&self, component: &ComponentName) {
        self.0.pruned.get_or_create(&of(component)).inc();
    }

    pub(crate) fn repaired(
        &self,
        component: &ComponentName,
        id: &ManifestId,
        change: Option<&Change>,
        took: Option<Duration>,
    ) {
        let manager = self.manager(change.and_then(Change::manager).unwrap_or(UNKNOWN));
        let [component] = of(component);
        let labels = [component, ("kind", id.kind.clone()), ("manager", manager)];
        self.0.repairs.get_or_create(&labels).inc();
        if let Some(took) = took {
            self.0.repair_seconds.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn conflict(&self, component: &ComponentName, manager: &str) {
        let [component] = of(component);
        let labels = [component, ("manager", self.manager(manager))];
        self.0.conflicts.get_or_create(&labels).inc();
    }

    /// Anybody can invent names of managers: not all of them are kept.
    fn manager(&self, name: &str) -> String {
        let mut managers = self.0.managers.lock().unwrap_or_else(PoisonError::into_inner);
        if managers.contains(name) || managers.len() < MANAGERS {
            managers.insert(name.to_owned());
            return name.to_owned();
        }
        OTHERS.to_owned()
    }
}

fn of(component: &ComponentName) -> Labels<1> {
    [("component", component.to_string())]
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    #[test]
    fn managers_are_counted_by_name_up_to_a_bound() {
        let metrics = Metrics::default();
        let shop = "shop".parse().unwrap();
        for number in 0..100 {
            metrics.conflict(&shop, &format!("manager-{number}"));
        }
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        assert!(
            page.contains("conflicts_total{component=\"shop\",manager=\"manager-0\"} 1"),
            "{page}"
        );
        assert!(
            page.contains("conflicts_total{component=\"shop\",manager=\"others\"} 68"),
            "{page}"
        );
    }
}
