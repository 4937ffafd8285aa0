//! The server's own measurements, as Prometheus reads them at `/metrics`.

use std::sync::atomic::AtomicU64;

use driftless_model::name::ChannelName;
use driftless_proto::v1;
use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};

/// The server's own measurements. Written wherever something happens, read by `/metrics`.
pub(crate) struct Metrics {
    registry: Registry,
    /// Agents whose stream is open.
    pub(crate) agents: Gauge,
    /// Newest journal entry that this server has folded.
    pub(crate) journal_seq: Gauge<u64, AtomicU64>,
    /// Pushes by how they ended: `published`, `unchanged`, `conflict`, `refused`, `failed`.
    pub(crate) publishes: Family<[(&'static str, &'static str); 1], Counter>,
    /// Compressed bytes of objects sent to agents.
    pub(crate) objects_sent: Counter,
    /// Compressed bytes of objects stored for pushes.
    pub(crate) objects_received: Counter,
    /// Directives sent to agents.
    pub(crate) directives: Counter,
    /// Deltas that were encoded: once for each pair of objects, however many agents got them.
    pub(crate) deltas_encoded: Counter,
    /// Bytes in the cache of objects and deltas.
    pub(crate) object_cache: Gauge,
    /// Clusters of each channel by how far they are: brought up to date when the page is asked for.
    clusters: Family<[(&'static str, String); 2], Gauge>,
    clusters_connected: Family<[(&'static str, String); 1], Gauge>,
    /// Connections that ended before their TLS handshake was done.
    pub(crate) failed_handshakes: Counter,
    /// Connections that had to wait for their turn to shake hands.
    pub(crate) delayed_handshakes: Counter,
    /// Connections that went on with the TLS session of an earlier one.
    pub(crate) resumed_handshakes: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("driftless");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of this server", build);
        let metrics = Self {
            registry: Registry::default(),
            agents: Gauge::default(),
            journal_seq: Gauge::default(),
            publishes: Family::default(),
            objects_sent: Counter::default(),
            objects_received: Counter::default(),
            directives: Counter::default(),
            deltas_encoded: Counter::default(),
            object_cache: Gauge::default(),
            clusters: Family::default(),
            clusters_connected: Family::default(),
            failed_handshakes: Counter::default(),
            delayed_handshakes: Counter::default(),
            resumed_handshakes: Counter::default(),
        };
        registry.register(
            "agents_connected",
            "Agents whose stream is open at this server",
            metrics.agents.clone(),
        );
        registry.register(
            "journal_seq",
            "Newest journal entry folded",
            metrics.journal_seq.clone(),
        );
        registry.register("publish", "Pushes by result", metrics.publishes.clone());
        let sent = metrics.objects_sent.clone();
        registry.register("objects_sent_bytes", "Compressed bytes of objects sent to agents", sent);
        let received = metrics.objects_received.clone();
        registry.register(
            "objects_received_bytes",
            "Compressed bytes of objects stored for pushes",
            received,
        );
        registry.register(
            "directives_sent",
            "Directives sent to agents",
            metrics.directives.clone(),
        );
        registry.register(
            "deltas_encoded",
            "Deltas between two objects that were encoded",
            metrics.deltas_encoded.clone(),
        );
        registry.register(
            "object_cache_bytes",
            "Bytes in the cache of objects and deltas",
            metrics.object_cache.clone(),
        );
        registry.register(
            "clusters",
            "Clusters of a channel by how far they are with its newest snapshot",
            metrics.clusters.clone(),
        );
        registry.register(
            "clusters_connected",
            "Clusters of a channel whose agent has a stream open, to any server",
            metrics.clusters_connected.clone(),
        );
        let failed = metrics.failed_handshakes.clone();
        registry.register(
            "tls_handshakes_failed",
            "Connections that ended during their TLS handshake",
            failed,
        );
        registry.register(
            "tls_handshakes_delayed",
            "Connections that had to wait for their turn to shake hands",
            metrics.delayed_handshakes.clone(),
        );
        registry.register(
            "tls_handshakes_resumed",
            "Connections that went on with the TLS session of an earlier one",
            metrics.resumed_handshakes.clone(),
        );
        Self { registry, ..metrics }
    }

    pub(crate) fn published(&self, result: &'static str) {
        self.publishes.get_or_create(&[("result", result)]).inc();
    }

    /// How far the clusters of a channel are.
    pub(crate) fn progress(&self, channel: &ChannelName, progress: &v1::Progress) {
        let labels = [("channel", channel.to_string())];
        self.clusters_connected
            .get_or_create(&labels)
            .set(progress.connected.into());
        for (phase, count) in [
            ("waiting", progress.waiting),
            ("progressing", progress.progressing),
            ("applied", progress.applied),
            ("healthy", progress.healthy),
            ("failed", progress.failed),
        ] {
            let labels = [("channel", channel.to_string()), ("phase", phase.to_owned())];
            self.clusters.get_or_create(&labels).set(count.into());
        }
    }

    /// The page at `/metrics`.
    pub(crate) fn encode(&self) -> String {
        let mut page = String::new();
        text::encode(&mut page, &self.registry).expect("writing to a string cannot fail");
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_dashboards_use() {
        let metrics = Metrics::new();
        metrics.agents.set(3);
        metrics.published("conflict");
        metrics.objects_sent.inc_by(7);
        let page = metrics.encode();
        for line in [
            "driftless_agents_connected 3",
            "driftless_journal_seq 0",
            "driftless_publish_total{result=\"conflict\"} 1",
            "driftless_objects_sent_bytes_total 7",
            "driftless_build_info{version=",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }
}
