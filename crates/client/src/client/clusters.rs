//! Clusters: who there is, and changes of their records.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use driftless_model::{
    cluster::Change,
    hash::ObjectHash,
    name::{ChannelName, ClusterName, ComponentName},
    prospect::Prospect,
    selector::Selector,
};
use driftless_proto::{self as proto, v1};

use super::{ANSWER_TIMEOUT, Client};
use crate::{
    error::Error,
    types::{Cluster, ClustersChanged},
};

/// Longer than servers take before they say that it takes too long.
const DRY_RUN_TIMEOUT: Duration = Duration::from_secs(50);

/// What a dry run is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DryRunOf {
    /// What the cluster should run now.
    Current,
    /// The newest snapshot of another channel.
    Channel(ChannelName),
    /// A snapshot.
    Snapshot(ObjectHash),
}

impl Client {
    /// The clusters, by name: all, or those of one channel.
    ///
    /// # Errors
    /// `is_not_found` when there is no such channel.
    pub async fn clusters(&self, channel: Option<&ChannelName>) -> Result<Vec<Cluster>, Error> {
        self.select_clusters(channel, &Selector::default()).await
    }

    /// The clusters with the right labels, by name: all, or those of one channel.
    ///
    /// # Errors
    /// `is_not_found` when there is no such channel.
    pub async fn select_clusters(
        &self,
        channel: Option<&ChannelName>,
        selector: &Selector,
    ) -> Result<Vec<Cluster>, Error> {
        let request = v1::ListClustersRequest {
            channel: channel.map(ChannelName::to_string).unwrap_or_default(),
            selector: selector.to_string(),
        };
        let response = self
            .repeat(ANSWER_TIMEOUT, || {
                let (mut fleet, request) = (self.fleet.clone(), request.clone());
                async move { fleet.list_clusters(request).await }
            })
            .await?;
        Ok(response
            .clusters
            .into_iter()
            .map(TryInto::try_into)
            .collect::<Result<_, _>>()?)
    }

    /// One cluster.
    ///
    /// # Errors
    /// `is_not_found` when there is none of that name.
    pub async fn cluster(&self, cluster: &ClusterName) -> Result<Cluster, Error> {
        let request = v1::GetClusterRequest {
            name: cluster.to_string(),
        };
        let response = self
            .repeat(ANSWER_TIMEOUT, || {
                let (mut fleet, request) = (self.fleet.clone(), request.clone());
                async move { fleet.get_cluster(request).await }
            })
            .await?;
        Ok(response.try_into()?)
    }

    /// Changes the records of clusters: of all that are named, or of none. Safe to repeat.
    ///
    /// # Errors
    /// `is_not_found` without one of the clusters or channels, and bad input when a record cannot be as asked.
    pub async fn change_clusters(&self, changes: &BTreeMap<ClusterName, Change>) -> Result<ClustersChanged, Error> {
        let request = v1::ChangeClustersRequest {
            changes: changes
                .iter()
                .map(|(name, change)| proto::from_change(name, change))
                .collect(),
        };
        let response = self
            .repeat(ANSWER_TIMEOUT, || {
                let (mut fleet, request) = (self.fleet.clone(), request.clone());
                async move { fleet.change_clusters(request).await }
            })
            .await?;
        Ok(response.try_into()?)
    }

    /// Asks something of clusters by hand: of all that are named, or of none.
    ///
    /// # Errors
    /// `is_not_found` without one of the clusters or the component, and bad input when it cannot be asked for.
    pub async fn order_clusters(
        &self,
        clusters: &BTreeSet<ClusterName>,
        asked: &proto::Asked,
    ) -> Result<ClustersChanged, Error> {
        let request = v1::OrderClustersRequest {
            names: clusters.iter().map(ToString::to_string).collect(),
            order: Some(proto::from_asked(asked)),
        };
        // Asked twice it holds as if asked once, but for a few seconds of a pause.
        let response = self
            .repeat(ANSWER_TIMEOUT, || {
                let (mut fleet, request) = (self.fleet.clone(), request.clone());
                async move { fleet.order_clusters(request).await }
            })
            .await?;
        Ok(response.try_into()?)
    }

    /// Asks a cluster's agent what running a snapshot would do there, as its API server sees it. Nothing is written.
    /// `component` alone, if there is one.
    ///
    /// # Errors
    /// `is_not_found` without such a cluster, channel or snapshot. Says why when the agent cannot be asked, or has no
    /// answer.
    pub async fn dry_run(
        &self,
        cluster: &ClusterName,
        component: Option<&ComponentName>,
        of: &DryRunOf,
    ) -> Result<(ObjectHash, Prospect), Error> {
        let request = v1::DryRunRequest {
            cluster: cluster.to_string(),
            component: component.map(ToString::to_string).unwrap_or_default(),
            snapshot: match of {
                DryRunOf::Snapshot(hash) => Some(proto::to_hash(hash)),
                DryRunOf::Current | DryRunOf::Channel(_) => None,
            },
            channel: match of {
                DryRunOf::Channel(channel) => channel.to_string(),
                DryRunOf::Current | DryRunOf::Snapshot(_) => String::new(),
            },
        };
        // Not repeated: each time costs the cluster a request per object.
        let mut fleet = self.fleet.clone();
        let response = self.once(DRY_RUN_TIMEOUT, fleet.dry_run(request)).await?;
        let snapshot = proto::hash("response.snapshot", &response.snapshot)?;
        Ok((snapshot, proto::prospect(response.result.unwrap_or_default())?))
    }

    /// Lets clusters leave the fleet: all that are named, or none. What runs on them stays. Returns the journal entry
    /// that holds it.
    ///
    /// # Errors
    /// `is_not_found` without one of the clusters.
    pub async fn retire_clusters(&self, clusters: &BTreeSet<ClusterName>) -> Result<u64, Error> {
        // Not repeated: a lost answer to a first try would come back as "there is no such cluster".
        let request = v1::RetireClustersRequest {
            names: clusters.iter().map(ToString::to_string).collect(),
        };
        let mut fleet = self.fleet.clone();
        let response = self.once(ANSWER_TIMEOUT, fleet.retire_clusters(request)).await?;
        Ok(response.sequence)
    }
}
