//! A view becomes desired entries: what changed is applied at once, what left is pruned.
//!
//! Only components whose bundle changed are looked at, and of those only manifests whose bytes changed are hashed,
//! so that one changed object of ten thousand costs about as much as one of ten.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use driftless_model::{
    definition,
    hook::{self, Hook},
    kinds::{self, Scope as KindScope},
    manifest::{Manifest, ManifestId, Manifests},
    marks::{self, Changing},
    name::ComponentName,
    order,
    view::{ComponentView, View},
};

use super::{
    Engine,
    objection::objection,
    state::{Claim, ComponentKey, Desired, Entry, Gate, Key, Serving},
};
use crate::{
    applyset::{self, Scope},
    ground,
};

/// What was made of a component's manifests.
#[derive(Default)]
struct Taken {
    /// Its objects, and its hooks.
    keys: Vec<Key>,
    hooks: Vec<Key>,
    /// Objects of it that may not be among them any more.
    left: Vec<Key>,
    /// How many manifests are hooks, or never run.
    aside: usize,
    /// Where the objects are.
    scope: Scope,
}

impl Engine {
    /// Makes `view` what is desired.
    pub(super) fn take_in(&mut self, view: &View) {
        self.round += 1;
        let same_collisions = view.collisions == self.collisions;
        let mut touched = BTreeSet::new();
        for (name, desired) in &view.components {
            let key = self.state.component_named(name, &self.settings.namespace);
            let component = self.state.component(key);
            let same = component.bundle == Some(desired.bundle)
                && component.version == Some(desired.version)
                && component.keys.len() + component.aside == desired.manifests.len();
            if !(same && same_collisions) {
                self.take_in_component(key, name, desired, &mut touched);
            }
        }
        for key in self.state.component_keys() {
            let component = self.state.component_mut(key);
            if component.bundle.is_some() && !view.components.contains_key(&component.name) {
                component.bundle = None;
                component.version = None;
                component.held.clear();
                component.scope = Scope::default();
                component.needs.clear();
                component.waves.restart();
                component.dirty = true;
                self.reader.rules.set(&component.name, &[]);
                let mut keys = std::mem::take(&mut component.keys);
                component.manifests = Manifests::default();
                component.aside = 0;
                component.recorded = false;
                keys.extend(component.hooks.take().into_iter().flat_map(|hooks| hooks.keys));
                self.drop_desired(key, keys, &mut touched);
            }
        }
        if !same_collisions {
            self.take_in_collisions(view);
        }
        self.state.has_view = true;
        if let Some(records) = &mut self.records {
            records.clear();
        }
        self.refresh_kinds();
        for key in touched {
            self.touch(key);
        }
        for key in self.state.component_keys() {
            if self.state.component(key).is_ready() {
                self.open(Gate::Component(key));
            }
            self.tend_parent(key);
        }
        self.telling.changed();
    }

    fn take_in_component(
        &mut self,
        component: ComponentKey,
        name: &ComponentName,
        desired: &ComponentView,
        touched: &mut BTreeSet<Key>,
    ) {
        let mut taken = self.take_in_manifests(component, name, desired, touched);
        self.hold(component, desired, &mut taken.keys, &mut taken.scope);
        let needs = desired.spec.depends_on.iter();
        let needs = needs
            .map(|name| self.state.component_named(name, &self.settings.namespace))
            .collect();
        let state = self.state.component_mut(component);
        let old_hooks = state.hooks.as_ref().map(|hooks| hooks.keys.clone()).unwrap_or_default();
        let was_applied = state.was_applied();
        state.aside = taken.aside;
        // What left meanwhile may be free to go now, and what waited for its turn may have it.
        touched.extend(&state.stale);
        if state.waves.since.is_some() {
            touched.extend(&taken.keys);
        }
        state.bundle = Some(desired.bundle);
        state.version = Some(desired.version);
        state.scope = taken.scope;
        state.needs = needs;
        state.waves.restart();
        state.dirty = true;
        state.keys = taken.keys;
        let mut left = taken.left;
        left.extend(old_hooks);
        if !state.stale.is_empty() {
            self.state.to_weigh.insert(component);
        }
        self.begin_hooks(component, desired.version, taken.hooks, was_applied);
        self.set_rules(name, &desired.spec.health);
        self.drop_desired(component, left, touched);
    }

