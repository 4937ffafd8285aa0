//! Changing the records of clusters, asking something of them by hand, and retiring them: many at a time, each in one journal entry.

use std::collections::{BTreeMap, BTreeSet};

use driftless_model::{
    event::Event,
    fleet::Intent,
    name::ClusterName,
    orders::{CONSENT_HOLDS, Order},
};
use driftless_proto::{Asked, v1};
use jiff::{SignedDuration, Timestamp};

use super::Service;
use crate::failure::Failure;

impl Service {
    pub(super) async fn change(
        &self,
        author: String,
        request: v1::ChangeClustersRequest,
    ) -> Result<v1::ChangeClustersResponse, Failure> {
        let mut changes = BTreeMap::new();
        for change in request.changes {
            let (name, change) = driftless_proto::change(change)?;
            if changes.insert(name.clone(), change).is_some() {
                let text = format!("changes: cluster `{name}` is in it twice: put what shall change of it together");
                return Err(Failure::Argument(text));
            }
        }
        let outcome = self
            .0
            .journal
            .submit(Intent::ChangeClusters { changes, author })
            .await?;
        let Some(Event::ClustersChanged { clusters, author }) = outcome.event else {
            return Ok(v1::ChangeClustersResponse::default());
        };
        tracing::info!(clusters = clusters.len(), author, seq = outcome.seq, "clusters changed");
        Ok(v1::ChangeClustersResponse {
            sequence: outcome.seq,
            changed: clusters.keys().map(ToString::to_string).collect(),
        })
    }

    pub(super) async fn order(
        &self,
        author: String,
        request: v1::OrderClustersRequest,
    ) -> Result<v1::OrderClustersResponse, Failure> {
        let clusters = named(&request.names, "names: name the clusters of which something is asked")?;
        let order = order(driftless_proto::asked(request.order)?, (self.0.clock)());
        let intent = Intent::OrderClusters {
            clusters,
            order,
            author,
        };
        let outcome = self.0.journal.submit(intent).await?;
        let Some(Event::ClustersOrdered {
            clusters,
            order,
            author,
        }) = outcome.event
        else {
            return Ok(v1::OrderClustersResponse::default());
        };
        tracing::info!(
            clusters = clusters.len(),
            ?order,
            author,
            seq = outcome.seq,
            "clusters ordered"
        );
        Ok(v1::OrderClustersResponse {
            sequence: outcome.seq,
            changed: clusters.iter().map(ToString::to_string).collect(),
        })
    }

    pub(super) async fn retire(&self, author: String, names: &[String]) -> Result<v1::RetireClustersResponse, Failure> {
        let clusters = named(names, "names: name the clusters to retire")?;
        let intent = Intent::RetireClusters {
            clusters: clusters.clone(),
            author: author.clone(),
        };
        let outcome = self.0.journal.submit(intent).await?;
        // Those that are connected are dropped with their streams.
        clusters.iter().for_each(|name| self.0.table.forget(name));
        tracing::info!(clusters = clusters.len(), author, seq = outcome.seq, "clusters retired");
        Ok(v1::RetireClustersResponse { sequence: outcome.seq })
    }
}

fn named(names: &[String], none: &str) -> Result<BTreeSet<ClusterName>, Failure> {
    if names.is_empty() {
        return Err(Failure::Argument(none.to_owned()));
    }
    Ok(names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?)
}

/// Makes times of what is asked for, by this server's clock: whose laptop asks does not matter.
fn order(asked: Asked, now: Timestamp) -> Order {
    match asked {
        Asked::Pause {
            component,
            seconds,
            reason,
        } => Order::Pause {
            component,
            until: now + SignedDuration::from_secs(seconds.into()),
            reason,
        },
        Asked::Resume { component } => Order::Resume { component },
        Asked::Reconcile => Order::Reconcile,
        Asked::Consent { component, deletions } => Order::Consent {
            component,
            deletions,
            until: now + CONSENT_HOLDS,
        },
    }
}
