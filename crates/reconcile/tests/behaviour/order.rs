//! In which order the objects of a component come and go, and components among each other.

use std::{sync::Arc, time::Duration};

use driftless_model::{
    bundle::Spec,
    status::Health,
    view::{ComponentView, View},
};
use driftless_reconcile::Report;
use driftless_sim::Cluster;
use serde_json::{Value, json};

use crate::rig::*;

fn annotated(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["annotations"][key] = json!(value);
    object
}

fn wave(object: Value, wave: i32) -> Value {
    annotated(object, "argocd.argoproj.io/sync-wave", &wave.to_string())
}

/// An image with `:broken` never becomes ready.
fn deployment(name: &str, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "a", "image": image}]}}}})
}

/// Names of what was written or deleted, in order.
fn order(cluster: &Cluster, verb: &str) -> Vec<String> {
    let requests = cluster.requests();
    let ours = requests
        .log()
        .filter(|it| it.verb == verb && !it.name.starts_with("driftless-"));
    ours.map(|it| it.name.clone()).collect()
}

fn place(names: &[String], name: &str) -> usize {
    names
        .iter()
        .position(|it| it == name)
        .unwrap_or_else(|| panic!("{name} is not in {names:?}"))
}

/// Does a later wave of the shop wait, for this reason?
fn waits_for(report: &Report, why: &str) -> bool {
    problem(report, "shop").is_some_and(|it| it.reason == "WaitingForWave" && it.message.contains(why))
}

#[tokio::test(start_paused = true)]
async fn wave_starts_when_the_earlier_one_is_healthy() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let objects = [
        namespace("shop"),
        wave(config_map("last", "1"), 2),
        annotated(config_map("own", "1"), "driftless.dev/wave", "1"),
        wave(deployment("first", "a:broken"), -1),
        config_map("middle", "1"),
    ];
    running.handle.set_desired(view(&[("shop", &objects)]));
    let report = running.until("waiting", |report| waits_for(report, "InProgress")).await;
    let told = &problem(&report, "shop").unwrap().message;
    assert!(
        told.starts_with("later waves wait for wave -1: Deployment.apps shop/first: InProgress"),
        "{told}"
    );
    time_passes(Duration::from_secs(60)).await;
    assert!(other.get(&config_map("middle", "")).await.is_none());
    let mut healed = objects.clone();
    healed[3] = wave(deployment("first", "a:1"), -1);
    running.converge(&view(&[("shop", &healed)])).await;
    let applied = order(&cluster, "apply");
    let at = |name: &str| place(&applied, name);
    assert!(at("shop") < at("first") && at("first") < at("middle"), "{applied:?}");
    assert!(at("middle") < at("own") && at("own") < at("last"), "{applied:?}");
}

#[tokio::test(start_paused = true)]
async fn wave_without_progress_is_waited_for_no_longer_and_the_object_is_named() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let objects = [
        namespace("shop"),
        deployment("stuck", "a:broken"),
        wave(deployment("next", "a:broken"), 1),
        wave(config_map("last", "1"), 2),
    ];
    let begin = tokio::time::Instant::now();
    let view = view(&[("shop", &objects)]);
    running.handle.set_desired(view.clone());
    time_passes(Duration::from_secs(290)).await;
    assert!(other.get(&deployment("next", "")).await.is_none());
    time_passes(Duration::from_secs(20)).await;
    assert!(other.get(&deployment("next", "")).await.is_some());
    assert!(other.get(&config_map("last", "")).await.is_none());
    time_passes(Duration::from_secs(300)).await;
    let report = running.until("applied", |report| is_converged(report, &view)).await;
    assert!(begin.elapsed() >= Duration::from_secs(600));
    let passed = status(&report, "shop")
        .problems
        .iter()
        .find(|it| it.reason == "WaveDeadline");
    let told = &passed.expect("it is told").message;
    assert!(
        told.starts_with("wave 0 was waited for no longer") && told.contains("Deployment.apps shop/stuck"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn newer_version_does_not_wait_for_what_the_older_one_waited_for() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let older = [
        namespace("shop"),
        deployment("stuck", "a:broken"),
        wave(config_map("last", "1"), 1),
    ];
    running.handle.set_desired(view(&[("shop", &older)]));
    running.until("waiting", |report| waits_for(report, "")).await;
    let newer = [namespace("shop"), wave(config_map("last", "1"), 1)];
    running.converge(&view(&[("shop", &newer)])).await;
    assert!(other.get(&config_map("last", "")).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn drift_is_repaired_while_a_wave_waits() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let last = wave(config_map("last", "1"), 1);
    running
        .converge(&view(&[(
            "shop",
            &[namespace("shop"), deployment("web", "a:1"), last.clone()],
        )]))
        .await;
    running.handle.set_desired(view(&[(
        "shop",
        &[namespace("shop"), deployment("web", "a:broken"), last.clone()],
    )]));
    running
        .until("unhealthy", |report| {
            status(report, "shop").health == Health::InProgress
        })
        .await;
    other.patch(&last, json!({"data": {"key": "other"}})).await;
    running.until("repaired", |report| report.counters.repaired == 1).await;
}

#[tokio::test(start_paused = true)]
async fn job_of_a_wave_has_to_be_done() {
    let cluster = Cluster::new(driftless_sim::Options {
        workloads: driftless_sim::Workloads::Stuck,
        log: 1000,
        ..Default::default()
    });
    let running = Running::start(cluster.client());
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate", "namespace": "shop"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a:1"}]}}}});
    let objects = [namespace("shop"), wave(job, -1), config_map("a", "1")];
    running.handle.set_desired(view(&[("shop", &objects)]));
    let report = running
        .until("waiting", |report| waits_for(report, "it has not ended yet"))
        .await;
    let told = &problem(&report, "shop").unwrap().message;
    assert!(told.ends_with("Job.batch shop/migrate: it has not ended yet"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn object_follows_what_it_depends_on() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let on = "apps/namespaces/shop/Deployment/db";
    let web = annotated(config_map("a-web", "1"), "config.kubernetes.io/depends-on", on);
    let objects = [
        namespace("shop"),
        web.clone(),
        config_map("free", "1"),
        deployment("db", "a:broken"),
    ];
    running.handle.set_desired(view(&[("shop", &objects)]));
    running.until("applied", |report| report.counters.applied == 3).await;
    assert!(other.get(&web).await.is_none());
    let healed = [
        namespace("shop"),
        web.clone(),
        config_map("free", "1"),
        deployment("db", "a:1"),
    ];
    running.converge(&view(&[("shop", &healed)])).await;
    assert!(other.get(&web).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_others_use_is_sent_first_within_a_wave() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    let settings = driftless_reconcile::Settings {
        in_flight: 1,
        ..Default::default()
    };
    let running = Running::start_with(cluster.client(), settings);
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "account", "namespace": "shop"}});
    let hook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "a-webhook"}, "webhooks": []});
    let objects = [hook, deployment("a-web", "a:1"), config_map("config", "1"), account];
    running.converge(&view(&[("shop", &objects)])).await;
    assert_eq!(order(&cluster, "apply"), ["account", "config", "a-web", "a-webhook"]);
    cluster.forget_requests();
    running.converge(&view(&[("shop", &[])])).await;
    assert_eq!(order(&cluster, "delete"), ["a-webhook", "a-web", "config", "account"]);
}

