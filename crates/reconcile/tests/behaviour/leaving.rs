//! What left and depends on others goes before them, also after a restart.

use std::{sync::Arc, time::Duration};

use driftless_model::view::View;
use driftless_sim::{Cluster, Failure, Matching};
use serde_json::{Value, json};

use crate::rig::*;

fn depending(mut object: Value, on: &str) -> Value {
    object["metadata"]["annotations"] = json!({"config.kubernetes.io/depends-on": on});
    object
}

/// Names of what was deleted, in order.
fn deleted(cluster: &Cluster) -> Vec<String> {
    let requests = cluster.requests();
    let deletions = requests.log().filter(|it| it.verb == "delete");
    deletions.map(|it| it.name.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_others_that_left_depend_on_goes_when_they_are_gone() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let on = |name: &str| format!("/namespaces/shop/ConfigMap/{name}");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c", "namespace": "shop"}});
    let all = [
        config_map("a", "1"),
        depending(config_map("b", "1"), &on("a")),
        depending(secret, &format!("{}, {}", on("a"), on("b"))),
    ];
    let ground = [namespace("shop")];
    let elsewhere = [depending(config_map("d", "1"), "/namespaces/shop/Secret/c")];
    running
        .converge(&view(&[("shop", &all), ("other", &elsewhere), ("ground", &ground)]))
        .await;
    other
        .patch(
            &config_map("d", ""),
            json!({"metadata": {"finalizers": ["example.com/held"]}}),
        )
        .await;
    // What they depended on is known after a restart too, and of a component that is not desired any more.
    running.stop().await;
    let running = Running::start(cluster.client());
    let left = view(&[("ground", &ground)]);
    running.handle.set_desired(left.clone());
    time_passes(Duration::from_secs(600)).await;
    assert_eq!(deleted(&cluster), ["d"]);
    other
        .patch(&config_map("d", ""), json!({"metadata": {"finalizers": null}}))
        .await;
    running.converge(&left).await;
    assert_eq!(deleted_members(&cluster), ["d", "c", "b", "a"]);
}

#[tokio::test(start_paused = true)]
async fn what_left_in_a_circle_goes_all_the_same() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let mut last = config_map("last", "1");
    last["metadata"]["annotations"] = json!({"driftless.dev/wave": "5"});
    let ground = [namespace("shop")];
    let all = [
        config_map("a", "1"),
        config_map("b", "1"),
        config_map("early", "1"),
        last,
    ];
    running.converge(&view(&[("shop", &all), ("ground", &ground)])).await;
    for (name, on) in [("a", "b"), ("b", "a"), ("early", "last")] {
        let on = json!({"config.kubernetes.io/depends-on": format!("/namespaces/shop/ConfigMap/{on}")});
        other
            .patch(&config_map(name, ""), json!({"metadata": {"annotations": on}}))
            .await;
    }
    let report = running.converge(&view(&[("ground", &ground)])).await;
    assert_eq!(report.counters.pruned, 4);
    assert_eq!(deleted(&cluster)[0], "last");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_holds_up_nothing() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let all = [
        namespace("shop"),
        config_map("a", "1"),
        depending(config_map("b", "1"), "/namespaces/shop/ConfigMap/a"),
    ];
    running.converge(&view(&[("shop", &all)])).await;
    other
        .patch(
            &config_map("b", ""),
            json!({"metadata": {"annotations": {"driftless.dev/prune": "disabled"}}}),
        )
        .await;
    time_passes(Duration::from_secs(1)).await;
    running.converge(&view(&[("shop", &all[..1])])).await;
    assert!(other.get(&config_map("a", "")).await.is_none());
    assert!(other.get(&config_map("b", "")).await.is_some());
    assert_eq!(deleted(&cluster), ["a"]);
}

fn bare(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"}})
}

/// A view of an object that depends on a ServiceAccount of another component, and one without both.
fn dependent_elsewhere(dependent: Value) -> (Arc<View>, Arc<View>) {
    let ground = [namespace("shop"), definition()];
    let (base, top) = (
        [bare("ServiceAccount", "a")],
        [depending(dependent, "/namespaces/shop/ServiceAccount/a")],
    );
    let all = view(&[("base", &base), ("ground", &ground), ("top", &top)]);
    (all, view(&[("ground", &ground)]))
}

