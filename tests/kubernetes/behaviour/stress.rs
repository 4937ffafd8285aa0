//! A real API server that loses its store, is frozen or replaced, has a dead aggregated API, loses a kind, refuses the
//! agent's token, or gets another authority.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Result, anyhow, ensure};
use driftless_tests::{
    Component, ControlPlane, Options, World, audit, eventually,
    fixture::{config_map, definition_and_object, stream},
    identity::{Authority, Credential, write_kubeconfig},
    say,
    world::SOON,
};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, ServiceAccount},
};
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

async fn transitions(world: &World<'_>, plane: &ControlPlane) -> Result<(Option<String>, Option<i32>)> {
    let leases: Api<Lease> = Api::namespaced(plane.client()?, world.name());
    let spec = leases.get("driftless-agent").await?.spec.unwrap_or_default();
    Ok((spec.holder_identity, spec.lease_transitions))
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

#[tokio::test(flavor = "multi_thread")]
async fn api_server_that_is_frozen_for_longer_than_the_lease_finds_one_leader_after_it() -> Result<()> {
    let test = "api_server_that_is_frozen_for_longer_than_the_lease_finds_one_leader_after_it";
    let Some(plane) = plane(test).await? else {
        return Ok(());
    };
    let world = World::new(&plane, "iced").await?;
    let first = world.pod("first").await?;
    let leases: Api<Lease> = Api::namespaced(plane.client()?, world.name());
    eventually(SOON, "the first agent to lead", async || {
        Ok(leases.get_opt("driftless-agent").await?)
    })
    .await?;
    let second = world.pod("second").await?;
    world.push("web", &stream(&maps(20, "1"))).await?;
    world.converged().await?;
    let api: Api<ConfigMap> = Api::namespaced(plane.client()?, world.namespace());
    let before = uids(&api).await?;

    let server = plane.process(Component::ApiServer)?;
    server.pause()?;
    first.line("leading no more", SOON).await?;
    server.resume()?;
    let resumed = Instant::now();
    let took = disturbed_and_repaired(&api, "map-5", "1").await?;
    let (holder, count) = transitions(&world, &plane).await?;
    say(&format!(
        "kube-apiserver: {holder:?} leads ({count:?} transitions) and repaired drift in {took:?}, {:?} after a frozen API \
         server went on",
        resumed.elapsed()
    ));
    ensure!(
        holder.as_deref() == Some("first") || holder.as_deref() == Some("second"),
        "{holder:?}"
    );
    ensure!(uids(&api).await? == before, "objects were made anew");
    world
        .row_where("the leader to report", |row| row.connected && row.converged)
        .await?;
    for agent in [&first, &second] {
        ensure!(agent.exit()?.is_none(), "an agent has ended{}", agent.tail());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_aggregated_api_stops_no_push_and_its_object_comes_when_it_is_served() -> Result<()> {
    let test = "dead_aggregated_api_stops_no_push_and_its_object_comes_when_it_is_served";
    let Some(plane) = plane(test).await? else {
        return Ok(());
    };
    let world = World::new(&plane, "dead").await?;
    // Nobody is behind this Service.
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "nobody" },
        "spec": { "ports": [{ "port": 443 }], "selector": { "app": "nobody" } } });
    let aggregated = json!({ "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": { "name": "v1.dead.example.com" },
        "spec": { "group": "dead.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
            "insecureSkipTLSVerify": true,
            "service": { "namespace": world.namespace(), "name": "nobody" } } });
    apply(&plane, world.namespace(), &[service, aggregated]).await?;
    let api: Api<ConfigMap> = Api::namespaced(plane.client()?, world.namespace());
    let (definition, mut object) = definition_and_object("dead.example.com", "Gadget", "g");
    object["metadata"]["namespace"] = world.namespace().into();
    let agent = world.agent().await?;
    let desired = [maps(20, "1"), vec![object.clone()]].concat();
    world.push_unchecked("web", &stream(&desired)).await?;
    let begin = Instant::now();
    becomes(&api, "map-19", "1").await?;
    say(&format!(
        "kube-apiserver: {:?} from the push to the others, beside a dead aggregated API",
        begin.elapsed()
    ));
    world
        .row_where("the dead API's object to be told", |row| {
            let problems = row.problems();
            problems.iter().any(|problem| problem.reason == "KindNotServed")
        })
        .await?;
    disturbed_and_repaired(&api, "map-4", "1").await?;

    // It goes, and something serves the kind after all.
    plane
        .kubectl(&["delete", "apiservice", "v1.dead.example.com"])
        .await?
        .expect_success()?;
    apply(&plane, world.namespace(), &[definition]).await?;
    world.converged().await?;
    let gadget = ["get", "gadgets.dead.example.com", "g", "-n", world.namespace()];
    plane.kubectl(&gadget).await?.expect_success()?;
    ensure!(agent.exit()?.is_none(), "the agent has ended{}", agent.tail());
    Ok(())
}

