//! Whole agents on simulated clusters: the real agent code, a cluster in memory under each, and a network that can
//! be cut.
//!
//! Used by `driftless demo`, by tests and by load tests. It owns the agents' tasks; it never decides anything for
//! them.

use std::{sync::Arc, time::Duration};

use driftless_agent::{
    Clock, JoinSource, NAMESPACE, Permit, Settings, Timings,
    dial::{Dialer, Switch},
    storage::Storage,
};
use driftless_model::{join::JoinFile, name::ClusterName};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Cluster;

/// Simulated clusters with an agent in each.
pub struct Fleet {
    clock: Clock,
    timings: Timings,
    members: Vec<Arc<Member>>,
    agents: JoinSet<(ClusterName, Result<(), driftless_agent::Error>)>,
    stop: CancellationToken,
}

/// One simulated cluster of a fleet.
#[derive(Debug)]
pub struct Member {
    /// Its name in the fleet.
    pub name: ClusterName,
    /// The cluster itself.
    pub cluster: Cluster,
    network: Switch,
}

impl Member {
    /// Cuts the agent off from the server, or connects it again. Its own cluster stays within reach.
    pub fn set_network(&self, on: bool) {
        self.network.set(on);
    }
}

impl Fleet {
    /// A fleet without members. `clock` tells the agents the time of day.
    pub fn new(clock: Clock, timings: Timings) -> Self {
        let (agents, stop) = (JoinSet::new(), CancellationToken::new());
        Self {
            clock,
            timings,
            members: Vec::new(),
            agents,
            stop,
        }
    }

    /// Starts an agent on `cluster` that joins with `join`.
    pub fn start(&mut self, cluster: Cluster, join: JoinFile) -> Arc<Member> {
        let member = Arc::new(Member {
            name: join.cluster.clone(),
            cluster,
            network: Switch::new(),
        });
        let settings = self.settings(&member, join);
        let (client, name, stop) = (member.cluster.client(), member.name.clone(), self.stop.clone());
        self.agents
            .spawn(async move { (name, driftless_agent::run(client.clone(), client, settings, stop).await) });
        self.members.push(Arc::clone(&member));
        member
    }

    /// The members in the order they were started.
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// Waits until an agent ends by itself, which none should; says which and why. Never returns for an idle fleet.
    pub async fn failed(&mut self) -> String {
        match self.agents.join_next().await {
            Some(Ok((name, Ok(())))) => format!("the agent of {name} stopped"),
            Some(Ok((name, Err(error)))) => format!("the agent of {name} stopped: {}", chain(&error)),
            Some(Err(panic)) => format!("an agent panicked: {panic}"),
            None => std::future::pending().await,
        }
    }

    /// Stops all agents and waits for them, at most `grace`.
    pub async fn stop(mut self, grace: Duration) {
        self.stop.cancel();
        // What has not stopped by then is aborted when the set is dropped.
        let _ = tokio::time::timeout(grace, async { while self.agents.join_next().await.is_some() {} }).await;
    }

    fn settings(&self, member: &Member, join: JoinFile) -> Settings {
        Settings {
            join: JoinSource::Material(Box::new(join)),
            server: None,
            storage: Storage::cluster(member.cluster.client(), NAMESPACE),
            namespace: NAMESPACE.to_owned(),
            holder: format!("agent-of-{}", member.name),
            timings: self.timings,
            dialer: Dialer::tcp().with_switch(&member.network),
            clock: self.clock,
            seed: self.members.len() as u64,
            permit: Arc::new(Permit::new(self.clock)),
            metrics: driftless_agent::Metrics::default(),
            reconcile: driftless_reconcile::Settings::default(),
        }
    }
}

/// An error and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
