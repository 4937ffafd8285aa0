//! The objects of one cluster and their recent history, kept small: an object is its JSON text.
//!
//! Owned by `state`; the write path puts and removes, reads and watches look. It assigns resource versions and knows
//! nothing of validation, ownership of fields or controllers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::convert;
use crate::kinds::Kind;

/// Namespace and name.
pub(crate) type Key = (String, String);

/// Where an object is.
pub(crate) type Place = (Arc<str>, Key);

/// Event history never grows past this, whatever a slow watch still waits for.
const HARD_BOUND: usize = 20_000;

/// One version of one object.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) kind: Arc<Kind>,
    pub(crate) key: Key,
    pub(crate) uid: String,
    pub(crate) version: u64,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) owners: Vec<String>,
    pub(crate) terminating: bool,
    /// The object in its stored version, without `kind` and `apiVersion`.
    body: Bytes,
}

impl Stored {
    fn new(kind: &Arc<Kind>, object: &Value, version: u64) -> Self {
        let metadata = &object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
        let mut body = object.clone();
        if let Some(map) = body.as_object_mut() {
            map.remove("kind");
            map.remove("apiVersion");
        }
        body["metadata"]["resourceVersion"] = json!(version.to_string());
        Self {
            kind: Arc::clone(kind),
            key: (text(&metadata["namespace"]), text(&metadata["name"])),
            uid: text(&metadata["uid"]),
            version,
            labels: labels.map(|(key, value)| (key.clone(), text(value))).collect(),
            owners: owners.map(|owner| text(&owner["uid"])).collect(),
            terminating: metadata["deletionTimestamp"].is_string(),
            body: Bytes::from(body.to_string()),
        }
    }

    fn fields(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the store wrote it")
    }

    /// The object in its stored version.
    pub(crate) fn value(&self) -> Value {
        let mut out = self.fields();
        out["kind"] = json!(self.kind.kind);
        out["apiVersion"] = json!(self.kind.api_version(self.kind.stored));
        out
    }

    /// The object as `kind` shows it in its version `version`.
    pub(crate) fn view(&self, kind: &Kind, version: usize) -> Value {
        convert::to_version(&self.kind, self.kind.stored, kind, version, self.value())
    }

    /// JSON text of [`Stored::view`]; items of built-in lists carry no kind.
    pub(crate) fn text(&self, kind: &Kind, version: usize, in_list: bool, out: &mut Vec<u8>) {
        let mut head = String::new();
        if !in_list || kind.custom {
            head = format!(
                "\"kind\":{:?},\"apiVersion\":{:?}",
                kind.kind,
                kind.api_version(version)
            );
        }
        out.push(b'{');
        out.extend_from_slice(head.as_bytes());
        if !head.is_empty() && self.body.len() > 2 {
            out.push(b',');
        }
        if convert::is_plain(&self.kind, self.kind.stored, kind, version) {
            out.extend_from_slice(&self.body[1..]);
        } else {
            let mut view = self.view(kind, version);
            if let Some(map) = view.as_object_mut() {
                map.remove("kind");
                map.remove("apiVersion");
            }
            out.extend_from_slice(&view.to_string().as_bytes()[1..]);
        }
    }

    pub(crate) fn place(&self) -> Place {
        (Arc::clone(&self.kind.store), self.key.clone())
    }

    /// The same object with another resource version, as a watch shows one that left its selection.
    pub(crate) fn at(&self, version: u64) -> Self {
        Self::new(&self.kind, &self.fields(), version)
    }
}

/// One change.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) old: Option<Arc<Stored>>,
    /// `None` when it was removed; then `old` has the version of the removal.
    pub(crate) new: Option<Arc<Stored>>,
}

impl Change {
    pub(crate) fn subject(&self) -> &Arc<Stored> {
        self.new
            .as_ref()
            .or(self.old.as_ref())
            .expect("a change has an old or a new object")
    }
}

/// All objects of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Store {
    version: u64,
    objects: BTreeMap<Arc<str>, BTreeMap<Key, Arc<Stored>>>,
    uids: BTreeMap<String, Place>,
    dependents: BTreeMap<String, BTreeSet<Place>>,
    history: VecDeque<Change>,
    /// Watches from before this version are told that it is too old.
    floor: u64,
    bound: usize,
    topics: BTreeMap<Arc<str>, watch::Sender<u64>>,
    /// How far each open watch has read.
    cursors: BTreeMap<u64, u64>,
    next_cursor: u64,
    /// Changes that controllers have not seen yet.
    pub(crate) unseen: VecDeque<Change>,
}

