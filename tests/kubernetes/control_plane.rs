//! The harness itself on a real control plane: that it starts, rolls out, logs, hurts and heals.
//!
//! What it shows is the ground under every other suite here; it says nothing about Driftless.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, anyhow, ensure};
use driftless_tests::{
    Component, ControlPlane, Options, TestCluster, audit, behaviour_suite, cluster::new_namespace, eventually,
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(60);

behaviour_suite!(deployment_of_three_becomes_available, namespaces_of_two_tests_differ);

async fn deployment_of_three_becomes_available(cluster: &dyn TestCluster) -> Result<()> {
    if !cluster.runs_workloads() {
        return Ok(());
    }
    let namespace = new_namespace(cluster, "rollout").await?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client()?, &namespace);
    let started = Instant::now();
    deployments
        .patch(
            "web",
            &PatchParams::apply("tests"),
            &Patch::Apply(&deployment("web", 3)),
        )
        .await?;
    eventually(SOON, "web to have three available replicas", async || {
        let status = deployments.get("web").await?.status.unwrap_or_default();
        let available = status.available_replicas.unwrap_or(0);
        if available == 3 {
            Ok(Some(()))
        } else {
            Err(anyhow!("{available} available"))
        }
    })
    .await?;
    println!(
        "{}: three replicas available after {:?}",
        cluster.kind(),
        started.elapsed()
    );
    Ok(())
}

