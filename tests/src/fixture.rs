//! What the suites push: real applications as their authors publish them, and small objects made on the spot.
//!
//! Everything is read from this repository.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// Google's online-boutique: 35 objects that name no namespace.
pub const ONLINE_BOUTIQUE: &str =
    include_str!("../../crates/model/tests/fixtures/online-boutique/kubernetes-manifests.yaml");

/// kube-prometheus, every file of it, as one stream of YAML documents.
pub fn kube_prometheus() -> Result<String> {
    const PACKED: &[u8] = include_bytes!("../fixtures/kube-prometheus/manifests.yaml.zst");
    let text = zstd::decode_all(PACKED).context("cannot unpack the kube-prometheus fixture")?;
    String::from_utf8(text).context("the kube-prometheus fixture is not UTF-8")
}

/// The documents of a stream that `keep` keeps, judged by their text.
pub fn documents(stream: &str, keep: impl Fn(&str) -> bool) -> String {
    let kept: Vec<_> = stream.split("\n---\n").filter(|document| keep(document)).collect();
    kept.join("\n---\n")
}

/// A stream of YAML documents: JSON is YAML.
pub fn stream(objects: &[Value]) -> String {
    let texts: Vec<_> = objects.iter().map(Value::to_string).collect();
    texts.join("\n---\n")
}

/// A ConfigMap with one key, `key`.
pub fn config_map(name: &str, value: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "key": value } })
}

/// A Deployment of `replicas` Pods of `image`.
pub fn deployment(name: &str, image: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "main", "image": image }] },
            },
        },
    })
}

/// A definition of the namespaced kind `kind` in `group`, and an object of it.
pub fn definition_and_object(group: &str, kind: &str, name: &str) -> (Value, Value) {
    let plural = format!("{}s", kind.to_lowercase());
    let schema = json!({
        "type": "object",
        "properties": { "spec": { "type": "object", "properties": { "size": { "type": "integer" } } } },
    });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": { "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase() },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }],
        },
    });
    let object = json!({
        "apiVersion": format!("{group}/v1"),
        "kind": kind,
        "metadata": { "name": name },
        "spec": { "size": 3 },
    });
    (definition, object)
}
