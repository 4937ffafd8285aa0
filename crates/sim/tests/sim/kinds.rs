//! Discovery, custom kinds, and services of the API.

use std::time::Duration;

use driftless_sim::{Cluster, Options};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::discovery::{Discovery, Scope};
use serde_json::{Value, json};

use crate::support::{api, refusal, sim, value};

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "size": {"type": "integer", "default": 3},
                        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                            "items": {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}}},
                    }},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                }}},
            }],
        },
    })
}

async fn define(cluster: &Cluster) {
    let definitions = api(
        cluster,
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        None,
    );
    let params = PatchParams::apply("driftless");
    definitions
        .patch("widgets.example.com", &params, &Patch::Apply(&definition()))
        .await
        .expect("applied");
}

#[tokio::test]
async fn both_forms_of_discovery_agree() {
    let cluster = sim();
    define(&cluster).await;
    for discovery in [
        Discovery::new(cluster.client())
            .run_aggregated()
            .await
            .expect("discovered"),
        Discovery::new(cluster.client()).run().await.expect("discovered"),
    ] {
        let find = |group: &str, kind: &str| {
            let group = discovery.get(group)?;
            let (resource, capabilities) = group.recommended_kind(kind)?;
            Some((resource.plural, capabilities.scope))
        };
        assert_eq!(
            find("apps", "Deployment"),
            Some(("deployments".to_owned(), Scope::Namespaced))
        );
        assert_eq!(find("", "Namespace"), Some(("namespaces".to_owned(), Scope::Cluster)));
        assert_eq!(
            find("example.com", "Widget"),
            Some(("widgets".to_owned(), Scope::Namespaced))
        );
    }
}

#[tokio::test]
async fn an_applied_definition_is_served_with_its_schema() {
    let cluster = sim();
    define(&cluster).await;
    let widgets = api(&cluster, "example.com", "v1", "Widget", "widgets", Some("default"));
    let mut config = json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"},
        "spec": {"parts": [{"name": "a", "n": 1}]},
    });
    let params = PatchParams::apply("driftless");
    widgets
        .patch("w", &params, &Patch::Apply(&config))
        .await
        .expect("applied");
    let live = value(&widgets.get("w").await.expect("there"));
    assert_eq!(live["spec"]["size"], 3);
    let owned = &live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
    assert_eq!(
        *owned,
        json!({"f:parts": {"k:{\"name\":\"a\"}": {".": {}, "f:n": {}, "f:name": {}}}})
    );
    let status = json!({"apiVersion": "example.com/v1", "kind": "Widget", "status": {"ok": true}, "spec": {"size": 9}});
    widgets
        .patch_status("w", &PatchParams::default(), &Patch::Merge(&status))
        .await
        .expect("patched");
    let live = value(&widgets.get("w").await.expect("there"));
    assert_eq!(
        (&live["spec"]["size"], &live["status"]["ok"]),
        (&json!(3), &json!(true))
    );
    assert_eq!(live["metadata"]["generation"], 1);
    config["spec"]["size"] = json!("big");
    let wrong = refusal(widgets.patch("w", &params, &Patch::Apply(&config)).await);
    assert!(
        wrong.message.contains(".spec.size: expected numeric (int or float)"),
        "{}",
        wrong.message
    );
}

#[tokio::test]
async fn a_kind_is_unknown_before_its_definition_and_after_it() {
    let cluster = sim();
    let widgets = api(&cluster, "example.com", "v1", "Widget", "widgets", Some("default"));
    assert_eq!(refusal(widgets.get("w").await).code, 404);
    define(&cluster).await;
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}});
    let widget = serde_json::from_value(widget).expect("an object");
    widgets.create(&PostParams::default(), &widget).await.expect("created");
    let before = cluster.objects();
    let definitions = api(
        &cluster,
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        None,
    );
    definitions
        .delete("widgets.example.com", &DeleteParams::default())
        .await
        .expect("deleted");
    assert_eq!(refusal(definitions.get("widgets.example.com").await).code, 404);
    assert_eq!(cluster.objects(), before - 2);
    assert_eq!(refusal(widgets.get("w").await).code, 404);
}

#[tokio::test]
async fn establishing_can_take_its_time() {
    let options = Options {
        establish_after: Duration::from_millis(50),
        ..Options::default()
    };
    let cluster = Cluster::new(options);
    let definitions = api(
        &cluster,
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        None,
    );
    let events = definitions
        .watch(&WatchParams::default(), &cluster.version().to_string())
        .await
        .expect("watching");
    define(&cluster).await;
    let widgets = api(&cluster, "example.com", "v1", "Widget", "widgets", Some("default"));
    assert_eq!(refusal(widgets.list(&ListParams::default()).await).code, 404);
    let seen: Vec<_> = events.take(2).try_collect().await.expect("events");
    assert!(matches!(
        seen.as_slice(),
        [WatchEvent::Added(_), WatchEvent::Modified(_)]
    ));
    assert!(widgets.list(&ListParams::default()).await.is_ok());
}

#[tokio::test]
async fn a_remote_api_service_is_not_available() {
    let cluster = sim();
    let services = api(
        &cluster,
        "apiregistration.k8s.io",
        "v1",
        "APIService",
        "apiservices",
        None,
    );
    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {"group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"name": "adapter", "namespace": "monitoring"}},
    });
    services
        .create(
            &PostParams::default(),
            &serde_json::from_value(service).expect("an object"),
        )
        .await
        .expect("created");
    let live = value(&services.get("v1beta1.metrics.k8s.io").await.expect("there"));
    let condition = &live["status"]["conditions"][0];
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("False"), &json!("ServiceNotFound"))
    );
}
