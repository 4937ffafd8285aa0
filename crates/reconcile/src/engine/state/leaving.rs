//! What left and depends on others that left: it goes before them.
//!
//! What an object depended on is no longer in the desired state when it has left: it is read from the live object, as
//! cli-utils does. Kept up as objects leave and go; knows nothing of nearly all objects, which depend on none.

use std::collections::{BTreeMap, BTreeSet};

use driftless_model::manifest::ManifestId;

use super::{ComponentKey, Entry, Key, KindKey, Live, Parent, State};

/// The dependencies of what left.
#[derive(Default)]
pub(crate) struct Leaving {
    /// What left and is still there, by what it depends on.
    dependents: BTreeMap<ManifestId, BTreeSet<Key>>,
    /// What each of them depends on.
    of: BTreeMap<Key, Box<[ManifestId]>>,
}

impl State {
    /// A kind of which it is not known which objects there are, while some may have left and depend on what others have:
    /// because some did depend on others, or because nothing was ever seen of it yet. Only where a component has objects
    /// of it: of all others nothing is watched.
    pub(crate) fn unknown_dependents(&self) -> Option<KindKey> {
        let components = self.component_index.values().map(|key| self.component(*key));
        let mut places = components.flat_map(|component| {
            let scope = match &component.parent {
                Parent::Ours(scope) => Some(scope),
                Parent::None => None,
            };
            let kinds = scope.into_iter().flat_map(|scope| &scope.kinds);
            kinds.map(|place| (place, component.dependents.contains(place)))
        });
        places.find_map(|(place, depends)| {
            let key = self.find_kind(&place.0, &place.1)?;
            let kind = self.kind(key);
            (kind.is_being_learnt() || depends && !kind.is_known()).then_some(key)
        })
    }

    /// Takes in which kinds of a component's objects depend on others: those that it has, and those that it had as long
    /// as it is not known whether something of them is left.
    pub(crate) fn note_dependents(&mut self, key: ComponentKey) {
        let component = self.component(key);
        let mut kinds = BTreeSet::new();
        for entry in component.keys.iter().filter_map(|key| self.entry(*key)) {
            if entry.desired.as_ref().is_some_and(|desired| desired.after.is_some()) {
                kinds.insert(entry.kind);
            }
        }
        for key in component.stale.iter().filter(|key| self.leaving.of.contains_key(key)) {
            kinds.extend(self.entry(*key).map(|entry| entry.kind));
        }
        let unknown = |place: &&(String, String)| {
            let kind = self.find_kind(&place.0, &place.1);
            kind.is_none_or(|kind| !self.kind(kind).is_known())
        };
        let mut dependents: BTreeSet<_> = component.dependents.iter().filter(unknown).cloned().collect();
        dependents.extend(kinds.into_iter().map(|kind| self.kind(kind).place()));
        self.component_mut(key).dependents = dependents;
    }

    /// Takes in whether an object is among those that left. Says what it holds up no longer.
    pub(crate) fn note_leaving(&mut self, key: Key) -> Vec<Key> {
        let leaves = self.entry(key).filter(|entry| entry.tally.stale.is_some());
        let now = match leaves.map(|entry| &entry.live) {
            Some(Live::Present(present)) => present.after.as_deref(),
            _ => None,
        };
        if self.leaving.of.get(&key).map(|it| &**it) == now {
            return Vec::new();
        }
        let now: Option<Box<[ManifestId]>> = now.map(Into::into);
        let before = self.leaving.of.remove(&key).unwrap_or_default();
        for id in &before {
            if let Some(dependents) = self.leaving.dependents.get_mut(id) {
                dependents.remove(&key);
                if dependents.is_empty() {
                    self.leaving.dependents.remove(id);
                }
            }
        }
        if let Some(now) = now {
            for id in &now {
                self.leaving.dependents.entry(id.clone()).or_default().insert(key);
            }
            self.leaving.of.insert(key, now);
        }
        before.iter().filter_map(|id| self.find(id)).collect()
    }

    /// Is something still there that left, and depends on this? Not what waits for it in turn: of objects that depend on
    /// each other, or on what goes before them by its wave, the others come first.
    pub(super) fn is_depended_upon(&self, key: Key, entry: &Entry) -> bool {
        let dependents = self.leaving.dependents.get(&entry.id).into_iter().flatten();
        dependents.copied().any(|it| it != key && !self.goes_after(it, key))
    }

    /// Does what left go after something else that left, if maybe by way of others?
    fn goes_after(&self, key: Key, other: Key) -> bool {
        let mut seen = BTreeSet::from([key]);
        let mut left = vec![key];
        let mut asked = BTreeMap::new();
        while let Some(key) = left.pop() {
            for before in self.going_before(key, &mut asked) {
                if before == other {
                    return true;
                }
                if seen.insert(before) {
                    left.push(before);
                }
            }
        }
        false
    }

    /// What goes right before an object. Of each component that which goes before some turn is told once, as `asked` says.
    fn going_before(&self, key: Key, asked: &mut BTreeMap<ComponentKey, Option<i32>>) -> Vec<Key> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        let dependents = self.leaving.dependents.get(&entry.id).into_iter().flatten();
        let mut before: Vec<_> = dependents.copied().collect();
        if let Some((component, turn)) = turn(entry)
            && self.component(component).last_stale_wave() > turn
            && asked.get(&component).is_none_or(|asked| turn < *asked)
        {
            asked.insert(component, turn);
            let comes_before = |key: &&Key| {
                let other = self.entry(**key).and_then(self::turn);
                other.is_some_and(|(_, other)| other > turn)
            };
            before.extend(self.component(component).stale.iter().filter(comes_before));
        }
        before
    }
}

/// When it is what left's turn, by its wave alone: the highest first, and last of all, without any, what others stand on.
fn turn(entry: &Entry) -> Option<(ComponentKey, Option<i32>)> {
    let (component, wave) = entry.tally.stale?;
    Some((component, (!entry.is_ground()).then_some(wave)))
}