    /// Makes entries of a component's manifests, and its spec the one that they are judged by.
    fn take_in_manifests(
        &mut self,
        component: ComponentKey,
        name: &ComponentName,
        desired: &ComponentView,
        touched: &mut BTreeSet<Key>,
    ) -> Taken {
        let records = self
            .records
            .as_mut()
            .and_then(|records| records.remove(name))
            .unwrap_or_default();
        let state = self.state.component_mut(component);
        let before = std::mem::replace(&mut state.spec, desired.spec.clone());
        let same_spec = before == desired.spec;
        let known = state.keys.clone();
        let was = std::mem::replace(&mut state.manifests, desired.manifests.clone());
        // Then each key is at the place of its manifest, and manifests that are the very ones need no look.
        let is_sure = same_spec && !state.unsure && state.held.is_empty() && known.len() == was.len();
        // Both are in the order of their ids: most objects are found without a search.
        let mut known = known.iter().peekable();
        if (&before.service_account, &before.prune) != (&desired.spec.service_account, &desired.spec.prune) {
            self.record_later(component);
        }
        let mut taken = Taken {
            keys: Vec::with_capacity(desired.manifests.len()),
            ..Taken::default()
        };
        let mut last = None;
        for (manifests, place) in desired.manifests.beside(&was) {
            if let Some(place) = place.filter(|_| is_sure && is_one_place(manifests)) {
                let gone = place - (was.len() - known.len());
                taken.left.extend(known.by_ref().take(gone));
                self.add_to_scope(&mut taken.scope, manifests[0].id());
                taken.keys.extend(known.by_ref().take(manifests.len()));
                continue;
            }
            for manifest in manifests {
                let id = manifest.id();
                // Of nearly all that are as they were it takes no more than this to know it.
                let same = known.next_if(|key| same_spec && self.is_as_it_was(**key, component, manifest));
                let hook = same.is_none().then(|| hook::of(manifest)).flatten();
                taken.aside += usize::from(hook.is_some());
                if hook.as_ref().is_some_and(|hook| hook.runs.is_empty()) {
                    continue;
                }
                let place = place_of(id);
                if last.replace(place) != Some(place) {
                    self.add_to_scope(&mut taken.scope, id);
                }
                if let Some(key) = same {
                    taken.keys.push(*key);
                    continue;
                }
                let beside = |key: &Key| self.state.entry(*key).map(|entry| (*entry.id).cmp(id));
                while let Some(key) = known.next_if(|key| beside(key).is_none_or(Ordering::is_lt)) {
                    taken.left.push(*key);
                }
                let key = match known.next_if(|key| beside(key) == Some(Ordering::Equal)) {
                    Some(key) => *key,
                    None => self.state.insert(id, records.get(id).copied()),
                };
                if hook.is_some() {
                    taken.hooks.push(key);
                } else {
                    taken.keys.push(key);
                }
                let fares_better = self.try_anew(key);
                if self.set_manifest(key, component, name, (manifest, hook, same_spec)) || fares_better {
                    touched.insert(key);
                }
            }
        }
        taken.left.extend(known);
        if !is_sure {
            let is_unsure = |key: &Key| self.state.entry(*key).is_some_and(Entry::is_unsure);
            let unsure = taken.keys.iter().any(is_unsure);
            self.state.component_mut(component).unsure = unsure;
        }
        taken
    }

    /// Forgets why an object failed, where a new version may bring what it failed for. Says whether it may.
    fn try_anew(&mut self, key: Key) -> bool {
        let Some(entry) = self.state.entry_mut(key).filter(|entry| entry.may_fare_better()) else {
            return false;
        };
        entry.claim = Claim::Unasked;
        entry.retry = None;
        entry.failures = 0;
        entry.refused = false;
        true
    }

    /// Is an object desired as this very manifest already, with nothing to be asked anew?
    fn is_as_it_was(&self, key: Key, component: ComponentKey, manifest: &Manifest) -> bool {
        let Some(entry) = self.state.entry(key) else {
            return false;
        };
        let is_same = |desired: &Desired| desired.component == component && desired.manifest.is_same(manifest);
        entry.desired.as_ref().is_some_and(is_same) && !entry.is_unsure()
    }

    /// Adds the place of an object to where a component's objects are.
    fn add_to_scope(&self, scope: &mut Scope, id: &ManifestId) {
        let namespaced = kinds::scope(&id.group, &id.kind) != Some(KindScope::Cluster);
        let namespace = id
            .namespace
            .as_deref()
            .or_else(|| (namespaced && self.is_namespaced(id)).then_some("default"));
        scope.add(id, namespace, &self.settings.namespace);
    }

    /// Lets objects that cannot be worked out stay what they were: one that was desired goes on to be, as it was; one
    /// that is only known to be ours is left in place, since nothing of the component is pruned meanwhile.
    fn hold(&mut self, component: ComponentKey, desired: &ComponentView, keys: &mut Vec<Key>, scope: &mut Scope) {
        let (now, round) = ((self.clock)(), self.round);
        let mut held = BTreeMap::new();
        for object in &desired.held {
            if let Some(key) = self.state.find(&object.id)
                && let Some(was) = self.state.entry_mut(key).and_then(|entry| entry.desired.as_mut())
                && was.component == component
            {
                was.round = round;
                scope.add(&object.id, object.id.namespace.as_deref(), &self.settings.namespace);
                keys.push(key);
            }
            let before = self.state.component(component).held.get(&object.id);
            let since = before.map_or(now, |(_, since)| *since);
            held.insert(object.id.clone(), (object.reason.clone(), since));
        }
        self.state.component_mut(component).held = held;
    }

