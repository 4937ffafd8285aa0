//! The clusters that follow a channel, as a push or diff sees them: what a change does to each group of them, and
//! whether it works out on all.
//!
//! `push` and `diff` ask; the server is asked for the clusters once, and only where the answer depends on them.

use std::collections::BTreeMap;

use anyhow::Result;
use driftless_client::{
    Client,
    types::{Channel, Cluster},
};
use driftless_model::{
    bundle::{Bundle, upkeep::NotAllowed},
    effect::{self, Clusters, Effect},
    ignored,
    intake::Place,
    manifest::{Manifest, ManifestId},
    name::ClusterName,
    order,
    render::{self, Plan, Problem},
    rule,
    view::ClusterFacts,
};
use rayon::prelude::*;
use tokio::sync::OnceCell;

use crate::{
    output::changes::{GroupDiff, ObjectDiff},
    sources::{self, Component, Problems},
};

/// Clusters named in an error.
const MAX_NAMED: usize = 5;
/// Groups of clusters whose own manifests are checked, per component. Where a name or the like makes every cluster a
/// group of its own, the first ones stand for the rest.
const MAX_CHECKED: usize = 100;

/// A manifest that is not on some clusters as it was written.
pub(crate) struct Variant {
    /// What it is there.
    pub(crate) manifest: Manifest,
    /// Where it, or its overlay, was written: `shop/web.yaml:3: `, or nothing.
    pub(crate) place: String,
    /// The clusters.
    pub(crate) clusters: Vec<ClusterName>,
}

/// See the module.
pub(crate) struct Followers<'a> {
    client: &'a Client,
    channel: &'a Channel,
    all: OnceCell<Vec<Cluster>>,
}

impl<'a> Followers<'a> {
    pub(crate) fn new(client: &'a Client, channel: &'a Channel) -> Self {
        Self {
            client,
            channel,
            all: OnceCell::new(),
        }
    }

    /// All of them.
    pub(crate) async fn all(&self) -> Result<&[Cluster]> {
        let ask = || async {
            if self.channel.clusters == 0 {
                return Ok(Vec::new());
            }
            self.client.clusters(Some(&self.channel.name)).await
        };
        Ok(self.all.get_or_try_init(ask).await?)
    }

    async fn facts(&self) -> Result<Vec<ClusterFacts>> {
        Ok(self.all().await?.iter().map(Cluster::facts).collect())
    }

    /// What each of the changes does, group by group; none where it is the same on all clusters.
    pub(crate) async fn groups(&self, changes: &[(Option<&Bundle>, Option<&Bundle>)]) -> Result<Vec<Vec<GroupDiff>>> {
        let is_concerned = |(before, after): &(Option<&Bundle>, Option<&Bundle>)| {
            [before, after].into_iter().flatten().any(|bundle| differs(bundle))
        };
        if !changes.iter().any(is_concerned) {
            return Ok(changes.iter().map(|_| Vec::new()).collect());
        }
        let facts = self.facts().await?;
        let clusters = Clusters::new(&facts);
        let groups = changes.iter().map(|change| {
            if !is_concerned(change) {
                return Vec::new();
            }
            let (before, after) = (change.0.map(Plan::new), change.1.map(Plan::new));
            let effects = effect::of_bundles(before.as_ref(), after.as_ref(), &clusters);
            effects.into_iter().map(|effect| group(effect, &facts)).collect()
        });
        Ok(groups.collect())
    }

    /// The manifests of `components` that are not on every cluster as they were written.
    pub(crate) async fn variants(&self, components: &[&Component]) -> Result<Vec<Variant>> {
        let differing = |component: &&&Component| !Plan::new(&component.bundle).is_static();
        let differing: Vec<_> = components.iter().filter(differing).collect();
        if differing.is_empty() {
            return Ok(Vec::new());
        }
        let facts = self.facts().await?;
        let clusters = Clusters::new(&facts);
        let variants = differing
            .into_iter()
            .flat_map(|component| variants_of(component, &clusters, &facts));
        Ok(variants.collect())
    }

