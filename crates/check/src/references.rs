//! What objects say of each other: selectors that select nothing, names that nothing has.
//!
//! Everything is relative to the snapshot, and a cluster may hold more than that: so all of it is a warning but a
//! workload that does not select its own Pods, which the API server refuses. Nothing is said of Secrets, which never
//! come with a push, nor of the namespaces that a cluster fills itself.

mod index;
mod labels;
mod names;

use driftless_model::manifest::Manifest;
use serde_json::Value;

use crate::{
    finding::{Rule, Severity},
    structure::Fault,
};

pub(crate) use index::Index;
use labels::{Labels, Selector};

/// Namespaces whose objects a cluster brings along.
const OF_CLUSTERS: &[&str] = &["kube-node-lease", "kube-public", "kube-system"];

/// What is wrong with how `object` hangs together with the rest of the snapshot.
pub(crate) fn faults(index: &Index<'_>, manifest: &Manifest, object: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    faults.extend(own_pods(manifest, object));
    let namespace = manifest.id().namespace.as_deref().unwrap_or_default();
    if !OF_CLUSTERS.contains(&namespace) {
        faults.extend(selected(index, manifest, object, namespace));
        names::faults(index, manifest, object, namespace, &mut faults);
    }
    faults
}

fn warning(pointer: &str, rule: Rule, message: impl Into<String>) -> Fault {
    Fault::at(pointer, Severity::Warning, rule, message)
}

/// Where an object keeps the metadata and spec of the Pods that it makes.
fn pod_template(manifest: &Manifest) -> Option<&'static str> {
    let id = manifest.id();
    match (id.group.as_str(), id.kind.as_str()) {
        ("", "Pod") => Some(""),
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
        | ("", "ReplicationController")
        | ("batch", "Job") => Some("/spec/template"),
        ("batch", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

fn pod_labels<'a>(manifest: &Manifest, object: &'a Value) -> Option<Labels<'a>> {
    let template = object.pointer(pod_template(manifest)?)?;
    Some(Labels::of(&template["metadata"]["labels"]))
}

/// A workload must select the Pods it makes.
fn own_pods(manifest: &Manifest, object: &Value) -> Option<Fault> {
    let id = manifest.id();
    let selector = &object["spec"]["selector"];
    let (selector, pointer) = match (id.group.as_str(), id.kind.as_str()) {
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet") => {
            (Selector::of(selector)?, "/spec/selector")
        }
        ("", "ReplicationController") => (Selector::of_map(selector)?, "/spec/selector"),
        _ => return None,
    };
    let labels = pod_labels(manifest, object)?;
    // An empty one is refused too, by the same rule of the API server.
    if selector.is_empty() || selector.selects_template(&labels) {
        return None;
    }
    let message =
        format!("selects {selector}, which its own Pods do not have: spec.template.metadata.labels is {labels}");
    Some(Fault::at(pointer, Severity::Error, Rule::SelectorMismatch, message))
}

/// Services, budgets and network policies that select no Pod.
fn selected(index: &Index<'_>, manifest: &Manifest, object: &Value, namespace: &str) -> Option<Fault> {
    let id = manifest.id();
    let (selector, pointer, effect) = match (id.group.as_str(), id.kind.as_str()) {
        ("", "Service") => {
            if object["spec"]["type"] == "ExternalName" {
                return None;
            }
            let selector = Selector::of_map(&object["spec"]["selector"]).filter(|selector| !selector.is_empty());
            let Some(selector) = selector else {
                return endpoints_by_hand(index, manifest, object);
            };
            (selector, "/spec/selector", "it will have no endpoints")
        }
        ("policy", "PodDisruptionBudget") => {
            let selector = Selector::of(&object["spec"]["selector"])?;
            (selector, "/spec/selector", "it protects nothing")
        }
        ("networking.k8s.io", "NetworkPolicy") => {
            let selector = Selector::of(&object["spec"]["podSelector"])?;
            (selector, "/spec/podSelector", "it holds for nothing")
        }
        _ => return None,
    };
    if selector.is_empty() || index.selects_pods(namespace, &selector) {
        return None;
    }
    let message = format!("selects no Pod of the snapshot in namespace {namespace} ({selector}): {effect}");
    Some(warning(pointer, Rule::SelectsNothing, message))
}

/// A Service without selector is for endpoints that somebody else keeps, unless it is headless.
fn endpoints_by_hand(index: &Index<'_>, manifest: &Manifest, object: &Value) -> Option<Fault> {
    let id = manifest.id();
    if object["spec"]["clusterIP"] == "None" || index.has_endpoints(id.namespace.as_deref(), &id.name) {
        return None;
    }
    let message = "has no selector, and no EndpointSlice of the snapshot is for it: it will have no endpoints";
    Some(warning("/spec", Rule::SelectsNothing, message))
}

#[cfg(test)]
mod tests;
