//! What one version of a component becomes on one cluster: its overlays applied in order, then its variables put in.
//!
//! A [`Plan`] looks at a bundle once, for any number of clusters. Of a cluster it asks only for its [`Projection`]:
//! which overlays apply and what the variables in use are. Clusters with equal projections get equal results, so
//! whoever asks about ten thousand clusters renders once for each distinct projection.
//!
//! # Guarantees
//! [`Plan::render`] depends on bundle and projection alone. An object that cannot be worked out is held: it is in
//! [`Rendered::held`] with the reasons, and the other objects are not affected.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::{
    bundle::Bundle,
    canonical,
    hash::ObjectHash,
    manifest::{self, Manifest, ManifestId, Manifests},
    overlay::{Overlay, Patch, Target},
    selector::Selector,
    substitute::{self, Use, Variable},
    view::ClusterFacts,
};

/// A bundle, looked at once.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    bundle: &'a Bundle,
    variables: BTreeSet<Variable>,
    /// Objects that can differ between clusters, be it by an overlay or by a variable.
    dynamic: BTreeSet<ManifestId>,
}

/// All that a component's objects depend on of a cluster that runs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Projection {
    /// Which overlays apply, by their number.
    overlays: Vec<bool>,
    /// The variables in use, in order; each as canonical JSON, `None` where it is not defined.
    variables: Vec<Option<String>>,
}

/// An object that cannot be worked out on a cluster. It is neither applied nor pruned there: what runs goes on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{id}: {reason}")]
pub struct Held {
    /// The object.
    pub id: ManifestId,
    /// Why.
    pub reason: String,
}

/// A component's objects on one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rendered {
    /// The objects in the order of their ids.
    pub manifests: Manifests,
    /// Those that cannot be worked out, in the order of their ids.
    pub held: Vec<Held>,
}

/// How an object came to be as it is on a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// Names of the overlays that added, patched or removed it, in order.
    pub overlays: Vec<String>,
    /// The variables that were put in.
    pub variables: Vec<Use>,
}

impl<'a> Plan<'a> {
    /// Looks at `bundle`.
    pub fn new(bundle: &'a Bundle) -> Self {
        let overlays = &bundle.spec().overlays;
        let mut variables = BTreeSet::new();
        let mut dynamic = BTreeSet::new();
        let added = overlays.iter().flat_map(|overlay| &overlay.add);
        let added = added.filter(|manifest| manifest.may_hold_variables());
        for manifest in bundle.with_variables().chain(added) {
            let value = manifest.value();
            if !substitute::is_disabled(&value) {
                variables.append(&mut substitute::variables(&value));
                dynamic.insert(manifest.id().clone());
            }
        }
        for overlay in overlays {
            dynamic.extend(overlay.add.iter().map(|manifest| manifest.id().clone()));
            for patch in &overlay.patches {
                variables.append(&mut substitute::variables(&patch_value(patch)));
            }
        }
        if overlays.iter().any(|overlay| !targets(overlay).is_empty()) {
            for manifest in bundle.manifests() {
                let chosen = |target: &&Target| target.matches(manifest.id(), || manifest.value());
                if overlays
                    .iter()
                    .flat_map(targets)
                    .any(|target| chosen(&target) || may_grow(target, manifest))
                {
                    dynamic.insert(manifest.id().clone());
                }
            }
        }
        Self {
            bundle,
            variables,
            dynamic,
        }
    }

