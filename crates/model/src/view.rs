//! What one cluster should run: a pure function of (directive, snapshot, cluster).
//!
//! The agent computes it to reconcile, server and CLI compute it to show it: all three get the same answer.

use std::collections::BTreeMap;

use crate::{
    bundle::Bundle,
    hash::ObjectHash,
    manifest::{Manifest, ManifestId},
    name::{ClusterName, ComponentName, Labels},
    snapshot::Snapshot,
};

/// What a view depends on of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Its name.
    pub name: ClusterName,
    /// Its labels.
    pub labels: Labels,
}

/// What one cluster should run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// The components and their manifests.
    pub components: BTreeMap<ComponentName, ComponentView>,
    /// Objects that two components ask for.
    pub collisions: Vec<Collision>,
}

/// What one cluster should run of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentView {
    /// The bundle it comes from.
    pub bundle: ObjectHash,
    /// The manifests in the order of their ids.
    pub manifests: Vec<Manifest>,
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
    _cluster: &ClusterFacts,
    bundle: impl Fn(&ObjectHash) -> Option<&'a Bundle>,
) -> Result<View, MissingBundle> {
    let mut view = View::default();
    let mut owners: BTreeMap<ManifestId, ComponentName> = BTreeMap::new();
    for (component, hash) in &snapshot.components {
        let found = bundle(hash).ok_or_else(|| MissingBundle {
            component: component.clone(),
            bundle: *hash,
        })?;
        let mut manifests = Vec::with_capacity(found.manifests().len());
        for manifest in found.manifests() {
            match owners.get(manifest.id()) {
                Some(kept) => view.collisions.push(Collision {
                    id: manifest.id().clone(),
                    kept: kept.clone(),
                    dropped: component.clone(),
                }),
                None => {
                    owners.insert(manifest.id().clone(), component.clone());
                    manifests.push(manifest.clone());
                }
            }
        }
        view.components.insert(
            component.clone(),
            ComponentView {
                bundle: *hash,
                manifests,
            },
        );
    }
    Ok(view)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::snapshot::{FORMAT, Provenance};

    fn bundle(component: &str, names: &[&str]) -> Bundle {
        let manifests = names.iter().map(|name| {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
            Manifest::new(object, "default").unwrap()
        });
        Bundle::new(component.parse().unwrap(), manifests).unwrap()
    }

    fn view_of(bundles: &[Bundle]) -> Result<View, MissingBundle> {
        let snapshot = Snapshot {
            format: FORMAT,
            components: [("a", "a"), ("b", "b")]
                .map(|(name, _)| {
                    let hash = bundles
                        .iter()
                        .find(|bundle| bundle.component.as_str() == name)
                        .map(Bundle::hash);
                    (
                        name.parse().unwrap(),
                        hash.unwrap_or_else(|| ObjectHash::of(b"missing")),
                    )
                })
                .into(),
            parent: None,
            time: jiff::Timestamp::UNIX_EPOCH,
            provenance: Provenance::default(),
        };
        let cluster = ClusterFacts {
            name: "edge-1".parse().unwrap(),
            labels: Labels::new(),
        };
        view(&snapshot, &cluster, |hash| {
            bundles.iter().find(|bundle| bundle.hash() == *hash)
        })
    }

    #[test]
    fn view_holds_every_manifest_of_every_component() {
        let view = view_of(&[bundle("a", &["x", "y"]), bundle("b", &["z"])]).unwrap();
        let sizes: Vec<_> = view
            .components
            .values()
            .map(|component| component.manifests.len())
            .collect();
        assert_eq!(sizes, [2, 1]);
        assert!(view.collisions.is_empty());
    }

    #[test]
    fn object_of_two_components_stays_with_the_first_and_is_reported() {
        let view = view_of(&[bundle("a", &["x"]), bundle("b", &["x", "y"])]).unwrap();
        assert_eq!(view.components[&"b".parse().unwrap()].manifests.len(), 1);
        assert_eq!(
            view.collisions[0].to_string(),
            "ConfigMap default/x is in component `a` and in component `b`: `a` keeps it; take it out of one of them"
        );
    }

    #[test]
    fn missing_bundle_is_named() {
        let error = view_of(&[bundle("a", &["x"])]).unwrap_err();
        assert_eq!(error.component.as_str(), "b");
    }
}
