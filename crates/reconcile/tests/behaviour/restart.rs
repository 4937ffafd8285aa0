//! A new reconciler takes over from the record: it writes nothing where nothing changed, and sees what did.

use std::{sync::Arc, time::Duration};

use driftless_model::{bundle::upkeep::Drift, view::View};
use driftless_reconcile::Report;
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

/// Loses the record of what was applied.
async fn lose_record(other: &Other) {
    let garbage = json!({"binaryData": {"record": "bm90IGEgcmVjb3Jk"}});
    other.patch(&parent("shop"), garbage).await;
}

/// Applied, without its record, and changed by somebody afterwards.
async fn changed_and_not_recorded(view: &Arc<View>) -> (driftless_sim::Cluster, Other) {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    running.converge(view).await;
    running.stop().await;
    lose_record(&other).await;
    let theirs = json!({"data": {"key": "theirs"}});
    other.patch(&config_map("a", ""), theirs).await;
    (cluster, other)
}

async fn until_told_of(running: &Running, field: &str) {
    let is_told = |report: &Report| {
        problem(report, "shop")
            .is_some_and(|problem| problem.reason == "FieldConflict" && problem.message.contains(field))
    };
    running.until("told of the conflict", is_told).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_repaired_though_the_record_was_lost() {
    let view = view(&[("shop", &objects())]);
    let (cluster, other) = changed_and_not_recorded(&view).await;
    Running::start(cluster.client()).converge(&view).await;
    assert_eq!(other.get(&config_map("a", "")).await.unwrap()["data"]["key"], "1");
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_repaired_though_the_record_is_of_the_version_before() {
    let (cluster, other) = simulated();
    let version = |value: &str| view(&[("shop", &[namespace("shop"), config_map("a", value)])]);
    let running = Running::start(cluster.client());
    running.converge(&version("1")).await;
    time_passes(Duration::from_secs(30)).await;
    let before = other.get(&parent("shop")).await.unwrap()["binaryData"].clone();
    running.converge(&version("2")).await;
    running.stop().await;
    other.patch(&parent("shop"), json!({ "binaryData": before })).await;
    let theirs = json!({"data": {"key": "theirs"}});
    other.patch(&config_map("a", ""), theirs).await;

    Running::start(cluster.client()).converge(&version("2")).await;
    assert_eq!(other.get(&config_map("a", "")).await.unwrap()["data"]["key"], "2");
}

/// One ConfigMap with this data.
fn with_data(data: Value) -> Arc<View> {
    let mut map = config_map("a", "");
    map["data"] = data;
    view(&[("shop", &[namespace("shop"), map])])
}

/// Has what others put beside our data wanted by a new reconciler: it is told as a conflict, and stays theirs.
async fn extra_is_theirs(cluster: &driftless_sim::Cluster, other: &Other, wanted: Arc<View>) {
    let running = Running::start(cluster.client());
    running.handle.set_desired(wanted);
    until_told_of(&running, ".data.extra").await;
    let map = other.get(&config_map("a", "")).await.expect("it is there");
    assert_eq!(map["data"]["extra"], "theirs");
}

#[tokio::test(start_paused = true)]
async fn field_that_others_set_before_we_wanted_it_is_theirs_after_a_restart_too() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    running.converge(&with_data(json!({"key": "1"}))).await;
    time_passes(Duration::from_secs(30)).await;
    running.stop().await;
    let theirs = json!({"data": {"extra": "theirs"}});
    other.patch(&config_map("a", ""), theirs).await;

    extra_is_theirs(&cluster, &other, with_data(json!({"key": "1", "extra": "ours"}))).await;
}

#[tokio::test(start_paused = true)]
async fn without_its_record_drift_that_is_not_to_be_repaired_is_a_conflict() {
    let view = kept(&view(&[("shop", &objects())]), |spec| spec.drift = Drift::Report);
    let (cluster, other) = changed_and_not_recorded(&view).await;
    let running = Running::start(cluster.client());
    running.handle.set_desired(view);
    until_told_of(&running, ".data.key").await;
    assert_eq!(other.get(&config_map("a", "")).await.unwrap()["data"]["key"], "theirs");
}

#[tokio::test(start_paused = true)]
async fn without_its_record_what_others_had_before_our_last_apply_is_theirs() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    running.converge(&with_data(json!({"key": "1"}))).await;
    let theirs = json!({"data": {"extra": "theirs"}});
    other.patch(&config_map("a", ""), theirs).await;
    time_passes(Duration::from_secs(10)).await;
    running.converge(&with_data(json!({"key": "2"}))).await;
    running.stop().await;
    lose_record(&other).await;

    extra_is_theirs(&cluster, &other, with_data(json!({"key": "2", "extra": "ours"}))).await;
}

