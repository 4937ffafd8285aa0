//! Deletions beyond a component's budget wait for a person, who sees them, consents, and gets just those.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow, ensure};
use driftless_tests::{
    TestCluster, World, behaviour_suite, eventually,
    fixture::{config_map, stream},
    world::{SOON, expect_words},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};

behaviour_suite!(push_that_removes_more_than_the_budget_waits_for_consent_and_then_deletes_just_that,);

async fn names(maps: &Api<ConfigMap>) -> Result<BTreeSet<String>> {
    let all = maps.list(&ListParams::default()).await?.items.into_iter();
    let names = all.filter_map(|map| map.metadata.name);
    // Kubernetes puts one into every namespace.
    Ok(names.filter(|name| name != "kube-root-ca.crt").collect())
}

async fn push_that_removes_more_than_the_budget_waits_for_consent_and_then_deletes_just_that(
    cluster: &dyn TestCluster,
) -> Result<()> {
    let world = World::new(cluster, "consent").await?;
    let _agent = world.agent().await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client()?, world.namespace());
    let stays: Vec<_> = (0..4).map(|n| format!("stays-{n}")).collect();
    let goes: Vec<_> = (0..12).map(|n| format!("goes-{n:02}")).collect();
    let objects = |names: &[String]| -> Vec<_> { names.iter().map(|name| config_map(name, "1")).collect() };
    world
        .push("web", &stream(&objects(&[stays.clone(), goes.clone()].concat())))
        .await?;
    world.converged().await?;
    let everything = names(&maps).await?;
    ensure!(everything.len() == 16, "{everything:?}");

    // One more comes with the push that removes twelve: it is applied all the same.
    let new = [&stays[..], &["new".to_owned()]].concat();
    world.push("web", &stream(&objects(&new))).await?;
    world
        .row_where("the prune to be blocked", |row| {
            let problems = row.problems();
            problems.iter().any(|problem| problem.reason == "PruneBlocked") && row.applied() == (5, 5)
        })
        .await?;
    let command = format!("driftless approve-prune {} web", world.name());
    let status = world.driftless(&["status", "prod"]).await?;
    expect_words(
        &status,
        &["PruneBlocked", "12 of 17 objects left the component", "approve-prune"],
    )?;
    let explained = world.driftless(&["explain", world.name()]).await?;
    expect_words(&explained, &["PruneBlocked", "12 of 17 objects", &command])?;
    // Without an answer, and where nobody can be asked, nothing is consented to.
    let unasked = world
        .home()
        .driftless(&["approve-prune", world.name(), "web"])
        .await?
        .expect_failure()?;
    expect_words(&unasked, &["12 objects would be deleted on", "goes-00", "--yes"])?;
    let other = world
        .home()
        .driftless(&["approve-prune", world.name(), "other", "--yes"])
        .await?
        .expect_failure()?;
    expect_words(&other, &["other"])?;
    let all: BTreeSet<_> = everything.iter().cloned().chain(["new".to_owned()]).collect();
    ensure!(names(&maps).await? == all);

    let said = world
        .driftless(&["approve-prune", world.name(), "web", "--yes"])
        .await?;
    expect_words(&said, &[world.name(), "web may delete 12 objects"])?;
    let row = world.converged().await?;
    ensure!(row.problems().is_empty(), "{row:?}");
    let left: BTreeSet<_> = new.iter().cloned().collect();
    eventually(SOON, "just the twelve to be gone", async || {
        let names = names(&maps).await?;
        if names == left {
            Ok(Some(()))
        } else {
            Err(anyhow!("{names:?}"))
        }
    })
    .await?;
    let again = world
        .home()
        .driftless(&["approve-prune", world.name(), "web", "--yes"])
        .await?
        .expect_failure()?;
    expect_words(&again, &["no deletion of component `web` waits for consent there"])?;
    // The consent was for these: what is deleted by hand is repaired as ever.
    maps.delete("new", &DeleteParams::default()).await?;
    eventually(SOON, "the rest to be kept", async || {
        let names = names(&maps).await?;
        if names == left {
            Ok(Some(()))
        } else {
            Err(anyhow!("{names:?}"))
        }
    })
    .await
}
