//! How many clusters of each channel are how far, kept as each of them changes: whoever asks counts nothing.
//!
//! Pure. What a cluster reports is counted under the snapshot that it works on, so that a push needs no recount either.

use std::collections::{BTreeMap, HashMap};

use driftless_model::{
    fleet::{Cluster, Fleet},
    hash::ObjectHash,
    name::{ChannelName, ClusterName},
    shared::Shared,
    status::{ClusterStatus, ComponentStatus, Health},
};
use driftless_proto::v1;

/// How far a cluster is with the snapshot that it works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase {
    /// Not everything is applied.
    Progressing,
    /// Everything is applied, and not yet healthy.
    Applied,
    /// Everything is applied and healthy.
    Healthy,
    /// Something needs help.
    Failed,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Of which list of clusters it is.
    records: Option<Shared<BTreeMap<ClusterName, Cluster>>>,
    clusters: HashMap<ClusterName, Place>,
    channels: BTreeMap<ChannelName, Channel>,
}

#[derive(Debug, Default)]
struct Channel {
    clusters: u32,
    connected: u32,
    phases: HashMap<(ObjectHash, Phase), u32>,
}

/// What is known of a cluster.
#[derive(Debug, Clone, Default)]
struct Place {
    /// `None` for one that is not enrolled: it is counted nowhere.
    record: Option<(ChannelName, u64)>,
    is_connected: bool,
    report: Option<Report>,
}

#[derive(Debug, Clone, Copy)]
struct Report {
    snapshot: ObjectHash,
    phase: Phase,
    /// Of the cluster's record; older agents do not tell.
    revision: Option<u64>,
}

impl Report {
    fn of(status: &ClusterStatus) -> Option<Self> {
        let snapshot = status.snapshot?;
        let blocks = |component: &ComponentStatus| {
            component.health == Health::Failed || component.problems.iter().any(|problem| problem.blocks)
        };
        let has_failed = status.problems.iter().any(|problem| problem.blocks) || status.components.values().any(blocks);
        let phase = match (has_failed, status.is_converged(&snapshot), status.health()) {
            (true, ..) => Phase::Failed,
            (false, false, _) => Phase::Progressing,
            (false, true, Health::Current) => Phase::Healthy,
            (false, true, _) if status.components.is_empty() => Phase::Healthy,
            (false, true, _) => Phase::Applied,
        };
        Some(Self {
            snapshot,
            phase,
            revision: status.revision,
        })
    }
}

impl Place {
    /// Under which phase of which snapshot it is counted; `None`: it waits.
    fn phase(&self) -> Option<(ObjectHash, Phase)> {
        let (report, (_, revision)) = (self.report?, self.record.as_ref()?);
        let is_by_record = report.revision.is_none_or(|by| by == *revision);
        is_by_record.then_some((report.snapshot, report.phase))
    }
}

impl Tally {
    /// The tally of the clusters that there are now: counts anew if that, or a record, has changed.
    pub(crate) fn of(&mut self, fleet: &Fleet) -> &Self {
        if self
            .records
            .as_ref()
            .is_none_or(|known| !known.is_same(&fleet.clusters))
        {
            self.enroll(fleet.clusters.iter());
            self.records = Some(fleet.clusters.clone());
        }
        self
    }

