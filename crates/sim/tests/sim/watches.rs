//! Watches: what comes in them, what ends them.

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::watch::Bookmark;
use serde_json::json;

use crate::support::{api, config_map, sim};

fn shown(event: &WatchEvent<kube::api::DynamicObject>) -> String {
    let name = |object: &kube::api::DynamicObject| object.metadata.name.clone().unwrap_or_default();
    match event {
        WatchEvent::Added(object) => format!("+{}", name(object)),
        WatchEvent::Modified(object) => format!("~{}", name(object)),
        WatchEvent::Deleted(object) => format!("-{}", name(object)),
        WatchEvent::Bookmark(Bookmark { metadata, .. }) => format!("#{}", metadata.annotations.len()),
        WatchEvent::Error(status) => format!("!{} {}", status.code, status.reason),
    }
}

#[tokio::test]
async fn changes_come_in_order_and_a_changed_label_is_a_deletion() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    let from = cluster.version().to_string();
    let params = WatchParams::default().labels("app=web");
    let events = api.watch(&params, &from).await.expect("watching");
    let mut object = config_map("a", json!({}));
    object.metadata.labels = Some([("app".to_owned(), "web".to_owned())].into());
    api.create(&PostParams::default(), &object).await.expect("created");
    api.create(&PostParams::default(), &config_map("other", json!({})))
        .await
        .expect("created");
    for patch in [
        json!({"data": {"k": "1"}}),
        json!({"metadata": {"labels": {"app": "db"}}}),
    ] {
        api.patch("a", &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .expect("patched");
    }
    api.delete("a", &DeleteParams::default()).await.expect("deleted");
    let seen: Vec<String> = events
        .take(3)
        .map_ok(|event| shown(&event))
        .try_collect()
        .await
        .expect("events");
    assert_eq!(seen, ["+a", "~a", "-a"]);
}

#[tokio::test]
async fn a_streaming_list_ends_with_a_bookmark() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    api.create(&PostParams::default(), &config_map("a", json!({})))
        .await
        .expect("created");
    let events = api
        .watch(&WatchParams::default().initial_events(), "0")
        .await
        .expect("watching");
    let seen: Vec<String> = events
        .take(3)
        .map_ok(|event| shown(&event))
        .try_collect()
        .await
        .expect("events");
    assert_eq!(seen, ["+a", "+kube-root-ca.crt", "#1"]);
}

#[tokio::test]
async fn a_version_that_was_forgotten_is_gone() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    let from = cluster.version().to_string();
    api.create(&PostParams::default(), &config_map("a", json!({})))
        .await
        .expect("created");
    cluster.faults().expire_history();
    let events = api.watch(&WatchParams::default(), &from).await.expect("watching");
    let seen: Vec<String> = events
        .map_ok(|event| shown(&event))
        .try_collect()
        .await
        .expect("events");
    assert_eq!(seen, ["!410 Expired"]);
}

#[tokio::test]
async fn watches_end_at_their_timeout_or_when_dropped() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    let from = cluster.version().to_string();
    let timed = api
        .watch(&WatchParams::default().timeout(1), &from)
        .await
        .expect("watching");
    assert_eq!(timed.count().await, 0);
    let events = api.watch(&WatchParams::default(), &from).await.expect("watching");
    cluster.faults().drop_watches();
    assert_eq!(events.count().await, 0);
}

#[tokio::test]
async fn a_watch_outlives_more_changes_than_history_holds() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    let events = api
        .watch(&WatchParams::default(), &cluster.version().to_string())
        .await
        .expect("watching");
    for count in 0..500 {
        api.create(&PostParams::default(), &config_map(&format!("a{count}"), json!({})))
            .await
            .expect("created");
    }
    assert_eq!(
        events.take(500).try_collect::<Vec<_>>().await.expect("events").len(),
        500
    );
}
