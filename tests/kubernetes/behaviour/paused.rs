//! What people ask for by hand: a pause holds, is told, and ends by itself.

use anyhow::{Result, anyhow, ensure};
use driftless_tests::{
    TestCluster, World, behaviour_suite, eventually,
    fixture::{config_map, stream},
    world::{SOON, expect_words},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

behaviour_suite!(
    change_by_hand_stays_while_the_component_is_paused_and_is_repaired_when_that_ends,
    paused_cluster_takes_no_push_even_after_a_restart_without_the_server_until_it_is_resumed,
);

async fn value(maps: &Api<ConfigMap>, name: &str) -> Result<Option<String>> {
    let live = maps.get_opt(name).await?;
    Ok(live.and_then(|live| live.data?.remove("key")))
}

async fn becomes(maps: &Api<ConfigMap>, name: &str, wanted: Option<&str>) -> Result<()> {
    eventually(SOON, &format!("{name} to be {wanted:?}"), async || {
        let live = value(maps, name).await?;
        if live.as_deref() == wanted {
            Ok(Some(()))
        } else {
            Err(anyhow!("{live:?}"))
        }
    })
    .await
}

/// The message of the pause that the agent reports, if it does.
async fn paused(world: &World<'_>, words: &str) -> Result<()> {
    let row = world
        .row_where("the pause to be reported", |row| {
            let problems = row.problems();
            let mut paused = problems.iter().filter(|problem| problem.reason == "Paused");
            paused.any(|problem| problem.message.contains(words))
        })
        .await?;
    ensure!(row.connected, "{row:?}");
    Ok(())
}

async fn change_by_hand_stays_while_the_component_is_paused_and_is_repaired_when_that_ends(
    cluster: &dyn TestCluster,
) -> Result<()> {
    let world = World::new(cluster, "paused").await?;
    let _agent = world.agent().await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client()?, world.namespace());
    world.push("web", &stream(&[config_map("one", "1")])).await?;
    world.push("other", &stream(&[config_map("two", "1")])).await?;
    world.converged().await?;

    let pause = ["pause", world.name(), "web", "--for", "25s", "--reason", "a migration"];
    let said = world.driftless(&pause).await?;
    expect_words(&said, &[world.name(), "web paused for 25s"])?;
    paused(&world, "a migration").await?;
    let theirs = json!({ "data": { "key": "theirs" } });
    for name in ["one", "two"] {
        maps.patch(name, &PatchParams::default(), &Patch::Merge(&theirs))
            .await?;
    }
    paused(&world, "1 object waits").await?;
    becomes(&maps, "two", Some("1")).await?;
    assert_eq!(value(&maps, "one").await?.as_deref(), Some("theirs"));
    let listed = world.driftless(&["clusters"]).await?;
    expect_words(&listed, &["paused"])?;
    let explained = world.driftless(&["explain", world.name()]).await?;
    expect_words(&explained, &["Paused", "a migration", "driftless resume"])?;

    // Nobody says anything more.
    becomes(&maps, "one", Some("1")).await?;
    let row = world.converged().await?;
    ensure!(row.problems().is_empty(), "{row:?}");
    Ok(())
}

async fn paused_cluster_takes_no_push_even_after_a_restart_without_the_server_until_it_is_resumed(
    cluster: &dyn TestCluster,
) -> Result<()> {
    let mut world = World::new(cluster, "standstill").await?;
    let agent = world.pod("first").await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client()?, world.namespace());
    world.push("web", &stream(&[config_map("one", "1")])).await?;
    world.converged().await?;
    world
        .driftless(&["pause", world.name(), "--for", "1d", "--reason", "an audit"])
        .await?;
    paused(&world, "an audit").await?;
    world.push("web", &stream(&[config_map("one", "2")])).await?;
    paused(&world, "1 object waits").await?;

    // A new leader that the server tells nothing.
    world.kill_server();
    agent.terminate(SOON).await?;
    maps.delete("one", &DeleteParams::default()).await?;
    let agent = world.pod("second").await?;
    agent.line("paused", SOON).await?;
    world.start_server().await?;
    paused(&world, "1 object waits").await?;
    assert_eq!(value(&maps, "one").await?, None);

    let said = world.driftless(&["resume", world.name()]).await?;
    expect_words(&said, &["goes on"])?;
    becomes(&maps, "one", Some("2")).await?;
    world.converged().await?;
    let said = world.driftless(&["reconcile", world.name()]).await?;
    expect_words(&said, &["looks at everything anew"])?;
    agent.line("looking at everything anew", SOON).await?;
    world.converged().await?;
    Ok(())
}
