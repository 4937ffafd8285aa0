//! What Kubernetes and custom resource definitions say of the shape of their kinds.
//!
//! [`Schema`] is the part of OpenAPI that the checks use; the shipped files, the documents they were made of and
//! custom resource definitions are all read into it. [`Catalog`] is all built-in kinds of one Kubernetes version,
//! read from a file under `schemas/` when it is first asked for. `tests/kubernetes/schemas` makes those files out of
//! what real API servers say, by [`reduce`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Minor};

/// Where definitions are kept in an OpenAPI document.
const DEFINITIONS: &str = "#/components/schemas/";
/// The definition that every object's `metadata` follows.
pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Fields that OpenAPI calls required and that API servers take objects without: a kube-apiserver 1.36.3 with every
/// API on was given an object for each required field there is, once with it and once without. Each is the end of
/// a definition's name, and a field.
const NOT_ENFORCED: &[(&str, &str)] = &[
    (".apiextensions.v1.CustomResourceDefinitionVersion", "served"),
    (".apiextensions.v1.SelectableField", "jsonPath"),
    (".apiextensions.v1.ServiceReference", "name"),
    (".apiextensions.v1.ServiceReference", "namespace"),
    (".apiextensions.v1.WebhookConversion", "conversionReviewVersions"),
    (".apps.v1.ControllerRevision", "revision"),
    (".batch.v1.PodFailurePolicy", "rules"),
    (".core.v1.ConfigMapNodeConfigSource", "kubeletConfigKey"),
    (".core.v1.ConfigMapNodeConfigSource", "name"),
    (".core.v1.ConfigMapNodeConfigSource", "namespace"),
    (".core.v1.Event", "involvedObject"),
    (".core.v1.HTTPHeader", "value"),
    (".core.v1.ISCSIPersistentVolumeSource", "lun"),
    (".core.v1.ISCSIVolumeSource", "lun"),
    (".core.v1.LimitRangeSpec", "limits"),
    (".core.v1.PreferredSchedulingTerm", "preference"),
    (".core.v1.ScaleIOPersistentVolumeSource", "secretRef"),
    (".core.v1.ScaleIOVolumeSource", "secretRef"),
    (".core.v1.SleepAction", "seconds"),
    (".core.v1.Sysctl", "value"),
    (".core.v1.TypedLocalObjectReference", "kind"),
    (".core.v1.TypedLocalObjectReference", "name"),
    (".discovery.v1.ForZone", "name"),
    (".events.v1.EventSeries", "count"),
    (".events.v1.EventSeries", "lastObservedTime"),
    (".flowcontrol.v1.GroupSubject", "name"),
    (".flowcontrol.v1.LimitResponse", "type"),
    (".flowcontrol.v1.ServiceAccountSubject", "name"),
    (".flowcontrol.v1.ServiceAccountSubject", "namespace"),
    (".flowcontrol.v1.UserSubject", "name"),
    (".meta.v1.FieldSelectorRequirement", "operator"),
    (".meta.v1.GroupResource", "group"),
    (".meta.v1.OwnerReference", "apiVersion"),
    (".meta.v1.OwnerReference", "kind"),
    (".meta.v1.OwnerReference", "name"),
    (".meta.v1.OwnerReference", "uid"),
    (".CapacityRequestPolicyRange", "min"),
    (".Counter", "value"),
    (".DeviceCapacity", "value"),
    (".DeviceClass", "spec"),
    (".DeviceCounterConsumption", "counters"),
    (".ResourceClaim", "spec"),
    (".ResourceClaimTemplate", "spec"),
    (".ResourceClaimTemplateSpec", "spec"),
    (".ResourcePool", "generation"),
    (".storage.v1.CSIDriver", "spec"),
    (".storage.v1.CSINode", "spec"),
    (".storage.v1.CSINodeSpec", "drivers"),
    (".storage.v1.TokenRequest", "audience"),
];

/// The shipped files, oldest first.
static CATALOGS: [Shipped; 3] = [
    Shipped::new(34, include_bytes!("../schemas/v1.34.json.zst")),
    Shipped::new(35, include_bytes!("../schemas/v1.35.json.zst")),
    Shipped::new(36, include_bytes!("../schemas/v1.36.json.zst")),
];

/// The built-in kinds of one Kubernetes version, as this program has them with it.
#[derive(Debug)]
pub(crate) struct Shipped {
    pub(crate) version: Minor,
    packed: &'static [u8],
    catalog: OnceLock<Catalog>,
}

impl Shipped {
    const fn new(minor: u32, packed: &'static [u8]) -> Self {
        Self {
            version: Minor::new(minor),
            packed,
            catalog: OnceLock::new(),
        }
    }

    /// Those of `version`, or of the known version nearest to it.
    pub(crate) fn nearest(version: Minor) -> &'static Self {
        CATALOGS
            .iter()
            .min_by_key(|shipped| shipped.version.distance(version))
            .expect("there are shipped versions")
    }

    /// All of them. To read them when they are first asked for takes some milliseconds.
    pub(crate) fn catalog(&self) -> &Catalog {
        self.catalog.get_or_init(|| {
            let json = zstd::decode_all(self.packed).expect("the shipped schemas are zstd: a test reads them all");
            serde_json::from_slice(&json).expect("the shipped schemas are readable: a test reads them all")
        })
    }
}

/// The minor versions whose built-in kinds are known, oldest first.
pub fn supported() -> impl DoubleEndedIterator<Item = Minor> {
    CATALOGS.iter().map(|shipped| shipped.version)
}

/// One type, as OpenAPI describes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Schema {
    /// The name of the definition that says everything else.
    #[serde(rename = "$ref", skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<String>,
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

