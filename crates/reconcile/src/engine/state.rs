//! The engine's memory: entries (one per object), components and kinds, and the indices that keep every event O(log n).
//!
//! Owned and updated by the engine's task alone; nothing here sends a request. [`State::settle`] keeps the counts
//! that tell "converged" and "may prune" without looking at all objects.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use driftless_model::{
    hash::ObjectHash,
    manifest::{Manifest, ManifestId},
    name::ComponentName,
    status::{ComponentStatus, Health},
};
use jiff::Timestamp;
use tokio::{task::AbortHandle, time::Instant};

use crate::{
    api::Resource,
    applyset::{self, Scope},
    digest::Digest,
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

/// What an object may have to wait for. Waves, hooks and `depends-on` will be further gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gate {
    /// The component's ApplySet parent must list the object's kind and namespace.
    Parent(ComponentKey),
    /// The object's namespace, or the CRD of its kind, comes first.
    Entry(Key),
    /// The object's kind must be served.
    Kind(KindKey),
}

/// What an object should be.
pub(super) struct Desired {
    pub(super) component: ComponentKey,
    pub(super) manifest: Manifest,
    pub(super) digest: Digest,
    /// Does it take fields from others?
    pub(super) force: bool,
    /// In which view it was seen last.
    pub(super) round: u64,
}

/// What is known of the live object.
pub(super) enum Live {
    Unknown,
    Absent {
        /// At which revision it was known to be absent.
        revision: u64,
    },
    Present(Present),
}

/// A live object.
pub(super) struct Present {
    pub(super) revision: u64,
    pub(super) owned: Option<Digest>,
    pub(super) member: Option<ComponentKey>,
    pub(super) kept: bool,
    pub(super) deleting: bool,
    pub(super) health: Health,
    pub(super) message: Option<Box<str>>,
    /// Since when it does so.
    pub(super) since: Timestamp,
    /// In which list it was seen last.
    pub(super) listing: u64,
}

/// What stands in an object's way.
#[derive(Debug, Clone)]
pub(super) struct Issue {
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) since: Timestamp,
}

/// How an object is counted at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tally {
    unsynced: Option<ComponentKey>,
    stale: Option<ComponentKey>,
    member: Option<ComponentKey>,
}

/// One object.
pub(super) struct Entry {
    pub(super) id: Arc<ManifestId>,
    pub(super) kind: KindKey,
    pub(super) desired: Option<Desired>,
    pub(super) applied: Option<Applied>,
    pub(super) live: Live,
    /// A request is under way.
    pub(super) busy: bool,
    /// It is in a queue.
    pub(super) queued: bool,
    /// Not before then.
    pub(super) retry: Option<Instant>,
    pub(super) failures: u32,
    pub(super) issue: Option<Box<Issue>>,
    /// When drift was seen that is not repaired yet.
    pub(super) drifted: Option<Instant>,
    /// When it was repaired last, and how often in short succession.
    pub(super) repaired: Option<(Instant, u32)>,
    /// Repairs wait until then: somebody else keeps changing it.
    pub(super) not_before: Option<Instant>,
    /// We asked for its deletion.
    pub(super) pruning: bool,
    tally: Tally,
}

/// The ApplySet parent of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parent {
    None,
    Ours(Scope),
}

/// One component.
pub(super) struct Component {
    pub(super) name: ComponentName,
    pub(super) set: Arc<str>,
    /// Its bundle, if it is desired.
    pub(super) bundle: Option<ObjectHash>,
    /// Its desired objects.
    pub(super) keys: Vec<Key>,
    /// Where they are.
    pub(super) scope: Scope,
    pub(super) parent: Parent,
    pub(super) parent_busy: bool,
    pub(super) parent_retry: Option<Instant>,
    pub(super) parent_failures: u32,
    /// When the record is to be written, if what was applied changed.
    pub(super) record_due: Option<Instant>,
    pub(super) record_written: Option<Instant>,
    pub(super) issue: Option<Issue>,
    pub(super) collisions: BTreeMap<ManifestId, (String, Timestamp)>,
    /// How many desired objects are not as desired.
    pub(super) unsynced: u32,
    /// Members that are not desired any more, and how many of them are neither namespaces nor CRDs.
    pub(super) stale: BTreeSet<Key>,
    pub(super) plain_stale: u32,
    /// Live objects that carry its labels.
    pub(super) members: u32,
    /// Its status changed since it was reported.
    pub(super) dirty: bool,
    pub(super) status: ComponentStatus,
}

