//! The decoded objects of one snapshot: what deltas start from and what views are made of. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use driftless_model::{
    bundle::Bundle,
    hash::ObjectHash,
    name::ComponentName,
    snapshot::Snapshot,
    view::{ClusterFacts, View, view},
};

use crate::object::{self, Bad, Frame, Packed};

/// The decoded objects of one snapshot, complete or on the way to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) snapshot: Option<(ObjectHash, Snapshot)>,
    pub(super) bundles: BTreeMap<ObjectHash, Bundle>,
}

impl Content {
    pub(super) fn hashes(&self) -> impl Iterator<Item = ObjectHash> {
        self.snapshot_hash().into_iter().chain(self.bundles.keys().copied())
    }

    pub(super) fn snapshot_hash(&self) -> Option<ObjectHash> {
        self.snapshot.as_ref().map(|(hash, _)| *hash)
    }

    pub(super) fn holds(&self, hash: &ObjectHash) -> bool {
        self.bundles.contains_key(hash) || self.snapshot_hash().as_ref() == Some(hash)
    }

    /// What a component runs as.
    pub(super) fn of(&self, component: &ComponentName) -> Option<&Bundle> {
        let (_, snapshot) = self.snapshot.as_ref()?;
        self.bundles.get(snapshot.components.get(component)?)
    }

    pub(super) fn view(&self, facts: &ClusterFacts) -> Option<View> {
        let (_, snapshot) = self.snapshot.as_ref()?;
        view(snapshot, facts, |hash| self.bundles.get(hash)).ok()
    }

    /// The hash of the bundle that a component runs as.
    pub(super) fn hash_of(&self, component: &ComponentName) -> Option<ObjectHash> {
        let (_, snapshot) = self.snapshot.as_ref()?;
        let hash = snapshot.components.get(component)?;
        self.bundles.contains_key(hash).then_some(*hash)
    }

    /// The canonical bytes of an object that is here.
    fn encoded(&self, hash: &ObjectHash) -> Option<Vec<u8>> {
        match &self.snapshot {
            Some((held, snapshot)) if held == hash => Some(snapshot.encode()),
            _ => self.bundles.get(hash).map(Bundle::encode),
        }
    }

    /// Verifies an object, which may be a delta from one that is here; `None` where it is from another.
    ///
    /// # Errors
    /// See [`Bad`].
    pub(super) fn verify(&self, hash: ObjectHash, packed: Packed) -> Result<Option<(Frame, Bytes)>, Bad> {
        let Some(base) = packed.base else {
            return object::verify(hash, packed.zstd).map(Some);
        };
        let base = self.encoded(&base);
        base.map(|base| object::verify_delta(hash, &packed.zstd, &base))
            .transpose()
    }
}
