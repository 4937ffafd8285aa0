//! Two real clusters of different labels and variables run one snapshot, each as its overlays and variables say.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use driftless_tests::{
    ControlPlane, Options, World,
    child::Running,
    cluster::TestCluster,
    eventually,
    process::Program,
    world::{CHANNEL, SOON},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace},
};
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};

const OTHER: &str = "edge-us";

/// A second cluster of the same channel, and its agent.
struct Other {
    client: Client,
    _agent: Running,
}

async fn join(world: &World<'_>, plane: &ControlPlane) -> Result<Other> {
    let client = plane.client()?;
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": world.namespace()}}))?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &namespace).await?;
    let enroll = ["cluster", "enroll", OTHER, "--channel", CHANNEL, "--join-file", "other"];
    let facts = ["--label", "region=us", "--var", "replicas=1"];
    world.driftless(&[&enroll[..], &facts].concat()).await?;
    let kubeconfig = plane.kubeconfig_of(OTHER).await?.display().to_string();
    let arguments = [
        "--join",
        "other",
        "--kubeconfig",
        &kubeconfig,
        "--namespace",
        OTHER,
        "--state",
        "other-state",
    ];
    let agent = world.home().spawn("other", Program::Agent, &arguments)?;
    Ok(Other { client, _agent: agent })
}

/// An application that differs: in scale by a variable, in Europe by an overlay.
fn write_application(world: &World<'_>) -> Result<()> {
    let folder = world.home().path().join("shop");
    fs::create_dir_all(&folder)?;
    let labels = json!({"app": "web"});
    let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": "${cluster.vars.replicas}", "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "registry.example/web:1"}]}}}});
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"},
        "data": {"cluster": "${cluster.name}", "greeting": "hello"}});
    let extra =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "retention"}, "data": {"days": "30"}});
    fs::write(folder.join("web.json"), web.to_string())?;
    fs::write(folder.join("settings.json"), settings.to_string())?;
    let file = json!({"version": 1, "channel": CHANNEL, "components": [{
        "name": "shop", "path": "shop", "namespace": world.namespace(),
        "overlays": [{"name": "europe", "selector": "region=eu", "add": [extra],
            "patches": [{"target": {"kind": "ConfigMap", "name": "settings"}, "merge": {"data": {"greeting": "bonjour"}}}]}],
    }]});
    fs::write(world.home().path().join("driftless.yaml"), file.to_string())?;
    Ok(())
}

/// What the application looks like: replicas, the settings, and whether the overlay's object is there.
async fn seen(client: &Client, namespace: &str) -> Result<Option<Value>> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let (Some(web), Some(settings)) = (deployments.get_opt("web").await?, maps.get_opt("settings").await?) else {
        return Ok(None);
    };
    let retention = maps.get_opt("retention").await?.is_some();
    Ok(Some(
        json!({"replicas": web.spec.and_then(|spec| spec.replicas), "settings": settings.data, "retention": retention}),
    ))
}

async fn until(client: &Client, namespace: &str, what: &str, wanted: Value) -> Result<()> {
    eventually(SOON, what, async || {
        let found = seen(client, namespace).await?;
        ensure!(found.as_ref() == Some(&wanted), "it is {found:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_snapshot_runs_differently_on_two_clusters() -> Result<()> {
    let Some(europe) = ControlPlane::shared("differing").await? else {
        return Ok(());
    };
    let Some(america) = ControlPlane::for_test("differing", Options::full()).await? else {
        return Ok(());
    };
    let world = World::new(europe, "differing").await?;
    world
        .driftless(&["cluster", "label", world.name(), "region=eu"])
        .await?;
    world
        .driftless(&["cluster", "vars", world.name(), "replicas=3"])
        .await?;
    let _agent = world.agent().await?;
    let other = join(&world, &america).await?;
    let here = europe.client()?;
    let namespace = world.namespace();

    write_application(&world)?;
    world.driftless(&["push", "-m", "first"]).await?;
    let eu = |name: &str, replicas: u32| json!({"replicas": replicas, "settings": {"cluster": name, "greeting": "bonjour"}, "retention": true});
    let us = |replicas: u32| json!({"replicas": replicas, "settings": {"cluster": OTHER, "greeting": "hello"}, "retention": false});
    until(&here, namespace, "europe to run the overlay", eu(world.name(), 3)).await?;
    until(&other.client, namespace, "america to run without it", us(1)).await?;

    // What `view` says is what runs.
    let view: Value = world.home().driftless(&["view", OTHER, "-o", "json"]).await?.json()?;
    let said = view["components"]["shop"]
        .as_array()
        .context("view lists the component's objects")?;
    ensure!(said.len() == 2, "{view}");

    // A change of a cluster reaches its agent as a push does.
    world.driftless(&["cluster", "vars", OTHER, "replicas=2"]).await?;
    until(&other.client, namespace, "america to scale", us(2)).await?;
    world
        .driftless(&["cluster", "label", OTHER, "region=eu", "--overwrite"])
        .await?;
    until(&other.client, namespace, "america to move to europe", eu(OTHER, 2)).await?;
    world
        .driftless(&["cluster", "label", OTHER, "region=us", "--overwrite"])
        .await?;
    until(&other.client, namespace, "america to come back", us(2)).await?;

    // A variable that one of them lacks is refused, and nothing changes.
    world
        .driftless(&["cluster", "vars", world.name(), "colour=red"])
        .await?;
    let settings = world.home().path().join("shop/settings.json");
    let text = fs::read_to_string(&settings)?.replace("hello", "${cluster.vars.colour}");
    fs::write(&settings, text)?;
    let said = world.home().driftless(&["push"]).await?.expect_failure()?;
    for words in [
        "settings",
        "data.greeting",
        "`${cluster.vars.colour}` is not defined",
        OTHER,
    ] {
        ensure!(said.contains(words), "no {words:?} in: {said}");
    }
    until(&other.client, namespace, "america to stay as it was", us(2)).await
}
