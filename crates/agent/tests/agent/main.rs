//! Whole agents against a real server over TLS, on simulated clusters.

use std::path::PathBuf;

use driftless_agent::{
    Settings,
    dial::{Dialer, Switch},
    storage::Storage,
};
use driftless_client::Push;
use driftless_model::{
    bundle::Bundle,
    cluster::{Change, LabelEdit, VarEdit},
    manifest::Manifest,
    name::{ChannelName, ClusterName},
};
use driftless_sim::{Cluster, Options};
use serde_json::json;

use stage::*;

mod connections;
mod identity;
mod stage;

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
    let first = stage.converged_agent(&cluster, &join, "one").await;
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
    let leader = stage.converged_agent(&cluster, &join, "one").await;
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
