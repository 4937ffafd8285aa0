//! `driftless explain`: what a cluster should run and why, what it runs, and the first cause of a difference.

mod document;

use std::collections::BTreeMap;

use anyhow::Result;
use driftless_client::{
    Client, Log,
    types::{Channel, Cluster},
};
use driftless_model::{
    bundle::Bundle,
    explain::{self, Facts, Fate, Subject},
    hash::ObjectHash,
    manifest::{Manifest, ManifestId},
    marks,
    name::{ClusterName, ComponentName},
    reference::Reference,
    render::Plan,
    snapshot::Snapshot,
    status::{ClusterStatus, ComponentStatus, Repairs},
    view::{self, ClusterFacts, View},
};
use futures::TryStreamExt as _;

use self::document::{Document, ObjectDocument, Overlay, Repaired, Runs, Should, Variable};
use super::blame::Push;
use crate::{
    app::App,
    failure::{Advice, Outcome},
    now,
    prints::{self, Prints},
    resolve,
};

/// Explain what a cluster, or an object on it, should run and does not
///
/// Tells the channel, snapshot, component, overlays and variables that an object comes from; what the agent reports of
/// it; and every cause of a difference, the first one first, with what happens next.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The cluster
    cluster: ClusterName,
    /// An object on it: KIND/NAME, KIND NAME or KIND.GROUP NAMESPACE/NAME
    #[arg(value_name = "OBJECT", num_args = 0..=2)]
    object: Vec<String>,
    /// The object's namespace
    #[arg(short, long)]
    namespace: Option<String>,
}

pub(crate) const PRINTS: Prints = Prints {
    document: document::FIELDS,
    ..prints::DOCUMENT
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        cluster,
        object,
        namespace,
    } = args;
    let client = app.client()?;
    let cluster = resolve::cluster(&client, &cluster).await?;
    let channel = client.channel(&cluster.channel).await?;
    let desired = Desired::read(&client, &channel, cluster.facts()).await?;
    let words: Vec<&str> = object.iter().map(String::as_str).collect();
    let found = match words.as_slice() {
        [] => None,
        words => Some(desired.find(&Reference::parse(words, namespace.as_deref())?, &cluster.name)?),
    };
    let subject = found.map(|(component, id)| desired.subject(component, id));
    let facts = Facts {
        enrolled: cluster.enrolled,
        joined: cluster.joined,
        connected: cluster.connected,
        last_seen: cluster.last_seen,
        status: cluster.status.as_ref(),
        snapshot: channel.snapshot,
        changed: channel.changed,
        view: &desired.view,
    };
    let mut causes = explain::causes(&facts, subject.as_ref());
    for cause in &mut causes {
        cause.message = resolve::commands_for(&cluster.name, &cause.message);
    }
    let object = match &subject {
        Some(subject) => Some(desired.describe(&client, &channel, subject).await?),
        None => None,
    };
    let document = Document {
        should: Should {
            channel: channel.name.clone(),
            snapshot: desired.push(channel.snapshot),
            components: desired.view.components.len(),
            not_selected: desired.left_out(),
            objects: desired
                .view
                .components
                .values()
                .map(|component| component.manifests.len())
                .sum(),
            object,
        },
        runs: Runs::of(&cluster, subject.as_ref()),
        converged: causes.is_empty(),
        causes,
        cluster: cluster.name,
    };
    app.output.print(&document, |document| document.text(now()))?;
    Ok(Outcome::Success)
}

/// What a cluster should run, and the bundles that say so.
struct Desired {
    facts: ClusterFacts,
    snapshot: Option<Snapshot>,
    bundles: BTreeMap<ObjectHash, Bundle>,
    view: View,
}

impl Desired {
    async fn read(client: &Client, channel: &Channel, facts: ClusterFacts) -> Result<Self> {
        let Some(hash) = channel.snapshot else {
            return Ok(Self {
                facts,
                snapshot: None,
                bundles: BTreeMap::new(),
                view: View::default(),
            });
        };
        let snapshot = client.snapshot(&hash).await?;
        let hashes: Vec<_> = snapshot.components.values().copied().collect();
        let bundles: BTreeMap<_, _> = hashes.iter().copied().zip(client.bundles(&hashes).await?).collect();
        let view = view::view(&snapshot, &facts, |hash| bundles.get(hash))?;
        Ok(Self {
            facts,
            snapshot: Some(snapshot),
            bundles,
            view,
        })
    }

    fn push(&self, hash: Option<ObjectHash>) -> Option<Push> {
        let (snapshot, hash) = self.snapshot.as_ref().zip(hash)?;
        Some(Push {
            snapshot: hash,
            time: snapshot.time,
            author: snapshot.provenance.author.clone(),
            message: snapshot.provenance.message.clone(),
        })
    }

    fn components(&self) -> impl Iterator<Item = (&ComponentName, &Bundle)> {
        let components = self.snapshot.iter().flat_map(|snapshot| &snapshot.components);
        components.filter_map(|(name, hash)| Some((name, self.bundles.get(hash)?)))
    }

    /// The components that do not run here, with what they ask for.
    fn left_out(&self) -> BTreeMap<ComponentName, String> {
        let components = self
            .components()
            .filter(|(name, _)| !self.view.components.contains_key(*name));
        components
            .map(|(name, bundle)| (name.clone(), bundle.spec().selector.to_string()))
            .collect()
    }

