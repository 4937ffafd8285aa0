//! kubectl and the agent look at each other's ApplySets: each leaves alone what is the other's.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use driftless_tests::{
    ControlPlane, World,
    fixture::{config_map, stream},
    process::Finished,
    world::{CHANNEL, expect_words},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use super::adoption::push_adopting;

/// Applies a file as a member of a set, and prunes what of the set is not in the file.
async fn kubectl_applyset(plane: &ControlPlane, namespace: &str, set: &str, file: &str) -> Result<Finished> {
    let set = format!("--applyset={set}");
    let arguments = ["apply", "--prune", &set, "-n", namespace, "-f", file];
    plane.kubectl_with(&arguments, &[("KUBECTL_APPLYSET", "true")]).await
}

fn manifest(world: &World<'_>, name: &str, text: &str) -> Result<String> {
    let path = world.home().path().join(name);
    fs::write(&path, text)?;
    Ok(path.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_finds_the_members_of_our_set_and_refuses_to_change_it() -> Result<()> {
    let Some(plane) = ControlPlane::shared("applyset::kubectl_finds").await? else {
        return Ok(());
    };
    let world = World::new(plane, "ours").await?;
    let _agent = world.agent().await?;
    let objects = [config_map("one", "value"), config_map("two", "value")];
    world.push("shop", &stream(&objects)).await?;
    world.converged().await?;
    world.recorded("shop").await?;

    let maps: Api<ConfigMap> = Api::namespaced(plane.client()?, world.namespace());
    let before = (maps.get("one").await?, maps.get("two").await?);
    let parents: Api<ConfigMap> = Api::namespaced(plane.client()?, world.name());
    let parent = parents.get("driftless-shop").await?;
    let labels = parent.metadata.labels.clone().unwrap_or_default();
    let id = labels
        .get("applyset.kubernetes.io/id")
        .context("the parent has no id")?;

    let selector = format!("applyset.kubernetes.io/part-of={id}");
    let get = ["get", "configmaps", "-A", "-l", &selector, "-o", "name"];
    let found = plane.kubectl(&get).await?.expect_success()?;
    let found: Vec<_> = found.lines().collect();
    assert_eq!(found, ["configmap/one", "configmap/two"]);

    // Of all that is in the set kubectl would keep `one` only.
    let mut one = config_map("one", "by kubectl");
    one["metadata"]["namespace"] = world.name().into();
    let file = manifest(&world, "one.yaml", &one.to_string())?;
    let refused = kubectl_applyset(plane, world.name(), "configmap/driftless-shop", &file).await?;
    let refused = refused.expect_failure()?;
    expect_words(&refused, &["ApplySet", "driftless", "tooling"])?;
    assert_eq!((maps.get("one").await?, maps.get("two").await?), before);
    ensure!(parents.get_opt("one").await?.is_none(), "kubectl applied something");
    assert_eq!(parents.get("driftless-shop").await?, parent);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn member_of_a_set_of_kubectl_is_left_alone_until_the_component_adopts() -> Result<()> {
    let Some(plane) = ControlPlane::shared("applyset::member_of_a_set").await? else {
        return Ok(());
    };
    let world = World::new(plane, "theirs").await?;
    let objects = [config_map("one", "value"), config_map("two", "value")];
    let file = manifest(&world, "theirs.yaml", &stream(&objects))?;
    kubectl_applyset(plane, world.namespace(), "configmap/theirs", &file)
        .await?
        .expect_success()?;
    let maps: Api<ConfigMap> = Api::namespaced(plane.client()?, world.namespace());
    let before = maps.get("one").await?;

    let _agent = world.agent().await?;
    world.push("shop", &stream(&objects)).await?;
    let row = world
        .row_where("both to be reported", |row| {
            row.problem_of("ConfigMap", "one").is_some() && row.problem_of("ConfigMap", "two").is_some()
        })
        .await?;
    let problem = row.problem_of("ConfigMap", "one").context("no problem")?;
    assert_eq!((problem.reason.as_str(), problem.blocks), ("OwnedByOther", true));
    let labels = before.metadata.labels.clone().unwrap_or_default();
    let set = labels
        .get("applyset.kubernetes.io/part-of")
        .context("kubectl set no label")?;
    expect_words(&problem.message, &[set, "adopt: true"])?;
    assert_eq!(maps.get("one").await?, before);

    push_adopting(&world, "shop", &stream(&objects)).await?;
    let row = world.converged().await?;
    assert_eq!(row.applied(), (2, 2));
    let live = maps.get("one").await?;
    let labels = live.metadata.labels.unwrap_or_default();
    ensure!(
        labels.get("applyset.kubernetes.io/part-of").is_some_and(|it| it != set),
        "{labels:?}"
    );
    ensure!(live.metadata.uid == before.metadata.uid, "it was made anew");

    // It left kubectl's set, which therefore has nothing to prune.
    let file = manifest(&world, "none.yaml", &config_map("other", "value").to_string())?;
    kubectl_applyset(plane, world.namespace(), "configmap/theirs", &file)
        .await?
        .expect_success()?;
    maps.get("one").await?;
    let shown = world.driftless(&["status", CHANNEL]).await?;
    ensure!(!shown.contains("OwnedByOther"), "{shown}");
    Ok(())
}
