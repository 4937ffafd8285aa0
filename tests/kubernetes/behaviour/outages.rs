//! What happens while the server, an agent or the API server is away.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use driftless_sim::{Failure, Matching};
use driftless_tests::{
    Component, ControlPlane, Options, Simulated, TestCluster, World, audit, behaviour_suite, eventually,
    fixture::{config_map, deployment, stream},
    say,
    world::SOON,
};
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::ConfigMap};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::time::Instant;

use crate::keep::repaired;

behaviour_suite!(
    drift_is_repaired_without_the_server_and_a_fresh_pod_takes_over_from_the_cache,
    standby_takes_over_within_twenty_seconds_of_a_kill,
    agent_catches_up_when_the_server_is_back,
);

async fn drift_is_repaired_without_the_server_and_a_fresh_pod_takes_over_from_the_cache(
    cluster: &dyn TestCluster,
) -> Result<()> {
    let mut world = World::new(cluster, "alone").await?;
    let agent = world.pod("first").await?;
    world
        .push(
            "web",
            &stream(&[deployment("web", "example.com/web:1", 2), config_map("one", "value")]),
        )
        .await?;
    world.healthy().await?;
    world.kill_server();
    let api: Api<Deployment> = Api::namespaced(cluster.client()?, world.namespace());

    let scale = json!({ "spec": { "replicas": 5 } });
    let is_back = |live: &Deployment| live.spec.as_ref().and_then(|spec| spec.replicas) == Some(2);
    api.patch("web", &PatchParams::default(), &Patch::Merge(&scale)).await?;
    let took = repaired("drift to be repaired without the server", &api, "web", is_back).await?;
    say(&format!(
        "{}: repaired {took:?} after the change, with the server gone",
        cluster.kind()
    ));

    agent.terminate(SOON).await?;
    api.patch("web", &PatchParams::default(), &Patch::Merge(&scale)).await?;
    api.delete("web", &DeleteParams::background()).await?;
    let started = Instant::now();
    let fresh = world.pod("second").await?;
    repaired("a fresh pod to repair what it finds in the cache", &api, "web", is_back).await?;
    say(&format!(
        "{}: a fresh pod repaired drift {:?} after its start, from the in-cluster cache",
        cluster.kind(),
        started.elapsed()
    ));
    ensure!(fresh.exit()?.is_none(), "the fresh agent has ended{}", fresh.tail());
    Ok(())
}

/// Who holds the agents' Lease.
async fn holder(cluster: &dyn TestCluster, namespace: &str) -> Result<Option<String>> {
    let leases: Api<Lease> = Api::namespaced(cluster.client()?, namespace);
    let lease = leases.get_opt("driftless-agent").await?;
    let holder = lease.and_then(|lease| lease.spec?.holder_identity);
    Ok(holder.filter(|holder| !holder.is_empty()))
}

async fn standby_takes_over_within_twenty_seconds_of_a_kill(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "standby").await?;
    let first = world.pod("first").await?;
    eventually(SOON, "the first agent to lead", async || {
        holder(cluster, world.name()).await
    })
    .await?;
    let second = world.pod("second").await?;
    world
        .push("web", &stream(&[deployment("web", "example.com/web:1", 2)]))
        .await?;
    world.healthy().await?;
    assert_eq!(holder(cluster, world.name()).await?.as_deref(), Some("first"));

    first.kill();
    let killed = Instant::now();
    let api: Api<Deployment> = Api::namespaced(cluster.client()?, world.namespace());
    api.delete("web", &DeleteParams::background()).await?;
    eventually(SOON, "the standby to lead", async || {
        let holder = holder(cluster, world.name()).await?;
        if holder.as_deref() == Some("second") {
            Ok(Some(()))
        } else {
            Err(anyhow!("{holder:?}"))
        }
    })
    .await?;
    let led = killed.elapsed();
    repaired("the standby to repair drift", &api, "web", |_| true).await?;
    let works = killed.elapsed();
    say(&format!(
        "{}: after kill -9 of the leader the standby led after {led:?} and had repaired drift after {works:?}",
        cluster.kind()
    ));
    ensure!(works < Duration::from_secs(20), "it took {works:?}");
    ensure!(second.exit()?.is_none(), "the standby has ended{}", second.tail());
    world
        .row_where("the standby to report", |row| row.connected && row.converged)
        .await?;
    Ok(())
}

