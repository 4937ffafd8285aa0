//! How far the clusters of a channel are: what a watch told, added up.
//!
//! [`crate::Client::until_converged`] feeds it and decides by it. Does no I/O.

use std::collections::BTreeMap;

use driftless_model::{hash::ObjectHash, name::ClusterName};
use serde::Serialize;

use crate::types::{Channel, ChannelStatus, Cluster};

/// How many clusters of a channel run what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Convergence {
    /// The channel's snapshot: that of the push, or a later one that somebody else made in the meantime.
    pub snapshot: Option<ObjectHash>,
    /// Clusters that follow the channel.
    pub clusters: usize,
    /// Those of them that an agent has joined as: the ones that are waited for.
    pub joined: usize,
    /// Joined clusters that are connected now.
    pub connected: usize,
    /// Joined clusters that have applied all of the snapshot.
    pub converged: usize,
}

impl Convergence {
    /// Does every joined cluster run the snapshot?
    pub fn is_complete(&self) -> bool {
        self.converged == self.joined
    }
}

/// What one watch has told so far. A new watch tells everything anew, so it starts from an empty one.
#[derive(Debug, Default)]
pub(crate) struct Told {
    channel: Option<Channel>,
    clusters: BTreeMap<ClusterName, Cluster>,
}

impl Told {
    /// Adds a message of the watch.
    pub(crate) fn add(&mut self, status: ChannelStatus) {
        for name in &status.retired {
            self.clusters.remove(name);
        }
        let clusters = status.clusters.into_iter();
        self.clusters
            .extend(clusters.map(|cluster| (cluster.name.clone(), cluster)));
        self.channel = Some(status.channel);
    }

    /// How far the clusters are; `None` while the server that tells has not heard of journal entry `sequence`.
    pub(crate) fn convergence(&self, sequence: u64) -> Option<Convergence> {
        let channel = self.channel.as_ref().filter(|channel| channel.sequence >= sequence)?;
        let following = || self.clusters.values().filter(|cluster| cluster.channel == channel.name);
        let joined = |is: fn(&Cluster) -> bool| following().filter(|cluster| cluster.joined && is(cluster)).count();
        Some(Convergence {
            snapshot: channel.snapshot,
            clusters: following().count(),
            joined: joined(|_| true),
            connected: joined(|cluster| cluster.connected),
            converged: joined(|cluster| cluster.converged),
        })
    }
}

#[cfg(test)]
mod tests {
    use driftless_model::snapshot::Components;
    use jiff::Timestamp;

    use super::*;

    fn channel(sequence: u64) -> Channel {
        Channel {
            name: "prod".parse().unwrap(),
            sequence,
            changed: Timestamp::UNIX_EPOCH,
            snapshot: Some(ObjectHash::of(&sequence.to_be_bytes())),
            components: Components::new(),
            clusters: 0,
            progress: crate::types::Progress::default(),
        }
    }

    fn cluster(name: &str, joined: bool, converged: bool) -> Cluster {
        Cluster {
            orders: Default::default(),
            name: name.parse().unwrap(),
            channel: "prod".parse().unwrap(),
            labels: [].into(),
            vars: [].into(),
            enrolled: Timestamp::UNIX_EPOCH,
            changed: None,
            joined,
            connected: joined,
            last_seen: None,
            status: None,
            converged,
        }
    }

    fn told(sequence: u64, clusters: Vec<Cluster>) -> ChannelStatus {
        ChannelStatus {
            channel: channel(sequence),
            clusters,
            retired: Vec::new(),
        }
    }

    #[test]
    fn every_joined_cluster_counts_once_however_often_it_is_told() {
        let mut so_far = Told::default();
        so_far.add(told(4, vec![cluster("a", true, false), cluster("b", false, false)]));
        let convergence = so_far.convergence(4).unwrap();
        assert_eq!(
            (convergence.clusters, convergence.joined, convergence.converged),
            (2, 1, 0)
        );
        assert!(!convergence.is_complete());
        so_far.add(told(4, vec![cluster("a", true, true)]));
        assert!(so_far.convergence(4).unwrap().is_complete());
    }

    #[test]
    fn server_that_has_not_heard_of_the_push_is_not_believed() {
        let mut so_far = Told::default();
        assert_eq!(so_far.convergence(0), None);
        so_far.add(told(3, vec![cluster("a", true, true)]));
        assert_eq!(so_far.convergence(4), None);
        so_far.add(told(5, Vec::new()));
        assert_eq!(so_far.convergence(4).unwrap().snapshot, channel(5).snapshot);
    }

    #[test]
    fn retired_cluster_is_not_waited_for() {
        let mut so_far = Told::default();
        so_far.add(told(4, vec![cluster("a", true, false), cluster("b", true, true)]));
        let mut gone = told(4, Vec::new());
        gone.retired.push("a".parse().unwrap());
        so_far.add(gone);
        assert!(so_far.convergence(4).unwrap().is_complete());
    }
}
