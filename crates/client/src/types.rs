//! The server's answers. Their JSON form (camelCase, times in RFC 3339) is what `driftless … -o json` prints, and
//! only ever gains fields.

use std::collections::BTreeMap;

use driftless_model::{
    bundle::lines::Tally,
    cluster::Record,
    hash::ObjectHash,
    name::{ChannelName, ClusterName, ComponentName, Labels, Vars},
    orders::Orders,
    snapshot::Components,
    status::ClusterStatus,
    view::ClusterFacts,
};
use driftless_proto::{self as proto, v1};
use jiff::Timestamp;
use serde::Serialize;

/// A line of snapshots that clusters follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// Its name.
    pub name: ChannelName,
    /// The journal entry that changed it last.
    pub sequence: u64,
    /// When that was.
    pub changed: Timestamp,
    /// Its newest snapshot; `null` before the first push.
    pub snapshot: Option<ObjectHash>,
    /// What that snapshot holds.
    pub components: Components,
    /// Clusters that follow it.
    pub clusters: u32,
    /// How far they are.
    pub progress: Progress,
}

/// How far the clusters of a channel are with its newest snapshot, a moment ago. Each is in one of all but the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Have a stream open, to any server.
    pub connected: u32,
    /// Have not said that they work on it, by their newest record.
    pub waiting: u32,
    /// Have not applied everything.
    pub progressing: u32,
    /// Have applied everything, which is not healthy yet.
    pub applied: u32,
    /// Have applied everything, and it is healthy.
    pub healthy: u32,
    /// Something needs help.
    pub failed: u32,
}

/// One push in a channel's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// The snapshot it made.
    pub snapshot: ObjectHash,
    /// The one it replaced; `null` for a channel's first.
    pub parent: Option<ObjectHash>,
    /// When.
    pub time: Timestamp,
    /// Who.
    pub author: String,
    /// Why, in the author's words.
    pub message: String,
    /// From what.
    pub source: BTreeMap<String, String>,
    /// The components it changed.
    pub changes: BTreeMap<ComponentName, LogChange>,
}

/// How a push changed one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogChange {
    /// The bundle before; `null` when the component is new.
    pub before: Option<ObjectHash>,
    /// The bundle after; `null` when the component was removed.
    pub after: Option<ObjectHash>,
    /// How many objects differ; absent unless asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<Tally>,
}

/// A cluster, and how it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// The channel it follows.
    pub channel: ChannelName,
    /// Its labels.
    pub labels: Labels,
    /// Its variables.
    pub vars: Vars,
    /// When it was last enrolled.
    pub enrolled: Timestamp,
    /// What people asked of it by hand and still holds.
    pub orders: Orders,
    /// What changed channel, labels, variables or orders last; `null` since it was enrolled.
    pub changed: Option<RecordChange>,
    /// Has an agent used its join token?
    pub joined: bool,
    /// Is its stream open?
    pub connected: bool,
    /// When its stream was last seen open; `null` if never by this server.
    pub last_seen: Option<Timestamp>,
    /// What it reported last; `null` until it did.
    pub status: Option<ClusterStatus>,
    /// Has it applied all of its channel's newest snapshot, by its current record?
    pub converged: bool,
}

impl Cluster {
    /// What its view depends on.
    pub fn facts(&self) -> ClusterFacts {
        ClusterFacts {
            name: self.name.clone(),
            channel: self.channel.clone(),
            labels: self.labels.clone(),
            vars: self.vars.clone(),
        }
    }

    /// What people say of it.
    pub fn record(&self) -> Record {
        Record {
            channel: self.channel.clone(),
            labels: self.labels.clone(),
            vars: self.vars.clone(),
        }
    }
}

/// What changed a cluster's record last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordChange {
    /// The journal entry.
    pub sequence: u64,
    /// When.
    pub time: Timestamp,
    /// Who.
    pub author: String,
}

