//! Asks a cluster's agent what running a snapshot would do there. The answer goes through; nothing is kept of it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use driftless_model::{
    fleet::{Cluster, Membership},
    hash::ObjectHash,
    name::ClusterName,
};
use driftless_proto::{hash, to_hash, v1};

use super::Service;
use crate::{failure::Failure, hub::Unasked};

/// What an agent has for its answer.
const DEADLINE_SECONDS: u32 = 30;
/// For what it lacks of the snapshot, and for the way to it and back.
const MARGIN: Duration = Duration::from_secs(10);

/// Tells one question of this process from another.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Service {
    pub(super) async fn ask(&self, request: v1::DryRunRequest) -> Result<v1::DryRunResponse, Failure> {
        let cluster: ClusterName = request.cluster.parse()?;
        let snapshot = self.snapshot(&cluster, &request)?;
        let probe = v1::Probe {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            snapshot: to_hash(&snapshot),
            component: request.component,
            deadline_seconds: DEADLINE_SECONDS,
        };
        let asked = self.0.hub.ask(&cluster, probe);
        let mut asked = asked.map_err(|why| Failure::Precondition(self.unasked(&cluster, why)))?;
        let limit = Duration::from_secs(DEADLINE_SECONDS.into()) + MARGIN;
        let answer = tokio::select! {
            biased;
            () = self.0.stopping.cancelled() => return Err(Failure::Stopping),
            answer = tokio::time::timeout(limit, &mut asked.answer) => answer,
        };
        let result = match answer {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                let text = format!("the agent of cluster `{cluster}` went away while it was asked: try again");
                return Err(Failure::Precondition(text));
            }
            Err(_) => {
                let text = format!(
                    "the agent of cluster `{cluster}` did not answer within {} s",
                    limit.as_secs()
                );
                return Err(Failure::Late(text));
            }
        };
        if !result.failure.is_empty() {
            let text = format!("the agent of cluster `{cluster}` cannot tell: {}", result.failure);
            return Err(Failure::Precondition(text));
        }
        Ok(v1::DryRunResponse {
            snapshot: to_hash(&snapshot),
            result: Some(result),
        })
    }

    /// The snapshot that is asked about.
    fn snapshot(&self, cluster: &ClusterName, request: &v1::DryRunRequest) -> Result<ObjectHash, Failure> {
        let fleet = &self.0.state().fleet;
        let record = fleet.cluster(cluster)?;
        if let Some(snapshot) = &request.snapshot {
            return Ok(hash("snapshot", snapshot)?);
        }
        let channel = match request.channel.as_str() {
            "" => record.channel.clone(),
            name => name.parse()?,
        };
        let snapshot = fleet.channel(&channel)?.snapshot;
        snapshot.ok_or_else(|| {
            Failure::Precondition(format!(
                "nothing was pushed to channel `{channel}` yet: there is nothing to run"
            ))
        })
    }

    fn unasked(&self, cluster: &ClusterName, why: Unasked) -> String {
        match why {
            Unasked::Away if is_invited(self.0.state().fleet.clusters.get(cluster)) => {
                format!("cluster `{cluster}` has not joined yet: nobody can be asked")
            }
            Unasked::Away => format!(
                "the agent of cluster `{cluster}` is not connected to this server: nobody can be asked; \
                 `driftless explain {cluster}` tells since when"
            ),
            Unasked::Silent => {
                format!("the agent of cluster `{cluster}` is too old for dry runs: upgrade it")
            }
            Unasked::Busy => {
                format!("a dry run of cluster `{cluster}` is under way already: try again when it is done")
            }
        }
    }
}

fn is_invited(cluster: Option<&Cluster>) -> bool {
    cluster.is_some_and(|cluster| matches!(cluster.membership, Membership::Invited { .. }))
}
