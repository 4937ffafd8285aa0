//! Deletions that do not come to their end are told.

use std::time::Duration;

use serde_json::json;

use crate::rig::*;

#[tokio::test(start_paused = true)]
async fn object_that_waits_for_its_finalizers_is_told_after_a_while_and_forgotten_when_it_goes() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let mut held = config_map("a", "1");
    held["metadata"]["finalizers"] = json!(["example.com/backup"]);
    running
        .converge(&view(&[(
            "shop",
            &[namespace("shop"), held.clone(), config_map("b", "1")],
        )]))
        .await;
    let less = view(&[("shop", &[namespace("shop"), config_map("b", "1")])]);
    running.handle.set_desired(less.clone());
    time_passes(Duration::from_secs(55)).await;
    let report = running.handle.report().borrow().clone();
    assert!(problem_with(&report, "shop", "StuckDeleting").is_none(), "{report:#?}");
    cluster.forget_requests();
    time_passes(Duration::from_secs(10)).await;
    let report = running.handle.report().borrow().clone();
    let told = problem_with(&report, "shop", "StuckDeleting").unwrap();
    assert_eq!(told.object.as_ref().unwrap().name, "a");
    assert!(
        told.message
            .starts_with("it is being deleted and waits for the finalizers example.com/backup: "),
        "{}",
        told.message
    );
    assert_eq!(cluster.requests().total(), 0);

    other.patch(&held, json!({"metadata": {"finalizers": null}})).await;
    let report = running.until("pruned", |report| is_converged(report, &less)).await;
    assert!(status(&report, "shop").problems.is_empty(), "{report:#?}");
    assert!(other.get(&held).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn object_that_somebody_deletes_is_told_while_it_waits_and_made_anew_after() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let mut held = config_map("a", "1");
    held["metadata"]["finalizers"] = json!(["example.com/backup"]);
    let desired = view(&[("shop", &[namespace("shop"), held.clone()])]);
    running.converge(&desired).await;
    let first = other.get(&held).await.unwrap();
    other.delete(&held).await;
    running
        .until("told", |report| problem_with(report, "shop", "StuckDeleting").is_some())
        .await;
    other.patch(&held, json!({"metadata": {"finalizers": null}})).await;
    let report = running
        .until("made anew", |report| {
            report.counters.repaired == 1 && is_converged(report, &desired)
        })
        .await;
    assert!(status(&report, "shop").problems.is_empty(), "{report:#?}");
    assert_ne!(
        other.get(&held).await.unwrap()["metadata"]["uid"],
        first["metadata"]["uid"]
    );
}
