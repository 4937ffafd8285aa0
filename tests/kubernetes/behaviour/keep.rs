//! What stays as it was pushed, and what the agent leaves alone.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use driftless_tests::{
    TestCluster, World, behaviour_suite,
    cluster::Asked,
    eventually,
    fixture::{config_map, deployment, stream},
    say,
    world::{SOON, expect_words},
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::Instant;

behaviour_suite!(
    changed_and_deleted_live_objects_are_repaired,
    status_and_foreign_fields_are_left_alone,
    what_left_the_push_is_pruned_and_what_is_not_ours_stays,
    restart_of_the_agent_writes_nothing,
);

/// Waits for `wanted` of a live object, looking all the time, and gives the time from now.
pub(crate) async fn repaired(
    what: &str,
    api: &Api<Deployment>,
    name: &str,
    wanted: impl Fn(&Deployment) -> bool,
) -> Result<Duration> {
    let started = Instant::now();
    eventually(SOON, what, async || match api.get_opt(name).await? {
        Some(live) if wanted(&live) => Ok(Some(())),
        live => Err(anyhow!("{:?}", live.map(|live| live.spec))),
    })
    .await?;
    Ok(started.elapsed())
}

fn replicas(live: &Deployment) -> Option<i32> {
    live.spec.as_ref().and_then(|spec| spec.replicas)
}

async fn changed_and_deleted_live_objects_are_repaired(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "drift").await?;
    let _agent = world.agent().await?;
    world
        .push(
            "web",
            &stream(&[deployment("web", "example.com/web:1", 2), config_map("other", "value")]),
        )
        .await?;
    world.healthy().await?;
    let api: Api<Deployment> = Api::namespaced(cluster.client()?, world.namespace());

    let change = json!({ "spec": { "replicas": 5 } });
    let by = PatchParams {
        field_manager: Some("kubectl-edit".to_owned()),
        ..PatchParams::default()
    };
    api.patch("web", &by, &Patch::Merge(change)).await?;
    let change = repaired("the changed Deployment to be repaired", &api, "web", |live| {
        replicas(live) == Some(2)
    })
    .await?;
    world
        .row_where("the repair to be counted", |row| {
            row.status.as_ref().is_some_and(|status| status.counters.repaired >= 1)
        })
        .await?;
    let explained = world.driftless(&["explain", world.name()]).await?;
    let last = format!(
        "ago: Deployment.apps {}/web, changed by kubectl-edit",
        world.namespace()
    );
    expect_words(&explained, &["web  once, ", &last])?;

    let before = api.get("web").await?.metadata.uid.context("no uid")?;
    api.delete("web", &DeleteParams::background()).await?;
    let is_new = |live: &Deployment| live.metadata.uid.as_ref().is_some_and(|uid| *uid != before);
    let deletion = repaired("the deleted Deployment to come back", &api, "web", is_new).await?;
    say(&format!(
        "{}: a changed object was repaired {change:?} after the change, a deleted one {deletion:?} after the deletion",
        cluster.kind()
    ));
    let row = world
        .row_where("the repairs to be counted", |row| {
            row.status.as_ref().is_some_and(|status| status.counters.repaired >= 2) && row.converged
        })
        .await?;
    assert_eq!(row.applied(), (2, 2));
    let status = row.status.context("no status")?;
    let repairs = status
        .components
        .values()
        .find_map(|component| component.repairs.as_deref());
    let repairs = repairs.context("no repairs are told")?;
    ensure!(
        repairs.count == status.counters.repaired && repairs.manager.is_none(),
        "{repairs:?}"
    );
    Ok(())
}

