//! The `scale` subresource: how many replicas, whatever the kind calls them.
//!
//! Called by `http`; writes go through the ordinary write path.

use serde_json::{Value, json};

use crate::patch::{Patch, patched};
use crate::schema::builtin;
use crate::state::{State, Target, WriteOptions, text};
use crate::status::Refusal;

fn pointer(path: &str) -> String {
    path.replace('.', "/")
}

fn paths(target: &Target) -> (String, String) {
    match &target.kind.scale {
        Some((spec, status)) => (pointer(spec), pointer(status)),
        None => ("/spec/replicas".to_owned(), "/status/replicas".to_owned()),
    }
}

fn document(target: &Target, object: &Value) -> Value {
    let (spec, status) = paths(target);
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let labels = object["spec"]["selector"]["matchLabels"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let selector: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(key) {
            metadata[key] = value.clone();
        }
    }
    let replicas = number(&spec);
    let wanted = if replicas == 0 {
        json!({})
    } else {
        json!({"replicas": replicas})
    };
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": wanted,
        "status": {"replicas": number(&status), "selector": selector.join(",")},
    })
}

/// Gets, replaces or patches the scale of an object.
pub(crate) fn respond(
    state: &mut State,
    target: &Target,
    patch: Result<Patch, Refusal>,
    verb: &str,
    options: &WriteOptions,
) -> Result<(u16, Value), Refusal> {
    let live = state.find(target)?.view(&target.kind, target.version);
    let before = document(target, &live);
    let after = match verb {
        "get" => return Ok((200, before)),
        "update" => match patch? {
            Patch::Merge(body) => body,
            _ => return Err(Refusal::not_allowed()),
        },
        "patch" | "apply" => {
            let patch = match patch? {
                Patch::Apply(config) => Patch::Merge(config),
                other => other,
            };
            patched(&builtin("autoscaling.v1.Scale"), &before, &patch, false)?
        }
        _ => return Err(Refusal::not_allowed()),
    };
    let Some(replicas) = after["spec"]
        .get("replicas")
        .map_or(Some(0), Value::as_i64)
        .filter(|replicas| *replicas >= 0)
    else {
        return Err(Refusal::bad_request(
            "spec.replicas: Invalid value: must be a number that is not negative",
        ));
    };
    let mut object = live;
    let (spec, _) = paths(target);
    set(&mut object, &spec, json!(replicas));
    let version = text(&after, "/metadata/resourceVersion").to_owned();
    if !version.is_empty() {
        object["metadata"]["resourceVersion"] = json!(version);
    }
    let written = state.replace(target, object, options)?;
    Ok((200, document(target, &written.object)))
}

fn set(object: &mut Value, path: &str, value: Value) {
    let place = path
        .trim_start_matches('/')
        .split('/')
        .fold(object, |place, step| &mut place[step]);
    *place = value;
}
