//! What can happen to a fleet: the events that the journal carries.
//!
//! An event states what was decided, never what was asked for: [`fleet`](crate::fleet) turns an
//! [`Intent`](crate::fleet::Intent) into one after checking it. Stored for ever: variants and fields are only added.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    cluster::Record,
    hash::ObjectHash,
    name::{ChannelName, ClusterName, ComponentName, Labels, Vars},
    orders::Order,
    snapshot::Provenance,
};

/// One decided change of the fleet state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Event {
    /// A channel came into being, with no snapshot yet.
    ChannelCreated {
        /// The new channel.
        channel: ChannelName,
        /// Who asked for it.
        author: String,
    },
    /// A push: components of a channel were set to bundles, or removed.
    Published {
        /// The channel.
        channel: ChannelName,
        /// The components that changed; `None` removes one.
        components: BTreeMap<ComponentName, Option<ObjectHash>>,
        /// The channel's snapshot from now on. The fold makes the same one, and refuses the entry if it differs.
        snapshot: ObjectHash,
        /// Who pushed and from what.
        provenance: Provenance,
        /// Schema epochs of the bundles set, where they declare one.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        epochs: BTreeMap<ComponentName, u64>,
        /// By what the push is known if it is repeated; a pusher need not give it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<PushKey>,
    },
    /// A cluster may join with a one-time token, or may join anew: what it held before is void.
    ClusterEnrolled {
        /// The cluster.
        cluster: ClusterName,
        /// The channel it follows.
        channel: ChannelName,
        /// Its labels.
        labels: Labels,
        /// Its variables.
        #[serde(default, skip_serializing_if = "Vars::is_empty")]
        vars: Vars,
        /// What it joins with.
        join: JoinToken,
        /// Who enrolled it.
        author: String,
    },
    /// A cluster used its join token: from now on it is known by its key.
    ClusterJoined {
        /// The cluster.
        cluster: ClusterName,
        /// The hash of the token it used.
        token: ObjectHash,
        /// The sha256 of the public key (DER SubjectPublicKeyInfo) in its certificates.
        key: ObjectHash,
    },
    /// The records of clusters changed, all at once.
    ClustersChanged {
        /// What is new of each.
        clusters: BTreeMap<ClusterName, NewRecord>,
        /// Who changed them.
        author: String,
    },
    /// People asked something of clusters by hand, the same of all.
    ClustersOrdered {
        /// Of which.
        clusters: BTreeSet<ClusterName>,
        /// What.
        order: Order,
        /// Who.
        author: String,
    },
    /// Clusters left the fleet: their certificates and tokens are void.
    ClustersRetired {
        /// Which.
        clusters: BTreeSet<ClusterName>,
        /// Who retired them.
        author: String,
    },
}

impl Event {
    /// The channel whose directive this event changes, if any.
    pub fn channel(&self) -> Option<&ChannelName> {
        match self {
            Self::ChannelCreated { channel, .. } | Self::Published { channel, .. } => Some(channel),
            Self::ClusterEnrolled { .. }
            | Self::ClusterJoined { .. }
            | Self::ClustersChanged { .. }
            | Self::ClustersOrdered { .. }
            | Self::ClustersRetired { .. } => None,
        }
    }
}

/// What is new of a cluster's record. Parts that are absent stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRecord {
    /// The channel it follows from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelName>,
    /// All its labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// All its variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vars: Option<Vars>,
}

impl NewRecord {
    /// What `after` has that `before` had not.
    pub fn between(before: &Record, after: Record) -> Self {
        let Record { channel, labels, vars } = after;
        Self {
            channel: Some(channel).filter(|channel| *channel != before.channel),
            labels: Some(labels).filter(|labels| *labels != before.labels),
            vars: Some(vars).filter(|vars| *vars != before.vars),
        }
    }
}

/// By what a repeated push is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushKey {
    /// sha256 of what the pusher drew for this push, and sends with every repetition.
    pub nonce: ObjectHash,
    /// Hash of what was asked for, so that nothing else passes for a repetition.
    pub request: ObjectHash,
}

/// A one-time token, by hash: the token itself is never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinToken {
    /// sha256 of the token's text, which has 256 random bits.
    pub hash: ObjectHash,
    /// From when it is refused.
    pub expires: Timestamp,
}
