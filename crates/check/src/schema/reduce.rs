//! Makes shipped files: what the checks use of an API server's OpenAPI documents, each definition once.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use serde_json::Value;

use super::{
    Additional, Schema,
    catalog::{Index, TypeNumber, pack},
};
use crate::Error;

/// Where definitions are kept in an OpenAPI document.
const DEFINITIONS: &str = "#/components/schemas/";
/// The definition that every object's `metadata` follows.
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// For each `apiVersion`, for each kind the name of its definition.
type Kinds = BTreeMap<String, BTreeMap<String, String>>;
/// Types by name.
type Definitions = BTreeMap<String, Schema>;

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

/// Makes a shipped file of the OpenAPI documents of the API server `kubernetes`: what the checks use of them,
/// each definition once, compressed. The same documents in any order give the same bytes.
///
/// # Errors
/// [`Error::Schema`] for documents that are no OpenAPI 3, or that describe nothing.
pub fn reduce(kubernetes: &str, documents: impl IntoIterator<Item = Value>) -> Result<Vec<u8>, Error> {
    let mut all = BTreeMap::new();
    for mut document in documents {
        if let Some(Value::Object(schemas)) = document.pointer_mut("/components/schemas").map(Value::take) {
            all.extend(schemas);
        }
    }
    let mut kinds: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    let mut definitions = BTreeMap::new();
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
            kinds
                .entry(api_version)
                .or_default()
                .insert(served.kind.clone(), name.clone());
        }
        let schema = reduced(&name, schema);
        definitions.insert(name, schema);
    }
    if kinds.is_empty() {
        return Err(Error::Schema("no document describes any kind".to_owned()));
    }
    keep_reachable(&kinds, &mut definitions);
    numbered(kubernetes, kinds, definitions)
}

/// A file of types that name each other by number.
fn numbered(kubernetes: &str, kinds: Kinds, mut definitions: Definitions) -> Result<Vec<u8>, Error> {
    let places = definitions.keys().cloned().enumerate();
    let numbers: BTreeMap<_, _> = places.map(|(place, name)| (name, TypeNumber::at(place))).collect();
    let number = |name: &str| {
        let known = numbers.get(name).copied();
        known.ok_or_else(|| Error::Schema(format!("nothing describes {name}")))
    };
    for schema in definitions.values_mut() {
        schema.each(&mut |schema| {
            schema.same_as = schema.reference.take().map(|name| number(&name)).transpose()?;
            Ok(())
        })?;
    }
    let of_version = |(api_version, kinds): (String, BTreeMap<String, String>)| {
        let kinds = kinds.into_iter().map(|(kind, name)| Ok((kind, number(&name)?)));
        Ok((api_version, kinds.collect::<Result<_, Error>>()?))
    };
    let index = Index {
        kubernetes: kubernetes.to_owned(),
        kinds: kinds.into_iter().map(of_version).collect::<Result<_, Error>>()?,
        metadata: number(OBJECT_META)?,
    };
    let types: Vec<_> = definitions.into_values().collect();
    pack(&index, &types)
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
fn keep_reachable(kinds: &Kinds, definitions: &mut Definitions) {
    let names = kinds.values().flat_map(|kinds| kinds.values().cloned());
    let mut open: Vec<String> = names.collect();
    let mut reached = BTreeSet::new();
    while let Some(name) = open.pop() {
        if let Some(schema) = definitions.get_mut(&name)
            && reached.insert(name)
        {
            let Ok(()) = schema.each::<Infallible>(&mut |schema| {
                open.extend(schema.reference.clone());
                Ok(())
            });
        }
    }
    definitions.retain(|name, _| reached.contains(name));
}

impl Schema {
    /// Does something to this one and to all within it.
    fn each<E>(&mut self, act: &mut impl FnMut(&mut Self) -> Result<(), E>) -> Result<(), E> {
        act(self)?;
        for schema in self.properties.values_mut().chain(self.items.as_deref_mut()) {
            schema.each(act)?;
        }
        match &mut self.additional_properties {
            Some(Additional::Of(values)) => values.each(act),
            Some(Additional::Any(_)) | None => Ok(()),
        }
    }
}