async fn agent_catches_up_when_the_server_is_back(cluster: &dyn TestCluster) -> Result<()> {
    let mut world = World::new(cluster, "back").await?;
    let agent = world.agent().await?;
    world.push("web", &stream(&[config_map("one", "value")])).await?;
    world.converged().await?;
    world.kill_server();
    world.start_server().await?;
    world.push("web", &stream(&[config_map("one", "changed")])).await?;
    world.converged().await?;
    agent.terminate(SOON).await?;
    world.kill_server();
    world.start_server().await?;
    world
        .push("web", &stream(&[config_map("one", "changed again")]))
        .await?;
    let _agent = world.agent().await?;
    world.converged().await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client()?, world.namespace());
    assert_eq!(maps.get("one").await?.data.context("no data")?["key"], "changed again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_goes_on_after_the_api_server_was_paused_killed_and_restarted() -> Result<()> {
    let test = "agent_goes_on_after_the_api_server_was_paused_killed_and_restarted";
    let options = Options {
        audit: Some(audit::Level::Metadata),
        ..Options::default()
    };
    let Some(plane) = ControlPlane::for_test(test, options).await? else {
        return Ok(());
    };
    let world = World::new(&plane, "cut").await?;
    let agent = world.agent().await?;
    let maps: Api<ConfigMap> = Api::namespaced(plane.client()?, world.namespace());
    world.push("web", &stream(&[config_map("one", "1")])).await?;
    world.converged().await?;

    let server = plane.process(Component::ApiServer)?;
    server.pause()?;
    world.push("web", &stream(&[config_map("one", "2")])).await?;
    world
        .row_where("the new snapshot to be worked on without an API server", |row| {
            !row.converged && row.connected
        })
        .await?;
    server.resume()?;
    let resumed = Instant::now();
    becomes(&maps, "2").await?;
    world.converged().await?;
    say(&format!(
        "kube-apiserver: converged {:?} after a paused API server went on",
        resumed.elapsed()
    ));

    plane.kill(Component::ApiServer)?;
    world.push("web", &stream(&[config_map("one", "3")])).await?;
    world
        .row_where("the API server to be reported away", |row| {
            row.problems()
                .iter()
                .any(|problem| problem.reason == "ApiServerUnreachable")
        })
        .await?;
    plane.restart(Component::ApiServer).await?;
    let restarted = Instant::now();
    becomes(&maps, "3").await?;
    let row = world.converged().await?;
    say(&format!(
        "kube-apiserver: converged {:?} after a killed API server was back",
        restarted.elapsed()
    ));
    ensure!(row.problems().is_empty(), "{row:?}");

    // The watches work again too.
    maps.delete("one", &DeleteParams::default()).await?;
    becomes(&maps, "3").await?;
    ensure!(agent.exit()?.is_none(), "the agent has ended{}", agent.tail());
    Ok(())
}

async fn becomes(maps: &Api<ConfigMap>, value: &str) -> Result<()> {
    eventually(SOON, &format!("the ConfigMap to hold {value}"), async || {
        let live = maps.get_opt("one").await?.and_then(|live| live.data?.remove("key"));
        if live.as_deref() == Some(value) {
            Ok(Some(()))
        } else {
            Err(anyhow!("{live:?}"))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_converges_through_refusals_dropped_watches_and_expired_history() -> Result<()> {
    let simulated = Simulated::start().await?;
    let world = World::new(&simulated, "faults").await?;
    let agent = world.agent().await?;
    let maps: Api<ConfigMap> = Api::namespaced(simulated.client()?, world.namespace());
    let faults = simulated.cluster().faults();
    let of_all = |value: &str| -> String {
        let maps: Vec<_> = (0..20)
            .map(|number| config_map(&format!("map-{number}"), value))
            .collect();
        stream(&[maps, vec![config_map("one", value)]].concat())
    };
    world.push("web", &of_all("0")).await?;
    world.converged().await?;

    for (value, failure) in [
        ("1", Failure::TooManyRequests(1)),
        ("2", Failure::Internal),
        ("3", Failure::Unavailable),
    ] {
        faults.fail_next(15, Matching::all().verb("patch").resource("configmaps"), failure);
        world.push("web", &of_all(value)).await?;
        world.converged().await?;
        becomes(&maps, value).await?;
    }
    // What happens while no watch is open, and is forgotten before the next one, is found all the same.
    faults.fail_next(3, Matching::all().verb("watch"), Failure::Internal);
    faults.fail_next(1, Matching::all().verb("list"), Failure::Internal);
    faults.drop_watches();
    maps.delete("one", &DeleteParams::default()).await?;
    faults.expire_history();
    becomes(&maps, "3").await?;

    faults.cut_off();
    world.push("web", &of_all("4")).await?;
    world
        .row_where("the API server to be reported away", |row| {
            row.problems()
                .iter()
                .any(|problem| problem.reason == "ApiServerUnreachable")
        })
        .await?;
    faults.reconnect();
    becomes(&maps, "4").await?;
    let row = world.converged().await?;
    ensure!(row.problems().is_empty(), "{row:?}");
    ensure!(agent.exit()?.is_none(), "the agent has ended{}", agent.tail());
    Ok(())
}
