//! What is changed by others is put back, and only that, and once.

use std::time::Duration;

use serde_json::json;

use crate::rig::*;

#[tokio::test(start_paused = true)]
async fn changed_object_is_repaired_by_one_patch() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = view(&[("shop", &[namespace("shop"), config_map("a", "1"), config_map("b", "1")])]);
    running.converge(&view).await;
    time_passes(Duration::from_secs(30)).await;
    cluster.forget_requests();
    other
        .patch(&config_map("a", ""), json!({"data": {"key": "theirs"}}))
        .await;
    let report = running
        .until("repaired", |report| {
            report.counters.repaired == 1 && is_converged(report, &view)
        })
        .await;
    assert_eq!(other.get(&config_map("a", "")).await.unwrap()["data"]["key"], "1");
    assert_eq!(
        cluster.requests().count("apply", "configmaps"),
        1,
        "{:?}",
        cluster.requests()
    );
    assert_eq!(report.last_repair.as_ref().unwrap().id.to_string(), "ConfigMap shop/a");
}

#[tokio::test(start_paused = true)]
async fn deleted_object_is_made_again() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = view(&[("shop", &[namespace("shop"), config_map("a", "1")])]);
    running.converge(&view).await;
    other.delete(&config_map("a", "")).await;
    running
        .until("repaired", |report| {
            report.counters.repaired == 1 && is_converged(report, &view)
        })
        .await;
    assert_eq!(other.get(&config_map("a", "")).await.unwrap()["data"]["key"], "1");
}

#[tokio::test(start_paused = true)]
async fn object_that_lost_its_labels_gets_them_back() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = view(&[("shop", &[namespace("shop"), config_map("a", "1")])]);
    running.converge(&view).await;
    for (round, label) in [(1, "driftless.dev/component"), (2, "applyset.kubernetes.io/part-of")] {
        other
            .patch(&config_map("a", ""), json!({"metadata": {"labels": {label: null}}}))
            .await;
        running
            .until("repaired", |report| {
                report.counters.repaired == round && is_converged(report, &view)
            })
            .await;
        assert!(other.get(&config_map("a", "")).await.unwrap()["metadata"]["labels"][label].is_string());
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_add_is_left_alone() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    running
        .converge(&view(&[("shop", &[namespace("shop"), config_map("a", "1")])]))
        .await;
    time_passes(Duration::from_secs(30)).await;
    cluster.forget_requests();
    let change = json!({"data": {"other": "theirs"}, "metadata": {"annotations": {"theirs": "too"}}});
    other.patch(&config_map("a", ""), change).await;
    time_passes(Duration::from_secs(60)).await;
    assert_eq!(
        cluster.requests().count("apply", "configmaps"),
        0,
        "{:?}",
        cluster.requests()
    );
    assert_eq!(
        other.get(&config_map("a", "")).await.unwrap()["data"]["other"],
        "theirs"
    );
}

#[tokio::test(start_paused = true)]
async fn fight_is_held_off_and_reported() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = view(&[("shop", &[namespace("shop"), config_map("a", "1")])]);
    running.converge(&view).await;
    for round in 1..=6 {
        other
            .patch(
                &config_map("a", ""),
                json!({"data": {"key": format!("theirs {round}")}}),
            )
            .await;
        running
            .until("repaired", |report| {
                report.counters.repaired == round && is_converged(report, &view)
            })
            .await;
    }
    other
        .patch(&config_map("a", ""), json!({"data": {"key": "theirs again"}}))
        .await;
    let report = running
        .until("held off", |report| problem(report, "shop").is_some())
        .await;
    assert_eq!(problem(&report, "shop").unwrap().reason, "DriftRepeats");
    running
        .until("repaired", |report| {
            report.counters.repaired == 7 && is_converged(report, &view)
        })
        .await;
}
