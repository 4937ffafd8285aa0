//! Fields that others decide: left to them, and never fought over.

use std::time::Duration;

use anyhow::Result;
use driftless_tests::{ControlPlane, Options};
use serde_json::{Value, json};

use crate::{real, rig::*};

const IGNORE: &str = "driftless.dev/ignore-fields";

fn deployment(replicas: u32, image: &str, annotations: Value) -> Value {
    let labels = json!({"app": "web"});
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "annotations": annotations},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "web", "image": image}]}}}})
}

fn with(object: Value) -> std::sync::Arc<driftless_model::view::View> {
    view(&[("shop", &[namespace("shop"), object])])
}

async fn replicas(other: &Other) -> Value {
    let web = deployment(0, "", json!({}));
    other.get(&web).await.expect("it is there")["spec"]["replicas"].clone()
}

/// For the next on the same cluster.
async fn leave_nothing(running: Running) {
    running.converge(&view(&[("shop", &[namespace("shop")])])).await;
    running.stop().await;
}

/// Ignored from the start, scaled, changed elsewhere, pushed anew, and repaired: the other's value stays.
async fn ignored_field_is_applied_once_and_then_left_to_the_other(client: kube::Client) {
    let other = Other(client.clone());
    let running = Running::start(client);
    let ignoring = json!({IGNORE: "/spec/replicas"});
    let web = deployment(2, "web:1", ignoring.clone());
    running.converge(&with(web.clone())).await;
    assert_eq!(replicas(&other).await, 2);

    // While it is ours still, what is live is sent back.
    running.converge(&with(deployment(3, "web:2", ignoring.clone()))).await;
    assert_eq!(replicas(&other).await, 2);

    other.scale(&web, 5).await;
    running.converge(&with(deployment(2, "web:3", ignoring.clone()))).await;
    assert_eq!(replicas(&other).await, 5);

    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "theirs"}]}}}});
    other.patch(&web, image).await;
    let report = running.until("repaired", |report| report.counters.repaired == 1).await;
    assert_eq!(
        report
            .last_repair
            .as_ref()
            .expect("it was just waited for")
            .change
            .as_ref()
            .expect("it was just waited for")
            .to_string(),
        "`somebody` changed .spec.template.spec.containers[name=\"web\"].image"
    );
    assert_eq!(replicas(&other).await, 5);
    assert_eq!(report.counters.failed, 0, "{report:#?}");
    leave_nothing(running).await;
}

/// Applied as ours first, the annotation comes later: the value that is live stays, and nobody loses it.
async fn field_that_was_ours_is_kept_when_it_is_left_to_others(client: kube::Client) {
    let other = Other(client.clone());
    let running = Running::start(client);
    running
        .converge(&with(deployment(4, "web:1", json!({"note": "ours"}))))
        .await;
    let ignoring = json!({IGNORE: "/spec/replicas"});
    running.converge(&with(deployment(1, "web:1", ignoring))).await;
    assert_eq!(replicas(&other).await, 4);
    other.scale(&deployment(0, "", json!({})), 7).await;
    running
        .converge(&with(deployment(1, "web:2", json!({IGNORE: "/spec/replicas"}))))
        .await;
    assert_eq!(replicas(&other).await, 7);
    let report = running.handle.report().borrow().clone();
    assert_eq!(report.counters.repaired, 0, "{:?}", report.last_repair);
    leave_nothing(running).await;
}

/// An autoscaler and a manifest that both set replicas: told with who it is and the way out.
async fn fight_with_an_autoscaler_is_told_with_the_way_out(client: kube::Client) {
    let other = Other(client.clone());
    let running = Running::start(client);
    let web = deployment(2, "web:1", json!({"note": "ours"}));
    running.converge(&with(web.clone())).await;
    for round in 1..=3 {
        other.scale(&web, 9).await;
        running
            .until("repaired", |report| report.counters.repaired == round)
            .await;
    }
    other.scale(&web, 9).await;
    let report = running
        .until("held off", |report| {
            problem(report, "shop").is_some_and(|it| it.reason == "DriftRepeats")
        })
        .await;
    let fight = problem(&report, "shop").expect("it was just waited for");
    assert!(
        fight
            .message
            .starts_with("`autoscaler` changed .spec.replicas, again and again")
            && fight.message.contains("driftless.dev/ignore-fields: /spec/replicas"),
        "{}",
        fight.message
    );
    leave_nothing(running).await;
}

#[tokio::test(start_paused = true)]
async fn ignored_field_is_left_to_the_other() {
    ignored_field_is_applied_once_and_then_left_to_the_other(simulated().0.client()).await;
}

#[tokio::test(start_paused = true)]
async fn ignored_field_that_was_ours_stays() {
    field_that_was_ours_is_kept_when_it_is_left_to_others(simulated().0.client()).await;
}

#[tokio::test(start_paused = true)]
async fn fight_with_an_autoscaler_is_told() {
    fight_with_an_autoscaler_is_told_with_the_way_out(simulated().0.client()).await;
}

#[tokio::test(start_paused = true)]
async fn scaling_an_ignored_field_costs_nothing() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let web = deployment(2, "web:1", json!({IGNORE: "/spec/replicas"}));
    running.converge(&with(web.clone())).await;
    time_passes(Duration::from_secs(30)).await;
    cluster.forget_requests();
    for replicas in 3..10 {
        other.scale(&web, replicas).await;
        time_passes(Duration::from_secs(60)).await;
    }
    assert_eq!(cluster.requests().count("apply", "deployments"), 0);
    assert_eq!(replicas(&other).await, 9);
}

#[tokio::test(start_paused = true)]
async fn injected_bundle_is_left_alone() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let hook = |url: &str| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "hooks", "annotations": {"cert-manager.io/inject-ca-from": "shop/ca"}},
            "webhooks": [{"name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": url, "caBundle": "Cg=="}}]})
    };
    running.converge(&with(hook("https://a.example.com/1"))).await;
    let mut injected = hook("https://a.example.com/1")["webhooks"].clone();
    injected[0]["clientConfig"]["caBundle"] = json!("QUJD");
    other.patch(&hook(""), json!({"webhooks": injected})).await;
    time_passes(Duration::from_secs(60)).await;
    assert_eq!(running.handle.report().borrow().counters.repaired, 0);
    running.converge(&with(hook("https://a.example.com/2"))).await;
    let live = other.get(&hook("")).await.unwrap();
    let config = &live["webhooks"][0]["clientConfig"];
    assert_eq!(*config, json!({"url": "https://a.example.com/2", "caBundle": "QUJD"}));
}

#[tokio::test(start_paused = true)]
async fn wrong_pointer_is_told_and_nothing_is_sent() {
    let (cluster, _) = simulated();
    let running = Running::start(cluster.client());
    running
        .handle
        .set_desired(with(deployment(2, "web:1", json!({IGNORE: "spec.replicas"}))));
    let report = running.until("told", |report| problem(report, "shop").is_some()).await;
    let told = problem(&report, "shop").unwrap();
    assert_eq!(told.reason, "InvalidAnnotation");
    assert!(
        told.message.contains("`spec.replicas` is no JSON pointer"),
        "{}",
        told.message
    );
    assert_eq!(cluster.requests().count("apply", "deployments"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_api_server_leaves_fields_to_others() -> Result<()> {
    let Some(plane) = ControlPlane::for_test("fields", Options::default()).await? else {
        return Ok(());
    };
    ignored_field_is_applied_once_and_then_left_to_the_other(real::client(&plane)?).await;
    field_that_was_ours_is_kept_when_it_is_left_to_others(real::client(&plane)?).await;
    Ok(())
}
