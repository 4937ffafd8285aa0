//! What agents report, in memory: soft state, told again by each agent that reconnects.
//!
//! Written by the streams of this server, and by [`replicas`] with what other servers of the bucket know and what was
//! known before a restart; read by the `Fleet` service. [`tally`] keeps count.

mod document;
pub(crate) mod replicas;
mod tally;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use driftless_model::{
    fleet::{Channel, Cluster, Fleet, Membership},
    name::{ChannelName, ClusterName},
    status::{ClusterStatus, MAX_PROBLEMS},
};
use driftless_proto::{from_orders, from_time, from_vars, v1};
use jiff::Timestamp;
use tokio::sync::watch;

use document::{Document, Known, part_of};
use tally::Tally;

/// What agents report.
pub(crate) struct StatusTable {
    inner: Mutex<Inner>,
    /// Counts changes, for whoever watches.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    rows: HashMap<ClusterName, Row>,
    tally: Tally,
    /// Parts whose rows have changed since they were written.
    unwritten: BTreeSet<u8>,
}

/// What is known of one cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    /// Its open stream, if any.
    stream: Option<u64>,
    /// The replica of which this is known, if it is another; and whether a stream to that is open.
    elsewhere: Option<(Arc<str>, bool)>,
    /// When a stream of it was last known to be open.
    last_seen: Option<Timestamp>,
    status: Option<Arc<ClusterStatus>>,
    /// The change that made this row what it is.
    change: u64,
}

impl StatusTable {
    pub(crate) fn new() -> Self {
        Self {
            inner: Mutex::default(),
            changes: watch::channel(0).0,
        }
    }

