//! What `kubectl apply` has installed is taken over in place: nothing is made anew, nothing rolls out.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, ensure};
use driftless_model::status::Health;
use driftless_tests::{
    ControlPlane, World,
    fixture::{ONLINE_BOUTIQUE, documents, kube_prometheus},
    say,
    world::CHANNEL,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::json;
use tokio::time::Instant;

/// Pushes a component that takes over what belongs to other tools.
pub(crate) async fn push_adopting(world: &World<'_>, component: &str, manifests: &str) -> Result<()> {
    let folder = world.home().path().join(format!("{component}-adopted"));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("all.yaml"), manifests)?;
    let file = json!({"version": 1, "channel": CHANNEL, "components": [{
        "name": component, "path": format!("{component}-adopted"), "namespace": world.namespace(), "adopt": true,
    }]});
    fs::write(world.home().path().join("driftless.yaml"), file.to_string())?;
    world.driftless(&["push"]).await?;
    Ok(())
}

/// Names, identities and generations of what runs in a namespace: unchanged means that nothing was touched.
async fn generations(plane: &ControlPlane, namespace: &str) -> Result<BTreeMap<String, (String, i64)>> {
    let everything = ListParams::default();
    let (deployments, daemons): (Api<Deployment>, Api<DaemonSet>) = (
        Api::namespaced(plane.client()?, namespace),
        Api::namespaced(plane.client()?, namespace),
    );
    let sets: Api<ReplicaSet> = Api::namespaced(plane.client()?, namespace);
    let mut found = BTreeMap::new();
    let mut add = |kind: &str, name: String, uid: Option<String>, generation: Option<i64>| {
        found.insert(
            format!("{kind} {name}"),
            (uid.unwrap_or_default(), generation.unwrap_or_default()),
        );
    };
    for it in deployments.list(&everything).await? {
        add("Deployment", it.name_any(), it.uid(), it.metadata.generation);
    }
    for it in daemons.list(&everything).await? {
        add("DaemonSet", it.name_any(), it.uid(), it.metadata.generation);
    }
    for it in sets.list(&everything).await? {
        add("ReplicaSet", it.name_any(), it.uid(), it.metadata.generation);
    }
    Ok(found)
}

async fn rolled_out(plane: &ControlPlane, namespace: &str) -> Result<()> {
    let wait = ["rollout", "status", "deployment", "-n", namespace, "--timeout=120s"];
    plane.kubectl(&wait).await?.expect_success()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn online_boutique_of_kubectl_is_taken_over_without_a_rollout() -> Result<()> {
    let Some(plane) = ControlPlane::shared("adoption::online_boutique").await? else {
        return Ok(());
    };
    let world = World::new(plane, "adopted").await?;
    let file = world.home().path().join("boutique.yaml");
    fs::write(&file, ONLINE_BOUTIQUE)?;
    let path = file.display().to_string();
    let apply = ["apply", "-n", world.namespace(), "-f", &path];
    plane.kubectl(&apply).await?.expect_success()?;
    rolled_out(plane, world.namespace()).await?;
    let before = generations(plane, world.namespace()).await?;
    ensure!(
        before.len() == 24,
        "not 12 Deployments with a ReplicaSet each: {before:?}"
    );

    let _agent = world.agent().await?;
    let started = Instant::now();
    world.push("shop", ONLINE_BOUTIQUE).await?;
    let row = world
        .row_where("online-boutique to be taken over", |row| {
            row.converged && row.health() == Health::Current
        })
        .await?;
    say(&format!(
        "online-boutique taken over {:?} after the push began",
        started.elapsed()
    ));
    assert_eq!(row.applied(), (35, 35));
    ensure!(row.problems().is_empty(), "{row:?}");
    assert_eq!(generations(plane, world.namespace()).await?, before);

    // All of them are members now.
    let selector = "driftless.dev/component=shop";
    let get = [
        "get",
        "deployments",
        "-n",
        world.namespace(),
        "-l",
        selector,
        "-o",
        "name",
    ];
    let members = plane.kubectl(&get).await?.expect_success()?;
    assert_eq!(members.lines().count(), 12, "{members}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_prometheus_of_kubectl_is_taken_over_without_a_rollout() -> Result<()> {
    // Of cluster-wide objects: on a plane of its own, beside no other test that pushes them.
    let options = driftless_tests::Options::full();
    let test = "kube_prometheus_of_kubectl_is_taken_over_without_a_rollout";
    let Some(plane) = ControlPlane::for_test(test, options).await? else {
        return Ok(());
    };
    let world = World::new(&plane, "adopted").await?;
    let is_secret = |document: &str| document.lines().any(|line| line == "kind: Secret");
    let all = documents(&kube_prometheus()?, |document| !is_secret(document));
    let file = world.home().path().join("prometheus.yaml");
    fs::write(&file, &all)?;
    let path = file.display().to_string();
    // Definitions are larger than what a client-side apply can remember in an annotation.
    let create = ["create", "-f", &path];
    plane.kubectl(&create).await?;
    let apply = ["apply", "--server-side", "-f", &path];
    let mut applied = plane.kubectl(&apply).await?;
    for _ in 0..20 {
        if applied.status.success() {
            break;
        }
        // Kinds are served a moment after their definitions are made.
        applied = plane.kubectl(&apply).await?;
    }
    applied.expect_success()?;
    let before = generations(&plane, "monitoring").await?;
    ensure!(before.len() > 8, "too little runs: {before:?}");

    let _agent = world.agent().await?;
    push_adopting(&world, "monitoring", &all).await?;
    let row = world.converged().await?;
    let (applied, desired) = row.applied();
    ensure!(applied == desired && desired > 100, "{applied} of {desired}");
    let after = generations(&plane, "monitoring").await?;
    for (object, was) in &before {
        let is = after.get(object).with_context(|| format!("{object} is gone"))?;
        assert_eq!(is, was, "{object}");
    }
    Ok(())
}
