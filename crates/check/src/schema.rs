//! What Kubernetes and custom resource definitions say of the shape of their kinds.
//!
//! [`Schema`] is the part of OpenAPI that the checks use; the shipped files, the documents they were made of and
//! custom resource definitions are all read into it. [`Catalog`] is all built-in kinds of one Kubernetes version, of
//! which each type is read when it is first asked for. `tests/kubernetes/schemas` makes the files under `schemas/` out of
//! what real API servers say, by [`reduce()`].

mod catalog;
mod reduce;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use catalog::supported;
pub(crate) use catalog::{Catalog, Shipped, TypeNumber, Types, is_unstable};
pub use reduce::reduce;

/// One type, as OpenAPI describes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Schema {
    /// The type that says everything else.
    #[serde(rename = "$type", skip_serializing_if = "Option::is_none")]
    pub(crate) same_as: Option<TypeNumber>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<Type>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) properties: BTreeMap<String, Self>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) items: Option<Box<Self>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) additional_properties: Option<Additional>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) required: BTreeSet<String>,
    #[serde(rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub(crate) values: Vec<Value>,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) nullable: bool,
    /// Filled in by the API server where it is absent; kept for custom resources only.
    #[serde(deserialize_with = "present", skip_serializing_if = "is_false")]
    pub(crate) default: bool,
    #[serde(rename = "x-kubernetes-preserve-unknown-fields", skip_serializing_if = "is_false")]
    pub(crate) preserves_unknown: bool,
    #[serde(rename = "x-kubernetes-int-or-string", skip_serializing_if = "is_false")]
    pub(crate) int_or_string: bool,
    #[serde(rename = "x-kubernetes-embedded-resource", skip_serializing_if = "is_false")]
    pub(crate) embedded: bool,
    #[serde(rename = "x-kubernetes-list-type", skip_serializing_if = "Option::is_none")]
    pub(crate) list_type: Option<String>,
    #[serde(rename = "x-kubernetes-list-map-keys", skip_serializing_if = "Vec::is_empty")]
    pub(crate) list_keys: Vec<String>,
    /// Only while reducing: the name of the definition that says everything else.
    #[serde(rename = "$ref", skip_serializing)]
    reference: Option<String>,
    /// Only while reducing: how OpenAPI 3 gives a reference siblings.
    #[serde(skip_serializing)]
    all_of: Vec<Value>,
    /// Only while reducing.
    #[serde(rename = "x-kubernetes-group-version-kind", skip_serializing)]
    served_as: Vec<ServedAs>,
}

/// OpenAPI's types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Type {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

/// What fields that `properties` do not name may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Additional {
    /// Anything, or nothing.
    Any(bool),
    /// Values of this type.
    Of(Box<Schema>),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct ServedAs {
    group: String,
    version: String,
    kind: String,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}
