//! What other objects stand on, and therefore come after and go before: Namespaces, and the definitions of custom kinds.
//!
//! Pure. Called by the engine, which lets others wait for them, and wherever deletions are weighed.

use driftless_model::manifest::{Manifest, ManifestId};
use serde::Deserialize;

/// The part of a CRD that says which kind it defines.
#[derive(Deserialize)]
struct Definition {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    group: String,
    names: Names,
}

#[derive(Deserialize)]
struct Names {
    kind: String,
}

/// Is it a Namespace?
pub(crate) fn is_namespace(id: &ManifestId) -> bool {
    id.group.is_empty() && id.kind == "Namespace"
}

/// Is it the definition of a custom kind?
pub(crate) fn is_definition(id: &ManifestId) -> bool {
    id.group == "apiextensions.k8s.io" && id.kind == "CustomResourceDefinition"
}

/// Is it either?
pub(crate) fn is_ground(id: &ManifestId) -> bool {
    is_namespace(id) || is_definition(id)
}

/// Group and kind that a manifest defines. One that cannot be read is refused by the API server, which says better why.
pub(crate) fn defined_kind(manifest: &Manifest) -> Option<(String, String)> {
    if !is_definition(manifest.id()) {
        return None;
    }
    let Definition { spec } = serde_json::from_slice(manifest.canonical()).ok()?;
    Some((spec.group, spec.names.kind))
}
