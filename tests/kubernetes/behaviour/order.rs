//! In which order objects come, and what runs before them.

use anyhow::{Result, anyhow, ensure};
use driftless_tests::{
    TestCluster, World, behaviour_suite, eventually,
    fixture::{config_map, deployment, stream},
    world::SOON,
};
use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job, core::v1::ConfigMap};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

behaviour_suite!(
    wave_follows_the_deployment_before_it,
    hook_that_succeeds_lets_its_component_go_on_and_one_that_fails_does_not,
    object_that_is_refused_starts_the_hook_of_a_failure_once,
    what_left_goes_after_what_depended_on_it,
    what_left_stays_until_what_is_new_is_healthy,
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

    // Nobody has to push another version for it to run again.
    let failed = jobs.get("migrate").await?.metadata.uid;
    world.driftless(&["reconcile", world.name()]).await?;
    eventually(SOON, "the failed hook to run again", async || {
        let job = jobs.get_opt("migrate").await?;
        Ok(job.filter(|job| job.metadata.uid != failed).map(drop))
    })
    .await?;
    assert_eq!(maps.get("one").await?.data.unwrap_or_default()["key"], "1");
    Ok(())
}

async fn object_that_is_refused_starts_the_hook_of_a_failure_once(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "refused").await?;
    let _agent = world.agent().await?;
    let fixed = |value: &str| {
        let mut map = config_map("fixed", value);
        map["immutable"] = json!(true);
        map
    };
    let hook = |name: &str, phase: &str| {
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"template": {"spec": {"restartPolicy": "Never",
                "containers": [{"name": "a", "image": "example.com/a:1"}]}}}});
        annotated(job, "argocd.argoproj.io/hook", phase)
    };
    let objects = |fixed| stream(&[fixed, hook("cry", "SyncFail"), hook("after", "PostSync")]);
    world.push("refused", &objects(fixed("1"))).await?;
    world.converged().await?;
    let jobs: Api<Job> = Api::namespaced(cluster.client()?, world.namespace());
    eventually(SOON, "the last hook to run", async || {
        Ok(jobs.get_opt("after").await?.map(drop))
    })
    .await?;
    ensure!(jobs.get_opt("cry").await?.is_none(), "nothing failed");

    world.push("refused", &objects(fixed("2"))).await?;
    let made = eventually(SOON, "the hook of a failure to run", async || {
        Ok(jobs.get_opt("cry").await?)
    })
    .await?;
    world
        .row_where("the refusal to be told", |row| {
            let told = row.problem_of("ConfigMap", "fixed");
            told.is_some_and(|problem| problem.reason == "ImmutableField")
        })
        .await?;
    // A version that is taken has no use for it.
    world.push("refused", &objects(fixed("1"))).await?;
    world.converged().await?;
    let after = jobs.get("cry").await?;
    ensure!(after.metadata.uid == made.metadata.uid, "it ran again");
    Ok(())
}

async fn what_left_goes_after_what_depended_on_it(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "leaving").await?;
    let _agent = world.agent().await?;
    // By their kinds alone the Deployment would go before the ConfigMap.
    let on = format!("apps/namespaces/{}/Deployment/first", world.namespace());
    let objects = [
        deployment("first", "example.com/web:1", 1),
        annotated(config_map("last", "value"), "config.kubernetes.io/depends-on", &on),
    ];
    world.push("leaving", &stream(&objects)).await?;
    world.healthy().await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client()?, world.namespace());
    let deployments: Api<Deployment> = Api::namespaced(cluster.client()?, world.namespace());
    let finalizers = |value: Value| Patch::Merge(json!({"metadata": {"finalizers": value}}));
    let held = finalizers(json!(["example.com/held"]));
    maps.patch("last", &PatchParams::default(), &held).await?;

    world
        .driftless(&["remove", "leaving", "--channel", driftless_tests::world::CHANNEL])
        .await?;
    eventually(SOON, "the ConfigMap to be asked to go", async || {
        let deleting = maps.get("last").await?.metadata.deletion_timestamp.is_some();
        Ok(deleting.then_some(()))
    })
    .await?;
    // What it did after that shows that it did not delete the other meanwhile.
    world.push("other", &stream(&[config_map("fence", "value")])).await?;
    eventually(SOON, "what comes later to be applied", async || {
        Ok(maps.get_opt("fence").await?.map(drop))
    })
    .await?;
    let first = deployments.get("first").await?;
    ensure!(first.metadata.deletion_timestamp.is_none(), "it went first");
    maps.patch("last", &PatchParams::default(), &finalizers(Value::Null))
        .await?;
    eventually(SOON, "the Deployment to go", async || {
        Ok(deployments.get_opt("first").await?.is_none().then_some(()))
    })
    .await
}

async fn what_left_stays_until_what_is_new_is_healthy(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "succession").await?;
    let _agent = world.agent().await?;
    // Pods of the broken one wait for a node that there is not.
    let web = |image: &str, node: Value| {
        let mut web = deployment("web", image, 1);
        web["spec"]["template"]["spec"]["nodeSelector"] = node;
        web
    };
    let before = [web("example.com/web:1", Value::Null), config_map("old", "value")];
    world.push("succession", &stream(&before)).await?;
    world.healthy().await?;

    let broken = web("example.com/web:broken", json!({"example.com/node": "none"}));
    world.push("succession", &stream(&[broken])).await?;
    world
        .row_where("the prune to wait", |row| {
            let problems = row.problems();
            row.applied() == (1, 1) && problems.iter().any(|problem| problem.reason == "PruneWaits")
        })
        .await?;
    // What it did after that shows that it did not delete the old one meanwhile.
    world.push("other", &stream(&[config_map("fence", "value")])).await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client()?, world.namespace());
    eventually(SOON, "what comes later to be applied", async || {
        Ok(maps.get_opt("fence").await?.map(drop))
    })
    .await?;
    ensure!(maps.get("old").await?.metadata.deletion_timestamp.is_none(), "it went");

    world
        .push("succession", &stream(&[web("example.com/web:2", Value::Null)]))
        .await?;
    eventually(SOON, "the old one to go", async || {
        Ok(maps.get_opt("old").await?.is_none().then_some(()))
    })
    .await
}