    /// Checks overlays and variables: alone, and on every cluster. Problems are printed, all of them.
    ///
    /// # Errors
    /// Where there is one; ends with `so`.
    pub(crate) async fn check(&self, components: &[Component], so: &str) -> Result<()> {
        let everywhere = || components.par_iter().flat_map_iter(everywhere).collect();
        let mut lines: Vec<String> = tokio::task::block_in_place(everywhere);
        if lines.is_empty() && components.iter().any(|component| differs(&component.bundle)) {
            let facts = self.facts().await?;
            let clusters = Clusters::new(&facts);
            for component in components {
                for shortfall in effect::shortfalls(&Plan::new(&component.bundle), &clusters) {
                    let names: Vec<_> = shortfall.clusters.iter().map(|index| &facts[*index].name).collect();
                    let told = shortfall.held.iter();
                    lines.extend(told.map(|held| {
                        let place = before(place_of(component, &held.id, None));
                        format!("{place}{held} ({})", on(&names))
                    }));
                }
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        sources::told(Err(Problems { lines, hint: None }), so)
    }
}

/// What `component` comes to on each group of clusters, where that is not as it was written.
fn variants_of(component: &Component, clusters: &Clusters<'_>, facts: &[ClusterFacts]) -> Vec<Variant> {
    let plan = Plan::new(&component.bundle);
    let mut variants = Vec::new();
    for (projection, members) in effect::groups(&plan, clusters).into_iter().take(MAX_CHECKED) {
        let names: Vec<_> = members.iter().map(|index| facts[*index].name.clone()).collect();
        let rendered = plan.render_dynamic(&projection).manifests;
        let changed = rendered
            .iter()
            .filter(|manifest| component.bundle.get(manifest.id()) != Some(*manifest));
        variants.extend(changed.map(|manifest| Variant {
            place: before(place_of(component, manifest.id(), None)),
            clusters: names.clone(),
            manifest: manifest.clone(),
        }));
    }
    variants
}

/// Can what the bundle comes to differ between clusters?
fn differs(bundle: &Bundle) -> bool {
    !bundle.spec().selector.is_empty() || !Plan::new(bundle).is_static()
}

fn group(effect: Effect, facts: &[ClusterFacts]) -> GroupDiff {
    let Effect { clusters, objects } = effect;
    GroupDiff {
        clusters: clusters.into_iter().map(|index| facts[index].name.clone()).collect(),
        objects: objects_of(objects),
    }
}

fn objects_of(objects: BTreeMap<ManifestId, driftless_model::diff::Change>) -> Vec<ObjectDiff> {
    objects
        .into_iter()
        .map(|(object, change)| ObjectDiff { object, change })
        .collect()
}

/// `on edge-1, edge-2 and 36 more`.
pub(crate) fn on(names: &[&ClusterName]) -> String {
    let few: Vec<_> = names.iter().take(MAX_NAMED).map(|name| name.as_str()).collect();
    match names.len().saturating_sub(MAX_NAMED) {
        0 => format!("on {}", few.join(", ")),
        more => format!("on {} and {more} more", few.join(", ")),
    }
}

/// All that is wrong with a component wherever it runs, in the order of the places where it was written.
fn everywhere(component: &Component) -> Vec<String> {
    let mut told: Vec<(Option<Place>, String)> = Vec::new();
    for problem in render::check(&component.bundle) {
        told.push((place_of_problem(component, &problem), problem.to_string()));
    }
    for fault in rule::check(&component.bundle.spec().health) {
        let pointer = format!("/health/{}/{}", fault.rule, fault.field);
        told.push((written(component, &pointer), fault.to_string()));
    }
    for problem in order::check(&component.bundle) {
        let place = problem
            .object()
            .and_then(|id| place_of(component, id, problem.annotation()));
        told.push((place, problem.to_string()));
    }
    told.sort_by(|(one, _), (other, _)| one.cmp(other));
    let lines = told.into_iter().map(|(place, text)| {
        let component = &component.bundle.component;
        format!("{}component `{component}`: {text}", before(place))
    });
    lines.collect()
}

fn place_of_problem(component: &Component, problem: &Problem) -> Option<Place> {
    match problem {
        Problem::Variable { id, .. } => place_of(component, id, None),
        Problem::Ignored { id, .. } => place_of(component, id, Some(ignored::ANNOTATION)),
        Problem::Unknown { id, unknown } => place_of(component, id, Some(unknown.key())),
        Problem::NotAllowed(
            NotAllowed::Kind { id, .. } | NotAllowed::Namespace { id, .. } | NotAllowed::NoNamespace { id, .. },
        ) => place_of(component, id, None),
        _ => written(component, "/overlays"),
    }
}

/// Where an object was written, or an annotation of it.
fn place_of(component: &Component, id: &ManifestId, annotation: Option<&str>) -> Option<Place> {
    let found = component.placed.iter().find(|placed| placed.manifest().id() == id);
    let Some(placed) = found else {
        return written(component, "/overlays");
    };
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    let pointer = annotation.map(|key| format!("/metadata/annotations/{}", escaped(key)));
    Some(placed.place(pointer.as_deref().unwrap_or_default()))
}

fn written(component: &Component, pointer: &str) -> Option<Place> {
    component.written.as_ref().map(|written| written.place(pointer))
}

/// `shop/web.yaml:3: `, or nothing where it is not known.
fn before(place: Option<Place>) -> String {
    place.map_or_else(String::new, |place| format!("{place}: "))
}
