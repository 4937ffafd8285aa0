//! Objects that cannot be as pushed: each is reported for itself and holds nothing else up.

use anyhow::{Context as _, Result, ensure};
use driftless_tests::{
    TestCluster, World, behaviour_suite,
    fixture::{config_map, deployment, stream},
    world::{CHANNEL, expect_words},
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

behaviour_suite!(
    field_of_another_manager_is_reported_and_not_taken,
    refused_object_is_reported_and_blocks_no_other,
);

async fn field_of_another_manager_is_reported_and_not_taken(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "conflict").await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client()?, world.namespace());
    for name in ["disputed", "forced"] {
        let theirs = config_map(name, "theirs");
        maps.patch(name, &PatchParams::apply("somebody-else"), &Patch::Apply(&theirs))
            .await?;
    }
    let _agent = world.agent().await?;
    let mut forced = config_map("forced", "ours");
    forced["metadata"]["annotations"] = json!({ "driftless.dev/force-conflicts": "true" });
    let objects = [config_map("disputed", "ours"), forced, config_map("other", "value")];
    world.push("shop", &stream(&objects)).await?;

    let row = world
        .row_where("the conflict to be reported and the others to be applied", |row| {
            row.applied() == (2, 3) && row.problem_of("ConfigMap", "disputed").is_some()
        })
        .await?;
    let problem = row.problem_of("ConfigMap", "disputed").context("no problem")?;
    assert_eq!((problem.reason.as_str(), problem.blocks), ("FieldConflict", true));
    expect_words(&problem.message, &["somebody-else", ".data.key"])?;
    ensure!(!row.converged, "converged with a conflict: {row:?}");
    let shown = world.driftless(&["status", CHANNEL]).await?;
    expect_words(&shown, &["disputed", "somebody-else", ".data.key"])?;

    let value = async |name: &str| -> Result<String> {
        let data = maps.get(name).await?.data.unwrap_or_default();
        Ok(data.get("key").cloned().unwrap_or_default())
    };
    assert_eq!(value("disputed").await?, "theirs");
    assert_eq!(value("forced").await?, "ours");
    assert_eq!(value("other").await?, "value");

    // The way out that the message names.
    world
        .push(
            "shop",
            &stream(&[config_map("disputed", "theirs"), config_map("other", "value")]),
        )
        .await?;
    let row = world.converged().await?;
    ensure!(row.problems().is_empty(), "{row:?}");
    Ok(())
}

async fn refused_object_is_reported_and_blocks_no_other(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "refused").await?;
    let _agent = world.agent().await?;
    let mut broken = deployment("broken", "example.com/web:1", 1);
    broken["spec"]["template"]["metadata"]["labels"] = json!({ "app": "something-else" });
    let mut nowhere = config_map("nowhere", "value");
    nowhere["metadata"]["namespace"] = json!(format!("{}-missing", world.namespace()));
    let objects = [
        broken,
        nowhere,
        deployment("web", "example.com/web:1", 1),
        config_map("other", "value"),
    ];
    world.push_unchecked("shop", &stream(&objects)).await?;

    let row = world
        .row_where("two refusals to be reported and the others to be applied", |row| {
            row.applied() == (2, 4) && row.problems().iter().filter(|problem| problem.blocks).count() == 2
        })
        .await?;
    let problem = row
        .problem_of("Deployment", "broken")
        .context("no problem of the Deployment")?;
    expect_words(&problem.message, &["selector", "tried again in"])?;
    let problem = row
        .problem_of("ConfigMap", "nowhere")
        .context("no problem of the ConfigMap")?;
    expect_words(&problem.message, &["-missing", "namespace", "tried again in"])?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client()?, world.namespace());
    deployments.get("web").await?;

    let mut mended = deployment("broken", "example.com/web:1", 1);
    mended["metadata"]["labels"] = json!({ "mended": "yes" });
    let objects = [
        mended,
        deployment("web", "example.com/web:1", 1),
        config_map("other", "value"),
    ];
    world.push("shop", &stream(&objects)).await?;
    let row = world.converged().await?;
    assert_eq!(row.applied(), (3, 3));
    Ok(())
}
