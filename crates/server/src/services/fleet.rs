//! For fleet operators: enrolling clusters, and how they do.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use driftless_model::{
    event::JoinToken,
    fleet::{Fleet, Intent},
    hash::ObjectHash,
    name::{ChannelName, ClusterName},
    selector::{self, Selector},
};
use driftless_proto::{from_time, v1};
use driftless_store::journal::State;
use jiff::SignedDuration;
use tokio::{sync::watch, time::Instant};
use tonic::{Request, Response, Status};

use super::{Core, Parts, parts};
use crate::{failure::Failure, secrets::random_text, status_table::Mark};

mod dry_run;
mod records;

const TOKEN_PREFIX: &str = "dlj_";
const DEFAULT_TTL_SECONDS: u32 = 24 * 3600;
const MAX_TTL_SECONDS: u32 = 30 * 24 * 3600;
/// A watch sends at most this often.
const WATCH_PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Service(pub(super) Arc<Core>);

#[tonic::async_trait]
impl v1::fleet_server::Fleet for Service {
    async fn enroll_cluster(
        &self,
        request: Request<v1::EnrollClusterRequest>,
    ) -> Result<Response<v1::EnrollClusterResponse>, Status> {
        let author = self.0.auth.admin(&request)?;
        Ok(Response::new(self.enroll(author, request.into_inner()).await?))
    }

    async fn list_clusters(
        &self,
        request: Request<v1::ListClustersRequest>,
    ) -> Result<Response<v1::ListClustersResponse>, Status> {
        self.0.auth.admin(&request)?;
        Ok(Response::new(self.list(request.get_ref())?))
    }

    async fn get_cluster(&self, request: Request<v1::GetClusterRequest>) -> Result<Response<v1::Cluster>, Status> {
        self.0.auth.admin(&request)?;
        Ok(Response::new(self.get(&request.get_ref().name)?))
    }

    async fn change_clusters(
        &self,
        request: Request<v1::ChangeClustersRequest>,
    ) -> Result<Response<v1::ChangeClustersResponse>, Status> {
        let author = self.0.auth.admin(&request)?;
        Ok(Response::new(self.change(author, request.into_inner()).await?))
    }

    async fn order_clusters(
        &self,
        request: Request<v1::OrderClustersRequest>,
    ) -> Result<Response<v1::OrderClustersResponse>, Status> {
        let author = self.0.auth.admin(&request)?;
        Ok(Response::new(self.order(author, request.into_inner()).await?))
    }

    async fn dry_run(&self, request: Request<v1::DryRunRequest>) -> Result<Response<v1::DryRunResponse>, Status> {
        self.0.auth.admin(&request)?;
        Ok(Response::new(self.ask(request.into_inner()).await?))
    }

    async fn retire_clusters(
        &self,
        request: Request<v1::RetireClustersRequest>,
    ) -> Result<Response<v1::RetireClustersResponse>, Status> {
        let author = self.0.auth.admin(&request)?;
        Ok(Response::new(self.retire(author, &request.get_ref().names).await?))
    }

    type WatchChannelStream = Parts<v1::ChannelStatus>;

    async fn watch_channel(
        &self,
        request: Request<v1::WatchChannelRequest>,
    ) -> Result<Response<Self::WatchChannelStream>, Status> {
        self.0.auth.admin(&request)?;
        Ok(Response::new(self.watch(&request.get_ref().channel)?))
    }
}

impl Service {
    async fn enroll(
        &self,
        author: String,
        request: v1::EnrollClusterRequest,
    ) -> Result<v1::EnrollClusterResponse, Failure> {
        let v1::EnrollClusterRequest {
            name,
            channel,
            labels,
            token_ttl_seconds,
            again,
            vars,
        } = request;
        let (cluster, channel) = (name.parse()?, channel.parse()?);
        let vars = driftless_proto::vars("vars", vars)?;
        let seconds = match token_ttl_seconds {
            0 => DEFAULT_TTL_SECONDS,
            seconds if seconds > MAX_TTL_SECONDS => {
                let text = format!("token_ttl_seconds: {seconds} is more than {MAX_TTL_SECONDS}, which is 30 days");
                return Err(Failure::Argument(text));
            }
            seconds => seconds,
        };
        let expires = (self.0.clock)() + SignedDuration::from_secs(seconds.into());
        let token = format!("{TOKEN_PREFIX}{}", random_text());
        let join = JoinToken {
            hash: ObjectHash::of(token.as_bytes()),
            expires,
        };
        self.0
            .journal
            .submit(Intent::EnrollCluster {
                cluster,
                channel,
                labels,
                vars,
                join,
                again,
                author,
            })
            .await?;
        Ok(v1::EnrollClusterResponse {
            token,
            expires: Some(from_time(expires)),
        })
    }

