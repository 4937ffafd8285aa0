//! What somebody wants of the fleet, and what is to be done about it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// What somebody wants to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// Make a channel.
    CreateChannel {
        /// Its name.
        channel: ChannelName,
        /// Who asks.
        author: String,
    },
    /// Set or remove components of a channel.
    Publish {
        /// The channel.
        channel: ChannelName,
        /// The components to set (`Some`) or remove (`None`).
        components: BTreeMap<ComponentName, Option<ObjectHash>>,
        /// What the pusher built upon; `None` to overwrite whatever is there.
        expected: Option<Expected>,
        /// Who pushes and from what.
        provenance: Provenance,
        /// The bundles on which the check of what components depend on relied, besides those to set: where one of them is
        /// another by now, it has to be made again.
        relied: BTreeMap<ComponentName, Option<ObjectHash>>,
        /// Schema epochs of the bundles to set, where they declare one.
        epochs: BTreeMap<ComponentName, u64>,
        /// sha256 of what the pusher drew for this push, the same in every repetition; `None` if it drew nothing.
        nonce: Option<ObjectHash>,
    },
    /// Let a cluster join, or join anew.
    EnrollCluster {
        /// Its name.
        cluster: ClusterName,
        /// The channel it shall follow.
        channel: ChannelName,
        /// Its labels.
        labels: Labels,
        /// Its variables.
        vars: Vars,
        /// The token it will use.
        join: JoinToken,
        /// Whether a cluster that is enrolled already may be enrolled anew: its old credentials become void.
        again: bool,
        /// Who asks.
        author: String,
    },
    /// Use a join token.
    JoinCluster {
        /// The hash of the token presented.
        token: ObjectHash,
        /// The sha256 of the public key presented.
        key: ObjectHash,
    },
    /// Change the records of clusters: all of them, or none.
    ChangeClusters {
        /// What shall change of each.
        changes: BTreeMap<ClusterName, Change>,
        /// Who asks.
        author: String,
    },
    /// Ask something of clusters by hand: of all of them, or of none.
    OrderClusters {
        /// Of which.
        clusters: BTreeSet<ClusterName>,
        /// What.
        order: Order,
        /// Who asks.
        author: String,
    },
    /// Let clusters leave the fleet.
    RetireClusters {
        /// Which.
        clusters: BTreeSet<ClusterName>,
        /// Who asks.
        author: String,
    },
}

/// What a push was built upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The snapshot that the pusher saw, named in the conflict.
    pub parent: Option<ObjectHash>,
    /// The components of that snapshot.
    pub components: Components,
}

/// What has to be done about an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This event carries it out.
    Append(Box<Append>),
    /// Nothing: the state is already as wanted.
    Unchanged,
    /// Nothing: it was carried out before, and its pusher asks again.
    Repeated {
        /// The entry that did.
        seq: u64,
        /// The snapshot that it made.
        snapshot: ObjectHash,
    },
}

/// What carries an intent out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The event to append.
    pub event: Event,
    /// The snapshot that the event names: it must be stored before the entry that holds the event.
    pub snapshot: Option<snapshot::Encoded>,
}