    /// The bundle.
    pub fn bundle(&self) -> &'a Bundle {
        self.bundle
    }

    /// Is the component the same on all clusters that run it?
    pub fn is_static(&self) -> bool {
        self.variables.is_empty() && self.bundle.spec().overlays.is_empty()
    }

    /// Can this object differ between clusters?
    pub fn is_dynamic(&self, id: &ManifestId) -> bool {
        self.dynamic.contains(id)
    }

    /// The objects that can differ between clusters.
    pub fn dynamic(&self) -> &BTreeSet<ManifestId> {
        &self.dynamic
    }

    /// Does the cluster run the component at all?
    pub fn selects(&self, cluster: &ClusterFacts) -> bool {
        selects(&self.bundle.spec().selector, cluster)
    }

    /// What the component depends on of this cluster; `None` when the cluster does not run it.
    pub fn project(&self, cluster: &ClusterFacts) -> Option<Projection> {
        let spec = self.bundle.spec();
        self.selects(cluster).then(|| Projection {
            overlays: spec
                .overlays
                .iter()
                .map(|overlay| selects(&overlay.selector, cluster))
                .collect(),
            variables: self
                .variables
                .iter()
                .map(|variable| variable.value(cluster).map(|value| canonical_text(&value)))
                .collect(),
        })
    }

    /// Names what the bundle called `bundle` becomes under `projection`: equal names, equal objects.
    pub fn version(&self, bundle: ObjectHash, projection: &Projection) -> ObjectHash {
        if self.is_static() {
            return bundle;
        }
        ObjectHash::of(&canonical::document(&(bundle, projection)))
    }

    /// The component's objects where clusters project to `projection`.
    pub fn render(&self, projection: &Projection) -> Rendered {
        if self.dynamic.is_empty() {
            return Rendered {
                manifests: self.bundle.shared_manifests(),
                held: Vec::new(),
            };
        }
        self.rendered(projection, |_| true)
    }

    /// As [`Plan::render`], of the objects alone that can differ between clusters.
    pub fn render_dynamic(&self, projection: &Projection) -> Rendered {
        self.render_where(projection, |id| self.is_dynamic(id))
    }

    /// As [`Plan::render`], of some objects alone. What an overlay adds is there in any case.
    pub(crate) fn render_where(&self, projection: &Projection, wanted: impl Fn(&ManifestId) -> bool) -> Rendered {
        self.rendered(projection, |manifest| wanted(manifest.id()))
    }

    /// Does it use this variable?
    pub(crate) fn uses(&self, variable: &Variable) -> bool {
        self.variables.contains(variable)
    }

    fn rendered(&self, projection: &Projection, wanted: impl Fn(&Manifest) -> bool) -> Rendered {
        let (mut manifests, mut held) = (manifest::Builder::default(), Vec::new());
        let mut take = |id: &ManifestId, state| match self.finish(id, state, projection) {
            Ok((manifest, _)) => manifests.push(manifest),
            Err(reason) => held.push(Held { id: id.clone(), reason }),
        };
        if self.applying(projection).next().is_none() {
            for manifest in self.bundle.manifests().filter(|manifest| wanted(manifest)) {
                take(manifest.id(), State::Whole(manifest.clone()));
            }
        } else {
            for (id, state) in self.overlaid(projection, wanted) {
                take(&id, state);
            }
        }
        Rendered {
            manifests: manifests.finish(),
            held,
        }
    }

    /// How `id` comes to be as it is on `cluster`.
    pub fn trace(&self, cluster: &ClusterFacts, id: &ManifestId) -> Trace {
        let mut trace = Trace::default();
        let Some(projection) = self.project(cluster) else {
            return trace;
        };
        let mut objects: BTreeMap<_, _> = self.base(|manifest| manifest.id() == id);
        for overlay in self.applying(&projection) {
            let before = objects.get(id).cloned();
            apply(overlay, &mut objects);
            objects.retain(|other, _| other == id);
            if objects.get(id) != before.as_ref() {
                trace.overlays.push(overlay.name.clone());
            }
        }
        if let Some(state) = objects.remove(id)
            && let Ok((_, uses)) = self.finish(id, state, &projection)
        {
            trace.variables = uses;
        }
        trace
    }

    fn base(&self, wanted: impl Fn(&Manifest) -> bool) -> BTreeMap<ManifestId, State> {
        let manifests = self.bundle.manifests().filter(|manifest| wanted(manifest));
        manifests
            .map(|manifest| (manifest.id().clone(), State::Whole(manifest.clone())))
            .collect()
    }

    fn applying(&self, projection: &Projection) -> impl Iterator<Item = &'a Overlay> {
        let overlays = self.bundle.spec().overlays.iter().zip(&projection.overlays);
        overlays
            .filter_map(|(overlay, applies)| applies.then_some(overlay))
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn overlaid(&self, projection: &Projection, wanted: impl Fn(&Manifest) -> bool) -> BTreeMap<ManifestId, State> {
        let mut objects = self.base(wanted);
        for overlay in self.applying(projection) {
            apply(overlay, &mut objects);
        }
        objects
    }

    fn finish(&self, id: &ManifestId, state: State, projection: &Projection) -> Result<(Manifest, Vec<Use>), String> {
        let value = match state {
            State::Whole(manifest) if !manifest.may_hold_variables() => {
                return Ok((manifest, Vec::new()));
            }
            State::Whole(manifest) => manifest.value(),
            State::Patched(value) => value,
            State::Broken(reason) => return Err(reason),
        };
        finish_value(id, value, &|variable| self.lookup(projection, variable))
    }

    fn lookup(&self, projection: &Projection, variable: &Variable) -> Option<Value> {
        let index = self.variables.iter().position(|known| known == variable)?;
        let text = projection.variables.get(index)?.as_ref()?;
        Some(serde_json::from_str(text).expect("a projection holds canonical JSON"))
    }
}

