//! A look into a cluster without asking it: nothing is counted, logged or delayed.
//!
//! For demos and tests that time what an agent does without disturbing it.

use driftless_model::manifest::ManifestId;
use serde_json::Value;

use crate::Cluster;

impl Cluster {
    /// The object as it is now, in its kind's stored version.
    pub fn object(&self, id: &ManifestId) -> Option<Value> {
        let state = self.shared.state();
        let kind = state.kinds.all().find(|kind| kind.is(&id.group, &id.kind))?;
        let namespace = id.namespace.as_deref().unwrap_or_default();
        Some(state.store.get(&kind.store, namespace, &id.name)?.value())
    }
}
