//! All objects of a snapshot, as references look for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use driftless_model::manifest::{Manifest, ManifestId};
use serde_json::Value;

use super::{
    labels::{Labels, Selector},
    pod_labels, pod_template,
};
use crate::object::Object;

/// What is in a snapshot.
pub(crate) struct Index<'a> {
    objects: HashMap<&'a ManifestId, &'a Object>,
    /// The labels that Pods will have, by namespace.
    pods: BTreeMap<&'a str, BTreeSet<Labels<'a>>>,
    /// The Services that EndpointSlices are for.
    endpoints: BTreeSet<(&'a str, &'a str)>,
}

impl<'a> Index<'a> {
    /// Of objects that [`Index::reads`] it helps to have been read, on all cores.
    pub(crate) fn new(objects: impl IntoIterator<Item = &'a Object>) -> Self {
        let objects = objects.into_iter();
        let mut index = Self {
            objects: HashMap::with_capacity(objects.size_hint().0),
            pods: BTreeMap::new(),
            endpoints: BTreeSet::new(),
        };
        for object in objects {
            index.add(object);
        }
        index
    }

    /// Does more than the name of such an object say what it is for others?
    pub(crate) fn reads(manifest: &Manifest) -> bool {
        pod_template(manifest).is_some() || is_custom(manifest.id()) || is_slice(manifest.id())
    }

    fn add(&mut self, object: &'a Object) {
        let id = object.manifest.id();
        self.objects.insert(id, object);
        let namespace = id.namespace.as_deref().unwrap_or_default();
        let pods = self.pods.entry(namespace).or_default();
        if pod_template(&object.manifest).is_some() {
            pods.extend(pod_labels(&object.manifest, object.value()));
        } else if is_custom(id) {
            labels_anywhere(object.value(), pods);
        }
        match (id.group.as_str(), id.kind.as_str()) {
            _ if is_slice(id) => {
                let service = object.value()["metadata"]["labels"]["kubernetes.io/service-name"].as_str();
                self.endpoints.extend(service.map(|service| (namespace, service)));
            }
            ("", "Endpoints") => {
                self.endpoints.insert((namespace, id.name.as_str()));
            }
            _ => {}
        }
    }

    /// The object of this identity.
    pub(super) fn get(&self, id: &ManifestId) -> Option<&'a Value> {
        self.objects.get(id).map(|object| object.value())
    }

    /// Is there an object of this identity?
    pub(super) fn has(&self, id: &ManifestId) -> bool {
        self.objects.contains_key(id)
    }

    pub(super) fn has_endpoints(&self, namespace: Option<&str>, service: &str) -> bool {
        self.endpoints.contains(&(namespace.unwrap_or_default(), service))
    }

    pub(super) fn selects_pods(&self, namespace: &str, selector: &Selector<'_>) -> bool {
        // A custom resource may have no namespace of its own, and its Pods be anywhere.
        let pods = [namespace, ""]
            .into_iter()
            .filter_map(|namespace| self.pods.get(namespace));
        pods.flatten().any(|labels| selector.selects_pods(labels))
    }
}

fn is_custom(id: &ManifestId) -> bool {
    driftless_model::kinds::scope(&id.group, &id.kind).is_none()
}

fn is_slice(id: &ManifestId) -> bool {
    (id.group.as_str(), id.kind.as_str()) == ("discovery.k8s.io", "EndpointSlice")
}

fn are_labels(key: &str) -> bool {
    let (key, end) = (key.as_bytes(), b"labels");
    key.len() >= end.len() && key[key.len() - end.len()..].eq_ignore_ascii_case(end)
}

/// The labels that a custom resource holds anywhere: an operator that makes Pods of it may give them any of these,
/// and which ones only the operator knows.
fn labels_anywhere<'a>(value: &'a Value, found: &mut BTreeSet<Labels<'a>>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if are_labels(key) && key != "matchLabels" {
                    let labels = Labels::of(value);
                    if !labels.is_empty() {
                        found.insert(labels);
                    }
                }
                labels_anywhere(value, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                labels_anywhere(item, found);
            }
        }
        _ => {}
    }
}
