//! Changing the records of clusters, and retiring clusters: many at a time, each in one journal entry.

use std::collections::{BTreeMap, BTreeSet};

use driftless_model::{event::Event, fleet::Intent, name::ClusterName};
use driftless_proto::v1;

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

    pub(super) async fn retire(&self, author: String, names: &[String]) -> Result<v1::RetireClustersResponse, Failure> {
        let clusters: BTreeSet<ClusterName> = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        if clusters.is_empty() {
            return Err(Failure::Argument("names: name the clusters to retire".to_owned()));
        }
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