async fn status_and_foreign_fields_are_left_alone(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "foreign").await?;
    let _agent = world.agent().await?;
    world
        .push("web", &stream(&[deployment("web", "example.com/web:1", 1)]))
        .await?;
    world.healthy().await?;

    let mark = cluster.mark().await?;
    let api: Api<Deployment> = Api::namespaced(cluster.client()?, world.namespace());
    let foreign = json!({ "metadata": { "annotations": { "example.com/seen": "yes" } }, "spec": { "paused": true } });
    api.patch("web", &PatchParams::default(), &Patch::Merge(foreign))
        .await?;
    // The next push is worked on behind the event of the change.
    world.push("after", &stream(&[config_map("after", "value")])).await?;
    world.converged().await?;
    world.recorded("after").await?;

    let asked = cluster.asked(world.name(), mark).await?;
    let touched: Vec<_> = asked.iter().filter(|one| one.is_write() && one.name == "web").collect();
    assert!(touched.is_empty(), "{touched:?}");
    let live = serde_json::to_value(api.get("web").await?)?;
    assert_eq!(live["metadata"]["annotations"]["example.com/seen"], "yes");
    assert_eq!(live["spec"]["paused"], true);
    Ok(())
}

fn annotated(name: &str, key: &str, value: &str) -> Value {
    let mut map = config_map(name, "value");
    map["metadata"]["annotations"] = json!({ key: value });
    map
}

async fn what_left_the_push_is_pruned_and_what_is_not_ours_stays(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "prune").await?;
    let _agent = world.agent().await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client()?, world.namespace());
    let foreign_set = json!({
        "metadata": {
            "name": "of-another-set",
            "labels": {
                "applyset.kubernetes.io/part-of": "applyset-wHf5Gity0G0nPN34KuNBIBBEOu2H9ED2KqsblMPFygM-v1",
                "driftless.dev/component": "shop",
            },
        },
    });
    for map in [json!({ "metadata": { "name": "of-nobody" } }), foreign_set] {
        maps.create(&PostParams::default(), &serde_json::from_value(map)?)
            .await?;
    }
    let kept = [
        annotated("kept-by-us", "driftless.dev/prune", "disabled"),
        annotated("kept-by-flux", "kustomize.toolkit.fluxcd.io/prune", "disabled"),
        annotated("kept-by-helm", "helm.sh/resource-policy", "keep"),
        annotated("kept-by-argo", "argocd.argoproj.io/sync-options", "Prune=false"),
    ];
    let mut all = vec![config_map("stays", "value"), config_map("leaves", "value")];
    all.extend(kept);
    world.push("shop", &stream(&all)).await?;
    world.converged().await?;

    let started = Instant::now();
    world.push("shop", &stream(&[config_map("stays", "value")])).await?;
    let row = world.converged().await?;
    eventually(SOON, "the removed object to be pruned", async || {
        Ok(maps.get_opt("leaves").await?.is_none().then_some(()))
    })
    .await?;
    say(&format!(
        "{}: pruned {:?} after the push began",
        cluster.kind(),
        started.elapsed()
    ));
    assert_eq!(row.applied(), (1, 1));
    for name in [
        "stays",
        "of-nobody",
        "of-another-set",
        "kept-by-us",
        "kept-by-flux",
        "kept-by-helm",
        "kept-by-argo",
    ] {
        ensure!(maps.get_opt(name).await?.is_some(), "{name} is gone");
    }
    let row = world.row().await?;
    assert_eq!(row.status.context("no status")?.counters.pruned, 1);
    Ok(())
}

async fn restart_of_the_agent_writes_nothing(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "restart").await?;
    let agent = world.pod("one").await?;
    let objects = [
        deployment("web", "example.com/web:1", 2),
        config_map("one", "value"),
        config_map("two", "value"),
    ];
    world.push("shop", &stream(&objects)).await?;
    world.healthy().await?;
    world.recorded("shop").await?;

    agent.terminate(SOON).await?;
    let mark = cluster.mark().await?;
    let _agent = world.pod("two").await?;
    world
        .row_where("the new agent to report", |row| row.connected && row.converged)
        .await?;
    // Whatever it wanted to write it would have written before it carries out the next push.
    world.push("after", &stream(&[config_map("after", "value")])).await?;
    world.converged().await?;
    let asked = cluster.asked(world.name(), mark).await?;
    let of_before = |one: &&Asked| {
        one.resource != "leases"
            && (one.name == "driftless-shop" || one.namespace == world.namespace() && one.name != "after")
    };
    let wrote: Vec<_> = asked.iter().filter(|one| one.is_write()).filter(of_before).collect();
    assert!(wrote.is_empty(), "{wrote:?}");
    Ok(())
}
