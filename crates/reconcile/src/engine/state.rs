//! The engine's memory: entries (one per object), components and kinds, and the indices that keep every event O(log n).
//!
//! Owned and updated by the engine's task alone; nothing here sends a request. [`State::settle`] keeps the counts
//! that tell "converged" and "may prune" without looking at all objects.

mod component;
mod counts;
mod entry;
mod hooks;
mod kind;
mod leaving;
mod order;
mod prune;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use driftless_model::{manifest::ManifestId, name::ComponentName, orders::Orders, status::Health};
use jiff::Timestamp;

pub(super) use self::{
    component::{Component, Parent},
    counts::Recount,
    entry::{Claim, Desired, Entry, Issue, Live, Present},
    hooks::{Hooks, RunState},
    kind::{Kind, Serving},
    leaving::Leaving,
    order::Waves,
    prune::Pruning,
};
use super::orders::Paused;
use crate::{
    live::{self, Seen},
    plan::{self, Applied, Facts, Step},
};

/// Names an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u32);

/// Names a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ComponentKey(u32);

/// Names a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KindKey(u32);

/// What an object may have to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gate {
    /// The component must not be paused.
    Paused(ComponentKey),
    /// The component's ApplySet parent must list the object's kind and namespace.
    Parent(ComponentKey),
    /// The object's namespace, or the CRD of its kind, comes first.
    Entry(Key),
    /// The object's kind must be served.
    Kind(KindKey),
    /// A component that this one depends on must be as desired, and do well.
    Component(ComponentKey),
    /// The earlier waves of the component must be ready before this one.
    Wave(ComponentKey, i32),
    /// Another object must be ready.
    After(Key),
    /// The component's first hooks must have succeeded.
    Hooks(ComponentKey),
    /// It must be known whose the object is, among others of its kind.
    Claim(KindKey),
}

/// All of it.
#[derive(Default)]
pub(super) struct State {
    entries: Vec<Option<Entry>>,
    free: Vec<Key>,
    index: BTreeMap<Arc<ManifestId>, Key>,
    components: Vec<Component>,
    component_index: BTreeMap<ComponentName, ComponentKey>,
    kinds: Vec<Kind>,
    kind_index: BTreeMap<(String, String), KindKey>,
    /// Desired Namespaces by name, and desired CRDs by the kind they define.
    pub(super) namespaces: BTreeMap<String, Key>,
    pub(super) definitions: BTreeMap<(String, String), Key>,
    /// Who waits for what.
    waiting: BTreeMap<Gate, BTreeSet<Key>>,
    /// What is to be looked at, by the rank of its kind: what others wait for first, and what goes last of all.
    ready: BTreeMap<u8, VecDeque<Key>>,
    /// What people ask for by hand without what has ended, and when that was looked at.
    pub(super) orders: (Orders, Timestamp),
    /// Components of which other objects are stale than when their prune was weighed.
    pub(super) to_weigh: BTreeSet<ComponentKey>,
    leaving: Leaving,
    /// Was a view taken in?
    pub(super) has_view: bool,
    /// Over all components.
    pub(super) unsynced: u32,
    pub(super) stale: u32,
}

impl State {
    pub(super) fn entry(&self, key: Key) -> Option<&Entry> {
        self.entries[key.0 as usize].as_ref()
    }

    pub(super) fn entry_mut(&mut self, key: Key) -> Option<&mut Entry> {
        self.entries[key.0 as usize].as_mut()
    }

