//! A real API server that loses its store, or refuses the agent's token.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Result, anyhow, ensure};
use driftless_tests::{
    Component, ControlPlane, Options, World, audit, eventually,
    fixture::{config_map, stream},
    identity::{Credential, write_kubeconfig},
    say,
    world::SOON,
};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::Instant;

async fn plane(test: &str) -> Result<Option<ControlPlane>> {
    let options = Options {
        audit: Some(audit::Level::Metadata),
        ..Options::default()
    };
    ControlPlane::for_test(test, options).await
}

fn maps(count: usize, value: &str) -> Vec<Value> {
    (0..count)
        .map(|number| config_map(&format!("map-{number}"), value))
        .collect()
}

/// The uids of what is pushed.
async fn uids(api: &Api<ConfigMap>) -> Result<Vec<Option<String>>> {
    let all = api.list(&ListParams::default()).await?;
    let ours = all.items.into_iter().filter(|map| {
        let name = map.metadata.name.as_deref();
        name.is_some_and(|name| name.starts_with("map-"))
    });
    Ok(ours.map(|map| map.metadata.uid).collect())
}

async fn becomes(api: &Api<ConfigMap>, name: &str, value: &str) -> Result<()> {
    eventually(SOON, &format!("{name} to hold {value}"), async || {
        let live = api.get_opt(name).await?.and_then(|live| live.data?.remove("key"));
        if live.as_deref() == Some(value) {
            Ok(Some(()))
        } else {
            Err(anyhow!("{live:?}"))
        }
    })
    .await
}

/// Changes an object as somebody else, as soon as the API server lets us, and waits until it is put back.
async fn disturbed_and_repaired(api: &Api<ConfigMap>, name: &str, value: &str) -> Result<Duration> {
    let theirs = json!({ "data": { "key": "theirs" } });
    eventually(SOON, "the API server to take a change", async || {
        api.patch(name, &PatchParams::default(), &Patch::Merge(&theirs)).await?;
        Ok(Some(()))
    })
    .await?;
    let begin = Instant::now();
    becomes(api, name, value).await?;
    Ok(begin.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_store_loses_nothing_and_drift_is_repaired_after_it() -> Result<()> {
    let Some(plane) = plane("killed_store_loses_nothing_and_drift_is_repaired_after_it").await? else {
        return Ok(());
    };
    let world = World::new(&plane, "etcd").await?;
    let agent = world.agent().await?;
    let api: Api<ConfigMap> = Api::namespaced(plane.client()?, world.namespace());
    world.push("web", &stream(&maps(20, "1"))).await?;
    world.converged().await?;
    let before = uids(&api).await?;

    plane.kill(Component::Etcd)?;
    // What is pushed while nothing can be stored is applied when it can.
    world.push("web", &stream(&maps(20, "2"))).await?;
    world
        .row_where("the new snapshot to be worked on", |row| {
            !row.converged && row.connected
        })
        .await?;
    plane.restart(Component::Etcd).await?;
    let back = Instant::now();
    world.converged().await?;
    say(&format!(
        "kube-apiserver: converged {:?} after a killed etcd was back",
        back.elapsed()
    ));
    for name in ["map-3", "map-7"] {
        let took = disturbed_and_repaired(&api, name, "2").await?;
        say(&format!("kube-apiserver: drift after that was repaired in {took:?}"));
    }
    ensure!(uids(&api).await? == before, "objects were made anew");
    let row = world.converged().await?;
    ensure!(row.problems().is_empty(), "{row:?}");
    ensure!(agent.exit()?.is_none(), "the agent has ended{}", agent.tail());
    Ok(())
}

/// A kubeconfig of a ServiceAccount that may do everything, with token and authority in files of their own.
struct Mounted {
    kubeconfig: PathBuf,
    token: PathBuf,
}

impl Mounted {
    fn new(plane: &ControlPlane, token: &str) -> Result<Self> {
        let file = |name: &str| plane.folder().join(format!("mounted-{name}"));
        let (kubeconfig, token_file, authority) = (file("kubeconfig"), file("token"), file("ca.crt"));
        fs::write(&token_file, token)?;
        fs::copy(plane.authority_file(), &authority)?;
        write_kubeconfig(
            &kubeconfig,
            plane.server(),
            &authority,
            "mounted",
            Credential::TokenFile(&token_file),
        )?;
        Ok(Self {
            kubeconfig,
            token: token_file,
        })
    }
}

async fn account(plane: &ControlPlane, name: &str) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(plane.client()?, "default");
    let account = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
    accounts.create(&PostParams::default(), &account).await?;
    let binding = [
        "create",
        "clusterrolebinding",
        name,
        "--clusterrole=cluster-admin",
        &format!("--serviceaccount=default:{name}"),
    ];
    plane.kubectl(&binding).await?.expect_success()?;
    plane.service_account_token("default", name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_token_is_told_and_its_replacement_is_used_at_once() -> Result<()> {
    let Some(plane) = plane("revoked_token_is_told_and_its_replacement_is_used_at_once").await? else {
        return Ok(());
    };
    let world = World::new(&plane, "token").await?;
    let mounted = Mounted::new(&plane, &account(&plane, "one").await?)?;
    let replacement = account(&plane, "two").await?;
    let agent = world.pod_as("only", &mounted.kubeconfig).await?;
    world.push("web", &stream(&maps(5, "1"))).await?;
    world.converged().await?;
    let api: Api<ConfigMap> = Api::namespaced(plane.client()?, world.namespace());
    let before = uids(&api).await?;

    let accounts: Api<ServiceAccount> = Api::namespaced(plane.client()?, "default");
    accounts.delete("one", &DeleteParams::default()).await?;
    // The API server goes on to believe a token for a few seconds.
    agent.line("Unauthorized", SOON).await?;
    fs::write(&mounted.token, &replacement)?;
    let replaced = Instant::now();
    agent.line("credentials have changed", SOON).await?;
    let read = replaced.elapsed();
    world.push("web", &stream(&maps(5, "2"))).await?;
    becomes(&api, "map-4", "2").await?;
    say(&format!(
        "kube-apiserver: a replaced token was read after {read:?}, and the next push applied {:?} after it was",
        replaced.elapsed()
    ));
    world.converged().await?;
    ensure!(uids(&api).await? == before, "objects were made anew");
    ensure!(agent.exit()?.is_none(), "the agent has ended{}", agent.tail());
    Ok(())
}
