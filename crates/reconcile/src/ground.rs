//! What other objects stand on, and therefore come after and go before: Namespaces, and the definitions of custom kinds.
//!
//! Pure. Called by the engine, which lets others wait for them, and wherever deletions are weighed.

use driftless_model::{definition, manifest::ManifestId};

/// Is it a Namespace?
pub(crate) fn is_namespace(id: &ManifestId) -> bool {
    id.group.is_empty() && id.kind == "Namespace"
}

/// Is it either?
pub(crate) fn is_ground(id: &ManifestId) -> bool {
    is_namespace(id) || definition::is_definition(id)
}
