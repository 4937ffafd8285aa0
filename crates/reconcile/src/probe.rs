//! What would running a view do to the cluster, as its API server sees it? Asked by a server-side dry run of every
//! apply that the reconciler would make: the same body, field manager, account and rules, and nothing is written.
//!
//! Called by the agent when somebody asks; the engine knows nothing of it and is not disturbed. Everything is read from
//! the API server: who owns what, what was applied before (the records in the ApplySets' parents) and what is live.
//! - [`hooks`]: which hooks would run.
//! - [`object`]: one object's dry run, and [`compare`]: what came of it, without what is secret.
//! - [`leaving`]: what would be deleted.

mod compare;
mod hooks;
mod leaving;
mod object;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use driftless_model::{
    definition,
    manifest::{Manifest, ManifestId},
    name::ComponentName,
    prospect::{ComponentProspect, Outcome, Prospect},
    view::{ComponentView, View},
};
use kube::Client;
use tokio::task::JoinSet;

use crate::{
    Error, Permit, Settings,
    api::{Api, Failure},
    applyset::{Parent, Scope},
    discovery::{self, Found, Wanted},
    ground,
    parent::Parents,
    plan::Applied,
    record::{self, Notes},
};

/// Requests under way at once: the reconciler needs the API server as well.
const IN_FLIGHT: usize = 8;

/// A group, a kind, and the version that somebody wants it in.
type Kind = (String, String, Option<String>);

/// Asks API servers what would be.
#[derive(Clone)]
pub struct Prober {
    api: Api,
    permit: Permit,
    manager: String,
    home: String,
}

/// What all objects of a question have in common.
struct Question {
    api: Api,
    manager: String,
    home: String,
    kinds: BTreeMap<Kind, Found>,
    /// Namespaces that the view makes.
    namespaces: BTreeSet<String>,
    /// Groups and kinds that it defines.
    definitions: BTreeMap<(String, String), String>,
    known: BTreeMap<ComponentName, Known>,
}

/// What is known of a component that was applied before.
#[derive(Default)]
struct Known {
    scope: Scope,
    applied: BTreeMap<ManifestId, Applied>,
    notes: Notes,
}

impl Prober {
    /// Asks as a reconciler with these settings would write.
    pub fn new(client: Client, permit: Permit, settings: &Settings) -> Self {
        Self {
            api: Api::new(client, permit.clone()).rehearsing(),
            permit,
            manager: settings.field_manager.clone(),
            home: settings.namespace.clone(),
        }
    }

    /// What running `view` would do, or what of it is about one component.
    ///
    /// # Guarantees
    /// Nothing is written. No value of a Secret is in the answer. Requests end when the future is dropped.
    ///
    /// # Errors
    /// [`Error::Unanswered`] when the API server does not answer, when this process does not lead, and when there is no
    /// such component.
    pub async fn ask(&self, view: &View, only: Option<&ComponentName>) -> Result<Prospect, Error> {
        if !(self.permit)() {
            let text = "this agent does not lead any more: ask again, and the one that does answers";
            return Err(Error::Unanswered(text.to_owned()));
        }
        let known = self.known().await?;
        if let Some(only) = only
            && !view.components.contains_key(only)
            && !known.contains_key(only)
        {
            let text = format!("component `{only}` is neither in the snapshot, for this cluster, nor on the cluster");
            return Err(Error::Unanswered(text));
        }
        let is_asked = |name: &ComponentName| only.is_none_or(|only| only == name);
        let asked = || view.components.iter().filter(|(name, _)| is_asked(name));
        let scopes = known.iter().filter(|(name, _)| is_asked(name));
        let scopes = scopes.flat_map(|(_, known)| &known.scope.kinds);
        let mut kinds: BTreeSet<Kind> = scopes
            .map(|(group, kind)| (group.clone(), kind.clone(), None))
            .collect();
        for manifest in asked().flat_map(|(_, component)| &component.manifests) {
            let id = manifest.id();
            let version = Some(manifest.version().to_owned());
            kinds.insert((id.group.clone(), id.kind.clone(), version));
        }
        let question = Arc::new(Question {
            api: self.api.clone(),
            manager: self.manager.clone(),
            home: self.home.clone(),
            kinds: self.find(kinds).await,
            namespaces: namespaces(view),
            definitions: definitions(view),
            known,
        });
        let mut prospect = Prospect::default();
        for (name, component) in asked() {
            prospect
                .components
                .insert(name.clone(), question.component(name, component).await?);
        }
        let collisions = view.collisions.iter().filter(|collision| is_asked(&collision.dropped));
        prospect.notes.extend(collisions.map(ToString::to_string));
        question.add_leaving(view, is_asked, &mut prospect).await?;
        Ok(prospect)
    }

