//! What a push takes, and what it tells while and after it runs.

use std::collections::{BTreeMap, BTreeSet};

use driftless_model::{
    bundle::Bundle,
    hash::ObjectHash,
    name::{ChannelName, ComponentName},
};
use serde::Serialize;

/// New versions of some components of one channel. They take effect together or not at all.
#[derive(Debug, Clone)]
pub struct Push {
    /// The channel.
    pub channel: ChannelName,
    /// The new versions, one per component.
    pub bundles: Vec<Bundle>,
    /// Components to remove.
    pub remove: BTreeSet<ComponentName>,
    /// Bundles that the store is known to have, such as those that the channel is at: the server is not asked about
    /// them. Should one be gone after all, it is uploaded.
    pub known: BTreeSet<ObjectHash>,
    /// What the push is built upon; absent: whatever is there is overwritten.
    pub expected_parent: Option<Parent>,
    /// Why.
    pub message: String,
    /// Where the manifests come from: `host`, `path`, `commit` and the like.
    pub source: BTreeMap<String, String>,
    /// By what the server knows this push when it comes again; absent: one is drawn, and sent with every repetition
    /// of the request. Set it to repeat a push from another process: the same key, with the very same push.
    pub idempotency_key: Option<String>,
}

/// What a channel held when a push was prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// Nothing: nobody had pushed to the channel yet.
    Empty,
    /// This snapshot.
    Snapshot(ObjectHash),
}

impl Push {
    /// A push to `channel` that changes nothing yet.
    pub fn new(channel: ChannelName) -> Self {
        Self {
            channel,
            bundles: Vec::new(),
            remove: BTreeSet::new(),
            known: BTreeSet::new(),
            expected_parent: None,
            message: String::new(),
            source: BTreeMap::new(),
            idempotency_key: None,
        }
    }

    /// Adds a new version of a component.
    #[must_use]
    pub fn bundle(mut self, bundle: Bundle) -> Self {
        self.bundles.push(bundle);
        self
    }

    /// Removes a component.
    #[must_use]
    pub fn remove(mut self, component: ComponentName) -> Self {
        self.remove.insert(component);
        self
    }

    /// Says which bundles the store has; see [`Push::known`].
    #[must_use]
    pub fn known(mut self, bundles: impl IntoIterator<Item = ObjectHash>) -> Self {
        self.known.extend(bundles);
        self
    }

    /// Says why.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Says where the manifests come from: a fact and its value, for example `commit`. People see them in the log.
    #[must_use]
    pub fn source(mut self, fact: impl Into<String>, value: impl Into<String>) -> Self {
        self.source.insert(fact.into(), value.into());
        self
    }

    /// Says what the push is built upon: it is refused when somebody changed one of its components since.
    #[must_use]
    pub fn built_upon(mut self, parent: Parent) -> Self {
        self.expected_parent = Some(parent);
        self
    }

    /// Says by what the server shall know this push when it comes again; see [`Push::idempotency_key`].
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

/// How far a push is. Small bundles go along with the change itself: then there is nothing to tell but that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The server was asked which of the objects it lacks.
    Compared {
        /// All objects of the push.
        objects: usize,
        /// Those that have to be uploaded.
        missing: usize,
    },
    /// Some objects were stored.
    Uploaded {
        /// Stored so far.
        objects: usize,
        /// To store in all.
        of: usize,
        /// Compressed bytes sent so far.
        bytes: usize,
    },
    /// Everything is there; the change itself is on its way.
    Publishing,
}

/// What a push came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pushed {
    /// The channel's snapshot after the push.
    pub snapshot: ObjectHash,
    /// The journal entry that holds the push; 0 when nothing changed.
    pub sequence: u64,
    /// Was everything as asked already?
    pub unchanged: bool,
    /// Clusters that follow the channel.
    pub clusters: u32,
    /// Objects that had to be uploaded.
    pub uploaded: usize,
}