/// Names of deleted objects, without the ApplySets' parents.
fn deleted_members(cluster: &Cluster) -> Vec<String> {
    let all = deleted(cluster).into_iter();
    all.filter(|name| !name.starts_with("driftless-")).collect()
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_nothing_goes_before_all_that_may_depend_on_it_is_known() {
    for record in [true, false] {
        let (cluster, other) = simulated();
        let (all, left) = dependent_elsewhere(bare("Secret", "b"));
        let running = Running::start(cluster.client());
        running.converge(&all).await;
        time_passes(Duration::from_secs(30)).await;
        running.stop().await;
        // The list comes late; without a record no list that fails is waited for again.
        let list = || Matching::all().verb("list").resource("secrets");
        if record {
            cluster.faults().fail_next(5, list(), Failure::Unavailable);
        } else {
            other
                .patch(&parent("top"), json!({"binaryData": {"record": "bm90IGEgcmVjb3Jk"}}))
                .await;
            cluster.faults().fail_next(1, list(), Failure::Silence);
        }
        let running = Running::start(cluster.client());
        running.handle.set_desired(left.clone());
        time_passes(Duration::from_secs(2)).await;
        assert_eq!(deleted_members(&cluster), [""; 0], "with a record: {record}");
        running.converge(&left).await;
        if record {
            assert_eq!(deleted_members(&cluster), ["b", "a"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn dead_api_holds_up_what_its_objects_may_depend_on() {
    let (cluster, other) = simulated();
    let (all, _) = dependent_elsewhere(widget("w"));
    let (ground, top) = ([namespace("shop"), definition()], [config_map("new", "1")]);
    let left = view(&[("ground", &ground), ("top", &top)]);
    let running = Running::start(cluster.client());
    running.converge(&all).await;
    time_passes(Duration::from_secs(30)).await;
    running.stop().await;
    let dead = Matching::all().group("example.com");
    cluster.faults().fail_share(1.0, dead, Failure::Unavailable);
    // The second agent knows only what the first one recorded, which has applied something meanwhile.
    for _ in 0..2 {
        let running = Running::start(cluster.client());
        running.handle.set_desired(left.clone());
        let report = running
            .until("told", |report| problem_with(report, "base", "PruneWaits").is_some())
            .await;
        let told = &problem_with(&report, "base", "PruneWaits").unwrap().message;
        assert!(told.contains("which objects of kind Widget there are"), "{told}");
        time_passes(Duration::from_secs(600)).await;
        assert_eq!(deleted_members(&cluster), [""; 0]);
        assert!(other.get(&config_map("new", "")).await.is_some());
        running.stop().await;
    }
    cluster.faults().clear();
    Running::start(cluster.client()).converge(&left).await;
    assert_eq!(deleted_members(&cluster), ["w", "a"]);
}

#[tokio::test(start_paused = true)]
async fn kind_that_cannot_be_listed_holds_up_nobody_when_nothing_of_it_depended_on_others() {
    let dead = Matching::all().group("example.com");
    let refused = Matching::all().verb("list").resource("widgets");
    for matching in [dead, refused] {
        let (cluster, _) = simulated();
        let (ground, base, top) = (
            [namespace("shop"), definition()],
            [bare("ServiceAccount", "a")],
            [widget("w")],
        );
        let running = Running::start(cluster.client());
        let all = view(&[("base", &base), ("ground", &ground), ("top", &top)]);
        running.converge(&all).await;
        time_passes(Duration::from_secs(30)).await;
        running.stop().await;
        cluster.faults().fail_share(1.0, matching, Failure::Unavailable);
        let running = Running::start(cluster.client());
        running.handle.set_desired(view(&[("ground", &ground)]));
        time_passes(Duration::from_secs(60)).await;
        assert_eq!(deleted_members(&cluster), ["a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn kind_that_is_gone_holds_up_nothing() {
    let (cluster, other) = simulated();
    let (all, _) = dependent_elsewhere(widget("w"));
    let running = Running::start(cluster.client());
    running.converge(&all).await;
    time_passes(Duration::from_secs(30)).await;
    running.stop().await;
    other.delete(&definition()).await;
    let running = Running::start(cluster.client());
    running.converge(&view(&[("ground", &[namespace("shop")])])).await;
    assert!(other.get(&bare("ServiceAccount", "a")).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn dependents_that_are_gone_hold_up_nothing_later() {
    let (cluster, other) = simulated();
    let (all, left) = dependent_elsewhere(widget("w"));
    let running = Running::start(cluster.client());
    running.converge(&all).await;
    running.converge(&left).await;
    let ground = [namespace("shop"), definition()];
    let more = view(&[("ground", &ground), ("more", &[config_map("a", "1")])]);
    running.converge(&more).await;
    running.converge(&left).await;
    assert!(other.get(&config_map("a", "")).await.is_none());
}
