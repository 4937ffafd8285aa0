//! Fields that cannot change once an object is there, by kind, with the server's words.

use serde_json::{Value, json};

use crate::state::{Target, text};
use crate::status::Cause;

/// Adds what an update changes and may not.
pub(super) fn check(target: &Target, before: &Value, object: &Value, causes: &mut Vec<Cause>) {
    let mut fixed = |pointer: &str, field: &str| {
        let (old, new) = (before.pointer(pointer), object.pointer(pointer));
        if old != new {
            causes.push(Cause::invalid(field, new.unwrap_or(&Value::Null), "field is immutable"));
        }
    };
    match (target.kind.group.as_str(), target.kind.kind.as_str()) {
        ("apps", "Deployment" | "DaemonSet" | "ReplicaSet") => fixed("/spec/selector", "spec.selector"),
        ("batch", "Job") => {
            fixed("/spec/selector", "spec.selector");
            fixed("/spec/completionMode", "spec.completionMode");
            fixed("/spec/template", "spec.template");
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding")
            if before["roleRef"] != object["roleRef"] =>
        {
            let role = &object["roleRef"];
            let shown = json!({"APIGroup": role["apiGroup"], "Kind": role["kind"], "Name": role["name"]});
            causes.push(Cause::invalid("roleRef", &shown, "cannot change roleRef"));
        }
        ("storage.k8s.io", "StorageClass") => {
            fixed("/provisioner", "provisioner");
            fixed("/parameters", "parameters");
            fixed("/reclaimPolicy", "reclaimPolicy");
            fixed("/volumeBindingMode", "volumeBindingMode");
        }
        ("", "Secret") => {
            fixed("/type", "type");
            frozen(before, object, causes);
        }
        ("", "ConfigMap") => frozen(before, object, causes),
        ("", "Service") => {
            let ip = |object: &Value| text(object, "/spec/clusterIP").to_owned();
            let kept_type = before["spec"]["type"] != "ExternalName" && object["spec"]["type"] != "ExternalName";
            if kept_type && !ip(before).is_empty() && !ip(object).is_empty() && ip(before) != ip(object) {
                let detail = "may not change once set";
                causes.push(Cause::invalid("spec.clusterIPs[0]", &json!([ip(object)]), detail));
            }
        }
        ("apps", "StatefulSet") => stateful_set(before, object, causes),
        ("", "PersistentVolumeClaim") => claim(before, object, causes),
        ("", "Pod") => pod(before, object, causes),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            fixed("/spec/group", "spec.group");
            fixed("/spec/scope", "spec.scope");
            fixed("/spec/names/kind", "spec.names.kind");
        }
        _ => {}
    }
}

fn frozen(before: &Value, object: &Value, causes: &mut Vec<Cause>) {
    if before["immutable"] != json!(true) {
        return;
    }
    for field in ["immutable", "data", "binaryData"] {
        if before.get(field) != object.get(field) {
            causes.push(Cause::forbidden(field, "field is immutable when `immutable` is set"));
        }
    }
}

fn without(spec: &Value, fields: &[&str]) -> Value {
    let mut out = spec.clone();
    if let Some(map) = out.as_object_mut() {
        fields.iter().for_each(|field| drop(map.remove(*field)));
    }
    out
}

fn stateful_set(before: &Value, object: &Value, causes: &mut Vec<Cause>) {
    let free = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    if without(&before["spec"], &free) != without(&object["spec"], &free) {
        causes.push(Cause::forbidden("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"));
    }
}

fn claim(before: &Value, object: &Value, causes: &mut Vec<Cause>) {
    let free = ["resources", "volumeAttributesClassName", "volumeName"];
    if without(&before["spec"], &free) != without(&object["spec"], &free) {
        causes.push(Cause::forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        ));
    }
}

fn pod(before: &Value, object: &Value, causes: &mut Vec<Cause>) {
    let fixed = |object: &Value| {
        let mut spec = without(&object["spec"], &["activeDeadlineSeconds", "tolerations", "nodeName"]);
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        spec
    };
    if fixed(before) != fixed(object) {
        causes.push(Cause::forbidden("spec", "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"));
    }
}
