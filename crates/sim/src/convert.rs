//! The same object in another version of its kind, or through another kind that shows it.
//!
//! Two built-in resources need more than another `apiVersion`: HorizontalPodAutoscaler v1 and v2, and Events, which the
//! core group and `events.k8s.io` show with different field names. Pure; called by `store` and the write path.

use serde_json::{Map, Value, json};

use crate::kinds::Kind;

/// The core group's name of a field of an Event, and that of `events.k8s.io`.
const EVENT: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// Only `apiVersion` differs.
pub(crate) fn is_plain(from: &Kind, from_version: usize, to: &Kind, to_version: usize) -> bool {
    from.group == to.group && (from_version == to_version || to.group != "autoscaling")
}

/// `object` as `to` shows it.
pub(crate) fn to_version(from: &Kind, from_version: usize, to: &Kind, to_version: usize, mut object: Value) -> Value {
    if from.group != to.group {
        rename_event(&mut object, to.group.is_empty());
    } else if !is_plain(from, from_version, to, to_version) {
        if to.versions[to_version].name == "v1" {
            autoscaler_to_v1(&mut object);
        } else {
            autoscaler_to_v2(&mut object);
        }
    }
    object["apiVersion"] = json!(to.api_version(to_version));
    object
}

fn rename_event(object: &mut Value, to_core: bool) {
    let Some(map) = object.as_object_mut() else { return };
    for (core, new) in EVENT {
        let (from, to) = if to_core { (new, core) } else { (core, new) };
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

fn is_cpu_share(metric: &Value) -> bool {
    metric["type"] == "Resource"
        && metric["resource"]["name"] == "cpu"
        && metric["resource"]["target"]["averageUtilization"].is_i64()
}

fn autoscaler_to_v1(object: &mut Value) {
    const KEPT: &str = "autoscaling.alpha.kubernetes.io/metrics";
    let Some(spec) = object["spec"].as_object_mut() else {
        return;
    };
    let mut others = Vec::new();
    for metric in spec
        .remove("metrics")
        .as_ref()
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if is_cpu_share(metric) {
            let share = metric["resource"]["target"]["averageUtilization"].clone();
            spec.insert("targetCPUUtilizationPercentage".to_owned(), share);
        } else {
            others.push(metric.clone());
        }
    }
    spec.remove("behavior");
    if !others.is_empty() {
        if !object["metadata"]["annotations"].is_object() {
            object["metadata"]["annotations"] = json!({});
        }
        object["metadata"]["annotations"][KEPT] = json!(Value::from(others).to_string());
    }
    if let Some(status) = object["status"].as_object_mut() {
        status.remove("currentMetrics");
        status.remove("conditions");
    }
}

fn autoscaler_to_v2(object: &mut Value) {
    const KEPT: &str = "autoscaling.alpha.kubernetes.io/metrics";
    let mut metrics = Vec::new();
    let annotations = object["metadata"].get_mut("annotations").and_then(Value::as_object_mut);
    if let Some(Value::String(kept)) = annotations.and_then(|map: &mut Map<_, _>| map.remove(KEPT)) {
        metrics = serde_json::from_str(&kept).unwrap_or_default();
    }
    let Some(spec) = object["spec"].as_object_mut() else {
        return;
    };
    if let Some(share) = spec.remove("targetCPUUtilizationPercentage") {
        let target = json!({"type": "Utilization", "averageUtilization": share});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    if !metrics.is_empty() {
        spec.insert("metrics".to_owned(), Value::from(metrics));
    }
}
