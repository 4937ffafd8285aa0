//! Fields that cannot be changed: told, or the object is made anew where its manifest says so.

use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::*;

fn deployment(app: &str, annotations: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "annotations": annotations},
        "spec": {"selector": {"matchLabels": {"app": app}},
            "template": {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}}})
}

#[tokio::test(start_paused = true)]
async fn immutable_field_is_named_and_object_is_made_anew_only_where_it_says_so() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let with = |app: &str, annotations: &Value| view(&[("shop", &[namespace("shop"), deployment(app, annotations)])]);
    running.converge(&with("a", &json!({}))).await;
    let before = other.get(&deployment("a", &json!({}))).await.unwrap();
    running.handle.set_desired(with("b", &json!({})));
    let report = running.until("told", |report| problem(report, "shop").is_some()).await;
    let told = problem(&report, "shop").unwrap();
    assert_eq!(told.reason, "ImmutableField");
    assert!(
        told.message.starts_with("`spec.selector` cannot be changed: ")
            && told.message.contains("driftless.dev/replace: \"true\""),
        "{}",
        told.message
    );
    time_passes(Duration::from_secs(600)).await;
    assert_eq!(cluster.requests().count("delete", "deployments"), 0);

    let report = running
        .converge(&with("b", &json!({"driftless.dev/replace": "true"})))
        .await;
    assert_eq!(report.counters.pruned, 0, "it is replaced, not pruned");
    let after = other.get(&deployment("a", &json!({}))).await.unwrap();
    assert_ne!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(after["spec"]["selector"]["matchLabels"]["app"], "b");
    assert_eq!(cluster.requests().count("delete", "deployments"), 1);
}

#[tokio::test(start_paused = true)]
async fn object_that_is_not_ours_is_never_deleted_to_be_made_anew() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    other.create(&deployment("a", &json!({}))).await;
    let running = Running::start(cluster.client());
    let mut replaced = deployment(
        "b",
        &json!({"driftless.dev/replace": "true", "driftless.dev/force-conflicts": "true"}),
    );
    replaced["metadata"]["labels"] = json!({"app": "b"});
    running.handle.set_desired(view(&[("shop", &[replaced])]));
    let report = running.until("told", |report| problem(report, "shop").is_some()).await;
    let told = problem(&report, "shop").unwrap();
    assert!(told.message.contains("it is not ours yet"), "{}", told.message);
    assert_eq!(cluster.requests().count("delete", "deployments"), 0);
}
