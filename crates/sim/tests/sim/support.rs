//! Shared by this crate's tests: a cluster, dynamic APIs of it, and small objects.

use driftless_sim::{Cluster, Options};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::core::Status;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

/// A cluster that logs what it is asked.
pub(crate) fn sim() -> Cluster {
    Cluster::new(Options {
        log: 10_000,
        ..Options::default()
    })
}

/// The API of one kind.
pub(crate) fn api(
    cluster: &Cluster,
    group: &str,
    version: &str,
    kind: &str,
    plural: &str,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client(), namespace, &resource),
        None => Api::all_with(cluster.client(), &resource),
    }
}

/// A `ConfigMap`.
pub(crate) fn config_map(name: &str, data: Value) -> DynamicObject {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    serde_json::from_value(object).expect("an object")
}

/// A Deployment of one container.
pub(crate) fn deployment(name: &str, image: &str) -> DynamicObject {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
        },
    });
    serde_json::from_value(object).expect("an object")
}

/// The object as JSON.
pub(crate) fn value(object: &DynamicObject) -> Value {
    assert!(!object.name_any().is_empty());
    serde_json::to_value(object).expect("an object")
}

/// Why the server refused.
pub(crate) fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> Status {
    match result {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("expected a refusal, got {other:?}"),
    }
}
