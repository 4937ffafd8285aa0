//! Custom resources against the definitions that come with them.

use std::collections::BTreeMap;

use driftless_model::manifest::Manifest;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    finding::{Rule, Severity},
    object::Object,
    schema::{Catalog, Schema},
    structure::{self, Fault},
};

/// The custom kinds that a snapshot defines, by group and kind.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    kinds: BTreeMap<String, BTreeMap<String, Definition>>,
}

/// One CustomResourceDefinition: each version with its schema, where it is served and has one.
#[derive(Debug)]
struct Definition {
    versions: BTreeMap<String, Version>,
}

#[derive(Debug)]
enum Version {
    NotServed,
    Served(Option<Box<Schema>>),
}

/// Does it define a custom kind?
pub(crate) fn is_definition(manifest: &Manifest) -> bool {
    let id = manifest.id();
    id.kind == "CustomResourceDefinition" && id.group == "apiextensions.k8s.io"
}

impl Definitions {
    /// Those that `objects` define. A definition that cannot be read constrains nothing; what is wrong with it is found
    /// where it is checked itself.
    pub(crate) fn of(objects: &[Object]) -> Self {
        let mut all = Self::default();
        let defining = objects.iter().filter(|object| is_definition(&object.manifest));
        defining.for_each(|object| all.add(object.value()));
        all
    }

    fn add(&mut self, object: &Value) {
        let spec = &object["spec"];
        let (Some(group), Some(kind)) = (spec["group"].as_str(), spec["names"]["kind"].as_str()) else {
            return;
        };
        let free = spec["preserveUnknownFields"] == true;
        let versions = spec["versions"].as_array().into_iter().flatten();
        let versions = versions.filter_map(|version| {
            let name = version["name"].as_str()?.to_owned();
            if version["served"] == false {
                return Some((name, Version::NotServed));
            }
            let schema = version.pointer("/schema/openAPIV3Schema").filter(|_| !free);
            let schema = schema.and_then(|schema| Schema::deserialize(schema).ok());
            Some((name, Version::Served(schema.map(Box::new))))
        });
        let definition = Definition {
            versions: versions.collect(),
        };
        let kinds = self.kinds.entry(group.to_owned()).or_default();
        kinds.insert(kind.to_owned(), definition);
    }

    /// What is wrong with a custom resource; `None` where nothing here defines its kind.
    pub(crate) fn check(&self, catalog: &Catalog, manifest: &Manifest, object: &Value) -> Option<Vec<Fault>> {
        let id = manifest.id();
        let definition = self.kinds.get(&id.group)?.get(&id.kind)?;
        match definition.versions.get(manifest.version()) {
            Some(Version::Served(Some(schema))) => Some(structure::custom(&catalog.types, schema, object)),
            Some(Version::Served(None)) => Some(Vec::new()),
            Some(Version::NotServed) | None => {
                let served: Vec<_> = definition
                    .versions
                    .iter()
                    .filter(|(_, version)| matches!(version, Version::Served(_)))
                    .map(|(name, _)| name.as_str())
                    .collect();
                let message = format!(
                    "{} is not served by the CustomResourceDefinition of {}: use {}",
                    manifest.api_version(),
                    id.kind,
                    served.join(" or ")
                );
                Some(vec![Fault::at(
                    "/apiVersion",
                    Severity::Error,
                    Rule::UnknownKind,
                    message,
                )])
            }
        }
    }
}
