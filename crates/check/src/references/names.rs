//! Names of other objects: ConfigMaps, ServiceAccounts, claims, Services, roles, scaling targets.

use driftless_model::manifest::{Manifest, ManifestId, split_api_version};
use serde_json::Value;

use super::{Index, OF_CLUSTERS, pod_template, warning};
use crate::{finding::Rule, structure::Fault, variable};

const RBAC: &str = "rbac.authorization.k8s.io";
/// ClusterRoles that every cluster has, besides those that begin with `system:`.
const CLUSTER_ROLES: &[&str] = &["admin", "cluster-admin", "edit", "view"];

/// A name somewhere in an object, and what it is the name of.
struct Reference<'a> {
    /// Where the name is written.
    pointer: String,
    group: &'a str,
    kind: &'a str,
    name: &'a str,
    /// A key that the object must have among its data.
    key: Option<&'a str>,
}

/// Adds a warning for each name in `object` that nothing in the snapshot has.
pub(super) fn faults(index: &Index<'_>, manifest: &Manifest, object: &Value, namespace: &str, faults: &mut Vec<Fault>) {
    let id = manifest.id();
    let mut references = Vec::new();
    if let Some(template) = pod_template(manifest) {
        of_pod(object, &format!("{template}/spec"), &mut references);
    }
    match (id.group.as_str(), id.kind.as_str()) {
        ("networking.k8s.io", "Ingress") => of_ingress(object, &mut references),
        ("autoscaling", "HorizontalPodAutoscaler") => of_autoscaler(object, &mut references),
        (RBAC, "RoleBinding" | "ClusterRoleBinding") => return of_binding(index, object, namespace, faults),
        _ => {}
    }
    for reference in &references {
        faults.extend(missing(index, namespace, reference));
    }
}

fn missing(index: &Index<'_>, namespace: &str, reference: &Reference<'_>) -> Option<Fault> {
    let &Reference {
        ref pointer,
        group,
        kind,
        name,
        key,
    } = reference;
    if variable::is_in(name) || is_given(kind, name) {
        return None;
    }
    let id = ManifestId {
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    };
    if !index.has(&id) {
        return Some(absent(pointer, &id));
    }
    let key = key.filter(|key| !variable::is_in(key))?;
    let is_there = index.get(&id).is_some_and(|object| has_key(object, key));
    (!is_there).then(|| {
        let message = format!("`{key}` is no key of {id}");
        warning(pointer, Rule::MissingReference, message)
    })
}

fn absent(pointer: &str, id: &ManifestId) -> Fault {
    warning(
        pointer,
        Rule::MissingReference,
        format!("names {id}, which is not in the snapshot"),
    )
}

fn has_key(object: &Value, key: &str) -> bool {
    ["data", "binaryData"]
        .into_iter()
        .any(|data| object[data].get(key).is_some())
}

/// What every namespace has.
fn is_given(kind: &str, name: &str) -> bool {
    matches!(
        (kind, name),
        ("ServiceAccount", "default") | ("ConfigMap", "kube-root-ca.crt")
    )
}

fn of_pod<'a>(object: &'a Value, pointer: &str, found: &mut Vec<Reference<'a>>) {
    let Some(spec) = object.pointer(pointer) else { return };
    named(found, spec, pointer, "/serviceAccountName", "ServiceAccount", None);
    for (volume, pointer) in items(spec, pointer, "volumes") {
        let claim = "/persistentVolumeClaim/claimName";
        named(found, volume, &pointer, claim, "PersistentVolumeClaim", None);
        config_map(found, volume, &pointer, "configMap");
        let sources = volume
            .get("projected")
            .map(|projected| items(projected, &pointer, "sources"));
        for (source, pointer) in sources.into_iter().flatten() {
            // `items` names the field within `projected`.
            let pointer = pointer.replacen("/sources/", "/projected/sources/", 1);
            config_map(found, source, &pointer, "configMap");
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (container, pointer) in items(spec, pointer, list) {
            for (source, pointer) in items(container, &pointer, "envFrom") {
                config_map(found, source, &pointer, "configMapRef");
            }
            let variables = container.get("env").and_then(Value::as_array).into_iter().flatten();
            // Many, of which few name anything.
            for (index, variable) in variables.enumerate() {
                if let Some(source) = variable.get("valueFrom") {
                    let pointer = format!("{pointer}/env/{index}/valueFrom");
                    config_map(found, source, &pointer, "configMapKeyRef");
                }
            }
        }
    }
}