    /// All objects.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.index.values().copied().collect()
    }

    pub(super) fn component(&self, key: ComponentKey) -> &Component {
        &self.components[key.0 as usize]
    }

    pub(super) fn component_mut(&mut self, key: ComponentKey) -> &mut Component {
        &mut self.components[key.0 as usize]
    }

    pub(super) fn kind(&self, key: KindKey) -> &Kind {
        &self.kinds[key.0 as usize]
    }

    pub(super) fn kind_mut(&mut self, key: KindKey) -> &mut Kind {
        &mut self.kinds[key.0 as usize]
    }

    pub(super) fn component_keys(&self) -> Vec<ComponentKey> {
        self.component_index.values().copied().collect()
    }

    pub(super) fn kind_keys(&self) -> Vec<KindKey> {
        self.kind_index.values().copied().collect()
    }

    /// The component of this name, made on the first mention.
    pub(super) fn component_named(&mut self, name: &ComponentName, home: &str) -> ComponentKey {
        if let Some(key) = self.component_index.get(name) {
            return *key;
        }
        let key = ComponentKey(u32::try_from(self.components.len()).expect("fewer than 2^32 components"));
        let mut component = Component::new(name.clone(), home);
        // After a start the orders may be known before what they are about.
        component.set_paused(self.pause(name));
        self.components.push(component);
        self.component_index.insert(name.clone(), key);
        key
    }

    /// The pause of a component, as far as orders were looked at.
    pub(super) fn pause(&self, name: &ComponentName) -> Option<Box<Paused>> {
        let (orders, since) = &self.orders;
        let pause = orders.pause(name, *since)?.clone();
        Some(Box::new(Paused { pause, since: *since }))
    }

    pub(super) fn find_kind(&self, group: &str, name: &str) -> Option<KindKey> {
        self.kind_index.get(&(group.to_owned(), name.to_owned())).copied()
    }

    /// The kind of this name, made on the first mention.
    pub(super) fn kind_named(&mut self, group: &str, name: &str) -> KindKey {
        let index = (group.to_owned(), name.to_owned());
        if let Some(key) = self.kind_index.get(&index) {
            return *key;
        }
        let key = KindKey(u32::try_from(self.kinds.len()).expect("fewer than 2^32 kinds"));
        self.kinds.push(Kind::new(group, name));
        self.kind_index.insert(index, key);
        key
    }

    /// The entry of a live object. A manifest of a custom kind may leave out the namespace `default`.
    pub(super) fn find(&self, id: &ManifestId) -> Option<Key> {
        if let Some(key) = self.index.get(id) {
            return Some(*key);
        }
        if id.namespace.as_deref() != Some("default") {
            return None;
        }
        self.index
            .get(&ManifestId {
                namespace: None,
                ..id.clone()
            })
            .copied()
    }

    /// The entry of an object, made on the first mention.
    pub(super) fn insert(&mut self, id: &ManifestId, applied: Option<Applied>) -> Key {
        if let Some(key) = self.index.get(id) {
            return *key;
        }
        let id = Arc::new(id.clone());
        let kind = self.kind_named(&id.group, &id.kind);
        // What was not there when its kind was listed is known to be absent.
        let live = if self.kind(kind).listed {
            Live::Absent { revision: 0 }
        } else {
            Live::Unknown
        };
        let entry = Entry::new(id.clone(), kind, live, applied);
        let key = match self.free.pop() {
            Some(key) => {
                self.entries[key.0 as usize] = Some(entry);
                key
            }
            None => {
                self.entries.push(Some(entry));
                Key(u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 objects"))
            }
        };
        self.index.insert(id, key);
        key
    }

    /// The entries of a kind.
    pub(super) fn of_kind(&self, kind: KindKey) -> Vec<Key> {
        let Kind { group, name, .. } = self.kind(kind);
        let first = ManifestId {
            group: group.clone(),
            kind: name.clone(),
            namespace: None,
            name: String::new(),
        };
        let of_kind = self
            .index
            .range(first..)
            .take_while(|(id, _)| id.group == *group && id.kind == *name);
        of_kind.map(|(_, key)| *key).collect()
    }

    /// Forgets an entry that nothing needs any more.
    pub(super) fn forget_if_idle(&mut self, key: Key) {
        let Some(entry) = self.entry(key) else { return };
        let gone = matches!(entry.live, Live::Absent { .. });
        if entry.desired.is_none() && gone && !entry.busy && !entry.queued {
            let entry = self.entries[key.0 as usize].take().expect("it was there a line above");
            self.index.remove(&entry.id);
            self.waiting.values_mut().for_each(|keys| {
                keys.remove(&key);
            });
            self.free.push(key);
        }
    }

    /// Takes in what was seen of a live object, unless it is older than what is known. Says whether anything
    /// changed. `listing` is the list or watch it was seen in; a response to a request is none.
    pub(super) fn note_seen(&mut self, key: Key, seen: Seen, home: &str, listing: Option<u64>, now: Timestamp) -> bool {
        let member = seen.component.as_ref().map(|name| self.component_named(name, home));
        let Some(entry) = self.entry_mut(key) else { return false };
        let (mut since, mut in_listing) = (now, listing.unwrap_or_default());
        match &mut entry.live {
            Live::Present(present) => {
                present.listing = listing.unwrap_or(present.listing);
                in_listing = present.listing;
                if !live::is_news(present.revision, seen.revision) {
                    return false;
                }
                if present.health == seen.health {
                    since = present.since;
                }
            }
            Live::Absent { revision } if !live::is_news(*revision, seen.revision) => return false,
            Live::Absent { .. } | Live::Unknown => {}
        }
        entry.live = Live::Present(Present {
            revision: seen.revision,
            uid: seen.uid,
            owned: seen.owned,
            member,
            kept: seen.kept,
            asks: seen.asks,
            changing: seen.changing,
            deleting: seen.deleting,
            health: seen.health,
            outcome: seen.outcome,
            wave: seen.wave,
            after: seen.after,
            run: seen.run,
            message: (!seen.message.is_empty()).then(|| seen.message.into_boxed_str()),
            since,
            listing: in_listing,
        });
        true
    }

    /// Takes in that an object was absent at `revision`. Says whether that is news.
    pub(super) fn note_gone(&mut self, key: Key, revision: u64) -> bool {
        let Some(entry) = self.entry_mut(key) else { return false };
        match &entry.live {
            Live::Present(present) if !live::is_news(present.revision, revision) => return false,
            Live::Absent { .. } => return false,
            Live::Present(_) | Live::Unknown => {}
        }
        entry.live = Live::Absent { revision };
        true
    }

    /// What to do with an object, gates included.
    pub(super) fn step(&self, key: Key) -> Step<Gate> {
        let Some(entry) = self.entry(key) else {
            return Step::Rest;
        };
        if let Some((desired, hook)) = entry.hook() {
            return self.hook_step(key, entry, desired, hook);
        }
        plan::decide(Facts {
            desired: entry.desired.as_ref().map(|desired| desired.digest),
            applied: entry.applied,
            live: entry.plan_live(),
            gate: self.gate(entry),
            order: self
                .order_gate(entry)
                .or_else(|| entry.is_unclaimed().then_some(Gate::Claim(entry.kind))),
            may_prune: self.may_prune(key, entry),
            drift: entry.drift_mode(),
            leave: entry.is_left_alone(),
        })
    }

    /// The first thing that an object has to wait for.
    fn gate(&self, entry: &Entry) -> Option<Gate> {
        let desired = entry.desired.as_ref()?;
        if self.component(desired.component).paused.is_some() {
            return Some(Gate::Paused(desired.component));
        }
        let parent = || (!self.component(desired.component).is_open()).then_some(Gate::Parent(desired.component));
        let definition = || self.definitions.get(&(entry.id.group.clone(), entry.id.kind.clone()));
        let namespace = || self.namespaces.get(entry.id.namespace.as_deref()?);
        let comes_first = |key: &&Key| self.holds_back(**key);
        let entries = || {
            definition()
                .filter(comes_first)
                .or_else(|| namespace().filter(comes_first))
        };
        let served = || !matches!(self.kind(entry.kind).serving, Serving::Served(_));
        parent()
            .or_else(|| entries().map(|key| Gate::Entry(*key)))
            .or_else(|| served().then_some(Gate::Kind(entry.kind)))
            .or_else(|| entry.is_taken_away().then_some(Gate::Claim(entry.kind)))
    }

    /// Must what needs this namespace or CRD wait for it? Not for one that fails: what needs it is tried then and
    /// fails, or works because it is there all the same.
    pub(super) fn holds_back(&self, key: Key) -> bool {
        let Some(entry) = self.entry(key) else { return false };
        // Others go on while its component is paused.
        let is_paused = |component| self.component(component).paused.is_some();
        if entry
            .desired
            .as_ref()
            .is_some_and(|desired| is_paused(desired.component))
        {
            return false;
        }
        let ready = entry.is_synced() && (entry.id.kind == "Namespace" || entry.health() == Health::Current);
        let fails = entry.issue.as_ref().is_some_and(|issue| issue.reason != Issue::STUCK);
        entry.desired.is_some() && !fails && !ready
    }

    fn may_prune(&self, key: Key, entry: &Entry) -> bool {
        let Live::Present(present) = &entry.live else {
            return false;
        };
        let Some(member) = present.member else { return false };
        let component = self.component(member);
        let managed = component.bundle.is_some() || component.parent != Parent::None;
        let (plain, ground) = component.may_prune();
        let may_go = if entry.is_ground() {
            ground
        } else {
            plain.is_some_and(|last| present.wave >= last)
        };
        let admitted = self.has_view && managed && may_go && component.pruning.admits(key, present.asks);
        admitted && !self.is_depended_upon(key, entry)
    }

    pub(super) fn wait(&mut self, key: Key, gate: Gate) {
        self.waiting.entry(gate).or_default().insert(key);
    }

    /// Who waits at a gate; they wait no longer.
    pub(super) fn open(&mut self, gate: Gate) -> BTreeSet<Key> {
        self.waiting.remove(&gate).unwrap_or_default()
    }

    /// Who waits at a gate.
    pub(super) fn waiting_for(&self, gate: Gate) -> Vec<Key> {
        self.waiting.get(&gate).into_iter().flatten().copied().collect()
    }

    pub(super) fn enqueue(&mut self, key: Key) {
        let Some(entry) = self.entry_mut(key) else { return };
        if !entry.queued && !entry.busy {
            entry.queued = true;
            let rank = if entry.desired.is_some() {
                entry.rank
            } else {
                u8::MAX - entry.rank
            };
            self.ready.entry(rank).or_default().push_back(key);
        }
    }

    pub(super) fn dequeue(&mut self) -> Option<Key> {
        let key = loop {
            let mut first = self.ready.first_entry()?;
            match first.get_mut().pop_front() {
                Some(key) => break key,
                None => drop(first.remove()),
            }
        };
        if let Some(entry) = self.entry_mut(key) {
            entry.queued = false;
        }
        Some(key)
    }
}
