//! Changing and retiring clusters: decided and folded many at a time, so that a bulk change happens at once or not
//! at all.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Cluster, Decision, Fleet, Refusal, append};
use crate::{
    canonical,
    cluster::{Change, Record},
    event::{Event, NewRecord},
    name::ClusterName,
    view::{CHANNEL_LABEL, CLUSTER_LABEL},
};

/// Most bytes of an event that changes clusters: an entry holds more events than one.
pub const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;
/// For how long it is known that a cluster was retired.
pub const RETIRED_REMEMBERED: SignedDuration = SignedDuration::from_hours(90 * 24);

/// What last changed a cluster's record since it was enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// The entry: the record's revision.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// Who.
    pub author: String,
}

/// A cluster that left the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retired {
    /// When.
    pub time: Timestamp,
    /// Who retired it.
    pub author: String,
}

impl Cluster {
    /// What people say of it.
    pub fn record(&self) -> Record {
        Record {
            channel: self.channel.clone(),
            labels: self.labels.clone(),
            vars: self.vars.clone(),
        }
    }

    /// The value of a label that selectors see, those included that every cluster has.
    pub fn label<'a>(&'a self, name: &'a ClusterName, key: &str) -> Option<&'a str> {
        match key {
            CLUSTER_LABEL => Some(name.as_str()),
            CHANNEL_LABEL => Some(self.channel.as_str()),
            _ => self.labels.get(key).map(String::as_str),
        }
    }

    /// Which entry last changed its record; 0 since it was enrolled.
    pub fn revision(&self) -> u64 {
        self.changed.as_ref().map_or(0, |changed| changed.seq)
    }
}

impl Fleet {
    pub(super) fn decide_change(
        &self,
        changes: &BTreeMap<ClusterName, Change>,
        author: &str,
    ) -> Result<Decision, Refusal> {
        self.check_known(changes.keys())?;
        let channels: BTreeSet<_> = changes.values().filter_map(|change| change.channel.as_ref()).collect();
        for channel in channels {
            self.channel(channel)?;
        }
        let (mut clusters, mut problems) = (BTreeMap::new(), Vec::new());
        for (name, change) in changes {
            let before = self.clusters[name].record();
            match change.apply(&before) {
                Ok(after) if after != before => {
                    clusters.insert(name.clone(), NewRecord::between(&before, after));
                }
                Ok(_) => {}
                Err(found) => problems.extend(found.into_iter().map(|problem| (name.clone(), problem))),
            }
        }
        if !problems.is_empty() {
            return Err(Refusal::Clusters(problems));
        }
        if clusters.is_empty() {
            return Ok(Decision::Unchanged);
        }
        let event = Event::ClustersChanged {
            clusters,
            author: author.to_owned(),
        };
        let bytes = canonical::document(&event).len();
        if bytes > MAX_EVENT_BYTES {
            return Err(Refusal::ChangeTooLarge {
                clusters: changes.len(),
                bytes,
            });
        }
        Ok(append(event))
    }

    pub(super) fn decide_retire(&self, clusters: &BTreeSet<ClusterName>, author: &str) -> Result<Decision, Refusal> {
        self.check_known(clusters.iter())?;
        if clusters.is_empty() {
            return Ok(Decision::Unchanged);
        }
        Ok(append(Event::ClustersRetired {
            clusters: clusters.clone(),
            author: author.to_owned(),
        }))
    }

    pub(super) fn check_known<'a>(&self, names: impl Iterator<Item = &'a ClusterName>) -> Result<(), Refusal> {
        let mut unknown: Vec<_> = names
            .filter(|name| !self.clusters.contains_key(*name))
            .cloned()
            .collect();
        match unknown.len() {
            0 => Ok(()),
            1 => Err(Refusal::UnknownCluster(unknown.remove(0))),
            _ => Err(Refusal::UnknownClusters(unknown)),
        }
    }

    /// Folds a change; says what does not fit.
    pub(super) fn fold_change(
        &mut self,
        clusters: &BTreeMap<ClusterName, NewRecord>,
        changed: &Changed,
    ) -> Result<(), &'static str> {
        for (name, new) in clusters {
            if new
                .channel
                .as_ref()
                .is_some_and(|channel| !self.channels.contains_key(channel))
            {
                return Err("it moves a cluster to no channel");
            }
            let cluster = self.clusters.get_mut(name).ok_or("it changes an unknown cluster")?;
            let NewRecord { channel, labels, vars } = new.clone();
            cluster.channel = channel.unwrap_or_else(|| cluster.channel.clone());
            cluster.labels = labels.unwrap_or_else(|| std::mem::take(&mut cluster.labels));
            cluster.vars = vars.unwrap_or_else(|| std::mem::take(&mut cluster.vars));
            cluster.changed = Some(changed.clone());
        }
        Ok(())
    }

    /// Folds a retirement; says what does not fit.
    pub(super) fn fold_retirement(
        &mut self,
        clusters: &BTreeSet<ClusterName>,
        retired: &Retired,
    ) -> Result<(), &'static str> {
        for name in clusters {
            self.clusters.remove(name).ok_or("it retires an unknown cluster")?;
            self.retired.insert(name.clone(), retired.clone());
        }
        let is_fresh = |other: &Retired| retired.time.duration_since(other.time) < RETIRED_REMEMBERED;
        self.retired.retain(|_, other| is_fresh(other));
        Ok(())
    }
}