fn maps(count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| config_map(&format!("m-{number}"), "1"))
        .collect()
}

/// Asks for consent to the deletion of 30 of 40 objects, gets it when the agent is gone, and has `deleted` of them
/// deleted meanwhile. Gives an agent that has restarted.
async fn restarted_in_a_prune(consents: bool, deleted: usize) -> (driftless_sim::Cluster, Other, Running) {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    let all = maps(40);
    let running = Running::start(cluster.client());
    running.converge(&view(&[("shop", &all)])).await;
    running.handle.set_desired(view(&[("shop", &all[..10])]));
    let asked = running.until_blocked("shop").await;
    assert_eq!(asked.objects, 30);
    time_passes(Duration::from_secs(30)).await;
    running.stop().await;
    for object in &all[10..10 + deleted] {
        other.delete(object).await;
    }
    let running = Running::start(cluster.client());
    if consents {
        running.give_consent("shop", &asked);
    }
    running.handle.set_desired(view(&[("shop", &all[..10])]));
    (cluster, other, running)
}

#[tokio::test(start_paused = true)]
async fn consent_holds_for_what_is_left_of_it_when_a_prune_was_cut_short() {
    let (cluster, other, running) = restarted_in_a_prune(true, 12).await;
    running.converge(&view(&[("shop", &maps(10))])).await;
    assert_eq!(other.get(&config_map("m-39", "")).await, None);
    assert!(other.get(&config_map("m-9", "")).await.is_some());
    // It is forgotten then: nothing more is written at the next start.
    time_passes(Duration::from_secs(30)).await;
    running.stop().await;
    cluster.forget_requests();
    let running = Running::start(cluster.client());
    running.converge(&view(&[("shop", &maps(10))])).await;
    time_passes(Duration::from_secs(60)).await;
    assert_eq!(cluster.requests().writes(), 0, "{:?}", cluster.requests());
}

#[tokio::test(start_paused = true)]
async fn what_a_person_was_only_asked_about_is_asked_again_after_a_restart() {
    let (_cluster, other, running) = restarted_in_a_prune(false, 12).await;
    assert_eq!(running.until_blocked("shop").await.objects, 18);
    time_passes(Duration::from_secs(60)).await;
    assert!(other.get(&config_map("m-39", "")).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn consent_is_to_nothing_that_nobody_was_asked_about() {
    let (_cluster, other, running) = restarted_in_a_prune(true, 0).await;
    running.converge(&view(&[("shop", &maps(10))])).await;
    // The same consent, when something else leaves.
    let more: Vec<_> = (0..30).map(|number| config_map(&format!("n-{number}"), "1")).collect();
    let both: Vec<_> = maps(10).into_iter().chain(more).collect();
    running.converge(&view(&[("shop", &both)])).await;
    running.handle.set_desired(view(&[("shop", &maps(10))]));
    assert_eq!(running.until_blocked("shop").await.objects, 30);
    time_passes(Duration::from_secs(60)).await;
    assert!(other.get(&config_map("n-0", "")).await.is_some());
}