#[tokio::test(start_paused = true)]
async fn later_waves_are_pruned_before_earlier_ones() {
    let (cluster, _) = simulated();
    let running = Running::start(cluster.client());
    let objects = [
        namespace("shop"),
        config_map("z-first", "1"),
        wave(config_map("a-second", "1"), 1),
        wave(config_map("b-second", "1"), 1),
        wave(config_map("third", "1"), 2),
    ];
    running.converge(&view(&[("shop", &objects)])).await;
    running.converge(&view(&[("shop", &objects[..1])])).await;
    let deleted = order(&cluster, "delete");
    assert_eq!(deleted.len(), 4);
    assert_eq!(
        (deleted[0].as_str(), deleted[3].as_str()),
        ("third", "z-first"),
        "{deleted:?}"
    );
}

/// The view, with a component that depends on another.
fn depending(view: &Arc<View>, component: &str, on: &str) -> Arc<View> {
    let mut view = (**view).clone();
    let found: &mut ComponentView = view.components.get_mut(&named(component)).expect("it is there");
    found.spec = Arc::new(Spec {
        depends_on: [on.parse().expect("a name")].into(),
        ..Spec::default()
    });
    Arc::new(view)
}

#[tokio::test(start_paused = true)]
async fn component_waits_for_those_it_depends_on_and_its_drift_is_repaired_meanwhile() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let of = |image: &str, value: &str| {
        let db = [namespace("shop"), deployment("db", image)];
        depending(
            &view(&[("db", &db), ("a-web", &[config_map("web", value)])]),
            "a-web",
            "db",
        )
    };
    running.converge(&of("a:1", "1")).await;
    running.handle.set_desired(of("a:broken", "2"));
    let report = running
        .until("waiting", |report| problem(report, "a-web").is_some())
        .await;
    let waits = problem(&report, "a-web").unwrap();
    assert_eq!(waits.reason, "WaitingForDependency");
    assert!(
        waits.message.contains("component `db`") && waits.message.contains("Deployment.apps shop/db"),
        "{waits:?}"
    );
    time_passes(Duration::from_secs(3600)).await;
    assert_eq!(other.get(&config_map("web", "")).await.unwrap()["data"]["key"], "1");
    running.converge(&of("a:2", "2")).await;
    assert_eq!(other.get(&config_map("web", "")).await.unwrap()["data"]["key"], "2");
}

#[tokio::test(start_paused = true)]
async fn component_that_is_depended_on_and_missing_is_told() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let web: &[Value] = &[namespace("shop"), config_map("web", "1")];
    running
        .handle
        .set_desired(depending(&view(&[("web", web)]), "web", "db"));
    let report = running.until("told", |report| problem(report, "web").is_some()).await;
    let told = &problem(&report, "web").unwrap().message;
    assert!(told.contains("component `db`, which is not on this cluster"), "{told}");
    assert!(other.get(&namespace("shop")).await.is_none());
    running
        .converge(&depending(&view(&[("web", web), ("db", &[])]), "web", "db"))
        .await;
}
