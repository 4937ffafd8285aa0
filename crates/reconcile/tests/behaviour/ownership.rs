//! What exists before its first apply is taken over only from nobody, or when the component says so.

use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::*;

/// An object that Helm has installed.
fn of_helm(name: &str) -> Value {
    let mut object = config_map(name, "theirs");
    object["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
    object["metadata"]["annotations"] =
        json!({"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"});
    object
}

#[tokio::test(start_paused = true)]
async fn object_of_another_tool_is_a_conflict_until_the_component_adopts() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    other.create(&of_helm("a")).await;
    let before = other.get(&of_helm("a")).await.unwrap();
    let running = Running::start(cluster.client());
    let objects = [config_map("a", "theirs"), config_map("b", "ours")];
    let desired = view(&[("shop", &objects)]);
    running.handle.set_desired(desired.clone());
    let report = running
        .until("told", |report| {
            problem(report, "shop").is_some() && status(report, "shop").applied == 1
        })
        .await;
    let told = problem(&report, "shop").unwrap();
    assert_eq!(told.reason, "OwnedByOther");
    assert!(
        told.message
            .starts_with("it exists and belongs to Helm's release `shop/web`: set `adopt: true` on the component"),
        "{}",
        told.message
    );
    time_passes(Duration::from_secs(3600)).await;
    assert_eq!(other.get(&of_helm("a")).await.unwrap(), before);

    running
        .converge(&keeping(&desired, "shop", |spec| spec.adopt = true))
        .await;
    let live = other.get(&of_helm("a")).await.unwrap();
    assert_eq!(live["metadata"]["labels"]["driftless.dev/component"], "shop");
    assert_eq!(live["metadata"]["annotations"]["meta.helm.sh/release-name"], "web");
}

#[tokio::test(start_paused = true)]
async fn object_that_its_owner_lets_go_is_taken_over() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    other.create(&of_helm("a")).await;
    let running = Running::start(cluster.client());
    let desired = view(&[("shop", &[config_map("a", "theirs")])]);
    running.handle.set_desired(desired.clone());
    running.until("told", |report| problem(report, "shop").is_some()).await;
    let unmarked = json!({"metadata": {"annotations": {"meta.helm.sh/release-name": null}}});
    other.patch(&config_map("a", ""), unmarked).await;
    running.until("applied", |report| is_converged(report, &desired)).await;
}

#[tokio::test(start_paused = true)]
async fn member_of_another_applyset_is_left_alone_and_adopted_with_its_label() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    let mut theirs = config_map("a", "1");
    theirs["metadata"]["labels"] = json!({"applyset.kubernetes.io/part-of": "applyset-theirs-v1"});
    other.apply(&theirs, "kubectl").await;
    let running = Running::start(cluster.client());
    let desired = view(&[("shop", &[config_map("a", "2")])]);
    running.handle.set_desired(desired.clone());
    let report = running.until("told", |report| problem(report, "shop").is_some()).await;
    let message = &problem(&report, "shop").unwrap().message;
    assert!(message.contains("belongs to ApplySet applyset-theirs-v1"), "{message}");
    // Its fields are kubectl's: adopting takes them over too.
    running
        .converge(&keeping(&desired, "shop", |spec| spec.adopt = true))
        .await;
    let live = other.get(&theirs).await.unwrap();
    assert_eq!(live["data"]["key"], "2");
    assert_ne!(
        live["metadata"]["labels"]["applyset.kubernetes.io/part-of"],
        "applyset-theirs-v1"
    );
}

#[tokio::test(start_paused = true)]
async fn adopting_takes_no_field_of_a_manager_that_is_no_former_owner() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    other.create(&of_helm("a")).await;
    other
        .patch(&config_map("a", ""), json!({"data": {"key": "somebody's"}}))
        .await;
    let running = Running::start(cluster.client());
    let desired = view(&[("shop", &[config_map("a", "ours")])]);
    running
        .handle
        .set_desired(keeping(&desired, "shop", |spec| spec.adopt = true));
    let report = running.until("told", |report| problem(report, "shop").is_some()).await;
    assert_eq!(problem(&report, "shop").unwrap().reason, "FieldConflict");
    assert_eq!(
        other.get(&config_map("a", "")).await.unwrap()["data"]["key"],
        "somebody's"
    );
}

#[tokio::test(start_paused = true)]
async fn object_that_is_only_made_is_never_changed_again() {
    for (key, value) in [
        ("kustomize.toolkit.fluxcd.io/ssa", "IfNotPresent"),
        ("client.lifecycle.config.k8s.io/mutation", "ignore"),
    ] {
        let (cluster, other) = simulated();
        other.create(&namespace("shop")).await;
        other.create(&config_map("there", "theirs")).await;
        let running = Running::start(cluster.client());
        let marked = |name: &str, data: &str| {
            let mut object = config_map(name, data);
            object["metadata"]["annotations"] = json!({key: value});
            object
        };
        running
            .converge(&view(&[("shop", &[marked("there", "1"), marked("new", "1")])]))
            .await;
        assert_eq!(
            other.get(&config_map("there", "")).await.unwrap()["data"]["key"],
            "theirs"
        );
        assert_eq!(other.get(&config_map("new", "")).await.unwrap()["data"]["key"], "1");
        other
            .patch(&config_map("new", ""), json!({"data": {"key": "drifted"}}))
            .await;
        let next = [marked("there", "2"), marked("new", "2"), config_map("other", "2")];
        running.converge(&view(&[("shop", &next)])).await;
        time_passes(Duration::from_secs(600)).await;
        assert_eq!(
            other.get(&config_map("there", "")).await.unwrap()["data"]["key"],
            "theirs"
        );
        assert_eq!(
            other.get(&config_map("new", "")).await.unwrap()["data"]["key"],
            "drifted"
        );
        other.delete(&config_map("new", "")).await;
        let made_again = running.until("made again", |report| report.counters.applied > 2).await;
        assert!(problem(&made_again, "shop").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn disabled_object_is_never_applied_and_holds_up_nothing() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let mut disabled = config_map("a", "1");
    disabled["metadata"]["annotations"] = json!({"kustomize.toolkit.fluxcd.io/reconcile": "disabled"});
    let objects = [namespace("shop"), disabled, config_map("b", "1")];
    let report = running.converge(&view(&[("shop", &objects)])).await;
    assert_eq!(report.counters.applied, 2);
    assert!(other.get(&config_map("a", "")).await.is_none());
}
