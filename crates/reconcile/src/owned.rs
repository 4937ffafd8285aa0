//! What of a live object is ours, as one hash: the set of fields that our field manager owns, and their values.
//!
//! Called for every object that a response or a watch brings, with nothing but that object. Two equal hashes mean
//! that nobody touched what we applied; what other managers own never counts.
//!
//! A field that is owned as a whole (an atomic list or map, or an empty one) counts by its ownership alone: whoever
//! changes it takes it away from us, which changes the set, while what others put *into* an empty map is theirs.

use driftless_model::{
    field,
    ignored::{self as fields_of_others, Path},
};
use serde_json::{Map, Value};

use crate::{
    digest::{Digest, Hasher},
    ignored,
};

/// The hash of the fields that `manager` applied to `object`; `None` when it applied none, or all were taken away.
pub(crate) fn digest(object: &Value, manager: &str) -> Option<Digest> {
    let fields = fields(object, manager)?;
    let mut hasher = Hasher::default();
    // A wrong path was told where it was pushed.
    let ignored = fields_of_others::read(object).unwrap_or_default();
    let ignored: Vec<_> = ignored.iter().map(Path::steps).collect();
    walk(&mut hasher, fields, Some(object), &ignored);
    Some(hasher.finish())
}

/// The fields that `manager` applied to `object`.
pub(crate) fn fields<'a>(object: &'a Value, manager: &str) -> Option<&'a Map<String, Value>> {
    let entries = field::at(object, "/metadata/managedFields")?.as_array()?;
    let ours = entries.iter().find(|entry| is_applied_by(entry, manager))?;
    ours.get("fieldsV1")?.as_object()
}

/// Does an entry of `managedFields` tell what `manager` applied?
pub(crate) fn is_applied_by(entry: &Value, manager: &str) -> bool {
    entry.get("manager").and_then(Value::as_str) == Some(manager)
        && entry.get("operation").and_then(Value::as_str) == Some("Apply")
        && entry
            .get("subresource")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
}

/// `ignored` are the paths, from here on, whose values and owners do not count.
fn walk(hasher: &mut Hasher, fields: &Map<String, Value>, value: Option<&Value>, ignored: &[&[String]]) {
    hasher.mark(b'(');
    for (key, inner) in fields {
        let below = below(ignored, value, key);
        if !below.is_empty() && !counts(value, key, inner, &below) {
            continue;
        }
        hasher.part(b'k', key.as_bytes());
        if key == "." {
            continue;
        }
        let found = value.and_then(|value| locate(value, key));
        match inner.as_object() {
            Some(inner) if !inner.is_empty() => walk(hasher, inner, found, &below),
            _ => leaf(hasher, found),
        }
    }
    hasher.mark(b')');
}

/// The rests of the ignored paths that go through `key`.
fn below<'a>(ignored: &[&'a [String]], value: Option<&Value>, key: &str) -> Vec<&'a [String]> {
    let through = ignored.iter().filter_map(|path| {
        let (step, rest) = path.split_first()?;
        let is_it = match key.split_once(':')? {
            ("f", name) => step == "*" || step == name,
            ("k" | "v" | "i", _) => {
                let item = value.and_then(|value| locate(value, key));
                let index = value
                    .and_then(Value::as_array)
                    .zip(item)
                    .and_then(|(items, item)| items.iter().position(|it| std::ptr::eq(it, item)));
                item.zip(index)
                    .map_or(step == "*", |(item, index)| ignored::is_item(item, index, step))
            }
            _ => false,
        };
        is_it.then_some(rest)
    });
    through.collect()
}

/// Is there anything at `key` but what is ignored?
fn counts(value: Option<&Value>, key: &str, inner: &Value, ignored: &[&[String]]) -> bool {
    if ignored.iter().any(|rest| rest.is_empty()) {
        return false;
    }
    let Some(inner) = inner.as_object().filter(|inner| !inner.is_empty()) else {
        return true;
    };
    let value = value.and_then(|value| locate(value, key));
    inner.iter().any(|(key, inner)| {
        let below = below(ignored, value, key);
        below.is_empty() || counts(value, key, inner, &below)
    })
}

/// Follows one step of a `fieldsV1` path.
pub(crate) fn locate<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let (kind, rest) = key.split_once(':')?;
    match kind {
        "f" => value.get(rest),
        "k" => {
            let wanted: Map<String, Value> = serde_json::from_str(rest).ok()?;
            let is_it = |item: &&Value| wanted.iter().all(|(name, value)| item.get(name) == Some(value));
            value.as_array()?.iter().find(is_it)
        }
        "v" => {
            let wanted: Value = serde_json::from_str(rest).ok()?;
            value.as_array()?.iter().find(|item| **item == wanted)
        }
        "i" => value.as_array()?.get(rest.parse::<usize>().ok()?),
        _ => None,
    }
}

