//! What the agents of this server report, in memory: soft state, told again by each agent that reconnects.
//!
//! Written by the streams, read by the `Fleet` service.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use driftless_model::{
    fleet::{Channel, Cluster, Membership},
    name::ClusterName,
    status::{ClusterStatus, MAX_PROBLEMS},
};
use driftless_proto::{from_orders, from_time, from_vars, v1};
use jiff::Timestamp;
use tokio::sync::watch;

/// What the agents of this server report.
pub(crate) struct StatusTable {
    rows: Mutex<HashMap<ClusterName, Row>>,
    /// Counts changes, for whoever watches.
    changes: watch::Sender<u64>,
}

/// What is known of one cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    /// Its open stream, if any.
    stream: Option<u64>,
    /// When a stream of it was last known to be open.
    last_seen: Option<Timestamp>,
    status: Option<Arc<ClusterStatus>>,
    /// The change that made this row what it is.
    change: u64,
}

impl StatusTable {
    pub(crate) fn new() -> Self {
        Self {
            rows: Mutex::default(),
            changes: watch::channel(0).0,
        }
    }

    pub(crate) fn connected(&self, cluster: &ClusterName, stream: u64, now: Timestamp) {
        self.change(cluster, |row| {
            row.stream = Some(stream);
            row.last_seen = Some(now);
        });
    }

    /// Stream `stream` ended; nothing changes if a newer one is open.
    pub(crate) fn disconnected(&self, cluster: &ClusterName, stream: u64, now: Timestamp) {
        if self.row(cluster).stream == Some(stream) {
            self.change(cluster, |row| {
                row.stream = None;
                row.last_seen = Some(now);
            });
        }
    }

    /// Takes a report by stream `stream`; one that a newer stream replaced is ignored.
    pub(crate) fn report(&self, cluster: &ClusterName, stream: u64, mut status: ClusterStatus, now: Timestamp) {
        // Agents keep to this; whoever does not shall not fill the server's memory.
        status.problems.truncate(MAX_PROBLEMS);
        for component in status.components.values_mut() {
            component.problems.truncate(MAX_PROBLEMS);
        }
        if self.row(cluster).stream == Some(stream) {
            self.change(cluster, |row| {
                row.status = Some(Arc::new(status));
                row.last_seen = Some(now);
            });
        }
    }

    /// Drops what is known of a cluster that left the fleet, unless its stream is still open.
    pub(crate) fn forget(&self, cluster: &ClusterName) {
        let mut rows = self.lock();
        if rows.get(cluster).is_some_and(|row| row.stream.is_none()) {
            rows.remove(cluster);
        }
    }

    pub(crate) fn row(&self, cluster: &ClusterName) -> Row {
        self.lock().get(cluster).cloned().unwrap_or_default()
    }

    /// A signal at every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn change(&self, cluster: &ClusterName, act: impl FnOnce(&mut Row)) {
        let mut rows = self.lock();
        let row = rows.entry(cluster.clone()).or_default();
        act(row);
        self.changes.send_modify(|changes| {
            *changes += 1;
            row.change = *changes;
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClusterName, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything in a [`v1::Cluster`] that can change, in brief: equal marks, equal messages (save for `last_seen`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    change: u64,
    converged: bool,
    enrolled: Timestamp,
    joined: bool,
    revision: u64,
}

impl Row {
    /// Has the cluster applied all of its channel's current snapshot, by its current record?
    pub(crate) fn is_converged(&self, record: &Cluster, channel: Option<&Channel>) -> bool {
        let snapshot = channel.and_then(|channel| channel.snapshot.as_ref());
        let (Some(status), Some(snapshot)) = (&self.status, snapshot) else {
            return false;
        };
        // Older agents do not tell.
        let is_by_record = status.revision.is_none_or(|revision| revision == record.revision());
        is_by_record && status.is_converged(snapshot)
    }

    pub(crate) fn mark(&self, record: &Cluster, channel: Option<&Channel>) -> Mark {
        Mark {
            change: self.change,
            converged: self.is_converged(record, channel),
            enrolled: record.enrolled,
            joined: matches!(record.membership, Membership::Joined { .. }),
            revision: record.revision(),
        }
    }

    /// The cluster as callers see it.
    pub(crate) fn message(
        &self,
        name: &ClusterName,
        record: &Cluster,
        channel: Option<&Channel>,
        now: Timestamp,
    ) -> v1::Cluster {
        let seen = if self.stream.is_some() {
            Some(now)
        } else {
            self.last_seen
        };
        v1::Cluster {
            name: name.to_string(),
            channel: record.channel.to_string(),
            labels: record.labels.clone(),
            enrolled: Some(from_time(record.enrolled)),
            joined: matches!(record.membership, Membership::Joined { .. }),
            connected: self.stream.is_some(),
            last_seen: seen.map(from_time),
            status: self.status.as_deref().map(Into::into),
            converged: self.is_converged(record, channel),
            vars: from_vars(&record.vars),
            changed: record.changed.as_ref().map(|changed| v1::RecordChange {
                sequence: changed.seq,
                time: Some(from_time(changed.time)),
                author: changed.author.clone(),
            }),
            orders: from_orders(&record.orders.at(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_that_was_replaced_changes_nothing_any_more() {
        let (table, name) = (StatusTable::new(), "edge".parse().unwrap());
        let at = |second| Timestamp::from_second(second).unwrap();
        table.connected(&name, 1, at(1));
        table.connected(&name, 2, at(2));
        let before = table.row(&name);
        table.report(
            &name,
            1,
            ClusterStatus {
                sequence: 9,
                ..ClusterStatus::default()
            },
            at(3),
        );
        table.disconnected(&name, 1, at(4));
        assert_eq!(table.row(&name), before);
        table.report(
            &name,
            2,
            ClusterStatus {
                sequence: 5,
                ..ClusterStatus::default()
            },
            at(5),
        );
        table.disconnected(&name, 2, at(6));
        let row = table.row(&name);
        assert_eq!((row.stream, row.last_seen), (None, Some(at(6))));
        assert_eq!(row.status.unwrap().sequence, 5, "the last report stays");
    }
}