async fn namespaces_of_two_tests_differ(cluster: &dyn TestCluster) -> Result<()> {
    let (one, other) = (
        new_namespace(cluster, "same").await?,
        new_namespace(cluster, "same").await?,
    );
    ensure!(one != other, "both are {one}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn full_plane_starts_and_says_what_it_costs() -> Result<()> {
    let Some(plane) = ControlPlane::shared("full_plane_starts_and_says_what_it_costs").await? else {
        return Ok(());
    };
    println!("full control plane after {:?}", plane.start_time());
    for component in Component::ALL {
        let process = plane.process(component)?;
        let (memory, processor) = (process.resident_bytes()?, process.cpu_time()?);
        println!(
            "{}: {} MiB resident, {processor:?} of processor time",
            component.name(),
            memory >> 20
        );
        ensure!(
            memory > 1 << 20 && process.peak_resident_bytes()? >= memory,
            "{component:?}: {memory} bytes"
        );
    }
    ensure!(
        plane.process(Component::ApiServer)?.cpu_time()? > Duration::ZERO,
        "no time used at all"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_log_tells_who_wrote_what() -> Result<()> {
    let Some(plane) = ControlPlane::shared("audit_log_tells_who_wrote_what").await? else {
        return Ok(());
    };
    let namespace = new_namespace(plane, "audit").await?;
    let maps: Api<ConfigMap> = Api::namespaced(plane.client()?, &namespace);
    let mark = plane.audit_mark().await?;
    maps.create(
        &PostParams::default(),
        &serde_json::from_value(json!({ "metadata": { "name": "one" } }))?,
    )
    .await?;
    maps.get("one").await?;

    let events = plane.audit_since(mark).await?;
    let ours: Vec<_> = events
        .iter()
        .filter(|event| event.user.username == "admin" && event.is_about("configmaps"))
        .filter(|event| {
            event
                .object_ref
                .as_ref()
                .is_some_and(|object| object.namespace == namespace)
        })
        .map(audit::Event::summary)
        .collect();
    let object = format!("configmaps/{namespace}/one");
    assert_eq!(
        ours,
        [
            format!("create {object} 201 by admin"),
            format!("get {object} 200 by admin")
        ]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn api_service_without_a_server_is_reported_unavailable() -> Result<()> {
    let Some(plane) = ControlPlane::shared("api_service_without_a_server_is_reported_unavailable").await? else {
        return Ok(());
    };
    let file = plane.folder().join("api-service.json");
    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": { "name": "v1beta1.nobody.example.com" },
        "spec": {
            "group": "nobody.example.com",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": true,
            "service": { "name": "nobody", "namespace": "default" },
        },
    });
    std::fs::write(&file, service.to_string())?;
    plane
        .kubectl(&["apply", "-f", &file.display().to_string()])
        .await?
        .expect_success()?;
    plane
        .kubectl(&[
            "wait",
            "apiservice/v1beta1.nobody.example.com",
            "--for=condition=Available=False",
            "--timeout=60s",
        ])
        .await?
        .expect_success()?;
    let gone = ["delete", "apiservice/v1beta1.nobody.example.com"];
    plane.kubectl(&gone).await?.expect_success()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_service_accounts_have_only_their_own_rights() -> Result<()> {
    let Some(plane) = ControlPlane::shared("users_and_service_accounts_have_only_their_own_rights").await? else {
        return Ok(());
    };
    let namespace = new_namespace(plane, "rights").await?;
    plane
        .kubectl(&["create", "serviceaccount", "agent", "-n", &namespace])
        .await?
        .expect_success()?;
    let who = format!("system:serviceaccount:{namespace}:agent");
    for (kubeconfig, name) in [
        (
            plane.service_account_kubeconfig(&namespace, "agent").await?,
            who.as_str(),
        ),
        (plane.user_kubeconfig("alice", &["readers"])?, "alice"),
    ] {
        let file = format!("--kubeconfig={}", kubeconfig.display());
        let seen = plane
            .kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", &file])
            .await?;
        assert_eq!(seen.expect_success()?, name);
        let refused = plane
            .kubectl(&["get", "secrets", "-n", &namespace, &file])
            .await?
            .expect_failure()?;
        ensure!(refused.contains("forbidden"), "{refused}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_can_be_paused_killed_and_restarted_with_their_data() -> Result<()> {
    let test = "parts_can_be_paused_killed_and_restarted_with_their_data";
    let Some(plane) = ControlPlane::for_test(test, Options::default()).await? else {
        return Ok(());
    };
    println!("bare control plane after {:?}", plane.start_time());
    let maps: Api<ConfigMap> = Api::namespaced(plane.client()?, "default");
    maps.create(
        &PostParams::default(),
        &serde_json::from_value(json!({ "metadata": { "name": "kept" } }))?,
    )
    .await?;

    let server = plane.process(Component::ApiServer)?;
    server.pause()?;
    let answer = tokio::time::timeout(Duration::from_secs(1), maps.get("kept")).await;
    ensure!(answer.is_err(), "a paused API server answered: {answer:?}");
    server.resume()?;
    maps.get("kept").await?;

    for component in [Component::ApiServer, Component::Etcd] {
        plane.kill(component)?;
        ensure!(plane.process(component)?.exit()?.is_some(), "{component:?} still runs");
        let started = Instant::now();
        plane.restart(component).await?;
        println!("{} serves again after {:?}", component.name(), started.elapsed());
        maps.get("kept").await?;
    }

    let left = pids_below(&plane);
    drop((server, plane));
    for pid in left {
        ensure!(!pid.exists(), "{} outlived its control plane", pid.display());
    }
    Ok(())
}

/// The /proc entries of a plane's processes.
fn pids_below(plane: &ControlPlane) -> Vec<PathBuf> {
    [Component::Etcd, Component::ApiServer]
        .into_iter()
        .filter_map(|component| plane.process(component).ok())
        .map(|process| PathBuf::from(format!("/proc/{}", process.pid())))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn request_bodies_are_logged_when_asked_for() -> Result<()> {
    let options = Options {
        audit: Some(audit::Level::RequestResponse),
        ..Options::default()
    };
    let Some(plane) = ControlPlane::for_test("request_bodies_are_logged_when_asked_for", options).await? else {
        return Ok(());
    };
    let maps: Api<ConfigMap> = Api::namespaced(plane.client()?, "default");
    let mark = plane.audit_mark().await?;
    let map =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "one" }, "data": { "key": "value" } });
    maps.patch("one", &PatchParams::apply("tests"), &Patch::Apply(&map))
        .await?;
    maps.list(&ListParams::default()).await?;
    let events = plane.audit_since(mark).await?;
    let patch = events
        .iter()
        .find(|event| event.verb == "patch")
        .ok_or_else(|| anyhow!("no patch in {events:?}"))?;
    let body = patch
        .request_object
        .as_ref()
        .ok_or_else(|| anyhow!("no body: {patch:?}"))?;
    assert_eq!(body["data"]["key"], "value");
    Ok(())
}

fn deployment(name: &str, replicas: u32) -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "main", "image": "example.com/web:1" }] },
            },
        },
    })
}
