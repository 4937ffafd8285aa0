//! What the server refuses: names, missing and immutable fields, failed preconditions.
//!
//! The checks that a GitOps agent's users meet, with the server's words; not all that the real one has. Pure; called by
//! the write path.

use serde_json::{Value, json};

use crate::decode::Notes;
use crate::state::{Target, WriteOptions, text};
use crate::status::{Cause, Refusal};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
/// Annotations, keys and values, may hold this many bytes together.
const ANNOTATIONS: usize = 256 * 1024;

fn is_label(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(inside) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_name_part(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.chars().all(inside) && edge(text.chars().next()) && edge(text.chars().next_back())
}

/// What is wrong with a name of this kind.
fn name_problem(target: &Target, name: &str) -> Option<String> {
    if target.kind.group == "rbac.authorization.k8s.io" {
        let bad = ["/", "%"].into_iter().find(|part| name.contains(part));
        return bad.map(|part| format!("may not contain '{part}'"));
    }
    let (valid, limit, rule) = match target.kind.kind.as_str() {
        "Namespace" => (is_label(name), 63, LABEL),
        "Service" => (
            is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase()),
            63,
            LABEL_1035,
        ),
        _ => (is_subdomain(name), 253, SUBDOMAIN),
    };
    if name.len() > limit {
        return Some(format!("must be no more than {limit} bytes"));
    }
    (!valid).then(|| rule.to_owned())
}

/// Refuses values that do not fit their fields.
pub(crate) fn decoded(target: &Target, notes: &Notes) -> Result<(), Refusal> {
    let Some(first) = notes.wrong.first() else {
        return Ok(());
    };
    if !target.kind.custom {
        let quantity = first.expected == "quantity";
        let problem = if quantity {
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'".to_owned()
        } else {
            let expected = match first.expected {
                "boolean" => "bool",
                "integer" => "int32",
                "number" => "float64",
                other => other,
            };
            let got = match first.got {
                "boolean" => "bool",
                "integer" | "number" => "number",
                other => other,
            };
            format!(
                "json: cannot unmarshal {got} into Go struct field {}.{} of type {expected}",
                first.owner, first.path
            )
        };
        let (kind, version) = (&target.kind.kind, &target.kind.versions[target.version].name);
        return Err(Refusal::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {problem}"
        )));
    }
    let causes: Vec<Cause> = notes
        .wrong
        .iter()
        .map(|wrong| {
            let detail = format!(
                "{} in body must be of type {}: {:?}",
                wrong.path, wrong.expected, wrong.got
            );
            Cause::wrong_type(&wrong.path, &json!(wrong.got), &detail)
        })
        .collect();
    Err(Refusal::invalid(&target.kind, &target.name, &causes))
}

/// Refuses a new object that is not valid.
pub(crate) fn create(target: &Target, object: &Value) -> Result<(), Refusal> {
    let mut causes = Vec::new();
    let name = text(object, "/metadata/name");
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else if let Some(problem) = name_problem(target, name) {
        causes.push(Cause::invalid("metadata.name", &json!(name), &problem));
    }
    metadata(object, &mut causes);
    content(target, object, &mut causes);
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Refusal::invalid(&target.kind, name, &causes))
    }
}

fn metadata(object: &Value, causes: &mut Vec<Cause>) {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    for (key, value) in labels {
        key_problem("metadata.labels", key, causes);
        let text = value.as_str().unwrap_or_default();
        if text.len() > 63 {
            causes.push(Cause::invalid(
                "metadata.labels",
                value,
                "must be no more than 63 bytes",
            ));
        } else if !text.is_empty() && !is_name_part(text) {
            causes.push(Cause::invalid("metadata.labels", value, LABEL_VALUE));
        }
    }
    let mut size = 0;
    for (key, value) in object["metadata"]["annotations"].as_object().into_iter().flatten() {
        key_problem("metadata.annotations", key, causes);
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS {
        causes.push(Cause::too_long("metadata.annotations", ANNOTATIONS));
    }
    for (at, owner) in object["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, &format!("/{field}")).is_empty() {
                let path = format!("metadata.ownerReferences[{at}].{field}");
                causes.push(Cause::invalid(&path, &json!(""), "must not be empty"));
            }
        }
    }
}

