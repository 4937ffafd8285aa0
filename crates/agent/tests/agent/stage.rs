//! A server over TLS, simulated clusters, and agents between them.

use std::{path::Path, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use driftless_agent::{Error, JoinSource, LEASE, NAMESPACE, Permit, Settings, Timings, dial::Dialer, storage::Storage};
use driftless_client::{Client, Enroll, Push, Pushed, Target};
use driftless_model::{
    bundle::Bundle,
    join::{self, JoinFile},
    manifest::{Manifest, ManifestId},
    name::{ChannelName, ClusterName, Labels, Vars},
};
use driftless_server::Server;
use driftless_sim::Cluster;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[expect(
    clippy::disallowed_methods,
    reason = "certificates are checked against the real clock"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Looks until `probe` finds something; fails after half a minute.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(30), looking).await;
    found.unwrap_or_else(|_| panic!("not within half a minute: {what}"))
}

/// A server, an operator's client, and the channel `prod`.
pub(crate) struct Stage {
    data: TempDir,
    pub(crate) client: Client,
    pub(crate) url: String,
    pub(crate) channel: ChannelName,
    pub(crate) server: Running<driftless_server::Error>,
}

/// A task and what stops it.
pub(crate) struct Running<E> {
    task: JoinHandle<Result<(), E>>,
    stop: CancellationToken,
}

impl<E: 'static + Send + std::fmt::Debug> Running<E> {
    pub(crate) fn start<F>(run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self {
            task: tokio::spawn(run(stop.clone())),
            stop,
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task
            .await
            .expect("the stage is sound")
            .expect("the stage is sound");
    }
}

impl Stage {
    pub(crate) async fn open() -> Self {
        let data = tempfile::tempdir().expect("the stage is sound");
        let settings = driftless_server::Settings::new(
            data.path().to_owned(),
            "127.0.0.1:0".parse().expect("the stage is sound"),
            now,
        );
        let server = Server::start(settings).await.expect("the stage is sound");
        let url = format!("https://{}", server.local_addr());
        let server = Running::start(|stop| server.run(stop));
        let client = Client::connect(Target {
            server: url.parse().expect("the stage is sound"),
            ca: Some(ca(data.path())),
            token: Some(
                std::fs::read_to_string(data.path().join("admin.token"))
                    .expect("the stage is sound")
                    .trim()
                    .to_owned(),
            ),
        });
        let stage = Self {
            data,
            client: client.expect("the stage is sound"),
            url,
            channel: "prod".parse().expect("the stage is sound"),
            server,
        };
        stage
            .client
            .create_channel(&stage.channel)
            .await
            .expect("the stage is sound");
        stage
    }

    pub(crate) async fn enroll(&self, name: &str) -> JoinFile {
        let cluster: ClusterName = name.parse().expect("the stage is sound");
        let (channel, labels) = (self.channel.clone(), Labels::new());
        let enroll = Enroll {
            cluster: cluster.clone(),
            channel,
            labels,
            vars: Vars::new(),
            ttl: None,
            again: false,
        };
        let token = self.client.enroll(&enroll).await.expect("the stage is sound").token;
        JoinFile {
            format: join::FORMAT,
            server: self.url.clone(),
            ca: ca(self.data.path()),
            cluster,
            token,
        }
    }

    pub(crate) async fn push(&self, names: &[&str]) -> Pushed {
        let manifests = names.iter().map(|name| {
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": "default"}, "data": {"key": "value"},
            });
            Manifest::new(object, "default").expect("the stage is sound")
        });
        let bundle = Bundle::new("shop".parse().expect("the stage is sound"), manifests).expect("the stage is sound");
        self.client
            .push(Push::new(self.channel.clone()).bundle(bundle).message("test"), |_| {})
            .await
            .expect("the stage is sound")
    }

    /// An agent of this holder that leads `cluster`, which runs one object of its first push.
    pub(crate) async fn converged_agent(&self, cluster: &Cluster, join: &JoinFile, holder: &str) -> Running<Error> {
        let agent = agent(cluster, settings(cluster, join, holder));
        let pushed = self.push(&["a"]).await;
        self.converged("edge-1", &pushed).await;
        agent
    }

    pub(crate) async fn converged(&self, name: &str, pushed: &Pushed) {
        let cluster: ClusterName = name.parse().expect("the stage is sound");
        eventually("the server hears that the cluster has converged", async || {
            let status = self
                .client
                .cluster(&cluster)
                .await
                .expect("the stage is sound")
                .status?;
            status.is_converged(&pushed.snapshot).then_some(())
        })
        .await;
    }
}

pub(crate) fn ca(data: &Path) -> String {
    std::fs::read_to_string(data.join("ca.crt")).expect("the stage is sound")
}

pub(crate) fn id(group: &str, kind: &str, namespace: &str, name: &str) -> ManifestId {
    ManifestId {
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    }
}

pub(crate) fn config_map(cluster: &Cluster, name: &str) -> Option<Value> {
    cluster.object(&id("", "ConfigMap", "default", name))
}

pub(crate) fn holder(cluster: &Cluster) -> Option<String> {
    let lease = cluster.object(&id("coordination.k8s.io", "Lease", NAMESPACE, LEASE))?;
    Some(lease["spec"]["holderIdentity"].as_str()?.to_owned())
}

pub(crate) fn identity(cluster: &Cluster) -> Option<Value> {
    let secret = cluster.object(&id("", "Secret", NAMESPACE, "driftless-agent-identity"))?;
    let bytes = STANDARD
        .decode(secret["data"]["identity.json"].as_str()?)
        .expect("the stage is sound");
    Some(serde_json::from_slice(&bytes).expect("the stage is sound"))
}

pub(crate) async fn delete(cluster: &Cluster, name: &str) {
    let api: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::namespaced(cluster.client(), "default");
    api.delete(name, &kube::api::DeleteParams::default())
        .await
        .expect("the stage is sound");
}

pub(crate) fn settings(cluster: &Cluster, join: &JoinFile, holder: &str) -> Settings {
    Settings {
        join: JoinSource::Material(Box::new(join.clone())),
        server: None,
        storage: Storage::cluster(cluster.client(), NAMESPACE),
        namespace: NAMESPACE.to_owned(),
        holder: holder.to_owned(),
        timings: Timings {
            reconnect_most: Duration::from_millis(500),
            ..Timings::default()
        },
        dialer: Dialer::tcp(),
        clock: now,
        seed: 1,
        permit: Arc::new(Permit::new(now)),
        metrics: driftless_agent::Metrics::default(),
        reconcile: driftless_reconcile::Settings::default(),
    }
}

pub(crate) fn agent(cluster: &Cluster, settings: Settings) -> Running<Error> {
    let client = cluster.client();
    Running::start(|stop| driftless_agent::run(client.clone(), client, settings, stop))
}

/// The objects that the agent keeps in the cluster, by name.
pub(crate) async fn stored(cluster: &Cluster) -> Vec<String> {
    let api: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::namespaced(cluster.client(), NAMESPACE);
    let params = kube::api::ListParams::default().labels("driftless.dev/stored=object");
    api.list(&params)
        .await
        .expect("the stage is sound")
        .items
        .into_iter()
        .filter_map(|item| item.metadata.name)
        .collect()
}
