//! A new reconciler takes over from the record: it writes nothing where nothing changed, and sees what did.

use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::*;

fn objects() -> Vec<Value> {
    vec![
        namespace("shop"),
        definition(),
        widget("w"),
        config_map("a", "1"),
        config_map("b", "1"),
    ]
}

#[tokio::test(start_paused = true)]
async fn restart_on_an_unchanged_cluster_writes_nothing() {
    let (cluster, _) = simulated();
    let view = view(&[("shop", &objects())]);
    let running = Running::start(cluster.client());
    running.converge(&view).await;
    time_passes(Duration::from_secs(30)).await;
    running.stop().await;
    let before = cluster.version();
    cluster.forget_requests();
    let running = Running::start(cluster.client());
    let report = running.converge(&view).await;
    time_passes(Duration::from_secs(60)).await;
    assert_eq!(cluster.requests().writes(), 0, "{:?}", cluster.requests());
    assert_eq!(cluster.version(), before);
    assert_eq!(report.counters.applied, 0);
}

#[tokio::test(start_paused = true)]
async fn restart_two_seconds_after_an_apply_writes_nothing() {
    let (cluster, _) = simulated();
    let first = view(&[("shop", &[namespace("shop"), config_map("a", "1")])]);
    let running = Running::start(cluster.client());
    running.converge(&first).await;
    time_passes(Duration::from_secs(30)).await;
    // New kinds, so that the parent is written before them too.
    let second = view(&[("shop", &objects())]);
    running.converge(&second).await;
    time_passes(Duration::from_secs(2)).await;
    running.stop().await;
    cluster.forget_requests();
    let running = Running::start(cluster.client());
    running.converge(&second).await;
    time_passes(Duration::from_secs(60)).await;
    assert_eq!(cluster.requests().writes(), 0, "{:?}", cluster.requests());
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_seen_after_a_restart() {
    let (cluster, other) = simulated();
    let view = view(&[("shop", &objects())]);
    let running = Running::start(cluster.client());
    running.converge(&view).await;
    time_passes(Duration::from_secs(30)).await;
    running.stop().await;
    other
        .patch(&config_map("a", ""), json!({"data": {"key": "theirs"}}))
        .await;
    other.delete(&config_map("b", "")).await;
    let running = Running::start(cluster.client());
    let report = running.converge(&view).await;
    assert_eq!((report.counters.applied, report.counters.repaired), (0, 2));
    assert_eq!(other.get(&config_map("a", "")).await.unwrap()["data"]["key"], "1");
    assert!(other.get(&config_map("b", "")).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn record_that_was_lost_only_means_to_apply_again() {
    let (cluster, other) = simulated();
    let view = view(&[("shop", &objects())]);
    let running = Running::start(cluster.client());
    running.converge(&view).await;
    time_passes(Duration::from_secs(30)).await;
    running.stop().await;
    other
        .patch(&parent("shop"), json!({"binaryData": {"record": "bm90IGEgcmVjb3Jk"}}))
        .await;
    let before = other.get(&config_map("a", "")).await.unwrap();
    let running = Running::start(cluster.client());
    running.converge(&view).await;
    assert_eq!(other.get(&config_map("a", "")).await.unwrap(), before);
}