/// What a change of clusters came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClustersChanged {
    /// The journal entry that holds it; 0 when nothing changed.
    pub sequence: u64,
    /// The clusters that changed.
    pub changed: Vec<ClusterName>,
}

/// A channel and clusters that follow it: all of them in a watch's first message, then those that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelStatus {
    /// The channel.
    pub channel: Channel,
    /// The clusters.
    pub clusters: Vec<Cluster>,
    /// Clusters that were told before and are not in the fleet any more.
    pub retired: Vec<ClusterName>,
}

/// What lets an agent join as an enrolled cluster.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrolled {
    /// The one-time join token. The server shows it once and stores it nowhere.
    pub token: String,
    /// Until when it is good.
    pub expires: Timestamp,
}

impl std::fmt::Debug for Enrolled {
    /// Leaves the token out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrolled")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

fn name<T: std::str::FromStr<Err: ToString>>(field: &'static str, text: &str) -> Result<T, proto::Error> {
    text.parse().map_err(|error: T::Err| proto::Error::new(field, error))
}

impl TryFrom<v1::Channel> for Channel {
    type Error = proto::Error;

    fn try_from(channel: v1::Channel) -> Result<Self, proto::Error> {
        let components = channel.components.iter().map(|(component, hash)| {
            Ok((
                name("channel.components", component)?,
                proto::hash("channel.components", hash)?,
            ))
        });
        Ok(Self {
            name: name("channel.name", &channel.name)?,
            sequence: channel.sequence,
            changed: proto::time("channel.changed", channel.changed.as_ref())?,
            snapshot: proto::opt_hash("channel.snapshot", channel.snapshot.as_ref())?,
            components: components.collect::<Result<_, proto::Error>>()?,
            clusters: channel.clusters,
            progress: (&channel.progress.unwrap_or_default()).into(),
        })
    }
}

impl From<&v1::Progress> for Progress {
    fn from(progress: &v1::Progress) -> Self {
        Self {
            connected: progress.connected,
            waiting: progress.waiting,
            progressing: progress.progressing,
            applied: progress.applied,
            healthy: progress.healthy,
            failed: progress.failed,
        }
    }
}

impl TryFrom<&v1::LogChange> for LogChange {
    type Error = proto::Error;

    fn try_from(change: &v1::LogChange) -> Result<Self, proto::Error> {
        Ok(Self {
            before: proto::opt_hash("change.before", change.before.as_ref())?,
            after: proto::opt_hash("change.after", change.after.as_ref())?,
            objects: change.objects.map(Into::into),
        })
    }
}

impl TryFrom<v1::LogEntry> for LogEntry {
    type Error = proto::Error;

    fn try_from(entry: v1::LogEntry) -> Result<Self, proto::Error> {
        let changes = entry
            .changes
            .iter()
            .map(|change| Ok((name("change.component", &change.component)?, change.try_into()?)))
            .collect::<Result<_, proto::Error>>()?;
        Ok(Self {
            snapshot: proto::hash("entry.snapshot", &entry.snapshot)?,
            parent: proto::opt_hash("entry.parent", entry.parent.as_ref())?,
            time: proto::time("entry.time", entry.time.as_ref())?,
            author: entry.author,
            message: entry.message,
            source: entry.source,
            changes,
        })
    }
}

impl TryFrom<v1::Cluster> for Cluster {
    type Error = proto::Error;

    fn try_from(cluster: v1::Cluster) -> Result<Self, proto::Error> {
        let last_seen = cluster.last_seen.as_ref();
        Ok(Self {
            name: name("cluster.name", &cluster.name)?,
            channel: name("cluster.channel", &cluster.channel)?,
            labels: cluster.labels,
            vars: proto::vars("cluster.vars", cluster.vars)?,
            orders: proto::orders("cluster.orders", &cluster.orders)?,
            changed: cluster.changed.map(TryInto::try_into).transpose()?,
            enrolled: proto::time("cluster.enrolled", cluster.enrolled.as_ref())?,
            joined: cluster.joined,
            connected: cluster.connected,
            last_seen: last_seen
                .map(|seen| proto::time("cluster.last_seen", Some(seen)))
                .transpose()?,
            status: cluster.status.map(TryInto::try_into).transpose()?,
            converged: cluster.converged,
        })
    }
}

impl TryFrom<v1::RecordChange> for RecordChange {
    type Error = proto::Error;