    fn enroll<'a>(&mut self, records: impl Iterator<Item = (&'a ClusterName, &'a Cluster)>) {
        let mut gone: HashMap<_, _> = std::mem::take(&mut self.clusters);
        self.channels.clear();
        for (name, record) in records {
            let mut place = gone.remove(name).unwrap_or_default();
            place.record = Some((record.channel.clone(), record.revision()));
            self.count(&place, 1);
            self.clusters.insert(name.clone(), place);
        }
        // One that reports a moment before its enrolment is known here is not forgotten.
        let connected = gone.into_iter().filter(|(_, place)| place.is_connected);
        for (name, place) in connected {
            let place = Place { record: None, ..place };
            self.clusters.insert(name, place);
        }
    }

    /// How many clusters follow `channel`.
    pub(crate) fn followers(&self, channel: &ChannelName) -> u32 {
        self.channels.get(channel).map_or(0, |channel| channel.clusters)
    }

    /// Takes over how a cluster does.
    pub(crate) fn update(&mut self, cluster: &ClusterName, is_connected: bool, status: Option<&ClusterStatus>) {
        let before = self.clusters.get(cluster).cloned().unwrap_or_default();
        let place = Place {
            record: before.record.clone(),
            is_connected,
            report: status.and_then(Report::of),
        };
        self.count(&before, -1);
        self.count(&place, 1);
        if place.record.is_some() || is_connected {
            self.clusters.insert(cluster.clone(), place);
        } else {
            self.clusters.remove(cluster);
        }
    }

    /// How far the clusters of `channel` are with `snapshot`.
    pub(crate) fn progress(&self, channel: &ChannelName, snapshot: Option<&ObjectHash>) -> v1::Progress {
        let Some(Channel {
            clusters,
            connected,
            phases,
        }) = self.channels.get(channel)
        else {
            return v1::Progress::default();
        };
        let at = |phase| {
            let count = snapshot.and_then(|snapshot| phases.get(&(*snapshot, phase)));
            count.copied().unwrap_or_default()
        };
        let mut progress = v1::Progress {
            connected: *connected,
            waiting: 0,
            progressing: at(Phase::Progressing),
            applied: at(Phase::Applied),
            healthy: at(Phase::Healthy),
            failed: at(Phase::Failed),
        };
        let told = progress.progressing + progress.applied + progress.healthy + progress.failed;
        progress.waiting = clusters.saturating_sub(told);
        progress
    }

    fn count(&mut self, place: &Place, by: i32) {
        let Some((channel, _)) = &place.record else { return };
        let channel = self.channels.entry(channel.clone()).or_default();
        let add = |count: &mut u32| *count = count.saturating_add_signed(by);
        add(&mut channel.clusters);
        if place.is_connected {
            add(&mut channel.connected);
        }
        if let Some(phase) = place.phase() {
            let count = channel.phases.entry(phase).or_default();
            add(count);
            if *count == 0 {
                channel.phases.remove(&phase);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use driftless_model::{event::JoinToken, fleet::Membership, status::Problem};
    use jiff::Timestamp;

    use super::*;

    fn name(n: usize) -> ClusterName {
        format!("c-{n}").parse().unwrap()
    }

    fn record(channel: &str) -> Cluster {
        Cluster {
            channel: channel.parse().unwrap(),
            labels: BTreeMap::new(),
            vars: BTreeMap::new(),
            enrolled: Timestamp::UNIX_EPOCH,
            orders: Default::default(),
            changed: None,
            membership: Membership::Invited {
                join: JoinToken {
                    hash: ObjectHash::of(b""),
                    expires: Timestamp::UNIX_EPOCH,
                },
            },
        }
    }

    fn status(snapshot: &ObjectHash, applied: u32, health: Health) -> ClusterStatus {
        let component = ComponentStatus {
            desired: 2,
            applied,
            health,
            ..ComponentStatus::default()
        };
        ClusterStatus {
            snapshot: Some(*snapshot),
            components: [("shop".parse().unwrap(), component)].into(),
            ..ClusterStatus::default()
        }
    }

    fn tally(channels: &[&str]) -> Tally {
        let mut tally = Tally::default();
        enroll(&mut tally, channels);
        tally
    }

    fn enroll(tally: &mut Tally, channels: &[&str]) {
        let records: BTreeMap<_, _> = channels.iter().enumerate().map(|(n, c)| (name(n), record(c))).collect();
        tally.enroll(records.iter());
    }

    /// Connected, waiting, progressing, applied, healthy, failed.
    fn prod(tally: &Tally, snapshot: &ObjectHash) -> [u32; 6] {
        let told = tally.progress(&"prod".parse().unwrap(), Some(snapshot));
        [
            told.connected,
            told.waiting,
            told.progressing,
            told.applied,
            told.healthy,
            told.failed,
        ]
    }

    #[test]
    fn clusters_are_counted_by_how_far_they_are_with_the_newest_snapshot() {
        let (old, new) = (ObjectHash::of(b"old"), ObjectHash::of(b"new"));
        let mut tally = tally(&["prod", "prod", "prod", "prod", "prod", "dev"]);
        assert_eq!(prod(&tally, &new), [0, 5, 0, 0, 0, 0]);
        let mut failed = status(&new, 1, Health::Current);
        let components = failed.components.values_mut();
        components.for_each(|component| {
            component.problems.push(Problem {
                object: None,
                reason: "ApplyFailed".to_owned(),
                message: String::new(),
                since: Timestamp::UNIX_EPOCH,
                blocks: true,
            });
        });
        for (n, status) in [
            status(&new, 1, Health::Current),
            status(&new, 2, Health::InProgress),
            status(&new, 2, Health::Current),
            failed,
            status(&old, 2, Health::Current),
            status(&new, 2, Health::Current),
        ]
        .iter()
        .enumerate()
        {
            tally.update(&name(n), n != 1, Some(status));
        }
        assert_eq!(prod(&tally, &new), [4, 1, 1, 1, 1, 1]);
        assert_eq!(prod(&tally, &old), [4, 4, 0, 0, 1, 0]);
        tally.update(&name(0), false, Some(&status(&new, 2, Health::Current)));
        assert_eq!(prod(&tally, &new), [3, 1, 0, 1, 2, 1]);
    }

    #[test]
    fn clusters_that_move_or_leave_are_counted_where_they_are() {
        let new = ObjectHash::of(b"new");
        let mut tally = tally(&["prod", "prod", "dev"]);
        for n in 0..3 {
            tally.update(&name(n), true, Some(&status(&new, 2, Health::Current)));
        }
        assert_eq!(prod(&tally, &new), [2, 0, 0, 0, 2, 0]);
        enroll(&mut tally, &["prod", "dev", "prod"]);
        assert_eq!(prod(&tally, &new), [2, 0, 0, 0, 2, 0]);
        enroll(&mut tally, &["prod"]);
        assert_eq!(prod(&tally, &new), [1, 0, 0, 0, 1, 0]);
        tally.update(&name(2), false, None);
        assert_eq!(prod(&tally, &new), [1, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn report_by_an_older_record_does_not_count() {
        let new = ObjectHash::of(b"new");
        let mut tally = tally(&["prod"]);
        let by = |revision| ClusterStatus {
            revision: Some(revision),
            ..status(&new, 2, Health::Current)
        };
        tally.update(&name(0), true, Some(&by(7)));
        assert_eq!(prod(&tally, &new)[1], 1);
        tally.update(&name(0), true, Some(&by(0)));
        assert_eq!(prod(&tally, &new)[4], 1);
    }

    #[test]
    fn nothing_is_kept_of_snapshots_that_nobody_works_on() {
        let mut tally = tally(&["prod"]);
        for n in 0..100_u32 {
            let snapshot = ObjectHash::of(&n.to_be_bytes());
            tally.update(&name(0), true, Some(&status(&snapshot, 2, Health::Current)));
        }
        assert_eq!(
            tally
                .channels
                .values()
                .map(|channel| channel.phases.len())
                .sum::<usize>(),
            1
        );
    }
}
