//! What a component does otherwise on some clusters: patches, objects to add, objects to leave out.
//!
//! Overlays are part of a bundle and are applied in their order, each on what the ones before made, by
//! [`render`](crate::render). Here is what they say and what makes one valid; nothing is applied here.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::{
    manifest::{Manifest, ManifestId},
    selector::Selector,
};

/// What to do otherwise on the clusters that `selector` selects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Overlay {
    /// What `driftless explain` and errors call it.
    pub name: String,
    /// The clusters; the empty selector means all.
    #[serde(default, skip_serializing_if = "Selector::is_empty")]
    pub selector: Selector,
    /// Objects to leave out. Done first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<Target>,
    /// Objects to add. An object that is there already is replaced. Done second.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "objects")]
    pub add: Vec<Manifest>,
    /// Changes to objects. Done last, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<Patch>,
}

/// A change to some objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Patch {
    /// The objects.
    pub target: Target,
    /// A JSON patch (RFC 6902). Exactly one of `json` and `merge` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<json_patch::Patch>,
    /// A JSON merge patch (RFC 7396): `null` removes a field, lists are replaced whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Value>,
}

/// Chooses objects of the component. What is not given is not asked; at least one part has to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// API group; the empty text means the core group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<Selector>,
}

impl Target {
    /// Does it choose this object? `labels` are looked at only where it asks for some.
    pub fn matches(&self, id: &ManifestId, value: impl FnOnce() -> Value) -> bool {
        let is = |wanted: &Option<String>, actual: Option<&str>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| actual.unwrap_or_default() == wanted)
        };
        is(&self.group, Some(&id.group))
            && is(&self.kind, Some(&id.kind))
            && is(&self.namespace, id.namespace.as_deref())
            && is(&self.name, Some(&id.name))
            && self.label_selector.as_ref().is_none_or(|selector| {
                let value = value();
                selector.matches(|key| value.pointer("/metadata/labels")?.get(key)?.as_str())
            })
    }

    /// Does it ask for nothing at all?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Target {
    /// `kind Deployment, name web`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let selector = self.label_selector.as_ref().map(ToString::to_string);
        let parts = [
            ("group", &self.group),
            ("kind", &self.kind),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("labels", &selector),
        ];
        let parts = parts
            .iter()
            .filter_map(|(what, value)| value.as_ref().map(|value| format!("{what} {value}")));
        f.write_str(&parts.collect::<Vec<_>>().join(", "))
    }
}

/// Manifests as the objects they are.
mod objects {
    use super::*;

    pub(super) fn serialize<S: Serializer>(manifests: &[Manifest], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(manifests.iter().map(Manifest::value))
    }

    /// Trusts nothing: each has to meet every rule, and to be as [`Manifest::new`] leaves it.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Manifest>, D::Error> {
        use serde::de::Error as _;
        let values = Vec::<Value>::deserialize(deserializer)?;
        let manifests = values
            .into_iter()
            .map(|value| Manifest::from_canonical(&crate::canonical::to_vec(&value)));
        manifests.collect::<Result<_, _>>().map_err(D::Error::custom)
    }
}
