//! What a change of a component does to a fleet: worked out once for each group of clusters that it treats alike.
//!
//! `driftless diff` and the checks at push call it. Clusters are grouped by what the component depends on of them (see
//! [`Projection`]), so ten thousand clusters with forty sets of labels cost as much as forty; groups with the same
//! outcome are told as one.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use serde_json::Value;

use crate::{
    diff::{self, Change},
    manifest::ManifestId,
    name::{Labels, Vars},
    render::{Held, Plan, Projection},
    substitute::Variable,
    view::ClusterFacts,
};

/// What a change does to some clusters.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// The clusters, by their place in the list given; in order.
    pub clusters: Vec<usize>,
    /// The objects that change.
    pub objects: BTreeMap<ManifestId, Change>,
}

/// Objects that cannot be worked out on some clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// The clusters, by their place in the list given; in order.
    pub clusters: Vec<usize>,
    /// The objects.
    pub held: Vec<Held>,
}

/// A component before or after, where a cluster runs it.
type Side = Option<Projection>;

/// What replacing `before` by `after` does to `clusters`: most clusters first. `None` stands for a component that is
/// not there. Clusters where nothing changes are in no effect.
pub fn of_bundles(before: Option<&Plan<'_>>, after: Option<&Plan<'_>>, clusters: &Clusters<'_>) -> Vec<Effect> {
    let side =
        |plan: Option<&Plan<'_>>, cluster: &ClusterFacts| -> Side { plan.and_then(|plan| plan.project(cluster)) };
    let groups = clusters.group_by(&[before, after], |cluster| {
        (side(before, cluster), side(after, cluster))
    });
    let mut fixed = Fixed::default();
    let mut effects: Vec<Effect> = Vec::new();
    for ((old, new), clusters) in groups {
        let old = before.zip(old.as_ref());
        let new = after.zip(new.as_ref());
        let mut objects = fixed.between(old.map(|(plan, _)| plan), new.map(|(plan, _)| plan), before, after);
        objects.extend(between_dynamic(old, new, before, after));
        if objects.is_empty() {
            continue;
        }
        match effects.iter_mut().find(|effect| effect.objects == objects) {
            Some(effect) => effect.clusters.extend(clusters),
            None => effects.push(Effect { clusters, objects }),
        }
    }
    for effect in &mut effects {
        effect.clusters.sort_unstable();
    }
    effects.sort_by_key(|effect| (std::cmp::Reverse(effect.clusters.len()), effect.clusters[0]));
    effects
}

/// The objects of a component that some of `clusters` cannot work out: most clusters first.
pub fn shortfalls(plan: &Plan<'_>, clusters: &Clusters<'_>) -> Vec<Shortfall> {
    if plan.is_static() && plan.dynamic().is_empty() {
        return Vec::new();
    }
    let mut by_held: BTreeMap<Vec<Held>, Vec<usize>> = BTreeMap::new();
    for (projection, clusters) in groups(plan, clusters) {
        let held = plan.render_dynamic(&projection).held;
        if !held.is_empty() {
            by_held.entry(held).or_default().extend(clusters);
        }
    }
    let mut found: Vec<_> = by_held
        .into_iter()
        .map(|(held, mut clusters)| {
            clusters.sort_unstable();
            Shortfall { clusters, held }
        })
        .collect();
    found.sort_by_key(|shortfall| (std::cmp::Reverse(shortfall.clusters.len()), shortfall.clusters[0]));
    found
}

/// The clusters that run a component, grouped by what it depends on of them; in the order of each group's first.
pub fn groups(plan: &Plan<'_>, clusters: &Clusters<'_>) -> Vec<(Projection, Vec<usize>)> {
    let groups = clusters.group_by(&[Some(plan)], |cluster| plan.project(cluster));
    let mut groups: Vec<_> = groups
        .into_iter()
        .filter_map(|(projection, clusters)| Some((projection?, clusters)))
        .collect();
    for (_, clusters) in &mut groups {
        clusters.sort_unstable();
    }
    groups.sort_by_key(|(_, clusters)| clusters[0]);
    groups
}

/// Clusters, sorted once into those that only their names tell apart; then asked about any number of components.
#[derive(Debug, Clone)]
pub struct Clusters<'a> {
    all: &'a [ClusterFacts],
    alike: Vec<Vec<usize>>,
}