/// An object on its way through the overlays.
#[derive(Debug, Clone, PartialEq)]
enum State {
    /// As it was written.
    Whole(Manifest),
    /// Changed.
    Patched(Value),
    /// A patch did not fit. No later one can help.
    Broken(String),
}

impl State {
    fn value(&self) -> Value {
        match self {
            Self::Whole(manifest) => manifest.value(),
            Self::Patched(value) => value.clone(),
            Self::Broken(_) => Value::Null,
        }
    }
}

fn selects(selector: &Selector, cluster: &ClusterFacts) -> bool {
    selector.matches(|key| cluster.label(key))
}

/// An object that a label selector does not choose as it was written, and might once it is patched.
fn may_grow(target: &Target, manifest: &Manifest) -> bool {
    let unlabelled = Target {
        label_selector: None,
        ..target.clone()
    };
    target.label_selector.is_some() && unlabelled.matches(manifest.id(), || Value::Null)
}

fn targets(overlay: &Overlay) -> Vec<&Target> {
    let patched = overlay.patches.iter().map(|patch| &patch.target);
    overlay.remove.iter().chain(patched).collect()
}

fn apply(overlay: &Overlay, objects: &mut BTreeMap<ManifestId, State>) {
    for target in &overlay.remove {
        objects.retain(|id, state| !target.matches(id, || state.value()));
    }
    for manifest in &overlay.add {
        objects.insert(manifest.id().clone(), State::Whole(manifest.clone()));
    }
    for patch in &overlay.patches {
        for (id, state) in objects.iter_mut() {
            if matches!(state, State::Broken(_)) || !patch.target.matches(id, || state.value()) {
                continue;
            }
            let mut value = state.value();
            *state = match change(patch, &mut value) {
                Ok(()) => State::Patched(value),
                Err(reason) => State::Broken(format!("overlay `{}`: {reason}", overlay.name)),
            };
        }
    }
}

fn change(patch: &Patch, value: &mut Value) -> Result<(), String> {
    if let Some(operations) = &patch.json {
        json_patch::patch(value, operations).map_err(|error| {
            let operation = operations.0.get(error.operation).map(ToString::to_string);
            format!(
                "JSON patch operation {} ({}): {}",
                error.operation + 1,
                operation.unwrap_or_default(),
                error.kind
            )
        })?;
    }
    if let Some(merge) = &patch.merge {
        json_patch::merge(value, merge);
    }
    Ok(())
}

fn finish_value(
    id: &ManifestId,
    mut value: Value,
    lookup: &dyn Fn(&Variable) -> Option<Value>,
) -> Result<(Manifest, Vec<Use>), String> {
    let uses = substitute::object(&mut value, lookup).map_err(|faults| {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        faults.join("; ")
    })?;
    let manifest = Manifest::new(value, "default").map_err(|problem| format!("after its overlays: {problem}"))?;
    if manifest.id() != id {
        return Err(format!(
            "an overlay makes it {}: what identifies an object cannot be patched; remove it and add the other",
            manifest.id()
        ));
    }
    Ok((manifest, uses))
}

fn patch_value(patch: &Patch) -> Value {
    serde_json::to_value(patch).expect("a patch of JSON is always JSON")
}

fn canonical_text(value: &Value) -> String {
    String::from_utf8(canonical::to_vec(value)).expect("canonical JSON is UTF-8")
}

mod check;

pub use check::{Problem, check, is_concerned};

#[cfg(test)]
mod tests;