    /// Is an object's kind known to have namespaces, though it is no built-in one?
    fn is_namespaced(&self, id: &ManifestId) -> bool {
        self.state.find_kind(&id.group, &id.kind).is_some_and(
            |kind| matches!(&self.state.kind(kind).serving, Serving::Served(resource) if resource.namespaced),
        )
    }

    /// Sets what an object should be. Says whether that is new.
    fn set_manifest(
        &mut self,
        key: Key,
        component: ComponentKey,
        name: &ComponentName,
        (manifest, hook, same_spec): (&Manifest, Option<Hook>, bool),
    ) -> bool {
        let round = self.round;
        let spec = self.state.component(component).spec.clone();
        let entry = self.state.entry_mut(key).expect("it was inserted by the caller");
        let kind = entry.kind;
        if let Some(desired) = &mut entry.desired
            && same_spec
            && desired.component == component
            && desired.manifest == *manifest
        {
            desired.round = round;
            return false;
        }
        let order = order::is_concerned(manifest.canonical())
            .then(|| order::read(&manifest.value()).ok())
            .flatten()
            .unwrap_or_default();
        let depends = !order.depends_on.is_empty();
        let marked = applyset::has_annotations(manifest).then(|| manifest.value());
        entry.desired = Some(Desired {
            component,
            wave: order.wave,
            hook: hook.map(Box::new),
            after: depends.then(|| order.depends_on.into()),
            digest: applyset::manifest_digest(manifest, name),
            force: applyset::forces_conflicts(manifest),
            changing: marked.as_ref().map_or(Changing::Free, marks::changing),
            replace: marked.as_ref().is_some_and(marks::is_replaced),
            drift: spec.drift,
            objection: objection(manifest, &spec),
            manifest: manifest.clone(),
            round,
        });
        entry.failures = 0;
        entry.refused = false;
        entry.retry = None;
        entry.issue = None;
        entry.pruning = false;
        self.expected
            .set(&entry.id, entry.applied.and_then(|applied| applied.owned));
        let served = self.state.kind_mut(kind);
        if !matches!(served.serving, Serving::Served(_)) && served.version.as_deref() != Some(manifest.version()) {
            served.version = Some(manifest.version().to_owned());
            served.retry = None;
        }
        if depends {
            self.add_dependents(component, kind);
        }
        if ground::is_namespace(manifest.id()) {
            self.state.namespaces.insert(manifest.id().name.clone(), key);
        }
        if let Some(defined) = definition::read(manifest) {
            self.state.definitions.insert((defined.group, defined.kind), key);
        }
        true
    }

    /// Lets go of those of a component's objects that were not in this view.
    fn drop_desired(&mut self, component: ComponentKey, keys: Vec<Key>, touched: &mut BTreeSet<Key>) {
        for key in keys {
            let Some(entry) = self.state.entry_mut(key) else {
                continue;
            };
            let left = |desired: &Desired| desired.component == component && desired.round != self.round;
            if entry.desired.as_ref().is_some_and(left) {
                entry.desired = None;
                entry.applied = None;
                entry.failures = 0;
                entry.retry = None;
                entry.issue = None;
                entry.drifted = None;
                entry.change = None;
                self.expected.set(&entry.id, None);
                touched.insert(key);
                self.state.namespaces.retain(|_, it| *it != key);
                self.state.definitions.retain(|_, it| *it != key);
            }
        }
    }

    fn take_in_collisions(&mut self, view: &View) {
        let now = (self.clock)();
        let mut by_component: BTreeMap<&ComponentName, Vec<_>> = BTreeMap::new();
        for collision in &view.collisions {
            by_component.entry(&collision.dropped).or_default().push(collision);
        }
        for key in self.state.component_keys() {
            let component = self.state.component_mut(key);
            let collisions = by_component.get(&component.name).map(Vec::as_slice).unwrap_or_default();
            let since = |id| component.collisions.get(id).map_or(now, |(_, since)| *since);
            component.collisions = collisions
                .iter()
                .map(|collision| (collision.id.clone(), (collision.to_string(), since(&collision.id))))
                .collect();
            component.dirty = true;
        }
        self.collisions.clone_from(&view.collisions);
    }
}

/// Where an object is, but for its name.
fn place_of(id: &ManifestId) -> (&str, &str, Option<&str>) {
    (&id.group, &id.kind, id.namespace.as_deref())
}

/// Are they of one kind and namespace? They are in the order of their ids.
fn is_one_place(manifests: &[Manifest]) -> bool {
    let ends = manifests.first().zip(manifests.last());
    ends.is_some_and(|(first, last)| place_of(first.id()) == place_of(last.id()))
}
