//! The kinds that a server serves: the built-in ones, shared by all clusters, and those that CRDs add.
//!
//! `kinds.txt` holds one built-in kind and version a line:
//! `group|version|plural|Kind|singular|N or C|short names|categories|verbs|subresources|type`. Used everywhere; it knows
//! what a kind is, never an object of it.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::schema::{self, Type};

/// One resource, in all its served versions.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    /// One letter each: create, delete, Deletecollection, get, list, patch, update, watch.
    pub(crate) verbs: String,
    pub(crate) subresources: Vec<String>,
    /// Served versions, the preferred one first; objects are held in the first that `stored` names.
    pub(crate) versions: Vec<Version>,
    pub(crate) stored: usize,
    /// Where its objects are: two resources can show the same ones (Events).
    pub(crate) store: Arc<str>,
    pub(crate) custom: bool,
    pub(crate) generation: bool,
    /// For custom kinds with a scale subresource: paths of replicas in spec and status.
    pub(crate) scale: Option<(String, String)>,
}

#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) ty: Type,
}

const WITH_GENERATION: [&str; 28] = [
    "PriorityClass",
    "IngressClass",
    "NetworkPolicy",
    "Ingress",
    "EndpointSlice",
    "PodDisruptionBudget",
    "ResourceSlice",
    "DeviceClass",
    "FlowSchema",
    "PriorityLevelConfiguration",
    "DaemonSet",
    "StatefulSet",
    "Deployment",
    "ReplicaSet",
    "Job",
    "CronJob",
    "Pod",
    "PodTemplate",
    "ReplicationController",
    "ValidatingAdmissionPolicy",
    "MutatingAdmissionPolicy",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "MutatingAdmissionPolicyBinding",
    "ValidatingAdmissionPolicyBinding",
    "CustomResourceDefinition",
    "ServiceCIDR",
    "VolumeAttributesClass",
];

static BUILTIN: LazyLock<Vec<Arc<Kind>>> = LazyLock::new(|| {
    let mut out: Vec<Kind> = Vec::new();
    for line in include_str!("kinds/kinds.txt").lines() {
        let columns: Vec<&str> = line.split('|').collect();
        let &[
            group,
            version,
            plural,
            kind,
            singular,
            scope,
            short,
            categories,
            verbs,
            subresources,
            ty,
        ] = columns.as_slice()
        else {
            unreachable!("kinds.txt has eleven columns: {line}")
        };
        let version = Version {
            name: version.to_owned(),
            ty: schema::builtin(ty),
        };
        if let Some(known) = out
            .iter_mut()
            .find(|known| known.group == group && known.plural == plural)
        {
            known.versions.push(version);
            continue;
        }
        let words = |text: &str| -> Vec<String> {
            text.split(',')
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let home = if group == "events.k8s.io" { "" } else { group };
        out.push(Kind {
            group: group.to_owned(),
            kind: kind.to_owned(),
            list_kind: format!("{kind}List"),
            plural: plural.to_owned(),
            singular: singular.to_owned(),
            short_names: words(short),
            categories: words(categories),
            namespaced: scope == "N",
            verbs: verbs.to_owned(),
            subresources: words(subresources),
            versions: vec![version],
            stored: 0,
            store: format!("{home}/{plural}").into(),
            custom: false,
            generation: WITH_GENERATION.contains(&kind),
            scale: None,
        });
    }
    out.into_iter().map(Arc::new).collect()
});

/// A built-in kind that this crate itself names.
pub(crate) fn known(group: &str, kind: &str) -> Arc<Kind> {
    let found = BUILTIN.iter().find(|known| known.group == group && known.kind == kind);
    Arc::clone(found.expect("only built-in kinds are asked for"))
}

/// The kind that holds the objects of `kind`: itself, or the one that it only shows.
pub(crate) fn home(kind: &Arc<Kind>) -> Arc<Kind> {
    if kind.is("events.k8s.io", "Event") {
        known("", "Event")
    } else {
        Arc::clone(kind)
    }
}

impl Kind {
    /// `deployments.apps`
    pub(crate) fn resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// `Deployment.apps`
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.kind.clone()
        } else {
            format!("{}.{}", self.kind, self.group)
        }
    }

    /// `apps/v1`
    pub(crate) fn api_version(&self, version: usize) -> String {
        let name = &self.versions[version].name;
        if self.group.is_empty() {
            name.clone()
        } else {
            format!("{}/{name}", self.group)
        }
    }

    pub(crate) fn has_status(&self) -> bool {
        self.has("status")
    }

    pub(crate) fn has(&self, subresource: &str) -> bool {
        self.subresources.iter().any(|known| known == subresource)
    }

    pub(crate) fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