/// Is a kind served?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Serving {
    /// Being asked.
    Asked,
    /// Yes, so.
    Served(Arc<Resource>),
    /// No.
    Missing,
    /// Its API does not answer; says how.
    Broken(String),
}

/// One kind that matters.
pub(super) struct Kind {
    pub(super) group: String,
    pub(super) name: String,
    /// The version that manifests are written in; `None` where only an ApplySet parent names the kind.
    pub(super) version: Option<String>,
    pub(super) serving: Serving,
    pub(super) retry: Option<Instant>,
    pub(super) failures: u32,
    /// Its watch: id and handle.
    pub(super) watch: Option<(u64, AbortHandle)>,
    /// Was a list completed since the watch began?
    pub(super) listed: bool,
    /// The number of the current or last list.
    pub(super) listing: u64,
    /// Why the watch does not work, and since when.
    pub(super) trouble: Option<Issue>,
    /// Does anything need it at the moment?
    pub(super) needed: bool,
}

/// A component's counts changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recount {
    pub(super) component: ComponentKey,
    /// What left the desired state may go now, and could not before.
    pub(super) prune: bool,
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
    /// What is to be looked at: what others wait for first.
    ready: [VecDeque<Key>; 2],
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
        self.components.push(Component::new(name.clone(), home));
        self.component_index.insert(name.clone(), key);
        key
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
            owned: seen.owned,
            member,
            kept: seen.kept,
            deleting: seen.deleting,
            health: seen.health,
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
        plan::decide(Facts {
            desired: entry.desired.as_ref().map(|desired| desired.digest),
            applied: entry.applied,
            live: entry.plan_live(),
            gate: self.gate(entry),
            may_prune: self.may_prune(entry),
        })
    }

    /// The first thing that an object has to wait for.
    fn gate(&self, entry: &Entry) -> Option<Gate> {
        let desired = entry.desired.as_ref()?;
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
    }

    /// Must what needs this namespace or CRD wait for it? Not for one that fails: what needs it is tried then and
    /// fails, or works because it is there all the same.
    pub(super) fn holds_back(&self, key: Key) -> bool {
        let Some(entry) = self.entry(key) else { return false };
        let ready = entry.is_synced() && (entry.id.kind == "Namespace" || entry.health() == Health::Current);
        entry.desired.is_some() && entry.issue.is_none() && !ready
    }

    fn may_prune(&self, entry: &Entry) -> bool {
        let Live::Present(Present {
            member: Some(member), ..
        }) = entry.live
        else {
            return false;
        };
        let component = self.component(member);
        let managed = component.bundle.is_some() || component.parent != Parent::None;
        let (plain, ground) = component.may_prune();
        self.has_view && managed && if entry.is_ground() { ground } else { plain }
    }

    /// Counts an object anew after a change. Says which components' counts changed.
    pub(super) fn settle(&mut self, key: Key) -> Vec<Recount> {
        let Some(entry) = self.entry_mut(key) else {
            return Vec::new();
        };
        let (old, new, ground) = (entry.tally, entry.tally_now(), entry.is_ground());
        entry.tally = new;
        let mut touched: Vec<_> = [old.unsynced, new.unsynced, old.stale, new.stale, old.member, new.member]
            .into_iter()
            .flatten()
            .collect();
        touched.extend(entry.desired.as_ref().map(|desired| desired.component));
        touched.sort_unstable();
        touched.dedup();
        for component in &touched {
            self.component_mut(*component).dirty = true;
        }
        if old == new {
            return Vec::new();
        }
        let before: Vec<_> = touched
            .iter()
            .map(|component| self.component(*component).may_prune())
            .collect();
        if let Some(component) = old.unsynced {
            self.component_mut(component).unsynced -= 1;
            self.unsynced -= 1;
        }
        if let Some(component) = new.unsynced {
            self.component_mut(component).unsynced += 1;
            self.unsynced += 1;
        }
        if let Some(component) = old.member {
            self.component_mut(component).members -= 1;
        }
        if let Some(component) = new.member {
            self.component_mut(component).members += 1;
        }
        if old.stale != new.stale {
            if let Some(component) = old.stale {
                let component = self.component_mut(component);
                component.stale.remove(&key);
                component.plain_stale -= u32::from(!ground);
                self.stale -= 1;
            }
            if let Some(component) = new.stale {
                let component = self.component_mut(component);
                component.stale.insert(key);
                component.plain_stale += u32::from(!ground);
                self.stale += 1;
            }
        }
        let recount = |(component, before): (ComponentKey, (bool, bool))| {
            let now = self.component(component).may_prune();
            Recount {
                component,
                prune: (now.0 && !before.0) || (now.1 && !before.1),
            }
        };
        touched.into_iter().zip(before).map(recount).collect()
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
            let queue = usize::from(!entry.is_ground());
            self.ready[queue].push_back(key);
        }
    }

    pub(super) fn dequeue(&mut self) -> Option<Key> {
        let key = self.ready.iter_mut().find_map(VecDeque::pop_front)?;
        if let Some(entry) = self.entry_mut(key) {
            entry.queued = false;
        }
        Some(key)
    }
}