/// The elements of the list `field`, each with its pointer.
fn items<'a>(object: &'a Value, pointer: &str, field: &'static str) -> impl Iterator<Item = (&'a Value, String)> {
    let elements = object.get(field).and_then(Value::as_array).into_iter().flatten();
    let start = format!("{pointer}/{field}");
    elements
        .enumerate()
        .map(move |(index, element)| (element, format!("{start}/{index}")))
}

/// A reference to a ConfigMap, unless it is optional.
fn config_map<'a>(found: &mut Vec<Reference<'a>>, holder: &'a Value, pointer: &str, field: &str) {
    let Some(reference) = holder.get(field) else { return };
    if reference["optional"] != true {
        let pointer = format!("{pointer}/{field}");
        named(
            found,
            reference,
            &pointer,
            "/name",
            "ConfigMap",
            reference["key"].as_str(),
        );
    }
}

/// The name of an object in the core group, if there is one at `field`.
fn named<'a>(
    found: &mut Vec<Reference<'a>>,
    holder: &'a Value,
    pointer: &str,
    field: &str,
    kind: &'static str,
    key: Option<&'a str>,
) {
    let name = holder.pointer(field).and_then(Value::as_str);
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        found.push(Reference {
            pointer: format!("{pointer}{field}"),
            group: "",
            kind,
            name,
            key,
        });
    }
}

fn of_ingress<'a>(object: &'a Value, found: &mut Vec<Reference<'a>>) {
    named(found, object, "", "/spec/defaultBackend/service/name", "Service", None);
    for (rule, pointer) in items(&object["spec"], "/spec", "rules") {
        for (path, pointer) in items(&rule["http"], &format!("{pointer}/http"), "paths") {
            named(found, path, &pointer, "/backend/service/name", "Service", None);
        }
    }
}

fn of_autoscaler<'a>(object: &'a Value, found: &mut Vec<Reference<'a>>) {
    let target = &object["spec"]["scaleTargetRef"];
    let api_version = target["apiVersion"].as_str().unwrap_or_default();
    let (group, _) = split_api_version(api_version);
    if let (Some(kind), Some(name)) = (target["kind"].as_str(), target["name"].as_str()) {
        let pointer = "/spec/scaleTargetRef/name".to_owned();
        found.push(Reference {
            pointer,
            group,
            kind,
            name,
            key: None,
        });
    }
}

fn of_binding(index: &Index<'_>, object: &Value, namespace: &str, faults: &mut Vec<Fault>) {
    let id = |group: &str, kind: &str, namespace: Option<&str>, name: &str| ManifestId {
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    let role = &object["roleRef"];
    if let (Some(kind), Some(name)) = (role["kind"].as_str(), role["name"].as_str()) {
        let of_clusters = name.starts_with("system:") || CLUSTER_ROLES.contains(&name) || variable::is_in(name);
        let id = id(RBAC, kind, (kind == "Role").then_some(namespace), name);
        if !of_clusters && !index.has(&id) {
            faults.push(absent("/roleRef/name", &id));
        }
    }
    for (subject, pointer) in items(object, "", "subjects") {
        let account = (
            subject["kind"].as_str(),
            subject["name"].as_str(),
            subject["namespace"].as_str(),
        );
        let (Some("ServiceAccount"), Some(name), Some(namespace)) = account else {
            continue;
        };
        let open = variable::is_in(name) || variable::is_in(namespace) || OF_CLUSTERS.contains(&namespace);
        let id = id("", "ServiceAccount", Some(namespace), name);
        if !open && name != "default" && !index.has(&id) {
            faults.push(absent(&format!("{pointer}/name"), &id));
        }
    }
}