    pub(crate) fn connected(&self, cluster: &ClusterName, stream: u64, now: Timestamp) {
        self.change(cluster, |row| {
            row.stream = Some(stream);
            row.elsewhere = None;
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
        let mut inner = self.lock();
        if inner.rows.get(cluster).is_some_and(|row| row.stream.is_none()) {
            inner.rows.remove(cluster);
            inner.tally.update(cluster, false, None);
            inner.unwritten.insert(part_of(cluster));
        }
    }

    pub(crate) fn row(&self, cluster: &ClusterName) -> Row {
        self.lock().rows.get(cluster).cloned().unwrap_or_default()
    }

    /// How many clusters follow a channel.
    pub(crate) fn followers(&self, fleet: &Fleet, channel: &ChannelName) -> u32 {
        self.lock().tally.of(fleet).followers(channel)
    }

    /// How far the clusters of a channel are with its newest snapshot.
    pub(crate) fn progress(&self, fleet: &Fleet, channel: &ChannelName) -> v1::Progress {
        let snapshot = fleet.channels.get(channel).and_then(|channel| channel.snapshot);
        self.lock().tally.of(fleet).progress(channel, snapshot.as_ref())
    }

    /// A signal at every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The parts that changed since they were last asked for. Who cannot write one has to give it back.
    fn unwritten(&self) -> Vec<(u8, Document)> {
        let mut inner = self.lock();
        let parts = std::mem::take(&mut inner.unwritten);
        if parts.is_empty() {
            // Nothing is looked through, and nobody waits meanwhile.
            return Vec::new();
        }
        let mut documents: Vec<_> = parts.into_iter().map(|part| (part, Document::default())).collect();
        for (name, row) in inner.rows.iter().filter(|(_, row)| row.elsewhere.is_none()) {
            let part = part_of(name);
            if let Ok(index) = documents.binary_search_by_key(&part, |(part, _)| *part) {
                let known = Known {
                    is_connected: row.stream.is_some(),
                    last_seen: row.last_seen,
                    status: row.status.clone(),
                };
                documents[index].1.clusters.insert(name.clone(), known);
            }
        }
        documents
    }

    /// This part could not be written.
    fn give_back(&self, part: u8) {
        self.lock().unwritten.insert(part);
    }

    /// Takes over what was known before this server was started. Of no cluster a stream is open yet.
    fn restore(&self, document: Document) {
        for (name, known) in document.clusters {
            self.change(&name, |row| {
                if row.last_seen <= known.last_seen {
                    row.elsewhere = None;
                    row.last_seen = known.last_seen;
                    row.status = known.status;
                }
            });
        }
    }

    /// Takes over what another replica knows; of a cluster with a stream here nobody knows more than this server.
    fn take(&self, replica: &Arc<str>, document: Document) {
        for (name, known) in document.clusters {
            let row = self.row(&name);
            let is_news = row.stream.is_none()
                && (row.last_seen <= known.last_seen || known.is_connected)
                // What stays connected there is not overruled by who knew it before.
                && (known.is_connected || !row.elsewhere.as_ref().is_some_and(|(other, open)| *open && other != replica));
            if !is_news {
                continue;
            }
            let elsewhere = Some((Arc::clone(replica), known.is_connected));
            let is_same =
                (&row.elsewhere, &row.last_seen) == (&elsewhere, &known.last_seen) && row.status == known.status;
            if !is_same {
                self.change(&name, |row| {
                    row.elsewhere = elsewhere;
                    row.last_seen = known.last_seen;
                    row.status = known.status;
                });
            }
        }
    }

    /// A replica is gone: no stream to it is open any more.
    fn lose(&self, replica: &str) {
        let is_lost = |row: &Row| matches!(&row.elsewhere, Some((other, true)) if **other == *replica);
        let lost: Vec<_> = {
            let inner = self.lock();
            let lost = inner.rows.iter().filter(|(_, row)| is_lost(row));
            lost.map(|(name, _)| name.clone()).collect()
        };
        for name in lost {
            self.change(&name, |row| {
                if is_lost(row) {
                    row.elsewhere = Some((replica.into(), false));
                }
            });
        }
    }

    fn change(&self, cluster: &ClusterName, act: impl FnOnce(&mut Row)) {
        let mut inner = self.lock();
        let Inner { rows, tally, unwritten } = &mut *inner;
        let row = rows.entry(cluster.clone()).or_default();
        let was_ours = row.change > 0 && row.elsewhere.is_none();
        act(row);
        // What others know they write themselves.
        if was_ours || row.elsewhere.is_none() {
            unwritten.insert(part_of(cluster));
        }
        tally.update(cluster, row.is_connected(), row.status.as_deref());
        self.changes.send_modify(|changes| {
            *changes += 1;
            row.change = *changes;
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn is_connected(&self) -> bool {
        self.stream.is_some() || matches!(self.elsewhere, Some((_, true)))
    }

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
        let seen = if self.is_connected() { Some(now) } else { self.last_seen };
        v1::Cluster {
            name: name.to_string(),
            channel: record.channel.to_string(),
            labels: record.labels.clone(),
            enrolled: Some(from_time(record.enrolled)),
            joined: matches!(record.membership, Membership::Joined { .. }),
            connected: self.is_connected(),
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

    fn known(is_connected: bool, second: i64, sequence: u64) -> Document {
        let known = Known {
            is_connected,
            last_seen: Some(Timestamp::from_second(second).unwrap()),
            status: Some(Arc::new(ClusterStatus {
                sequence,
                ..ClusterStatus::default()
            })),
        };
        Document {
            clusters: [("edge".parse().unwrap(), known)].into(),
            ..Document::default()
        }
    }

    fn told(table: &StatusTable) -> (bool, Option<i64>, u64) {
        let row = table.row(&"edge".parse().unwrap());
        let sequence = row.status.as_ref().map_or(0, |status| status.sequence);
        (row.is_connected(), row.last_seen.map(Timestamp::as_second), sequence)
    }

    #[test]
    fn what_another_replica_knows_is_told_until_there_is_a_stream_here() {
        let (table, name) = (StatusTable::new(), "edge".parse().unwrap());
        let (other, third): (Arc<str>, Arc<str>) = ("other".into(), "third".into());
        table.take(&other, known(true, 5, 3));
        assert_eq!(told(&table), (true, Some(5), 3));
        assert!(table.unwritten().is_empty(), "who knows it writes it");
        // Nobody who saw it leave long ago knows better.
        table.take(&third, known(false, 4, 2));
        assert_eq!(told(&table), (true, Some(5), 3));
        table.lose("other");
        assert_eq!(told(&table), (false, Some(5), 3));
        table.take(&third, known(true, 6, 4));
        assert_eq!(told(&table), (true, Some(6), 4));
        table.connected(&name, 1, Timestamp::from_second(7).unwrap());
        table.take(&third, known(true, 9, 9));
        assert_eq!(told(&table), (true, Some(7), 4));
        // Only what is known first-hand is passed on.
        let all = |table: &StatusTable| {
            table
                .unwritten()
                .into_iter()
                .flat_map(|(_, part)| part.clusters)
                .count()
        };
        assert_eq!(all(&table), 1);
        assert_eq!(all(&table), 0, "and once");
        table.disconnected(&name, 1, Timestamp::from_second(8).unwrap());
        table.take(&third, known(true, 9, 9));
        assert_eq!(all(&table), 0);
    }

    #[test]
    fn what_was_known_before_a_restart_is_told_as_it_was() {
        let table = StatusTable::new();
        table.restore(known(true, 5, 3));
        assert_eq!(told(&table), (false, Some(5), 3));
        table.take(&"other".into(), known(true, 9, 4));
        assert_eq!(told(&table), (true, Some(9), 4));
    }
}