impl<'a> Clusters<'a> {
    /// Sorts clusters.
    pub fn new(all: &'a [ClusterFacts]) -> Self {
        let mut sets: HashMap<(&str, &Labels, VarsKey<'_>), Vec<usize>> = HashMap::new();
        for (index, cluster) in all.iter().enumerate() {
            let key = (cluster.channel.as_str(), &cluster.labels, VarsKey(&cluster.vars));
            sets.entry(key).or_default().push(index);
        }
        Self {
            all,
            alike: sets.into_values().collect(),
        }
    }

    /// What `of` finds for each cluster, with the clusters for which it finds the same.
    fn group_by<K: Eq + Hash>(
        &self,
        plans: &[Option<&Plan<'_>>],
        of: impl Fn(&ClusterFacts) -> K,
    ) -> HashMap<K, Vec<usize>> {
        let mut groups: HashMap<K, Vec<usize>> = HashMap::new();
        if plans.iter().flatten().any(|plan| plan.tells_clusters_apart()) {
            for (index, cluster) in self.all.iter().enumerate() {
                groups.entry(of(cluster)).or_default().push(index);
            }
        } else {
            for alike in &self.alike {
                groups.entry(of(&self.all[alike[0]])).or_default().extend(alike);
            }
        }
        groups
    }
}

/// Variables as a key: values of JSON are hashed by their text.
#[derive(PartialEq, Eq)]
struct VarsKey<'a>(&'a Vars);

impl Hash for VarsKey<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for (name, value) in self.0 {
            name.hash(state);
            match value {
                Value::String(text) => text.hash(state),
                other => other.to_string().hash(state),
            }
        }
    }
}

/// How the objects differ that are the same on every cluster. There are four cases at most, each worked out once.
#[derive(Default)]
struct Fixed(HashMap<(bool, bool), BTreeMap<ManifestId, Change>>);

impl Fixed {
    fn between(
        &mut self,
        old: Option<&Plan<'_>>,
        new: Option<&Plan<'_>>,
        before: Option<&Plan<'_>>,
        after: Option<&Plan<'_>>,
    ) -> BTreeMap<ManifestId, Change> {
        let changes = self.0.entry((old.is_some(), new.is_some())).or_insert_with(|| {
            // What is dynamic on either side is compared with the dynamic objects.
            let fixed = |plan: Option<&Plan<'_>>| {
                let manifests = plan.into_iter().flat_map(|plan| plan.bundle().manifests());
                manifests
                    .filter(|manifest| !is_dynamic(manifest.id(), before, after))
                    .cloned()
                    .collect::<Vec<_>>()
            };
            diff::manifests(&fixed(old), &fixed(new))
        });
        changes.clone()
    }
}

fn is_dynamic(id: &ManifestId, before: Option<&Plan<'_>>, after: Option<&Plan<'_>>) -> bool {
    [before, after].iter().flatten().any(|plan| plan.is_dynamic(id))
}

fn between_dynamic(
    old: Option<(&Plan<'_>, &Projection)>,
    new: Option<(&Plan<'_>, &Projection)>,
    before: Option<&Plan<'_>>,
    after: Option<&Plan<'_>>,
) -> BTreeMap<ManifestId, Change> {
    let rendered = |side: Option<(&Plan<'_>, &Projection)>| {
        side.map(|(plan, projection)| plan.render_where(projection, |id| is_dynamic(id, before, after)))
            .unwrap_or_default()
    };
    let (old, new) = (rendered(old), rendered(new));
    let mut changes = diff::manifests(&old.manifests, &new.manifests);
    // What runs of a held object goes on.
    for held in &new.held {
        changes.remove(&held.id);
    }
    changes
}

impl Plan<'_> {
    /// Does it use a cluster's name, so that no two clusters need be alike?
    fn tells_clusters_apart(&self) -> bool {
        let spec = self.bundle().spec();
        let selectors = spec
            .overlays
            .iter()
            .map(|overlay| &overlay.selector)
            .chain([&spec.selector]);
        self.uses(&Variable::Name)
            || self.uses(&Variable::Label(crate::view::CLUSTER_LABEL.to_owned()))
            || selectors
                .into_iter()
                .any(|selector| selector.asks_for(crate::view::CLUSTER_LABEL))
    }
}

#[cfg(test)]
mod tests;
