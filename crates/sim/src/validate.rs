//! What the server refuses: names, missing and immutable fields, failed preconditions.
//!
//! The checks that a GitOps agent's users meet, with the server's words; not all that the real one has. Pure; called by
//! the write path.

mod immutable;

use serde_json::{Value, json};

use crate::decode::Notes;
use crate::state::{Target, WriteOptions, text};
use crate::status::{Cause, Refusal};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
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
        "Service" => (is_label(name), 63, LABEL),
        _ => (is_subdomain(name), 253, SUBDOMAIN),
    };
    if name.len() > limit {
        return Some(format!("must be no more than {limit} bytes"));
    }
    if limit == 63 && name.contains('.') {
        return Some("must not contain dots".to_owned());
    }
    (!valid).then(|| rule.to_owned())
}

/// Refuses values that do not fit their fields.
pub(crate) fn decoded(target: &Target, notes: &Notes) -> Result<(), Refusal> {
    let Some(first) = notes.wrong.first() else {
        let causes: Vec<Cause> = notes.missing.iter().map(|path| Cause::required(path, "")).collect();
        let whole = causes.is_empty();
        return if whole {
            Ok(())
        } else {
            Err(Refusal::invalid(&target.kind, &target.name, &causes))
        };
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
            let several = spec["ports"].as_array().is_some_and(|ports| ports.len() > 1);
            for (at, port) in spec["ports"].as_array().into_iter().flatten().enumerate() {
                if several && text(port, "/name").is_empty() {
                    causes.push(Cause::required(&format!("spec.ports[{at}].name"), ""));
                }
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
    }
    let labels = &object["spec"]["template"]["metadata"]["labels"];
    let wanted = selector["matchLabels"].as_object();
    if selector.is_null() || wanted.into_iter().flatten().any(|(key, value)| labels[key] != *value) {
        let detail = "`selector` does not match template `labels`";
        causes.push(Cause::invalid("spec.template.metadata.labels", labels, detail));
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
        immutable::check(target, before, object, &mut causes);
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

/// Refuses an apply that is for another version, or another incarnation, of the object.
pub(crate) fn apply_target(target: &Target, live: &Value, config: &Value, exists: bool) -> Result<(), Refusal> {
    let (wanted, found) = (text(config, "/metadata/uid"), text(live, "/metadata/uid"));
    if wanted.is_empty() || wanted == found {
        return precondition(target, live, config);
    }
    if exists {
        let cause = Cause::invalid("metadata.uid", &json!(wanted), "field is immutable");
        return Err(Refusal::invalid(&target.kind, &target.name, &[cause]));
    }
    let detail = format!("uid mismatch: the provided object specified uid {wanted}, and no existing object was found");
    Err(Refusal::conflict(&target.kind, &target.name, &detail))
}

/// Refuses an update that must say which version it is for, and does not.
pub(crate) fn missing_version(target: &Target) -> Refusal {
    let cause = Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
    Refusal::invalid_resource(&target.kind, &target.name, &cause)
}

/// Refuses an apply that is not well formed.
pub(crate) fn apply_request(target: &Target, config: &Value, options: &WriteOptions) -> Result<(), Refusal> {
    if options.manager.is_empty() {
        let message = "Required value: is required for apply patch";
        return Err(Refusal::options(
            "PatchOptions",
            "fieldManager",
            "FieldValueRequired",
            message,
        ));
    }
    if !config.is_object() {
        return Err(Refusal::bad_request(
            "error decoding YAML: an applied configuration is an object",
        ));
    }
    let (version, kind) = (text(config, "/apiVersion"), text(config, "/kind"));
    if version != target.api_version() || kind != target.kind.kind {
        return Err(Refusal::bad_request(format!(
            "invalid object type: {version}, Kind={kind}"
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
