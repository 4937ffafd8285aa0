//! Which component or object of a channel a command is about, and the pushes that changed it.
//!
//! `history` and `blame` find what they are asked about with [`find`] and go back in time with [`Versions`], which
//! fetches each version of the component once and keeps nothing of it but the object.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Result;
use driftless_client::{
    Client, Error, Log,
    types::{Channel, LogEntry},
};
use driftless_model::{
    bundle::lines,
    hash::ObjectHash,
    manifest::{Manifest, ManifestId},
    name::{ComponentName, closest},
    reference::Reference,
};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};

use crate::{failure::Advice, resolve};

/// Bundles that are in memory at once.
const CONCURRENCY: usize = 8;
/// Pushes that are looked at in one go.
const CHUNK: usize = 16;
/// Objects remembered by the bundle they are in: a bundle that comes back is not fetched again.
const REMEMBERED: usize = 256;

/// What a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A component as a whole.
    Component(ComponentName),
    /// One of its objects.
    Object(ComponentName, ManifestId),
}

/// Finds what `words` name: `shop`, `shop/deploy/web`, `shop:deploy/web`, `deploy/web` or `deploy web`.
pub(crate) async fn find(
    client: &Client,
    channel: &Channel,
    words: &[String],
    namespace: Option<&str>,
) -> Result<Target> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let [word] = words.as_slice()
        && !word.contains(['/', ':'])
    {
        return component(client, channel, word).await.map(Target::Component);
    }
    if let Some((component, reference)) = in_component(channel, &words, namespace) {
        return in_history(client, channel, &component, &reference?)
            .await
            .map(|id| Target::Object(component, id));
    }
    let reference = Reference::parse(&words, namespace)?;
    let mut owners: BTreeMap<ManifestId, ComponentName> = BTreeMap::new();
    let bundles = channel.components.iter().map(|(name, hash)| async move {
        let bytes = client.objects(&[*hash]).await?;
        Ok::<_, Error>((name, bytes.iter().flat_map(|bytes| known(bytes)).collect::<Vec<_>>()))
    });
    let bundles: Vec<_> = bundles.collect();
    let mut bundles = stream::iter(bundles).buffered(CONCURRENCY);
    while let Some((name, ids)) = bundles.try_next().await? {
        for id in ids {
            // The first by name keeps an object that two ask for.
            owners.entry(id).or_insert_with(|| name.clone());
        }
    }
    let id = reference.find(owners.keys()).map_err(|error| {
        let hint = "an object that is gone is found by its component: COMPONENT/KIND/NAME";
        Advice::new(format!("channel `{}`: {error}", channel.name), hint)
    })?;
    Ok(Target::Object(owners[id].clone(), id.clone()))
}

async fn component(client: &Client, channel: &Channel, word: &str) -> Result<ComponentName> {
    let name: ComponentName = word.parse()?;
    if channel.components.contains_key(&name) {
        return Ok(name);
    }
    let log = Log {
        component: Some(name.clone()),
        limit: Some(1),
        ..Log::of(&channel.name)
    };
    if client.history(log).try_next().await?.is_some() {
        return Ok(name);
    }
    let hint = match closest(word, channel.components.keys().map(ComponentName::as_str)) {
        Some(near) => format!("is it `{near}`?"),
        None => format!(
            "`driftless show {}` lists its components; an object is named KIND/NAME",
            channel.name
        ),
    };
    Err(Advice::new(
        format!("channel `{}` never had a component `{name}`", channel.name),
        hint,
    )
    .into())
}

/// The component that the words begin with, if they do, and the object that follows.
fn in_component(
    channel: &Channel,
    words: &[&str],
    namespace: Option<&str>,
) -> Option<(ComponentName, Result<Reference>)> {
    let (first, rest) = words.split_first()?;
    let (head, tail) = match first.split_once(':') {
        Some(parts) => parts,
        None => first.split_once('/')?,
    };
    let component: ComponentName = head.parse().ok()?;
    let words: Vec<_> = std::iter::once(tail).chain(rest.iter().copied()).collect();
    let reference = Reference::parse(&words, namespace);
    let is_one = first.contains(':') || (reference.is_ok() && channel.components.contains_key(&component));
    // `gone/deploy/web`: a kind has no such name, so it was a component.
    let was_one = reference.is_ok() && tail.matches('/').count() == 1 && rest.is_empty() && !is_kind(head);
    (is_one || was_one).then(|| (component, reference.map_err(Into::into)))
}

/// Could this be a kind that an object of the form `KIND/NAMESPACE/NAME` begins with?
fn is_kind(word: &str) -> bool {
    word.contains('.') || driftless_model::reference::is_built_in(word)
}