impl Entry {
    fn new(id: Arc<ManifestId>, kind: KindKey, live: Live, applied: Option<Applied>) -> Self {
        Self {
            id,
            kind,
            desired: None,
            applied,
            live,
            busy: false,
            queued: false,
            retry: None,
            failures: 0,
            issue: None,
            drifted: None,
            repaired: None,
            not_before: None,
            pruning: false,
            tally: Tally::default(),
        }
    }

    /// Is it what others stand on: first to come, last to go?
    pub(super) fn is_ground(&self) -> bool {
        matches!(
            (self.id.group.as_str(), self.id.kind.as_str()),
            ("", "Namespace") | ("apiextensions.k8s.io", "CustomResourceDefinition")
        )
    }

    fn plan_live(&self) -> plan::Live {
        match &self.live {
            Live::Unknown => plan::Live::Unknown,
            Live::Absent { .. } => plan::Live::Absent,
            Live::Present(present) if present.deleting => plan::Live::Deleting,
            Live::Present(present) => plan::Live::Present {
                owned: present.owned,
                prunable: present.member.is_some() && !present.kept,
            },
        }
    }

    /// Is it as desired, as far as known?
    pub(super) fn is_synced(&self) -> bool {
        let facts = Facts {
            desired: self.desired.as_ref().map(|desired| desired.digest),
            applied: self.applied,
            live: self.plan_live(),
            gate: None::<Gate>,
            may_prune: false,
        };
        self.desired.is_some() && plan::decide(facts) == Step::Rest
    }

    pub(super) fn health(&self) -> Health {
        match &self.live {
            Live::Present(present) => present.health,
            Live::Unknown if self.applied.is_some() => Health::Unknown,
            Live::Absent { .. } if self.issue.is_some() => Health::NotFound,
            Live::Unknown | Live::Absent { .. } => Health::InProgress,
        }
    }

    fn tally_now(&self) -> Tally {
        let member = match &self.live {
            Live::Present(present) if !present.kept => present.member,
            _ => None,
        };
        Tally {
            unsynced: self
                .desired
                .as_ref()
                .filter(|_| !self.is_synced())
                .map(|desired| desired.component),
            stale: member.filter(|_| self.desired.is_none()),
            member,
        }
    }
}

impl Component {
    fn new(name: ComponentName, home: &str) -> Self {
        Self {
            set: applyset::id(&name, home).into(),
            name,
            bundle: None,
            keys: Vec::new(),
            scope: Scope::default(),
            parent: Parent::None,
            parent_busy: false,
            parent_retry: None,
            parent_failures: 0,
            record_due: None,
            record_written: None,
            issue: None,
            collisions: BTreeMap::new(),
            unsynced: 0,
            stale: BTreeSet::new(),
            plain_stale: 0,
            members: 0,
            dirty: true,
            status: ComponentStatus::default(),
        }
    }

    /// May what left it go: plain objects, and then namespaces and CRDs?
    fn may_prune(&self) -> (bool, bool) {
        (self.unsynced == 0, self.unsynced == 0 && self.plain_stale == 0)
    }

    /// Does its parent list every kind and namespace of what is desired?
    pub(super) fn is_open(&self) -> bool {
        matches!(&self.parent, Parent::Ours(scope) if scope.covers(&self.scope))
    }
}

impl Kind {
    fn new(group: &str, name: &str) -> Self {
        Self {
            group: group.to_owned(),
            name: name.to_owned(),
            version: None,
            serving: Serving::Missing,
            retry: None,
            failures: 0,
            watch: None,
            listed: false,
            listing: 0,
            trouble: None,
            needed: false,
        }
    }
}
