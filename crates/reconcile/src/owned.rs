//! What of a live object is ours, as one hash: the set of fields that our field manager owns, and their values.
//!
//! Called for every object that a response or a watch brings, with nothing but that object. Two equal hashes mean
//! that nobody touched what we applied; what other managers own never counts.
//!
//! A field that is owned as a whole (an atomic list or map, or an empty one) counts by its ownership alone: whoever
//! changes it takes it away from us, which changes the set, while what others put *into* an empty map is theirs.

use serde_json::{Map, Value};

use crate::digest::{Digest, Hasher};

/// The hash of the fields that `manager` applied to `object`; `None` when it applied none, or all were taken away.
pub(crate) fn digest(object: &Value, manager: &str) -> Option<Digest> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let ours = entries.iter().find(|entry| is_applied_by(entry, manager))?;
    let fields = ours.get("fieldsV1")?.as_object()?;
    let mut hasher = Hasher::default();
    walk(&mut hasher, fields, Some(object));
    Some(hasher.finish())
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

fn walk(hasher: &mut Hasher, fields: &Map<String, Value>, value: Option<&Value>) {
    hasher.mark(b'(');
    for (key, inner) in fields {
        hasher.part(b'k', key.as_bytes());
        if key == "." {
            continue;
        }
        let found = value.and_then(|value| locate(value, key));
        match inner.as_object() {
            Some(inner) if !inner.is_empty() => walk(hasher, inner, found),
            _ => leaf(hasher, found),
        }
    }
    hasher.mark(b')');
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
