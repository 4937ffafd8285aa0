//! What would be deleted: members of our ApplySets that the view does not have.

use std::collections::{BTreeMap, BTreeSet};

use driftless_model::{
    bundle::upkeep::Budget,
    manifest::ManifestId,
    marks::{self, Leaving},
    name::ComponentName,
    view::View,
};
use serde_json::Value;

use super::{Outcome, Prospect, Question};
use crate::{
    api::{Failure, Resource, parse},
    applyset,
    budget::{self, Stale, Verdict},
    discovery::Found,
    ground,
};

/// Objects in one page of a list.
const PAGE: u32 = 500;

impl Question {
    /// Adds what would be deleted of the components that were asked about.
    ///
    /// # Errors
    /// When the API server does not answer at all.
    pub(super) async fn add_leaving(
        &self,
        view: &View,
        is_asked: impl Fn(&ComponentName) -> bool,
        prospect: &mut Prospect,
    ) -> Result<(), Failure> {
        let mut kinds = BTreeSet::new();
        for (_, known) in self.known.iter().filter(|(name, _)| is_asked(name)) {
            kinds.extend(known.scope.kinds.iter());
        }
        let mut stale: BTreeMap<ComponentName, Vec<(ManifestId, Leaving)>> = BTreeMap::new();
        let desired: BTreeSet<_> = super::manifests(view).map(super::Manifest::id).collect();
        for (group, kind) in kinds {
            let resource = match self.kinds.get(&(group.clone(), kind.clone(), None)) {
                Some(Found::Served(resource)) => resource,
                Some(Found::Broken(how, _)) => {
                    prospect.notes.push(not_told(kind, how));
                    continue;
                }
                Some(Found::Missing) | None => continue,
            };
            let members = match self.members(resource).await {
                Ok(members) => members,
                Err(failure @ Failure::Unreachable(_)) => return Err(failure),
                Err(failure) => {
                    prospect.notes.push(not_told(kind, &failure.text()));
                    continue;
                }
            };
            for object in members {
                let Some(component) = applyset::member_of(&object, &self.home).filter(&is_asked) else {
                    continue;
                };
                if let Some(id) = id_of(resource, &object)
                    && !is_among(&desired, &id)
                {
                    stale.entry(component).or_default().push((id, marks::leaving(&object)));
                }
            }
        }
        for (name, stale) in stale {
            let component = view.components.get(&name);
            let held: Vec<_> = component.iter().flat_map(|component| &component.held).collect();
            let stale: Vec<_> = stale
                .into_iter()
                .filter(|(id, _)| !held.iter().any(|held| held.id == *id))
                .collect();
            // What left as a whole goes by the budget that it had.
            let last = || self.known.get(&name).map(|known| &known.notes.prune);
            let prune = component.map(|component| &component.spec.prune).or_else(last);
            let budget = prune.and_then(|prune| prune.budget);
            let desired = component.map_or(0, |component| component.manifests.len());
            let verdict = verdict(&stale, desired, budget.unwrap_or_default());
            let entry = prospect.components.entry(name.clone()).or_default();
            for (id, leaving) in stale {
                let outcome = match leaving {
                    Leaving::Stays => Outcome::Left("it left the component, and its annotations keep it".to_owned()),
                    _ if !held.is_empty() => {
                        let why = "it left the component, and stays while others of it cannot be worked out";
                        Outcome::Left(why.to_owned())
                    }
                    Leaving::Asks => Outcome::Pruned(waits(verdict != Verdict::Free, &name)),
                    Leaving::Goes => Outcome::Pruned(waits(verdict == Verdict::AllWait, &name)),
                };
                entry.objects.insert(id, outcome);
            }
        }
        Ok(())
    }

    /// The metadata of all objects of a kind that carry a component's label.
    async fn members(&self, resource: &Resource) -> Result<Vec<Value>, Failure> {
        let selector = applyset::COMPONENT_LABEL.replace('/', "%2F");
        let mut members = Vec::new();
        let mut next = String::new();
        loop {
            let path = format!(
                "{}?labelSelector={selector}&limit={PAGE}&continue={next}",
                resource.path()
            );
            let mut list = parse(&self.api.list_metadata(&path).await?)?;
            if let Some(Value::Array(items)) = list.get_mut("items").map(Value::take) {
                members.extend(items);
            }
            match list.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(more) if !more.is_empty() => next = more.to_owned(),
                _ => return Ok(members),
            }
        }
    }
}

fn not_told(kind: &str, why: &str) -> String {
    format!("which objects of kind {kind} would be deleted cannot be told: {why}")
}

fn id_of(resource: &Resource, object: &Value) -> Option<ManifestId> {
    let text = |field: &str| object.get("metadata")?.get(field)?.as_str().map(str::to_owned);
    Some(ManifestId {
        group: resource.group.clone(),
        kind: resource.kind.clone(),
        namespace: text("namespace").filter(|it| !it.is_empty()),
        name: text("name")?,
    })
}

/// Is it desired? A manifest of a kind that was not known at the push may not say that it is in the default namespace.
fn is_among(desired: &BTreeSet<&ManifestId>, id: &ManifestId) -> bool {
    desired.contains(id)
        || id.namespace.as_deref() == Some("default")
            && desired.contains(&ManifestId {
                namespace: None,
                ..id.clone()
            })
}

fn verdict(stale: &[(ManifestId, Leaving)], desired: usize, budget: Budget) -> Verdict {
    let going = || stale.iter().filter(|(_, leaving)| *leaving != Leaving::Stays);
    let objects = going().count();
    let stale = Stale {
        objects,
        ground: going().filter(|(id, _)| ground::is_ground(id)).count(),
        asking: going().filter(|(_, leaving)| *leaving == Leaving::Asks).count(),
        total: desired + objects,
    };
    budget::weigh(stale, budget)
}

fn waits(does: bool, component: &ComponentName) -> Option<String> {
    does.then(|| format!("waits for consent with `driftless approve-prune <cluster> {component}`"))
}