    fn try_from(change: v1::RecordChange) -> Result<Self, proto::Error> {
        Ok(Self {
            sequence: change.sequence,
            time: proto::time("cluster.changed", change.time.as_ref())?,
            author: change.author,
        })
    }
}

impl TryFrom<v1::ChangeClustersResponse> for ClustersChanged {
    type Error = proto::Error;

    fn try_from(response: v1::ChangeClustersResponse) -> Result<Self, proto::Error> {
        let changed = response.changed.iter().map(|cluster| name("changed", cluster));
        Ok(Self {
            sequence: response.sequence,
            changed: changed.collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<v1::OrderClustersResponse> for ClustersChanged {
    type Error = proto::Error;

    fn try_from(response: v1::OrderClustersResponse) -> Result<Self, proto::Error> {
        let v1::OrderClustersResponse { sequence, changed } = response;
        v1::ChangeClustersResponse { sequence, changed }.try_into()
    }
}

impl TryFrom<v1::ChannelStatus> for ChannelStatus {
    type Error = proto::Error;

    fn try_from(status: v1::ChannelStatus) -> Result<Self, proto::Error> {
        let channel = status
            .channel
            .ok_or_else(|| proto::Error::new("status.channel", "it is missing"))?;
        let clusters = status.clusters.into_iter().map(TryInto::try_into);
        Ok(Self {
            channel: channel.try_into()?,
            clusters: clusters.collect::<Result<_, _>>()?,
            retired: status
                .retired
                .iter()
                .map(|cluster| name("status.retired", cluster))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<v1::EnrollClusterResponse> for Enrolled {
    type Error = proto::Error;

    fn try_from(response: v1::EnrollClusterResponse) -> Result<Self, proto::Error> {
        Ok(Self {
            expires: proto::time("expires", response.expires.as_ref())?,
            token: response.token,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> v1::Cluster {
        v1::Cluster {
            name: "edge-1".to_owned(),
            channel: "prod".to_owned(),
            labels: [("region".to_owned(), "eu".to_owned())].into(),
            vars: [("n".to_owned(), "[1]".to_owned())].into(),
            enrolled: Some(proto::from_time(Timestamp::UNIX_EPOCH)),
            ..Default::default()
        }
    }

    #[test]
    fn json_of_a_cluster_is_pinned() {
        let cluster = Cluster::try_from(wire()).unwrap();
        let expected = concat!(
            r#"{"name":"edge-1","channel":"prod","labels":{"region":"eu"},"vars":{"n":[1]},"#,
            r#""enrolled":"1970-01-01T00:00:00Z","orders":{},"changed":null,"#,
            r#""joined":false,"connected":false,"lastSeen":null,"status":null,"converged":false}"#
        );
        assert_eq!(serde_json::to_string(&cluster).unwrap(), expected);
    }

    #[test]
    fn name_that_breaks_its_rule_is_refused_with_its_field() {
        let error = Cluster::try_from(v1::Cluster {
            name: "Edge 1".to_owned(),
            ..wire()
        })
        .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cluster.name: cluster name `Edge 1` is not valid"),
            "{error}"
        );
    }

    #[test]
    fn join_token_is_not_in_debug_output() {
        let enrolled = Enrolled {
            token: "s3cret".to_owned(),
            expires: Timestamp::UNIX_EPOCH,
        };
        assert!(!format!("{enrolled:?}").contains("s3cret"));
    }
}