/// The kinds of one cluster.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// By group and plural.
    custom: BTreeMap<(String, String), Arc<Kind>>,
    /// Rises with every change, so that discovery documents can be kept.
    pub(crate) revision: u64,
}

impl Registry {
    /// The kind and the place of its version.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<(Arc<Kind>, usize)> {
        let builtin = BUILTIN.iter().find(|kind| kind.group == group && kind.plural == plural);
        let kind = match builtin {
            Some(kind) => kind,
            None => self.custom.get(&(group.to_owned(), plural.to_owned()))?,
        };
        let place = kind.versions.iter().position(|known| known.name == version)?;
        Some((Arc::clone(kind), place))
    }

    /// Whether a built-in kind has this group and version.
    pub(crate) fn serves(&self, group: &str, version: &str) -> bool {
        BUILTIN
            .iter()
            .any(|kind| kind.group == group && kind.versions.iter().any(|known| known.name == version))
    }

    /// All kinds, the built-in ones first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Kind>> {
        BUILTIN.iter().chain(self.custom.values())
    }

    pub(crate) fn custom(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.custom.values()
    }

    pub(crate) fn add(&mut self, kind: Arc<Kind>) {
        self.revision += 1;
        self.custom.insert((kind.group.clone(), kind.plural.clone()), kind);
    }

    pub(crate) fn remove(&mut self, group: &str, plural: &str) -> Option<Arc<Kind>> {
        self.revision += 1;
        self.custom.remove(&(group.to_owned(), plural.to_owned()))
    }
}

/// The kind that a CRD defines.
pub(crate) fn from_crd(crd: &Value) -> Option<Kind> {
    let spec = &crd["spec"];
    let names = &spec["names"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let words = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let (group, plural) = (text(&spec["group"]), text(&names["plural"]));
    let declared = spec["versions"].as_array()?;
    let mut served: Vec<&Value> = declared.iter().filter(|version| version["served"] == true).collect();
    served.sort_by_key(|version| std::cmp::Reverse(priority(version["name"].as_str().unwrap_or_default())));
    let stored = served
        .iter()
        .position(|version| version["storage"] == true)
        .unwrap_or(0);
    let subresources = declared
        .iter()
        .find(|version| version["storage"] == true)
        .map(|version| &version["subresources"]);
    let scale = subresources
        .and_then(|sub| sub.get("scale"))
        .map(|scale| (text(&scale["specReplicasPath"]), text(&scale["statusReplicasPath"])));
    let mut held = Vec::new();
    if scale.is_some() {
        held.push("scale".to_owned());
    }
    if subresources.is_some_and(|sub| sub.get("status").is_some()) {
        held.push("status".to_owned());
    }
    let versions: Vec<Version> = served
        .iter()
        .map(|version| Version {
            name: text(&version["name"]),
            ty: schema::shared_from_crd(version.pointer("/schema/openAPIV3Schema")),
        })
        .collect();
    (!versions.is_empty()).then(|| Kind {
        store: format!("{group}/{plural}").into(),
        group,
        kind: text(&names["kind"]),
        list_kind: text(&names["listKind"]),
        plural,
        singular: text(&names["singular"]),
        short_names: words(&names["shortNames"]),
        categories: words(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        verbs: "dDglpcuw".to_owned(),
        subresources: held,
        versions,
        stored,
        custom: true,
        generation: true,
        scale,
    })
}

/// Stable before beta before alpha before anything else, then the higher number.
fn priority(version: &str) -> (u8, u32, u32) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major = rest[..digits].parse().ok()?;
        let stage = &rest[digits..];
        let (rank, minor) = match (stage, stage.strip_prefix("beta"), stage.strip_prefix("alpha")) {
            ("", _, _) => (3, 0),
            (_, Some(minor), _) => (2, minor.parse().ok()?),
            (_, _, Some(minor)) => (1, minor.parse().ok()?),
            _ => return None,
        };
        Some((rank, major, minor))
    };
    parse().unwrap_or((0, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn horizontal_pod_autoscalers_are_served_in_two_versions() {
        let registry = Registry::default();
        let (new, _) = registry
            .find("autoscaling", "v2", "horizontalpodautoscalers")
            .expect("served");
        let (old, place) = registry
            .find("autoscaling", "v1", "horizontalpodautoscalers")
            .expect("served");
        assert!(Arc::ptr_eq(&new, &old) && place == 1);
    }

    #[test]
    fn versions_sort_by_stability_first() {
        let mut versions = ["v1alpha1", "v2beta1", "v1", "v10", "v1beta2"];
        versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        assert_eq!(versions, ["v10", "v1", "v2beta1", "v1beta2", "v1alpha1"]);
    }
}