fn key_problem(field: &str, key: &str, causes: &mut Vec<Cause>) {
    let (prefix, name) = key.split_once('/').unwrap_or(("", key));
    if !prefix.is_empty() && !is_subdomain(prefix) {
        causes.push(Cause::invalid(field, &json!(key), &format!("prefix part {SUBDOMAIN}")));
    }
    if name.len() > 63 {
        causes.push(Cause::invalid(
            field,
            &json!(key),
            "name part must be no more than 63 bytes",
        ));
    } else if !is_name_part(name) {
        causes.push(Cause::invalid(field, &json!(key), QUALIFIED));
    }
}

/// The fields without which the common kinds make no sense.
fn content(target: &Target, object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    match (target.kind.group.as_str(), target.kind.kind.as_str()) {
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => {
            selector(object, causes);
            let claims = spec["volumeClaimTemplates"].as_array().map_or(&[][..], Vec::as_slice);
            pod_spec(&spec["template"]["spec"], "spec.template.spec", claims, causes);
        }
        ("batch", "Job") => pod_spec(&spec["template"]["spec"], "spec.template.spec", &[], causes),
        ("batch", "CronJob") => {
            let pod = &spec["jobTemplate"]["spec"]["template"]["spec"];
            pod_spec(pod, "spec.jobTemplate.spec.template.spec", &[], causes);
        }
        ("", "Pod") => pod_spec(spec, "spec", &[], causes),
        ("", "Service") => {
            let no_ports = spec["ports"].as_array().is_none_or(Vec::is_empty);
            if no_ports && spec["type"] != "ExternalName" && spec["clusterIP"] != "None" {
                causes.push(Cause::required("spec.ports", ""));
            }
            for (at, port) in spec["ports"].as_array().into_iter().flatten().enumerate() {
                if !(1..=65535).contains(&port["port"].as_i64().unwrap_or(0)) {
                    let path = format!("spec.ports[{at}].port");
                    causes.push(Cause::invalid(
                        &path,
                        &port["port"],
                        "must be between 1 and 65535, inclusive",
                    ));
                }
            }
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let expected = format!("{}.{}", text(object, "/spec/names/plural"), text(object, "/spec/group"));
            if text(object, "/metadata/name") != expected {
                let detail = "must be spec.names.plural+\".\"+spec.group";
                causes.push(Cause::invalid("metadata.name", &object["metadata"]["name"], detail));
            }
            let storing = spec["versions"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|version| version["storage"] == true);
            if storing.count() != 1 {
                let detail = "must have exactly one version marked as storage version";
                causes.push(Cause::invalid("spec.versions", &spec["versions"], detail));
            }
        }
        ("", "ConfigMap" | "Secret") => {
            let keys = ["data", "binaryData"]
                .iter()
                .flat_map(|field| object[field].as_object())
                .flatten();
            let size: usize = keys
                .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
                .sum();
            if size > 1024 * 1024 {
                causes.push(Cause::too_long("", 1024 * 1024));
            }
        }
        _ => {}
    }
}

fn selector(object: &Value, causes: &mut Vec<Cause>) {
    let selector = &object["spec"]["selector"];
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
        return;
    }
    let labels = &object["spec"]["template"]["metadata"]["labels"];
    let wanted = selector["matchLabels"].as_object();
    if wanted.into_iter().flatten().any(|(key, value)| labels[key] != *value) {
        let detail = "`selector` does not match template `labels`";
        let shown = labels.as_object().cloned().unwrap_or_default();
        causes.push(Cause::invalid(
            "spec.template.metadata.labels",
            &Value::Object(shown),
            detail,
        ));
    }
}