fn leaf(hasher: &mut Hasher, value: Option<&Value>) {
    match value {
        None => hasher.mark(b'-'),
        Some(Value::Null) => hasher.mark(b'0'),
        Some(Value::Bool(bool)) => hasher.mark(if *bool { b't' } else { b'f' }),
        Some(Value::Number(number)) => hasher.part(b'n', number.to_string().as_bytes()),
        Some(Value::String(text)) => hasher.part(b's', text.as_bytes()),
        Some(Value::Array(_)) => hasher.mark(b'['),
        Some(Value::Object(_)) => hasher.mark(b'{'),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A Deployment as the API server returns it, with one field owned by somebody else.
    fn deployment() -> Value {
        json!({
            "metadata": {"name": "web", "resourceVersion": "7", "labels": {"app": "web", "other": "x"},
                "managedFields": [
                    {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:paused": {}}}},
                    {"manager": "driftless", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
                    {"manager": "driftless", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": {
                        "f:metadata": {"f:labels": {"f:app": {}}, "f:annotations": {}},
                        "f:spec": {"f:replicas": {}, "f:selector": {}, "f:finalizers": {".": {}, "v:\"a\"": {}},
                            "f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {},
                                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}},
                ]},
            "spec": {"replicas": 2, "paused": true, "selector": {"matchLabels": {"app": "web"}}, "finalizers": ["b", "a"],
                "containers": [{"name": "sidecar", "image": "s:1"},
                    {"name": "web", "image": "web:1", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}]}]},
            "status": {"readyReplicas": 1},
        })
    }

    fn after(pointer: &str, value: Value) -> Option<Digest> {
        let mut object = deployment();
        *object.pointer_mut(pointer).expect("the pointer is right") = value;
        digest(&object, "driftless")
    }

    #[test]
    fn what_others_own_does_not_count() {
        let before = digest(&deployment(), "driftless");
        assert!(before.is_some());
        for (pointer, value) in [
            ("/status/readyReplicas", json!(2)),
            ("/spec/paused", json!(false)),
            ("/metadata/resourceVersion", json!("8")),
            ("/metadata/labels/other", json!("y")),
            ("/spec/containers/0/image", json!("s:2")),
            ("/spec/containers/1/ports/0/name", json!("web")),
            ("/spec/finalizers/0", json!("c")),
            ("/metadata/managedFields/0/fieldsV1", json!({})),
        ] {
            assert_eq!(after(pointer, value), before, "{pointer}");
        }
    }

    #[test]
    fn what_is_to_be_ignored_counts_neither_by_value_nor_by_owner() {
        let object = |own: Value, replicas: u32, image: &str| {
            json!({"metadata": {"annotations": {"driftless.dev/ignore-fields": "/spec/replicas, /spec/containers/name=web/image"},
                    "managedFields": [{"manager": "driftless", "operation": "Apply", "fieldsV1": {"f:spec": own, "f:data": {}}}]},
                "spec": {"replicas": replicas, "paused": false, "containers": [{"name": "x", "image": "x"}, {"name": "web", "image": image}]}})
        };
        let of = |own, replicas, image| digest(&object(own, replicas, image), "driftless");
        let containers = json!({"k:{\"name\":\"web\"}": {".": {}, "f:image": {}}});
        let before = of(json!({"f:replicas": {}, "f:containers": containers}), 2, "a");
        assert_eq!(
            of(json!({"f:replicas": {}, "f:containers": containers}), 3, "b"),
            before
        );
        let named = json!({"k:{\"name\":\"web\"}": {".": {}}});
        assert_eq!(of(json!({"f:containers": named}), 2, "a"), before);
        assert_ne!(of(json!({"f:replicas": {}}), 2, "a"), before);
        assert_ne!(
            of(
                json!({"f:replicas": {}, "f:paused": {}, "f:containers": containers}),
                2,
                "a"
            ),
            before
        );
        // Its parent is ours no more when the ignored field was all that we owned in it.
        let mut without = object(json!({"f:replicas": {}}), 3, "a");
        let last = digest(&without, "driftless");
        without["metadata"]["managedFields"][0]["fieldsV1"] = json!({"f:data": {}});
        assert_eq!(digest(&without, "driftless"), last);
    }

    #[test]
    fn every_owned_value_counts() {
        let before = digest(&deployment(), "driftless");
        for (pointer, value) in [
            ("/spec/replicas", json!(3)),
            ("/spec/replicas", json!("2")),
            ("/metadata/labels/app", json!("x")),
            ("/spec/containers/1/image", json!("web:2")),
            ("/spec/containers/1/name", json!("web2")),
            ("/spec/containers/1/ports", json!([])),
            ("/spec/finalizers", json!(["b"])),
            ("/metadata/managedFields/2/fieldsV1/f:spec", json!({"f:replicas": {}})),
        ] {
            assert_ne!(after(pointer, value.clone()), before, "{pointer} = {value}");
        }
    }

    #[test]
    fn order_of_associative_lists_does_not_count() {
        let mut object = deployment();
        object["spec"]["containers"].as_array_mut().unwrap().reverse();
        assert_eq!(digest(&object, "driftless"), digest(&deployment(), "driftless"));
    }

    #[test]
    fn what_others_put_into_an_empty_map_does_not_count() {
        let mut object = deployment();
        object["metadata"]["annotations"] = json!({});
        let before = digest(&object, "driftless");
        object["metadata"]["annotations"]["other"] = json!("leader");
        assert_eq!(digest(&object, "driftless"), before);
    }

    #[test]
    fn object_without_our_entry_has_no_hash() {
        assert_eq!(digest(&deployment(), "flux"), None);
        assert_eq!(after("/metadata/managedFields", json!([])), None);
        assert_eq!(digest(&json!({}), "driftless"), None);
    }
}