    /// What was applied before, by the parents.
    async fn known(&self) -> Result<BTreeMap<ComponentName, Known>, Failure> {
        let parents = Parents {
            api: self.api.clone(),
            namespace: self.home.clone(),
            manager: self.manager.clone(),
        };
        let mut known = BTreeMap::new();
        for parent in parents.read_all().await? {
            if let Parent::Ours {
                component,
                scope,
                record,
            } = parent
            {
                let (applied, notes) = record.as_deref().map(record::unpack).unwrap_or_default();
                known.insert(component, Known { scope, applied, notes });
            }
        }
        Ok(known)
    }

    /// Which of the kinds the API server serves. One that it does not serve in the wanted version is looked for in any.
    async fn find(&self, kinds: BTreeSet<Kind>) -> BTreeMap<Kind, Found> {
        let mut groups: BTreeMap<String, Vec<Wanted<Kind>>> = BTreeMap::new();
        for key in kinds {
            let in_any = (key.0.clone(), key.1.clone(), None);
            for key in [key, in_any] {
                let (group, kind, version) = key.clone();
                groups.entry(group).or_default().push(Wanted { key, kind, version });
            }
        }
        let mut tasks = JoinSet::new();
        for (group, wanted) in groups {
            let api = self.api.clone();
            tasks.spawn(async move { discovery::find(&api, &group, wanted).await });
        }
        tasks.join_all().await.into_iter().flatten().collect()
    }
}

impl Question {
    async fn component(
        self: &Arc<Self>,
        name: &ComponentName,
        component: &ComponentView,
    ) -> Result<ComponentProspect, Error> {
        let mut prospect = ComponentProspect {
            bundle: Some(component.bundle),
            ..ComponentProspect::default()
        };
        for held in &component.held {
            let why = format!("it cannot be worked out, and stays as it is: {}", held.reason);
            prospect.objects.insert(held.id.clone(), Outcome::Left(why));
        }
        let (manifests, hooks) = hooks::apart(component);
        self.add_hooks(name, component, &hooks, &mut prospect);
        let mut waiting = manifests.into_iter();
        let mut tasks = JoinSet::new();
        loop {
            while tasks.len() < IN_FLIGHT
                && let Some(manifest) = waiting.next()
            {
                let (question, job) = (
                    Arc::clone(self),
                    object::Job::new(name, component, manifest, &self.home),
                );
                tasks.spawn(async move { (job.member.manifest.id().clone(), question.object(&job).await) });
            }
            let Some(done) = tasks.join_next().await else { break };
            match done.map_err(Error::Worker)? {
                (_, Ok(None)) => prospect.unchanged += 1,
                (id, Ok(Some(outcome))) => drop(prospect.objects.insert(id, outcome)),
                (_, Err(failure)) => return Err(failure.into()),
            }
        }
        Ok(prospect)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Unanswered(failure.text())
    }
}

fn manifests(view: &View) -> impl Iterator<Item = &Manifest> {
    view.components.values().flat_map(|component| &component.manifests)
}

fn namespaces(view: &View) -> BTreeSet<String> {
    let all = manifests(view).map(Manifest::id).filter(|id| ground::is_namespace(id));
    all.map(|id| id.name.clone()).collect()
}

/// The kinds that a view defines, and the names of the CRDs that do.
fn definitions(view: &View) -> BTreeMap<(String, String), String> {
    let defined = |manifest: &Manifest| {
        let defined = definition::read(manifest)?;
        Some(((defined.group, defined.kind), manifest.id().name.clone()))
    };
    manifests(view).filter_map(defined).collect()
}
