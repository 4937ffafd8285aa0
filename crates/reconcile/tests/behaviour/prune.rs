//! What left the desired state goes, if it is ours and did not ask to stay.

use std::time::Duration;

use serde_json::json;

use crate::rig::*;

#[tokio::test(start_paused = true)]
async fn removed_manifest_is_pruned_once_and_others_objects_are_not() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let kept = {
        let mut kept = config_map("kept", "1");
        kept["metadata"]["annotations"] = json!({"driftless.dev/prune": "disabled"});
        kept
    };
    let all = [
        namespace("shop"),
        config_map("a", "1"),
        config_map("b", "1"),
        kept.clone(),
    ];
    running.converge(&view(&[("shop", &all)])).await;
    other.create(&config_map("theirs", "1")).await;
    let mut copied = config_map("copied", "1");
    copied["metadata"]["labels"] =
        json!({"driftless.dev/component": "shop", "applyset.kubernetes.io/part-of": "applyset-theirs-v1"});
    other.create(&copied).await;
    running.converge(&view(&[("shop", &all[..2])])).await;
    let report = running.until("pruned", |report| report.counters.pruned == 1).await;
    assert_eq!(status(&report, "shop").to_prune, 0);
    assert!(other.get(&config_map("b", "")).await.is_none());
    for there in [config_map("a", ""), config_map("theirs", ""), copied, kept] {
        assert!(other.get(&there).await.is_some(), "{there}");
    }
    assert_eq!(cluster.requests().count("delete", "configmaps"), 1);
}

#[tokio::test(start_paused = true)]
async fn removed_component_goes_with_its_parent_and_its_ground_last() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let objects = [namespace("shop"), definition(), widget("w"), config_map("a", "1")];
    running
        .converge(&view(&[("shop", &objects), ("stays", &[namespace("stays")])]))
        .await;
    let report = running.converge(&view(&[("stays", &[namespace("stays")])])).await;
    assert_eq!(report.counters.pruned, 4);
    assert!(other.get(&parent("shop")).await.is_none());
    assert!(other.get(&namespace("shop")).await.is_none());
    let requests = cluster.requests();
    let deleted: Vec<_> = requests
        .log()
        .filter(|it| it.verb == "delete")
        .map(|it| it.resource.clone())
        .collect();
    let at = |resource: &str| deleted.iter().position(|it| it == resource).expect("it was deleted");
    assert!(
        at("widgets") < at("customresourcedefinitions") && at("configmaps") < at("namespaces"),
        "{deleted:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn component_removed_while_nobody_watched_is_pruned_after_a_restart() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    running
        .converge(&view(&[
            ("shop", &[config_map("a", "1")]),
            ("ground", &[namespace("shop")]),
        ]))
        .await;
    running.stop().await;
    let running = Running::start(cluster.client());
    running.converge(&view(&[("ground", &[namespace("shop")])])).await;
    assert!(other.get(&config_map("a", "")).await.is_none());
    assert!(other.get(&parent("shop")).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn object_that_moves_to_another_component_is_never_deleted() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let ground = [namespace("shop")];
    running
        .converge(&view(&[
            ("a", &[config_map("x", "1")]),
            ("b", &[]),
            ("ground", &ground),
        ]))
        .await;
    let before = other.get(&config_map("x", "")).await.unwrap();
    running
        .converge(&view(&[
            ("a", &[]),
            ("b", &[config_map("x", "1")]),
            ("ground", &ground),
        ]))
        .await;
    running
        .converge(&view(&[("c", &[config_map("x", "1")]), ("ground", &ground)]))
        .await;
    let after = other.get(&config_map("x", "")).await.unwrap();
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(after["metadata"]["labels"]["driftless.dev/component"], "c");
    assert!(other.get(&parent("a")).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_pruned_while_the_new_is_not_applied() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    running
        .converge(&view(&[("shop", &[namespace("shop"), config_map("old", "1")])]))
        .await;
    running
        .handle
        .set_desired(view(&[("shop", &[namespace("shop"), widget("new")])]));
    let report = running.until("told", |report| problem(report, "shop").is_some()).await;
    time_passes(Duration::from_secs(60)).await;
    assert_eq!(status(&report, "shop").to_prune, 1);
    assert!(other.get(&config_map("old", "")).await.is_some());
    other.create(&definition()).await;
    running.until("pruned", |report| report.counters.pruned == 1).await;
}

#[tokio::test(start_paused = true)]
async fn parent_is_narrowed_after_the_prune() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let elsewhere = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "elsewhere"}});
    let all = [
        namespace("shop"),
        namespace("elsewhere"),
        config_map("a", "1"),
        elsewhere,
    ];
    running.converge(&view(&[("shop", &all)])).await;
    running
        .converge(&view(&[("shop", &[namespace("shop"), config_map("a", "1")])]))
        .await;
    time_passes(Duration::from_secs(30)).await;
    let annotations = &other.get(&parent("shop")).await.unwrap()["metadata"]["annotations"];
    assert_eq!(
        annotations["applyset.kubernetes.io/contains-group-kinds"],
        "ConfigMap,Namespace"
    );
    assert_eq!(annotations["applyset.kubernetes.io/additional-namespaces"], "shop");
}
