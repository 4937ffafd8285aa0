//! The decoded objects of one snapshot: what deltas start from and what views are made of. Pure.
//!
//! What follows it is made of it, and shares what did not change: one changed component of ten thousand costs what one
//! of ten does, but for the snapshot's own bytes.

use std::sync::Arc;

use bytes::Bytes;
use driftless_model::{
    bundle::Bundle,
    hash::ObjectHash,
    name::ComponentName,
    snapshot::{self, Components, Snapshot},
    view::{ClusterFacts, View, view, view_after},
};
use imbl::OrdMap;

use crate::object::{self, Bad, Frame, Packed};

/// The decoded objects of one snapshot, complete or on the way to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    snapshot: Option<Held>,
    /// Those of its bundles that are here.
    bundles: OrdMap<ObjectHash, Bundle>,
    /// Those that are not, each with its component.
    lacking: OrdMap<ObjectHash, ComponentName>,
}

/// A snapshot with the bytes that it was read from.
#[derive(Debug, Clone)]
struct Held {
    hash: ObjectHash,
    snapshot: Snapshot,
    bytes: Bytes,
}

/// A view, and what it is the view of.
#[derive(Debug, Clone)]
pub(super) struct Viewed {
    components: Components,
    facts: ClusterFacts,
    view: Arc<View>,
}

impl Content {
    /// The objects that are here.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = ObjectHash> {
        self.snapshot_hash().into_iter().chain(self.bundles().copied())
    }

    /// The bundles that are here.
    pub(super) fn bundles(&self) -> impl Iterator<Item = &ObjectHash> {
        self.bundles.keys()
    }

    pub(super) fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref().map(|held| &held.snapshot)
    }

    pub(super) fn snapshot_hash(&self) -> Option<ObjectHash> {
        self.snapshot.as_ref().map(|held| held.hash)
    }

    pub(super) fn is_of(&self, snapshot: ObjectHash) -> bool {
        self.snapshot_hash() == Some(snapshot)
    }

    pub(super) fn holds(&self, hash: &ObjectHash) -> bool {
        self.bundles.contains_key(hash) || self.is_of(*hash)
    }

    pub(super) fn bundle(&self, hash: &ObjectHash) -> Option<&Bundle> {
        self.bundles.get(hash)
    }

    /// The bundles that are not here, each with its component.
    pub(super) fn lacking(&self) -> &OrdMap<ObjectHash, ComponentName> {
        &self.lacking
    }

    /// What a component runs as.
    pub(super) fn of(&self, component: &ComponentName) -> Option<&Bundle> {
        self.bundles.get(self.snapshot()?.components.get(component)?)
    }

    /// The hash of the bundle that a component runs as.
    pub(super) fn hash_of(&self, component: &ComponentName) -> Option<ObjectHash> {
        let hash = self.snapshot()?.components.get(component)?;
        self.bundles.contains_key(hash).then_some(*hash)
    }

    /// Reads a snapshot that was verified: what is here of it then, `others` included.
    ///
    /// # Errors
    /// See [`Bad`]; and when it names a bundle for a component of another name.
    pub(super) fn followed_by(&self, hash: ObjectHash, bytes: Bytes, others: &Self) -> Result<Self, Bad> {
        let earlier = self.snapshot.as_ref();
        let snapshot = object::snapshot(hash, &bytes, earlier.map(|held| (&held.snapshot, &*held.bytes)))?;
        let none = Components::new();
        let before = earlier.map_or(&none, |held| &held.snapshot.components);
        let changes = snapshot::changes(before, &snapshot.components);
        let mut next = self.clone();
        for before in changes.values().filter_map(|change| change.before) {
            next.bundles.remove(&before);
            next.lacking.remove(&before);
        }
        for (component, after) in changes.iter().filter_map(|(name, change)| Some((name, change.after?))) {
            next.lack(component, after)?;
        }
        next.snapshot = Some(Held { hash, snapshot, bytes });
        next.fill_from(others)?;
        Ok(next)
    }

    /// A bundle belongs to one component: with that goes whatever is here of it.
    fn lack(&mut self, component: &ComponentName, bundle: ObjectHash) -> Result<(), Bad> {
        let other = self.bundles.get(&bundle).map(|bundle| bundle.component.clone());
        match other.or_else(|| self.lacking.insert(bundle, component.clone())) {
            Some(other) if other != *component => Err(misnamed(bundle, &other, component)),
            _ => Ok(()),
        }
    }

    /// Takes over the bundles that are not here and that `others` has.
    ///
    /// # Errors
    /// As [`Content::put`].
    pub(super) fn fill_from(&mut self, others: &Self) -> Result<(), Bad> {
        let found = self
            .lacking
            .keys()
            .filter_map(|hash| others.bundles.get_key_value(hash));
        let found: Vec<_> = found.map(|(hash, bundle)| (*hash, bundle.clone())).collect();
        found.into_iter().try_for_each(|(hash, bundle)| self.put(hash, bundle))
    }

    /// Puts a bundle where it is lacking.
    ///
    /// # Errors
    /// When it is of another component than the one that it is lacking in.
    pub(super) fn put(&mut self, hash: ObjectHash, bundle: Bundle) -> Result<(), Bad> {
        match self.lacking.get(&hash) {
            Some(component) if *component != bundle.component => Err(misnamed(hash, &bundle.component, component)),
            Some(_) => {
                self.lacking.remove(&hash);
                self.bundles.insert(hash, bundle);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What a cluster runs of it, and faster where a view of what was before it is at hand; `None` while it lacks something.
    pub(super) fn view(&self, facts: ClusterFacts, earlier: Option<&Viewed>) -> Option<Viewed> {
        let snapshot = self.snapshot()?;
        let find = |hash: &ObjectHash| self.bundles.get(hash);
        let view = match earlier.filter(|earlier| earlier.facts == facts) {
            Some(earlier) => {
                let changes = snapshot::changes(&earlier.components, &snapshot.components);
                view_after(&earlier.view, &changes, snapshot, &facts, find)
            }
            None => view(snapshot, &facts, find),
        };
        Some(Viewed {
            components: snapshot.components.clone(),
            facts,
            view: Arc::new(view.ok()?),
        })
    }

    /// Verifies an object, which may be a delta from one that is here; `None` where it is from another.
    ///
    /// # Errors
    /// See [`Bad`].
    pub(super) fn verify(&self, hash: ObjectHash, packed: Packed) -> Result<Option<(Frame, Bytes)>, Bad> {
        let Some(base) = packed.base else {
            return object::verify(hash, packed.zstd).map(Some);
        };
        let delta = |base: &[u8]| object::verify_delta(hash, &packed.zstd, base);
        match &self.snapshot {
            Some(held) if held.hash == base => delta(&held.bytes).map(Some),
            _ => self.bundles.get(&base).map(|base| delta(&base.encode())).transpose(),
        }
    }
}

impl Viewed {
    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }
}

fn misnamed(bundle: ObjectHash, of: &ComponentName, named: &ComponentName) -> Bad {
    let why = format!("it is a bundle of component `{of}`, and the snapshot names it for `{named}`");
    Bad::Content(bundle.short(), why)
}