/// The object in the newest version of the component that has it.
async fn in_history(
    client: &Client,
    channel: &Channel,
    component: &ComponentName,
    reference: &Reference,
) -> Result<ManifestId> {
    let mut refused = None;
    let mut newest = channel.components.get(component).copied();
    let mut log = client.history(Log {
        component: Some(component.clone()),
        ..Log::of(&channel.name)
    });
    loop {
        if let Some(hash) = newest.take() {
            let ids: Vec<_> = client
                .objects(&[hash])
                .await?
                .iter()
                .flat_map(|bytes| known(bytes))
                .collect();
            match resolve::object_of(reference, &ids, component) {
                Ok(id) => return Ok(id.clone()),
                Err(error) => refused.get_or_insert(error),
            };
        }
        let Some(entry) = log.try_next().await? else {
            let hint = format!("`driftless show {}` lists its components", channel.name);
            let none = || {
                Advice::new(
                    format!("channel `{}` never had a component `{component}`", channel.name),
                    hint,
                )
            };
            return Err(refused.unwrap_or_else(|| none().into()));
        };
        newest = entry.changes.get(component).and_then(|change| change.before);
    }
}

/// The objects of a bundle, and those that its overlays add.
fn known(bytes: &[u8]) -> Vec<ManifestId> {
    let overlays = lines::header(bytes)
        .map(|header| header.spec.into_owned().overlays)
        .unwrap_or_default();
    let added = overlays.iter().flat_map(|overlay| &overlay.add);
    lines::ids(bytes)
        .into_iter()
        .chain(added.map(|manifest| manifest.id().clone()))
        .collect()
}

/// A push, and an object before and after it.
pub(crate) struct Version {
    pub(crate) push: LogEntry,
    pub(crate) before: Option<Manifest>,
    pub(crate) after: Option<Manifest>,
}

/// The pushes of a component, newest first, with one of its objects before and after each.
pub(crate) struct Versions<'c, S> {
    client: &'c Client,
    log: S,
    component: ComponentName,
    object: ManifestId,
    ready: VecDeque<Version>,
    known: BTreeMap<ObjectHash, Option<Manifest>>,
}

impl<'c> Versions<'c, ()> {
    /// Of the pushes that `log` asks for; its component is set here.
    pub(crate) fn new(
        client: &'c Client,
        log: Log,
        component: &ComponentName,
        object: &ManifestId,
    ) -> Versions<'c, impl Stream<Item = Result<LogEntry, Error>> + Unpin + use<>> {
        Versions {
            client,
            log: client.history(Log {
                component: Some(component.clone()),
                ..log
            }),
            component: component.clone(),
            object: object.clone(),
            ready: VecDeque::new(),
            known: BTreeMap::new(),
        }
    }
}

impl<S: Stream<Item = Result<LogEntry, Error>> + Unpin> Versions<'_, S> {
    /// The next older push.
    pub(crate) async fn next(&mut self) -> Result<Option<Version>> {
        if self.ready.is_empty() {
            self.read().await?;
        }
        Ok(self.ready.pop_front())
    }

    async fn read(&mut self) -> Result<()> {
        let mut pushes = Vec::with_capacity(CHUNK);
        while pushes.len() < CHUNK
            && let Some(push) = self.log.try_next().await?
        {
            pushes.push(push);
        }
        let sides = |push: &LogEntry| {
            let change = push.changes.get(&self.component);
            (
                change.and_then(|change| change.before),
                change.and_then(|change| change.after),
            )
        };
        let wanted: std::collections::BTreeSet<_> = pushes
            .iter()
            .flat_map(|push| <[_; 2]>::from(sides(push)))
            .flatten()
            .collect();
        if self.known.len() > REMEMBERED {
            self.known.retain(|hash, _| wanted.contains(hash));
        }
        let (client, object) = (self.client, &self.object);
        let missing: Vec<_> = wanted
            .into_iter()
            .filter(|hash| !self.known.contains_key(hash))
            .collect();
        let fetched = missing.into_iter().map(|hash| async move {
            let bytes = client.objects(&[hash]).await?.pop().unwrap_or_default();
            Ok::<_, Error>((hash, lines::find(&bytes, object)))
        });
        let fetched: Vec<_> = fetched.collect();
        let mut fetched = stream::iter(fetched).buffer_unordered(CONCURRENCY);
        while let Some((hash, manifest)) = fetched.try_next().await? {
            self.known.insert(hash, manifest);
        }
        let at = |hash: Option<ObjectHash>| hash.and_then(|hash| self.known.get(&hash).cloned().flatten());
        let ready = pushes.into_iter().map(|push| {
            let (before, after) = sides(&push);
            Version {
                before: at(before),
                after: at(after),
                push,
            }
        });
        self.ready = ready.collect();
        Ok(())
    }
}
