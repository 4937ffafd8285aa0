//! In which order objects come, and what runs before them.

use anyhow::{Result, anyhow};
use driftless_tests::{
    TestCluster, World, behaviour_suite, eventually,
    fixture::{config_map, deployment, stream},
    world::SOON,
};
use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job, core::v1::ConfigMap};
use kube::Api;
use serde_json::{Value, json};

behaviour_suite!(
    wave_follows_the_deployment_before_it,
    hook_that_succeeds_lets_its_component_go_on_and_one_that_fails_does_not,
);

fn annotated(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["annotations"][key] = json!(value);
    object
}

async fn wave_follows_the_deployment_before_it(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "waves").await?;
    let _agent = world.agent().await?;
    let wave = |object, wave: &str| annotated(object, "argocd.argoproj.io/sync-wave", wave);
    let objects = [
        wave(config_map("last", "value"), "1"),
        deployment("first", "example.com/web:1", 1),
    ];
    world.push("waves", &stream(&objects)).await?;
    world.healthy().await?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client()?, world.namespace());
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client()?, world.namespace());
    let first = deployments.get("first").await?;
    assert_eq!(first.status.and_then(|status| status.available_replicas), Some(1));
    let (first, last) = (
        first.metadata.creation_timestamp,
        maps.get("last").await?.metadata.creation_timestamp,
    );
    assert!(first <= last, "{first:?} {last:?}");
    Ok(())
}

async fn hook_that_succeeds_lets_its_component_go_on_and_one_that_fails_does_not(
    cluster: &dyn TestCluster,
) -> Result<()> {
    let world = World::new(cluster, "hooks").await?;
    let _agent = world.agent().await?;
    // What fails waits for a node that there is not, and has a second to get it.
    let hook = |image: &str, node: Value| {
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate"},
            "spec": {"activeDeadlineSeconds": if node.is_null() { 120 } else { 1 }, "backoffLimit": 0,
                "template": {"spec": {"restartPolicy": "Never", "nodeSelector": node,
                    "containers": [{"name": "a", "image": image}]}}}});
        annotated(job, "argocd.argoproj.io/hook", "PreSync")
    };
    let good = [hook("example.com/a:1", Value::Null), config_map("one", "1")];
    world.push("hooks", &stream(&good)).await?;
    world.converged().await?;
    let jobs: Api<Job> = Api::namespaced(cluster.client()?, world.namespace());
    let done = jobs.get("migrate").await?.status.and_then(|status| status.succeeded);
    assert_eq!(done, Some(1));

    let bad = [
        hook("example.com/a:broken", json!({"example.com/node": "none"})),
        config_map("one", "2"),
    ];
    world.push("hooks", &stream(&bad)).await?;
    eventually(SOON, "the failed hook to be told", async || {
        let row = world.row().await?;
        let problems = row.problems();
        match problems.iter().any(|problem| problem.reason == "HookFailed") {
            true => Ok(Some(())),
            false => Err(anyhow!("{problems:?}")),
        }
    })
    .await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client()?, world.namespace());
    assert_eq!(maps.get("one").await?.data.unwrap_or_default()["key"], "1");
    Ok(())
}