    fn list(&self, request: &v1::ListClustersRequest) -> Result<v1::ListClustersResponse, Failure> {
        let fleet = &self.0.state().fleet;
        let v1::ListClustersRequest { channel, selector } = request;
        let channel: Option<ChannelName> = if channel.is_empty() {
            None
        } else {
            Some(channel.parse()?)
        };
        let selector: Selector = selector
            .parse()
            .map_err(|error: selector::Error| Failure::Argument(error.to_string()))?;
        if let Some(channel) = &channel {
            fleet.channel(channel)?;
        }
        let wanted = fleet
            .clusters
            .iter()
            .filter(|(_, record)| channel.as_ref().is_none_or(|c| record.channel == *c))
            .filter(|(name, record)| selector.matches(|key| record.label(name, key)));
        Ok(v1::ListClustersResponse {
            clusters: wanted.map(|(name, _)| self.0.cluster_message(fleet, name)).collect(),
        })
    }

    fn get(&self, name: &str) -> Result<v1::Cluster, Failure> {
        let fleet = &self.0.state().fleet;
        let name = name.parse()?;
        fleet.cluster(&name)?;
        Ok(self.0.cluster_message(fleet, &name))
    }

    fn watch(&self, channel: &str) -> Result<Parts<v1::ChannelStatus>, Failure> {
        let channel: ChannelName = channel.parse()?;
        self.0.state().fleet.channel(&channel)?;
        let watch = Watch {
            states: self.0.journal.state(),
            changes: self.0.table.changes(),
            core: Arc::clone(&self.0),
            channel,
            sequence: None,
            sent: BTreeMap::new(),
            next: Instant::now(),
        };
        Ok(parts(watch, |mut watch: Watch| async move {
            Ok(Some((watch.next().await?, watch)))
        }))
    }
}

impl Core {
    fn cluster_message(&self, fleet: &Fleet, name: &ClusterName) -> v1::Cluster {
        let record = &fleet.clusters[name];
        self.table
            .row(name)
            .message(name, record, fleet.channel(&record.channel).ok(), (self.clock)())
    }
}

/// One caller's watch of a channel.
struct Watch {
    core: Arc<Core>,
    states: watch::Receiver<Arc<State>>,
    changes: watch::Receiver<u64>,
    channel: ChannelName,
    /// Of the channel as it was sent last; `None` before the first message.
    sequence: Option<u64>,
    /// The clusters as they were sent last.
    sent: BTreeMap<ClusterName, Mark>,
    /// Not before this.
    next: Instant,
}

impl Watch {
    /// Waits until there is something to tell, and tells it.
    async fn next(&mut self) -> Result<v1::ChannelStatus, Failure> {
        loop {
            let stopping = self.core.stopping.clone();
            if self.sequence.is_some() {
                tokio::select! {
                    biased;
                    () = stopping.cancelled() => return Err(Failure::Stopping),
                    changed = self.states.changed() => changed.map_err(|_| Failure::Stopping)?,
                    changed = self.changes.changed() => changed.map_err(|_| Failure::Stopping)?,
                }
                tokio::select! {
                    biased;
                    () = stopping.cancelled() => return Err(Failure::Stopping),
                    () = tokio::time::sleep_until(self.next) => {}
                }
            }
            if let Some(message) = self.news()? {
                self.next = Instant::now() + WATCH_PAUSE;
                return Ok(message);
            }
        }
    }

    /// What has changed since the last message. A cluster that went to another channel is told once more, with
    /// that channel's name.
    fn news(&mut self) -> Result<Option<v1::ChannelStatus>, Failure> {
        self.changes.borrow_and_update();
        let state = Arc::clone(&self.states.borrow_and_update());
        let fleet = &state.fleet;
        let channel = fleet.channel(&self.channel)?;
        let mut clusters = Vec::new();
        for (name, record) in &fleet.clusters {
            let is_here = record.channel == self.channel;
            if !is_here && !self.sent.contains_key(name) {
                continue;
            }
            let home = fleet.channel(&record.channel).ok();
            let row = self.core.table.row(name);
            let mark = row.mark(record, home);
            if is_here && self.sent.get(name) == Some(&mark) {
                continue;
            }
            clusters.push(row.message(name, record, home, (self.core.clock)()));
            if is_here {
                self.sent.insert(name.clone(), mark);
            } else {
                self.sent.remove(name);
            }
        }
        let mut retired = Vec::new();
        self.sent.retain(|name, _| {
            let is_there = fleet.clusters.contains_key(name);
            if !is_there {
                retired.push(name.to_string());
            }
            is_there
        });
        if clusters.is_empty() && retired.is_empty() && self.sequence == Some(channel.sequence) {
            return Ok(None);
        }
        self.sequence = Some(channel.sequence);
        let channel = self.core.channel_message(fleet, &self.channel, channel);
        Ok(Some(v1::ChannelStatus {
            channel: Some(channel),
            clusters,
            retired,
        }))
    }
}
