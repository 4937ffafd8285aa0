//! Whole agents against a real server over TLS, on simulated clusters.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use driftless_agent::{
    Error, JoinSource, LEASE, NAMESPACE, Permit, Settings, Timings,
    dial::{Dialer, Switch},
    storage::Storage,
};
use driftless_client::{Client, Enroll, Push, Pushed, Target};
use driftless_model::{
    bundle::Bundle,
    cluster::{Change, LabelEdit, VarEdit},
    join::{self, JoinFile},
    manifest::{Manifest, ManifestId},
    name::{ChannelName, ClusterName, Labels, Vars},
};
use driftless_server::Server;
use driftless_sim::{Cluster, Options};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[expect(
    clippy::disallowed_methods,
    reason = "certificates are checked against the real clock"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Looks until `probe` finds something; fails after half a minute.
async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
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
struct Stage {
    data: TempDir,
    client: Client,
    url: String,
    channel: ChannelName,
    server: Running<driftless_server::Error>,
}

/// A task and what stops it.
struct Running<E> {
    task: JoinHandle<Result<(), E>>,
    stop: CancellationToken,
}

impl<E: 'static + Send + std::fmt::Debug> Running<E> {
    fn start<F>(run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self {
            task: tokio::spawn(run(stop.clone())),
            stop,
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task
            .await
            .expect("the stage is sound")
            .expect("the stage is sound");
    }
}

impl Stage {
    async fn open() -> Self {
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

    async fn enroll(&self, name: &str) -> JoinFile {
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

    async fn push(&self, names: &[&str]) -> Pushed {
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

    async fn converged(&self, name: &str, pushed: &Pushed) {
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

fn ca(data: &Path) -> String {
    std::fs::read_to_string(data.join("ca.crt")).expect("the stage is sound")
}

fn id(group: &str, kind: &str, namespace: &str, name: &str) -> ManifestId {
    ManifestId {
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    }
}

fn config_map(cluster: &Cluster, name: &str) -> Option<Value> {
    cluster.object(&id("", "ConfigMap", "default", name))
}

fn holder(cluster: &Cluster) -> Option<String> {
    let lease = cluster.object(&id("coordination.k8s.io", "Lease", NAMESPACE, LEASE))?;
    Some(lease["spec"]["holderIdentity"].as_str()?.to_owned())
}

fn identity(cluster: &Cluster) -> Option<Value> {
    let secret = cluster.object(&id("", "Secret", NAMESPACE, "driftless-agent-identity"))?;
    let bytes = STANDARD
        .decode(secret["data"]["identity.json"].as_str()?)
        .expect("the stage is sound");
    Some(serde_json::from_slice(&bytes).expect("the stage is sound"))
}

async fn delete(cluster: &Cluster, name: &str) {
    let api: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::namespaced(cluster.client(), "default");
    api.delete(name, &kube::api::DeleteParams::default())
        .await
        .expect("the stage is sound");
}

fn settings(cluster: &Cluster, join: &JoinFile, holder: &str) -> Settings {
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

fn agent(cluster: &Cluster, settings: Settings) -> Running<Error> {
    let client = cluster.client();
    Running::start(|stop| driftless_agent::run(client.clone(), client, settings, stop))
}

/// The objects that the agent keeps in the cluster, by name.
async fn stored(cluster: &Cluster) -> Vec<String> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_joins_applies_and_reports() {
    let stage = Stage::open().await;
    let cluster = Cluster::new(Options::default());
    let agent = agent(&cluster, settings(&cluster, &stage.enroll("edge-1").await, "one"));
    let pushed = stage.push(&["a", "b"]).await;
    stage.converged("edge-1", &pushed).await;
    assert!(config_map(&cluster, "a").is_some() && config_map(&cluster, "b").is_some());
    assert_eq!(holder(&cluster).as_deref(), Some("one"));

    let first = eventually("snapshot and bundle are stored", async || {
        Some(stored(&cluster).await).filter(|names| names.len() == 2)
    });
    let first = first.await;
    let pushed = stage.push(&["a"]).await;
    stage.converged("edge-1", &pushed).await;
    assert!(config_map(&cluster, "b").is_none());
    eventually("what is not needed any more is deleted", async || {
        let names = stored(&cluster).await;
        (names.len() == 2 && names.iter().all(|name| !first.contains(name))).then_some(())
    })
    .await;
    agent.stop().await;
    assert_eq!(holder(&cluster).as_deref(), Some(""));
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_pod_goes_on_from_the_cache_with_the_server_gone() {
    let stage = Stage::open().await;
    let cluster = Cluster::new(Options::default());
    let join = stage.enroll("edge-1").await;
    let first = agent(&cluster, settings(&cluster, &join, "one"));
    let pushed = stage.push(&["a"]).await;
    stage.converged("edge-1", &pushed).await;
    first.stop().await;
    stage.server.stop().await;
    delete(&cluster, "a").await;
    let second = agent(&cluster, settings(&cluster, &join, "two"));
    eventually("the deleted object comes back", async || config_map(&cluster, "a")).await;
    assert_eq!(holder(&cluster).as_deref(), Some("two"));
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_agent_writes_nothing_but_the_lease() {
    let stage = Stage::open().await;
    let cluster = Cluster::new(Options {
        log: 10_000,
        ..Options::default()
    });
    let join = stage.enroll("edge-1").await;
    let state = tempfile::tempdir().expect("the stage is sound");
    let with_folder = |state: PathBuf| Settings {
        storage: Storage::folder(state).expect("the stage is sound"),
        ..settings(&cluster, &join, "one")
    };
    let first = agent(&cluster, with_folder(state.path().to_owned()));
    let pushed = stage.push(&["a", "b"]).await;
    stage.converged("edge-1", &pushed).await;
    eventually("the directive is stored", async || {
        state.path().join("accepted.json").exists().then_some(())
    })
    .await;
    first.stop().await;
    let before = config_map(&cluster, "a").expect("the stage is sound")["metadata"]["resourceVersion"].clone();
    let second = agent(&cluster, with_folder(state.path().to_owned()));
    let edge: ClusterName = "edge-1".parse().expect("the stage is sound");
    eventually("the stream is open again", async || {
        stage
            .client
            .cluster(&edge)
            .await
            .expect("the stage is sound")
            .connected
            .then_some(())
    })
    .await;
    stage.converged("edge-1", &pushed).await;
    assert_eq!(
        config_map(&cluster, "a").expect("the stage is sound")["metadata"]["resourceVersion"],
        before
    );
    assert!(identity(&cluster).is_none() && stored(&cluster).await.is_empty());
    second.stop().await;
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off_agent_repairs_drift_and_catches_up() {
    let stage = Stage::open().await;
    let cluster = Cluster::new(Options::default());
    let network = Switch::new();
    let settings = Settings {
        dialer: Dialer::tcp().with_switch(&network),
        ..settings(&cluster, &stage.enroll("edge-1").await, "one")
    };
    let agent = agent(&cluster, settings);
    let pushed = stage.push(&["a"]).await;
    stage.converged("edge-1", &pushed).await;
    network.set(false);
    let missed = stage.push(&["a", "late"]).await;
    delete(&cluster, "a").await;
    eventually("drift is repaired", async || config_map(&cluster, "a")).await;
    assert!(config_map(&cluster, "late").is_none());
    network.set(true);
    stage.converged("edge-1", &missed).await;
    assert!(config_map(&cluster, "late").is_some());
    agent.stop().await;
    stage.server.stop().await;
}

/// Carries connections to the server. When told to freeze, what is open stays so, and all that either end sends is taken
/// and goes nowhere; what is opened later works.
async fn freezer(server: std::net::SocketAddr) -> (std::net::SocketAddr, Arc<tokio::sync::Notify>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("the stage is sound");
    let address = listener.local_addr().expect("the stage is sound");
    let freeze = Arc::new(tokio::sync::Notify::new());
    let told = freeze.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let told = told.clone();
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(server)
                    .await
                    .expect("the stage is sound");
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                    () = told.notified() => {}
                }
                // Both sockets stay open.
                std::future::pending::<()>().await;
                drop((near, far));
            });
        }
    });
    (address, freeze)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_finds_that_its_server_is_frozen_and_connects_anew() {
    let stage = Stage::open().await;
    let cluster = Cluster::new(Options::default());
    let server = stage
        .url
        .trim_start_matches("https://")
        .parse()
        .expect("the stage is sound");
    let (address, freeze) = freezer(server).await;
    let mut settings = settings(&cluster, &stage.enroll("edge-1").await, "one");
    settings.server = Some(format!("https://{address}"));
    settings.timings.keep_alive = Duration::from_millis(300);
    settings.timings.connect = Duration::from_secs(2);
    let agent = agent(&cluster, settings);
    let pushed = stage.push(&["a"]).await;
    stage.converged("edge-1", &pushed).await;
    // For the one that is open.
    freeze.notify_waiters();
    let pushed = stage.push(&["a", "b"]).await;
    stage.converged("edge-1", &pushed).await;
    agent.stop().await;
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_agent_takes_new_variables_moves_and_is_retired() {
    let stage = Stage::open().await;
    let cluster = Cluster::new(Options::default());
    let agent = agent(&cluster, settings(&cluster, &stage.enroll("edge-1").await, "one"));
    let dev: ChannelName = "dev".parse().unwrap();
    stage.client.create_channel(&dev).await.unwrap();
    let map = |name: &str, data: &str| {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default"}, "data": {"key": data},
        });
        Bundle::new("shop".parse().unwrap(), [Manifest::new(object, "default").unwrap()]).unwrap()
    };
    let push = async |channel: &ChannelName, bundle: Bundle| {
        let push = Push::new(channel.clone()).bundle(bundle).message("test");
        stage.client.push(push, |_| {}).await.unwrap()
    };
    push(&dev, map("of-dev", "${cluster.channel}")).await;
    let pushed = push(
        &stage.channel,
        map("a", "${cluster.vars.size:-small} in ${cluster.labels.region:-nowhere}"),
    )
    .await;
    stage.converged("edge-1", &pushed).await;
    let data = |name: &str| config_map(&cluster, name).map(|object| object["data"]["key"].clone());
    assert_eq!(data("a"), Some(json!("small in nowhere")));

    let name: ClusterName = "edge-1".parse().unwrap();
    let change = async |change: Change| {
        let changed = stage
            .client
            .change_clusters(&[(name.clone(), change)].into())
            .await
            .unwrap();
        eventually("the change is carried out", async || {
            stage.client.cluster(&name).await.unwrap().converged.then_some(())
        })
        .await;
        changed
    };
    let with = |size: &str, channel: Option<ChannelName>| Change {
        channel,
        labels: LabelEdit {
            set: [("region".to_owned(), "eu".to_owned())].into(),
            ..LabelEdit::default()
        },
        vars: VarEdit {
            set: [("size".parse().unwrap(), json!(size))].into(),
            ..VarEdit::default()
        },
    };
    change(with("large", None)).await;
    assert_eq!(data("a"), Some(json!("large in eu")));
    change(with("large", Some(dev))).await;
    assert_eq!((data("a"), data("of-dev")), (None, Some(json!("dev"))));
    change(with("huge", Some(stage.channel.clone()))).await;
    assert_eq!((data("a"), data("of-dev")), (Some(json!("huge in eu")), None));

    stage.client.retire_clusters(&[name.clone()].into()).await.unwrap();
    assert!(stage.client.cluster(&name).await.unwrap_err().is_not_found());
    delete(&cluster, "a").await;
    eventually("what runs is still looked after", async || data("a")).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standby_takes_over_when_the_leader_goes() {
    let stage = Stage::open().await;
    let cluster = Cluster::new(Options::default());
    let join = stage.enroll("edge-1").await;
    let leader = agent(&cluster, settings(&cluster, &join, "one"));
    let pushed = stage.push(&["a"]).await;
    stage.converged("edge-1", &pushed).await;
    let standby = agent(&cluster, settings(&cluster, &join, "two"));
    leader.stop().await;
    eventually("the standby leads", async || {
        holder(&cluster).filter(|holder| holder == "two")
    })
    .await;
    // It uses the identity that the first one got: the token is spent.
    let pushed = stage.push(&["a", "b"]).await;
    stage.converged("edge-1", &pushed).await;
    standby.stop().await;
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spent_token_ends_an_agent_without_identity() {
    let stage = Stage::open().await;
    let join = stage.enroll("edge-1").await;
    let first = Cluster::new(Options::default());
    let joined = agent(&first, settings(&first, &join, "one"));
    let pushed = stage.push(&["a"]).await;
    stage.converged("edge-1", &pushed).await;
    let second = Cluster::new(Options::default());
    let token = CancellationToken::new();
    let error = driftless_agent::run(second.client(), second.client(), settings(&second, &join, "one"), token)
        .await
        .unwrap_err();
    assert!(error.is_fatal() && matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(!error.to_string().contains(&join.token));
    assert_eq!(holder(&second).as_deref(), Some(""));
    assert!(config_map(&second, "a").is_none());
    joined.stop().await;
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_is_renewed_with_the_same_key() {
    static LATER: AtomicI64 = AtomicI64::new(0);
    fn later() -> Timestamp {
        now() + SignedDuration::from_hours(LATER.load(Ordering::Relaxed))
    }
    let stage = Stage::open().await;
    let cluster = Cluster::new(Options::default());
    let join = stage.enroll("edge-1").await;
    let with_clock = || Settings {
        clock: later,
        ..settings(&cluster, &join, "one")
    };
    let first = agent(&cluster, with_clock());
    let pushed = stage.push(&["a"]).await;
    stage.converged("edge-1", &pushed).await;
    first.stop().await;
    let before = identity(&cluster).expect("the stage is sound");
    LATER.store(25 * 24, Ordering::Relaxed);
    let second = agent(&cluster, with_clock());
    let renewed = eventually("another certificate is stored", async || {
        identity(&cluster).filter(|now| now["chain"] != before["chain"])
    });
    assert_eq!(renewed.await["key"], before["key"]);
    let pushed = stage.push(&["a", "b"]).await;
    stage.converged("edge-1", &pushed).await;
    second.stop().await;
    stage.server.stop().await;
}
