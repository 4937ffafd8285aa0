//! What the definitions of custom kinds say of those kinds, before a cluster is asked.
//!
//! Pure. Called where a push is read, to give objects the namespace of the push, and by the reconciler, which lets
//! objects wait for the definition of their kind.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    kinds::{self, Scope},
    manifest::{Manifest, ManifestId, Problem},
};

/// A kind that a manifest defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its group.
    pub group: String,
    /// Its name.
    pub kind: String,
    /// Where its objects live.
    pub scope: Scope,
}

#[derive(Deserialize)]
struct Document {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    group: String,
    names: Names,
    #[serde(default)]
    scope: String,
}

#[derive(Deserialize)]
struct Names {
    kind: String,
}

/// Is it a CustomResourceDefinition?
pub fn is_definition(id: &ManifestId) -> bool {
    id.group == "apiextensions.k8s.io" && id.kind == "CustomResourceDefinition"
}

/// What a manifest defines. One that cannot be read is refused by the API server, which says better why.
pub fn read(manifest: &Manifest) -> Option<Definition> {
    if !is_definition(manifest.id()) {
        return None;
    }
    let Document { spec } = serde_json::from_slice(manifest.canonical()).ok()?;
    Some(Definition {
        group: spec.group,
        kind: spec.names.kind,
        scope: if spec.scope == "Cluster" {
            Scope::Cluster
        } else {
            Scope::Namespaced
        },
    })
}

/// Does an object name no namespace, where it is for the definition of its kind to say whether it has one?
pub fn is_unplaced(id: &ManifestId) -> bool {
    id.namespace.is_none() && kinds::scope(&id.group, &id.kind).is_none()
}

/// The scopes of the kinds that some manifests define.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scopes(BTreeMap<(String, String), Scope>);

impl Scopes {
    /// Takes in what a manifest defines, if anything.
    pub fn learn(&mut self, manifest: &Manifest) {
        if let Some(Definition { group, kind, scope }) = read(manifest) {
            self.0.insert((group, kind), scope);
        }
    }

    /// Does it say nothing of an unplaced object's kind?
    pub fn is_unknown(&self, id: &ManifestId) -> bool {
        is_unplaced(id) && !self.0.contains_key(&(id.group.clone(), id.kind.clone()))
    }

    /// The manifest in `namespace`, if it names none and its kind has namespaces.
    ///
    /// # Errors
    /// Where the manifest would break a rule.
    pub fn place(&self, manifest: &Manifest, namespace: &str) -> Result<Option<Manifest>, Problem> {
        let id = manifest.id();
        let key = || (id.group.clone(), id.kind.clone());
        if !is_unplaced(id) || self.0.get(&key()) != Some(&Scope::Namespaced) {
            return Ok(None);
        }
        let mut object = manifest.value();
        object["metadata"]["namespace"] = namespace.into();
        Manifest::new(object, namespace).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(object: serde_json::Value) -> Manifest {
        Manifest::new(object, "shop").unwrap()
    }

    fn defined(kind: &str, scope: &str) -> Manifest {
        manifest(
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "x.example.com"},
            "spec": {"group": "example.com", "scope": scope, "names": {"kind": kind, "plural": "x"}}}),
        )
    }

    #[test]
    fn objects_get_a_namespace_where_the_definition_of_their_kind_says_so() {
        let mut scopes = Scopes::default();
        for known in [defined("Widget", "Namespaced"), defined("Fleet", "Cluster")] {
            scopes.learn(&known);
        }
        let custom = |kind: &str, metadata| {
            manifest(json!({"apiVersion": "example.com/v1", "kind": kind, "metadata": metadata, "spec": {"size": 1}}))
        };
        let placed = |manifest: &Manifest| scopes.place(manifest, "shop").unwrap();
        let widget = custom("Widget", json!({"name": "w", "labels": {"a": "b"}}));
        let expected = custom(
            "Widget",
            json!({"name": "w", "labels": {"a": "b"}, "namespace": "shop"}),
        );
        assert_eq!(placed(&widget), Some(expected));
        for stays in [
            custom("Widget", json!({"name": "w", "namespace": "other"})),
            custom("Fleet", json!({"name": "f"})),
            custom("Gadget", json!({"name": "g"})),
            manifest(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})),
        ] {
            assert_eq!(placed(&stays), None, "{stays:?}");
        }
        assert!(scopes.is_unknown(custom("Gadget", json!({"name": "g"})).id()));
        assert!(!scopes.is_unknown(custom("Fleet", json!({"name": "f"})).id()));
    }
}