impl Store {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            bound,
            ..Self::default()
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.values().map(BTreeMap::len).sum()
    }

    pub(crate) fn get(&self, store: &str, namespace: &str, name: &str) -> Option<&Arc<Stored>> {
        self.objects.get(store)?.get(&(namespace.to_owned(), name.to_owned()))
    }

    pub(crate) fn at(&self, place: &Place) -> Option<&Arc<Stored>> {
        self.objects.get(&place.0)?.get(&place.1)
    }

    /// All of one resource, by namespace and name.
    pub(crate) fn all(&self, store: &str) -> impl Iterator<Item = &Arc<Stored>> {
        self.objects.get(store).into_iter().flat_map(BTreeMap::values)
    }

    /// All that is in a namespace.
    pub(crate) fn within(&self, namespace: &str) -> Vec<Arc<Stored>> {
        let all = self.objects.values().flat_map(BTreeMap::values);
        all.filter(|object| object.key.0 == namespace).cloned().collect()
    }

    pub(crate) fn by_uid(&self, uid: &str) -> Option<&Arc<Stored>> {
        self.at(self.uids.get(uid)?)
    }

    pub(crate) fn dependents(&self, uid: &str) -> Vec<Arc<Stored>> {
        let places = self.dependents.get(uid).into_iter().flatten();
        places.filter_map(|place| self.at(place)).cloned().collect()
    }

    /// Stores `object`, in its stored version, under the next resource version.
    pub(crate) fn put(&mut self, kind: &Arc<Kind>, object: &Value) -> Arc<Stored> {
        self.version += 1;
        let stored = Arc::new(Stored::new(kind, object, self.version));
        let place = stored.place();
        let old = self
            .objects
            .entry(Arc::clone(&place.0))
            .or_default()
            .insert(place.1.clone(), Arc::clone(&stored));
        if let Some(old) = &old {
            self.unlink(old);
        }
        self.uids.insert(stored.uid.clone(), place.clone());
        for owner in &stored.owners {
            self.dependents.entry(owner.clone()).or_default().insert(place.clone());
        }
        self.record(Change {
            version: self.version,
            old,
            new: Some(Arc::clone(&stored)),
        });
        stored
    }

    /// Removes an object.
    pub(crate) fn remove(&mut self, place: &Place) -> Option<Arc<Stored>> {
        let old = self.objects.get_mut(&place.0)?.remove(&place.1)?;
        self.version += 1;
        self.unlink(&old);
        self.uids.remove(&old.uid);
        let last = Arc::new(old.at(self.version));
        self.record(Change {
            version: self.version,
            old: Some(Arc::clone(&last)),
            new: None,
        });
        Some(last)
    }

    fn unlink(&mut self, old: &Stored) {
        let place = old.place();
        for owner in &old.owners {
            if let Some(places) = self.dependents.get_mut(owner) {
                places.remove(&place);
                if places.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
    }

    fn record(&mut self, change: Change) {
        let store = &change.subject().kind.store;
        if let Some(topic) = self.topics.get(store) {
            topic.send_replace(change.version);
        }
        self.unseen.push_back(change.clone());
        self.history.push_back(change);
        let slowest = self.cursors.values().min().copied().unwrap_or(u64::MAX);
        while self.history.len() > self.bound {
            let oldest = self.history.front().map_or(0, |change| change.version);
            if oldest > slowest && self.history.len() <= HARD_BOUND {
                break;
            }
            self.floor = oldest;
            self.history.pop_front();
        }
    }

    /// Forgets all history.
    pub(crate) fn compact(&mut self) {
        self.history.clear();
        self.floor = self.version;
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Opens a reader of changes after `from`, and what tells it of new ones.
    pub(crate) fn subscribe(&mut self, store: &Arc<str>, from: u64) -> (u64, watch::Receiver<u64>) {
        self.next_cursor += 1;
        self.cursors.insert(self.next_cursor, from);
        let topic = self
            .topics
            .entry(Arc::clone(store))
            .or_insert_with(|| watch::Sender::new(0));
        (self.next_cursor, topic.subscribe())
    }

    pub(crate) fn unsubscribe(&mut self, cursor: u64) {
        self.cursors.remove(&cursor);
    }

    /// The changes of one resource after `from`; the reader `cursor` has then read all there are.
    ///
    /// # Errors
    /// The floor, when some of them are forgotten.
    pub(crate) fn changes(&mut self, store: &str, from: u64, cursor: u64) -> Result<Vec<Change>, u64> {
        if from < self.floor {
            return Err(self.floor);
        }
        let start = self.history.partition_point(|change| change.version <= from);
        let new = self
            .history
            .range(start..)
            .filter(|change| *change.subject().kind.store == *store);
        let out = new.cloned().collect();
        if let Some(read) = self.cursors.get_mut(&cursor) {
            *read = self.version;
        }
        Ok(out)
    }
}