    /// The object that is meant, and the component that it is of: one that brings it here, if any does.
    fn find(&self, reference: &Reference, cluster: &ClusterName) -> Result<(ComponentName, ManifestId)> {
        let mut owners: BTreeMap<ManifestId, Vec<ComponentName>> = BTreeMap::new();
        for (name, bundle) in self.components() {
            let added = bundle.spec().overlays.iter().flat_map(|overlay| &overlay.add);
            for manifest in bundle.manifests().chain(added) {
                owners.entry(manifest.id().clone()).or_default().push(name.clone());
            }
        }
        let id = reference.find(owners.keys()).map_err(|error| {
            let hint = format!("`driftless view {cluster}` lists what it should run");
            Advice::new(format!("channel `{}`: {error}", self.facts.channel), hint)
        })?;
        let owners = &owners[id];
        let brings = |name: &&ComponentName| matches!(self.fate(name, id), Fate::Wanted | Fate::Held);
        let owner = owners.iter().find(brings).unwrap_or(&owners[0]);
        Ok((owner.clone(), id.clone()))
    }

    fn bundle(&self, component: &ComponentName) -> Option<&Bundle> {
        self.bundles.get(self.snapshot.as_ref()?.components.get(component)?)
    }

    /// What becomes of an object of a component.
    fn fate(&self, component: &ComponentName, id: &ManifestId) -> Fate {
        let Some(bundle) = self.bundle(component) else {
            return Fate::NotAdded;
        };
        let Some(view) = self.view.components.get(component) else {
            return Fate::NotSelected(bundle.spec().selector.clone());
        };
        if view.manifests.iter().any(|manifest| manifest.id() == id) {
            return Fate::Wanted;
        }
        if view.held.iter().any(|held| held.id == *id) {
            return Fate::Held;
        }
        let collision = self.view.collisions.iter().find(|collision| collision.id == *id);
        if let Some(collision) = collision.filter(|collision| collision.dropped == *component) {
            return Fate::Dropped(collision.kept.clone());
        }
        let overlays = Plan::new(bundle).trace(&self.facts, id).overlays;
        if overlays.is_empty() {
            Fate::NotAdded
        } else {
            Fate::LeftOut(overlays)
        }
    }

    fn subject(&self, component: ComponentName, object: ManifestId) -> Subject {
        let written = self.bundle(&component).and_then(|bundle| bundle.get(&object));
        Subject {
            fate: self.fate(&component, &object),
            kept: written.and_then(|manifest| marks::keep(&manifest.value())),
            component,
            object,
        }
    }

    /// How the object comes to be as it is here.
    async fn describe(&self, client: &Client, channel: &Channel, subject: &Subject) -> Result<ObjectDocument> {
        let Subject { component, object, .. } = subject;
        let log = Log {
            component: Some(component.clone()),
            limit: Some(1),
            ..Log::of(&channel.name)
        };
        let set = client.history(log).try_next().await?.as_ref().map(Push::of);
        let bundle = self.bundle(component);
        let spec = bundle.map(|bundle| bundle.spec().clone()).unwrap_or_default();
        let trace = bundle
            .map(|bundle| Plan::new(bundle).trace(&self.facts, object))
            .unwrap_or_default();
        let overlays = spec
            .overlays
            .iter()
            .filter(|overlay| trace.overlays.contains(&overlay.name));
        let view = self.view.components.get(component);
        Ok(ObjectDocument {
            object: object.clone(),
            component: component.clone(),
            bundle: channel.components.get(component).copied(),
            set,
            selector: spec.selector.to_string(),
            depends_on: spec.depends_on.into_iter().collect(),
            overlays: overlays
                .map(|overlay| Overlay {
                    name: overlay.name.clone(),
                    selector: overlay.selector.to_string(),
                })
                .collect(),
            variables: trace
                .variables
                .into_iter()
                .map(|used| Variable {
                    field: used.field,
                    variable: used.variable.to_string(),
                    value: used.value,
                })
                .collect(),
            manifest: view
                .and_then(|view| view.manifests.iter().find(|manifest| manifest.id() == object))
                .map(Manifest::value),
        })
    }
}

/// The part of a cluster's state that a document tells.
impl Runs {
    fn of(cluster: &Cluster, subject: Option<&Subject>) -> Self {
        let status = cluster.status.as_ref();
        let component = subject.and_then(|subject| status?.components.get(&subject.component));
        let sum = |of: fn(&ComponentStatus) -> u32| match (subject, status) {
            (Some(_), _) => component.map_or(0, of),
            (None, Some(status)) => status.components.values().map(of).sum(),
            (None, None) => 0,
        };
        Self {
            joined: cluster.joined,
            connected: cluster.connected,
            last_seen: cluster.last_seen,
            agent_version: status.map(|status| status.agent_version.clone()),
            kubernetes_version: status.map(|status| status.kubernetes_version.clone()),
            snapshot: status.and_then(|status| status.snapshot),
            bundle: component.and_then(|component| component.bundle),
            desired: sum(|component| component.desired),
            applied: sum(|component| component.applied),
            health: match subject {
                Some(_) => component.map(|component| component.health),
                None => status.map(ClusterStatus::health),
            },
            repaired: status.map_or(0, |status| status.counters.repaired),
            repairs: status.map(|status| repairs(status, subject)).unwrap_or_default(),
        }
    }
}

/// What was put back of the component in question or of all, the latest first.
fn repairs(status: &ClusterStatus, subject: Option<&Subject>) -> Vec<Repaired> {
    let components = status.components.iter();
    let asked = components.filter(|(name, _)| subject.is_none_or(|subject| subject.component == **name));
    let repaired = asked.filter_map(|(name, component)| {
        Some(Repaired {
            component: name.clone(),
            repairs: Repairs::clone(component.repairs.as_ref()?),
        })
    });
    let mut repaired: Vec<_> = repaired.collect();
    repaired.sort_by_key(|repaired| std::cmp::Reverse(repaired.repairs.last));
    repaired
}