fn pod_spec(spec: &Value, path: &str, claims: &[Value], causes: &mut Vec<Cause>) {
    let containers = spec["containers"].as_array();
    if containers.is_none_or(Vec::is_empty) {
        causes.push(Cause::required(&format!("{path}.containers"), ""));
    }
    for (at, container) in containers.into_iter().flatten().enumerate() {
        let path = format!("{path}.containers[{at}]");
        match container["name"].as_str().unwrap_or_default() {
            "" => causes.push(Cause::required(&format!("{path}.name"), "")),
            name if !is_label(name) => causes.push(Cause::invalid(&format!("{path}.name"), &json!(name), LABEL)),
            _ => {}
        }
        if container["image"].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(&format!("{path}.image"), ""));
        }
        let mounts = container["volumeMounts"].as_array().into_iter().flatten();
        for (place, mount) in mounts.enumerate() {
            let mut volumes = spec["volumes"].as_array().into_iter().flatten();
            let claimed = claims.iter().any(|claim| claim["metadata"]["name"] == mount["name"]);
            if !claimed && !volumes.any(|volume| volume["name"] == mount["name"]) {
                causes.push(Cause::missing(
                    &format!("{path}.volumeMounts[{place}].name"),
                    &mount["name"],
                ));
            }
        }
    }
}

/// Refuses a new version of an object that is not valid, or that changes what cannot be changed.
pub(crate) fn update(target: &Target, before: &Value, object: &Value) -> Result<(), Refusal> {
    let mut causes = Vec::new();
    metadata(object, &mut causes);
    if target.subresource.is_empty() {
        content(target, object, &mut causes);
        immutable(target, before, object, &mut causes);
    }
    if before["metadata"]["deletionTimestamp"].is_string() {
        let known = before["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let now = object["metadata"]["finalizers"].as_array().into_iter().flatten();
        let new: Vec<String> = now.filter(|name| !known.contains(name)).map(Value::to_string).collect();
        if !new.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                new.join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", &detail));
        }
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Refusal::invalid(&target.kind, &target.name, &causes))
    }
}

fn immutable(target: &Target, before: &Value, object: &Value, causes: &mut Vec<Cause>) {
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
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            if before["roleRef"] != object["roleRef"] {
                causes.push(Cause::invalid("roleRef", &object["roleRef"], "cannot change roleRef"));
            }
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

/// Refuses a write that is for another version, or another incarnation, of the object.
pub(crate) fn precondition(target: &Target, live: &Value, object: &Value) -> Result<(), Refusal> {
    let (wanted, found) = (text(object, "/metadata/uid"), text(live, "/metadata/uid"));
    if !wanted.is_empty() && wanted != found {
        return Err(Refusal::uid_differs(&target.kind, &target.name, wanted, found));
    }
    let wanted = text(object, "/metadata/resourceVersion");
    if !wanted.is_empty() && wanted != text(live, "/metadata/resourceVersion") {
        return Err(Refusal::modified(&target.kind, &target.name));
    }
    Ok(())
}

/// Refuses an update that must say which version it is for, and does not.
pub(crate) fn missing_version(target: &Target) -> Refusal {
    let cause = Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
    Refusal::invalid(&target.kind, &target.name, &[cause])
}

/// Refuses an apply that is not well formed.
pub(crate) fn apply_request(target: &Target, config: &Value, options: &WriteOptions) -> Result<(), Refusal> {
    if options.manager.is_empty() {
        let message =
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        return Err(Refusal::new(422, "Invalid", message));
    }
    if !config.is_object() {
        return Err(Refusal::bad_request(
            "error decoding YAML: an applied configuration is an object",
        ));
    }
    let version = text(config, "/apiVersion");
    if version != target.api_version() {
        return Err(Refusal::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            target.api_version()
        )));
    }
    let kind = text(config, "/kind");
    if kind != target.kind.kind {
        return Err(Refusal::bad_request(format!(
            "the kind of the applied configuration ({kind}) is not {}",
            target.kind.kind
        )));
    }
    if !config["metadata"]["managedFields"].is_null() {
        return Err(Refusal::bad_request("metadata.managedFields must be nil"));
    }
    let name = text(config, "/metadata/name");
    if !name.is_empty() && name != target.name {
        return Err(Refusal::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    let namespace = text(config, "/metadata/namespace");
    if target.kind.namespaced && !namespace.is_empty() && namespace != target.namespace {
        return Err(Refusal::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_their_kind() {
        assert!(is_subdomain("a.b-c.d0") && is_label("a-1"));
        for wrong in ["", "A", "-a", "a-", "a..b", "a_b", ".a"] {
            assert!(!is_subdomain(wrong), "{wrong}");
        }
        assert!(is_name_part("My_value.1") && !is_name_part("-x") && !is_name_part("a b"));
    }
}
