//! What one cluster should run: a pure function of (directive, snapshot, cluster).
//!
//! The agent computes it to reconcile, server and CLI compute it to show it: all three get the same answer.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::Arc,
};

use imbl::OrdMap;

use crate::{
    bundle::{Bundle, Spec},
    hash::ObjectHash,
    manifest::{Manifest, ManifestId, Manifests},
    name::{ChannelName, ClusterName, ComponentName, Labels, Vars},
    render::{Held, Plan},
    shared::Shared,
    snapshot::{ComponentChange, Snapshot},
};

/// The label by which selectors choose a single cluster: every cluster has it, with its name as value.
pub const CLUSTER_LABEL: &str = "driftless.dev/cluster";

/// The label by which selectors choose the clusters of a channel: every cluster has it.
pub const CHANNEL_LABEL: &str = "driftless.dev/channel";

/// What a view depends on of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Its name.
    pub name: ClusterName,
    /// The channel it follows.
    pub channel: ChannelName,
    /// Its labels.
    pub labels: Labels,
    /// Its variables.
    pub vars: Vars,
}

impl ClusterFacts {
    /// The value of a label: one that was set, or [`CLUSTER_LABEL`] or [`CHANNEL_LABEL`].
    pub fn label(&self, key: &str) -> Option<&str> {
        match key {
            CLUSTER_LABEL => Some(self.name.as_str()),
            CHANNEL_LABEL => Some(self.channel.as_str()),
            _ => self.labels.get(key).map(String::as_str),
        }
    }
}

/// What a cluster runs of each component.
pub type ComponentViews = OrdMap<ComponentName, Shared<ComponentView>>;

/// What one cluster should run. A changed copy shares with the first what did not change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// The components and their manifests.
    pub components: ComponentViews,
    /// Objects that two components ask for.
    pub collisions: Vec<Collision>,
}

/// What one cluster should run of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentView {
    /// The bundle it comes from.
    pub bundle: ObjectHash,
    /// Names what the bundle becomes on this cluster: it changes whenever the manifests do.
    pub version: ObjectHash,
    /// How it is to be run.
    pub spec: Arc<Spec>,
    /// The manifests in the order of their ids.
    pub manifests: Manifests,
    /// Objects that cannot be worked out here. What runs of them goes on as it is.
    pub held: Vec<Held>,
}

/// An object that two components ask for. The first by name keeps it, so that every cluster decides alike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{id} is in component `{kept}` and in component `{dropped}`: `{kept}` keeps it; take it out of one of them")]
pub struct Collision {
    /// The object.
    pub id: ManifestId,
    /// The component that keeps it.
    pub kept: ComponentName,
    /// The component that goes without.
    pub dropped: ComponentName,
}

/// A bundle that the view needs and the caller does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bundle {} of component `{component}` is not here", bundle.short())]
pub struct MissingBundle {
    /// The component.
    pub component: ComponentName,
    /// The bundle.
    pub bundle: ObjectHash,
}

/// Works out what `cluster` should run of `snapshot`. `bundle` finds a bundle by its hash.
///
/// # Errors
/// When `bundle` does not find one that the snapshot names.
pub fn view<'a>(
    snapshot: &Snapshot,
    cluster: &ClusterFacts,
    bundle: impl Fn(&ObjectHash) -> Option<&'a Bundle>,
) -> Result<View, MissingBundle> {
    let mut components = ComponentViews::new();
    for (component, hash) in &snapshot.components {
        if let Some(view) = component_view(component, hash, cluster, &bundle)? {
            components.insert(component.clone(), view.into());
        }
    }
    Ok(apart(components))
}

/// Works out the same from the view of the very same cluster at an `earlier` snapshot, from which that one differs by
/// `changes`: only these are looked at, as long as none of them brings objects that its component did not have.
///
/// # Errors
/// As [`view`], for the components that change.
pub fn view_after<'a>(
    earlier: &View,
    changes: &BTreeMap<ComponentName, ComponentChange>,
    snapshot: &Snapshot,
    cluster: &ClusterFacts,
    bundle: impl Fn(&ObjectHash) -> Option<&'a Bundle>,
) -> Result<View, MissingBundle> {
    if !earlier.collisions.is_empty() {
        // Who goes without an object now may get it.
        return view(snapshot, cluster, bundle);
    }
    let mut components = earlier.components.clone();
    let mut grows = false;
    for (component, change) in changes {
        let after = match &change.after {
            Some(hash) => component_view(component, hash, cluster, &bundle)?,
            None => None,
        };
        match after {
            Some(after) => {
                let before = components.get(component).map(|before| before.manifests.clone());
                grows |= !after.manifests.is_within(&before.unwrap_or_default());
                components.insert(component.clone(), after.into());
            }
            None => {
                components.remove(component);
            }
        }
    }
    if grows {
        return Ok(apart(components));
    }
    let collisions = Vec::new();
    Ok(View { components, collisions })
}

/// What the cluster runs of a component; `None` when it does not run it.
fn component_view<'a>(
    component: &ComponentName,
    hash: &ObjectHash,
    cluster: &ClusterFacts,
    bundle: impl Fn(&ObjectHash) -> Option<&'a Bundle>,
) -> Result<Option<ComponentView>, MissingBundle> {
    let found = bundle(hash).ok_or_else(|| MissingBundle {
        component: component.clone(),
        bundle: *hash,
    })?;
    let plan = Plan::new(found);
    let Some(projection) = plan.project(cluster) else {
        return Ok(None);
    };
    let rendered = plan.render(&projection);
    Ok(Some(ComponentView {
        bundle: *hash,
        version: plan.version(*hash, &projection),
        spec: found.shared_spec(),
        manifests: rendered.manifests,
        held: rendered.held,
    }))
}

/// Leaves each object to one component.
fn apart(mut components: ComponentViews) -> View {
    let collisions = collisions(&components);
    for Collision { id, dropped, .. } in &collisions {
        let view = components.get_mut(dropped).expect("it was found in this component");
        view.manifests = view.manifests.without(id);
    }
    View { components, collisions }
}

/// A manifest that counts as its id: hashed by what is known of that already.
struct ById<'a>(&'a Manifest);

impl Hash for ById<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.fingerprint());
    }
}

impl PartialEq for ById<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for ById<'_> {}

/// For what is a hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = self.0.rotate_left(8) ^ hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The objects that more than one component asks for: within one component there are no two of an id.
fn collisions(components: &ComponentViews) -> Vec<Collision> {
    if components.len() < 2 {
        return Vec::new();
    }
    let count = components.values().map(|view| view.manifests.len()).sum();
    let mut owners: HashMap<ById<'_>, &ComponentName, BuildHasherDefault<AsItIs>> =
        HashMap::with_capacity_and_hasher(count, BuildHasherDefault::default());
    let mut collisions = Vec::new();
    for (component, view) in components {
        for manifest in &view.manifests {
            match owners.entry(ById(manifest)) {
                Entry::Vacant(free) => {
                    free.insert(component);
                }
                Entry::Occupied(kept) => collisions.push(Collision {
                    id: manifest.id().clone(),
                    kept: (*kept.get()).clone(),
                    dropped: component.clone(),
                }),
            }
        }
    }
    collisions
}

#[cfg(test)]
mod tests;