/// All built-in kinds of one Kubernetes version.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Catalog {
    /// The version of the API server that it was taken from.
    kubernetes: String,
    /// For each `apiVersion`, for each kind the name of its definition.
    pub(crate) kinds: BTreeMap<String, BTreeMap<String, String>>,
    /// Types by name.
    pub(crate) definitions: BTreeMap<String, Schema>,
}

impl Catalog {
    /// The type of a built-in kind.
    pub(crate) fn kind(&self, api_version: &str, kind: &str) -> Option<&Schema> {
        self.definitions.get(self.kinds.get(api_version)?.get(kind)?)
    }

    /// Whether Kubernetes itself serves this group, in any version.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.kinds
            .keys()
            .any(|api_version| driftless_model::manifest::split_api_version(api_version).0 == group)
    }

    /// The `apiVersion`s that serve `kind`, stable ones first.
    pub(crate) fn versions_of(&self, kind: &str) -> Vec<&str> {
        let mut versions: Vec<_> = self
            .kinds
            .iter()
            .filter(|(_, kinds)| kinds.contains_key(kind))
            .map(|(api_version, _)| api_version.as_str())
            .collect();
        versions.sort_by_key(|api_version| is_unstable(api_version));
        versions
    }
}

/// Is this an alpha or a beta version, which no API server serves unless told to?
pub(crate) fn is_unstable(api_version: &str) -> bool {
    let version = driftless_model::manifest::split_api_version(api_version).1;
    version.contains("alpha") || version.contains("beta")
}

/// Makes a shipped file of the OpenAPI documents of the API server `kubernetes`: what the checks use of them,
/// each definition once, compressed. The same documents in any order give the same bytes.
///
/// # Errors
/// [`Error::Schema`] for documents that are no OpenAPI 3, or that describe nothing.
pub fn reduce(kubernetes: &str, documents: impl IntoIterator<Item = Value>) -> Result<Vec<u8>, Error> {
    let mut catalog = Catalog {
        kubernetes: kubernetes.to_owned(),
        kinds: BTreeMap::new(),
        definitions: BTreeMap::new(),
    };
    let mut all = BTreeMap::new();
    for mut document in documents {
        if let Some(Value::Object(schemas)) = document.pointer_mut("/components/schemas").map(Value::take) {
            all.extend(schemas);
        }
    }
    for (name, schema) in all {
        let schema: Schema =
            serde_json::from_value(schema).map_err(|error| Error::Schema(format!("{name}: {error}")))?;
        // Options and watch events are served in every group; objects that people write are in one.
        if let [served] = schema.served_as.as_slice()
            && !served.kind.ends_with("List")
        {
            let api_version = if served.group.is_empty() {
                served.version.clone()
            } else {
                format!("{}/{}", served.group, served.version)
            };
            let kinds = catalog.kinds.entry(api_version).or_default();
            kinds.insert(served.kind.clone(), name.clone());
        }
        catalog.definitions.insert(name.clone(), reduced(&name, schema));
    }
    if catalog.kinds.is_empty() {
        return Err(Error::Schema("no document describes any kind".to_owned()));
    }
    keep_reachable(&mut catalog);
    let json = serde_json::to_vec(&catalog).map_err(|error| Error::Schema(error.to_string()))?;
    zstd::encode_all(json.as_slice(), 19).map_err(|error| Error::Schema(error.to_string()))
}

/// `schema` with its references in the short form, and the types that OpenAPI cannot tell made plain.
fn reduced(name: &str, mut schema: Schema) -> Schema {
    if name.ends_with(".api.resource.Quantity") {
        schema.format = Some("quantity".to_owned());
    }
    if let [one] = schema.all_of.as_slice() {
        schema.reference = one.get("$ref").and_then(Value::as_str).map(str::to_owned);
    }
    if let Some(reference) = &schema.reference {
        let reference = reference.strip_prefix(DEFINITIONS).unwrap_or(reference).to_owned();
        return Schema {
            reference: Some(reference),
            ..Schema::default()
        };
    }
    schema.default = false;
    schema.required.retain(|field| {
        !NOT_ENFORCED
            .iter()
            .any(|(end, lax)| name.ends_with(end) && field == lax)
    });
    schema.list_type = schema.list_type.filter(|list_type| list_type != "atomic");
    let reduced = |schema: Schema| reduced("", schema);
    let properties = schema.properties.into_iter();
    schema.properties = properties.map(|(field, schema)| (field, reduced(schema))).collect();
    schema.items = schema.items.map(|items| Box::new(reduced(*items)));
    schema.additional_properties = schema.additional_properties.map(|additional| match additional {
        Additional::Of(values) => Additional::Of(Box::new(reduced(*values))),
        any => any,
    });
    schema
}

/// Drops the definitions that no kind uses: lists, options, watch events.
fn keep_reachable(catalog: &mut Catalog) {
    let mut open: Vec<String> = catalog
        .kinds
        .values()
        .flat_map(|kinds| kinds.values().cloned())
        .collect();
    let mut reached = BTreeSet::new();
    while let Some(name) = open.pop() {
        if let Some(schema) = catalog.definitions.get(&name)
            && reached.insert(name)
        {
            references(schema, &mut open);
        }
    }
    catalog.definitions.retain(|name, _| reached.contains(name));
}

fn references(schema: &Schema, found: &mut Vec<String>) {
    found.extend(schema.reference.clone());
    for schema in schema.properties.values().chain(schema.items.as_deref()) {
        references(schema, found);
    }
    if let Some(Additional::Of(values)) = &schema.additional_properties {
        references(values, found);
    }
}