/// Applies as somebody else.
async fn apply(plane: &ControlPlane, namespace: &str, objects: &[Value]) -> Result<()> {
    let file = plane.folder().join("others.yaml");
    fs::write(&file, stream(objects))?;
    let file = file.display().to_string();
    let arguments = ["apply", "--server-side", "-n", namespace, "-f", &file];
    plane.kubectl(&arguments).await?.expect_success()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn definition_that_vanishes_and_returns_brings_its_object_back_and_prunes_nothing() -> Result<()> {
    let test = "definition_that_vanishes_and_returns_brings_its_object_back_and_prunes_nothing";
    let Some(plane) = plane(test).await? else {
        return Ok(());
    };
    let world = World::new(&plane, "vanish").await?;
    let api: Api<ConfigMap> = Api::namespaced(plane.client()?, world.namespace());
    let (definition, mut object) = definition_and_object("vanish.example.com", "Gadget", "g");
    object["metadata"]["namespace"] = world.namespace().into();
    apply(&plane, world.namespace(), std::slice::from_ref(&definition)).await?;
    let agent = world.agent().await?;
    let desired = [maps(10, "1"), vec![object]].concat();
    world.push_unchecked("web", &stream(&desired)).await?;
    world.converged().await?;
    let before = uids(&api).await?;
    plane
        .kubectl(&["delete", "crd", "gadgets.vanish.example.com"])
        .await?
        .expect_success()?;
    world
        .row_where("the kind to be missed", |row| {
            let problems = row.problems();
            problems.iter().any(|problem| problem.reason == "KindNotServed")
        })
        .await?;
    disturbed_and_repaired(&api, "map-4", "1").await?;
    apply(&plane, world.namespace(), &[definition]).await?;
    let back = Instant::now();
    let gadget = ["get", "gadgets.vanish.example.com", "g", "-n", world.namespace()];
    eventually(SOON, "the object to be made again", async || {
        plane.kubectl(&gadget).await?.expect_success()?;
        Ok(Some(()))
    })
    .await?;
    say(&format!(
        "kube-apiserver: its object was back {:?} after a definition returned",
        back.elapsed()
    ));
    let row = world.converged().await?;
    ensure!(row.problems().is_empty(), "{row:?}");
    ensure!(uids(&api).await? == before, "objects were made anew");
    ensure!(agent.exit()?.is_none(), "the agent has ended{}", agent.tail());
    Ok(())
}

/// A kubeconfig of a ServiceAccount that may do everything, with token and authority in files of their own.
struct Mounted {
    kubeconfig: PathBuf,
    token: PathBuf,
    authority: PathBuf,
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
            authority,
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

#[tokio::test(flavor = "multi_thread")]
async fn rotated_authority_of_the_api_server_is_trusted_once_the_file_says_so() -> Result<()> {
    let test = "rotated_authority_of_the_api_server_is_trusted_once_the_file_says_so";
    let Some(plane) = plane(test).await? else {
        return Ok(());
    };
    let world = World::new(&plane, "rotated").await?;
    let mounted = Mounted::new(&plane, &account(&plane, "one").await?)?;
    let agent = world.pod_as("only", &mounted.kubeconfig).await?;
    world.push("web", &stream(&maps(5, "1"))).await?;
    world.converged().await?;

    let next = Authority::new()?;
    let plane_config = plane.rotate(&next).await?;
    let api: Api<ConfigMap> = Api::namespaced(kube::Client::try_from(plane_config)?, world.namespace());
    let before = uids(&api).await?;
    agent.line("invalid peer certificate", SOON).await?;
    world.push("web", &stream(&maps(5, "2"))).await?;
    fs::write(&mounted.authority, next.certificate())?;
    let rotated = Instant::now();
    becomes(&api, "map-4", "2").await?;
    say(&format!(
        "kube-apiserver: a push was applied {:?} after the new authority's file was there",
        rotated.elapsed()
    ));
    world.converged().await?;
    ensure!(uids(&api).await? == before, "objects were made anew");
    ensure!(agent.exit()?.is_none(), "the agent has ended{}", agent.tail());
    Ok(())
}
